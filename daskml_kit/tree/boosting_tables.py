"""What is kept of a boosted tree: its nodes in the order in which they were made."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from daskml_kit.tree.binning import Binning
from daskml_kit.tree.boosting_trees import BoostingTree, Node
from daskml_kit.typing import Array, FloatArray, IntArray


class Table(NamedTuple):
    """The nodes of one tree in the order in which they were made, the root first."""

    left: IntArray  # (n,), -1 at a leaf
    right: IntArray
    feature: IntArray
    cut: IntArray  # the last code that goes left; -1 where categories are split
    threshold: FloatArray  # what ``cut`` stands for; empty before :func:`placed`
    missing_left: IntArray  # 1, 0; before :meth:`counted` also -1: where more rows go
    values: FloatArray  # Newton step or quantile, without learning rate
    gains: FloatArray
    rows: IntArray
    worth: FloatArray  # twice what the node takes off the loss
    depth: IntArray
    sets: Array | None = (
        None  # (n, words) uint64, the categories that go left; None without such features
    )

    def counted(self, leaf_rows: IntArray, missing_bin: int) -> Table:
        """With the rows of its leaves, and so of all nodes, and where missing values go by them."""
        rows = self.rows.copy()
        rows[self.left < 0] = leaf_rows
        for i in np.flatnonzero(self.left >= 0)[::-1]:  # children come after parents
            rows[i] = rows[self.left[i]] + rows[self.right[i]]
        missing_left = self.missing_left.copy()
        unset = np.flatnonzero(missing_left < 0)
        missing_left[unset] = rows[self.left[unset]] > rows[self.right[unset]]
        out = self._replace(rows=rows, missing_left=missing_left)
        return out if self.sets is None else out._with_missing_in_sets(unset, missing_bin)

    def _with_missing_in_sets(self, nodes: IntArray, missing_bin: int) -> Table:
        """With missing values in the sets of those of some nodes that send them left, and not of others."""
        assert self.sets is not None
        sets = self.sets.copy()
        word, bit = missing_bin >> 6, np.uint64(1) << np.uint64(missing_bin & 63)
        nodes = nodes[self.cut[nodes] < 0]
        own = sets[nodes, word]
        sets[nodes, word] = np.where(self.missing_left[nodes] > 0, own | bit, own & ~bit)
        return self._replace(sets=sets)


class Scores(NamedTuple):
    """Mean losses after an iteration; NaN where there are no such rows."""

    train: float
    improvement: float  # of rows that its trees did not draw
    unseen: float  # the same rows' loss after it
    held_out: float


class Iteration(NamedTuple):
    """The trees of a finished iteration, and the losses after it."""

    tables: list[Table]
    scores: Scores


def table_of(tree: BoostingTree, missing: Array) -> tuple[Table, IntArray]:
    """The finished tree, and its nodes' numbers while it grew.

    Parameters
    ----------
    missing : (d,) bool
        The features of which some row of the fit has no value. What splits of the others do with missing
        values is open until rows are counted.
    """
    split = set(tree.finished())
    ids = np.array(sorted({0} | {tree.nodes[i].left + side for i in split for side in (0, 1)}))
    number = {int(i): at for at, i in enumerate(ids)}
    pairs = [(tree.nodes[i], int(i) in split) for i in ids]
    nodes = [node for node, _ in pairs]
    inner = np.array([s for _, s in pairs])
    left = np.array([number[n.left] if s else -1 for n, s in pairs])
    return Table(
        left,
        np.where(inner, left + 1, -1),
        np.where(inner, [n.feature for n in nodes], -1),
        np.where(inner, [n.cut for n in nodes], -1),
        np.empty(0),
        np.where(inner, [_missing_left(n, missing) for n in nodes], 0),
        tree.values()[ids],
        np.where(inner, [n.gain for n in nodes], 0.0),
        np.zeros(len(ids), np.int64),
        tree.worth()[ids],
        np.array([n.depth for n in nodes]),
        tree.sets_of(ids) if tree.shape.set_words else None,
    ), ids


def _missing_left(node: Node, missing: Array) -> int:
    return -1 if node.unseen and not missing[node.feature] else node.missing_left


def placed(table: Table, binning: Binning) -> Table:
    """With thresholds: values up to them go left; infinite where missing values alone go right, NaN where
    categories are split.
    """
    threshold = np.full(len(table.left), -2.0)
    for i in np.flatnonzero(table.left >= 0):
        feature, cut = table.feature[i], table.cut[i]
        last = cut >= binning.counts[feature] - 1
        if binning.categorical[feature]:
            threshold[i] = np.nan
        else:
            threshold[i] = np.inf if last else binning.edges[feature, cut]
    return table._replace(threshold=threshold)


__all__ = ["Iteration", "Scores", "Table", "placed", "table_of"]
