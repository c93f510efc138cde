"""Fitting by columns with a ridge penalty alone: Newton's method in the space of the rows.

The solution is ``w = X'a`` (the representer theorem), so the problem is

::

    minimise over a, b    f(Ka + b) + l2/2 a'Ka,    K = XX'

in as many unknowns as there are rows, and the coefficients exist nowhere before the end. With g and H the
gradient and the curvature of f, centred for the intercept, Newton's direction solves
``(HK + l2 I) d = -(g + l2 a)``, a matrix that is self-adjoint in the inner product ``x'Ky``: conjugate
gradients take one product with K an iteration, and that is one round. Several classes are a column each of
``a``, ``f`` and the predictions; several fits, such as those of folds, share their rounds: a product of K and
all that they ask for.

==================  ===============================================
in the papers       here
==================  ===============================================
alpha (dual)        ``-a`` times l2 at the optimum
residual of CG      ``rest``; ``k_rest`` is K times it
==================  ===============================================

References
----------
Schoelkopf, Herbrich, Smola (2001). A generalized representer theorem. COLT.
Chapelle (2007). Training a support vector machine in the primal. Neural Computation 19, section 2.2.
Dembo, Steihaug (1983). Truncated-Newton algorithms for large-scale unconstrained optimization.
Math. Prog. 26.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np

from daskml_kit.linear_model.column_classes import ClassProblem
from daskml_kit.linear_model.column_problem import ROUNDING, STILL, ByColumns, Problem
from daskml_kit.linear_model.column_rounds import COEFFICIENTS, NORMAL_PRODUCT, Normal
from daskml_kit.runtime.columns import ColumnDataset
from daskml_kit.runtime.executor import Executor
from daskml_kit.typing import FloatArray

MOST_PRODUCTS = 500
"""Of a Newton step of a loss that is not quadratic."""

T = TypeVar("T")

Products: TypeAlias = Generator[FloatArray, Normal, T]
"""Asks for products with K, and is told them."""


@dataclass
class Rows:
    """A point: a, v = Ka, and f there with its best intercept."""

    a: FloatArray
    v: FloatArray
    b: Any
    f: float
    gradient: FloatArray
    value: float


class RowSolution(NamedTuple):
    """Where Newton's method ended."""

    point: Rows
    gap: float
    n_iter: int
    converged: bool


class RowNewton:
    """Newton's method for one problem.

    Parameters
    ----------
    problem : without l1, with l2
    max_iter : most products of least squares, most Newton steps of another loss
    """

    def __init__(self, problem: Problem | ClassProblem, max_iter: int) -> None:
        self.problem: Any = problem
        self.rounds, self.steps, self.max_iter = 0, 0, max_iter
        self.largest = np.inf  # component of X' of the last product's vector
        self.value = 0.0  # to report

    def times_k(self, p: FloatArray) -> Products[FloatArray]:
        """One product."""
        self.rounds += 1
        total = yield p
        self.largest = float(np.max(total.largest))
        return total.product

    def at(self, a: FloatArray, v: FloatArray, b: Any) -> Rows:
        """The point of some a and their product, with the best intercept."""
        b, f, gradient = self.problem.centred(v, b)
        ridge = 0.5 * self.problem.strengths[1] * float(np.vdot(a, v))
        return Rows(a, v, b, f, gradient, f + ridge)

    def direction(
        self, point: Rows, rest: FloatArray, k_rest: FloatArray, least: float
    ) -> Products[tuple[FloatArray, FloatArray]]:
        """Newton's direction d and Kd, as exactly as pays (Dembo and Steihaug's forcing sequence)."""
        l2, bent_by = self.problem.strengths[1], self.problem.bending(point.v + point.b)
        d, k_d = np.zeros_like(rest), np.zeros_like(rest)
        p, k_p = rest.copy(), k_rest.copy()
        size = first = float(np.vdot(rest, k_rest))
        exact = self.problem.quadratic
        share = 1e-30 if exact else min(0.01, first)
        products = self.max_iter if exact else MOST_PRODUCTS
        for _ in range(products):
            if size <= share * first:
                break
            bent = bent_by(k_p) + l2 * p
            curve = float(np.vdot(k_p, bent))
            if curve <= 0.0:
                break
            step = size / curve
            d += step * p
            k_d += step * k_p
            rest = rest - step * bent
            spent = exact and self.rounds >= self.max_iter
            if spent or np.abs(rest).max() <= 1e-16 * np.abs(point.gradient).max():
                break
            k_rest = yield from self.times_k(rest)
            before, size = size, float(np.vdot(rest, k_rest))
            if exact and size <= least:  # of the quadratic, so of the objective
                break
            p = rest + size / before * p
            k_p = k_rest + size / before * k_p
        return d, k_d

    def run(
        self, gap_tol: float | None, gradient_tol: float, start: Rows | None = None
    ) -> Products[RowSolution]:
        """Steps from a point, or from zero, to the minimum."""
        problem, l2 = self.problem, self.problem.strengths[1]
        n = len(problem.y)
        point = (
            self.at(problem.zeros(n), problem.zeros(n), problem.no_intercept())
            if start is None
            else self.at(start.a, start.v, start.b)
        )
        best_dual, gap, converged, still = -np.inf, np.inf, False, 0
        while True:
            self.value = point.value
            rest = -(point.gradient + l2 * point.a)
            k_rest = yield from self.times_k(rest)
            k_gradient = -k_rest - l2 * point.v  # theta'K theta is the squared norm of X'theta
            dual, _ = problem.dual(
                point.gradient, 0.0, max(float(np.vdot(point.gradient, k_gradient)), 0.0)
            )
            best_dual = max(best_dual, dual)
            gap = max(point.value - best_dual, 0.0)
            floor = 10.0 * ROUNDING * abs(point.value)
            still = still + 1 if gap <= floor else 0
            converged = (
                still == STILL
                or self.largest <= gradient_tol
                or (gap_tol is not None and gap <= max(gap_tol, floor))
            )
            if converged or (self.steps >= self.max_iter and not problem.quadratic):
                break
            self.steps += 1
            least = 0.0 if gap_tol is None else 2.0 * l2 * gap_tol  # |gradient|^2 = rest'K rest
            d, k_d = yield from self.direction(point, rest, k_rest, least)
            new, share = self.at(point.a + d, point.v + k_d, point.b), 1.0
            while new.value > point.value + floor and share > ROUNDING:
                share *= 0.5
                new = self.at(point.a + share * d, point.v + share * k_d, point.b)
            if new.value >= point.value and problem.quadratic:
                converged = True
                break
            point = new
            if problem.quadratic and self.rounds >= self.max_iter:
                gap = max(point.value - best_dual, 0.0)
                converged = self.largest <= gradient_tol or (gap_tol is not None and gap <= gap_tol)
                break
        return RowSolution(point, gap, self.rounds if problem.quadratic else self.steps, converged)


def solve_ridge_by_columns(
    data: ColumnDataset,
    executor: Executor,
    problem: Problem | ClassProblem,
    *,
    max_iter: int,
    gap_tol: float | None = None,
    gradient_tol: float = 0.0,
) -> ByColumns:
    """Minimise an objective without l1 and with l2; one round a product with K, one for the coefficients.

    Parameters
    ----------
    data, executor : opened by columns
    problem : of one target, or of classes
    max_iter : most products of least squares, most Newton steps of another loss
    gap_tol : converged when the duality gap is at most this
    gradient_tol : or when no component of the gradient in the coefficients exceeds this

    Returns
    -------
    ByColumns

    Notes
    -----
    The driver holds a dozen vectors of the rows, a class.
    """
    newton = RowNewton(problem, max_iter)
    steps = newton.run(gap_tol, gradient_tol)
    (found,) = side_by_side(data, executor, [steps], objective=lambda _: newton.value)
    w = coefficients(data, executor, found.point.a)
    return ByColumns(w, found.point.b, found.gap, found.n_iter, found.converged)


def side_by_side(
    data: ColumnDataset,
    executor: Executor,
    fits: Sequence[Products[T]],
    objective: Any = None,
) -> list[T]:
    """What several fits return; each round is one product of K with all that those which go on ask for."""
    asks: dict[int, FloatArray] = {i: next(fit) for i, fit in enumerate(fits)}
    found: dict[int, T] = {}
    while asks:
        answers = _products(data, executor, list(asks.values()), objective)
        for i, answer in zip(list(asks), answers, strict=True):
            try:
                asks[i] = fits[i].send(answer)
            except StopIteration as end:
                found[i] = end.value
                del asks[i]
    return [found[i] for i in range(len(fits))]


def _products(
    data: ColumnDataset, executor: Executor, asks: Sequence[FloatArray], objective: Any
) -> list[Normal]:
    """One round."""
    if len(asks) == 1:
        return [executor.reduce(data, NORMAL_PRODUCT, asks[0], objective=objective)]
    columns = [ask.reshape(len(ask), -1) for ask in asks]
    total = executor.reduce(data, NORMAL_PRODUCT, np.hstack(columns), objective=objective)
    edges = np.cumsum([c.shape[1] for c in columns])[:-1]
    pairs = zip(
        np.split(total.product, edges, axis=1), np.split(total.largest, edges), asks, strict=True
    )
    return [Normal(p.reshape(ask.shape), largest) for p, largest, ask in pairs]


def coefficients(data: ColumnDataset, executor: Executor, a: FloatArray) -> FloatArray:
    """``X'a``, (d,) or (d, n_outputs). One round."""
    w = np.zeros((data.facts.n_rows, *a.shape[1:]))
    for part in executor.reduce(data, COEFFICIENTS, a):
        w[part.start + part.at] = part.values
    return w


__all__ = [
    "Products",
    "RowNewton",
    "RowSolution",
    "Rows",
    "coefficients",
    "side_by_side",
    "solve_ridge_by_columns",
]
