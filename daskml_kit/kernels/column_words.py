"""The words of :mod:`daskml_kit.kernels.column_descent`: column j of the data is row j of ``rows``.

Plain functions, a dense and a CSR form of each; the kernel compiles them.
"""

from __future__ import annotations

from daskml_kit.kernels.blocks import CsrRows
from daskml_kit.kernels.rows import by_form
from daskml_kit.typing import Array

FLAT = 1e-13
"""A column whose deviation is a smaller share of its mean is constant, up to rounding; so is a sparse one
whose centred squares are a smaller share of its squares."""


def dense_sums(
    rows: Array, j: int, gradient: Array, moving: Array, curvature: Array
) -> tuple[float, float, float]:
    """Of the column x: ``x.gradient``, ``x.moving`` and ``x.curvature``, in one read."""
    fixed, pull, first = 0.0, 0.0, 0.0
    for i in range(rows.shape[1]):
        x = rows[j, i]
        fixed += gradient[i] * x
        pull += moving[i] * x
        first += curvature[i] * x
    return fixed, pull, first


def sparse_sums(
    rows: CsrRows, j: int, gradient: Array, moving: Array, curvature: Array
) -> tuple[float, float, float]:
    """The same over the stored values."""
    fixed, pull, first = 0.0, 0.0, 0.0
    for p in range(rows.starts[j], rows.starts[j + 1]):
        i, x = rows.columns[p], rows.values[p]
        fixed += gradient[i] * x
        pull += moving[i] * x
        first += curvature[i] * x
    return fixed, pull, first


def dense_square(rows: Array, j: int, mean: float, curvature: Array, total: float) -> float:
    """``sum_i curvature_i (x_i - mean)^2``; 0 for a column that is constant, up to rounding.

    About the mean, so that a column far from zero keeps its digits; it is in the cache by now.
    """
    square = 0.0
    for i in range(rows.shape[1]):
        gap = rows[j, i] - mean
        square += curvature[i] * gap * gap
    return square if square > FLAT * FLAT * mean * mean * total else 0.0


def sparse_square(rows: CsrRows, j: int, mean: float, curvature: Array, total: float) -> float:
    """The same, from the squares of the stored values."""
    second = 0.0
    for p in range(rows.starts[j], rows.starts[j + 1]):
        second += curvature[rows.columns[p]] * rows.values[p] * rows.values[p]
    square = second - mean * mean * total
    return square if square > FLAT * second else 0.0


def dense_dot(rows: Array, j: int, vector: Array) -> float:
    """``x.vector``."""
    total = 0.0
    for i in range(rows.shape[1]):
        total += rows[j, i] * vector[i]
    return total


def sparse_dot(rows: CsrRows, j: int, vector: Array) -> float:
    """The same over the stored values."""
    total = 0.0
    for p in range(rows.starts[j], rows.starts[j + 1]):
        total += rows.values[p] * vector[rows.columns[p]]
    return total


def dense_add(rows: Array, j: int, scale: float, factors: Array, vector: Array) -> None:
    """``vector += scale factors x``."""
    for i in range(rows.shape[1]):
        vector[i] += scale * factors[i] * rows[j, i]


def sparse_add(rows: CsrRows, j: int, scale: float, factors: Array, vector: Array) -> None:
    """The same over the stored values."""
    for p in range(rows.starts[j], rows.starts[j + 1]):
        vector[rows.columns[p]] += scale * factors[rows.columns[p]] * rows.values[p]


def dense_add_plain(rows: Array, j: int, scale: float, vector: Array) -> None:
    """``vector += scale x``."""
    for i in range(rows.shape[1]):
        vector[i] += scale * rows[j, i]


def sparse_add_plain(rows: CsrRows, j: int, scale: float, vector: Array) -> None:
    """The same over the stored values."""
    for p in range(rows.starts[j], rows.starts[j + 1]):
        vector[rows.columns[p]] += scale * rows.values[p]


column_sums = by_form(dense_sums, sparse_sums)
column_square = by_form(dense_square, sparse_square)
column_dot = by_form(dense_dot, sparse_dot)
add_column = by_form(dense_add, sparse_add)
add_plain = by_form(dense_add_plain, sparse_add_plain)

__all__ = ["add_column", "add_plain", "column_dot", "column_square", "column_sums"]
