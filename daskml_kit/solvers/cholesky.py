"""Symmetric systems that may be singular or indefinite, by Cholesky's factorisation.

References
----------
Nocedal, Wright (2006). Numerical Optimization, 2nd ed. Algorithm 3.3 (added multiple of the identity).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from daskml_kit.exceptions import InvalidDataError
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
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = scale * right
        _refuse_overflow("right side", scaled)
        solution = linalg.cho_solve((self.lower, True), scaled, check_finite=False)
        return np.asarray(scale * solution)


def factorised(matrix: FloatArray, scale: FloatArray, shift: float = _FIRST_SHIFT) -> Factor:
    """Of ``matrix`` with rows and columns scaled, shifted until it is positive definite.

    ``scale`` makes its diagonal one, so that the shift means the same for features of any unit.

    Raises
    ------
    InvalidDataError
        If something in it is not finite.

    Examples
    --------
    >>> factorised(np.diag([4.0, 1e-320]), np.array([0.5, 1e160])).solve(
    ...     np.array([8.0, 0.0])
    ... ).round(9)
    array([2., 0.])
    """
    with np.errstate(over="ignore", invalid="ignore"):  # refused below
        scaled = matrix * scale[:, None] * scale  # in turn: squares of scales may overflow
    _refuse_overflow("matrix", scaled)
    eye = np.arange(len(matrix))
    while True:
        shifted = scaled.copy()
        shifted[eye, eye] += shift
        try:
            lower = linalg.cho_factor(shifted, lower=True, overwrite_a=True, check_finite=False)[0]
            return Factor(lower, scale)
        except linalg.LinAlgError:
            shift *= _SHIFT_GROWTH


def _refuse_overflow(what: str, values: FloatArray) -> None:
    """What is not finite has no solution."""
    wrong = ~np.isfinite(values)
    if wrong.any():
        first = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise InvalidDataError(
            f"A solver's system of {len(values)} equations has a {what} that is not finite: "
            f"{values[first]} at {list(first)}, the first of {np.count_nonzero(wrong)} such values. The "
            "objective overflows there: scale the features and the target, or start from smaller "
            "coefficients."
        )


__all__ = ["Factor", "factorised"]
