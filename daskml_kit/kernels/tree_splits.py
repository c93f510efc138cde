"""Scores of splits, read off histograms of integers.

A histogram cell holds sums over the rows of one bin: in ``n_channels`` channels what the criterion needs,
and, where the rules ask for it, the number of rows in one more.

=================  ===========================================================
classes            channel k: the weight of class k
values             channel 0: the weight (or Hessian); channel 1: the target (or
                   negative gradient) times weight
=================  ===========================================================

Weights and values are integers in units of ``unit_weight`` and ``unit_value``, so sums are exact in any
order; scores are a function of the sums alone, computed here and nowhere else. Compiled without the
freedom to reorder floating-point operations: the same sums give the same tree, whichever way the sums came
together.

References
----------
Breiman, Friedman, Olshen, Stone (1984). Classification and Regression Trees.
Geurts, Ernst, Wehenkel (2006). Extremely randomized trees. Machine Learning 63(1).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numba.extending import register_jitable

from daskml_kit.kernels.counter import below, philox, unit
from daskml_kit.typing import Array

exactly = njit(cache=True, nogil=True, error_model="numpy")
"""As ``compiled``, but floating-point operations stay in the order in which they are written."""

GINI, ENTROPY, SQUARED, POISSON = 0, 1, 2, 3
CRITERIA = {"gini": GINI, "entropy": ENTROPY, "squared_error": SQUARED, "poisson": POISSON}


MOST_TIMES = 64
"""Times that one row is drawn in all sums that units are made for. A row drawn more often, of 1e12 rows."""

TELLS = 1e-9
"""Squares can tell whether a node is pure if they lose less than this share: its values spread by less than
3e-5 of their size then. Where they can't, the means of the best split do, for the price of a search."""


class Rules(NamedTuple):
    """How a tree grows. All numbers, so that a kernel is compiled once for all of them."""

    criterion: int
    n_channels: int  # classes, or 2
    stride: int  # n_channels, or one more where rows are counted
    missing_bin: int  # the code of a missing value: bins without it come before
    max_depth: int
    max_features: int
    random: int  # 1: one random threshold a feature, 0: the best
    min_samples_split: int
    min_samples_leaf: int
    min_weight_leaf: float
    min_gain: float
    pure: float  # rounding: the impurity of a leaf of shares; of values, relative to their squares
    weight: float  # of all rows of the tree
    l2: float  # added to the weight of a node of values
    unit_weight: float
    unit_value: float
    unit_square: float
    constrained: int  # 1: monotonic constraints hold


@register_jitable
def weight_of(rules: Rules, sums: Array) -> float:
    """The weight of the rows that the sums are of."""
    if rules.criterion >= SQUARED:
        return float(sums[0] * rules.unit_weight)
    total = 0
    for k in range(rules.n_channels):
        total += sums[k]
    return float(total * rules.unit_weight)


@register_jitable
def value_of(rules: Rules, sums: Array) -> float:
    """What a node predicts: the mean, the Newton step, or the share of the second class."""
    if rules.criterion >= SQUARED:
        return float(sums[1] * rules.unit_value / (sums[0] * rules.unit_weight + rules.l2))
    return float(sums[1] * rules.unit_weight / weight_of(rules, sums))


@register_jitable
def purity(rules: Rules, sums: Array) -> float:
    """Minus the weighted impurity of a node, up to what is the same for all splits of its parent."""
    if rules.criterion == GINI:
        total, squares = 0.0, 0.0
        for k in range(rules.n_channels):
            c = sums[k] * rules.unit_weight
            total += c
            squares += c * c
        return float(squares / total)
    if rules.criterion == ENTROPY:
        total, logs = 0.0, 0.0
        for k in range(rules.n_channels):
            c = sums[k] * rules.unit_weight
            if c > 0.0:
                total += c
                logs += c * np.log2(c)
        return float(logs - total * np.log2(total))
    w, v = sums[0] * rules.unit_weight, sums[1] * rules.unit_value
    if rules.criterion == SQUARED:
        return float(v * v / (w + rules.l2))
    return float(v * np.log(v / w)) if v > 0.0 else -np.inf


@register_jitable
def impurity_of(rules: Rules, sums: Array, square: int) -> float:
    """Impurity of a node, as scikit-learn defines it.

    ``square`` is the sum of ``y^2`` times weight, or ``y log y`` times weight for Poisson.
    """
    w = weight_of(rules, sums)
    if rules.criterion == GINI:
        return float(1.0 - purity(rules, sums) / w)
    if rules.criterion == ENTROPY:
        return -purity(rules, sums) / w
    if rules.criterion == POISSON and sums[1] <= 0:
        return 0.0
    if rules.criterion == POISSON:
        return (square * rules.unit_square - purity(rules, sums)) / w
    mean = sums[1] * rules.unit_value / w
    return float(square * rules.unit_square / w - mean * mean)


@register_jitable
def lost_in_units(rules: Rules, rows: int, sums: Array) -> float:
    """What the squares of the rows of a node may have lost when they became integers."""
    mean = abs(sums[1] * rules.unit_value / weight_of(rules, sums))
    return float(rows * (rules.unit_square + mean * rules.unit_value))


@register_jitable
def looks_pure(rules: Rules, rows: int, sums: Array, square: int) -> bool:
    """Whether the impurity of a node may be only rounding.

    Of shares that is the rounding of one number. Of values it is what its own rows may have lost when
    they became integers, whatever the scale of the weights, and the rounding of their sums.
    """
    if rules.pure < 0.0:
        return False
    impurity = impurity_of(rules, sums, square)
    if rules.criterion < SQUARED:
        return impurity <= rules.pure
    lost = lost_in_units(rules, rows, sums) + rules.pure * abs(square) * rules.unit_square
    return bool(impurity * weight_of(rules, sums) <= lost)


@register_jitable
def is_pure(rules: Rules, rows: int, sums: Array, square: int) -> bool:
    """Whether a node looks pure, and its values are so large that its squares can tell.

    They can't where the values are small beside those of other rows, which all share one unit.
    """
    if not looks_pure(rules, rows, sums, square) or rules.criterion < SQUARED:
        return looks_pure(rules, rows, sums, square)
    size = abs(square) * rules.unit_square
    nothing = sums[1] == 0 and square == 0
    return bool(nothing or lost_in_units(rules, rows, sums) <= TELLS * size)


@register_jitable
def same_means(rules: Rules, rows: int, sums: Array, left: Array) -> bool:
    """Whether the means of two children differ by rounding only, as those of a pure node do.

    A value loses half a unit when it becomes an integer, as many times as its row is drawn.
    """
    w0, w1 = float(left[0]), float(sums[0] - left[0])
    a = left[1] / w0
    b = (sums[1] - left[1]) / w1
    most = float(MOST_TIMES * rows)
    lost = 0.5 * (min(w0, most) / w0 + min(w1, most) / w1)
    return bool(abs(a - b) <= lost + rules.pure * max(abs(a), abs(b)))


@register_jitable
def allowed(rules: Rules, left: Array, right: Array, sign: int, lower: float, upper: float) -> bool:
    """Whether a split keeps leaves large enough and the constraint of its feature."""
    if rules.stride > rules.n_channels:
        least = min(left[rules.n_channels], right[rules.n_channels])
        if least < rules.min_samples_leaf:
            return False
    if rules.min_weight_leaf > 0.0:
        least_weight = min(weight_of(rules, left), weight_of(rules, right))
        if least_weight < rules.min_weight_leaf:
            return False
    if rules.constrained and sign != 0:
        a, b = value_of(rules, left), value_of(rules, right)
        inside = a >= lower and b >= lower and a <= upper and b <= upper
        return bool(inside and (a - b) * sign <= 0.0)
    return True


@register_jitable
def is_empty(hist: Array, at: int, n_channels: int) -> bool:
    """Whether no row is in the bin whose cell begins at ``at``."""
    for s in range(n_channels):  # noqa: SIM110 - generators are not compiled
        if hist[at + s] != 0:
            return False
    return True


@exactly
def draw_split(
    hist: Array,
    offset: int,
    touched: Array,
    n_touched: int,
    rules: Rules,
    total: Array,
    sign: int,
    lower: float,
    upper: float,
    best: float,
    lows: Array,
    highs: Array,
    bits: tuple[np.uint64, np.uint64],
    left: Array,
    right: Array,
    best_left: Array,
) -> tuple[float, int, int, int, float]:
    """A split of one feature at a random threshold, if it is better than ``best``.

    The threshold is uniform between the least and the largest value of the node's rows, moved between
    the bins on its sides where it lies in a bin. ``lows`` and ``highs`` are the least and largest value of
    each bin.

    Returns
    -------
    score, cut, next, missing_left, threshold
        As :func:`~daskml_kit.kernels.tree_scans.scan`.
    """
    stride, channels = rules.stride, rules.n_channels
    first, last = -1, -1
    for t in range(n_touched):
        b = int(touched[t])
        if not is_empty(hist, offset + b * stride, channels):
            first = b if first < 0 else first
            last = b
    missing = offset + rules.missing_bin * stride
    has_missing = not is_empty(hist, missing, stride)
    if first == last:
        return best, -1 if has_missing and first >= 0 else -2, -1, -1, 0.0
    threshold = lows[first] + unit(bits[0]) * (highs[last] - lows[first])
    missing_left = int(bits[1] & np.uint64(1)) if has_missing else -1
    for s in range(stride):
        left[s] = hist[missing + s] if missing_left == 1 else 0
    cut, after = first, last
    for t in range(n_touched):
        b = int(touched[t])
        at = offset + b * stride
        if is_empty(hist, at, channels):
            continue
        if b > first and (highs[b] > threshold or b == last):
            after = b
            break
        cut = b
        for s in range(stride):
            left[s] += hist[at + s]
    for s in range(stride):
        right[s] = total[s] - left[s]
    if not allowed(rules, left, right, sign, lower, upper):
        return best, -1, -1, -1, 0.0
    score = purity(rules, left) + purity(rules, right)
    if not score > best:
        return best, -1, -1, -1, 0.0
    for s in range(stride):
        best_left[s] = left[s]
    if not highs[cut] <= threshold < lows[after]:
        threshold = highs[cut] / 2 + lows[after] / 2
    return score, cut, after, missing_left, threshold


@register_jitable
def choose_features(key: np.uint64, order: Array, start: int, stop: int) -> None:
    """Positions ``start`` to ``stop - 1`` of the node's random order of features (Fisher and Yates).

    ``order`` holds 0, 1, ... when ``start`` is 0, and what the last call left there otherwise.
    """
    n = len(order)
    for j in range(start, stop):
        low = philox(key, np.uint64(1), np.uint64(j))[0]
        other = j + int(below(low, np.uint64(n - j)))
        order[j], order[other] = order[other], order[j]


@register_jitable
def child_key(key: np.uint64, right: int) -> np.uint64:
    """The key of a node's child: of its tree and its path, whichever way the tree grows."""
    return philox(key, np.uint64(2), np.uint64(right))[0]


__all__ = ["CRITERIA", "Rules", "exactly"]
