"""The objective of a penalised linear model over resident blocks.

::

    F(w) = 1/S sum_i s_i loss(y_i, x_i.w + b) + alpha/2 |coef|^2,    S = sum_i s_i

The sums come from the workers; the division by S and the penalty are applied once, on the driver, or in
the update task of an unrolled graph.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial, reduce
from typing import Any

import numpy as np

from daskml_kit.kernels import LinearSums, linear_product, linear_sums
from daskml_kit.linear_model.centring import as_read
from daskml_kit.penalties import L2
from daskml_kit.runtime.block import Block
from daskml_kit.runtime.dataset import BlockDataset
from daskml_kit.runtime.events import Measured
from daskml_kit.runtime.executor import Executor
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.solvers import Evaluation, Guess, Solver, approach
from daskml_kit.solvers.protocol import Product, Question, State, asked
from daskml_kit.typing import FloatArray, Matrix

GUESS_STEPS = 10
"""Most steps over a sample. Data that it can't stand for should not hold the start up."""

LAST_STEP = 10.0
"""What the last step of the way is counted on to gain."""

ROWS_ON_THE_WAY = 100
"""Rows a coefficient of Hessians there. A round over 51,000 rows takes a core 2.4 ms, with all of them 10."""


def _chunk(
    loss: Any,
    fit_intercept: bool,
    order: int,
    target: int | None,
    few: bool,
    centre: FloatArray | None,
    block: Block,
    question: FloatArray | Question,
) -> LinearSums:
    asks = question if isinstance(question, Question) else Question(question)
    y = np.asarray(block.y)
    if target is not None:
        y = np.ascontiguousarray(y[:, target])
    sums = sums_asked(loss, fit_intercept, order, asks, block, y, block.weight, centre)
    return sums._replace(weight=block.weight_sum) if few else sums


def sums_asked(
    loss: Any,
    fit_intercept: bool,
    order: int,
    asks: Question,
    block: Block,
    y: FloatArray,
    weight: FloatArray | None,
    centre: FloatArray | None = None,
) -> LinearSums:
    """What a block's rows, with these targets and weights, say to a question.

    Where it has a vector, the product with it stands in the place of the gradient. ``centre`` is taken off
    the columns.
    """
    if centre is None:
        return _sums(loss, fit_intercept, order, asks, block.X, y, weight, block.start)
    return reduce(
        added,
        (
            _sums(
                loss, fit_intercept, order, asks, X, y[rows],
                None if weight is None else weight[rows], block.start + rows.start,
            )
            for rows, X in as_read(block, centre)
        ),
    )  # fmt: skip


def _sums(
    loss: Any,
    fit_intercept: bool,
    order: int,
    asks: Question,
    X: Matrix,
    y: FloatArray,
    weight: FloatArray | None,
    start: int,
) -> LinearSums:
    rows = (loss, X, y, weight)
    if asks.vector is not None:
        product = linear_product(*rows, asks.w, asks.vector, fit_intercept=fit_intercept)
        return LinearSums(0.0, product, None)
    return linear_sums(
        *rows, asks.w, fit_intercept=fit_intercept, order=min(order, asks.order),
        every=asks.every, start=start, sketch=asks.sketch,
    )  # fmt: skip


def added(a: LinearSums, b: LinearSums) -> LinearSums:
    """The sums over the rows of both."""
    hessian = None if a.hessian is None or b.hessian is None else a.hessian + b.hessian
    return LinearSums(
        a.value + b.value,
        a.gradient + b.gradient,
        hessian,
        a.sampled + b.sampled,
        a.weight + b.weight,
    )


def linear_reduction(
    loss: Any,
    fit_intercept: bool,
    order: int,
    target: int | None = None,
    few: bool = False,
    centre: FloatArray | None = None,
) -> Reduction[FloatArray | Question, LinearSums, LinearSums]:
    """Sums of value, gradient and (``order=2``) Hessian at given coefficients: one pass.

    Its parameter is a point, or a question; where a question has a vector, the product with it stands in
    the place of the gradient. ``target`` is the column of a two-dimensional y. ``few`` says that the rows are
    a sample. ``centre`` is taken off the columns as they are read.
    """
    what = "sample" if few else "hessian" if order == 2 else "gradient"
    chunk = partial(_chunk, loss, fit_intercept, order, target, few, centre)
    return Reduction(f"{type(loss).__name__.lower()}-{what}", chunk, added)


@dataclass(frozen=True, eq=False)
class Finish:
    """From sums over rows to the objective: divide by the total weight, add the penalty.

    What is of a sample of the rows is divided by the weight of these: by the number of rows, a sample without
    one that outweighs all others would say that there is hardly any curvature.
    """

    weight_sum: float
    penalty: L2

    def _hessian(self, sums: LinearSums) -> FloatArray:
        """The mean over the rows that it is of; without weight all are zeros."""
        assert sums.hessian is not None
        return sums.hessian / (sums.sampled or sums.weight or self.weight_sum)

    def __call__(self, w: FloatArray, sums: LinearSums) -> Evaluation:
        weight = sums.weight or self.weight_sum
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

    Of a ``few`` of the rows, a sample, an evaluation is a round, but no pass.
    """

    data: BlockDataset
    executor: Executor
    loss: Any
    fit_intercept: bool
    finish: Finish
    target: int | None = None  # column of a two-dimensional y
    few: bool = field(default=False, kw_only=True)
    centre: FloatArray | None = field(default=None, kw_only=True)  # taken off the columns

    def advance(self, solver: Solver[State], state: State, n_rounds: int) -> list[State]:
        """Ask, evaluate and tell ``n_rounds`` times, in one graph where that is possible."""
        if n_rounds > 1:
            return self.executor.iterate(
                self.data,
                self._reduction(solver.order),
                state,
                point=partial(asked, solver),
                update=partial(_tell, solver, self.finish),
                n_rounds=n_rounds,
                objective=_measured,
            )
        question = asked(solver, state)
        reduction = self._reduction(min(solver.order, question.order))
        told: list[State] = []

        def objective(sums: LinearSums) -> float:
            told.append(solver.update(state, self.finish.answer(question, sums)))
            return _measured(told[0], passes=int(not self.few))

        self.executor.reduce(self.data, reduction, question, objective=objective)
        return told

    def _reduction(self, order: int) -> Reduction[FloatArray | Question, LinearSums, LinearSums]:
        return linear_reduction(
            self.loss, self.fit_intercept, order, self.target, self.few, self.centre
        )


def guessed(objective: LinearObjective, solver: Any, w0: FloatArray, max_iter: int) -> Guess | None:
    """A place near the minimum, from the sample of rows that lies beside the data, and the Hessian there.

    The minimum over m rows is one where the objective of all is about ``d / 2m`` above its own (a likelihood
    of d coefficients; the size of an average loss is one): with 1,000 rows a coefficient as near as the first
    five or six of Newton's passes over all rows would come. On the way there Hessians of a sample of the
    sample do; the last step takes that of the whole sample, which then serves the first steps over all rows.

    Parameters
    ----------
    objective, solver, w0, max_iter : as for :func:`~daskml_kit.solvers.solve`

    Returns
    -------
    None where the data have no sample beside them.
    """
    rows = objective.data.drawn
    if rows is None:
        return None
    few = replace(objective, data=rows, few=True)
    size = w0.size
    on_the_way = replace(solver, every=max(1, rows.facts.n_rows // (ROWS_ON_THE_WAY * size)))
    share = LAST_STEP / float(np.sqrt(rows.facts.n_rows))
    steps = min(GUESS_STEPS, max_iter)
    found, most = approach(few, on_the_way, w0, max_iter=steps, share=share)
    whole = replace(solver, every=1)
    last = few.advance(whole, whole.init(solver.near(found).w), 1)[0]
    state = solver.near(last)
    return Guess(state.w, most, state)


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
