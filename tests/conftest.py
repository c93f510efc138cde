"""Clusters shared by the whole session, and what every test may lean on."""

from __future__ import annotations

from collections.abc import Iterator

import dask.config
import pytest
from distributed import Client, LocalCluster, default_client
from distributed.utils import get_mp_context

IMPORTED = ["distributed", "daskml_kit.cluster", "daskml_kit.ensemble"]
"""What a worker of a test has imported by its first round; the last brings most of the package."""


@pytest.fixture(scope="session", autouse=True)
def _forked_workers() -> Iterator[None]:
    """Worker processes are forked from one that has imported what they need: five seconds' work for each.

    They are processes of their own all the same, with their own memory, and can be killed. Programs that
    tests run as a user would, and their workers, start as is Dask's default.
    """
    with dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}):
        get_mp_context().set_forkserver_preload(IMPORTED)
        yield


@pytest.fixture(autouse=True)
def _own_scheduler() -> Iterator[None]:
    """Of two clients that overlap, the one that closes last leaves its choice behind (distributed 2026.8)."""
    yield
    try:
        default_client()
    except ValueError:
        dask.config.config.pop("scheduler", None)


@pytest.fixture(scope="session")
def _shared_cluster() -> Iterator[LocalCluster]:
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0"
    ) as cluster:
        yield cluster


@pytest.fixture
def client(_shared_cluster: LocalCluster) -> Iterator[Client]:
    """A client of a shared cluster of two one-thread processes; active for the test only."""
    with Client(_shared_cluster) as client:
        client.wait_for_workers(2)
        yield client
