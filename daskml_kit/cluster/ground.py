"""The ground that a clustering stands on: resident rows near the origin, and one survey of them.

The survey is one pass that gives mean and variance of the columns and draws the first rows. Data whose
mean is far away compared with their spread are moved to the origin, as scikit-learn moves all data: sums
over clusters would lose the digits that tell the rows apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from daskml_kit.cluster.columns import Columns, Spread, columns, combined, spread
from daskml_kit.cluster.selection import Asked, Chosen, merged, winners
from daskml_kit.kernels.exact_sums import Grid, grid_for
from daskml_kit.runtime.block import Block, Bundle
from daskml_kit.runtime.dataset import BlockDataset
from daskml_kit.runtime.executor import Executor
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.typing import Array, FloatArray

FAR = 1e3
"""Distance of the mean from the origin, in standard deviations, from which data are moved. Nearer, a
centre of n rows loses at most ``3 + log10(n) / 2`` of 16 digits."""


@dataclass(frozen=True, eq=False)
class Ground:
    """Resident rows, moved or not, and where their rounds run."""

    executor: Executor
    data: BlockDataset
    origin: FloatArray  # (d,) mean of the rows as they now are
    shift: FloatArray  # (d,) what was taken off every row: zeros where they were not moved
    grid: Grid  # of exact sums over the rows
    square: float  # weighted sum of the squared distances of the rows to ``origin``

    def moved(self, points: Array) -> FloatArray:
        """The caller's coordinates to those of the resident rows, in the dtype of X."""
        out: FloatArray = (points - self.shift).astype(self.data.facts.dtype)
        return out

    def moved_back(self, points: Array) -> FloatArray:
        """The other way."""
        out: FloatArray = (points + self.shift).astype(self.data.facts.dtype)
        return out


class Survey(NamedTuple):
    """What one pass tells: moments of the columns, and the rows drawn for each purpose."""

    columns: Columns
    spread: Spread
    heaviest: float
    """The largest weight of a row."""
    drawn: tuple[Chosen, ...]


class Limits(NamedTuple):
    """Keys that none of the rows drawn reaches: with more, a block need not send them."""

    plain: float
    """Of rows without weights."""
    weighted: float

    def of(self, block: Block) -> float:
        """For the rows of a block."""
        return self.plain if block.weight is None else self.weighted


def survey(
    executor: Executor, data: BlockDataset, seed: int, asked: Sequence[Asked] = ()
) -> Survey:
    """Moments, and for each of ``asked`` rows drawn in proportion to their weights: one pass."""
    asked, facts = tuple(asked), data.facts
    limits = [
        Limits(one.limit(facts.n_rows, 1.0), one.limit(facts.weight_sum, facts.heaviest))
        for one in asked
    ]
    reduction: Reduction[int, Survey, Survey] = Reduction(
        "survey",
        partial(_survey_chunk, tuple(zip(asked, limits, strict=True))),
        partial(_survey_combined, asked),
    )
    return executor.reduce(data, reduction, seed)


def _survey_chunk(asked: Sequence[tuple[Asked, Limits]], block: Block, seed: int) -> Survey:
    drawn = tuple(winners(block, seed, one, limits.of(block)) for one, limits in asked)
    found = columns(block.X)
    weighted = (
        Spread(float(block.n_rows), found.mean, float(found.squares.sum()))
        if block.weight is None
        else spread(block.X, block.weight, found.mean)
    )
    return Survey(found, weighted, block.heaviest, drawn)


def _survey_combined(asked: Sequence[Asked], a: Survey, b: Survey) -> Survey:
    drawn = (merged(one.size, p, q) for one, p, q in zip(asked, a.drawn, b.drawn, strict=True))
    return Survey(
        combined(a.columns, b.columns),
        a.spread + b.spread,
        max(a.heaviest, b.heaviest),
        tuple(drawn),
    )


@contextmanager
def prepared(executor: Executor, data: BlockDataset, found: Survey) -> Iterator[Ground]:
    """``data`` as they are, or a copy moved to the origin, which replaces them and is released here."""
    facts, mean = found.columns, found.columns.mean
    shift = shift_of(facts, data.facts.sparse)
    grid, square = grid_of(found, shift), found.spread.about(mean)
    if not shift.any():
        yield Ground(executor, data, mean, shift, grid, square)
        return
    copy = executor.map(data, _moved_bundle, shift)
    data.release()
    with copy:
        yield Ground(executor, copy, mean - shift, shift, grid, square)


def grid_of(found: Survey, shift: FloatArray) -> Grid:
    """The grid of sums over weighted rows that were moved by ``shift``."""
    low, high = np.abs(found.columns.lowest - shift), np.abs(found.columns.highest - shift)
    # Twice as much: moved rows of float32 are rounded once more.
    largest = 2.0 * np.append(np.maximum(low, high), 1.0) * found.heaviest
    return grid_for(largest, found.columns.n_rows)


def shift_of(found: Columns, sparse: bool) -> FloatArray:
    """What to take off every row: zeros for CSR and for data near the origin.

    A multiple of a power of two near the spread: subtracting it is exact, and the rounding of the mean,
    which depends on the chunks, does not show.
    """
    spread = float(np.sqrt(found.variance.mean()))
    if sparse or np.abs(found.mean).max(initial=0.0) <= FAR * spread:
        return np.zeros(len(found.mean))
    if spread == 0.0:
        return found.mean
    grid = 2.0 ** np.round(np.log2(spread))
    shift: FloatArray = np.round(found.mean / grid) * grid
    return shift


def _moved_bundle(bundle: Bundle, shift: FloatArray) -> Bundle:
    return bundle.map(partial(_moved_block, shift))


def _moved_block(shift: FloatArray, block: Block) -> Block:
    X = np.asarray(block.X)
    return Block((X - shift).astype(X.dtype), block.y, block.weight, block.start, block.index)


__all__ = ["Ground", "Survey", "grid_of", "prepared", "survey"]
