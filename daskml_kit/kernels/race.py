"""A random number for each row by its global number, of which only the small ones are looked at.

Row i has word ``i % 4`` of the 128 bits that counter ``i / 4`` gives: an integer of 32 bits. Few rows have
one that is small for their mass; these alone get 21 bits more, which makes a number in [0, 1) of 53 bits.
So a row that is not drawn costs one comparison, and the generator a nanosecond: its loop runs in vector
registers.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numba.extending import register_jitable

from daskml_kit.kernels.blocks import UNCOUNTED, as_column
from daskml_kit.kernels.counter import philox, philox_lanes
from daskml_kit.typing import Array, FloatArray, IntArray

LANES = 512
"""Counters of a tile: 16 KB of words."""

_EXTRA = np.uint64((1 << 21) - 1)
_BITS = np.uint64(21)


class Runners(NamedTuple):
    """Rows whose number is small."""

    rows: IntArray
    """(m,) int64, increasing: places in the block."""
    chance: FloatArray
    """(m,) their numbers, in [0, 1)."""


def runners(
    key: int,
    rows: range,
    below: float,
    mass: Array | None = None,
    weight: Array | None = None,
) -> Runners:
    """The rows whose random number is less than ``below`` times their mass and weight.

    Parameters
    ----------
    key : 64 bits that name the stream of numbers
    rows : consecutive global rows
    below : a number at least 0, or infinite: all rows that have mass
    mass, weight : (n,) numbers at least 0, or None for ones

    Returns
    -------
    Runners
        The same for a row whatever the range that it is in.

    Notes
    -----
    Nothing of the length of ``rows`` is written, but for the rows found. Releases the GIL.

    Examples
    --------
    >>> import numpy as np
    >>> whole = runners(7, range(1_000), 0.01)
    >>> part = runners(7, range(500, 1_000), 0.01)
    >>> bool((part.rows + 500 == whole.rows[whole.rows >= 500]).all())
    True
    >>> runners(7, range(3), np.inf, np.array([0.0, 1e-300, 1.0])).rows
    array([1, 2])
    """
    n = len(rows)
    # Not touched where nothing is found: no memory is taken for it.
    found, chance = np.empty(n, np.int64), np.empty(n)
    count = _run(
        np.uint64(key),
        np.int64(rows.start),
        float(below),
        as_column(mass, "mass", n),
        as_column(weight, "weight", n),
        np.empty((4, LANES), np.uint64),
        found,
        chance,
    )
    return Runners(found[:count].copy(), chance[:count].copy())


@njit(cache=True, nogil=True, **UNCOUNTED)
def _run(
    key: Any,
    start: int,
    below: float,
    mass: Array,
    weight: Array,
    words: Array,
    found: Array,
    chance: Array,
) -> int:
    count, n, scale = np.int64(0), found.size, below * 2.0**32
    for first in range(start // 4, (start + n + 3) // 4, LANES):
        philox_lanes(key, np.uint64(0), np.uint64(first), words)
        low = max(4 * first, start)
        for row in range(low, min(4 * (first + LANES), start + n)):
            word, i = words[row & 3, (row >> 2) - first], row - start
            limit = scale
            if mass.size:
                limit *= mass[i]
            if weight.size:
                limit *= weight[i]
            if np.float64(word) < limit:
                drawn = completed(key, row, word)
                if drawn * 2.0**32 < limit:
                    found[count], chance[count] = i, drawn
                    count += 1
    return int(count)


@register_jitable
def completed(key: Any, row: int, word: Any) -> float:
    """The number of a row whose first 32 bits are ``word``."""
    bits, _ = philox(key, np.uint64(1), np.uint64(row))
    return float((word << _BITS) | (bits & _EXTRA)) * 2.0**-53


__all__ = ["Runners", "runners"]
