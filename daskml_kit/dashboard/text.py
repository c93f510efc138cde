"""Numbers as text: units, the table of fits, the table of workers, and one sentence on the load."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from daskml_kit.dashboard.advice import Advice
from daskml_kit.dashboard.aggregate import FitRecord
from daskml_kit.dashboard.forecast import time_left
from daskml_kit.dashboard.loads import WorkerLoad, short_names
from daskml_kit.dashboard.units import count, nbytes, rate, seconds
from daskml_kit.runtime.events import imbalance

EVEN = 1.1
"""Largest over mean below which a sentence calls a load even."""


def objective(value: float | None) -> str:
    """Six significant digits, or a dash where the fit reports none."""
    return "–" if value is None else f"{value:.6g}"


def framed(html: str) -> str:
    """Some HTML in a frame that :attr:`~look.Look.css` applies to."""
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
        "Gradient",
        "Mean imbalance",
        "Time left",
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
            "–" if f.gradient_norm is None else f"{f.gradient_norm:.2e}",
            f"{f.mean_imbalance:.2f}",
            time_left(f),
        )
        for f in fits
    ]
    return table(head, rows)


def worker_table(loads: Sequence[WorkerLoad]) -> str:
    """One line a worker."""
    names = short_names(w.worker for w in loads)
    head = (
        "Worker", "Compute", "Transfer", "Wait", "Idle", "Rows", "Data", "Blocks", "Speed", "Threads",
        "Memory", "Limit", "On disk",
    )  # fmt: skip
    rows = [
        (
            escape(names[w.worker]),
            seconds(w.compute),
            seconds(w.transfer),
            seconds(w.wait),
            seconds(w.idle),
            count(w.rows),
            nbytes(w.nbytes),
            count(w.n_blocks),
            rate(w.rows_per_second),
            count(w.facts.threads),
            nbytes(w.facts.memory) if w.facts.memory else "–",
            nbytes(w.facts.memory_limit) if w.facts.memory_limit else "–",
            nbytes(w.facts.spilled),
        )
        for w in loads
    ]
    return f'<div class="tall">{table(head, rows)}</div>'


def advice_list(advice: Sequence[Advice]) -> str:
    """The advice, the serious ones first; a word of comfort where there is none."""
    if not advice:
        return (
            '<ul class="advice"><li class="well">Nothing to mend: no threshold is passed.</li></ul>'
        )
    ranked = sorted(advice, key=lambda a: not a.serious)
    items = "".join(
        f'<li class="{"serious" if a.serious else "mild"}">{escape(a.words)}</li>' for a in ranked
    )
    return f'<ul class="advice">{items}</ul>'


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
