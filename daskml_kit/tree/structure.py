"""Grown nodes as scikit-learn's own tree: what reads, draws, prunes or predicts with that reads ours."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.tree._tree import NODE_DTYPE, Tree, _build_pruned_tree_ccp

from daskml_kit.kernels import tree_growth as kernel
from daskml_kit.kernels.tree_growth import Nodes, impurities
from daskml_kit.kernels.tree_splits import SQUARED, Rules
from daskml_kit.typing import Array, FloatArray

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


def as_tree(nodes: Nodes, rules: Rules, n_features: int, values: FloatArray | None = None) -> Tree:
    """scikit-learn's tree of the same nodes in the same order.

    Parameters
    ----------
    values : (n, width)
        In place of :func:`values_of`.
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
    return tree_from(
        table, values[:, None, :], n_features, classes, int(nodes.ints[:, kernel.DEPTH].max())
    )


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


def pruned(tree: Tree, ccp_alpha: float) -> Tree:
    """The tree after minimal cost-complexity pruning, by scikit-learn's own code."""
    if ccp_alpha == 0.0:
        return tree
    out = Tree(tree.n_features, np.asarray(tree.n_classes, dtype=np.intp), tree.n_outputs)
    _build_pruned_tree_ccp(out, tree, ccp_alpha)
    return out


__all__ = ["as_tree", "pruned", "tree_from", "values_of", "weights_of"]
