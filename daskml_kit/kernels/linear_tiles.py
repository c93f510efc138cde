"""The compiled loops of :mod:`daskml_kit.kernels.linear`.

Everything that a loop adds to (``gradient``, ``gram``) comes in as zeros from the caller. An empty
array stands for "none": no weights, no Hessian.
"""

from __future__ import annotations

import numpy as np
from numba.extending import register_jitable

from daskml_kit.kernels.blocks import Rows, compiled
from daskml_kit.kernels.compiled_loss import CompiledLoss, pointwise, rowwise
from daskml_kit.kernels.rows import (
    add_rows,
    add_tile,
    add_weighted,
    count_rows,
    dot_rows,
    dot_tile,
    load_rows,
)
from daskml_kit.typing import Array


@compiled
def single_output(
    loss: CompiledLoss,
    rows: Rows,
    y: Array,
    weight: Array,
    coef: Array,
    gradient: Array,
    gram: Array,
    tile_size: int,
) -> float:
    """Value; adds to ``gradient`` (d + 1,) and, unless its size is 0, to ``gram``.

    ``coef`` is (d + 1,), the intercept last.
    """
    n, d = count_rows(rows), coef.size - 1
    eta, slope, bend = np.empty(tile_size), np.empty(tile_size), np.empty(tile_size)
    tile, left = np.zeros((tile_size, gram.shape[1])), np.zeros((tile_size, gram.shape[1]))
    value = 0.0
    for start in range(0, n, tile_size):
        stop = min(start + tile_size, n)
        dot_rows(rows, start, stop, coef, coef[d], eta)
        value += tile_loss(loss, y, weight, start, stop, eta, slope, bend)
        add_rows(rows, start, stop, slope, gradient)
        if gram.size:
            load_rows(rows, start, stop, tile)
            add_weighted(rows, start, stop, bend, left, tile, gram)
    return value


@register_jitable
def tile_loss(
    loss: CompiledLoss,
    y: Array,
    weight: Array,
    start: int,
    stop: int,
    eta: Array,
    slope: Array,
    bend: Array,
) -> float:
    """Value of a tile; writes weighted first and second derivatives.

    One plain loop over rows, without branches, for LLVM to run on four rows at once.
    """
    value = 0.0
    n = stop - start
    if weight.size:
        for i in range(n):
            v, g, c = pointwise(loss, y[start + i], eta[i])
            scale = weight[start + i]
            value += scale * v
            slope[i] = scale * g
            bend[i] = scale * c
        return value
    for i in range(n):
        v, g, c = pointwise(loss, y[start + i], eta[i])
        value += v
        slope[i] = g
        bend[i] = c
    return value


@compiled
def several_outputs(
    loss: CompiledLoss,
    rows: Rows,
    y: Array,
    weight: Array,
    coef: Array,
    gradient: Array,
    grams: Array,
    n_outputs: int,
    tile_size: int,
) -> float:
    """Value; adds to ``gradient`` (width, columns) and to ``grams`` (pairs, width, width), if any.

    ``coef`` is (width, columns): one column an output, then padding; the intercepts in row d.
    Pairs of outputs come in the order (0,0) (1,0) (1,1) (2,0) ...
    """
    n = count_rows(rows)
    width, columns = coef.shape
    order = n_outputs if grams.shape[0] else 0
    eta, slope = np.empty((tile_size, columns)), np.zeros((tile_size, columns))
    bend = np.empty((tile_size, order, order))
    tile, left = np.zeros((tile_size, width)), np.zeros((tile_size, width))
    value = 0.0
    for start in range(0, n, tile_size):
        stop = min(start + tile_size, n)
        load_rows(rows, start, stop, tile)
        dot_tile(rows, start, stop, coef, tile, eta)
        value += tile_loss_rowwise(loss, y, weight, start, stop, n_outputs, eta, slope, bend)
        add_tile(rows, start, stop, slope, tile, gradient)
        pair = 0
        for a in range(order):
            for b in range(a + 1):
                add_weighted(rows, start, stop, bend[:, a, b], left, tile, grams[pair])
                pair += 1
    return value


@register_jitable
def tile_loss_rowwise(
    loss: CompiledLoss,
    y: Array,
    weight: Array,
    start: int,
    stop: int,
    n_outputs: int,
    eta: Array,
    slope: Array,
    bend: Array,
) -> float:
    """Value of a tile; writes weighted first and second derivatives of its first columns."""
    value = 0.0
    for i in range(stop - start):
        # Sliced row by row: of a slice over rows, Numba would not know that rows are contiguous.
        v = rowwise(loss, y[start + i], eta[i, :n_outputs], slope[i, :n_outputs], bend[i])
        if weight.size:
            v *= weight[start + i]
            scale_row(weight[start + i], slope[i], bend[i])
        value += v
    return value


@register_jitable
def scale_row(weight: float, slope: Array, bend: Array) -> None:
    """Multiplies one row's derivatives. Written out: ``*=`` on arrays takes 4 s more to compile."""
    for a in range(slope.size):
        slope[a] *= weight
    for a in range(bend.shape[0]):
        for b in range(bend.shape[1]):
            bend[a, b] *= weight


__all__ = ["several_outputs", "single_output"]
