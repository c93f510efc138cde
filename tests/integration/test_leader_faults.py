"""Workers lost or retired while one of them leads rounds: the answer is the same, nothing hangs."""

from __future__ import annotations

import os
import threading
import time
import uuid
from contextlib import suppress
from functools import partial
from urllib.parse import urlsplit

import dask.array as da
import numpy as np
import psutil
import pytest

from daskml_kit.runtime import leading
from daskml_kit.runtime.events import FitLog
from daskml_kit.runtime.ingest import Spec
from daskml_kit.runtime.opening import open_dataset
from daskml_kit.runtime.reduction import Reduction
from tests.integration.clusters import kill, local_cluster, ours, pids, wait_until

pytestmark = pytest.mark.cluster

X = np.random.default_rng(0).normal(size=(600, 3))
LENGTH, AT = 60, 10
LEADER = "daskml-leader"


def leads():
    return threading.current_thread().name == LEADER


def obeys(order):
    """Whoever takes the order away dies."""
    with suppress(FileNotFoundError):
        order.unlink()
        kill(os.getpid())


def gram(order, block, w):
    if order is not None and not leads():
        obeys(order)
    return block.X.T @ (block.X @ w)


def give(order, victim):
    given = order.with_name("given")
    if not given.exists():
        given.touch()
        order.touch()
        if victim == "leader":
            obeys(order)


def power(order, victim, executor, data, state, go_on):
    """The power method. An order is given once, at step ``AT`` of a batch."""
    w, where = state
    asked = Reduction("gram", partial(gram, order if victim == "other" else None), np.add)
    while len(where) < LENGTH:
        if order is not None and len(where) == AT and leads():
            give(order, victim)
        w = executor.reduce(data, asked, w)
        w, where = w / np.linalg.norm(w), (*where, leads())
        if not go_on():
            break
    return w, where


def lead(executor, data, steps):
    w, where = np.ones(3), ()
    while len(where) < LENGTH:
        w, where = executor.lead(data, steps, (w, where))
    return w, where


def expected():
    w = np.ones(3)
    for _ in range(LENGTH):
        w = X.T @ (X @ w)
        w /= np.linalg.norm(w)
    return w


@pytest.fixture(autouse=True)
def _always_short(monkeypatch):
    """However busy the machine is."""
    monkeypatch.setattr(leading, "SHORT_ROUND_SECONDS", 60.0)


@pytest.fixture(scope="module")
def cluster():
    """Three workers, of which two will die; whether they come back does not matter."""
    with local_cluster(3) as client:
        yield client


@pytest.mark.parametrize("victim", ["leader", "other"])
def test_killed_in_the_middle_of_a_batch(cluster, victim, tmp_path):
    before = set(pids(cluster).values())
    data, executor = open_dataset(
        da.from_array(X, chunks=(50, -1)), spec=Spec(), log=FitLog("Tester")
    )
    with data:
        w, where = lead(executor, data, partial(power, tmp_path / "order", victim))
    executor.close()
    assert (tmp_path / "given").exists()
    assert not (tmp_path / "order").exists()
    wait_until(lambda: any(not psutil.pid_exists(pid) for pid in before))
    np.testing.assert_allclose(w, expected(), rtol=1e-12)
    names = [r.name for r in executor.log.rounds[1:] if r.name != "balance"]
    assert names == ["gram"] * LENGTH  # what the lost batch did was not counted
    assert where[-1]  # led again
    wait_until(lambda: not ours(cluster))


def test_led_over_encrypted_lines():
    with local_cluster(2, processes=False, protocol="tls", security=True):
        data, executor = open_dataset(
            da.from_array(X, chunks=(50, -1)), spec=Spec(), log=FitLog("Tester")
        )
        with data:
            w, where = lead(executor, data, partial(power, None, None))
        executor.close()
        assert {urlsplit(address).scheme for address in executor.workers} == {"tls"}
        assert not leading._walls.keys() & set(executor.workers)
    np.testing.assert_allclose(w, expected(), rtol=1e-12)
    assert sum(where) >= LENGTH - 2


def counted(part, directory):
    (directory / uuid.uuid4().hex).touch()
    return part


SEEN: dict[str, list[str]] = {}  # addresses by step; the workers are threads of this process


def slow_power(executor, data, state, go_on):
    w, where = state
    asked = Reduction("gram", partial(gram, None), np.add)
    while len(where) < LENGTH:
        if leads():
            SEEN.setdefault("leaders", []).append(executor._worker.address)
            time.sleep(0.01)
        w = executor.reduce(data, asked, w)
        w, where = w / np.linalg.norm(w), (*where, leads())
        if not go_on():
            break
    return w, where


@pytest.mark.parametrize("role", ["leader", "other"])
def test_retired_in_the_middle_of_a_batch(role, tmp_path):
    """It goes at once, its bundles move, and no block is loaded twice."""
    SEEN.clear()
    with local_cluster(3, processes=False) as client:
        rows = da.from_array(X, chunks=(50, -1)).map_blocks(counted, tmp_path, meta=X[:0])
        data, executor = open_dataset(rows, spec=Spec(), log=FitLog("Tester"))

        def retire():
            wait_until(lambda: len(SEEN.get("leaders", ())) >= AT)
            (leader,) = set(SEEN["leaders"])
            gone = [b.worker for b in data.bundles if (b.worker == leader) == (role == "leader")]
            client.retire_workers(gone[:1])
            SEEN["retired"] = gone[:1]

        watch = threading.Thread(target=retire)
        watch.start()
        with data:
            w, where = lead(executor, data, slow_power)
        executor.close()
        watch.join()
        np.testing.assert_allclose(w, expected(), rtol=1e-12)
        assert where[-1]
        assert len(list(tmp_path.iterdir())) == 12
        wait_until(lambda: len(client.scheduler_info(n_workers=-1)["workers"]) == 2)
        wait_until(lambda: not ours(client))
        names = [r.name for r in executor.log.rounds[1:] if r.name != "balance"]
        assert names == ["gram"] * LENGTH
