"""Coordinate descent on the quadratic model of a softmax: the local step of classes fitted by columns.

::

    minimise over C    <G, X(C - W)> + 1/2 sum_i s_i z_i'(diag p_i - p_i p_i')z_i + l1 |C|_1 + l2/2 |C|^2

    z_i = row i of X(C - W) + 1b'

with ``G`` the gradient of the loss in the raw predictions, (n, K), and ``p_i`` the probabilities there, so
the model is the loss to second order. An intercept b is a column of ones without a penalty. One class alone
(K = 1) is the model of the logistic loss, of curvature ``s p (1 - p)``.

The model's gradient in the predictions is ``G_k + s p_k (z_k - q)`` with ``q_i = p_i.z_i``: a step of one
coefficient moves one column of z, and q, so it costs a read of one column whatever the number of classes.

The block comes transposed: a column of the data is a row in memory. Dense columns are seen less their mean,
which is no part of the data.

References
----------
Friedman, Hastie, Tibshirani (2010). Regularization paths for generalized linear models via coordinate
descent. J. Stat. Softw. 33, section 4 (without its cut to one class at a time).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from daskml_kit.kernels.blocks import CsrRows, as_rows, compiled, frozen
from daskml_kit.kernels.column_descent import minimiser
from daskml_kit.kernels.rows import by_form
from daskml_kit.typing import Array, FloatArray, Matrix


class ClassStep(NamedTuple):
    """The model's minimiser, as far as the sweeps came, of ``d`` columns, ``n`` rows and ``K`` classes."""

    coef: FloatArray  # (d, K)
    intercept: FloatArray  # (K,) step of the intercepts, for columns less their means
    product: FloatArray  # (n, K) what the predictions gain


def descend_classes(
    columns: Matrix,
    w: FloatArray,
    gradient: FloatArray,
    probability: FloatArray,
    weight: FloatArray,
    strengths: tuple[float, float],
    *,
    means: FloatArray | None = None,
    fit_intercept: bool = True,
    max_sweeps: int = 1,
    enough: float = 0.0,
) -> ClassStep:
    """One sweep over all columns and classes, and more over the coefficients that are in use.

    Parameters
    ----------
    columns : (d, n) array or CSR matrix, the transposed block, float32 or float64
    w : (d, K) where to start
    gradient, probability : (n, K)
    weight : (n,) of the rows
    strengths : l1, l2
    means : (d,) taken off the columns as they are read; None for nothing. CSR must have none
    fit_intercept : whether there is an intercept a class
    max_sweeps : the first over all coefficients, the others over those that moved or are not zero
    enough : sweeps end when the largest squared step, in units of the objective, is below this share of the
        first sweep's

    Returns
    -------
    ClassStep

    Notes
    -----
    Memory: five vectors of n a class. Releases the GIL.

    Examples
    --------
    >>> import numpy as np
    >>> columns, p = np.array([[1.0, -1.0]]), np.full((2, 1), 0.5)
    >>> step = descend_classes(
    ...     columns, np.zeros((1, 1)), np.array([[-1.0], [1.0]]), p, np.ones(2), (1.0, 0.0)
    ... )
    >>> step.coef, step.product
    (array([[2.]]), array([[ 2.],
           [-2.]]))
    """
    n, n_classes = gradient.shape
    coef = np.array(w, dtype=np.float64)
    p = np.ascontiguousarray(probability.T)
    moved, inner = np.zeros((n_classes, n)), np.zeros(n)
    intercept = np.zeros(n_classes)
    _descend_classes(
        as_rows(columns), frozen(np.zeros(len(coef)) if means is None else means, np.float64),
        frozen(gradient.T, np.float64), frozen(p), frozen(p * weight), float(strengths[0]),
        float(strengths[1]), fit_intercept, max_sweeps, float(enough), coef, intercept, moved, inner,
    )  # fmt: skip
    return ClassStep(coef, intercept, moved.T)


@compiled
def _descend_classes(
    rows: Array,
    means: Array,
    gradient: Array,
    p: Array,
    weighted: Array,
    l1: float,
    l2: float,
    fit_intercept: bool,
    max_sweeps: int,
    enough: float,
    coef: Array,
    intercept: Array,
    moved: Array,
    inner: Array,
) -> None:
    """Moves ``coef`` and ``intercept``; ``moved`` and ``inner`` are z by class, and q."""
    d, n_classes = coef.shape
    squares = np.empty((d, n_classes))
    used = np.empty((d, n_classes), np.bool_)
    first, largest, sweep = 0.0, 0.0, np.int64(0)
    while sweep < max_sweeps and (sweep == 0 or largest > enough * first):
        largest = 0.0
        for j in range(d):
            for k in range(n_classes):
                if sweep == 0:
                    squares[j, k] = class_square(rows, j, means[j], p[k], weighted[k])
                elif not used[j, k]:
                    continue
                slope = class_slope(rows, j, means[j], gradient[k], weighted[k], moved[k], inner)
                before = coef[j, k]
                after = minimiser(before, slope, squares[j, k], l1, l2, False)
                if sweep == 0:
                    used[j, k] = after != 0.0 or before != 0.0
                if after != before:
                    largest = max(largest, (after - before) ** 2 * (squares[j, k] + l2))
                    class_add(rows, j, means[j], after - before, p[k], moved[k], inner)
                    coef[j, k] = after
        if fit_intercept:
            for k in range(n_classes):
                largest = max(
                    largest, _step_of_intercept(gradient, p, weighted, k, intercept, moved, inner)
                )
        if sweep == 0:
            first = largest
        sweep += 1


@compiled
def _step_of_intercept(
    gradient: Array, p: Array, weighted: Array, k: int, intercept: Array, moved: Array, inner: Array
) -> float:
    """The best intercept of one class; the squared step in units of the objective."""
    slope, square = 0.0, 0.0
    for i in range(inner.size):
        slope += gradient[k, i] + weighted[k, i] * (moved[k, i] - inner[i])
        square += weighted[k, i] * (1.0 - p[k, i])
    if square <= 0.0:
        return 0.0
    step = -slope / square
    intercept[k] += step
    for i in range(inner.size):
        moved[k, i] += step
        inner[i] += step * p[k, i]
    return float(step * step * square)


def dense_slope(
    rows: Array,
    j: int,
    mean: float,
    gradient: Array,
    weighted: Array,
    moved: Array,
    inner: Array,
) -> float:
    """Of one coefficient of the column x: ``(x - mean).(G + s p (z - q))``."""
    total = 0.0
    for i in range(rows.shape[1]):
        total += (rows[j, i] - mean) * (gradient[i] + weighted[i] * (moved[i] - inner[i]))
    return total


def sparse_slope(
    rows: CsrRows,
    j: int,
    mean: float,
    gradient: Array,
    weighted: Array,
    moved: Array,
    inner: Array,
) -> float:
    """The same over the stored values; there is no mean."""
    total = 0.0
    for at in range(rows.starts[j], rows.starts[j + 1]):
        i = rows.columns[at]
        total += rows.values[at] * (gradient[i] + weighted[i] * (moved[i] - inner[i]))
    return total


def dense_bend(rows: Array, j: int, mean: float, p: Array, weighted: Array) -> float:
    """``(x - mean)'diag(s p (1 - p))(x - mean)``."""
    total = 0.0
    for i in range(rows.shape[1]):
        x = rows[j, i] - mean
        total += x * x * weighted[i] * (1.0 - p[i])
    return total


def sparse_bend(rows: CsrRows, j: int, mean: float, p: Array, weighted: Array) -> float:
    """The same over the stored values."""
    total = 0.0
    for at in range(rows.starts[j], rows.starts[j + 1]):
        i, x = rows.columns[at], rows.values[at]
        total += x * x * weighted[i] * (1.0 - p[i])
    return total


def dense_move(
    rows: Array, j: int, mean: float, step: float, p: Array, moved: Array, inner: Array
) -> None:
    """What a step of one coefficient does to z and q."""
    for i in range(rows.shape[1]):
        gain = step * (rows[j, i] - mean)
        moved[i] += gain
        inner[i] += gain * p[i]


def sparse_move(
    rows: CsrRows, j: int, mean: float, step: float, p: Array, moved: Array, inner: Array
) -> None:
    """The same over the stored values."""
    for at in range(rows.starts[j], rows.starts[j + 1]):
        i, gain = rows.columns[at], step * rows.values[at]
        moved[i] += gain
        inner[i] += gain * p[i]


class_slope = by_form(dense_slope, sparse_slope)
class_square = by_form(dense_bend, sparse_bend)
class_add = by_form(dense_move, sparse_move)

__all__ = ["ClassStep", "descend_classes"]
