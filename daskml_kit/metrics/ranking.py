"""Scores that follow from the order of all rows, exactly, without bringing the rows together.

The area under a curve counts pairs, so it needs one order of the rows of all blocks. It is found as a
distributed sort is: a few drawn rows tell at which scores to cut, and each lane is sent all rows of its own
range of scores, which it sorts. What a lane has to know of the others' rows is how much of each class is
below them or above, and that is a sum::

    block 0   . o . . o o .                      lane 0  . . . o . .      pairs within, weights
    block 1   o . . o . . .    --- by score -->  lane 1  . o . o o .      of each class   ---> driver
    block 2   . . o o . . o                      lane 2  o o . o o o

Equal scores go to the same lane, so ties are counted as what they are, by halves. Many *columns* of scores
(models, folds, classes) are ordered in the same rounds; the driver holds sums of columns, lanes and classes.

======================  =========================================================  ==================
sum                     of a class (o) against another (.)                         rounds
======================  =========================================================  ==================
``pairs``               ``sum_o w_o (sum of w below + half of w tied)``            cut, rank
``precision``           ``sum_o w_o TP / (TP + FP)``, at each threshold            cut, weigh, rank
======================  =========================================================  ==================

The first is Mann and Whitney's U, which divided by the weights of both classes is the area under the ROC
curve (Hanley and McNeil 1982). Spark's ``BinaryClassificationMetrics`` sorts by ranges too, and keeps 1,000
thresholds of the curve; here none is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from daskml_kit.runtime.block import Block, Bundle
from daskml_kit.runtime.dataset import BlockDataset
from daskml_kit.runtime.events import Measured
from daskml_kit.runtime.executor import Executor
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.typing import FloatArray, IntArray

SAMPLE = 128
"""Rows drawn for each range: ranges differ by about a tenth."""

LEAST = 1 << 17
"""Scores that are worth a lane of their own: a core sorts them in a hundredth of a second."""

MOST = 1 << 23
"""Scores that a lane sorts at a time, of one wave of columns: 64 MB, and as much for their weights."""

Sum: TypeAlias = Literal["pairs", "precision"]


class Column(NamedTuple):
    """Some rows' scores, all of one order."""

    scores: FloatArray
    """(n,)"""
    groups: IntArray
    """(n,) 0 for the class that should be above, others from 1 on."""
    weight: FloatArray | None
    """(n,), None for ones."""


Columns: TypeAlias = Callable[[Block, Any, range, int], "Iterator[Column] | None"]
"""(block, params, which columns, every) -> these, of those rows of a block whose global number is a multiple
of ``every``; None for a block that can't tell."""


@dataclass(frozen=True, eq=False)
class Ranked:
    """Sums over the pairs of rows of a class and another, for each column.

    Attributes
    ----------
    weights : (n_columns, n_groups) of the rows of each group
    sums : (n_columns, n_groups - 1) pairs, or (n_columns, 1) precisions
    """

    weights: FloatArray
    sums: FloatArray

    @property
    def areas(self) -> FloatArray:
        """Under the ROC curve, (n_columns, n_groups - 1); NaN where a class has no rows."""
        pairs = self.weights[:, :1] * self.weights[:, 1:]
        nothing = np.full(pairs.shape, np.nan)
        return np.asarray(np.divide(self.sums, pairs, out=nothing, where=pairs > 0))

    @property
    def precisions(self) -> FloatArray:
        """Average precision, (n_columns,); 0 where there is nothing to find."""
        own = self.weights[:, 0]
        return np.divide(self.sums[:, 0], own, out=np.zeros(len(own)), where=own > 0)


@dataclass(frozen=True, eq=False)
class Order:
    """What is to be ordered.

    Attributes
    ----------
    columns : picklable callable
    n_columns : int
    n_groups : int
    kind : {"pairs", "precision"}
    share : of all rows that a column has
    """

    columns: Columns
    n_columns: int
    n_groups: int
    kind: Sum
    share: float = 1.0


class _Cut(NamedTuple):
    """What tells where rows go."""

    given: Any
    wanted: range
    edges: FloatArray
    """(columns wanted, n_ranges - 1)"""


class Piece(NamedTuple):
    """Scores of a bundle's rows in one range, by block, column and group."""

    scores: FloatArray
    weight: FloatArray | None
    sizes: IntArray
    """(n_blocks, n_columns, n_groups)"""

    @property
    def n_rows(self) -> int:
        """Scores: a row has one in each column that it is in."""
        return len(self.scores)


def ranked(data: BlockDataset, executor: Executor, order: Order, params: Any) -> Ranked | None:
    """Order the rows of each column.

    Parameters
    ----------
    data, executor : the rows, and where their rounds run
    order : what to order
    params : what ``order.columns`` is told

    Returns
    -------
    Ranked
        None where some block could not tell its columns.

    Notes
    -----
    Rounds: one that reads a few rows where there are several ranges, for precisions one that reads all, and
    one for each wave of columns. In a wave's round each row's scores move once, from worker to worker: 8
    bytes each, and as many for weights.
    """
    scores = data.facts.n_rows * order.share * order.n_columns
    lanes = max(1, min(executor.lanes(), int(scores // LEAST)))
    n_ranges = max(lanes, int(np.ceil(data.facts.n_rows * order.share / MOST)))
    edges = _edges(data, executor, order, params, n_ranges)
    if edges is None:
        return None
    above = _above(data, executor, order, params, edges)
    if above is None:
        return None
    size = max(1, int(n_ranges * MOST / max(data.facts.n_rows * order.share, 1)))
    parts = []
    for start in range(0, order.n_columns, size):
        wanted = range(start, min(start + size, order.n_columns))
        own = slice(wanted.start, wanted.stop)
        part = executor.exchange(
            data, "rank", partial(_cut_bundle, order), partial(_rank, order),
            _Cut(params, wanted, edges[own]), [each[own] for each in above],
        )  # fmt: skip
        if any(p is None for p in part):
            return None
        parts.append(_joined(order, part))
    weights, sums = (np.concatenate(each) for each in zip(*parts, strict=True))
    return Ranked(weights, sums)


def _above(
    data: BlockDataset, executor: Executor, order: Order, params: Any, edges: FloatArray
) -> FloatArray | None:
    """Weight of the rows above each range, (n_ranges, n_columns, n_groups); zeros where nobody asks."""
    n_ranges = edges.shape[1] + 1
    if n_ranges == 1 or order.kind == "pairs":
        return np.zeros((n_ranges, order.n_columns, order.n_groups))
    weigh: Reduction[_Cut, Any, Any] = Reduction("weigh-ranges", partial(_weigh, order), _total)
    found = executor.reduce(data, weigh, _Cut(params, range(order.n_columns), edges))
    return None if found is None else np.cumsum(found[::-1], axis=0)[::-1] - found


def _total(a: Any, b: Any) -> Any:
    return None if a is None or b is None else a + b


# ---------------------------------------------------------------- where to cut


def _edges(
    data: BlockDataset, executor: Executor, order: Order, params: Any, n_ranges: int
) -> FloatArray | None:
    """Scores between ranges of about as many rows, (n_columns, n_ranges - 1)."""
    if n_ranges == 1:
        return np.zeros((order.n_columns, 0))
    every = max(1, int(data.facts.n_rows * order.share) // (SAMPLE * n_ranges))
    draw: Reduction[Any, Any, Any] = Reduction("draw-scores", partial(_draw, order), _gathered)
    drawn = executor.reduce(data, draw, (params, every), objective=_no_pass)
    if drawn is None:
        return None
    shares = np.arange(1, n_ranges) / n_ranges
    return np.array([np.quantile(s, shares, method="higher") if len(s) else shares for s in drawn])


def _no_pass(_: Any) -> Measured:
    return Measured(float("nan"), passes=0)


def _draw(order: Order, block: Block, params: Any) -> list[FloatArray] | None:
    given, every = params
    columns = order.columns(block, given, range(order.n_columns), every)
    return None if columns is None else [c.scores for c in columns]


def _gathered(a: Any, b: Any) -> Any:
    return None if a is None or b is None else [np.r_[x, y] for x, y in zip(a, b, strict=True)]


# ---------------------------------------------------------------- rows to their ranges


def _places(order: Order, column: Column, edges: FloatArray) -> IntArray:
    """Range and group of each row, as one number."""
    at = np.searchsorted(edges, column.scores, side="right")
    return np.asarray(at * order.n_groups + column.groups)


def _weigh(order: Order, block: Block, asked: _Cut) -> FloatArray | None:
    """Weight of the rows in each range and group, (n_ranges, n_columns, n_groups)."""
    columns = order.columns(block, asked.given, asked.wanted, 1)
    if columns is None:
        return None
    n_ranges = asked.edges.shape[1] + 1
    out = np.zeros((n_ranges, len(asked.wanted), order.n_groups))
    for c, (column, edges) in enumerate(zip(columns, asked.edges, strict=True)):
        sums = np.bincount(
            _places(order, column, edges), column.weight, minlength=n_ranges * order.n_groups
        )
        out[:, c] = sums.reshape(n_ranges, order.n_groups)
    return out


def _cut_bundle(order: Order, bundle: Bundle, asked: _Cut) -> list[Piece | None]:
    """The rows of each range."""
    n_ranges = asked.edges.shape[1] + 1
    scores: list[list[FloatArray]] = [[] for _ in range(n_ranges)]
    weights: list[list[FloatArray]] = [[] for _ in range(n_ranges)]
    sizes = np.zeros((n_ranges, len(bundle.blocks), len(asked.wanted), order.n_groups), np.int64)
    for b, block in enumerate(bundle):
        columns = order.columns(block, asked.given, asked.wanted, 1)
        if columns is None:
            return [None] * n_ranges
        for c, (column, edges) in enumerate(zip(columns, asked.edges, strict=True)):
            place = _places(order, column, edges)
            count = np.bincount(place, minlength=n_ranges * order.n_groups)
            sizes[:, b, c] = count.reshape(n_ranges, order.n_groups)
            by_place = np.argsort(place.astype(np.min_scalar_type(len(count))), kind="stable")
            ends = np.cumsum(sizes[:, b, c].sum(axis=1))
            for r, own in enumerate(np.split(by_place, ends[:-1])):
                scores[r].append(column.scores[own])
                if column.weight is not None:
                    weights[r].append(column.weight[own])
    return [
        Piece(_flat(scores[r]), _flat(weights[r]) if weights[r] else None, sizes[r])
        for r in range(n_ranges)
    ]


def _flat(parts: Sequence[FloatArray]) -> FloatArray:
    return np.concatenate(parts) if parts else np.zeros(0)


# ---------------------------------------------------------------- one range


def _rank(
    order: Order, pieces: Sequence[Piece | None], above: FloatArray
) -> tuple[FloatArray, FloatArray] | None:
    """Weights and sums of all columns of one range. ``above``: (n_columns, n_groups) of ranges above it."""
    known = [p for p in pieces if p is not None]
    if len(known) < len(pieces):
        return None
    n_columns = known[0].sizes.shape[1]
    weights = np.zeros((n_columns, order.n_groups))
    sums = np.zeros((n_columns, order.n_groups - 1))
    slices = [_slices(piece.sizes) for piece in known]
    for c in range(n_columns):
        groups = [_group(known, slices, c, g) for g in range(order.n_groups)]
        weights[c], sums[c] = _column_sums(groups, order.kind, above[c])
    return weights, sums


def _column_sums(
    groups: Sequence[_Group], kind: Sum, above: FloatArray
) -> tuple[list[float], list[float]]:
    own, *others = groups
    sums = [
        _pairs(own, other) if kind == "pairs" else _precisions(own, other, above)
        for other in others
    ]
    return [float(group.upto[-1]) for group in groups], sums


def ranked_here(columns: Sequence[Column], n_groups: int, kind: Sum) -> Ranked:
    """:func:`ranked` of rows at hand.

    Examples
    --------
    >>> column = Column(np.array([0.1, 0.4, 0.35, 0.8]), np.array([1, 1, 0, 0]), None)
    >>> ranked_here([column], 2, "pairs").areas
    array([[0.75]])
    """
    each = [
        _column_sums([_own(column, g) for g in range(n_groups)], kind, np.zeros(n_groups))
        for column in columns
    ]
    weights, sums = (np.array(one) for one in zip(*each, strict=True))
    return Ranked(weights, sums)


def _own(column: Column, g: int) -> _Group:
    at = column.groups == g
    return _in_order(column.scores[at], None if column.weight is None else column.weight[at])


def _slices(sizes: IntArray) -> Any:
    """(n_blocks, n_columns, n_groups, 2) first and last place of each."""
    ends = np.cumsum(sizes).reshape(sizes.shape)
    return np.stack([ends - sizes, ends], axis=-1)


class _Group(NamedTuple):
    """The rows of one class, in order."""

    scores: FloatArray
    """(n,) ascending"""
    weight: FloatArray | None
    upto: FloatArray
    """(n + 1,) weight of the rows before each, and of all"""


def _group(pieces: Sequence[Piece], slices: Sequence[Any], c: int, g: int) -> _Group:
    """Of all pieces, in order."""
    own = [
        (piece, slice(*ends))
        for piece, places in zip(pieces, slices, strict=True)
        for ends in places[:, c, g].tolist()
    ]
    scores = _flat([piece.scores[at] for piece, at in own])
    weights = [None if piece.weight is None else piece.weight[at] for piece, at in own]
    given = [w for w in weights if w is not None]
    return _in_order(scores, _flat(given) if given else None)


def _in_order(scores: FloatArray, weight: FloatArray | None) -> _Group:
    if weight is None:
        return _Group(np.sort(scores), None, np.arange(len(scores) + 1, dtype=np.float64))
    by_score = np.argsort(scores, kind="stable")
    weight = weight[by_score]
    return _Group(scores[by_score], weight, np.r_[0.0, np.cumsum(weight)])


def _pairs(own: _Group, other: _Group) -> float:
    """Weight of the pairs that are in order, of tied ones half."""
    both = sum(
        other.upto[np.searchsorted(other.scores, own.scores, side=side)]
        for side in ("left", "right")
    )
    return float(np.sum(both) if own.weight is None else own.weight @ both) / 2.0


def _precisions(own: _Group, other: _Group, above: FloatArray) -> float:
    """Precision at each row's own score, summed by weight."""
    true = above[0] + own.upto[-1] - own.upto[np.searchsorted(own.scores, own.scores)]
    false = above[1] + other.upto[-1] - other.upto[np.searchsorted(other.scores, own.scores)]
    each = np.divide(true, true + false, out=np.zeros(len(true)), where=true > 0)
    return float(np.sum(each) if own.weight is None else own.weight @ each)


def _joined(order: Order, parts: Sequence[Any]) -> tuple[FloatArray, FloatArray]:
    """Of all ranges: pairs of different ones are in order, whatever their scores."""
    weights, sums = (np.array(each) for each in zip(*parts, strict=True))
    if order.kind == "pairs":
        below = np.cumsum(weights[:, :, 1:], axis=0) - weights[:, :, 1:]
        sums = sums + weights[:, :, :1] * below
    return weights.sum(axis=0), sums.sum(axis=0)


__all__ = ["Column", "Order", "Piece", "Ranked", "ranked", "ranked_here"]
