"""BisectingKMeans against scikit-learn's, and whatever must not matter."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.cluster import BisectingKMeans as Reference
from sklearn.datasets import load_digits, make_blobs
from sklearn.metrics import adjusted_rand_score
from sklearn.utils.estimator_checks import parametrize_with_checks

from daskml_kit.cluster import BisectingKMeans, KMeans, splitting
from daskml_kit.exceptions import InvalidDataError, InvalidParameterError
from daskml_kit.runtime.local import LocalExecutor
from tests.cluster.data import grid_blobs, row_weights

BLOBS = grid_blobs(600, 4, 6)
NOT_EQUIVALENT = "draws are keyed by row: a row of weight 2 is drawn otherwise than two rows"


@parametrize_with_checks(
    [BisectingKMeans()],
    expected_failed_checks=lambda _: {  # the two that scikit-learn's is excused from
        "check_sample_weight_equivalence_on_dense_data": NOT_EQUIVALENT,
        "check_sample_weight_equivalence_on_sparse_data": NOT_EQUIVALENT,
    },
)
def test_scikit_learn_conventions(estimator, check):
    check(estimator)


@pytest.mark.parametrize("strategy", ["biggest_inertia", "largest_cluster"])
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
def test_the_tree_of_scikit_learn(strategy, form):
    """Along a line of gaps that shrink, 2-means ends the same from almost any two rows."""
    centers = np.array([[0.0, 0], [2, 0], [12, 0], [17, 0], [100, 0], [130, 0], [170, 0]])
    X, _ = make_blobs(
        [40, 60, 80, 50, 70, 90, 30], centers=centers, cluster_std=0.1, random_state=0
    )
    how = {"n_clusters": 5, "n_init": 8, "bisecting_strategy": strategy, "random_state": 0}
    ours, theirs = BisectingKMeans(**how).fit(form(X)), Reference(**how).fit(X)
    assert adjusted_rand_score(ours.labels_, theirs.labels_) == 1.0
    np.testing.assert_allclose(ours.inertia_, theirs.inertia_, rtol=1e-9)
    np.testing.assert_array_equal(ours.predict(form(X)), ours.labels_)
    np.testing.assert_array_equal(ours.labels_.dtype, theirs.labels_.dtype)


@pytest.mark.parametrize("init", ["random", "k-means++"])
def test_as_good_as_scikit_learns(init):
    X = load_digits().data
    ours = [BisectingKMeans(10, init=init, random_state=s).fit(X).inertia_ for s in range(5)]
    theirs = [Reference(10, init=init, random_state=s).fit(X).inertia_ for s in range(5)]
    assert np.mean(ours) < 1.02 * np.mean(theirs)


@pytest.mark.parametrize("init", ["random", "k-means++"])
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
def test_chunks_and_far_origins_change_nothing(init, form):
    X, weight = np.where(BLOBS > -4, BLOBS, 0.0), row_weights(600)
    model = BisectingKMeans(6, init=init, n_init=2, random_state=0)
    whole = clone(model).fit(form(X), sample_weight=weight)
    lazy = da.from_array(X, chunks=((5, 0, 295, 300), 4))
    if form is not np.asarray:
        lazy = lazy.map_blocks(sparse.csr_matrix)
    parts = clone(model).fit(lazy, sample_weight=weight)
    np.testing.assert_array_equal(whole.cluster_centers_, parts.cluster_centers_)
    np.testing.assert_allclose(whole.inertia_, parts.inertia_, rtol=1e-12)
    np.testing.assert_allclose(
        -whole.score(form(X), sample_weight=weight), whole.inertia_, rtol=0.2
    )
    if form is np.asarray:
        far = clone(model).fit(X + 1e8, sample_weight=weight)
        np.testing.assert_array_equal(far.labels_, whole.labels_)


def test_clusters_are_split_side_by_side():
    model = BisectingKMeans(16, random_state=0).fit(BLOBS)
    draws = [entry["name"] for entry in model.history_].count("bisect-draw")
    assert draws <= 8  # 15 splits, one after the other, would be 15
    counts = np.bincount(model.labels_, minlength=16)
    assert (counts > 0).all()
    for k in range(16):
        own = BLOBS[model.labels_ == k]
        np.testing.assert_allclose(model.cluster_centers_[k], own.mean(axis=0), atol=0.05)


@pytest.mark.parametrize("init", ["random", "k-means++"])
@pytest.mark.parametrize("strategy", ["biggest_inertia", "largest_cluster"])
def test_equal_rows_cost_no_cluster(init, strategy):
    rng = np.random.default_rng(0)
    points, copies = rng.normal(size=(5, 3)), np.array([300, 5, 20, 1, 4])
    X = np.repeat(points, copies, axis=0)
    order = rng.permutation(len(X))
    for seed in range(4):
        how = {"init": init, "bisecting_strategy": strategy, "random_state": seed}
        model = BisectingKMeans(5, **how)
        assert [len(set(model.fit(X).labels_[X[:, 0] == x])) for x in points[:, 0]] == [1] * 5
        found = [
            model.fit(X),
            clone(model).fit(X[order]),
            clone(model).fit(da.from_array(X, chunks=((7, 293, 30), 3))),
            clone(model).fit(sparse.csr_array(X)),
            clone(model).fit(points, sample_weight=copies),
        ]
        for one in found:
            np.testing.assert_allclose(
                np.sort(one.cluster_centers_, axis=0), np.sort(points, axis=0), atol=1e-12
            )
            np.testing.assert_allclose(one.inertia_, 0, atol=1e-20)
    zeros = np.where(rng.random((1000, 1)) < 0.9, 0.0, rng.normal(size=(1000, 3)))
    assert np.bincount(BisectingKMeans(6, **how).fit(zeros).labels_, minlength=6).all()


def test_a_split_begins_on_a_sample_of_many_rows(monkeypatch):
    X, _ = make_blobs(20_000, 5, centers=12, cluster_std=3.0, random_state=0)
    weight, model = row_weights(len(X)), BisectingKMeans(6, random_state=0)
    whole = clone(model).fit(X, sample_weight=weight)
    lazy = da.from_array(X, chunks=((5, 0, 11_995, 8_000), 5))
    parts = clone(model).fit(lazy, sample_weight=weight)
    np.testing.assert_array_equal(parts.cluster_centers_, whole.cluster_centers_)

    def fitted():
        models = [BisectingKMeans(8, random_state=seed).fit(X) for seed in range(3)]
        n_rounds = [sum(one["name"] == "bisect" for one in m.history_) for m in models]
        return sum(n_rounds), np.median([m.inertia_ for m in models])

    sampled = fitted()
    monkeypatch.setattr(splitting, "sample_size", lambda *_: 0)
    alone = fitted()
    assert sampled[0] < 0.7 * alone[0]
    assert sampled[1] < 1.02 * alone[1]


def test_edges():
    one = BisectingKMeans(1).fit(BLOBS)
    np.testing.assert_allclose(one.cluster_centers_[0], BLOBS.mean(axis=0))
    np.testing.assert_allclose(one.inertia_, BLOBS.var(axis=0).sum() * 600)
    each = BisectingKMeans(12, random_state=0).fit(BLOBS[:12])
    assert each.inertia_ == 0
    same = BisectingKMeans(3, random_state=0).fit(np.ones((5, 2)))
    assert same.inertia_ == 0


def ends(X, n_clusters, random_state):
    """The two rows that lie farthest apart along the first column, and some randomness that shows."""
    assert n_clusters == 2
    assert isinstance(random_state, np.random.RandomState)
    column = X[:, [0]].toarray().ravel() if sparse.issparse(X) else X[:, 0]
    both = X[[int(np.argmin(column)), int(np.argmax(column))]]
    return both.toarray() if sparse.issparse(both) else both


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
def test_a_callable_is_given_the_rows_of_a_cluster(form, monkeypatch):
    seen = []

    def init(X, n_clusters, random_state):
        seen.append(X)
        return ends(X, n_clusters, random_state)

    model = BisectingKMeans(6, init=init, random_state=0)
    ours, theirs = clone(model).fit(form(BLOBS)), Reference(6, init=ends).fit(BLOBS)
    assert adjusted_rand_score(ours.labels_, theirs.labels_) == 1.0
    np.testing.assert_allclose(ours.inertia_, theirs.inertia_, rtol=1e-9)
    assert type(seen[0]) is type(form(BLOBS))
    np.testing.assert_array_equal(seen[0] @ np.eye(4), BLOBS)  # all of them, in their order
    lazy = da.from_array(BLOBS, chunks=((5, 0, 295, 300), 4)).map_blocks(form)
    found = clone(model).fit(lazy)
    np.testing.assert_array_equal(found.cluster_centers_, ours.cluster_centers_)
    seen.clear()
    reduce, brought = LocalExecutor.reduce, []

    def counted(self, data, reduction, params, **how):
        total = reduce(self, data, reduction, params, **how)
        if reduction.name == "bisect-draw":
            brought.append(sum(len(one.points) for one in total))
        return total

    monkeypatch.setattr(LocalExecutor, "reduce", counted)
    monkeypatch.setattr(splitting, "most_given", lambda _: 250)
    clone(model).set_params(n_clusters=12, n_init=2).fit(lazy)
    assert max(X.shape[0] for X in seen) == max(brought) == 250  # of all clusters at a time
    assert sum(X.shape[0] for X in seen) == 2 * sum(brought)
    assert len(seen) > 2 * len(brought)  # small ones share a pass


@pytest.mark.parametrize(
    ("centers", "message"),
    [
        (BLOBS[:3], r"initial centers \(3, 4\) does not match the number of clusters 2"),
        (BLOBS[:2, :3], r"initial centers \(2, 3\) does not match the number of features"),
        (np.full((2, 4), np.nan), r"(?s)contains NaN.*init must be, or return, .* shape \(2, 4\)"),
        (None, r"(?s)Expected 2D array.*init must be, or return, .* shape \(2, 4\)"),
    ],
)
def test_what_a_callable_returns_is_checked(centers, message):
    for kind in (BisectingKMeans, KMeans):
        with pytest.raises(InvalidDataError, match=message):
            kind(n_clusters=2, init=lambda X, k, random_state: centers).fit(BLOBS)


@pytest.mark.cluster
def test_on_a_cluster(client):
    lazy = da.from_array(BLOBS, chunks=(100, 4))
    given = [BisectingKMeans(6, init=lambda X, k, random_state: X[:k]) for _ in range(2)]
    found = [one.fit(X).cluster_centers_ for one, X in zip(given, (lazy, BLOBS), strict=True)]
    np.testing.assert_array_equal(*found)
    model, local = (BisectingKMeans(6, random_state=0).fit(X) for X in (lazy, BLOBS))
    np.testing.assert_array_equal(model.cluster_centers_, local.cluster_centers_)
    np.testing.assert_array_equal(model.predict(lazy).compute(), local.labels_)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"init": BLOBS[:2]}, r"init must be one of \['random', 'k-means\+\+'\] or a callable"),
        ({"bisecting_strategy": "x"}, "bisecting_strategy must be one of"),
        ({"n_init": 0}, "n_init must be an int at least 1, got 0"),
    ],
)
def test_impossible_parameters(params, message):
    with pytest.raises(InvalidParameterError, match=message):
        BisectingKMeans(**params).fit(BLOBS)
