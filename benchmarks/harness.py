"""How everything here is measured: in turn, several times, medians, beside the floor of the machine."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
import psutil
from numba import njit
from threadpoolctl import threadpool_limits

PACKAGES = ("dask", "distributed", "numpy", "scipy", "scikit-learn", "numba", "dask-ml")


IDLE_PERCENT, MOST_RESTS = 15.0, 100


@dataclass(frozen=True)
class Timing:
    """Seconds of one case over its repetitions."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def spread(self) -> str:
        return f"{min(self.seconds):.3g}-{max(self.seconds):.3g}"


def interleave(
    cases: Mapping[str, Callable[[], object]], repeats: int, *, rested: bool = False
) -> dict[str, Timing]:
    """Run the cases in turn, A B C A B C ..., so that a drift of the machine meets all alike.

    One round of warm-up is not counted. ``rested``: each case begins when the machine has come to rest, so
    that what one leaves behind (a JVM that compiles, say) is not paid by the next.
    """
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for repeat in range(repeats + 1):
        for name, case in cases.items():
            if rested:
                rest()
            begun = time.perf_counter()
            case()
            if repeat:
                seconds[name].append(time.perf_counter() - begun)
    return {name: Timing(tuple(s)) for name, s in seconds.items()}


def rest() -> None:
    """Wait until no more than a seventh of the cores is busy, twenty seconds at most."""
    for _ in range(MOST_RESTS):
        if psutil.cpu_percent(0.2) < IDLE_PERCENT:
            return


def pairwise_ratio(peer: Timing, ours: Timing) -> float:
    """Median of the ratios of neighbours: how many times faster ours is."""
    pairs = zip(peer.seconds, ours.seconds, strict=True)
    return statistics.median(p / o for p, o in pairs)


def memory_read_seconds(nbytes: int) -> float:
    """Seconds that one core needs to read so many bytes, measured on an array of that size."""
    array = np.ones(nbytes // 8)
    timing = interleave({"read": array.sum}, 3)
    return timing["read"].median


def histogram_seconds(n_rows: int, n_columns: int) -> float:
    """Seconds that one core needs to count so many rows of bytes into histograms of two classes.

    Four columns go side by side, so that one addition need not wait for the one before.
    """
    random = np.random.default_rng(0)
    codes = random.integers(0, 255, (-(-n_columns // 4) * 4, n_rows), np.uint8)
    label = random.integers(0, 2, n_rows, np.uint8)
    timing = interleave({"fill": lambda: _fill(codes, label)}, 3)
    return timing["fill"].median * n_columns / len(codes)


@njit
def _fill(codes: np.ndarray, label: np.ndarray) -> np.ndarray:
    hist = np.zeros((len(codes), 256, 2), np.int64)
    for j in range(0, len(codes), 4):
        for i in range(len(label)):
            c = label[i]
            hist[j, codes[j, i], c] += 1
            hist[j + 1, codes[j + 1, i], c] += 1
            hist[j + 2, codes[j + 2, i], c] += 1
            hist[j + 3, codes[j + 3, i], c] += 1
    return hist


def gather_seconds(indices: np.ndarray, values: np.ndarray, n_columns: int) -> float:
    """Seconds that one core needs to multiply each stored value with the coefficient of its column.

    That is the half of a sparse pass, whose other half adds each value to its column's sum.
    """
    coef = np.random.default_rng(0).random(n_columns)
    timing = interleave({"gather": lambda: _gather(indices, values, coef)}, 3)
    return timing["gather"].median


@njit(fastmath=True)
def _gather(indices: np.ndarray, values: np.ndarray, coef: np.ndarray) -> float:
    total = 0.0
    for i in range(len(indices)):
        total += values[i] * coef[indices[i]]
    return total


def gemm_flops() -> float:
    """Floating-point operations a second of one core in a matrix product."""
    a = np.random.default_rng(0).random((1500, 1500))
    with threadpool_limits(1):
        timing = interleave({"gemm": lambda: a @ a}, 3)
    return float(2 * 1500**3 / timing["gemm"].median)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def machine() -> str:
    """Cores and versions, as one paragraph."""
    versions = ", ".join(f"{p} {version(p)}" for p in PACKAGES)
    python = platform.python_version()
    return f"{os.cpu_count()} cores ({platform.machine()}), Python {python}, {versions}."
