"""The compiled grower against the naive one, and draws against what they must be."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from daskml_kit.kernels import tree_growth as kernel
from daskml_kit.kernels.binning import encode
from daskml_kit.kernels.counter import philox
from daskml_kit.kernels.tree_growth import PAGE
from daskml_kit.kernels.tree_splits import CRITERIA, Rules
from daskml_kit.runtime.block import Block
from daskml_kit.tree.binning import bins_of
from daskml_kit.tree.growing import Columns, Sampling, grow_tree, in_bag, source_of
from daskml_kit.tree.structure import as_tree
from daskml_kit.tree.travel import arrived, light
from tests.tree import naive


def rules_of(criterion, n_channels, **given):
    plain = {
        "missing_bin": 255, "max_depth": 30, "max_features": 99, "random": 0, "min_samples_split": 2,
        "min_samples_leaf": 1, "min_weight_leaf": 0.0, "min_gain": -np.inf, "pure": 1e-12, "weight": 0.0,
        "l2": 0.0, "unit_weight": 1.0, "unit_value": 2.0**-30, "unit_square": 2.0**-30,
        "constrained": 0,
    } | given  # fmt: skip
    stride = n_channels + int(plain["min_samples_leaf"] > 1)
    return Rules(criterion=CRITERIA[criterion], n_channels=n_channels, stride=stride, **plain)


def turned(codes):
    """As fits turn them: read only, which the kernel is compiled for."""
    columns = np.ascontiguousarray(codes.T)
    columns.flags.writeable = False
    return columns


def nested(nodes, i=0):
    row = nodes.ints[i]
    if row[kernel.FEATURE] < 0:
        return int(row[kernel.ROWS])
    left, right = (nested(nodes, row[side]) for side in (kernel.LEFT, kernel.RIGHT))
    return (
        int(row[kernel.FEATURE]),
        int(row[kernel.CUT]),
        bool(row[kernel.MISSING_LEFT]),
        left,
        right,
    )


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    criterion=st.sampled_from(list(CRITERIA)),
    n=st.sampled_from([1, 7, 60, 400]),
    levels=st.sampled_from([2, 9, 200]),
    missing=st.booleans(),
    weighted=st.booleans(),
    max_features=st.sampled_from([1, 2, 5]),
    least=st.sampled_from([1, 4]),
    depth=st.sampled_from([2, 6]),
)
def test_grows_what_the_definition_says(
    seed, criterion, n, levels, missing, weighted, max_features, least, depth
):
    rng = np.random.default_rng(seed)
    X = rng.integers(0, levels, (n, 5)).astype(np.float32)
    if missing:
        X[rng.random(X.shape) < 0.2] = np.nan
    binning = bins_of(X, 255)
    codes = binning.encode(X)
    labels = rng.integers(0, 3, n)
    # Whole numbers: then the definition's sums are exact, too.
    values = rng.integers(0, 50, n).astype(float)
    weights = rng.integers(1, 4, n).astype(float) if weighted else np.ones(n)
    of_classes = criterion in ("gini", "entropy")
    # Largest sum of y log y, in 60 bits.
    rules = rules_of(
        criterion, 3 if of_classes else 2, max_features=max_features, min_samples_leaf=least,
        max_depth=depth, unit_square=2.0**-30, pure=2.0**-30,
    )  # fmt: skip
    block = Block(codes, labels if of_classes else values, weights if weighted else None)
    columns = Columns(turned(codes), source_of(block, rules), range(n))
    nodes = grow_tree(columns, binning, rules, np.zeros(5, np.int8), Sampling(n), seed)
    expected = naive.grow(codes, labels, values, weights, rules, seed)
    assert nested(nodes) == expected
    inner = nodes.ints[:, kernel.FEATURE] >= 0
    children = nodes.ints[inner][:, [kernel.LEFT, kernel.RIGHT]]
    np.testing.assert_array_equal(nodes.sums[inner], nodes.sums[children].sum(axis=1))
    np.testing.assert_array_equal(nodes.squares[inner], nodes.squares[children].sum(axis=1))


def test_large_nodes_take_the_same_ways():
    """Subtracted histograms, copied codes: with enough rows that all of them are taken."""
    rng = np.random.default_rng(0)
    n = 60_000
    codes = rng.integers(0, 10, (n, 20)).astype(np.uint8)
    y = ((codes[:, 0] * codes[:, 1] > 25) ^ (rng.random(n) < 0.1)).astype(int)
    binning = bins_of(codes[:1_000].astype(np.float32), 255)
    signs = np.zeros(20, np.int8)
    for criterion, target in (("gini", y), ("squared_error", y * 3.0)):
        rules = rules_of(criterion, 2, max_depth=4)
        block = Block(codes, target)
        columns = Columns(turned(codes), source_of(block, rules), range(n))
        nodes = grow_tree(columns, binning, rules, signs, Sampling(n), 5)
        expected = naive.grow(codes, y, target.astype(float), np.ones(n), rules, 5)
        assert nested(nodes) == expected


def test_a_row_carries_its_class_beside_its_weight():
    """In four bytes where all weights are so small, in eight where one is not."""
    rng = np.random.default_rng(2)
    labels, rules = rng.integers(0, 3, 50), rules_of("gini", 3)
    for most, dtype in ((9, np.int32), (2**40, np.int64)):
        weights = rng.integers(0, most, 50).astype(float)
        block = Block(np.zeros((50, 1), np.uint8), labels, weights)
        columns = Columns(np.zeros((1, 50), np.uint8), source_of(block, rules), range(50))
        times = Sampling(50, 50).times(3, range(50))
        for factors in (None, np.array([0.5, 1.0, 4.0])):
            payload, size, total = in_bag(columns, times, rules, factors)
            expected = (
                times * weights if factors is None else np.rint(times * weights * factors[labels])
            )
            rows = np.flatnonzero(expected)
            assert payload.weight.dtype == (dtype if factors is None else np.int64)
            np.testing.assert_array_equal(payload.idx[:size], rows)
            np.testing.assert_array_equal(payload.weight[:size] & 3, labels[rows])
            np.testing.assert_array_equal(payload.weight[:size] >> 2, expected[rows])
            assert total == expected.sum()


@pytest.mark.parametrize("criterion", ["gini", "squared_error"])
def test_a_tree_travels_in_a_quarter_of_its_bytes_and_arrives_whole(criterion):
    rng = np.random.default_rng(3)
    codes, y = rng.integers(0, 20, (3_000, 4)).astype(np.uint8), rng.integers(0, 2, 3_000)
    rules = rules_of(criterion, 2, max_depth=8, constrained=int(criterion != "gini"))
    block = Block(codes, y if criterion == "gini" else y - 0.5)
    columns = Columns(turned(codes), source_of(block, rules), range(3_000))
    binning, signs = bins_of(codes.astype(np.float32), 255), np.array([1, 0, 0, -1], np.int8)
    grown = grow_tree(columns, binning, rules, signs, Sampling(3_000), 5)
    sent = light(grown, rules)
    whole, few = (sum(part.nbytes for part in parts) for parts in (grown, sent))
    assert few < whole / (2 if rules.constrained else 4)
    before, after = (as_tree(nodes, rules, 4).__getstate__() for nodes in (grown, arrived(sent)))
    assert before["nodes"].tobytes() == after["nodes"].tobytes()
    np.testing.assert_array_equal(before["values"], after["values"])


def test_philox_gives_the_published_numbers():
    zero = np.uint64(0)
    with np.errstate(over="ignore"):
        found = [hex(word) for word in philox(zero, zero, zero)]
    assert found == ["0xe169c58d6627e8d5", "0x9b00dbd8bc57ac4c"]


@pytest.mark.parametrize(("n", "draws"), [(PAGE * 3 + 17, PAGE * 2), (50, 50)])
def test_a_bootstrap_is_exact_and_known_in_parts(n, draws):
    sampling = Sampling(n, draws)
    whole = sampling.times(7, range(n))
    assert whole.sum() == draws
    cuts = [0, 3, n // 2, n - 1, n]
    parts = [sampling.times(7, range(a, b)) for a, b in itertools.pairwise(cuts)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert (sampling.times(8, range(n)) != whole).any()


def test_draws_are_uniform_over_rows():
    n = PAGE + 1_000
    total = sum(Sampling(n, n).times(key, range(n)) for key in range(300))
    # A Poisson count of mean 300 a row: the sum of squares over n rows has a spread of sqrt(2 n).
    assert abs(((total - 300) ** 2 / 300).sum() - n) < 5 * np.sqrt(2 * n)
    assert abs(total[PAGE:].sum() / 300 - 1_000) < 5 * np.sqrt(1_000 / 300)


def test_codes_are_counts_of_edges():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(2_000, 3)).astype(np.float32)
    X[rng.random(X.shape) < 0.1] = np.nan
    X[:, 2] = np.round(X[:, 2])
    for max_bins, dtype in ((16, np.uint8), (700, np.uint16)):
        binning = bins_of(X, max_bins)
        codes = encode(X, binning.edges, binning.counts, binning.missing_bin)
        assert codes.dtype == dtype
        for f in range(3):
            edges = binning.edges[f, : binning.counts[f] - 1]
            expected = np.where(np.isnan(X[:, f]), max_bins, np.searchsorted(edges, X[:, f]))
            np.testing.assert_array_equal(codes[:, f], expected)
        np.testing.assert_array_equal(binning.encode(binning.decode(codes)), codes)
    assert binning.counts[2] == len(np.unique(X[~np.isnan(X[:, 2]), 2]))
