"""Mini-batches of resident rows: drawn by global row number, so by no chunk's boundary."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from daskml_kit.kernels import assign
from daskml_kit.kernels.exact_sums import Grid, resolved
from daskml_kit.runtime.block import Block
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.typing import Array, FloatArray, IntArray


class Batch(NamedTuple):
    """Which rows to measure, and where the centres are."""

    rows: IntArray | None
    """(m,) global row numbers, increasing; they may repeat. None for all rows."""
    centers: FloatArray
    origin: FloatArray
    grid: Grid


class BatchSums(NamedTuple):
    """What a step needs of a batch."""

    sums: FloatArray
    """(k, d) weighted sum of each centre's rows."""
    counts: FloatArray
    """(k,)"""
    inertia: float


def _chunk(block: Block, batch: Batch) -> tuple[FloatArray, float]:
    X, weight = block.X, block.weight
    if batch.rows is not None:
        own = _own(block, batch.rows)
        X, weight = X[own], None if weight is None else weight[own]
    found = assign(X, weight, batch.centers, batch.grid, origin=batch.origin)
    return found.sums, found.inertia


def _own(block: Block, rows: IntArray) -> IntArray:
    low, high = np.searchsorted(rows, (block.start, block.start + block.n_rows))
    own: IntArray = rows[low:high] - block.start
    return own


def _combined(a: tuple[FloatArray, float], b: tuple[FloatArray, float]) -> tuple[FloatArray, float]:
    return a[0] + b[0], a[1] + b[1]


def _finished(part: tuple[FloatArray, float]) -> BatchSums:
    return BatchSums(*resolved(part[0]), part[1])


STEP: Reduction[Batch, tuple[FloatArray, float], BatchSums] = Reduction(
    "mini-batch", _chunk, _combined, _finished
)


def _rows_chunk(block: Block, rows: IntArray) -> Array:
    own = _own(block, rows)
    return np.asarray(block.X[own] if isinstance(block.X, np.ndarray) else block.X[own].toarray())


def _stacked(a: Array, b: Array) -> Array:
    return np.concatenate([a, b])


ROWS: Reduction[IntArray, Array, Array] = Reduction("rows", _rows_chunk, _stacked)
"""Some rows, dense, by increasing global number: the bundles' order is that of the rows."""

__all__ = ["ROWS", "STEP", "Batch", "BatchSums"]
