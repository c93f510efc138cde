"""Logistic regression by columns: whether a fit goes that way, and the fit."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from daskml_kit.exceptions import InvalidParameterError
from daskml_kit.linear_model.by_columns import goes_by_columns, solve_by_columns, width_of
from daskml_kit.linear_model.column_classes import ClassProblem
from daskml_kit.linear_model.column_problem import Problem
from daskml_kit.linear_model.prediction import dense
from daskml_kit.linear_model.regressor import check_warm_start
from daskml_kit.losses import Binomial, Multinomial
from daskml_kit.runtime.block import Block
from daskml_kit.runtime.columns import open_columns, shape_by_columns
from daskml_kit.runtime.ingest import DataFacts
from daskml_kit.runtime.sources import unwrap
from daskml_kit.typing import Array, ArrayLike, FloatArray

MANY_COLUMNS = 8
"""To a row: from there on in memory, too, with a ridge penalty. Measured on dense data, two and five classes:
150 x 6,000 takes 0.01 to 0.08 s by columns, 0.02 to 0.3 by L-BFGS over the rows; 1,000 x 10,000 as long to a
lower objective; 4,000 x 8,000 three to ten times as long. With L1, 150 x 6,000 takes 0.06 s and 3.4."""


def logistic_goes_by_columns(model: Any, X: ArrayLike, C: float, l1_ratio: float) -> bool:
    """Whether a logistic regression of X goes by columns: asked for, or wide and without bounds.

    Wide data in memory do so with an L1 penalty, or where columns are many to a row.

    Parameters
    ----------
    model : a LogisticRegression
    X : as given to ``fit``
    C, l1_ratio : of its penalty; of several the largest C and the smallest share of L1

    Raises
    ------
    InvalidParameterError
        By columns was asked for, and the model has bounds.
    """
    if not goes_by_columns(model._solver_name, X):
        return False
    if model._solver_name == "auto":
        return not (model._bounded or math.isinf(C)) and pays_by_columns(X, l1_ratio)
    if model._bounded:
        raise InvalidParameterError(
            "solver='columns' takes no bounds. Use solver='auto', or coef_bounds=None and "
            "intercept_bounds=None."
        )
    return True


def pays_by_columns(X: ArrayLike, l1_ratio: float) -> bool:
    """Whether wide data are better taken by columns: cut so, with L1, or dense of few rows."""
    if shape_by_columns(X) is not None or l1_ratio > 0:
        return True
    X = unwrap(X)
    return not sparse.issparse(X) and bool(MANY_COLUMNS * X.shape[0] <= X.shape[1])


class Fitted(NamedTuple):
    """A solution, as a solver by rows would say it."""

    w: FloatArray  # (d [+ 1],) for two classes, else (n_classes, d [+ 1])
    n_iter: int
    gap: float  # duality gap of the averaged objective


def fit_by_columns(
    model: Any, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike
) -> tuple[DataFacts, Fitted]:
    """What was learnt of the data, and the solution.

    Raises
    ------
    InvalidParameterError
        There is no penalty.
    """
    start = _start(model, X)
    with model._opened(
        X, y, sample_weight, target="classes", class_weights=model._class_weights,
        opener=partial(open_columns, start=start),
    ) as (data, executor):  # fmt: skip
        facts = data.row_facts
        if start is not None:
            n_outputs = 1 if len(facts.classes) == 2 else len(facts.classes)
            check_warm_start(start.shape, (n_outputs, facts.n_features))
        weight_sum = model._weight_sum(facts)
        C, ratio = model._strength
        strength = 1.0 / (C * weight_sum)
        problem = problem_of(
            data.rows, len(facts.classes), weight_sum,
            (ratio * strength, (1.0 - ratio) * strength), model.fit_intercept,
        )  # fmt: skip
        found = solve_by_columns(
            data,
            executor,
            problem,
            max_iter=model.max_iter,
            gradient_tol=model.tol,
            warm=None if start is None else (start[0] if len(start) == 1 else start.T),
        )
    w = np.atleast_2d(found.coef.T)
    if model.fit_intercept:
        w = np.column_stack([w, np.atleast_1d(found.intercept)])
    return facts, Fitted(w[0] if len(w) == 1 else w, found.n_iter, found.gap)


def problem_of(
    rows: Block,
    n_classes: int,
    weight_sum: float,
    strengths: tuple[float, float],
    fit_intercept: bool,
) -> Problem | ClassProblem:
    """The objective of these rows' class codes and weights."""
    y = np.asarray(rows.y, dtype=np.float64)
    if n_classes == 2:
        return Problem(Binomial(), y, rows.weight, weight_sum, strengths, fit_intercept)
    return classes_of(y, rows.weight, n_classes, weight_sum, strengths, fit_intercept)


def classes_of(
    y: Array,
    weight: FloatArray | None,
    n_classes: int,
    weight_sum: float,
    strengths: tuple[float, float],
    fit_intercept: bool,
) -> ClassProblem:
    """The same with a column of predictions a class, one for two classes."""
    loss = Binomial() if n_classes == 2 else Multinomial(n_classes)
    return ClassProblem(loss, y, weight, weight_sum, strengths, fit_intercept)


def _start(model: Any, X: ArrayLike) -> FloatArray | None:
    """The last fit's coefficients (n_outputs, d) for a warm start; a ridge penalty has no use for them."""
    if not model.warm_start or not hasattr(model, "coef_") or model._strength[1] == 0:
        return None
    start = np.atleast_2d(np.asarray(dense(model.coef_), dtype=np.float64))
    check_warm_start(start.shape, (len(start), width_of(model, X)))
    return start


__all__ = ["Fitted", "classes_of", "fit_by_columns", "logistic_goes_by_columns", "problem_of"]
