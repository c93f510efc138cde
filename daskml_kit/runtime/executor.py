"""Where rounds run: on threads of this process, or as task graphs on a cluster.

Both give the same answer; one test suite runs over both. :func:`open_dataset` chooses: Dask-backed data
and an active client go to the cluster, everything else stays in this process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from typing import Any, Protocol, TypeVar

import dask.threaded
import distributed
import numpy as np
from dask.sizeof import sizeof
from dask.system import CPU_COUNT
from threadpoolctl import ThreadpoolController

from daskml_kit.exceptions import DataLostError
from daskml_kit.runtime import graph
from daskml_kit.runtime.block import Bundle
from daskml_kit.runtime.cluster import Publisher, active_client, require_package, workers_of
from daskml_kit.runtime.dataset import BlockDataset, BundleRef
from daskml_kit.runtime.events import FitEvent, FitLog, RoundEvent, TaskEvent, attribute_waits
from daskml_kit.runtime.ingest import (
    BlockFacts,
    DataFacts,
    Labelling,
    Spec,
    assemble,
    load,
    merge_facts,
)
from daskml_kit.runtime.placement import Piece, WorkerInfo, cut, even_out, pack, reassign
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.runtime.sources import (
    DaskSource,
    LocalSource,
    open_source,
    refuse_foreign_futures,
)
from daskml_kit.typing import FloatArray

State = TypeVar("State")
Total = TypeVar("Total")
Params = TypeVar("Params")
ClassWeights = Callable[[DataFacts], "FloatArray | None"]
RowEdges = Callable[[DataFacts], Sequence[int]]

LOCAL_SPLIT_BYTES = 1 << 21
"""Smallest share of the data worth a thread of its own: below, starting threads costs more than it saves."""


class Executor(Protocol):
    """Where the rounds of one fit run."""

    log: FitLog

    def reduce(
        self,
        data: BlockDataset,
        reduction: Reduction[Params, Any, Total],
        params: Params,
        *,
        objective: Callable[[Total], float] | None = None,
    ) -> Total:
        """One round. ``objective`` reads the value to report from the total."""
        ...

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
        """Several rounds, each at ``point(state)``; the states after each."""
        ...

    def map(
        self, data: BlockDataset, fn: Callable[[Bundle, Params], Bundle], params: Params
    ) -> BlockDataset:
        """``fn`` of every bundle; the results stay resident. Release the data set returned."""
        ...

    def close(self) -> None:
        """End the fit: free threads, send the last events."""
        ...


def _emit(
    log: FitLog,
    name: str,
    started: float,
    seconds: float,
    bytes_moved: int,
    tasks: Sequence[TaskEvent],
    objective: float | None,
) -> None:
    log.emit(
        RoundEvent(
            fit=log.name,
            round=len(log.rounds),
            name=name,
            started=started,
            seconds=seconds,
            bytes_moved=bytes_moved,
            passes=1,
            tasks=attribute_waits(tasks, seconds),
            objective=objective,
        )
    )


# ---------------------------------------------------------------- in this process


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()


class LocalExecutor:
    """Rounds on threads of this process, one bundle a thread."""

    def __init__(self, log: FitLog) -> None:
        self.log = log
        self._pool: ThreadPoolExecutor | None = None

    def reduce(
        self,
        data: BlockDataset,
        reduction: Reduction[Params, Any, Total],
        params: Params,
        *,
        objective: Callable[[Total], float] | None = None,
    ) -> Total:
        """One round over the bundles of this process."""
        started, begun = time.time(), time.perf_counter()
        stamped = self._run(data, reduction, params)
        total: Total = reduction.finalize(reduction.merge([s.part for s in stamped]))
        _emit(
            self.log,
            reduction.name,
            started,
            time.perf_counter() - begun,
            sum(s.part_bytes for s in stamped) + sizeof(params) * len(stamped),
            [e for s in stamped for e in s.events],
            None if objective is None else objective(total),
        )
        return total

    def _run(
        self, data: BlockDataset, reduction: Reduction[Any, Any, Any], params: Any
    ) -> list[graph.Stamped]:
        bundles = [b.handle for b in data.bundles]
        if len(bundles) == 1:
            return [graph.run_bundle(0, 1, reduction, bundles[0], params)]
        if self._pool is None:
            n_threads = min(len(bundles), CPU_COUNT)
            self._pool = ThreadPoolExecutor(n_threads, thread_name_prefix=graph.LOCAL_THREADS)
        with _blas().limit(limits=1, user_api="blas"):
            tasks = [
                self._pool.submit(graph.run_bundle, i, 1, reduction, bundle, params)
                for i, bundle in enumerate(bundles)
            ]
            return [task.result() for task in tasks]

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
        """The rounds one after the other."""
        states = []
        for _ in range(n_rounds):
            holder: list[State] = []

            def finish(total: Total, before: State = state, out: list[State] = holder) -> float:
                out.append(update(before, total))
                return float("nan") if objective is None else objective(out[0])

            self.reduce(data, reduction, point(state), objective=finish)
            state = holder[0]
            states.append(state)
        return states

    def map(
        self, data: BlockDataset, fn: Callable[[Bundle, Params], Bundle], params: Params
    ) -> BlockDataset:
        """``fn`` of every bundle, in this thread."""
        return data.replaced([fn(b.handle, params) for b in data.bundles])

    def close(self) -> None:
        """Stop the threads."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None


# ---------------------------------------------------------------- on a cluster


class GraphExecutor:
    """Each round one custom task graph, submitted at once. Dask recomputes what a lost worker held."""

    def __init__(self, client: distributed.Client, log: FitLog) -> None:
        self.client = client
        self.log = log
        self.workers = require_package(client, workers_of(client))
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
        started, begun = time.time(), time.perf_counter()
        plan = graph.round_plan(self.sites(data), reduction, params)
        self.log.draw(
            reduction.name, lambda: plan.drawing(f"one round: {reduction.name}", reduction.name)
        )
        stamped: list[graph.Stamped] = self._gather(plan)
        total: Total = reduction.finalize(reduction.merge([s.part for s in stamped]))
        events = [e for s in stamped for e in s.events]
        _emit(
            self.log,
            reduction.name,
            started,
            time.perf_counter() - begun,
            sum(s.part_bytes for s in stamped) + plan.params_bytes,
            events,
            None if objective is None else objective(total),
        )
        self._follow(data, events)
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
        started, begun = time.time(), time.perf_counter()
        plan = graph.unrolled_plan(self.sites(data), reduction, state, point, update, n_rounds)
        title = f"{n_rounds} rounds: {reduction.name}"
        self.log.draw(title, lambda: plan.drawing(title, reduction.name))
        advanced: list[graph.Advanced] = self._gather(plan)
        seconds = (time.perf_counter() - begun) / n_rounds
        for t, step in enumerate(advanced):
            value = None if objective is None else objective(step.state)
            moved = step.part_bytes + sizeof(step.state) * len(data.bundles)
            _emit(
                self.log, reduction.name, started + t * seconds, seconds, moved, step.events, value
            )
        self._follow(data, advanced[-1].events)
        return [step.state for step in advanced]

    def map(
        self, data: BlockDataset, fn: Callable[[Bundle, Params], Bundle], params: Params
    ) -> BlockDataset:
        """``fn`` of every bundle where it lives."""
        futures = graph.map_plan(self.sites(data), fn, params).submit(self.client)
        distributed.wait(futures)
        return data.replaced(futures)

    def _gather(self, plan: graph.Plan) -> Any:
        futures = plan.submit(self.client)
        try:
            return self.client.gather(futures)
        except (CancelledError, distributed.client.FutureCancelledError) as error:
            raise DataLostError(
                "Blocks were lost with their worker and cannot be computed again: the data were put there "
                "with client.scatter, which keeps no recipe. Build them with dask.array or "
                f"dask.dataframe (from_array, read_parquet, ...) instead. Dask said: {error}"
            ) from error
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

    def close(self) -> None:
        """Send the last events."""
        self._publisher.flush()


# ---------------------------------------------------------------- opening


def open_dataset(
    X: Any,
    y: Any = None,
    weight: Any = None,
    *,
    spec: Spec,
    log: FitLog | None = None,
    class_weights: ClassWeights | None = None,
    edges: RowEdges | None = None,
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
    source = open_source(X, y, weight)
    client = None if isinstance(source, LocalSource) else active_client()
    if isinstance(source, DaskSource):
        refuse_foreign_futures(source, client)
    executor = LocalExecutor(log) if client is None else GraphExecutor(client, log)
    log.emit(FitEvent(log.name, "started", time.time()))
    try:
        if isinstance(executor, GraphExecutor) and isinstance(source, DaskSource):
            return _open_remote(executor, source, spec, class_weights, edges), executor
        return _open_local(_parts(source), spec, log, class_weights, edges), executor
    except BaseException:
        log.emit(FitEvent(log.name, "failed", time.time()))
        executor.close()
        raise


def _parts(source: LocalSource | DaskSource) -> list[tuple[Any, Any, Any]]:
    if isinstance(source, LocalSource):
        return [(source.X, source.y, source.weight)]
    return _computed(source)


def _computed(source: DaskSource) -> list[tuple[Any, Any, Any]]:
    """Every part of a lazy source, computed in this process by Dask's own scheduler."""
    parts = [source.part_keys(i) for i in range(len(source.X))]
    compute: Any = dask.threaded.get
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
    refs = [
        BundleRef(b, f"local-{i}", b.n_rows, b.nbytes, len(b.blocks)) for i, b in enumerate(bundles)
    ]
    data = BlockDataset(refs, facts)
    tasks = _load_events([x.facts for x in loaded], ["local-0"] * len(loaded), {})
    _opened(log, data, started, time.perf_counter() - begun, tasks)
    return data


def _open_remote(
    executor: GraphExecutor,
    source: DaskSource,
    spec: Spec,
    class_weights: ClassWeights | None,
    edges: RowEdges | None,
) -> BlockDataset:
    started, begun = time.time(), time.perf_counter()
    client, workers = executor.client, list(executor.workers.values())
    sizes = source.sizes
    homes = [workers[j].address for j in even_out(sizes, _held(client, source, workers), workers)]
    plan, _ = graph.load_plan(source, spec, homes)
    futures = plan.submit(client)
    n = len(homes)
    try:
        known: list[tuple[BlockFacts, str]] = client.gather(futures[n:])
        blocks = [facts for facts, _ in known]
        facts = merge_facts(blocks, spec)
        labelling = _labelling(facts, blocks, class_weights)
        pieces = _pieces(facts, blocks)
        groups, at = (
            _packed(executor, pieces, homes)
            if edges is None
            else _regrouped(executor, pieces, homes, edges(facts))
        )
        bundles = _assembled(executor, futures[:n], groups, at, labelling)
        data = BlockDataset(bundles, facts)
    finally:
        for future in futures:
            future.release()
    threads = {a: w.n_threads for a, w in executor.workers.items()}
    tasks = _load_events(blocks, [at for _, at in known], threads)
    _opened(executor.log, data, started, time.perf_counter() - begun, tasks)
    return data


def _held(
    client: distributed.Client, source: DaskSource, workers: Sequence[WorkerInfo]
) -> list[int | None]:
    """The worker that already holds each part of X, or None."""
    futures = source.futures()
    present = [f for f in futures if f is not None]
    if not present:
        return [None] * len(futures)
    position = {w.address: i for i, w in enumerate(workers)}
    where = client.who_has(present)
    out: list[int | None] = []
    for future in futures:
        holders = where.get(future.key, ()) if future is not None else ()
        out.append(next((position[a] for a in holders if a in position), None))
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
    loaded: Sequence[distributed.Future[Any]],
    groups: Sequence[Sequence[Piece]],
    at: Sequence[str],
    labelling: Labelling | None,
) -> list[BundleRef]:
    futures = graph.assemble_plan(loaded, groups, at, labelling).submit(executor.client)
    for part in loaded:  # now, not later: each goes as soon as its bundles are made
        part.release()
    distributed.wait(futures)
    refs = []
    for future, group, home in zip(futures, groups, at, strict=True):
        rows, size = sum(p.n_rows for p in group), sum(p.nbytes for p in group)
        refs.append(BundleRef(future, home, rows, size, len(group)))
    return refs


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
    _emit(log, "load", began, seconds, 0, tasks, None)


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
