"""A round's task graph as a picture: left to right by depth, coloured by worker. Plain SVG.

Dask's own ``visualize`` needs Graphviz's ``dot`` program; a round's graph has few levels, so drawing it
by depth is enough, and shows what ``dot`` would not: the worker that each task is pinned to.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

_HEX = re.compile(r"-[0-9a-f]{32}")
_WIDTH, _HEIGHT = 132, 26  # of a box, in pixels
_GAP_X, _GAP_Y = 56, 12
_MARGIN = 16
_COLOURS = ("#4477AA", "#EE6677", "#228833", "#CCBB44", "#66CCEE", "#AA3377")  # Tol, bright
_UNPINNED = "#8A8A8A"
_DRIVER = "#333333"
_MOST_NODES = 400


@dataclass(frozen=True)
class Node:
    """One task or one input: what it is called, what it needs, where it runs."""

    label: str
    needs: tuple[str, ...]  # names of nodes
    worker: str | None = None
    is_data: bool = False  # an input that exists already, not a task


@dataclass(frozen=True)
class Drawing:
    """The skeleton of a task graph; shows itself in a notebook, or saves itself as SVG."""

    title: str
    nodes: Mapping[str, Node] = field(repr=False)

    def _repr_svg_(self) -> str:
        return self.svg()

    def save(self, path: str | Path) -> Path:
        """Write the picture as an ``.svg`` file and return its path."""
        path = Path(path)
        path.write_text(self.svg(), encoding="utf-8")
        return path

    def levels(self) -> list[list[str]]:
        """Names of the nodes by depth: the longest way to an input."""
        depth: dict[str, int] = {}
        for name in self.nodes:
            self._measure(name, depth)
        out: list[list[str]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
        for name, at in depth.items():
            out[at].append(name)
        return out

    def _measure(self, name: str, depth: dict[str, int]) -> None:
        stack = [name]
        while stack:
            top = stack[-1]
            waiting = [n for n in self.nodes[top].needs if n not in depth]
            if waiting:
                stack.extend(waiting)
                continue
            needs = self.nodes[top].needs
            depth[top] = 1 + max((depth[n] for n in needs), default=-1)
            stack.pop()

    def svg(self) -> str:
        """The picture as SVG text."""
        if len(self.nodes) > _MOST_NODES:
            return _page(
                420, 40, [_text(12, 25, f"{len(self.nodes)} tasks: too many to draw", "#333")]
            )
        levels = self.levels()
        tallest = max((len(level) for level in levels), default=0)
        height = tallest * (_HEIGHT + _GAP_Y)
        place: dict[str, tuple[float, float]] = {}
        for x, level in enumerate(levels):
            step = height / len(level)
            for y, name in enumerate(level):
                left = _MARGIN + x * (_WIDTH + _GAP_X)
                place[name] = (left, 2 * _MARGIN + 8 + step * (y + 0.5) - _HEIGHT / 2)
        colours = self._colours()
        shapes = [_text(_MARGIN, _MARGIN + 4, self.title, "#333", bold=True)]
        shapes += [
            _arrow(place[n], place[name]) for name, node in self.nodes.items() for n in node.needs
        ]
        shapes += [_box(place[name], node, colours) for name, node in self.nodes.items()]
        shapes += _legend(colours, 2 * _MARGIN + 20 + height)
        width = max(2 * _MARGIN + len(levels) * (_WIDTH + _GAP_X) - _GAP_X, 420)
        return _page(width, 3 * _MARGIN + 24 + height + 18 * len(colours), shapes)

    def _colours(self) -> dict[str, str]:
        workers = dict.fromkeys(n.worker for n in self.nodes.values() if n.worker)
        workers.pop("driver", None)
        colours = {str(w): _COLOURS[i % len(_COLOURS)] for i, w in enumerate(workers)}
        return {**colours, "driver": _DRIVER}


def short(key: object, drop: str = "") -> str:
    """A task key as a reader wants it: without the package's prefix, ``drop`` and the random part."""
    name, *position = key if isinstance(key, tuple) else (key,)
    words = _HEX.sub("", str(name)).removeprefix("daskml-").removeprefix(f"{drop}-")
    return " ".join([words, *(str(p) for p in position)])


def _page(width: float, height: float, shapes: list[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="sans-serif" font-size="11">'
        '<rect width="100%" height="100%" fill="white"/>'
    )
    return head + "".join(shapes) + "</svg>"


def _text(x: float, y: float, words: str, fill: str, *, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{fill}"{weight}>{escape(words)}</text>'


def _box(at: tuple[float, float], node: Node, colours: Mapping[str, str]) -> str:
    x, y = at
    colour = colours.get(node.worker or "", _UNPINNED)
    fill, ink = ("white", colour) if node.is_data else (colour, "white")
    label = node.label if len(node.label) <= 21 else node.label[:9] + "…" + node.label[-11:]
    return (
        f"<g><title>{escape(node.label)} on {escape(node.worker or 'any worker')}</title>"
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{_WIDTH}" height="{_HEIGHT}" rx="5" fill="{fill}" '
        f'stroke="{colour}" stroke-width="1.5"/>{_text(x + 8, y + 17, label, ink)}</g>'
    )


def _arrow(start: tuple[float, float], end: tuple[float, float]) -> str:
    x0, y0 = start[0] + _WIDTH, start[1] + _HEIGHT / 2
    x1, y1 = end[0], end[1] + _HEIGHT / 2
    bend = max((x1 - x0) / 2, 12)
    curve = (
        f"M{x0:.1f},{y0:.1f} C{x0 + bend:.1f},{y0:.1f} {x1 - bend:.1f},{y1:.1f} {x1:.1f},{y1:.1f}"
    )
    return f'<path d="{curve}" fill="none" stroke="#BBBBBB"/>'


def _legend(colours: Mapping[str, str], top: float) -> list[str]:
    shapes = []
    for i, (worker, colour) in enumerate(colours.items()):
        y = top + 18 * i
        shapes.append(f'<rect x="{_MARGIN}" y="{y:.1f}" width="12" height="12" fill="{colour}"/>')
        words = "on the driver" if worker == "driver" else f"pinned to {worker}"
        shapes.append(_text(_MARGIN + 18, y + 10, words, "#333"))
    return shapes


__all__ = ["Drawing", "Node", "short"]
