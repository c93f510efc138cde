"""Each fusion against members made by hand on the same rows."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_digits, make_classification, make_regression
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import train_test_split
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from daskml_kit.ensemble import BlockwiseClassifier, BlockwiseRegressor, fitting, fusion

N, M = 301, 4
EDGES = [i * N // M for i in range(M + 1)]
SLICES = [slice(a, b) for a, b in pairwise(EDGES)]
TREE = DecisionTreeClassifier(max_depth=4, random_state=0)
NAMES = np.array(["ant", "bee", "cat"])


def labelled(n_classes=3):
    X, y = make_classification(
        N, 6, n_informative=4, n_classes=n_classes, flip_y=0.2, random_state=0
    )
    return X, NAMES[y]


def valued():
    return make_regression(N, 6, noise=30.0, random_state=0)


def by_hand(estimator, X, y, weight=None):
    """One clone a slice."""
    if weight is None:
        return [clone(estimator).fit(X[s], y[s]) for s in SLICES]
    return [clone(estimator).fit(X[s], y[s], sample_weight=weight[s]) for s in SLICES]


def outside(s):
    mask = np.ones(N, dtype=bool)
    mask[s] = False
    return mask


@pytest.fixture(params=[None, "weight"])
def weight(request):
    return None if request.param is None else np.random.default_rng(0).uniform(0.1, 2.0, N)


def of(weight, mask):
    return None if weight is None else weight[mask]


def test_vote_is_the_majority(weight):
    X, y = labelled()
    model = BlockwiseClassifier(TREE, n_blocks=M).fit(X, y, weight)
    votes = np.array([m.predict(X) for m in by_hand(TREE, X, y, weight)])
    counts = np.array([(votes == name).sum(axis=0) for name in NAMES])
    np.testing.assert_array_equal(model.predict(X), NAMES[counts.argmax(axis=0)])
    np.testing.assert_array_equal(model.predict_proba(X), counts.T / M)
    assert model.member_rows_.tolist() == [[s.start, s.stop] for s in SLICES]
    assert [r["name"] for r in model.history_] == ["load", "fit-members"]


def test_average_of_probabilities(weight):
    X, y = labelled()
    model = BlockwiseClassifier(TREE, fusion="average", n_blocks=M).fit(X, y, weight)
    mean = np.mean([m.predict_proba(X) for m in by_hand(TREE, X, y, weight)], axis=0)
    np.testing.assert_allclose(model.predict_proba(X), mean, rtol=1e-14)
    np.testing.assert_array_equal(model.predict(X), NAMES[mean.argmax(axis=1)])


def test_weighted_by_accuracy_outside_the_block(weight):
    X, y = labelled()
    model = BlockwiseClassifier(TREE, fusion="weighted", n_blocks=M).fit(X, y, weight)
    members = by_hand(TREE, X, y, weight)
    masks = [outside(s) for s in SLICES]
    scores = [
        accuracy_score(y[k], m.predict(X[k]), sample_weight=of(weight, k))
        for m, k in zip(members, masks, strict=True)
    ]
    np.testing.assert_allclose(model.member_scores_, scores, rtol=1e-13)
    np.testing.assert_allclose(model.weights_, scores / np.sum(scores), rtol=1e-13)
    expected = np.average([m.predict_proba(X) for m in members], axis=0, weights=scores)
    np.testing.assert_allclose(model.predict_proba(X), expected, rtol=1e-13)
    assert model.n_rounds_ == model.n_passes_ == 3


@pytest.mark.parametrize("n_classes", [2, 3])
def test_stack_learns_from_members_that_have_not_seen_the_row(n_classes, weight):
    X, y = labelled(n_classes)
    final = LogisticRegression(C=0.5, max_iter=1000)
    model = BlockwiseClassifier(TREE, fusion="stack", n_blocks=M, final_estimator=final)
    model.fit(X, y, weight)
    members = by_hand(TREE, X, y, weight)
    said = np.array([m.predict_proba(X) for m in members])
    unseen = said.copy()
    for i, s in enumerate(SLICES):
        unseen[i, s] = np.delete(said[:, s], i, axis=0).mean(axis=0)
    low = 1 if n_classes == 2 else 0
    expected = clone(final).fit(np.hstack(list(unseen[:, :, low:])), y, sample_weight=weight)
    np.testing.assert_allclose(model.final_estimator_.coef_, expected.coef_, rtol=1e-10, atol=1e-12)
    proba = expected.predict_proba(np.hstack(list(said[:, :, low:])))
    np.testing.assert_allclose(model.predict_proba(X), proba, rtol=1e-10)
    assert model.n_rounds_ == model.n_passes_ == 3


def test_regression_vote_is_the_median_and_average_the_mean(weight):
    X, y = valued()
    said = np.array([m.predict(X) for m in by_hand(Ridge(), X, y, weight)])
    vote = BlockwiseRegressor(Ridge(), n_blocks=M).fit(X, y, weight)
    np.testing.assert_allclose(vote.predict(X), np.median(said, axis=0), rtol=1e-12)
    mean = BlockwiseRegressor(Ridge(), fusion="average", n_blocks=M).fit(X, y, weight)
    np.testing.assert_allclose(mean.predict(X), said.mean(axis=0), rtol=1e-12)


def test_regression_weighted_by_r2_outside_the_block(weight):
    X, y = valued()
    y = y + 1e6  # a mean far from zero must not cost digits: spreads are merged about means
    tree = DecisionTreeRegressor(max_depth=5, random_state=0)
    model = BlockwiseRegressor(tree, fusion="weighted", n_blocks=M).fit(X, y, weight)
    members = by_hand(tree, X, y, weight)
    masks = [outside(s) for s in SLICES]
    scores = np.array(
        [
            r2_score(y[k], m.predict(X[k]), sample_weight=of(weight, k))
            for m, k in zip(members, masks, strict=True)
        ]
    )
    assert (scores > 0).any()
    np.testing.assert_allclose(model.member_scores_, scores, rtol=1e-9)
    weights = scores.clip(min=0)
    expected = np.average([m.predict(X) for m in members], axis=0, weights=weights)
    np.testing.assert_allclose(model.predict(X), expected, rtol=1e-12)


def test_regression_stack(weight):
    X, y = valued()
    tree = DecisionTreeRegressor(max_depth=5, random_state=0)
    model = BlockwiseRegressor(tree, fusion="stack", n_blocks=M).fit(X, y, weight)
    said = np.array([m.predict(X) for m in by_hand(tree, X, y, weight)])
    unseen = said.copy()
    for i, s in enumerate(SLICES):
        unseen[i, s] = np.delete(said[:, s], i, axis=0).mean(axis=0)
    final = LinearRegression(positive=True).fit(unseen.T, y, sample_weight=weight)
    np.testing.assert_allclose(model.predict(X), final.predict(said.T), rtol=1e-9)


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_a_stack_does_not_depend_on_the_scale_of_the_target(scale):
    X, y = valued()
    model = BlockwiseRegressor(Ridge(), fusion="stack", n_blocks=M)
    expected = scale * model.fit(X, y).predict(X)
    np.testing.assert_allclose(model.fit(X, scale * y).predict(X), expected, rtol=1e-8)
    assert model.score(X, scale * y) > 0.85


def test_members_that_are_all_worthless_weigh_the_same():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(N, 3)), rng.normal(size=N)
    model = BlockwiseRegressor(random_state=0, fusion="weighted", n_blocks=M).fit(X, y)
    assert (model.member_scores_ < 0).all()
    assert model.weights_.tolist() == [1 / M] * M


def test_a_sample_of_the_stack_is_keyed_by_row(monkeypatch):
    X, y = labelled()
    monkeypatch.setattr(fitting, "STACK_ROWS", 150)
    seen = []

    class Spy(LogisticRegression):
        def fit(self, X, y, sample_weight=None):
            seen.append((X, y))
            return super().fit(X, y, sample_weight)

    for _ in range(2):
        BlockwiseClassifier(
            TREE, fusion="stack", n_blocks=M, final_estimator=Spy(), random_state=3
        ).fit(X, y)
    (first, labels), (second, _) = seen
    np.testing.assert_array_equal(first, second)
    assert 110 < len(labels) < 190  # binomial(301, 1/2), four standard deviations


def test_tiles_change_nothing(monkeypatch):
    X, y = valued()
    models = [
        BlockwiseRegressor(fusion=f, n_blocks=M, random_state=0).fit(X, y)
        for f in ("vote", "stack")
    ]
    whole = [m.predict(X) for m in models]
    monkeypatch.setattr(fusion, "TILE_VALUES", 50)
    for model, expected in zip(models, whole, strict=True):
        np.testing.assert_allclose(model.predict(X), expected, rtol=1e-13)


@pytest.mark.parametrize("how", ["vote", "average", "weighted", "stack"])
def test_digits_are_read_better_than_by_one_tree_of_one_block(how):
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X, y, random_state=0)
    one = DecisionTreeClassifier(random_state=0).fit(X[: len(X) // 8], y[: len(X) // 8])
    model = BlockwiseClassifier(fusion=how, n_blocks=8, random_state=0).fit(X, y)
    assert model.score(X_test, y_test) > one.score(X_test, y_test) + 0.05


@pytest.mark.parametrize("how", ["vote", "average", "weighted", "stack"])
def test_data_sorted_by_label(how):
    """Blocks lack classes, most have a single one, and LogisticRegression would refuse those."""
    X, y = labelled()
    order = np.argsort(y, kind="stable")
    model = BlockwiseClassifier(LogisticRegression(), fusion=how, n_blocks=8)
    model.fit(X[order], y[order])
    assert any(isinstance(m, DummyClassifier) for m in model.estimators_)
    assert any(isinstance(m, LogisticRegression) for m in model.estimators_)
    assert model.classes_.tolist() == NAMES.tolist()
    proba = model.predict_proba(X)
    np.testing.assert_allclose(proba.sum(axis=1), 1.0, rtol=1e-12)
    if how == "average":
        expected = np.zeros_like(proba)
        for member in model.estimators_:
            expected[:, np.searchsorted(NAMES, member.classes_)] += member.predict_proba(X) / 8
        np.testing.assert_allclose(proba, expected, rtol=1e-12)


@pytest.mark.parametrize(
    "names",
    [
        np.array(["x", "longer", "y"]),
        np.array(["x", "longer", "y"], dtype=object),
        np.array([-3, 10, 7]),
        np.array([0.0, 2.0, 1.0]),
    ],
)
def test_labels_of_any_type(names):
    X, y = labelled()
    y = names[np.searchsorted(NAMES, y)]
    model = BlockwiseClassifier(TREE, n_blocks=M).fit(X, y)
    assert model.classes_.dtype == names.dtype
    assert all(set(m.classes_) == set(names) for m in model.estimators_)
    assert model.score(X, y) > 0.6


def test_members_know_the_labels_by_name():
    """So that a member's class_weight can name them."""
    X, y = labelled()
    heavy = DecisionTreeClassifier(max_depth=2, class_weight={"ant": 1e6, "bee": 1, "cat": 1})
    model = BlockwiseClassifier(heavy, n_blocks=M, random_state=0).fit(X, y)
    assert (model.predict(X) == "ant").mean() > 0.6


def test_a_row_of_weight_zero_is_absent():
    X, y = labelled()
    weight = np.ones(N)
    weight[SLICES[1]] = 0.0  # a whole block
    weight[SLICES[2]][NAMES[1] == y[SLICES[2]]] = 0.0  # a class of a block
    model = BlockwiseClassifier(GaussianNB(), n_blocks=M, fusion="average").fit(X, y, weight)
    assert model.member_rows_.tolist() == [[s.start, s.stop] for s in SLICES if s != SLICES[1]]
    assert model.estimators_[1].classes_.tolist() == ["ant", "cat"]
    kept = [np.flatnonzero(weight[s]) + s.start for s in SLICES if weight[s].any()]
    expected = clone(GaussianNB()).fit(X[kept[0]], y[kept[0]]).predict_proba(X)
    np.testing.assert_allclose(model.estimators_[0].predict_proba(X), expected, rtol=1e-12)


@pytest.mark.parametrize("how", ["vote", "weighted", "stack"])
def test_sparse_rows_give_the_same_model_as_dense(how):
    X, y = labelled()
    X = np.where(np.abs(X) > 1, X, 0.0)
    dense = BlockwiseClassifier(TREE, fusion=how, n_blocks=M).fit(X, y)
    rows = sparse.csr_array(X)
    thin = BlockwiseClassifier(TREE, fusion=how, n_blocks=M).fit(rows, y)
    np.testing.assert_allclose(thin.predict_proba(rows), dense.predict_proba(X), rtol=1e-9)


def test_sparse_rows_are_refused_if_the_member_refuses_them():
    X, y = labelled()
    with pytest.raises(TypeError, match="Sparse data was passed"):
        BlockwiseClassifier(GaussianNB()).fit(sparse.csr_array(X), y)


def test_random_states_are_keyed_by_member():
    X, y = labelled()
    nested = make_pipeline(StandardScaler(), DecisionTreeClassifier())

    def seeds(random_state):
        model = BlockwiseClassifier(nested, n_blocks=M, random_state=random_state).fit(X, y)
        return [m[-1].random_state for m in model.estimators_]

    assert seeds(0) == seeds(0)
    assert len(set(seeds(0))) == M
    assert not set(seeds(0)) & set(seeds(1))
    assert seeds(None) == [None] * M
    assert seeds(np.random.RandomState(5)) == seeds(np.random.RandomState(5))


def test_an_array_in_memory_is_one_block_however_large():
    """Other estimators split 3 MB over the threads of this process."""
    X = np.random.default_rng(0).normal(size=(100_000, 4))
    stump = DecisionTreeRegressor(max_depth=1, max_features=1, random_state=0)
    model = BlockwiseRegressor(stump).fit(X, X[:, 0])
    assert model.member_rows_.tolist() == [[0, 100_000]]
    assert model.estimators_[0].tree_.n_node_samples[0] == 100_000


def test_an_ensemble_of_the_packages_own_models():
    from daskml_kit.linear_model import LogisticRegression as Own

    X, y = labelled()
    model = BlockwiseClassifier(Own(), n_blocks=2, fusion="stack").fit(X, y)
    assert model.score(X, y) > 0.5


def test_missing_values_pass_where_the_member_takes_them():
    X, y = labelled()
    X[::7, 0] = np.nan
    model = BlockwiseClassifier(TREE, n_blocks=M).fit(X, y)
    assert model.score(X, y) > 0.5
    with pytest.raises(ValueError, match="Input X contains NaN"):
        BlockwiseClassifier(GaussianNB(), n_blocks=M).fit(X, y)
