"""Paths of lasso and elastic net: solutions of a descending row of penalties, each from the last one.

References
----------
Friedman, Hastie, Tibshirani (2010). Regularization paths for generalized linear models via
coordinate descent. J. Stat. Softw. 33, section 2.5.
"""

from __future__ import annotations

import warnings
from functools import partial
from numbers import Integral
from typing import Any

import numpy as np

from daskml_kit.base import check_flag, check_number
from daskml_kit.exceptions import ConvergenceWarning, InvalidParameterError
from daskml_kit.kernels import Moments
from daskml_kit.linear_model import least_squares
from daskml_kit.linear_model.by_columns import goes_by_columns, width_of
from daskml_kit.linear_model.coordinate_descent import Descent, Path
from daskml_kit.linear_model.least_squares import MOMENTS, about_origin
from daskml_kit.linear_model.regressor import LinearRegressor
from daskml_kit.linear_model.unused import check_unused
from daskml_kit.linear_model.wide_paths import WidePath, path_by_columns, path_by_rows
from daskml_kit.runtime.columns import open_columns
from daskml_kit.runtime.ingest import DataFacts
from daskml_kit.runtime.random import seed_from
from daskml_kit.typing import ArrayLike, FloatArray

SMALLEST_ALPHA = float(np.finfo(np.float64).resolution)


def descent_of(estimator: Any) -> Descent:
    """The parameters of the descent, checked.

    Raises
    ------
    InvalidParameterError
    """
    check_flag("fit_intercept", estimator.fit_intercept)
    check_flag("positive", estimator.positive)
    check_number("max_iter", estimator.max_iter, least=1, whole=True)
    check_number("tol", estimator.tol, least=0)
    if estimator.selection not in ("cyclic", "random"):
        raise InvalidParameterError(
            f"selection must be 'cyclic' or 'random', got {estimator.selection!r}."
        )
    check_unused(estimator)
    seed = seed_from(estimator.random_state) if estimator.selection == "random" else None
    return Descent(estimator.tol, estimator.max_iter, estimator.positive, seed)


def check_ratio(value: Any) -> None:
    """Refuse a mixing parameter outside of [0, 1].

    Raises
    ------
    InvalidParameterError
    """
    check_number("l1_ratio", value, least=0)
    if value > 1:
        raise InvalidParameterError(f"l1_ratio must be between 0 and 1, got {value!r}.")


def solve_path(
    total: Moments,
    alphas: FloatArray,
    l1_ratio: float,
    descent: Descent,
    *,
    target: int = 0,
    start: FloatArray | None = None,
) -> Path:
    """Solutions of ``1/(2W) |y - Xw|^2 + alpha (l1_ratio |w|_1 + (1 - l1_ratio)/2 |w|^2)`` for each alpha."""
    strengths = np.asarray(alphas, dtype=np.float64) * total.weight_sum
    return descent.path(
        total.xx, total.xy[:, target], float(total.yy[target]), strengths * l1_ratio,
        strengths * (1.0 - l1_ratio), start,
    )  # fmt: skip


def warn_not_converged(path: Path, yy: float, descent: Descent) -> None:
    """One warning for all strengths that took ``max_iter`` sweeps."""
    bad = np.flatnonzero(~path.converged)
    if len(bad):
        warnings.warn(
            f"Objective did not converge for {len(bad)} of {len(path.gaps)} penalties in max_iter="
            f"{descent.max_iter} sweeps. Largest duality gap: {path.gaps[bad].max():.3e}, tolerance: "
            f"{descent.tol * yy:.3e}. Increase max_iter, scale the features, or use a larger alpha.",
            ConvergenceWarning,
            stacklevel=3,
        )


def given_alphas(alphas: Any, ratios: list[float]) -> FloatArray | None:
    """Penalties that were given, largest first; None for a number of them, to be found from the data.

    Raises
    ------
    InvalidParameterError
    """
    if isinstance(alphas, Integral):
        check_number("alphas", alphas, least=1, whole=True)
        if 0 in ratios:
            raise InvalidParameterError(
                "Automatic alpha grid generation is not supported for l1_ratio=0: no penalty sets every "
                "coefficient to zero. Pass alphas=[...]."
            )
        return None
    values = np.atleast_1d(np.asarray(alphas))
    if values.dtype.kind not in "fiu" or values.ndim != 1 or not np.all(values >= 0):
        raise InvalidParameterError(
            f"alphas must be an integer or numbers of at least 0, got {alphas!r}."
        )
    return np.sort(values.astype(np.float64))[::-1]


def alpha_grid(largest: float, eps: float, number: int) -> FloatArray:
    """So many penalties from ``largest``, which leaves no coefficient, down to ``eps`` of it."""
    if largest <= SMALLEST_ALPHA:
        return np.full(number, SMALLEST_ALPHA)
    return np.geomspace(largest, largest * eps, num=number)


class _Opener(LinearRegressor):
    """Opens the data of a path, which belongs to no estimator."""

    def __init__(
        self,
        *,
        max_iter: int,
        tol: float,
        positive: bool,
        random_state: Any,
        selection: str,
        precompute: Any,
        copy_X: bool,
        verbose: int,
    ) -> None:
        self.fit_intercept, self.solver = False, "auto"
        self.max_iter, self.tol, self.positive = max_iter, tol, positive
        self.random_state, self.selection = random_state, selection
        self.precompute, self.copy_X, self.verbose = precompute, copy_X, verbose


def enet_path(
    X: ArrayLike,
    y: ArrayLike,
    *,
    l1_ratio: float = 0.5,
    eps: float = 1e-3,
    alphas: Any = 100,
    precompute: Any = "auto",
    Xy: ArrayLike = None,  # noqa: ARG001
    copy_X: bool = True,
    coef_init: ArrayLike = None,
    verbose: int = 0,
    return_n_iter: bool = False,
    positive: bool = False,
    check_input: bool = True,  # noqa: ARG001
    tol: float = 1e-4,
    max_iter: int = 1000,
    random_state: Any = None,
    selection: str = "cyclic",
) -> tuple[Any, ...]:
    """Coefficients of the elastic net along a path of penalties.

    Minimises ``1/(2n) sum_i (y_i - x_i.w)^2 + alpha l1_ratio |w|_1 + alpha (1 - l1_ratio)/2 |w|^2`` for each
    alpha. As in scikit-learn there is no intercept: centre the data first, or use :class:`ElasticNet`.

    Parameters
    ----------
    X : (n, n_features) NumPy, pandas, scipy.sparse, dask.array, dask.dataframe or xarray.DataArray
    y : (n,)
    l1_ratio : float, default=0.5
    eps : float, default=1e-3
        Smallest over largest penalty of the path.
    alphas : int or array of floats, default=100
        Number of penalties, or the penalties.
    precompute, Xy, copy_X, check_input
        As in scikit-learn, for its sake only: the moments come from one pass, and X is always checked and
        never written.
    coef_init : (n_features,) or None
        Where the path starts; None means zeros.
    verbose : int, default=0
    return_n_iter : bool, default=False
    positive : bool, default=False
    tol : float, default=1e-4
        Converged when the duality gap is at most ``tol * |y|^2``.
    max_iter : int, default=1000
    random_state : int, RandomState or None
    selection : {"cyclic", "random"}, default="cyclic"

    Returns
    -------
    alphas : ndarray of shape (n_alphas,), largest first
    coefs : ndarray of shape (n_features, n_alphas), of the dtype of X
    dual_gaps : ndarray of shape (n_alphas,)
    n_iters : list of int, only with ``return_n_iter=True``

    Raises
    ------
    InvalidParameterError

    Notes
    -----
    One pass to load, one for the moments; the driver holds n_features^2 values. Above 5,000 features, as for
    :class:`ElasticNet`: wide data in memory or cut by columns take a few rounds a penalty by columns, other
    data a pass a step by rows; ``n_iters`` counts these.

    Examples
    --------
    >>> import numpy as np
    >>> alphas, coefs, gaps = enet_path([[1.0], [2.0]], [1.0, 2.0], l1_ratio=1.0, alphas=[0.5, 1.0])
    >>> alphas, coefs
    (array([1. , 0.5]), array([[0.6, 0.8]]))
    """
    model = _Opener(
        max_iter=max_iter, tol=tol, positive=positive, random_state=random_state, selection=selection,
        precompute=precompute, copy_X=copy_X, verbose=verbose,
    )  # fmt: skip
    descent = descent_of(model)
    check_ratio(l1_ratio)
    check_number("eps", eps, least=0, above=True)
    given = given_alphas(alphas, [l1_ratio])
    start = None if coef_init is None else np.array(coef_init, dtype=np.float64)

    def grid(largest: float) -> FloatArray:
        return alpha_grid(largest / l1_ratio, eps, alphas) if given is None else given

    how = (grid, l1_ratio, model, start)
    if goes_by_columns("auto", X) and l1_ratio > 0 and (given is None or given[-1] > 0):
        _check_start(start, width_of(model, X))
        begin = None if start is None else start[None]
        opener = partial(open_columns, start=begin)
        with model._opened(X, y, target="values", opener=opener) as (by_columns, executor):
            wide = path_by_columns(by_columns, executor, *how)
            return _answer(wide, by_columns.facts, return_n_iter)
    with model._opened(X, y, target="values") as (data, executor):
        facts = data.facts
        _check_start(start, facts.n_features)
        if facts.n_features > least_squares.GRAM_FEATURES:
            return _answer(path_by_rows(data, executor, *how), facts, return_n_iter)
        total = about_origin(executor.reduce(data, MOMENTS, None))
    pull = total.xy[:, 0] if positive else np.abs(total.xy[:, 0])
    penalties = grid(float(pull.max(initial=0.0)) / total.weight_sum)
    path = solve_path(total, penalties, l1_ratio, descent, start=start)
    warn_not_converged(path, float(total.yy[0]), descent)
    found = WidePath(penalties, path.coefs, path.gaps / total.weight_sum, path.counts.tolist())
    return _answer(found, facts, return_n_iter)


def _check_start(start: FloatArray | None, n_features: int) -> None:
    if start is not None and start.shape != (n_features,):
        raise InvalidParameterError(
            f"coef_init must have a value for each of {n_features} features, got the shape {start.shape}."
        )


def _answer(path: WidePath, facts: DataFacts, return_n_iter: bool) -> tuple[Any, ...]:
    """As scikit-learn has it."""
    found = path.alphas, path.coefs.T.astype(facts.dtype), path.gaps
    return (*found, path.counts) if return_n_iter else found


def lasso_path(X: ArrayLike, y: ArrayLike, **how: Any) -> tuple[Any, ...]:
    """Coefficients of the lasso along a path of penalties: :func:`enet_path` with ``l1_ratio=1``.

    Parameters
    ----------
    X, y : see :func:`enet_path`
    **how : keyword arguments of :func:`enet_path` but ``l1_ratio``

    Returns
    -------
    alphas, coefs, dual_gaps, and n_iters with ``return_n_iter=True`` : see :func:`enet_path`

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> X, y = load_diabetes(return_X_y=True)
    >>> alphas, coefs, gaps = lasso_path(X, y)
    >>> alphas.shape, coefs.shape
    ((100,), (10, 100))
    """
    return enet_path(X, y, **how, l1_ratio=1.0)


__all__ = [
    "alpha_grid",
    "check_ratio",
    "descent_of",
    "enet_path",
    "given_alphas",
    "lasso_path",
    "solve_path",
    "warn_not_converged",
]
