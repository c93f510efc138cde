"""Events as fits emit them, made up: balanced, with a slow worker, with uneven rows."""

from collections.abc import Callable, Sequence

import pytest

from daskml_kit.runtime.events import Event, FitEvent, RoundEvent, TaskEvent

WORKERS = tuple(f"tcp://10.0.0.{i}:40{i}" for i in range(1, 5))


@pytest.fixture
def make_fit() -> Callable[..., list[Event]]:
    return fit_events


def fit_events(
    fit: str = "LogisticRegression-1",
    *,
    n: int = 6,
    workers: Sequence[str] = WORKERS,
    seconds: Sequence[float] = (0.1, 0.1, 0.2, 0.1),
    rows: Sequence[int] = (1000, 1000, 1000, 1000),
    objective: Callable[[int], float] | None = lambda r: 1.0 / (1 + r),
    began: float = 1000.0,
    end: str | None = "finished",
    gradient: Callable[[int], float] | None = None,
    fit_id: str = "",
    max_iter: int | None = None,
    tol: float | None = None,
) -> list[Event]:
    """A fit of ``n`` rounds, the first of which reports no objective."""
    at = began
    size = (sum(rows), 80 * sum(rows), len(workers))
    events: list[Event] = [FitEvent(fit, "started", at, *size, max_iter, tol, fit_id)]
    for r in range(n):
        tasks = [
            TaskEvent(w, b, 2, rows[b], 80 * rows[b], at, seconds[b]) for b, w in enumerate(workers)
        ]
        took = max(seconds[: len(workers)]) + 0.05
        value = objective(r) if objective is not None and r else None
        norm = gradient(r) if gradient is not None and r else None
        events.append(
            RoundEvent(fit, r, "loss", at, took, 500, 1, tuple(tasks), value, norm, fit_id)
        )
        at += took + 0.01
    if end is not None:
        events.append(FitEvent(fit, end, at, *size, max_iter, tol, fit_id))
    return events
