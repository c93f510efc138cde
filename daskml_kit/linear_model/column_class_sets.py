"""Fitting classes by columns with an L1 penalty: working sets, for one fit or for several side by side.

As in :mod:`~daskml_kit.linear_model.column_sets`, with a column of raw predictions a class: a look over all
columns names those that violate optimality most in any class; they and the columns in use come together on
one worker, which solves the small problem, all classes at once, by proximal Newton steps. A look multiplies
the columns with the gradients of all classes of all fits, so it remembers nothing, and no block can forget.

A set never exceeds the largest block. What does not fit waits: its coefficients stay as they are, and its
part of the predictions with them, until a later set has room for those that violate most.

References
----------
Johnson, Guestrin (2015). Blitz: a principled meta-algorithm for scaling sparse optimization. ICML,
Algorithm 2.
Friedman, Hastie, Tibshirani (2010). Regularization paths for generalized linear models via coordinate
descent. J. Stat. Softw. 33, section 4.
Lee, Sun, Saunders (2014). Proximal Newton-type methods for minimizing composite functions. SIAM J. Optim.
24, Algorithm 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from scipy import sparse

from daskml_kit.kernels.class_descent import descend_classes
from daskml_kit.linear_model.column_classes import ClassProblem
from daskml_kit.linear_model.column_problem import ROUNDING, STILL, ByColumns
from daskml_kit.linear_model.column_rounds import pulls, tiles
from daskml_kit.linear_model.column_sets import (
    FIRST,
    foremost,
    gathered,
    most_columns,
    solved_on_sets,
)
from daskml_kit.runtime.block import Block
from daskml_kit.runtime.columns import ColumnDataset
from daskml_kit.runtime.executor import Executor
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.typing import Array, FloatArray, IntArray

SIZES = "column-deviations"
SWEEPS, ENOUGH = 100, 1e-4
"""Of the descent on one quadratic model."""

STEPS = 200
"""Newton's, of a small problem."""


class ClassLook(NamedTuple):
    """What a fit asks of all columns.

    Attributes
    ----------
    at, values : the columns in use, and their coefficients (n_used, n_outputs)
    strengths : of the problem
    lead : strength of the next problem on a path, whose columns are to be named too; None for none
    wanted : how many columns to name
    """

    at: IntArray
    values: FloatArray
    strengths: tuple[float, float]
    lead: float | None
    wanted: int


Leaders: TypeAlias = "tuple[IntArray, FloatArray]"


class Seen(NamedTuple):
    """Of some blocks, of one fit; ``largest`` and ``violation`` are largest values, ``excess`` is a sum."""

    largest: float  # component of X'theta, theta = -gradient
    excess: float  # sum of squares of what components of X'theta exceed l1 by
    violation: float  # largest component of the smallest subgradient
    leaders: Leaders  # unused columns, and how far they exceed l1, in units of the column
    ahead: Leaders | None  # the same of the lead


def _look_chunk(block: Block, params: tuple[FloatArray, tuple[ClassLook, ...]]) -> tuple[Seen, ...]:
    gradients, looks = params
    pull = -pulls(block, gradients)
    known = block.scratch.get(SIZES)
    if known is None:
        known = block.scratch[SIZES] = _deviations(block)
    out, left = [], 0
    for look in looks:
        right = left + look.values.shape[1]
        out.append(_seen(block, pull[:, left:right], look, known))
        left = right
    return tuple(out)


def _deviations(block: Block) -> FloatArray:
    """Of the columns, (d,): their size, for a choice between them."""
    if not sparse.issparse(block.X):
        return np.concatenate([np.zeros(0), *(X.std(axis=1) for _, X in tiles(block))])
    X: Any = block.X
    square, mean = np.ravel(X.multiply(X).mean(axis=1)), np.ravel(X.mean(axis=1))
    return np.asarray(np.sqrt(np.maximum(square - mean**2, 0.0)))


def _seen(block: Block, pull: FloatArray, look: ClassLook, size: FloatArray) -> Seen:
    l1 = look.strengths[0]
    own = (look.at >= block.start) & (look.at < block.start + block.n_rows)
    w = np.zeros_like(pull)
    w[look.at[own] - block.start] = look.values[own]
    reach = np.abs(pull)
    most = reach.max(axis=1, initial=0.0)
    most[(w != 0).any(axis=1) | (size == 0)] = 0.0
    return Seen(
        float(reach.max(initial=0.0)),
        float(np.sum(np.maximum(reach - l1, 0.0) ** 2)),
        violation(w, pull, look.strengths),
        _leaders(block, most, size, l1, look.wanted),
        None if look.lead is None else _leaders(block, most, size, look.lead, look.wanted),
    )


def _leaders(block: Block, most: FloatArray, size: FloatArray, l1: float, wanted: int) -> Leaders:
    """The columns whose largest component exceeds ``l1`` most, at most so many as are wanted."""
    some = np.flatnonzero(most > l1)
    over = (most[some] - l1) / size[some]
    best = np.sort(np.argsort(-over, kind="stable")[:wanted])
    return block.start + some[best], over[best]


def violation(w: FloatArray, pull: FloatArray, strengths: tuple[float, float]) -> float:
    """Largest component of the smallest subgradient of the objective."""
    l1, l2 = strengths
    rest = pull - l2 * w
    at_zero = np.maximum(np.abs(rest) - l1, 0.0)
    return float(np.where(w == 0, at_zero, np.abs(rest - l1 * np.sign(w))).max(initial=0.0))


def _look_combine(a: tuple[Seen, ...], b: tuple[Seen, ...]) -> tuple[Seen, ...]:
    return tuple(
        Seen(
            max(p.largest, q.largest),
            p.excess + q.excess,
            max(p.violation, q.violation),
            _both(p.leaders, q.leaders),
            None if p.ahead is None or q.ahead is None else _both(p.ahead, q.ahead),
        )
        for p, q in zip(a, b, strict=True)
    )


def _both(a: Leaders, b: Leaders) -> Leaders:
    return np.concatenate([a[0], b[0]]), np.concatenate([a[1], b[1]])


LOOK: Reduction[Any, tuple[Seen, ...], tuple[Seen, ...]] = Reduction(
    "classes-columns", _look_chunk, _look_combine
)
"""One read of the columns for all fits."""


@dataclass
class ClassPoint:
    """Coefficients, and what the driver knows of the objective there."""

    w: FloatArray  # (d, n_outputs)
    v: FloatArray  # (n, n_outputs) X w
    b: FloatArray  # (n_outputs,)
    gradient: FloatArray
    value: float  # F


class Task(NamedTuple):
    """A small problem: everything but the columns."""

    problem: ClassProblem
    at: IntArray  # columns in use
    values: FloatArray
    v: FloatArray  # predictions of all columns
    b: FloatArray
    gradient_tol: float


class Solved(NamedTuple):
    """Its solution: coefficients of all columns of the set, and what the predictions gain."""

    at: IntArray
    values: FloatArray
    product: FloatArray
    b: FloatArray


def _solve_set(pieces: Sequence[tuple[IntArray, Any]], task: Task) -> Solved:
    """Where the working set was brought together."""
    at, block = gathered(pieces)
    w = np.zeros((len(at), task.problem.n_outputs))
    used = np.isin(at, task.at)
    w[used] = task.values[np.isin(task.at, at)]
    return minimised(at, block, w, task)


def minimised(at: IntArray, block: Block, w: FloatArray, task: Task) -> Solved:
    """Proximal Newton steps on the columns of one block, from ``w`` (m, n_outputs)."""
    problem, start = task.problem, w.copy()
    means = None
    if problem.fit_intercept and not sparse.issparse(block.X):
        means = np.concatenate([X @ problem.share for _, X in tiles(block)])
        means /= float(problem.share.sum())
    fixed = task.v
    moved = np.zeros_like(fixed)  # what the predictions have gained
    b, f, gradient = problem.centred(fixed, task.b)
    value = f + problem.penalty(w)
    for _ in range(STEPS):
        if violation(w, -pulls(block, gradient), problem.strengths) <= task.gradient_tol:
            break
        step = descend_classes(
            block.X, w, gradient, problem.probability(fixed + moved + b), problem.share,
            problem.strengths, means=means, fit_intercept=problem.fit_intercept,
            max_sweeps=SWEEPS, enough=ENOUGH,
        )  # fmt: skip
        # Of the columns as they are: intercepts take the means' part.
        shift = step.intercept
        if means is not None:
            shift = shift - means @ (step.coef - w)
        product, share = step.product - shift, 1.0
        most = value + 10.0 * ROUNDING * abs(value)
        while share > ROUNDING:
            new_w = w + share * (step.coef - w) if share < 1.0 else step.coef
            new_b, new_f, there = problem.centred(
                fixed + moved + share * product, b + share * shift
            )
            new = new_f + problem.penalty(new_w)
            if new <= most:
                break
            share *= 0.5
        if share <= ROUNDING or np.array_equal(new_w, w):
            break
        w, b, gradient, value = new_w, new_b, there, new
        moved = moved + share * product
    change = w - start
    exact = np.zeros_like(fixed)  # rounding of the steps left out
    for columns, X in tiles(block):
        exact += X.T @ change[columns]
    return Solved(at, w, exact, b)


@dataclass
class ClassFit:
    """One fit on its way.

    Attributes
    ----------
    problem : with l1
    point : where it is
    lead : strength of the next penalty along a path, None for none
    """

    problem: ClassProblem
    point: ClassPoint
    lead: float | None = None
    size: int = FIRST
    best_dual: float = -np.inf
    gap: float = np.inf
    looks: int = 0
    still: int = 0

    def look(self) -> ClassLook:
        """What it asks of all columns."""
        at = np.flatnonzero(self.point.w.any(axis=1))
        return ClassLook(at, self.point.w[at], self.problem.strengths, self.lead, self.size)

    def heard(self, seen: Seen, gradient_tol: float) -> bool:
        """Whether it is at its minimum."""
        dual, _ = self.problem.dual(self.point.gradient, seen.largest, seen.excess)
        self.best_dual = max(self.best_dual, dual)
        self.gap = max(self.point.value - self.best_dual, 0.0)
        self.looks += 1
        self.still = self.still + 1 if self.gap <= ROUNDING * abs(self.point.value) else 0
        return self.still == STILL or seen.violation <= gradient_tol

    def chosen(self, seen: Seen, most: int) -> IntArray:
        """The columns in use, and those that violate optimality most; half of each where room is short."""
        named = [seen.leaders] if seen.ahead is None else [seen.leaders, seen.ahead]
        best = foremost(named, self.size)
        used = np.flatnonzero(self.point.w.any(axis=1))
        if len(best) + len(used) > most:
            best = best[: max(most // 2, most - len(used))]
            turn = self.looks * (most - len(best)) % max(len(used), 1)
            used = np.roll(used, -turn)[: most - len(best)]  # the others have their turn next
        return np.union1d(used, best)

    def task(self, chosen: IntArray, seen: Seen, gradient_tol: float) -> Task:
        """The small problem on some columns."""
        point = self.point
        at = chosen[point.w[chosen].any(axis=1)]
        tol = max(0.1 * gradient_tol, 1e-3 * seen.violation)
        return Task(self.problem, at, point.w[at], point.v, point.b, tol)

    def moved(self, found: Solved) -> None:
        """To the solution of a small problem."""
        w = self.point.w.copy()
        w[found.at] = found.values
        before = self.point.value
        self.point = point_at(self.problem, w, self.point.v + found.product, found.b)
        used = int(np.count_nonzero(w.any(axis=1)))
        better = self.point.value < before - ROUNDING * abs(before)
        self.size = max(FIRST, used) if better else 2 * self.size


def point_at(problem: ClassProblem, w: FloatArray, v: FloatArray, b: FloatArray) -> ClassPoint:
    """The point of some coefficients and their product, with the best intercepts."""
    b, f, gradient = problem.centred(v, b)
    return ClassPoint(w, v, b, gradient, f + problem.penalty(w))


def look_at(data: ColumnDataset, executor: Executor, fits: Sequence[ClassFit]) -> tuple[Seen, ...]:
    """One round, for all fits."""
    gradients = np.hstack([fit.point.gradient for fit in fits])
    value = sum(fit.point.value for fit in fits)
    looks = tuple(fit.look() for fit in fits)
    return executor.reduce(data, LOOK, (gradients, looks), objective=lambda _: value)


def step_on_sets(
    data: ColumnDataset,
    executor: Executor,
    fits: Sequence[ClassFit],
    seen: Sequence[Seen],
    gradient_tol: float,
) -> None:
    """The solutions of working sets, side by side: one round, in which only their columns travel."""
    most = most_columns(data)
    sets = [fit.chosen(own, most) for fit, own in zip(fits, seen, strict=True)]
    both = [trio for trio in zip(fits, seen, sets, strict=True) if len(trio[2])]
    if not both:
        return
    tasks = [fit.task(chosen, own, gradient_tol) for fit, own, chosen in both]
    found = solved_on_sets(data, executor, [chosen for *_, chosen in both], tasks, _solve_set)
    for (fit, *_), solved in zip(both, found, strict=True):
        fit.moved(solved)


def solve_classes_by_columns(
    data: ColumnDataset,
    executor: Executor,
    problem: ClassProblem,
    *,
    max_iter: int,
    gradient_tol: float,
    warm: FloatArray | None = None,
) -> ByColumns:
    """Minimise an objective with l1.

    Parameters
    ----------
    data, executor : opened by columns
    max_iter : most rounds over all columns
    gradient_tol : converged when no component of the smallest subgradient exceeds this
    warm : (d, n_outputs) coefficients to begin with, which the data hold too

    Returns
    -------
    ByColumns
    """
    n, d = data.facts.n_features, data.facts.n_rows
    w, v = problem.zeros(d), problem.zeros(n)
    if warm is not None:
        w, v = warm, executor.reduce(data, STARTING_PRODUCTS, None)
    point = point_at(problem, w, v, problem.no_intercept())
    fit = ClassFit(problem, point)
    converged = False
    while not converged and fit.looks < max_iter:
        seen = look_at(data, executor, [fit])
        converged = fit.heard(seen[0], gradient_tol)
        if not converged:
            step_on_sets(data, executor, [fit], seen, gradient_tol)
    return ByColumns(fit.point.w, fit.point.b, fit.gap, fit.looks, converged)


def _start_chunk(block: Block, _: None) -> Array:
    w = np.asarray(block.y, dtype=np.float64).reshape(block.n_rows, -1)
    out = np.zeros((block.X.shape[1], w.shape[1]))
    for columns, X in tiles(block):
        out += X.T @ w[columns]
    return out


def _add(a: Array, b: Array) -> Array:
    return a + b


STARTING_PRODUCTS: Reduction[None, Array, Array] = Reduction("columns-start", _start_chunk, _add)
"""``X W`` at the coefficients that a warm start left with the columns."""


__all__ = [
    "ClassFit",
    "ClassPoint",
    "look_at",
    "point_at",
    "solve_classes_by_columns",
    "step_on_sets",
]
