"""Gradient boosting over rows that stay where they are: a level of a tree is a round.

A round moves rows to the nodes that the last level made, and answers with the histograms of the next. The
first round of a tree adds the last tree's values to the raw predictions, computes gradients and fills the
root: ``trees * depth + 1`` rounds in all, and the last one tells the loss of the finished model. Leaves that
predict quantiles take two more rounds a tree.

What is summed up are integers, so a model is the same, bit for bit, from any chunks on any workers.

References
----------
Friedman (2001). Greedy function approximation: a gradient boosting machine. Ann. Stat. 29(5), algorithm 1.
Friedman (2002). Stochastic gradient boosting. Comput. Stat. Data Anal. 38(4).
Ke, Meng, Finley et al. (2017). LightGBM: a highly efficient gradient boosting decision tree. NIPS.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from daskml_kit.exceptions import InvalidDataError
from daskml_kit.kernels import boosting as kernel
from daskml_kit.kernels.boosting_splits import Pursuit
from daskml_kit.runtime.block import Block, Bundle
from daskml_kit.runtime.dataset import BlockDataset
from daskml_kit.runtime.executor import Executor
from daskml_kit.runtime.random import generator
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.tree.binning import Binning, Survey, binned, bins_of, survey
from daskml_kit.tree.boosting_losses import Objective, Targets
from daskml_kit.tree.boosting_rows import (
    BOTH,
    HELD_OUT,
    LAST_ONLY,
    NEITHER,
    NEXT_ONLY,
    Ask,
    BoostingRound,
    Grown,
    Model,
    Plan,
    Residuals,
    Told,
    boosting_round,
    drawn_rows,
    held_out_rows,
)
from daskml_kit.tree.boosting_trees import BoostingTree, Shape, Wanted
from daskml_kit.tree.growing import Units, units_of
from daskml_kit.tree.levels import HISTOGRAM_BYTES
from daskml_kit.typing import FloatArray, IntArray

GRADIENT_BITS = 22
"""Of the largest gradient or curvature that can occur, as an integer, where rows are even. The sums of 512
rows then fit 32 bits, and so do the bins of deep levels, whose histograms are most of what is sent: 1.3 MB a
worker and round took the driver 7 ms more than nothing, half of that 3 ms. scikit-learn's float32 has 24."""

SUM_BITS = 61
"""Of all rows' weight times the largest gradient, where rows are not even: what a 64-bit sum has room for."""

UNEVEN = 64.0
"""The largest weight or gradient over the mean beyond which rows have all bits."""

FEW_ROWS = 1 << 12
"""That have all bits: an outlier among few is not far from their mean."""

QUANTILE_STAGES = 2
"""Rounds that find a leaf's quantile among its residuals: to 12 bits after the leading one, 1.2e-4 of it."""

START_STAGES = 3


@dataclass(frozen=True)
class Settings:
    """How trees are boosted, checked and counted."""

    objective: Objective
    learning_rate: float
    n_estimators: int
    subsample: float
    min_samples_split: int
    min_samples_leaf: int
    min_gain: float
    max_depth: int
    max_leaf_nodes: int | None
    max_features: int
    l2: float
    signs: IntArray
    held_out: float
    patience: int | None
    tol: float
    seed: int
    zero_start: bool = False


@dataclass(eq=False)
class Boosted:
    """Trees, and what was seen while they grew.

    Attributes
    ----------
    loss : its name
    start : (K,) raw prediction before the first tree
    model : all trees, in codes
    trees : for each iteration K tables of what an estimator keeps
    scores, rates : mean losses, and the learning rate, of each iteration
    """

    loss: str
    binning: Binning
    start: FloatArray
    model: Model
    trees: list[list[Table]] = field(default_factory=list)
    scores: list[Scores] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)

    def copied(self) -> Boosted:
        """The same trees, to be added to."""
        return replace(
            self, trees=list(self.trees), scores=list(self.scores), rates=list(self.rates)
        )


class Table(NamedTuple):
    """The nodes of one tree in the order in which they were made, the root first."""

    left: IntArray  # (n,), -1 at a leaf
    right: IntArray
    feature: IntArray
    threshold: FloatArray
    missing_left: IntArray  # 1, 0
    values: FloatArray  # Newton step or quantile, without learning rate
    gains: FloatArray
    rows: IntArray
    worth: FloatArray  # twice what the node takes off the loss
    depth: IntArray


class Scores(NamedTuple):
    """Mean losses after an iteration; NaN where there are no such rows."""

    train: float
    improvement: float  # of rows that its trees did not draw
    unseen: float  # the same rows' loss after it
    held_out: float


@dataclass(frozen=True, eq=False)
class BoostingGround:
    """Binned rows, where rounds over them run, and the units of weights and targets."""

    executor: Executor
    data: BlockDataset
    binning: Binning
    found: Survey
    units: Units


@contextmanager
def boosting_ground(
    executor: Executor, data: BlockDataset, seed: int, max_bins: int, binning: Binning | None
) -> Iterator[BoostingGround]:
    """``data`` binned, which replaces them: two passes, one of them a round. ``binning``: that of an
    earlier fit.
    """
    found = survey(executor, data, seed)
    own = bins_of(found.rows, max_bins) if binning is None else binning
    with binned(executor, data, own) as codes:
        data.release()
        with executor.map(codes, _joined, None) as joined:
            codes.release()
            units = units_of(found, data.facts.n_rows, 1)
            empty = found._replace(rows=found.rows[:0])
            yield BoostingGround(executor, joined, own, empty, units)


def _joined(bundle: Bundle, _: None) -> Bundle:
    """Consecutive blocks as one: fewer calls a round."""
    return bundle.coalesced(1 << 62)


def boost(ground: BoostingGround, settings: Settings, before: Boosted | None = None) -> Boosted:
    """Grow trees until there are ``n_estimators`` iterations, or the held-out loss has stalled."""
    plan, targets = _begin(ground, settings, before)
    objective = settings.objective
    out = before or Boosted(
        objective.name, ground.binning, plan.start, Model.empty(objective.width)
    )
    run = _Run(ground, settings, plan, targets, out)
    if before is not None:
        run.most = run.measured()
    while len(out.trees) < settings.n_estimators:
        run.grow()
        if run.stalled():
            break
    else:
        run.last()
    return out


# ---------------------------------------------------------------- where it begins


def _begin(
    ground: BoostingGround, settings: Settings, before: Boosted | None
) -> tuple[Plan, Targets]:
    objective, facts = settings.objective, ground.data.facts
    n_classes = 0 if facts.classes is None else len(facts.classes)
    plan = Plan(
        uuid.uuid4().hex, objective.loss, np.zeros(objective.width), facts.n_features,
        ground.binning.missing_bin, 3 if settings.min_samples_leaf > 1 else 2, settings.seed,
        settings.subsample, settings.held_out, ground.units.weight,
    )  # fmt: skip
    targets = _targets(ground, plan, n_classes)
    _check_held_out(targets, settings, facts.n_rows)
    objective.check(targets)
    if before is not None:
        start = before.start
    elif settings.zero_start:
        start = np.zeros(objective.width)
    elif objective.quantile is not None:
        start = np.array([_start_quantile(ground, plan, objective.quantile)])
    else:
        start = objective.start(targets)
    return replace(plan, start=start), targets


def _check_held_out(targets: Targets, settings: Settings, n_rows: int) -> None:
    """Early stopping needs rows on both sides, each of which a coin puts there."""
    if settings.patience is None or 0.0 < targets.weight < targets.all_weight:
        return
    share = settings.held_out
    which, remedy = ("every row", "Lower") if targets.weight == 0.0 else ("no row", "Raise")
    raise InvalidDataError(
        f"n_iter_no_change={settings.patience} stops by the loss of held-out rows, but "
        f"validation_fraction={share} holds out {which} of positive weight of these "
        f"{n_rows}: each is held out with that probability. "
        f"{remedy} validation_fraction, choose another random_state, pass more rows, or set "
        "n_iter_no_change=None."
    )


class _Sums(NamedTuple):
    all_weight: int
    weight: int
    value: int
    shares: IntArray
    least: float
    most: float


def _targets(ground: BoostingGround, plan: Plan, n_classes: int) -> Targets:
    reduction: Reduction[tuple[Units, int], _Sums, _Sums] = Reduction(
        "boost-start", partial(_target_sums, plan), _target_sums_combined
    )
    units = ground.units
    sums = ground.executor.reduce(ground.data, reduction, (units, n_classes))
    weight = sums.weight * units.weight
    shares = np.array([int(s) / max(sums.weight, 1) for s in sums.shares])
    mean = sums.value * units.value / weight if sums.weight else 0.0
    every = sums.all_weight * units.weight
    return Targets(weight, every, mean, shares, sums.least, sums.most)


def _target_sums(plan: Plan, block: Block, asked: tuple[Units, int]) -> _Sums:
    units, n_classes = asked
    assert block.y is not None
    w = np.ones(block.n_rows) if block.weight is None else block.weight
    held = held_out_rows(plan, block.rows)
    seen = w > 0 if held is None else ~held & (w > 0)
    every = np.rint(w / units.weight).astype(np.int64)
    y, w, whole = block.y[seen].astype(np.float64), w[seen], every[seen]
    shares = np.array([int(whole[y == k].sum()) for k in range(n_classes)], np.int64)
    value = np.rint(w * y / units.value).astype(np.int64)
    weighty = block.y if block.weight is None else block.y[block.weight > 0]
    least = float(weighty.astype(np.float64).min(initial=np.inf))
    most = float(np.abs(block.y).max(initial=0.0))
    return _Sums(int(every.sum()), int(whole.sum()), int(value.sum()), shares, least, most)


def _target_sums_combined(a: _Sums, b: _Sums) -> _Sums:
    return _Sums(
        a.all_weight + b.all_weight,
        a.weight + b.weight,
        a.value + b.value,
        a.shares + b.shares,
        min(a.least, b.least),
        max(a.most, b.most),
    )


class _Prefix(NamedTuple):
    prefix: int
    stage: int


def _start_quantile(ground: BoostingGround, plan: Plan, quantile: float) -> float:
    """The quantile of the targets: three rounds, to 3e-8 of its size."""
    reduction: Reduction[_Prefix, IntArray, IntArray] = Reduction(
        "boost-quantile", partial(_target_counts, plan), np.add
    )
    prefix, share = 0, _Share(quantile)
    for stage in range(START_STAGES):
        counts = ground.executor.reduce(ground.data, reduction, _Prefix(prefix, stage))
        prefix = share.next(prefix, counts[0])
    return kernel.middle_of(prefix, START_STAGES)


def _target_counts(plan: Plan, block: Block, asked: _Prefix) -> IntArray:
    out = np.zeros((1, kernel.BUCKETS), np.int64)
    assert block.y is not None
    n = block.n_rows
    w = np.empty(0) if block.weight is None else np.array(block.weight)
    drawn = drawn_rows(
        replace(plan, subsample=1.0), block.rows, 0, w, held_out_rows(plan, block.rows)
    )
    idx = (np.arange(n) if drawn is None else np.flatnonzero(drawn)).astype(np.int32)
    kernel.residual_counts(
        np.array(block.y, np.float64), w, plan.unit_weight, np.zeros(n), idx,
        np.array([[0, len(idx)]]), np.zeros(1, np.int64), np.array([asked.prefix], np.uint64),
        asked.stage, out,
    )  # fmt: skip
    return out


class _Share:
    """Walks down buckets to where a share of the weight lies below."""

    def __init__(self, quantile: float) -> None:
        self.quantile = quantile
        self.wanted = -1

    def next(self, prefix: int, counts: IntArray) -> int:
        """The prefix, 12 bits longer."""
        if self.wanted < 0:
            total = int(counts.sum())
            self.wanted = min(max(int(np.ceil(self.quantile * total)), 1), max(total, 1))
        sums = np.cumsum(counts)
        at = min(int(np.searchsorted(sums, self.wanted)), len(counts) - 1)
        self.wanted -= int(sums[at - 1]) if at else 0
        return prefix << kernel.BUCKET_BITS | at


# ---------------------------------------------------------------- one iteration after the other


class _Run:
    """The rounds of one fit."""

    def __init__(
        self,
        ground: BoostingGround,
        settings: Settings,
        plan: Plan,
        targets: Targets,
        out: Boosted,
    ) -> None:
        self.ground, self.settings, self.plan, self.out = ground, settings, plan, out
        self.targets = targets
        self.reduction: BoostingRound = boosting_round("boost-level", plan)
        self.most = settings.objective.first(targets, plan.start)
        self.step = 0.0
        self.means: FloatArray = np.zeros(2)
        self._score = _Tally(settings)

    def grow(self) -> None:
        """The trees of the next iteration."""
        iteration, settings = len(self.out.trees), self.settings
        self.most = settings.objective.after(self.most, self.step, self.targets)
        units = self._units()
        rules = self._rules(units)
        width = settings.objective.width
        cell = self.plan.n_features * (self.plan.missing_bin + 1) * self.plan.stride * 8
        trees = [BoostingTree(self._shape(iteration, k), rules, cell, width) for k in range(width)]
        root = True
        while asked := self._asked(trees):
            told = self._round(iteration, trees, asked, units)
            if root:
                self._heard(iteration, told, units)
                root = False
                if self._score.stalled:
                    return
            at = 0
            for tree, wanted in zip(trees, asked, strict=True):
                into = slice(at, at + len(wanted))
                tree.decide(wanted, told.hist[into], told.rows[into])
                at += len(wanted)
        self._finish(iteration, trees, units)

    def last(self) -> None:
        """What the finished model's loss is: one round."""
        iteration = len(self.out.trees)
        self.most = self.settings.objective.after(self.most, self.step, self.targets)
        units = self._units()
        self._heard(iteration, self._round(iteration, [], [], units), units)

    def stalled(self) -> bool:
        """Whether the held-out loss has."""
        return self._score.stalled

    def measured(self) -> FloatArray:
        """How large gradients are after the trees of an earlier fit: one round, without any sums."""
        plan = replace(self.plan, fit=uuid.uuid4().hex)
        ask = Ask(
            len(self.out.trees), self.out.model, (), (), np.array([np.inf, np.inf, np.inf, 0.0])
        )
        told: Told = self.ground.executor.reduce(
            self.ground.data, boosting_round("boost-measure", plan), ask
        )
        most: FloatArray = told.most
        return most

    def _asked(self, trees: Sequence[BoostingTree]) -> list[list[Wanted]]:
        budget = HISTOGRAM_BYTES // len(trees)
        out = [tree.wanted(budget) for tree in trees]
        return out if any(out) else []

    def _round(
        self,
        iteration: int,
        trees: Sequence[BoostingTree],
        asked: Sequence[Sequence[Wanted]],
        units: FloatArray,
        residuals: Residuals | None = None,
    ) -> Told:
        fill = tuple(np.array([w.fill for w in wanted], np.int64) for wanted in asked)
        splits = tuple(tree.table for tree in trees)
        ask = Ask(iteration, self.out.model, splits, fill, units, residuals)
        return self.ground.executor.reduce(
            self.ground.data, self.reduction, ask, objective=partial(_mean_loss, self, units)
        )

    def _units(self) -> FloatArray:
        """Of gradient, curvature and value as integers, powers of two, so that nothing overflows; and whether
        weights multiply what was rounded.

        Even rows have 22 bits of the largest that can occur. Where a weight or gradient is far above the mean
        in the last pass, where rows are few, and in the first tree, rows have all bits that the sums leave:
        of weights that sum up to W, what is lost is a ``W / 2^61``-th of the largest gradient.
        What is left: a weight above 2^40 of the others takes their digits, and 22 bits do not tell the small
        rows apart where more than one row in 64 is far larger than they are.
        """
        facts, found, targets = self.ground.data.facts, self.ground.found, self.targets
        sizes = np.maximum(self.most[:3], 1e-290)
        heaviest, every = max(found.most_weight, 1e-300), max(targets.all_weight, 1e-300)
        out = np.zeros(4)
        rows = facts.n_rows + 1
        out[2] = _power(sizes[2] * heaviest) * 2.0 ** -(62 - int(np.ceil(np.log2(rows))))
        out[3] = whole = found.whole_weights and every < 2.0**SUM_BITS
        finest = _power(every) * 2.0**-SUM_BITS
        even = facts.n_rows > FEW_ROWS and heaviest * facts.n_rows <= UNEVEN * every
        for i in (0, 1):
            coarse = 2.0**-GRADIENT_BITS * (1.0 if whole else _power(heaviest))
            enough = even and self.means[i] * UNEVEN >= sizes[i]
            out[i] = _power(sizes[i]) * (max(coarse, finest) if enough else finest)
        if self.settings.objective.flat and whole:
            out[1] = 1.0
        return out

    def _rules(self, units: FloatArray) -> Pursuit:
        settings = self.settings
        flat = settings.objective.flat and units[3] > 0
        # What a row of mean weight was rounded to.
        times = self.targets.all_weight / self.ground.data.facts.n_rows if units[3] > 0 else 1.0
        return Pursuit(
            float(settings.l2), settings.min_samples_leaf, settings.min_gain * self.targets.weight,
            float(units[0]), float(units[1]), float(units[0] * times),
            0.0 if flat else float(units[1] * times), self.plan.missing_bin, int(settings.signs.any()),
        )  # fmt: skip

    def _shape(self, iteration: int, k: int) -> Shape:
        settings, d = self.settings, self.plan.n_features
        draw = None
        if settings.max_features < d:
            draw = partial(_features, settings.seed, iteration, k, d, settings.max_features)
        return Shape(
            settings.max_depth, settings.max_leaf_nodes, settings.min_samples_split,
            self.ground.binning.counts, settings.signs, draw,
        )  # fmt: skip

    def _heard(self, iteration: int, told: Told, units: FloatArray) -> None:
        """What the first round of an iteration says of the one before."""
        self.most = told.most
        self.means = told.sizes.min(axis=0) * units[:2] / self.targets.all_weight
        scores = self._score.add(told, float(units[2]), self.plan.unit_weight, iteration)
        if len(self.out.scores) < iteration:  # else it is the last one of an earlier fit
            assert scores is not None
            self.out.scores.append(scores)
            at = 0
            for table in self.out.trees[-1]:
                leaves = np.flatnonzero(table.left < 0)
                table.rows[leaves] = told.leaf_rows[at : at + len(leaves)]
                for i in np.flatnonzero(table.left >= 0)[::-1]:  # children come after parents
                    table.rows[i] = table.rows[table.left[i]] + table.rows[table.right[i]]
                at += len(leaves)

    # ---------------------------------------------------------------- finished trees

    def _finish(self, iteration: int, trees: Sequence[BoostingTree], units: FloatArray) -> None:
        tables, grown, steps = [], [], []
        for tree in trees:
            table, ids = _table(tree, self.ground.binning)
            leaves = np.flatnonzero(table.left < 0)
            if self.settings.objective.quantile is not None:
                table.values[leaves] = self._quantiles(iteration, tree, ids[leaves], units)
            values = table.values[leaves] * self.settings.learning_rate
            kept = tree.table[np.isin(tree.table[:, kernel.NODE], ids[table.left >= 0])]
            grown.append(Grown(kept, ids[leaves], values, len(tree.nodes)))
            tables.append(table)
            steps.append(np.abs(values).max())
        self.out.trees.append(tables)
        self.out.rates.append(self.settings.learning_rate)
        self.out.model = self.out.model.extended(grown)
        self.step = float(max(steps))

    def _quantiles(
        self, iteration: int, tree: BoostingTree, leaves: IntArray, units: FloatArray
    ) -> FloatArray:
        """The quantile of each leaf's residuals: two rounds."""
        quantile = self.settings.objective.quantile
        assert quantile is not None
        prefixes = [0] * len(leaves)
        shares = [_Share(quantile) for _ in leaves]
        for stage in range(QUANTILE_STAGES):
            asked = Residuals(leaves, np.array(prefixes, np.uint64), stage)
            counts = self._round(iteration, [tree], [[]], units, asked).residuals
            prefixes = [s.next(p, c) for s, p, c in zip(shares, prefixes, counts, strict=True)]
        out: FloatArray = np.array([kernel.middle_of(p, QUANTILE_STAGES) for p in prefixes])
        return out


def _power(size: float) -> float:
    """The power of two that is not smaller."""
    return float(2.0 ** np.ceil(np.log2(size)))


def _mean_loss(run: _Run, units: FloatArray, told: Told) -> float:
    """The loss that a round reports: of the rows that the last trees drew."""
    weight = int(told.weights[BOTH] + told.weights[LAST_ONLY]) * run.plan.unit_weight
    total = int(told.scores[BOTH] + told.scores[LAST_ONLY]) * float(units[2])
    return run.settings.objective.factor * total / weight if weight else float("nan")


def _features(seed: int, iteration: int, k: int, d: int, m: int, node: int) -> Any:
    """The features that a node searches."""
    out = np.zeros(d, bool)
    out[generator(seed, f"boosting-features-{iteration}-{k}-{node}").permutation(d)[:m]] = True
    return out


def _table(tree: BoostingTree, binning: Binning) -> tuple[Table, IntArray]:
    """The finished tree, and its nodes' numbers while it grew."""
    split = set(tree.finished())
    ids = np.array(sorted({0} | {tree.nodes[i].left + side for i in split for side in (0, 1)}))
    number = {int(i): at for at, i in enumerate(ids)}
    nodes = [tree.nodes[i] for i in ids]
    inner = [int(i) in split for i in ids]
    left = np.array([number[n.left] if s else -1 for n, s in zip(nodes, inner, strict=True)])
    feature = np.array([n.feature if s else -1 for n, s in zip(nodes, inner, strict=True)])
    values = tree.values()[ids]
    bend = np.array([n.sums[1] for n in nodes]) * tree.rules.unit_curvature + tree.rules.l2
    slope = np.array([n.sums[0] for n in nodes]) * tree.rules.unit_gradient
    threshold = [
        _threshold(binning, n.feature, n.cut) if s else -2.0
        for n, s in zip(nodes, inner, strict=True)
    ]
    return Table(
        left,
        np.where(left >= 0, left + 1, -1),
        feature,
        np.array(threshold),
        np.array([int(s and n.missing_left == 1) for n, s in zip(nodes, inner, strict=True)]),
        values,
        np.array([n.gain if s else 0.0 for n, s in zip(nodes, inner, strict=True)]),
        np.zeros(len(ids), np.int64),
        (2 * slope - bend * values) * values,
        np.array([n.depth for n in nodes]),
    ), ids


def _threshold(binning: Binning, feature: int, cut: int) -> float:
    """Values up to it go left; infinite where missing values alone go right."""
    last = cut >= binning.counts[feature] - 1
    return np.inf if last else float(binning.edges[feature, cut])


class _Tally:
    """Losses after each iteration, and whether the held-out one has stalled."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.stalled = False
        self._before = np.nan
        self._best = np.full(settings.patience or 0, np.inf)
        self._heard = 0

    def add(self, told: Told, unit: float, unit_weight: float, iteration: int) -> Scores | None:
        """What an iteration's first round says of the one before."""
        factor = self.settings.objective.factor

        def mean(*roles: int) -> float:
            weight = sum(int(told.weights[r]) for r in roles) * unit_weight
            total = sum(int(told.scores[r]) for r in roles) * unit
            return factor * total / weight if weight else float("nan")

        unseen, before = mean(NEXT_ONLY, NEITHER), self._before
        self._before = mean(LAST_ONLY, NEITHER)
        if not iteration:
            return None
        out = Scores(mean(BOTH, LAST_ONLY), before - unseen, unseen, mean(HELD_OUT))
        if self.settings.patience:
            if np.any(out.held_out + self.settings.tol < self._best):
                self._best[self._heard % len(self._best)] = out.held_out
            else:
                self.stalled = True
            self._heard += 1
        return out


__all__ = ["Boosted", "BoostingGround", "Scores", "Settings", "Table", "boost", "boosting_ground"]
