"""Rows dealt out evenly to the workers, for members of other packages that train on a cluster.

In ``lightgbm.dask`` every worker learns from its own rows which classes there are and, for its share of the
features, where the bins end. One without a row of some class takes the task for another one than its peers
do, so that codes are mixed up or a worker dies ("Socket recv error"); one with few rows cuts bins badly.

So before such a member is fitted, one round counts the rows of each class on each worker. Where a worker
lacks a class, or has less than half of an even share of the rows (as when a fold is what one worker holds, or
the labels are sorted), all rows are dealt out: sorted by class, one after the other to the workers in turn,
as StratifiedKFold deals to folds. Then each worker has rows of every class, from all over the data. Where the
rows of a class are fewer than the workers, only so many workers get rows.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from daskml_kit.exceptions import ClusterError
from daskml_kit.runtime import graph, moves
from daskml_kit.runtime.block import Block, Bundle
from daskml_kit.runtime.dataset import BlockDataset
from daskml_kit.runtime.executor import Executor
from daskml_kit.runtime.jobs import COPIES, slots
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.runtime.remote import GraphExecutor
from daskml_kit.typing import Array, IntArray


class _Counted(NamedTuple):
    """One block: its order among the others, the worker that holds it, and its rows of each class."""

    start: int
    home: str
    counts: IntArray


@dataclass(frozen=True, eq=False)
class Census:
    """Rows of each class in each block, in the order of the blocks.

    Attributes
    ----------
    starts : of the blocks with rows, increasing
    homes : the workers that hold them
    counts : (n_blocks, n_classes); one class for regression
    """

    starts: list[int]
    homes: list[str]
    counts: IntArray

    @property
    def present(self) -> IntArray:
        """Codes of the classes that have rows, increasing."""
        return np.flatnonzero(self.counts.sum(axis=0))

    @property
    def codes(self) -> IntArray:
        """For each class its place among those that have rows."""
        return np.searchsorted(self.present, np.arange(self.counts.shape[1]))


def _codes(block: Block, n_classes: int) -> Array:
    return np.zeros(block.n_rows, dtype=np.intp) if n_classes == 1 else np.asarray(block.y)


def _count(block: Block, n_classes: int) -> tuple[_Counted, ...]:
    if not block.n_rows:
        return ()
    counts = np.bincount(_codes(block, n_classes), minlength=n_classes)
    return (_Counted(block.start, graph.here(), counts),)


def _chain(a: tuple[_Counted, ...], b: tuple[_Counted, ...]) -> tuple[_Counted, ...]:
    return a + b


_COUNT: Reduction[int, tuple[_Counted, ...], tuple[_Counted, ...]] = Reduction(
    "count-rows", _count, _chain
)


def census(executor: Executor, data: BlockDataset) -> Census:
    """Which rows are where: one round over y."""
    classes = data.facts.classes
    n_classes = 1 if classes is None else len(classes)
    counted = executor.reduce(data, _COUNT, n_classes)
    found = sorted(counted, key=lambda block: block.start)
    counts = np.array([b.counts for b in found], dtype=np.intp).reshape(-1, n_classes)
    return Census([b.start for b in found], [b.home for b in found], counts)


def is_even(found: Census, data: BlockDataset) -> bool:
    """Whether each worker of ``data`` has rows of every class and at least half of an even share.

    Parameters
    ----------
    found : of the rows that a member is shown
    data : of the running fit, all rows
    """
    workers = {b.worker for b in data.bundles if b.n_rows} | set(found.homes)
    homes = np.array(found.homes)
    held = np.array([found.counts[homes == w].sum(axis=0) for w in sorted(workers)])
    rows = held.sum(axis=1)
    return bool(held[:, found.present].all() and (2 * len(workers) * rows >= rows.sum()).all())


# ---------------------------------------------------------------- dealing


@dataclass(frozen=True, eq=False)
class _Deal:
    """The share of each row: its place among all rows, sorted by class, modulo the number of shares."""

    n_shares: int
    starts: list[int]  # of the blocks, increasing
    places: IntArray  # (n_blocks, n_classes): of a block's first row of each class

    def of(self, block: Block) -> IntArray:
        codes = _codes(block, self.places.shape[1])
        out = np.zeros(len(codes), dtype=np.intp)
        first = self.places[bisect_right(self.starts, block.start) - 1]
        for c in np.unique(codes):
            own = np.flatnonzero(codes == c)
            out[own] = (first[c] + np.arange(len(own))) % self.n_shares
        return out


def _dealt(bundle: Bundle, deal: _Deal) -> list[Bundle]:
    """A bundle for each share."""
    shares = [(block, deal.of(block)) for block in bundle]
    return [
        Bundle(tuple(_taken(block, np.flatnonzero(of == share)) for block, of in shares))
        for share in range(deal.n_shares)
    ]


def _taken(block: Block, own: IntArray) -> Block:
    y, weight = block.y, block.weight
    return Block(
        block.X[own],
        None if y is None else y[own],
        None if weight is None else weight[own],
        block.start,
        block.index,
    )


def dealt(
    executor: GraphExecutor, data: BlockDataset, found: Census, name: str, share: float
) -> BlockDataset:
    """All rows as one block on each worker, each with as many rows of each class, up to one.

    Parameters
    ----------
    executor : of the running fit
    data : the rows that a member is shown; stays as it is
    found : of these rows
    name : of the member in words, for errors
    share : the bytes of ``data`` as a share of ``data.facts.nbytes``, about

    Raises
    ------
    ClusterError
        If a class has fewer rows than there are workers, and the rows don't fit on so few of them.
    """
    totals = found.counts.sum(axis=0)
    homes = _homes(executor, found, name, share * data.facts.nbytes)
    before = np.cumsum(found.counts, axis=0) - found.counts
    deal = _Deal(len(homes), found.starts, before + np.cumsum(totals) - totals)
    return moves.deal(executor.client, executor.sites(data), data, _dealt, deal, homes)


def _homes(executor: GraphExecutor, found: Census, name: str, nbytes: float) -> list[str]:
    """The workers that get rows: those with the most memory, if a class has not enough rows for all."""
    totals = found.counts.sum(axis=0)
    fewest = int(totals[found.present].min())
    workers = sorted(executor.workers.values(), key=lambda w: w.memory_limit or np.inf)[::-1]
    homes = [w.address for w in workers[:fewest]]
    if len(homes) < len(workers) and not slots(workers[len(homes) - 1], COPIES * nbytes / fewest):
        raise ClusterError(
            f"{name} trains on the cluster by itself, each worker on rows of every class, and the rarest of "
            f"its classes has {fewest} rows for {len(workers)} workers. All rows don't fit on so few. "
            "Leave out classes that are so rare, use fewer folds or larger workers, or an estimator of "
            "daskml_kit, which needs no rows of every class anywhere."
        )
    return homes


__all__ = ["Census", "census", "dealt", "is_even"]
