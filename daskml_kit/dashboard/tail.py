"""The tail of some fits: their last rounds, task by task, and where the seconds of each round went.

Plain Python, no Bokeh: the page's plots and the pictures in a notebook draw the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from daskml_kit.dashboard.aggregate import CriticalPath, FitRecord, tallied
from daskml_kit.dashboard.loads import MOST_BARS, natural
from daskml_kit.runtime.events import RoundEvent, TaskEvent

ROUNDS_SHOWN = 12
"""Rounds in the strip, for each of its fits: more, and a short round is thinner than a pixel."""

MOST_BOXES = 1200

MOST_GROUPS = 60
"""Bars of the critical path over rounds; of more rounds, neighbours share one."""


def last_rounds(fits: Sequence[FitRecord]) -> list[tuple[FitRecord, RoundEvent]]:
    """The rounds of these fits that ended last, in the order in which they did.

    Loading is left out once there is something else: it takes longer than all that follows.
    """
    most = ROUNDS_SHOWN * len(fits)
    found = [(fit, r) for fit in fits for r in list(fit.window)[-most:]]
    training = [(fit, r) for fit, r in found if r.name != "load"]
    found = sorted(training or found, key=lambda pair: pair[1].started + pair[1].seconds)[-most:]
    n_boxes = 0
    for i in range(len(found) - 1, -1, -1):
        n_boxes += len(found[i][1].measured)
        if n_boxes > MOST_BOXES:
            return found[i + 1 :] or found[-1:]
    return found


def busiest(rounds: Sequence[RoundEvent]) -> list[str]:
    """The workers of these rounds in natural order; of too many, those that computed longest."""
    busy = tallied(rounds)
    return sorted(sorted(busy, key=lambda w: -busy[w].compute)[:MOST_BARS], key=natural)


def placed(event: RoundEvent, task: TaskEvent) -> float:
    """When a task began, on the driver's clock: inside of its round."""
    latest = event.started + max(event.seconds - task.compute_seconds, 0.0)
    return min(max(task.started, event.started), latest)


@dataclass(frozen=True, slots=True)
class PathOfRounds:
    """The critical path of some rounds of a fit, one after the other."""

    first: int  # number of the first round
    last: int
    path: CriticalPath


def path_of_rounds(fit: FitRecord, most: int = MOST_GROUPS) -> list[PathOfRounds]:
    """Where the seconds of each round went, in at most about ``most`` groups of as many rounds.

    Loading is left out once there is something else.
    """
    points = [p for p in fit.points if p.name != "load"] or list(fit.points)
    size = -(-len(points) // most) or 1
    groups = []
    for i in range(0, len(points), size):
        own = points[i : i + size]
        paths = [p.critical_path for p in own]
        total = CriticalPath(
            sum(p.compute for p in paths),
            sum(p.transfer for p in paths),
            sum(p.driver for p in paths),
        )
        groups.append(PathOfRounds(own[0].round, own[-1].round, total))
    return groups


__all__ = [
    "MOST_BOXES",
    "MOST_GROUPS",
    "ROUNDS_SHOWN",
    "PathOfRounds",
    "busiest",
    "last_rounds",
    "path_of_rounds",
    "placed",
]
