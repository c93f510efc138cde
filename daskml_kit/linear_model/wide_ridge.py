"""Ridge and ordinary least squares of more features than a Gram matrix takes: L-BFGS over the rows.

No unit enters. The solver begins with the diagonal of the Hessian, which scales the columns (Jacobi's
preconditioner), it does not see the intercept (:mod:`~daskml_kit.linear_model.profiled`), and it ends by

::

    max_j |g_j| / sqrt(h_j + l2)  <=  tol * deviation(y),    h_j: mean square of the centred column

With no penalty the left side over the deviation is the largest cosine between the residuals and a column, but
for the size of the residuals: the test of LSQR, column by column.

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
    Without a penalty and with fewer rows than features many solutions are as good. Steps along gradients
    from zero lead to the one of least norm; the diagonal would lead to another, so it is left out there.
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
    least_norm = l2 == 0.0 and facts.n_rows < d
    smooth = LBFGS() if least_norm else LBFGS(sketch="diagonal")
    solver: Any = smooth if kinks is None else ProximalLBFGS(kinks)
    best, start = Profiled(solver, about.mean_x, mean), np.zeros(d)
    if local:
        objective, solver = in_pieces(how.solver, objective, edges_of(facts, len(slopes)), kinks)
        start = np.zeros(len(slopes))
    elif free:
        solver = best
    deviation = about.deviation(target, free)
    rounding = 8.0 * float(np.finfo(np.float64).eps) * (deviation + abs(mean))
    solution = solve(
        objective, solver, start, max_iter=max_iter, tol=max(how.tol * deviation, rounding),
        distance=ScaledGradient(np.sqrt(about.curvatures(free) + l2)),
    )  # fmt: skip
    coef = solution.w[:d]
    intercept = float(solution.w[-1]) if local and free else best.intercept(coef) if free else 0.0
    return Solved(coef, intercept, solution.n_iter)


__all__ = ["ScaledGradient", "solve_wide_ridge"]
