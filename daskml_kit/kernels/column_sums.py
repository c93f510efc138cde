"""Sums, squares and range of each column, in one read."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from daskml_kit.kernels.blocks import UNCOUNTED, as_column, bare, check_block, frozen
from daskml_kit.typing import Array, FloatArray

TILE = 256
"""Rows whose sums are added up before they go to the total: the rounding of n rows is that of n / 256."""


class ColumnSums(NamedTuple):
    """Of ``x - shift``, all (d,) float64; squares are not weighted, the last three are."""

    sums: FloatArray
    squares: FloatArray
    lowest: FloatArray
    """Of the rows themselves; infinite for no rows."""
    highest: FloatArray
    weighted_sums: FloatArray
    weighted_square: float
    """``sum_i w_i |x_i - shift|^2``."""
    weight: float


def column_sums(X: Array, weight: Array | None, shift: Array) -> ColumnSums:
    """What one read of a dense block tells of its columns.

    Parameters
    ----------
    X : (n, d) array, float32 or float64; n may be 0
    weight : (n,) or None for ones
    shift : (d,) a point near the rows, so that no digits are lost

    Examples
    --------
    >>> import numpy as np
    >>> found = column_sums(np.array([[1e9], [1e9 + 2.0]]), None, np.array([1e9]))
    >>> found.sums, found.squares, found.highest - 1e9
    (array([2.]), array([4.]), array([2.]))
    """
    check_block(X)
    n, d = X.shape
    part, out = np.zeros((3, d)), np.zeros((3, d))
    ends = np.stack([np.full(d, np.inf), np.full(d, -np.inf)])
    square, total = _summed(
        frozen(X), as_column(weight, "weight", n), frozen(shift, np.float64), part, out, ends
    )
    if weight is None:
        out[2], square, total = out[0], out[1].sum(), n
    return ColumnSums(out[0], out[1], ends[0], ends[1], out[2], float(square), float(total))


@njit(cache=True, nogil=True, **UNCOUNTED)
def _summed(
    X: Array, weight: Array, shift: Array, part: Array, out: Array, ends: Array
) -> tuple[float, float]:
    n, square, total = len(X), 0.0, 0.0
    for start in range(0, n, TILE):
        stop = min(start + TILE, n)
        whole = start + (stop - start) // 4 * 4
        for i in range(start, whole, 4):
            _add_four(X, i, shift, part[0], part[1], ends[0], ends[1])
        for i in range(whole, stop):
            _add_one(X, i, shift, part[0], part[1], ends[0], ends[1])
        if weight.size:
            for i in range(start, stop):
                square += weight[i] * _add_weighted(X, i, shift, weight[i], part[2])
                total += weight[i]
        for row in range(3):
            _moved(part[row], out[row])
    return square, total


# Four rows at a time: a pass of 50 columns takes 40 % less time, most of it loads and stores of the sums.
@bare
def _add_four(
    X: Array, i: int, shift: Array, sums: Array, squares: Array, low: Array, high: Array
) -> None:
    for j in range(sums.size):
        a, b, c, e = X[i, j], X[i + 1, j], X[i + 2, j], X[i + 3, j]
        p, q, r, s = a - shift[j], b - shift[j], c - shift[j], e - shift[j]
        sums[j] += (p + q) + (r + s)
        squares[j] += (p * p + q * q) + (r * r + s * s)
        low[j] = min(low[j], min(min(a, b), min(c, e)))
        high[j] = max(high[j], max(max(a, b), max(c, e)))


@bare
def _add_one(
    X: Array, i: int, shift: Array, sums: Array, squares: Array, low: Array, high: Array
) -> None:
    for j in range(sums.size):
        value = X[i, j]
        gap = value - shift[j]
        sums[j] += gap
        squares[j] += gap * gap
        low[j] = min(low[j], value)
        high[j] = max(high[j], value)


@bare
def _add_weighted(X: Array, i: int, shift: Array, scale: float, sums: Array) -> float:
    square = 0.0
    for j in range(sums.size):
        gap = X[i, j] - shift[j]
        sums[j] += scale * gap
        square += gap * gap
    return square


@bare
def _moved(part: Array, out: Array) -> None:
    for j in range(part.size):
        out[j] += part[j]
        part[j] = 0.0


__all__ = ["ColumnSums", "column_sums"]
