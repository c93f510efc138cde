"""Cross-validated lasso and elastic net of more features than a Gram matrix takes.

All folds go down their paths of penalties side by side, a fold's training rows being those of weight above
zero: a round asks the question of every fold that is not done. From one penalty to the next a fold's model of
its objective goes on, since only the penalty has changed, so a step down the path takes a few rounds and no
evaluation at its start. One round at the end tells the errors of all folds and penalties.

References
----------
Friedman, Hastie, Tibshirani (2010). Regularization paths for generalized linear models via coordinate
descent. J. Stat. Softw. 33, section 2.5 (pathwise, with warm starts).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from scipy import sparse

from daskml_kit.exceptions import ConvergenceWarning
from daskml_kit.kernels import LinearSums
from daskml_kit.linear_model.folds import RowCells, Splits, refuse_weightless
from daskml_kit.linear_model.objective import Finish, added, linear_reduction, sums_asked
from daskml_kit.linear_model.wide import Spread, kinks_of, tolerance
from daskml_kit.losses import HalfSquared
from daskml_kit.penalties import L2
from daskml_kit.runtime.block import Block
from daskml_kit.runtime.dataset import BlockDataset
from daskml_kit.runtime.executor import Executor
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.solvers import ProximalLBFGS, Question
from daskml_kit.solvers.protocol import asked
from daskml_kit.typing import FloatArray

_SLICE = 4_096  # test rows whose predictions by all models are held at once

Sums: TypeAlias = dict[int, LinearSums]


class Models(NamedTuple):
    """One fold's models along a path, by the features that any of them uses."""

    used: Any  # (n_used,) columns of X
    coefs: FloatArray  # (n_used, n_models)
    intercepts: FloatArray


def _train_chunk(fit_intercept: bool, block: Block, params: Any) -> Sums:
    cells, asks = params
    runs, y = cells.of(block.rows), np.asarray(block.y)
    s = np.ones(block.n_rows) if block.weight is None else block.weight
    out: Sums = {}
    for fold, (train, question) in asks.items():
        own = np.zeros(block.n_rows)
        for cell, rows in runs:
            if cell in train:
                own[rows] = s[rows]
        out[fold] = sums_asked(HalfSquared(), fit_intercept, 1, question, block, y, own)
    return out


def _train_combine(a: Sums, b: Sums) -> Sums:
    return {fold: added(a[fold], b[fold]) for fold in a}


def _weight_chunk(block: Block, params: tuple[RowCells, int]) -> FloatArray:
    cells, n_cells = params
    out = np.zeros(n_cells)
    for cell, rows in cells.of(block.rows):
        own = np.ones(block.n_rows)[rows] if block.weight is None else block.weight[rows]
        out[cell] = own.sum()
    return out


def _error_chunk(block: Block, params: Any) -> FloatArray:
    """Weighted squares of the residuals of every split's test rows, (n_splits, n_models)."""
    cells, tests, models = params
    runs, y = cells.of(block.rows), np.asarray(block.y)
    s = np.ones(block.n_rows) if block.weight is None else block.weight
    out = np.zeros((len(tests), len(models[0].intercepts)))
    for fold, (test, model) in enumerate(zip(tests, models, strict=True)):
        for cell, rows in runs:
            if cell not in test:
                continue
            X, own, weight = block.X[rows][:, model.used], y[rows], s[rows]
            for start in range(0, len(own), _SLICE):
                part = slice(start, start + _SLICE)
                rest = own[part, None] - X[part] @ model.coefs - model.intercepts
                out[fold] += weight[part] @ rest**2
    return out


def _add(a: FloatArray, b: FloatArray) -> FloatArray:
    return a + b


class WidePaths:
    """The folds of one fit and their rounds.

    Parameters
    ----------
    data, executor : of the fit
    about : of the target
    splits : of the rows
    how : an estimator with ``fit_intercept positive max_iter tol``
    """

    def __init__(
        self, data: BlockDataset, executor: Executor, about: Spread, splits: Splits, how: Any
    ) -> None:
        self.data, self.executor, self.splits, self.how = data, executor, splits, how
        self.mean = float(about.mean[0]) if how.fit_intercept else 0.0
        self.tol = tolerance(about, 0, how)
        self.weight_sum = about.weight_sum
        weigh: Reduction[Any, FloatArray, FloatArray] = Reduction(
            "cell-weights", _weight_chunk, _add
        )
        weights = executor.reduce(data, weigh, (splits.cells, splits.n_cells))
        self.train = [float(weights[list(s.train)].sum()) for s in splits.splits]
        self.test = [float(weights[list(s.test)].sum()) for s in splits.splits]
        for i, pair in enumerate(zip(self.train, self.test, strict=True)):
            refuse_weightless(i, *pair)

    def pull(self) -> FloatArray:
        """``X'(y - mean)`` of all rows: what decides the largest penalty. One pass."""
        w = np.zeros(self.data.facts.n_features + int(self.how.fit_intercept))
        w[self.data.facts.n_features :] = self.mean
        reduction = linear_reduction(HalfSquared(), self.how.fit_intercept, 1)
        sums = self.executor.reduce(self.data, reduction, w)
        return -sums.gradient[: self.data.facts.n_features]

    def along(self, alphas: FloatArray, ratio: float) -> tuple[FloatArray, list[Models]]:
        """Mean squared errors (n_folds, n_alphas) and the models of one path, largest penalty first."""
        states: list[Any] = []
        solvers: list[ProximalLBFGS] = []
        ridge, stopped = 0.0, 0
        kept: list[list[Any]] = [[] for _ in self.train]
        for alpha in alphas:
            kinks, on_coef = kinks_of(self.data.facts, self.how, alpha * ratio)
            last, solvers = solvers, [ProximalLBFGS(kinks)] * len(self.train)
            more, ridge = alpha * (1.0 - ratio) - ridge, alpha * (1.0 - ratio)
            if not states:
                states = [s.init(self.mean * (1.0 - on_coef)) for s in solvers]
            else:
                states = [
                    s.resumed(state, old.penalty, more * on_coef, self.tol)
                    for s, old, state in zip(solvers, last, states, strict=True)
                ]
            finishes = [Finish(weight, L2(ridge * on_coef)) for weight in self.train]
            stopped += self._solved(solvers, states, finishes)
            for own, state in zip(kept, states, strict=True):
                own.append(sparse.csc_array(state.w[:, None]))
        if stopped:
            warnings.warn(
                f"{stopped} of {len(alphas) * len(states)} fits of folds stopped before tol={self.how.tol}, "
                f"max_iter={self.how.max_iter}. Increase max_iter, scale the features, or use larger alphas.",
                ConvergenceWarning,
                stacklevel=4,
            )
        models = [self._models(sparse.hstack(own, format="csc")) for own in kept]
        return self._errors(models), models

    def _solved(self, solvers: Sequence[Any], states: list[Any], finishes: Sequence[Finish]) -> int:
        """Bring all states to their minimum, in place; how many did not get there."""
        chunk = partial(_train_chunk, self.how.fit_intercept)
        train: Reduction[Any, Sums, Sums] = Reduction("folds-gradient", chunk, _train_combine)
        stopped = 0
        active = [f for f, state in enumerate(states) if not self._near(state)]
        while active:
            asks: dict[int, Question] = {f: asked(solvers[f], states[f]) for f in active}
            cells = {f: (self.splits.splits[f].train, ask) for f, ask in asks.items()}
            sums = self.executor.reduce(self.data, train, (self.splits.cells, cells))
            for f, ask in asks.items():
                states[f] = solvers[f].update(states[f], finishes[f].answer(ask, sums[f]))
            going = [f for f in active if not self._near(states[f])]
            active = [
                f for f in going if states[f].n_iter < self.how.max_iter and not states[f].trouble
            ]
            stopped += len(going) - len(active)
        return stopped

    def _near(self, state: Any) -> bool:
        return bool(np.abs(state.gradient).max() <= self.tol)

    def _models(self, path: Any) -> Models:
        n = self.data.facts.n_features
        coefs = path[:n].tocsr()
        used = np.flatnonzero(np.diff(coefs.indptr))
        free = path[n:].toarray()[0] if self.how.fit_intercept else np.zeros(path.shape[1])
        return Models(used, coefs[used].toarray(), free)

    def _errors(self, models: list[Models]) -> FloatArray:
        score: Reduction[Any, FloatArray, FloatArray] = Reduction("score", _error_chunk, _add)
        tests = [split.test for split in self.splits.splits]
        total = self.executor.reduce(self.data, score, (self.splits.cells, tests, models))
        return np.asarray(total / np.array(self.test)[:, None])


__all__ = ["Models", "WidePaths"]
