"""Trees of pairs of centres, against plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from daskml_kit.kernels.exact_sums import grid_for, resolved
from daskml_kit.kernels.pairs import Sides, descend, own_distances, sum_pairs


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_rows_go_down_and_are_summed_up(form, dtype):
    rng = np.random.default_rng(0)
    X, weight = rng.normal(size=(120, 3)).astype(dtype), rng.uniform(0, 2, 120)
    centers, child = rng.normal(size=(5, 3)), np.array([1, -1, 3, -1, -1])
    node = np.zeros(120, np.int32)
    descend(form(X), centers, child, node)
    gaps = ((X[:, None].astype(float) - centers) ** 2).sum(axis=2)
    below = np.where(gaps[:, 3] <= gaps[:, 4], 3, 4)
    expected = np.where(gaps[:, 1] <= gaps[:, 2], 1, below)
    np.testing.assert_array_equal(node, expected)

    slot, pairs = np.array([-1, 0, -1, -1, 1]), rng.normal(size=(4, 3))
    grid = grid_for(np.full(4, 10.0), 120)
    found = sum_pairs(form(X), weight, node, slot, pairs, grid)
    sums, counts = resolved(found.sums)
    gaps = ((X[:, None].astype(float) - pairs) ** 2).sum(axis=2)
    for leaf, first in ((1, 0), (4, 2)):
        nearer = np.where(gaps[:, first] <= gaps[:, first + 1], first, first + 1)
        for k in (first, first + 1):
            own = (node == leaf) & (nearer == k)
            assert found.n_rows[k] == own.sum()
            np.testing.assert_allclose(sums[k], weight[own] @ X[own], rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(counts[k], weight[own].sum(), rtol=1e-12)
            np.testing.assert_allclose(found.costs[k], weight[own] @ gaps[own, k], rtol=1e-10)
    # rows that change sides, bounds that spare distances, pairs that are left out meanwhile: the same sums
    # to the last bit
    known = Sides.unknown(120, 4, 3)
    for moved, only in (
        (pairs[::-1], slot),
        (pairs + 1.0, np.where(slot == 0, slot, -1)),
        *((pairs + step, slot) for step in (0.3, 0.31, 0.32, 0.29)),
        (pairs, slot),
    ):
        for with_costs in (False, True):
            how = {"with_costs": with_costs}
            again = sum_pairs(form(X), weight, node, only, moved.copy(), grid, known, **how)
            fresh = sum_pairs(form(X), weight, node, only, moved.copy(), grid, **how)
            for one, other in zip(again, fresh, strict=True):
                np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(again.sums, found.sums)
    known.go(pairs + 1e-3)
    assert np.mean(known.slack[node % 3 == 1] > known.gone[slot[node[node % 3 == 1]]]) > 0.9
    squares = own_distances(form(X), node, slot, pairs[:2])
    expected = np.where(node == 1, gaps[:, 0], np.where(node == 4, gaps[:, 1], 0.0))
    np.testing.assert_allclose(squares, expected, rtol=1e-10)
