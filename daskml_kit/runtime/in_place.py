"""Parts that lie in workers' memory, checked where they are: one direct call in place of two tasks a part.

A lazy part is loaded by a task, and its facts come to the driver through another. Where all of a part is
in the memory of one worker already, as after ``persist``, both are spared::

    driver                         worker
    keys, spec ----------------->  load(part) for each part; the checked blocks wait here
               <-----------------  facts
    graph of bundles ----------->  bundle = assemble(blocks)

The bundles are ordinary futures that depend on the parts themselves. Where a bundle's task finds no checked
block (its worker was lost and it is computed again elsewhere), it loads the part again.

No block outlives its fit. What no bundle will take is forgotten at the driver's word, or a minute after the
check where the driver can't say one any more; a check that still runs then ends with the part it is at.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias
from uuid import uuid4

import numpy as np
from dask.sizeof import sizeof

from daskml_kit.exceptions import ClusterError
from daskml_kit.runtime import graph
from daskml_kit.runtime.actors import ActorExecutor
from daskml_kit.runtime.block import Bundle
from daskml_kit.runtime.ingest import BlockFacts, Labelling, Loaded, Spec, assemble, load
from daskml_kit.runtime.placement import Piece
from daskml_kit.runtime.remote import RESIDENT_MEMORY_SHARE
from daskml_kit.runtime.serving import keep_log_short, lanes

FORGET_SECONDS = 60.0
"""How long checked blocks wait for the tasks that want them: a driver that died sends none."""

FULL_MEMORY_SHARE = 0.6
"""Share of a worker's memory limit that its process may take with checked blocks: Dask spills from there."""

REMEMBERED = 10_000
"""So many forgotten fits are known to be: checks of older ones have ended long ago."""

Keys: TypeAlias = "tuple[Any, ...]"  # of the X, y and weights of a part; None where there are none

Parts: TypeAlias = "list[tuple[int, list[Any]]]"  # the same in memory, each with its position


@dataclass(frozen=True)
class Visit:
    """What one worker is asked to check."""

    token: str
    spec: Spec
    parts: tuple[tuple[int, Keys], ...]  # each with its position
    threads: int
    most_bytes: float  # that the checked blocks may take
    full_bytes: float  # and the process with them


@dataclass(eq=False)
class Waiting:
    """Checked blocks of this process, by fit and position, until each has been taken as often as planned."""

    blocks: dict[str, dict[int, Loaded]] = field(default_factory=dict)
    taken: Counter[tuple[str, int]] = field(default_factory=Counter)
    forgotten: dict[str, None] = field(default_factory=dict)  # in their order
    coming: int = 0  # bytes that checks have yet to load, or may have loaded by now
    turn: threading.Lock = field(default_factory=threading.Lock)

    def keep(self, token: str, loaded: Loaded) -> bool:
        """Until it is taken, or forgotten; False if that is so already."""
        with self.turn:
            wanted = token not in self.forgotten
            if wanted:
                self.blocks.setdefault(token, {})[loaded.facts.index] = loaded
            return wanted

    def wants(self, token: str) -> bool:
        """Whether blocks of this fit would be kept."""
        return token not in self.forgotten

    @contextmanager
    def room(self, size: int, bounds: float) -> Iterator[bool]:
        """Whether so much more stays within the bounds, beside what other checks load meanwhile."""
        with self.turn:
            fits = self.coming + size <= bounds
            self.coming += size if fits else 0
        try:
            yield fits
        finally:
            with self.turn:
                self.coming -= size if fits else 0

    def take(self, token: str, index: int, times: int) -> Loaded | None:
        """A block that is taken so many times in all; None if it is not here."""
        with self.turn:
            own = self.blocks.get(token, {})
            found = own.get(index)
            if found is not None:
                self.taken[token, index] += 1
                if self.taken[token, index] >= times:
                    del own[index], self.taken[token, index]
                if not own:
                    del self.blocks[token]
            return found

    def forget(self, token: str) -> None:
        """All that is left of a fit, and all that a check still brings."""
        with self.turn:
            self.forgotten[token] = None
            if len(self.forgotten) > REMEMBERED:
                del self.forgotten[next(iter(self.forgotten))]
            for index in self.blocks.pop(token, {}):
                del self.taken[token, index]


waiting = Waiting()


# ---------------------------------------------------------------- on a worker


async def visit(visits: Mapping[str, Visit], dask_worker: Any = None) -> list[BlockFacts] | None:
    """The facts of this worker's parts; None unless all of them are in its memory and leave room there."""
    keep_log_short(visit.__name__)
    asked = visits[graph.called(dask_worker.address)]
    found = _present(dask_worker, asked)
    if found is None:
        return None
    parts, size = found
    bounds = min(asked.most_bytes, asked.full_bytes - dask_worker.monitor.get_process_memory())
    with waiting.room(size, bounds) as fits:
        return await _spread(asked, parts) if fits else None


async def _spread(asked: Visit, parts: Parts) -> list[BlockFacts] | None:
    """The check on the threads for direct calls."""
    loop = asyncio.get_running_loop()
    run = partial(_check, asked.token, asked.spec)
    deal = [parts[j :: asked.threads] for j in range(min(asked.threads, len(parts)))]
    try:
        done = await asyncio.gather(*(loop.run_in_executor(lanes(), run, own) for own in deal))
    except BaseException:
        waiting.forget(asked.token)  # the other threads may be at their parts still
        raise
    loop.call_later(FORGET_SECONDS, waiting.forget, asked.token)
    return [facts for own in done for facts in own] if waiting.wants(asked.token) else None


async def _forget(token: str) -> None:
    keep_log_short(_forget.__name__)
    waiting.forget(token)


def _present(worker: Any, asked: Visit) -> tuple[Parts, int] | None:
    """The parts, and about what their blocks take as copies; None unless all are in memory."""
    memory = getattr(worker.data, "memory", worker.data)  # what was spilled is no part of it
    found: Parts = []
    size = 0
    for index, keys in asked.parts:
        if any(key is not None and key not in memory for key in keys):
            return None
        parts = [None if key is None else memory[key] for key in keys]
        size += _checked_bytes(parts[0], asked.spec)
        found.append((index, parts))
    return found, size


def _checked_bytes(X: Any, spec: Spec) -> int:
    """About what the block of a part takes, as a copy."""
    shape = getattr(X, "shape", ())
    dense = int(np.prod(shape)) * np.dtype(spec.dtype).itemsize
    return sizeof(X) if hasattr(X, "nnz") or len(shape) != 2 else dense


def _check(token: str, spec: Spec, parts: Parts) -> list[BlockFacts]:
    """Of all parts, or of those until the fit was forgotten."""
    out = []
    for index, part in parts:
        if not waiting.wants(token):
            break
        loaded = load(index, spec, *part)
        waiting.keep(token, loaded)
        out.append(loaded.facts)
    return out


@dataclass(frozen=True)
class Assembly:
    """Makes a bundle of parts: of the checked blocks that wait for it, or else of the parts anew."""

    token: str
    spec: Spec
    times: Mapping[int, int]  # how often each part is taken in all

    def __call__(
        self, pieces: Sequence[Piece], labelling: Labelling | None, parts: Sequence[Sequence[Any]]
    ) -> Bundle:
        loaded = []
        for piece, part in zip(pieces, parts, strict=True):
            found = waiting.take(self.token, piece.block, self.times[piece.block])
            loaded.append(load(piece.block, self.spec, *part) if found is None else found)
        return assemble(pieces, labelling, loaded)


# ---------------------------------------------------------------- on the driver


def visited(
    executor: ActorExecutor, spec: Spec, parts: Sequence[Keys], homes: Sequence[str]
) -> tuple[str, list[BlockFacts]] | None:
    """The facts of all parts, checked on the worker ``homes[i]`` each, and the token of the blocks there.

    None where they are not all in memory there, or a worker was lost: tasks then find out.
    """
    token = uuid4().hex
    visits: dict[str, Visit] = {}
    for address in dict.fromkeys(homes):
        worker = executor.workers[address]
        own = tuple((i, part) for i, part in enumerate(parts) if homes[i] == address)
        limit = worker.memory_limit or np.inf
        most, full = RESIDENT_MEMORY_SHARE * limit, FULL_MEMORY_SHARE * limit
        visits[address] = Visit(token, spec, own, worker.n_threads, most, full)
    try:
        said = executor.ask(visit, visits, workers=visits)
    except BaseException:  # KeyboardInterrupt, too: the checks end, and nobody waits for that
        forget(executor, token, visits)
        raise
    if said is None or not all(isinstance(own, list) for own in said.values()):
        with suppress(ClusterError):  # nothing is left there
            executor.ask(_forget, token, workers=visits)  # first, or the same would be there twice
        return None
    facts = [fact for own in said.values() for fact in own]
    return token, sorted(facts, key=lambda fact: fact.index)


def forget(executor: ActorExecutor, token: str, workers: Collection[str]) -> None:
    """Have workers let go of the checked blocks that no bundle will be made of. Nobody waits for it."""
    waiting.forget(token)  # of workers in this process, and if the cluster closes
    executor.tell(_forget, token, workers=workers)


def assembly(token: str, spec: Spec, groups: Sequence[Sequence[Piece]], times: int = 1) -> Assembly:
    """What makes the bundles of such parts, each so many times."""
    uses = Counter(piece.block for group in groups for piece in group)
    return Assembly(token, spec, {block: times * n for block, n in uses.items()})


__all__ = ["assembly", "forget", "visit", "visited"]
