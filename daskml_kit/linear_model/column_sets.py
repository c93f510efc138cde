"""Fitting by columns with an L1 penalty: working sets.

Few coefficients of a lasso are not zero. A round over all columns names those that violate optimality most;
they and the columns in use are brought together on one worker, which solves the small problem, columns that
the blocks keep, as if there were no others. Then the next round looks over all columns again::

    all columns, a round          the working set, a round
    gradient, gap, leaders  --->  its solution and product  --->  all columns, a round ...

The set doubles at least with the number of columns in use, so there are few rounds, and each answers the
question whether the whole problem is solved. Which columns are chosen depends on no chunk. A set may become
as large as the largest block and no larger: beyond, all blocks descend side by side
(:mod:`~daskml_kit.linear_model.column_blocks`).

References
----------
Johnson, Guestrin (2015). Blitz: a principled meta-algorithm for scaling sparse optimization. ICML,
Algorithm 2.
Massias, Gramfort, Salmon (2018). Celer: a fast solver for the lasso with dual extrapolation. ICML,
Algorithm 4 (the doubling of the set).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from daskml_kit.kernels.column_descent import columns_product
from daskml_kit.linear_model.column_blocks import MAX_SWEEPS, Point, Solve, slice_of
from daskml_kit.linear_model.column_problem import ROUNDING, STILL, ByColumns, Problem
from daskml_kit.linear_model.column_rounds import Answer, Slice
from daskml_kit.runtime.block import Block, Bundle, stacked
from daskml_kit.runtime.columns import ColumnDataset
from daskml_kit.runtime.dataset import BundleRef
from daskml_kit.runtime.events import Unheard
from daskml_kit.runtime.executor import Executor
from daskml_kit.runtime.local import LocalExecutor
from daskml_kit.typing import FloatArray, IntArray

FIRST = 200
"""Columns of the first working set."""

MOST_BYTES = 256_000_000
"""Of a working set, if the largest block is not smaller."""

SWEEPS = 20  # of a small problem's round
SMALL_ROUNDS = 2_000


class Task(NamedTuple):
    """A small problem: everything but the columns."""

    problem: Problem
    at: IntArray  # columns in use
    values: FloatArray
    b: float
    gap_tol: float | None
    gradient_tol: float


class Solved(NamedTuple):
    """Its solution: the columns that it uses."""

    at: IntArray
    values: FloatArray
    product: FloatArray
    b: float


def _cut(bundle: Bundle, sets: Sequence[IntArray]) -> list[tuple[IntArray, Any]]:
    """The columns of a bundle that belong to each working set."""
    out = []
    for wanted in sets:
        at, rows = [], []
        for block in bundle:
            own = wanted[(wanted >= block.start) & (wanted < block.start + block.n_rows)]
            at.append(own)
            rows.append(block.X[own - block.start])
        out.append((np.concatenate(at), stacked(rows)))
    return out


def gathered(pieces: Sequence[tuple[IntArray, Any]]) -> tuple[IntArray, Block]:
    """The columns of a working set, and their block, in an order that follows from the columns alone."""
    pieces = [piece for piece in pieces if len(piece[0])]
    at, rows = np.concatenate([p[0] for p in pieces]), stacked([p[1] for p in pieces])
    order = np.argsort(at)  # not by who came first
    return at[order], Block(rows[order])


def _solve_set(pieces: Sequence[tuple[IntArray, Any]], task: Task) -> Solved:
    """Where the working set was brought together: its solution, to the tolerances of the task."""
    at, block = gathered(pieces)
    w = np.zeros(len(at))
    w[np.searchsorted(at, task.at)] = task.values
    data = _alone(block)
    executor = LocalExecutor(Unheard("working-set"))
    solve = Solve(data, executor, task.problem, 0, 0)
    solve.told = (slice_of(w, 0, len(w)),)
    begin = solve.at(w, columns_product(block.X, w), task.b)
    found = solve.run(begin, SMALL_ROUNDS, task.gap_tol, task.gradient_tol, SWEEPS)
    used = np.flatnonzero(found.coef)
    product = columns_product(block.X, found.coef)
    return Solved(at[used], found.coef[used], product, found.intercept)


def solved_on_sets(
    data: ColumnDataset,
    executor: Executor,
    sets: Sequence[IntArray],
    tasks: Sequence[Any],
    solve: Any = _solve_set,
) -> list[Any]:
    """The solutions of small problems, side by side: one round, in which only their columns travel."""
    return executor.exchange(data, "columns-working-set", _cut, solve, sets, tasks)


def _alone(block: Block) -> ColumnDataset:
    """One block as a data set."""
    bundle = Bundle((block,))
    ref = BundleRef(bundle, "local-0", block.n_rows, block.nbytes, 1)
    facts: Any = _Shape(block.n_rows, int(block.X.shape[1]))
    return ColumnDataset([ref], facts, True)


class _Shape(NamedTuple):
    """The facts that a solve asks for."""

    n_rows: int
    n_features: int


def solve_sparse_by_columns(
    data: ColumnDataset,
    executor: Executor,
    problem: Problem,
    *,
    max_iter: int,
    gap_tol: float | None = None,
    gradient_tol: float = 0.0,
    number: int = 0,
    target: int = 0,
    warm: FloatArray | None = None,
) -> ByColumns:
    """Minimise an objective with l1.

    Parameters
    ----------
    data, executor : opened by columns
    max_iter : most rounds over all columns
    gap_tol : converged when the duality gap is at most this
    gradient_tol : or when no component of the smallest subgradient exceeds this
    number : of this solve among those of one fit
    target : column of the starting coefficients
    warm : (d,) those coefficients, where the data hold any

    Returns
    -------
    ByColumns

    Raises
    ------
    ClusterError
        Blocks went on forgetting their coefficients.
    """
    solve = Solve(data, executor, problem, number, target)
    point, best_dual, gap, still = solve.start(warm), -np.inf, np.inf, 0
    size = FIRST
    for _ in range(max_iter):
        answer = solve.ask(point, max_sweeps=0, wanted=size)
        dual, scale = problem.dual(point.gradient, answer.largest, answer.excess)
        best_dual = max(best_dual, dual)
        gap = max(point.value - best_dual, 0.0)
        floor = ROUNDING * abs(point.value)
        enough = gap_tol is not None and gap <= max(gap_tol, floor)
        still = still + 1 if gap <= floor else 0
        if enough or still == STILL or answer.violation <= gradient_tol:
            return ByColumns(point.w, point.b, gap, solve.version, True)
        solve.look_at(point.value - dual, scale)
        chosen = working_set(point, [answer.leaders], size)
        if len(chosen) > most_columns(data) or not len(chosen):
            solve.told = (slice_of(point.w, 0, len(point.w)),)
            return solve.run(point, max_iter, gap_tol, gradient_tol, MAX_SWEEPS)
        before = point.value
        point = _on_the_set(solve, point, chosen, gap, answer, gap_tol, gradient_tol)
        solve.told = (slice_of(point.w, 0, len(point.w)),)
        used = int(np.count_nonzero(point.w))
        size = max(FIRST, used) if point.value < before - floor else 2 * size
    return ByColumns(point.w, point.b, gap, solve.version, False)


def most_columns(data: ColumnDataset) -> int:
    """Columns of the largest working set."""
    column = max(data.facts.nbytes / max(data.facts.n_rows, 1), 1.0)
    largest = max(b.nbytes for b in data.bundles)
    return int(min(MOST_BYTES, largest) / column)


def working_set(point: Point, named: Sequence[Sequence[Slice]], size: int) -> IntArray:
    """The columns in use, and ``size`` of those that are named, as :func:`foremost` has them."""
    pairs = [
        (
            np.concatenate([s.start + s.at for s in slices] or [np.zeros(0, int)]),
            np.concatenate([s.values for s in slices] or [np.zeros(0)]),
        )
        for slices in named
    ]
    return np.union1d(np.flatnonzero(point.w), foremost(pairs, size))


def foremost(named: Sequence[tuple[IntArray, FloatArray]], size: int) -> IntArray:
    """The first ``size`` of some columns.

    Parameters
    ----------
    named : (columns, how far they violate optimality) of one penalty after another
        Those of the first penalty come first, however far others violate theirs.

    Examples
    --------
    >>> own = np.array([3, 1]), np.array([0.1, 0.2])
    >>> ahead = np.array([1, 3, 7, 8]), np.array([9.0, 5.0, 4.0, 6.0])
    >>> foremost([own, ahead], 3).tolist()
    [1, 3, 8]
    """
    chosen = np.zeros(0, dtype=np.int64)
    for at, over in named:
        ranked = at[np.lexsort((at, -over))]
        more = ranked[~np.isin(ranked, chosen)][: size - len(chosen)]
        chosen = np.concatenate([chosen, more])
    return chosen


def _on_the_set(
    solve: Solve,
    point: Point,
    chosen: IntArray,
    gap: float,
    answer: Answer,
    gap_tol: float | None,
    gradient_tol: float,
) -> Point:
    """The solution on the working set."""
    task = task_at(
        solve.problem,
        point,
        None if gap_tol is None else max(0.1 * gap_tol, 1e-3 * gap),
        max(0.1 * gradient_tol, 1e-3 * answer.violation if gap_tol is None else 0.0),
    )
    (found,) = solved_on_sets(solve.data, solve.executor, [chosen], [task])
    return point_of(solve, found)


def task_at(
    problem: Problem, point: Point, gap_tol: float | None, gradient_tol: float = 0.0
) -> Task:
    """The small problem that begins at a point."""
    used = np.flatnonzero(point.w)
    return Task(problem, used, point.w[used], point.b, gap_tol, gradient_tol)


def point_of(solve: Solve, found: Solved) -> Point:
    """Where all columns stand with the solution of a small problem."""
    w = np.zeros(solve.data.facts.n_rows)
    w[found.at] = found.values
    return solve.at(w, found.product, found.b)


__all__ = [
    "FIRST",
    "foremost",
    "gathered",
    "most_columns",
    "point_of",
    "solve_sparse_by_columns",
    "solved_on_sets",
    "task_at",
    "working_set",
]
