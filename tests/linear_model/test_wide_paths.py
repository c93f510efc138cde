"""Paths of more features than a Gram matrix takes are scikit-learn's, in a few rounds a penalty."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from scipy import sparse
from sklearn import linear_model as reference

from daskml_kit import record
from daskml_kit.exceptions import ConvergenceWarning, InvalidParameterError
from daskml_kit.linear_model import by_columns, enet_path, lasso_path, least_squares

N, D = 40, 120
rng = np.random.default_rng(11)
X = rng.normal(size=(N, D))
STORED = sparse.random_array((N, D), density=0.3, random_state=rng, format="csr")
Y = X[:, :4] @ rng.normal(size=4) + 0.5 * rng.normal(size=N)
TOL = {"tol": 1e-9, "max_iter": 100_000}


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    """More features than a Gram matrix takes."""
    monkeypatch.setattr(least_squares, "GRAM_FEATURES", 100)
    monkeypatch.setattr(by_columns, "COLUMN_FEATURES", 100)


FORMS = {
    "memory": (X, X),
    "stored": (STORED, STORED.toarray()),
    "columns": (da.from_array(X, chunks=(-1, 50)), X),
    "rows": (da.from_array(X, chunks=(15, -1)), X),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "how", [{"l1_ratio": 1.0}, {"l1_ratio": 0.4}, {"l1_ratio": 1.0, "positive": True}], ids=str
)
def test_is_scikit_learns(form, how):
    rows, dense = FORMS[form]
    how = {"alphas": 6, "eps": 0.1, **how}
    alphas, coefs, gaps, counts = enet_path(rows, Y, return_n_iter=True, **how, **TOL)
    theirs = reference.enet_path(dense, Y, return_n_iter=True, **how, tol=1e-13, max_iter=100_000)
    np.testing.assert_allclose(alphas, theirs[0], rtol=1e-12)
    assert coefs.shape == theirs[1].shape
    np.testing.assert_allclose(coefs, theirs[1], atol=2e-4)  # the root of the gap
    assert gaps.shape == theirs[2].shape
    assert np.all(gaps <= 1.01e-9 * (Y @ Y) / N)
    assert (type(counts), len(counts)) == (list, 6)


def test_rounds_along_the_path(client):
    """A look and a working set a penalty, the same ones whatever the chunks."""
    with record() as run:
        _, whole, _ = lasso_path(X, Y, alphas=6, eps=0.1)
    here = len(run.rounds)
    with record() as run:
        _, parts, _ = lasso_path(da.from_array(X, chunks=(20, 30)), Y, alphas=6, eps=0.1)
    assert len(run.rounds) == here <= 2 + 3 * 6
    np.testing.assert_allclose(parts, whole, atol=1e-9)


def test_a_start_is_where_the_path_begins():
    alphas, coefs, _ = lasso_path(X, Y, alphas=[0.2], **TOL)
    for rows in (X, FORMS["rows"][0]):
        again = lasso_path(
            rows, Y, alphas=alphas, coef_init=coefs[:, 0], return_n_iter=True, tol=1e-6
        )
        assert again[3][0] <= 1
        np.testing.assert_allclose(again[1], coefs, atol=1e-9)
        with pytest.raises(
            InvalidParameterError, match=r"each of 120 features, got the shape \(3,\)"
        ):
            lasso_path(rows, Y, coef_init=np.ones(3))


def test_too_few_rounds_are_warned_of_where_the_user_is():
    with pytest.warns(ConvergenceWarning, match="of 5 penalties in max_iter=1 rounds") as said:
        lasso_path(X, Y, alphas=5, max_iter=1, tol=1e-13)
    assert said[0].filename == __file__


def test_no_penalty_goes_by_rows():
    _, coefs, _ = enet_path(X, Y, l1_ratio=0.0, alphas=[1.0], tol=1e-9)
    exact = np.linalg.solve(X.T @ X / N + np.eye(D), X.T @ Y / N)
    np.testing.assert_allclose(coefs[:, 0], exact, atol=1e-4)
