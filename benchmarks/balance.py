"""What balancing saves: a slow worker among four, and all data on one of two."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable

import dask.array as da
import numpy as np
from distributed import Client, LocalCluster, wait

import daskml_kit
from benchmarks.harness import interleave, table
from daskml_kit.cluster import KMeans
from daskml_kit.linear_model import LogisticRegression
from daskml_kit.runtime.events import RoundEvent

N_ROWS, N_COLUMNS, N_CLUSTERS = 200_000, 20, 20
SLOWER = 3.0
PACE = 5.0
REPEATS = 3


def at_pace(slow: dict[int, float]) -> None:
    """Make every part take ``PACE`` times its CPU seconds, and more in the processes named.

    Four workers on two cores would compete for them: at this pace each is a machine of its own.
    """
    from daskml_kit.runtime.reduction import Reduction

    own: Callable = getattr(Reduction, "_own_part", None) or Reduction.part
    factor = PACE * slow.get(os.getpid(), 1.0)

    def part(self: Reduction, blocks: object, params: object) -> object:
        begun, cpu = time.perf_counter(), time.thread_time()
        out = own(self, blocks, params)
        wanted = factor * (time.thread_time() - cpu)
        time.sleep(max(wanted - (time.perf_counter() - begun), 0.0))
        return out

    Reduction._own_part = own  # type: ignore[attr-defined]
    Reduction.part = part  # type: ignore[method-assign]


def report() -> str:
    """Run it; the section of the report."""
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(N_CLUSTERS, N_COLUMNS))
    X = centers[rng.integers(0, N_CLUSTERS, N_ROWS)] + 1.2 * rng.normal(size=(N_ROWS, N_COLUMNS))
    y = (X @ rng.normal(size=N_COLUMNS) + rng.logistic(size=N_ROWS) > 0).astype(int)
    fits = {
        "k-means": lambda rows, _: KMeans(
            N_CLUSTERS, init=centers, n_init=1, tol=0.0, max_iter=60, algorithm="lloyd"
        ).fit(rows),
        "logistic": lambda rows, target: LogisticRegression(solver="gd", tol=1e-9, max_iter=60).fit(
            rows, target
        ),
    }
    one_sided, steady = _one_sided(X, y, fits)
    body = _slow_worker(X, y, fits) + one_sided
    header = [
        "fit",
        "situation",
        "seconds",
        "even",
        "over even",
        "ideal",
        "over ideal",
        "data stay",
    ]
    return f"""## Balance, {N_ROWS:,} x {N_COLUMNS}, one-thread workers

{table(header, body)}

{table(["fit", "a round after the move (ms)", "evenly placed (ms)", "ratio"], steady)}

"Over even" compares with the same fit on equal workers with equal rows; the ideal beside a slow worker is
that time by the total speed that is left (4 against 3 and a third). The second table has the medians of the
last third of a fit's rounds, all data having been on one of two workers at first. The fits begin with data
that lie evenly, or all on one worker, and move rows as they find out. "Data stay" is the same with
`balance="data"`. Every
worker takes {PACE:.0f} times its CPU seconds for a part: four do not compete for {os.cpu_count()} cores.
"""


def _slow_worker(X: np.ndarray, y: np.ndarray, fits: dict[str, Callable]) -> list[list[str]]:
    body = []
    with (
        LocalCluster(n_workers=4, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
    ):
        victim = next(iter(client.run(os.getpid).values()))
        rows, target = _even(client, X, y)
        for name, fit in fits.items():

            def timed(factor: float, balance: str, fit: Callable = fit) -> None:
                client.run(at_pace, {victim: factor})
                with daskml_kit.config_context(balance=balance):
                    fit(rows, target)

            cases = {
                "even": lambda t=timed: t(1.0, "data"),
                "adaptive": lambda t=timed: t(SLOWER, "adaptive"),
                "data": lambda t=timed: t(SLOWER, "data"),
            }
            seconds = {k: v.median for k, v in interleave(cases, REPEATS).items()}
            ideal = seconds["even"] * 4 / (3 + 1 / SLOWER)
            body.append(_row(name, f"1 of 4 workers {SLOWER:.0f}x slower", seconds, ideal))
    return body


def _one_sided(
    X: np.ndarray, y: np.ndarray, fits: dict[str, Callable]
) -> tuple[list[list[str]], list[list[str]]]:
    """Rows of whole fits, and of the rounds once the data have moved."""
    body, steady = [], []
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
    ):
        client.run(at_pace, {})
        even = _even(client, X, y)
        first = next(iter(client.scheduler_info(n_workers=-1)["workers"]))
        aside = [client.persist(part + 0, workers=[first]) for part in even]
        wait(aside)
        for name, fit in fits.items():
            late: dict[str, list[float]] = {"even": [], "adaptive": []}
            cases = {
                "even": lambda f=fit, late=late: late["even"].extend(_late_rounds(f, even)),
                "adaptive": lambda f=fit, late=late: late["adaptive"].extend(
                    _late_rounds(f, aside)
                ),
                "data": lambda f=fit: _staying(f, aside),
            }
            seconds = {k: v.median for k, v in interleave(cases, REPEATS).items()}
            body.append(_row(name, "all data on 1 of 2 workers", seconds, seconds["even"]))
            moved, placed = (statistics.median(late[k]) for k in ("adaptive", "even"))
            cells = (f"{1e3 * moved:.1f}", f"{1e3 * placed:.1f}", f"{moved / placed:.2f}x")
            steady.append([name, *cells])
    return body, steady


def _late_rounds(fit: Callable, data: list[da.Array]) -> list[float]:
    """Seconds of the last third of a fit's rounds."""
    with daskml_kit.record() as run:
        fit(*data)
    rounds: list[RoundEvent] = [r for r in run.rounds if r.name != "balance"]
    return [r.seconds for r in rounds[-(len(rounds) // 3) :]]


def _staying(fit: Callable, data: list[da.Array]) -> None:
    with daskml_kit.config_context(balance="data"):
        fit(*data)


def _even(client: Client, X: np.ndarray, y: np.ndarray) -> list[da.Array]:
    """As many rows on every worker, and both of a row on the same."""
    workers = list(client.scheduler_info(n_workers=-1)["workers"])
    out = []
    for array in (X, y):
        parts = [
            client.persist(da.from_array(part, chunks=(10_000, *part.shape[1:])), workers=[worker])
            for part, worker in zip(np.array_split(array, len(workers)), workers, strict=True)
        ]
        out.append(da.concatenate(parts))
    wait(out)
    return out


def _row(fit: str, situation: str, seconds: dict[str, float], ideal: float) -> list[str]:
    took, even = seconds["adaptive"], seconds["even"]
    return [
        fit, situation, f"{took:.2f}", f"{even:.2f}", f"{took / even:.2f}x", f"{ideal:.2f}",
        f"{took / ideal:.2f}x", f"{seconds['data']:.2f}",
    ]  # fmt: skip
