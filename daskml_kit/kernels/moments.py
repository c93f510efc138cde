"""Weighted means and centred second moments of a block, and how to combine those of two blocks.

Enough for least squares, ridge, PCA and covariances: one read of the data, whatever is fitted.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from daskml_kit.exceptions import InvalidDataError
from daskml_kit.kernels import moments_tiles
from daskml_kit.kernels.blocks import CsrRows, as_column, as_rows, frozen, tile_rows
from daskml_kit.kernels.products import mirrored, padded
from daskml_kit.typing import Array, FloatArray, Matrix


class Moments(NamedTuple):
    """First and second moments; the second are sums about the means. All float64.

    ==============  ==========================================================
    ``weight_sum``  ``W = sum_i s_i``, s the weights
    ``n_rows``      rows whose weight is not 0
    ``mean_x``      (d,)  ``sum_i s_i x_i / W``; zeros where W is 0
    ``mean_y``      (t,)  the same for Y
    ``xx``          (d, d)  ``sum_i s_i (x_i - mean_x) (x_i - mean_x)'``
    ``xy``          (d, t)  ``sum_i s_i (x_i - mean_x) (y_i - mean_y)'``
    ``yy``          (t,)  ``sum_i s_i (y_i - mean_y)^2``
    ==============  ==========================================================
    """

    weight_sum: float
    n_rows: int
    mean_x: FloatArray
    mean_y: FloatArray
    xx: FloatArray
    xy: FloatArray
    yy: FloatArray


def moments(X: Matrix, Y: Array | None, weight: Array | None) -> Moments:
    """Moments of one block.

    Parameters
    ----------
    X
        (n, d) array or CSR matrix, float32 or float64. n may be 0.
    Y
        (n, t) or (n,) targets, or None for t = 0.
    weight
        (n,) weights at least 0, or None for ones.

    Raises
    ------
    InvalidDataError, InvalidDataTypeError
        A shape or type does not fit.

    Notes
    -----
    One pass. A dense X and Y are shifted by the means of the block's first tile before anything is
    summed, so data far from the origin keep their digits: with offset 1e8 and spread 1, ``xx`` is
    right to about 8 digits, as the data are, and not to none. CSR is not shifted, a zero would not
    stay one: a column of mean m and deviation s loses ``2 log10(m / s)`` digits.

    Memory beside the result: two tiles of 32 KB. Releases the GIL.

    References
    ----------
    Chan, Golub and LeVeque (1983), "Algorithms for computing the sample variance", on shifting.

    Examples
    --------
    >>> import numpy as np
    >>> total = moments(np.array([[1.0], [3.0]]), np.array([2.0, 6.0]), None)
    >>> total.mean_x, total.xx, total.xy, total.yy
    (array([2.]), array([[2.]]), array([[4.]]), array([8.]))
    """
    rows, n = as_rows(X), X.shape[0]
    targets, weights = as_targets(Y, n), as_column(weight, "weight", n)
    if isinstance(rows, CsrRows):
        shift, sums = _sparse_sums(rows, targets, weights, X.shape[1])
    else:
        shift, sums = _dense_sums(rows, targets, weights, X.shape[1])
    n_rows = int(np.count_nonzero(weights)) if weight is not None else n
    return centred(shift, sums, n_rows, X.shape[1])


def as_targets(Y: Array | None, n_rows: int) -> FloatArray:
    """Y as read-only float64 (n, t)."""
    if Y is None:
        return frozen(np.empty((n_rows, 0)))
    if Y.ndim not in (1, 2) or Y.shape[0] != n_rows:
        raise InvalidDataError(
            f"Y must have shape ({n_rows},) or ({n_rows}, t) for X of {n_rows} rows, "
            f"got {Y.shape}. Slice Y with the same rows as X."
        )
    return frozen(Y if Y.ndim == 2 else Y[:, None], np.float64)


def _dense_sums(
    rows: Array, targets: Array, weight: Array, d: int
) -> tuple[FloatArray, FloatArray]:
    """Shift (d + t,), and sums (d + t + 1, d + t + 1) of ``z z'`` for ``z = (x, y, 1)`` shifted."""
    width = d + targets.shape[1] + 1
    size = tile_rows(padded(width))
    shift = np.r_[first_mean(rows, size), first_mean(targets, size)]
    gram = np.zeros((padded(width),) * 2)
    moments_tiles.dense(rows, targets, weight, shift, gram, size)
    return shift, mirrored(gram, width)


def _sparse_sums(
    rows: CsrRows, targets: Array, weight: Array, d: int
) -> tuple[FloatArray, FloatArray]:
    """The same with X not shifted; of Y's part only what ``Moments`` needs is filled in."""
    t = targets.shape[1]
    size = tile_rows(t)
    shift = np.r_[np.zeros(d), first_mean(targets, size)]
    gram, cross, squares = np.zeros((d + 1, d + 1)), np.zeros((d + 1, t)), np.zeros(t)
    moments_tiles.sparse(rows, targets, weight, shift[d:], gram, cross, squares, size)
    x, y, one = np.arange(d), np.arange(d, d + t), d + t
    sums = np.zeros((d + t + 1,) * 2)
    sums[np.ix_(np.r_[x, one], np.r_[x, one])] = mirrored(gram, d + 1)
    sums[np.ix_(np.r_[x, one], y)] = cross
    sums[y, one], sums[y, y] = cross[d], squares
    return shift, sums


def first_mean(values: Array, size: int) -> FloatArray:
    """Mean of the first rows: near the data, which is all that a shift needs."""
    head = values[:size].astype(np.float64)
    return head.mean(axis=0) if len(head) else np.zeros(values.shape[1])


def centred(shift: Array, sums: Array, n_rows: int, d: int) -> Moments:
    """Moments from sums about ``shift``: ``sum z z' - (sum z)(sum z)' / W``."""
    weight_sum, total = float(sums[-1, -1]), sums[:-1, -1]
    if weight_sum == 0.0:
        return Moments(0.0, n_rows, *(np.zeros(s) for s in _shapes(d, len(shift) - d)))
    mean = shift + total / weight_sum
    second = sums[:-1, :-1] - np.outer(total, total / weight_sum)
    xx, xy, yy = second[:d, :d].copy(), second[:d, d:].copy(), np.diag(second)[d:].copy()
    # Rounding may leave a constant column at minus a tiny number.
    xx[np.diag_indices(d)] = np.maximum(np.diag(xx), 0.0)
    return Moments(
        weight_sum, n_rows, mean[:d].copy(), mean[d:].copy(), xx, xy, np.maximum(yy, 0.0)
    )


def _shapes(d: int, t: int) -> list[tuple[int, ...]]:
    return [(d,), (t,), (d, d), (d, t), (t,)]


def combine_moments(a: Moments, b: Moments) -> Moments:
    """Moments of the rows of both; neither input is changed.

    ``M = M_a + M_b + W_a W_b / W  delta delta'`` with ``delta = mean_b - mean_a``. Associative and
    commutative to rounding.

    References
    ----------
    Chan, Golub and LeVeque (1983), equation 1.5, with weights for counts.

    Examples
    --------
    >>> import numpy as np
    >>> one = moments(np.array([[1.0]]), None, None)
    >>> other = moments(np.array([[3.0]]), None, None)
    >>> combine_moments(one, other).xx
    array([[2.]])
    """
    weight_sum, n_rows = a.weight_sum + b.weight_sum, a.n_rows + b.n_rows
    share = b.weight_sum / weight_sum if weight_sum else 0.0
    dx, dy = b.mean_x - a.mean_x, b.mean_y - a.mean_y
    between = a.weight_sum * share
    return Moments(
        weight_sum,
        n_rows,
        # A block without weight has no mean of its own: its zeros must not come near the other's.
        a.mean_x + share * dx if share < 1.0 else b.mean_x.copy(),
        a.mean_y + share * dy if share < 1.0 else b.mean_y.copy(),
        a.xx + b.xx + between * np.outer(dx, dx),
        a.xy + b.xy + between * np.outer(dx, dy),
        a.yy + b.yy + between * dy * dy,
    )


__all__ = ["Moments", "combine_moments", "moments"]
