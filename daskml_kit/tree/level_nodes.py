"""A tree on the driver while it grows level by level: its nodes, their splits, and what it is in the end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from daskml_kit.kernels import tree_growth as kernel, tree_levels
from daskml_kit.kernels.tree_categories import completed, has_bin
from daskml_kit.kernels.tree_growth import Nodes
from daskml_kit.kernels.tree_splits import SQUARED, Rules
from daskml_kit.tree.ground import Growth
from daskml_kit.tree.standing import Splits
from daskml_kit.typing import Array, IntArray


class Twin(NamedTuple):
    """The heavier sibling of a node, whose histograms are their parent's less the node's."""

    node: int
    parent: int
    hist: IntArray  # the parent's


@dataclass(eq=False)
class Node:
    """A node; what is known of its rows, its split, and what is below it."""

    key: int
    depth: int
    lower: float
    upper: float
    start: int = 0  # of its order of features: where the search goes on
    rows: int = 0
    square: int = 0
    sums: IntArray = field(default_factory=lambda: np.empty(0, np.int64))
    split: tuple[int, int, int] | None = None  # feature, cut, missing_left
    threshold: float = 0.0
    gain: float = 0.0
    children: tuple[int, int] = (-1, -1)
    sets: Array | None = (
        None  # of a categorical split: categories that go left, and all that have rows
    )
    twin: Twin | None = None
    below: Nodes | None = None  # finished whole: this node and all below it


@dataclass(eq=False)
class GrowingTree:
    """One growing tree; nodes are numbered as they are made."""

    key: int
    nodes: list[Node]
    rules: Rules | None = None
    table: list[tuple[int, int, int, int, int, int]] = field(default_factory=list)
    sets: list[Array] = field(default_factory=list)
    waiting: list[int] = field(default_factory=lambda: [0])
    small: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, key: int) -> GrowingTree:
        """A tree of a root."""
        return cls(key, [Node(key, 0, -np.inf, np.inf)])

    @property
    def growing(self) -> bool:
        """Whether any node waits."""
        return bool(self.waiting or self.small)

    def splits(self, growth: Growth) -> Splits:
        """All splits so far."""
        sets = np.zeros((len(self.table), growth.binning.set_words), np.uint64)
        for row, chosen in zip(sets, self.sets, strict=True):
            row[: len(chosen)] = chosen
        return Splits(self.key, np.array(self.table, np.int64).reshape(-1, 6), sets)

    def split(self, growth: Growth, i: int, left: IntArray) -> tuple[int, int]:
        """Make the children of a node whose split is decided; ``left``: channels of the left one."""
        node = self.nodes[i]
        assert node.split is not None
        assert self.rules is not None
        feature, cut, missing_left = node.split
        bounds = [(node.lower, node.upper), (node.lower, node.upper)]
        if self.rules.constrained and growth.signs[feature]:
            between = tree_levels.middle(self.rules, node.sums, left)
            below = 0 if growth.signs[feature] > 0 else 1
            bounds[below] = (node.lower, between)
            bounds[1 - below] = (between, node.upper)
        first = len(self.nodes)
        node.children = (first, first + 1)
        for side in (0, 1):
            key = int(tree_levels.key_of(np.uint64(node.key), side))
            child = Node(key, node.depth + 1, *bounds[side])
            child.sums = left if side == 0 else node.sums - left
            self.nodes.append(child)
        self.table.append((i, feature, cut, missing_left, first, first + 1))
        self.sets.append(np.empty(0, np.uint64) if node.sets is None else node.sets[0])
        return node.children

    def attach(self, i: int, below: Nodes) -> None:
        """A node finished whole."""
        node = self.nodes[i]
        node.below, node.rows = below, int(below.ints[0, kernel.ROWS])


def weight_of(rules: Rules, sums: IntArray) -> int:
    """The weight of rows, in units, from their channels."""
    return int(sums[0] if rules.criterion >= SQUARED else sums[: rules.n_channels].sum())


def finished(growth: Growth, tree: GrowingTree) -> Nodes:
    """The nodes in the order of a depth-first walk, left before right, as trees that grow whole have them."""
    parts: list[Nodes] = []
    stack = [(0, -1, 0)]
    links: list[tuple[int, int, int]] = []  # parent's place, side, own place
    place = low = 0
    while stack:
        i, parent, side = stack.pop()
        node = tree.nodes[i]
        part = _row(growth, tree, node) if node.below is None else _moved(node.below, place)
        part.ints[:, [kernel.LOW, kernel.HIGH]] += low
        parts.append(part)
        if parent >= 0:
            links.append((parent, side, place))
        if node.below is None and node.split is not None:
            left, right = node.children
            stack += [(right, place, kernel.RIGHT), (left, place, kernel.LEFT)]
        else:
            low += node.rows
        place += len(part.ints)
    out = Nodes(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    for parent, side, child in links:
        out.ints[parent, side] = child
    return out


def _row(growth: Growth, tree: GrowingTree, node: Node) -> Nodes:
    """A table of one node, its rows beginning at zero."""
    ints = np.full((1, kernel.NODE_INTS), -1, np.int64)
    floats = np.array([[node.gain, node.threshold, node.lower, node.upper]])
    sets = np.zeros((1, growth.binning.set_words), np.uint64)
    row = ints[0]
    row[kernel.MISSING_LEFT] = 0
    row[[kernel.ROWS, kernel.DEPTH, kernel.LOW, kernel.HIGH]] = node.rows, node.depth, 0, node.rows
    if node.split is not None:
        feature, cut, missing_left = node.split
        left, right = (tree.nodes[c].rows for c in node.children)
        if node.sets is not None:
            sets[0] = completed(node.sets, left > right)
            missing_left = int(has_bin(sets[0], growth.binning.missing_bin))
        elif missing_left < 0:
            missing_left = int(left > right)
        row[[kernel.FEATURE, kernel.CUT, kernel.MISSING_LEFT]] = feature, cut, missing_left
    squares, keys = np.array([node.square], np.int64), np.array([node.key], np.uint64)
    return Nodes(ints, floats, node.sums[None, :], squares, keys, sets)


def _moved(below: Nodes, place: int) -> Nodes:
    """A subtree whose root stands at some place."""
    ints = below.ints.copy()
    inner = ints[:, kernel.FEATURE] >= 0
    ints[inner, kernel.LEFT] += place
    ints[inner, kernel.RIGHT] += place
    return below._replace(ints=ints)


__all__ = ["GrowingTree", "Node", "Twin", "finished", "weight_of"]
