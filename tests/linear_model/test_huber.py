"""HuberRegressor: the optimum of scikit-learn's objective, nearer than scikit-learn's l-bfgs gets."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import sparse
from sklearn import linear_model as reference

from daskml_kit.exceptions import ConvergenceWarning, InvalidParameterError
from daskml_kit.kernels.joint_scale import joint_scale_sums
from daskml_kit.linear_model import HuberRegressor, centring, huber

rng = np.random.default_rng(9)
N, D = 220, 4
X = rng.normal(size=(N, D)) + 2.0
Y = X @ np.array([10.0, -4.0, 0.0, 2.0]) + 5.0 + rng.normal(size=N) * 3.0
Y[:25] += rng.choice([-200.0, 300.0], 25)
WEIGHT = rng.uniform(0.0, 2.0, N)
CONVERGED = {"tol": 1e-9, "max_iter": 2_000}
FORMS = {
    "dense": np.asarray,
    "csr": sparse.csr_array,
    "dask": lambda a: da.from_array(a, chunks=(70, -1)),
}


def objective(model, weight):
    s = np.ones(N) if weight is None else weight
    w = np.r_[model.coef_, [model.intercept_] * model.fit_intercept]
    sums = joint_scale_sums(
        X, Y, s, w, model.scale_, model.epsilon, fit_intercept=model.fit_intercept, order=1
    )
    gradient = (
        sums.gradient + 2 * model.alpha * np.r_[model.coef_, np.zeros(len(sums.gradient) - D)]
    )
    return sums.value + model.alpha * model.coef_ @ model.coef_, gradient / s.sum()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "how", [{}, {"epsilon": 2.5}, {"fit_intercept": False}, {"alpha": 50.0}], ids=str
)
def test_is_scikit_learns(form, how):
    for weight in (None, WEIGHT):
        ours = HuberRegressor(**how, **CONVERGED).fit(FORMS[form](X), Y, weight)
        theirs = reference.HuberRegressor(**how, tol=1e-10, max_iter=10_000).fit(X, Y, weight)
        # Theirs stops where differences of the sum are rounding: three or four digits.
        np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=3e-3)
        np.testing.assert_allclose(ours.intercept_, theirs.intercept_, atol=3e-3)
        assert ours.scale_ == pytest.approx(theirs.scale_, rel=1e-3)
        (value, gradient), (peer, _) = objective(ours, weight), objective(theirs, weight)
        assert value <= peer * (1 + 1e-12)
        np.testing.assert_allclose(gradient, 0.0, atol=1e-8)
        mask = ours.outliers(
            FORMS[form](X), FORMS["dask"](Y[:, None])[:, 0] if form == "dask" else Y
        )
        np.testing.assert_array_equal(np.asarray(mask), theirs.outliers_)
        if form == "dask":
            assert isinstance(mask, da.Array)
            assert not hasattr(ours, "outliers_")
        else:
            np.testing.assert_array_equal(ours.outliers_, theirs.outliers_)


def test_every_possible_solver_finds_the_optimum():
    ours = HuberRegressor(**CONVERGED).fit(X, Y)
    for name in ("newton-cholesky", "lbfgs", "gd"):
        found = HuberRegressor(solver=name, tol=1e-8, max_iter=5_000).fit(X, Y)
        np.testing.assert_allclose(found.coef_, ours.coef_, atol=1e-6)
        assert found.scale_ == pytest.approx(ours.scale_, rel=1e-6)


def test_newton_takes_few_rounds():
    ours = HuberRegressor().fit(X, Y)
    names = [r["name"] for r in ours.history_]
    assert names[:2] == ["load", "moments"]
    assert set(names[2:]) == {"huber-hessian"}
    assert len(names) < 20


def test_many_coefficients_take_first_order_rounds(monkeypatch):
    monkeypatch.setattr(huber, "NEWTON_SIZE", 0)
    ours = HuberRegressor(**CONVERGED).fit(sparse.csr_array(X), Y, WEIGHT)
    assert [r["name"] for r in ours.history_[:3]] == ["load", "target", "huber-gradient"]
    newton = HuberRegressor(**CONVERGED).fit(X, Y, WEIGHT)
    np.testing.assert_allclose(ours.coef_, newton.coef_, atol=1e-6)


@settings(max_examples=8, deadline=None)
@given(chunk=st.integers(1, N))
def test_chunks_do_not_change_the_answer(chunk):
    whole = HuberRegressor(**CONVERGED).fit(X, Y, WEIGHT)
    parts = HuberRegressor(**CONVERGED).fit(da.from_array(X, chunks=(chunk, -1)), Y, WEIGHT)
    np.testing.assert_allclose(parts.coef_, whole.coef_, rtol=1e-9)
    assert parts.scale_ == pytest.approx(whole.scale_, rel=1e-9)


def test_data_without_noise_have_no_scale():
    ours = HuberRegressor(alpha=0.0).fit(X, X @ np.arange(4.0))
    np.testing.assert_allclose(ours.coef_, np.arange(4.0), atol=1e-6)
    assert 0 < ours.scale_ < 1e-6


@pytest.mark.parametrize("outliers", [0, 25])
@pytest.mark.parametrize("order", [1, 2])
def test_a_scale_that_vanishes_ends_the_fit(monkeypatch, outliers, order):
    """Residuals are rounding then: no tolerance is reached, and every step would lower the scale's log."""
    if order == 1:
        monkeypatch.setattr(huber, "NEWTON_SIZE", 0)
        monkeypatch.setattr(huber, "newton_is_cheaper", lambda *_: False)
    w = np.array([1.0, -2.0, 0.0, 3.0])
    y = X @ w + 1.0
    y[:outliers] += 100.0
    ours = HuberRegressor(tol=1e-12, max_iter=20_000)
    with pytest.warns(ConvergenceWarning, match="scale|line search"):
        ours.fit(da.from_array(X, chunks=(90, -1)), y)
    np.testing.assert_allclose(ours.coef_, w, atol=1e-7 * y.std())
    assert 1e-9 <= ours.scale_ / y.std() < 1e-7
    if order == 2:
        assert ours.n_rounds_ < 100
    ours.set_params(warm_start=True, tol=1e-3).fit(X, y)
    assert ours.scale_ >= 1e-9 * y.std()


@pytest.mark.parametrize("order", [1, 2])
def test_far_columns_cost_no_rounds(monkeypatch, order):
    """Offsets that double precision holds exactly, so that the same rows are told about."""
    if order == 1:
        monkeypatch.setattr(huber, "NEWTON_SIZE", 0)
        monkeypatch.setattr(huber, "newton_is_cheaper", lambda *_: False)
    monkeypatch.setattr(centring, "CENTRED_VALUES", 50 * D)
    offset = np.array([2.0**27, -(2.0**27), 0.0, 2.0**20])
    near = (X * 2**16).round() / 2**16
    close = HuberRegressor(tol=1e-6, max_iter=1_000).fit(near, Y, WEIGHT)
    ours = HuberRegressor(tol=1e-6, max_iter=1_000)
    ours.fit(da.from_array(near + offset, chunks=(70, -1)), Y, WEIGHT)
    np.testing.assert_allclose(ours.coef_, close.coef_, atol=1e-4)
    assert ours.scale_ == pytest.approx(close.scale_, rel=1e-5)
    assert ours.n_iter_ <= close.n_iter_ + (2 if order == 2 else 40)
    again = ours.set_params(warm_start=True, tol=1e-4).fit(near + offset, Y, WEIGHT)
    assert again.n_iter_ <= 1
    assert [r["name"] for r in again.history_[:3]] == ["load", "target", "means"]


def test_a_warm_start_at_the_solution_takes_no_step():
    ours = HuberRegressor(warm_start=True).fit(X, Y)
    assert ours.fit(X, Y).n_iter_ == 0
    with pytest.raises(InvalidParameterError, match="warm_start=True needs data of the last fit's"):
        ours.fit(X[:, 1:], Y)


def test_float32_is_kept():
    ours = HuberRegressor().fit(X.astype(np.float32), Y)
    assert ours.coef_.dtype == np.float32


def test_on_a_cluster(client):
    rows, y = da.from_array(X, chunks=(50, -1)), da.from_array(Y, chunks=50)
    ours = HuberRegressor(**CONVERGED).fit(rows, y)
    np.testing.assert_allclose(ours.coef_, HuberRegressor(**CONVERGED).fit(X, Y).coef_, rtol=1e-9)
    assert ours.outliers(rows, y).compute().sum() >= 25


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"epsilon": 0.9}, r"epsilon must be a number >= 1, got 0\.9"),
        ({"alpha": -1}, "alpha must be a number >= 0, got -1"),
        ({"fit_intercept": 1}, "fit_intercept must be True or False, got 1"),
        (
            {"solver": "newton-cg"},
            "solver='newton-cg' can't minimise Huber's objective: .* Use one of",
        ),
        ({"solver": "sag"}, "solver must be one of .*'gd'.*, got 'sag'"),
    ],
)
def test_impossible_parameters_are_refused_by_name(parameters, message):
    with pytest.raises(InvalidParameterError, match=message):
        HuberRegressor(**parameters).fit(X, Y)


def test_too_few_steps_are_warned_of():
    with pytest.warns(ConvergenceWarning, match="Stopped after max_iter=1 steps"):
        HuberRegressor(max_iter=1).fit(X, Y)
