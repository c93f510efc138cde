"""The frame that all plots share: a figure in a look, legends, and parts of a page beside each other.

:mod:`bars`, :mod:`curves` and :mod:`strip` draw in it. Each of their panels owns its models and has one
method, ``show``, that fills them: the report calls it once, the live page whenever something is new, so it
does without Bokeh's validation, which takes most of its time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import bokeh.models
import bokeh.plotting

from daskml_kit.dashboard.aggregate import FitRecord
from daskml_kit.dashboard.look import Look
from daskml_kit.dashboard.text import framed

models: Any = bokeh.models  # Bokeh's own type hints know only some of its names

_TOOLS = "pan,xwheel_zoom,box_zoom,reset,save"


def colour(fit: FitRecord, look: Look) -> str:
    """The fit's own colour in every plot."""
    return look.lines[fit.order % len(look.lines)]


def figure(title: str, look: Look, *, height: int, **options: Any) -> Any:
    """An empty figure."""
    make: Any = bokeh.plotting.figure
    fig = make(
        title=title,
        height=height,
        min_width=100,
        sizing_mode="stretch_width",
        tools=_TOOLS,
        toolbar_location="above",
        **options,
    )
    fig.toolbar.logo = None
    fig.toolbar.autohide = True
    fig.outline_line_color = None
    fig.background_fill_color = fig.border_fill_color = look.ground
    fig.title.text_font_size = "14px"
    fig.title.text_color = look.ink
    fig.axis.axis_label_text_font_style = "normal"
    fig.axis.axis_label_text_font_size = "12px"
    fig.axis.major_label_text_font_size = "12px"
    fig.axis.axis_label_text_color = fig.axis.major_label_text_color = look.ink
    fig.axis.axis_line_color = fig.axis.major_tick_line_color = look.faint
    fig.axis.minor_tick_line_color = None
    fig.grid.grid_line_color = look.grid
    return fig


def legend(items: list[Any], orientation: str, look: Look) -> Any:
    """A legend without a box."""
    return models.Legend(
        items=items,
        orientation=orientation,
        border_line_color=None,
        background_fill_alpha=0.0,
        label_text_font_size="12px",
        label_text_color=look.ink,
        padding=2,
        spacing=8,
    )


def legend_above(fig: Any, items: list[Any], look: Look) -> None:
    """A legend in one line between the title and the plot."""
    made = legend(items, "horizontal", look)
    made.location = "left"
    fig.add_layout(made, "above")


def bar_height(n: int) -> int:
    """Height in pixels of a plot of ``n`` bars: bars get thinner before the plot gets endless."""
    return round(110 + n * min(30.0, max(9.0, 700 / max(n, 1))))


def label_size(n: int) -> str:
    """Size of the labels beside ``n`` bars."""
    return "12px" if n <= 40 else "8px"


def panels(figures: Sequence[Any], across: int = 3) -> Any:
    """Figures side by side, ``across`` in a row; fewer figures get wider."""
    across = min(across, max(len(figures), 1))
    return grid([(fig, i // across, i % across, 1, 1) for i, fig in enumerate(figures)])


def beside(parts: Mapping[Any, int]) -> Any:
    """Parts in one row that share its width in these proportions."""
    cells = [(part, 0, i, 1, 1) for i, part in enumerate(parts)]
    made = grid(cells)
    made.cols = [f"minmax(0, {width}fr)" for width in parts.values()]
    return made


def grid(cells: list[Any]) -> Any:
    """Parts in a grid: (part, row, column, rows, columns) each."""
    return models.GridBox(children=cells, sizing_mode="stretch_width", spacing=12)


def stacked(*parts: Any) -> Any:
    """Parts below each other."""
    return models.Column(children=list(parts), sizing_mode="stretch_width")


def words(look: Look, html: str = "") -> Any:
    """Text among plots; set its ``text`` to something that :func:`~text.framed` made."""
    return models.Div(text=framed(html), stylesheets=[look.css], sizing_mode="stretch_width")
