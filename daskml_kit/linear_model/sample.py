"""Some of the rows of a block, drawn by their global numbers, and kept beside it.

::

    global rows   0 1 2 3 | 4 5 6 7 | 8 9 ...     one of every four, each somewhere else in its stratum
    drawn             x         x       x

So a sample is the same whatever the chunks. A round over it copies no rows but in the first of them: the
copy waits in the block's scratch, and is made again where that is empty.
"""

from __future__ import annotations

from daskml_kit.kernels import drawn_rows
from daskml_kit.runtime.block import Block

_SCRATCH = "sample"


def sample_of(block: Block, every: int) -> Block:
    """One of ``every`` consecutive rows of a block, as a block.

    Memory: a copy of these rows, until the block goes.

    Examples
    --------
    >>> import numpy as np
    >>> from daskml_kit.runtime.block import Block
    >>> sample_of(Block(np.arange(12.0)[:, None]), 4).X.ravel()
    array([0., 6., 8.])
    """
    kept: tuple[int, Block] | None = block.scratch.get(_SCRATCH)
    if kept is None or kept[0] != every:
        rows = drawn_rows(block.start, block.n_rows, every)
        y, weight = (None if part is None else part[rows] for part in (block.y, block.weight))
        kept = every, Block(block.X[rows], y, weight, block.start, block.index)
        block.scratch[_SCRATCH] = kept
    return kept[1]


__all__ = ["sample_of"]
