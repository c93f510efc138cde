"""Linear models fitted in rounds over blocks."""

from daskml_kit.linear_model.least_squares import LinearRegression, Ridge
from daskml_kit.linear_model.logistic import LogisticRegression

__all__ = ["LinearRegression", "LogisticRegression", "Ridge"]
