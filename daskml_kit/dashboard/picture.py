"""The load of each worker and the objective's course as one static SVG, for notebooks and documents.

The report and the live page show more and let one look closer; this needs no JavaScript.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from daskml_kit.dashboard.aggregate import Aggregate, FitRecord
from daskml_kit.dashboard.loads import WorkerLoad, folded, short_names, worker_loads
from daskml_kit.dashboard.look import LIGHT
from daskml_kit.dashboard.units import seconds
from daskml_kit.runtime.events import Run, imbalance

COLOURS = LIGHT.spent
_WIDTH, _BAR, _GAP = 860, 22, 8
_LEFT, _RIGHT = 150, 20
_CURVE = 150


@dataclass(frozen=True)
class Picture:
    """An SVG picture; shows itself in a notebook, or saves itself."""

    text: str = field(repr=False)

    def _repr_svg_(self) -> str:
        return self.text

    def save(self, path: str | Path) -> Path:
        """Write the picture as an ``.svg`` file and return its path."""
        path = Path(path)
        path.write_text(self.text, encoding="utf-8")
        return path


def load_picture(run: Run) -> Picture:
    """How each worker spent the fits of a run, and the course of each fit's objective.

    Parameters
    ----------
    run : of a ``with daskml_kit.record() as run:`` block

    Returns
    -------
    Picture
    """
    seen = Aggregate()
    for event in run.events:
        seen.add(event)
    fits = list(seen.fits)
    loads = folded(worker_loads(fits))
    if not loads:
        return _page(40, [_words(12, 25, "No fit was recorded.")])
    shapes, y = _bars(loads)
    for fit in fits:
        if len(fit.curve) > 1:
            shapes += _curve(fit, y)
            y += _CURVE
    return _page(y, shapes)


def _bars(loads: Sequence[WorkerLoad]) -> tuple[list[str], float]:
    longest = max(sum(getattr(load, kind) for kind in COLOURS) for load in loads) or 1.0
    scale = (_WIDTH - _LEFT - _RIGHT - 90) / longest
    names = short_names(load.worker for load in loads)
    balance = imbalance(load.compute for load in loads)
    title = f"Seconds of each worker; compute imbalance (max / mean) {balance:.2f}"
    shapes = [_words(12, 20, title, bold=True), *_legend(40)]
    y = 54.0
    for load in loads:
        shapes.append(_words(12, y + 15, names[load.worker]))
        x = float(_LEFT)
        for kind, colour in COLOURS.items():
            value = getattr(load, kind)
            tip = f"{kind} {seconds(value)}"
            shapes.append(_rect(x, y, value * scale, _BAR, colour, tip))
            x += value * scale
        shapes.append(_words(x + 8, y + 15, f"{load.rows:,} rows"))
        y += _BAR + _GAP
    return shapes, y + 12


def _legend(y: float) -> list[str]:
    shapes, x = [], float(_LEFT)
    for kind, colour in COLOURS.items():
        shapes += [_rect(x, y - 9, 11, 11, colour, kind), _words(x + 16, y, kind)]
        x += 90
    return shapes


def _curve(fit: FitRecord, top: float) -> list[str]:
    """The objective against rounds; logarithmic where it is positive and spans a decade."""
    values = [float(p.objective) for p in fit.curve if p.objective is not None]
    log = min(values) > 0 and max(values) > 10 * min(values)
    heights = [math.log10(v) for v in values] if log else values
    low, high = min(heights), max(heights)
    span = (high - low) or 1.0
    first, last = fit.curve[0].round, fit.curve[-1].round
    width = _WIDTH - _LEFT - _RIGHT
    base = top + _CURVE - 24
    points = " ".join(
        f"{_LEFT + width * (p.round - first) / max(last - first, 1):.1f},"
        f"{base - (_CURVE - 56) * (h - low) / span:.1f}"
        for p, h in zip(fit.curve, heights, strict=True)
    )
    scale = "log scale" if log else "linear scale"
    line = f'<polyline points="{points}" fill="none" stroke="#0072B2" stroke-width="2"/>'
    axis = f'<path d="M{_LEFT},{base + 4} H{_LEFT + width}" stroke="#BBBBBB"/>'
    return [
        _words(12, top + 14, f"{fit.label}: objective over rounds ({scale})", bold=True),
        axis,
        line,
        _words(12, base - (_CURVE - 56) + 4, f"{max(values):.6g}"),
        _words(12, base + 4, f"{min(values):.6g}"),
        _words(_LEFT, base + 18, f"round {first}"),
        _words(_LEFT + width - 56, base + 18, f"round {last}"),
    ]


def _rect(x: float, y: float, width: float, height: float, fill: str, tip: str) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.2f}" height="{height}" fill="{fill}">'
        f"<title>{escape(tip)}</title></rect>"
    )


def _words(x: float, y: float, words: str, *, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="#333333"{weight}>{escape(words)}</text>'


def _page(height: float, shapes: Sequence[str]) -> Picture:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height:.0f}" '
        f'viewBox="0 0 {_WIDTH} {height:.0f}" font-family="sans-serif" font-size="12">'
        '<rect width="100%" height="100%" fill="white"/>'
    )
    return Picture(head + "".join(shapes) + "</svg>")


__all__ = ["Picture", "load_picture"]
