"""Linear models fitted in rounds over blocks."""

from typing import TYPE_CHECKING

from daskml_kit.on_demand import on_demand

if TYPE_CHECKING:
    from daskml_kit.linear_model.elastic_net import ElasticNet, Lasso
    from daskml_kit.linear_model.elastic_net_cv import ElasticNetCV, LassoCV
    from daskml_kit.linear_model.glm import GammaRegressor, PoissonRegressor, TweedieRegressor
    from daskml_kit.linear_model.huber import HuberRegressor
    from daskml_kit.linear_model.least_squares import LinearRegression, Ridge
    from daskml_kit.linear_model.logistic import LogisticRegression
    from daskml_kit.linear_model.logistic_cv import LogisticRegressionCV
    from daskml_kit.linear_model.paths import enet_path, lasso_path
    from daskml_kit.linear_model.quantile import QuantileRegressor
    from daskml_kit.linear_model.ridge_cv import RidgeCV
    from daskml_kit.linear_model.summary import Summary, summarize
else:
    __getattr__, __dir__ = on_demand(
        globals(),
        {
            "daskml_kit.linear_model.elastic_net": ["ElasticNet", "Lasso"],
            "daskml_kit.linear_model.elastic_net_cv": ["ElasticNetCV", "LassoCV"],
            "daskml_kit.linear_model.glm": [
                "GammaRegressor",
                "PoissonRegressor",
                "TweedieRegressor",
            ],
            "daskml_kit.linear_model.huber": ["HuberRegressor"],
            "daskml_kit.linear_model.least_squares": ["LinearRegression", "Ridge"],
            "daskml_kit.linear_model.logistic": ["LogisticRegression"],
            "daskml_kit.linear_model.logistic_cv": ["LogisticRegressionCV"],
            "daskml_kit.linear_model.paths": ["enet_path", "lasso_path"],
            "daskml_kit.linear_model.quantile": ["QuantileRegressor"],
            "daskml_kit.linear_model.ridge_cv": ["RidgeCV"],
            "daskml_kit.linear_model.summary": ["Summary", "summarize"],
        },
    )

__all__ = [
    "ElasticNet",
    "ElasticNetCV",
    "GammaRegressor",
    "HuberRegressor",
    "Lasso",
    "LassoCV",
    "LinearRegression",
    "LogisticRegression",
    "LogisticRegressionCV",
    "PoissonRegressor",
    "QuantileRegressor",
    "Ridge",
    "RidgeCV",
    "Summary",
    "TweedieRegressor",
    "enet_path",
    "lasso_path",
    "summarize",
]
