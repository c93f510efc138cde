"""Cross entropy of the softmax."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import softmax

from daskml_kit.losses.elementary import exp_nonpositive
from daskml_kit.losses.protocol import weighted
from daskml_kit.typing import Array


class Multinomial(NamedTuple):
    """Softmax cross entropy: ``log(sum_k exp(eta_k)) - eta_y``.

    Domain: y is a class code 0 .. K-1 (any dtype), eta any real numbers, shape (n, K).
    Link: ``P(y = k) = p_k = exp(eta_k) / sum_j exp(eta_j)``.
    Gradient ``p_k - [y = k]``, curvature ``p_a ([a = b] - p_b)``.

    All K predictions are free: adding a constant to a row's eta changes nothing, so the Hessian is
    singular without a penalty. The row's maximum is subtracted first, and nothing overflows.

    Parameters
    ----------
    n_classes
        K, at least 2.

    Examples
    --------
    >>> import numpy as np
    >>> loss = Multinomial(n_classes=4)
    >>> value, gradient = loss.value_gradient(np.array([2]), np.zeros((1, 4)), None)
    >>> round(value, 6), gradient
    (1.386294, array([[ 0.25,  0.25, -0.75,  0.25]]))
    """

    n_classes: int

    @property
    def n_outputs(self) -> int:
        """Predictions a row."""
        return self.n_classes

    def value_gradient(self, y: Array, eta: Array, weight: Array | None) -> tuple[float, Array]:
        """Value, and gradient (n, K)."""
        chosen = self._indicator(y)
        shifted = eta - eta.max(axis=1, keepdims=True)
        values = np.log(np.exp(shifted).sum(axis=1)) - (shifted * chosen).sum(axis=1)
        return float(weighted(values, weight).sum()), weighted(
            softmax(eta, axis=1) - chosen, weight
        )

    def curvature(self, y: Array, eta: Array, weight: Array | None) -> Array:
        """Second derivatives (n, K, K). Memory: n K^2 numbers, the kernels never hold that."""
        p = softmax(eta, axis=1)
        return weighted(p[:, :, None] * (np.eye(self.n_classes) - p[:, None, :]), weight)

    def inverse_link(self, eta: Array) -> Array:
        """Class probabilities (n, K); each row sums to 1."""
        return np.asarray(softmax(eta, axis=1))

    def _indicator(self, y: Array) -> Array:
        return np.asarray(y[:, None] == np.arange(self.n_classes), dtype=np.float64)

    @staticmethod
    def rowwise(
        loss: Multinomial, y: float, eta: Array, gradient: Array, curvature: Array
    ) -> float:
        """Value of one row; compiled by the kernels.

        ``gradient`` (K,) is written, and ``curvature`` (K, K) unless its size is 0. The class is
        compared, never used as an index, so that a bad code cannot reach outside the row.
        """
        # One short loop for each step: LLVM puts every one of them in vector registers.
        code = int(y)  # compared as integers: four comparisons at once
        largest, total, chosen = eta[0], 0.0, 0.0
        for k in range(1, eta.size):
            largest = max(largest, eta[k])
        for k in range(eta.size):
            gradient[k] = exp_nonpositive(eta[k] - largest)
        for k in range(eta.size):
            total += gradient[k]
        for k in range(eta.size):
            chosen += eta[k] - largest if k == code else 0.0
        inverse = 1.0 / total
        for k in range(eta.size):
            gradient[k] *= inverse
        if curvature.size:
            for a in range(eta.size):
                for b in range(eta.size):
                    curvature[a, b] = gradient[a] * ((1.0 if a == b else 0.0) - gradient[b])
        for k in range(eta.size):
            gradient[k] -= 1.0 if k == code else 0.0
        return float(np.log(total)) - chosen


__all__ = ["Multinomial"]
