"""Mean, variance and range of each column: where the data lie, and how wide they spread."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np

from daskml_kit.kernels.column_sums import column_sums
from daskml_kit.typing import CSR, Array, FloatArray, Matrix


class Columns(NamedTuple):
    """First and second moments and the range, all float64. What is weighted is named so."""

    n_rows: int
    mean: FloatArray
    """(d,) zeros for no rows."""
    squares: FloatArray
    """(d,) ``sum_i (x_i - mean)^2``."""
    lowest: FloatArray
    """(d,) infinite for no rows."""
    highest: FloatArray
    """(d,) -infinite for no rows."""

    @property
    def variance(self) -> FloatArray:
        """(d,) population variance."""
        return self.squares / max(self.n_rows, 1)


def columns(X: Matrix) -> Columns:
    """Moments of the columns of one block, which may have no rows.

    Dense values are shifted by the first row before they are summed: far from the origin no digits are
    lost, and a constant column has exactly its value as mean and 0 as variance. CSR is not shifted; a
    column of mean m and deviation s loses ``2 log10(m / s)`` digits.

    Examples
    --------
    >>> import numpy as np
    >>> found = columns(np.array([[1e9], [1e9 + 2.0]]))
    >>> found.n_rows, found.mean, found.squares
    (2, array([1.e+09]), array([2.]))
    """
    n, d = X.shape
    if n == 0:
        return Columns(0, np.zeros(d), np.zeros(d), np.full(d, np.inf), np.full(d, -np.inf))
    shift, sums, squares, low, high = _dense(X) if isinstance(X, np.ndarray) else _sparse(X)
    return Columns(n, shift + sums / n, np.maximum(squares - sums * sums / n, 0.0), low, high)


Sums: TypeAlias = "tuple[FloatArray, FloatArray, FloatArray, FloatArray, FloatArray]"


def _dense(X: Array) -> Sums:
    shift = X[0].astype(np.float64)
    found = column_sums(X, None, shift)
    return shift, found.sums, found.squares, found.lowest, found.highest


def _sparse(X: CSR) -> Sums:
    d, values = X.shape[1], np.asarray(X.data, dtype=np.float64)
    sums = np.bincount(X.indices, weights=values, minlength=d).astype(np.float64)
    squares = np.bincount(X.indices, weights=values**2, minlength=d).astype(np.float64)
    low, high = np.zeros(d), np.zeros(d)  # a value that is not stored is 0
    np.minimum.at(low, X.indices, values)
    np.maximum.at(high, X.indices, values)
    return np.zeros(d), sums, squares, low, high


class Spread(NamedTuple):
    """Weighted first and second moments of rows."""

    weight: float
    mean: FloatArray
    """(d,) zeros where there is no weight."""
    square: float
    """``sum_i w_i |x_i - mean|^2``."""

    def about(self, point: FloatArray) -> float:
        """``sum_i w_i |x_i - point|^2``."""
        gap = self.mean - point
        return self.square + self.weight * float(gap @ gap)

    def __add__(self, other: object) -> Spread:
        """Moments of the rows of both, as in :func:`combined`."""
        if not isinstance(other, Spread):
            return NotImplemented
        total, gap = self.weight + other.weight, other.mean - self.mean
        if total == 0.0:
            return self
        share = other.weight / total
        square = self.square + other.square + self.weight * share * float(gap @ gap)
        return Spread(total, self.mean + share * gap, square)


def spread(X: Matrix, weight: Array, near: FloatArray) -> Spread:
    """Weighted moments of one block; ``near`` (d,) is a point near its rows. CSR as in :func:`columns`."""
    total, d = float(weight.sum()), X.shape[1]
    if total == 0.0:
        return Spread(0.0, np.zeros(d), 0.0)
    if isinstance(X, np.ndarray):
        found = column_sums(X, weight, near)
        sums, square = found.weighted_sums, found.weighted_square
    else:
        near, values = np.zeros(d), np.asarray(X.data, dtype=np.float64)
        w = np.repeat(weight, np.diff(X.indptr))
        sums = np.bincount(X.indices, weights=w * values, minlength=d).astype(np.float64)
        square = float(w @ values**2)
    return Spread(total, near + sums / total, max(square - float(sums @ sums) / total, 0.0))


def combined(a: Columns, b: Columns) -> Columns:
    """Moments of the rows of both; neither input is changed.

    References
    ----------
    Chan, Golub, LeVeque (1983). Algorithms for computing the sample variance. Equation 1.5.
    """
    if a.n_rows == 0 or b.n_rows == 0:
        return a if b.n_rows == 0 else b
    n, gap = a.n_rows + b.n_rows, b.mean - a.mean
    share = b.n_rows / n
    squares = a.squares + b.squares + a.n_rows * share * gap * gap
    low, high = np.minimum(a.lowest, b.lowest), np.maximum(a.highest, b.highest)
    return Columns(n, a.mean + share * gap, squares, low, high)


__all__ = ["Columns", "Spread", "columns", "combined", "spread"]
