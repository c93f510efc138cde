"""Summaries against statsmodels."""

from __future__ import annotations

import pickle

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import sparse
from sklearn import linear_model as reference

from daskml_kit.exceptions import InvalidDataError, InvalidParameterError
from daskml_kit.linear_model import (
    GammaRegressor,
    Lasso,
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    TweedieRegressor,
    summarize,
)

rng = np.random.default_rng(8)
N, D = 300, 3
X = rng.normal(size=(N, D))
ETA = X @ np.array([0.4, -0.3, 0.0]) + 0.5
Y = ETA + rng.normal(size=N)
LABELS = np.where(rng.random(N) < 1 / (1 + np.exp(-ETA)), "yes", "no")
COUNTS = rng.poisson(np.exp(ETA)).astype(float)
AMOUNTS = rng.gamma(2.0, np.exp(ETA) / 2.0)
TIMES = rng.integers(1, 4, N).astype(float)  # each row so often
A = sm.add_constant(X)
EXACT = {"tol": 1e-11, "max_iter": 500}
FAMILIES = sm.families

CASES = {
    "linear": (LinearRegression(), Y, FAMILIES.Gaussian()),
    "logistic": (LogisticRegression(C=np.inf, **EXACT), LABELS, FAMILIES.Binomial()),
    "poisson": (PoissonRegressor(alpha=0, **EXACT), COUNTS, FAMILIES.Poisson()),
    "gamma": (GammaRegressor(alpha=0, **EXACT), AMOUNTS, FAMILIES.Gamma(FAMILIES.links.Log())),
    "tweedie": (
        TweedieRegressor(power=1.5, alpha=0, **EXACT),
        COUNTS,
        FAMILIES.Tweedie(FAMILIES.links.Log(), var_power=1.5),
    ),
    "normal": (TweedieRegressor(alpha=0, **EXACT), Y, FAMILIES.Gaussian()),
    "normal, log link": (
        TweedieRegressor(link="log", alpha=0, **EXACT),
        np.exp(ETA) + rng.normal(size=N),  # some of it negative
        FAMILIES.Gaussian(FAMILIES.links.Log()),
    ),
    "inverse Gaussian": (
        TweedieRegressor(power=3, alpha=0, **EXACT),
        AMOUNTS,
        FAMILIES.InverseGaussian(FAMILIES.links.Log()),
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("times", [None, TIMES], ids=["", "frequencies"])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_is_statsmodels(case, times, fit_intercept):
    model, y, family = CASES[case]
    model.set_params(fit_intercept=fit_intercept).fit(X, y, times)
    numbers = (y == "yes").astype(float) if case == "logistic" else y
    glm = sm.GLM(numbers, A if fit_intercept else X, family, freq_weights=times)
    # From their own start, IRLS without an intercept overflows.
    start = np.r_[np.ravel(model.intercept_)[:fit_intercept], np.ravel(model.coef_)]
    how = {"tol": 1e-12, "maxiter": 200, "use_t": case not in ("logistic", "poisson")}
    theirs = glm.fit(start_params=start, **how)
    from_fit = [model.summary()] if case == "linear" else []
    inputs = (X, sparse.csr_array(X), da.from_array(X, chunks=(90, -1)))
    for ours in [*from_fit, *(model.summary(rows, y, times) for rows in inputs)]:
        np.testing.assert_allclose(ours.coef, theirs.params, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(ours.std_err, theirs.bse, rtol=1e-6)
        np.testing.assert_allclose(ours.statistic, theirs.tvalues, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(ours.p_value, theirs.pvalues, rtol=1e-4, atol=1e-12)
        np.testing.assert_allclose(ours.conf_int(0.9), theirs.conf_int(0.1), rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(ours.covariance, theirs.cov_params(), rtol=1e-5, atol=1e-10)
        assert ours.dispersion == pytest.approx(theirs.scale, rel=1e-6)
        assert ours.deviance == pytest.approx(theirs.deviance, rel=1e-8)
        assert (ours.n_obs, ours.df_resid) == (pytest.approx(glm.wnobs), theirs.df_resid)
        if fit_intercept:
            assert ours.null_deviance == pytest.approx(theirs.null_deviance, rel=1e-8)
        assert ours.log_likelihood == pytest.approx(theirs.llf, rel=1e-6)
        assert ours.aic == pytest.approx(theirs.aic, rel=1e-6)
        assert ours.bic == pytest.approx(theirs.bic_llf, rel=1e-6)


def test_a_series_of_large_terms_and_a_family_without_a_likelihood():
    """Amounts in small units: Wright's function overflows, its logarithm does not."""
    sure = np.exp(ETA) * (1.0 + 0.01 * np.sin(np.arange(N)))
    for power, y, finite in (
        (1.3, sure, True),
        (1.01, AMOUNTS * 1e3, False),
        (2.5, AMOUNTS, False),
    ):
        found = TweedieRegressor(power=power, alpha=0, **EXACT).fit(X, y).summary(X, y)
        assert np.isfinite([found.aic, found.bic, found.log_likelihood]).all() == finite


def test_ordinary_least_squares():
    ours = summarize(LinearRegression().fit(X, Y), X, Y)
    theirs = sm.OLS(Y, A).fit()
    np.testing.assert_allclose(ours.p_value, theirs.pvalues, rtol=1e-8)
    np.testing.assert_allclose(ours.conf_int(), theirs.conf_int(), rtol=1e-8)
    assert (ours.aic, ours.bic) == (pytest.approx(theirs.aic), pytest.approx(theirs.bic))


def test_the_table_names_its_rows():
    frame = pd.DataFrame(X, columns=["age", "dose", "weight"])
    ours = summarize(LinearRegression().fit(frame, Y), frame, Y)
    assert list(ours.table.index) == ["intercept", "age", "dose", "weight"]
    assert list(ours.table.columns) == ["coef", "std_err", "t", "p_value", "lower", "upper"]
    for text in (repr(ours), ours._repr_html_()):
        assert all(word in text for word in ("LinearRegression", "dose", "AIC", "null deviance"))


def test_on_a_cluster(client):
    rows, y = da.from_array(X, chunks=(80, -1)), da.from_array(COUNTS, chunks=80)
    model = PoissonRegressor(alpha=0, **EXACT).fit(rows, y)
    ours = summarize(model, rows, y)
    np.testing.assert_allclose(ours.std_err, summarize(model, X, COUNTS).std_err, rtol=1e-9)


@pytest.mark.parametrize(
    ("model", "y", "message"),
    [
        (LogisticRegression(), LABELS, r"A fit with C=1\.0 has no standard errors"),
        (PoissonRegressor(), COUNTS, r"A fit with alpha=1\.0 has no standard errors"),
        (LinearRegression(positive=True), Y, "positive=True has no standard errors"),
        (LinearRegression(), np.c_[Y, Y], "of one target or two classes, the model has 2"),
        (Lasso(), Y, "Only unpenalised generalised linear models .* got Lasso"),
    ],
    ids=str,
)
def test_what_has_no_summary(model, y, message):
    with pytest.raises(InvalidParameterError, match=message):
        summarize(model.fit(X, y), X, y)


def test_without_data_only_what_the_fit_knows():
    for model, y, _ in (CASES["logistic"], CASES["poisson"]):
        with pytest.raises(InvalidParameterError, match=r"Pass the data .* summary\(X, y"):
            model.fit(X, y).summary()
    model = LinearRegression().fit(X, Y)
    assert model.n_passes_ == 2
    assert pickle.loads(pickle.dumps(model)).summary().aic == model.summary().aic
    with pytest.raises(InvalidParameterError, match="positive=True"):
        model.set_params(positive=True).fit(X, Y).summary()


def test_an_exact_fit_asks_for_the_data():
    """Its residuals are lost in the rounding of the moments, not in that of the rows."""
    model = LinearRegression().fit(X, X @ [1.0, 2.0, 3.0] + 1e-7 * Y)
    with pytest.raises(InvalidParameterError, match="Pass the data"):
        model.summary()


def test_nothing_stays_of_the_last_fit():
    model = LinearRegression().fit(X, Y).set_params(positive=True).fit(X, Y)
    assert not hasattr(model, "rank_")
    assert not hasattr(model, "singular_")


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_rank_and_singular_values(fit_intercept):
    """Of features in units nine orders of magnitude apart, of collinear ones, and of few rows."""
    twice = np.c_[X, X[:, 0] - X[:, 1]]
    how = {"fit_intercept": fit_intercept}
    for rows, weight in ((X + 3, None), (X, TIMES), (twice, None), (X[:3, :2], None)):
        ours = LinearRegression(**how).fit(rows, Y[: len(rows)], weight)
        theirs = reference.LinearRegression(**how).fit(rows, Y[: len(rows)], weight)
        assert ours.rank_ == theirs.rank_
        most = theirs.singular_.max()  # of squares: what is left of 1e-16 is 1e-8
        np.testing.assert_allclose(ours.singular_, theirs.singular_, rtol=1e-10, atol=3e-8 * most)
    units = LinearRegression(**how).fit(X * [1e-4, 1.0, 1e5], Y)
    assert units.rank_ == 3


def test_collinear_features_and_too_few_rows():
    twice = np.hstack([X, X[:, :1]])
    with pytest.raises(InvalidDataError, match="collinear"):
        summarize(LinearRegression().fit(twice, Y), twice, Y)
    with pytest.raises(InvalidDataError, match="4 rows leave nothing"):
        summarize(LinearRegression().fit(X[:4], Y[:4]), X[:4], Y[:4])


def test_labels_that_the_fit_never_saw():
    model = LogisticRegression(C=np.inf, **EXACT).fit(X, LABELS)
    refused = r"knows the labels \['no', 'yes'\], y has \[0, 1\]"
    with pytest.raises(InvalidDataError, match=refused):
        model.summary(X, (LABELS == "yes").astype(int))
    ours, lazy = model.summary(X, LABELS), da.from_array(X, chunks=(80, -1))
    assert model.summary(lazy, pd.Series(LABELS)).deviance == pytest.approx(ours.deviance)
