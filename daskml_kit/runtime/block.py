"""What a task sees: a block of rows, and the bundle of blocks that one task handles.

Blocks are values. Their arrays are read-only, C-contiguous and aligned, whatever way they came
(computed here, received from another worker, read back from a spill file): arrays that arrive in a
message may be unaligned, and NumPy and compiled kernels then copy at every use.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from scipy import sparse

from daskml_kit.typing import Array, Matrix

SMALL = 8
"""Bundles of so many blocks of the least size are small: their rounds take as long as their calls."""


def frozen(array: Array) -> Array:
    """A read-only, C-contiguous, aligned view of ``array``; a copy only where it must be one."""
    out: Array = np.require(array, requirements=["C", "A"])
    if out.flags.writeable:
        out = out.view()
        out.flags.writeable = False
    return out


def frozen_matrix(X: Matrix) -> Matrix:
    """:func:`frozen` for dense arrays and for the three arrays of a CSR matrix."""
    if isinstance(X, np.ndarray):
        return frozen(X)
    csr = cast(Any, X)
    parts = (frozen(csr.data), frozen(csr.indices), frozen(csr.indptr))
    return sparse.csr_array(parts, shape=X.shape, copy=False)


def nbytes(a: Any) -> int:
    """Bytes held by an array, a CSR matrix or None."""
    if a is None:
        return 0
    if sparse.issparse(a):
        csr = cast(Any, a)
        return int(csr.data.nbytes + csr.indices.nbytes + csr.indptr.nbytes)
    return int(a.nbytes)


@dataclass(frozen=True, eq=False)
class Block:
    """A horizontal slice of the data.

    Attributes
    ----------
    X : ndarray or csr_array of shape (n_rows, n_features), float32 or float64
    y : ndarray of shape (n_rows,) or (n_rows, n_outputs), or None
        float64 targets, or integer class codes.
    weight : float64 ndarray of shape (n_rows,) or None
        None means one for every row.
    start : int
        Global index of the first row.
    index : int
        Which chunk of the caller's data the rows come from.
    scratch : dict
        What a reduction wants to find again at its next round, by the reduction's name: distance
        bounds, the tree node that each row is in. It is no part of the value: it stays where the
        block is and dies with it, and is not there when the block was moved, spilled and read
        back, or lost. So a reduction must give the same part whatever it finds, an empty dict or
        what a repeated round left behind, and say inside of it which parameters it belongs to.
    """

    X: Matrix
    y: Array | None = None
    weight: Array | None = None
    start: int = 0
    index: int = 0
    scratch: dict[str, Any] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "X", frozen_matrix(self.X))
        for name in ("y", "weight"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, frozen(value))

    def __reduce__(self) -> tuple[Any, ...]:
        # Through the constructor, so that alignment is restored wherever the block arrives.
        return (Block, (self.X, self.y, self.weight, self.start, self.index))

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return int(self.X.shape[0])

    @property
    def rows(self) -> range:
        """Global row numbers."""
        return range(self.start, self.start + self.n_rows)

    @property
    def nbytes(self) -> int:
        """Bytes of X, y and weight."""
        return nbytes(self.X) + nbytes(self.y) + nbytes(self.weight)

    @property
    def weight_sum(self) -> float:
        """Sum of the row weights."""
        return float(self.n_rows) if self.weight is None else float(self.weight.sum())

    @property
    def heaviest(self) -> float:
        """The largest row weight, 0 without rows."""
        return (
            float(self.n_rows > 0) if self.weight is None else float(self.weight.max(initial=0.0))
        )

    def __sizeof__(self) -> int:
        return self.nbytes + object.__sizeof__(self)

    def slice(self, low: int, high: int) -> Block:
        """Rows ``low`` to ``high`` (local) as a block; a view for dense data."""
        return Block(
            self.X[low:high],
            None if self.y is None else self.y[low:high],
            None if self.weight is None else self.weight[low:high],
            self.start + low,
            self.index,
        )


@dataclass(frozen=True, eq=False)
class Bundle:
    """The blocks that one task handles; the unit that is resident, moved and spilled.

    Attributes
    ----------
    turn : lock
        Held by the task that handles it. A round that was given up and the one that repeats it may
        overlap, and both write to the blocks' scratch.
    """

    blocks: tuple[Block, ...]
    n_rows: int = field(init=False)
    nbytes: int = field(init=False)
    turn: threading.Lock = field(init=False, repr=False, default_factory=threading.Lock)

    def __post_init__(self) -> None:
        object.__setattr__(self, "n_rows", sum(b.n_rows for b in self.blocks))
        object.__setattr__(self, "nbytes", sum(b.nbytes for b in self.blocks))

    def __reduce__(self) -> tuple[Any, ...]:
        return (Bundle, (self.blocks,))

    def __iter__(self) -> Iterator[Block]:
        return iter(self.blocks)

    def __sizeof__(self) -> int:
        return self.nbytes + object.__sizeof__(self)

    def map(self, fn: Callable[[Block], Block]) -> Bundle:
        """A new bundle of ``fn(block)`` for each block."""
        return Bundle(tuple(fn(b) for b in self.blocks))

    def cut(self, low: int, high: int) -> Bundle:
        """Rows ``low`` to ``high``, counted over its blocks: whole blocks as they are, parts as views."""
        kept: list[Block] = []
        at = 0
        for block in self.blocks:
            first, last = max(low - at, 0), min(high - at, block.n_rows)
            if first == 0 and last == block.n_rows:
                kept.append(block)
            elif first < last:
                kept.append(block.slice(first, last))
            at += block.n_rows
        return Bundle(tuple(kept))

    def coalesced(self, least: int) -> Bundle:
        """Runs of consecutive blocks smaller than ``least`` bytes joined until they reach it.

        A kernel call costs 20 microseconds and more of Python: thousands of tiny chunks would make
        every round pay for them. Joining copies them once; larger blocks stay views. A small bundle, of at
        most :data:`SMALL` times ``least``, is joined as a whole.
        """
        if self.nbytes <= SMALL * least:
            least = SMALL * least
        runs: list[list[Block]] = []
        size = 0
        for block in self.blocks:
            last = runs[-1][-1] if runs else None
            follows = last is not None and last.start + last.n_rows == block.start
            if follows and size < least and block.nbytes < least:
                runs[-1].append(block)
                size += block.nbytes
            else:
                runs.append([block])
                size = block.nbytes
        return Bundle(tuple(b for run in runs for b in Bundle(tuple(run)).joined()))

    def joined(self) -> Bundle:
        """The same consecutive rows as one block: a copy, unless there is only one."""
        if len(self.blocks) < 2:
            return self
        first = self.blocks[0]
        X = stacked([b.X for b in self.blocks])
        y = _concatenated([b.y for b in self.blocks])
        weight = _concatenated([b.weight for b in self.blocks])
        return Bundle((Block(X, y, weight, first.start, first.index),))


def stacked(parts: Sequence[Any]) -> Matrix:
    """Rows below rows: an array, or CSR if any of the parts is sparse."""
    if all(isinstance(p, np.ndarray) for p in parts):
        return np.concatenate(parts)
    return cast(Matrix, sparse.vstack(parts, format="csr"))


def _concatenated(parts: Sequence[Array | None]) -> Array | None:
    present = [p for p in parts if p is not None]
    return np.concatenate(present) if present else None
