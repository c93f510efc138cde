"""Advice where a threshold is passed, with its numbers; none where all is well; and the time left."""

import math
from dataclasses import replace

import pytest

from daskml_kit.dashboard.advice import advise
from daskml_kit.dashboard.aggregate import Aggregate
from daskml_kit.dashboard.forecast import forecast, time_left
from daskml_kit.dashboard.loads import worker_loads
from daskml_kit.runtime.machines import WorkerFacts

EVEN = {"seconds": (0.1,) * 4}


def advice_of(events, workers=None):
    seen = Aggregate()
    seen.extend(events)
    found = advise(seen.fits, worker_loads(seen.fits, workers), workers)
    return {a.kind: a.words for a in found}


def stretched(events, seconds):
    """The same rounds with so many seconds of messages."""
    out = []
    for event in events:
        if hasattr(event, "tasks"):
            busy = max(t.compute_seconds for t in event.measured)
            event = replace(event, seconds=busy + seconds)
        out.append(event)
    return out


def test_no_advice_where_all_is_well(make_fit):
    assert advice_of(make_fit(**EVEN)) == {}
    assert advice_of([]) == {}


def test_rows_and_speed(make_fit):
    uneven = advice_of(make_fit(rows=(1000, 1000, 3000, 1000), seconds=(0.1, 0.1, 0.3, 0.1)))
    assert uneven.keys() == {"rows"}
    assert "10.0.0.3:403 holds 50 % of the rows, 25 % would be its share" in uneven["rows"]
    slow = advice_of(make_fit())
    assert slow.keys() == {"speed"}
    assert (
        "at 50 % of the speed of the others (5 k rows/s a thread against 10 k rows/s)"
        in (slow["speed"])
    )
    # More rows for the faster worker, by its threads or its measured speed, are no fault.
    threads = {f"tcp://10.0.0.{i}:40{i}": WorkerFacts(3 if i == 3 else 1) for i in range(1, 5)}
    assert advice_of(make_fit(rows=(1000, 1000, 3000, 1000), **EVEN), threads) == {}
    assert "rows" not in advice_of(make_fit(rows=(1000, 1000, 3000, 1000), **EVEN))


def test_memory_and_idle_workers(make_fit):
    names = [f"tcp://10.0.0.{i}:40{i}" for i in range(1, 5)]
    full = {names[0]: WorkerFacts(1, 10**9, 8 * 10**8), names[1]: WorkerFacts(spilled=2 * 10**9)}
    words = advice_of(make_fit(**EVEN), full)["memory"]
    assert "10.0.0.2:402 keeps 2 GB on disk" in words  # the last of the two found
    near = advice_of(make_fit(**EVEN), {names[0]: full[names[0]]})["memory"]
    assert "10.0.0.1:401 uses 80 % of its memory limit of 1 GB" in near
    more = {name: WorkerFacts() for name in [*names, "tcp://new:1", "local"]}
    assert "1 of 5 workers hold no rows" in advice_of(make_fit(**EVEN), more)["idle"]


def test_short_rounds_and_a_busy_driver(make_fit):
    fit = make_fit(seconds=(0.001,) * 4)
    graph = advice_of(stretched(fit, 0.019))["messages"]
    assert "rounds of 20 ms spend 95 % in messages. Use more rows a worker; if these" in graph
    assert "config_context(executor='actor')" in graph
    actor = advice_of(stretched(fit, 0.003))["messages"]
    assert "rounds of 4 ms spend 75 % in messages" in actor
    assert "executor='actor'" not in actor
    assert "messages" not in advice_of(make_fit(seconds=(1.0,) * 4))
    local = make_fit(seconds=(0.001,) * 2, workers=("local-0", "local-1"))
    assert advice_of(stretched(local, 0.02)).keys() <= {"driver"}
    late = [replace(e, at=e.at + 10.0) if getattr(e, "state", "") == "finished" else e for e in fit]
    assert "pass between the rounds" in advice_of(late)["driver"]


def test_a_fit_that_goes_nowhere(make_fit):
    lost = make_fit(**EVEN, objective=lambda r: math.inf if r > 3 else 1.0)
    assert "the objective is inf since round 5" in advice_of(lost)["course"]
    stuck = make_fit(**EVEN, n=60, gradient=lambda r: max(1.0 / r, 0.05), end=None)
    assert "has not become smaller in 20 rounds (5.00e-02)" in advice_of(stuck)["course"]
    assert "course" not in advice_of(make_fit(**EVEN, n=60, gradient=lambda r: 1.0 / r, end=None))


@pytest.mark.parametrize(
    ("tol", "max_iter", "state", "words"),
    [
        (1e-8, 100, None, "about 780 ms (3 rounds)"),
        (1e-8, 7, None, "at most 520 ms (2 rounds)"),
        (None, 100, None, "at most 24.70 s (95 rounds)"),
        (0.0, None, None, "–"),
        (1e-8, 100, "finished", "–"),
    ],
)
def test_time_left(make_fit, tol, max_iter, state, words):
    seen = Aggregate()
    seen.extend(make_fit(gradient=lambda r: 10.0**-r, tol=tol, max_iter=max_iter, end=state))
    assert time_left(seen.fits[0]) == words


def test_no_forecast_from_a_gradient_that_grows(make_fit):
    seen = Aggregate()
    seen.extend(make_fit(gradient=lambda r: 10.0**r, tol=1e-8, end=None))
    assert forecast(seen.fits[0]) is None
