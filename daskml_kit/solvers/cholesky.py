"""Symmetric systems that may be singular or indefinite, by Cholesky's factorisation.

References
----------
Nocedal, Wright (2006). Numerical Optimization, 2nd ed. Algorithm 3.3 (added multiple of the identity).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from daskml_kit.typing import FloatArray

_FIRST_SHIFT = 1e-13  # of a diagonal scaled to one: above the rounding of the factorisation
_SHIFT_GROWTH = 100.0


@dataclass(frozen=True, eq=False)
class Factor:
    """``scale L L' scale``, with scales that are one over those of the matrix."""

    lower: FloatArray  # (size, size)
    scale: FloatArray  # (size,)

    def solve(self, right: FloatArray) -> FloatArray:
        """The system's solution for a right side, or for several as columns."""
        scale = self.scale.reshape(-1, *(1,) * (right.ndim - 1))
        return np.asarray(scale * linalg.cho_solve((self.lower, True), scale * right))


def factorised(matrix: FloatArray, scale: FloatArray, shift: float = _FIRST_SHIFT) -> Factor:
    """Of ``matrix`` with rows and columns scaled, shifted until it is positive definite.

    ``scale`` makes its diagonal one, so that the shift means the same for features of any unit.
    """
    scaled = matrix * np.outer(scale, scale)
    eye = np.arange(len(matrix))
    while True:
        shifted = scaled.copy()
        shifted[eye, eye] += shift
        try:
            return Factor(linalg.cho_factor(shifted, lower=True, overwrite_a=True)[0], scale)
        except linalg.LinAlgError:
            shift *= _SHIFT_GROWTH


__all__ = ["Factor", "factorised"]
