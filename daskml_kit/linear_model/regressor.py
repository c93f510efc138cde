"""What linear regressors share: fitted coefficients, kept as scikit-learn keeps them, and predictions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from daskml_kit.base import BlockEstimator, RegressorMixin, check_number
from daskml_kit.exceptions import InvalidParameterError
from daskml_kit.linear_model.prediction import LinearRows
from daskml_kit.runtime.ingest import DataFacts
from daskml_kit.typing import ArrayLike, FloatArray


class LinearRegressor(RegressorMixin, BlockEstimator):
    """Keeps ``coef_`` and ``intercept_`` and predicts with them."""

    coef_: FloatArray
    intercept_: Any
    fit_intercept: bool
    _flat_column = False  # whether a single column of y gives a flat coef_, as scikit-learn's Ridge

    def _keep(self, facts: DataFacts, coef: FloatArray, intercept: FloatArray) -> None:
        """Of coefficients (n_targets, n_features) and intercepts (n_targets,)."""
        coef = np.ascontiguousarray(coef, dtype=facts.dtype)
        intercept = intercept.astype(facts.dtype)
        flat = facts.n_outputs == 0
        self.coef_ = coef[0] if flat or (self._flat_column and facts.n_outputs == 1) else coef
        if not self.fit_intercept:
            self.intercept_ = 0.0
        else:
            self.intercept_ = facts.dtype.type(intercept[0]) if flat else intercept

    def predict(self, X: ArrayLike) -> Any:
        """Predicted targets, in kind.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes

        Returns
        -------
        (n,) or (n, n_targets), lazy where X is
        """
        check_is_fitted(self)
        names = {} if self.coef_.ndim == 1 else self._target_names(len(self.coef_))
        rows = LinearRows(self.coef_, self.intercept_)
        return self._map_rows(X, rows, dtype=self.coef_.dtype, **names)


def check_strength(name: str, value: Any) -> None:
    """Refuse a strength of a penalty that is no number of at least 0, or infinite.

    Raises
    ------
    InvalidParameterError
    """
    check_number(name, value, least=0)
    if math.isinf(value):
        raise InvalidParameterError(f"{name} must be finite, got {value!r}.")


def check_warm_start(last: tuple[int, ...], asked: tuple[int, ...]) -> None:
    """Refuse the last fit's coefficients where data ask for another shape.

    Raises
    ------
    InvalidParameterError
    """
    if last != asked:
        raise InvalidParameterError(
            f"warm_start=True needs data of the last fit's shape: coefficients {last}, data ask for {asked}. "
            "Set warm_start=False or pass the same features and outputs."
        )


__all__ = ["LinearRegressor", "check_strength", "check_warm_start"]
