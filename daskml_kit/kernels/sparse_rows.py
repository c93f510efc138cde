"""The words of :mod:`daskml_kit.kernels.rows` for CSR. Work goes with the number of stored values.

Plain functions; the kernels compile them. Each row's columns are sorted and unique. Nothing is ever
made dense, so the work arrays that the dense forms need are left alone.
"""

from __future__ import annotations

from numba.extending import register_jitable

from daskml_kit.kernels.blocks import CsrRows
from daskml_kit.typing import Array


def count_rows(rows: CsrRows) -> int:
    """n."""
    return rows.starts.size - 1


def dot_rows(
    rows: CsrRows, start: int, stop: int, coef: Array, intercept: float, eta: Array
) -> None:
    """``eta[i] = rows[start + i] . coef + intercept``."""
    for i in range(stop - start):
        total = 0.0
        for p in range(rows.starts[start + i], rows.starts[start + i + 1]):
            total += rows.values[p] * coef[rows.columns[p]]
        eta[i] = total + intercept


def add_rows(rows: CsrRows, start: int, stop: int, scale: Array, gradient: Array) -> None:
    """``gradient[:d] += scale' rows``."""
    for i in range(stop - start):
        for p in range(rows.starts[start + i], rows.starts[start + i + 1]):
            gradient[rows.columns[p]] += scale[i] * rows.values[p]
        gradient[-1] += scale[i]


def load_rows(rows: CsrRows, start: int, stop: int, tile: Array) -> None:
    """Nothing to do: values are read in place."""


def load_row(rows: CsrRows, i: int, tile: Array, k: int) -> None:
    """Nothing to do: values are read in place."""


def dot_tile(rows: CsrRows, start: int, stop: int, coef: Array, tile: Array, eta: Array) -> None:
    """``eta[i] = rows[start + i] coef[:d] + coef[d]``."""
    intercept = coef.shape[0] - 1
    for i in range(stop - start):
        for k in range(coef.shape[1]):
            eta[i, k] = coef[intercept, k]
        for p in range(rows.starts[start + i], rows.starts[start + i + 1]):
            value, column = rows.values[p], rows.columns[p]
            for k in range(coef.shape[1]):
                eta[i, k] += value * coef[column, k]


def add_tile(
    rows: CsrRows, start: int, stop: int, scale: Array, tile: Array, gradient: Array
) -> None:
    """``gradient[:d] += rows' scale``."""
    intercept = gradient.shape[0] - 1
    for i in range(stop - start):
        for p in range(rows.starts[start + i], rows.starts[start + i + 1]):
            value, column = rows.values[p], rows.columns[p]
            for k in range(scale.shape[1]):
                gradient[column, k] += value * scale[i, k]
        for k in range(scale.shape[1]):
            gradient[intercept, k] += scale[i, k]


def add_weighted(
    rows: CsrRows, start: int, stop: int, scale: Array, left: Array, tile: Array, gram: Array
) -> None:
    """``gram += rows' diag(scale) rows``."""
    for i in range(stop - start):
        add_outer(rows, start + i, scale[i], gram)


def add_kept(
    rows: CsrRows, kept: Array, count: int, scale: Array, left: Array, tile: Array, gram: Array
) -> None:
    """``gram += rows[kept]' diag(scale) rows[kept]``."""
    for i in range(count):
        add_outer(rows, kept[i], scale[i], gram)


@register_jitable
def add_outer(rows: CsrRows, i: int, scale: float, gram: Array) -> None:
    """``gram += scale rows[i]' rows[i]``: the outer product of the stored values, and a one."""
    intercept = gram.shape[1] - 1
    end = rows.starts[i + 1]
    for p in range(rows.starts[i], end):
        scaled, row = scale * rows.values[p], rows.columns[p]
        for q in range(p, end):
            gram[row, rows.columns[q]] += scaled * rows.values[q]
        gram[row, intercept] += scaled
    gram[intercept, intercept] += scale


def add_squares(rows: CsrRows, start: int, stop: int, scale: Array, squares: Array) -> None:
    """``squares[k, j] += sum_i scale[i, k, k] rows[start + i, j]^2``, with a one behind each row."""
    d = squares.shape[1] - 1
    for i in range(stop - start):
        for k in range(squares.shape[0]):
            factor, sums = scale[i, k, k], squares[k]
            for p in range(rows.starts[start + i], rows.starts[start + i + 1]):
                sums[rows.columns[p]] += factor * rows.values[p] * rows.values[p]
            sums[d] += factor


def squared_distance(rows: CsrRows, i: int, centers: Array, k: int, half: float) -> float:
    """``|rows[i] - centers[k]|^2``, where ``half`` is ``|centers[k]|^2 / 2``.

    ``sum over stored of (x - c)^2``, plus ``c^2`` of all others: ``|c|^2`` less that of the stored.
    Where the subtraction would leave fewer than about 10 digits, the others are visited one by one.
    """
    total, stored = 0.0, 0.0
    for p in range(rows.starts[i], rows.starts[i + 1]):
        c = centers[k, rows.columns[p]]
        total += (rows.values[p] - c) ** 2
        stored += c * c
    others = 2.0 * half - stored
    if others < 1e-6 * stored:
        others = squares_of_others(rows, i, centers[k])
    return total + others


@register_jitable
def squares_of_others(rows: CsrRows, i: int, center: Array) -> float:
    """Sum of ``c^2`` over the columns that row i does not store."""
    total, done = 0.0, 0
    for p in range(rows.starts[i], rows.starts[i + 1]):
        for j in range(done, rows.columns[p]):
            total += center[j] * center[j]
        done = rows.columns[p] + 1
    for j in range(done, center.size):
        total += center[j] * center[j]
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
