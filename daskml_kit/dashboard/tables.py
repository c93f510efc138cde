"""A run as tables: every task with its round and fit, and two runs beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import pandas as pd

from daskml_kit.dashboard.aggregate import Aggregate, FitRecord
from daskml_kit.exceptions import InvalidDataTypeError
from daskml_kit.runtime.events import RoundEvent, Run, TaskEvent

_OF_ROUND = [f.name for f in fields(RoundEvent) if f.name != "measured"]
_OF_TASK = list(TaskEvent._fields)
_ROUND_NAMES = {"started": "round_started", "seconds": "round_seconds"}

MEASURES = (
    "seconds", "round_seconds", "n_rounds", "n_passes", "bytes_moved", "compute", "transfer", "wait",
    "mean_imbalance", "objective",
)  # fmt: skip


def task_frame(run: Run) -> pd.DataFrame:
    """One row a task of every round of a run: see :meth:`~daskml_kit.runtime.events.Run.to_dataframe`."""
    columns = [_ROUND_NAMES.get(name, name) for name in _OF_ROUND] + _OF_TASK
    rows = [
        [*(getattr(r, name) for name in _OF_ROUND), *(getattr(t, name) for name in _OF_TASK)]
        for r in run.rounds
        for t in r.tasks
    ]
    return pd.DataFrame(rows, columns=columns)


def comparison(run: Run, other: Run) -> pd.DataFrame:
    """Costs side by side: see :meth:`~daskml_kit.runtime.events.Run.compare`.

    Raises
    ------
    InvalidDataTypeError
        If ``other`` is no run.
    """
    if not isinstance(other, Run):
        raise InvalidDataTypeError(
            f"other must be a Run, as `with daskml_kit.record() as run:` gives it, got "
            f"{type(other).__name__}."
        )
    rows, index = [], []
    for label, mine, theirs in _pairs(_fits(run), _fits(other)):
        ours, peers = _measures(mine), _measures(theirs)
        for name in MEASURES:
            index.append((label, name))
            rows.append((ours[name], peers[name]))
    frame = pd.DataFrame(
        rows,
        columns=["this", "other"],
        index=pd.MultiIndex.from_tuples(index, names=["fit", "measure"]) if index else None,
        dtype=float,
    )
    frame["ratio"] = frame["this"] / frame["other"]
    return frame


def _fits(run: Run) -> list[FitRecord]:
    seen = Aggregate(max_fits=None)
    seen.extend(run.events)
    return seen.fits


def _pairs(
    mine: Sequence[FitRecord], theirs: Sequence[FitRecord]
) -> list[tuple[str, FitRecord | None, FitRecord | None]]:
    """The k-th fit of each estimator beside the other's k-th; None where one has none."""
    left, right = _numbered(mine), _numbered(theirs)
    return [
        (f"{name} {k + 1}", left.get((name, k)), right.get((name, k)))
        for name, k in dict.fromkeys([*left, *right])
    ]


def _numbered(fits: Sequence[FitRecord]) -> dict[tuple[str, int], FitRecord]:
    out: dict[tuple[str, int], FitRecord] = {}
    counts: dict[str, int] = {}
    for fit in fits:
        k = counts.get(fit.estimator, 0)
        counts[fit.estimator] = k + 1
        out[fit.estimator, k] = fit
    return out


def _measures(fit: FitRecord | None) -> dict[str, float | None]:
    """Of one fit; seconds of all its workers together."""
    if fit is None:
        return dict.fromkeys(MEASURES)
    own: dict[str, float | None] = {
        name: getattr(fit, name) for name in MEASURES if name not in ("compute", "transfer", "wait")
    }
    for kind in ("compute", "transfer", "wait"):
        own[kind] = sum(getattr(s, kind) for s in fit.totals.values())
    return own


__all__ = ["comparison", "task_frame"]
