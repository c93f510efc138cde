"""What every loss can do on NumPy arrays."""

from __future__ import annotations

from typing import Protocol

from daskml_kit.typing import Array


class Loss(Protocol):
    """A sum over rows of a loss between target ``y`` and raw prediction ``eta``.

    ``y`` has shape (n,). ``eta`` has shape (n,), or (n, K) for a loss of K predictions a row.
    ``weight`` has shape (n,), or is None for ones.
    """

    def value_gradient(self, y: Array, eta: Array, weight: Array | None) -> tuple[float, Array]:
        """Weighted sum of the loss, and its gradient in ``eta`` (same shape)."""
        ...

    def curvature(self, y: Array, eta: Array, weight: Array | None) -> Array:
        """Second derivative in ``eta``: (n,), or (n, K, K) for K predictions a row."""
        ...

    def inverse_link(self, eta: Array) -> Array:
        """What the model predicts, a mean or probabilities, with the shape of ``eta``."""
        ...


def weighted(values: Array, weight: Array | None) -> Array:
    """``values`` of shape (n, ...) with row i multiplied by ``weight[i]``; as they are for None."""
    if weight is None:
        return values
    return values * weight.reshape(-1, *[1] * (values.ndim - 1))


__all__ = ["Loss", "weighted"]
