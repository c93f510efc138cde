"""A worker that stalls once does not hold a round up: its bundle is run a second time elsewhere."""

from __future__ import annotations

import os
import time

import dask.array as da
import numpy as np
import pytest

import daskml_kit
from daskml_kit.runtime import duplicates
from daskml_kit.runtime.events import imbalance
from daskml_kit.runtime.ingest import Spec
from daskml_kit.runtime.opening import open_dataset
from daskml_kit.runtime.reduction import Reduction

X = np.arange(2_000.0)[:, None]
STALL = 5.0  # seconds; whoever waited for it would get its answer


def stalling(block, order):
    """Stalls in the process and on the one occasion that the order names."""
    pid, marker = order
    if os.getpid() == pid and marker.exists():
        marker.unlink()
        time.sleep(STALL)
    return block.X.sum(), block.n_rows


def both(a, b):
    return a[0] + b[0], a[1] + b[1]


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(duplicates, "LONG_SECONDS", 0.2)


def test_the_first_answer_wins(client, tmp_path, impatient):
    marker = tmp_path / "stall"
    address, pid = next(iter(client.run(os.getpid).items()))
    with daskml_kit.config_context(executor="graph", balance="data"):
        data, executor = open_dataset(da.from_array(X, chunks=(500, -1)), spec=Spec())
    reduction = Reduction("stalling", stalling, both)
    with data:
        executor.reduce(data, reduction, (pid, marker))
        marker.touch()
        for _ in range(2):
            assert executor.reduce(data, reduction, (pid, marker)) == (X.sum(), len(X))
        assert not marker.exists()
        first, second, third = executor.log.rounds[1:]
        assert {t.worker for t in first.tasks} == set(
            client.scheduler_info(n_workers=-1)["workers"]
        )
        for event in (second, third):  # the bundle stays where it was answered
            assert address not in {t.worker for t in event.tasks}
            assert sum(t.rows for t in event.tasks) == len(X)
            assert imbalance(event.busy_seconds.values()) == 1.0
    executor.close()


def test_an_error_is_no_answer_to_wait_for(client, impatient):
    with daskml_kit.config_context(executor="graph"):
        data, executor = open_dataset(da.from_array(X, chunks=(500, -1)), spec=Spec())
    with data, pytest.raises(ZeroDivisionError):
        executor.reduce(data, Reduction("bad", failing, both), None)
    executor.close()


def failing(block, params):
    time.sleep(0.3)
    return 1 / 0
