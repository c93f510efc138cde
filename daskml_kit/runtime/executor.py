"""Where rounds run, as a protocol.

:mod:`local` is threads of this process, :mod:`remote` task graphs on a cluster, :mod:`actors` direct calls
to its workers.

All executors give the same answer; one test suite runs over all of them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar

from daskml_kit.runtime.block import Bundle
from daskml_kit.runtime.dataset import BlockDataset
from daskml_kit.runtime.events import FitLog, RoundEvent, TaskEvent
from daskml_kit.runtime.reduction import Reduction

State = TypeVar("State")
Total = TypeVar("Total")
Params = TypeVar("Params")
Shared = TypeVar("Shared")
Item = TypeVar("Item")
Piece = TypeVar("Piece")
Result = TypeVar("Result")

Steps: TypeAlias = "Callable[[Executor, BlockDataset, State, Callable[[], bool]], State]"
"""(executor, data, state, go_on) -> state, as :meth:`Executor.lead` takes it."""

LEAD_SECONDS = 0.25
"""How long the steps of one :meth:`Executor.lead` go on: then the driver has its turn, with Ctrl-C, progress
and balance."""


class Executor(Protocol):
    """Where the rounds of one fit run."""

    log: FitLog

    def reduce(
        self,
        data: BlockDataset,
        reduction: Reduction[Params, Any, Total],
        params: Params,
        *,
        objective: Callable[[Total], float] | None = None,
    ) -> Total:
        """One round. ``objective`` reads the value to report from the total."""
        ...

    def iterate(
        self,
        data: BlockDataset,
        reduction: Reduction[Params, Any, Total],
        state: State,
        *,
        point: Callable[[State], Params],
        update: Callable[[State, Total], State],
        n_rounds: int,
        objective: Callable[[State], float] | None = None,
    ) -> list[State]:
        """At most ``n_rounds`` rounds, each at ``point(state)``; the states after each.

        Only where running ahead saves messages does an executor do more than one.
        """
        ...

    def lead(self, data: BlockDataset, steps: Steps[State], state: State) -> State:
        """Some rounds from ``state`` on, with their loop as close to the data as pays.

        ``steps(executor, data, state, go_on)`` does rounds by ``executor.reduce(data, ...)`` and returns the
        state after them: at least one, more while ``go_on()`` says so, until it has nothing left to do.
        Callers loop::

            while not finished(state):
                state = executor.lead(data, steps, state)

        Where rounds are short the loop runs on a worker, which asks the others directly. So ``steps`` and
        ``state`` are pickled, the executor there can only ``reduce`` that data set, and ``state`` is a value
        that ``steps`` leaves as it is: after a fault, what was done is dropped and done again from there.
        Warnings are the caller's: on a worker nobody would see them.
        """
        ...

    def map(
        self, data: BlockDataset, fn: Callable[[Bundle, Params], Bundle], params: Params
    ) -> BlockDataset:
        """``fn`` of every bundle; the results stay resident. Release the data set returned."""
        ...

    def replicate(self, data: BlockDataset) -> BlockDataset:
        """All rows on every lane: a bundle each, of one block whose ``index`` is the lane's number.

        A round over it runs on each lane with all rows, and what it answers must not count them twice. One
        round and one pass; where a lane's worker is lost, Dask makes its copy again elsewhere. Release what
        is returned.
        """
        ...

    def fan(
        self,
        data: BlockDataset,
        name: str,
        prepare: Callable[[Sequence[Bundle]], Shared],
        fn: Callable[[Shared, Item], Result],
        items: Sequence[Item],
    ) -> list[Result]:
        """``fn(prepare(all bundles), item)`` for each item, side by side; the results in order.

        What ``prepare`` makes of all rows is made once and copied to each worker that needs it: one round
        and one pass, whatever the number of items. No more items run at once than there are threads.
        """
        ...

    def exchange(
        self,
        data: BlockDataset,
        name: str,
        cut: Callable[[Bundle, Params], list[Piece]],
        fn: Callable[[Sequence[Piece], Item], Result],
        params: Params,
        items: Sequence[Item],
    ) -> list[Result]:
        """``fn(pieces, item)`` for each item, side by side, with the item's piece of every bundle, in order.

        ``cut(bundle, params)`` cuts a piece for each item where the bundle is. Pieces go from worker to
        worker, never through the driver: one round and one pass. The item's task is reported with the rows
        of its pieces, where these, or the pieces in lists of them, say ``n_rows``.
        """
        ...

    def lanes(self) -> int:
        """How many items run side by side."""
        ...

    def close(self) -> None:
        """End the fit: free threads, send the last events."""
        ...


def one_round(executor: Executor) -> Callable[..., list[Any]]:
    """:meth:`Executor.iterate` where running ahead saves nothing: one :meth:`Executor.reduce`."""

    def iterate(
        data: BlockDataset,
        reduction: Reduction[Params, Any, Total],
        state: State,
        *,
        point: Callable[[State], Params],
        update: Callable[[State, Total], State],
        n_rounds: int,  # noqa: ARG001
        objective: Callable[[State], float] | None = None,
    ) -> list[State]:
        states: list[State] = []

        def finish(total: Total) -> float:
            states.append(update(state, total))
            return float("nan") if objective is None else objective(states[0])

        executor.reduce(data, reduction, point(state), objective=finish)
        return states

    return iterate


def for_a_while() -> Callable[[], bool]:
    """``go_on`` of steps that begin now."""
    end = time.monotonic() + LEAD_SECONDS
    return lambda: time.monotonic() < end


def emit_round(
    log: FitLog,
    name: str,
    started: float,
    seconds: float,
    bytes_moved: int,
    tasks: Sequence[TaskEvent],
    objective: float | None,
) -> None:
    """Record a round, of one pass unless a ``Measured`` says otherwise; waits follow from ``seconds``.

    NaN is no objective: none is known, or it is no number.
    """
    log.emit(
        RoundEvent(
            fit=log.name,
            round=len(log.rounds),
            name=name,
            started=started,
            seconds=seconds,
            bytes_moved=bytes_moved,
            passes=getattr(objective, "passes", 1),  # of a Measured
            measured=tuple(tasks),
            objective=None if objective is None or math.isnan(objective) else float(objective),
            gradient_norm=getattr(objective, "gradient_norm", None),  # of a Measured
            id=log.id,
        )
    )


__all__ = [
    "LEAD_SECONDS",
    "Executor",
    "Item",
    "Params",
    "Piece",
    "Result",
    "Shared",
    "State",
    "Steps",
    "Total",
    "emit_round",
    "for_a_while",
    "one_round",
]
