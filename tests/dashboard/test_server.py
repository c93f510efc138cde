"""The page on real schedulers: of this process, and of another one with and without the preload."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dask
import pytest
from bokeh.client import pull_session
from distributed import Client, LocalCluster

import daskml_kit
from daskml_kit.dashboard import install, server
from daskml_kit.dashboard.figures import models
from daskml_kit.exceptions import ClusterError, InvalidParameterError
from daskml_kit.runtime.events import TOPIC

ROOT = Path(daskml_kit.__file__).parents[1]


@contextmanager
def scheduler_process(folder: Path, *options: str) -> Iterator[Client]:
    file = folder / "scheduler.json"
    places = ("--host", "127.0.0.1", "--port", "0", "--dashboard-address", "127.0.0.1:0")
    process = subprocess.Popen(
        [sys.executable, "-m", "dask", "scheduler", *places, "--scheduler-file", file, *options],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with Client(scheduler_file=str(file), timeout=60, set_as_default=False) as client:
            yield client
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Iterator[Client]:
    with scheduler_process(tmp_path_factory.mktemp("plain")) as client:
        yield client


@pytest.fixture(scope="module")
def preloaded(tmp_path_factory) -> Iterator[Client]:
    options = ("--preload", "daskml_kit.dashboard.preload")
    with scheduler_process(tmp_path_factory.mktemp("preloaded"), *options) as client:
        yield client


@contextmanager
def local_cluster(**options) -> Iterator[Client]:
    with (
        LocalCluster(n_workers=0, processes=False, **options) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def publish(client: Client, events) -> None:
    client.log_event(TOPIC, [event.as_dict() for event in events])
    client.sync(client.scheduler.identity)  # comes back after what was sent before


def fetch(address: str) -> str:
    with urllib.request.urlopen(address, timeout=20) as answer:
        return answer.read().decode()


def wait_for(true: Callable[[], bool], seconds: float = 15.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def texts(session) -> str:
    return " ".join(d.text for d in session.document.select({"type": models.Div}))


def port_of(client: Client) -> int:
    return client.scheduler_info()["services"]["dashboard"]


def plot_data(session) -> list[dict]:
    return [s.data for s in session.document.select({"type": models.ColumnDataSource})]


def routes_of(client: Client) -> list[str]:
    return client.run_on_scheduler(_served)


def _served(dask_scheduler):
    apps = dask_scheduler.http_application.applications
    return [path for app in apps for path in getattr(app, "app_paths", ())]


# --- a scheduler in another process ----------------------------------------------------------


@pytest.mark.cluster
def test_the_page_comes_to_a_running_scheduler_and_is_live(plain, make_fit):
    publish(plain, make_fit("Ridge-1"))  # before the page: read from the scheduler's log
    address = install(plain)
    assert address == f"http://127.0.0.1:{port_of(plain)}/load-balance"
    html = fetch(address)
    assert "bokeh.min.js" in html
    assert ">Load-Balance</a>" in html
    assert ">Load-Balance</a>" in fetch(address.replace("load-balance", "status"))

    session = pull_session(url=address)
    try:
        assert session.document.title == "Dask: Load Balance"
        assert "Ridge-1" in texts(session)
        assert any(list(d.get("fit", ())) == ["Ridge-1"] for d in plot_data(session))
        publish(plain, make_fit("KMeans-2"))

        def arrived() -> bool:
            time.sleep(0.6)  # longer than the page's interval: a pull keeps the document locked
            session.pull()  # the document of the same session, as the server has it now
            return "KMeans-2" in texts(session)

        wait_for(arrived)
    finally:
        session.close()


@pytest.mark.cluster
def test_a_driver_that_goes_takes_its_fits_along(plain, make_fit):
    page = install(plain)
    with Client(plain.scheduler.address, set_as_default=False) as other:
        events = make_fit("Lasso-1", end=None, fit_id="gone")
        other.log_event(TOPIC, [{**e.as_dict(), "client": other.id} for e in events])
        other.sync(other.scheduler.identity)
    wait_for(lambda: "lost" in dict(plain.run_on_scheduler(_states)).get("Lasso-1", ""))
    assert page


def _states(dask_scheduler):
    return [(f.label, f.state) for f in dask_scheduler.plugins[server.PLUGIN].seen.fits]


@pytest.mark.cluster
def test_installing_twice_changes_nothing(plain):
    first = install(plain)
    before = routes_of(plain)
    with Client(plain.scheduler.address, set_as_default=False) as other:
        assert install(other) == first
    assert install(plain) == first
    assert routes_of(plain) == before
    assert before.count("/load-balance") == 1
    assert fetch(first).count(">Load-Balance</a>") == 1


@pytest.mark.cluster
def test_with_the_preload_the_page_is_there_from_the_start(preloaded, make_fit):
    publish(preloaded, make_fit("Ridge-1"))
    root = f"http://127.0.0.1:{port_of(preloaded)}"
    assert ">Load-Balance</a>" in fetch(f"{root}/status")
    plots = json.loads(fetch(f"{root}/individual-plots.json"))
    assert plots["Individual Load Balance"] == "/individual-load-balance"  # JupyterLab lists these
    for name in ("load-balance", "fit-rounds", "fit-objective", "fit-imbalance"):
        assert f"/individual-{name}" in plots.values()
        session = pull_session(url=f"{root}/individual-{name}")
        assert any(len(column) for d in plot_data(session) for column in d.values())
        session.close()
    before = routes_of(preloaded)
    assert install(preloaded) == f"{root}/load-balance"
    assert routes_of(preloaded) == before


# --- a scheduler in this process -------------------------------------------------------------


def test_a_message_that_cannot_be_read_harms_nothing(make_fit):
    plugin = server.LoadBalancePlugin()
    for strange in (None, 3, ["x"], [{}], [{"kind": "fit", "unknown": 1}], {"kind": "round"}):
        plugin.log_event(TOPIC, strange)
    plugin.log_event("another topic", [e.as_dict() for e in make_fit()])
    assert plugin.seen.fits == []
    plugin.log_event(TOPIC, [e.as_dict() for e in make_fit()])
    assert len(plugin.seen.fits) == 1


def test_a_proxy_in_the_dashboards_link_is_kept():
    with local_cluster(dashboard_address="127.0.0.1:0") as client:
        link = "https://hub.example/user/ada/proxy/{port}/status"
        with dask.config.set({"distributed.dashboard.link": link}):
            address = install(client)
        assert address == f"https://hub.example/user/ada/proxy/{port_of(client)}/load-balance"


def test_a_scheduler_without_dashboard_is_refused():
    # What dashboard_address=None amounts to, without its fixed port.
    off = {"dashboard_address": "127.0.0.1:0", "scheduler_kwargs": {"dashboard": False}}
    with (
        local_cluster(**off) as client,
        pytest.raises(ClusterError, match=r"no dashboard.*dashboard_address"),
    ):
        install(client)


@pytest.mark.parametrize("module", ["daskml_kit", "bokeh"])
def test_a_scheduler_without_the_package_is_refused(monkeypatch, module):
    def run_on_scheduler(function, name):
        if name.startswith(module):
            raise ModuleNotFoundError(f"No module named {module!r}")

    with local_cluster(dashboard_address="127.0.0.1:0") as client:
        monkeypatch.setattr(client, "run_on_scheduler", run_on_scheduler)
        with pytest.raises(ClusterError, match=f"cannot import {module}.*pip install"):
            install(client)


def test_what_is_no_client_is_refused():
    with pytest.raises(InvalidParameterError, match=r"must be a distributed\.Client, got NoneType"):
        install(None)


def test_a_closed_client_is_refused():
    with local_cluster(dashboard_address="127.0.0.1:0") as client:
        pass
    with pytest.raises(ClusterError, match="client is closed"):
        install(client)
