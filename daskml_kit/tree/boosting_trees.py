"""One boosted tree while it grows: which nodes to ask for, and what their histograms decide.

Of two children only the one of less curvature is asked for, and the other's histogram is the parent's less
that one's, exactly.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from daskml_kit.kernels import boosting_splits as kernel
from daskml_kit.kernels.newton_steps import LEAST_CURVATURE, Pursuit, newton_steps
from daskml_kit.kernels.tree_categories import add_bin
from daskml_kit.typing import Array, FloatArray, IntArray

KEPT_BYTES = 1 << 29
"""Histograms of all growing trees that are kept to subtract from, at most; a node without its parent's is
asked for itself."""


class Shape(NamedTuple):
    """How large a tree may grow, and where it is searched.

    ``draw`` gives the features (d,) bool that a node searches; None for all. A split is kept where what is
    below it is worth more than ``leaf_cost`` a leaf. ``by_weight``: what is counted is no rows.
    """

    max_depth: int
    max_leaf_nodes: int | None
    min_samples_split: int
    counts: IntArray  # (d,) bins of each feature
    signs: IntArray  # (d,)
    categorical: IntArray  # (d,), 1 where each bin is a category
    set_words: int  # of a set of categories; 0 where no feature is categorical
    draw: Callable[[int], Array] | None  # by the node's path
    leaf_cost: float = 0.0
    by_weight: bool = False


@dataclass(eq=False)
class Node:
    """A node; leaves have no left child."""

    depth: int
    sums: IntArray
    lower: float
    upper: float
    parent: int
    path: int = 1  # from the root: a bit a level, 1 for right
    rows: int = -1
    decided: bool = False
    left: int = -1  # the right child follows it
    feature: int = -1
    cut: int = -1
    missing_left: int = -1
    unseen: bool = False  # no row that was split here misses the feature
    gain: float = 0.0
    chosen: Array | None = None  # (words,), of a split of categories: those that go left


class Limb(NamedTuple):
    """Nodes as arrays, to be sent: some roots, which come first, and what grew below them."""

    tree: int  # among those that grow at once
    roots: IntArray  # their numbers in it
    paths: tuple[int, ...]  # of the roots
    whole: IntArray  # (n, 8)
    real: FloatArray  # (n, 3)
    sums: IntArray  # (n, 2 or 3)
    sets: Array  # (n, words)


_WHOLE = ("depth", "rows", "decided", "left", "feature", "cut", "missing_left", "unseen")
_REAL = ("lower", "upper", "gain")


def packed(tree: int, roots: Sequence[int] | IntArray, nodes: Sequence[Node], words: int) -> Limb:
    """Nodes as a limb. ``words``: of a set of categories."""
    none = np.zeros(words, np.uint64)
    sets = [none if node.chosen is None else node.chosen for node in nodes]
    return Limb(
        tree,
        np.array(roots, np.int64),
        tuple(node.path for node in nodes[: len(roots)]),
        np.array([[getattr(n, name) for name in _WHOLE] for n in nodes], np.int64).reshape(-1, 8),
        np.array([[getattr(n, name) for name in _REAL] for n in nodes]).reshape(-1, 3),
        np.array([n.sums for n in nodes], np.int64).reshape(len(nodes), -1 if nodes else 2),
        np.array(sets, np.uint64).reshape(len(nodes), words),
    )


def unpacked(limb: Limb) -> list[Node]:
    """The nodes. Of parents and paths those of the roots are known."""
    out = []
    paths = (*limb.paths, *(1 for _ in limb.whole[len(limb.paths) :]))
    rows = zip(paths, limb.whole.tolist(), limb.real.tolist(), limb.sums, limb.sets, strict=True)
    for path, whole, real, sums, chosen in rows:
        depth, n, decided, left, feature, cut, missing_left, unseen = whole
        lower, upper, gain = real
        kept = chosen if left >= 0 and cut < 0 else None
        out.append(
            Node(
                depth, sums, lower, upper, -1, path, n, bool(decided), left, feature, cut,
                missing_left, bool(unseen), gain, kept,
            )
        )  # fmt: skip
    return out


class Wanted(NamedTuple):
    """A node whose rows are asked for, the nodes that follow from it, and which of them are searched."""

    fill: int
    sibling: int  # whose histogram is the parent's less this one's; -1: none
    searched: tuple[int, ...]


class BoostingTree:
    """The tree so far, one of ``width`` that grow at once; or what grows below some nodes of one, ``roots``.

    Nodes are numbered as they are made: level by level. ``kept_bytes``: of histograms, where there is room
    for less than the tree's part of ``KEPT_BYTES``.
    """

    def __init__(
        self,
        shape: Shape,
        rules: Pursuit,
        cell_bytes: int,
        width: int = 1,
        roots: Sequence[Node] = (),
        kept_bytes: float = np.inf,
    ) -> None:
        stride = 3 if rules.min_rows > 1 else 2
        self.shape, self.rules, self.cell_bytes = shape, rules, cell_bytes
        root = Node(0, np.zeros(stride, np.int64), -np.inf, np.inf, -1)
        self.nodes = list(roots) or [root]
        self.splits: list[tuple[int, int, int, int, int]] = []
        self._hist: dict[int, IntArray] = {}
        self._room = min(KEPT_BYTES // width, kept_bytes)

    @property
    def table(self) -> IntArray:
        """All splits that were found: (s, 5) int32, as the kernels take them."""
        return np.array(self.splits, np.int32).reshape(-1, 5)

    @property
    def sets(self) -> Array:
        """The categories that they send left: (s, words) uint64."""
        return self.sets_of([split[0] for split in self.splits])

    def sets_of(self, ids: Iterable[int]) -> Array:
        """The categories that some nodes send left: (n, words) uint64."""
        none = np.zeros(self.shape.set_words, np.uint64)
        chosen = (self.nodes[i].chosen for i in ids)
        rows = [none if own is None else own for own in chosen]
        return np.array(rows, np.uint64).reshape(len(rows), self.shape.set_words)

    # ---------------------------------------------------------------- asking

    def wanted(self, budget: int) -> list[Wanted]:
        """What to ask for next: as many nodes as fit some bytes of histograms, at least one."""
        out: list[Wanted] = []
        undecided = [i for i in self._reached() if not self.nodes[i].decided]
        waiting = set(undecided)
        for i in undecided:
            if i not in waiting or (out and budget < self.cell_bytes):
                continue
            waiting.discard(i)
            node = self.nodes[i]
            twin = self._twin(i)
            if node.parent not in self._hist:
                out.append(Wanted(i, -1, (i,)))
            else:
                searched = (i, twin) if twin in waiting else (i,)
                waiting.discard(twin)
                fill = min(i, twin, key=lambda j: self._size(self.nodes[j]))
                out.append(Wanted(fill, i + twin - fill, searched))
            budget -= self.cell_bytes
        return out

    def _twin(self, i: int) -> int:
        parent = self.nodes[i].parent
        return -1 if parent < 0 else 2 * self.nodes[parent].left + 1 - i

    @staticmethod
    def _size(node: Node) -> int:
        """Rows where they are counted, else curvature."""
        return int(node.sums[-1])

    def _reached(self) -> list[int]:
        """All nodes, or those that growing by the largest gain first reaches if unknown gains are none."""
        if self.shape.max_leaf_nodes is None:
            return list(range(len(self.nodes)))
        reached = [0]
        for i in self._chosen(self.shape.max_leaf_nodes):
            left = self.nodes[i].left
            reached += [left, left + 1]
        return reached

    def _chosen(self, max_leaf_nodes: int) -> list[int]:
        """The nodes that are split when the largest gain goes first."""
        heap, out = [(-self.nodes[0].gain, 0)], list[int]()
        while heap and len(out) + 1 < max_leaf_nodes:
            _, i = heapq.heappop(heap)
            if self.nodes[i].left < 0:
                continue
            out.append(i)
            for child in (self.nodes[i].left, self.nodes[i].left + 1):
                heapq.heappush(heap, (-self.nodes[child].gain, child))
        return out

    # ---------------------------------------------------------------- deciding

    def decide(self, asked: Sequence[Wanted], hist: IntArray, rows: IntArray) -> None:
        """Split the nodes that were asked for.

        Parameters
        ----------
        hist : (len(asked), d, bins, stride) int64
        rows : (len(asked),)
        """
        own: dict[int, IntArray] = {}
        for wanted, cells, n in zip(asked, hist, rows, strict=True):
            own[wanted.fill] = cells
            self.nodes[wanted.fill].rows = int(n)
            parent = self.nodes[wanted.fill].parent
            if wanted.sibling >= 0:
                own[wanted.sibling] = self._hist[parent] - cells
                self.nodes[wanted.sibling].rows = self.nodes[parent].rows - int(n)
        if asked and asked[0].fill == 0:
            self.nodes[0].sums = own[0][0].sum(axis=0)
        searched = [i for wanted in asked for i in wanted.searched]
        for parent in {self.nodes[i].parent for i in searched}:
            self._hist.pop(parent, None)
        for i in searched:
            self.nodes[i].decided = True
        self._search([i for i in searched if self._may_split(self.nodes[i])], own)

    def _may_split(self, node: Node) -> bool:
        heavy = node.sums[1] * self.rules.unit_curvature >= 2 * LEAST_CURVATURE
        deep = node.depth >= self.shape.max_depth
        return bool(heavy and not deep and node.rows >= self.shape.min_samples_split)

    def _search(self, ids: Sequence[int], own: dict[int, IntArray]) -> None:
        if not ids:
            return
        nodes = [self.nodes[i] for i in ids]
        sums = np.array([n.sums for n in nodes])
        rows = np.array([n.rows for n in nodes], np.int64)
        bounds = np.array([(n.lower, n.upper) for n in nodes])
        draw = self.shape.draw
        drawn = np.empty((0, 0), bool) if draw is None else np.array([draw(n.path) for n in nodes])
        m = len(ids)
        found, gains = np.empty((m, 3), np.int64), np.empty(m)
        left, sets = np.zeros_like(sums), np.zeros((m, self.shape.set_words), np.uint64)
        for j, i in enumerate(ids):  # one by one: their histograms are not next to each other
            at = slice(j, j + 1)
            kernel.search(
                own[i][None], sums[at], rows[at], bounds[at], drawn[at], self.shape.counts,
                self.shape.signs, self.shape.categorical, self.rules, found[at], gains[at],
                left[at], sets[at],
            )  # fmt: skip
        for j, i in enumerate(ids):
            if found[j, kernel.FEATURE] >= 0:
                self._split(i, found[j], float(gains[j]), left[j], sets[j])
                self._keep(i, own[i])

    def _keep(self, i: int, hist: IntArray) -> None:
        """A histogram to subtract from, where a child is to be searched; not the round's that it lies in."""
        left = self.nodes[i].left
        done = self.nodes[left].decided and self.nodes[left + 1].decided
        if not done and (len(self._hist) + 1) * self.cell_bytes <= self._room:
            self._hist[i] = hist if hist.base is None else hist.copy()

    def _split(self, i: int, found: IntArray, gain: float, left: IntArray, chosen: Array) -> None:
        node = self.nodes[i]
        node.feature, node.cut, node.missing_left = (int(v) for v in found)
        node.gain, node.left = gain, len(self.nodes)
        sums = (left, node.sums - left)
        node.unseen = node.missing_left < 0
        if node.unseen:  # where most rows go, or most curvature as long as they are not counted
            node.missing_left = int(sums[0][-1] > sums[1][-1])
        if self.shape.categorical[node.feature]:
            node.chosen = chosen
            if node.missing_left:
                add_bin(chosen, self.rules.missing_bin)
        bounds = [(node.lower, node.upper), (node.lower, node.upper)]
        sign = self.shape.signs[node.feature]
        if sign:
            between = float(self._values(np.array(sums), np.array(bounds)).mean())
            below = 0 if sign > 0 else 1
            bounds[below] = (node.lower, between)
            bounds[1 - below] = (between, node.upper)
        for side in (0, 1):
            child = Node(node.depth + 1, sums[side], *bounds[side], i, 2 * node.path + side)
            child.decided = not self._might_split(child)
            self.nodes.append(child)
        self.splits.append((i, node.feature, node.cut, node.missing_left, node.left))

    def _might_split(self, child: Node) -> bool:
        """Before its rows are known, where they are not counted."""
        counted = len(child.sums) > 2 and not self.shape.by_weight
        child.rows = int(child.sums[2]) if counted else self.shape.min_samples_split
        out = self._may_split(child)
        child.rows = -1
        return out

    def _values(self, sums: IntArray, bounds: FloatArray) -> FloatArray:
        out = np.empty(len(sums))
        newton_steps(self.rules, sums, bounds, out)
        return out

    # ---------------------------------------------------------------- what grew elsewhere

    def open_nodes(self) -> list[int]:
        """The nodes that have not been decided."""
        return [i for i, node in enumerate(self.nodes) if not node.decided]

    def graft(self, limbs: Sequence[Limb]) -> None:
        """What grew below all open nodes; numbered as if it had grown here."""
        given = {int(i): (limb, j) for limb in limbs for j, i in enumerate(limb.roots)}
        found = [unpacked(limb) for limb in limbs]
        own = {id(limb): nodes for limb, nodes in zip(limbs, found, strict=True)}
        queue = deque(sorted(given))
        while queue:
            i = queue.popleft()
            limb, j = given.pop(i)
            grown = own[id(limb)]
            node, before = grown[j], self.nodes[i]
            node.parent, node.path, left = before.parent, before.path, node.left
            self.nodes[i] = node
            if left < 0:
                continue
            node.left = len(self.nodes)
            self.splits.append((i, node.feature, node.cut, node.missing_left, node.left))
            for side in (0, 1):
                child = grown[left + side]
                child.parent, child.path = i, 2 * node.path + side
                given[len(self.nodes)] = limb, left + side
                queue.append(len(self.nodes))
                self.nodes.append(child)
        self._hist.clear()

    # ---------------------------------------------------------------- at the end

    def finished(self) -> list[int]:
        """The nodes that are split in the end."""
        most = self.shape.max_leaf_nodes
        split = [split[0] for split in self.splits] if most is None else self._chosen(most)
        return self._unpruned(split) if self.shape.leaf_cost > 0 else split

    def _unpruned(self, split: Sequence[int]) -> list[int]:
        """Those of some splits that minimal cost-complexity pruning keeps (Breiman et al. 1984, 3.3)."""
        worth = self.worth()
        best = worth - self.shape.leaf_cost  # of a node with what is below it, its leaves paid for
        kept = set(split)
        for i in sorted(split, reverse=True):  # children come after their parents
            left = self.nodes[i].left
            below = best[left] + best[left + 1]
            if below > best[i]:
                best[i] = below
            else:
                kept.discard(i)
        reached = [0] if 0 in kept else []
        for i in reached:
            left = self.nodes[i].left
            reached += [child for child in (left, left + 1) if child in kept]
        return reached

    def worth(self) -> FloatArray:
        """Twice what each node would take off the loss, were it a leaf (n,)."""
        values = self.values()
        sums = np.array([n.sums[:2] for n in self.nodes])
        bend = sums[:, 1] * self.rules.unit_curvature + self.rules.l2
        out: FloatArray = (2 * sums[:, 0] * self.rules.unit_gradient - bend * values) * values
        return out

    def values(self) -> FloatArray:
        """What each node would predict, were it a leaf: Newton steps (n,)."""
        bounds = np.array([(n.lower, n.upper) for n in self.nodes])
        return self._values(np.array([n.sums for n in self.nodes]), bounds)


__all__ = ["BoostingTree", "Limb", "Node", "Shape", "Wanted", "packed", "unpacked"]
