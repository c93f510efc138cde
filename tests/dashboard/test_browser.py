"""The page in a real browser, while two fits run: it shows what was recorded, and every plot has data."""

from __future__ import annotations

import threading
from collections import defaultdict

import dask.array as da
import numpy as np
import pytest
from distributed import Client, LocalCluster

import daskml_kit
from daskml_kit.cluster import KMeans
from daskml_kit.dashboard import install
from daskml_kit.dashboard.live import ALL, NOTHING_YET
from daskml_kit.linear_model import LogisticRegression
from daskml_kit.runtime.events import TOPIC
from tests.dashboard.browser import opened
from tests.integration.clusters import local_cluster

pytestmark = pytest.mark.cluster

rng = np.random.default_rng(0)
X = rng.normal(size=(20_000, 8))
Y = X[:, 0] + rng.normal(size=20_000) > 0


def fit_both(running: threading.Event) -> None:
    """Two fits of a few dozen rounds at once, the second in a thread, until the page has seen them."""
    Xd, yd = da.from_array(X, chunks=(2_500, 8)), da.from_array(Y, chunks=2_500)
    models = (
        KMeans(8, n_init=1, init="random", max_iter=30, tol=0, random_state=0, verbose=0),
        LogisticRegression(solver="lbfgs", tol=1e-10, max_iter=40),
    )
    threads = [
        threading.Thread(target=model.fit, args=(Xd, yd)[: i + 1]) for i, model in enumerate(models)
    ]
    for thread in threads:
        thread.start()
    running.set()
    for thread in threads:
        thread.join()


def spent_by_worker(run: daskml_kit.Run, kind: str) -> dict[str, float]:
    """Seconds of one kind, straight from the events."""
    total: dict[str, float] = defaultdict(float)
    for event in run.rounds:
        for task in event.tasks:
            share = task.compute_seconds / task.threads if kind == "compute" else 0.0
            total[task.worker.rpartition("://")[2]] += share or getattr(task, f"{kind}_seconds")
    return total


@pytest.fixture
def alone():
    """A cluster of its own: the page of a shared one shows the fits of other tests too."""
    with local_cluster() as client:
        yield client


def test_two_fits_live_on_the_page(alone, tmp_path):
    with opened(install(alone), tmp_path) as tab:
        page, begun = tab.page, threading.Event()
        page.wait_for_selector(".bk-Div")
        with daskml_kit.record() as run:
            fits = threading.Thread(target=fit_both, args=(begun,))
            fits.start()
            begun.wait()
            page.wait_for_selector(".running", timeout=60_000)  # the page shows them while they run
            tab.shoot("running")
            fits.join()
        for name in run.fits:
            page.wait_for_selector(f"tr:has-text('{name}'):has-text('finished')", timeout=30_000)
        page.locator("select").select_option(ALL)
        page.wait_for_selector(f"text=rounds of {', '.join(run.fits)}.")
        page.wait_for_timeout(500)  # for the last paint

        # Every plot has data, and shows them.
        sizes = tab.sources()
        assert {"loads", "boxes", "path"} < sizes.keys()
        assert len([name for name in sizes if name.startswith("curves: ")]) == 4
        assert min(sizes.values()) > 0, sizes
        assert min(tab.painted()) > 10
        assert tab.shoot("light")[-1, 0].tolist() == [255, 255, 255]

        # What it shows is what was recorded.
        workers = tab.column("loads", "worker")
        for kind in ("compute", "transfer", "wait"):
            recorded = spent_by_worker(run, kind)
            assert dict(zip(workers, tab.column("loads", kind), strict=True)) == pytest.approx(
                recorded
            )
        lengths = np.subtract(tab.column("boxes", "right"), tab.column("boxes", "left"))
        assert set(np.round(lengths, 6)) <= {
            round(t.compute_seconds, 6) for e in run.rounds for t in e.tasks
        }
        for name in run.fits:
            own = [r for r in run.rounds if r.fit == name]
            title = f"curves: {name.rpartition('-')[0]}: objective"
            (values,) = tab.column(title, "ys")
            assert values == [r.objective for r in own if r.objective is not None]
            row = page.locator(f"tr:has-text('{name}')").inner_text().split("\t")
            assert row[1:4] == ["finished", str(len(own)), str(sum(r.passes for r in own))]

        # One fit; over seconds; then the other theme, on a page that opens after the fits.
        page.locator("select").select_option(run.fits[0])
        page.wait_for_selector(f"text=rounds of {run.fits[0]}.")
        page.wait_for_timeout(300)
        assert sum(tab.column("loads", "rows")) == len(X)
        walls = [sum(tab.column("loads", kind)) for kind in ("compute", "transfer", "wait", "idle")]
        own = [r for r in run.rounds if r.fit == run.fits[0]]
        wall = own[-1].started + own[-1].seconds - own[0].started
        assert sum(walls) == pytest.approx(len(workers) * wall, rel=0.03)
        page.locator("button:has-text('over seconds')").click()
        page.wait_for_timeout(500)
        assert max(
            tab.column("curves: Imbalance of each round: 1 is perfect balance", "xs")[0]
        ) != (len(own) - 1)
        page.locator("text=dark theme").click()
        page.wait_for_selector("text=light theme")
        page.wait_for_timeout(1500)
        assert max(tab.shoot("dark")[-1, 0]) < 60
        assert min(tab.painted()) > 10
        assert tab.errors == []


def test_behind_a_prefix_and_with_hundreds_of_workers(make_fit, tmp_path):
    n = 250
    workers = [f"tcp://10.0.{i // 100}.{i % 100}:4000" for i in range(n)]
    seconds = [0.1 + 0.3 * (i == 7) for i in range(n)]
    events = make_fit(workers=workers, seconds=seconds, rows=[1000] * n, end=None, fit_id="a")
    off = {"dashboard_address": "127.0.0.1:0", "scheduler_kwargs": {"http_prefix": "/user/ada"}}
    with (
        LocalCluster(n_workers=0, processes=False, **off) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        install(client)
        client.log_event(TOPIC, [e.as_dict() for e in events])
        port = client.scheduler_info()["services"]["dashboard"]
        with opened(f"http://127.0.0.1:{port}/user/ada/load-balance", tmp_path) as tab:
            tab.page.wait_for_selector(".bk-Figure")
            tab.page.wait_for_timeout(1000)
            assert NOTHING_YET not in tab.page.content()
            assert tab.column("loads", "worker")[0] == "10.0.0.7:4000"  # the straggler on top
            assert len(tab.column("loads", "worker")) <= 100
            tab.shoot("hundreds")
            assert tab.errors == []
