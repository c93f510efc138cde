"""Clusters of real processes, and what tests do to them."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dask.config
from distributed import Client, LocalCluster, Worker
from distributed.utils import get_mp_context

ROOT = Path(__file__).parents[2]  # programs import what a test module hands them
QUIET = {"dashboard_address": "127.0.0.1:0"}
# A worker that is told to fetch from a dead one knocks at its door for 30 s by default.
IMPATIENT = {"distributed.comm.timeouts.connect": "10s"}


@contextmanager
def local_cluster(n_workers: int = 2, **how: object) -> Iterator[Client]:
    """Worker processes with nannies, and an active client."""
    with (
        dask.config.set(IMPATIENT),
        LocalCluster(n_workers=n_workers, threads_per_worker=1, **QUIET, **how) as cluster,
        Client(cluster) as client,
    ):
        yield client


def free_port() -> int:
    with socket.socket() as room:
        room.bind(("127.0.0.1", 0))
        return int(room.getsockname()[1])


def _start(
    command: str, *args: str, cwd: Path, env: dict[str, str] | None
) -> subprocess.Popen[bytes]:
    impatient = {f"DASK_{k.replace('.', '__').upper()}": v for k, v in IMPATIENT.items()}
    return subprocess.Popen(
        [sys.executable, "-m", "dask", command, *args],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **impatient, **(env or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@contextmanager
def remote_cluster(
    cwd: Path,
    n_workers: int = 2,
    *,
    worker_args: tuple[str, ...] = (),
    env: dict[str, str] | None = None,
) -> Iterator[str]:
    """A scheduler and workers (no nannies) as programs of their own; yields the address."""
    address = f"tcp://127.0.0.1:{free_port()}"
    how = ("--dashboard-address", "127.0.0.1:0")
    scheduler = _start("scheduler", "--host", address, *how, cwd=cwd, env=env)
    flags = ("--no-nanny", "--nthreads", "1", "--local-directory", str(cwd), *how, *worker_args)
    workers = [_start("worker", address, *flags, cwd=cwd, env=env) for _ in range(n_workers)]
    try:
        yield address
    finally:
        for process in [*workers, scheduler]:
            process.terminate()
        for process in [*workers, scheduler]:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


async def _live(address: str) -> None:
    async with Worker(address, nthreads=1, **QUIET) as worker:
        await worker.finished()


def _work(address: str) -> None:
    asyncio.run(_live(address))


@contextmanager
def lone_workers(client: Client, n_workers: int) -> Iterator[None]:
    """Worker processes without nannies: who dies stays dead."""
    address = client.scheduler.address
    processes = [get_mp_context().Process(target=_work, args=(address,)) for _ in range(n_workers)]
    for process in processes:
        process.start()
    try:
        client.wait_for_workers(n_workers, timeout=60)
        yield
    finally:
        for process in processes:
            process.kill()
            process.join()


def pids(client: Client) -> dict[str, int]:
    """Process of each worker, by address."""
    found: dict[str, int] = client.run(os.getpid)
    return found


def imported(names: list[str]) -> list[str]:
    """Which of these modules this process has imported."""
    return [name for name in names if name in sys.modules]


def kill(pid: int) -> None:
    """No goodbye: as a machine that loses its power."""
    os.kill(pid, signal.SIGKILL)


def wait_until(true, seconds: float = 20.0, seen=lambda: "") -> None:
    """``seen`` tells what is there if it never becomes true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"waited in vain {seen()}"
        time.sleep(0.02)


def states_on(dask_scheduler) -> list[str]:
    """Every key that the scheduler knows of, its state, and who wants it."""
    return [
        f"{key} {task.state} for {task.who_wants} and {task.waiters}"
        for key, task in dask_scheduler.tasks.items()
    ]


def keys_on(dask_scheduler) -> list[str]:
    """Every key that the scheduler knows of."""
    return [str(key) for key in dask_scheduler.tasks]


def ours(client: Client) -> list[str]:
    return [key for key in client.run_on_scheduler(keys_on) if "daskml" in key]
