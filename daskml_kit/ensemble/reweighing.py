"""The loop of AdaBoost, over blocks that carry the weights of their rows.

::

    repeat    fit a member on the weighted rows
              sum what it gets wrong                 one round
              weigh up what it gets wrong            stays with the rows

The same loop runs in two places. With a member that trains on the cluster it drives the cluster's rounds. Any
other member needs all rows on one worker in every step anyway, so they are gathered once and the whole loop
runs there, over a single block.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from sklearn.base import clone

from daskml_kit.ensemble.training import Recruit, spreads, train
from daskml_kit.runtime.block import Block, Bundle
from daskml_kit.runtime.dataset import BlockDataset, BundleRef
from daskml_kit.runtime.events import Unheard
from daskml_kit.runtime.executor import Executor
from daskml_kit.runtime.ingest import DataFacts
from daskml_kit.runtime.jobs import Job, run_jobs
from daskml_kit.runtime.local import LocalExecutor
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.typing import Array, FloatArray

_SEED_LIMIT = np.iinfo(np.int32).max
_EPSILON = float(np.finfo(np.float64).eps)


@dataclass(eq=False)
class Boosted:
    """Members, their weights in the sum, and their errors."""

    models: list[Any] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)


class Verdict(NamedTuple):
    """What follows from a member's misses.

    Attributes
    ----------
    error : weighted share of what it gets wrong
    weight : of the member in the sum
    scale : the largest miss
    kept : whether the member joins the others
    go_on : whether another one follows
    """

    error: float
    weight: float
    scale: float = 1.0
    kept: bool = True
    go_on: bool = True


class Rule(Protocol):
    """What differs between classes and values. It travels to the blocks."""

    def cut(self, step: int, total: float, block: Block) -> Block:
        """What the member of a step sees of a block."""
        ...

    def judge(self, rounds: Rounds) -> Verdict:
        """The verdict on a fitted member, from one round or two."""
        ...

    def misses(self, block: Block, model: Any) -> FloatArray:
        """How far the model is off, for each row."""
        ...

    def changed(self, weight: FloatArray, misses: FloatArray, verdict: Verdict) -> FloatArray:
        """Weights for the next step."""
        ...


@dataclass(frozen=True, eq=False)
class Plan:
    """What a boosted fit was asked for."""

    estimator: Any
    n_steps: int
    rule: Rule
    classes: Array | None
    random: np.random.RandomState


def boost(executor: Executor, data: BlockDataset, plan: Plan, n_jobs: int | None) -> Boosted:
    """Members, one after the other, on the cluster or in one job on one worker.

    Raises
    ------
    InvalidDataError
        If the first classifier is no better than guessing.
    ClusterError
        Before any member was fitted, if the rows don't fit on a worker and the member needs them there.
    """
    if spreads(plan.estimator):
        return _loop(executor, data, plan)
    job = Job("the members", partial(_loop_here, plan, data.facts))
    done: Boosted = run_jobs(executor, data, [job], purpose="boost", at_most=n_jobs)[0]
    return done


def _loop_here(plan: Plan, facts: DataFacts, block: Block) -> Boosted:
    ref = BundleRef(Bundle((block,)), "local-0", block.n_rows, block.nbytes, 1)
    executor = LocalExecutor(Unheard("boost"))
    return _loop(executor, BlockDataset([ref], facts), plan)


def _loop(executor: Executor, data: BlockDataset, plan: Plan) -> Boosted:
    done = Boosted()
    total, current = executor.reduce(data, _WEIGHT_SUM, None), data
    try:
        for step in range(plan.n_steps):
            member = _seeded(plan.estimator, plan.random)
            cut = partial(plan.rule.cut, step, total)
            recruit = Recruit(f"member {step}", member, cut)
            (model,) = train(executor, current, [recruit], classes=plan.classes)
            member_at = _Member(plan.rule, model, step, total)
            verdict = plan.rule.judge(Rounds(executor, current, member_at))
            if verdict.kept or not done.models:
                done.models.append(model)
                if verdict.kept:
                    done.weights.append(verdict.weight)
                    done.errors.append(verdict.error)
            if not verdict.go_on or step == plan.n_steps - 1:
                break
            following = executor.map(current, _reweigh, (member_at, verdict))
            if current is not data:
                current.release()
            current = following
            total = executor.reduce(current, _WEIGHT_SUM, None)
            if not (np.isfinite(total) and total > 0):
                break
    finally:
        if current is not data:
            current.release()
    return done


def _seeded(estimator: Any, random: np.random.RandomState) -> Any:
    """A clone whose random states are scikit-learn's for this step."""
    member = clone(estimator)
    names = sorted(member.get_params(deep=True))
    wanted = [n for n in names if n == "random_state" or n.endswith("__random_state")]
    return member.set_params(**{n: random.randint(_SEED_LIMIT) for n in wanted})


# ---------------------------------------------------------------- weights


@dataclass(frozen=True, eq=False)
class _Member:
    """A fitted member of a step, and the sum of the weights that it was fitted with."""

    rule: Rule
    model: Any
    step: int
    total: float

    def misses(self, block: Block) -> FloatArray:
        """What the first round of the step found, if it is still there."""
        kept = block.scratch.get("adaboost")
        if kept is None or kept[0] != self.step:
            kept = self.step, self.rule.misses(block, self.model)
            block.scratch["adaboost"] = kept
        found: FloatArray = kept[1]
        return found


Sums: TypeAlias = "Callable[[FloatArray, FloatArray], FloatArray]"


@dataclass(frozen=True, eq=False)
class Rounds:
    """Rounds that measure a member."""

    executor: Executor
    data: BlockDataset
    member: _Member

    def sums(self, of: Sums) -> FloatArray:
        """``of(weights, misses)`` of the rows of each block, added up."""
        total: FloatArray = self.executor.reduce(self.data, _SUMS, (self.member, of))
        return total

    def largest(self) -> float:
        """The largest miss of a row that has weight."""
        return float(self.executor.reduce(self.data, _LARGEST, self.member))


def weights_of(block: Block, total: float) -> FloatArray:
    """The weights as shares of the total; none vanishes that was not zero from the beginning."""
    if block.weight is None:
        return np.full(block.n_rows, 1.0 / total)
    share: FloatArray = block.weight / total
    return np.where(block.weight > 0, share.clip(min=_EPSILON), 0.0)


def _sum_weights(block: Block, _: None) -> float:
    return block.weight_sum


def _sum_chunk(block: Block, asked: tuple[_Member, Sums]) -> FloatArray:
    member, of = asked
    return of(weights_of(block, member.total), member.misses(block))


def _largest_chunk(block: Block, member: _Member) -> float:
    misses = member.misses(block)
    if block.weight is not None:
        misses = misses[block.weight > 0]
    return float(misses.max(initial=0.0))


_WEIGHT_SUM: Reduction[None, float, float] = Reduction("sum-weights", _sum_weights, operator.add)
_SUMS: Reduction[tuple[_Member, Sums], FloatArray, FloatArray] = Reduction(
    "boost-error", _sum_chunk, operator.add
)
_LARGEST: Reduction[_Member, float, float] = Reduction("boost-largest", _largest_chunk, max)


def _reweigh(bundle: Bundle, change: tuple[_Member, Verdict]) -> Bundle:
    return bundle.map(partial(_reweighed, change))


def _reweighed(change: tuple[_Member, Verdict], block: Block) -> Block:
    member, verdict = change
    before = weights_of(block, member.total)
    after = member.rule.changed(before, member.misses(block), verdict)
    return Block(block.X, block.y, after, block.start, block.index)


__all__ = ["Boosted", "Plan", "Rounds", "Rule", "Verdict", "boost", "weights_of"]
