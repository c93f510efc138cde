"""Proximal solvers on the same problems: where they end, what it costs, and that their updates are pure."""

from __future__ import annotations

import copy
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import example, given, settings, strategies as st

from daskml_kit.exceptions import ConvergenceWarning
from daskml_kit.penalties import BoundedL1
from daskml_kit.solvers import (
    Evaluation,
    FunctionObjective,
    GradientDescent,
    Newton,
    ProximalLBFGS,
    ProximalNewton,
    solve,
)
from daskml_kit.solvers.protocol import asked
from daskml_kit.solvers.proximal_lbfgs import minimise_model, model_of
from daskml_kit.solvers.quadratic import minimise_quadratic
from tests.solvers.test_solvers import assert_same, logistic, quadratic

SOLVERS = [
    ProximalNewton,
    lambda kinks: GradientDescent(penalty=kinks),
    ProximalLBFGS,
    lambda kinks: ProximalLBFGS(kinks, sketch=""),
]
every_solver = pytest.mark.parametrize("make", SOLVERS, ids=["newton", "fista", "lbfgs", "plain"])


def kinks(size, l1=0.1, lower=-np.inf, upper=np.inf):
    return BoundedL1(*(np.full(size, x, dtype=float) for x in (l1, lower, upper)))


def assert_optimal(function, penalty, w, tol):
    """No component of the smallest subgradient exceeds ``tol``: necessary and, convex, sufficient."""
    slope = penalty.stationarity(w, function(w, 1).gradient)
    assert np.abs(slope).max() <= tol
    assert np.isfinite(penalty.value(w))


@every_solver
@settings(max_examples=20, deadline=None)
@example(seed=89, condition=10.0, l1=1.0, walls=(-np.inf, np.inf))  # the last step gains 3e-18
@given(
    seed=st.integers(0, 1000),
    condition=st.floats(1, 100),
    l1=st.sampled_from([0.0, 0.1, 1.0, 1e3]),
    walls=st.sampled_from([(-np.inf, np.inf), (0.0, np.inf), (-0.2, 0.3), (0.5, 0.5), (1.0, 2.0)]),
)
def test_every_penalty_is_solved_to_its_optimality_condition(make, seed, condition, l1, walls):
    function, _ = quadratic(condition, seed=seed)
    penalty = kinks(6, l1, *walls)
    got = solve(FunctionObjective(function), make(penalty), np.zeros(6), max_iter=20_000, tol=1e-9)
    assert got.status == "converged"
    assert_optimal(function, penalty, got.w, 1e-9)
    assert got.value == pytest.approx(function(got.w, 1).value + penalty.value(got.w), rel=1e-12)


def test_solvers_agree():
    penalty = kinks(4, 0.02, -0.5, 0.03)
    found = [
        solve(FunctionObjective(logistic), make(penalty), np.ones(4), max_iter=9_999, tol=1e-11)
        for make in SOLVERS
    ]
    for one in found[1:]:
        np.testing.assert_allclose(one.w, found[0].w, atol=1e-8)
        assert one.value == pytest.approx(found[0].value, rel=1e-14)
    for one, most in zip(found, (6, 100, 12, 20), strict=True):
        assert one.n_evaluations <= most


@every_solver
def test_without_a_penalty_the_smooth_minimum(make):
    function, at = quadratic(100.0)
    penalty = kinks(6, 0.0)
    got = solve(FunctionObjective(function), make(penalty), np.zeros(6), max_iter=5_000, tol=1e-10)
    np.testing.assert_allclose(got.w, at, atol=1e-8)
    if make is ProximalNewton:
        same = solve(FunctionObjective(function), Newton(), np.zeros(6), max_iter=9, tol=1e-10)
        assert got.n_evaluations == same.n_evaluations == 2


@every_solver
def test_updates_are_pure_and_unrolled_is_stepwise(make):
    function, _ = quadratic(30.0)
    solver = make(kinks(6, 0.3, -1.0, 0.4))
    state = solver.init(np.ones(6))
    for _ in range(8):
        before = copy.deepcopy(state)
        evaluation = FunctionObjective(function).answer(asked(solver, state), solver.order)
        after = solver.update(state, evaluation)
        again = solver.update(copy.deepcopy(state), copy.deepcopy(evaluation))
        for field in fields(state):
            assert_same(getattr(before, field.name), getattr(state, field.name))
            assert_same(getattr(after, field.name), getattr(again, field.name))
        state = after
    one, seven = (
        solve(
            FunctionObjective(function), solver, np.zeros(6), max_iter=400, tol=1e-8, unroll=unroll
        )
        for unroll in (1, 7)
    )
    np.testing.assert_array_equal(one.w, seven.w)
    assert one.n_evaluations == seven.n_evaluations


@every_solver
def test_starts_at_the_minimum_outside_the_bounds_and_out_of_steps(make):
    function, _ = quadratic(10.0)
    solver = make(kinks(6, 100.0, 0.0, 1.0))
    got = solve(FunctionObjective(function), solver, np.full(6, -3.0), max_iter=9, tol=1e-9)
    assert (got.status, got.n_evaluations) == ("converged", 1)
    np.testing.assert_array_equal(got.w, 0.0)
    with pytest.warns(ConvergenceWarning, match="max_iter=0"):
        solve(FunctionObjective(function), make(kinks(6)), np.ones(6), max_iter=0, tol=1e-9)


@every_solver
def test_an_objective_that_is_not_finite_ends_the_solve(make):
    def broken(w, order):
        return Evaluation(np.nan, np.full(2, np.nan), np.full((2, 2), np.nan))

    with pytest.warns(ConvergenceWarning, match="The objective is nan after 0 steps"):
        solve(FunctionObjective(broken), make(kinks(2)), np.zeros(2), max_iter=10, tol=1e-9)


def test_a_domain_that_ends_is_stepped_back_into():
    def barrier(w, order):
        if w[0] >= 1.0:
            return Evaluation(np.nan, np.array([np.nan]), np.array([[np.nan]]))
        x = w[0]
        value = -10.0 * x - np.log1p(-x)
        return Evaluation(value, np.array([-10 + 1 / (1 - x)]), np.array([[1 / (1 - x) ** 2]]))

    for make in SOLVERS:
        got = solve(
            FunctionObjective(barrier), make(kinks(1, 1.0)), np.zeros(1), max_iter=500, tol=1e-8
        )
        np.testing.assert_allclose(got.w, 1 - 1 / 9, atol=1e-8)


def test_a_multi_output_point_keeps_its_shape():
    function, _ = quadratic(30.0)

    def folded(w, order):
        value, gradient, hessian = function(w.ravel(), order)
        return Evaluation(value, gradient.reshape(2, 3), hessian)

    penalty = BoundedL1(np.full((2, 3), 0.1), np.full((2, 3), -np.inf), np.full((2, 3), 0.2))
    ends = [
        solve(FunctionObjective(folded), make(penalty), np.zeros((2, 3)), max_iter=999, tol=1e-10).w
        for make in SOLVERS
    ]
    assert ends[0].shape == (2, 3)
    for end in ends[1:]:
        np.testing.assert_allclose(end, ends[0], atol=1e-8)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    rank=st.integers(1, 12),
    units=st.sampled_from([0.0, 4.0]),
    l1=st.sampled_from([0.0, 0.3]),
    half=st.sampled_from([0.2, 10.0]),
)
def test_inner_problems_are_solved_to_rounding(seed, rank, units, l1, half):
    """Also singular ones, nearly equal columns, and units that are 8 orders of magnitude apart."""
    rng = np.random.default_rng(seed)
    scale = np.logspace(-units, units, 12)
    root = rng.normal(size=(rank, 12)) + rng.normal(size=(rank, 1)) * 5
    hessian, gradient = root.T @ root, root.T @ rng.normal(size=rank)
    lower, upper = np.full(12, -half), np.full(12, half)
    z = scale * minimise_quadratic(
        hessian * np.outer(scale, scale), gradient * scale, np.zeros(12),
        np.full(12, l1) * scale, lower / scale, upper / scale,
    )  # fmt: skip
    z = np.clip(z, lower, upper)
    slope = BoundedL1(np.full(12, l1), lower, upper).stationarity(
        np.where(np.isclose(np.abs(z), half, rtol=1e-14), np.sign(z) * half, z),
        gradient + hessian @ z,
    )
    assert np.abs(slope).max() <= 1e-6 * (np.abs(gradient).max() + l1)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    pairs=st.integers(0, 5),
    l1=st.sampled_from([0.0, 0.5]),
    walls=st.sampled_from([(-np.inf, np.inf), (0.0, np.inf), (-0.1, 0.2)]),
)
def test_the_model_of_proximal_lbfgs_is_the_hessian_that_it_says(seed, pairs, l1, walls):
    """Symmetric, positive definite, true to its last pair; and its minimum that of the dense matrix."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(9, 7))
    hessian = root.T @ root + 0.1 * np.eye(7)
    s = tuple(rng.normal(size=7) for _ in range(pairs))
    w, gradient = np.clip(rng.normal(size=7), *walls), rng.normal(size=7)
    penalty = kinks(7, l1, *walls)
    state = replace(
        ProximalLBFGS(penalty).init(w), gradient=gradient, s=s, y=tuple(hessian @ each for each in s),
        diagonal=np.diag(hessian),
    )  # fmt: skip
    model = model_of(state)
    dense = np.diag(model.bend) - model.left @ model.right.T
    np.testing.assert_allclose(dense, dense.T, atol=1e-9 * np.abs(dense).max())
    assert np.linalg.eigvalsh(dense)[0] > 0
    if pairs:
        np.testing.assert_allclose(dense @ s[-1], hessian @ s[-1], rtol=1e-7, atol=1e-9)
    z = minimise_model(model, gradient, w, penalty, 1e-9)
    slope = penalty.stationarity(z, gradient + dense @ (z - w))
    assert np.abs(slope).max() <= 1e-6 * (1.0 + np.abs(gradient).max())


def at_rest(state):
    return np.abs(state.gradient).max() <= 1e-9


def test_a_solve_resumed_under_another_penalty_asks_for_nothing_twice():
    function, _ = quadratic(100.0)
    before, after = kinks(6, 0.5), kinks(6, 0.2)
    asks = {"max_iter": 500, "tol": 1e-9}
    first = solve(FunctionObjective(function), ProximalLBFGS(before), np.zeros(6), **asks)
    ridge = np.full(6, 0.1)

    def stiffer(w, order):
        value, slope, hessian = function(w, order)
        return Evaluation(value + 0.05 * float(w @ w), slope + ridge * w, hessian + np.diag(ridge))

    solver = ProximalLBFGS(after)
    state = solver.resumed(first.state, before, ridge, at_rest)
    here = stiffer(state.w, 1)
    assert state.value == pytest.approx(here.value + after.value(state.w), rel=1e-12)
    np.testing.assert_allclose(state.smooth, here.gradient, atol=1e-12)
    evaluations = 0
    while np.abs(state.gradient).max() > 1e-9:
        question = asked(solver, state)
        assert not question.sketch
        state, evaluations = solver.update(state, stiffer(question.w, 1)), evaluations + 1
    cold = solve(FunctionObjective(stiffer), solver, np.zeros(6), **asks)
    np.testing.assert_allclose(state.w, cold.w, atol=1e-8)
    assert evaluations < cold.n_evaluations
    same = solver.resumed(state, after, np.zeros(6), at_rest)  # nothing has changed: no step
    assert same.search is None


def test_a_model_of_features_far_from_zero_is_minimised_all_the_same():
    """They share one steep direction, along which single coordinates creep; solved for at once they don't."""
    rng = np.random.default_rng(0)
    size, penalty = 40, kinks(40, 0.3, -2.0, np.inf)
    steep = rng.uniform(1.0, 2.0, size)
    hessian = np.diag(rng.uniform(0.5, 1.5, size)) + 1e4 * np.outer(steep, steep)
    s = (rng.normal(size=size), steep)
    gradient, w = rng.normal(size=size), np.zeros(size)
    state = replace(
        ProximalLBFGS(penalty).init(w), gradient=gradient, s=s, y=tuple(hessian @ each for each in s),
        diagonal=np.diag(hessian),
    )  # fmt: skip
    model = model_of(state)
    dense = np.diag(model.bend) - model.left @ model.right.T
    z = minimise_model(model, gradient, w, penalty, 1e-4)
    assert (z == 0).any()
    assert (z > 0).any()
    slope = penalty.stationarity(z, gradient + dense @ (z - w))
    assert np.abs(slope).max() <= 1e-4


def test_proximal_lbfgs_ends_where_only_rounding_changes():
    """A gradient that is known to 1e-7 can't be brought to 1e-12: no need to try max_iter times."""
    rng, noise = np.random.default_rng(0), np.random.default_rng(1)
    turned = np.linalg.qr(rng.normal(size=(8, 8)))[0]
    hessian, pull = turned @ np.diag(np.logspace(0, -6, 8)) @ turned.T, rng.normal(size=8)

    def rough(w, order):
        value = float(w @ hessian @ w / 2 - pull @ w) + 1e6
        slope = hessian @ w - pull + 1e-7 * noise.normal(size=8)
        return Evaluation(value, slope, np.diag(np.diag(hessian)))

    with pytest.warns(ConvergenceWarning, match="by rounding only: centre features"):
        found = solve(
            FunctionObjective(rough), ProximalLBFGS(kinks(8, 0.01)), np.zeros(8), max_iter=3_000, tol=1e-12
        )  # fmt: skip
    assert found.n_iter < 1_000
