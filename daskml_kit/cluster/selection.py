"""The few rows of all blocks with the smallest keys: a selection that can be merged.

With keys that are races of exponentials, ``E_i / mass_i``, the ``size`` smallest are ``size`` rows drawn
one after the other without replacement, each with probability proportional to ``mass_i`` among those
left. ``E_i`` belongs to the global row, so the same rows win however the data are cut.

References
----------
Efraimidis, Spirakis (2006). Weighted random sampling with a reservoir. Information Processing Letters.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from daskml_kit.runtime.block import Block
from daskml_kit.runtime.random import exponential, uniform
from daskml_kit.typing import Array, FloatArray, IntArray


class Asked(NamedTuple):
    """Rows to draw: so many, with the random numbers of this name."""

    purpose: str
    size: int

    def limit(self, weight_sum: float, heaviest: float) -> float:
        """A key ``t`` that the ``size`` smallest of rows with these weights don't reach; infinite if unknown.

        Rows below it are six standard deviations more than ``size``: fewer, in one of 1e9 draws. For
        ``1 - exp(-w t)``, the chance of a row, is at least ``w / heaviest`` times that of the heaviest.
        """
        share = ample(self.size) * heaviest / weight_sum
        return float(-np.log1p(-share)) / heaviest if share < 1.0 else float("inf")


class Chosen(NamedTuple):
    """At most ``size`` rows, ordered by key and, where keys are equal, by row."""

    keys: FloatArray
    """(m,) increasing, finite."""
    rows: IntArray
    """(m,) global row numbers."""
    points: FloatArray
    """(m, d) the rows themselves, dense, of the dtype of X."""
    weights: FloatArray
    """(m,) their weights."""


def smallest(block: Block, keys: FloatArray, size: int) -> Chosen:
    """The ``size`` rows of a block with the smallest keys; infinite ones never count."""
    local = _smallest(keys, size)
    points = block.X[local] if isinstance(block.X, np.ndarray) else block.X[local].toarray()
    weights = np.ones(len(local)) if block.weight is None else block.weight[local]
    return Chosen(keys[local], local + block.start, points, weights)


def _smallest(keys: FloatArray, size: int) -> IntArray:
    local = np.flatnonzero(np.isfinite(keys))
    if size < len(local):
        usable = keys[local]
        local = local[usable <= np.partition(usable, size - 1)[size - 1]]
    order: IntArray = local[np.argsort(keys[local], kind="stable")][:size]
    return order


def ample(size: int) -> float:
    """So many are drawn in the mean where fewer than ``size`` must not be drawn."""
    return size + 6.0 * float(np.sqrt(size)) + 20.0


def winners(
    block: Block, mass: FloatArray, seed: int, purpose: str, size: int, limit: float | None = None
) -> Chosen:
    """The ``size`` rows of a block with the smallest keys of its race.

    Only rows that may have a key below ``limit`` are raced: below the one given, or below one that ample rows
    don't reach. Should too few be found then, all are.
    """
    total = float(mass.sum())
    below = ample(size) / total if limit is None and total > 0.0 else limit
    if below is None or not np.isfinite(below):
        return smallest(block, race(block, mass, seed, purpose), size)
    chance = uniform(seed, purpose, block.rows)
    local = np.flatnonzero(chance < below * mass)  # a unit exponential is more than its uniform
    drawn = -np.log1p(-chance[local]) / mass[local]
    near = drawn < below
    if limit is None and np.count_nonzero(near) < size:
        return smallest(block, race(block, mass, seed, purpose), size)
    keys = np.full(block.n_rows, np.inf)
    keys[local[near]] = drawn[near]
    return smallest(block, keys, size)


def merged(size: int, a: Chosen, b: Chosen) -> Chosen:
    """The ``size`` rows of both with the smallest keys; neither input is changed."""
    keys, rows = np.concatenate([a.keys, b.keys]), np.concatenate([a.rows, b.rows])
    order = np.lexsort((rows, keys))[:size]
    points, weights = np.concatenate([a.points, b.points]), np.concatenate([a.weights, b.weights])
    return Chosen(keys[order], rows[order], points[order], weights[order])


def race(block: Block, mass: Array, seed: int, purpose: str) -> FloatArray:
    """``E_i / mass_i`` (n,), infinite where the mass is 0: such a row is never drawn."""
    keys = np.full(block.n_rows, np.inf)
    with np.errstate(over="ignore"):  # a mass too small to divide by is no mass
        np.divide(exponential(seed, purpose, block.rows), mass, out=keys, where=mass > 0)
    return keys


__all__ = ["Asked", "Chosen", "merged", "race", "smallest", "winners"]
