"""What one round costs, by executor and number of chunks: 1,000 floats out, 1,000 floats back."""

from __future__ import annotations

import multiprocessing
import operator
import socket
import statistics
import time
from collections.abc import Callable

import dask.array as da
import numpy as np
from distributed import Client, LocalCluster, wait

import daskml_kit
from benchmarks.harness import Timing, interleave, table
from daskml_kit.runtime.block import Block
from daskml_kit.runtime.events import FitLog
from daskml_kit.runtime.ingest import Spec
from daskml_kit.runtime.opening import open_dataset
from daskml_kit.runtime.reduction import Reduction

N_ROWS, N_COLUMNS = 51_200, 10
CHUNKS = (8, 32, 128, 512)
WIDTH = 1_000
ROUNDS, IN_A_ROW = 25, 5
LED = 100
UNROLLED = "graph executor, 10 rounds unrolled (a round)"
COLUMNS = ("actor", "graph", "submit", "expression")


def touch(block: Block, params: np.ndarray) -> np.ndarray:
    """Next to no work, so that what is left is the round."""
    return params + block.n_rows


ROUND: Reduction[np.ndarray, np.ndarray, np.ndarray] = Reduction("touch", touch, operator.add)


def expression(X: da.Array, params: np.ndarray) -> np.ndarray:
    """The same as a fresh dask.array expression: what one writes without this package."""
    total = X.map_blocks(_rows_plus, params, dtype=float, chunks=(1, WIDTH)).sum(axis=0)
    return total.compute()


def _rows_plus(part: np.ndarray, params: np.ndarray) -> np.ndarray:
    return (params + len(part))[None]


def _submit(client: Client, futures: list, params: np.ndarray) -> list:
    held = client.who_has(futures)
    homes = [next(iter(held[f.key])) for f in futures]
    tasks = [
        client.submit(_rows_plus, f, params, workers=[h], allow_other_workers=True, pure=False)
        for f, h in zip(futures, homes, strict=True)
    ]
    return client.gather(tasks)


def loopback_seconds(nbytes: int, n_trips: int = 500) -> float:
    """Seconds for so many bytes to go to another process of this machine and back: the floor of a round.

    Two blocking sockets, and nothing on the way: no messages to pack, no event loop, no other thread.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        context = multiprocessing.get_context("spawn")
        mirror = context.Process(target=_mirror, args=(server.getsockname(), nbytes, n_trips))
        mirror.start()
        line, _ = server.accept()
        sent, back = bytes(nbytes), bytearray(nbytes)
        seconds = []
        with line:
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for _ in range(n_trips):
                begun = time.perf_counter()
                line.sendall(sent)
                _receive(line, back)
                seconds.append(time.perf_counter() - begun)
        mirror.join()
    return statistics.median(seconds)


def _mirror(address: tuple[str, int], nbytes: int, n_trips: int) -> None:
    back = bytearray(nbytes)
    with socket.create_connection(address) as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(n_trips):
            _receive(line, back)
            line.sendall(back)


def _receive(line: socket.socket, into: bytearray) -> None:
    view = memoryview(into)
    while view:
        view = view[line.recv_into(view) :]


def report() -> str:
    """Run it; the section of the report."""
    params = np.zeros(WIDTH)
    floor = loopback_seconds(params.nbytes) * 1e3
    body = []
    spec, data = Spec(), np.random.default_rng(0).random((N_ROWS, N_COLUMNS))
    local, executor = open_dataset(data, spec=spec)
    timing = interleave({"local": lambda: executor.reduce(local, ROUND, params)}, ROUNDS)
    local_ms = timing["local"].median * 1e3
    executor.close()
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
    ):
        for n in CHUNKS:
            X = client.persist(da.random.random((N_ROWS, N_COLUMNS), chunks=(N_ROWS // n, -1)))
            wait(X)
            with daskml_kit.config_context(executor="graph"):
                resident, graph = open_dataset(X, spec=spec, log=FitLog("bench"))
            with daskml_kit.config_context(executor="actor"):
                called, actor = open_dataset(X, spec=spec, log=FitLog("bench"))
            whole = client.scatter([data[: N_ROWS // 2], data[N_ROWS // 2 :]])
            cases = {
                "actor": lambda r=called, a=actor: a.reduce(r, ROUND, params),
                "graph": lambda r=resident, g=graph: g.reduce(r, ROUND, params),
                "submit": lambda w=whole: _submit(client, w, params),
            }
            timing = _in_a_row(cases)
            # Apart: the scheduler is still forgetting the expression's tasks when the next case begins.
            timing |= interleave({"expression": lambda x=X: expression(x, params)}, 5)
            led = interleave({"led": lambda r=called, a=actor: _led(a, r, params)}, 5)
            unrolled = interleave(
                {"unrolled": lambda r=resident, g=graph: _unrolled(g, r, params)}, 5
            )
            for data_set, owner in ((resident, graph), (called, actor)):
                data_set.release()
                owner.close()
            body.append(
                [
                    str(n),
                    f"{led['led'].median * 1e3 / LED:.2f}",
                    *(f"{timing[k].median * 1e3:.1f}" for k in COLUMNS),
                    f"{unrolled['unrolled'].median * 1e3 / 10:.1f}",
                ]
            )
    led, calls, graphs, submits = ([float(row[i]) for row in body] for i in (1, 2, 3, 4))
    flat = [max(figures) / statistics.median(figures) for figures in (calls, graphs)]
    times = statistics.median(submits) / statistics.median(calls)
    less = statistics.median(calls) / statistics.median(led)
    header = [
        "chunks",
        "led by a worker (a round)",
        "actor executor",
        "graph executor",
        "pinned submit and gather",
    ]
    return f"""## One round, {WIDTH:,} floats, 2 workers (milliseconds, medians of {ROUNDS})

{table([*header, "dask.array expression", UNROLLED], body)}

Rounds of one kind are measured {IN_A_ROW} in a row, as in a fit, the kinds in turn.
Neither executor's round grows with the number of chunks (largest over median: {flat[0]:.2f}, {flat[1]:.2f}).
A direct call is {times:.1f} times as fast as a pinned submit and gather. A round led by a worker ({LED} in
a row, with the driver's messages for each batch of them) is {less:.1f} times as fast as a direct call.
The local executor's round, in this process: {local_ms:.2f} ms.
Floor: {floor:.2f} ms, the same bytes to another process and back through two blocking sockets of the loopback
device; a led round takes {statistics.median(led) / floor:.1f} times that.
"""


def _in_a_row(cases: dict[str, Callable[[], object]]) -> dict[str, Timing]:
    """As in a fit, a few rounds of one kind after each other; the kinds in turn.

    The first is not counted: the scheduler and the workers still forget the tasks of the kind before.
    """
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(ROUNDS // IN_A_ROW):
        for name, case in cases.items():
            for i in range(IN_A_ROW + 1):
                begun = time.perf_counter()
                case()
                if i:
                    seconds[name].append(time.perf_counter() - begun)
    return {name: Timing(tuple(s)) for name, s in seconds.items()}


def _led(executor: object, data: object, params: np.ndarray) -> None:
    left = LED
    while left:
        left, _ = executor.lead(data, _rounds, (left, params))


def _rounds(executor, data, state, go_on):
    left, params = state
    while True:
        executor.reduce(data, ROUND, params)
        left -= 1
        if not left or not go_on():
            return left, params


def _unrolled(executor: object, data: object, params: np.ndarray) -> None:
    executor.iterate(data, ROUND, params, point=_same, update=_second, n_rounds=10)


def _same(state: np.ndarray) -> np.ndarray:
    return state


def _second(_: np.ndarray, total: np.ndarray) -> np.ndarray:
    return total
