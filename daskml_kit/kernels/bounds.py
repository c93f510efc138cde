"""Nearest centres kept up to date: bounds by the triangle inequality spare most distances.

For every row an upper bound of the distance to its own centre, and for every group of centres a lower
bound of the distance to those of the group that are not its own. When centres move, bounds move by as
much; while the upper one stays below the lower ones, the row keeps its label unseen. With one group
these are Hamerly's bounds, with k / 8 or k / 16 those of Yinyang k-means.

Nothing is written to a row that keeps its label: bounds are kept less the way that centres had gone when
they were found, and read with the way gone by now. A bound over all groups, which is loose, is asked first,
so that most rows cost 12 bytes a pass.

State belongs to one block and says of itself which centres it is right for: from there to any other
centres is the length of the way between them, so rounds may be lost, repeated or out of order. Labels,
sums and counts are those that a pass without bounds finds, bit by bit: labels because what is close is
decided on distances computed directly, sums because they are exact (:mod:`daskml_kit.kernels.exact_sums`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from daskml_kit.kernels import bounds_tiles
from daskml_kit.kernels.aim import LARGEST, Aim, as_centers, as_float32
from daskml_kit.kernels.blocks import as_column, check_block, frozen
from daskml_kit.kernels.bounds_tiles import BATCH, SCAN, Known, Way, Work
from daskml_kit.kernels.exact_sums import Grid, empty_sums
from daskml_kit.kernels.scores import whole_width
from daskml_kit.typing import Array, FloatArray, IntArray

FAR = 1e4
"""Once centres have gone so many times the length of the largest, bounds are found anew: they would be
rounded too coarsely."""


@dataclass(frozen=True, eq=False)
class Course:
    """Where centres are, and how far they have gone since bounds were first found.

    A value that all blocks share which have seen the same centres: it is moved once for all of them.
    """

    members: IntArray
    """(t, width) int64: the centres of each group, -1 where a group is not full."""
    grid: Grid
    centers: FloatArray
    """(k, d) float64"""
    own: FloatArray
    """(k,) the way that each centre has gone."""
    others: FloatArray
    """(k,) the way of the farthest of all others, pass by pass."""
    groups: FloatArray
    """(t,) the way of the farthest of each group, pass by pass."""

    @cached_property
    def way(self) -> Way:
        """The same ways for the loop."""
        return Way(*(as_float32(way) for way in (self.own, self.others, self.groups)))

    def fits(self, members: IntArray, grid: Grid) -> bool:
        """Whether it is of these groups and grids, and bounds along it are still worth something."""
        pairs = ((self.members, members), *zip(self.grid, grid, strict=True))
        fresh = float(self.others.max()) <= FAR * float(np.abs(self.centers).max())
        return fresh and all(np.array_equal(a, b) for a, b in pairs)

    def to(self, centers: FloatArray) -> Course:
        """On to other centres."""
        gaps = centers - self.centers
        moved = np.sqrt(np.einsum("kj,kj->k", gaps, gaps)) * (1.0 + 1e-6) + bounds_tiles.TINY
        first = int(np.argmax(moved))
        farthest = np.full(len(moved), moved[first])
        farthest[first] = np.delete(moved, first).max(initial=0.0)
        groups = np.where(self.members >= 0, moved[self.members], 0.0).max(axis=1)
        return replace(
            self,
            centers=frozen(np.array(centers)),
            own=self.own + moved,
            others=self.others + farthest,
            groups=self.groups + groups,
        )


def course_from(centers: Array, members: IntArray, grid: Grid) -> Course:
    """Of centres that have gone nowhere yet."""
    k, t = len(centers), len(members)
    centers = frozen(np.array(centers, np.float64))
    return Course(members, grid, centers, np.zeros(k), np.zeros(k), np.zeros(t))


@dataclass
class Bounds:
    """What is known of the rows of one block, at some centres. About ``12 + 4 t`` bytes a row."""

    course: Course
    """To the centres that everything below is right for."""
    rows: Known

    @property
    def label(self) -> IntArray:
        """(n,) int32: nearest centre, -1 before the first pass."""
        return self.rows.label

    @property
    def sums(self) -> FloatArray:
        """(k, 2, d + 1) exact sums of rows and weights."""
        return self.rows.sums

    def upper(self) -> FloatArray:
        """(n,) at least the distance of each row to its centre."""
        return self.rows.upper + self.course.own[self.label]

    def lower(self) -> FloatArray:
        """(n, t) at most the distance to any other centre of a group."""
        if self.rows.lower.shape[1] == 0:
            return (self.rows.others - self.course.others[self.label])[:, None]
        return np.asarray(self.rows.lower - self.course.groups)


def no_bounds(n_rows: int, course: Course) -> Bounds:
    """State of a block before its first pass."""
    (k, d), t = course.centers.shape, len(course.members)
    rows = Known(
        np.full(n_rows, -1, np.int32),
        np.zeros(n_rows, np.float32),
        np.zeros(n_rows, np.float32),
        np.zeros((n_rows, t if t > 1 else 0), np.float32),
        empty_sums(k, d),
    )
    return Bounds(course, rows)


def bounds_bytes(n_rows: int, n_groups: int) -> int:
    """Memory of the bounds of so many rows."""
    return n_rows * (12 + (4 * n_groups if n_groups > 1 else 0))


def move_bounds(
    X: Array, weight: Array | None, aim: Aim, known: Bounds, course: Course | None = None
) -> int:
    """Brings ``known`` to other centres; returns how many distances were computed.

    Parameters
    ----------
    X : (n, d) array, float32 or float64
    weight : (n,) weights at least 0, or None for ones; the same at every call
    aim : the centres
    known : changed in place
    course : that of ``known`` on to the centres of ``aim``, where the caller has it for several blocks

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
    as_centers(aim.centers, d)
    course = known.course = course or known.course.to(aim.centers)
    grid = [frozen(part) for part in course.grid]
    weights, room = as_column(weight, "weight", n), room_for(d, *course.members.shape)
    return int(bounds_tiles.bounded(frozen(X), weights, aim, course.way, known.rows, *grid, room))


def room_for(d: int, n_groups: int, width: int) -> Work:
    """Room for a batch of open rows."""
    spare = BATCH + 3
    return Work(
        is_open=np.empty(SCAN, np.bool_),
        row=np.empty(BATCH, np.int64),
        tile=np.empty((BATCH, d), np.float32),
        gap=np.empty(BATCH),
        base=np.empty(BATCH, np.float32),
        root=np.empty(BATCH, np.float32),
        reached=np.empty(BATCH, np.float32),
        closest=np.empty(BATCH, np.float32),
        chosen=np.empty(BATCH, np.int64),
        tied=np.empty(BATCH, np.bool_),
        limit=np.empty(BATCH, np.float32),
        asked=np.empty((n_groups, spare), np.uint32),
        asking=np.empty(n_groups, np.int64),
        luck=np.array([1.0, 0.0]),
        scores=np.empty((spare, width), np.float32),
        least=np.empty(spare, np.float32),
        floor=np.empty(BATCH, np.float32),
        bound=np.full(whole_width(n_groups), LARGEST, np.float32),
    )


def own_inertia(X: Array, weight: Array | None, centers: Array, label: Array) -> float:
    """Weighted sum of squared distances of rows to the centres of their labels: one distance a row."""
    weights, points = as_column(weight, "weight", len(X)), as_centers(centers, X.shape[1])
    return float(bounds_tiles.own_squares(frozen(X), weights, points, frozen(label)))


__all__ = [
    "Bounds",
    "Course",
    "bounds_bytes",
    "course_from",
    "move_bounds",
    "no_bounds",
    "own_inertia",
    "whole_width",
]
