"""Nearest centres kept up to date: bounds by the triangle inequality spare most distances.

For every row an upper bound of the distance to its own centre, and for every group of centres a lower
bound of the distance to those of the group that are not its own. When centres move, bounds move by as
much; while the upper one stays below the lower ones, the row keeps its label unseen. With one group
these are Hamerly's bounds, with k / 8 or k / 16 those of Yinyang k-means.

State belongs to one block and says of itself which centres it is right for: from there to any other
centres is the length of the way between them, so rounds may be lost, repeated or out of order. Labels,
sums and counts are those that a pass without bounds finds, bit by bit: labels because what is close is
decided on distances computed directly, sums because they are exact (:mod:`daskml_kit.kernels.exact_sums`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from daskml_kit.kernels import bounds_tiles
from daskml_kit.kernels.blocks import as_column, check_block, frozen
from daskml_kit.kernels.exact_sums import Grid, empty_sums
from daskml_kit.kernels.nearest import as_centers, half_squares, tie_width
from daskml_kit.kernels.products import WIDTH
from daskml_kit.typing import Array, FloatArray, IntArray

HALVES_WORK = 8
"""Centres are compared with each other where that costs at most a part in so many of one full pass."""


@dataclass
class Bounds:
    """What is known of the rows of one block, at some centres. About ``8 + 4 t`` bytes a row."""

    members: IntArray
    """(t, width) int64: the centres of each group, -1 where a group is not full."""
    grid: Grid
    centers: FloatArray
    """(k, d) float64 that everything below is right for."""
    label: IntArray
    """(n,) int32: nearest centre, -1 before the first pass."""
    upper: FloatArray
    """(n,) float32: at least the distance to it."""
    lower: FloatArray
    """(n, t) float32: at most the distance to any other centre of the group."""
    sums: FloatArray
    """(k, 2, d + 1) exact sums of rows and weights."""

    def fits(self, members: IntArray, grid: Grid) -> bool:
        """Whether it was made for these groups and grids."""
        pairs = ((self.members, members), *zip(self.grid, grid, strict=True))
        return all(np.array_equal(a, b) for a, b in pairs)


def no_bounds(n_rows: int, centers: Array, members: IntArray, grid: Grid) -> Bounds:
    """State of a block before its first pass."""
    k, d = centers.shape
    return Bounds(
        members,
        grid,
        np.array(centers, np.float64),
        np.full(n_rows, -1, np.int32),
        np.zeros(n_rows, np.float32),
        np.zeros((n_rows, len(members)), np.float32),
        empty_sums(k, d),
    )


def bounds_bytes(n_rows: int, n_groups: int) -> int:
    """Memory of the bounds of so many rows."""
    return n_rows * (8 + 4 * n_groups)


def move_bounds(
    X: Array, weight: Array | None, centers: Array, known: Bounds, origin: Array | None = None
) -> int:
    """Brings ``known`` to other centres; returns how many distances were computed.

    Parameters
    ----------
    X : (n, d) array, float32 or float64
    weight : (n,) weights at least 0, or None for ones; the same at every call
    centers : (k, d)
    known : changed in place
    origin : (d,) a point near the data: the nearer, the fewer rows need a second look

    Raises
    ------
    InvalidDataError, InvalidDataTypeError
        A shape or type does not fit.

    Notes
    -----
    One pass over the bounds; of X only rows are read whose label is in doubt. Releases the GIL.

    References
    ----------
    Hamerly (2010), "Making k-means even faster", Algorithm 1.
    Ding, Zhao, Shen, Musuvathi, Mytkowicz (2015), "Yinyang k-means", Section 3.3: group filter.
    """
    check_block(X)
    n, d = X.shape
    points, shift = as_centers(centers, d), np.zeros(d) if origin is None else origin
    width = known.members.shape[1]
    places = known.members.ravel()
    taken = places >= 0
    placed = np.zeros((len(places), d))
    placed[taken] = (points - shift)[places[taken]]
    place = np.empty(len(points), np.int64)
    place[places[taken]] = np.flatnonzero(taken)
    groups = placed.reshape(-1, width, d).transpose(0, 2, 1)
    moved = np.sqrt(np.einsum("kj,kj->k", points - known.centers, points - known.centers))
    moved = moved * (1.0 + 1e-6) + bounds_tiles.TINY
    furthest = np.where(taken, moved[places], 0.0).reshape(-1, width).max(axis=1)
    count = bounds_tiles.bounded(
        frozen(X),
        as_column(weight, "weight", n),
        points,
        frozen(groups),
        frozen(np.where(taken, half_squares(placed), np.inf)),
        frozen(places),
        frozen(place),
        frozen(shift, np.float64),
        4.0 * (d + 8) * float(np.finfo(np.float64).eps),
        float(np.sqrt(2.0 * np.max(half_squares(placed)))),
        tie_width(d),
        as_float32(moved),
        as_float32(furthest),
        as_float32(halves_between(points, n) if len(groups) == 1 else np.zeros(len(points))),
        *(frozen(part) for part in known.grid),
        known.label,
        known.upper,
        known.lower,
        known.sums,
    )
    known.centers = np.array(points)
    return int(count)


def as_float32(lengths: FloatArray) -> Array:
    """Read-only; what is too long becomes infinite, which no bound survives."""
    with np.errstate(over="ignore"):
        return frozen(lengths, np.float32)


def halves_between(centers: FloatArray, n_rows: int) -> FloatArray:
    """Half of the distance from each centre to the nearest other, a little less; zeros if too dear."""
    k, d = centers.shape
    if k < 2 or HALVES_WORK * k > n_rows:
        return np.zeros(k)
    moved = centers - centers.mean(axis=0)
    squares = np.einsum("kj,kj->k", moved, moved)
    gaps = squares[:, None] + squares - 2.0 * (moved @ moved.T)
    np.fill_diagonal(gaps, np.inf)
    noise = 8.0 * (d + 8) * np.finfo(np.float64).eps * np.max(squares)
    halves = 0.5 * np.sqrt(np.maximum(gaps.min(axis=1) - noise, 0.0)) * (1.0 - 1e-6)
    return np.asarray(np.minimum(halves, bounds_tiles.LARGEST))


def own_inertia(X: Array, weight: Array | None, known: Bounds) -> float:
    """Weighted sum of squared distances of rows to their nearest centres: one distance a row."""
    weights = as_column(weight, "weight", len(X))
    label = frozen(known.label)
    return float(bounds_tiles.own_squares(frozen(X), weights, frozen(known.centers), label))


def whole_width(size: int) -> int:
    """Places of a group: whole vectors of the matrix product."""
    return -(-size // WIDTH) * WIDTH


__all__ = ["Bounds", "bounds_bytes", "move_bounds", "no_bounds", "own_inertia", "whole_width"]
