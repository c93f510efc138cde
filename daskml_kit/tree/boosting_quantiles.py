"""Quantiles of values that stay where they are: counted by their leading bits, 12 more a round."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np

from daskml_kit.kernels import boosting as kernel
from daskml_kit.runtime.block import Block
from daskml_kit.runtime.dataset import BlockDataset
from daskml_kit.runtime.executor import Executor
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.tree.boosting_first import target_of
from daskml_kit.tree.boosting_rows import Plan, drawn_rows, held_out_rows
from daskml_kit.typing import IntArray

LEAF_STAGES = 2
"""Rounds that find a leaf's quantile among its residuals: to 12 bits after the leading one, 1.2e-4 of it."""

START_STAGES = 3


class Share:
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


class _Prefix(NamedTuple):
    prefix: int
    stage: int


def start_quantile(executor: Executor, data: BlockDataset, plan: Plan, quantile: float) -> float:
    """The quantile of the targets: three rounds, to 3e-8 of its size."""
    reduction: Reduction[_Prefix, IntArray, IntArray] = Reduction(
        "boost-quantile", partial(_target_counts, plan), np.add
    )
    prefix, share = 0, Share(quantile)
    for stage in range(START_STAGES):
        counts = executor.reduce(data, reduction, _Prefix(prefix, stage))
        prefix = share.next(prefix, counts[0])
    return kernel.middle_of(prefix, START_STAGES)


def _target_counts(plan: Plan, block: Block, asked: _Prefix) -> IntArray:
    out = np.zeros((1, kernel.BUCKETS), np.int64)
    n = block.n_rows
    w = np.empty(0) if block.weight is None else np.array(block.weight)
    drawn = drawn_rows(
        replace(plan, subsample=1.0), block.rows, 0, w, held_out_rows(plan, block.rows)
    )
    idx = (np.arange(n) if drawn is None else np.flatnonzero(drawn)).astype(np.int32)
    kernel.residual_counts(
        np.array(target_of(block), np.float64), w, plan.unit_weight, np.zeros(n), idx,
        np.array([[0, len(idx)]]), np.zeros(1, np.int64), np.array([asked.prefix], np.uint64),
        asked.stage, out,
    )  # fmt: skip
    return out


__all__ = ["LEAF_STAGES", "START_STAGES", "Share", "start_quantile"]
