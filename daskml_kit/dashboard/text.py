"""Numbers as text: units, the table of fits, the table of workers, and one sentence that says it all."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from daskml_kit.dashboard.aggregate import FitRecord, WorkerLoad, short_names
from daskml_kit.runtime.events import imbalance

STYLE = """
.dk { font: 13px/1.45 system-ui, Helvetica, Arial, sans-serif; color: #222; }
.dk h2 { font-size: 16px; margin: 18px 0 6px; }
.dk table { border-collapse: collapse; margin: 4px 0 10px; background: #fff; }
.dk th { text-align: right; font-weight: 600; color: #555; border-bottom: 2px solid #ccc; }
.dk td { text-align: right; border-bottom: 1px solid #eee; font-variant-numeric: tabular-nums; }
.dk th, .dk td { padding: 4px 14px 4px 0; white-space: nowrap; }
.dk th:first-child, .dk td:first-child { text-align: left; }
.dk .failed { color: #b3261e; font-weight: 600; }
.dk .running { color: #0072b2; font-weight: 600; }
.dk .tall { max-height: 440px; overflow-y: auto; }
.dk p { margin: 4px 0; max-width: 90em; }
.dk .note { color: #666; }
.dk .message { font-size: 15px; padding: 28px; background: #f4f6f8; border-radius: 6px; }
"""

EVEN = 1.1
"""Largest over mean below which a sentence calls a load even."""


def seconds(value: float) -> str:
    """A duration: ``340 µs``, ``12.5 ms``, ``3.40 s``, ``5 min 20 s``, ``2 h 3 min``.

    >>> [seconds(v) for v in (0, 0.00034, 0.0125, 3.4, 320, 7390)]
    ['0 s', '340 µs', '12.5 ms', '3.40 s', '5 min 20 s', '2 h 3 min']
    """
    if value == 0:
        return "0 s"
    if value < 0.9995e-3:
        return f"{value * 1e6:.0f} µs"
    if value < 0.9995:
        return f"{value * 1e3:.3g} ms"
    if value < 59.995:
        return f"{value:.2f} s"
    whole = round(value)
    minutes = f"{whole // 60} min {whole % 60} s"
    return minutes if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


def nbytes(value: float) -> str:
    """A size in decimal units: ``512 B``, ``1.5 kB``, ``2.35 MB``.

    >>> [nbytes(v) for v in (0, 512, 1500, 2_350_000, 7e12)]
    ['0 B', '512 B', '1.5 kB', '2.35 MB', '7 TB']
    """
    unit, scale = byte_unit(value)
    return f"{value / scale:.3g} {unit}"


def byte_unit(value: float) -> tuple[str, float]:
    """The decimal unit that suits a size, and its bytes."""
    scale = 1.0
    for unit in ("B", "kB", "MB", "GB"):
        if value / scale < 999.5:
            return unit, scale
        scale *= 1000
    return "TB", scale


def count(value: int) -> str:
    """A whole number with its thousands set apart."""
    return f"{value:,}"


def objective(value: float | None) -> str:
    """Six significant digits, or a dash where the fit reports none."""
    return "–" if value is None else f"{value:.6g}"


def framed(html: str) -> str:
    """Some HTML in a frame that :data:`STYLE` applies to."""
    return f'<div class="dk">{html}</div>'


def message(words: str) -> str:
    """What stands where there is nothing to plot."""
    return f'<p class="message">{escape(words)}</p>'


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """An HTML table of cells that are HTML already."""
    top = "".join(f"<th>{h}</th>" for h in head)
    body = "".join("<tr>" + "".join(f"<td>{c}</td>" for c in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def fit_table(fits: Sequence[FitRecord]) -> str:
    """One line a fit."""
    head = (
        "Fit",
        "State",
        "Rounds",
        "Passes",
        "Time",
        "in rounds",
        "Rows",
        "Data",
        "Moved",
        "Objective",
        "Mean imbalance",
    )
    rows = [
        (
            escape(f.label),
            f'<span class="{escape(f.state)}">{escape(f.state)}</span>',
            count(f.n_rounds),
            count(f.n_passes),
            seconds(f.seconds),
            seconds(f.round_seconds),
            count(f.rows or sum(t.rows for t in f.held.values())),
            nbytes(f.nbytes or sum(t.nbytes for t in f.held.values())),
            nbytes(f.bytes_moved),
            objective(f.objective),
            f"{f.mean_imbalance:.2f}",
        )
        for f in fits
    ]
    return table(head, rows)


def worker_table(loads: Sequence[WorkerLoad], *, idle: bool) -> str:
    """One line a worker."""
    names = short_names(w.worker for w in loads)
    head = ["Worker", "Compute", "Transfer", "Wait", "Rows", "Data", "Blocks"]
    rows = [
        [
            escape(names[w.worker]),
            seconds(w.compute),
            seconds(w.transfer),
            seconds(w.wait),
            count(w.rows),
            nbytes(w.nbytes),
            count(w.n_blocks),
        ]
        for w in loads
    ]
    if idle:
        head.insert(4, "Idle")
        for row, load in zip(rows, loads, strict=True):
            row.insert(4, seconds(load.idle))
    return f'<div class="tall">{table(head, rows)}</div>'


def verdict(loads: Sequence[WorkerLoad]) -> str:
    """Is the load even, and if not, is it the worker's data or its speed? In words."""
    if not loads:
        return "No worker has finished a task yet."
    names = short_names(w.worker for w in loads)
    if len(loads) == 1:
        return f"One worker, {escape(names[loads[0].worker])}, did all the work."
    busiest = max(loads, key=lambda w: w.compute)
    ratio = imbalance(w.compute for w in loads)
    if ratio < EVEN:
        return f"The load is even: the busiest of {len(loads)} workers computed {ratio:.2f} × the mean."
    own, mean = busiest.rows, sum(w.rows for w in loads) / len(loads)
    if not mean:
        why = ""
    elif own > EVEN * mean:
        why = f" It holds {own / mean:.2f} × the mean number of rows."
    else:
        why = (
            " Its share of the rows is no larger than the others': it is slower, or busy elsewhere."
        )
    waited = sum(w.wait for w in loads)
    return (
        f"<b>{escape(names[busiest.worker])}</b> is busiest: {seconds(busiest.compute)} of compute, "
        f"{ratio:.2f} × the mean. The others waited {seconds(waited)} in all.{why}"
    )
