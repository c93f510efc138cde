"""What each worker did and holds, summed over fits: plain Python, no Dask, no Bokeh."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from daskml_kit.dashboard.aggregate import FitRecord, Seconds, merge, tallied
from daskml_kit.runtime.machines import WorkerFacts

MOST_BARS = 100
"""Workers that get a bar of their own; above, only the busiest do."""

UNKNOWN = WorkerFacts()

_ALONE = 40
_BANDS = 40


@dataclass(frozen=True, slots=True)
class WorkerLoad:
    """What one worker, or the mean of several, did and holds."""

    worker: str
    compute: float = 0.0  # seconds
    transfer: float = 0.0  # seconds
    wait: float = 0.0  # seconds, for the slowest task of each round
    idle: float = 0.0  # seconds of the fits in which the worker took part in no round
    rows: int = 0
    nbytes: int = 0
    n_blocks: int = 0
    rows_read: int = 0
    facts: WorkerFacts = UNKNOWN

    @property
    def rows_per_second(self) -> float:
        """Rows read in a second of compute; 0 where nothing was computed."""
        return self.rows_read / self.compute if self.compute > 0 else 0.0

    @property
    def wall(self) -> float:
        """Compute, transfer, wait and idle together."""
        return self.compute + self.transfer + self.wait + self.idle


def worker_loads(
    fits: Sequence[FitRecord],
    workers: Mapping[str, WorkerFacts] | None = None,
    *,
    window: bool = False,
) -> list[WorkerLoad]:
    """One load a worker, in the natural order of their names.

    For each fit that a worker took part in, compute + transfer + wait + idle is the fit's wall time; over
    several fits the sum of theirs.

    Parameters
    ----------
    fits : whose rounds to sum. Running fits hold their rows side by side; fits that have ended held
        them one after the other, so that the largest counts
    workers : threads and memory by address, where known
    window : sum only the last rounds of each fit, from the begin of the first to the end of the last
    """
    spent: dict[str, Seconds] = {}
    wall: dict[str, float] = {}
    for fit in fits:
        own = tallied(fit.window) if window else fit.totals
        merge(spent, own)
        for name in own:
            wall[name] = wall.get(name, 0.0) + (fit.window_seconds if window else fit.seconds)
    held = _held(fits)
    facts = workers or {}
    return [
        _load(name, spent.get(name, Seconds()), wall.get(name, 0.0), held.get(name), facts)
        for name in sorted({*spent, *held}, key=natural)
    ]


def _load(
    name: str,
    own: Seconds,
    wall: float,
    held: tuple[int, int, int] | None,
    facts: Mapping[str, WorkerFacts],
) -> WorkerLoad:
    rows, size, blocks = held or (0, 0, 0)
    idle = max(wall - own.total, 0.0)
    known = facts.get(name, UNKNOWN)
    return WorkerLoad(
        name, own.compute, own.transfer, own.wait, idle, rows, size, blocks, own.rows, known
    )


def folded(loads: Sequence[WorkerLoad]) -> list[WorkerLoad]:
    """At most :data:`MOST_BARS` bars: the busiest workers, and the means of bands of the others.

    >>> bars = folded([WorkerLoad(f"w{i}", compute=i) for i in range(200)])
    >>> len(bars), bars[0].worker, bars[-1].worker
    (80, 'w199', '4 workers: w3 … w0')
    """
    if len(loads) <= MOST_BARS:
        return list(loads)
    ranked = sorted(loads, key=lambda w: -w.compute)
    rest = ranked[_ALONE:]
    size = -(-len(rest) // _BANDS)
    bands = [rest[i : i + size] for i in range(0, len(rest), size)]
    return ranked[:_ALONE] + [_mean(band) for band in bands]


def _mean(band: Sequence[WorkerLoad]) -> WorkerLoad:
    n = len(band)
    if n == 1:
        return band[0]
    names = list(short_names(w.worker for w in band).values())
    parts = {
        name: sum(getattr(w, name) for w in band) / n
        for name in ("compute", "transfer", "wait", "idle")
    }
    counts = {
        name: round(sum(getattr(w, name) for w in band) / n)
        for name in ("rows", "nbytes", "n_blocks", "rows_read")
    }
    facts = WorkerFacts(
        *(
            round(sum(getattr(w.facts, name) for w in band) / n)
            for name in ("threads", "memory_limit", "memory", "spilled")
        )
    )
    label = f"{n} workers: {names[0]} … {names[-1]}"
    return replace(band[0], worker=label, facts=facts, **parts, **counts)


def short_names(workers: Iterable[str]) -> dict[str, str]:
    """Addresses without their scheme, as long as that keeps them apart."""
    full = list(workers)
    short = [name.rpartition("://")[2] for name in full]
    return dict(zip(full, short if len(set(short)) == len(full) else full, strict=True))


def natural(name: str) -> list[tuple[int, str]]:
    """Numbers inside names sort by value: local-2 before local-10."""
    return [(int(s), "") if s.isdigit() else (-1, s) for s in re.split(r"(\d+)", name) if s]


def _held(fits: Sequence[FitRecord]) -> dict[str, tuple[int, int, int]]:
    """Rows, bytes and blocks by worker."""
    together: dict[str, tuple[int, int, int]] = {}
    largest: dict[str, tuple[int, int, int]] = {}
    for fit in fits:
        for worker, own in _held_by(fit).items():
            if fit.state == "running":
                r, b, n = together.get(worker, (0, 0, 0))
                together[worker] = (r + own[0], b + own[1], n + own[2])
            else:
                largest[worker] = max(largest.get(worker, (0, 0, 0)), own)
    nothing = (0, 0, 0)
    return {
        w: max(together.get(w, nothing), largest.get(w, nothing)) for w in {*together, *largest}
    }


def _held_by(fit: FitRecord) -> dict[str, tuple[int, int, int]]:
    held: dict[str, tuple[int, int, int]] = {}
    for t in fit.held.values():
        rows, size, blocks = held.get(t.worker, (0, 0, 0))
        held[t.worker] = (rows + t.rows, size + t.nbytes, blocks + t.n_blocks)
    return held
