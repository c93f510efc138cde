"""Bins of the features, from a sample of the rows; and what else one look at the data tells a tree.

A feature with at most ``max_bins`` distinct values in the sample has a bin for each: the splits are then
those that scikit-learn searches, at its thresholds. Others have bins of equal numbers of sampled rows.
Missing values have a bin of their own, and so has each category of a categorical feature: those are collected
from all rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from daskml_kit.kernels.binning import encode
from daskml_kit.kernels.tree_categories import Coding
from daskml_kit.kernels.tree_growth import Bins
from daskml_kit.runtime.block import Block, Bundle
from daskml_kit.runtime.dataset import BlockDataset
from daskml_kit.runtime.executor import Executor
from daskml_kit.runtime.random import uniform
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.runtime.threads import over_ranges, threads_for
from daskml_kit.typing import FloatArray, IntArray

SAMPLE_ROWS = 200_000
SAMPLE_VALUES = 8_000_000
"""The driver holds the sample: never more than this many values, 32 MB."""

MOST_VALUES = 65_536
"""Values of a categorical feature that are collected: one more than there can be bins."""

THREAD_VALUES = 100_000
"""Values to be sorted that are worth a thread of their own: a millisecond."""

SLICE_ROWS = 8_192
"""Rows of a sparse block that are dense at a time."""


@dataclass(frozen=True, eq=False)
class Binning:
    """The bins of every feature.

    Attributes
    ----------
    counts : int32 (d,)
    lows, highs : float64 (d, max_bins), least and largest sampled value of each bin
    edges : float64 (d, max_bins - 1), half way between neighbours
    categorical : int8 (d,), 1 where each bin is a category
    """

    counts: IntArray
    lows: FloatArray
    highs: FloatArray
    edges: FloatArray
    categorical: IntArray

    @property
    def missing_bin(self) -> int:
        """The code of a missing value, one above all others."""
        return int(self.lows.shape[1])

    @property
    def bins(self) -> Bins:
        """As the kernels see them."""
        return Bins(self.counts, self.lows, self.highs, self.categorical)

    @property
    def set_words(self) -> int:
        """64-bit words of a set of categories; none where no feature is categorical."""
        return self.missing_bin // 64 + 1 if self.categorical.any() else 0

    @property
    def coding(self) -> Coding | None:
        """The codes of the categorical features' values; None where there are no such features."""
        features = np.flatnonzero(self.categorical)
        values = [self.lows[f, : self.counts[f]].astype(np.float32) for f in features]
        return Coding(features, values, self.missing_bin) if len(features) else None

    def encode(self, X: Any) -> IntArray:
        """Codes of float32 rows, dense or CSR."""
        if isinstance(X, np.ndarray):
            return encode(X, self.edges, self.counts, self.missing_bin)
        parts = [
            encode(X[i : i + SLICE_ROWS].toarray(), self.edges, self.counts, self.missing_bin)
            for i in range(0, max(X.shape[0], 1), SLICE_ROWS)
        ]
        return np.concatenate(parts)

    def decode(self, codes: IntArray) -> FloatArray:
        """A value of each bin: rows that every tree over these bins treats as the originals."""
        table = np.column_stack([self.lows, np.full(len(self.lows), np.nan)]).astype(np.float32)
        out: FloatArray = table[np.arange(len(table)), codes]
        return out


class Survey(NamedTuple):
    """What one pass tells. Parts of blocks add up."""

    rows: FloatArray  # the sample, float32
    most_weight: float  # largest weight of a row
    whole_weights: bool  # all weights are whole numbers
    most_value: float  # largest |weight * y|
    most_square: float  # largest |weight * y^2| or |weight * y log y|
    least_value: float  # smallest y
    weight_sum: float
    categories: tuple[
        FloatArray, ...
    ]  # float32, ascending: distinct values of each categorical feature


class _Part(NamedTuple):
    """What one pass tells of some blocks; the sample of each apart, so that it is copied once in the end."""

    rows: tuple[FloatArray, ...]
    found: Survey  # without a sample


def survey(
    executor: Executor,
    data: BlockDataset,
    seed: int,
    poisson: bool = False,
    categorical: IntArray | None = None,
) -> Survey:
    """Draw a sample of rows, measure weights and targets, collect categories: one pass.

    Parameters
    ----------
    categorical : int array
        Which features are.
    """
    features = np.empty(0, np.intp) if categorical is None else np.flatnonzero(categorical)
    wanted = min(SAMPLE_ROWS, max(10_000, SAMPLE_VALUES // data.facts.n_features))
    share = min(1.0, wanted / data.facts.n_rows)
    reduction: Reduction[float, _Part, Survey] = Reduction(
        "tree-survey", partial(_survey_chunk, seed, poisson, features), _survey_combined, _joined
    )
    return executor.reduce(data, reduction, share)


def _survey_chunk(
    seed: int, poisson: bool, features: IntArray, block: Block, share: float
) -> _Part:
    drawn = np.ones(block.n_rows, bool)
    if share < 1:
        drawn = uniform(seed, "tree-bins", block.rows) < share
    if block.weight is not None:
        drawn &= block.weight > 0
    rows = block.X if drawn.all() else block.X[drawn]
    rows = rows.toarray() if sparse.issparse(rows) else np.asarray(rows)
    w = np.ones(block.n_rows) if block.weight is None else block.weight
    y = np.zeros(block.n_rows) if block.y is None else block.y.astype(np.float64)
    with np.errstate(over="ignore"):  # refused by the driver
        self_term = y * np.log(np.where(y > 0, y, 1.0)) if poisson else y * y
        most_square = float(np.abs(w * self_term).max(initial=0.0))
        most_value = float(np.abs(w * y).max(initial=0.0))
    rows = rows.astype(np.float32, copy=False)
    found = Survey(
        rows[:0],
        float(w.max(initial=0.0)),
        bool((w == np.rint(w)).all()),
        most_value,
        most_square,
        float(y.min(initial=np.inf)),
        float(w.sum()),
        tuple(_distinct(block.X, f) for f in features),
    )
    return _Part((rows,), found)


def _joined(part: _Part) -> Survey:
    return part.found._replace(rows=np.concatenate(part.rows))


def _survey_combined(x: _Part, y: _Part) -> _Part:
    return _Part(x.rows + y.rows, _added(x.found, y.found))


def _added(a: Survey, b: Survey) -> Survey:
    """What is known of the rows of both, beside the sample."""
    return Survey(
        a.rows,
        max(a.most_weight, b.most_weight),
        a.whole_weights and b.whole_weights,
        max(a.most_value, b.most_value),
        max(a.most_square, b.most_square),
        min(a.least_value, b.least_value),
        a.weight_sum + b.weight_sum,
        tuple(
            np.union1d(x, y)[:MOST_VALUES] for x, y in zip(a.categories, b.categories, strict=True)
        ),
    )


def _distinct(X: Any, feature: int) -> FloatArray:
    found: FloatArray = np.unique(X[:, feature].astype(np.float32, copy=False))
    return found[~np.isnan(found)][:MOST_VALUES]


def bins_of(
    rows: FloatArray,
    max_bins: int,
    categorical: IntArray | None = None,
    categories: Sequence[FloatArray] = (),
) -> Binning:
    """The bins of a sample.

    Parameters
    ----------
    rows : (n, d) float32, NaN where missing
    max_bins : int
    categorical : (d,)
        Which features are.
    categories : of each that is, at most ``max_bins`` values, ascending

    Examples
    --------
    >>> found = bins_of(np.array([[1.0, 5.0], [2.0, 5.0], [4.0, np.nan]], np.float32), 255)
    >>> found.counts, found.edges[0, :2]
    (array([3, 1], dtype=int32), array([1.5, 3. ]))
    """
    d = rows.shape[1]
    counts = np.ones(d, np.int32)
    lows, highs = np.zeros((d, max_bins)), np.zeros((d, max_bins))
    marks = np.zeros(d, np.int8) if categorical is None else np.asarray(categorical).astype(np.int8)
    known = dict(zip(np.flatnonzero(marks).tolist(), categories, strict=True))

    def find(low: int, high: int) -> None:
        for f, column in enumerate(np.ascontiguousarray(rows[:, low:high].T), low):
            values = known[f] if f in known else np.sort(column[~np.isnan(column)])
            if len(values):
                first, last = _borders(values, max_bins)
                counts[f] = len(first)
                lows[f, : len(first)], highs[f, : len(first)] = values[first], values[last]

    over_ranges(find, d, threads_for(rows), least=1 + THREAD_VALUES // max(1, len(rows)))
    edges = np.ascontiguousarray(highs[:, :-1] / 2 + lows[:, 1:] / 2)
    return Binning(counts, lows, highs, edges, marks)


def _borders(values: FloatArray, max_bins: int) -> tuple[IntArray, IntArray]:
    """Positions of the first and of the last sorted value of each bin."""
    new = np.flatnonzero(values[1:] != values[:-1]) + 1
    if len(new) >= max_bins:
        cuts = np.unique(values[np.arange(1, max_bins) * len(values) // max_bins])
        new = np.searchsorted(values, cuts)
        new = new[new > 0]
    return np.append(0, new), np.append(new - 1, len(values) - 1)


def binned(executor: Executor, data: BlockDataset, binning: Binning) -> BlockDataset:
    """The data with codes for features, resident where the data are. Release what is returned."""
    return executor.map(data, _binned_bundle, binning)


def _binned_bundle(bundle: Bundle, binning: Binning) -> Bundle:
    return bundle.map(partial(_binned_block, binning))


def _binned_block(binning: Binning, block: Block) -> Block:
    codes: Any = binning.encode(block.X)
    return Block(codes, block.y, block.weight, block.start, block.index)


__all__ = ["Binning", "Survey", "binned", "bins_of", "survey"]
