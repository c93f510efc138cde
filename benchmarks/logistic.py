"""Logistic regression, 1,000,000 x 50, against two of scikit-learn's solvers on both cores."""

from __future__ import annotations

import dask.array as da
import numpy as np
from dask import delayed
from distributed import Client, LocalCluster, wait
from sklearn import linear_model

from benchmarks.harness import gemm_flops, interleave, memory_read_seconds, pairwise_ratio, table
from daskml_kit.linear_model import LogisticRegression

N_ROWS, N_FEATURES, N_CHUNKS = 1_000_000, 50, 20
L2 = 1e-4  # of the averaged objective
TOL = 1e-6
ASKED = {"newton-cholesky": 5, "lbfgs": 16}  # times faster than each
REPEATS = 5


def rows(chunk: int) -> tuple[np.ndarray, np.ndarray]:
    """One chunk of X, with scales over one decade, and labels from a fixed model."""
    rng = np.random.default_rng([1, chunk])
    scale = np.logspace(0, -1, N_FEATURES)
    X = rng.normal(size=(N_ROWS // N_CHUNKS, N_FEATURES)) * scale
    true = np.random.default_rng(0).normal(size=N_FEATURES)
    y = rng.random(len(X)) < 1 / (1 + np.exp(-X @ true))
    return X, y.astype(np.int64)


def objective(model: object, X: np.ndarray, y: np.ndarray) -> float:
    """The averaged objective at a fitted model's coefficients."""
    eta = X @ model.coef_[0] + model.intercept_[0]
    return float(np.mean(np.logaddexp(0, eta) - y * eta) + L2 / 2 * model.coef_[0] @ model.coef_[0])


def distributed_data(client: Client) -> tuple[da.Array, da.Array]:
    """The same rows, resident on the workers."""
    n = N_ROWS // N_CHUNKS
    parts = [delayed(rows, nout=2)(i) for i in range(N_CHUNKS)]
    X = da.concatenate([da.from_delayed(p[0], (n, N_FEATURES), np.float64) for p in parts])
    y = da.concatenate([da.from_delayed(p[1], (n,), np.int64) for p in parts])
    X, y = client.persist([X, y])
    wait([X, y])
    return X, y


def report() -> str:
    """Run it; the section of the report."""
    chunks = [rows(i) for i in range(N_CHUNKS)]
    X, y = np.concatenate([c[0] for c in chunks]), np.concatenate([c[1] for c in chunks])
    del chunks
    C = 1 / (N_ROWS * L2)
    fitted = {}

    def fit(name: str, model: object, *data: object) -> None:
        fitted[name] = model.fit(*data)

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
    ):
        Xd, yd = distributed_data(client)
        peers = {
            name: linear_model.LogisticRegression(C=C, tol=TOL, solver=name, max_iter=1_000)
            for name in ASKED
        }
        cases = {
            "daskml_kit": lambda: fit("daskml_kit", LogisticRegression(C=C, tol=TOL), Xd, yd),
            **{n: lambda n=n, m=m: fit(n, m, X, y) for n, m in peers.items()},
        }
        timings = interleave(cases, REPEATS)
    ours = timings["daskml_kit"]
    best = min(objective(m, X, y) for m in fitted.values())
    passes = fitted["daskml_kit"].n_passes_
    read = memory_read_seconds(X.nbytes) / 2
    flops = N_ROWS * (N_FEATURES + 1) ** 2 / gemm_flops() / 2
    labels = {
        "daskml_kit": "daskml_kit, 2 one-thread workers",
        **{name: f"scikit-learn {name}, both cores" for name in ASKED},
    }
    body = [
        [
            labels[name],
            f"{t.median:.2f}",
            t.spread,
            f"{(objective(fitted[name], X, y) - best) / best:.1e}",
            str(int(fitted[name].n_iter_[0])),
        ]
        for name, t in timings.items()
    ]
    ratios = ", ".join(
        f"{pairwise_ratio(timings[name], ours):.1f} times faster than {name} (asked for: {asked})"
        for name, asked in ASKED.items()
    )
    floor = (passes - 1) * flops + read
    return f"""## Logistic regression, {N_ROWS:,} x {N_FEATURES}, L2 {L2:g}

From data that lie where each library wants them (persisted Dask arrays; NumPy arrays), tol {TOL:g},
{REPEATS} repetitions in turn.

{table(["", "seconds (median)", "min-max", "suboptimality", "iterations"], body)}

**{ratios}**
(medians of the pairs). Both libraries minimise the same objective: scikit-learn's is
``C n`` times the averaged one.
Passes: {passes}, the validating read included. Floor on two cores: {floor:.2f} s ({passes - 1} Hessians of
{flops * 1e3:.0f} ms at the speed of a matrix product with its symmetry used, and one read of the memory,
{read * 1e3:.0f} ms); the fit takes {ours.median / floor:.1f} times the floor.
"""
