"""Lasso, ElasticNet and positive coefficients against scikit-learn at a converged tolerance."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import sparse
from sklearn import linear_model as reference
from sklearn.base import clone

from daskml_kit.exceptions import ConvergenceWarning, InvalidParameterError
from daskml_kit.linear_model import (
    ElasticNet,
    Lasso,
    LinearRegression,
    Ridge,
    RidgeCV,
    few_rows,
    least_squares,
)
from daskml_kit.linear_model.coordinate_descent import Descent
from daskml_kit.linear_model.wide import duality_gap

rng = np.random.default_rng(11)
N, D = 200, 12
X = rng.normal(size=(N, D)) @ (np.eye(D) + 0.4 * rng.normal(size=(D, D))) + 2.0
Y = X[:, :4] @ rng.normal(size=(4, 2)) + rng.normal(size=(N, 2))
WEIGHT = rng.uniform(0.0, 3.0, N)
WEIGHT[:15] = 0.0
CONVERGED = {"tol": 1e-13, "max_iter": 200_000}

FORMS = {
    "dense": np.asarray,
    "csr": sparse.csr_array,
    "dask": lambda a: da.from_array(a, chunks=(61, -1)),
}


def same(ours, theirs, rtol=1e-6):
    scale = np.abs(theirs.coef_).max()
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=rtol * scale)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, atol=10 * rtol * scale)
    assert np.shape(ours.coef_) == np.shape(theirs.coef_)
    assert np.shape(ours.intercept_) == np.shape(theirs.intercept_)
    assert np.shape(ours.dual_gap_) == np.shape(theirs.dual_gap_)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "how",
    [
        {},
        {"fit_intercept": False},
        {"positive": True},
        {"l1_ratio": 0.0},
        {"l1_ratio": 1.0},
        {"selection": "random", "random_state": 0},
    ],
    ids=str,
)
def test_elastic_net_is_scikit_learns(form, how):
    for alpha, weight in [(0.01, WEIGHT), (0.3, None), (100.0, WEIGHT)]:
        ours = ElasticNet(alpha, **how, **CONVERGED).fit(FORMS[form](X), Y[:, 0], weight)
        theirs = reference.ElasticNet(alpha, **how, **CONVERGED).fit(X, Y[:, 0], weight)
        same(ours, theirs)
        assert (ours.coef_ == 0).sum() == (theirs.coef_ == 0).sum()
        assert (ours.n_rounds_, ours.n_passes_) == (2, 2)


@pytest.mark.parametrize("y", [Y, Y[:, :1]], ids=["two targets", "one column"])
def test_lasso_of_several_targets(y):
    ours = Lasso(0.05, **CONVERGED).fit(X, y, WEIGHT)
    theirs = reference.Lasso(0.05, **CONVERGED).fit(X, y, WEIGHT)
    same(ours, theirs)
    assert np.shape(ours.n_iter_) == np.shape(theirs.n_iter_)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), atol=1e-8)
    np.testing.assert_allclose(
        ours.sparse_coef_.toarray(), theirs.sparse_coef_.toarray(), atol=1e-8
    )


def test_the_same_sweeps_as_scikit_learns_at_the_default_tolerance():
    """Unweighted and from zero the iterates are the same to rounding, so their number is too."""
    ours, theirs = (kind(0.1).fit(X, Y[:, 0]) for kind in (ElasticNet, reference.ElasticNet))
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-9, atol=1e-12)
    assert ours.n_iter_ == theirs.n_iter_
    assert ours.dual_gap_ == pytest.approx(theirs.dual_gap_, rel=1e-6)


@settings(max_examples=15, deadline=None)
@given(chunk=st.integers(1, N), alpha=st.sampled_from([0.01, 0.2]))
def test_chunks_do_not_change_the_answer(chunk, alpha):
    whole = Lasso(alpha, **CONVERGED).fit(X, Y[:, 0])
    parts = Lasso(alpha, **CONVERGED).fit(da.from_array(X, chunks=(chunk, -1)), Y[:, 0])
    np.testing.assert_allclose(parts.coef_, whole.coef_, rtol=1e-9, atol=1e-12)


def test_a_warm_start_at_the_solution_takes_no_sweep():
    ours = Lasso(0.1, warm_start=True, tol=1e-10).fit(X, Y)
    first = ours.coef_.copy()
    assert ours.fit(X, Y).n_iter_ == [0, 0]
    np.testing.assert_array_equal(ours.coef_, first)
    with pytest.raises(InvalidParameterError, match="warm_start=True needs data of the last fit's"):
        ours.fit(X[:, 1:], Y)


@pytest.mark.parametrize("form", FORMS)
def test_float32_is_kept(form):
    small = X.astype(np.float32)
    ours = Lasso(0.05).fit(FORMS[form](small), Y[:, 0])
    assert ours.coef_.dtype == ours.predict(small).dtype == ours.dual_gap_.dtype == np.float32
    np.testing.assert_allclose(ours.coef_, Lasso(0.05).fit(X, Y[:, 0]).coef_, atol=1e-4)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_positive_least_squares(form, fit_intercept):
    how = {"positive": True, "fit_intercept": fit_intercept}
    ours = LinearRegression(**how).fit(FORMS[form](X), Y, WEIGHT)
    theirs = reference.LinearRegression(**how).fit(X, Y, WEIGHT)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-8)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, atol=1e-8)
    ridge = Ridge([3.0, 50.0], **how).fit(FORMS[form](X), Y, WEIGHT)
    assert (ridge.coef_ == 0).any()
    for t, alpha in enumerate([3.0, 50.0]):  # optimal: the gradient is zero where w > 0, else up
        w = ridge.coef_[t]
        residual = Y[:, t] - X @ w - np.atleast_1d(ridge.intercept_)[t * fit_intercept]
        gradient = alpha * w - X.T @ (WEIGHT * residual)
        np.testing.assert_allclose(gradient[w > 0], 0.0, atol=1e-8)
        assert (gradient[w == 0] > 0).all()


def test_collinear_features_take_the_positive_way_too():
    twice = np.hstack([X, X])
    ours = LinearRegression(positive=True).fit(twice, Y[:, 0])
    theirs = reference.LinearRegression(positive=True).fit(twice, Y[:, 0])
    assert (ours.coef_ >= 0).all()
    np.testing.assert_allclose(ours.predict(twice), theirs.predict(twice), atol=1e-7)


def test_descent_ends_where_only_rounding_is_left():
    gram, target = X.T @ X, X.T @ Y[:, 0]
    yy = float(Y[:, 0] @ Y[:, 0])
    path = Descent(tol=0.0, max_iter=100_000).path(gram, target, yy, np.full(1, 5.0), np.ones(1))
    assert path.converged.all()
    assert path.counts[0] < 100_000


def test_too_few_sweeps_are_warned_of():
    with pytest.warns(
        ConvergenceWarning, match="did not converge for 1 of 1 penalties in max_iter=1"
    ):
        Lasso(1e-3, max_iter=1, tol=1e-12).fit(X, Y[:, 0])
    with pytest.warns(UserWarning, match="LinearRegression solves this exactly"):
        Lasso(0.0, **CONVERGED).fit(X, Y[:, 0])


def test_a_constant_feature_and_a_constant_target():
    ones = np.column_stack([np.ones(N), X[:, 0]])
    ours = Lasso(0.01).fit(ones, Y[:, 0])
    assert ours.coef_[0] == 0.0
    assert Lasso(0.01).fit(X, np.full(N, 3.0)).intercept_ == pytest.approx(3.0)


def test_on_a_cluster(client):
    rows = da.from_array(X, chunks=(30, -1))
    ours = ElasticNet(0.1).fit(rows, da.from_array(Y[:, 0], chunks=30))
    np.testing.assert_allclose(ours.coef_, ElasticNet(0.1).fit(X, Y[:, 0]).coef_, rtol=1e-9)
    assert isinstance(ours.predict(rows), da.Array)


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (Lasso(-1.0), r"alpha must be a number >= 0, got -1\.0"),
        (ElasticNet(l1_ratio=2), "l1_ratio must be between 0 and 1, got 2"),
        (ElasticNet(tol="a"), "tol must be a number >= 0, got 'a'"),
        (ElasticNet(max_iter=0), "max_iter must be an integer >= 1, got 0"),
        (ElasticNet(selection="greedy"), "selection must be 'cyclic' or 'random', got 'greedy'"),
        (Lasso(np.inf), "alpha must be finite, got inf"),
        (Lasso(warm_start="x"), "warm_start must be True or False, got 'x'"),
        (Lasso(random_state="a"), "random_state must be None, an integer >= 0, .* got 'a'"),
        (ElasticNet(positive=1), "positive must be True or False, got 1"),
        (Ridge(positive="x"), "positive must be True or False, got 'x'"),
    ],
    ids=str,
)
def test_impossible_parameters_are_refused_by_name(estimator, message):
    with pytest.raises(InvalidParameterError, match=message):
        estimator.fit(np.eye(3), np.arange(3.0))


def test_more_features_than_a_gram_matrix_takes(monkeypatch):
    wide = sparse.random_array((40, 5_200), density=0.02, rng=rng, format="csr")
    theirs = reference.Lasso(0.3, tol=1e-8, max_iter=50_000).fit(wide, Y[:40, 0])
    rounds = {
        "auto": {"load", "halfsquared-columns", "columns-working-set"},  # in memory
        "rows": {"load", "spread", "halfsquared-gradient"},
    }
    for solver, names in rounds.items():
        ours = Lasso(0.3, tol=1e-6, max_iter=20_000, solver=solver).fit(wide, Y[:40, 0])
        # Of more features than rows only the predictions are well determined.
        np.testing.assert_allclose(ours.predict(wide), theirs.predict(wide), atol=5e-3)
        assert 0.0 <= ours.dual_gap_ <= 1e-6 * Y[:40, 0].var()
        assert {r["name"] for r in ours.history_} == names
    assert ours.n_passes_ >= ours.n_iter_
    monkeypatch.setattr(few_rows, "MOST_GRAM_ROWS", 39)
    with pytest.raises(
        InvalidParameterError, match=r"5,000 features or, .* got 40 x 5,200. Pass folds"
    ):
        RidgeCV().fit(wide, np.arange(40.0))


@pytest.mark.parametrize(
    "how", [{}, {"fit_intercept": False}, {"positive": True}, {"l1_ratio": 0.0}], ids=str
)
def test_both_ways_agree(monkeypatch, how):
    by_moments = ElasticNet(0.1, **how, **CONVERGED).fit(X, Y, WEIGHT)
    monkeypatch.setattr(least_squares, "GRAM_FEATURES", 5)
    by_rows = ElasticNet(0.1, **how, **CONVERGED).fit(X, Y, WEIGHT)
    same(by_rows, by_moments)
    np.testing.assert_allclose(by_rows.dual_gap_, 0.0, atol=1e-6)
    assert np.shape(by_rows.n_iter_) == np.shape(by_moments.n_iter_)
    # Far from the optimum the gap is as large as what is left to gain, at least.
    far = duality_gap(np.zeros(2), np.array([3.0, -1.0]), 10.0, 0.5, 0.1, False)
    assert far > 0.1


@pytest.mark.parametrize(
    ("solver", "alpha", "how"),
    [
        ("auto", 0.1, {"l1_ratio": 1.0}),
        ("auto", 0.1, {"positive": True, "l1_ratio": 1.0, "fit_intercept": False}),
        ("auto", 0.0, {"positive": True}),
        ("admm", 0.1, {"l1_ratio": 1.0, "fit_intercept": False}),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:With alpha=0")
def test_wide_fits_end_as_moments_do_whatever_the_units(monkeypatch, solver, alpha, how):
    """By the duality gap. A gradient has the units of the features, and these may be far from zero."""
    monkeypatch.setattr(least_squares, "GRAM_FEATURES", 5)
    y, tol, fits = Y[:, 0], 1e-5, []
    enough = tol * (y - np.average(y, weights=WEIGHT) * how.get("fit_intercept", True)) ** 2
    for units, offset in ((1.0, 0.0), (1e-6, 0.0), (1e4, 1e3)):
        rows = (X + offset * how.get("fit_intercept", True)) * units
        ours = ElasticNet(alpha * units, **how, tol=tol, solver=solver).fit(rows, y, WEIGHT)
        assert 0.0 <= ours.dual_gap_ <= np.average(enough, weights=WEIGHT)
        fits.append(ours.predict(rows))
    exact = LinearRegression(positive=True) if alpha == 0 else Lasso(alpha, **CONVERGED)
    exact.set_params(**{k: v for k, v in how.items() if k != "l1_ratio"}).fit(X, y, WEIGHT)
    for found in fits:
        np.testing.assert_allclose(found, exact.predict(X), atol=0.05)


@pytest.mark.parametrize(
    "model", [Ridge(0.3), Ridge(0.3, positive=True), LinearRegression(positive=True)], ids=str
)
def test_both_ways_of_least_squares_agree(monkeypatch, model):
    by_moments = clone(model).fit(X, Y, WEIGHT)
    monkeypatch.setattr(least_squares, "GRAM_FEATURES", 5)
    for rows in (X, sparse.csr_array(X)):
        by_rows = clone(model).set_params(tol=1e-10).fit(rows, Y, WEIGHT)
        np.testing.assert_allclose(by_rows.coef_, by_moments.coef_, atol=1e-7)
        np.testing.assert_allclose(by_rows.intercept_, by_moments.intercept_, atol=1e-7)
