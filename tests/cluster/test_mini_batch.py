"""MiniBatchKMeans against scikit-learn's in quality, and whatever must not matter."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.cluster import MiniBatchKMeans as Reference
from sklearn.datasets import load_digits
from sklearn.utils.estimator_checks import parametrize_with_checks

from daskml_kit.cluster import KMeans, MiniBatchKMeans, mini_batch
from daskml_kit.cluster.starts import Sampled
from daskml_kit.exceptions import InvalidParameterError
from tests.cluster.data import grid_blobs, row_weights

BLOBS = grid_blobs(600, 4, 5)
NOT_EQUIVALENT = "batches are drawn by row: a row of weight 2 is drawn otherwise than two rows"


@parametrize_with_checks(
    [MiniBatchKMeans()],
    expected_failed_checks=lambda _: {  # the two that scikit-learn's is excused from
        "check_sample_weight_equivalence_on_dense_data": NOT_EQUIVALENT,
        "check_sample_weight_equivalence_on_sparse_data": NOT_EQUIVALENT,
    },
)
def test_scikit_learn_conventions(estimator, check):
    check(estimator)


def test_as_good_as_scikit_learns():
    X = load_digits().data
    ours = [MiniBatchKMeans(10, random_state=s).fit(X).inertia_ for s in range(6)]
    theirs = [Reference(10, random_state=s).fit(X).inertia_ for s in range(6)]
    assert np.mean(ours) < 1.03 * np.mean(theirs)


def test_a_batch_of_all_rows_is_a_step_of_lloyds_algorithm():
    init = BLOBS[:5]
    ours = MiniBatchKMeans(5, init=init, reassignment_ratio=0).partial_fit(BLOBS)
    theirs = Reference(5, init=init, n_init=1, reassignment_ratio=0).partial_fit(BLOBS)
    np.testing.assert_allclose(ours.cluster_centers_, theirs.cluster_centers_, rtol=1e-12)
    for part in (BLOBS[:200], BLOBS[100:450] + 1):
        ours.partial_fit(part)
        theirs.partial_fit(part)
        np.testing.assert_allclose(ours.cluster_centers_, theirs.cluster_centers_, rtol=1e-12)
        np.testing.assert_array_equal(ours.labels_, theirs.labels_)
    assert ours.n_steps_ == theirs.n_steps_ == 3


@pytest.mark.parametrize("init", ["k-means++", "k-means||", "random"])
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
def test_chunks_and_far_origins_change_nothing(init, form):
    X, weight = np.where(BLOBS > -4, BLOBS, 0.0), row_weights(600)
    model = MiniBatchKMeans(5, init=init, batch_size=64, n_init=2, random_state=0)
    whole = clone(model).fit(form(X), sample_weight=weight)
    lazy = da.from_array(X, chunks=((5, 0, 295, 300), 4))
    if form is not np.asarray:
        lazy = lazy.map_blocks(sparse.csr_matrix)
    parts = clone(model).fit(lazy, sample_weight=weight)
    np.testing.assert_array_equal(whole.cluster_centers_, parts.cluster_centers_)
    assert whole.n_steps_ == parts.n_steps_
    if form is np.asarray:
        far = clone(model).fit(X + 1e8, sample_weight=weight)
        np.testing.assert_array_equal(far.labels_, whole.labels_)


def test_the_order_of_rows_changes_no_step_of_all_of_them():
    order, weight = np.random.default_rng(0).permutation(600), row_weights(600)
    model = MiniBatchKMeans(5, init=BLOBS[:5], reassignment_ratio=0)
    whole, mixed = clone(model), clone(model)
    for _ in range(4):
        whole.partial_fit(BLOBS, sample_weight=weight)
        mixed.partial_fit(BLOBS[order], sample_weight=weight[order])
    np.testing.assert_allclose(mixed.cluster_centers_, whole.cluster_centers_, rtol=1e-12)
    np.testing.assert_array_equal(mixed.labels_, whole.labels_[order])


def test_what_it_costs():
    model = MiniBatchKMeans(5, batch_size=50, random_state=0).fit(BLOBS)
    names = [entry["name"] for entry in model.history_]
    assert names.count("mini-batch") == model.n_steps_
    assert model.n_passes_ == model.n_rounds_ - model.n_steps_  # a step reads its batch only
    assert model.n_iter_ == np.ceil(model.n_steps_ * 50 / 600)
    assert model.inertia_ < 1.2 * KMeans(5, random_state=0).fit(BLOBS).inertia_
    estimated = MiniBatchKMeans(5, batch_size=50, random_state=0, compute_labels=False).fit(BLOBS)
    assert estimated.inertia_ == pytest.approx(model.inertia_, rel=0.3)
    with pytest.raises(AttributeError, match="compute_labels=False"):
        _ = estimated.labels_


def test_centres_without_rows_are_moved_to_rows():
    init = np.concatenate([BLOBS[:4], np.full((1, 4), 1e4)])
    for weight in (None, row_weights(600)):
        fitted = MiniBatchKMeans(5, init=init, random_state=0).fit(BLOBS, sample_weight=weight)
        step = MiniBatchKMeans(5, init=init).partial_fit(BLOBS, sample_weight=weight)
        assert np.abs(fitted.cluster_centers_).max() < 100
        assert np.abs(step.cluster_centers_).max() < 100


def far_where_weightless(n_live):
    """BLOBS of which only some weigh anything; the others lie far away, each elsewhere."""
    X, weight = BLOBS.copy(), np.zeros(600)
    weight[np.random.default_rng(0).choice(600, n_live, replace=False)] = 1.0
    X[weight == 0] += 1e6 + 1e3 * np.arange(600 - n_live)[:, None]
    return X, weight


def test_rows_without_weight_are_in_no_batch_and_no_centre():
    X, weight = far_where_weightless(120)
    for params in ({"n_clusters": 5}, {"n_clusters": 40, "max_iter": 3}):
        model = MiniBatchKMeans(batch_size=50, random_state=0, **params)
        found = clone(model).fit(X, sample_weight=weight)
        assert np.abs(found.cluster_centers_).max() < 100
        lazy = da.from_array(X, chunks=((7, 0, 293, 300), 4))
        parts = clone(model).fit(lazy, sample_weight=weight)
        np.testing.assert_array_equal(parts.cluster_centers_, found.cluster_centers_)
        found.partial_fit(X, sample_weight=weight)
        assert np.abs(found.cluster_centers_).max() < 100
    alone = [KMeans(5, random_state=s).fit(X, sample_weight=weight).inertia_ for s in range(3)]
    fits = [
        MiniBatchKMeans(5, batch_size=50, random_state=s).fit(X, sample_weight=weight).inertia_
        for s in range(3)
    ]
    assert np.median(fits) < 1.5 * min(alone)


def test_weights_count_once():
    """A weight is the chance to be drawn: of each row, and of rows that come twice."""
    twice = np.concatenate([BLOBS, BLOBS[:300]])
    weight = np.where(np.arange(600) < 300, 2.0, 1.0)
    model = MiniBatchKMeans(1, random_state=0, batch_size=200, max_no_improvement=None)
    even = clone(model).fit(twice).cluster_centers_
    weighted = clone(model).fit(BLOBS, sample_weight=weight).cluster_centers_
    # 90,000 rows of deviation 7 were drawn for each: 0.02, four of them and more
    np.testing.assert_allclose(weighted, even, atol=0.15)
    np.testing.assert_allclose(weighted[0], twice.mean(axis=0), atol=0.15)
    steps = [MiniBatchKMeans(5, init=BLOBS[:5], reassignment_ratio=0) for _ in range(2)]
    for _ in range(3):  # exact where all rows are a batch
        steps[0].partial_fit(twice)
        steps[1].partial_fit(BLOBS, sample_weight=weight)
    np.testing.assert_allclose(steps[1].cluster_centers_, steps[0].cluster_centers_, rtol=1e-12)
    np.testing.assert_allclose(steps[1].inertia_, steps[0].inertia_)


@pytest.mark.parametrize("scale", [0.1, 1.0, 1e9])
def test_weights_that_are_all_the_same_change_nothing_but_the_inertia(scale):
    model = MiniBatchKMeans(5, batch_size=64, random_state=0)
    even, weighted = clone(model).fit(BLOBS), clone(model).fit(BLOBS, sample_weight=scale)
    np.testing.assert_array_equal(weighted.cluster_centers_, even.cluster_centers_)
    assert weighted.inertia_ == pytest.approx(scale * even.inertia_)
    guess = clone(model).set_params(compute_labels=False)
    guess.fit(BLOBS, sample_weight=scale * row_weights(600))
    true = -guess.score(BLOBS, sample_weight=scale * row_weights(600))
    assert guess.inertia_ == pytest.approx(true, rel=0.3)


def test_blocks_cut_elsewhere_are_measured_again(monkeypatch):
    model = MiniBatchKMeans(5, batch_size=64, random_state=0, init="random", reassignment_ratio=0.5)
    calm = clone(model).fit(BLOBS, sample_weight=row_weights(600))
    find, found = mini_batch.line_of, []

    def nothing_known_at_first(executor, data):
        line = find(executor, data)
        found.append(line)
        return line._replace(starts=line.starts + 1) if len(found) == 1 else line

    monkeypatch.setattr(mini_batch, "line_of", nothing_known_at_first)
    moved = clone(model).fit(BLOBS, sample_weight=row_weights(600))
    assert len(found) == 2
    np.testing.assert_array_equal(moved.cluster_centers_, calm.cluster_centers_)


def test_hard_cases():
    few = np.arange(12.0).reshape(6, 2)
    each = MiniBatchKMeans(6, random_state=0, reassignment_ratio=0).fit(few)  # k = n
    assert sorted(each.labels_) == list(range(6))
    assert each.inertia_ == 0.0
    one = MiniBatchKMeans(1, random_state=0, max_no_improvement=None).fit(few)
    np.testing.assert_allclose(one.cluster_centers_[0], few.mean(axis=0), atol=0.2)
    again = np.repeat(few[:3], 50, axis=0)  # duplicates, more clusters than different rows
    for k, n_labels in [(3, 3), (5, 3)]:
        model = MiniBatchKMeans(k, random_state=0, batch_size=30).fit(again)
        assert len(set(model.labels_)) == n_labels
        assert model.inertia_ < 1e-20
    flat = MiniBatchKMeans(3, random_state=0).fit(np.full((50, 2), 7.5))
    np.testing.assert_array_equal(flat.cluster_centers_, np.full((3, 2), 7.5))
    assert flat.inertia_ == 0.0
    lazy = da.from_array(BLOBS, chunks=((2, 1, 0, 3, 594), 4))  # blocks with fewer rows than k
    whole = MiniBatchKMeans(5, random_state=0).fit(BLOBS)
    parts = MiniBatchKMeans(5, random_state=0).fit(lazy)
    np.testing.assert_array_equal(parts.cluster_centers_, whole.cluster_centers_)


def test_no_digit_is_lost_to_float32():
    model = MiniBatchKMeans(5, random_state=0).partial_fit(BLOBS)
    before = model.cluster_centers_
    model.partial_fit(BLOBS[:50].astype(np.float32))
    assert model.cluster_centers_.dtype == np.float64
    wide = clone(model).partial_fit(BLOBS).partial_fit(BLOBS[:50])
    np.testing.assert_array_equal(model.cluster_centers_, wide.cluster_centers_)
    assert not np.array_equal(model.cluster_centers_, before)
    narrow = MiniBatchKMeans(5, random_state=0).partial_fit(BLOBS.astype(np.float32))
    assert narrow.cluster_centers_.dtype == np.float32
    assert narrow.partial_fit(BLOBS).cluster_centers_.dtype == np.float64


def test_the_size_of_the_sample_is_scikit_learns():
    def size(**params):
        model = MiniBatchKMeans(20, **params)
        return model._sized(Sampled(20, 1, 0, 4), 600).size

    assert size(init_size=20) == 20
    assert size(init_size=45) == 45
    assert size(batch_size=100) == 300
    assert size() == 1_800  # of a batch of all rows
    assert size(batch_size=5) == 60
    with pytest.warns(
        RuntimeWarning, match=r"init_size=4 should be larger than n_clusters=20. Set"
    ):
        assert size(init_size=4) == 60
    assert len(MiniBatchKMeans(20, init_size=20, random_state=0).fit(BLOBS).cluster_centers_) == 20


@pytest.mark.cluster
def test_on_a_cluster(client):
    lazy = da.from_array(BLOBS, chunks=(100, 4))
    model = MiniBatchKMeans(5, batch_size=100, random_state=0).fit(lazy)
    local = MiniBatchKMeans(5, batch_size=100, random_state=0).fit(BLOBS)
    np.testing.assert_array_equal(model.cluster_centers_, local.cluster_centers_)
    np.testing.assert_array_equal(model.predict(lazy).compute(), local.labels_)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"batch_size": 0}, "batch_size must be an int at least 1, got 0"),
        ({"max_no_improvement": -1}, "max_no_improvement must be an integer >= 0, got -1"),
        ({"reassignment_ratio": "x"}, "reassignment_ratio must be a number >= 0, got 'x'"),
        ({"init_size": 0}, "init_size must be an integer >= 1, got 0"),
        ({"init": "best"}, "init must be one of"),
        ({"compute_labels": "x"}, "compute_labels must be True or False, got 'x'"),
    ],
)
def test_impossible_parameters(params, message):
    with pytest.raises(InvalidParameterError, match=message):
        MiniBatchKMeans(**params).fit(BLOBS)
