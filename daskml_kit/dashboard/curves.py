"""Curves: objective, gradient norm and imbalance, over rounds or over seconds, one line a fit."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from bokeh.core.properties import without_property_validation

from daskml_kit.dashboard.aggregate import FitRecord, Point
from daskml_kit.dashboard.figures import colour, figure, legend, models
from daskml_kit.dashboard.look import LIGHT, Look

LOG_RATIO = 30.0
"""Largest over smallest value from which its axis is logarithmic."""

MAX_POINTS = 150
"""Points drawn of one curve: about one for four of its pixels across."""

ROUNDS, SECONDS = "rounds", "seconds"

_DOTS = ("x", "value", "fit", "round", "name", "ms", "at", "color")

Value = Callable[[Point], "float | None"]


class CurvePanel:
    """One line a fit."""

    def __init__(
        self,
        title: str,
        label: str,
        value: Value,
        look: Look = LIGHT,
        *,
        log: bool = False,
        legend_shown: bool = True,
        height: int = 300,
        least_top: float | None = None,
    ) -> None:
        self._value, self._look, self._least_top = value, look, least_top
        self._lines = models.ColumnDataSource(
            {"xs": [], "ys": [], "fit": [], "color": []}, name=f"curves: {title}"
        )
        self._dots = models.ColumnDataSource({name: [] for name in _DOTS})
        self.root = figure(title, look, y_axis_type="log" if log else "linear", height=height)
        self.root.xaxis.axis_label = "Round"
        self.root.yaxis.axis_label = f"{label} (log scale)" if log else label
        if least_top is not None:
            self.root.y_range = models.Range1d(0.95, least_top)
        if log:
            self.root.yaxis.ticker.mantissas = [1, 3]
        else:
            self.root.yaxis.formatter = models.BasicTickFormatter(power_limit_high=7)
        style = {"color": "color", "source": self._lines, "line_width": 2}
        drawn = self.root.multi_line("xs", "ys", **style)
        dots = self.root.scatter("x", "value", color="color", size=4, source=self._dots)
        if legend_shown:
            item = models.LegendItem(label={"field": "fit"}, renderers=[drawn])
            self.root.add_layout(legend([item], "vertical", look), "right")
        tooltips = [
            ("fit", "@fit"),
            ("round", "@round (@name)"),
            (label.lower(), "@value{0.000000e+0}"),
            ("it took", "@ms{0,0.0} ms, and ended @at{0,0.00} s after the fit began"),
        ]
        self.root.add_tools(models.HoverTool(tooltips=tooltips, renderers=[dots]))

    @without_property_validation
    def show(self, fits: Sequence[FitRecord], over: str = ROUNDS) -> None:
        """Draw the curves of these fits over ``rounds`` or ``seconds``."""
        curves = [(fit, thinned(finite(fit.points, self._value))) for fit in fits]
        curves = [(fit, curve) for fit, curve in curves if curve]
        by_round = over == ROUNDS
        dots: dict[str, list[Any]] = {name: [] for name in _DOTS}
        xs = []
        for fit, curve in curves:
            xs.append([p.round if by_round else p.at for p, _ in curve])
            hue = colour(fit, self._look)
            for x, (p, v) in zip(xs[-1], curve, strict=True):
                row = (x, v, fit.label, p.round, p.name, 1e3 * p.seconds, p.at, hue)
                for name, cell in zip(_DOTS, row, strict=True):
                    dots[name].append(cell)
        self.root.xaxis.axis_label = "Round" if by_round else "Seconds since the fit began"
        self.root.xaxis.ticker.min_interval = 1 if by_round else 0
        self._lines.data = {
            "xs": xs,
            "ys": [[v for _, v in curve] for _, curve in curves],
            "fit": [fit.label for fit, _ in curves],
            "color": [colour(fit, self._look) for fit, _ in curves],
        }
        self._dots.data = dots
        if self._least_top is not None:
            self.root.y_range.end = 1.05 * max([self._least_top, *dots["value"]])


def objective_panel(
    fits: Sequence[FitRecord], title: str, look: Look = LIGHT, *, legend_shown: bool = True
) -> CurvePanel:
    """Objective of fits that share a scale."""
    log = needs_log(fits, objective)
    title = f"{title}: objective"
    return CurvePanel(title, "Objective", objective, look, log=log, legend_shown=legend_shown)


def gradient_panel(look: Look = LIGHT) -> CurvePanel:
    """Largest component of the gradient of the fits that have one."""
    title = "Gradient: how far from the optimum"
    return CurvePanel(title, "Largest component", gradient_norm, look, log=True)


def imbalance_panel(look: Look = LIGHT, height: int = 260) -> CurvePanel:
    """Largest over mean busy seconds, with the line of perfect balance."""
    panel = CurvePanel(
        "Imbalance of each round: 1 is perfect balance",
        "Largest / mean compute",
        lambda point: point.imbalance,
        look,
        height=height,
        least_top=1.4,
    )
    panel.root.add_layout(
        models.Span(location=1.0, dimension="width", line_color=look.faint, line_dash="dashed")
    )
    return panel


def objective(point: Point) -> float | None:
    """The objective that a round reports."""
    return point.objective


def gradient_norm(point: Point) -> float | None:
    """The gradient norm that a round reports, where a logarithmic axis can show it."""
    return point.gradient_norm if point.gradient_norm and point.gradient_norm > 0 else None


def needs_log(fits: Sequence[FitRecord], value: Value) -> bool:
    """Whether positive values span so much that a linear axis would hide the small ones."""
    values = [v for fit in fits for _, v in finite(fit.points, value)]
    return bool(values) and min(values) > 0 and max(values) / min(values) >= LOG_RATIO


def finite(points: Sequence[Point] | Any, value: Value) -> list[tuple[Point, float]]:
    """The points whose value can be drawn."""
    pairs = [(p, value(p)) for p in points]
    return [(p, v) for p, v in pairs if v is not None and math.isfinite(v)]


def thinned(curve: list[tuple[Point, float]]) -> list[tuple[Point, float]]:
    """At most about :data:`MAX_POINTS` points, evenly chosen, the last one kept."""
    stride = -(-len(curve) // MAX_POINTS)
    return curve if stride <= 1 else [*curve[:-1:stride], curve[-1]]
