"""Random forests in this process and on a cluster, beside scikit-learn and what else is there."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import dask.array as da
import numpy as np
from distributed import Client, LocalCluster, wait
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier as Reference

import daskml_kit
from benchmarks.harness import interleave, memory_read_seconds, pairwise_ratio, table
from daskml_kit.ensemble import RandomForestClassifier

N_ROWS, N_TEST, N_COLUMNS = 500_000, 100_000, 20
N_TREES, DEPTH = 50, 12
REPEATS = 3


def rows(n_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """A noisy problem of two classes, float32."""
    X, y = make_classification(
        n_rows + N_TEST, N_COLUMNS, n_informative=10, n_redundant=5, flip_y=0.2, class_sep=0.7,
        random_state=0,
    )  # fmt: skip
    return X.astype(np.float32), y


def peers(n_jobs: int) -> dict[str, Callable[[], Any]]:
    """Forests of the same size, of those libraries that are there."""
    given = {"n_estimators": N_TREES, "max_depth": DEPTH, "n_jobs": n_jobs, "random_state": 0}
    found: dict[str, Callable[[], Any]] = {"scikit-learn": lambda: Reference(**given)}
    if importlib.util.find_spec("xgboost"):
        from xgboost import XGBRFClassifier

        # A share of features a node as scikit-learn draws it, and a bootstrap's share of rows.
        share = int(np.sqrt(N_COLUMNS)) / N_COLUMNS
        found["xgboost"] = lambda: XGBRFClassifier(
            **given, colsample_bynode=share, subsample=0.632, tree_method="hist"
        )
    if importlib.util.find_spec("lightgbm"):
        from lightgbm import LGBMClassifier

        found["LightGBM"] = lambda: LGBMClassifier(
            **given, boosting_type="rf", num_leaves=2**DEPTH, bagging_fraction=0.632, bagging_freq=1,
            feature_fraction_bynode=int(np.sqrt(N_COLUMNS)) / N_COLUMNS, verbose=-1,
        )  # fmt: skip
    return found


def report(n_rows: int = N_ROWS) -> str:
    """Run it; the section of the report."""
    X, y = rows(n_rows)
    X_test, y_test = X[n_rows:], y[n_rows:]
    X, y = X[:n_rows], y[:n_rows]
    accuracy: dict[str, float] = {}

    def case(
        name: str, make: Callable[[], Any], rows: Any = X, labels: Any = y
    ) -> Callable[[], None]:
        def run() -> None:
            model = make().fit(rows, labels)
            accuracy[name] = float((np.asarray(model.predict(X_test)) == y_test).mean())

        return run

    def ours() -> RandomForestClassifier:
        return RandomForestClassifier(N_TREES, max_depth=DEPTH, random_state=0)

    def forced() -> Any:
        return _Forced(ours())

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster),
    ):
        chunks = n_rows // 8
        lazy, labels = (
            da.from_array(X, chunks=(chunks, -1)).persist(),
            da.from_array(y, chunks=chunks).persist(),
        )
        wait([lazy, labels])
        half, half_labels = X[: n_rows // 2], y[: n_rows // 2]
        cases = {
            "daskml_kit, threads": case("daskml_kit, threads", ours),
            "daskml_kit, cluster": case("daskml_kit, cluster", ours, lazy, labels),
            "daskml_kit, cluster, reduce": case(
                "daskml_kit, cluster, reduce", forced, lazy, labels
            ),
            "daskml_kit, threads, half the rows": case(
                "daskml_kit, threads, half the rows", ours, half, half_labels
            ),
            **{name: case(name, make) for name, make in peers(2).items()},
        }
        timings = interleave(cases, REPEATS)
    base = timings["daskml_kit, threads"]
    body = [
        [
            name,
            f"{t.median:.2f} ({t.spread})",
            f"{pairwise_ratio(t, base):.2f}",
            f"{accuracy[name]:.4f}",
        ]
        for name, t in timings.items()
    ]
    floor = memory_read_seconds(n_rows * N_COLUMNS) * N_TREES * DEPTH
    head = f"## Random forest: {n_rows:,} x {N_COLUMNS}, {N_TREES} trees of depth {DEPTH}"
    columns = ("", "seconds", "times daskml_kit's threads", "test accuracy")
    notes = (
        f"The seconds include the prediction of {N_TEST:,} rows. Reading the binned rows once for every "
        f"level of every tree takes one core {floor:.2f} s."
    )
    return f"{head}\n\n{table(columns, body)}\n\n{notes}\n"


class _Forced:
    """A forest that grows level by level."""

    def __init__(self, model: RandomForestClassifier) -> None:
        self.model = model

    def fit(self, X: Any, y: Any) -> _Forced:
        with daskml_kit.config_context(trees="reduce"):
            self.model.fit(X, y)
        return self

    def predict(self, X: Any) -> Any:
        return self.model.predict(X)
