"""Huber regression: robust coefficients and their scale, estimated together."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Self

import numpy as np

from daskml_kit.base import check_number
from daskml_kit.kernels import Moments
from daskml_kit.kernels.joint_scale import JointSums, joint_scale_sums
from daskml_kit.linear_model.choice import newton_is_cheaper
from daskml_kit.linear_model.least_squares import MOMENTS, NormalEquations, about_origin
from daskml_kit.linear_model.regressor import LinearRegressor, check_flag, check_warm_start
from daskml_kit.linear_model.targets import target_reduction
from daskml_kit.losses import HalfSquared
from daskml_kit.runtime.block import Block
from daskml_kit.runtime.dataset import BlockDataset
from daskml_kit.runtime.executor import Executor
from daskml_kit.runtime.ingest import DataFacts
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.runtime.sources import is_dask
from daskml_kit.solvers import LBFGS, Evaluation, Newton, Solver, solve
from daskml_kit.solvers.protocol import State
from daskml_kit.typing import ArrayLike, FloatArray

SMALLEST_SCALE = 10 * float(np.finfo(np.float64).eps)
RELATIVE_SCALE = 1e-9
"""Smallest scale, in deviations of y: below it residuals are rounding, and no scale would fit them."""

NEWTON_SIZE = 200
"""Coefficients up to which Newton's method takes sparse data too: where many rows are outliers little
curvature is left, and L-BFGS needs hundreds of rounds."""


class _How(NamedTuple):
    epsilon: float
    floor: float
    fit_intercept: bool
    order: int


def _chunk(how: _How, block: Block, point: FloatArray) -> JointSums:
    assert block.y is not None
    return joint_scale_sums(
        block.X, block.y, block.weight, point[:-1], how.floor + float(np.exp(point[-1])), how.epsilon,
        fit_intercept=how.fit_intercept, order=how.order,
    )  # fmt: skip


def _combine(a: JointSums, b: JointSums) -> JointSums:
    hessian = None if a.hessian is None or b.hessian is None else a.hessian + b.hessian
    return JointSums(a.value + b.value, a.gradient + b.gradient, hessian)


@dataclass(frozen=True, eq=False)
class HuberObjective:
    """The averaged objective of ``(w, b, t)`` with the scale ``floor + exp(t)``; an evaluation is a round.

    So no step can leave the scales above the floor, and a scale that vanishes, as on data without noise,
    ends with a gradient of 0.
    """

    data: BlockDataset
    executor: Executor
    epsilon: float
    floor: float
    fit_intercept: bool
    ridge: FloatArray  # strength of each coefficient, 0 for the intercept
    weight_sum: float

    def advance(self, solver: Solver[State], state: State, n_rounds: int) -> list[State]:
        """Ask, evaluate and tell ``n_rounds`` times."""
        how = _How(self.epsilon, self.floor, self.fit_intercept, solver.order)
        name = f"huber-{'hessian' if solver.order == 2 else 'gradient'}"
        reduction: Reduction[FloatArray, JointSums, JointSums] = Reduction(
            name, partial(_chunk, how), _combine
        )
        states: list[State] = []
        for _ in range(n_rounds):
            told: list[Evaluation] = []
            point = solver.point(state)

            def objective(sums: JointSums, at: FloatArray = point, to: list[Any] = told) -> float:
                to.append(self.finish(at, sums))
                return float(to[0].value)

            self.executor.reduce(self.data, reduction, point, objective=objective)
            state = solver.update(state, told[0])
            states.append(state)
        return states

    def finish(self, point: FloatArray, sums: JointSums) -> Evaluation:
        """Divide by the total weight, add the penalty, pass from the scale to t."""
        w, free = point[:-1], float(np.exp(point[-1]))
        value = sums.value / self.weight_sum + float(self.ridge @ (w * w))
        gradient = sums.gradient / self.weight_sum
        gradient[:-1] += 2.0 * self.ridge * w
        slope = gradient[-1] * free
        gradient[-1] = slope
        if sums.hessian is None:
            return Evaluation(value, gradient)
        hessian = sums.hessian / self.weight_sum
        hessian[:-1, :-1] += np.diag(2.0 * self.ridge)
        hessian[-1] *= free
        hessian[:, -1] *= free
        hessian[-1, -1] += slope
        return Evaluation(value, gradient, hessian)


class Start(NamedTuple):
    """Where to begin, and the smallest scale that the data can have."""

    coefs: FloatArray  # with the intercept
    scale: float
    floor: float


def least_squares_start(total: Moments, ridge: float, fit_intercept: bool) -> Start:
    """Coefficients, intercept and scale of ridge regression, from moments."""
    about = total if fit_intercept else about_origin(total)
    w = NormalEquations(about.xx, np.array([ridge])).solve(about.xy)[:, 0]
    squares = about.yy[0] - 2.0 * w @ about.xy[:, 0] + w @ about.xx @ w
    intercept = [about.mean_y[0] - about.mean_x @ w] if fit_intercept else []
    return _begun(np.r_[w, intercept], squares / total.weight_sum, about.yy[0] / total.weight_sum)


def _begun(coefs: FloatArray, variance: float, spread: float) -> Start:
    floor = max(RELATIVE_SCALE * float(np.sqrt(spread)), SMALLEST_SCALE)
    return Start(coefs, float(np.sqrt(max(variance, 0.0))), floor)


class HuberRegressor(LinearRegressor):
    """Linear regression that is robust to outliers, with an L2 penalty.

    Minimises ``sum_i s_i (c + c H((y_i - x_i.w - b) / c)) + alpha |w|^2`` over w, b and the scale c, with
    ``H(u) = u^2`` for ``|u| <= epsilon`` and ``2 epsilon |u| - epsilon^2`` elsewhere.

    Parameters
    ----------
    epsilon : float, default=1.35
        From how many scales on a row is an outlier; at least 1.
    max_iter : int, default=100
        Most accepted steps.
    alpha : float, default=0.0001
        Strength of the L2 penalty; the intercept is not penalised.
    warm_start : bool, default=False
    fit_intercept : bool, default=True
    tol : float, default=1e-5
        Converged when no component of the gradient exceeds it: of the objective divided by
        ``sum_i s_i`` (scikit-learn's is of the sum), in w, b and log c.
    verbose : int, default=0
    balance : {"adaptive", "even", "data"} or None (as configured); see :func:`~daskml_kit.config_context`

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,), of the dtype of X
    intercept_ : float
    scale_ : float
    outliers_ : ndarray of bool, shape (n,)
        Only after a fit to data in memory; :meth:`outliers` answers for lazy data.
    n_iter_ : int
    n_rounds_, n_passes_, history_ : see :class:`~daskml_kit.base.BlockEstimator`

    Notes
    -----
    One pass to load, one for the least-squares start, and one an iteration: exact Newton steps for few
    coefficients, L-BFGS from the mean of y for many.

    References
    ----------
    Owen (2007). A robust hybrid of lasso and ridge regression. Contemp. Math. 443, section 3.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.arange(10.0).reshape(-1, 1)
    >>> y = 2.0 * X[:, 0] + np.r_[0.1, -0.1, 0.1, -0.1, 0.1, -0.1, 0.1, -0.1, 0.1, 500.0]
    >>> model = HuberRegressor().fit(X, y)
    >>> model.coef_.round(2), bool(model.outliers_[9])
    (array([2.01]), True)
    """

    def __init__(
        self,
        *,
        epsilon: float = 1.35,
        max_iter: int = 100,
        alpha: float = 0.0001,
        warm_start: bool = False,
        fit_intercept: bool = True,
        tol: float = 1e-5,
        verbose: int = 0,
        balance: str | None = None,
    ) -> None:
        self.epsilon = epsilon
        self.max_iter = max_iter
        self.alpha = alpha
        self.warm_start = warm_start
        self.fit_intercept = fit_intercept
        self.tol = tol
        self.verbose = verbose
        self.balance = balance

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
        """
        self._check_parameters()
        with self._opened(X, y, sample_weight, target="values") as (data, executor):
            facts = data.facts
            width = facts.n_features + int(self.fit_intercept)
            newton = width <= NEWTON_SIZE or newton_is_cheaper(facts, 1, width + 1)
            start = self._start(data, executor, newton)
            ridge = np.full(width, self.alpha / facts.weight_sum)
            ridge[facts.n_features :] = 0.0
            objective = HuberObjective(
                data,
                executor,
                self.epsilon,
                start.floor,
                self.fit_intercept,
                ridge,
                facts.weight_sum,
            )
            solver: Any = Newton() if newton else LBFGS()
            first = np.r_[start.coefs, np.log(max(start.scale - start.floor, start.floor))]
            solution = solve(objective, solver, first, max_iter=self.max_iter, tol=self.tol)
        w = solution.w
        self._keep(facts, w[None, : facts.n_features], w[facts.n_features : width])
        self.scale_ = start.floor + float(np.exp(w[-1]))
        self.n_iter_ = solution.n_iter
        self.__dict__.pop("outliers_", None)  # of the last fit
        if not is_dask(X):
            self.outliers_ = np.asarray(self.outliers(X, np.ravel(np.asarray(y, dtype=np.float64))))
        return self

    def outliers(self, X: ArrayLike, y: ArrayLike) -> Any:
        """Whether each row is further than ``epsilon * scale_`` from its prediction, in kind.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes
        y : (n,)

        Returns
        -------
        (n,) of bool, lazy where X is
        """
        return abs(self.predict(X) - y) > self.epsilon * self.scale_

    def _check_parameters(self) -> None:
        check_number("epsilon", self.epsilon, least=1)
        check_number("max_iter", self.max_iter, least=0, whole=True)
        check_number("alpha", self.alpha, least=0)
        check_number("tol", self.tol, least=0)
        check_flag("fit_intercept", self.fit_intercept)
        check_flag("warm_start", self.warm_start)

    def _start(self, data: BlockDataset, executor: Executor, newton: bool) -> Start:
        """The last fit, least squares, or for many coefficients the mean of y."""
        facts = data.facts
        if self.warm_start and hasattr(self, "coef_"):
            return self._last(facts)
        if newton:
            total = executor.reduce(data, MOMENTS, None)
            return least_squares_start(total, self.alpha, self.fit_intercept)
        about = executor.reduce(data, target_reduction(HalfSquared()), None)
        centre = [about.mean] if self.fit_intercept else []
        about_zero = about.spread + (0.0 if centre else about.weight_sum * about.mean**2)
        variance = about_zero / about.weight_sum
        return _begun(np.r_[np.zeros(facts.n_features), centre], variance, variance)

    def _last(self, facts: DataFacts) -> Start:
        check_warm_start(self.coef_.shape, (facts.n_features,))
        intercept = [self.intercept_] if self.fit_intercept else []
        coefs = np.r_[self.coef_, intercept].astype(np.float64)
        return Start(coefs, self.scale_, SMALLEST_SCALE)


__all__ = ["HuberRegressor"]
