"""Public names of a package that are imported when they are first asked for (PEP 562).

A worker imports the module of each function that a round brings, and with it the package around that
module. If the package imported its estimators there and then, a worker would import scikit-learn, pandas and
Dask's collections only to run a few kernels: most of the four seconds that its first fit took.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any


def on_demand(
    module: dict[str, Any], homes: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a module.

    Parameters
    ----------
    module : its ``globals()``, where a name stays once it was asked for
    homes : module to import -> the names to take from it

    Returns
    -------
    (name -> object, () -> names)

    Examples
    --------
    >>> module = {"__name__": "shapes"}
    >>> ask, names = on_demand(module, {"math": ["tau"]})
    >>> names()
    ['__name__', 'tau']
    >>> round(ask("tau"), 3), "tau" in module
    (6.283, True)
    """
    home = {name: where for where, names in homes.items() for name in names}

    def ask(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"module {module['__name__']!r} has no attribute {name!r}")
        value = module[name] = getattr(import_module(home[name]), name)
        return value

    def names() -> list[str]:
        return sorted({*module, *home})

    return ask, names


__all__ = ["on_demand"]
