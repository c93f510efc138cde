"""Weights that make classes equal, from sums without rounding: of all rows, or of each tree's bootstrap.

Sums of fractional row weights round otherwise in other chunks, and a class weight that differs in its last
bit gives another tree. So here weights of rows are integers before they are summed up, and what a row weighs
in a tree is a function of its own weight and of these sums alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from daskml_kit.runtime.block import Block
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.tree.ground import Ground, Growth
from daskml_kit.tree.growing import Sampling, source_of
from daskml_kit.typing import FloatArray, IntArray


@dataclass(frozen=True)
class Drawn:
    """Some trees, and how they draw rows."""

    sampling: Sampling
    keys: tuple[int, ...]


def balanced(ground: Ground, growth: Growth, keys: Sequence[int], *, in_bootstrap: bool) -> Growth:
    """How the trees of ``keys`` grow where all classes weigh the same: one pass.

    Parameters
    ----------
    in_bootstrap : in the bootstrap of each tree; else in all rows
    """
    drawn = Drawn(growth.sampling, tuple(keys))
    if not in_bootstrap:
        drawn = Drawn(Sampling(growth.sampling.n_rows), (0,))
    reduction: Reduction[Drawn, IntArray, IntArray] = Reduction(
        "class-weights", partial(_sums, growth), np.add
    )
    weights = _inverse(ground.executor.reduce(ground.data, reduction, drawn))
    found = weights if in_bootstrap else np.repeat(weights, len(keys), axis=0)
    return replace(growth, class_weights=dict(zip(keys, found, strict=True)))


def _sums(growth: Growth, block: Block, drawn: Drawn) -> IntArray:
    """The weight of each class in each tree's rows, in units: (trees, classes)."""
    source = source_of(block, growth.rules)
    out = np.zeros((len(drawn.keys), growth.rules.n_channels), np.int64)
    for sums, key in zip(out, drawn.keys, strict=True):
        times = drawn.sampling.times(key, block.rows).astype(np.int64)
        weight = source.weight if len(source.weight) else np.ones(block.n_rows, np.int64)
        np.add.at(sums, source.label, weight * times if len(times) else weight)
    return out


def _inverse(sums: IntArray) -> FloatArray:
    """The mean weight of the classes that are there over each one's own, zero for others."""
    present = sums > 0
    means = sums.sum(axis=1, keepdims=True) / present.sum(axis=1, keepdims=True)
    out: FloatArray = np.divide(means, sums, out=np.zeros(sums.shape), where=present)
    return out


__all__ = ["balanced"]
