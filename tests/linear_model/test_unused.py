"""What scikit-learn's users pass: parameters that change no answer, names of its solvers, its paths."""

from __future__ import annotations

import inspect

import dask.array as da
import numpy as np
import pytest
from scipy import sparse
from sklearn import linear_model as reference
from sklearn.datasets import load_diabetes, load_iris

from daskml_kit import linear_model
from daskml_kit.exceptions import InvalidParameterError
from daskml_kit.linear_model import (
    ElasticNet,
    ElasticNetCV,
    Lasso,
    LassoCV,
    LinearRegression,
    LogisticRegression,
    LogisticRegressionCV,
    QuantileRegressor,
    Ridge,
    RidgeCV,
    enet_path,
    lasso_path,
)

X, Y = load_diabetes(return_X_y=True)
IRIS, LABELS = load_iris(return_X_y=True)
WEIGHT = np.random.default_rng(0).uniform(0.1, 2.0, len(Y))


def test_no_parameter_of_scikit_learns_is_missing():
    for name in linear_model.__all__:
        theirs = getattr(reference, name, None)
        if isinstance(theirs, type):
            ours = inspect.signature(getattr(linear_model, name)).parameters
            assert not set(inspect.signature(theirs).parameters) - set(ours), name


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        (LinearRegression, {"copy_X": False, "n_jobs": -1}),
        (Ridge, {"copy_X": False, "random_state": 0}),
        (Ridge, {"solver": "cholesky"}),
        (Ridge, {"solver": "saga", "random_state": np.random.RandomState(0)}),
        (RidgeCV, {"gcv_mode": "svd"}),
        (Lasso, {"alpha": 0.1, "copy_X": True, "precompute": False}),
        (ElasticNet, {"alpha": 0.1, "precompute": X.T @ X}),
        (LassoCV, {"precompute": True, "n_jobs": 2}),
        (ElasticNetCV, {"precompute": "auto", "copy_X": False, "cv": 3}),
        (QuantileRegressor, {"solver": "highs", "solver_options": {"presolve": True}}),
    ],
)
def test_they_change_nothing(kind, how):
    both = {"alpha": 0.1} if "alpha" in how or kind is QuantileRegressor else {}
    plain, ours = kind(**both).fit(X, Y), kind(**{**both, **how}).fit(X, Y)
    if kind is ElasticNetCV:
        plain = kind(cv=3).fit(X, Y)
    np.testing.assert_array_equal(ours.coef_, plain.coef_)


@pytest.mark.parametrize("solver", ["newton-cholesky", "sag", "saga"])
def test_names_of_solvers(solver):
    plain = LogisticRegression(C=0.1).fit(IRIS, LABELS)
    ours = LogisticRegression(
        C=0.1, n_jobs=-1, random_state=0, dual=False, intercept_scaling=2, solver=solver
    ).fit(IRIS, LABELS)
    np.testing.assert_allclose(ours.coef_, plain.coef_, rtol=1e-12)


def test_named_penalties_are_scikit_learns():
    two = LABELS > 0
    for penalty, how, same in [
        ("l1", {}, {"l1_ratio": 1.0}),
        ("l2", {"C": 3.0}, {"C": 3.0}),
        (None, {"C": 0.1}, {"C": np.inf}),
        ("elasticnet", {"l1_ratio": 0.3}, {"l1_ratio": 0.3}),
    ]:
        with pytest.warns(FutureWarning, match=r"deprecated, as in scikit-learn.*l1_ratio=1"):
            ours = LogisticRegression(penalty, **how).fit(IRIS[:, :1], two)
        plain = LogisticRegression(**same).fit(IRIS[:, :1], two)
        np.testing.assert_array_equal(ours.coef_, plain.coef_)
        if penalty is None:
            assert len(ours.summary(IRIS[:, :1], two).coef) == 2
    plain = LogisticRegression(l1_ratio=None).fit(IRIS, LABELS)
    np.testing.assert_array_equal(plain.coef_, LogisticRegression().fit(IRIS, LABELS).coef_)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (LinearRegression(copy_X="no"), "copy_X must be True or False, got 'no'"),
        (LinearRegression(n_jobs=1.5), "n_jobs must be an integer or None, got 1.5"),
        (Ridge(random_state=-1), "random_state must be None, an integer >= 0"),
        (Ridge(solver="liblinear"), r"solver must be one of \['auto', 'rows'"),
        (Lasso(precompute="yes"), "precompute must be True, False, 'auto' or a Gram matrix"),
        (LassoCV(n_jobs="2"), "n_jobs must be an integer or None"),
        (RidgeCV(gcv_mode="qr"), "gcv_mode must be 'auto', 'svd', 'eigen' or None, got 'qr'"),
        (RidgeCV(store_cv_results=True, cv=3), "cv!=None and store_cv_results=True"),
        (QuantileRegressor(solver="interior-point"), r"solver must be one of \['highs'"),
        (QuantileRegressor(solver_options=3), "solver_options must be a dict or None, got 3"),
        (
            LogisticRegression(dual=True),
            r"dual=True is a formulation of liblinear's.*Leave dual out",
        ),
        (LogisticRegression(solver="liblinear"), r"penalises the intercept.*Use solver='auto'"),
        (LogisticRegression(intercept_scaling=0), "intercept_scaling must be a number > 0, got 0"),
        (LogisticRegression("l3"), r"penalty must be .*got 'l3'. Leave it out"),
        (LogisticRegression("elasticnet", l1_ratio=None), "penalty='elasticnet' needs an l1_ratio"),
        (
            LogisticRegressionCV(penalty=None),
            "penalty must be 'l2', 'l1' or 'elasticnet', got None",
        ),
    ],
    ids=str,
)
def test_bad_values_are_refused(model, message):
    with pytest.raises(InvalidParameterError, match=message):
        model.fit(X, Y > 100)


@pytest.mark.parametrize("target", [Y, np.c_[Y, Y**2]], ids=["one", "two"])
@pytest.mark.parametrize("scoring", [None, "r2"])
def test_cv_results_are_scikit_learns(target, scoring):
    how = {"store_cv_results": True, "scoring": scoring, "alphas": [0.1, 10.0]}
    ours = RidgeCV(**how).fit(X, target, WEIGHT)
    theirs = reference.RidgeCV(**how).fit(X, target, WEIGHT)
    assert ours.cv_results_.shape == theirs.cv_results_.shape
    np.testing.assert_allclose(ours.cv_results_, theirs.cv_results_, rtol=1e-8)
    assert ours.best_score_ == pytest.approx(theirs.best_score_, rel=1e-12)
    with pytest.raises(InvalidParameterError, match=r"in this process only, got Array.*X.compute"):
        ours.fit(da.from_array(X, chunks=(99, -1)), target)
    assert not hasattr(ours.set_params(store_cv_results=False).fit(X, target), "cv_results_")


@pytest.mark.parametrize("positive", [False, True])
def test_paths_are_scikit_learns(positive):
    both = {"positive": positive, "tol": 1e-12, "return_n_iter": True, "max_iter": 20_000}
    for ours, theirs in [
        (enet_path(X, Y, **both), reference.enet_path(X, Y, **both)),
        (Lasso.path(X, Y, **both), reference.Lasso.path(X, Y, l1_ratio=1.0, **both)),
        (lasso_path(da.from_array(X, chunks=99), Y, **both), reference.lasso_path(X, Y, **both)),
        (
            ElasticNet.path(sparse.csr_array(X), Y, alphas=[0.1, 0.2], coef_init=Y[:10], **both),
            reference.ElasticNet.path(X, Y, alphas=[0.1, 0.2], **both),
        ),
    ]:
        assert len(ours) == 4
        for a, b in zip(ours[:2], theirs[:2], strict=True):
            assert a.shape == b.shape
            np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-7 * np.abs(b).max())
        assert np.all(ours[2] <= 1e-12 * (Y @ Y))
    with pytest.raises(InvalidParameterError, match=r"not supported for l1_ratio=0.*Pass alphas="):
        enet_path(X, Y, l1_ratio=0.0)


def test_sparse_coefficients_predict_alike():
    for y in (LABELS, LABELS > 0):
        model = LogisticRegression(C=0.2, l1_ratio=1.0).fit(IRIS, y)
        coef, proba = model.coef_.copy(), model.predict_proba(IRIS)
        assert model.sparsify() is model
        assert sparse.issparse(model.coef_)
        np.testing.assert_array_equal(model.predict_proba(IRIS), proba)
        assert model.set_params(warm_start=True).fit(IRIS, y).n_iter_ <= 1
        model.sparsify().densify()
        np.testing.assert_allclose(model.coef_, coef, atol=1e-3)
        assert isinstance(model.densify().coef_, np.ndarray)
