"""How long a running fit still takes, from the rounds that it has done.

Where the fit reports a gradient norm g and has a tolerance: most solvers of this package converge at least
linearly, log g ~ a - b round, so the line through the last points says when g reaches the tolerance.
Otherwise only the bound on its iterations is known, and the answer is a bound.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import median
from typing import NamedTuple

from daskml_kit.dashboard.aggregate import FitRecord, Point
from daskml_kit.dashboard.units import seconds

_LAST = 20
_LEAST = 4


class Forecast(NamedTuple):
    """Rounds and seconds still to come; a bound, or an estimate."""

    rounds: int
    seconds: float
    at_most: bool


def forecast(fit: FitRecord) -> Forecast | None:
    """What is left of a running fit, or None where nothing can be said."""
    curve = fit.curve
    if fit.state != "running" or len(curve) < _LEAST:
        return None
    last = curve[-_LAST:]
    each = median(b.at - a.at for a, b in pairwise(last))
    left = None if fit.max_iter is None else fit.max_iter - fit.n_iter
    bound = left if left is not None and left >= 0 else None
    estimate = rounds_to(last, fit.tol)
    if estimate is not None and (bound is None or estimate <= bound):
        return Forecast(estimate, estimate * each, at_most=False)
    return None if bound is None else Forecast(bound, bound * each, at_most=True)


def rounds_to(points: Sequence[Point], tol: float | None) -> int | None:
    """Rounds until the gradient norm reaches ``tol`` along its trend; None without one.

    >>> from daskml_kit.dashboard.aggregate import Point
    >>> points = [Point(r, "", r, 1.0, 10.0**-r, 1.0, 1.0) for r in range(5)]
    >>> rounds_to(points, 1e-8)
    4
    """
    pairs = [(p.round, math.log(p.gradient_norm)) for p in points if p.gradient_norm]
    if not tol or tol <= 0 or len(pairs) < _LEAST:
        return None
    n = len(pairs)
    mean_x, mean_y = sum(x for x, _ in pairs) / n, sum(y for _, y in pairs) / n
    spread = sum((x - mean_x) ** 2 for x, _ in pairs)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in pairs) / spread
    if slope >= 0:
        return None
    x, y = pairs[-1]
    now = min(y, mean_y + slope * (x - mean_x))
    return max(round((math.log(tol) - now) / slope), 0)


def time_left(fit: FitRecord) -> str:
    """The forecast in words, or a dash."""
    found = forecast(fit)
    if found is None:
        return "–"
    bound = "at most" if found.at_most else "about"
    return f"{bound} {seconds(found.seconds)} ({found.rounds} rounds)"
