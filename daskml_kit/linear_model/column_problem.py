"""The objective of a fit by columns, as the driver sees it: functions of the raw predictions of all rows.

::

    F(w, b) = f(Xw + b) + l1 |w|_1 + l2/2 |w|^2,    f(v) = 1/W sum_i s_i loss(y_i, v_i)

Products ``Xw`` come from the workers, one sum a round; everything here costs O(rows) and no round.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from daskml_kit.losses import Binomial, HalfSquared
from daskml_kit.typing import FloatArray

ROUNDING = 1e-15
STILL = 5
"""Rounds in a row without a gap, up to rounding, after which a tighter tolerance is not waited for."""

MOST_CURVATURE = {HalfSquared: 1.0, Binomial: 0.25}
"""Of one row, in its raw prediction."""


class ByColumns(NamedTuple):
    """A solution."""

    coef: FloatArray  # (d,), or (d, n_outputs) of classes
    intercept: Any  # a number, or (n_outputs,)
    gap: float  # duality gap of the averaged objective; of no penalty, the largest component of the gradient
    n_iter: int
    converged: bool


@dataclass
class Problem:
    """One target's objective.

    Attributes
    ----------
    loss, y, weight : of the rows
    weight_sum : of the rows
    strengths : l1, l2 of the averaged objective
    fit_intercept, positive : of the model
    """

    loss: Any
    y: FloatArray
    weight: FloatArray | None
    weight_sum: float
    strengths: tuple[float, float]
    fit_intercept: bool
    positive: bool = False
    bound: Any = field(init=False)  # largest curvature: a number, or one a row

    def __post_init__(self) -> None:
        most = MOST_CURVATURE[type(self.loss)] / self.weight_sum
        self.bound = most if self.weight is None else most * self.weight

    @property
    def quadratic(self) -> bool:
        """Whether f's curvature is the same everywhere."""
        return isinstance(self.loss, HalfSquared)

    def zeros(self, length: int) -> FloatArray:
        """(length,)"""
        return np.zeros(length)

    def no_intercept(self) -> float:
        """Zero."""
        return 0.0

    def value_gradient(self, eta: FloatArray) -> tuple[float, FloatArray]:
        """f and its gradient (n,)."""
        value, gradient = self.loss.value_gradient(self.y, eta, self.weight)
        return value / self.weight_sum, gradient / self.weight_sum

    def curvature(self, eta: FloatArray) -> Any:
        """f's second derivatives: (n,), or a number where they are all the same."""
        if self.quadratic:
            return self.bound
        own = self.loss.curvature(self.y, eta, self.weight) / self.weight_sum
        return np.maximum(own, 1e-9 * self.bound)

    def bending(self, eta: FloatArray) -> Callable[[FloatArray], FloatArray]:
        """``z -> Hz``; H centred where there is an intercept: what its best value leaves of the curvature."""
        h = np.broadcast_to(self.curvature(eta), eta.shape)
        total = float(h.sum())

        def bent(z: FloatArray) -> FloatArray:
            return np.asarray(h * (z - float(h @ z) / total if self.fit_intercept else z))

        return bent

    def penalty(self, w: FloatArray) -> float:
        """Of the coefficients."""
        l1, l2 = self.strengths
        return l1 * float(np.abs(w).sum()) + 0.5 * l2 * float(w @ w)

    def centred(self, v: FloatArray, b: float) -> tuple[float, float, FloatArray]:
        """The best intercept for products v, found from ``b``; f and its gradient there."""
        value, gradient = self.value_gradient(v + b)
        if not self.fit_intercept:
            return 0.0, value, gradient
        for _ in range(50):
            slope = float(gradient.sum())
            if abs(slope) <= ROUNDING * float(np.abs(gradient).sum()):
                break
            full = np.broadcast_to(self.curvature(v + b), v.shape)
            step = -slope / float(full.sum())
            new, there = self.value_gradient(v + b + step)
            while new > value + ROUNDING * abs(value) and abs(step) > ROUNDING * (abs(b) + 1.0):
                step *= 0.25
                new, there = self.value_gradient(v + b + step)
            if b + step == b:
                break
            b, value, gradient = b + step, new, there
        return b, value, gradient

    def dual(self, gradient: FloatArray, largest: float, excess: float) -> tuple[float, float]:
        """The dual objective at ``-scale gradient``, and that scale.

        Parameters
        ----------
        gradient : (n,) of f, summing to zero where there is an intercept
        largest : component of ``X'theta`` for ``theta = -gradient``
        excess : sum of the squares of what components exceed l1 by

        Notes
        -----
        Without l2 the dual point must be scaled until no component of ``X'theta`` exceeds l1.
        """
        l1, l2 = self.strengths
        scale = l1 / largest if l2 == 0.0 and largest > l1 else 1.0
        alpha = -scale * gradient * self.weight_sum
        if self.weight is not None:
            alpha = np.divide(alpha, self.weight, out=np.zeros_like(alpha), where=self.weight > 0)
        value = -float(self.loss.conjugate(self.y, alpha, self.weight)) / self.weight_sum
        return (value - excess / (2.0 * l2) if l2 > 0.0 else value), scale


__all__ = ["ROUNDING", "STILL", "ByColumns", "Problem"]
