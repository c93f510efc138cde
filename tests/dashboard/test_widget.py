"""The page in a notebook, without one: outputs that write down what they are given."""

from __future__ import annotations

import threading

import IPython.display
import numpy as np
import pytest

from daskml_kit.dashboard import Widget, widget as module
from daskml_kit.dashboard.look import DARK
from daskml_kit.exceptions import InvalidParameterError
from daskml_kit.linear_model import LogisticRegression
from daskml_kit.runtime.events import FitLog

X = np.random.default_rng(0).normal(size=(60, 3))
Y = X[:, 0] > 0


class Output:
    """What a notebook shows below a cell."""

    def __init__(self, bundle):
        self.seen = [bundle["text/html"]]
        self.renewed = threading.Event()

    def update(self, bundle, *, raw):
        assert raw
        self.seen.append(bundle["text/html"])
        self.renewed.set()


@pytest.fixture
def outputs(monkeypatch):
    made = []

    def display(bundle, *, raw, display_id):
        assert raw
        assert display_id
        made.append(Output(bundle))
        return made[-1]

    monkeypatch.setattr(IPython.display, "display", display)
    monkeypatch.setattr(module, "INTERVAL", 0.01)
    return made


def test_the_output_is_renewed_while_the_fit_runs(outputs, monkeypatch):
    emit, looks = FitLog.emit, []

    def emit_and_wait(log, event):
        emit(log, event)
        if len(log.rounds) == 2 and not looks:
            outputs[0].renewed.wait(10)
            looks.append(outputs[0].seen[-1])

    monkeypatch.setattr(FitLog, "emit", emit_and_wait)
    with Widget(theme="dark") as widget:
        widget._ipython_display_()
        LogisticRegression().fit(X, Y)
    (output,) = outputs
    assert "No fit was recorded yet" in output.seen[0]
    assert "running" in looks[0]
    last = output.seen[-1]
    for words in (
        "LogisticRegression-",
        "finished",
        "critical path of each round",
        "one box a task",
    ):
        assert words in last
    assert DARK.ground in last

    LogisticRegression().fit(X, Y)  # closed: it follows no more
    assert widget.html == last
    assert output.seen[-1] == last


def test_an_unknown_theme_is_refused():
    with pytest.raises(
        InvalidParameterError, match=r"theme must be one of 'light', 'dark', got 'blue'"
    ):
        Widget("blue")
