"""Columns far from zero, without a copy of them: the intercept takes up their means.

::

    eta = X coef + b = (X - 1 m') coef + v,    v = b + m'coef

The change of variables is exact for any m, and changes no penalty of the coefficients. A solver that sees
``(coef, v)`` sees centred columns, whose curvature the intercept does not share: with columns 1,000 times as
far from zero as they are spread, methods without a full Hessian need as many rounds as on centred ones. The
data stay as they are, so their sums lose as many digits as the columns are far from zero.

Near the mean is near enough, so m is that of a few rows, and costs a round but no pass.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from daskml_kit.kernels import drawn_rows
from daskml_kit.runtime.block import Block
from daskml_kit.runtime.dataset import BlockDataset
from daskml_kit.runtime.events import Measured
from daskml_kit.runtime.executor import Executor
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.solvers import Solution
from daskml_kit.solvers.protocol import Evaluation, Product, Question, asked
from daskml_kit.typing import FloatArray

ROWS = 256
"""Rows that means are taken from: off by a sixteenth of a column's spread."""


class Moments(NamedTuple):
    """Sums over some rows, squares about each block's own mean."""

    weight: float
    mean: FloatArray
    square: FloatArray


def _chunk(block: Block, every: int) -> Moments:
    rows = drawn_rows(block.start, block.n_rows, every)
    X = np.asarray(block.X[rows], dtype=np.float64)
    s = np.ones(len(rows)) if block.weight is None else block.weight[rows]
    total = float(s.sum())
    mean = s @ X / total if total > 0 else np.zeros(X.shape[1])
    return Moments(total, mean, s @ (X - mean) ** 2)


def _combine(a: Moments, b: Moments) -> Moments:
    """Of the rows of both (Chan, Golub and LeVeque 1983)."""
    total = a.weight + b.weight
    share = b.weight / total if total > 0 else 0.0
    gap = b.mean - a.mean
    square = a.square + b.square + a.weight * share * gap**2
    return Moments(total, a.mean + share * gap, square)


def _no_pass(_: Moments) -> Measured:
    return Measured(float("nan"), None, 0)


@dataclass(frozen=True, eq=False)
class Centred:
    """A solver for dense data that sees centred columns. States, and their points, are the solver's.

    ``mean`` and ``variance`` are of the columns, as :func:`centred` finds them. The last coefficient of each
    output is its intercept, which must be free of penalties and bounds.
    """

    solver: Any
    mean: FloatArray
    variance: FloatArray

    @property
    def order(self) -> int:
        """The solver's."""
        return int(self.solver.order)

    def inward(self, w: FloatArray) -> FloatArray:
        """Coefficients and intercept of the columns as they are, as the solver sees them."""
        return self._shifted(w, 1.0)

    def outward(self, w: FloatArray) -> FloatArray:
        """Back again."""
        return self._shifted(w, -1.0)

    def _shifted(self, w: FloatArray, sign: float) -> FloatArray:
        out = w.copy()
        out[..., -1] += sign * (w[..., :-1] @ self.mean)
        return out

    def init(self, w: FloatArray) -> Any:
        """Begin at the coefficients ``w`` of the columns as they are."""
        return self.solver.init(self.inward(w))

    def point(self, state: Any) -> FloatArray:
        """The solver's point, for the columns as they are."""
        return self.outward(self.solver.point(state))

    def question(self, state: Any) -> Question:
        """The solver's question about the columns as they are."""
        ask = asked(self.solver, state)
        vector = None if ask.vector is None else self.outward(ask.vector)
        return ask._replace(w=self.outward(ask.w), vector=vector)

    def update(self, state: Any, told: Evaluation | Product) -> Any:
        """Tell the solver what it would be told of centred columns."""
        if isinstance(told, Product):
            return self.solver.update(state, Product(self._slope(told.vector)))
        hessian = None if told.hessian is None else self._bend(told.hessian)
        return self.solver.update(
            state, Evaluation(told.value, self._slope(told.gradient), hessian)
        )

    def _slope(self, gradient: FloatArray) -> FloatArray:
        out = gradient.copy()
        out[..., :-1] -= gradient[..., -1:] * self.mean
        return out

    def _bend(self, sketch: FloatArray) -> FloatArray:
        """Of a Hessian, or of the solver's sketch of one: a diagonal, or a matrix that all outputs share."""
        if getattr(self.solver, "sketch", "") == "diagonal":
            # A column's mean, weighted by curvature, is not known: far from zero, nor is what is left of the
            # squares.
            far = self.mean**2 > self.variance
            last = sketch[..., -1:]
            near = np.maximum(sketch[..., :-1] - last * self.mean**2, 0.0)
            return np.concatenate([np.where(far, last * self.variance, near), last], axis=-1)
        half = np.column_stack([sketch[:, :-1] - np.outer(sketch[:, -1], self.mean), sketch[:, -1]])
        return np.vstack([half[:-1] - np.outer(self.mean, half[-1]), half[-1:]])


def centred(
    solver: Any, data: BlockDataset, executor: Executor, *, free_intercept: bool
) -> Any | Centred:
    """The solver, told of centred columns, where that makes a difference to it.

    That is for dense data with an intercept free of penalties and bounds, and for solvers that do not see how
    the intercept and the columns are correlated: those without full Hessians. One round, which reads a few
    rows that are drawn by their global numbers.
    """
    if data.facts.sparse or not free_intercept or solver.order == 2:
        return solver
    found = moments_of_few(data, executor)
    return Centred(solver, found.mean, found.square / (found.weight or 1.0))


def moments_of_few(data: BlockDataset, executor: Executor) -> Moments:
    """Of the columns of dense data: a round, but no pass."""
    every = max(1, data.facts.n_rows // ROWS)
    reduction: Reduction[int, Moments, Moments] = Reduction("means", _chunk, _combine)
    return executor.reduce(data, reduction, every, objective=_no_pass)


def as_they_are(solver: Any, solution: Solution) -> Solution:
    """A solution of such a solver, or of any other, for the columns as they are."""
    if not isinstance(solver, Centred):
        return solution
    return replace(solution, w=solver.outward(solution.w))


__all__ = ["Centred", "as_they_are", "centred", "moments_of_few"]
