"""Resident blocks as ordinary collections, so that one estimator can be fitted on the data of another.

Nothing is copied or moved: each chunk is a view of a block, made where the block lives.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeAlias
from uuid import uuid4

import dask.array as da
import distributed
import numpy as np
from scipy import sparse

from daskml_kit.runtime.block import Block, Bundle
from daskml_kit.runtime.cluster import cluster_errors
from daskml_kit.runtime.dataset import BlockDataset
from daskml_kit.runtime.executor import Executor
from daskml_kit.runtime.graph import PREFIX
from daskml_kit.runtime.remote import GraphExecutor
from daskml_kit.typing import Array

_Shape: TypeAlias = "tuple[tuple[int, ...], str, bool]"  # shape, dtype, whether sparse


class Columns(NamedTuple):
    """X, y and weights of the same rows: NumPy (or CSR) in this process, dask arrays on a cluster."""

    X: Any
    y: Any = None
    weight: Any = None


@contextmanager
def as_collections(
    executor: Executor, data: BlockDataset, classes: Array | None = None
) -> Iterator[Columns]:
    """The rows of ``data`` in their global order, each block a chunk, for the length of a ``with`` block.

    Parameters
    ----------
    executor, data : of the running fit
    classes : labels to put in the place of class codes; None leaves y as it is
    """
    if not isinstance(executor, GraphExecutor):
        blocks = sorted((b for ref in data.bundles for b in ref.handle), key=lambda b: b.start)
        (block,) = Bundle(tuple(blocks)).joined()
        yield _columns(block, classes)
        return
    futures: list[Any] = []
    try:
        with cluster_errors(executor.client):
            columns = _resident(executor.client, data, classes, futures)
        yield columns
    finally:
        for future in futures:
            future.release()


def _columns(block: Block, classes: Array | None) -> Columns:
    y = block.y
    return Columns(block.X, y if y is None or classes is None else classes[y], block.weight)


def _resident(
    client: Any, data: BlockDataset, classes: Array | None, futures: list[Any]
) -> Columns:
    layouts = [_submit(client, b.worker, _layout, b.handle, classes) for b in data.bundles]
    futures += layouts
    found = [
        (start, ref, position, shapes)
        for ref, blocks in zip(data.bundles, client.gather(layouts), strict=True)
        for position, (start, *shapes) in enumerate(blocks)
    ]
    found = [b for b in found if b[3][0][0][0]] or found[:1]  # others may not like empty chunks
    found.sort(key=lambda block: block[0])
    columns: list[Any] = []
    for name, first in zip(Columns._fields, found[0][3], strict=True):
        if first is None:
            columns.append(None)
            continue
        parts = [
            _submit(client, ref.worker, _column, ref.handle, position, name, classes)
            for _, ref, position, _ in found
        ]
        futures += parts
        columns.append(_array(parts, [shapes[len(columns)] for *_, shapes in found]))
    distributed.wait(futures)  # placement asks where they are
    return Columns(*columns)


def _submit(client: Any, worker: str, fn: Any, *args: Any) -> Any:
    key = f"{PREFIX}-view-{uuid4().hex}"
    where = {"workers": [worker], "allow_other_workers": True}
    return client.submit(fn, *args, key=key, pure=False, **where)


def _layout(bundle: Bundle, classes: Array | None) -> list[tuple[Any, ...]]:
    """First global row of each block, and what its columns are."""
    return [(b.start, *map(_shape, _columns(b, classes))) for b in bundle]


def _shape(a: Any) -> _Shape | None:
    return None if a is None else (a.shape, str(a.dtype), sparse.issparse(a))


def _column(bundle: Bundle, position: int, name: str, classes: Array | None) -> Any:
    return getattr(_columns(bundle.blocks[position], classes), name)


def _array(parts: Sequence[Any], shapes: Sequence[_Shape]) -> da.Array:
    """The parts, one below the other."""
    shape, dtype, is_sparse = shapes[0]
    rest = shape[1:]
    empty = np.empty((0, *rest), dtype)
    name = f"{PREFIX}-rows-{uuid4().hex}"
    zeros = (0,) * len(rest)
    return da.Array(
        {(name, i, *zeros): part for i, part in enumerate(parts)},
        name,
        chunks=(tuple(s[0][0] for s in shapes), *((n,) for n in rest)),
        meta=sparse.csr_array(empty) if is_sparse else empty,
    )


__all__ = ["Columns", "as_collections"]
