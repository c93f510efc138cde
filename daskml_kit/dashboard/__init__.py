"""Who did how much: a live page on the scheduler's dashboard, a widget, and a standalone report of a run.

Importing this loads no Bokeh; using a name does.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from daskml_kit.dashboard.picture import load_picture
    from daskml_kit.dashboard.report import write_report
    from daskml_kit.dashboard.server import install
    from daskml_kit.dashboard.widget import Widget

_HOMES = {
    "Widget": "widget",
    "install": "server",
    "load_picture": "picture",
    "write_report": "report",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["Widget", "install", "load_picture", "write_report"]
