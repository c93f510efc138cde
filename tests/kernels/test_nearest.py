"""Assignment to centres against the naive oracle, with ties, and far from the origin."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import sparse

from daskml_kit.exceptions import InvalidDataError
from daskml_kit.kernels import assign, naive, nearest, transform_distances
from daskml_kit.kernels.exact_sums import grid_for, resolved
from tests.kernels.cases import FORMS, cases, close, make

few = settings(max_examples=60, deadline=None)
COLUMNS = [3, 20]


def grid(X, weight=None):
    """The grid for sums of these rows, or of some of them."""
    A = np.abs(naive.dense(X)).max(axis=0, initial=1.0)
    return grid_for(np.append(A, 1.0) * (1.0 if weight is None else weight.max(initial=1.0)), 1000)


def integers(n, d, seed=0):
    """Small whole numbers: distances are exact, and ties frequent."""
    return np.random.default_rng(seed).integers(-2, 3, (n, d)).astype(float)


@few
@given(case=cases, k=st.integers(1, 12), shifted=st.booleans())
def test_equals_the_naive_oracle(case, k, shifted):
    centers = case.rng.normal(size=(k, case.d))
    origin = case.rng.normal(size=case.d) if shifted else None
    options = {"origin": origin, "with_labels": True}
    got, expected = (
        f(case.X, case.weight, centers, grid(case.X, case.weight), **options)
        for f in (assign, naive.assign)
    )
    np.testing.assert_array_equal(got.labels, expected.labels)
    assert got.labels.dtype == np.int32
    for a, b in zip(resolved(got.sums), resolved(expected.sums), strict=True):
        close(a, b, 100.0)
    close(got.inertia, expected.inertia, 1000.0)
    labels, distances = nearest(case.X, centers, origin)
    np.testing.assert_array_equal(labels, expected.labels)
    close(distances, naive.nearest(case.X, centers)[1], 100.0)
    close(transform_distances(case.X, centers), naive.transform_distances(case.X, centers), 100.0)


@few
@given(
    n=st.integers(0, 150),
    d=st.integers(1, 20),
    k=st.integers(1, 12),
    form=st.sampled_from([np.asarray, sparse.csr_array]),
    dtype=st.sampled_from([np.float32, np.float64]),
    seed=st.integers(0, 1000),
)
def test_ties_go_to_the_lowest_index(n, d, k, form, dtype, seed):
    X, centers = integers(n, d, seed).astype(dtype), integers(k, d, seed + 1)
    expected, gaps = naive.nearest(X, centers)
    labels, distances = nearest(form(X), centers)
    np.testing.assert_array_equal(labels, expected)
    np.testing.assert_array_equal(distances, gaps)


@pytest.mark.parametrize("d", COLUMNS)
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
def test_equal_centres_are_one_and_the_first_gets_all(d, form):
    X = make(200, d).X
    centers = np.repeat(X[:1] * 1.1, 30, axis=0)
    assert not nearest(form(X), centers)[0].any()


@pytest.mark.parametrize("d", COLUMNS)
@pytest.mark.parametrize("near", [False, True], ids=["origin zero", "origin the mean"])
def test_far_from_the_origin(d, near):
    X = make(300, d).X + 1e8
    centers = X[:7] + 0.25
    origin = X.mean(axis=0) if near else None
    got = assign(X, None, centers, grid(X), origin=origin, with_labels=True)
    expected = naive.assign(X, None, centers, grid(X), with_labels=True)
    np.testing.assert_array_equal(got.labels, expected.labels)
    assert got.inertia == pytest.approx(expected.inertia, rel=1e-14)
    np.testing.assert_allclose(
        transform_distances(X, centers), naive.transform_distances(X, centers)
    )
    labels, distances = nearest(sparse.csr_array(X), centers)
    np.testing.assert_array_equal(labels, expected.labels)
    assert distances.sum() == pytest.approx(expected.inertia, rel=1e-14)


@pytest.mark.parametrize("d", COLUMNS)
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
def test_a_centre_on_its_row_has_distance_zero(d, form):
    X = make(50, d).X * 1e5
    assert not nearest(form(X), X)[1].any()


@few
@given(case=cases, cut=st.floats(0, 1))
def test_parts_sum_to_the_whole_and_labels_do_not_change(case, cut):
    centers = case.rng.normal(size=(5, case.d))
    at = int(cut * case.n)
    parts = [case.rows(r) for r in (slice(0, at), slice(at, None))]
    cells = grid(case.X, case.weight)
    a, b = (assign(p.X, p.weight, centers, cells, with_labels=True) for p in parts)
    whole = assign(case.X, case.weight, centers, cells, with_labels=True)
    np.testing.assert_array_equal(np.r_[a.labels, b.labels], whole.labels)
    np.testing.assert_array_equal(a.sums + b.sums, whole.sums)  # to the last bit
    close(a.inertia + b.inertia, whole.inertia, 1000.0)


@pytest.mark.parametrize("d", COLUMNS)
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
def test_weight_two_is_the_row_twice_and_weight_zero_the_row_absent(d, form):
    X, centers = make(20, d).X, make(4, d, seed=1).X
    weight = np.ones(20)
    weight[3], weight[5] = 2.0, 0.0
    rows = np.r_[0:4, 3, 4, 6:20]
    cells = grid(X, weight)
    got, expected = (assign(form(A), w, centers, cells) for A, w in ((X, weight), (X[rows], None)))
    for a, b in zip(resolved(got.sums), resolved(expected.sums), strict=True):
        close(a, b, 10.0)
    close(got.inertia, expected.inertia, 100.0)


@pytest.mark.parametrize(("form", "dtype"), FORMS)
@pytest.mark.parametrize("d", COLUMNS)
def test_an_empty_block_gives_zeros(form, dtype, d):
    X = make(0, d, form, dtype).X
    got = assign(X, None, np.ones((2, d)), grid(X), with_labels=True)
    assert got.inertia == 0.0
    assert not got.sums.any()
    assert got.labels.shape == (0,)
    assert transform_distances(X, np.ones((2, d))).shape == (0, 2)


def test_errors_say_what_came_and_what_to_do():
    X = np.ones((3, 2))
    with pytest.raises(InvalidDataError, match=r"centers must .*\(k, 2\).*got \(1, 3\)"):
        nearest(X, np.ones((1, 3)))
    with pytest.raises(InvalidDataError, match=r"k at least 1.*got \(0, 2\)"):
        assign(X, None, np.ones((0, 2)), grid(X))
    with pytest.raises(InvalidDataError, match=r"origin must have shape \(10,\).*got \(2,\)"):
        nearest(np.ones((3, 10)), np.ones((1, 10)), origin=np.ones(2))
    with pytest.raises(InvalidDataError, match=r"weight must .*got shape \(2,\)"):
        assign(X, np.ones(2), X, grid(X))
