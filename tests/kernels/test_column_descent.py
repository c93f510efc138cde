"""Coordinate descent on a block of columns, against a naive one, dense and sparse."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from daskml_kit.kernels.column_descent import (
    columns_product,
    descend_columns,
    normal_product,
)
from daskml_kit.kernels.column_pulls import look_at_columns

rng = np.random.default_rng(3)
N, D = 30, 9
X = rng.normal(size=(N, D)) * (rng.random((N, D)) < 0.6) + 0.5 * (np.arange(D) == 4)
X[:, 7] = 2.5  # constant: no business of a model with an intercept
H = rng.uniform(0.1, 2.0, N)
G = rng.normal(size=N)
G -= G.mean()
START = np.where(np.arange(D) % 3 == 0, 0.3, 0.0)


def objective(coef, l1, l2, sigma, centred):
    z = X @ (coef - START)
    if centred:
        z = z - H @ z / H.sum()
    return G @ z + sigma / 2 * H @ z**2 + l1 * np.abs(coef).sum() + l2 / 2 * coef @ coef


def naive_sweep(l1, l2, sigma, centred, positive, left_out):
    """One coordinate after the other to its minimum, by the gradient at the point as it is then."""
    means = H @ X / H.sum() if centred else np.zeros(D)
    coef = START.copy()
    for j in range(D):
        x = X[:, j] - means[j]
        square = sigma * H @ x**2
        if j == left_out:
            continue
        slope = x @ (G + sigma * H * ((X - means) @ (coef - START)))
        pull = square * coef[j] - slope
        size = max(abs(pull) - l1, 0.0) * (1.0 if pull > 0 or not positive else 0.0)
        coef[j] = np.sign(pull) * size / (square + l2) if square > 1e-10 else 0.0
    return coef


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array], ids=["dense", "csr"])
@pytest.mark.parametrize("centred", [True, False])
def test_a_sweep_is_the_naive_one(form, centred):
    block = form(np.ascontiguousarray(X.T))
    for l1, l2, sigma, positive in [(0.4, 0.0, 1.0, False), (0.2, 0.7, 3.0, True)]:
        kept = np.delete(np.arange(D), 8)
        step = descend_columns(
            block, START, G, H, (l1, l2), kept=kept, sigma=sigma, centred=centred, positive=positive
        )
        want = naive_sweep(l1, l2, sigma, centred, positive, left_out=8)
        np.testing.assert_allclose(step.coef, want, atol=1e-12)
        np.testing.assert_allclose(step.product, X @ (want - START), atol=1e-12)
        np.testing.assert_allclose(step.gradient[kept], X[:, kept].T @ G, atol=1e-12)
        assert np.isnan(step.gradient[8])
        if centred:
            np.testing.assert_allclose(step.offset, -H @ step.product / H.sum(), atol=1e-12)
        # Many sweeps: nothing near is lower on the columns in use.
        done = descend_columns(
            block, START, G, H, (l1, l2), sigma=sigma, centred=centred, positive=positive,
            max_sweeps=500,
        )  # fmt: skip
        least = objective(done.coef, l1, l2, sigma, centred)
        for j in np.flatnonzero(done.coef):
            for nudge in (-1e-4, 1e-4):
                other = done.coef.copy()
                other[j] += nudge
                assert objective(other, l1, l2, sigma, centred) > least
        look = look_at_columns(block, G, kept=kept, curvature=H, centred=centred)
        np.testing.assert_allclose(look.gradient, step.gradient, atol=1e-12)
        np.testing.assert_allclose(look.squares, step.squares, rtol=1e-12)
        assert look_at_columns(block, G).squares is None
        np.testing.assert_allclose(look_at_columns(block, G).gradient, X.T @ G, atol=1e-12)


def test_a_column_far_from_zero_keeps_its_digits():
    far = np.ascontiguousarray(X.T) + 1e8
    near = far - 1e8  # what of X the addition left
    for at in (near, far):
        look = look_at_columns(at, G, curvature=H)
        step = descend_columns(at, np.zeros(D), G, H, (0.1, 0.0))
        want = look_at_columns(near, G, curvature=H).squares
        np.testing.assert_allclose(look.squares, want, rtol=1e-6)
        np.testing.assert_allclose(step.squares, want, rtol=1e-6)
        np.testing.assert_array_equal(want == 0, np.arange(D) == 7)


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array], ids=["dense", "csr"])
def test_products(form):
    block = form(np.ascontiguousarray(X.T))
    product, largest = normal_product(block, G)
    np.testing.assert_allclose(product, X @ (X.T @ G), atol=1e-12)
    np.testing.assert_allclose(largest, np.abs(X.T @ G).max(), rtol=1e-12)
    np.testing.assert_allclose(columns_product(block, START), X @ START, atol=1e-12)
