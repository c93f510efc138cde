"""The compiled E-step against sums of the responsibilities in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from daskml_kit.kernels.blocks import canonical_rows
from daskml_kit.kernels.mixture import (
    Components,
    expected,
    log_sums,
    shared,
    squared_distances,
    weighted_log_densities,
)
from daskml_kit.kernels.mixture_stored import narrow, room_for, squares

K = 5


def components(kind, d, rng):
    matrices = np.tril(rng.uniform(-1, 1, (K, d, d))) + 2 * np.eye(d)
    roots = rng.uniform(0.5, 2.0, (K, d))
    factors = {"full": matrices, "tied": matrices[0], "diag": roots, "spherical": roots[:, 0]}[kind]
    weights = np.array([0.4, 0.3, 0.2, 0.1, 0.0])  # one that has died out
    return Components(kind, weights, rng.normal(size=(K, d)), factors)


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("n", "d", "weighted"), [(1, 1, False), (64, 8, True), (200, 13, False), (200, 13, True)]
)
def test_sums_are_those_of_the_responsibilities(kind, dtype, n, d, weighted):
    rng = np.random.default_rng(d)
    X, parts = rng.normal(size=(n, d)).astype(dtype), components(kind, d, rng)
    densities = weighted_log_densities(X, parts)
    norms = log_sums(densities)
    shares = np.exp(densities - norms[:, None])
    rows = X.astype(np.float64)
    weight = rng.integers(0, 4, n) / 3 if weighted else None
    total = float(norms.sum() if weight is None else norms @ weight)
    oracle = shared(rows, shares, kind, parts.means, total, weight)
    for got, right in zip(expected(X, parts, weight), oracle, strict=True):
        assert np.shape(got) == np.shape(right)
        np.testing.assert_allclose(got, right, rtol=1e-10, atol=1e-11)
    assert expected(X, parts, weight).counts[-1] == 0.0


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
@pytest.mark.parametrize("far", [0.0, 1e5, 1e9])
def test_csr_tells_what_the_same_rows_tell_as_an_array(kind, far):
    """Also rows and columns of zeros, and columns that all rows store, ``far`` from zero."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(150, 7)) * (rng.random((150, 7)) < 0.4)
    X[:9], X[:, 6] = 0.0, 0.0
    X[:, :2] = far + rng.normal(size=(150, 2))
    parts = components(kind, 7, rng)
    parts = parts._replace(means=parts.means + far * (np.arange(7) < 2))
    rows, weight = sparse.csr_array(X), rng.integers(0, 4, 150) / 3
    for given in (None, weight):
        pairs = zip(expected(rows, parts, given), expected(X, parts, given), strict=True)
        for got, right in pairs:
            assert np.shape(got) == np.shape(right)
            np.testing.assert_allclose(got, right, rtol=1e-9, atol=1e-9)
    squares = squared_distances(rows, parts), squared_distances(X, parts)
    np.testing.assert_allclose(*squares, rtol=1e-10, atol=1e-10)
    if kind in ("diag", "spherical"):
        shares = rng.dirichlet(np.ones(K), 150)
        pairs = (shared(one, shares, kind, parts.means, 1.0, weight) for one in (rows, X))
        for got, right in zip(*pairs, strict=True):
            np.testing.assert_allclose(got, right, rtol=1e-9, atol=1e-9)


def test_no_column_is_looked_at_that_a_row_does_not_store():
    """Also where all rows store a year: its term is 4e12 times the others'."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 9)) * (rng.random((60, 9)) < 0.4)
    X[:, 0], X[:, 7:] = 2020.0, 0.0
    means, roots = rng.normal(size=(K, 9)), rng.uniform(0.5, 2.0, (K, 9))
    means[:, 0], roots[:, 0] = 2020.0, 1e3
    parts, out = narrow(means, roots, np.zeros(K)), np.empty((60, K))
    missing = np.array(parts.means)
    missing[7:] = np.nan
    missing.flags.writeable = False
    squares(canonical_rows(sparse.csr_array(X)), parts._replace(means=missing), room_for(K), out)
    right = (((X[:, None] - means) * roots) ** 2).sum(axis=2)
    np.testing.assert_allclose(out, right, rtol=1e-12)


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("kind", ["tied", "diag"])
def test_no_rows_add_nothing(kind, form):
    found = expected(form(np.empty((0, 3))), components(kind, 3, np.random.default_rng(0)))
    assert found.log_likelihood == found.n_rows == found.weight == 0
    assert not any(np.any(part) for part in found[2:])


def test_rows_without_weight_add_nothing_whatever_they_are():
    parts = components("diag", 2, np.random.default_rng(0))
    rows = np.array([[1.0, 2.0], [1e300, 1e300]])  # the square of a gap overflows
    found, right = expected(rows, parts, np.array([1.0, 0.0])), expected(rows[:1], parts)
    assert found.n_rows == 2
    for got, own in zip(found._replace(n_rows=1), right, strict=True):
        np.testing.assert_array_equal(got, own)


def test_rows_far_from_all_components_are_shared_without_overflow():
    parts = Components("diag", np.full(2, 0.5), np.array([[0.0], [1.0]]), np.full((2, 1), 1e3))
    found = expected(np.array([[1e6], [-1e6]]), parts)
    np.testing.assert_array_equal(found.counts, [1.0, 1.0])
    np.testing.assert_allclose(found.log_likelihood, -1e18, rtol=1e-5)
