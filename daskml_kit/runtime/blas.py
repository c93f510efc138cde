"""BLAS in one thread, for as long as somebody in this process needs it so.

Rounds use a worker's threads for its bundles, so a product within a bundle must not start threads of its own.
A nanny asks BLAS for one thread when it starts a worker; a worker without one, and workers that are threads
of one process, have a BLAS of all processors. The number belongs to the process, not to the thread: so those
who need it are counted, the first sets it, and the last sets it back. Each by itself would set back what it
found, which may be another's one. Solvers need it too: threads of a busy machine wait for each other, and
solving for ten outputs of 785 features took 28 ms in place of 1.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from threadpoolctl import LibController, OpenBLASController, ThreadpoolController


@cache
def _libraries(_: bool) -> ThreadpoolController:
    """Those that are loaded; looking for them takes milliseconds: once, and once more for SciPy's."""
    return ThreadpoolController().select(user_api="blas")


class _Needed:
    """How many need it, and what the libraries had before."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.count = 0
        self.before: list[tuple[LibController, int]] = []

    def begin(self) -> None:
        with self.lock:
            libraries = _libraries("scipy.linalg" in sys.modules).lib_controllers
            self.count += 1
            if self.count > 1:
                return
            for library in libraries:
                n_threads = library.num_threads
                if n_threads != 1:
                    library.set_num_threads(1)
                    if (
                        library.num_threads == 1
                    ):  # not so where a thread of the user holds the number
                        self.before.append((library, n_threads))

    def end(self) -> None:
        with self.lock:
            self.count -= 1
            if self.count or not self.before:
                return
            # threadpoolctl lets the thread that set a number hold it: that was the first, this is the last.
            _let_go()
            for library, n_threads in self.before:
                library.set_num_threads(n_threads)
            _let_go()
            self.before = []


def _let_go() -> None:
    OpenBLASController.clear_controlling_thread(force=True)


_needed = _Needed()


@contextmanager
def one_thread() -> Iterator[None]:
    """Within it BLAS starts no threads, in this process; next to free where it has one thread anyway.

    Example:
        >>> from threadpoolctl import threadpool_info
        >>> with one_thread():
        ...     {found["num_threads"] for found in threadpool_info() if found["user_api"] == "blas"}
        {1}
    """
    _needed.begin()
    try:
        yield
    finally:
        _needed.end()


__all__ = ["one_thread"]
