"""KMeans as task graphs: the same answer as in this process, in kind, and nothing left behind."""

from __future__ import annotations

import time

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from distributed import Client
from hypothesis import HealthCheck, given, settings, strategies as st
from scipy import sparse
from sklearn.base import clone

from daskml_kit.cluster import KMeans
from tests.cluster.data import grid_blobs, row_weights, same_fit

pytestmark = pytest.mark.cluster

BLOBS = grid_blobs(300, 4, 5)


def our_keys(client: Client) -> list[str]:
    keys = client.run_on_scheduler(lambda dask_scheduler: [str(k) for k in dask_scheduler.tasks])
    return [key for key in keys if "daskml" in key]


@settings(
    max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    cuts=st.lists(st.integers(0, 300), max_size=6),
    init=st.sampled_from(["k-means||", "random"]),
    unroll=st.sampled_from([1, 4]),
    n_workers=st.sampled_from([1, 2]),
)
def test_chunks_workers_and_executor_change_nothing(client, cuts, init, unroll, n_workers):
    bounds = np.array([0, *sorted(cuts), 300])
    lazy = da.from_array(BLOBS, chunks=(tuple(np.diff(bounds)), 4))
    at = sorted(client.scheduler_info()["workers"])[:n_workers]
    lazy = client.persist(lazy, workers=at)
    model = KMeans(5, init=init, n_init=2, random_state=3, unroll=unroll)
    weight = row_weights(300)
    local = clone(model).fit(BLOBS, sample_weight=weight)
    spread = clone(model).fit(lazy, sample_weight=weight)
    same_fit(local, spread)
    np.testing.assert_array_equal(spread.predict(lazy).compute(), local.labels_)


def test_far_and_empty_clusters_on_a_cluster(client):
    X = BLOBS + 1e8
    init = np.concatenate([X[:4], X.max(axis=0, keepdims=True) * 2])
    lazy = da.from_array(X, chunks=(3, 4))[:30]  # blocks smaller than k
    for unroll in (1, 3):
        local = KMeans(5, init=init).fit(X[:30])
        spread = KMeans(5, init=init, unroll=unroll).fit(lazy)
        same_fit(local, spread)
        names = [entry["name"] for entry in spread.history_]
        assert names.count("farthest") >= 1
    np.testing.assert_allclose(spread.score(lazy), -spread.inertia_, rtol=1e-6)


def test_sparse_on_a_cluster(client):
    X = np.where(BLOBS > 0, BLOBS, 0.0)
    lazy = da.from_array(X, chunks=(77, 4)).map_blocks(sparse.csr_matrix)
    same_fit(KMeans(5, random_state=0).fit(X), KMeans(5, random_state=0).fit(lazy))


def test_answers_in_kind(client):
    lazy = da.from_array(BLOBS, chunks=(100, 2))
    model = KMeans(5, random_state=0)
    labels = model.fit_predict(lazy)
    whole = KMeans(5, random_state=0).fit(BLOBS)
    assert isinstance(labels, da.Array)
    assert (labels.dtype, labels.chunks) == (np.int32, ((100, 100, 100),))
    np.testing.assert_array_equal(labels.compute(), whole.labels_)
    gaps = model.fit_transform(lazy)
    assert gaps.shape == (300, 5)
    np.testing.assert_allclose(gaps.compute(), whole.transform(BLOBS))

    frame = pd.DataFrame(BLOBS, columns=list("abcd"), index=np.arange(300) * 2)
    series = model.fit_predict(dd.from_pandas(frame, npartitions=3))
    assert isinstance(series, dd.Series)
    pd.testing.assert_series_equal(series.compute(), pd.Series(whole.labels_, index=frame.index))
    columns = model.transform(dd.from_pandas(frame, npartitions=3))
    assert list(columns.columns) == [f"kmeans{i}" for i in range(5)]
    assert columns.compute().index.equals(frame.index)

    array = xr.DataArray(lazy, dims=("y", "band"), coords={"y": np.arange(300) / 2})
    answer = model.fit_predict(array)
    assert isinstance(answer.data, da.Array)
    np.testing.assert_array_equal(answer["y"], array["y"])
    np.testing.assert_array_equal(answer, whole.labels_)


def test_score_of_a_lazy_frame_with_weights(client):
    frame = pd.DataFrame(BLOBS, columns=list("abcd")).assign(w=row_weights(300))
    lazy = dd.from_pandas(frame, npartitions=4)
    model = KMeans(5, random_state=0).fit(lazy[list("abcd")], sample_weight=lazy["w"])
    score = model.score(lazy[list("abcd")], sample_weight=lazy["w"])
    np.testing.assert_allclose(score, -model.inertia_)


def test_nothing_is_left_on_the_cluster(client):
    lazy = client.persist(da.from_array(BLOBS + 1e8, chunks=(50, 4)))  # moved: a copy is made
    model = KMeans(5, random_state=0, unroll=2).fit(lazy)
    model.score(lazy)
    with pytest.raises(ValueError, match="n_samples=300"):
        KMeans(301).fit(lazy)
    deadline = time.monotonic() + 10
    while our_keys(client) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert our_keys(client) == []
