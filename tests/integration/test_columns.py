"""Wide data on workers of little memory: no task holds more than its columns, a lost worker costs a round."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest

import daskml_kit
from daskml_kit.linear_model import Lasso
from daskml_kit.runtime.events import FitLog, RoundEvent
from daskml_kit.runtime.placement import BUNDLE_MEMORY_SHARE
from tests.integration.clusters import kill, local_cluster, ours, pids, wait_until

pytestmark = pytest.mark.cluster

N, D, WIDTH = 1_000, 20_000, 2_000  # 80 MB of float32, 8 MB a chunk of columns
LIMIT = 700_000_000  # bytes a worker; an idle one, with all libraries imported, takes 250 MB


def test_wide_data_on_two_workers_of_which_one_dies(monkeypatch):
    emit, killed = FitLog.emit, []

    def emit_and_kill(self, event):
        emit(self, event)
        if isinstance(event, RoundEvent) and event.name == "halfsquared-columns" and not killed:
            killed.append(max(pids(client).values()))
            kill(killed[0])

    with local_cluster(memory_limit=LIMIT) as client:
        X = da.random.default_rng(0).standard_normal((N, D), dtype="f4", chunks=(N // 2, WIDTH))
        y = np.asarray(X[:, :20].sum(axis=1).compute(), dtype=np.float64)
        with daskml_kit.record() as run:
            calm = Lasso(0.1, tol=1e-10).fit(X, y)
        looks = [r for r in run.rounds if r.name in ("load", "halfsquared-columns")]
        held = [t.nbytes for r in looks if r.name != "load" for t in r.tasks]
        assert max(held) <= BUNDLE_MEMORY_SHARE * LIMIT < 4 * N * D / 2
        sets = [r for r in run.rounds if r.name == "columns-working-set"]
        assert sets
        assert max(r.bytes_moved for r in sets) < 4 * N * WIDTH  # all that came together anywhere
        sent = max(r.bytes_moved for r in looks if r.name == "halfsquared-columns")
        assert sent < 40 * 8 * N  # vectors of the rows, none of the columns

        monkeypatch.setattr(FitLog, "emit", emit_and_kill)
        again = Lasso(0.1, tol=1e-10).fit(X, y)
        assert killed
        np.testing.assert_allclose(again.coef_, calm.coef_, atol=1e-5)  # float32
        assert again.n_iter_ == calm.n_iter_
        wait_until(lambda: not ours(client))
