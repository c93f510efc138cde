"""The pinball loss of quantile regression, and its smoothed form."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from daskml_kit.losses.protocol import weighted
from daskml_kit.typing import Array


class Pinball(NamedTuple):
    """Pinball loss: ``q r`` for ``r = y - eta >= 0``, ``(q - 1) r`` below.

    Domain: y and eta any real number. Link: identity, the quantile of y.
    Gradient ``[r < 0] - q``. The curvature is zero wherever there is one.

    For boosting, ``pointwise`` gives 1 for the curvature: what is left of a Newton step is the gradient
    step.

    Parameters
    ----------
    quantile
        q, between 0 and 1. Half the absolute error for 1/2.

    References
    ----------
    Koenker, Bassett (1978). Regression quantiles. Econometrica 46(1).

    Examples
    --------
    >>> import numpy as np
    >>> Pinball(0.25).value_gradient(np.array([3.0, 0.0]), np.array([1.0, 1.0]), None)
    (1.25, array([-0.25,  0.75]))
    """

    quantile: float

    def value_gradient(self, y: Array, eta: Array, weight: Array | None) -> tuple[float, Array]:
        """Value, and gradient (n,)."""
        r = y - eta
        below = (r < 0.0).astype(np.float64)
        values = r * (self.quantile - below)
        return float(weighted(values, weight).sum()), weighted(below - self.quantile, weight)

    def curvature(self, y: Array, eta: Array, weight: Array | None) -> Array:
        """Zero (n,)."""
        return np.zeros_like(eta)

    def inverse_link(self, eta: Array) -> Array:
        """The prediction itself, as a copy."""
        return eta.copy()

    @staticmethod
    def pointwise(loss: Pinball, y: float, eta: float) -> tuple[float, float, float]:
        """Value, gradient and 1 of one row; compiled by the kernels."""
        r = y - eta
        slope = (1.0 if r < 0.0 else 0.0) - loss.quantile
        return -slope * r, slope, 1.0


class SmoothedPinball(NamedTuple):
    """Pinball loss with its corner rounded off over ``width`` on each side.

    With ``r = y - eta``: ``(quantile - 1/2) r + h(r)/2``, where ``h(r) = |r|`` outside of the width and
    ``r^2 / (2 width) + width / 2`` inside. At most ``width / 4`` above the pinball loss.

    Domain: y and eta any real number. Link: identity, the quantile of y.
    Gradient ``1/2 - quantile - clip(r / width, -1, 1) / 2``, curvature ``1 / (2 width)`` inside, 0 outside.

    Parameters
    ----------
    quantile
        Between 0 and 1.
    width
        Above 0.

    References
    ----------
    Chen (2007). A finite smoothing algorithm for quantile regression. J. Comput. Graph. Stat. 16, eq. 2.3.

    Examples
    --------
    >>> import numpy as np
    >>> SmoothedPinball(0.5, 1.0).value_gradient(np.array([3.0]), np.array([0.0]), None)
    (1.5, array([-0.5]))
    """

    quantile: float
    width: float

    def value_gradient(self, y: Array, eta: Array, weight: Array | None) -> tuple[float, Array]:
        """Value, and gradient (n,)."""
        r, tilt = y - eta, self.quantile - 0.5
        size = np.abs(r)
        inside = r * r / (2.0 * self.width) + 0.5 * self.width
        values = tilt * r + 0.5 * np.where(size <= self.width, inside, size)
        gradient = -tilt - 0.5 * np.clip(r / self.width, -1.0, 1.0)
        return float(weighted(values, weight).sum()), weighted(gradient, weight)

    def curvature(self, y: Array, eta: Array, weight: Array | None) -> Array:
        """Second derivative (n,)."""
        inside = np.abs(y - eta) <= self.width
        return weighted(inside * (0.5 / self.width), weight)

    def inverse_link(self, eta: Array) -> Array:
        """The prediction itself, as a copy."""
        return eta.copy()

    @staticmethod
    def pointwise(loss: SmoothedPinball, y: float, eta: float) -> tuple[float, float, float]:
        """Value, gradient and curvature of one row; compiled by the kernels."""
        r, tilt = y - eta, loss.quantile - 0.5
        u = r / loss.width
        inside = abs(u) <= 1.0
        clipped = u if inside else (1.0 if u > 0.0 else -1.0)
        rounded = 0.5 * loss.width * (1.0 + u * u) if inside else abs(r)
        return (
            tilt * r + 0.5 * rounded,
            -tilt - 0.5 * clipped,
            0.5 / loss.width if inside else 0.0,
        )


__all__ = ["Pinball", "SmoothedPinball"]
