"""Where trees grow: binned rows, resident on the workers, and which way to grow over them.

Two ways, one forest. *replicate*: the binned rows are gathered once and copied to each worker, which grows
whole trees side by side without any round. *reduce*: rows stay where they are, and each level of all trees
is a round (:mod:`daskml_kit.tree.levels`). A third, *vote*, is *reduce* with features elected before their
histograms are merged, and gives another forest (:mod:`daskml_kit.tree.voting`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from daskml_kit.kernels.tree_growth import Nodes, Source
from daskml_kit.kernels.tree_splits import Rules
from daskml_kit.runtime.block import Bundle
from daskml_kit.runtime.config import setting
from daskml_kit.runtime.dataset import BlockDataset
from daskml_kit.runtime.executor import Executor
from daskml_kit.runtime.pieces import join
from daskml_kit.tree.binning import Binning, Survey, binned, bins_of, survey
from daskml_kit.tree.categorical import Features
from daskml_kit.tree.growing import Columns, Sampling, grow_tree, source_of
from daskml_kit.tree.travel import Light, arrived, light
from daskml_kit.typing import Array, FloatArray, IntArray

Way = Literal["replicate", "reduce", "vote"]

MEMORY_SHARE = 0.2
"""Share of a worker's memory limit that gathered rows and the trees growing there may take."""

PAYLOAD_BYTES = 28
"""At most: value, weight, square and position of a row, in each of the two copies that a growing tree has."""

TASKS = 8
"""Tasks a lane that trees are dealt to."""


@dataclass(frozen=True, eq=False)
class Ground:
    """Binned rows that are resident, their bins, and where rounds over them run."""

    executor: Executor
    data: BlockDataset
    binning: Binning
    found: Survey


@contextmanager
def prepared(
    executor: Executor,
    data: BlockDataset,
    seed: int,
    max_bins: int,
    *,
    poisson: bool = False,
    features: Features | None = None,
    pieces: bool = False,
) -> Iterator[Ground]:
    """``data`` binned, which replaces them and is released here: two passes, one of them a round.

    ``pieces``: whether they were opened in pieces, of which each becomes one block.

    Raises
    ------
    InvalidDataError
        A categorical feature has more than ``max_bins`` categories.
    """
    marks = None if features is None else features.categorical
    found = survey(executor, data, seed, poisson, marks)
    if features is not None:
        features.check(found.categories, max_bins)
    binning = bins_of(found.rows, max_bins, marks, found.categories)
    codes = binned(executor, data, binning)
    data.release()
    with codes:
        if pieces:
            join(codes, executor)
        yield Ground(executor, codes, binning, found._replace(rows=found.rows[:0]))


@dataclass(frozen=True, eq=False)
class Growth:
    """How every tree of a forest grows: a tree is this, the binned rows and a key."""

    binning: Binning
    rules: Rules
    signs: IntArray
    sampling: Sampling
    max_leaf_nodes: int | None = None
    top_k: int | None = None  # features that a piece of the rows votes for; None: histograms of all
    class_weights: Mapping[int, FloatArray] | None = None  # of a tree's own, by its key

    def class_weights_of(self, key: int) -> FloatArray | None:
        """By which a tree multiplies the weights of rows; None where rows have all of their weight."""
        return None if self.class_weights is None else self.class_weights[key]


def way_to_grow(ground: Ground, growth: Growth) -> Way:
    """*vote* where features are elected: that changes the forest, so it never follows from the machines.

    Else as :func:`~daskml_kit.runtime.config.config_context` says, and else by bytes.

    Gathered rows are one byte a feature (two above 255 bins) and their payload; each thread of a worker
    grows a tree with two more copies of the payload.
    """
    if growth.top_k is not None:
        return "vote"
    asked = setting("trees")
    if asked != "auto":
        return "replicate" if asked == "replicate" else "reduce"
    facts = ground.data.facts
    width = 1 if ground.binning.missing_bin < 256 else 2
    for worker in getattr(ground.executor, "workers", {}).values():
        if worker.memory_limit:
            row = facts.n_features * width + PAYLOAD_BYTES * (1 + 2 * worker.n_threads)
            if facts.n_rows * row > MEMORY_SHARE * worker.memory_limit:
                return "reduce"
    return "replicate"


def replicate(ground: Ground, growth: Growth, keys: Sequence[int]) -> list[Nodes]:
    """Whole trees side by side, each on gathered rows: one round for all of them.

    On a cluster a task grows several of them, since a task and its answer cost the scheduler milliseconds of
    a processor that workers could have; so many tasks a lane that a lost or a slow worker costs few trees.
    """
    executor = ground.executor
    on_cluster = bool(getattr(executor, "workers", {}))
    groups = dealt(keys, executor.lanes()) if on_cluster else [[key] for key in keys]
    found = executor.fan(
        ground.data, "grow-trees", partial(gathered, growth), partial(_grown, growth), groups
    )
    by_key = {
        key: tree
        for group, trees in zip(groups, found, strict=True)
        for key, tree in zip(group, trees, strict=True)
    }
    return [arrived(by_key[key]) for key in keys]


def dealt(keys: Sequence[int], lanes: int) -> list[list[int]]:
    """Groups of trees, of which number i is for lane ``i % lanes``: as many trees for each lane.

    Examples
    --------
    >>> dealt(range(7), 2)
    [[0], [1], [2], [3], [4, 6], [5]]
    """
    n_groups = max(1, min(TASKS, len(keys) // lanes))
    own = [keys[lane::lanes] for lane in range(min(lanes, len(keys)))]
    return [
        list(mine[i * len(mine) // n_groups : (i + 1) * len(mine) // n_groups])
        for i in range(n_groups)
        for mine in own
    ]


def _grown(growth: Growth, columns: Columns, keys: Sequence[int]) -> list[Light]:
    return [
        light(
            grow_tree(
                columns,
                growth.binning,
                growth.rules,
                growth.signs,
                growth.sampling,
                key,
                growth.max_leaf_nodes,
                growth.class_weights_of(key),
            ),
            growth.rules,
        )
        for key in keys
    ]


def gathered(growth: Growth, bundles: Sequence[Bundle]) -> Columns:
    """All binned rows as columns, in the order of the global rows."""
    blocks = sorted((b for bundle in bundles for b in bundle), key=lambda b: b.start)
    blocks = [b for b in blocks if b.n_rows] or blocks[:1]
    n_rows = sum(b.n_rows for b in blocks)
    codes = np.empty((blocks[0].X.shape[1], n_rows), blocks[0].X.dtype)
    for block in blocks:
        at = block.start - blocks[0].start
        codes[:, at : at + block.n_rows] = np.asarray(block.X).T
    parts: list[Source] = [source_of(b, growth.rules) for b in blocks]
    codes.flags.writeable = False
    source = Source(*(_joined(column) for column in zip(*parts, strict=True)))
    return Columns(codes, source, range(blocks[0].start, blocks[0].start + n_rows))


def _joined(parts: Sequence[Array]) -> Array:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


__all__ = ["Ground", "Growth", "Way", "dealt", "gathered", "prepared", "replicate", "way_to_grow"]
