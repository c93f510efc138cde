"""RidgeCV of more features than a Gram matrix takes, and of many rows: by iterations, beside exact ways."""

from __future__ import annotations

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from scipy import sparse
from sklearn import linear_model as reference
from sklearn.model_selection import GridSearchCV, KFold, ShuffleSplit

from daskml_kit.exceptions import ConvergenceWarning, InvalidDataError, InvalidParameterError
from daskml_kit.linear_model import RidgeCV, least_squares, wide_ridge_cv

rng = np.random.default_rng(5)
N, D = 90, 20
X = rng.normal(size=(N, D)) * rng.uniform(0.3, 3.0, D) + 5.0
X[rng.random((N, D)) < 0.3] = 0.0
Y = np.column_stack([X[:, 0] - X[:, 1], np.zeros(N), X[:, 3]]) + rng.normal(size=(N, 3)) + 1.0
WEIGHT = rng.uniform(0.1, 3.0, N)
WEIGHT[[4, 50]] = 0.0
ALPHAS = np.logspace(-3, 3, 7)
NAMES = ("alpha_", "best_score_", "coef_", "intercept_")


@pytest.fixture(autouse=True)
def _wide(monkeypatch):
    monkeypatch.setattr(least_squares, "GRAM_FEATURES", 5)


@pytest.mark.parametrize(
    ("y", "weight", "how"),
    [
        (Y[:, 0], None, {"cv": 4}),
        (Y, WEIGHT, {"cv": KFold(3, shuffle=True, random_state=0)}),
        (Y[:, :1], WEIGHT, {"cv": 3, "fit_intercept": False}),
        (
            Y,
            None,
            {
                "cv": ShuffleSplit(3, random_state=0, train_size=15),
                "scoring": "neg_root_mean_squared_error",
            },
        ),
    ],
    ids=["int", "weighted", "no-intercept", "few-train"],
)
def test_folds_are_those_of_moments(y, weight, how, monkeypatch):
    """Dense, sparse and in chunks; rounds do not grow with the penalties."""
    ours = [
        RidgeCV(ALPHAS, **how).fit(form(X), y, weight)
        for form in (np.asarray, sparse.csr_array, lambda a: da.from_array(a, chunks=(17, 20)))
    ]
    alone = RidgeCV(ALPHAS[:1], **how).fit(X, y, weight)
    monkeypatch.setattr(least_squares, "GRAM_FEATURES", 5_000)
    exact = RidgeCV(ALPHAS, **how).fit(X, y, weight)
    for model in ours:
        for name in NAMES:
            got, expected = getattr(model, name), getattr(exact, name)
            assert np.shape(got) == np.shape(expected), name
            np.testing.assert_allclose(got, expected, rtol=1e-7, atol=1e-8)
        assert abs(model.n_passes_ - alone.n_passes_) <= 1
        names = [r["name"] for r in model.history_]
        assert names[:3] == ["load", "folds-means", "folds-pull"]
        assert names[-1] == "score"
        assert names[3:-1] == ["folds-product"] * model.n_iter_
    assert exact.n_iter_ is None
    assert alone.n_passes_ == len(alone.history_) < 4 + 3 * D


def test_scikit_learns_answer():
    theirs = reference.RidgeCV(ALPHAS, cv=5).fit(X, Y[:, 0])
    search = GridSearchCV(reference.Ridge(), {"alpha": ALPHAS}, cv=5).fit(X, Y[:, 0])
    ours = RidgeCV(ALPHAS, cv=5).fit(X, Y[:, 0])
    assert ours.alpha_ == theirs.alpha_ == search.best_params_["alpha"]
    assert ours.best_score_ == pytest.approx(search.best_score_, rel=1e-8)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-8)
    assert ours.score(X, Y[:, 0]) == pytest.approx(theirs.score(X, Y[:, 0]), rel=1e-9)


def test_scales_and_places():
    """Far from zero, of any unit, of float32, with no penalty, and without anything to explain."""
    usual = RidgeCV(ALPHAS, cv=3).fit(X, Y[:, 0])
    far = RidgeCV(ALPHAS, cv=3).fit(X + 1e7, Y[:, 0] + 1e5)
    small = RidgeCV(ALPHAS * 1e-12, cv=3).fit(X * 1e-6, Y[:, 0] * 1e9)
    single = RidgeCV(ALPHAS, cv=3).fit(X.astype(np.float32), Y[:, 0])
    assert far.alpha_ == usual.alpha_ == single.alpha_ == pytest.approx(small.alpha_ * 1e12)
    np.testing.assert_allclose(far.coef_, usual.coef_, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(small.coef_ * 1e-15, usual.coef_, rtol=1e-7)
    np.testing.assert_allclose(single.coef_, usual.coef_, rtol=1e-4, atol=1e-6)
    assert single.coef_.dtype == np.float32
    free = RidgeCV([0.0, 1.0], cv=3).fit(X[:, :8], Y[:, 0])
    theirs = GridSearchCV(reference.Ridge(solver="svd"), {"alpha": [1e-12, 1.0]}, cv=3)
    theirs.fit(X[:, :8], Y[:, 0])
    assert free.best_score_ == pytest.approx(theirs.best_score_, rel=1e-8)
    constant = RidgeCV(ALPHAS, cv=3).fit(X, np.full(N, 2.1))
    np.testing.assert_allclose(constant.predict(X), 2.1)


@settings(max_examples=6, deadline=None)
@given(rows=st.integers(1, N), columns=st.integers(1, D))
def test_chunks_do_not_change_the_answer(rows, columns):
    whole = RidgeCV(ALPHAS, cv=3).fit(X, Y[:, :2], WEIGHT)
    parts = RidgeCV(ALPHAS, cv=3).fit(da.from_array(X, chunks=(rows, columns)), Y[:, :2], WEIGHT)
    for name in NAMES:
        got, expected = getattr(parts, name), getattr(whole, name)
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-12)


def test_what_is_refused_and_said(monkeypatch):
    with pytest.raises(InvalidParameterError, match=r"cv=None.*got 90 x 20\. Pass folds, as cv=5"):
        RidgeCV().fit(X, Y[:, 0])
    with pytest.raises(InvalidDataError, match="weights of the test rows of split 0 are zero"):
        RidgeCV(cv=3).fit(X, Y[:, 0], np.r_[np.zeros(30), np.ones(N - 30)])
    with pytest.raises(InvalidDataError, match="X or y are too large"):
        RidgeCV(cv=3).fit(X * 1e160, Y[:, 0])
    monkeypatch.setattr(wide_ridge_cv, "MOST_STEPS", 3)
    with pytest.warns(
        ConvergenceWarning, match=r"3 of 3 fits .* of alphas, 0.01, .* 3 steps"
    ) as said:
        RidgeCV([0.01, 1.0], cv=2).fit(X, Y[:, 0])
    assert said[0].filename == __file__


def test_on_a_cluster_with_rows_that_nobody_counted(client):
    frame = dd.from_pandas(pd.DataFrame(X, columns=[f"c{i}" for i in range(D)]), npartitions=4)
    y = dd.from_pandas(pd.Series(Y[:, 0]), npartitions=4)
    ours, here = RidgeCV(ALPHAS, cv=3).fit(frame, y), RidgeCV(ALPHAS, cv=3).fit(X, Y[:, 0])
    assert ours.alpha_ == here.alpha_
    np.testing.assert_allclose(ours.coef_, here.coef_, rtol=1e-9, atol=1e-12)
    assert not client.futures
