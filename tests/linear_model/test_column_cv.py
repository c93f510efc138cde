"""Cross-validation by columns against scikit-learn, whatever the chunks; its rounds."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from scipy import sparse
from sklearn import linear_model as reference
from sklearn.model_selection import KFold

from daskml_kit.exceptions import ConvergenceWarning, InvalidDataError
from daskml_kit.linear_model import ElasticNetCV, LassoCV, by_columns, column_sets

rng = np.random.default_rng(5)
N, D = 60, 150
X = rng.normal(size=(N, D)) + 1.0
X *= rng.random((N, D)) < 0.7
Y = X[:, :6] @ rng.normal(size=6) + 0.3 * rng.normal(size=N)
WEIGHT = rng.uniform(0.2, 2.0, N)
WEIGHT[:3] = 0.0
PATH = {"alphas": 12, "eps": 0.02, "cv": 3}


@pytest.fixture(autouse=True)
def _few_columns_are_wide(monkeypatch):
    monkeypatch.setattr(by_columns, "COLUMN_FEATURES", 100)


def cut(rows=25, columns=40):
    return da.from_array(X, chunks=(rows, columns))


def by_sets(model):
    return {r["name"] for r in model.history_} >= {"folds-columns", "columns-working-set"}


def same(ours, theirs, rtol=1e-6):
    """A gap of 1e-11 leaves its root in the coefficients, and in the errors."""
    assert ours.alpha_ == pytest.approx(theirs.alpha_, rel=1e-12)
    np.testing.assert_allclose(ours.alphas_, theirs.alphas_, rtol=1e-12)
    np.testing.assert_allclose(ours.mse_path_, theirs.mse_path_, rtol=10 * rtol)
    scale = np.abs(theirs.coef_).max()
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=rtol * scale)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, atol=10 * rtol * scale)


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"fit_intercept": False},
        {"positive": True},
        {"cv": KFold(4, shuffle=True, random_state=0)},
        {"alphas": [0.5, 0.01, 0.1]},
    ],
    ids=str,
)
def test_lasso_is_scikit_learns(how):
    how = {**PATH, **how, "tol": 1e-11}
    theirs = reference.LassoCV(**how, max_iter=200_000).fit(X, Y, sample_weight=WEIGHT)
    ours = LassoCV(**how).fit(cut(), Y, WEIGHT)
    assert by_sets(ours)
    same(ours, theirs)
    ours.fit(cut().map_blocks(sparse.csr_array), Y, WEIGHT)
    same(ours, theirs)
    assert by_sets(ours)
    assert 0 <= ours.dual_gap_ <= 1e-11 * (Y @ Y) / N


def test_elastic_net_is_scikit_learns(monkeypatch):
    how = {**PATH, "l1_ratio": [0.4, 0.9], "tol": 1e-13}
    theirs = reference.ElasticNetCV(**how, max_iter=200_000).fit(X, Y)
    ours = ElasticNetCV(**how).fit(cut(), Y)
    assert by_sets(ours)
    assert ours.l1_ratio_ == theirs.l1_ratio_
    same(ours, theirs)
    # Sets that no worker should hold: all blocks descend side by side.
    monkeypatch.setattr(column_sets, "MOST_BYTES", 5 * N * 8)
    few = ElasticNetCV(**{**how, "l1_ratio": 0.9, "alphas": 5, "eps": 0.1}).fit(cut(), Y)
    names = [r["name"] for r in few.history_]
    assert names.count("halfsquared-columns") > 5
    monkeypatch.undo()
    again = ElasticNetCV(**{**how, "l1_ratio": 0.9, "alphas": 5, "eps": 0.1}).fit(X, Y)
    same(few, again)


def test_rounds_are_shared_and_chunks_do_not_matter(client):
    model = LassoCV(**PATH, tol=1e-12).fit(cut(), Y)
    names = [r["name"] for r in model.history_]
    # Folds share their rounds: a look and a set a penalty and some more, not that for each fold.
    assert PATH["alphas"] < names.count("folds-columns") < 2.7 * PATH["alphas"]
    assert names.count("columns-working-set") < 2.7 * PATH["alphas"]
    for rows, columns in [(60, 11), (7, 149)]:
        other = LassoCV(**PATH, tol=1e-12).fit(cut(rows, columns), Y)
        np.testing.assert_allclose(other.mse_path_, model.mse_path_, rtol=1e-9)
        scale = np.abs(model.coef_).max()
        np.testing.assert_allclose(other.coef_, model.coef_, rtol=1e-9, atol=1e-9 * scale)
    spread = LassoCV(**PATH, tol=1e-12).fit(cut().persist(), da.from_array(Y, chunks=20))
    assert by_sets(spread)
    np.testing.assert_allclose(spread.mse_path_, model.mse_path_, rtol=1e-9)


def test_penalties_far_apart_take_few_rounds():
    """The few columns that a fold lacks are not crowded out by the many that violate the next penalty."""
    wide = sparse.random(400, 6_000, 0.02, format="csr", random_state=0)
    noise = np.random.default_rng(1).normal(size=400)
    y = 3.0 * np.ravel(wide[:, :20].sum(axis=1)) + 0.1 * noise
    names = [r["name"] for r in LassoCV(alphas=5, cv=3).fit(wide, y).history_]
    assert names.count("folds-columns") < 8 * 5


def test_what_has_no_working_sets_goes_by_rows():
    both = ElasticNetCV(l1_ratio=[0.0, 0.5], alphas=[1.0, 0.5], cv=2).fit(cut(), Y)
    assert not by_sets(both)
    with pytest.warns(ConvergenceWarning, match="did not converge"):
        assert not by_sets(LassoCV(alphas=[1.0, 0.0], cv=2, tol=1e-15, max_iter=2).fit(cut(), Y))


def test_what_does_not_end_or_cannot_be_is_said():
    with (
        pytest.warns(ConvergenceWarning, match="did not converge in max_iter=1: duality gap"),
        pytest.warns(ConvergenceWarning, match=r"of 24 fits of folds stopped.*max_iter=1\."),
    ):
        LassoCV(alphas=12, cv=2, tol=1e-12, max_iter=1).fit(cut(), Y)
    none = np.where(np.arange(N) < N / 2, 0.0, 1.0)
    with pytest.raises(InvalidDataError, match="test rows of split 0 are zero"):
        LassoCV(cv=2).fit(cut(), Y, none)
    narrow = LassoCV(**PATH).fit(cut().astype(np.float32), Y)
    assert narrow.coef_.dtype == narrow.mse_path_.dtype == np.float32
