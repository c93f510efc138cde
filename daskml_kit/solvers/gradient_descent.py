"""Block-wise (proximal) gradient descent with momentum and adaptive restart: one round an iteration.

With a penalty h this is FISTA, without one Nesterov's method. The evaluation is at the point of
extrapolation, and that point, brought into the domain of h, is the iterate: its value is known without
another read, and it has the zeros that two successive steps share.

The Lipschitz constant is not asked for and costs no extra read: every two successive gradients give a
lower bound of it, and a plain step that raises the value doubles it.

=======  =========================================================
paper    here
=======  =========================================================
x_k      ``x``, the last step ``prox(w - gradient / L, 1 / L)``
y_k      ``w``; the next, where f is to be evaluated, is ``trial``
t_k      ``t``
L        ``lipschitz``
=======  =========================================================

References
----------
Nesterov (1983); Beck, Teboulle (2009). A fast iterative shrinkage-thresholding algorithm. SIAM J. Imaging
Sci. 2, section 4 ("FISTA with backtracking"). O'Donoghue, Candes (2015). Adaptive restart for accelerated
gradient schemes. Found. Comput. Math. 15, section 3.2 (gradient and function schemes).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from daskml_kit.solvers.composite import Nothing, Proximal
from daskml_kit.solvers.protocol import Evaluation
from daskml_kit.solvers.vectors import inner, length
from daskml_kit.typing import FloatArray

_RELAX = 0.99  # the bound shrinks by this a step, so that it follows the local curvature
_NOISE = 1e-13  # relative rise of the value that is rounding, not a step too long
_MAX_DOUBLINGS = 100


@dataclass(frozen=True, eq=False)
class GradientDescentState:
    """State of :class:`GradientDescent`; ``trial`` is where the objective is evaluated next."""

    w: FloatArray
    value: float
    gradient: FloatArray  # the smallest subgradient
    smooth: FloatArray  # the gradient without the penalty's part
    trial: FloatArray
    x: FloatArray
    t: float = 1.0
    plain: bool = True  # the trial is a gradient step without momentum
    lipschitz: float = 0.0
    doublings: int = 0  # in a row
    n_iter: int = 0
    trouble: str = ""


@dataclass(frozen=True)
class GradientDescent:
    """Accelerated gradient descent, proximal where there is a penalty.

    Parameters
    ----------
    step_size : float or None
        A fixed step; None finds it from the gradients.
    momentum : bool
        False gives plain gradient descent.
    penalty : Proximal
        What the evaluations leave out; nothing by default.
    """

    step_size: float | None = None
    momentum: bool = True
    penalty: Proximal = field(default=Nothing(), kw_only=True)
    order: int = 1

    def init(self, w: FloatArray) -> GradientDescentState:
        """Begin at ``w``."""
        lipschitz = 0.0 if self.step_size is None else 1.0 / self.step_size
        w, infinite = self.penalty.prox(w, 0.0), np.full_like(w, np.inf)
        return GradientDescentState(w, np.inf, infinite, infinite, w, w, lipschitz=lipschitz)

    def point(self, state: GradientDescentState) -> FloatArray:
        """The point of extrapolation."""
        return state.trial

    def update(self, state: GradientDescentState, evaluation: Evaluation) -> GradientDescentState:
        """Step from the trial, or go back and halve the step if a plain step raised the value or any step
        left the domain."""
        value, smooth = evaluation.value + self.penalty.value(state.trial), evaluation.gradient
        if not np.isfinite(state.value):
            return self._stepped(self._started(state, value, smooth))
        lipschitz = self._bound(state, smooth)
        rose = not value <= state.value + _NOISE * abs(state.value)
        if rose and (state.plain or not np.isfinite(value)) and self.step_size is None:
            return self._back(state, lipschitz)
        moved = replace(
            state,
            w=state.trial,
            value=value,
            gradient=self.penalty.stationarity(state.trial, smooth),
            smooth=smooth,
            lipschitz=lipschitz,
            t=1.0 if rose else state.t,
            doublings=0,
            n_iter=state.n_iter + 1,
        )
        return self._stepped(moved)

    def _started(
        self, state: GradientDescentState, value: float, smooth: FloatArray
    ) -> GradientDescentState:
        slope = self.penalty.stationarity(state.w, smooth)
        lipschitz = state.lipschitz or length(slope) or 1.0
        return replace(state, value=value, gradient=slope, smooth=smooth, lipschitz=lipschitz)

    def _bound(self, state: GradientDescentState, smooth: FloatArray) -> float:
        """The Lipschitz constant that the last two gradients show, or the old one if that is larger."""
        if self.step_size is not None:
            return state.lipschitz
        moved = length(state.trial - state.w)
        seen = length(smooth - state.smooth) / moved if moved > 0 else 0.0
        if not np.isfinite(seen):
            return 2.0 * state.lipschitz
        if state.n_iter == 0 and seen > 0:
            return seen
        return max(seen, _RELAX * state.lipschitz)

    def _back(self, state: GradientDescentState, lipschitz: float) -> GradientDescentState:
        if state.doublings >= _MAX_DOUBLINGS:
            return replace(state, trouble="No step lowers the objective any more.")
        lipschitz = max(lipschitz, 2.0 * state.lipschitz)
        trial = self._descended(state, lipschitz)
        return replace(
            state,
            lipschitz=lipschitz,
            trial=trial,
            x=trial,
            t=state.t if state.plain else 1.0,
            plain=True,
            doublings=state.doublings + 1,
        )

    def _stepped(self, state: GradientDescentState) -> GradientDescentState:
        x = self._descended(state, state.lipschitz)
        uphill = inner(state.w - x, x - state.x) > 0
        t = 1.0 if uphill or not self.momentum else state.t
        following = 0.5 * (1.0 + float(np.sqrt(1.0 + 4.0 * t**2)))
        share = (t - 1.0) / following
        trial = self.penalty.prox(x + share * (x - state.x), 0.0)
        return replace(state, trial=trial, x=x, t=following, plain=share == 0.0)

    def _descended(self, state: GradientDescentState, lipschitz: float) -> FloatArray:
        return self.penalty.prox(state.w - state.smooth / lipschitz, 1.0 / lipschitz)
