"""Random numbers by counter, inside compiled code: any of them is a function of its key and counter alone.

References
----------
Salmon, Moraes, Dror, Shaw (2011). Parallel random numbers: as easy as 1, 2, 3. SC'11: Philox4x32-10.
"""

from __future__ import annotations

import numpy as np
from numba.extending import register_jitable

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
def below(bits: np.uint64, n: np.uint64) -> np.uint64:
    """An integer from 0 to n - 1 from the low half of some bits; n below 2**32."""
    return ((bits & _LOW) * n) >> _HALF


@register_jitable
def unit(bits: np.uint64) -> float:
    """A number in [0, 1) from some bits."""
    return float(bits >> _DROP) * _ULP


__all__ = ["below", "philox", "unit"]
