"""What a solver is: a state machine that asks for a point and is told what was measured there.

One question is one round over the data, so the number of questions is the cost. A solver never calls the
objective: the same solver therefore runs round by round on the driver, or unrolled into one task graph
with its ``update`` on a worker, and its state, a flat dataclass of arrays, is all that a resumed fit needs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
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
    local: Local | None = None  # what every piece of the rows computes for itself
    sketch: str = ""  # of the Hessian, beside the gradient: see :mod:`daskml_kit.solvers.metric`
    order: int = 2  # 1: no Hessian, of a solver that takes one at other times


class Product(NamedTuple):
    """The Hessian at a point times a vector: the answer to a question that has one."""

    vector: FloatArray  # of the shape of the point


class Piece(Protocol):
    """A piece of the rows, as a local computation sees it: its share ``f_k`` of the smooth objective.

    The shares of all pieces add up to the objective. Which rows make a piece is fixed by their global
    numbers, so that an answer depends on the pieces, not on chunks or workers.
    """

    @property
    def index(self) -> int:
        """Which piece, from 0."""
        ...

    @property
    def share(self) -> float:
        """Of the total weight of all rows."""
        ...

    @property
    def direct(self) -> bool:
        """Whether a Hessian is cheaper than the products that would stand for it."""
        ...

    def evaluate(self, w: FloatArray, order: int) -> Evaluation:
        """``f_k`` at a point: one read of the piece's rows."""
        ...

    def product(self, w: FloatArray, vector: FloatArray) -> FloatArray:
        """The Hessian of ``f_k`` at ``w`` times ``vector``: one read."""
        ...


class Local(Protocol):
    """A computation that every piece makes for itself, in one round; a small picklable value."""

    @property
    def name(self) -> str:
        """Of the round."""
        ...

    @property
    def evaluates(self) -> bool:
        """Whether value and gradient at the question's point are wanted beside."""
        ...

    def __call__(self, piece: Any, w: FloatArray) -> Summed | Apart:
        """The piece's result; ``w`` is the question's point."""
        ...


class Summed(NamedTuple):
    """Results that add up over the pieces."""

    values: tuple[Any, ...]

    def merge(self, other: Summed) -> Summed:
        """The result of the pieces of both."""
        return Summed(tuple(a + b for a, b in zip(self.values, other.values, strict=True)))


class Apart(NamedTuple):
    """Results that are kept apart, by the index of their piece."""

    by_piece: dict[int, FloatArray]

    def merge(self, other: Apart) -> Apart:
        """The result of the pieces of both."""
        return Apart({**self.by_piece, **other.by_piece})


class Reply(NamedTuple):
    """What the pieces found: the answer to a question that has a local computation."""

    evaluation: Evaluation | None  # at the question's point, where it was wanted
    result: Any  # Summed or Apart


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

    ``function(w, order)`` returns an :class:`Evaluation`, ``product(w, vector)`` the Hessian times a vector
    (without it the Hessian is formed), and the functions of ``pieces`` add up to ``function``.
    """

    function: Callable[[FloatArray, int], Evaluation]
    product: Callable[[FloatArray, FloatArray], FloatArray] | None = None
    pieces: Sequence[Piece] = ()

    def advance(self, solver: Solver[State], state: State, n_rounds: int) -> list[State]:
        """Evaluate ``n_rounds`` times."""
        states: list[State] = []
        for _ in range(n_rounds):
            state = solver.update(state, self.answer(asked(solver, state), solver.order))
            states.append(state)
        return states

    def answer(self, question: Question, order: int) -> Any:
        """What one round would tell."""
        if question.local is not None:
            found = [question.local(piece, question.w) for piece in self.pieces]
            at = self.function(question.w, 1) if question.local.evaluates else None
            return Reply(at, reduce(lambda a, b: a.merge(b), found))  # type: ignore[arg-type]
        if question.sketch:
            return self._sketched(question)
        if question.vector is None:
            return self.function(question.w, min(order, question.order))
        if self.product is not None:
            return Product(self.product(question.w, question.vector))
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
    "Apart",
    "Asking",
    "Callbacks",
    "Evaluation",
    "FunctionObjective",
    "Local",
    "Objective",
    "Piece",
    "Product",
    "Question",
    "Reply",
    "Solver",
    "State",
    "Summed",
    "asked",
]
