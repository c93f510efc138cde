"""How data become resident, as custom task graphs: parts to checked blocks, blocks to bundles.

Two plans, since what the bundles are is decided on the driver, from the facts of all blocks::

    part 0 -> load-0 (worker a) -> facts        load-0 (worker a) -+-> bundle-0 (worker a)
    part 1 -> load-1 (worker a) -> facts        load-1 (worker a) -+
    part 2 -> load-2 (worker b) -> facts        load-2 (worker b) ---> bundle-1 (worker b)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

import distributed
from dask._task_spec import Alias, GraphNode, List, Task, TaskRef, convert_legacy_graph

from daskml_kit.runtime.block import Bundle
from daskml_kit.runtime.graph import Key, Plan, here, new_name
from daskml_kit.runtime.ingest import (
    JOIN_BYTES,
    BlockFacts,
    Labelling,
    Loaded,
    Spec,
    assemble,
    load,
)
from daskml_kit.runtime.placement import Piece

if TYPE_CHECKING:
    from daskml_kit.runtime.sources import DaskSource


def _facts_of(loaded: Loaded) -> tuple[BlockFacts, str]:
    return loaded.facts, here()


def load_plan(source: DaskSource, spec: Spec, homes: Sequence[str]) -> tuple[Plan, list[Key]]:
    """Load part i on worker ``homes[i]``.

    Returns the plan, whose outputs are the loaded blocks followed by their facts, and the keys of the
    facts. Upstream tasks that only one part needs run where that part will be, so nothing moves.
    """
    name = new_name("load")
    tasks: dict[Key, GraphNode] = dict(convert_legacy_graph(source.graph))
    pins = _upstream_pins(tasks, source, homes)
    blocks: list[Key] = []
    facts: list[Key] = []
    for i, home in enumerate(homes):
        block, fact = (name, i), (f"{name}-facts", i)
        refs: list[Any] = [TaskRef(source.X[i])]
        refs += [None if keys is None else TaskRef(keys[i]) for keys in (source.y, source.weight)]
        tasks[block] = Task(block, load, i, spec, *refs)
        tasks[fact] = Task(fact, _facts_of, TaskRef(block))
        pins[block] = pins[fact] = home
        blocks.append(block)
        facts.append(fact)
    return Plan(tasks, pins, blocks + facts), facts


def _upstream_pins(
    tasks: Mapping[Key, GraphNode], source: DaskSource, homes: Sequence[str]
) -> dict[Key, str]:
    """The home of every upstream task that is needed on one worker only."""
    users: defaultdict[Key, set[str]] = defaultdict(set)
    for i, home in enumerate(homes):
        stack = list(source.part_keys(i))
        while stack:
            key = stack.pop()
            if key in tasks and home not in users[key]:
                users[key].add(home)
                stack.extend(tasks[key].dependencies)
    once = {k: next(iter(at)) for k, at in users.items() if len(at) == 1 and k not in source.free}
    return {k: at for k, at in once.items() if _runs(tasks[k])}


Parts: TypeAlias = "tuple[distributed.Future[Any] | None, ...]"
"""The X, y and weights of a part, as far as there are any."""


def resident_parts(source: DaskSource) -> list[Parts] | None:
    """The parts, if nothing of them is still to be computed; else None."""
    out: list[Parts] = []
    for i in range(len(source.X)):
        nodes: list[Any] = []
        for keys in (source.X, source.y, source.weight):
            node = None if keys is None else _followed(source.graph, keys[i])
            if keys is not None and not isinstance(node, distributed.Future):
                return None  # or another name of what only the scheduler knows
            nodes.append(node)
        out.append(tuple(nodes))
    return out


def _followed(tasks: Mapping[Key, Any], key: Key) -> Any:
    """What stands behind a key that may be another name of another one."""
    node = tasks.get(key)
    while isinstance(node, Alias):
        node = tasks.get(node.target)
    return node


MANY_INPUTS = 64
"""A part made of more resident pieces than this (after a shuffle) is at home nowhere."""


def resident_inputs(source: DaskSource) -> list[list[distributed.Future[Any]]]:
    """The futures that each part of X is, or is computed from; none where there are too many to matter."""
    futures = {k: v for k, v in source.graph.items() if isinstance(v, distributed.Future)}
    if not futures:
        return [[] for _ in source.X]
    others = {k: v for k, v in source.graph.items() if k not in futures}
    tasks = convert_legacy_graph(others, source.graph.keys())  # what needs a future says so, too
    out = []
    for part in source.X:
        found: list[distributed.Future[Any]] = []
        stack, seen = [part], {part}
        while stack and len(found) <= MANY_INPUTS:
            key = stack.pop()
            if key in futures:
                found.append(futures[key])
            elif key in tasks:
                new = tasks[key].dependencies - seen
                seen |= new
                stack.extend(new)
        out.append(found if len(found) <= MANY_INPUTS else [])
    return out


def _runs(node: GraphNode) -> bool:
    return isinstance(node, Task) and not isinstance(node, Alias)


Make: TypeAlias = Callable[[Sequence[Piece], "Labelling | None", Sequence[Any]], Bundle]


def assemble_plan(
    parts: Sequence[Parts] | Sequence[distributed.Future[Any]],
    bundles: Sequence[Sequence[Piece]],
    homes: Sequence[str],
    labelling: Labelling | None,
    make: Make = assemble,
    draw: Callable[[Bundle], Bundle] | None = None,
) -> Plan:
    """``make(pieces, labelling, their parts)`` bundle i of the pieces ``bundles[i]`` on worker ``homes[i]``.

    ``parts`` are loaded blocks, or what ``make`` makes of parts as they came. Outputs: the bundles, and after
    them what ``draw``, if any, makes of each.
    """
    name = new_name("bundle")
    tasks: dict[Key, GraphNode] = {}
    pins: dict[Key, str] = {}
    # What is drawn does not wait for the bundle: that would cost one more hop.
    for purpose, change in [(name, None)] + [(f"{name}-drawn", draw)] * (draw is not None):
        for i, (pieces, home) in enumerate(zip(bundles, homes, strict=True)):
            key = (purpose, i)
            own = _restrict(labelling, pieces)
            needed = List(*(_needed(parts[p.block]) for p in pieces))
            tasks[key] = Task(key, _made, make, change, list(pieces), own, needed)
            pins[key] = home
    return Plan(tasks, pins, list(tasks))


def _made(
    make: Make,
    change: Callable[[Bundle], Bundle] | None,
    pieces: Sequence[Piece],
    labelling: Labelling | None,
    parts: Sequence[Any],
) -> Bundle:
    """The task that makes a bundle of its pieces, or something of the bundle."""
    bundle = make(pieces, labelling, parts)
    return (bundle if change is None else change(bundle)).coalesced(JOIN_BYTES)


def _needed(part: Any) -> Any:
    return List(*part) if isinstance(part, tuple) else part


def _restrict(labelling: Labelling | None, pieces: Sequence[Piece]) -> Labelling | None:
    """Only the label tables that a bundle needs travel to it."""
    if labelling is None:
        return None
    return replace(labelling, local={p.block: labelling.local[p.block] for p in pieces})
