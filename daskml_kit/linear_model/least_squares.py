"""Ordinary and ridge least squares from one pass: the moments of the data are all that is needed."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal, Self, TypeAlias

import numpy as np
from scipy import linalg, optimize

from daskml_kit.base import check_flag, check_number
from daskml_kit.exceptions import InvalidParameterError
from daskml_kit.kernels import Moments
from daskml_kit.linear_model.by_columns import check_choice, fit_least_squares, goes_by_columns
from daskml_kit.linear_model.choice import LOCAL
from daskml_kit.linear_model.few_rows import has_few_rows, known_shape
from daskml_kit.linear_model.normal_equations import NormalEquations, rounding_of
from daskml_kit.linear_model.pieces import edges_of_model
from daskml_kit.linear_model.regressor import LinearRegressor
from daskml_kit.linear_model.second_moments import MOMENTS as MOMENTS, RESIDUAL
from daskml_kit.linear_model.summary import Summarised, Sums, sums_of_moments
from daskml_kit.linear_model.unused import check_unused
from daskml_kit.linear_model.wide import SPREAD
from daskml_kit.linear_model.wide_ridge import solve_wide_ridge
from daskml_kit.losses import HalfSquared
from daskml_kit.runtime.dataset import BlockDataset
from daskml_kit.runtime.executor import Executor
from daskml_kit.runtime.ingest import DataFacts
from daskml_kit.typing import ArrayLike, FloatArray, IntArray

GRAM_FEATURES = 5000
"""Most features for which the d x d Gram matrix (200 MB at this size) is reduced; L-BFGS above."""

REFINE_CONDITION = 1e8
"""Condition number of the Gram matrix above which a second pass corrects the solution: the normal
equations lose the square of the condition number of X, one correction from the residual regains it."""


SAME_SOLUTION = (
    *("svd", "cholesky", "lsqr", "sparse_cg", "sag", "saga"),  # scikit-learn's for ridge
    *("newton", "newton-cholesky", "newton-cg", "lbfgs", "gd"),  # of any smooth loss
)
"""Solvers that differ in how they come to the one solution, which the normal equations give in one step."""

SUMMARY_FEATURES = 500
"""Most features for which a fit keeps what its summary needs: a matrix of 2 MB."""

SUMMARY_NOISE = 1e-10
"""Squares of the residuals over those of y below which their difference of moments is rounding."""


class _LeastSquares(LinearRegressor):
    """Both models: what differs is the strength of the penalty."""

    tol: float
    positive: bool
    solver: str = "auto"

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike, alpha: Any, max_iter: int
    ) -> Self:
        self._check_flags()
        local = self.solver in LOCAL
        edges = partial(edges_of_model, self.fit_intercept) if local else None
        with self._opened(X, y, sample_weight, target="values", multi_output=True, edges=edges) as (
            data,
            executor,
        ):
            strengths = _strengths(alpha, data.facts)
            if data.facts.n_features <= GRAM_FEATURES and not local:
                coef, intercept = self._by_moments(data, executor, strengths)
                self.n_iter_: IntArray | None = None
            else:
                coef, intercept = self._by_iterations(data, executor, strengths, max_iter)
            self._keep(data.facts, coef, intercept)
        return self

    def _fit_by_columns(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike, alpha: Any, max_iter: int
    ) -> Self:
        self._check_flags()
        found = fit_least_squares(
            self, X, y, sample_weight,
            strengths=lambda facts: [(0.0, a / facts.weight_sum) for a in _strengths(alpha, facts)],
            max_iter=max_iter,
            by_gap=False,
        )  # fmt: skip
        self.n_iter_ = np.array([f.n_iter for f in found], dtype=np.int32)
        return self

    def _check_flags(self) -> None:
        check_flag("fit_intercept", self.fit_intercept)
        check_flag("positive", self.positive)
        check_unused(self)

    def _by_moments(
        self, data: BlockDataset, executor: Executor, strengths: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        total = executor.reduce(data, MOMENTS, None, objective=None)
        spread = total.yy
        if not self.fit_intercept:
            total = about_origin(total)
        if self.positive:
            w = nonnegative(total, strengths)
            return w.T, total.mean_y - total.mean_x @ w
        solver = NormalEquations(total.xx, strengths)
        w = penalised_solution(data, executor, total, solver)
        self._learn(data.facts, total, solver, w, spread)
        return w.T, total.mean_y - total.mean_x @ w

    def _learn(
        self,
        facts: DataFacts,
        total: Moments,
        solver: NormalEquations,
        w: FloatArray,
        spread: FloatArray,
    ) -> None:
        """What else the moments tell; ``spread`` are the squares of y about its mean."""

    def _by_iterations(
        self, data: BlockDataset, executor: Executor, strengths: FloatArray, max_iter: int
    ) -> tuple[FloatArray, FloatArray]:
        """One solve a target."""
        about = executor.reduce(data, SPREAD, None)
        found = [
            solve_wide_ridge(
                data, executor, about, t, float(strength) / about.weight_sum, self, max_iter
            )
            for t, strength in enumerate(strengths)
        ]
        self.n_iter_ = np.array([f.n_iter for f in found], dtype=np.int32)
        return np.array([f.coef for f in found]), np.array([f.intercept for f in found])


Way: TypeAlias = Literal["features", "rows", "columns", "steps"]


def way_of(
    X: ArrayLike,
    solver: str = "auto",
    *,
    positive: bool = False,
    penalised: bool = True,
    many_fits: bool = False,
) -> Way:
    """How least squares of X is solved, by its shape alone (``docs/solvers.md`` says why).

    ============  ================================================================  ==================
    "features"    from the Gram matrix of the features: up to ``GRAM_FEATURES``     normal_equations
    "rows"        from that of the rows: many fits to few rows                      few_rows
    "columns"     by columns: asked for, or X is wide and cut so, or ``positive``   by_columns
                  and has few rows
    "steps"       over the rows: asked for, or all others                           wide_ridge(_cv)
    ============  ================================================================  ==================

    Parameters
    ----------
    solver : of the estimator
    positive : whether coefficients are bounded by zero
    penalised : whether every penalty is above 0
    many_fits : of folds and penalties
    """
    few, wide = has_few_rows(X), known_shape(X)[1] > GRAM_FEATURES
    if many_fits and few:
        return "rows"
    cut = penalised and goes_by_columns(solver, X, in_memory=False)
    if solver == "columns" or cut or (solver == "auto" and positive and few and wide):
        return "columns"
    return "steps" if wide or solver in LOCAL else "features"


def _strengths(alpha: Any, facts: DataFacts) -> FloatArray:
    """One strength for each target."""
    n_targets = max(facts.n_outputs, 1)
    strengths = np.asarray(alpha, dtype=np.float64).ravel()
    if len(strengths) not in (1, n_targets):
        raise InvalidParameterError(
            f"Number of targets and number of penalties do not correspond: {n_targets} targets, "
            f"{len(strengths)} values of alpha. Pass one alpha, or one for each target."
        )
    return np.broadcast_to(strengths, (n_targets,)).copy()


def about_origin(m: Moments) -> Moments:
    """The same second moments about zero instead of the means."""
    zero_x, zero_y = np.zeros_like(m.mean_x), np.zeros_like(m.mean_y)
    return m._replace(
        mean_x=zero_x,
        mean_y=zero_y,
        xx=m.xx + m.weight_sum * np.outer(m.mean_x, m.mean_x),
        xy=m.xy + m.weight_sum * np.outer(m.mean_x, m.mean_y),
        yy=m.yy + m.weight_sum * m.mean_y**2,
    )


def nonnegative(total: Moments, strengths: FloatArray) -> FloatArray:
    """Minimisers over ``w >= 0``, (n_features, n_targets), to rounding.

    With ``G + alpha I = V diag(e) V'`` the objective is ``|A w - c|^2`` plus a constant, for
    ``A = diag(sqrt(e)) V'`` and ``c = diag(1 / sqrt(e)) V' q``: a problem of n_features rows for the
    active-set method of Lawson and Hanson (1974), "Solving least squares problems", chapter 23.
    """
    columns = []
    for t, strength in enumerate(strengths):
        values, vectors = linalg.eigh(total.xx + strength * np.eye(len(total.xx)))
        kept = values > rounding_of(values)
        root = np.sqrt(values[kept])
        rows = root[:, None] * vectors[:, kept].T
        right = (vectors[:, kept].T @ total.xy[:, t]) / root
        columns.append(optimize.nnls(rows, right)[0] if len(root) else np.zeros(len(total.xx)))
    return np.column_stack(columns)


def penalised_solution(
    data: BlockDataset, executor: Executor, total: Moments, solver: NormalEquations
) -> FloatArray:
    """Ridge solutions (n_features, n_targets), corrected by one more pass where they need it."""
    w = solver.solve(total.xy)
    if solver.condition > REFINE_CONDITION:
        params = (w, total.mean_x, total.mean_y)
        residual = executor.reduce(data, RESIDUAL, params)
        w = w + solver.solve(residual - solver.strengths * w)
    return w


class LinearRegression(Summarised, _LeastSquares):
    """Ordinary least squares.

    Minimises ``sum_i s_i (y_i - x_i.w - b)^2``; of several minima the one of least norm.

    Parameters
    ----------
    fit_intercept : bool, default=True
    copy_X : bool, default=True
        As in scikit-learn, for its sake only: X is never written.
    tol : float, default=1e-6
        Where it iterates (more than 5,000 features): the largest covariance of the residuals with a feature,
        in units of the deviations of the feature and of y. With ``positive=True`` that by which it is above
        zero, or beside a positive coefficient differs from it.
    n_jobs : int or None
        As in scikit-learn, for its sake only: rounds use all threads of the cluster's workers, or of this
        process.
    positive : bool, default=False
        Coefficients of at least 0.
    verbose : int, default=0
    balance : {"adaptive", "even", "data"} or None (as configured); see :func:`~daskml_kit.config_context`

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,) or (n_targets, n_features), of the dtype of X
    intercept_ : float or ndarray of shape (n_targets,)
    rank_ : int
        Rank of the centred X (of X without an intercept), of features scaled to one size: as many of
        their directions as are more than rounding.
    singular_ : ndarray of shape (min(n, n_features),)
        Its singular values, rows weighted by the root of their weight. From the Gram matrix, so they are
        exact to about 1e-16 of the largest over their own size, and below 1e-8 of the largest noise. Both
        are absent with ``positive=True`` and above 5,000 features.
    n_rounds_, n_passes_, history_ : see :class:`~daskml_kit.base.BlockEstimator`

    Notes
    -----
    One pass to load, one for the moments, and one more where the condition number of the Gram matrix
    exceeds 1e8 (a correction from the residual). The driver holds (n_features + n_targets)^2 values.

    Examples
    --------
    >>> import numpy as np
    >>> LinearRegression().fit([[0.0], [1.0], [2.0]], [1.0, 3.0, 5.0]).coef_.round(6)
    array([2.])
    """

    def __init__(
        self,
        *,
        fit_intercept: bool = True,
        copy_X: bool = True,
        tol: float = 1e-6,
        n_jobs: int | None = None,
        positive: bool = False,
        verbose: int = 0,
        balance: str | None = None,
    ) -> None:
        self.fit_intercept = fit_intercept
        self.copy_X = copy_X
        self.tol = tol
        self.n_jobs = n_jobs
        self.positive = positive
        self.verbose = verbose
        self.balance = balance

    _fit_sums: Sums | None

    def _unpenalised(self) -> tuple[Any, str]:
        return HalfSquared(), "positive=True" if self.positive else ""

    def _known(self) -> Sums | None:
        return self._fit_sums

    def _learn(
        self,
        facts: DataFacts,
        total: Moments,
        solver: NormalEquations,
        w: FloatArray,
        spread: FloatArray,
    ) -> None:
        """Rank and singular values, and what a summary needs where that is small."""
        self.rank_ = solver.rank
        squares = np.maximum(linalg.eigvalsh(total.xx)[::-1], 0.0)
        self.singular_ = np.sqrt(squares)[: min(facts.n_rows, len(squares))].astype(facts.dtype)
        if w.shape[1] == 1 and facts.n_features <= SUMMARY_FEATURES:
            sums = sums_of_moments(total, w[:, 0], float(spread[0]), self.fit_intercept)
            if sums.pearson > SUMMARY_NOISE * float(spread[0]):
                self._fit_sums = sums

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
        self._fit_sums = None
        for name in ("rank_", "singular_"):  # of the last fit
            self.__dict__.pop(name, None)
        check_number("tol", self.tol, least=0)
        if way_of(X, positive=self.positive, penalised=False) == "columns":
            return self._fit_by_columns(X, y, sample_weight, 0.0, 1000)
        return self._fit(X, y, sample_weight, 0.0, 1000)


class Ridge(_LeastSquares):
    """Least squares with an L2 penalty.

    Minimises ``sum_i s_i (y_i - x_i.w - b)^2 + alpha |w|^2``; the intercept is not penalised.

    Parameters
    ----------
    alpha : float or array of shape (n_targets,), default=1.0
    fit_intercept : bool, default=True
    copy_X : bool, default=True
        As in scikit-learn, for its sake only: X is never written.
    max_iter : int or None
        Most steps where it iterates (more than 5,000 features, or by columns); None means 1,000.
    tol : float, default=1e-4
        Where it iterates: the root of twice the duality gap, in units of the deviation of y. No more does the
        root mean square difference of the predictions from the optimum's come to. By rows, where these
        outnumber the features: the largest component of the gradient, each in units of its feature's
        deviation (the penalty counted in) and that of y.
    positive : bool, default=False
        Coefficients of at least 0.
    random_state : int, RandomState or None
        As in scikit-learn, for its sake only: nothing is drawn.
    verbose : int, default=0
    solver : {"auto", "rows", "columns", "admm", "giant", "cocoa"}, default="auto"
        Whether workers hold rows, or all rows of some columns (conjugate gradients in the space of the
        rows, until ``tol``). "auto" goes by columns where X is a dask array of several chunks of columns,
        of more columns than rows and more than 5,000. "admm", "giant" and "cocoa" compute on pieces of the
        rows, see :class:`LogisticRegression`; with ``positive=True`` "admm" alone. scikit-learn's "svd",
        "cholesky", "lsqr", "sparse_cg", "sag" and "saga", and "newton", "newton-cholesky", "newton-cg",
        "lbfgs" and "gd" stand for "auto": they have the same solution, and the first step of Newton's
        method for a squared loss is the last.
    balance : {"adaptive", "even", "data"} or None (as configured); see :func:`~daskml_kit.config_context`

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,) or (n_targets, n_features), of the dtype of X
    intercept_ : float or ndarray of shape (n_targets,)
    n_iter_ : None, or ndarray of shape (n_targets,) where it iterates
    n_rounds_, n_passes_, history_ : see :class:`~daskml_kit.base.BlockEstimator`

    Notes
    -----
    One pass to load, one for the moments, and one more where the condition number of the penalised Gram
    matrix exceeds 1e8. The driver holds (n_features + n_targets)^2 values. Above 5,000 features one pass for
    the deviations, and then one a step of L-BFGS. Where rows outnumber the features it begins with the
    squares of the columns: features may differ in scale by any factor. With ``positive=True`` and no more
    rows than features, at most 5,000, Newton's method in the space of the rows takes five to a dozen passes
    over data brought together by columns; the driver then holds a few n x n matrices.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> X, y = load_diabetes(return_X_y=True)
    >>> round(Ridge(alpha=0.1).fit(X, y).score(X, y), 3)
    0.513
    """

    _flat_column = True

    def __init__(
        self,
        alpha: Any = 1.0,
        *,
        fit_intercept: bool = True,
        copy_X: bool = True,
        max_iter: int | None = None,
        tol: float = 1e-4,
        solver: str = "auto",
        positive: bool = False,
        random_state: Any = None,
        verbose: int = 0,
        balance: str | None = None,
    ) -> None:
        self.alpha = alpha
        self.fit_intercept = fit_intercept
        self.copy_X = copy_X
        self.max_iter = max_iter
        self.tol = tol
        self.solver = solver
        self.positive = positive
        self.random_state = random_state
        self.verbose = verbose
        self.balance = balance

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
        alpha = np.asarray(self.alpha)
        if alpha.dtype.kind not in "fiu" or not np.all(alpha >= 0):
            raise InvalidParameterError(f"alpha must be numbers of at least 0, got {self.alpha!r}.")
        check_number("tol", self.tol, least=0)
        if self.max_iter is not None:
            check_number("max_iter", self.max_iter, least=1, whole=True)
        max_iter = 1000 if self.max_iter is None else self.max_iter
        name = "auto" if self.solver in SAME_SOLUTION else self.solver
        check_choice(name)
        penalised = bool(np.all(alpha > 0))
        if way_of(X, name, positive=self.positive, penalised=penalised) == "columns":
            return self._fit_by_columns(X, y, sample_weight, alpha, max_iter)
        return self._fit(X, y, sample_weight, alpha, max_iter)


__all__ = ["LinearRegression", "Ridge"]
