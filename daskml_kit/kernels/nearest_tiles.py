"""The compiled loops of :mod:`daskml_kit.kernels.nearest`.

Sums come in as zeros, or with size 0 where not wanted; so do labels and distances.
Three ways to find the nearest centre, one way (``book``) to book it:

============  ================================================================================
few_columns   distances computed directly, tile transposed: all loops run over rows
dense         scores by matrix product, close calls decided on direct distances
sparse        scores from stored values, the same
============  ================================================================================
"""

from __future__ import annotations

import numpy as np
from numba.extending import register_jitable

from daskml_kit.kernels.blocks import CsrRows, Rows, compiled
from daskml_kit.kernels.exact_sums import add_row_exactly
from daskml_kit.kernels.products import add_row_products
from daskml_kit.kernels.rows import count_rows, squared_distance
from daskml_kit.typing import Array

# Measured on 200,000 rows: up to 8 columns the direct way is no slower for 8 to 20 centres (8 columns,
# 20 centres: 12.8 and 11.7 ms; 16 columns: 18.5 and 15.3 ms).
FEW_COLUMNS = 8
TILE = 64  # rows; a multiple of the microkernel's 4


@register_jitable
def book(
    rows: Rows,
    start: int,
    size: int,
    weight: Array,
    label: Array,
    distance: Array,
    coarse: Array,
    fine: Array,
    sums: Array,
    labels: Array,
    distances: Array,
) -> float:
    """Books the tile that begins at row ``start`` under ``label``; returns its inertia."""
    if labels.size:
        for i in range(size):
            labels[start + i] = label[i]
    if distances.size:
        distances[start : start + size] = distance[:size]
    inertia = 0.0
    if sums.size:
        for i in range(size):
            scale = weight[start + i] if weight.size else 1.0
            inertia += scale * distance[i]
            add_row_exactly(rows, start + i, scale, coarse, fine, sums[label[i]])
    return inertia


@compiled
def few_columns(
    X: Array,
    weight: Array,
    centers: Array,
    tie: float,
    coarse: Array,
    fine: Array,
    sums: Array,
    labels: Array,
    distances: Array,
) -> float:
    """Inertia of a dense block with few columns."""
    n, d = X.shape
    columns, total = np.zeros((d, TILE)), np.zeros(TILE)
    best, second, label = np.empty(TILE), np.empty(TILE), np.empty(TILE, dtype=np.int64)
    inertia = 0.0
    for start in range(0, n, TILE):
        size = min(TILE, n - start)
        for i in range(size):
            for j in range(d):
                columns[j, i] = X[start + i, j]
        best[:] = np.inf
        second[:] = np.inf
        label[:] = 0
        for k in range(len(centers)):
            for j in range(d):
                add_squared_gaps(columns[j], centers[k, j], j == 0, total)
            keep_smaller(k, total, best, second, label)
        for i in range(size):
            if second[i] <= best[i] * (1.0 + tie):
                label[i] = lowest_of_tied(X, start + i, centers, tie)
                best[i] = squared_distance(X, start + i, centers, label[i], 0.0)
        inertia += book(X, start, size, weight, label, best, coarse, fine, sums, labels, distances)
    return inertia


@register_jitable
def add_squared_gaps(column: Array, center: float, first: bool, total: Array) -> None:
    """``total += (column - center)^2``; the first column needs no sum to begin with."""
    if first:
        for i in range(TILE):
            gap = column[i] - center
            total[i] = gap * gap
    else:
        for i in range(TILE):
            gap = column[i] - center
            total[i] += gap * gap


@register_jitable
def keep_smaller(k: int, total: Array, best: Array, second: Array, label: Array) -> None:
    """Lowers ``best`` and sets ``label`` where ``total`` is strictly smaller."""
    for i in range(TILE):
        new, old = total[i], best[i]  # in locals, or LLVM does not see that it can use vectors
        larger, next_ = max(new, old), second[i]
        second[i] = larger if larger < next_ else next_
        label[i] = k if new < old else label[i]
        best[i] = new if new < old else old


@compiled
def dense(
    X: Array,
    weight: Array,
    centers: Array,
    shifted: Array,
    constants: Array,
    error: float,
    reach: float,
    tie: float,
    coarse: Array,
    fine: Array,
    sums: Array,
    labels: Array,
    distances: Array,
) -> float:
    """Inertia of a dense block.

    ``shifted`` (d, k padded) is ``c - origin`` transposed. The score of a centre is its entry of
    ``constants`` less ``x . (c - origin)``, off by at most ``error (|x - c| + reach)``.
    """
    n, d = X.shape
    buffer, products = np.zeros((TILE, d)), np.empty((TILE, shifted.shape[1]))
    distance, label = np.empty(TILE), np.empty(TILE, dtype=np.int64)
    inertia = 0.0
    for start in range(0, n, TILE):
        size = min(TILE, n - start)
        products[:] = 0.0
        add_row_products(address_of_tile(X, start, size, buffer), d, shifted, products)
        for i in range(size):
            chosen, best, second = two_smallest(constants, products[i])
            gap = squared_distance(X, start + i, centers, chosen, 0.0)
            limit = best + error * (np.sqrt(gap) + reach) + tie * gap
            if second <= limit:
                for k in range(len(centers)):
                    products[i, k] = constants[k] - products[i, k]
                chosen, gap = decided(X, start + i, centers, constants, products[i], limit, tie)
            label[i], distance[i] = chosen, gap
        inertia += book(
            X, start, size, weight, label, distance, coarse, fine, sums, labels, distances
        )
    return inertia


@register_jitable
def address_of_tile(X: Array, start: int, size: int, buffer: Array) -> int:
    """Address of the tile's rows in float64: in place if possible, or a copy in ``buffer``.

    Products run over whole tiles, so the last one is copied too: they may not read behind X.
    """
    if X.itemsize == 8 and size == TILE:
        return int(X.ctypes.data + 8 * start * X.shape[1])
    for i in range(size):
        for j in range(X.shape[1]):
            buffer[i, j] = X[start + i, j]
    return buffer.ctypes.data


@register_jitable
def two_smallest(constants: Array, products: Array) -> tuple[int, float, float]:
    """Index and value of the smallest ``constants - products``, and the second smallest value."""
    chosen, best, second = 0, constants[0] - products[0], np.inf
    for k in range(1, constants.size):
        score = constants[k] - products[k]
        larger = best if score < best else score
        second = larger if larger < second else second
        chosen = k if score < best else chosen
        best = score if score < best else best
    return chosen, best, second


@register_jitable
def decided(
    rows: Rows, i: int, centers: Array, halves: Array, scores: Array, limit: float, tie: float
) -> tuple[int, float]:
    """The nearest of the centres whose score is at most ``limit``, and its squared distance.

    The lowest index among those that differ from the smallest distance by rounding only.
    """
    least = np.inf
    for k in range(len(centers)):
        if scores[k] <= limit:
            least = min(least, squared_distance(rows, i, centers, k, halves[k]))
    for k in range(len(centers)):
        if scores[k] <= limit:
            gap = squared_distance(rows, i, centers, k, halves[k])
            if gap <= least * (1.0 + tie):
                return k, gap
    return 0, least


@register_jitable
def lowest_of_tied(X: Array, i: int, centers: Array, tie: float) -> int:
    """The lowest index among the centres whose distance differs from the smallest by rounding only."""
    least = np.inf
    for k in range(len(centers)):
        least = min(least, squared_distance(X, i, centers, k, 0.0))
    for k in range(len(centers)):
        if squared_distance(X, i, centers, k, 0.0) <= least * (1.0 + tie):
            return k
    return 0


@compiled
def sparse(
    rows: CsrRows,
    weight: Array,
    centers: Array,
    columns: Array,
    halves: Array,
    error: float,
    reach: float,
    tie: float,
    coarse: Array,
    fine: Array,
    sums: Array,
    labels: Array,
    distances: Array,
) -> float:
    """Inertia of a CSR block. ``columns`` is ``centers`` transposed, so that a stored value meets
    one row of it.
    """
    scores = np.empty(len(centers))
    label, distance = np.empty(1, dtype=np.int64), np.empty(1)
    inertia = 0.0
    for i in range(count_rows(rows)):
        scores[:] = halves
        for p in range(rows.starts[i], rows.starts[i + 1]):
            value, column = rows.values[p], rows.columns[p]
            for k in range(scores.size):
                scores[k] -= value * columns[column, k]
        chosen = int(np.argmin(scores))
        gap = squared_distance(rows, i, centers, chosen, halves[chosen])
        limit = scores[chosen] + error * (np.sqrt(gap) + reach) + tie * gap
        chosen, gap = decided(rows, i, centers, halves, scores, limit, tie)
        label[0], distance[0] = chosen, gap
        inertia += book(rows, i, 1, weight, label, distance, coarse, fine, sums, labels, distances)
    return inertia


@compiled
def all_distances(rows: Rows, centers: Array, halves: Array, out: Array) -> None:
    """Writes the Euclidean distance of every row to every centre."""
    for i in range(count_rows(rows)):
        for k in range(len(centers)):
            out[i, k] = np.sqrt(squared_distance(rows, i, centers, k, halves[k]))


__all__ = ["FEW_COLUMNS", "all_distances", "dense", "few_columns", "sparse"]
