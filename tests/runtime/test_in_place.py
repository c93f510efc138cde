"""Persisted parts are checked where they lie, without a task; where that can't be, tasks load them."""

from __future__ import annotations

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pytest
from distributed import futures_of, wait

import daskml_kit
from daskml_kit.exceptions import InvalidDataError
from daskml_kit.runtime import graph, in_place
from daskml_kit.runtime.in_place import Waiting, assembly
from daskml_kit.runtime.ingest import Spec, load
from daskml_kit.runtime.opening import open_dataset
from daskml_kit.runtime.placement import Piece
from tests.runtime.inputs import LABELS, WEIGHT, N, X, frame
from tests.runtime.test_open_dataset import CLASSES, check_rows

CHUNKS = (20, 0, 40, 23)


def resident(client, *arrays):
    """Chunks of arrays on every worker."""
    lazy = [da.from_array(a, chunks=(CHUNKS, *((-1,) * (a.ndim - 1)))) for a in arrays]
    held = client.persist(lazy)
    wait(held)
    client.replicate(futures_of(held))
    return held


def left(client):
    """Checked blocks that still wait on workers."""
    found = client.run(lambda: (len(in_place.waiting.blocks), len(in_place.waiting.taken)))
    return sum(map(sum, found.values()))


def loads_by_tasks(monkeypatch):
    """A list that grows when parts are loaded by tasks."""
    seen, plan = [], graph.load_plan
    monkeypatch.setattr(graph, "load_plan", lambda *args: seen.append(args) or plan(*args))
    return seen


@pytest.mark.parametrize("kind", ["arrays", "frame", "int"])
def test_persisted_parts_need_no_tasks(client, monkeypatch, kind):
    """Also where parts are other names of what was persisted, and where a checked block is a copy."""
    by_tasks = loads_by_tasks(monkeypatch)
    if kind == "frame":
        rows = dd.from_pandas(frame(), npartitions=3, sort=False).persist()
        wait(rows)
        data, executor = open_dataset(rows, spec=Spec("Tester"))
        assert sum(b.n_rows for b in data.bundles) == N
    elif kind == "int":
        (rows,) = resident(client, np.arange(2 * N).reshape(N, 2))
        data, executor = open_dataset(rows, spec=Spec("Tester"))
        blocks = [block for b in data.bundles for block in b.handle.result()]
        assert sum(block.X.sum() for block in blocks) == N * (2 * N - 1)
    else:
        data, executor = open_dataset(*resident(client, X, LABELS, WEIGHT), spec=CLASSES)
        check_rows(data)
    assert by_tasks == []
    assert left(client) == 0
    assert [event.name for event in executor.log.rounds] == ["load"]
    assert {task.worker for task in executor.log.rounds[0].measured} == {
        b.worker for b in data.bundles
    }
    data.release()
    executor.close()


@pytest.mark.parametrize("why", ["labels elsewhere", "no memory", "graph"])
def test_else_tasks_load_them(client, monkeypatch, why):
    by_tasks = loads_by_tasks(monkeypatch)
    held = resident(client, X, LABELS, WEIGHT)
    if why == "labels elsewhere":  # in this process
        held[1] = LABELS
    elif why == "no memory":
        monkeypatch.setattr(in_place, "RESIDENT_MEMORY_SHARE", 1e-9)
    with daskml_kit.config_context(executor="graph" if why == "graph" else "auto"):
        data, executor = open_dataset(*held, spec=CLASSES)
    check_rows(data)
    assert len(by_tasks) == 1
    assert left(client) == 0
    data.release()
    executor.close()


def test_a_bad_part_is_named_and_nothing_is_kept(client):
    bad = X.copy()
    bad[25, 1] = np.nan
    with pytest.raises(InvalidDataError, match=r"NaN.*\(block 2; 1 of 4 blocks\)"):
        open_dataset(*resident(client, bad, LABELS, WEIGHT), spec=CLASSES)
    assert left(client) == 0


def test_a_bundle_is_made_again_from_its_parts():
    """As after a worker was lost: no checked block waits there."""
    pieces = [Piece(0, 0, 20, 0, 800), Piece(2, 10, 40, 20, 1200)]
    make = assembly("elsewhere", Spec(), [pieces])
    bundle = make(pieces, None, [(X[:20], None, None), (X[20:60], None, None)])
    np.testing.assert_array_equal(bundle.joined().blocks[0].X, X[np.r_[:20, 30:60]])


def test_blocks_wait_until_they_were_taken_as_often_as_planned():
    waiting = Waiting()
    waiting.keep("fit", load(3, Spec(), X))
    waiting.keep("other", load(3, Spec(), X))
    assert waiting.take("fit", 3, 2) is not None
    assert waiting.take("fit", 3, 2) is not None
    assert waiting.take("fit", 3, 2) is None
    assert waiting.take("other", 3, 2) is not None
    waiting.forget("other")
    waiting.forget("other")
    assert not waiting.blocks
    assert not waiting.taken
