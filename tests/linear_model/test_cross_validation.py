"""ElasticNetCV, LassoCV and RidgeCV against scikit-learn; one pass whatever the folds and penalties."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import sparse
from sklearn import linear_model as reference
from sklearn.base import clone
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    LeaveOneOut,
    RepeatedKFold,
    ShuffleSplit,
    StratifiedKFold,
    TimeSeriesSplit,
)

from daskml_kit.exceptions import ConvergenceWarning, InvalidDataError, InvalidParameterError
from daskml_kit.linear_model import ElasticNetCV, LassoCV, RidgeCV, folds, least_squares
from daskml_kit.linear_model.folds import RowCells

rng = np.random.default_rng(5)
N, D = 143, 9  # folds of unequal length
X = rng.normal(size=(N, D)) @ (np.eye(D) + 0.3 * rng.normal(size=(D, D))) + 3.0
Y = np.column_stack([X @ rng.normal(size=(D, 2)), np.zeros(N)]) + 4.0 * rng.normal(size=(N, 3))
WEIGHT = rng.uniform(0.1, 3.0, N)
CONVERGED = {"tol": 1e-11, "max_iter": 100_000}
ALPHAS = np.logspace(-2, 4, 7)

FORMS = {
    "dense": np.asarray,
    "csr": sparse.csr_array,
    "dask": lambda a: da.from_array(a, chunks=(40, -1)),
}
SPLITTERS = {
    "none": lambda: None,
    "three": lambda: 3,
    "KFold": lambda: KFold(4),
    "shuffled": lambda: KFold(3, shuffle=True, random_state=0),
    "overlapping": lambda: ShuffleSplit(4, test_size=0.3, train_size=0.5, random_state=1),
    "repeated": lambda: RepeatedKFold(n_splits=2, n_repeats=2, random_state=2),
    "ordered": lambda: TimeSeriesSplit(3),
    "pairs": lambda: [(np.arange(50), np.arange(60, 90)), (np.arange(40, N), np.arange(40))],
}


@pytest.mark.parametrize("cv", SPLITTERS)
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["", "weighted"])
def test_elastic_net_cv_is_scikit_learns(cv, weight):
    how = {"l1_ratio": [0.4, 0.9], "alphas": 12, **CONVERGED}
    theirs = reference.ElasticNetCV(cv=SPLITTERS[cv](), **how).fit(X, Y[:, 0], weight)
    for form in FORMS.values():
        ours = ElasticNetCV(cv=SPLITTERS[cv](), **how).fit(form(X), Y[:, 0], weight)
        np.testing.assert_allclose(ours.mse_path_, theirs.mse_path_, rtol=1e-8)
        np.testing.assert_allclose(ours.alphas_, theirs.alphas_, rtol=1e-9)
        np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-6, atol=1e-8)
        assert ours.intercept_ == pytest.approx(theirs.intercept_)
        assert (ours.alpha_, ours.l1_ratio_) == (pytest.approx(theirs.alpha_), theirs.l1_ratio_)
        assert [r["name"] for r in ours.history_] == ["load", "fold-moments"]
        assert ours.n_passes_ == 2


@pytest.mark.parametrize(
    "how",
    [
        {"positive": True},
        {"fit_intercept": False},
        {"alphas": [0.1, 2.0, 0.1], "cv": 3},
        {"eps": 0.1, "alphas": 3},
        {"selection": "random", "random_state": 0, "alphas": 5},
    ],
    ids=str,
)
def test_lasso_cv_is_scikit_learns(how):
    how = {"alphas": 9, **CONVERGED, **how}
    ours, theirs = (kind(**how).fit(X, Y[:, 1], WEIGHT) for kind in (LassoCV, reference.LassoCV))
    np.testing.assert_allclose(ours.mse_path_, theirs.mse_path_, rtol=1e-7)
    np.testing.assert_allclose(ours.alphas_, theirs.alphas_, rtol=1e-9)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-6, atol=1e-7)
    assert not hasattr(ours, "l1_ratio_")
    assert ours.dual_gap_ < 1e-8


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["", "weighted"])
@pytest.mark.parametrize("y", [Y[:, 0], Y[:, :1], Y], ids=["1d", "one-column", "three"])
@pytest.mark.parametrize(
    "how",
    [
        {},
        {"fit_intercept": False},
        {"alpha_per_target": True},
        {"scoring": "r2"},
        {"scoring": "neg_root_mean_squared_error"},
        {"cv": 4},
        {"cv": KFold(3, shuffle=True, random_state=0), "scoring": "neg_mean_squared_error"},
        {"cv": 3, "fit_intercept": False, "alphas": [0.0, 5.0]},
    ],
    ids=str,
)
def test_ridge_cv_is_scikit_learns(weight, y, how):
    how = {"alphas": ALPHAS, **how}
    theirs = reference.RidgeCV(**how).fit(X, y, weight)
    for form in FORMS.values():
        ours = RidgeCV(**how).fit(form(X), y, weight)
        for name in ("alpha_", "best_score_", "coef_", "intercept_"):
            got, expected = getattr(ours, name), getattr(theirs, name)
            assert np.shape(got) == np.shape(expected), name
            np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-9)
        assert ours.n_passes_ == (2 if "cv" in how else 3)


def test_leave_one_out_leaves_one_out():
    """The naive way: a fit without each row."""
    ours = RidgeCV([7.0]).fit(sparse.csr_array(X), Y[:, 0], WEIGHT)
    errors = []
    for i in range(N):
        rest = np.delete(np.arange(N), i)
        model = reference.Ridge(7.0, solver="svd").fit(X[rest], Y[rest, 0], WEIGHT[rest])
        errors.append(WEIGHT[i] * (Y[i, 0] - model.predict(X[[i]])[0]) ** 2)
    assert -ours.best_score_ == pytest.approx(np.mean(errors), rel=1e-9)


def test_leave_one_out_as_folds():
    few, y = X[:25], Y[:25, 0]
    ours = RidgeCV([7.0], cv=LeaveOneOut(), scoring="neg_mean_squared_error").fit(few, y)
    assert ours.best_score_ == pytest.approx(RidgeCV([7.0]).fit(few, y).best_score_, rel=1e-9)


@settings(max_examples=10, deadline=None)
@given(chunk=st.integers(1, N), shuffle=st.booleans())
def test_chunks_do_not_change_the_answer(chunk, shuffle):
    cv = KFold(3, shuffle=shuffle, random_state=0 if shuffle else None)
    rows = da.from_array(X, chunks=(chunk, -1))
    for estimator in (
        LassoCV(cv=cv, alphas=5, **CONVERGED),
        RidgeCV(ALPHAS, cv=cv),
        RidgeCV(ALPHAS),
    ):
        whole = estimator.fit(X, Y[:, 0], WEIGHT).coef_
        parts = estimator.fit(rows, Y[:, 0], WEIGHT).coef_
        np.testing.assert_allclose(parts, whole, rtol=1e-9, atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.data())
def test_rows_find_their_cells(codes, data):
    codes = np.array(codes)
    starts = np.flatnonzero(np.r_[True, codes[1:] != codes[:-1]])
    low = data.draw(st.integers(0, len(codes)))
    high = data.draw(st.integers(low, len(codes)))
    found = np.full(high - low, -1)
    for cell, rows in RowCells(starts, codes[starts]).of(range(low, high)):
        assert (found[rows] == -1).all()
        found[rows] = cell
    np.testing.assert_array_equal(found, codes[low:high])


def test_on_a_cluster(client):
    rows, y = da.from_array(X, chunks=(20, -1)), da.from_array(Y[:, 0], chunks=20)
    for estimator in (ElasticNetCV(alphas=10), RidgeCV()):
        ours = estimator.fit(rows, y).coef_
        np.testing.assert_allclose(ours, estimator.fit(X, Y[:, 0]).coef_, rtol=1e-9, atol=1e-12)
    assert not client.futures


def test_float32_is_kept():
    small = X.astype(np.float32)
    for estimator in (LassoCV(alphas=10), RidgeCV()):
        assert estimator.fit(small, Y[:, 0]).coef_.dtype == np.float32
    assert LassoCV(alphas=10).fit(small, Y[:, 0]).mse_path_.dtype == np.float32


@pytest.mark.parametrize(
    ("cv", "message"),
    [
        (1, "cv must be an integer from 2 to the number of rows, got 1"),
        (500, "got 500 for n_samples=143"),
        ("five", "cv must be None, an integer, a splitter, or an iterable"),
        (StratifiedKFold(3), "cannot split the rows by their number alone"),
        (GroupKFold(3), "cannot split the rows by their number alone"),
        ([([0, 1, 1], [2])], "gives a row twice"),
        ([([0, 1], [1, 2])], "gives a row twice"),
        ([([0, 1], [N])], "row numbers from 0 to 142"),
        ([([0, 1], [])], "row numbers from 0 to 142"),
        ([], "at least one split"),
        ([3], "cannot split the rows by their number alone"),
    ],
    ids=str,
)
def test_impossible_splits_are_refused_before_any_round(cv, message):
    for estimator in (LassoCV(cv=cv), RidgeCV(cv=cv)):
        with pytest.raises(InvalidParameterError, match=message):
            estimator.fit(X, Y[:, 0])


def test_more_moments_than_the_driver_should_hold(monkeypatch):
    monkeypatch.setattr(folds, "CELL_BYTES", 3 * 100 * 8)
    with pytest.raises(InvalidParameterError, match="cv=4 makes 4 groups of rows"):
        LassoCV(cv=4).fit(X, Y[:, 0])
    LassoCV(cv=3).fit(X, Y[:, 0])


def test_a_fold_without_weight():
    weight = np.r_[np.zeros(60), np.ones(N - 60)]
    with pytest.raises(InvalidDataError, match="weights of the test rows of split 0 are zero"):
        LassoCV(cv=3).fit(X, Y[:, 0], weight)


def test_too_few_sweeps_are_warned_of_once():
    with pytest.warns(ConvergenceWarning, match="did not converge for .* of 5 penalties"):
        LassoCV(alphas=5, max_iter=1, tol=1e-12).fit(X, Y[:, 0])


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (ElasticNetCV(l1_ratio=0.0), "grid generation is not supported for l1_ratio=0"),
        (ElasticNetCV(l1_ratio=[0.5, 3]), "l1_ratio must be between 0 and 1, got 3"),
        (LassoCV(alphas=0), "alphas must be an integer >= 1, got 0"),
        (LassoCV(alphas=[-1.0]), "alphas must be an integer or numbers of at least 0"),
        (LassoCV(eps=0), "eps must be a number > 0, got 0"),
        (RidgeCV([0.0]), "alphas must be numbers > 0 for leave-one-out"),
        (RidgeCV(scoring="max_error"), "scoring must be None or one of"),
        (RidgeCV(cv=3, alpha_per_target=True), "incompatible"),
    ],
    ids=str,
)
def test_impossible_parameters_are_refused_by_name(estimator, message):
    with pytest.raises(InvalidParameterError, match=message):
        estimator.fit(X, Y[:, 0])


@pytest.mark.parametrize(
    "model",
    [
        LassoCV(alphas=4, eps=0.05, cv=3),
        ElasticNetCV(
            l1_ratio=[0.3, 0.9], alphas=3, eps=0.05, cv=KFold(3, shuffle=True, random_state=0)
        ),
        LassoCV(alphas=[0.5, 0.01, 0.1], cv=4, positive=True, fit_intercept=False),
    ],
    ids=str,
)
def test_more_features_than_a_gram_matrix_takes(model, monkeypatch):
    """By rounds over the rows: the same errors, penalties and coefficients as from moments."""
    model = clone(model).set_params(tol=1e-13, max_iter=5_000)
    by_moments = clone(model).fit(X, Y[:, 0], WEIGHT)
    monkeypatch.setattr(least_squares, "GRAM_FEATURES", 5)
    for rows in (X, sparse.csr_array(X), da.from_array(X, chunks=(40, -1))):
        ours = model.fit(rows, Y[:, 0], WEIGHT)
        assert ours.alpha_ == pytest.approx(by_moments.alpha_, rel=1e-9)
        np.testing.assert_allclose(ours.alphas_, by_moments.alphas_, rtol=1e-9)
        np.testing.assert_allclose(ours.mse_path_, by_moments.mse_path_, rtol=1e-6)
        np.testing.assert_allclose(ours.coef_, by_moments.coef_, atol=1e-7)
        np.testing.assert_allclose(ours.intercept_, by_moments.intercept_, atol=1e-7)
        assert ours.n_rounds_ == len(ours.history_)
    assert {r["name"] for r in ours.history_} <= {
        "load", "spread", "cell-weights", "folds-means", "halfsquared-gradient", "folds-gradient", "score"
    }  # fmt: skip
    with pytest.raises(InvalidDataError, match="weights of the test rows of split 0 are zero"):
        LassoCV(cv=3).fit(X, Y[:, 0], np.r_[np.zeros(60), np.ones(N - 60)])
    constant = LassoCV(alphas=4).fit(X, np.full(N, 2.1))
    assert not constant.coef_.any()
    with pytest.warns(ConvergenceWarning) as said:
        LassoCV(alphas=3, cv=2, max_iter=1, tol=1e-12).fit(X, Y[:, 0])
    assert "fits of folds stopped before tol=1e-12, max_iter=1." in str(said[0].message)


def test_wide_folds_end_whatever_the_units(monkeypatch):
    """By the duality gap, as with moments; and where no step can be taken."""
    monkeypatch.setattr(least_squares, "GRAM_FEATURES", 5)
    small = LassoCV(alphas=[1e-7, 1e-6], cv=3).fit((X + 10.0) * 1e-6, Y[:, 0], WEIGHT)
    usual = LassoCV(alphas=[0.1, 1.0], cv=3).fit(X + 10.0, Y[:, 0], WEIGHT)
    np.testing.assert_allclose(small.mse_path_, usual.mse_path_, rtol=1e-9)
    assert small.n_iter_ == usual.n_iter_ > 0
    with pytest.warns(ConvergenceWarning) as said:
        far = LassoCV(alphas=[1.0, 2.0], cv=2).fit(X * 1e160, Y[:, 0])
    assert "4 of 4 fits of folds stopped before tol=0.0001" in str(said[0].message)
    assert not far.coef_.any()


def test_a_constant_target_has_nothing_to_penalise():
    ours = LassoCV(alphas=4).fit(X, np.full(N, 2.0))
    assert not ours.coef_.any()
    assert ours.intercept_ == pytest.approx(2.0)
