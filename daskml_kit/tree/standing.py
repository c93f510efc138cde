"""Where the rows of a block stand in trees that grow level by level: kept beside the block between rounds.

What is kept is never needed: a block that lost it, or that a repeated round has taken further, draws the rows
of a tree again and parts them by all splits so far.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from daskml_kit.kernels.tree_growth import Payload
from daskml_kit.kernels.tree_spread import part_rows
from daskml_kit.runtime.block import Block
from daskml_kit.tree.ground import Growth
from daskml_kit.tree.growing import Columns, in_bag, source_of
from daskml_kit.typing import Array, IntArray

_SCRATCH = "tree-levels"


class Splits(NamedTuple):
    """All splits of one tree so far.

    A row of ``table`` is node, feature, cut, whether missing values go left, left and right child.
    """

    key: int
    table: IntArray  # (s, 6)
    sets: Array  # (s, words) uint64: codes that go left by a categorical split


@dataclass(eq=False)
class Standing:
    """The rows of a block in the nodes of one tree."""

    payload: Payload
    runs: IntArray  # (nodes, 2): where the rows of a node begin and end
    applied: int = 0


@dataclass(eq=False)
class _Kept:
    fit: str
    columns: Columns
    trees: dict[int, Standing] = field(default_factory=dict)


def standing(
    growth: Growth, block: Block, fit: str, growing: Sequence[int], trees: Sequence[Splits]
) -> tuple[Columns, list[Standing]]:
    """The rows of a block in some trees, after all their splits.

    Parameters
    ----------
    fit : which fit it is
    growing : keys of the trees that are not finished; what is kept of others is let go
    """
    kept = block.scratch.get(_SCRATCH)
    if kept is None or kept.fit != fit:
        kept = block.scratch[_SCRATCH] = _begun(growth, block, fit)
    for key in kept.trees.keys() - set(growing):
        del kept.trees[key]
    return kept.columns, [_stood(growth, kept, tree) for tree in trees]


def _begun(growth: Growth, block: Block, fit: str) -> _Kept:
    codes = np.ascontiguousarray(np.asarray(block.X).T)
    codes.flags.writeable = False
    columns = Columns(codes, source_of(block, growth.rules), block.rows)
    return _Kept(fit, columns)


def _stood(growth: Growth, kept: _Kept, tree: Splits) -> Standing:
    found = kept.trees.get(tree.key)
    if found is None or found.applied > len(tree.table):
        times = growth.sampling.times(tree.key, kept.columns.rows)
        payload, size, _ = in_bag(
            kept.columns, times, growth.rules, growth.class_weights_of(tree.key)
        )
        payload = Payload(*(part[:size].copy() for part in payload))
        found = kept.trees[tree.key] = Standing(payload, np.array([[0, size]]))
    new = slice(found.applied, len(tree.table))
    if found.applied < len(tree.table):
        runs = np.empty((1 + 2 * len(tree.table), 2), np.int64)
        runs[: len(found.runs)] = found.runs
        part_rows(
            kept.columns.codes, found.payload, runs, tree.table[new], tree.sets[new],
            growth.binning.categorical, growth.rules.missing_bin,
        )  # fmt: skip
        found.runs, found.applied = runs, len(tree.table)
    return found


__all__ = ["Splits", "Standing", "standing"]
