"""The page in a notebook: what the fits of this kernel do, below the cell that they run in, as they do it.

A notebook's output may be replaced while its cell still runs, from any thread. So a thread of the kernel
draws the same numbers as the page on the scheduler, as HTML and SVG, whenever there was an event::

    fit ── event ──> queue ── thread of the widget ──> Aggregate ──> HTML ── update of the output ──> notebook

That needs no JavaScript, no extension, no open port and no cluster: JupyterLab, Notebook, VS Code and what
else shows HTML will do, and what is saved or exported keeps the last state.
"""

from __future__ import annotations

import importlib
import threading
import time
from collections import deque
from contextlib import ExitStack
from typing import Any

from daskml_kit.dashboard.aggregate import Aggregate
from daskml_kit.dashboard.look import LOOKS
from daskml_kit.dashboard.summary import NO_FIT_YET, fits_html
from daskml_kit.exceptions import InvalidParameterError
from daskml_kit.runtime.events import Event, listening
from daskml_kit.runtime.machines import known_workers

INTERVAL = 0.5  # seconds between two looks

SHARE = 0.02
"""Of one core, for drawing."""

LONGEST_REST = 5.0  # seconds

FITS_SHOWN, FITS_DRAWN = 8, 3


class Widget:
    """Shows the fits of this kernel while they run: in a notebook, below the cell that displays it.

    As the last line of a cell it stays and follows every later fit of the kernel; as a ``with`` block it
    shows itself and follows those inside. The same content as the page on the scheduler: fits with their
    objective and time left, advice, seconds, rows, memory and speed of each worker, the last rounds task by
    task, and the critical path round by round.

    Parameters
    ----------
    theme : {"light", "dark"}

    Raises
    ------
    InvalidParameterError
        If there is no such theme.

    Notes
    -----
    Fits are not held up: their thread only queues its events, and drawing takes at most 2 % of a core. It
    sees the fits of its own process; those of other clients are on the scheduler's page
    (:func:`~daskml_kit.dashboard.install`).

    Examples
    --------
    >>> import numpy as np
    >>> from daskml_kit.dashboard import Widget
    >>> from daskml_kit.linear_model import Ridge
    >>> with Widget() as widget:
    ...     _ = Ridge().fit(np.eye(3), np.arange(3.0))
    >>> "Ridge" in widget.html
    True
    """

    def __init__(self, theme: str = "light") -> None:
        if theme not in LOOKS:
            wanted = ", ".join(map(repr, LOOKS))
            raise InvalidParameterError(f"theme must be one of {wanted}, got {theme!r}.")
        self._look = LOOKS[theme]
        self._seen = Aggregate()
        self._queue: deque[Event] = deque()
        self._drawing = threading.Lock()
        self._ended = threading.Event()
        self._shown: list[Any] = []  # handles of the outputs that display it
        self._stack = ExitStack()
        self._stack.enter_context(listening(self._queue.append))
        self._thread = threading.Thread(target=self._follow, name="daskml-widget", daemon=True)
        self._thread.start()

    @property
    def html(self) -> str:
        """What there is to see now."""
        with self._drawing:
            while self._queue:
                self._seen.add(self._queue.popleft())
            if not self._seen.fits:
                return NO_FIT_YET
            fits = list(reversed(self._seen.recent(FITS_SHOWN)))
            drawn = self._seen.latest()[-FITS_DRAWN:]
            return fits_html(fits, known_workers(), self._look, drawn=drawn)

    def close(self) -> None:
        """Follow no more fits. What is shown stays."""
        self._stack.close()
        self._ended.set()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _follow(self) -> None:
        """Redraw where there was an event, and rest in proportion to what that cost; once more at the end."""
        rest = INTERVAL
        while not self._ended.wait(rest):
            rest = self._update()
        self._update()

    def _update(self) -> float:
        if not self._queue or not self._shown:
            return INTERVAL
        begun = time.thread_time()
        html = self.html
        for handle in self._shown:
            handle.update({"text/html": html}, raw=True)
        cost = time.thread_time() - begun
        return min(max(cost / SHARE, INTERVAL), LONGEST_REST)

    def _ipython_display_(self) -> None:
        display = importlib.import_module("IPython.display").display
        bundle = {"text/html": self.html, "text/plain": repr(self)}
        self._shown.append(display(bundle, raw=True, display_id=True))

    def __enter__(self) -> Widget:
        if _in_notebook():
            self._ipython_display_()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _in_notebook() -> bool:
    """Whether this process is a kernel, whose outputs can be replaced."""
    try:
        shell = importlib.import_module("IPython").get_ipython()
    except ImportError:
        return False
    return hasattr(shell, "kernel")


__all__ = ["Widget"]
