"""Bars: how each worker spent its seconds and what it holds, and what fits and rounds spent theirs on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bokeh.core.properties import without_property_validation

from daskml_kit.dashboard.aggregate import CriticalPath, FitRecord
from daskml_kit.dashboard.figures import (
    bar_height,
    beside,
    figure,
    label_size,
    legend_above,
    models,
)
from daskml_kit.dashboard.loads import WorkerLoad, folded, short_names
from daskml_kit.dashboard.look import LIGHT, Look
from daskml_kit.dashboard.tail import path_of_rounds
from daskml_kit.dashboard.units import byte_unit, count, count_unit, nbytes, rate, seconds

PATH = ("compute", "transfer", "driver")
_PATH_NAMES = ("slowest worker computes", "messages", "driver")

_BAR = {"y": "worker", "height": 0.72}
_SPENT_TOOLTIPS = [
    ("worker", "@worker, @threads threads"),
    *(
        (kind, f"@{kind}_text (@{kind}_share{{0 %}})")
        for kind in ("compute", "transfer", "wait", "idle")
    ),
]
_HELD_TOOLTIPS = [
    ("worker", "@worker"),
    ("rows", "@rows{0,0} in @n_blocks{0,0} blocks"),
    ("data", "@nbytes_text"),
    ("memory", "@memory_text of @limit_text"),
    ("on disk", "@spilled_text"),
    ("speed", "@speed_text"),
]


class LoadPanel:
    """Bars for each worker: its seconds, rows, memory against its limit, and measured speed."""

    def __init__(self, look: Look = LIGHT) -> None:
        self._look = look
        self._source = models.ColumnDataSource(_columns([]), name="loads")
        self._workers = models.FactorRange(factors=[], range_padding=0.05)
        self.seconds = self._figure("How each worker spent its time", "Time (seconds)")
        spent = look.spent
        drawn = self.seconds.hbar_stack(
            list(spent), **_BAR, source=self._source, color=list(spent.values()), line_color=None
        )
        self._legend(self.seconds, dict(zip(spent, drawn, strict=True)))
        self.seconds.add_tools(models.HoverTool(tooltips=_SPENT_TOOLTIPS))
        self.rows = self._held("Rows", "rows_scaled")
        self.memory = self._memory()
        self.speed = self._held("Speed", "speed_scaled")
        # Alike, so that the bars of all plots are level.
        self.root = beside({self.seconds: 3, self.rows: 1, self.memory: 2, self.speed: 1})

    @without_property_validation
    def show(self, loads: Sequence[WorkerLoad]) -> None:
        """Draw these loads, the first worker on top; of many workers, only the busiest alone."""
        bars = folded(loads)
        unit, scale = byte_unit(
            max((max(w.nbytes, w.facts.memory, w.facts.memory_limit) for w in bars), default=0)
        )
        data = _columns(bars, scale)
        height = bar_height(len(bars))
        for fig in (self.seconds, self.rows, self.memory, self.speed):
            fig.height = height
        self.seconds.yaxis.major_label_text_font_size = label_size(len(bars))
        self.memory.xaxis.axis_label = f"Memory ({unit})"
        self.rows.xaxis.axis_label = _scaled(data, "rows", "Rows")
        self.speed.xaxis.axis_label = _scaled(data, "speed", "Rows / second")
        self._workers.factors = data["worker"][::-1]
        for fig, shown in (
            (self.seconds, (w.wall for w in bars)),
            (self.rows, data["rows_scaled"]),
            (self.memory, [*data["size"], *data["spilled_to"], *filter(None, data["limit"])]),
            (self.speed, data["speed_scaled"]),
        ):
            fig.x_range.end = 1.06 * max(shown, default=0.0) or 1.0
        self._source.data = data

    def _figure(self, title: str, label: str) -> Any:
        fig = figure(title, self._look, y_range=self._workers, height=bar_height(1))
        fig.xaxis.axis_label = label
        fig.x_range = models.Range1d(0, 1)
        fig.xaxis.ticker.desired_num_ticks = 5
        fig.ygrid.grid_line_color = None
        return fig

    def _held(self, title: str, field: str) -> Any:
        fig = self._figure(title, title)
        drawn = fig.hbar(
            **_BAR, right=field, source=self._source, color=self._look.held, line_color=None
        )
        self._legend(fig, {"held now" if title == "Rows" else "measured": drawn})
        return self._beside(fig)

    def _memory(self) -> Any:
        look, source = self._look, self._source
        fig = self._figure("Memory", "Memory")
        process = fig.hbar(
            **_BAR, right="memory", source=source, color=look.held, alpha=0.35, line_color=None
        )
        bar = {"y": "worker", "height": 0.36, "source": source, "line_color": None}
        data = fig.hbar(right="size", color=look.held, **bar)
        spilled = fig.hbar(left="memory", right="spilled_to", color=look.alarm, **bar)
        limit = fig.scatter(
            "limit", "worker", marker="dash", angle=1.5708, size=16, line_width=2, color=look.ink,
            source=source,
        )  # fmt: skip
        items = {"data": data, "process": process, "limit": limit, "on disk": spilled}
        self._legend(fig, items)
        return self._beside(fig)

    def _beside(self, fig: Any) -> Any:
        fig.yaxis.visible = False
        fig.xaxis.ticker.desired_num_ticks = 3
        fig.add_tools(models.HoverTool(tooltips=_HELD_TOOLTIPS))
        return fig

    def _legend(self, fig: Any, drawn: dict[str, Any]) -> None:
        items = [models.LegendItem(label=k, renderers=[r]) for k, r in drawn.items()]
        legend_above(fig, items, self._look)


class PathPanel:
    """One bar a fit: the shares of compute, transfer and the driver along the critical path."""

    def __init__(self, look: Look = LIGHT) -> None:
        self._source = models.ColumnDataSource(_path_columns([]), name="path")
        self._fits = models.FactorRange(factors=[], range_padding=0.05)
        title = "Critical path: what each fit's time goes to"
        self.root = figure(title, look, y_range=self._fits, height=bar_height(1), x_range=(0, 1))
        self.root.xaxis.axis_label = "Share of the fit's time"
        self.root.xaxis.formatter = models.NumeralTickFormatter(format="0 %")
        self.root.ygrid.grid_line_color = None
        colours = [look.compute, look.transfer, look.wait]
        drawn = self.root.hbar_stack(
            PATH, y="fit", height=0.72, source=self._source, color=colours, line_color=None
        )
        _explain_path(self.root, drawn, look, ("fit", "@fit"))

    @without_property_validation
    def show(self, fits: Sequence[FitRecord]) -> None:
        """Draw these fits, the first on top."""
        data = _path_columns(fits)
        self.root.height = bar_height(len(fits))
        self._fits.factors = data["fit"][::-1]
        self._source.data = data


class RoundPathPanel:
    """One bar a round, or a few rounds: the same shares, so that one sees when they change."""

    def __init__(self, look: Look = LIGHT) -> None:
        self._source = models.ColumnDataSource(_round_path_columns([]), name="path of rounds")
        self.root = figure("", look, height=230, y_range=(0, 1))
        self.root.yaxis.axis_label = "Share of the time"
        self.root.yaxis.formatter = models.NumeralTickFormatter(format="0 %")
        self.root.xaxis.axis_label = "Round"
        self.root.xgrid.grid_line_color = None
        drawn = self.root.vbar_stack(
            PATH, x="middle", width="width", source=self._source, line_color=None,
            color=[look.compute, look.transfer, look.wait],
        )  # fmt: skip
        _explain_path(self.root, drawn, look, ("round", "@rounds"))

    @without_property_validation
    def show(self, fits: Sequence[FitRecord]) -> None:
        """Draw the last of these fits."""
        self.root.title.text = "Critical path of each round"
        if fits:
            self.root.title.text += f" of {fits[-1].label}"
        self._source.data = _round_path_columns(fits[-1:])


def _explain_path(fig: Any, drawn: Sequence[Any], look: Look, of: tuple[str, str]) -> None:
    items = [
        models.LegendItem(label=n, renderers=[r]) for n, r in zip(_PATH_NAMES, drawn, strict=True)
    ]
    legend_above(fig, items, look)
    tips = [of, *((k, f"@{k}_text (@{k}{{0 %}})") for k in PATH)]
    fig.add_tools(models.HoverTool(tooltips=tips))


def _scaled(data: dict[str, list[Any]], field: str, label: str) -> str:
    """Add a column in the unit that suits it; the label of its axis."""
    unit, scale = count_unit(max(data[field], default=0))
    data[f"{field}_scaled"] = [value / scale for value in data[field]]
    return f"{label} ({unit})" if unit else label


def _path_columns(fits: Sequence[FitRecord]) -> dict[str, list[Any]]:
    return {"fit": [fit.label for fit in fits], **_shares([fit.critical_path for fit in fits])}


def _round_path_columns(fits: Sequence[FitRecord]) -> dict[str, list[Any]]:
    groups = [group for fit in fits for group in path_of_rounds(fit)]
    return {
        **_shares([g.path for g in groups]),
        "middle": [(g.first + g.last) / 2 for g in groups],
        "width": [g.last - g.first + 0.9 for g in groups],
        "rounds": [str(g.first) if g.first == g.last else f"{g.first}-{g.last}" for g in groups],
    }


def _shares(paths: Sequence[CriticalPath]) -> dict[str, list[Any]]:
    data: dict[str, list[Any]] = {}
    for i, kind in enumerate(PATH):
        data[kind] = [path.shares[i] for path in paths]
        data[f"{kind}_text"] = [seconds(getattr(path, kind)) for path in paths]
    return data


def _columns(loads: Sequence[WorkerLoad], scale: float = 1.0) -> dict[str, list[Any]]:
    names = short_names(w.worker for w in loads)
    facts = [w.facts for w in loads]
    data: dict[str, list[Any]] = {
        "worker": [names[w.worker] for w in loads],
        "threads": [f.threads for f in facts],
        "rows": [w.rows for w in loads],
        "n_blocks": [w.n_blocks for w in loads],
        "size": [w.nbytes / scale for w in loads],
        "nbytes_text": [nbytes(w.nbytes) for w in loads],
        "memory": [f.memory / scale for f in facts],
        "memory_text": [nbytes(f.memory) if f.memory else "unknown" for f in facts],
        "limit": [f.memory_limit / scale if f.memory_limit else None for f in facts],
        "limit_text": [nbytes(f.memory_limit) if f.memory_limit else "no limit" for f in facts],
        "spilled_to": [(f.memory + f.spilled) / scale for f in facts],
        "spilled_text": [nbytes(f.spilled) for f in facts],
        "rows_scaled": [w.rows for w in loads],
        "speed_scaled": [w.rows_per_second for w in loads],
        "speed": [w.rows_per_second for w in loads],
        "speed_text": [f"{rate(w.rows_per_second)} ({count(w.rows_read)} rows)" for w in loads],
    }
    totals = [w.wall or 1.0 for w in loads]
    for kind in ("compute", "transfer", "wait", "idle"):
        spent = [getattr(w, kind) for w in loads]
        data[kind] = spent
        data[f"{kind}_text"] = [seconds(s) for s in spent]
        data[f"{kind}_share"] = [s / t for s, t in zip(spent, totals, strict=True)]
    return data
