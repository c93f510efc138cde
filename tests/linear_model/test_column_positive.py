"""Least squares with positive coefficients, of more features than rows: optimal, in few rounds."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from scipy import optimize, sparse

from daskml_kit.exceptions import ConvergenceWarning
from daskml_kit.linear_model import LinearRegression, Ridge, least_squares
from daskml_kit.runtime.config import config_context

N, D = 40, 160
rng = np.random.default_rng(3)
X = rng.normal(size=(N, D)) * np.geomspace(0.1, 10.0, D)
STORED = sparse.random_array((N, D), density=0.3, random_state=rng, format="csr")
Y = X[:, :12] @ rng.uniform(0.0, 2.0, 12) + rng.normal(size=N)
TWO = np.column_stack([Y, rng.normal(size=N)])
WEIGHT = rng.uniform(0.5, 2.0, N)
WEIGHT[3] = 0.0


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    """More features than a Gram matrix takes."""
    monkeypatch.setattr(least_squares, "GRAM_FEATURES", 100)


def reference(rows, y, alpha, *, fit_intercept=True):
    """By Lawson and Hanson's active sets, the penalty as rows of its own."""
    share = WEIGHT / WEIGHT.sum() * fit_intercept
    root = np.sqrt(WEIGHT)[:, None]
    A = np.vstack([root * (rows - share @ rows), np.sqrt(alpha) * np.eye(rows.shape[1])])
    c = np.r_[root[:, 0] * (y - share @ y), np.zeros(rows.shape[1])]
    w = optimize.nnls(A, c, maxiter=10_000)[0]
    return w, share @ y - share @ rows @ w


@pytest.mark.parametrize("alpha", [1e-9, 1e-3, 1.0, 1e4])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_is_the_optimum(alpha, fit_intercept):
    """Also where columns can't follow the target and the penalty is weak, and for columns far from zero."""
    how = {"alpha": alpha, "fit_intercept": fit_intercept, "positive": True, "tol": 1e-12}
    for rows in (X, STORED, np.abs(X)):
        dense = rows.toarray() if sparse.issparse(rows) else rows
        coef, intercept = reference(dense, Y, alpha, fit_intercept=fit_intercept)
        ours = Ridge(**how).fit(rows, Y, WEIGHT)
        assert ours.n_rounds_ <= (20 if fit_intercept or alpha >= 1.0 else 70)
        assert ours.coef_.min() >= 0.0
        np.testing.assert_allclose(ours.coef_, coef, atol=1e-8 * coef.max())
        assert ours.intercept_ == pytest.approx(intercept, rel=1e-8, abs=1e-9)
    if fit_intercept and alpha >= 1.0:
        far = Ridge(**how).fit(X + 1e6, Y, WEIGHT).coef_
        near = Ridge(**how).fit((X + 1e6) - 1e6, Y, WEIGHT).coef_
        np.testing.assert_allclose(far, near, atol=1e-9 * near.max())


def test_without_a_penalty():
    """Columns of one sign can't follow a target of both, so there is one solution."""
    rows, how = np.abs(X), {"positive": True, "fit_intercept": False, "tol": 1e-10}
    coef, _ = reference(rows, Y, 0.0, fit_intercept=False)
    for model in (LinearRegression(**how), Ridge(0.0, **how)):
        ours = model.fit(rows, Y, WEIGHT)
        assert ours.n_rounds_ <= 30
        np.testing.assert_allclose(ours.coef_, coef, atol=1e-8 * coef.max())


def test_chunks_and_executors_do_not_change_the_answer(client):
    how = {"alpha": [1.0, 5.0], "positive": True, "tol": 1e-10}
    whole = Ridge(**how).fit(X, TWO, WEIGHT)
    assert whole.coef_.shape == (2, D)
    assert whole.n_iter_.shape == (2,)
    for t, alpha in enumerate(how["alpha"]):
        np.testing.assert_allclose(whole.coef_[t], reference(X, TWO[:, t], alpha)[0], atol=1e-8)
    for chunks, executor in (((N, 50), "actor"), ((17, D), "graph"), ((N, 7), "local")):
        with config_context(executor=executor):
            ours = Ridge(**how).fit(da.from_array(X, chunks=chunks), TWO, WEIGHT)
        np.testing.assert_allclose(ours.coef_, whole.coef_, rtol=1e-9, atol=1e-13)
        np.testing.assert_array_equal(ours.n_iter_, whole.n_iter_)
        np.testing.assert_allclose(ours.intercept_, whole.intercept_, rtol=1e-9)


def test_what_has_nothing_to_find():
    model = Ridge(positive=True)
    assert not model.fit(X, np.full(N, 3.0)).coef_.any()
    assert model.intercept_ == 3.0
    assert not LinearRegression(positive=True).fit(np.zeros((N, D)), Y).coef_.any()


def test_too_few_rounds_are_warned_of():
    with pytest.warns(ConvergenceWarning, match="did not converge in max_iter=2"):
        Ridge(1e-3, positive=True, tol=1e-12, max_iter=2).fit(X, Y)
    assert Ridge(positive=True).fit(X.astype(np.float32), Y).coef_.dtype == np.float32
