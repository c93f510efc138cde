"""The progress line of ``verbose=1``: rounds done, objective, imbalance; in a terminal or a notebook."""

from __future__ import annotations

from typing import Any

from daskml_kit.runtime.events import Event, RoundEvent


class ProgressLine:
    """A listener that keeps one tqdm line up to date."""

    def __init__(self, title: str) -> None:
        from tqdm.auto import tqdm  # in a notebook without ipywidgets it warns when it is imported

        self._bar: Any = tqdm(desc=title, unit=" rounds")

    def __call__(self, event: Event) -> None:
        if not isinstance(event, RoundEvent):
            return
        shown = {"imbalance": f"{event.imbalance:.2f}"}
        if event.objective is not None:
            shown = {"objective": f"{event.objective:.6g}", **shown}
        self._bar.set_postfix(shown, refresh=False)
        self._bar.update()

    def close(self) -> None:
        """Leave the line as it is and end it."""
        self._bar.close()
