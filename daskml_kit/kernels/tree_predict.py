"""Answers of many trees at once: one compiled pass over rows in memory.

:func:`packed` lays the nodes of all trees out for walking: 16 bytes a node, children next to each other, so
a step is one look at the node and one at the row, without a branch. Leaves lead to themselves. Rows are
walked four at a time, tile by tile, a tree after the other, so that a tile and a tree stay in the cache::

    trees = packed([Table(left, right, feature, threshold, missing_left, values), ...])
    add_values(trees, X, out)  # out[i] += the values of the leaf of row i, tree after tree
    add_unseen(trees, X, seen, out, counts)  # the same of the trees that did not see a row
    leaves(trees, X)  # its number in each tree
    paths(trees, X)  # all nodes that a row passes

Values are compared as float32, as scikit-learn's trees do: thresholds are rounded down to float32, which
changes no comparison of a float32 value. A missing value (NaN) goes where the node sends it. A categorical
node has a set of codes that go left, and rows are coded before they are walked; trees without such nodes are
walked by code that was compiled without them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from daskml_kit.kernels.tree_categories import Coding, coded
from daskml_kit.kernels.tree_splits import exactly
from daskml_kit.typing import Array, FloatArray, IntArray

TILE_BYTES = 1 << 19
"""Rows that are walked through all trees before the next ones. 100,000 rows x 20 through 50 trees of 5,000
nodes: 0.61 s of one core with 128 kB, 0.45 s with 256 kB, 0.36 s with 512 kB (scikit-learn: 0.55 s)."""

NODE = np.dtype(
    [("threshold", np.float32), ("feature", np.int32), ("child", np.int32), ("misses", np.int32)]
)
"""``child`` is the left one, ``child + 1`` the right; of a leaf, itself. ``misses``: 1 if NaN goes right."""


class Table(NamedTuple):
    """One tree, nodes in any order with the root first."""

    left: IntArray  # (n,), negative at a leaf
    right: IntArray  # (n,)
    feature: IntArray  # (n,)
    threshold: FloatArray  # (n,) float64: not larger goes left
    missing_left: Array  # (n,)
    values: FloatArray  # (n, width)
    column: int = 0  # of the answer that its first value belongs to
    sets: Array | None = None  # (n, words) uint64: codes that go left where the threshold is NaN
    coding: Coding | None = None  # of the values of categorical features


class Packed(NamedTuple):
    """Many trees, for the kernels of this module."""

    roots: IntArray  # (t + 1,) int64: where the nodes of each tree begin
    nodes: Array  # (n,) of NODE; children count from the root
    origins: IntArray  # (n,) int32: the node's number in its table
    values: FloatArray  # (n, width) float64
    columns: IntArray  # (t,) int64
    sets: Array | None = None  # (s, words) uint64, of the nodes whose feature is negative
    coding: Coding | None = None

    @property
    def n_trees(self) -> int:
        """Number of trees."""
        return len(self.columns)


def packed(tables: Sequence[Table]) -> Packed:
    """Lay out trees, all of one width of values.

    Examples
    --------
    >>> stump = Table(
    ...     np.array([1, -1, -1]),
    ...     np.array([2, -1, -1]),
    ...     np.array([0, -2, -2]),
    ...     np.array([0.5, -2.0, -2.0]),
    ...     np.zeros(3, bool),
    ...     np.array([[0.0], [10.0], [20.0]]),
    ... )
    >>> trees, rows = packed([stump, stump]), np.array([[0.5], [0.6], [np.nan]], np.float32)
    >>> answers = np.zeros((3, 1))
    >>> add_values(trees, rows, answers)
    >>> answers.ravel(), leaves(trees, rows)[:, 0]
    (array([20., 40., 40.]), array([1, 2, 2]))
    """
    sizes = np.array([len(table.left) for table in tables], np.int64)
    roots = np.append(0, np.cumsum(sizes))
    nodes, origins = np.empty(roots[-1], NODE), np.empty(roots[-1], np.int32)
    values = np.empty((roots[-1], tables[0].values.shape[1]))
    sets: list[Array] = []
    for table, low, high in zip(tables, roots, roots[1:], strict=False):
        own = origins[low:high]
        _lay_out(
            np.asarray(table.left, np.int64), np.asarray(table.right, np.int64),
            np.asarray(table.feature, np.int64), _rounded_down(table.threshold),
            np.asarray(table.missing_left, np.bool_), nodes[low:high], own,
        )  # fmt: skip
        values[low:high] = table.values[own]
        if table.sets is not None:
            sets.append(_by_set(nodes[low:high], table.sets[own], sum(map(len, sets))))
    columns = np.array([table.column for table in tables], np.int64)
    chosen = np.concatenate(sets) if sets else None
    return Packed(roots, nodes, origins, values, columns, chosen, tables[0].coding)


def _by_set(nodes: Array, sets: Array, before: int) -> Array:
    """Gives nodes without a threshold the number of their set as ``misses``; returns the sets."""
    at = np.flatnonzero(np.isnan(nodes["threshold"]))
    nodes["feature"][at] = ~nodes["feature"][at]
    nodes["misses"][at] = before + np.arange(len(at))
    return np.ascontiguousarray(sets[at])


def _rounded_down(threshold: FloatArray) -> Array:
    """The largest float32 that is not larger."""
    out = np.asarray(threshold).astype(np.float32)
    return np.where(out > threshold, np.nextafter(out, np.float32(-np.inf)), out)


@exactly
def _lay_out(
    left: Array,
    right: Array,
    feature: Array,
    threshold: Array,
    missing_left: Array,
    nodes: Array,
    origins: Array,
) -> None:
    """Breadth first: the nodes near the root, which all rows pass, share their cache lines."""
    origins[0], end = 0, 1
    for i in range(len(nodes)):
        at = origins[i]
        if left[at] < 0:
            nodes[i].threshold, nodes[i].feature = np.inf, 0
            nodes[i].child, nodes[i].misses = i, 0
            continue
        nodes[i].threshold, nodes[i].feature = threshold[at], feature[at]
        nodes[i].child, nodes[i].misses = end, int(not missing_left[at])
        origins[end], origins[end + 1] = left[at], right[at]
        end += 2


@exactly
def _step(nodes: Array, at: int, X: Array, row: int, sets: Array | None) -> int:
    """The child that a row goes to; of a leaf, itself."""
    node = nodes[at]
    if sets is not None:  # noqa: SIM102 - decided when this is compiled
        if node.feature < 0:
            code = np.int64(X[row, ~node.feature])
            word = sets[node.misses, code >> 6]
            return int(node.child + 1 - np.int64((word >> np.uint64(code & 63)) & np.uint64(1)))
    x = X[row, node.feature]
    right = (x > node.threshold) | ((x != x) & (node.misses != 0))
    return int(node.child + np.int64(right))


@exactly
def _walk(nodes: Array, X: Array, first: int, out: Array, sets: Array | None) -> None:
    """The leaves of some rows in one tree; ``len(out)`` is a multiple of four."""
    for i in range(0, len(out), 4):
        row = first + i
        a = b = c = d = 0
        moving = True
        while moving:
            a_, b_, c_, d_ = a, b, c, d
            a, b = _step(nodes, a, X, row, sets), _step(nodes, b, X, row + 1, sets)
            c, d = _step(nodes, c, X, row + 2, sets), _step(nodes, d, X, row + 3, sets)
            moving = (a != a_) | (b != b_) | (c != c_) | (d != d_)
        out[i], out[i + 1], out[i + 2], out[i + 3] = a, b, c, d


@exactly
def _leaf(nodes: Array, X: Array, row: int, sets: Array | None) -> int:
    at, before = 0, -1
    while at != before:
        before, at = at, _step(nodes, at, X, row, sets)
    return at


@exactly
def _tile(nodes: Array, X: Array, first: int, out: Array, sets: Array | None) -> None:
    """The leaves of ``len(out)`` rows in one tree."""
    fours = len(out) // 4 * 4
    _walk(nodes, X, first, out[:fours], sets)
    for i in range(fours, len(out)):
        out[i] = _leaf(nodes, X, first + i, sets)


@exactly
def _add_values(
    roots: Array,
    nodes: Array,
    values: Array,
    columns: Array,
    sets: Array | None,
    X: Array,
    out: Array,
    rows: int,
) -> None:
    at, width = np.empty(rows, np.int64), values.shape[1]
    for first in range(0, len(X), rows):
        found = at[: min(rows, len(X) - first)]
        for t in range(len(columns)):
            low, column = roots[t], columns[t]
            _tile(nodes[low : roots[t + 1]], X, first, found, sets)
            for i in range(len(found)):
                for k in range(width):
                    out[first + i, column + k] += values[low + found[i], k]


@exactly
def _walk_some(nodes: Array, X: Array, rows: Array, out: Array, sets: Array | None) -> None:
    """The leaves of rows in any order in one tree, four in step; ``len(rows)`` is a multiple of four."""
    for i in range(0, len(rows), 4):
        e, f, g, h = rows[i], rows[i + 1], rows[i + 2], rows[i + 3]
        a = b = c = d = 0
        moving = True
        while moving:
            a_, b_, c_, d_ = a, b, c, d
            a, b = _step(nodes, a, X, e, sets), _step(nodes, b, X, f, sets)
            c, d = _step(nodes, c, X, g, sets), _step(nodes, d, X, h, sets)
            moving = (a != a_) | (b != b_) | (c != c_) | (d != d_)
        out[i], out[i + 1], out[i + 2], out[i + 3] = a, b, c, d


@exactly
def _add_unseen(
    roots: Array,
    nodes: Array,
    values: Array,
    sets: Array | None,
    X: Array,
    seen: Array,
    out: Array,
    counts: Array,
    rows: int,
) -> None:
    at, which, width = np.empty(rows + 3, np.int64), np.empty(rows + 3, np.int64), values.shape[1]
    for first in range(0, len(X), rows):
        stop = min(first + rows, len(X))
        for t in range(len(seen)):
            low, n = roots[t], 0
            for i in range(first, stop):
                which[n] = i
                n += int(seen[t, i] == 0)
            fours = (n + 3) // 4 * 4
            for i in range(n, fours):
                which[i] = first
            _walk_some(nodes[low : roots[t + 1]], X, which[:fours], at[:fours], sets)
            for i in range(n):
                counts[which[i]] += 1
                for k in range(width):
                    out[which[i], k] += values[low + at[i], k]


@exactly
def _leaves(
    roots: Array,
    nodes: Array,
    origins: Array,
    sets: Array | None,
    X: Array,
    out: Array,
    rows: int,
) -> None:
    at = np.empty(rows, np.int64)
    for first in range(0, len(X), rows):
        found = at[: min(rows, len(X) - first)]
        for t in range(out.shape[1]):
            _tile(nodes[roots[t] : roots[t + 1]], X, first, found, sets)
            for i in range(len(found)):
                out[first + i, t] = origins[roots[t] + found[i]]


@exactly
def _paths(
    roots: Array,
    nodes: Array,
    origins: Array,
    sets: Array | None,
    X: Array,
    starts: Array,
    found: Array,
) -> None:
    """Fills ``found`` from ``starts[row, tree]`` on; where it is empty, counts into ``starts`` instead."""
    for t in range(starts.shape[1]):
        own, counts = nodes[roots[t] : roots[t + 1]], len(found) == 0
        for row in range(len(X)):
            n, at, before = starts[row, t], 0, -1
            while at != before:
                if not counts:
                    found[n] = roots[t] + origins[roots[t] + at]
                n += 1
                before, at = at, _step(own, at, X, row, sets)
            if counts:
                starts[row, t] = n


def _rows(trees: Packed, X: Array) -> tuple[Array, int]:
    """float32 rows as the kernels are compiled for, and how many make a tile."""
    if trees.coding is not None:
        X = coded(X, trees.coding)
    out = np.require(X, np.float32, ["C", "A"]).view()
    out.flags.writeable = False
    return out, max(64, TILE_BYTES // (4 * max(1, out.shape[1])))


def add_values(trees: Packed, X: Array, out: FloatArray) -> None:
    """Adds the values of each row's leaves to ``out``, one tree after the other: one pass.

    Parameters
    ----------
    X : (n, d) float32, NaN where missing
    out : (n, columns) float64
        A tree adds its values from its own ``column`` on.
    """
    rows, tile = _rows(trees, X)
    _add_values(trees.roots, trees.nodes, trees.values, trees.columns, trees.sets, rows, out, tile)


def add_unseen(trees: Packed, X: Array, seen: Array, out: FloatArray, counts: IntArray) -> None:
    """:func:`add_values` of those trees that did not see a row, which are counted: one pass.

    Parameters
    ----------
    X : (n, d) float32, NaN where missing
    seen : (n_trees, n) int32, how often each tree has seen each row
    out : (n, width) float64
    counts : (n,) int64
    """
    rows, tile = _rows(trees, X)
    nodes = trees.roots, trees.nodes, trees.values, trees.sets
    _add_unseen(*nodes, rows, seen, out, counts, tile)


def leaves(trees: Packed, X: Array) -> IntArray:
    """The number of each row's leaf in each tree: (n, n_trees) int64, one pass."""
    rows, tile = _rows(trees, X)
    out = np.empty((len(rows), trees.n_trees), np.int64)
    _leaves(trees.roots, trees.nodes, trees.origins, trees.sets, rows, out, tile)
    return out


def paths(trees: Packed, X: Array) -> tuple[IntArray, IntArray]:
    """The nodes that each row passes, from the root on, as ``indptr`` and ``indices`` of a CSR matrix.

    Nodes of the second tree are counted on from those of the first. Two passes: the first one counts. Memory:
    eight bytes for each row and tree beside the answer.
    """
    rows, _ = _rows(trees, X)
    lengths = np.zeros((len(rows), trees.n_trees), np.int64)
    nodes = trees.roots, trees.nodes, trees.origins, trees.sets
    _paths(*nodes, rows, lengths, np.empty(0, np.int64))
    starts = np.append(0, np.cumsum(lengths))
    found = np.empty(starts[-1], np.int64)
    if len(found):
        _paths(*nodes, rows, starts[:-1].reshape(lengths.shape), found)
    return starts[:: trees.n_trees], found


__all__ = ["Packed", "Table", "add_unseen", "add_values", "leaves", "packed", "paths"]
