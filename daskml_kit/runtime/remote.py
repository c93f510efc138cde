"""Rounds as task graphs on a cluster."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import distributed
from dask.sizeof import sizeof

from daskml_kit.exceptions import ClusterError, DataLostError
from daskml_kit.runtime import graph
from daskml_kit.runtime.block import Bundle
from daskml_kit.runtime.cluster import Publisher, require_package, workers_of
from daskml_kit.runtime.dataset import BlockDataset
from daskml_kit.runtime.events import FitLog, TaskEvent
from daskml_kit.runtime.executor import Params, State, Total, emit_round
from daskml_kit.runtime.placement import reassign
from daskml_kit.runtime.reduction import Reduction


def _secede() -> bool:
    """Inside of a task: give up the worker's thread while waiting for tasks that may need it."""
    try:
        distributed.get_worker()
    except ValueError:
        return False
    distributed.secede()
    return True


class GraphExecutor:
    """Each round one custom task graph, submitted at once. Dask recomputes what a lost worker held."""

    def __init__(self, client: distributed.Client, log: FitLog) -> None:
        self.client = client
        self.log = log
        self._seceded = _secede()
        self.workers = require_package(client, workers_of(client))
        self._publisher = Publisher(client)
        log.listeners.append(self._publisher)

    def sites(self, data: BlockDataset) -> list[graph.Site]:
        """Where the bundles are, and how many run side by side there."""
        count: dict[str, int] = {}
        for bundle in data.bundles:
            count[bundle.worker] = count.get(bundle.worker, 0) + 1
        return [
            graph.Site(b.handle, b.worker, self._threads(b.worker, count)) for b in data.bundles
        ]

    def _threads(self, worker: str, count: dict[str, int]) -> int:
        known = self.workers.get(worker)
        return min(known.n_threads if known else 1, count[worker])

    def reduce(
        self,
        data: BlockDataset,
        reduction: Reduction[Params, Any, Total],
        params: Params,
        *,
        objective: Callable[[Total], float] | None = None,
    ) -> Total:
        """One round as one graph."""
        started, begun = time.time(), time.perf_counter()
        plan = graph.round_plan(self.sites(data), reduction, params)
        self.log.draw(
            reduction.name, lambda: plan.drawing(f"one round: {reduction.name}", reduction.name)
        )
        stamped: list[graph.Stamped] = self._gather(plan)
        total: Total = reduction.finalize(reduction.merge([s.part for s in stamped]))
        events = [e for s in stamped for e in s.events]
        emit_round(
            self.log,
            reduction.name,
            started,
            time.perf_counter() - begun,
            sum(s.part_bytes for s in stamped) + plan.params_bytes,
            events,
            None if objective is None else objective(total),
        )
        self._follow(data, events)
        return total

    def iterate(
        self,
        data: BlockDataset,
        reduction: Reduction[Params, Any, Total],
        state: State,
        *,
        point: Callable[[State], Params],
        update: Callable[[State, Total], State],
        n_rounds: int,
        objective: Callable[[State], float] | None = None,
    ) -> list[State]:
        """All rounds in one graph: the state never comes back to the driver in between.

        Each round is reported with an equal share of the graph's seconds.
        """
        started, begun = time.time(), time.perf_counter()
        plan = graph.unrolled_plan(self.sites(data), reduction, state, point, update, n_rounds)
        title = f"{n_rounds} rounds: {reduction.name}"
        self.log.draw(title, lambda: plan.drawing(title, reduction.name))
        advanced: list[graph.Advanced] = self._gather(plan)
        seconds = (time.perf_counter() - begun) / n_rounds
        for t, step in enumerate(advanced):
            value = None if objective is None else objective(step.state)
            moved = step.part_bytes + sizeof(step.state) * len(data.bundles)
            emit_round(
                self.log, reduction.name, started + t * seconds, seconds, moved, step.events, value
            )
        self._follow(data, advanced[-1].events)
        return [step.state for step in advanced]

    def map(
        self, data: BlockDataset, fn: Callable[[Bundle, Params], Bundle], params: Params
    ) -> BlockDataset:
        """``fn`` of every bundle where it lives."""
        futures = graph.map_plan(self.sites(data), fn, params).submit(self.client)
        distributed.wait(futures)
        return data.replaced(futures)

    def _gather(self, plan: graph.Plan) -> Any:
        futures = plan.submit(self.client)
        try:
            with self._cluster_errors():
                return self.client.gather(futures)
        finally:
            for future in futures:
                future.release()

    @contextmanager
    def _cluster_errors(self) -> Iterator[None]:
        """Dask's words for what was lost, in ours."""
        try:
            yield
        except (CancelledError, distributed.client.FutureCancelledError) as error:
            if self.client.status != "running" or not self.client.scheduler_info()["workers"]:
                raise ClusterError(
                    "The cluster was closed, or lost all its workers, while the fit ran. Start it again and "
                    f"fit again. Dask said: {error}"
                ) from error
            raise DataLostError(
                "Blocks were lost with their worker and cannot be computed again: the data were put there "
                "with client.scatter, which keeps no recipe. Build them with dask.array or "
                f"dask.dataframe (from_array, read_parquet, ...) instead. Dask said: {error}"
            ) from error

    def _follow(self, data: BlockDataset, events: Sequence[TaskEvent]) -> None:
        """After a worker was lost: give its bundles a new home, evenly."""
        strays = {e.bundle for e in events if e.worker != data.bundles[e.bundle].worker}
        if not strays:
            return
        self.workers = workers_of(self.client)
        homes = reassign(
            [b.worker for b in data.bundles], [b.n_rows for b in data.bundles], self.workers
        )
        data.bundles = [replace(b, worker=h) for b, h in zip(data.bundles, homes, strict=True)]

    def close(self) -> None:
        """Send the last events."""
        self._publisher.flush()
        if self._seceded:
            distributed.rejoin()


__all__ = ["GraphExecutor"]
