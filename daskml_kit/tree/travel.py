"""Grown trees on their way from a worker: what scikit-learn's structure needs, in few bytes.

A node takes 136 bytes while its tree grows, of which 27 or so travel: children of a depth-first walk follow
from the right ones, keys and runs of rows are of no use any more, and sums are as narrow as they can be.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from daskml_kit.kernels import tree_growth as kernel
from daskml_kit.kernels.tree_growth import NODE_FLOATS, NODE_INTS, Nodes
from daskml_kit.kernels.tree_splits import Rules
from daskml_kit.typing import Array, FloatArray, IntArray


class Light(NamedTuple):
    """Nodes in the order of a depth-first walk, left before right; arrays of as few bytes as hold them."""

    right: IntArray  # (n,), -1 at a leaf
    feature: IntArray  # (n,), -1 at a leaf
    missing_left: IntArray  # (n,)
    rows: IntArray  # (n,)
    depth: IntArray  # (n,)
    threshold: FloatArray  # (n,)
    bounds: FloatArray  # (n, 2), of no rows where nothing is constrained
    sums: IntArray  # (n, stride)
    squares: IntArray  # (n,), empty where they are all zero
    sets: Array  # (n, words)


def light(nodes: Nodes, rules: Rules) -> Light:
    """Nodes for the way. What only a growing tree needs (cuts, gains, keys, runs of rows) stays behind."""
    ints, floats = nodes.ints, nodes.floats
    return Light(
        narrow(ints[:, kernel.RIGHT]),
        narrow(ints[:, kernel.FEATURE]),
        narrow(ints[:, kernel.MISSING_LEFT]),
        narrow(ints[:, kernel.ROWS]),
        narrow(ints[:, kernel.DEPTH]),
        floats[:, kernel.THRESHOLD].copy(),
        floats[:, [kernel.LOWER, kernel.UPPER]] if rules.constrained else np.empty((0, 2)),
        narrow(nodes.sums),
        narrow(nodes.squares) if nodes.squares.any() else np.empty(0, np.int8),
        nodes.sets,
    )


def arrived(found: Light) -> Nodes:
    """The nodes again; cuts, gains, keys and runs are zero."""
    n = len(found.right)
    ints, floats = np.zeros((n, NODE_INTS), np.int64), np.zeros((n, NODE_FLOATS))
    leaf = found.right < 0
    ints[:, kernel.LEFT] = np.where(leaf, -1, np.arange(1, n + 1))
    ints[:, kernel.RIGHT], ints[:, kernel.FEATURE] = found.right, found.feature
    ints[:, kernel.MISSING_LEFT] = found.missing_left
    ints[:, kernel.ROWS], ints[:, kernel.DEPTH] = found.rows, found.depth
    floats[:, kernel.THRESHOLD] = found.threshold
    floats[:, kernel.LOWER], floats[:, kernel.UPPER] = -np.inf, np.inf
    if len(found.bounds):
        floats[:, [kernel.LOWER, kernel.UPPER]] = found.bounds
    squares = found.squares if len(found.squares) else np.zeros(n)
    sums, keys = found.sums.astype(np.int64), np.zeros(n, np.uint64)
    return Nodes(ints, floats, sums, squares.astype(np.int64), keys, found.sets)


def narrow(values: IntArray) -> IntArray:
    """The same numbers in as few bytes as hold them: deep nodes have few rows, and messages are the cost.

    Examples
    --------
    >>> narrow(np.array([-1, 200])).dtype, narrow(np.array([-1, 2**60 + 1]))[1] == 2**60 + 1
    (dtype('int16'), np.True_)
    """
    most = max(int(values.max(initial=0)), -int(values.min(initial=0)))
    for dtype in (np.int8, np.int16, np.int32):
        if most <= np.iinfo(dtype).max:
            return values.astype(dtype)
    return values


__all__ = ["Light", "arrived", "light", "narrow"]
