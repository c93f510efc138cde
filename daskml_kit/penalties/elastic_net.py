"""L1, L2, and both together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from daskml_kit.exceptions import InvalidParameterError
from daskml_kit.typing import Array


def soft_threshold(v: Array, threshold: float | Array) -> Array:
    """``sign(v) max(|v| - threshold, 0)``: the prox of the absolute value."""
    return np.asarray(np.sign(v) * np.maximum(np.abs(v) - threshold, 0.0))


def check_strength(strength: float | Array) -> None:
    """Raise InvalidParameterError unless every strength is finite and at least 0."""
    if not np.all(np.isfinite(strength)) or np.any(np.asarray(strength) < 0):
        raise InvalidParameterError(
            f"strength must be finite and at least 0, got {strength!r}. "
            "Pass 0.0 for the coordinates that no penalty should touch."
        )


@dataclass(frozen=True, eq=False)
class L2:
    """Ridge penalty: ``1/2 sum_j strength_j w_j^2``.

    ``prox(v, step) = v / (1 + step strength)``. Hessian: the diagonal ``strength``.

    Parameters
    ----------
    strength
        One number, or an array that broadcasts against the coefficients.

    Examples
    --------
    >>> import numpy as np
    >>> ridge = L2(np.array([2.0, 0.0]))  # the second coordinate is an intercept
    >>> ridge.value(np.array([3.0, 100.0]))
    9.0
    >>> ridge.prox(np.array([3.0, 100.0]), step=0.5)
    array([  1.5, 100. ])
    """

    strength: float | Array

    def __post_init__(self) -> None:
        check_strength(self.strength)

    def value(self, w: Array) -> float:
        """The penalty of ``w``."""
        return 0.5 * float(np.sum(self.strength * w * w))

    def gradient(self, w: Array) -> Array:
        """``strength * w``."""
        return np.asarray(self.strength * w)

    def curvature(self, w: Array) -> Array:
        """Diagonal of the Hessian, with the shape of ``w``."""
        return np.asarray(np.broadcast_to(self.strength, w.shape), dtype=w.dtype).copy()

    def prox(self, v: Array, step: float) -> Array:
        """Shrinks every coordinate by a factor."""
        return np.asarray(v / (1.0 + step * self.strength))


@dataclass(frozen=True, eq=False)
class L1:
    """Lasso penalty: ``sum_j strength_j |w_j|``.

    ``prox`` is soft thresholding at ``step * strength``. No gradient: it has a corner at 0.

    Parameters
    ----------
    strength
        One number, or an array that broadcasts against the coefficients.

    Examples
    --------
    >>> import numpy as np
    >>> L1(1.0).prox(np.array([3.0, -0.5]), step=1.0)
    array([ 2., -0.])
    """

    strength: float | Array

    def __post_init__(self) -> None:
        check_strength(self.strength)

    def value(self, w: Array) -> float:
        """The penalty of ``w``."""
        return float(np.sum(self.strength * np.abs(w)))

    def prox(self, v: Array, step: float) -> Array:
        """Moves every coordinate towards 0, and stops there."""
        return soft_threshold(v, step * self.strength)


@dataclass(frozen=True, eq=False)
class ElasticNet:
    """L1 and L2: ``strength (l1_ratio |w|_1 + (1 - l1_ratio) / 2 |w|^2)``, by coordinate.

    The prox is the lasso's, then the ridge's. ``l1_ratio`` means what it means in scikit-learn.

    Parameters
    ----------
    strength
        One number, or an array that broadcasts against the coefficients.
    l1_ratio
        Between 0 (ridge) and 1 (lasso).

    References
    ----------
    Zou and Hastie (2005), "Regularization and variable selection via the elastic net". Parikh and
    Boyd (2014), "Proximal algorithms", section 6.5.3, for the prox.

    Examples
    --------
    >>> import numpy as np
    >>> ElasticNet(2.0, l1_ratio=0.5).prox(np.array([3.0, 0.5]), step=1.0)
    array([1., 0.])
    """

    strength: float | Array
    l1_ratio: float

    def __post_init__(self) -> None:
        check_strength(self.strength)
        if not 0.0 <= self.l1_ratio <= 1.0:
            raise InvalidParameterError(
                f"l1_ratio must be between 0 and 1, got {self.l1_ratio!r}. "
                "Use 0 for a ridge penalty and 1 for a lasso penalty."
            )

    @property
    def lasso(self) -> L1:
        """The part with the corner."""
        return L1(self.strength * self.l1_ratio)

    @property
    def ridge(self) -> L2:
        """The smooth part."""
        return L2(self.strength * (1.0 - self.l1_ratio))

    def value(self, w: Array) -> float:
        """The penalty of ``w``."""
        return self.lasso.value(w) + self.ridge.value(w)

    def prox(self, v: Array, step: float) -> Array:
        """Soft thresholding, then shrinking."""
        return self.ridge.prox(self.lasso.prox(v, step), step)


__all__ = ["L1", "L2", "ElasticNet", "soft_threshold"]
