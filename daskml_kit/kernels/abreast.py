"""Nearest centres of rows of few columns, kept up to date: every row meets every centre in each pass.

Bounds (:mod:`daskml_kit.kernels.bounds`) spare distances, and cost 30 ns for a row whose label they leave in
doubt. Where centres and columns are few, all distances of a row cost less. So nothing is bounded here: rows
lie column by column in float32, sixteen of them meet a centre at once
(:mod:`daskml_kit.kernels.abreast_tiles`), and what is written are the labels that change. The answers are
those of bounds and of :func:`~daskml_kit.kernels.nearest.assign`, bit by bit: what two scores leave open is
decided on distances computed directly, and sums are exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from daskml_kit.kernels import abreast_tiles
from daskml_kit.kernels.abreast_tiles import TILE, Found, Placed
from daskml_kit.kernels.aim import LEAST_REACH, as_centers, as_origin, tie_width
from daskml_kit.kernels.blocks import as_column, check_block, frozen
from daskml_kit.kernels.exact_sums import Grid, empty_sums
from daskml_kit.kernels.scores import score_error
from daskml_kit.typing import Array, FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class Turned:
    """Rows of a block column by column: a value that all runs share."""

    columns: Array
    """(tiles, d, TILE) float32: ``(x - origin) scale``, zeros behind the last row."""
    origin: FloatArray
    """(d,) a point near the data."""
    scale: float
    """A power of two."""

    def fits(self, origin: Array) -> bool:
        """Whether it is about this point."""
        return np.array_equal(self.origin, origin)


def turned(X: Array, origin: Array) -> Turned:
    """Rows (n, d), float32 or float64, about a point (d,): one pass, ``4 d`` bytes a row."""
    check_block(X)
    n, d = X.shape
    point = as_origin(origin, d)
    scale = scale_of(X, point) if n else 1.0
    columns = np.empty((-(-n // TILE), d, TILE), np.float32)
    abreast_tiles.turn(frozen(X), point, scale, columns)
    return Turned(frozen(columns), point, scale)


def scale_of(X: Array, point: Array) -> float:
    """The power of two that brings no number of ``X - point`` above 1, and few far below."""
    high, low = float(X.max()) - float(point.min()), float(X.min()) - float(point.max())
    return float(2.0 ** -np.clip(np.frexp(max(high, -low))[1], -400, 400))


@dataclass(eq=False)
class Labels:
    """Where the rows of a block are, at some centres."""

    label: IntArray
    """(n,) int32: nearest centre, -1 before the first pass."""
    sums: FloatArray
    """(k, 2, d + 1) exact sums of rows and weights by label."""
    grid: Grid

    def fits(self, k: int, grid: Grid) -> bool:
        """Whether it is of so many centres, and of these grids."""
        same = all(np.array_equal(a, b) for a, b in zip(self.grid, grid, strict=True))
        return len(self.sums) == k and same


def unlabelled(n_rows: int, k: int, grid: Grid) -> Labels:
    """State of a block before its first pass."""
    return Labels(np.full(n_rows, -1, np.int32), empty_sums(k, len(grid.coarse) - 1), grid)


def abreast_bytes(n_rows: int, d: int, n_runs: int) -> int:
    """Memory of turned rows, and of the labels of so many runs."""
    return 4 * n_rows * (d + n_runs)


def relabel(X: Array, weight: Array | None, rows: Turned, centers: Array, known: Labels) -> int:
    """Brings ``known`` to other centres; returns how many rows were measured again, in float64.

    Parameters
    ----------
    X : (n, d) array, float32 or float64
    weight : (n,) weights at least 0, or None for ones; the same at every call
    rows : the same rows, turned
    centers : (k, d)
    known : changed in place

    Raises
    ------
    InvalidDataError, InvalidDataTypeError
        A shape or type does not fit.

    Notes
    -----
    One pass, ``n k`` distances; of X only rows are read that change their label, or may. Releases the GIL.

    Examples
    --------
    >>> from daskml_kit.kernels.exact_sums import grid_for, resolved
    >>> X = np.array([[0.0], [1.0], [10.0]])
    >>> grid = grid_for(np.array([10.0, 1.0]), n_rows=3)
    >>> known = unlabelled(3, 2, grid)
    >>> relabel(X, None, turned(X, np.array([4.0])), np.array([[0.0], [9.0]]), known)
    0
    >>> known.label, resolved(known.sums)[0].ravel()
    (array([0, 0, 1], dtype=int32), array([ 1., 10.]))
    """
    check_block(X)
    n, d = X.shape
    points = as_centers(centers, d)
    placed, room = _placed(rows, points)
    return int(
        abreast_tiles.relabel(
            frozen(X),
            as_column(weight, "weight", n),
            rows.columns,
            points,
            placed,
            tie_width(d),
            *(frozen(part) for part in known.grid),
            known.label,
            known.sums,
            room,
            np.empty(TILE + 1, np.int64),
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
    abreast_tiles.approach(frozen(X), rows.columns, points, placed, rows.scale, tie, square, room)


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
    "Labels",
    "Turned",
    "abreast_bytes",
    "approach",
    "relabel",
    "room_for",
    "turned",
    "unlabelled",
]
