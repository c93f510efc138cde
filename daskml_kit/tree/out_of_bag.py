"""What a forest says of the rows that its trees did not see: one pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from daskml_kit.kernels.tree_growth import PAGE
from daskml_kit.kernels.tree_predict import Packed, add_unseen
from daskml_kit.runtime.block import Block
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.tree.binning import Binning
from daskml_kit.tree.ground import Ground
from daskml_kit.tree.growing import Sampling
from daskml_kit.typing import FloatArray

SLICE_ROWS = 8 * PAGE
"""Rows whose values and draws are held at a time: 13 MB of draws for 100 trees."""


@dataclass(frozen=True, eq=False)
class Asked:
    """A forest, and what tells which rows each tree has seen."""

    trees: Packed
    keys: Sequence[int]
    sampling: Sampling
    binning: Binning
    classes: bool
    with_rows: bool


class OutOfBag(NamedTuple):
    """Sums over rows; ``values`` of all rows only where asked for."""

    n_rows: int
    unseen: int  # rows without any tree that did not see them
    right: float  # rows of the right class
    residual: float  # sum of squared errors
    y: float
    y_squared: float
    values: FloatArray  # (n, width), in the order of the rows

    @property
    def accuracy(self) -> float:
        """Share of rows whose class is predicted right."""
        return self.right / self.n_rows

    @property
    def r2(self) -> float:
        """Coefficient of determination."""
        spread = self.y_squared - self.y**2 / self.n_rows
        return 1.0 - self.residual / spread if spread > 0 else float(self.residual == 0)


def out_of_bag(ground: Ground, asked: Asked) -> OutOfBag:
    """Each row's mean over the trees that did not see it; zeros where there is none, as in scikit-learn."""
    reduction: Reduction[Asked, OutOfBag, OutOfBag] = Reduction("out-of-bag", _chunk, _combined)
    return ground.executor.reduce(ground.data, reduction, asked)


def _chunk(block: Block, asked: Asked) -> OutOfBag:
    values = np.zeros((block.n_rows, asked.trees.values.shape[1]))
    count = np.zeros(block.n_rows, np.int64)
    for low in range(0, block.n_rows, SLICE_ROWS):
        own = slice(low, low + SLICE_ROWS)
        rows = block.rows[own]
        seen = np.stack([asked.sampling.times(key, rows) for key in asked.keys])
        X = asked.binning.decode(np.asarray(block.X)[own])
        add_unseen(asked.trees, X, seen, values[own], count[own])
    values /= np.maximum(count, 1)[:, None]
    assert block.y is not None
    y = block.y
    right = float((values.argmax(axis=1) == y).sum()) if asked.classes else 0.0
    gaps = 0.0 if asked.classes else float(((y - values[:, 0]) ** 2).sum())
    return OutOfBag(
        block.n_rows,
        int((count == 0).sum()),
        right,
        gaps,
        float(y.sum()),
        float((y.astype(np.float64) ** 2).sum()),
        values if asked.with_rows else values[:0],
    )


def _combined(a: OutOfBag, b: OutOfBag) -> OutOfBag:
    sums: list[Any] = [p + q for p, q in zip(a[:-1], b[:-1], strict=True)]
    return OutOfBag._make([*sums, np.concatenate([a.values, b.values])])


__all__ = ["Asked", "OutOfBag", "out_of_bag"]
