"""One HTML file that says how a run went, readable anywhere, without a network."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping, Sequence
from html import escape
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from bokeh.embed import file_html
from bokeh.resources import INLINE

from daskml_kit.dashboard import text
from daskml_kit.dashboard.advice import advise
from daskml_kit.dashboard.aggregate import Aggregate, FitRecord
from daskml_kit.dashboard.bars import LoadPanel, PathPanel, RoundPathPanel
from daskml_kit.dashboard.curves import (
    finite,
    gradient_norm,
    gradient_panel,
    imbalance_panel,
    objective,
    objective_panel,
)
from daskml_kit.dashboard.figures import models, panels, stacked, words
from daskml_kit.dashboard.loads import natural, worker_loads
from daskml_kit.dashboard.look import LIGHT
from daskml_kit.dashboard.strip import StripPanel
from daskml_kit.dashboard.units import count, nbytes, seconds
from daskml_kit.exceptions import InvalidParameterError
from daskml_kit.runtime.events import Run
from daskml_kit.runtime.machines import WorkerFacts

MAX_PANELS = 12
"""Fits that get a loss panel of their own; the table lists all."""

MAX_TABS = 4
"""Fits that get a tab of their own under the load of the workers."""

MAX_LINES = 24
"""Fits whose imbalance is drawn."""

NO_FIT = "No fit ran while this run was recorded, so there is no load to show."

_PACKAGES = ("dask", "distributed", "numpy", "scipy", "scikit-learn", "numba", "bokeh")

_PAGE = """
{% block postamble %}
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
{{ style }}
body { background: #fafafa; height: auto; }
main { max-width: 1500px; margin: 0 auto; padding: 20px 28px 40px; }
h1 { font-size: 22px; margin: 0 0 2px; }
.dk .facts td { text-align: left; }
</style>
{% endblock %}
{% block contents %}
<main class="dk">
<h1>{{ title }}</h1>
<p class="note">{{ subtitle }}</p>
{% for section in sections %}
<section>
<h2>{{ section.title }}</h2>
{{ section.html }}
{% if section.root %}{{ embed(roots[section.root]) }}{% endif %}
</section>
{% endfor %}
</main>
{% endblock %}
"""


def write_report(run: Run, path: str | os.PathLike[str]) -> Path:
    """Write a run as one standalone HTML file.

    Loss curves, the load of each worker, imbalance, and what it ran on; scripts and data are inside.

    Parameters
    ----------
    run : what ``with daskml_kit.record() as run:`` recorded
    path : the file to write; one that exists is replaced, once the new one is complete

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    InvalidParameterError
        If the path is a folder, or its folder does not exist. Nothing is written then.
    """
    target = Path(path)
    if target.is_dir():
        raise InvalidParameterError(
            f"path={str(target)!r} is a folder. Name a file in it, for example report.html."
        )
    if not target.parent.is_dir():
        raise InvalidParameterError(
            f"path={str(target)!r}: the folder {str(target.parent)!r} does not exist. Create it first."
        )
    _replace(target, render(run))
    return target


def render(run: Run) -> str:
    """The report's HTML."""
    seen = Aggregate(max_fits=None, max_points=None)
    seen.extend(list(run.events))
    page = _Page()
    if seen.fits:
        _fill(page, seen.fits, run.workers)
    else:
        page.add("Fits", "", words(LIGHT, text.message(NO_FIT)))
    page.add("Environment", _environment(seen.fits, run.workers))
    return page.html("daskml_kit: report of a run", _subtitle(seen.fits))


class _Page:
    """Sections of HTML, some with a Bokeh model below the text."""

    def __init__(self) -> None:
        self._sections: list[dict[str, str | None]] = []
        self._roots: list[Any] = []

    def add(self, title: str, html: str, root: Any = None) -> None:
        name = None
        if root is not None:
            root.name = name = f"section{len(self._roots)}"
            self._roots.append(root)
        self._sections.append({"title": title, "html": html, "root": name})

    def html(self, title: str, subtitle: str) -> str:
        variables = {"sections": self._sections, "style": LIGHT.css, "subtitle": subtitle}
        page: str = file_html(
            self._roots,
            INLINE,
            title,
            template="{% from macros import embed %}" + _PAGE,
            template_variables=variables,
        )
        return page


def _fill(page: _Page, fits: Sequence[FitRecord], workers: Mapping[str, WorkerFacts]) -> None:
    page.add("Fits", f'<div class="scroll">{text.fit_table(fits)}</div>{_legend_of_terms()}')
    busy = [fit for fit in fits if fit.n_rounds]
    loads = worker_loads(fits, workers)
    if busy:
        page.add("Advice", text.advice_list(advise(fits, loads, workers)))
    _add_objectives(page, [fit for fit in fits if finite(fit.curve, objective)])
    descending = [fit for fit in fits if any(map(gradient_norm, fit.points))][:MAX_LINES]
    if descending:
        page.add("Gradient", "", _shown(gradient_panel(), descending))
    if not busy:
        page.add("Load of the workers", "", words(LIGHT, text.message("No round has ended yet.")))
        return
    load = f'<p>{text.verdict(loads)}</p><div class="scroll">{text.worker_table(loads)}</div>'
    page.add("Load of the workers", load, _loads(fits, workers))
    page.add(
        "Critical path",
        _cut(len(busy), MAX_LINES, "drawn"),
        stacked(_shown(PathPanel(), busy[:MAX_LINES]), _per_fit(busy[:MAX_TABS], RoundPathPanel)),
    )
    page.add(
        "Imbalance",
        _cut(len(fits), MAX_LINES, "drawn"),
        _shown(imbalance_panel(), fits[:MAX_LINES]),
    )
    page.add("Last rounds", "", _per_fit(busy[:MAX_TABS], StripPanel))


def _add_objectives(page: _Page, fits: Sequence[FitRecord]) -> None:
    if not fits:
        nothing = words(LIGHT, text.message("None of these fits reports an objective."))
        page.add("Objective", "", nothing)
        return
    shown = fits[:MAX_PANELS]
    figures = [
        _shown(objective_panel([fit], fit.label, legend_shown=False), [fit]) for fit in shown
    ]
    page.add("Objective", _cut(len(fits), MAX_PANELS, "drawn"), panels(figures))


def _shown(panel: Any, fits: Sequence[FitRecord]) -> Any:
    panel.show(fits)
    return panel.root


def _per_fit(fits: Sequence[FitRecord], make: Any) -> Any:
    """A panel for each fit, in tabs where there are several."""
    roots = [_shown(make(), [fit]) for fit in fits]
    if len(roots) == 1:
        return roots[0]
    tabs = [
        models.TabPanel(child=root, title=fit.label) for root, fit in zip(roots, fits, strict=True)
    ]
    return models.Tabs(tabs=tabs, sizing_mode="stretch_width")


def _loads(fits: Sequence[FitRecord], workers: Mapping[str, WorkerFacts]) -> Any:
    if len(fits) == 1:
        return _load(fits, workers)
    tabs = [models.TabPanel(child=_load(fits, workers), title="All fits")]
    busy = [fit for fit in fits if fit.n_rounds]
    tabs += [
        models.TabPanel(
            child=stacked(
                words(LIGHT, f"<p>{text.verdict(worker_loads([fit]))}</p>"), _load([fit], workers)
            ),
            title=fit.label,
        )
        for fit in busy[:MAX_TABS]
    ]
    return models.Tabs(tabs=tabs, sizing_mode="stretch_width")


def _load(fits: Sequence[FitRecord], workers: Mapping[str, WorkerFacts]) -> Any:
    panel = LoadPanel()
    panel.show(worker_loads(fits, workers))
    return panel.root


def _subtitle(fits: Sequence[FitRecord]) -> str:
    names = [escape(fit.label) for fit in fits]
    listed = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
    spans = [(f.began, f.ended) for f in fits if f.began is not None and f.ended is not None]
    if not spans:
        return f"written {_clock(time.time())}"
    began, ended = min(b for b, _ in spans), max(e for _, e in spans)
    return f"{listed} · {_clock(began)} · {seconds(ended - began)}"


def _clock(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(at))


def _environment(fits: Sequence[FitRecord], facts: Mapping[str, WorkerFacts]) -> str:
    workers = {name for fit in fits for name in fit.totals}
    local = sum(name.startswith("local-") for name in workers)
    counted = [f"{len(workers) - local} on the cluster"] if len(workers) > local else []
    counted += [f"{local} in this process (threads)"] if local else []
    rows = [("workers", " and ".join(counted) or "none"), ("python", platform.python_version())]
    rows += [
        ("machine of the driver", f"{platform.system()} {platform.release()} {platform.machine()}")
    ]
    rows += [("daskml_kit", resolve_name("daskml_kit:__version__"))]
    rows += [(package, _version(package)) for package in _PACKAGES]
    cells = "".join(f"<tr><td>{escape(a)}</td><td>{escape(b)}</td></tr>" for a, b in rows)
    return f'<table class="facts">{cells}</table>{_machines(facts)}'


def _machines(facts: Mapping[str, WorkerFacts]) -> str:
    """Threads and memory of each worker when the recording ended."""
    if not facts:
        return ""
    rows = [
        (
            escape(name),
            count(own.threads),
            nbytes(own.memory_limit) if own.memory_limit else "no limit",
            nbytes(own.memory) if own.memory else "–",
            nbytes(own.spilled),
        )
        for name, own in sorted(facts.items(), key=lambda item: natural(item[0]))
    ]
    head = ("Worker", "Threads", "Memory limit", "Used at the end", "On disk")
    return f'<div class="tall">{text.table(head, rows)}</div>'


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _legend_of_terms() -> str:
    return (
        '<p class="note">A round is one trip to the workers and back, a pass one read of every row. '
        "Moved: parameters out and results back. Imbalance: the busiest worker's compute over the mean, "
        "1 is perfect.</p>"
    )


def _cut(total: int, limit: int, verb: str) -> str:
    if total <= limit:
        return ""
    return f'<p class="note">The first {limit} of {total} fits are {verb}; the table above has all.</p>'


def _replace(target: Path, html: str) -> None:
    """Write beside the target, then move into place: no half-written report is ever seen."""
    draft = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        draft.write_text(html, encoding="utf-8")
        draft.replace(target)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
