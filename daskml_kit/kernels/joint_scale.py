"""Huber's loss with its scale: value and derivatives in coefficients and scale, in one read.

With residual ``r = y - X w``, scale ``c`` and threshold ``e``, a row's loss is the perspective of Huber's::

    c + r^2 / c              where |r| <= e c
    c + 2 e |r| - e^2 c      elsewhere

which is convex in w and c together, so the scale is estimated and not chosen.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from daskml_kit.kernels.blocks import Rows, as_column, as_rows, compiled, tile_rows
from daskml_kit.kernels.linear import check_coefficients, gram_width
from daskml_kit.kernels.products import mirrored
from daskml_kit.kernels.rows import add_rows, add_weighted, count_rows, dot_rows, load_rows
from daskml_kit.typing import Array, FloatArray, Matrix


class JointSums(NamedTuple):
    """Sums over the rows of a block. Adding field by field adds blocks.

    The derivatives are those in ``(w, c)``, the scale last; ``hessian`` is None for ``order=1``.
    """

    value: float
    gradient: FloatArray
    hessian: FloatArray | None


def joint_scale_sums(
    X: Matrix,
    y: Array,
    weight: Array | None,
    w: Array,
    scale: float,
    epsilon: float,
    *,
    fit_intercept: bool,
    order: int,
) -> JointSums:
    """Value, gradient and, for ``order=2``, Hessian of ``sum_i weight_i loss(y_i - eta_i, scale)``.

    Parameters
    ----------
    X
        (n, d) array or CSR matrix, float32 or float64. n may be 0.
    y
        (n,)
    weight
        (n,) weights at least 0, or None for ones.
    w
        (d + fit_intercept,), the intercept last.
    scale
        c, above 0.
    epsilon
        e, at least 1.
    order
        1 or 2

    Notes
    -----
    One pass over X. Releases the GIL.

    References
    ----------
    Huber, Ronchetti (2009). Robust Statistics, 2nd ed., section 7.7. Owen (2007). A robust hybrid of lasso
    and ridge regression. Contemp. Math. 443, section 3, for the joint convexity.

    Examples
    --------
    >>> import numpy as np
    >>> X, y = np.ones((2, 1)), np.array([1.0, 10.0])
    >>> joint_scale_sums(X, y, None, np.zeros(1), 1.0, 2.0, fit_intercept=False, order=1).value
    39.0
    """
    rows, d = as_rows(X), X.shape[1]
    targets, weights = as_column(y, "y", X.shape[0]), as_column(weight, "weight", X.shape[0])
    check_coefficients(X, w, fit_intercept, None)
    coef = np.zeros(d + 1)
    coef[: w.size] = w
    gradient, mixed = np.zeros((2, d + 1))
    width = gram_width(rows, d) if order == 2 else 0
    gram = np.zeros((width, width))
    value, slope, bend = _tiles(
        rows, targets, weights, coef, float(scale), float(epsilon), gradient, mixed, gram,
        tile_rows(d + 1),
    )  # fmt: skip
    whole = np.r_[gradient[: w.size], slope]
    if order == 1:
        return JointSums(value, whole, None)
    hessian = np.empty((w.size + 1, w.size + 1))
    hessian[:-1, :-1] = mirrored(gram, w.size)
    hessian[-1, :-1] = hessian[:-1, -1] = mixed[: w.size]
    hessian[-1, -1] = bend
    return JointSums(value, whole, hessian)


@compiled
def _tiles(
    rows: Rows,
    y: Array,
    weight: Array,
    coef: Array,
    scale: float,
    epsilon: float,
    gradient: Array,
    mixed: Array,
    gram: Array,
    tile_size: int,
) -> tuple[float, float, float]:
    """Value, first and second derivative in the scale; adds to the rest, which comes in as zeros."""
    n, d = count_rows(rows), coef.size - 1
    eta, slope = np.empty(tile_size), np.empty(tile_size)
    bend, cross = np.empty(tile_size), np.empty(tile_size)
    tile, left = np.zeros((tile_size, gram.shape[1])), np.zeros((tile_size, gram.shape[1]))
    value, first, second = 0.0, 0.0, 0.0
    for start in range(0, n, tile_size):
        stop = min(start + tile_size, n)
        dot_rows(rows, start, stop, coef, coef[d], eta)
        for i in range(stop - start):
            s = weight[start + i] if weight.size else 1.0
            u = (y[start + i] - eta[i]) / scale
            near = abs(u) <= epsilon
            clipped = u if near else (epsilon if u > 0.0 else -epsilon)
            square = clipped * clipped
            value += s * scale * (1.0 + (square if near else 2.0 * epsilon * abs(u) - square))
            first += s * (1.0 - square)
            slope[i] = -2.0 * s * clipped
            bend[i] = 2.0 * s / scale if near else 0.0
            cross[i] = bend[i] * u
            second += cross[i] * u
        add_rows(rows, start, stop, slope, gradient)
        if gram.size:
            add_rows(rows, start, stop, cross, mixed)
            load_rows(rows, start, stop, tile)
            add_weighted(rows, start, stop, bend, left, tile, gram)
    return value, first, second


__all__ = ["JointSums", "joint_scale_sums"]
