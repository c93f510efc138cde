"""How fits, runs and fitted estimators show themselves in a notebook: plain HTML and SVG, no JavaScript."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from daskml_kit.dashboard import text
from daskml_kit.dashboard.advice import advise
from daskml_kit.dashboard.aggregate import Aggregate, FitRecord
from daskml_kit.dashboard.loads import worker_loads
from daskml_kit.dashboard.look import LIGHT, Look
from daskml_kit.dashboard.picture import fits_picture
from daskml_kit.dashboard.units import count, nbytes, seconds
from daskml_kit.runtime.events import Run
from daskml_kit.runtime.machines import WorkerFacts

_WIDTH, _HEIGHT = 220, 36


def run_html(run: Run) -> str:
    """A run: its fits, the advice, and the load as a picture."""
    seen = Aggregate(max_fits=None)
    seen.extend(list(run.events))
    if not seen.fits:
        return NO_FIT_YET
    return fits_html(seen.fits, run.workers)


def fits_html(
    fits: Sequence[FitRecord],
    workers: Mapping[str, WorkerFacts],
    look: Look = LIGHT,
    *,
    drawn: Sequence[FitRecord] | None = None,
) -> str:
    """Some fits as a table, with advice and the load of the workers in words, numbers and a picture.

    Parameters
    ----------
    fits : those in the table
    workers : threads and memory by address
    look : the theme
    drawn : those whose last rounds are summed and drawn, as on the live page; None sums all rounds of all
    """
    shown, window = (fits, False) if drawn is None else (drawn, True)
    loads = worker_loads(shown, workers, window=window)
    table = f'<div class="scroll">{text.fit_table(fits)}</div>'
    advice = text.advice_list(advise(shown, loads, workers))
    numbers = f'<div class="scroll">{text.worker_table(loads)}</div>' if window else ""
    picture = fits_picture(shown, look, window=window).text
    return _framed(f"{table}{advice}{picture}{numbers}", look)


def fit_html(history: Sequence[Mapping[str, Any]]) -> str:
    """What a fitted estimator's fit cost, in one line, and the course of its objective."""
    if not history:
        return ""
    last = [h["objective"] for h in history if h["objective"] is not None]
    imbalance = sum(h["imbalance"] for h in history) / len(history)
    cells = [
        ("rounds", count(len(history))),
        ("time in rounds", seconds(sum(h["seconds"] for h in history))),
        ("moved", nbytes(sum(h["bytes"] for h in history))),
        ("mean imbalance", f"{imbalance:.2f}"),
        ("objective", text.objective(last[-1] if last else None)),
    ]
    head, row = zip(*cells, strict=True)
    return _framed(text.table([*head, ""], [[*row, sparkline(last)]]))


def sparkline(values: Sequence[float]) -> str:
    """A small curve; logarithmic where the values are positive and span a decade."""
    drawn = [v for v in values if math.isfinite(v)]
    if len(drawn) < 2:
        return ""
    if min(drawn) > 0 and max(drawn) > 10 * min(drawn):
        drawn = [math.log(v) for v in drawn]
    low, span = min(drawn), (max(drawn) - min(drawn)) or 1.0
    points = " ".join(
        f"{2 + (_WIDTH - 4) * i / (len(drawn) - 1):.1f},{_HEIGHT - 3 - (_HEIGHT - 6) * (v - low) / span:.1f}"
        for i, v in enumerate(drawn)
    )
    line = f'<polyline points="{points}" fill="none" stroke="{LIGHT.compute}" stroke-width="1.5"/>'
    return (
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" role="img"><title>objective</title>{line}</svg>'
    )


def _framed(html: str, look: Look = LIGHT) -> str:
    """In a theme of its own, whatever the notebook's: a style sheet that holds in this frame only."""
    ground = f"background:{look.ground};color-scheme:{look.name};padding:6px 10px"
    frame = f'<div style="display:inline-block;{ground};overflow-x:auto;max-width:100%">'
    css = look.css.replace(".dk", f".dk-{look.name} .dk")
    return f'<style>{css}</style><div class="dk-{look.name}">{frame}{text.framed(html)}</div></div>'


NO_FIT_YET = _framed("<p>No fit was recorded yet.</p>")

__all__ = ["NO_FIT_YET", "fit_html", "fits_html", "run_html"]
