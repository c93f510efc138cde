"""The objective of classes fitted by columns, as the driver sees it: functions of all rows' raw predictions.

::

    F(W, b) = f(XW + 1b') + l1 |W|_1 + l2/2 |W|^2,    f(V) = 1/sum(s) sum_i s_i loss(y_i, v_i)

with a column of raw predictions for each class, or one alone for the logistic loss of two. What belongs to
one row's loss is a matrix ``s (diag p - pp')``, which is never formed: its products are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.special import xlogy

from daskml_kit.linear_model.column_problem import ROUNDING
from daskml_kit.losses import Binomial
from daskml_kit.typing import Array, FloatArray

STEPS = 50
"""Newton's, of the intercepts."""


@dataclass
class ClassProblem:
    """The objective of one set of rows.

    Attributes
    ----------
    loss : Binomial or Multinomial
    y : (n,) class codes
    weight, weight_sum : of the rows, (n,) or None
    strengths : l1, l2 of the averaged objective
    fit_intercept : of the model
    """

    loss: Any
    y: Array
    weight: FloatArray | None
    weight_sum: float
    strengths: tuple[float, float]
    fit_intercept: bool
    share: FloatArray = field(init=False)  # (n,) of the rows in the averaged objective
    quadratic = positive = False

    def __post_init__(self) -> None:
        own = np.ones(len(self.y)) if self.weight is None else self.weight
        self.share = own / self.weight_sum

    @property
    def n_outputs(self) -> int:
        """Columns of raw predictions."""
        return 1 if isinstance(self.loss, Binomial) else int(self.loss.n_classes)

    def zeros(self, length: int) -> FloatArray:
        """(length, n_outputs)"""
        return np.zeros((length, self.n_outputs))

    def no_intercept(self) -> FloatArray:
        """(n_outputs,) zeros."""
        return np.zeros(self.n_outputs)

    def value_gradient(self, eta: FloatArray) -> tuple[float, FloatArray]:
        """f and its gradient, (n, n_outputs)."""
        raw = eta[:, 0] if self.n_outputs == 1 else eta
        value, gradient = self.loss.value_gradient(self.y, raw, self.weight)
        return value / self.weight_sum, gradient.reshape(eta.shape) / self.weight_sum

    def probability(self, eta: FloatArray) -> FloatArray:
        """Of the classes that have a column, (n, n_outputs)."""
        raw = eta[:, 0] if self.n_outputs == 1 else eta
        return np.asarray(self.loss.inverse_link(raw)).reshape(eta.shape)

    def bending(self, eta: FloatArray) -> Callable[[FloatArray], FloatArray]:
        """``Z -> HZ``, row by row; H centred where there is an intercept: what its best value leaves."""
        p = self.probability(eta)
        weighted = self.share[:, None] * p
        inverse = self._inverse(p, weighted) if self.fit_intercept else None

        def bent(z: FloatArray) -> FloatArray:
            out = weighted * (z - (p * z).sum(axis=1, keepdims=True))
            if inverse is None:
                return np.asarray(out)
            c = inverse @ out.sum(axis=0)
            return np.asarray(out - weighted * (c - (p @ c)[:, None]))

        return bent

    def _inverse(self, p: FloatArray, weighted: FloatArray) -> FloatArray:
        """Of f's second derivatives in the intercepts, but for the constant that no probability sees."""
        whole = np.diag(weighted.sum(axis=0)) - weighted.T @ p
        return np.asarray(np.linalg.pinv(whole, rcond=1e-13, hermitian=True))

    def penalty(self, w: FloatArray) -> float:
        """Of the coefficients."""
        l1, l2 = self.strengths
        return l1 * float(np.abs(w).sum()) + 0.5 * l2 * float(np.vdot(w, w))

    def centred(self, v: FloatArray, b: FloatArray) -> tuple[FloatArray, float, FloatArray]:
        """The best intercepts for products v, found from ``b``; f and its gradient there."""
        value, gradient = self.value_gradient(v + b)
        if not self.fit_intercept:
            return self.no_intercept(), value, gradient
        for _ in range(STEPS):
            slope = gradient.sum(axis=0)
            if np.all(np.abs(slope) <= ROUNDING * np.abs(gradient).sum(axis=0)):
                break
            p = self.probability(v + b)
            step = -self._inverse(p, self.share[:, None] * p) @ slope
            new, there = self.value_gradient(v + b + step)
            least = ROUNDING * (1.0 + float(np.abs(b).max()))
            while new > value + ROUNDING * abs(value) and np.abs(step).max() > least:
                step *= 0.25
                new, there = self.value_gradient(v + b + step)
            if np.all(b + step == b) or new > value + ROUNDING * abs(value):
                break
            b, value, gradient = b + step, new, there
        return b, value, gradient

    def dual(self, gradient: FloatArray, largest: float, excess: float) -> tuple[float, float]:
        """The dual objective at ``-scale gradient``, and that scale.

        Parameters
        ----------
        gradient : (n, n_outputs) of f, columns summing to zero where there is an intercept
        largest : component of ``X'theta`` for ``theta = -gradient``
        excess : sum of the squares of what components exceed l1 by
        """
        l1, l2 = self.strengths
        scale = l1 / largest if l2 == 0.0 and largest > l1 else 1.0
        some = (self.share > 0)[:, None]
        off = np.divide(
            scale * gradient, self.share[:, None], out=np.zeros_like(gradient), where=some
        )
        p = np.clip(self._told(some) + off, 0.0, 1.0)  # beyond by rounding alone
        entropy = xlogy(p, p).sum(axis=1)
        if self.n_outputs == 1:
            entropy += xlogy(1.0 - p, 1.0 - p)[:, 0]
        value = -float(self.share @ entropy)
        return (value - excess / (2.0 * l2) if l2 > 0.0 else value), scale

    def _told(self, some: Array) -> FloatArray:
        """1 at each row's class, (n, n_outputs)."""
        codes = np.arange(self.n_outputs) + int(self.n_outputs == 1)
        return np.asarray((self.y[:, None] == codes) & some, dtype=np.float64)


__all__ = ["ClassProblem"]
