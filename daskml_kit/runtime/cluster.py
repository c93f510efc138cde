"""The cluster as a fit meets it: which client, which workers, is the package there, who hears of it."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import Any

import distributed
from distributed.comm.core import CommClosedError

from daskml_kit.exceptions import ClusterError, DataLostError
from daskml_kit.runtime.events import TOPIC, Event
from daskml_kit.runtime.placement import WorkerInfo

_PACKAGE = "daskml_kit"
_WORKER_TIMEOUT = 30.0  # seconds
_PUBLISH_SECONDS = (
    0.25  # events are sent in batches at most this often: a message costs more than they do
)


def active_client() -> distributed.Client | None:
    """The running default client of this process, or None."""
    try:
        client = distributed.default_client()
    except ValueError:
        return None
    if client.asynchronous:
        raise ClusterError(
            "A fit waits for its rounds, so it cannot run in the event loop of an asynchronous client. Run "
            "it in a thread: await asyncio.to_thread(estimator.fit, X, y)."
        )
    return client if client.status == "running" else None


def workers_of(client: Any) -> dict[str, WorkerInfo]:
    """Address, threads and memory limit of every worker; waits for the first one to arrive.

    Raises
    ------
    ClusterError
        If no worker arrives within 30 s.
    """
    info = client.scheduler_info(n_workers=-1)["workers"]
    if not info:
        waiting = client.submit(int, pure=False)  # an adaptive cluster grows when there is work
        try:
            client.wait_for_workers(1, timeout=_WORKER_TIMEOUT)
        except TimeoutError:
            raise ClusterError(
                f"The cluster at {client.scheduler.address} has no workers (waited "
                f"{_WORKER_TIMEOUT:.0f} s). Start some, for example with cluster.scale(2)."
            ) from None
        finally:
            waiting.release()
        info = client.scheduler_info(n_workers=-1)["workers"]
    return {a: WorkerInfo(a, w["nthreads"], w["memory_limit"] or None) for a, w in info.items()}


_probed: set[tuple[str, str]] = set()


def require_package(
    client: distributed.Client, workers: dict[str, WorkerInfo]
) -> dict[str, WorkerInfo]:
    """Check once for each worker that it can import this package; those that are still there.

    Raises
    ------
    ClusterError
        Naming the workers that cannot and how to install the package there.
    """
    new = [a for a in workers if (client.id, a) not in _probed]
    if not new:
        return workers
    found = client.run(
        pkgutil.resolve_name, f"{_PACKAGE}:__version__", workers=new, on_error="return"
    )
    gone = {a for a, v in found.items() if isinstance(v, OSError)}  # lost while asked
    missing = {a: v for a, v in found.items() if a not in gone and not isinstance(v, str)}
    if missing:
        address, reason = next(iter(missing.items()))
        raise ClusterError(
            f"{len(missing)} of {len(workers)} workers cannot import {_PACKAGE} (first: {address}: "
            f"{reason!r}). Install it in the workers' environment, or on a running cluster with "
            "client.register_plugin(distributed.PipInstall(packages=['daskml-kit'], "
            "restart_workers=True))."
        )
    if gone.issuperset(workers):
        raise ClusterError(
            f"All {len(workers)} workers were lost while the fit began. Look into their logs "
            "(client.get_worker_logs()), and give them more memory if that is why."
        )
    _probed.update((client.id, a) for a in new if a not in gone)
    return {a: w for a, w in workers.items() if a not in gone}


@contextmanager
def cluster_errors(client: distributed.Client) -> Iterator[None]:
    """Dask's words for what was lost, in ours.

    Raises
    ------
    ClusterError, DataLostError
    """
    try:
        yield
    except ClusterError:
        raise
    except Exception as error:
        lost = isinstance(
            error, CancelledError | distributed.client.FutureCancelledError | CommClosedError
        )
        if client.status != "running" or (lost and not _workers_now(client)):
            raise ClusterError(
                "The cluster was closed, or lost all its workers, while the fit ran. Start it again and "
                f"fit again. Dask said: {error!r}"
            ) from error
        if isinstance(error, CommClosedError):
            raise ClusterError(
                "The connection to the cluster was lost while the fit ran. Connect again and fit again. "
                f"Dask said: {error}"
            ) from error
        if lost:
            raise DataLostError(
                "Blocks were lost with their worker and cannot be computed again: the data were put there "
                "with client.scatter, which keeps no recipe. Build them with dask.array or "
                f"dask.dataframe (from_array, read_parquet, ...) instead. Dask said: {error}"
            ) from error
        raise


@contextmanager
def or_released(futures: Sequence[distributed.Future[Any]]) -> Iterator[None]:
    """Let go of futures where what is done with them fails.

    The frames of the error would hold them for as long as it lives, and the cluster what they stand for.
    """
    try:
        yield
    except BaseException:
        for future in futures:
            future.release()
        raise


def _workers_now(client: Any) -> dict[str, Any]:
    """The workers as the scheduler last told, none where it can't be asked any more."""
    try:
        found: dict[str, Any] = client.scheduler_info(n_workers=-1).get("workers", {})
    except (OSError, TimeoutError):
        return {}
    return found


class Publisher:
    """A listener that sends a fit's events to the scheduler's event log, in batches.

    Sending never blocks the fit: events are queued and leave on the client's own event loop.
    """

    def __init__(self, client: distributed.Client) -> None:
        self._client: Any = client
        self._pending: list[dict[str, Any]] = []
        self._scheduled = False

    def __call__(self, event: Event) -> None:
        self._pending.append({**event.as_dict(), "client": self._client.id})
        if not self._scheduled:
            self._scheduled = True
            self._client.loop.add_callback(
                self._client.loop.call_later, _PUBLISH_SECONDS, self._send
            )

    async def _send(self) -> None:
        self._scheduled = False
        batch, self._pending = self._pending, []
        if batch and self._client.status == "running":
            await self._client.scheduler.log_event(topic=TOPIC, msg=batch)

    def flush(self) -> None:
        """Send what is queued and wait until the scheduler has it."""
        if self._client.status == "running":
            self._client.sync(self._send)
