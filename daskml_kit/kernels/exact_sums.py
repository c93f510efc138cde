"""Sums of rows without rounding: the same bits in whatever order rows come, and go again.

Each number is cut into two pieces, multiples of a coarse and of a fine grid, by adding and taking
away a large number. The grids are so wide that the sums of all rows fit into 53 bits: no addition
rounds, so the order does not matter, and taking a row off undoes adding it bit by bit. Centres of
k-means may therefore be kept up to date by the rows that change their cluster, and don't depend on
chunks. What is below the fine grid is lost, ``104 - 2 log2(n)`` bits below the largest number of the
column: for a million rows 64, more than a float64 holds itself.

References
----------
Demmel and Nguyen (2015), "Parallel reproducible summation", IEEE Transactions on Computers 64(7):
two bins of their indexed format, with the largest number known beforehand.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import types
from numba.extending import overload, register_jitable

from daskml_kit.kernels.blocks import CsrRows
from daskml_kit.typing import Array, FloatArray

# No reassociation, no fused multiply-add: (p + M) - M must be computed as it is written.
AS_WRITTEN: Any = {"fastmath": False, "error_model": "numpy"}


class Grid(NamedTuple):
    """Two large numbers for each column, the weight's last: adding one cuts what is below its grid."""

    coarse: FloatArray
    """(d + 1,)."""
    fine: FloatArray
    """(d + 1,)."""


def grid_for(largest: Array, n_rows: int) -> Grid:
    """The grid for sums of at most ``n_rows`` numbers of at most ``largest`` (d + 1,).

    Examples
    --------
    >>> import numpy as np
    >>> grid_for(np.array([1.0]), 1024).coarse == 1.5 * 2.0**13
    array([ True])
    """
    exponents = np.frexp(np.where(largest > 0, largest, 1.0))[1].astype(np.float64)
    bits = 51 - math.ceil(math.log2(max(n_rows, 1) + 1))
    steps = np.exp2(exponents - bits)
    coarse, fine = 1.5 * 2.0**52 * steps, 1.5 * 2.0**52 * steps * 2.0**-bits
    return Grid(coarse, fine)


def resolved(sums: Array) -> tuple[FloatArray, FloatArray]:
    """Sums (k, d) and sums of weights (k,) of exact sums (k, 2, d + 1): one rounding."""
    total = sums[:, 0] + sums[:, 1]
    return total[:, :-1], total[:, -1]


def empty_sums(k: int, d: int) -> FloatArray:
    """Zeros (k, 2, d + 1)."""
    return np.zeros((k, 2, d + 1))


@register_jitable(**AS_WRITTEN)
def add_cut(value: float, coarse: Array, fine: Array, sums: Array, j: int) -> None:
    """Adds the two pieces of a number to ``sums[:, j]``."""
    upper = (value + coarse[j]) - coarse[j]
    sums[0, j] += upper
    sums[1, j] += ((value - upper) + fine[j]) - fine[j]


def _dense(rows: Array, i: int, scale: float, coarse: Array, fine: Array, sums: Array) -> None:
    d = rows.shape[1]
    for j in range(d):  # two loops: each runs in vector registers
        sums[0, j] += (scale * rows[i, j] + coarse[j]) - coarse[j]
    for j in range(d):
        value = scale * rows[i, j]
        sums[1, j] += ((value - ((value + coarse[j]) - coarse[j])) + fine[j]) - fine[j]
    add_cut(scale, coarse, fine, sums, d)


def _sparse(rows: CsrRows, i: int, scale: float, coarse: Array, fine: Array, sums: Array) -> None:
    for p in range(rows.starts[i], rows.starts[i + 1]):
        add_cut(scale * rows.values[p], coarse, fine, sums, rows.columns[p])
    d = coarse.size - 1
    add_cut(scale, coarse, fine, sums, d)


def add_row_exactly(*args: Any) -> Any:
    """``(rows, i, scale, coarse, fine, sums)``: adds ``scale`` times row i to ``sums`` (2, d + 1)."""
    raise NotImplementedError("add_row_exactly exists in compiled code only")


@overload(add_row_exactly, strict=False, jit_options=AS_WRITTEN)
def _choose(rows: Any, *rest: Any) -> Any:
    return _dense if isinstance(rows, types.Array) else _sparse


@register_jitable(_nrt=False, **AS_WRITTEN)
def move_row_exactly(
    rows: Array, i: int, scale: float, coarse: Array, fine: Array, old: Array, new: Array
) -> None:
    """Takes ``scale`` times row i of a dense block off ``old`` and adds it to ``new``, both (2, d + 1).

    The same bits as twice :func:`add_row_exactly`, for a piece and that of the negative number differ in
    the sign alone; two thirds of the time, half where there are few columns.
    """
    d = rows.shape[1]
    for j in range(d):  # two loops, as above
        value = scale * rows[i, j]
        upper = (value + coarse[j]) - coarse[j]
        old[0, j] -= upper
        new[0, j] += upper
    for j in range(d):
        value = scale * rows[i, j]
        lower = ((value - ((value + coarse[j]) - coarse[j])) + fine[j]) - fine[j]
        old[1, j] -= lower
        new[1, j] += lower
    add_cut(-scale, coarse, fine, old, d)
    add_cut(scale, coarse, fine, new, d)


@register_jitable(_nrt=False, **AS_WRITTEN)
def move_rows_exactly(
    rows: Array,
    weight: Array,
    listed: Array,
    low: int,
    high: int,
    coarse: Array,
    fine: Array,
    sums: Array,
    old: int,
    new: int,
) -> None:
    """Takes the rows ``listed[low:high]`` off ``sums[old]``, unless that is negative, for ``sums[new]``.

    The same bits as row by row. ``weight`` may be empty, for ones. Column by column: for few columns.
    """
    d = rows.shape[1]
    for j in range(d + 1):
        upper, lower = 0.0, 0.0
        for p in range(low, high):
            i = listed[p]
            value = weight[i] if weight.size else 1.0
            if j < d:
                value *= rows[i, j]
            piece = (value + coarse[j]) - coarse[j]
            upper += piece
            lower += ((value - piece) + fine[j]) - fine[j]
        if old >= 0:
            sums[old, 0, j] -= upper
            sums[old, 1, j] -= lower
        sums[new, 0, j] += upper
        sums[new, 1, j] += lower


__all__ = [
    "Grid",
    "add_row_exactly",
    "empty_sums",
    "grid_for",
    "move_row_exactly",
    "move_rows_exactly",
    "resolved",
]
