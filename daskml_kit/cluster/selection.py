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

from daskml_kit.kernels.race import runners
from daskml_kit.runtime.block import Block
from daskml_kit.runtime.random import key_of
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
    local = np.flatnonzero(np.isfinite(keys))
    return taken(block, local, keys[local], size)


def taken(block: Block, local: IntArray, keys: FloatArray, size: int) -> Chosen:
    """Those ``size`` of some rows of a block, in their order there, that have the smallest keys."""
    if size < len(local):
        few = keys <= np.partition(keys, size - 1)[size - 1]
        local, keys = local[few], keys[few]
    order = np.argsort(keys, kind="stable")[:size]
    local = local[order]
    points = block.X[local] if isinstance(block.X, np.ndarray) else block.X[local].toarray()
    weights = np.ones(len(local)) if block.weight is None else block.weight[local]
    return Chosen(keys[order], local + block.start, points, weights)


def ample(size: int) -> float:
    """So many are drawn in the mean where fewer than ``size`` must not be drawn."""
    return size + 6.0 * float(np.sqrt(size)) + 20.0


def winners(block: Block, seed: int, asked: Asked, limit: float = float("inf")) -> Chosen:
    """The rows of a block that win a race by weight, of those with keys below ``limit``.

    Where that is not known they are sought below a key that ample rows don't reach; should too few be
    found, among all.
    """
    total, key = block.weight_sum, key_of(seed, asked.purpose)
    below = limit
    if not np.isfinite(limit) and total > 0.0:
        below = ample(asked.size) / total
    local, chance = runners(key, block.rows, below, None, block.weight)
    keys = raced(chance, 1.0 if block.weight is None else block.weight[local])
    near = keys < below
    if below < limit and np.count_nonzero(near) < asked.size:
        keys = race(block, block.weight, seed, asked.purpose)
        return smallest(block, keys, asked.size)
    return taken(block, local[near], keys[near], asked.size)


def merged(size: int, a: Chosen, b: Chosen) -> Chosen:
    """The ``size`` rows of both with the smallest keys; neither input is changed."""
    keys, rows = np.concatenate([a.keys, b.keys]), np.concatenate([a.rows, b.rows])
    order = _in_order(keys, rows)[:size]
    points, weights = np.concatenate([a.points, b.points]), np.concatenate([a.weights, b.weights])
    return Chosen(keys[order], rows[order], points[order], weights[order])


def _in_order(keys: FloatArray, rows: IntArray) -> IntArray:
    """By key, then by row, for two runs one after the other that are each in order.

    A stable sort merges them in one go, a fortieth of the time of ``lexsort``, which knows nothing of the
    runs. Equal keys stay as they come: only where that is not the order of their rows, all is sorted.
    """
    order = np.argsort(keys, kind="stable")
    keys_in, rows_in = keys[order], rows[order]
    wrong = (keys_in[1:] == keys_in[:-1]) & (rows_in[1:] < rows_in[:-1])
    return np.lexsort((rows, keys)) if wrong.any() else order


def race(block: Block, mass: Array | None, seed: int, purpose: str) -> FloatArray:
    """``E_i / mass_i`` (n,), infinite where the mass is 0: such a row is never drawn. None: all are 1."""
    keys = np.full(block.n_rows, np.inf)
    local, chance = runners(key_of(seed, purpose), block.rows, np.inf, mass)
    keys[local] = raced(chance, 1.0 if mass is None else mass[local])
    return keys


def raced(chance: FloatArray, mass: Array | float) -> FloatArray:
    """Keys of rows with these uniform numbers: unit exponentials, at least as large, over the mass.

    Not finite where the mass is 0 or too small to divide by.
    """
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        keys: FloatArray = -np.log1p(-chance) / mass
    return keys


__all__ = ["Asked", "Chosen", "ample", "merged", "race", "raced", "smallest", "taken", "winners"]
