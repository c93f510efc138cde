"""Grown nodes as scikit-learn's own tree: what reads, draws, prunes or predicts with that reads ours."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.tree._tree import NODE_DTYPE, Tree, _build_pruned_tree_ccp

from daskml_kit.kernels import tree_growth as kernel
from daskml_kit.kernels.tree_categories import Coding, has_bin
from daskml_kit.kernels.tree_growth import Nodes, impurities
from daskml_kit.kernels.tree_predict import Packed, packed
from daskml_kit.kernels.tree_splits import SQUARED, Rules
from daskml_kit.tree.answers import all_leaves, all_paths, mean_values, table_of
from daskml_kit.typing import Array, FloatArray, IntArray, Matrix

_NO_FEATURE, _NO_THRESHOLD = -2, -2.0


def values_of(nodes: Nodes, rules: Rules) -> FloatArray:
    """What each node predicts: shares of classes (n, n_classes), or the mean (n, 1)."""
    sums = nodes.sums[:, : rules.n_channels]
    if rules.criterion < SQUARED:
        counts = sums * rules.unit_weight
        shares: FloatArray = counts / counts.sum(axis=1, keepdims=True)
        if rules.constrained:
            second = _within_bounds(shares[:, 1], nodes)
            shares = np.column_stack([1.0 - second, second])
        return shares
    means: FloatArray = sums[:, 1] * rules.unit_value / (sums[:, 0] * rules.unit_weight + rules.l2)
    if rules.constrained:
        means = _within_bounds(means, nodes)
    return means[:, None]


def _within_bounds(values: FloatArray, nodes: Nodes) -> FloatArray:
    """What monotonic constraints leave of values."""
    lower, upper = nodes.floats[:, kernel.LOWER], nodes.floats[:, kernel.UPPER]
    out: FloatArray = np.clip(values, lower, upper)
    return out


def weights_of(nodes: Nodes, rules: Rules) -> FloatArray:
    """The weight of each node's rows."""
    sums = nodes.sums[:, : rules.n_channels]
    out = sums[:, 0] if rules.criterion >= SQUARED else sums.sum(axis=1)
    weights: FloatArray = out * rules.unit_weight
    return weights


class CategoricalTree:
    """scikit-learn's tree, and which categories its nodes send left.

    It has the attributes of :class:`sklearn.tree._tree.Tree`; thresholds of categorical splits are NaN.

    Attributes
    ----------
    tree : sklearn.tree._tree.Tree
    sets : uint64 (node_count, words)
        A bit for each code: those that go left.
    coding : Coding
        The codes of the categorical features' values.
    """

    def __init__(self, tree: Tree, sets: Array, coding: Coding) -> None:
        self.tree, self.sets, self.coding = tree, sets, coding

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.tree, name)

    def __reduce__(self) -> tuple[Any, ...]:
        return (CategoricalTree, (self.tree, self.sets, self.coding))

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = self.tree.__getstate__()
        return state | {"sets": self.sets, "coding": self.coding}

    def categories_left(self, node: int) -> FloatArray:
        """The values that a categorical node sends left; NaN among them where missing and unknown ones go."""
        f, words = self.tree.feature[node], self.sets[node]
        at = list(self.coding.features).index(f)
        values = self.coding.values[at]
        left = [v for code, v in enumerate(values) if has_bin(words, code)]
        return np.array(left + [np.nan] * has_bin(words, self.coding.missing), np.float64)

    def _packed(self) -> Packed:
        return packed([table_of(self)])

    def predict(self, X: Matrix) -> FloatArray:
        """What the leaf of each row holds: (n, width)."""
        return mean_values(self._packed(), X)

    def apply(self, X: Matrix) -> IntArray:
        """The leaf of each row: (n,)."""
        out: IntArray = all_leaves(self._packed(), X)[:, 0]
        return out

    def decision_path(self, X: Matrix) -> Any:
        """CSR matrix of the nodes that each row passes."""
        return all_paths(self._packed(), X)[0]


def as_tree(
    nodes: Nodes,
    rules: Rules,
    n_features: int,
    values: FloatArray | None = None,
    coding: Coding | None = None,
) -> Any:
    """scikit-learn's tree of the same nodes in the same order; with categories, a :class:`CategoricalTree`.

    Parameters
    ----------
    values : (n, width)
        In place of :func:`values_of`.
    coding : of the categorical features, None where there are none
    """
    table = np.zeros(len(nodes.ints), NODE_DTYPE)
    leaf = nodes.ints[:, kernel.FEATURE] < 0
    table["left_child"] = nodes.ints[:, kernel.LEFT]
    table["right_child"] = nodes.ints[:, kernel.RIGHT]
    table["feature"] = np.where(leaf, _NO_FEATURE, nodes.ints[:, kernel.FEATURE])
    table["threshold"] = np.where(leaf, _NO_THRESHOLD, nodes.floats[:, kernel.THRESHOLD])
    table["impurity"] = impurities(rules, nodes.sums, nodes.squares)
    table["n_node_samples"] = nodes.ints[:, kernel.ROWS]
    table["weighted_n_node_samples"] = weights_of(nodes, rules)
    table["missing_go_to_left"] = np.where(leaf, 0, nodes.ints[:, kernel.MISSING_LEFT])
    values = values_of(nodes, rules) if values is None else values
    classes = rules.n_channels if rules.criterion < SQUARED else 1
    tree = tree_from(
        table, values[:, None, :], n_features, classes, int(nodes.ints[:, kernel.DEPTH].max())
    )
    return tree if coding is None else CategoricalTree(tree, nodes.sets, coding)


def tree_from(table: Array, values: FloatArray, n_features: int, classes: int, depth: int) -> Tree:
    """scikit-learn's tree of a table of nodes."""
    tree = Tree(n_features, np.array([classes], dtype=np.intp), 1)
    state: dict[str, Any] = {
        "max_depth": depth,
        "node_count": len(table),
        "nodes": table,
        "values": np.ascontiguousarray(values, dtype=np.float64),
    }
    tree.__setstate__(state)
    return tree


def pruned(tree: Any, ccp_alpha: float) -> Any:
    """The tree after minimal cost-complexity pruning, by scikit-learn's own code."""
    if ccp_alpha == 0.0:
        return tree
    if isinstance(tree, CategoricalTree):
        kept = pruned(tree.tree, ccp_alpha)
        return CategoricalTree(kept, tree.sets[_origins(kept, tree.tree)], tree.coding)
    out = Tree(tree.n_features, np.asarray(tree.n_classes, dtype=np.intp), tree.n_outputs)
    _build_pruned_tree_ccp(out, tree, ccp_alpha)
    return out


def _origins(kept: Tree, whole: Tree) -> IntArray:
    """Which node of a tree each node of its pruned self was."""
    out = np.zeros(kept.node_count, np.intp)
    for i in range(kept.node_count):  # parents come before children
        if kept.children_left[i] >= 0:
            out[kept.children_left[i]] = whole.children_left[out[i]]
            out[kept.children_right[i]] = whole.children_right[out[i]]
    return out


__all__ = ["CategoricalTree", "as_tree", "pruned", "tree_from", "values_of", "weights_of"]
