"""Parameters of scikit-learn's that change no answer here: taken for the sake of code that passes them.

They concern how one process computes: whether X is copied (no fit ever writes to it), on how many threads,
which of several ways to the same solution. A value that scikit-learn would refuse is refused here, too.
"""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral
from typing import Any

import numpy as np

from daskml_kit.base import check_flag, check_number
from daskml_kit.exceptions import InvalidParameterError
from daskml_kit.runtime.random import seed_from


def _check_jobs(name: str, value: Any) -> None:
    if value is not None and not isinstance(value, Integral):
        raise InvalidParameterError(f"{name} must be an integer or None, got {value!r}.")


def _check_seed(_: str, value: Any) -> None:
    if not isinstance(value, np.random.RandomState | np.random.Generator):
        seed_from(value)  # refuses what is no seed; the others would move on


def _check_gram(name: str, value: Any) -> None:
    matrix = not isinstance(value, str) and np.ndim(value) == 2
    if not matrix and not isinstance(value, bool | np.bool_) and value != "auto":
        raise InvalidParameterError(
            f"{name} must be True, False, 'auto' or a Gram matrix, got {value!r}. It changes nothing "
            "here: the moments of the data come from one pass. Leave it out."
        )


def _check_way(name: str, value: Any) -> None:
    if value not in (None, "auto", "svd", "eigen"):
        raise InvalidParameterError(
            f"{name} must be 'auto', 'svd', 'eigen' or None, got {value!r}."
        )


def _check_scaling(name: str, value: Any) -> None:
    check_number(name, value, least=0, above=True)


CHECKS: dict[str, Callable[[str, Any], None]] = {
    "copy_X": check_flag,
    "n_jobs": _check_jobs,
    "precompute": _check_gram,
    "random_state": _check_seed,
    "gcv_mode": _check_way,
    "intercept_scaling": _check_scaling,
}
"""By name: what refuses a value."""


def check_unused(estimator: Any) -> None:
    """Check those of these parameters that the estimator has.

    Raises
    ------
    InvalidParameterError

    Examples
    --------
    >>> from daskml_kit.linear_model import Lasso
    >>> check_unused(Lasso(copy_X=False, precompute=True))
    """
    for name, check in CHECKS.items():
        if hasattr(estimator, name):
            check(name, getattr(estimator, name))


__all__ = ["check_unused"]
