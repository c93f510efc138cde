"""Linear models fitted in rounds over blocks."""

from daskml_kit.linear_model.elastic_net import ElasticNet, Lasso
from daskml_kit.linear_model.least_squares import LinearRegression, Ridge
from daskml_kit.linear_model.logistic import LogisticRegression

__all__ = ["ElasticNet", "Lasso", "LinearRegression", "LogisticRegression", "Ridge"]
