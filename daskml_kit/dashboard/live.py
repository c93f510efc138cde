"""The live page: what it shows, and when it redraws. Knows Bokeh and aggregates, not the scheduler.

::

    heading, note
    fits               table
    objective          one panel an estimator, a line a fit
    load               whose? [latest | all | a fit]   words, bars, table
    imbalance          a line a fit

Every :data:`INTERVAL_MS` each open page compares one number; only where it has changed, models change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import Any

from daskml_kit.dashboard import text
from daskml_kit.dashboard.aggregate import WINDOW_ROUNDS, Aggregate, FitRecord, worker_loads
from daskml_kit.dashboard.figures import (
    CurvePanel,
    LoadPanel,
    imbalance_panel,
    models,
    objective_log,
    objective_panel,
    panels,
    stacked,
    words,
)

INTERVAL_MS = 500

FITS_SHOWN = 8
PANELS_SHOWN = 6

LATEST, ALL = "Running or latest fit", "All recent fits"

NOTHING_YET = (
    "No fit has run on this cluster yet. Fit an estimator of daskml_kit on Dask-backed data with a "
    "distributed.Client active: its rounds appear here by themselves."
)
NO_OBJECTIVE = "No objective yet: it appears with the first round that reports one."


class LoadView:
    """The load of the workers: words, bars and numbers, for a choice of fits."""

    def __init__(self, seen: Aggregate, *, choice: bool = True) -> None:
        self._seen = seen
        self._words = words()
        self._numbers = words()
        self._panel = LoadPanel(idle=False)
        self._choice = models.Select(title="Load of the workers in", value=LATEST, width=280)
        self._choice.on_change("value", lambda attr, old, new: self.update())  # noqa: ARG005
        parts = [self._words, self._panel.root, self._numbers]
        self.root = stacked(*([self._choice, *parts] if choice else parts))
        self.update()

    def update(self) -> None:
        """Show what is new."""
        fits = self._seen.recent(FITS_SHOWN)
        names = [LATEST, ALL, *(fit.label for fit in reversed(fits))]
        if self._choice.value not in names:
            self._choice.value = LATEST
        self._choice.options = names
        chosen = self._chosen(fits)
        loads = worker_loads(chosen, window=True)
        of = ", ".join(escape(fit.label) for fit in chosen)
        self._words.text = text.framed(
            f"<p>{text.verdict(loads)}</p>"
            f'<p class="note">Summed over the last {WINDOW_ROUNDS} rounds of {of}.</p>'
        )
        self._panel.show(loads)
        self._numbers.text = text.framed(text.worker_table(loads, idle=False))

    def _chosen(self, fits: Sequence[FitRecord]) -> Sequence[FitRecord]:
        if self._choice.value == LATEST:
            return self._seen.latest()[-FITS_SHOWN:]
        return [fit for fit in fits if self._choice.value in (ALL, fit.label)]


class ObjectiveView:
    """Objective over rounds: a panel for each estimator, a line for each of its fits."""

    def __init__(self, seen: Aggregate) -> None:
        self._seen = seen
        self._panels: dict[tuple[str, bool], CurvePanel] = {}
        self._message = words(text.message(NO_OBJECTIVE))
        self.root = stacked(self._message)
        self.update()

    def update(self) -> None:
        """Show what is new; panels are built anew only where an estimator or a scale is new."""
        groups: dict[str, list[FitRecord]] = {}
        for fit in self._seen.recent(FITS_SHOWN):
            if fit.curve:
                groups.setdefault(fit.estimator, []).append(fit)
        wanted = {
            (name, objective_log(fits)): fits for name, fits in list(groups.items())[-PANELS_SHOWN:]
        }
        if list(wanted) != list(self._panels):
            self._panels = {
                key: self._panels.get(key) or objective_panel(fits, key[0])
                for key, fits in wanted.items()
            }
            roots = [panel.root for panel in self._panels.values()]
            self.root.children = [panels(roots, across=2)] if roots else [self._message]
        for key, fits in wanted.items():
            self._panels[key].show(fits)


class ImbalanceView:
    """Imbalance over rounds, one line a fit."""

    def __init__(self, seen: Aggregate) -> None:
        self._seen = seen
        self._panel = imbalance_panel()
        self.root = self._panel.root
        self.update()

    def update(self) -> None:
        """Show what is new."""
        self._panel.show(self._seen.recent(FITS_SHOWN))


class FitsView:
    """The table of recent fits."""

    def __init__(self, seen: Aggregate) -> None:
        self._seen = seen
        self.root = words()
        self.update()

    def update(self) -> None:
        """Show what is new."""
        fits = self._seen.recent(FITS_SHOWN)
        self.root.text = text.framed(f"<h2>Fits</h2>{text.fit_table(list(reversed(fits)))}")


class Page:
    """Some views below each other; a friendly message until the first event arrives.

    Parameters
    ----------
    seen : the aggregate that the scheduler's plugin fills
    views : classes of the views, from the top
    """

    def __init__(self, seen: Aggregate, views: Sequence[Callable[[Aggregate], Any]]) -> None:
        self._seen = seen
        self._make = views
        self._views: list[Any] = []
        self._version = -1
        self.root = stacked(words(text.message(NOTHING_YET)))
        self.update()

    def update(self) -> None:
        """Redraw if there was an event since the last time."""
        if self._version == self._seen.version:
            return
        self._version = self._seen.version
        if self._views:
            for view in self._views:
                view.update()
        elif self._seen.fits:
            self._views = [make(self._seen) for make in self._make]
            self.root.children = [view.root for view in self._views]


def load_only(seen: Aggregate) -> LoadView:
    """The load without the choice of fits, for a small pane."""
    return LoadView(seen, choice=False)


PAGE = (FitsView, LoadView, ObjectiveView, ImbalanceView)
