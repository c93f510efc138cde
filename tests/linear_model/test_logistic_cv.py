"""LogisticRegressionCV against scikit-learn; every round serves all folds."""

from __future__ import annotations

import warnings
from itertools import pairwise

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import sparse
from sklearn import linear_model as reference
from sklearn.datasets import make_classification
from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold

from daskml_kit.exceptions import ConvergenceWarning, InvalidParameterError
from daskml_kit.linear_model import LogisticRegressionCV, logistic_cv
from daskml_kit.linear_model.logistic_cv import dealt, stratified
from daskml_kit.runtime.block import Block

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


@pytest.mark.parametrize(
    ("kind", "scoring"),
    [
        ("numbers", "f1"),
        ("numbers", "precision"),
        ("multinomial", "jaccard_weighted"),
        ("multinomial", "recall_macro"),
        ("multinomial", "balanced_accuracy"),
        ("multinomial", "matthews_corrcoef"),
    ],
)
def test_scores_that_follow_from_the_confusion_matrix(kind, scoring):
    """Of folds that are shuffled, of rows some of which weigh nothing."""
    y = (codes == 1).astype(int) if kind == "numbers" else TARGETS[kind]
    weight = np.where(np.arange(len(X)) < 20, 0.0, WEIGHT)
    cv = StratifiedKFold(3, shuffle=True, random_state=7)
    how = {"Cs": [0.01, 10.0], "cv": cv, "scoring": scoring, **CONVERGED}
    theirs = reference.LogisticRegressionCV(
        **how, l1_ratios=(0.0,), use_legacy_attributes=False
    ).fit(X, y, sample_weight=weight)
    ours = LogisticRegressionCV(**how).fit(FORMS["dask"](X), y, weight)
    np.testing.assert_allclose(ours.scores_, theirs.scores_, rtol=1e-10)
    assert pytest.approx(theirs.C_) == ours.C_
    score = theirs.score(X, y, sample_weight=weight)
    for form in FORMS.values():
        assert ours.score(form(X), y, weight) == pytest.approx(score, rel=1e-10)


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


@settings(max_examples=60, deadline=None)
@given(
    y=st.lists(st.integers(0, 3), min_size=12, max_size=60),
    n_folds=st.integers(2, 5),
    cuts=st.lists(st.integers(0, 60), max_size=3),
)
@pytest.mark.filterwarnings("ignore:The least populated class", "ignore:The rarest class")
def test_strata_are_scikit_learns(y, n_folds, cuts):
    _, y = np.unique(y, return_inverse=True)
    edges = sorted({0, len(y), *(c for c in cuts if c < len(y))})
    blocks = [Block(np.zeros((b - a, 1)), y[a:b], start=a) for a, b in pairwise(edges)]
    counts = [logistic_cv._count_chunk(y.max() + 1, block, None) for block in blocks]
    whole = counts[0]
    for part in counts[1:]:
        whole = logistic_cv._count_combine(part, whole)
    if n_folds > np.bincount(y).max():
        with pytest.raises(
            InvalidParameterError, match="cannot be greater than the number of rows"
        ):
            stratified(whole, n_folds)
        return
    strata = stratified(whole, n_folds)
    shuffled = dealt(strata, whole, 5)
    for ours, theirs in (
        (strata, StratifiedKFold(n_folds)),
        (shuffled, StratifiedKFold(n_folds, shuffle=True, random_state=5)),
    ):
        got = np.concatenate([ours.codes(block) for block in blocks])
        for fold, (_, test) in enumerate(theirs.split(np.zeros(len(y)), y)):
            np.testing.assert_array_equal(np.flatnonzero(got == fold), test)


def test_blocks_cut_during_the_fit_are_counted_again(monkeypatch):
    """Where rows were moved to another worker, the ranks of the first count are of no use."""
    whole = LogisticRegressionCV(Cs=2, cv=3).fit(X, codes)
    counted = []
    honest = logistic_cv._Folds._counted

    def first_of_other_blocks(self):
        counted.append(1)
        found = honest(self)
        elsewhere = {s + 1: n for s, n in found.before.items()}
        return found._replace(before=elsewhere) if len(counted) == 1 else found

    monkeypatch.setattr(logistic_cv._Folds, "_counted", first_of_other_blocks)
    again = LogisticRegressionCV(Cs=2, cv=3).fit(X, codes)
    assert len(counted) == 2
    np.testing.assert_array_equal(again.coef_, whole.coef_)


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
        ({"scoring": "roc_auc"}, "scoring must be None or one of"),
        ({"scoring": "f1"}, r"is of two labels, got 3: \[0, 1, 2\]. Use scoring='f1_macro'"),
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
