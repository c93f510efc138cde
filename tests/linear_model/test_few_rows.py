"""RidgeCV of no more rows than features: from the rows' Gram matrix, beside scikit-learn and naive ways."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from scipy import sparse
from sklearn import linear_model as reference
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.model_selection import KFold

from daskml_kit.exceptions import InvalidDataError
from daskml_kit.linear_model import RidgeCV, few_rows
from daskml_kit.linear_model.few_rows import has_few_rows

rng = np.random.default_rng(11)
N, D = 30, 70
X = rng.normal(size=(N, D)) + 5.0
Y = np.column_stack([X[:, 0] - X[:, 1], np.zeros(N)]) + rng.normal(size=(N, 2))
WEIGHT = rng.uniform(0.1, 3.0, N)
ALPHAS = np.logspace(-3, 3, 7)
NAMES = ("alpha_", "best_score_", "coef_", "intercept_")
FORMS = [np.asarray, sparse.csr_array, lambda a: da.from_array(a, chunks=(11, 30))]


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["", "weighted"])
@pytest.mark.parametrize("y", [Y[:, 0], Y[:, :1], Y], ids=["1d", "one-column", "two"])
@pytest.mark.parametrize(
    "how",
    [
        {},
        {"fit_intercept": False},
        {"alpha_per_target": True},
        {"scoring": "r2"},
        {"cv": KFold(4, shuffle=True, random_state=0)},
        {"cv": 3, "fit_intercept": False},
    ],
    ids=str,
)
def test_ridge_cv_is_scikit_learns(weight, y, how):
    """1e-7 of room for scikit-learn's leave-one-out, which subtracts leverages from one."""
    theirs = reference.RidgeCV(ALPHAS, **how).fit(X, y, weight)
    for form in FORMS:
        ours = RidgeCV(ALPHAS, **how).fit(form(X), y, weight)
        for name in NAMES:
            got, expected = getattr(ours, name), getattr(theirs, name)
            assert np.shape(got) == np.shape(expected), name
            np.testing.assert_allclose(got, expected, rtol=1e-7, atol=1e-9)
        assert [r["name"] for r in ours.history_] == ["load", "rows-gram", "rows-solution"]
        assert ours.n_passes_ == 3


@pytest.mark.parametrize("scoring", [None, "r2"])
def test_numbers_of_each_row(scoring):
    how = {"alphas": ALPHAS[2:], "store_cv_results": True, "scoring": scoring}
    ours, theirs = (kind(**how).fit(X, Y, WEIGHT) for kind in (RidgeCV, reference.RidgeCV))
    np.testing.assert_allclose(ours.cv_results_, theirs.cv_results_, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("alpha", [1e-14, 1e-10, 1e-5, 1.0])
def test_leave_one_out_leaves_one_out_down_to_no_penalty(alpha):
    """The naive way: a fit without each row."""
    errors = []
    for i in range(N):
        rest = np.delete(np.arange(N), i)
        model = reference.Ridge(alpha, solver="svd").fit(X[rest], Y[rest, 0], WEIGHT[rest])
        errors.append(WEIGHT[i] * (Y[i, 0] - model.predict(X[[i]])[0]) ** 2)
    ours = RidgeCV([alpha]).fit(X, Y[:, 0], WEIGHT)
    assert -ours.best_score_ == pytest.approx(np.mean(errors), rel=1e-9)


def test_rows_of_no_weight_are_not_there():
    weight = WEIGHT.copy()
    weight[[0, 7]] = 0.0
    used = weight > 0
    kept = {"alphas": ALPHAS, "scoring": "r2", "store_cv_results": True}
    ours = RidgeCV(**kept).fit(X, Y[:, 0], weight)
    theirs = RidgeCV(**kept).fit(X[used], Y[used, 0], weight[used])
    for name in NAMES:
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-9)
    guess = (
        reference.Ridge(ALPHAS[3], solver="svd").fit(X[used], Y[used, 0], weight[used]).predict(X)
    )
    np.testing.assert_allclose(ours.cv_results_[~used, 3], guess[~used], rtol=1e-9)
    with pytest.raises(InvalidDataError, match="weights of the test rows of split 0 are zero"):
        RidgeCV(cv=3).fit(X, Y[:, 0], np.r_[np.zeros(12), np.ones(N - 12)])


def test_far_from_zero():
    """Columns are centred before they meet."""
    ours = RidgeCV(ALPHAS, cv=3).fit(X + 1e7, Y[:, 0])
    near = RidgeCV(ALPHAS, cv=3).fit(X, Y[:, 0])
    assert ours.alpha_ == near.alpha_
    np.testing.assert_allclose(ours.coef_, near.coef_, rtol=1e-6, atol=1e-8)


def test_many_features_of_any_kind():
    """More than a Gram matrix of features takes, dense and sparse; float32 is kept."""
    wide = sparse.random(40, 6_000, density=0.01, random_state=1, dtype=np.float32, format="csr")
    y = wide @ np.ones(6_000) + rng.normal(size=40)
    for cv in (None, 4):
        theirs = reference.RidgeCV(ALPHAS, cv=cv).fit(wide.toarray().astype(np.float64), y)
        for rows in (wide, wide.toarray()):
            ours = RidgeCV(ALPHAS, cv=cv).fit(rows, y)
            assert ours.coef_.dtype == np.float32
            assert ours.alpha_ == theirs.alpha_
            assert ours.best_score_ == pytest.approx(theirs.best_score_, rel=1e-5)
            np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-5)


@settings(max_examples=8, deadline=None)
@given(rows=st.integers(1, N), columns=st.integers(1, D), cv=st.sampled_from([None, 3]))
def test_chunks_do_not_change_the_answer(rows, columns, cv):
    whole = RidgeCV(ALPHAS, cv=cv).fit(X, Y, WEIGHT)
    parts = RidgeCV(ALPHAS, cv=cv).fit(da.from_array(X, chunks=(rows, columns)), Y, WEIGHT)
    for name in NAMES:
        got, expected = getattr(parts, name), getattr(whole, name)
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-12)


def test_on_a_cluster(client):
    rows = da.from_array(X, chunks=(10, -1))
    ours = RidgeCV(cv=3).fit(rows, da.from_array(Y[:, 0], chunks=10)).coef_
    np.testing.assert_allclose(ours, RidgeCV(cv=3).fit(X, Y[:, 0]).coef_, rtol=1e-9, atol=1e-12)
    assert not client.futures


def test_which_data_have_few_rows():
    frame = pd.DataFrame(X, columns=[f"c{i}" for i in range(D)])
    assert has_few_rows(X)
    assert has_few_rows(X[:2].tolist())
    assert has_few_rows(frame)
    assert list(RidgeCV().fit(frame, Y[:, 0]).feature_names_in_) == list(frame.columns)
    unknown = da.from_array(X, chunks=(10, -1))[da.from_array(WEIGHT > 0, chunks=10)]
    for other in (X.T, unknown, X[0], X[:0], [[1.0], [1.0, 2.0]]):
        assert not has_few_rows(other)


def test_the_gram_matrix_comes_in_panels(monkeypatch):
    """No part is larger than that, and the answer is the same."""
    for rows in (X, sparse.csr_array(X)):
        whole = RidgeCV(alphas=[0.1, 1.0]).fit(rows, Y, WEIGHT)
        with monkeypatch.context() as small:
            small.setattr(few_rows, "PART_VALUES", 7 * len(Y))
            parts = RidgeCV(alphas=[0.1, 1.0]).fit(rows, Y, WEIGHT)
        np.testing.assert_allclose(parts.coef_, whole.coef_, rtol=1e-9, atol=1e-12)
        assert parts.n_rounds_ - whole.n_rounds_ == -(-len(Y) // 7) - 1


@pytest.mark.parametrize("columns", [2, D])
def test_a_single_row_of_weight_leaves_nothing_to_learn_from(columns):
    weight = np.eye(len(Y))[3]
    for how in ({}, {"scoring": "r2", "fit_intercept": False}):
        with pytest.warns(UndefinedMetricWarning, match="single row of positive weight") as said:
            ours = RidgeCV(**how).fit(X[:, :columns], Y, weight)
        assert said[0].filename == __file__
        assert (ours.alpha_, len(said)) == (0.1, 1)
        assert np.isnan(ours.best_score_)
    assert not np.isnan(RidgeCV(fit_intercept=False).fit(X[:, :columns], Y, weight).best_score_)
