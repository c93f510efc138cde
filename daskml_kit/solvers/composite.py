"""A smooth objective plus a penalty with corners or bounds, as the proximal solvers see it.

::

    F(w) = f(w) + h(w),    f: the loss and what is smooth of the penalty, evaluated over the data,
                           h: the rest, known on the driver, with a prox

The rounds over the data tell f and its gradient, whatever h is. A solver's state speaks of F: its
``value`` is F's, its ``gradient`` the smallest subgradient of F, which is zero at a minimum and there only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from daskml_kit.typing import Array, FloatArray


class Proximal(Protocol):
    """The part h: separable by coordinate."""

    def value(self, w: Array) -> float:
        """``h(w)``; infinite outside its domain."""
        ...

    def prox(self, v: Array, step: float) -> Array:
        """``argmin_w  h(w) + |w - v|^2 / (2 step)``; with step 0 the nearest point of the domain."""
        ...

    def stationarity(self, w: Array, gradient: Array) -> Array:
        """The smallest element of ``gradient + dh(w)``."""
        ...


class Kinked(Proximal, Protocol):
    """An h that is ``sum_j l1_j |w_j|`` within bounds, and says so."""

    @property
    def l1(self) -> FloatArray:
        """Strengths at least 0, of the shape of the coefficients."""
        ...

    @property
    def lower(self) -> FloatArray:
        """Lower bounds, -inf for none."""
        ...

    @property
    def upper(self) -> FloatArray:
        """Upper bounds, inf for none."""
        ...


@dataclass(frozen=True)
class Nothing:
    """``h = 0``: the objective is smooth."""

    def value(self, w: Array) -> float:
        """Zero."""
        return 0.0

    def prox(self, v: Array, step: float) -> Array:
        """``v``."""
        return v

    def stationarity(self, w: Array, gradient: Array) -> Array:
        """The gradient."""
        return gradient


def directional(h: Kinked, w: FloatArray, direction: FloatArray) -> FloatArray:
    """The subgradient of h at ``w`` whose product with ``direction`` is the derivative of h along it."""
    return np.asarray(h.l1 * np.sign(np.where(w == 0, direction, w)))


__all__ = ["Kinked", "Nothing", "Proximal", "directional"]
