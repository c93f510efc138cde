"""Scores of rows with a group of centres, in float32: twice as many a second as in float64, and less exact.

For each of a few rows ``|c|^2 / 2 - x.c`` for all centres of a group, and the least of them. Rows are
named by their place in a tile, so they need not lie side by side::

    tile (rows, d)        group (d, width)           out (rows, width)      least (rows,)
    . . . . . . . .
    x x x x x x x x  -+   c c c c c c c c            s s s s s s s s   ->   s
    . . . . . . . .   |   c c c c c c c c      ->    s s s s s s s s   ->   s
    x x x x x x x x  -+   :                          4 x (8, 16 or 24) sums in registers

The same idea as in :mod:`daskml_kit.kernels.products`, on eight lanes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from daskml_kit.kernels.blocks import compiled
from daskml_kit.typing import Array

LANES = 8  # float32 in a 256-bit register
ROWS = 4
UNIT = float(np.finfo(np.float32).eps) / 2

FLOAT, INT32, INT64 = ir.FloatType(), ir.IntType(32), ir.IntType(64)
VECTOR = ir.VectorType(FLOAT, LANES)


def whole_width(size: int) -> int:
    """Places of a group: whole vectors."""
    return -(-size // LANES) * LANES


def score_error(d: int) -> float:
    """A squared distance from scores is off by at most so many times ``(|x| + |c|)^2``.

    A sum of d products is off by ``d UNIT |x| |c|`` in any order, rounding x, c and ``|c|^2`` to float32 adds
    no more than 4 of the same; ``4 |x| |c| <= (|x| + |c|)^2``. The rest is reserve.
    """
    return (d + 16) * UNIT


class Block:
    """Writes the instructions for four rows and so many vectors of centres."""

    def __init__(self, builder: Any, vectors: int, args: Any) -> None:
        self.builder, self.vectors = builder, vectors
        pointer = FLOAT.as_pointer()
        *rows, group, constants, out, least = (builder.inttoptr(a, pointer) for a in args[:8])
        self.rows, self.group, self.constants, self.out, self.least = (
            rows, group, constants, out, least,
        )  # fmt: skip
        self.width, self.depth = args[8:]

    def vector(self, base: Any, offset: Any) -> Any:
        """Address of the eight numbers ``offset`` after ``base``."""
        return self.builder.bitcast(self.builder.gep(base, [offset]), VECTOR.as_pointer())

    def write(self) -> None:
        """Sums over the columns, then scores and their least."""
        cells = [(row, v) for row in range(ROWS) for v in range(self.vectors)]
        sums = {cell: cgutils.alloca_once(self.builder, VECTOR) for cell in cells}
        for cell in cells:
            self.builder.store(ir.Constant(VECTOR, [0.0] * LANES), sums[cell])
        with cgutils.for_range(self.builder, self.depth) as loop:
            self.add_column(sums, loop.index)
        for row in range(ROWS):
            self.finish(row, [sums[row, v] for v in range(self.vectors)])

    def add_column(self, sums: dict[tuple[int, int], Any], j: Any) -> None:
        """One column of four rows times one row of the group."""
        builder = self.builder
        start = builder.mul(j, self.width)
        centers = [
            builder.load(self.vector(self.group, builder.add(start, INT64(v * LANES))), align=4)
            for v in range(self.vectors)
        ]
        numbers = [repeat(builder, builder.load(builder.gep(row, [j]))) for row in self.rows]
        for (row, v), total in sums.items():
            product = builder.fmul(numbers[row], centers[v], flags=["contract"])
            builder.store(builder.fadd(builder.load(total), product, flags=["contract"]), total)

    def finish(self, row: int, sums: list[Any]) -> None:
        """Constants less sums to ``out``; their least, if it is less, to ``least``."""
        builder, least = self.builder, None
        for v, total in enumerate(sums):
            constant = builder.load(self.vector(self.constants, INT64(v * LANES)), align=4)
            score = builder.fsub(constant, builder.load(total))
            offset = builder.add(builder.mul(self.width, INT64(row)), INT64(v * LANES))
            builder.store(score, self.vector(self.out, offset), align=4)
            least = score if least is None else smaller(builder, score, least)
        single = least_lane(builder, least)
        address = builder.gep(self.least, [INT64(row)])
        builder.store(smaller(builder, single, builder.load(address)), address)


def repeat(builder: Any, number: Any) -> Any:
    """One number in all lanes."""
    undefined = ir.Constant(VECTOR, ir.Undefined)
    first = builder.insert_element(undefined, number, INT32(0))
    mask = ir.Constant(ir.VectorType(INT32, LANES), [0] * LANES)
    return builder.shuffle_vector(first, undefined, mask)


def smaller(builder: Any, a: Any, b: Any) -> Any:
    """The smaller, lane by lane."""
    return builder.select(builder.fcmp_ordered("<", a, b), a, b)


def least_lane(builder: Any, vector: Any) -> Any:
    """The least number of a vector."""
    lanes = LANES
    while lanes > 1:
        lanes //= 2
        half = [(i + lanes) % LANES for i in range(LANES)]
        mask = ir.Constant(ir.VectorType(INT32, LANES), half)
        vector = smaller(builder, builder.shuffle_vector(vector, vector, mask), vector)
    return builder.extract_element(vector, INT32(0))


def write_least(ctx: Any, address: Any, vectors: Any) -> Any:
    """The least of so many vectors of float32 from an address on."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        base = builder.inttoptr(args[0], VECTOR.as_pointer())
        least = cgutils.alloca_once(builder, VECTOR)
        builder.store(ir.Constant(VECTOR, [float("inf")] * LANES), least)
        with cgutils.for_range(builder, args[1]) as loop:
            own = builder.load(builder.gep(base, [loop.index]), align=4)
            builder.store(smaller(builder, own, builder.load(least)), least)
        return least_lane(builder, builder.load(least))

    return types.float32(types.intp, types.intp), build


least_of: Callable[..., float] = intrinsic(write_least)


def write_runner_up(ctx: Any, address: Any, vectors: Any, least: Any) -> Any:
    """Beside the least of so many vectors: the second least, and the place of the least.

    The second is the least itself where it is there twice.
    """

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        base = builder.inttoptr(args[0], VECTOR.as_pointer())
        repeated = repeat(builder, args[2])
        largest = ir.Constant(VECTOR, [float("inf")] * LANES)
        rest, found, place = (
            cgutils.alloca_once_value(builder, first) for first in (largest, INT64(0), INT64(0))
        )
        with cgutils.for_range(builder, args[1]) as loop:
            own = builder.load(builder.gep(base, [loop.index]), align=4)
            same = builder.fcmp_ordered("==", own, repeated)
            others = builder.select(same, largest, own)
            builder.store(smaller(builder, others, builder.load(rest)), rest)
            bits = builder.zext(builder.bitcast(same, ir.IntType(LANES)), INT64)
            at = builder.add(
                builder.mul(loop.index, INT64(LANES)), builder.cttz(bits, ir.IntType(1)(0))
            )
            hit = builder.icmp_signed("!=", bits, INT64(0))
            builder.store(builder.select(hit, at, builder.load(place)), place)
            builder.store(builder.add(builder.load(found), builder.ctpop(bits)), found)
        once = builder.icmp_signed("==", builder.load(found), INT64(1))
        second = builder.select(once, least_lane(builder, builder.load(rest)), args[2])
        return context.make_tuple(builder, signature.return_type, [second, builder.load(place)])

    result = types.Tuple((types.float32, types.intp))
    return result(types.intp, types.intp, types.float32), build


runner_up: Callable[..., tuple[float, int]] = intrinsic(write_runner_up)


def block_of(vectors: int) -> Callable[..., None]:
    """``(four rows, group, constants, out, least: addresses; width, d)`` in compiled code."""

    def write(ctx: Any, a: Any, b: Any, c: Any, e: Any, group: Any, constants: Any, out: Any,
              least: Any, width: Any, depth: Any) -> Any:  # fmt: skip
        def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            Block(builder, vectors, args).write()
            return context.get_dummy_value()

        return types.void(*[types.intp] * 10), build

    made: Callable[..., None] = intrinsic(write)
    return made


one_vector, two_vectors, three_vectors = (block_of(v) for v in (1, 2, 3))


@compiled
def group_scores(
    tile: Array, listed: Array, size: int, group: Array, constants: Array, out: Array, least: Array
) -> None:
    """Scores of the rows ``listed[:size]`` of ``tile`` with a group, and the least of each row.

    All float32 but ``listed``, which has room for up to three rows more, as have ``out`` and ``least``.
    """
    d, width = group.shape
    for q in range(size, (size + ROWS - 1) // ROWS * ROWS):
        listed[q] = listed[size - 1]
    start, step = tile.ctypes.data, 4 * tile.shape[1]
    for q in range(0, size, ROWS):
        a, b = start + step * listed[q], start + step * listed[q + 1]
        c, e = start + step * listed[q + 2], start + step * listed[q + 3]
        low = least.ctypes.data + 4 * q
        for r in range(ROWS):
            least[q + r] = np.inf
        first = 0
        while first < width:
            left = (width - first) // LANES
            at, of = group.ctypes.data + 4 * first, constants.ctypes.data + 4 * first
            to = out.ctypes.data + 4 * (q * width + first)
            if left == 3:
                three_vectors(a, b, c, e, at, of, to, low, width, d)
                first += 3 * LANES
            elif left >= 2:
                two_vectors(a, b, c, e, at, of, to, low, width, d)
                first += 2 * LANES
            else:
                one_vector(a, b, c, e, at, of, to, low, width, d)
                first += LANES


__all__ = ["LANES", "UNIT", "group_scores", "least_of", "runner_up", "score_error", "whole_width"]
