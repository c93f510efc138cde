"""Several runs of one reduction in one pass: each block is read once for all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from daskml_kit.runtime.block import Block
from daskml_kit.runtime.reduction import Reduction

Params = TypeVar("Params")
Part = TypeVar("Part")
Total = TypeVar("Total")


def side_by_side(
    reduction: Reduction[Params, Part, Total],
) -> Reduction[tuple[Params | None, ...], tuple[Part | None, ...], tuple[Total | None, ...]]:
    """The reduction at each of several parameters; at None, nothing is computed and None returned.

    Examples
    --------
    >>> import numpy as np
    >>> times = Reduction("times", lambda block, by: by * block.n_rows, lambda a, b: a + b)
    >>> blocks = [Block(np.zeros((3, 1))), Block(np.zeros((4, 1)))]
    >>> side_by_side(times)(blocks, (1, None, 10))
    (7, None, 70)
    """
    return Reduction(
        reduction.name,
        partial(_chunks, reduction.chunk),
        partial(_combined, reduction.combine),
        partial(_finished, reduction.finalize),
        None if reduction.joint is None else partial(_parts, reduction),
    )


def _chunks(chunk: Callable[..., Any], block: Block, params: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(None if p is None else chunk(block, p) for p in params)


def _parts(
    reduction: Reduction[Any, Any, Any], blocks: Sequence[Block], params: tuple[Any, ...]
) -> tuple[Any, ...]:
    return tuple(None if p is None else reduction.part(blocks, p) for p in params)


def _combined(
    combine: Callable[..., Any], a: tuple[Any, ...], b: tuple[Any, ...]
) -> tuple[Any, ...]:
    return tuple(None if p is None else combine(p, q) for p, q in zip(a, b, strict=True))


def _finished(finalize: Callable[..., Any], parts: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(None if p is None else finalize(p) for p in parts)


__all__ = ["side_by_side"]
