"""Poisson, gamma and Tweedie regression against scikit-learn at a converged tolerance."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import sparse
from sklearn import linear_model as reference

from daskml_kit.exceptions import ConvergenceWarning, InvalidDataError, InvalidParameterError
from daskml_kit.linear_model import GammaRegressor, PoissonRegressor, TweedieRegressor

rng = np.random.default_rng(3)
N, D = 250, 5
X = rng.normal(size=(N, D))
MEAN = np.exp(X @ rng.normal(size=D) * 0.4 + 1.0)
COUNTS = rng.poisson(MEAN).astype(float)
AMOUNTS = rng.gamma(2.0, MEAN / 2.0)
WEIGHT = rng.uniform(0.0, 2.0, N)
WEIGHT[:10] = 0.0
CONVERGED = {"tol": 1e-10, "max_iter": 5_000}

FORMS = {
    "dense": np.asarray,
    "csr": sparse.csr_array,
    "dask": lambda a: da.from_array(a, chunks=(70, -1)),
}
CASES = {
    "poisson": (PoissonRegressor, {}, COUNTS),
    "gamma": (GammaRegressor, {}, AMOUNTS),
    "normal": (TweedieRegressor, {}, COUNTS),
    "power 1": (TweedieRegressor, {"power": 1}, COUNTS),
    "power 1.5": (TweedieRegressor, {"power": 1.5}, COUNTS),
    "power 2": (TweedieRegressor, {"power": 2}, AMOUNTS),
    "power 3": (TweedieRegressor, {"power": 3}, AMOUNTS),
    "normal, log": (TweedieRegressor, {"link": "log"}, AMOUNTS),
}


@pytest.mark.filterwarnings("ignore:The inner solver of NewtonCholeskySolver")  # scikit-learn's own
@pytest.mark.parametrize("solver", ["newton-cholesky", "lbfgs"])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_is_scikit_learns(solver, case, fit_intercept):
    kind, how, y = CASES[case]
    for alpha, weight in [(0.0, WEIGHT), (0.3, None)]:
        both = {"alpha": alpha, "fit_intercept": fit_intercept, **how}
        theirs = getattr(reference, kind.__name__)(**both, tol=1e-9, solver="newton-cholesky")
        theirs.set_params(max_iter=1_000).fit(X, y, weight)
        for form in FORMS.values():
            ours = kind(solver=solver, **both, **CONVERGED).fit(form(X), y, weight)
            # Where curvature is negative theirs ends with l-bfgs: 1e-7 of a coefficient.
            np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-6, atol=1e-7)
            np.testing.assert_allclose(ours.intercept_, theirs.intercept_, rtol=1e-6, atol=1e-7)
        assert ours.score(X, y, weight) == pytest.approx(theirs.score(X, y, weight), abs=1e-8)
        np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-5)


def test_rounds_are_one_for_the_target_and_one_an_iteration():
    ours = PoissonRegressor(solver="newton-cholesky", tol=1e-8).fit(X, COUNTS)
    names = [r["name"] for r in ours.history_]
    assert names[:2] == ["load", "target"]
    assert len(names[2:]) == ours.n_iter_ + 1
    assert set(names[2:]) == {"poisson-hessian", "poisson-gradient"}
    assert ours.n_passes_ == ours.n_rounds_ == len(names)


@settings(max_examples=10, deadline=None)
@given(chunk=st.integers(1, N))
def test_chunks_do_not_change_the_answer(chunk):
    how = {"solver": "newton-cholesky", "tol": 1e-9}
    whole = PoissonRegressor(**how).fit(X, COUNTS, WEIGHT)
    parts = PoissonRegressor(**how).fit(da.from_array(X, chunks=(chunk, -1)), COUNTS, WEIGHT)
    np.testing.assert_allclose(parts.coef_, whole.coef_, rtol=1e-9)
    assert parts.n_iter_ == whole.n_iter_


def test_score_of_lazy_data_takes_one_pass_and_any_chunks():
    ours = GammaRegressor(alpha=0.0).fit(X, AMOUNTS)
    lazy = ours.score(da.from_array(X, chunks=(33, -1)), da.from_array(AMOUNTS, chunks=33))
    assert lazy == pytest.approx(ours.score(X, AMOUNTS), rel=1e-12)
    assert ours.score(X, np.full(N, 2.0) + 1e-3 * X[:, 0]) < 0


def test_on_a_cluster(client):
    rows, y = da.from_array(X, chunks=(50, -1)), da.from_array(COUNTS, chunks=50)
    ours = PoissonRegressor().fit(rows, y)
    np.testing.assert_allclose(ours.coef_, PoissonRegressor().fit(X, COUNTS).coef_, rtol=1e-9)
    assert isinstance(ours.predict(rows), da.Array)
    assert ours.score(rows, y) == pytest.approx(ours.score(X, COUNTS))


def test_a_warm_start_at_the_solution_takes_no_step():
    ours = PoissonRegressor(warm_start=True, tol=1e-6).fit(X, COUNTS)
    assert ours.fit(X, COUNTS).n_iter_ == 0
    with pytest.raises(InvalidParameterError, match="warm_start=True needs data of the last fit's"):
        ours.fit(X[:, 1:], COUNTS)


@pytest.mark.parametrize("form", FORMS)
def test_float32_is_kept(form):
    small = X.astype(np.float32)
    ours = GammaRegressor(tol=1e-8).fit(FORMS[form](small), AMOUNTS)
    assert ours.coef_.dtype == ours.predict(small).dtype == np.float32
    np.testing.assert_allclose(
        ours.coef_, GammaRegressor(tol=1e-8).fit(X, AMOUNTS).coef_, atol=1e-5
    )


@pytest.mark.parametrize("case", ["poisson", "gamma"])
def test_samples_of_rows_end_where_all_rows_do(case, monkeypatch):
    """Also beside a row whose mean would overflow at the sample's minimum, and in any chunks."""
    kind, how, y = CASES[case]
    far = X.copy()
    far[3] *= 300.0
    for rows in (X, far):
        how = {"alpha": 1e-3, "solver": "newton-cholesky", "tol": 1e-9, "max_iter": 500}
        exact = kind(**how).fit(rows, y)
        monkeypatch.setattr("daskml_kit.linear_model.choice.SAMPLE", 2)
        fits = [kind(**how).fit(part, y) for part in (rows, da.from_array(rows, chunks=(37, -1)))]
        monkeypatch.undo()
        assert fits[0].n_passes_ < fits[0].n_rounds_
        np.testing.assert_allclose(fits[0].coef_, exact.coef_, rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(fits[1].coef_, fits[0].coef_, rtol=1e-9, atol=1e-12)


def test_large_means_need_no_more_steps():
    """The start is the best constant: from zero, exp would first have to climb to the mean."""
    steps = {
        scale: PoissonRegressor(alpha=0.0, solver="newton-cholesky").fit(X, scale * COUNTS).n_iter_
        for scale in (1.0, 1e6)
    }
    assert steps[1e6] <= steps[1.0] + 3


@pytest.mark.parametrize(
    ("estimator", "y", "message"),
    [
        (
            PoissonRegressor(),
            COUNTS - 1,
            "range of the loss 'Poisson'.* at least 0, the smallest is -1",
        ),
        (GammaRegressor(), COUNTS, "range of the loss 'Gamma'.* above 0, the smallest is 0"),
        (TweedieRegressor(power=1.5), COUNTS - 1, "range of the loss 'Tweedie'"),
        (PoissonRegressor(), np.zeros(N), "All values of y of positive weight are 0"),
    ],
    ids=str,
)
def test_values_outside_of_the_range_are_refused(estimator, y, message):
    with pytest.raises(InvalidDataError, match=message):
        estimator.fit(X, y)


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (PoissonRegressor(alpha=-1), "alpha must be a number >= 0, got -1"),
        (PoissonRegressor(tol=0), "tol must be a number > 0, got 0"),
        (PoissonRegressor(solver="sag"), "solver must be one of .*, got 'sag'"),
        (TweedieRegressor(power=0.5), "power must not lie between 0 and 1"),
        (TweedieRegressor(power="a"), "power must be a number"),
        (TweedieRegressor(power=1.5, link="identity"), "link='identity' needs power=0"),
        (TweedieRegressor(link="logit"), "link must be 'auto', 'identity' or 'log', got 'logit'"),
    ],
    ids=str,
)
def test_impossible_parameters_are_refused_by_name(estimator, message):
    with pytest.raises(InvalidParameterError, match=message):
        estimator.fit(X, COUNTS)


def test_too_few_steps_are_warned_of():
    with pytest.warns(ConvergenceWarning, match="Stopped after max_iter=1 steps"):
        PoissonRegressor(max_iter=1, tol=1e-12).fit(X, COUNTS)


def test_columns_that_hessians_do_not_tell_from_the_intercept():
    """Means of a few rows, found with those of y, say so: no round more, and the answer is as good."""
    far = X + np.eye(X.shape[1])[0] * 1e8
    near = PoissonRegressor(alpha=0.1).fit(X, COUNTS)
    ours = PoissonRegressor(alpha=0.1).fit(far, COUNTS)
    assert [r["name"] for r in near.history_[:3]] == ["load", "target", "poisson-hessian"]
    assert [r["name"] for r in ours.history_] == [r["name"] for r in near.history_]
    close = PoissonRegressor(alpha=0.1).fit(far - np.eye(X.shape[1])[0] * 1e8, COUNTS)
    np.testing.assert_allclose(ours.coef_, close.coef_, rtol=1e-9)


@pytest.mark.parametrize("case", ["poisson", "gamma", "power 1.5", "normal, log"])
def test_every_solver_of_smooth_losses_takes_every_family(case):
    kind, how, y = CASES[case]
    ours = kind(alpha=0.1, solver="newton", **how, **CONVERGED).fit(X, y)
    same = kind(alpha=0.1, solver="newton-cholesky", **how, **CONVERGED).fit(X, y)
    np.testing.assert_array_equal(ours.coef_, same.coef_)
    for name in ("newton-cg", "gd"):
        for form in (np.asarray, sparse.csr_array):
            found = kind(alpha=0.1, solver=name, **how, **CONVERGED).fit(form(X), y)
            np.testing.assert_allclose(found.coef_, ours.coef_, rtol=1e-7, atol=1e-9)
