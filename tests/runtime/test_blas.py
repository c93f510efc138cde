"""BLAS in one thread while a bundle is at work, and as it was afterwards."""

from __future__ import annotations

import operator
import threading

import dask.array as da
import numpy as np
import pytest
from distributed import Client, LocalCluster
from threadpoolctl import OpenBLASController, threadpool_info, threadpool_limits

import daskml_kit
from daskml_kit.runtime.blas import one_thread
from daskml_kit.runtime.block import Block, Bundle
from daskml_kit.runtime.ingest import Spec
from daskml_kit.runtime.opening import open_dataset
from daskml_kit.runtime.reduction import Reduction


def threads() -> set[int]:
    return {found["num_threads"] for found in threadpool_info() if found["user_api"] == "blas"}


def chunk(block: Block, params: None) -> set[int]:
    np.dot(np.ones((2, 2)), np.ones((2, 2)))
    return threads()


def held(bundle: Bundle, params: None) -> Bundle:
    assert threads() == {1}
    return bundle


@pytest.fixture(autouse=True)
def two():
    """Two threads, as on a machine of two processors, held by no thread."""
    with threadpool_limits(2, user_api="blas"):
        OpenBLASController.clear_controlling_thread(force=True)
        yield
        assert threads() == {2}


SEEN: Reduction[None, set[int], set[int]] = Reduction("threads", chunk, operator.or_)
X = np.random.default_rng(0).random((400, 3))


def test_the_last_sets_back_what_the_first_found():
    outer, inner = one_thread(), one_thread()
    outer.__enter__()
    inner.__enter__()
    outer.__exit__(None, None, None)  # not in the order of entry, as with threads side by side
    assert threads() == {1}
    inner.__exit__(None, None, None)
    assert threads() == {2}


def test_threads_side_by_side_leave_it_as_it_was():
    start, seen = threading.Barrier(8), []

    def work() -> None:
        start.wait()
        for _ in range(50):
            with one_thread():
                seen.append(threads() == {1})

    workers = [threading.Thread(target=work) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert all(seen)


def test_an_error_sets_it_back():
    with pytest.raises(ZeroDivisionError), one_thread():
        _ = 1 / 0
    assert threads() == {2}


def test_a_number_that_the_user_holds_is_left_alone():
    user = threading.Thread(target=lambda: (threadpool_limits(2, user_api="blas"), done.wait(10)))
    done = threading.Event()
    user.start()
    with one_thread():
        pass
    done.set()
    user.join()
    assert threads() == {2}


def test_a_round_in_this_process_holds_it():
    data, executor = open_dataset(X, spec=Spec())
    assert executor.reduce(data, SEEN, None) == {1}
    executor.close()


@pytest.mark.parametrize("kind", ["actor", "graph"])
def test_workers_that_no_nanny_started_hold_it(kind):
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None
        ) as cluster,
        Client(cluster),
        daskml_kit.config_context(executor=kind),
    ):
        data, executor = open_dataset(da.from_array(X, chunks=(100, -1)), spec=Spec())
        assert executor.reduce(data, SEEN, None) == {1}
        assert executor.fan(data, "seen", list, lambda _, __: threads(), [0, 1]) == [{1}, {1}]
        mapped = executor.map(data, held, None)
        assert executor.reduce(mapped, SEEN, None) == {1}  # none of the tasks has failed
        mapped.release()
        data.release()
        executor.close()
