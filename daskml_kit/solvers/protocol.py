"""What a solver is: a state machine that asks for a point and is told what was measured there.

One question is one round over the data, so the number of questions is the cost. A solver never calls the
objective: the same solver therefore runs round by round on the driver, or unrolled into one task graph
with its ``update`` on a worker, and its state, a flat dataclass of arrays, is all that a resumed fit needs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np

from daskml_kit.typing import FloatArray


class Evaluation(NamedTuple):
    """An objective at a point: a mean over the rows plus the penalty."""

    value: float
    gradient: FloatArray  # of the shape of the point
    hessian: FloatArray | None = None  # (size, size) in C order of the point; or a sketch


class Question(NamedTuple):
    """What a solver wants to be told in a round, where it is more than an evaluation at a point."""

    w: FloatArray
    every: int = 1  # the Hessian may be estimated from one of so many rows
    vector: FloatArray | None = None  # only the product of the Hessian with this is asked
    sketch: str = ""  # of the Hessian, beside the gradient: see :mod:`daskml_kit.solvers.metric`


class Product(NamedTuple):
    """The Hessian at a point times a vector: the answer to a question that has one."""

    vector: FloatArray  # of the shape of the point


class StateLike(Protocol):
    """What every state tells."""

    @property
    def w(self) -> FloatArray:
        """The best point accepted so far."""
        ...

    @property
    def value(self) -> float:
        """The objective at ``w``."""
        ...

    @property
    def gradient(self) -> FloatArray:
        """The gradient at ``w``."""
        ...

    @property
    def n_iter(self) -> int:
        """Accepted steps."""
        ...

    @property
    def trouble(self) -> str:
        """Why no step can be taken any more; empty while all is well."""
        ...


State = TypeVar("State", bound=StateLike)


class Solver(Protocol[State]):
    """Ask, tell.

    ``order`` declares what the solver needs of each evaluation: 1 the gradient, 2 the Hessian too.
    """

    @property
    def order(self) -> int:
        """Highest derivative needed."""
        ...

    def init(self, w: FloatArray) -> State:
        """The state before the first evaluation, which will be at ``w``."""
        ...

    def point(self, state: State) -> FloatArray:
        """Where the objective is to be evaluated next."""
        ...

    def update(self, state: State, evaluation: Any) -> State:
        """The state after the :class:`Evaluation` (or what else was asked) at ``point(state)``.

        Pure: mutates nothing.
        """
        ...


@runtime_checkable
class Asking(Protocol):
    """A solver that asks for more than evaluations at points; it is told a product where it asked for one."""

    def question(self, state: Any) -> Question:
        """What is to be measured next, at ``point(state)``."""
        ...


def asked(solver: Solver[State], state: State) -> Question:
    """The next question of any solver."""
    if isinstance(solver, Asking):
        return solver.question(state)
    return Question(solver.point(state))


class Objective(Protocol):
    """Something that can be evaluated, one round each."""

    def advance(self, solver: Solver[State], state: State, n_rounds: int) -> list[State]:
        """Ask, evaluate and tell ``n_rounds`` times; the state after each."""
        ...


@dataclass(frozen=True)
class FunctionObjective:
    """An objective in this process, for tests and for problems on the driver.

    ``function(w, order)`` returns an :class:`Evaluation`.
    """

    function: Callable[[FloatArray, int], Evaluation]

    def advance(self, solver: Solver[State], state: State, n_rounds: int) -> list[State]:
        """Evaluate ``n_rounds`` times."""
        states: list[State] = []
        for _ in range(n_rounds):
            state = solver.update(state, self.answer(asked(solver, state), solver.order))
            states.append(state)
        return states

    def answer(self, question: Question, order: int) -> Any:
        """What one round would tell."""
        if question.sketch:
            return self._sketched(question)
        if question.vector is None:
            return self.function(question.w, order)
        hessian = self.function(question.w, 2).hessian
        assert hessian is not None
        return Product((hessian @ question.vector.ravel()).reshape(question.w.shape))

    def _sketched(self, question: Question) -> Evaluation:
        """An evaluation with the diagonal of the Hessian, or the mean of the outputs' blocks."""
        w = question.w
        at = self.function(w, 2)
        assert at.hessian is not None
        if question.sketch == "diagonal":
            return at._replace(hessian=np.diag(at.hessian).reshape(w.shape))
        blocks = at.hessian.reshape(np.atleast_2d(w).shape * 2)
        return at._replace(hessian=np.einsum("kikj->ij", blocks) / len(blocks))


Callback = Callable[[Any], None]
Callbacks = Sequence[Callback]

__all__ = [
    "Asking",
    "Callbacks",
    "Evaluation",
    "FunctionObjective",
    "Objective",
    "Product",
    "Question",
    "Solver",
    "State",
    "asked",
]
