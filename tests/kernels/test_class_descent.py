"""Descent on the quadratic model of a softmax against the model's own optimality conditions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from daskml_kit.kernels.class_descent import descend_classes

rng = np.random.default_rng(3)
N, D = 40, 9
X = rng.normal(size=(N, D)) + 2.0
X[rng.random((N, D)) < 0.5] = 0.0
S = rng.random(N)


def naive(X, w, G, P, b):
    """The model's slopes in coefficients and intercepts after a step."""
    z = X @ w + b
    out = G + S[:, None] * (P * z - P * (P * z).sum(axis=1, keepdims=True))
    return X.T @ out, out.sum(axis=0)


@pytest.mark.parametrize("n_classes", [1, 3])
def test_the_model_is_at_its_minimum(n_classes):
    P = rng.dirichlet(np.ones(max(n_classes, 2)), N)[:, :n_classes]
    G = S[:, None] * (P - (rng.integers(0, 3, N)[:, None] == np.arange(n_classes)))
    start, (l1, l2) = 0.1 * rng.normal(size=(D, n_classes)), (1.0, 0.1)
    for form, means, free in [(np.array, X.mean(axis=0), True), (sparse.csr_array, None, False)]:
        step = descend_classes(
            form(X.T), start, G, P, S, (l1, l2), means=means, fit_intercept=free, max_sweeps=5_000
        )
        seen = X if means is None else X - means
        b = step.intercept
        np.testing.assert_allclose(step.product, seen @ (step.coef - start) + b, atol=1e-12)
        slopes, free_slopes = naive(seen, step.coef - start, G, P, b)
        rest, used = slopes + l2 * step.coef, step.coef != 0
        np.testing.assert_allclose(rest[used], -l1 * np.sign(step.coef[used]), atol=1e-10)
        assert np.all(np.abs(rest[~used]) <= l1)
        assert np.any(~used)
        if free:
            np.testing.assert_allclose(free_slopes, 0.0, atol=1e-10)
        else:
            assert not b.any()


def test_a_constant_column_gets_nothing():
    flat = np.ones((1, N))
    P = np.full((N, 2), 0.5)
    G = rng.normal(size=(N, 2))
    step = descend_classes(flat, np.ones((1, 2)), G, P, S, (0.0, 0.0), means=np.ones(1))
    assert not step.coef.any()
