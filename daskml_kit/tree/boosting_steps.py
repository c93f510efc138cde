"""The steps of boosting: one iteration after the other, a level of its trees a round.

A step is a function of where the fit stands: plain values that can be sent to where the rows are. Steps may
be taken on the driver or on a worker (:meth:`~daskml_kit.runtime.executor.Executor.lead`), and again from
where they began.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from daskml_kit.kernels import boosting as kernel
from daskml_kit.kernels.newton_steps import Pursuit
from daskml_kit.runtime.dataset import BlockDataset
from daskml_kit.runtime.executor import Executor
from daskml_kit.runtime.random import generator
from daskml_kit.tree.boosting_limbs import frontier
from daskml_kit.tree.boosting_losses import Targets
from daskml_kit.tree.boosting_quantiles import LEAF_STAGES, Share
from daskml_kit.tree.boosting_rows import (
    BOTH,
    HELD_OUT,
    LAST_ONLY,
    NEITHER,
    NEXT_ONLY,
    Ask,
    Grown,
    Model,
    Plan,
    Residuals,
    Splits,
    Told,
    boosting_round,
)
from daskml_kit.tree.boosting_start import Settings
from daskml_kit.tree.boosting_tables import Iteration, Scores, Table, table_of
from daskml_kit.tree.boosting_trees import BoostingTree, Shape, Wanted
from daskml_kit.tree.levels import HISTOGRAM_BYTES
from daskml_kit.typing import FloatArray, IntArray

GRADIENT_BITS = 22
"""Of the largest gradient or curvature that can occur, as an integer, where rows are even. The sums of 512
rows then fit 32 bits, and so do the bins of deep levels, whose histograms are most of what is sent.
scikit-learn's float32 has 24."""

SUM_BITS = 61
"""Of all rows' weight times the largest gradient, where rows are not even: what a 64-bit sum has room for."""

UNEVEN = 64.0
"""The largest weight or gradient over the mean beyond which rows have all bits."""

FEW_ROWS = 1 << 12
"""That have all bits: an outlier among few is not far from their mean."""

MOST_FORGOTTEN = 3
"""Rounds that rows had to be asked again because they had forgotten their trees: blocks that are spilled
forget each time, and are told all trees from then on."""


@dataclass(frozen=True, eq=False)
class Course:
    """What the steps of a fit follow.

    Attributes
    ----------
    counts, categorical, set_words : of :class:`~daskml_kit.tree.binning.Binning`
    n_rows, most_weight, whole_weights : of all rows
    lane_bytes : of histograms that a lane which holds all rows may have: half of them kept to subtract from,
        a quarter filled at once, and as much for those that follow by subtraction
    """

    settings: Settings
    plan: Plan
    targets: Targets
    counts: IntArray
    categorical: IntArray
    set_words: int
    n_rows: int
    most_weight: float
    whole_weights: bool
    lane_bytes: float = np.inf

    def budget(self, width: int) -> int:
        """Bytes of histograms that are filled at once for each of ``width`` trees."""
        return int(min(HISTOGRAM_BYTES, self.lane_bytes / 4)) // width


@dataclass(frozen=True, eq=False)
class Tally:
    """Losses so far, and whether the held-out one has stalled."""

    best: FloatArray
    before: float = np.nan
    heard: int = 0
    stalled: bool = False

    def add(
        self, told: Told, unit: float, course: Course, iteration: int
    ) -> tuple[Tally, Scores | None]:
        """What an iteration's first round says of the one before."""
        settings, unit_weight = course.settings, course.plan.unit_weight

        def mean(*roles: int) -> float:
            weight = sum(int(told.weights[r]) for r in roles) * unit_weight
            total = sum(int(told.scores[r]) for r in roles) * unit
            return settings.objective.factor * total / weight if weight else float("nan")

        unseen, now = mean(NEXT_ONLY, NEITHER), mean(LAST_ONLY, NEITHER)
        if not iteration:
            return replace(self, before=now), None
        out = Scores(mean(BOTH, LAST_ONLY), self.before - unseen, unseen, mean(HELD_OUT))
        if not settings.patience:
            return replace(self, before=now), out
        best, stalled = self.best.copy(), not np.any(out.held_out + settings.tol < self.best)
        if not stalled:
            best[self.heard % len(best)] = out.held_out
        return Tally(best, now, self.heard + 1, stalled), out


@dataclass(frozen=True, eq=False)
class Standing:
    """How far a fit has come: a value.

    Attributes
    ----------
    model : all trees, in codes
    most : (4,) the largest gradient, curvature, value and raw prediction before the last trees
    step : how far these moved a prediction
    means : (2,) mean gradient and curvature before them
    pending : the last trees, where the next round tells how many rows their leaves have
    grown : iterations that the driver has not taken yet
    told : whether rows have been told of all trees but the last
    forgotten : rounds that had to be asked again
    """

    model: Model
    most: FloatArray
    tally: Tally
    step: float = 0.0
    means: FloatArray = field(default_factory=partial(np.zeros, 2))
    pending: tuple[Table, ...] = ()
    grown: tuple[Iteration, ...] = ()
    told: bool = False
    forgotten: int = 0
    finished: bool = False


@dataclass(frozen=True, eq=False)
class Steps:
    """Iterations from a standing on, until there are enough, or the held-out loss has stalled."""

    course: Course

    def __call__(
        self, executor: Executor, data: BlockDataset, state: Standing, go_on: Callable[[], bool]
    ) -> Standing:
        """As :meth:`~daskml_kit.runtime.executor.Executor.lead` asks it."""
        walk = _Walk(self.course, executor, data, state)
        while True:
            walk.step()
            if walk.at.finished or not go_on():
                return walk.at


class _Walk:
    """Steps where they are taken."""

    def __init__(
        self, course: Course, executor: Executor, data: BlockDataset, state: Standing
    ) -> None:
        self.course, self.executor, self.data, self.at = course, executor, data, state
        self.reduction = boosting_round("boost-level", course.plan)

    def step(self) -> None:
        """The trees of the next iteration; or, after the last one, what the model's loss is."""
        settings, plan, at = self.course.settings, self.course.plan, self.at
        iteration, width = len(at.model), settings.objective.width
        self._to(most=settings.objective.after(at.most, at.step, self.course.targets))
        units = self._units()
        enough = iteration >= settings.n_estimators
        rules = self._rules(units)
        cell = plan.n_features * plan.n_bins * plan.stride * 8
        trees = [
            BoostingTree(self._shape(iteration, k), rules, cell, width)
            for k in range(0 if enough else width)
        ]
        asked = self._asked(trees)
        told = self._round(trees, asked, units)
        self._heard(iteration, told, units)
        if enough or self.at.tally.stalled:
            self._to(finished=True)
            return
        while True:
            _decide(trees, asked, told)
            asked = self._asked(trees)
            if not any(asked):
                break
            told = self._round(trees, asked, units)
        self._finish(trees, units)

    def _to(self, **changes: Any) -> None:
        self.at = replace(self.at, **changes)

    # ---------------------------------------------------------------- a round

    def _asked(self, trees: Sequence[BoostingTree]) -> list[list[Wanted]]:
        return [tree.wanted(self.course.budget(len(trees))) for tree in trees]

    def _round(
        self,
        trees: Sequence[BoostingTree],
        asked: Sequence[Sequence[Wanted]],
        units: FloatArray,
        residuals: Residuals | None = None,
    ) -> Told:
        """One question. Rows know all trees but the last: where some have forgotten, they are told again."""
        fill = tuple(np.array([w.fill for w in wanted], np.int64) for wanted in asked)
        splits = tuple(Splits(tree.table, tree.sets) for tree in trees)
        model, plan = self.at.model, self.course.plan
        whole = Ask(len(model), model, splits, fill, units, residuals)
        brief = self.at.told and self.at.forgotten < MOST_FORGOTTEN
        if (
            plan.lanes
            and residuals is None
            and trees
            and self.course.settings.max_leaf_nodes is None
        ):
            budget, kept = self.course.budget(len(trees)), self.course.lane_bytes / 2
            whole = whole._replace(frontier=frontier(trees, budget, kept))
        told = self._reduced(whole._replace(model=model.last()) if brief else whole)
        if told.forgotten:
            self._to(forgotten=self.at.forgotten + 1)
            told = self._reduced(whole)
        self._to(told=True)
        return told

    def _reduced(self, ask: Ask) -> Told:
        objective = partial(_mean_loss, self.course, ask.units)
        return self.executor.reduce(self.data, self.reduction, ask, objective=objective)

    def _units(self) -> FloatArray:
        """Of gradient, curvature and value as integers, powers of two, so that nothing overflows; and whether
        weights multiply what was rounded.

        Even rows have 22 bits of the largest that can occur. Where a weight or gradient is far above the mean
        in the last pass, where rows are few, and in the first tree, rows have all bits that the sums leave:
        of weights that sum up to W, what is lost is a ``W / 2^61``-th of the largest gradient.
        What is left: a weight above 2^40 of the others takes their digits, and 22 bits do not tell the small
        rows apart where more than one row in 64 is far larger than they are.
        """
        course, at = self.course, self.at
        sizes = np.maximum(at.most[:3], 1e-290)
        heaviest, every = max(course.most_weight, 1e-300), max(course.targets.all_weight, 1e-300)
        out = np.zeros(4)
        rows = course.n_rows + 1
        out[2] = _power(sizes[2] * heaviest) * 2.0 ** -(62 - int(np.ceil(np.log2(rows))))
        out[3] = whole = course.whole_weights and every < 2.0**SUM_BITS
        finest = _power(every) * 2.0**-SUM_BITS
        even = course.n_rows > FEW_ROWS and heaviest * course.n_rows <= UNEVEN * every
        for i in (0, 1):
            coarse = 2.0**-GRADIENT_BITS * (1.0 if whole else _power(heaviest))
            enough = even and at.means[i] * UNEVEN >= sizes[i]
            out[i] = _power(sizes[i]) * (max(coarse, finest) if enough else finest)
        if course.settings.objective.flat and whole:
            out[1] = 1.0
        return out

    def _rules(self, units: FloatArray) -> Pursuit:
        course, settings = self.course, self.course.settings
        flat = settings.objective.flat and units[3] > 0
        # What a row of mean weight was rounded to.
        times = course.targets.all_weight / course.n_rows if units[3] > 0 else 1.0
        return Pursuit(
            float(settings.l2), self._least(),
            settings.min_gain * course.targets.weight,
            float(units[0]), float(units[1]), float(units[0] * times),
            0.0 if flat else float(units[1] * times), course.plan.missing_bin,
            int(settings.signs.any()),
        )  # fmt: skip

    def _least(self) -> int:
        """What the rows of a leaf must count for: themselves, or their weights as integers."""
        settings, plan = self.course.settings, self.course.plan
        if not plan.by_weight:
            return settings.min_samples_leaf
        drawn = settings.subsample * self.course.targets.weight / plan.unit_weight
        return max(2, int(np.ceil(settings.min_weight * drawn * (1 - 1e-12))))

    def _shape(self, iteration: int, k: int) -> Shape:
        settings, d = self.course.settings, self.course.plan.n_features
        draw = None
        if settings.max_features < d:
            draw = partial(_features, settings.seed, iteration, k, d, settings.max_features)
        return Shape(
            settings.max_depth, settings.max_leaf_nodes, settings.min_samples_split,
            self.course.counts, settings.signs, self.course.categorical, self.course.set_words,
            draw, settings.ccp_alpha * settings.subsample * self.course.targets.weight,
            settings.min_weight > 0,
        )  # fmt: skip

    # ---------------------------------------------------------------- what comes of it

    def _heard(self, iteration: int, told: Told, units: FloatArray) -> None:
        """What the first round of an iteration says of the one before."""
        tally, scores = self.at.tally.add(told, float(units[2]), self.course, iteration)
        grown = self.at.grown
        if self.at.pending:
            assert scores is not None
            ends = np.cumsum([np.sum(table.left < 0) for table in self.at.pending])[:-1]
            counts = np.split(told.leaf_rows, ends)
            code = self.course.plan.missing_bin
            tables = [t.counted(c, code) for t, c in zip(self.at.pending, counts, strict=True)]
            grown = (*grown, Iteration(tables, scores))
            if any((table.missing_left < 0).any() for table in self.at.pending):
                self._to(model=self.at.model.decided(tables))
        means = told.sizes.min(axis=0) * units[:2] / self.course.targets.all_weight
        self._to(tally=tally, most=told.most, means=means, grown=grown, pending=())

    def _finish(self, trees: Sequence[BoostingTree], units: FloatArray) -> None:
        """The trees of an iteration that are grown."""
        tables, grown, steps = [], [], []
        settings = self.course.settings
        for tree in trees:
            table, ids = table_of(tree, self.course.targets.missing)
            leaves = np.flatnonzero(table.left < 0)
            if settings.objective.quantile is not None:
                table.values[leaves] = self._quantiles(tree, ids[leaves], units)
            values = table.values[leaves] * settings.learning_rate
            kept = np.isin(tree.table[:, kernel.NODE], ids[table.left >= 0])
            splits = Splits(tree.table[kept], tree.sets[kept])
            grown.append(Grown(splits, ids[leaves], values))
            tables.append(table)
            steps.append(np.abs(values).max())
        model = self.at.model.extended(grown)
        self._to(model=model, pending=tuple(tables), step=float(max(steps)))

    def _quantiles(self, tree: BoostingTree, leaves: IntArray, units: FloatArray) -> FloatArray:
        """The quantile of each leaf's residuals: two rounds."""
        quantile = self.course.settings.objective.quantile
        assert quantile is not None
        prefixes = [0] * len(leaves)
        shares = [Share(quantile) for _ in leaves]
        for stage in range(LEAF_STAGES):
            asked = Residuals(leaves, np.array(prefixes, np.uint64), stage)
            counts = self._round([tree], [[]], units, asked).residuals
            prefixes = [s.next(p, c) for s, p, c in zip(shares, prefixes, counts, strict=True)]
        out: FloatArray = np.array([kernel.middle_of(p, LEAF_STAGES) for p in prefixes])
        return out


def _decide(trees: Sequence[BoostingTree], asked: Sequence[Sequence[Wanted]], told: Told) -> None:
    if told.limbs:
        for k, tree in enumerate(trees):
            tree.graft([limb for limb in told.limbs if limb.tree == k])
        return
    at = 0
    for tree, wanted in zip(trees, asked, strict=True):
        into = slice(at, at + len(wanted))
        tree.decide(wanted, told.hist[into], told.rows[into])
        at += len(wanted)


def _power(size: float) -> float:
    """The power of two that is not smaller."""
    return float(2.0 ** np.ceil(np.log2(size)))


def _mean_loss(course: Course, units: FloatArray, told: Told) -> float:
    """The loss that a round reports: of the rows that the last trees drew."""
    weight = int(told.weights[BOTH] + told.weights[LAST_ONLY]) * course.plan.unit_weight
    total = int(told.scores[BOTH] + told.scores[LAST_ONLY]) * float(units[2])
    known = weight and not told.forgotten
    return course.settings.objective.factor * total / weight if known else float("nan")


def _features(seed: int, iteration: int, k: int, d: int, m: int, path: int) -> Any:
    """The features that a node searches."""
    out = np.zeros(d, bool)
    out[generator(seed, f"boosting-features-{iteration}-{k}-{path}").permutation(d)[:m]] = True
    return out


__all__ = ["Course", "Standing", "Steps", "Tally"]
