"""The compiled loop of :mod:`daskml_kit.kernels.bounds`.

Rows go by in tiles. A row whose bounds say that its centre is still the nearest costs a look at them; the
others are *open*. For each group of centres the open rows that may have their nearest there are gathered,
and their scores with the group are one small matrix product::

    tile of rows --bounds--> open rows --group by group--> gathered rows x group's centres
                                                            -> new best? new bound of the group

Scores are a little wrong and say so: what is close is decided on distances computed directly.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.extending import register_jitable

from daskml_kit.kernels.blocks import compiled
from daskml_kit.kernels.exact_sums import add_row_exactly
from daskml_kit.kernels.nearest_tiles import lowest_of_tied
from daskml_kit.kernels.products import add_row_products
from daskml_kit.kernels.rows import squared_distance
from daskml_kit.typing import Array

TILE = 256  # rows, so that a group's gathered rows fill the microkernel's blocks of 4

GROW, SHRINK = 1.0 + 2.0**-21, 1.0 - 2.0**-21  # more than a few roundings to float32
TINY = 1e-37  # the same for numbers that float32 cannot tell from zero
LARGEST = 3e38


@register_jitable
def above(square: Any) -> Any:
    """A float32 at least the root."""
    return np.sqrt(square) * GROW + TINY


@register_jitable
def below(square: Any) -> Any:
    """A float32 at most the root."""
    root = np.sqrt(max(square, 0.0)) * SHRINK - TINY
    return min(max(root, 0.0), LARGEST)


@compiled
def bounded(
    X: Array,
    weight: Array,
    centers: Array,
    groups: Array,
    constants: Array,
    members: Array,
    place: Array,
    origin: Array,
    error: float,
    reach: float,
    tie: float,
    moved: Array,
    group_moved: Array,
    halves: Array,
    coarse: Array,
    fine: Array,
    label: Array,
    upper: Array,
    lower: Array,
    sums: Array,
) -> int:
    """Brings labels, bounds and sums to ``centers``; returns how many distances that took.

    ``groups`` (t, d, width) are the centres less the origin, transposed; ``constants`` (t width,) half their
    squared lengths, infinite where a group is not full; ``members`` (t width,) the centre at each place and
    ``place`` (k,) the place of each centre. An approximate squared distance is off by at most
    ``error (|x - origin| + reach)^2``. Centres moved by ``moved`` (k,), at most ``group_moved`` (t,) in a
    group, since the bounds were right; ``halves`` (k,) is half of the way to the nearest other centre.
    """
    n, d = X.shape
    n_groups, width = groups.shape[0], groups.shape[2]
    tile, part = np.empty((TILE, d)), np.zeros((TILE, d))
    products = np.empty((TILE, width))
    row, reached = np.empty(TILE, np.int64), np.empty(TILE)
    asked, asking = np.empty((n_groups, TILE), np.int32), np.empty(n_groups, np.int64)
    chosen, gap = np.empty(TILE, np.int64), np.empty(TILE)
    base, slack = np.empty(TILE), np.empty(TILE)
    tied, limit = np.empty(TILE, np.bool_), np.empty(TILE, np.float32)
    count = 0
    for start in range(0, n, TILE):
        size = min(TILE, n - start)
        far, needed = upper[start : start + size], limit[:size]
        drift(
            label[start : start + size],
            moved,
            halves,
            far,
            lower[start : start + size],
            group_moved,
            needed,
        )
        opened = 0
        for i in range(start, start + size):
            current = label[i]
            if current >= 0:
                if far[i - start] < needed[i - start]:
                    continue
                gap[opened] = squared_distance(X, i, centers, current, 0.0)
                count += 1
                far[i - start] = above(gap[opened])
                if far[i - start] < needed[i - start]:
                    continue
            else:
                gap[opened] = np.inf
            row[opened], chosen[opened], tied[opened] = i, current, False
            opened += 1
        if opened == 0:
            continue
        for r in range(opened):
            base[r] = load_moved(X[row[r]], origin, tile[r])
            slack[r] = error * (np.sqrt(base[r]) + reach) ** 2
            reached[r] = above(gap[r])
        listed(row[:opened], reached, lower, asked, asking)
        for g in range(n_groups):
            size = 0
            for q in range(asking[g]):
                r = asked[g, q]  # a nearer centre may have been found since
                if not reached[r] < lower[row[r], g]:
                    asked[g, size] = r
                    size += 1
            if size == 0:
                continue
            for q in range(size):
                source = tile[asked[g, q]]
                for j in range(d):
                    part[q, j] = source[j]
            whole = (size + 3) // 4 * 4
            products[:whole] = 0.0
            add_row_products(part.ctypes.data, d, groups[g], products[:whole])
            first = g * width
            for q in range(size):
                r = asked[g, q]
                i, best = row[r], chosen[r]
                own = place[best] - first if best >= 0 else -1
                scores = products[q]
                least = smallest_score(constants[first : first + width], own, scores)
                floor = base[r] + 2.0 * least - slack[r]
                if floor <= gap[r] * (1.0 + tie):
                    top = np.argmin(scores)  # first, so that few others are close to it
                    other = squared_distance(X, i, centers, members[first + top], 0.0)
                    count += 1
                    tied[r] |= abs(other - gap[r]) <= tie * other
                    if other < gap[r]:
                        gap[r], chosen[r] = other, members[first + top]
                    for j in range(width):
                        if base[r] + 2.0 * scores[j] - slack[r] > gap[r] * (1.0 + tie):
                            continue
                        k = members[first + j]
                        if j == top or k < 0 or k == best:
                            continue
                        other = squared_distance(X, i, centers, k, 0.0)
                        count += 1
                        tied[r] |= abs(other - gap[r]) <= tie * gap[r]
                        if other < gap[r]:
                            gap[r], chosen[r] = other, k
                    least = np.inf
                    for j in range(width):
                        if members[first + j] != chosen[r]:
                            least = min(least, scores[j])
                    floor = base[r] + 2.0 * least - slack[r]
                lower[i, g] = below(floor)
                if chosen[r] != best:
                    reached[r] = above(gap[r])
                if chosen[r] != best and best >= 0:
                    old = place[best] // width
                    length = below(squared_distance(X, i, centers, best, 0.0))
                    lower[i, old] = min(lower[i, old], length)
            count += size * int(np.sum(members[first : first + width] >= 0))
        for r in range(opened):
            i, scale = row[r], weight[row[r]] if weight.size else 1.0
            if tied[r]:
                count += len(centers)
                best = chosen[r]
                chosen[r] = lowest_of_tied(X, i, centers, tie)
                if chosen[r] != best:
                    old = place[best] // width
                    lower[i, old] = min(lower[i, old], below(gap[r]))
                    gap[r] = squared_distance(X, i, centers, chosen[r], 0.0)
            upper[i] = above(gap[r])
            if chosen[r] != label[i]:
                if label[i] >= 0:
                    add_row_exactly(X, i, -scale, coarse, fine, sums[label[i]])
                add_row_exactly(X, i, scale, coarse, fine, sums[chosen[r]])
                label[i] = chosen[r]
    return count


@register_jitable
def drift(
    label: Array,
    moved: Array,
    halves: Array,
    upper: Array,
    lower: Array,
    group_moved: Array,
    limit: Array,
) -> None:
    """Moves the bounds of a tile by as much as the centres moved.

    ``limit`` is what the upper bound must stay below for the label to be certain. All in float32, a little
    wider than needed. Rows without a label (-1) get numbers without a meaning.
    """
    wider, narrower, zero = np.float32(GROW), np.float32(SHRINK), np.float32(0.0)
    for i in range(label.size):
        upper[i] = (upper[i] + moved[label[i]]) * wider
    if lower.shape[1] == 1:
        single, way = lower.reshape(-1), group_moved[0]
        for i in range(label.size):
            value = (single[i] - way) * narrower
            value = value if value > zero else zero
            single[i] = value
            half = halves[label[i]]
            limit[i] = value if value > half else half
        return
    for i in range(label.size):
        least, bounds = halves[label[i]], lower[i]
        for g in range(bounds.size):
            value = (bounds[g] - group_moved[g]) * narrower
            bounds[g] = value if value > zero else zero
        closest = bounds[0]
        for g in range(1, bounds.size):
            closest = bounds[g] if bounds[g] < closest else closest
        limit[i] = closest if closest > least else least


@register_jitable
def listed(row: Array, reached: Array, lower: Array, asked: Array, asking: Array) -> None:
    """For each group the first ``asking`` of ``asked``: open rows that may have their nearest there."""
    asking[:] = 0
    for r in range(row.size):
        far, bounds = reached[r], lower[row[r]]
        for g in range(bounds.size):
            if not far < bounds[g]:
                asked[g, asking[g]] = r
                asking[g] += 1


@register_jitable
def load_moved(row: Array, origin: Array, out: Array) -> Any:
    """``out = row - origin``; its squared length."""
    total = 0.0
    for j in range(row.size):
        gap = row[j] - origin[j]
        out[j] = gap
        total += gap * gap
    return total


@register_jitable
def smallest_score(constants: Array, own: int, scores: Array) -> Any:
    """``scores = constants - scores``, infinite at ``own``; the smallest."""
    for j in range(scores.size):
        scores[j] = constants[j] - scores[j]
    if own >= 0 and own < scores.size:
        scores[own] = np.inf
    least = scores[0]
    for j in range(1, scores.size):
        least = scores[j] if scores[j] < least else least
    return least


@compiled
def own_squares(X: Array, weight: Array, centers: Array, label: Array) -> float:
    """Weighted sum of the squared distances of rows to the centres that ``label`` names."""
    total = 0.0
    for i in range(len(X)):
        scale = weight[i] if weight.size else 1.0
        total += scale * squared_distance(X, i, centers, label[i], 0.0)
    return total


__all__ = ["bounded", "own_squares"]
