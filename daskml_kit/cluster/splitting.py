"""Splitting clusters in two, all that may be needed next in the same passes.

A split depends on its own rows only, so clusters that the strategy will come to later, or never, are split
side by side with the first: for k clusters about log2(k) generations of 2-means instead of k - 1, one
after the other. Which splits count is decided afterwards, best first, as if one had followed the other.

A split begins with two rows of the cluster, and where there are many rows it goes as far as a sample of them
tells before all are read (:mod:`daskml_kit.cluster.refining`): the sample comes with the two rows.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple, TypeAlias

import numpy as np
from scipy import sparse

from daskml_kit.cluster.assignment import Tally
from daskml_kit.cluster.ground import Ground
from daskml_kit.cluster.lloyd import Rule, Run, stepped
from daskml_kit.cluster.refining import (
    LEAST_ROWS_EACH,
    ROWS_EACH,
    SAMPLE_VALUES,
    SHARE,
    TOL,
    Points,
    sample_of,
)
from daskml_kit.cluster.selection import Chosen, merged, race, smallest
from daskml_kit.cluster.side_by_side import side_by_side
from daskml_kit.kernels.exact_sums import Grid, resolved
from daskml_kit.kernels.pairs import PairSums, Sides, descend, own_distances, sum_pairs
from daskml_kit.runtime.block import Block
from daskml_kit.runtime.dataset import BlockDataset
from daskml_kit.runtime.executor import Executor
from daskml_kit.runtime.random import generator
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.typing import Array, FloatArray, IntArray, Matrix

LAST = -1.0
"""Score of clusters that cannot be split: less than any other."""


class Tree(NamedTuple):
    """Nodes as they were made; the two children of a node follow each other."""

    centers: FloatArray
    """(m, d)"""
    child: IntArray
    """(m,) int64: the first child, -1 for a leaf."""


class Splitting(NamedTuple):
    """Which nodes are split, and where their pairs of centres are."""

    tree: Tree
    slot: IntArray
    """(m,) int64: the pair of each node, -1 for none."""
    pairs: FloatArray
    """(2 p, d)"""
    grid: Grid
    run: int = 0
    """Which scratch is this one's."""
    measured: bool = False
    """Whether the costs of all rows are asked for."""


class Drawing(NamedTuple):
    """Rows to draw from the nodes that are split, in proportion to their weights or to what is asked."""

    tree: Tree
    slot: IntArray
    seed: int
    purpose: str
    far_from: FloatArray | None = None
    """(p, d): draw in proportion to the squared distance to these."""
    alike: bool = False
    """Whether weights don't count."""


# ---------------------------------------------------------------- one pass


def nodes(block: Block, tree: Tree) -> IntArray:
    """The leaf of each row (n,) int32, kept in the block's scratch: rows go on from where they were."""
    known: tuple[Tree, IntArray] | None = block.scratch.pop("bisect", None)
    if known is None or not _same(known[0], tree):
        grew = known is not None and _grew(known[0], tree)
        at = known[1] if known is not None and grew else np.zeros(block.n_rows, np.int32)
        descend(block.X, tree.centers, tree.child, at)
        known = tree, at
    block.scratch["bisect"] = known
    return known[1]


def _same(old: Tree, new: Tree) -> bool:
    return np.array_equal(old.child, new.child) and np.array_equal(old.centers, new.centers)


def _grew(old: Tree, new: Tree) -> bool:
    m = len(old.centers)
    inner = old.child >= 0
    same = np.array_equal(old.centers, new.centers[:m])
    return same and np.array_equal(old.child[inner], new.child[:m][inner])


class Kept(NamedTuple):
    """The sides of a block's rows in its scratch, and what they are right for."""

    tree: Tree
    slot: IntArray
    grid: Grid
    sides: Sides

    def fits(self, asked: Splitting) -> bool:
        """Whether the nodes and the places of their pairs are the same; centres may have moved."""
        n_pairs, there = len(self.sides.n_rows), asked.slot >= 0
        return (
            n_pairs == len(asked.pairs)
            and _same(self.tree, asked.tree)
            and np.array_equal(self.slot[there], asked.slot[there])
            and all(map(np.array_equal, self.grid, asked.grid))
        )


def _sums_chunk(block: Block, asked: Splitting) -> PairSums:
    at, key = nodes(block, asked.tree), f"bisect {asked.run}"
    # Taken out meanwhile: a pass that is broken off leaves nothing behind that is half right.
    kept: Kept | None = block.scratch.pop(key, None)
    if kept is None or not kept.fits(asked):
        sides = Sides.unknown(block.n_rows, *asked.pairs.shape)
        kept = Kept(asked.tree, asked.slot, asked.grid, sides)
    pairs = asked.slot, asked.pairs, asked.grid
    found = sum_pairs(block.X, block.weight, at, *pairs, kept.sides, with_costs=asked.measured)
    block.scratch[key] = kept
    return found


SPLIT: Reduction[Splitting, PairSums, PairSums] = Reduction("bisect", _sums_chunk, operator.add)
SPLITS = side_by_side(SPLIT)


def _draw_chunk(size: int, block: Block, asked: Drawing) -> tuple[Chosen, ...]:
    at = nodes(block, asked.tree)
    mass = np.ones(block.n_rows) if block.weight is None or asked.alike else block.weight
    if asked.far_from is not None:
        mass = mass * own_distances(block.X, at, asked.slot, asked.far_from)
    keys, slot = race(block, mass, asked.seed, asked.purpose), asked.slot[at]
    return tuple(
        smallest(block, np.where(slot == k, keys, np.inf), size)
        for k in range(int(asked.slot.max()) + 1)
    )


def _draw_combined(size: int, a: tuple[Chosen, ...], b: tuple[Chosen, ...]) -> tuple[Chosen, ...]:
    return tuple(merged(size, p, q) for p, q in zip(a, b, strict=True))


def draw(size: int) -> Reduction[Drawing, tuple[Chosen, ...], tuple[Chosen, ...]]:
    """At most ``size`` rows of each node that is split, without replacement: one pass."""
    return Reduction("bisect-draw", partial(_draw_chunk, size), partial(_draw_combined, size))


Leaves: TypeAlias = "Iterable[tuple[int, IntArray]]"


def _leaves_chunk(block: Block, tree: Tree) -> Leaves:
    return [(block.start, nodes(block, tree).copy())]


def _leaves_combined(a: Leaves, b: Leaves) -> Leaves:
    return [*a, *b]


LEAVES: Reduction[Tree, Leaves, Leaves] = Reduction("label", _leaves_chunk, _leaves_combined)
"""The leaf of each row, by block: for data in this process."""


# ---------------------------------------------------------------- the tree


@dataclass(eq=False)
class Growth:
    """The tree as it grows, with more splits than are needed."""

    centers: list[FloatArray]
    costs: list[float]  # weighted squared distances of a node's rows to its centre
    scores: list[float]  # what the strategy compares
    n_rows: list[int]  # of each node
    child: list[int] = field(default_factory=lambda: [-1])

    @property
    def tree(self) -> Tree:
        """All of it."""
        return Tree(np.stack(self.centers), np.array(self.child, dtype=np.int64))

    def wanted(self, n_leaves: int) -> tuple[list[int], set[int]]:
        """Leaves that must be split before the first ``n_leaves`` are known, and the nodes split so far.

        Of the leaves whose split is not known, at most as many as splits are missing can be needed.
        """
        leaves, inner = [0], set[int]()
        while len(leaves) < n_leaves:
            best = max(leaves, key=lambda node: (self.scores[node], -node))
            if self.child[best] < 0:
                missing = n_leaves - len(leaves)
                ranked = sorted(leaves, key=lambda node: (-self.scores[node], node))[:missing]
                return [node for node in ranked if self.child[node] < 0], inner
            leaves.remove(best)
            inner.add(best)
            leaves += [self.child[best], self.child[best] + 1]
        return [], inner

    def pruned(self, inner: set[int]) -> tuple[Tree, list[int]]:
        """The tree with the splits of these nodes only, and its leaves from left to right."""
        kept = [c if node in inner else -1 for node, c in enumerate(self.child)]
        leaves, stack = [], [0]
        while stack:
            node = stack.pop()
            if kept[node] < 0:
                leaves.append(node)
            else:
                stack += [kept[node] + 1, kept[node]]
        return Tree(np.stack(self.centers), np.array(kept, dtype=np.int64)), leaves


@dataclass(frozen=True)
class Strategy:
    """How to split, and what to split next."""

    n_runs: int
    max_iter: int
    tol: float  # of the summed squared shift of two centres
    far: bool  # draw the second row far from the first
    by_rows: bool  # the cluster with the most rows next, else that of greatest inertia
    seed: int
    given: Given | None = None  # the caller's start of a split, in the place of rows drawn


def split(ground: Ground, growth: Growth, which: Sequence[int], how: Strategy) -> None:
    """Split some leaves: for each run two draws or one, one pass an iteration, and one for the costs."""
    tree, facts = growth.tree, ground.data.facts
    slot = np.full(len(tree.centers), -1, dtype=np.int64)
    slot[list(which)] = np.arange(len(which))
    steps = Steps(
        tree,
        slot,
        tuple(which),
        tuple(growth.costs[leaf] for leaf in which),
        replace(how, given=None),  # what leads elsewhere has no use for the caller's code
        ground.origin,
        ground.grid,
        sample_size(len(which), facts.n_rows, facts.n_features),
    )
    n_rows = [growth.n_rows[leaf] for leaf in which]
    halves = Halves() if how.given is None else steps.given(ground, how.given, n_rows)
    while halves.final is None:
        halves = ground.executor.lead(ground.data, steps, halves)
    for k, leaf in enumerate(which):
        _append(growth, leaf, halves.runs, halves.final, k, how)


def sample_size(n_splits: int, n_rows: int, n_features: int) -> int:
    """Rows of each leaf's sample, 0 where they would be too few to help.

    Examples
    --------
    >>> sample_size(1, 40_000, 20), sample_size(4, 40_000, 20), sample_size(2, 1_000, 20)
    (2000, 625, 0)
    """
    rows = min(n_rows // SHARE, SAMPLE_VALUES // n_features)
    size = min(2 * ROWS_EACH, rows // n_splits)
    return size if size >= 2 * LEAST_ROWS_EACH else 0


Given: TypeAlias = "Callable[[Matrix, np.random.RandomState], FloatArray]"
"""Rows of a cluster, or a sample of them, and where draws come from -> two centres (2, d)."""


def most_given(n_features: int) -> int:
    """Rows that a caller's start is handed at most, and that the driver holds at a time.

    Examples
    --------
    >>> most_given(20), most_given(100_000)
    (104857, 1000)
    """
    return max(SAMPLE_VALUES // n_features, ROWS_EACH)


def groups_of(sizes: Sequence[int], most: int) -> list[list[int]]:
    """Places of numbers that follow each other and sum up to at most ``most``; a larger number is alone.

    Examples
    --------
    >>> groups_of([5, 2, 1, 1, 9], 4)
    [[0], [1, 2, 3], [4]]
    """
    groups: list[list[int]] = []
    total = 0
    for place, size in enumerate(sizes):
        total += size
        if not groups or total > most:
            groups.append([])
            total = size
        groups[-1].append(place)
    return groups


class Halves(NamedTuple):
    """How far the splits of some leaves are."""

    runs: tuple[tuple[Run, ...], ...] = ()
    """Each run's pair for each leaf, as far as they are drawn."""
    final: tuple[PairSums, ...] | None = None
    """Of each run at its last centres, in the end."""


@dataclass(frozen=True, eq=False)
class Steps:
    """The rounds that split some leaves: what :meth:`Executor.lead` is given."""

    tree: Tree
    slot: IntArray  # of the leaves that are split
    which: tuple[int, ...]  # these leaves
    costs: tuple[float, ...]  # of each of them
    how: Strategy
    origin: FloatArray  # (d,) of the ground
    grid: Grid
    n_sample: int  # rows of each leaf on which its split begins

    def given(self, ground: Ground, start: Given, n_rows: Sequence[int]) -> Halves:
        """Runs that begin where the caller says; the caller's code runs here, on the driver.

        One pass for as many leaves, which have ``n_rows``, as :func:`most_given` holds the rows of.
        """
        name = f"bisect-given-{len(self.tree.centers)}"
        size = most_given(ground.data.facts.n_features)
        pairs: list[list[FloatArray]] = []
        for group in groups_of([min(own, size) for own in n_rows], size):
            leaves, slot = [self.which[k] for k in group], np.full_like(self.slot, -1)
            slot[leaves] = np.arange(len(leaves))
            drawing = Drawing(self.tree, slot, self.how.seed, name, alike=True)
            drawn = ground.executor.reduce(ground.data, draw(size), drawing)
            pairs += [
                self._given(ground, start, f"{name}-{leaf}", leaf, one)
                for leaf, one in zip(leaves, drawn, strict=True)
            ]
        return Halves(tuple(tuple(map(Run, own)) for own in zip(*pairs, strict=True)))

    def _given(
        self, ground: Ground, start: Given, name: str, leaf: int, drawn: Chosen
    ) -> list[FloatArray]:
        """Each run's pair (2, d) for a leaf of which these rows were drawn."""
        points = ground.moved_back(drawn.points[np.argsort(drawn.rows)])
        rows = sparse.csr_matrix(points) if ground.data.facts.sparse else points
        pairs = []
        for run in range(self.how.n_runs):
            draws = generator(self.how.seed, f"{name}-{run}").integers(2**31)
            pair = start(rows, np.random.RandomState(draws)) if len(points) > 1 else points
            pairs.append(_two(ground.moved(pair), self.tree.centers[leaf]))
        return pairs

    def __call__(
        self, executor: Executor, data: BlockDataset, halves: Halves, go_on: Callable[[], bool]
    ) -> Halves:
        """Draws, then iterations, then the costs, while they go on."""
        while True:
            halves = self._one(executor, data, halves)
            if halves.final is not None or not go_on():
                return halves

    def _one(self, executor: Executor, data: BlockDataset, halves: Halves) -> Halves:
        runs = halves.runs
        rule = Rule(self.how.tol, self.how.max_iter, self.origin, 0.0)
        if len(runs) < self.how.n_runs:
            drawn = self._drawn(executor, data, len(runs))
            return Halves((*runs, tuple(Run(pair) for pair in drawn)))
        if any(one.status == "empty" for own in runs for one in own):
            return Halves(self._filled(executor, data, rule, runs))
        if not any(one.status == "running" for own in runs for one in own):
            asked = tuple(
                Splitting(self.tree, self.slot, _pairs(own), self.grid, run, measured=True)
                for run, own in enumerate(runs)
            )
            final = executor.reduce(data, SPLITS, asked, objective=_least)
            return Halves(runs, tuple(one for one in final if one is not None))
        moving = tuple(self._asked(run, own) for run, own in enumerate(runs))
        found = executor.reduce(data, SPLITS, moving, objective=partial(self._least, moving))
        return Halves(
            tuple(
                own
                if sums is None
                else tuple(_advanced(rule, one, sums, k) for k, one in enumerate(own))
                for own, sums in zip(runs, found, strict=True)
            )
        )

    def _least(self, asked: Sequence[Splitting | None], found: Sequence[PairSums | None]) -> float:
        """Cost of the best run's pairs that move, from the sums alone."""
        return min(
            self._cost(splitting, sums)
            for splitting, sums in zip(asked, found, strict=True)
            if splitting is not None and sums is not None
        )

    def _cost(self, asked: Splitting, found: PairSums) -> float:
        """All squares about the leaves' centres, less what the means of halves explain of them."""
        total = 0.0
        for k, leaf in enumerate(self.which):
            if asked.slot[leaf] < 0:
                continue
            own = slice(2 * k, 2 * k + 2)
            sums, counts = resolved(found.sums[own])
            means = sums / np.where(counts > 0, counts, 1.0)[:, None]
            about = [means - at for at in (self.tree.centers[leaf], asked.pairs[own])]
            squares = [np.einsum("kj,kj->k", gaps, gaps) for gaps in about]
            total += max(self.costs[k] + float(counts @ (squares[1] - squares[0])), 0.0)
        return total

    def _asked(self, run: int, own: Sequence[Run]) -> Splitting | None:
        """The pairs that still move."""
        moving = self.slot.copy()
        for leaf, one in zip(self.which, own, strict=True):
            if one.status != "running":
                moving[leaf] = -1
        asked = Splitting(self.tree, moving, _pairs(own), self.grid, run)
        return asked if (moving >= 0).any() else None

    def _filled(
        self, executor: Executor, data: BlockDataset, rule: Rule, runs: tuple[tuple[Run, ...], ...]
    ) -> tuple[tuple[Run, ...], ...]:
        """Runs whose empty halves begin again, each at a row far from the other half: one pass."""
        far = tuple(self._far(run, own) for run, own in enumerate(runs))
        drawn = executor.reduce(data, side_by_side(draw(1)), far)
        return tuple(
            own if rows is None else tuple(_filled(rule, one, rows, k) for k, one in enumerate(own))
            for own, rows in zip(runs, drawn, strict=True)
        )

    def _far(self, run: int, own: Sequence[Run]) -> Drawing | None:
        """A row of each leaf that has an empty half, in proportion to the squared distance to the other."""
        slot = np.full_like(self.slot, -1)
        for k, (leaf, one) in enumerate(zip(self.which, own, strict=True)):
            if one.status == "empty":
                slot[leaf] = k
        name = f"bisect-{run}-{len(self.tree.centers)}-empty"
        others = np.stack([one.centers[_heavier(one)] for one in own])
        drawing = Drawing(self.tree, slot, self.how.seed, name, others)
        return drawing if (slot >= 0).any() else None

    def _drawn(self, executor: Executor, data: BlockDataset, run: int) -> list[FloatArray]:
        """Two rows (2, d) of each leaf; the leaf's centre where it has not so many."""
        tree, how = self.tree, self.how
        centers = [tree.centers[leaf] for leaf in self.which]
        name = f"bisect-{run}-{len(tree.centers)}"
        drawing = Drawing(tree, self.slot, how.seed, name)
        size = self.n_sample + 1 if self.n_sample else 2
        drawn = executor.reduce(data, draw(size), drawing)
        rows = [one.points[: 1 if how.far else 2] for one in drawn]
        if how.far:
            start = np.stack([_two(one, at)[0] for one, at in zip(rows, centers, strict=True)])
            drawing = Drawing(tree, self.slot, how.seed, f"{name}-far", start)
            second = executor.reduce(data, draw(1), drawing)
            rows = [np.concatenate([a, b.points]) for a, b in zip(rows, second, strict=True)]
        pairs = [_two(one, at) for one, at in zip(rows, centers, strict=True)]
        if not self.n_sample:
            return pairs
        return [self._refined(one, pair) for one, pair in zip(drawn, pairs, strict=True)]

    def _refined(self, drawn: Chosen, pair: FloatArray) -> FloatArray:
        """A pair (2, d) where a sample of the leaf's rows takes it."""
        points, weights = sample_of(drawn, self.n_sample)
        if len(points) < 2 * LEAST_ROWS_EACH:
            return pair
        sample = Points.of(points, weights)
        return sample.lloyd(pair, self.how.max_iter, max(self.how.tol, TOL * sample.variance))


def _two(rows: Array, center: Array) -> FloatArray:
    return np.concatenate([rows, center[None], center[None]])[:2].astype(center.dtype)


def _least(found: Sequence[PairSums | None]) -> float:
    return min(float(one.costs.sum()) for one in found if one is not None)


def _pairs(own: Sequence[Run]) -> FloatArray:
    return np.concatenate([one.centers for one in own])


def _advanced(rule: Rule, run: Run, found: PairSums, k: int) -> Run:
    if run.status != "running":
        return run
    sums, counts = resolved(found.sums[2 * k : 2 * k + 2])
    if not counts.any():
        return Run(run.centers, status="strict")
    found_now = Tally(sums, counts, 0)
    if run.n_iter == 0 and not counts.all():
        return replace(run, tally=found_now, status="empty")
    return stepped(rule, run, found_now)


def _heavier(run: Run) -> int:
    """Which of the two centres has the more weight."""
    return 0 if run.tally is None else int(np.argmax(run.tally.counts))


def _filled(rule: Rule, run: Run, drawn: Sequence[Chosen], k: int) -> Run:
    """A run with its empty half at the row that was drawn; both at the mean where all rows are equal.

    Two different rows don't lose all their rows, and the mean of some rows is never farther from all of
    them than that of others: this happens in the first iteration, or never.
    """
    if run.status != "empty" or run.tally is None:
        return run
    if not len(drawn[k].points):
        return stepped(rule, run, run.tally)
    centers = run.centers.copy()
    centers[1 - _heavier(run)] = drawn[k].points[0]
    return Run(centers, n_iter=1)


def _append(
    growth: Growth, leaf: int, runs: Sequence[Sequence[Run]], final: Sequence[PairSums], k: int,
    how: Strategy,
) -> None:  # fmt: skip
    """The two children that the best run found."""
    own = slice(2 * k, 2 * k + 2)
    best = 0
    for run, found in enumerate(final):
        if found.costs[own].sum() < final[best].costs[own].sum() * (1 - 1e-6):
            best = run
    growth.child[leaf] = len(growth.child)
    scores = (final[best].n_rows if how.by_rows else final[best].costs)[own].tolist()
    if not resolved(final[best].sums[own])[1].all():  # all its rows are equal
        growth.scores[leaf], scores = LAST, [LAST, LAST]
    growth.centers += list(runs[best][k].centers)
    growth.costs += final[best].costs[own].tolist()
    growth.scores += scores
    growth.n_rows += final[best].n_rows[own].astype(int).tolist()
    growth.child += [-1, -1]


__all__ = ["LEAVES", "Given", "Growth", "Strategy", "Tree", "nodes", "split"]
