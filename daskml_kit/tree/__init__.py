"""Decision trees over binned rows: the same tree wherever the rows are."""

from daskml_kit.tree.decision_tree import DecisionTreeClassifier, DecisionTreeRegressor

__all__ = ["DecisionTreeClassifier", "DecisionTreeRegressor"]
