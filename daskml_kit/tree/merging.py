"""Large histograms merged on all workers: each lane merges some features of some nodes and finds the best.

Through the driver a round of 100 MB of histograms a worker would have to pass one machine. Here each
block's histograms are cut by node and feature; every lane gets its parts of all of them, merges these, and
answers with the best score there and the histogram of the feature that has it. Of a node's parts the best is
taken, of equal ones the first, as when all features are searched in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from daskml_kit.kernels.tree_splits import Rules
from daskml_kit.kernels.tree_spread import best_of
from daskml_kit.runtime.block import Block, Bundle
from daskml_kit.tree.ground import Ground, Growth
from daskml_kit.tree.growing import for_weight
from daskml_kit.tree.level_nodes import weight_of
from daskml_kit.tree.travel import narrow
from daskml_kit.typing import IntArray

MERGE_BYTES = 1 << 24
"""Histograms of a round, in 64 bits, above which workers merge them: what direct calls leave to graphs."""


class Level(NamedTuple):
    """What a block says of the nodes of one tree. Parts add up."""

    hist: IntArray  # (n, m * width)
    rows: IntArray  # (n,)
    squares: IntArray  # (n,)


class Part(NamedTuple):
    """Some features of one node."""

    tree: int  # place among the trees asked for
    node: int  # place among the tree's nodes asked for
    low: int  # place of its first feature among the node's
    features: IntArray
    key: int
    lower: float
    upper: float
    rules: Rules | None  # of the tree; not known before its root is


class Found(NamedTuple):
    """The best of some features of a node."""

    score: float
    where: int  # place among the node's features, -1: none can be split
    varied: bool  # whether any feature has rows in two bins
    hist: IntArray  # (width,), of the best feature; of the first where there is none


Span = tuple[int, int, int, int]
"""Tree, node, and where the cells of some features begin and end."""


def combined(a: list[Level], b: list[Level]) -> list[Level]:
    """The levels of the rows of both."""
    return [_added(x, y) for x, y in zip(a, b, strict=True)]


def _added(a: Level, b: Level) -> Level:
    hist = np.add(a.hist, b.hist, dtype=np.int64)
    return Level(narrow(hist), a.rows + b.rows, a.squares + b.squares)


def merged_apart(
    ground: Ground,
    growth: Growth,
    chunk: Callable[[Block, object], list[Level]],
    ask: object,
    parts: Sequence[Part],
) -> tuple[list[Level], dict[tuple[int, int], Found]]:
    """One round: the levels without histograms, and the best of each (tree, node) of the parts."""
    shares = dealt(parts, ground.executor.lanes())
    width = (growth.rules.missing_bin + 1) * growth.rules.stride
    spans = [
        [(p.tree, p.node, p.low * width, (p.low + len(p.features)) * width) for p in share]
        for share in shares
    ]
    found = ground.executor.exchange(
        ground.data, "tree-level", partial(_cut, chunk, spans), partial(_best, growth), ask, shares
    )
    best: dict[tuple[int, int], Found] = {}
    for share, (_, own) in zip(shares, found, strict=True):
        for part, split in zip(share, own, strict=True):
            before = best.get((part.tree, part.node))
            best[part.tree, part.node] = split if before is None else _better(before, split)
    return found[0][0], best


def _better(a: Found, b: Found) -> Found:
    """Of two parts of one node, in the order of their features."""
    best = b if b.where >= 0 and (a.where < 0 or b.score > a.score) else a
    return best._replace(varied=a.varied or b.varied)


def dealt(parts: Sequence[Part], lanes: int) -> list[list[Part]]:
    """As many features for each lane, in order; a node's are cut where a lane's end."""
    total, at = sum(len(part.features) for part in parts), 0
    out: list[list[Part]] = [[] for _ in range(min(lanes, total))]
    for part in parts:
        low = 0
        while low < len(part.features):
            lane = at * len(out) // total
            end = -(-(lane + 1) * total // len(out))  # the first feature of the next lane
            taken = part.features[low : low + end - at]
            out[lane].append(part._replace(low=part.low + low, features=taken))
            low, at = low + len(taken), at + len(taken)
    return out


# ---------------------------------------------------------------- on the workers


def _cut(
    chunk: Callable[[Block, object], list[Level]],
    spans: Sequence[Sequence[Span]],
    bundle: Bundle,
    ask: object,
) -> list[list[Level]]:
    """For each share one level for each of its parts, after those of all trees without histograms."""
    total = [chunk(block, ask) for block in bundle]
    levels = total[0]
    for other in total[1:]:
        levels = combined(levels, other)
    bare = [level._replace(hist=level.hist[:, :0]) for level in levels]
    none = np.empty(0, np.int64)
    return [
        bare
        + [
            Level(narrow(levels[t].hist[n, low:high].copy()), none, none)
            for t, n, low, high in share
        ]
        for share in spans
    ]


def _best(
    growth: Growth, pieces: Sequence[list[Level]], share: Sequence[Part]
) -> tuple[list[Level], list[Found]]:
    """The levels of all trees without histograms, and the best split of each part of a share."""
    levels = pieces[0]
    for other in pieces[1:]:
        levels = combined(levels, other)
    first = len(levels) - len(share)
    return levels[:first], [
        _found(growth, part, level.hist) for part, level in zip(share, levels[first:], strict=True)
    ]


def _found(growth: Growth, part: Part, hist: IntArray) -> Found:
    cells = hist.astype(np.int64)
    rules = part.rules or root_rules(growth.rules, cells)
    score, where, varied = best_of(
        cells, part.features, growth.binning.bins, growth.signs, rules, part.lower, part.upper,
        np.uint64(part.key),
    )  # fmt: skip
    width = (rules.missing_bin + 1) * rules.stride
    at = max(where, 0) * width
    own = narrow(cells[at : at + width].copy())
    return Found(score, part.low + where if where >= 0 else -1, varied, own)


def root_rules(rules: Rules, hist: IntArray) -> Rules:
    """The rules of a tree, from the histogram of one feature at its root: they need all rows' weight."""
    width = (rules.missing_bin + 1) * rules.stride
    sums = hist[:width].reshape(-1, rules.stride).sum(axis=0, dtype=np.int64)
    return for_weight(rules, weight_of(rules, sums) * rules.unit_weight)


__all__ = [
    "MERGE_BYTES",
    "Found",
    "Level",
    "Part",
    "combined",
    "merged_apart",
    "narrow",
    "root_rules",
]
