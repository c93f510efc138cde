"""A weak-Wolfe line search as a value: told of one trial, it accepts or proposes the next.

Each trial is a whole round over the data, and gives the gradient as well as the value, so an accepted
trial is the next iterate at no further cost; with a good first step most searches take one trial.

References
----------
Lewis, Overton (2013). Nonsmooth optimization via quasi-Newton methods. Math. Program. 141, Algorithm 2.6
(bracketing by doubling and bisection). Hager, Zhang (2005). A new conjugate gradient method with
guaranteed descent. SIAM J. Optim. 16, section 4 (the approximate Wolfe test near the minimum, where
differences of values are rounding noise).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from daskml_kit.solvers.vectors import inner
from daskml_kit.typing import FloatArray

SUFFICIENT_DECREASE = 1e-4
MAX_TRIALS = 30
NOISE = 1e-12  # relative noise of an objective that is a sum over millions of rows


@dataclass(frozen=True, eq=False)
class LineSearch:
    """A search from ``origin`` along ``direction``."""

    origin: FloatArray
    direction: FloatArray
    value: float  # at the origin
    slope: float  # directional derivative at the origin, negative
    step: float = 1.0
    curvature: float | None = (
        0.9  # steps must flatten the slope to this share; None: no such demand
    )
    low: float = 0.0
    high: float = math.inf
    trials: int = 0

    @property
    def point(self) -> FloatArray:
        """The trial point."""
        return self.origin + self.step * self.direction

    @property
    def exhausted(self) -> bool:
        """Whether so many trials failed that only rounding noise can be left."""
        return self.trials >= MAX_TRIALS

    def accepts(self, value: float, gradient: FloatArray) -> bool:
        """Whether the trial ends the search."""
        return self._decreases(value, gradient) and not self._too_short(gradient)

    def following(self, value: float, gradient: FloatArray) -> LineSearch:
        """The search with its next trial, after one that was not accepted."""
        if self._decreases(value, gradient):
            low, high = self.step, self.high
        else:
            low, high = self.low, self.step
        step = 2.0 * low if math.isinf(high) else self._between(low, high, value)
        return replace(self, step=step, low=low, high=high, trials=self.trials + 1)

    def _decreases(self, value: float, gradient: FloatArray) -> bool:
        if not np.isfinite(value):
            return False
        if value <= self.value + SUFFICIENT_DECREASE * self.step * self.slope:
            return True
        near = value <= self.value + NOISE * max(abs(self.value), 1e-300)
        return near and self._slope(gradient) <= (2 * SUFFICIENT_DECREASE - 1) * self.slope

    def _too_short(self, gradient: FloatArray) -> bool:
        return self.curvature is not None and self._slope(gradient) < self.curvature * self.slope

    def _slope(self, gradient: FloatArray) -> float:
        return inner(gradient, self.direction)

    def _between(self, low: float, high: float, value: float) -> float:
        """Minimum of the parabola through both values and the first slope, kept inside the bracket."""
        middle = 0.5 * (low + high)
        if low > 0 or not np.isfinite(value):
            return middle
        bend = value - self.value - self.step * self.slope
        if bend <= 0:
            return middle
        step = -0.5 * self.slope * self.step**2 / bend
        return min(max(step, low + 0.1 * (high - low)), high - 0.1 * (high - low))
