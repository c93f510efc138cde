"""All iterations of Lloyd's algorithm in one call, where an iteration takes less time than to call one.

For what the driver holds: a thousand candidates, a sample of the rows. Every row is measured against every
centre, which for a few centres of a few columns costs less than bounds would spare.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from daskml_kit.kernels.blocks import UNCOUNTED, as_column, frozen
from daskml_kit.typing import Array, FloatArray


def lloyd_of_few(
    points: Array, weight: Array, centers: Array, max_iter: int, tol: float
) -> FloatArray:
    """Centres (k, d) after at most so many iterations.

    Parameters
    ----------
    points : (n, d) near the origin: scores are ``|c|^2 / 2 - x.c``
    weight : (n,) at least 0
    centers : (k, d) to begin with
    tol : ends at a squared shift of at most that, over all centres

    Notes
    -----
    A centre without points stays where it is; of two centres equally near the first is taken. An iteration
    takes ``n k d`` multiply-adds, the centres of a row side by side. Releases the GIL.

    Examples
    --------
    >>> import numpy as np
    >>> points = np.array([[-5.0], [-4.0], [9.0]])
    >>> lloyd_of_few(points, np.ones(3), np.array([[-1.0], [0.0]]), 10, 0.0)
    array([[-4.5],
           [ 9. ]])
    """
    k, d = centers.shape
    out = np.array(centers, dtype=np.float64, order="C")
    room = np.empty((d, k)), np.empty(k), np.empty(k), np.empty((k, d)), np.empty(k)
    weights = as_column(weight, "weight", len(points))
    _run(frozen(points, np.float64), weights, out, *room, int(max_iter), float(tol))
    return out


@njit(cache=True, nogil=True, **UNCOUNTED)
def _run(
    X: Array,
    weight: Array,
    centers: Array,
    turned: Array,
    halves: Array,
    scores: Array,
    sums: Array,
    counts: Array,
    max_iter: int,
    tol: float,
) -> Any:
    (n, d), k = X.shape, len(centers)
    for _ in range(max_iter):
        for c in range(k):
            total = 0.0
            counts[c] = 0.0
            for j in range(d):
                turned[j, c] = centers[c, j]
                total += centers[c, j] * centers[c, j]
                sums[c, j] = 0.0
            halves[c] = 0.5 * total
        for i in range(n):
            for c in range(k):
                scores[c] = halves[c]
            for j in range(d):
                value = X[i, j]
                for c in range(k):
                    scores[c] -= value * turned[j, c]
            best, least = 0, scores[0]
            for c in range(1, k):
                if scores[c] < least:
                    best, least = c, scores[c]
            counts[best] += weight[i]
            for j in range(d):
                sums[best, j] += weight[i] * X[i, j]
        shift = 0.0
        for c in range(k):
            if counts[c] > 0.0:
                for j in range(d):
                    mean = sums[c, j] / counts[c]
                    shift += (mean - centers[c, j]) ** 2
                    centers[c, j] = mean
        if shift <= tol:
            break


__all__ = ["lloyd_of_few"]
