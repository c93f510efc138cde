"""Categories: the best of all ways to part them, the same tree from any rows, and named refusals."""

from __future__ import annotations

import itertools
import pickle

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from scipy import sparse
from sklearn import tree as reference

import daskml_kit
from daskml_kit.ensemble import ExtraTreesRegressor, RandomForestClassifier
from daskml_kit.exceptions import InvalidDataError, InvalidDataTypeError, InvalidParameterError
from daskml_kit.tree import DecisionTreeClassifier, DecisionTreeRegressor, export_text

rng = np.random.default_rng(0)
N = 600
KINDS = np.array(list("abcdefgh"))
FRAME = pd.DataFrame(
    {
        "kind": pd.Categorical(rng.choice(KINDS, N)),
        "x": rng.normal(size=N),
        "code": 7.0 * rng.integers(0, 30, N),
    }
)
FRAME.loc[rng.random(N) < 0.1, "kind"] = np.nan
EFFECT = pd.Series(rng.normal(size=8), KINDS)
VALUES = FRAME["kind"].astype(object).map(EFFECT).fillna(0.5).astype(float) + np.sin(FRAME["code"])
VALUES = VALUES + 0.1 * FRAME["x"]
LABELS = np.digitize(VALUES, VALUES.quantile([0.3, 0.7]))
STATE = ("nodes", "values", "sets")


def same_trees(a, b):
    for one, other in zip(a, b, strict=True):
        left, right = one.tree_.__getstate__(), other.tree_.__getstate__()
        assert all(left[name].tobytes() == right[name].tobytes() for name in STATE)


def best_of_all_sets(codes, y):
    """The least sum of squares that any way to part the categories leaves."""
    present = sorted(set(codes))
    ways = [
        set(left)
        for size in range(1, len(present) // 2 + 1)
        for left in itertools.combinations(present, size)
    ]
    spread = lambda v: ((v - v.mean()) ** 2).sum()  # noqa: E731
    masks = [np.isin(codes, list(left)) for left in ways]
    return min(spread(y[m]) + spread(y[~m]) for m in masks)


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    k=st.integers(2, 7),
    classes=st.booleans(),
    missing=st.booleans(),
)
def test_no_way_to_part_the_categories_is_better(seed, k, classes, missing):
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, k, 80).astype(float)
    y = rng.integers(0, 2, 80) if classes else rng.normal(size=80) ** 3
    X = np.where(missing & (codes == 0), np.nan, codes)[:, None]  # missing values are a category
    kind = DecisionTreeClassifier if classes else DecisionTreeRegressor
    model = kind(max_depth=1, categorical_features=[0]).fit(X, y)
    tree = model.tree_
    left = np.zeros(80, bool) if tree.node_count == 1 else model.apply(X) == 1
    # The Gini index is twice the variance of a label.
    found = [((y[m] - y[m].mean()) ** 2).sum() for m in (left, ~left) if m.any()]
    np.testing.assert_allclose(sum(found), best_of_all_sets(codes, y), rtol=1e-9)


def test_two_categories_are_a_threshold():
    X = rng.integers(0, 2, (300, 4)).astype(float)
    y = X @ [3.0, 2.0, 1.0, 0.5] + X[:, 0] * X[:, 1]
    ours = DecisionTreeRegressor(categorical_features=[True] * 4).fit(X, y)
    theirs = reference.DecisionTreeRegressor().fit(X, y)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-9)
    assert ours.get_n_leaves() == theirs.get_n_leaves()
    np.testing.assert_allclose(ours.feature_importances_, theirs.feature_importances_, atol=1e-9)


@pytest.mark.parametrize(
    "model",
    [
        RandomForestClassifier(4, max_depth=5, random_state=0, oob_score=True, max_bins=40),
        ExtraTreesRegressor(4, max_leaf_nodes=30, random_state=0, max_bins=40),
        DecisionTreeRegressor(max_depth=6, ccp_alpha=0.001),
    ],
    ids=lambda m: type(m).__name__,
)
@pytest.mark.filterwarnings("ignore:Some inputs do not have OOB scores")
def test_chunks_and_ways_change_no_bit(model, request):
    target = LABELS if isinstance(model, RandomForestClassifier) else VALUES.to_numpy()
    given = {"categorical_features": ["kind", "code"]}
    one = model.set_params(**given).fit(FRAME, target)
    lazy = dd.from_pandas(FRAME, npartitions=4)
    y = dd.from_pandas(pd.Series(target), npartitions=4)
    with daskml_kit.config_context(trees="reduce"):
        many = type(model)(**model.get_params()).fit(lazy, y)
    assert (one.growth_, many.growth_) == ("replicate", "reduce")
    same_trees(*(getattr(m, "estimators_", [m]) for m in (one, many)))
    answers = one.predict(FRAME)
    np.testing.assert_array_equal(many.predict(lazy).compute(), answers)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(many)).predict(FRAME), answers)
    path = one.decision_path(FRAME)
    last = one.apply(FRAME)
    if isinstance(path, tuple):
        path, last = path[0][:, : path[1][1]], last.iloc[:, 0]
    assert all(path[i].indices.max() == leaf for i, leaf in enumerate(last))
    assert getattr(one, "oob_score_", 0.0) == getattr(many, "oob_score_", 0.0)


def test_names_indices_masks_and_dtypes_say_the_same():
    codes = FRAME.assign(kind=FRAME["kind"].cat.codes.replace(-1, np.nan).astype(float))
    by_dtype = DecisionTreeClassifier(max_depth=4).fit(FRAME, LABELS)
    same = [["kind"], [0], [True, False, False]]
    found = [DecisionTreeClassifier(max_depth=4, categorical_features=c) for c in same]
    same_trees([m.fit(codes, LABELS) for m in found], [by_dtype] * 3)
    np.testing.assert_array_equal(by_dtype.is_categorical_, [True, False, False])
    numeric = DecisionTreeClassifier(max_depth=4, categorical_features=None).fit(codes, LABELS)
    assert numeric.is_categorical_ is None
    assert numeric.to_sklearn().get_depth() == 4


def test_unknown_and_missing_values_go_where_the_node_says():
    X = pd.DataFrame({"kind": pd.Categorical(list("aaabbc") * 9)})
    y = np.array([0.0, 0, 0, 1, 1, 5] * 9)
    model = DecisionTreeRegressor(max_depth=1).fit(X, y)
    tree = model.tree_
    np.testing.assert_array_equal(tree.categories_left(0), [0.0, 1.0, np.nan])  # the larger side
    asked = pd.DataFrame({"kind": pd.Categorical(["c", None, "z"], categories=list("zyc"))})
    np.testing.assert_allclose(model.predict(asked), [5.0, 0.4, 0.4])
    with_missing = X.where(X["kind"] != "c")
    model = DecisionTreeRegressor(max_depth=1).fit(with_missing, y)
    np.testing.assert_allclose(model.predict(asked), [5.0, 5.0, 5.0])


def test_rules_are_written_as_scikit_learn_writes_them():
    numbers = FRAME[["x", "code"]]
    given = {"feature_names": ["a", "b"], "max_depth": 1, "show_weights": True}
    model = DecisionTreeClassifier(max_depth=3).fit(numbers, LABELS)
    assert export_text(model, **given) == reference.export_text(model.to_sklearn(), **given)
    model = DecisionTreeClassifier(max_depth=2, categorical_features=[1]).fit(numbers, LABELS)
    text = export_text(model, class_names=["few", "some", "many"], max_depth=0, show_weights=True)
    first, *_, last = text.splitlines()
    assert first.startswith("|--- feature_1 in {")
    assert last == "|   |--- truncated branch"
    assert text.count("missing") == 1
    model = DecisionTreeRegressor(max_depth=1).fit(FRAME[["kind"]], VALUES)
    one, _, other, _ = (line.strip("}").split("{")[-1] for line in export_text(model).splitlines())
    assert sorted(f"{one}, {other}".split(", ")) == [*KINDS, "missing"]
    with pytest.raises(InvalidParameterError, match="must have 1 names"):
        export_text(model, feature_names=["a", "b"])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"categorical_features": ["no"]}, "not a valid feature name"),
        ({"categorical_features": [9]}, r"must be in \[0, n_features - 1\]"),
        ({"categorical_features": [True]}, "must have shape"),
        ({"categorical_features": [0.5]}, "array-like of bool, int or str"),
        ({"categorical_features": [0], "monotonic_cst": [1, 0, 0]}, "cannot have monotonic"),
    ],
)
def test_impossible_parameters_are_named(given, words):
    with pytest.raises(InvalidParameterError, match=words):
        DecisionTreeRegressor(**given).fit(FRAME, VALUES)


def test_impossible_data_are_named():
    with pytest.raises(InvalidDataError, match=r"'code' is expected to have a cardinality <= 20"):
        DecisionTreeRegressor(categorical_features=["kind", "code"], max_bins=20).fit(FRAME, VALUES)
    with pytest.raises(InvalidParameterError, match="without feature names"):
        DecisionTreeRegressor(categorical_features=["x"]).fit(np.ones((3, 1)), np.ones(3))
    rows = sparse.csr_array(np.eye(4))
    with pytest.raises(InvalidDataTypeError, match="dense rows"):
        DecisionTreeRegressor(categorical_features=[0]).fit(rows, np.ones(4))
    lazy = dd.from_pandas(FRAME.astype({"kind": object}), npartitions=2).astype(
        {"kind": "category"}
    )
    with pytest.raises(InvalidDataError, match=r"Call X = X\.categorize\(\)"):
        DecisionTreeRegressor().fit(lazy, dd.from_pandas(VALUES, npartitions=2))
    ids = np.column_stack([FRAME["x"], np.arange(N) % 2 + 2**24])
    lazy = da.from_array(ids, chunks=(200, 2))
    whole = DecisionTreeRegressor(categorical_features=[1])
    frame = FRAME[["x"]].assign(code=2**60 + np.arange(N))
    for X, words in ((ids, "at index 1"), (lazy, "at index 1"), (frame, "'code'")):
        with pytest.raises(InvalidDataError, match=f"{words} has the category .* float32"):
            whole.fit(X, VALUES.to_numpy())
    whole.fit(ids + [0, 1] * (ids[:, 1:] % 2), VALUES)  # even ones are float32
    gone = whole.predict(np.where([False, True], np.nan, ids))
    odd = np.where([False, True], 2**24 + 1.0, ids)
    np.testing.assert_array_equal(whole.predict(odd), gone)
    np.testing.assert_array_equal(whole.predict(da.from_array(odd, chunks=(99, 2))), gone)
    forest = RandomForestClassifier(1, max_depth=2, warm_start=True).fit(FRAME, LABELS)
    few = FRAME[FRAME["kind"] != "a"]
    with pytest.raises(InvalidDataError, match="grown on other categories"):
        forest.set_params(n_estimators=2).fit(few, LABELS[few.index])
    model = DecisionTreeRegressor(max_depth=2).fit(FRAME, VALUES)
    with pytest.raises(InvalidDataTypeError, match="Pass a pandas or dask DataFrame"):
        model.predict(np.zeros((2, 3)))
    with pytest.raises(InvalidParameterError, match="no splits of categories"):
        model.to_sklearn()


def test_forests_are_added_to_whatever_the_order_of_the_categories():
    turned = FRAME["kind"].cat.reorder_categories(KINDS[::-1]).cat.add_categories("z")
    given = {"max_depth": 5, "random_state": 0}
    whole = ExtraTreesRegressor(4, **given).fit(FRAME, VALUES)
    model = ExtraTreesRegressor(2, warm_start=True, **given).fit(FRAME, VALUES)
    model.set_params(n_estimators=4).fit(FRAME.assign(kind=turned), VALUES)
    same_trees(model.estimators_, whole.estimators_)
    np.testing.assert_array_equal(model.predict(FRAME.assign(kind=turned)), whole.predict(FRAME))
    model.set_params(n_estimators=5, categorical_features=["kind"])
    with pytest.raises(InvalidDataError, match=r"with \['kind'\] as the columns.* got \[\]"):
        model.fit(FRAME.assign(kind=1.0), VALUES)


def test_rare_categories_are_found_in_all_rows_not_in_the_sample(monkeypatch):
    monkeypatch.setattr("daskml_kit.tree.binning.SAMPLE_ROWS", 50)
    monkeypatch.setattr("daskml_kit.tree.binning.SAMPLE_VALUES", 50)
    X = np.zeros((30_000, 1))
    X[7] = 3.0
    lazy = da.from_array(X, chunks=(9_000, 1))
    model = DecisionTreeRegressor(categorical_features=[0])
    model.fit(lazy, da.from_array(X[:, 0], chunks=9_000))
    np.testing.assert_allclose(model.predict(X[5:9]), [0, 0, 3, 0])
