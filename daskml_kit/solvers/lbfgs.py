"""Limited-memory BFGS: one round an iteration as a rule, memory and messages of the model's size.

References
----------
Liu, Nocedal (1989). On the limited memory BFGS method for large scale optimization. Math. Program. 45.
Nocedal, Wright (2006). Numerical Optimization, 2nd ed. Algorithm 7.4 (two-loop recursion), 7.5.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from daskml_kit.solvers.line_search import LineSearch
from daskml_kit.solvers.protocol import Evaluation
from daskml_kit.solvers.vectors import inner, length
from daskml_kit.typing import FloatArray

_MIN_CURVATURE = 1e-12  # pairs with s.y below this share of |s||y| would spoil the approximation


@dataclass(frozen=True, eq=False)
class LBFGSState:
    """State of :class:`LBFGS`: the last steps ``s`` and gradient differences ``y``, oldest first."""

    w: FloatArray
    value: float
    gradient: FloatArray
    s: tuple[FloatArray, ...] = field(default=())
    y: tuple[FloatArray, ...] = field(default=())
    search: LineSearch | None = None
    n_iter: int = 0
    trouble: str = ""


@dataclass(frozen=True)
class LBFGS:
    """L-BFGS with ``memory`` pairs and a weak-Wolfe line search."""

    memory: int = 10
    order: int = 1

    def init(self, w: FloatArray) -> LBFGSState:
        """Begin at ``w``."""
        return LBFGSState(w, np.inf, np.full_like(w, np.inf))

    def point(self, state: LBFGSState) -> FloatArray:
        """The start, then the trial of the search."""
        return state.w if state.search is None else state.search.point

    def update(self, state: LBFGSState, evaluation: Evaluation) -> LBFGSState:
        """Accept the trial and choose a new direction, or change the step."""
        search = state.search
        if search is None:
            return self._directed(
                replace(state, value=evaluation.value, gradient=evaluation.gradient)
            )
        if search.accepts(evaluation.value, evaluation.gradient):
            return self._directed(self._moved(state, search.point, evaluation))
        if not search.exhausted:
            return replace(state, search=search.following(evaluation.value, evaluation.gradient))
        if state.s:  # once more from scratch, along the gradient
            return self._directed(replace(state, s=(), y=()))
        return replace(state, trouble="The line search found no lower value.")

    def _moved(self, state: LBFGSState, w: FloatArray, evaluation: Evaluation) -> LBFGSState:
        s, y = w - state.w, evaluation.gradient - state.gradient
        keep = inner(s, y) > _MIN_CURVATURE * length(s) * length(y)
        return replace(
            state,
            w=w,
            value=evaluation.value,
            gradient=evaluation.gradient,
            s=(*state.s, s)[-self.memory :] if keep else state.s,
            y=(*state.y, y)[-self.memory :] if keep else state.y,
            n_iter=state.n_iter + 1,
        )

    def _directed(self, state: LBFGSState) -> LBFGSState:
        direction = -two_loop(state.gradient, state.s, state.y)
        slope = inner(state.gradient, direction)
        if not slope < 0:
            return replace(state, trouble="The gradient has vanished to rounding.")
        step = 1.0 if state.s else min(1.0, 1.0 / length(state.gradient))
        return replace(state, search=LineSearch(state.w, direction, state.value, slope, step))


def two_loop(
    gradient: FloatArray, s: tuple[FloatArray, ...], y: tuple[FloatArray, ...]
) -> FloatArray:
    """The approximate inverse Hessian times ``gradient`` (Nocedal & Wright, Algorithm 7.4)."""
    q = gradient.copy()
    rho = [1.0 / inner(yi, si) for si, yi in zip(s, y, strict=True)]
    alpha = [0.0] * len(s)
    for i in reversed(range(len(s))):
        alpha[i] = rho[i] * inner(s[i], q)
        q -= alpha[i] * y[i]
    if s:
        q *= 1.0 / (rho[-1] * inner(y[-1], y[-1]))
    for i in range(len(s)):
        beta = rho[i] * inner(y[i], q)
        q += (alpha[i] - beta) * s[i]
    return q
