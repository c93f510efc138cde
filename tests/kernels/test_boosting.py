"""What boosting does to rows, against NumPy's own sums."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from daskml_kit.kernels import boosting as kernel
from daskml_kit.kernels.blocks import frozen
from daskml_kit.tree.boosting_rows import Told

rng = np.random.default_rng(0)
N, D, BINS = 400, 3, 16
CODES = frozen(rng.integers(0, BINS, (N, D)).astype(np.uint8))
MISSING = BINS - 1
SPLITS = np.array([[0, 1, 7, 1, 1], [2, 0, 3, 0, 3], [1, 2, 9, 1, 5]], np.int32)


def rows_of(node):
    """The rows of a node, by the definition of its splits."""
    if node == 0:
        return np.arange(N)
    split = next(s for s in SPLITS if node - s[4] in (0, 1))
    rows = rows_of(split[0])
    code = CODES[rows, split[1]]
    left = (code <= split[2]) | ((code == MISSING) & (split[3] == 1))
    return rows[left if node == split[4] else ~left]


@pytest.mark.parametrize("by_column", [False, True])
@pytest.mark.parametrize("stride", [2, 3])
def test_rows_are_moved_and_summed(by_column, stride):
    idx, spare = np.arange(N, dtype=np.int32), np.empty(N, np.int32)
    runs = np.full((8, 2), -1, np.int64)
    runs[0] = 0, N
    codes = frozen(CODES.T) if by_column else CODES
    for known in (1, 3, 3):  # level by level, the last one again
        kernel.part_rows(
            codes,
            by_column,
            idx,
            spare,
            SPLITS[:known],
            np.empty((known, 0), np.uint64),
            MISSING,
            runs,
        )
    gh = rng.integers(-(2**40), 2**40, (N, 2))
    nodes = np.array([3, 6, 2])
    hist = np.ones((3, D, BINS, stride), np.int64)
    times = rng.integers(0, 9, N) if by_column else np.empty(0, np.int64)
    kernel.fill_nodes(CODES, gh, times, idx, runs, nodes, hist)
    for node, cells in zip(nodes, hist, strict=True):
        rows = rows_of(node)
        moved = idx[slice(*runs[node])]  # in order, but for nodes that were split since
        np.testing.assert_array_equal(np.sort(moved) if node == 2 else moved, rows)
        terms = np.column_stack([gh, times if len(times) else np.ones(N, np.int64)])[rows, :stride]
        for f in range(D):
            expected = np.ones((BINS, stride), np.int64)
            np.add.at(expected, CODES[rows, f], terms)
            np.testing.assert_array_equal(cells[f], expected)


@pytest.mark.parametrize("by_set", [False, True])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_rows_walk_down_a_finished_tree(by_set, kind):
    codes, splits, sets = CODES.astype(kind), SPLITS.copy(), np.zeros((7, int(by_set)), np.uint64)
    table = [(f, range(cut + 1), MISSING if left else -1) for _, f, cut, left, _ in SPLITS]
    if by_set:
        splits[1, 2], sets[2, 0] = -1, 0b1001_0110
        table[1] = (0, [1, 2, 4, 7], -1)
    leaves = np.zeros(N, np.int64)
    for (node, *_, below), (f, codes_left, missing) in zip(SPLITS, table, strict=True):
        left = np.isin(codes[:, f], codes_left) | (codes[:, f] == missing)
        at = leaves == node
        leaves[at] = below + 1 - left[at]
    steps, values = kernel.walking_steps(splits, 7, MISSING), rng.normal(size=7)
    for drawn in (np.empty(0, bool), rng.random(N) < 0.5):
        raw, counts = np.ones(N), np.zeros(7, np.int64)
        kernel.raise_rows(frozen(codes), steps, 3, sets, MISSING, values, drawn, raw, counts)
        np.testing.assert_array_equal(raw, 1 + values[leaves])
        seen = leaves[drawn] if len(drawn) else leaves
        np.testing.assert_array_equal(counts, np.bincount(seen, minlength=7))


@pytest.mark.parametrize("far", [(), (1,), (0, 1, 2)])
def test_histograms_arrive_as_they_were_sent(far):
    hist = rng.integers(-(2**31), 2**31, (2, D, BINS, 2))
    for f in far:
        hist[1, f, 5, 0] = 2**31 * (1 if f else -1) - (0 if f else 1)
    told = Told(hist, *(np.arange(4) for _ in range(7)))
    sent = pickle.dumps(told)
    np.testing.assert_array_equal(pickle.loads(sent).hist, hist)
    assert len(sent) < hist.nbytes * (0.5 + len(far) / D) + 1500
