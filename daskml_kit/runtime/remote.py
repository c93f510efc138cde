"""Rounds as task graphs on a cluster."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

import dask.config
import distributed
from dask.sizeof import sizeof
from dask.utils import parse_bytes

from daskml_kit.exceptions import ClusterError
from daskml_kit.runtime import graph, moves
from daskml_kit.runtime.balance import MOVE_SECONDS, Balancer
from daskml_kit.runtime.block import Bundle
from daskml_kit.runtime.cluster import (
    Publisher,
    cluster_errors,
    or_released,
    require_package,
    workers_of,
)
from daskml_kit.runtime.config import setting
from daskml_kit.runtime.dataset import BlockDataset, BundleRef
from daskml_kit.runtime.duplicates import first_answers
from daskml_kit.runtime.events import FitLog, RoundEvent, TaskEvent
from daskml_kit.runtime.executor import (
    Item,
    Params,
    Piece,
    Result,
    Shared,
    State,
    Steps,
    Total,
    emit_round,
    for_a_while,
)
from daskml_kit.runtime.placement import TOLERATED_IMBALANCE, reassign
from daskml_kit.runtime.reduction import Reduction

_LOOK_SECONDS = 1.0  # how often a fit looks for new workers

_bandwidths: WeakKeyDictionary[distributed.Client, float] = WeakKeyDictionary()
"""Bytes a second between the workers of a cluster, as the moves of earlier fits found them."""

RESIDENT_MEMORY_SHARE = 0.3
"""Share of a worker's memory limit up to which its bundles stay in memory. Dask begins to spill at 60 %."""


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
        self.balance = setting("balance")
        bandwidth = parse_bytes(dask.config.get("distributed.scheduler.bandwidth"))
        self._balancer = Balancer(_bandwidths.get(client, bandwidth))
        self._observed: BlockDataset | None = None  # whose rounds the balancer has seen
        self._looked = time.monotonic()
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
        self._adapt(data)
        started, begun = time.time(), time.perf_counter()
        plan = graph.round_plan(self.sites(data), reduction, params)
        self.log.draw(
            reduction.name, lambda: plan.drawing(f"one round: {reduction.name}", reduction.name)
        )
        stamped = self._run_round(data, reduction, params, plan)
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
        self._observe(data, 1)
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
        self._adapt(data)
        started, begun = time.time(), time.perf_counter()
        plan = graph.unrolled_plan(self.sites(data), reduction, state, point, update, n_rounds)
        title = f"{n_rounds} rounds: {reduction.name}"
        self.log.draw(title, lambda: plan.drawing(title, reduction.name))
        advanced: list[graph.Advanced] = self._gather(plan)
        seconds = (time.perf_counter() - begun) / n_rounds
        for t, step in enumerate(advanced):
            value = None if objective is None else objective(step.state)
            # Every worker but the one that made it fetches the state, and so does the driver.
            copies = len({event.worker for event in step.events})
            moved = step.fetched + sizeof(step.state) * copies
            emit_round(
                self.log, reduction.name, started + t * seconds, seconds, moved, step.events, value
            )
        self._follow(data, advanced[-1].events)
        self._observe(data, n_rounds)
        return [step.state for step in advanced]

    def _run_round(
        self, data: BlockDataset, reduction: Reduction[Any, Any, Any], params: Any, plan: graph.Plan
    ) -> list[graph.Stamped]:
        """The parts of a round; what holds a long one up is run a second time where there is room."""
        if len(plan.outputs) < len(data.bundles):  # merged on the way: the parts are not seen apart
            return list(self._gather(plan))
        begun = time.monotonic()
        started_again: dict[int, str] = {}

        def again(i: int, done: set[int]) -> distributed.Future[Any] | None:
            bundle = data.bundles[i]
            idle = {data.bundles[j].worker for j in done} - {
                b.worker for j, b in enumerate(data.bundles) if j not in done
            }
            idle -= set(started_again.values())
            waited = time.monotonic() - begun
            if not idle or bundle.nbytes / self._balancer.bandwidth > waited:
                return None
            started_again[i] = min(idle)
            site = graph.Site(bundle.handle, started_again[i])
            copy = graph.again_plan(i, site, reduction, params).submit(self.client)[0]
            copies.append(copy)
            return copy

        futures = plan.submit(self.client)
        copies: list[distributed.Future[Any]] = []
        try:
            with cluster_errors(self.client):
                stamped: list[graph.Stamped] = self.client.gather(first_answers(futures, again))
        finally:
            for future in futures + copies:
                future.release()
        for i, worker in started_again.items():
            if stamped[i].events[0].worker == worker:  # it has a copy of the bundle by now
                data.bundles[i] = replace(data.bundles[i], worker=worker)
        return stamped

    def lead(self, data: BlockDataset, steps: Steps[State], state: State) -> State:
        """The steps here: messages are a small part of rounds that are graphs."""
        return steps(self, data, state, for_a_while())

    def map(
        self, data: BlockDataset, fn: Callable[[Bundle, Params], Bundle], params: Params
    ) -> BlockDataset:
        """``fn`` of every bundle where it lives."""
        futures = graph.map_plan(self.sites(data), fn, params).submit(self.client)
        with or_released(futures), cluster_errors(self.client):
            distributed.wait(futures)
        return data.replaced(futures)

    def replicate(self, data: BlockDataset) -> BlockDataset:
        """All rows on each thread of each worker."""
        started, begun = time.time(), time.perf_counter()
        lanes = [w.address for w in self.workers.values() for _ in range(w.n_threads)]
        futures = graph.copies_plan(self.sites(data), lanes).submit(self.client)
        with or_released(futures), cluster_errors(self.client):
            distributed.wait(futures)
        nbytes = sum(b.nbytes for b in data.bundles)
        self.log.emit(
            RoundEvent(
                self.log.name, len(self.log.rounds), "replicate", started,
                time.perf_counter() - begun, nbytes * len(self.workers), 1, (), id=self.log.id,
            )
        )  # fmt: skip
        refs = [
            BundleRef(future, lane, data.facts.n_rows, nbytes, 1)
            for future, lane in zip(futures, lanes, strict=True)
        ]
        return BlockDataset(refs, data.facts, fixed=True)

    def fan(
        self,
        data: BlockDataset,
        name: str,
        prepare: Callable[[Sequence[Bundle]], Shared],
        fn: Callable[[Shared, Item], Result],
        items: Sequence[Item],
    ) -> list[Result]:
        """The items on all threads of all workers, as one graph."""
        started, begun = time.time(), time.perf_counter()
        nbytes = sum(b.nbytes for b in data.bundles)
        plan = graph.fan_plan(
            self.sites(data),
            name,
            prepare,
            fn,
            items,
            (data.facts.n_rows, nbytes),
            [(w.address, w.n_threads) for w in self.workers.values()],
        )
        self.log.draw(name, lambda: plan.drawing(name, name))
        return self._fanned(plan, name, started, begun, nbytes)

    def exchange(
        self,
        data: BlockDataset,
        name: str,
        cut: Callable[[Bundle, Params], list[Piece]],
        fn: Callable[[Sequence[Piece], Item], Result],
        params: Params,
        items: Sequence[Item],
    ) -> list[Result]:
        """The items on all threads of all workers, as one graph."""
        started, begun = time.time(), time.perf_counter()
        lanes = [(w.address, w.n_threads) for w in self.workers.values()]
        plan = graph.exchange_plan(self.sites(data), name, cut, fn, params, items, lanes)
        self.log.draw(name, lambda: plan.drawing(name, name))
        return self._fanned(plan, name, started, begun, 0)

    def lanes(self) -> int:
        """One a thread of a worker."""
        return max(1, sum(w.n_threads for w in self.workers.values()))

    def overfull(self, data: BlockDataset) -> tuple[str, int, int] | None:
        """A worker with more bytes of bundles than may stay in memory, these bytes, and its memory."""
        held: dict[str, int] = {}
        for bundle in data.bundles:
            held[bundle.worker] = held.get(bundle.worker, 0) + bundle.nbytes
        for address, size in held.items():
            worker = self.workers.get(address)
            limit = worker.memory_limit if worker is not None else None
            if limit and size > RESIDENT_MEMORY_SHARE * limit:
                return address, size, limit
        return None

    def _fanned(
        self, plan: graph.Plan, name: str, started: float, begun: float, copied: int
    ) -> list[Any]:
        """What the items of a plan gave. ``copied``: bytes that each worker with an item has fetched."""
        stamped: list[graph.Stamped] = self._gather(plan)
        events = [e for s in stamped for e in s.events]
        emit_round(
            self.log,
            name,
            started,
            time.perf_counter() - begun,
            sum(s.part_bytes for s in stamped)
            + plan.params_bytes
            + copied * len({e.worker for e in events}),
            events,
            None,
        )
        return [s.part for s in stamped]

    def _gather(self, plan: graph.Plan) -> Any:
        futures = plan.submit(self.client)
        try:
            with cluster_errors(self.client):
                return self.client.gather(futures)
        finally:
            for future in futures:
                future.release()

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

    def settle(self, data: BlockDataset) -> None:
        """After loading. "even": as many rows on every thread. "adaptive": loading was a round, too.

        So where the rows of a fit lie on one worker, what loading them there lost may already pay for a move
        before the first round.
        """
        if self.balance == "adaptive":
            self._observe(data, 1)
        if self.balance != "even" or data.fixed:
            return
        threads = {a: float(w.n_threads) for a, w in self.workers.items()}
        rows = moves.rows_by_home(data, self.workers)
        most = max(n / threads[w] for w, n in rows.items())
        if most > TOLERATED_IMBALANCE * data.facts.n_rows / sum(threads.values()):
            self._move(data, moves.targets(self.client, self.workers, data, threads))

    def _observe(self, data: BlockDataset, n_rounds: int) -> None:
        """After some rounds: remember what each worker did a second, and what uneven work has cost."""
        if data.fixed:
            return
        if self._observed is not data:
            self._observed, self._balancer.lost = data, 0.0
        for event in self.log.rounds[-n_rounds:]:
            self._balancer.observe(event, self.workers)

    def _adapt(self, data: BlockDataset) -> None:
        """Before a round: move rows if by now that would have been worth it.

        Not after one: the last round of a fit has none to come.
        """
        if self.balance != "adaptive" or data.fixed or self._observed is not data:
            return
        with cluster_errors(self.client):
            if time.monotonic() - self._looked > _LOOK_SECONDS:
                self._welcome()
            if self._balancer.lost <= MOVE_SECONDS:
                return
            rows = moves.rows_by_home(data, self.workers)
            if not rows.keys() <= self.workers.keys():
                return  # a worker was lost a moment ago: this round gives its bundles new homes
            name = next(e.name for e in reversed(self.log.rounds) if self._balancer.knows(e.name))
            speeds = self._balancer.speeds(name, self.workers)
            targets = moves.targets(self.client, self.workers, data, speeds)
            row_bytes = data.facts.nbytes / max(data.facts.n_rows, 1)
            if self._balancer.pays(rows, targets, speeds, row_bytes):
                self._move(data, targets)

    def _move(self, data: BlockDataset, targets: Mapping[str, int]) -> None:
        started, begun = time.time(), time.perf_counter()
        travelled = moves.move(self.client, self.workers, data, self.sites(data), targets)
        seconds = time.perf_counter() - begun
        self._balancer.has_moved(travelled, seconds)
        _bandwidths[self.client] = self._balancer.bandwidth
        name, number = self.log.name, len(self.log.rounds)
        self.log.emit(RoundEvent(name, number, "balance", started, seconds, travelled, 0, ()))

    def _welcome(self) -> None:
        """Workers that came since the fit began may get rows too, if they have the package."""
        self._looked = time.monotonic()
        now = workers_of(self.client)
        new = {a: w for a, w in now.items() if a not in self.workers}
        try:
            able = require_package(self.client, new) if new else {}
        except ClusterError as error:
            warnings.warn(
                f"New workers get no rows of this fit. {error}", UserWarning, stacklevel=2
            )
            able = {}
        self.workers = {a: w for a, w in now.items() if a in self.workers or a in able}

    def close(self) -> None:
        """Send the last events."""
        self._publisher.flush()
        if self._seceded:
            distributed.rejoin()


__all__ = ["GraphExecutor"]
