"""Nearest centres of rows of few columns, kept up to date: every row meets every centre in each pass.

Bounds (:mod:`daskml_kit.kernels.bounds`) spare distances, and cost 30 ns for a row whose label they leave in
doubt. Where centres and columns are few, all distances of a row cost less. So nothing is bounded here: rows
lie column by column in float32, sixteen of them meet a centre at once
(:mod:`daskml_kit.kernels.abreast_tiles`), and what is written are the labels that change. The answers are
those of bounds and of :func:`~daskml_kit.kernels.nearest.assign`, bit by bit: what two scores leave open is
decided on distances computed directly, and sums are exact.

Of up to :data:`TOGETHER` columns rows that are near each other lie together, sixteen in a group, and only
groups between centres are measured row by row. This is the filtering of Kanungo et al. with one level of
groups in place of a tree: of a photograph (3 columns, 16 centres) three rows of ten are measured, 0.5 ms an
iteration of 137,000 rows where all of them took 1.5.

References
----------
Kanungo, Mount, Netanyahu, Piatko, Silverman, Wu (2002). An efficient k-means clustering algorithm: analysis
and implementation. IEEE TPAMI 24(7). Section 2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from daskml_kit.kernels import abreast_tiles
from daskml_kit.kernels.abreast_tiles import PAIR, TILE, Book, Found, Lie, Placed
from daskml_kit.kernels.aim import LEAST_REACH, as_centers, as_origin, tie_width
from daskml_kit.kernels.blocks import as_column, check_block, frozen
from daskml_kit.kernels.exact_sums import Grid, empty_sums
from daskml_kit.kernels.scores import score_error
from daskml_kit.typing import Array, FloatArray, IntArray

TOGETHER = 4
"""Columns up to which rows are put in the order of their cells. Cells are numbered by 16 bits: of more
columns they are too wide for their rows to have one nearest centre."""


@dataclass(frozen=True, eq=False)
class Turned:
    """Rows of a block column by column: a value that all runs share."""

    lie: Lie
    """The rows as ``(x - origin) scale``."""
    origin: FloatArray
    """(d,) a point near the data."""
    scale: float
    """A power of two."""
    together: bool = False
    """Whether near rows lie together, if columns are few."""

    def fits(self, origin: Array, *, together: bool = False) -> bool:
        """Whether it is about this point, and of this kind."""
        return self.together == together and np.array_equal(self.origin, origin)


def turned(X: Array, origin: Array, *, together: bool = False) -> Turned:
    """Rows (n, d), float32 or float64, about a point (d,): one pass, ``4 d`` bytes a row.

    ``together``: near each other what is near, where columns are few. Four bytes a row more, and two passes.
    """
    check_block(X)
    n, d = X.shape
    rows, point = frozen(X), as_origin(origin, d)
    scale = scale_of(X, point) if n else 1.0
    order = _order(rows) if together and n and d <= TOGETHER else np.empty(0, np.int32)
    n_groups = -(-len(order) // PAIR)
    lie = Lie(
        np.empty((-(-n // TILE), d, TILE), np.float32),
        order,
        np.zeros((-(-n_groups // TILE), d, TILE), np.float32),
        np.empty(n_groups, np.float32),
    )
    abreast_tiles.turn(rows, point, scale, lie)
    return Turned(lie, point, scale, together)


def _order(rows: Array) -> IntArray:
    """Rows cell by cell, in each as they came."""
    n, d = rows.shape
    bits, cell = 16 // d, np.empty(n, np.uint16)
    abreast_tiles.cells(rows, bits, np.empty((2, d)), np.empty(1 << bits, np.uint16), cell)
    return np.argsort(cell, kind="stable").astype(np.int32)


def scale_of(X: Array, point: Array) -> float:
    """The power of two that brings no number of ``X - point`` above 1, and few far below."""
    high, low = float(X.max()) - float(point.min()), float(X.min()) - float(point.max())
    return float(2.0 ** -np.clip(np.frexp(max(high, -low))[1], -400, 400))


@dataclass(frozen=True, eq=False)
class Labels:
    """Where the rows of a block are, at some centres: what it holds is changed in place."""

    rows: Turned
    places: IntArray
    """(n,) int32: nearest centre of the row at each place, -1 before the first pass."""
    whole: IntArray
    """(groups,) int32: the label that all of a group have, -1 where they may differ."""
    sums: FloatArray
    """(k, 2, d + 1) exact sums of rows and weights by label."""
    grid: Grid

    def fits(self, rows: Turned, k: int, grid: Grid) -> bool:
        """Whether it is of rows that lie like this, so many centres, and these grids."""
        same = all(np.array_equal(a, b) for a, b in zip(self.grid, grid, strict=True))
        return self.rows is rows and len(self.sums) == k and same

    def label(self) -> IntArray:
        """(n,) int32: a copy, in the order of the block."""
        order = self.rows.lie.order
        if not len(order):
            return self.places.copy()
        out = np.empty_like(self.places)
        out[order] = self.places
        return out


def unlabelled(rows: Turned, n_rows: int, k: int, grid: Grid) -> Labels:
    """State of a block before its first pass."""
    places, whole = (np.full(n, -1, np.int32) for n in (n_rows, len(rows.lie.radius)))
    return Labels(rows, places, whole, empty_sums(k, len(grid.coarse) - 1), grid)


def abreast_bytes(n_rows: int, d: int, n_runs: int) -> int:
    """Memory of turned rows, and of the labels of so many runs."""
    return 4 * n_rows * (d + (d <= TOGETHER) + n_runs)


def relabel(X: Array, weight: Array | None, centers: Array, known: Labels) -> int:
    """Brings ``known`` to other centres; returns how many points were measured from all of them.

    Parameters
    ----------
    X : (n, d) array, float32 or float64
    weight : (n,) weights at least 0, or None for ones; the same at every call
    centers : (k, d)
    known : of the same rows; changed in place

    Raises
    ------
    InvalidDataError, InvalidDataTypeError
        A shape or type does not fit.

    Notes
    -----
    One pass; of X only rows are read that change their label, or may. Points are all rows, or the middles of
    groups and the rows of those that are left open; rows that are measured again in float64 count twice.
    Releases the GIL.

    Examples
    --------
    >>> from daskml_kit.kernels.exact_sums import grid_for, resolved
    >>> X = np.array([[0.0], [1.0], [10.0]])
    >>> grid = grid_for(np.array([10.0, 1.0]), n_rows=3)
    >>> known = unlabelled(turned(X, np.array([4.0])), 3, 2, grid)
    >>> relabel(X, None, np.array([[0.0], [9.0]]), known)
    3
    >>> known.label(), resolved(known.sums)[0].ravel()
    (array([0, 0, 1], dtype=int32), array([ 1., 10.]))
    """
    check_block(X)
    n, d = X.shape
    points = as_centers(centers, d)
    placed, room = _placed(known.rows, points)
    return int(
        abreast_tiles.relabel(
            frozen(X),
            as_column(weight, "weight", n),
            known.rows.lie,
            points,
            placed,
            tie_width(d),
            Book(known.places, known.whole, known.sums, *(frozen(part) for part in known.grid)),
            abreast_tiles.room(),
            room,
            *(np.empty(size, np.int32) for size in (TILE + 1, TILE + 1, 1)),
        )
    )


def approach(X: Array, rows: Turned, centers: Array, square: Array) -> None:
    """Lowers ``square`` (n,), squared distances to other centres, where one of these (k, d) is nearer.

    One pass, ``n k`` distances; of X only rows are read that may be nearer. Releases the GIL.

    Examples
    --------
    >>> X, square = np.array([[0.0], [1.0], [10.0]]), np.array([0.0, 1.0, 100.0])
    >>> approach(X, turned(X, np.array([4.0])), np.array([[9.0], [3.0]]), square)
    >>> square
    array([0., 1., 1.])
    """
    check_block(X)
    points = as_centers(centers, X.shape[1])
    placed, room = _placed(rows, points)
    tie = tie_width(X.shape[1])
    abreast_tiles.approach(frozen(X), rows.lie, points, placed, rows.scale, tie, square, room)


def room_for(k: int, d: int) -> tuple[Placed, Found]:
    """For so many centres as the rows lie, and for what is found of a tile."""
    centers, halves, slack = (np.empty(shape, np.float32) for shape in ((k, d), k, 2))
    return Placed(centers, halves, slack), abreast_tiles.room()


def _placed(rows: Turned, points: FloatArray) -> tuple[Placed, Found]:
    """Centres as the rows lie, and room."""
    placed, room = room_for(*points.shape)
    error = score_error(points.shape[1])
    abreast_tiles.place(points, rows.origin, rows.scale, error, LEAST_REACH, placed)
    return placed, room


__all__ = [
    "TOGETHER",
    "Labels",
    "Turned",
    "abreast_bytes",
    "approach",
    "relabel",
    "room_for",
    "turned",
    "unlabelled",
]
