"""Huber regression: robust coefficients and their scale, estimated together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial, reduce
from typing import Any, NamedTuple, Self

import numpy as np

from daskml_kit.base import check_flag, check_number
from daskml_kit.exceptions import InvalidParameterError
from daskml_kit.kernels import Moments
from daskml_kit.kernels.joint_scale import JointSums, joint_scale_sums
from daskml_kit.linear_model.centring import as_read, moments_of_few
from daskml_kit.linear_model.choice import (
    EVERY_SMOOTH_LOSS,
    FAMILIAR,
    LOCAL,
    newton_is_cheaper,
    solver_named,
)
from daskml_kit.linear_model.least_squares import MOMENTS, about_origin
from daskml_kit.linear_model.normal_equations import NormalEquations
from daskml_kit.linear_model.regressor import LinearRegressor, check_warm_start
from daskml_kit.linear_model.targets import target_reduction
from daskml_kit.losses import HalfSquared
from daskml_kit.runtime.block import Block
from daskml_kit.runtime.dataset import BlockDataset
from daskml_kit.runtime.executor import Executor
from daskml_kit.runtime.ingest import DataFacts
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.runtime.sources import is_dask
from daskml_kit.solvers import Evaluation, Solver, solve
from daskml_kit.solvers.protocol import State
from daskml_kit.typing import Array, ArrayLike, FloatArray

SMALLEST_SCALE = 10 * float(np.finfo(np.float64).eps)
RELATIVE_SCALE = 1e-9
"""Smallest scale, in deviations of y: below it residuals are rounding, and no scale would fit them."""

ROUNDINGS = 64.0
"""The same in roundings of y, which count where y is far from zero."""

NO_GAIN = 1e-6
"""Share of the smallest scale: a step that gains less, where the scale has come down to it, is rounding."""

FAR = 100.0
"""Deviations from zero to a column's mean from which on it is centred as it is read. Nearer, Hessians keep
twelve digits and rows are read as they are."""

NEWTON_SIZE = 200
"""Coefficients up to which Newton's method takes sparse data too: where many rows are outliers little
curvature is left, and L-BFGS needs hundreds of rounds."""


class _How(NamedTuple):
    epsilon: float
    floor: float
    fit_intercept: bool
    order: int
    centre: FloatArray | None  # (n_features,), what is taken off the columns; None for nothing


def _chunk(how: _How, block: Block, point: FloatArray) -> JointSums:
    assert block.y is not None
    if how.centre is None:
        return _sums(how, point, block.X, block.y, block.weight)
    parts = []
    for rows, X in as_read(block, how.centre):
        weight = None if block.weight is None else block.weight[rows]
        parts.append(_sums(how, point, X, block.y[rows], weight))
    return reduce(_combine, parts)


def _sums(how: _How, point: FloatArray, X: Any, y: Array, weight: Array | None) -> JointSums:
    return joint_scale_sums(
        X, y, weight, point[:-1], how.floor + float(np.exp(point[-1])), how.epsilon,
        fit_intercept=how.fit_intercept, order=how.order,
    )  # fmt: skip


def _combine(a: JointSums, b: JointSums) -> JointSums:
    hessian = None if a.hessian is None or b.hessian is None else a.hessian + b.hessian
    return JointSums(a.value + b.value, a.gradient + b.gradient, hessian)


@dataclass(frozen=True, eq=False)
class HuberObjective:
    """The averaged objective of ``(w, b, t)`` with the scale ``floor + exp(t)``; an evaluation is a round.

    So no step can leave the scales above the floor. A scale that comes down to it, as on data without noise,
    ends the solve where steps gain no more than rounding.
    """

    data: BlockDataset
    executor: Executor
    epsilon: float
    floor: float
    fit_intercept: bool
    ridge: FloatArray  # strength of each coefficient, 0 for the intercept
    weight_sum: float
    centre: FloatArray | None = None

    def advance(self, solver: Solver[State], state: State, n_rounds: int) -> list[State]:
        """Ask, evaluate and tell ``n_rounds`` times."""
        how = _How(self.epsilon, self.floor, self.fit_intercept, solver.order, self.centre)
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
            state = self._ended(state, solver.update(state, told[0]))
            states.append(state)
        return states

    def _ended(self, before: Any, after: Any) -> Any:
        """The state after a round, in trouble where the scale is at the floor and nothing is gained."""
        stepped = after.n_iter > before.n_iter
        least = stepped and float(np.exp(after.w[-1])) <= self.floor
        if not least or before.value - after.value > NO_GAIN * self.floor:
            return after
        return replace(
            after,
            trouble=f"The scale has come down to its lower bound of {self.floor:.3g}: the rows that are no "
            "outliers are fitted to rounding.",
        )

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
    """Where to begin, and how to read the data."""

    coefs: FloatArray  # with the intercept
    scale: float
    floor: float  # smallest scale that the data can have
    centre: FloatArray | None = None

    def point(self) -> FloatArray:
        """Coefficients and intercept of the columns as they are read, and t."""
        coefs = moved(self.coefs, self.centre, 1.0)
        return np.append(coefs, np.log(max(self.scale - self.floor, self.floor)))


def moved(coefs: FloatArray, centre: FloatArray | None, sign: float) -> FloatArray:
    """Coefficients and intercept of the columns as they are, of the centred ones; for -1 the other way."""
    if centre is None:
        return coefs
    return np.append(coefs[:-1], coefs[-1] + sign * (coefs[:-1] @ centre))


def least_squares_start(total: Moments, ridge: float, fit_intercept: bool) -> Start:
    """Coefficients, intercept and scale of ridge regression, from moments."""
    about = total if fit_intercept else about_origin(total)
    w = NormalEquations(about.xx, np.array([ridge])).solve(about.xy)[:, 0]
    squares = about.yy[0] - 2.0 * w @ about.xy[:, 0] + w @ about.xx @ w
    intercept = [about.mean_y[0] - about.mean_x @ w] if fit_intercept else []
    weight = total.weight_sum
    return Start(
        np.r_[w, intercept],
        float(np.sqrt(max(squares, 0.0) / weight)),
        smallest_scale(total.yy[0] / weight, total.mean_y[0], fit_intercept),
        far_centre(total.mean_x, np.diag(total.xx) / weight) if fit_intercept else None,
    )


def smallest_scale(variance: float, mean: float, fit_intercept: bool) -> float:
    """Of targets of this variance and mean."""
    size = float(np.sqrt(variance + mean**2))
    deviation = float(np.sqrt(variance)) if fit_intercept else size
    rounding = ROUNDINGS * float(np.finfo(np.float64).eps) * size
    return max(RELATIVE_SCALE * deviation, rounding, SMALLEST_SCALE)


def far_centre(mean: FloatArray, variance: FloatArray) -> FloatArray | None:
    """What is taken off columns as they are read: the means of the far ones; None where none is far.

    Examples
    --------
    >>> far_centre(np.array([3.0, 1e8]), np.ones(2))
    array([0.e+00, 1.e+08])
    """
    far = mean**2 > FAR**2 * variance
    return np.where(far, mean, 0.0) if far.any() else None


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
        ``sum_i s_i`` (scikit-learn's is of the sum), in w, b and log c; w, where means of columns are
        100 deviations from zero, of those columns centred.
    solver : {"auto", "newton", "newton-cholesky", "lbfgs", "gd"}, default="auto"
        "auto" takes Newton for few coefficients, L-BFGS for many; "newton-cholesky" is "newton". Others ask
        for what coefficients and a scale estimated together have not: products of a Hessian with a vector,
        local models, a dual.
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
    coefficients, L-BFGS from the mean of y for many. Far columns of dense data are centred as they are read,
    a tile at a time; where there are no moments to say which are far, one more round asks a few rows.

    The scale is never smaller than rounding: 1e-9 deviations of y, or 64 roundings of it. Where it comes down
    to that, as on data without noise, and steps gain nothing, the fit ends.

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
        solver: str = "auto",
        verbose: int = 0,
        balance: str | None = None,
    ) -> None:
        self.epsilon = epsilon
        self.max_iter = max_iter
        self.alpha = alpha
        self.warm_start = warm_start
        self.fit_intercept = fit_intercept
        self.tol = tol
        self.solver = solver
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
            name = self._solver_name(facts, width)
            newton = name == "newton"
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
                start.centre,
            )
            solver = solver_named(name, None)
            solution = solve(objective, solver, start.point(), max_iter=self.max_iter, tol=self.tol)
        w = moved(solution.w[:-1], start.centre, -1.0)
        self._keep(facts, w[None, : facts.n_features], w[facts.n_features :])
        self.scale_ = start.floor + float(np.exp(solution.w[-1]))
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
        possible = [name for name in EVERY_SMOOTH_LOSS if name not in ("newton-cg", *LOCAL)]
        if self.solver in ("newton-cg", *LOCAL):
            raise InvalidParameterError(
                f"solver={self.solver!r} can't minimise Huber's objective: coefficients and the residuals' "
                "scale are estimated together, for which no products with the Hessian, no local models "
                f"and no dual are computed here. Use one of {possible}."
            )
        if self.solver not in possible:
            raise InvalidParameterError(f"solver must be one of {possible}, got {self.solver!r}.")

    def _solver_name(self, facts: DataFacts, width: int) -> str:
        if self.solver != "auto":
            return FAMILIAR.get(self.solver, self.solver)
        few = width <= NEWTON_SIZE or newton_is_cheaper(facts, 1, width + 1)
        return "newton" if few else "lbfgs"

    def _start(self, data: BlockDataset, executor: Executor, newton: bool) -> Start:
        """The last fit, least squares, or for many coefficients the mean of y."""
        facts = data.facts
        warm = bool(self.warm_start) and hasattr(self, "coef_")
        if newton and not warm:
            total = executor.reduce(data, MOMENTS, None)
            start = least_squares_start(total, self.alpha, self.fit_intercept)
            return start._replace(centre=None) if facts.sparse else start
        about = executor.reduce(data, target_reduction(HalfSquared()), None)
        variance = about.spread / about.weight_sum
        floor = smallest_scale(variance, about.mean, self.fit_intercept)
        centre = None
        if self.fit_intercept and not facts.sparse:
            few = moments_of_few(data, executor)
            centre = far_centre(few.mean, few.square / (few.weight or 1.0))
        if warm:
            check_warm_start(self.coef_.shape, (facts.n_features,))
            intercept = [self.intercept_] if self.fit_intercept else []
            coefs = np.r_[self.coef_, intercept].astype(np.float64)
            return Start(coefs, self.scale_, floor, centre)
        means = [about.mean] if self.fit_intercept else []
        squares = variance + (0.0 if means else about.mean**2)
        coefs = np.r_[np.zeros(facts.n_features), means]
        return Start(coefs, float(np.sqrt(squares)), floor, centre)


__all__ = ["HuberRegressor"]
