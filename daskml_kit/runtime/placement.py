"""Which worker holds which block, and which blocks one task handles. Pure functions, no cluster.

Placement is not automatic: persisting a fresh collection of 20 equal blocks was seen to put 18 on one of
two workers, which doubles every round. New blocks are therefore spread before the first round, each worker
by its number of threads. Those that are on workers already stay, or move as :mod:`balance` decides.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

TOLERATED_IMBALANCE = 1.1
"""Blocks already on workers are moved only when the largest load exceeds the mean by this factor."""

BUNDLE_MEMORY_SHARE = 0.05
"""Share of a worker's memory limit that the bundles of its running tasks may take together. A bundle that
was spilled is whole in memory up to twice when it is read back, beside the 60 % that Dask keeps."""


@dataclass(frozen=True)
class WorkerInfo:
    """What placement needs to know of a worker."""

    address: str
    n_threads: int = 1
    memory_limit: int | None = None  # bytes; None means unlimited

    @property
    def bundle_bytes(self) -> float:
        """Largest bundle in bytes, so that one a thread stays within the memory share."""
        if not self.memory_limit:
            return math.inf
        return BUNDLE_MEMORY_SHARE * self.memory_limit / self.n_threads


@dataclass(frozen=True)
class Piece:
    """Rows ``low`` to ``high`` of one loaded block, and where they begin globally."""

    block: int
    low: int
    high: int
    start: int
    nbytes: int

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return self.high - self.low


def spread(sizes: Sequence[float], workers: Sequence[WorkerInfo]) -> list[int]:
    """Assign blocks to workers in contiguous runs of even size, in proportion to threads.

    Contiguous runs keep neighbours together: the upstream tasks that neighbours share are computed once.

    Returns
    -------
    list of int
        Position in ``workers`` for each block.
    """
    total = sum(sizes) or float(len(sizes)) or 1.0
    sizes = sizes if sum(sizes) else [1.0] * len(sizes)
    threads = sum(w.n_threads for w in workers)
    edges, acc = [], 0
    for worker in workers:
        acc += worker.n_threads
        edges.append(total * acc / threads)
    out, done, at = [], 0.0, 0
    for size in sizes:
        while at < len(workers) - 1 and done + size / 2 > edges[at]:
            at += 1
        out.append(at)
        done += size
    return out


def settle(
    sizes: Sequence[float], where: Sequence[int | None], workers: Sequence[WorkerInfo]
) -> list[int]:
    """Place blocks that have no worker yet, as evenly as those allow that stay where they are.

    Parameters
    ----------
    sizes : rows or bytes of each block
    where : position in ``workers`` of the worker that holds the block, or None
    workers : the workers

    Returns
    -------
    list of int
        The position of each block. Largest blocks are placed first, each on the worker with the
        smallest load after it (Graham's LPT rule, 1969: at most 4/3 of the best).
    """
    if all(at is None for at in where):
        return spread(sizes, workers)
    load = _loads_of(sizes, where, workers)
    out = list(where)
    for i in _largest_first(sizes):
        if out[i] is None:
            out[i] = _lightest(load, workers, sizes[i])
            load[out[i]] += sizes[i] / workers[out[i]].n_threads  # type: ignore[index]
    return [at for at in out if at is not None]


def even_out(
    sizes: Sequence[float], where: Sequence[int | None], workers: Sequence[WorkerInfo]
) -> list[int]:
    """:func:`settle`, then move as few blocks as evenness needs."""
    placed = settle(sizes, where, workers)
    load = _loads_of(sizes, placed, workers)
    mean = sum(sizes) / sum(w.n_threads for w in workers)
    return _shed(sizes, placed, load, mean, _largest_first(sizes), workers)


def _largest_first(sizes: Sequence[float]) -> list[int]:
    return sorted(range(len(sizes)), key=lambda i: (-sizes[i], i))


def _loads_of(
    sizes: Sequence[float], where: Sequence[int | None], workers: Sequence[WorkerInfo]
) -> list[float]:
    """Load a thread of each worker: the sum of its blocks' sizes over its threads."""
    load = [0.0] * len(workers)
    for size, at in zip(sizes, where, strict=True):
        if at is not None:
            load[at] += size / workers[at].n_threads
    return load


def _lightest(load: Sequence[float], workers: Sequence[WorkerInfo], size: float) -> int:
    return min(range(len(workers)), key=lambda j: (load[j] + size / workers[j].n_threads, j))


def _shed(
    sizes: Sequence[float],
    where: list[int],
    load: list[float],
    mean: float,
    order: list[int],
    workers: Sequence[WorkerInfo],
) -> list[int]:
    """Move blocks from overloaded workers while that lowers the larger of the two loads."""
    for i in order:
        source = where[i]
        if load[source] <= TOLERATED_IMBALANCE * mean:
            continue
        target = _lightest(load, workers, sizes[i])
        after = load[target] + sizes[i] / workers[target].n_threads
        if target != source and after < load[source]:
            load[source] -= sizes[i] / workers[source].n_threads
            load[target] = after
            where[i] = target
    return where


def pack(pieces: Sequence[Piece], worker: WorkerInfo) -> list[list[Piece]]:
    """Bundle one worker's pieces: one bundle a thread, more where memory asks for it.

    Pieces are cut at bundle edges (a view, for dense data), so bundles hold equal numbers of rows
    and every thread of the worker has the same work, however the caller's chunks were cut.
    """
    rows = sum(p.n_rows for p in pieces)
    total = sum(p.nbytes for p in pieces)
    if rows == 0:
        return [list(pieces)] if pieces else []
    waves = max(1, math.ceil(total / (worker.bundle_bytes * worker.n_threads)))
    count = min(waves * worker.n_threads, rows)
    out: list[list[Piece]] = [[] for _ in range(count)]
    seen = 0
    for piece in pieces:
        for low, high, at in _cuts(piece, seen, rows, count):
            out[at].append(_part(piece, low, high))
        seen += piece.n_rows
    return [bundle for bundle in out if bundle]


def _cuts(piece: Piece, seen: int, rows: int, count: int) -> list[tuple[int, int, int]]:
    """Local row ranges of a piece, each with the bundle it falls into."""
    if piece.n_rows == 0:
        return [(piece.low, piece.high, min(seen * count // rows, count - 1))]
    cuts, low = [], 0
    while low < piece.n_rows:
        at = (seen + low) * count // rows
        edge = -(-(at + 1) * rows // count)  # first row of the next bundle
        high = min(piece.n_rows, edge - seen)
        cuts.append((piece.low + low, piece.low + high, at))
        low = high
    return cuts


def _part(piece: Piece, low: int, high: int) -> Piece:
    share = (high - low) / piece.n_rows if piece.n_rows else 0.0
    return Piece(piece.block, low, high, piece.start + low - piece.low, int(piece.nbytes * share))


def cut(pieces: Sequence[Piece], edges: Sequence[int]) -> list[list[Piece]]:
    """Bundle ``i`` of exactly the global rows ``edges[i]`` to ``edges[i + 1]``.

    Parameters
    ----------
    pieces : of all workers, in the order of the global rows
    edges : never decreasing, the first 0 and the last the number of rows. Between two equal edges
        there is a bundle without rows
    """
    full = [p for p in pieces if p.n_rows] or list(pieces[:1])
    starts = [p.start for p in full]
    ends = [p.start + p.n_rows for p in full]
    return [
        [
            _part(p, p.low + max(low - p.start, 0), p.low + min(high - p.start, p.n_rows))
            for p in full[bisect_right(ends, low) : bisect_left(starts, high)]
        ]
        or [_part(full[0], full[0].low, full[0].low)]
        for low, high in pairwise(edges)
    ]


def reassign(
    homes: Sequence[str], sizes: Sequence[float], workers: Mapping[str, WorkerInfo]
) -> list[str]:
    """New homes for bundles whose worker has gone; the others stay."""
    infos = list(workers.values())
    position = {w.address: i for i, w in enumerate(infos)}
    load = [0.0] * len(infos)
    for home, size in zip(homes, sizes, strict=True):
        if home in position:
            load[position[home]] += size / workers[home].n_threads
    out = list(homes)
    for i, home in enumerate(homes):
        if home not in position:
            at = _lightest(load, infos, sizes[i])
            load[at] += sizes[i] / infos[at].n_threads
            out[i] = infos[at].address
    return out
