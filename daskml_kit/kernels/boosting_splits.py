"""The splits of the nodes of a boosted tree, read off their merged histograms.

A cell holds the sums of negative gradients, of curvatures and, where rows are counted, of rows. With sums G
and H of a node, its value is the Newton step ``G / (H + l2)``, moved into the node's bounds where
constraints hold, and a split gains ``2 G v - (H + l2) v^2`` of its children less that of the node: for
values that were not moved ``G^2 / (H + l2)``.

References
----------
Friedman (2001). Greedy function approximation: a gradient boosting machine. Ann. Stat. 29(5).
Chen, Guestrin (2016). XGBoost: a scalable tree boosting system. KDD, equations 5 to 7.

scikit-learn's histogram-based boosting takes ``G v`` for a value that was moved into its bounds, which
undervalues such splits; elsewhere both are the same.
"""

from __future__ import annotations

import numpy as np

from daskml_kit.kernels.boosting_categories import search_categories
from daskml_kit.kernels.newton_steps import LEAST_CURVATURE, Pursuit, newton, worth
from daskml_kit.kernels.tree_categories import has_bin
from daskml_kit.kernels.tree_splits import exactly
from daskml_kit.typing import Array

_ROUNDING = 16 * float(np.finfo(np.float64).eps)

_NOISE = 4.0
"""Gains that rounded rows make of nothing: of n rows of curvature H and value v, rounded to units g and h, a
split gains ``(g + |v| h)^2 n / H / 6`` on average, and the best of thousands 20 times that."""

# Columns of what is found.
FEATURE, CUT, MISSING_LEFT = range(3)


@exactly
def search(
    hist: Array,
    sums: Array,
    rows: Array,
    bounds: Array,
    drawn: Array,
    counts: Array,
    signs: Array,
    categorical: Array,
    rules: Pursuit,
    found: Array,
    gains: Array,
    left: Array,
    sets: Array,
) -> None:
    """The best split of each node.

    Bins in ascending order with missing values right, then in descending order with missing values left; of
    equal gains the first, as in scikit-learn.

    Parameters
    ----------
    hist : (m, d, bins, 2 or 3) int64
    sums : (m, 2 or 3) int64, of the rows of each node
    rows : (m,) int64
    bounds : (m, 2), least and largest value of a child
    drawn : (m, d) bool, the features searched; of no rows: all
    counts : (d,) bins of each feature
    signs : (d,) -1, 0, 1
    categorical : (d,) 1 where each bin is a category
    found : (m, 3), written: feature or -1, cut (-1: categories), missing_left (-1 where no value is missing)
    gains : (m,), written
    left : (m, 2 or 3), written: sums of the left child
    sets : (m, words) uint64, written where categories are split: those that go left
    """
    stride = hist.shape[3]
    counted = stride > 2
    ug, uh = rules.unit_gradient, rules.unit_curvature
    for j in range(len(hist)):
        tg, th, tn = sums[j, 0], sums[j, 1], sums[j, 2] if counted else 0
        lower, upper = bounds[j, 0], bounds[j, 1]
        own = newton(rules, tg, th, lower, upper)
        before = worth(rules, tg, th, own)
        # What a split must be worth: more than the node by the least gain, and by more than rounding.
        unit = rules.rounded_gradient + abs(own) * rules.rounded_curvature
        noise = _NOISE * unit * unit * rows[j] / (th * uh)
        best = before + max(rules.min_gain, noise + _ROUNDING * abs(before))
        found[j, FEATURE] = -1
        gains[j] = 0.0
        for f in range(hist.shape[1]):
            if len(drawn) and not drawn[j, f]:
                continue
            cells = hist[j, f]
            gone = cells[rules.missing_bin]
            missing = gone[0] != 0 or gone[1] != 0 or (counted and gone[2] != 0)
            if categorical[f]:
                score = search_categories(
                    cells, counts[f], sums[j], rows[j], lower, upper, rules, best, left[j], sets[j]
                )
                if score > best:
                    best = score
                    gains[j] = score - before
                    found[j, FEATURE], found[j, CUT] = f, -1
                    found[j, MISSING_LEFT] = has_bin(sets[j], rules.missing_bin) if missing else -1
                continue
            sign = signs[f] if rules.constrained else 0
            for side in range(2 if missing else 1):
                g, h, n = 0, 0, 0
                stop = counts[f] - 1
                if side == 1:
                    g, h, n = tg, th, tn
                elif missing:
                    stop += 1  # the last bin is a cut too: what remains is the missing values
                for t in range(stop):
                    if side == 0:
                        b = t
                        g += cells[b, 0]
                        h += cells[b, 1]
                        n += cells[b, 2] if counted else 0
                    else:
                        b = stop - 1 - t
                        g -= cells[b + 1, 0]
                        h -= cells[b + 1, 1]
                        n -= cells[b + 1, 2] if counted else 0
                    if counted and min(n, tn - n) < rules.min_rows:
                        continue
                    a, c = h * uh, (th - h) * uh
                    if min(a, c) < LEAST_CURVATURE:
                        continue
                    if rules.constrained:
                        va = newton(rules, g, h, lower, upper)
                        vc = newton(rules, tg - g, th - h, lower, upper)
                        if (va - vc) * sign > 0.0:
                            continue
                        score = worth(rules, g, h, va) + worth(rules, tg - g, th - h, vc)
                    else:
                        x, y = g * ug, (tg - g) * ug
                        score = x * x / (a + rules.l2) + y * y / (c + rules.l2)
                    if score > best:
                        best = score
                        gains[j] = score - before
                        found[j, FEATURE], found[j, CUT] = f, b
                        found[j, MISSING_LEFT] = side if missing else -1
                        left[j, 0], left[j, 1] = g, h
                        if counted:
                            left[j, 2] = n


__all__ = ["search"]
