"""Data in, resident blocks out, and the executor for their rounds.

:func:`open_dataset` chooses: Dask-backed data and an active client go to the cluster, everything else stays
in this process.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle
from typing import Any, Protocol

import dask.threaded
import distributed
import numpy as np
from dask.system import CPU_COUNT

from daskml_kit.runtime import loading
from daskml_kit.runtime.actors import ActorExecutor
from daskml_kit.runtime.block import Bundle
from daskml_kit.runtime.cluster import active_client, cluster_errors, or_released
from daskml_kit.runtime.config import setting
from daskml_kit.runtime.dataset import BlockDataset, BundleRef
from daskml_kit.runtime.events import FitEvent, FitLog, TaskEvent
from daskml_kit.runtime.executor import Executor, emit_round
from daskml_kit.runtime.in_place import assembly, forget, visited
from daskml_kit.runtime.ingest import (
    JOIN_BYTES,
    BlockFacts,
    DataFacts,
    Labelling,
    Spec,
    assemble,
    load,
    merge_facts,
)
from daskml_kit.runtime.local import LocalExecutor
from daskml_kit.runtime.moves import placed
from daskml_kit.runtime.placement import Piece, WorkerInfo, cut, even_out, pack, settle
from daskml_kit.runtime.remote import GraphExecutor
from daskml_kit.runtime.sources import DaskSource, LocalSource, open_source, refuse_foreign_futures
from daskml_kit.typing import FloatArray

ClassWeights = Callable[[DataFacts], "FloatArray | None"]
RowEdges = Callable[[DataFacts], Sequence[int]]


class Draw(Protocol):
    """Which rows are drawn: a small picklable value, whose choice depends on global row numbers alone."""

    @property
    def share(self) -> float:
        """About how many, of all rows."""
        ...

    def __call__(self, bundle: Bundle) -> Bundle:
        """A copy of those of a bundle."""
        ...


Draws = Callable[[DataFacts], "Draw | None"]

LOCAL_SPLIT_BYTES = 1 << 21
"""Smallest share of the data worth a thread of its own: below, starting threads costs more than it saves."""


def open_dataset(
    X: Any,
    y: Any = None,
    weight: Any = None,
    *,
    spec: Spec,
    log: FitLog | None = None,
    class_weights: ClassWeights | None = None,
    edges: RowEdges | None = None,
    draws: Draws | None = None,
) -> tuple[BlockDataset, Executor]:
    """Check, align and make resident: one read of every row.

    Parameters
    ----------
    X, y, weight : NumPy, pandas, scipy.sparse, dask.array, dask.dataframe or xarray
    spec : what the estimator asks of its data
    log : where the rounds of the fit are recorded
    class_weights : callable facts -> weights of the sorted classes, or None
    edges : callable facts -> increasing global rows from 0 to n_rows, or None
        Bundle i is then exactly the rows between edges i and i + 1, on the worker that holds most of
        them as long as that is even. Without it bundles are cut as memory and threads ask.
    draws : callable facts -> which rows lie beside the data as a sample, or None
        They are drawn in the same read, so that rows which do not stay in memory are not read again for them.

    Returns
    -------
    BlockDataset, Executor
        Release the first and close the second when the fit ends.

    Raises
    ------
    InvalidDataError, InvalidDataTypeError, ClusterError
        Before any training round.
    """
    log = log if log is not None else FitLog(spec.estimator)
    return open_parts(open_source(X, y, weight), spec, log, class_weights, edges, draws=draws)


def open_parts(
    source: LocalSource | DaskSource,
    spec: Spec,
    log: FitLog,
    class_weights: ClassWeights | None = None,
    edges: RowEdges | None = None,
    kind: type[BlockDataset] = BlockDataset,
    draws: Draws | None = None,
) -> tuple[BlockDataset, Executor]:
    """:func:`open_dataset` of parts that are aligned already, as a data set of that kind."""
    lane = setting("executor")
    client = None if isinstance(source, LocalSource) else active_client()
    if isinstance(source, DaskSource):
        refuse_foreign_futures(source, client)
    executor = _executor(client, log, lane)
    log.emit(FitEvent(log.name, "started", time.time()))
    try:
        if isinstance(executor, GraphExecutor) and isinstance(source, DaskSource):
            with cluster_errors(executor.client):
                return _open_remote(
                    executor, source, spec, class_weights, edges, kind, draws
                ), executor
        parts = _parts(source, client)
        return _open_local(parts, spec, log, class_weights, edges, kind, draws), executor
    except BaseException:
        log.emit(FitEvent(log.name, "failed", time.time()))
        executor.close()
        raise


def _executor(
    client: distributed.Client | None, log: FitLog, lane: str
) -> LocalExecutor | GraphExecutor:
    if client is None or lane == "local":
        return LocalExecutor(log)
    if lane == "graph":
        return GraphExecutor(client, log)
    return ActorExecutor(client, log, always=lane == "actor")


def _parts(
    source: LocalSource | DaskSource, client: distributed.Client | None
) -> list[tuple[Any, Any, Any]]:
    if isinstance(source, LocalSource):
        return [(source.X, source.y, source.weight)]
    return _computed(source, client)


def _computed(source: DaskSource, client: distributed.Client | None) -> list[tuple[Any, Any, Any]]:
    """Every part of a lazy source, computed by the cluster or in this process, and brought here."""
    parts = [source.part_keys(i) for i in range(len(source.X))]
    compute: Any = dask.threaded.get if client is None else client.get
    rows = compute(source.graph, parts)
    has_y = source.y is not None
    out = []
    for row in rows:
        rest = list(row[1:])
        y = rest.pop(0) if has_y else None
        out.append((row[0], y, rest.pop(0) if rest else None))
    return out


def _open_local(
    parts: Sequence[tuple[Any, Any, Any]],
    spec: Spec,
    log: FitLog,
    class_weights: ClassWeights | None,
    edges: RowEdges | None,
    kind: type[BlockDataset],
    draws: Draws | None,
) -> BlockDataset:
    started, begun = time.time(), time.perf_counter()
    loaded = [load(i, spec, *part) for i, part in enumerate(parts)]
    facts = merge_facts([item.facts for item in loaded], spec)
    labelling = _labelling(facts, [item.facts for item in loaded], class_weights)
    pieces = _pieces(facts, [x.facts for x in loaded])
    threads = max(1, min(CPU_COUNT, facts.nbytes // LOCAL_SPLIT_BYTES))
    worker = WorkerInfo("local", threads)
    groups = pack(pieces, worker) if edges is None else cut(pieces, edges(facts))
    bundles = [assemble(g, labelling, [loaded[p.block] for p in g]) for g in groups]
    data = kind(_refs_here(bundles), facts, fixed=edges is not None)
    draw = None if draws is None else draws(facts)
    if draw is not None:
        handles = [draw(b).coalesced(JOIN_BYTES) for b in bundles]
        refs = [replace(ref, handle=h) for ref, h in zip(data.bundles, handles, strict=True)]
        data.drawn = _drawn(refs, facts, draw)
    tasks = _load_events([x.facts for x in loaded], ["local-0"] * len(loaded), {})
    _opened(log, data, started, time.perf_counter() - begun, tasks)
    return data


def _refs_here(bundles: Sequence[Bundle]) -> list[BundleRef]:
    joined = [b.coalesced(JOIN_BYTES) for b in bundles]
    return [
        BundleRef(b, f"local-{i}", b.n_rows, b.nbytes, len(b.blocks)) for i, b in enumerate(joined)
    ]


def _drawn(refs: list[BundleRef], facts: DataFacts, draw: Draw) -> BlockDataset:
    """A sample as a data set of its own: small, and as it is for the length of the fit.

    ``refs`` know the rows and bytes that it was drawn from.
    """

    def share(size: int) -> int:
        return max(1, round(size * draw.share))

    own = [replace(ref, n_rows=share(ref.n_rows), nbytes=share(ref.nbytes)) for ref in refs]
    few = replace(facts, n_rows=share(facts.n_rows), nbytes=share(facts.nbytes))
    return BlockDataset(own, few, fixed=True)


def _open_remote(
    executor: GraphExecutor,
    source: DaskSource,
    spec: Spec,
    class_weights: ClassWeights | None,
    edges: RowEdges | None,
    kind: type[BlockDataset],
    draws: Draws | None,
) -> BlockDataset:
    started, begun = time.time(), time.perf_counter()
    client, workers = executor.client, list(executor.workers.values())
    resident = loading.resident_parts(source)
    where = _whereabouts(client, source, resident)
    place = even_out if executor.balance == "even" else settle
    homes = [
        workers[j].address for j in place(source.sizes, _held(source, where, workers), workers)
    ]
    checked = None
    if resident is not None and edges is None and isinstance(executor, ActorExecutor):
        checked = _checked_in_place(executor, resident, spec, where, homes)
    if checked is None:
        checked = _checked_by_tasks(client, source, spec, homes)
    with checked:
        blocks = checked.blocks
        facts = merge_facts(blocks, spec)
        labelling = _labelling(facts, blocks, class_weights)
        pieces = _pieces(facts, blocks)
        groups, at = (
            _packed(executor, pieces, homes)
            if edges is None
            else _regrouped(executor, pieces, homes, edges(facts))
        )
        draw = None if draws is None else draws(facts)
        bundles, few = _assembled(executor, checked, groups, at, labelling, draw)
        data = kind(bundles, facts, fixed=edges is not None)
        data.drawn = None if draw is None else _drawn(few, facts, draw)
    threads = {a: w.n_threads for a, w in executor.workers.items()}
    tasks = _load_events(blocks, checked.at, threads)
    try:
        _opened(executor.log, data, started, time.perf_counter() - begun, tasks)
        executor.settle(data)
    except BaseException:  # nobody has the data yet who would let go of them
        data.release()
        raise
    return data


@dataclass(frozen=True, eq=False)
class _Checked:
    """Parts that were checked, and how bundles are made of them; a context that lets go of them."""

    blocks: list[BlockFacts]
    at: list[str]  # the worker that checked each
    parts: Sequence[Any]  # what a bundle's task depends on
    make: Callable[[Sequence[Sequence[Piece]], int], loading.Make]  # of groups, each made so often
    futures: Sequence[distributed.Future[Any]] = ()
    give_up: Callable[[], None] = lambda: None  # what no bundle will be made of any more

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.release()
        if kind is not None:
            self.give_up()

    def release(self) -> None:
        """Let go of loaded parts: each goes as soon as its bundles are made."""
        for future in self.futures:
            future.release()


def _checked_by_tasks(
    client: distributed.Client, source: DaskSource, spec: Spec, homes: Sequence[str]
) -> _Checked:
    """Parts computed and checked by tasks of one graph."""
    plan, _ = loading.load_plan(source, spec, homes)
    futures = plan.submit(client)
    loaded, n = futures[: len(homes)], len(homes)
    with or_released(futures):
        known: list[tuple[BlockFacts, str]] = client.gather(futures[n:])
    for fact in futures[n:]:
        fact.release()
    blocks, at = [facts for facts, _ in known], [address for _, address in known]
    return _Checked(blocks, at, loaded, _assemble_any, loaded)


def _assemble_any(groups: Sequence[Sequence[Piece]], times: int) -> loading.Make:  # noqa: ARG001
    """Loaded blocks may be taken any number of times."""
    return assemble


def _checked_in_place(
    executor: ActorExecutor,
    parts: Sequence[loading.Parts],
    spec: Spec,
    where: Mapping[Any, Collection[str]],
    homes: Sequence[str],
) -> _Checked | None:
    """Parts that their workers hold already, checked without a task; None where that is not so."""
    keys = [tuple(None if f is None else f.key for f in part) for part in parts]
    for part, home in zip(keys, homes, strict=True):
        if any(key is not None and home not in where.get(key, ()) for key in part):
            return None
    seen = visited(executor, spec, keys, homes)
    if seen is None:
        return None
    token, blocks = seen
    give_up = partial(forget, executor, token, frozenset(homes))
    return _Checked(blocks, list(homes), parts, partial(assembly, token, spec), give_up=give_up)


def _whereabouts(
    client: distributed.Client, source: DaskSource, resident: Sequence[loading.Parts] | None
) -> dict[Any, Collection[str]]:
    """The workers that hold what X is, or is made of; y and weights too where all of them are resident."""
    made_of = loading.resident_inputs(source) if resident is None else resident
    futures = {f.key: f for part in made_of for f in part if f is not None}
    distributed.wait(list(futures.values()))  # persist() returns before anything is anywhere
    found: dict[Any, Collection[str]] = client.who_has(list(futures.values())) if futures else {}
    return found


def _held(
    source: DaskSource, where: Mapping[Any, Collection[str]], workers: Sequence[WorkerInfo]
) -> list[int | None]:
    """The worker that holds each part of X, or most of what it is made of; None where nothing is."""
    position = {w.address: i for i, w in enumerate(workers)}
    out: list[int | None] = []
    for futures in loading.resident_inputs(source):
        votes = Counter(position[a] for f in futures for a in where.get(f.key, ()) if a in position)
        out.append(votes.most_common(1)[0][0] if votes else None)
    return out


def _packed(
    executor: GraphExecutor, pieces: Sequence[Piece], homes: Sequence[str]
) -> tuple[list[list[Piece]], list[str]]:
    """Bundles of each worker's own pieces, and their homes."""
    groups: list[list[Piece]] = []
    at: list[str] = []
    for address, worker in executor.workers.items():
        own = pack([p for p, home in zip(pieces, homes, strict=True) if home == address], worker)
        groups += own
        at += [address] * len(own)
    return groups, at


def _regrouped(
    executor: GraphExecutor, pieces: Sequence[Piece], homes: Sequence[str], edges: Sequence[int]
) -> tuple[list[list[Piece]], list[str]]:
    """Bundles between row edges, and homes: where most of their rows are, as long as that is even."""
    workers = list(executor.workers.values())
    position = {w.address: i for i, w in enumerate(workers)}
    groups = cut(pieces, edges)
    where: list[int | None] = []
    for group in groups:
        rows = dict.fromkeys(range(len(workers)), 0)
        for piece in group:
            rows[position[homes[piece.block]]] += piece.n_rows
        where.append(max(rows, key=lambda j: rows[j]))
    sizes = [sum(p.n_rows for p in group) for group in groups]
    return groups, [workers[j].address for j in even_out(sizes, where, workers)]


def _assembled(
    executor: GraphExecutor,
    checked: _Checked,
    groups: Sequence[Sequence[Piece]],
    at: Sequence[str],
    labelling: Labelling | None,
    draw: Draw | None,
) -> tuple[list[BundleRef], list[BundleRef]]:
    """The bundles, and what was drawn of them."""
    make = checked.make(groups, 1 if draw is None else 2)
    plan = loading.assemble_plan(checked.parts, groups, at, labelling, make, draw)
    futures = plan.submit(executor.client)
    checked.release()  # now, not later
    n = len(groups)
    with or_released(futures):
        distributed.wait(futures)
        bundles = placed(executor.client, futures[:n], groups, at)
        few = [] if draw is None else placed(executor.client, futures[n:], groups, at)
    if any(ref.worker != home for ref, home in zip(bundles + few, cycle(at), strict=False)):
        checked.give_up()  # what a task elsewhere has not taken
    return bundles, few


def _pieces(facts: DataFacts, blocks: Sequence[BlockFacts]) -> list[Piece]:
    return [
        Piece(b.index, 0, b.n_rows, start, b.nbytes)
        for b, start in zip(blocks, facts.starts, strict=True)
    ]


def _labelling(
    facts: DataFacts, blocks: Sequence[BlockFacts], class_weights: ClassWeights | None
) -> Labelling | None:
    if facts.classes is None:
        return None
    local = {b.index: np.asarray(b.classes) for b in blocks}
    return Labelling(
        facts.classes, local, class_weights(facts) if class_weights is not None else None
    )


def _opened(
    log: FitLog, data: BlockDataset, began: float, seconds: float, tasks: Sequence[TaskEvent]
) -> None:
    """Report that the data are resident: the fit's first event, and its first pass."""
    facts = data.facts
    log.emit(FitEvent(log.name, "running", began, facts.n_rows, facts.nbytes, len(data.bundles)))
    emit_round(log, "load", began, seconds, 0, tasks, None)


def _load_events(
    blocks: Sequence[BlockFacts], homes: Sequence[str], threads: Mapping[str, int]
) -> list[TaskEvent]:
    """One event a worker: what it loaded, and how long its tasks took together."""
    events = []
    for i, home in enumerate(dict.fromkeys(homes)):
        own = [b for b, at in zip(blocks, homes, strict=True) if at == home]
        events.append(
            TaskEvent(
                worker=home,
                bundle=i,
                n_blocks=len(own),
                rows=sum(b.n_rows for b in own),
                nbytes=sum(b.nbytes for b in own),
                started=min(b.started for b in own),
                compute_seconds=sum(b.seconds for b in own),
                threads=threads.get(home, 1),
            )
        )
    return events


__all__ = ["ClassWeights", "Draw", "Draws", "RowEdges", "open_dataset", "open_parts"]
