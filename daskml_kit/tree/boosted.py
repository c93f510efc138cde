"""Boosted trees as estimators keep them, and what they answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from scipy.special import expit, softmax
from sklearn.tree._tree import NODE_DTYPE

from daskml_kit.kernels import tree_predict
from daskml_kit.kernels.tree_categories import Coding
from daskml_kit.kernels.tree_predict import Packed, add_values, packed
from daskml_kit.tree.answers import dense_slices
from daskml_kit.tree.boosting_first import FirstModel
from daskml_kit.tree.boosting_tables import Table
from daskml_kit.tree.structure import CategoricalTree, tree_from
from daskml_kit.typing import Array, FloatArray, Matrix


def boosted_tree(table: Table, n_features: int, coding: Coding | None = None) -> Any:
    """scikit-learn's tree of the same nodes; with categories, a
    :class:`~daskml_kit.tree.structure.CategoricalTree`.

    ``impurity`` is, up to a constant, such that its weighted decrease is the gain of a split.
    """
    nodes = np.zeros(len(table.left), NODE_DTYPE)
    leaf = table.left < 0
    nodes["left_child"], nodes["right_child"] = table.left, table.right
    nodes["feature"] = np.where(leaf, -2, table.feature)
    nodes["threshold"] = np.where(leaf, -2.0, table.threshold)
    nodes["missing_go_to_left"] = table.missing_left
    nodes["n_node_samples"] = nodes["weighted_n_node_samples"] = table.rows
    per_row = table.worth / np.maximum(table.rows, 1)
    nodes["impurity"] = per_row.max() - per_row
    tree = tree_from(nodes, table.values[:, None, None], n_features, 1, int(table.depth.max()))
    if coding is None or table.sets is None:
        return tree
    return CategoricalTree(tree, table.sets, coding)


class BoostedTrees:
    """The trees of a fitted model: what its rows' raw predictions are.

    Attributes
    ----------
    start : (K,)
    tables : for each iteration K trees
    rates : the learning rate of each iteration
    coding : of the categorical features' values; None without such features
    first : the model that tells rows where they begin; None: at ``start``
    """

    def __init__(
        self,
        start: FloatArray,
        tables: Sequence[Sequence[Table]],
        rates: Sequence[float],
        coding: Coding | None = None,
        first: FirstModel | None = None,
    ) -> None:
        self.start, self.tables, self.rates, self.coding = start, tables, rates, coding
        self.first = first
        self._packed: dict[tuple[int, int], Packed] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return (BoostedTrees, (self.start, self.tables, self.rates, self.coding, self.first))

    def __len__(self) -> int:
        return len(self.tables)

    def packed(self, first: int, last: int) -> Packed:
        """The trees of some iterations, laid out for answers."""
        out = self._packed.get((first, last))
        if out is None:
            chosen = zip(self.tables[first:last], self.rates[first:last], strict=True)
            out = packed(
                [
                    tree_predict.Table(
                        table.left, table.right, table.feature, table.threshold,
                        table.missing_left, table.values[:, None] * rate, k, table.sets,
                        self.coding,
                    )
                    for trees, rate in chosen
                    for k, table in enumerate(trees)
                ]
            )  # fmt: skip
            self._packed = {(first, last): out}  # other threads may ask for others
        return out

    def raw(self, X: Matrix, last: int | None = None) -> FloatArray:
        """Raw predictions (n, K) of the first ``last`` iterations."""
        out = self._begun(X)
        last = len(self) if last is None else last
        if last:
            add(self.packed(0, last), X, out)
        return out

    def _begun(self, X: Matrix) -> FloatArray:
        """Raw predictions before the first tree."""
        return np.tile(self.start, (X.shape[0], 1)) if self.first is None else self.first.raw(X)

    def stages(self, X: Matrix) -> Iterator[FloatArray]:
        """Raw predictions after each iteration: the same array, raised."""
        out = self._begun(X)
        for i in range(len(self)):
            add(self.packed(i, i + 1), X, out)
            yield out


def add(trees: Packed, X: Matrix, out: FloatArray) -> None:
    """Adds all trees' values to raw predictions, sparse rows in slices."""
    for low, rows in dense_slices(X):
        add_values(trees, rows, out[low : low + len(rows)])


# ---------------------------------------------------------------- from raw predictions to answers


def decisions(raw: FloatArray) -> FloatArray:
    """(n,) of a single column, (n, K) of several."""
    return raw[:, 0] if raw.shape[1] == 1 else raw


def probabilities(raw: FloatArray) -> FloatArray:
    """Of the classes (n, n_classes)."""
    if raw.shape[1] > 1:
        out: FloatArray = softmax(raw, axis=1)
        return out
    second = expit(raw[:, 0])
    return np.column_stack([1.0 - second, second])


def codes(raw: FloatArray) -> Array:
    """The class of largest probability, as its number."""
    if raw.shape[1] > 1:
        return np.asarray(raw.argmax(axis=1))
    return np.asarray(raw[:, 0] >= 0).astype(np.int64)


__all__ = ["BoostedTrees", "boosted_tree", "codes", "decisions", "probabilities"]
