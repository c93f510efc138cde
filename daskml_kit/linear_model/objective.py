"""The objective of a penalised linear model over resident blocks.

::

    F(w) = 1/S sum_i s_i loss(y_i, x_i.w + b) + alpha/2 |coef|^2,    S = sum_i s_i

The sums come from the workers; the division by S and the penalty are applied once, on the driver, or in
the update task of an unrolled graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from daskml_kit.kernels import LinearSums, linear_product, linear_sums
from daskml_kit.penalties import L2
from daskml_kit.runtime.block import Block
from daskml_kit.runtime.dataset import BlockDataset
from daskml_kit.runtime.events import Measured
from daskml_kit.runtime.executor import Executor
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.solvers import Evaluation, Solver
from daskml_kit.solvers.protocol import Product, Question, State, asked
from daskml_kit.typing import FloatArray


def _chunk(
    loss: Any,
    fit_intercept: bool,
    order: int,
    target: int | None,
    block: Block,
    question: FloatArray | Question,
) -> LinearSums:
    asks = question if isinstance(question, Question) else Question(question)
    w, vector = asks.w, asks.vector
    y = np.asarray(block.y)
    if target is not None:
        y = np.ascontiguousarray(y[:, target])
    rows = (loss, block.X, y, block.weight)
    if vector is not None:
        product = linear_product(*rows, w, vector, fit_intercept=fit_intercept)
        return LinearSums(0.0, product, None)
    return linear_sums(
        *rows, w, fit_intercept=fit_intercept, order=order, every=asks.every, start=block.start,
        sketch=asks.sketch,
    )  # fmt: skip


def _combine(a: LinearSums, b: LinearSums) -> LinearSums:
    hessian = None if a.hessian is None or b.hessian is None else a.hessian + b.hessian
    return LinearSums(a.value + b.value, a.gradient + b.gradient, hessian)


def linear_reduction(
    loss: Any, fit_intercept: bool, order: int, target: int | None = None
) -> Reduction[FloatArray | Question, LinearSums, LinearSums]:
    """Sums of value, gradient and (``order=2``) Hessian at given coefficients: one pass.

    Its parameter is a point, or a question; where a question has a vector, the product with it stands in
    the place of the gradient. ``target`` is the column of a two-dimensional y.
    """
    name = f"{type(loss).__name__.lower()}-{'hessian' if order == 2 else 'gradient'}"
    return Reduction(name, partial(_chunk, loss, fit_intercept, order, target), _combine)


@dataclass(frozen=True, eq=False)
class Finish:
    """From sums over rows to the objective: divide by the total weight, add the penalty."""

    weight_sum: float
    penalty: L2

    def __call__(self, w: FloatArray, sums: LinearSums) -> Evaluation:
        value = sums.value / self.weight_sum + self.penalty.value(w)
        gradient = sums.gradient / self.weight_sum + self.penalty.gradient(w)
        if sums.hessian is None:
            return Evaluation(value, gradient)
        hessian = sums.hessian / self.weight_sum
        diagonal = np.einsum("ii->i", hessian)
        diagonal += np.broadcast_to(self.penalty.strength, w.shape).ravel()
        return Evaluation(value, gradient, hessian)

    def sketched(self, question: Question, sums: LinearSums) -> Evaluation:
        """With the asked sketch of the Hessian; outputs that share one share their mean penalty too."""
        at = self(question.w, sums._replace(hessian=None))
        assert sums.hessian is not None
        strength = np.broadcast_to(self.penalty.strength, question.w.shape)
        if question.sketch == "shared":
            strength = np.diag(np.atleast_2d(strength).mean(axis=0))
        return at._replace(hessian=sums.hessian / self.weight_sum + strength)

    def answer(self, question: Question, sums: LinearSums) -> Evaluation | Product:
        """What the sums say to a question."""
        if question.sketch:
            return self.sketched(question, sums)
        if question.vector is None:
            return self(question.w, sums)
        return Product(sums.gradient / self.weight_sum + self.penalty.gradient(question.vector))


def _tell(solver: Any, finish: Finish, state: Any, sums: LinearSums) -> Any:
    return solver.update(state, finish.answer(asked(solver, state), sums))


@dataclass(frozen=True, eq=False)
class LinearObjective:
    """A penalised linear model's objective; each evaluation is one round."""

    data: BlockDataset
    executor: Executor
    loss: Any
    fit_intercept: bool
    finish: Finish
    target: int | None = None  # column of a two-dimensional y

    def advance(self, solver: Solver[State], state: State, n_rounds: int) -> list[State]:
        """Ask, evaluate and tell ``n_rounds`` times, in one graph where that is possible."""
        reduction = linear_reduction(self.loss, self.fit_intercept, solver.order, self.target)
        if n_rounds > 1:
            return self.executor.iterate(
                self.data,
                reduction,
                state,
                point=partial(asked, solver),
                update=partial(_tell, solver, self.finish),
                n_rounds=n_rounds,
                objective=_measured,
            )
        question = asked(solver, state)
        told: list[State] = []

        def objective(sums: LinearSums) -> float:
            told.append(solver.update(state, self.finish.answer(question, sums)))
            return _measured(told[0])

        self.executor.reduce(self.data, reduction, question, objective=objective)
        return told


def _measured(at: Any) -> Measured:
    """What a round reports: the state of the solver that was told its sums."""
    return Measured(at.value, float(np.max(np.abs(at.gradient), initial=0.0)))


def unpenalised_intercept(strength: float, shape: tuple[int, ...], fit_intercept: bool) -> L2:
    """An L2 penalty on the coefficients alone; the intercept is the last column."""
    strengths = np.full(shape, strength)
    if fit_intercept:
        strengths[..., -1] = 0.0
    return L2(strengths)


__all__ = ["Finish", "LinearObjective", "linear_reduction", "unpenalised_intercept"]
