"""Paths of lasso and elastic net of more features than a Gram matrix takes, each solution from the last one.

By columns two rounds or a few more a penalty (:mod:`~daskml_kit.linear_model.column_cv`), by rows as many as
proximal L-BFGS takes from there (:mod:`~daskml_kit.linear_model.wide`).

References
----------
Friedman, Hastie, Tibshirani (2010). Regularization paths for generalized linear models via coordinate
descent. J. Stat. Softw. 33, section 2.5 (pathwise, with warm starts).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from daskml_kit.base import users_level
from daskml_kit.exceptions import ConvergenceWarning
from daskml_kit.linear_model.column_cv import ColumnPaths
from daskml_kit.linear_model.objective import linear_reduction
from daskml_kit.linear_model.wide import SPREAD, solve_wide
from daskml_kit.losses import HalfSquared
from daskml_kit.runtime.columns import ColumnDataset
from daskml_kit.runtime.dataset import BlockDataset
from daskml_kit.runtime.executor import Executor
from daskml_kit.typing import FloatArray


class WidePath(NamedTuple):
    """Solutions, one a row.

    Attributes
    ----------
    alphas : (n_alphas,)
    coefs : (n_alphas, n_features)
    gaps : (n_alphas,) of the averaged objective
    counts : (n_alphas,) looks at all columns, or steps
    """

    alphas: FloatArray
    coefs: FloatArray
    gaps: FloatArray
    counts: list[int]


def path_by_columns(
    data: ColumnDataset,
    executor: Executor,
    grid: Callable[[float], FloatArray],
    ratio: float,
    how: Any,
    start: FloatArray | None,
) -> WidePath:
    """The path of data that were opened by columns, ``start`` with them.

    Parameters
    ----------
    grid : the penalties, largest first, all above 0, from the least strength of L1 that leaves no coefficient
    ratio : of L1, above 0
    how : an estimator with ``fit_intercept positive max_iter tol``
    start : (n_features,) or None
    """
    paths = ColumnPaths(data, executor, None, how)
    alphas = grid(paths.largest())
    found = paths.models(alphas, ratio, start)
    stopped = [model for model in found if not model.converged]
    if stopped:
        warnings.warn(
            f"Objective did not converge for {len(stopped)} of {len(found)} penalties in max_iter="
            f"{how.max_iter} rounds. Largest duality gap: {max(m.gap for m in stopped):.3e}. Increase "
            "max_iter, scale the features, or use a larger alpha.",
            ConvergenceWarning,
            stacklevel=users_level(),
        )
    return _path_of(alphas, found)


def path_by_rows(
    data: BlockDataset,
    executor: Executor,
    grid: Callable[[float], FloatArray],
    ratio: float,
    how: Any,
    start: FloatArray | None,
) -> WidePath:
    """The same of data by rows; penalties may be 0, and ``ratio``."""
    about, d = executor.reduce(data, SPREAD, None), data.facts.n_features
    sums = executor.reduce(data, linear_reduction(HalfSquared(), False, 1), np.zeros(d))
    pull = -sums.gradient if how.positive else np.abs(sums.gradient)
    alphas = grid(float(pull.max(initial=0.0)) / about.weight_sum)
    w, found = np.zeros(d) if start is None else start, []
    for alpha in alphas.tolist():
        strengths = alpha * ratio, alpha * (1.0 - ratio)
        found.append(solve_wide(data, executor, about, 0, strengths, w, how))
        w = found[-1].coef
    return _path_of(alphas, found)


def _path_of(alphas: FloatArray, found: list[Any]) -> WidePath:
    return WidePath(
        alphas,
        np.array([model.coef for model in found]),
        np.array([model.gap for model in found]),
        [int(model.n_iter) for model in found],
    )


__all__ = ["WidePath", "path_by_columns", "path_by_rows"]
