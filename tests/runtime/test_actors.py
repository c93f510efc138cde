"""Direct calls to workers: when they are taken, what they leave behind, and what is refused."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from functools import partial

import dask.array as da
import numpy as np
import pytest

import daskml_kit
from daskml_kit.exceptions import InvalidParameterError
from daskml_kit.linear_model import Ridge
from daskml_kit.runtime import actors
from daskml_kit.runtime.actors import ActorExecutor
from daskml_kit.runtime.config import setting
from daskml_kit.runtime.ingest import Spec
from daskml_kit.runtime.opening import open_dataset
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.runtime.remote import GraphExecutor
from tests.integration.clusters import free_port, local_cluster

X = np.random.default_rng(0).normal(size=(600, 3))


def n_rows(block, params):
    return block.n_rows


def slowly(block, seconds):
    time.sleep(seconds)
    return block.n_rows


def remembering(block, params):
    """How often this block was asked before."""
    block.scratch["asked"] = block.scratch.get("asked", 0) + 1
    return block.scratch["asked"]


ROWS = Reduction("rows", n_rows, int.__add__)
SLOW = Reduction("slow", slowly, int.__add__)
ASKED = Reduction("asked", remembering, max)


@pytest.fixture
def opened(client):
    data, executor = open_dataset(da.from_array(X, chunks=(50, -1)), spec=Spec())
    yield data, executor
    data.release()
    executor.close()


@pytest.fixture
def graphs(monkeypatch):
    """Names of the reductions that ran as task graphs."""
    names, reduce = [], GraphExecutor.reduce

    def counted(self, data, reduction, params, **how):
        names.append(reduction.name)
        return reduce(self, data, reduction, params, **how)

    monkeypatch.setattr(GraphExecutor, "reduce", counted)
    return names


def test_short_rounds_are_called_directly(opened, graphs):
    data, executor = opened
    assert type(executor) is ActorExecutor
    assert [executor.reduce(data, ROWS, None) for _ in range(3)] == [len(X)] * 3
    assert graphs == []
    for event in executor.log.rounds[1:]:
        assert [t.worker for t in event.tasks] == [b.worker for b in data.bundles]


def raising(error, block, params):
    if params:
        raise error
    return block.n_rows


@pytest.mark.parametrize("error", [SystemExit(7), KeyError(7)])
def test_any_error_of_a_reduction_comes_back(opened, error):
    data, executor = opened
    asked = Reduction("raising", partial(raising, error), int.__add__)
    with pytest.raises(type(error), match="7") as caught:
        executor.reduce(data, asked, True)
    assert caught.value.__notes__[0].startswith("On worker tcp://")
    assert executor.reduce(data, asked, False) == len(X)


def test_a_worker_may_name_its_host():
    where = {"port": (port := free_port()), "contact_address": f"tcp://localhost:{port}"}
    with local_cluster(1, processes=False, protocol="tcp", **where):
        data, executor = open_dataset(da.from_array(X, chunks=(50, -1)), spec=Spec())
        with data:
            assert executor.reduce(data, ROWS, None) == len(X)
            assert GraphExecutor.reduce(executor, data, ROWS, None) == len(X)
            assert {t.worker for r in executor.log.rounds for t in r.tasks} == set(executor.workers)
        executor.close()


def test_scratch_lasts_from_round_to_round(opened):
    data, executor = opened
    assert [executor.reduce(data, ASKED, None) for _ in range(3)] == [1, 2, 3]


def test_long_rounds_become_graphs(opened, graphs, monkeypatch):
    monkeypatch.setattr(actors, "LONG_ROUND_SECONDS", 0.05)
    data, executor = opened
    for seconds in (0.06, 0.0, 0.0):
        executor.reduce(data, SLOW, seconds)
    executor.reduce(data, ROWS, None)
    assert graphs == ["slow"]  # the second: decided by the first, and taken back by itself


def test_large_messages_become_graphs(opened, graphs, monkeypatch):
    monkeypatch.setattr(actors, "LARGE_ROUND_BYTES", 10_000)
    data, executor = opened
    for _ in range(2):
        executor.reduce(data, ROWS, np.zeros(10_000))
    assert graphs == ["rows"]


def test_data_that_fill_a_worker_become_graphs(opened, graphs):
    data, executor = opened
    small = {a: replace(w, memory_limit=5_000) for a, w in executor.workers.items()}
    executor.workers = small
    assert executor.reduce(data, ROWS, None) == len(X)
    assert graphs == ["rows"]
    executor._always = True
    with pytest.raises(InvalidParameterError, match=r"executor='actor' keeps all data in memory"):
        executor.reduce(data, ROWS, None)


def test_more_bundles_than_the_driver_takes_are_merged_on_their_workers(client):
    edges = [*range(0, len(X), 20), len(X)]
    data, executor = open_dataset(
        da.from_array(X, chunks=(50, -1)), spec=Spec(), edges=lambda facts: edges
    )
    with data:
        assert executor.reduce(data, ROWS, None) == len(X)
        event = executor.log.rounds[-1]
        assert [t.bundle for t in event.tasks] == list(range(30))
    executor.close()


class UnsendableError(Exception):
    def __init__(self, one, two):
        super().__init__(one)


def failing(block, how):
    raise KeyError(how) if how == "plain" else UnsendableError(how, 2)


def test_an_error_says_where_it_was_raised(opened):
    data, executor = opened
    with pytest.raises(KeyError, match="plain") as caught:
        executor.reduce(data, Reduction("bad", failing, max), "plain")
    (note,) = caught.value.__notes__
    assert note.startswith("On worker tcp://")
    assert "in failing" in note
    with pytest.raises(RuntimeError, match=r"UnsendableError.*cannot be sent from tcp://"):
        executor.reduce(data, Reduction("bad", failing, max), "unsendable")


def log_lines(n, dask_worker):
    """What the worker's log would get from n more rounds."""
    record = logging.LogRecord(
        "distributed.worker", logging.INFO, "", 0, "ran %r", ("serve_round",), None
    )
    return sum(
        logging.getLogger("distributed.worker").filter(record) is not False for _ in range(n)
    )


def test_rounds_do_not_fill_the_workers_log(opened, client):
    data, executor = opened
    executor.reduce(data, ROWS, None)
    assert set(client.run(log_lines, 5).values()) == {0}


def test_the_executor_is_a_setting(client, monkeypatch):
    lazy = da.from_array(X, chunks=(50, -1))
    kinds = {"auto": ActorExecutor, "actor": ActorExecutor, "graph": GraphExecutor}
    for name, kind in kinds.items():
        with daskml_kit.config_context(executor=name):
            assert setting("executor") == name
            data, executor = open_dataset(lazy, spec=Spec())
            with data:
                assert type(executor) is kind
            executor.close()
    with daskml_kit.config_context(executor="local"), daskml_kit.record() as run:
        ridge = Ridge().fit(lazy.persist(), lazy[:, 0])
    assert {t.worker for r in run.rounds for t in r.tasks} == {"local-0"}
    np.testing.assert_allclose(ridge.coef_, Ridge().fit(X, X[:, 0]).coef_)
    assert setting("executor") == "auto"


def test_an_impossible_executor_is_refused():
    wanted = r"executor must be one of 'auto', 'actor', 'graph', 'local', got 'spark'"
    with (
        pytest.raises(InvalidParameterError, match=wanted),
        daskml_kit.config_context(executor="spark"),
    ):
        pass
