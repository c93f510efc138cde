"""Random forests in this process and on a cluster, beside scikit-learn, XGBoost, LightGBM and Spark."""

from __future__ import annotations

import importlib.util
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import dask.array as da
import numpy as np
from distributed import Client, LocalCluster, wait
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier as Reference

import daskml_kit
from benchmarks.harness import Timing, histogram_seconds, interleave, pairwise_ratio, table
from benchmarks.spark import has_spark, spark_rows, spark_session
from daskml_kit.ensemble import RandomForestClassifier

N_ROWS, N_TEST, N_COLUMNS = 500_000, 100_000, 20
N_TREES, DEPTH = 50, 12
REPEATS = 2
SLOW_REPEATS = 3  # of scikit-learn, which takes minutes

THREADS, CLUSTER, REDUCE = "threads", "two workers", "two workers, *reduce*"
TWICE = {THREADS: "threads, rows doubled", CLUSTER: "two workers, rows doubled"}

# A share of features a node as scikit-learn draws it, and a bootstrap's share of rows.
SHARE = int(np.sqrt(N_COLUMNS)) / N_COLUMNS
XGBOOST = {"colsample_bynode": SHARE, "subsample": 0.632, "tree_method": "hist"}
LIGHTGBM = {
    "boosting_type": "rf", "num_leaves": 2**DEPTH, "bagging_fraction": 0.632, "bagging_freq": 1,
    "feature_fraction_bynode": SHARE, "verbose": -1,
}  # fmt: skip

ASKED = (
    ("xgboost.dask", CLUSTER, 4.0),
    ("LightGBM's dask", CLUSTER, 8.0),
    ("scikit-learn", CLUSTER, 25.0),
    ("Spark", CLUSTER, 70.0),
    ("xgboost", THREADS, 2.0),
    ("LightGBM", THREADS, 4.0),
    ("xgboost.dask", REDUCE, 1.2),
)
"""A peer, what of ours it is measured against, and how many times faster that is to be."""

DISTINCT = 0.632  # share of the rows that a bootstrap holds
MOST_OF_DOUBLED = 2.1
LEAST_ACCURACY = -0.003  # beside scikit-learn's


def rows(n_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """A noisy problem of two classes, float32."""
    X, y = make_classification(
        n_rows + N_TEST, N_COLUMNS, n_informative=10, n_redundant=5, flip_y=0.2, class_sep=0.7,
        random_state=0,
    )  # fmt: skip
    return X.astype(np.float32), y


@dataclass(frozen=True)
class Data:
    """Rows to fit: in this process, and spread over the workers."""

    X: np.ndarray
    y: np.ndarray
    lazy: da.Array
    labels: da.Array

    @classmethod
    def of(cls, X: np.ndarray, y: np.ndarray) -> Data:
        chunk = -(-len(X) // 8)
        lazy, labels = da.from_array(X, chunks=(chunk, -1)), da.from_array(y, chunks=chunk)
        lazy, labels = lazy.persist(), labels.persist()
        wait([lazy, labels])
        return cls(X, y, lazy, labels)


def ours(seed: int = 0) -> RandomForestClassifier:
    """The forest."""
    return RandomForestClassifier(N_TREES, max_depth=DEPTH, random_state=seed)


def reduced(seed: int, X: Any, y: Any) -> Any:
    """The forest grown level by level, though the rows would fit."""
    with daskml_kit.config_context(trees="reduce"):
        return ours(seed).fit(X, y)


def cases(data: Data, twice: Data) -> dict[str, Callable[[int], Any]]:
    """What fits in seconds, by its seed: ours, and those libraries that are there, each with both cores."""
    given = {"n_estimators": N_TREES, "max_depth": DEPTH}
    found: dict[str, Callable[[int], Any]] = {
        THREADS: lambda seed: ours(seed).fit(data.X, data.y),
        CLUSTER: lambda seed: ours(seed).fit(data.lazy, data.labels),
        REDUCE: lambda seed: reduced(seed, data.lazy, data.labels),
        TWICE[THREADS]: lambda seed: ours(seed).fit(twice.X, twice.y),
        TWICE[CLUSTER]: lambda seed: ours(seed).fit(twice.lazy, twice.labels),
    }
    if importlib.util.find_spec("xgboost"):
        from xgboost import XGBRFClassifier
        from xgboost.dask import DaskXGBRFClassifier

        found["xgboost"] = lambda seed: XGBRFClassifier(
            **given, **XGBOOST, random_state=seed, n_jobs=2
        ).fit(data.X, data.y)
        found["xgboost.dask"] = lambda seed: DaskXGBRFClassifier(
            **given, **XGBOOST, random_state=seed
        ).fit(data.lazy, data.labels)
    if importlib.util.find_spec("lightgbm"):
        from lightgbm import DaskLGBMClassifier, LGBMClassifier

        found["LightGBM"] = lambda seed: LGBMClassifier(
            **given, **LIGHTGBM, random_state=seed, n_jobs=2
        ).fit(data.X, data.y)
        found["LightGBM's dask"] = lambda seed: DaskLGBMClassifier(
            **given, **LIGHTGBM, random_state=seed
        ).fit(data.lazy, data.labels)
    return found


def spark(X: np.ndarray, y: np.ndarray, X_test: np.ndarray) -> tuple[float, np.ndarray]:
    """Seconds of one fit on cached rows, two threads, and what it says of other rows."""
    from pyspark.ml.classification import RandomForestClassifier as Forest

    with spark_session() as session, spark_rows(session, X, y) as train:
        # More memory for histograms than by default: fewer passes.
        forest = Forest(
            numTrees=N_TREES, maxDepth=DEPTH, maxBins=255, featureSubsetStrategy="sqrt", seed=0,
            maxMemoryInMB=1024,
        )  # fmt: skip
        begun = time.perf_counter()
        model = forest.fit(train)
        seconds = time.perf_counter() - begun
        with spark_rows(session, X_test) as rows:
            said = model.transform(rows).select("row", "prediction").toPandas()
    return seconds, said.sort_values("row")["prediction"].to_numpy()


def report(n_rows: int = N_ROWS) -> str:
    """Run it; the section of the report."""
    X, y = rows(2 * n_rows)
    X_test, y_test = X[2 * n_rows :], y[2 * n_rows :]
    accuracy: dict[str, float] = {}

    def kept(name: str, fit: Callable[[int], Any]) -> Callable[[], None]:
        def run() -> None:
            models[name].append(fit(next(seeds)))

        return run

    models: dict[str, list[Any]] = defaultdict(list)
    seeds = count()
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster),
    ):
        data, twice = Data.of(X[:n_rows], y[:n_rows]), Data.of(X[: 2 * n_rows], y[: 2 * n_rows])
        timings = interleave(
            {name: kept(name, fit) for name, fit in cases(data, twice).items()},
            REPEATS,
            rested=True,
        )
        lazy = da.from_array(X_test, chunks=(N_TEST // 2, -1))
        for name, found in models.items():
            accuracy[name] = mean_accuracy(found, lazy if "dask" in name else X_test, y_test)
    # These take minutes: without a warm-up.
    slow, seconds_of_slow = [], []
    for seed in range(SLOW_REPEATS):
        begun = time.perf_counter()
        slow.append(
            Reference(N_TREES, max_depth=DEPTH, n_jobs=2, random_state=seed).fit(data.X, data.y)
        )
        seconds_of_slow.append(time.perf_counter() - begun)
    timings["scikit-learn"] = Timing(tuple(seconds_of_slow))
    accuracy["scikit-learn"] = mean_accuracy(slow, X_test, y_test)
    if has_spark():
        seconds, said = spark(data.X, data.y, X_test)
        timings["Spark"] = Timing((seconds,))
        accuracy["Spark"] = float((said == y_test).mean())
    return section(n_rows, timings, accuracy)


def mean_accuracy(models: Sequence[Any], X_test: Any, y_test: np.ndarray) -> float:
    """Of forests of several seeds: those of 50 trees spread by a standard deviation of 0.0014."""
    return float(
        np.mean([(np.asarray(model.predict(X_test)) == y_test).mean() for model in models])
    )


def section(n_rows: int, timings: dict[str, Timing], accuracy: dict[str, float]) -> str:
    """The figures as text."""
    body = [
        [name, f"{t.median:.2f} ({t.spread})", f"{accuracy[name]:.4f}"]
        for name, t in timings.items()
    ]
    ratios = [
        [own, peer, f"{ratio_of(timings[peer], timings[own]):.2f}", f"{least:.1f}"]
        for peer, own, least in ASKED
        if peer in timings
    ]
    doubled = [
        f"{own} {ratio_of(timings[name], timings[own]):.2f} times" for own, name in TWICE.items()
    ]
    ahead = np.mean([accuracy[n] for n in (THREADS, CLUSTER, REDUCE)]) - accuracy["scikit-learn"]
    searched = int(np.sqrt(N_COLUMNS))
    floor = DISTINCT * histogram_seconds(n_rows, searched) * N_TREES * DEPTH / 2
    return (
        f"## Random forest: {n_rows:,} x {N_COLUMNS}, {N_TREES} trees of depth {DEPTH}\n\n"
        f"{table(('', 'seconds', 'test accuracy'), body)}\n\n"
        f"{table(('daskml_kit', 'beside', 'times faster', 'asked'), ratios)}\n\n"
        f"Rows doubled: {', '.join(doubled)} the seconds (asked: at most {MOST_OF_DOUBLED}). "
        f"Accuracy beside scikit-learn's, all three ways together: {ahead:+.4f} (asked: at least "
        f"{LEAST_ACCURACY}). "
        f"Each fit has a seed of its own, and accuracies are means over them ({REPEATS + 1} of most, "
        f"{SLOW_REPEATS} of scikit-learn, 1 of Spark): seeds spread by 0.0014. daskml_kit runs on two "
        "threads of this process or on two workers of one thread, where *reduce* is forced once; the others "
        "have both cores. Floor on two cores: "
        f"{floor:.2f} s, to count the rows of every tree's bootstrap into histograms of {searched} features, "
        "once for each level and in their order; "
        f"the threads take {timings[THREADS].median / floor:.1f} times the floor, the cluster "
        f"{timings[CLUSTER].median / floor:.1f} times.\n"
    )


def ratio_of(peer: Timing, own: Timing) -> float:
    """How many times as long as ours a peer took."""
    if len(peer.seconds) == len(own.seconds):
        return pairwise_ratio(peer, own)
    return peer.median / own.median
