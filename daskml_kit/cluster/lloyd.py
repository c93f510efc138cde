"""Lloyd's algorithm, one pass an iteration, several runs side by side.

Each iteration gives every row to its nearest centre and puts each centre at the mean of its rows::

    running --+--> strict   the centres did not move   }
              +--> near     less than the tolerance    } one more pass: inertia, and labels, by the
              +--> last     max_iter                   } centres where they ended
              +--> empty    a cluster lost all rows: one pass finds the rows farthest from their
                            centres, the empty clusters move there, and the run goes on

Where the labels of two iterations are the same, so are sums and counts, bit by bit, for they are exact;
so that the centres stay is scikit-learn's rule that the labels stay, without labels.

References
----------
Lloyd (1982). Least squares quantization in PCM. IEEE Transactions on Information Theory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, TypeAlias

import numpy as np

from daskml_kit.cluster.assignment import At, Labelled, Tally, labelling, tally
from daskml_kit.cluster.ground import Ground
from daskml_kit.cluster.grouping import Groups
from daskml_kit.cluster.selection import Chosen, merged, smallest
from daskml_kit.cluster.side_by_side import side_by_side
from daskml_kit.kernels import nearest
from daskml_kit.kernels.exact_sums import Grid
from daskml_kit.runtime.block import Block
from daskml_kit.runtime.dataset import BlockDataset
from daskml_kit.runtime.executor import Executor
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.typing import FloatArray, IntArray

Status = Literal["running", "strict", "near", "last", "empty"]


@dataclass(frozen=True, eq=False)
class Run:
    """One start and how far it came."""

    centers: FloatArray  # (k, d) of the dtype of X
    groups: Groups = None  # what is kept of the distances
    n_iter: int = 0
    status: Status = "running"
    tally: Tally | None = None  # of the last pass
    cost: float = float("nan")  # where the last pass measured
    n_distances: int = 0
    final: Labelled | None = None  # at ``centers``, once the run has ended

    @property
    def inertia(self) -> float:
        """At the final centres."""
        assert self.final is not None
        return self.final.inertia

    def labels(self) -> IntArray:
        """Labels of all rows, in order."""
        assert self.final is not None
        return self.final.all_labels()


Runs: TypeAlias = "tuple[Run, ...]"


@dataclass(frozen=True, eq=False)
class Rule:
    """When a run ends, and what its cost is counted from."""

    tol: float  # of the summed squared shift of the centres
    max_iter: int
    origin: FloatArray  # (d,) a point near the data
    square: float  # weighted sum of the squared distances of all rows to it


# ---------------------------------------------------------------- empty clusters


def _farthest_chunk(size: int, block: Block, at: At) -> Chosen:
    _, squares = nearest(block.X, at.centers, at.origin)
    usable = squares > 0 if block.weight is None else (squares > 0) & (block.weight > 0)
    return smallest(block, np.where(usable, -squares, np.inf), size)


def farthest(size: int) -> Reduction[At, Chosen, Chosen]:
    """The ``size`` rows farthest from their nearest centre: one pass, ``size`` rows come back."""
    return Reduction("farthest", partial(_farthest_chunk, size), partial(merged, size))


# ---------------------------------------------------------------- one step


def advanced(rule: Rule, run: Run, found: Tally) -> Run:
    """The run after the M-step, or marked as one that needs its empty clusters filled."""
    run = replace(
        run,
        tally=found,
        cost=cost_of(rule, run.centers, found),
        n_distances=run.n_distances + found.n_distances,
    )
    return replace(run, status="empty") if np.any(found.counts == 0) else stepped(rule, run, found)


def cost_of(rule: Rule, centers: FloatArray, found: Tally) -> float:
    """The objective at the centres of a tally: all squares, less what the means of clusters explain.

    ``sum_i w_i |x_i - o|^2 - sum_k w_k |m_k - o|^2 + sum_k w_k |c_k - m_k|^2``. Good to rounding of its first
    term, so no measure of clusters that are much narrower than the data: that is what the last pass is for.
    """
    means = averaged(found)
    inner, outer = centers - means, means - rule.origin
    squares = np.einsum("kj,kj->k", inner, inner) - np.einsum("kj,kj->k", outer, outer)
    return max(rule.square + float(found.counts @ squares), 0.0)


def stepped(rule: Rule, run: Run, found: Tally) -> Run:
    """The run with its centres at the means of their rows."""
    centers = averaged(found).astype(run.centers.dtype)
    gaps = centers.astype(np.float64) - run.centers
    shift, n_iter = float(np.einsum("kj,kj->", gaps, gaps)), run.n_iter + 1
    status: Status = "running"
    if np.array_equal(centers, run.centers):
        status = "strict"
    elif shift <= rule.tol:
        status = "near"
    elif n_iter >= rule.max_iter:
        status = "last"
    return replace(run, centers=centers, n_iter=n_iter, status=status)


def averaged(found: Tally) -> FloatArray:
    """Means (k, d); a cluster without rows gets that of the heaviest, as scikit-learn does."""
    counts = found.counts[:, None]
    means: FloatArray = found.sums / np.where(counts > 0, counts, 1.0)
    return np.where(counts > 0, means, means[np.argmax(found.counts)])


def _noise(centers: FloatArray) -> FloatArray:
    """(k,) squared distance to a centre that rounding alone may make of none."""
    squares = np.einsum("kj,kj->k", centers, centers, dtype=np.float64)
    noise: FloatArray = (4.0 * np.finfo(centers.dtype).eps) ** 2 * squares
    return noise


def refilled(run: Run, chosen: Chosen) -> Tally:
    """The run's tally with one far row moved from its cluster to each empty one, the farthest first.

    Fewer far rows than empty clusters leave the rest empty. All of it is scikit-learn's rule, but for
    rows of weight 0, which are never taken.
    """
    before = run.tally
    assert before is not None
    sums, counts = before.sums.copy(), before.counts.copy()
    empty = np.flatnonzero(counts == 0)
    labels, squares = nearest(chosen.points, run.centers)
    far = np.flatnonzero(squares > _noise(run.centers)[labels])
    for cluster, i in zip(empty, far, strict=False):
        part = chosen.points[i].astype(np.float64) * chosen.weights[i]
        sums[labels[i]] -= part
        sums[cluster] = part
        counts[labels[i]] -= chosen.weights[i]
        counts[cluster] = chosen.weights[i]
    # What is left after all rows were taken away is rounding.
    counts[(before.counts > 0) & (counts <= 1e-12 * before.counts)] = 0.0
    return before._replace(sums=sums, counts=counts)


# ---------------------------------------------------------------- the loop


def lloyd(
    ground: Ground, starts: Sequence[Run], rule: Rule, *, unroll: int, with_labels: bool
) -> Runs:
    """Run from each start to its end.

    Parameters
    ----------
    ground : resident rows
    starts : centres of each run, of the dtype of X, and the groups of its bounds
    rule : when a run ends
    unroll : iterations submitted together; up to ``unroll - 1`` run for nothing at the end
    with_labels : whether the last pass brings the labels, for data in this process

    Returns
    -------
    tuple of Run
        Each with inertia and labels at its final centres.

    Notes
    -----
    One pass an iteration for all runs together, one more for each iteration that empties a cluster, and
    one at the end.
    """
    runs: Runs = tuple(starts)
    iterations = Iterations(rule, ground.origin, ground.grid, unroll, whole=not with_labels)
    while _unfinished(runs):
        if unroll == 1:
            runs = ground.executor.lead(ground.data, iterations, runs)
        else:
            runs = iterations.ahead(ground.executor, ground.data, runs)
    if any(run.final is None for run in runs):
        runs = iterations.labelled(ground.executor, ground.data, runs, with_labels=with_labels)
    return runs


def _unfinished(runs: Runs) -> bool:
    return any(run.status == "running" for run in runs)


@dataclass(frozen=True, eq=False)
class Iterations:
    """Iterations of all runs that are not at their end: what :meth:`Executor.lead` is given."""

    rule: Rule
    origin: FloatArray  # (d,) of the ground
    grid: Grid
    unroll: int = 1
    whole: bool = (
        False  # with the last pass, where it brings no labels: these are too many for a message
    )

    def __call__(
        self, executor: Executor, data: BlockDataset, runs: Runs, go_on: Callable[[], bool]
    ) -> Runs:
        """Iterations one by one, while they go on, and the last pass if it is theirs."""
        while True:
            runs = self._filled(executor, data, self._one(executor, data, runs))
            if not _unfinished(runs):
                return self.labelled(executor, data, runs) if self.whole else runs
            if not go_on():
                return runs

    def ahead(self, executor: Executor, data: BlockDataset, runs: Runs) -> Runs:
        """``unroll`` iterations submitted together."""
        left = self.rule.max_iter - min(run.n_iter for run in runs if run.status == "running")
        states: list[Runs] = executor.iterate(
            data,
            LLOYD,
            runs,
            point=self._running,
            update=partial(_updated, self.rule),
            n_rounds=min(self.unroll, left),
            objective=_least,
        )
        return self._filled(executor, data, states[-1])

    def _one(self, executor: Executor, data: BlockDataset, runs: Runs) -> Runs:
        moved: list[Runs] = []

        def objective(found: tuple[Tally | None, ...]) -> float:
            moved.append(_updated(self.rule, runs, found))
            return _least(moved[0])

        executor.reduce(data, LLOYD, self._running(runs), objective=objective)
        return moved[0]

    def _running(self, runs: Runs) -> tuple[At | None, ...]:
        return _where(("running",), self.origin, self.grid, runs)

    def _filled(self, executor: Executor, data: BlockDataset, runs: Runs) -> Runs:
        """Runs with empty clusters, filled and moved on: one pass for all of them, if there are any."""
        empty = [run.tally for run in runs if run.status == "empty"]
        if not empty:
            return runs
        size = max(int(np.sum(one.counts == 0)) for one in empty if one is not None)
        at = _where(("empty",), self.origin, self.grid, runs)
        chosen = executor.reduce(data, side_by_side(farthest(size)), at)
        return tuple(
            run if far is None else stepped(self.rule, run, refilled(run, far))
            for run, far in zip(runs, chosen, strict=True)
        )

    def labelled(
        self, executor: Executor, data: BlockDataset, runs: Runs, *, with_labels: bool = False
    ) -> Runs:
        """Runs with inertia and labels where they ended: one pass."""
        passes = side_by_side(labelling(with_labels=with_labels))
        at = _where(("strict", "near", "last"), self.origin, self.grid, runs)
        found = executor.reduce(data, passes, at, objective=_least_inertia)
        return tuple(
            run
            if one is None
            else replace(run, final=one, n_distances=run.n_distances + one.n_distances)
            for run, one in zip(runs, found, strict=True)
        )


LLOYD = side_by_side(tally("lloyd"))


def _where(
    which: Sequence[Status], origin: FloatArray, grid: Grid, runs: Runs
) -> tuple[At | None, ...]:
    return tuple(
        At(run.centers, origin, grid, run.groups, i) if run.status in which else None
        for i, run in enumerate(runs)
    )


def _updated(rule: Rule, runs: Runs, found: tuple[Tally | None, ...]) -> Runs:
    """Every run that had a pass, advanced; the others as they were."""
    pairs = zip(runs, found, strict=True)
    return tuple(run if one is None else advanced(rule, run, one) for run, one in pairs)


def _least(runs: Runs) -> float:
    return min(run.cost for run in runs)


def _least_inertia(found: tuple[Labelled | None, ...]) -> float:
    return min(one.inertia for one in found if one is not None)


def best(runs: Runs) -> Run:
    """The run of least inertia, the first of those that differ by rounding only.

    Two starts often end in the same clusters under other numbers; rounding, which depends on the chunks,
    must not choose between them.
    """
    chosen = runs[0]
    for run in runs[1:]:
        if run.inertia < chosen.inertia * (1.0 - 1e-9):
            chosen = run
    return chosen


__all__ = ["Rule", "Run", "best", "lloyd"]
