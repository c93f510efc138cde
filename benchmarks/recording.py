"""What recording costs: CPU seconds of the driver for each round, and of the scheduler for each event."""

from __future__ import annotations

import time
from collections.abc import Callable

from distributed.protocol import dumps

from daskml_kit.dashboard.server import LoadBalancePlugin
from daskml_kit.runtime.events import TOPIC, Event, FitLog, TaskEvent
from daskml_kit.runtime.executor import emit_round

WORKERS = (2, 4, 16, 100)
ROUNDS = 200
BATCH = 50  # rounds of 5 ms in a message every 250 ms
REPEATS = 9
ROUND_SECONDS = 0.005


def report() -> str:
    """A table: workers, microseconds a round, share of a round of 5 ms."""
    lines = [
        "## Cost of recording",
        "",
        "CPU time of one thread for each round, the best of several: recorded and kept (`emit`), made a",
        "message (`send`), both by the driver; taken in by the page's plugin (`take in`), by the scheduler.",
        "One task a worker.",
        "",
        "| workers | emit | send | of a 5 ms round | take in |",
        "|---:|---:|---:|---:|---:|",
    ]
    for n in WORKERS:
        emit, send, take = costs(n)
        share = (emit + send) / ROUND_SECONDS
        cells = " | ".join(f"{1e6 * s:.0f} µs" for s in (emit, send))
        lines.append(f"| {n} | {cells} | {100 * share:.2f} % | {1e6 * take:.0f} µs |")
    return "\n".join(lines)


def costs(n_workers: int) -> tuple[float, float, float]:
    """CPU seconds a round: emit, send, take in."""
    tasks = [
        TaskEvent(f"tcp://10.0.0.{i}:40000", i, 3, 10**6, 10**8, 1e9 + i, 0.004)
        for i in range(n_workers)
    ]
    emits, sends, takes = [], [], []
    for _ in range(REPEATS):
        log, events = FitLog("LogisticRegression"), list[Event]()
        log.listeners.append(events.append)

        def emit(log: FitLog = log) -> None:
            for _ in range(ROUNDS):
                emit_round(log, "logistic-gradient", 1e9, 0.005, 1000, tasks, 0.5)

        def send(events: list[Event] = events) -> list[list[dict[str, object]]]:
            batches = [
                [e.as_dict() for e in events[i : i + BATCH]] for i in range(0, ROUNDS, BATCH)
            ]
            for batch in batches:
                dumps({"op": "log_event", "topic": TOPIC, "msg": batch})
            return batches

        plugin = LoadBalancePlugin()
        emits.append(cpu(emit))
        sends.append(cpu(send))
        batches = send()
        takes.append(cpu(lambda p=plugin, b=batches: [p.log_event(TOPIC, each) for each in b]))
    return tuple(min(times) / ROUNDS for times in (emits, sends, takes))


def cpu(work: Callable[[], object]) -> float:
    """CPU seconds of this thread."""
    begun = time.thread_time()
    work()
    return time.thread_time() - begun
