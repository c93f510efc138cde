"""Rows whose random number is small, against the generator read one row after the other."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings, strategies as st
from scipy import stats

from daskml_kit.kernels.counter import philox
from daskml_kit.kernels.race import LANES, runners


def number(key: int, row: int) -> float:
    with np.errstate(over="ignore"):
        low, high = philox(np.uint64(key), np.uint64(0), np.uint64(row // 4))
        extra, _ = philox(np.uint64(key), np.uint64(1), np.uint64(row))
    word = (int(low) | int(high) << 64) >> 32 * (row % 4) & 0xFFFFFFFF
    return ((word << 21) | (int(extra) & 0x1FFFFF)) / 2.0**53


@settings(max_examples=20, deadline=None)
@given(
    key=st.integers(0, 2**64 - 1),
    start=st.sampled_from([0, 3, 4 * LANES - 2, 2**33 + 1]),
    n=st.integers(0, 40),
    below=st.sampled_from([0.0, 0.3, 2.0, np.inf]),
    with_mass=st.booleans(),
    with_weight=st.booleans(),
)
def test_runners_are_the_rows_with_small_numbers(key, start, n, below, with_mass, with_weight):
    rng = np.random.default_rng(0)
    mass, weight = rng.integers(0, 3, (2, n)) * 0.7
    found = runners(
        key, range(start, start + n), below,
        mass if with_mass else None, weight if with_weight else None,
    )  # fmt: skip
    numbers = np.array([number(key, start + i) for i in range(n)])
    share = (mass if with_mass else np.ones(n)) * (weight if with_weight else 1.0)
    with np.errstate(invalid="ignore"):
        expected = np.flatnonzero(numbers < below * share)
    np.testing.assert_array_equal(found.rows, expected)
    np.testing.assert_array_equal(found.chance, numbers[expected])


def test_the_numbers_are_uniform_in_every_lane():
    n = 4 * LANES * 3 + 5
    chance = runners(1, range(n), np.inf).chance
    for lane in range(4):
        assert stats.kstest(chance[lane::4], "uniform").pvalue > 0.01
    assert abs(np.corrcoef(chance[:-1], chance[1:])[0, 1]) < 0.05
