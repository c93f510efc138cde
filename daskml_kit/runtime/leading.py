"""Rounds led by a worker: the loop over short rounds moves to the data for a quarter of a second.

A round that the driver asks for goes through the client and the scheduler to the workers and back. Where a
pass takes less than that, one worker, the leader, runs the loop and asks the others itself::

    driver                      leader                              another worker
    steps, state ------------>  steps(...), in a thread of its own
                                  reduce --- reduction, params --->  its parts of the round,
                                    |  its own parts meanwhile       in a thread that waits for it
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
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, NoReturn, Protocol, TypeVar, cast

from distributed.protocol import pickle

from daskml_kit.runtime import graph, lines, serving
from daskml_kit.runtime.dataset import BlockDataset
from daskml_kit.runtime.events import FitLog, Minutes, RoundEvent
from daskml_kit.runtime.executor import (
    Executor,
    Params,
    Total,
    emit_round,
    for_a_while,
)
from daskml_kit.runtime.lines import Line, Offer
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.runtime.serving import Errand, Here, Parts, Raised

SHORT_ROUND_SECONDS = 0.05
"""Rounds with less compute than this are led by a worker: ten times what messages through the driver take."""

PATIENCE_SECONDS = 30.0
"""How long a leader waits for another worker: the time that a kernel may take to be compiled there."""

LARGE_ANSWER_BYTES = 1 << 16
"""Above this an answer is pickled in a thread: to hand it over takes as long as to copy so many."""

WALL_SECONDS = 600.0
"""How long a leader believes that only Dask's own port of another worker can be reached."""

FOLLOWER = "daskml-follower"
"""Name of the threads that answer a leader."""

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

    async def daskml_line(errand: bytes) -> bytes | None:
        """Rounds of one errand in a thread, while its caller wants some; None where bundles are elsewhere."""
        asked: Errand = pickle.loads(errand)
        bundles = serving.present(dask_worker, asked)
        if len(bundles) < len(asked.bundles):
            return None
        # Held for the batch: a bundle that moves meanwhile is the same value still.
        serve = functools.partial(_rounds, asked, graph.called(dask_worker.address), bundles)
        offer: bytes = pickle.dumps(lines.open_door(dask_worker, serve, FOLLOWER))
        return offer

    async def daskml_round(errand: bytes, payload: bytes) -> bytes:
        said = await serving.serve(dask_worker, pickle.loads(errand), payload)
        answer: bytes
        if serving.parts_bytes(said) > LARGE_ANSWER_BYTES:  # the worker has more to do meanwhile
            loop = asyncio.get_running_loop()
            answer = await loop.run_in_executor(serving.lanes(), pickle.dumps, said)
        else:
            answer = pickle.dumps(said)
        return answer

    for handler in (daskml_line, daskml_round):
        dask_worker.handlers[handler.__name__] = handler


def _rounds(errand: Errand, address: str, bundles: Here, line: Line) -> None:
    while True:
        payload = line.receive(PATIENCE_SECONDS)
        said = serving.attempt_pickled(payload, errand, address, bundles)
        line.send(pickle.dumps(said), PATIENCE_SECONDS)


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


class Follower(Protocol):
    """Another worker, as its leader sees it. Whatever goes wrong with it is an exception."""

    def ask(self, payload: bytes) -> None:
        """For its parts of a round."""

    def answer(self, end: float) -> bytes | bytearray:
        """What it says, until then by the monotonic clock."""

    def close(self) -> None:
        """Nothing more is asked."""


class OnLine:
    """A follower in a thread at the other end of a line."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self.close = line.close

    def ask(self, payload: bytes) -> None:
        self._line.send(payload, PATIENCE_SECONDS)

    def answer(self, end: float) -> bytes | bytearray:
        return self._line.receive(end - time.monotonic())


class OnCall:
    """A follower that is asked over the connections that workers have with each other anyway."""

    def __init__(
        self, worker: Any, loop: asyncio.AbstractEventLoop, address: str, errand: bytes
    ) -> None:
        self._worker, self._loop, self._address, self._errand = worker, loop, address, errand
        self._request: Future[bytes | None] | None = None

    def ask(self, payload: bytes) -> None:
        call = self._worker.rpc(self._address).daskml_round(errand=self._errand, payload=payload)
        self._request = asyncio.run_coroutine_threadsafe(call, self._loop)

    def answer(self, end: float) -> bytes:
        assert self._request is not None
        answer = self._request.result(max(end - time.monotonic(), 0.0))
        if answer is None:
            raise RuntimeError(f"{self._address} does not follow")
        return answer

    def close(self) -> None:
        if self._request is not None:
            self._request.cancel()


_walls: dict[str, float] = {}
"""Addresses that let this process in at the workers' own ports only, and until when that is believed."""


@functools.cache
def _callers() -> ThreadPoolExecutor:
    """Threads that knock at other workers' doors, all at once: where nobody opens each takes a second."""
    return ThreadPoolExecutor(64, thread_name_prefix="daskml-caller")


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
        self._errands = {
            address: pickle.dumps(errand)
            for address, errand in errands.items()
            if address != self._address
        }
        self._others: list[Follower] = []
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
            self._others = [] if self._broken else self._called()
            me = cast(Executor, self)
            state = steps(me, self._data, state, lambda: in_time() and not self._broken)
            led = Led(state, tuple(self.log.rounds), began)
        except BaseException as raised:  # SystemExit, too: nobody else would tell the driver
            if self._broken:
                return None
            error = serving.raised(raised, self._address).error
            led = Led(None, tuple(self.log.rounds), began, error)
        finally:
            self._hang_up()
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
        self._hang_up()
        # An error that broke the batch may hold this object until Python looks for cycles.
        self._bundles, self._others, self._data = [], [], None

    def _stamped(
        self, reduction: Reduction[Any, Any, Any], params: Any
    ) -> tuple[list[graph.Stamped], int]:
        """All parts in order, and the bytes that travelled for them."""
        if self._broken:
            raise BatchBrokenError
        others = self._others
        payload = pickle.dumps((reduction, params)) if others else b""
        try:
            for other in others:
                other.ask(payload)
            own = serving.attempt(reduction, params, self._errand, self._address, self._bundles)
            end = time.monotonic() + PATIENCE_SECONDS
            # All answers are taken before an error is raised: steps may go on after it.
            answers = [own, *(pickle.loads(other.answer(end)) for other in others)]
        except Exception:  # whatever went wrong on the way: ordinary rounds find out
            self._break_off()
        parts: Parts = []
        for said in answers:
            if isinstance(said, Raised):
                raise said.error
            parts += said
        if sum(len(part.events) for _, part in parts) < self._n_bundles:
            self._break_off()
        sent = len(payload) * len(others) + sum(
            part.part_bytes for said in answers[1:] for _, part in said
        )
        return [part for _, part in serving.in_order([parts])], sent

    def _called(self) -> list[Follower]:
        """The other workers, ready for rounds: all open their doors at once, and all are called at once."""
        asked = time.monotonic()
        known = [address for address in self._errands if _walls.get(address, asked) <= asked]
        offers = dict(zip(known, self._offers(known), strict=True))
        calls = {
            address: _callers().submit(self._line, address, offer, asked)
            for address, offer in offers.items()
        }
        found = {address: call.result() for address, call in calls.items()}
        return [found.get(address) or self._on_call(address) for address in self._errands]

    def _offers(self, addresses: Sequence[str]) -> list[Offer]:
        rpc, errands = self._worker.rpc, self._errands

        async def ask() -> list[bytes | None]:
            doors = (rpc(address).daskml_line(errand=errands[address]) for address in addresses)
            return list(await asyncio.gather(*doors))

        request = asyncio.run_coroutine_threadsafe(ask(), self._loop)
        try:
            # None: bundles are elsewhere, or the worker does not follow, started anew under its old address.
            return [pickle.loads(cast(bytes, offer)) for offer in request.result(PATIENCE_SECONDS)]
        except Exception:  # whatever went wrong on the way: ordinary rounds find out
            request.cancel()
            self._break_off()

    def _line(self, address: str, offer: Offer, asked: float) -> Follower | None:
        """None where there is no way to a door of a worker that has just answered at Dask's port."""
        try:
            return OnLine(lines.call(self._worker, address, offer))
        except ConnectionRefusedError:
            walled = time.monotonic() < asked + lines.DOOR_SECONDS  # or it was closed again
        except ConnectionError:
            walled = False  # it was reached, and lost
        except OSError:
            walled = True
        if walled:
            _walls[address] = time.monotonic() + WALL_SECONDS
        return None

    def _on_call(self, address: str) -> Follower:
        return OnCall(self._worker, self._loop, address, self._errands[address])

    def _hang_up(self) -> None:
        for other in self._others:
            other.close()

    def _break_off(self) -> NoReturn:
        self._broken = True
        for address in self._errands:  # perhaps another worker has this address now
            _walls.pop(address, None)
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
