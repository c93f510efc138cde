"""Random numbers by counter, inside compiled code: any of them is a function of its key and counter alone.

References
----------
Salmon, Moraes, Dror, Shaw (2011). Parallel random numbers: as easy as 1, 2, 3. SC'11: Philox4x32-10.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numba.extending import register_jitable

from daskml_kit.typing import Array

Words: TypeAlias = "tuple[np.uint64, np.uint64, np.uint64, np.uint64]"

_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_ULP = 2.0**-53
_DROP = np.uint64(11)


@register_jitable
def philox(key: np.uint64, high: np.uint64, low: np.uint64) -> tuple[np.uint64, np.uint64]:
    """128 random bits of a 64-bit key and a 128-bit counter."""
    c0, c1, c2, c3 = low & _LOW, low >> _HALF, high & _LOW, high >> _HALF
    k0, k1 = key & _LOW, key >> _HALF
    for _ in range(10):
        p0, p1 = _M0 * c0, _M1 * c2
        c0, c1 = (p1 >> _HALF) ^ c1 ^ k0, p1 & _LOW
        c2, c3 = (p0 >> _HALF) ^ c3 ^ k1, p0 & _LOW
        k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW
    return c0 | (c1 << _HALF), c2 | (c3 << _HALF)


@register_jitable
def philox_lanes(key: np.uint64, high: np.uint64, first: np.uint64, words: Array) -> None:
    """The four 32-bit words (4, n) of n counters in turn, uint64: :func:`philox` in vector registers."""
    k0, k1 = key & _LOW, key >> _HALF
    for q in range(words.shape[1]):
        low = first + np.uint64(q)
        c = low & _LOW, low >> _HALF, high & _LOW, high >> _HALF
        # Written out: a loop within this one would keep it from running in vectors.
        c = _two_rounds(c, k0, k1)
        c = _two_rounds(c, _later(k0, _W0, 2), _later(k1, _W1, 2))
        c = _two_rounds(c, _later(k0, _W0, 4), _later(k1, _W1, 4))
        c = _two_rounds(c, _later(k0, _W0, 6), _later(k1, _W1, 6))
        c = _two_rounds(c, _later(k0, _W0, 8), _later(k1, _W1, 8))
        words[0, q], words[1, q], words[2, q], words[3, q] = c


@register_jitable
def _later(k: np.uint64, step: np.uint64, rounds: int) -> np.uint64:
    return (k + step * np.uint64(rounds)) & _LOW


@register_jitable
def _two_rounds(c: Words, k0: np.uint64, k1: np.uint64) -> Words:
    return _one_round(_one_round(c, k0, k1), _later(k0, _W0, 1), _later(k1, _W1, 1))


@register_jitable
def _one_round(c: Words, k0: np.uint64, k1: np.uint64) -> Words:
    p0, p1 = _M0 * c[0], _M1 * c[2]
    return (p1 >> _HALF) ^ c[1] ^ k0, p1 & _LOW, (p0 >> _HALF) ^ c[3] ^ k1, p0 & _LOW


@register_jitable
def below(bits: np.uint64, n: np.uint64) -> np.uint64:
    """An integer from 0 to n - 1 from the low half of some bits; n below 2**32."""
    return ((bits & _LOW) * n) >> _HALF


@register_jitable
def unit(bits: np.uint64) -> float:
    """A number in [0, 1) from some bits."""
    return float(bits >> _DROP) * _ULP


__all__ = ["below", "philox", "philox_lanes", "unit"]
