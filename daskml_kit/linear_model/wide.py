"""The elastic net of more features than a Gram matrix takes: proximal L-BFGS over the rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from daskml_kit.kernels import linear_sums
from daskml_kit.linear_model.choice import LOCAL
from daskml_kit.linear_model.objective import Finish, LinearObjective
from daskml_kit.linear_model.pieces import edges_of, in_pieces
from daskml_kit.linear_model.profiled import Profiled, profiled
from daskml_kit.losses import HalfSquared
from daskml_kit.penalties import L2, BoundedL1
from daskml_kit.runtime.block import Block
from daskml_kit.runtime.dataset import BlockDataset
from daskml_kit.runtime.executor import Executor
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.solvers import LBFGS, Evaluation, ProximalLBFGS, solve
from daskml_kit.solvers.vectors import inner
from daskml_kit.typing import FloatArray


class Spread(NamedTuple):
    """Of each target: mean, and sum of squares about the mean; of each column, sum and sum of squares."""

    weight_sum: float
    mean: FloatArray
    squares: FloatArray
    columns: FloatArray  # (2, n_features)
    n_rows: int  # of positive weight

    @property
    def mean_x(self) -> FloatArray:
        """(n_features,)"""
        return np.asarray(self.columns[0] / self.weight_sum)

    def deviation(self, target: int, fit_intercept: bool) -> float:
        """Root of the mean square of y, about the mean unless there is no intercept."""
        square = float(self.squares[target]) / self.weight_sum
        return float(np.sqrt(square if fit_intercept else square + float(self.mean[target]) ** 2))

    def curvatures(self, fit_intercept: bool) -> FloatArray:
        """Mean squares of the columns, about the mean unless there is no intercept; (n_features,)."""
        squares = self.columns[1] / self.weight_sum
        if not fit_intercept:
            return np.asarray(squares)
        at = Evaluation(0.0, np.append(np.zeros_like(squares), 0.0), np.append(squares, 1.0))
        return np.asarray(profiled(at, self.mean_x).hessian)


def column_sums(block: Block, weight: FloatArray | None) -> FloatArray:
    """Sums and sums of squares of the columns, (2, n_features): by the kernel of the rounds to come."""
    d, below = block.X.shape[1], np.full(block.n_rows, -1.0)
    sums = linear_sums(
        HalfSquared(), block.X, below, weight, np.zeros(d + 1),
        fit_intercept=True, order=1, sketch="diagonal",
    )  # fmt: skip
    assert sums.hessian is not None
    return np.stack([sums.gradient[:d], sums.hessian[:d]])


def _spread_chunk(block: Block, _: Any) -> Spread:
    y = np.asarray(block.y).reshape(block.n_rows, -1)
    s = np.ones(len(y)) if block.weight is None else block.weight
    total = float(s.sum())
    mean = s @ y / total if total > 0 else np.zeros(y.shape[1])
    squares, n_rows = s @ (y - mean) ** 2, int(np.count_nonzero(s))
    return Spread(total, mean, squares, column_sums(block, block.weight), n_rows)


def _spread_combine(a: Spread, b: Spread) -> Spread:
    total = a.weight_sum + b.weight_sum
    share = b.weight_sum / total if total > 0 else 0.0
    gap = b.mean - a.mean
    squares = a.squares + b.squares + a.weight_sum * share * gap**2
    mean, columns = a.mean + share * gap, a.columns + b.columns
    return Spread(total, mean, squares, columns, a.n_rows + b.n_rows)


SPREAD: Reduction[None, Spread, Spread] = Reduction("spread", _spread_chunk, _spread_combine)
"""One pass."""


class Wide(NamedTuple):
    """One target's solution."""

    coef: FloatArray
    intercept: float
    gap: float  # duality gap of the averaged objective
    n_iter: int


@dataclass(frozen=True, eq=False)
class DualityGap:
    """Of the averaged objective at a solver's state, whose evaluations hold all that it takes.

    Without any penalty there is no such gap. The largest component of the gradient, over the deviation of its
    column and, for the units of a gap, times that of y, stands for it.

    Parameters
    ----------
    strengths : l1, l2
    positive : whether coefficients are bounded by zero
    penalty : what the evaluations left out
    curvatures : (n_features,) of the squared loss
    deviation : of y
    mean_x : (n_features,) where the state's last coefficient is an intercept; else None
    """

    strengths: tuple[float, float]
    positive: bool
    penalty: BoundedL1 | None
    curvatures: FloatArray
    deviation: float
    mean_x: FloatArray | None = None
    name: ClassVar[str] = "duality gap"

    def __call__(self, state: Any) -> float:
        """In the units of y squared."""
        w, smooth = state.w, getattr(state, "smooth", state.gradient)
        if not np.isfinite(smooth).all():
            return np.inf
        value = float(state.value) - (0.0 if self.penalty is None else self.penalty.value(w))
        if self.mean_x is not None:
            value, smooth, _ = profiled(Evaluation(value, smooth), self.mean_x)
            w = w[:-1]
        l1, l2 = self.strengths
        if l1 == l2 == 0.0:
            slope, known = np.abs(state.gradient[: len(w)]), self.curvatures > 0
            scaled = slope[known] / np.sqrt(self.curvatures[known])
            return float(self.deviation * np.max(scaled, initial=0.0))
        square = max(2.0 * value - l2 * inner(w, w), 0.0)
        gap = duality_gap(w, l2 * w - smooth, square, l1, l2, self.positive)
        return min(max(gap, 0.0), float(getattr(state, "gap", np.inf)))


def solve_wide(
    data: BlockDataset,
    executor: Executor,
    about: Spread,
    target: int,
    strengths: tuple[float, float],
    start: FloatArray,
    how: Any,
) -> Wide:
    """Minimise ``1/(2W) sum_i s_i (y_i - x_i.w - b)^2 + l1 |w|_1 + l2/2 |w|^2`` by proximal L-BFGS, a
    pass a step, or by the solver on pieces that was asked for.

    Parameters
    ----------
    about : of the targets
    target : which
    strengths : l1, l2
    start : (n_features,)
    how : an estimator with ``fit_intercept positive max_iter tol solver``

    Notes
    -----
    It ends where the duality gap is at most ``tol`` times the mean square of y (about its mean, with an
    intercept), as coordinate descent does: in no unit but y's.
    """
    facts = data.facts
    l1, l2 = strengths
    mean = float(about.mean[target])
    local, free = how.solver in LOCAL, bool(how.fit_intercept)
    slopes = np.append(np.ones(facts.n_features), np.zeros(int(free)))
    column = target if facts.n_outputs else None
    finish = Finish(about.weight_sum, L2(l2 * slopes))
    objective = LinearObjective(data, executor, HalfSquared(), free, finish, target=column)
    whole = kinks_of(slopes if local else np.ones(facts.n_features), how, l1)
    kinks = whole if l1 > 0 or how.positive else None
    solver: Any = LBFGS(sketch="diagonal") if kinks is None else ProximalLBFGS(kinks)
    best = Profiled(solver, about.mean_x, mean)
    if local:
        edges = edges_of(facts, facts.n_features + int(free))
        objective, solver = in_pieces(how.solver, objective, edges, kinks)
        start = np.append(start, [mean] * int(free))
    elif free:
        solver = best
    distance = DualityGap(
        strengths, how.positive, kinks, about.curvatures(free), about.deviation(target, free),
        about.mean_x if local and free else None,
    )  # fmt: skip
    solution = solve(
        objective, solver, start,
        max_iter=how.max_iter, tol=tolerance(about, target, how), distance=distance,
    )  # fmt: skip
    coef = solution.w[: facts.n_features]
    intercept = best.intercept(coef) if free else 0.0
    return Wide(coef, intercept, distance(solution.state), solution.n_iter)


def tolerance(about: Spread, target: int, how: Any) -> float:
    """``tol`` times the mean square of y, about its mean with an intercept; no less than its rounding."""
    return gap_tolerance(
        float(about.squares[target]) / about.weight_sum, float(about.mean[target]), how
    )


def gap_tolerance(square: float, mean: float, how: Any) -> float:
    """The same from the mean square about the mean, and the mean."""
    if not how.fit_intercept:
        square, mean = square + mean**2, 0.0
    unit = 8.0 * float(np.finfo(np.float64).eps)
    rounding = unit * np.sqrt(square) * (np.sqrt(square) + abs(mean)) + (unit * mean) ** 2
    return float(max(how.tol * square, rounding))


def kinks_of(slopes: FloatArray, how: Any, l1: float) -> BoundedL1:
    """L1 and the bounds of positive coefficients, where ``slopes`` is one; it is zero for an intercept."""
    lower = np.where(slopes * how.positive > 0, 0.0, -np.inf)
    return BoundedL1(l1 * slopes, lower, np.full(len(slopes), np.inf))


def duality_gap(
    coef: FloatArray, pull: FloatArray, square: float, l1: float, l2: float, positive: bool
) -> float:
    """Of the averaged objective, from ``pull = X'r / W`` and ``square = r'r / W``; ``l1`` or ``l2`` above 0.

    Fercoq, Gramfort, Salmon (2015), "Mind the duality gap", eq. 3; without l1 the conjugate of the ridge.
    """
    pulled = inner(coef, pull)
    ridge = l2 * inner(coef, coef)
    if l1 == 0:
        free = np.maximum(pull, 0.0) if positive else pull
        return 0.5 * ridge - pulled + inner(free, free) / (2.0 * l2)
    rest = pull - l2 * coef
    largest = float(np.max(rest if positive else np.abs(rest), initial=0.0))
    scale = l1 / largest if largest > l1 else 1.0
    # With r'y = r'r + w.X'r, ordered so that near the minimum nothing large is subtracted.
    bent = 0.5 * (1.0 - scale) ** 2 * square + 0.5 * (1.0 + scale**2) * ridge
    return bent + l1 * float(np.abs(coef).sum()) - scale * pulled


__all__ = [
    "SPREAD",
    "DualityGap",
    "Spread",
    "Wide",
    "column_sums",
    "duality_gap",
    "gap_tolerance",
    "kinks_of",
    "solve_wide",
    "tolerance",
]
