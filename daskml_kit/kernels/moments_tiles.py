"""The compiled loops of :mod:`daskml_kit.kernels.moments`; sums come in as zeros."""

from __future__ import annotations

import numpy as np

from daskml_kit.kernels.blocks import CsrRows, compiled
from daskml_kit.kernels.products import add_gram
from daskml_kit.kernels.rows import add_tile, add_weighted
from daskml_kit.typing import Array


@compiled
def dense(X: Array, Y: Array, weight: Array, shift: Array, gram: Array, tile_size: int) -> None:
    """``gram += sum_i weight_i z_i z_i'`` with ``z = (x - shift, y - shift, 1)``, upper triangle."""
    n, d = X.shape
    t = Y.shape[1]
    tile, left = np.zeros((tile_size, gram.shape[1])), np.zeros((tile_size, gram.shape[1]))
    for start in range(0, n, tile_size):
        size = min(tile_size, n - start)
        for i in range(size):
            for j in range(d):
                tile[i, j] = X[start + i, j] - shift[j]
            for j in range(t):
                tile[i, d + j] = Y[start + i, j] - shift[d + j]
            tile[i, d + t] = 1.0
        if weight.size:
            for i in range(size):
                for j in range(d + t + 1):
                    left[i, j] = weight[start + i] * tile[i, j]
            add_gram(left, tile, size, gram)
        else:
            add_gram(tile, tile, size, gram)


@compiled
def sparse(
    rows: CsrRows,
    Y: Array,
    weight: Array,
    shift: Array,
    gram: Array,
    cross: Array,
    squares: Array,
    tile_size: int,
) -> None:
    """Sums over rows, with a one behind x: of ``x x'``, of ``x (y - shift)'``, of its squares."""
    n, t = Y.shape
    unused = np.empty((0, 0))
    scale, scaled = np.ones(tile_size), np.empty((tile_size, t))
    for start in range(0, n, tile_size):
        stop = min(start + tile_size, n)
        for i in range(stop - start):
            if weight.size:
                scale[i] = weight[start + i]
            for j in range(t):
                y = Y[start + i, j] - shift[j]
                scaled[i, j] = scale[i] * y
                squares[j] += scaled[i, j] * y
        add_weighted(rows, start, stop, scale, unused, unused, gram)
        add_tile(rows, start, stop, scaled, unused, cross)


__all__ = ["dense", "sparse"]
