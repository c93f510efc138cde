"""Rounds as direct calls: each worker is an actor whose state is the bundles it holds.

A message to the worker names bundles, a reduction and its parameters; the answer is their parts. No task
is made, so nothing waits for the scheduler's and the workers' task machinery: 3 to 4 ms a round instead of
14.

Dask's own actors would do the same and were not taken: a worker that holds one cannot be retired
(distributed 2026.8 gives its retirement up, and then loses everything that it held), and the actor's
references keep data in memory that Dask believes to have spilled. Here the bundles stay ordinary futures.
When they move, the call finds them absent; when their worker is lost, Dask computes them again; in both
cases the driver asks again for those bundles only.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Coroutine
from concurrent.futures import wait
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

import distributed
from distributed.protocol import pickle

from daskml_kit.exceptions import ClusterError, InvalidParameterError
from daskml_kit.runtime import graph, leading
from daskml_kit.runtime.block import Bundle
from daskml_kit.runtime.cluster import cluster_errors, or_released, workers_of
from daskml_kit.runtime.dataset import BlockDataset
from daskml_kit.runtime.events import FitLog, RoundEvent
from daskml_kit.runtime.executor import (
    Params,
    Result,
    State,
    Steps,
    Total,
    emit_round,
    for_a_while,
    one_round,
)
from daskml_kit.runtime.placement import reassign
from daskml_kit.runtime.reduction import FAN_IN, Reduction
from daskml_kit.runtime.remote import RESIDENT_MEMORY_SHARE, GraphExecutor
from daskml_kit.runtime.serving import Errand, Raised, serve_round

LONG_ROUND_SECONDS = 1.0
"""From this much compute in a round on, messages don't matter, and tasks that Dask's dashboard shows do."""

LARGE_ROUND_BYTES = 1 << 24
"""What direct calls send passes through the scheduler: above this, the merge tree of a graph is better."""

_LOOK_SECONDS = (
    0.5  # how often a call that has no answer yet looks whether its workers are still there
)
_ATTEMPTS = 5  # calls in a row that brought no part at all
_BROKEN_BATCHES = 3  # in a row, after which a fit has no more rounds led by a worker

_apart: WeakKeyDictionary[distributed.Client, frozenset[str]] = WeakKeyDictionary()
"""Workers that waited for each other in vain in an earlier fit: none of them leads, until others come."""

_following: WeakKeyDictionary[distributed.Client, set[str]] = WeakKeyDictionary()
"""Workers that are ready for a leader's requests."""


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
        self._short = False  # the last round
        self._following = _following.setdefault(client, set())
        self._portable = True  # whether what a batch begins with is small enough to be sent
        self._broken = (
            _BROKEN_BATCHES if _apart.get(client) == frozenset(self.workers) else 0
        )  # in a row
        self._lost = 0.0  # seconds, in broken batches

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

    def lead(self, data: BlockDataset, steps: Steps[State], state: State) -> State:
        """On one of the workers as long as rounds are short, here until one is."""
        if self._leadable(data):
            with cluster_errors(self.client):
                self._adapt(data)
                errands = self._errands(data, set(range(len(data.bundles))))
            payload = pickle.dumps((steps, data.facts, state))
            if len(payload) > LARGE_ROUND_BYTES:
                self._portable = False  # nor will it be later: not to be pickled again in vain
                return steps(self, data, state, for_a_while())
            led = self._led(data, errands, payload)
            if led is not None:
                if led.error is not None:
                    raise led.error
                done: State = led.state
                return done
        in_time = for_a_while()
        return steps(self, data, state, lambda: in_time() and not self._leadable(data))

    def _leadable(self, data: BlockDataset) -> bool:
        can_be_led = self._portable and self._broken < _BROKEN_BATCHES
        return self._short and can_be_led and self._fits(data)

    def _led(
        self, data: BlockDataset, errands: dict[str, Errand], payload: bytes
    ) -> leading.Led | None:
        """A batch of rounds on a worker; None if it has not happened."""
        if sum(len(errand.bundles) for errand in errands.values()) < len(data.bundles):
            return None
        leader = sorted(errands)[int(self.log.id, 16) % len(errands)]  # another one for each fit
        started = time.time()
        with cluster_errors(self.client):
            answer = self._await(self._entrust(leader, errands, payload), errands)
        if not isinstance(answer, bytes):
            self._give_up(time.time() - started)
            return None
        led: leading.Led = pickle.loads(answer)
        self._broken, self._lost = 0, 0.0
        told = led.events(self.log, started, len(payload) + len(answer))
        for own, event in zip(led.rounds, told, strict=True):
            self._draw(data, Reduction(event.name, max, max), None)  # a picture needs the name only
            self.log.emit(event)
            self._learn(own)  # the state that travelled with the first says nothing of rounds
        if led.rounds:
            self._observe(data, len(led.rounds))
        return led

    def _give_up(self, seconds: float) -> None:
        """A batch has not happened."""
        self._following.clear()
        self._broken, self._lost = self._broken + 1, self._lost + seconds
        if self._broken == _BROKEN_BATCHES and self._lost > leading.PATIENCE_SECONDS:
            _apart[self.client] = frozenset(self.workers)

    async def _entrust(self, leader: str, errands: dict[str, Errand], payload: bytes) -> Any:
        """What the leader answers, or what went wrong."""
        new = list(errands.keys() - self._following - {leader})
        if new:
            ready: dict[str, Any] = await self.client.run(
                leading.follow, workers=new, on_error="return", asynchronous=True
            )
            if any(isinstance(said, BaseException) for said in ready.values()):
                return None
            self._following.update(new)
        answers: dict[str, Any] = await self.client.run(
            leading.lead_rounds, errands, payload,
            workers=[leader], on_error="return", asynchronous=True,
        )  # fmt: skip
        return answers[leader]

    def _directly(self, data: BlockDataset, name: str) -> bool:
        return self._fits(data) and (self._always or name not in self._better_as_graph)

    def _fits(self, data: BlockDataset) -> bool:
        found = self.overfull(data)
        if found is not None and self._always:
            address, size, limit = found
            raise InvalidParameterError(
                f"executor='actor' keeps all data in memory, but {size / 1e6:.0f} MB of them are "
                f"on worker {address}, more than {RESIDENT_MEMORY_SHARE:.0%} of its "
                f"{limit / 1e6:.0f} MB. Add workers, or use executor='graph' or 'auto': they stream."
            )
        return found is None

    def _learn(self, event: RoundEvent) -> None:
        compute = max(event.busy_seconds.values(), default=0.0)
        large = event.bytes_moved > LARGE_ROUND_BYTES
        self._short = compute < leading.SHORT_ROUND_SECONDS and not large
        if compute > LONG_ROUND_SECONDS or large:
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
        answers = self.ask(serve_round, errands, payload, workers=errands) or {}
        parts: dict[int, graph.Stamped] = {}
        for said in answers.values():
            if isinstance(said, Raised):
                raise said.error
            if not isinstance(said, BaseException):
                parts |= dict(said)
        return parts

    def ask(
        self, fn: Callable[..., Any], *args: Any, workers: Collection[str]
    ) -> dict[str, Any] | None:
        """What each worker says that runs a coroutine function, or what went wrong on the way there or back.

        None if one of them is lost meanwhile.
        """
        return self._await(self._knock(fn, args, workers), workers)

    def tell(self, fn: Callable[..., Any], *args: Any, workers: Collection[str]) -> None:
        """The same for nobody to wait for: whether it arrives is not known."""
        if self.client.status == "running":
            loop: Any = self.client.loop
            asyncio.run_coroutine_threadsafe(self._knock(fn, args, workers), loop.asyncio_loop)

    def _await(self, call: Coroutine[Any, Any, Result], workers: Collection[str]) -> Result | None:
        """What the workers answer; None if one of them is lost meanwhile."""
        # On the client's own event loop: a thread that called client.run would cost a round 0.7 ms more of
        # this process's time, which is also the scheduler's where the cluster is local.
        loop: Any = self.client.loop
        future = asyncio.run_coroutine_threadsafe(call, loop.asyncio_loop)
        try:
            while not wait([future], _LOOK_SECONDS).done:
                if self.client.status != "running":
                    raise ClusterError(
                        "The client was closed while the fit ran. Start it again and fit again."
                    )
                if not workers_of(self.client).keys() >= set(workers):
                    # A worker that was gone before it was asked: the scheduler goes on knocking at its
                    # door for half a minute. Leave it to that, and ask again.
                    return None
            return future.result()
        finally:
            future.cancel()

    async def _knock(
        self, fn: Callable[..., Any], args: tuple[Any, ...], workers: Collection[str]
    ) -> dict[str, Any]:
        answers: dict[str, Any] = await self.client.run(
            fn, *args, workers=list(workers), on_error="return", asynchronous=True
        )
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
        with or_released(futures), cluster_errors(self.client):
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
