"""What users do and what once went wrong: each a case of its own."""

from __future__ import annotations

import asyncio
from pathlib import Path

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from distributed import Client, LocalCluster
from sklearn import linear_model

from daskml_kit.cluster import KMeans
from daskml_kit.exceptions import ClusterError, InvalidDataError
from daskml_kit.linear_model import LinearRegression, LogisticRegression, Ridge
from daskml_kit.metrics import accuracy_score, r2_score
from tests.integration.clusters import QUIET

rng = np.random.default_rng(0)
X = rng.normal(size=(400, 4))
Y = X @ [1.0, 2.0, 3.0, 4.0] + 0.5


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    """Four files, which Dask reads several at once where few columns are asked for."""
    frame = pd.DataFrame(X, columns=list("abcd")).assign(y=Y, **{f"z{i}": 0.0 for i in range(9)})
    folder = tmp_path / "data"
    folder.mkdir()
    for i in range(4):
        frame[100 * i : 100 * (i + 1)].to_parquet(folder / f"part.{i}.parquet")
    return folder


@pytest.mark.parametrize("on_cluster", [False, True])
def test_columns_of_parquet_files(
    parquet: Path, on_cluster: bool, request: pytest.FixtureRequest
) -> None:
    if on_cluster:
        request.getfixturevalue("client")
    data = dd.read_parquet(parquet)
    columns, target = data[list("abcd")], data["y"]
    model = Ridge(1e-8).fit(columns, target)
    np.testing.assert_allclose(model.coef_, [1, 2, 3, 4], rtol=1e-6)
    assert model.score(columns, target) > 0.999999
    labels = target > 0
    classifier = LogisticRegression(C=10.0).fit(columns, labels)
    expected = linear_model.LogisticRegression(C=10.0).fit(X, Y > 0).score(X, Y > 0)
    assert classifier.score(columns, labels) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("alpha", [1.0, 0.01])
@pytest.mark.parametrize("ratio", [1e4, 1e8, 1e10])
def test_a_column_of_large_numbers_does_not_drown_the_others(alpha: float, ratio: float) -> None:
    """As a time stamp in seconds beside standardised features."""
    wide = X.copy()
    wide[:, 0] *= ratio
    scale = np.array([ratio, 1.0, 1.0, 1.0])
    expected = linear_model.Ridge(alpha, solver="svd").fit(wide, Y)
    np.testing.assert_allclose(
        Ridge(alpha).fit(wide, Y).coef_ * scale, expected.coef_ * scale, rtol=1e-6
    )
    ordinary = LinearRegression().fit(wide, Y)
    np.testing.assert_allclose(ordinary.coef_ * scale, [1, 2, 3, 4], rtol=1e-6)


def test_scores_refuse_other_lengths() -> None:
    labels = da.from_array(np.array([1, 1, 1, 0, 0, 0]), chunks=3)
    few = labels[da.from_array(np.array([1, 0, 0, 1, 0, 0], bool), chunks=3)]
    for score in (accuracy_score, r2_score):
        with pytest.raises(InvalidDataError, match="inconsistent numbers of samples"):
            score(labels, few)
        assert score(few, few) == 1.0
        with pytest.raises(InvalidDataError, match="inconsistent numbers of samples"):
            score(few, few, sample_weight=labels)


def test_unknown_columns_are_refused() -> None:
    unknown = da.from_array(X, chunks=(100, -1))[:, da.from_array(np.array([1, 1, 0, 1], bool))]
    with pytest.raises(InvalidDataError, match="number of columns of X is unknown"):
        KMeans(2).fit(unknown)
    with pytest.raises(InvalidDataError, match="number of columns of X is unknown"):
        Ridge().fit(X[:, :3], Y).predict(unknown)


def test_set_output_leaves_lazy_rows_lazy() -> None:
    model = KMeans(3, random_state=0).fit(X).set_output(transform="pandas")
    assert isinstance(model.transform(X), pd.DataFrame)
    lazy = da.from_array(X, chunks=(100, -1))
    assert isinstance(model.transform(lazy), da.Array)
    assert isinstance(model.fit_transform(lazy), da.Array)


@pytest.mark.parametrize("lazy", [False, True])
def test_labelled_arrays_keep_their_coordinates(lazy: bool) -> None:
    values = da.from_array(X, chunks=(100, -1)) if lazy else X
    coords = {"time": np.arange(400), "season": ("time", np.arange(400) % 4), "run": 5}
    rows = xr.DataArray(values, dims=("time", "band"), coords={**coords, "band": list("abcd")})
    model = Ridge(1e-8).fit(rows, Y)
    assert list(model.feature_names_in_) == list("abcd")
    answer = model.predict(rows)  # a warning about names would be an error here
    assert set(answer.coords) == {"time", "season", "run"}
    np.testing.assert_allclose(answer.values, Y, rtol=1e-5)


async def _fit_in_the_event_loop() -> None:
    async with Client(asynchronous=True, processes=False, **QUIET):
        Ridge().fit(da.from_array(X, chunks=(100, -1)), da.from_array(Y, chunks=100))


def test_an_asynchronous_client_is_told_of_threads() -> None:
    with pytest.raises(ClusterError, match=r"asyncio\.to_thread"):
        asyncio.run(_fit_in_the_event_loop())


def _fit_lazily() -> list[float]:
    rows = da.from_array(X, chunks=(100, -1))
    rows.sum().compute()  # gives the worker a client of its own
    return Ridge(1e-8).fit(rows, da.from_array(Y, chunks=100)).coef_.tolist()


@pytest.mark.cluster
def test_a_fit_inside_of_a_task_leaves_its_thread_to_its_rounds() -> None:
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, **QUIET) as cluster,
        Client(cluster) as client,
    ):
        fits = [client.submit(_fit_lazily, pure=False) for _ in range(2)]
        for coef in client.gather(fits):
            np.testing.assert_allclose(coef, [1, 2, 3, 4], rtol=1e-6)


@pytest.mark.cluster
def test_an_adaptive_cluster_grows_from_nothing() -> None:
    with LocalCluster(n_workers=0, threads_per_worker=1, **QUIET) as cluster, Client(cluster):
        # A loaded machine may leave a worker idle for the 3 s after which it would be retired again.
        cluster.adapt(minimum=0, maximum=1, wait_count=60)
        rows, target = da.from_array(X, chunks=(100, -1)), da.from_array(Y, chunks=100)
        np.testing.assert_allclose(Ridge(1e-8).fit(rows, target).coef_, [1, 2, 3, 4], rtol=1e-6)
