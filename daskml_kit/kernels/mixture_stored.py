"""The E-step for CSR rows and components without covariances: work goes with the number of stored values.

What a row does not store is 0, and lies from each mean as in every other row. So a sum over columns is that
of the row of zeros, which is found once, with the stored columns put right::

    sum_j p_kj (x_j - m_kj)^2  =  sum over stored p_kj (x_j - m_kj)^2  +  sum over others p_kj m_kj^2

and a column's sum over rows is that of the rows that store it, and as many times ``m_kj^2`` as others do not.
Tables lie column by column, so that a stored value meets all components in the same few cache lines.

A column far from zero for its spread (a year, a bias) makes the sum of the row of zeros many times that of
the others. So terms are added up in two pieces, as in :mod:`daskml_kit.kernels.exact_sums`: multiples of a
grid, without rounding, and what is left of each.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numba.extending import register_jitable

from daskml_kit.kernels.blocks import UNCOUNTED, CsrRows, bare
from daskml_kit.kernels.exact_sums import AS_WRITTEN
from daskml_kit.kernels.mixture_tiles import share, share_by_weight
from daskml_kit.typing import Array, FloatArray

FAR = 1e14
"""The squared distance of the row of zeros, over that of a row and one, from which the others' sum is not
found by subtraction: below it a log-density of a row that stores 2,000 values is right to 1e-11."""

NEAR = 1e4
"""The squared distance of the row of zeros up to which plain sums are as right, and a quarter faster."""


class Narrow(NamedTuple):
    """Components by column."""

    means: Array
    """(d, k)"""
    precisions: Array
    """(d, k)"""
    whole: Array
    """(k,) ``sum_j p_kj m_kj^2``: squared distance of the row of zeros."""
    grid: Array
    """(k,) a large number: adding it to such a term cuts what is below the grid. Empty: nothing is cut."""
    upper: Array
    """(k,) sum of the terms as they are cut."""
    lower: Array
    """(k,) sum of what is cut off."""
    constants: Array
    """(k,) what the log-density is where the row is the mean."""


class Room(NamedTuple):
    """Room for a row."""

    total: Array
    """(k,)"""
    upper: Array
    """(k,) of the columns that it stores, as in :class:`Narrow`."""
    lower: Array
    """(k,)"""
    shares: Array
    """(1, k)"""


class StoredSums(NamedTuple):
    """Added up over rows; zeros at first."""

    counts: Array
    """(k,) of all rows."""
    stored: Array
    """(d, 3, k) of rows that store a column: responsibilities ``r``, ``r (x - m)`` and ``r (x - m)^2``."""


def narrow(means: FloatArray, roots: FloatArray, constants: FloatArray) -> Narrow:
    """Means (k, d), roots of precisions (k, d) and constants (k,), as the loops want them."""
    precisions = roots**2
    with np.errstate(over="ignore", invalid="ignore"):  # not finite: columns are looked at
        terms = precisions * means * means
        whole = terms.sum(axis=1)
        grid = 3.0 * np.exp2(np.frexp(whole)[1])
        cut = (terms + grid[:, None]) - grid[:, None]
        upper, lower = cut.sum(axis=1), (terms - cut).sum(axis=1)
        if np.all(whole <= NEAR):
            grid, upper, lower = np.empty(0), whole, np.zeros(len(whole))
        parts = means.T, precisions.T, upper + lower, grid, upper, lower, constants
    return Narrow(*(_read_only(part) for part in parts))


def _read_only(array: FloatArray) -> FloatArray:
    out = np.array(array, dtype=np.float64, order="C")
    out.flags.writeable = False
    return out


def room_for(k: int) -> Room:
    """For k components."""
    return Room(np.empty(k), np.empty(k), np.empty(k), np.empty((1, k)))


def empty_sums(k: int, d: int) -> StoredSums:
    """Zeros."""
    return StoredSums(np.zeros(k), np.zeros((d, 3, k)))


@njit(cache=True, nogil=True, **UNCOUNTED)
def squares(rows: CsrRows, parts: Narrow, room: Room, out: Array) -> None:
    """``out`` (n, k): squared distances of the rows to the means, by precision."""
    for i in range(len(out)):
        measure(rows, i, parts, room)
        for k in range(out.shape[1]):
            out[i, k] = room.total[k]


@njit(cache=True, nogil=True, **UNCOUNTED)
def expectation(
    rows: CsrRows, weight: Array, parts: Narrow, given: Array, sums: StoredSums, room: Room
) -> float:
    """The log-likelihood; adds to ``sums``.

    ``weight`` (n,), or empty where all are 1. ``given`` (n, k) are responsibilities, which are not asked for
    then, or empty.
    """
    total, shares = 0.0, room.shares
    for i in range(len(rows.starts) - 1):
        if len(given):
            scale = weight[i] if len(weight) else 1.0
            for k in range(shares.shape[1]):
                shares[0, k] = scale * given[i, k]
        else:
            measure(rows, i, parts, room)
            for k in range(shares.shape[1]):
                shares[0, k] = parts.constants[k] - 0.5 * room.total[k]
            if len(weight):
                total += share_by_weight(1, shares, weight[i:])
            else:
                total += share(1, shares)
        add(rows, i, parts.means, shares, sums)
    return total


@bare
def measure(rows: CsrRows, i: int, parts: Narrow, room: Room) -> None:
    """``room.total``: the row's squared distances to all means."""
    total, upper, lower = room.total, room.upper, room.lower
    for k in range(len(total)):
        total[k] = 0.0
        upper[k] = 0.0
        lower[k] = 0.0
    if len(parts.grid):
        add_cut(rows, i, parts, room)
    else:
        add_plain(rows, i, parts, room)
    for k in range(len(total)):
        others = max(rest(parts.upper[k], parts.lower[k], upper[k], lower[k]), 0.0)
        if not parts.whole[k] <= FAR * (1.0 + total[k] + others):
            others = squares_of_others(rows, i, parts, k)
        total[k] += others


@bare
def add_plain(rows: CsrRows, i: int, parts: Narrow, room: Room) -> None:
    """Adds what the row stores."""
    total, upper = room.total, room.upper
    for p in range(rows.starts[i], rows.starts[i + 1]):
        value, j = rows.values[p], rows.columns[p]
        for k in range(len(total)):
            mean, precision = parts.means[j, k], parts.precisions[j, k]
            gap = value - mean
            total[k] += precision * gap * gap
            upper[k] += precision * mean * mean


@bare
def add_cut(rows: CsrRows, i: int, parts: Narrow, room: Room) -> None:
    """The same, in two pieces."""
    total = room.total
    for p in range(rows.starts[i], rows.starts[i + 1]):
        value, j = rows.values[p], rows.columns[p]
        for k in range(len(total)):  # two loops: each runs in vector registers
            gap = value - parts.means[j, k]
            total[k] += parts.precisions[j, k] * gap * gap
        for k in range(len(total)):
            precision, mean = parts.precisions[j, k], parts.means[j, k]
            add_term(precision, mean, parts.grid[k], k, room.upper, room.lower)


@register_jitable(_nrt=False, **AS_WRITTEN)
def add_term(
    precision: float, mean: float, grid: float, k: int, upper: Array, lower: Array
) -> None:
    """Adds the two pieces of ``p m^2``, multiplied as in :func:`narrow`."""
    term = precision * mean * mean
    cut = (term + grid) - grid
    upper[k] += cut
    lower[k] += term - cut


@register_jitable(_nrt=False, **AS_WRITTEN)
def rest(upper: float, lower: float, stored_upper: float, stored_lower: float) -> float:
    """A sum in two pieces less part of it."""
    return (upper - stored_upper) + (lower - stored_lower)


@bare
def squares_of_others(rows: CsrRows, i: int, parts: Narrow, k: int) -> float:
    """Sum of ``p m^2`` of a component over the columns that the row does not store."""
    total, p, end = 0.0, rows.starts[i], rows.starts[i + 1]
    for j in range(len(parts.means)):
        if p < end and rows.columns[p] == j:
            p += 1
        else:
            total += parts.precisions[j, k] * parts.means[j, k] * parts.means[j, k]
    return total


@bare
def add(rows: CsrRows, i: int, means: Array, shares: Array, sums: StoredSums) -> None:
    """What a row's responsibilities add, each to its component.

    Counts of all rows and of those that store a column are added in one order: of a column that all rows
    store, they are the same number.
    """
    n = shares.shape[1]
    for k in range(n):
        sums.counts[k] += shares[0, k]
    for p in range(rows.starts[i], rows.starts[i + 1]):
        value, j = rows.values[p], rows.columns[p]
        for k in range(n):
            gap, part = value - means[j, k], shares[0, k]
            sums.stored[j, 0, k] += part
            sums.stored[j, 1, k] += part * gap
            sums.stored[j, 2, k] += part * gap * gap


def about_means(parts: Narrow, sums: StoredSums) -> tuple[FloatArray, FloatArray]:
    """Sums of gaps and of their squares (k, d), over all rows."""
    counts, gaps, gap_squares = np.moveaxis(sums.stored, 1, 0)
    others = sums.counts - counts
    means = parts.means
    return (
        np.ascontiguousarray((gaps - others * means).T),
        np.ascontiguousarray((gap_squares + others * means**2).T),
    )


__all__ = [
    "Narrow",
    "Room",
    "StoredSums",
    "about_means",
    "empty_sums",
    "expectation",
    "narrow",
    "room_for",
    "squares",
]
