"""Persisted parts are checked where they lie, without a task; where that can't be, tasks load them."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from types import SimpleNamespace

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pytest
from distributed import futures_of, wait

import daskml_kit
from daskml_kit.exceptions import InvalidDataError
from daskml_kit.runtime import in_place, loading
from daskml_kit.runtime.actors import ActorExecutor
from daskml_kit.runtime.in_place import Waiting, assembly
from daskml_kit.runtime.ingest import Spec, load
from daskml_kit.runtime.opening import open_dataset
from daskml_kit.runtime.placement import Piece
from tests.integration.clusters import wait_until
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
    seen, plan = [], loading.load_plan
    monkeypatch.setattr(loading, "load_plan", lambda *args: seen.append(args) or plan(*args))
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


@pytest.mark.parametrize("why", ["labels elsewhere", "no memory", "full", "graph"])
def test_else_tasks_load_them(client, monkeypatch, why):
    by_tasks = loads_by_tasks(monkeypatch)
    held = resident(client, X, LABELS, WEIGHT)
    if why == "labels elsewhere":  # in this process
        held[1] = LABELS
    elif why == "no memory":
        monkeypatch.setattr(in_place, "RESIDENT_MEMORY_SHARE", 1e-9)
    elif why == "full":  # with what the process takes already
        monkeypatch.setattr(in_place, "FULL_MEMORY_SHARE", 1e-3)
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
    wait_until(lambda: left(client) == 0)


def test_nothing_is_kept_of_a_fit_that_is_interrupted(client, monkeypatch):
    ask = ActorExecutor.ask

    def interrupted(self, *args, **kwargs):
        ask(self, *args, **kwargs)
        assert left(client) > 0
        raise KeyboardInterrupt

    monkeypatch.setattr(ActorExecutor, "ask", interrupted)
    with pytest.raises(KeyboardInterrupt):
        open_dataset(*resident(client, X, LABELS, WEIGHT), spec=CLASSES)
    wait_until(lambda: left(client) == 0)


class Few:
    """Draws the first row of each bundle."""

    share = 0.02

    def __call__(self, bundle):
        return bundle.cut(0, 1)


def test_nothing_is_kept_where_a_task_ran_elsewhere(client, monkeypatch):
    """What is drawn takes the same blocks once more, unless its worker has to load them."""
    plan, told, tell = loading.assemble_plan, [], ActorExecutor.tell
    workers = sorted(client.has_what())
    there = dict(zip(workers, reversed(workers), strict=True))

    def moved(*args):
        made = plan(*args)
        pins = {key: there[at] if "drawn" in key[0] else at for key, at in made.pins.items()}
        return replace(made, pins=pins)

    monkeypatch.setattr(loading, "assemble_plan", moved)
    monkeypatch.setattr(
        ActorExecutor, "tell", lambda *args, **how: told.append(args) or tell(*args, **how)
    )
    held = resident(client, X, LABELS, WEIGHT)
    data, executor = open_dataset(*held, spec=CLASSES, draws=lambda _: Few())
    assert {b.handle.result().n_rows for b in data.drawn.bundles} == {1}
    assert len(told) == 1
    wait_until(lambda: left(client) == 0)
    data.release()
    executor.close()


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
    assert not waiting.keep("other", load(3, Spec(), X))  # too late
    assert not waiting.blocks
    assert not waiting.taken


def test_forgotten_fits_are_not_remembered_for_ever(monkeypatch):
    monkeypatch.setattr(in_place, "REMEMBERED", 2)
    waiting = Waiting()
    for token in "abcbd":
        waiting.forget(token)
    assert list(waiting.forgotten) == ["c", "d"]


def test_checks_that_run_together_share_the_room():
    waiting = Waiting()
    with waiting.room(6, 10) as first, waiting.room(6, 10) as second, waiting.room(4, 10) as third:
        assert (first, second, third) == (True, False, True)
    with pytest.raises(OSError, match="x"), waiting.room(10, 10):
        raise OSError("x")
    assert waiting.coming == 0


def test_a_check_may_take_longer_than_its_blocks_wait(monkeypatch):
    monkeypatch.setattr(in_place, "waiting", Waiting())
    monkeypatch.setattr(in_place, "FORGET_SECONDS", 0.02)
    seen = []

    def slowly(index, spec, part):
        seen.append(index)
        time.sleep(0.03)
        if index < 0:
            in_place.waiting.forget("fit")
        return load(index, spec, part)

    monkeypatch.setattr(in_place, "load", slowly)

    async def check(token, *indices):
        asked = SimpleNamespace(token=token, spec=Spec(), threads=1)
        facts = await in_place._spread(asked, [(i, [X]) for i in indices])
        kept = len(in_place.waiting.blocks.get(token, ()))
        await asyncio.sleep(0.06)
        assert not in_place.waiting.blocks
        return facts, kept

    facts, kept = asyncio.run(check("other", 0, 1))
    assert (len(facts), kept) == (2, 2)
    seen.clear()
    assert asyncio.run(check("fit", 5, -1, 7)) == (None, 0)
    assert seen == [5, -1]  # the rest is not loaded
    with pytest.raises(TypeError, match="argument"):
        asyncio.run(
            in_place._spread(SimpleNamespace(token="bad", spec=Spec(), threads=1), [(0, [])])
        )
    assert not in_place.waiting.wants("bad")
