"""Parts that lie in workers' memory, checked where they are: one direct call in place of two tasks a part.

A lazy part is loaded by a task, and its facts come to the driver through another. Where all of a part is
in the memory of one worker already, as after ``persist``, both are spared::

    driver                         worker
    keys, spec ----------------->  load(part) for each part; the checked blocks wait here
               <-----------------  facts
    graph of bundles ----------->  bundle = assemble(blocks)

The bundles are ordinary futures that depend on the parts themselves. Where a bundle's task finds no checked
block (its worker was lost and it is computed again elsewhere), it loads the part again.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
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

Keys: TypeAlias = "tuple[Any, ...]"  # of the X, y and weights of a part; None where there are none


@dataclass(frozen=True)
class Visit:
    """What one worker is asked to check."""

    token: str
    spec: Spec
    parts: tuple[tuple[int, Keys], ...]  # each with its position
    threads: int
    most_bytes: float  # that the checked blocks may take


@dataclass(eq=False)
class Waiting:
    """Checked blocks of this process, by fit and position, until each has been taken as often as planned."""

    blocks: dict[str, dict[int, Loaded]] = field(default_factory=dict)
    taken: Counter[tuple[str, int]] = field(default_factory=Counter)
    turn: threading.Lock = field(default_factory=threading.Lock)

    def keep(self, token: str, loaded: Loaded) -> None:
        """Until it is taken, or forgotten."""
        with self.turn:
            self.blocks.setdefault(token, {})[loaded.facts.index] = loaded

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
        """All that is left of a fit."""
        with self.turn:
            for index in self.blocks.pop(token, {}):
                del self.taken[token, index]


waiting = Waiting()


# ---------------------------------------------------------------- on a worker


async def visit(visits: Mapping[str, Visit], dask_worker: Any = None) -> list[BlockFacts] | None:
    """The facts of this worker's parts; None unless all of them are in its memory and leave room there."""
    keep_log_short(visit.__name__)
    asked = visits[graph.called(dask_worker.address)]
    parts = _present(dask_worker, asked)
    if parts is None:
        return None
    loop = asyncio.get_running_loop()
    loop.call_later(FORGET_SECONDS, waiting.forget, asked.token)
    run = partial(_check, asked.token, asked.spec)
    deal = [parts[j :: asked.threads] for j in range(min(asked.threads, len(parts)))]
    done = await asyncio.gather(*(loop.run_in_executor(lanes(), run, own) for own in deal))
    return [facts for own in done for facts in own]


async def _forget(token: str) -> None:
    keep_log_short(_forget.__name__)
    waiting.forget(token)


def _present(worker: Any, asked: Visit) -> list[tuple[int, list[Any]]] | None:
    memory = getattr(worker.data, "memory", worker.data)  # what was spilled is no part of it
    found: list[tuple[int, list[Any]]] = []
    size = 0
    for index, keys in asked.parts:
        if any(key is not None and key not in memory for key in keys):
            return None
        parts = [None if key is None else memory[key] for key in keys]
        size += _checked_bytes(parts[0], asked.spec)
        found.append((index, parts))
    return None if size > asked.most_bytes else found


def _checked_bytes(X: Any, spec: Spec) -> int:
    """About what the block of a part takes, as a copy."""
    shape = getattr(X, "shape", ())
    dense = int(np.prod(shape)) * np.dtype(spec.dtype).itemsize
    return sizeof(X) if hasattr(X, "nnz") or len(shape) != 2 else dense


def _check(token: str, spec: Spec, parts: Sequence[tuple[int, Sequence[Any]]]) -> list[BlockFacts]:
    out = []
    for index, part in parts:
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
        most = RESIDENT_MEMORY_SHARE * (worker.memory_limit or np.inf)
        visits[address] = Visit(token, spec, own, worker.n_threads, most)
    said = executor.ask(visit, visits, workers=visits)
    if said is None or not all(isinstance(own, list) for own in said.values()):
        forget(executor, token, visits)
        return None
    facts = [fact for own in said.values() for fact in own]
    return token, sorted(facts, key=lambda fact: fact.index)


def forget(executor: ActorExecutor, token: str, workers: Collection[str]) -> None:
    """Let go of the checked blocks that no bundle will be made of."""
    with suppress(ClusterError):  # nothing is left there
        executor.ask(_forget, token, workers=workers)


def assembly(token: str, spec: Spec, groups: Sequence[Sequence[Piece]], times: int = 1) -> Assembly:
    """What makes the bundles of such parts, each so many times."""
    uses = Counter(piece.block for group in groups for piece in group)
    return Assembly(token, spec, {block: times * n for block, n in uses.items()})


__all__ = ["assembly", "forget", "visit", "visited"]
