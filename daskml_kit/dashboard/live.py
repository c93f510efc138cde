"""The live page: what it shows, and when it redraws. Knows Bokeh and aggregates, not the scheduler.

::

    heading            themes; advice in words
    fits               table: rounds, objective, gradient, time left
    load               whose? [latest | all | a fit]   words, bars, numbers
    rounds             the strip: one row a worker, one box a task
    curves             over [rounds | seconds]: objective by estimator, gradient, imbalance
    critical path      a bar a fit, and a bar a round of the latest

Every :data:`INTERVAL_MS` each open page compares one number; only where it has changed, models change.
Drawing costs more the more there is to draw, so a page measures it and then rests for so long that all
open pages together take :data:`SHARE` of one core.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, ClassVar
from weakref import WeakSet

from daskml_kit.dashboard import text
from daskml_kit.dashboard.advice import advise
from daskml_kit.dashboard.aggregate import WINDOW_ROUNDS, Aggregate, FitRecord
from daskml_kit.dashboard.bars import LoadPanel, PathPanel, RoundPathPanel
from daskml_kit.dashboard.curves import (
    ROUNDS,
    SECONDS,
    CurvePanel,
    gradient_norm,
    gradient_panel,
    imbalance_panel,
    needs_log,
    objective,
    objective_panel,
)
from daskml_kit.dashboard.figures import models, panels, stacked, words
from daskml_kit.dashboard.loads import MOST_BARS, WorkerLoad, worker_loads
from daskml_kit.dashboard.look import LIGHT, LOOKS, Look
from daskml_kit.dashboard.strip import StripPanel
from daskml_kit.runtime.machines import WorkerFacts

INTERVAL_MS = 500

SHARE = 0.004
"""Of one core, for drawing. Bokeh sends what was drawn in about the same time again, and taking in the events
of 200 rounds a second takes 0.9 % (2 workers): together under 2 %."""

LONGEST_REST = 5.0  # seconds

FITS_SHOWN = 8
PANELS_SHOWN = 6
LINES_SHOWN = 4
"""Fits whose imbalance is drawn: it jumps from round to round, and more lines hide each other."""

LATEST, ALL = "Running or latest fit", "All recent fits"

NOTHING_YET = (
    "No fit has run on this cluster yet. Fit an estimator of daskml_kit on Dask-backed data with a "
    "distributed.Client active: its rounds appear here by themselves."
)
NO_OBJECTIVE = "No objective yet: it appears with the first round that reports one."


def _no_workers() -> Mapping[str, WorkerFacts]:
    return {}


@dataclass(eq=False)
class Scene:
    """What the views look at: the fits, the cluster's workers as they are now, and in which colours."""

    seen: Aggregate
    workers: Callable[[], Mapping[str, WorkerFacts]] = _no_workers
    look: Look = LIGHT
    _last: tuple[Any, list[WorkerLoad]] = (None, [])

    def loads(self, fits: Sequence[FitRecord]) -> list[WorkerLoad]:
        """The load of the workers in the last rounds of some fits; two views ask for the same."""
        asked = (self.seen.version, [fit.label for fit in fits])
        if self._last[0] != asked:
            self._last = asked, worker_loads(fits, self.workers(), window=True)
        return self._last[1]


class HeadView:
    """The way to the other theme, and the advice."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        other = next(name for name in LOOKS if name != scene.look.name)
        self._links = (
            f'<p class="note" style="float:right"><a href="?theme={other}">{other} theme</a></p>'
        )
        self.root = words(scene.look)
        self.update()

    def update(self) -> None:
        """Show what is new."""
        fits = self._scene.seen.latest()[-FITS_SHOWN:]
        found = advise(fits, self._scene.loads(fits), self._scene.workers())
        self.root.text = text.framed(f"{self._links}<h2>Load balance</h2>{text.advice_list(found)}")


class FitsView:
    """The table of recent fits."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self.root = words(scene.look)
        self.update()

    def update(self) -> None:
        """Show what is new."""
        fits = self._scene.seen.recent(FITS_SHOWN)
        table = text.fit_table(list(reversed(fits)))
        self.root.text = text.framed(f'<h2>Fits</h2><div class="scroll">{table}</div>')


class LoadView:
    """The load of the workers: words, bars and numbers, for a choice of fits."""

    def __init__(self, scene: Scene, *, choice: bool = True) -> None:
        self._scene = scene
        self._words = words(scene.look)
        self._numbers = words(scene.look)
        self._panel = LoadPanel(scene.look)
        self._choice = models.Select(
            title="Load of the workers in",
            value=LATEST,
            width=280,
            stylesheets=[scene.look.input_css],
        )
        self._choice.on_change("value", lambda attr, old, new: self.update())  # noqa: ARG005
        parts = [self._words, self._panel.root, self._numbers]
        self.root = stacked(*([self._choice, *parts] if choice else parts))
        self.update()

    def update(self) -> None:
        """Show what is new."""
        fits = self._scene.seen.recent(FITS_SHOWN)
        names = [LATEST, ALL, *(fit.label for fit in reversed(fits))]
        if self._choice.value not in names:
            self._choice.value = LATEST
        self._choice.options = names
        chosen = self._chosen(fits)
        loads = self._scene.loads(chosen)
        of = ", ".join(escape(fit.label) for fit in chosen)
        note = f"Summed over the last {WINDOW_ROUNDS} rounds of {of}."
        if len(loads) > MOST_BARS:
            note += f" Of {len(loads)} workers the busiest have bars of their own."
        self._words.text = text.framed(f'<p>{text.verdict(loads)}</p><p class="note">{note}</p>')
        self._panel.show(loads)
        self._numbers.text = text.framed(text.worker_table(loads))

    def _chosen(self, fits: Sequence[FitRecord]) -> Sequence[FitRecord]:
        if self._choice.value == LATEST:
            return self._scene.seen.latest()[-FITS_SHOWN:]
        return [fit for fit in fits if self._choice.value in (ALL, fit.label)]


class StripView:
    """The last rounds, one box a task."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._panel = StripPanel(scene.look)
        self.root = self._panel.root
        self.update()

    def update(self) -> None:
        """Show what is new."""
        self._panel.show(self._scene.seen.latest()[-FITS_SHOWN:])


class CurvesView:
    """Objective, a panel for each estimator; gradient; imbalance: a line for each fit."""

    def __init__(self, scene: Scene, *, choice: bool = True, imbalance: bool = True) -> None:
        self._scene = scene
        self._panels: dict[tuple[str, bool], CurvePanel] = {}
        self._gradient = gradient_panel(scene.look)
        self._imbalance = imbalance_panel(scene.look) if imbalance else None
        self._message = words(scene.look, text.message(NO_OBJECTIVE))
        self._over = models.RadioButtonGroup(
            labels=[f"over {ROUNDS}", f"over {SECONDS}"], active=0, width=240,
            stylesheets=[scene.look.input_css],
        )  # fmt: skip
        self._over.on_change("active", lambda attr, old, new: self.update())  # noqa: ARG005
        self._place = stacked(self._message)
        self.root = stacked(*([self._over] if choice else []), self._place)
        self.update()

    def update(self) -> None:
        """Show what is new; panels are built anew only where an estimator or a scale is new."""
        fits = self._scene.seen.recent(FITS_SHOWN)
        over = SECONDS if self._over.active else ROUNDS
        wanted = self._wanted(fits)
        descending = [fit for fit in fits if any(map(gradient_norm, fit.points))]
        shown = {
            key: self._panels.get(key) or objective_panel(own, key[0], self._scene.look)
            for key, own in wanted.items()
        }
        roots = [panel.root for panel in shown.values()] or [self._message]
        roots += [self._gradient.root] if descending else []
        roots += [self._imbalance.root] if self._imbalance is not None else []
        if list(shown) != list(self._panels) or len(roots) != self._count():
            self._place.children = [panels(roots, across=2)]
        self._panels = shown
        for key, own in wanted.items():
            shown[key].show(own, over)
        self._gradient.show(descending, over)
        if self._imbalance is not None:
            self._imbalance.show(self._scene.seen.recent(LINES_SHOWN), over)

    def _count(self) -> int:
        inside = self._place.children[0]
        return len(inside.children) if isinstance(inside, models.GridBox) else 0

    def _wanted(self, fits: Sequence[FitRecord]) -> dict[tuple[str, bool], list[FitRecord]]:
        groups: dict[str, list[FitRecord]] = {}
        for fit in fits:
            if fit.curve:
                groups.setdefault(fit.estimator, []).append(fit)
        last = list(groups.items())[-PANELS_SHOWN:]
        return {(name, needs_log(own, objective)): own for name, own in last}


class ImbalanceView:
    """Imbalance over rounds, one line a fit."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._panel = imbalance_panel(scene.look)
        self.root = self._panel.root
        self.update()

    def update(self) -> None:
        """Show what is new."""
        self._panel.show(self._scene.seen.recent(LINES_SHOWN))


class PathView:
    """Compute, messages and driver as shares of each fit's time, and of each round of the latest fit."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._fits, self._rounds = PathPanel(scene.look), RoundPathPanel(scene.look)
        self.root = panels([self._fits.root, self._rounds.root], across=2)
        self.update()

    def update(self) -> None:
        """Show what is new."""
        self._fits.show(list(reversed(self._scene.seen.recent(FITS_SHOWN))))
        self._rounds.show(self._scene.seen.latest())


class Page:
    """Some views below each other; a friendly message until the first event arrives.

    Parameters
    ----------
    scene : what the views look at
    views : classes of the views, from the top
    """

    _open: ClassVar[WeakSet[Page]] = WeakSet()

    def __init__(self, scene: Scene, views: Sequence[Callable[[Scene], Any]]) -> None:
        self._scene = scene
        self._make = views
        self._views: list[Any] = []
        self._version = -1
        self._rests_until = 0.0
        self.root = stacked(words(scene.look, text.message(NOTHING_YET)))
        self.root.stylesheets = [models.GlobalInlineStyleSheet(css=scene.look.page_css)]
        self._open.add(self)
        self.update()

    def update(self) -> None:
        """Redraw if there was an event since the last time, and the page is within its share."""
        seen = self._scene.seen
        if self._version == seen.version or time.monotonic() < self._rests_until:
            return
        self._version = seen.version
        if not self._views:
            self._build()
            return  # happens once; the next event is drawn at once
        begun = time.thread_time()
        for view in self._views:
            view.update()
        self._rests_until = time.monotonic() + rest(time.thread_time() - begun, len(self._open))

    def _build(self) -> None:
        if self._scene.seen.fits:
            self._views = [make(self._scene) for make in self._make]
            self.root.children = [view.root for view in self._views]


def rest(cost: float, n_pages: int) -> float:
    """Seconds until a page that took ``cost`` may draw again, so that all stay within their share.

    >>> rest(0.008, 2)
    4.0
    >>> rest(1.0, 2)  # a first drawing, or a busy machine: a page is live all the same
    5.0
    """
    return min(cost * n_pages / SHARE, LONGEST_REST)


def load_only(scene: Scene) -> Any:
    """The load without the choice of fits, for a small pane."""
    return LoadView(scene, choice=False)


def objective_only(scene: Scene) -> Any:
    """The curves without imbalance and without the choice of the axis, for a small pane."""
    return CurvesView(scene, choice=False, imbalance=False)


PAGE = (HeadView, FitsView, LoadView, StripView, CurvesView, PathView)
PANE = (HeadView, load_only, StripView)
