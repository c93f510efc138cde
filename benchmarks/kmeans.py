"""K-means against scikit-learn on both cores: long runs, pixels, and the start alone."""

from __future__ import annotations

import os
import statistics
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import dask.array as da
import numpy as np
from distributed import Client, LocalCluster, wait
from sklearn import cluster
from sklearn.datasets import load_sample_images, make_blobs

from benchmarks.harness import (
    Timing,
    gemm_flops,
    interleave,
    memory_read_seconds,
    pairwise_ratio,
    table,
)
from daskml_kit.cluster import KMeans, k_means_parallel
from daskml_kit.cluster.refining import sample_size
from daskml_kit.kernels import nearest

SCALE = float(os.environ.get("DASKML_BENCH_SCALE", "1"))
"""Part of the rows, to try the module out."""

SEEDS = 5
START_SEEDS = 10
N_CHUNKS = 20


@dataclass(frozen=True)
class Work:
    """Data and number of clusters."""

    name: str
    X: np.ndarray
    k: int
    asked: float  # times faster than scikit-learn

    @property
    def label(self) -> str:
        n, d = self.X.shape
        return f"{self.name}, {n:,} x {d}, k={self.k:,}"

    def init(self, seed: int) -> np.ndarray:
        """The same rows for both libraries."""
        return self.X[np.random.default_rng(seed).choice(len(self.X), self.k, replace=False)]


def works() -> list[Work]:
    """The runs to convergence that take seconds."""
    blobs, _ = make_blobs(int(1_000_000 * SCALE), 50, centers=40, cluster_std=8.0, random_state=0)
    image = load_sample_images().images[0].reshape(-1, 3)[: int(273_280 * SCALE)] / 255.0
    return [Work("overlapping blobs", blobs, 20, 3.0), Work("photograph", image, 16, 1.5)]


def on_workers(client: Client, X: np.ndarray) -> da.Array:
    """The rows, resident on the workers."""
    lazy = client.persist(da.from_array(X, chunks=(-(-len(X) // N_CHUNKS), -1)))
    wait(lazy)
    return lazy


@dataclass(frozen=True)
class Begun:
    """How a run begins: the same for both libraries, or as each of them would by itself."""

    name: str
    alike: bool

    def how(self, work: Work, seed: int) -> dict[str, object]:
        """Keywords of either library's estimator."""
        return {"init": work.init(seed)} if self.alike else {"random_state": seed}


SAME = Begun("the same rows", alike=True)
OWN = Begun("its own start", alike=False)


def runs(
    client: Client, work: Work, begun: Begun, algorithms: Sequence[str]
) -> tuple[dict[str, Timing], dict[str, list[object]]]:
    """Both libraries, one seed after the other; two iterations from the first seed are warm-up."""
    lazy, names = on_workers(client, work.X), ("daskml_kit", *algorithms)
    fitted: dict[str, list[object]] = {name: [] for name in names}
    calls = dict.fromkeys(names, -1)

    def model(name: str, **how: object) -> object:
        if name == "daskml_kit":
            return KMeans(work.k, **how).fit(lazy)
        return cluster.KMeans(work.k, n_init=1, algorithm=name, **how).fit(work.X)

    def case(name: str) -> Callable[[], None]:
        def run() -> None:
            if calls[name] < 0:
                model(name, max_iter=2, **begun.how(work, 0))
            else:
                fitted[name].append(model(name, **begun.how(work, calls[name])))
            calls[name] += 1

        return run

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return interleave({name: case(name) for name in names}, SEEDS), fitted


def fastest(timings: dict[str, Timing]) -> str:
    """The algorithm of scikit-learn that took less time."""
    peers = [name for name in timings if name != "daskml_kit"]
    return min(peers, key=lambda name: timings[name].median)


def row_of(
    work: Work, begun: Begun, timings: dict[str, Timing], fitted: dict[str, list[object]]
) -> list[str]:
    """One line of the table."""
    ours, peer = fitted["daskml_kit"], fastest(timings)
    theirs = fitted[peer]
    ratio = pairwise_ratio(timings[peer], timings["daskml_kit"])
    medians = [statistics.median(m.inertia_ for m in models) for models in (ours, theirs)]
    full = [len(work.X) * work.k * (m.n_iter_ + 1) for m in ours]
    spared = statistics.median(
        1 - m.n_distances_ / all_ for m, all_ in zip(ours, full, strict=True)
    )
    d = work.X.shape[1]
    floor = (
        statistics.median(m.n_distances_ * 2 * d / gemm_flops() / 2 for m in ours)
        + memory_read_seconds(work.X.nbytes) / 2
    )
    return [
        work.label,
        begun.name,
        f"{timings['daskml_kit'].median:.2f} ({timings['daskml_kit'].spread})",
        f"{timings[peer].median:.2f} ({peer})",
        f"{ratio:.1f} (asked for: {work.asked:g})",
        f"{medians[0] / medians[1] - 1:+.1e}",
        " / ".join(
            f"{statistics.median(m.n_iter_ for m in models):g}" for models in (ours, theirs)
        ),
        f"{spared:.0%}",
        f"{floor:.3g}",
    ]


HEAD = [
    "", "begun from", "daskml_kit, s (min-max)", "scikit-learn, s", "times faster", "inertia, relative",
    "iterations, ours / theirs", "distances spared", "floor, s",
]  # fmt: skip


def rows_of(client: Client, work: Work) -> list[list[str]]:
    """A line of the table from the same starts, and one from each library's own.

    The second where our own start is refined on a sample: else the first says it all.
    """
    same = runs(client, work, SAME, ("lloyd", "elkan"))
    lines = [row_of(work, SAME, *same)]
    if sample_size(work.k, *work.X.shape):
        lines.append(row_of(work, OWN, *runs(client, work, OWN, (fastest(same[0]),))))
    return lines


def start_row(client: Client) -> list[str]:
    """The start alone: k=100, cost of the centres over all rows, which is not part of the time."""
    X, _ = make_blobs(int(1_000_000 * SCALE), 50, centers=150, cluster_std=6.0, random_state=1)
    lazy, k = on_workers(client, X), 100
    starts = {
        "daskml_kit": lambda seed: k_means_parallel(lazy, k, random_state=seed),
        "k-means++": lambda seed: cluster.kmeans_plusplus(X, k, random_state=seed)[0],
    }
    found: dict[str, list[np.ndarray]] = {name: [] for name in starts}

    def case(name: str) -> Callable[[], None]:
        return lambda: found[name].append(starts[name](len(found[name])))

    timings = interleave({name: case(name) for name in starts}, START_SEEDS)
    # What is found first is found to warm up.
    costs = {
        name: statistics.median(float(nearest(X, one)[1].sum()) for one in centers[1:])
        for name, centers in found.items()
    }
    ratio = pairwise_ratio(timings["k-means++"], timings["daskml_kit"])
    return [
        f"start, {len(X):,} x 50, k={k}",
        f"{timings['daskml_kit'].median:.2f} ({timings['daskml_kit'].spread})",
        f"{timings['k-means++'].median:.2f} ({timings['k-means++'].spread})",
        f"{ratio:.1f} (asked for: 5)",
        f"{costs['daskml_kit'] / costs['k-means++']:.3f} (asked for: at most 1.02)",
        f"{X.size * 2 * k / gemm_flops() / 2 + memory_read_seconds(X.nbytes) / 2:.3g}",
    ]


def report() -> str:
    """Run it; the section of the report."""
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as local,
        Client(local) as client,
    ):
        body = [line for work in works() for line in rows_of(client, work)]
        start = start_row(client)
    starts = [
        "", "daskml_kit, s", "scikit-learn k-means++, s", "times faster", "cost, ratio", "floor, s",
    ]  # fmt: skip
    return f"""## K-means to convergence

Two one-thread workers against scikit-learn on both cores, whichever of lloyd and elkan is faster; data where
each library wants them (persisted Dask arrays, NumPy arrays), default tolerance, medians over {SEEDS} seeds,
taken in turn. From the same rows both do the same iterations: what an iteration costs. From its own start,
whose time counts, ours is k-means|| refined on a sample, theirs k-means++: what a result costs. Inertia is
our median over theirs, less one. The floor is the distances that were computed in the iterations at the
speed of a matrix product on both cores, and one read of the memory.

{table(HEAD, body)}

The start alone, `k_means_parallel` with loading against `kmeans_plusplus`; cost of the centres on all rows,
medians of {START_SEEDS} seeds. The floor is one distance of every row to every centre, and one read:

{table(starts, [start])}
"""
