"""Huber's loss with its scale against its definition and finite differences."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from daskml_kit.kernels.joint_scale import joint_scale_sums
from tests.kernels.cases import FORMS, cases, close, make


def naive(X, y, weight, w, scale, epsilon):
    A = np.asarray(X.toarray() if hasattr(X, "toarray") else X, dtype=float)
    A = np.column_stack([A, np.ones(len(A))])[:, : w.size]
    u = np.abs(y - A @ w) / scale
    loss = scale * (1 + np.where(u <= epsilon, u**2, 2 * epsilon * u - epsilon**2))
    return float(loss @ (np.ones(len(y)) if weight is None else weight))


@settings(max_examples=30, deadline=None)
@given(case=cases, fit_intercept=st.booleans(), order=st.sampled_from([1, 2]))
def test_value_and_derivatives(case, fit_intercept, order):
    y, w = case.rng.normal(size=case.n) * 3, case.rng.normal(size=case.d + fit_intercept)

    def sums(point):
        return joint_scale_sums(
            case.X,
            y,
            case.weight,
            point[:-1],
            point[-1],
            1.5,
            fit_intercept=fit_intercept,
            order=order,
        )

    point = np.r_[w, 0.8]
    got = sums(point)
    close(got.value, naive(case.X, y, case.weight, w, 0.8, 1.5), 100.0 * (1 + case.n))
    assert (got.hessian is None) == (order == 1)
    step = 1e-6
    for j in range(point.size):
        up, down = (
            sums(point + step * (np.arange(point.size) == j)),
            sums(point - step * (np.arange(point.size) == j)),
        )
        # The gradient bends where a row becomes an outlier: one row's share within a step.
        slope = (up.value - down.value) / (2 * step)
        np.testing.assert_allclose(got.gradient[j], slope, rtol=1e-4, atol=1e-3)
        assert np.isfinite(up.gradient).all()


@pytest.mark.parametrize(("form", "dtype"), FORMS)
def test_the_hessian_is_the_finite_difference_of_the_gradient(form, dtype):
    case = make(60, 4, form, dtype, weighted=True)
    y, point = case.rng.normal(size=60), np.r_[case.rng.normal(size=5) * 0.1, 0.7]
    how = {"fit_intercept": True, "order": 2}

    def gradient(p):
        return joint_scale_sums(case.X, y, case.weight, p[:-1], p[-1], 1.35, **how).gradient

    hessian = joint_scale_sums(case.X, y, case.weight, point[:-1], point[-1], 1.35, **how).hessian
    step = 1e-7
    for j in range(6):
        change = step * (np.arange(6) == j)
        expected = (gradient(point + change) - gradient(point - change)) / (2 * step)
        np.testing.assert_allclose(hessian[j], expected, rtol=1e-4, atol=1e-4)
