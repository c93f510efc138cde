"""Bokeh models from an aggregate, shared by the live page and the report.

Each panel owns its models and has one method, ``show``, that fills them: the report calls it once, the
live page whenever something is new. Colours are Okabe and Ito's, safe for colour-blind readers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import bokeh.models
import bokeh.plotting

from daskml_kit.dashboard.aggregate import FitRecord, Point, WorkerLoad, short_names
from daskml_kit.dashboard.text import STYLE, byte_unit, framed, nbytes, seconds

models: Any = bokeh.models  # Bokeh's own type hints know only some of its names
figure: Any = bokeh.plotting.figure

SPENT = {"compute": "#0072B2", "transfer": "#E69F00", "wait": "#8C8C8C", "idle": "#E3E3E3"}
HELD = "#009E73"
LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F4FA3", "#4D4D4D")

LOG_RATIO = 30.0
"""Largest over smallest objective from which its axis is logarithmic."""

MAX_POINTS = 1000
"""Points drawn of one curve: more than its pixels across."""

_TOOLS = "pan,xwheel_zoom,box_zoom,reset,save"
_SPENT_TOOLTIPS = [
    ("worker", "@worker"),
    *((kind, f"@{kind}_text (@{kind}_share{{0 %}})") for kind in SPENT),
]


def colour(fit: FitRecord) -> str:
    """The fit's own colour in every plot."""
    return LINES[fit.order % len(LINES)]


def needs_log(values: Sequence[float]) -> bool:
    """Whether positive values span so much that a linear axis would hide the small ones."""
    return bool(values) and min(values) > 0 and max(values) / min(values) >= LOG_RATIO


class LoadPanel:
    """Bars for each worker: how it spent its seconds, and the rows and bytes that it holds."""

    def __init__(self, *, idle: bool) -> None:
        kinds = [kind for kind in SPENT if idle or kind != "idle"]
        self._source = models.ColumnDataSource(_load_columns([]))
        self._workers = models.FactorRange(factors=[], range_padding=0.05)
        self.seconds = self._bars("How each worker spent its time", "Time (seconds)")
        renderers = self.seconds.hbar_stack(
            kinds,
            y="worker",
            height=0.72,
            source=self._source,
            color=[SPENT[kind] for kind in kinds],
            line_color="white",
            line_width=0.5,
        )
        items = [
            models.LegendItem(label=k, renderers=[r]) for k, r in zip(kinds, renderers, strict=True)
        ]
        _legend_above(self.seconds, items)
        tooltips = [t for t in _SPENT_TOOLTIPS if idle or t[0] != "idle"]
        self.seconds.add_tools(models.HoverTool(tooltips=tooltips))
        self.rows = self._held("Rows held", "Rows", "rows", "0,0", "@rows{0,0}")
        self.nbytes = self._held("Data held", "Data", "size", "0.[00]", "@nbytes_text")
        self.root = _grid(
            [(self.seconds, 0, 0, 1, 2), (self.rows, 0, 2, 1, 1), (self.nbytes, 0, 3, 1, 1)]
        )

    def show(self, loads: Sequence[WorkerLoad]) -> None:
        """Draw these loads, the first worker on top."""
        data = _load_columns(loads)
        height = bar_height(len(loads))
        for fig in (self.seconds, self.rows, self.nbytes):
            fig.height = height
            fig.yaxis.major_label_text_font_size = "12px" if len(loads) <= 40 else "7px"
        unit, scale = byte_unit(max((w.nbytes for w in loads), default=0))
        data["size"] = [w.nbytes / scale for w in loads]
        self.nbytes.xaxis.axis_label = f"Data ({unit})"
        self._workers.factors = data["worker"][::-1]
        self._source.data = data

    def _bars(self, title: str, label: str) -> Any:
        fig = _figure(title, y_range=self._workers, height=bar_height(1))
        fig.xaxis.axis_label = label
        fig.x_range.start = 0
        fig.xaxis.ticker.desired_num_ticks = 5
        fig.ygrid.grid_line_color = None
        return fig

    def _held(self, title: str, label: str, field: str, ticks: str, tooltip: str) -> Any:
        fig = self._bars(title, label)
        fig.hbar(
            y="worker", right=field, height=0.72, source=self._source, color=HELD, line_color=None
        )
        # The legend of the seconds takes room above its bars; this keeps the rows level.
        _legend_above(fig, [models.LegendItem(label="latest round", renderers=fig.renderers)])
        fig.xaxis.formatter = models.NumeralTickFormatter(format=ticks)
        fig.xaxis.ticker.desired_num_ticks = 3
        tooltips = [("worker", "@worker"), (label.lower(), tooltip), ("blocks", "@n_blocks{0,0}")]
        fig.add_tools(models.HoverTool(tooltips=tooltips))
        return fig


class CurvePanel:
    """One line a fit over its rounds."""

    def __init__(
        self,
        title: str,
        label: str,
        value: Callable[[Point], float | None],
        *,
        log: bool = False,
        legend: bool = True,
        height: int = 300,
        least_top: float | None = None,
    ) -> None:
        self._value = value
        self._least_top = least_top
        self._lines = models.ColumnDataSource({"xs": [], "ys": [], "fit": [], "color": []})
        self._dots = models.ColumnDataSource(_dot_columns())
        self.root = _figure(title, y_axis_type="log" if log else "linear", height=height)
        self.root.xaxis.axis_label = "Round"
        self.root.xaxis.ticker.min_interval = 1
        self.root.yaxis.axis_label = f"{label} (log scale)" if log else label
        if not log:
            self.root.yaxis.formatter = models.BasicTickFormatter(power_limit_high=7)
        style = {"color": "color", "source": self._lines, "line_width": 2}
        drawn = self.root.multi_line("xs", "ys", **style)
        dots = self.root.scatter("round", "value", color="color", size=5, source=self._dots)
        if legend:
            item = models.LegendItem(label={"field": "fit"}, renderers=[drawn])
            self.root.add_layout(_legend([item], "vertical"), "right")
        tooltips = [
            ("fit", "@fit"),
            ("round", "@round (@name)"),
            (label.lower(), "@value_text"),
            ("seconds", "@seconds_text"),
        ]
        self.root.add_tools(models.HoverTool(tooltips=tooltips, renderers=[dots]))

    def show(self, fits: Sequence[FitRecord]) -> None:
        """Draw the curves of these fits."""
        curves = [(fit, thinned(finite(fit.points, self._value))) for fit in fits]
        curves = [(fit, curve) for fit, curve in curves if curve]
        dots = _dot_columns()
        for fit, curve in curves:
            for point, value in curve:
                _append(dots, fit, point, value)
        self._lines.data = {
            "xs": [[p.round for p, _ in curve] for _, curve in curves],
            "ys": [[v for _, v in curve] for _, curve in curves],
            "fit": [fit.label for fit, _ in curves],
            "color": [colour(fit) for fit, _ in curves],
        }
        self._dots.data = dots
        if self._least_top is not None:
            self.root.y_range.end = 1.05 * max([self._least_top, *dots["value"]])


def objective_panel(fits: Sequence[FitRecord], title: str, *, legend: bool = True) -> CurvePanel:
    """Objective over rounds of fits that share a scale."""
    panel = CurvePanel(title, "Objective", _objective, log=objective_log(fits), legend=legend)
    panel.show(fits)
    return panel


def objective_log(fits: Sequence[FitRecord]) -> bool:
    """Whether the objectives of these fits need a logarithmic axis."""
    return needs_log([v for fit in fits for _, v in finite(fit.points, _objective)])


def imbalance_panel(height: int = 280) -> CurvePanel:
    """Largest over mean busy seconds, over rounds, with the line of perfect balance."""
    panel = CurvePanel(
        "Imbalance of each round: 1 is perfect balance",
        "Largest / mean compute",
        lambda point: point.imbalance,
        height=height,
        least_top=1.4,
    )
    panel.root.add_layout(
        models.Span(location=1.0, dimension="width", line_color="#555555", line_dash="dashed")
    )
    panel.root.y_range.start = 0.95
    return panel


def panels(figures: Sequence[Any], across: int = 3) -> Any:
    """Figures side by side, ``across`` in a row; fewer figures get wider."""
    across = min(across, max(len(figures), 1))
    return _grid([(fig, i // across, i % across, 1, 1) for i, fig in enumerate(figures)])


def stacked(*parts: Any) -> Any:
    """Parts below each other."""
    return models.Column(children=list(parts), sizing_mode="stretch_width")


def words(html: str = "") -> Any:
    """Text among plots; set its ``text`` to something that :func:`~text.framed` made."""
    return models.Div(text=framed(html), stylesheets=[STYLE], sizing_mode="stretch_width")


def bar_height(n: int) -> int:
    """Height in pixels of a plot of ``n`` bars: bars get thinner before the plot gets endless."""
    return round(110 + n * min(30.0, max(9.0, 700 / max(n, 1))))


def finite(
    points: Sequence[Point] | Any, value: Callable[[Point], float | None]
) -> list[tuple[Point, float]]:
    """The points whose value can be drawn."""
    pairs = [(p, value(p)) for p in points]
    return [(p, v) for p, v in pairs if v is not None and math.isfinite(v)]


def thinned(curve: list[tuple[Point, float]]) -> list[tuple[Point, float]]:
    """At most about :data:`MAX_POINTS` points, evenly chosen, the last one kept."""
    stride = -(-len(curve) // MAX_POINTS)
    return curve if stride <= 1 else [*curve[:-1:stride], curve[-1]]


def _objective(point: Point) -> float | None:
    return point.objective


def _load_columns(loads: Sequence[WorkerLoad]) -> dict[str, list[Any]]:
    names = short_names(w.worker for w in loads)
    data: dict[str, list[Any]] = {
        "worker": [names[w.worker] for w in loads],
        "rows": [w.rows for w in loads],
        "size": [w.nbytes for w in loads],
        "nbytes_text": [nbytes(w.nbytes) for w in loads],
        "n_blocks": [w.n_blocks for w in loads],
    }
    totals = [w.compute + w.transfer + w.wait + w.idle or 1.0 for w in loads]
    for kind in SPENT:
        spent = [getattr(w, kind) for w in loads]
        data[kind] = spent
        data[f"{kind}_text"] = [seconds(s) for s in spent]
        data[f"{kind}_share"] = [s / t for s, t in zip(spent, totals, strict=True)]
    return data


def _dot_columns() -> dict[str, list[Any]]:
    names = ("round", "value", "value_text", "fit", "name", "seconds_text", "color")
    return {name: [] for name in names}


def _append(dots: dict[str, list[Any]], fit: FitRecord, point: Point, value: float) -> None:
    dots["round"].append(point.round)
    dots["value"].append(value)
    dots["value_text"].append(f"{value:.6g}")
    dots["fit"].append(fit.label)
    dots["name"].append(point.name)
    dots["seconds_text"].append(seconds(point.seconds))
    dots["color"].append(colour(fit))


def _grid(cells: list[Any]) -> Any:
    return models.GridBox(children=cells, sizing_mode="stretch_width", spacing=12)


def _legend(items: list[Any], orientation: str) -> Any:
    return models.Legend(
        items=items,
        orientation=orientation,
        border_line_color=None,
        background_fill_alpha=0.0,
        label_text_font_size="12px",
        padding=2,
        spacing=8,
    )


def _legend_above(fig: Any, items: list[Any]) -> None:
    legend = _legend(items, "horizontal")
    legend.location = "left"
    fig.add_layout(legend, "above")


def _figure(title: str, *, height: int, **options: Any) -> Any:
    fig = figure(
        title=title,
        height=height,
        min_width=240,
        sizing_mode="stretch_width",
        tools=_TOOLS,
        toolbar_location="above",
        **options,
    )
    fig.toolbar.logo = None
    fig.toolbar.autohide = True
    fig.outline_line_color = None
    fig.title.text_font_size = "14px"
    fig.axis.axis_label_text_font_style = "normal"
    fig.axis.axis_label_text_font_size = "12px"
    fig.axis.major_label_text_font_size = "12px"
    fig.axis.minor_tick_line_color = None
    fig.grid.grid_line_color = "#E8E8E8"
    return fig
