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
    add_kept,
    add_rows,
    add_squares,
    add_tile,
    count_rows,
    dot_rows,
    dot_tile,
    load_row,
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
    grams: Array,
    squares: Array,
    tile_size: int,
    gram_size: int,
    first: int,
    every: int,
) -> float:
    """Value; adds to ``gradient`` (d + 1,), ``grams`` (1, width, width) and ``squares`` (1, d + 1), if any.

    ``coef`` is (d + 1,), the intercept last. Tiles of ``gram_size`` rows are gathered for ``gram``, of the
    rows that :func:`drawn` keeps, one of ``every``; the number of the first row is ``first``.
    """
    n, d = count_rows(rows), coef.size - 1
    eta, slope, bend = np.empty(tile_size), np.empty(tile_size), np.empty(tile_size)
    order = grams.shape[0]
    bends = bend.reshape((tile_size, 1, 1))
    tile, left = np.zeros((gram_size, grams.shape[1])), np.zeros((gram_size, grams.shape[1]))
    kept, scale = np.empty(gram_size, np.int64), np.empty((gram_size, 1, 1))
    count = np.int64(0)  # for a literal zero, functions would be compiled a second time
    value = 0.0
    for start in range(0, n, tile_size):
        stop = min(start + tile_size, n)
        dot_rows(rows, start, stop, coef, coef[d], eta)
        value += tile_loss(loss, y, weight, start, stop, eta, slope, bend)
        add_rows(rows, start, stop, slope, gradient)
        if order:
            count = gather(
                rows, start, stop, first, every, bends, kept, scale, tile, left, grams, count
            )
        if squares.shape[0]:
            add_squares(rows, start, stop, bends, squares)
    if count:
        add_pairs(rows, kept, count, scale, left, tile, grams)
    return value


@compiled
def gather(
    rows: Rows,
    start: int,
    stop: int,
    first: int,
    every: int,
    bend: Array,
    kept: Array,
    scale: Array,
    tile: Array,
    left: Array,
    grams: Array,
    count: int,
) -> int:
    """Append the sampled rows of start:stop to ``tile``, of which ``count`` are full; adds a full one.

    ``bend`` and ``scale`` are (rows, K, K). A function of its own: in one with the loops over rows, LLVM
    made those half as fast.
    """
    for stratum in range((first + start) // every, (first + stop - 1) // every + 1):
        i = drawn(stratum, every) - first
        if start <= i < stop:
            load_row(rows, i, tile, count)
            kept[count] = i
            keep_bends(bend, i - start, scale, count)
            count += 1
            if count == kept.size:
                add_pairs(rows, kept, count, scale, left, tile, grams)
                count = 0
    return count


@register_jitable
def keep_bends(bend: Array, i: int, scale: Array, k: int) -> None:
    """``scale[k] = bend[i]``. Written out: to assign arrays, Numba compiles their error message too, 4 s."""
    for a in range(bend.shape[1]):
        for b in range(bend.shape[2]):
            scale[k, a, b] = bend[i, a, b]


@register_jitable
def drawn(stratum: int, every: int) -> int:
    """The global number of the row that stands for ``every`` consecutive ones.

    Its place among them is a multiple of the golden ratio, modulo one: such places fill a stratum evenly
    (Weyl, 1916) and never fall in step with a period of the data.
    """
    turn = stratum * 0.6180339887498949
    return stratum * every + int((turn - np.floor(turn)) * every)


@compiled
def add_pairs(
    rows: Rows, kept: Array, count: int, scale: Array, left: Array, tile: Array, grams: Array
) -> None:
    """The weighted Gram matrices of all pairs of outputs, in the order (0,0) (1,0) (1,1) (2,0) ..."""
    pair = 0
    for a in range(scale.shape[1]):
        for b in range(a + 1):
            add_kept(rows, kept, count, scale[:, a, b], left, tile, grams[pair])
            pair += 1


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
    squares: Array,
    n_outputs: int,
    tile_size: int,
    gram_size: int,
    first: int,
    every: int,
) -> float:
    """Value; adds to ``gradient`` (width, columns), ``grams`` (pairs, width, width) and ``squares``
    (n_outputs, d + 1), if any.

    ``coef`` is (width, columns): one column an output, then padding; the intercepts in row d.
    Pairs of outputs come in the order (0,0) (1,0) (1,1) (2,0) ... A single Gram matrix is that of
    the outputs' mean curvature. The rest as for one output.
    """
    n = count_rows(rows)
    width, columns = coef.shape
    order = n_outputs if grams.shape[0] or squares.shape[0] else 0
    sides = 1 if grams.shape[0] == 1 else order
    mean = np.empty((tile_size, 1, 1))
    eta, slope = np.empty((tile_size, columns)), np.zeros((tile_size, columns))
    bend = np.empty((tile_size, order, order))
    tile = np.zeros((tile_size, width))
    chosen, left = np.zeros((gram_size, width)), np.zeros((gram_size, width))
    kept, count = np.empty(gram_size, np.int64), np.int64(0)
    scale = np.empty((gram_size, sides, sides))
    value = 0.0
    for start in range(0, n, tile_size):
        stop = min(start + tile_size, n)
        load_rows(rows, start, stop, tile)
        dot_tile(rows, start, stop, coef, tile, eta)
        value += tile_loss_rowwise(loss, y, weight, start, stop, n_outputs, eta, slope, bend)
        add_tile(rows, start, stop, slope, tile, gradient)
        if grams.shape[0] == 1:
            mean_curvature(bend, stop - start, mean)
        if grams.shape[0]:
            bends = mean if sides == 1 else bend
            count = gather(
                rows, start, stop, first, every, bends, kept, scale, chosen, left, grams, count
            )
        if squares.shape[0]:
            add_squares(rows, start, stop, bend, squares)
    if count:
        add_pairs(rows, kept, count, scale, left, chosen, grams)
    return value


@register_jitable
def mean_curvature(bend: Array, count: int, mean: Array) -> None:
    """Mean of the outputs' second derivatives, a row each."""
    for i in range(count):
        total = 0.0
        for k in range(bend.shape[1]):
            total += bend[i, k, k]
        mean[i, 0, 0] = total / bend.shape[1]


@compiled
def single_product(
    loss: CompiledLoss,
    rows: Rows,
    y: Array,
    weight: Array,
    coef: Array,
    vector: Array,
    product: Array,
    tile_size: int,
) -> None:
    """Adds the Hessian at ``coef`` times ``vector`` to ``product``; all (d + 1,)."""
    n, d = count_rows(rows), coef.size - 1
    eta, along = np.empty(tile_size), np.empty(tile_size)
    slope, bend = np.empty(tile_size), np.empty(tile_size)
    for start in range(0, n, tile_size):
        stop = min(start + tile_size, n)
        dot_rows(rows, start, stop, coef, coef[d], eta)
        dot_rows(rows, start, stop, vector, vector[d], along)
        tile_loss(loss, y, weight, start, stop, eta, slope, bend)
        for i in range(stop - start):
            slope[i] = bend[i] * along[i]
        add_rows(rows, start, stop, slope, product)


@compiled
def several_product(
    loss: CompiledLoss,
    rows: Rows,
    y: Array,
    weight: Array,
    coef: Array,
    vector: Array,
    product: Array,
    n_outputs: int,
    tile_size: int,
) -> None:
    """Adds the Hessian at ``coef`` times ``vector`` to ``product``; all (width, columns)."""
    n = count_rows(rows)
    width, columns = coef.shape
    eta, along = np.empty((tile_size, columns)), np.empty((tile_size, columns))
    slope, bend = np.zeros((tile_size, columns)), np.empty((tile_size, n_outputs, n_outputs))
    tile = np.zeros((tile_size, width))
    for start in range(0, n, tile_size):
        stop = min(start + tile_size, n)
        load_rows(rows, start, stop, tile)
        dot_tile(rows, start, stop, coef, tile, eta)
        dot_tile(rows, start, stop, vector, tile, along)
        tile_loss_rowwise(loss, y, weight, start, stop, n_outputs, eta, slope, bend)
        for i in range(stop - start):
            for a in range(n_outputs):
                slope[i, a] = 0.0
                for b in range(n_outputs):
                    slope[i, a] += bend[i, a, b] * along[i, b]
        add_tile(rows, start, stop, slope, tile, product)


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


__all__ = ["drawn", "several_outputs", "several_product", "single_output", "single_product"]
