"""Some fits as one static SVG: load, last rounds, objective, critical path; for notebooks and documents.

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
from daskml_kit.dashboard.look import LIGHT, Look
from daskml_kit.dashboard.tail import busiest, last_rounds, path_of_rounds, placed
from daskml_kit.dashboard.units import percent, seconds
from daskml_kit.runtime.events import Run, imbalance

_WIDTH, _BAR, _GAP = 860, 22, 8
_LEFT, _RIGHT = 150, 20
_CURVE, _PATH = 150, 130
_LANE, _LANES = 18.0, 320  # one row of the strip, and all: at most
_INSIDE = _WIDTH - _LEFT - _RIGHT


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
    seen.extend(list(run.events))
    return fits_picture(seen.fits)


def fits_picture(fits: Sequence[FitRecord], look: Look = LIGHT, *, window: bool = False) -> Picture:
    """The same of some fits, with the rounds that ended last.

    Parameters
    ----------
    fits : in the order in which they began
    look : the theme
    window : load of the last rounds only, as on the live page
    """
    draw = _Drawing(look)
    loads = folded(worker_loads(fits, window=window))
    if not loads:
        draw.words(12, 25, "No fit was recorded.")
        return draw.picture(40)
    y = draw.bars(loads)
    y = draw.strip(fits, y)
    for fit in fits:
        y = draw.curve(fit, y)
    for fit in fits[-1:]:
        y = draw.path(fit, y)
    return draw.picture(y)


class _Drawing:
    """Shapes one below the other; each method draws at a height and returns where it ended."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._shapes: list[str] = []

    def bars(self, loads: Sequence[WorkerLoad]) -> float:
        """Seconds and rows of each worker."""
        spent = self._look.spent
        longest = max(load.wall for load in loads) or 1.0
        scale = (_INSIDE - 90) / longest
        names = short_names(load.worker for load in loads)
        balance = imbalance(load.compute for load in loads)
        title = f"Seconds of each worker; compute imbalance (max / mean) {balance:.2f}"
        self.words(12, 20, title, bold=True)
        self._legend(40, spent)
        y, bar = 54.0, _bar_of(len(loads))
        for load in loads:
            self.words(12, y + bar - 5, names[load.worker])
            x = float(_LEFT)
            for kind, colour in spent.items():
                value = getattr(load, kind)
                self._rect(x, y, value * scale, bar, colour, f"{kind} {seconds(value)}")
                x += value * scale
            self.words(x + 8, y + bar - 5, f"{load.rows:,} rows")
            y += bar + min(_GAP, bar)
        return y + 12

    def strip(self, fits: Sequence[FitRecord], top: float) -> float:
        """The last rounds: one row a worker, one box a task."""
        rounds = [(fit, event) for fit, event in last_rounds(fits) if event.measured]
        if not rounds:
            return top
        workers = busiest([event for _, event in rounds])
        begin = min(event.started for _, event in rounds)
        scale = _INSIDE / (max(e.started + e.seconds for _, e in rounds) - begin or 1.0)
        lane = min(_LANE, _LANES / len(workers))
        row = {worker: top + 24 + i * (lane + 2) for i, worker in enumerate(workers)}
        self.words(12, top + 14, "The last rounds: one row a worker, one box a task", bold=True)
        if lane > 10:
            for worker, name in short_names(workers).items():
                self.words(12, row[worker] + lane - 5, name)
        for fit, event in rounds:
            colour = self._look.lines[fit.order % len(self._look.lines)]
            for task in event.measured:
                if task.worker in row:
                    x = _LEFT + (placed(event, task) - begin) * scale
                    width = max(task.compute_seconds * scale, 0.5)
                    tip = f"{fit.label}, round {event.round}: {seconds(task.compute_seconds)}"
                    self._rect(x, row[task.worker], width, lane, colour, tip)
        base = max(row.values()) + lane + 16
        self.words(_LEFT, base, "0")
        self.words(_LEFT + _INSIDE - 56, base, seconds(_INSIDE / scale))
        return base + 20

    def curve(self, fit: FitRecord, top: float) -> float:
        """The objective against rounds; logarithmic where it is positive and spans a decade."""
        curve = [p for p in fit.curve if p.objective is not None and math.isfinite(p.objective)]
        if len(curve) < 2:
            return top
        values = [float(p.objective) for p in curve if p.objective is not None]
        log = min(values) > 0 and max(values) > 10 * min(values)
        heights = [math.log10(v) for v in values] if log else values
        low, high = min(heights), max(heights)
        span = (high - low) or 1.0
        first, last = curve[0].round, curve[-1].round
        base = top + _CURVE - 24
        points = " ".join(
            f"{_LEFT + _INSIDE * (p.round - first) / max(last - first, 1):.1f},"
            f"{base - (_CURVE - 56) * (h - low) / span:.1f}"
            for p, h in zip(curve, heights, strict=True)
        )
        scale = "log scale" if log else "linear scale"
        colour = self._look.lines[fit.order % len(self._look.lines)]
        self.words(12, top + 14, f"{fit.label}: objective over rounds ({scale})", bold=True)
        self._shapes += [
            f'<path d="M{_LEFT},{base + 4} H{_LEFT + _INSIDE}" stroke="{self._look.grid}"/>',
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>',
        ]
        self.words(12, base - (_CURVE - 56) + 4, f"{max(values):.6g}")
        self.words(12, base + 4, f"{min(values):.6g}")
        self._ends(base + 18, first, last)
        return top + _CURVE + 10

    def path(self, fit: FitRecord, top: float) -> float:
        """Where the seconds of each round went, along the slowest worker."""
        groups = path_of_rounds(fit)
        if not groups:
            return top
        look = self._look
        colours = {"compute": look.compute, "messages": look.transfer, "driver": look.wait}
        self.words(12, top + 14, f"{fit.label}: critical path of each round", bold=True)
        self._legend(top + 34, colours)
        width, height, base = _INSIDE / len(groups), _PATH - 66, top + _PATH - 24
        for i, group in enumerate(groups):
            y = base
            for (kind, colour), share in zip(colours.items(), group.path.shares, strict=True):
                y -= share * height
                tip = f"round {group.first}: {kind} {percent(share)}"
                self._rect(_LEFT + i * width, y, 0.92 * width, share * height, colour, tip)
        self._ends(base + 16, groups[0].first, groups[-1].last)
        return top + _PATH + 8

    def words(self, x: float, y: float, words: str, *, bold: bool = False) -> None:
        """One line of text."""
        weight = ' font-weight="bold"' if bold else ""
        ink = self._look.ink
        self._shapes.append(
            f'<text x="{x:.1f}" y="{y:.1f}" fill="{ink}"{weight}>{escape(words)}</text>'
        )

    def picture(self, height: float) -> Picture:
        """All that was drawn."""
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height:.0f}" '
            f'viewBox="0 0 {_WIDTH} {height:.0f}" font-family="sans-serif" font-size="12">'
            f'<rect width="100%" height="100%" fill="{self._look.ground}"/>'
        )
        return Picture(head + "".join(self._shapes) + "</svg>")

    def _ends(self, y: float, first: int, last: int) -> None:
        self.words(_LEFT, y, f"round {first}")
        self.words(_LEFT + _INSIDE - 56, y, f"round {last}")

    def _legend(self, y: float, colours: dict[str, str]) -> None:
        x = float(_LEFT)
        for kind, colour in colours.items():
            self._rect(x, y - 9, 11, 11, colour, kind)
            self.words(x + 16, y, kind)
            x += 90

    def _rect(self, x: float, y: float, width: float, height: float, fill: str, tip: str) -> None:
        self._shapes.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.2f}" height="{height:g}" fill="{fill}">'
            f"<title>{escape(tip)}</title></rect>"
        )


def _bar_of(n: int) -> float:
    """Bars get thinner before the picture gets endless."""
    return float(_BAR) if n <= 24 else 12.0


__all__ = ["Picture", "fits_picture", "load_picture"]
