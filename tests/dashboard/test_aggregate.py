import pytest

from daskml_kit.dashboard.aggregate import (
    WINDOW_ROUNDS,
    Aggregate,
    Seconds,
    tallied,
)
from daskml_kit.dashboard.loads import short_names, worker_loads
from daskml_kit.runtime.events import (
    FitEvent,
    RoundEvent,
    TaskEvent,
    event_from_dict,
)


def test_totals_of_a_fit(make_fit):
    seen = Aggregate()
    seen.extend(make_fit(n=6))
    (fit,) = seen.fits
    assert (fit.state, fit.n_rounds, fit.n_passes, fit.bytes_moved) == ("finished", 6, 6, 3000)
    assert (fit.rows, fit.nbytes) == (4000, 320_000)
    assert fit.objective == 1 / 6
    assert fit.seconds == pytest.approx(6 * 0.26)
    assert fit.round_seconds == pytest.approx(6 * 0.25)
    assert fit.mean_imbalance == pytest.approx(0.2 / 0.125)
    assert [p.round for p in fit.curve] == [1, 2, 3, 4, 5]


def test_seconds_of_each_worker_add_up_to_the_fit(make_fit):
    seen = Aggregate()
    seen.extend(make_fit(n=6))
    loads = worker_loads(seen.fits)
    assert [w.compute for w in loads] == pytest.approx([0.6, 0.6, 1.2, 0.6])
    assert [w.wait for w in loads] == pytest.approx([0.6, 0.6, 0.0, 0.6])
    assert [w.transfer for w in loads] == pytest.approx([0.3] * 4)
    for load in loads:
        spent = load.compute + load.transfer + load.wait + load.idle
        assert spent == pytest.approx(seen.fits[0].seconds)
    assert [(w.rows, w.nbytes, w.n_blocks) for w in loads] == [(1000, 80_000, 2)] * 4


def test_compute_of_tasks_side_by_side_counts_once():
    tasks = tuple(TaskEvent("a", b, 1, 10, 80, 0.0, 1.0, threads=2) for b in range(2))
    spent = tallied([RoundEvent("F-1", 0, "loss", 0.0, 1.5, 0, 1, tasks)])
    assert spent == {"a": Seconds(compute=1.0, transfer=0.5, wait=0.0, rows=20)}


def test_events_survive_the_journey_as_dicts(make_fit):
    direct, sent = Aggregate(), Aggregate()
    events = make_fit()
    direct.extend(events)
    sent.extend(event_from_dict(e.as_dict()) for e in events)
    assert worker_loads(direct.fits) == worker_loads(sent.fits)
    assert direct.fits == sent.fits


def test_rows_follow_a_bundle_to_its_new_worker(make_fit):
    seen = Aggregate()
    events = make_fit(workers=("a", "b"), n=2, end=None)
    moved = tuple(
        TaskEvent("a", t.bundle, t.n_blocks, t.rows, t.nbytes, 0.0, 0.1) for t in events[1].tasks
    )
    seen.extend([*events, RoundEvent(events[0].fit, 2, "loss", 1001.0, 0.3, 0, 1, moved)])
    assert {w.worker: w.rows for w in worker_loads(seen.fits)} == {"a": 2000, "b": 0}


def test_a_round_over_a_part_leaves_the_rest_where_it_was():
    seen = Aggregate()
    seen.add(FitEvent("F-1", "started", 0.0, rows=20, n_bundles=2))
    both = tuple(TaskEvent(w, b, 1, 10, 80, 0.0, 0.1) for b, w in enumerate("ab"))
    seen.add(RoundEvent("F-1", 0, "load", 0.0, 0.1, 0, 1, both))
    seen.add(RoundEvent("F-1", 1, "batch", 0.1, 0.1, 0, 1, both[:1]))
    assert {w.worker: w.rows for w in worker_loads(seen.fits)} == {"a": 10, "b": 10}


def test_running_fits_hold_rows_side_by_side_and_ended_ones_in_turn(make_fit):
    ended, running = Aggregate(), Aggregate()
    for k in (1, 2):
        ended.extend(make_fit(f"Ridge-{k}"))
        running.extend(make_fit(f"Ridge-{k}", end=None))
    assert {w.rows for w in worker_loads(ended.fits)} == {1000}
    assert {w.rows for w in worker_loads(running.fits)} == {2000}


def test_the_window_sums_the_last_rounds_only(make_fit):
    seen = Aggregate()
    seen.extend(make_fit(n=WINDOW_ROUNDS + 30))
    loads = worker_loads(seen.fits, window=True)
    assert loads[2].compute == pytest.approx(0.2 * WINDOW_ROUNDS)
    assert [w.idle for w in loads] == pytest.approx([0.01 * (WINDOW_ROUNDS - 1)] * 4)
    assert loads[2].rows_per_second == pytest.approx(1000 / 0.2)


def test_memory_is_bounded(make_fit):
    seen = Aggregate(max_fits=3, max_points=10)
    for k in range(8):
        seen.extend(make_fit(f"KMeans-{k}", n=25))
    assert [fit.label for fit in seen.fits] == ["KMeans-5", "KMeans-6", "KMeans-7"]
    assert seen.totals["tcp://10.0.0.3:403"].compute == pytest.approx(8 * 25 * 0.2)
    assert all(len(fit.points) == 10 and fit.n_rounds == 25 for fit in seen.fits)
    tasks = Aggregate()
    many = tuple(str(i) for i in range(2000))
    tasks.extend(make_fit(workers=many, seconds=[0.1] * 2000, rows=[1] * 2000, n=6))
    assert sum(len(r.tasks) for r in tasks.fits[0].window) <= 5000


def test_fits_of_one_name_and_several_drivers_stay_apart(make_fit):
    seen = Aggregate()
    ours, theirs = (make_fit("KMeans-1", n=n, end=end, fit_id=i) for n, end, i in
                    ((3, "finished", "a"), (5, "failed", "b")))  # fmt: skip
    for pair in zip(ours, theirs, strict=False):  # two drivers at once
        seen.extend(pair)
    seen.extend(theirs[len(ours):])  # fmt: skip
    assert [(f.label, f.n_rounds, f.state) for f in seen.fits] == [
        ("KMeans-1", 3, "finished"),
        ("KMeans-1 (2)", 5, "failed"),
    ]
    assert {f.estimator for f in seen.fits} == {"KMeans"}


def test_rounds_without_a_start_are_a_fit_too(make_fit):
    seen = Aggregate()
    seen.extend(make_fit()[1:4])
    assert [(f.label, f.state, f.n_rounds) for f in seen.fits] == [
        ("LogisticRegression-1", "running", 3)
    ]


def test_latest_is_what_runs_or_else_what_ended_last(make_fit):
    seen = Aggregate()
    assert seen.latest() == []
    seen.extend(make_fit("Ridge-1"))
    seen.extend(make_fit("Ridge-2"))
    assert [f.label for f in seen.latest()] == ["Ridge-2"]
    seen.extend(make_fit("Ridge-3", end=None))
    seen.extend(make_fit("Ridge-4", end=None))
    assert [f.label for f in seen.latest()] == ["Ridge-3", "Ridge-4"]
    assert [f.label for f in seen.recent(3)] == ["Ridge-2", "Ridge-3", "Ridge-4"]


def test_workers_come_in_natural_order(make_fit):
    seen = Aggregate()
    seen.extend(make_fit(workers=("local-10", "local-9", "local-1"), n=1))
    assert [w.worker for w in worker_loads(seen.fits)] == ["local-1", "local-9", "local-10"]


def test_short_names_stay_apart():
    assert short_names(["tcp://a:1", "tcp://a:2"]) == {"tcp://a:1": "a:1", "tcp://a:2": "a:2"}
    assert short_names(["tcp://a:1", "tls://a:1"])["tls://a:1"] == "tls://a:1"
