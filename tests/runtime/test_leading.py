"""Rounds led by a worker: the same answers and events, and whatever goes wrong is done again here."""

from __future__ import annotations

import gc
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import SimpleNamespace
from unittest import mock

import dask.array as da
import numpy as np
import pytest
from distributed import get_client

import daskml_kit
from daskml_kit.linear_model import LogisticRegression
from daskml_kit.runtime import leading, lines
from daskml_kit.runtime.actors import ActorExecutor
from daskml_kit.runtime.block import Bundle
from daskml_kit.runtime.events import FitLog
from daskml_kit.runtime.ingest import Spec
from daskml_kit.runtime.leading import BatchBrokenError, Leader, OnCall, OnLine
from daskml_kit.runtime.local import LocalExecutor
from daskml_kit.runtime.opening import open_dataset
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.runtime.serving import Errand
from tests.integration.clusters import wait_until

D = 3
X = np.random.default_rng(0).normal(size=(600, D))
MANY = [
    *range(0, len(X), 30),
    len(X),
]  # more bundles than the driver takes: merged on their workers
LENGTH = 40
LEADER = "daskml-leader"


def gram(block, w):
    """Remembers how often it was asked, where it may."""
    block.scratch["asked"] = block.scratch.get("asked", 0) + 1
    return block.X.T @ (block.X @ w)


GRAM = Reduction("gram", gram, np.add)


def power(length, executor, data, state, go_on):
    """The power method; where each step ran."""
    w, where = state
    while len(where) < length:
        w = executor.reduce(data, GRAM, w, objective=np.max)
        w, where = w / np.linalg.norm(w), (*where, (os.getpid(), threading.current_thread().name))
        if not go_on():
            break
    return w, where


def lead(executor, data, steps=power, length=LENGTH):
    w, where = np.ones(D), ()
    while len(where) < length:
        w, where = executor.lead(data, partial(steps, length), (w, where))
    return w, where


def opened(edges=None):
    return open_dataset(
        da.from_array(X, chunks=(50, -1)), spec=Spec(), log=FitLog("Tester"),
        edges=None if edges is None else lambda facts: edges,
    )  # fmt: skip


def expected(edges=None, length=LENGTH):
    data, executor = open_dataset(
        X, spec=Spec(), edges=None if edges is None else lambda facts: edges
    )
    assert type(executor) is LocalExecutor
    return lead(executor, data, length=length)[0]


@pytest.fixture(autouse=True)
def _always_short(monkeypatch):
    """However busy the machine is."""
    monkeypatch.setattr(leading, "SHORT_ROUND_SECONDS", 60.0)


@pytest.fixture
def fit(client):
    """Data and executor, released and closed in the end."""
    made = []

    def open_(edges=None):
        made.append(opened(edges))
        assert type(made[-1][1]) is ActorExecutor
        return made[-1]

    yield open_
    for data, executor in made:
        data.release()
        executor.close()


def led(where):
    return [step for step in where if step[1] == LEADER]


@pytest.mark.parametrize("edges", [None, MANY])
def test_short_rounds_are_led_by_a_worker(fit, edges):
    data, executor = fit(edges)
    with daskml_kit.record() as run:
        w, where = lead(executor, data)
    np.testing.assert_allclose(w, expected(edges), rtol=1e-12)
    here = np.ones(D), ()
    for _ in range(LENGTH):
        here = power(LENGTH, executor, data, here, lambda: False)
    np.testing.assert_array_equal(w, here[0])  # bit by bit
    assert where[0][0] == os.getpid()  # how long its rounds are had to be seen
    assert len(led(where)) >= LENGTH - 2
    assert os.getpid() not in {process for process, _ in led(where)}
    rounds = executor.log.rounds[1 : 1 + LENGTH]
    assert rounds == run.rounds
    assert [r.round for r in rounds] == list(range(1, LENGTH + 1))
    assert {(r.fit, r.id) for r in rounds} == {(executor.log.name, executor.log.id)}
    assert [r.started for r in rounds] == sorted(r.started for r in rounds)
    for event in rounds:
        assert (event.name, event.passes) == ("gram", 1)
        assert np.isfinite(event.objective)
        assert [t.bundle for t in event.tasks] == list(range(len(data.bundles)))
        assert [t.worker for t in event.tasks] == [b.worker for b in data.bundles]
        by_worker = {}
        for t in event.tasks:
            spent = t.compute_seconds / t.threads + t.wait_seconds + t.transfer_seconds
            by_worker[t.worker] = by_worker.get(t.worker, 0.0) + spent
        np.testing.assert_allclose(list(by_worker.values()), event.seconds, rtol=1e-9)
    with daskml_kit.record() as later:
        _, where = lead(executor, data, length=3)
    assert len(led(where)) == 3
    assert set(later.graphs) == {(executor.log.name, "gram")}
    # To one worker the parameters, from it one part for each bundle, or one for all.
    moved = {r.bytes_moved for r in rounds[10:] if r.bytes_moved < 2_000}
    assert len(moved) == 1


def walled(on):
    """No port but Dask's own can be reached from this process, or each can again."""
    leading._walls.clear()
    refusing = mock.patch.object(lines, "call", side_effect=ConnectionRefusedError)
    if on:
        refusing.start()
    else:
        mock.patch.stopall()


def test_workers_that_only_dask_reaches_are_asked_through_dask(fit, client):
    data, executor = fit(MANY)
    client.run(walled, True)
    try:
        w, where = lead(executor, data)
        (known,) = {tuple(k) for k in client.run(lambda: leading._walls).values() if k}
    finally:
        client.run(walled, False)
    np.testing.assert_allclose(w, expected(MANY), rtol=1e-12)
    assert len(led(where)) >= LENGTH - 2
    assert set(known) < set(executor.workers)  # not to be tried again


def reached(monkeypatch, trouble):
    """How a leader reaches workers, of which some make trouble; that all are called before one answers."""
    errands = {f"tcp://{name}:1": Errand((), 1, False) for name in ("leader", *trouble)}
    together = threading.Barrier(len(trouble))

    def call(_, address, offer):
        assert offer is address
        together.wait(10.0)
        error = trouble[address.split("/")[-1][:-2]]
        if error is not None:
            raise error
        return mock.Mock()

    monkeypatch.setattr(lines, "call", call)
    monkeypatch.setattr(Leader, "_offers", lambda self, addresses: addresses)
    leader = Leader(SimpleNamespace(address="tcp://leader:1", data={}), None, errands)
    return leader, [type(other) for other in leader._called()]


def test_walls_are_around_those_workers_only_that_have_some_and_for_a_while(monkeypatch):
    walls = {}
    monkeypatch.setattr(leading, "_walls", walls)
    trouble = {
        "silent": TimeoutError(),
        "near": None,
        "lost": ConnectionResetError(),
        "closed": ConnectionRefusedError(),
        "far": None,
    }
    by_line = {"near": OnLine, "far": OnLine}
    _, found = reached(monkeypatch, trouble)
    assert found == [by_line.get(name, OnCall) for name in trouble]
    assert sorted(walls) == ["tcp://closed:1", "tcp://silent:1"]
    walls.clear()
    with monkeypatch.context() as late:
        late.setattr(lines, "DOOR_SECONDS", 0.0)  # the door was open no longer
        late.setattr(leading, "WALL_SECONDS", 0.0)
        reached(late, trouble)
    assert sorted(walls) == ["tcp://silent:1"]
    leader, found = reached(monkeypatch, dict.fromkeys(["silent", "near"]))
    assert found == [OnLine, OnLine]  # tried again
    with pytest.raises(BatchBrokenError):
        leader._break_off()
    assert not walls  # perhaps another worker has that address now


def state_of(dask_worker):
    """What a led fit could leave behind."""
    gc.collect()
    return {
        "leaders": sum(isinstance(o, leading.Leader) for o in gc.get_objects()),
        "threads": [t.name for t in threading.enumerate() if t.name in (LEADER, leading.FOLLOWER)],
        "busy": dask_worker.rpc.active,
        "open": dask_worker.rpc.open,
        "keys": [str(k) for k in dask_worker.data],
    }


def test_several_fits_at_once_and_nothing_is_left_behind(client):
    def one(_):
        data, executor = opened()
        with data:
            found = lead(executor, data, length=80)
        executor.close()
        return found

    with ThreadPoolExecutor(4) as pool:
        here = list(pool.map(one, range(4)))
    for w, where in here:
        np.testing.assert_allclose(w, expected(length=80), rtol=1e-12)
        assert led(where)
    for inside in client.gather([client.submit(in_a_task, i, pure=False) for i in range(2)]):
        np.testing.assert_allclose(inside[0], expected(length=80), rtol=1e-12)
        assert led(inside[1])
    wait_until(lambda: all(nothing_left(found) for found in client.run(state_of).values()))


def nothing_left(found):
    assert found["open"] < 20  # connections for the next time, as Dask keeps them
    keys = [key for key in found["keys"] if "daskml" in key]
    return (found["leaders"], found["threads"], found["busy"], keys) == (0, [], 0, [])


def in_a_task(_):
    with get_client().as_current():
        data, executor = opened()
        with data:
            found = lead(executor, data, length=80)
        executor.close()
        return found


class UnsendableError(Exception):
    def __init__(self, one, two):
        super().__init__(one)


def failing(where, block, w):
    at = "leader" if threading.current_thread().name == LEADER else "other"
    if w[0] < 0.5 and at == where:
        raise KeyError("in the chunk")
    return gram(block, w)


ENDS = {
    "steps": KeyError("in the steps"),
    "exit": SystemExit("in the steps"),
    "unsendable": UnsendableError("one", "two"),
}


def failing_power(where, length, executor, data, state, go_on):
    """After the fifth step something is wrong with the data, or with the steps."""
    w, n = state
    bad = Reduction("gram", partial(failing, where), np.add)
    while True:
        w, n = executor.reduce(data, bad, np.ones(D) if n < 5 else np.zeros(D)), n + 1
        if n == 6:
            raise ENDS[where]
        if not go_on():
            return w, n


@pytest.mark.parametrize(
    ("where", "error", "match"),
    [
        ("leader", KeyError, "in the chunk"),
        ("other", KeyError, "in the chunk"),
        ("steps", KeyError, "in the steps"),
        ("exit", SystemExit, "in the steps"),
        ("unsendable", RuntimeError, r"UnsendableError.*cannot be sent from tcp://"),
    ],
)
def test_an_error_comes_out_as_it_is(fit, where, error, match):
    data, executor = fit()
    steps = partial(failing_power, where, 9)
    state = executor.lead(data, steps, (np.ones(D), 0))
    with pytest.raises(error, match=match) as caught:
        executor.lead(data, steps, state)
    if where != "unsendable":
        (note,) = caught.value.__notes__
        assert note.startswith("On worker tcp://")
        assert ("in failing_power" if where in ENDS else "in failing") in note
    # The rounds before it did happen.
    assert len(executor.log.rounds) == 1 + (6 if where in ENDS else 5)
    assert lead(executor, data)[0].shape == (D,)  # and it goes on


def bundles_alive():
    return sum(isinstance(o, Bundle) for o in gc.get_objects())


def swept(on):
    """Python looks for cycles once more, and then only where told."""
    gc.collect()
    (gc.enable if on else gc.disable)()


def test_errors_hold_no_data(client):
    client.run(swept, False)
    try:
        for where in ("leader", "other", "steps", "unsendable", "nobody follows"):
            data, executor = opened()
            state = executor.lead(data, partial(failing_power, where, 9), (np.ones(D), 0))
            if where == "nobody follows":
                lead(executor, data)
                client.run(unfollow)
                lead(executor, data)
            else:
                with pytest.raises((KeyError, RuntimeError)):
                    executor.lead(data, partial(failing_power, where, 9), state)
            bad = Reduction("gram", partial(failing, "other"), np.add)
            with pytest.raises(KeyError, match="in the chunk"):
                executor.reduce(data, bad, np.zeros(D))
            data.release()
            executor.close()
            wait_until(lambda: not any(client.run(bundles_alive).values()))
    finally:
        client.run(swept, True)


def unfollow(dask_worker):
    followed = "daskml_line" in dask_worker.handlers
    for name in ("daskml_line", "daskml_round"):
        dask_worker.handlers.pop(name, None)
    return followed


def impatient(seconds):
    leading.PATIENCE_SECONDS = seconds


def stalling(stall, block, w):
    """One round of one worker takes long, once."""
    if threading.current_thread().name != LEADER and stall.exists():
        stall.rename(stall.with_name("stalled"))
        time.sleep(1.0)
    return gram(block, w)


def stalling_power(stall, length, executor, data, state, go_on):
    w, where = state
    slow = Reduction("gram", partial(stalling, stall), np.add)
    while len(where) < length:
        leads = threading.current_thread().name == LEADER
        if len(where) == 10 and leads and not stall.with_name("stalled").exists():
            stall.touch()
        w = executor.reduce(data, slow, w)
        w, where = w / np.linalg.norm(w), (*where, (os.getpid(), threading.current_thread().name))
        if not go_on():
            break
    return w, where


@pytest.mark.parametrize("trouble", ["stalled", "not followed"])
def test_a_broken_batch_has_not_happened(fit, client, trouble, tmp_path):
    data, executor = fit()
    stall = tmp_path / "stall"
    if trouble == "stalled":
        client.run(impatient, 0.3)
    else:
        lead(executor, data)
        assert any(client.run(unfollow).values())
    before = len(executor.log.rounds)
    try:
        w, where = lead(executor, data, partial(stalling_power, stall))
    finally:
        client.run(impatient, 30.0)
    np.testing.assert_allclose(w, expected(), rtol=1e-12)
    rounds = executor.log.rounds[before:]
    assert [r.round for r in rounds] == list(range(before, len(executor.log.rounds)))
    assert [r.name for r in rounds if r.name != "balance"] == ["gram"] * LENGTH
    here = [i for i, (process, _) in enumerate(where) if process == os.getpid()]
    assert len(led(where)) == LENGTH - len(here)  # tried again, and with success
    assert 1 <= len(here) <= 3


def test_rounds_that_a_leader_must_not_take_stay_here(fit, monkeypatch):
    data, executor = fit()
    monkeypatch.setattr(leading, "SHORT_ROUND_SECONDS", 0.0)
    _, where = lead(executor, data)
    assert not led(where)  # long ones
    monkeypatch.setattr(leading, "SHORT_ROUND_SECONDS", 60.0)
    monkeypatch.setattr("daskml_kit.runtime.actors.LARGE_ROUND_BYTES", 100)
    _, where = lead(executor, data)
    assert not led(where)  # a large state


class AtHomeOnly:
    """Steps that only the driver can read; how often they were sent."""

    sent = 0

    def __init__(self, home, length):
        self.home, self.length = home, length

    def __reduce__(self):
        AtHomeOnly.sent += 1
        return at_home_only, (self.home, self.length)

    def __call__(self, *args):
        return power(self.length, *args)


def at_home_only(home, length):
    if os.getpid() != home:
        raise ModuleNotFoundError("No module named 'elsewhere'")
    return AtHomeOnly(home, length)


def at_home(executor, data):
    AtHomeOnly.sent = 0
    (w, where), steps = (np.ones(D), ()), AtHomeOnly(os.getpid(), LENGTH)
    while len(where) < LENGTH:
        w, where = executor.lead(data, steps, (w, where))
    np.testing.assert_allclose(w, expected(), rtol=1e-12)
    assert not led(where)
    return AtHomeOnly.sent


def test_what_cannot_be_sent_is_not_sent_again_and_again(fit, monkeypatch):
    monkeypatch.setattr("daskml_kit.runtime.executor.LEAD_SECONDS", 0.0)  # a step at a time
    data, executor = fit()
    assert at_home(executor, data) == 3  # steps that no worker can read
    monkeypatch.setattr("daskml_kit.runtime.actors.LARGE_ROUND_BYTES", 100)
    data, executor = fit()
    assert at_home(executor, data) == 1  # too large
    monkeypatch.setattr("daskml_kit.runtime.actors.LARGE_ROUND_BYTES", 1 << 24)
    monkeypatch.setattr(leading, "PATIENCE_SECONDS", -1.0)
    data, executor = fit()
    assert at_home(executor, data) == 3  # workers that wait for each other in vain
    data, executor = fit()
    assert at_home(executor, data) == 0  # the next fit knows


def one_step(executor, data, state, _):
    w, *rest = state
    return executor.reduce(data, GRAM, w), *rest


def test_a_state_is_no_part_of_a_round(fit, monkeypatch):
    monkeypatch.setattr("daskml_kit.runtime.actors.LARGE_ROUND_BYTES", 15_000)
    data, executor = fit()
    state = executor.lead(data, one_step, (np.ones(D), np.zeros(1_250)))  # there and back: 20 kB
    for _ in range(5):
        state = executor.lead(data, one_step, state)
    assert (
        sum(r.bytes_moved > 20_000 for r in executor.log.rounds[1:]) == 5
    )  # led, and the state with it
    assert not executor._better_as_graph


def selfish(_, executor, data, state, go_on):
    if threading.current_thread().name == LEADER:
        executor.map(data, None, None)
    return power(LENGTH, executor, data, state, go_on)


def strange(other, _, executor, data, state, go_on):
    if threading.current_thread().name == LEADER:
        executor.reduce(other, GRAM, np.ones(D))
    return power(LENGTH, executor, data, state, go_on)


def test_a_leader_only_reduces_its_data(fit):
    data, executor = fit()
    with pytest.raises(AttributeError, match=r"no 'map': steps may reduce there, and nothing else"):
        lead(executor, data, selfish)
    with pytest.raises(RuntimeError, match="only the data set that lead was called with"):
        lead(executor, data, partial(strange, None))


@pytest.mark.parametrize("solver", ["newton-cg", "lbfgs"])
def test_solvers_are_led(client, monkeypatch, solver):
    target = (X @ np.arange(D) + np.random.default_rng(1).normal(size=len(X)) > 0).astype(int)
    data = da.from_array(X, chunks=(50, -1)), da.from_array(target, chunks=50)
    batches, entrust = [], ActorExecutor._led

    def counted(self, *args):
        batches.append(entrust(self, *args))
        return batches[-1]

    monkeypatch.setattr(ActorExecutor, "_led", counted)
    with daskml_kit.config_context(balance="data"):
        led = LogisticRegression(solver=solver, tol=1e-9).fit(*data)
        assert sum(len(batch.rounds) for batch in batches if batch is not None) > 5
        batches.clear()
        monkeypatch.setattr(leading, "SHORT_ROUND_SECONDS", 0.0)
        told = LogisticRegression(solver=solver, tol=1e-9).fit(*data)
        assert not batches
    np.testing.assert_allclose(led.coef_, told.coef_, rtol=1e-9)
    for count in ("n_iter_", "n_rounds_", "n_passes_"):
        assert getattr(led, count) == getattr(told, count)
    assert [r["name"] for r in led.history_] == [r["name"] for r in told.history_]
