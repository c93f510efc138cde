"""Rounds led by a worker: the loop over short rounds moves to the data for a quarter of a second.

A round that the driver asks for goes through the client and the scheduler to the workers and back. Where a
pass takes less than that, one worker, the leader, runs the loop and asks the others itself::

    driver                      leader                              another worker
    steps, state ------------>  steps(...), in a thread of its own
                                  reduce --- reduction, params --->  its parts of the round,
                                    |  its own parts meanwhile       as for the driver
                                  total <-- parts ------------------
                                  ... while go_on()
    state, events <-----------

The leader does nothing about faults. A bundle that is not where it should be, a worker that does not answer,
a leader that is lost: the batch has not happened, and the driver, who still has the state from before, takes
a step by rounds of its own, which know what to do.
"""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any, NoReturn, TypeVar, cast

from distributed.protocol import pickle

from daskml_kit.runtime import graph, serving
from daskml_kit.runtime.dataset import BlockDataset
from daskml_kit.runtime.events import FitLog, Minutes, RoundEvent
from daskml_kit.runtime.executor import (
    Executor,
    Params,
    Total,
    emit_round,
    for_a_while,
)
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.runtime.serving import Errand, Parts, Raised

SHORT_ROUND_SECONDS = 0.05
"""Rounds with less compute than this are led by a worker: ten times what messages through the driver take."""

PATIENCE_SECONDS = 30.0
"""How long a leader waits for another worker: the time that a kernel may take to be compiled there."""

LARGE_ANSWER_BYTES = 1 << 16
"""Above this an answer is pickled in a thread: to hand it over takes as long as to copy so many."""

Value = TypeVar("Value")


@dataclass(frozen=True, eq=False)
class Led:
    """What a batch of led rounds came to."""

    state: Any
    rounds: tuple[RoundEvent, ...]
    began: float  # seconds since the epoch, the leader's clock
    error: BaseException | None = None  # of the reduction or of the steps

    def events(self, log: FitLog, started: float, travelled: int) -> Iterator[RoundEvent]:
        """The rounds for the log of the fit: its numbers, the driver's clock.

        ``travelled``: bytes of the state to the leader and back, which the first round carries.
        """
        for event in self.rounds:
            yield replace(
                event,
                fit=log.name,
                round=len(log.rounds),
                started=event.started + started - self.began,
                bytes_moved=event.bytes_moved + travelled,
                id=log.id,
            )
            travelled = 0


class BatchBrokenError(Exception):
    """Something went wrong between workers; never leaves the leader."""


# ---------------------------------------------------------------- on the others


def follow(dask_worker: Any) -> None:
    """Be ready for the requests of leaders."""

    async def daskml_round(errand: bytes, payload: bytes) -> bytes:
        said = await serving.serve(dask_worker, pickle.loads(errand), payload)
        answer: bytes
        if serving.parts_bytes(said) > LARGE_ANSWER_BYTES:  # the worker has more to do meanwhile
            loop = asyncio.get_running_loop()
            answer = await loop.run_in_executor(serving.lanes(), pickle.dumps, said)
        else:
            answer = pickle.dumps(said)
        return answer

    dask_worker.handlers[daskml_round.__name__] = daskml_round


# ---------------------------------------------------------------- on the leader


async def lead_rounds(
    errands: Mapping[str, Errand], payload: bytes, dask_worker: Any = None
) -> bytes | None:
    """Take steps as long as a batch lasts; a pickled :class:`Led`, or None if the batch broke."""
    serving.keep_log_short(lead_rounds.__name__)
    leader = Leader(dask_worker, asyncio.get_running_loop(), errands)
    try:
        return await asyncio.wrap_future(_in_a_thread(lambda: leader.batch(payload)))
    finally:
        leader.end()


def _in_a_thread(fn: Callable[[], Value]) -> Future[Value]:
    """In a new thread that does not keep the process alive."""
    future: Future[Value] = Future()
    future.set_running_or_notify_cancel()

    def run() -> None:
        try:
            value = fn()
        except BaseException as error:
            # Whatever it is: somebody waits, and asyncio does not take all of them.
            future.set_exception(RuntimeError(repr(error)))
        else:
            future.set_result(value)

    threading.Thread(target=run, name="daskml-leader", daemon=True).start()
    return future


class Leader:
    """The executor of steps that a worker leads: it can only reduce, and only the data set it was given."""

    def __init__(
        self, worker: Any, loop: asyncio.AbstractEventLoop, errands: Mapping[str, Errand]
    ) -> None:
        self.log = Minutes("led")
        self._worker = worker
        self._loop = loop
        self._address = graph.called(worker.address)
        self._errand = errands[self._address]
        # Held for the batch: a bundle that moves meanwhile is the same value still.
        self._bundles = serving.present(worker, self._errand)
        self._others = {
            address: pickle.dumps(errand)
            for address, errand in errands.items()
            if address != self._address
        }
        self._n_bundles = sum(len(errand.bundles) for errand in errands.values())
        self._broken = len(self._bundles) < len(self._errand.bundles)
        self._data: BlockDataset | None = None

    def batch(self, payload: bytes) -> bytes | None:
        """The whole batch, in this thread. Steps that can't be read here are none: the driver takes them."""
        began, in_time = time.time(), for_a_while()
        try:
            steps, facts, state = pickle.loads(payload)
        except Exception:
            return None
        try:
            self._data = BlockDataset([], facts)
            me = cast(Executor, self)
            state = steps(me, self._data, state, lambda: in_time() and not self._broken)
            led = Led(state, tuple(self.log.rounds), began)
        except BaseException as raised:  # SystemExit, too: nobody else would tell the driver
            if self._broken:
                return None
            error = serving.raised(raised, self._address).error
            led = Led(None, tuple(self.log.rounds), began, error)
        answer: bytes | None = None if self._broken else pickle.dumps(led)
        return answer

    def reduce(
        self,
        data: BlockDataset,
        reduction: Reduction[Params, Any, Total],
        params: Params,
        *,
        objective: Callable[[Total], float] | None = None,
    ) -> Total:
        """One round."""
        if data is not self._data:
            raise RuntimeError(
                "A worker that leads rounds has only the data set that lead was called with."
            )
        started, begun = time.time(), time.perf_counter()
        stamped, sent = self._stamped(reduction, params)
        total: Total = reduction.finalize(reduction.merge([s.part for s in stamped]))
        emit_round(
            self.log,
            reduction.name,
            started,
            time.perf_counter() - begun,
            sent,
            sorted((e for s in stamped for e in s.events), key=lambda e: e.bundle),
            None if objective is None else objective(total),
        )
        return total

    def end(self) -> None:
        """No more rounds: the worker closes, or nobody waits for them."""
        self._broken = True
        # An error that broke the batch may hold this object until Python looks for cycles.
        self._bundles, self._others, self._data = [], {}, None

    def _stamped(
        self, reduction: Reduction[Any, Any, Any], params: Any
    ) -> tuple[list[graph.Stamped], int]:
        """All parts in order, and the bytes that travelled for them."""
        if self._broken:
            raise BatchBrokenError
        requests: list[Future[bytes | None]] = []
        payload = b""
        if self._others:
            payload = pickle.dumps((reduction, params))
            requests = [self._request(address, payload) for address in self._others]
        try:
            parts = self._own(reduction, params)
            sent = len(payload) * len(requests)
            for said in self._answers(requests):
                parts += said
                sent += sum(part.part_bytes for _, part in said)
        except BaseException:
            for request in requests:
                request.cancel()
            raise
        if sum(len(part.events) for _, part in parts) < self._n_bundles:
            self._break_off()
        return [part for _, part in serving.in_order([parts])], sent

    def _request(self, address: str, payload: bytes) -> Future[bytes | None]:
        """Ask another worker, over the connections that it has with this one anyway."""
        call = self._worker.rpc(address).daskml_round(errand=self._others[address], payload=payload)
        return asyncio.run_coroutine_threadsafe(call, self._loop)

    def _own(self, reduction: Reduction[Any, Any, Any], params: Any) -> Parts:
        """This worker's parts; this thread takes its share."""
        run = functools.partial(serving.run_lane, reduction, params, self._errand, self._address)
        mine, *rest = serving.dealt(self._errand, self._bundles)
        lanes = [serving.lanes().submit(run, lane) for lane in rest]
        parts = serving.in_order([run(mine), *(lane.result() for lane in lanes)])
        return serving.merged(reduction, parts) if self._errand.merged else parts

    def _answers(self, requests: Sequence[Future[bytes | None]]) -> Iterator[Parts]:
        """What the others say. An error of the reduction is raised here as it was there."""
        end = time.monotonic() + PATIENCE_SECONDS
        for request in requests:
            try:
                answer = request.result(max(end - time.monotonic(), 0.0))
            except Exception:  # whatever went wrong on the way: ordinary rounds find out
                self._break_off()
            if answer is None:  # a worker that does not follow: started anew under its old address
                self._break_off()
            said: Parts | Raised = pickle.loads(answer)
            if isinstance(said, Raised):
                raise said.error
            yield said

    def _break_off(self) -> NoReturn:
        self._broken = True
        raise BatchBrokenError

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"A worker that leads rounds has no {name!r}: steps may reduce there, and nothing else."
        )


__all__ = [
    "PATIENCE_SECONDS",
    "SHORT_ROUND_SECONDS",
    "Leader",
    "Led",
    "follow",
    "lead_rounds",
]
