"""Predictions of a linear model, from whole rows or from some columns at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from daskml_kit.kernels import predict_linear
from daskml_kit.typing import Array, FloatArray, Matrix


@dataclass(frozen=True, eq=False)
class LinearRows:
    """``finish(X coef' + intercept)`` of rows, picklable; ``finish`` of (n,) or (n, n_outputs) numbers.

    Parameters
    ----------
    coef : (d,) or (n_outputs, d)
    intercept : number or (n_outputs,)
    finish : callable, None for the raw predictions

    Examples
    --------
    >>> import numpy as np
    >>> rows = LinearRows(np.array([1.0, 2.0]), 0.5)
    >>> X = np.array([[1.0, 1.0], [0.0, 2.0]])
    >>> rows(X)
    array([3.5, 4.5])
    >>> rows.of_sums()(rows.of_columns(0, 1)(X[:, :1]) + rows.of_columns(1, 2)(X[:, 1:]))
    array([3.5, 4.5])
    """

    coef: FloatArray
    intercept: Any
    finish: Callable[[FloatArray], Array] | None = None

    def __call__(self, X: Matrix) -> Array:
        raw: FloatArray = predict_linear(X, self.coef, False) + self.intercept
        return raw if self.finish is None else self.finish(raw)

    @property
    def n_outputs(self) -> int:
        """Raw predictions a row."""
        return 1 if self.coef.ndim == 1 else len(self.coef)

    def of_columns(self, low: int, high: int) -> SomeColumns:
        """The share of some columns."""
        return SomeColumns(np.atleast_2d(self.coef)[:, low:high])

    def of_sums(self) -> FromSums:
        """What makes the answer of the shares' sums."""
        return FromSums(self.coef.ndim == 1, self.intercept, self.finish, self.coef.dtype)


@dataclass(frozen=True, eq=False)
class SomeColumns:
    """Their share of the raw predictions, (n, n_outputs)."""

    coef: FloatArray

    def __call__(self, X: Matrix) -> Array:
        return np.asarray(predict_linear(X, self.coef, False), dtype=np.float64)


@dataclass(frozen=True, eq=False)
class FromSums:
    """The answer from (n, n_outputs) products, in the dtype of the coefficients."""

    flat: bool
    intercept: Any
    finish: Callable[[FloatArray], Array] | None
    dtype: Any

    def __call__(self, products: FloatArray) -> Array:
        raw = (products[:, 0] if self.flat else products) + self.intercept
        raw = raw.astype(self.dtype, copy=False)
        return raw if self.finish is None else self.finish(raw)


def dense(coef: Any) -> FloatArray:
    """Coefficients as an array, whether an estimator keeps them so or as CSR."""
    return np.asarray(coef if isinstance(coef, np.ndarray) else coef.toarray())


__all__ = ["LinearRows", "dense"]
