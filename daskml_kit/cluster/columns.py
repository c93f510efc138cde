"""Mean and variance of each column: where the data lie, and how wide they spread."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from daskml_kit.typing import CSR, Array, FloatArray, Matrix

TILE_VALUES = 1 << 17
"""Values of X (1 MB) that are shifted and squared at a time."""


class Columns(NamedTuple):
    """Unweighted first and second moments, all float64."""

    n_rows: int
    mean: FloatArray
    """(d,) zeros for no rows."""
    squares: FloatArray
    """(d,) ``sum_i (x_i - mean)^2``."""

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
    >>> columns(np.array([[1e9], [1e9 + 2.0]]))
    Columns(n_rows=2, mean=array([1.e+09]), squares=array([2.]))
    """
    n, d = X.shape
    if n == 0:
        return Columns(0, np.zeros(d), np.zeros(d))
    shift, sums, squares = _dense(X) if isinstance(X, np.ndarray) else _sparse(X)
    return Columns(n, shift + sums / n, np.maximum(squares - sums * sums / n, 0.0))


def _dense(X: Array) -> tuple[FloatArray, FloatArray, FloatArray]:
    n, d = X.shape
    shift, sums, squares = X[0].astype(np.float64), np.zeros(d), np.zeros(d)
    size = max(TILE_VALUES // d, 1)
    for start in range(0, n, size):
        gaps = X[start : start + size] - shift
        sums += gaps.sum(axis=0)
        squares += np.einsum("ij,ij->j", gaps, gaps)
    return shift, sums, squares


def _sparse(X: CSR) -> tuple[FloatArray, FloatArray, FloatArray]:
    d, values = X.shape[1], np.asarray(X.data, dtype=np.float64)
    sums = np.bincount(X.indices, weights=values, minlength=d).astype(np.float64)
    squares = np.bincount(X.indices, weights=values**2, minlength=d).astype(np.float64)
    return np.zeros(d), sums, squares


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
    return Columns(n, a.mean + share * gap, a.squares + b.squares + a.n_rows * share * gap * gap)


__all__ = ["Columns", "columns", "combined"]
