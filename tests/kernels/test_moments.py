"""Moments against the naive oracle, combined in any order, near and far from the origin."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from daskml_kit.exceptions import InvalidDataError
from daskml_kit.kernels import combine_moments, moments, naive
from tests.kernels.cases import FORMS, cases, close, make

few = settings(max_examples=40, deadline=None)


def same(got, expected, scale):
    for a, b in zip(got, expected, strict=True):
        assert np.shape(a) == np.shape(b)
        close(a, b, scale)


@few
@given(case=cases, t=st.integers(0, 4))
def test_equals_the_naive_oracle(case, t):
    Y = case.rng.normal(size=(case.n, t))
    got, expected = (f(case.X, Y, case.weight) for f in (moments, naive.moments))
    same(got, expected, 10.0 * (1 + case.n))


@few
@given(case=cases, cuts=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_parts_combine_to_the_whole_in_any_order(case, cuts):
    Y = case.rng.normal(size=(case.n, 2))
    first, second = sorted(int(c * case.n) for c in cuts)
    rows = slice(0, first), slice(first, second), slice(second, None)
    a, b, c = (moments(case.rows(r).X, Y[r], case.rows(r).weight) for r in rows)
    whole = moments(case.X, Y, case.weight)
    for total in (
        combine_moments(combine_moments(a, b), c),
        combine_moments(a, combine_moments(b, c)),
        combine_moments(c, combine_moments(b, a)),
    ):
        same(total, whole, 10.0 * (1 + case.n))


def test_combine_changes_neither_input():
    a, b = (moments(make(20, 3, seed=s).X, None, None) for s in (0, 1))
    for part in (*a, *b):
        if isinstance(part, np.ndarray):
            part.flags.writeable = False  # writing would raise
    total = combine_moments(a, b)
    assert not any(np.shares_memory(total.xx, part.xx) for part in (a, b))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_far_from_the_origin(dtype):
    case = make(500, 6, dtype=dtype)
    offset = 1e8 if dtype is np.float64 else 1e4
    X = (case.X + offset).astype(dtype)
    y = X[:, 0] + offset
    got, expected = moments(X, y, None), naive.moments(X, y, None)
    # The mean itself is known to 1e-16 of the offset: 1e-8, squared and summed.
    np.testing.assert_allclose(got.xx, expected.xx, atol=1e-6)
    np.testing.assert_allclose(got.xy, expected.xy, atol=1e-6)
    np.testing.assert_allclose(got.yy, expected.yy, atol=1e-6)
    halves = combine_moments(moments(X[:99], y[:99], None), moments(X[99:], y[99:], None))
    np.testing.assert_allclose(halves.xx, expected.xx, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize(("form", "dtype"), FORMS)
def test_an_empty_block_and_a_weightless_one_count_for_nothing(form, dtype):
    case = make(30, 4, form, dtype)
    whole = moments(case.X, np.ones(30), None)
    for nothing in (
        moments(case.X[:0], np.ones(0), None),
        moments(case.X, np.ones(30), np.zeros(30)),
    ):
        assert nothing.weight_sum == nothing.n_rows == 0
        assert not any(np.any(part) for part in nothing)
        for total in (combine_moments(whole, nothing), combine_moments(nothing, whole)):
            same(total, whole, 1.0)


@pytest.mark.parametrize("form", ["dense", "csr"])
def test_weight_two_is_the_row_twice_and_weight_zero_the_row_absent(form):
    X, y = make(20, 3, form).X, np.arange(20.0)
    weight = np.ones(20)
    weight[3], weight[5] = 2.0, 0.0
    rows = np.r_[0:4, 3, 4, 6:20]
    got, expected = moments(X, y, weight), moments(X[rows], y[rows], None)
    assert got.weight_sum == expected.weight_sum == 20.0
    assert (got.n_rows, expected.n_rows) == (19, 20)
    same(got[2:], expected[2:], 10.0)


def test_a_constant_column_has_no_variance():
    assert moments(np.full((1000, 1), 0.1), None, None).xx[0, 0] == 0.0


def test_bad_targets():
    with pytest.raises(InvalidDataError, match=r"Y must have shape \(3,\) .*got \(2,\)"):
        moments(np.ones((3, 1)), np.ones(2), None)
