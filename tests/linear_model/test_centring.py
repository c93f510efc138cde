"""Columns far from zero: the answers and, nearly, the rounds of centred ones."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest

from daskml_kit.linear_model import (
    HuberRegressor,
    LogisticRegression,
    LogisticRegressionCV,
    PoissonRegressor,
    QuantileRegressor,
)
from daskml_kit.linear_model.centring import Centred
from daskml_kit.solvers import LBFGS, Evaluation, FunctionObjective, NewtonCG, solve

N, D = 700, 6
rng = np.random.default_rng(5)
X = rng.normal(size=(N, D)) * np.geomspace(1, 5, D)
FAR = np.linspace(1.0, 2.0, D) * X.std(axis=0)  # times an offset
SCORES = X @ rng.normal(size=D) / 3
BINARY = (SCORES + rng.logistic(size=N) > 0).astype(int)
SEVERAL = np.digitize(SCORES + rng.normal(size=N), [-1, 1])
COUNTS = rng.poisson(np.exp(SCORES / 4))
WEIGHT = rng.uniform(0.5, 2.0, N)

MODELS = {
    "l1": (LogisticRegression(l1_ratio=1.0, C=0.05, solver="lbfgs"), BINARY),
    "l1 fista": (LogisticRegression(l1_ratio=1.0, C=0.05, solver="gd"), BINARY),
    "net, several": (LogisticRegression(l1_ratio=0.5, C=0.05, solver="lbfgs"), SEVERAL),
    "bounds": (LogisticRegression(coef_bounds=(0.0, 0.3), solver="lbfgs"), BINARY),
    "l2": (LogisticRegression(solver="lbfgs"), BINARY),
    "l2, several": (LogisticRegression(solver="lbfgs"), SEVERAL),
    "l2 nesterov": (LogisticRegression(C=0.1, solver="gd"), BINARY),
    "l2 newton-cg": (LogisticRegression(solver="newton-cg"), BINARY),
    "unrolled": (LogisticRegression(solver="lbfgs", unroll=3), BINARY),
    "poisson": (PoissonRegressor(alpha=0.01, solver="lbfgs"), COUNTS),
}


def raw_of(model, rows):
    """Raw predictions; of several classes up to what all have in common."""
    raw = rows @ model.coef_.T + model.intercept_
    return raw - raw.mean(axis=1, keepdims=True) if raw.shape[1:] == (3,) else raw


@pytest.mark.parametrize("name", MODELS)
def test_far_columns_cost_no_rounds(name):
    """Nearer than 1e5 spreads sums lose a digit for each ten times; beyond, the data are rounded."""
    model, y = MODELS[name]
    model.set_params(tol=2e-6, max_iter=1_000)
    near = model.fit(X, y, WEIGHT)
    coef, rounds = near.coef_, near.n_rounds_
    raw = raw_of(near, X)
    for offset in (1e3, 1e8):
        rows = X + offset * FAR
        far = model.fit(da.from_array(rows, chunks=(150, -1)), y, WEIGHT)
        assert far.n_rounds_ <= rounds + 4
        means = [r["objective"] for r in far.history_ if r["name"] == "means"]
        assert means == [None] * (name != "poisson")  # where they come with the mean of y
        assert far.n_passes_ == far.n_rounds_ - len(means)  # they are of a few rows
        np.testing.assert_allclose(far.coef_, coef, atol=1e-5)
        np.testing.assert_allclose(raw_of(far, rows), raw, atol=1e-4)


NEWTON = {
    "l2": (LogisticRegression(), BINARY),
    "no penalty": (LogisticRegression(C=np.inf), BINARY),
    "several": (LogisticRegression(), SEVERAL),
    "l1": (LogisticRegression(l1_ratio=1.0, C=0.05), BINARY),
    "net, several": (LogisticRegression(l1_ratio=0.5, C=0.05), SEVERAL),
    "bounds": (LogisticRegression(coef_bounds=(0.0, 0.3)), BINARY),
    "poisson": (PoissonRegressor(alpha=0.01), COUNTS),
    "folds": (LogisticRegressionCV(Cs=[0.05, 1.0], cv=2), BINARY),
    "folds, net": (LogisticRegressionCV(Cs=[0.05], l1_ratios=(0.5,), cv=2), SEVERAL),
    "folds, lbfgs": (LogisticRegressionCV(Cs=[0.05], cv=2, solver="lbfgs"), BINARY),
    "huber": (HuberRegressor(), SCORES + rng.standard_cauchy(N)),
}


@pytest.mark.parametrize("name", NEWTON)
def test_far_columns_cost_newton_no_rounds(name):
    """Nor the folds of a cross-validation, nor the models with a scale."""
    model, y = NEWTON[name]
    near = model.set_params(tol=2e-6).fit(X, y, WEIGHT)
    coef, rounds, raw = near.coef_, near.n_rounds_, raw_of(near, X)
    for offset in (1e3, 1e8):
        rows = X + offset * FAR
        far = model.fit(da.from_array(rows, chunks=(150, -1)), y, WEIGHT)
        assert far.n_rounds_ <= rounds + 2
        assert far.n_passes_ == far.n_rounds_ - (name not in ("poisson", "huber"))
        np.testing.assert_allclose(far.coef_, coef, atol=1e-5)
        np.testing.assert_allclose(raw_of(far, rows), raw, atol=1e-4)


def test_a_quantile_of_far_columns_is_exact():
    """To the rounding of the data. More rows than the driver takes at once."""
    rows = np.tile(X, (3, 1)) + rng.normal(size=(3 * N, D))
    target = rows.sum(axis=1) + rng.standard_cauchy(3 * N)
    far = rows + 1e8 * FAR
    model = QuantileRegressor(quantile=0.3, alpha=0.01)
    coef = model.fit(far - 1e8 * FAR, target).coef_
    np.testing.assert_allclose(model.fit(far, target).coef_, coef, rtol=1e-9)


def test_constant_columns_beside_far_ones_are_no_trouble():
    rows = np.column_stack([X + 1e4 * FAR, np.full(N, 5.0), np.zeros(N)])
    model = LogisticRegression(tol=1e-6).fit(rows, BINARY)
    coef = LogisticRegression(tol=1e-6).fit(X, BINARY).coef_[0]
    np.testing.assert_allclose(model.coef_[0], [*coef, 0.0, 0.0], atol=1e-5)
    free = LogisticRegression(tol=1e-6, C=np.inf).fit(rows, BINARY)
    free_of = LogisticRegression(tol=1e-6, C=np.inf).fit(X, BINARY)
    np.testing.assert_allclose(raw_of(free, rows), raw_of(free_of, X), atol=1e-4)


def test_a_warm_start_is_where_the_last_fit_ended():
    model = LogisticRegression(solver="lbfgs", tol=1e-6, warm_start=True)
    first = model.fit(X + 1e3 * FAR, BINARY).n_iter_[0]
    assert model.fit(X + 1e3 * FAR, BINARY).n_iter_[0] <= 1 < first


def test_what_has_no_free_intercept_is_not_centred():
    for how in ({"fit_intercept": False}, {"intercept_bounds": (-1.0, 1.0)}):
        model = LogisticRegression(solver="lbfgs", **how).fit(X, BINARY)
        assert "means" not in {r["name"] for r in model.history_}


@pytest.mark.parametrize(
    "solver", [LBFGS(), LBFGS(sketch="shared"), LBFGS(sketch="diagonal"), NewtonCG()]
)
def test_a_solver_is_told_what_centred_columns_would_tell(solver):
    """The same states, step by step, as on columns that were centred by hand."""
    mean = FAR / 2
    variance = np.ones(D)

    def squares(rows):
        A = np.column_stack([rows, np.ones(N)])
        H = A.T @ A / N

        def function(w, order):
            lost = A @ w - SCORES
            return Evaluation(float(lost @ lost) / (2 * N), A.T @ lost / N, H)

        return FunctionObjective(function, lambda _, vector: H @ vector)

    by_hand = solve(squares(X), solver, np.ones(D + 1), max_iter=60, tol=1e-9)
    wrapped = Centred(solver, mean, variance)
    w0 = wrapped.outward(np.ones(D + 1))
    told = solve(squares(X + mean), wrapped, w0, max_iter=60, tol=1e-9)
    np.testing.assert_allclose(told.w, by_hand.w, atol=1e-7)
    np.testing.assert_allclose(wrapped.inward(w0), np.ones(D + 1), rtol=1e-12)
    if getattr(solver, "sketch", "") != "diagonal":  # that of far columns is a guess
        assert told.n_evaluations == by_hand.n_evaluations
