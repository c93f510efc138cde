"""Moments of all cross-validation folds from one pass over the data.

Rows that play the same part in every split form a cell: with k disjoint folds there are k cells, with splits
that overlap more. The pass reduces the moments of each cell; those of any training or test set are sums of
them, on the driver::

    rows      0 ................................................ n
    folds     |--- 0 ---|--- 1 ---|--- 2 ---|--- 3 ---|--- 4 ---|      one pass: moments of each
    split 2    train     train      test      train     train          0 + 1 + 3 + 4 | 2

The test error of any linear model follows from the moments of the test set, so a whole path of penalties is
validated without reading a row again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np

from daskml_kit.exceptions import InvalidDataError, InvalidParameterError
from daskml_kit.kernels import Moments, combine_moments, moments
from daskml_kit.runtime.block import Block
from daskml_kit.runtime.ingest import DataFacts
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.typing import FloatArray, IntArray

CELL_BYTES = 1 << 30
"""Most bytes that the driver holds for the moments of all cells."""


@dataclass(frozen=True, eq=False)
class RowCells:
    """The cell of each global row, as runs of rows of one cell.

    Attributes
    ----------
    starts : (n_runs,) first global row of each run; the first is 0
    cells : (n_runs,) cell of each run
    """

    starts: IntArray
    cells: IntArray

    def of(self, rows: range) -> list[tuple[int, slice | IntArray]]:
        """The cells in ``rows``, and which of these rows, counted from their first, are in each."""
        if not len(rows):
            return []
        low = int(np.searchsorted(self.starts, rows.start, side="right")) - 1
        high = int(np.searchsorted(self.starts, rows.stop, side="left"))
        edges = np.r_[np.maximum(self.starts[low:high], rows.start), rows.stop] - rows.start
        codes = self.cells[low:high]
        if len(np.unique(codes)) == len(codes):
            return [(int(c), slice(*edges[i : i + 2].tolist())) for i, c in enumerate(codes)]
        each = np.repeat(codes, np.diff(edges))
        return [(int(c), np.flatnonzero(each == c)) for c in np.unique(codes)]


class Split(NamedTuple):
    """One split, in cells."""

    train: tuple[int, ...]
    test: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Splits:
    """All splits of a cross-validation over global rows."""

    cells: RowCells
    splits: tuple[Split, ...]
    n_cells: int


def row_splits(cv: Any, facts: DataFacts) -> Splits:
    """The splits that scikit-learn's cross-validation makes of these rows.

    Parameters
    ----------
    cv : None (5 folds), int (contiguous folds), a splitter, or an iterable of (train, test) row numbers
        A splitter is asked on the driver, without y and groups; it and an iterable cost O(rows) there.
    facts : of the data

    Raises
    ------
    InvalidParameterError
        For a splitter that needs y or groups, row numbers that come twice, or more folds than rows.

    Examples
    --------
    >>> RowCells(np.array([0, 5]), np.array([0, 1])).of(range(3, 7))
    [(0, slice(0, 2, None)), (1, slice(2, 4, None))]
    """
    from sklearn.model_selection import KFold  # the driver's: the pass runs without scikit-learn

    cv = 5 if cv is None else cv
    if type(cv) is KFold and not cv.shuffle:
        cv = cv.n_splits
    if isinstance(cv, Integral):
        splits = _contiguous(int(cv), facts.n_rows)
    else:
        splits = _grouped(_asked(cv, facts.n_rows), facts.n_rows)
    return splits


def refuse_many_moments(cv: Any, splits: Splits, facts: DataFacts) -> None:
    """The moments of all cells would not fit the driver.

    Raises
    ------
    InvalidParameterError
    """
    width = facts.n_features + max(facts.n_outputs, 1)
    size = splits.n_cells * width**2 * 8
    if size > CELL_BYTES:
        raise InvalidParameterError(
            f"cv={cv!r} makes {splits.n_cells} groups of rows, whose moments of {width} columns take "
            f"{size / 1e9:.1f} GB on the driver; {CELL_BYTES / 1e9:.1f} GB are allowed. Use fewer "
            "or disjoint folds, or fewer features."
        )


def _contiguous(n_splits: int, n_rows: int) -> Splits:
    """``KFold(n_splits)`` without shuffling: the first folds are one row longer."""
    if not 2 <= n_splits <= n_rows:
        raise InvalidParameterError(
            f"cv must be an integer from 2 to the number of rows, got {n_splits} for n_samples={n_rows}."
        )
    sizes = np.full(n_splits, n_rows // n_splits)
    sizes[: n_rows % n_splits] += 1
    starts = np.r_[0, np.cumsum(sizes)[:-1]]
    codes = range(n_splits)
    splits = tuple(Split(tuple(c for c in codes if c != test), (test,)) for test in codes)
    return Splits(RowCells(starts, np.arange(n_splits)), splits, n_splits)


def _asked(cv: Any, n_rows: int) -> list[tuple[Any, Any]]:
    rows = np.broadcast_to(0.0, (n_rows, 1))  # no memory: only its length counts
    if isinstance(cv, str) or not (hasattr(cv, "split") or isinstance(cv, Iterable)):
        raise InvalidParameterError(
            "cv must be None, an integer, a splitter, or an iterable of (train, test) row numbers, "
            f"got {cv!r}."
        )
    try:
        pairs = list(cv.split(rows)) if hasattr(cv, "split") else list(cv)
        return [(train, test) for train, test in pairs]
    except (TypeError, ValueError) as error:
        raise InvalidParameterError(
            f"cv={cv!r} cannot split the rows by their number alone: {str(error).rstrip('.')}. y and groups "
            "stay where the data are. Pass an integer, a splitter that needs neither, or an iterable of "
            "(train, test) row numbers."
        ) from error


def _grouped(pairs: Sequence[tuple[Any, Any]], n_rows: int) -> Splits:
    """Cells of rows with the same part (0 none, 1 train, 2 test) in every split."""
    if not pairs:
        raise InvalidParameterError("cv must have at least one split, got none.")
    cell = np.zeros(n_rows, dtype=np.int64)
    parts = np.zeros((1, 0), dtype=np.int8)  # (n_cells, splits so far)
    for train, test in pairs:
        part = np.zeros(n_rows, dtype=np.int8)
        for code, rows in ((1, train), (2, test)):
            part[_rows_of(rows, part, n_rows)] = code
        both, cell = np.unique(cell * 3 + part, return_inverse=True)
        parts = np.column_stack([parts[both // 3], both % 3])
    starts = np.flatnonzero(np.r_[True, cell[1:] != cell[:-1]])
    members = [
        [tuple(np.flatnonzero(column == code).tolist()) for code in (1, 2)] for column in parts.T
    ]
    splits = tuple(Split(train, test) for train, test in members)
    return Splits(RowCells(starts, cell[starts].astype(np.int32)), splits, len(parts))


def _rows_of(rows: Any, taken: IntArray, n_rows: int) -> IntArray:
    index = np.asarray(rows)
    index = np.flatnonzero(index) if index.dtype == np.bool_ else index.astype(np.int64)
    if len(index) == 0 or index.min() < 0 or index.max() >= n_rows:
        raise InvalidParameterError(
            f"cv must give row numbers from 0 to {n_rows - 1} for training and for testing, got "
            f"{len(index)} of them" + (f", {index.min()} to {index.max()}." if len(index) else ".")
        )
    if len(np.unique(index)) < len(index) or taken[index].any():
        raise InvalidParameterError(
            "cv gives a row twice in one split: moments of repeated rows are not kept. Pass weights to "
            "fit instead, or splits without repetition."
        )
    return index


def _cells_chunk(block: Block, cells: RowCells) -> dict[int, Moments]:
    out: dict[int, Moments] = {}
    for cell, rows in cells.of(block.rows):
        y = None if block.y is None else block.y[rows]
        weight = None if block.weight is None else block.weight[rows]
        out[cell] = moments(block.X[rows], y, weight)
    return out


def _cells_combine(a: dict[int, Moments], b: dict[int, Moments]) -> dict[int, Moments]:
    both = {cell: combine_moments(a[cell], b[cell]) for cell in a.keys() & b.keys()}
    return {**a, **b, **both}


FOLD_MOMENTS: Reduction[RowCells, dict[int, Moments], dict[int, Moments]] = Reduction(
    "fold-moments", _cells_chunk, _cells_combine
)
"""Moments of each cell of rows: one pass, whatever the number of cells."""


def pooled(parts: dict[int, Moments], cells: Iterable[int]) -> Moments:
    """Moments of several cells together."""
    return reduce(combine_moments, (parts[c] for c in sorted(cells)))


def fold_moments(
    parts: dict[int, Moments], splits: Sequence[Split]
) -> list[tuple[Moments, Moments]]:
    """Training and test moments of each split.

    Raises
    ------
    InvalidDataError
        If a set has no row of positive weight.
    """
    sets = [(pooled(parts, s.train), pooled(parts, s.test)) for s in splits]
    for i, (train, test) in enumerate(sets):
        refuse_weightless(i, train.weight_sum, test.weight_sum)
    return sets


def refuse_weightless(split: int, train: float, test: float) -> None:
    """A set of a split has no row of positive weight.

    Raises
    ------
    InvalidDataError
    """
    for name, weight_sum in (("training", train), ("test", test)):
        if weight_sum <= 0:
            raise InvalidDataError(
                f"All sample weights of the {name} rows of split {split} are zero: nothing can be fitted or "
                "validated there. Use other splits, or drop the rows of weight zero."
            )


def squared_errors(test: Moments, coefs: FloatArray, intercepts: FloatArray, t: int) -> FloatArray:
    """Mean squared error of several models on the rows of ``test``, from their moments.

    ``1/W sum_i s_i (y_i - x_i.w - b)^2 = (yy - 2 w'q + w'Gw)/W + (mean_y - mean_x.w - b)^2``, which cannot
    be less than 0 but for rounding.

    Parameters
    ----------
    test : of the test set
    coefs : (n_models, n_features)
    intercepts : (n_models,)
    t : which target
    """
    spread = (
        test.yy[t] - 2.0 * coefs @ test.xy[:, t] + np.einsum("ij,ij->i", coefs @ test.xx, coefs)
    )
    bias = test.mean_y[t] - coefs @ test.mean_x - intercepts
    return np.asarray(np.maximum(spread, 0.0) / test.weight_sum + bias**2)


__all__ = [
    "FOLD_MOMENTS",
    "RowCells",
    "Split",
    "Splits",
    "fold_moments",
    "pooled",
    "refuse_many_moments",
    "refuse_weightless",
    "row_splits",
    "squared_errors",
]
