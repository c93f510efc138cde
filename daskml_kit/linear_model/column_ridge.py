"""Fitting by columns with a ridge penalty alone: Newton's method in the space of the rows.

The solution is ``w = X'a`` (the representer theorem), so the problem is

::

    minimise over a, b    f(Ka + b) + l2/2 a'Ka,    K = XX'

in as many unknowns as there are rows, and the coefficients exist nowhere before the end. With g and H the
gradient and the curvature of f, centred for the intercept, Newton's direction solves
``(HK + l2 I) d = -(g + l2 a)``, a matrix that is self-adjoint in the inner product ``x'Ky``: conjugate
gradients take one product with K an iteration, and that is one round.

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

from dataclasses import dataclass

import numpy as np

from daskml_kit.linear_model.column_problem import ROUNDING, STILL, ByColumns, Problem
from daskml_kit.linear_model.column_rounds import COEFFICIENTS, NORMAL_PRODUCT
from daskml_kit.runtime.columns import ColumnDataset
from daskml_kit.runtime.executor import Executor
from daskml_kit.typing import FloatArray

MOST_PRODUCTS = 500
"""Of a Newton step of a loss that is not quadratic."""


@dataclass
class _Rows:
    """A point: a, v = Ka, and f there with its best intercept."""

    a: FloatArray
    v: FloatArray
    b: float
    f: float
    gradient: FloatArray
    value: float


class _Newton:
    def __init__(
        self, data: ColumnDataset, executor: Executor, problem: Problem, max_iter: int
    ) -> None:
        self.data, self.executor, self.problem = data, executor, problem
        self.rounds, self.steps, self.max_iter = 0, 0, max_iter
        self.largest = np.inf  # component of X' of the last product's vector
        self.value = 0.0  # to report

    def times_k(self, p: FloatArray) -> FloatArray:
        """One round."""
        self.rounds += 1
        value = self.value
        total = self.executor.reduce(self.data, NORMAL_PRODUCT, p, objective=lambda _: value)
        self.largest = total.largest
        return total.product

    def at(self, a: FloatArray, v: FloatArray, b: float) -> _Rows:
        b, f, gradient = self.problem.centred(v, b)
        return _Rows(a, v, b, f, gradient, f + 0.5 * self.problem.strengths[1] * float(a @ v))

    def bend(self, point: _Rows, z: FloatArray) -> FloatArray:
        """``H z``, H centred: what the best intercept leaves of the curvature."""
        h = np.broadcast_to(self.problem.curvature(point.v + point.b), z.shape)
        if self.problem.fit_intercept:
            z = z - float(h @ z) / float(h.sum())
        return h * z

    def direction(
        self, point: _Rows, rest: FloatArray, k_rest: FloatArray, least: float
    ) -> tuple[FloatArray, FloatArray]:
        """Newton's direction d and Kd, as exactly as pays (Dembo and Steihaug's forcing sequence)."""
        l2 = self.problem.strengths[1]
        d, k_d = np.zeros_like(rest), np.zeros_like(rest)
        p, k_p = rest.copy(), k_rest.copy()
        size = first = float(rest @ k_rest)
        exact = self.problem.quadratic
        share = 1e-30 if exact else min(0.01, first)
        products = self.max_iter if exact else MOST_PRODUCTS
        for _ in range(products):
            if size <= share * first:
                break
            bent = self.bend(point, k_p) + l2 * p
            curve = float(k_p @ bent)
            if curve <= 0.0:
                break
            step = size / curve
            d += step * p
            k_d += step * k_p
            rest = rest - step * bent
            spent = exact and self.rounds >= self.max_iter
            if spent or np.abs(rest).max() <= 1e-16 * np.abs(point.gradient).max():
                break
            k_rest = self.times_k(rest)
            before, size = size, float(rest @ k_rest)
            if exact and size <= least:  # of the quadratic, so of the objective
                break
            p = rest + size / before * p
            k_p = k_rest + size / before * k_p
        return d, k_d

    def run(self, gap_tol: float | None, gradient_tol: float) -> ByColumns:
        n, l2 = self.data.facts.n_features, self.problem.strengths[1]
        point = self.at(np.zeros(n), np.zeros(n), 0.0)
        best_dual, gap, converged, still = -np.inf, np.inf, False, 0
        while True:
            self.value = point.value
            rest = -(point.gradient + l2 * point.a)
            k_rest = self.times_k(rest)
            k_gradient = -k_rest - l2 * point.v  # theta'K theta is the squared norm of X'theta
            dual, _ = self.problem.dual(
                point.gradient, 0.0, max(float(point.gradient @ k_gradient), 0.0)
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
            if converged or (self.steps >= self.max_iter and not self.problem.quadratic):
                break
            self.steps += 1
            least = 0.0 if gap_tol is None else 2.0 * l2 * gap_tol  # |gradient|^2 = rest'K rest
            d, k_d = self.direction(point, rest, k_rest, least)
            new, share = self.at(point.a + d, point.v + k_d, point.b), 1.0
            while new.value > point.value + floor and share > ROUNDING:
                share *= 0.5
                new = self.at(point.a + share * d, point.v + share * k_d, point.b)
            if new.value >= point.value and self.problem.quadratic:
                converged = True
                break
            point = new
            if self.problem.quadratic and self.rounds >= self.max_iter:
                gap = max(point.value - best_dual, 0.0)
                converged = self.largest <= gradient_tol or (gap_tol is not None and gap <= gap_tol)
                break
        w = np.zeros(self.data.facts.n_rows)
        for part in self.executor.reduce(self.data, COEFFICIENTS, point.a):
            w[part.start + part.at] = part.values
        n_iter = self.rounds if self.problem.quadratic else self.steps
        return ByColumns(w, point.b, gap, n_iter, converged)


def solve_ridge_by_columns(
    data: ColumnDataset,
    executor: Executor,
    problem: Problem,
    *,
    max_iter: int,
    gap_tol: float | None = None,
    gradient_tol: float = 0.0,
) -> ByColumns:
    """Minimise an objective without l1 and with l2; one round a product with K, one for the coefficients.

    Parameters
    ----------
    data, executor : opened by columns
    max_iter : most products of least squares, most Newton steps of another loss
    gap_tol : converged when the duality gap is at most this
    gradient_tol : or when no component of the gradient in the coefficients exceeds this

    Returns
    -------
    ByColumns

    Notes
    -----
    The driver holds a dozen vectors of the rows.
    """
    return _Newton(data, executor, problem, max_iter).run(gap_tol, gradient_tol)


__all__ = ["solve_ridge_by_columns"]
