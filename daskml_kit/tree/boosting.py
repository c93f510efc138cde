"""Gradient boosting, a few rounds a tree.

A round moves rows to the nodes that the last level made, and answers with the histograms of the next. The
first round of a tree adds the last tree's values to the raw predictions, computes gradients and fills the
root. Two ways. *reduce*, rows stay where they are: ``trees * depth + 1`` rounds in all, and the last one
tells the loss of the finished model. *replicate*, every lane has all rows: only the first levels are rounds,
and what is below grows whole (:mod:`~daskml_kit.tree.boosting_limbs`). Leaves that predict quantiles take
two more rounds a tree.

What is summed up are integers, so a model is the same, bit for bit, from any chunks on any workers.

References
----------
Friedman (2001). Greedy function approximation: a gradient boosting machine. Ann. Stat. 29(5), algorithm 1.
Friedman (2002). Stochastic gradient boosting. Comput. Stat. Data Anal. 38(4).
Ke, Meng, Finley et al. (2017). LightGBM: a highly efficient gradient boosting decision tree. NIPS.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np

from daskml_kit.exceptions import InvalidDataError
from daskml_kit.kernels.boosting import SPARE_BINS
from daskml_kit.runtime.block import Bundle
from daskml_kit.runtime.config import setting
from daskml_kit.runtime.dataset import BlockDataset
from daskml_kit.runtime.executor import Executor
from daskml_kit.runtime.ingest import DataFacts
from daskml_kit.runtime.placement import WorkerInfo
from daskml_kit.tree.binning import Binning, Survey, binned, bins_of, survey
from daskml_kit.tree.boosting_first import FirstModel, begun
from daskml_kit.tree.boosting_rows import Ask, Model, Plan, Told, boosting_round
from daskml_kit.tree.boosting_start import Settings, begin
from daskml_kit.tree.boosting_steps import Course, Standing, Steps, Tally
from daskml_kit.tree.boosting_tables import Iteration, Scores, Table, placed
from daskml_kit.tree.categorical import Features
from daskml_kit.tree.ground import MEMORY_SHARE, Way
from daskml_kit.tree.growing import Units, units_of
from daskml_kit.typing import FloatArray

REPLICATED_ROWS = 2_000_000
"""Rows times trees an iteration that are copied to every lane at most. A lane pays some 20 ns for each row
that is another's; what it saves a tree is half of its rounds, and their histograms."""

PAYLOAD_BYTES = 48
"""At most: target and weight of a row; and for each tree raw prediction, gradients and position."""


CELL_BYTES = 24
"""At most: gradient, curvature and rows of a bin."""

LEAST_HISTOGRAMS = 4
"""Of a lane: a node's that is filled, its sibling's, and two that are kept. With more it fills fewer."""

UNLIMITED_BYTES = 1 << 32
"""What a worker without a memory limit is taken to have: others may live on its machine."""


@dataclass(eq=False)
class Boosted:
    """Trees, and what was seen while they grew.

    Attributes
    ----------
    loss : its name
    start : (K,) raw prediction before the first tree
    first : the model that tells it row by row; None: ``start`` is that of all
    model : all trees, in codes
    trees : for each iteration K tables of what an estimator keeps
    scores, rates : mean losses, and the learning rate, of each iteration
    way : how the last of them grew
    """

    loss: str
    binning: Binning
    start: FloatArray
    model: Model
    trees: list[list[Table]] = field(default_factory=list)
    scores: list[Scores] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    way: Way = "reduce"
    first: FirstModel | None = None

    def copied(self) -> Boosted:
        """The same trees, to be added to."""
        return replace(
            self, trees=list(self.trees), scores=list(self.scores), rates=list(self.rates)
        )

    def add(self, iteration: Iteration, rate: float) -> None:
        """One more iteration."""
        self.trees.append([placed(table, self.binning) for table in iteration.tables])
        self.scores.append(iteration.scores)
        self.rates.append(rate)


@dataclass(frozen=True, eq=False)
class BoostingGround:
    """Binned rows, where rounds over them run, and the units of weights and targets.

    Attributes
    ----------
    lanes : all rows on every lane, for *replicate*
    first : the model that tells rows where they begin; None where all begin at a constant
    """

    executor: Executor
    data: BlockDataset
    binning: Binning
    found: Survey
    units: Units
    lanes: BlockDataset | None = None
    first: FirstModel | None = None

    @property
    def way(self) -> Way:
        """How trees grow."""
        return "reduce" if self.lanes is None else "replicate"


@contextmanager
def boosting_ground(
    executor: Executor,
    data: BlockDataset,
    settings: Settings,
    max_bins: int,
    features: Features | None,
    binning: Binning | None,
    first: FirstModel | None = None,
) -> Iterator[BoostingGround]:
    """``data`` binned, which replaces them: two passes, one of them a round; and copied, where that is the
    way to grow. ``binning``: that of an earlier fit. ``first``: see :class:`BoostingGround`.

    Raises
    ------
    InvalidDataError
        A feature has more categories than ``max_bins``, or some that the earlier fit has not seen.
    """
    marks = None if features is None else features.categorical
    found = survey(executor, data, settings.seed, categorical=marks)
    if features is not None:
        features.check(found.categories, max_bins)
    if binning is None:
        binning = bins_of(found.rows, max_bins, marks, found.categories)
    else:
        _check_known(binning, found.categories, features)
    coded = (
        executor.map(data, begun, (binning, first)) if first else binned(executor, data, binning)
    )
    with coded as codes:
        data.release()
        units = units_of(found, data.facts.n_rows, 1)
        empty = found._replace(rows=found.rows[:0])
        if way_to_boost(executor, data.facts, binning, settings) == "replicate":
            with executor.replicate(codes) as lanes:
                yield BoostingGround(executor, codes, binning, empty, units, lanes, first)
            return
        with executor.map(codes, _joined, None) as joined:
            codes.release()
            yield BoostingGround(executor, joined, binning, empty, units, None, first)


def way_to_boost(executor: Executor, facts: DataFacts, binning: Binning, settings: Settings) -> Way:
    """As :func:`~daskml_kit.runtime.config.config_context` says, else by rows and bytes.

    A lane that holds all rows computes the gradients of all of them, but asks others only for the first
    levels of a tree. Its rows, with their copy by columns, take their share of the worker's memory, and its
    histograms as much. Without a cluster, lanes share the memory anyway, and rounds cost nothing.
    """
    asked = setting("trees")
    if asked != "auto":
        return "replicate" if asked == "replicate" else "reduce"
    workers = getattr(executor, "workers", {})
    width = settings.objective.width
    few = facts.n_rows * width <= REPLICATED_ROWS
    if not workers or not few or settings.max_leaf_nodes is not None:
        return "reduce"
    row = 2 * facts.n_features * (1 if binning.missing_bin < 256 else 2) + PAYLOAD_BYTES * width
    rows, room = facts.n_rows * row, lane_bytes(workers.values())
    histogram = facts.n_features * (binning.missing_bin + 1 + SPARE_BINS) * CELL_BYTES
    return "replicate" if max(rows, LEAST_HISTOGRAMS * histogram) <= room else "reduce"


def lane_bytes(workers: Iterable[WorkerInfo]) -> float:
    """What the lanes that hold all rows may take of a worker's memory, each: its rows, and its histograms
    again.

    Examples
    --------
    >>> lane_bytes([WorkerInfo("a", 4, 2_000_000_000), WorkerInfo("b", 1, 1_000_000_000)])
    100000000.0
    """
    memory = ((w.memory_limit or UNLIMITED_BYTES) / w.n_threads for w in workers)
    return MEMORY_SHARE * min(memory, default=np.inf)


def _check_known(
    binning: Binning, categories: Sequence[FloatArray], features: Features | None
) -> None:
    if features is None:
        return
    known = binning.coding.values if binning.coding is not None else ()
    for f, old, now in zip(np.flatnonzero(binning.categorical), known, categories, strict=True):
        new = np.setdiff1d(now, old)
        if len(new):
            raise InvalidDataError(
                f"Feature {features.label(int(f))} has categories that the trees which warm_start=True keeps "
                f"have not seen: {features.named(int(f), new[:5])}. Pass rows "
                "with the categories of the first fit, or fit with warm_start=False."
            )


def _joined(bundle: Bundle, _: None) -> Bundle:
    """Consecutive blocks as one: fewer calls a round."""
    return bundle.coalesced(1 << 62)


def boost(ground: BoostingGround, settings: Settings, before: Boosted | None = None) -> Boosted:
    """Grow trees until there are ``n_estimators`` iterations, or the held-out loss has stalled."""
    executor, data, found = ground.executor, ground.data, ground.found
    start: FloatArray | None = None if before is None else before.start
    if ground.first is not None:
        start = np.zeros(settings.objective.width)  # rows know better
    plan, targets = begin(executor, data, settings, ground.binning, ground.units, start)
    objective = settings.objective
    out = before or Boosted(
        objective.name,
        ground.binning,
        plan.start,
        Model.empty(objective.width, ground.binning.set_words),
        first=ground.first,
    )
    alike = before is None and ground.first is None
    first = objective.first(targets, plan.start) if alike else _measured(ground, plan, out)
    out.way, binning, room = ground.way, ground.binning, np.inf
    if ground.lanes is not None:
        data, plan = ground.lanes, replace(plan, lanes=len(ground.lanes.bundles))
        room = lane_bytes(getattr(executor, "workers", {}).values())
    course = Course(
        settings, plan, targets, binning.counts, binning.categorical, binning.set_words,
        data.facts.n_rows, found.most_weight, found.whole_weights, room,
    )  # fmt: skip
    at = Standing(out.model, first, Tally(np.full(settings.patience or 0, np.inf)))
    while not at.finished:
        at = executor.lead(data, Steps(course), at)
        for iteration in at.grown:
            out.add(iteration, settings.learning_rate)
        at = replace(at, grown=())
    out.model = at.model
    return out


def _measured(ground: BoostingGround, plan: Plan, out: Boosted) -> FloatArray:
    """How large gradients are where rows begin apart, or after earlier trees: one round, without sums."""
    reduction = boosting_round("boost-measure", replace(plan, fit=uuid.uuid4().hex))
    ask = Ask(len(out.trees), out.model, (), (), np.array([np.inf, np.inf, np.inf, 0.0]))
    told: Told = ground.executor.reduce(ground.data, reduction, ask)
    return told.most


__all__ = ["Boosted", "BoostingGround", "boost", "boosting_ground"]
