"""Voting and stacking against scikit-learn's, whatever the chunks; folds; what is refused."""

from __future__ import annotations

import pickle

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from scipy import sparse
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.datasets import make_classification, make_regression
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.model_selection import KFold, PredefinedSplit, ShuffleSplit, StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from sklearn.utils.estimator_checks import parametrize_with_checks

from daskml_kit.ensemble import (
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from daskml_kit.ensemble.folds import folds_of
from daskml_kit.exceptions import InvalidParameterError
from daskml_kit.linear_model import LogisticRegression
from daskml_kit.runtime.ingest import Spec
from daskml_kit.runtime.opening import open_dataset
from tests.ensemble.named_cases import CLASSIFIERS, MIXED, REGRESSORS, SOFT, TREES, VALUES, pair

NAMES = np.array(["ant", "bee", "cat"])
CHUNKS = (60, 0, 41, 50, 49)


def labelled(n_classes=3):
    X, y = make_classification(200, 6, n_informative=4, n_classes=n_classes, random_state=0)
    return X, NAMES[y]


def values():
    return make_regression(200, 6, noise=20.0, random_state=0)


def lazy(X, y):
    return da.from_array(X, chunks=(CHUNKS, X.shape[1])), da.from_array(y, chunks=CHUNKS)


@parametrize_with_checks(
    [
        VotingClassifier(TREES),
        VotingRegressor([*VALUES[:1], ("again", DecisionTreeRegressor(random_state=1))]),
        StackingClassifier(TREES, cv=3),
        StackingRegressor([("t", DecisionTreeRegressor(max_depth=3, random_state=0))], cv=3),
    ]
)
def test_scikit_learn(estimator, check):
    check(estimator)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers_are_scikit_learns(name, n_classes):
    X, y = labelled(n_classes)
    ours, theirs = pair(CLASSIFIERS[name])
    theirs.fit(X, y)
    for data, target in [(X, y), lazy(X, y)]:
        ours.fit(data, target)
        np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
        np.testing.assert_allclose(ours.transform(X), theirs.transform(X), rtol=1e-12)
        for answer in ("predict_proba", "decision_function"):
            assert hasattr(ours, answer) == hasattr(theirs, answer)
            if hasattr(ours, answer):
                expected = getattr(theirs, answer)(X)
                np.testing.assert_allclose(getattr(ours, answer)(X), expected, rtol=1e-6)
                got = getattr(ours, answer)(data)
                np.testing.assert_allclose(np.asarray(got), expected, rtol=1e-6)
    assert ours.classes_.tolist() == theirs.classes_.tolist()
    assert list(ours.named_estimators_) == list(theirs.named_estimators_)
    names = ours.get_feature_names_out().tolist()
    assert names == theirs.get_feature_names_out().tolist()
    assert pickle.loads(pickle.dumps(ours)).score(X, y) == theirs.score(X, y)


@pytest.mark.parametrize("name", REGRESSORS)
def test_regressors_are_scikit_learns(name):
    X, y = values()
    weight = np.random.default_rng(0).uniform(0.5, 2, len(y))
    ours, theirs = pair(REGRESSORS[name])
    theirs.fit(X, y, sample_weight=weight)
    for data, target in [(X, y), lazy(X, y)]:
        ours.fit(data, target, sample_weight=weight)
        np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-9)
        np.testing.assert_allclose(ours.transform(X), theirs.transform(X), rtol=1e-9)
    assert ours.named_estimators_["none"] == "drop"
    assert ours.get_feature_names_out().tolist() == theirs.get_feature_names_out().tolist()
    columns = ours.transform(pd.DataFrame(X))
    assert columns.columns.tolist() == ours.get_feature_names_out().tolist()


@settings(max_examples=12, deadline=None)
@given(
    codes=st.lists(st.integers(0, 3), min_size=8, max_size=40).filter(lambda c: len(set(c)) > 1),
    cuts=st.lists(st.integers(0, 40), max_size=3),
    k=st.integers(2, 4),
    cv=st.sampled_from([KFold, StratifiedKFold, None]),
)
@pytest.mark.filterwarnings("ignore:The least populated class")
def test_folds_are_scikit_learns_whatever_the_chunks(codes, cuts, k, cv):
    y = np.array(codes)
    edges = [0, *sorted(min(c, len(y)) for c in cuts), len(y)]
    chunks = tuple(np.diff(edges).tolist())
    X = da.from_array(y[:, None].astype(float), chunks=(chunks, 1))
    data, executor = open_dataset(X, da.from_array(y, chunks=chunks), spec=Spec(target="classes"))
    splitter = k if cv is None else cv(k)
    reference = StratifiedKFold(k) if cv is None else splitter
    try:
        tests = [test for _, test in reference.split(X, y)]
    except ValueError:  # more folds than rows of a class
        with pytest.raises(InvalidParameterError, match="cannot be greater"):
            folds_of(splitter, executor, data)
        return
    folds = folds_of(splitter, executor, data)
    got = np.concatenate([folds.of(b) for ref in data.bundles for b in ref.handle])
    for fold, test in enumerate(tests):
        np.testing.assert_array_equal(np.flatnonzero(got == fold), test)


def test_other_splitters_for_data_in_memory():
    X, y = labelled()
    for cv in (
        StratifiedKFold(3, shuffle=True, random_state=0),
        PredefinedSplit(np.arange(200) % 3),
        list(KFold(3).split(X)),
    ):
        case = ("StackingClassifier", TREES, {"cv": cv})
        ours, theirs = (m.fit(X, y) for m in pair(case))
        np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=1e-6)
    with pytest.raises(InvalidParameterError, match="does not partition the rows"):
        StackingClassifier(TREES, cv=ShuffleSplit(3)).fit(X, y)


def test_members_fitted_before():
    X, y = labelled()
    members = [(name, clone(model).fit(X[:100], y[:100])) for name, model in SOFT]
    ours, theirs = (m.fit(X, y) for m in pair(("StackingClassifier", members, {"cv": "prefit"})))
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=1e-6)
    assert all(a is b for a, (_, b) in zip(ours.estimators_, members, strict=True))


@pytest.mark.parametrize("kind", [VotingClassifier, StackingClassifier])
def test_sparse_rows(kind):
    X, y = labelled()
    X = np.where(np.abs(X) > 1, X, 0.0)
    how = {} if kind is VotingClassifier else {"passthrough": True}
    dense, thin = kind(TREES, **how).fit(X, y), kind(TREES, **how).fit(sparse.csr_array(X), y)
    np.testing.assert_array_equal(thin.predict(sparse.csr_array(X)), dense.predict(X))


def test_nested_parameters_and_dropped_members():
    X, y = labelled()
    model = VotingClassifier(SOFT).set_params(shallow__max_depth=1, line="drop").fit(X, y)
    assert [m.get_depth() for m in model.estimators_] == [1, 6]
    model = VotingClassifier(SOFT, voting="soft", flatten_transform=False).fit(X, y)
    assert model.transform(X).shape == (3, 200, 3)
    with pytest.raises(InvalidParameterError, match=r"no lazy answer .* flatten_transform=True"):
        model.transform(lazy(X, y)[0])


REFUSED = [
    (VotingClassifier([]), "should be a non-empty list"),
    (VotingClassifier([("a", Ridge())]), "The estimator Ridge should be a classifier"),
    (VotingClassifier([("a", "drop")]), "All estimators are dropped"),
    (VotingClassifier(TREES, voting="loud"), "voting must be 'hard' or 'soft', got 'loud'"),
    (VotingClassifier(TREES, weights=[1]), "got 1 weights, 2 estimators"),
    (VotingClassifier(TREES, weights=[0, 0]), "weights must be finite.*positive"),
    (VotingClassifier(MIXED, voting="soft"), r"needs members with predict_proba, and \['margin'\]"),
    (StackingClassifier(TREES, stack_method="vote"), "stack_method must be one of .*got 'vote'"),
    (StackingClassifier(TREES, stack_method="decision_function"), "shallow does not implement"),
    (StackingClassifier(TREES, final_estimator=Ridge()), "final_estimator must be .*classifier"),
    (StackingClassifier(TREES, cv="twice"), "cv='twice' is no way to split rows"),
    (
        StackingClassifier(TREES, cv=300),
        "n_splits=300 cannot be greater than the number of members",
    ),
]


@pytest.mark.parametrize(("model", "message"), REFUSED)
def test_impossible_parameters_are_refused_by_name(model, message):
    with pytest.raises(InvalidParameterError, match=message):
        model.fit(*labelled())


def test_weights_that_a_member_does_not_take_are_refused_by_its_name():
    X, y = labelled()
    members = [*TREES, ("near", KNeighborsClassifier())]
    with pytest.raises(InvalidParameterError, match=r"the member 'near'=.*support sample weights"):
        VotingClassifier(members).fit(X, y, np.ones(len(y)))


def test_the_member_that_fails_is_named():
    X, y = labelled()
    members = [*TREES, ("bad", DecisionTreeClassifier(max_features=-1))]
    for model in (VotingClassifier(members), VotingClassifier(members, n_jobs=2)):
        with pytest.raises(ValueError, match="max_features") as caught:
            model.fit(X, y)
        assert "the member 'bad'" in caught.value.__notes__[0]


@pytest.mark.parametrize("kind", ["VotingClassifier", "StackingClassifier"])
def test_members_know_the_names_of_columns(kind):
    X, y = labelled()
    frame = pd.DataFrame(X, columns=list("abcdef"))
    named = make_pipeline(
        make_column_transformer((StandardScaler(), ["b", "e"])), RidgeClassifier()
    )
    chosen = make_pipeline(FunctionTransformer(_first_two), *TREES[0][1:])
    members = [("named", named), ("chosen", chosen), ("own", LogisticRegression())]
    ours, theirs = pair((kind, members, {}))
    theirs.fit(frame, y)
    for rows in (frame, dd.from_pandas(frame, npartitions=3)):
        ours.fit(rows, y if rows is frame else dd.from_pandas(pd.Series(y), npartitions=3))
        np.testing.assert_allclose(ours.transform(rows), theirs.transform(frame), atol=1e-3)
        np.testing.assert_array_equal(ours.predict(rows), theirs.predict(frame))
        assert all(list(m.feature_names_in_) == list("abcdef") for m in ours.estimators_)
    before = StackingClassifier([("own", ours)], cv="prefit").fit(frame, y)
    assert before.score(frame, y) > 0.5
    nameless = clone(ours).set_params(named="drop").fit(X, y)
    assert not hasattr(nameless.estimators_[1], "feature_names_in_")


def _first_two(frame):
    return frame[["a", "b"]] if isinstance(frame, pd.DataFrame) else frame[:, :2]


def test_members_of_this_package_beside_others():
    X, y = labelled()
    members = [("own", LogisticRegression()), *TREES]
    here = StackingClassifier(members, final_estimator=LogisticRegression()).fit(X, y)
    chunked = clone(here).fit(*lazy(X, y))
    np.testing.assert_allclose(chunked.predict_proba(X), here.predict_proba(X), rtol=1e-6)
    assert isinstance(here.estimators_[0], LogisticRegression)
    with pytest.raises(ValueError, match="RidgeClassifier"):
        VotingClassifier([("a", RidgeClassifier(alpha=-1))]).fit(X, y)
