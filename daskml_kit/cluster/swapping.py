"""Local search on points that the driver holds: a centre goes where one is missing, if that costs less.

======================================  =====================================================
LocalSearch++ of the paper              here
======================================  =====================================================
1  sample p with cost(p, C) / cost      the same, with weights
2  the c whose place p takes best       found from each point's two nearest centres: one
                                        distance for each point, whatever the number of centres
3  swap if the cost falls               the same
4  Z steps                              :func:`steps_for`
======================================  =====================================================

Greedy k-means++ places two centres in one cluster and none in another now and then, and Lloyd's iterations
do not mend that; a swap does.

References
----------
Lattanzi, Sohler (2019). A better k-means++ algorithm via local search. ICML. Algorithm 2 (LocalSearch++).
"""

from __future__ import annotations

import numpy as np

from daskml_kit.runtime.random import generator
from daskml_kit.typing import Array, FloatArray, IntArray

WORK = 20_000_000
"""Values of points that are read in all steps: fewer steps than centres where they would be more."""


def steps_for(n_points: int, n_features: int, k: int) -> int:
    """So many swaps are tried.

    Examples
    --------
    >>> steps_for(1_000, 20, 100), steps_for(10_000, 32, 1_000)
    (100, 62)
    """
    return min(k, WORK // (n_points * n_features))


def swapped(
    points: Array, weights: FloatArray, centers: Array, seed: int, purpose: str
) -> FloatArray:
    """Centres (k, d) of no higher cost, some of them moved to points.

    Parameters
    ----------
    points : (m, d)
    weights : (m,) at least 0
    centers : (k, d), k at least 2
    seed, purpose
        Name the draws.

    Examples
    --------
    >>> import numpy as np
    >>> ends = np.array([[0.0], [0.1], [50.0], [100.0], [100.1]])
    >>> found = swapped(ends, np.ones(5), np.array([[0.0], [0.1], [100.0]]), 0, "demo")
    >>> 50.0 in found
    True
    """
    origin = np.average(points, axis=0, weights=weights)
    rows, places = points - origin, np.asarray(centers - origin, dtype=np.float64)
    norms = np.einsum("ij,ij->i", rows, rows)
    everywhere = np.arange(len(rows))
    near, gaps = np.empty((2, len(rows)), np.int64), np.empty((2, len(rows)))
    near[:], gaps[:] = _two_nearest(rows, norms, places)
    for draw in generator(seed, purpose).random(steps_for(len(rows), rows.shape[1], len(places))):
        sums = np.cumsum(weights * gaps[0])
        if not sums[-1] > 0.0:
            break
        at = min(int(np.searchsorted(sums, draw * sums[-1], side="right")), len(rows) - 1)
        new = np.maximum(norms - 2.0 * (rows @ rows[at]) + norms[at], 0.0)
        kept = np.minimum(new, gaps[0])
        left = weights * (np.minimum(new, gaps[1]) - kept)  # more, without the nearest centre
        costs = weights @ kept + np.bincount(near[0], left, len(places))
        out = int(np.argmin(costs))
        if costs[out] >= sums[-1] * (1.0 - 1e-12):
            continue
        places[out] = rows[at]
        again = everywhere[(near == out).any(axis=0)]
        closer = new < gaps[0]
        second = ~closer & (new < gaps[1])
        near[1] = np.where(closer, near[0], np.where(second, out, near[1]))
        gaps[1] = np.where(closer, gaps[0], np.where(second, new, gaps[1]))
        near[0], gaps[0] = np.where(closer, out, near[0]), np.where(closer, new, gaps[0])
        near[:, again], gaps[:, again] = _two_nearest(rows[again], norms[again], places)
    moved: FloatArray = places + origin
    return moved


def _two_nearest(
    rows: FloatArray, norms: FloatArray, places: FloatArray
) -> tuple[IntArray, FloatArray]:
    """(2, m) the nearest centre and the next, and the squared distances to them."""
    gaps = norms[:, None] - 2.0 * (rows @ places.T) + np.einsum("ij,ij->i", places, places)
    two = np.argpartition(gaps, 1, axis=1)[:, :2]
    found = np.take_along_axis(gaps, two, axis=1)
    order = np.argsort(found, axis=1, kind="stable")
    two, found = (np.take_along_axis(a, order, axis=1) for a in (two, found))
    return two.T, np.maximum(found, 0.0).T


__all__ = ["steps_for", "swapped"]
