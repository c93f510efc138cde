"""Trees grown level by level over rows that stay where they are: a level of all trees is a round.

The driver sends the splits of the trees so far and the nodes of the next level, with the features to search
there. Each block moves its rows to their nodes, which it remembers in its scratch, and answers with
histograms; the total decides the next splits. Sums are of integers, so the trees are those that grow whole.
Where all features are searched, the heavier of two siblings is their parent less the lighter, whose rows
alone are looked at. Where a round's histograms are many, workers merge them
(:mod:`~daskml_kit.tree.merging`). Where features are elected first, a level is two rounds
(:mod:`~daskml_kit.tree.voting`). Small nodes are finished whole (:mod:`~daskml_kit.tree.finishing`).

References
----------
Panda, Herbach, Basu, Bayardo (2009). PLANET: massively parallel learning of tree ensembles with MapReduce.
PVLDB 2.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from daskml_kit.kernels import tree_levels
from daskml_kit.kernels.tree_growth import Nodes
from daskml_kit.kernels.tree_splits import SQUARED
from daskml_kit.kernels.tree_spread import fill_nodes
from daskml_kit.runtime.block import Block
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.tree import finishing, merging, voting
from daskml_kit.tree.finishing import Small
from daskml_kit.tree.ground import MEMORY_SHARE, Ground, Growth
from daskml_kit.tree.growing import best_first
from daskml_kit.tree.level_nodes import GrowingTree, Node, Twin, finished, weight_of
from daskml_kit.tree.merging import Level, Part, combined
from daskml_kit.tree.standing import Splits, standing
from daskml_kit.tree.travel import narrow
from daskml_kit.typing import IntArray

HISTOGRAM_BYTES = 1 << 27
"""Histograms that one round brings to the driver; a level with more of them takes several rounds."""

STANDING_BYTES = {True: 28, False: 16}
"""What a tree keeps beside a row between rounds, by whether targets are values."""

SURELY_SMALL = 4
"""Children count as small by their share of the weight only below a node of so many times as many rows: rows
of next to no weight are rows too."""


class Wanted(NamedTuple):
    """What a round asks of one tree: the nodes to search, after all splits so far."""

    splits: Splits
    nodes: IntArray  # (n,)
    features: IntArray  # (n, m)


class Ask(NamedTuple):
    """What a round asks of a block."""

    fit: str
    growing: tuple[int, ...]  # keys of the trees that are not finished
    trees: tuple[Wanted, ...]


def _chunk(growth: Growth, block: Block, ask: Ask) -> list[Level]:
    splits = [wanted.splits for wanted in ask.trees]
    columns, trees = standing(growth, block, ask.fit, ask.growing, splits)
    out = []
    for wanted, own in zip(ask.trees, trees, strict=True):
        n, m = wanted.features.shape
        cells = (growth.rules.missing_bin + 1) * growth.rules.stride
        hist = np.zeros((n, m * cells), np.int64)
        level = Level(hist, np.zeros(n, np.int64), np.zeros(n, np.int64))
        fill_nodes(
            columns.codes,
            own.payload,
            own.runs,
            wanted.nodes,
            wanted.features,
            growth.rules,
            *level,
        )
        out.append(level._replace(hist=narrow(hist)))
    return out


# ---------------------------------------------------------------- on the driver


def level_by_level(ground: Ground, growth: Growth, keys: Sequence[int]) -> list[Nodes]:
    """A tree for each key: a round for each level until all nodes are small, and one that finishes those.

    More rounds where histograms outgrow ``HISTOGRAM_BYTES``, where the rows that travel outgrow their share
    of memory, or what trees keep beside the rows does.
    """
    out: list[Nodes] = []
    for group in _groups(ground, growth, keys):
        out += _Forest.of(ground, growth, group).grown()
    if growth.max_leaf_nodes is None:
        return out
    return [best_first(nodes, growth.max_leaf_nodes) for nodes in out]


def _groups(ground: Ground, growth: Growth, keys: Sequence[int]) -> Iterator[Sequence[int]]:
    """Trees whose rows, kept beside the blocks, take a share of the memory of every worker."""
    workers = getattr(ground.executor, "workers", {}).values()
    limits = [w.memory_limit for w in workers if w.memory_limit]
    size = len(keys)
    if limits:
        a_tree = ground.data.facts.n_rows * STANDING_BYTES[growth.rules.criterion >= SQUARED]
        size = max(1, int(MEMORY_SHARE * min(limits) * len(workers) // max(1, a_tree)))
    for low in range(0, len(keys), size):
        yield keys[low : low + size]


@dataclass(eq=False)
class _Forest:
    """Trees that grow side by side."""

    ground: Ground
    growth: Growth
    trees: list[GrowingTree]
    fit: str
    d: int
    small_rows: int
    every: IntArray  # all bins
    kept_bytes: int = 0  # histograms of parents

    @classmethod
    def of(cls, ground: Ground, growth: Growth, keys: Sequence[int]) -> _Forest:
        d = ground.data.facts.n_features
        if growth.top_k is None:
            small = finishing.small_rows(ground, growth, len(keys))
        else:
            small = voting.small_rows(ground.data.facts, growth)
        trees = [GrowingTree.of(key) for key in keys]
        every = np.arange(growth.rules.missing_bin, dtype=np.int32)[None, :]
        return cls(ground, growth, trees, uuid.uuid4().hex, d, small, every)

    def grown(self) -> list[Nodes]:
        while any(tree.waiting for tree in self.trees):
            chosen = self._next_nodes()
            if self._histogram_bytes(chosen) > merging.MERGE_BYTES and self._spread():
                self._level_apart(chosen)
            else:
                self._level(chosen)
        while any(tree.small for tree in self.trees):
            self._finish()
        return [finished(self.growth, tree) for tree in self.trees]

    def _growing(self, chosen: Sequence[tuple[GrowingTree, object]]) -> tuple[int, ...]:
        """Keys of the trees that are not finished."""
        taken = {tree.key for tree, _ in chosen}
        return tuple(tree.key for tree in self.trees if tree.growing or tree.key in taken)

    # ------------------------------------------------------------ a level

    def _searched_at(self, node: Node) -> tuple[int, int]:
        """All features drawn for a node; after them one at a time, while none has two values there.

        None at the last level: its nodes are leaves, of which only the rows are to be counted.
        """
        m = min(self.growth.rules.max_features, self.d)
        if node.depth >= self.growth.rules.max_depth:
            return (0, 0)
        return (0, m) if node.start == 0 else (node.start, node.start + 1)

    def _width(self, node: Node) -> int:
        """Features of which histograms are merged."""
        start, stop = self._searched_at(node)
        top_k = self.growth.top_k
        return stop - start if top_k is None else min(stop - start, 2 * top_k)

    def _next_nodes(self) -> list[tuple[GrowingTree, list[int]]]:
        """Waiting nodes, tree by tree, as many as fit the budget; those of one search width a tree."""
        cell = (self.growth.rules.missing_bin + 1) * self.growth.rules.stride * 8
        budget, out = HISTOGRAM_BYTES, []
        for tree in self.trees:
            if not tree.waiting or budget <= 0:
                continue
            widths = {i: self._width(tree.nodes[i]) for i in tree.waiting}
            m = widths[tree.waiting[0]]
            fitting = max(1, budget // (cell * max(m, 1)))
            nodes = [i for i in tree.waiting if widths[i] == m][:fitting]
            taken = set(nodes)
            tree.waiting = [i for i in tree.waiting if i not in taken]
            budget -= len(nodes) * cell * m
            out.append((tree, nodes))
        return out

    def _wanted(self, tree: GrowingTree, nodes: Sequence[int]) -> Wanted:
        features = [
            tree_levels.searched(np.uint64(node.key), self.d, *self._searched_at(node))
            for node in (tree.nodes[i] for i in nodes)
        ]
        return Wanted(tree.splits(self.growth), np.array(nodes), np.array(features))

    def _asked(self, chosen: Sequence[tuple[GrowingTree, list[int]]]) -> tuple[Wanted, ...]:
        """What is wanted of each tree; where features are elected first, after one round of votes."""
        asked = [self._wanted(tree, nodes) for tree, nodes in chosen]
        top_k = self.growth.top_k
        many = [
            t for t, wanted in enumerate(asked) if top_k and wanted.features.shape[1] > 2 * top_k
        ]
        if many:
            named = tuple(self._nominated(chosen[t], asked[t]) for t in many)
            ballot = voting.Ballot(self.fit, self._growing(chosen), named)
            for t, features in zip(
                many, voting.elected(self.ground, self.growth, ballot), strict=True
            ):
                asked[t] = asked[t]._replace(features=features)
        return tuple(asked)

    @staticmethod
    def _nominated(chosen: tuple[GrowingTree, list[int]], wanted: Wanted) -> voting.Nominated:
        tree, at = chosen
        nodes = [tree.nodes[i] for i in at]
        keys = np.array([node.key for node in nodes], np.uint64)
        bounds = np.array([(node.lower, node.upper) for node in nodes])
        return voting.Nominated(*wanted, keys, bounds)

    def _histogram_bytes(self, chosen: Sequence[tuple[GrowingTree, list[int]]]) -> int:
        cells = (self.growth.rules.missing_bin + 1) * self.growth.rules.stride
        m = sum(self._width(tree.nodes[i]) for tree, nodes in chosen for i in nodes)
        return m * cells * 8

    def _spread(self) -> bool:
        """Whether there are workers to merge what others have found."""
        return len(getattr(self.ground.executor, "workers", {})) > 1

    def _level(self, chosen: Sequence[tuple[GrowingTree, list[int]]]) -> None:
        """One round: the driver merges histograms and decides."""
        reduction: Reduction[Ask, list[Level], list[Level]] = Reduction(
            "tree-level", partial(_chunk, self.growth), combined
        )
        asked = self._asked(chosen)
        ask = Ask(self.fit, self._growing(chosen), asked)
        found = self.ground.executor.reduce(self.ground.data, reduction, ask)
        for (tree, nodes), wanted, level in zip(chosen, asked, found, strict=True):
            self._decide(tree, nodes, wanted, level)

    def _level_apart(self, chosen: Sequence[tuple[GrowingTree, list[int]]]) -> None:
        """One round: workers merge histograms and say which feature is best."""
        for tree, nodes in chosen:
            for i in list(nodes):
                self._part_from_twin(tree, i, nodes)
        asked = self._asked(chosen)
        parts = [
            Part(t, j, 0, wanted.features[j], node.key, node.lower, node.upper, tree.rules)
            for t, ((tree, nodes), wanted) in enumerate(zip(chosen, asked, strict=True))
            for j, node in enumerate(tree.nodes[i] for i in nodes)
        ]
        ask = Ask(self.fit, self._growing(chosen), asked)
        chunk = partial(_chunk, self.growth)
        levels, best = merging.merged_apart(self.ground, self.growth, chunk, ask, parts)
        for t, ((tree, nodes), wanted, level) in enumerate(zip(chosen, asked, levels, strict=True)):
            for j, i in enumerate(nodes):
                node, found = tree.nodes[i], best.get((t, j))
                node.rows, node.square = int(level.rows[j]), int(level.squares[j])
                if found is None:  # no feature is searched
                    continue
                tree.rules = tree.rules or merging.root_rules(self.growth.rules, found.hist)
                at = max(found.where, 0)
                hist, own = found.hist.astype(np.int64), wanted.features[j][at : at + 1]
                self._settle(tree, i, hist, own, varied=found.varied, whole=False)

    def _part_from_twin(self, tree: GrowingTree, i: int, nodes: list[int]) -> None:
        """Look at the heavier sibling, too: its histograms would need the lighter one's here."""
        node = tree.nodes[i]
        if node.twin is not None:
            nodes.append(node.twin.node)
            self.kept_bytes -= node.twin.hist.nbytes
            node.twin = None

    def _decide(
        self, tree: GrowingTree, nodes: Sequence[int], wanted: Wanted, level: Level
    ) -> None:
        if tree.rules is None:
            tree.rules = merging.root_rules(self.growth.rules, level.hist[0])
        for j, i in enumerate(nodes):
            node = tree.nodes[i]
            node.rows, node.square = int(level.rows[j]), int(level.squares[j])
            if wanted.features.shape[1] == 0:
                continue
            hist = level.hist[j].astype(np.int64)
            self._settle(tree, i, hist, wanted.features[j], whole=self.growth.top_k is None)
            if node.twin is not None:
                twin, above = tree.nodes[node.twin.node], tree.nodes[node.twin.parent]
                twin.rows, twin.square = above.rows - node.rows, above.square - node.square
                self.kept_bytes -= hist.nbytes
                self._settle(tree, node.twin.node, node.twin.hist - hist, wanted.features[j])
                node.twin = None

    def _settle(
        self,
        tree: GrowingTree,
        i: int,
        hist: IntArray,
        features: IntArray,
        *,
        varied: bool = False,
        whole: bool = True,
    ) -> None:
        """Split a node, let it search on, or leave it.

        ``varied``: whether a feature that was searched elsewhere has rows in two bins; ``whole``: whether
        all histograms are here.
        """
        rules, binning, node = self.growth.rules, self.growth.binning, tree.nodes[i]
        assert tree.rules is not None
        node.sums, left = np.empty(rules.stride, np.int64), np.empty(rules.stride, np.int64)
        sets = np.empty((2, rules.missing_bin // 64 + 1), np.uint64)
        feature, cut, missing_left, threshold, gain, go_on = tree_levels.settle(
            hist, features, binning.bins, self.growth.signs, tree.rules, node.rows, node.depth, node.square,
            node.lower, node.upper, np.uint64(node.key), self.every, np.empty(0, np.int64), node.sums, left,
            sets,
        )  # fmt: skip
        stop = self._searched_at(node)[1]
        if feature >= 0:
            node.split, node.threshold, node.gain = (feature, cut, missing_left), threshold, gain
            node.sets = sets if binning.categorical[feature] else None
            self._send_down(tree, i, tree.split(self.growth, i, left), hist if whole else None)
        elif go_on and not varied and stop < self.d:
            node.start = stop
            tree.waiting.append(i)

    def _send_down(
        self, tree: GrowingTree, i: int, children: tuple[int, int], hist: IntArray | None
    ) -> None:
        """Let children wait for the next level or, if they are small, for their end."""
        node, rules = tree.nodes[i], self.growth.rules
        light, heavy = sorted(children, key=lambda c: weight_of(rules, tree.nodes[c].sums))
        waiting = [c for c in (light, heavy) if not self._is_small(tree, node, c)]
        subtracts = len(waiting) == 2 and self._searched_at(tree.nodes[light]) == (0, self.d)
        if hist is not None and subtracts and self.kept_bytes + hist.nbytes <= HISTOGRAM_BYTES:
            self.kept_bytes += hist.nbytes
            tree.nodes[light].twin = Twin(heavy, i, hist)
            waiting = [light]
        tree.waiting += waiting

    def _is_small(self, tree: GrowingTree, above: Node, i: int) -> bool:
        """Whether a child is to be finished whole; it is noted as such."""
        node, rules = tree.nodes[i], self.growth.rules
        if above.rows > SURELY_SMALL * self.small_rows or node.depth >= rules.max_depth:
            return False
        share = weight_of(rules, node.sums) / max(1, weight_of(rules, above.sums))
        node.rows = max(1, int(above.rows * share))  # until they are counted
        if node.rows <= self.small_rows:
            tree.small.append(i)
        return node.rows <= self.small_rows

    # ------------------------------------------------------------ the end

    def _finish(self) -> None:
        """Finish as many small nodes as may travel at once."""
        row = finishing.row_bytes(self.growth, self.d)
        budget = finishing.budget_of(self.ground)
        chosen: list[tuple[GrowingTree, int]] = []
        for tree in self.trees:
            while tree.small and (budget > 0 or not chosen):
                i = tree.small.pop()
                budget -= tree.nodes[i].rows * row
                chosen.append((tree, i))
        growing = self._growing(chosen)
        trees = list(dict.fromkeys(tree for tree, _ in chosen))
        place = {tree: at for at, tree in enumerate(trees)}
        small = [self._small(place[tree], tree, i) for tree, i in chosen]
        splits = [tree.splits(self.growth) for tree in trees]
        found = finishing.finish(self.ground, self.growth, self.fit, growing, splits, small)
        for (tree, i), below in zip(chosen, found, strict=True):
            tree.attach(i, below)

    def _small(self, place: int, tree: GrowingTree, i: int) -> Small:
        node = tree.nodes[i]
        assert tree.rules is not None
        return Small(
            place, i, node.key, node.depth, node.lower, node.upper, tree.rules.weight, node.rows
        )


__all__ = ["level_by_level"]
