"""The elastic net of more features than a Gram matrix takes: proximal L-BFGS over the rows."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from daskml_kit.linear_model.choice import LOCAL, sketch_for
from daskml_kit.linear_model.objective import Finish, LinearObjective, linear_reduction
from daskml_kit.linear_model.pieces import edges_of, in_pieces
from daskml_kit.losses import HalfSquared
from daskml_kit.penalties import L2, BoundedL1
from daskml_kit.runtime.block import Block
from daskml_kit.runtime.dataset import BlockDataset
from daskml_kit.runtime.executor import Executor
from daskml_kit.runtime.ingest import DataFacts
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.solvers import ProximalLBFGS, solve
from daskml_kit.typing import FloatArray


class Spread(NamedTuple):
    """Of each target: total weight, mean, and sum of squares about the mean."""

    weight_sum: float
    mean: FloatArray
    squares: FloatArray


def _spread_chunk(block: Block, _: Any) -> Spread:
    y = np.asarray(block.y).reshape(block.n_rows, -1)
    s = np.ones(len(y)) if block.weight is None else block.weight
    total = float(s.sum())
    mean = s @ y / total if total > 0 else np.zeros(y.shape[1])
    return Spread(total, mean, s @ (y - mean) ** 2)


def _spread_combine(a: Spread, b: Spread) -> Spread:
    total = a.weight_sum + b.weight_sum
    share = b.weight_sum / total if total > 0 else 0.0
    gap = b.mean - a.mean
    squares = a.squares + b.squares + a.weight_sum * share * gap**2
    return Spread(total, a.mean + share * gap, squares)


SPREAD: Reduction[None, Spread, Spread] = Reduction("spread", _spread_chunk, _spread_combine)
"""Reads y alone."""


class Wide(NamedTuple):
    """One target's solution."""

    coef: FloatArray
    intercept: float
    gap: float  # duality gap of the averaged objective
    n_iter: int


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
    It ends where no component of the smallest subgradient exceeds ``tol`` times the deviation of y (about 0
    without an intercept): features of unit size then know their coefficients to about ``tol`` of that.
    """
    facts = data.facts
    l1, l2 = strengths
    mean = float(about.mean[target])
    free = int(how.fit_intercept)
    width = facts.n_features + free
    penalty, on_coef = kinks_of(facts, how, l1)
    column = target if facts.n_outputs else None
    finish = Finish(about.weight_sum, L2(l2 * on_coef))
    objective = LinearObjective(
        data, executor, HalfSquared(), how.fit_intercept, finish, target=column
    )
    kinks = penalty if l1 > 0 or how.positive else None
    solver: Any = sketch_for(facts, width) if kinks is None else ProximalLBFGS(kinks)
    if how.solver in LOCAL:
        objective, solver = in_pieces(how.solver, objective, edges_of(facts, width), kinks)
    solution = solve(
        objective,
        solver,
        np.r_[start, [mean] * free],
        max_iter=how.max_iter,
        tol=tolerance(about, target, how),
    )
    # The residual's own sums, for the duality gap: one pass at the solution.
    w = solution.w
    sums = executor.reduce(data, linear_reduction(HalfSquared(), how.fit_intercept, 1, column), w)
    coef = w[: facts.n_features]
    pull = -sums.gradient[: facts.n_features] / about.weight_sum
    square = 2.0 * sums.value / about.weight_sum
    gap = duality_gap(coef, pull, square, l1, l2, how.positive)
    return Wide(coef, float(w[-1]) if free else 0.0, gap, solution.n_iter)


def tolerance(about: Spread, target: int, how: Any) -> float:
    """``tol`` times the deviation of y, about 0 without an intercept; no less than rounding of its mean."""
    square = float(about.squares[target]) / about.weight_sum
    mean = float(about.mean[target])
    if not how.fit_intercept:
        square += mean**2
    rounding = float(np.finfo(np.float64).eps) * abs(mean)
    return max(float(how.tol * np.sqrt(square)), rounding)


def kinks_of(facts: DataFacts, how: Any, l1: float) -> tuple[BoundedL1, FloatArray]:
    """L1 and the bounds of positive coefficients; and ones for coefficients, zero for the intercept."""
    on_coef = np.r_[np.ones(facts.n_features), np.zeros(int(how.fit_intercept))]
    lower = np.where(on_coef * how.positive > 0, 0.0, -np.inf)
    return BoundedL1(l1 * on_coef, lower, np.full(len(on_coef), np.inf)), on_coef


def duality_gap(
    coef: FloatArray, pull: FloatArray, square: float, l1: float, l2: float, positive: bool
) -> float:
    """Of the averaged objective, from ``pull = X'r / W`` and ``square = r'r / W``.

    Fercoq, Gramfort, Salmon (2015), "Mind the duality gap", eq. 3; without l1 the conjugate of the ridge.
    """
    inner = square + float(coef @ pull)  # r'y
    ridge = l2 * float(coef @ coef)
    rest = pull - l2 * coef
    if l1 == 0:
        return square + 0.5 * ridge - inner + float(pull @ pull) / (2.0 * l2) if l2 > 0 else 0.0
    largest = float(np.max(rest if positive else np.abs(rest), initial=0.0))
    scale = l1 / largest if largest > l1 else 1.0
    primal = 0.5 * (square + ridge) + l1 * float(np.abs(coef).sum())
    return primal + 0.5 * scale**2 * (square + ridge) - scale * inner


__all__ = ["SPREAD", "Spread", "Wide", "duality_gap", "kinks_of", "solve_wide", "tolerance"]
