"""Features elected before their histograms travel: voting-parallel trees (PV-Tree).

With hundreds of features a node's histograms are the cost of a level. Here each piece of the rows names the
``top_k`` features that split its own rows of a node best, a byte or two a feature; the driver counts, and of
the ``2 * top_k`` features with most votes alone histograms are merged, exactly::

    round 1   piece -> votes of each node    } features of most votes
    round 2   piece -> histograms of these   } the best split of all rows among them

That is an approximation: a feature that is best on all rows and not among the best of any piece is missed.
Whom it elects depends on what the voters see, so these are no accident of chunks or workers but the pieces of
:mod:`daskml_kit.runtime.pieces`, which follow from the number of rows alone; and which nodes are small enough
to be finished whole, exactly, follows from the data alone, too. So it is one forest from any chunks on any
cluster. With one piece, or ``2 * top_k`` features to be searched at a node, it is the exact one.

Every piece has one vote of the same weight. ``min_samples_leaf`` counts in a piece by the piece's share.

References
----------
Meng, Ke, Wang, Chen, Ye, Ma, Liu (2016). A communication-efficient parallel algorithm for decision tree.
NIPS 29, algorithm 2. Its attributes are our features, its machines our pieces.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np

from daskml_kit.kernels.tree_growth import label_bits
from daskml_kit.kernels.tree_spread import vote
from daskml_kit.runtime.block import Block
from daskml_kit.runtime.ingest import DataFacts
from daskml_kit.runtime.pieces import even_edges
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.tree.finishing import row_bytes
from daskml_kit.tree.ground import Ground, Growth
from daskml_kit.tree.growing import for_weight
from daskml_kit.tree.merging import Level, combined
from daskml_kit.tree.standing import Splits, standing
from daskml_kit.tree.travel import narrow
from daskml_kit.typing import Array, FloatArray, IntArray

PIECE_ROWS = 1_000
"""Fewest rows of a piece: whom fewer elect is chance."""

SMALL_BYTES = 1 << 25
"""Rows of a node that is finished whole by one lane, whatever the number of lanes and their memory."""


class Nominated(NamedTuple):
    """What a round of votes asks of one tree."""

    splits: Splits
    nodes: IntArray  # (n,)
    features: IntArray  # (n, m)
    keys: Array  # (n,) uint64
    bounds: FloatArray  # (n, 2)


class Ballot(NamedTuple):
    """What a round of votes asks of a piece."""

    fit: str
    growing: tuple[int, ...]  # keys of the trees that are not finished
    trees: tuple[Nominated, ...]


def voting_edges(facts: DataFacts) -> list[int]:
    """First rows of the pieces that vote, then the number of rows."""
    return even_edges(facts, PIECE_ROWS)


def small_rows(facts: DataFacts, growth: Growth) -> int:
    """A node of no more rows is finished whole: those of a piece, where that many may travel."""
    pieces = len(voting_edges(facts)) - 1
    return min(facts.n_rows // pieces, SMALL_BYTES // row_bytes(growth, facts.n_features))


def elected(ground: Ground, growth: Growth, ballot: Ballot) -> list[IntArray]:
    """For each tree the features of each node that most pieces voted for, in the node's order: one round.

    Of equal votes the feature that comes first; where too few have any, those that come first.
    """
    assert growth.top_k is not None
    reduction: Reduction[Ballot, list[Level], list[Level]] = Reduction(
        "tree-vote", partial(_votes, growth), combined
    )
    found = ground.executor.reduce(ground.data, reduction, ballot)
    out = []
    for asked, level in zip(ballot.trees, found, strict=True):
        most = np.argsort(-level.hist.astype(np.int64), axis=1, kind="stable")
        chosen = np.sort(most[:, : 2 * growth.top_k], axis=1)
        out.append(np.take_along_axis(asked.features, chosen, axis=1))
    return out


def _votes(growth: Growth, block: Block, ballot: Ballot) -> list[Level]:
    """Votes in the place of histograms."""
    assert growth.top_k is not None
    splits = [asked.splits for asked in ballot.trees]
    columns, trees = standing(growth, block, ballot.fit, ballot.growing, splits)
    share = block.n_rows / growth.sampling.n_rows
    least = max(1, int(growth.rules.min_samples_leaf * share))
    out = []
    for asked, own in zip(ballot.trees, trees, strict=True):
        n, m = asked.features.shape
        votes, rows, squares = (
            np.zeros((n, m), np.int64),
            np.zeros(n, np.int64),
            np.zeros(n, np.int64),
        )
        weight = float((own.payload.weight >> label_bits(growth.rules)).sum(dtype=np.int64))
        rules = for_weight(growth.rules, weight * growth.rules.unit_weight)._replace(
            min_samples_leaf=least
        )
        vote(
            columns.codes, own.payload, own.runs, asked.nodes, asked.features, asked.keys, asked.bounds,
            growth.binning.bins, growth.signs, rules, growth.top_k, votes, rows, squares,
        )  # fmt: skip
        out.append(Level(narrow(votes), rows, squares))
    return out


__all__ = ["Ballot", "Nominated", "elected", "small_rows", "voting_edges"]
