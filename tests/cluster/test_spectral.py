"""SpectralClustering: shapes that k-means cannot tell apart, and whatever must not matter."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.cluster import SpectralClustering as Reference
from sklearn.datasets import make_blobs, make_circles
from sklearn.metrics import adjusted_rand_score
from sklearn.utils.estimator_checks import parametrize_with_checks

from daskml_kit.cluster import SpectralClustering
from daskml_kit.exceptions import InvalidParameterError

CIRCLES, INNER = make_circles(400, factor=0.4, noise=0.04, random_state=0)


@parametrize_with_checks([SpectralClustering(n_init=2)])
def test_scikit_learn_conventions(estimator, check):
    check(estimator)


def test_circles_are_told_apart_as_by_scikit_learn():
    how = {"n_clusters": 2, "gamma": 20.0, "random_state": 0}
    ours = SpectralClustering(**how, n_landmarks=150).fit(CIRCLES)
    theirs = Reference(**how).fit(CIRCLES)
    assert adjusted_rand_score(ours.labels_, theirs.labels_) == 1.0
    assert adjusted_rand_score(ours.labels_, INNER) == 1.0
    np.testing.assert_array_equal(ours.predict(CIRCLES), ours.labels_)
    assert (ours.eigenvalues_ <= 1 + 1e-9).all()  # a normalised affinity's are at most 1
    new, which = make_circles(100, factor=0.4, noise=0.02, random_state=1)
    assert adjusted_rand_score(ours.predict(new), which) == 1.0


def test_with_all_rows_as_landmarks_the_eigenvalues_are_exact():
    X, _ = make_blobs(60, 2, centers=3, random_state=0)
    affinity = np.exp(-0.5 * ((X[:, None] - X) ** 2).sum(axis=2))
    root = 1 / np.sqrt(affinity.sum(axis=1))
    exact = np.linalg.eigvalsh(affinity * root * root[:, None])[::-1][:3]
    model = SpectralClustering(3, gamma=0.5, n_landmarks=60, random_state=0).fit(X)
    np.testing.assert_allclose(model.eigenvalues_, exact, rtol=1e-6)


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


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"affinity": "cosine"}, "affinity must be 'rbf', got 'cosine'"),
        ({"n_landmarks": 0}, "n_landmarks must be an integer >= 1, got 0"),
        ({"gamma": -1}, "gamma must be a number >= 0, got -1"),
    ],
)
def test_impossible_parameters(params, message):
    with pytest.raises(InvalidParameterError, match=message):
        SpectralClustering(**params).fit(CIRCLES)
