"""The compiled loops of :mod:`daskml_kit.kernels.abreast`.

A tile of rows lies column by column, so that a vector register holds one column of eight rows. A centre is
repeated in all lanes and meets 16 rows at once; the two least scores of each row, and whose the least is,
stay in registers from the first centre to the last::

    column 0   x x x x x x x x   x x x x x x x x     best    b b b b b b b b   b b b b b b b b
    column 1   x x x x x x x x   x x x x x x x x     second  s s s s s s s s   s s s s s s s s
       :                                             label   k k k k k k k k   k k k k k k k k

No sum over lanes, no memory between centres: with 16 centres of 3 columns a row takes 3 ns.
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
from daskml_kit.kernels.exact_sums import add_row_exactly, move_row_exactly
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
PAIR = 2 * LANES  # rows that meet a centre at once
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
    k, d = placed.centers.shape
    start = columns.ctypes.data + 4 * t * d * TILE
    for r in range(0, TILE, PAIR):
        two_least(
            start + 4 * r,
            placed.centers.ctypes.data,
            placed.halves.ctypes.data,
            found.best.ctypes.data + 4 * r,
            found.second.ctypes.data + 4 * r,
            found.base.ctypes.data + 4 * r,
            found.label.ctypes.data + 4 * r,
            TILE,
            k,
            d,
        )


# ---------------------------------------------------------------- passes


@njit(cache=True, nogil=True, **UNCOUNTED)
def turn(X: Array, origin: Array, scale: float, columns: Array) -> None:
    """Writes rows as tiles of columns (tiles, d, TILE), moved and scaled; zeros behind the last."""
    n, d = X.shape
    for t in range(len(columns)):
        start = t * TILE
        size = min(TILE, n - start)
        for j in range(d):
            for r in range(size):
                columns[t, j, r] = (X[start + r, j] - origin[j]) * scale
            for r in range(size, TILE):
                columns[t, j, r] = 0.0


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


@njit(cache=True, nogil=True, **UNCOUNTED)
def relabel(
    X: Array,
    weight: Array,
    columns: Array,
    centers: Array,
    placed: Placed,
    tie: float,
    coarse: Array,
    fine: Array,
    label: Array,
    sums: Array,
    found: Found,
    listed: Array,
) -> int:
    """Brings labels and sums to other centres; returns how many rows two scores did not decide."""
    unsure, n = np.int64(0), len(X)
    for t in range(len(columns)):
        search(columns, t, placed, found)
        start = t * TILE
        for q in range(doubtful(placed, tie, found, label, start, min(TILE, n - start), listed)):
            r = listed[q]
            i, k = start + r, found.label[r]
            if not decided(placed, tie, found, r):
                k = lowest_of_tied(X, i, centers, tie)
                unsure += 1
            old = label[i]
            if k != old:
                scale = weight[i] if weight.size else 1.0
                if old >= 0:
                    move_row_exactly(X, i, scale, coarse, fine, sums[old], sums[k])
                else:
                    add_row_exactly(X, i, scale, coarse, fine, sums[k])
                label[i] = k
    return int(unsure)


@njit(cache=True, nogil=True, **UNCOUNTED)
def approach(
    X: Array,
    columns: Array,
    centers: Array,
    placed: Placed,
    scale: float,
    tie: float,
    square: Array,
    found: Found,
) -> None:
    """Lowers squared distances to those of the nearest of more centres."""
    n, unit = len(X), scale * scale * GROW
    for t in range(len(columns)):
        search(columns, t, placed, found)
        start = t * TILE
        for r in range(min(TILE, n - start)):
            i = start + r
            base = found.base[r]
            least = base + np.float32(2.0) * found.best[r]
            if not least - (placed.slack[0] + placed.slack[1] * base) > square[i] * unit:
                k = int(found.label[r])
                if not decided(placed, tie, found, r):
                    k = lowest_of_tied(X, i, centers, tie)
                square[i] = min(square[i], squared_distance(X, i, centers, k, 0.0))


@bare
def doubtful(
    placed: Placed, tie: float, found: Found, label: Array, start: int, size: int, listed: Array
) -> int:
    """Lists the rows of a tile that have another label, or may have; how many."""
    count = 0
    for r in range(size):
        listed[count] = r
        same = found.label[r] == label[start + r]
        count += not (same & decided(placed, tie, found, r))
    return count


@bare
def decided(placed: Placed, tie: float, found: Found, r: int) -> bool:
    """Whether the least score is that of the nearest beyond doubt."""
    two = np.float32(2.0)
    slack = placed.slack[0] + placed.slack[1] * found.base[r]
    most = (found.base[r] + two * found.best[r] + slack) * np.float32(GROW) * np.float32(1.0 + tie)
    return bool(found.base[r] + two * found.second[r] - slack > most)


__all__ = [
    "TILE",
    "Found",
    "Placed",
    "approach",
    "decided",
    "place",
    "relabel",
    "room",
    "search",
    "turn",
]
