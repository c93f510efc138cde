"""Fits by columns: which data and models take that way, and which solver there.

======================================  ============================================================
penalty                                 solver
======================================  ============================================================
L1, with or without L2                  working sets (:mod:`~daskml_kit.linear_model.column_sets`; of
                                        several classes :mod:`~daskml_kit.linear_model.column_class_sets`)
L2                                      Newton in the space of the rows
                                        (:mod:`~daskml_kit.linear_model.column_ridge`)
positive coefficients, L2 or nothing    semismooth Newton in the space of the rows, up to 5,000 of them
                                        (:mod:`~daskml_kit.linear_model.column_positive`)
positive coefficients, L2, more rows    descent on all blocks side by side
                                        (:mod:`~daskml_kit.linear_model.column_blocks`)
======================================  ============================================================

``solver="auto"`` goes by columns where X comes in several chunks of columns, has more than
``COLUMN_FEATURES`` of them, and more than rows: the user cut it so because a worker should not hold whole
rows, and by rows the model itself would be what every round sends. So do wide data in memory, where there is
nothing to move, with an L1 penalty of the squared loss: working sets took a tenth of the time of steps over
rows (150 x 6,000, lasso and its cross-validation).
"""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import numpy as np

from daskml_kit.exceptions import ConvergenceWarning, InvalidParameterError
from daskml_kit.linear_model import few_rows
from daskml_kit.linear_model.choice import LOCAL
from daskml_kit.linear_model.column_blocks import Solve
from daskml_kit.linear_model.column_class_sets import solve_classes_by_columns
from daskml_kit.linear_model.column_classes import ClassProblem
from daskml_kit.linear_model.column_positive import solve_positive_by_columns
from daskml_kit.linear_model.column_problem import ByColumns, Problem
from daskml_kit.linear_model.column_ridge import solve_ridge_by_columns
from daskml_kit.linear_model.column_sets import solve_sparse_by_columns
from daskml_kit.linear_model.regressor import check_warm_start
from daskml_kit.losses import HalfSquared
from daskml_kit.runtime.columns import (
    MOST_ROWS_BY_COLUMNS,
    ColumnDataset,
    as_table,
    open_columns,
    shape_by_columns,
)
from daskml_kit.runtime.executor import Executor
from daskml_kit.runtime.sources import is_dask, unwrap
from daskml_kit.typing import ArrayLike, FloatArray

COLUMN_FEATURES = 5_000
"""Up to so many, least squares needs the Gram matrix of the features alone, which is one pass by rows."""

CHOICES = ("auto", "rows", "columns")


def check_choice(solver: Any) -> None:
    """Refuse a solver of least squares that is not there.

    Raises
    ------
    InvalidParameterError
    """
    if solver not in (*CHOICES, *LOCAL):
        raise InvalidParameterError(f"solver must be one of {[*CHOICES, *LOCAL]}, got {solver!r}.")


def goes_by_columns(solver: str, X: ArrayLike, *, in_memory: bool = True) -> bool:
    """Whether a fit of X goes by columns: asked for, or wide and cut by columns, or ``in_memory``."""
    if solver != "auto":
        return solver == "columns"
    n_rows, n_columns = shape_by_columns(X) or (_shape_here(X) if in_memory else None) or (0, 0)
    return n_columns > COLUMN_FEATURES and n_rows < n_columns and n_rows <= MOST_ROWS_BY_COLUMNS


def _shape_here(X: ArrayLike) -> tuple[int, int] | None:
    """Rows and columns of an array or a frame in this process; None for anything else."""
    X = unwrap(X)
    shape: tuple[int, ...] = () if is_dask(X) else getattr(X, "shape", ())
    return (int(shape[0]), int(shape[1])) if len(shape) == 2 else None


def solve_by_columns(
    data: ColumnDataset,
    executor: Executor,
    problem: Problem | ClassProblem,
    *,
    max_iter: int,
    gap_tol: float | None = None,
    gradient_tol: float = 0.0,
    number: int = 0,
    warm: FloatArray | None = None,
) -> ByColumns:
    """Minimise the objective of ``problem`` by the solver that its penalty asks for.

    Parameters
    ----------
    data, executor : opened by columns
    max_iter : most iterations of that solver
    gap_tol : converged when the duality gap is at most this
    gradient_tol : or when no component of the smallest subgradient exceeds this
    number : of this solve among those of one fit, and its column of starting coefficients
    warm : (d,) or (d, n_outputs) those coefficients, where the data hold any

    Raises
    ------
    InvalidParameterError
        There is no penalty, and then no solution to speak of where columns outnumber rows.
    """
    l1, l2 = problem.strengths
    few = data.facts.n_features <= few_rows.MOST_GRAM_ROWS
    _check_penalty(l1, l2, decided=few and problem.positive)
    limits: dict[str, Any] = {
        "max_iter": max_iter, "gap_tol": gap_tol, "gradient_tol": gradient_tol
    }  # fmt: skip
    if isinstance(problem, ClassProblem):
        found = (
            solve_classes_by_columns(
                data, executor, problem, max_iter=max_iter, gradient_tol=gradient_tol, warm=warm
            )
            if l1 > 0.0
            else solve_ridge_by_columns(data, executor, problem, **limits)
        )
    elif l1 > 0.0:
        found = solve_sparse_by_columns(
            data, executor, problem, number=number, target=number, warm=warm, **limits
        )
    elif not problem.positive:
        found = solve_ridge_by_columns(data, executor, problem, **limits)
    elif few:
        found = solve_positive_by_columns(data, executor, problem, **limits)
    else:
        solve = Solve(data, executor, problem, number, number)
        found = solve.run(solve.start(warm), max_iter, gap_tol, gradient_tol)
    if not found.converged:
        warnings.warn(
            f"Objective did not converge in max_iter={max_iter}: duality gap {found.gap:.3e}. Increase "
            "max_iter, scale the features, or use a stronger penalty.",
            ConvergenceWarning,
            stacklevel=3,
        )
    return found


def _check_penalty(l1: float, l2: float, *, decided: bool) -> None:
    """Refuse no penalty, unless the solution is ``decided`` without one."""
    if l1 == 0.0 and l2 == 0.0 and not decided:
        raise InvalidParameterError(
            "solver='columns' needs a penalty: with more columns than rows, nothing else decides which of "
            "many solutions is meant. Use alpha > 0 (a finite C), or another solver."
        )


def fit_least_squares(
    model: Any,
    X: ArrayLike,
    y: ArrayLike,
    sample_weight: ArrayLike,
    *,
    strengths: Any,
    max_iter: int,
    by_gap: bool,
    start: FloatArray | None = None,
) -> list[ByColumns]:
    """A least-squares model of every target, kept in ``model``.

    Parameters
    ----------
    model : a LinearRegressor with ``fit_intercept positive tol``
    strengths : callable facts -> (n_targets, 2) l1 and l2 of the averaged objective
    max_iter : most iterations a target
    by_gap : whether ``tol`` bounds the duality gap, relative to the squares of y; or the root of twice the
        gap, relative to the deviation of y
    start : (n_targets, d) where to begin, or None
    """
    if start is not None:
        check_warm_start(start.shape, (len(start), width_of(model, X)))
    with model._opened(
        X, y, sample_weight, target="values", multi_output=True,
        opener=partial(open_columns, start=start),
    ) as (data, executor):  # fmt: skip
        facts, block = data.row_facts, data.rows
        targets = block.y.reshape(block.n_rows, -1)
        if start is not None:
            check_warm_start(start.shape, (targets.shape[1], facts.n_features))
        found, pairs = [], [(float(l1), float(l2)) for l1, l2 in strengths(facts)]
        few = block.n_rows <= few_rows.MOST_GRAM_ROWS
        for pair in pairs:
            _check_penalty(*pair, decided=few and model.positive)
        for t, pair in enumerate(pairs):
            own = np.ascontiguousarray(targets[:, t], dtype=np.float64)
            problem = Problem(
                HalfSquared(), own, block.weight, facts.weight_sum, pair,
                model.fit_intercept, model.positive,
            )  # fmt: skip
            _, at_zero, _ = problem.centred(np.zeros(block.n_rows), 0.0)
            found.append(
                solve_by_columns(
                    data,
                    executor,
                    problem,
                    max_iter=max_iter,
                    gap_tol=at_zero * (2.0 * model.tol if by_gap else model.tol**2),
                    number=t,
                    warm=None if start is None else start[t],
                )
            )
        coef = np.array([f.coef for f in found])
        model._keep(facts, coef, np.array([f.intercept for f in found]))
    return found


def width_of(model: Any, X: ArrayLike) -> int:
    """Columns of X."""
    return int(as_table(X, type(model).__name__).shape[1])


__all__ = [
    "CHOICES",
    "COLUMN_FEATURES",
    "check_choice",
    "fit_least_squares",
    "goes_by_columns",
    "solve_by_columns",
    "width_of",
]
