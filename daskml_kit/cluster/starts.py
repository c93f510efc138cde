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

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from daskml_kit.cluster.ground import Ground
from daskml_kit.cluster.parallel import Parallel
from daskml_kit.cluster.refining import SAMPLE_VALUES, sample_of
from daskml_kit.cluster.seeding import padded, seeded
from daskml_kit.cluster.selection import Asked, Chosen
from daskml_kit.typing import FloatArray

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
        names = [f"kmeans-plusplus-{run}" for run in range(self.n_runs)]
        return seeded(points, weights, self.k, self.seed, names)


__all__ = ["Given", "Parallel", "Random", "Sampled", "Start"]
