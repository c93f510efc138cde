"""How fits run, as configuration: it changes what they cost, never what they answer.

The settings live in Dask's own configuration, so they can also come from its YAML files and from environment
variables (``DASK_DASKML_KIT__EXECUTOR=graph``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import dask.config

from daskml_kit.exceptions import InvalidParameterError

_ROOT = "daskml-kit"

CHOICES: dict[str, tuple[str, ...]] = {
    "executor": ("auto", "actor", "graph", "local"),
    "trees": ("auto", "replicate", "reduce"),
    "balance": ("adaptive", "even", "data"),
}
"""What each setting may be; the first is the default."""

_of_this_fit: ContextVar[Mapping[str, str]] = ContextVar("daskml_kit_settings")


def setting(name: str) -> str:
    """The value of a setting that holds now.

    Raises
    ------
    InvalidParameterError
        If the configuration holds something that is not among its choices.
    """
    own = _of_this_fit.get({})
    value = own[name] if name in own else dask.config.get(f"{_ROOT}.{name}", CHOICES[name][0])
    return _checked(name, value)


def _checked(name: str, value: Any) -> str:
    if value not in CHOICES[name]:
        wanted = ", ".join(map(repr, CHOICES[name]))
        raise InvalidParameterError(f"{name} must be one of {wanted}, got {value!r}.")
    return str(value)


@contextmanager
def config_context(
    *, executor: str | None = None, trees: str | None = None, balance: str | None = None
) -> Iterator[None]:
    """Change how fits run inside a ``with`` block. None leaves a setting as it is.

    Parameters
    ----------
    executor : {"auto", "actor", "graph", "local"}
        Where the rounds of data that Dask holds run. ``"actor"``: one direct call to each worker (2 to
        4 ms a round); the data must fit in the workers' memory. ``"graph"``: each round a task graph
        (15 to 25 ms), which Dask's own dashboard shows, and which streams data larger than memory.
        ``"local"``: in this process, which then loads the data. ``"auto"``, the default: direct calls as
        long as the data fit, a round takes less than a second, and its messages are small. Data that
        are in this process's memory (NumPy, pandas) are fitted here in any case.
    trees : {"auto", "replicate", "reduce"}
        How trees grow; they are the same trees. ``"replicate"``: the binned data are copied to each worker,
        which grows whole trees. ``"reduce"``: the data stay spread, and a level of all trees is a round.
        ``"auto"``: replicate where the copy fits a share of every worker's memory.
    balance : {"adaptive", "even", "data"}
        What becomes of blocks that are on workers already when a fit begins (new ones are spread evenly
        in any case). ``"data"``: they stay. ``"even"``: rows move before the first round, until
        every thread has as many. ``"adaptive"``, the default: they stay at first; every round measures how
        many rows a second each worker does, and as soon as the rounds have lost as much time to uneven
        work as moving costs, rows move. Then a slow machine gets fewer rows, and a new worker some.
        An estimator's own ``balance=`` goes before this, for its rounds and for those of its members.
        Members that are fitted on blocks of their own (block-wise ensembles) keep those whole.

    Examples
    --------
    >>> import daskml_kit
    >>> with daskml_kit.config_context(executor="graph", balance="even"):
    ...     pass  # every fit here runs its rounds as task graphs, over as many rows a thread
    """
    given = {"executor": executor, "trees": trees, "balance": balance}
    chosen = {
        f"{_ROOT}.{name}": _checked(name, value)
        for name, value in given.items()
        if value is not None
    }
    with dask.config.set(chosen):
        yield


@contextmanager
def fit_context(**asked: str | None) -> Iterator[None]:
    """Settings that one fit asks for itself, which those that it runs inside of itself inherit.

    They hold for this thread only, so that fits side by side may differ. None leaves a setting as it is.

    Raises
    ------
    InvalidParameterError
        If one is not among its choices.

    Examples
    --------
    >>> with config_context(balance="even"), fit_context(balance="data"), fit_context(balance=None):
    ...     setting("balance")
    'data'
    """
    chosen = {name: _checked(name, value) for name, value in asked.items() if value is not None}
    token = _of_this_fit.set({**_of_this_fit.get({}), **chosen})
    try:
        yield
    finally:
        _of_this_fit.reset(token)


__all__ = ["CHOICES", "config_context", "fit_context", "setting"]
