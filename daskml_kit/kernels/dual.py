"""Stochastic dual coordinate ascent over the rows of a block: one row's dual variable at a time.

With coefficients ``u`` that a change ``delta_i`` of row i's dual variable moves to
``u + scale s_i delta_i inverse x_i`` (``inverse``: one over each coefficient's L2 strength, s the weights),
each row's variable is set to its best in turn, in a given order of visits.

References
----------
Shalev-Shwartz, Zhang (2013). Stochastic dual coordinate ascent methods for regularized loss minimization.
JMLR 14, section 6 (steps in closed form or by a few Newton steps).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from daskml_kit.kernels.blocks import CsrRows, Rows, as_column, as_rows, compiled, frozen
from daskml_kit.kernels.compiled_loss import CompiledLoss, dual_step
from daskml_kit.kernels.linear import check_coefficients, specialised
from daskml_kit.kernels.rows import by_form
from daskml_kit.typing import Array, FloatArray, IntArray, Matrix


def dual_ascent(
    loss: CompiledLoss,
    X: Matrix,
    y: Array,
    weight: Array | None,
    alpha: FloatArray,
    u: FloatArray,
    *,
    inverse: FloatArray,
    scale: float,
    order: IntArray,
    fit_intercept: bool,
) -> tuple[FloatArray, FloatArray]:
    """The dual variables and coefficients after a visit of each row in ``order``.

    Parameters
    ----------
    loss
        One with ``dual_step``.
    X, y, weight
        As for :func:`~daskml_kit.kernels.linear.linear_sums`.
    alpha
        (n,) dual variables.
    u
        (d + fit_intercept,) coefficients; the intercept is last.
    inverse
        Of the shape of ``u``: what one unit of ``scale s_i delta_i x_i`` moves each coefficient by.
    scale
        sigma' over the total weight.
    order
        Rows, a permutation of them or several.
    fit_intercept
        Whether ``u`` holds an intercept.

    Returns
    -------
    alpha, u
        New arrays, float64.

    Notes
    -----
    A read of the rows for each permutation. Releases the GIL.

    Examples
    --------
    >>> import numpy as np
    >>> from daskml_kit.losses import HalfSquared
    >>> dual_ascent(
    ...     HalfSquared(), np.array([[1.0]]), np.array([2.0]), None, np.zeros(1), np.zeros(1),
    ...     inverse=np.ones(1), scale=1.0, order=np.arange(1), fit_intercept=False,
    ... )
    (array([1.]), array([1.]))
    """  # fmt: skip
    check_coefficients(X, u, fit_intercept, None)
    d = X.shape[1]
    targets, weights = as_column(y, "y", X.shape[0]), as_column(weight, "weight", X.shape[0])
    coef, strength = np.zeros(d + 1), np.zeros(d + 1)
    coef[: u.size], strength[: u.size] = u, inverse
    duals = np.array(alpha, dtype=np.float64)
    kernel = specialised(visit_rows, loss)
    visited = frozen(np.asarray(order, dtype=np.int64))
    kernel(loss, as_rows(X), targets, weights, duals, coef, strength, float(scale), visited)
    return duals, coef[: u.size].copy()


@compiled
def visit_rows(
    loss: CompiledLoss,
    rows: Rows,
    y: Array,
    weight: Array,
    alpha: Array,
    coef: Array,
    inverse: Array,
    scale: float,
    order: Array,
) -> None:
    """Sets ``alpha`` (n,) and ``coef`` (d + 1,), row by row."""
    for k in range(order.size):
        i = order[k]
        s = weight[i] if weight.size else 1.0
        if s == 0.0:
            continue
        eta, norm = dot_and_norm(rows, i, coef, inverse)
        after = dual_step(loss, y[i], eta, alpha[i], scale * s * norm)
        add_row(rows, i, scale * s * (after - alpha[i]), inverse, coef)
        alpha[i] = after


def dense_dot_and_norm(rows: Array, i: int, coef: Array, inverse: Array) -> Any:
    """``x_i . coef + intercept`` and ``sum_j inverse_j x_ij^2``, the intercept's one included."""
    row, d = rows[i], rows.shape[1]
    total, norm = 0.0, 0.0
    for j in range(d):
        total += row[j] * coef[j]
        norm += row[j] * row[j] * inverse[j]
    return total + coef[d], norm + inverse[d]


def sparse_dot_and_norm(rows: CsrRows, i: int, coef: Array, inverse: Array) -> Any:
    """The same of a CSR row."""
    total, norm, d = 0.0, 0.0, coef.size - 1
    for p in range(rows.starts[i], rows.starts[i + 1]):
        value, j = rows.values[p], rows.columns[p]
        total += value * coef[j]
        norm += value * value * inverse[j]
    return total + coef[d], norm + inverse[d]


def dense_add_row(rows: Array, i: int, step: float, inverse: Array, coef: Array) -> None:
    """``coef += step inverse x_i``."""
    row, d = rows[i], rows.shape[1]
    for j in range(d):
        coef[j] += step * inverse[j] * row[j]
    coef[d] += step * inverse[d]


def sparse_add_row(rows: CsrRows, i: int, step: float, inverse: Array, coef: Array) -> None:
    """The same of a CSR row."""
    d = coef.size - 1
    for p in range(rows.starts[i], rows.starts[i + 1]):
        j = rows.columns[p]
        coef[j] += step * inverse[j] * rows.values[p]
    coef[d] += step * inverse[d]


dot_and_norm = by_form(dense_dot_and_norm, sparse_dot_and_norm)
add_row = by_form(dense_add_row, sparse_add_row)

__all__ = ["dual_ascent"]
