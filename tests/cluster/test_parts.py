"""The pieces that k-means is made of, each alone."""

from __future__ import annotations

from dataclasses import replace
from functools import partial, reduce
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import sparse

from daskml_kit.cluster import closest
from daskml_kit.cluster.assignment import At, Labelled, Tally, labelling, tally
from daskml_kit.cluster.closest import Near, Race, far_rows
from daskml_kit.cluster.columns import columns, combined, spread
from daskml_kit.cluster.ground import shift_of
from daskml_kit.cluster.grouping import grouped
from daskml_kit.cluster.lloyd import Rule, Run, averaged, best, cost_of, refilled
from daskml_kit.cluster.parallel import reclustered
from daskml_kit.cluster.refining import sample_of
from daskml_kit.cluster.seeding import padded, seeded
from daskml_kit.cluster.selection import Asked, Chosen, merged, race, smallest, winners
from daskml_kit.cluster.starts import Sampled
from daskml_kit.cluster.weighing import WEIGHED, Drawn, Weighing
from daskml_kit.kernels import naive, nearest
from daskml_kit.kernels.exact_sums import grid_for
from daskml_kit.runtime.block import Block
from daskml_kit.runtime.random import key_of

RNG = np.random.default_rng(0)


def cut(block: Block, edges: list[int]) -> list[Block]:
    bounds = [0, *sorted(edges), block.n_rows]
    return [block.slice(a, b) for a, b in pairwise(bounds)]


# --- selection -------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    keys=st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0, np.inf]), min_size=1, max_size=30),
    edges=st.lists(st.integers(0, 30), max_size=4),
    size=st.integers(1, 12),
)
def test_selection_of_parts_is_selection_of_all(keys, edges, size):
    n = len(keys)
    keys = np.array(keys)
    block = Block(np.arange(2.0 * n).reshape(n, 2), weight=np.arange(1.0, n + 1))
    parts = cut(block, [min(e, n) for e in edges])
    found = [smallest(p, keys[p.start : p.start + p.n_rows], size) for p in parts]
    left, right = found[0], found[-1]
    for part in found[1:]:
        left = merged(size, left, part)
    for part in reversed(found[:-1]):
        right = merged(size, part, right)
    crossed = merged(size, found[-1], found[0])  # the later rows first
    assert np.array_equal(np.lexsort((crossed.rows, crossed.keys)), np.arange(len(crossed.keys)))
    order = [i for i in np.lexsort((np.arange(n), keys)) if np.isfinite(keys[i])][:size]
    for each in (left, right):
        assert each.rows.tolist() == order
        np.testing.assert_array_equal(each.points, block.X[order])
        np.testing.assert_array_equal(each.weights, block.weight[order])


def test_rows_without_mass_are_never_drawn():
    block = Block(np.zeros((4, 1)))
    keys = race(block, np.array([0.0, 1.0, 0.0, 1e-320]), 0, "test")
    assert np.isinf(keys[[0, 2]]).all()
    assert smallest(block, keys, 4).rows.tolist()[0] == 1


def test_the_first_of_a_race_is_drawn_in_proportion_to_its_mass():
    mass = np.array([1.0, 2.0, 5.0])
    block = Block(np.zeros((3, 1)))
    first = [smallest(block, race(block, mass, s, "test"), 1).rows[0] for s in range(2000)]
    share = np.bincount(first, minlength=3) / 2000
    np.testing.assert_allclose(share, mass / 8, atol=0.04)  # 3.6 standard deviations


@pytest.mark.parametrize("skewed", [False, True])
def test_winners_are_the_smallest_of_the_race(skewed):
    """Whether few rows are raced or, since most of the mass is with few of them, all."""
    mass = RNG.uniform(0, 1, 3_000) ** (60 if skewed else 1)
    mass[:5] = 0.0
    block = Block(np.arange(3_000.0)[:, None], weight=mass)
    for size in (1, 40, 2_995, 5_000):
        found = winners(block, 7, Asked("t", size))
        expected = smallest(block, race(block, mass, 7, "t"), size)
        np.testing.assert_array_equal(found.rows, expected.rows)
        np.testing.assert_array_equal(found.keys, expected.keys)


@pytest.mark.parametrize("power", [0, 1, 60])
def test_parts_send_little_more_than_the_sample(power):
    weight = RNG.uniform(0, 1, 8_000) ** power
    block = Block(np.arange(8_000.0)[:, None], weight=weight)
    asked = Asked("t", 40)
    limit = asked.limit(weight.sum(), block.heaviest)
    parts = [winners(p, 7, asked, limit) for p in cut(block, [*range(1_000, 8_000, 1_000)])]
    found = parts[0]
    for part in parts[1:]:
        found = merged(40, found, part)
    expected = smallest(block, race(block, weight, 7, "t"), 40)
    np.testing.assert_array_equal(found.rows, expected.rows)
    assert sum(len(part.keys) for part in parts) < 160  # not 8 times 40


# --- columns ---------------------------------------------------------------------------------


@pytest.mark.parametrize("as_block", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_columns_of_parts(as_block, dtype):
    X = RNG.normal(2.0, 3.0, (50, 4)).astype(dtype)
    total = columns(as_block(X[:0]))
    for part in (X[:7], X[7:7], X[7:20], X[20:]):
        total = combined(total, columns(as_block(part)))
    assert total.n_rows == 50
    np.testing.assert_allclose(total.mean, X.astype(float).mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(total.variance, X.astype(float).var(axis=0), rtol=1e-10)


def test_columns_of_a_constant_are_exact():
    found = columns(np.full((1000, 2), 0.1))
    assert found.mean.tolist() == [0.1, 0.1]
    assert found.squares.tolist() == [0.0, 0.0]


def test_the_shift_is_near_the_mean_and_coarse():
    X = RNG.normal(0, 1, (200, 3)) + 1e8
    shift = shift_of(columns(X), sparse=False)
    assert np.abs(shift - 1e8).max() < 2
    assert (shift * 4 == np.round(shift * 4)).all()
    assert not shift_of(columns(X - 1e8), sparse=False).any()
    assert not shift_of(columns(X), sparse=True).any()


# --- Lloyd -----------------------------------------------------------------------------------


def test_an_empty_cluster_takes_the_mean_of_the_heaviest():
    found = Tally(np.array([[2.0], [0.0], [9.0]]), np.array([1.0, 0.0, 3.0]), 0)
    assert averaged(found).ravel().tolist() == [2.0, 3.0, 3.0]


def test_far_rows_fill_empty_clusters():
    # rows 0 (weight 2), 1, 10 with centre 0; centres at 50 and 60 have none
    tally = Tally(np.array([[11.0], [0.0], [0.0]]), np.array([4.0, 0.0, 0.0]), 0)
    run = Run(np.array([[0.0], [50.0], [60.0]]), tally=tally)
    chosen = Chosen(
        np.array([-100.0, -1.0]),
        np.array([2, 1]),
        np.array([[10.0], [1.0]]),
        np.array([1.0, 1.0]),
    )
    found = refilled(run, chosen)
    assert found.sums.ravel().tolist() == [0.0, 10.0, 1.0]
    assert found.counts.tolist() == [2.0, 1.0, 1.0]
    assert tally.counts.tolist() == [4.0, 0.0, 0.0]


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
def test_the_cost_is_counted_from_sums(form):
    X, weight = RNG.normal(3.0, 1.0, (90, 4)), RNG.uniform(0, 3, 90)
    parts = [
        spread(form(X[r]), weight[r], X[0]) for r in (slice(0, 30), slice(30, 30), slice(30, 90))
    ]
    total = sum(parts[1:], parts[0])
    centers, origin = X[:6] + 0.5, X.mean(axis=0)
    rule = Rule(0.0, 1, origin, total.about(origin))
    grid = grid_for(np.full(5, 100.0), 90)
    found = tally("test")([Block(form(X), weight=weight)], At(centers, origin, grid))
    gaps = ((X[:, None] - centers) ** 2).sum(axis=2).min(axis=1)
    np.testing.assert_allclose(cost_of(rule, centers, found), weight @ gaps, rtol=1e-12)


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(1, 400),
    size=st.integers(1, 60),
    spread=st.sampled_from([1.0, 1e-4]),  # in narrow clusters bounds of old distances say little
    weighted=st.booleans(),
    form=st.sampled_from([np.asarray, sparse.csr_array]),
    edges=st.lists(st.integers(0, 400), max_size=3),
    lost=st.integers(0, 3),
)
def test_the_rows_drawn_are_those_of_a_race_of_all(n, size, spread, weighted, form, edges, lost):
    """Whatever the chunks, and whatever of what blocks remember is lost."""
    rng = np.random.default_rng(n)
    X = rng.integers(0, 5, (n, 2)) + spread * rng.normal(size=(n, 2))
    X[rng.random(n) < 0.2] = X[0]
    weight = rng.integers(0, 4, n).astype(float) if weighted else None
    whole = Block(form(X), weight=weight)
    parts, candidates, origin = cut(whole, [min(e, n) for e in edges]), X[:1], X.mean(axis=0)
    for step in range(4):
        if step == lost:
            parts[0].scratch.clear()
        _, square = naive.nearest(X, candidates)
        square[square < 1e-25] = 0.0
        keys = race(whole, square if weight is None else square * weight, 0, f"t{step}")
        expected = smallest(whole, keys, size)
        at = Near(candidates, origin, 0), Race(key_of(0, f"t{step}"), size)
        found = far_rows(parts[0], *at)
        for part in parts[1:]:
            found = merged(size, found, far_rows(part, *at))
        if form is np.asarray:
            assert found.rows.tolist() == expected.rows.tolist()
            np.testing.assert_allclose(found.keys, expected.keys, rtol=1e-9)
        candidates = np.concatenate([candidates, found.points])


def test_a_block_that_races_twice_counts_once():
    """A task that is repeated where the first has run, or shares the race with it, cut as it may be."""
    X = np.random.default_rng(0).normal(size=(4_000, 3))
    near = Near(X[:1], X.mean(axis=0), 0)
    first, last = Block(X[:2_000]), Block(X[2_000:], start=2_000)
    expected = merged(16, far_rows(first, near, Race(7, 16)), far_rows(last, near, Race(7, 16)))
    race = Race(7, 16)
    for part in (first, *cut(first, [900])):
        far_rows(part, near, race)
    found = merged(16, far_rows(first, near, race), far_rows(last, near, race))
    assert found.rows.tolist() == expected.rows.tolist()


def test_few_rows_are_measured_where_few_are_drawn(monkeypatch):
    X, measured = RNG.normal(size=(20_000, 5)), []

    def counted(rows, candidates, origin):
        measured.append(len(rows) * len(candidates))
        return nearest(rows, candidates, origin)

    monkeypatch.setattr(closest, "nearest", counted)
    block, candidates = Block(X), X[:1]
    for step in range(5):
        at = Near(candidates, np.zeros(5), 0), Race(key_of(0, f"t{step}"), 20)
        candidates = np.concatenate([candidates, far_rows(block, *at).points])
    assert sum(measured) < 20_000 * 100 / 20


def race_and_weigh(blocks: list[Block], key: int) -> tuple[Weighing, np.ndarray]:
    """Three rounds of six rows, and what a sample of 150 and the candidates tell of their weights."""
    total, n = sum(b.weight_sum for b in blocks), blocks[-1].rows.stop
    candidates, rows, rounds = blocks[-1].X[-1:], np.array([blocks[-1].rows.stop - 1]), []
    for step in range(3):
        at = Near(candidates, np.zeros(2), 0), Race(key_of(key, f"t{step}"), 7)
        found = reduce(partial(merged, 7), [far_rows(one, *at) for one in blocks])
        rounds.append(Drawn(len(rows), found.keys[6] if len(found.keys) > 6 else np.inf))
        candidates = np.concatenate([candidates, found.points[:6]])
        rows = np.concatenate([rows, found.rows[:6]])
    near = Near(candidates, np.zeros(2), 0)
    asked = Weighing(near, rows, tuple(rounds), key, 150 / total, total / n)
    return asked, WEIGHED(blocks, asked)


@pytest.mark.parametrize("heaviest", [None, 3.0, 1e9])
def test_a_sample_and_its_candidates_weigh_groups_in_the_mean(heaviest):
    """Of one large group and two small ones, far away, whose rows the sample misses more often than not."""
    group = np.repeat([1, 2, 0], [20, 10, 2_970])
    X = RNG.normal(size=(3_000, 2)) + np.array([[0.0, 0], [40, 0], [0, 60]])[group]
    weight = None if heaviest is None else RNG.uniform(0.0, 3.0, 3_000)
    if weight is not None:
        weight[7], weight[9] = heaviest, 0.0
    full = np.bincount(group, weight)
    of_groups = []
    for key in range(60):
        blocks = cut(Block(X, weight=weight), [0, 1_500])
        asked, found = race_and_weigh(blocks, key)
        of_groups.append(np.bincount(group[asked.rows], found, minlength=3))
    np.testing.assert_allclose(found, WEIGHED([Block(X, weight=weight)], asked), rtol=1e-12)
    # unbiased: within four standard errors
    means, spreads = np.mean(of_groups, axis=0), np.std(of_groups, axis=0)
    assert (np.abs(means - full) < 4 * spreads / np.sqrt(60)).all()
    # the sample alone, which draws a row in twenty, would be off by all that they weigh
    assert (spreads[1:] < 0.7 * full[1:]).all()
    whole = WEIGHED(blocks, replace(asked, below=np.inf))
    nearest_of = naive.nearest(X, asked.near.candidates)[0]
    np.testing.assert_allclose(whole, np.bincount(nearest_of, weight, len(whole)), rtol=1e-12)


def test_a_round_that_drew_all_rows_leaves_none_to_stand_for_others():
    X, weight = np.repeat(np.arange(4.0), 300)[:, None], np.ones(1_200)
    weight[1] = 0.0
    _, found = race_and_weigh([Block(np.hstack([X, X]), weight=weight)], 0)
    assert np.isfinite(found).all()


def test_groups_hold_each_centre_once_and_only_the_last_is_not_full():
    for k in (1, 7, 8, 100, 999):
        groups = grouped(RNG.normal(size=(k, 3)), 16)
        assert sorted(groups[groups >= 0]) == list(range(k))
        assert len(groups) == -(-k // 16)
        assert (groups[:-1] >= 0).all()


def test_rounding_does_not_choose_the_run():
    def run(inertia: float) -> Run:
        return Run(np.zeros((1, 1)), final=Labelled(inertia, (), 0))

    runs = (run(1.0), run(1.0 - 1e-13), run(0.5), run(0.7))
    assert best(runs[:2]) is runs[0]
    assert best(runs) is runs[2]


# --- starts ----------------------------------------------------------------------------------


def test_a_sample_stands_for_all_rows():
    weight = RNG.uniform(0.1, 5.0, 400)
    block = Block(np.arange(400.0)[:, None], weight=weight)
    sums, means = [], []
    for seed in range(200):
        points, own = sample_of(smallest(block, race(block, weight, seed, "t"), 51), 50)
        assert len(points) == 50
        assert (np.diff(points[:, 0]) > 0).all()
        sums.append(own.sum())
        means.append(own @ points[:, 0])
    # unbiased: within four standard errors
    for found, true in ((sums, weight.sum()), (means, weight @ np.arange(400.0))):
        assert abs(np.mean(found) - true) < 4 * np.std(found) / np.sqrt(200)


def test_a_sample_of_all_rows_has_their_weights():
    weight = np.array([1.0, 0.0, 3.0])
    block = Block(np.arange(3.0)[:, None], weight=weight)
    points, own = sample_of(smallest(block, race(block, weight, 0, "t"), 11), 10)
    assert points.ravel().tolist() == [0.0, 2.0]
    assert own.tolist() == [1.0, 3.0]


def test_the_sample_has_rows_enough_for_the_clusters_and_not_too_many_values():
    assert Sampled(8, 1, 0, 3).size == 10_000
    assert Sampled(8, 1, 0, 21_000).size == 160
    assert Sampled(8, 1, 0, 2_100).size == 998
    assert Sampled(1_000, 1, 0, 3).size == 20_000


def test_too_few_points_are_padded():
    points = np.array([[1.0], [2.0]])
    assert padded(points, 4).ravel().tolist() == [1.0, 2.0, 1.0, 1.0]
    assert seeded(points, np.ones(2), 3, 0, "t")[0].ravel().tolist() == [1.0, 2.0, 1.0]
    assert reclustered(points, np.array([1.0, 0.0]), 2, 0, "t")[0].ravel().tolist() == [1.0, 1.0]


def test_candidates_are_clustered_by_weight():
    points = np.array([[0.0], [1.0], [100.0], [101.0], [5000.0]])
    weights = np.array([3.0, 1.0, 1.0, 1.0, 1e-12])
    found = np.sort(reclustered(points, weights, 2, 0, "t")[0].ravel())
    np.testing.assert_allclose(found, [0.25, 100.5])


def test_blocks_taken_together_have_the_part_of_their_sum():
    X, weight = RNG.normal(size=(700, 3)), RNG.uniform(size=700)
    blocks = cut(Block(X, weight=weight), [100, 100, 450])
    blocks = [blocks[3], blocks[0], blocks[1], blocks[2]]  # as a bundle may hold them
    grid, sums = grid_for(np.append(np.abs(X).max(axis=0), 1.0), 700), tally("lloyd")
    for step in range(3):  # nothing kept, kept, of other blocks
        at = At(RNG.normal(size=(5, 3)), X.mean(axis=0), grid, "abreast")
        some = blocks if step < 2 else blocks[:3]
        alone = [Block(b.X, weight=b.weight, start=b.start) for b in some]
        expected = reduce(sums.combine, (sums.chunk(b, at) for b in alone))
        np.testing.assert_array_equal(sums.part(some, at).sums, expected.sums)
        for with_labels in (True, False):
            labels = labelling(with_labels=with_labels)
            found, plain = labels.part(some, at), [labels.chunk(b, at) for b in alone]
            assert found.inertia == pytest.approx(sum(one.inertia for one in plain), rel=1e-12)
            pairs = zip(found.labels, (p for one in plain for p in one.labels), strict=True)
            for (start, own), (same, theirs) in pairs:
                assert start == same
                np.testing.assert_array_equal(own, theirs)
