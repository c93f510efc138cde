"""Rows that lie column by column: the same labels and sums as a pass that keeps nothing, bit by bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from daskml_kit.exceptions import InvalidDataError
from daskml_kit.kernels import assign, nearest
from daskml_kit.kernels.abreast import approach, relabel, turned, unlabelled
from daskml_kit.kernels.exact_sums import grid_for


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(0, 300),
    d=st.integers(1, 12),
    k=st.integers(1, 40),
    whole=st.booleans(),  # small whole numbers: ties everywhere
    dtype=st.sampled_from([np.float32, np.float64]),
    weighted=st.booleans(),
    scale=st.sampled_from([1.0, 1e-30, 1e30]),  # 1e-60 and 1e60 squared: beyond float32
    far=st.sampled_from([0.0, 1e3]),
    together=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_labels_and_sums_are_those_of_a_pass_alone(
    n, d, k, whole, dtype, weighted, scale, far, together, seed
):
    rng = np.random.default_rng(seed)

    def drawn(size):
        own = rng.integers(-3, 4, (size, d)) if whole else rng.normal(size=(size, d))
        return (own + far) * scale

    X, centers = drawn(n).astype(dtype), drawn(k)
    weight = rng.uniform(0, 3, n) if weighted else None
    grid = grid_for(np.append(np.full(d, (5.0 + far) * scale), 1.0) * 3.0, n)
    origin = np.full(d, far * scale)
    rows = turned(X, origin, together=together)
    known = unlabelled(rows, n, k, grid)
    before = nearest(X, centers[:1] + scale, origin)[1]
    closest = before.copy()
    approach(X, rows, centers, closest)
    np.testing.assert_array_equal(closest, np.minimum(before, nearest(X, centers, origin)[1]))
    for step in (0.0, 0.5, 0.01, 0.0, 1e25):  # far, near, not at all, beyond float32
        centers = centers + step * scale * rng.normal(size=centers.shape)
        relabel(X, weight, centers, known)
        expected = assign(X, weight, centers, grid, with_labels=True)
        np.testing.assert_array_equal(known.label(), expected.labels)
        np.testing.assert_array_equal(known.sums, expected.sums)


@pytest.mark.parametrize("narrow", range(-25, -15, 2))
def test_rows_whose_squares_underflow(narrow):
    """So narrow a cluster that the scores of its rows are less than float32 has numbers for."""
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(size=(60, 2)) * 10.0**narrow, rng.normal(size=(20, 2))])
    centers = np.concatenate([X[:8], X[60:68]])
    grid = grid_for(np.append(np.abs(X).max(axis=0) * 2, 1.0), len(X))
    known = unlabelled(turned(X, np.zeros(2), together=True), len(X), 16, grid)
    for step in (0.5, 0.3, 0.3):
        centers = centers * rng.normal(1.0, step, size=centers.shape)
        relabel(X, None, centers, known)
        expected = assign(X, None, centers, grid, with_labels=True)
        np.testing.assert_array_equal(known.label(), expected.labels)


def test_few_rows_are_measured_again():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20_000, 3))
    X[0] = 1e6  # one far row makes those near it coarse, not all
    known = unlabelled(turned(X, np.zeros(3)), len(X), 16, grid_for(np.full(4, 1e6), len(X)))
    assert relabel(X, None, X[1:17], known) < len(X) + 20


def test_groups_between_centres_alone_are_measured():
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(20_000, 2))
    rows = turned(X, np.full(2, 0.5), together=True)
    known = unlabelled(rows, len(X), 9, grid_for(np.ones(3) * 2, len(X)))
    relabel(X, None, rng.uniform(size=(9, 2)), known)
    assert relabel(X, None, rng.uniform(size=(9, 2)), known) < 0.5 * len(X)


def test_shapes_that_do_not_fit_are_refused():
    X, grid = np.zeros((4, 3)), grid_for(np.ones(4), 4)
    with pytest.raises(InvalidDataError, match=r"origin must have shape \(3,\)"):
        turned(X, np.zeros(2))
    known = unlabelled(turned(X, np.zeros(3)), 4, 2, grid)
    with pytest.raises(InvalidDataError, match=r"centers must have shape \(k, 3\)"):
        relabel(X, None, np.zeros((2, 2)), known)
    with pytest.raises(InvalidDataError, match="one number for each of the 4 rows"):
        relabel(X, np.ones(3), np.zeros((2, 3)), known)
