"""The line search alone: what it accepts, where it looks next, when it gives up."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from daskml_kit.solvers.line_search import MAX_TRIALS, SUFFICIENT_DECREASE, LineSearch

ORIGIN, DOWN = np.zeros(1), np.ones(1)


def run(f, slope_at, step=1.0, curvature=0.9):
    """Trials until one is accepted or the search is exhausted."""
    search = LineSearch(ORIGIN, DOWN, f(0.0), slope_at(0.0), step, curvature)
    while not search.exhausted:
        x = search.point[0]
        if search.accepts(f(x), np.array([slope_at(x)])):
            return search
        search = search.following(f(x), np.array([slope_at(x)]))
    return None


@settings(max_examples=100, deadline=None)
@given(
    at=st.floats(1e-6, 1e6), step=st.floats(1e-3, 1e3), curvature=st.sampled_from([0.9, 0.1, None])
)
def test_finds_a_step_of_any_scale(at, step, curvature):
    """On a bowl whose minimum is ``at`` away the weak Wolfe conditions hold where it ends."""

    def f(x):
        return (x - at) ** 2

    def slope(x):
        return 2 * (x - at)

    found = run(f, slope, step, curvature)
    if curvature is None and step > at:
        assert found is not None  # steps only shrink
    if found is None:
        assert max(at / step, step / at) > 2.0**20  # farther than the trials reach
        return
    x = found.point[0]
    assert f(x) <= f(0.0) + SUFFICIENT_DECREASE * x * slope(0.0)
    assert curvature is None or slope(x) >= curvature * slope(0.0)


def test_the_unit_step_of_newton_is_taken_at_once():
    assert run(lambda x: (x - 1) ** 2, lambda x: 2 * (x - 1)).trials == 0


def test_a_parabola_is_found_by_one_interpolation():
    search = run(lambda x: (x - 0.3) ** 2, lambda x: 2 * (x - 0.3), curvature=0.1)
    assert search.trials == 1
    assert search.step == pytest.approx(0.3)


def test_a_step_that_is_not_finite_is_halved():
    search = LineSearch(ORIGIN, DOWN, 1.0, -1.0)
    assert not search.accepts(np.nan, np.array([np.nan]))
    assert search.following(np.nan, np.array([np.nan])).step == 0.5
    assert search.following(np.inf, np.array([np.nan])).step == 0.5


def test_a_short_step_is_doubled():
    search = LineSearch(ORIGIN, DOWN, 0.0, -1.0, step=0.5)
    assert not search.accepts(-0.5, np.array([-1.0]))  # still as steep
    after = search.following(-0.5, np.array([-1.0]))
    assert (after.step, after.low, after.high) == (1.0, 0.5, math.inf)


def test_rounding_noise_near_the_minimum_is_no_obstacle():
    """The value rose by one unit in the last place, the slope is flat: Hager and Zhang accept."""
    search = LineSearch(ORIGIN, DOWN, 1.0, -1e-12)
    assert search.accepts(1.0 + 2e-16, np.array([0.0]))
    assert not search.accepts(1.0 + 1e-9, np.array([0.0]))


def test_it_gives_up():
    assert run(lambda x: x, lambda x: -1.0) is None
    search = LineSearch(ORIGIN, DOWN, 0.0, -1.0)
    for _ in range(MAX_TRIALS):
        assert not search.exhausted
        search = search.following(1.0, np.array([1.0]))
    assert search.exhausted
