"""Half the squared error, the loss of least squares."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from daskml_kit.losses.protocol import weighted
from daskml_kit.typing import Array


class HalfSquared(NamedTuple):
    """Half squared error: ``1/2 (y - eta)^2``.

    Domain: y and eta any real number. Link: identity, ``E[y] = eta``.
    Gradient ``eta - y``, curvature 1.

    Examples
    --------
    >>> import numpy as np
    >>> HalfSquared().value_gradient(np.array([1.0, 2.0]), np.array([0.0, 4.0]), None)
    (2.5, array([-1.,  2.]))
    """

    def value_gradient(self, y: Array, eta: Array, weight: Array | None) -> tuple[float, Array]:
        """Value, and gradient (n,)."""
        residual = eta - y
        gradient = weighted(residual, weight)
        return 0.5 * float(np.dot(gradient, residual)), gradient

    def curvature(self, y: Array, eta: Array, weight: Array | None) -> Array:
        """Second derivative (n,): the weights."""
        return weighted(np.ones_like(eta), weight)

    def inverse_link(self, eta: Array) -> Array:
        """The prediction itself, as a copy."""
        return eta.copy()

    @staticmethod
    def pointwise(loss: HalfSquared, y: float, eta: float) -> tuple[float, float, float]:
        """Value, gradient and curvature of one row; compiled by the kernels."""
        residual = eta - y
        return 0.5 * residual * residual, residual, 1.0

    def conjugate(self, y: Array, alpha: Array, weight: Array | None) -> float:
        """Sum of the convex conjugate at ``-alpha``: ``alpha^2 / 2 - alpha y``."""
        return float(weighted(alpha * (0.5 * alpha - y), weight).sum())

    @staticmethod
    def dual_step(loss: HalfSquared, y: float, eta: float, alpha: float, bend: float) -> float:
        """Maximises ``-conjugate(-a) - (a - alpha) eta - bend/2 (a - alpha)^2`` over a: ``a = y - eta'`` at
        the prediction ``eta' = eta + bend (a - alpha)`` that the row has then."""
        return alpha + (y - eta - alpha) / (1.0 + bend)


__all__ = ["HalfSquared"]
