"""The page from the scheduler's start: ``dask scheduler --preload daskml_kit.dashboard.preload``.

Or, for every scheduler of a process or an environment::

    distributed:
      scheduler:
        preload: [daskml_kit.dashboard.preload]

Importing this module adds the routes, because a scheduler imports its preloads before it builds its
dashboard. So the page is in its menu, and its plots in the list of JupyterLab's Dask extension.
"""

from __future__ import annotations

from typing import Any

from daskml_kit.dashboard.server import LoadBalancePlugin, add_routes

add_routes()


async def dask_setup(scheduler: Any) -> None:
    """Register the plugin that hears the events. Distributed calls this once the scheduler runs."""
    plugin = LoadBalancePlugin()
    await scheduler.register_scheduler_plugin(plugin, name=plugin.name, idempotent=True)
