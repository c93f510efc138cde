"""The static picture: every worker has its bar, every fit its curve, and nothing is nothing."""

import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

import daskml_kit
from daskml_kit.dashboard import load_picture
from daskml_kit.linear_model import LogisticRegression

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def run() -> daskml_kit.Run:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(100, 3))
    with daskml_kit.record() as run:
        LogisticRegression().fit(X, X[:, 0] + rng.normal(size=100) > 0)
    return run


def _words(picture: object) -> str:
    return " ".join(t.text or "" for t in ET.fromstring(picture._repr_svg_()).iter(f"{SVG}text"))


def test_shows_every_worker_and_the_objective(run: daskml_kit.Run) -> None:
    picture = load_picture(run)
    words = _words(picture)
    assert "local-0" in words
    assert "100 rows" in words
    assert run.fits[0] in words
    lines = list(ET.fromstring(picture.text).iter(f"{SVG}polyline"))
    assert len(lines) == 1
    n_rounds = sum(r.objective is not None for r in run.rounds)
    assert len(lines[0].attrib["points"].split()) == n_rounds


def test_bars_are_as_long_as_the_seconds(run: daskml_kit.Run) -> None:
    bars = [
        float(r.attrib["width"])
        for r in ET.fromstring(load_picture(run).text).iter(f"{SVG}rect")
        if r.attrib["height"] == "22"
    ]
    assert len(bars) == 4  # compute, transfer, wait, idle of one worker
    assert 590 < sum(bars) < 610  # the longest worker fills the width


def test_an_empty_run_says_so() -> None:
    with daskml_kit.record() as run:
        pass
    assert "No fit was recorded" in _words(load_picture(run))


def test_saves(run: daskml_kit.Run, tmp_path: Path) -> None:
    path = load_picture(run).save(tmp_path / "load.svg")
    assert ET.parse(path).getroot().tag == f"{SVG}svg"
