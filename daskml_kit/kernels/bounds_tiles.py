"""The compiled loop of :mod:`daskml_kit.kernels.bounds`.

Every row is looked at once: two numbers say whether its centre is still the nearest. Those that they leave
*open* are gathered, and settled a batch at a time::

    all rows --scanned--> open rows --tightened--> loaded --listed--> for each group of centres:
               bounds       a batch     own           float32            scores of those that may have
                                        distance                         their nearest there (scored)
                                                                      -> new best? bound of the group
                                                                      -> booked: sums, label, bounds

Scores are a little wrong and say so: what is close is decided on distances computed directly. With one group
the two least scores decide most rows, and bound them; nothing is measured for those. In the first iterations,
where most rows are open, their own distance closes few of them and is left out.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from daskml_kit.kernels.aim import GROW, LARGEST, SHRINK, WILD, Aim
from daskml_kit.kernels.blocks import UNCOUNTED, bare, compiled
from daskml_kit.kernels.exact_sums import add_row_exactly, move_row_exactly
from daskml_kit.kernels.nearest_tiles import lowest_of_tied
from daskml_kit.kernels.prefetch import prefetch
from daskml_kit.kernels.rows import squared_distance
from daskml_kit.kernels.scores import LANES, group_scores, least_of, runner_up
from daskml_kit.typing import Array

SCAN = 1024  # rows
BATCH = 128  # open rows
AHEAD = 8  # rows that the memory is asked for before they are read
LINE = 8  # numbers of a cache line

TINY = 1e-37  # the same for numbers that float32 cannot tell from zero
SPARE = 2.0**-20  # of a bound and the way that it is counted from: their roundings, there and back
LUCKY, LOOK_AGAIN = 0.4, 16  # share of rows; batches


class Way(NamedTuple):
    """How far centres have gone since the first pass, at least; float32."""

    own: Array
    """(k,) each of them."""
    others: Array
    """(k,) the farthest of all others, pass by pass."""
    groups: Array
    """(t,) the farthest of each group."""


class Known(NamedTuple):
    """What is known of the rows: bounds less the way at the time, so that they need no update."""

    label: Array
    """(n,) int32, -1 before the first pass."""
    upper: Array
    """(n,) float32: plus ``own`` at least the distance to the row's centre."""
    others: Array
    """(n,) float32: less ``others`` at most the distance to any other centre."""
    lower: Array
    """(n, t) float32: less ``groups`` at most the distance to any other centre of a group; no columns for
    a single group."""
    sums: Array
    """(k, 2, d + 1) exact sums."""


class Work(NamedTuple):
    """Room for a batch."""

    is_open: Array
    """(SCAN,) of the rows scanned."""
    row: Array
    """(BATCH,) int64: which row."""
    tile: Array
    """(BATCH, d) float32: the row, moved and scaled."""
    gap: Array
    """(BATCH,) squared distance to ``chosen``."""
    base: Array
    """(BATCH,) float32: squared length of the tile's row."""
    root: Array
    """(BATCH,) float32: its length."""
    reached: Array
    """(BATCH,) float32: at least the distance to ``chosen``."""
    closest: Array
    """(BATCH,) float32: at most the distance to any other."""
    chosen: Array
    """(BATCH,) int64: the nearest centre so far."""
    tied: Array
    """(BATCH,) whether another may be as near, so that all are measured."""
    limit: Array
    """(BATCH,) float32: scaled squared distance up to which others are of interest."""
    asked: Array
    """(t, BATCH + 3) uint32: places in the batch."""
    asking: Array
    """(t,) how many."""
    luck: Array
    """(2,) the share of rows that their own distance closed of late, and batches so far."""
    scores: Array
    """(BATCH + 3, width) float32."""
    least: Array
    """(BATCH + 3,) float32."""
    floor: Array
    """(BATCH,) float32: at most the scaled squared distance to others of a group."""
    bound: Array
    """(t,) float32: bounds of a row; whole vectors, the rest large."""


@njit(cache=True, nogil=True, **UNCOUNTED)
def bounded(
    X: Array,
    weight: Array,
    aim: Aim,
    way: Way,
    known: Known,
    coarse: Array,
    fine: Array,
    work: Work,
) -> int:
    """Brings labels, bounds and sums to the centres of ``aim``; returns how many distances that took."""
    n, count, opened, at, size = len(X), 0, 0, 0, 0
    start = -SCAN
    while start < n or opened:  # settled at one place, or it would be compiled twice
        while opened < BATCH and start < n:
            if at == size:
                start, at = start + SCAN, 0
                size = max(min(SCAN, n - start), 0)
                scan(known, way, aim.halves, start, size, work.is_open)
            else:
                work.row[opened] = start + at
                opened += work.is_open[at]
                at += 1
        if opened:
            count += settle(X, weight, aim, way, known, coarse, fine, work, opened)
            opened = 0
    return count


@bare
def scan(known: Known, way: Way, halves: Array, start: int, size: int, is_open: Array) -> None:
    """Marks the rows whose label is in doubt, those without one included."""
    wider, narrower = np.float32(GROW), np.float32(SHRINK)
    for i in range(size):
        label = known.label[start + i]
        own = max(label, 0)
        far = (known.upper[start + i] + way.own[own]) * wider
        limit = (known.others[start + i] - way.others[own]) * narrower
        in_doubt = not ((far < limit) | (far < halves[own]))
        is_open[i] = (label < 0) | in_doubt


@bare
def settle(
    X: Array, weight: Array, aim: Aim, way: Way, known: Known, coarse: Array, fine: Array,
    work: Work, opened: int,
) -> int:  # fmt: skip
    """Labels and bounds of a batch of open rows; the number of distances."""
    single, count = known.lower.shape[1] == 0, 0
    for r in range(min(AHEAD, opened)):
        fetch(X, work.row[r])
    measured = not single or tightening_pays(work)
    if measured:
        kept, count = tighten(X, aim, way, known, work, opened)
        work.luck[0] += 0.25 * ((opened - kept) / opened - work.luck[0])
        opened = kept
    if opened == 0:
        return count
    load(X, aim, work, opened)
    if single:
        count += decide(X, aim, known, work, opened, measured)
    else:
        ask(aim, known, way, work, opened)
    for g in range(len(aim.groups)):
        count += score(X, aim, way, known, work, g)
    for r in range(opened):
        if work.tied[r]:
            count += len(aim.centers)
            untie(X, aim, way, known, work, r)
        book(X, weight, way, known, coarse, fine, work, r)
    return count


@bare
def decide(X: Array, aim: Aim, known: Known, work: Work, opened: int, measured: bool) -> int:
    """Where all centres are one group: two scores decide most rows, and the others are listed."""
    asked, count, unsure = work.asked[0], opened * int(aim.sizes[0]), 0
    for r in range(opened):
        asked[r] = r
    group_scores(work.tile, asked, opened, aim.groups[0], aim.constants[0], work.scores, work.least)
    for r in range(opened):
        if not decided_by_scores(aim, work, r):
            if not measured:
                i = work.row[r]
                own = work.chosen[r] = known.label[i]
                work.gap[r] = squared_distance(X, i, aim.centers, own, 0.0) if own >= 0 else np.inf
                count += own >= 0
            set_limit(aim, work, r)
            work.closest[r] = 0.0 if work.tied[r] else LARGEST
            asked[unsure] = r
            unsure += not work.tied[r]
    work.asking[0] = unsure
    return count


@bare
def tightening_pays(work: Work) -> bool:
    """Whether the own distance alone closes so many rows that it is worth its time.

    From memory it takes a third of what scores take. Looked at again now and then, for later rows may differ.
    """
    work.luck[1] += 1.0
    return bool(work.luck[0] > LUCKY or work.luck[1] % LOOK_AGAIN == 0.0)


@bare
def decided_by_scores(aim: Aim, work: Work, r: int) -> bool:
    """Whether the least score is that of the nearest beyond doubt; then it is chosen, with bounds."""
    width, least, two = work.scores.shape[1], work.least[r], np.float32(2.0)
    second, top = runner_up(work.scores.ctypes.data + 4 * r * width, width // LANES, least)
    length = work.root[r] + np.float32(aim.reach[0])
    slack = np.float32(aim.error) * length * length
    most, others = work.base[r] + two * least + slack, work.base[r] + two * second - slack
    if work.tied[r] or not others > most * np.float32(GROW) * np.float32(1.0 + aim.tie):
        return False
    zero = np.float32(0.0)
    work.chosen[r] = aim.members[top]
    work.reached[r] = np.sqrt(most if most > zero else zero) * (GROW / aim.scale) + TINY
    bound = np.sqrt(others) * (SHRINK / aim.scale) - TINY
    work.closest[r] = min(max(bound, 0.0), LARGEST)
    return True


@bare
def fetch(X: Array, i: int) -> None:
    """Asks the memory for a row."""
    d = X.shape[1]
    for j in range(0, d, LINE):
        prefetch(X, i * d + j)


@bare
def tighten(X: Array, aim: Aim, way: Way, known: Known, work: Work, opened: int) -> tuple[int, int]:
    """Keeps the rows that are open even with the distance to their own centre; how many, and distances."""
    kept, count = 0, 0
    for r in range(opened):
        if r + AHEAD < opened:
            fetch(X, work.row[r + AHEAD])
        i = work.row[r]
        own, gap = known.label[i], np.inf
        if own >= 0:
            gap = squared_distance(X, i, aim.centers, own, 0.0)
            count += 1
            far = above(gap)
            if far < (known.others[i] - way.others[own]) * SHRINK or far < aim.halves[own]:
                known.upper[i] = upper_less(far, way.own[own])
                continue
        work.row[kept], work.chosen[kept], work.gap[kept] = i, own, gap
        kept += 1
    return kept, count


@bare
def load(X: Array, aim: Aim, work: Work, opened: int) -> None:
    """Copies rows, moved and scaled."""
    for r in range(opened):
        if r + AHEAD < opened:
            fetch(X, work.row[r + AHEAD])
        i, total = work.row[r], 0.0
        for j in range(X.shape[1]):
            gap = (X[i, j] - aim.origin[j]) * aim.scale
            work.tile[r, j] = gap
            total += gap * gap
        work.base[r] = total
        work.root[r] = np.sqrt(total)
        work.tied[r] = not total < WILD


@bare
def set_limit(aim: Aim, work: Work, r: int) -> None:
    """What is known of ``chosen``: lengths, up to which others are of interest."""
    work.reached[r] = above(work.gap[r])
    work.limit[r] = work.gap[r] * (aim.scale * aim.scale) * (1.0 + aim.tie) * GROW


@bare
def ask(aim: Aim, known: Known, way: Way, work: Work, opened: int) -> None:
    """Lists for each group the rows that may have their nearest there."""
    asked, asking, bound = work.asked, work.asking, work.bound
    asking[:] = 0
    n_groups, narrower, most = known.lower.shape[1], np.float32(SHRINK), np.float32(LARGEST)
    vectors = bound.size // LANES
    for r in range(opened):
        set_limit(aim, work, r)
        if work.tied[r]:
            work.closest[r] = 0.0
            continue
        far, i = work.reached[r], work.row[r]
        for g in range(n_groups):
            bound[g] = (known.lower[i, g] - way.groups[g]) * narrower
        for g in range(n_groups):
            asked[g, asking[g]] = r
            asking[g] += not far < bound[g]
        for g in range(n_groups):
            bound[g] = bound[g] if far < bound[g] else most
        work.closest[r] = least_of(bound.ctypes.data, vectors)


@bare
def score(X: Array, aim: Aim, way: Way, known: Known, work: Work, g: int) -> int:
    """Looks for nearer centres in a group, and bounds it anew; the number of distances."""
    count, asked, floor, size = 0, work.asked[g], work.floor, int(work.asking[g])
    if size == 0:
        return 0
    group_scores(work.tile, asked, size, aim.groups[g], aim.constants[g], work.scores, work.least)
    error, reach, two = np.float32(aim.error), np.float32(aim.reach[g]), np.float32(2.0)
    for q in range(size):
        r = asked[q]
        length = work.root[r] + reach
        floor[q] = (work.base[r] + two * work.least[q]) - error * length * length
    for q in range(size):
        r = asked[q]
        if not floor[q] > work.limit[r]:  # a row's own centre always leads here
            before = work.chosen[r]
            count += nearer(X, aim, work, g, q)
            if before >= 0 and work.chosen[r] != before:
                count += 1
                gap = squared_distance(X, work.row[r], aim.centers, before, 0.0)
                left(aim, way, known, work, r, before, gap)
    unscale, single = SHRINK / aim.scale, known.lower.shape[1] == 0
    for q in range(size):
        r = asked[q]
        root = np.sqrt(floor[q] if floor[q] > np.float32(0.0) else np.float32(0.0))
        bound = np.float32(min(max(root * unscale - TINY, 0.0), LARGEST))
        work.closest[r] = min(work.closest[r], bound)
        if not single:
            known.lower[work.row[r], g] = lower_plus(bound, way.groups[g])
    count += size * int(aim.sizes[g])
    return count


@bare
def nearer(X: Array, aim: Aim, work: Work, g: int, q: int) -> int:
    """Measures what may be nearest in a group, by increasing score; the number of distances.

    Leaves in ``floor`` at most the squared distance to those of the group that are not chosen.
    """
    r, width, scores, count = work.asked[g, q], work.scores.shape[1], work.scores, 0
    base, length = float(work.base[r]), float(work.root[r]) + aim.reach[g]
    slack = aim.error * length * length
    own, before = aim.place[max(work.chosen[r], 0)] - g * width, work.chosen[r]
    best = others = own_score = np.float32(
        np.inf
    )  # best: that of the chosen, if it is of this group
    if before >= 0 and own >= 0 and own < width:
        own_score, scores[q, own] = scores[q, own], np.float32(np.inf)
    start = scores.ctypes.data + 4 * q * width
    least: Any = np.float32(np.inf)
    for _ in range(width + 1):
        least, limit = least_of(start, width // LANES), float(work.limit[r])
        cut = 0.5 * (limit + slack - base) + SPARE * (limit + slack + base)
        if least > cut or least == np.inf:
            break
        top = place_of(least, scores, q)
        scores[q, top] = np.inf
        k = aim.members[g * width + top]
        gap = squared_distance(X, work.row[r], aim.centers, k, 0.0)
        count += 1
        work.tied[r] |= abs(gap - work.gap[r]) <= aim.tie * gap
        if gap < work.gap[r]:
            work.gap[r], work.chosen[r] = gap, k
            set_limit(aim, work, r)
            best, least = least, best
        others = min(others, least)
    if work.chosen[r] != before:
        others = min(others, own_score)
    work.floor[q] = base + 2.0 * min(others, least) - slack
    return count


@bare
def place_of(value: float, values: Array, row: int) -> int:
    """Where it is in a row, first."""
    place = 0
    while place < values.shape[1] - 1 and values[row, place] != value:
        place += 1
    return place


@bare
def left(aim: Aim, way: Way, known: Known, work: Work, r: int, k: int, gap: float) -> None:
    """The centre k is the row's no more: bounds of other centres now hold for it too."""
    bound = below(gap)
    work.closest[r] = min(work.closest[r], bound)
    if known.lower.shape[1]:
        i, g = work.row[r], aim.place[k] // aim.constants.shape[1]
        known.lower[i, g] = min(known.lower[i, g], lower_plus(bound, way.groups[g]))


@bare
def untie(X: Array, aim: Aim, way: Way, known: Known, work: Work, r: int) -> None:
    """Chooses the lowest index of several that are as near."""
    best, k = work.chosen[r], lowest_of_tied(X, work.row[r], aim.centers, aim.tie)
    if k != best:
        if best >= 0:
            left(aim, way, known, work, r, best, work.gap[r])
        work.chosen[r] = k
        work.gap[r] = squared_distance(X, work.row[r], aim.centers, k, 0.0)
        set_limit(aim, work, r)


@bare
def book(
    X: Array, weight: Array, way: Way, known: Known, coarse: Array, fine: Array, work: Work, r: int
) -> None:
    """Writes down what is new of a row."""
    i, k = work.row[r], work.chosen[r]
    old, scale = known.label[i], weight[i] if weight.size else 1.0
    known.upper[i] = upper_less(work.reached[r], way.own[k])
    known.others[i] = lower_plus(work.closest[r], way.others[k])
    if k != old:
        if old >= 0:
            move_row_exactly(X, i, scale, coarse, fine, known.sums[old], known.sums[k])
        else:
            add_row_exactly(X, i, scale, coarse, fine, known.sums[k])
        known.label[i] = k


@bare
def above(square: Any) -> Any:
    """A number at least the root, in float32 too."""
    return np.sqrt(square) * GROW + TINY


@bare
def below(square: Any) -> Any:
    """A number at most the root, in float32 too."""
    root = np.sqrt(max(square, 0.0)) * SHRINK - TINY
    return min(max(root, 0.0), LARGEST)


@bare
def upper_less(far: Any, way: Any) -> Any:
    """An upper bound to be read with a longer way added."""
    return (far - way) + SPARE * (far + way)


@bare
def lower_plus(near: Any, way: Any) -> Any:
    """A lower bound to be read with a longer way taken off."""
    return (near + way) - SPARE * (near + way)


@compiled
def own_squares(X: Array, weight: Array, centers: Array, label: Array) -> float:
    """Weighted sum of the squared distances of rows to the centres that ``label`` names."""
    total = 0.0
    for i in range(len(X)):
        scale = weight[i] if weight.size else 1.0
        total += scale * squared_distance(X, i, centers, label[i], 0.0)
    return total


__all__ = ["BATCH", "SCAN", "Known", "Way", "Work", "bounded", "own_squares"]
