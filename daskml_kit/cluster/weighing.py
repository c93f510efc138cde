"""What the candidates of k-means|| weigh: the rows nearest to each, or a sample that stands for them.

The weights only say which candidates belong together and where their mean is, so a hundred rows a candidate
tell enough: with m candidates row i of weight ``w_i`` is measured with chance
``p_i = min(1, below (w_i + mean w))``, ``below = EACH m / (2 sum w)``. Half of the rows are drawn by weight
and half alike, so a few heavy rows leave chances to the others (Hesterberg 1995).

The candidates are measured too, and they are drawn rows as well: round r took row i, had it not been taken
before, with the chance ``1 - exp(-w_i d_ir^2 t_r)``, where ``d_ir`` is its distance to the candidates of that
time and ``t_r`` the smallest key that the round left (Cohen, Kaplan 2007). So every row measured was measured
with the chance

::

    pi_i = 1 - (1 - p_i) exp(-w_i sum_r t_r d_ir^2)

and stands for ``w_i / pi_i`` (Horvitz, Thompson 1952). A group of few rows far away, of which the sample has
one row or none, is weighed by its candidates: they were likely to be drawn, each stands for few. The first
candidate, from which all others are measured, stands for itself.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from daskml_kit.cluster.closest import Near, forget
from daskml_kit.kernels.aim import Aim
from daskml_kit.kernels.nearest import nearest, whole_aim
from daskml_kit.kernels.race import runners
from daskml_kit.runtime.block import Block
from daskml_kit.runtime.ingest import DataFacts
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.typing import FloatArray, IntArray, Matrix

EACH = 100
"""Rows measured for each candidate, all rows where they are fewer than twice that."""

SAME = 1e-12
"""Squared distances that differ by this part of themselves are equal: the first candidate is the nearer."""


class Drawn(NamedTuple):
    """What a round of k-means|| did."""

    known: int
    """Candidates before it."""
    limit: float
    """The smallest key that it did not draw; infinite where it drew all rows that have one."""


class Group(NamedTuple):
    """Candidates that came with one round."""

    first: int
    candidates: FloatArray
    aim: Aim | None
    """The same, ready for dense blocks."""
    limit: float
    """Of the next round, which drew rows far from these and all before; 0 behind the last."""


@dataclass(frozen=True, eq=False)
class Weighing:
    """What is weighed, and by which rows."""

    near: Near
    rows: IntArray
    """(m,) global rows of the candidates."""
    rounds: tuple[Drawn, ...]
    """That drew them, but for the first candidate."""
    key: int
    """Of the random numbers."""
    below: float
    """Rows with a number less than this times their mass are measured; infinite: all."""
    mean: float
    """Of all weights: a row's mass is its weight and this."""

    @cached_property
    def groups(self) -> list[Group]:
        """The candidates in the order in which they came, made ready once for all blocks of a task."""
        candidates, origin, _ = self.near
        found, first, last = [], 0, Drawn(len(candidates), 0.0)
        for known, limit in (*self.rounds, last):
            own = candidates[first:known]
            aim = whole_aim(own, origin) if len(own) else None
            found.append(Group(first, own, aim, limit))
            first = known
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        return Weighing, tuple(getattr(self, one.name) for one in fields(self))


def weighing(
    near: Near, rows: IntArray, rounds: Iterable[Drawn], key: int, facts: DataFacts
) -> Weighing:
    """Of a hundred rows a candidate, or all."""
    enough = EACH * len(rows)
    below = enough / (2.0 * facts.weight_sum) if 2 * enough < facts.n_rows else np.inf
    mean = facts.weight_sum / facts.n_rows
    return Weighing(near, rows, tuple(rounds), key, below, mean)


def _weigh_chunk(block: Block, asked: Weighing) -> FloatArray:
    forget(block, asked.near.run)
    sampled = np.isfinite(asked.below)
    which, weight = _sampled(block, asked) if sampled else _all(block, asked)
    return np.bincount(which, weights=weight, minlength=len(asked.rows)).astype(np.float64)


def _all(block: Block, asked: Weighing) -> tuple[IntArray, FloatArray | None]:
    candidates, origin, _ = asked.near
    return nearest(block.X, candidates, origin)[0], block.weight


def _sampled(block: Block, asked: Weighing) -> tuple[IntArray, FloatArray]:
    """The nearest candidates of the rows of a block that are measured, and what these stand for."""
    own = np.unique(asked.rows[(asked.rows >= block.start) & (asked.rows < block.rows.stop)])
    own -= block.start
    mass = None if block.weight is None else block.weight + asked.mean
    below = asked.below if mass is not None else 2.0 * asked.below
    drawn, _ = runners(asked.key, block.rows, below, mass)
    local = np.union1d(own, drawn)
    weight = np.ones(len(local)) if block.weight is None else block.weight[local]
    alone = np.full(len(local), below) if mass is None else below * mass[local]
    which, pull = _met(block.X[local], asked)
    pull = np.multiply(
        weight, pull, out=np.zeros(len(local)), where=weight > 0
    )  # it may be infinite
    with np.errstate(divide="ignore"):
        chance = -np.expm1(np.log1p(-np.minimum(alone, 1.0)) - pull)
    chance[local == asked.rows[0] - block.start] = 1.0
    return which, weight / chance


def _met(X: Matrix, asked: Weighing) -> tuple[IntArray, FloatArray]:
    """The nearest candidate of rows (n,), and the sum of limits times squared distances, by round."""
    square, pull = np.full(X.shape[0], np.inf), np.zeros(X.shape[0])
    which = np.zeros(X.shape[0], np.int64)
    for group in asked.groups:
        if len(group.candidates):
            found, gaps = nearest(X, group.candidates, asked.near.origin, group.aim)
            nearer = gaps < square * (1.0 - SAME)
            which[nearer] = found[nearer] + group.first
            np.minimum(square, gaps, out=square)
        if np.isfinite(group.limit):
            pull += group.limit * square
        else:  # rows drawn already have no part in the round
            pull[square > 0.0] = np.inf
    return which, pull


WEIGHED: Reduction[Weighing, FloatArray, FloatArray] = Reduction(
    "weigh", _weigh_chunk, operator.add
)
"""The weight (m,) of the rows that are nearest to each candidate: one pass."""


__all__ = ["EACH", "WEIGHED", "Drawn", "Weighing", "weighing"]
