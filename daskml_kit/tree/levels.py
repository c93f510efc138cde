"""Trees grown level by level over rows that stay where they are: a level of all trees is a round.

The driver sends the splits of the trees so far and the nodes of the next level, with the features to search
there. Each block moves its rows to their nodes, which it remembers in its scratch, and answers with
histograms; the total decides the next splits. Sums are of integers, so the trees are those that grow whole.

References
----------
Panda, Herbach, Basu, Bayardo (2009). PLANET: massively parallel learning of tree ensembles with MapReduce.
PVLDB 2.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np

from daskml_kit.kernels import tree_growth as kernel, tree_levels
from daskml_kit.kernels.tree_categories import completed, has_bin
from daskml_kit.kernels.tree_growth import Nodes, Payload
from daskml_kit.kernels.tree_splits import SQUARED, Rules
from daskml_kit.runtime.block import Block
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.tree.binning import Binning
from daskml_kit.tree.ground import Ground, Growth
from daskml_kit.tree.growing import Columns, best_first, for_weight, in_bag, payload_of
from daskml_kit.typing import Array, FloatArray, IntArray

HISTOGRAM_BYTES = 1 << 27
"""Histograms that one round brings to the driver; a level with more of them takes several rounds."""

_SCRATCH = "tree-levels"
_NO_SET = np.empty(0, np.uint64)


class Wanted(NamedTuple):
    """What a round asks of one tree: all splits so far, and the nodes to search.

    A row of ``splits`` is node, feature, cut, the code that goes left with smaller ones or -1, left, right.
    """

    key: int
    splits: IntArray  # (s, 6)
    sets: Array  # (s, words) uint64: codes that go left by a categorical split
    nodes: IntArray  # (n,)
    features: IntArray  # (n, m)


class Ask(NamedTuple):
    """What a round asks of a block."""

    fit: str
    trees: tuple[Wanted, ...]


class Level(NamedTuple):
    """What a round answers for one tree. Parts add up."""

    hist: IntArray  # (n, m * width)
    rows: IntArray  # (n,)
    squares: IntArray  # (n,)


@dataclass(eq=False)
class _Rows:
    """The rows of a block in the nodes of one tree."""

    payload: Payload
    spare: Payload
    runs: dict[int, tuple[int, int]]
    applied: int = 0


def _chunk(growth: Growth, block: Block, ask: Ask) -> list[Level]:
    kept = block.scratch.get(_SCRATCH)
    if kept is None or kept["fit"] != ask.fit:
        codes = np.ascontiguousarray(np.asarray(block.X).T)
        codes.flags.writeable = False
        columns = Columns(codes, payload_of(block, growth.rules), block.rows)
        kept = {"fit": ask.fit, "columns": columns, "trees": {}}
        block.scratch[_SCRATCH] = kept
    # Trees that are not asked for are finished.
    kept["trees"] = {w.key: kept["trees"].get(w.key) for w in ask.trees}
    return [_level(growth, kept, wanted) for wanted in ask.trees]


def _level(growth: Growth, kept: dict[str, object], wanted: Wanted) -> Level:
    columns: Columns = kept["columns"]  # type: ignore[assignment]
    trees: dict[int, _Rows | None] = kept["trees"]  # type: ignore[assignment]
    rows = trees[wanted.key]
    if rows is None or rows.applied > len(wanted.splits):
        rows = _fresh(growth, columns, wanted.key)
        trees[wanted.key] = rows
    categorical = growth.binning.categorical
    for i in range(rows.applied, len(wanted.splits)):
        node, feature, cut, missing, left, right = wanted.splits[i]
        chosen = wanted.sets[i] if categorical[feature] else _NO_SET
        low, high = rows.runs.pop(node)
        at = kernel.partition(
            columns.codes, rows.payload, rows.spare, low, high, feature, cut, missing, chosen
        )
        rows.runs[left], rows.runs[right] = (low, at), (at, high)
    rows.applied = len(wanted.splits)
    rules = growth.rules
    width = (rules.missing_bin + 1) * rules.stride
    hist = np.zeros((len(wanted.nodes), wanted.features.shape[1] * width), np.int64)
    fill = kernel.fill_values if rules.criterion >= SQUARED else kernel.fill_classes
    counts, squares = np.zeros(len(hist), np.int64), np.zeros(len(hist), np.int64)
    for i, node in enumerate(wanted.nodes):
        low, high = rows.runs[node]
        fill(columns.codes, rows.payload, low, high, wanted.features[i], rules, width, hist[i])
        counts[i] = high - low
        squares[i] = rows.payload.square[low:high].sum()
    return Level(_narrow(hist), counts, squares)


def _narrow(hist: IntArray) -> IntArray:
    """The same numbers in as few bytes as hold them: deep nodes have few rows, and messages are the cost."""
    most = max(int(hist.max(initial=0)), -int(hist.min(initial=0)))
    for dtype in (np.int16, np.int32):
        if most <= np.iinfo(dtype).max:
            return hist.astype(dtype)
    return hist


def _fresh(growth: Growth, columns: Columns, key: int) -> _Rows:
    times = growth.sampling.times(key, columns.rows)
    payload, size, _ = in_bag(columns, times)
    spare = Payload(*(np.empty_like(part) for part in payload))
    return _Rows(payload, spare, {0: (0, size)})


def _combined(a: list[Level], b: list[Level]) -> list[Level]:
    return [_added(x, y) for x, y in zip(a, b, strict=True)]


def _added(a: Level, b: Level) -> Level:
    hist = np.add(a.hist, b.hist, dtype=np.int64)
    return Level(_narrow(hist), a.rows + b.rows, a.squares + b.squares)


# ---------------------------------------------------------------- on the driver


@dataclass(eq=False)
class _Node:
    key: int
    depth: int
    lower: float
    upper: float
    start: int  # of its order of features: where the search goes on
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


@dataclass(eq=False)
class _Tree:
    """One growing tree; nodes are numbered as they are made."""

    key: int
    nodes: list[_Node]
    rules: Rules | None = None
    splits: list[tuple[int, int, int, int, int, int]] = field(default_factory=list)
    sets: list[Array] = field(default_factory=list)
    waiting: list[int] = field(default_factory=lambda: [0])

    def split(self, growth: Growth, i: int, left: IntArray) -> None:
        """Make the children of a node whose split is decided."""
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
            child = _Node(key, node.depth + 1, *bounds[side], 0)
            child.sums = left if side == 0 else node.sums - left
            self.nodes.append(child)
            self.waiting.append(first + side)
        missing = growth.rules.missing_bin if missing_left == 1 else -1
        self.splits.append((i, feature, cut, missing, first, first + 1))
        self.sets.append(_NO_SET if node.sets is None else node.sets[0])


def level_by_level(ground: Ground, growth: Growth, keys: Sequence[int]) -> list[Nodes]:
    """A tree for each key: a round for each level, more where histograms outgrow ``HISTOGRAM_BYTES``."""
    reduction: Reduction[Ask, list[Level], list[Level]] = Reduction(
        "tree-level", partial(_chunk, growth), _combined
    )
    fit = uuid.uuid4().hex
    trees = [_Tree(key, [_Node(key, 0, -np.inf, np.inf, 0)]) for key in keys]
    d = ground.data.facts.n_features
    while any(tree.waiting for tree in trees):
        chosen = _next_nodes(growth, trees, d)
        asked = tuple(_wanted(growth, tree, nodes, d) for tree, nodes in chosen)
        found = ground.executor.reduce(ground.data, reduction, Ask(fit, asked))
        for (tree, nodes), wanted, level in zip(chosen, asked, found, strict=True):
            _decide(growth, tree, nodes, wanted, level, d)
    done = [_finished(tree, growth.binning) for tree in trees]
    if growth.max_leaf_nodes is None:
        return done
    return [best_first(nodes, growth.max_leaf_nodes) for nodes in done]


def _searched_at(growth: Growth, node: _Node, d: int) -> tuple[int, int]:
    """All features drawn for a node; after them one at a time, while none has two values there.

    None at the last level: its nodes are leaves, of which only the rows are to be counted.
    """
    m = min(growth.rules.max_features, d)
    if node.depth >= growth.rules.max_depth:
        return (0, 0)
    return (0, m) if node.start == 0 else (node.start, node.start + 1)


def _next_nodes(growth: Growth, trees: Sequence[_Tree], d: int) -> list[tuple[_Tree, list[int]]]:
    """Waiting nodes, tree by tree, as many as fit the budget; those of one search width a tree."""
    cell = (growth.rules.missing_bin + 1) * growth.rules.stride * 8
    budget, out = HISTOGRAM_BYTES, []
    for tree in trees:
        if not tree.waiting or budget <= 0:
            continue
        widths = {i: _width(growth, tree.nodes[i], d) for i in tree.waiting}
        m = widths[tree.waiting[0]]
        fitting = max(1, budget // (cell * max(m, 1)))
        nodes = [i for i in tree.waiting if widths[i] == m][:fitting]
        taken = set(nodes)
        tree.waiting = [i for i in tree.waiting if i not in taken]
        budget -= len(nodes) * cell * m
        out.append((tree, nodes))
    return out


def _width(growth: Growth, node: _Node, d: int) -> int:
    start, stop = _searched_at(growth, node, d)
    return stop - start


def _wanted(growth: Growth, tree: _Tree, nodes: Sequence[int], d: int) -> Wanted:
    features = [
        tree_levels.searched(
            np.uint64(tree.nodes[i].key), d, *_searched_at(growth, tree.nodes[i], d)
        )
        for i in nodes
    ]
    splits = np.array(tree.splits, np.int64).reshape(-1, 6)
    sets = np.zeros((len(splits), growth.binning.set_words), np.uint64)
    for row, chosen in zip(sets, tree.sets, strict=True):
        row[: len(chosen)] = chosen
    return Wanted(tree.key, splits, sets, np.array(nodes), np.array(features))


def _decide(
    growth: Growth, tree: _Tree, nodes: Sequence[int], wanted: Wanted, level: Level, d: int
) -> None:
    rules = growth.rules
    every = np.arange(rules.missing_bin, dtype=np.int32)[None, :]
    none = np.empty(0, np.int64)
    if tree.rules is None:
        tree.rules = for_weight(rules, _weight(rules, level.hist[0]))
    for j, i in enumerate(nodes):
        node = tree.nodes[i]
        node.rows, node.square = int(level.rows[j]), int(level.squares[j])
        if wanted.features.shape[1] == 0:
            continue
        node.sums, left = np.empty(rules.stride, np.int64), np.empty(rules.stride, np.int64)
        sets = np.empty((2, rules.missing_bin // 64 + 1), np.uint64)
        feature, cut, missing_left, threshold, gain, go_on = tree_levels.settle(
            level.hist[j].astype(np.int64), wanted.features[j], growth.binning.bins, growth.signs, tree.rules,
            node.rows, node.depth, node.square, node.lower, node.upper, np.uint64(node.key),
            every, none, node.sums, left, sets,
        )  # fmt: skip
        stop = _searched_at(growth, node, d)[1]
        if feature >= 0:
            node.split, node.threshold, node.gain = (feature, cut, missing_left), threshold, gain
            node.sets = sets if growth.binning.categorical[feature] else None
            tree.split(growth, i, left)
        elif go_on and stop < d:
            node.start = stop
            tree.waiting.append(i)


def _weight(rules: Rules, hist: IntArray) -> float:
    """The weight of all rows of a tree, from the histogram of one feature at its root."""
    width = (rules.missing_bin + 1) * rules.stride
    sums = hist[:width].reshape(-1, rules.stride).sum(axis=0, dtype=np.int64)[: rules.n_channels]
    total = sums[0] if rules.criterion >= SQUARED else sums.sum()
    return float(total) * rules.unit_weight


def _finished(tree: _Tree, binning: Binning) -> Nodes:
    """The nodes in the order of a depth-first walk, left before right, as trees that grow whole have them."""
    order: list[int] = []
    parents: list[tuple[int, int]] = []  # place of the parent, column of the side
    stack = [(0, -1, 0)]
    while stack:
        i, parent, side = stack.pop()
        parents.append((parent, side))
        place = len(order)
        order.append(i)
        if tree.nodes[i].split is not None:
            left, right = tree.nodes[i].children
            stack += [(right, place, kernel.RIGHT), (left, place, kernel.LEFT)]
    ints = np.full((len(order), kernel.NODE_INTS), -1, np.int64)
    floats: FloatArray = np.zeros((len(order), kernel.NODE_FLOATS))
    sets = np.zeros((len(order), binning.set_words), np.uint64)
    low = 0
    for place, (i, (parent, side)) in enumerate(zip(order, parents, strict=True)):
        node = tree.nodes[i]
        if parent >= 0:
            ints[parent, side] = place
        ints[place, kernel.MISSING_LEFT] = 0
        ints[place, [kernel.ROWS, kernel.DEPTH, kernel.LOW, kernel.HIGH]] = (
            node.rows, node.depth, low, low + node.rows,
        )  # fmt: skip
        if node.split is None:
            low += node.rows
        else:
            feature, cut, missing_left = node.split
            left, right = (tree.nodes[c].rows for c in node.children)
            if node.sets is not None:
                sets[place] = completed(node.sets, left > right)
                missing_left = int(has_bin(sets[place], binning.missing_bin))
            elif missing_left < 0:
                missing_left = int(left > right)
            ints[place, [kernel.FEATURE, kernel.CUT, kernel.MISSING_LEFT]] = (
                feature,
                cut,
                missing_left,
            )
        floats[place] = node.gain, node.threshold, node.lower, node.upper
    own = [tree.nodes[i] for i in order]
    return Nodes(
        ints,
        floats,
        np.array([n.sums for n in own]),
        np.array([n.square for n in own], np.int64),
        np.array([n.key for n in own], np.uint64),
        sets,
    )


__all__ = ["level_by_level"]
