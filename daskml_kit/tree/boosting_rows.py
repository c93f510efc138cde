"""Boosting on the rows of a block: what stays beside them from round to round, and what a round asks.

Raw predictions, gradients and the nodes of the tree that grows live in the block's scratch. All of it follows
from the model so far: rows whose scratch is gone begin again from there. Questions carry the last trees only,
where rows know the others; rows that have forgotten them say so, and are asked again with all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from daskml_kit.kernels import boosting as kernel
from daskml_kit.kernels.blocks import frozen
from daskml_kit.runtime.block import Block
from daskml_kit.runtime.random import uniform
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.tree.boosting_first import held_out, raw_of, target_of
from daskml_kit.tree.boosting_limbs import Frontier, dealt, grown, spare_rows
from daskml_kit.tree.boosting_tables import Table
from daskml_kit.tree.boosting_trees import Limb
from daskml_kit.tree.merging import narrow
from daskml_kit.typing import Array, FloatArray, IntArray

_SCRATCH = "boosting"

BOTH, LAST_ONLY, NEXT_ONLY, NEITHER, HELD_OUT = range(5)
"""Which of two trees, the last and the next, draws a row; and rows that no tree draws."""

N_ROLES = 5

NARROW = 64
"""Features up to which rows are moved by a copy of their codes as columns: it saves 2.4 ns a row and level,
which no longer matters beside histograms of many features, and takes as many bytes as the codes."""


@dataclass(frozen=True, eq=False)
class Plan:
    """What does not change during a fit.

    Attributes
    ----------
    loss : named tuple, as the kernels take it
    start : (K,) raw prediction before the first tree
    stride : 2, or 3 where rows are counted
    by_weight : whether a row counts for its weight
    unit_weight : of a weight as an integer
    lanes : each of which holds all rows, and answers for its share of them; 0 where rows are spread
    """

    fit: str
    loss: Any
    start: FloatArray
    n_features: int
    missing_bin: int
    stride: int
    seed: int
    subsample: float
    held_out: float
    unit_weight: float
    lanes: int = 0
    by_weight: bool = False

    @property
    def n_bins(self) -> int:
        """Of a feature in a histogram: missing values have the last but the spare ones."""
        return self.missing_bin + 1 + kernel.SPARE_BINS


class Splits(NamedTuple):
    """Splits of a tree as the kernels take them."""

    table: IntArray  # (s, 5) int32
    sets: Array  # (s, words) uint64, the categories that go left; no words where no feature is categorical


class Grown(NamedTuple):
    """A finished tree, as rows need it: in codes."""

    splits: Splits
    leaves: IntArray  # (l,)
    values: FloatArray  # (l,), learning rate included

    def raise_rows(self, codes: Array, missing_bin: int, drawn: Array, raw: FloatArray) -> IntArray:
        """Add its values to the raw predictions (n,) of all rows; the drawn rows of its leaves."""
        table, given = self.splits
        n = int(table[:, kernel.LEFT].max(initial=-1)) + 2
        sets, values, depth = (
            np.zeros((n, given.shape[1]), np.uint64),
            np.zeros(n),
            np.zeros(n, int),
        )
        sets[table[:, kernel.NODE]], values[self.leaves] = given, self.values
        for split in table:  # parents before children
            below = int(split[kernel.LEFT])
            depth[below : below + 2] = depth[split[kernel.NODE]] + 1
        counts = np.zeros(n, np.int64)
        kernel.raise_rows(
            codes, kernel.walking_steps(table, n, missing_bin), int(depth.max()), sets, missing_bin,
            values, drawn, raw, counts,
        )  # fmt: skip
        out: IntArray = counts[self.leaves]
        return out


@dataclass(frozen=True, eq=False)
class Model:
    """The trees of finished iterations, ``width`` each, in few arrays: what questions carry."""

    width: int
    first: int  # the iterations before are left out
    splits: IntArray
    sets: Array
    leaves: IntArray
    values: FloatArray
    split_ends: IntArray  # (trees + 1,)
    leaf_ends: IntArray  # (trees + 1,)

    @classmethod
    def empty(cls, width: int, set_words: int) -> Model:
        """No tree."""
        zero = np.zeros(1, np.int64)
        ids = np.empty(0, np.int16)
        sets = np.empty((0, set_words), np.uint64)
        return cls(width, 0, np.empty((0, 5), np.int16), sets, ids, np.empty(0), zero, zero)

    def extended(self, trees: Sequence[Grown]) -> Model:
        """The trees of one more iteration."""
        kept = [tree.splits.table for tree in trees], [tree.leaves for tree in trees]
        return Model(
            self.width,
            self.first,
            np.concatenate([self.splits, *(narrow(s) for s in kept[0])]),
            np.concatenate([self.sets, *(tree.splits.sets for tree in trees)]),
            np.concatenate([self.leaves, *(narrow(v) for v in kept[1])]),
            np.concatenate([self.values, *(tree.values for tree in trees)]),
            _ends(self.split_ends, kept[0]),
            _ends(self.leaf_ends, kept[1]),
        )

    def __len__(self) -> int:
        """Iterations, those that are left out among them."""
        return self.first + (len(self.leaf_ends) - 1) // self.width

    def __getitem__(self, iteration: int) -> list[Grown]:
        """The trees of an iteration."""
        first = (iteration - self.first) * self.width
        return [self._tree(first + k) for k in range(self.width)]

    def last(self) -> Model:
        """The trees of the last iteration alone."""
        if len(self) - self.first < 2:
            return self
        kept = len(self.leaf_ends) - 1 - self.width
        splits, leaves = self.split_ends[kept:], self.leaf_ends[kept:]
        return Model(
            self.width, len(self) - 1, self.splits[splits[0] :], self.sets[splits[0] :],
            self.leaves[leaves[0] :], self.values[leaves[0] :], splits - splits[0],
            leaves - leaves[0],
        )  # fmt: skip

    def decided(self, tables: Sequence[Table]) -> Model:
        """With the last iteration's trees sending missing values where their counted tables do. Rows of this
        fit have none where that is another side.
        """
        splits, sets = self.splits.copy(), self.sets.copy()
        for t, table in enumerate(tables, len(self.leaf_ends) - 1 - self.width):
            low, high = self.split_ends[t], self.split_ends[t + 1]
            at = low + np.argsort(splits[low:high, kernel.NODE])
            inner = table.left >= 0
            splits[at, kernel.MISSING_LEFT] = table.missing_left[inner]
            if table.sets is not None:
                sets[at] = table.sets[inner]
        return replace(self, splits=splits, sets=sets)

    def _tree(self, t: int) -> Grown:
        given = slice(self.split_ends[t], self.split_ends[t + 1])
        splits = Splits(self.splits[given].astype(np.int32), np.array(self.sets[given]))
        own = slice(self.leaf_ends[t], self.leaf_ends[t + 1])
        leaves = self.leaves[own].astype(np.int64)
        return Grown(splits, leaves, frozen(self.values[own]))


def _ends(before: IntArray, parts: Sequence[IntArray]) -> IntArray:
    return np.append(before, before[-1] + np.cumsum([len(part) for part in parts]))


class Residuals(NamedTuple):
    """Which residuals to count: of leaves, that begin with prefixes."""

    leaves: IntArray
    prefixes: IntArray
    stage: int


class Ask(NamedTuple):
    """What a round asks.

    ``model`` has the trees of all finished iterations, or of the last one; ``splits`` and ``fill`` are of the
    K trees that grow, and ``units`` (4,) as :func:`~daskml_kit.kernels.boosting.gradients` takes them. With
    a ``frontier`` lanes may grow all that is below it instead of filling histograms.
    """

    iteration: int
    model: Model
    splits: tuple[Splits, ...]
    fill: tuple[IntArray, ...]
    units: FloatArray
    residuals: Residuals | None = None
    frontier: Frontier | None = None


@dataclass(eq=False)
class Told:
    """What a round answers. Parts add up, but the largest of ``most``."""

    hist: IntArray  # (m, d, bins, stride), of all nodes of all trees that were asked for
    rows: IntArray  # (m,), their rows
    leaf_rows: IntArray  # of the leaves of the last iteration's trees, one after the other
    scores: IntArray  # (N_ROLES,), sums of the loss
    weights: IntArray  # (N_ROLES,)
    most: FloatArray  # (4,)
    sizes: IntArray  # (K, 2), sums of absolute gradients and of curvatures
    residuals: IntArray  # (leaves, BUCKETS)
    forgotten: bool = False  # whether rows need all trees to answer; then nothing else is told
    limbs: tuple[Limb, ...] = ()  # grown below the frontier; then there are no histograms

    def __getstate__(self) -> dict[str, Any]:
        small = np.empty(self.hist.shape, np.int32)
        wide: Array = np.empty(self.hist.shape[1], np.bool_)
        kernel.narrowed(self.hist, small, wide)
        if wide.all():
            return dict(self.__dict__)
        return {**self.__dict__, "hist": (small, wide, self.hist[:, wide])}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if isinstance(state["hist"], tuple):
            small, wide, large = state["hist"]
            self.hist = small.astype(np.int64)
            self.hist[:, wide] = large

    def __sizeof__(self) -> int:
        return sum(getattr(a, "nbytes", 8) for a in vars(self).values()) + object.__sizeof__(self)


def merged(a: Told, b: Told) -> Told:
    """Both parts as one."""
    if a.forgotten or b.forgotten:
        return a if a.forgotten else b
    sums = {
        name: getattr(a, name) + getattr(b, name)
        for name in ("hist", "rows", "leaf_rows", "scores", "weights", "sizes", "residuals")
    }
    return Told(most=np.maximum(a.most, b.most), limbs=a.limbs + b.limbs, **sums)


class BoostingRound(Reduction[Ask, Told, Told]):
    """The reduction of a round. The blocks of a bundle are added into one histogram."""

    def part(self, blocks: Iterable[Block], params: Ask) -> Told:
        """The part of some blocks."""
        plan: Plan = self.chunk.args[0]  # type: ignore[attr-defined]
        out = nothing(plan, params)
        for block in blocks:
            _add(plan, block, params, out)
        return out


def boosting_round(name: str, plan: Plan) -> BoostingRound:
    """The rounds of a fit."""
    return BoostingRound(name, partial(_chunk, plan), merged)


def _chunk(plan: Plan, block: Block, ask: Ask) -> Told:
    out = nothing(plan, ask)
    _add(plan, block, ask, out)
    return out


def nothing(plan: Plan, ask: Ask) -> Told:
    """What no rows answer."""
    m = sum(len(nodes) for nodes in ask.fill)
    last = ask.model[ask.iteration - 1] if ask.iteration else []
    n_leaves = sum(len(tree.leaves) for tree in last)
    counted = len(ask.residuals.leaves) if ask.residuals is not None else 0
    ints = np.int64
    return Told(
        np.zeros((m, plan.n_features, plan.n_bins, plan.stride), ints),
        np.zeros(m, ints),
        np.zeros(n_leaves, ints),
        np.zeros(N_ROLES, ints),
        np.zeros(N_ROLES, ints),
        np.zeros(4),
        np.zeros((len(plan.start), 2), ints),
        np.zeros((counted, kernel.BUCKETS), ints),
    )


def _add(plan: Plan, block: Block, ask: Ask, out: Told) -> None:
    rows = _rows_at(plan, block, ask)
    if rows is None:
        out.forgotten = True
        return
    codes, at = frozen(np.asarray(block.X)), 0
    for k, splits in enumerate(ask.splits):
        rows.part(k, codes, splits)
    lanes = None if ask.frontier is None else _lanes_of_open_nodes(plan, rows, ask.frontier)
    if ask.frontier is not None and lanes is not None:
        out.limbs = rows.grow(codes, ask.frontier, lanes, block.index)
        out.hist, out.rows = out.hist[:0], out.rows[:0]
    else:
        for k, nodes in enumerate(ask.fill):
            runs = _share(plan, block, rows.runs[k][nodes])
            into = slice(at, at + len(nodes))
            kernel.fill_nodes(
                codes,
                rows.gh[k],
                rows.times,
                rows.idx[k],
                runs,
                np.arange(len(nodes)),
                out.hist[into],
            )
            out.rows[into] += runs[:, 1] - runs[:, 0]
            at += len(nodes)
    if ask.residuals is not None:
        asked = ask.residuals
        kernel.residual_counts(
            rows.y, rows.weight, plan.unit_weight, rows.raw[0], rows.idx[0],
            _share(plan, block, rows.runs[0]), asked.leaves, asked.prefixes, asked.stage,
            out.residuals,
        )  # fmt: skip
    np.maximum(out.most, rows.most, out=out.most)
    if plan.lanes and block.index:
        return  # the first lane tells what all of them know
    out.leaf_rows += rows.leaf_rows
    out.scores += rows.scores
    out.weights += rows.weights
    out.sizes += rows.sizes


def _share(plan: Plan, block: Block, runs: IntArray) -> IntArray:
    """Those of some rows that a block answers for: all of its own, or a lane's share of them."""
    if not plan.lanes:
        return runs
    low, size = runs[:, 0], runs[:, 1] - runs[:, 0]
    cuts = [low + size * lane // plan.lanes for lane in (block.index, block.index + 1)]
    return np.stack(cuts, axis=1)


def _lanes_of_open_nodes(plan: Plan, rows: _Rows, front: Frontier) -> list[int] | None:
    """The lane of each open node of all trees, if it is time to grow what is below them."""
    sizes = [int(high - low) for k, ids in enumerate(front.ids) for low, high in rows.runs[k][ids]]
    return dealt(sizes, plan.lanes, spare_rows(front))


@dataclass(eq=False)
class _Rows:
    """The rows of a block in the trees of one iteration."""

    plan: Plan
    iteration: int
    y: FloatArray
    weight: FloatArray
    held: Array | None
    raw: FloatArray  # (K, n)
    gh: IntArray  # (K, n, 2)
    spare: IntArray
    every: IntArray  # all rows by position
    times: IntArray  # what they count for in histograms; empty for ones
    columns: IntArray | None = None  # (d, n), a copy of the codes where they are narrow
    drawn: Array | None = None  # rows of the growing tree; None: all
    idx: tuple[IntArray, ...] = ()
    runs: list[IntArray] = None  # type: ignore[assignment]
    leaf_rows: IntArray = None  # type: ignore[assignment]
    scores: IntArray = None  # type: ignore[assignment]
    weights: IntArray = None  # type: ignore[assignment]
    most: FloatArray = None  # type: ignore[assignment]
    sizes: IntArray = None  # type: ignore[assignment]

    def part(self, k: int, codes: Array, splits: Splits) -> None:
        """Apply the splits that have not been."""
        self.runs[k] = self._parted(codes, self.idx[k], splits, self.runs[k])

    def _parted(self, codes: Array, idx: IntArray, splits: Splits, runs: IntArray) -> IntArray:
        """The runs of the nodes after some splits, with room for them."""
        runs = _with_room(runs, splits)
        cells = codes if self.columns is None else self.columns
        kernel.part_rows(
            cells, self.columns is not None, idx, self.spare, *splits, self.plan.missing_bin, runs
        )
        return runs

    def grow(
        self, codes: Array, front: Frontier, lanes: Sequence[int], lane: int
    ) -> tuple[Limb, ...]:
        """What is below those open nodes of all trees that are this lane's."""
        out, first = [], 0
        for k, ids in enumerate(front.ids):
            mine = np.flatnonzero(np.array(lanes[first : first + len(ids)], np.int64) == lane)
            first += len(ids)
            if not len(mine):
                continue
            out.append(grown(
                k, front, mine, self.runs[k][ids[mine]], partial(self._parted_by, codes, k),
                partial(kernel.fill_nodes, codes, self.gh[k], self.times, self.idx[k]),
                self.plan.n_bins,
            ))  # fmt: skip
        return tuple(out)

    def _parted_by(
        self, codes: Array, k: int, table: IntArray, sets: Array, runs: IntArray
    ) -> IntArray:
        return self._parted(codes, self.idx[k], Splits(table, sets), runs)

    def draw(self, rows: range, iteration: int) -> None:
        """The rows of an iteration's trees, all in their roots."""
        self.iteration = iteration
        self.drawn = drawn_rows(self.plan, rows, iteration, self.weight, self.held)
        every = self.every if self.drawn is None else np.flatnonzero(self.drawn).astype(np.int32)
        if self.idx and len(self.idx[0]) == len(every):
            for idx in self.idx:
                np.copyto(idx, every)  # fresh memory would cost more than the copy
        else:
            self.idx = tuple(every.copy() for _ in self.raw)
        self.runs = [_in_the_root(len(every)) for _ in self.raw]

    def finish(self, codes: Array, trees: Sequence[Grown]) -> None:
        """Add the values of the trees that grew to the raw predictions."""
        drawn = np.empty(0, bool) if self.drawn is None else self.drawn
        missing = self.plan.missing_bin
        self.leaf_rows = np.concatenate(
            [
                t.raise_rows(codes, missing, drawn, raw)
                for t, raw in zip(trees, self.raw, strict=True)
            ]
        )

    def measure(self, rows: range, iteration: int, units: FloatArray) -> None:
        """Gradients for the trees of an iteration, and what the loss is before them."""
        last = self.drawn
        self.draw(rows, iteration)
        roles = _roles(len(rows), last, self.drawn, self.held)
        self.scores, self.most = np.zeros(N_ROLES, np.int64), np.zeros(4)
        self.sizes = np.zeros((len(self.raw), 2), np.int64)
        loss = self.plan.loss
        kernel.gradient_kernel(loss)(
            loss, self.y, self.weight, self.raw, units, roles, self.gh, self.scores, self.most,
            self.sizes,
        )  # fmt: skip
        self.weights = _weights(self.plan, self.weight, roles, len(rows))


def _with_room(runs: IntArray, splits: Splits) -> IntArray:
    """The runs, long enough for the nodes below some splits."""
    room = int(splits.table[:, kernel.LEFT].max(initial=-1)) + 2
    if len(runs) >= room:
        return runs
    out = np.full((2 * room, 2), -1, np.int64)
    out[: len(runs)] = runs
    return out


def _in_the_root(n_rows: int) -> IntArray:
    """The runs of a tree that has no splits yet."""
    runs = np.full((64, 2), -1, np.int64)
    runs[0] = 0, n_rows
    return runs


def _rows_at(plan: Plan, block: Block, ask: Ask) -> _Rows | None:
    """The rows at the iteration that is asked for, whatever was found beside them; None where that needs
    trees that were left out.
    """
    rows: _Rows | None = block.scratch.get(_SCRATCH)
    codes = frozen(np.asarray(block.X))
    if rows is None or rows.plan.fit != plan.fit or rows.iteration not in _before(ask):
        if ask.model.first:
            return None
        rows = _again(plan, block, codes, ask)
        block.scratch[_SCRATCH] = rows
    if rows.iteration < ask.iteration:
        if rows.iteration >= 0:
            rows.finish(codes, ask.model[rows.iteration])
        rows.measure(block.rows, ask.iteration, ask.units)
    return rows


def _before(ask: Ask) -> tuple[int, int]:
    return ask.iteration - 1, ask.iteration


def _again(plan: Plan, block: Block, codes: Array, ask: Ask) -> _Rows:
    """The rows of the iteration before, from the model alone."""
    n, width = block.n_rows, len(plan.start)
    y = np.array(target_of(block), np.float64)
    weight = np.empty(0) if block.weight is None else np.array(block.weight, np.float64)
    raw = raw_of(block, plan.start)
    rows = _Rows(
        plan, -1, y, weight, held_out_rows(plan, block.rows), raw,
        np.empty((width, n, 2), np.int64), np.empty(n, np.int32), np.arange(n, dtype=np.int32),
        _whole(plan, weight) if plan.by_weight and len(weight) else np.empty(0, np.int64),
        frozen(codes.T) if codes.shape[1] <= NARROW else None,
        leaf_rows=np.zeros(0, np.int64),
    )  # fmt: skip
    if ask.iteration > 0:
        for t in range(ask.iteration - 1):
            rows.finish(codes, ask.model[t])
        rows.draw(block.rows, ask.iteration - 1)
    return rows


def held_out_rows(plan: Plan, rows: range) -> Array | None:
    """Which rows no tree sees; None for none."""
    if plan.held_out == 0.0:
        return None
    return held_out(plan.seed, plan.held_out, rows)


def drawn_rows(
    plan: Plan, rows: range, iteration: int, weight: FloatArray, held: Array | None
) -> Array | None:
    """Which rows the trees of an iteration see: each with the same probability; None for all."""
    out = None
    if plan.subsample < 1.0:
        out = uniform(plan.seed, f"boosting-rows-{iteration}", rows) < plan.subsample
    if held is not None:
        out = ~held if out is None else out & ~held
    if len(weight) and not weight.all():
        out = weight > 0 if out is None else out & (weight > 0)
    return out


def _roles(n: int, last: Array | None, following: Array | None, held: Array | None) -> IntArray:
    if last is None and following is None:
        return np.empty(0, np.uint8)
    every = np.ones(n, bool)
    was = every if last is None else last
    will = every if following is None else following
    out = np.select([was & will, was, will], [BOTH, LAST_ONLY, NEXT_ONLY], NEITHER)
    if held is not None:
        out[held] = HELD_OUT
    return out.astype(np.uint8)


def _whole(plan: Plan, weight: FloatArray) -> IntArray:
    """Weights as integers."""
    out: IntArray = np.rint(weight / plan.unit_weight).astype(np.int64)
    return out


def _weights(plan: Plan, weight: FloatArray, roles: IntArray, n: int) -> IntArray:
    """The weight of the rows of each role, as integers."""
    if not len(weight):
        counts = np.bincount(roles, minlength=N_ROLES) if len(roles) else np.eye(1, N_ROLES) * n
        return counts.ravel().astype(np.int64) * round(1 / plan.unit_weight)
    whole = _whole(plan, weight)
    if not len(roles):
        return np.array([whole.sum(), 0, 0, 0, 0], np.int64)
    return np.array([whole[roles == role].sum() for role in range(N_ROLES)], np.int64)


__all__ = [
    "BOTH",
    "HELD_OUT",
    "LAST_ONLY",
    "NEITHER",
    "NEXT_ONLY",
    "Ask",
    "BoostingRound",
    "Grown",
    "Model",
    "Plan",
    "Residuals",
    "Splits",
    "Told",
    "boosting_round",
]
