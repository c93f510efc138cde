"""Wide data, more columns than rows, cut by columns; scikit-learn has the same numbers in one process."""

from __future__ import annotations

import os
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import dask.array as da
import numpy as np
from distributed import Client, LocalCluster, wait
from sklearn import linear_model
from sklearn.base import clone

from benchmarks.harness import memory_read_seconds, table
from daskml_kit.linear_model import Lasso, LogisticRegression

N_ROWS = int(os.environ.get("WIDE_ROWS", "10000"))
N_COLUMNS = int(os.environ.get("WIDE_COLUMNS", "50000"))
N_USED, N_CHUNKS, SHARES = 100, 10, (0.2, 0.1)
REPEATS = 3
EPOCHS = 4  # most of SAGA's, of 20 s each at this size; to its tolerance it would take many minutes


def columns_of(chunk: int) -> np.ndarray:
    """One chunk's columns in float32, each in one piece of memory, as both libraries' descent wants them."""
    rng = np.random.default_rng([0, chunk])
    return rng.standard_normal((N_COLUMNS // N_CHUNKS, N_ROWS), dtype=np.float32).T


def numbers() -> np.ndarray:
    """All of them."""
    out = np.empty((N_COLUMNS, N_ROWS), dtype=np.float32)
    width = N_COLUMNS // N_CHUNKS
    for chunk in range(N_CHUNKS):
        out[chunk * width : (chunk + 1) * width] = columns_of(chunk).T
    return out.T


def distributed_columns(client: Client) -> da.Array:
    """The same numbers, each chunk of columns on the worker that made it, as many on either."""
    workers = sorted(client.scheduler_info()["workers"])
    shape, parts = (N_ROWS, N_COLUMNS // N_CHUNKS), []
    for chunk in range(N_CHUNKS):
        piece = client.submit(columns_of, chunk, workers=[workers[chunk % len(workers)]])
        parts.append(da.from_delayed(piece, shape, dtype=np.float32))
    data: da.Array = da.concatenate(parts, axis=1).persist()
    wait(data)
    return data


def report() -> str:
    """The section of the report."""
    X, rng = numbers(), np.random.default_rng(1)
    eta = X[:, :N_USED] @ rng.normal(size=N_USED).astype(np.float32)
    y = eta + 2.0 * rng.normal(size=N_ROWS)
    labels = eta + 3.0 * rng.logistic(size=N_ROWS) > 0
    largest = float(np.abs(X.T @ (y - y.mean()).astype(np.float32)).max()) / N_ROWS
    pull = float(np.abs(X.T @ (labels - labels.mean()).astype(np.float32)).max())
    C = 1.0 / (SHARES[0] * pull)

    def least_squares(alpha: float) -> Callable[[np.ndarray, float], float]:
        def value(coef: np.ndarray, b: float) -> float:
            rest = y - X @ coef.ravel().astype(np.float32) - b
            return float(0.5 * rest @ rest / N_ROWS + alpha * np.abs(coef).sum())

        return value

    def logistic(coef: np.ndarray, b: float) -> float:
        raw = X @ coef.ravel().astype(np.float32) + b
        loss = np.logaddexp(0.0, np.where(labels, -raw, raw)).sum()
        return float(loss / N_ROWS + np.abs(coef).sum() / (C * N_ROWS))

    works: list[
        tuple[str, tuple[Any, Any], np.ndarray, Callable[[np.ndarray, float], float], int]
    ] = []
    for share in SHARES:
        strength = share * largest
        sides = Lasso(strength, tol=1e-6), linear_model.Lasso(strength, tol=1e-6)
        works.append((f"Lasso, {share:.0%}", sides, y, least_squares(strength), REPEATS))
    how: dict[str, Any] = {"C": C, "l1_ratio": 1.0}
    saga = linear_model.LogisticRegression(**how, solver="saga", tol=1e-3, max_iter=EPOCHS)
    name = f"LogisticRegression, L1, {SHARES[0]:.0%}"
    works.append((name, (LogisticRegression(**how, tol=1e-5), saga), labels, logistic, 1))
    rows, ratios = [], []
    with (
        LocalCluster(2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
    ):
        data = distributed_columns(client)
        few = data[:, : 3 * N_COLUMNS // N_CHUNKS]
        for name, (ours, theirs), target, objective, repeats in works:
            clone(ours).fit(few, target)  # kernels are compiled, and loaded on the workers
            took: dict[str, list[float]] = {"daskml_kit": [], "scikit-learn": []}
            for _ in range(repeats):
                for library, model, given in (
                    ("daskml_kit", ours, data),
                    ("scikit-learn", theirs, X),
                ):
                    begun = time.perf_counter()
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")  # SAGA's, that it ends early
                        model.fit(given, target)
                    took[library].append(time.perf_counter() - begun)
            for library, model in (("daskml_kit", ours), ("scikit-learn", theirs)):
                value = objective(model.coef_, float(np.ravel(model.intercept_)[0]))
                rounds = str(getattr(model, "n_rounds_", "-"))
                used = str(np.count_nonzero(model.coef_))
                seconds = f"{statistics.median(took[library]):.2f}"
                rows.append([name, library, seconds, rounds, f"{value:.9f}", used])
            pairs = zip(took["scikit-learn"], took["daskml_kit"], strict=True)
            ratios.append(f"{name}: {statistics.median(p / o for p, o in pairs):.1f}")
    head = ["model", "library", "seconds", "rounds", "objective", "coefficients not zero"]
    floor = memory_read_seconds(X.nbytes) / 2
    return f"""## Wide data: {N_ROWS:,} x {N_COLUMNS:,} float32, cut into {N_CHUNKS} chunks of columns

{X.nbytes / 1e9:.1f} GB on two one-thread workers (persisted), scikit-learn on the same numbers in one
process, by column. Penalties are shares of the smallest that makes all coefficients zero. The lasso to a
duality gap of 1e-6 times the squares of y, medians of {REPEATS} pairs; scikit-learn's logistic regression
by SAGA, to a tolerance of 1e-3 or {EPOCHS} epochs (ours: 1e-5; the objectives tell which went further), one
fit each.

{table(head, rows)}

Times faster: {"; ".join(ratios)}. One read of X from memory on two cores: {floor:.2f} s, and ours
makes one in every other round.
"""
