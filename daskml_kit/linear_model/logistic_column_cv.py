"""Cross-validated logistic regression by columns: all folds go along their paths in shared rounds.

A fold is a matter of the rows, which belong to the driver here: its training rows are those of weight above
zero, and the predictions of its test rows are part of every product. So no round tells a score. What folds
ask for in one round is one product::

    ridge   Newton's method in the space of the rows; a product of XX' with a vector a class and fold
    L1      a look over all columns for all folds, then their working sets side by side

Each fold goes on to the next penalty from its last solution when it is there, not when all are.

References
----------
Friedman, Hastie, Tibshirani (2010). Regularization paths for generalized linear models via coordinate
descent. J. Stat. Softw. 33, section 2.5 (pathwise, with warm starts).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import check_random_state

from daskml_kit.base import users_level
from daskml_kit.exceptions import ConvergenceWarning, InvalidParameterError
from daskml_kit.linear_model.by_columns import solve_by_columns
from daskml_kit.linear_model.column_class_sets import (
    ClassFit,
    Seen,
    look_at,
    point_at,
    step_on_sets,
)
from daskml_kit.linear_model.column_classes import ClassProblem
from daskml_kit.linear_model.column_ridge import (
    Products,
    RowNewton,
    Rows,
    coefficients,
    side_by_side,
)
from daskml_kit.linear_model.column_sets import FIRST
from daskml_kit.linear_model.fold_scores import unshared
from daskml_kit.linear_model.folds import refuse_weightless
from daskml_kit.linear_model.logistic_by_columns import classes_of
from daskml_kit.linear_model.strata import Strata, codes_of, counts_of, folding
from daskml_kit.metrics.scoring import scorer_of
from daskml_kit.runtime.columns import ColumnDataset, open_columns
from daskml_kit.runtime.executor import Executor
from daskml_kit.typing import ArrayLike, FloatArray, IntArray


class Found(NamedTuple):
    """What cross-validation found.

    Attributes
    ----------
    scores : (n_folds, n_l1_ratios, n_cs)
    paths : (n_folds, n_l1_ratios, n_cs, d [+ 1]), several classes (..., n_classes, d [+ 1])
    counts : (n_folds, n_l1_ratios, n_cs) of the steps, or of the looks at all columns
    """

    scores: FloatArray
    paths: FloatArray
    counts: IntArray


class Ended(NamedTuple):
    """One model of a fold: coefficients of columns, or of rows for a ridge penalty."""

    coef: FloatArray
    b: FloatArray
    score: float
    n_iter: int
    converged: bool


@dataclass
class _Fold:
    """The rows of one split."""

    train: FloatArray  # (n,) weights, zero but for training rows
    test: IntArray


class ColumnFolds:
    """The folds of one fit and their rounds.

    Parameters
    ----------
    model : a LogisticRegressionCV whose grid is known
    data, executor : opened by columns
    weighted : whether the user gave weights of rows
    """

    def __init__(self, model: Any, data: ColumnDataset, executor: Executor, weighted: bool) -> None:
        assert data.rows is not None
        assert data.row_facts is not None
        self.model, self.data, self.executor = model, data, executor
        self.facts, self.rows = data.row_facts, data.rows
        self.classes = np.asarray(self.facts.classes)
        self.codes = np.asarray(self.rows.y).astype(np.int64)
        own = self.rows.weight
        self.weight = np.ones(len(self.codes)) if own is None else own
        self.scorer = scorer_of(model.scoring)
        self.scorer.check(self.classes, weighted)
        self.given = self._given() if weighted else None
        self.folds = self._split()

    def _given(self) -> FloatArray:
        """Weights of the rows without those of their classes, which scores don't count."""
        shares = self.model._class_weights(self.facts)
        return self.weight if shares is None else unshared(self.weight, shares[self.codes])

    def _split(self) -> list[_Fold]:
        n_classes = len(self.classes)
        found = folding(self.model.cv, self.facts, lambda: counts_of(n_classes, self.rows))
        cell = codes_of(found.cells, self.rows)
        assert cell is not None
        if isinstance(found.cells, Strata) and found.cells.deck is not None:
            # As if the rows had been shuffled by the user's own generator.
            after = found.cells.deck.after
            check_random_state(self.model.cv.random_state).set_state(after.get_state())
        folds = [
            _Fold(
                np.where(np.isin(cell, split.train), self.weight, 0.0),
                np.flatnonzero(np.isin(cell, split.test)),
            )
            for split in found.splits
        ]
        for i, fold in enumerate(folds):
            refuse_weightless(i, float(fold.train.sum()), float(self.weight[fold.test].sum()))
        return folds

    def problem(self, weight: FloatArray, C: float, ratio: float) -> ClassProblem:
        """The objective over rows of these weights."""
        total = float(weight.sum())
        strengths = ratio / (C * total), (1.0 - ratio) / (C * total)
        free = bool(self.model.fit_intercept)
        return classes_of(self.codes, weight, len(self.classes), total, strengths, free)

    def score(self, fold: _Fold, eta: FloatArray) -> float:
        """Of a model's predictions, (n, n_outputs), for the test rows."""
        own = eta[fold.test]
        weight = None if self.given is None else self.given[fold.test]
        raw = own[:, 0] if own.shape[1] == 1 else own
        return float(self.scorer.of_rows(self.classes, self.codes[fold.test], raw, weight))

    def searched(self) -> Found:
        """Scores and models of all folds and penalties."""
        ratios, Cs = self.model.l1_ratios_, self.model.Cs_
        shape = (len(self.folds), len(ratios), len(Cs))
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            ended = [self._along(float(ratio)) for ratio in ratios]
        for category, text in dict.fromkeys((w.category, str(w.message)) for w in said):
            warnings.warn(text, category, stacklevel=users_level())
        every = [e for fold in range(shape[0]) for path in ended for e in path[fold]]
        self._warn([e.converged for e in every])
        w = [self._w(e, ratio) for e, ratio in zip(every, self._ratio_of_each(), strict=True)]
        return Found(
            np.array([e.score for e in every]).reshape(shape),
            np.array(w).reshape(*shape, *w[0].shape),
            np.array([e.n_iter for e in every], dtype=np.int32).reshape(shape),
        )

    def _ratio_of_each(self) -> list[float]:
        """Of all models in the order of folds, mixing parameters and penalties."""
        each = np.repeat(self.model.l1_ratios_, len(self.model.Cs_))
        return list(np.tile(each, len(self.folds)))

    def _w(self, ended: Ended, ratio: float) -> FloatArray:
        w = joined_with(ended.coef, ended.b, bool(self.model.fit_intercept))
        return np.asarray(self.model._centred(w, float(ratio)))

    def _warn(self, converged: Sequence[bool]) -> None:
        stopped = len(converged) - sum(converged)
        if stopped:
            warnings.warn(
                f"{stopped} of {len(converged)} fits stopped after max_iter={self.model.max_iter} steps. "
                "Increase max_iter, scale the features, or raise tol.",
                ConvergenceWarning,
                stacklevel=users_level(),
            )

    def _along(self, ratio: float) -> list[list[Ended]]:
        """The models of each fold, one for each penalty."""
        if ratio > 0.0:
            return self._along_sets(ratio)
        found = side_by_side(
            self.data, self.executor, [self._down_the_rows(fold) for fold in self.folds]
        )
        return [self._of_columns(path) for path in found]

    def _down_the_rows(self, fold: _Fold) -> Products[list[Ended]]:
        """One fold's models, in the space of the rows."""
        start: Rows | None = None
        out = []
        for C in self.model.Cs_:
            newton = RowNewton(self.problem(fold.train, float(C), 0.0), self.model.max_iter)
            found = yield from newton.run(None, self.model.tol, start)
            start = at = found.point
            out.append(
                Ended(at.a, at.b, self.score(fold, at.v + at.b), found.n_iter, found.converged)
            )
        return out

    def _of_columns(self, path: Sequence[Ended]) -> list[Ended]:
        """The same models with coefficients of columns: one round."""
        w = coefficients(self.data, self.executor, np.hstack([e.coef for e in path]))
        each = np.split(w, len(path), axis=1)
        return [e._replace(coef=coef) for e, coef in zip(path, each, strict=True)]

    def _along_sets(self, ratio: float) -> list[list[Ended]]:
        paths = [_Path(self, fold, ratio) for fold in self.folds]
        while active := [path for path in paths if not path.done]:
            seen = look_at(self.data, self.executor, [path.fit for path in active])
            told = [path.heard(own) for path, own in zip(active, seen, strict=True)]
            going = [(p, own) for p, own in zip(active, told, strict=True) if not p.done]
            if going:
                fits, last = [p.fit for p, _ in going], [own for _, own in going]
                step_on_sets(self.data, self.executor, fits, last, float(self.model.tol))
        return [path.ended for path in paths]

    def refit(self, C: float, ratio: float) -> FloatArray:
        """The fit of all rows, (d [+ 1],) or (n_classes, d [+ 1])."""
        found = solve_by_columns(
            self.data,
            self.executor,
            self.problem(self.weight, C, ratio),
            max_iter=self.model.max_iter,
            gradient_tol=self.model.tol,
        )
        return joined_with(found.coef, found.intercept, bool(self.model.fit_intercept))


@dataclass
class _Path:
    """One fold on its way along the penalties, by working sets."""

    folds: ColumnFolds
    fold: _Fold
    ratio: float
    ended: list[Ended] = field(default_factory=list)

    def __post_init__(self) -> None:
        d, n = self.folds.data.facts.n_rows, len(self.folds.codes)
        problem = self.problem(0)
        zero = point_at(problem, problem.zeros(d), problem.zeros(n), problem.no_intercept())
        self.fit = ClassFit(problem, zero, self._lead())

    def problem(self, at: int) -> ClassProblem:
        """With the penalty of that number."""
        C = float(self.folds.model.Cs_[at])
        return self.folds.problem(self.fold.train, C, self.ratio)

    @property
    def done(self) -> bool:
        """Whether all penalties are."""
        return len(self.ended) == len(self.folds.model.Cs_)

    def _lead(self) -> float | None:
        """Strength of the next penalty."""
        after = len(self.ended) + 1
        return self.problem(after).strengths[0] if after < len(self.folds.model.Cs_) else None

    def heard(self, seen: Seen) -> Seen:
        """Go on to the next penalty where this one is done; what was seen, of that penalty."""
        model, fit = self.folds.model, self.fit
        there = fit.heard(seen, float(model.tol))
        if not there and fit.looks < model.max_iter:
            return seen
        point = fit.point
        score = self.folds.score(self.fold, point.v + point.b)
        self.ended.append(Ended(point.w, point.b, score, fit.looks, there))
        if self.done:
            return seen
        assert seen.ahead is not None
        problem = self.problem(len(self.ended))
        point = point_at(problem, point.w, point.v, point.b)
        used = int(np.count_nonzero(point.w.any(axis=1)))
        self.fit = ClassFit(problem, point, self._lead(), max(FIRST, used))
        return seen._replace(leaders=seen.ahead, ahead=None)


def joined_with(coef: FloatArray, b: Any, fit_intercept: bool) -> FloatArray:
    """Coefficients (d, n_outputs) and intercepts as a solver by rows has them."""
    w = np.column_stack([coef.T, b]) if fit_intercept else coef.T
    return w[0] if len(w) == 1 else w


def search_by_columns(model: Any, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike) -> None:
    """Fit a LogisticRegressionCV whose grid is known.

    Raises
    ------
    InvalidParameterError
        There is no penalty.
    """
    if np.isinf(model.Cs_).any():
        raise InvalidParameterError(
            f"solver='columns' needs a penalty, got Cs={model.Cs!r}: with more columns than rows, nothing "
            "else decides which of many solutions is meant. Use finite Cs, or another solver."
        )
    with model._opened(
        X, y, sample_weight, target="classes", class_weights=model._class_weights,
        opener=open_columns,
    ) as (data, executor):  # fmt: skip
        facts = data.row_facts
        model._check_scored(facts)
        folds = ColumnFolds(model, data, executor, sample_weight is not None)
        found = folds.searched()
        model._choose(found.scores, found.paths)
        model.n_iter_ = found.counts
        if model.refit:
            model._best = folds.refit(model.C_, model.l1_ratio_)
        model._keep_best(facts)


__all__ = ["ColumnFolds", "search_by_columns"]
