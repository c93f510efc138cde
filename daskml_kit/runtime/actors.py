"""Rounds as direct calls: each worker is an actor whose state is the bundles it holds.

A message to the worker names bundles, a reduction and its parameters; the answer is their parts. No task
is made, so nothing waits for the scheduler's and the workers' task machinery: 4 to 6 ms a round instead of
16 to 20.

Dask's own actors would do the same and were not taken: a worker that holds one cannot be retired
(distributed 2026.8 gives its retirement up, and then loses everything that it held), and the actor's
references keep data in memory that Dask believes to have spilled. Here the bundles stay ordinary futures.
When they move, the call finds them absent; when their worker is lost, Dask computes them again; in both
cases the driver asks again for those bundles only.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import distributed
from dask.system import CPU_COUNT
from distributed.protocol import pickle

from daskml_kit.exceptions import ClusterError, InvalidParameterError
from daskml_kit.runtime import graph
from daskml_kit.runtime.block import Bundle
from daskml_kit.runtime.cluster import cluster_errors, workers_of
from daskml_kit.runtime.dataset import BlockDataset
from daskml_kit.runtime.events import FitLog, RoundEvent
from daskml_kit.runtime.executor import Params, State, Total, emit_round, one_round
from daskml_kit.runtime.placement import reassign
from daskml_kit.runtime.reduction import FAN_IN, Reduction
from daskml_kit.runtime.remote import GraphExecutor

RESIDENT_MEMORY_SHARE = 0.3
"""Share of a worker's memory limit that directly called bundles may take. Dask begins to spill at 60 %."""

LONG_ROUND_SECONDS = 1.0
"""From this much compute in a round on, messages don't matter, and tasks that Dask's dashboard shows do."""

LARGE_ROUND_BYTES = 1 << 24
"""What direct calls send passes through the scheduler: above this, the merge tree of a graph is better."""

_LOOK_SECONDS = (
    0.5  # how often a call that has no answer yet looks whether its workers are still there
)
_ATTEMPTS = 5  # calls in a row that brought no part at all


# ---------------------------------------------------------------- on the worker


@dataclass(frozen=True)
class Errand:
    """What one worker is asked: which bundles, by position and key, on how many threads."""

    bundles: tuple[tuple[int, str], ...]
    threads: int
    merged: bool  # whether one part for all is enough


@dataclass(frozen=True)
class Raised:
    """The reduction itself failed: the driver raises the same."""

    error: BaseException


@functools.cache
def _lanes() -> ThreadPoolExecutor:
    """Threads of this process for direct calls, beside those of Dask's tasks."""
    return ThreadPoolExecutor(CPU_COUNT, thread_name_prefix="daskml-actor")


@functools.cache
def _keep_log_short() -> None:
    """A worker logs every function that it is asked to run, at level INFO: once is enough for this one."""
    logging.getLogger("distributed.worker").addFilter(
        lambda record: record.args != (serve_round.__name__,)
    )


async def serve_round(
    errands: Mapping[str, Errand], payload: bytes, dask_worker: Any = None
) -> list[tuple[int, graph.Stamped]] | Raised:
    """Run this worker's errand. Bundles that are not here are left out of the answer."""
    _keep_log_short()
    errand = errands[dask_worker.address]
    here = [(i, dask_worker.data[key]) for i, key in errand.bundles if key in dask_worker.data]
    run = functools.partial(_run_lane, payload, errand, dask_worker.address)
    lanes = [here[j :: errand.threads] for j in range(min(errand.threads, len(here)))]
    loop = asyncio.get_running_loop()
    try:
        done = await asyncio.gather(*(loop.run_in_executor(_lanes(), run, lane) for lane in lanes))
    except Exception as error:
        return _raised(error, dask_worker.address)
    parts = sorted((part for lane in done for part in lane), key=lambda part: part[0])
    if errand.merged and len(parts) > 1 and len(here) == len(errand.bundles):
        merge = functools.partial(_merged, payload, parts)
        try:
            return [await loop.run_in_executor(_lanes(), merge)]
        except Exception as error:
            return _raised(error, dask_worker.address)
    return parts


def _raised(error: Exception, address: str) -> Raised:
    """The error with its traceback as a note, which would not travel otherwise."""
    error.add_note(f"On worker {address}:\n{''.join(traceback.format_exception(error))}")
    try:
        pickle.loads(pickle.dumps(error))
    except Exception as why:
        return Raised(RuntimeError(f"{error!r}, which cannot be sent from {address} ({why!r})."))
    return Raised(error)


def _run_lane(
    payload: bytes, errand: Errand, address: str, bundles: Sequence[tuple[int, Bundle]]
) -> list[tuple[int, graph.Stamped]]:
    reduction, params = pickle.loads(payload)
    return [
        (i, graph.run_bundle(i, errand.threads, reduction, bundle, params, worker=address))
        for i, bundle in bundles
    ]


def _merged(
    payload: bytes, parts: Sequence[tuple[int, graph.Stamped]]
) -> tuple[int, graph.Stamped]:
    reduction, _ = pickle.loads(payload)
    return parts[0][0], graph.merge_stamped(reduction, [part for _, part in parts])


# ---------------------------------------------------------------- on the driver


def _itself(bundle: Bundle, _: None) -> Bundle:
    return bundle


class ActorExecutor(GraphExecutor):
    """Rounds as direct calls where that is possible and pays, as graphs elsewhere.

    Parameters
    ----------
    client, log : as for :class:`~daskml_kit.runtime.remote.GraphExecutor`
    always : bool
        Refuse, with an error, what cannot be called directly, instead of taking a graph.
    """

    def __init__(self, client: distributed.Client, log: FitLog, *, always: bool = False) -> None:
        super().__init__(client, log)
        self._always = always
        self._better_as_graph: set[str] = set()  # names of reductions, by their last round

    def reduce(
        self,
        data: BlockDataset,
        reduction: Reduction[Params, Any, Total],
        params: Params,
        *,
        objective: Callable[[Total], float] | None = None,
    ) -> Total:
        """One round."""
        if self._directly(data, reduction.name):
            with cluster_errors(self.client):
                total = self._call(data, reduction, params, objective)
        else:
            total = super().reduce(data, reduction, params, objective=objective)
        self._learn(self.log.rounds[-1])
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
        """One round, called directly, or all in one graph."""
        run = one_round(self) if self._directly(data, reduction.name) else super().iterate
        return run(
            data, reduction, state,
            point=point, update=update, n_rounds=n_rounds, objective=objective,
        )  # fmt: skip

    def _directly(self, data: BlockDataset, name: str) -> bool:
        held: dict[str, int] = {}
        for bundle in data.bundles:
            held[bundle.worker] = held.get(bundle.worker, 0) + bundle.nbytes
        for address, size in held.items():
            worker = self.workers.get(address)
            limit = worker.memory_limit if worker is not None else None
            if limit and size > RESIDENT_MEMORY_SHARE * limit:
                if self._always:
                    raise InvalidParameterError(
                        f"executor='actor' keeps all data in memory, but {size / 1e6:.0f} MB of them are "
                        f"on worker {address}, more than {RESIDENT_MEMORY_SHARE:.0%} of its "
                        f"{limit / 1e6:.0f} MB. Add workers, or use executor='graph' or 'auto': they stream."
                    )
                return False
        return self._always or name not in self._better_as_graph

    def _learn(self, event: RoundEvent) -> None:
        compute = max(event.busy_seconds.values(), default=0.0)
        if compute > LONG_ROUND_SECONDS or event.bytes_moved > LARGE_ROUND_BYTES:
            self._better_as_graph.add(event.name)
        else:
            self._better_as_graph.discard(event.name)

    def _call(
        self,
        data: BlockDataset,
        reduction: Reduction[Any, Any, Total],
        params: Any,
        objective: Callable[[Total], float] | None,
    ) -> Total:
        self._adapt(data)
        started, begun = time.time(), time.perf_counter()
        self._draw(data, reduction, params)
        payload = pickle.dumps((reduction, params))
        parts: dict[int, graph.Stamped] = {}
        waiting = set(range(len(data.bundles)))
        sent = attempts = 0
        while waiting:
            errands = self._errands(data, waiting)
            got = self._ask(errands, payload) if errands else {}
            sent += len(payload) * len(errands)
            parts |= got
            arrived = {event.bundle for part in got.values() for event in part.events}
            waiting -= arrived
            attempts = 0 if arrived else attempts + 1
            if attempts > _ATTEMPTS:
                raise ClusterError(
                    f"{len(waiting)} of {len(data.bundles)} bundles could not be reached on their workers in "
                    f"{_ATTEMPTS} attempts. Look into the workers' logs (client.get_worker_logs())."
                )
            if waiting:
                self._bring_back(data, waiting)
        stamped = [parts[i] for i in sorted(parts)]
        total: Total = reduction.finalize(reduction.merge([s.part for s in stamped]))
        emit_round(
            self.log,
            reduction.name,
            started,
            time.perf_counter() - begun,
            sum(s.part_bytes for s in stamped) + sent,
            sorted((e for s in stamped for e in s.events), key=lambda e: e.bundle),
            None if objective is None else objective(total),
        )
        self._observe(data, 1)
        return total

    def _draw(self, data: BlockDataset, reduction: Reduction[Any, Any, Any], params: Any) -> None:
        """The same round as a graph, to look at: its messages are the arrows."""
        self.log.draw(
            reduction.name,
            lambda: graph.round_plan(self.sites(data), reduction, params).drawing(
                f"one round: {reduction.name}", reduction.name
            ),
        )

    def _errands(self, data: BlockDataset, waiting: set[int]) -> dict[str, Errand]:
        """One message a worker. Bundles that Dask already knows to be lost are not asked for."""
        merged = len(data.bundles) > FAN_IN
        at: dict[str, list[tuple[int, str]]] = {}
        for i in sorted(waiting):
            bundle = data.bundles[i]
            if bundle.handle.status == "finished":
                at.setdefault(bundle.worker, []).append((i, bundle.handle.key))
        return {
            address: Errand(
                tuple(keys),
                min(self.workers[address].n_threads, len(keys)) if address in self.workers else 1,
                merged,
            )
            for address, keys in at.items()
        }

    def _ask(self, errands: dict[str, Errand], payload: bytes) -> dict[int, graph.Stamped]:
        """The parts that came back. None from a worker that is gone."""
        # On the client's own event loop: a thread that called client.run would cost a round 0.7 ms more of
        # this process's time, which is also the scheduler's where the cluster is local.
        loop: Any = self.client.loop
        call = asyncio.run_coroutine_threadsafe(self._knock(errands, payload), loop.asyncio_loop)
        while True:
            try:
                answers = call.result(timeout=_LOOK_SECONDS)
                break
            except TimeoutError:
                if self.client.status != "running":
                    raise ClusterError(
                        "The client was closed while the fit ran. Start it again and fit again."
                    ) from None
                if not workers_of(self.client).keys() >= errands.keys():
                    # A worker that was gone before it was asked: the scheduler goes on knocking at its
                    # door for half a minute. Leave it to that, and ask again.
                    return {}
        parts: dict[int, graph.Stamped] = {}
        for said in answers.values():
            if isinstance(said, Raised):
                raise said.error
            if not isinstance(said, BaseException):
                parts |= dict(said)
        return parts

    async def _knock(self, errands: dict[str, Errand], payload: bytes) -> dict[str, Any]:
        """The answer of each worker, or what went wrong on the way there or back."""
        answers: dict[str, Any] = await self.client.run(
            serve_round, errands, payload,
            workers=list(errands), on_error="return", asynchronous=True,
        )  # fmt: skip
        return answers

    def _bring_back(self, data: BlockDataset, missing: set[int]) -> None:
        """Find or compute again the missing bundles, spread evenly, and remember where they are."""
        self.workers = workers_of(self.client)
        homes = reassign(
            [b.worker for b in data.bundles], [b.n_rows for b in data.bundles], self.workers
        )
        order = sorted(missing)
        sites = [graph.Site(data.bundles[i].handle, homes[i]) for i in order]
        futures = graph.map_plan(sites, _itself, None).submit(self.client)
        with cluster_errors(self.client):
            distributed.wait(futures)
            for future in futures:
                if future.status != "finished":
                    future.result()
        holders = self.client.who_has(futures)
        for i, future in zip(order, futures, strict=True):
            data.bundles[i].handle.release()
            at = next(iter(holders[future.key]), homes[i])
            data.bundles[i] = replace(data.bundles[i], handle=future, worker=at)


__all__ = ["ActorExecutor"]
