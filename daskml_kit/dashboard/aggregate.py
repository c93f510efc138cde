"""Events in, what a person wants to see out: plain Python, no Dask, no Bokeh.

An :class:`Aggregate` takes events one by one and keeps, for each fit, its totals and a bounded tail::

    events ──add──> Aggregate ── FitRecord ─┬─ points   one a round: objective, gradient, imbalance, seconds
                                            ├─ totals   compute, transfer, wait by worker
                                            ├─ window   the last rounds, task by task
                                            └─ held     where each bundle was last seen

:mod:`loads` sums that up by worker. Memory is bounded by fits x (points + tasks of the window), however
long the cluster lives.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from daskml_kit.runtime.events import (
    Event,
    FitEvent,
    RoundEvent,
    TaskEvent,
    busy_by_worker,
    imbalance,
    slowest_seconds,
)

WINDOW_ROUNDS = 50
"""Rounds of a fit that the live page sums the load over, as long as their tasks are few enough."""

_WINDOW_TASKS = 5000
_FITS = 32
_POINTS = 500


@dataclass(slots=True)
class Seconds:
    """How one worker spent some rounds, in seconds, and the rows that it read."""

    compute: float = 0.0
    transfer: float = 0.0
    wait: float = 0.0
    rows: int = 0

    def add(self, other: Seconds) -> None:
        """Some more rounds."""
        self.compute += other.compute
        self.transfer += other.transfer
        self.wait += other.wait
        self.rows += other.rows

    @property
    def total(self) -> float:
        """Compute, transfer and wait together."""
        return self.compute + self.transfer + self.wait


@dataclass(frozen=True, slots=True)
class Point:
    """One round of a fit as the curves show it."""

    round: int
    name: str
    at: float  # seconds from the begin of the fit to the end of the round
    objective: float | None
    gradient_norm: float | None
    imbalance: float
    seconds: float
    compute: float = 0.0  # of the slowest worker
    driver: float = 0.0  # seconds since the end of the round before

    @property
    def critical_path(self) -> CriticalPath:
        """What the time from the end of the round before to the end of this was spent on."""
        return CriticalPath(self.compute, max(self.seconds - self.compute, 0.0), self.driver)


@dataclass(frozen=True, slots=True)
class CriticalPath:
    """What the seconds of a fit or a round were spent on, along the slowest worker of each round.

    ``compute`` of the slowest, ``transfer`` of messages, and ``driver`` between the rounds: the overhead.
    """

    compute: float = 0.0
    transfer: float = 0.0
    driver: float = 0.0

    @property
    def shares(self) -> tuple[float, float, float]:
        """The three as parts of one; all zero for no time at all."""
        total = self.compute + self.transfer + self.driver
        if not total:
            return 0.0, 0.0, 0.0
        return self.compute / total, self.transfer / total, self.driver / total


def tally(spent: dict[str, Seconds], event: RoundEvent) -> tuple[float, float]:
    """Add a round to the seconds by worker; what its slowest took, and its imbalance.

    Compute counts once for tasks that ran side by side. The sums over a worker's tasks are its shares of
    the round: all of its messages, and the wait for the slowest.
    """
    busy = busy_by_worker(event.measured)
    slowest = slowest_seconds(busy, event.measured, event.seconds)
    transfer = max(event.seconds - slowest, 0.0)
    for worker, seconds in busy.items():
        own = spent.get(worker)
        if own is None:
            own = spent[worker] = Seconds()
        own.compute += seconds
        own.transfer += transfer
        own.wait += slowest - seconds
    for worker, _, _, rows, *_ in event.measured:
        spent[worker].rows += rows
    return slowest, imbalance(busy.values())


def tallied(rounds: Iterable[RoundEvent]) -> dict[str, Seconds]:
    """The seconds by worker of some rounds."""
    spent: dict[str, Seconds] = {}
    for event in rounds:
        tally(spent, event)
    return spent


def merge(spent: dict[str, Seconds], more: Mapping[str, Seconds]) -> dict[str, Seconds]:
    """Add seconds by worker to others."""
    for worker, seconds in more.items():
        spent.setdefault(worker, Seconds()).add(seconds)
    return spent


@dataclass
class FitRecord:
    """Totals and tail of one fit."""

    label: str
    order: int  # position among all fits seen; chooses the colour
    max_points: int | None = _POINTS
    state: str = "running"  # or "finished", "failed", or "lost" with its driver
    client: str = ""  # that sends its events
    began: float | None = None  # seconds since the epoch, the driver's clock
    ended: float | None = None
    rows: int = 0
    nbytes: int = 0
    n_bundles: int = 0
    max_iter: int | None = None
    tol: float | None = None
    n_rounds: int = 0
    n_passes: int = 0
    n_iter: int = 0  # rounds that reported an objective
    bytes_moved: int = 0
    round_seconds: float = 0.0
    critical_seconds: float = 0.0  # compute of the slowest worker of each round
    objective: float | None = None
    gradient_norm: float | None = None
    points: deque[Point] = field(default_factory=deque)
    totals: dict[str, Seconds] = field(default_factory=dict)
    window: deque[RoundEvent] = field(default_factory=deque)
    held: dict[int, TaskEvent] = field(default_factory=dict)
    _imbalances: float = 0.0
    _window_tasks: int = 0

    def __post_init__(self) -> None:
        self.points = deque(maxlen=self.max_points)

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
    def critical_path(self) -> CriticalPath:
        """What the seconds of the fit were spent on."""
        return CriticalPath(
            self.critical_seconds,
            self.round_seconds - self.critical_seconds,
            max(self.seconds - self.round_seconds, 0.0),
        )

    @property
    def curve(self) -> list[Point]:
        """The rounds that report an objective."""
        return [p for p in self.points if p.objective is not None]

    @property
    def window_seconds(self) -> float:
        """From the begin of the first round of the window to the end of the last."""
        if not self.window:
            return 0.0
        return max(r.started + r.seconds for r in self.window) - self.window[0].started

    def add_state(self, event: FitEvent) -> None:
        """The fit began or ended."""
        self.rows, self.nbytes = max(self.rows, event.rows), max(self.nbytes, event.nbytes)
        self.n_bundles = max(self.n_bundles, event.n_bundles)
        self.max_iter, self.tol = event.max_iter, event.tol
        self._span(event.at, event.at)
        if event.state != "started":
            self.state = event.state

    def add_round(self, event: RoundEvent) -> None:
        """One more round."""
        before = self.ended if self.ended is not None else event.started
        self._span(event.started, event.started + event.seconds)
        self.n_rounds += 1
        self.n_passes += event.passes
        self.bytes_moved += event.bytes_moved
        self.round_seconds += event.seconds
        if event.objective is not None:
            self.objective = event.objective
            self.n_iter += 1
        if event.gradient_norm is not None:
            self.gradient_norm = event.gradient_norm
        slowest, balance = tally(self.totals, event)
        slowest = min(slowest, event.seconds)
        self._imbalances += balance
        self.critical_seconds += slowest
        self.points.append(
            Point(
                event.round, event.name, self.seconds, event.objective, event.gradient_norm, balance,
                event.seconds, slowest, max(event.started - before, 0.0),
            )
        )  # fmt: skip
        self._remember(event)
        self._place(event.measured)

    def _span(self, began: float, ended: float) -> None:
        self.began = began if self.began is None else min(self.began, began)
        self.ended = ended if self.ended is None else max(self.ended, ended)

    def _remember(self, event: RoundEvent) -> None:
        self.window.append(event)
        self._window_tasks += len(event.measured)
        while len(self.window) > 1 and (
            len(self.window) > WINDOW_ROUNDS or self._window_tasks > _WINDOW_TASKS
        ):
            self._window_tasks -= len(self.window.popleft().measured)

    def _place(self, tasks: Sequence[TaskEvent]) -> None:
        """A round over all rows says where everything is; any other, where its bundles are."""
        if sum([t.rows for t in tasks]) >= self.rows:
            self.held.clear()
        self.held.update({t.bundle: t for t in tasks})


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
        self._forgotten: dict[str, Seconds] = {}  # of the fits that are kept no more
        self._max_fits = max_fits
        self._max_points = max_points
        self._seen = 0
        self._records: dict[str, FitRecord] = {}  # by the fit's id, most recently active last

    @property
    def totals(self) -> dict[str, Seconds]:
        """Seconds by worker of all fits ever."""
        total = merge({}, self._forgotten)
        for fit in self._records.values():
            merge(total, fit.totals)
        return total

    @property
    def fits(self) -> list[FitRecord]:
        """The fits kept, in the order in which they began."""
        return sorted(self._records.values(), key=lambda fit: fit.order)

    def add(self, event: Event, client: str = "") -> None:
        """Take in one event; ``client`` is who sent it."""
        key = event.id or event.fit
        fit = self._records.pop(key, None) or self._new(event.fit)
        fit.client = client
        self._records[key] = fit
        if isinstance(event, RoundEvent):
            fit.add_round(event)
        else:
            fit.add_state(event)
        self.version += 1
        while self._max_fits is not None and len(self._records) > self._max_fits:
            merge(self._forgotten, self._records.pop(next(iter(self._records))).totals)

    def extend(self, events: Iterable[Event]) -> None:
        """Take in several events."""
        for event in events:
            self.add(event)

    def lose(self, client: str) -> None:
        """A client is gone, and with it the fits that it drove."""
        for fit in self._records.values():
            if fit.client == client and fit.state == "running":
                fit.state = "lost"
                self.version += 1

    def recent(self, n: int) -> list[FitRecord]:
        """The ``n`` most recently active fits, in the order in which they began."""
        return sorted(list(self._records.values())[-n:], key=lambda fit: fit.order)

    def latest(self) -> list[FitRecord]:
        """The fits that run; where none does, the one that was active last."""
        running = [fit for fit in self.fits if fit.state == "running"]
        return running or list(self._records.values())[-1:]

    def _new(self, name: str) -> FitRecord:
        """A fit seen for the first time. Two drivers may each have a fit of the same name."""
        taken = {fit.label for fit in self._records.values()}
        label, k = name, 1
        while label in taken:
            k += 1
            label = f"{name} ({k})"
        self._seen += 1
        return FitRecord(label, self._seen - 1, self._max_points)
