"""The kernels again, in the plainest NumPy: what the fast ones are tested against.

Same names, arguments and results. Memory n x k, several passes, CSR made dense: for small data.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from daskml_kit.kernels.aim import TIE
from daskml_kit.kernels.exact_sums import Grid
from daskml_kit.kernels.linear import LinearSums
from daskml_kit.kernels.moments import Moments
from daskml_kit.kernels.nearest import Assignment
from daskml_kit.typing import Array, FloatArray, IntArray, Matrix


def dense(X: Matrix) -> FloatArray:
    """X as a float64 array."""
    return np.asarray(X.toarray() if sparse.issparse(X) else X, dtype=np.float64)


def ones_if_none(weight: Array | None, n_rows: int) -> FloatArray:
    """Weights in float64."""
    return np.ones(n_rows) if weight is None else np.asarray(weight, dtype=np.float64)


def linear_sums(
    loss: object,
    X: Matrix,
    y: Array,
    weight: Array | None,
    w: Array,
    *,
    fit_intercept: bool,
    order: int,
) -> LinearSums:
    """See :func:`daskml_kit.kernels.linear.linear_sums`; by the loss's NumPy methods."""
    A = np.c_[dense(X), np.ones(X.shape[0])] if fit_intercept else dense(X)
    eta = A @ w.T
    value, slope = loss.value_gradient(y, eta, weight)  # type: ignore[attr-defined]
    if order == 1:
        return LinearSums(value, slope.T @ A, None)
    bend = loss.curvature(y, eta, weight)  # type: ignore[attr-defined]
    if w.ndim == 1:
        return LinearSums(value, slope.T @ A, (A.T * bend) @ A)
    hessian = np.einsum("ip,iab,iq->apbq", A, bend, A)
    return LinearSums(value, slope.T @ A, hessian.reshape(w.size, w.size))


def moments(X: Matrix, Y: Array | None, weight: Array | None) -> Moments:
    """See :func:`daskml_kit.kernels.moments.moments`; in two passes, first the means."""
    A, s = dense(X), ones_if_none(weight, X.shape[0])
    B = np.empty((len(A), 0)) if Y is None else np.asarray(Y, dtype=np.float64)
    B = B[:, None] if B.ndim == 1 else B
    total = float(s.sum())
    mean_x, mean_y = (s @ A, s @ B) if total == 0.0 else (s @ A / total, s @ B / total)
    U, V = A - mean_x, B - mean_y
    xx, xy, yy = (U.T * s) @ U, (U.T * s) @ V, s @ V**2
    return Moments(total, int(np.count_nonzero(s)), mean_x, mean_y, xx, xy, yy)


def squared_distances(X: Matrix, centers: Array) -> FloatArray:
    """``|x_i - c_k|^2``, shape (n, k)."""
    gaps = dense(X)[:, None, :] - np.asarray(centers, dtype=np.float64)
    return np.asarray((gaps**2).sum(axis=2))


def transform_distances(X: Matrix, centers: Array) -> FloatArray:
    """See :func:`daskml_kit.kernels.nearest.transform_distances`."""
    return np.asarray(np.sqrt(squared_distances(X, centers)))


def nearest(X: Matrix, centers: Array, origin: Array | None = None) -> tuple[IntArray, FloatArray]:
    """See :func:`daskml_kit.kernels.nearest.nearest`."""
    distances = squared_distances(X, centers)
    least = distances.min(axis=1, keepdims=True)
    labels = (distances <= least * (1.0 + TIE)).argmax(axis=1)  # the first of those that are equal
    return labels.astype(np.int32), distances[np.arange(len(distances)), labels]


def assign(
    X: Matrix,
    weight: Array | None,
    centers: Array,
    grid: Grid,
    *,
    origin: Array | None = None,
    with_labels: bool = False,
) -> Assignment:
    """See :func:`daskml_kit.kernels.nearest.assign`; plain sums, as coarse pieces."""
    labels, distances = nearest(X, centers)
    s = ones_if_none(weight, X.shape[0])
    member = (labels[:, None] == np.arange(len(centers))) * s[:, None]
    sums = np.c_[member.T @ dense(X), member.sum(axis=0)]
    pieces = np.stack([sums, np.zeros_like(sums)], axis=1)
    return Assignment(pieces, float(s @ distances), labels if with_labels else None)


__all__ = ["assign", "linear_sums", "moments", "nearest", "transform_distances"]
