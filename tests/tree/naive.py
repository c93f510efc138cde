"""A tree grown the slow way: a definition in plain Python of what the compiled grower must give."""

from __future__ import annotations

import numpy as np

from daskml_kit.kernels.counter import below, philox
from daskml_kit.kernels.tree_splits import ENTROPY, GINI, POISSON


def random_bits(key, high, low):
    with np.errstate(over="ignore"):
        return philox(np.uint64(key), np.uint64(high), np.uint64(low))


def feature_order(key, n_features):
    order = list(range(n_features))
    for j in range(n_features):
        bits = random_bits(key, 1, j)[0]
        other = j + int(below(bits, np.uint64(n_features - j)))
        order[j], order[other] = order[other], order[j]
    return order


def purity(criterion, labels, weights, n_classes, values):
    if criterion in (GINI, ENTROPY):
        counts = np.bincount(labels, weights, n_classes)
        if criterion == GINI:
            return (counts**2).sum() / counts.sum()
        c = counts[counts > 0]
        return (c * np.log2(c)).sum() - c.sum() * np.log2(c.sum())
    w, v = weights.sum(), (weights * values).sum()
    if criterion == POISSON:
        return v * np.log(v / w) if v > 0 else -np.inf
    return v * v / w


def candidates(codes, missing_bin):
    """(cut, missing goes left) in the order in which they are tried."""
    present = sorted(set(codes[codes < missing_bin]))
    has_missing = (codes == missing_bin).any()
    right = [(c, False) for c in (present if has_missing else present[:-1])]
    return right + [(c, True) for c in present[:-1] if has_missing]


def grow(codes, labels, values, weights, rules, key, depth=0, n_all=None):
    """Nested tuples (feature, cut, missing left, left, right), or the number of rows of a leaf."""
    n_all = weights.sum() if n_all is None else n_all
    rows = len(weights)
    of = lambda m: purity(  # noqa: E731
        rules.criterion, labels[m], weights[m], rules.n_channels, values[m]
    )
    whole = np.ones(rows, bool)
    target = labels if rules.criterion in (GINI, ENTROPY) else values
    if (
        depth >= rules.max_depth
        or rows < rules.min_samples_split
        or rows < 2 * rules.min_samples_leaf
        or len(set(target)) == 1
    ):
        return rows
    d = codes.shape[1]
    m = min(rules.max_features, d)
    order = list(range(d)) if m == d else feature_order(key, d)
    best, split = -np.inf, None
    for visited, f in enumerate(order):
        if visited >= m and any(len(set(codes[:, g])) > 1 for g in order[:visited]):
            break
        for cut, missing_left in candidates(codes[:, f], rules.missing_bin):
            left = (codes[:, f] <= cut) | (missing_left & (codes[:, f] == rules.missing_bin))
            if min(left.sum(), (~left).sum()) < rules.min_samples_leaf:
                continue
            score = of(left) + of(~left)
            if score > best:
                best, split = score, (f, cut, missing_left, left)
    if split is None or (best - of(whole)) / n_all < rules.min_gain:
        return rows
    f, cut, missing_left, left = split
    if not (codes[:, f] == rules.missing_bin).any():
        missing_left = left.sum() > (~left).sum()
    keys = [int(random_bits(key, 2, side)[0]) for side in (0, 1)]
    children = [
        grow(codes[s], labels[s], values[s], weights[s], rules, k, depth + 1, n_all)
        for s, k in zip((left, ~left), keys, strict=True)
    ]
    return (f, int(cut), bool(missing_left), *children)
