"""Clusters of every kind, and what is said of those that cannot run a fit."""

from __future__ import annotations

import gc
import os
import pickle

import dask.array as da
import dask.config
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from distributed import Client, LocalCluster, wait
from sklearn.tree import DecisionTreeRegressor

import daskml_kit
from daskml_kit.cluster import KMeans
from daskml_kit.ensemble import BaggingRegressor
from daskml_kit.exceptions import ClusterError, InvalidDataError
from daskml_kit.linear_model import Lasso, LinearRegression, LogisticRegression, Ridge
from daskml_kit.runtime import cluster as runtime_cluster, jobs
from tests.integration.clusters import (
    imported,
    keys_on,
    local_cluster,
    ours,
    remote_cluster,
    wait_until,
)

pytestmark = pytest.mark.cluster

rng = np.random.default_rng(6)
X = rng.normal(size=(600, 4))
Y = X @ np.arange(4.0) + 1.0
CODES = (Y > 1).astype(int)


def lazy(a):
    return da.from_array(a, chunks=(100, *a.shape[1:]))


def test_a_remote_cluster_by_its_address(tmp_path):
    with remote_cluster(tmp_path) as address, Client(address) as client:
        client.wait_for_workers(2, timeout=60)
        assert os.getpid() not in client.run(os.getpid).values()
        ridge = Ridge(1e-6).fit(lazy(X), lazy(Y))
        np.testing.assert_allclose(ridge.coef_, np.arange(4.0), atol=1e-6)
        predicted = ridge.predict(lazy(X))
        assert isinstance(predicted, da.Array)
        np.testing.assert_allclose(predicted.compute(), Y, atol=1e-5)
        assert ridge.score(lazy(X), lazy(Y)) == pytest.approx(1.0)
        wait_until(lambda: not ours(client))


def test_a_worker_imports_no_more_than_its_rounds_need():
    """Most of the four seconds of a worker's first fit were imports of what it never used."""
    heavy = ["sklearn", "pandas", "pyarrow", "xarray", "dask.array", "dask.dataframe", "bokeh"]
    fresh = {"distributed.worker.multiprocessing-method": "spawn"}
    with dask.config.set(fresh), local_cluster(1) as client:
        rows, codes = client.persist((lazy(X), lazy(CODES)))
        for model in (LinearRegression(), Lasso(0.1), LogisticRegression(), KMeans(2)):
            model.fit(rows, codes)
        (found,) = client.run(imported, ["daskml_kit", *heavy]).values()
        assert found == ["daskml_kit"]
        wait(client.persist(Ridge().fit(X, Y).predict(rows)))  # Dask's task brings dask.array
        assert list(client.run(imported, ["sklearn"]).values()) == [[]]


BLOCKER = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "daskml_kit":
            raise ModuleNotFoundError("No module named 'daskml_kit'", name="daskml_kit")

for name in [n for n in sys.modules if n.split(".")[0] == "daskml_kit"]:
    del sys.modules[name]
sys.meta_path.insert(0, Blocker())
"""


def test_workers_without_the_package(tmp_path):
    (tmp_path / "without_package.py").write_text(BLOCKER)
    args = ("--preload", str(tmp_path / "without_package.py"))
    with remote_cluster(tmp_path, 1, worker_args=args) as address, Client(address) as client:
        client.wait_for_workers(1, timeout=60)
        with daskml_kit.record() as run, pytest.raises(
            ClusterError, match=r"1 of 1 workers cannot import daskml_kit .*register_plugin"
        ):  # fmt: skip
            Ridge().fit(lazy(X), lazy(Y))
        assert run.rounds == []


@pytest.fixture
def threads():
    """A cluster without processes."""
    return LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0"
    )


def test_a_closed_client(threads):
    with threads as cluster:
        with Client(cluster):
            rows = lazy(X).persist()
        for active in (None, Client(cluster)):
            with pytest.raises(ClusterError, match="Dask client that was closed"):
                Ridge().fit(rows, lazy(Y))
            if active is not None:
                active.close()


def test_another_clients_data(threads):
    with threads as cluster, Client(cluster) as one:
        rows = lazy(X).persist()
        with Client(cluster) as two:
            with pytest.raises(ClusterError, match="held by another Dask client"):
                Ridge().fit(rows, lazy(Y))
            with one.as_current():
                assert Ridge().fit(rows, lazy(Y)).n_rounds_ == 2
            assert two.status == "running"


def test_a_cluster_without_workers(monkeypatch):
    monkeypatch.setattr(runtime_cluster, "_WORKER_TIMEOUT", 0.2)
    how = {"n_workers": 0, "processes": False, "dashboard_address": "127.0.0.1:0"}
    with LocalCluster(**how) as cluster, Client(cluster):  # noqa: SIM117
        with pytest.raises(ClusterError, match=r"has no workers \(waited 0 s\)"):
            Ridge().fit(lazy(X), lazy(Y))


def test_several_threads_a_worker():
    how = {"n_workers": 2, "threads_per_worker": 3, "processes": False}
    with LocalCluster(dashboard_address="127.0.0.1:0", **how) as cluster, Client(cluster):
        with daskml_kit.record() as run:
            ours = LogisticRegression(tol=1e-10).fit(lazy(X), lazy(CODES))
        np.testing.assert_allclose(
            ours.coef_, LogisticRegression(tol=1e-10).fit(X, CODES).coef_, rtol=1e-8
        )
        assert len(run.rounds[-1].tasks) == 6
        assert {t.threads for t in run.rounds[-1].tasks} == {3}


# ------------------------------------------------------------------ nothing is left behind


def everything(client):
    return client.run_on_scheduler(keys_on)


@pytest.fixture
def empty(client):
    """The shared cluster, and a check that no key of anything is on it at the end."""
    wait_until(lambda: not everything(client))
    yield client
    gc.collect()
    wait_until(lambda: not everything(client))


@pytest.mark.parametrize(
    "estimator",
    [LinearRegression(), LogisticRegression(), LogisticRegression(solver="lbfgs", unroll=3)],
    ids=str,
)
def test_nothing_is_left_after_a_fit(empty, estimator):
    estimator.fit(lazy(X), lazy(CODES))
    wait_until(lambda: not ours(empty))
    assert float(estimator.score(lazy(X), lazy(CODES))) > 0.5


def test_nothing_is_left_after_a_failed_fit(empty, monkeypatch):
    bad = X.copy()
    bad[5] = np.nan
    with pytest.raises(InvalidDataError, match="block 0"):
        Ridge().fit(lazy(bad), lazy(Y))
    wait_until(lambda: not ours(empty))

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("daskml_kit.linear_model.logistic.solve", interrupted)
    with pytest.raises(KeyboardInterrupt):
        LogisticRegression().fit(lazy(X), lazy(CODES))
    wait_until(lambda: not ours(empty))

    submit, left = jobs._Dispatch._submit, [1] * 3

    def interrupted_later(self, *job):
        if not left:
            raise KeyboardInterrupt
        left.pop()
        return submit(self, *job)

    monkeypatch.setattr(jobs._Dispatch, "_submit", interrupted_later)
    with pytest.raises(KeyboardInterrupt):
        BaggingRegressor(DecisionTreeRegressor(), 5, random_state=0).fit(lazy(X), lazy(Y))
    wait_until(lambda: not ours(empty))
    Ridge().fit(lazy(X), lazy(Y))  # and the cluster goes on


def test_the_callers_persisted_data_stay(empty):
    rows, y = lazy(X).persist(), lazy(Y).persist()
    held = set()
    wait_until(lambda: len(everything(empty)) == 12)
    held.update(everything(empty))
    Ridge().fit(rows, y)
    wait_until(lambda: set(everything(empty)) == held)
    np.testing.assert_array_equal(rows.compute(), X)
    np.testing.assert_array_equal(y.compute(), Y)


@pytest.mark.parametrize(("balance", "rows"), [("even", [300, 300]), ("data", [600])])
def test_unevenly_persisted_data_are_evened(empty, balance, rows):
    """All blocks on one worker: the fit spreads them, or not, as it is told."""
    worker = next(iter(empty.scheduler_info(n_workers=-1)["workers"]))
    held = empty.persist(lazy(X), workers=[worker])
    wait_until(lambda: len(everything(empty)) == 6)
    with daskml_kit.record() as run, daskml_kit.config_context(balance=balance):
        Ridge().fit(held * 2, lazy(Y))  # made of resident blocks: at home where they are
    per_worker = {}
    for task in run.rounds[-1].tasks:
        per_worker[task.worker] = per_worker.get(task.worker, 0) + task.rows
    assert sorted(per_worker.values()) == rows


def test_a_fitted_estimator_is_plain(empty):
    estimators = [
        Ridge().fit(lazy(X), lazy(Y)),
        LogisticRegression(verbose=0).fit(lazy(X), lazy(CODES)),
    ]
    for estimator in estimators:
        words = pickle.dumps(estimator)
        assert b"distributed" not in words
        assert b"dask." not in words
        back = pickle.loads(words)
        np.testing.assert_array_equal(back.predict(X), estimator.predict(X))
        assert all(
            isinstance(v, (np.ndarray, np.generic, int, float, str, list, type(None)))
            for v in vars(back).values()
        )


def test_answers_in_kind_on_a_cluster(empty):
    table = pd.DataFrame(X, columns=list("abcd"))
    frame = dd.from_pandas(table, npartitions=3)
    model = LogisticRegression().fit(frame, dd.from_pandas(pd.Series(CODES), npartitions=3))
    predicted = model.predict(frame)
    assert isinstance(predicted, dd.Series)
    pd.testing.assert_index_equal(predicted.compute().index, table.index)
    probabilities = model.predict_proba(frame)
    assert list(probabilities.columns) == [0, 1]
    np.testing.assert_allclose(probabilities.compute().to_numpy(), model.predict_proba(table))
