"""Random numbers keyed by (seed, purpose, global row), so that chunking never changes a draw.

The generator is Philox 4x64-10, a counter-based one: number ``i`` of a stream is a function of the key
and ``i`` alone, so any block can produce its own rows' numbers without the others'.

References
----------
Salmon, Moraes, Dror, Shaw (2011). Parallel random numbers: as easy as 1, 2, 3. SC'11.
"""

from __future__ import annotations

import functools
import zlib
from numbers import Integral
from typing import Any

import numpy as np

from daskml_kit.exceptions import InvalidParameterError
from daskml_kit.typing import FloatArray

_WORDS_PER_COUNTER = 4


def seed_from(random_state: Any) -> int:
    """A seed from scikit-learn's ``random_state``: None, an int, or a RandomState instance."""
    if random_state is None:
        return int(np.random.SeedSequence().generate_state(1, np.uint64)[0] >> np.uint64(1))
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(0, 2**31 - 1))
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(0, 2**63 - 1))
    if isinstance(random_state, Integral) and int(random_state) >= 0:
        return int(random_state)
    raise InvalidParameterError(
        "random_state must be None, an integer >= 0, a RandomState or a Generator, "
        f"got {random_state!r}."
    )


@functools.lru_cache(maxsize=256)
def _keys(seed: int, purpose: str) -> tuple[int, int]:
    tag = zlib.crc32(purpose.encode())
    first, second = np.random.SeedSequence([seed, tag]).generate_state(2, np.uint64)
    return int(first), int(second)


def key_of(seed: int, purpose: str) -> int:
    """64 bits that name the stream of a use, for kernels that draw by counter."""
    return _keys(seed, purpose)[0]


def _stream(seed: int, purpose: str, start: int) -> np.random.Generator:
    bits = np.random.Philox(key=np.array(_keys(seed, purpose), np.uint64))
    bits.advance(start // _WORDS_PER_COUNTER)
    generator = np.random.Generator(bits)
    generator.random(start % _WORDS_PER_COUNTER)
    return generator


def uniform(seed: int, purpose: str, rows: range) -> FloatArray:
    """One uniform draw in [0, 1) for each global row.

    Parameters
    ----------
    seed : int
    purpose : str
        Names the use, so that two uses of one seed are independent.
    rows : range
        Consecutive global rows.

    Returns
    -------
    float64 ndarray of shape (len(rows),)

    Examples
    --------
    >>> whole = uniform(0, "demo", range(10))
    >>> parts = [uniform(0, "demo", range(3)), uniform(0, "demo", range(3, 10))]
    >>> bool((np.concatenate(parts) == whole).all())
    True
    """
    return _stream(seed, purpose, rows.start).random(len(rows))


def generator(seed: int, purpose: str) -> np.random.Generator:
    """A generator for draws on the driver (of candidates, of seeds), keyed by seed and purpose."""
    return _stream(seed, purpose, 0)
