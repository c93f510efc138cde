"""The words of :mod:`daskml_kit.kernels.rows` for a C-contiguous float32 or float64 array.

Plain functions; the kernels compile them.
"""

from __future__ import annotations

from numba.extending import register_jitable

from daskml_kit.kernels.products import add_gram, add_product, add_row_products
from daskml_kit.typing import Array


def count_rows(rows: Array) -> int:
    """n."""
    return len(rows)


def dot_rows(rows: Array, start: int, stop: int, coef: Array, intercept: float, eta: Array) -> None:
    """``eta[i] = rows[start + i] . coef + intercept``."""
    for i in range(stop - start):
        row = rows[start + i]
        total = 0.0
        for j in range(row.size):
            total += row[j] * coef[j]
        eta[i] = total + intercept


def add_rows(rows: Array, start: int, stop: int, scale: Array, gradient: Array) -> None:
    """``gradient[:d] += scale' rows``, four rows at a time to touch ``gradient`` a quarter as often."""
    d, n = rows.shape[1], stop - start
    whole = n // 4 * 4
    for i in range(0, whole, 4):
        a, b, c, e = scale[i], scale[i + 1], scale[i + 2], scale[i + 3]
        first, second = rows[start + i], rows[start + i + 1]
        third, fourth = rows[start + i + 2], rows[start + i + 3]
        for j in range(d):
            gradient[j] += a * first[j] + b * second[j] + c * third[j] + e * fourth[j]
    for i in range(whole, n):
        for j in range(d):
            gradient[j] += scale[i] * rows[start + i, j]
    for i in range(n):
        gradient[d] += scale[i]


def load_rows(rows: Array, start: int, stop: int, tile: Array) -> None:
    """Copies the rows into ``tile``, in float64, with a one behind each."""
    d = rows.shape[1]
    for i in range(stop - start):
        for j in range(d):
            tile[i, j] = rows[start + i, j]
        tile[i, d] = 1.0


def load_row(rows: Array, i: int, tile: Array, k: int) -> None:
    """Copies one row into row k of ``tile``, in float64, with a one behind it."""
    d = rows.shape[1]
    for j in range(d):
        tile[k, j] = rows[i, j]
    tile[k, d] = 1.0


def dot_tile(rows: Array, start: int, stop: int, coef: Array, tile: Array, eta: Array) -> None:
    """``eta = tile coef``; the ones of ``tile`` meet the intercepts in ``coef``."""
    eta[:] = 0.0
    add_row_products(tile.ctypes.data, tile.shape[1], coef, eta)


def add_tile(
    rows: Array, start: int, stop: int, scale: Array, tile: Array, gradient: Array
) -> None:
    """``gradient += tile' scale``."""
    add_product(tile, scale, stop - start, gradient)


def add_weighted(
    rows: Array, start: int, stop: int, scale: Array, left: Array, tile: Array, gram: Array
) -> None:
    """``gram += tile' diag(scale) tile``; ``left`` is room for ``diag(scale) tile``."""
    add_scaled(rows.shape[1] + 1, stop - start, scale, left, tile, gram)


def add_kept(
    rows: Array, kept: Array, count: int, scale: Array, left: Array, tile: Array, gram: Array
) -> None:
    """The same of the first ``count`` rows of ``tile``."""
    add_scaled(rows.shape[1] + 1, count, scale, left, tile, gram)


@register_jitable
def add_scaled(width: int, count: int, scale: Array, left: Array, tile: Array, gram: Array) -> None:
    """``gram += tile' diag(scale) tile``, of some rows and columns."""
    for i in range(count):
        for j in range(width):
            left[i, j] = scale[i] * tile[i, j]
    add_gram(left, tile, count, gram)


def add_squares(rows: Array, start: int, stop: int, scale: Array, squares: Array) -> None:
    """``squares[k, j] += sum_i scale[i, k, k] rows[start + i, j]^2``, with a one behind each row."""
    d = rows.shape[1]
    for i in range(stop - start):
        row = rows[start + i]
        for k in range(squares.shape[0]):
            factor, sums = scale[i, k, k], squares[k]
            for j in range(d):
                sums[j] += factor * row[j] * row[j]
            sums[d] += factor


def squared_distance(rows: Array, i: int, centers: Array, k: int, half: float) -> float:
    """``|rows[i] - centers[k]|^2``, computed as written."""
    total = 0.0
    for j in range(rows.shape[1]):
        gap = rows[i, j] - centers[k, j]
        total += gap * gap
    return total


__all__ = [
    "add_kept",
    "add_rows",
    "add_squares",
    "add_tile",
    "add_weighted",
    "count_rows",
    "dot_rows",
    "dot_tile",
    "load_row",
    "load_rows",
    "squared_distance",
]
