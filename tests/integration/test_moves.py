"""Rows that move between real processes: to a worker that joins, and while one dies."""

from __future__ import annotations

import threading
import time

import dask.array as da
import numpy as np
import pytest
from distributed import Client, LocalCluster, wait

import daskml_kit
from daskml_kit.exceptions import ClusterError
from daskml_kit.linear_model import LogisticRegression, objective
from daskml_kit.runtime import leading, moves
from daskml_kit.runtime.events import FitLog, RoundEvent
from tests.integration.clusters import QUIET, kill, local_cluster, ours, pids, wait_until

pytestmark = pytest.mark.cluster


@pytest.fixture(autouse=True)
def _not_led(monkeypatch):
    """Rounds of the driver. What becomes of those that a worker leads: test_leader_faults.py."""
    monkeypatch.setattr(leading, "SHORT_ROUND_SECONDS", 0.0)


N, D = 4_000, 5
rng = np.random.default_rng(6)
X = rng.normal(size=(N, D))
Y = (X @ np.arange(D) + rng.normal(size=N) > 0).astype(int)
ESTIMATOR = {"solver": "lbfgs", "tol": 1e-9}
EXPECTED = LogisticRegression(**ESTIMATOR).fit(X, Y)
original_chunk = objective._chunk


def working_chunk(*args):
    """A row takes 50 microseconds: a round of all rows on one worker 200 ms."""
    *_, block, _ = args
    time.sleep(50e-6 * block.n_rows)
    return original_chunk(*args)


@pytest.fixture
def work(monkeypatch):
    monkeypatch.setattr(objective, "_chunk", working_chunk)


def lazy():
    return da.from_array(X, chunks=(250, -1)), da.from_array(Y, chunks=250)


def check(estimator):
    np.testing.assert_allclose(estimator.coef_, EXPECTED.coef_, rtol=1e-6)


def rows_of(event):
    rows = {}
    for task in event.tasks:
        rows[task.worker] = rows.get(task.worker, 0) + task.rows
    return rows


def test_a_worker_that_joins_gets_rows(work, monkeypatch):
    emit = FitLog.emit

    def emit_and_wait(self, event):
        """The fit has begun alone, and goes on when there are two."""
        emit(self, event)
        if isinstance(event, RoundEvent) and event.round == 1:
            client.wait_for_workers(2)

    monkeypatch.setattr(FitLog, "emit", emit_and_wait)
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, **QUIET) as cluster,
        Client(cluster) as client,
    ):
        data = lazy()
        wait([part.persist() for part in data])
        with daskml_kit.record() as run:
            cluster.scale(2)
            check(LogisticRegression(**ESTIMATOR).fit(*data))
        first, *_, last = (e for e in run.rounds if e.passes)
        assert len(rows_of(first)) == 1
        assert max(rows_of(last).values()) <= 0.6 * N
        assert sum(rows_of(last).values()) == N
        wait_until(lambda: not ours(client))


def test_a_worker_dies_while_rows_move(work, monkeypatch):
    with local_cluster() as client:
        first, second = pids(client)
        held = [client.persist(part, workers=[first]) for part in lazy()]
        wait(held)
        victim, move, done = pids(client)[second], moves.move, []

        def kill_and_move(*args):
            if not done:
                kill(victim)
                done.append(True)
            return move(*args)

        monkeypatch.setattr(moves, "move", kill_and_move)
        check(LogisticRegression(**ESTIMATOR).fit(*held))
        assert done
        wait_until(lambda: not [k for k in ours(client) if "balance" in k])


@pytest.mark.parametrize("executor", ["actor", "graph"])
@pytest.mark.parametrize("number", [0, 2])
def test_a_cluster_closed_in_mid_fit_is_said_so(work, monkeypatch, executor, number):
    """While the data are loaded, and in a round."""
    cluster = LocalCluster(n_workers=1, threads_per_worker=1, processes=False, **QUIET)
    client = Client(cluster)
    emit, done = FitLog.emit, []

    def close_soon():
        client.close()
        cluster.close()

    def emit_and_close(self, event):
        emit(self, event)
        due = (isinstance(event, RoundEvent) and event.round == number - 1) or number == 0
        if due and not done:
            done.append(threading.Timer(0.02, close_soon))
            done[0].start()

    monkeypatch.setattr(FitLog, "emit", emit_and_close)
    with (
        pytest.raises(ClusterError, match=r"The cluster was closed|The connection to the"),
        daskml_kit.config_context(executor=executor),
    ):
        LogisticRegression(**ESTIMATOR).fit(*lazy())
    done[0].join()
