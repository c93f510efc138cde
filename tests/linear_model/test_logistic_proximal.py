"""L1, elastic net and bounds against scikit-learn and against general-purpose optimisers."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from scipy import optimize, sparse
from sklearn import linear_model as reference

from daskml_kit.exceptions import InvalidParameterError
from daskml_kit.linear_model import LogisticRegression
from tests.linear_model.test_logistic import BINARY, LABELS, TARGETS, WEIGHT, X

CONVERGED = {"tol": 1e-9, "max_iter": 20_000}


@pytest.mark.parametrize("solver", ["newton", "lbfgs", "gd"])
@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize(("l1_ratio", "C"), [(1.0, 0.05), (0.4, 0.1), (1.0, 10.0)])
def test_l1_and_elastic_net_are_scikit_learns(solver, kind, l1_ratio, C):
    how = {"l1_ratio": l1_ratio, "C": C}
    ours = LogisticRegression(solver=solver, **how, **CONVERGED).fit(X, TARGETS[kind], WEIGHT)
    saga = reference.LogisticRegression(solver="saga", tol=1e-10, max_iter=20_000, **how)
    saga.fit(X, TARGETS[kind], WEIGHT)
    scale = np.abs(saga.coef_).max()
    np.testing.assert_allclose(ours.coef_, saga.coef_, atol=1e-6 * scale)
    shift = saga.intercept_.mean() if kind == "multinomial" else 0.0
    np.testing.assert_allclose(ours.intercept_, saga.intercept_ - shift, atol=2e-6 * scale)
    np.testing.assert_array_equal(ours.coef_ == 0, saga.coef_ == 0)


def test_lasso_without_intercept_is_liblinears():
    how = {"l1_ratio": 1.0, "C": 0.1, "fit_intercept": False}
    ours = LogisticRegression(**how, **CONVERGED).fit(X, BINARY)
    theirs = reference.LogisticRegression(solver="liblinear", tol=1e-9, max_iter=9_999, **how)
    np.testing.assert_allclose(ours.coef_, theirs.fit(X, BINARY).coef_, atol=1e-6)


def bounded_by_scipy(lower, upper, intercept):
    """The same problem by L-BFGS-B."""
    y = (BINARY == "yes").astype(float)

    def objective(w):
        eta = X @ w[:-1] + w[-1]
        error = 1 / (1 + np.exp(-eta)) - y
        value = np.sum(np.logaddexp(0, eta) - y * eta) + w[:-1] @ w[:-1] / 2
        return value, np.r_[X.T @ error + w[:-1], error.sum()]

    bounds = [*zip(lower, upper, strict=True), intercept]
    start = np.zeros(X.shape[1] + 1)
    how = {"ftol": 1e-16, "gtol": 1e-9, "maxiter": 10_000}
    return optimize.minimize(objective, start, jac=True, bounds=bounds, options=how).x


@pytest.mark.parametrize("solver", ["newton", "lbfgs", "gd"])
def test_bounds_are_those_of_l_bfgs_b(solver):
    lower, upper = np.array([0.0, -1, -np.inf, 0.1, -0.2, 0.0]), np.full(6, 0.4)
    expected = bounded_by_scipy(lower, upper, (-0.1, 0.1))
    how = {"coef_bounds": (lower, upper), "intercept_bounds": (-0.1, 0.1)}
    ours = LogisticRegression(solver=solver, **how, **CONVERGED).fit(X, BINARY)
    np.testing.assert_allclose(ours.coef_[0], expected[:-1], atol=1e-5)
    np.testing.assert_allclose(ours.intercept_, expected[-1:], atol=1e-5)
    assert np.all((lower <= ours.coef_) & (ours.coef_ <= upper))


def test_bounds_of_several_classes_hold_and_nothing_is_centred_out_of_them():
    how = {"coef_bounds": (0.0, np.inf), "intercept_bounds": ([0.5, -1, -1], [2.0, 1, -0.1])}
    fits = [
        LogisticRegression(solver=solver, C=c, l1_ratio=r, **how, **CONVERGED).fit(X, LABELS)
        for solver in ("newton", "lbfgs")
        for c, r in ((1.0, 0.5), (np.inf, 0.0))
    ]
    for one, two in zip(fits[:2], fits[2:], strict=True):
        assert one.coef_.min() == 0.0
        assert one.intercept_[0] >= 0.5
        assert one.intercept_[2] <= -0.1
        np.testing.assert_allclose(one.predict_proba(X), two.predict_proba(X), atol=1e-6)


@pytest.mark.parametrize("y", [BINARY, LABELS], ids=["binary", "multinomial"])
def test_any_chunking_and_sparse_rows_give_the_same(y):
    how = {"l1_ratio": 0.7, "C": 0.1, "coef_bounds": (-np.inf, 0.5), **CONVERGED}
    whole = LogisticRegression(**how).fit(X, y)
    for rows in (da.from_array(X, chunks=(37, -1)), sparse.csr_array(X)):
        other = LogisticRegression(**how).fit(rows, y)
        np.testing.assert_allclose(other.coef_, whole.coef_, rtol=1e-6, atol=1e-8)


def test_on_a_cluster_stepwise_and_unrolled(client):
    rows = da.from_array(X, chunks=(100, -1))
    for solver, unroll in (("newton", 1), ("lbfgs", 8)):
        model = LogisticRegression(l1_ratio=0.5, C=0.1, tol=1e-2, solver=solver, unroll=unroll)
        here, there = model.fit(X, BINARY).coef_, model.fit(rows, BINARY).coef_
        np.testing.assert_allclose(there, here, rtol=1e-9)


def test_few_rounds():
    """One pass to load, one to start, one a step: what quadratic convergence needs."""
    ours = LogisticRegression(l1_ratio=1.0, C=0.1, tol=1e-9).fit(X, LABELS)
    assert ours.n_passes_ == 2 + ours.n_iter_[0] <= 10
    values = [r["objective"] for r in ours.history_ if r["objective"] is not None]
    assert np.all(np.diff(values) <= 1e-14)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"l1_ratio": 1.5}, r"l1_ratio must be between 0 and 1, got 1\.5"),
        ({"l1_ratio": "half"}, "l1_ratio must be a number >= 0, got 'half'"),
        (
            {"l1_ratio": 0.5, "solver": "newton-cg"},
            "'newton-cg' needs .* gradient everywhere.*'lbfgs'",
        ),
        (
            {"coef_bounds": (0, 1), "solver": "newton-cg"},
            "'newton-cg' needs .* L1 penalty or bounds",
        ),
        ({"coef_bounds": (1, 0)}, r"coef_bounds must be .* lower <= upper, got \(1, 0\)"),
        ({"coef_bounds": (np.zeros(4), 1)}, r"coef_bounds must be .* broadcast to \(1, 6\)"),
        ({"coef_bounds": 3}, "coef_bounds must be None or a pair .* got 3"),
        ({"intercept_bounds": (np.nan, 1)}, "intercept_bounds must be None or a pair"),
        ({"intercept_bounds": (0, 1), "fit_intercept": False}, "needs an intercept"),
    ],
)
def test_impossible_pairs_are_refused_by_name(how, words):
    with pytest.raises(InvalidParameterError, match=words):
        LogisticRegression(**how).fit(X, BINARY)
