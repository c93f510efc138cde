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

from daskml_kit.cluster import KMeans, MiniBatchKMeans
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
    model = MiniBatchKMeans(5, init=init, random_state=0).fit(BLOBS)
    assert np.abs(model.cluster_centers_).max() < 100


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
    ],
)
def test_impossible_parameters(params, message):
    with pytest.raises(InvalidParameterError, match=message):
        MiniBatchKMeans(**params).fit(BLOBS)
