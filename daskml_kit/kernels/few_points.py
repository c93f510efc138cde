"""All iterations of Lloyd's algorithm in one call, where an iteration takes less time than to call one.

For what the driver holds: a thousand candidates, a sample of the rows. Every row meets every centre, sixteen
rows at once (:mod:`daskml_kit.kernels.abreast_tiles`), which costs less than bounds would spare.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from daskml_kit.kernels.abreast import room_for, turned
from daskml_kit.kernels.abreast_tiles import TILE, Found, Placed, decided, place, search
from daskml_kit.kernels.aim import LEAST_REACH, tie_width
from daskml_kit.kernels.blocks import UNCOUNTED, as_column, frozen
from daskml_kit.kernels.nearest_tiles import lowest_of_tied
from daskml_kit.kernels.scores import score_error
from daskml_kit.typing import Array, FloatArray


def lloyd_of_few(
    points: Array, weight: Array, centers: Array, max_iter: int, tol: float
) -> FloatArray:
    """Centres (k, d) after at most so many iterations.

    Parameters
    ----------
    points : (n, d) near the origin: the nearer, the fewer are measured twice
    weight : (n,) at least 0
    centers : (k, d) to begin with
    tol : ends at a squared shift of at most that, over all centres

    Notes
    -----
    A centre without points stays where it is; of two centres equally near the first is taken. An iteration
    takes ``n k d`` multiply-adds in float32; what that leaves open is measured in float64. Memory: ``4 d``
    bytes a point. Releases the GIL.

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
    origin, weights = np.zeros(d), as_column(weight, "weight", len(points))
    rows = turned(points, origin)
    room, sums = room_for(k, d), (np.empty((k, d)), np.empty(k))
    widths = score_error(d), LEAST_REACH, tie_width(d)
    limits = int(max_iter), float(tol)
    X = frozen(points, np.float64)
    _run(X, weights, rows.lie.columns, out, rows.origin, rows.scale, *widths, *room, *sums, *limits)
    return out


@njit(cache=True, nogil=True, **UNCOUNTED)
def _run(
    X: Array,
    weight: Array,
    columns: Array,
    centers: Array,
    origin: Array,
    scale: float,
    error: float,
    least: float,
    tie: float,
    placed: Placed,
    found: Found,
    sums: Array,
    counts: Array,
    max_iter: int,
    tol: float,
) -> Any:
    (n, d), k = X.shape, len(centers)
    for _ in range(max_iter):
        place(centers, origin, scale, error, least, placed)
        for c in range(k):
            counts[c] = 0.0
            for j in range(d):
                sums[c, j] = 0.0
        for t in range(len(columns)):
            search(columns, t, placed, found)
            start = t * TILE
            for r in range(min(TILE, n - start)):
                i, c = start + r, int(found.label[r])
                if not decided(placed, tie, found, r):
                    c = lowest_of_tied(X, i, centers, tie)
                counts[c] += weight[i]
                for j in range(d):
                    sums[c, j] += weight[i] * X[i, j]
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
