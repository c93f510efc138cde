"""A real browser for the page's tests: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")

_COLUMN = """([source, column]) => {
    for (const doc of Bokeh.documents)
        for (const model of doc.all_models)
            if (model.type === "ColumnDataSource" && model.name === source)
                return Array.from(model.get_column(column) ?? [],
                                  x => ArrayBuffer.isView(x) ? Array.from(x) : x)
    return null
}"""

_SOURCES = """() => Bokeh.documents.flatMap(doc => Array.from(doc.all_models)
    .filter(model => model.type === "ColumnDataSource" && model.name)
    .map(model => [model.name, model.get_length()]))"""


@dataclass
class Tab:
    """One open page, and what went wrong on it."""

    page: Page
    shots: Path
    errors: list[str] = field(default_factory=list)

    def column(self, source: str, name: str) -> list[Any]:
        """A column of one of the page's data sources, as the browser has it."""
        return self.page.evaluate(_COLUMN, [source, name])

    def sources(self) -> dict[str, int]:
        """Rows of every named data source of the page."""
        return dict(self.page.evaluate(_SOURCES))

    def shoot(self, name: str) -> np.ndarray:
        """A screenshot of the whole page, kept as an artifact; its pixels."""
        self.page.evaluate("window.scrollTo(0, 0)")  # where the bar of pages sticks to the top
        self.page.screenshot(path=self.shots / f"{name}.png", full_page=True)
        return np.asarray(Image.open(self.shots / f"{name}.png").convert("RGB"))

    def painted(self) -> list[int]:
        """The number of colours that each plot shows: an empty one has few."""
        plots = self.page.locator(".bk-Figure").all()
        pictures = (np.asarray(Image.open(BytesIO(p.screenshot())).convert("RGB")) for p in plots)
        return [len(np.unique(p.reshape(-1, 3), axis=0)) for p in pictures]


@contextmanager
def opened(address: str, shots: Path) -> Iterator[Tab]:
    """The page in a fresh browser; skips where there is none."""
    chromium = next(filter(None, map(shutil.which, NAMES)), None)
    if chromium is None:
        pytest.skip("no browser here: install Chromium (Debian: apt-get install chromium)")
    kept = Path(os.environ.get("DASKML_KIT_SCREENSHOTS", shots))
    kept.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = Tab(browser.new_page(viewport={"width": 1400, "height": 1000}), kept)
        tab.page.on("console", lambda m: tab.errors.append(m.text) if m.type == "error" else None)
        tab.page.on("pageerror", lambda error: tab.errors.append(str(error)))
        tab.page.on("requestfailed", lambda r: tab.errors.append(f"{r.url}: {r.failure}"))
        tab.page.goto(address)
        try:
            yield tab
        finally:
            browser.close()
