"""What a solver is: a state machine that asks for a point and is told what was measured there.

One question is one round over the data, so the number of questions is the cost. A solver never calls the
objective: the same solver therefore runs round by round on the driver, or unrolled into one task graph
with its ``update`` on a worker, and its state, a flat dataclass of arrays, is all that a resumed fit needs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

from daskml_kit.typing import FloatArray


class Evaluation(NamedTuple):
    """An objective at a point: a mean over the rows plus the penalty."""

    value: float
    gradient: FloatArray  # of the shape of the point
    hessian: FloatArray | None = None  # (size, size) in C order of the point


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

    def update(self, state: State, evaluation: Evaluation) -> State:
        """The state after the evaluation at ``point(state)``. Pure: mutates nothing."""
        ...


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
            evaluation = self.function(solver.point(state), solver.order)
            state = solver.update(state, evaluation)
            states.append(state)
        return states


Callback = Callable[[Any], None]
Callbacks = Sequence[Callback]

__all__ = ["Callbacks", "Evaluation", "FunctionObjective", "Objective", "Solver", "State"]
