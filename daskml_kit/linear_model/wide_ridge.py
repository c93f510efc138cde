"""Ridge and ordinary least squares of more features than a Gram matrix takes: L-BFGS over the rows.

No unit enters, and the solver does not see the intercept (:mod:`~daskml_kit.linear_model.profiled`).

======================  =====================  =================================================
rows of some weight     begins with            ends by
======================  =====================  =================================================
more than features      diagonal of Hessian    ``max_j |g_j| / sqrt(h_j + l2)``
no more, l2 > 0         gradient               root of twice the duality gap, ``|g| / sqrt(l2)``
no more, l2 = 0         gradient               as with more rows
======================  =====================  =================================================

being at most ``tol * deviation(y)``, with h_j the mean square of the centred column.

The diagonal scales the columns (Jacobi's preconditioner), and without a penalty the test by columns is the
largest cosine between the residuals and a column, but for the size of the residuals: that of LSQR, column by
column. With few rows most directions change no prediction. The solution has no component along these, and
steps along gradients from zero take none up. The diagonal would, and what the penalty alone brings back is
too little for a test by columns to see. The duality gap sees it, and bounds how far the solution is:

::

    1/W sum_i s_i (difference of the predictions)^2 + l2 |difference of w|^2  <=  2 gap

References
----------
Paige, Saunders (1982). LSQR: an algorithm for sparse linear equations and sparse least squares. ACM Trans.
Math. Softw. 8, section 6 (the second stopping rule).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from daskml_kit.linear_model.choice import LOCAL
from daskml_kit.linear_model.objective import Finish, LinearObjective
from daskml_kit.linear_model.pieces import edges_of, in_pieces
from daskml_kit.linear_model.profiled import Profiled
from daskml_kit.linear_model.wide import Spread, kinks_of
from daskml_kit.losses import HalfSquared
from daskml_kit.penalties import L2
from daskml_kit.runtime.dataset import BlockDataset
from daskml_kit.runtime.executor import Executor
from daskml_kit.solvers import LBFGS, ProximalLBFGS, solve
from daskml_kit.solvers.loop import Distance
from daskml_kit.solvers.vectors import inner
from daskml_kit.typing import FloatArray


@dataclass(frozen=True, eq=False)
class ScaledGradient:
    """Largest component of the (smallest sub-)gradient, each over the root of its curvature: in y's units.

    Parameters
    ----------
    scales : (n_features,) these roots; 0 for a constant column without a penalty, which has no gradient
    """

    scales: FloatArray
    name: ClassVar[str] = "gradient, scaled by the columns,"

    def __call__(self, state: Any) -> float:
        slope = np.abs(state.gradient)
        if not np.isfinite(slope).all():
            return np.inf
        d = len(self.scales)
        scaled = np.divide(slope[:d], self.scales, out=np.zeros(d), where=self.scales > 0)
        return float(max(np.max(scaled, initial=0.0), np.max(slope[d:], initial=0.0)))


@dataclass(frozen=True, eq=False)
class RootGap:
    """Root of twice the duality gap of the averaged ridge objective, in y's units; without cancellation.

    The gap is ``l2/2 |w|^2 - w.q + |q|^2 / (2 l2)`` with ``q = X'r / W``, of positive coefficients with the
    positive part of q in the last term: a sum of squares, and of ``-w_j q_j`` where ``q_j < 0``.

    Parameters
    ----------
    l2 : above 0
    positive : whether coefficients are bounded by zero
    mean_x : (n_features,) where the state's last coefficient is an intercept; else None
    """

    l2: float
    positive: bool
    mean_x: FloatArray | None = None
    name: ClassVar[str] = "root of twice the duality gap"

    def __call__(self, state: Any) -> float:
        w, slope = state.w, getattr(state, "smooth", state.gradient)
        if not np.isfinite(slope).all():
            return np.inf
        if self.mean_x is not None:
            w, slope = w[:-1], slope[:-1] - float(slope[-1]) * self.mean_x
        if not self.positive:
            return float(np.sqrt(inner(slope, slope) / self.l2))
        pull = self.l2 * w - slope
        below = np.minimum(pull, 0.0)
        off = slope + below  # l2 w less the positive part
        return float(np.sqrt(max(inner(off, off) / self.l2 - 2.0 * inner(w, below), 0.0)))


class Solved(NamedTuple):
    """One target's solution."""

    coef: FloatArray
    intercept: float
    n_iter: int


def solve_wide_ridge(
    data: BlockDataset,
    executor: Executor,
    about: Spread,
    target: int,
    l2: float,
    how: Any,
    max_iter: int,
) -> Solved:
    """Minimise ``1/(2W) sum_i s_i (y_i - x_i.w - b)^2 + l2/2 |w|^2``, a pass a step, or by pieces.

    Parameters
    ----------
    about : of targets and columns
    target : which
    l2 : strength of the averaged objective
    how : an estimator with ``fit_intercept positive tol solver``
    max_iter : most steps

    Notes
    -----
    Without a penalty and with no more rows than features many solutions are as good. Steps along gradients
    from zero lead to the one of least norm; the diagonal would lead to another.
    """
    facts, free = data.facts, bool(how.fit_intercept)
    d, mean = facts.n_features, float(about.mean[target])
    local = how.solver in LOCAL
    slopes = np.append(np.ones(d), np.zeros(int(free)))
    objective = LinearObjective(
        data, executor, HalfSquared(), free, Finish(about.weight_sum, L2(l2 * slopes)),
        target=target if facts.n_outputs else None,
    )  # fmt: skip
    kinks = kinks_of(slopes if local else np.ones(d), how, 0.0) if how.positive else None
    few = about.n_rows <= d
    smooth = LBFGS() if few else LBFGS(sketch="diagonal")
    solver: Any = smooth if kinks is None else ProximalLBFGS(kinks)
    best, start = Profiled(solver, about.mean_x, mean), np.zeros(d)
    if local:
        objective, solver = in_pieces(how.solver, objective, edges_of(facts, len(slopes)), kinks)
        start = np.zeros(len(slopes))
    elif free:
        solver = best
    deviation = about.deviation(target, free)
    rounding = 8.0 * float(np.finfo(np.float64).eps) * (deviation + abs(mean))
    curvatures = about.curvatures(free) + l2
    distance: Distance = ScaledGradient(np.sqrt(curvatures))
    if few and l2 > 0.0:
        distance = RootGap(l2, how.positive, about.mean_x if local and free else None)
        rounding *= float(
            np.sqrt(curvatures.sum() / l2)
        )  # |X'r / W| is at most the root of the sum
    solution = solve(
        objective, solver, start,
        max_iter=max_iter, tol=max(how.tol * deviation, rounding), distance=distance,
    )  # fmt: skip
    coef = solution.w[:d]
    intercept = float(solution.w[-1]) if local and free else best.intercept(coef) if free else 0.0
    return Solved(coef, intercept, solution.n_iter)


__all__ = ["RootGap", "ScaledGradient", "solve_wide_ridge"]
