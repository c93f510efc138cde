"""Mini-batches of resident rows: drawn by global row number, so by no chunk's boundary.

Rows lie one after the other on a line, each as long as it weighs, and a draw is a place on it::

    rows     0      1   2 3          4        row 2 weighs nothing: no place is its own
            |------|---||-----------|---|
    places       x            x  x            drawn by the driver, keyed by seed and step
    rows         0            3  3

Lengths are whole numbers, so where a row begins is exact and depends on no chunk. A block knows its own rows'
ends, and is told where it begins. Rows that were cut elsewhere when they moved to another worker begin where
nobody measured: such a block says so, and the round is repeated with a new :class:`Line`. Without weights
every row is one long and the place is the row.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from daskml_kit.cluster.selection import Asked, Chosen, merged, winners
from daskml_kit.kernels import assign
from daskml_kit.kernels.exact_sums import Grid, resolved
from daskml_kit.runtime.block import Block
from daskml_kit.runtime.dataset import BlockDataset
from daskml_kit.runtime.events import Measured
from daskml_kit.runtime.executor import Executor
from daskml_kit.runtime.ingest import DataFacts
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.typing import Array, FloatArray, IntArray

BITS = 62
"""Lengths of all rows together take no more. Rows of less than ``n 2**-62`` times the heaviest's weight are
never drawn."""

ENDS = "mini-batch ends"
"""In the scratch: the scale, and where each row of the block ends, counted from its first."""


class Line(NamedTuple):
    """Where rows lie by their weights."""

    length: int
    """Of all rows."""
    scale: int | None = None
    """A row of weight ``w`` is ``w 2**scale`` long, rounded; None for one each."""
    starts: IntArray = np.empty(0, np.int64)
    """(b,) first global row of each block, increasing."""
    before: IntArray = np.empty(0, np.int64)
    """(b,) length of all rows before it."""

    def places(self, draws: FloatArray) -> IntArray:
        """Draws of [0, 1) as places, increasing."""
        places = np.minimum((draws * self.length).astype(np.int64), self.length - 1)
        return np.sort(places)

    def local(self, block: Block, places: IntArray) -> IntArray | None:
        """The block's own rows at these places, one for each; None where it begins is not known."""
        if self.scale is None:
            low, high = np.searchsorted(places, (block.start, block.start + block.n_rows))
            return places[low:high] - block.start
        if not block.n_rows:
            return np.empty(0, np.int64)
        at = int(np.searchsorted(self.starts, block.start))
        if at == len(self.starts) or self.starts[at] != block.start:
            return None
        ends, first = _ends(block, self.scale), self.before[at]
        low, high = np.searchsorted(places, (first, first + ends[-1]))
        own: IntArray = np.searchsorted(ends, places[low:high] - first, side="right")
        return own


def line_of(executor: Executor, data: BlockDataset) -> Line:
    """One pass over the weights; none where all are one."""
    facts = data.facts
    if facts.heaviest == 1.0 and facts.weight_sum == facts.n_rows:
        return Line(facts.n_rows)
    return executor.reduce(data, LENGTHS, _scale(facts))


def _scale(facts: DataFacts) -> int:
    exponents = math.frexp(facts.heaviest)[1] + math.ceil(math.log2(facts.n_rows + 1))
    return BITS - exponents


def _ends(block: Block, scale: int) -> IntArray:
    known: tuple[int, IntArray] | None = block.scratch.get(ENDS)
    if known is None or known[0] != scale:
        weight = np.ones(block.n_rows) if block.weight is None else block.weight
        lengths = np.rint(np.ldexp(weight, scale)).astype(np.int64)
        known = block.scratch[ENDS] = scale, np.cumsum(lengths)
    return known[1]


class Lengths(NamedTuple):
    """Of some blocks."""

    scale: int
    starts: IntArray
    """(b,)"""
    lengths: IntArray
    """(b,)"""


def _lengths_chunk(block: Block, scale: int) -> Lengths:
    if not block.n_rows:
        return Lengths(scale, np.empty(0, np.int64), np.empty(0, np.int64))
    return Lengths(scale, np.array([block.start]), _ends(block, scale)[-1:])


def _lengths_combined(a: Lengths, b: Lengths) -> Lengths:
    return Lengths(
        a.scale, np.concatenate([a.starts, b.starts]), np.concatenate([a.lengths, b.lengths])
    )


def _line(found: Lengths) -> Line:
    order = np.argsort(found.starts)
    ends = np.cumsum(found.lengths[order])
    before = np.concatenate([[0], ends[:-1]]).astype(np.int64)
    return Line(int(ends[-1]), found.scale, found.starts[order], before)


LENGTHS: Reduction[int, Lengths, Line] = Reduction(
    "mini-batch-line", _lengths_chunk, _lengths_combined, _line
)


# ---------------------------------------------------------------- a step


class Batch(NamedTuple):
    """Which rows to measure, and where the centres are."""

    places: IntArray | None
    """(m,) increasing; they may repeat. Rows drawn count one each. None for all rows by their weights."""
    line: Line
    centers: FloatArray
    origin: FloatArray
    grid: Grid


class BatchSums(NamedTuple):
    """What a step needs of a batch."""

    sums: FloatArray
    """(k, d) sum of each centre's rows."""
    counts: FloatArray
    """(k,)"""
    inertia: float
    missed: bool
    """Whether a block did not know where it begins."""


def _chunk(block: Block, batch: Batch) -> tuple[FloatArray, float, bool]:
    X, weight, missed = block.X, block.weight, False
    if batch.places is not None:
        own = batch.line.local(block, batch.places)
        missed = own is None
        X, weight = X[:0] if own is None else X[own], None
    found = assign(X, weight, batch.centers, batch.grid, origin=batch.origin)
    return found.sums, found.inertia, missed


def _combined(
    a: tuple[FloatArray, float, bool], b: tuple[FloatArray, float, bool]
) -> tuple[FloatArray, float, bool]:
    return a[0] + b[0], a[1] + b[1], a[2] or b[2]


def _finished(part: tuple[FloatArray, float, bool]) -> BatchSums:
    return BatchSums(*resolved(part[0]), *part[1:])


STEP: Reduction[Batch, tuple[FloatArray, float, bool], BatchSums] = Reduction(
    "mini-batch", _chunk, _combined, _finished
)


def few_rows(found: BatchSums) -> Measured:
    """What a round over the rows drawn reports: an inertia, and no pass."""
    return Measured(found.inertia, passes=0)


# ---------------------------------------------------------------- rows themselves


class Rows(NamedTuple):
    """Dense rows, by increasing global number: the bundles' order is that of the rows."""

    points: Array
    missed: bool
    """As of :class:`BatchSums`."""


def _rows_chunk(block: Block, at: tuple[Line, IntArray]) -> Rows:
    own = at[0].local(block, at[1])
    points: Any = block.X[:0] if own is None else block.X[own]
    return Rows(points if isinstance(points, np.ndarray) else points.toarray(), own is None)


def _stacked(a: Rows, b: Rows) -> Rows:
    return Rows(np.concatenate([a.points, b.points]), a.missed or b.missed)


ROWS: Reduction[tuple[Line, IntArray], Rows, Rows] = Reduction(
    "mini-batch-rows", _rows_chunk, _stacked
)
"""The rows at some places."""


def no_pass(_: Rows) -> Measured:
    """What a round for a few rows reports."""
    return Measured(float("nan"), passes=0)


def drawing(seed: int, asked: Asked) -> Reduction[None, Chosen, Chosen]:
    """Different rows, in proportion to their weights: one pass."""
    return Reduction("mini-batch-draw", partial(_drawn, seed, asked), partial(merged, asked.size))


def _drawn(seed: int, asked: Asked, block: Block, _: None) -> Chosen:
    return winners(block, seed, asked)


__all__ = [
    "ROWS",
    "STEP",
    "Batch",
    "BatchSums",
    "Line",
    "Rows",
    "drawing",
    "few_rows",
    "line_of",
    "no_pass",
]
