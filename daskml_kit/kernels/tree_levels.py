"""What the driver decides between two levels: where to search, and how merged histograms split."""

from __future__ import annotations

import numpy as np

from daskml_kit.kernels.tree_search import (
    Bins,
    best_split,
    gain_of,
    is_leaf,
    may_split,
    trials_for,
)
from daskml_kit.kernels.tree_splits import Rules, child_key, choose_features, exactly, value_of
from daskml_kit.typing import Array


@exactly
def searched(key: np.uint64, d: int, start: int, stop: int) -> Array:
    """The features of a node at positions ``start`` to ``stop - 1`` of its order."""
    order = np.arange(d).astype(np.int32)
    if start > 0 or stop < d:
        choose_features(key, order, 0, stop)
    return order[start:stop].copy()


@exactly
def settle(
    hist: Array,
    features: Array,
    bins: Bins,
    signs: Array,
    rules: Rules,
    rows: int,
    depth: int,
    square: int,
    lower: float,
    upper: float,
    key: np.uint64,
    every: Array,
    none: Array,
    sums: Array,
    left: Array,
    sets: Array,
) -> tuple[int, int, int, float, float, bool]:
    """The split of a node, by the same steps as when a tree grows whole.

    ``sums`` and ``left`` are filled with the channels of the node and of its left child; ``sets``, of a
    categorical split, with the categories that go left and all that have rows. Returns feature
    (-1 for a leaf), cut, missing_left, threshold, gain, and whether other features are to be searched.
    """
    stride = rules.stride
    width = (rules.missing_bin + 1) * stride
    sums[:] = 0
    for b in range(rules.missing_bin + 1):
        for c in range(stride):
            sums[c] += hist[b * stride + c]
    if not may_split(rules, rows, depth, sums, square):
        return -1, -1, 0, 0.0, 0.0, False
    trials = trials_for(rules)
    best, where, cut, missing_left, threshold, varied = best_split(
        hist, width, features, 0, len(features), every, none, bins, signs, rules, sums, lower, upper, key,
        -np.inf, trials,
    )  # fmt: skip
    left[:], sets[:] = trials.best, trials.sets
    if where < 0:
        return -1, -1, 0, 0.0, 0.0, not varied
    gain = gain_of(rules, sums, best)
    if is_leaf(rules, rows, sums, square, left, gain):
        return -1, -1, 0, 0.0, 0.0, False
    return features[where], cut, missing_left, threshold, gain, False


@exactly
def middle(rules: Rules, sums: Array, left: Array) -> float:
    """Half way between the values of two children: neither may cross it where a constraint holds."""
    right = sums - left
    return (value_of(rules, left) + value_of(rules, right)) / 2


@exactly
def key_of(key: np.uint64, side: int) -> np.uint64:
    """The key of a child."""
    return child_key(key, side)


__all__ = ["key_of", "middle", "searched", "settle"]
