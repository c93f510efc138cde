"""Quantile regression: smoothing to come near, then exact linear programs of a few rows.

``sum_i s_i pinball(y_i - x_i.w - b) + W alpha |w|_1`` is a linear program with a variable a row. Most
rows never change sign near the solution, so only their sum matters::

    residuals    ----------- below -----------|... band ...|---------- above ----------
    in the LP    one linear term, their sum     row by row     one linear term, their sum

1. Newton steps on the smoothed loss, its width shrinking, from least squares, until the band is small.
2. A round brings the rows of the band, the linear term of all others, and the exact objective.
3. The driver minimises this model inside a box. The model is nowhere above the objective, because a linear
   term is nowhere above the pinball loss that it stands for. So when the objective at its minimiser, which
   the next round brings, equals the model's, and the minimiser is inside the box, it is the solution.

References
----------
Portnoy, Koenker (1997). The Gaussian hare and the Laplacian tortoise. Stat. Sci. 12, section 5
("preprocessing": rows of known sign are joined). Chen (2007). A finite smoothing algorithm for quantile
regression. J. Comput. Graph. Stat. 16. Kelley (1960). The cutting-plane method for solving convex programs.
J. SIAM 8, for the certificate.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any, NamedTuple, Self

import numpy as np
from scipy import optimize, sparse
from scipy.sparse.linalg import splu

from daskml_kit.base import check_flag, check_number
from daskml_kit.exceptions import ConvergenceWarning, InvalidParameterError
from daskml_kit.linear_model.centring import as_read, moments_of_few
from daskml_kit.linear_model.huber import far_centre, least_squares_start, moved
from daskml_kit.linear_model.least_squares import MOMENTS
from daskml_kit.linear_model.objective import Finish, LinearObjective
from daskml_kit.linear_model.regressor import LinearRegressor, check_strength
from daskml_kit.losses import SmoothedPinball
from daskml_kit.penalties import L2, BoundedL1
from daskml_kit.runtime.block import Block
from daskml_kit.runtime.dataset import BlockDataset
from daskml_kit.runtime.executor import Executor
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.solvers import Newton, ProximalNewton, solve
from daskml_kit.typing import ArrayLike, FloatArray, Matrix

GRAM_FEATURES = 1_000
"""Most features for which the driver is sent their Gram matrix to begin with, where one linear program of all
rows needs no beginning."""

MOST_FEATURES = 5_000
"""Most features of data of more rows than one linear program takes: Newton's Hessians are then 200 MB."""

SHRINK = 0.2  # of the width, from one smoothed problem to the next
MOST_ROUNDS = 40  # of linear programs; two or three are usual
NARROWEST = 1e-9  # of the first band: where narrower ones are as full, the rows in them are equal
EXACT = 1e-10  # relative difference of objective and model: rounding of a sum over the rows


METHODS = {"highs": "highs-ds", "highs-ds": "highs-ds", "highs-ipm": "highs-ipm"}
"""Of linear programs, by scikit-learn's names."""


def _check_method(solver: Any, options: Any) -> None:
    if solver not in METHODS:
        raise InvalidParameterError(
            f"solver must be one of {list(METHODS)}, got {solver!r}. SciPy has no other."
        )
    if options is not None and not isinstance(options, dict):
        raise InvalidParameterError(f"solver_options must be a dict or None, got {options!r}.")


def band_rows(width: int) -> int:
    """Most rows that the driver takes: some times the ``width`` that a vertex needs."""
    return 1_000 + 20 * width


class Band(NamedTuple):
    """Rows near their prediction, and what all others add up to.

    ==========  ======================================================================
    ``value``   sum of the pinball losses of all rows at the centre
    ``n_rows``  rows in the band; the next three are empty if there are too many
    ``A``       (n_rows, width) with a one for the intercept
    ``y, s``    (n_rows,) targets and weights
    ``slope``   (width,) gradient of the other rows' losses
    ``rest``    sum of the other rows' losses at the centre
    ==========  ======================================================================
    """

    value: float
    n_rows: int
    A: Matrix  # CSR of CSR blocks
    y: FloatArray
    s: FloatArray
    slope: FloatArray
    rest: float


@dataclass(frozen=True)
class _How:
    quantile: float
    fit_intercept: bool
    centre: FloatArray | None = None  # taken off the columns


def _band_chunk(how: _How, block: Block, params: tuple[FloatArray, float]) -> Band:
    y = np.asarray(block.y)
    s = np.ones(len(y)) if block.weight is None else block.weight
    if how.centre is None:
        return _band_of(how, block.X, y, s, *params)
    parts = [_band_of(how, X, y[rows], s[rows], *params) for rows, X in as_read(block, how.centre)]
    return reduce(_band_combine, parts)


def _band_of(how: _How, X: Any, y: FloatArray, s: FloatArray, w: FloatArray, half: float) -> Band:
    d, most = X.shape[1], band_rows(len(w))
    residual = y - (np.asarray(X @ w[:d]) + (w[d] if how.fit_intercept else 0.0))
    loss = s * residual * (how.quantile - (residual < 0))
    inside = (np.abs(residual) <= half) & (s > 0)
    pull = np.where(inside, 0.0, -s * (how.quantile - (residual < 0)))
    slope = np.asarray(X.T @ pull)
    slope = np.r_[slope, pull.sum()] if how.fit_intercept else slope
    near = np.flatnonzero(inside)
    rest = float(loss[~inside].sum())
    if len(near) > most:
        return _without_rows(Band(float(loss.sum()), len(near), *_no_rows(len(w)), slope, rest))
    rows: Any = X[near].astype(np.float64)
    if how.fit_intercept:
        both: Any = [rows, np.ones((len(near), 1))]
        is_dense = isinstance(rows, np.ndarray)
        rows = np.hstack(both) if is_dense else sparse.hstack(both, format="csr")
    return Band(float(loss.sum()), len(near), rows, y[near], s[near], slope, rest)


def _no_rows(width: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    return np.empty((0, width)), np.empty(0), np.empty(0)


def _without_rows(band: Band) -> Band:
    A, y, s = _no_rows(len(band.slope))
    return band._replace(A=A, y=y, s=s)


def _band_combine(a: Band, b: Band) -> Band:
    both = a._replace(
        value=a.value + b.value,
        n_rows=a.n_rows + b.n_rows,
        slope=a.slope + b.slope,
        rest=a.rest + b.rest,
    )
    if both.n_rows > band_rows(len(a.slope)):
        return _without_rows(both)
    parts: Any = [a.A, b.A]
    is_dense = all(isinstance(part, np.ndarray) for part in parts)
    return both._replace(
        A=np.concatenate(parts) if is_dense else sparse.vstack(parts, format="csr"),
        y=np.concatenate([a.y, b.y]),
        s=np.concatenate([a.s, b.s]),
    )


@dataclass(frozen=True, eq=False)
class BandProblem:
    """The model of one round, and its minimiser inside a box around the centre."""

    band: Band
    centre: FloatArray
    quantile: float
    strengths: FloatArray  # of |w|, 0 for the intercept
    method: str = "highs-ds"
    options: dict[str, Any] | None = None

    def solve(self, radius: FloatArray) -> tuple[FloatArray, float, bool]:
        """Minimiser, the model's value there, and whether it is inside the box."""
        band, m = self.band, self.band.n_rows
        # A penalised coefficient is a difference of two numbers of at least 0, in the box as it is.
        split = np.flatnonzero(self.strengths)
        low, high = self.centre - radius, self.centre + radius
        A, eye = sparse.csc_array(band.A), sparse.eye_array(m, format="csc")
        A_eq: Any = sparse.hstack([A, -A[:, split], eye, -eye], format="csc")
        cost = np.r_[
            band.slope + self.strengths,
            (self.strengths - band.slope)[split],
            self.quantile * band.s,
            (1.0 - self.quantile) * band.s,
        ]
        above = np.column_stack([low, high])
        above[split] = np.maximum(above[split], 0.0)
        below = np.maximum(np.column_stack([-high[split], -low[split]]), 0.0)
        bounds: Any = np.vstack([above, below, np.tile([0.0, np.inf], (2 * m, 1))])
        how: Any = {"method": self.method, "options": self.options}
        found = optimize.linprog(cost, None, None, A_eq, band.y, bounds, **how)
        if found.x is None:
            return self.centre, np.inf, False
        w = found.x[: len(self.centre)].copy()
        w[split] -= found.x[len(w) : len(w) + len(split)]
        w = self._at_the_vertex(w)
        inside = bool(np.all(np.abs(w - self.centre) < 0.999 * radius))
        return w, self.value(w), inside

    def value(self, w: FloatArray) -> float:
        """The model at w."""
        band = self.band
        r = band.y - band.A @ w
        near = float(np.sum(band.s * r * (self.quantile - (r < 0))))
        far = band.rest + float(band.slope @ (w - self.centre))
        return near + far + float(self.strengths @ np.abs(w))

    def _at_the_vertex(self, w: FloatArray) -> FloatArray:
        """The program's solution to rounding: its tolerance is 1e-7, the rows that it fits are exact."""
        band = self.band
        kept = (np.abs(w) > 1e-7 * max(1.0, float(np.abs(w).max()))) | (self.strengths == 0)
        fitted = np.argsort(np.abs(band.y - band.A @ w), kind="stable")[: kept.sum()]
        if len(fitted) < kept.sum() or not kept.any():
            return w
        exact = np.zeros_like(w)
        if isinstance(band.A, np.ndarray):
            exact[kept] = np.linalg.lstsq(band.A[np.ix_(fitted, kept)], band.y[fitted])[0]
        else:
            basis: Any = sparse.csc_array(band.A[fitted][:, np.flatnonzero(kept)])
            try:
                exact[kept] = splu(basis).solve(band.y[fitted])
            except RuntimeError:  # singular: as said below
                return w
        # Not so where several rows that are fitted are equal, and do not determine a vertex.
        return exact if self.value(exact) <= self.value(w) * (1.0 + 1e-12) else w


class QuantileRegressor(LinearRegressor):
    """Linear regression of a quantile, with an L1 penalty: the exact solution of the linear program.

    Minimises ``1/W sum_i s_i pinball(y_i - x_i.w - b) + alpha |w|_1`` with ``W = sum_i s_i`` and
    ``pinball(r) = quantile r`` for r > 0, ``(quantile - 1) r`` below.

    Parameters
    ----------
    quantile : float, default=0.5
        Strictly between 0 and 1.
    alpha : float, default=1.0
        Strength of the L1 penalty; the intercept is not penalised.
    fit_intercept : bool, default=True
    solver : {"highs", "highs-ds", "highs-ipm"}, default="highs"
        How the linear programs of a few rows are solved; "highs" is the dual simplex, "highs-ds". They have
        the same solution, where there is one.
    solver_options : dict or None
        ``options`` of :func:`scipy.optimize.linprog` for them.
    verbose : int, default=0
    balance : {"adaptive", "even", "data"} or None (as configured); see :func:`~daskml_kit.config_context`

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,), of the dtype of X
    intercept_ : float
    n_iter_ : int
        Newton steps and linear programs together.
    n_rounds_, n_passes_, history_ : see :class:`~daskml_kit.base.BlockEstimator`

    Notes
    -----
    One pass to load, one for the least-squares start, one a Newton step (some twenty), and two or three with
    linear programs. The driver takes at most ``1,000 + 20 (n_features + 1)`` rows at a time; data of no more
    rows need no Newton step, and may have any number of features; data of more rows at most 5,000. Sparse
    rows stay CSR. Where so many rows are equal, or columns collinear, that no vertex can be told from the
    others, the best coefficients that were found are returned, with a warning.

    References
    ----------
    Koenker, Bassett (1978). Regression quantiles. Econometrica 46. Portnoy, Koenker (1997). The Gaussian hare
    and the Laplacian tortoise. Stat. Sci. 12, section 5. Chen (2007). A finite smoothing algorithm for
    quantile regression. J. Comput. Graph. Stat. 16.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.arange(7.0).reshape(-1, 1)
    >>> QuantileRegressor(quantile=0.5, alpha=0.0).fit(
    ...     X, 3 * X[:, 0] + [0, 0, 0, 90, 0, 0, 0]
    ... ).coef_
    array([3.])
    """

    def __init__(
        self,
        *,
        quantile: float = 0.5,
        alpha: float = 1.0,
        fit_intercept: bool = True,
        solver: str = "highs",
        solver_options: dict[str, Any] | None = None,
        verbose: int = 0,
        balance: str | None = None,
    ) -> None:
        self.quantile = quantile
        self.alpha = alpha
        self.fit_intercept = fit_intercept
        self.solver = solver
        self.solver_options = solver_options
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
        check_number("quantile", self.quantile, least=0, above=True)
        if self.quantile >= 1:
            raise InvalidParameterError(f"quantile must be below 1, got {self.quantile!r}.")
        check_strength("alpha", self.alpha)
        check_flag("fit_intercept", self.fit_intercept)
        _check_method(self.solver, self.solver_options)
        with self._opened(X, y, sample_weight, target="values") as (data, executor):
            facts = data.facts
            width = facts.n_features + int(self.fit_intercept)
            if facts.n_features > MOST_FEATURES and facts.n_rows > band_rows(width):
                raise InvalidParameterError(
                    f"QuantileRegressor takes at most {MOST_FEATURES:,} features of data of more than "
                    f"{band_rows(width):,} rows, which no single linear program takes; got "
                    f"{facts.n_rows:,} x {facts.n_features:,}. Select features first."
                )
            w = self._solved(data, executor)
        self._keep(facts, w[None, : facts.n_features], w[facts.n_features :])
        return self

    def _solved(self, data: BlockDataset, executor: Executor) -> FloatArray:
        facts = data.facts
        self.n_iter_ = 0
        size = facts.n_features + int(self.fit_intercept)
        strengths = np.full(size, self.alpha * facts.weight_sum)
        strengths[facts.n_features :] = 0.0
        if facts.n_features > GRAM_FEATURES and facts.n_rows <= band_rows(size):
            return self._at_once(data, executor, strengths)
        total = executor.reduce(data, MOMENTS, None)
        start = least_squares_start(total, 0.0, self.fit_intercept)
        centre = None if facts.sparse else start.centre
        # What moves a prediction by about one: the units of the coefficients.
        off = total.mean_x if centre is None else total.mean_x - centre
        spread = np.sqrt(np.diag(total.xx) / facts.weight_sum + off**2)
        units = 1.0 / np.r_[np.where(spread > 0, spread, 1.0), [1.0] * self.fit_intercept]
        w, half = moved(start.coefs, centre, 1.0), np.inf
        if facts.n_rows > band_rows(len(w)):
            width = max(start.scale, start.floor)
            w, half = self._smoothed(data, executor, w, width, strengths, centre)
        return moved(self._exact(data, executor, w, half, strengths, units, centre), centre, -1.0)

    def _at_once(self, data: BlockDataset, executor: Executor, strengths: FloatArray) -> FloatArray:
        """One linear program of all rows, which needs neither a start nor a box."""
        centre = None
        if self.fit_intercept and not data.facts.sparse:
            few = moments_of_few(data, executor)
            centre = far_centre(few.mean, few.square / (few.weight or 1.0))
        zeros, units = np.zeros_like(strengths), np.ones_like(strengths)
        w = self._exact(data, executor, zeros, np.inf, strengths, units, centre)
        return moved(w, centre, -1.0)

    def _smoothed(
        self,
        data: BlockDataset,
        executor: Executor,
        w: FloatArray,
        width: float,
        strengths: FloatArray,
        centre: FloatArray | None,
    ) -> tuple[FloatArray, float]:
        """Near the solution, and the half width of a band of few rows."""
        facts = data.facts
        l1 = strengths / facts.weight_sum
        solver: Any = Newton()
        if self.alpha > 0:
            solver = ProximalNewton(
                BoundedL1(l1, np.full_like(w, -np.inf), np.full_like(w, np.inf))
            )
        finish = Finish(facts.weight_sum, L2(np.zeros_like(w)))
        # Half as many as the driver takes, so that the last band is seldom too wide.
        aim = 0.5 * band_rows(len(w)) / facts.n_rows
        smallest = min(1.0, aim) * width
        while True:
            width = max(SHRINK * width, smallest)
            loss = SmoothedPinball(float(self.quantile), width)
            objective = LinearObjective(
                data, executor, loss, self.fit_intercept, finish, centre=centre
            )
            with warnings.catch_warnings():
                warnings.simplefilter(
                    "ignore", ConvergenceWarning
                )  # the next width goes on from here
                solution = solve(objective, solver, w, max_iter=15, tol=0.02 * aim)
            w, self.n_iter_ = solution.w, self.n_iter_ + solution.n_iter
            if width <= smallest:
                return w, width

    def _exact(
        self,
        data: BlockDataset,
        executor: Executor,
        w: FloatArray,
        half: float,
        strengths: FloatArray,
        units: FloatArray,
        centre: FloatArray | None,
    ) -> FloatArray:
        how = _How(float(self.quantile), self.fit_intercept, centre)
        near: Reduction[Any, Band, Band] = Reduction(
            "band", partial(_band_chunk, how), _band_combine
        )
        best, best_value, promised, inside, reach = w, np.inf, -np.inf, False, 10.0
        first = half
        for _ in range(MOST_ROUNDS):
            band = executor.reduce(data, near, (w, half))
            value = band.value + float(strengths @ np.abs(w))
            if np.isfinite(promised) and value <= promised + EXACT * abs(value) and inside:
                return w
            if value < best_value:
                best, best_value = w, value
            else:  # the model was too far from the objective out there
                w, reach = best, 0.25 * reach
                if half == np.inf or reach < 1e-12:
                    break
                band = executor.reduce(data, near, (w, half))
            if band.n_rows > len(band.y):
                half, promised, best_value = 0.25 * half, -np.inf, np.inf
                if half < NARROWEST * first:
                    break
                continue
            problem = BandProblem(
                band, w, how.quantile, strengths, METHODS[self.solver], self.solver_options
            )
            # A band of all rows is the whole problem; no box is needed then.
            radius = np.full_like(w, np.inf) if half == np.inf else reach * half * units
            w, promised, inside = problem.solve(radius)
            self.n_iter_ += 1
        warnings.warn(
            "The exact quantile was not certified: too many rows are equally near their prediction, as with "
            "targets of few distinct values, or columns are collinear. The coefficients are the best that "
            "were found.",
            ConvergenceWarning,
            stacklevel=3,
        )
        return best


__all__ = ["QuantileRegressor"]
