"""LogisticRegressionCV against scikit-learn; every round serves all folds."""

from __future__ import annotations

import warnings

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import sparse
from sklearn import linear_model as reference
from sklearn.datasets import make_classification
from sklearn.model_selection import GroupKFold, KFold

from daskml_kit.exceptions import ConvergenceWarning, InvalidParameterError
from daskml_kit.linear_model import LogisticRegressionCV

X, codes = make_classification(
    203, 4, n_informative=4, n_redundant=0, n_classes=3, n_clusters_per_class=1, flip_y=0.2, random_state=3
)  # fmt: skip
TARGETS = {"binary": np.where(codes == 1, "yes", "no"), "multinomial": codes}
WEIGHT = np.random.default_rng(0).uniform(0.1, 2.0, len(X))
CONVERGED = {"tol": 1e-8, "max_iter": 3_000}
FORMS = {
    "dense": np.asarray,
    "csr": sparse.csr_array,
    "dask": lambda a: da.from_array(a, chunks=(60, -1)),
}


@pytest.mark.filterwarnings("ignore:l_bfgs failed")
@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize(
    "how",
    [
        {},
        {"cv": 3, "scoring": "neg_log_loss", "fit_intercept": False},
        {"cv": KFold(3, shuffle=True, random_state=0), "refit": False},
        {"class_weight": "balanced", "cv": 2, "solver": "newton-cg"},
    ],
    ids=str,
)
def test_is_scikit_learns(kind, how):
    how, y = {"Cs": [0.01, 10.0], "scoring": "accuracy", **how}, TARGETS[kind]
    theirs = reference.LogisticRegressionCV(
        **how, **CONVERGED, l1_ratios=(0.0,), use_legacy_attributes=False
    ).fit(X, y, sample_weight=WEIGHT)
    for form in FORMS.values():
        ours = LogisticRegressionCV(**how, **CONVERGED).fit(form(X), y, WEIGHT)
        np.testing.assert_allclose(ours.scores_, theirs.scores_, rtol=1e-6)
        assert (ours.C_, ours.l1_ratio_) == (pytest.approx(theirs.C_), theirs.l1_ratio_)
        for name in ("coef_", "coefs_paths_"):
            got, expected = getattr(ours, name), getattr(theirs, name)
            assert got.shape == expected.shape
            # Intercepts of several classes are free but for a constant; ours are centred.
            np.testing.assert_allclose(got[..., :4], expected[..., :4], atol=1e-5)
        np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
        score = theirs.score(X, y, sample_weight=WEIGHT)
        assert ours.score(form(X), y, WEIGHT) == pytest.approx(score, rel=1e-5)
        assert ours.n_iter_.shape == ours.scores_.shape


def test_elastic_net_ratios():
    how = {"Cs": [0.05, 1.0], "l1_ratios": (0.0, 0.6), "cv": 2}
    theirs = reference.LogisticRegressionCV(
        **how, solver="saga", scoring="accuracy", use_legacy_attributes=False, tol=1e-7, max_iter=5_000
    ).fit(X, codes)  # fmt: skip
    ours = LogisticRegressionCV(**how, **CONVERGED).fit(X, codes)
    np.testing.assert_allclose(ours.scores_, theirs.scores_)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-4)
    assert (ours.C_, ours.l1_ratio_) == (theirs.C_, theirs.l1_ratio_)


@pytest.mark.parametrize("ratios", [None, (0.0, 0.6)])
def test_legacy_attributes_have_scikit_learns_shapes(ratios):
    how = {"Cs": [0.05, 1.0, 3.0], "l1_ratios": ratios, "cv": 2, "use_legacy_attributes": True}
    for y in TARGETS.values():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that these attributes, and None, are deprecated
            theirs = reference.LogisticRegressionCV(
                **how, solver="saga", scoring="accuracy", max_iter=100
            ).fit(X, y)
        ours = LogisticRegressionCV(**how).fit(X, y)
        for name in ("C_", "l1_ratio_", "n_iter_"):
            assert getattr(ours, name).shape == getattr(theirs, name).shape
        for name in ("scores_", "coefs_paths_"):
            got, expected = getattr(ours, name), getattr(theirs, name)
            assert [*got] == [*expected]
            assert [v.shape for v in got.values()] == [v.shape for v in expected.values()]
        with pytest.warns(FutureWarning, match="penalty='l1' is deprecated"):
            named = LogisticRegressionCV(Cs=[1.0], penalty="l1", cv=2).fit(X, y)
        assert named.l1_ratio_ == 1.0


def test_folds_share_their_rounds():
    ours = LogisticRegressionCV(Cs=3, cv=4, solver="newton").fit(X, codes)
    names = [r["name"] for r in ours.history_]
    assert names[:4] == ["load", "means", "class-counts", "cell-weights"]
    assert names.count("score") == 1
    # Newton takes the step that it asks for: as many rounds as the slowest fold needs, and one more.
    assert names.count("folds-hessian") <= (ours.n_iter_.max(axis=0) + 2).sum()
    assert names.count("folds-hessian") < ours.n_iter_.sum()


@settings(max_examples=5, deadline=None)
@given(chunk=st.integers(20, len(X)))
def test_chunks_do_not_change_the_answer(chunk):
    how = {"Cs": [0.1], "cv": 3, **CONVERGED}
    whole = LogisticRegressionCV(**how).fit(X, codes, WEIGHT)
    parts = LogisticRegressionCV(**how).fit(da.from_array(X, chunks=(chunk, -1)), codes, WEIGHT)
    np.testing.assert_allclose(parts.coef_, whole.coef_, rtol=1e-9)
    np.testing.assert_allclose(parts.scores_, whole.scores_, rtol=1e-12)


def test_on_a_cluster(client):
    rows, y = da.from_array(X, chunks=(50, -1)), da.from_array(codes, chunks=50)
    how = {"Cs": [0.1, 1.0], "cv": 2}
    ours = LogisticRegressionCV(**how).fit(rows, y)
    np.testing.assert_allclose(
        ours.coef_, LogisticRegressionCV(**how).fit(X, codes).coef_, rtol=1e-8
    )


def test_float32_is_kept():
    ours = LogisticRegressionCV(Cs=2, cv=2).fit(X.astype(np.float32), codes)
    assert ours.coef_.dtype == ours.predict_proba(X.astype(np.float32)).dtype == np.float32


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"Cs": 0}, "Cs must be an integer >= 1, got 0"),
        ({"Cs": [0.0]}, "Cs must be numbers above 0"),
        ({"l1_ratios": (2.0,)}, "l1_ratios must be numbers between 0 and 1"),
        (
            {"cv": GroupKFold(3)},
            "cannot split the rows by their number alone: .* None. y and groups",
        ),
        ({"class_weight": {0: 0, 1: 1, 2: 1}}, "leaves rows without weight"),
        ({"cv": 1}, "cv must be an integer >= 2, got 1"),
        ({"cv": 150}, "cv=150 cannot be greater than the number of rows in each class"),
    ],
)
def test_impossible_parameters_are_refused_by_name(parameters, message):
    with pytest.raises(InvalidParameterError, match=message):
        LogisticRegressionCV(**parameters).fit(X, codes)


def test_a_class_of_fewer_rows_than_folds_is_warned_of_where_the_user_is():
    y = np.where(np.arange(len(X)) < 3, 2, np.arange(len(X)) % 2)
    with pytest.warns(
        UserWarning, match=r"rarest class of y has 3 rows, fewer than the 5 folds"
    ) as told:
        LogisticRegressionCV(Cs=1).fit(X, y)
    assert {one.filename for one in told} == {__file__}


def test_too_few_steps_are_warned_of_once():
    with pytest.warns(ConvergenceWarning, match="fits stopped after max_iter=1 steps"):
        LogisticRegressionCV(Cs=[1.0], cv=2, max_iter=1, refit=False).fit(X, codes)


@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
def test_folds_end_where_the_hessian_is_infinite(solver):
    """No step can be taken there: the fits end, and say so."""
    far = X * [1.0, 1e160, 1.0, 1.0]
    with pytest.warns(ConvergenceWarning) as said:
        ours = LogisticRegressionCV(Cs=[1.0, 2.0], cv=3, solver=solver, refit=False).fit(far, codes)
    assert len(said) == 1
    assert "6 of 6 fits stopped after max_iter=100 steps, or where no step" in str(said[0].message)
    assert np.isfinite(ours.coef_).all()
