"""Placement: every row once, in order, evenly, within the memory, and nothing moved without need."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from daskml_kit.runtime.placement import (
    BUNDLE_MEMORY_SHARE,
    TOLERATED_IMBALANCE,
    Piece,
    WorkerInfo,
    cut,
    even_out,
    pack,
    reassign,
    settle,
    spread,
)

sizes_of = st.lists(st.integers(0, 500), min_size=1, max_size=30)
workers_of = st.lists(st.integers(1, 4), min_size=1, max_size=5).map(
    lambda threads: [WorkerInfo(f"w{i}", n) for i, n in enumerate(threads)]
)


def loads(sizes, where, workers):
    out = [0.0] * len(workers)
    for size, at in zip(sizes, where, strict=True):
        out[at] += size / workers[at].n_threads
    return out


def pieces_of(rows, bytes_a_row=8):
    starts = np.concatenate([[0], np.cumsum(rows)[:-1]]).astype(int).tolist()
    return [
        Piece(i, 0, n, s, n * bytes_a_row)
        for i, (n, s) in enumerate(zip(rows, starts, strict=True))
    ]


def rows_of(bundle):
    return sum(p.n_rows for p in bundle)


def check_cover(bundles, rows):
    """Every row of every block exactly once, in order, with the right global number."""
    starts = np.concatenate([[0], np.cumsum(rows)[:-1]]).astype(int)
    at = 0
    for piece in (p for bundle in bundles for p in bundle):
        assert piece.start == starts[piece.block] + piece.low
        assert 0 <= piece.low <= piece.high <= rows[piece.block]
        if piece.n_rows:
            assert piece.start == at
        at += piece.n_rows
    assert at == sum(rows)


@given(rows=sizes_of, threads=st.integers(1, 6))
def test_pack_covers_every_row_and_is_even(rows, threads):
    bundles = pack(pieces_of(rows), WorkerInfo("w", threads))
    check_cover(bundles, rows)
    counts = [rows_of(b) for b in bundles]
    if sum(rows):
        assert max(counts) - min(counts) <= 1
        assert len(bundles) == min(threads, sum(rows))


@given(rows=sizes_of, threads=st.integers(1, 4), limit=st.integers(10_000, 10**6))
def test_pack_respects_the_memory(rows, threads, limit):
    worker = WorkerInfo("w", threads, limit)
    bundles = pack(pieces_of(rows, bytes_a_row=64), worker)
    check_cover(bundles, rows)
    assert max(rows_of(b) * 64 for b in bundles) <= limit * BUNDLE_MEMORY_SHARE / threads + 64
    if sum(rows) >= threads:
        assert len(bundles) % threads == 0 or len(bundles) == sum(rows)  # whole waves


def test_pack_of_nothing():
    assert pack([], WorkerInfo("w")) == []
    assert rows_of(pack(pieces_of([0, 0]), WorkerInfo("w"))[0]) == 0


@given(rows=sizes_of, data=st.data())
def test_cut_is_exact(rows, data):
    n = sum(rows)
    inner = data.draw(st.lists(st.integers(0, n), max_size=6).map(sorted))
    edges = [0, *inner, n]
    bundles = cut(pieces_of(rows), edges)
    check_cover(bundles, rows)
    assert [rows_of(b) for b in bundles] == np.diff(edges).tolist()


@given(sizes=sizes_of, workers=workers_of)
def test_spread_is_contiguous_and_in_proportion(sizes, workers):
    where = spread(sizes, workers)
    assert where == sorted(where)
    load = loads(sizes, where, workers)
    mean = sum(sizes) / sum(w.n_threads for w in workers)
    for at, worker in enumerate(workers):  # half a block at each end
        assert abs(load[at] - mean) <= max(sizes) / worker.n_threads + 1e-9 or not sum(sizes)


def test_spread_of_equal_blocks_is_even():
    workers = [WorkerInfo("a"), WorkerInfo("b", 3)]
    assert spread([1.0] * 8, workers) == [0, 0, 1, 1, 1, 1, 1, 1]
    assert spread([0.0] * 4, [WorkerInfo("a"), WorkerInfo("b")]) == [0, 0, 1, 1]


@given(sizes=sizes_of, workers=workers_of, data=st.data())
def test_even_out_places_all_and_never_worsens(sizes, workers, data):
    choice = st.one_of(st.none(), st.integers(0, len(workers) - 1))
    held = data.draw(st.lists(choice, min_size=len(sizes), max_size=len(sizes)))
    where = even_out(sizes, held, workers)
    assert all(0 <= at < len(workers) for at in where)
    if all(at is not None for at in held):
        after, before = (max(loads(sizes, w, workers)) for w in (where, held))
        assert after <= before + 1e-9
        mean = sum(sizes) / sum(w.n_threads for w in workers)
        if before <= TOLERATED_IMBALANCE * mean:
            assert where == held  # even enough: nothing moves


@given(sizes=sizes_of, workers=workers_of, data=st.data())
def test_settle_moves_nothing_and_places_the_rest(sizes, workers, data):
    choice = st.one_of(st.none(), st.integers(0, len(workers) - 1))
    held = data.draw(st.lists(choice, min_size=len(sizes), max_size=len(sizes)))
    where = settle(sizes, held, workers)
    assert all(h in (None, at) for h, at in zip(held, where, strict=True))
    assert all(0 <= at < len(workers) for at in where)


@pytest.mark.parametrize("n", [10, 20, 64])
def test_nine_to_one_is_evened(n):
    workers = [WorkerInfo("a"), WorkerInfo("b")]
    held = [0] * (9 * n // 10) + [1] * (n - 9 * n // 10)
    where = even_out([100.0] * n, held, workers)
    assert where.count(0) <= TOLERATED_IMBALANCE * n / 2
    assert where.count(0) + 1 > TOLERATED_IMBALANCE * n / 2  # and not one block more is moved
    assert all(w == 1 for h, w in zip(held, where, strict=True) if h == 1)


@given(
    homes=st.lists(st.sampled_from(["a", "b", "gone", "lost"]), min_size=1, max_size=40),
    threads=st.tuples(st.integers(1, 3), st.integers(1, 3)),
)
def test_reassign_moves_only_the_lost(homes, threads):
    workers = {n: WorkerInfo(n, t) for n, t in zip("ab", threads, strict=True)}
    after = reassign(homes, [1.0] * len(homes), workers)
    assert set(after) <= {"a", "b"}
    for home, now in zip(homes, after, strict=True):
        assert home not in workers or home == now


def test_reassign_is_even():
    workers = {n: WorkerInfo(n) for n in "abc"}
    after = reassign(["a"] * 4 + ["gone"] * 8, [1.0] * 12, workers)
    assert [after.count(n) for n in "abc"] == [4, 4, 4]
