"""Trees over hundreds of features and spread rows: histograms of all of them, or of the elected ones."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import dask.array as da
import numpy as np
from distributed import Client, LocalCluster, wait
from sklearn.metrics import r2_score

import daskml_kit
from benchmarks.harness import histogram_seconds, interleave, table
from daskml_kit.ensemble import RandomForestRegressor

N_ROWS, N_TEST, N_COLUMNS = 60_000, 10_000, 500
N_TREES, DEPTH, TOP_K = 8, 8, 20
REPEATS = 2

EXACT, VOTED, COPIED = "*reduce*", f"*vote*, top_k={TOP_K}", "*replicate*"
LIGHTGBM = {
    "boosting_type": "rf", "num_leaves": 2**DEPTH, "max_depth": DEPTH, "bagging_fraction": 0.632,
    "bagging_freq": 1, "feature_fraction": 1.0, "verbose": -1, "n_estimators": N_TREES, "top_k": TOP_K,
}  # fmt: skip


def rows(n_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Products and steps of forty of the columns, and noise."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_rows, N_COLUMNS)).astype(np.float32)
    a, b = X[:, :20], X[:, 20:40]
    weight = np.linspace(2.0, 0.1, 20)
    y = (a * weight).sum(axis=1) + ((a > 0) * (b > 0.5) * weight).sum(axis=1)
    return X, y + rng.normal(size=n_rows)


def cases(lazy: da.Array, target: da.Array) -> dict[str, Callable[[], Any]]:
    """Fits of our three ways, and of LightGBM with its own votes."""

    def ours(trees: str, top_k: int | None = None) -> Any:
        model = RandomForestRegressor(N_TREES, max_depth=DEPTH, top_k=top_k, random_state=0)
        with daskml_kit.config_context(trees=trees):
            return model.fit(lazy, target)

    found: dict[str, Callable[[], Any]] = {
        COPIED: lambda: ours("replicate"),
        EXACT: lambda: ours("reduce"),
        VOTED: lambda: ours("reduce", TOP_K),
    }
    if importlib.util.find_spec("lightgbm"):
        from lightgbm import DaskLGBMRegressor

        for learner in ("data", "voting"):
            found[f"LightGBM's dask, {learner}"] = lambda learner=learner: DaskLGBMRegressor(
                **LIGHTGBM, tree_learner=learner, random_state=0
            ).fit(lazy, target)
    return found


def report(n_rows: int = N_ROWS) -> str:
    """Run it; the section of the report."""
    X, y = rows(n_rows + N_TEST)
    models: dict[str, Any] = {}

    def kept(name: str, fit: Callable[[], Any]) -> Callable[[], None]:
        def run() -> None:
            models[name] = fit()

        return run

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster),
    ):
        chunk = -(-n_rows // 8)
        lazy = da.from_array(X[:n_rows], chunks=(chunk, -1)).persist()
        target = da.from_array(y[:n_rows], chunks=chunk).persist()
        wait([lazy, target])
        timings = interleave(
            {name: kept(name, fit) for name, fit in cases(lazy, target).items()},
            REPEATS,
            rested=True,
        )
        test = da.from_array(X[n_rows:], chunks=(N_TEST // 2, -1))
        said = {name: np.asarray(model.predict(test)) for name, model in models.items()}
    body = [
        [
            name,
            f"{t.median:.2f} ({t.spread})",
            sent(models[name]),
            str(getattr(models[name], "n_rounds_", "")),
            f"{r2_score(y[n_rows:], said[name]):.4f}",
        ]
        for name, t in timings.items()
    ]
    levels = 1 + (DEPTH - 1) / 2  # of two siblings one is counted
    floor = histogram_seconds(n_rows, N_COLUMNS) * N_TREES * levels / 2
    fastest = min(t.median for t in timings.values())
    head = f"## Elected features: {n_rows:,} x {N_COLUMNS}, {N_TREES} trees of depth {DEPTH}, all features"
    return (
        f"{head}\n\n{table(('', 'seconds', 'MB of levels', 'rounds', 'test R2'), body)}\n\n"
        "Two workers of one thread. MB: votes, histograms and rows of small nodes that tasks handed on; with "
        "votes each of 16 pieces has a task, and what eight of them merge on one worker goes nowhere. Where "
        "rows fit the workers, as here, *vote* is no gain: nodes are soon small, and their rows travel once, "
        "whichever way. It is for nodes too large for that, many workers and a slow network: the histograms "
        f"of a node are {N_COLUMNS * 4096 / 1e6:.0f} MB a worker, 16 ms at 1 Gbit/s, and votes send a "
        "twelfth of them for 38 ms of processors, shared by up to 16 workers. Floor on two cores: "
        f"{floor:.2f} s, to count all rows into histograms for the first level of every tree, and half of "
        f"them for the others; the fastest takes {fastest / floor:.1f} times the floor.\n"
    )


def sent(model: Any) -> str:
    """What the rounds of growing have moved."""
    names = ("tree-vote", "tree-level", "finish-nodes")
    moved = [e["bytes"] for e in getattr(model, "history_", ()) if e["name"] in names]
    return f"{sum(moved) / 1e6:.0f}" if moved else ""


__all__ = ["report"]
