"""The commands as a user runs them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import dask
import pytest
from distributed import Client, LocalCluster
from distributed.utils import get_mp_context
from PIL import Image

from daskml_kit import __version__
from daskml_kit.cli import main, parser
from daskml_kit.cli.tables import columns, load_table
from daskml_kit.runtime.events import RoundEvent, Run, TaskEvent

COMMAND = str(Path(sys.executable).with_name("daskml-kit"))


def _run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *arguments], cwd=cwd, capture_output=True, text=True, timeout=240
    )


@pytest.mark.cluster
def test_demo_on_a_cluster_of_its_own(tmp_path: Path) -> None:
    done = _run("demo", "--workers", "1", "--output", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("tcp://") == 2  # the scheduler, and one worker's row
    for model in ("k-means, 273,280 pixels, k=16", "logistic regression", "block-wise", "ridge"):
        assert model in done.stdout
    assert "imbalance (max / mean)" in done.stdout
    assert "/load-balance" in done.stdout
    photo = Image.open(tmp_path / "out" / "demo-photo.png")
    assert photo.size == (640, 427)
    assert len(photo.getcolors()) == 16
    report = (tmp_path / "out" / "demo-report.html").read_text(encoding="utf-8")
    assert "KMeans-" in report


@pytest.mark.cluster
def test_demo_on_a_remote_cluster(
    client: Client,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What is trained is the same anywhere: one model tells that it is trained there."""
    for others in ("photo", "digits"):
        monkeypatch.setattr(f"daskml_kit.cli.demo._{others}_jobs", list)
    address = client.scheduler.address
    assert main(["demo", "--scheduler", address, "--output", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"cluster    {address}, 2 workers")
    assert "ridge" in said
    assert said.count("tcp://") == 3  # the scheduler, and a row for each worker
    assert "Ridge-" in (tmp_path / "demo-report.html").read_text(encoding="utf-8")


def test_demo_says_that_no_scheduler_answers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daskml_kit.cli.demo.CONNECT_SECONDS", 1)
    # a Client that could not connect leaves itself as the scheduler in Dask's configuration
    monkeypatch.setitem(dask.config.config, "scheduler", None)
    assert main(["demo", "--scheduler", "tcp://127.0.0.1:1", "--output", str(tmp_path)]) == 1
    assert "No scheduler answers at tcp://127.0.0.1:1" in capsys.readouterr().err


def test_what_cannot_work_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(dask.config.config, "scheduler", None)
    monkeypatch.setattr("daskml_kit.runtime.cluster._WORKER_TIMEOUT", 0.2)
    file = tmp_path / "file"
    file.touch()

    def said(*options: str) -> str:
        assert main(["demo", *options]) == 1
        return capsys.readouterr().err.strip().splitlines()[-1]

    assert "no folder can be made there (File exists)" in said("--output", str(file))
    folder = ("--output", str(tmp_path))
    with LocalCluster(n_workers=0, processes=False, dashboard_address="127.0.0.1:0") as empty:
        assert "no workers (waited" in said("--scheduler", empty.scheduler_address, *folder)
    assert "nonsense is no address of a scheduler" in said("--scheduler", "nonsense", *folder)


@pytest.mark.parametrize("workers", ["0", "-1", "two"])
def test_workers_must_be_a_positive_number(
    workers: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["demo", "--workers", workers])
    assert "--workers" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert __version__ in capsys.readouterr().out


def test_compile_names_every_room(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A spawned process would have to import everything first; what it compiles is the same.
    forked = get_mp_context()
    monkeypatch.setattr("daskml_kit.cli.compile.get_context", lambda _: forked)
    assert main(["compile"]) == 0
    lines = sorted(capsys.readouterr().out.splitlines())
    rooms = ["boosted trees", "clusters", "linear models", "trees"]
    assert [room in line for room, line in zip(rooms, lines, strict=True)] == [True] * 4


def test_columns_are_aligned() -> None:
    assert columns(["a", "bb"], [["x", "1"], ["long", "22"]]) == (
        "a     bb\n--------\nx      1\nlong  22"
    )


def test_load_table_adds_up_the_workers() -> None:
    run = Run()
    tasks = (
        TaskEvent("tcp://a", 0, 1, 300, 3_000_000, 0.0, 1.0),
        TaskEvent("tcp://b", 1, 1, 100, 1_000_000, 0.0, 3.0),
    )
    run.events += [
        RoundEvent("F-1", i, n, 0.0, 3.0, 0, 1, tasks) for i, n in enumerate(["load", "r"])
    ]
    rows = [line.split() for line in load_table(run).splitlines()]
    assert rows[2] == ["tcp://a", "300", "3.00", "2.00"]
    assert rows[3] == ["tcp://b", "100", "1.00", "6.00"]
    assert rows[4][-3:] == ["1.50", "1.50", "1.50"]
