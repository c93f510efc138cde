"""Rows in a binary tree of centres: which leaf they are in, and which of two centres is the nearer there.

At most two distances a row and level, computed directly, for dense rows and for CSR. Equal distances, up to
rounding, go to the first of the two. A row that was much nearer to one centre than to the other is not
measured again before the two have gone as far as that (Hamerly 2010, Making k-means even faster, for two
centres).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from daskml_kit.kernels.aim import as_centers, half_squares, tie_width
from daskml_kit.kernels.blocks import Rows, as_column, as_rows, compiled, frozen
from daskml_kit.kernels.exact_sums import Grid, add_row_exactly, empty_sums
from daskml_kit.kernels.rows import count_rows, squared_distance
from daskml_kit.typing import Array, FloatArray, IntArray, Matrix


class PairSums(NamedTuple):
    """What one pass tells of pairs of centres, pair by pair. All add up over blocks."""

    sums: FloatArray
    """(2 p, 2, d + 1): exact weighted sums of each centre's rows, and of their weights."""
    costs: FloatArray
    """(2 p,): weighted sums of squared distances to it; zeros where they are not asked for."""
    n_rows: FloatArray
    """(2 p,)"""

    def __add__(self, other: object) -> PairSums:
        """Field by field."""
        if not isinstance(other, PairSums):
            return NotImplemented
        return PairSums(
            self.sums + other.sums, self.costs + other.costs, self.n_rows + other.n_rows
        )


SAFETY = 1e-9
"""Of distances, beside ties: what bounds are less, so that rounding decides nothing."""


class Sides(NamedTuple):
    """On which side of its pair each row was, and the sums of the rows by side: what is known of a block."""

    side: IntArray
    """(n,) int8: 0 or 1, -1 for rows of no pair so far."""
    sums: FloatArray
    """(2 p, 2, d + 1)"""
    n_rows: FloatArray
    """(2 p,)"""
    slack: FloatArray
    """(n,) how much nearer one centre was, and how far the two had gone by then."""
    gone: FloatArray
    """(p,) how far the two centres of each pair have gone."""
    centers: FloatArray
    """(2 p, d) where they were; NaN before the first pass."""

    @classmethod
    def unknown(cls, n: int, k: int, d: int) -> Sides:
        """Of n rows and k centres of d columns, before the first pass."""
        sums, nowhere = empty_sums(k, d), np.full((k, d), np.nan)
        return cls(
            np.full(n, -1, np.int8), sums, np.zeros(k), np.zeros(n), np.zeros(k // 2), nowhere
        )

    def go(self, centers: FloatArray) -> None:
        """To where the centres are now."""
        steps = np.nan_to_num(np.linalg.norm(centers - self.centers, axis=1))
        self.gone[:] += (1.0 + SAFETY) * steps.reshape(-1, 2).sum(axis=1)
        self.centers[:] = centers


@compiled
def _descend(
    rows: Rows, centers: Array, halves: Array, child: Array, tie: float, node: Array
) -> None:
    for i in range(count_rows(rows)):
        at = node[i]
        while child[at] >= 0:
            left = child[at]
            first = squared_distance(rows, i, centers, left, halves[left])
            second = squared_distance(rows, i, centers, left + 1, halves[left + 1])
            at = left if first <= second * (1.0 + tie) else left + 1
        node[i] = at


@compiled
def _sum_pairs(
    rows: Rows,
    weight: Array,
    node: Array,
    slot: Array,
    centers: Array,
    halves: Array,
    tie: float,
    coarse: Array,
    fine: Array,
    side: Array,
    sums: Array,
    n_rows: Array,
    slack: Array,
    gone: Array,
    costs: Array,
) -> None:
    for i in range(count_rows(rows)):
        pair = slot[node[i]]
        if pair < 0 or (costs.size == 0 and side[i] >= 0 and slack[i] > gone[pair]):
            continue
        left = 2 * pair
        first = squared_distance(rows, i, centers, left, halves[left])
        second = squared_distance(rows, i, centers, left + 1, halves[left + 1])
        nearer = left if first <= second * (1.0 + tie) else left + 1
        scale = weight[i] if weight.size else 1.0
        if costs.size:
            costs[nearer] += scale * (first if nearer == left else second)
        one, other = np.sqrt(first), np.sqrt(second)
        slack[i] = abs(one - other) - (4.0 * tie + SAFETY) * (one + other) + gone[pair]
        old = side[i]
        if left + old == nearer:
            continue
        if old >= 0:
            add_row_exactly(rows, i, -scale, coarse, fine, sums[left + old])
            n_rows[left + old] -= 1.0
        add_row_exactly(rows, i, scale, coarse, fine, sums[nearer])
        n_rows[nearer] += 1.0
        side[i] = nearer - left


@compiled
def _own_distances(
    rows: Rows, node: Array, slot: Array, centers: Array, halves: Array, out: Array
) -> None:
    for i in range(count_rows(rows)):
        k = slot[node[i]]
        if k >= 0:
            out[i] = squared_distance(rows, i, centers, k, halves[k])


def descend(X: Matrix, centers: Array, child: IntArray, node: IntArray) -> None:
    """Moves rows down to the leaves of a tree.

    Parameters
    ----------
    X : (n, d) array or CSR
    centers : (m, d) of the tree's nodes
    child : (m,) int64: the first of a node's two children, which follow each other; -1 for a leaf
    node : (n,) int32, changed in place: where each row is

    Examples
    --------
    >>> import numpy as np
    >>> node = np.zeros(2, np.int32)
    >>> tree = np.array([[5.0], [0.0], [10.0]]), np.array([1, -1, -1])
    >>> descend(np.array([[1.0], [9.0]]), *tree, node)
    >>> node
    array([1, 2], dtype=int32)
    """
    points = as_centers(centers, X.shape[1])
    _descend(as_rows(X), points, half_squares(points), frozen(child), tie_width(X.shape[1]), node)


def sum_pairs(
    X: Matrix,
    weight: Array | None,
    node: IntArray,
    slot: IntArray,
    pairs: Array,
    grid: Grid,
    known: Sides | None = None,
    *,
    with_costs: bool = True,
) -> PairSums:
    """Sums over the rows of some nodes, by the nearer of each node's two centres.

    Two distances a row, none where they are not asked for and bounds decide; only rows that change their side
    are added and taken off, which exact sums bear.

    Parameters
    ----------
    X : (n, d) array or CSR
    weight : (n,) or None
    node : (n,) int32: where each row is
    slot : (m,) int64: the pair of each node, -1 for none
    pairs : (2 p, d): centres, pair by pair
    grid : of the exact sums
    known
        From earlier passes over the same rows, nodes and pairs, some of which may be left out of ``slot``;
        changed in place. The answer does not depend on it.
    with_costs
        Whether to measure all rows, and say what they cost.
    """
    points, (k, d) = as_centers(pairs, X.shape[1]), pairs.shape
    known, costs = known or Sides.unknown(X.shape[0], k, d), np.zeros(k if with_costs else 0)
    known.go(points)
    weights, cells = as_column(weight, "weight", X.shape[0]), tuple(frozen(g) for g in grid)
    where = frozen(node), frozen(slot), points, half_squares(points), tie_width(d)
    _sum_pairs(as_rows(X), weights, *where, *cells, *known[:-1], costs)
    asked = np.zeros(k)
    asked.reshape(-1, 2)[slot[slot >= 0]] = 1.0
    costs = costs if with_costs else np.zeros(k)
    return PairSums(known.sums * asked[:, None, None], costs, known.n_rows * asked)


def own_distances(X: Matrix, node: IntArray, slot: IntArray, centers: Array) -> FloatArray:
    """Squared distance (n,) of each row to the centre of its node; 0 for nodes without one."""
    points, out = as_centers(centers, X.shape[1]), np.zeros(X.shape[0])
    where = frozen(node), frozen(slot), points, half_squares(points)
    _own_distances(as_rows(X), *where, out)
    return out


__all__ = ["PairSums", "Sides", "descend", "own_distances", "sum_pairs"]
