"""Every score that a penalty may be chosen by, against scikit-learn's scorer of that name on each fold."""

from __future__ import annotations

import inspect

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from sklearn import linear_model as reference, metrics
from sklearn.metrics import get_scorer, make_scorer
from sklearn.model_selection import KFold, StratifiedKFold

from daskml_kit.exceptions import InvalidDataError, InvalidParameterError
from daskml_kit.linear_model import LogisticRegressionCV
from daskml_kit.linear_model.fold_scores import Candidates, fold_scores
from daskml_kit.linear_model.strata import Cellar, folding
from daskml_kit.metrics import ranking
from daskml_kit.metrics.scoring import names, score_of, scorer_of
from daskml_kit.runtime.ingest import Spec
from daskml_kit.runtime.opening import open_dataset
from tests.linear_model.test_logistic_cv import CONVERGED, TARGETS, WEIGHT, X, codes

NUMBERS = {"binary": (codes == 1).astype(int), "multinomial": codes + 1}  # above 0, for deviances
MADE = [
    make_scorer(metrics.fbeta_score, beta=2, average="macro"),
    make_scorer(metrics.roc_auc_score, response_method="predict_proba", multi_class="ovr"),
    make_scorer(metrics.top_k_accuracy_score, k=1, response_method="decision_function"),
    make_scorer(
        metrics.brier_score_loss, greater_is_better=False, response_method="predict_proba", scale_by_half=True
    ),
]  # fmt: skip
QUICK = {"Cs": [0.01, 10.0], "max_iter": 30, "tol": 1e-2, "refit": False}
LAZY = da.from_array(X, chunks=(60, -1))

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")


def expected(paths, name, y, weight):
    """As scikit-learn's LogisticRegressionCV scores the models of its folds."""
    theirs, model = get_scorer(name), reference.LogisticRegression()
    takes = "sample_weight" in inspect.signature(theirs._score_func).parameters
    model.classes_ = np.unique(y)
    out = np.zeros(paths.shape[:2])
    for fold, (_, test) in enumerate(KFold(3).split(X)):
        how = {"sample_weight": weight[test]} if weight is not None and takes else {}
        for m, w in enumerate(paths[fold]):
            model.coef_, model.intercept_ = w[:, :-1], w[:, -1]
            out[fold, m] = theirs(model, X[test], y[test], **how)
    return out


@pytest.mark.parametrize(
    ("kind", "weight"), [("binary", WEIGHT), ("multinomial", WEIGHT), ("multinomial", None)],
    ids=["binary, weighted", "multinomial, weighted", "multinomial"],
)  # fmt: skip
def test_every_score_is_scikit_learns(kind, weight, monkeypatch):
    monkeypatch.setattr(ranking, "LEAST", 100)  # several ranges
    y, scored = NUMBERS[kind], 0
    model = LogisticRegressionCV(cv=KFold(3), **QUICK).fit(LAZY, y, weight)
    paths = model.coefs_paths_[:, 0]
    data, executor = open_dataset(LAZY, y, weight, spec=Spec(target="classes"))
    found = folding(KFold(3), data.facts, lambda: None)
    w = paths[:, :, 0] if kind == "binary" else paths
    candidates = Candidates(w, found.splits, True, None)
    for name in (*names(), *MADE):
        scorer = scorer_of(name)
        takes = "sample_weight" in inspect.signature(get_scorer(name)._score_func).parameters
        try:
            scorer.check(model.classes_, weight is not None)
        except InvalidParameterError:
            continue
        if weight is not None and not takes:
            continue  # scikit-learn's does not weigh
        got = fold_scores(
            scorer, model.classes_, Cellar(found.cells, dict), data, executor, candidates
        )
        np.testing.assert_allclose(
            got, expected(paths, name, y, weight), rtol=1e-9, atol=1e-12, err_msg=str(name)
        )
        score = get_scorer(name)(
            model, X, y, **({} if weight is None else {"sample_weight": weight})
        )
        rows = X if weight is None else LAZY
        assert score_of(scorer, model, rows, y, weight) == pytest.approx(score, rel=1e-9), name
        scored += 1
    assert scored > 30
    executor.close()


@pytest.mark.parametrize("labels", [(0, 1), (1, 2), (-1, 1), ("no", "yes")], ids=str)
def test_the_positive_label_is_scikit_learns(labels):
    """In folds the last, but for average precision; in ``score`` 1. Where theirs has none: the last."""
    y = np.array(labels)[(codes == 1).astype(int)]
    how = {"Cs": [0.01, 10.0], "cv": 3, "tol": 1e-6}
    alike = {"l1_ratios": (0.0,), "use_legacy_attributes": False}
    for scoring in ("f1", "average_precision"):
        ours = LogisticRegressionCV(**how, scoring=scoring).fit(X, y)
        theirs = reference.LogisticRegressionCV(**how, **alike, scoring=scoring)
        if 1 in labels:
            np.testing.assert_allclose(ours.scores_, theirs.fit(X, y).scores_, rtol=1e-4)
            assert ours.score(X, y) == pytest.approx(theirs.score(X, y), rel=1e-4)
        elif scoring == "f1":
            np.testing.assert_allclose(ours.scores_, theirs.fit(X, y).scores_)
            assert ours.score(X, y) == metrics.f1_score(y, ours.predict(X), pos_label="yes")
        else:
            theirs.fit(X, y == "yes")
            np.testing.assert_allclose(ours.scores_, theirs.scores_, rtol=1e-4)
            assert ours.score(X, y) == pytest.approx(theirs.score(X, y == "yes"), rel=1e-4)


@pytest.mark.parametrize(
    ("kind", "scoring"), [("binary", "roc_auc"), ("multinomial", "roc_auc_ovo")]
)  # fmt: skip
def test_the_penalty_is_chosen_as_scikit_learn_does(kind, scoring):
    """Of folds that are shuffled; weights of classes are no part of the scores."""
    how = {
        "Cs": [0.001, 1.0],
        "cv": StratifiedKFold(3, shuffle=True, random_state=7),
        "scoring": scoring,
    }
    how |= {"class_weight": "balanced", **CONVERGED}
    y = TARGETS[kind]
    theirs = reference.LogisticRegressionCV(
        **how, l1_ratios=(0.0,), use_legacy_attributes=False
    ).fit(X, y)
    ours = LogisticRegressionCV(**how).fit(LAZY, y)
    np.testing.assert_allclose(ours.scores_, theirs.scores_, rtol=1e-6)
    assert pytest.approx(theirs.C_) == ours.C_
    assert ours.score(LAZY, y) == pytest.approx(theirs.score(X, y), rel=1e-6)


@settings(max_examples=3, deadline=None)
@given(chunk=st.integers(20, len(X)), least=st.integers(20, 300))
def test_chunks_and_ranges_do_not_change_scores(chunk, least):
    """Of rows most of which are equal to others, so that ties decide."""
    few = np.sign(X)
    with pytest.MonkeyPatch.context() as patch:
        for scoring in ("roc_auc_ovr_weighted", "average_precision"):
            how = {"scoring": scoring, "cv": 2, **QUICK, "tol": 1e-9, "max_iter": 100}
            whole = LogisticRegressionCV(**how).fit(few, codes, WEIGHT)
            patch.setattr(ranking, "LEAST", least)
            parts = LogisticRegressionCV(**how).fit(
                da.from_array(few, chunks=(chunk, -1)), codes, WEIGHT
            )
            np.testing.assert_allclose(parts.scores_, whole.scores_, rtol=1e-9)
            patch.undo()


def test_all_orders_take_two_or_three_rounds(monkeypatch):
    monkeypatch.setattr(ranking, "LEAST", 100)
    for scoring, rounds in [
        ("roc_auc_ovr", ["draw-scores", "rank"]),
        ("average_precision", ["draw-scores", "weigh-ranges", "rank"]),
        ("neg_brier_score", ["score"]),
    ]:
        ours = LogisticRegressionCV(scoring=scoring, cv=4, **QUICK).fit(LAZY, codes)
        assert [r["name"] for r in ours.history_][-len(rounds) :] == rounds


def test_on_a_cluster(client, monkeypatch):
    monkeypatch.setattr(ranking, "LEAST", 100)
    how = {"scoring": "roc_auc", "cv": StratifiedKFold(3, shuffle=True, random_state=1), **QUICK}
    y = TARGETS["binary"]
    ours = LogisticRegressionCV(**how).fit(LAZY, da.from_array(y, chunks=60))
    here = LogisticRegressionCV(**how).fit(X, y)
    np.testing.assert_allclose(ours.scores_, here.scores_, rtol=1e-8)
    assert ours.score(LAZY, da.from_array(y, chunks=60)) == pytest.approx(here.score(X, y))


@pytest.mark.parametrize(
    ("scoring", "kind", "message"),
    [
        ("f1", "multinomial", r"of two labels, got 3: \[0, 1, 2\]. Use scoring='f1_macro'"),
        ("roc_auc", "multinomial", r"of two labels, got 3: .* Use scoring='roc_auc_ovr'"),
        ("roc_auc_ovo", "multinomial", "takes no sample_weight"),
        ("positive_likelihood_ratio", "multinomial", "can't score the labels .* only supports binary"),
        ("neg_mean_squared_error", "binary", r"can't score the labels \['no', 'yes'\]"),
        ("adjusted_rand_score", "binary", "not among the scores .* Use one of .*'roc_auc'"),
        ("area", "binary", "scoring must be None, one of .*'roc_auc'.* got 'area'"),
        (lambda model, X, y: 0.0, "binary", "needs the rows themselves .* Use GridSearchCV"),
        (
            make_scorer(metrics.roc_auc_score, max_fpr=0.1, response_method="predict_proba"),
            "binary",
            r"keywords \['max_fpr'\], which blocks don't know",
        ),
        (make_scorer(metrics.roc_auc_score), "binary", "orders rows by response_method='predict'"),
        (
            make_scorer(metrics.average_precision_score, response_method="predict_proba", pos_label="maybe"),
            "binary",
            "pos_label='maybe', which is not a label",
        ),
        (
            make_scorer(metrics.roc_auc_score, response_method="predict_proba", average="micro"),
            "binary",
            "must have an average",
        ),
    ],
)  # fmt: skip
def test_other_scores_are_refused_by_name(scoring, kind, message):
    with pytest.raises(InvalidParameterError, match=message):
        LogisticRegressionCV(scoring=scoring, **QUICK).fit(X, TARGETS[kind], WEIGHT)


def test_unknown_labels_are_not_scored():
    model = LogisticRegressionCV(scoring="roc_auc", cv=2, **QUICK).fit(X, TARGETS["binary"])
    strange = np.where(np.arange(len(X)) < 3, "maybe", TARGETS["binary"])
    for rows in (X, LAZY):
        with pytest.raises(InvalidDataError, match=r"labels .*\['maybe'\]"):
            model.score(rows, strange)
