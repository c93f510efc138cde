"""Cross-validated lasso and elastic net by columns: all folds go down their paths in shared rounds.

A fold is a matter of the rows, which belong to the driver here: its training rows are those of weight above
zero, and the predictions of its test rows are part of every product. So no round tells an error. As in
:mod:`~daskml_kit.linear_model.column_sets`, a penalty takes two rounds or a few more, for all folds::

    all columns, a gradient a fold          a working set a fold
    gaps, leaders of the next penalty  -->  their solutions and products  -->  all columns ...

The look that finds a fold at its minimum also names the columns that violate the next penalty most. Those of
its own come first as long as there are any: where the next penalty is much less, so many columns violate it
that they would crowd out the few that a fold still lacks.

References
----------
Friedman, Hastie, Tibshirani (2010). Regularization paths for generalized linear models via coordinate
descent. J. Stat. Softw. 33, section 2.5 (pathwise, with warm starts).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from daskml_kit.exceptions import ConvergenceWarning
from daskml_kit.linear_model.by_columns import solve_by_columns
from daskml_kit.linear_model.column_blocks import Point, Solve, slice_of
from daskml_kit.linear_model.column_problem import ROUNDING, STILL, ByColumns, Problem
from daskml_kit.linear_model.column_rounds import SEVERAL, Answer, Ask
from daskml_kit.linear_model.column_sets import (
    FIRST,
    most_columns,
    point_of,
    solved_on_sets,
    task_at,
    working_set,
)
from daskml_kit.linear_model.folds import Splits, refuse_weightless
from daskml_kit.losses import HalfSquared
from daskml_kit.runtime.columns import ColumnDataset
from daskml_kit.runtime.executor import Executor
from daskml_kit.typing import FloatArray, IntArray


@dataclass
class _Fold:
    """One fold on its way down a path, or all rows."""

    solve: Solve
    test: FloatArray | None  # (n,) weights of the test rows; None where the models are wanted
    penalties: list[tuple[float, float]]  # l1, l2 of each model
    gap_tol: float
    max_iter: int
    point: Point
    model: int = 0
    errors: list[float] = field(default_factory=list)
    models: list[ByColumns] = field(default_factory=list)
    stopped: int = 0
    looks: int = 0
    still: int = 0
    size: int = FIRST
    best_dual: float = -np.inf

    @property
    def done(self) -> bool:
        return self.model == len(self.penalties)

    def question(self, oldest: int) -> Ask:
        """A look at all columns; those of the next penalty are named too, should this one be done."""
        after = self.penalties[self.model + 1 :]
        self.solve.told = (slice_of(self.point.w, 0, len(self.point.w)),)
        ask = self.solve.question(self.point, max_sweeps=0, wanted=self.size)
        return ask._replace(oldest=oldest, lead=after[0][0] if after else None)

    def heard(self, answer: Answer) -> bool:
        """Go on to the next penalty where this one is done; whether that is so."""
        problem, point = self.solve.problem, self.point
        dual, _ = problem.dual(point.gradient, answer.largest, answer.excess)
        self.best_dual = max(self.best_dual, dual)
        gap, floor = max(point.value - self.best_dual, 0.0), ROUNDING * abs(point.value)
        self.looks += 1
        self.still = self.still + 1 if gap <= floor else 0
        enough = gap <= max(self.gap_tol, floor) or self.still == STILL
        if not enough and self.looks < self.max_iter:
            return False
        self.stopped += not enough
        self._keep(gap, enough)
        return True

    def _keep(self, gap: float, enough: bool) -> None:
        """The error of this model, or the model itself, and where the next begins."""
        point = self.point
        if self.test is None:
            self.models.append(ByColumns(point.w, point.b, gap, self.looks, enough))
        else:
            rest = self.solve.problem.y - point.v - point.b
            self.errors.append(float(self.test @ rest**2 / self.test.sum()))
        self.model, self.looks, self.still, self.best_dual = self.model + 1, 0, 0, -np.inf
        if not self.done:
            self.solve.problem = replace(self.solve.problem, strengths=self.penalties[self.model])
            self.point = self.solve.at(self.point.w, self.point.v, self.point.b)
            self.size = max(FIRST, int(np.count_nonzero(self.point.w)))

    def moved(self, new: Point) -> None:
        """The solution on a working set."""
        better = new.value < self.point.value - ROUNDING * abs(self.point.value)
        used = int(np.count_nonzero(new.w))
        self.size = max(FIRST, used) if better else 2 * self.size
        self.point = new


class ColumnPaths:
    """The folds of one fit and their rounds.

    Parameters
    ----------
    data, executor : opened by columns
    splits : of the rows; there are none where a path of all rows is wanted
    how : an estimator with ``fit_intercept positive max_iter tol``
    """

    def __init__(
        self, data: ColumnDataset, executor: Executor, splits: Splits | None, how: Any
    ) -> None:
        assert data.rows is not None
        self.data, self.executor, self.how = data, executor, how
        self.y = np.asarray(data.rows.y, dtype=np.float64)
        self.weight = data.rows.weight
        s = np.ones(len(self.y)) if self.weight is None else self.weight
        cells = np.zeros(len(self.y), dtype=np.int64)
        parts = () if splits is None else splits.splits
        for cell, rows in () if splits is None else splits.cells.of(range(len(self.y))):
            cells[rows] = cell
        self.train = [np.where(np.isin(cells, part.train), s, 0.0) for part in parts]
        self.test = [np.where(np.isin(cells, part.test), s, 0.0) for part in parts]
        for i, (train, test) in enumerate(zip(self.train, self.test, strict=True)):
            refuse_weightless(i, float(train.sum()), float(test.sum()))
        self.solves = 0

    def problem(self, weight: FloatArray | None, strengths: tuple[float, float]) -> Problem:
        """The objective over rows of these weights."""
        total = float(len(self.y) if weight is None else weight.sum())
        return Problem(
            HalfSquared(), self.y, weight, total, strengths, self.how.fit_intercept,
            self.how.positive,
        )  # fmt: skip

    def tolerance(self, problem: Problem) -> float:
        """The duality gap that will do: ``tol`` of the mean square of y."""
        return 2.0 * float(self.how.tol) * problem.centred(np.zeros(len(self.y)), 0.0)[1]

    def largest(self) -> float:
        """The least strength of L1 that leaves no coefficient. One round."""
        solve = self._solve(self.problem(self.weight, (0.0, 0.0)))
        answer = solve.ask(solve.start(None), max_sweeps=0)
        return answer.largest

    def solved(self, strengths: tuple[float, float]) -> ByColumns:
        """The fit of all rows."""
        problem, self.solves = self.problem(self.weight, strengths), self.solves + 1
        return solve_by_columns(
            self.data, self.executor, problem, max_iter=self.how.max_iter,
            gap_tol=self.tolerance(problem), number=self.solves - 1,
        )  # fmt: skip

    def models(
        self, alphas: FloatArray, ratio: float, start: FloatArray | None = None
    ) -> list[ByColumns]:
        """The models of all rows on a path, largest penalty first, from ``start`` or zeros.

        The data hold ``start`` where there is any.
        """
        penalties = [(float(a) * ratio, float(a) * (1.0 - ratio)) for a in alphas]
        problem = self.problem(self.weight, penalties[0])
        solve, tol = self._solve(problem), self.tolerance(problem)
        path = _Fold(solve, None, penalties, tol, self.how.max_iter, solve.start(start))
        while not path.done:
            self._round([path], solve.number)
        return path.models

    def along(self, alphas: FloatArray, ratio: float) -> FloatArray:
        """Mean squared errors (n_folds, n_alphas) of one path, largest penalty first."""
        penalties = [(float(a) * ratio, float(a) * (1.0 - ratio)) for a in alphas]
        oldest, folds = self.solves, []
        for train, test in zip(self.train, self.test, strict=True):
            problem = self.problem(train, penalties[0])
            solve = self._solve(problem)
            begin, tol = solve.start(None), self.tolerance(problem)
            folds.append(_Fold(solve, test, penalties, tol, self.how.max_iter, begin))
        while active := [fold for fold in folds if not fold.done]:
            self._round(active, oldest)
        stopped = sum(fold.stopped for fold in folds)
        if stopped:
            warnings.warn(
                f"{stopped} of {len(alphas) * len(folds)} fits of folds stopped before tol={self.how.tol}, "
                f"max_iter={self.how.max_iter}. Increase max_iter, scale the features, or use larger alphas.",
                ConvergenceWarning,
                stacklevel=4,
            )
        return np.array([fold.errors for fold in folds])

    def _solve(self, problem: Problem) -> Solve:
        self.solves += 1
        return Solve(self.data, self.executor, problem, self.solves - 1, 0)

    def _round(self, active: list[_Fold], oldest: int) -> None:
        """A look for each fold, and the solutions of their working sets."""
        asks = tuple(fold.question(oldest) for fold in active)
        answers = self.executor.reduce(self.data, SEVERAL, asks)
        chosen: list[tuple[_Fold, IntArray]] = []
        for fold, answer in zip(active, answers, strict=True):
            went_on = fold.heard(answer)
            if fold.done:
                continue
            named = [answer.ahead] if went_on else [answer.leaders, answer.ahead]
            columns = working_set(fold.point, named, fold.size)
            if len(columns) > most_columns(self.data):
                self._descended(fold)
            elif len(columns):
                chosen.append((fold, columns))
        if chosen:
            tasks = [
                task_at(fold.solve.problem, fold.point, 0.1 * fold.gap_tol) for fold, _ in chosen
            ]
            found = solved_on_sets(self.data, self.executor, [c for _, c in chosen], tasks)
            for (fold, _), solved in zip(chosen, found, strict=True):
                fold.moved(point_of(fold.solve, solved))

    def _descended(self, fold: _Fold) -> None:
        """A set that no worker should hold: all blocks descend side by side, in rounds of their own."""
        solve = fold.solve
        solve.told = (slice_of(fold.point.w, 0, len(fold.point.w)),)
        solve.run(fold.point, solve.version + self.how.max_iter, fold.gap_tol, 0.0)
        assert solve.reached is not None
        fold.moved(solve.reached)
        # Columns that were left out for this penalty may matter for the next: a solve of a new number.
        solve.number, solve.screen, solve.past = self.solves, None, []
        self.solves += 1


__all__ = ["ColumnPaths"]
