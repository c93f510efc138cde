"""K-means where runs take minutes: many clusters beside scikit-learn, and dask-ml and Spark."""

from __future__ import annotations

import time
import warnings

import dask.array as da
import numpy as np
from distributed import Client, LocalCluster
from sklearn.datasets import make_blobs

from benchmarks.harness import gemm_flops, memory_read_seconds, table
from benchmarks.kmeans import HEAD, SCALE, SEEDS, Work, on_workers, rows_of, works
from benchmarks.spark import has_spark, spark_rows, spark_session
from daskml_kit.cluster import KMeans


def many_clusters() -> Work:
    """Bounds pay most where centres are many."""
    X, _ = make_blobs(int(200_000 * SCALE), 32, centers=2_000, cluster_std=4.0, random_state=0)
    return Work("many clusters", X, max(int(1_000 * SCALE), 20), 3.0)


def slow_peers(client: Client, work: Work) -> list[list[str]]:
    """A line each for dask-ml and Spark on the same rows, both until their own rule of the same ``tol``.

    dask-ml begins with our first start; Spark, which takes none, with a k-means|| of its own. Each has warmed
    up on a hundredth of the rows.
    """
    lazy, init = on_workers(client, work.X), work.init(0)
    KMeans(work.k, init=init, max_iter=2).fit(lazy)
    begun = time.perf_counter()
    model = KMeans(work.k, init=init).fit(lazy)
    ours = time.perf_counter() - begun
    products = model.n_distances_ * 2 * work.X.shape[1] / gemm_flops() / 2
    floor = f"{products + memory_read_seconds(work.X.nbytes) / 2:.3g}"
    lines = [["daskml_kit", f"{ours:.1f}", str(model.n_iter_), "", "", floor]]

    def line(name: str, seconds: float, centers: np.ndarray, n_iter: int, asked: float) -> None:
        gaps = KMeans(work.k, init=centers, max_iter=1, tol=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            cost = gaps.fit(lazy).history_
        inertia = next(e["objective"] for e in cost if e["name"] == "lloyd")
        lines.append(
            [
                name,
                f"{seconds:.1f}",
                str(n_iter),
                f"{inertia / model.inertia_ - 1:+.1e}",
                f"{seconds / ours:.1f} (asked for: {asked:g})",
                "",
            ]
        )

    from dask_ml.cluster import KMeans as DaskML

    def dask_ml(rows: da.Array) -> object:
        return DaskML(work.k, init=init, max_iter=300, tol=model.tol).fit(rows)

    dask_ml(lazy[: max(len(work.X) // 100, work.k)])
    begun = time.perf_counter()
    theirs = dask_ml(lazy)
    line(
        "dask-ml",
        time.perf_counter() - begun,
        np.asarray(theirs.cluster_centers_),
        theirs.n_iter_,
        14,
    )
    if has_spark():
        from pyspark.ml.clustering import KMeans as Spark

        with spark_session() as session, spark_rows(session, work.X) as rows:
            spark = Spark(k=work.k, seed=0, maxIter=300, tol=model.tol)
            spark.fit(rows.limit(max(len(work.X) // 100, work.k)))
            begun = time.perf_counter()
            found = spark.fit(rows)
            seconds = time.perf_counter() - begun
            line("Spark", seconds, np.array(found.clusterCenters()), found.summary.numIter, 25)
    return lines


def report() -> str:
    """Run it; the section of the report."""
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as local,
        Client(local) as client,
    ):
        blobs = works()[0]
        slow = slow_peers(client, blobs)
        body = rows_of(client, many_clusters())
    return f"""## K-means of many clusters, and beside peers that take minutes

As above, {SEEDS} seeds:

{table(HEAD, body)}

{blobs.label} once each on both cores: daskml_kit and dask-ml from the same rows, Spark from a k-means|| of
its own, all with the same `tol`. Inertia is theirs over ours, less one.

{table(["", "s", "iterations", "inertia, relative", "times slower than ours", "floor, s"], slow)}
"""
