"""Trees equal scikit-learn's wherever bins hold single values."""

from __future__ import annotations

import inspect

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import sparse
from sklearn import ensemble, tree as reference
from sklearn.utils.estimator_checks import parametrize_with_checks

import daskml_kit.ensemble
from daskml_kit import tree
from daskml_kit.exceptions import InvalidDataError, InvalidDataTypeError, InvalidParameterError
from daskml_kit.tree import DecisionTreeClassifier, DecisionTreeRegressor

rng = np.random.default_rng(0)
N = 600
X = rng.integers(0, 100, (N, 4)).astype(float)
Y = (X[:, 0] * X[:, 1] + rng.normal(0, 300, N) > 2_000).astype(int) + (X[:, 2] > 85)
VALUES = X[:, 0] * X[:, 1] / 100 + rng.exponential(10, N)
WEIGHTS = rng.integers(1, 4, N).astype(float)
# Leaves so large that no two features give the same split: scikit-learn draws one of those.
CLASSIFIERS = [
    {"max_depth": 4, "min_samples_leaf": 30, "min_samples_split": 0.2},
    {"max_depth": 3, "criterion": "entropy", "min_samples_leaf": 30},
    {"max_depth": 3, "class_weight": {0: 1.0, 1: 2.0, 2: 4.0}, "min_samples_leaf": 0.05},
    {"max_depth": 3, "class_weight": "balanced", "min_samples_leaf": 30},
    {"min_samples_leaf": 8, "max_leaf_nodes": 9},
    {"min_samples_leaf": 8, "ccp_alpha": 0.01},
    {"min_impurity_decrease": 0.01},
    {"min_weight_fraction_leaf": 0.1, "max_depth": 2},
]
REGRESSORS = [
    {"min_samples_leaf": 5},
    {"max_depth": 4, "criterion": "poisson", "min_samples_leaf": 5},
    {"max_leaf_nodes": 9},
    {"max_depth": 5, "min_samples_leaf": 5, "monotonic_cst": [1, 1, 0, -1]},
]


def same_tree(ours, theirs):
    a, b = ours.tree_, theirs.tree_
    if ours.max_leaf_nodes is None:  # else their nodes stand in the order of their splits
        for name in (
            "children_left",
            "feature",
            "threshold",
            "n_node_samples",
            "missing_go_to_left",
        ):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
        np.testing.assert_allclose(a.value, b.value, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(a.impurity, b.impurity, rtol=1e-7, atol=1e-9)
        np.testing.assert_allclose(a.weighted_n_node_samples, b.weighted_n_node_samples)
    assert a.node_count == b.node_count
    np.testing.assert_allclose(ours.feature_importances_, theirs.feature_importances_, rtol=1e-8)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-10)


@pytest.mark.parametrize("weight", [None, WEIGHTS], ids=["", "weighted"])
@pytest.mark.parametrize("missing", [False, True], ids=["", "missing"])
@pytest.mark.parametrize("given", [*CLASSIFIERS, *REGRESSORS], ids=str)
def test_is_scikit_learns_tree(given, missing, weight):
    if missing and "monotonic_cst" in given:
        pytest.skip("scikit-learn takes no missing values together with constraints")
    kind, y = ("Classifier", Y) if given in CLASSIFIERS else ("Regressor", VALUES)
    rows = X.copy()
    if missing:
        rows[np.random.default_rng(1).random(X.shape) < 0.1] = np.nan
    ours = globals()[f"DecisionTree{kind}"](**given).fit(rows, y, weight)
    theirs = getattr(reference, f"DecisionTree{kind}")(random_state=0, **given).fit(rows, y, weight)
    same_tree(ours, theirs)
    copy = ours.to_sklearn()
    np.testing.assert_array_equal(copy.predict(rows), ours.predict(rows))
    np.testing.assert_array_equal(copy.apply(rows), ours.apply(rows))
    assert (copy.decision_path(rows) != ours.decision_path(rows)).nnz == 0


def test_balanced_classes_count_rows_without_weight_too():
    """As scikit-learn's do; its forests balance weights."""
    weight = np.where(Y == 1, 0.3, 1.7) * (np.arange(N) % 3 > 0)
    given = {"class_weight": "balanced", "max_depth": 2, "min_samples_leaf": 30}
    lazy = da.from_array(X, chunks=(170, 4))
    ours = DecisionTreeClassifier(**given).fit(lazy, da.from_array(Y, chunks=170), weight)
    same_tree(ours, reference.DecisionTreeClassifier(**given).fit(X, Y, weight))
    forest = {"bootstrap": False, "max_features": None, "random_state": 0, **given}
    ours = daskml_kit.ensemble.RandomForestClassifier(2, **forest).fit(X, Y, weight)
    theirs = ensemble.RandomForestClassifier(2, **forest).fit(X, Y, weight)
    same_tree(ours.estimators_[0], theirs.estimators_[0])


@settings(max_examples=8, deadline=None)
@given(
    cuts=st.lists(st.integers(0, N), max_size=5),
    given=st.sampled_from(
        [
            {"max_features": 2},
            {"splitter": "random", "max_features": 0.5},
            {"max_bins": 20, "max_features": "log2"},
            {"max_leaf_nodes": 20, "max_features": 2, "min_samples_leaf": 3},
        ]
    ),
    values=st.booleans(),
)
def test_chunks_change_no_node(cuts, given, values):
    bounds = np.array([0, *sorted(cuts), N])
    lazy = da.from_array(X, chunks=(tuple(np.diff(bounds)), 4))
    kind, y = (DecisionTreeRegressor, VALUES) if values else (DecisionTreeClassifier, Y)
    # Weights that are no whole numbers: sums of fixed point are exact as well.
    w = WEIGHTS / 3.0
    given = given if values else {**given, "class_weight": "balanced"}
    one = kind(random_state=5, **given).fit(X, y, w)
    many = kind(random_state=5, **given).fit(lazy, da.from_array(y, chunks=lazy.chunks[0]), w)
    assert (
        one.tree_.__getstate__()["nodes"].tobytes() == many.tree_.__getstate__()["nodes"].tobytes()
    )
    np.testing.assert_array_equal(one.tree_.value, many.tree_.value)
    np.testing.assert_array_equal(many.predict(lazy).compute(), one.predict(X))


@pytest.mark.parametrize("name", ["Classifier", "Regressor"])
def test_pruning_goes_scikit_learns_way(name):
    y = Y if name == "Classifier" else VALUES
    given = {"min_samples_leaf": 30, "max_depth": 4}
    ours = globals()[f"DecisionTree{name}"](**given).cost_complexity_pruning_path(X, y)
    theirs = getattr(reference, f"DecisionTree{name}")(**given).cost_complexity_pruning_path(X, y)
    for part in ("ccp_alphas", "impurities"):
        np.testing.assert_allclose(ours[part], theirs[part], rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize(
    "theirs",
    [
        reference.DecisionTreeClassifier,
        reference.DecisionTreeRegressor,
        ensemble.RandomForestClassifier,
        ensemble.RandomForestRegressor,
        ensemble.ExtraTreesClassifier,
        ensemble.ExtraTreesRegressor,
    ],
    ids=lambda c: c.__name__,
)
def test_has_all_that_scikit_learns_has(theirs):
    ours = getattr(tree if "Decision" in theirs.__name__ else daskml_kit.ensemble, theirs.__name__)
    here, there = (inspect.signature(c).parameters for c in (ours, theirs))
    assert {n: p.default for n, p in there.items()} == {n: here[n].default for n in there}
    assert [n for n in here if n in there] == list(there)
    public = {n for n in dir(theirs) if not n.startswith("_")} | {"__doc__"}
    assert public <= set(dir(ours))


def test_sparse_rows_give_the_tree_of_dense_ones():
    thin = np.where(X > 60, X, 0.0)
    dense = DecisionTreeClassifier(max_depth=5).fit(thin, Y)
    rows = sparse.csr_array(thin)
    model = DecisionTreeClassifier(max_depth=5).fit(rows, Y)
    np.testing.assert_array_equal(model.tree_.threshold, dense.tree_.threshold)
    np.testing.assert_array_equal(model.predict(rows), dense.predict(thin))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"criterion": "absolute_error"}, "needs medians"),
        ({"criterion": "gini"}, "criterion must be one of"),
        ({"splitter": "worst"}, "splitter must be"),
        ({"max_depth": 0}, "max_depth"),
        ({"max_leaf_nodes": 1}, "max_leaf_nodes"),
        ({"max_features": 0}, "max_features"),
        ({"max_bins": 1}, "max_bins"),
        ({"max_bins": 70_000}, "at most 65535"),
        ({"min_samples_leaf": 0}, "min_samples_leaf"),
        ({"min_samples_leaf": 1.0}, "share above 0 and below 1"),
        ({"min_samples_split": 1}, "min_samples_split"),
        ({"min_weight_fraction_leaf": 0.6}, "at most 0.5"),
        ({"min_impurity_decrease": -1}, "min_impurity_decrease"),
        ({"ccp_alpha": -1}, "ccp_alpha"),
        ({"monotonic_cst": [1]}, "monotonic_cst has shape"),
        ({"monotonic_cst": [1, 2, 0, 0]}, "array-like of -1, 0 or 1"),
    ],
)
def test_impossible_parameters_are_named(given, words):
    with pytest.raises(InvalidParameterError, match=words):
        DecisionTreeRegressor(**given).fit(X, VALUES)


def test_impossible_data_are_named():
    with pytest.raises(InvalidDataError, match="negative"):
        DecisionTreeRegressor(criterion="poisson").fit(X, VALUES - 50)
    with pytest.raises(InvalidDataError, match="not strictly positive"):
        DecisionTreeRegressor(criterion="poisson").fit(X, VALUES * 0)
    with pytest.raises(InvalidParameterError, match="multiclass"):
        DecisionTreeClassifier(monotonic_cst=[1, 0, 0, 0]).fit(X, Y)
    model = DecisionTreeClassifier(max_depth=2).fit(X, Y)
    with pytest.raises(InvalidDataTypeError, match="must be in memory"):
        model.decision_path(da.from_array(X))


@parametrize_with_checks([DecisionTreeClassifier(), DecisionTreeRegressor()])
def test_is_a_scikit_learn_estimator(estimator, check):
    check(estimator)


def test_outliers_hide_no_spread_of_the_others():
    """The unit of squares is 4 beside a target of 1e8: too coarse to see that the others differ."""
    rng = np.random.default_rng(5)
    X = rng.integers(0, 200, (2_000, 2)).astype(float)
    X[0] = 999.0
    for values in (rng.normal(size=2_000), rng.integers(0, 3, 2_000) / 3.0):
        y = np.append(1e8, values[1:])
        for weight in (None, np.full(2_000, 0.3), rng.integers(1, 3, 2_000) * 1e6):
            ours = DecisionTreeRegressor(max_depth=9).fit(X, y, weight)
            theirs = reference.DecisionTreeRegressor(max_depth=9).fit(X, y, weight)
            assert abs(ours.get_n_leaves() - theirs.get_n_leaves()) <= 3
            gaps = ours.predict(X[1:]) - theirs.predict(X[1:])
            assert (np.abs(gaps) > 1e-5).mean() < 0.05  # splits of the same score
    same = DecisionTreeRegressor().fit(X, np.append(1e8, np.full(1_999, 1 / 3)))
    assert same.get_n_leaves() == 2


@pytest.mark.parametrize("criterion", ["squared_error", "poisson"])
def test_the_scale_of_the_weights_changes_no_tree(criterion):
    rng = np.random.default_rng(8)
    X = rng.normal(size=(400, 3))
    y = np.abs(X[:, 0] ** 2 + X[:, 1])
    counts = {
        DecisionTreeRegressor(criterion=criterion).fit(X, y, np.full(400, scale)).tree_.node_count
        for scale in (1.0, 2.0**-30, 2.0**40, 1e100)
    }
    assert counts == {
        reference.DecisionTreeRegressor(criterion=criterion).fit(X, y).tree_.node_count
    }
