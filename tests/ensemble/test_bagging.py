"""Bagging: the same bags whatever the chunks, exact and fair draws, scores outside the bags."""

from __future__ import annotations

import pickle
from itertools import pairwise

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from sklearn import ensemble as reference
from sklearn.base import clone
from sklearn.datasets import make_classification, make_regression
from sklearn.linear_model import RidgeClassifier
from sklearn.metrics import accuracy_score, r2_score
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from sklearn.utils.estimator_checks import parametrize_with_checks

from daskml_kit.ensemble import BaggingClassifier, BaggingRegressor
from daskml_kit.ensemble.sampling import LEAF, Draw, poisson_counts
from daskml_kit.exceptions import InvalidParameterError
from daskml_kit.linear_model import LogisticRegression, Ridge
from tests.integration.clusters import ours, wait_until

NAMES = np.array(["ant", "bee", "cat"])
CHUNKS = (60, 0, 41, 100, 99)
WEIGHTS = "sample_weight is not equivalent to removing or repeating rows in a single fit"


def labelled():
    X, y = make_classification(300, 6, n_informative=4, n_classes=3, random_state=0)
    return X, NAMES[y]


def lazy(X, y):
    return da.from_array(X, chunks=(CHUNKS, X.shape[1])), da.from_array(y, chunks=CHUNKS)


def _expected(_):
    """As for scikit-learn's own: rows are drawn by weight."""
    return {
        "check_sample_weight_equivalence_on_dense_data": WEIGHTS,
        "check_sample_weight_equivalence_on_sparse_data": WEIGHTS,
    }


@parametrize_with_checks(
    [BaggingClassifier(n_estimators=3), BaggingRegressor(n_estimators=3)],
    expected_failed_checks=_expected,
)
def test_scikit_learn(estimator, check):
    check(estimator)


# ---------------------------------------------------------------- draws


@settings(max_examples=20, deadline=None)
@given(
    n=st.integers(1, 4 * LEAF + 5),
    share=st.floats(0, 1),
    cuts=st.lists(st.floats(0, 1), max_size=3),
    replace=st.booleans(),
)
def test_exactly_so_many_rows_are_drawn_and_the_same_from_any_chunks(n, share, cuts, replace):
    draw = Draw(0, "test", n, int(share * n), replace)
    whole = draw.counts(range(n))
    assert whole.sum() == draw.n_draws
    assert replace or whole.max(initial=0) <= 1
    edges = [0, *sorted(int(c * n) for c in cuts), n]
    parts = [draw.counts(range(a, b)) for a, b in pairwise(edges)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("replace", [True, False])
def test_draws_are_fair(replace):
    """Variances of halves and of single rows, against their formulas; 4 standard errors of 300 draws."""
    n, k, times = 3 * LEAF, 6000, 300
    counts = np.array([Draw(s, "fair", n, k, replace).counts(range(n)) for s in range(times)])
    p = 1 / 3
    spread = k * p * (1 - p) * (1 if replace else (n - k) / (n - 1))
    first = counts[:, :LEAF].sum(axis=1)
    assert abs(first.mean() - k * p) < 4 * np.sqrt(spread / times)
    assert first.var() / spread == pytest.approx(1, abs=4 * np.sqrt(2 / times))
    row = k / n * (1 - 1 / n) if replace else k / n * (1 - k / n)
    assert counts.var(axis=0).mean() == pytest.approx(row, rel=0.02)


def test_weighted_draws_are_in_proportion_to_the_weights():
    weight = np.tile([0.0, 0.5, 1.0, 2.5], 5000)
    counts = poisson_counts(0, "test", range(len(weight)), weight).reshape(-1, 4)
    assert not counts[:, 0].any()
    np.testing.assert_allclose(counts.mean(axis=0), [0, 0.5, 1, 2.5], atol=0.1)
    np.testing.assert_allclose(counts.var(axis=0), [0, 0.5, 1, 2.5], atol=0.2)


# ---------------------------------------------------------------- members


@pytest.mark.parametrize(
    ("member", "how"),
    [
        (None, {}),
        (KNeighborsClassifier(), {"max_samples": 0.5, "max_features": 3}),
        (GaussianNB(), {"bootstrap": False, "max_samples": 70, "bootstrap_features": True}),
    ],
)
def test_members_are_fitted_on_their_bags_whatever_the_chunks(member, how):
    X, y = labelled()
    model = BaggingClassifier(member, 4, random_state=0, **how).fit(X, y)
    for seen, rows, columns in zip(
        model.estimators_, model.estimators_samples_, model.estimators_features_, strict=True
    ):
        again = clone(seen).fit(X[rows][:, columns], y[rows])
        np.testing.assert_allclose(
            again.predict_proba(X[:, columns]), seen.predict_proba(X[:, columns]), rtol=1e-9
        )
    lengths = {len(rows) for rows in model.estimators_samples_}
    assert lengths == {
        {"max_samples": 300, 0.5: 150, 70: 70}[how.get("max_samples", "max_samples")]
    }
    chunked = clone(model).fit(*lazy(X, y))
    np.testing.assert_array_equal(chunked.predict_proba(X), model.predict_proba(X))
    np.testing.assert_array_equal(model.predict_proba(lazy(X, y)[0]), model.predict_proba(X))
    assert len({tuple(rows) for rows in model.estimators_samples_}) == 4


def test_members_without_probabilities_vote_and_decide():
    X, y = labelled()
    model = BaggingClassifier(RidgeClassifier(), 5, random_state=0).fit(X, y)
    votes = np.mean([m.predict(X)[:, None] == NAMES for m in model.estimators_], axis=0)
    np.testing.assert_allclose(model.predict_proba(X), votes, rtol=1e-12)
    decisions = np.mean([m.decision_function(X) for m in model.estimators_], axis=0)
    np.testing.assert_allclose(model.decision_function(X), decisions, rtol=1e-12)
    assert not hasattr(BaggingClassifier(), "decision_function")


def test_weights_say_how_often_a_row_is_drawn():
    X, y = labelled()
    weight = np.repeat([1.0, 0.0], 150)
    model = BaggingClassifier(GaussianNB(), 3, random_state=0).fit(X, y, weight)
    assert all(m.class_count_.sum() == pytest.approx(300, abs=70) for m in model.estimators_)
    assert all(
        np.abs(m.theta_ - clone(m).fit(X[:150], y[:150]).theta_).max() < 0.5
        for m in model.estimators_
    )
    with pytest.raises(AttributeError, match="stayed with the data"):
        _ = model.estimators_samples_
    with pytest.raises(InvalidParameterError, match="which needs drawing with replacement"):
        model.set_params(bootstrap=False).fit(X, y, weight)


def test_scores_outside_the_bags():
    X, y = labelled()
    model = BaggingClassifier(n_estimators=25, oob_score=True, random_state=0).fit(X, y)
    out = np.zeros((300, 3))
    for member, rows in zip(model.estimators_, model.estimators_samples_, strict=True):
        unseen = np.setdiff1d(np.arange(300), rows)
        out[unseen] += member.predict_proba(X[unseen])
    share = out / out.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model.oob_decision_function_, share, rtol=1e-12)
    assert model.oob_score_ == pytest.approx(accuracy_score(y, NAMES[out.argmax(axis=1)]))
    theirs = reference.BaggingClassifier(n_estimators=25, oob_score=True, random_state=0)
    assert model.oob_score_ == pytest.approx(theirs.fit(X, y).oob_score_, abs=0.1)

    X, y = make_regression(300, 6, random_state=0)
    both = np.column_stack([y, -y])
    model = BaggingRegressor(n_estimators=25, oob_score=True, random_state=0).fit(X, both)
    assert model.oob_prediction_.shape == model.predict(X).shape == (300, 2)
    assert model.oob_score_ == pytest.approx(r2_score(both, model.oob_prediction_), rel=1e-9)
    with pytest.warns(UserWarning, match=r"rows are in the bags of all members"):
        BaggingRegressor(n_estimators=2, oob_score=True, random_state=0).fit(X, y)


def test_a_warm_start_keeps_members_and_gives_what_one_fit_gives():
    X, y = labelled()
    whole = BaggingClassifier(n_estimators=5, random_state=0).fit(X, y)
    model = BaggingClassifier(n_estimators=2, random_state=0, warm_start=True).fit(X, y)
    first = model.estimators_[0]
    model.set_params(n_estimators=5).fit(X, y)
    assert model.estimators_[0] is first
    np.testing.assert_array_equal(model.predict_proba(X), whole.predict_proba(X))
    with pytest.warns(UserWarning, match="does not fit new members"):
        model.fit(X, y)
    with pytest.raises(InvalidParameterError, match="n_estimators=3 must be larger or equal"):
        model.set_params(n_estimators=3).fit(X, y)
    twin = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(twin.predict(X), model.predict(X))


REFUSED = [
    ({"n_estimators": 0}, "n_estimators must be an integer >= 1, got 0"),
    ({"max_samples": 1.5}, "max_samples must be an integer >= 1 or a float .*got 1.5"),
    ({"max_features": 7}, "max_features must be <= n_features, got 7 and 6"),
    ({"max_features": True}, "max_features must be .*got True"),
    ({"max_samples": 301, "bootstrap": False}, "Effective max_samples=301 must be <= n_samples"),
    ({"oob_score": True, "bootstrap": False}, "only available if bootstrap=True"),
    ({"oob_score": True, "warm_start": True}, "only available if warm_start=False"),
    ({"estimator": DecisionTreeRegressor()}, "estimator must be .*classifier"),
]


@pytest.mark.parametrize(("how", "message"), REFUSED)
def test_impossible_parameters_are_refused_by_name(how, message):
    with pytest.raises(InvalidParameterError, match=message):
        BaggingClassifier(**how).fit(*labelled())


@pytest.mark.cluster
def test_the_cluster_draws_and_fits_what_this_process_does(client):
    X, y = labelled()
    values = X @ np.arange(6.0)
    for model, target in [
        (BaggingClassifier(n_estimators=25, max_features=0.5, oob_score=True, random_state=0), y),
        (BaggingRegressor(Ridge(), 3, max_samples=0.3, random_state=0), values),
        (BaggingClassifier(LogisticRegression(), 2, random_state=0), y),
        (BaggingClassifier(DecisionTreeClassifier(), 3, random_state=0, max_samples=0.2), y),
    ]:
        here = clone(model).fit(X, target)
        there = clone(model).fit(*lazy(X, target))
        answer = "predict_proba" if hasattr(here, "predict_proba") else "predict"
        expected = getattr(here, answer)(X)
        np.testing.assert_allclose(getattr(there, answer)(X), expected, rtol=1e-6)
        np.testing.assert_allclose(getattr(there, answer)(lazy(X, y)[0]), expected, rtol=1e-6)
        if model.oob_score:
            assert there.oob_score_ == pytest.approx(here.oob_score_, rel=1e-12)
            assert not hasattr(there, "oob_decision_function_")
    wait_until(lambda: not ours(client))
