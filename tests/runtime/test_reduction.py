"""A reduction as a value: any grouping of any blocks gives the same total."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from daskml_kit.kernels import Moments, combine_moments, moments
from daskml_kit.linear_model.least_squares import MOMENTS
from daskml_kit.linear_model.objective import linear_reduction
from daskml_kit.losses import Binomial, Multinomial
from daskml_kit.runtime.block import Block
from daskml_kit.runtime.reduction import FAN_IN, Reduction, fold

rng = np.random.default_rng(2)
N, D = 64, 3
X = rng.normal(size=(N, D)) + 100.0
CODES = rng.integers(0, 3, N)
WEIGHT = rng.integers(0, 3, N).astype(float)

REDUCTIONS = {
    "moments": (MOMENTS, None),
    "binomial": (linear_reduction(Binomial(), True, 2), rng.normal(size=D + 1) / 100),
    "multinomial": (linear_reduction(Multinomial(3), True, 2), rng.normal(size=(3, D + 1)) / 100),
}  # fmt: skip


def blocks(cuts):
    edges = [0, *sorted(cuts), N]
    for low, high in itertools.pairwise(edges):
        y = CODES[low:high]
        yield Block(X[low:high], y, WEIGHT[low:high], start=low)


def reduced(name, cuts):
    reduction, params = REDUCTIONS[name]
    use = blocks(cuts)
    if name == "binomial":
        use = (Block(b.X, b.y % 2, b.weight, b.start) for b in use)
    return reduction(use, params)


@pytest.fixture(scope="module", autouse=True)
def _compiled():
    """Loading a compiled kernel is no part of an example."""
    for name in REDUCTIONS:
        reduced(name, [])


@pytest.mark.parametrize("name", REDUCTIONS)
@settings(max_examples=40, deadline=None)
@given(cuts=st.lists(st.integers(0, N), max_size=20))
def test_any_chunks(name, cuts):
    for got, expected in zip(reduced(name, cuts), reduced(name, []), strict=True):
        scale = float(np.abs(expected).max()) or 1.0
        np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-12 * scale)


@settings(max_examples=40, deadline=None)
@given(cuts=st.lists(st.integers(0, N), min_size=2, max_size=2))
def test_combine_is_associative_and_pure(cuts):
    a, b, c = (moments(x.X, x.y.astype(float), x.weight) for x in blocks(cuts))
    before = [Moments(*(np.copy(v) for v in m)) for m in (a, b, c)]
    left = combine_moments(combine_moments(a, b), c)
    right = combine_moments(a, combine_moments(b, c))
    for x, y in zip(left, right, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-10, atol=1e-9)
    for now, then in zip((a, b, c), before, strict=True):
        for x, y in zip(now, then, strict=True):
            np.testing.assert_array_equal(x, y)


WORDS = Reduction("words", lambda block, _: str(block.start), lambda a, b: f"({a}{b})", str.upper)


def test_parts_are_folded_from_left_to_right():
    assert fold("abcd", lambda a, b: f"({a}{b})") == "(((ab)c)d)"
    assert WORDS(blocks([10, 20]), None) == "((010)20)"


@pytest.mark.parametrize("n", [1, 2, FAN_IN, FAN_IN + 1, FAN_IN**2, FAN_IN**2 + 1, 200])
def test_merge_keeps_the_order(n):
    """Parts are merged in a tree, but never swapped: concatenation is associative only."""
    parts = [f"{i}," for i in range(n)]
    concatenation = Reduction("join", lambda block, _: "", lambda a, b: a + b)
    assert concatenation.merge(parts) == "".join(parts)


def test_merge_is_a_tree_of_the_fan_in():
    depth = Reduction("depth", lambda block, _: 0, lambda a, b: max(a, b) + 1)
    assert depth.merge([0] * FAN_IN) == FAN_IN - 1
    assert depth.merge([0] * FAN_IN**2) == 2 * (FAN_IN - 1)


def test_finalize_runs_once():
    calls = []
    count = Reduction("n", lambda b, _: b.n_rows, int.__add__, lambda t: calls.append(t) or t)
    assert count(blocks([5, 5, 30]), None) == N
    assert calls == [N]


def test_scratch_stays_where_the_block_is():
    block = next(blocks([]))
    block.scratch["seen"] = 1
    assert block.scratch == {"seen": 1}
    assert block.slice(0, 3).scratch == {}
    assert pickle.loads(pickle.dumps(block)).scratch == {}
