"""Derivatives by finite differences, extreme values, closed forms, weights."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import mean_tweedie_deviance

from daskml_kit.losses import (
    Binomial,
    Gamma,
    HalfSquared,
    Multinomial,
    Poisson,
    SmoothedPinball,
    Tweedie,
)

N = 6
LOG_LINK = [Poisson(), Gamma(), Tweedie(1.5), Tweedie(3.0), Tweedie(0.0), Tweedie(-1.0)]
SINGLE = [HalfSquared(), Binomial(), SmoothedPinball(0.3, 0.7), *LOG_LINK]
LOSSES = [*SINGLE, Multinomial(3)]


def problem(loss, seed=0):
    rng = np.random.default_rng(seed)
    if isinstance(loss, Multinomial):
        return rng.integers(0, 3, N), rng.normal(size=(N, 3)), rng.uniform(0.5, 2.0, N)
    return rng.integers(0, 2, N).astype(float), rng.normal(size=N), rng.uniform(0.5, 2.0, N)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_gradient_is_the_finite_difference_of_the_value(loss):
    y, eta, weight = problem(loss)
    _, gradient = loss.value_gradient(y, eta, weight)
    step = 1e-5  # central differences: error about step^2
    for index in np.ndindex(eta.shape):
        up, down = eta.copy(), eta.copy()
        up[index] += step
        down[index] -= step
        rise = loss.value_gradient(y, up, weight)[0] - loss.value_gradient(y, down, weight)[0]
        assert rise / (2 * step) == pytest.approx(gradient[index], rel=1e-8, abs=1e-8)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_curvature_is_the_finite_difference_of_the_gradient(loss):
    y, eta, weight = problem(loss)
    curvature = loss.curvature(y, eta, weight)
    step = 1e-5
    for column in range(eta.shape[1] if eta.ndim == 2 else 1):
        change = step * (np.arange(eta.shape[1]) == column) if eta.ndim == 2 else step
        above = loss.value_gradient(y, eta + change, weight)[1]
        below = loss.value_gradient(y, eta - change, weight)[1]
        expected = curvature[:, column] if eta.ndim == 2 else curvature
        np.testing.assert_allclose((above - below) / (2 * step), expected, atol=1e-8)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_weight_two_is_the_row_twice_and_weight_zero_the_row_absent(loss):
    y, eta, _ = problem(loss)
    weight = np.array([2.0, 0.0, 1.0, 1.0, 1.0, 1.0])
    rows = [0, 0, 2, 3, 4, 5]
    value, gradient = loss.value_gradient(y, eta, weight)
    again, _ = loss.value_gradient(y[rows], eta[rows], None)
    assert value == pytest.approx(again)
    assert not gradient[1].any()
    assert not loss.curvature(y, eta, weight)[1].any()


def test_weights_of_ones_are_no_weights():
    for loss in LOSSES:
        y, eta, _ = problem(loss)
        one, none = (loss.value_gradient(y, eta, w) for w in (np.ones(N), None))
        assert one[0] == pytest.approx(none[0])
        np.testing.assert_array_equal(one[1], none[1])


def test_binomial_at_extremes():
    y, eta = np.array([0.0, 1.0, 0.0, 1.0]), np.array([1e4, 1e4, -1e4, -1e4])
    value, gradient = Binomial().value_gradient(y, eta, None)
    assert value == 2e4
    np.testing.assert_array_equal(gradient, [1.0, 0.0, 0.0, -1.0])
    np.testing.assert_array_equal(Binomial().curvature(y, eta, None), np.zeros(4))
    np.testing.assert_array_equal(Binomial().inverse_link(eta), [1.0, 1.0, 0.0, 0.0])


def test_multinomial_at_extremes():
    loss, eta = Multinomial(3), np.array([[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4]])
    value, gradient = loss.value_gradient(np.array([1, 2]), eta, None)
    assert value == pytest.approx(2e4 + np.log(3))
    np.testing.assert_allclose(gradient, [[1.0, -1.0, 0.0], [1 / 3, 1 / 3, -2 / 3]])
    np.testing.assert_allclose(loss.inverse_link(eta).sum(axis=1), 1.0)


def test_binomial_keeps_small_probabilities():
    curvature = Binomial().curvature(np.zeros(1), np.array([40.0]), None)
    assert curvature[0] == pytest.approx(np.exp(-40.0))


def test_two_classes_of_the_softmax_are_the_logistic_loss():
    y, eta, weight = problem(Binomial())
    both = np.c_[np.zeros(N), eta]
    value, gradient = Multinomial(2).value_gradient(y, both, weight)
    expected, slope = Binomial().value_gradient(y, eta, weight)
    assert value == pytest.approx(expected)
    np.testing.assert_allclose(gradient, np.c_[-slope, slope])


def test_closed_form_minimisers():
    y = np.array([0.0, 1.0, 1.0, 1.0])
    at_mean = np.full(4, y.mean())
    assert HalfSquared().value_gradient(y, at_mean, None)[1].sum() == 0.0
    log_odds = np.full(4, np.log(3.0))
    assert Binomial().value_gradient(y, log_odds, None)[1].sum() == pytest.approx(0.0)
    np.testing.assert_allclose(Binomial().inverse_link(log_odds), 0.75)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_inputs_stay_as_they_are(loss):
    arrays = problem(loss)
    for array in arrays:
        array.flags.writeable = False  # writing would raise
    loss.value_gradient(*arrays)
    loss.curvature(*arrays)
    result = loss.inverse_link(arrays[1])
    assert not np.shares_memory(result, arrays[1])


@pytest.mark.parametrize("loss", SINGLE, ids=str)
def test_pointwise_equals_the_numpy_methods(loss):
    far = [] if loss in LOG_LINK else [-1e4, 1e4]  # exp(1e4) is more than float64 holds
    eta = np.r_[np.linspace(-50, 50, 41), far]
    y = (np.arange(eta.size) % 2).astype(float)
    rows = np.array([loss.pointwise(loss, a, b) for a, b in zip(y, eta, strict=True)])
    value, gradient = loss.value_gradient(y, eta, None)
    assert rows[:, 0].sum() == pytest.approx(value)
    # Powers of exp(eta) up to 200: each unit in the last place of the exponent is 200 of the result.
    rtol = 1e-13 if loss in LOG_LINK else 1e-14
    np.testing.assert_allclose(rows[:, 1], gradient, rtol=rtol, atol=1e-15)
    np.testing.assert_allclose(rows[:, 2], loss.curvature(y, eta, None), rtol=rtol, atol=1e-300)


def test_rowwise_equals_the_numpy_methods():
    loss = Multinomial(3)
    y, eta, _ = problem(loss)
    value, gradient = loss.value_gradient(y, eta, None)
    curvature = loss.curvature(y, eta, None)
    total = 0.0
    for i in range(N):
        slope, bend = np.empty(3), np.empty((3, 3))
        total += loss.rowwise(loss, y[i], eta[i], slope, bend)
        np.testing.assert_allclose(slope, gradient[i], atol=1e-15)
        np.testing.assert_allclose(bend, curvature[i], atol=1e-15)
    assert total == pytest.approx(value)


def test_inverse_link_is_the_logistic_function():
    eta = np.linspace(-800, 800, 33)
    np.testing.assert_array_equal(Binomial().inverse_link(eta), expit(eta))


@pytest.mark.parametrize("loss", LOG_LINK, ids=str)
def test_no_prediction_is_better_than_the_mean_and_none_than_the_saturated(loss):
    y = np.array([0.5, 1.0, 2.0, 6.0])
    at_mean = np.full(4, loss.link(y.mean()))
    assert loss.value_gradient(y, at_mean, None)[1].sum() == pytest.approx(0.0, abs=1e-12)
    best, slope = loss.value_gradient(y, loss.link(y), None)
    assert best == pytest.approx(loss.saturated(y).sum())
    np.testing.assert_allclose(slope, 0.0, atol=1e-12)
    np.testing.assert_allclose(loss.inverse_link(loss.link(y)), y)


@pytest.mark.parametrize("loss", LOG_LINK, ids=str)
def test_deviances_are_scikit_learns(loss):
    rng = np.random.default_rng(1)
    y, eta, weight = rng.gamma(2.0, 2.0, N), rng.normal(size=N), rng.uniform(0.5, 2.0, N)
    half = loss.value_gradient(y, eta, weight)[0] - weight @ loss.saturated(y)
    theirs = mean_tweedie_deviance(y, np.exp(eta), sample_weight=weight, power=loss.power)
    assert 2 * half / weight.sum() == pytest.approx(theirs)


def test_compiled_log_links_stay_finite_far_out():
    """No infinity may meet a zero: a search that steps too far must see a large number, not a NaN."""
    for loss in LOG_LINK:
        for eta in (-1e5, -800.0, 800.0, 1e5):
            assert not np.isnan(loss.pointwise(loss, 0.0, eta)).any()
            assert not np.isnan(loss.pointwise(loss, 1.0, eta)).any()


def test_the_smoothed_pinball_is_a_quarter_of_its_width_above_at_most():
    r = np.linspace(-3.0, 3.0, 601)
    pinball = r * (0.3 - (r < 0))
    for width in (0.5, 1e-3):
        rows = [
            SmoothedPinball(0.3, width).pointwise(SmoothedPinball(0.3, width), v, 0.0) for v in r
        ]
        above = np.array(rows)[:, 0] - pinball
        assert above.min() >= -1e-15
        assert above.max() == pytest.approx(width / 4)
