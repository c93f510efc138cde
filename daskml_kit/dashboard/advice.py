"""Advice in words, with numbers, where a threshold is passed. Pure functions of fits and loads.

Each check returns what it has to say; :func:`advise` runs them all. A threshold stands beside its check, as
a constant with its reason.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from daskml_kit.dashboard.aggregate import FitRecord
from daskml_kit.dashboard.loads import WorkerLoad, short_names
from daskml_kit.dashboard.units import nbytes, percent, rate, seconds
from daskml_kit.runtime.machines import WorkerFacts

UNEVEN_ROWS = 1.25
"""Rows over the fair share from which a worker holds too many: it costs every round that factor."""

BUSY = 1.1
"""Compute over the mean from which a worker with more rows holds the others up."""

SLOW = 0.7
"""Speed over the median of the others below which a worker is slow: noise of a few rounds is within."""

LEAST_SECONDS = 0.05
"""Compute that a worker must have done before its speed is judged."""

LEAST_ROUNDS = 3
"""Rounds that a fit must have done before its workers' speeds are judged."""

MESSAGES = 0.5
"""Share of a round's seconds spent in messages from which they are the thing to mend."""

SHORT_ROUND = 0.1
"""Seconds of a round below which messages, and not data on their way, are its transfer."""

GRAPH_HOP = 0.010
"""Seconds of messages a round from which it may be a task graph: direct calls take 2 to 4 ms."""

DRIVER = 0.3
"""Share of a fit's seconds between its rounds from which the driver is the bottleneck."""

NEAR_LIMIT = 0.7
"""Share of the memory limit from which a worker spills (Dask's default for its process memory)."""

STAGNANT = 20
"""Rounds without a smaller objective or gradient after which a fit is not getting anywhere."""


@dataclass(frozen=True, slots=True)
class Advice:
    """One thing to mend: which check found it, and what to do."""

    kind: str
    words: str
    serious: bool = False


def advise(
    fits: Sequence[FitRecord],
    loads: Sequence[WorkerLoad],
    workers: Mapping[str, WorkerFacts] | None = None,
) -> list[Advice]:
    """All that the numbers suggest.

    Parameters
    ----------
    fits : the fits looked at
    loads : of the workers in these fits
    workers : every worker of the cluster, those without work included
    """
    found = [*uneven_rows(loads), *memory(loads)]
    if any(fit.n_rounds >= LEAST_ROUNDS for fit in fits):  # loading says little of a machine
        found += slow_workers(loads)
    found += idle_workers(loads, workers or {})
    for fit in fits:
        found += [*messages(fit), *driver(fit), *course(fit)]
    return found


def uneven_rows(loads: Sequence[WorkerLoad]) -> Iterator[Advice]:
    """A worker holds more rows than its share by threads."""
    total, threads = sum(w.rows for w in loads), sum(w.facts.threads for w in loads)
    if len(loads) < 2 or not total:
        return
    names = short_names(w.worker for w in loads)
    worst = max(loads, key=lambda w: w.rows / w.facts.threads)
    share, fair = worst.rows / total, worst.facts.threads / threads
    mean = sum(w.compute for w in loads) / len(loads)
    if share > UNEVEN_ROWS * fair and worst.compute >= BUSY * mean:  # else it is only the fastest
        yield Advice(
            "rows",
            f"Worker {names[worst.worker]} holds {percent(share)} of the rows, {percent(fair)} would be its "
            f"share: a round lasts as long as its fullest worker. Use smaller chunks, so that they can be "
            f'spread evenly, or balance="even".',
            serious=share > 2 * fair,
        )


def slow_workers(loads: Sequence[WorkerLoad]) -> Iterator[Advice]:
    """A worker reads fewer rows a second and thread than the others."""
    known = [w for w in loads if w.compute >= LEAST_SECONDS and w.rows_read]
    if len(known) < 2:
        return
    names = short_names(w.worker for w in known)
    speed = {w.worker: w.rows_per_second / w.facts.threads for w in known}
    middle = median(speed.values())
    for w in known:
        few = len(known) <= 4  # where a slow one pulls the median down
        others = median(v for n, v in speed.items() if n != w.worker) if few else middle
        part = speed[w.worker] / others
        if part < SLOW:
            yield Advice(
                "speed",
                f"Worker {names[w.worker]} computes at {percent(part)} of the speed of the others "
                f"({rate(speed[w.worker])} a thread against {rate(others)}): its machine is slower or busy "
                f"elsewhere. Look at its load, or leave it out.",
                serious=part < SLOW / 1.5,
            )


def idle_workers(
    loads: Sequence[WorkerLoad], workers: Mapping[str, WorkerFacts]
) -> Iterator[Advice]:
    """Workers of the cluster, or threads of them, that have nothing to do."""
    busy = {w.worker for w in loads if w.rows}
    cluster = [name for name in workers if "://" in name]
    idle = [name for name in cluster if name not in busy]
    if busy.intersection(cluster) and idle:
        yield Advice(
            "idle",
            f"{len(idle)} of {len(cluster)} workers hold no rows, so they take no part. Cut the data into at "
            f"least {len(cluster)} chunks (rechunk, repartition).",
        )


def memory(loads: Sequence[WorkerLoad]) -> Iterator[Advice]:
    """A worker spills, or is about to."""
    names = short_names(w.worker for w in loads)
    for w in loads:
        facts, name = w.facts, names[w.worker]
        if facts.spilled:
            yield Advice(
                "memory",
                f"Worker {name} keeps {nbytes(facts.spilled)} on disk and reads them back in every round. "
                f"Add workers or memory, or use float32.",
                serious=True,
            )
        elif facts.memory_limit and facts.memory > NEAR_LIMIT * facts.memory_limit:
            share = facts.memory / facts.memory_limit
            yield Advice(
                "memory",
                f"Worker {name} uses {percent(share)} of its memory limit of {nbytes(facts.memory_limit)}: "
                f"it is about to move data to disk. Add workers or memory.",
            )


def messages(fit: FitRecord) -> Iterator[Advice]:
    """Short rounds that spend most of their time in messages."""
    rounds = [r for r in fit.window if r.name != "load" and r.measured]
    if len(rounds) < 3 or all(t.worker.startswith("local-") for t in rounds[-1].measured):
        return
    length = median(r.seconds for r in rounds)
    hop = median(r.seconds - r.slowest_seconds for r in rounds)
    if length < SHORT_ROUND and hop > MESSAGES * length:
        remedy = (
            "Use more rows a worker; if these rounds are task graphs, config_context(executor='actor')."
            if hop > GRAPH_HOP
            else "Fewer workers do as well; data that fit into this process's memory are faster there."
        )
        yield Advice(
            "messages",
            f"{fit.label}: rounds of {seconds(length)} spend {percent(hop / length)} in messages. {remedy}",
        )


def driver(fit: FitRecord) -> Iterator[Advice]:
    """A fit that spends its time between its rounds."""
    share = fit.critical_path.shares[2]
    if fit.n_rounds >= 5 and fit.seconds > 0.5 and share > DRIVER:
        yield Advice(
            "driver",
            f"{fit.label}: {percent(share)} of its {seconds(fit.seconds)} pass between the rounds, on the "
            f"driver, while the workers idle. Look at what else the driver's process is doing.",
        )


def course(fit: FitRecord) -> Iterator[Advice]:
    """A fit that diverges or no longer gets anywhere."""
    values = [p.objective for p in fit.points if p.objective is not None]
    if values and not math.isfinite(values[-1]) and not all(map(math.isnan, values)):
        yield Advice(
            "course",
            f"{fit.label}: the objective is {values[-1]} since round {fit.curve[-1].round}. Scale the "
            f"features, or take smaller steps.",
            serious=True,
        )
    norms = [p.gradient_norm for p in fit.points if p.gradient_norm is not None]
    if fit.state == "running" and len(norms) > 2 * STAGNANT:
        before, lately = min(norms[:-STAGNANT]), min(norms[-STAGNANT:])
        if lately >= before:
            yield Advice(
                "course",
                f"{fit.label}: the gradient has not become smaller in {STAGNANT} rounds ({lately:.2e}). "
                f"Scale the features, or raise tol.",
            )


__all__ = ["Advice", "advise"]
