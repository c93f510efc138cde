"""Cross-validated logistic regression by columns: every fold's models, scores, shared rounds."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from scipy import sparse
from sklearn import linear_model as reference
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold

from daskml_kit.exceptions import ConvergenceWarning, InvalidDataError, InvalidParameterError
from daskml_kit.linear_model import LogisticRegression, LogisticRegressionCV, by_columns

rng = np.random.default_rng(5)
N, D = 48, 120
X = rng.normal(size=(N, D)) + 1.0
X *= rng.random((N, D)) < 0.7
RAW = X[:, :6] @ rng.normal(size=(6, 3)) + 3.0 * rng.gumbel(size=(N, 3))
Y = {n: np.array(["a", "b", "c"])[RAW[:, :n].argmax(axis=1)] for n in (2, 3)}
WEIGHT = rng.uniform(0.2, 2.0, N)
FOLDS = StratifiedKFold(3, shuffle=True, random_state=0)
GRID = {"Cs": [0.05, 0.5], "cv": FOLDS, "solver": "columns"}


def cut(rows=20, columns=35):
    return da.from_array(X, chunks=(rows, columns))


@pytest.mark.parametrize("n_classes", [2, 3])
def test_folds_are_fits_of_their_rows(n_classes):
    y, shares = Y[n_classes], dict(zip("abc"[:n_classes], (1.0, 2.0, 0.5), strict=False))
    how = {"class_weight": shares, "tol": 1e-9}
    ratios = [0.0, 0.5, 1.0]
    model = LogisticRegressionCV(**GRID, l1_ratios=ratios, scoring="neg_log_loss", **how)
    model.fit(cut().map_blocks(sparse.csr_array), y, WEIGHT)
    assert model.coefs_paths_.shape == (3, 3, 2, 1 if n_classes == 2 else 3, D + 1)
    for f, (train, test) in enumerate(FOLDS.split(X, y)):
        for r, ratio in enumerate(ratios):
            alone = LogisticRegression(C=0.5, l1_ratio=ratio, solver="columns", **how)
            alone.fit(X[train], y[train], WEIGHT[train])
            path = model.coefs_paths_[f, r, 1]
            scale = np.abs(alone.coef_).max()
            np.testing.assert_allclose(path[:, :-1], alone.coef_, atol=1e-6 * scale)
            np.testing.assert_allclose(path[:, -1], alone.intercept_, atol=1e-5 * scale)
            loss = log_loss(y[test], alone.predict_proba(X[test]), sample_weight=WEIGHT[test])
            assert model.scores_[f, r, 1] == pytest.approx(-loss, rel=1e-6)
    best = LogisticRegression(C=model.C_, l1_ratio=model.l1_ratio_, solver="columns", **how)
    best.fit(X, y, WEIGHT)
    np.testing.assert_allclose(model.coef_, best.coef_, atol=1e-6 * np.abs(best.coef_).max())
    names = [r["name"] for r in model.history_]
    # Folds share rounds: a look and a set a penalty and a few more, not that for each fold.
    looks = names.count("classes-columns")
    assert looks <= 0.5 * model.n_iter_[:, 1:].sum() + 5
    assert names.count("columns-coefficients") <= 4


@pytest.mark.parametrize("how", [{}, {"fit_intercept": False}, {"refit": False}], ids=str)
def test_ridge_is_scikit_learns(how):
    how = {"Cs": [0.01, 0.1, 1.0], "cv": 3, "tol": 1e-9, "max_iter": 10_000, **how}
    how |= {"use_legacy_attributes": False, "l1_ratios": (0.0,), "scoring": "accuracy"}
    theirs = reference.LogisticRegressionCV(**how, solver="newton-cg").fit(X, Y[3])
    ours = LogisticRegressionCV(**how, solver="columns").fit(cut(), Y[3])
    np.testing.assert_array_equal(ours.scores_, theirs.scores_)
    for name in ("coefs_paths_", "coef_", "intercept_", "C_"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), atol=1e-5)
    assert ours.n_iter_.shape == theirs.n_iter_.shape


def test_chunks_and_clusters_do_not_matter(client):
    how = {**GRID, "l1_ratios": [0.0, 0.7], "tol": 1e-11, "scoring": "roc_auc_ovr"}
    model = LogisticRegressionCV(**how).fit(cut(), Y[3])
    scale = np.abs(model.coefs_paths_).max()
    for data in (X, cut(48, 11), cut(7, 119).persist()):
        other = LogisticRegressionCV(**how).fit(data, Y[3])
        np.testing.assert_allclose(other.coefs_paths_, model.coefs_paths_, atol=1e-9 * scale)
        np.testing.assert_allclose(other.scores_, model.scores_, rtol=1e-9)


def test_a_class_without_weight_is_scored_as_by_rows():
    how = {"Cs": [0.05, 0.5], "cv": 3, "class_weight": "balanced", "tol": 1e-9, "refit": False}
    weight = WEIGHT * (Y[3] != "a")
    columns, rows = (
        LogisticRegressionCV(**how, scoring="neg_log_loss", solver=solver).fit(X, Y[3], weight)
        for solver in ("columns", "lbfgs")
    )
    np.testing.assert_allclose(columns.scores_, rows.scores_, rtol=1e-6)


def test_what_goes_by_columns_and_what_is_refused(monkeypatch):
    monkeypatch.setattr(by_columns, "COLUMN_FEATURES", 100)
    for data, how, by_column in [
        (cut(), {"Cs": [0.1]}, True),
        (cut(), {"Cs": [np.inf]}, False),
        (X, {"Cs": [0.1]}, False),  # few columns to a row, in memory
        (X, {"Cs": [0.1], "l1_ratios": [0.5]}, True),
    ]:
        model = LogisticRegressionCV(**how, cv=2, tol=0.1).fit(data, Y[2])
        assert any("columns" in r["name"] for r in model.history_) is by_column
    with pytest.raises(InvalidParameterError, match=r"needs a penalty, got Cs=\[1, inf\]"):
        LogisticRegressionCV(Cs=[1, np.inf], solver="columns").fit(X, Y[2])
    with pytest.raises(
        InvalidParameterError, match=r"one of .*'columns'\], got 'admm'|cuts the data"
    ):
        LogisticRegressionCV(solver="admm").fit(X, Y[2])
    with pytest.raises(InvalidDataError, match="rows of split 0 are zero"):
        LogisticRegressionCV(solver="columns", cv=[(range(5), range(5, 9))]).fit(
            X, Y[2], np.arange(N) > 8
        )
    for ratio in (0.0, 1.0):
        with pytest.warns(ConvergenceWarning, match="fits stopped after max_iter=1 steps"):
            LogisticRegressionCV(
                Cs=[1.0], l1_ratios=[ratio], solver="columns", tol=1e-12, max_iter=1, refit=False
            ).fit(X, Y[2])
