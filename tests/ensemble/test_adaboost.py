"""AdaBoost against scikit-learn's, its weights, and where it runs."""

from __future__ import annotations

import pickle

import dask.array as da
import numpy as np
import pytest
from sklearn import ensemble as reference
from sklearn.base import clone
from sklearn.datasets import make_classification, make_regression
from sklearn.linear_model import LinearRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from sklearn.utils.estimator_checks import parametrize_with_checks

from daskml_kit.ensemble import AdaBoostClassifier, AdaBoostRegressor
from daskml_kit.ensemble.sampling import poisson_counts
from daskml_kit.exceptions import InvalidDataError, InvalidParameterError
from daskml_kit.linear_model import LogisticRegression, Ridge
from daskml_kit.runtime.events import RoundEvent, record
from daskml_kit.tree import DecisionTreeClassifier as OwnTree
from tests.integration.clusters import ours, wait_until

NAMES = np.array(["ant", "bee", "cat"])
CHUNKS = (60, 0, 41, 100, 99)
WEIGHTS = "sample_weight is not equivalent to removing or repeating rows"


def labelled(n_classes=3):
    X, y = make_classification(300, 6, n_informative=4, n_classes=n_classes, random_state=0)
    return X, NAMES[y]


def values():
    return make_regression(300, 6, noise=30.0, random_state=0)


def lazy(X, y):
    return da.from_array(X, chunks=(CHUNKS, X.shape[1])), da.from_array(y, chunks=CHUNKS)


def _expected(estimator):
    """As for scikit-learn's own, which fails for classifiers too: rows are drawn by weight."""
    if isinstance(estimator, AdaBoostClassifier):
        return {}
    return {
        "check_sample_weight_equivalence_on_dense_data": WEIGHTS,
        "check_sample_weight_equivalence_on_sparse_data": WEIGHTS,
    }


@parametrize_with_checks(
    [AdaBoostClassifier(n_estimators=3), AdaBoostRegressor(n_estimators=3)],
    expected_failed_checks=_expected,
)
def test_scikit_learn(estimator, check):
    check(estimator)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("n_classes", "member", "rate"),
    [(2, None, 1.0), (3, None, 0.5), (3, GaussianNB(), 1.0), (3, DecisionTreeClassifier(), 1.0)],
)
def test_classifiers_are_scikit_learns(n_classes, member, rate, weighted):
    X, y = labelled(n_classes)
    weight = np.random.default_rng(0).integers(0, 3, 300) / 7 if weighted else None
    how = {"n_estimators": 12, "learning_rate": rate, "random_state": 3}
    theirs = reference.AdaBoostClassifier(member, **how)
    with np.errstate(divide="ignore"):  # scikit-learn takes logarithms of weights of zero
        theirs.fit(X, y, sample_weight=weight)
    for data, target in [(X, y), lazy(X, y)]:
        ours = AdaBoostClassifier(member, **how).fit(data, target, sample_weight=weight)
        assert len(ours.estimators_) == len(theirs.estimators_)
        for name in ("estimator_weights_", "estimator_errors_"):
            np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-6)
        for name in ("decision_function", "predict_proba", "predict_log_proba"):
            expected = getattr(theirs, name)(X)
            np.testing.assert_allclose(getattr(ours, name)(X), expected, rtol=1e-6, atol=1e-12)
        np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
        np.testing.assert_array_equal(ours.predict(lazy(X, y)[0]), theirs.predict(X))
    stages = zip(
        ours.staged_predict(X), ours.staged_predict_proba(X), ours.staged_score(X, y),
        ours.staged_decision_function(X), strict=True,
    )  # fmt: skip
    last = [(a, b, c, d) for a, b, c, d in stages][-1]
    np.testing.assert_array_equal(last[0], theirs.predict(X))
    np.testing.assert_allclose(last[1], ours.predict_proba(X))
    assert last[2] == theirs.score(X, y)
    np.testing.assert_allclose(last[3], ours.decision_function(X))
    if member is None:
        np.testing.assert_allclose(ours.feature_importances_, theirs.feature_importances_)
    elif isinstance(member, GaussianNB):
        assert not hasattr(ours, "feature_importances_")
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(ours)).predict(X), ours.predict(X))


def naive_r2(model, X, y, n_steps, loss):
    """AdaBoost.R2 as in the paper, with the members and the draws of ``model``."""
    w = np.full(len(y), 1 / len(y))
    errors, weights = [], []
    for step in range(n_steps):
        drawn = poisson_counts(0, f"boost-{step}", range(len(y)), len(y) * w)
        member = clone(model.estimators_[step]).fit(X, y, sample_weight=drawn)
        r = np.abs(member.predict(X) - y)
        r /= r.max()
        lost = {"linear": r, "square": r**2, "exponential": 1 - np.exp(-r)}[loss]
        error = (w * lost).sum()
        errors.append(error)
        if error >= 0.5:
            break
        beta = error / (1 - error)
        weights.append(np.log(1 / beta))
        w *= beta ** (1 - lost)
        w /= w.sum()
    return errors, weights


@pytest.mark.parametrize("loss", ["linear", "square", "exponential"])
def test_regressors_are_the_papers(loss):
    X, y = values()
    member = DecisionTreeRegressor(max_depth=3)
    model = AdaBoostRegressor(member, n_estimators=6, loss=loss, random_state=0).fit(X, y)
    errors, weights = naive_r2(model, X, y, len(model.estimators_), loss)
    np.testing.assert_allclose(model.estimator_errors_[: len(weights)], errors, rtol=1e-9)
    np.testing.assert_allclose(model.estimator_weights_[: len(weights)], weights, rtol=1e-9)
    theirs = reference.AdaBoostRegressor(member, n_estimators=6, loss=loss, random_state=0)
    assert model.score(X, y) == pytest.approx(theirs.fit(X, y).score(X, y), abs=0.06)
    chunked = clone(model).fit(*lazy(X, y))
    np.testing.assert_array_equal(chunked.predict(X), model.predict(X))

    theirs.estimators_, theirs.estimator_weights_ = model.estimators_, model.estimator_weights_
    np.testing.assert_array_equal(model.predict(X), theirs.predict(X))


def test_regressors_without_weights_see_rows_repeated():
    X, y = values()
    model = AdaBoostRegressor(KNeighborsRegressor(), n_estimators=3, random_state=0).fit(X, y)
    assert model.score(X, y) > 0.5
    assert {m.n_samples_fit_ for m in model.estimators_} != {300}


class Contrary(GaussianNB):
    """Says the label after the one that it believes in."""

    def predict(self, X):
        return np.roll(self.classes_, 1)[np.searchsorted(self.classes_, super().predict(X))]


def test_it_stops_where_a_member_is_perfect_or_hopeless():
    X, y = labelled()
    perfect = AdaBoostClassifier(DecisionTreeClassifier(), n_estimators=5).fit(X, y)
    assert len(perfect.estimators_) == 1
    assert perfect.estimator_weights_.tolist() == [1, 0, 0, 0, 0]
    with pytest.raises(InvalidDataError, match=r"worse than random.*fits these data better"):
        AdaBoostClassifier(Contrary()).fit(X, y)
    for member in (None, OwnTree(max_depth=1)):
        single = AdaBoostClassifier(member, n_estimators=3).fit(X, np.full(len(y), "ant"))
        assert single.estimator_weights_.tolist() == [1, 0, 0]
        assert single.score(X, np.full(len(y), "ant")) == 1
        np.testing.assert_array_equal(single.predict_proba(X), np.ones((len(y), 1)))
        np.testing.assert_array_equal(single.decision_function(X), np.zeros((len(y), 1)))


REFUSED = [
    (AdaBoostClassifier(n_estimators=0), "n_estimators must be an integer >= 1, got 0"),
    (AdaBoostClassifier(learning_rate=0), "learning_rate must be a number > 0, got 0"),
    (AdaBoostClassifier(KNeighborsClassifier()), r"KNeighbors.* doesn't support sample_weight"),
    (AdaBoostClassifier(LinearRegression()), "estimator must be .*classifier"),
    (AdaBoostRegressor(loss="cubic"), "loss must be 'linear'.*got 'cubic'"),
]


@pytest.mark.parametrize(("model", "message"), REFUSED)
def test_impossible_parameters_are_refused_by_name(model, message):
    with pytest.raises(InvalidParameterError, match=message):
        model.fit(*labelled())


@pytest.mark.cluster
def test_the_cluster_boosts_what_this_process_does(client):
    X, y = labelled()
    line = X @ np.arange(6.0) + X[:, 0] ** 2
    for model, target in [
        (AdaBoostClassifier(n_estimators=5, random_state=0), y),
        (AdaBoostClassifier(LogisticRegression(), n_estimators=2), y),
        (AdaBoostRegressor(Ridge(), n_estimators=3, random_state=0), line),
    ]:
        here = clone(model).fit(X, target)
        with record() as run:
            there = clone(model).fit(*lazy(X, target))
        np.testing.assert_allclose(there.estimator_errors_, here.estimator_errors_, rtol=1e-6)
        np.testing.assert_array_equal(there.predict(X), here.predict(X)) if target is y else None
        names = {e.name for e in run.events if isinstance(e, RoundEvent)}
        assert ("boost" in names) == (model.estimator is None)  # one job, or rounds
        assert ("boost-error" in names) == (model.estimator is not None)
    wait_until(lambda: not ours(client))
