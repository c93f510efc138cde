"""Errors of this package. Each says what is wrong, what was received, and what to do.

Every class derives from the built-in that scikit-learn would raise in the same place, so code that
catches ``ValueError`` around a scikit-learn estimator keeps working.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from daskml_kit.on_demand import on_demand

if TYPE_CHECKING:
    from sklearn.exceptions import ConvergenceWarning, NotFittedError
else:
    __getattr__, __dir__ = on_demand(
        globals(), {"sklearn.exceptions": ["ConvergenceWarning", "NotFittedError"]}
    )


class DaskMLKitError(Exception):
    """Base of all errors raised on purpose by this package."""


class InvalidDataError(DaskMLKitError, ValueError):
    """The data cannot be used: not finite, wrong shape or type, misaligned, empty, one class."""


class InvalidDataTypeError(DaskMLKitError, TypeError):
    """An input is of a kind that cannot be turned into blocks."""


class InvalidParameterError(DaskMLKitError, ValueError):
    """A constructor parameter, or a pair of them, is impossible."""


class ClusterError(DaskMLKitError, RuntimeError):
    """The cluster cannot run the fit: closed client, no workers, package missing there."""


class DataLostError(ClusterError):
    """Blocks were lost with a worker and Dask has no recipe to compute them again."""


@contextmanager
def as_ours(remedy: str = "") -> Iterator[None]:
    """Raise what scikit-learn's checks of data refuse as an error of this package, in the same words.

    Parameters
    ----------
    remedy : sentence that follows, where the words say none

    Examples
    --------
    >>> with as_ours("Pass one label a row."):
    ...     raise ValueError("Found 2 labels, 3 predictions.")
    Traceback (most recent call last):
        ...
    daskml_kit.exceptions.InvalidDataError: Found 2 labels, 3 predictions. Pass one label a row.
    """
    try:
        yield
    except DaskMLKitError:
        raise
    except (ValueError, TypeError) as error:
        kind = InvalidDataError if isinstance(error, ValueError) else InvalidDataTypeError
        words = str(error).rstrip()
        raise kind(f"{words} {remedy}" if remedy else words) from error


__all__ = [
    "ClusterError",
    "ConvergenceWarning",
    "DaskMLKitError",
    "DataLostError",
    "InvalidDataError",
    "InvalidDataTypeError",
    "InvalidParameterError",
    "NotFittedError",
    "as_ours",
]
