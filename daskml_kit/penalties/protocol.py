"""What every penalty can do."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from daskml_kit.typing import Array


@runtime_checkable
class Penalty(Protocol):
    """A convex function of the coefficients ``w`` (any shape) that separates by coordinate."""

    def value(self, w: Array) -> float:
        """The penalty of ``w``; infinite outside its domain."""
        ...

    def prox(self, v: Array, step: float) -> Array:
        """``argmin_w  penalty(w) + |w - v|^2 / (2 step)``, with the shape of ``v``."""
        ...


@runtime_checkable
class SmoothPenalty(Penalty, Protocol):
    """A penalty that has a gradient everywhere."""

    def gradient(self, w: Array) -> Array:
        """Gradient, with the shape of ``w``."""
        ...


__all__ = ["Penalty", "SmoothPenalty"]
