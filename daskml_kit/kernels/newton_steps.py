"""The value of a node of a boosted tree, and what it takes off the loss.

With sums G of negative gradients and H of curvatures, the value is the Newton step ``G / (H + l2)``, moved
into the node's bounds where constraints hold, and takes ``(2 G v - (H + l2) v^2) / 2`` off the loss.

References
----------
Friedman (2001). Greedy function approximation: a gradient boosting machine. Ann. Stat. 29(5).
Chen, Guestrin (2016). XGBoost: a scalable tree boosting system. KDD, equations 5 to 7.
"""

from __future__ import annotations

from typing import NamedTuple

from numba.extending import register_jitable

from daskml_kit.kernels.tree_splits import exactly
from daskml_kit.typing import Array

LEAST_CURVATURE = 1e-3
"""Curvature that a leaf needs, as in scikit-learn's histogram-based boosting."""


class Pursuit(NamedTuple):
    """How splits are searched. All numbers, so that the kernel is compiled once."""

    l2: float
    min_rows: int  # in a leaf
    min_gain: float
    unit_gradient: float
    unit_curvature: float
    rounded_gradient: float  # what a row's gradient was rounded to
    rounded_curvature: float  # what a row's curvature was rounded to; 0 where it is whole
    missing_bin: int
    constrained: int


@register_jitable
def newton(rules: Pursuit, g: int, h: int, lower: float, upper: float) -> float:
    """The value of a node."""
    below = h * rules.unit_curvature + rules.l2
    value = g * rules.unit_gradient / below if below > 0.0 else 0.0
    return min(max(value, lower), upper)


@register_jitable
def worth(rules: Pursuit, g: int, h: int, value: float) -> float:
    """Twice what a node of some value takes off the loss, by its parabola."""
    bend = h * rules.unit_curvature + rules.l2
    return (2.0 * g * rules.unit_gradient - bend * value) * value


@exactly
def newton_steps(rules: Pursuit, sums: Array, bounds: Array, out: Array) -> None:
    """The values of nodes: ``sums`` (n, 2 or 3) int64, ``bounds`` (n, 2), ``out`` (n,)."""
    for i in range(len(out)):
        out[i] = newton(rules, sums[i, 0], sums[i, 1], bounds[i, 0], bounds[i, 1])


__all__ = ["LEAST_CURVATURE", "Pursuit", "newton", "newton_steps", "worth"]
