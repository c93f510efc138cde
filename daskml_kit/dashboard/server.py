"""The page on the scheduler: a plugin that hears the events, and the routes that show them.

::

    driver ── log_event(TOPIC, batch) ──> scheduler ── SchedulerPlugin.log_event ──> Aggregate
                                                                                        │
    browser <── websocket ── Bokeh server of the scheduler ── Page.update, 2 a second ──┤
    Prometheus <── /metrics ── the same numbers as gauges and counters ─────────────────┘

The only file that touches ``distributed.dashboard``, which is private to distributed. What it leans on:
``applications`` (routes by address), ``BokehApplication``, ``template_variables`` (the menu, one list
shared by a scheduler's pages), the templates, and the scheduler's ``http_application``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pkgutil import resolve_name
from typing import Any

import dask.config
from bokeh.server.tornado import BokehTornado
from distributed import Client
from distributed.dashboard.components.scheduler import env
from distributed.dashboard.core import BokehApplication
from distributed.dashboard.scheduler import applications, template_variables
from distributed.diagnostics.plugin import SchedulerPlugin
from tornado.ioloop import IOLoop

from daskml_kit.dashboard.aggregate import Aggregate
from daskml_kit.dashboard.live import (
    INTERVAL_MS,
    PAGE,
    PANE,
    ImbalanceView,
    Page,
    Scene,
    StripView,
    objective_only,
)
from daskml_kit.dashboard.look import LIGHT, LOOKS, Look
from daskml_kit.dashboard.prometheus import expose
from daskml_kit.exceptions import ClusterError, InvalidParameterError
from daskml_kit.runtime.events import TOPIC, event_from_dict
from daskml_kit.runtime.machines import WorkerFacts

NAME = "load-balance"
PLUGIN = "daskml-kit-load-balance"

BACKLOG = 1000
"""Messages of the scheduler's event log that are read when the page is installed late."""

logger = logging.getLogger(__name__)


class LoadBalancePlugin(SchedulerPlugin):
    """Hears every event of every fit on the scheduler, and serves the page that shows them."""

    name = PLUGIN
    idempotent = True

    def __init__(self) -> None:
        self.seen = Aggregate()

    async def start(self, scheduler: Any) -> None:
        """Serve the page and the metrics, and read what happened before."""
        serve(scheduler)
        expose(self.seen)
        for _, message in scheduler.get_events(TOPIC)[-BACKLOG:]:
            self.log_event(TOPIC, message)
        for client in {fit.client for fit in self.seen.fits} - {"", *scheduler.clients}:
            self.seen.lose(client)

    def log_event(self, topic: str, msg: Any) -> None:
        """Take in one message: a batch of events."""
        if topic != TOPIC:
            return
        try:
            for event, client in [(event_from_dict(r), r.get("client", "")) for r in msg]:
                self.seen.add(event, client)
        except (AttributeError, KeyError, TypeError, ValueError):
            logger.warning(
                "Events could not be read: do client and scheduler run the same daskml_kit?",
                exc_info=True,
            )

    def remove_client(self, scheduler: Any, client: str) -> None:
        """A driver that goes in the middle of a fit cannot say so itself."""
        self.seen.lose(client)


def serve(scheduler: Any) -> None:
    """Add the routes to a running scheduler's dashboard, once, and the page to its menu.

    Raises
    ------
    ClusterError
        If the scheduler has no dashboard.
    """
    served = [a for a in scheduler.http_application.applications if isinstance(a, BokehTornado)]
    if not served:
        raise ClusterError(
            "The scheduler has no dashboard to add the page to. Start it with one, for example "
            "LocalCluster(dashboard_address=':8787') or dask scheduler --dashboard-address :8787, and "
            "with bokeh installed."
        )
    menu = template_variables(scheduler)
    if NAME not in menu["pages"]:
        menu["pages"].append(NAME)
    if any(f"/{NAME}" in app.app_paths for app in served):
        return
    menu["plots"].extend(
        {"url": route.strip("/"), "name": route.partition("-")[2].replace("-", " ").title()}
        for route in ROUTES
        if route.startswith("/individual-")
    )
    menu["plots"].sort(key=lambda plot: plot["name"])
    app = BokehApplication(ROUTES, scheduler, prefix=served[0].prefix, template_variables=menu)
    scheduler.http_application.add_application(app)
    app.initialize(IOLoop.current())
    app.start()


def add_routes() -> None:
    """Let every scheduler that this process starts from now on serve the page.

    Only so do the single plots reach the list that JupyterLab's Dask extension offers.
    """
    applications.update(ROUTES)


def install(client: Any) -> str:
    """Add the load-balance page to the dashboard of the scheduler that a client is connected to.

    Installing it again, from any client, changes nothing.

    Parameters
    ----------
    client : distributed.Client
        Connected and synchronous. In asynchronous code
        ``await client.register_plugin(daskml_kit.dashboard.server.LoadBalancePlugin())`` instead.

    Returns
    -------
    str
        Address of the page, by the same rule as ``client.dashboard_link``.

    Raises
    ------
    InvalidParameterError
        If it is no client.
    ClusterError
        If the client is closed or asynchronous, or the scheduler has no dashboard or cannot import
        daskml_kit or bokeh.

    Examples
    --------
    >>> from distributed import Client
    >>> from daskml_kit.dashboard import install
    >>> client = Client(processes=False)  # doctest: +SKIP
    >>> install(client)  # doctest: +SKIP
    'http://127.0.0.1:8787/load-balance'
    """
    if not isinstance(client, Client):
        raise InvalidParameterError(
            f"client must be a distributed.Client, got {type(client).__name__}. The page lives on the "
            "scheduler that a client is connected to: install(Client(address))."
        )
    if client.asynchronous:
        raise ClusterError(
            "install() needs a synchronous client. In asynchronous code: await "
            "client.register_plugin(daskml_kit.dashboard.server.LoadBalancePlugin())."
        )
    if client.status != "running":
        raise ClusterError(f"The client is {client.status}. Connect a new one: Client(address).")
    _require(client, "daskml_kit", "daskml-kit")
    _require(client, "bokeh", "bokeh")
    client.register_plugin(LoadBalancePlugin())
    return page_address(client.dashboard_link)


def page_address(dashboard_link: str) -> str:
    """Address of the page beside the dashboard's own.

    >>> page_address("https://hub.example/user/ada/proxy/8787/status")
    'https://hub.example/user/ada/proxy/8787/load-balance'
    """
    return f"{dashboard_link.removesuffix('/status').rstrip('/')}/{NAME}"


def _require(client: Any, module: str, package: str) -> None:
    try:
        client.run_on_scheduler(resolve_name, f"{module}:__version__")
    except ImportError as error:
        raise ClusterError(
            f"The scheduler at {client.scheduler.address} cannot import {module} ({error}). Install it "
            f"in the scheduler's environment (pip install {package}) and start the scheduler again."
        ) from None


def facts_of(scheduler: Any) -> Mapping[str, WorkerFacts]:
    """Threads and memory of each worker, as the scheduler knows them from the last heartbeats."""
    return {
        address: WorkerFacts(
            state.nthreads, state.memory_limit or 0, state.memory.process, state.memory.spilled,
            str(state.name),
        )
        for address, state in scheduler.workers.items()
    }  # fmt: skip


def look_of(doc: Any) -> Look:
    """The theme that the address asks for (``?theme=dark``), or the configuration, or the light one."""
    chosen = dask.config.get("daskml-kit.dashboard.theme", LIGHT.name)
    if doc.session_context is not None and doc.session_context.request is not None:
        asked = doc.session_context.request.arguments.get("theme")
        chosen = asked[0].decode() if asked else chosen
    return LOOKS.get(chosen, LIGHT)


def _show(views: Sequence[Callable[[Scene], Any]], scheduler: Any, extra: Any, doc: Any) -> None:
    plugin = scheduler.plugins.get(PLUGIN)
    seen = plugin.seen if plugin is not None else Aggregate()
    page = Page(Scene(seen, partial(facts_of, scheduler), look_of(doc)), views)
    doc.title = "Dask: Load Balance"
    doc.add_root(page.root)
    doc.add_periodic_callback(page.update, INTERVAL_MS)
    if views is PAGE:
        doc.template = env.get_template("simple.html")
        doc.template_variables.update(extra)


ROUTES: dict[str, Callable[[Any, Any, Any], None]] = {
    f"/{NAME}": partial(_show, PAGE),
    f"/individual-{NAME}": partial(_show, PANE),
    "/individual-fit-rounds": partial(_show, (StripView,)),
    "/individual-fit-objective": partial(_show, (objective_only,)),
    "/individual-fit-imbalance": partial(_show, (ImbalanceView,)),
}
