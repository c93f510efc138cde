"""Lloyd's algorithm, one pass an iteration, several runs side by side.

Each iteration gives every row to its nearest centre and puts each centre at the mean of its rows::

    running --+--> strict   the centres did not move: the labels of this pass are final
              +--> near     they moved less than the tolerance      } one more pass labels the rows
              +--> last     max_iter                                } by the centres where they ended
              +--> empty    a cluster lost all rows: one pass finds the rows farthest from their
                            centres, the empty clusters move there, and the run goes on

Where the labels of two iterations are the same, so are sums and counts, bit by bit, for parts are merged
in a fixed order; so that the centres stay is scikit-learn's rule that the labels stay, without labels.

References
----------
Lloyd (1982). Least squares quantization in PCM. IEEE Transactions on Information Theory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from daskml_kit.cluster.ground import Ground
from daskml_kit.cluster.selection import Chosen, merged, smallest
from daskml_kit.cluster.side_by_side import side_by_side
from daskml_kit.kernels import assign, nearest
from daskml_kit.runtime.block import Block
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.typing import FloatArray, IntArray

Status = Literal["running", "strict", "near", "last", "empty"]


class At(NamedTuple):
    """Centres (k, d) to measure from, and a point (d,) near the data."""

    centers: FloatArray
    origin: FloatArray


class Tally(NamedTuple):
    """What one pass at some centres tells."""

    sums: FloatArray
    """(k, d) weighted sum of the rows of each cluster."""
    counts: FloatArray
    """(k,) weight of each cluster."""
    inertia: float
    """Weighted sum of squared distances to the nearest centre."""
    labels: tuple[tuple[int, IntArray], ...]
    """First global row and labels of each block; empty where not asked for."""


@dataclass(frozen=True, eq=False)
class Run:
    """One start and how far it came."""

    centers: FloatArray  # (k, d) of the dtype of X
    n_iter: int = 0
    status: Status = "running"
    tally: Tally | None = None  # of the last pass: at ``centers`` once the run is final

    @property
    def final(self) -> Tally:
        """The tally at the final centres."""
        assert self.tally is not None
        return self.tally

    def labels(self) -> IntArray:
        """Labels of all rows, in order."""
        parts = sorted(self.final.labels, key=lambda part: part[0])
        return np.concatenate([labels for _, labels in parts])


Runs: TypeAlias = "tuple[Run, ...]"


@dataclass(frozen=True)
class Rule:
    """When a run ends."""

    tol: float  # of the summed squared shift of the centres
    max_iter: int


# ---------------------------------------------------------------- one pass


def _tally_chunk(with_labels: bool, block: Block, at: At) -> Tally:
    found = assign(block.X, block.weight, at.centers, origin=at.origin, with_labels=with_labels)
    labels = () if found.labels is None else ((block.start, found.labels),)
    return Tally(found.sums, found.counts, found.inertia, labels)


def _tally_combined(a: Tally, b: Tally) -> Tally:
    return Tally(a.sums + b.sums, a.counts + b.counts, a.inertia + b.inertia, a.labels + b.labels)


def tally(name: str, *, with_labels: bool = False) -> Reduction[At, Tally, Tally]:
    """Assignment of all rows as a reduction: one pass, k (d + 1) values."""
    return Reduction(name, partial(_tally_chunk, with_labels), _tally_combined)


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
    if np.any(found.counts == 0) and found.inertia > _noise(run.centers) @ found.counts:
        return replace(run, status="empty", tally=found)
    return stepped(rule, run, found)


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
    return Run(centers, n_iter, status, found)


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
    before = run.final
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
    ground: Ground, starts: Sequence[FloatArray], rule: Rule, *, unroll: int, with_labels: bool
) -> Runs:
    """Run from each start to its end.

    Parameters
    ----------
    ground : resident rows
    starts : (k, d) centres of each run, of the dtype of X
    rule : when a run ends
    unroll : iterations submitted together; up to ``unroll - 1`` run for nothing at the end
    with_labels : whether passes keep the labels, for data in this process

    Returns
    -------
    tuple of Run
        Each with the tally at its final centres.

    Notes
    -----
    One pass an iteration for all runs together, one more for each iteration that empties a cluster, and
    one at the end unless every run converged strictly.
    """
    passes = side_by_side(tally("lloyd", with_labels=with_labels))
    runs = tuple(Run(centers) for centers in starts)
    while any(run.status == "running" for run in runs):
        left = rule.max_iter - min(run.n_iter for run in runs if run.status == "running")
        runs = _iterated(ground, passes, rule, runs, min(unroll, left))
        if any(run.status == "empty" for run in runs):
            runs = _with_refilled(ground, rule, runs)
    return _labelled(ground, runs, with_labels)


Passes: TypeAlias = "Reduction[tuple[At | None, ...], tuple[Tally | None, ...], Tallies]"
Tallies: TypeAlias = "tuple[Tally | None, ...]"


def _iterated(ground: Ground, passes: Passes, rule: Rule, runs: Runs, n_rounds: int) -> Runs:
    """``n_rounds`` iterations; one alone is updated here, which spares a hop."""
    where = partial(_where_running, ground.origin)
    if n_rounds == 1:
        found = ground.executor.reduce(ground.data, passes, where(runs), objective=_least)
        return _updated(rule, runs, found)
    return ground.executor.iterate(
        ground.data,
        passes,
        runs,
        point=where,
        update=partial(_updated, rule),
        n_rounds=n_rounds,
        objective=_least_of_runs,
    )[-1]


def _where_running(origin: FloatArray, runs: Runs) -> tuple[At | None, ...]:
    return tuple(At(run.centers, origin) if run.status == "running" else None for run in runs)


def _updated(rule: Rule, runs: Runs, found: Tallies) -> Runs:
    """Every run that had a pass, advanced; the others as they were."""
    pairs = zip(runs, found, strict=True)
    return tuple(run if one is None else advanced(rule, run, one) for run, one in pairs)


def _least(found: Tallies) -> float:
    return min(one.inertia for one in found if one is not None)


def _least_of_runs(runs: Runs) -> float:
    return min(run.final.inertia for run in runs)


def _with_refilled(ground: Ground, rule: Rule, runs: Runs) -> Runs:
    """Runs with empty clusters, filled and moved on: one pass for all of them."""
    size = max(int(np.sum(run.final.counts == 0)) for run in runs if run.status == "empty")
    at = tuple(At(run.centers, ground.origin) if run.status == "empty" else None for run in runs)
    chosen = ground.executor.reduce(ground.data, side_by_side(farthest(size)), at)
    return tuple(
        run if far is None else stepped(rule, run, refilled(run, far))
        for run, far in zip(runs, chosen, strict=True)
    )


def _labelled(ground: Ground, runs: Runs, with_labels: bool) -> Runs:
    """Runs with the tally of where they ended: one pass for those that did not converge strictly."""
    if all(run.status == "strict" for run in runs):
        return runs
    at = tuple(None if run.status == "strict" else At(run.centers, ground.origin) for run in runs)
    passes = side_by_side(tally("label", with_labels=with_labels))
    found = ground.executor.reduce(ground.data, passes, at, objective=_least)
    return tuple(
        run if one is None else replace(run, tally=one)
        for run, one in zip(runs, found, strict=True)
    )


def best(runs: Runs) -> Run:
    """The run of least inertia, the first of those that differ by rounding only.

    Two starts often end in the same clusters under other numbers; rounding, which depends on the chunks,
    must not choose between them.
    """
    chosen = runs[0]
    for run in runs[1:]:
        if run.final.inertia < chosen.final.inertia * (1.0 - 1e-9):
            chosen = run
    return chosen


__all__ = ["At", "Rule", "Run", "Tally", "best", "lloyd", "tally"]
