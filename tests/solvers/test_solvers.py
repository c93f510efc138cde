"""Every solver on the same problems: where it ends, what it costs, and that its updates are pure."""

from __future__ import annotations

import copy
import warnings
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import optimize

from daskml_kit.exceptions import ConvergenceWarning, InvalidDataError
from daskml_kit.solvers import (
    LBFGS,
    Evaluation,
    FunctionObjective,
    GradientDescent,
    Guess,
    Newton,
    NewtonCG,
    approach,
    solve,
)
from daskml_kit.solvers.cholesky import factorised
from daskml_kit.solvers.metric import metric_from
from daskml_kit.solvers.protocol import asked

SOLVERS = [
    Newton(),
    LBFGS(),
    LBFGS(memory=2),
    LBFGS(sketch="diagonal"),
    LBFGS(sketch="shared"),
    NewtonCG(),
    GradientDescent(),
    GradientDescent(momentum=False),
]
every_solver = pytest.mark.parametrize("solver", SOLVERS, ids=str)


def quadratic(condition, size=6, seed=0):
    """``1/2 (w - m)' H (w - m)`` and its minimum m."""
    rng = np.random.default_rng(seed)
    q, _ = np.linalg.qr(rng.normal(size=(size, size)))
    hessian = q * np.geomspace(1, condition, size) @ q.T
    at = rng.normal(size=size)
    return (
        lambda w, order: Evaluation(
            float((w - at) @ hessian @ (w - at) / 2), hessian @ (w - at), hessian
        )
    ), at


def logistic(w, order):
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(80, 4)), rng.integers(0, 2, 80)
    eta = X @ w
    p = 1 / (1 + np.exp(-eta))
    value = np.mean(np.logaddexp(0, eta) - y * eta) + 0.05 * w @ w
    hessian = X.T * (p * (1 - p)) @ X / 80 + 0.1 * np.eye(4)
    return Evaluation(float(value), X.T @ (p - y) / 80 + 0.1 * w, hessian)


def rosenbrock(w, order):
    return Evaluation(float(optimize.rosen(w)), optimize.rosen_der(w), optimize.rosen_hess(w))


class Counting:
    """An objective that counts, and checks that it is asked in the solver's order."""

    def __init__(self, function):
        self.points = []
        self.inner = FunctionObjective(self.call)
        self.function = function

    def call(self, w, order):
        self.points.append(w.copy())
        value, gradient, hessian = self.function(w, order)
        return Evaluation(value, gradient, hessian if order == 2 else None)

    def advance(self, solver, state, n_rounds):
        return self.inner.advance(solver, state, n_rounds)


@every_solver
@pytest.mark.parametrize("condition", [1.0, 100.0])
def test_quadratics(solver, condition):
    function, at = quadratic(condition)
    got = solve(FunctionObjective(function), solver, np.zeros(6), max_iter=5_000, tol=1e-9)
    assert got.status == "converged"
    assert got.gradient_norm <= 1e-9
    np.testing.assert_allclose(got.w, at, atol=1e-8)


@every_solver
def test_logistic(solver):
    got = solve(FunctionObjective(logistic), solver, np.zeros(4), max_iter=2_000, tol=1e-10)
    best = optimize.minimize(lambda w: logistic(w, 2)[:2], np.zeros(4), jac=True, tol=1e-12)
    assert got.value <= best.fun + 1e-14
    np.testing.assert_allclose(got.w, best.x, atol=1e-6)


@pytest.mark.parametrize("solver", SOLVERS[:6], ids=str)
def test_a_curved_valley(solver):
    """Not convex: Newton must shift its Hessian, L-BFGS bracket its steps."""
    start = np.array([-1.2, 1.0, -0.5, 2.0])
    got = solve(FunctionObjective(rosenbrock), solver, start, max_iter=500, tol=1e-8)
    assert got.status == "converged"
    # Four dimensions have a second, local minimum near (-1, 1, 1, 1).
    assert np.allclose(got.w, 1.0, atol=1e-6) or abs(got.value - 3.70) < 0.01


@pytest.mark.parametrize(
    ("solver", "most"),
    [
        (Newton(), 2),
        (NewtonCG(), 40),
        (LBFGS(), 30),
        (LBFGS(sketch="shared"), 3),  # the sketch is the Hessian, but for a shift of 1e-6
        (GradientDescent(), 250),
    ],
    ids=str,
)
def test_evaluations_are_few(solver, most):
    """Newton solves a quadratic in one step; L-BFGS in about its dimension."""
    objective = Counting(quadratic(100.0)[0])
    got = solve(objective, solver, np.zeros(6), max_iter=500, tol=1e-6)
    assert got.n_evaluations == len(objective.points) <= most
    np.testing.assert_array_equal(objective.points[0], np.zeros(6))


@every_solver
def test_unrolled_is_stepwise(solver):
    function, _ = quadratic(30.0)
    how = {"max_iter": 400, "tol": 1e-8}
    one = solve(FunctionObjective(function), solver, np.zeros(6), **how)
    seven = solve(FunctionObjective(function), solver, np.zeros(6), unroll=7, **how)
    np.testing.assert_array_equal(one.w, seven.w)
    assert (one.n_iter, one.n_evaluations) == (seven.n_iter, seven.n_evaluations)


@every_solver
def test_updates_are_pure(solver):
    """The state before an update is what it was, so a checkpoint taken then is good for ever."""
    function, _ = quadratic(30.0)
    state = solver.init(np.zeros(6))
    for _ in range(12):
        before = copy.deepcopy(state)
        evaluation = FunctionObjective(function).answer(asked(solver, state), solver.order)
        kept = copy.deepcopy(evaluation)
        after = solver.update(state, evaluation)
        again = solver.update(copy.deepcopy(state), kept)
        for field in fields(state):
            assert_same(getattr(before, field.name), getattr(state, field.name))
            assert_same(getattr(after, field.name), getattr(again, field.name))
        for a, b in zip(evaluation, kept, strict=True):
            np.testing.assert_array_equal(a, b)
        state = after


def assert_same(a, b):
    if hasattr(a, "__dataclass_fields__"):
        for field in fields(a):
            assert_same(getattr(a, field.name), getattr(b, field.name))
    elif isinstance(a, tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    else:
        np.testing.assert_array_equal(a, b)


@every_solver
@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1000), condition=st.floats(1, 50), scale=st.sampled_from([1e-4, 1.0, 1e4])
)
def test_the_value_never_rises_for_good(solver, seed, condition, scale):
    """What is returned is the last accepted point, and no worse than the start."""
    function, at = quadratic(condition, size=3, seed=seed)

    def scaled(w, order):
        return Evaluation(*(scale * part for part in function(w, order)))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        got = solve(FunctionObjective(scaled), solver, at + 10.0, max_iter=60, tol=1e-12)
    assert got.value <= scaled(at + 10.0, 2).value
    assert got.value == pytest.approx(scaled(got.w, 2).value, rel=1e-12, abs=1e-300)


@every_solver
def test_a_start_at_the_minimum_takes_one_evaluation(solver):
    function, at = quadratic(10.0)
    got = solve(FunctionObjective(function), solver, at, max_iter=10, tol=1e-9)
    assert (got.status, got.n_iter, got.n_evaluations) == ("converged", 0, 1)


@every_solver
def test_the_step_limit(solver):
    function, _ = quadratic(1e4)
    with pytest.warns(ConvergenceWarning, match=r"Stopped after max_iter=0 steps .* tol=1e-09"):
        got = solve(FunctionObjective(function), solver, np.zeros(6), max_iter=0, tol=1e-9)
    assert (got.status, got.n_evaluations) == ("max_iter", 1)


@every_solver
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_objective_that_is_not_finite_ends_the_solve(solver, value):
    def broken(w, order):
        return Evaluation(value, np.full(2, np.nan), np.full((2, 2), np.nan))

    with pytest.warns(ConvergenceWarning, match=f"The objective is {value} after 0 steps"):
        got = solve(FunctionObjective(broken), solver, np.zeros(2), max_iter=10, tol=1e-9)
    assert got.status == "stalled"
    assert got.n_evaluations == 1


@every_solver
def test_a_trial_that_is_not_finite_is_stepped_back_from(solver):
    """The domain ends at w = 1, the first steps overshoot it."""

    def barrier(w, order):
        if w[0] >= 1.0:
            return Evaluation(np.nan, np.array([np.nan]), np.array([[np.nan]]))
        x = w[0]
        value = -10.0 * x - np.log1p(-x)
        return Evaluation(value, np.array([-10 + 1 / (1 - x)]), np.array([[1 / (1 - x) ** 2]]))

    got = solve(FunctionObjective(barrier), solver, np.zeros(1), max_iter=500, tol=1e-8)
    np.testing.assert_allclose(got.w, 0.9, atol=1e-8)


@every_solver
def test_a_lying_gradient_is_reported(solver):
    """The gradient points uphill: no step lowers the value, and nothing claims convergence."""

    def liar(w, order):
        return Evaluation(float(w @ w), -2 * w, 2 * np.eye(2))

    with pytest.warns(ConvergenceWarning, match="The largest|Stopped after max_iter"):
        got = solve(FunctionObjective(liar), solver, np.ones(2), max_iter=50, tol=1e-9)
    assert got.status != "converged"
    if not getattr(solver, "momentum", False):  # a step with momentum may rise, rounding noise too
        np.testing.assert_allclose(got.w, np.ones(2), rtol=1e-9)


def test_a_singular_hessian_is_shifted():
    def flat(w, order):  # only the first coordinate counts
        return Evaluation(float(w[0] ** 2), np.array([2 * w[0], 0.0]), np.diag([2.0, 0.0]))

    got = solve(FunctionObjective(flat), Newton(), np.array([1.0, 3.0]), max_iter=10, tol=1e-12)
    np.testing.assert_allclose(got.w, [0.0, 3.0], atol=1e-12)


def test_newton_cg_shortens_a_step_without_another_product():
    """Along the path that it has, one evaluation a trial."""
    kinds = []

    def advance(solver, state, n_rounds):
        question = solver.question(state)
        kinds.append("product" if question.vector is not None else "trial")
        return FunctionObjective(rosenbrock).advance(solver, state, 1)

    objective = type("Asked", (), {"advance": staticmethod(advance)})()
    start = np.array([-1.2, 1.0, -0.5, 2.0])
    solve(objective, NewtonCG(), start, max_iter=500, tol=1e-8)
    story = "".join(kind[0] for kind in kinds)
    assert "tt" in story  # a trial was rejected, and the next came at once
    assert "pp" in story


def sampled(function, bad):
    """A Hessian that is wrong where it comes from a sample: ``bad`` of the exact one."""

    def advance(solver, state, n_rounds):
        question = solver.question(state)
        strata.append(question.every)
        value, gradient, hessian = function(question.w, 2)
        hessian = bad(hessian) if question.every > 1 else hessian
        return [solver.update(state, Evaluation(value, gradient, hessian))]

    strata = []
    return type("Sampled", (), {"advance": staticmethod(advance)})(), strata


def test_a_hessian_of_a_sample_is_enough_while_it_is_good():
    objective, strata = sampled(quadratic(100.0)[0], lambda h: h * 1.1)
    got = solve(objective, Newton(every=64), np.zeros(6), max_iter=50, tol=1e-9)
    assert got.n_evaluations < 15
    assert set(strata) == {64}


@pytest.mark.parametrize(
    "bad",
    [lambda h: h * 1e-3, lambda h: h * 30, lambda h: -h, lambda h: np.diag([9, 0, 0, 0, 0, 0])],
)
def test_a_misleading_sample_grows(bad):
    function, at = quadratic(100.0)
    objective, strata = sampled(function, bad)
    got = solve(objective, Newton(every=64), np.zeros(6), max_iter=90, tol=1e-9)
    assert got.status == "converged"
    np.testing.assert_allclose(got.w, at, atol=1e-8)
    assert strata[-1] < 64


def test_newton_does_not_care_about_units():
    function, at = quadratic(10.0)
    units = np.logspace(-8, 8, 6)

    def odd(w, order):
        value, gradient, hessian = function(w * units, order)
        return Evaluation(value, gradient * units, hessian * np.outer(units, units))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        got = solve(FunctionObjective(odd), Newton(), np.zeros(6), max_iter=5, tol=0.0)
    np.testing.assert_allclose(got.w * units, at, rtol=1e-8)


def test_a_fixed_step_is_plain_gradient_descent():
    function, _ = quadratic(3.0)
    solver = GradientDescent(step_size=0.1, momentum=False)
    with pytest.warns(ConvergenceWarning, match="max_iter=5"):
        got = solve(FunctionObjective(function), solver, np.zeros(6), max_iter=5, tol=1e-9)
    w = np.zeros(6)
    for _ in range(5):
        w = w - 0.1 * function(w, 1).gradient
    np.testing.assert_allclose(got.w, w, rtol=1e-12)


def test_momentum_pays():
    function, _ = quadratic(1_000.0)
    plain, fast = (
        solve(FunctionObjective(function), s, np.zeros(6), max_iter=50_000, tol=1e-6).n_evaluations
        for s in (GradientDescent(momentum=False), GradientDescent())
    )
    assert 4 * fast < plain


def test_callbacks_see_every_state_and_may_end_the_fit():
    function, _ = quadratic(10.0)
    seen = []
    got = solve(
        FunctionObjective(function), LBFGS(), np.zeros(6), max_iter=50, tol=1e-8,
        callbacks=[seen.append],
    )  # fmt: skip
    assert len(seen) == got.n_evaluations
    assert seen[-1] is got.state

    def stop(state):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        solve(
            FunctionObjective(function), LBFGS(), np.zeros(6), max_iter=5, tol=0.0, callbacks=[stop]
        )


def test_a_diagonal_sketch_does_not_care_about_units():
    """As many rounds with one feature in millimetres and one in miles, and one that is always zero."""
    units = np.array([1e-5, 1e3, 1.0, 0.0])

    def scaled(w, order):
        value, gradient, hessian = logistic(w * units, 2)
        return Evaluation(value, gradient * units, hessian * np.outer(units, units))

    plain, other = (
        solve(
            FunctionObjective(function),
            LBFGS(sketch="diagonal"),
            np.zeros(4),
            max_iter=99,
            tol=1e-9,
        )
        for function in (logistic, scaled)
    )
    assert other.status == "converged"
    assert other.n_evaluations <= plain.n_evaluations + 3


def test_a_misleading_sketch_is_given_up():
    """A metric that promises far too long steps every time: L-BFGS goes on without one."""

    def lying(w, order):
        value, gradient, hessian = quadratic(10.0)[0](w, order)
        return Evaluation(value, gradient, 1e-30 * hessian)

    got = solve(
        FunctionObjective(lying), LBFGS(sketch="diagonal"), np.zeros(6), max_iter=99, tol=1e-8
    )
    assert got.status == "converged"
    assert got.n_evaluations < 90


def test_a_diagonal_keeps_the_sum_of_outputs_at_zero():
    """And is symmetric and positive definite still."""
    rng = np.random.default_rng(0)
    metric = metric_from("diagonal", rng.uniform(0.1, 5.0, (3, 2)))
    gradient = rng.normal(size=(3, 2))
    np.testing.assert_allclose(metric(gradient - gradient.mean(axis=0)).sum(axis=0), 0, atol=1e-14)
    matrix = np.array([metric(e.reshape(3, 2)).ravel() for e in np.eye(6)])
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-14)
    assert np.linalg.eigvalsh(matrix)[0] > 0


def test_a_guess_saves_evaluations_and_is_given_up_where_nothing_is_finite():
    function, at = quadratic(1_000.0)
    how = {"max_iter": 500, "tol": 1e-9}
    cold = solve(FunctionObjective(function), LBFGS(), np.zeros(6), **how)
    warm = solve(
        FunctionObjective(function), LBFGS(), np.zeros(6), near=Guess(at + 1e-9, 1.0), **how
    )
    assert warm.n_evaluations < cold.n_evaluations

    def bounded(w, order):
        value, gradient, hessian = function(w, order)
        return Evaluation(value if np.abs(w).max() < 9 else np.inf, gradient, hessian)

    for far, most in ((np.full(6, 10.0), 1e9), (np.full(6, 8.0), 1.0)):
        near = Guess(far, most)
        lost = solve(FunctionObjective(bounded), Newton(), np.zeros(6), near=near, **how)
        assert (lost.status, lost.n_evaluations) == ("converged", 3)


@every_solver
def test_an_approach_ends_near_and_in_time(solver):
    objective = Counting(quadratic(100.0)[0])
    first = np.abs(objective.function(np.zeros(6), 1).gradient).max()
    state, most = approach(objective, solver, np.zeros(6), max_iter=500, share=0.1)
    assert most == objective.function(np.zeros(6), 1).value
    near = state.w if np.abs(state.gradient).max() <= 0.1 * first else solver.point(state)
    assert np.abs(objective.function(near, 1).gradient).max() <= 0.1 * first
    evaluations = len(objective.points)
    approach(objective, solver, np.zeros(6), max_iter=1, share=0.0)  # and no warning
    assert len(objective.points) <= evaluations + 40


def test_systems_that_are_not_finite_are_refused_by_name():
    matrix, scale = np.diag([1.0, 2.0, 3.0]), np.ones(3)
    with pytest.raises(
        InvalidDataError, match=r"right side .* not finite: inf at \[1\], the first of 2 "
    ):
        factorised(matrix, scale).solve(np.array([1.0, np.inf, np.nan]))
    matrix[2, 0] = np.nan
    with pytest.raises(
        InvalidDataError, match=r"3 equations has a matrix .*: nan at \[2, 0\], .* scale the"
    ):
        factorised(matrix, scale)
    with pytest.warns(ConvergenceWarning, match="The objective is inf after 0 steps"):
        solve(
            FunctionObjective(lambda w, order: Evaluation(1.0, np.inf * w, np.eye(2))),
            Newton(), np.ones(2), max_iter=9, tol=1e-6,
        )  # fmt: skip
