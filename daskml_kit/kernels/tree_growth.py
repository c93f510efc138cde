"""One tree grown over binned columns, in one compiled call.

Nodes grow depth first. Their rows are runs of positions (:mod:`~daskml_kit.kernels.tree_rows`). As soon as
the codes of a node's rows fit the cache they are copied there once, and its whole subtree grows inside the
copy.

Histograms are of 64-bit integers, so the larger child's is its parent's less its sibling's, exactly, where
all features are searched.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba.core.imputils import impl_ret_borrowed
from numba.extending import intrinsic, register_jitable

from daskml_kit.kernels.tree_categories import completed, has_bin, set_words
from daskml_kit.kernels.tree_histograms import fill, fill_classes, fill_values
from daskml_kit.kernels.tree_nodes import (
    CUT,
    DEPTH,
    FEATURE,
    FIRST,
    GAIN,
    HIGH,
    KNOWN,
    LEFT,
    LOW,
    LOWER,
    MISSING_LEFT,
    NODE_FLOATS,
    NODE_INTS,
    RIGHT,
    ROWS,
    STOP,
    THRESHOLD,
    UPPER,
    Nodes,
    Waiting,
    bound_children,
    impurities,
    made,
    make_leaf,
    more_nodes,
    more_waiting,
    push_children,
    push_root,
    room_for_nodes,
    room_for_waiting,
    split_node,
)
from daskml_kit.kernels.tree_rows import (
    PAGE,
    Payload,
    Source,
    collect,
    draw_rows,
    label_bits,
    partition,
    room_for_rows,
    square_of,
    total_of,
)
from daskml_kit.kernels.tree_search import (
    Bins,
    Desk,
    best_split,
    desk_for,
    gain_of,
    is_leaf,
    may_split,
    search,
)
from daskml_kit.kernels.tree_splits import Rules, exactly
from daskml_kit.typing import Array

LOCAL_BYTES = 1 << 20
"""Codes of a node that are copied together: a usual second-level cache. A tree of depth 12 on 1,000,000 x 20
takes 0.16 s of one core with 256 kB, 0.12 with 1 MB, 0.13 with 2 MB."""


class Near(NamedTuple):
    """Codes of the rows of one subtree, copied together."""

    codes: Array  # (d, most rows)
    rows: Array  # int32: where they came from


def _same_type(typing_context: Any, array: Any) -> Any:
    """A read-only array under the type of others, so that code is compiled once. Nothing writes to it."""
    plain = array.copy(readonly=False)

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return impl_ret_borrowed(context, builder, plain, args[0])

    return plain(array), code


same_type: Any = intrinsic(_same_type)


@register_jitable
def bring_near(codes: Array, near: Near, idx: Array, low: int, high: int) -> None:
    """Copies the codes of positions ``low`` to ``high - 1``, which then look there."""
    for i in range(low, high):
        near.rows[i - low] = idx[i]
        idx[i] = i - low
    for f in range(len(codes)):
        for i in range(high - low):
            near.codes[f, i] = codes[f, near.rows[i]]


@register_jitable
def look_back(near: Near, idx: Array, low: int, high: int) -> None:
    """The positions look into all codes again."""
    for i in range(low, high):
        idx[i] = near.rows[idx[i]]


@register_jitable
def longer_slots(slots: Array, n: int) -> Array:
    """The same slots, and room for at least ``n``."""
    if n <= len(slots):
        return slots
    out = np.empty((2 * n, slots.shape[1]), np.int64)
    out[: len(slots)] = slots
    return out


@exactly
def subtract(
    codes: Array,
    p: Payload,
    desk: Desk,
    rules: Rules,
    waiting: Waiting,
    at: int,
    depth: int,
    slots: Array,
) -> None:
    """The histogram of the larger of two waiting children: their parent's less the smaller one's.

    The parent's stands in slot ``at``, the child's will stand in the slot of its own place. Left out where
    the child, at ``depth``, is a leaf or has fewer rows than the histogram of a feature has cells.
    """
    links, stride, hist = waiting.links, rules.stride, desk.hist
    width = (rules.missing_bin + 1) * stride
    n_right, n_left = links[at, STOP] - links[at, FIRST], links[at + 1, STOP] - links[at + 1, FIRST]
    large = at + 1 if n_left >= n_right else at
    other, n_large = 2 * at + 1 - large, max(n_left, n_right)
    sums, square = waiting.sums[large, :stride], waiting.sums[large, stride]
    if n_large < width or not may_split(rules, n_large, depth, sums, square):
        return
    fill(codes, p, links[other, FIRST], links[other, STOP], desk.order, rules, width, hist)
    parent, child = slots[at], slots[large]
    for i in range(len(hist)):
        child[i] = parent[i] - hist[i]
        hist[i] = 0
    links[large, KNOWN] = 1


@exactly
def grow(
    codes: Array,
    p: Payload,
    n_rows: int,
    bins: Bins,
    signs: Array,
    rules: Rules,
    key: np.uint64,
    depth: int,
    lower: float,
    upper: float,
) -> Nodes:
    """The tree of positions 0 to ``n_rows - 1``, from a root of some key, depth and bounds.

    Memory: two copies of the payload, histograms of the features searched at a node (one a level where all
    are, to subtract from), ``LOCAL_BYTES``.
    """
    d, stride = codes.shape[0], rules.stride
    width, whole = (rules.missing_bin + 1) * stride, rules.max_features >= d
    spare, desk = room_for_rows(n_rows, p), desk_for(d, rules)
    words = set_words(rules) if bins.categorical.any() else 0
    nodes, waiting = room_for_nodes(256, stride, words), room_for_waiting(64, stride)
    # Histograms that are known, each in the slot of its node's place among those that wait.
    slots, nothing = np.empty((0, len(desk.hist)), np.int64), np.empty(0, np.int64)
    sets, no_set = desk.trials.sets, np.empty(0, np.uint64)
    most = max(1, min(n_rows, LOCAL_BYTES // (d * codes.itemsize)))
    near = Near(np.empty((d, most), codes.dtype), np.empty(most, np.int32))
    near_height, near_low, near_high = -1, 0, 0  # -1: no subtree is near
    rows = same_type(codes)
    view = rows
    push_root(waiting, n_rows, key, lower, upper)
    waiting.sums[0, stride] = total_of(p, 0, n_rows, rules, waiting.sums[0, :stride])
    height, me = 1, -1
    while height > 0:
        height -= 1
        me += 1
        if height < near_height:
            look_back(near, p.idx, near_low, near_high)
            near_height, view = -1, rows
        if me == len(nodes.ints):
            nodes = more_nodes(nodes)
        if height + 2 > len(waiting.links):
            waiting = more_waiting(waiting)
        make_leaf(nodes, me, waiting, height, depth)
        low, high, own_depth = nodes.ints[me, LOW], nodes.ints[me, HIGH], nodes.ints[me, DEPTH]
        sums, square = nodes.sums[me], nodes.squares[me]
        if not may_split(rules, high - low, own_depth, sums, square):
            continue
        if near_height < 0 and high - low <= most:
            near_height, near_low, near_high = height, low, high
            bring_near(codes, near, p.idx, low, high)
            view = near.codes
        known = waiting.links[height, KNOWN] == 1
        if whole and (known or high - low >= width):
            slots = longer_slots(slots, height + 2)
            if not known:
                slots[height] = 0
                fill(view, p, low, high, desk.order, rules, width, slots[height])
                known = True
        best, feature, cut, missing_left, threshold = search(
            view, p, low, high, slots[height] if known else nothing, desk, bins, signs, rules, sums,
            nodes.floats[me, LOWER], nodes.floats[me, UPPER], nodes.keys[me],
        )  # fmt: skip
        gain = gain_of(rules, sums, best) if feature >= 0 else -np.inf
        if feature < 0 or is_leaf(rules, high - low, sums, square, desk.left, gain):
            continue
        missing = rules.missing_bin if missing_left == 1 else -1
        by_set = bins.categorical[feature] != 0
        middle = partition(
            view, p, spare, low, high, feature, cut, missing, sets[0] if by_set else no_set
        )
        to_left = middle - low > high - middle
        if by_set:
            nodes.sets[me] = completed(sets, to_left)
            missing_left = int(has_bin(nodes.sets[me], rules.missing_bin))
        elif missing_left < 0:
            missing_left = int(to_left)
        split_node(nodes, me, feature, cut, missing_left, gain, threshold)
        push_children(nodes, me, waiting, height, middle, desk.left, square_of(p, low, middle))
        if rules.constrained and signs[feature] != 0:
            bound_children(waiting, height, rules, signs[feature])
        if known:
            subtract(view, p, desk, rules, waiting, height, own_depth + 1, slots)
        height += 2
    return made(nodes, me + 1)


__all__ = [
    "CUT",
    "DEPTH",
    "FEATURE",
    "GAIN",
    "HIGH",
    "LEFT",
    "LOW",
    "LOWER",
    "MISSING_LEFT",
    "NODE_FLOATS",
    "NODE_INTS",
    "PAGE",
    "RIGHT",
    "ROWS",
    "THRESHOLD",
    "UPPER",
    "Bins",
    "Nodes",
    "Payload",
    "Source",
    "best_split",
    "collect",
    "draw_rows",
    "fill_classes",
    "fill_values",
    "gain_of",
    "grow",
    "impurities",
    "label_bits",
    "may_split",
    "partition",
    "room_for_rows",
]
