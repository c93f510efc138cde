"""Splits of a categorical feature: which of its categories go left.

Each category is a bin of its own, and so are missing values. At a node the categories with rows there are put
in order of their mean target, and then split as ordered bins are: of all ``2^(k-1) - 1`` ways to part k
categories the best is among the k - 1 of that order. This holds for squares, Poisson's deviance, and two
classes (Fisher 1958; Breiman et al. 1984, 4.2.2). Of more classes the order is that of the first principal
component of the categories' shares of classes (Coppersmith et al. 1999): exact where the shares lie on a
line, a good guess where they don't.

A set of categories is a row of 64-bit words, a bit for each bin.

References
----------
Fisher (1958). On grouping for maximum homogeneity. Journal of the American Statistical Association 53.
Breiman, Friedman, Olshen, Stone (1984). Classification and Regression Trees.
Coppersmith, Hong, Hosking (1999). Partitioning nominal attributes in decision trees. Data Mining and
Knowledge Discovery 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numba.extending import register_jitable

from daskml_kit.kernels.counter import philox
from daskml_kit.kernels.tree_splits import SQUARED, Rules, allowed, exactly, is_empty, purity
from daskml_kit.typing import Array, FloatArray, IntArray


class Coding(NamedTuple):
    """What a tree calls the values of categorical features."""

    features: IntArray  # (c,)
    values: Sequence[
        FloatArray
    ]  # float32, ascending: of each feature, those that have a code of their own
    missing: int  # the code of missing values, and of values that are not known


def coded(X: Array, coding: Coding) -> Array:
    """Rows with the codes of categorical features in place of their values.

    Examples
    --------
    >>> rows = np.array([[7.0, 0.1], [3.0, 0.2], [5.0, 0.3], [np.nan, 0.4]], np.float32)
    >>> coded(rows, Coding(np.array([0]), [np.array([3.0, 7.0], np.float32)], 255))[:, 0]
    array([  1.,   0., 255., 255.], dtype=float32)
    """
    out: Array = np.array(X, np.float32)
    for f, values in zip(coding.features, coding.values, strict=True):
        column = out[:, f]
        at = np.searchsorted(values, column)
        known = at < len(values)
        known[known] = values[at[known]] == column[known]
        out[:, f] = np.where(known, at, coding.missing)
    return out


STEPS = 16
"""Power iterations for the first principal component; an order needs no more digits."""


@register_jitable
def set_words(rules: Rules) -> int:
    """Words of a set that has a bit for each bin and for missing values."""
    return (rules.missing_bin >> 6) + 1


@register_jitable
def add_bin(words: Array, b: int) -> None:
    """Puts a bin into a set."""
    words[b >> 6] |= np.uint64(1) << np.uint64(b & 63)


@register_jitable
def has_bin(words: Array, b: int) -> bool:
    """Whether a bin is in a set."""
    return bool((words[b >> 6] >> np.uint64(b & 63)) & np.uint64(1))


@register_jitable
def present_bins(
    hist: Array, offset: int, touched: Array, n_touched: int, rules: Rules, out: Array
) -> int:
    """The bins with rows, missing values last; returns how many."""
    n = 0
    for t in range(n_touched):
        b = int(touched[t])
        if not is_empty(hist, offset + b * rules.stride, rules.n_channels):
            out[n] = b
            n += 1
    if not is_empty(hist, offset + rules.missing_bin * rules.stride, rules.n_channels):
        out[n] = rules.missing_bin
        n += 1
    return n


@register_jitable
def sort_by(means: Array, bins: Array, n: int) -> None:
    """Sorts bins by their means, equal ones by number (Shell 1959)."""
    gap = 1
    while 3 * gap + 1 < n:
        gap = 3 * gap + 1
    while gap > 0:
        for i in range(gap, n):
            mean, b, j = means[i], bins[i], i
            while j >= gap and (
                means[j - gap] > mean or (means[j - gap] == mean and bins[j - gap] > b)
            ):
                means[j], bins[j] = means[j - gap], bins[j - gap]
                j -= gap
            means[j], bins[j] = mean, b
        gap //= 3


@exactly
def first_component(
    hist: Array, offset: int, bins: Array, n: int, rules: Rules, total: Array, means: Array
) -> None:
    """``means[i]`` becomes the place of bin i along the first principal component of the shares."""
    k, stride = rules.n_channels, rules.stride
    shares, weights = np.empty((n, k)), np.empty(n)
    middle, axis, new = np.empty(k), np.zeros(k), np.empty(k)
    everything = 0.0
    for c in range(k):
        everything += total[c]
    for c in range(k):
        middle[c] = total[c] / everything
    farthest, most = 0, -1.0
    for i in range(n):
        at = offset + bins[i] * stride
        weight, spread = 0.0, 0.0
        for c in range(k):
            weight += hist[at + c]
        for c in range(k):
            shares[i, c] = hist[at + c] / weight - middle[c]
            spread += shares[i, c] * shares[i, c]
        weights[i] = weight / everything
        if spread * weights[i] > most:
            farthest, most = i, spread * weights[i]
    axis[:] = shares[farthest]
    for _ in range(STEPS):
        new[:] = 0.0
        norm = 0.0
        for i in range(n):
            place = 0.0
            for c in range(k):
                place += shares[i, c] * axis[c]
            for c in range(k):
                new[c] += weights[i] * place * shares[i, c]
        for c in range(k):
            norm += new[c] * new[c]
        if norm == 0.0:
            break
        for c in range(k):
            axis[c] = new[c] / np.sqrt(norm)
    for i in range(n):
        means[i] = 0.0
        for c in range(k):
            means[i] += shares[i, c] * axis[c]


@exactly
def in_order(
    hist: Array,
    offset: int,
    touched: Array,
    n_touched: int,
    rules: Rules,
    total: Array,
    out: Array,
    means: Array,
) -> int:
    """The categories with rows at a node, in the order in which they may be split; returns how many."""
    n = present_bins(hist, offset, touched, n_touched, rules, out)
    if rules.criterion < SQUARED and rules.n_channels > 2:
        first_component(hist, offset, out, n, rules, total, means)
    else:
        for i in range(n):
            at = offset + out[i] * rules.stride
            below = float(hist[at])
            if rules.criterion < SQUARED:
                below += float(hist[at + 1])
            means[i] = float(hist[at + 1]) / below if below > 0.0 else 0.0
    sort_by(means, out, n)
    return n


@exactly
def draw_categories(
    hist: Array,
    offset: int,
    touched: Array,
    n_touched: int,
    rules: Rules,
    total: Array,
    key: np.uint64,
    feature: int,
    best: float,
    left: Array,
    right: Array,
    best_left: Array,
    out: Array,
) -> tuple[float, int, int]:
    """A random split of one feature, if it is better than ``best`` (Geurts et al. 2006, appendix A.2).

    The first category with rows goes left and each other one where a coin sends it; if all go left, the last
    one goes right. ``out`` has the categories, those that go left first.

    Returns
    -------
    score, cut, n
        The split sends ``out[:n]`` up to ``cut`` left; cut is -1 where it is no better, -2 where there is one
        category only.
    """
    n = present_bins(hist, offset, touched, n_touched, rules, out)
    if n < 2:
        return best, -2, n
    for c in range(rules.stride):
        left[c] = 0
    n_left = 0
    for i in range(n):
        b = out[i]
        coin = philox(key, np.uint64(4 + feature), np.uint64(b))[0] & np.uint64(1)
        if i == 0 or (coin == np.uint64(1) and not (i == n - 1 and n_left == n - 1)):
            for c in range(rules.stride):
                left[c] += hist[offset + b * rules.stride + c]
            out[i], out[n_left] = out[n_left], b
            n_left += 1
    for c in range(rules.stride):
        right[c] = total[c] - left[c]
    if not allowed(rules, left, right, 0, 0.0, 0.0):
        return best, -1, n
    score = purity(rules, left) + purity(rules, right)
    if not score > best:
        return best, -1, n
    for c in range(rules.stride):
        best_left[c] = left[c]
    return score, int(out[n_left - 1]), n


@exactly
def keep_set(ordered: Array, n: int, last: int, sets: Array) -> None:
    """``sets[0]`` becomes the categories up to ``last``, which go left, ``sets[1]`` all ``n`` with rows."""
    sets[:] = np.uint64(0)
    to_left = True
    for i in range(n):
        add_bin(sets[1], ordered[i])
        if to_left:
            add_bin(sets[0], ordered[i])
        to_left = to_left and ordered[i] != last


@register_jitable
def completed(sets: Array, to_left: bool) -> Array:
    """The categories that go left, with those that have no rows at the node where ``to_left`` says so."""
    out: Array = sets[0] | ~sets[1] if to_left else sets[0]
    return out


__all__ = [
    "Coding",
    "coded",
    "completed",
    "draw_categories",
    "has_bin",
    "in_order",
    "keep_set",
    "set_words",
]
