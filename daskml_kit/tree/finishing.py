"""Small nodes finished whole: their rows go to one worker, which grows all that is below without a round.

At depth, histograms outgrow the rows that they describe: 2,048 nodes of 4 features, 255 bins and 2 classes
are 33 MB a tree, and all rows of a tree of 500,000 are 10. So as soon as a node is small its rows wait where
they are, and when no larger node is left the rows of all small nodes of all trees travel in one round: a byte
a feature, and what they carry in as few bytes as hold it. Subtrees are keyed by their path and grow by the
kernel that grows whole trees, so they are the same, bit for bit.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from daskml_kit.kernels import tree_growth as kernel
from daskml_kit.kernels.tree_growth import Nodes, Payload
from daskml_kit.kernels.tree_splits import SQUARED
from daskml_kit.kernels.tree_spread import cut_out
from daskml_kit.runtime.block import Block, Bundle
from daskml_kit.tree.ground import Ground, Growth
from daskml_kit.tree.growing import for_weight, weight_type
from daskml_kit.tree.standing import Splits, standing
from daskml_kit.tree.travel import narrow
from daskml_kit.typing import Array, IntArray

HISTOGRAMS = 512
"""A node is small whose rows take no more bytes than so many histograms of a node: about as many as the
nodes below it would need. 500,000 x 20, 20 trees of depth 12, seconds of the workers' cores and rounds: with
32, 5.2 in 16; with 128, 4.2 in 11; with 512, 4.0 in 4. Copied whole: 3.4 in 3."""

SHARES = 8
"""A node is not small that has more than one in so many of the rows of a lane: lanes end together."""

FINISH_BYTES = 1 << 28
"""Rows that travel in one round where no worker says how much memory it has."""

FINISH_SHARE = 0.1
"""Share of the workers' memory limits that they may take."""


class Small(NamedTuple):
    """A node to be finished."""

    tree: int  # place among the trees asked for
    node: int
    key: int
    depth: int
    lower: float
    upper: float
    weight: float  # of all rows of the tree
    rows: float  # about how many it has


class Cut(NamedTuple):
    """What a round asks of a bundle: rows of some nodes for each share."""

    fit: str
    growing: tuple[int, ...]
    trees: tuple[Splits, ...]
    shares: tuple[tuple[Small, ...], ...]


class Piece(NamedTuple):
    """Rows of a block in the nodes of a share, node after node."""

    sizes: IntArray  # (nodes,)
    codes: IntArray  # (d, rows)
    carried: Payload  # without idx, in as few bytes as hold it

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return int(self.codes.shape[1])


def row_bytes(growth: Growth, d: int) -> int:
    """About what a row takes on its way."""
    width = 1 if growth.binning.missing_bin < 256 else 2
    return d * width + (18 if growth.rules.criterion >= SQUARED else 2)


def small_rows(ground: Ground, growth: Growth, n_trees: int) -> int:
    """A node of no more rows is small: by the bytes of its histograms, and by what one lane is to have."""
    facts, rules, lanes = ground.data.facts, growth.rules, ground.executor.lanes()
    cells = min(rules.max_features, facts.n_features) * (rules.missing_bin + 1) * rules.stride
    most = min(HISTOGRAMS * cells * 8, budget_of(ground) // (4 * lanes))
    even = facts.n_rows * n_trees // (SHARES * lanes)
    return min(int(most // row_bytes(growth, facts.n_features)), even)


def budget_of(ground: Ground) -> int:
    """Bytes of rows that may travel in one round."""
    limits = [w.memory_limit for w in getattr(ground.executor, "workers", {}).values()]
    known = [limit for limit in limits if limit]
    return int(FINISH_SHARE * min(known) * len(limits)) if known else FINISH_BYTES


def finish(
    ground: Ground,
    growth: Growth,
    fit: str,
    growing: Sequence[int],
    trees: Sequence[Splits],
    small: Sequence[Small],
) -> list[Nodes]:
    """The subtree below each small node: one round."""
    shares = dealt(small, min(ground.executor.lanes(), len(small)))
    asked = tuple(tuple(small[i] for i in share) for share in shares)
    found = ground.executor.exchange(
        ground.data,
        "finish-nodes",
        partial(_cut, growth),
        partial(_grown, growth),
        Cut(fit, tuple(growing), tuple(trees), asked),
        asked,
    )
    out = {
        i: nodes
        for share, own in zip(shares, found, strict=True)
        for i, nodes in zip(share, own, strict=True)
    }
    return [out[i] for i in range(len(small))]


def dealt(small: Sequence[Small], lanes: int) -> list[list[int]]:
    """Nodes dealt out evenly by their rows, the largest first, each to the lane that has least."""
    heap = [(0.0, lane) for lane in range(lanes)]
    out: list[list[int]] = [[] for _ in range(lanes)]
    for i in sorted(range(len(small)), key=lambda i: -small[i].rows):
        rows, lane = heapq.heappop(heap)
        out[lane].append(i)
        heapq.heappush(heap, (rows + small[i].rows, lane))
    return [sorted(lane) for lane in out]


# ---------------------------------------------------------------- on the workers


def _cut(growth: Growth, bundle: Bundle, ask: Cut) -> list[list[Piece]]:
    """For each share, a piece of each block."""
    blocks = [_cut_block(growth, block, ask) for block in bundle]
    return [list(pieces) for pieces in zip(*blocks, strict=True)]


def _cut_block(growth: Growth, block: Block, ask: Cut) -> list[Piece]:
    columns, trees = standing(growth, block, ask.fit, ask.growing, ask.trees)
    pieces = []
    for share in ask.shares:
        runs = np.array([trees[s.tree].runs[s.node] for s in share], np.int64).reshape(-1, 2)
        sizes = runs[:, 1] - runs[:, 0]
        codes = np.empty((len(columns.codes), sizes.sum()), columns.codes.dtype)
        carried: list[list[Array]] = [[] for _ in Payload._fields]
        at = 0
        for s, (low, high) in zip(share, runs, strict=True):
            own = trees[s.tree]
            at = cut_out(columns.codes, own.payload.idx, own.runs, np.array([s.node]), codes, at)
            for column, part in zip(carried[1:], own.payload[1:], strict=True):
                column.append(part[low:high])
        joined = [narrow(np.concatenate(column)) if column else _NONE for column in carried[1:]]
        pieces.append(Piece(sizes, codes, Payload(_NONE, *joined)))
    return pieces


_NONE = np.empty(0, np.int64)


def _grown(
    growth: Growth, pieces: Sequence[Sequence[Piece]], share: Sequence[Small]
) -> list[Nodes]:
    """The subtrees of a share."""
    blocks = [piece for bundle in pieces for piece in bundle]
    ends = [np.append(0, np.cumsum(piece.sizes)) for piece in blocks]
    out = []
    for j, node in enumerate(share):
        own = [(piece, end[j], end[j + 1]) for piece, end in zip(blocks, ends, strict=True)]
        codes = np.concatenate([piece.codes[:, a:b] for piece, a, b in own], axis=1)
        codes.flags.writeable = False
        n = codes.shape[1]
        weight, value, square = (
            np.concatenate([piece.carried[k][a:b] for piece, a, b in own]) for k in (1, 2, 3)
        )
        rows = Payload(
            np.arange(n, dtype=np.int32),
            weight.astype(weight_type(int(weight.max(initial=0)))),
            value.astype(np.int64),
            square.astype(np.int64),
        )
        rules = for_weight(growth.rules, node.weight)
        out.append(
            kernel.grow(
                codes, rows, n, growth.binning.bins, growth.signs, rules, np.uint64(node.key),
                node.depth, node.lower, node.upper,
            )
        )  # fmt: skip
    return out


__all__ = ["Small", "budget_of", "finish", "row_bytes", "small_rows"]
