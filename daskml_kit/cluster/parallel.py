"""K-means||: few rounds, each drawing many candidates far from those before."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from daskml_kit.cluster.closest import Near, Race, far_rows
from daskml_kit.cluster.ground import Ground
from daskml_kit.cluster.refining import ROUGH_TOL, Points, rough_size, sample_of
from daskml_kit.cluster.seeding import padded, seeded
from daskml_kit.cluster.selection import Asked, Chosen, merged
from daskml_kit.cluster.side_by_side import side_by_side
from daskml_kit.cluster.swapping import swapped
from daskml_kit.cluster.weighing import WEIGHED, Drawn, weighing
from daskml_kit.runtime.block import Block
from daskml_kit.runtime.dataset import BlockDataset
from daskml_kit.runtime.executor import Executor
from daskml_kit.runtime.random import key_of
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.typing import FloatArray, IntArray

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
       independently                        w d^2(x, C) (:mod:`daskml_kit.cluster.closest`)
    7  w_c: points nearest to c             their weight, of all or of a sample: one pass
    8  recluster C into k                   k-means++ and Lloyd on the driver, the best of a few,
                                            local search (:mod:`daskml_kit.cluster.swapping`),
                                            then Lloyd on a sample of ``n_sample`` rows
                                            (:mod:`daskml_kit.cluster.refining`)
    ======================================  =====================================================

    Step 4 differs: the chances of the paper need the cost of C, a pass of its own or a sum known one round
    late, and draw l rows in the mean. A race needs none and draws l rows each time. For l much smaller than
    the number of rows both draw a row with nearly the same chance.

    Nor are all rows measured in each round: most are known not to be drawn from what a block remembers of
    them (:mod:`daskml_kit.cluster.closest`), and a sample weighs the candidates
    (:mod:`daskml_kit.cluster.weighing`). The driver holds the ``10 k`` candidates.

    References
    ----------
    Bahmani, Moseley, Vattani, Kumar, Vassilvitskii (2012). Scalable k-means++. PVLDB 5(7).
    """

    k: int
    n_runs: int
    seed: int
    n_sample: int = 0
    oversampling: float = OVERSAMPLING
    n_rounds: int = ROUNDS

    @property
    def asked(self) -> Sequence[Asked]:
        """One row a run; for all of them one sample, and the row after."""
        first = [Asked(f"kmeans-parallel-{run}-0", 1) for run in range(self.n_runs)]
        return [*first, Asked("kmeans-sample", self.n_sample + 1)] if self.n_sample else first

    def centers(self, ground: Ground, drawn: Sequence[Chosen]) -> list[FloatArray]:
        """Rounds for all runs together, then the candidates reclustered."""
        candidates = Candidates.begun(drawn[: self.n_runs])
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
            if candidates.exhausted or candidates.rounds >= self.n_rounds:
                asked = tuple(
                    weighing(one, rows, drawn, self._key(f"weigh-{one.run}"), data.facts)
                    for one, rows, drawn in zip(
                        near, candidates.rows, candidates.drawn, strict=True
                    )
                )
                weights = executor.reduce(data, side_by_side(WEIGHED), asked)
                return candidates._replace(weights=tuple(own for own in weights if own is not None))
            size = math.ceil(min(self.oversampling * self.k, data.facts.n_rows))
            draws = tuple(
                Draw(one, Race(self._key(f"{one.run}-{candidates.rounds + 1}"), size + 1))
                for one in near
            )
            found = executor.reduce(data, side_by_side(drawing(size + 1)), draws)
            candidates = candidates.joined([one for one in found if one is not None], size)
            if not go_on():
                return candidates

    def _key(self, what: str) -> int:
        return key_of(self.seed, f"kmeans-parallel-{what}")

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
        n_starts, n_rough = sum(map(len, finals)), rough_size(self.k, self.n_sample)
        if n_rough:  # the rows with the smallest keys are a sample, too
            rough = Points.of(*sample_of(drawn, n_rough))
            finals = [
                [sample.best([rough.converged(one, n_starts, ROUGH_TOL) for one in starts])]
                for starts in finals
            ]
            n_starts = len(finals)
        ends = ([sample.converged(one, n_starts) for one in starts] for starts in finals)
        return [sample.best(own) for own in ends]


# ---------------------------------------------------------------- a round of k-means||


class Candidates(NamedTuple):
    """What the rounds have drawn."""

    points: tuple[FloatArray, ...]
    """(m, d) of each run."""
    rows: tuple[IntArray, ...]
    """(m,) their global numbers."""
    drawn: tuple[tuple[Drawn, ...], ...]
    """How each run's rounds drew them, all but the first."""
    exhausted: bool = False
    """Whether the last round found no row away from all candidates."""
    weights: tuple[FloatArray, ...] | None = None
    """(m,) of each run, once they are weighed."""

    @classmethod
    def begun(cls, drawn: Sequence[Chosen]) -> Candidates:
        """One for each run."""
        points, rows = (one.points for one in drawn), (one.rows for one in drawn)
        return cls(tuple(points), tuple(rows), ((),) * len(drawn))

    @property
    def rounds(self) -> int:
        """So many have been."""
        return len(self.drawn[0])

    def joined(self, found: Sequence[Chosen], size: int) -> Candidates:
        """With what a round found: ``size`` rows, and one more that tells what the chance of these was."""
        limits = [float(one.keys[size]) if len(one.keys) > size else np.inf for one in found]
        news = [Drawn(len(own), limit) for own, limit in zip(self.rows, limits, strict=True)]
        points = zip(self.points, found, strict=True)
        rows = zip(self.rows, found, strict=True)
        return self._replace(
            points=tuple(np.concatenate([before, one.points[:size]]) for before, one in points),
            rows=tuple(np.concatenate([before, one.rows[:size]]) for before, one in rows),
            drawn=tuple((*own, new) for own, new in zip(self.drawn, news, strict=True)),
            exhausted=not any(len(one.keys) for one in found),
        )


class Draw(NamedTuple):
    """What to draw: far from some candidates, with these random numbers."""

    near: Near
    race: Race


def drawing(size: int) -> Reduction[Draw, Chosen, Chosen]:
    """``size`` rows in proportion to weight and squared distance, without replacement: one pass."""
    return Reduction("kmeans-parallel", _draw_chunk, partial(merged, size))


def _draw_chunk(block: Block, draw: Draw) -> Chosen:
    return far_rows(block, *draw)


# ---------------------------------------------------------------- on the driver


def reclustered(
    points: FloatArray, weights: FloatArray, k: int, seed: int, purpose: str
) -> list[FloatArray]:
    """k centres of weighted candidates: a few starts, each refined by a few steps, the best first.

    The best of them goes through local search.
    """
    kept = weights > 0  # a candidate that comes twice has its rows with the first of the two
    points, weights = points[kept], weights[kept]
    if len(points) <= k:
        return [padded(points, k)]
    tries = min(TRIES, max(TRIES_WORK // (points.size * k), 1))
    starts = seeded(points, weights, k, seed, [f"{purpose}-{i}" for i in range(tries)])
    own = Points.of(points, weights)
    best, *rest = own.in_order([own.lloyd(one, REFINEMENTS, 0.0) for one in starts])
    if k > 1:
        moved = swapped(points, weights, best, seed, f"{purpose}-swap")
        best = own.lloyd(moved.astype(points.dtype), REFINEMENTS, 0.0)
    return own.in_order([best, *rest])


__all__ = ["OVERSAMPLING", "ROUNDS", "Parallel", "reclustered"]
