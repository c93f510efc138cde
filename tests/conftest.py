"""Clusters shared by the whole session, and what every test may lean on."""

from __future__ import annotations

from collections.abc import Iterator

import dask.config
import pytest
from distributed import Client, LocalCluster, default_client


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
