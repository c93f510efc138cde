"""What happened, as typed records: one for each task, one for each round, one for each fit.

A fit owns a :class:`FitLog`. Executors hand it one :class:`RoundEvent` a round; the log keeps them for
``history_`` and passes them to whoever listens: the :class:`Run` of a ``with record()`` block, the
progress line of ``verbose=1``, and, on a cluster, the scheduler, whose dashboard page shows them live.

The seconds of a round add up, whatever the clocks of the machines say, because only durations enter:
``compute`` (measured in the task, the mean over the threads that the worker used), ``wait`` (for the
slowest task of the round) and ``transfer`` (the round's remaining time: messages, scheduling, merging),
which is the same for all its workers.

Recording is cheap: a task is a tuple, what it waited is worked out only when somebody asks, and tasks travel
column by column, not one by one (``benchmarks/recording.py``).
"""

from __future__ import annotations

import itertools
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from daskml_kit.exceptions import InvalidParameterError
from daskml_kit.runtime.drawing import Drawing
from daskml_kit.runtime.machines import WorkerFacts, known_workers

if TYPE_CHECKING:
    import pandas as pd

Listener = Callable[["Event"], None]

TOPIC = "daskml-kit"
"""Topic of the scheduler's event log under which a cluster's fits publish their events."""


class TaskEvent(NamedTuple):
    """One task of a round: what one worker did.

    A tuple, since a round has one for each worker and thread: a hundred are made, completed, pickled and sent
    in the time that a hundred dataclasses take to be made.
    """

    worker: str  # address, or "local-<thread>"
    bundle: int  # position of the bundle in the data set
    n_blocks: int
    rows: int
    nbytes: int  # bytes of the bundle that the task read
    started: float  # seconds since the epoch, the worker's clock
    compute_seconds: float
    threads: int = 1  # tasks of the round that the worker ran side by side
    transfer_seconds: float = 0.0
    wait_seconds: float = 0.0


class Measured(float):
    """An objective, NaN where there is none, that carries what else its round says: the largest component of
    the gradient, and the reads of every row where they were not one.

    Executors take it for the number that it is.

    >>> Measured(0.5, gradient_norm=1e-3) + 1
    1.5
    """

    gradient_norm: float | None
    passes: int

    def __new__(
        cls, objective: float, gradient_norm: float | None = None, passes: int = 1
    ) -> Measured:
        measured = super().__new__(cls, objective)
        measured.gradient_norm = gradient_norm
        measured.passes = passes
        return measured


@dataclass(frozen=True, slots=True)
class RoundEvent:
    """One round: parameters out, one task a bundle, one total back."""

    fit: str  # name of the fit, unique in its process
    round: int  # from 0, in the order of the fit
    name: str  # of the reduction
    started: float  # seconds since the epoch, the driver's clock
    seconds: float
    bytes_moved: int  # parameters to each task, parts back
    passes: int  # reads of every row
    measured: tuple[TaskEvent, ...]  # as the workers reported them
    objective: float | None = None
    gradient_norm: float | None = (
        None  # largest absolute component, where the solver has a gradient
    )
    id: str = ""  # of the fit, unique everywhere; the fit's log fills it in

    @property
    def tasks(self) -> tuple[TaskEvent, ...]:
        """The tasks, with what each waited and what it spent in messages; made anew whenever asked for."""
        return attribute_waits(self.measured, self.seconds)

    @property
    def imbalance(self) -> float:
        """Largest over mean busy seconds of the workers of the round; 1.0 is perfect balance."""
        return imbalance(self.busy_seconds.values())

    @property
    def busy_seconds(self) -> dict[str, float]:
        """Compute seconds by worker."""
        return busy_by_worker(self.measured)

    @property
    def slowest_seconds(self) -> float:
        """What the slowest worker of the round took; the rest of the round is messages."""
        return slowest_seconds(self.busy_seconds, self.measured, self.seconds)

    def as_dict(self) -> dict[str, Any]:
        """Plain builtins (msgpack and JSON serialisable); tasks column by column, as measured."""
        record = dict(zip(_ROUND_FIELDS, _round_values(self), strict=True))
        record["measured"] = list(zip(*self.measured, strict=True))[:_MEASURED]
        return {"kind": "round", **record}


@dataclass(frozen=True, slots=True)
class FitEvent:
    """A fit began to load its data, has them and runs, or ended."""

    fit: str
    state: str  # "started", "running", "finished" or "failed"
    at: float  # seconds since the epoch, the driver's clock
    rows: int = 0
    nbytes: int = 0
    n_bundles: int = 0
    max_iter: int | None = None  # the estimator's own bound on its iterations
    tol: float | None = None  # its tolerance
    id: str = ""  # of the fit, unique everywhere; the fit's log fills it in

    def as_dict(self) -> dict[str, Any]:
        """Plain builtins (msgpack and JSON serialisable)."""
        return {"kind": "fit", **dict(zip(_FIT_FIELDS, _fit_values(self), strict=True))}


Event = RoundEvent | FitEvent

_ROUND_FIELDS, _FIT_FIELDS = (
    tuple(f.name for f in fields(kind)) for kind in (RoundEvent, FitEvent)
)
_round_values = attrgetter(*_ROUND_FIELDS)
_fit_values = attrgetter(*_FIT_FIELDS)


def event_from_dict(record: dict[str, Any]) -> Event:
    """The event that ``as_dict`` made the record of; what the sender added is left out."""
    values = {k: v for k, v in record.items() if k not in ("kind", "client")}
    if record["kind"] == "fit":
        return FitEvent(**values)
    columns = (*values["measured"], itertools.repeat(0.0), itertools.repeat(0.0))
    tasks = zip(*columns, strict=False) if values["measured"] else ()
    values["measured"] = tuple([tuple.__new__(TaskEvent, t) for t in tasks])
    return RoundEvent(**values)


def busy_by_worker(tasks: Sequence[TaskEvent]) -> dict[str, float]:
    """Busy seconds by worker, in the order of first appearance: compute over threads used."""
    busy: dict[str, float] = {}
    for worker, _, _, _, _, _, seconds, threads, _, _ in tasks:
        busy[worker] = busy.get(worker, 0.0) + seconds / threads
    return busy


def imbalance(loads: Any) -> float:
    """Largest over mean of some loads; 1.0 where there is no load at all."""
    values = list(loads)
    total = sum(values)
    return max(values) * len(values) / total if total > 0 else 1.0


def span_by_worker(tasks: Sequence[TaskEvent]) -> dict[str, float]:
    """Seconds by worker in which at least one of its tasks ran, on the worker's own clock."""
    busy: dict[str, list[tuple[float, float]]] = {}
    for t in tasks:
        busy.setdefault(t.worker, []).append((t.started, t.started + t.compute_seconds))
    return {w: _length(own) for w, own in busy.items() if len(own) > 1}


def _length(intervals: list[tuple[float, float]]) -> float:
    """Length of the union of some intervals."""
    total, reached = 0.0, -float("inf")
    for begin, end in sorted(intervals):
        total += max(end - max(begin, reached), 0.0)
        reached = max(reached, end)
    return total


_MEASURED = TaskEvent._fields.index("transfer_seconds")  # from here on: derived from the round


def attribute_waits(tasks: Sequence[TaskEvent], seconds: float) -> tuple[TaskEvent, ...]:
    """Fill in ``wait_seconds`` and ``transfer_seconds`` of a round that took ``seconds``.

    A worker waits for the slowest worker of the round, and its threads for the slowest of them; what of
    the round is neither compute nor wait is transfer. Where one worker ran several tasks they share its
    times in equal parts, so that sums over a worker are right.
    """
    busy = busy_by_worker(tasks)
    slowest = slowest_seconds(busy, tasks, seconds)
    count = dict.fromkeys(busy, 1) if len(busy) == len(tasks) else Counter(t.worker for t in tasks)
    transfer = max(seconds - slowest, 0.0)
    waits = {w: (transfer / n, (slowest - busy[w]) / n) for w, n in count.items()}
    return tuple([TaskEvent._make(t[:_MEASURED] + waits[t.worker]) for t in tasks])


def slowest_seconds(busy: dict[str, float], tasks: Sequence[TaskEvent], seconds: float) -> float:
    """What a round's slowest worker took: its busy seconds, or longer where its threads waited for one."""
    slowest = max(busy.values(), default=0.0)
    if len(busy) < len(tasks):
        longest = max(span_by_worker(tasks).values(), default=0.0)
        slowest = max(slowest, min(longest, seconds))
    return slowest


_numbers: Iterator[int] = itertools.count(1)
_runs: list[Run] = []
_everywhere: list[Listener] = []
_lock = threading.Lock()


@dataclass(eq=False)
class FitLog:
    """The rounds of one fit, and who listens to them."""

    estimator: str
    listeners: list[Listener] = field(default_factory=list)
    rounds: list[RoundEvent] = field(default_factory=list)
    max_iter: int | None = None
    tol: float | None = None
    name: str = field(init=False)  # unique in the process
    id: str = field(init=False)  # unique everywhere

    def __post_init__(self) -> None:
        self.name = f"{self.estimator}-{next(_numbers)}"
        self.id = uuid.uuid4().hex

    def emit(self, event: Event) -> None:
        """Put the fit's id on the event, keep it and hand it to every listener and recording run."""
        if isinstance(event, RoundEvent):
            event = event if event.id == self.id else replace(event, id=self.id)
            self.rounds.append(event)
        else:
            event = replace(event, id=self.id, max_iter=self.max_iter, tol=self.tol)
        with _lock:
            runs = list(_runs)
        for run in runs:
            run.events.append(event)
        for listener in (*self.listeners, *_everywhere):
            listener(event)

    def draw(self, name: str, make: Callable[[], Drawing]) -> None:
        """Keep a picture of the first graph of each name, if anyone is recording."""
        with _lock:
            runs = [run for run in _runs if (self.name, name) not in run.graphs]
        for run in runs:
            run.graphs[self.name, name] = make()

    @property
    def n_passes(self) -> int:
        """Reads of every row so far, the validating read included."""
        return sum(r.passes for r in self.rounds)

    def history(self) -> list[dict[str, Any]]:
        """The summary that estimators keep: one plain dict a round."""
        return [
            {
                "round": r.round,
                "name": r.name,
                "objective": r.objective,
                "seconds": r.seconds,
                "bytes": r.bytes_moved,
                "imbalance": r.imbalance,
            }
            for r in self.rounds
        ]


class Unheard(FitLog):
    """Of rounds inside of a task, which is what the fit reports: kept nowhere, heard by nobody."""

    def emit(self, event: Event) -> None:
        """Nothing."""

    def draw(self, name: str, make: Callable[[], Drawing]) -> None:
        """Nothing."""


class Minutes(FitLog):
    """Of rounds that a worker leads, until they are with the log of the fit: heard by nobody there."""

    def emit(self, event: Event) -> None:
        """Keep a round."""
        if isinstance(event, RoundEvent):
            self.rounds.append(event)

    def draw(self, name: str, make: Callable[[], Drawing]) -> None:
        """Nothing."""


@dataclass(eq=False)
class Run:
    """The events of every fit inside a ``with daskml_kit.record() as run:`` block."""

    events: list[Event] = field(default_factory=list)
    graphs: dict[tuple[str, str], Drawing] = field(default_factory=dict)  # by fit and reduction
    workers: dict[str, WorkerFacts] = field(
        default_factory=dict
    )  # by address, when the block ended

    @property
    def rounds(self) -> list[RoundEvent]:
        """Round events of all fits, in the order in which they ended."""
        return [e for e in self.events if isinstance(e, RoundEvent)]

    @property
    def fits(self) -> list[str]:
        """Names of the fits, in the order in which they began."""
        return list(dict.fromkeys(e.fit for e in self.events))

    def visualize(self, filename: str | Path | None = None) -> Drawing:
        """The task graph of the last kind of round that a cluster ran, as a picture.

        Parameters
        ----------
        filename : where to write it, ending in ``.svg``, or None

        Returns
        -------
        Drawing
            Shows itself in a notebook. :attr:`graphs` has one for each fit and reduction.

        Raises
        ------
        InvalidParameterError
            If nothing ran on a cluster: a fit in this process has no task graph. If the file is no
            ``.svg``.
        """
        if filename is not None and Path(filename).suffix.lower() != ".svg":
            raise InvalidParameterError(
                f"filename={str(filename)!r} does not end in .svg, and the graph is drawn as SVG only. Name "
                f"it {Path(filename).with_suffix('.svg').name!r}; a browser shows and prints it."
            )
        if not self.graphs:
            raise InvalidParameterError(
                f"No task graph was recorded: {len(self.fits)} fits ran, none of them on a cluster. Pass "
                "Dask-backed data with a distributed.Client active."
            )
        drawing = list(self.graphs.values())[-1]
        if filename is not None:
            drawing.save(filename)
        return drawing

    def report(self, path: str | Path) -> Path:
        """Write the standalone page: what each fit cost, the load of each worker, advice, curves.

        The page needs no network: scripts, styles and data are inside. Returns the path written.
        """
        from daskml_kit.dashboard.report import write_report

        return write_report(self, path)

    def to_dataframe(self) -> pd.DataFrame:
        """One row a task: the fit, the round and the task, as they were recorded.

        Returns
        -------
        pandas.DataFrame
            Columns: those of :class:`RoundEvent` but its tasks (``round_started`` and
            ``round_seconds`` for its times), then those of :class:`TaskEvent`.
        """
        from daskml_kit.dashboard.tables import task_frame

        return task_frame(self)

    def compare(self, other: Run) -> pd.DataFrame:
        """What the fits of this run cost beside those of another, one row a fit and measure.

        Fits are paired by estimator, in the order in which they began.

        Parameters
        ----------
        other : the run to compare with

        Returns
        -------
        pandas.DataFrame
            Index ``fit, measure``; columns ``this``, ``other`` and ``ratio``, this over other.
        """
        from daskml_kit.dashboard.tables import comparison

        return comparison(self, other)

    def _repr_html_(self) -> str:
        from daskml_kit.dashboard.summary import run_html

        return run_html(self)


@contextmanager
def record() -> Iterator[Run]:
    """Collect the events of every fit that this process runs inside the block.

    Examples
    --------
    >>> import numpy as np
    >>> import daskml_kit
    >>> from daskml_kit.linear_model import Ridge
    >>> with daskml_kit.record() as run:
    ...     _ = Ridge().fit(np.eye(3), np.arange(3.0))
    >>> len(run.fits)
    1
    """
    run = Run()
    with _lock:
        _runs.append(run)
    try:
        yield run
    finally:
        with _lock:
            _runs.remove(run)
        run.workers = known_workers()


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Hand every event of every fit of this process to a listener, in the thread of the fit."""
    _everywhere.append(listener)
    try:
        yield
    finally:
        _everywhere.remove(listener)


__all__ = [
    "TOPIC",
    "Event",
    "FitEvent",
    "FitLog",
    "Listener",
    "Measured",
    "Minutes",
    "RoundEvent",
    "Run",
    "TaskEvent",
    "Unheard",
    "attribute_waits",
    "busy_by_worker",
    "event_from_dict",
    "imbalance",
    "listening",
    "record",
    "slowest_seconds",
    "span_by_worker",
]
