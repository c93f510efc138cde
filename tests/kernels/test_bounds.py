"""Bounds and exact sums: the same labels and sums as a pass that knows nothing, bit by bit."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import sparse

from daskml_kit.kernels import assign, naive
from daskml_kit.kernels.aim import aim_at
from daskml_kit.kernels.bounds import course_from, move_bounds, no_bounds, own_inertia
from daskml_kit.kernels.exact_sums import empty_sums, grid_for, resolved


def groups_of(k, width):
    """All centres in their order, ``width`` in a group."""
    places = np.full(-(-k // width) * width, -1)
    places[:k] = np.arange(k)
    return places.reshape(-1, width)


def data(n, d, seed, whole):
    rng = np.random.default_rng(seed)
    X = rng.integers(-3, 4, (n, d)).astype(float) if whole else rng.normal(size=(n, d))
    return X, rng


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(0, 300),
    d=st.integers(1, 12),
    k=st.integers(1, 40),
    width=st.sampled_from([8, 16, 40]),
    whole=st.booleans(),  # small whole numbers: ties everywhere
    dtype=st.sampled_from([np.float32, np.float64]),
    weighted=st.booleans(),
    scale=st.sampled_from([1.0, 1e-30, 1e30]),  # 1e-60 and 1e60 squared: beyond float32
    seed=st.integers(0, 1000),
)
def test_bounds_change_nothing(n, d, k, width, whole, dtype, weighted, scale, seed):
    X, rng = data(n, d, seed, whole)
    X = (X * scale).astype(dtype)
    weight = rng.uniform(0, 3, n) if weighted else None
    grid = grid_for(np.append(np.full(d, 5.0 * scale), 1.0) * 3.0, n)
    centers = (rng.integers(-3, 4, (k, d)) if whole else rng.normal(size=(k, d))) * scale
    known, origin = (
        no_bounds(n, course_from(centers, groups_of(k, width), grid)),
        X.mean(axis=0) if n else None,
    )
    for step in (0.0, 0.5, 0.1, 0.01, 0.0, 1.0):  # far, near, not at all, back again
        centers = centers + step * scale * rng.normal(size=centers.shape)
        move_bounds(X, weight, aim_at(centers, known.course.members, origin), known)
        expected = assign(X, weight, centers, grid, with_labels=True)
        np.testing.assert_array_equal(known.label, expected.labels)
        np.testing.assert_array_equal(known.sums, expected.sums)
        np.testing.assert_allclose(
            own_inertia(X, weight, centers, known.label), expected.inertia, rtol=1e-10
        )


def test_bounds_change_nothing_far_from_the_origin():
    X, rng = data(3_000, 50, 0, False)
    X = (X + 1e3).astype(np.float32)
    centers = X[:200].astype(float)
    grid = grid_for(np.append(np.full(50, 1.1e3), 1.0), len(X))
    known, origin = (
        no_bounds(len(X), course_from(centers, groups_of(200, 16), grid)),
        X.mean(axis=0),
    )
    for step in (0.0, 0.3, 0.01, 0.0):
        centers = centers + step * rng.normal(size=centers.shape)
        move_bounds(X, None, aim_at(centers, known.course.members, origin), known)
        expected = assign(X, None, centers, grid, with_labels=True)
        np.testing.assert_array_equal(known.label, expected.labels)
        np.testing.assert_array_equal(known.sums, expected.sums)


@pytest.mark.parametrize("narrow", range(-25, -15))
def test_bounds_change_nothing_where_squares_underflow(narrow):
    """A group of centres, and its rows, so narrow that its scores are less than float32 has numbers for."""
    near, rng = data(60, 2, 0, False)
    X = np.concatenate([near * 10.0**narrow, rng.normal(size=(20, 2))])
    centers = np.concatenate([X[:8], X[60:68]])
    grid = grid_for(np.append(np.abs(X).max(axis=0) * 2, 1.0), len(X))
    known = no_bounds(len(X), course_from(centers, groups_of(16, 8), grid))
    for step in (0.5, 0.3, 0.3):
        centers = centers * rng.normal(1.0, step, size=centers.shape)
        move_bounds(X, None, aim_at(centers, known.course.members, np.zeros(2)), known)
        expected = assign(X, None, centers, grid, with_labels=True)
        np.testing.assert_array_equal(known.label, expected.labels)


def test_bounds_are_bounds():
    X, rng = data(200, 5, 0, False)
    groups, centers = groups_of(20, 8), rng.normal(size=(20, 5))
    known = no_bounds(200, course_from(centers, groups, grid_for(np.full(6, 5.0), 200)))
    for _ in range(6):
        centers = centers + 0.05 * rng.normal(size=centers.shape)
        move_bounds(X, None, aim_at(centers, groups), known)
        gaps = np.sqrt(naive.squared_distances(X, centers))
        own = gaps[np.arange(200), known.label]
        assert (own <= known.upper()).all()
        gaps[np.arange(200), known.label] = np.inf
        for g, members in enumerate(groups):
            assert (known.lower()[:, g] <= gaps[:, members[members >= 0]].min(axis=1)).all()


@pytest.mark.parametrize(("k", "width", "most"), [(20, 24, 0.25), (200, 16, 0.2)])
def test_centres_that_hardly_move_cost_few_distances(k, width, most):
    X, rng = data(2_000, 6, 1, False)
    centers = X[:k].copy()
    known = no_bounds(
        len(X), course_from(centers, groups_of(k, width), grid_for(np.full(7, 5.0), len(X)))
    )
    aim, moved = (
        aim_at(c, known.course.members)
        for c in (centers, centers + 1e-3 * rng.normal(size=centers.shape))
    )
    first = move_bounds(X, None, aim, known)
    assert first >= len(X) * k
    assert move_bounds(X, None, aim, known) <= 0.01 * first  # nothing but ties is looked at
    assert move_bounds(X, None, moved, known) < most * first


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60),
    cuts=st.lists(st.integers(0, 60), max_size=3),
    seed=st.integers(0, 100),
)
def test_sums_do_not_depend_on_order_or_cuts_and_are_exact(values, cuts, seed):
    X = np.array(values)[:, None]
    grid = grid_for(np.array([np.abs(X).max(), 1.0]), 1 << 20)

    def total(rows):
        return assign(rows, None, np.zeros((1, 1)), grid).sums

    expected = total(X)
    np.testing.assert_array_equal(total(np.random.default_rng(seed).permutation(X)), expected)
    bounds = [0, *sorted(min(c, len(X)) for c in cuts), len(X)]
    parts = sum((total(X[a:b]) for a, b in pairwise(bounds)), empty_sums(1, 1))
    np.testing.assert_array_equal(parts, expected)
    np.testing.assert_array_equal(total(sparse.csr_array(X)), expected)
    sums, counts = resolved(expected)
    assert counts[0] == len(X)
    # nothing is lost but what is 2^-64 of the largest, a row; then one rounding
    assert (
        abs(sums[0, 0] - math.fsum(values))
        <= 2.0**-52 * np.abs(X).max() + abs(sums[0, 0]) * 2.0**-52
    )
