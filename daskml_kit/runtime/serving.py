"""What a worker does when it is asked for its parts of a round directly, without a task.

A message names bundles, a reduction and its parameters; the answer is the parts of those bundles that are
here. Who asks is the driver (:mod:`~daskml_kit.runtime.actors`) or a worker that leads some rounds
(:mod:`~daskml_kit.runtime.leading`).
"""

from __future__ import annotations

import asyncio
import functools
import logging
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeAlias

from dask.system import CPU_COUNT
from distributed.protocol import pickle

from daskml_kit.runtime import graph
from daskml_kit.runtime.block import Bundle
from daskml_kit.runtime.reduction import Reduction

Parts: TypeAlias = "list[tuple[int, graph.Stamped]]"
"""Each part with the position of its bundle, or of the first of those that it was merged of."""

Here: TypeAlias = "list[tuple[int, Bundle]]"

_NOTE = "On worker "


@dataclass(frozen=True)
class Errand:
    """What one worker is asked: which bundles, by position and key, on how many threads."""

    bundles: tuple[tuple[int, str], ...]
    threads: int
    merged: bool  # whether one part for all is enough


@dataclass(frozen=True)
class Raised:
    """The reduction itself failed: who asked raises the same."""

    error: BaseException


@functools.cache
def lanes() -> ThreadPoolExecutor:
    """Threads of this process for direct calls, beside those of Dask's tasks."""
    return ThreadPoolExecutor(CPU_COUNT, thread_name_prefix="daskml-actor")


@functools.cache
def keep_log_short(name: str) -> None:
    """A worker logs every function that it is asked to run, at level INFO: once is enough for ours."""
    logging.getLogger("distributed.worker").addFilter(lambda record: record.args != (name,))


async def serve_round(
    errands: Mapping[str, Errand], payload: bytes, dask_worker: Any = None
) -> Parts | Raised:
    """Run this worker's errand. Bundles that are not here are left out of the answer."""
    keep_log_short(serve_round.__name__)
    return await serve(dask_worker, errands[graph.called(dask_worker.address)], payload)


async def serve(worker: Any, errand: Errand, payload: bytes) -> Parts | Raised:
    """The errand of a worker, on the threads for direct calls."""
    address, bundles = graph.called(worker.address), present(worker, errand)
    loop = asyncio.get_running_loop()
    run = functools.partial(_caught, address, _run_pickled, payload, errand, address)
    done = await asyncio.gather(
        *(loop.run_in_executor(lanes(), run, lane) for lane in dealt(errand, bundles))
    )
    found: list[Parts] = []
    for said in done:
        if isinstance(said, Raised):
            return said
        found.append(said)
    parts = in_order(found)
    if errand.merged and len(parts) > 1 and len(bundles) == len(errand.bundles):
        merge = functools.partial(_caught, address, _merge_pickled, payload, parts)
        return await loop.run_in_executor(lanes(), merge)
    return parts


def present(worker: Any, errand: Errand) -> Here:
    """Those of the errand's bundles that are on the worker."""
    return [(i, worker.data[key]) for i, key in errand.bundles if key in worker.data]


def dealt(errand: Errand, bundles: Here) -> list[Here]:
    """The bundles of each thread."""
    return [bundles[j :: errand.threads] for j in range(min(errand.threads, len(bundles)))]


def attempt(
    reduction: Reduction[Any, Any, Any], params: Any, errand: Errand, address: str, bundles: Here
) -> Parts | Raised:
    """The errand with what is here, for a thread that waits for it: it takes its share."""
    mine, *rest = dealt(errand, bundles)
    run = functools.partial(_caught, address, run_lane, reduction, params, errand, address)
    lent = [lanes().submit(run, lane) for lane in rest]
    found: list[Parts] = []
    for said in (run(mine), *(lane.result() for lane in lent)):
        if isinstance(said, Raised):
            return said
        found.append(said)
    parts = in_order(found)
    return _caught(address, merged, reduction, parts) if errand.merged else parts


def attempt_pickled(
    payload: bytes | bytearray, errand: Errand, address: str, bundles: Here
) -> Parts | Raised:
    """The same of a pickled reduction and its parameters."""
    try:
        reduction, params = pickle.loads(payload)
    except BaseException as error:
        return raised(error, address)
    return attempt(reduction, params, errand, address, bundles)


def run_lane(
    reduction: Reduction[Any, Any, Any], params: Any, errand: Errand, address: str, bundles: Here
) -> Parts:
    """The parts of one thread's bundles."""
    return [
        (i, graph.run_bundle(i, errand.threads, reduction, bundle, params, worker=address))
        for i, bundle in bundles
    ]


def _caught(address: str, fn: Callable[..., Parts], *args: Any) -> Parts | Raised:
    """In a thread: whatever is raised, or asyncio would choke on a StopIteration, and end on a SystemExit."""
    try:
        return fn(*args)
    except BaseException as error:
        return raised(error, address)


def _run_pickled(payload: bytes, errand: Errand, address: str, bundles: Here) -> Parts:
    reduction, params = pickle.loads(payload)
    return run_lane(reduction, params, errand, address, bundles)


def in_order(done: Sequence[Parts]) -> Parts:
    """What the threads found, in the order of the bundles: that of summation."""
    return sorted((part for lane in done for part in lane), key=lambda part: part[0])


def merged(reduction: Reduction[Any, Any, Any], parts: Parts) -> Parts:
    """One part of all, which are of one worker."""
    first, stamped = parts[0]
    return [(first, graph.merge_stamped(reduction, [p for _, p in parts], worker=stamped.worker))]


def parts_bytes(said: Parts | Raised) -> int:
    """How much the parts of an answer are."""
    return 0 if isinstance(said, Raised) else sum(part.part_bytes for _, part in said)


def _merge_pickled(payload: bytes, parts: Parts) -> Parts:
    reduction, _ = pickle.loads(payload)
    return merged(reduction, parts)


def raised(error: BaseException, address: str) -> Raised:
    """The error with its traceback as a note, which would not travel otherwise; noted once only.

    The traceback itself is dropped: its frames hold bundles, until Python looks for cycles.
    """
    if not any(note.startswith(_NOTE) for note in getattr(error, "__notes__", ())):
        error.add_note(f"{_NOTE}{address}:\n{''.join(traceback.format_exception(error))}")
    error.__traceback__ = error.__context__ = error.__cause__ = None
    try:
        pickle.loads(pickle.dumps(error))
    except Exception as why:
        return Raised(RuntimeError(f"{error!r}, which cannot be sent from {address} ({why!r})."))
    return Raised(error)


__all__ = [
    "Errand",
    "Here",
    "Parts",
    "Raised",
    "attempt",
    "attempt_pickled",
    "in_order",
    "keep_log_short",
    "lanes",
    "parts_bytes",
    "present",
    "raised",
    "serve",
    "serve_round",
]
