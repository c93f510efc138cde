"""One tree of binned rows: what is summed up as integers, which rows it sees, and its nodes.

A tree is a function of the binned data, its rules and its key. Draws are keyed by tree, node path and global
row; sums are of integers. So it is the same tree wherever the rows are and whoever sums them up first.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from daskml_kit.exceptions import InvalidDataError
from daskml_kit.kernels import tree_growth as kernel
from daskml_kit.kernels.tree_growth import PAGE, Nodes, Payload, Source
from daskml_kit.kernels.tree_splits import POISSON, SQUARED, Rules
from daskml_kit.runtime.block import Block
from daskml_kit.tree.binning import Binning, Survey
from daskml_kit.typing import Array, FloatArray, IntArray

SUM_BITS = 62
"""Sums stay below two to this power, so that none overflows."""

HEADROOM = 4
"""Sums of balanced weights may be so many times as large: a tree may draw rows of a rare class often."""

_MOST_SUM = 1e154  # its square is a number

_INTS = np.empty(0, np.int64)
_LABELS = np.empty(0, np.int32)
_NO_FACTORS = np.empty(0)


class Units(NamedTuple):
    """What one unit of the integers stands for."""

    weight: float
    value: float
    square: float


def units_of(found: Survey, n_rows: int, times: int, *, balanced: bool = False) -> Units:
    """The finest units, powers of two, in which no sum over ``times * n_rows`` rows overflows.

    Whole weights are kept as they are, unless classes are ``balanced`` later. Rounding to units costs a
    value at most ``2 times n_rows / 2^62`` of the largest: 1e-12 for a million rows.

    Raises
    ------
    InvalidDataError
        Squares of targets or of their sums may be no numbers any more.
    """
    if not (np.isfinite(found.most_square) and n_rows * found.most_value < _MOST_SUM):
        raise InvalidDataError(
            f"Targets are too large for a tree: the largest, times its weight, is {found.most_value:.3g}, "
            f"and the square of the sum of {n_rows} such must stay below 1.8e308. Scale y, for example with "
            "sklearn.compose.TransformedTargetRegressor."
        )
    if balanced:
        times *= HEADROOM
    most = SUM_BITS - int(np.ceil(np.log2(times * n_rows + 1)))
    whole = (
        not balanced and found.whole_weights and found.most_weight * times * n_rows < 2.0**SUM_BITS
    )
    return Units(
        1.0 if whole else _unit(found.most_weight, most),
        _unit(found.most_value, most),
        _unit(found.most_square, most),
    )


def _unit(largest: float, bits: int) -> float:
    return float(2.0 ** (np.ceil(np.log2(largest)) - bits)) if largest > 0 else 1.0


def source_of(block: Block, rules: Rules) -> Source:
    """Labels, weights and targets of the rows of a block, as integers. Unit weights are left out."""
    assert block.y is not None
    w = block.weight
    weight = _INTS if w is None else _whole(w / rules.unit_weight)
    if w is None and rules.unit_weight != 1.0:
        weight = np.full(block.n_rows, round(1 / rules.unit_weight), np.int64)
    if rules.criterion < SQUARED:
        return Source(block.y.astype(np.int32), weight, _INTS, _INTS)
    y = block.y.astype(np.float64)
    scale = 1.0 if w is None else w
    term = y * np.log(np.where(y > 0, y, 1.0)) if rules.criterion == POISSON else y * y
    value, square = _whole(scale * y / rules.unit_value), _whole(scale * term / rules.unit_square)
    return Source(_LABELS, weight, value, square)


def _whole(values: FloatArray) -> IntArray:
    return np.rint(values).astype(np.int64)


@dataclass(frozen=True)
class Sampling:
    """Which rows a tree sees.

    Attributes
    ----------
    n_rows : of all data
    n_draws : with replacement; 0: every row once
    """

    n_rows: int
    n_draws: int = 0

    def times(self, key: int, rows: range) -> IntArray:
        """How often the tree of a key draws each of some global rows; empty where every row counts once.

        The draws that fall into a page of rows are binomial, page after page (numbers of a multinomial), and
        within a page uniform: exactly ``n_draws`` draws, of which any part is known without the others.
        """
        out = np.empty(len(rows) if self.n_draws else 0, np.int32)
        if self.n_draws:
            sizes = np.full(-(-self.n_rows // PAGE), PAGE, np.float64)
            sizes[-1] = self.n_rows - PAGE * (len(sizes) - 1)
            bits = np.random.Generator(np.random.Philox(key=key))
            in_page = bits.multinomial(self.n_draws, sizes / self.n_rows)
            kernel.draw_rows(np.uint64(key), in_page, self.n_rows, rows.start, out)
        return out


class Columns(NamedTuple):
    """Rows gathered to grow trees of: codes as columns, and what the rows carry."""

    codes: IntArray  # (d, n)
    source: Source
    rows: range


def weight_type(most: int) -> type[np.int32] | type[np.int64]:
    """What holds weights of rows up to some number."""
    return np.int32 if most < 2**31 else np.int64


def in_bag(
    columns: Columns, times: IntArray, rules: Rules, class_weights: FloatArray | None = None
) -> tuple[Payload, int, float]:
    """The payload of the rows that a tree sees, how many these are, and their weight as an integer.

    ``class_weights``: by which the tree multiplies the weights of rows.
    """
    n, given = columns.codes.shape[1], columns.source
    factors = _NO_FACTORS if class_weights is None else class_weights
    most = int(times.max(initial=0) if len(times) else 1) * int(given.weight.max(initial=1))
    if class_weights is not None:
        most = 2**62
    out = Payload(
        np.empty(n, np.int32),
        np.empty(n, weight_type((most + 1) << kernel.label_bits(rules))),
        np.empty(len(given.value), np.int64),
        np.empty(len(given.square), np.int64),
    )
    size, weight = kernel.collect(times, given, factors, rules, out)
    return out, size, float(weight)


def grow_tree(
    columns: Columns,
    binning: Binning,
    rules: Rules,
    signs: IntArray,
    sampling: Sampling,
    key: int,
    max_leaf_nodes: int | None = None,
    class_weights: FloatArray | None = None,
) -> Nodes:
    """The whole tree of a key."""
    times = sampling.times(key, columns.rows)
    payload, size, weight = in_bag(columns, times, rules, class_weights)
    own = for_weight(rules, weight * rules.unit_weight)
    nodes: Nodes = kernel.grow(
        columns.codes, payload, size, binning.bins, signs, own, np.uint64(key), 0, -np.inf, np.inf
    )
    return nodes if max_leaf_nodes is None else best_first(nodes, max_leaf_nodes)


def for_weight(rules: Rules, weight: float) -> Rules:
    """The rules of a tree whose rows have some weight; ``min_weight_leaf`` is a share until here."""
    return rules._replace(weight=weight, min_weight_leaf=rules.min_weight_leaf * weight)


def best_first(nodes: Nodes, max_leaf_nodes: int) -> Nodes:
    """The tree that grows by the split of largest gain first, until it has so many leaves.

    Which splits those are depends on the gains alone, so it can be read off the whole tree.
    """
    split = np.zeros(len(nodes.ints), bool)
    frontier = [(-nodes.floats[0, kernel.GAIN], 0)]
    leaves = 1
    while frontier and leaves < max_leaf_nodes:
        _, i = heapq.heappop(frontier)
        if nodes.ints[i, kernel.FEATURE] < 0:
            continue
        split[i] = True
        leaves += 1
        for child in nodes.ints[i, [kernel.LEFT, kernel.RIGHT]]:
            heapq.heappush(frontier, (-nodes.floats[child, kernel.GAIN], int(child)))
    return cut_back(nodes, split)


def cut_back(nodes: Nodes, split: Array) -> Nodes:
    """The nodes that are reached through nodes where ``split`` is true; others become leaves."""
    kept = np.zeros(len(split), bool)
    kept[0] = True
    ints = nodes.ints.copy()
    ints[~split, kernel.LEFT] = ints[~split, kernel.RIGHT] = ints[~split, kernel.FEATURE] = -1
    for i in np.flatnonzero(split):  # parents come before children
        if kept[i]:
            kept[ints[i, [kernel.LEFT, kernel.RIGHT]]] = True
    number = np.cumsum(kept) - 1
    ints = ints[kept]
    inner = ints[:, kernel.FEATURE] >= 0
    for side in (kernel.LEFT, kernel.RIGHT):
        ints[inner, side] = number[ints[inner, side]]
    floats = nodes.floats[kept]
    floats[~inner, kernel.GAIN] = 0.0
    sets = np.where(inner[:, None], nodes.sets[kept], np.uint64(0))
    return Nodes(ints, floats, nodes.sums[kept], nodes.squares[kept], nodes.keys[kept], sets)


__all__ = [
    "Columns",
    "Sampling",
    "Units",
    "best_first",
    "grow_tree",
    "source_of",
    "units_of",
    "weight_type",
]
