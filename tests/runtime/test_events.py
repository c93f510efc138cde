"""What is recorded adds up, travels whole, and is light to send."""

import time
from functools import partial

import dask.array as da
import numpy as np
import pytest
from distributed.protocol import dumps

import daskml_kit
from daskml_kit.dashboard.aggregate import Aggregate
from daskml_kit.dashboard.loads import worker_loads
from daskml_kit.linear_model import LogisticRegression
from daskml_kit.runtime.events import (
    FitEvent,
    FitLog,
    Measured,
    RoundEvent,
    TaskEvent,
    attribute_waits,
    event_from_dict,
    span_by_worker,
)
from daskml_kit.runtime.executor import emit_round
from daskml_kit.runtime.ingest import Spec
from daskml_kit.runtime.opening import open_dataset
from daskml_kit.runtime.reduction import Reduction

SHORT, LONG, PAUSE = 0.02, 0.06, 0.03  # seconds
ROUNDS = 5


def nap(long_below, block, params):
    """Sleeps longer where the rows begin early: known work, whatever the machine."""
    time.sleep(LONG if block.start < long_below else SHORT)
    return block.n_rows


def add(a, b):
    return a + b


@pytest.mark.parametrize("executor", ["local", "graph", "actor"])
def test_the_seconds_of_each_worker_are_the_fits(executor, request):
    """Compute + transfer + wait + idle is the wall time, and each of them is what it says."""
    if executor != "local":
        request.getfixturevalue("client")
    X = da.from_array(np.ones((400_000, 2)), chunks=(200_000, 2))
    slept = Reduction("nap", partial(nap, 200_000), add)
    log = FitLog("Tester")
    with daskml_kit.config_context(executor=executor, balance="data"):
        data, rounds = open_dataset(X, spec=Spec("Tester"), log=log)
        with data:
            begun = time.perf_counter()
            for k in range(ROUNDS):
                time.sleep(PAUSE if k else 0.0)  # the driver's own work
                assert rounds.reduce(data, slept, None) == len(X)
            wall = time.perf_counter() - begun
        rounds.close()
    own = [r for r in log.rounds if r.name == "nap"]
    span = own[-1].started + own[-1].seconds - own[0].started
    assert span <= wall + 1e-3  # two clocks
    seen = Aggregate()
    seen.extend(own)
    loads = worker_loads(seen.fits)
    assert (len(own), len(loads)) == (ROUNDS, 2)
    tasks = [t for r in own for t in r.tasks]
    for load in loads:
        naps = sum((LONG, SHORT)[t.bundle] for t in tasks if t.worker == load.worker)
        assert load.wall == pytest.approx(span)
        assert load.wall == load.compute + load.transfer + load.wait + load.idle
        assert load.compute >= naps
        assert load.idle >= (ROUNDS - 1) * PAUSE
        assert min(load.transfer, load.wait) >= 0
    assert sum(load.rows_read for load in loads) == ROUNDS * len(X)
    # Who waits, waits for the other: known from the naps, not from the machine's speed.
    for event in own:
        busy = event.busy_seconds
        for task in event.tasks:
            assert task.wait_seconds == pytest.approx(max(busy.values()) - busy[task.worker])


def test_threads_that_wait_for_their_slowest_wait():
    """Two tasks side by side of 2 s and 1 s: the worker computed 1.5 s on the mean of its threads."""
    tasks = [
        TaskEvent("a", 0, 1, 10, 80, 0.0, 2.0, threads=2),
        TaskEvent("a", 1, 1, 10, 80, 0.0, 1.0, threads=2),
        TaskEvent("b", 2, 1, 10, 80, 5.0, 1.0),
    ]
    assert span_by_worker(tasks) == {"a": 2.0}
    full = attribute_waits(tasks, 2.5)
    assert sum(t.transfer_seconds for t in full[:2]) == full[2].transfer_seconds == 0.5
    assert sum(t.wait_seconds for t in full[:2]) == 0.5
    assert full[2].wait_seconds == 1.0
    queued = [TaskEvent("a", i, 1, 10, 80, float(i), 1.0) for i in range(2)]
    assert sum(t.wait_seconds for t in attribute_waits(queued, 3.0)) == 0.0


def test_the_log_numbers_its_events():
    logs = [FitLog("Ridge", max_iter=9, tol=0.1), FitLog("Ridge")]
    task = TaskEvent("a", 0, 1, 10, 80, 0.0, 1.0)
    heard = []
    for log in logs:
        log.listeners.append(heard.append)
        log.emit(FitEvent(log.name, "started", 0.0))
        emit_round(log, "loss", 0.0, 1.0, 8, [task], Measured(0.5, gradient_norm=0.25))
    assert [e.id for e in heard] == [logs[0].id] * 2 + [logs[1].id] * 2
    assert len({logs[0].id, logs[1].id}) == 2
    assert (heard[0].max_iter, heard[0].tol) == (9, 0.1)
    assert (heard[1].objective, heard[1].gradient_norm) == (0.5, 0.25)
    assert type(heard[1].objective) is float
    for event in heard:
        assert event_from_dict({**event.as_dict(), "client": "Client-1"}) == event


def test_a_solver_reports_its_gradient():
    X = np.random.default_rng(0).normal(size=(80, 3))
    with daskml_kit.record() as run:
        LogisticRegression(tol=1e-6).fit(X, X[:, 0] + X[:, 1] ** 2 > 0)
    norms = [r.gradient_norm for r in run.rounds if r.objective is not None]
    assert len(norms) > 2
    assert norms[-1] <= 1e-6 < norms[0]
    assert {e.tol for e in run.events if isinstance(e, FitEvent)} == {1e-6}


def test_a_round_is_light_to_send():
    """Bytes, not seconds: what a round costs grows by less than 150 a task and 400 a round."""
    log = FitLog("LogisticRegression")
    sizes = {}
    for n in (2, 102):
        tasks = [
            TaskEvent(f"tcp://10.0.0.{i}:40000", i, 3, 10**6, 10**8, 1e9, 0.1) for i in range(n)
        ]
        emit_round(log, "logistic-gradient", 1e9, 0.2, 10**4, tasks, 0.5)
        (frame, *rest) = dumps({"op": "log_event", "msg": [log.rounds[-1].as_dict()]})
        sizes[n] = sum(map(len, [frame, *rest]))
    assert (sizes[102] - sizes[2]) / 100 < 150
    assert sizes[2] < 2 * 150 + 400
    assert isinstance(log.rounds[-1], RoundEvent)
