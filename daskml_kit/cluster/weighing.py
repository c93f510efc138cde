"""What the candidates of k-means|| weigh: the rows nearest to each, or a sample that stands for them.

The weights only say which candidates belong together and where their mean is, so a hundred rows a candidate
tell enough: with m candidates row i of weight ``w_i`` is measured with chance
``p_i = min(1, below (w_i + mean w))``, ``below = EACH m / (2 sum w)``, and stands for ``w_i / p_i`` (Horvitz,
Thompson 1952). Half of the rows are drawn by weight and half alike, so a few heavy rows leave chances to the
others (Hesterberg 1995). A candidate's own row is always measured and stands for itself. A group of few rows
keeps its candidates, but what they weigh is as uncertain as the few rows of the sample in it.
"""

from __future__ import annotations

import operator
from typing import NamedTuple

import numpy as np

from daskml_kit.cluster.closest import Near, forget
from daskml_kit.kernels import nearest
from daskml_kit.kernels.race import runners
from daskml_kit.runtime.block import Block
from daskml_kit.runtime.ingest import DataFacts
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.typing import FloatArray, IntArray

EACH = 100
"""Rows measured for each candidate, all rows where they are fewer than twice that."""


class Weighing(NamedTuple):
    """What is weighed, and by which rows."""

    near: Near
    rows: IntArray
    """(m,) global rows of the candidates."""
    key: int
    """Of the random numbers."""
    below: float
    """Rows with a number less than this times their mass are measured; infinite: all."""
    mean: float
    """Of all weights: a row's mass is its weight and this."""


def weighing(near: Near, rows: IntArray, key: int, facts: DataFacts) -> Weighing:
    """Of a hundred rows a candidate, or all."""
    enough = EACH * len(rows)
    below = enough / (2.0 * facts.weight_sum) if 2 * enough < facts.n_rows else np.inf
    return Weighing(near, rows, key, below, facts.weight_sum / facts.n_rows)


def _weigh_chunk(block: Block, asked: Weighing) -> FloatArray:
    forget(block, asked.near.run)
    candidates, origin, _ = asked.near
    X, weight = block.X, block.weight
    if np.isfinite(asked.below):
        local, weight = _sample(block, asked)
        X = X[local]
    which, _ = nearest(X, candidates, origin)
    return np.bincount(which, weights=weight, minlength=len(candidates)).astype(np.float64)


def _sample(block: Block, asked: Weighing) -> tuple[IntArray, FloatArray]:
    """Rows of a block that are measured, and what they stand for."""
    own = np.unique(asked.rows[(asked.rows >= block.start) & (asked.rows < block.rows.stop)])
    own -= block.start
    mass = None if block.weight is None else block.weight + asked.mean
    below = asked.below if mass is not None else 2.0 * asked.below
    drawn, _ = runners(asked.key, block.rows, below, mass)
    others = np.setdiff1d(drawn, own, assume_unique=True)
    local = np.concatenate([own, others])
    weight = np.ones(len(local)) if block.weight is None else block.weight[local]
    chance = below if mass is None else below * mass[others]
    weight[len(own) :] /= np.minimum(chance, 1.0)
    return local, weight


WEIGHED: Reduction[Weighing, FloatArray, FloatArray] = Reduction(
    "weigh", _weigh_chunk, operator.add
)
"""The weight (m,) of the rows that are nearest to each candidate: one pass."""


__all__ = ["EACH", "WEIGHED", "Weighing", "weighing"]
