"""Generalised linear models: Poisson, gamma and Tweedie regression."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from daskml_kit.base import BlockEstimator, RegressorMixin, check_flag, check_number
from daskml_kit.exceptions import InvalidDataError, InvalidParameterError
from daskml_kit.kernels import predict_linear
from daskml_kit.linear_model.centring import (
    Columns,
    Moments,
    columns_from,
    few_moments,
    is_centred,
    joined,
    one_of,
)
from daskml_kit.linear_model.choice import (
    EVERY_SMOOTH_LOSS,
    FAMILIAR,
    LOCAL,
    newton_is_cheaper,
    rows_a_sample,
    sketch_for,
    solver_named,
)
from daskml_kit.linear_model.objective import (
    Finish,
    LinearObjective,
    guessed,
    unpenalised_intercept,
)
from daskml_kit.linear_model.pieces import edges_of_model, in_pieces
from daskml_kit.linear_model.regressor import check_warm_start
from daskml_kit.linear_model.sample import Sample, sample_for
from daskml_kit.linear_model.summary import Summarised
from daskml_kit.linear_model.targets import (
    TargetSums,
    combine_target_sums,
    null_value,
    target_sums,
)
from daskml_kit.losses import Gamma, HalfSquared, Poisson, Tweedie
from daskml_kit.runtime.block import Block
from daskml_kit.runtime.ingest import DataFacts
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.solvers import Solution, solve
from daskml_kit.typing import ArrayLike, FloatArray, Matrix


def _deviance_chunk(loss: Any, block: Block, params: Any) -> tuple[float, TargetSums]:
    coef, intercept = params
    assert block.y is not None
    eta = predict_linear(block.X, coef, False).astype(np.float64) + intercept
    return loss.value_gradient(block.y, eta, block.weight)[0], target_sums(
        block.y, block.weight, loss
    )


def _deviance_combine(
    a: tuple[float, TargetSums], b: tuple[float, TargetSums]
) -> tuple[float, TargetSums]:
    return a[0] + b[0], combine_target_sums(a[1], b[1])


class _Look(NamedTuple):
    """What a fit knows before its first step."""

    targets: TargetSums
    columns: Moments | None  # of a few rows, where they may be centred


def _look_chunk(loss: Any, every: int, block: Block, _: Any) -> _Look:
    assert block.y is not None
    columns = few_moments(block, every) if every else None
    return _Look(target_sums(block.y, block.weight, loss), columns)


def _look_combine(a: _Look, b: _Look) -> _Look:
    few = None if a.columns is None or b.columns is None else joined(a.columns, b.columns)
    return _Look(combine_target_sums(a.targets, b.targets), few)


class GeneralizedLinear(Summarised, RegressorMixin, BlockEstimator):
    """What the models share: all but the loss."""

    alpha: float
    fit_intercept: bool
    solver: str
    max_iter: int
    tol: float
    warm_start: bool

    def _loss(self) -> Any:
        """The loss of the family."""
        raise NotImplementedError

    def _unpenalised(self) -> tuple[Any, str]:
        return self._loss(), "" if self.alpha == 0 else f"alpha={self.alpha!r}"

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        with suppress(InvalidParameterError):  # said when fitting
            tags.target_tags.positive_only = _least(self._loss()) is not None
        return tags

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike = None) -> Self:
        """Fit the model.

        Parameters
        ----------
        X : (n, n_features) NumPy, pandas, scipy.sparse, dask.array, dask.dataframe or xarray.DataArray
        y : (n,)
        sample_weight : (n,) or None

        Returns
        -------
        self

        Raises
        ------
        InvalidDataError
            If a value of y is outside of the family's range.
        """
        self._check_parameters()
        loss = self._loss()
        edges = partial(edges_of_model, self.fit_intercept) if self.solver in LOCAL else None
        with self._opened(X, y, sample_weight, target="values", edges=edges, draws=self._draw) as (
            data,
            executor,
        ):
            facts = data.facts
            free = self.solver not in LOCAL and bool(self.fit_intercept)
            every = one_of(facts.n_rows) if is_centred(facts, free_intercept=free) else 0
            look: Reduction[Any, _Look, _Look] = Reduction(
                "target", partial(_look_chunk, loss, every), _look_combine
            )
            about, few = executor.reduce(data, look, None)
            _refuse_range(loss, about)
            columns = Columns() if few is None else columns_from(few)
            w0 = columns.inward(self._start(facts, loss, about))
            penalty = unpenalised_intercept(self.alpha, w0.shape, self.fit_intercept)
            objective = LinearObjective(
                data, executor, loss, self.fit_intercept, Finish(facts.weight_sum, penalty),
                centre=columns.centre,
            )  # fmt: skip
            if self.solver in LOCAL:
                objective, solver = in_pieces(
                    self.solver, objective, edges_of_model(self.fit_intercept, facts), None
                )
            else:
                solver = columns.told(self._solver(facts, w0.size))
            solution = solve(
                objective, solver, w0, max_iter=self.max_iter, tol=self.tol,
                near=guessed(objective, solver, w0, self.max_iter),
            )  # fmt: skip
            self._keep(facts, columns.as_they_are(solver, solution))
        return self

    def _check_parameters(self) -> None:
        check_number("alpha", self.alpha, least=0)
        check_number("tol", self.tol, least=0, above=True)
        check_number("max_iter", self.max_iter, least=1, whole=True)
        check_flag("fit_intercept", self.fit_intercept)
        check_flag("warm_start", self.warm_start)
        if self.solver not in EVERY_SMOOTH_LOSS:
            raise InvalidParameterError(
                f"solver must be one of {list(EVERY_SMOOTH_LOSS)}, got {self.solver!r}."
            )

    def _draw(self, facts: DataFacts) -> Sample | None:
        """The rows to begin with."""
        if self.solver in LOCAL or (self.warm_start and hasattr(self, "coef_")):
            return None
        size = facts.n_features + int(self.fit_intercept)
        return sample_for(self._solver(facts, size), self.max_iter)

    def _start(self, facts: DataFacts, loss: Any, about: TargetSums) -> FloatArray:
        """The last fit's coefficients, or the best constant prediction."""
        w = np.zeros(facts.n_features + int(self.fit_intercept))
        if self.warm_start and hasattr(self, "coef_"):
            last = np.r_[self.coef_, [self.intercept_] * int(self.fit_intercept)]
            check_warm_start(last.shape, w.shape)
            return np.asarray(last, dtype=np.float64)
        if self.fit_intercept:
            w[-1] = about.mean if isinstance(loss, HalfSquared) else loss.link(about.mean)
        return w

    def _solver(self, facts: DataFacts, size: int) -> Any:
        name = FAMILIAR.get(self.solver, self.solver)
        if name == "auto":
            name = "newton" if newton_is_cheaper(facts, 1, size, sketched=True) else "lbfgs"
        return solver_named(name, None, rows_a_sample(facts, size), sketch_for(facts, size))

    def _keep(self, facts: DataFacts, solution: Solution) -> None:
        w = solution.w.astype(facts.dtype)
        self.coef_ = np.ascontiguousarray(w[: facts.n_features])
        self.intercept_: Any = w[-1] if self.fit_intercept else 0.0
        self.n_iter_ = solution.n_iter

    def predict(self, X: ArrayLike) -> Any:
        """The expected target of each row, in kind.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes

        Returns
        -------
        (n,), lazy where X is
        """
        check_is_fitted(self)
        rows = partial(_predict_mean, self._loss(), self.coef_, self.intercept_)
        return self._map_rows(X, rows, dtype=self.coef_.dtype)

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike = None) -> float:
        """D2, the share of the deviance that the model explains: one pass.

        ``1 - deviance(y, predict(X)) / deviance(y, mean of y)``; R2 for the squared loss.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes
        y : (n,) true values
        sample_weight : (n,) or None

        Returns
        -------
        float
        """
        check_is_fitted(self)
        loss = self._loss()
        chunk = partial(_deviance_chunk, loss)
        deviance: Reduction[Any, Any, Any] = Reduction("deviance", chunk, _deviance_combine)
        value, about = self._reduced(
            X, sample_weight, deviance, (self.coef_, self.intercept_), y, target="values"
        )
        _refuse_range(loss, about)
        least = about.saturated
        return float(1.0 - (value - least) / (null_value(loss, about) - least))


def _predict_mean(loss: Any, coef: FloatArray, intercept: Any, X: Matrix) -> FloatArray:
    mean: FloatArray = loss.inverse_link(predict_linear(X, coef, False) + intercept)
    return mean


def _least(loss: Any) -> str | None:
    """The range of y in words, None for all numbers."""
    power = 0.0 if isinstance(loss, HalfSquared) else loss.power
    if power <= 0:
        return None
    return "at least 0" if power < 2 else "above 0"


def _refuse_range(loss: Any, about: TargetSums) -> None:
    words = _least(loss)
    if words is not None and (about.least < 0 or (words == "above 0" and about.least == 0)):
        raise InvalidDataError(
            f"Some value(s) of y are out of the valid range of the loss {type(loss).__name__!r}: they must "
            f"be {words}, the smallest is {about.least:.6g}. Drop those rows, or choose another power."
        )
    if words is not None and about.mean <= 0:
        raise InvalidDataError(
            "All values of y of positive weight are 0: no finite coefficients describe that. Check the "
            "target column and the sample weights."
        )


class PoissonRegressor(GeneralizedLinear):
    """Generalised linear model with a Poisson distribution and a log link.

    Minimises ``1/W sum_i s_i (exp(eta_i) - y_i eta_i) + alpha/2 |w|^2`` with ``eta = x.w + b`` and
    ``W = sum_i s_i``: half the mean deviance, but for a constant. Predicts ``exp(eta)``.

    Parameters
    ----------
    alpha : float, default=1.0
        Strength of the L2 penalty; the intercept is not penalised.
    fit_intercept : bool, default=True
    solver : str, default="auto"
        One of "auto", "newton", "newton-cholesky", "newton-cg", "lbfgs", "gd", "admm", "giant".
        "auto" takes Newton for dense data of few coefficients, where its few dear rounds cost less;
        "newton-cholesky" is "newton". "newton-cg" asks for products of the Hessian in a trust region, "gd" is
        accelerated gradient descent.
        The last two compute on pieces of the rows: see :class:`LogisticRegression`.
    max_iter : int, default=100
        Most accepted steps.
    tol : float, default=1e-4
        Converged when no component of the gradient of the averaged objective exceeds it.
    warm_start : bool, default=False
        Start from the coefficients of the last fit.
    verbose : int, default=0
    balance : {"adaptive", "even", "data"} or None (as configured); see :func:`~daskml_kit.config_context`

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,), of the dtype of X
    intercept_ : float
    n_iter_ : int
    n_rounds_, n_passes_, history_ : see :class:`~daskml_kit.base.BlockEstimator`

    Notes
    -----
    One pass to load, a read of y alone, and one pass an iteration; where rows are many, Newton's first rounds
    read a sample of them, as for :class:`LogisticRegression`.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.arange(6.0).reshape(-1, 1)
    >>> PoissonRegressor(alpha=0, tol=1e-9).fit(X, 2 * np.exp(0.3 * X[:, 0])).coef_.round(6)
    array([0.3])
    """

    def __init__(
        self,
        *,
        alpha: float = 1.0,
        fit_intercept: bool = True,
        solver: str = "auto",
        max_iter: int = 100,
        tol: float = 1e-4,
        warm_start: bool = False,
        verbose: int = 0,
        balance: str | None = None,
    ) -> None:
        self.alpha = alpha
        self.fit_intercept = fit_intercept
        self.solver = solver
        self.max_iter = max_iter
        self.tol = tol
        self.warm_start = warm_start
        self.verbose = verbose
        self.balance = balance

    def _loss(self) -> Poisson:
        return Poisson()


class GammaRegressor(GeneralizedLinear):
    """Generalised linear model with a gamma distribution and a log link.

    Minimises ``1/W sum_i s_i (eta_i + y_i exp(-eta_i)) + alpha/2 |w|^2`` with ``eta = x.w + b`` and
    ``W = sum_i s_i``: half the mean deviance, but for a constant. Predicts ``exp(eta)``.

    Parameters
    ----------
    alpha : float, default=1.0
        Strength of the L2 penalty; the intercept is not penalised.
    fit_intercept : bool, default=True
    solver : str, default="auto"
        One of "auto", "newton", "newton-cholesky", "newton-cg", "lbfgs", "gd", "admm", "giant".
        "auto" takes Newton for dense data of few coefficients, where its few dear rounds cost less;
        "newton-cholesky" is "newton". "newton-cg" asks for products of the Hessian in a trust region, "gd" is
        accelerated gradient descent.
        The last two compute on pieces of the rows: see :class:`LogisticRegression`.
    max_iter : int, default=100
        Most accepted steps.
    tol : float, default=1e-4
        Converged when no component of the gradient of the averaged objective exceeds it.
    warm_start : bool, default=False
        Start from the coefficients of the last fit.
    verbose : int, default=0
    balance : {"adaptive", "even", "data"} or None (as configured); see :func:`~daskml_kit.config_context`

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,), of the dtype of X
    intercept_ : float
    n_iter_ : int
    n_rounds_, n_passes_, history_ : see :class:`~daskml_kit.base.BlockEstimator`

    Notes
    -----
    One pass to load, a read of y alone, and one pass an iteration; where rows are many, Newton's first rounds
    read a sample of them, as for :class:`LogisticRegression`.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.arange(6.0).reshape(-1, 1)
    >>> GammaRegressor(alpha=0, tol=1e-9).fit(X, 2 * np.exp(0.3 * X[:, 0])).coef_.round(6)
    array([0.3])
    """

    def __init__(
        self,
        *,
        alpha: float = 1.0,
        fit_intercept: bool = True,
        solver: str = "auto",
        max_iter: int = 100,
        tol: float = 1e-4,
        warm_start: bool = False,
        verbose: int = 0,
        balance: str | None = None,
    ) -> None:
        self.alpha = alpha
        self.fit_intercept = fit_intercept
        self.solver = solver
        self.max_iter = max_iter
        self.tol = tol
        self.warm_start = warm_start
        self.verbose = verbose
        self.balance = balance

    def _loss(self) -> Gamma:
        return Gamma()


class TweedieRegressor(GeneralizedLinear):
    """Generalised linear model with a Tweedie distribution.

    Minimises half the mean deviance, but for a constant, plus ``alpha/2 |w|^2``; see
    :class:`~daskml_kit.losses.Tweedie`.

    Parameters
    ----------
    power : float, default=0.0
        The variance is the mean to this power: 0 normal, 1 Poisson, between them none, between 1 and 2
        compound Poisson gamma, 2 gamma, 3 inverse Gaussian.
    alpha : float, default=1.0
        Strength of the L2 penalty; the intercept is not penalised.
    fit_intercept : bool, default=True
    link : {"auto", "identity", "log"}, default="auto"
        "auto" is the identity for ``power <= 0`` and the logarithm above. The identity is there for
        ``power=0`` alone, where every prediction has a deviance.
    solver : str, default="auto"
        As of :class:`PoissonRegressor`, and "cocoa" for ``power=0`` with the identity and a penalty.
    max_iter : int, default=100
    tol : float, default=1e-4
    warm_start : bool, default=False
    verbose : int, default=0
    balance : {"adaptive", "even", "data"} or None (as configured); see :func:`~daskml_kit.config_context`

    Attributes
    ----------
    coef_, intercept_, n_iter_ : see :class:`PoissonRegressor`
    n_rounds_, n_passes_, history_ : see :class:`~daskml_kit.base.BlockEstimator`

    Examples
    --------
    >>> X, y = [[1, 2], [2, 3], [3, 4], [4, 3]], [2, 3.5, 5, 5.5]
    >>> model = TweedieRegressor(tol=1e-9).fit(X, y)
    >>> round(model.score(X, y), 2), model.coef_.round(2)
    (0.84, array([0.6, 0.3]))
    """

    def __init__(
        self,
        *,
        power: float = 0.0,
        alpha: float = 1.0,
        fit_intercept: bool = True,
        link: str = "auto",
        solver: str = "auto",
        max_iter: int = 100,
        tol: float = 1e-4,
        warm_start: bool = False,
        verbose: int = 0,
        balance: str | None = None,
    ) -> None:
        self.power = power
        self.alpha = alpha
        self.fit_intercept = fit_intercept
        self.link = link
        self.solver = solver
        self.max_iter = max_iter
        self.tol = tol
        self.warm_start = warm_start
        self.verbose = verbose
        self.balance = balance

    def _loss(self) -> Any:
        power, link = self.power, self.link
        check_number("power", power, least=-np.inf)
        if link not in ("auto", "identity", "log"):
            raise InvalidParameterError(f"link must be 'auto', 'identity' or 'log', got {link!r}.")
        if 0 < power < 1:
            raise InvalidParameterError(
                f"power must not lie between 0 and 1, where no distribution exists, got {power!r}."
            )
        if link == "identity" or (link == "auto" and power <= 0):
            if power != 0:
                raise InvalidParameterError(
                    f"link='identity' needs power=0, got {power!r}: of other powers a prediction of 0 or "
                    "less has no deviance. Pass link='log'."
                )
            return HalfSquared()
        named = {1.0: Poisson, 2.0: Gamma}
        return named[power]() if power in named else Tweedie(float(power))


__all__ = ["GammaRegressor", "GeneralizedLinear", "PoissonRegressor", "TweedieRegressor"]
