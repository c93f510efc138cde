"""Centres refined on the driver: on the candidates of k-means||, then on a sample of the rows.

Lloyd's algorithm needs most of its iterations to find out roughly where the centres belong, and a sample of
the rows tells that as well as all of them, at a small part of the cost. What is left for all rows are the
last few iterations.

The sample has :data:`ROWS_EACH` rows for each centre, in proportion to their weights (:func:`sample_of`). A
centre that has no rows there, since its cluster is small, stays where k-means|| found it.

References
----------
Bradley, Fayyad (1998). Refining initial points for k-means clustering. ICML. There several samples are
clustered, and the solutions clustered again; here one, from a start that knows all rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from daskml_kit.cluster.assignment import At, Labelled, labelling, tally
from daskml_kit.cluster.grouping import Groups, groups_for
from daskml_kit.cluster.selection import Chosen
from daskml_kit.kernels.exact_sums import Grid, grid_for
from daskml_kit.kernels.few_points import lloyd_of_few
from daskml_kit.runtime.block import Block
from daskml_kit.typing import FloatArray

ROWS_EACH = 1_000
"""Rows of the sample for each centre."""

LEAST_ROWS_EACH = 50
"""With fewer rows a centre, their mean is no better than where k-means|| left it."""

SHARE = 16
"""The sample is at most one in so many rows: its iterations are the driver's alone."""

SAMPLE_VALUES = 1 << 21
"""Values of the sample at most: 16 MB of float64."""

MAX_ITER, TOL = 300, 1e-4
"""Squared shift of the centres that ends it, in mean variances of the sample's columns: as of KMeans."""

ROUGH_SHARE, ROUGH_TOL = 4, 1e-3
"""Of several starts the best after their iterations on a quarter of the sample goes on on all of it. Measured
on six sets of data (a photograph, overlapping and unbalanced blobs, heavy tails), median cost on all rows
within 0.2 % of that of the best of three taken to the end, in 30 to 60 % of the time."""

WORK = 20_000_000_000
"""Rows of the sample times centres times columns, over the iterations of all starts: fewer iterations where
they would need more, but :data:`LEAST_ITER`. With 200 centres and 20 columns a start took 2.6 s to its
end, and takes 0.6; with 20 centres and 50 columns none is cut short."""

LEAST_ITER = 10

FEW_TERMS = 8_000_000
"""Rows times centres times columns of an iteration that a compiled loop takes, without bounds. Measured, 30
iterations: 16,000 x 3 rows with 16 centres 5 ms in place of 7, 5,000 x 20 with 20 centres 5 and 17,
20,000 x 20 with 20 24 and 46, but 20,000 x 50 with 20 64 and 44."""


def sample_size(k: int, n_rows: int, n_features: int) -> int:
    """Rows of the sample, 0 where they would be too few to help.

    Examples
    --------
    >>> sample_size(20, 1_000_000, 50), sample_size(1_000, 200_000, 32), sample_size(8, 2_000, 4)
    (20000, 0, 0)
    """
    size = min(ROWS_EACH * k, n_rows // SHARE, SAMPLE_VALUES // n_features)
    return size if size >= LEAST_ROWS_EACH * k else 0


def rough_size(k: int, size: int) -> int:
    """Rows of the sample on which all finalists go as far as it tells, 0 where they would be too few.

    Examples
    --------
    >>> rough_size(20, 20_000), rough_size(20, 2_000)
    (5000, 0)
    """
    few = size // ROUGH_SHARE
    return few if few >= LEAST_ROWS_EACH * k else 0


def iterations(work: int, n_starts: int) -> int:
    """Iterations on the sample from each start at most, where one takes ``work``: the driver's alone.

    Examples
    --------
    >>> iterations(20_000 * 20 * 50, 3), iterations(105_000 * 200 * 20, 3), iterations(10**10, 1)
    (300, 15, 10)
    """
    return max(min(MAX_ITER, WORK // (work * n_starts)), LEAST_ITER)


def sample_of(chosen: Chosen, size: int) -> tuple[FloatArray, FloatArray]:
    """``size`` rows in their global order, and the weights that they stand for.

    With ``t`` the smallest key of a row that was not drawn, so of one row more, row i of weight ``w`` had
    the chance ``1 - exp(-w t)``, and stands for ``w`` over that (Cohen, Kaplan 2007, Summarizing data using
    bottom-k sketches). A sample of all rows has their own weights.
    """
    complete = len(chosen.keys) <= size
    weights = chosen.weights[:size]
    if not complete:
        weights = weights / -np.expm1(-weights * chosen.keys[size])
    order = np.argsort(chosen.rows[:size])
    return chosen.points[:size][order], weights[order]


@dataclass(frozen=True, eq=False)
class Points:
    """Weighted points about their mean, in one block of this process."""

    block: Block
    origin: FloatArray
    """(d,) what was taken off."""
    grid: Grid
    dtype: np.dtype[Any]

    @classmethod
    def of(cls, points: FloatArray, weights: FloatArray) -> Points:
        """Of points (m, d) and weights (m,)."""
        origin = points.mean(axis=0, dtype=np.float64)
        rows = points.astype(np.float64) - origin
        largest = np.append(np.abs(rows).max(axis=0), 1.0) * weights.max()
        return cls(Block(rows, weight=weights), origin, grid_for(largest, len(rows)), points.dtype)

    def lloyd(self, start: FloatArray, max_iter: int, tol: float) -> FloatArray:
        """Centres (k, d) after at most so many iterations.

        Ends at a squared shift of at most ``tol``. A centre without points stays where it is. Bounds spare
        distances where these are many.
        """
        centers = start.astype(np.float64) - self.origin
        if self.block.n_rows * start.size <= FEW_TERMS:
            weight = self.block.weight
            assert weight is not None
            ended = lloyd_of_few(np.asarray(self.block.X), weight, centers, max_iter, tol)
        else:
            ended = self._with_bounds(centers, max_iter, tol)
        out: FloatArray = (ended + self.origin).astype(self.dtype)
        return out

    def _with_bounds(self, centers: FloatArray, max_iter: int, tol: float) -> FloatArray:
        block = self.block
        groups = groups_for(
            "auto", centers, n_rows=block.n_rows, nbytes=block.nbytes, n_runs=1, sparse=False
        )
        self.block.scratch.clear()
        for _ in range(max_iter):
            found = STEP([self.block], self._at(centers, groups))
            taken = found.counts[:, None]
            moved = np.where(taken > 0, found.sums / np.where(taken > 0, taken, 1.0), centers)
            shift, centers = float(np.sum((moved - centers) ** 2)), moved
            if shift <= tol:
                break
        return centers

    def converged(self, start: FloatArray, n_starts: int, tol: float = TOL) -> FloatArray:
        """Centres (k, d), as far as a sample of rows can tell where they belong.

        Or as far as their share of the work allows: ``n_starts`` are refined in all.
        """
        max_iter = iterations(self.block.n_rows * start.size, n_starts)
        return self.lloyd(start, max_iter, tol * self.variance)

    @cached_property
    def variance(self) -> float:
        """Mean variance of the columns."""
        X, weight = np.asarray(self.block.X), self.block.weight
        gaps = X - np.average(X, axis=0, weights=weight)
        squares = np.einsum("ij,ij->i", gaps, gaps)
        return float(np.average(squares, weights=weight) / X.shape[1])

    def cost(self, centers: FloatArray) -> float:
        """Weighted sum of squared distances."""
        found: Labelled = COST([self.block], self._at(centers - self.origin, None))
        return found.inertia

    def in_order(self, ends: Sequence[FloatArray]) -> list[FloatArray]:
        """The centres of least cost first."""
        return [ends[i] for i in np.argsort([self.cost(end) for end in ends], kind="stable")]

    def best(self, ends: Sequence[FloatArray]) -> FloatArray:
        """The centres of least cost."""
        return ends[0] if len(ends) == 1 else self.in_order(ends)[0]

    def _at(self, centers: FloatArray, groups: Groups) -> At:
        return At(centers, np.zeros(len(self.origin)), self.grid, groups)


STEP, COST = tally("refine"), labelling(with_labels=False)


__all__ = ["Points", "iterations", "rough_size", "sample_of", "sample_size"]
