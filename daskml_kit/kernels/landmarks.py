"""Kernel values between rows and a few landmarks: what Nystroem's method sees of a block."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from daskml_kit.kernels.blocks import check_block
from daskml_kit.typing import FloatArray, Matrix


def rbf_values(X: Matrix, landmarks: FloatArray, gamma: float) -> FloatArray:
    """``exp(-gamma |x_i - z_j|^2)`` (n, m) in float64. Memory n m.

    Squared distances by matrix product about the landmarks' mean: an error of e in them is one of ``gamma e``
    in the exponent.

    Examples
    --------
    >>> import numpy as np
    >>> rbf_values(np.zeros((1, 2)), np.array([[0.0, 0.0], [1.0, 0.0]]), 0.0)
    array([[1., 1.]])
    """
    check_block(X)
    origin = landmarks.mean(axis=0)
    points = landmarks - origin
    lengths = np.einsum("jk,jk->j", points, points)
    if sparse.issparse(X):
        # |x - z|^2 = |x|^2 - 2 x.z + |z|^2, with x far from no origin but zero
        rows, points = X.astype(np.float64), landmarks
        squares = np.asarray(rows.multiply(rows).sum(axis=1)).reshape(-1, 1)
        gaps = squares - 2.0 * (rows @ points.T) + np.einsum("jk,jk->j", points, points)
    else:
        rows = np.asarray(X, dtype=np.float64) - origin
        gaps = np.einsum("ij,ij->i", rows, rows)[:, None] - 2.0 * (rows @ points.T) + lengths
    values: FloatArray = np.exp(-gamma * np.maximum(gaps, 0.0))
    return values


__all__ = ["rbf_values"]
