"""The compiled loops of :mod:`daskml_kit.kernels.abreast`.

A tile of rows lies column by column, so that a vector register holds one column of eight rows. A centre is
repeated in all lanes and meets 16 rows at once; the two least scores of each row, and whose the least is,
stay in registers from the first centre to the last::

    column 0   x x x x x x x x   x x x x x x x x     best    b b b b b b b b   b b b b b b b b
    column 1   x x x x x x x x   x x x x x x x x     second  s s s s s s s s   s s s s s s s s
       :                                             label   k k k k k k k k   k k k k k k k k

No sum over lanes, no memory between centres: with 16 centres of 3 columns a row takes 3 ns.

Of few columns rows lie in the order of cells of a grid, so the sixteen that meet a centre at once are near
each other. The middles of such groups meet the centres first: where the second is farther from the middle
than the first by more than twice the group's radius, all of the group belong to the first, and none is met.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from daskml_kit.kernels.aim import GROW
from daskml_kit.kernels.blocks import UNCOUNTED, bare
from daskml_kit.kernels.exact_sums import move_rows_exactly
from daskml_kit.kernels.nearest_tiles import lowest_of_tied
from daskml_kit.kernels.rows import squared_distance
from daskml_kit.kernels.scores import (
    FLOAT,
    INT32,
    INT64,
    LANES,
    VECTOR,
    repeat,
    smaller,
)
from daskml_kit.typing import Array

TILE = 64  # rows
PAIR = 2 * LANES  # rows that meet a centre at once: a group
ROUNDED = (
    2.0**-20
)  # more than a row of few columns moves when it is rounded to float32, in parts of its length
LABELS = ir.VectorType(INT32, LANES)


class Found(NamedTuple):
    """Room for what is found of a tile of rows."""

    best: Array
    """(TILE,) float32: the least score."""
    second: Array
    """(TILE,) float32: the second least, or the least where it is there twice."""
    base: Array
    """(TILE,) float32: squared length of the row."""
    label: Array
    """(TILE,) int32: whose the least score is, the first of several."""


def room() -> Found:
    """For a tile."""
    best, second, base = (np.empty(TILE, np.float32) for _ in range(3))
    return Found(best, second, base, np.empty(TILE, np.int32))


class Lie(NamedTuple):
    """How the rows of a block lie."""

    columns: Array
    """(tiles, d, TILE) float32: moved and scaled, zeros behind the last."""
    order: Array
    """(n,) int32: which row lies at each place, or (0,) where they lie as they came."""
    middles: Array
    """(tiles of groups, d, TILE) float32, as the rows; (0, d, TILE) where they lie as they came."""
    radius: Array
    """(groups,) float32: no row of a group is farther from its middle."""


class Placed(NamedTuple):
    """Centres as the rows lie: moved, scaled, float32."""

    centers: Array
    """(k, d) float32."""
    halves: Array
    """(k,) float32: half of their squared lengths."""
    slack: Array
    """(2,) float32: a squared distance is off by at most ``first + second |x|^2``."""


# ---------------------------------------------------------------- sixteen rows and all centres


class Pair:
    """Writes the instructions for two vectors of rows."""

    def __init__(self, builder: Any, args: Any) -> None:
        self.builder = builder
        pointer = FLOAT.as_pointer()
        rows, centers, halves, *outs = (builder.inttoptr(a, pointer) for a in args[:7])
        self.rows, self.centers, self.halves, self.outs = rows, centers, halves, outs
        self.step, self.k, self.d = args[7:]

    def write(self) -> None:
        """The two least scores of each row, whose the least is, and the row's squared length."""
        builder, infinite = self.builder, ir.Constant(VECTOR, [float("inf")] * LANES)
        none = ir.Constant(LABELS, [0] * LANES)
        best, second, label = (
            [cgutils.alloca_once_value(builder, first) for _ in range(2)]
            for first in (infinite, infinite, none)
        )
        with cgutils.for_range(builder, self.k) as loop:
            for v, score in enumerate(self.scores(loop.index)):
                before = builder.load(best[v])
                nearer = builder.fcmp_ordered("<", score, before)
                larger = builder.select(nearer, before, score)
                builder.store(smaller(builder, larger, builder.load(second[v])), second[v])
                builder.store(builder.select(nearer, score, before), best[v])
                own = repeated(builder, builder.trunc(loop.index, INT32))
                builder.store(builder.select(nearer, own, builder.load(label[v])), label[v])
        for v, total in enumerate(self.lengths()):
            for found, out in zip((best[v], second[v]), self.outs[:2], strict=True):
                builder.store(builder.load(found), self.vector(out, v), align=4)
            builder.store(total, self.vector(self.outs[2], v), align=4)
            where = builder.bitcast(self.vector(self.outs[3], v), LABELS.as_pointer())
            builder.store(builder.load(label[v]), where, align=4)

    def scores(self, k: Any) -> list[Any]:
        """Half of the squared length of centre k less its products with the rows."""
        builder = self.builder
        half = repeat(builder, builder.load(builder.gep(self.halves, [k])))
        sums = [cgutils.alloca_once(builder, VECTOR) for _ in range(2)]
        for total in sums:
            builder.store(half, total)
        first = builder.mul(k, self.d)
        with cgutils.for_range(builder, self.d) as loop:
            at = builder.gep(self.centers, [builder.add(first, loop.index)])
            number = repeat(builder, builder.load(at))
            for total, values in zip(sums, self.column(loop.index), strict=True):
                product = builder.fmul(number, values, flags=["contract"])
                less = builder.fsub(builder.load(total), product, flags=["contract"])
                builder.store(less, total)
        return [builder.load(total) for total in sums]

    def lengths(self) -> list[Any]:
        """Squared lengths of the rows."""
        builder = self.builder
        zero = ir.Constant(VECTOR, [0.0] * LANES)
        sums = [cgutils.alloca_once_value(builder, zero) for _ in range(2)]
        with cgutils.for_range(builder, self.d) as loop:
            for total, values in zip(sums, self.column(loop.index), strict=True):
                square = builder.fmul(values, values, flags=["contract"])
                builder.store(builder.fadd(builder.load(total), square, flags=["contract"]), total)
        return [builder.load(total) for total in sums]

    def column(self, j: Any) -> list[Any]:
        """Column j of the rows."""
        base = self.builder.gep(self.rows, [self.builder.mul(j, self.step)])
        return [self.builder.load(self.vector(base, v), align=4) for v in range(2)]

    def vector(self, base: Any, v: int) -> Any:
        """Address of the v-th eight numbers."""
        place = self.builder.gep(base, [INT64(v * LANES)])
        return self.builder.bitcast(place, VECTOR.as_pointer())


def repeated(builder: Any, number: Any) -> Any:
    """One integer in all lanes."""
    first = builder.insert_element(ir.Constant(LABELS, ir.Undefined), number, INT32(0))
    mask = ir.Constant(LABELS, [0] * LANES)
    return builder.shuffle_vector(first, ir.Constant(LABELS, ir.Undefined), mask)


def write_pair(ctx: Any, rows: Any, centers: Any, halves: Any, best: Any, second: Any, base: Any,
               label: Any, step: Any, k: Any, d: Any) -> Any:  # fmt: skip
    """``(rows, centers, halves, best, second, base, label: addresses; step, k, d)`` in compiled code."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        Pair(builder, args).write()
        return context.get_dummy_value()

    return types.void(*[types.intp] * 10), build


two_least: Callable[..., None] = intrinsic(write_pair)


@bare
def search(columns: Array, t: int, placed: Placed, found: Found) -> None:
    """What all centres are to the rows of tile t."""
    for r in range(0, TILE, PAIR):
        search_pair(columns, t, r, placed, found, r)


@bare
def search_pair(columns: Array, t: int, r: int, placed: Placed, found: Found, to: int) -> None:
    """What they are to sixteen rows of tile t, from r on; found from ``to`` on."""
    k, d = placed.centers.shape
    two_least(
        columns.ctypes.data + 4 * (t * d * TILE + r),
        placed.centers.ctypes.data,
        placed.halves.ctypes.data,
        found.best.ctypes.data + 4 * to,
        found.second.ctypes.data + 4 * to,
        found.base.ctypes.data + 4 * to,
        found.label.ctypes.data + 4 * to,
        TILE,
        k,
        d,
    )


# ---------------------------------------------------------------- passes


@njit(cache=True, nogil=True, **UNCOUNTED)
def cells(X: Array, bits: int, ranges: Array, spaced: Array, cell: Array) -> None:
    """Writes the number of each row's cell (n,) uint16: ``2^bits`` ranges of each column, their bits in turn.

    ``ranges`` (2, d) and ``spaced`` (2^bits,) uint16 are room.
    """
    n, d = X.shape
    last = (1 << bits) - 1
    for own in range(last + 1):
        spaced[own] = 0
        for b in range(bits):
            spaced[own] |= ((own >> b) & 1) << (b * d)
    for j in range(d):
        ranges[0, j], ranges[1, j] = X[0, j], X[0, j]
    for i in range(n):
        for j in range(d):
            ranges[0, j], ranges[1, j] = min(ranges[0, j], X[i, j]), max(ranges[1, j], X[i, j])
    for j in range(d):
        gap = ranges[1, j] - ranges[0, j]
        ranges[1, j] = (last + 1) / gap if gap > 0.0 else 0.0
    for i in range(n):
        number = 0
        for j in range(d):
            at = (X[i, j] - ranges[0, j]) * ranges[1, j]
            own = last if at >= last else int(at) if at > 0.0 else 0
            number |= spaced[own] << j
        cell[i] = number


@njit(cache=True, nogil=True, **UNCOUNTED)
def turn(X: Array, origin: Array, scale: float, lie: Lie) -> None:
    """Writes rows as tiles of columns, in the order given, and where the groups are, if that is asked for."""
    n, d = X.shape
    for t in range(len(lie.columns)):
        start = t * TILE
        size = min(TILE, n - start)
        for j in range(d):
            for r in range(size):
                i = lie.order[start + r] if lie.order.size else start + r
                lie.columns[t, j, r] = (X[i, j] - origin[j]) * scale
            for r in range(size, TILE):
                lie.columns[t, j, r] = 0.0
    for g in range(lie.radius.size):
        lie.radius[g] = encircled(lie, g, min(PAIR, n - g * PAIR))


@bare
def encircled(lie: Lie, g: int, size: int) -> float:
    """Writes the middle of the rows of group g; their radius."""
    t, first = divmod(g * PAIR, TILE)
    u, q = divmod(g, TILE)
    d = lie.columns.shape[1]
    length = 0.0
    for j in range(d):
        low, high = lie.columns[t, j, first], lie.columns[t, j, first]
        for r in range(first + 1, first + size):
            low, high = min(low, lie.columns[t, j, r]), max(high, lie.columns[t, j, r])
        lie.middles[u, j, q] = np.float32(0.5) * low + np.float32(0.5) * high
        length += float(lie.middles[u, j, q]) ** 2
    most = 0.0
    for r in range(first, first + size):
        total = 0.0
        for j in range(d):
            total += (float(lie.columns[t, j, r]) - float(lie.middles[u, j, q])) ** 2
        most = max(most, total)
    radius = np.sqrt(most)
    return float(radius * GROW + ROUNDED * max(1.0, np.sqrt(length) + radius))


@njit(cache=True, nogil=True, **UNCOUNTED)
def place(
    centers: Array, origin: Array, scale: float, error: float, least: float, placed: Placed
) -> None:
    """Writes the centres as the rows lie."""
    k, d = centers.shape
    longest = least * least
    for c in range(k):
        total = 0.0
        for j in range(d):
            gap = (centers[c, j] - origin[j]) * scale
            placed.centers[c, j] = gap
            total += gap * gap
        placed.halves[c] = 0.5 * total
        longest = max(longest, total)
    # (|x| + |c|)^2 is at most twice the sum of the squares.
    placed.slack[0] = 2.0 * error * longest
    placed.slack[1] = 2.0 * error


class Book(NamedTuple):
    """Where rows are, and what they sum up to: written as they change."""

    label: Array
    """(n,) int32 of the row at each place, -1 before the first pass."""
    whole: Array
    """(groups,) int32: the label that all of a group have, -1 where they may differ."""
    sums: Array
    """(k, 2, d + 1) exact sums."""
    coarse: Array
    fine: Array


@njit(cache=True, nogil=True, **UNCOUNTED)
def relabel(
    X: Array,
    weight: Array,
    lie: Lie,
    centers: Array,
    placed: Placed,
    tie: float,
    book: Book,
    above: Found,
    found: Found,
    listed: Array,
    again: Array,
    own: Array,
) -> int:
    """Brings labels and sums to other centres; returns how many points met all of them."""
    n, n_groups, met = len(X), lie.radius.size, np.int64(0)
    step = PAIR if n_groups else TILE
    for u in range(len(lie.middles) if n_groups else len(lie.columns)):
        size = 1
        listed[0] = u
        if n_groups:
            search(lie.middles, u, placed, above)
            size = min(TILE, n_groups - u * TILE)
            met += size
            size = left_open(X, weight, lie, placed, tie, book, above, u * TILE, size, listed)
        for q in range(size):
            low = int(listed[q]) * step
            high = min(low + step, n)
            for r in range(0, step, PAIR):
                search_pair(lie.columns, low // TILE, low % TILE + r, placed, found, r)
            met += high - low
            for p in range(doubtful(placed, tie, found, book.label, low, high - low, again)):
                r = again[p]
                k = found.label[r]
                own[0] = lie.order[low + r] if lie.order.size else low + r
                if not decided(placed, tie, found, r):
                    k = lowest_of_tied(X, own[0], centers, tie)
                    met += 1
                old = book.label[low + r]
                if k != old:
                    book.label[low + r] = k
                    move_rows_exactly(
                        X, weight, own, 0, 1, book.coarse, book.fine, book.sums, old, k
                    )
    return int(met)


@bare
def left_open(
    X: Array,
    weight: Array,
    lie: Lie,
    placed: Placed,
    tie: float,
    book: Book,
    found: Found,
    first: int,
    size: int,
    listed: Array,
) -> int:
    """Lists the groups, from ``first`` on, whose rows may have several centres, and books the others."""
    two, grow = np.float32(2.0), np.float32(GROW * GROW * (1.0 + tie))
    for q in range(size):
        base, reach = found.base[q], lie.radius[first + q]
        slack = placed.slack[0] + placed.slack[1] * base
        near = np.sqrt(base + two * found.best[q] + slack)
        far = np.sqrt(base + two * found.second[q] - slack)
        if not far - reach > (near + reach) * grow:
            found.label[q] = -1
    count = 0
    for q in range(size):
        g, k = first + q, found.label[q]
        listed[count] = g
        count += k < 0
        if k >= 0 and k != book.whole[g]:
            settle_whole(X, weight, lie.order, book, g * PAIR, min((g + 1) * PAIR, len(X)), k)
        book.whole[g] = k
    return count


@bare
def settle_whole(
    X: Array, weight: Array, order: Array, book: Book, low: int, high: int, k: int
) -> None:
    """Books the rows at places ``low`` to ``high`` under one label, together as far as they had one."""
    p = low
    while p < high:
        old, begin = book.label[p], p
        while p < high and book.label[p] == old:
            book.label[p] = k
            p += 1
        if old != k:
            move_rows_exactly(X, weight, order, begin, p, book.coarse, book.fine, book.sums, old, k)


@bare
def doubtful(
    placed: Placed, tie: float, found: Found, label: Array, start: int, size: int, listed: Array
) -> int:
    """Lists the rows found whose label is another one now, or may be; how many."""
    count = 0
    for r in range(size):
        listed[count] = r
        same = found.label[r] == label[start + r]
        count += not (same & decided(placed, tie, found, r))
    return count


@njit(cache=True, nogil=True, **UNCOUNTED)
def approach(
    X: Array,
    lie: Lie,
    centers: Array,
    placed: Placed,
    scale: float,
    tie: float,
    square: Array,
    found: Found,
) -> None:
    """Lowers squared distances to those of the nearest of more centres."""
    n, unit = len(X), scale * scale * GROW
    for t in range(len(lie.columns)):
        search(lie.columns, t, placed, found)
        start = t * TILE
        for r in range(min(TILE, n - start)):
            i = lie.order[start + r] if lie.order.size else start + r
            base = found.base[r]
            least = base + np.float32(2.0) * found.best[r]
            if not least - (placed.slack[0] + placed.slack[1] * base) > square[i] * unit:
                k = int(found.label[r])
                if not decided(placed, tie, found, r):
                    k = lowest_of_tied(X, i, centers, tie)
                square[i] = min(square[i], squared_distance(X, i, centers, k, 0.0))


@bare
def decided(placed: Placed, tie: float, found: Found, r: int) -> bool:
    """Whether the least score is that of the nearest beyond doubt."""
    two = np.float32(2.0)
    slack = placed.slack[0] + placed.slack[1] * found.base[r]
    most = (found.base[r] + two * found.best[r] + slack) * np.float32(GROW) * np.float32(1.0 + tie)
    return bool(found.base[r] + two * found.second[r] - slack > most)


__all__ = [
    "PAIR",
    "TILE",
    "Book",
    "Found",
    "Lie",
    "Placed",
    "approach",
    "cells",
    "decided",
    "place",
    "relabel",
    "room",
    "search",
    "turn",
]
