"""The search for the best split of a node: which features, their histograms, the best of all."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba.extending import register_jitable

from daskml_kit.kernels.counter import philox
from daskml_kit.kernels.tree_categories import draw_categories, in_order, keep_set, set_words
from daskml_kit.kernels.tree_histograms import fill, touch
from daskml_kit.kernels.tree_rows import Payload
from daskml_kit.kernels.tree_scans import (
    CLASSES,
    TWO_CLASSES,
    VALUES,
    kind_of_scan,
    scan,
    scan_classes,
    scan_two_classes,
    scan_values,
)
from daskml_kit.kernels.tree_splits import (
    SQUARED,
    Rules,
    choose_features,
    draw_split,
    exactly,
    is_pure,
    looks_pure,
    purity,
    same_means,
)
from daskml_kit.typing import Array


class Bins(NamedTuple):
    """What the grower needs to know of the bins."""

    counts: Array  # int32 (d,): bins of each feature, that of missing values not counted
    lows: Array  # float64 (d, bins): least value of each bin
    highs: Array  # float64 (d, bins): largest
    categorical: Array  # int8 (d,): 1 where each bin is a category


class Trials(NamedTuple):
    """What the features of a node are tried with."""

    left: Array  # int64 (stride,): channels, as the next two
    right: Array
    best: Array  # on the left of the best split
    order: Array  # int32 (bins + 1,): categories in their order at the node
    means: Array  # float64 (bins + 1,): what orders them
    sets: Array  # uint64 (2, words): categories left by the best split, and all that have rows


@register_jitable
def trials_for(rules: Rules) -> Trials:
    """Room to try features."""
    stride, n = rules.stride, rules.missing_bin + 1
    return Trials(
        np.empty(stride, np.int64), np.empty(stride, np.int64), np.empty(stride, np.int64),
        np.empty(n, np.int32), np.empty(n, np.float64), np.empty((2, set_words(rules)), np.uint64),
    )  # fmt: skip


class Desk(NamedTuple):
    """What a search works on; made once for all nodes of a tree."""

    hist: Array  # int64 (m * width,): zero between searches
    order: Array  # int32 (d,): features, those of the node first
    touched: Array  # int32 (m, few): bins that a small node's rows fall into
    n_touched: Array  # int64 (m,)
    every: Array  # int32 (1, bins): all bins
    none: Array  # int64 (0,)
    words: Array  # uint64: a bit for each bin
    trials: Trials
    left: Array  # int64 (stride,): channels on the left of the split found


@register_jitable
def desk_for(d: int, rules: Rules) -> Desk:
    """An empty desk.

    A node is small, and only the bins that its rows touch are looked at, if it has fewer rows than
    half the bins.
    """
    stride, n_bins = rules.stride, rules.missing_bin
    m, few = min(rules.max_features, d), (n_bins + 1) // 2
    return Desk(
        np.zeros(m * (n_bins + 1) * stride, np.int64), np.arange(d).astype(np.int32),
        np.empty((m, few), np.int32), np.empty(m, np.int64),
        np.arange(n_bins).astype(np.int32).reshape(1, -1), np.empty(0, np.int64),
        np.empty(set_words(rules), np.uint64), trials_for(rules), np.empty(stride, np.int64),
    )  # fmt: skip


@register_jitable
def may_split(rules: Rules, rows: int, depth: int, sums: Array, square: int) -> bool:
    """Whether a node is large, shallow and impure enough to be split."""
    return bool(
        depth < rules.max_depth
        and rows >= rules.min_samples_split
        and rows >= 2 * rules.min_samples_leaf
        and not is_pure(rules, rows, sums, square)
    )


@register_jitable
def is_leaf(rules: Rules, rows: int, sums: Array, square: int, left: Array, gain: float) -> bool:
    """Whether the best split of a node is none: too small a gain, or of a node that is pure after all."""
    if gain < rules.min_gain:
        return True
    blurred = rules.criterion >= SQUARED and looks_pure(rules, rows, sums, square)
    return bool(blurred and same_means(rules, rows, sums, left))


@register_jitable
def gain_of(rules: Rules, sums: Array, score: float) -> float:
    """The decrease of impurity by a split of some score, weighted by the node's share of all rows."""
    return (score - purity(rules, sums)) / rules.weight


@exactly
def best_split(
    hist: Array,
    width: int,
    features: Array,
    start: int,
    stop: int,
    touched: Array,
    n_touched: Array,
    bins: Bins,
    signs: Array,
    rules: Rules,
    sums: Array,
    lower: float,
    upper: float,
    key: np.uint64,
    best: float,
    trials: Trials,
) -> tuple[float, int, int, int, float, bool]:
    """The best split among ``features[start:stop]``, whose histograms stand one after the other.

    ``touched`` has one row of bins for each of them, the first ``n_touched``; where ``n_touched`` is
    empty, one row of all bins for all of them.

    Returns score, position in ``features`` (-1: none), cut, missing_left, threshold, and whether any of the
    features has rows in two bins. ``trials.best`` has the sums of the left side; of a categorical feature
    ``trials.sets`` has the categories that go there, cut is the last of them, and threshold is NaN.
    """
    left, right, best_left = trials.left, trials.right, trials.best
    where, cut, missing_left, threshold, varied = -1, -1, -1, 0.0, False
    for j in range(start, stop):
        f = features[j]
        offset = (j - start) * width
        own = touched[j - start] if len(n_touched) else touched[0]
        count = n_touched[j - start] if len(n_touched) else bins.counts[f]
        categorical = bins.categorical[f] != 0
        if categorical and not rules.random:
            count = in_order(hist, offset, own, count, rules, sums, trials.order, trials.means)
            own = trials.order
        kind = kind_of_scan(rules, signs[f])
        t, after, m = 0.0, -1, -1
        if kind == TWO_CLASSES:
            score, b, after, m = scan_two_classes(
                hist, offset, own, count, rules, sums, best, best_left, categorical
            )
        elif kind == CLASSES:
            score, b, after, m = scan_classes(
                hist, offset, own, count, rules, sums, best, left, best_left, categorical
            )
        elif kind == VALUES:
            score, b, after, m = scan_values(
                hist, offset, own, count, rules, sums, best, best_left, categorical
            )
        elif rules.random and categorical:
            score, b, count = draw_categories(
                hist, offset, own, count, rules, sums, key, f, best, left, right, best_left,
                trials.order,
            )  # fmt: skip
        elif rules.random:
            bits = philox(key, np.uint64(3), np.uint64(f))
            score, b, after, m, t = draw_split(
                hist, offset, own, count, rules, sums, signs[f], lower, upper, best,
                bins.lows[f], bins.highs[f], bits, left, right, best_left,
            )  # fmt: skip
        else:
            score, b, after, m = scan(
                hist, offset, own, count, rules, sums, signs[f], lower, upper, best,
                left, right, best_left, categorical,
            )  # fmt: skip
        varied = varied or b > -2
        if b >= 0:
            best, where, cut, missing_left, threshold = score, j, b, m, t
            if categorical:
                keep_set(trials.order, count, b, trials.sets)
                threshold = np.nan
            elif not rules.random:
                threshold = np.inf
                if after >= 0:
                    threshold = bins.highs[f, b] / 2 + bins.lows[f, after] / 2
    return best, where, cut, missing_left, threshold, varied


@register_jitable
def clear(desk: Desk, rules: Rules, n: int, small: bool) -> None:
    """Makes the histograms of the first ``n`` features zero; of a small node those cells that it touched."""
    stride, hist = rules.stride, desk.hist
    width = (rules.missing_bin + 1) * stride
    if not small:
        hist[: n * width] = 0
        return
    for j in range(n):
        for i in range(desk.n_touched[j]):
            at = j * width + desk.touched[j, i] * stride
            for c in range(stride):
                hist[at + c] = 0
        for c in range(stride):
            hist[(j + 1) * width - 1 - c] = 0


@exactly
def search(
    codes: Array,
    p: Payload,
    low: int,
    high: int,
    known: Array,
    desk: Desk,
    bins: Bins,
    signs: Array,
    rules: Rules,
    sums: Array,
    lower: float,
    upper: float,
    key: np.uint64,
) -> tuple[float, int, int, int, float]:
    """The best split of positions ``low`` to ``high - 1`` among the features drawn for the node.

    Where none of them has two values, more are drawn one by one, as in scikit-learn. ``known`` has the
    histograms of all features where they are known already, else nothing.

    Returns
    -------
    score, feature, cut, missing_left, threshold
        Feature is -1 where there is no split. ``desk.left`` has the sums of the left side and
        ``desk.trials.sets`` its categories, as :func:`best_split` gives them.
    """
    order = desk.order
    d, m = len(order), len(desk.n_touched)
    width = (rules.missing_bin + 1) * rules.stride
    small = high - low < desk.touched.shape[1]
    best, where, cut, missing_left, threshold = -np.inf, -1, -1, -1, 0.0
    start, stop, varied = 0, m, False
    if m < d:
        for f in range(d):
            order[f] = f
    while start < stop:
        if m < d:
            choose_features(key, order, start, stop)
        if len(known) == 0:
            fill(codes, p, low, high, order[start:stop], rules, width, desk.hist)
        if small:
            for j in range(start, stop):
                f = order[j]
                desk.n_touched[j - start] = touch(
                    codes, p, low, high, f, bins.counts[f], desk.words, desk.touched[j - start]
                )
        best, found, b, ml, t, any_varied = best_split(
            known if len(known) else desk.hist, width, order, start, stop,
            desk.touched if small else desk.every, desk.n_touched if small else desk.none,
            bins, signs, rules, sums, lower, upper, key, best, desk.trials,
        )  # fmt: skip
        if found >= 0:
            where, cut, missing_left, threshold = order[found], b, ml, t
            desk.left[:] = desk.trials.best
        if len(known) == 0:
            clear(desk, rules, stop - start, small)
        varied = varied or any_varied
        start, stop = stop, stop if varied else min(d, stop + 1)
    return best, where, cut, missing_left, threshold


__all__ = [
    "Bins",
    "Desk",
    "Trials",
    "best_split",
    "desk_for",
    "gain_of",
    "is_leaf",
    "may_split",
    "search",
    "trials_for",
]
