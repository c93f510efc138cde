"""Gradient boosting in this process and on a cluster, beside scikit-learn and what else is there."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import partial
from typing import Any

import dask.array as da
import numpy as np
from distributed import Client, LocalCluster, wait
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import log_loss

from benchmarks.forest import N_COLUMNS, N_TEST, rows
from benchmarks.harness import histogram_seconds, interleave, pairwise_ratio, table
from daskml_kit.ensemble import GradientBoostingClassifier

N_ROWS, N_TREES, DEPTH = 500_000, 100, 6
REPEATS = 3
SEEDS = range(5)
"""Each draws another sample of rows for the bins; all times are those of the first."""


def ours(n_trees: int, seed: int = 0) -> Any:
    """The estimator that is measured."""
    return GradientBoostingClassifier(n_estimators=n_trees, max_depth=DEPTH, random_state=seed)


def peers(n_trees: int, n_jobs: int) -> dict[str, Callable[..., Any]]:
    """Boosting of the same size, of those libraries that are there, as similar as they allow; by seed."""
    found: dict[str, Callable[..., Any]] = {
        "scikit-learn": lambda seed=0: HistGradientBoostingClassifier(
            max_iter=n_trees, max_depth=DEPTH, max_leaf_nodes=None, min_samples_leaf=1,
            early_stopping=False, random_state=seed,
        )
    }  # fmt: skip
    if importlib.util.find_spec("xgboost"):
        from xgboost import XGBClassifier

        found["xgboost"] = lambda seed=0: XGBClassifier(
            n_estimators=n_trees, max_depth=DEPTH, learning_rate=0.1, max_bin=255, reg_lambda=0.0,
            min_child_weight=1e-3, n_jobs=n_jobs, tree_method="hist", random_state=seed,
        )  # fmt: skip
    if importlib.util.find_spec("lightgbm"):
        from lightgbm import LGBMClassifier

        found["LightGBM"] = lambda seed=0: LGBMClassifier(
            n_estimators=n_trees, max_depth=DEPTH, num_leaves=2**DEPTH, learning_rate=0.1,
            min_child_samples=1, n_jobs=n_jobs, verbose=-1, random_state=seed,
        )  # fmt: skip
    return found


def report(n_rows: int = N_ROWS, n_trees: int = N_TREES, repeats: int = REPEATS) -> str:
    """Run it; the section of the report."""
    X, y = rows(n_rows)
    X_test, y_test = X[n_rows:], y[n_rows:]
    X, y = X[:n_rows], y[:n_rows]
    loss: dict[str, list[float]] = {}
    rounds: dict[str, int] = {}

    def case(
        name: str, make: Callable[[], Any], rows: Any = X, labels: Any = y
    ) -> Callable[[], None]:
        def run() -> None:
            model = make().fit(rows, labels)
            loss[name] = [log_loss(y_test, np.asarray(model.predict_proba(X_test)))]
            rounds[name] = getattr(model, "n_rounds_", 0)

        return run

    mine = partial(ours, n_trees)
    others = peers(n_trees, 2)
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster),
    ):
        chunks = n_rows // 8
        lazy, labels = (
            da.from_array(X, chunks=(chunks, -1)).persist(),
            da.from_array(y, chunks=chunks).persist(),
        )
        wait([lazy, labels])
        half = slice(n_rows // 2)
        cases = {
            "daskml_kit, cluster": case("daskml_kit, cluster", mine, lazy, labels),
            "daskml_kit, threads": case("daskml_kit, threads", mine),
            "daskml_kit, threads, half the rows": case(
                "daskml_kit, threads, half the rows", mine, X[half], y[half]
            ),
            **{name: case(name, make) for name, make in others.items()},
        }
        timings = interleave(cases, repeats)
    for name, make in {"daskml_kit, threads": mine, **others}.items():
        for seed in SEEDS[1:]:
            model = make(seed).fit(X, y)
            loss[name].append(log_loss(y_test, np.asarray(model.predict_proba(X_test))))
    loss["daskml_kit, cluster"] = loss["daskml_kit, threads"]  # the same trees
    base = timings["daskml_kit, cluster"]
    body = [
        [
            name,
            f"{t.median:.2f} ({t.spread})",
            f"{pairwise_ratio(t, base):.2f}",
            _losses(loss[name]),
            str(rounds[name] or ""),
        ]
        for name, t in timings.items()
    ]
    levels = 1 + (DEPTH - 1) / 2  # of two siblings one is counted
    floor = histogram_seconds(n_rows, N_COLUMNS) * n_trees * levels / 2
    head = f"## Gradient boosting: {n_rows:,} x {N_COLUMNS}, {n_trees} trees of depth {DEPTH}"
    columns = ("", "seconds", "times daskml_kit's cluster", "test log loss (min-max)", "rounds")
    notes = (
        "The cluster has two workers of one thread, everything else both cores. The seconds include the "
        f"prediction of {N_TEST:,} rows. Times are with random_state=0, losses medians of {len(SEEDS)} "
        "seeds (of half the rows: one); the cluster grows the trees of the threads. Floor on two cores: "
        f"{floor:.2f} s, to count all rows into histograms for the first level of every tree, and half of "
        f"them for the others; the cluster takes {base.median / floor:.1f} times the floor."
    )
    return f"{head}\n\n{table(columns, body)}\n\n{notes}\n"


def _losses(found: list[float]) -> str:
    middle = f"{np.median(found):.4f}"
    return f"{middle} ({min(found):.4f}-{max(found):.4f})" if len(found) > 1 else middle
