"""Rows that change their worker: how many each may take, and the graph that moves them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import distributed

from daskml_kit.runtime import graph
from daskml_kit.runtime.balance import moved, shares
from daskml_kit.runtime.block import Bundle
from daskml_kit.runtime.cluster import cluster_errors, or_released
from daskml_kit.runtime.dataset import BlockDataset, BundleRef
from daskml_kit.runtime.placement import Piece, WorkerInfo, pack

FILLED_MEMORY_SHARE = 0.5
"""Rows move to a worker up to this share of its memory limit, all that it holds counted. Spilling begins
at 60 %."""


def rows_by_home(data: BlockDataset, workers: Mapping[str, WorkerInfo]) -> dict[str, int]:
    """Rows that each worker holds, those without any included."""
    rows = dict.fromkeys(workers, 0)
    for bundle in data.bundles:
        rows[bundle.worker] = rows.get(bundle.worker, 0) + bundle.n_rows
    return rows


def targets(
    client: Any,
    workers: Mapping[str, WorkerInfo],
    data: BlockDataset,
    speeds: Mapping[str, float],
) -> dict[str, int]:
    """Rows for each worker in proportion to its speed, as far as its memory goes before it would spill."""
    info = client.scheduler_info(n_workers=-1)["workers"]
    rows = rows_by_home(data, workers)
    row_bytes = max(data.facts.nbytes / max(data.facts.n_rows, 1), 1.0)
    most = []
    for address, worker in workers.items():
        room = math.inf
        if address not in info:
            room = 0.0
        elif worker.memory_limit:
            used = info[address]["metrics"].get("memory", 0)
            room = max(FILLED_MEMORY_SHARE * worker.memory_limit - used, 0.0)
        most.append(rows[address] + room / row_bytes)
    wanted = shares(data.facts.n_rows, [speeds[a] for a in workers], most)
    return dict(zip(workers, wanted, strict=True))


def move(
    client: distributed.Client,
    workers: Mapping[str, WorkerInfo],
    data: BlockDataset,
    sites: Sequence[graph.Site],
    wanted: Mapping[str, int],
) -> int:
    """Cut the bundles anew, so that every worker has the rows that ``wanted`` says.

    Returns
    -------
    int
        Bytes that travelled.
    """
    held: dict[str, list[Piece]] = {address: [] for address in wanted}
    for i, b in enumerate(data.bundles):
        held[b.worker].append(Piece(i, 0, b.n_rows, 0, b.nbytes))
    groups: list[list[Piece]] = []
    homes: list[str] = []
    after = moved(list(held.values()), list(wanted.values()))
    for address, pieces in zip(held, after, strict=True):
        own = pack(pieces, workers[address])
        groups += own
        homes += [address] * len(own)
    futures = graph.recut_plan(sites, groups, homes).submit(client)
    with or_released(futures), cluster_errors(client):
        distributed.wait(futures)
        for future in futures:
            if future.status != "finished":
                future.result()
        made = placed(client, futures, groups, homes)
    travelled = sum(
        piece.nbytes
        for group, home in zip(groups, homes, strict=True)
        for piece in group
        if data.bundles[piece.block].worker != home
    )
    for bundle in data.bundles:
        bundle.handle.release()
    data.bundles = made
    return travelled


def deal(
    client: distributed.Client,
    sites: Sequence[graph.Site],
    data: BlockDataset,
    cut: Callable[[Bundle, Any], Sequence[Bundle]],
    params: Any,
    homes: Sequence[str],
) -> BlockDataset:
    """The rows in bundles of one block: share i of every bundle, as ``cut`` cuts it, on ``homes[i]``.

    ``data`` stays as it is. The sizes of the new bundles are told as if all were alike.
    """
    futures = graph.deal_plan(sites, cut, params, homes).submit(client)
    with or_released(futures), cluster_errors(client):
        distributed.wait(futures)
    rows, nbytes = data.facts.n_rows // len(homes), data.facts.nbytes // len(homes)
    refs = [BundleRef(f, home, rows, nbytes, 1) for f, home in zip(futures, homes, strict=True)]
    return BlockDataset(refs, data.facts, fixed=True)


def placed(
    client: distributed.Client,
    futures: Sequence[distributed.Future[Any]],
    groups: Sequence[Sequence[Piece]],
    homes: Sequence[str],
) -> list[BundleRef]:
    """Bundles made of some pieces: at home, or where Dask put them because a worker was lost."""
    holders = client.who_has(futures)
    refs = []
    for future, group, home in zip(futures, groups, homes, strict=True):
        rows, size = sum(p.n_rows for p in group), sum(p.nbytes for p in group)
        held = holders[future.key]
        worker = home if home in held else next(iter(held), home)
        refs.append(BundleRef(future, worker, rows, size, len(group)))
    return refs


__all__ = ["FILLED_MEMORY_SHARE", "deal", "move", "placed", "rows_by_home", "targets"]
