"""Some of the rows, drawn by their global numbers, that lie beside the data for the length of a fit.

::

    global rows   0 1 2 3 | 4 5 6 7 | 8 9 ...     one of every four, each somewhere else in its stratum
    drawn             x         x       x

So a sample is the same whatever the chunks. Its rows are numbered by their strata: a sample of the sample is
as well defined.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from daskml_kit.kernels import drawn_rows
from daskml_kit.runtime.block import Block, Bundle


@dataclass(frozen=True)
class Sample:
    """One of ``every`` consecutive rows: a :class:`~daskml_kit.runtime.opening.Draw`.

    Examples
    --------
    >>> import numpy as np
    >>> Sample(4)(Bundle((Block(np.arange(12.0)[:, None]),))).blocks[0].X.ravel()
    array([0., 6., 8.])
    """

    every: int

    @property
    def share(self) -> float:
        """Of the rows."""
        return 1.0 / self.every

    def __call__(self, bundle: Bundle) -> Bundle:
        """A copy of the drawn rows."""
        return bundle.map(self._of_block)

    def _of_block(self, block: Block) -> Block:
        rows = drawn_rows(block.start, block.n_rows, self.every)
        y, weight = (None if part is None else part[rows] for part in (block.y, block.weight))
        first = int(block.start + rows[0]) // self.every if len(rows) else 0
        return Block(block.X[rows], y, weight, first, block.index)


LEAST_SAMPLE = 4
"""A start is sought from one of so many rows or fewer: of more, a round costs nearly what one of all does."""


def sample_for(solver: Any, max_iter: int) -> Sample | None:
    """The rows that a solver's first Hessians are of; None where these are exact, or of too many rows."""
    every = solver.every if solver.order == 2 else 1
    return Sample(every) if every >= LEAST_SAMPLE and max_iter > 0 else None


__all__ = ["Sample", "sample_for"]
