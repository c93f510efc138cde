"""Rounds as custom task graphs. Only this file and ``loading.py`` know Dask's graph format.

One round over three bundles, and two rounds unrolled into one graph::

    params ->  map-0 (worker a)  --+                  map-0 --+           +-> map-0 --+
           ->  map-1 (worker b)  --+-> merge -> total map-1 --+-> advance-+-> map-1 --+-> advance
           ->  map-2 (worker b)  --+                  map-2 --+   (state) +-> map-2 --+   (state)

Every map task is pinned to its bundle's worker, loosely: the scheduler would otherwise put small tasks
with small inputs on one worker, and a strict pin would be a dead end when the worker is lost. Merging is
a tree of fan-in 8. Up to 8 parts come back to the driver as they are, which saves a hop: a merge task
would have to wait for a message from each worker and to send one more.
"""

from __future__ import annotations

import functools
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import distributed
from dask._task_spec import (
    DataNode,
    GraphNode,
    List,
    Task,
    TaskRef,
    Tuple,
)
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer
from dask.sizeof import sizeof
from distributed.comm.addressing import resolve_address

from daskml_kit.runtime.blas import one_thread
from daskml_kit.runtime.block import Block, Bundle
from daskml_kit.runtime.drawing import Drawing, Node, short
from daskml_kit.runtime.events import TaskEvent
from daskml_kit.runtime.placement import Piece
from daskml_kit.runtime.reduction import FAN_IN, Reduction, fold

Key: TypeAlias = Any  # str or (str, int), as Dask wants them

EMBED_BYTES = 1_000_000
"""Parameters are sent inside each map task up to this many bytes in all, and as one task's result,
which workers fetch from each other, above."""

PREFIX = "daskml"
"""Every key of this package begins with it."""


@dataclass(frozen=True, eq=False)
class Stamped:
    """The part of some bundles, and what each of their tasks took."""

    part: Any
    events: tuple[TaskEvent, ...]
    nbytes: int  # of the part
    worker: str  # that made it
    fetched: int = 0  # bytes that came from other workers to make it

    @property
    def part_bytes(self) -> int:
        """What travels until another process has the part."""
        return self.nbytes + self.fetched


@dataclass(frozen=True, eq=False)
class Advanced:
    """The solver's state after one unrolled round, and what the round's tasks took."""

    state: Any
    events: tuple[TaskEvent, ...]
    fetched: int  # bytes of parts that came from other workers


@dataclass(frozen=True, eq=False)
class Plan:
    """A graph ready to be submitted: tasks, their workers, and the keys whose results are wanted."""

    tasks: dict[Key, GraphNode]
    pins: dict[Key, str]
    outputs: list[Key]
    embedded: tuple[Key, ...] = ()  # tasks that the parameters travel with
    params_bytes: int = 0  # sent in all: to every task, or once to every worker

    def layered(self) -> HighLevelGraph:
        """One layer, annotated with the worker of each pinned task."""
        annotations = {"workers": self._pin, "allow_other_workers": self._is_pinned}
        name = f"{PREFIX}-{uuid.uuid4().hex}"
        layer = MaterializedLayer(self.tasks, annotations=annotations)
        return HighLevelGraph({name: layer}, {name: set()})

    def _pin(self, key: Key) -> list[str] | None:
        return [self.pins[key]] if key in self.pins else None

    def _is_pinned(self, key: Key) -> bool | None:
        return True if key in self.pins else None

    def drawing(self, title: str, name: str) -> Drawing:
        """The graph's skeleton, to look at: tasks, the resident bundles they read, and their workers.

        ``name``, of the reduction, stands in the title and is left out of the labels.
        """
        nodes: dict[str, Node] = {}
        for key, task in self.tasks.items():
            for needed in task.dependencies - self.tasks.keys():
                nodes.setdefault(
                    str(needed), Node(short(needed, name), (), self.pins.get(key), True)
                )
            needs = tuple(str(n) for n in task.dependencies)
            is_data = isinstance(task, DataNode)
            if key in self.embedded:
                nodes.setdefault("parameters", Node("parameters", (), "driver", True))
                needs = ("parameters", *needs)
            nodes[str(key)] = Node(short(key, name), needs, self.pins.get(key), is_data)
        nodes["total"] = Node("total", tuple(str(key) for key in self.outputs), "driver", True)
        return Drawing(title, nodes)

    def submit(self, client: distributed.Client) -> list[distributed.Future[Any]]:
        """Send the graph; one future for each output."""
        with (
            warnings.catch_warnings()
        ):  # of a large graph: what is large in it is a model, sent once
            warnings.filterwarnings("ignore", "Sending large graph", UserWarning)
            futures: list[distributed.Future[Any]] = client.get(
                self.layered(), self.outputs, sync=False
            )
        return futures


def new_name(purpose: str) -> str:
    """What the keys of one layer of tasks begin with; never the same twice."""
    return f"{PREFIX}-{purpose}-{uuid.uuid4().hex}"


# ---------------------------------------------------------------- where a task runs


LOCAL_THREADS = "daskml"
"""Name of the threads on which rounds run in this process; the number follows an underscore."""


def here() -> str:
    """The worker that this task runs on, or the thread of this process."""
    try:
        return called(distributed.get_worker().address)
    except ValueError:
        name, _, number = threading.current_thread().name.rpartition("_")
        return f"local-{number}" if name == LOCAL_THREADS else "local-0"


@functools.cache
def called(address: str) -> str:
    """What the scheduler calls the worker of this address: it resolves the host, which may be a name."""
    try:
        return str(resolve_address(address))
    except OSError:  # a name that is known elsewhere only
        return address


# ---------------------------------------------------------------- rounds


def run_bundle(
    index: int,
    threads: int,
    reduction: Reduction[Any, Any, Any],
    bundle: Bundle,
    params: Any,
    *,
    worker: str | None = None,
) -> Stamped:
    """The map task: one bundle's part, timed. ``worker``: where it runs, if the thread doesn't know."""
    worker = worker or here()
    with bundle.turn, one_thread():
        started, begun = time.time(), time.perf_counter()
        part = reduction.part(bundle.blocks, params)
        seconds = time.perf_counter() - begun
    event = TaskEvent(
        worker=worker,
        bundle=index,
        n_blocks=len(bundle.blocks),
        rows=bundle.n_rows,
        nbytes=bundle.nbytes,
        started=started,
        compute_seconds=seconds,
        threads=threads,
    )
    return Stamped(part, (event,), sizeof(part), worker)


def merge_stamped(
    reduction: Reduction[Any, Any, Any], parts: Sequence[Stamped], *, worker: str | None = None
) -> Stamped:
    """The merge task: parts of one group of the tree. ``worker`` as in :func:`run_bundle`."""
    worker = worker or here()
    part = fold((p.part for p in parts), reduction.combine)
    events = tuple(e for p in parts for e in p.events)
    fetched = sum(p.fetched if p.worker == worker else p.part_bytes for p in parts)
    return Stamped(part, events, sizeof(part), worker, fetched)


@dataclass(frozen=True)
class Site:
    """Where a bundle lives and how many of its worker's bundles run side by side."""

    handle: Any  # a future of the bundle
    worker: str
    threads: int = 1


def round_plan(sites: Sequence[Site], reduction: Reduction[Any, Any, Any], params: Any) -> Plan:
    """One round. Outputs: at most 8 stamped parts."""
    name = new_name(reduction.name)
    tasks: dict[Key, GraphNode] = {}
    pins: dict[Key, str] = {}
    source = params
    size = sizeof(params)
    embed = size * len(sites) <= EMBED_BYTES
    if not embed:
        tasks[(f"{name}-params", 0)] = DataNode((f"{name}-params", 0), params)
        source = TaskRef((f"{name}-params", 0))
    maps = _map_layer(tasks, pins, f"{name}-map", sites, reduction, source)
    parts = _merge_layers(tasks, f"{name}-merge", maps, reduction)
    copies = len(sites) if embed else len({site.worker for site in sites})
    return Plan(tasks, pins, parts, tuple(maps) if embed else (), size * copies)


def again_plan(index: int, site: Site, reduction: Reduction[Any, Any, Any], params: Any) -> Plan:
    """The map task of one bundle a second time, on another worker than its home."""
    name = new_name(reduction.name)
    key = (f"{name}-again", index)
    task = Task(key, run_bundle, index, site.threads, reduction, site.handle, params)
    return Plan({key: task}, {key: site.worker}, [key], (key,), sizeof(params))


def _map_layer(
    tasks: dict[Key, GraphNode],
    pins: dict[Key, str],
    name: str,
    sites: Sequence[Site],
    reduction: Reduction[Any, Any, Any],
    params: Any,
    run: Callable[..., Stamped] = run_bundle,
) -> list[Key]:
    keys: list[Key] = []
    for i, site in enumerate(sites):
        key = (name, i)
        tasks[key] = Task(key, run, i, site.threads, reduction, site.handle, params)
        pins[key] = site.worker
        keys.append(key)
    return keys


def _merge_layers(
    tasks: dict[Key, GraphNode],
    name: str,
    parts: list[Key],
    reduction: Reduction[Any, Any, Any],
) -> list[Key]:
    level = 0
    while len(parts) > FAN_IN:
        merged: list[Key] = []
        for i in range(0, len(parts), FAN_IN):
            key = (f"{name}-{level}", i // FAN_IN)
            group = List(*(TaskRef(p) for p in parts[i : i + FAN_IN]))
            tasks[key] = Task(key, merge_stamped, reduction, group)
            merged.append(key)
        parts, level = merged, level + 1
    return parts


# ---------------------------------------------------------------- several rounds in one graph


def _run_bundle_at(
    index: int,
    threads: int,
    reduction: Reduction[Any, Any, Any],
    bundle: Bundle,
    asked: tuple[Callable[[Any], Any], Advanced],
) -> Stamped:
    """The map task of an unrolled round: it takes the point out of the state itself.

    A task of its own for that would cost every round one more hop.
    """
    point, before = asked
    return run_bundle(index, threads, reduction, bundle, point(before.state))


def advance(
    reduction: Reduction[Any, Any, Any],
    update: Callable[[Any, Any], Any],
    previous: Advanced,
    parts: Sequence[Stamped],
) -> Advanced:
    """The update task: merge the last parts, finish the total, and move the state."""
    merged = merge_stamped(reduction, parts)
    state = update(previous.state, reduction.finalize(merged.part))
    return Advanced(state, merged.events, merged.fetched)


def unrolled_plan(
    sites: Sequence[Site],
    reduction: Reduction[Any, Any, Any],
    state: Any,
    point: Callable[[Any], Any],
    update: Callable[[Any, Any], Any],
    n_rounds: int,
) -> Plan:
    """``n_rounds`` rounds in one graph. Outputs: the state after each round.

    Parameters
    ----------
    point : state -> params
    update : (state, total) -> state
    """
    name = new_name(reduction.name)
    tasks: dict[Key, GraphNode] = {}
    pins: dict[Key, str] = {}
    tasks[(f"{name}-state", 0)] = DataNode((f"{name}-state", 0), Advanced(state, (), 0))
    outputs: list[Key] = []
    for t in range(n_rounds):
        before = TaskRef((f"{name}-state", t))
        asked = Tuple(point, before)
        parts = _map_layer(
            tasks, pins, f"{name}-map-{t}", sites, reduction, asked, run=_run_bundle_at
        )
        parts = _merge_layers(tasks, f"{name}-merge-{t}", parts, reduction)
        after = (f"{name}-state", t + 1)
        group = List(*(TaskRef(p) for p in parts))
        tasks[after] = Task(after, advance, reduction, update, before, group)
        pins[after] = sites[0].worker
        outputs.append(after)
    return Plan(tasks, pins, outputs)


# ---------------------------------------------------------------- moves


def _rows_of(bundle: Bundle, low: int, high: int) -> Bundle:
    return bundle.cut(low, high)


def _joined(bundles: Sequence[Bundle], ranges: Sequence[tuple[int, int]]) -> Bundle:
    cut = (b.cut(low, high) for b, (low, high) in zip(bundles, ranges, strict=True))
    return Bundle(tuple(block for part in cut for block in part))


def recut_plan(
    sites: Sequence[Site], groups: Sequence[Sequence[Piece]], homes: Sequence[str]
) -> Plan:
    """New bundles of rows of the present ones: bundle i of ``groups[i]`` on worker ``homes[i]``.

    A piece's ``block`` is the position of a bundle in ``sites``. Rows that change their worker are cut out
    where they are, so nothing else travels.
    """
    name = new_name("balance")
    tasks: dict[Key, GraphNode] = {}
    pins: dict[Key, str] = {}
    outputs: list[Key] = []
    for i, (group, home) in enumerate(zip(groups, homes, strict=True)):
        sources: list[Any] = []
        ranges: list[tuple[int, int]] = []
        for piece in group:
            site = sites[piece.block]
            if site.worker == home:
                sources.append(site.handle)
                ranges.append((piece.low, piece.high))
                continue
            key = (f"{name}-rows", len(tasks))
            tasks[key] = Task(key, _rows_of, site.handle, piece.low, piece.high)
            pins[key] = site.worker
            sources.append(TaskRef(key))
            ranges.append((0, piece.n_rows))
        key = (name, i)
        tasks[key] = Task(key, _joined, List(*sources), ranges)
        pins[key] = home
        outputs.append(key)
    return Plan(tasks, pins, outputs)


def _together(share: int, pieces: Sequence[Bundle]) -> Bundle:
    """One share as one block. Its rows don't follow each other; it starts at the share's number."""
    (block,) = Bundle(tuple(block for piece in pieces for block in piece)).joined()
    return Bundle((Block(block.X, block.y, block.weight, share, share),))


def _cut_where_they_are(
    name: str, sites: Sequence[Site], cut: Callable[..., Any], params: Any, n_pieces: int
) -> tuple[dict[Key, GraphNode], dict[Key, str]]:
    """Tasks and their workers: each bundle cut where it is, piece s of bundle i at ``i * n_pieces + s``."""
    given = (f"{name}-params", 0)
    tasks: dict[Key, GraphNode] = {given: DataNode(given, params)}
    pins: dict[Key, str] = {}
    for i, site in enumerate(sites):
        whole = (f"{name}-cut", i)
        tasks[whole] = Task(whole, cut_up, cut, site.handle, TaskRef(given))
        pins[whole] = site.worker
        for s in range(n_pieces):
            piece = (f"{name}-piece", i * n_pieces + s)
            tasks[piece] = Task(piece, piece_of, TaskRef(whole), s)
            pins[piece] = site.worker
    return tasks, pins


def deal_plan(
    sites: Sequence[Site],
    cut: Callable[[Bundle, Any], Sequence[Bundle]],
    params: Any,
    homes: Sequence[str],
) -> Plan:
    """New bundles of one block: share i of every bundle, as ``cut`` cuts it, on worker ``homes[i]``."""
    name = new_name("deal")
    tasks, pins = _cut_where_they_are(name, sites, cut, params, len(homes))
    outputs: list[Key] = []
    for share, home in enumerate(homes):
        pieces = (TaskRef((f"{name}-piece", i * len(homes) + share)) for i in range(len(sites)))
        key = (name, share)
        tasks[key] = Task(key, _together, share, List(*pieces))
        pins[key] = home
        outputs.append(key)
    return Plan(tasks, pins, outputs)


# ---------------------------------------------------------------- maps


def map_plan(sites: Sequence[Site], fn: Callable[[Bundle, Any], Bundle], params: Any) -> Plan:
    """``fn(bundle, params)`` for every bundle, staying where it is."""
    name = new_name("map")
    tasks: dict[Key, GraphNode] = {}
    pins: dict[Key, str] = {}
    for i, site in enumerate(sites):
        key = (name, i)
        tasks[key] = Task(key, mapped, fn, site.handle, params)
        pins[key] = site.worker
    return Plan(tasks, pins, list(tasks))


def mapped(fn: Callable[[Bundle, Any], Bundle], bundle: Bundle, params: Any) -> Bundle:
    """The task that makes another bundle of one."""
    with one_thread():
        return fn(bundle, params)


def all_rows(lane: int, bundles: Sequence[Bundle]) -> Bundle:
    """All rows, in their order, as one block whose index is the lane's number."""
    blocks = sorted((block for bundle in bundles for block in bundle), key=lambda b: b.start)
    whole = Bundle(tuple(blocks)).joined().blocks[0]
    return Bundle((Block(whole.X, whole.y, whole.weight, whole.start, lane),))


def copies_plan(sites: Sequence[Site], lanes: Sequence[str]) -> Plan:
    """All rows of all bundles on each of some workers; an output for each."""
    name = new_name("copy")
    bundles = List(*(site.handle for site in sites))
    tasks: dict[Key, GraphNode] = {}
    pins: dict[Key, str] = {}
    for i, address in enumerate(lanes):
        key = (name, i)
        tasks[key] = Task(key, all_rows, i, bundles)
        pins[key] = address
    return Plan(tasks, pins, list(tasks))


# ---------------------------------------------------------------- many tasks over all rows


def prepared(prepare: Callable[[Sequence[Bundle]], Any], bundles: Sequence[Bundle]) -> Any:
    """The task that makes of all bundles what every item needs."""
    return prepare(bundles)


def run_item(
    index: int,
    threads: int,
    fn: Callable[[Any, Any], Any],
    size: tuple[int, int],
    shared: Any,
    item: Any,
) -> Stamped:
    """One item's task, timed. ``size``: rows and bytes of the data."""
    started, begun = time.time(), time.perf_counter()
    with one_thread():
        result = fn(shared, item)
    seconds = time.perf_counter() - begun
    worker = here()
    event = TaskEvent(
        worker=worker,
        bundle=index,
        n_blocks=1,
        rows=size[0],
        nbytes=size[1],
        started=started,
        compute_seconds=seconds,
        threads=threads,
    )
    return Stamped(result, (event,), sizeof(result), worker)


def fan_plan(
    sites: Sequence[Site],
    name: str,
    prepare: Callable[[Sequence[Bundle]], Any],
    fn: Callable[[Any, Any], Any],
    items: Sequence[Any],
    size: tuple[int, int],
    workers: Sequence[tuple[str, int]],
) -> Plan:
    """Items dealt out to ``workers`` by their number of threads. Outputs: a stamped result for each item."""
    name = new_name(name)
    shared = (f"{name}-shared", 0)
    bundles = List(*(site.handle for site in sites))
    tasks: dict[Key, GraphNode] = {shared: Task(shared, prepared, prepare, bundles)}
    pins: dict[Key, str] = {shared: sites[0].worker}
    lanes = [(address, n) for address, n in workers for _ in range(n)]
    outputs: list[Key] = []
    for i, item in enumerate(items):
        address, threads = lanes[i % len(lanes)]
        key = (f"{name}-item", i)
        tasks[key] = Task(key, run_item, i, threads, fn, size, TaskRef(shared), item)
        pins[key] = address
        outputs.append(key)
    return Plan(tasks, pins, outputs)


# ---------------------------------------------------------------- rows that change their worker


def cut_up(cut: Callable[[Bundle, Any], list[Any]], bundle: Bundle, params: Any) -> list[Any]:
    """The task that cuts one bundle's piece for each share."""
    return cut(bundle, params)


def piece_of(pieces: Sequence[Any], share: int) -> Any:
    """One piece as a result of its own: only that travels."""
    return pieces[share]


def run_share(
    index: int,
    threads: int,
    fn: Callable[[Any, Any], Any],
    pieces: Sequence[Any],
    item: Any,
    homes: Sequence[str] = (),
) -> Stamped:
    """One share's task, timed. ``homes``: workers that the pieces come from, if not from this process."""
    sizes = [sizeof(piece) for piece in pieces]
    done = run_item(index, threads, fn, (_rows_in(pieces), sum(sizes)), pieces, item)
    far = (size for size, home in zip(sizes, homes, strict=False) if home != done.worker)
    return replace(done, fetched=sum(far))


def _rows_in(pieces: Any) -> int:
    """Of pieces, or lists of them, that have ``n_rows``; others are no rows, but sums of them or columns."""
    if isinstance(pieces, list):
        return sum(map(_rows_in, pieces))
    return int(getattr(pieces, "n_rows", 0))


def exchange_plan(
    sites: Sequence[Site],
    name: str,
    cut: Callable[[Bundle, Any], list[Any]],
    fn: Callable[[Any, Any], Any],
    params: Any,
    items: Sequence[Any],
    workers: Sequence[tuple[str, int]],
) -> Plan:
    """Each bundle cut where it is, and each share's pieces brought together.

    Outputs: a stamped result for each share::

        cut-0 (worker a) -+-> piece-0-0 ---> share-0 (worker a)
                          +-> piece-0-1 -+-^
        cut-1 (worker b) -+-> piece-1-0 -+
                          +-> piece-1-1 ---> share-1 (worker b)
    """
    name = new_name(name)
    tasks, pins = _cut_where_they_are(name, sites, cut, params, len(items))
    lanes = [(address, n) for address, n in workers for _ in range(n)]
    homes = tuple(site.worker for site in sites)
    outputs: list[Key] = []
    for s, item in enumerate(items):
        address, threads = lanes[s % len(lanes)]
        key = (f"{name}-share", s)
        pieces = List(*(TaskRef((f"{name}-piece", i * len(items) + s)) for i in range(len(sites))))
        tasks[key] = Task(key, run_share, s, threads, fn, pieces, item, homes)
        pins[key] = address
        outputs.append(key)
    return Plan(tasks, pins, outputs, (), sizeof(params) * len({site.worker for site in sites}))
