"""One tree grown over binned columns, in one compiled call.

Rows of a node are a run of positions; ``idx`` says which row of ``codes`` stands at a position, and what a
histogram sums up (label or value, weight) is kept in the order of the positions, so it is read in sequence
while only the codes are looked up, a column each. Nodes grow depth first. As soon as the codes of a node's
rows fit the cache they are copied there once, and its whole subtree grows inside the copy.

Histograms are of 64-bit integers, so the larger child's is its parent's less its sibling's, exactly, where
all features are searched.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.imputils import impl_ret_borrowed
from numba.extending import intrinsic, register_jitable

from daskml_kit.kernels.counter import below, philox
from daskml_kit.kernels.tree_splits import (
    GINI,
    SQUARED,
    Rules,
    child_key,
    choose_features,
    draw_split,
    exactly,
    impurity_of,
    is_pure,
    purity,
    scan,
    scan_two_classes,
    value_of,
)
from daskml_kit.typing import Array

# Columns of the table of nodes. A leaf has no feature: -1.
LEFT, RIGHT, FEATURE, CUT, MISSING_LEFT, ROWS, DEPTH, LOW, HIGH = range(9)
GAIN, THRESHOLD, LOWER, UPPER = range(4)
NODE_INTS, NODE_FLOATS = 9, 4

LOCAL_BYTES = 1 << 18
"""Codes of a node that are copied together: a quarter of a usual second-level cache."""

PAGE = 4096
"""Rows whose bootstrap draws are made together."""


class Payload(NamedTuple):
    """What the rows of one tree carry, in the order of positions. Absent parts are empty."""

    idx: Array  # int32: row of the codes
    label: Array  # int32: class
    weight: Array  # int64: weight or Hessian
    value: Array  # int64: target or negative gradient, times weight
    square: Array  # int64: what the impurity needs of a row


class Bins(NamedTuple):
    """What the grower needs to know of the bins."""

    counts: Array  # int32 (d,): bins of each feature, that of missing values not counted
    lows: Array  # float64 (d, bins): least value of each bin
    highs: Array  # float64 (d, bins): largest


class Nodes(NamedTuple):
    """Nodes in the order of a depth-first walk, left before right."""

    ints: Array  # (n, 9): columns LEFT to HIGH
    floats: Array  # (n, 4): columns GAIN to UPPER
    sums: Array  # (n, stride): channels of the rows in the node
    squares: Array  # (n,)
    keys: Array  # (n,) uint64


@exactly
def draw_rows(key: np.uint64, in_page: Array, n_rows: int, start: int, out: Array) -> None:
    """How often each of the global rows from ``start`` on is drawn with replacement.

    ``in_page`` says how many draws fall into each page of ``PAGE`` global rows; which rows they are
    depends on key and page alone.
    """
    stop = start + len(out)
    out[:] = 0
    for page in range(start // PAGE, (stop + PAGE - 1) // PAGE):
        first = page * PAGE
        size = np.uint64(min(PAGE, n_rows - first))
        drawn = in_page[page]
        for j in range(0, drawn, 4):
            a, b = philox(key, np.uint64(page), np.uint64(j))
            for i in range(min(4, drawn - j)):
                bits = a if i < 2 else b
                row = first + int(below(bits >> np.uint64(32) if i & 1 else bits, size))
                if start <= row < stop:
                    out[row - start] += 1


@exactly
def collect(times: Array, source: Payload, out: Payload) -> int:
    """The payload of the rows drawn ``times`` times (empty: each row once), rows of no weight left out.

    Returns how many there are. ``source.idx`` is not read.
    """
    n, size = len(out.idx), 0
    for i in range(n):
        m = times[i] if len(times) else 1
        w = source.weight[i] if len(source.weight) else 1
        if m == 0 or w == 0:
            continue
        out.idx[size] = i
        out.weight[size] = m * w
        if len(source.label):
            out.label[size] = source.label[i]
        if len(source.value):
            out.value[size] = m * source.value[i]
        if len(source.square):
            out.square[size] = m * source.square[i]
        size += 1
    return size


@register_jitable
def cell(start: np.uint64, code: int, stride: np.uint64) -> np.uint64:
    """Where the cell of a bin begins. Unsigned, or each index would be checked for counting from the end."""
    return start + np.uint64(code) * stride


@exactly
def fill_classes(
    codes: Array,
    p: Payload,
    low: int,
    high: int,
    features: Array,
    rules: Rules,
    width: int,
    hist: Array,
) -> None:
    """Adds positions ``low`` to ``high - 1`` to the histograms of ``features``: classes."""
    stride, counter = np.uint64(rules.stride), np.uint64(rules.n_channels)
    counted = rules.stride > rules.n_channels
    n, j = len(features), 0
    while j < n:
        o0, c0 = np.uint64(j * width), codes[features[j]]
        if j + 4 <= n and not counted:
            c1, c2, c3 = codes[features[j + 1]], codes[features[j + 2]], codes[features[j + 3]]
            step = np.uint64(width)
            o1, o2, o3 = o0 + step, o0 + step + step, o0 + step + step + step
            for i in range(np.uint64(low), np.uint64(high)):
                r, k, w = np.uint64(p.idx[i]), np.uint64(p.label[i]), p.weight[i]
                hist[cell(o0, c0[r], stride) + k] += w
                hist[cell(o1, c1[r], stride) + k] += w
                hist[cell(o2, c2[r], stride) + k] += w
                hist[cell(o3, c3[r], stride) + k] += w
            j += 4
        else:
            for i in range(np.uint64(low), np.uint64(high)):
                at = cell(o0, c0[np.uint64(p.idx[i])], stride)
                hist[at + np.uint64(p.label[i])] += p.weight[i]
                if counted:
                    hist[at + counter] += 1
            j += 1


@exactly
def fill_values(
    codes: Array,
    p: Payload,
    low: int,
    high: int,
    features: Array,
    rules: Rules,
    width: int,
    hist: Array,
) -> None:
    """Adds positions ``low`` to ``high - 1`` to the histograms of ``features``: values."""
    stride, one, two = np.uint64(rules.stride), np.uint64(1), np.uint64(2)
    counted = rules.stride > 2
    n, j = len(features), 0
    while j < n:
        o0, c0 = np.uint64(j * width), codes[features[j]]
        if j + 2 <= n and not counted:
            o1, c1 = o0 + np.uint64(width), codes[features[j + 1]]
            for i in range(np.uint64(low), np.uint64(high)):
                r, w, v = np.uint64(p.idx[i]), p.weight[i], p.value[i]
                a, b = cell(o0, c0[r], stride), cell(o1, c1[r], stride)
                hist[a] += w
                hist[a + one] += v
                hist[b] += w
                hist[b + one] += v
            j += 2
        else:
            for i in range(np.uint64(low), np.uint64(high)):
                a = cell(o0, c0[np.uint64(p.idx[i])], stride)
                hist[a] += p.weight[i]
                hist[a + one] += p.value[i]
                if counted:
                    hist[a + two] += 1
            j += 1


@register_jitable
def fill(
    codes: Array,
    p: Payload,
    low: int,
    high: int,
    features: Array,
    rules: Rules,
    width: int,
    hist: Array,
) -> None:
    """Adds some positions to the histograms of some features, ``width`` cells each."""
    if rules.criterion >= SQUARED:
        fill_values(codes, p, low, high, features, rules, width, hist)
    else:
        fill_classes(codes, p, low, high, features, rules, width, hist)


@exactly
def partition(
    codes: Array,
    p: Payload,
    spare: Payload,
    low: int,
    high: int,
    feature: int,
    cut: int,
    missing: int,
) -> int:
    """Moves positions whose code is at most ``cut``, or ``missing``, before the others, in order.

    Returns where the others begin.
    """
    at, others, one = np.uint64(low), np.uint64(0), np.uint64(1)
    column = codes[feature]
    has_label, has_value, has_square = len(p.label) > 0, len(p.value) > 0, len(p.square) > 0
    for i in range(np.uint64(low), np.uint64(high)):
        r, w = p.idx[i], p.weight[i]
        c = int(column[np.uint64(r)])
        goes = np.uint64(c <= cut) | np.uint64(c == missing)
        p.idx[at], spare.idx[others] = r, r
        p.weight[at], spare.weight[others] = w, w
        if has_label:
            k = p.label[i]
            p.label[at], spare.label[others] = k, k
        if has_value:
            v = p.value[i]
            p.value[at], spare.value[others] = v, v
        if has_square:
            q = p.square[i]
            p.square[at], spare.square[others] = q, q
        at += goes
        others += one - goes
    p.idx[at:high] = spare.idx[:others]
    p.weight[at:high] = spare.weight[:others]
    if has_label:
        p.label[at:high] = spare.label[:others]
    if has_value:
        p.value[at:high] = spare.value[:others]
    if has_square:
        p.square[at:high] = spare.square[:others]
    return int(at)


@register_jitable
def total_of(p: Payload, low: int, high: int, rules: Rules, sums: Array) -> int:
    """Sums of the channels over some positions; returns the sum of squares."""
    square = 0
    sums[:] = 0
    for i in range(low, high):
        if rules.criterion >= SQUARED:
            sums[0] += p.weight[i]
            sums[1] += p.value[i]
        else:
            sums[p.label[i]] += p.weight[i]
        if len(p.square):
            square += p.square[i]
    if rules.stride > rules.n_channels:
        sums[rules.n_channels] = high - low
    return square


@register_jitable
def may_split(rules: Rules, rows: int, depth: int, sums: Array, square: int) -> bool:
    """Whether a node is large, shallow and impure enough to be split."""
    return bool(
        depth < rules.max_depth
        and rows >= rules.min_samples_split
        and rows >= 2 * rules.min_samples_leaf
        and not is_pure(rules, rows, sums, square)
    )


@exactly
def best_split(
    hist: Array,
    width: int,
    features: Array,
    start: int,
    stop: int,
    touched: Array,
    n_touched: Array,
    bins: Bins,
    signs: Array,
    rules: Rules,
    sums: Array,
    lower: float,
    upper: float,
    key: np.uint64,
    best: float,
    left: Array,
    right: Array,
    best_left: Array,
) -> tuple[float, int, int, int, float, bool]:
    """The best split among ``features[start:stop]``, whose histograms stand one after the other.

    ``touched`` has one row of bins for each of them, the first ``n_touched``; where ``n_touched`` is
    empty, one row of all bins for all of them.

    Returns score, position in ``features`` (-1: none), cut, missing_left, threshold, and whether any of the
    features has rows in two bins.
    """
    where, cut, missing_left, threshold, varied = -1, -1, -1, 0.0, False
    for j in range(start, stop):
        f = features[j]
        offset = (j - start) * width
        own = touched[j - start] if len(n_touched) else touched[0]
        count = n_touched[j - start] if len(n_touched) else bins.counts[f]
        plain = (
            rules.criterion == GINI and rules.stride == 2 and not rules.random
            and rules.min_weight_leaf == 0.0 and not (rules.constrained and signs[f] != 0)
            and hist[offset + 2 * rules.missing_bin] == 0
            and hist[offset + 2 * rules.missing_bin + 1] == 0
        )  # fmt: skip
        t = 0.0
        if plain:
            score, b, after, m = scan_two_classes(
                hist, offset, own, count, rules, sums, best, best_left
            )
        elif rules.random:
            bits = philox(key, np.uint64(3), np.uint64(f))
            score, b, after, m, t = draw_split(
                hist, offset, own, count, rules, sums, signs[f], lower, upper, best,
                bins.lows[f], bins.highs[f], bits, left, right, best_left,
            )  # fmt: skip
        else:
            score, b, after, m = scan(
                hist, offset, own, count, rules, sums, signs[f], lower, upper, best,
                left, right, best_left,
            )  # fmt: skip
        varied = varied or b > -2
        if b >= 0:
            best, where, cut, missing_left, threshold = score, j, b, m, t
            if not rules.random:
                threshold = np.inf
                if after >= 0:
                    threshold = bins.highs[f, b] / 2 + bins.lows[f, after] / 2
    return best, where, cut, missing_left, threshold, varied


def _trailing_zeros(typing_context: Any, x: Any) -> Any:
    """Zeros below the lowest one of 64 bits, of which one is set."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), code


trailing_zeros: Any = intrinsic(_trailing_zeros)


def _same_type(typing_context: Any, array: Any) -> Any:
    """A read-only array under the type of others, so that code is compiled once. Nothing writes to it."""
    plain = array.copy(readonly=False)

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return impl_ret_borrowed(context, builder, plain, args[0])

    return plain(array), code


same_type: Any = intrinsic(_same_type)


@exactly
def touch(
    codes: Array,
    p: Payload,
    low: int,
    high: int,
    feature: int,
    n_bins: int,
    words: Array,
    touched: Array,
) -> int:
    """The bins, ascending, that some positions fall into; returns how many. Missing values are left out."""
    one, n_words = np.uint64(1), (n_bins + 63) // 64
    for j in range(n_words):
        words[j] = np.uint64(0)
    for i in range(low, high):
        c = int(codes[feature, p.idx[i]])
        if c < n_bins:
            words[c >> 6] |= one << np.uint64(c & 63)
    n = 0
    for j in range(n_words):
        word = words[j]
        while word != np.uint64(0):
            touched[n] = 64 * j + trailing_zeros(word)
            word &= word - one
            n += 1
    return n


@register_jitable
def longer(array: Array, n: int) -> Array:
    """The same rows with room for ``n``."""
    out = np.empty((n, array.shape[1]), array.dtype)
    out[: len(array)] = array
    return out


@register_jitable
def longer_flat(array: Array, n: int) -> Array:
    """The same values with room for ``n``."""
    out = np.empty(n, array.dtype)
    out[: len(array)] = array
    return out


@register_jitable
def gain_of(rules: Rules, sums: Array, score: float) -> float:
    """The decrease of impurity by a split of some score, weighted by the node's share of all rows."""
    return (score - purity(rules, sums)) / rules.weight


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
    width = (rules.missing_bin + 1) * stride  # cells of one feature
    m = min(rules.max_features, d)
    whole = m == d
    spare = Payload(
        np.empty(n_rows, np.int32), np.empty(len(p.label), np.int32), np.empty(n_rows, np.int64),
        np.empty(len(p.value), np.int64), np.empty(len(p.square), np.int64),
    )  # fmt: skip
    capacity = 256
    ints = np.empty((capacity, NODE_INTS), np.int64)
    floats = np.empty((capacity, NODE_FLOATS), np.float64)
    sums = np.empty((capacity, stride), np.int64)
    squares, keys = np.empty(capacity, np.int64), np.empty(capacity, np.uint64)
    # What waits: parent, side, low, high, and the slot of its histogram or -1.
    room = 64
    waiting, waiting_keys = np.empty((room, 5), np.int64), np.empty(room, np.uint64)
    waiting_sums = np.empty((room, stride + 1), np.int64)
    waiting_bounds = np.empty((room, 2), np.float64)
    # Histograms: `hist` is zero between nodes; `slots` hold those that a child's is subtracted from.
    hist = np.zeros(m * width, np.int64)
    slots, free, n_free = np.empty((0, m * width), np.int64), np.empty(0, np.int64), 0
    few = (
        rules.missing_bin + 1
    ) // 2  # rows below which only the bins that they touch are looked at
    every = np.arange(rules.missing_bin).astype(np.int32).reshape(1, -1)
    touched, n_touched = np.empty((m, few), np.int32), np.empty(m, np.int64)
    words, none = np.empty(rules.missing_bin // 64 + 1, np.uint64), np.empty(0, np.int64)
    order = np.arange(d).astype(np.int32)
    left, right = np.empty(stride, np.int64), np.empty(stride, np.int64)
    trial, best_left = np.empty(stride, np.int64), np.empty(stride, np.int64)
    local_rows = max(1, min(n_rows, LOCAL_BYTES // (d * codes.itemsize)))
    local, kept = np.empty((d, local_rows), codes.dtype), np.empty(local_rows, np.int32)
    is_local, local_height, local_low, local_high = False, 0, 0, 0
    rows = same_type(codes)
    view = rows
    waiting[0, 0], waiting[0, 1], waiting[0, 2], waiting[0, 3], waiting[0, 4] = -1, 0, 0, n_rows, -1
    waiting_keys[0] = key
    waiting_bounds[0, 0], waiting_bounds[0, 1] = lower, upper
    waiting_sums[0, stride] = total_of(p, 0, n_rows, rules, waiting_sums[0, :stride])
    height, n = 1, 0
    while height > 0:
        height -= 1
        if is_local and height < local_height:
            for i in range(local_low, local_high):
                p.idx[i] = kept[p.idx[i]]
            is_local, view = False, rows
        if n == capacity:
            capacity *= 2
            ints, floats, sums = (
                longer(ints, capacity),
                longer(floats, capacity),
                longer(sums, capacity),
            )
            squares, keys = longer_flat(squares, capacity), longer_flat(keys, capacity)
        if height + 2 > room:
            room *= 2
            waiting, waiting_sums = longer(waiting, room), longer(waiting_sums, room)
            waiting_bounds, waiting_keys = (
                longer(waiting_bounds, room),
                longer_flat(waiting_keys, room),
            )
        parent, side, slot = waiting[height, 0], waiting[height, 1], waiting[height, 4]
        low, high, node_key = waiting[height, 2], waiting[height, 3], waiting_keys[height]
        bound_low, bound_high = waiting_bounds[height, 0], waiting_bounds[height, 1]
        me, node_sums, square = n, sums[n], waiting_sums[height, stride]
        n += 1
        if parent >= 0:
            ints[parent, side] = me
        node_depth = depth if parent < 0 else ints[parent, DEPTH] + 1
        node_sums[:] = waiting_sums[height, :stride]
        squares[me], keys[me] = square, node_key
        ints[me, LEFT], ints[me, RIGHT], ints[me, FEATURE], ints[me, CUT] = -1, -1, -1, -1
        ints[me, MISSING_LEFT], ints[me, ROWS], ints[me, DEPTH] = 0, high - low, node_depth
        ints[me, LOW], ints[me, HIGH] = low, high
        floats[me, GAIN], floats[me, THRESHOLD] = 0.0, 0.0
        floats[me, LOWER], floats[me, UPPER] = bound_low, bound_high
        if not may_split(rules, high - low, node_depth, node_sums, square):
            continue
        if not is_local and high - low <= local_rows:
            is_local, local_height, local_low, local_high = True, height, low, high
            view = local
            for i in range(low, high):
                kept[i - low] = p.idx[i]
                p.idx[i] = i - low
            for f in range(d):
                for i in range(high - low):
                    local[f, i] = codes[f, kept[i]]
        # --- the best split of the features drawn for this node
        best, where, cut, missing_left, threshold = -np.inf, -1, -1, -1, 0.0
        start, stop, varied = 0, m, False
        if not whole:
            for f in range(d):
                order[f] = f
        elif slot < 0 and high - low >= width:
            if n_free == 0:
                grown = np.empty((2 * len(slots) + 1, m * width), np.int64)
                grown[: len(slots)] = slots
                free, n_free = np.arange(len(slots), len(grown)), len(grown) - len(slots)
                free = longer_flat(free, len(grown))
                slots = grown
            n_free -= 1
            slot = free[n_free]
            slots[slot] = 0
            fill(view, p, low, high, order, rules, width, slots[slot])
        small = high - low < few
        while start < stop:
            if not whole:
                choose_features(node_key, order, start, stop)
            if slot < 0:
                fill(view, p, low, high, order[start:stop], rules, width, hist)
            if small:
                for j in range(start, stop):
                    f = order[j]
                    n_touched[j - start] = touch(
                        view, p, low, high, f, bins.counts[f], words, touched[j - start]
                    )
            best, found, b, ml, t, any_varied = best_split(
                slots[slot] if slot >= 0 else hist, width, order, start, stop,
                touched if small else every, n_touched if small else none, bins, signs, rules, node_sums,
                bound_low, bound_high, node_key, best, left, right, trial,
            )  # fmt: skip
            if found >= 0:
                where, cut, missing_left, threshold = order[found], b, ml, t
                best_left[:] = trial
            if slot < 0:
                for j in range(stop - start):
                    if small:
                        for i in range(n_touched[j]):
                            at = j * width + touched[j, i] * stride
                            for c in range(stride):
                                hist[at + c] = 0
                        for c in range(stride):
                            hist[(j + 1) * width - 1 - c] = 0
                    else:
                        hist[j * width : (j + 1) * width] = 0
            varied = varied or any_varied
            start, stop = stop, stop if varied else min(d, stop + 1)
        gain = gain_of(rules, node_sums, best) if where >= 0 else -np.inf
        if where < 0 or gain < rules.min_gain:
            if slot >= 0:
                free[n_free] = slot
                n_free += 1
            continue
        missing = rules.missing_bin if missing_left == 1 else -1
        middle = partition(view, p, spare, low, high, where, cut, missing)
        if missing_left < 0:
            missing_left = int(middle - low > high - middle)
        ints[me, FEATURE], ints[me, CUT], ints[me, MISSING_LEFT] = where, cut, missing_left
        floats[me, GAIN], floats[me, THRESHOLD] = gain, threshold
        # --- the children; the right one waits below the left one
        square_left = 0
        for i in range(low, middle if len(p.square) else low):
            square_left += p.square[i]
        for s in range(2):
            at = height + 1 - s
            waiting[at, 0], waiting[at, 1] = me, LEFT + s
            waiting[at, 2], waiting[at, 3] = low if s == 0 else middle, middle if s == 0 else high
            waiting[at, 4] = -1
            waiting_keys[at] = child_key(node_key, s)
            for c in range(stride):
                waiting_sums[at, c] = best_left[c] if s == 0 else node_sums[c] - best_left[c]
            waiting_sums[at, stride] = square_left if s == 0 else square - square_left
            waiting_bounds[at, 0], waiting_bounds[at, 1] = bound_low, bound_high
        if rules.constrained and signs[where] != 0:
            for c in range(stride):
                right[c] = node_sums[c] - best_left[c]
            between = (value_of(rules, best_left) + value_of(rules, right)) / 2
            below = height + 1 if signs[where] > 0 else height  # the child that stays below
            waiting_bounds[below, 1] = between
            waiting_bounds[2 * height + 1 - below, 0] = between
        if slot >= 0:
            # The larger child's histogram is this one less the smaller child's.
            large = height + 1 if middle - low >= high - middle else height
            other = 2 * height + 1 - large
            if waiting[large, 3] - waiting[large, 2] >= width and may_split(
                rules, waiting[large, 3] - waiting[large, 2], node_depth + 1,
                waiting_sums[large, :stride], waiting_sums[large, stride],
            ):  # fmt: skip
                fill(view, p, waiting[other, 2], waiting[other, 3], order, rules, width, hist)
                cells = slots[slot]
                for i in range(m * width):
                    cells[i] -= hist[i]
                    hist[i] = 0
                waiting[large, 4] = slot
            else:
                free[n_free] = slot
                n_free += 1
        height += 2
    return Nodes(
        ints[:n].copy(), floats[:n].copy(), sums[:n].copy(), squares[:n].copy(), keys[:n].copy()
    )


@exactly
def _impurities(rules: Rules, sums: Array, squares: Array, out: Array) -> None:
    for i in range(len(out)):
        out[i] = max(0.0, impurity_of(rules, sums[i], squares[i]))


def impurities(rules: Rules, sums: Array, squares: Array) -> Array:
    """Impurity of each node: ``sums`` (n, stride), ``squares`` (n,)."""
    out = np.empty(len(sums))
    _impurities(rules, sums, squares, out)
    return out
