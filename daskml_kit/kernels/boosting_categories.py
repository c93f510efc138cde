"""The best split of a categorical feature at a node of a boosted tree.

The categories of a node are put in the order of their Newton steps, damped so that small ones stay near
zero, and a few of either end go left, at most half of them (Fisher 1958). Categories of fewer than ten rows,
counted by their curvature, are not tried: they go right, with the larger half. A missing value is one more
category. As in scikit-learn's histogram-based boosting.

References
----------
Fisher (1958). On grouping for maximum homogeneity. Journal of the American Statistical Association 53.
Ke, Meng, Finley et al. (2017). LightGBM: a highly efficient gradient boosting decision tree. NIPS.
"""

from __future__ import annotations

import numpy as np

from daskml_kit.kernels.newton_steps import LEAST_CURVATURE, Pursuit, newton, worth
from daskml_kit.kernels.tree_categories import add_bin, sort_by
from daskml_kit.kernels.tree_splits import exactly
from daskml_kit.typing import Array

LEAST_ROWS = 10.0
"""Of a category that may go left; and the curvature that damps its step."""


@exactly
def search_categories(
    cells: Array,
    n_bins: int,
    sums: Array,
    rows: int,
    lower: float,
    upper: float,
    rules: Pursuit,
    best: float,
    left: Array,
    chosen: Array,
) -> float:
    """The score of the best split of one feature, or ``best`` if none is better.

    Parameters
    ----------
    cells : (bins, 2 or 3) int64
    n_bins : categories; missing values are ``rules.missing_bin``
    sums : (2 or 3,) int64, of the node
    rows : of the node
    left : (2 or 3,), written where a split is better: sums of the left child
    chosen : (words,) uint64, written there: the categories that go left
    """
    counted = cells.shape[1] > 2
    uh, ug = rules.unit_curvature, rules.unit_gradient
    order, steps = np.empty(n_bins + 1, np.int64), np.empty(n_bins + 1)
    n = 0
    for i in range(n_bins + 1):
        b = i if i < n_bins else rules.missing_bin
        h = cells[b, 1]
        if h * uh * (rows / (sums[1] * uh)) >= LEAST_ROWS:
            order[n] = b
            steps[n] = -cells[b, 0] * ug / (h * uh + LEAST_ROWS)
            n += 1
    if n < 2:
        return best
    sort_by(steps, order, n)
    first, last = -1, -1
    for backwards in range(2):
        g, h, k = 0, 0, 0
        for i in range((n + 1) // 2 - backwards):
            at = n - 1 - i if backwards else i
            b = order[at]
            g += cells[b, 0]
            h += cells[b, 1]
            k += cells[b, 2] if counted else 0
            if counted and min(k, sums[2] - k) < rules.min_rows:
                continue
            if min(h * uh, (sums[1] - h) * uh) < LEAST_CURVATURE:
                continue
            va = newton(rules, g, h, lower, upper)
            vb = newton(rules, sums[0] - g, sums[1] - h, lower, upper)
            score = worth(rules, g, h, va) + worth(rules, sums[0] - g, sums[1] - h, vb)
            if score > best:
                best = score
                first, last = (at, n) if backwards else (0, at + 1)
                left[0], left[1] = g, h
                if counted:
                    left[2] = k
    if first >= 0:
        chosen[:] = np.uint64(0)
        for at in range(first, last):
            add_bin(chosen, order[at])
    return best


__all__ = ["LEAST_ROWS", "search_categories"]
