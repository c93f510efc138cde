"""The nodes of a growing tree: those that are made, and those that wait."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba.extending import register_jitable

from daskml_kit.kernels.tree_splits import Rules, child_key, exactly, impurity_of, value_of
from daskml_kit.typing import Array

# Columns of the table of nodes. A leaf has no feature: -1.
LEFT, RIGHT, FEATURE, CUT, MISSING_LEFT, ROWS, DEPTH, LOW, HIGH = range(9)
GAIN, THRESHOLD, LOWER, UPPER = range(4)
NODE_INTS, NODE_FLOATS = 9, 4


class Nodes(NamedTuple):
    """Nodes in the order of a depth-first walk, left before right."""

    ints: Array  # (n, 9): columns LEFT to HIGH
    floats: Array  # (n, 4): columns GAIN to UPPER
    sums: Array  # (n, stride): channels of the rows in the node
    squares: Array  # (n,)
    keys: Array  # (n,) uint64
    sets: (
        Array  # (n, words) uint64: codes that a categorical split sends left; no words without any
    )


class Waiting(NamedTuple):
    """Nodes that wait to be made, the next one last."""

    links: Array  # int64 (room, 5): parent, side, low, high, whether its histogram is known
    keys: Array  # uint64 (room,)
    sums: Array  # int64 (room, stride + 1): channels, and the sum of squares
    bounds: Array  # float64 (room, 2)


PARENT, SIDE, FIRST, STOP, KNOWN = range(5)


@register_jitable
def room_for_nodes(n: int, stride: int, words: int) -> Nodes:
    """An empty table."""
    return Nodes(
        np.empty((n, NODE_INTS), np.int64), np.empty((n, NODE_FLOATS), np.float64),
        np.empty((n, stride), np.int64), np.empty(n, np.int64), np.empty(n, np.uint64),
        np.empty((n, words), np.uint64),
    )  # fmt: skip


@register_jitable
def room_for_waiting(n: int, stride: int) -> Waiting:
    """An empty stack."""
    return Waiting(
        np.empty((n, 5), np.int64), np.empty(n, np.uint64), np.empty((n, stride + 1), np.int64),
        np.empty((n, 2), np.float64),
    )  # fmt: skip


@exactly
def more_nodes(nodes: Nodes) -> Nodes:
    """The same nodes with twice the room."""
    n = len(nodes.ints)
    out = room_for_nodes(2 * n, nodes.sums.shape[1], nodes.sets.shape[1])
    out.ints[:n], out.floats[:n], out.sums[:n] = nodes.ints, nodes.floats, nodes.sums
    out.squares[:n], out.keys[:n], out.sets[:n] = nodes.squares, nodes.keys, nodes.sets
    return out


@exactly
def more_waiting(waiting: Waiting) -> Waiting:
    """The same stack with twice the room."""
    n = len(waiting.links)
    out = room_for_waiting(2 * n, waiting.sums.shape[1] - 1)
    out.links[:n], out.keys[:n] = waiting.links, waiting.keys
    out.sums[:n], out.bounds[:n] = waiting.sums, waiting.bounds
    return out


@exactly
def made(nodes: Nodes, n: int) -> Nodes:
    """The first ``n`` nodes, in arrays of their own."""
    return Nodes(
        nodes.ints[:n].copy(), nodes.floats[:n].copy(), nodes.sums[:n].copy(),
        nodes.squares[:n].copy(), nodes.keys[:n].copy(), nodes.sets[:n].copy(),
    )  # fmt: skip


@register_jitable
def make_leaf(nodes: Nodes, me: int, waiting: Waiting, at: int, depth: int) -> None:
    """Makes a waiting node, which is a leaf until it is split. ``depth`` is that of the root."""
    links, row, numbers = waiting.links[at], nodes.ints[me], nodes.floats[me]
    stride = nodes.sums.shape[1]
    if links[PARENT] >= 0:
        nodes.ints[links[PARENT], links[SIDE]] = me
        depth = nodes.ints[links[PARENT], DEPTH] + 1
    row[LEFT], row[RIGHT], row[FEATURE], row[CUT], row[MISSING_LEFT] = -1, -1, -1, -1, 0
    row[ROWS], row[DEPTH] = links[STOP] - links[FIRST], depth
    row[LOW], row[HIGH] = links[FIRST], links[STOP]
    numbers[GAIN], numbers[THRESHOLD] = 0.0, 0.0
    numbers[LOWER], numbers[UPPER] = waiting.bounds[at, 0], waiting.bounds[at, 1]
    nodes.keys[me] = waiting.keys[at]
    nodes.sets[me] = np.uint64(0)
    for c in range(stride):
        nodes.sums[me, c] = waiting.sums[at, c]
    nodes.squares[me] = waiting.sums[at, stride]


@register_jitable
def push_root(waiting: Waiting, n_rows: int, key: np.uint64, lower: float, upper: float) -> None:
    """The root waits, without its sums."""
    waiting.links[0, PARENT], waiting.links[0, SIDE], waiting.links[0, KNOWN] = -1, 0, 0
    waiting.links[0, FIRST], waiting.links[0, STOP] = 0, n_rows
    waiting.keys[0] = key
    waiting.bounds[0, 0], waiting.bounds[0, 1] = lower, upper


@register_jitable
def split_node(
    nodes: Nodes, me: int, feature: int, cut: int, missing_left: int, gain: float, threshold: float
) -> None:
    """Notes the split of a node that was a leaf until now."""
    row = nodes.ints[me]
    row[FEATURE], row[CUT], row[MISSING_LEFT] = feature, cut, missing_left
    nodes.floats[me, GAIN], nodes.floats[me, THRESHOLD] = gain, threshold


@register_jitable
def push_children(
    nodes: Nodes, me: int, waiting: Waiting, at: int, middle: int, left: Array, square: int
) -> None:
    """The children of a node wait: the right one at ``at``, the left one above it, to be made first.

    ``left`` and ``square`` are the sums of the left child, whose rows end at ``middle``.
    """
    row, stride = nodes.ints[me], len(left)
    for side in range(2):
        place = at + 1 - side
        links = waiting.links[place]
        links[PARENT], links[SIDE], links[KNOWN] = me, LEFT + side, 0
        links[FIRST] = row[LOW] if side == 0 else middle
        links[STOP] = middle if side == 0 else row[HIGH]
        waiting.keys[place] = child_key(nodes.keys[me], side)
        for c in range(stride):
            waiting.sums[place, c] = left[c] if side == 0 else nodes.sums[me, c] - left[c]
        waiting.sums[place, stride] = square if side == 0 else nodes.squares[me] - square
        waiting.bounds[place, 0] = nodes.floats[me, LOWER]
        waiting.bounds[place, 1] = nodes.floats[me, UPPER]


@register_jitable
def bound_children(waiting: Waiting, at: int, rules: Rules, sign: int) -> None:
    """Keeps the values of two waiting children on their sides of the middle between them."""
    left, right = waiting.sums[at + 1], waiting.sums[at]
    between = (value_of(rules, left) + value_of(rules, right)) / 2
    below = at + 1 if sign > 0 else at  # the child that stays below
    waiting.bounds[below, 1] = between
    waiting.bounds[2 * at + 1 - below, 0] = between


@exactly
def _impurities(rules: Rules, sums: Array, squares: Array, out: Array) -> None:
    for i in range(len(out)):
        out[i] = max(0.0, impurity_of(rules, sums[i], squares[i]))


def impurities(rules: Rules, sums: Array, squares: Array) -> Array:
    """Impurity of each node: ``sums`` (n, stride), ``squares`` (n,)."""
    out = np.empty(len(sums))
    _impurities(rules, sums, squares, out)
    return out


__all__ = ["Nodes", "Waiting", "impurities"]
