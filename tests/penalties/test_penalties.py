"""Prox by its optimality condition, gradients by finite differences, closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import arrays

from daskml_kit.exceptions import InvalidParameterError
from daskml_kit.penalties import L1, L2, BoundedL1, Box, ElasticNet, Penalty, SmoothPenalty

MASK = np.array([1.5, 0.0, 0.3, 2.0])  # the second coordinate is not penalised
PENALTIES = [L2(0.7), L2(MASK), L1(0.7), L1(MASK), ElasticNet(MASK, 0.4), ElasticNet(1.3, 0.5)]
KINKS = [
    BoundedL1(MASK, np.array([-np.inf, -1.0, 0.0, -2.0]), np.array([np.inf, 1.0, np.inf, 0.5])),
    BoundedL1(np.zeros(4), np.full(4, 0.5), np.full(4, 0.5)),
]
BOXES = [Box(-0.5, 1.0), Box(np.array([-np.inf, 0.0, -1.0, 2.0]), np.inf)]
vectors = arrays(float, 4, elements=st.floats(-10, 10))
steps = st.floats(1e-3, 1e3)


@pytest.mark.parametrize("penalty", [*PENALTIES, *BOXES, *KINKS], ids=repr)
@given(v=vectors, other=vectors, step=steps)
def test_prox_is_the_minimiser(penalty, v, other, step):
    """``(v - p) / step`` is a subgradient at p: the penalty lies above that tangent everywhere."""
    p = penalty.prox(v, step)
    if isinstance(penalty, Box | BoundedL1):
        other = np.clip(other, penalty.lower, penalty.upper)
    tangent = penalty.value(p) + np.dot((v - p) / step, other - p)
    scale = 1.0 + abs(tangent) + np.abs((v - p) / step).max() * 20
    assert penalty.value(other) >= tangent - 1e-12 * scale


@pytest.mark.parametrize("penalty", [L2(0.7), L2(MASK)], ids=repr)
def test_gradient_is_the_finite_difference(penalty):
    w = np.array([0.3, -2.0, 5.0, 0.0])
    gradient, curvature = penalty.gradient(w), penalty.curvature(w)
    for j, step in enumerate(1e-5 * np.eye(4)):
        rise = penalty.value(w + step) - penalty.value(w - step)
        assert rise / 2e-5 == pytest.approx(gradient[j], abs=1e-8)
        bend = penalty.gradient(w + step) - penalty.gradient(w - step)
        assert bend[j] / 2e-5 == pytest.approx(curvature[j], abs=1e-8)


@pytest.mark.parametrize("penalty", [L2(MASK), L1(MASK), ElasticNet(MASK, 0.4)], ids=repr)
def test_a_strength_of_zero_leaves_the_coordinate_alone(penalty):
    v = np.array([1.0, 100.0, 1.0, 1.0])
    assert penalty.prox(v, 10.0)[1] == 100.0
    assert penalty.value(np.array([0.0, 100.0, 0.0, 0.0])) == 0.0


def test_strengths_broadcast_over_the_rows_of_a_matrix():
    w = np.arange(8.0).reshape(2, 4)
    assert L2(MASK).value(w) == pytest.approx(sum(L2(MASK).value(row) for row in w))
    assert L1(MASK).prox(w, 1.0).shape == L2(MASK).gradient(w).shape == (2, 4)


@pytest.mark.parametrize("kinks", KINKS, ids=repr)
@given(v=vectors, gradient=vectors, step=steps)
def test_stationarity_is_the_smallest_subgradient(kinks, v, gradient, step):
    """No feasible direction has a smaller derivative, it is zero where a prox step stays, and only there."""
    w = kinks.prox(v, step)
    slope = kinks.stationarity(w, gradient)
    stays = np.abs(kinks.prox(w - 1e-6 * gradient, 1e-6) - w) <= 1e-14
    np.testing.assert_array_equal(stays, np.abs(slope) <= 1e-8)
    for j in range(4):
        rates = []
        for sign in (-1.0, 1.0):
            to = w.copy()
            to[j] += sign * 1e-7
            rise = kinks.value(to) - kinks.value(w)
            rates.append(sign * gradient[j] + rise / 1e-7)
        assert max(0.0, -min(rates)) == pytest.approx(abs(slope[j]), abs=1e-5)
    np.testing.assert_array_equal(kinks.stationarity(w, (w - v) / step).round(6), 0.0)


def test_elastic_net_ends_are_lasso_and_ridge():
    w = np.array([1.0, -2.0, 0.0, 3.0])
    assert ElasticNet(2.0, 1.0).value(w) == L1(2.0).value(w)
    assert ElasticNet(2.0, 0.0).value(w) == L2(2.0).value(w)
    np.testing.assert_array_equal(ElasticNet(2.0, 1.0).prox(w, 0.5), L1(2.0).prox(w, 0.5))


def test_box_value():
    assert Box(0.0, 1.0).value(np.array([0.0, 1.0])) == 0.0
    assert Box(0.0, 1.0).value(np.array([0.0, 1.1])) == np.inf


def test_only_smooth_penalties_have_a_gradient():
    assert isinstance(L2(1.0), SmoothPenalty)
    for penalty in (L1(1.0), ElasticNet(1.0, 0.5), Box(0.0, 1.0), KINKS[0]):
        assert isinstance(penalty, Penalty)
        assert not isinstance(penalty, SmoothPenalty)


def test_inputs_stay_as_they_are():
    v = np.array([1.0, -2.0, 3.0, 0.5])
    v.flags.writeable = False
    for penalty in (*PENALTIES, *BOXES, *KINKS):
        assert not np.shares_memory(penalty.prox(v, 1.0), v)


@pytest.mark.parametrize("kind", [L1, L2])
@pytest.mark.parametrize("strength", [-1.0, np.nan, np.inf, np.array([1.0, -1.0])])
def test_bad_strength(kind, strength):
    with pytest.raises(InvalidParameterError, match=r"at least 0, got .* Pass 0\.0"):
        kind(strength)


def test_bad_ratio_and_bounds():
    with pytest.raises(InvalidParameterError, match=r"between 0 and 1, got 1\.5"):
        ElasticNet(1.0, 1.5)
    with pytest.raises(InvalidParameterError, match=r"got lower=1\.0 and upper=0\.0"):
        Box(1.0, 0.0)
