"""``out += left' right`` for tall thin tiles: the matrix product of all kernels.

BLAS is made for large matrices. On tiles of 64 rows and 56 columns OpenBLAS's dsyrk spent 135 ms on
the Gram matrix of 1,000,000 x 50; this microkernel takes 88, 41 Gflop/s, on the same core. With the
20 columns of k-means' centres the difference is larger still. And it starts no threads. It is Goto
and van de Geijn's inner kernel: a block of 4 x 8 sums stays in registers while it runs down the tile.
Written as vector instructions of four float64, which LLVM translates for the processor at hand.

::

    left  (rows, p)              right (rows, q)             out (p, q)
    . . a a a a . .              . b b b b b b b b .         . o o o o o o o o    4 x 8 sums
    . . a a a a . .      '       . b b b b b b b b .    ->   . o o o o o o o o    in 8 registers
    . . a a a a . .              . b b b b b b b b .         . o o o o o o o o

Every matrix is padded to whole blocks: p to a multiple of ``HEIGHT``, q of ``WIDTH``.

References
----------
Goto and van de Geijn (2008), "Anatomy of high-performance matrix multiplication".
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

LANES = 4  # float64 in a 256-bit register
HEIGHT = 4
VECTORS = 2
WIDTH = LANES * VECTORS  # 8 accumulators hide the 4 cycles of a fused multiply-add, two a cycle

FLOAT, INT32, INT64 = ir.DoubleType(), ir.IntType(32), ir.IntType(64)
VECTOR = ir.VectorType(FLOAT, LANES)


def padded(size: int, block: int = WIDTH) -> int:
    """``size`` rounded up to whole blocks."""
    return -(-size // block) * block


def write_add_block(
    ctx: Any, left: Any, right: Any, out: Any, across: Any, down: Any, q: Any, rows: Any
) -> Any:
    """``out[:4, :8] += left[:rows, :4]' right[:rows, :8]``.

    The first three are addresses. From one column of ``left`` to the next it is ``across`` numbers,
    from one row to the next ``down``; rows of the others are q numbers apart.
    """

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        block = BlockBuilder(builder, *args[:6])
        sums = block.zero_sums()
        with cgutils.for_range(builder, args[6]) as loop:
            block.add_row(sums, loop.index)
        block.add_to_out(sums)
        return context.get_dummy_value()

    return types.void(*[types.intp] * 7), build


add_block: Callable[..., None] = intrinsic(write_add_block)  # without Numba's context


class BlockBuilder:
    """Writes the instructions of one block."""

    def __init__(
        self, builder: Any, left: Any, right: Any, out: Any, across: Any, down: Any, q: Any
    ) -> None:
        pointer = FLOAT.as_pointer()
        self.across, self.down = across, down
        self.builder, self.q = builder, q
        self.left, self.right, self.out = (
            builder.inttoptr(address, pointer) for address in (left, right, out)
        )
        self.cells = [(row, vector) for row in range(HEIGHT) for vector in range(VECTORS)]

    def vector_at(self, base: Any, offset: Any) -> Any:
        """Address of the four numbers ``offset`` after ``base``."""
        return self.builder.bitcast(self.builder.gep(base, [offset]), VECTOR.as_pointer())

    def cell(self, row: int, vector: int) -> Any:
        """Address of four sums."""
        offset = self.builder.mul(self.q, INT64(row))
        return self.vector_at(self.out, self.builder.add(offset, INT64(vector * LANES)))

    def zero_sums(self) -> dict[tuple[int, int], Any]:
        """A local variable for each cell, which LLVM keeps in a register.

        From zero, not from ``out``: a tile's sum is added to the total as a whole, so the rounding
        of n rows is that of n / rows additions.
        """
        sums = {}
        for key in self.cells:
            sums[key] = cgutils.alloca_once(self.builder, VECTOR)
            self.builder.store(ir.Constant(VECTOR, [0.0] * LANES), sums[key])
        return sums

    def add_row(self, sums: dict[tuple[int, int], Any], index: Any) -> None:
        """The outer product of one row's 4 and 8 numbers."""
        builder = self.builder
        left, right = self.left_numbers(index), self.right_vectors(index)
        for row, vector in self.cells:
            product = builder.fmul(left[row], right[vector], flags=["contract"])
            total = builder.fadd(builder.load(sums[row, vector]), product, flags=["contract"])
            builder.store(total, sums[row, vector])

    def left_numbers(self, index: Any) -> list[Any]:
        """Four vectors, each of one number of ``left`` repeated."""
        start = self.builder.mul(index, self.down)
        offsets = [self.builder.mul(self.across, INT64(row)) for row in range(HEIGHT)]
        return [self.repeated(self.builder.add(start, offset)) for offset in offsets]

    def right_vectors(self, index: Any) -> list[Any]:
        """Eight numbers of ``right`` in two vectors."""
        start = self.builder.mul(index, self.q)
        offsets = [self.builder.add(start, INT64(v * LANES)) for v in range(VECTORS)]
        return [self.builder.load(self.vector_at(self.right, at), align=8) for at in offsets]

    def repeated(self, offset: Any) -> Any:
        """One number of ``left`` in all lanes."""
        undefined = ir.Constant(VECTOR, ir.Undefined)
        number = self.builder.load(self.builder.gep(self.left, [offset]))
        first = self.builder.insert_element(undefined, number, INT32(0))
        mask = ir.Constant(ir.VectorType(INT32, LANES), [0] * LANES)
        return self.builder.shuffle_vector(first, undefined, mask)

    def add_to_out(self, sums: dict[tuple[int, int], Any]) -> None:
        """The block's total in memory, plus its sums."""
        for key in self.cells:
            address = self.cell(*key)
            total = self.builder.fadd(
                self.builder.load(address, align=8), self.builder.load(sums[key])
            )
            self.builder.store(total, address, align=8)


@compiled
def add_gram(left: Array, right: Array, rows: int, out: Array) -> None:
    """``out += left[:rows]' right[:rows]`` on the upper triangle, plus the rest of its blocks.

    All have the same padded number of columns, float64, C-contiguous. The product must be symmetric,
    as ``(c x)' x`` is: :func:`mirrored` completes it.
    """
    q = out.shape[1]
    a, b, o = left.ctypes.data, right.ctypes.data, out.ctypes.data
    for column in range(0, q, WIDTH):
        for row in range(0, column + WIDTH, HEIGHT):
            add_block(a + 8 * row, b + 8 * column, o + 8 * (row * q + column), 1, q, q, rows)


@compiled
def add_product(left: Array, right: Array, rows: int, out: Array) -> None:
    """``out += left[:rows]' right[:rows]``; float64, C-contiguous, padded to whole blocks."""
    p, q = out.shape
    a, b, o = left.ctypes.data, right.ctypes.data, out.ctypes.data
    for column in range(0, q, WIDTH):
        for row in range(0, p, HEIGHT):
            add_block(a + 8 * row, b + 8 * column, o + 8 * (row * q + column), 1, p, q, rows)


@compiled
def add_row_products(left: int, step: int, right: Array, out: Array) -> None:
    """``out += left right``, with ``left`` at an address and its rows ``step`` numbers apart."""
    p, q = out.shape
    b, o = right.ctypes.data, out.ctypes.data
    for row in range(0, p, HEIGHT):
        for column in range(0, q, WIDTH):
            add_block(
                left + 8 * row * step,
                b + 8 * column,
                o + 8 * (row * q + column),
                step,
                1,
                q,
                right.shape[0],
            )


def mirrored(upper: Array, width: int) -> Array:
    """The full symmetric (..., width, width) matrix from an upper triangle with padding."""
    triangle = np.triu(upper[..., :width, :width])
    return np.asarray(triangle + np.swapaxes(np.triu(triangle, 1), -1, -2))


__all__ = ["HEIGHT", "WIDTH", "add_gram", "add_product", "add_row_products", "mirrored", "padded"]
