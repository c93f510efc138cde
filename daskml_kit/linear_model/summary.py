"""What an unpenalised fit says of its coefficients: standard errors, tests, deviance, AIC.

With the Fisher information ``I = X' diag(s V) X`` at the fit (V the expected curvature of a row's loss) and
the dispersion ``phi``, the coefficients are normal around the true ones with covariance ``phi I^-1``, for
many rows. For least squares with normal errors the t distribution makes that exact.

============================  =========================  ==========  ======================================
model                         dispersion                 test        likelihood
============================  =========================  ==========  ======================================
``LinearRegression``          residual variance          t           normal, of the mean of squares
``LogisticRegression``        1                          z           binomial
``PoissonRegressor``          1                          z           Poisson
``GammaRegressor``            Pearson's chi2 / df        t           gamma
``TweedieRegressor``          Pearson's chi2 / df        t           by ``power``: 0 normal (with the log link
                                                                     of the dispersion), 1 < p < 2 a series,
                                                                     3 inverse Gaussian; others have none
============================  =========================  ==========  ======================================

Where the dispersion is estimated the test is t, as in R's and Spark's summaries; statsmodels' GLM says z
unless it is told ``use_t=True``, and so gives smaller p values for few rows.

References
----------
Dunn, Smyth (2005). Series evaluation of Tweedie exponential dispersion model densities. Stat. Comput. 15: the
series of 1 < p < 2, which is Wright's generalised Bessel function.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import linalg, special, stats
from sklearn.utils.validation import check_is_fitted

from daskml_kit.exceptions import InvalidDataError, InvalidParameterError
from daskml_kit.kernels import Moments, linear_sums, predict_linear
from daskml_kit.linear_model.prediction import dense
from daskml_kit.linear_model.targets import (
    TargetSums,
    combine_target_sums,
    null_value,
    target_sums,
)
from daskml_kit.losses import Binomial, Gamma, HalfSquared, Poisson
from daskml_kit.runtime.block import Block
from daskml_kit.runtime.ingest import DataFacts
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.typing import ArrayLike, FloatArray, TargetKind

SINGULAR = 1e-13
"""Smallest over largest eigenvalue of the scaled information that is more than rounding."""


class Sums(NamedTuple):
    """Of rows, at the fitted coefficients."""

    value: float  # of the loss
    information: FloatArray
    pearson: float  # sum of s (y - mean)^2 / variance function
    extra: FloatArray  # what the likelihood needs beside
    about: TargetSums


def _variance(loss: Any, mean: FloatArray) -> FloatArray:
    if isinstance(loss, Binomial):
        return mean * (1.0 - mean)
    return np.ones_like(mean) if isinstance(loss, HalfSquared) else mean**loss.power


def _power(loss: Any) -> float | None:
    """The variance is the mean to this power, where it is one."""
    if isinstance(loss, Binomial):
        return None
    return 0.0 if isinstance(loss, HalfSquared) else float(loss.power)


def _has_series(loss: Any) -> bool:
    power = _power(loss)
    return power is not None and 1.0 < power < 2.0


def _extra(loss: Any, y: FloatArray, mean: FloatArray, s: FloatArray) -> FloatArray:
    if isinstance(loss, Poisson):
        return np.array([s @ special.gammaln(y + 1.0)])
    if isinstance(loss, Gamma):
        return np.array([s @ np.log(y / mean), s @ (y / mean), s @ np.log(y)])
    if _power(loss) == 3.0:
        return np.array([s @ np.log(y)])
    return np.zeros(0)


def _series_chunk(power: float, block: Block, dispersion: float) -> float:
    """Sum of the logarithms of what a Tweedie density is beside its exponential family's exponent."""
    y = np.asarray(block.y, dtype=np.float64)
    s = np.ones(len(y)) if block.weight is None else block.weight
    s, y = s[y > 0], y[y > 0]  # the probability of 0 is the exponent alone
    shape = (2.0 - power) / (power - 1.0)
    with np.errstate(over="ignore"):
        at = (y / ((power - 1.0) * dispersion)) ** shape / ((2.0 - power) * dispersion)
    logs = special.log_wright_bessel(shape, 0.0, np.where(np.isfinite(at), at, np.nan))
    return float(s @ (logs - np.log(y)))


def _series(power: float) -> Reduction[float, float, float]:
    """Reads y alone."""
    return Reduction("series", partial(_series_chunk, power), operator.add)


def _chunk(loss: Any, fit_intercept: bool, block: Block, w: FloatArray) -> Sums:
    y = np.asarray(block.y, dtype=np.float64)  # of classes their codes
    s = np.ones(len(y)) if block.weight is None else block.weight
    eta = predict_linear(block.X, w, fit_intercept).astype(np.float64)
    mean = loss.inverse_link(eta)
    with np.errstate(divide="ignore", invalid="ignore"):  # rows that are predicted to be sure
        pearson = np.where(y == mean, 0.0, (y - mean) ** 2 / _variance(loss, mean))
    # The curvature at y = mean is its expectation: what Fisher scoring takes.
    expected = linear_sums(
        loss, block.X, mean, block.weight, w, fit_intercept=fit_intercept, order=2
    ).hessian
    assert expected is not None
    return Sums(
        loss.value_gradient(y, eta, block.weight)[0],
        expected,
        float(s @ pearson),
        _extra(loss, y, mean, s),
        target_sums(y, block.weight, loss),
    )


def _combine(a: Sums, b: Sums) -> Sums:
    return Sums(
        a.value + b.value,
        a.information + b.information,
        a.pearson + b.pearson,
        a.extra + b.extra,
        combine_target_sums(a.about, b.about),
    )


@dataclass(frozen=True, eq=False)
class Summary:
    """Coefficients with their uncertainty, and how well the model fits.

    Attributes
    ----------
    model : str
    names : list of str
        The intercept first, where there is one.
    coef, std_err, statistic, p_value : ndarray of shape (n_coefficients,)
    test : {"t", "z"}
    dispersion : float
    n_obs : float
        Sum of the weights, which count as frequencies.
    df_resid : float
    deviance, null_deviance, log_likelihood, aic, bic : float
        nan for Tweedie families of a power below 0, between 2 and 3 or above 3, as in statsmodels, and so
        near to 1 that the series' argument is no float64.
    covariance : ndarray of shape (n_coefficients, n_coefficients)
    """

    model: str
    names: list[str]
    coef: FloatArray
    std_err: FloatArray
    statistic: FloatArray
    p_value: FloatArray
    test: str
    dispersion: float
    n_obs: float
    df_resid: float
    deviance: float
    null_deviance: float
    log_likelihood: float
    aic: float
    bic: float
    covariance: FloatArray

    def conf_int(self, level: float = 0.95) -> pd.DataFrame:
        """Confidence intervals: columns ``lower`` and ``upper``."""
        if not 0 < level < 1:
            raise InvalidParameterError(f"level must be between 0 and 1, got {level!r}.")
        tail = 0.5 + 0.5 * level
        times = stats.t.ppf(tail, self.df_resid) if self.test == "t" else stats.norm.ppf(tail)
        reach = float(times) * self.std_err
        columns = {"lower": self.coef - reach, "upper": self.coef + reach}
        return pd.DataFrame(columns, index=self.names)

    @property
    def table(self) -> pd.DataFrame:
        """One row a coefficient: coef, std_err, t or z, p_value, lower, upper (of 95 %)."""
        columns = {
            "coef": self.coef,
            "std_err": self.std_err,
            self.test: self.statistic,
            "p_value": self.p_value,
        }
        return pd.DataFrame(columns, index=self.names).join(self.conf_int())

    def _facts(self) -> list[tuple[str, str]]:
        return [
            ("observations", f"{self.n_obs:,.6g}"),
            ("residual df", f"{self.df_resid:,.6g}"),
            ("dispersion", f"{self.dispersion:.6g}"),
            ("deviance", f"{self.deviance:.6g}"),
            ("null deviance", f"{self.null_deviance:.6g}"),
            ("log likelihood", f"{self.log_likelihood:.6g}"),
            ("AIC", f"{self.aic:.6g}"),
            ("BIC", f"{self.bic:.6g}"),
        ]

    def __repr__(self) -> str:
        facts = "\n".join(f"{name:<16}{value:>14}" for name, value in self._facts())
        return f"{self.model}\n{facts}\n\n{self.table.to_string(float_format='{:.4g}'.format)}"

    def _repr_html_(self) -> str:
        facts = "".join(
            f"<tr><th>{name}</th><td>{value}</td></tr>" for name, value in self._facts()
        )
        rows = self.table.to_html(float_format="{:.4g}".format)
        return f"<h4>{self.model}</h4><table>{facts}</table>{rows}"


def summarize(model: Any, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike = None) -> Summary:
    """Standard errors, tests and measures of fit of an unpenalised model, from one pass.

    Parameters
    ----------
    model : fitted LinearRegression, LogisticRegression (two classes), PoissonRegressor, GammaRegressor or
        TweedieRegressor, without penalty
    X, y, sample_weight : what the model was fitted to
        Weights count as frequencies: weight 2 is the row twice.

    Raises
    ------
    InvalidParameterError
        The model is penalised, bounded, of another kind, or has several targets or classes.
    InvalidDataError
        Features are collinear, or there are no more rows than coefficients.

    Notes
    -----
    One pass to load and one for the information. Of ``TweedieRegressor(power=p)`` with 1 < p < 2 one
    more round reads y. The deviance of the model without features has an
    intercept whether or not the model has.

    References
    ----------
    McCullagh, Nelder (1989). Generalized Linear Models, 2nd ed., sections 2.2, 2.4 and 4.4.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from daskml_kit.linear_model import LinearRegression
    >>> X, y = load_diabetes(return_X_y=True)
    >>> found = summarize(LinearRegression().fit(X[:, 2:4], y), X[:, 2:4], y)
    >>> found.table["t"].round(2).to_dict()
    {'intercept': 53.26, 'x0': 12.09, 'x1': 6.15}
    """
    if not isinstance(model, Summarised):
        raise InvalidParameterError(
            f"Only unpenalised generalised linear models have a summary, got {type(model).__name__}."
        )
    return model.summary(X, y, sample_weight)


class Summarised:
    """An estimator of an unpenalised generalised linear model: it has a summary."""

    _summary_target: TargetKind = "values"

    def summary(
        self, X: ArrayLike = None, y: ArrayLike = None, sample_weight: ArrayLike = None
    ) -> Summary:
        """Standard errors, tests and measures of fit, as R's and statsmodels' summaries give them.

        A least squares fit of at most 500 features has all it needs from its own pass: call it without data.
        Other models see the data they were fitted to once more.

        Parameters
        ----------
        X, y, sample_weight : what the model was fitted to, or nothing
            Weights count as frequencies: weight 2 is the row twice.

        Returns
        -------
        Summary

        Raises
        ------
        InvalidParameterError
            The model is penalised or bounded, has several targets or classes, or needs the data.
        InvalidDataError
            Features are collinear, there are no more rows than coefficients, or y has other labels.

        Notes
        -----
        With data one pass to load and one for the information; of ``TweedieRegressor(power=p)`` with
        1 < p < 2 one more round reads y.
        """
        check_is_fitted(self)
        model: Any = self
        loss, problem = self._unpenalised()
        w = _coefficients(model, problem)
        if X is not None and y is None:
            raise InvalidParameterError("summary(X, y) needs the targets too, got y=None.")
        if X is not None:
            sums: Reduction[FloatArray, Sums, Sums] = Reduction(
                "information", partial(_chunk, loss, model.fit_intercept), _combine
            )
            how: Any = {"target": self._summary_target, "check": self._check_summary}
            with model._reading(X, sample_weight, sums.name, y, **how) as (data, executor):
                total: Sums = executor.reduce(data, sums, w)
                dispersion = _dispersion(loss, total, len(w))
                if _has_series(loss):
                    tail = executor.reduce(data, _series(loss.power), dispersion)
                    total = total._replace(extra=np.array([tail]))
            return _summary(model, loss, w, total)
        known = self._known()
        if known is None:
            raise InvalidParameterError(
                f"This {type(self).__name__} did not keep what its summary needs. Pass the data that it was "
                "fitted to: summary(X, y, sample_weight)."
            )
        return _summary(model, loss, w, known)

    def _unpenalised(self) -> tuple[Any, str]:
        """The loss, and in words what of the model is no unpenalised fit."""
        raise NotImplementedError

    def _check_summary(self, facts: DataFacts) -> None:
        """Refuse data that the model can't have been fitted to."""

    def _known(self) -> Sums | None:
        """What the fit's own rounds told."""
        return None


def sums_of_moments(m: Moments, w: FloatArray, spread: float, fit_intercept: bool) -> Sums:
    """The sums of least squares of one target, from its moments: about the means with an intercept.

    ``spread`` are the squares of y about its mean.
    """
    weight, mean = m.weight_sum, m.mean_x
    squares = max(float(m.yy[0] - 2.0 * (w @ m.xy[:, 0]) + w @ m.xx @ w), 0.0)
    information = m.xx
    if fit_intercept:
        corner = weight * mean
        information = np.block(
            [
                [m.xx + np.outer(corner, mean), corner[:, None]],
                [corner[None, :], np.array([[weight]])],
            ]
        )
    about = TargetSums(weight, m.n_rows, float(m.mean_y[0]), spread, -np.inf, 0.0)
    return Sums(0.5 * squares, information, squares, np.zeros(0), about)


def _coefficients(model: Any, problem: str) -> FloatArray:
    """With the intercept last."""
    if problem:
        raise InvalidParameterError(
            f"A fit with {problem} has no standard errors: its coefficients are biased. Fit with "
            "C=np.inf or alpha=0, without bounds."
        )
    coef = np.asarray(dense(model.coef_), dtype=np.float64)
    if coef.ndim == 2 and len(coef) > 1:
        raise InvalidParameterError(
            f"A summary is of one target or two classes, the model has {len(coef)}. Fit one at a time."
        )
    intercept = np.ravel(model.intercept_) if model.fit_intercept else np.zeros(0)
    return np.concatenate([coef.ravel(), np.asarray(intercept, dtype=np.float64)])


def _summary(model: Any, loss: Any, w: FloatArray, total: Sums) -> Summary:
    n = total.about.weight_sum
    df, known = n - len(w), _is_known(loss)
    dispersion = _dispersion(loss, total, len(w))
    deviance, null_deviance = _deviances(loss, total)
    covariance = dispersion * _inverse(total.information)
    error = np.sqrt(np.diag(covariance))
    ratio = w / error
    tails = stats.norm.sf(np.abs(ratio)) if known else stats.t.sf(np.abs(ratio), df)
    likelihood = _log_likelihood(loss, total, dispersion)
    last = list(range(len(w)))
    order = [last[-1], *last[:-1]] if model.fit_intercept else last
    names = [str(name) for name in getattr(model, "feature_names_in_", ())]
    names = names or [f"x{j}" for j in range(model.n_features_in_)]
    names = ["intercept", *names] if model.fit_intercept else names
    return Summary(
        model=type(model).__name__,
        names=names,
        coef=w[order],
        std_err=error[order],
        statistic=ratio[order],
        p_value=2.0 * tails[order],
        test="z" if known else "t",
        dispersion=dispersion,
        n_obs=n,
        df_resid=df,
        deviance=deviance,
        null_deviance=null_deviance,
        log_likelihood=likelihood,
        aic=2.0 * len(w) - 2.0 * likelihood,
        bic=float(np.log(n)) * len(w) - 2.0 * likelihood,
        covariance=covariance[np.ix_(order, order)],
    )


def _is_known(loss: Any) -> bool:
    """Whether the dispersion is 1."""
    return isinstance(loss, Binomial | Poisson)


def _dispersion(loss: Any, total: Sums, size: int) -> float:
    n = total.about.weight_sum
    if _is_known(loss):
        return 1.0
    if n <= size:
        raise InvalidDataError(
            f"{n:g} rows leave nothing to estimate the dispersion of {size} coefficients from. Use more "
            "rows or fewer features."
        )
    return total.pearson / (n - size)


def _deviances(loss: Any, total: Sums) -> tuple[float, float]:
    """Of the model, and of the best constant prediction."""
    about = total.about
    if _power(loss) == 0.0:  # the loss with the log link leaves squares of negative y out
        return total.pearson, about.spread
    deviance, null = total.value - about.saturated, _null(loss, about) - about.saturated
    return 2.0 * deviance, 2.0 * null


def _inverse(information: FloatArray) -> FloatArray:
    diagonal = np.diag(information)
    scale = 1.0 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    values, vectors = linalg.eigh(information * np.outer(scale, scale))
    if values[0] <= SINGULAR * values[-1]:
        raise InvalidDataError(
            "The features are collinear, constant, or separate the classes, so that coefficients have no "
            "standard errors. Drop the features that others determine."
        )
    half = scale[:, None] * vectors / np.sqrt(values)
    return np.asarray(half @ half.T)


def _null(loss: Any, about: TargetSums) -> float:
    if isinstance(loss, Binomial):
        return about.weight_sum * float(special.entr(about.mean) + special.entr(1.0 - about.mean))
    return null_value(loss, about)


def _log_likelihood(loss: Any, total: Sums, dispersion: float) -> float:
    n = total.about.weight_sum
    if isinstance(loss, HalfSquared):  # at the likelihood's own variance, the mean of squares
        return float(-0.5 * n * (np.log(2.0 * np.pi * 2.0 * total.value / n) + 1.0))
    if isinstance(loss, Binomial):
        return -total.value
    if isinstance(loss, Poisson):
        return float(-total.value - total.extra[0])
    if isinstance(loss, Gamma):
        shape = 1.0 / dispersion
        logs, ratios, log_y = total.extra
        shared = shape * np.log(shape) - special.gammaln(shape)
        return float(shape * (logs - ratios) - log_y + n * shared)
    power = _power(loss)
    if power == 0.0:
        return float(-0.5 * (total.pearson / dispersion + n * np.log(2.0 * np.pi * dispersion)))
    if power == 3.0:
        squares = _deviances(loss, total)[0] / dispersion
        return float(-0.5 * (squares + n * np.log(2.0 * np.pi * dispersion) + 3.0 * total.extra[0]))
    if _has_series(loss):
        return float(total.extra[0] - total.value / dispersion)
    return float("nan")


__all__ = ["Summarised", "Summary", "Sums", "summarize", "sums_of_moments"]
