"""Lasso and elastic net: one pass for the moments, then coordinate descent on them."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any, Self

import numpy as np
from scipy import sparse

from daskml_kit.base import check_flag
from daskml_kit.kernels import Moments
from daskml_kit.linear_model import least_squares
from daskml_kit.linear_model.by_columns import check_choice, fit_least_squares, goes_by_columns
from daskml_kit.linear_model.choice import LOCAL
from daskml_kit.linear_model.coordinate_descent import Descent
from daskml_kit.linear_model.least_squares import MOMENTS, about_origin
from daskml_kit.linear_model.paths import (
    check_ratio,
    descent_of,
    enet_path,
    lasso_path,
    solve_path,
    warn_not_converged,
)
from daskml_kit.linear_model.pieces import edges_of_model
from daskml_kit.linear_model.regressor import (
    LinearRegressor,
    check_strength,
    check_warm_start,
)
from daskml_kit.linear_model.wide import SPREAD, solve_wide
from daskml_kit.runtime.dataset import BlockDataset
from daskml_kit.runtime.executor import Executor
from daskml_kit.runtime.ingest import DataFacts
from daskml_kit.typing import ArrayLike, FloatArray


class ElasticNet(LinearRegressor):
    """Least squares with an L1 and an L2 penalty.

    Minimises ``1/(2W) sum_i s_i (y_i - x_i.w - b)^2 + alpha l1_ratio |w|_1 + alpha (1 - l1_ratio)/2 |w|^2``
    with ``W = sum_i s_i``, scikit-learn's objective.

    Parameters
    ----------
    alpha : float, default=1.0
    l1_ratio : float, default=0.5
        0 is a ridge penalty, 1 the lasso's.
    fit_intercept : bool, default=True
    precompute : bool, "auto" or Gram matrix, default=False
        As in scikit-learn, for its sake only: the moments come from one pass, a matrix that is passed is
        not read.
    max_iter : int, default=1000
        Most sweeps over the coordinates. They read no data.
    copy_X : bool, default=True
        As in scikit-learn, for its sake only: X is never written.
    tol : float, default=1e-4
        Converged when the duality gap is at most ``tol * |y|^2``.
    warm_start : bool, default=False
        Start from the coefficients of the last fit.
    positive : bool, default=False
        Coefficients of at least 0.
    random_state : int, RandomState or None
        Draws the coordinates for ``selection="random"``.
    selection : {"cyclic", "random"}, default="cyclic"
    verbose : int, default=0
    solver : {"auto", "rows", "columns", "admm", "cocoa"}, default="auto"
        Whether workers hold rows, or all rows of some columns (working sets, with the duality gap as above).
        "auto" goes by columns where X is in memory, or a dask array of several chunks of columns, of more
        columns than rows and more than 5,000. "admm" and "cocoa" (which needs ``l1_ratio < 1``) compute on
        pieces of the rows, see :class:`LogisticRegression`; they end as proximal L-BFGS does, ``n_iter_``
        counts their rounds.
    balance : {"adaptive", "even", "data"} or None (as configured); see :func:`~daskml_kit.config_context`

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,) or (n_targets, n_features), of the dtype of X
    intercept_ : float or ndarray of shape (n_targets,)
    sparse_coef_ : CSR of shape (1, n_features) or (n_targets, n_features)
    dual_gap_ : float or ndarray of shape (n_targets,)
    n_iter_ : int or list of int
        Sweeps over the coordinates.
    n_rounds_, n_passes_, history_ : see :class:`~daskml_kit.base.BlockEstimator`

    Notes
    -----
    One pass to load and one for the moments, whatever alpha; the driver holds (n_features + n_targets)^2
    values. Above 5,000 features, by rows, proximal L-BFGS takes a pass a step (``n_iter_`` counts them),
    until the duality gap is that small; the intercept is eliminated, so features may be far from zero.

    References
    ----------
    Friedman, Hastie, Tibshirani (2010). Regularization paths for generalized linear models via
    coordinate descent. J. Stat. Softw. 33.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> X, y = load_diabetes(return_X_y=True)
    >>> ElasticNet(alpha=0.01).fit(X, y).n_passes_
    2
    """

    _flat_column = True

    path = staticmethod(enet_path)

    def __init__(
        self,
        alpha: float = 1.0,
        *,
        l1_ratio: float = 0.5,
        fit_intercept: bool = True,
        precompute: Any = False,
        max_iter: int = 1000,
        copy_X: bool = True,
        tol: float = 1e-4,
        warm_start: bool = False,
        positive: bool = False,
        random_state: Any = None,
        selection: str = "cyclic",
        verbose: int = 0,
        solver: str = "auto",
        balance: str | None = None,
    ) -> None:
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.fit_intercept = fit_intercept
        self.precompute = precompute
        self.max_iter = max_iter
        self.copy_X = copy_X
        self.tol = tol
        self.warm_start = warm_start
        self.positive = positive
        self.random_state = random_state
        self.selection = selection
        self.verbose = verbose
        self.solver = solver
        self.balance = balance

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike = None) -> Self:
        """Fit the model.

        Parameters
        ----------
        X : (n, n_features) NumPy, pandas, scipy.sparse, dask.array, dask.dataframe or xarray.DataArray
        y : (n,) or (n, n_targets)
        sample_weight : (n,) or None

        Returns
        -------
        self
        """
        check_strength("alpha", self.alpha)
        check_flag("warm_start", self.warm_start)
        check_ratio(self.l1_ratio)
        descent = descent_of(self)
        check_choice(self.solver)
        if goes_by_columns(self.solver, X) and (self.alpha > 0 or self.solver == "columns"):
            return self._fit_by_columns(X, y, sample_weight)
        if self.alpha == 0:
            warnings.warn(
                "With alpha=0 coordinate descent converges slowly: LinearRegression solves this exactly.",
                stacklevel=2,
            )
        local = self.solver in LOCAL
        edges = partial(edges_of_model, self.fit_intercept) if local else None
        with self._opened(X, y, sample_weight, target="values", multi_output=True, edges=edges) as (
            data,
            executor,
        ):
            facts = data.facts
            start = self._start(facts)
            many = local or facts.n_features > least_squares.GRAM_FEATURES
            if many:
                self._keep_wide(data, executor, start)
            else:
                total = executor.reduce(data, MOMENTS, None)
        if not many:
            about = total if self.fit_intercept else about_origin(total)
            self._keep_paths(facts, about, descent, start)
        return self

    def _fit_by_columns(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike) -> Self:
        pair = self.alpha * self.l1_ratio, self.alpha * (1.0 - self.l1_ratio)
        warm = self.warm_start and hasattr(self, "coef_") and self.alpha * self.l1_ratio > 0
        last = np.atleast_2d(np.asarray(self.coef_, dtype=np.float64)) if warm else None
        found = fit_least_squares(
            self, X, y, sample_weight,
            strengths=lambda facts: [pair] * max(facts.n_outputs, 1),
            max_iter=self.max_iter,
            by_gap=True,
            start=None if last is None else self._allowed(last),
        )  # fmt: skip
        gaps = np.array([f.gap for f in found], dtype=self.coef_.dtype)
        self._keep_cost(gaps, [f.n_iter for f in found])
        return self

    def _keep_wide(self, data: BlockDataset, executor: Executor, start: FloatArray | None) -> None:
        about = executor.reduce(data, SPREAD, None)
        facts, n_targets = data.facts, len(about.mean)
        begin = np.zeros((n_targets, facts.n_features)) if start is None else start
        strengths = self.alpha * self.l1_ratio, self.alpha * (1.0 - self.l1_ratio)
        found = [
            solve_wide(data, executor, about, t, strengths, begin[t], self)
            for t in range(n_targets)
        ]
        coef, intercept = np.array([f.coef for f in found]), np.array([f.intercept for f in found])
        self._keep(facts, coef, intercept)
        self._keep_cost(
            np.array([f.gap for f in found], dtype=facts.dtype), [f.n_iter for f in found]
        )

    def _keep_cost(self, gaps: FloatArray, counts: list[int]) -> None:
        one = len(counts) == 1
        self.dual_gap_: Any = gaps[0] if one else gaps
        self.n_iter_: Any = counts[0] if one else counts

    def _start(self, facts: DataFacts) -> FloatArray | None:
        if not self.warm_start or not hasattr(self, "coef_"):
            return None
        start = np.atleast_2d(np.asarray(self.coef_, dtype=np.float64))
        check_warm_start(start.shape, (max(facts.n_outputs, 1), facts.n_features))
        return self._allowed(start)

    def _allowed(self, start: FloatArray) -> FloatArray:
        """Where a warm start may begin: coefficients of a fit without ``positive`` may be negative."""
        return np.maximum(start, 0.0) if self.positive else start

    def _keep_paths(
        self, facts: DataFacts, total: Moments, descent: Descent, start: FloatArray | None
    ) -> None:
        n_targets = total.xy.shape[1]
        paths = []
        for t in range(n_targets):
            first = None if start is None else start[t]
            one = solve_path(
                total, np.array([self.alpha]), self.l1_ratio, descent, target=t, start=first
            )
            warn_not_converged(one, float(total.yy[t]), descent)
            paths.append(one)
        coef = np.array([path.coefs[0] for path in paths])
        self._keep(facts, coef, total.mean_y - coef @ total.mean_x)
        gaps = np.array([path.gaps[0] for path in paths], dtype=facts.dtype) / total.weight_sum
        counts = [int(path.counts[0]) for path in paths]
        self._keep_cost(gaps, counts)

    @property
    def sparse_coef_(self) -> Any:
        """The coefficients as CSR."""
        return sparse.csr_array(np.atleast_2d(self.coef_))


class Lasso(ElasticNet):
    """Least squares with an L1 penalty: :class:`ElasticNet` with ``l1_ratio=1``.

    Minimises ``1/(2W) sum_i s_i (y_i - x_i.w - b)^2 + alpha |w|_1`` with ``W = sum_i s_i``.

    Parameters
    ----------
    alpha : float, default=1.0
    fit_intercept, precompute, max_iter, copy_X, tol, warm_start, positive, random_state, selection, verbose,
    solver
        See :class:`ElasticNet`.
    balance : {"adaptive", "even", "data"} or None (as configured); see :func:`~daskml_kit.config_context`

    Attributes
    ----------
    coef_, intercept_, sparse_coef_, dual_gap_, n_iter_ : see :class:`ElasticNet`
    n_rounds_, n_passes_, history_ : see :class:`~daskml_kit.base.BlockEstimator`

    Notes
    -----
    ``Lasso.path`` is :func:`lasso_path`, the path of this model. scikit-learn's ``Lasso.path`` is its
    ``enet_path`` with ``l1_ratio=0.5``, unless told otherwise.

    Examples
    --------
    >>> import numpy as np
    >>> Lasso(alpha=0.1).fit([[0.0], [1.0], [2.0]], [0.0, 1.0, 2.0]).coef_
    array([0.85])
    """

    path = staticmethod(lasso_path)

    def __init__(
        self,
        alpha: float = 1.0,
        *,
        fit_intercept: bool = True,
        precompute: Any = False,
        max_iter: int = 1000,
        copy_X: bool = True,
        tol: float = 1e-4,
        warm_start: bool = False,
        positive: bool = False,
        random_state: Any = None,
        selection: str = "cyclic",
        verbose: int = 0,
        solver: str = "auto",
        balance: str | None = None,
    ) -> None:
        super().__init__(
            alpha,
            l1_ratio=1.0,
            fit_intercept=fit_intercept,
            precompute=precompute,
            max_iter=max_iter,
            copy_X=copy_X,
            tol=tol,
            warm_start=warm_start,
            positive=positive,
            random_state=random_state,
            selection=selection,
            verbose=verbose,
            solver=solver,
            balance=balance,
        )


__all__ = ["ElasticNet", "Lasso"]
