"""A distributed reduction as a value: what to do with a block, how to merge, how to finish.

How it is executed (in this process, as task graphs) is another choice, made by an executor. The value
can be tested without a cluster::

    >>> import numpy as np
    >>> from daskml_kit.runtime.block import Block
    >>> rows = Reduction("count", lambda block, _: block.n_rows, lambda a, b: a + b)
    >>> rows([Block(np.zeros((3, 2))), Block(np.zeros((4, 2)))], None)
    7
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from daskml_kit.runtime.block import Block

Params = TypeVar("Params")
Part = TypeVar("Part")
Total = TypeVar("Total")

FAN_IN = 8
"""Parts merged by one task of the reduction tree, and parts that the driver takes without a tree."""


def identity(part: Any) -> Any:
    """The default ``finalize``."""
    return part


def fold(parts: Iterable[Part], combine: Callable[[Part, Part], Part]) -> Part:
    """Merge parts from left to right; the order is fixed, so the rounding is too."""
    iterator = iter(parts)
    total = next(iterator)
    for part in iterator:
        total = combine(total, part)
    return total


@dataclass(frozen=True)
class Reduction(Generic[Params, Part, Total]):
    """``finalize(combine(chunk(block, params), ...))``, one read of every block.

    Attributes
    ----------
    name : str
        Appears in task keys, events and pictures.
    chunk : callable (Block, params) -> part
        Sums over the rows of a block, never means. Must take a block of zero rows. May keep
        what it wants to find again next round in ``block.scratch``, but never depend on it.
    combine : callable (part, part) -> part
        Associative; must not mutate its inputs.
    finalize : callable part -> total
        Applied once.
    joint : callable (blocks, params) -> part or None, or None
        The part of all blocks of a bundle, where that costs less than one by one; None where it does not.

    All are pickled: module-level functions, or ``functools.partial`` of such.
    """

    name: str
    chunk: Callable[[Block, Params], Part]
    combine: Callable[[Part, Part], Part]
    finalize: Callable[[Part], Total] = identity
    joint: Callable[[Sequence[Block], Params], Part | None] | None = None

    def part(self, blocks: Sequence[Block], params: Params) -> Part:
        """The part of some blocks, not finalized."""
        found = None if self.joint is None else self.joint(blocks, params)
        if found is not None:
            return found
        return fold((self.chunk(block, params) for block in blocks), self.combine)

    def merge(self, parts: Sequence[Part]) -> Part:
        """Parts merged in the order of the tree that :mod:`~daskml_kit.runtime.graph` builds."""
        parts = list(parts)
        while len(parts) > 1:
            parts = [
                fold(parts[i : i + FAN_IN], self.combine) for i in range(0, len(parts), FAN_IN)
            ]
        return parts[0]

    def __call__(self, blocks: Sequence[Block], params: Params) -> Total:
        """The whole reduction in this thread: the definition that every executor must match."""
        return self.finalize(self.part(blocks, params))
