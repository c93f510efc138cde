"""scikit-learn's own suite, with no expected failure that its own estimator of the name does not have."""

from __future__ import annotations

import pytest
from sklearn import linear_model as reference
from sklearn.utils._test_common.instance_generator import PER_ESTIMATOR_XFAIL_CHECKS
from sklearn.utils.estimator_checks import parametrize_with_checks

from daskml_kit.linear_model import (
    ElasticNet,
    ElasticNetCV,
    GammaRegressor,
    HuberRegressor,
    Lasso,
    LassoCV,
    LinearRegression,
    LogisticRegression,
    LogisticRegressionCV,
    PoissonRegressor,
    QuantileRegressor,
    Ridge,
    RidgeCV,
    TweedieRegressor,
)

ESTIMATORS = [
    LinearRegression(),
    LinearRegression(fit_intercept=False),
    LinearRegression(positive=True),
    Ridge(),
    ElasticNet(),
    Lasso(),
    ElasticNetCV(cv=3, max_iter=10_000),  # a check has more features than rows
    LassoCV(cv=3, max_iter=10_000),
    RidgeCV(),
    RidgeCV(cv=3),
    PoissonRegressor(),
    GammaRegressor(solver="lbfgs"),
    TweedieRegressor(),
    TweedieRegressor(power=1.5),
    HuberRegressor(),
    QuantileRegressor(),
    LogisticRegressionCV(Cs=2, cv=2, max_iter=1_000),
    LogisticRegression(),
    LogisticRegression(solver="newton"),
    LogisticRegression(solver="lbfgs", max_iter=1_000),  # some checks fit badly scaled data
    LogisticRegression(solver="lbfgs", max_iter=1_000, unroll=3),
]


def expected_failures(estimator):
    theirs = PER_ESTIMATOR_XFAIL_CHECKS.get(getattr(reference, type(estimator).__name__), {})
    # Of theirs, what ours fails as well: the others must pass.
    ours = {"check_non_transformer_estimators_n_iter"} if isinstance(estimator, Ridge) else set()
    return {name: reason for name, reason in theirs.items() if name in ours}


@parametrize_with_checks(ESTIMATORS, expected_failed_checks=expected_failures)
def test_is_a_scikit_learn_estimator(estimator, check):
    check(estimator)


# On those data gradient descent takes more steps than a test should.
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks([LogisticRegression(solver="gd")])
def test_gradient_descent_is_one_too(estimator, check):
    check(estimator)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=str)
def test_parameters_mean_what_scikit_learn_says(estimator):
    """Shared parameters have the same defaults."""
    theirs = getattr(reference, type(estimator).__name__)().get_params()
    ours = type(estimator)().get_params()
    changing = {name for name, value in theirs.items() if value == "warn"}  # to another default
    same = ours.keys() & theirs.keys() - {"solver"} - changing
    assert {k: ours[k] for k in same} == {k: theirs[k] for k in same}
