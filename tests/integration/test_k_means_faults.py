"""Workers killed in the middle of k-means and its kin: what they knew of rows is lost, the answer is not."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from sklearn.base import clone

import daskml_kit
from daskml_kit.cluster import BisectingKMeans, KMeans, MiniBatchKMeans, SpectralClustering, lloyd
from daskml_kit.runtime import leading
from daskml_kit.runtime.events import FitLog, RoundEvent
from tests.integration.clusters import kill, local_cluster, ours, pids, wait_until

pytestmark = pytest.mark.cluster

X = np.random.default_rng(2).normal(size=(3_000, 6))


@pytest.fixture
def at_round(monkeypatch):
    """Calls a function, once, as soon as so many rounds of a name have been reported."""

    def install(name, number, do):
        emit, seen, done = FitLog.emit, [], []

        def emit_and_do(self, event):
            emit(self, event)
            if isinstance(event, RoundEvent) and event.name == name:
                seen.append(event)
                if len(seen) == number and not done:
                    done.append(True)
                    do()

        monkeypatch.setattr(FitLog, "emit", emit_and_do)
        return done

    return install


@pytest.fixture(scope="module")
def cluster():
    """Three workers, of which two will die; whether they come back does not matter."""
    with local_cluster(3) as client:
        yield client


@pytest.mark.parametrize(
    ("executor", "name", "number"),
    [("actor", "lloyd", 8), ("graph", "kmeans-parallel", 3)],
)
def test_k_means_goes_on_bit_by_bit(cluster, executor, name, number, at_round, monkeypatch):
    # Rounds of the driver, so that the worker dies between two of them.
    monkeypatch.setattr(leading, "SHORT_ROUND_SECONDS", 0.0)
    advanced, measured = lloyd.advanced, []

    def advanced_and_counted(rule, run, found):
        measured.append(found.n_distances)
        return advanced(rule, run, found)

    monkeypatch.setattr(lloyd, "advanced", advanced_and_counted)
    model = KMeans(12, random_state=0, algorithm="yinyang")
    lazy = da.from_array(X, chunks=(500, -1))
    with daskml_kit.config_context(executor=executor, balance="data"):
        calm = clone(model).fit(lazy)
        before = measured.copy()
        measured.clear()
        done = at_round(name, number, lambda: kill(max(pids(cluster).values())))
        model.fit(lazy)
    assert done
    np.testing.assert_array_equal(model.cluster_centers_, calm.cluster_centers_)
    assert model.n_iter_ == calm.n_iter_
    np.testing.assert_allclose(model.inertia_, calm.inertia_, rtol=1e-12)
    if name == "lloyd":  # its bounds had to be found again, in the round that follows
        assert measured[:number] == before[:number]
        assert measured[number] > before[number]
    wait_until(lambda: not ours(cluster))


@pytest.mark.parametrize(
    ("model", "name", "number"),
    [
        (MiniBatchKMeans(4, batch_size=100, random_state=0, max_iter=1), "mini-batch", 7),
        (BisectingKMeans(4, random_state=0, max_iter=5), "bisect", 6),
        (SpectralClustering(4, gamma=0.1, n_landmarks=50, random_state=0), "affinity", 1),
    ],
    ids=["mini-batch", "bisecting", "spectral"],
)
def test_its_kin_goes_on(cluster, model, name, number, at_round, monkeypatch):
    monkeypatch.setattr(leading, "SHORT_ROUND_SECONDS", 0.0)
    rows = X + 4 * (np.arange(3_000) % 4)[:, None]
    spectral = isinstance(model, SpectralClustering)
    weighted = {} if spectral else {"sample_weight": np.arange(3_000) % 3}
    calm = clone(model).fit(rows, **weighted)  # in this process: the same answer
    cluster.wait_for_workers(2, timeout=60)
    done = at_round(name, number, lambda: kill(max(pids(cluster).values())))
    lazy = da.from_array(rows, chunks=(500, -1))
    with daskml_kit.config_context(balance="data"):
        model.fit(lazy, **weighted)
    assert done
    if spectral:
        np.testing.assert_array_equal(model.predict(rows), calm.labels_)
    else:
        np.testing.assert_array_equal(model.cluster_centers_, calm.cluster_centers_)
        np.testing.assert_allclose(model.inertia_, calm.inertia_, rtol=1e-12)
    wait_until(lambda: not ours(cluster))
