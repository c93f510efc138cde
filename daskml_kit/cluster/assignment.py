"""Rows to their nearest centres: the pass of Lloyd's iterations as a reduction.

With bounds (:mod:`daskml_kit.kernels.bounds`) a block keeps in its scratch what it knows of its rows, and
computes few distances once the centres move little. Of few columns and centres it keeps labels, and sums up
only the rows that change theirs (:mod:`daskml_kit.kernels.abreast`). The part is the same bit by bit, for
sums are exact: only the number of distances tells whether there was anything in the scratch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np

from daskml_kit.cluster.grouping import Groups
from daskml_kit.kernels import assign, nearest
from daskml_kit.kernels.abreast import Labels, Turned, relabel, turned, unlabelled
from daskml_kit.kernels.aim import Aim, aim_at
from daskml_kit.kernels.bounds import (
    Bounds,
    Course,
    course_from,
    move_bounds,
    no_bounds,
    own_inertia,
)
from daskml_kit.kernels.exact_sums import Grid, resolved
from daskml_kit.runtime.block import Block, Bundle
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.typing import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class At:
    """Centres to measure from, and how."""

    centers: FloatArray
    """(k, d)"""
    origin: FloatArray
    """(d,) a point near the data."""
    grid: Grid
    groups: Groups = None
    """What is kept of the distances."""
    run: int = 0
    """Which scratch is this one's."""

    @cached_property
    def aim(self) -> Aim:
        """What the bounds ask of the centres, once for all blocks of a task."""
        assert isinstance(self.groups, np.ndarray)
        return aim_at(self.centers, self.groups, self.origin)

    @cached_property
    def start(self) -> Course:
        """Of blocks that know nothing yet."""
        assert isinstance(self.groups, np.ndarray)
        return course_from(self.centers, self.groups, self.grid)

    @cached_property
    def _courses(self) -> dict[int, tuple[Course, Course | None]]:
        return {}

    def course(self, known: Course) -> Course | None:
        """What is known on to these centres, once for all blocks of a task; None where it is of no use."""
        assert isinstance(self.groups, np.ndarray)
        found = self._courses.get(id(known))
        if found is None:
            fits = known.fits(self.groups, self.grid)
            # With what it is made of, which keeps the name; the first of several threads names it for all.
            made = known, known.to(self.aim.centers) if fits else None
            found = self._courses.setdefault(id(known), made)
        return found[1]

    def __reduce__(self) -> tuple[Any, ...]:
        return At, (self.centers, self.origin, self.grid, self.groups, self.run)


class Tally(NamedTuple):
    """What one pass at some centres tells."""

    sums: FloatArray
    """(k, d) weighted sum of the rows of each cluster."""
    counts: FloatArray
    """(k,) weight of each cluster."""
    n_distances: int
    """Distances that were computed: the only thing here that depends on what was in the scratch."""


class Labelled(NamedTuple):
    """How well some centres fit."""

    inertia: float
    """Weighted sum of squared distances to the nearest centre."""
    labels: tuple[tuple[int, IntArray], ...]
    """First global row and labels of each block; empty where not asked for."""
    n_distances: int

    def all_labels(self) -> IntArray:
        """Labels of all rows, in order."""
        parts = sorted(self.labels, key=lambda part: part[0])
        return np.concatenate([labels for _, labels in parts])


class ExactTally(NamedTuple):
    """A tally while it is summed up."""

    sums: FloatArray  # (k, 2, d + 1)
    n_distances: int


def tally(name: str) -> Reduction[At, ExactTally, Tally]:
    """Sums and weights of all clusters: one pass, 2 k (d + 1) values a part."""
    return Reduction(name, _tally_chunk, _tally_combined, _tally_finished, _tally_joint)


def labelling(*, with_labels: bool) -> Reduction[At, Labelled, Labelled]:
    """Inertia, and labels where asked for: one pass; after a tally at the same centres, of n distances."""
    return Reduction(
        "label",
        partial(_label_chunk, with_labels),
        _label_combined,
        joint=partial(_label_joint, with_labels),
    )


TURNED = "k-means turned"
"""In the scratch: the rows for all runs."""


TOGETHER = "k-means together"
"""In the scratch of the first block of a small bundle: the rows of all its blocks."""

TOGETHER_BYTES = 1 << 23
"""Bundles up to so large are copied. A block costs 0.2 ms a round inside of a worker, where Python waits for
its lock at each call: 7 blocks of 16,000 x 3 took half of an iteration for that."""


def _key(at: At) -> str:
    return f"k-means {at.run}"


def _known(block: Block, at: At) -> tuple[Bounds, int]:
    """What the block knows at the centres, and the distances that this took."""
    # Taken out meanwhile: a pass that is broken off leaves nothing behind that is half right.
    known: Any = block.scratch.pop(_key(at), None)
    course = at.course(known.course) if isinstance(known, Bounds) else None
    if course is None:
        known, course = no_bounds(block.n_rows, at.start), at.course(at.start)
    n_distances = move_bounds(np.asarray(block.X), block.weight, at.aim, known, course)
    block.scratch[_key(at)] = known
    return known, n_distances


def turned_rows(block: Block, origin: FloatArray, *, together: bool = False) -> Turned:
    """The rows of a dense block column by column, which it keeps for all runs.

    ``together`` takes ten times as long, and pays where centres move little from pass to pass.
    """
    rows: Turned | None = block.scratch.get(TURNED)
    if rows is None or not rows.fits(origin, together=together):
        rows = block.scratch[TURNED] = turned(np.asarray(block.X), origin, together=together)
    return rows


def _together(blocks: Sequence[Block], at: At) -> Block | None:
    """The rows of all blocks as one block, where that is small and rows are measured fast; else None."""
    fast = isinstance(at.groups, str) and len(blocks) > 1
    if not fast or sum(block.nbytes for block in blocks) > TOGETHER_BYTES:
        return None
    made_of = tuple((block.start, block.n_rows) for block in blocks)
    known: tuple[Any, Block] | None = blocks[0].scratch.get(TOGETHER)
    if known is None or known[0] != made_of:
        for block in blocks:
            block.scratch.pop(TURNED, None)
        (whole,) = Bundle(tuple(blocks)).joined()
        known = blocks[0].scratch[TOGETHER] = made_of, whole
    return known[1]


def _kept(block: Block, at: At) -> tuple[Labels, int]:
    """The labels that the block keeps, at the centres, and the distances that this took."""
    k, rows = len(at.centers), turned_rows(block, at.origin, together=True)
    known: Labels | None = block.scratch.pop(_key(at), None)  # as bounds are
    if not (isinstance(known, Labels) and known.fits(rows, k, at.grid)):
        known = unlabelled(rows, block.n_rows, k, at.grid)
    met = relabel(np.asarray(block.X), block.weight, at.centers, known)
    block.scratch[_key(at)] = known
    return known, met * k


def _tally_chunk(block: Block, at: At) -> ExactTally:
    if not isinstance(at.groups, str):
        block.scratch.pop(TURNED, None)  # the start may have left them
    if at.groups is None:
        found = assign(block.X, block.weight, at.centers, at.grid, origin=at.origin)
        return ExactTally(found.sums, block.n_rows * len(at.centers))
    if isinstance(at.groups, str):
        kept, n_distances = _kept(block, at)
        return ExactTally(kept.sums.copy(), n_distances)
    known, n_distances = _known(block, at)
    return ExactTally(known.sums.copy(), n_distances)


def _tally_joint(blocks: Sequence[Block], at: At) -> ExactTally | None:
    whole = _together(blocks, at)
    return None if whole is None else _tally_chunk(whole, at)


def _tally_combined(a: ExactTally, b: ExactTally) -> ExactTally:
    return ExactTally(a.sums + b.sums, a.n_distances + b.n_distances)


def _tally_finished(part: ExactTally) -> Tally:
    return Tally(*resolved(part.sums), part.n_distances)


def _label_chunk(with_labels: bool, block: Block, at: At) -> Labelled:
    if at.groups is None:
        labels, squares = nearest(block.X, at.centers, at.origin)
        inertia = float(squares.sum() if block.weight is None else squares @ block.weight)
        n_distances = block.n_rows * len(at.centers)
    else:
        if isinstance(at.groups, str):
            kept, n_distances = _kept(block, at)
            labels = kept.label()
        else:
            known, n_distances = _known(block, at)
            labels = known.label.copy()
        inertia = own_inertia(np.asarray(block.X), block.weight, at.centers, labels)
        n_distances += block.n_rows
    return Labelled(inertia, ((block.start, labels),) if with_labels else (), n_distances)


def _label_joint(with_labels: bool, blocks: Sequence[Block], at: At) -> Labelled | None:
    whole = _together(blocks, at)
    if whole is None:
        return None
    found = _label_chunk(with_labels, whole, at)
    if not with_labels:
        return found
    edges = np.cumsum([block.n_rows for block in blocks])[:-1]
    own = np.split(found.labels[0][1], edges)
    starts = (block.start for block in blocks)
    return found._replace(labels=tuple(zip(starts, own, strict=True)))


def _label_combined(a: Labelled, b: Labelled) -> Labelled:
    return Labelled(a.inertia + b.inertia, a.labels + b.labels, a.n_distances + b.n_distances)


__all__ = ["At", "Labelled", "Tally", "labelling", "tally", "turned_rows"]
