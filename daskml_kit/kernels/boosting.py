"""What boosting does to the rows of a block: gradients as integers, rows to their nodes, histograms.

Gradients and curvatures are rounded to units that the driver knows before the pass, and summed as 64-bit
integers: exact in any order, so in any chunks. Whole weights multiply what was rounded, so a row of weight 3
is three rows. Rows of a node are a run of positions of ``idx``. Codes are read row by row, as blocks hold
them: a row's codes lie in one cache line or two, which are asked for ahead; columns were no faster. Rows are
moved by one feature alone, and read of columns: 1.4 ns a row, where each row is a cache line 4.3. Two rows
are summed in step, which spares a quarter of the instructions: 0.7 ns a value in place of 1.0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.extending import register_jitable

from daskml_kit.kernels.blocks import compiled
from daskml_kit.kernels.compiled_loss import CompiledLoss, pointwise, rowwise
from daskml_kit.kernels.pair_sums import add_pair
from daskml_kit.kernels.prefetch import AHEAD, prefetch
from daskml_kit.kernels.tree_categories import has_bin
from daskml_kit.kernels.tree_splits import exactly
from daskml_kit.typing import Array, IntArray

TILE = 256
"""Rows whose gradients are computed together. Always so many: vector and remainder loops may round apart."""

BUCKET_BITS = 12
BUCKETS = 1 << BUCKET_BITS

SPARE_BINS = 8
"""Bins without rows behind those of each feature. Without them the first bins of all features of 255 lie 4 kB
apart, in the same few places of the first cache: histograms of 20 features of two values then took 10.7 ns a
value, with them 0.8."""

ANY_CODE = (1 << 16) - 1
"""A cut that every code is at or below."""

_TURNED_AT, _CUT_AT, _LEFT_AT = 23, 24, 40
_FEATURES = (1 << _TURNED_AT) - 1

# Columns of a table of splits.
NODE, FEATURE, CUT, MISSING_LEFT, LEFT = range(5)

# What a pass sums up of the rows of each role, and what it says of the largest of them.
MOST_GRADIENT, MOST_CURVATURE, MOST_VALUE, MOST_RAW = range(4)


@compiled
def gradients(
    loss: CompiledLoss,
    y: Array,
    weight: Array,
    raw: Array,
    units: Array,
    roles: Array,
    gh: Array,
    scores: Array,
    most: Array,
    sizes: Array,
) -> None:
    """Negative gradient and curvature of each row as integers, for losses of one prediction a row.

    Parameters
    ----------
    y : (n,) float64
    weight : (n,) float64, empty for ones
    raw : (1, n) float64
    units : (4,) of gradient, curvature and value, powers of two; then 1 where weights are whole, else 0
    roles : (n,) uint8, below ``len(scores)``; empty: all 0
    gh : (1, n, 2) int64, written
    scores : (roles,) int64, to which the values of the rows are added
    most : (4,) float64, raised to the largest absolute gradient, curvature, value, raw prediction
    sizes : (1, 2) int64, to which ``abs(gh)`` is added
    """
    n = len(y)
    eta, target = np.zeros(TILE), np.zeros(TILE)
    value, slope, bend = np.empty(TILE), np.empty(TILE), np.empty(TILE)
    per_slope, per_bend, per_value = 1.0 / units[0], 1.0 / units[1], 1.0 / units[2]
    whole, alike = units[3] > 0.0, len(roles) == 0
    # Sums and maxima in registers: in arrays each row would wait for the last one's to be stored.
    most_slope, most_bend = most[MOST_GRADIENT], most[MOST_CURVATURE]
    most_value, most_raw = most[MOST_VALUE], most[MOST_RAW]
    slopes, bends = np.int64(0), np.int64(0)
    for start in range(0, n, TILE):
        size = min(TILE, n - start)
        for i in range(size):
            eta[i], target[i] = raw[0, start + i], y[start + i]
        for i in range(TILE):
            value[i], slope[i], bend[i] = pointwise(loss, target[i], eta[i])
        for i in range(size):
            most_slope = max(most_slope, abs(slope[i]))
            most_bend = max(most_bend, bend[i])
            most_value = max(most_value, abs(value[i]))
            most_raw = max(most_raw, abs(eta[i]))
        if len(weight):
            for i in range(size):
                w = weight[start + i]
                inside, times = (1.0, w) if whole else (w, 1.0)
                slope[i] = np.rint(-slope[i] * inside * per_slope) * times
                bend[i] = np.rint(bend[i] * inside * per_bend) * times
                value[i] = np.rint(value[i] * w * per_value)
        else:
            for i in range(size):
                slope[i] = np.rint(-slope[i] * per_slope)
                bend[i] = np.rint(bend[i] * per_bend)
                value[i] = np.rint(value[i] * per_value)
        total = np.int64(0)
        for i in range(size):
            g, h = np.int64(slope[i]), np.int64(bend[i])
            gh[0, start + i, 0], gh[0, start + i, 1] = g, h
            slopes += abs(g)
            bends += h
            total += np.int64(value[i])
        if alike:
            scores[0] += total
        else:
            for i in range(size):
                scores[roles[start + i]] += np.int64(value[i])
    most[MOST_GRADIENT], most[MOST_CURVATURE] = most_slope, most_bend
    most[MOST_VALUE], most[MOST_RAW] = most_value, most_raw
    sizes[0, 0] += slopes
    sizes[0, 1] += bends


@compiled
def gradients_of_classes(
    loss: CompiledLoss,
    y: Array,
    weight: Array,
    raw: Array,
    units: Array,
    roles: Array,
    gh: Array,
    scores: Array,
    most: Array,
    sizes: Array,
) -> None:
    """:func:`gradients` for K predictions a row: ``raw`` (K, n), ``gh`` (K, n, 2), ``sizes`` (K, 2).

    The curvature is the diagonal ``p (1 - p)``, which follows from the gradient ``p - [y = k]``.
    """
    k_all, n = raw.shape
    eta, slope, none = np.empty(k_all), np.empty(k_all), np.empty((0, 0))
    for r in range(n):
        for k in range(k_all):
            eta[k] = raw[k, r]
            most[MOST_RAW] = max(most[MOST_RAW], abs(eta[k]))
        value = rowwise(loss, y[r], eta, slope, none)
        most[MOST_VALUE] = max(most[MOST_VALUE], abs(value))
        w = weight[r] if len(weight) else 1.0
        inside, times = (1.0, w) if units[3] > 0.0 else (w, 1.0)
        for k in range(k_all):
            size = abs(slope[k])
            gh[k, r, 0] = np.int64(np.rint(-slope[k] * inside / units[0]) * times)
            gh[k, r, 1] = np.int64(np.rint(size * (1.0 - size) * inside / units[1]) * times)
            sizes[k, 0] += abs(gh[k, r, 0])
            sizes[k, 1] += gh[k, r, 1]
        scores[roles[r] if len(roles) else 0] += np.int64(np.rint(value * w / units[2]))


@exactly
def part_rows(
    codes: Array,
    by_column: bool,
    idx: Array,
    spare: Array,
    splits: Array,
    sets: Array,
    missing_bin: int,
    runs: Array,
) -> None:
    """Rows moved to the nodes below them, in order, for those splits that have not been applied.

    Parameters
    ----------
    codes : (n, d) uint8 or uint16; or (d, n), ``by_column``
    idx, spare : (m,) int32, rows by position, and room
    splits : (s, 5) int32, parents before children; the cut of categories is -1
    sets : (s, words) uint64, the categories that go left; empty where no feature is categorical
    runs : (nodes, 2) int64, low and high position of each node; low is -1 where it is not known
    """
    one, ahead = np.uint64(1), np.uint64(AHEAD)
    cells, width = codes.reshape(codes.size), np.uint64(codes.shape[1])
    for s in range(len(splits)):
        node, left = splits[s, NODE], splits[s, LEFT]
        if runs[left, 0] >= 0:
            continue
        feature, cut = np.uint64(splits[s, FEATURE]), int(splits[s, CUT])
        missing = missing_bin if splits[s, MISSING_LEFT] else -1
        low, high = np.uint64(runs[node, 0]), np.uint64(runs[node, 1])
        at, first = low, feature * width if by_column else feature
        # A row is written to both sides and stays on the one that counts it. Three loops: what is always so
        # in one of them would be asked for every row.
        if sets.size > 0 and cut < 0:
            for i in range(low, high):
                r = idx[i]
                c = cells[first + np.uint64(r) * (one if by_column else width)]
                idx[at], spare[i - at] = r, r
                at += np.uint64(has_bin(sets[s], int(c)))
        elif by_column:
            for i in range(low, high):
                r = idx[i]
                c = cells[first + np.uint64(r)]
                idx[at], spare[i - at] = r, r
                at += np.uint64((c <= cut) | (c == missing))
        else:
            for i in range(low, high):
                prefetch(cells, first + np.uint64(idx[min(i + ahead, high - one)]) * width)
                r = idx[i]
                c = cells[first + np.uint64(r) * width]
                idx[at], spare[i - at] = r, r
                at += np.uint64((c <= cut) | (c == missing))
        idx[at:high] = spare[: high - at]
        runs[left, 0], runs[left, 1] = low, at
        runs[left + 1, 0], runs[left + 1, 1] = at, high


@exactly
def fill_nodes(
    codes: Array, gh: Array, times: Array, idx: Array, runs: Array, nodes: Array, hist: Array
) -> None:
    """Adds the rows of some nodes to their histograms.

    Parameters
    ----------
    codes : (n, d)
    gh : (n, 2) int64
    times : (n,) int64, what a row counts for; empty for ones
    nodes : (m,) int64
    hist : (m, d, bins, 2 or 3) int64: gradient, curvature and, of three, what rows count for
    """
    width, counted = hist.shape[2], hist.shape[3] > 2
    one, two, three = np.uint64(1), np.uint64(2), np.uint64(3)
    step = np.uint64(hist.shape[3] * width)
    d, ahead, line = np.uint64(codes.shape[1]), np.uint64(AHEAD), np.uint64(64 // codes.itemsize)
    rows, steps, cells = codes.reshape(codes.size), gh.reshape(gh.size), hist.reshape(hist.size)
    for j in range(len(nodes)):
        first = np.uint64(j) * d * step
        low, high = np.uint64(runs[nodes[j], 0]), np.uint64(runs[nodes[j], 1])
        for i in range(low, high, two):
            for k in range(i + ahead, i + ahead + two):
                soon = np.uint64(idx[k if k < high else high - one])
                prefetch(steps, soon * two)
                for f in range(np.uint64(0), d, line):
                    prefetch(rows, soon * d + f)
                prefetch(rows, soon * d + d - one)
            # The last row may have no second: the same one without any weight.
            r = np.uint64(idx[i])
            s, more = r, i + one < high
            g, h = np.int64(steps[r * two]), np.int64(steps[r * two + one])
            u, v = np.int64(0), np.int64(0)
            own, other = np.int64(1), np.int64(more)
            if len(times):
                own, other = times[r], times[idx[i + one]] if more else np.int64(0)
            if more:
                s = np.uint64(idx[i + one])
                u, v = np.int64(steps[s * two]), np.int64(steps[s * two + one])
            at, r, s = first, r * d, s * d
            if counted:
                for f in range(d):
                    x = at + np.uint64(rows[r + f]) * three
                    add_pair(cells, x, g, h)
                    cells[x + two] += own
                    y = at + np.uint64(rows[s + f]) * three
                    add_pair(cells, y, u, v)
                    cells[y + two] += other
                    at += step
            else:
                for f in range(d):
                    add_pair(cells, at + np.uint64(rows[r + f]) * two, g, h)
                    add_pair(cells, at + np.uint64(rows[s + f]) * two, u, v)
                    at += step


@exactly
def narrowed(hist: Array, out: Array, wide: Array) -> None:
    """Histograms in 32 bits, and the features some of whose sums need more.

    Parameters
    ----------
    hist : (m, d, bins, stride) int64
    out : the same shape, int32, written
    wide : (d,) bool, set
    """
    m, d = hist.shape[0], hist.shape[1]
    size = hist.shape[2] * hist.shape[3]
    cells, small = hist.reshape(hist.size), out.reshape(out.size)
    for f in range(d):
        wide[f] = False
    for j in range(m):
        for f in range(d):
            first = np.uint64((j * d + f) * size)
            lost = np.int64(0)
            for i in range(np.uint64(size)):
                value = cells[first + i]
                short = np.int32(value)
                small[first + i] = short
                lost |= value ^ np.int64(short)
            wide[f] |= lost != 0


def walking_steps(splits: IntArray, n_nodes: int, missing_bin: int) -> Array:
    """The nodes of a finished tree as :func:`raise_rows` takes them: (n_nodes,) uint64.

    Of each node its left child, cut, whether codes are turned, and feature: 24, 16, 1 and 23 bits. Where
    missing values go left, codes and cut are turned, modulo 2^16, until missing ones are the first. Leaves
    are their own left children, whatever the code. Where categories are split the cut is that of leaves.
    """
    word = np.uint64
    out = np.arange(n_nodes).astype(word) << word(_LEFT_AT) | word(ANY_CODE << _CUT_AT)
    by_set = splits[:, CUT] < 0
    turned = (splits[:, MISSING_LEFT] > 0) & ~by_set
    cut = (splits[:, CUT] - turned * missing_bin) & ANY_CODE  # of categories -1, so that of leaves
    out[splits[:, NODE]] = (
        splits[:, LEFT].astype(word) << word(_LEFT_AT)
        | cut.astype(word) << word(_CUT_AT)
        | turned.astype(word) << word(_TURNED_AT)
        | splits[:, FEATURE].astype(word)
    )
    return out


@register_jitable
def _below(step: np.uint64, code: Any, turn: np.uint64) -> np.uint64:
    """The child where a code goes."""
    one, low = np.uint64(1), np.uint64(ANY_CODE)
    key = (np.uint64(code) + (-((step >> np.uint64(_TURNED_AT)) & one) & turn)) & low
    right = key > (step >> np.uint64(_CUT_AT)) & low
    return (step >> np.uint64(_LEFT_AT)) + np.uint64(right)


@exactly
def raise_rows(
    codes: Array,
    steps: Array,
    n_levels: int,
    sets: Array,
    missing_bin: int,
    values: Array,
    drawn: Array,
    raw: Array,
    counts: Array,
) -> None:
    """Adds to each row's raw prediction what a finished tree says of it, and counts the rows of each leaf.

    Rows are walked down in the order in which they lie, four in step: 1.2 ns a row and level. Parting them
    takes 1.4, and what they get would come to them from everywhere.

    Parameters
    ----------
    codes : (n, d) uint8 or uint16
    steps : (nodes,) uint64, of :func:`walking_steps`
    n_levels : of the tree
    sets : (nodes, words) uint64, the categories that go left; of no words where no feature is categorical
    values : (nodes,) float64
    drawn : (n,) bool, the rows that count; empty for all
    raw : (n,) float64
    counts : (nodes,) int64
    """
    n, some = len(codes), len(drawn) > 0
    flat, d = codes.reshape(codes.size), np.uint64(codes.shape[1])
    turn, chosen = np.uint64(ANY_CODE + 1 - missing_bin), np.uint64(_FEATURES)
    whole = n - n % 4 if sets.size == 0 else 0
    for r in range(0, whole, 4):
        p0 = np.uint64(r) * d
        p1, p2, p3 = p0 + d, p0 + d + d, p0 + d + d + d
        a, b, c, e = np.uint64(0), np.uint64(0), np.uint64(0), np.uint64(0)
        for _ in range(n_levels):
            sa, sb, sc, se = steps[a], steps[b], steps[c], steps[e]
            a = _below(sa, flat[p0 + (sa & chosen)], turn)
            b = _below(sb, flat[p1 + (sb & chosen)], turn)
            c = _below(sc, flat[p2 + (sc & chosen)], turn)
            e = _below(se, flat[p3 + (se & chosen)], turn)
        raw[r] += values[a]
        raw[r + 1] += values[b]
        raw[r + 2] += values[c]
        raw[r + 3] += values[e]
        counts[a] += not some or drawn[r]
        counts[b] += not some or drawn[r + 1]
        counts[c] += not some or drawn[r + 2]
        counts[e] += not some or drawn[r + 3]
    for r in range(whole, n):
        node = np.uint64(0)
        for _ in range(n_levels):
            step = steps[node]
            code, left = flat[np.uint64(r) * d + (step & chosen)], step >> np.uint64(_LEFT_AT)
            if (step >> np.uint64(_CUT_AT)) & np.uint64(ANY_CODE) < ANY_CODE:
                node = _below(step, code, turn)
            elif left != node:
                node = left + np.uint64(not has_bin(sets[node], int(code)))
        raw[r] += values[node]
        counts[node] += not some or drawn[r]


@exactly
def residual_counts(
    y: Array,
    weight: Array,
    unit: float,
    raw: Array,
    idx: Array,
    runs: Array,
    leaves: Array,
    prefixes: Array,
    stage: int,
    out: Array,
) -> None:
    """Weights of the residuals ``y - raw`` of each leaf in buckets of their leading bits.

    A float64 as an integer of 64 bits, its sign bit inverted (all bits, if negative), sorts as the numbers
    do. Stage s counts by the s-th 12 of these bits, of residuals that begin with the leaf's prefix.

    Parameters
    ----------
    weight : (n,) float64, empty for ones
    unit : of a weight as an integer
    prefixes : (leaves,) uint64, the leading ``12 * stage`` bits
    out : (leaves, 4096) int64, added to
    """
    residual = np.empty(1)
    bits = residual.view(np.uint64)
    sign, one = np.uint64(1) << np.uint64(63), np.uint64(1)
    shift = np.uint64(64 - BUCKET_BITS * (stage + 1))
    for j in range(len(leaves)):
        for i in range(runs[leaves[j], 0], runs[leaves[j], 1]):
            r = idx[i]
            residual[0] = y[r] - raw[r]
            key = bits[0]
            key = ~key if key & sign else key | sign
            key >>= shift
            if stage > 0 and key >> np.uint64(BUCKET_BITS) != prefixes[j]:
                continue
            w = np.int64(np.rint(weight[r] / unit)) if len(weight) else np.int64(one)
            out[j, key & np.uint64(BUCKETS - 1)] += w


def middle_of(prefix: int, stages: int) -> float:
    """The number in the middle of those whose leading ``12 * stages`` bits are ``prefix``."""
    rest = 64 - BUCKET_BITS * stages
    key = (int(prefix) << rest) | (1 << (rest - 1))
    key = key ^ (1 << 63) if key >> 63 else key ^ ((1 << 64) - 1)
    return float(np.array([key], np.uint64).view(np.float64)[0])


def gradient_kernel(loss: CompiledLoss) -> Any:
    """Which of the two a loss needs."""
    return gradients if hasattr(loss, "pointwise") else gradients_of_classes


__all__ = [
    "ANY_CODE",
    "BUCKETS",
    "BUCKET_BITS",
    "SPARE_BINS",
    "TILE",
    "fill_nodes",
    "gradient_kernel",
    "gradients",
    "gradients_of_classes",
    "middle_of",
    "narrowed",
    "part_rows",
    "raise_rows",
    "residual_counts",
    "walking_steps",
]
