"""What the driver needs to know of the targets of a generalised linear model: sums over y alone."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np

from daskml_kit.losses import HalfSquared
from daskml_kit.runtime.block import Block
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.typing import Array


class TargetSums(NamedTuple):
    """What the driver needs to know of y; ``spread`` is ``sum_i s_i (y_i - mean)^2``."""

    weight_sum: float
    n_rows: int  # of a weight that is not 0
    mean: float
    spread: float
    least: float
    saturated: float  # sum of the least loss that each row could have


def target_sums(y: Array, weight: Array | None, loss: Any) -> TargetSums:
    """Of one block, which may be empty."""
    s = np.ones(len(y)) if weight is None else weight
    total = float(s.sum())
    mean = float(s @ y) / total if total > 0 else 0.0
    least = float(y.min(initial=np.inf))
    power = getattr(loss, "power", 0.0)
    inside = power <= 0 or least > 0 or (least == 0 and power < 2)
    saturated = float(s @ loss.saturated(y)) if hasattr(loss, "saturated") and inside else 0.0
    n_rows = int(np.count_nonzero(s))
    return TargetSums(total, n_rows, mean, float(s @ (y - mean) ** 2), least, saturated)


def combine_target_sums(a: TargetSums, b: TargetSums) -> TargetSums:
    """Of the rows of both (Chan, Golub and LeVeque 1983)."""
    total = a.weight_sum + b.weight_sum
    share = b.weight_sum / total if total > 0 else 0.0
    gap = b.mean - a.mean
    return TargetSums(
        total,
        a.n_rows + b.n_rows,
        a.mean + share * gap,
        a.spread + b.spread + a.weight_sum * share * gap**2,
        min(a.least, b.least),
        a.saturated + b.saturated,
    )


def _target_chunk(loss: Any, block: Block, _: Any) -> TargetSums:
    assert block.y is not None
    return target_sums(block.y, block.weight, loss)


def target_reduction(loss: Any) -> Reduction[None, TargetSums, TargetSums]:
    """Mean, spread and range of y: reads y alone."""
    return Reduction("target", partial(_target_chunk, loss), combine_target_sums)


def null_value(loss: Any, about: TargetSums) -> float:
    """Sum of the loss of the best constant prediction."""
    if isinstance(loss, HalfSquared):
        return 0.5 * about.spread
    mean = np.array([about.mean])
    return about.weight_sum * float(loss.value_gradient(mean, loss.link(mean), None)[0])


__all__ = ["TargetSums", "combine_target_sums", "null_value", "target_reduction", "target_sums"]
