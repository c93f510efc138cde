"""The objective of a penalised linear model over resident blocks.

::

    F(w) = 1/S sum_i s_i loss(y_i, x_i.w + b) + alpha/2 |coef|^2,    S = sum_i s_i

The sums come from the workers; the division by S and the penalty are applied once, on the driver, or in
the update task of an unrolled graph.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from daskml_kit.kernels import LinearSums, linear_product, linear_sums
from daskml_kit.linear_model.sample import sample_of
from daskml_kit.penalties import L2
from daskml_kit.runtime.block import Block
from daskml_kit.runtime.dataset import BlockDataset
from daskml_kit.runtime.events import Measured
from daskml_kit.runtime.executor import Executor
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.solvers import Evaluation, Guess, Solver, approach
from daskml_kit.solvers.protocol import Product, Question, State, asked
from daskml_kit.typing import FloatArray

LEAST_SAMPLE = 4
"""A start is sought from one of so many rows or fewer: of more, a round costs nearly what one of all does."""

GUESS_STEPS = 10
"""Most steps there. Data that a sample can't stand for should not hold it up."""


def _chunk(
    loss: Any,
    fit_intercept: bool,
    order: int,
    target: int | None,
    sample: int,
    block: Block,
    question: FloatArray | Question,
) -> LinearSums:
    asks = question if isinstance(question, Question) else Question(question)
    if sample > 1:
        block = sample_of(block, sample)
    y = np.asarray(block.y)
    if target is not None:
        y = np.ascontiguousarray(y[:, target])
    sums = sums_asked(loss, fit_intercept, order, asks, block, y, block.weight)
    return sums if sample == 1 else sums._replace(sampled=block.weight_sum)


def sums_asked(
    loss: Any,
    fit_intercept: bool,
    order: int,
    asks: Question,
    block: Block,
    y: FloatArray,
    weight: FloatArray | None,
) -> LinearSums:
    """What a block's rows, with these targets and weights, say to a question.

    Where it has a vector, the product with it stands in the place of the gradient.
    """
    rows = (loss, block.X, y, weight)
    if asks.vector is not None:
        product = linear_product(*rows, asks.w, asks.vector, fit_intercept=fit_intercept)
        return LinearSums(0.0, product, None)
    return linear_sums(
        *rows, asks.w, fit_intercept=fit_intercept, order=order, every=asks.every, start=block.start,
        sketch=asks.sketch,
    )  # fmt: skip


def added(a: LinearSums, b: LinearSums) -> LinearSums:
    """The sums over the rows of both."""
    hessian = None if a.hessian is None or b.hessian is None else a.hessian + b.hessian
    return LinearSums(a.value + b.value, a.gradient + b.gradient, hessian, a.sampled + b.sampled)


def linear_reduction(
    loss: Any, fit_intercept: bool, order: int, target: int | None = None, sample: int = 1
) -> Reduction[FloatArray | Question, LinearSums, LinearSums]:
    """Sums of value, gradient and (``order=2``) Hessian at given coefficients: one pass.

    Its parameter is a point, or a question; where a question has a vector, the product with it stands in
    the place of the gradient. ``target`` is the column of a two-dimensional y. With a ``sample`` the sums
    are those of one of so many rows.
    """
    what = "sample" if sample > 1 else "hessian" if order == 2 else "gradient"
    chunk = partial(_chunk, loss, fit_intercept, order, target, sample)
    return Reduction(f"{type(loss).__name__.lower()}-{what}", chunk, added)


@dataclass(frozen=True, eq=False)
class Finish:
    """From sums over rows to the objective: divide by the total weight, add the penalty.

    What is of a sample of the rows is divided by the weight of these: by the number of rows, a sample without
    one that outweighs all others would say that there is hardly any curvature.
    """

    weight_sum: float
    penalty: L2
    few: bool = False  # value and gradient are of a sample, too

    def of_sample(self) -> Finish:
        """The same for sums over a sample of the rows."""
        return replace(self, few=True)

    def _weight(self, sums: LinearSums) -> float:
        return (sums.sampled if self.few else 0.0) or self.weight_sum

    def _hessian(self, sums: LinearSums) -> FloatArray:
        """The mean over the rows that it is of; without weight all are zeros."""
        assert sums.hessian is not None
        return sums.hessian / (sums.sampled or self.weight_sum)

    def __call__(self, w: FloatArray, sums: LinearSums) -> Evaluation:
        weight = self._weight(sums)
        value = sums.value / weight + self.penalty.value(w)
        gradient = sums.gradient / weight + self.penalty.gradient(w)
        if sums.hessian is None:
            return Evaluation(value, gradient)
        hessian = self._hessian(sums)
        diagonal = np.einsum("ii->i", hessian)
        diagonal += np.broadcast_to(self.penalty.strength, w.shape).ravel()
        return Evaluation(value, gradient, hessian)

    def sketched(self, question: Question, sums: LinearSums) -> Evaluation:
        """With the asked sketch of the Hessian; outputs that share one share their mean penalty too."""
        at = self(question.w, sums._replace(hessian=None))
        strength = np.broadcast_to(self.penalty.strength, question.w.shape)
        if question.sketch == "shared":
            strength = np.diag(np.atleast_2d(strength).mean(axis=0))
        return at._replace(hessian=self._hessian(sums) + strength)

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
    """A penalised linear model's objective; each evaluation is one round.

    With a ``sample`` it is that of one of so many rows: a round then, but no pass.
    """

    data: BlockDataset
    executor: Executor
    loss: Any
    fit_intercept: bool
    finish: Finish
    target: int | None = None  # column of a two-dimensional y
    sample: int = field(default=1, kw_only=True)

    def advance(self, solver: Solver[State], state: State, n_rounds: int) -> list[State]:
        """Ask, evaluate and tell ``n_rounds`` times, in one graph where that is possible."""
        reduction = linear_reduction(
            self.loss, self.fit_intercept, solver.order, self.target, self.sample
        )
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
            return _measured(told[0], passes=int(self.sample == 1))

        self.executor.reduce(self.data, reduction, question, objective=objective)
        return told


def guessed(objective: LinearObjective, solver: Any, w0: FloatArray, max_iter: int) -> Guess | None:
    """A place near the minimum, from the sample of rows that Newton's first Hessians would be of.

    The minimum over m rows is one where the objective of all is about ``d / 2m`` above its own (a likelihood
    of d coefficients; the size of an average loss is one): with 1,000 rows a coefficient as near as the first
    five or six of Newton's passes over all rows would come.

    Parameters
    ----------
    objective, solver, w0, max_iter : as for :func:`~daskml_kit.solvers.solve`

    Returns
    -------
    None where the solver takes exact Hessians, where a sample would spare little, and where rows do not stay
    in memory: each round would read them all again to find its sample.
    """
    sample = solver.every if solver.order == 2 else 1
    if sample < LEAST_SAMPLE or max_iter == 0 or not objective.executor.holds(objective.data):
        return None
    few = replace(objective, sample=sample, finish=objective.finish.of_sample())
    exact = replace(solver, every=1)
    share = float(np.sqrt(sample / objective.data.facts.n_rows))
    return approach(few, exact, w0, max_iter=min(GUESS_STEPS, max_iter), share=share)


def _measured(at: Any, passes: int = 1) -> Measured:
    """What a round reports: the state of the solver that was told its sums."""
    return Measured(at.value, float(np.max(np.abs(at.gradient), initial=0.0)), passes)


def unpenalised_intercept(strength: float, shape: tuple[int, ...], fit_intercept: bool) -> L2:
    """An L2 penalty on the coefficients alone; the intercept is the last column."""
    strengths = np.full(shape, strength)
    if fit_intercept:
        strengths[..., -1] = 0.0
    return L2(strengths)


__all__ = [
    "Finish",
    "LinearObjective",
    "added",
    "guessed",
    "linear_reduction",
    "sums_asked",
    "unpenalised_intercept",
]
