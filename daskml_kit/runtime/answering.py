"""What workers run for an answer: rows checked, then given to a function of rows.

Apart from :mod:`~daskml_kit.runtime.in_kind`, which knows every kind of collection, and from what checks
names of features: a worker that answers rows imports no scikit-learn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from daskml_kit.exceptions import as_ours
from daskml_kit.runtime.ingest import Spec, check_matrix
from daskml_kit.typing import Array


def call(part: Any, fn: Callable[[Any], Array]) -> Array:
    """``fn`` of one part, as a task."""
    return fn(part)


class Checked:
    """``fn(check(part))``, picklable."""

    def __init__(self, check: Any, fn: Callable[[Any], Array]) -> None:
        self.check, self.fn = check, fn

    def __call__(self, part: Any) -> Array:
        return self.fn(self.check(part))


class CheckedColumns(Checked):
    """The same of a function that can also take some columns at a time."""

    fn: Any

    @property
    def n_outputs(self) -> int:
        return int(self.fn.n_outputs)

    def of_columns(self, low: int, high: int) -> Checked:
        return Checked(self.check, self.fn.of_columns(low, high))

    def of_sums(self) -> Callable[[Any], Array]:
        made: Callable[[Any], Array] = self.fn.of_sums()
        return made


class PartChecker:
    """Checks one part of lazy rows where they are; a part may be empty."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec

    def __call__(self, part: Any) -> Any:
        with as_ours():
            return check_matrix(part, self.spec)


__all__ = ["Checked", "CheckedColumns", "PartChecker", "call"]
