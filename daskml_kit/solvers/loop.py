"""The one loop that drives every solver."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Generic, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np

from daskml_kit import exceptions
from daskml_kit.runtime.dataset import BlockDataset
from daskml_kit.runtime.executor import Executor
from daskml_kit.solvers.protocol import Callbacks, Objective, Solver, State
from daskml_kit.typing import FloatArray

Status = Literal["converged", "max_iter", "stalled"]


@dataclass(frozen=True, eq=False)
class Solution:
    """Where a solve ended and why."""

    w: FloatArray
    value: float
    gradient_norm: float  # largest absolute component
    n_iter: int
    n_evaluations: int
    status: Status
    state: Any


class Distance(Protocol):
    """How far a state is from the minimum: a small picklable value."""

    @property
    def name(self) -> str:
        """Of what it measures, for warnings."""
        ...

    def __call__(self, state: Any) -> float:
        """At most the tolerance where the solve has converged."""
        ...


@dataclass(frozen=True)
class Stationarity:
    """The largest component of the gradient; or the root of the duality gap, where the solver knows one.

    Near a minimum the value is off by the square of the gradient.
    """

    name: ClassVar[str] = "largest gradient component"

    def __call__(self, state: Any) -> float:
        """In the units of the gradient."""
        gap = getattr(state, "gap", np.inf)
        return min(_norm(state.gradient), float(np.sqrt(gap)))


@dataclass(frozen=True)
class Foreseen(Stationarity):
    """What is left of the gradient after a step that leaves the share that the last one has left."""

    def __call__(self, state: Any) -> float:
        """In the units of the gradient."""
        return super().__call__(state) * float(getattr(state, "left", 1.0))


class Guess(NamedTuple):
    """A place that may be near the minimum."""

    w: FloatArray
    most: float  # the objective there, if it is
    state: Any = None  # where the solver begins, if it knows more than the place


def solve(
    objective: Objective,
    solver: Solver[State],
    w0: FloatArray,
    *,
    max_iter: int,
    tol: float,
    unroll: int = 1,
    callbacks: Callbacks = (),
    near: Guess | None = None,
    distance: Distance = Stationarity(),
) -> Solution:
    """Minimise ``objective`` from ``w0``.

    Parameters
    ----------
    objective : what is minimised
    solver : how
    w0 : starting point
    max_iter : int
        Most accepted steps.
    tol : float
        The solve has converged when ``distance`` is at most this: when no component of the gradient exceeds
        it in absolute value, or when the solver's duality gap, where it knows one, is at most ``tol**2``.
    unroll : int
        Rounds submitted together. More saves messages; up to ``unroll - 1`` rounds run for nothing
        after convergence.
    callbacks : called with the state after every round; an exception ends the fit. Without any, and where
        rounds are short, the loop runs on a worker.
    near : a better place to begin, given up for ``w0`` after one evaluation that shows that it is none
    distance : how far a state is from the minimum

    Warns
    -----
    ConvergenceWarning
        If it stops for another reason than ``tol``.

    Examples
    --------
    >>> import numpy as np
    >>> from daskml_kit.solvers import LBFGS, Evaluation, FunctionObjective
    >>> bowl = FunctionObjective(lambda w, order: Evaluation(float(w @ w), 2 * w))
    >>> solve(bowl, LBFGS(), np.ones(3), max_iter=20, tol=1e-8).status
    'converged'
    """
    state, evaluations = _begun(solver, w0, near), 0
    ended = partial(status_of, max_iter=max_iter, tol=tol, distance=distance)
    solution = partial(_solution, max_iter=max_iter, tol=tol, distance=distance)
    while True:
        if evaluations and unroll == 1 and not callbacks and isinstance(objective, Resident):
            return solution(*_led(objective, solver, ended, (state, evaluations)))
        for following in objective.advance(solver, state, unroll):
            state, evaluations = following, evaluations + 1
            for callback in callbacks:
                callback(state)
            if near is not None and evaluations == 1 and not state.value <= near.most:
                state = solver.init(w0)
                break
            status = ended(state)
            if status is not None:
                return solution(state, evaluations, status)


def _begun(solver: Solver[State], w0: FloatArray, near: Guess | None) -> State:
    if near is None:
        return solver.init(w0)
    known: State | None = near.state
    return solver.init(near.w) if known is None else known


@runtime_checkable
class Resident(Protocol):
    """An objective over resident data: a frozen dataclass with these among its fields."""

    data: BlockDataset
    executor: Executor


Ended = Callable[[State], "Status | None"]


@dataclass(frozen=True, eq=False)
class _Rounds(Generic[State]):
    """Rounds one by one until the solve has ended: what :meth:`Executor.lead` is given."""

    objective: Any  # without data and executor
    solver: Solver[State]
    ended: Ended[State]

    def __call__(
        self,
        executor: Executor,
        data: BlockDataset,
        at: tuple[State, int],
        go_on: Callable[[], bool],
    ) -> tuple[State, int]:
        objective = replace(self.objective, data=data, executor=executor)
        state, evaluations = at
        while True:
            state, evaluations = objective.advance(self.solver, state, 1)[0], evaluations + 1
            if self.ended(state) is not None or not go_on():
                return state, evaluations


def _led(
    objective: Any, solver: Solver[State], ended: Ended[State], at: tuple[State, int]
) -> tuple[State, int, Status]:
    """The rest of a solve, as close to the data as pays."""
    rounds = _Rounds(replace(objective, data=None, executor=None), solver, ended)
    while True:
        at = objective.executor.lead(objective.data, rounds, at)
        status = ended(at[0])
        if status is not None:
            return *at, status


def approach(
    objective: Objective, solver: Solver[State], w0: FloatArray, *, max_iter: int, share: float
) -> tuple[State, float]:
    """Go from ``w0`` towards the minimum, without a promise: for a place to begin :func:`solve` at.

    Parameters
    ----------
    objective, solver, w0 : as for :func:`solve`
    max_iter : int
        Most accepted steps.
    share : float
        It is near enough where the largest component of the gradient is this share of what it was at ``w0``,
        or will be after a step that gains as much as the last.

    Returns
    -------
    The last state, and the objective at ``w0``: a place near the minimum is one that has less.
    """
    state = objective.advance(solver, solver.init(w0), 1)[0]
    ended = partial(
        status_of, max_iter=max_iter, tol=share * _norm(state.gradient), distance=Foreseen()
    )
    at = state, 1
    if ended(state) is None and isinstance(objective, Resident):
        at = _led(objective, solver, ended, at)[:2]
    while ended(at[0]) is None:
        at = objective.advance(solver, at[0], 1)[0], 0
    return at[0], state.value


def status_of(
    state: Any, max_iter: int, tol: float, distance: Distance = Stationarity()
) -> Status | None:
    """Why a solve ends at this state, which was evaluated; None where it goes on."""
    if not np.isfinite(state.value):
        return "stalled"
    if distance(state) <= tol:
        return "converged"
    if state.n_iter >= max_iter:
        return "max_iter"
    return "stalled" if state.trouble else None


def _norm(gradient: FloatArray) -> float:
    return float(np.max(np.abs(gradient), initial=0.0))


def _solution(
    state: State, evaluations: int, status: Status, max_iter: int, tol: float, distance: Distance
) -> Solution:
    if status == "max_iter":
        warnings.warn(
            f"Stopped after max_iter={max_iter} steps with a {distance.name} of {distance(state):.3g}, "
            f"tol={tol:.3g}. Increase max_iter, scale the features, or raise tol.",
            exceptions.ConvergenceWarning,
            stacklevel=4,
        )
    elif status == "stalled" and not np.isfinite(state.value):
        warnings.warn(
            f"The objective is {state.value} after {state.n_iter} steps: no step was taken from there. Scale "
            "the features, or start from smaller coefficients.",
            exceptions.ConvergenceWarning,
            stacklevel=4,
        )
    elif status == "stalled":
        warnings.warn(
            f"{state.trouble} The {distance.name} is {distance(state):.3g}, tol={tol:.3g}: scale the "
            "features or raise tol if that is not good enough.",
            exceptions.ConvergenceWarning,
            stacklevel=4,
        )
    norm = _norm(state.gradient)
    return Solution(state.w, state.value, norm, state.n_iter, evaluations, status, state)
