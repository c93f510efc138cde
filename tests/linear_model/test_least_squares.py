"""LinearRegression and Ridge against scikit-learn at a converged tolerance."""

from __future__ import annotations

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import linalg, sparse
from sklearn import linear_model as reference

from daskml_kit.exceptions import InvalidDataError, InvalidParameterError
from daskml_kit.linear_model import LinearRegression, Ridge, least_squares

rng = np.random.default_rng(7)
N, D = 300, 8
X = rng.normal(size=(N, D)) * np.logspace(0, 2, D) + 5.0
Y = X @ rng.normal(size=(D, 3)) + rng.normal(size=(N, 3))
WEIGHT = rng.uniform(0.0, 3.0, N)
WEIGHT[:20] = 0.0

FORMS = {
    "dense": np.asarray,
    "csr": sparse.csr_array,
    "dask": lambda a: da.from_array(a, chunks=(77, -1)),
}


def same(ours, theirs, rtol=1e-6):
    scale = np.abs(theirs.coef_).max()
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=rtol, atol=rtol * scale)
    np.testing.assert_allclose(
        ours.intercept_, theirs.intercept_, rtol=rtol, atol=rtol * np.abs(Y).max()
    )
    assert np.shape(ours.coef_) == np.shape(theirs.coef_)
    assert np.shape(ours.intercept_) == np.shape(theirs.intercept_)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["", "weighted"])
@pytest.mark.parametrize("y", [Y[:, 0], Y[:, :1], Y], ids=["1d", "one-column", "three"])
@pytest.mark.parametrize("alpha", [0.0, 1e-3, 100.0])
def test_ridge_is_scikit_learns(form, fit_intercept, weight, y, alpha):
    ours = Ridge(alpha, fit_intercept=fit_intercept).fit(FORMS[form](X), y, weight)
    theirs = reference.Ridge(alpha, fit_intercept=fit_intercept, solver="svd").fit(X, y, weight)
    same(ours, theirs)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-6, atol=1e-5)


def test_ridge_takes_one_strength_a_target():
    alpha = np.array([0.1, 10.0, 1e4])
    same(Ridge(alpha).fit(X, Y, WEIGHT), reference.Ridge(alpha, solver="svd").fit(X, Y, WEIGHT))
    for solver in ("sparse_cg", "newton", "newton-cg", "gd"):  # one solution, in one pass
        named = Ridge(alpha, solver=solver).fit(X, Y, WEIGHT)
        np.testing.assert_array_equal(named.coef_, Ridge(alpha).fit(X, Y, WEIGHT).coef_)
    for t in range(3):
        one = Ridge(alpha[t]).fit(X, Y[:, t], WEIGHT)
        np.testing.assert_allclose(one.coef_, Ridge(alpha).fit(X, Y, WEIGHT).coef_[t], rtol=1e-9)


@pytest.mark.parametrize("alpha", [[1.0, 2.0], np.ones(4)])
def test_ridge_refuses_another_number_of_strengths(alpha):
    with pytest.raises(InvalidParameterError, match=r"3 targets, \d values of alpha"):
        Ridge(alpha).fit(X, Y)


@pytest.mark.parametrize("alpha", [-1.0, [1.0, -1.0, 0.0], np.nan])
def test_ridge_refuses_a_negative_strength(alpha):
    with pytest.raises(InvalidParameterError, match="alpha must be numbers of at least 0"):
        Ridge(alpha).fit(X, Y)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["", "weighted"])
def test_linear_regression_is_scikit_learns(form, fit_intercept, weight):
    ours = LinearRegression(fit_intercept=fit_intercept).fit(FORMS[form](X), Y, weight)
    same(ours, reference.LinearRegression(fit_intercept=fit_intercept).fit(X, Y, weight))


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("n", [300, 5], ids=["collinear", "fewer rows than features"])
def test_of_several_minima_the_one_of_least_norm(fit_intercept, n):
    base = rng.normal(size=(n, 4))
    wide = np.hstack([base, base @ rng.normal(size=(4, 3)), np.zeros((n, 1))])
    y = rng.normal(size=n)
    ours = LinearRegression(fit_intercept=fit_intercept).fit(wide, y)
    centre = fit_intercept * wide.mean(axis=0)
    least = linalg.lstsq(wide - centre, y - fit_intercept * y.mean(), cond=1e-10)[0]
    np.testing.assert_allclose(ours.coef_, least, rtol=1e-6, atol=1e-8)


def test_an_ill_conditioned_problem_gets_a_second_pass():
    """Condition 1e5 of X is 1e10 of its Gram matrix: the correction regains what that loses."""
    u, _ = np.linalg.qr(rng.normal(size=(N, D)))
    v, _ = np.linalg.qr(rng.normal(size=(D, D)))
    hard = u * np.logspace(0, -5, D) @ v.T
    y = hard @ np.ones(D)
    ours = LinearRegression(fit_intercept=False).fit(hard, y)
    np.testing.assert_allclose(ours.coef_, np.ones(D), rtol=1e-6)
    assert [r["name"] for r in ours.history_] == ["load", "moments", "residual"]
    ours = Ridge(1e-9, fit_intercept=False).fit(hard, y)
    theirs = reference.Ridge(1e-9, fit_intercept=False, solver="svd").fit(hard, y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-6)


def test_a_well_conditioned_problem_takes_one_round():
    ours = Ridge().fit(rng.normal(size=(N, D)), Y)
    assert [r["name"] for r in ours.history_] == ["load", "moments"]
    assert (ours.n_rounds_, ours.n_passes_, ours.n_iter_) == (2, 2, None)


def test_far_from_the_origin():
    """An offset of 1e6 spreads: centred moments keep 1e-6, a raw Gram matrix keeps nothing."""
    far = rng.normal(size=(N, D)) + 1e6
    y = far @ np.ones(D)
    for rows in (far, da.from_array(far, chunks=(41, -1))):
        np.testing.assert_allclose(LinearRegression().fit(rows, y).coef_, np.ones(D), rtol=1e-6)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("estimator", [LinearRegression(), Ridge(0.5)], ids=str)
def test_float32_is_kept(form, estimator):
    small = np.ascontiguousarray(X / np.abs(X).max(axis=0), dtype=np.float32)
    ours = estimator.fit(FORMS[form](small), Y[:, 0])
    exact = type(estimator)(**estimator.get_params()).fit(small.astype(np.float64), Y[:, 0])
    assert ours.coef_.dtype == ours.predict(small).dtype == np.float32
    # The sums are kept in float64: only the answer is rounded.
    np.testing.assert_allclose(ours.coef_, exact.coef_, rtol=1e-5)


def wide_problem(density=0.05):
    wide = sparse.random_array((60, 5_200), density=density, rng=rng, format="csr")
    return wide, rng.normal(size=(60, 2))


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_more_features_than_a_gram_matrix_takes(fit_intercept):
    wide, y = wide_problem()
    weight = rng.uniform(0.5, 2.0, 60)
    how = {"fit_intercept": fit_intercept, "tol": 1e-12}
    ours = Ridge([0.5, 2.0], max_iter=5_000, **how).fit(wide, y, weight)
    theirs = reference.Ridge([0.5, 2.0], fit_intercept=fit_intercept, solver="svd")
    same(ours, theirs.fit(wide.toarray(), y, weight))
    assert ours.n_iter_.shape == (2,)
    assert {r["name"] for r in ours.history_} == {"load", "spread", "halfsquared-gradient"}


def test_both_ways_agree(monkeypatch):
    wide = rng.normal(size=(80, 12))
    by_moments = Ridge(0.3).fit(wide, Y[:80], WEIGHT[:80])
    monkeypatch.setattr(least_squares, "GRAM_FEATURES", 11)
    by_iterations = Ridge(0.3, tol=1e-12).fit(wide, Y[:80], WEIGHT[:80])
    same(by_iterations, by_moments, rtol=1e-8)


@pytest.mark.parametrize("way", ["rows", "columns", "positive rows", "positive columns"])
def test_no_unit_enters_where_it_iterates(monkeypatch, way):
    monkeypatch.setattr(least_squares, "GRAM_FEATURES", 7)
    how = {"tol": 1e-7, "positive": "positive" in way, "solver": way.split()[-1]}
    near = {"rtol": 2e-5, "atol": 1e-6 * np.abs(Y[:, 0]).max()}
    fits = []
    for factor in (1.0, 1e-3, 1e6):
        ours = Ridge(0.3 * factor**2, **how).fit(factor * X, Y[:, 0], WEIGHT)
        fits.append(ours.coef_ * factor)
        fits.append(ours.n_iter_)
        other = Ridge(0.3 * factor**2, **how).fit(factor * X, 1e-4 * Y[:, 0], WEIGHT)
        fits.append(1e4 * factor * other.coef_)
    exact = Ridge(0.3, positive=how["positive"]).set_params(solver="auto")
    monkeypatch.undo()
    want = exact.fit(X, Y[:, 0], WEIGHT)
    for coef in fits[::3] + fits[2::3]:
        np.testing.assert_allclose(X @ coef, X @ want.coef_, **near)
    assert max(fits[1::3]) - min(fits[1::3]) <= 2


def test_columns_of_any_scale_and_place_where_it_iterates(monkeypatch):
    scales, places = np.logspace(-6, 6, D), np.where(np.arange(D) % 3 == 0, 1e5, 0.0)
    mixed = ((X - 5.0) / np.logspace(0, 2, D) + places) * scales
    want = reference.LinearRegression().fit(mixed / scales - places, Y[:, 0], WEIGHT)
    monkeypatch.setattr(least_squares, "GRAM_FEATURES", 7)
    ours = LinearRegression(tol=1e-9).fit(mixed, Y[:, 0], WEIGHT)
    np.testing.assert_allclose(ours.coef_ * scales, want.coef_, rtol=1e-5)
    still = LinearRegression().fit(mixed, np.full(N, 1e6))
    np.testing.assert_allclose(still.coef_ * scales, 0.0, atol=1e-8)


def test_the_least_norm_where_rows_are_few_and_it_iterates(monkeypatch):
    few = rng.normal(size=(6, 12)) + 3.0
    monkeypatch.setattr(least_squares, "GRAM_FEATURES", 7)
    ours = LinearRegression(tol=1e-10).fit(1e3 * few, Y[:6])
    same(ours, reference.LinearRegression().fit(1e3 * few, Y[:6]))


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_few_rows_of_columns_of_any_scale_where_it_iterates(monkeypatch, fit_intercept):
    """A small penalty says little of the many directions that change no prediction, but it decides them."""
    monkeypatch.setattr(least_squares, "GRAM_FEATURES", 7)
    scales = np.random.default_rng(1).permutation(np.logspace(-2, 2, 400))
    Z = np.random.default_rng(2).normal(size=(90, 400)) * scales
    few, other, y = Z[:40], Z[40:], Z[:40] @ np.ones(400) / 100.0
    steps = []
    for alpha in (1e-5, 1e-1, 100.0):
        exact = reference.Ridge(alpha, fit_intercept=fit_intercept, solver="cholesky").fit(few, y)
        loose = reference.Ridge(alpha, fit_intercept=fit_intercept, solver="sparse_cg").fit(few, y)
        most = np.linalg.norm(loose.coef_ - exact.coef_)
        for factor in (1.0, 1e-3, 1e6):
            ours = Ridge(alpha * factor**2, fit_intercept=fit_intercept).fit(factor * few, y)
            assert np.linalg.norm(factor * ours.coef_ - exact.coef_) <= most
            difference = ours.predict(factor * other) - exact.predict(other)
            assert np.linalg.norm(difference) <= np.linalg.norm(
                loose.predict(other) - exact.predict(other)
            )
            steps.append(ours.n_iter_[0])
        assert max(steps[-3:]) <= 1.2 * min(
            steps[-3:]
        )  # where the first step goes is all that differs


def test_the_least_norm_of_as_many_rows_as_features_where_it_iterates(monkeypatch):
    """About their means they are of lower rank; and a row of no weight is none."""
    monkeypatch.setattr(least_squares, "GRAM_FEATURES", 7)
    square = rng.normal(size=(15, 12)) * np.logspace(-0.5, 0.5, 12)
    weight = np.repeat([1.0, 0.0], [12, 3])
    ours = LinearRegression(tol=1e-10).fit(square, Y[:15], weight)
    same(ours, reference.LinearRegression().fit(square[:12], Y[:12]), rtol=1e-5)


def test_a_constant_target_and_constant_features():
    ones = np.ones((20, 2))
    for estimator in (LinearRegression(), Ridge()):
        estimator.fit(ones, np.full(20, 3.0))
        np.testing.assert_allclose(estimator.coef_, 0.0, atol=1e-12)
        assert estimator.intercept_ == pytest.approx(3.0)


def test_predict_refuses_other_features():
    ours = Ridge().fit(X, Y)
    with pytest.raises(ValueError, match="X has 7 features, but Ridge is expecting 8 features"):
        ours.predict(X[:, :7])
    with pytest.raises(ValueError, match="X has 7 features, but Ridge is expecting 8 features"):
        ours.predict(da.from_array(X[:, :7]))


def test_complex_is_refused():
    with pytest.raises(InvalidDataError, match="Complex data not supported"):
        Ridge().fit(X + 1j, Y)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"alpha": "a"}, "alpha must be numbers of at least 0, got 'a'"),
        ({"alpha": -1.0}, r"alpha must be numbers of at least 0, got -1\.0"),
        ({"max_iter": -3}, "max_iter must be an integer >= 1, got -3"),
        ({"tol": "q"}, "tol must be a number >= 0, got 'q'"),
    ],
)
def test_impossible_parameters_are_refused_by_name(parameters, message):
    with pytest.raises(InvalidParameterError, match=message):
        Ridge(**parameters).fit(np.eye(3), np.arange(3.0))


def test_one_weight_for_all_rows():
    """A number stands for itself in every row, as in scikit-learn, whatever X is."""
    rng = np.random.default_rng(11)
    X, y = rng.normal(size=(60, 3)), rng.normal(size=60)
    expected = Ridge().fit(X, y, np.full(60, 3.0)).coef_
    lazy = da.from_array(X, chunks=(25, 2))
    unknown = lazy.rechunk((25, -1))
    unknown = unknown[unknown[:, 0] < np.inf]
    frame = dd.from_pandas(pd.DataFrame(X, columns=list("abc")), npartitions=2)
    sparse_blocks = lazy.rechunk((25, -1)).map_blocks(sparse.csr_array)
    targets = {"frame": dd.from_pandas(pd.Series(y), npartitions=2)}
    for name, rows in {
        "memory": X, "array": lazy, "unknown": unknown, "frame": frame, "sparse": sparse_blocks,
        "labelled": xr.DataArray(lazy, dims=("row", "column")),
    }.items():  # fmt: skip
        target = targets.get(name, y if name == "memory" else da.from_array(y, chunks=25))
        np.testing.assert_allclose(Ridge().fit(rows, target, 3.0).coef_, expected, err_msg=name)
    with pytest.raises(InvalidDataError, match=r"one weight a row, got the single number 3\.0"):
        Ridge().fit(X, y).score(X, y, 3.0)


@pytest.mark.parametrize("estimator", [LinearRegression, Ridge])
def test_a_flag_is_true_or_false(estimator):
    with pytest.raises(InvalidParameterError, match="fit_intercept"):
        estimator(fit_intercept="False").fit(np.eye(3), np.ones(3))
    with pytest.raises(InvalidParameterError, match="tol must be"):
        estimator(tol=-1).fit(np.eye(3), np.ones(3))
