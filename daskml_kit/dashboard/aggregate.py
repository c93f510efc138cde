"""Events in, what a person wants to see out: plain Python, no Dask, no Bokeh.

An :class:`Aggregate` takes events one by one and keeps, for each fit, its totals and a bounded tail::

    events ──add──> Aggregate ── FitRecord ─┬─ points   one a round: objective, imbalance, seconds
                                            ├─ totals   compute, transfer, wait by worker
                                            ├─ window   the same for each of the last rounds
                                            └─ held     where each bundle was last seen

    worker_loads(fits) ──> WorkerLoad, one a worker

Its memory is bounded by fits x (points + window x workers), however long the cluster lives.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from daskml_kit.runtime.events import Event, FitEvent, RoundEvent, TaskEvent, imbalance

WINDOW_ROUNDS = 50
"""Rounds of a fit that the live page sums the load over."""

_FITS = 32
_POINTS = 500


@dataclass(frozen=True, slots=True)
class Seconds:
    """How one worker spent some rounds, in seconds."""

    compute: float = 0.0
    transfer: float = 0.0
    wait: float = 0.0

    def __add__(self, other: Seconds) -> Seconds:
        return Seconds(
            self.compute + other.compute, self.transfer + other.transfer, self.wait + other.wait
        )

    @property
    def total(self) -> float:
        """Compute, transfer and wait together."""
        return self.compute + self.transfer + self.wait


@dataclass(frozen=True, slots=True)
class Point:
    """One round of a fit as the curves show it."""

    round: int
    name: str
    objective: float | None
    imbalance: float
    seconds: float


@dataclass(frozen=True, slots=True)
class WorkerLoad:
    """What one worker did and holds."""

    worker: str
    compute: float = 0.0  # seconds
    transfer: float = 0.0  # seconds
    wait: float = 0.0  # seconds
    idle: float = 0.0  # seconds of the fits in which the worker took part in no round
    rows: int = 0
    nbytes: int = 0
    n_blocks: int = 0


def seconds_by_worker(tasks: Sequence[TaskEvent]) -> dict[str, Seconds]:
    """Seconds by worker of one round; compute counts once for tasks that ran side by side."""
    spent: dict[str, Seconds] = {}
    for t in tasks:
        own = Seconds(t.compute_seconds / t.threads, t.transfer_seconds, t.wait_seconds)
        spent[t.worker] = spent.get(t.worker, Seconds()) + own
    return spent


@dataclass
class FitRecord:
    """Totals and tail of one fit."""

    label: str
    order: int  # position among all fits seen; chooses the colour
    max_points: int | None = _POINTS
    state: str = "running"  # or "finished", "failed"
    began: float | None = None  # seconds since the epoch, the driver's clock
    ended: float | None = None
    rows: int = 0
    nbytes: int = 0
    n_rounds: int = 0
    n_passes: int = 0
    bytes_moved: int = 0
    round_seconds: float = 0.0
    objective: float | None = None
    points: deque[Point] = field(default_factory=deque)
    totals: dict[str, Seconds] = field(default_factory=dict)
    window: deque[dict[str, Seconds]] = field(default_factory=deque)
    held: dict[int, TaskEvent] = field(default_factory=dict)
    _imbalances: float = 0.0

    def __post_init__(self) -> None:
        self.points = deque(maxlen=self.max_points)
        self.window = deque(maxlen=WINDOW_ROUNDS)

    @property
    def estimator(self) -> str:
        """The fit's name without its number: fits of one estimator share a panel."""
        return re.sub(r"-\d+( \(\d+\))?$", "", self.label)

    @property
    def seconds(self) -> float:
        """From the first sign of the fit to the last."""
        return 0.0 if self.began is None or self.ended is None else self.ended - self.began

    @property
    def mean_imbalance(self) -> float:
        """Mean over the rounds of largest over mean busy seconds; 1.0 is perfect balance."""
        return self._imbalances / self.n_rounds if self.n_rounds else 1.0

    @property
    def curve(self) -> list[Point]:
        """The rounds that report an objective."""
        return [p for p in self.points if p.objective is not None]

    def add_state(self, event: FitEvent) -> None:
        """The fit began or ended."""
        self.rows, self.nbytes = max(self.rows, event.rows), max(self.nbytes, event.nbytes)
        self._span(event.at, event.at)
        if event.state != "started":
            self.state = event.state

    def add_round(self, event: RoundEvent) -> None:
        """One more round."""
        self._span(event.started, event.started + event.seconds)
        self.n_rounds += 1
        self.n_passes += event.passes
        self.bytes_moved += event.bytes_moved
        self.round_seconds += event.seconds
        if event.objective is not None:
            self.objective = event.objective
        spent = seconds_by_worker(event.tasks)
        balance = imbalance(s.compute for s in spent.values())
        self._imbalances += balance
        self.points.append(Point(event.round, event.name, event.objective, balance, event.seconds))
        self.window.append(spent)
        self.totals = _sum([self.totals, spent])
        self._place(event.tasks)

    def _span(self, began: float, ended: float) -> None:
        self.began = began if self.began is None else min(self.began, began)
        self.ended = ended if self.ended is None else max(self.ended, ended)

    def _place(self, tasks: Sequence[TaskEvent]) -> None:
        """A round over all rows says where everything is; any other, where its bundles are."""
        if sum(t.rows for t in tasks) >= self.rows:
            self.held.clear()
        self.held.update((t.bundle, t) for t in tasks)


class Aggregate:
    """All fits seen, the least recently active ones forgotten.

    Parameters
    ----------
    max_fits, max_points : fits kept, and rounds kept of each for the curves; None keeps all

    Examples
    --------
    >>> from daskml_kit.runtime.events import FitEvent
    >>> seen = Aggregate()
    >>> seen.add(FitEvent("KMeans-1", "started", at=0.0, rows=100))
    >>> [(fit.label, fit.state, fit.rows) for fit in seen.fits]
    [('KMeans-1', 'running', 100)]
    """

    def __init__(self, max_fits: int | None = _FITS, max_points: int | None = _POINTS) -> None:
        self.version = 0  # grows with every event: a page redraws when it has changed
        self._max_fits = max_fits
        self._max_points = max_points
        self._seen = 0
        self._records: dict[str, FitRecord] = {}  # by label, most recently active last
        self._current: dict[str, FitRecord] = {}  # by name in the events

    @property
    def fits(self) -> list[FitRecord]:
        """The fits kept, in the order in which they began."""
        return sorted(self._records.values(), key=lambda fit: fit.order)

    def add(self, event: Event) -> None:
        """Take in one event."""
        fit = self._record(event)
        if isinstance(event, RoundEvent):
            fit.add_round(event)
        else:
            fit.add_state(event)
        self.version += 1
        self._records[fit.label] = self._records.pop(fit.label)
        self._forget()

    def extend(self, events: Iterable[Event]) -> None:
        """Take in several events."""
        for event in events:
            self.add(event)

    def recent(self, n: int) -> list[FitRecord]:
        """The ``n`` most recently active fits, in the order in which they began."""
        return sorted(list(self._records.values())[-n:], key=lambda fit: fit.order)

    def latest(self) -> list[FitRecord]:
        """The fits that run; where none does, the one that was active last."""
        running = [fit for fit in self.fits if fit.state == "running"]
        return running or list(self._records.values())[-1:]

    def _record(self, event: Event) -> FitRecord:
        fit = self._current.get(event.fit)
        again = isinstance(event, FitEvent) and event.state == "started"
        # A second start under one name is another driver's fit, or a restarted driver's: names
        # are unique in a process only.
        if fit is None or (again and (fit.n_rounds or fit.state != "running")):
            fit = FitRecord(self._free_label(event.fit), self._seen, self._max_points)
            self._seen += 1
            self._records[fit.label] = self._current[event.fit] = fit
        return fit

    def _free_label(self, name: str) -> str:
        label, k = name, 1
        while label in self._records:
            k += 1
            label = f"{name} ({k})"
        return label

    def _forget(self) -> None:
        while self._max_fits is not None and len(self._records) > self._max_fits:
            oldest = self._records.pop(next(iter(self._records)))
            self._current = {k: v for k, v in self._current.items() if v is not oldest}


def worker_loads(fits: Sequence[FitRecord], *, window: bool = False) -> list[WorkerLoad]:
    """One load a worker, in the natural order of their names.

    Parameters
    ----------
    fits : whose rounds to sum. Running fits hold their rows side by side; fits that have ended held
        them one after the other, so that the largest counts
    window : sum only the last :data:`WINDOW_ROUNDS` rounds of each fit (``idle`` is then 0)
    """
    spent = _sum([rounds for fit in fits for rounds in (fit.window if window else [fit.totals])])
    wall = 0.0 if window else sum(fit.seconds for fit in fits)
    held = _held(fits)
    loads = []
    for name in sorted({*spent, *held}, key=_natural):
        own = spent.get(name, Seconds())
        idle = max(wall - own.total, 0.0)
        loads.append(
            WorkerLoad(name, own.compute, own.transfer, own.wait, idle, *held.get(name, (0, 0, 0)))
        )
    return loads


def short_names(workers: Iterable[str]) -> dict[str, str]:
    """Addresses without their scheme, as long as that keeps them apart."""
    full = list(workers)
    short = [name.rpartition("://")[2] for name in full]
    return dict(zip(full, short if len(set(short)) == len(full) else full, strict=True))


def _sum(spent: Sequence[dict[str, Seconds]]) -> dict[str, Seconds]:
    total: dict[str, Seconds] = {}
    for each in spent:
        for worker, seconds in each.items():
            total[worker] = total.get(worker, Seconds()) + seconds
    return total


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


def _natural(name: str) -> list[tuple[int, str]]:
    """Numbers inside names sort by value: local-2 before local-10."""
    return [(int(s), "") if s.isdigit() else (-1, s) for s in re.split(r"(\d+)", name) if s]
