"""Cross-validated lasso and elastic net of more features than a Gram matrix takes.

All folds go down their paths of penalties side by side, a fold's training rows being those of weight above
zero: a round asks the question of every fold that is not done. From one penalty to the next a fold's model of
its objective goes on, since only the penalty has changed, so a step down the path takes a few rounds and no
evaluation at its start. One round at the end tells the errors of all folds and penalties. The intercept is
left to :mod:`~daskml_kit.linear_model.profiled`, so the means of each fold's columns are asked first.

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
from daskml_kit.linear_model.profiled import Profiled
from daskml_kit.linear_model.wide import DualityGap, Spread, column_sums, gap_tolerance, kinks_of
from daskml_kit.losses import HalfSquared
from daskml_kit.penalties import L2
from daskml_kit.runtime.block import Block
from daskml_kit.runtime.dataset import BlockDataset
from daskml_kit.runtime.executor import Executor
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.solvers import ProximalLBFGS, Question, status_of
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
    out: Sums = {}
    for fold, (train, question) in asks.items():
        own = _own_weight(block, runs, train)
        out[fold] = sums_asked(HalfSquared(), fit_intercept, 1, question, block, y, own)
    return out


def _train_combine(a: Sums, b: Sums) -> Sums:
    return {fold: added(a[fold], b[fold]) for fold in a}


def _target_chunk(block: Block, params: tuple[RowCells, int, float]) -> FloatArray:
    """Of each cell: weight, sum of y, and of its squares, about a number near its mean; (n_cells, 3)."""
    cells, n_cells, near = params
    out = np.zeros((n_cells, 3))
    for cell, rows in cells.of(block.rows):
        y = np.asarray(block.y)[rows] - near
        own = np.ones(len(y)) if block.weight is None else block.weight[rows]
        out[cell] = own.sum(), own @ y, own @ y**2
    return out


def _column_chunk(block: Block, params: tuple[RowCells, list[tuple[int, ...]]]) -> FloatArray:
    """Sums of the columns over each fold's training rows; (n_folds, n_features)."""
    cells, trains = params
    runs = cells.of(block.rows)
    return np.stack([column_sums(block, _own_weight(block, runs, t))[0] for t in trains])


def _own_weight(block: Block, runs: Any, train: tuple[int, ...]) -> FloatArray:
    """Weights of the rows of some cells, zero for all others."""
    s = np.ones(block.n_rows) if block.weight is None else block.weight
    own = np.zeros(block.n_rows)
    for cell, rows in runs:
        if cell in train:
            own[rows] = s[rows]
    return own


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


def _near(distance: DualityGap, tol: float, state: Any) -> bool:
    return distance(state) <= tol


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
        self.about = about
        self.mean = float(about.mean[0]) if how.fit_intercept else 0.0
        self.weight_sum = about.weight_sum
        near = float(about.mean[0])
        weigh: Reduction[Any, FloatArray, FloatArray] = Reduction(
            "cell-weights", _target_chunk, _add
        )
        cells = executor.reduce(data, weigh, (splits.cells, splits.n_cells, near))
        own = np.array([cells[list(s.train)].sum(axis=0) for s in splits.splits])
        self.train = [float(weight) for weight in own[:, 0]]
        self.test = [float(cells[list(s.test), 0].sum()) for s in splits.splits]
        for i, pair in enumerate(zip(self.train, self.test, strict=True)):
            refuse_weightless(i, *pair)
        _, off, squares = own.T / own[:, 0]
        self.means = near + off
        self.tols = [
            gap_tolerance(float(square), float(mean), how)
            for square, mean in zip(squares - off**2, self.means, strict=True)
        ]
        self.columns = self._column_means() if how.fit_intercept else None

    def _column_means(self) -> FloatArray:
        """Of each fold's training rows, (n_folds, n_features). One pass."""
        trains = [split.train for split in self.splits.splits]
        sums: Reduction[Any, FloatArray, FloatArray] = Reduction("folds-means", _column_chunk, _add)
        total = self.executor.reduce(self.data, sums, (self.splits.cells, trains))
        return np.asarray(total / np.array(self.train)[:, None])

    def pull(self) -> FloatArray:
        """``X'(y - mean)`` of all rows: what decides the largest penalty. One pass."""
        w = np.zeros(self.data.facts.n_features + int(self.how.fit_intercept))
        w[self.data.facts.n_features :] = self.mean
        reduction = linear_reduction(HalfSquared(), self.how.fit_intercept, 1)
        sums = self.executor.reduce(self.data, reduction, w)
        return -sums.gradient[: self.data.facts.n_features]

    def along(self, alphas: FloatArray, ratio: float) -> tuple[FloatArray, list[Models]]:
        """Mean squared errors (n_folds, n_alphas) and the models of one path, largest penalty first."""
        n, free = self.data.facts.n_features, bool(self.how.fit_intercept)
        states: list[Any] = []
        before: ProximalLBFGS | None = None
        ridge, stopped = 0.0, 0
        kept: list[list[Any]] = [[] for _ in self.train]
        for alpha in alphas:
            kinks = kinks_of(np.ones(n), self.how, alpha * ratio)
            solver = ProximalLBFGS(kinks)
            more, ridge = alpha * (1.0 - ratio) - ridge, alpha * (1.0 - ratio)
            distance = DualityGap(
                (alpha * ratio, ridge), self.how.positive, kinks, self.about.curvatures(free),
                self.about.deviation(0, free),
            )  # fmt: skip
            if before is not None:
                states = [
                    solver.resumed(
                        state, before.penalty, np.full(n, more), partial(_near, distance, tol)
                    )
                    for state, tol in zip(states, self.tols, strict=True)
                ]
            slopes = np.append(np.ones(n), np.zeros(int(free)))
            finishes = [Finish(weight, L2(ridge * slopes)) for weight in self.train]
            states, n_stopped = self._solved(solver, states, finishes, distance)
            stopped, before = stopped + n_stopped, solver
            for own, state in zip(kept, states, strict=True):
                own.append(sparse.csc_array(state.w[:, None]))
        if stopped:
            warnings.warn(
                f"{stopped} of {len(alphas) * len(states)} fits of folds stopped before tol={self.how.tol}, "
                f"max_iter={self.how.max_iter}. Increase max_iter, scale the features, or use larger alphas.",
                ConvergenceWarning,
                stacklevel=4,
            )
        models = [
            self._models(fold, sparse.hstack(own, format="csr")) for fold, own in enumerate(kept)
        ]
        return self._errors(models), models

    def _solved(
        self,
        solver: ProximalLBFGS,
        states: list[Any],
        finishes: Sequence[Finish],
        distance: DualityGap,
    ) -> tuple[list[Any], int]:
        """All folds at their minimum, from ``states`` or, without any, from zeros; how many are not."""
        chunk = partial(_train_chunk, self.how.fit_intercept)
        train: Reduction[Any, Sums, Sums] = Reduction("folds-gradient", chunk, _train_combine)
        solvers = self._profiled(solver)
        ended = [
            partial(status_of, max_iter=self.how.max_iter, tol=tol, distance=distance)
            for tol in self.tols
        ]
        found: dict[int, Any] = dict.fromkeys(range(len(self.train)))
        if states:
            found = {f: ended[f](state) for f, state in enumerate(states)}
        states = states or [s.init(np.zeros(self.data.facts.n_features)) for s in solvers]
        while active := [f for f, status in found.items() if status is None]:
            asks: dict[int, Question] = {f: asked(solvers[f], states[f]) for f in active}
            cells = {f: (self.splits.splits[f].train, ask) for f, ask in asks.items()}
            sums = self.executor.reduce(self.data, train, (self.splits.cells, cells))
            for f, ask in asks.items():
                states[f] = solvers[f].update(states[f], finishes[f].answer(ask, sums[f]))
                found[f] = ended[f](states[f])
        return states, sum(status != "converged" for status in found.values())

    def _profiled(self, solver: ProximalLBFGS) -> list[Any]:
        """The solver of each fold."""
        if self.columns is None:
            return [solver] * len(self.train)
        return [Profiled(solver, *pair) for pair in zip(self.columns, self.means, strict=True)]

    def _models(self, fold: int, coefs: Any) -> Models:
        used = np.flatnonzero(np.diff(coefs.indptr))
        free = np.zeros(coefs.shape[1])
        if self.columns is not None:
            free = self.means[fold] - coefs.T @ self.columns[fold]
        return Models(used, coefs[used].toarray(), free)

    def _errors(self, models: list[Models]) -> FloatArray:
        score: Reduction[Any, FloatArray, FloatArray] = Reduction("score", _error_chunk, _add)
        tests = [split.test for split in self.splits.splits]
        total = self.executor.reduce(self.data, score, (self.splits.cells, tests, models))
        return np.asarray(total / np.array(self.test)[:, None])


__all__ = ["Models", "WidePaths"]
