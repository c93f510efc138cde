"""Whole jobs beside the rounds: a function of gathered rows, run once on one worker.

A round takes a small part from every block. A job is the other way round: it takes rows of every block to one
worker and does there what can't be cut into rounds, the fit of a scikit-learn estimator::

    bundle 0 --cut--+                      bundle 0 --cut--+
    bundle 1 --cut--+-> job 0 (worker a)   bundle 1 --cut--+-> job 1 (worker b)    ... a bounded number
    bundle 2 --cut--+                      bundle 2 --cut--+                           at a time

Each bundle is cut where it lives, so only the rows that a job asks for travel. Jobs are independent of each
other: when a worker is lost Dask runs the jobs again that it had, and those only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeAlias
from uuid import uuid4

import distributed
from dask.system import CPU_COUNT
from dask.utils import format_bytes
from sklearn import get_config, set_config

from daskml_kit.exceptions import ClusterError
from daskml_kit.runtime.block import Block, Bundle
from daskml_kit.runtime.cluster import cluster_errors
from daskml_kit.runtime.dataset import BlockDataset
from daskml_kit.runtime.events import TaskEvent
from daskml_kit.runtime.executor import Executor, emit_round
from daskml_kit.runtime.graph import PREFIX, here
from daskml_kit.runtime.placement import WorkerInfo
from daskml_kit.runtime.remote import GraphExecutor
from daskml_kit.runtime.size import pickled_bytes

RowCut: TypeAlias = "Callable[[Block], Block]"

GATHER_MEMORY_SHARE = 0.6
"""Share of a worker's memory limit that the jobs running there may fill with rows: Dask spills from there."""

COPIES = 2
"""The rows of a job are in memory as they came and joined."""


@dataclass(frozen=True, eq=False)
class Job:
    """What is done once, on one worker, with rows gathered there.

    Attributes
    ----------
    name : str, in words, for errors: "the member 'trees'"
    run : callable Block -> result
        Sees the gathered rows as one block, in the order of the global rows. The result comes back to
        the driver.
    cut : callable Block -> Block, or None
        The rows and columns of a block that the job needs, with the ``start`` of the block. None: all.
    share : float
        Bytes that the job gathers as a share of the bytes of the data, at most about.
    """

    name: str
    run: Callable[[Block], Any]
    cut: RowCut | None = None
    share: float = 1.0


@dataclass(frozen=True, eq=False)
class _Done:
    result: Any
    event: TaskEvent
    size: int

    def __sizeof__(self) -> int:
        return self.size


def run_jobs(
    executor: Executor,
    data: BlockDataset,
    jobs: Sequence[Job],
    *,
    purpose: str,
    at_most: int | None = None,
) -> list[Any]:
    """The results of all jobs, in their order.

    Parameters
    ----------
    executor, data : of the running fit
    jobs : independent of each other
    purpose : name of the round as which they are reported
    at_most : int or None
        Most jobs at the same time. None: on a cluster as many as it has threads, in this process one.
        Negative: as many as there are threads. Fewer where their rows would not fit beside each other.

    Raises
    ------
    ClusterError
        Before any job has run, if one needs more memory than the largest worker has.
    """
    if not jobs:
        return []
    started, begun = time.time(), time.perf_counter()
    if isinstance(executor, GraphExecutor):
        done = _Dispatch(executor, data, jobs, at_most).run()
    else:
        done = _in_this_process(data, jobs, at_most)
    moved = sum(d.size for d in done) + sum(d.event.nbytes for d in done)
    seconds = time.perf_counter() - begun
    emit_round(executor.log, purpose, started, seconds, moved, [d.event for d in done], None)
    return [d.result for d in done]


def _in_this_process(data: BlockDataset, jobs: Sequence[Job], at_most: int | None) -> list[_Done]:
    bundles = [b.handle for b in data.bundles]

    def whole(i: int) -> _Done:
        job = jobs[i]
        return _run(i, job, [_cut(b, job.cut) for b in bundles])

    threads = 1 if at_most is None else at_most if at_most > 0 else CPU_COUNT
    if threads == 1:
        return [whole(i) for i in range(len(jobs))]
    with ThreadPoolExecutor(threads, initializer=_configure, initargs=(get_config(),)) as pool:
        return list(pool.map(whole, range(len(jobs))))


def _configure(settings: dict[str, Any]) -> None:
    """scikit-learn's settings are a thread's own."""
    set_config(**settings)


def _cut(bundle: Bundle, cut: RowCut | None) -> Bundle:
    return bundle if cut is None else bundle.map(cut).joined()


def _run(index: int, job: Job, bundles: Sequence[Bundle]) -> _Done:
    started, begun = time.time(), time.perf_counter()
    blocks = sorted((b for bundle in bundles for b in bundle), key=lambda b: b.start)
    (block,) = Bundle(tuple(blocks)).joined()
    try:
        result = job.run(block)
    except Exception as error:
        error.add_note(f"This happened while fitting {job.name}.")
        raise
    event = TaskEvent(
        worker=here(),
        bundle=index,
        n_blocks=len(blocks),
        rows=block.n_rows,
        nbytes=block.nbytes,
        started=started,
        compute_seconds=time.perf_counter() - begun,
        threads=1,
    )
    return _Done(result, event, pickled_bytes(result))


class _Dispatch:
    """Hands jobs to workers that have a free slot, until all are done."""

    def __init__(
        self,
        executor: GraphExecutor,
        data: BlockDataset,
        jobs: Sequence[Job],
        at_most: int | None,
    ) -> None:
        self.client = executor.client
        self.data, self.jobs = data, jobs
        needed = max(self._bytes(job) for job in jobs)
        self.free = {a: slots(w, needed) for a, w in executor.workers.items()}
        total = sum(self.free.values())
        if not total:
            self._refuse(executor.workers)
        self.at_most = total if at_most is None or at_most < 0 else max(1, at_most)
        self.at: dict[Any, tuple[int, str]] = {}  # future -> job and worker

    def _bytes(self, job: Job) -> float:
        return COPIES * job.share * self.data.facts.nbytes

    def _refuse(self, workers: dict[str, WorkerInfo]) -> None:
        job = max(self.jobs, key=self._bytes)
        most = max(w.memory_limit or 0 for w in workers.values())
        raise ClusterError(
            f"Fitting {job.name} needs about {format_bytes(int(self._bytes(job)))} on one worker to gather "
            f"its rows, and the largest worker allows {format_bytes(int(GATHER_MEMORY_SHARE * most))} "
            f"({GATHER_MEMORY_SHARE:.0%} of its memory limit). Use an estimator of daskml_kit, which is "
            "trained where the rows are, fewer rows (max_samples, where there is one), a block-wise "
            "ensemble, or workers with more memory."
        )

    def run(self) -> list[_Done]:
        waiting = list(enumerate(self.jobs))[::-1]
        done: dict[int, _Done] = {}
        running = distributed.as_completed([])
        try:
            with cluster_errors(self.client):
                while waiting or self.at:
                    while waiting and len(self.at) < self.at_most and any(self.free.values()):
                        running.add(self._submit(*waiting.pop()))
                    future = next(running)
                    index, worker = self.at.pop(future)
                    self.free[worker] += 1
                    try:
                        done[index] = future.result()
                    finally:  # of a failed job, too, the error's traceback would keep it
                        future.release()
        finally:
            if self.at and self.client.status == "running":  # interrupted, or a job failed
                self.client.cancel(list(self.at))
        return [done[i] for i in range(len(self.jobs))]

    def _submit(self, index: int, job: Job) -> Any:
        worker = max(self.free, key=lambda a: self.free[a])
        self.free[worker] -= 1
        pinned: dict[str, Any] = {"allow_other_workers": True, "pure": False}
        if job.cut is None:
            rows = [b.handle for b in self.data.bundles]
        else:
            rows = [
                self.client.submit(
                    _cut, b.handle, job.cut, workers=[b.worker], key=_key("cut"), **pinned
                )
                for b in self.data.bundles
            ]
        future = self.client.submit(
            _run, index, job, rows, workers=[worker], key=_key("job"), **pinned
        )
        self.at[future] = index, worker
        return future


def slots(worker: WorkerInfo, nbytes: float) -> int:
    """How many jobs of that size run side by side on a worker; 0 where one alone is too large.

    Examples
    --------
    >>> slots(WorkerInfo("a", n_threads=4, memory_limit=1000), 250.0)
    2
    """
    if not worker.memory_limit:
        return worker.n_threads
    fitting = GATHER_MEMORY_SHARE * worker.memory_limit / max(nbytes, 1.0)
    return min(worker.n_threads, int(fitting))


def _key(purpose: str) -> str:
    return f"{PREFIX}-{purpose}-{uuid4().hex}"


__all__ = ["COPIES", "GATHER_MEMORY_SHARE", "Job", "RowCut", "run_jobs", "slots"]
