"""Data larger than the cluster's memory: the fit streams them, and the driver does not notice."""

from __future__ import annotations

import os
import threading

import dask.array as da
import numpy as np
import psutil
import pytest

import daskml_kit
from daskml_kit.linear_model import Ridge
from tests.integration.clusters import local_cluster

pytestmark = pytest.mark.cluster

LIMIT = 600_000_000  # bytes a worker; an idle one, with all libraries imported, takes 250 MB
DATA = 1_400_000_000
D = 50


class Watch(threading.Thread):
    """Largest resident memory of this process above what it had."""

    def __init__(self):
        super().__init__(daemon=True)
        self.process, self.ended = psutil.Process(), threading.Event()
        self.before = self.most = self.process.memory_info().rss

    def run(self):
        while not self.ended.wait(0.05):
            self.most = max(self.most, self.process.memory_info().rss)

    def growth(self):
        self.ended.set()
        self.join()
        return self.most - self.before


def test_data_beyond_memory():
    n = DATA // (8 * D)
    with local_cluster(memory_limit=LIMIT) as client:
        rows = da.random.default_rng(0).standard_normal((n, D), chunks=(25_000, D))
        coef = np.linspace(-1, 1, D)
        workers = set(client.run(os.getpid).values())
        watch = Watch()
        watch.start()
        with daskml_kit.record() as run:
            model = Ridge().fit(rows, rows @ coef)
        grown = watch.growth()
        np.testing.assert_allclose(model.coef_, coef, rtol=1e-5)
        assert sum(t.rows for t in run.rounds[-1].tasks) == n
        assert max(t.nbytes for t in run.rounds[-1].tasks) < 0.1 * LIMIT
        assert set(client.run(os.getpid).values()) == workers  # none was restarted
    assert grown < 0.05 * DATA
