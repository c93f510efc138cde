"""How often each row is drawn, as a function of its global number: any block can say it of its own rows.

Drawing ``k`` of ``n`` rows with replacement is a multinomial, and a multinomial can be split: how many of a
node's draws fall into its left half is binomial, and given that, the halves are independent. Without
replacement it is hypergeometric. Nodes are ranges of global rows, halved down to leaves of 4,096; each node's
random numbers are keyed by it, so a block walks only down to its own leaves, and exactly ``k`` rows are drawn
however the data are cut::

    k = 100 of rows [0, 16384)
      61 of [0, 8192)           39 of [8192, 16384)
      28 of [0, 4096) ...

With weights a row is drawn a Poisson number of times, whose mean is its share of the weights times ``k``.

References
----------
Sanders, Lamm, Hübschle-Schneider, Schrade, Dachsbacher (2018). Efficient parallel random sampling:
vectorized, cache-efficient, and online. ACM TOMS 44 (3), section 3.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.stats import poisson

from daskml_kit.runtime.block import Block
from daskml_kit.runtime.random import generator, uniform
from daskml_kit.typing import FloatArray, IntArray, Matrix

LEAF = 4096
"""Rows of a leaf. It is part of what is drawn: another value draws other rows."""


@dataclass(frozen=True)
class Draw:
    """``n_draws`` of ``n_rows`` rows.

    Attributes
    ----------
    seed, purpose : key of the random numbers
    n_rows, n_draws : int
    replace : whether a row may be drawn more than once

    Examples
    --------
    >>> draw = Draw(0, "demo", n_rows=10_000, n_draws=10_000, replace=True)
    >>> int(draw.counts(range(10_000)).sum())
    10000
    >>> parts = [draw.counts(range(0, 77)), draw.counts(range(77, 10_000))]
    >>> bool((np.concatenate(parts) == draw.counts(range(10_000))).all())
    True
    """

    seed: int
    purpose: str
    n_rows: int
    n_draws: int
    replace: bool

    def counts(self, rows: range) -> IntArray:
        """How often each of these consecutive rows is drawn."""
        out = np.zeros(len(rows), dtype=np.intp)
        size = LEAF
        while size < self.n_rows:
            size *= 2
        for low, drawn in self._leaves(rows, 0, size, self.n_draws):
            leaf = self._leaf(low, drawn)
            a, b = max(low, rows.start), min(low + len(leaf), rows.stop)
            out[a - rows.start : b - rows.start] = leaf[a - low : b - low]
        return out

    def _leaves(self, rows: range, low: int, size: int, drawn: int) -> Iterator[tuple[int, int]]:
        """First row of each leaf that holds some of ``rows``, and how many draws fell into it."""
        if not drawn or low >= rows.stop or low + size <= rows.start:
            return
        if size == LEAF:
            yield low, drawn
            return
        half = size // 2
        left = min(half, self.n_rows - low)
        right = min(half, self.n_rows - low - left)
        to_left = self._split(low, size, left, right, drawn)
        yield from self._leaves(rows, low, half, to_left)
        yield from self._leaves(rows, low + half, half, drawn - to_left)

    def _split(self, low: int, size: int, left: int, right: int, drawn: int) -> int:
        if not right:
            return drawn
        draws = generator(self.seed, f"{self.purpose}-{low}-{size}")
        if self.replace:
            return int(draws.binomial(drawn, left / (left + right)))
        return int(draws.hypergeometric(left, right, drawn))

    def _leaf(self, low: int, drawn: int) -> IntArray:
        size = min(LEAF, self.n_rows - low)
        draws = generator(self.seed, f"{self.purpose}-{low}-{LEAF}")
        if self.replace:
            return np.bincount(draws.integers(0, size, drawn), minlength=size)
        out = np.zeros(size, dtype=np.intp)
        out[draws.permutation(size)[:drawn]] = 1
        return out


def poisson_counts(seed: int, purpose: str, rows: range, mean: FloatArray) -> IntArray:
    """How often each row is drawn, ``mean`` times in the mean: a keyed uniform through the inverse."""
    counts: IntArray = np.zeros(len(rows), dtype=np.intp)
    drawn = mean > 0
    at = uniform(seed, purpose, rows)[drawn]
    counts[drawn] = np.asarray(poisson.ppf(at, mean[drawn]), dtype=np.intp).clip(min=0)
    return counts


def shown(
    block: Block, counts: IntArray, columns: IntArray | None, *, as_weights: bool, whole: bool
) -> Block:
    """The block as a member sees it.

    Parameters
    ----------
    counts : how often each row is drawn
    columns : the features, None for all
    as_weights : counts become weights, rather than repeated rows
    whole : rows that were not drawn stay, with weight zero, so that nothing is copied
    """
    if whole:
        kept, weight = np.arange(len(counts)), counts
    elif as_weights:
        kept = np.flatnonzero(counts)
        weight = counts[kept]
    else:
        kept, weight = np.repeat(np.arange(len(counts)), counts), None
    X: Matrix = block.X if whole else block.X[kept]
    if columns is not None:
        X = X[:, columns]
    y = np.asarray(block.y) if whole else np.asarray(block.y)[kept]
    weights = None if weight is None else weight.astype(np.float64)
    return Block(X, y, weights, block.start, block.index)


__all__ = ["LEAF", "Draw", "poisson_counts", "shown"]
