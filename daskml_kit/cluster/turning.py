"""Rows to clusters by turning their coordinates until each points along an axis.

Where clusters are far apart, coordinates by eigenvectors are those of the clusters' indicators, turned: all
rows of a cluster point one way, and different clusters at right angles. Both methods look for the rotation,
and both find it from rows: turned coordinates give the same clusters.

=====================  ==============================================================  ===================
method                 rotation                                                        rounds
=====================  ==============================================================  ===================
:func:`pivoted`        nearest to the rows that a pivoted QR factorisation chooses     1 to k
:func:`discretized`    nearest to the clusters that the last rotation gave             k, and up to 21
=====================  ==============================================================  ===================

References
----------
Damle, Minden, Ying (2019). Simple, direct and efficient multi-way spectral clustering. Information and
Inference 8(1). Algorithm 1.
Yu, Shi (2003). Multiclass spectral clustering. ICCV. The algorithm of section 3.
Golub (1965). Numerical methods for solving linear least squares problems. Numerische Mathematik 7: pivots.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from daskml_kit.cluster.selection import Chosen, merged, race, smallest
from daskml_kit.runtime.block import Block
from daskml_kit.runtime.dataset import BlockDataset
from daskml_kit.runtime.executor import Executor
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.typing import FloatArray, IntArray

CANDIDATES = 256
"""Rows that come back from a round of pivots, of the longest rests: several pivots are among them."""

BITS = 30
"""Lengths are compared to so many: rows whose lengths differ by rounding are equal, and the first is taken;
but for one comparison in some millions, where the middle between two such numbers lies between them."""

MAX_ITER, TOL = 20, 1e-12
"""Of :func:`discretized`: iterations, and the change of the objective, a row, that ends it."""

TILE_ROWS = 1 << 16


def axis_of(rows: FloatArray, rotation: FloatArray, *, either: bool) -> IntArray:
    """The axis (n,) int32 that a row (n, p) points along most after a rotation (p, k), ``either`` way or not.

    Examples
    --------
    >>> import numpy as np
    >>> axis_of(np.array([[3.0, 1.0], [0.0, -2.0]]), np.eye(2), either=True)
    array([0, 1], dtype=int32)
    """
    turned = rows @ rotation
    return np.asarray((np.abs(turned) if either else turned).argmax(axis=1), dtype=np.int32)


def _tiles(block: Block) -> Iterator[FloatArray]:
    for start in range(0, block.n_rows, TILE_ROWS):
        yield np.asarray(block.X[start : start + TILE_ROWS])


def _rounded(values: FloatArray) -> FloatArray:
    """To :data:`BITS` bits."""
    mantissa, exponent = np.frexp(values)
    return np.asarray(np.ldexp(np.round(np.ldexp(mantissa, BITS)), exponent - BITS))


# ---------------------------------------------------------------- pivots


def pivoted(executor: Executor, rows: BlockDataset, k: int) -> FloatArray:
    """The rotation (k, k) nearest to k rows that are long and point apart, of orthonormal coordinates (n, k).

    The rows are the pivots of a QR factorisation of the transposed coordinates: each has the longest part
    that those before it do not span. A round brings the rows of the longest such parts; pivots are chosen of
    them as long as no other row can be longer, for parts only become shorter.
    """
    points: FloatArray = np.empty((0, k))
    basis: FloatArray = np.empty((k, 0))
    while len(points) < k:
        found = executor.reduce(rows, PIVOTS, basis)
        if not len(found.keys):
            break
        more, basis = _chosen(found, basis, k - len(points))
        points = np.concatenate([points, more])
    left, _, right = np.linalg.svd(points.T, full_matrices=False)
    out: FloatArray = left @ right
    return out


def _rest(rows: FloatArray, basis: FloatArray) -> FloatArray:
    """Squared lengths (n,) of what a basis (k, j) does not span; 0 where that is rounding."""
    squares, along = np.einsum("ij,ij->i", rows, rows), rows @ basis
    rest = squares - np.einsum("ij,ij->i", along, along)
    return _rounded(np.where(rest > 1e-12 * squares, rest, 0.0))


def _pivots_chunk(block: Block, basis: FloatArray) -> Chosen:
    rest = np.concatenate([np.empty(0), *(_rest(rows, basis) for rows in _tiles(block))])
    return smallest(block, np.where(rest > 0, -rest, np.inf), CANDIDATES)


PIVOTS: Reduction[FloatArray, Chosen, Chosen] = Reduction(
    "pivots", _pivots_chunk, partial(merged, CANDIDATES)
)


def _chosen(found: Chosen, basis: FloatArray, missing: int) -> tuple[FloatArray, FloatArray]:
    """Pivots among the rows found, the longest first, and the basis with them."""
    unseen = -found.keys[-1] if len(found.keys) == CANDIDATES else 0.0
    order, taken = np.argsort(found.rows), list[FloatArray]()
    points = found.points[order]
    while len(taken) < missing:
        rest = _rest(points, basis)
        longest = int(np.argmax(rest))
        if rest[longest] <= (unseen if taken else 0.0):
            break
        taken.append(points[longest])
        own = points[longest]
        for _ in range(2):  # once more: what rounding has left of the others
            own = own - basis @ (basis.T @ own)
        basis = np.column_stack([basis, own / np.linalg.norm(own)])
    return np.array(taken).reshape(len(taken), points.shape[1]), basis


# ---------------------------------------------------------------- discrete clusters


class Search(NamedTuple):
    """How far the search for a rotation is."""

    axes: FloatArray
    """(j, k) rows it begins with."""
    rotation: FloatArray
    """(k, k) in the end."""
    cost: float = float("inf")
    n_iter: int = 0
    done: bool = False


def discretized(executor: Executor, rows: BlockDataset, k: int, seed: int) -> FloatArray:
    """The rotation (k, k) that brings coordinates (n, k) of length 1 nearest to indicators of clusters.

    It begins with a row drawn at random, and rows as far from parallel to those before as there are. Then
    each row goes to the axis that it points along, and the rotation becomes the nearest to these clusters,
    until nothing changes.
    """
    steps = Discretizing(k, seed)
    at = Search(np.empty((0, k)), np.empty((k, 0)))
    while not at.done:
        at = executor.lead(rows, steps, at)
    return at.rotation


@dataclass(frozen=True)
class Discretizing:
    """The rounds of :func:`discretized`: what :meth:`Executor.lead` is given."""

    k: int
    seed: int

    def __call__(
        self, executor: Executor, data: BlockDataset, at: Search, go_on: Callable[[], bool]
    ) -> Search:
        """Rows to begin with, then rotations, while they go on."""
        while True:
            at = (
                self._begun(executor, data, at)
                if len(at.axes) < self.k
                else self._turned(executor, data, at)
            )
            if at.done or not go_on():
                return at

    def _begun(self, executor: Executor, data: BlockDataset, at: Search) -> Search:
        found = executor.reduce(data, ASIDE, (self.seed, at.axes)).points
        more = found if len(found) else np.zeros((1, self.k))
        axes = np.concatenate([at.axes, more])
        return at._replace(axes=axes, rotation=np.ascontiguousarray(axes.T))

    def _turned(self, executor: Executor, data: BlockDataset, at: Search) -> Search:
        left, sizes, right = np.linalg.svd(executor.reduce(data, TOWARDS, at.rotation))
        n, n_iter = data.facts.n_rows, at.n_iter + 1
        cost = 2.0 * (n - float(sizes.sum()))
        if abs(cost - at.cost) <= TOL * n or n_iter > MAX_ITER:
            return at._replace(cost=cost, n_iter=n_iter, done=True)
        return at._replace(rotation=(left @ right).T, cost=cost, n_iter=n_iter)


def _aside_chunk(block: Block, asked: tuple[int, FloatArray]) -> Chosen:
    """The row that is least along the axes there are; one by chance where there are none."""
    (seed, axes), tiles = asked, list(_tiles(block))
    there = np.concatenate([np.empty(0, bool), *(rows.any(axis=1) for rows in tiles)])
    if not len(axes):
        return smallest(block, race(block, there.astype(float), seed, "spectral-axis"), 1)
    along = np.concatenate([np.empty(0), *(np.abs(rows @ axes.T).sum(axis=1) for rows in tiles)])
    # About 1, so that what rounding makes of 0 is equal to it.
    return smallest(block, np.where(there, _rounded(1.0 + along), np.inf), 1)


ASIDE: Reduction[tuple[int, FloatArray], Chosen, Chosen] = Reduction(
    "axes", _aside_chunk, partial(merged, 1)
)


def _towards_chunk(block: Block, rotation: FloatArray) -> FloatArray:
    """Sums (k, k) of the rows that point along each axis."""
    total = np.zeros(rotation.T.shape)
    for rows in _tiles(block):
        labels = axis_of(rows, rotation, either=False)
        for j in range(rows.shape[1]):
            total[:, j] += np.bincount(labels, weights=rows[:, j], minlength=len(total))
    return total


TOWARDS: Reduction[FloatArray, FloatArray, FloatArray] = Reduction(
    "rotation", _towards_chunk, operator.add
)

__all__ = ["axis_of", "discretized", "pivoted"]
