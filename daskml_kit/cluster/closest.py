"""The draws of k-means||: rows far from all candidates, found without measuring every row.

A race draws the rows of the smallest keys ``E_i / (w_i d_i^2)``, and more candidates bring ``d_i`` down only.
So the distance to some of them bounds it from above and the key from below: a row whose bound on the key is
above those of enough other rows is not drawn, whatever its distance. Only the others are measured, to the
candidates that they have not met yet; what is found bounds them in the next round::

    keys at least   |----x-------x--x-----x----|------x---x---------------  E / (w bound^2)
                                             limit
    measured: the rows below the limit. Enough keys are below it still?  The smallest of them are drawn.
                                        Too few?  The limit is raised.

Where a round's candidates and the columns are few, all rows are measured against them in less time
(:mod:`daskml_kit.kernels.abreast`), and the first limit serves.

The blocks of a task take part in one race: a later one needs no key above those that enough rows of the
earlier ones have. The rows drawn are those of a race of all rows, to the last one. What a block knows lies
in its scratch, with the candidates that it is right for; without it a row begins with its distance to the
first candidate, and the answer is the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from daskml_kit.cluster.assignment import turned_rows
from daskml_kit.cluster.grouping import are_few
from daskml_kit.cluster.selection import Chosen, ample, raced, taken
from daskml_kit.kernels import nearest
from daskml_kit.kernels.abreast import approach
from daskml_kit.kernels.pairs import own_distances
from daskml_kit.kernels.race import runners
from daskml_kit.runtime.block import Block
from daskml_kit.typing import FloatArray, IntArray

STEP, MOST = 32.0, 1e4
"""The limit is raised by so much at once, for a count of few rows says little of what is needed, and by so
much in all before every row that is not a candidate itself is measured."""

FEW = 2_048
"""So many rows of a block may meet candidates again, where a call for each group of them takes longer."""


class Near(NamedTuple):
    """Candidates to measure from, and the run that they belong to."""

    candidates: FloatArray
    """(m, d)"""
    origin: FloatArray
    """(d,) a point near the data."""
    run: int


@dataclass(eq=False)
class Race:
    """A draw: so many rows, with the random numbers of this stream."""

    key: int
    size: int
    least: tuple[IntArray, FloatArray] = field(
        default_factory=lambda: (np.empty(0, np.int64), np.empty(0))
    )
    """At most ``size`` global rows of the smallest keys that blocks have come with, and these keys; nothing
    but time depends on it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Race, (self.key, self.size)

    @property
    def limit(self) -> float:
        """No key above this is drawn."""
        _, keys = self.least
        return float(keys.max()) if len(keys) == self.size else np.inf

    def seen(self, drawn: Chosen) -> None:
        """Remember what one block comes with.

        Each row once, for tasks of one process share the race and a task may be repeated: a row that counted
        twice would bring the limit below keys that are drawn. Threads may miss each other's rows: the limit
        is a little high.
        """
        rows, keys = self.least
        rows, first = np.unique(np.concatenate([drawn.rows, rows]), return_index=True)
        keys = np.concatenate([drawn.keys, keys])[first]
        few = np.argsort(keys)[: self.size]
        self.least = rows[few], keys[few]


@dataclass(eq=False)
class Reach:
    """What a block knows of its rows."""

    candidates: FloatArray
    """(m, d)"""
    square: FloatArray
    """(n,) squared distance to the nearest of the candidates met, so at most to that of all."""
    met: IntArray
    """(n,) int32: so many of the first candidates."""
    raised: float = 1.0
    """How far the limit had to be raised in the last round."""

    @classmethod
    def of(cls, block: Block, candidates: FloatArray) -> Reach:
        """All rows have met the first candidate."""
        at = np.zeros(block.n_rows, np.int32)
        square = own_distances(block.X, at, np.zeros(1, np.int64), candidates[:1])
        return cls(candidates, square, np.ones(block.n_rows, np.int32))

    def extended(self, candidates: FloatArray) -> bool:
        """Whether what is known is right for these candidates, which it then keeps."""
        n_known = len(self.candidates)
        if not np.array_equal(self.candidates, candidates[:n_known]):
            return False
        self.candidates = candidates
        return True

    def meet_all(self, block: Block, origin: FloatArray) -> None:
        """Let all rows meet the new candidates, where that takes little time."""
        met = int(self.met.min(initial=len(self.candidates)))
        new, X = self.candidates[met:], block.X
        if len(new) and isinstance(X, np.ndarray) and are_few(*new.shape):
            approach(X, turned_rows(block, origin), new, self.square)
            self.met.fill(len(self.candidates))

    def mass(self, block: Block, local: IntArray) -> FloatArray:
        """Weight times squared distance of some rows, as far as is known."""
        own = self.square[local]
        return own if block.weight is None else own * block.weight[local]

    def meet(self, block: Block, local: IntArray, origin: FloatArray) -> None:
        """Let some rows meet the candidates that they have not met."""
        met, m = self.met[local], len(self.candidates)
        local, met = local[met < m], met[met < m]
        if not len(local):
            return
        # Few rows cost less than to tell them apart.
        for count in np.unique(met)[: 1 if len(local) <= FEW else None]:
            at = local if len(local) <= FEW else local[met == count]
            _, square = nearest(block.X[at], self.candidates[count:], origin)
            self.square[at] = np.minimum(self.square[at], square)
            self.met[at] = m


def far_rows(block: Block, near: Near, race: Race) -> Chosen:
    """The rows of a block that win a race by weight and squared distance to the nearest candidate."""
    key = f"k-means|| {near.run}"
    # Taken out meanwhile: a pass that is broken off leaves nothing behind that is half right.
    known: Reach | None = block.scratch.pop(key, None)
    if known is None or not known.extended(near.candidates):
        known = Reach.of(block, near.candidates)
    known.meet_all(block, near.origin)
    drawn = _raced(block, known, near.origin, race)
    block.scratch[key] = known
    return drawn


def forget(block: Block, run: int) -> None:
    """Frees what the block knows for a run."""
    block.scratch.pop(f"k-means|| {run}", None)


def _raced(block: Block, known: Reach, origin: FloatArray, race: Race) -> Chosen:
    bound = float(known.square.sum() if block.weight is None else known.square @ block.weight)
    raised = known.raised if bound > 0.0 else np.inf
    while True:
        own = raised * ample(race.size) / bound if np.isfinite(raised) else np.inf
        limit = min(own, race.limit)
        local, chance = runners(race.key, block.rows, limit, known.square, block.weight)
        known.meet(block, local, origin)
        keys = raced(chance, known.mass(block, local))
        below = np.isfinite(keys) & (keys <= limit)
        count = np.count_nonzero(below)
        if count >= race.size or own >= race.limit:
            known.raised = raised if np.isfinite(raised) else 1.0  # all have met all
            drawn = taken(block, local[below], keys[below], race.size)
            race.seen(drawn)
            return drawn
        raised *= min(max(ample(race.size) / max(int(count), 1), 2.0), STEP)
        if raised > MOST or 2 * len(local) > block.n_rows:
            raised = np.inf


__all__ = ["Near", "Race", "Reach", "far_rows", "forget"]
