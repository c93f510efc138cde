"""Local search: a swap as scored is a swap as made, the cost never rises, and a missing cluster is found."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings, strategies as st

from daskml_kit.cluster.swapping import swapped
from daskml_kit.kernels import naive
from daskml_kit.runtime.random import generator


def cost(points, weights, centers):
    return float(weights @ naive.nearest(points, centers)[1])


def naive_swaps(points, weights, centers, draws):
    """Every swap with every centre, each measured anew."""
    centers = centers.copy()
    for draw in draws:
        mass = np.cumsum(weights * naive.nearest(points, centers)[1])
        if not mass[-1] > 0:
            break
        new = points[min(np.searchsorted(mass, draw * mass[-1], side="right"), len(points) - 1)]
        tried = [
            np.where(np.arange(len(centers))[:, None] == j, new, centers)
            for j in range(len(centers))
        ]
        costs = [cost(points, weights, one) for one in tried]
        if min(costs) < mass[-1] * (1 - 1e-12):
            centers = tried[int(np.argmin(costs))]
    return centers


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1_000), n=st.integers(4, 60), d=st.integers(1, 4), k=st.integers(2, 8))
def test_as_if_every_swap_was_measured(seed, n, d, k):
    rng = np.random.default_rng(seed)
    points, weights = rng.normal(size=(n, d)) + 1e3, rng.integers(0, 4, n) + 0.0
    weights[0], centers = 1.0, points[rng.integers(0, n, k)]
    found = swapped(points, weights, centers, seed, "demo")
    assert cost(points, weights, found) <= cost(points, weights, centers) * (1 + 1e-9)
    slow = naive_swaps(points, weights, centers, generator(seed, "demo").random(k))
    np.testing.assert_allclose(
        cost(points, weights, found), cost(points, weights, slow), rtol=1e-6, atol=1e-6
    )


def test_two_centres_in_one_cluster_and_none_in_another():
    middles = 100.0 * np.arange(6)[:, None]
    points = np.concatenate([middle + np.linspace(-1, 1, 9)[:, None] for middle in middles])
    start = np.concatenate([middles[:5], [[0.5]]])
    found = swapped(points, np.ones(len(points)), start, 0, "demo")
    assert sorted(np.round(found.ravel(), -2)) == middles.ravel().tolist()
