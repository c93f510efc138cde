"""Limbs of boosted trees: what grows below some nodes, whole, on a lane that holds all rows.

Where every lane has all rows, a level is a round only as long as there are few nodes: each lane then fills
the histograms of its share of a node's rows. As soon as the open nodes can be dealt out so that each lane has
about as many rows, each lane grows what is below its own nodes by itself::

    lane 0   half of the root's rows -+              even: its own nodes, whole limbs -+
                                      +-> a split -> are the open nodes even?          +-> a tree
    lane 1   the other half ----------+              even: its own nodes, whole limbs -+
                                                     uneven: half of each, a level more

All lanes see the same rows, so they deal alike without asking. Sums are integers: the trees are those of
any other way to sum them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from daskml_kit.kernels.newton_steps import Pursuit
from daskml_kit.tree.boosting_trees import BoostingTree, Limb, Node, Shape, packed, unpacked
from daskml_kit.typing import Array, IntArray

SPARE_VALUES = 6_000_000
"""Rows times features times levels by which a lane may have more than the mean, for its limbs to be grown;
beyond, another level is a round. A lane needs some 0.6 ns for each, a round some 3 ms."""

SPARE_LEVELS = 6
"""Levels that are counted: deep ones have few rows."""

NO_DEPTH = 1 << 30


class Frontier(NamedTuple):
    """From where trees can be grown on: their open nodes, and how."""

    ids: tuple[IntArray, ...]  # of each tree
    nodes: tuple[Limb, ...]  # of each tree: its open nodes alone
    shapes: tuple[Shape, ...]
    rules: Pursuit
    budget: int  # bytes of histograms that are filled at once
    kept_bytes: float  # of histograms to subtract from, on a lane


def frontier(trees: Sequence[BoostingTree], budget: int, kept_bytes: float) -> Frontier:
    """Of the trees of an iteration."""
    open_nodes = [tree.open_nodes() for tree in trees]
    return Frontier(
        tuple(np.array(ids, np.int64) for ids in open_nodes),
        tuple(
            packed(k, ids, [tree.nodes[i] for i in ids], tree.shape.set_words)
            for k, (tree, ids) in enumerate(zip(trees, open_nodes, strict=True))
        ),
        tuple(tree.shape for tree in trees),
        trees[0].rules,
        budget,
        kept_bytes,
    )


def spare_rows(front: Frontier) -> int:
    """Rows by which a lane's open nodes may be more than the mean."""
    depth = min(int(limb.whole[:, 0].min(initial=NO_DEPTH)) for limb in front.nodes)
    levels = min(max(front.shapes[0].max_depth - depth, 1), SPARE_LEVELS)
    return SPARE_VALUES // (levels * len(front.shapes[0].counts))


def dealt(sizes: Sequence[int], lanes: int, spare: int) -> list[int] | None:
    """The lane of each open node by its rows, the largest first to the lane with the fewest; None where one
    would have more than the mean by above ``spare`` rows.

    Examples
    --------
    >>> dealt([400_000, 100_000, 250_000, 250_000], 2, 10_000)
    [0, 0, 1, 1]
    >>> dealt([700_000, 300_000], 2, 100_000) is None
    True
    """
    loads, out = [0] * lanes, [0] * len(sizes)
    for j in sorted(range(len(sizes)), key=lambda j: (-sizes[j], j)):
        out[j] = loads.index(min(loads))
        loads[out[j]] += sizes[j]
    mean = sum(loads) / lanes
    return out if max(loads) <= mean + spare else None


def grown(
    k: int,
    front: Frontier,
    chosen: IntArray,
    runs: IntArray,
    part: Callable[[IntArray, Array, IntArray], IntArray],
    fill: Callable[[IntArray, IntArray, IntArray], None],
    n_bins: int,
) -> Limb:
    """What grows below some of the open nodes of tree ``k``.

    Parameters
    ----------
    chosen : places among the tree's open nodes
    runs : (len(chosen), 2), of their rows
    part : (splits, sets, runs) -> runs
    fill : (runs, nodes, hist), adds up histograms
    """
    shape = front.shapes[k]
    every: list[Node] = unpacked(front.nodes[k])
    d, stride = len(shape.counts), front.nodes[k].sums.shape[1]
    cell = d * n_bins * stride * 8
    roots = [every[j] for j in chosen]
    tree = BoostingTree(shape, front.rules, cell, len(front.shapes), roots, front.kept_bytes)
    at: IntArray = np.full((max(64, len(chosen)), 2), -1, np.int64)
    at[: len(chosen)] = runs
    while asked := tree.wanted(front.budget):
        nodes = np.array([wanted.fill for wanted in asked], np.int64)
        at = part(tree.table, tree.sets, at)
        hist = np.zeros((len(nodes), d, n_bins, stride), np.int64)
        fill(at, nodes, hist)
        tree.decide(asked, hist, at[nodes, 1] - at[nodes, 0])
        del hist  # before the next are filled
    return packed(k, front.ids[k][chosen], tree.nodes, shape.set_words)


__all__ = ["Frontier", "dealt", "frontier", "grown", "spare_rows"]
