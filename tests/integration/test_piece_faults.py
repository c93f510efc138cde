"""A worker killed in a fit that computes on pieces: its dual variables are lost, and found again."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest

from daskml_kit.linear_model import LogisticRegression
from daskml_kit.runtime import leading
from daskml_kit.runtime.events import FitLog, RoundEvent
from tests.integration.clusters import kill, local_cluster, pids

pytestmark = pytest.mark.cluster

rng = np.random.default_rng(5)
X = rng.normal(size=(8_000, 5))
Y = (X @ np.arange(5) + rng.normal(size=8_000) > 0).astype(int)


def test_killed_between_rounds(monkeypatch):
    """One round more, for the pieces that were lost, and the same answer."""
    model = LogisticRegression(solver="cocoa", C=1e-3, tol=1e-4)
    expected = model.fit(X, Y)
    rounds, coef = expected.n_rounds_, expected.coef_
    assert rounds > 8
    # Rounds of the driver: led ones are reported when a batch has ended, which may be the fit.
    monkeypatch.setattr(leading, "SHORT_ROUND_SECONDS", 0.0)
    emit, killed = FitLog.emit, []
    with local_cluster() as client:
        rows, y = da.from_array(X, chunks=(900, -1)), da.from_array(Y, chunks=900)

        def emit_and_kill(self, event):
            emit(self, event)
            if isinstance(event, RoundEvent) and event.round == 4 and not killed:
                killed.append(min(pids(client).values()))
                kill(killed[0])

        monkeypatch.setattr(FitLog, "emit", emit_and_kill)
        model.fit(rows, y)
        assert not [f for f in client.futures if "daskml" in str(f)]
    assert killed
    np.testing.assert_allclose(model.coef_, coef, rtol=1e-9)
    assert rounds < model.n_rounds_ <= rounds + 3  # asked again, with the history
