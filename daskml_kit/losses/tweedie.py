"""Poisson, gamma and Tweedie losses with a log link: halved deviances of exponential families.

Each is linear in y, ``loss = A(eta) - y B(eta)``, so the loss of a constant prediction follows from the mean
of y alone. ``saturated`` is the least value that a prediction of its own for each y could reach, and twice
the difference to it is the deviance.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import xlogy

from daskml_kit.losses.elementary import exp_any
from daskml_kit.losses.protocol import weighted
from daskml_kit.typing import Array


def _summed(values: Array, weight: Array | None) -> float:
    return float(weighted(values, weight).sum())


class Poisson(NamedTuple):
    """Poisson loss: ``exp(eta) - y eta``.

    Domain: y at least 0, eta any real number. Link: log, ``E[y] = exp(eta)``.
    Gradient ``exp(eta) - y``, curvature ``exp(eta)``.

    References
    ----------
    McCullagh, Nelder (1989). Generalized Linear Models, 2nd ed., chapter 6.

    Examples
    --------
    >>> import numpy as np
    >>> Poisson().value_gradient(np.array([2.0]), np.array([0.0]), None)
    (1.0, array([-1.]))
    """

    @property
    def power(self) -> float:
        """The variance is the mean to this power."""
        return 1.0

    def value_gradient(self, y: Array, eta: Array, weight: Array | None) -> tuple[float, Array]:
        """Value, and gradient (n,)."""
        mean = np.exp(eta)
        return _summed(mean - y * eta, weight), weighted(mean - y, weight)

    def curvature(self, y: Array, eta: Array, weight: Array | None) -> Array:
        """Second derivative (n,)."""
        return weighted(np.exp(eta), weight)

    def inverse_link(self, eta: Array) -> Array:
        """E[y], shape (n,)."""
        return np.asarray(np.exp(eta))

    def link(self, mean: Array) -> Array:
        """The raw prediction that predicts ``mean``."""
        return np.asarray(np.log(mean))

    def saturated(self, y: Array) -> Array:
        """``y - y log y``."""
        return np.asarray(y - xlogy(y, y))

    @staticmethod
    def pointwise(loss: Poisson, y: float, eta: float) -> tuple[float, float, float]:
        """Value, gradient and curvature of one row; compiled by the kernels."""
        mean = exp_any(eta)
        return mean - y * eta, mean - y, mean


class Gamma(NamedTuple):
    """Gamma loss: ``eta + y exp(-eta)``.

    Domain: y above 0, eta any real number. Link: log, ``E[y] = exp(eta)``.
    Gradient ``1 - y exp(-eta)``, curvature ``y exp(-eta)``.

    References
    ----------
    McCullagh, Nelder (1989). Generalized Linear Models, 2nd ed., chapter 8.

    Examples
    --------
    >>> import numpy as np
    >>> Gamma().value_gradient(np.array([2.0]), np.array([0.0]), None)
    (2.0, array([-1.]))
    """

    @property
    def power(self) -> float:
        """The variance is the mean to this power."""
        return 2.0

    def value_gradient(self, y: Array, eta: Array, weight: Array | None) -> tuple[float, Array]:
        """Value, and gradient (n,)."""
        ratio = y * np.exp(-eta)
        return _summed(eta + ratio, weight), weighted(1.0 - ratio, weight)

    def curvature(self, y: Array, eta: Array, weight: Array | None) -> Array:
        """Second derivative (n,)."""
        return weighted(y * np.exp(-eta), weight)

    def inverse_link(self, eta: Array) -> Array:
        """E[y], shape (n,)."""
        return np.asarray(np.exp(eta))

    def link(self, mean: Array) -> Array:
        """The raw prediction that predicts ``mean``."""
        return np.asarray(np.log(mean))

    def saturated(self, y: Array) -> Array:
        """``1 + log y``."""
        return np.asarray(1.0 + np.log(y))

    @staticmethod
    def pointwise(loss: Gamma, y: float, eta: float) -> tuple[float, float, float]:
        """Value, gradient and curvature of one row; compiled by the kernels."""
        ratio = y * exp_any(-eta)
        return eta + ratio, 1.0 - ratio, ratio


class Tweedie(NamedTuple):
    """Tweedie loss of power p: ``exp((2 - p) eta) / (2 - p) - y exp((1 - p) eta) / (1 - p)``.

    Domain: y any real number for p = 0, at least 0 for 1 < p < 2, above 0 for p > 2; eta any real number.
    Link: log, ``E[y] = m = exp(eta)``. Gradient ``m^(2-p) - y m^(1-p)``, curvature
    ``(2-p) m^(2-p) - (1-p) y m^(1-p)``. For p = 1 and p = 2 the limits are :class:`Poisson` and
    :class:`Gamma`.

    Parameters
    ----------
    power
        p, neither 1 nor 2: the variance is the mean to this power.

    References
    ----------
    Jorgensen (1987). Exponential dispersion models. J. R. Stat. Soc. B 49.

    Examples
    --------
    >>> import numpy as np
    >>> value, gradient = Tweedie(1.5).value_gradient(np.array([2.0]), np.array([0.0]), None)
    >>> value, gradient
    (6.0, array([-1.]))
    """

    power: float

    def value_gradient(self, y: Array, eta: Array, weight: Array | None) -> tuple[float, Array]:
        """Value, and gradient (n,)."""
        p = self.power
        high, low = np.exp((2.0 - p) * eta), y * np.exp((1.0 - p) * eta)
        return _summed(high / (2.0 - p) - low / (1.0 - p), weight), weighted(high - low, weight)

    def curvature(self, y: Array, eta: Array, weight: Array | None) -> Array:
        """Second derivative (n,)."""
        p = self.power
        high, low = np.exp((2.0 - p) * eta), y * np.exp((1.0 - p) * eta)
        return weighted((2.0 - p) * high - (1.0 - p) * low, weight)

    def inverse_link(self, eta: Array) -> Array:
        """E[y], shape (n,)."""
        return np.asarray(np.exp(eta))

    def link(self, mean: Array) -> Array:
        """The raw prediction that predicts ``mean``."""
        return np.asarray(np.log(mean))

    def saturated(self, y: Array) -> Array:
        """``y^(2-p) / ((1-p)(2-p))`` with minus; 0 for y = 0 and p < 2, and for y < 0."""
        p = self.power
        if p > 2.0:
            return np.asarray(-(y ** (2.0 - p)) / ((1.0 - p) * (2.0 - p)))
        return np.asarray(-(np.maximum(y, 0.0) ** (2.0 - p)) / ((1.0 - p) * (2.0 - p)))

    @staticmethod
    def pointwise(loss: Tweedie, y: float, eta: float) -> tuple[float, float, float]:
        """Value, gradient and curvature of one row; compiled by the kernels."""
        above, below = 2.0 - loss.power, 1.0 - loss.power
        high, low = exp_any(above * eta), y * exp_any(below * eta)
        return high / above - low / below, high - low, above * high - below * low


__all__ = ["Gamma", "Poisson", "Tweedie"]
