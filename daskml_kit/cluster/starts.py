"""Where the centres of the runs begin.

=================  ===========================  =================================================
start              rows that the survey draws   passes beside the survey
=================  ===========================  =================================================
:class:`Given`     none                         none
:class:`Random`    k for each run               none
:class:`Sampled`   one sample for all runs      none
:class:`Parallel`  one for each run             one a round, and one to weigh the candidates
=================  ===========================  =================================================

All draws are keyed by seed, purpose and global row: the chunks and the number of workers change none.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np
from sklearn.cluster import kmeans_plusplus

from daskml_kit.cluster.closest import closest, forget
from daskml_kit.cluster.ground import Ground
from daskml_kit.cluster.refining import SAMPLE_VALUES, Points, sample_of
from daskml_kit.cluster.selection import Asked, Chosen, merged, winners
from daskml_kit.cluster.side_by_side import side_by_side
from daskml_kit.runtime.block import Block
from daskml_kit.runtime.dataset import BlockDataset
from daskml_kit.runtime.executor import Executor
from daskml_kit.runtime.random import generator
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.typing import FloatArray

OVERSAMPLING = 2
"""Rows drawn in a round of k-means||, in multiples of k: the paper's ``l = 2 k``."""

ROUNDS = 5
"""Rounds of k-means||, as in the paper. Measured on 40,000 x 20 rows of 100 blobs, 8 seeds: 2, 3, 5 and 8
rounds (with 4 tries) end in inertias within 1.1 % of each other."""

TRIES = 8
"""k-means++ starts on the candidates, of which the best after :data:`REFINEMENTS` steps is taken. Measured
on the same rows, mean inertia after the fit: 1 try 3.49e6, 4 tries 3.34e6, 8 tries 3.29e6 (k-means++ on all
rows: 3.50e6), at 15 ms a try."""

TRIES_WORK = 100_000_000
"""Candidates times centres times columns, over all tries: fewer tries where they would need more, but one.
One try with 1,000 centres and 100 columns is ten times that: 1.3 to 5.4 s on two shared cores."""

REFINEMENTS = 20

FINALISTS = 3
"""Tries that are refined on the sample, where there is one: the best there is taken. Measured on
60,000 x 50 overlapping rows, 6 seeds, inertia over the least of all: 1 try +0.42 % (worst +1.11 %), 3 tries
+0.32 % (+0.63 %)."""

SAMPLE_ROWS = 10_000
"""The sample of ``init="k-means++"`` has :data:`SAMPLE_ROWS` rows, fewer where they would hold more values
(16 MB), and never less than 20 for each cluster."""


class Start(Protocol):
    """A way to begin: what the survey shall draw, and the centres made of it."""

    @property
    def asked(self) -> Sequence[Asked]:
        """Rows that the survey draws."""
        ...

    def centers(self, ground: Ground, drawn: Sequence[Chosen]) -> list[FloatArray]:
        """(k, d) for each run, on the ground and of the dtype of X. ``drawn`` is there already."""
        ...


@dataclass(frozen=True, eq=False)
class Given:
    """Centres of the caller, in the caller's coordinates."""

    arrays: Sequence[FloatArray]
    asked: Sequence[Asked] = ()

    def centers(self, ground: Ground, drawn: Sequence[Chosen]) -> list[FloatArray]:
        """The arrays, on the ground."""
        return [ground.moved(a) for a in self.arrays]


@dataclass(frozen=True)
class Random:
    """k rows in proportion to their weights, without replacement."""

    k: int
    n_runs: int

    @property
    def asked(self) -> Sequence[Asked]:
        """k rows a run."""
        return [Asked(f"kmeans-random-{run}", self.k) for run in range(self.n_runs)]

    def centers(self, ground: Ground, drawn: Sequence[Chosen]) -> list[FloatArray]:
        """The rows drawn."""
        return [padded(one.points, self.k) for one in drawn]


@dataclass(frozen=True)
class Sampled:
    """Greedy k-means++ (Arthur, Vassilvitskii 2007) on a sample that the driver holds.

    Rows are drawn in proportion to their weights (:func:`~daskml_kit.cluster.refining.sample_of`).
    """

    k: int
    n_runs: int
    seed: int
    n_features: int
    n_rows: int | None = None  # of the sample; None for the rule above

    @property
    def size(self) -> int:
        """Rows of the sample."""
        if self.n_rows is not None:
            return self.n_rows
        return max(20 * self.k, min(SAMPLE_ROWS, SAMPLE_VALUES // self.n_features))

    @property
    def asked(self) -> Sequence[Asked]:
        """One sample for all runs, and the row after."""
        return [Asked("kmeans-sample", self.size + 1)]

    def centers(self, ground: Ground, drawn: Sequence[Chosen]) -> list[FloatArray]:
        """k-means++ of the sample, for each run with draws of its own."""
        points, weights = sample_of(drawn[0], self.size)
        return [
            seeded(points, weights, self.k, self.seed, f"kmeans-plusplus-{run}")
            for run in range(self.n_runs)
        ]


@dataclass(frozen=True)
class Parallel:
    """k-means|| of Bahmani et al.: few rounds, each drawing many candidates far from those before.

    ======================================  =====================================================
    the paper's Algorithm 2                 here
    ======================================  =====================================================
    1  C: one point uniformly at random     one row in proportion to its weight, in the survey
    2  psi, the cost of C                   not needed
    3  O(log psi) rounds                    :data:`ROUNDS`, fewer where no row is left to draw
    4  each x with l d^2(x, C) / cost,      exactly l rows, one after the other, in proportion to
       independently                        w d^2(x, C) (:mod:`daskml_kit.cluster.selection`)
    7  w_c: points nearest to c             their weight: one pass
    8  recluster C into k                   k-means++ and Lloyd on the driver, the best of a few,
                                            then Lloyd on a sample of ``n_sample`` rows
                                            (:mod:`daskml_kit.cluster.refining`)
    ======================================  =====================================================

    Step 4 differs: the chances of the paper need the cost of C, a pass of its own or a sum known one round
    late, and draw l rows in the mean. A race needs none and draws l rows each time. For l much smaller than
    the number of rows both draw a row with nearly the same chance.

    The driver holds ``10 k`` candidates. A block remembers the nearest candidate of each row
    (:mod:`daskml_kit.cluster.closest`), so that all rounds and the weighing together compute as many
    distances as 10 iterations of Lloyd's algorithm; the weighing itself computes none but to the last 2 k.

    References
    ----------
    Bahmani, Moseley, Vattani, Kumar, Vassilvitskii (2012). Scalable k-means++. PVLDB 5(7).
    """

    k: int
    n_runs: int
    seed: int
    n_sample: int = 0

    @property
    def asked(self) -> Sequence[Asked]:
        """One row a run; for all of them one sample, and the row after."""
        first = [Asked(self._purpose(run, 0), 1) for run in range(self.n_runs)]
        return [*first, Asked("kmeans-sample", self.n_sample + 1)] if self.n_sample else first

    def _purpose(self, run: int, round_: int) -> str:
        return f"kmeans-parallel-{run}-{round_}"

    def centers(self, ground: Ground, drawn: Sequence[Chosen]) -> list[FloatArray]:
        """Rounds for all runs together, then the candidates reclustered."""
        candidates = Candidates(tuple(one.points for one in drawn[: self.n_runs]))
        steps = partial(self._rounds, ground.origin)
        while candidates.weights is None:
            candidates = ground.executor.lead(ground.data, steps, candidates)
        found = self._reclustered(candidates)
        return self._refined(found, drawn[-1]) if self.n_sample else [starts[0] for starts in found]

    def _rounds(
        self,
        origin: FloatArray,
        executor: Executor,
        data: BlockDataset,
        candidates: Candidates,
        go_on: Callable[[], bool],
    ) -> Candidates:
        """Rounds, while they go on, and the weighing: what :meth:`Executor.lead` is given."""
        while True:
            near = tuple(Near(one, origin, run) for run, one in enumerate(candidates.points))
            if candidates.complete:
                weights = executor.reduce(data, side_by_side(WEIGHED), near)
                return candidates._replace(weights=tuple(own for own in weights if own is not None))
            round_ = candidates.rounds + 1
            draws = tuple(Draw(one, self.seed, self._purpose(one.run, round_)) for one in near)
            found = executor.reduce(data, side_by_side(far_rows(OVERSAMPLING * self.k)), draws)
            candidates = candidates.joined([one for one in found if one is not None])
            if not go_on():
                return candidates

    def _reclustered(self, candidates: Candidates) -> list[list[FloatArray]]:
        assert candidates.weights is not None
        pairs = zip(candidates.points, candidates.weights, strict=True)
        return [
            reclustered(points, own, self.k, self.seed, f"kmeans-recluster-{run}")
            for run, (points, own) in enumerate(pairs)
        ]

    def _refined(self, found: Sequence[Sequence[FloatArray]], drawn: Chosen) -> list[FloatArray]:
        sample = Points.of(*sample_of(drawn, self.n_sample))
        finals = [starts[:FINALISTS] for starts in found]
        refine = partial(sample.converged, n_starts=sum(map(len, finals)))
        return [sample.refined(starts, refine)[0] for starts in finals]


# ---------------------------------------------------------------- a round of k-means||


class Candidates(NamedTuple):
    """What the rounds have drawn."""

    points: tuple[FloatArray, ...]
    """(m, d) of each run."""
    rounds: int = 0
    exhausted: bool = False
    """Whether the last round found no row away from all candidates."""
    weights: tuple[FloatArray, ...] | None = None
    """(m,) of each run, once they are weighed."""

    @property
    def complete(self) -> bool:
        """Whether nothing is left to do but to weigh them."""
        return self.exhausted or self.rounds >= ROUNDS

    def joined(self, found: Sequence[Chosen]) -> Candidates:
        """With what a round found."""
        points = zip(self.points, found, strict=True)
        return self._replace(
            points=tuple(np.concatenate([before, one.points]) for before, one in points),
            rounds=self.rounds + 1,
            exhausted=not any(len(one.keys) for one in found),
        )


class Near(NamedTuple):
    """Candidates (m, d) to measure from, a point (d,) near the data, and the run that they belong to."""

    candidates: FloatArray
    origin: FloatArray
    run: int


class Draw(NamedTuple):
    """What to draw: far from some candidates, with these random numbers."""

    near: Near
    seed: int
    purpose: str


def far_rows(size: int) -> Reduction[Draw, Chosen, Chosen]:
    """``size`` rows in proportion to weight and squared distance, without replacement: one pass."""
    return Reduction("kmeans-parallel", partial(_far_chunk, size), partial(merged, size))


def _far_chunk(size: int, block: Block, draw: Draw) -> Chosen:
    mass = closest(block, *draw.near).square
    if block.weight is not None:
        mass = mass * block.weight
    return winners(block, mass, draw.seed, draw.purpose, size)


def _weigh_chunk(block: Block, near: Near) -> FloatArray:
    which = closest(block, *near).which
    found = np.bincount(which, weights=block.weight, minlength=len(near.candidates))
    forget(block, near.run)
    return found.astype(np.float64)


WEIGHED: Reduction[Near, FloatArray, FloatArray] = Reduction("weigh", _weigh_chunk, operator.add)
"""The weight of the rows that are nearest to each candidate: one pass."""


# ---------------------------------------------------------------- on the driver


def padded(points: FloatArray, k: int) -> FloatArray:
    """k centres of at most k points: the first is repeated for what is missing."""
    missing = k - len(points)
    return np.concatenate([points, np.repeat(points[:1], missing, axis=0)])


def seeded(points: FloatArray, weights: FloatArray, k: int, seed: int, purpose: str) -> FloatArray:
    """k of the points by greedy weighted k-means++, about their mean so that no digits are lost."""
    if len(points) <= k:
        return padded(points, k)
    state = np.random.RandomState(generator(seed, purpose).integers(2**31))
    mean = np.average(points, axis=0, weights=weights)
    _, chosen = kmeans_plusplus(
        points.astype(np.float64) - mean, k, sample_weight=weights, random_state=state
    )
    out: FloatArray = points[chosen]
    return out


def reclustered(
    points: FloatArray, weights: FloatArray, k: int, seed: int, purpose: str
) -> list[FloatArray]:
    """k centres of weighted candidates: a few starts, each refined by a few steps, the best first."""
    kept = weights > 0  # a candidate that comes twice has its rows with the first of the two
    points, weights = points[kept], weights[kept]
    if len(points) <= k:
        return [padded(points, k)]
    tries = min(TRIES, max(TRIES_WORK // (points.size * k), 1))
    starts = [seeded(points, weights, k, seed, f"{purpose}-{i}") for i in range(tries)]
    own = Points.of(points, weights)
    return own.refined(starts, partial(own.lloyd, max_iter=REFINEMENTS, tol=0.0))


__all__ = ["Given", "Parallel", "Random", "Sampled", "Start"]
