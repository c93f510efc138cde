"""Workers killed in the middle of a fit: it finishes, with the same answer."""

from __future__ import annotations

import os
import threading
import time
import uuid
from contextlib import ExitStack, suppress
from functools import partial

import dask.array as da
import numpy as np
import psutil
import pytest
from distributed import futures_of, wait

import daskml_kit
from daskml_kit.exceptions import DataLostError
from daskml_kit.linear_model import LogisticRegression, objective
from daskml_kit.runtime import leading
from daskml_kit.runtime.actors import ActorExecutor
from daskml_kit.runtime.events import FitLog, RoundEvent
from tests.integration.clusters import (
    kill,
    local_cluster,
    lone_workers,
    ours,
    pids,
    states_on,
    wait_until,
)

pytestmark = pytest.mark.cluster


@pytest.fixture(autouse=True)
def _not_led(monkeypatch):
    """Rounds of the driver. What becomes of those that a worker leads: test_leader_faults.py."""
    monkeypatch.setattr(leading, "SHORT_ROUND_SECONDS", 0.0)


N, D = 4_000, 5
rng = np.random.default_rng(5)
X = rng.normal(size=(N, D))
Y = (X @ np.arange(D) + rng.normal(size=N) > 0).astype(int)
ESTIMATOR = {"solver": "lbfgs", "tol": 1e-9}
EXPECTED = LogisticRegression(**ESTIMATOR).fit(X, Y)


def slowly(part, marker):
    marker.touch()
    time.sleep(0.2)
    return part


def lazy(marker=None):
    rows = da.from_array(X, chunks=(500, -1))
    if marker is not None:
        rows = rows.map_blocks(slowly, marker, dtype=X.dtype)
    return rows, da.from_array(Y, chunks=500)


def kill_when_loading(process, marker):
    """Kills as soon as a block is being loaded; eight take almost a second."""

    def watch():
        wait_until(marker.exists, 120)
        time.sleep(0.3)
        kill(process)

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def check(estimator):
    np.testing.assert_allclose(estimator.coef_, EXPECTED.coef_, rtol=1e-6)
    assert estimator.n_iter_ == EXPECTED.n_iter_


original_chunk = objective._chunk


def deadly_chunk(order, *args):
    """Kills the worker that it runs on, if nobody has followed that order before."""
    with suppress(FileNotFoundError):
        order.unlink()
        kill(os.getpid())
    return original_chunk(*args)


@pytest.fixture(params=["graph", "actor"])
def executor(request):
    with daskml_kit.config_context(executor=request.param):
        yield request.param


@pytest.fixture
def dies_in_a_chunk(tmp_path, monkeypatch):
    """An order: who computes a chunk after it was written dies in the middle of the round."""
    order = tmp_path / "die"
    monkeypatch.setattr(objective, "_chunk", partial(deadly_chunk, order))
    return order


@pytest.fixture
def at_round(monkeypatch):
    """Calls a function, once, as soon as a round of a given number has been reported."""

    def install(number, do):
        emit, done = FitLog.emit, []

        def emit_and_do(self, event):
            emit(self, event)
            if isinstance(event, RoundEvent) and event.round == number and not done:
                done.append(True)
                do()

        monkeypatch.setattr(FitLog, "emit", emit_and_do)
        return done

    return install


@pytest.fixture(scope="module")
def clusters():
    """Those started so far, the last one in use."""
    with ExitStack() as stack:
        started = []

        def start():
            started.append(stack.enter_context(local_cluster()))

        start()
        yield started, start


@pytest.fixture
def nannies(clusters):
    """Two workers, started again when they die.

    Some 1 in 20 nannies never notices the death of its worker, idle or not (distributed 2026.8): then
    another cluster takes over.
    """
    started, start = clusters
    try:
        started[-1].wait_for_workers(2, timeout=15)
    except TimeoutError:
        started[-1].close()
        start()
    return started[-1]


@pytest.fixture
def victim(nannies):
    """The process of the older worker, dead at the end of the test."""
    process = min(pids(nannies).values(), key=lambda pid: psutil.Process(pid).create_time())
    yield process
    wait_until(lambda: not psutil.pid_exists(process))
    # Nothing is left behind by a troubled fit either.
    wait_until(lambda: not ours(nannies), seen=lambda: nannies.run_on_scheduler(states_on))


def test_killed_while_loading(victim, tmp_path, executor):
    marker = tmp_path / "loading"
    watch = kill_when_loading(victim, marker)
    check(LogisticRegression(**ESTIMATOR).fit(*lazy(marker)))
    watch.join()


@pytest.mark.parametrize("persisted", [False, True])
def test_killed_between_rounds(victim, nannies, at_round, executor, persisted):
    """Parts that were persisted were checked without tasks: those of bundles check what was lost again."""
    rows = lazy()
    if persisted:
        rows = nannies.persist(list(rows))
        wait(rows)
        nannies.replicate(futures_of(rows))
    done = at_round(3, lambda: kill(victim))
    check(LogisticRegression(**ESTIMATOR).fit(*rows))
    assert done


@pytest.mark.parametrize("unroll", [1, 4])
def test_killed_during_a_round(nannies, at_round, dies_in_a_chunk, executor, unroll):
    before = set(pids(nannies).values())
    done = at_round(2, dies_in_a_chunk.touch)
    estimator = LogisticRegression(unroll=unroll, **ESTIMATOR).fit(*lazy())
    check(estimator)
    assert done
    assert not dies_in_a_chunk.exists()
    wait_until(lambda: len(before & set(pids(nannies).values())) == 1)
    again = {"graph": estimator.n_rounds_, "actor": EXPECTED.n_rounds_ + 1}[executor]
    assert estimator.n_rounds_ <= again  # a repeated part is no further round


def test_killed_just_before_it_is_asked(victim, at_round, monkeypatch):
    """The scheduler has not noticed yet, or has just: in both cases nobody waits for the dead."""
    ask, due = ActorExecutor._ask, []

    def kill_and_ask(self, *args):
        if due:
            due.clear()
            kill(victim)
        return ask(self, *args)

    monkeypatch.setattr(ActorExecutor, "_ask", kill_and_ask)
    at_round(3, lambda: due.append(True))
    with daskml_kit.config_context(executor="actor"):
        check(LogisticRegression(**ESTIMATOR).fit(*lazy()))
    assert not due


def counted(part, directory):
    (directory / uuid.uuid4().hex).touch()
    return part


def test_a_retired_worker_loses_nothing(tmp_path, at_round, executor):
    """Its bundles move before it goes: no block is loaded twice."""
    with local_cluster(processes=False) as client:  # nothing dies here
        retired = next(iter(client.scheduler_info(n_workers=-1)["workers"]))
        rows = da.from_array(X, chunks=(500, -1)).map_blocks(counted, tmp_path, meta=X[:0])
        done = at_round(3, lambda: client.retire_workers([retired]))
        estimator = LogisticRegression(**ESTIMATOR).fit(rows, da.from_array(Y, chunks=500))
        check(estimator)
        assert done
        assert len(list(tmp_path.iterdir())) == N // 500
        assert estimator.n_rounds_ == EXPECTED.n_rounds_
        wait_until(lambda: not ours(client))


@pytest.mark.parametrize("answered", [True, False])
def test_data_without_a_recipe_are_lost(victim, nannies, at_round, monkeypatch, answered):
    """Scattered data live in one place only: the fit says so.

    Where the loss is noticed while answers are waited for, what the others hold is looked for as well.
    """
    ask, due = ActorExecutor._ask, []

    def ask_in_vain(self, *args):
        return {} if due and not answered else ask(self, *args)

    def kill_now():
        kill(victim)
        due.append(True)

    monkeypatch.setattr(ActorExecutor, "_ask", ask_in_vain)
    parts = [
        nannies.scatter(part, workers=[worker])
        for part, worker in zip(np.array_split(X, 2), pids(nannies), strict=True)
    ]
    rows = da.concatenate([da.from_delayed(part, (N // 2, D), dtype=X.dtype) for part in parts])
    at_round(2, kill_now)
    with pytest.raises(DataLostError, match=r"client\.scatter, which keeps no recipe") as caught:
        LogisticRegression(**ESTIMATOR).fit(rows, da.from_array(Y, chunks=N // 2))
    # While the error lives, with the frames that it came through.
    wait_until(lambda: not ours(nannies))
    del caught


def test_killed_for_good(tmp_path, at_round):
    """Workers that do not come back: the survivor computes what the others held."""
    with local_cluster(0) as client, lone_workers(client, 3):
        first, second, _ = pids(client).values()
        marker = tmp_path / "loading"
        watch = kill_when_loading(first, marker)
        with daskml_kit.config_context(executor="graph"):
            check(LogisticRegression(**ESTIMATOR).fit(*lazy(marker)))
        watch.join()
        done = at_round(3, lambda: kill(second))
        with daskml_kit.config_context(executor="actor"):
            check(LogisticRegression(**ESTIMATOR).fit(*lazy()))
        assert done
        assert len(pids(client)) == 1
