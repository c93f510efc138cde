"""What proximal solvers handle apart from the smooth objective: L1 strengths and bounds together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from daskml_kit.penalties.box import Box
from daskml_kit.penalties.elastic_net import L1, soft_threshold
from daskml_kit.typing import Array, FloatArray


@dataclass(frozen=True, eq=False)
class BoundedL1:
    """``sum_j l1_j |w_j|`` where ``lower <= w <= upper``, infinite elsewhere.

    In one dimension the prox of a sum of a convex function and an interval is the function's prox, then
    the projection into the interval; so it is here, coordinate by coordinate.

    Parameters
    ----------
    l1, lower, upper
        Arrays of the shape of the coefficients. Infinite bounds are allowed, a strength of 0 is no L1.

    References
    ----------
    Parikh and Boyd (2014), "Proximal algorithms", section 2.1 (separable sums) and 6.1.1 (one dimension).

    Examples
    --------
    >>> import numpy as np
    >>> penalty = BoundedL1(np.ones(3), np.zeros(3), np.full(3, 2.0))
    >>> penalty.prox(np.array([-3.0, 2.5, 9.0]), step=1.0)
    array([0. , 1.5, 2. ])
    """

    l1: FloatArray
    lower: FloatArray
    upper: FloatArray

    def __post_init__(self) -> None:
        _ = L1(self.l1), Box(self.lower, self.upper)  # each refuses what it can't mean

    def value(self, w: Array) -> float:
        """The penalty of ``w``."""
        return L1(self.l1).value(w) + Box(self.lower, self.upper).value(w)

    def prox(self, v: Array, step: float) -> Array:
        """Soft thresholding, then the projection into the box."""
        return np.clip(soft_threshold(v, step * self.l1), self.lower, self.upper)

    def stationarity(self, w: Array, gradient: Array) -> Array:
        """The smallest element of ``gradient`` + the subdifferential at ``w``.

        It is zero at a minimum of the smooth function with that gradient plus this penalty, and only
        there: what the gradient is to a smooth objective.
        """
        at_zero = np.sign(gradient) * np.maximum(np.abs(gradient) - self.l1, 0.0)
        slope = np.where(w == 0, at_zero, gradient + self.l1 * np.sign(w))
        slope = np.where(w <= self.lower, np.minimum(slope, 0.0), slope)
        return np.asarray(np.where(w >= self.upper, np.maximum(slope, 0.0), slope))


__all__ = ["BoundedL1"]
