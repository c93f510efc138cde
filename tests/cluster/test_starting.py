"""The start alone."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from scipy import sparse
from sklearn.cluster import kmeans_plusplus

import daskml_kit
from daskml_kit.cluster import KMeans, k_means_parallel
from daskml_kit.cluster.parallel import ROUNDS
from daskml_kit.exceptions import InvalidDataError, InvalidParameterError
from daskml_kit.kernels import naive
from tests.cluster.data import grid_blobs, row_weights

X = grid_blobs(6_000, 4, 12)


def cost(centers: np.ndarray) -> float:
    return float(naive.nearest(X, centers)[1].sum())


def test_it_costs_no_more_than_k_means_plusplus():
    seeds = range(5)
    ours = [cost(k_means_parallel(X, 10, random_state=s)) for s in seeds]
    theirs = [cost(kmeans_plusplus(X, 10, random_state=s)[0]) for s in seeds]
    assert np.median(ours) <= np.median(theirs)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("weighted", [False, True])
def test_any_chunks_give_the_same_centres(dtype, weighted):
    rows, weight = X.astype(dtype), row_weights(len(X)) if weighted else None
    # two clusters, so that a sample of the rows weighs the candidates
    whole = k_means_parallel(rows, 2, sample_weight=weight, random_state=3)
    sizes = (5, 3_000, 0, 2_995)
    lazy = da.from_array(rows, chunks=(sizes, (4,)))
    parts = None if weight is None else da.from_array(weight, chunks=(sizes,))
    assert whole.shape == (2, 4)
    assert whole.dtype == dtype
    np.testing.assert_array_equal(
        k_means_parallel(lazy, 2, sample_weight=parts, random_state=3), whole
    )


def test_sparse_rows_and_rows_far_away_start_alike():
    dense = k_means_parallel(X, 5, random_state=0)
    near = k_means_parallel(sparse.csr_array(X), 5, random_state=0)
    far = k_means_parallel(X + 2.0**27, 5, random_state=0)
    np.testing.assert_allclose(near, dense, rtol=1e-9)
    np.testing.assert_allclose(far - 2.0**27, dense, atol=2.0**-25)


def test_its_rounds_are_those_of_the_paper():
    with daskml_kit.record() as run:
        k_means_parallel(X, 5, random_state=0, n_rounds=3)
    names = [one.name for one in run.rounds]
    assert names == ["load", "survey", *["kmeans-parallel"] * 3, "weigh"]
    assert ROUNDS == 5


def test_few_rows_and_odd_requests():
    same = k_means_parallel(np.ones((6, 2)), 3, random_state=0)
    np.testing.assert_array_equal(same, np.ones((3, 2)))
    assert k_means_parallel(X[:4], 4, random_state=0).shape == (4, 4)
    # more rows than there are: each is a candidate
    assert k_means_parallel(X[:40], 4, random_state=0, oversampling_factor=20).shape == (4, 4)
    started = KMeans(5, init=k_means_parallel(X, 5, random_state=1), n_init=1).fit(X)
    assert started.n_iter_ < 10
    with pytest.raises(InvalidDataError, match="n_samples=3 should be >= n_clusters=4"):
        k_means_parallel(X[:3], 4)
    with pytest.raises(InvalidParameterError, match="n_clusters must be an int at least 1"):
        k_means_parallel(X, 0)
    for odd in (-1.0, np.inf, np.nan, "2"):
        with pytest.raises(InvalidParameterError, match="must be a finite number above 0"):
            k_means_parallel(X, 3, oversampling_factor=odd)
    with pytest.raises(InvalidParameterError, match="draw fewer rows than n_clusters"):
        k_means_parallel(X, 3, oversampling_factor=0.1, n_rounds=2)
    with pytest.raises(InvalidParameterError, match="more than 200 rows for each cluster"):
        k_means_parallel(X, 3, oversampling_factor=1e30)
