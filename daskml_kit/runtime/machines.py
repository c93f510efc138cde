"""What is known of the machines that a fit runs on: threads and memory of each worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import distributed
from dask.system import CPU_COUNT
from distributed.system import MEMORY_LIMIT


@dataclass(frozen=True, slots=True)
class WorkerFacts:
    """One worker as its scheduler knows it."""

    threads: int = 1
    memory_limit: int = 0  # bytes; 0 is unlimited or unknown
    memory: int = 0  # bytes that the process uses now; 0 is unknown
    spilled: int = 0  # bytes of data that are on disk now
    name: str = ""


def facts_of_info(workers: Mapping[str, Mapping[str, Any]]) -> dict[str, WorkerFacts]:
    """The same from ``client.scheduler_info()["workers"]``.

    >>> facts_of_info({"tcp://a": {"nthreads": 2, "memory_limit": 10, "metrics": {"memory": 4}}})
    {'tcp://a': WorkerFacts(threads=2, memory_limit=10, memory=4, spilled=0, name='')}
    """
    found = {}
    for address, info in workers.items():
        metrics = info.get("metrics", {})
        spilled = metrics.get("spilled_bytes", {})
        found[address] = WorkerFacts(
            int(info["nthreads"]),
            int(info["memory_limit"] or 0),
            int(metrics.get("memory", 0)),
            int(spilled.get("disk", 0)) if isinstance(spilled, Mapping) else int(spilled),
            str(info.get("name", "")),
        )
    return found


def known_workers() -> dict[str, WorkerFacts]:
    """The workers of the default client's cluster, and this process as ``local``."""
    found = {"local": WorkerFacts(CPU_COUNT, MEMORY_LIMIT)}
    try:
        client = distributed.default_client()
    except ValueError:
        return found
    if client.asynchronous or client.status != "running":
        return found
    try:
        return {**facts_of_info(client.scheduler_info(n_workers=-1)["workers"]), **found}
    except (OSError, TimeoutError):  # the cluster went while it was asked
        return found


__all__ = ["WorkerFacts", "facts_of_info", "known_workers"]
