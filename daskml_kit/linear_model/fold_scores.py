"""Scores of every fold and penalty of a logistic regression: one round, or two or three that order rows."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from daskml_kit.base import users_level
from daskml_kit.kernels import predict_linear
from daskml_kit.kernels.raw_scores import raw_scores
from daskml_kit.linear_model.folds import Split
from daskml_kit.linear_model.strata import Cellar, Told, row_codes
from daskml_kit.metrics.ranking import Column, Order, Ranked, ranked
from daskml_kit.metrics.scorers import ByLabels, ByRank, ByRows, Scorer, predicted
from daskml_kit.runtime.block import Block
from daskml_kit.runtime.dataset import BlockDataset
from daskml_kit.runtime.executor import Executor
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.typing import Array, FloatArray, IntArray


class Candidates(NamedTuple):
    """The models of all folds.

    Attributes
    ----------
    w : (n_folds, n_models, width) or (n_folds, n_models, n_classes, width)
    splits : whose test rows score the models of each fold
    fit_intercept : whether the last column of ``w`` is an intercept
    class_weights : (n_classes,) that the rows' weights hold, and scores do not; None for none
    """

    w: FloatArray
    splits: Sequence[Split]
    fit_intercept: bool
    class_weights: FloatArray | None


class HeldOut(NamedTuple):
    """Test rows of one fold in a block."""

    X: Any
    y: IntArray
    weight: FloatArray | None


def fold_scores(
    scorer: Scorer,
    classes: Array,
    cellar: Cellar,
    data: BlockDataset,
    executor: Executor,
    candidates: Candidates,
) -> FloatArray:
    """The score of each model on the test rows of its fold, (n_folds, n_models).

    Each warning of the scores is given once, where the user is.
    """
    rounds = (data, executor, candidates, len(classes))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        if isinstance(scorer, ByRank):
            found = _ranks(scorer, classes, cellar, data, executor, candidates)
        elif isinstance(scorer, ByLabels):
            cells = _summed(_count, cellar, rounds)
            found = [[scorer.of_cells(classes, *each) for each in fold] for fold in cells]
        else:
            lost, weights = _summed(partial(_lose, scorer), cellar, rounds)
            found = [
                [scorer.of_sums(float(each), own) for each in fold]
                for fold, own in zip(lost, weights, strict=True)
            ]
    for category, text in dict.fromkeys((w.category, str(w.message)) for w in said):
        warnings.warn(text, category, stacklevel=users_level())
    return np.asarray(found, dtype=np.float64)


# ---------------------------------------------------------------- test rows


def _tests(told: Told, candidates: Candidates, block: Block, every: int = 1) -> Any:
    """Fold -> its test rows in a block, of one of ``every`` rows; None for a block that can't tell."""
    codes = row_codes(told, block)
    if codes is None:
        return None
    return partial(_test, candidates, block, codes, every)


def _test(candidates: Candidates, block: Block, codes: IntArray, every: int, fold: int) -> HeldOut:
    rows = np.flatnonzero(np.isin(codes, candidates.splits[fold].test))
    rows = rows[(rows + block.start) % every == 0]
    y = np.asarray(block.y)[rows]
    weight = None if block.weight is None else np.asarray(block.weight)[rows]
    if weight is not None and candidates.class_weights is not None:
        weight = unshared(weight, candidates.class_weights[y])
    return HeldOut(block.X[rows], y, weight)


def unshared(weight: FloatArray, shares: FloatArray) -> FloatArray:
    """Weights of rows, (n,), without those of their classes; zero where a class weighs nothing.

    Examples
    --------
    >>> unshared(np.array([3.0, 0.0]), np.array([1.5, 0.0]))
    array([2., 0.])
    """
    return np.divide(weight, shares, out=np.zeros(len(weight)), where=shares > 0)


# ---------------------------------------------------------------- sums

Sums: TypeAlias = "tuple[FloatArray, ...] | FloatArray"


def _summed(chunk: Any, cellar: Cellar, rounds: tuple[Any, ...]) -> Any:
    data, executor, candidates, n_classes = rounds
    score: Reduction[Any, Any, Any] = Reduction("score", partial(chunk, n_classes), _added)
    return cellar.asked(lambda told: executor.reduce(data, score, (told, candidates)))


def _added(a: Any, b: Any) -> Any:
    if a is None or b is None:
        return None
    return tuple(x + y for x, y in zip(a, b, strict=True)) if isinstance(a, tuple) else a + b


def _raw(candidates: Candidates, fold: int, m: int, X: Any) -> FloatArray:
    eta = predict_linear(X, candidates.w[fold, m], candidates.fit_intercept)
    return eta.astype(np.float64, copy=False)


def _count(n_classes: int, block: Block, params: Any) -> FloatArray | None:
    """Weight and number of the test rows of each true and predicted class, (..., 2, n_classes, n_classes)."""
    told, candidates = params
    tests = _tests(told, candidates, block)
    if tests is None:
        return None
    out = np.zeros((*candidates.w.shape[:2], 2, n_classes, n_classes))
    for fold in range(len(out)):
        rows = tests(fold)
        for m in range(out.shape[1]):
            cell = rows.y * n_classes + predicted(_raw(candidates, fold, m, rows.X))
            for into, each in zip(out[fold, m], (rows.weight, None), strict=True):
                into += np.bincount(cell, each, n_classes**2).reshape(into.shape)
    return out


def _lose(
    scorer: ByRows, n_classes: int, block: Block, params: Any
) -> tuple[FloatArray, FloatArray] | None:
    """What the scorer sums, (n_folds, n_models), and the weight of the test rows, (n_folds, n_classes)."""
    told, candidates = params
    tests = _tests(told, candidates, block)
    if tests is None:
        return None
    lost = np.zeros(candidates.w.shape[:2])
    weights = np.zeros((len(lost), n_classes))
    for fold in range(len(lost)):
        rows = tests(fold)
        weights[fold] = np.bincount(rows.y, rows.weight, n_classes)
        for m in range(lost.shape[1]):
            each = scorer.each(rows.y, _raw(candidates, fold, m, rows.X))
            lost[fold, m] = each.sum() if rows.weight is None else rows.weight @ each
    return lost, weights


# ---------------------------------------------------------------- orders


def _ranks(
    scorer: ByRank,
    classes: Array,
    cellar: Cellar,
    data: BlockDataset,
    executor: Executor,
    candidates: Candidates,
) -> list[list[float]]:
    """Columns lie by model, fold and class."""
    n_folds, n_models = candidates.w.shape[:2]
    width = scorer.n_columns(len(classes))
    order = Order(
        partial(_columns, scorer, classes),
        n_models * n_folds * width,
        scorer.n_groups(len(classes)),
        scorer.kind,
        share=1.0 / n_folds,
    )
    found = cellar.asked(lambda told: ranked(data, executor, order, (told, candidates)))
    each = [
        Ranked(found.weights[at : at + width], found.sums[at : at + width])
        for at in range(0, order.n_columns, width)
    ]
    scores = [scorer.of_ranked(one) for one in each]
    return [scores[fold::n_folds] for fold in range(n_folds)]


def _columns(
    scorer: ByRank, classes: Array, block: Block, params: Any, wanted: range, every: int
) -> Iterator[Column] | None:
    told, candidates = params
    tests = _tests(told, candidates, block, every)
    return None if tests is None else _each(scorer, classes, candidates, tests, wanted)


def _each(
    scorer: ByRank, classes: Array, candidates: Candidates, tests: Any, wanted: range
) -> Iterator[Column]:
    n_folds, width = len(candidates.w), scorer.n_columns(len(classes))
    of: dict[int, HeldOut] = {}
    at = (-1, -1)
    for number in wanted:
        (m, fold), k = divmod(number // width, n_folds), number % width
        if fold not in of:
            of[fold] = tests(fold)
        rows = of[fold]
        if (m, fold) != at:
            at = (m, fold)
            eta = raw_scores(rows.X, np.atleast_2d(candidates.w[fold, m]), candidates.fit_intercept)
            scores = scorer.scores(classes, eta[0] if width == 1 else eta.T)
        yield scorer.column(k, classes, rows.y, np.ascontiguousarray(scores[:, k]), rows.weight)


__all__ = ["Candidates", "fold_scores", "unshared"]
