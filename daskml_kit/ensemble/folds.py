"""Which fold each row is in, found where the row lives. The folds are scikit-learn's, and no index is sent.

A row's fold follows from its global number (k-fold) or from its rank among the rows of its class
(stratified); for the latter one round counts the classes of every block.
"""

from __future__ import annotations

import warnings
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from sklearn.model_selection import KFold, StratifiedKFold, check_cv

from daskml_kit.exceptions import InvalidParameterError
from daskml_kit.runtime.block import Block
from daskml_kit.runtime.dataset import BlockDataset
from daskml_kit.runtime.executor import Executor
from daskml_kit.runtime.local import LocalExecutor
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.typing import Array, IntArray

FoldOf: TypeAlias = "Callable[[Block], IntArray]"


@dataclass(frozen=True, eq=False)
class Folds:
    """A partition of the rows; ``of(block)`` says the fold of each row of a block."""

    n_splits: int
    of: FoldOf


def folds_of(cv: Any, executor: Executor, data: BlockDataset) -> Folds:
    """The folds that ``cv`` makes of the rows of ``data``.

    Parameters
    ----------
    cv : None (5), an int, KFold or StratifiedKFold; any other splitter or list of splits only for data in
        this process
    executor, data : of the running fit; the blocks must stay as they are until the folds were used

    Raises
    ------
    InvalidParameterError
        For more folds than rows or rows of a class, splits that don't partition the rows, and splitters
        that need all of y at once where it is on a cluster.
    """
    classes, n_rows = data.facts.classes, data.facts.n_rows
    try:
        splitter: Any = check_cv(cv, y=None, classifier=False)
        whole = cv is None or isinstance(cv, int | np.integer)
        if whole and classes is not None:
            splitter = StratifiedKFold(splitter.n_splits)
    except (TypeError, ValueError) as error:
        raise InvalidParameterError(f"cv={cv!r} is no way to split rows: {error}") from None
    kind, shuffled = type(splitter), getattr(splitter, "shuffle", False)
    if kind is StratifiedKFold and classes is None:
        raise InvalidParameterError("StratifiedKFold needs classes, and y has values. Use KFold.")
    if kind is KFold and not shuffled:
        return _k_fold(splitter.n_splits, n_rows)
    if kind is StratifiedKFold and not shuffled:
        return _stratified(splitter.n_splits, executor, data)
    if not isinstance(executor, LocalExecutor):
        raise InvalidParameterError(
            f"cv={splitter!r} needs all of y in one place, and the data are on a cluster. Use an int, or "
            "KFold or StratifiedKFold with shuffle=False."
        )
    return _listed(splitter, data)


# ---------------------------------------------------------------- by row number


def _k_fold(n_splits: int, n_rows: int) -> Folds:
    if n_splits > n_rows:
        raise InvalidParameterError(
            f"Cannot have number of splits n_splits={n_splits} greater than the number of samples: "
            f"n_samples={n_rows}."
        )
    sizes = np.full(n_splits, n_rows // n_splits)
    sizes[: n_rows % n_splits] += 1
    return Folds(n_splits, _ByRow(np.cumsum(sizes)))


@dataclass(frozen=True, eq=False)
class _ByRow:
    ends: IntArray  # the row after the last of each fold

    def __call__(self, block: Block) -> IntArray:
        return np.searchsorted(self.ends, np.asarray(block.rows), side="right")


# ---------------------------------------------------------------- by rank in the class


class _Seen(NamedTuple):
    """Classes of one block: how many rows, and the first global row of each (-1: none)."""

    start: int
    counts: IntArray
    first: IntArray


def _see(block: Block, n_classes: int) -> tuple[_Seen, ...]:
    codes = np.asarray(block.y)
    first = np.full(n_classes, -1)
    present, at = np.unique(codes, return_index=True)
    first[present] = at + block.start
    return (_Seen(block.start, np.bincount(codes, minlength=n_classes), first),)


def _chain(a: tuple[_Seen, ...], b: tuple[_Seen, ...]) -> tuple[_Seen, ...]:
    return a + b


_SEE: Reduction[int, tuple[_Seen, ...], tuple[_Seen, ...]] = Reduction(
    "count-classes", _see, _chain
)


def _stratified(n_splits: int, executor: Executor, data: BlockDataset) -> Folds:
    assert data.facts.classes is not None
    blocks = executor.reduce(data, _SEE, len(data.facts.classes))
    blocks = tuple(sorted((b for b in blocks if b.counts.any()), key=lambda b: b.start))
    counts = np.array([b.counts for b in blocks])
    total = counts.sum(axis=0)
    if n_splits > total.max():
        raise InvalidParameterError(
            f"n_splits={n_splits} cannot be greater than the number of members in each class."
        )
    if n_splits > total.min():
        warnings.warn(
            f"The least populated class in y has only {total.min()} members, which is less than "
            f"n_splits={n_splits}.",
            UserWarning,
            stacklevel=2,
        )
    seen = np.array([b.first for b in blocks])
    first = np.where(seen < 0, data.facts.n_rows, seen).min(axis=0)
    ends = np.cumsum(_allocation(total, first, n_splits), axis=0)
    before = np.cumsum(counts, axis=0) - counts
    return Folds(n_splits, _ByRank([b.start for b in blocks], before, ends))


def _allocation(total: IntArray, first: IntArray, n_splits: int) -> IntArray:
    """Rows of each class in each fold, (n_splits, n_classes).

    scikit-learn deals the rows, sorted by class, out to the folds in turn; the classes come in the order
    of their first row.
    """
    order = np.argsort(first)
    ends = np.cumsum(total[order])
    fold = np.arange(n_splits)[:, None]
    upto = -(-(ends - fold) // n_splits)
    since = -(-(ends - total[order] - fold) // n_splits)
    out = np.empty((n_splits, len(total)), dtype=np.intp)
    out[:, order] = upto - since
    return out


@dataclass(frozen=True, eq=False)
class _ByRank:
    starts: list[int]  # of the blocks, increasing
    before: IntArray  # (n_blocks, n_classes): rows of each class before the block
    ends: IntArray  # (n_splits, n_classes): the rank after the last of each fold

    def __call__(self, block: Block) -> IntArray:
        codes = np.asarray(block.y)
        out = np.zeros(len(codes), dtype=np.intp)
        if not len(codes):
            return out
        at = bisect_right(self.starts, block.start) - 1
        for c in np.unique(codes):
            own = np.flatnonzero(codes == c)
            ranks = self.before[at, c] + np.arange(len(own))
            out[own] = np.searchsorted(self.ends[:, c], ranks, side="right")
        return out


# ---------------------------------------------------------------- by a list


def _listed(splitter: Any, data: BlockDataset) -> Folds:
    n_rows = data.facts.n_rows
    y = np.zeros(n_rows, dtype=np.float64)
    for block in (b for ref in data.bundles for b in ref.handle):
        y[block.start : block.start + block.n_rows] = block.y
    if data.facts.classes is not None:
        y = y.astype(np.intp)
    tests = [test for _, test in splitter.split(np.zeros((n_rows, 1)), y)]
    fold: Array = np.full(n_rows, -1)
    for k, test in enumerate(tests):
        fold[test] = k
    if sum(len(test) for test in tests) != n_rows or fold.min() < 0:
        raise InvalidParameterError(
            f"cv={splitter!r} does not partition the rows: each must be in exactly one test set."
        )
    return Folds(len(tests), _ByList(fold))


@dataclass(frozen=True, eq=False)
class _ByList:
    fold: IntArray

    def __call__(self, block: Block) -> IntArray:
        return self.fold[block.start : block.start + block.n_rows]


__all__ = ["Folds", "folds_of"]
