"""The compiled loops of :mod:`daskml_kit.kernels.nearest`.

Sums come in as zeros, or with size 0 where not wanted; so do labels and distances.
Two ways to find the nearest centre, one way (``book``) to book it:

============  ================================================================================
dense         scores by matrix product in float32, close calls decided on direct distances
sparse        scores from stored values, the same
============  ================================================================================
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numba.extending import register_jitable

from daskml_kit.kernels.aim import GROW, WILD, Aim
from daskml_kit.kernels.blocks import UNCOUNTED, CsrRows, Rows, bare, compiled
from daskml_kit.kernels.exact_sums import add_row_exactly
from daskml_kit.kernels.rows import count_rows, squared_distance
from daskml_kit.kernels.scores import LANES, group_scores, runner_up
from daskml_kit.typing import Array

TILE = 64  # rows
GROUP = 48  # centres at most


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
        for i in range(size):  # element by element: code without reference counts makes no slices
            distances[start + i] = distance[i]
    inertia = 0.0
    if sums.size:
        for i in range(size):
            scale = weight[start + i] if weight.size else 1.0
            inertia += scale * distance[i]
            add_row_exactly(rows, start + i, scale, coarse, fine, sums[label[i]])
    return inertia


class Tile(NamedTuple):
    """Room for a tile of rows."""

    rows: Array
    """(TILE, d) float32: moved and scaled."""
    base: Array
    """(TILE,) float32: their squared lengths."""
    root: Array
    """(TILE,) float32: their lengths."""
    scores: Array
    """(TILE + 3, width) float32: with a group."""
    least: Array
    """(TILE + 3,) float32: the least of those."""
    listed: Array
    """(TILE + 3,) uint32: places in the tile."""
    best: Array
    """(TILE,) float32: the least score of all groups."""
    second: Array
    """(TILE,) float32: the second least."""
    limit: Array
    """(TILE,) float32: scaled squared distance up to which a centre may be the nearest."""
    label: Array
    """(TILE,) int64."""
    gap: Array
    """(TILE,) squared distance to it."""


def room_for(d: int, width: int) -> Tile:
    """For rows of d columns and groups of so many centres."""
    single = [np.empty(TILE, np.float32) for _ in range(5)]
    base, root, best, second, limit = single
    return Tile(
        np.empty((TILE, d), np.float32),
        base,
        root,
        np.empty((TILE + 3, width), np.float32),
        np.empty(TILE + 3, np.float32),
        np.empty(TILE + 3, np.uint32),
        best,
        second,
        limit,
        np.empty(TILE, np.int64),
        np.empty(TILE),
    )


@njit(cache=True, nogil=True, **UNCOUNTED)
def dense(
    X: Array,
    weight: Array,
    aim: Aim,
    tile: Tile,
    coarse: Array,
    fine: Array,
    sums: Array,
    labels: Array,
    distances: Array,
) -> float:
    """Inertia of a dense block."""
    inertia = 0.0
    for start in range(0, len(X), TILE):
        size = min(TILE, len(X) - start)
        load_tile(X, aim, tile, start, size)
        two_least(aim, tile, size)
        unsure = 0
        for r in range(size):
            if is_sure(aim, tile, r):
                tile.gap[r] = squared_distance(X, start + r, aim.centers, tile.label[r], 0.0)
            else:
                tile.listed[unsure] = r
                unsure += 1
        if unsure:
            measure(X, aim, tile, start, unsure)
        inertia += book(
            X, start, size, weight, tile.label, tile.gap, coarse, fine, sums, labels, distances
        )
    return inertia


@bare
def load_tile(X: Array, aim: Aim, tile: Tile, start: int, size: int) -> None:
    """Copies rows, moved and scaled."""
    for r in range(size):
        total = 0.0
        for j in range(X.shape[1]):
            gap = (X[start + r, j] - aim.origin[j]) * aim.scale
            tile.rows[r, j] = gap
            total += gap * gap
        tile.base[r] = total
        tile.root[r] = np.sqrt(total)


@bare
def two_least(aim: Aim, tile: Tile, size: int) -> None:
    """The two least scores of each row, and whose the least is."""
    width = tile.scores.shape[1]
    for r in range(size):
        tile.listed[r] = r
        tile.best[r] = tile.second[r] = np.inf
        tile.label[r] = 0
    for g in range(len(aim.groups)):
        group_scores(
            tile.rows, tile.listed, size, aim.groups[g], aim.constants[g], tile.scores, tile.least
        )
        for r in range(size):
            least = tile.least[r]
            if least < tile.second[r]:
                at = tile.scores.ctypes.data + 4 * r * width
                next_, top = runner_up(at, width // LANES, least)
                if least < tile.best[r]:
                    tile.second[r] = min(tile.best[r], next_)
                    tile.best[r], tile.label[r] = least, aim.members[g * width + top]
                else:
                    tile.second[r] = least


@bare
def is_sure(aim: Aim, tile: Tile, r: int) -> bool:
    """Whether the least score is that of the nearest beyond doubt; sets ``limit``."""
    two = np.float32(2.0)
    slack = slack_of(aim, tile, r)
    limit = (tile.base[r] + two * tile.best[r] + slack) * np.float32(GROW)
    limit *= np.float32(1.0 + aim.tie)
    tile.limit[r] = limit
    sure = tile.base[r] + two * tile.second[r] - slack > limit
    return bool(sure & (tile.base[r] < WILD))


@bare
def slack_of(aim: Aim, tile: Tile, r: int) -> Any:
    """What a scaled squared distance from scores may be off by; float32."""
    length = tile.root[r] + np.float32(aim.longest)
    return np.float32(aim.error) * length * length


@bare
def measure(X: Array, aim: Aim, tile: Tile, start: int, unsure: int) -> None:
    """Measures what may be nearest to rows that two scores did not decide; ``listed`` names them.

    Twice: for the least distance, then for the lowest index among those that differ from it by rounding
    only. Groups are in the order of their centres.
    """
    width = tile.scores.shape[1]
    for q in range(unsure):
        tile.gap[tile.listed[q]] = np.inf
        tile.label[tile.listed[q]] = -1
    for again in (False, True):
        for g in range(len(aim.groups)):
            group_scores(
                tile.rows, tile.listed, unsure, aim.groups[g], aim.constants[g], tile.scores,
                tile.least,
            )  # fmt: skip
            for q in range(unsure):
                r = tile.listed[q]
                if not (again and tile.label[r] >= 0):
                    for place in range(aim.sizes[g]):
                        k = aim.members[g * width + place]
                        if may_be_nearest(aim, tile, r, tile.scores[q, place]):
                            gap = squared_distance(X, start + r, aim.centers, k, 0.0)
                            if not again:
                                tile.gap[r] = min(tile.gap[r], gap)
                            elif tile.label[r] < 0 and gap <= tile.gap[r] * (1.0 + aim.tie):
                                tile.label[r] = k
    for q in range(unsure):
        r = tile.listed[q]
        k = max(tile.label[r], 0)
        tile.gap[r], tile.label[r] = squared_distance(X, start + r, aim.centers, k, 0.0), k


@bare
def may_be_nearest(aim: Aim, tile: Tile, r: int, score: Any) -> bool:
    """Whether a centre of that score is not beyond ``limit``. Lengths beyond float32 say nothing."""
    far = tile.base[r] + np.float32(2.0) * score - slack_of(aim, tile, r) > tile.limit[r]
    return not (far & (tile.base[r] < WILD))


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


@bare
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


__all__ = [
    "GROUP",
    "all_distances",
    "dense",
    "lowest_of_tied",
    "room_for",
    "sparse",
]
