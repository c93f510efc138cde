"""Newton-CG in a trust region: second-order steps where the Hessian is too large to be formed.

A step asks for value and gradient once and for a few products of the Hessian with a vector, each a round
with messages of the model's size. The path of conjugate gradients is kept, so a step that turns out too
long is shortened along it and costs one evaluation, no product.

=================  ===========================================
papers             here
=================  ===========================================
Delta              ``radius``
s_k, r_k           ``path``: steps and what they leave of -g
d_k                ``vector``
rho                ``gained / promised``
=================  ===========================================

References
----------
Lin, Weng, Keerthi (2008). Trust region Newton method for logistic regression. JMLR 9, Algorithms 1 and 2,
with its constants, but for the first radius: that of the first step, whatever the units. Steihaug (1983).
The conjugate gradient method and trust regions in large scale optimization. SIAM J. Numer. Anal. 20.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from daskml_kit.solvers.line_search import MAX_TRIALS, NOISE
from daskml_kit.solvers.protocol import Evaluation, Product, Question
from daskml_kit.solvers.vectors import inner, length
from daskml_kit.typing import FloatArray

_ACCEPT, _FAIR, _GOOD = 1e-4, 0.25, 0.75  # shares of the promised decrease: eta_0, eta_1, eta_2
_SHRINK, _HALF, _GROW = 0.25, 0.5, 4.0  # of the radius: sigma_1, sigma_2, sigma_3
_FORCING = 0.5  # of the gradient that conjugate gradients may leave; less and less near the end


@dataclass(frozen=True, eq=False)
class NewtonCGState:
    """State of :class:`NewtonCG`."""

    w: FloatArray
    value: float
    gradient: FloatArray
    radius: float = np.inf
    first_norm: float = np.inf  # of the gradient at the start
    path: tuple[tuple[FloatArray, FloatArray], ...] = ()  # (step, residual), from the zero step on
    vector: FloatArray | None = None  # whose product with the Hessian is asked
    step: FloatArray | None = None  # the trial, when there is one
    promised: float = 0.0  # decrease that the model sees in the trial
    trials: int = 0
    n_iter: int = 0
    trouble: str = ""


@dataclass(frozen=True)
class NewtonCG:
    """Truncated Newton steps within a trust region.

    Parameters
    ----------
    max_products : int
        Most products a step.
    """

    max_products: int = 100
    order: int = 1

    def init(self, w: FloatArray) -> NewtonCGState:
        """Begin at ``w``."""
        return NewtonCGState(w, np.inf, np.full_like(w, np.inf))

    def point(self, state: NewtonCGState) -> FloatArray:
        """The trial, or the point whose Hessian is asked."""
        return state.w if state.step is None else state.w + state.step

    def question(self, state: NewtonCGState) -> Question:
        """An evaluation at the trial, or a product."""
        return Question(self.point(state), vector=state.vector)

    def update(self, state: NewtonCGState, told: Evaluation | Product) -> NewtonCGState:
        """Go on with conjugate gradients, or judge the trial and begin anew."""
        if isinstance(told, Product):
            return self._continued(state, told.vector)
        if state.step is None:
            norm = length(told.gradient)
            start = replace(state, value=told.value, gradient=told.gradient, first_norm=norm)
            return _begun(start) if np.isfinite(told.value) else start
        return self._judged(state, told)

    def _continued(self, state: NewtonCGState, product: FloatArray) -> NewtonCGState:
        """One step of conjugate gradients."""
        vector, (step, residual) = state.vector, state.path[-1]
        assert vector is not None
        if not np.any(vector):  # the state has said so: no step is left
            return state
        square, bend = inner(residual, residual), inner(vector, product)
        if bend <= 0.0:  # flat or downwards for ever: as far as the region goes
            radius = state.radius if np.isfinite(state.radius) else length(vector)
            far = 2.0 * radius / length(vector)
            path = (*state.path, (step + far * vector, residual - far * product))
            return _tried(replace(state, path=path, radius=radius))
        alpha = square / bend
        following = step + alpha * vector, residual - alpha * product
        state = replace(state, path=(*state.path, following))
        left = length(following[1])
        norm = length(state.gradient)
        enough = min(_FORCING, float(np.sqrt(norm / state.first_norm))) * norm
        outside = length(following[0]) >= state.radius
        if outside or left <= enough or len(state.path) > self.max_products:
            return _tried(state)
        return replace(state, vector=following[1] + (left**2 / square) * vector)

    def _judged(self, state: NewtonCGState, at: Evaluation) -> NewtonCGState:
        """Accept the trial or not, and change the radius."""
        step = state.step
        assert step is not None
        gained = state.value - at.value if np.isfinite(at.value) else -np.inf
        flat = abs(gained) <= NOISE * abs(state.value) and bool(
            length(at.gradient) < length(state.gradient)
        )
        radius = _resized(state, gained, length(step), flat)
        if gained > _ACCEPT * state.promised or flat:
            moved = replace(state, w=state.w + step, value=at.value, gradient=at.gradient)
            return _begun(replace(moved, radius=radius, n_iter=state.n_iter + 1))
        if state.trials >= MAX_TRIALS:
            return replace(state, trouble="No step in the trust region lowers the objective.")
        return _tried(replace(state, radius=radius, trials=state.trials + 1))


def _begun(state: NewtonCGState) -> NewtonCGState:
    """At a new point: conjugate gradients from the zero step."""
    residual = -state.gradient
    trouble = "" if np.any(residual) else "The gradient has vanished to rounding."
    path = ((np.zeros_like(residual), residual),)
    return replace(state, path=path, vector=residual, step=None, trials=0, trouble=trouble)


def _tried(state: NewtonCGState) -> NewtonCGState:
    """The last step of the path within the region, as the trial."""
    k = 1
    while k < len(state.path) - 1 and length(state.path[k][0]) < state.radius:
        k += 1
    (step, residual), (end, left) = state.path[k - 1], state.path[k]
    share = _share_within(step, end - step, state.radius)
    step, residual = step + share * (end - step), residual + share * (left - residual)
    promised = 0.5 * inner(step, residual - state.gradient)
    return replace(state, step=step, promised=promised, vector=None)


def _share_within(origin: FloatArray, move: FloatArray, radius: float) -> float:
    """The largest t up to 1 with ``|origin + t move| <= radius``."""
    if length(origin + move) <= radius:
        return 1.0
    a, b = inner(move, move), inner(origin, move)
    room = radius**2 - inner(origin, origin)
    return max(0.0, room / (b + float(np.sqrt(max(b * b + a * room, 0.0)))))


def _resized(state: NewtonCGState, gained: float, far: float, flat: bool) -> float:
    """The radius after a trial of that length (Lin, Weng and Keerthi, section 2.2 and their TRON)."""
    if not np.isfinite(gained):
        return _SHRINK * far
    if flat:
        return state.radius
    radius = min(state.radius, far) if state.n_iter == 0 else state.radius
    assert state.step is not None
    slope = inner(state.gradient, state.step)
    excess = -gained - slope  # by which the value lies above its tangent
    alpha = _GROW if excess <= 0 else max(_SHRINK, -0.5 * slope / excess)
    if gained < _ACCEPT * state.promised:
        return min(max(alpha, _SHRINK) * far, _HALF * radius)
    if gained < _FAIR * state.promised:
        return max(_SHRINK * radius, min(alpha * far, _HALF * radius))
    if gained < _GOOD * state.promised:
        return max(_SHRINK * radius, min(alpha * far, _GROW * radius))
    return max(radius, min(alpha * far, _GROW * radius))


__all__ = ["NewtonCG"]
