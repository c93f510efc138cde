"""What a fit says of a cluster that cannot run it, without waiting for one to be broken."""

from __future__ import annotations

import pytest

from daskml_kit.exceptions import ClusterError
from daskml_kit.runtime import cluster
from daskml_kit.runtime.placement import WorkerInfo

WORKERS = {a: WorkerInfo(a) for a in ("a", "b")}


class Answering:
    """A client whose workers answer the probe as they are told."""

    def __init__(self, **answers):
        self.id = repr(answers)
        self.answers = answers
        self.asked = []

    def run(self, function, *args, workers, on_error):
        assert on_error == "return"
        self.asked.append(workers)
        return {a: self.answers[a] for a in workers}


def test_workers_are_asked_once():
    client = Answering(a="0.1", b="0.1")
    assert cluster.require_package(client, WORKERS) == WORKERS
    assert cluster.require_package(client, WORKERS) == WORKERS
    assert client.asked == [["a", "b"]]


def test_a_worker_lost_while_asked_is_left_out():
    client = Answering(a=OSError("closed"), b="0.1")
    assert list(cluster.require_package(client, WORKERS)) == ["b"]


def test_all_workers_lost():
    client = Answering(a=OSError("closed"), b=OSError("closed"))
    with pytest.raises(ClusterError, match="All 2 workers were lost"):
        cluster.require_package(client, WORKERS)


def test_workers_without_the_package():
    client = Answering(a=ModuleNotFoundError("No module named 'daskml_kit'"), b="0.1")
    with pytest.raises(ClusterError, match=r"1 of 2 workers cannot import .*PipInstall"):
        cluster.require_package(client, WORKERS)


class Deserted:
    """A client of a cluster that no worker ever joins."""

    class scheduler:  # noqa: N801
        address = "tcp://nowhere"

    def scheduler_info(self, n_workers):
        return {"workers": {}}

    def submit(self, fn, *, pure):
        return self  # the task by which an adaptive cluster would grow

    def release(self):
        self.released = True

    def wait_for_workers(self, n, timeout):
        raise TimeoutError


def test_no_workers():
    client = Deserted()
    with pytest.raises(ClusterError, match=r"tcp://nowhere has no workers .*cluster\.scale\(2\)"):
        cluster.workers_of(client)
    assert client.released


def test_no_client_is_no_error():
    assert cluster.active_client() is None
