"""Trees over spread rows, on a worker: a level's histograms and votes, the best of some, rows cut out."""

from __future__ import annotations

import numpy as np

from daskml_kit.kernels.tree_growth import same_type
from daskml_kit.kernels.tree_histograms import fill
from daskml_kit.kernels.tree_rows import Payload, partition, room_for_rows, square_of, total_of
from daskml_kit.kernels.tree_search import Bins, best_split, trials_for
from daskml_kit.kernels.tree_splits import Rules, exactly
from daskml_kit.typing import Array


@exactly
def part_rows(
    codes: Array,
    p: Payload,
    runs: Array,
    splits: Array,
    sets: Array,
    categorical: Array,
    missing_bin: int,
) -> None:
    """Moves rows to their nodes by some splits: ``runs[node]`` is where the rows of a node begin and end.

    A row of ``splits`` is node, feature, cut, whether missing values go left, left and right child.
    """
    view, no_set = same_type(codes), np.empty(0, np.uint64)
    spare = room_for_rows(len(p.idx), p)
    for i in range(len(splits)):
        node, feature, cut = splits[i, 0], splits[i, 1], splits[i, 2]
        missing = missing_bin if splits[i, 3] == 1 else -1
        low, high = runs[node]
        chosen = sets[i] if categorical[feature] else no_set
        at = partition(view, p, spare, low, high, feature, cut, missing, chosen)
        left, right = splits[i, 4], splits[i, 5]
        runs[left, 0], runs[left, 1] = low, at
        runs[right, 0], runs[right, 1] = at, high


@exactly
def fill_nodes(
    codes: Array,
    p: Payload,
    runs: Array,
    nodes: Array,
    features: Array,
    rules: Rules,
    hist: Array,
    rows: Array,
    squares: Array,
) -> None:
    """The histograms (nodes, features x bins x channels) of some nodes, each with features of its own."""
    view, width = same_type(codes), (rules.missing_bin + 1) * rules.stride
    for i in range(len(nodes)):
        low, high = runs[nodes[i]]
        fill(view, p, low, high, features[i], rules, width, hist[i])
        rows[i], squares[i] = high - low, square_of(p, low, high)


@exactly
def best_of(
    hist: Array,
    features: Array,
    bins: Bins,
    signs: Array,
    rules: Rules,
    lower: float,
    upper: float,
    key: np.uint64,
) -> tuple[float, int, bool]:
    """Score and place of the best of some features of a node, -1 for none; whether any can be split."""
    stride = rules.stride
    sums, trials = np.zeros(stride, np.int64), trials_for(rules)
    for b in range(rules.missing_bin + 1):
        for c in range(stride):
            sums[c] += hist[b * stride + c]
    every, none = (
        np.arange(rules.missing_bin).astype(np.int32).reshape(1, -1),
        np.empty(0, np.int64),
    )
    score, where, _, _, _, varied = best_split(
        hist, (rules.missing_bin + 1) * stride, features, 0, len(features), every, none, bins, signs, rules,
        sums, lower, upper, key, -np.inf, trials,
    )  # fmt: skip
    return score, where, varied


@exactly
def vote(
    codes: Array,
    p: Payload,
    runs: Array,
    nodes: Array,
    features: Array,
    keys: Array,
    bounds: Array,
    bins: Bins,
    signs: Array,
    rules: Rules,
    top_k: int,
    votes: Array,
    rows: Array,
    squares: Array,
) -> None:
    """Adds a vote (nodes, features) for those ``top_k`` features that split these rows of a node best.

    Fewer where fewer have a split; of equal ones those that come first. Memory: one node's histograms.
    """
    m, stride = features.shape[1], rules.stride
    view, width, trials = same_type(codes), (rules.missing_bin + 1) * stride, trials_for(rules)
    every, none = (
        np.arange(rules.missing_bin).astype(np.int32).reshape(1, -1),
        np.empty(0, np.int64),
    )
    hist, sums, scores = np.empty(m * width, np.int64), np.empty(stride, np.int64), np.empty(m)
    for i in range(len(nodes)):
        low, high = runs[nodes[i]]
        rows[i], squares[i] = high - low, square_of(p, low, high)
        if high - low < 2:
            continue
        hist[:] = 0
        fill(view, p, low, high, features[i], rules, width, hist)
        total_of(p, low, high, rules, sums)
        for j in range(m):
            scores[j], where, _, _, _, _ = best_split(
                hist[j * width : (j + 1) * width], width, features[i], j, j + 1, every, none, bins, signs,
                rules, sums, bounds[i, 0], bounds[i, 1], keys[i], -np.inf, trials,
            )  # fmt: skip
            if where < 0:
                scores[j] = -np.inf
        for _ in range(min(top_k, m)):
            best = 0
            for j in range(m):
                if scores[j] > scores[best]:
                    best = j
            if scores[best] == -np.inf:
                break
            scores[best] = -np.inf
            votes[i, best] += 1


@exactly
def cut_out(codes: Array, idx: Array, runs: Array, nodes: Array, out: Array, at: int) -> int:
    """Copies the codes of the rows of some nodes to columns ``at`` and on; returns where they end."""
    # Unsigned, or each index would be checked for counting from the end.
    to, one = np.uint64(at), np.uint64(1)
    for f in range(len(codes)):
        column, own, to = codes[f], out[f], np.uint64(at)
        for i in range(len(nodes)):
            low, high = runs[nodes[i]]
            for j in range(np.uint64(low), np.uint64(high)):
                own[to] = column[np.uint64(idx[j])]
                to += one
    return int(to)


__all__ = ["best_of", "cut_out", "fill_nodes", "part_rows", "vote"]
