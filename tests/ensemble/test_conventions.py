"""scikit-learn's own checks, clone, pickle and parameters that make no sense."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.datasets import make_classification, make_regression
from sklearn.linear_model import LogisticRegression, Perceptron, Ridge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import LinearSVC, LinearSVR
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from sklearn.utils.estimator_checks import parametrize_with_checks

from daskml_kit.ensemble import BlockwiseClassifier, BlockwiseRegressor
from daskml_kit.exceptions import InvalidDataError, InvalidParameterError

WEIGHTS = "a removed or repeated row moves the edges between the members' rows"


def _expected(estimator):
    """With several members a row is more than its weight; with one, nothing may fail."""
    if estimator.n_blocks is None:
        return {}
    return {
        "check_sample_weight_equivalence_on_dense_data": WEIGHTS,
        "check_sample_weight_equivalence_on_sparse_data": WEIGHTS,
    }


@parametrize_with_checks(
    [
        BlockwiseClassifier(),
        BlockwiseRegressor(),
        BlockwiseClassifier(n_blocks=2),
        BlockwiseRegressor(n_blocks=2),
        BlockwiseClassifier(n_blocks=2, fusion="stack"),
        BlockwiseRegressor(n_blocks=2, fusion="weighted"),
    ],
    expected_failed_checks=_expected,
)
def test_scikit_learn(estimator, check):
    check(estimator)


def classes():
    return make_classification(200, 6, n_informative=4, n_classes=3, random_state=0)


def values():
    return make_regression(200, 6, noise=5.0, random_state=0)


@pytest.mark.parametrize("fusion", ["vote", "average", "weighted", "stack"])
@pytest.mark.parametrize("kind", [BlockwiseClassifier, BlockwiseRegressor])
def test_clone_and_pickle(kind, fusion):
    X, y = classes() if kind is BlockwiseClassifier else values()
    model = kind(fusion=fusion, n_blocks=3, random_state=1).fit(X, y)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    twin = clone(model)
    assert not hasattr(twin, "estimators_")
    np.testing.assert_array_equal(twin.fit(X, y).predict(X), model.predict(X))
    assert len(again.history_) == again.n_rounds_ == again.n_passes_


def test_a_parameter_set_after_the_fit_changes_no_answer():
    X, y = classes()
    model = BlockwiseClassifier(n_blocks=3, fusion="average", random_state=0).fit(X, y)
    before = model.predict_proba(X)
    model.set_params(fusion="vote")
    np.testing.assert_array_equal(model.predict_proba(X), before)


def test_nested_parameters():
    X, y = classes()
    model = BlockwiseClassifier(DecisionTreeClassifier(), n_blocks=2)
    model.set_params(estimator__max_depth=2).fit(X, y)
    assert [m.get_depth() for m in model.estimators_] == [2, 2]
    assert not hasattr(model.estimator, "tree_")


REFUSED = [
    (BlockwiseClassifier(random_state=-1), "random_state must be None, an int.*got -1"),
    (BlockwiseClassifier(random_state="a"), "random_state must be None, an int.*got 'a'"),
    (BlockwiseClassifier(fusion="mean"), r"fusion must be one of .*'stack'\], got 'mean'"),
    (BlockwiseClassifier(n_blocks=0), "n_blocks must be an integer of at least 1.*got 0"),
    (BlockwiseClassifier(n_blocks=2.0), "n_blocks must be an integer of at least 1.*got 2.0"),
    (BlockwiseClassifier(n_blocks=True), "n_blocks must be an integer of at least 1.*got True"),
    (
        BlockwiseClassifier(n_blocks=201),
        r"n_blocks=201 asks for more members than there are rows \(n_samples=200\).*smaller",
    ),
    (BlockwiseClassifier(DecisionTreeClassifier), r"got the class .*DecisionTreeClassifier\(\)"),
    (BlockwiseClassifier("tree"), "estimator must be .*classifier, got 'tree', which lacks fit"),
    (BlockwiseClassifier(Ridge()), r"estimator must be .*classifier, got Ridge\(\).*a regressor"),
    (BlockwiseClassifier(KMeans()), r"estimator must be .*classifier, got KMeans\(\).*clusterer"),
    (BlockwiseRegressor(LogisticRegression()), "estimator must be .*regressor.*a classifier"),
    (
        BlockwiseClassifier(fusion="stack", n_blocks=2, final_estimator=Ridge()),
        "final_estimator must be .*classifier, got Ridge",
    ),
    (
        BlockwiseClassifier(LinearSVC(), fusion="average"),
        r'fusion="average" needs members with predict_proba, and LinearSVC\(\) has none.*"vote"',
    ),
    (
        BlockwiseClassifier(fusion="stack"),
        'fusion="stack" needs at least 2 members.*got 1.*n_blocks',
    ),
]


@pytest.mark.parametrize(("model", "message"), REFUSED)
def test_impossible_parameters_are_refused_by_name(model, message):
    with pytest.raises(InvalidParameterError, match=message):
        model.fit(*classes())
    assert not hasattr(model, "history_")


def test_weights_that_no_member_takes_are_refused():
    X, y = classes()
    weight = np.ones(len(y))
    with pytest.raises(InvalidParameterError, match=r"estimator=KNeighbors.* takes none in fit"):
        BlockwiseClassifier(KNeighborsClassifier()).fit(X, y, weight)
    final = KNeighborsClassifier()
    model = BlockwiseClassifier(fusion="stack", final_estimator=final, n_blocks=2)
    with pytest.raises(InvalidParameterError, match=r"final_estimator=KNeighbors.* takes none"):
        model.fit(X, y, weight)


def test_weights_that_leave_one_member_cannot_be_stacked():
    X, y = classes()
    weight = np.repeat([1.0, 0.0], 100)
    with pytest.raises(InvalidParameterError, match=r"needs at least 2 members.*got 1"):
        BlockwiseClassifier(fusion="stack", n_blocks=2).fit(X, y, weight)


@pytest.mark.parametrize("fusion", ["vote", "average", "weighted", "stack"])
def test_several_outputs(fusion):
    X, y = values()
    y = pd.DataFrame({"once": y, "again": y})
    model = BlockwiseRegressor(n_blocks=4, fusion=fusion, random_state=0).fit(X, y)
    alone = clone(model).fit(X, y["once"])
    both = model.predict(pd.DataFrame(X))
    assert list(both.columns) == ["once", "again"]
    assert model.score(X, y) == pytest.approx(alone.score(X, y["once"]), rel=0.02)
    np.testing.assert_array_equal(both["once"], both["again"])
    if fusion == "weighted":
        np.testing.assert_allclose(model.weights_, alone.weights_, atol=0.1)


def test_several_outputs_are_refused_where_the_member_refuses_them():
    X, y = values()
    for model in (BlockwiseRegressor(LinearSVR()), BlockwiseClassifier()):
        with pytest.raises(InvalidDataError, match="y should be a 1d array"):
            model.fit(X, np.column_stack([y, y]))


def test_the_member_that_fails_is_named():
    X, y = classes()
    model = BlockwiseClassifier(LogisticRegression(solver="liblinear"), n_blocks=2)
    with pytest.raises(ValueError, match="liblinear") as caught:
        model.fit(X, y)
    assert any("the member of rows " in note for note in caught.value.__notes__)


def test_members_without_probabilities_vote():
    X, y = classes()
    for fusion in ("vote", "weighted", "stack"):
        model = BlockwiseClassifier(Perceptron(), fusion=fusion, n_blocks=2, random_state=0)
        shares = model.fit(X, y).predict_proba(X)
        np.testing.assert_allclose(shares.sum(axis=1), 1.0, rtol=1e-12)


def test_progress_is_shown(capsys):
    BlockwiseClassifier(n_blocks=2, verbose=1).fit(*classes())
    assert "BlockwiseClassifier" in "".join(capsys.readouterr())


def test_one_member_has_all_the_weight():
    X, y = values()
    model = BlockwiseRegressor(DecisionTreeRegressor(random_state=0), fusion="weighted").fit(X, y)
    assert model.weights_.tolist() == [1.0]
    assert np.isnan(model.member_scores_).all()
    assert model.n_passes_ == 2
