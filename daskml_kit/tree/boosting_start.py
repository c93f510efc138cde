"""Where boosting begins: its settings, what one pass says of the targets, and the best constant."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np

from daskml_kit.exceptions import InvalidDataError
from daskml_kit.runtime.block import Block
from daskml_kit.runtime.dataset import BlockDataset
from daskml_kit.runtime.executor import Executor
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.tree.binning import Binning
from daskml_kit.tree.boosting_first import target_of
from daskml_kit.tree.boosting_losses import Objective, Targets
from daskml_kit.tree.boosting_quantiles import start_quantile
from daskml_kit.tree.boosting_rows import Plan, held_out_rows
from daskml_kit.tree.growing import Units
from daskml_kit.typing import Array, FloatArray, IntArray

FOLDED = 1 << 12
"""Codes that are compared at a time."""


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
    ccp_alpha: float = 0.0
    min_weight: float = (
        0.0  # of a leaf, as a share of what trees draw; where rows weigh differently
    )


def begin(
    executor: Executor,
    data: BlockDataset,
    settings: Settings,
    binning: Binning,
    units: Units,
    start: FloatArray | None,
) -> tuple[Plan, Targets]:
    """The plan of a fit, one round; three more for the best quantile. ``start``: of an earlier fit.

    Raises
    ------
    InvalidDataError
        The targets are outside of the loss's domain, or no row is held out.
    """
    objective, facts = settings.objective, data.facts
    n_classes = 0 if facts.classes is None else len(facts.classes)
    plan = Plan(
        uuid.uuid4().hex, objective.loss, np.zeros(objective.width), facts.n_features,
        binning.missing_bin, 3 if settings.min_samples_leaf > 1 or settings.min_weight else 2,
        settings.seed, settings.subsample, settings.held_out, units.weight,
        by_weight=settings.min_weight > 0,
    )  # fmt: skip
    targets = _targets(executor, data, plan, units, n_classes)
    _check_held_out(targets, settings, facts.n_rows)
    objective.check(targets)
    if start is not None:
        return replace(plan, start=start), targets
    if settings.zero_start:
        return plan, targets
    if objective.quantile is not None:
        found = np.array([start_quantile(executor, data, plan, objective.quantile)])
    else:
        found = objective.start(targets)
    return replace(plan, start=found), targets


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
    missing: Array


def _targets(
    executor: Executor, data: BlockDataset, plan: Plan, units: Units, n_classes: int
) -> Targets:
    reduction: Reduction[tuple[Units, int], _Sums, _Sums] = Reduction(
        "boost-start", partial(_target_sums, plan), _target_sums_combined
    )
    sums = executor.reduce(data, reduction, (units, n_classes))
    weight = sums.weight * units.weight
    shares = np.array([int(s) / max(sums.weight, 1) for s in sums.shares])
    mean = sums.value * units.value / weight if sums.weight else 0.0
    every = sums.all_weight * units.weight
    return Targets(weight, every, mean, shares, sums.least, sums.most, sums.missing)


def _target_sums(plan: Plan, block: Block, asked: tuple[Units, int]) -> _Sums:
    units, n_classes = asked
    target = target_of(block)
    w = np.ones(block.n_rows) if block.weight is None else block.weight
    held = held_out_rows(plan, block.rows)
    seen = w > 0 if held is None else ~held & (w > 0)
    every = np.rint(w / units.weight).astype(np.int64)
    y, w, whole = target[seen].astype(np.float64), w[seen], every[seen]
    shares = np.array([int(whole[y == k].sum()) for k in range(n_classes)], np.int64)
    value = np.rint(w * y / units.value).astype(np.int64)
    weighty = target if block.weight is None else target[block.weight > 0]
    least = float(weighty.astype(np.float64).min(initial=np.inf))
    most = float(np.abs(target).max(initial=0.0))
    missing = _missing(np.asarray(block.X), plan.missing_bin)
    return _Sums(int(every.sum()), int(whole.sum()), int(value.sum()), shares, least, most, missing)


def _missing(codes: IntArray, missing_bin: int) -> Array:
    """The features of which a row has no value. Many rows are compared as one: NumPy likes long ones."""
    d = codes.shape[1]
    fold = max(1, FOLDED // d)
    whole = len(codes) // fold * fold
    most = codes[:whole].reshape(-1, fold * d).max(axis=0, initial=0).reshape(fold, d)
    out: Array = np.concatenate([most, codes[whole:]]).max(axis=0) == missing_bin
    return out


def _target_sums_combined(a: _Sums, b: _Sums) -> _Sums:
    return _Sums(
        a.all_weight + b.all_weight,
        a.weight + b.weight,
        a.value + b.value,
        a.shares + b.shares,
        min(a.least, b.least),
        max(a.most, b.most),
        a.missing | b.missing,
    )


__all__ = ["Settings", "begin"]
