"""What k-means|| remembers of a row: how far the nearest candidate is, and which one it is.

Each round measures the new candidates only. What a block knows lies in its scratch, with the candidates
that it is right for: where those are not the first of the candidates now asked for, all are measured
again, and the answer is the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from daskml_kit.kernels import nearest
from daskml_kit.runtime.block import Block
from daskml_kit.typing import FloatArray, IntArray


@dataclass(frozen=True)
class Closest:
    """The nearest of some candidates for each row of a block."""

    candidates: FloatArray
    """(m, d)"""
    which: IntArray
    """(n,) int32: the first of those that are nearest."""
    square: FloatArray
    """(n,) squared distance to it."""


def closest(block: Block, candidates: FloatArray, origin: FloatArray, run: int) -> Closest:
    """The nearest candidates of all rows; 12 bytes a row stay in the block's scratch."""
    key = _key(run)
    known: Closest | None = block.scratch.get(key)
    n_known = 0 if known is None else len(known.candidates)
    if known is None or not np.array_equal(known.candidates, candidates[:n_known]):
        found = Closest(candidates, *nearest(block.X, candidates, origin))
    elif n_known < len(candidates):
        found = _joined(known, candidates, *nearest(block.X, candidates[n_known:], origin))
    else:
        return known
    block.scratch[key] = found
    return found


def forget(block: Block, run: int) -> None:
    """Frees what the block knows for a run."""
    block.scratch.pop(_key(run), None)


def _key(run: int) -> str:
    return f"k-means|| {run}"


def _joined(known: Closest, candidates: FloatArray, which: IntArray, square: FloatArray) -> Closest:
    nearer = square < known.square
    return Closest(
        candidates,
        np.where(nearer, which + np.int32(len(known.candidates)), known.which),
        np.where(nearer, square, known.square),
    )


__all__ = ["Closest", "closest", "forget"]
