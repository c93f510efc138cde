"""SpectralClustering: shapes that k-means cannot tell apart, and whatever must not matter."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.cluster import SpectralClustering as Reference
from sklearn.cluster._spectral import cluster_qr
from sklearn.datasets import make_blobs, make_circles
from sklearn.metrics import adjusted_rand_score
from sklearn.utils.estimator_checks import parametrize_with_checks

from daskml_kit.cluster import SpectralClustering
from daskml_kit.exceptions import InvalidDataError, InvalidDataTypeError, InvalidParameterError

WAYS = ["kmeans", "discretize", "cluster_qr"]
CIRCLES, INNER = make_circles(400, factor=0.4, noise=0.04, random_state=0)


@parametrize_with_checks([SpectralClustering(n_init=2)])
def test_scikit_learn_conventions(estimator, check):
    check(estimator)


@pytest.mark.parametrize("assign_labels", WAYS)
def test_circles_are_told_apart_as_by_scikit_learn(assign_labels):
    how = {"n_clusters": 2, "gamma": 20.0, "random_state": 0, "assign_labels": assign_labels}
    ours = SpectralClustering(**how, n_landmarks=150).fit(CIRCLES)
    theirs = Reference(**how).fit(CIRCLES)
    assert adjusted_rand_score(ours.labels_, theirs.labels_) == 1.0
    assert adjusted_rand_score(ours.labels_, INNER) == 1.0
    np.testing.assert_array_equal(ours.predict(CIRCLES), ours.labels_)
    ours.set_params(assign_labels="kmeans" if assign_labels == "cluster_qr" else "cluster_qr")
    np.testing.assert_array_equal(ours.predict(CIRCLES), ours.labels_)  # as it was fitted
    assert (ours.eigenvalues_ <= 1 + 1e-9).all()  # a normalised affinity's are at most 1
    new, which = make_circles(100, factor=0.4, noise=0.02, random_state=1)
    assert adjusted_rand_score(ours.predict(new), which) == 1.0


def test_pivots_are_those_of_the_whole_factorisation():
    """Small clusters have the longest rows, more of them than come back: other pivots take further rounds."""
    sizes = [400, 500, 900, 1500]
    X, _ = make_blobs(sizes, 2, centers=[[0, 0], [4, 0], [0, 4], [4, 4]], random_state=0)
    how = {"gamma": 0.5, "n_landmarks": 60, "assign_labels": "cluster_qr", "random_state": 0}
    model = SpectralClustering(4, **how).fit(X)
    np.testing.assert_array_equal(model.labels_, cluster_qr(model._features(X)))
    rounds = [entry["name"] for entry in model.history_].count("pivots")
    assert 2 <= rounds <= 4
    parts = SpectralClustering(4, **how).fit(da.from_array(X, chunks=((5, 0, 1795, 1500), 2)))
    np.testing.assert_allclose(parts.cluster_centers_, model.cluster_centers_, atol=1e-6)


@pytest.mark.parametrize("assign_labels", WAYS)
def test_as_many_clusters_as_scikit_learn_makes(assign_labels):
    X, _ = make_blobs(80, centers=[[0, 0], [9, 0], [0, 9], [9, 9]], random_state=0)
    how = {"n_components": 4, "gamma": 0.2, "assign_labels": assign_labels, "random_state": 0}
    ours, theirs = SpectralClustering(3, **how).fit(X), Reference(3, **how).fit(X)
    assert len(set(ours.labels_)) == len(set(theirs.labels_))
    assert ours.cluster_centers_.shape == (len(set(theirs.labels_)), 4)


def test_with_all_rows_as_landmarks_the_eigenvalues_are_exact():
    X, _ = make_blobs(60, 2, centers=3, random_state=0)
    affinity = np.exp(-0.5 * ((X[:, None] - X) ** 2).sum(axis=2))
    root = 1 / np.sqrt(affinity.sum(axis=1))
    exact = np.linalg.eigvalsh(affinity * root * root[:, None])[::-1][:3]
    model = SpectralClustering(3, gamma=0.5, n_landmarks=60, random_state=0).fit(X)
    np.testing.assert_allclose(model.eigenvalues_, exact, rtol=1e-6)


def alike(x, z, width=1.0):
    return np.exp(-np.abs(x - z).sum() / width)


@pytest.mark.parametrize(
    ("form", "params"),
    [
        (np.asarray, {"affinity": "laplacian", "gamma": 0.5}),
        (np.asarray, {"affinity": "poly", "degree": 2, "coef0": 2.0, "gamma": 0.1}),
        (np.asarray, {"affinity": "chi2", "gamma": 0.5}),
        (np.asarray, {"affinity": "sigmoid", "gamma": 0.01, "coef0": 0.5}),
        (np.asarray, {"affinity": alike, "kernel_params": {"width": 2.0}}),
        (sparse.csr_array, {"affinity": "cosine"}),
        (sparse.csr_array, {"affinity": "laplacian", "gamma": 0.5}),
    ],
)
def test_any_kernel_clusters_as_scikit_learns_does(form, params):
    centers = [[9.0, 1, 1], [1, 9, 1], [1, 1, 9]]
    X, _ = make_blobs(60, centers=centers, cluster_std=0.3, random_state=0)
    ours = SpectralClustering(3, n_landmarks=60, n_init=2, random_state=0, **params)
    theirs = Reference(3, random_state=0, **params).fit(X)
    assert adjusted_rand_score(ours.fit_predict(form(X)), theirs.labels_) == 1.0
    assert adjusted_rand_score(ours.predict(form(X)), theirs.labels_) == 1.0


def test_chi2_says_what_rows_it_takes():
    with pytest.raises(InvalidDataError, match="takes values of at least 0, got -"):
        SpectralClustering(2, affinity="chi2").fit(CIRCLES)
    with pytest.raises(InvalidDataTypeError, match="takes dense rows, got sparse ones"):
        SpectralClustering(2, affinity="chi2").fit(sparse.csr_array(np.abs(CIRCLES)))


@pytest.mark.parametrize(
    ("affinity", "message"),
    [
        ("cosine", r"'cosine' is negative between rows, so that \d+ of 200 rows have no positive"),
        (lambda a, b: np.nan, "holds NaN or infinity, or is 0 for all"),
        (lambda a, b: 0.0, "holds NaN or infinity, or is 0 for all"),
    ],
)
def test_affinities_that_order_nothing_are_refused(affinity, message):
    X = np.random.default_rng(0).normal(size=(200, 2))
    with pytest.raises(InvalidDataError, match=message):
        SpectralClustering(2, affinity=affinity, random_state=0).fit(X - X.mean(axis=0))


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
def test_chunks_change_nothing(form):
    model = SpectralClustering(2, gamma=20.0, n_landmarks=100, n_init=3, random_state=0)
    whole = clone(model).fit(form(CIRCLES))
    lazy = da.from_array(CIRCLES, chunks=((5, 0, 195, 200), 2)).map_blocks(form)
    parts = clone(model).fit(lazy)
    np.testing.assert_array_equal(parts.predict(lazy).compute(), whole.labels_)
    names = [entry["name"] for entry in parts.history_]
    assert names[:4] == ["load", "survey", "degrees", "affinity"]


@pytest.mark.cluster
def test_on_a_cluster(client):
    lazy = da.from_array(CIRCLES, chunks=(100, 2))
    model = SpectralClustering(2, gamma=20.0, n_landmarks=100, n_init=2, random_state=0)
    labels = model.fit_predict(lazy)
    assert adjusted_rand_score(labels.compute(), INNER) == 1.0
    local = clone(model).fit(CIRCLES)
    # rounding, by which the sums of the chunks differ, must not choose the signs of the eigenvectors
    for chunks in (70, 100, 200):
        lazy = da.from_array(CIRCLES, chunks=(chunks, 2))
        found = clone(local).fit(lazy).cluster_centers_
        np.testing.assert_allclose(found, local.cluster_centers_, atol=1e-6)


@pytest.mark.cluster
@pytest.mark.parametrize("assign_labels", WAYS)
def test_equal_eigenvalues_turn_nothing(client, assign_labels):
    """Of clusters without affinity all eigenvalues are 1: any rotation of the vectors is as good."""
    X, true = make_blobs(400, centers=[[0, 0], [50, 0], [0, 50], [50, 50]], random_state=0)
    how = {"assign_labels": assign_labels, "n_landmarks": 60, "n_init": 2, "random_state": 0}
    local = SpectralClustering(4, gamma=0.3, **how).fit(X)
    np.testing.assert_allclose(local.eigenvalues_, 1.0, rtol=1e-12)
    assert adjusted_rand_score(local.labels_, true) == 1.0
    for chunks in (70, 200):
        lazy = da.from_array(X, chunks=(chunks, 2))
        found = SpectralClustering(4, gamma=0.3, **how).fit(lazy)
        np.testing.assert_allclose(found.cluster_centers_, local.cluster_centers_, atol=1e-9)
        np.testing.assert_array_equal(found.predict(lazy).compute(), local.labels_)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"affinity": "cubic"}, "affinity must be one of .* or a callable, got 'cubic'"),
        ({"affinity": "nearest_neighbors"}, "is a graph of all rows, not a function of two"),
        ({"affinity": "additive_chi2"}, "is never above 0, but an affinity must not be negative"),
        (
            {"assign_labels": "best"},
            "assign_labels must be 'kmeans', 'discretize' or 'cluster_qr', got",
        ),
        ({"eigen_solver": "lapack"}, "eigen_solver must be None, 'arpack', 'lobpcg' or 'amg'"),
        ({"eigen_tol": -1.0}, "eigen_tol must be 'auto' or a number >= 0, got -1.0"),
        ({"kernel_params": [1]}, "kernel_params must be a dict or None"),
        ({"verbose": "a"}, "verbose must be an int at least 0, or a bool, got 'a'"),
        ({"degree": -1}, "degree must be a number >= 0, got -1"),
        ({"n_landmarks": 0}, "n_landmarks must be an integer >= 1, got 0"),
        ({"gamma": -1}, "gamma must be a number >= 0, got -1"),
    ],
)
def test_impossible_parameters(params, message):
    with pytest.raises(InvalidParameterError, match=message):
        SpectralClustering(**params).fit(CIRCLES)
