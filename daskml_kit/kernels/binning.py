"""Columns as the codes of bins: one small integer for each value."""

from __future__ import annotations

import numpy as np

from daskml_kit.kernels.blocks import compiled, frozen
from daskml_kit.typing import Array, FloatArray, IntArray


def encode(X: Array, edges: FloatArray, counts: IntArray, missing_bin: int) -> IntArray:
    """The bin of every value: the number of its feature's edges that lie below it.

    Parameters
    ----------
    X : (n, d) float32
    edges : (d, most) float64
        Ascending; of feature f the first ``counts[f] - 1`` count.
    counts : (d,) int32
    missing_bin : int
        The code of NaN, and the largest there is.

    Returns
    -------
    (n, d) uint8, or uint16 where ``missing_bin`` needs it

    Examples
    --------
    >>> X = np.array([[0.0], [0.5], [3.0], [np.nan]], dtype=np.float32)
    >>> encode(X, np.array([[0.5, 2.0]]), np.array([3], np.int32), 255).ravel()
    array([  0,   0,   2, 255], dtype=uint8)
    """
    dtype = np.uint8 if missing_bin < 256 else np.uint16
    out = np.empty(X.shape, dtype)
    _encode(frozen(X, np.float32), frozen(edges), frozen(counts), missing_bin, out)
    return out


@compiled
def _encode(X: Array, edges: Array, counts: Array, missing_bin: int, out: Array) -> None:
    n, d = X.shape
    for f in range(d):
        own, n_edges = edges[f], counts[f] - 1
        for i in range(n):
            x = X[i, f]
            low, size = 0, n_edges
            while size > 0:
                half = (size + 1) >> 1
                low = low + half if own[low + half - 1] < x else low
                size -= half
            out[i, f] = missing_bin if np.isnan(x) else low


__all__ = ["encode"]
