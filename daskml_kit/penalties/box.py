"""Bounds on coefficients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from daskml_kit.exceptions import InvalidParameterError
from daskml_kit.typing import Array


@dataclass(frozen=True, eq=False)
class Box:
    """Bounds: 0 where ``lower <= w <= upper`` in every coordinate, infinite elsewhere.

    ``prox`` is the projection into the box, whatever the step. Infinite bounds are allowed.

    Parameters
    ----------
    lower, upper
        Numbers, or arrays that broadcast against the coefficients.

    Examples
    --------
    >>> import numpy as np
    >>> Box(0.0, np.inf).prox(np.array([-1.0, 2.0]), step=1.0)
    array([0., 2.])
    """

    lower: float | Array
    upper: float | Array

    def __post_init__(self) -> None:
        if not np.all(np.asarray(self.lower) <= np.asarray(self.upper)):
            raise InvalidParameterError(
                f"lower must not exceed upper, got lower={self.lower!r} and upper={self.upper!r}. "
                "Swap them, or use -inf and inf for a side without a bound."
            )

    def value(self, w: Array) -> float:
        """0 inside, infinity outside."""
        return 0.0 if np.all((self.lower <= w) & (w <= self.upper)) else float("inf")

    def prox(self, v: Array, step: float) -> Array:
        """The nearest point of the box."""
        return np.clip(v, self.lower, self.upper)


__all__ = ["Box"]
