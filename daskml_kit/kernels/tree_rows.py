"""The rows of one tree: which it draws, what each carries, and how a split parts them.

Rows of a node are a run of positions; ``idx`` says which row of the codes stands at a position, and what a
histogram sums up (class or value, weight) is kept in the order of the positions, so it is read in sequence
while only the codes are looked up, a column each.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba.extending import register_jitable

from daskml_kit.kernels.counter import below, philox
from daskml_kit.kernels.tree_splits import SQUARED, Rules, exactly
from daskml_kit.typing import Array

PAGE = 4096
"""Rows whose bootstrap draws are made together."""


class Source(NamedTuple):
    """What some rows carry, in their order. Absent parts are empty."""

    label: Array  # int32: class
    weight: Array  # int64: absent where all are one
    value: Array  # int64: target times weight
    square: Array  # int64: what the impurity needs of a row


class Payload(NamedTuple):
    """What the rows of one tree carry, in the order of positions. Absent parts are empty.

    Few bytes, since a level moves them all: the class of a row stands in the low bits of its weight
    (:func:`label_bits`), and weights are int32 where all of them are so small.
    """

    idx: Array  # int32: row of the codes
    weight: Array  # int32 or int64: weight, and class
    value: Array  # int64: target times weight
    square: Array  # int64: what the impurity needs of a row


@register_jitable
def label_bits(rules: Rules) -> int:
    """Bits below a weight that hold the class; none where targets are values.

    No weight overflows: it is at most one class's share of what 64 bits hold.
    """
    bits = 0
    while rules.criterion < SQUARED and (1 << bits) < rules.n_channels:
        bits += 1
    return bits


@register_jitable
def room_for_rows(n: int, like: Payload) -> Payload:
    """Room for ``n`` rows that carry what others do."""
    return Payload(
        np.empty(n, np.int32), np.empty(n, like.weight.dtype),
        np.empty(min(n, len(like.value)), np.int64), np.empty(min(n, len(like.square)), np.int64),
    )  # fmt: skip


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
def collect(
    times: Array, source: Source, factors: Array, rules: Rules, out: Payload
) -> tuple[int, int]:
    """The payload of the rows drawn ``times`` times (empty: each row once), rows of no weight left out.

    ``factors`` multiply the weights of classes, unless empty. Returns how many rows there are, and their
    weight.
    """
    n, size, total, bits = len(out.idx), 0, 0, label_bits(rules)
    for i in range(n):
        m = times[i] if len(times) else 1
        w = int(m * source.weight[i]) if len(source.weight) else int(m)
        if len(factors):
            w = int(np.rint(w * factors[source.label[i]]))
        if w == 0:
            continue
        out.idx[size] = i
        out.weight[size] = (w << bits) | (source.label[i] if len(source.label) else 0)
        total += w
        if len(source.value):
            out.value[size] = m * source.value[i]
        if len(source.square):
            out.square[size] = m * source.square[i]
        size += 1
    return size, total


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
    chosen: Array,
) -> int:
    """Moves positions whose code is at most ``cut``, or ``missing``, before the others, in order.

    Where ``chosen`` is not empty, it is the set of codes to move, and nothing else counts. Returns where the
    others begin.
    """
    at, others, one = np.uint64(low), np.uint64(0), np.uint64(1)
    column = codes[feature]
    by_set = len(chosen) > 0
    has_value, has_square = len(p.value) > 0, len(p.square) > 0
    for i in range(np.uint64(low), np.uint64(high)):
        r, w = p.idx[i], p.weight[i]
        c = int(column[np.uint64(r)])
        if by_set:
            goes = (chosen[c >> 6] >> np.uint64(c & 63)) & one
        else:
            goes = np.uint64(c <= cut) | np.uint64(c == missing)
        p.idx[at], spare.idx[others] = r, r
        p.weight[at], spare.weight[others] = w, w
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
    if has_value:
        p.value[at:high] = spare.value[:others]
    if has_square:
        p.square[at:high] = spare.square[:others]
    return int(at)


@register_jitable
def total_of(p: Payload, low: int, high: int, rules: Rules, sums: Array) -> int:
    """Sums of the channels over some positions; returns the sum of squares."""
    square, bits = 0, label_bits(rules)
    mask = (1 << bits) - 1
    sums[:] = 0
    for i in range(low, high):
        w = np.int64(p.weight[i])
        if rules.criterion >= SQUARED:
            sums[0] += w
            sums[1] += p.value[i]
        else:
            sums[w & mask] += w >> bits
        if len(p.square):
            square += p.square[i]
    if rules.stride > rules.n_channels:
        sums[rules.n_channels] = high - low
    return square


@register_jitable
def square_of(p: Payload, low: int, high: int) -> int:
    """The sum of squares over some positions; zero where there are none."""
    square = 0
    for i in range(low, high if len(p.square) else low):
        square += p.square[i]
    return square


__all__ = [
    "PAGE",
    "Payload",
    "Source",
    "collect",
    "draw_rows",
    "label_bits",
    "partition",
    "room_for_rows",
    "square_of",
    "total_of",
]
