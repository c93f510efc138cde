"""The last rounds, worker by worker: one row a worker, one box a task, so that a straggler is seen.

The place of a box is its start on the worker's clock, moved into its round on the driver's clock where the
two disagree; its length is measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bokeh.core.properties import without_property_validation

from daskml_kit.dashboard.aggregate import FitRecord
from daskml_kit.dashboard.figures import (
    bar_height,
    colour,
    figure,
    label_size,
    legend_above,
    models,
)
from daskml_kit.dashboard.loads import short_names
from daskml_kit.dashboard.look import LIGHT, Look
from daskml_kit.dashboard.tail import busiest, last_rounds, placed
from daskml_kit.dashboard.units import count, seconds
from daskml_kit.runtime.events import RoundEvent, TaskEvent

_COLUMNS = ("worker", "left", "right", "color", "fit", "round", "took", "wait", "rows", "bundle")


class StripPanel:
    """A box for each task of the last rounds."""

    def __init__(self, look: Look = LIGHT) -> None:
        self._look = look
        self._boxes = models.ColumnDataSource({name: [] for name in _COLUMNS}, name="boxes")
        self._edges = models.ColumnDataSource({"x": []})
        self._workers = models.FactorRange(factors=[], range_padding=0.05)
        title = "The last rounds: one row a worker, one box a task"
        self.root = figure(title, look, y_range=self._workers, height=bar_height(1))
        self.root.xaxis.axis_label = "Seconds since the first of these rounds began"
        self.root.ygrid.grid_line_color = None
        self.root.xgrid.grid_line_color = None
        self.root.vspan(x="x", source=self._edges, line_color=look.grid, line_width=1)
        drawn = self.root.hbar(
            y="worker", left="left", right="right", height=0.72, source=self._boxes,
            fill_color="color", line_color=look.ground, fill_alpha=0.85,
        )  # fmt: skip
        item = models.LegendItem(label={"field": "fit"}, renderers=[drawn])
        legend_above(self.root, [item], look)
        tips = [
            ("fit", "@fit, round @round"),
            ("worker", "@worker"),
            ("took", "@took, then waited @wait"),
            ("rows", "@rows, bundle @bundle"),
        ]
        self.root.add_tools(models.HoverTool(tooltips=tips, renderers=[drawn]))

    @without_property_validation
    def show(self, fits: Sequence[FitRecord]) -> None:
        """Draw the last rounds of these fits."""
        rounds = last_rounds(fits)
        names = short_names(busiest([r for _, r in rounds]))
        workers = list(names)
        zero = min((r.started for _, r in rounds), default=0.0)
        boxes: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
        for fit, event in rounds:
            for task in event.tasks:
                if task.worker in names:
                    self._add(boxes, fit, event, task, names[task.worker], zero)
        self.root.height = bar_height(len(workers))
        self.root.yaxis.major_label_text_font_size = label_size(len(workers))
        self._workers.factors = list(names.values())[::-1]
        ends = [r.started + r.seconds - zero for _, r in rounds]
        self._edges.data = {"x": [0.0, *ends] if ends else []}
        self._boxes.data = boxes

    def _add(
        self,
        boxes: dict[str, list[Any]],
        fit: FitRecord,
        event: RoundEvent,
        task: TaskEvent,
        worker: str,
        zero: float,
    ) -> None:
        left = placed(event, task) - zero
        values = (
            worker, left, left + task.compute_seconds, colour(fit, self._look), fit.label,
            f"{event.round} ({event.name})", seconds(task.compute_seconds),
            seconds(task.wait_seconds), count(task.rows), task.bundle,
        )  # fmt: skip
        for name, value in zip(_COLUMNS, values, strict=True):
            boxes[name].append(value)


__all__ = ["StripPanel"]
