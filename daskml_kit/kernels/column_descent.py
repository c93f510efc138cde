"""Proximal coordinate descent on one block of columns: the local step of a feature-partitioned fit.

::

    minimise over c    g'X(c - w) + sigma/2 |X(c - w) + b|_h^2 + l1 |c|_1 + l2/2 |c|^2

    |z|_h^2 = sum_i h_i z_i^2

with ``g`` and ``h`` the gradient and the curvature of the loss in the raw predictions and ``b`` an intercept
of the block's own, unpenalised, which is eliminated: every column is centred by its h-weighted mean in the
sums, never in the data, so sparse columns stay sparse.

The block comes transposed: a column of the data is a row in memory, read from end to end.

References
----------
Smith, Forte, Ma, Takac, Jordan, Jaggi (2018). CoCoA: a general framework for communication-efficient
distributed optimization. JMLR 18(230), eq. 10 (the local problem) and Algorithm 2.
Friedman, Hastie, Tibshirani (2010). Regularization paths for generalized linear models via coordinate
descent. J. Stat. Softw. 33, section 2 (the update, and sweeps over the active coordinates).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba.extending import register_jitable

from daskml_kit.kernels.blocks import FASTMATH, as_rows, compiled, frozen
from daskml_kit.kernels.column_words import (
    add_column,
    add_plain,
    column_dot,
    column_square,
    column_sums,
)
from daskml_kit.typing import Array, FloatArray, IntArray, Matrix


class ColumnStep(NamedTuple):
    """Where one block's columns went, for ``d`` columns of ``n`` values; float64."""

    coef: FloatArray  # (d,) new coefficients
    product: FloatArray  # (n,) X (coef - w)
    offset: float  # the block's own intercept: minus the h-weighted mean of the product
    gradient: FloatArray  # (d,) X'g at the start; nan for columns left out
    squares: FloatArray  # (d,) sum_i h_i (x_ij - mean_j)^2; nan for columns left out


def descend_columns(
    columns: Matrix,
    w: FloatArray,
    gradient: FloatArray,
    curvature: FloatArray,
    strengths: tuple[float, float],
    *,
    kept: IntArray | None = None,
    sigma: float = 1.0,
    centred: bool = True,
    positive: bool = False,
    max_sweeps: int = 1,
    enough: float = 0.0,
) -> ColumnStep:
    """One sweep over all columns, and more over those that are in use.

    Parameters
    ----------
    columns : (d, n) array or CSR matrix, the transposed block, float32 or float64
    w : (d,) where to start
    gradient, curvature : (n,) of the loss in the raw predictions; the curvature at least 0. With ``centred``
        the gradient must sum to zero: the intercept is at its optimum
    strengths : l1, l2
    kept : columns to visit, None for all; the coefficients of the others must be zero
    sigma : how far the curvature is stretched, for what the other blocks do at the same time
    centred : whether there is an intercept
    positive : whether coefficients must be at least 0
    max_sweeps : the first over the columns kept, the others over those that moved or are not zero
    enough : sweeps end when the largest squared step, in units of the objective, is below this share of the
        first sweep's

    Returns
    -------
    ColumnStep

    Notes
    -----
    The first sweep reads each column once from memory (and again from the cache), for gradient, curvature
    and update together. Memory:
    two vectors of n and five of d. Releases the GIL.

    Examples
    --------
    >>> import numpy as np
    >>> columns, y = np.array([[1.0, -1.0], [2.0, 0.0]]), np.array([3.0, -3.0])
    >>> step = descend_columns(columns, np.zeros(2), -y, np.ones(2), (1.0, 0.0))
    >>> step.coef, step.product
    (array([2.5, 0. ]), array([ 2.5, -2.5]))
    """
    d, n = columns.shape
    visited = np.arange(d) if kept is None else kept
    coef = np.array(w, dtype=np.float64)
    pull, squares, means = np.full(d, np.nan), np.full(d, np.nan), np.zeros(d)
    product, moving = np.zeros(n), np.array(gradient, dtype=np.float64)
    total = float(curvature.sum()) if centred else 0.0
    offset = _descend(
        as_rows(columns), frozen(visited, np.int64), frozen(gradient, np.float64),
        frozen(curvature, np.float64), total, float(strengths[0]), float(strengths[1]),
        float(sigma), positive, max_sweeps, float(enough), coef, pull, squares, means, moving,
        frozen(w, np.float64), product,
    )  # fmt: skip
    return ColumnStep(coef, product, offset, pull, squares)


@compiled
def _descend(
    rows: Array,
    kept: Array,
    gradient: Array,
    curvature: Array,
    total: float,
    l1: float,
    l2: float,
    sigma: float,
    positive: bool,
    max_sweeps: int,
    enough: float,
    coef: Array,
    pull: Array,
    squares: Array,
    means: Array,
    moving: Array,
    before: Array,
    product: Array,
) -> float:
    """Moves ``coef``; fills the rest. ``moving`` is ``g + sigma h (X(c - w))``, without the offset's part."""
    active = np.empty(kept.size, np.int64)
    n_active, offset, first = 0, 0.0, 0.0
    for at in range(kept.size):
        j = kept[at]
        fixed, slope, linear = column_sums(rows, j, gradient, moving, curvature)
        if total > 0.0:
            means[j] = linear / total
            slope += sigma * offset * linear
        squares[j] = column_square(rows, j, means[j], curvature, total)
        pull[j] = fixed
        after = minimiser(coef[j], slope, sigma * squares[j], l1, l2, positive)
        if after != coef[j]:
            first = max(first, (after - coef[j]) ** 2 * (sigma * squares[j] + l2))
            offset -= (after - coef[j]) * means[j]
            add_column(rows, j, sigma * (after - coef[j]), curvature, moving)
        if after != 0.0 or coef[j] != 0.0:
            active[n_active] = j
            n_active += 1
        coef[j] = after
    sweeps, largest = 1, first
    while sweeps < max_sweeps and largest > enough * first:
        largest = 0.0
        for at in range(n_active):
            j = active[at]
            slope = column_dot(rows, j, moving) + sigma * offset * means[j] * total
            after = minimiser(coef[j], slope, sigma * squares[j], l1, l2, positive)
            if after != coef[j]:
                largest = max(largest, (after - coef[j]) ** 2 * (sigma * squares[j] + l2))
                offset -= (after - coef[j]) * means[j]
                add_column(rows, j, sigma * (after - coef[j]), curvature, moving)
                coef[j] = after
        sweeps += 1
    for at in range(n_active):
        j = active[at]
        if coef[j] != before[j]:
            add_plain(rows, j, coef[j] - before[j], product)
    return offset


@register_jitable(fastmath=FASTMATH, error_model="numpy")
def minimiser(
    now: float, slope: float, square: float, l1: float, l2: float, positive: bool
) -> float:
    """Of ``slope (c - now) + square/2 (c - now)^2 + l1 |c| + l2/2 c^2`` over c; 0 for a constant column."""
    pull = square * now - slope
    size = abs(pull) - l1
    if square <= 0.0 or size <= 0.0 or (positive and pull < 0.0):
        return 0.0
    return float(size / (square + l2) if pull > 0.0 else -size / (square + l2))


def normal_product(columns: Matrix, p: FloatArray) -> tuple[FloatArray, float]:
    """``X X'p`` (n,) and the largest component of ``X'p``, of a transposed block (d, n): one read.

    Examples
    --------
    >>> import numpy as np
    >>> normal_product(np.array([[1.0, 2.0]]), np.array([1.0, 1.0]))
    (array([3., 6.]), 3.0)
    """
    out = np.zeros(columns.shape[1])
    largest = _normal_product(as_rows(columns), columns.shape[0], frozen(p, np.float64), out)
    return out, largest


@compiled
def _normal_product(rows: Array, d: int, p: Array, out: Array) -> float:
    largest = 0.0
    for j in range(d):
        inner = column_dot(rows, j, p)
        largest = max(largest, abs(inner))
        if inner != 0.0:
            add_plain(rows, j, inner, out)
    return largest


def columns_product(columns: Matrix, w: FloatArray) -> FloatArray:
    """``X w`` (n,) of a transposed block (d, n), reading only the columns whose coefficient is not zero."""
    used = np.flatnonzero(w)
    if not len(used):
        return np.zeros(columns.shape[1])
    return np.asarray(columns[used].T @ w[used])


__all__ = ["ColumnStep", "columns_product", "descend_columns", "normal_product"]
