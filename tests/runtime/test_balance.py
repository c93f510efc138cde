"""Rows move when that pays, as many as the workers' speeds ask for, and no answer changes."""

from __future__ import annotations

import itertools
import math
import os
import time
from dataclasses import replace

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, strategies as st

import daskml_kit
from daskml_kit.runtime.balance import MOVE_SECONDS, Balancer, moved, rows_by_worker, shares
from daskml_kit.runtime.block import Block, Bundle
from daskml_kit.runtime.events import RoundEvent, TaskEvent, imbalance
from daskml_kit.runtime.ingest import Spec
from daskml_kit.runtime.opening import open_dataset
from daskml_kit.runtime.placement import Piece, WorkerInfo
from daskml_kit.runtime.reduction import Reduction

# ---------------------------------------------------------------- pure

speeds_of = st.lists(st.floats(0.1, 100), min_size=1, max_size=8)


@given(n_rows=st.integers(0, 10_000), speeds=speeds_of)
def test_shares_follow_the_speeds(n_rows, speeds):
    out = shares(n_rows, speeds, [math.inf] * len(speeds))
    assert sum(out) == n_rows
    for rows, speed in zip(out, speeds, strict=True):
        assert abs(rows - n_rows * speed / sum(speeds)) <= 1.0


@given(n_rows=st.integers(0, 10_000), speeds=speeds_of, data=st.data())
def test_shares_stay_within_the_memory(n_rows, speeds, data):
    most = data.draw(st.lists(st.floats(0, 5_000), min_size=len(speeds), max_size=len(speeds)))
    out = shares(n_rows, speeds, most)
    assert sum(out) == n_rows
    assert min(out) >= 0
    if sum(most) >= n_rows:
        assert all(rows <= m + 1 for rows, m in zip(out, most, strict=True))


@given(
    sizes=st.lists(st.lists(st.integers(0, 50), max_size=5), min_size=1, max_size=5),
    data=st.data(),
)
def test_moved_covers_every_row_once_and_moves_no_more_than_it_must(sizes, data):
    blocks = iter(range(100))
    held = [[Piece(next(blocks), 0, n, 0, 8 * n) for n in own] for own in sizes]
    n_rows = sum(map(sum, sizes))
    cuts = data.draw(
        st.lists(st.integers(0, n_rows), min_size=len(held) - 1, max_size=len(held) - 1)
    )
    edges = [0, *sorted(cuts), n_rows]
    targets = np.diff(edges).tolist()
    after = moved(held, targets)
    assert [sum(p.n_rows for p in own) for own in after] == targets
    whole = {p.block: p.n_rows for own in held for p in own}
    for block, n in whole.items():
        parts = sorted(
            (p.low, p.high) for own in after for p in own if p.block == block and p.n_rows
        )
        assert [low for low, _ in parts] + [n] == [0] + [high for _, high in parts] or n == 0
    home = {p.block: j for j, own in enumerate(held) for p in own}
    travelled = sum(p.n_rows for j, own in enumerate(after) for p in own if home[p.block] != j)
    before = [sum(own) for own in sizes]
    assert travelled == sum(max(t - b, 0) for t, b in zip(targets, before, strict=True))


@given(sizes=st.lists(st.integers(0, 9), min_size=1, max_size=6), data=st.data())
def test_a_bundle_is_cut_at_any_row(sizes, data):
    starts = np.concatenate([[0], np.cumsum(sizes)]).tolist()
    X = np.arange(starts[-1], dtype=float)[:, None]
    pairs = itertools.pairwise(starts)
    bundle = Bundle(tuple(Block(X[low:high], start=low) for low, high in pairs))
    low = data.draw(st.integers(0, bundle.n_rows))
    high = data.draw(st.integers(low, bundle.n_rows))
    cut = bundle.cut(low, high)
    rows = [x for block in cut for x in block.X[:, 0]]
    assert rows == list(range(low, high))
    assert [r for block in cut for r in block.rows] == rows
    assert all(b in bundle.blocks for b in cut if b.n_rows == len(bundle.blocks[0].X) == high)


WORKERS = {name: WorkerInfo(name) for name in "abc"}


def event(seconds_by_worker, rows=1_000, name="r"):
    tasks = [
        TaskEvent(w, i, 1, rows, 0, 0.0, s) for i, (w, s) in enumerate(seconds_by_worker.items())
    ]
    return RoundEvent("f", 0, name, 0.0, max(seconds_by_worker.values()), 0, 1, tuple(tasks))


def test_even_rounds_cost_nothing():
    balancer = Balancer(1e8)
    for _ in range(1_000):
        balancer.observe(event({"a": 1.0, "b": 1.05, "c": 1.0}), WORKERS)
    assert balancer.lost == 0.0


def test_a_move_pays_when_as_much_was_lost():
    """Two workers have the rows, the third is empty: 1.5 s a round where 1 s would do."""
    balancer = Balancer(bandwidth=1e6)
    rows, targets = {"a": 1_000, "b": 1_000, "c": 0}, {"a": 667, "b": 667, "c": 666}
    speeds = dict.fromkeys("abc", 1_000 / 1.5)
    losses = []
    for _ in range(4):
        losses.append(balancer.observe(event({"a": 1.5, "b": 1.5}), WORKERS))
        assert balancer.speeds("r", WORKERS) == pytest.approx(speeds)
        pays = balancer.pays(rows, targets, speeds, row_bytes=1_500)  # 666 rows take 1 s
        assert pays == (balancer.lost > MOVE_SECONDS + 0.999)
    assert losses == pytest.approx([0.5] * 4)
    assert pays
    balancer.has_moved(10**6, 4.0)
    assert balancer.lost == 0.0
    assert balancer.bandwidth == pytest.approx(5e5)  # half way, on a logarithmic scale


def test_what_a_reduction_does_a_second_is_its_own():
    balancer = Balancer(1e8)
    balancer.observe(event({"a": 1.0, "b": 3.0}, name="slow"), WORKERS)
    balancer.observe(event({"a": 0.1, "b": 0.1}, name="fast"), WORKERS)
    for _ in range(4):
        balancer.observe(event({"a": 1.0, "b": 3.0}, name="slow"), WORKERS)
    assert balancer.speeds("slow", WORKERS) == pytest.approx({"a": 1e3, "b": 1e3 / 3, "c": 1e3 / 2})
    assert balancer.speeds("fast", WORKERS) == pytest.approx(dict.fromkeys("abc", 1e4))


def test_one_slow_round_is_no_slow_worker():
    balancer = Balancer(1e8)
    balancer.observe(event({"a": 1.0, "b": 1.4}), {w: WORKERS[w] for w in "ab"})
    assert balancer.lost == 0.0
    balancer = Balancer(1e8)
    for seconds in (1.0, 1.0, 9.0, 1.0, 1.0):
        balancer.observe(event({"a": 1.0, "b": seconds}), WORKERS)
    speeds = balancer.speeds("r", WORKERS)
    assert speeds["a"] == speeds["b"]


# ---------------------------------------------------------------- on a cluster

N = 2_000
X = np.random.default_rng(0).normal(size=(N, 2))


def working(block, slow):
    """A row takes 150 microseconds, three times as long in the slow process."""
    seconds = 150e-6 * block.n_rows * (3 if os.getpid() == slow else 1)
    time.sleep(seconds)
    return block.X.sum(axis=0), [(block.start, block.n_rows)]


def both(a, b):
    return a[0] + b[0], a[1] + b[1]


WORK = Reduction("work", working, both)


def check_total(total):
    np.testing.assert_allclose(total[0], X.sum(axis=0), rtol=1e-9)
    at = 0
    for start, n in sorted(total[1]):
        assert start == at
        at += n
    assert at == N


def on_workers(client, rows):
    """The data with as many rows on each worker."""
    edges = np.cumsum([0, *rows])
    parts = [
        client.persist(da.from_array(X[low:high], chunks=(100, -1)), workers=[worker])
        for low, high, worker in zip(
            edges[:-1], edges[1:], client.scheduler_info(n_workers=-1)["workers"], strict=True
        )
        if low < high
    ]
    return da.concatenate(parts)


@pytest.fixture(params=["actor", "graph"])
def executor_name(request):
    with daskml_kit.config_context(executor=request.param):
        yield request.param


def loads(executor):
    """Imbalance of each round that read rows."""
    return [imbalance(e.busy_seconds.values()) for e in executor.log.rounds if e.name == "work"]


def test_nine_to_one_is_evened_in_three_rounds(client, executor_name):
    data, executor = open_dataset(on_workers(client, [1_800, 200]), spec=Spec())
    with data:
        for _ in range(4):
            check_total(executor.reduce(data, WORK, 0))
        assert rows_by_worker(executor.log.rounds[1]) == dict(
            zip(executor.workers, [1_800, 200], strict=True)
        )
        after = rows_by_worker(executor.log.rounds[-1])
        assert max(after.values()) <= 1.1 * N / 2
        assert [e.passes for e in executor.log.rounds if e.name == "balance"] == [0]
        holders = client.who_has([b.handle for b in data.bundles])
        assert [holders[b.handle.key] for b in data.bundles] == [(b.worker,) for b in data.bundles]
    executor.close()


def test_nothing_moves_after_the_last_round(client, executor_name):
    """However much it lost: nobody would gain. The next round begins with the move."""
    data, executor = open_dataset(on_workers(client, [1_800, 200]), spec=Spec())
    slow = client.run(os.getpid)[next(iter(executor.workers))]  # the one with most rows
    with data:
        executor.reduce(data, WORK, slow)
        assert executor._balancer.lost > 2 * MOVE_SECONDS
        assert [e.name for e in executor.log.rounds] == ["load", "work"]
        check_total(executor.reduce(data, WORK, slow))
        assert [e.name for e in executor.log.rounds] == ["load", "work", "balance", "work"]
    executor.close()


def test_a_slow_machine_gets_fewer_rows(client, executor_name):
    slow = client.run(os.getpid)
    address, pid = next(iter(slow.items()))
    data, executor = open_dataset(on_workers(client, [1_000, 1_000]), spec=Spec())
    with data:
        for _ in range(8):
            check_total(executor.reduce(data, WORK, pid))
        rows = rows_by_worker(executor.log.rounds[-1])
        assert rows[address] == pytest.approx(N / 4, rel=0.25)
    executor.close()


@pytest.mark.parametrize(("balance", "most"), [("data", 1_800), ("even", 1_000)])
def test_balance_is_a_setting(client, balance, most):
    with daskml_kit.config_context(balance=balance):
        data, executor = open_dataset(on_workers(client, [1_800, 200]), spec=Spec())
    with data:
        for _ in range(4):
            check_total(executor.reduce(data, WORK, 0))
        rows = [rows_by_worker(e) for e in executor.log.rounds if e.name == "work"]
        assert [max(r.values()) for r in rows] == [pytest.approx(most, rel=0.1)] * 4
    executor.close()


def test_groups_of_rows_that_a_fit_asked_for_are_never_cut(client):
    edges = [0, 1_500, N]
    data, executor = open_dataset(
        on_workers(client, [1_000, 1_000]), spec=Spec(), edges=lambda facts: edges
    )
    with data:
        for _ in range(4):
            check_total(executor.reduce(data, WORK, 0))
        assert [b.n_rows for b in data.bundles] == [1_500, 500]
    executor.close()


def test_nothing_moves_where_there_is_no_memory(client):
    """The workers' limits are far below what their processes take: everything stays."""
    data, executor = open_dataset(on_workers(client, [1_800, 200]), spec=Spec())
    with data:
        executor.workers = {
            a: replace(w, memory_limit=200_000) for a, w in executor.workers.items()
        }
        executor._looked = math.inf
        for _ in range(4):
            check_total(executor.reduce(data, WORK, 0))
        assert "balance" not in [e.name for e in executor.log.rounds]
    executor.close()
