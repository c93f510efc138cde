"""Decision trees over binned rows: the same tree wherever the rows are."""

from daskml_kit.tree.decision_tree import DecisionTreeClassifier, DecisionTreeRegressor
from daskml_kit.tree.export import export_text

__all__ = ["DecisionTreeClassifier", "DecisionTreeRegressor", "export_text"]
