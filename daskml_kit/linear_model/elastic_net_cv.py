"""LassoCV and ElasticNetCV: all folds and all penalties from one pass over the data, or in shared rounds."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import numpy as np

from daskml_kit.base import check_number
from daskml_kit.kernels import Moments
from daskml_kit.linear_model import least_squares
from daskml_kit.linear_model.by_columns import goes_by_columns
from daskml_kit.linear_model.column_cv import ColumnPaths
from daskml_kit.linear_model.coordinate_descent import Descent, Path
from daskml_kit.linear_model.folds import (
    FOLD_MOMENTS,
    Splits,
    fold_moments,
    pooled,
    refuse_many_moments,
    row_splits,
    squared_errors,
)
from daskml_kit.linear_model.least_squares import about_origin
from daskml_kit.linear_model.paths import (
    alpha_grid,
    check_ratio,
    descent_of,
    enet_path,
    given_alphas,
    lasso_path,
    solve_path,
    warn_not_converged,
)
from daskml_kit.linear_model.regressor import LinearRegressor
from daskml_kit.linear_model.wide import SPREAD, solve_wide
from daskml_kit.linear_model.wide_cv import WidePaths
from daskml_kit.runtime.columns import open_columns
from daskml_kit.runtime.dataset import BlockDataset
from daskml_kit.runtime.executor import Executor
from daskml_kit.runtime.ingest import DataFacts
from daskml_kit.typing import ArrayLike, FloatArray


@dataclass(frozen=True)
class FoldPath:
    """Errors of a whole path on one fold's test set, from the moments of both its sets."""

    descent: Descent
    fit_intercept: bool

    def __call__(
        self, train: Moments, test: Moments, alphas: FloatArray, l1_ratio: float
    ) -> tuple[FloatArray, Path, float]:
        """Mean squared errors, the path, and the squared norm that its gap is measured by."""
        if not self.fit_intercept:
            train = about_origin(train)
        path = solve_path(train, alphas, l1_ratio, self.descent)
        intercepts = train.mean_y[0] - path.coefs @ train.mean_x
        return squared_errors(test, path.coefs, intercepts, 0), path, float(train.yy[0])


class _PathCV(LinearRegressor):
    """Both models: what differs is whether the mixing parameter is one of theirs."""

    eps: float
    alphas: Any
    fit_intercept: bool
    cv: Any
    solver = "auto"
    mse_path_: FloatArray
    alpha_: float
    _ratio: float

    def _fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike, ratios: list[float]
    ) -> Self:
        descent = descent_of(self)
        given = self._given_alphas(ratios)
        if goes_by_columns(self.solver, X) and 0 not in ratios and (given is None or given[-1] > 0):
            return self._fit_by_columns(X, y, sample_weight, ratios, given)
        with self._opened(X, y, sample_weight, target="values") as (data, executor):
            facts = data.facts
            splits = row_splits(self.cv, facts)
            many = facts.n_features > least_squares.GRAM_FEATURES
            if many:
                self._fit_by_rows(data, executor, splits, ratios, given)
            else:
                refuse_many_moments(self.cv, splits, facts)
                parts = executor.reduce(data, FOLD_MOMENTS, splits.cells)
        if not many:
            self._fit_by_moments(facts, parts, splits, ratios, given, descent)
        self.mse_path_ = self.mse_path_.astype(facts.dtype, copy=False)
        return self

    def _fit_by_moments(
        self,
        facts: DataFacts,
        parts: dict[int, Moments],
        splits: Splits,
        ratios: list[float],
        given: FloatArray | None,
        descent: Descent,
    ) -> None:
        total = pooled(parts, parts)
        if not self.fit_intercept:
            total = about_origin(total)
        grids = self._grids(self._largest(total.xy[:, 0], total.weight_sum), ratios, given)
        done = self._select(fold_moments(parts, splits.splits), grids, ratios, descent)
        done.append(self._refit(facts, total, descent))
        worst, norm = max(done, key=lambda item: int((~item[0].converged).sum()))
        warn_not_converged(worst, norm, descent)

    def _fit_by_rows(
        self,
        data: BlockDataset,
        executor: Executor,
        splits: Splits,
        ratios: list[float],
        given: FloatArray | None,
    ) -> None:
        """Too many features for their Gram matrix: all folds' paths, in shared rounds."""
        about = executor.reduce(data, SPREAD, None)
        folds = WidePaths(data, executor, about, splits, self)
        largest = 0.0 if given is not None else self._largest(folds.pull(), folds.weight_sum)
        grids = self._grids(largest, ratios, given)
        errors = [
            folds.along(alphas, ratio)[0] for alphas, ratio in zip(grids, ratios, strict=True)
        ]
        self._choose(np.array(errors), grids, ratios)
        strengths = self.alpha_ * self._ratio, self.alpha_ * (1.0 - self._ratio)
        start = np.zeros(data.facts.n_features)
        found = solve_wide(data, executor, about, 0, strengths, start, self)
        self._keep(data.facts, found.coef[None], np.array([found.intercept]))
        self.dual_gap_ = data.facts.dtype.type(found.gap)
        self.n_iter_ = found.n_iter

    def _fit_by_columns(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike,
        ratios: list[float],
        given: FloatArray | None,
    ) -> Self:
        """Columns stay with their workers: all folds' paths by working sets, in shared rounds."""
        with self._opened(X, y, sample_weight, target="values", opener=open_columns) as (
            data,
            executor,
        ):
            facts = data.row_facts
            folds = ColumnPaths(data, executor, row_splits(self.cv, facts), self)
            grids = self._grids(folds.largest() if given is None else 0.0, ratios, given)
            errors = [
                folds.along(alphas, ratio) for alphas, ratio in zip(grids, ratios, strict=True)
            ]
            self._choose(np.array(errors), grids, ratios)
            found = folds.solved((self.alpha_ * self._ratio, self.alpha_ * (1.0 - self._ratio)))
            self._keep(facts, found.coef[None], np.array([found.intercept]))
        self.dual_gap_ = facts.dtype.type(found.gap)
        self.n_iter_ = found.n_iter
        self.mse_path_ = self.mse_path_.astype(facts.dtype, copy=False)
        return self

    def _given_alphas(self, ratios: list[float]) -> FloatArray | None:
        """The caller's own penalties, largest first; None for a grid of the data's."""
        check_number("eps", self.eps, least=0, above=True)
        for ratio in ratios:
            check_ratio(ratio)
        return given_alphas(self.alphas, ratios)

    def _largest(self, pull: FloatArray, weight_sum: float) -> float:
        """The least L1 strength that leaves no coefficient, of ``X'y`` of centred data."""
        pull = pull if self.positive else np.abs(pull)
        return float(pull.max(initial=0.0)) / weight_sum

    def _grids(
        self, largest: float, ratios: list[float], given: FloatArray | None
    ) -> list[FloatArray]:
        """The penalties to try with each mixing parameter."""
        grids = [
            alpha_grid(largest / r, self.eps, self.alphas) if given is None else given
            for r in ratios
        ]
        self.alphas_ = grids[0] if given is not None or len(ratios) == 1 else np.array(grids)
        return grids

    def _select(
        self,
        sets: list[tuple[Moments, Moments]],
        grids: list[FloatArray],
        ratios: list[float],
        descent: Descent,
    ) -> list[tuple[Path, float]]:
        """Every path, on threads: the descent releases the GIL. The paths, and what their gaps count in."""
        one = FoldPath(descent, self.fit_intercept)
        jobs = [
            partial(one, train, test, alphas, ratio)
            for alphas, ratio in zip(grids, ratios, strict=True)
            for train, test in sets
        ]
        with ThreadPoolExecutor() as pool:
            done = list(pool.map(lambda job: job(), jobs))
        self._choose(
            np.reshape([item[0] for item in done], (len(ratios), len(sets), -1)), grids, ratios
        )
        return [(path, norm) for _, path, norm in done]

    def _choose(self, errors: FloatArray, grids: list[FloatArray], ratios: list[float]) -> None:
        """The best of errors (n_ratios, n_folds, n_alphas), by their means over folds."""
        means = errors.mean(axis=1)
        best_ratio, best_alpha = np.unravel_index(int(np.argmin(means)), means.shape)
        self.mse_path_ = np.squeeze(np.moveaxis(errors, 2, 1))
        self.alpha_ = float(grids[best_ratio][best_alpha])
        self._ratio = float(ratios[best_ratio])

    def _refit(self, facts: DataFacts, total: Moments, descent: Descent) -> tuple[Path, float]:
        path = solve_path(total, np.array([self.alpha_]), self._ratio, descent)
        self._keep(facts, path.coefs, total.mean_y - path.coefs @ total.mean_x)
        self.dual_gap_ = facts.dtype.type(path.gaps[0] / total.weight_sum)
        self.n_iter_ = int(path.counts[0])
        return path, float(total.yy[0])


class ElasticNetCV(_PathCV):
    """Elastic net with the penalty chosen by cross-validation, all of it from one pass.

    Parameters
    ----------
    l1_ratio : float or list of float, default=0.5
        Mixing parameters to try.
    eps : float, default=1e-3
        Smallest over largest penalty of the path.
    alphas : int or array of floats, default=100
        Number of penalties along the path, or the penalties.
    fit_intercept : bool, default=True
    precompute : bool, "auto" or Gram matrix, default="auto"
        As in scikit-learn, for its sake only: the moments come from one pass, a matrix that is passed is
        not read.
    max_iter : int, default=1000
    tol : float, default=1e-4
        Converged when the duality gap is at most ``tol * |y|^2``.
    cv : int, splitter, iterable of (train, test) row numbers, or None
        None means 5. An integer means contiguous folds of rows, as scikit-learn's ``KFold``. A splitter must
        need neither y nor groups, which stay where the data are; all but contiguous folds cost memory of
        O(rows) on the driver.
    copy_X : bool, default=True
        As in scikit-learn, for its sake only: X is never written.
    n_jobs : int or None
        As in scikit-learn, for its sake only: rounds use all threads of the cluster's workers, or of this
        process.
    positive : bool, default=False
    random_state : int, RandomState or None
    selection : {"cyclic", "random"}, default="cyclic"
    verbose : int, default=0
    balance : {"adaptive", "even", "data"} or None (as configured); see :func:`~daskml_kit.config_context`

    Attributes
    ----------
    alpha_, l1_ratio_ : float
        The best by the mean over folds.
    coef_ : ndarray of shape (n_features,), of the dtype of X
    intercept_ : float
    mse_path_ : ndarray of shape (n_l1_ratios, n_alphas, n_folds), without the axes of length 1
    alphas_ : ndarray of shape (n_alphas,) or (n_l1_ratios, n_alphas)
    dual_gap_, n_iter_ : of the last fit, on all rows
    n_rounds_, n_passes_, history_ : see :class:`~daskml_kit.base.BlockEstimator`

    Notes
    -----
    One pass to load and one for the moments of all folds, whatever the number of folds and penalties.
    The paths run on the driver's threads. It holds n_folds (n_features + 1)^2 values.
    Above 5,000 features all folds take their steps in the same rounds, a few a penalty, each as many passes'
    work as there are folds that still move; they end as :class:`ElasticNet` does there. The driver holds
    twenty vectors of n_features a fold, and the models' coefficients that are not zero.
    X in memory or in several chunks of columns, of more columns than rows, stays, as for :class:`ElasticNet`:
    two rounds or a few more a penalty for all folds. The driver holds a dozen vectors of rows a fold.

    References
    ----------
    Friedman, Hastie, Tibshirani (2010). Regularization paths for generalized linear models via
    coordinate descent. J. Stat. Softw. 33.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = ElasticNetCV(l1_ratio=[0.5, 1.0]).fit(X, y)
    >>> model.l1_ratio_, model.mse_path_.shape, model.n_passes_
    (1.0, (2, 100, 5), 2)
    """

    path = staticmethod(enet_path)

    def __init__(
        self,
        *,
        l1_ratio: float | Sequence[float] = 0.5,
        eps: float = 1e-3,
        alphas: Any = 100,
        fit_intercept: bool = True,
        precompute: Any = "auto",
        max_iter: int = 1000,
        tol: float = 1e-4,
        cv: Any = None,
        copy_X: bool = True,
        verbose: int = 0,
        n_jobs: int | None = None,
        positive: bool = False,
        random_state: Any = None,
        selection: str = "cyclic",
        balance: str | None = None,
    ) -> None:
        self.l1_ratio = l1_ratio
        self.eps = eps
        self.alphas = alphas
        self.fit_intercept = fit_intercept
        self.precompute = precompute
        self.max_iter = max_iter
        self.tol = tol
        self.cv = cv
        self.copy_X = copy_X
        self.verbose = verbose
        self.n_jobs = n_jobs
        self.positive = positive
        self.random_state = random_state
        self.selection = selection
        self.balance = balance

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike = None) -> Self:
        """Fit the model.

        Parameters
        ----------
        X : (n, n_features) NumPy, pandas, scipy.sparse, dask.array, dask.dataframe or xarray.DataArray
        y : (n,)
        sample_weight : (n,) or None
            Weigh rows in training and in the error of each test set; the mean over folds is unweighted.

        Returns
        -------
        self
        """
        ratios: Any = self.l1_ratio
        self._fit(X, y, sample_weight, [ratios] if np.ndim(ratios) == 0 else list(ratios))
        self.l1_ratio_ = self._ratio
        return self


class LassoCV(_PathCV):
    """Lasso with the penalty chosen by cross-validation, all of it from one pass.

    Parameters
    ----------
    eps, alphas, fit_intercept, precompute, max_iter, tol, cv, copy_X, verbose, n_jobs, positive,
    random_state, selection
        See :class:`ElasticNetCV`.
    balance : {"adaptive", "even", "data"} or None (as configured); see :func:`~daskml_kit.config_context`

    Attributes
    ----------
    alpha_, coef_, intercept_, mse_path_, alphas_, dual_gap_, n_iter_ : see :class:`ElasticNetCV`
    n_rounds_, n_passes_, history_ : see :class:`~daskml_kit.base.BlockEstimator`

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> X, y = load_diabetes(return_X_y=True)
    >>> round(LassoCV().fit(X, y).alpha_, 5)
    0.00375
    """

    path = staticmethod(lasso_path)

    def __init__(
        self,
        *,
        eps: float = 1e-3,
        alphas: Any = 100,
        fit_intercept: bool = True,
        precompute: Any = "auto",
        max_iter: int = 1000,
        tol: float = 1e-4,
        cv: Any = None,
        copy_X: bool = True,
        verbose: int = 0,
        n_jobs: int | None = None,
        positive: bool = False,
        random_state: Any = None,
        selection: str = "cyclic",
        balance: str | None = None,
    ) -> None:
        self.eps = eps
        self.alphas = alphas
        self.fit_intercept = fit_intercept
        self.precompute = precompute
        self.max_iter = max_iter
        self.tol = tol
        self.cv = cv
        self.copy_X = copy_X
        self.verbose = verbose
        self.n_jobs = n_jobs
        self.positive = positive
        self.random_state = random_state
        self.selection = selection
        self.balance = balance

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike = None) -> Self:
        """Fit the model; see :meth:`ElasticNetCV.fit`."""
        return self._fit(X, y, sample_weight, [1.0])


__all__ = ["ElasticNetCV", "LassoCV"]
