"""Rounds and seconds of every solver to a given suboptimality: writes ``docs/solvers.md``."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from scipy import sparse

from benchmarks.harness import table
from daskml_kit.linear_model import LogisticRegression, PoissonRegressor

N_ROWS, N_FEATURES = 100_000, 50
WEAK, STRONG = 1e-6, 1e-2  # penalties of the averaged objective
LEVELS = (1e-2, 1e-4, 1e-6, 1e-8)
SMOOTH = ("newton", "newton-cg", "lbfgs", "gd", "giant", "admm", "cocoa")
PROXIMAL = ("newton", "lbfgs", "gd", "admm")
MOST_STEPS = 1_000
STEPS = {"gd": 500, "giant": 200, "admm": 100, "cocoa": 100}  # what takes minutes otherwise
SPARSE_SHAPE, STORED = (20_000, 2_000), 0.01
CLASSES_SHAPE, N_CLASSES = (20_000, 50), 5
COLUMNS_SHAPE = (1_000, 5_000)
COUNTS_SHAPE = (50_000, 50)
FEW_STEPS = {"gd": 300, "giant": 60, "admm": 40, "cocoa": 60}  # of the other kinds of data
OTHER_STEPS = ", ".join(f"{name} {steps}" for name, steps in FEW_STEPS.items()) + " steps"
PAGE = Path(__file__).parents[1] / "docs" / "solvers.md"

HEAD = """# Solvers

Written by `python -m benchmarks solvers`. Logistic regression, {rows:,} x {features}, in this process. A
cell gives the rounds after which the relative suboptimality of the best point is below its column's, and
their seconds. A dash: not within {most:,} steps, or fewer ({few}).
A round is one pass over the data; of ADMM three or four, and of CoCoA+ three, by local computations; where
rows are many, Newton's first rounds read a sample of them alone, which is no pass. "Sorted" are the same rows
in the order of their labels: nearly every piece that the last three solvers compute on is then of one class.
The samples that Newton and L-BFGS begin with are drawn evenly all the same, by global row numbers.

"""

TAIL = """
## Ridge and ordinary least squares

Five ways to one solution, chosen by shape alone (`way_of` in `linear_model/least_squares.py`; the folds of
`RidgeCV` go the same ways):

| shape | way | passes |
|---|---|---|
| up to 5,000 features | (1) the features' Gram matrix, by rows | 1 or 2 |
| `RidgeCV`: rows no more than features, and 5,000 | (2) the rows' Gram matrix, by columns | 2 to 4 |
| `positive=True`: the same, above 5,000 features | (3) Newton's method in the rows' space | 5 to 12 |
| `Ridge`: cut by columns, rows fewer than these | (4) conjugate gradients in the rows' space | one a step |
| all others above 5,000 features | (5) L-BFGS by rows; folds: conjugate gradients | one a step |

(1) `normal_equations.py`: every penalty and fold follows from the one pass; where the condition is bad, a
second one corrects. (2) `few_rows.py`: leave-one-out, folds and penalties follow. (3) `column_positive.py`.
(4) `column_ridge.py`. (5) `wide_ridge.py`, `wide_ridge_cv.py`.

The first two cost what their matrix costs, whatever the condition and the penalties, and hold it on the
driver: 200 MB at 5,000. A single `Ridge` by columns takes steps all the same, since a few products with a
vector cost less than the matrix. Beyond both limits only steps are left, which cost what the condition asks.

## What "auto" takes

The rule is rounds times what a round costs, by the shape alone (`linear_model/choice.py`). Newton reaches
every level in the fewest rounds, whatever the condition and the order; its Hessians, of some 1,000 rows a
coefficient at most, cost more the more columns there are. So dense data go to "newton" where columns are
few, or rows so many that a sample's Hessians are cheap beside a pass; to "lbfgs" where neither holds, above
2,000 coefficients, and where rows are sparse. Newton's seconds over those of L-BFGS, on data of condition 10
and 10,000, to a gradient of 1e-8 and of 1e-4 (the larger ratios):

| rows x columns | in this process | on two workers | taken |
|---|---|---|---|
| 5,000 x 20 | 0.5 to 0.8 | | newton |
| 50,000 x 20 | 0.7 to 1.3 | 0.7 to 1.0 | newton |
| 400,000 x 50 | 0.5 to 0.75 | | newton |
| 1,000,000 x 50 | | 0.4 to 0.7 | newton |
| 30,000 x 50 | 0.8 to 2.2 | 0.8 to 1.5 | lbfgs |
| 100,000 x 50 | 0.9 to 1.8 | 0.8 to 1.4 | lbfgs |
| 10,000 x 100 | 1.0 to 2.9 | 0.9 to 1.3 | lbfgs |
| 200,000 x 100 | 1.1 to 3.6 | 1.1 to 2.5 | lbfgs |
| 50,000 x 200 | 2.7 to 6.8 | 2.3 to 3.7 | lbfgs |

With L1 or bounds L-BFGS has no sketch to begin with, and badly conditioned data take hundreds of its rounds:
it counts as 60 rounds there, so "newton" is taken for more shapes. Of the other data above, L-BFGS with its
sketch takes the fewest seconds; on wide data in memory "columns", which is for data cut by columns, wins from
eight columns a row on. "gd" needs many times the rounds. The
solvers on pieces are never taken, only asked for:

- GIANT needs two rounds a step where Newton needs one, but sends d numbers instead of d^2. It is as good
  on badly conditioned data, as long as the pieces resemble each other; where they differ it goes on as
  Newton-CG after two poor steps, so it fails on no order of the rows.
- ADMM takes every penalty. It is slow where the condition is bad, and slower where the pieces differ.
- CoCoA+ needs a strong penalty: with a weak one its dual problem is as badly conditioned as it gets, and
  it does not reach the first level. What it has that no other has is the duality gap, a bound of its own
  error.

| solver | numbers a message | asks | L1, bounds |
|---|---|---|---|
| "newton" | d^2 | value, gradient, Hessian, at first of a sample of the rows | proximal Newton |
| "newton-cg" | d | value and gradient, or the Hessian times a vector | no |
| "lbfgs" | d | value and gradient, at first a sketch of the Hessian beside | proximal L-BFGS |
| "gd" | d | value and gradient | FISTA |
| "giant" | d | value and gradient, or the pieces' own Newton directions | no |
| "admm" | d a piece | value and gradient, and the pieces' own models | yes |
| "cocoa" | d | value and gradient, and the pieces' steps of dual ascent | L1 beside L2, no bounds |
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
    of_all = [
        np.inf if r["objective"] is None or r["name"].endswith("-sample") else r["objective"]
        for r in rounds
    ]
    values = np.minimum.accumulate(of_all)
    seconds = np.cumsum([r["seconds"] for r in rounds])
    out = []
    for level in LEVELS:
        reached = np.flatnonzero(values - best <= level * abs(best))
        out.append(f"{reached[0] + 1} ({seconds[reached[0]]:.2f} s)" if len(reached) else "-")
    return out


def stored(shape: tuple[int, int], n_classes: int = 2) -> tuple[sparse.csr_array, np.ndarray]:
    """CSR rows whose columns' sizes differ by ten, and labels of a fixed model."""
    rng = np.random.default_rng(0)
    X = sparse.random_array(shape, density=STORED, rng=rng, format="csr", data_sampler=rng.normal)
    X = sparse.csr_array(X @ sparse.diags_array(np.geomspace(1, 0.1, shape[1])))
    return X, labels(X @ rng.normal(size=(shape[1], n_classes - (n_classes == 2))), rng)


def labels(eta: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Two classes of one column of predictions, one a column of several."""
    if eta.shape[1] == 1:
        return (rng.random(len(eta)) < 1 / (1 + np.exp(-eta[:, 0]))).astype(int)
    return np.argmax(eta + rng.gumbel(size=eta.shape), axis=1)


def dense_rows(shape: tuple[int, int]) -> tuple[np.ndarray, np.random.Generator]:
    """Features whose sizes differ by ten."""
    rng = np.random.default_rng(0)
    return rng.normal(size=shape) * np.geomspace(1, 0.1, shape[1]), rng


def others() -> str:
    """The table of other kinds of data: CSR, several classes, wide ones, and another loss."""
    X, y = stored(SPARSE_SHAPE)
    kinds = [("CSR, 20,000 x 2,000, 1 %", LogisticRegression, X, y, SMOOTH[1:])]
    dense, rng = dense_rows(CLASSES_SHAPE)
    classes = labels(dense @ rng.normal(size=(dense.shape[1], N_CLASSES)), rng)
    smooth = ("newton", "newton-cg", "lbfgs", "gd", "giant", "admm")
    kinds.append(("5 classes, 20,000 x 50", LogisticRegression, dense, classes, smooth[:4]))
    wide, rng = dense_rows(COLUMNS_SHAPE)
    two = labels(wide @ rng.normal(size=(wide.shape[1], 1)), rng)
    by_columns = ("columns", "lbfgs", "newton-cg", "gd")
    kinds.append(("wide, 1,000 x 5,000", LogisticRegression, wide, two, by_columns))
    many, rng = dense_rows(COUNTS_SHAPE)
    counts = rng.poisson(np.exp(0.2 * many @ rng.normal(size=many.shape[1]))).astype(float)
    kinds.append(("Poisson, 50,000 x 50", PoissonRegressor, many, counts, smooth))
    body = []
    for kind, model, rows_, y_, names in kinds:
        strength = 1e-3 if kind.startswith("wide") else 1e-4
        how = {"alpha": strength} if model is PoissonRegressor else {"C": 1 / (len(y_) * strength)}
        fits = {}
        for s in names:
            model(solver=s, max_iter=1, **how).fit(rows_, y_)  # compiled before the clock runs
            steps = FEW_STEPS.get(s, MOST_STEPS)
            fits[s] = model(solver=s, tol=1e-8, max_iter=steps, **how).fit(rows_, y_).history_
        best = min(h[-1]["objective"] for h in fits.values() if h[-1]["objective"] is not None)
        body += [[kind, s, *cells(h, best)] for s, h in fits.items()]
    return table(["data", "solver", *(f"{level:g}" for level in LEVELS)], body)


def section(strength: float, l1_ratio: float, solvers: tuple[str, ...]) -> str:
    """The table of one penalty."""
    body = []
    for condition in (10.0, 1e5):
        for order in ("shuffled", "sorted"):
            X, y = rows(condition, order)
            how = {"C": 1 / (N_ROWS * strength), "l1_ratio": l1_ratio}
            for s in solvers:  # compiled before the clock runs
                LogisticRegression(solver=s, max_iter=1, **how).fit(X[::100], y[::100])
            fits = {
                s: LogisticRegression(
                    solver=s, tol=1e-9, max_iter=STEPS.get(s, MOST_STEPS), **how
                ).fit(X, y).history_
                for s in solvers
            }  # fmt: skip
            best = min(h[-1]["objective"] for h in fits.values())
            body += [[f"{condition:g}", order, s, *cells(h, best)] for s, h in fits.items()]
    header = ["condition", "rows", "solver", *(f"{level:g}" for level in LEVELS)]
    return table(header, body)


def report() -> str:
    """Run it, write the page, and give the section of the report."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # not every solver gets to the last level
        tables = (
            f"## L2, strength {WEAK:g} of the averaged objective\n\n{section(WEAK, 0.0, SMOOTH)}\n\n"
            f"## L2, strength {STRONG:g}\n\n{section(STRONG, 0.0, SMOOTH)}\n\n"
            f"## L1, strength {WEAK:g}\n\n{section(WEAK, 1.0, PROXIMAL)}\n\n"
            f"## Other data\n\nL2 of {1e-4:g}, of the wide data {1e-3:g}; not within {OTHER_STEPS}: a dash. "
            f"Sizes of columns differ by ten.\n\n{others()}\n"
        )
    few = ", ".join(f"{name} {steps}" for name, steps in STEPS.items())
    head = HEAD.format(rows=N_ROWS, features=N_FEATURES, most=MOST_STEPS, few=few)
    PAGE.write_text(head + tables + TAIL, encoding="utf-8")
    return "## Solvers\n\nRounds and seconds of each: `docs/solvers.md`.\n"
