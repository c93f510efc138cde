"""Rounds on threads of this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from dask.sizeof import sizeof
from dask.system import CPU_COUNT

from daskml_kit.runtime import graph
from daskml_kit.runtime.block import Bundle
from daskml_kit.runtime.dataset import BlockDataset, BundleRef
from daskml_kit.runtime.events import FitLog
from daskml_kit.runtime.executor import (
    Item,
    Params,
    Piece,
    Result,
    Shared,
    State,
    Steps,
    Total,
    emit_round,
    for_a_while,
    one_round,
)
from daskml_kit.runtime.reduction import Reduction


def _side_by_side(
    fn: Callable[..., Result], calls: Sequence[tuple[Any, ...]], threads: int
) -> list[Result]:
    if threads == 1:
        return [fn(*call) for call in calls]
    with ThreadPoolExecutor(threads, thread_name_prefix=graph.LOCAL_THREADS) as pool:
        return list(pool.map(lambda call: fn(*call), calls))


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
        emit_round(
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
        return one_round(self)(
            data, reduction, state,
            point=point, update=update, n_rounds=n_rounds, objective=objective,
        )  # fmt: skip

    def lead(self, data: BlockDataset, steps: Steps[State], state: State) -> State:
        """The steps in this thread."""
        return steps(self, data, state, for_a_while())

    def map(
        self, data: BlockDataset, fn: Callable[[Bundle, Params], Bundle], params: Params
    ) -> BlockDataset:
        """``fn`` of every bundle, in this thread."""
        return data.replaced([fn(b.handle, params) for b in data.bundles])

    def replicate(self, data: BlockDataset) -> BlockDataset:
        """All rows for each processor, which share them."""
        started, begun = time.time(), time.perf_counter()
        handles = [b.handle for b in data.bundles]
        whole = graph.all_rows(0, handles)
        copies = [graph.all_rows(i, [whole]) for i in range(self.lanes())]
        emit_round(self.log, "replicate", started, time.perf_counter() - begun, 0, [], None)
        size = data.facts.n_rows, whole.nbytes, 1
        refs = [BundleRef(copy, f"local-{i}", *size) for i, copy in enumerate(copies)]
        return BlockDataset(refs, data.facts, fixed=True)

    def fan(
        self,
        data: BlockDataset,
        name: str,
        prepare: Callable[[Sequence[Bundle]], Shared],
        fn: Callable[[Shared, Item], Result],
        items: Sequence[Item],
    ) -> list[Result]:
        """The items on all threads of this process."""
        started, begun = time.time(), time.perf_counter()
        shared = prepare([b.handle for b in data.bundles])
        threads = max(1, min(len(items), CPU_COUNT))
        size = data.facts.n_rows, sum(b.nbytes for b in data.bundles)
        calls = [(i, threads, fn, size, shared, item) for i, item in enumerate(items)]
        stamped = _side_by_side(graph.run_item, calls, threads)
        return self._reported(name, started, begun, stamped)

    def exchange(
        self,
        data: BlockDataset,
        name: str,
        cut: Callable[[Bundle, Params], list[Piece]],
        fn: Callable[[Sequence[Piece], Item], Result],
        params: Params,
        items: Sequence[Item],
    ) -> list[Result]:
        """The bundles, then the items, on all threads of this process."""
        started, begun = time.time(), time.perf_counter()
        handles = [b.handle for b in data.bundles]
        threads = max(1, min(len(items), CPU_COUNT))
        cuts = [(cut, handle, params) for handle in handles]
        pieces = _side_by_side(graph.cut_up, cuts, min(len(cuts), CPU_COUNT))
        calls = [(i, threads, fn, [own[i] for own in pieces], item) for i, item in enumerate(items)]
        stamped = _side_by_side(graph.run_share, calls, threads)
        return self._reported(name, started, begun, stamped)

    def lanes(self) -> int:
        """One a processor."""
        return CPU_COUNT

    def _reported(
        self, name: str, started: float, begun: float, stamped: Sequence[graph.Stamped]
    ) -> list[Any]:
        emit_round(
            self.log,
            name,
            started,
            time.perf_counter() - begun,
            sum(s.part_bytes for s in stamped),
            [e for s in stamped for e in s.events],
            None,
        )
        return [s.part for s in stamped]

    def close(self) -> None:
        """Stop the threads."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None


__all__ = ["LocalExecutor"]
