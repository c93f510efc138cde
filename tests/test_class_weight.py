"""``class_weight``, of every estimator that takes it."""

from __future__ import annotations

import numpy as np
import pytest

from daskml_kit.ensemble import GradientBoostingClassifier, RandomForestClassifier
from daskml_kit.exceptions import InvalidParameterError
from daskml_kit.linear_model import LogisticRegression, LogisticRegressionCV
from daskml_kit.tree import DecisionTreeClassifier

X = np.random.default_rng(0).normal(size=(60, 2))
Y = np.where(X[:, 0] > 0, "p", "n")

MODELS = [
    LogisticRegression(),
    LogisticRegressionCV(),
    DecisionTreeClassifier(),
    RandomForestClassifier(),
    GradientBoostingClassifier(),
]
REFUSED = [
    ({"n": -1.0, "p": 1.0}, r"gives the class 'n' the weight -1\.0.*at least 0"),
    ({"n": 1.0, "p": np.nan}, "gives the class 'p' the weight nan"),
    ({"n": 0, "p": 0}, "leaves no row any weight"),
    ({"n": "heavy", "p": 1}, r"'heavy'. Pass 'balanced'"),
    ({"n": 1.0, "q": 2.0}, r"\['p'\].*Pass 'balanced'"),
    ([1, 2], r"must be 'balanced', .*a dict or None, got \[1, 2\]"),
]


@pytest.mark.parametrize(("given", "message"), REFUSED, ids=str)
@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_what_no_class_can_weigh(model, given, message):
    with pytest.raises(InvalidParameterError, match=message):
        model.set_params(class_weight=given).fit(X, Y)


def test_balanced_classes_that_weigh_nothing():
    """They have no say, as if their rows were not there; scikit-learn divides by zero."""
    y, weight = np.r_[["z"] * 5, Y[5:]], np.r_[np.zeros(5), np.ones(55)]
    both = LogisticRegression(class_weight="balanced", tol=1e-9).fit(X, y, weight)
    shares = both.predict_proba(X)
    assert shares[:, 2].max() < 0.5
    assert np.isfinite(both.coef_).all()
