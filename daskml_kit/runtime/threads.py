"""Work in this process on all processors: calls that release the GIL, a range of rows or columns each."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import distributed
from dask.system import CPU_COUNT

from daskml_kit.runtime.sources import is_dask


def threads_for(X: Any) -> int:
    """How many threads may answer rows of X: all, but one where Dask runs chunks side by side already."""
    if is_dask(X):
        return 1
    try:
        distributed.get_worker()
    except ValueError:
        return CPU_COUNT
    return 1


def over_ranges(fn: Callable[[int, int], None], size: int, threads: int, *, least: int) -> None:
    """``fn(low, high)`` for ranges that make up ``size``, on so many threads; of at least ``least`` each.

    Examples
    --------
    >>> import numpy as np
    >>> out = np.zeros(10)
    >>> def fill(low, high):
    ...     out[low:high] = np.arange(low, high)
    >>> over_ranges(fill, 10, threads=3, least=2)
    >>> out
    array([0., 1., 2., 3., 4., 5., 6., 7., 8., 9.])
    """
    n = max(1, min(threads, size // least))
    if n == 1:
        fn(0, size)
        return
    edges = [i * size // n for i in range(n + 1)]
    with ThreadPoolExecutor(n) as pool:
        list(pool.map(fn, edges[:-1], edges[1:]))


__all__ = ["over_ranges", "threads_for"]
