"""Dual coordinate ascent: each step is the best, and the visits are those of a plain loop."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import optimize, sparse

from daskml_kit.kernels.dual import dual_ascent
from daskml_kit.losses import Binomial, HalfSquared

LOSSES = [HalfSquared(), Binomial()]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
@settings(max_examples=40, deadline=None)
@given(
    y=st.sampled_from([0.0, 1.0]),
    eta=st.floats(-30, 30),
    share=st.floats(0, 1),
    bend=st.floats(1e-8, 1e8),
)
def test_a_step_leaves_no_slope(loss, y, eta, share, bend):
    """``a`` is minus the loss's slope at the prediction ``eta + bend (a - alpha)`` that it leads to."""
    alpha = y - share
    after = type(loss).dual_step(loss, y, eta, alpha, bend)
    there = eta + bend * (after - alpha)
    slope = loss.value_gradient(np.array([y]), np.array([there]), None)[1][0]
    # The prediction is known to about bend units of rounding.
    assert after == pytest.approx(-slope, abs=1e-13 * max(1.0, bend, abs(eta)))


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_the_conjugate_is_the_largest_gap(loss):
    for y, alpha in ((1.0, 0.3), (0.0, -0.9), (1.0, 1.0), (0.0, 0.0)):
        found = loss.conjugate(np.array([y]), np.array([alpha]), np.array([2.0]))

        def gap(eta, y=y, alpha=alpha):
            return alpha * eta + loss.value_gradient(np.array([y]), np.array([eta]), None)[0]

        best = optimize.minimize_scalar(gap, bounds=(-40, 40), method="bounded").fun
        assert found == pytest.approx(-2.0 * best, abs=1e-6)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_visits_are_those_of_a_plain_loop(loss):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 4)) * (rng.random((30, 4)) < 0.5)
    y, weight = rng.integers(0, 2, 30).astype(float), rng.uniform(0, 2, 30)
    weight[3] = 0.0
    inverse, order = rng.uniform(0.5, 2, 5), np.r_[rng.permutation(30), rng.permutation(30)]
    A, alpha, u = np.c_[X, np.ones(30)], np.zeros(30), rng.normal(size=5)
    begun = u.copy()
    for i in order:
        bend = 0.1 * weight[i] * (A[i] ** 2 @ inverse)
        after = type(loss).dual_step(loss, y[i], A[i] @ u, alpha[i], bend) if weight[i] else 0.0
        u = u + 0.1 * weight[i] * (after - alpha[i]) * inverse * A[i]
        alpha[i] = after
    for rows in (X, sparse.csr_array(X)):
        found = dual_ascent(
            loss, rows, y, weight, np.zeros(30), begun,
            inverse=inverse, scale=0.1, order=order, fit_intercept=True,
        )  # fmt: skip
        np.testing.assert_allclose(found[0], alpha, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(found[1], u, rtol=1e-10, atol=1e-12)
