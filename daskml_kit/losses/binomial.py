"""The logistic loss."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import expit, xlogy

from daskml_kit.losses.elementary import exp_nonpositive, log1p_unit
from daskml_kit.losses.protocol import weighted
from daskml_kit.typing import Array


class Binomial(NamedTuple):
    """Logistic loss: ``log(1 + exp(eta)) - y eta``, minus the log likelihood of a coin.

    Domain: y is 0 or 1 (or a probability between), eta any real number.
    Link: logit, ``P(y = 1) = p = 1 / (1 + exp(-eta))``.
    Gradient ``p - y``, curvature ``p (1 - p)``.

    Nothing overflows: with ``e = exp(-|eta|)`` in (0, 1], the value is
    ``max(eta, 0) + log(1 + e) - y eta`` and the curvature ``e / (1 + e)^2``.

    References
    ----------
    Mächler (2012), "Accurately computing log(1 - exp(-|a|))", for the stable forms.

    Examples
    --------
    >>> import numpy as np
    >>> value, gradient = Binomial().value_gradient(np.array([1.0]), np.array([0.0]), None)
    >>> round(value, 6), gradient
    (0.693147, array([-0.5]))
    """

    def value_gradient(self, y: Array, eta: Array, weight: Array | None) -> tuple[float, Array]:
        """Value, and gradient (n,)."""
        values = np.maximum(eta, 0.0) + np.log1p(np.exp(-np.abs(eta))) - y * eta
        return float(weighted(values, weight).sum()), weighted(expit(eta) - y, weight)

    def curvature(self, y: Array, eta: Array, weight: Array | None) -> Array:
        """Second derivative (n,); keeps its precision where p is close to 1."""
        return weighted(expit(eta) * expit(-eta), weight)

    def inverse_link(self, eta: Array) -> Array:
        """P(y = 1), shape (n,)."""
        return np.asarray(expit(eta))

    @staticmethod
    def pointwise(loss: Binomial, y: float, eta: float) -> tuple[float, float, float]:
        """Value, gradient and curvature of one row; compiled by the kernels."""
        e = exp_nonpositive(-abs(eta))
        q = 1.0 / (1.0 + e)  # of the likelier class
        probability = q if eta > 0.0 else e * q
        value = (eta if eta > 0.0 else 0.0) + log1p_unit(e) - y * eta
        return value, probability - y, e * q * q

    def conjugate(self, y: Array, alpha: Array, weight: Array | None) -> float:
        """Sum of the convex conjugate at ``-alpha``: minus the entropy of ``p = y - alpha`` in [0, 1]."""
        values = xlogy(y - alpha, y - alpha) + xlogy(1.0 - y + alpha, 1.0 - y + alpha)
        return float(weighted(values, weight).sum())

    @staticmethod
    def dual_step(loss: Binomial, y: float, eta: float, alpha: float, bend: float) -> float:
        """Maximises ``-conjugate(-a) - (a - alpha) eta - bend/2 (a - alpha)^2`` over a.

        In the prediction t that the row has then: ``t = eta + bend (p - P(t))`` with ``p = y - alpha`` and
        ``a = y - P(t)``. The right side falls and the left rises: Newton's steps,
        and halves of their bracket where those gain little.
        """
        p = y - alpha
        low, high = eta + bend * (p - 1.0), eta + bend * p
        t = min(max(eta, low), high)
        probability, last = 0.5, np.inf
        for _ in range(100):
            e = exp_nonpositive(-abs(t))
            q = 1.0 / (1.0 + e)
            probability = q if t > 0.0 else e * q
            excess = t - eta - bend * (p - probability)
            if abs(excess) <= 4e-16 * (abs(t) + abs(eta) + bend):  # rounding
                break
            if excess > 0.0:
                high = t
            else:
                low = t
            t -= excess / (1.0 + bend * e * q * q)
            if abs(excess) > 0.5 * last or not low < t < high:
                t = 0.5 * (low + high)
            last = abs(excess)
        return y - probability


__all__ = ["Binomial"]
