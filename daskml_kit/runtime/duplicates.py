"""The end of a long round: what one worker keeps the others waiting for is run a second time elsewhere.

The first answer wins. A worker that is slow throughout is :mod:`balance`'s business; this is for the one that
stalls once: a full disk, a neighbour's job, a paging machine.

References
----------
Dean, Ghemawat (2004). MapReduce: simplified data processing on large clusters. OSDI'04, section 3.6.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import distributed

LONG_SECONDS = 1.0
"""Rounds shorter than this are waited for."""

PATIENCE = 2.0
"""A task is late when it takes this many times what the slowest of the finished ones took."""

_LOOK_SECONDS = 0.1

Future = distributed.Future[Any]


def finished(futures: Iterable[Future], seconds: float) -> bool:
    """Whether all are done within some seconds, whatever became of them."""
    try:
        distributed.wait(list(futures), timeout=seconds)
    except TimeoutError:
        return False
    return True


def first_answers(
    futures: Sequence[Future], again: Callable[[int, set[int]], Future | None]
) -> list[Future]:
    """One finished future for each of some tasks that began together.

    Parameters
    ----------
    futures : one for each task
    again : callable (which, done) -> future or None
        Starts task ``which`` a second time, on a worker whose tasks are among ``done``; None where that
        would not help.

    Returns
    -------
    list of Future
        For each task the one that was done first. The others are released.

    Notes
    -----
    Nothing is started twice before half of the tasks are done, and :data:`PATIENCE` times the time
    that they took.
    """
    if finished(futures, LONG_SECONDS):
        return list(futures)
    begun = time.monotonic() - LONG_SECONDS
    running = {i: [f] for i, f in enumerate(futures)}
    winners: dict[int, Future] = {}
    asked: set[int] = set()
    slowest = LONG_SECONDS
    while running:
        for i, copies in list(running.items()):
            done = next((f for f in copies if f.done()), None)
            if done is None:
                continue
            winners[i] = done
            slowest = max(slowest, time.monotonic() - begun) if i not in asked else slowest
            for other in running.pop(i):
                if other is not done:
                    other.release()
        late = time.monotonic() - begun > PATIENCE * slowest
        if late and 2 * len(winners) >= len(futures):
            for i in running.keys() - asked:
                asked.add(i)
                copy = again(i, set(winners))
                running[i] += [] if copy is None else [copy]
        if running:
            finished([f for copies in running.values() for f in copies], _LOOK_SECONDS)
    return [winners[i] for i in range(len(futures))]


__all__ = ["LONG_SECONDS", "PATIENCE", "finished", "first_answers"]
