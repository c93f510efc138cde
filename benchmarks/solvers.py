"""Rounds and seconds of every solver to a given suboptimality: writes ``docs/solvers.md``."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from benchmarks.harness import table
from daskml_kit.linear_model import LogisticRegression

N_ROWS, N_FEATURES = 50_000, 50
STRENGTH = 1e-6  # of the averaged objective
LEVELS = (1e-2, 1e-4, 1e-6, 1e-8)
SMOOTH, PROXIMAL = ("newton", "newton-cg", "lbfgs", "gd"), ("newton", "gd")
PAGE = Path(__file__).parents[1] / "docs" / "solvers.md"

HEAD = """# Solvers

Written by `python -m benchmarks solvers`. Logistic regression, {rows:,} x {features}, penalty {strength:g} of
the averaged objective, in this process. A cell gives the rounds after which the relative suboptimality of the
best point is below its column's, and their seconds; a round is one pass over the data. A dash: not within
2,000 steps. "Sorted" are the same rows in the order of their labels: no solver here averages models of
blocks, so the order changes only which rows Newton's samples hold.

"""

TAIL = """
What `solver="auto"` takes follows from the shape (`linear_model/choice.py`): "newton" for dense data of at
most 2,000 coefficients, where its few rounds cost less than the many of the others; else "lbfgs", or "gd"
(FISTA) with L1 or bounds.

| solver | numbers a message | asks | L1, bounds |
|---|---|---|---|
| "newton" | d^2 | value, gradient, Hessian (at first of a sample of rows) | proximal Newton |
| "newton-cg" | d | value and gradient, or the Hessian times a vector | no |
| "lbfgs" | d | value and gradient | no |
| "gd" | d | value and gradient | FISTA |
"""


def rows(condition: float, order: str) -> tuple[np.ndarray, np.ndarray]:
    """Features whose covariance has that condition, and labels of a fixed model."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N_ROWS, N_FEATURES)) * np.geomspace(1, condition**-0.5, N_FEATURES)
    X = X @ np.linalg.qr(rng.normal(size=(N_FEATURES, N_FEATURES)))[0]
    y = (rng.random(N_ROWS) < 1 / (1 + np.exp(-X @ rng.normal(size=N_FEATURES)))).astype(int)
    at = np.argsort(y, kind="stable") if order == "sorted" else slice(None)
    return np.ascontiguousarray(X[at]), y[at]


def cells(history: list[dict], best: float) -> list[str]:
    """Rounds and seconds to each level."""
    rounds = history[1:]  # the first loads the data
    values = np.minimum.accumulate([r["objective"] for r in rounds])
    seconds = np.cumsum([r["seconds"] for r in rounds])
    out = []
    for level in LEVELS:
        reached = np.flatnonzero(values - best <= level * abs(best))
        out.append(f"{reached[0] + 1} ({seconds[reached[0]]:.2f} s)" if len(reached) else "-")
    return out


def section(l1_ratio: float, solvers: tuple[str, ...]) -> str:
    """The table of one penalty."""
    body = []
    for condition in (10.0, 1e5):
        for order in ("shuffled", "sorted"):
            X, y = rows(condition, order)
            how = {"C": 1 / (N_ROWS * STRENGTH), "l1_ratio": l1_ratio, "max_iter": 2_000}
            for s in solvers:  # compiled before the clock runs
                LogisticRegression(solver=s, **how | {"max_iter": 1}).fit(X[::100], y[::100])
            fits = {
                s: LogisticRegression(solver=s, tol=1e-9, **how).fit(X, y).history_ for s in solvers
            }
            best = min(min(r["objective"] for r in h[1:]) for h in fits.values())
            body += [[f"{condition:g}", order, s, *cells(h, best)] for s, h in fits.items()]
    header = ["condition", "rows", "solver", *(f"{level:g}" for level in LEVELS)]
    return table(header, body)


def report() -> str:
    """Run it, write the page, and give the section of the report."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # not every solver gets to the last level
        tables = f"## L2\n\n{section(0.0, SMOOTH)}\n\n## L1\n\n{section(1.0, PROXIMAL)}\n"
    head = HEAD.format(rows=N_ROWS, features=N_FEATURES, strength=STRENGTH)
    PAGE.write_text(head + tables + TAIL, encoding="utf-8")
    return "## Solvers\n\nRounds and seconds of each: `docs/solvers.md`.\n"
