"""The demo's two tables, as text."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from daskml_kit.runtime.events import Run, imbalance


def columns(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Text in aligned columns: the first to the left, the others to the right."""
    table = [list(header), *[list(r) for r in rows]]
    widths = [max(len(row[i]) for row in table) for i in range(len(header))]
    lines = [
        "  ".join(
            c.ljust(w) if i == 0 else c.rjust(w)
            for i, (c, w) in enumerate(zip(r, widths, strict=True))
        )
        for r in table
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def model_table(results: Sequence[Any]) -> str:
    """Model, quality beside scikit-learn's, seconds, rounds, passes."""
    header = ["model", "measure", "here", "scikit-learn", "seconds", "its s", "rounds", "passes"]
    return columns(
        header,
        [
            [
                r.model, r.measure, f"{r.ours:.4f}", f"{r.theirs:.4f}", f"{r.seconds:.2f}",
                f"{r.their_seconds:.2f}", str(r.rounds), str(r.passes),
            ]
            for r in results
        ],
    )  # fmt: skip


def load_table(run: Run) -> str:
    """Per worker: rows and bytes loaded, busy seconds; and the imbalance of each, max over mean."""
    rows: defaultdict[str, int] = defaultdict(int)
    size: defaultdict[str, int] = defaultdict(int)
    busy: defaultdict[str, float] = defaultdict(float)
    for event in run.rounds:
        for worker, seconds in event.busy_seconds.items():
            busy[worker] += seconds
        for task in event.measured if event.name == "load" else ():
            rows[task.worker] += task.rows
            size[task.worker] += task.nbytes
    body = [[w, f"{rows[w]:,}", f"{size[w] / 1e6:.2f}", f"{busy[w]:.2f}"] for w in sorted(busy)]
    shares = [imbalance([c[w] for w in busy]) for c in (rows, size, busy)]
    last = ["imbalance (max / mean)", *(f"{s:.2f}" for s in shares)]
    return columns(["worker", "rows", "MB", "busy s"], [*body, last])


__all__ = ["columns", "load_table", "model_table"]
