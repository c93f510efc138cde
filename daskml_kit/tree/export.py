"""The rules of a tree as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn import tree as reference
from sklearn.utils.validation import check_is_fitted

from daskml_kit.exceptions import InvalidParameterError
from daskml_kit.tree.structure import CategoricalTree


def export_text(
    decision_tree: Any,
    *,
    feature_names: Sequence[str] | None = None,
    class_names: Sequence[str] | None = None,
    max_depth: int = 10,
    spacing: int = 3,
    decimals: int = 2,
    show_weights: bool = False,
) -> str:
    """The rules of a tree, a line for each side of a split, as :func:`sklearn.tree.export_text` writes them.

    A categorical split names the categories of its side; "missing" there are unknown values, too.

    Parameters
    ----------
    decision_tree : fitted DecisionTreeClassifier or DecisionTreeRegressor
        A member of a forest, too.
    feature_names, class_names, max_depth, spacing, decimals, show_weights : as there

    Raises
    ------
    InvalidParameterError
        There are more or fewer names than features or classes.

    Examples
    --------
    >>> import pandas as pd
    >>> from daskml_kit.tree import DecisionTreeRegressor
    >>> X = pd.DataFrame({"kind": pd.Categorical(["ant", "bee", "cat", "bee"])})
    >>> model = DecisionTreeRegressor(max_depth=1).fit(X, [0.0, 0.0, 5.0, 0.0])
    >>> print(export_text(model, feature_names=["kind"]))
    |--- kind in {ant, bee, missing}
    |   |--- value: [0.00]
    |--- kind in {cat}
    |   |--- value: [5.00]
    <BLANKLINE>
    """
    check_is_fitted(decision_tree)
    if not isinstance(decision_tree.tree_, CategoricalTree):
        text: str = reference.export_text(
            decision_tree.to_sklearn(),
            feature_names=feature_names,
            class_names=class_names,
            max_depth=max_depth,
            spacing=spacing,
            decimals=decimals,
            show_weights=show_weights,
        )
        return text
    names = _names("feature_names", feature_names, decision_tree.n_features_in_)
    classes = getattr(decision_tree, "classes_", None)
    if classes is not None and class_names is not None:
        classes = _names("class_names", class_names, len(classes))
    labels = names or [f"feature_{f}" for f in range(decision_tree.n_features_in_)]
    known = getattr(decision_tree, "feature_names_in_", labels)
    levels = {
        f: decision_tree._levels[n] for f, n in enumerate(known) if n in decision_tree._levels
    }
    printer = _Printer(
        decision_tree.tree_, labels, classes, levels, max_depth, spacing, decimals, show_weights
    )
    return "".join(line + "\n" for line in printer.lines(0, 0))


def _names(parameter: str, given: Sequence[str] | None, n: int) -> list[str]:
    if given is not None and len(given) != n:
        raise InvalidParameterError(f"{parameter} must have {n} names, got {len(given)}.")
    return list(given or ())


@dataclass(frozen=True, eq=False)
class _Printer:
    """Lines of a tree with categorical splits."""

    tree: CategoricalTree
    features: Sequence[str]
    classes: Any
    levels: dict[int, Any]
    max_depth: int
    spacing: int
    decimals: int
    show_weights: bool

    def lines(self, node: int, depth: int) -> Iterator[str]:
        """Of the subtree below a node."""
        tree = self.tree
        indent = f"|{' ' * self.spacing}" * depth + "|" + "-" * self.spacing + " "
        if tree.children_left[node] < 0:
            yield indent + self.leaf(node)
        elif depth > self.max_depth:
            yield indent + "truncated branch"
        else:
            for child, rule in zip(
                (tree.children_left[node], tree.children_right[node]), self.sides(node), strict=True
            ):
                yield f"{indent}{self.features[tree.feature[node]]} {rule}"
                yield from self.lines(int(child), depth + 1)

    def sides(self, node: int) -> tuple[str, str]:
        """What goes left and what goes right."""
        tree = self.tree
        threshold = tree.threshold[node]
        if not np.isnan(threshold):
            return f"<= {threshold:.{self.decimals}f}", f">  {threshold:.{self.decimals}f}"
        left = {self.label(node, value) for value in tree.categories_left(node)}
        values = tree.coding.values[list(tree.coding.features).index(tree.feature[node])]
        every = [self.label(node, value) for value in [*values, np.nan]]
        first = [label for label in every if label in left]
        second = [label for label in every if label not in left]
        return f"in {{{', '.join(first)}}}", f"in {{{', '.join(second)}}}"

    def label(self, node: int, value: float) -> str:
        """A category as the data called it."""
        if np.isnan(value):
            return "missing"
        levels = self.levels.get(int(self.tree.feature[node]))
        return f"{value:g}" if levels is None else str(levels[int(value)])

    def leaf(self, node: int) -> str:
        """What a leaf predicts."""
        values = self.tree.value[node, 0]
        weights = values * self.tree.weighted_n_node_samples[node]
        shown = weights if self.classes is not None else values
        text = "[" + ", ".join(f"{v:.{self.decimals}f}" for v in shown) + "]"
        if self.classes is None:
            return f"value: {text}"
        return (f"weights: {text} " if self.show_weights else "") + (
            f"class: {self.classes[int(values.argmax())]}"
        )


__all__ = ["export_text"]
