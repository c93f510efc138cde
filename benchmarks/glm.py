"""Poisson regression, 1,000,000 x 50, against scikit-learn; and a summary against statsmodels' GLM."""

from __future__ import annotations

import warnings

import dask.array as da
import numpy as np
import statsmodels.api as sm
from distributed import Client, LocalCluster, wait
from sklearn import linear_model

from benchmarks.harness import interleave, memory_read_seconds, pairwise_ratio, table
from daskml_kit.linear_model import PoissonRegressor

N_ROWS, N_FEATURES, N_CHUNKS = 1_000_000, 50, 8
SUMMARY_ROWS = 200_000
ALPHA = 1e-4
TOLS = {"daskml_kit": 1e-6, "newton-cholesky": 1e-6, "lbfgs": 1e-6}
REPEATS = 3


def rows(n_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Features whose sizes differ by ten, and counts of a fixed model."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_rows, N_FEATURES)) * np.geomspace(1, 0.1, N_FEATURES)
    eta = 0.2 * X @ rng.normal(size=N_FEATURES) + 0.5
    return X, rng.poisson(np.exp(eta)).astype(float)


def objective(model: object, X: np.ndarray, y: np.ndarray) -> float:
    """The averaged objective, which is scikit-learn's but for a constant."""
    eta = X @ model.coef_ + model.intercept_
    return float(np.mean(np.exp(eta) - y * eta) + 0.5 * ALPHA * model.coef_ @ model.coef_)


def resident(client: Client, *arrays: np.ndarray) -> list[da.Array]:
    """Persisted chunks of rows."""
    n, lazy = len(arrays[0]) // N_CHUNKS, []
    for array in arrays:
        parts = client.scatter([array[i : i + n] for i in range(0, len(array), n)])
        shape = n, *array.shape[1:]
        lazy.append(da.concatenate([da.from_delayed(p, shape, array.dtype) for p in parts]))
    lazy = list(client.persist(lazy))
    wait(lazy)
    return lazy


def fits(client: Client) -> str:
    """The table of fits."""
    X, y = rows(N_ROWS)
    Xd, yd = resident(client, X, y)
    fitted = {}

    def fit(name: str, model: object, *data: object) -> None:
        fitted[name] = model.fit(*data)

    ours = PoissonRegressor(alpha=ALPHA, tol=TOLS["daskml_kit"])
    cases = {"daskml_kit": lambda: fit("daskml_kit", ours, Xd, yd)}
    for name in ("newton-cholesky", "lbfgs"):
        peer = linear_model.PoissonRegressor(
            alpha=ALPHA, tol=TOLS[name], solver=name, max_iter=1_000
        )
        cases[name] = lambda name=name, peer=peer: fit(name, peer, X, y)
    timings = interleave(cases, REPEATS)
    exact = PoissonRegressor(alpha=ALPHA, tol=1e-10, solver="newton").fit(Xd, yd)
    best, body = objective(exact, X, y), []
    for name, timing in timings.items():
        off = (objective(fitted[name], X, y) - best) / abs(best)
        ratio = pairwise_ratio(timing, timings["daskml_kit"])
        label = name if name == "daskml_kit" else f"scikit-learn {name}"
        body.append(
            [label, f"{timing.median:.2f} s", timing.spread, f"{ratio:.1f}x", f"{max(off, 0):.0e}"]
        )
    read = memory_read_seconds(X.nbytes) / 2
    passes = fitted["daskml_kit"].n_passes_
    return (
        table(["", "median", "range", "ours is faster", "above the optimum"], body)
        + f"\n\nFloor: {passes} passes, read from memory by two cores, {passes * read:.2f} s.\n"
    )


def summaries(client: Client) -> str:
    """The table of summaries."""
    X, y = rows(SUMMARY_ROWS)
    Xd, yd = resident(client, X, y)
    A, found = sm.add_constant(X), {}

    def ours() -> None:
        model = PoissonRegressor(alpha=0, tol=1e-8).fit(Xd, yd)
        found["ours"] = model.summary(Xd, yd).std_err

    def theirs() -> None:
        found["theirs"] = sm.GLM(y, A, sm.families.Poisson()).fit(tol=1e-8).bse

    timings = interleave({"daskml_kit": ours, "statsmodels": theirs}, REPEATS)
    off = float(np.max(np.abs(found["ours"] / found["theirs"] - 1)))
    body = [
        [name, f"{t.median:.2f} s", t.spread, f"{pairwise_ratio(t, timings['daskml_kit']):.1f}x"]
        for name, t in timings.items()
    ]
    return (
        table(["", "median", "range", "ours is faster"], body)
        + f"\n\nFit and standard errors; these differ by {off:.0e} of them at most. Floor: one read of the "
        f"rows by two cores, {memory_read_seconds(X.nbytes) / 2:.3f} s.\n"
    )


def report() -> str:
    """Run it and give the section of the report."""
    with (
        warnings.catch_warnings(),
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
    ):
        warnings.simplefilter("ignore")
        return (
            f"## Generalised linear models\n\nPoisson regression, {N_ROWS:,} x {N_FEATURES}, L2 {ALPHA:g}; "
            "two workers of one thread, the peer in this process with both cores.\n\n"
            f"{fits(client)}\n"
            f"Without a penalty and with its summary, {SUMMARY_ROWS:,} x {N_FEATURES}:\n\n{summaries(client)}"
        )
