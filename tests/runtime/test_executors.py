"""One suite for every executor: the same totals, the same states, the same bookkeeping."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from itertools import groupby

import dask.array as da
import numpy as np
import pytest
from dask.sizeof import sizeof
from distributed import Client, LocalCluster
from hypothesis import given, settings, strategies as st

import daskml_kit
from daskml_kit.exceptions import InvalidParameterError
from daskml_kit.linear_model import LogisticRegression, Ridge
from daskml_kit.runtime import graph
from daskml_kit.runtime.actors import ActorExecutor
from daskml_kit.runtime.block import Block
from daskml_kit.runtime.cluster import active_client
from daskml_kit.runtime.events import (
    FitLog,
    Measured,
    RoundEvent,
    TaskEvent,
    attribute_waits,
    event_from_dict,
)
from daskml_kit.runtime.ingest import Spec
from daskml_kit.runtime.local import LocalExecutor
from daskml_kit.runtime.opening import open_dataset
from daskml_kit.runtime.reduction import FAN_IN, Reduction
from daskml_kit.runtime.remote import GraphExecutor

rng = np.random.default_rng(4)
N, D = 1_000, 4
X = rng.normal(size=(N, D))
Y = rng.normal(size=N)
SPEC = Spec("Tester", target="values")
EDGES = {"as they come": None, "one": [0, N], "twenty": [0, *range(50, N, 50), N],
         "uneven": [0, 1, 2, 900, N]}  # fmt: skip


def product(block, w):
    """Rows as concatenated strings would show a change of order: so does this matrix product."""
    return np.array([[1.0, float(block.n_rows)], [0.0, 1.0]]), block.X.T @ (block.X @ w - block.y)


def chained(a, b):
    return a[0] @ b[0], a[1] + b[1]


def gradient_of(part):
    return part[1]


SUM = Reduction("sum", product, chained)
GRADIENT = Reduction("gradient", product, chained, gradient_of)


def descend(w, gradient):
    return w - 1e-3 * gradient


def itself(w):
    return w


def squared_norm(w):
    return float(w @ w)


KINDS = {"local": LocalExecutor, "graph": GraphExecutor, "actor": ActorExecutor}


@pytest.fixture(params=KINDS)
def make(request):
    """Opens the data under one of the executors."""
    remote = request.param != "local"
    if remote:
        request.getfixturevalue("client")
    opened = []

    def open_(edges=None):
        rows, y = X, Y
        if remote:
            rows, y = da.from_array(X, chunks=(130, -1)), da.from_array(Y, chunks=130)
        log = FitLog("Tester")
        # No rows move: on a machine that is busy with other things they may.
        with daskml_kit.config_context(executor=request.param, balance="data"):
            data, executor = open_dataset(
                rows, y, spec=SPEC, log=log, edges=None if edges is None else lambda facts: edges
            )
        assert type(executor) is KINDS[request.param]
        opened.append((data, executor))
        return data, executor

    yield open_
    for data, executor in opened:
        data.release()
        executor.close()


@pytest.mark.parametrize("edges", EDGES)
def test_reduce_is_the_reduction(make, edges):
    data, executor = make(EDGES[edges])
    w = rng.normal(size=D)
    order, total = executor.reduce(data, SUM, w)
    expected = SUM([Block(X, Y)], w)
    assert order[0, 1] == N  # counts are exact
    np.testing.assert_allclose(total, expected[1], rtol=1e-12)
    if len(data.bundles) == 1:
        np.testing.assert_allclose(total, expected[1], rtol=1e-14)


def test_the_same_bits_every_time(make):
    """The order of summation is fixed, whoever finishes first."""
    data, executor = make(EDGES["twenty"])
    w = rng.normal(size=D)
    first = executor.reduce(data, SUM, w)[1]
    for _ in range(5):
        np.testing.assert_array_equal(executor.reduce(data, SUM, w)[1], first)


def stacked(bundles):
    return np.concatenate([block.X for bundle in bundles for block in bundle])


def column_sum(rows, j):
    return rows[:, j].sum(), os.getpid()


@pytest.mark.parametrize("edges", ["as they come", "twenty"])
def test_fan_gives_every_item_all_rows(make, edges):
    data, executor = make(EDGES[edges])
    before = len(executor.log.rounds)
    found = executor.fan(data, "columns", stacked, column_sum, range(D))
    np.testing.assert_allclose([total for total, _ in found], X.sum(axis=0), atol=1e-12)
    if not isinstance(executor, LocalExecutor):
        assert len({process for _, process in found}) == 2  # side by side
    event = executor.log.rounds[-1]
    assert len(executor.log.rounds) == before + 1
    assert (event.name, event.passes, len(event.tasks)) == ("columns", 1, D)


def halves(bundle, at):
    parts = [[b.slice(0, at), b.slice(at, b.n_rows)] for b in bundle if b.n_rows > at]
    return [[pair[i] for pair in parts] for i in range(2)]


def sums(bundle, at):
    return [block.X.sum(axis=0) for block in bundle][:1] * 2


def rows_and_sum(pieces, item):
    blocks = [block for own in pieces for block in own]
    total = sum((b.X.sum(axis=0) for b in blocks), np.zeros(D))
    return item, [(b.start, b.n_rows) for b in blocks], total


def how_many(pieces, item):
    return len(pieces)


@pytest.mark.parametrize("edges", ["as they come", "twenty"])
def test_exchange_gives_every_item_its_pieces(make, edges):
    data, executor = make(EDGES[edges])
    executor.reduce(data, SUM, np.zeros(D))
    before = len(executor.log.rounds)
    found = executor.exchange(data, "halves", halves, rows_and_sum, 10, "ab")
    assert [item for item, _, _ in found] == ["a", "b"]
    for _, where, _ in found:
        assert where == sorted(where)  # in the order of the bundles
    assert sum(n for _, where, _ in found for _, n in where) == N
    np.testing.assert_allclose(sum(total for _, _, total in found), X.sum(axis=0), atol=1e-11)
    event = executor.log.rounds[-1]
    assert len(executor.log.rounds) == before + 1
    assert (event.name, event.passes) == ("halves", 1)
    held = [sum(n for _, n in where) for _, where, _ in found]
    assert [t.rows for t in event.tasks] == held  # each task with what its pieces hold
    assert all(n * D * 8 <= t.nbytes for n, t in zip(held, event.tasks, strict=True))
    assert executor.exchange(data, "sums", sums, how_many, 0, "a") == [len(data.bundles)]
    assert [t.rows for t in executor.log.rounds[-1].tasks] == [0]  # sums of rows are no rows


def test_the_balance_goes_by_rounds_over_the_rows(make, monkeypatch):
    data, executor = make()
    if isinstance(executor, LocalExecutor):
        return  # one worker
    executor.reduce(data, SUM, np.zeros(D))
    executor.exchange(data, "sums", sums, how_many, 0, "a")
    asked = []

    def speeds(name, workers):
        asked.append(name)
        return dict.fromkeys(workers, 1.0)

    monkeypatch.setattr(executor, "balance", "adaptive")
    monkeypatch.setattr(executor._balancer, "speeds", speeds)
    monkeypatch.setattr(executor._balancer, "pays", lambda *_: False)
    executor._balancer.lost = 1e9
    executor._adapt(data)
    assert asked == ["sum"]


@pytest.mark.parametrize("edges", ["as they come", "twenty"])
def test_iterate_is_reduce_and_update_again_and_again(make, edges):
    data, executor = make(EDGES[edges])
    states = executor.iterate(
        data, GRADIENT, np.zeros(D), point=itself, update=descend, n_rounds=4,
        objective=squared_norm,
    )  # fmt: skip
    ahead = len(states)
    assert ahead == (4 if type(executor) is GraphExecutor else 1)
    w = np.zeros(D)
    for state in states:
        w = descend(w, executor.reduce(data, GRADIENT, w))
        np.testing.assert_array_equal(state, w)
    log = executor.log
    assert log.n_passes == len(log.rounds) == 1 + ahead + ahead
    assert [r.objective for r in log.rounds[1 : 1 + ahead]] == [squared_norm(s) for s in states]


def five_steps(executor, data, state, go_on):
    """Descent to five steps, at least one a call."""
    w, n = state
    while True:
        w, n = descend(w, executor.reduce(data, GRADIENT, w, objective=largest)), n + 1
        if n == 5 or not go_on():
            return w, n


def largest(gradient):
    return Measured(gradient.max(), np.abs(gradient).max())


@pytest.mark.parametrize("edges", ["as they come", "twenty"])
def test_lead_is_the_steps_wherever_they_run(make, edges):
    data, executor = make(EDGES[edges])
    start = np.zeros(D)
    w, n = start, 0
    while n < 5:
        w, n = executor.lead(data, five_steps, (w, n))
    assert not start.any()
    log = executor.log
    assert log.n_passes == len(log.rounds) == 1 + 5
    again = np.zeros(D)
    for event in log.rounds[1:]:
        gradient = executor.reduce(data, GRADIENT, again)
        assert event.objective == gradient.max()
        assert event.gradient_norm == np.abs(gradient).max()
        again = descend(again, gradient)
    np.testing.assert_array_equal(w, again)


def doubled(bundle, factor):
    return bundle.map(partial(times, factor))


def times(factor, block):
    return replace(block, X=block.X * factor)


def test_map_stays_resident(make):
    data, executor = make(EDGES["twenty"])
    w = rng.normal(size=D)
    with executor.map(data, doubled, 2.0) as mapped:
        assert [b.worker for b in mapped.bundles] == [b.worker for b in data.bundles]
        assert [b.n_rows for b in mapped.bundles] == [b.n_rows for b in data.bundles]
        got = executor.reduce(mapped, SUM, w)[1]
        np.testing.assert_allclose(got, SUM([Block(2 * X, Y)], w)[1], rtol=1e-12)
    original = executor.reduce(data, SUM, w)[1]
    np.testing.assert_allclose(original, SUM([Block(X, Y)], w)[1], rtol=1e-12)


def failing(block, params):
    raise ZeroDivisionError("in the chunk")


def test_an_error_in_a_task_comes_out_as_it_is(make):
    data, executor = make()
    with pytest.raises(ZeroDivisionError, match="in the chunk"):
        executor.reduce(data, Reduction("bad", failing, chained), None)
    assert np.isfinite(executor.reduce(data, SUM, np.zeros(D))[1]).all()  # and it goes on


@pytest.mark.parametrize("edges", ["as they come", "twenty"])
def test_the_seconds_of_a_round_add_up(make, edges):
    data, executor = make(EDGES[edges])
    executor.reduce(data, SUM, np.zeros(D))
    executor.iterate(data, GRADIENT, np.zeros(D), point=itself, update=descend, n_rounds=2)
    load, *rounds = executor.log.rounds
    assert (load.name, load.passes) == ("load", 1)
    assert sum(t.rows for t in load.tasks) == N
    for event in rounds:
        assert [t.bundle for t in event.tasks] == list(range(len(data.bundles)))
        assert sum(t.rows for t in event.tasks) == N  # one pass: each row once
        assert event.bytes_moved > 0
        assert event.imbalance >= 1.0
        per_worker = groupby(sorted(event.tasks, key=lambda t: t.worker), key=lambda t: t.worker)
        for _, tasks in per_worker:
            seconds = sum(
                t.compute_seconds / t.threads + t.wait_seconds + t.transfer_seconds for t in tasks
            )
            # A graph of several rounds gives each an equal share, which may be less than its compute.
            slack = max(event.busy_seconds.values()) if event.name == "gradient" else 0.0
            assert seconds == pytest.approx(event.seconds, abs=1e-9 + slack)
        assert event_from_dict(event.as_dict()) == event


@given(
    busy=st.lists(
        st.tuples(st.sampled_from("abc"), st.floats(0, 5), st.integers(1, 3)), min_size=1
    ),
    slack=st.floats(0, 5),
)
def test_waits_are_attributed(busy, slack):
    tasks = [
        TaskEvent(w, i, 1, 10, 80, 0.0, seconds, threads)
        for i, (w, seconds, threads) in enumerate(busy)
    ]
    bare = RoundEvent("f", 0, "r", 0.0, 0.0, 0, 1, tuple(tasks))
    seconds = max(bare.busy_seconds.values()) + slack
    full = attribute_waits(tasks, seconds)
    for worker in {t.worker for t in tasks}:
        own = [t for t in full if t.worker == worker]
        total = sum(
            t.compute_seconds / t.threads + t.wait_seconds + t.transfer_seconds for t in own
        )
        assert total == pytest.approx(seconds, abs=1e-9)
        assert min(t.wait_seconds for t in own) >= 0


# ------------------------------------------------------------------ plans


def sites(n):
    return [graph.Site(f"bundle-{i}", f"w{i % 3}") for i in range(n)]


@pytest.mark.parametrize("n", [1, 8, 9, 64, 65])
def test_a_round_is_one_pinned_task_a_bundle_and_a_tree(n):
    plan = graph.round_plan(sites(n), SUM, np.zeros(D))
    maps = [k for k in plan.tasks if "-map" in k[0]]
    merges = [k for k in plan.tasks if "-merge" in k[0]]
    assert len(maps) == n
    assert [plan.pins[k] for k in maps] == [s.worker for s in sites(n)]
    assert all(k not in plan.pins for k in merges)
    assert all(1 <= len(plan.tasks[k].dependencies) <= FAN_IN for k in merges)
    assert len(plan.outputs) <= FAN_IN
    assert len(maps) + len(merges) == len(plan.tasks)  # parameters are small: no task of their own
    assert all(str(k[0]).startswith("daskml-") for k in plan.tasks)
    (layer,) = plan.layered().layers.values()
    assert layer.annotations["allow_other_workers"](maps[0]) is True


def test_large_parameters_travel_once():
    plan = graph.round_plan(sites(4), SUM, np.zeros(graph.EMBED_BYTES))
    (params,) = [k for k in plan.tasks if "-params" in k[0]]
    maps = [k for k in plan.tasks if "-map" in k[0]]
    assert all(params in plan.tasks[k].dependencies for k in maps)


@pytest.mark.parametrize("n", [1, 3, 20])
def test_unrolled_rounds_wait_for_each_other(n):
    plan = graph.unrolled_plan(sites(n), GRADIENT, np.zeros(D), itself, descend, 3)
    assert len(plan.outputs) == 3
    for t in range(3):
        maps = [k for k in plan.tasks if f"-map-{t}" in k[0]]
        assert len(maps) == n
        (state,) = set().union(*(plan.tasks[k].dependencies for k in maps))
        assert state[0].endswith("-state")
        assert state[1] == t


def total_of_params(block, params):
    return params[: block.n_rows].sum() + len(params)


def test_large_parameters_arrive(client):
    data, executor = open_dataset(da.from_array(X, chunks=(100, -1)), spec=Spec())
    try:
        big = np.ones(2 * graph.EMBED_BYTES // 8)
        count = Reduction("big", total_of_params, float.__add__)
        total = executor.reduce(data, count, big)
        blocks = sum(task.n_blocks for task in executor.log.rounds[-1].tasks)
        assert total == N + blocks * len(big)
        assert executor.log.rounds[-1].bytes_moved >= big.nbytes
    finally:
        data.release()
        executor.close()


def test_what_stays_on_its_worker_is_not_moved():
    """Parts that are merged, and pieces that are brought together, where they were made."""
    made = [graph.Stamped(np.ones(n), (), 8 * n, worker) for n, worker in ((4, "a"), (4, "b"))]
    add = Reduction("add", n_rows, np.add)
    one = graph.merge_stamped(add, made, worker="a")
    assert (one.nbytes, one.fetched) == (sizeof(one.part), 32)
    two = graph.merge_stamped(add, [one, made[0]], worker="a")
    assert two.part_bytes == sizeof(two.part) + 32
    pieces, here = [np.ones(4), np.ones(9)], graph.here()
    for homes, fetched in (((here, here), 0), ((here, "b"), sizeof(pieces[1])), ((), 0)):
        share = graph.run_share(0, 1, total_of, pieces, None, homes)
        assert (share.fetched, share.events[0].nbytes) == (fetched, sum(map(sizeof, pieces)))


def total_of(pieces, item):
    return sum(piece.sum() for piece in pieces)


def test_every_bundle_is_read_where_it_lives(client):
    """Pinned tasks: no bundle moves, both workers work."""
    data, executor = open_dataset(
        da.from_array(X, chunks=(10, -1)), spec=Spec(), edges=lambda facts: EDGES["twenty"]
    )
    try:
        for _ in range(5):
            executor.reduce(data, Reduction("rows", n_rows, int.__add__), None)
            event = executor.log.rounds[-1]
            assert [t.worker for t in event.tasks] == [b.worker for b in data.bundles]
            assert len(event.busy_seconds) == 2
        holders = client.who_has([b.handle for b in data.bundles])
        assert [holders[b.handle.key] for b in data.bundles] == [(b.worker,) for b in data.bundles]
    finally:
        data.release()
        executor.close()


def n_rows(block, params):
    return block.n_rows


# ------------------------------------------------------------------ fits


@pytest.mark.parametrize(
    ("estimator", "rounds"),
    [
        (Ridge(), ["load", "moments"]),
        (LogisticRegression(solver="newton"), None),
        (LogisticRegression(solver="lbfgs"), None),
        (LogisticRegression(solver="gd"), None),
    ],
    ids=str,
)
def test_each_round_reads_each_row_once(client, estimator, rounds):
    y = (Y > 0).astype(int)
    with daskml_kit.record() as run, daskml_kit.config_context(balance="data"):
        estimator.fit(da.from_array(X, chunks=(70, -1)), da.from_array(y, chunks=90))
    names = [r.name for r in run.rounds]
    if rounds is None:
        assert names.pop(1) == "means"  # of a few rows
        evaluations = estimator.n_rounds_ - 2
        orders = {"binomial-gradient"} | (
            {"binomial-hessian"} if estimator.solver == "newton" else set()
        )
        assert set(names[1:]) == orders
        rounds = names[:1] + names[1:][:evaluations]
        assert estimator.n_iter_[0] + 1 <= evaluations <= 2 * (estimator.n_iter_[0] + 1)
    assert names == rounds
    assert estimator.n_passes_ == len(rounds)
    assert estimator.n_rounds_ == len(run.rounds) == len(estimator.history_)
    for event in run.rounds:
        assert sum(t.rows for t in event.tasks) == N
    assert [(e.state, e.fit) for e in run.events if hasattr(e, "state")] == [
        (state, run.fits[0]) for state in ("started", "running", "finished")
    ]  # fmt: skip


def test_newton_takes_few_rounds():
    est = LogisticRegression(solver="newton", tol=1e-8).fit(X, (X @ np.ones(D) + Y > 0))
    names = [r["name"] for r in est.history_ if r["name"] != "means"]  # of a few rows
    assert len(names) <= 9
    assert names.count("binomial-hessian") <= 5


def test_the_scheduler_hears_of_the_fit(client):
    est = Ridge().fit(da.from_array(X, chunks=(100, -1)), da.from_array(Y, chunks=100))
    events = [
        event_from_dict(record)
        for _, batch in client.get_events("daskml-kit")
        for record in (batch if isinstance(batch, (list, tuple)) else [batch])
    ]
    mine = [e for e in events if e.fit == events[-1].fit]
    assert [getattr(e, "name", None) or e.state for e in mine] == [
        "started", "running", "load", "moments", "finished"
    ]  # fmt: skip
    assert est.n_rounds_ == 2


def test_the_graph_of_a_round_is_drawn(client, tmp_path):
    with daskml_kit.record() as run:
        Ridge().fit(da.from_array(X, chunks=(100, -1)), da.from_array(Y, chunks=100))
    drawing = run.visualize(tmp_path / "round.svg")
    assert (tmp_path / "round.svg").read_text().startswith("<svg")
    pinned = {n.worker for n in drawing.nodes.values() if n.worker}
    assert pinned - {"driver"} == set(client.scheduler_info(n_workers=-1)["workers"])
    with daskml_kit.record() as run:
        Ridge().fit(X, Y)
    with pytest.raises(InvalidParameterError, match="No task graph was recorded"):
        run.visualize()


def lazily(rows, y, cuts):
    edges = [0, *sorted(cuts), len(rows)]
    sizes = tuple(np.diff(edges).tolist())
    return da.from_array(rows, chunks=(sizes, -1)), da.from_array(y, chunks=(sizes,))


BINARY = (X @ np.arange(D) + rng.normal(size=N) > 0).astype(int)
EXACT = LogisticRegression(tol=1e-12, solver="newton").fit(X, BINARY)
RIDGE = Ridge().fit(X, Y)


def check_answers(rows, y, values):
    ours = LogisticRegression(tol=1e-12, solver="newton").fit(rows, y)
    np.testing.assert_allclose(ours.coef_, EXACT.coef_, rtol=1e-9)
    np.testing.assert_allclose(ours.intercept_, EXACT.intercept_, rtol=1e-9)
    np.testing.assert_array_equal(np.asarray(ours.predict(rows)), EXACT.predict(X))
    ridge = Ridge().fit(rows, values)
    np.testing.assert_allclose(ridge.coef_, RIDGE.coef_, rtol=1e-9)


cuts_of = st.lists(st.integers(0, N), max_size=12)


@settings(max_examples=15, deadline=None)
@given(cuts=cuts_of)
def test_chunks_change_nothing_in_this_process(cuts):
    assert active_client() is None
    check_answers(*lazily(X, BINARY, cuts), lazily(X, Y, cuts)[1])


@pytest.mark.parametrize("n_workers", [1, 2, 4])
def test_neither_chunks_nor_workers_change_anything(n_workers):
    with LocalCluster(
        n_workers=n_workers, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0"
    ) as cluster, Client(cluster):  # fmt: skip

        @settings(max_examples=5, deadline=None)
        @given(cuts=cuts_of)
        def check(cuts):
            check_answers(*lazily(X, BINARY, cuts), lazily(X, Y, cuts)[1])

        check()


@pytest.mark.parametrize("unroll", [1, 4])
def test_uneven_chunks_on_real_processes(client, unroll):
    rows, y = lazily(X, BINARY, [1, 2, 3, 900])
    how = {"solver": "lbfgs", "tol": 1e-6}
    ours = LogisticRegression(unroll=unroll, **how).fit(rows, y)
    alone = LogisticRegression(**how).fit(X, BINARY)
    np.testing.assert_allclose(ours.coef_, alone.coef_, rtol=1e-9)
    last = [r for r in ours.history_ if r["name"] != "load"]
    assert len(last) >= 3
