"""The fits' numbers on the scheduler's metrics page, for Prometheus.

::

    daskml_fit_rounds_total{fit="KMeans-1"}             rounds done
    daskml_fit_round_seconds_total{fit="KMeans-1"}      seconds spent in them: divide their rates
    daskml_fit_bytes_moved_total{fit="KMeans-1"}        parameters out, parts back
    daskml_fit_imbalance{fit="KMeans-1"}                of the last round, largest / mean compute
    daskml_fit_objective{fit="KMeans-1"}                last value reported
    daskml_fit_gradient_norm{fit="KMeans-1"}            where the solver has a gradient
    daskml_fit_running{fit="KMeans-1"}                  1 while it runs
    daskml_fit_iterations{fit="KMeans-1"}               and _iterations_max, its bound, where it has one
    daskml_worker_compute_seconds_total{worker="..."}   and _transfer_, _wait_seconds_total: of all fits ever
    daskml_worker_rows_total{worker="..."}              rows read

Distributed serves the process's default registry at ``/metrics`` if ``prometheus_client`` is installed;
without it, nothing here runs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from daskml_kit.dashboard.aggregate import Aggregate, FitRecord

_FIT_COUNTERS = {
    "rounds": ("Rounds done", "n_rounds"),
    "round_seconds": ("Seconds spent in rounds", "round_seconds"),
    "bytes_moved": ("Bytes of parameters sent out and of parts sent back", "bytes_moved"),
}
_FIT_GAUGES = {
    "imbalance": "Largest over mean compute seconds of the workers in the last round",
    "objective": "Last value of the objective",
    "gradient_norm": "Largest component of the last gradient",
    "iterations": "Rounds that reported an objective",
    "iterations_max": "The estimator's bound on its iterations",
    "running": "1 while the fit runs, 0 once it has ended",
}
_WORKER_COUNTERS = {
    "compute_seconds": ("Seconds in tasks of fits", "compute"),
    "transfer_seconds": ("Seconds of rounds in messages", "transfer"),
    "wait_seconds": ("Seconds of rounds after its own tasks, before the slowest ended", "wait"),
    "rows": ("Rows read", "rows"),
}


class FitCollector:
    """A collector of ``prometheus_client``: reads the aggregate whenever the page is asked for."""

    def __init__(self, seen: Aggregate) -> None:
        self.seen = seen

    def collect(self) -> Iterator[Any]:
        """The families of metrics, for the fits that the page shows."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        fits = self.seen.fits
        for name, (words, field) in _FIT_COUNTERS.items():
            family = CounterMetricFamily(f"daskml_fit_{name}", words, labels=["fit"])
            for fit in fits:
                family.add_metric([fit.label], getattr(fit, field))
            yield family
        values = {fit.label: _gauges(fit) for fit in fits}
        for name, words in _FIT_GAUGES.items():
            gauge = GaugeMetricFamily(f"daskml_fit_{name}", words, labels=["fit"])
            for label, own in values.items():
                value = own[name]
                if value is not None and not math.isnan(value):
                    gauge.add_metric([label], value)
            yield gauge
        for name, (words, field) in _WORKER_COUNTERS.items():
            family = CounterMetricFamily(f"daskml_worker_{name}", words, labels=["worker"])
            for worker, spent in self.seen.totals.items():
                family.add_metric([worker], getattr(spent, field))
            yield family


def _gauges(fit: FitRecord) -> dict[str, float | None]:
    return {
        "imbalance": fit.points[-1].imbalance if fit.points else None,
        "objective": fit.objective,
        "gradient_norm": fit.gradient_norm,
        "iterations": fit.n_iter,
        "iterations_max": fit.max_iter,
        "running": float(fit.state == "running"),
    }


_collector: FitCollector | None = None


def expose(seen: Aggregate) -> None:
    """Put an aggregate's numbers on this process's metrics page; a later one takes the place."""
    global _collector
    if find_spec("prometheus_client") is None:
        return
    from prometheus_client import REGISTRY

    if _collector is None:
        _collector = FitCollector(seen)
        REGISTRY.register(_collector)
    _collector.seen = seen


__all__ = ["FitCollector", "expose"]
