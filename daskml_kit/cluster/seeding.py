"""Greedy weighted k-means++ of points that the driver holds, several tries in the same matrix products.

=========================================  ======================================================
Arthur and Vassilvitskii's k-means++       here
=========================================  ======================================================
1a  c_1 uniformly at random                in proportion to its weight
1b  x with D(x)^2 / sum D(x)^2             the best of ``2 + log k`` drawn so, with weights: greedy,
                                           as in scikit-learn
1c  until k are chosen                     the same; all tries take their step together
=========================================  ======================================================

References
----------
Arthur, Vassilvitskii (2007). k-means++: the advantages of careful seeding. SODA. Section 2.2, and the
greedy choice of the conclusion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from daskml_kit.runtime.random import generator
from daskml_kit.typing import Array, FloatArray, IntArray


def seeded(
    points: FloatArray, weights: FloatArray, k: int, seed: int, purposes: Sequence[str]
) -> list[FloatArray]:
    """For each purpose k of the points, by draws of its own.

    Parameters
    ----------
    points : (m, d)
    weights : (m,) at least 0, not all 0
    k : so many centres; where there are no more points than that, all of them, the first repeated

    Notes
    -----
    Memory: ``(2 + log k) m`` numbers a try. Distances come from a matrix product about the mean.

    Examples
    --------
    >>> import numpy as np
    >>> ends = np.array([[0.0], [0.1], [100.0], [100.1]])
    >>> [np.sort(np.round(one.ravel())).tolist() for one in seeded(ends, np.ones(4), 2, 0, "ab")]
    [[0.0, 100.0], [0.0, 100.0]]
    """
    if len(points) <= k:
        return [padded(points, k) for _ in purposes]
    n_trials = 2 + int(np.log(k))
    draws = np.stack([generator(seed, name).random((k, n_trials)) for name in purposes])
    tries = Tries.begun(points, weights, draws[:, 0, 0])
    chosen = [tries.last, *(tries.step(draws[:, step]) for step in range(1, k))]
    return [points[own] for own in np.stack(chosen, axis=1)]


def padded(points: FloatArray, k: int) -> FloatArray:
    """k centres of at most k points: the first is repeated for what is missing."""
    missing = k - len(points)
    return np.concatenate([points, np.repeat(points[:1], missing, axis=0)])


@dataclass(eq=False)
class Tries:
    """Tries (t of them) after some steps."""

    rows: FloatArray
    """(m, d) about their mean."""
    norms: FloatArray
    """(m,) squared lengths."""
    weights: FloatArray
    """(m,)"""
    square: FloatArray
    """(t, m) squared distance to the nearest centre."""
    last: IntArray
    """(t,) the points chosen last."""

    @classmethod
    def begun(cls, points: FloatArray, weights: FloatArray, draws: FloatArray) -> Tries:
        """The first centre of each try, by one draw (t,) of [0, 1)."""
        rows = points.astype(np.float64) - np.average(points, axis=0, weights=weights)
        norms = np.einsum("ij,ij->i", rows, rows)
        first = _drawn(np.cumsum(weights), draws)
        tries = cls(rows, norms, weights, np.full((len(draws), len(rows)), np.inf), first)
        tries.square = tries.gaps(first)
        return tries

    def gaps(self, chosen: IntArray) -> FloatArray:
        """Squared distances of some of the points to all."""
        gaps: FloatArray = self.rows[chosen] @ self.rows.T
        gaps *= -2.0
        gaps += self.norms
        gaps += self.norms[chosen][:, None]
        return np.maximum(gaps, 0.0, out=gaps)

    def step(self, draws: FloatArray) -> IntArray:
        """One centre more for each try, the best of some (t, n_trials)."""
        sums = np.cumsum(self.square * self.weights, axis=1)
        trials = np.stack([_drawn(own, draw) for own, draw in zip(sums, draws, strict=True)])
        gaps = self.gaps(trials.ravel()).reshape(*trials.shape, -1)
        np.minimum(gaps, self.square[:, None], out=gaps)
        each, best = np.arange(len(trials)), np.argmin(gaps @ self.weights, axis=1)
        self.square, self.last = gaps[each, best], trials[each, best]
        return self.last


def _drawn(sums: Array, draws: Array) -> IntArray:
    """The places where running sums of masses pass draws of [0, 1) times their total."""
    places: IntArray = np.searchsorted(sums, draws * sums[-1], side="right")
    return np.minimum(places, len(sums) - 1)


__all__ = ["padded", "seeded"]
