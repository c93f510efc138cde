"""Data cut by columns: every worker holds all rows of some columns, so a coefficient lives with its column.

A block of columns is an ordinary :class:`~daskml_kit.runtime.block.Block` of the *transposed* data: its
rows are columns of the caller's X, ``start`` is its first column, its ``y``, where there is one, a number a
column (where a warm start begins). So placement, bundles, executors, balance, faults and events need to
know nothing of it::

        X          chunk (0,0) | chunk (0,1)           block 0: 3 columns, all rows     worker a
    (rows x cols)  ------------+------------    ->     --------------------------
                   chunk (1,0) | chunk (1,1)           block 1: 3 columns, all rows     worker b

What belongs to the rows (targets, weights, predictions) is one number a row and stays with the driver. That
is the price of this mode, beside which stands its gain: no task, and no worker, sees more than its own
columns.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import dask.array as da
import dask.dataframe as dd
import numpy as np
from scipy import sparse

from daskml_kit.exceptions import InvalidDataError
from daskml_kit.runtime.block import Block
from daskml_kit.runtime.cluster import active_client, workers_of
from daskml_kit.runtime.dataset import BlockDataset
from daskml_kit.runtime.events import FitLog
from daskml_kit.runtime.executor import Executor
from daskml_kit.runtime.ingest import DataFacts, Labelling, Spec, load, merge_facts
from daskml_kit.runtime.opening import ClassWeights, RowEdges, open_parts
from daskml_kit.runtime.placement import WorkerInfo
from daskml_kit.runtime.sources import (
    UNKNOWN_COLUMNS,
    DaskSource,
    LocalSource,
    is_dask,
    optimised_into,
    refuse_text,
    unwrap,
)
from daskml_kit.typing import Array, FloatArray, TargetKind

MOST_ROWS_BY_COLUMNS = 2_000_000
"""More rows are refused: each round sends a few vectors of them to every worker, and some back (16 MB each
at this size, where messages go by graph), and the driver holds a dozen."""

SQUARE = 256
"""Side of what is transposed at once. Measured on 10,000 x 5,000 float32: 73 ms, as a whole 258."""


@dataclass(eq=False)
class ColumnDataset(BlockDataset):
    """Resident blocks of columns, and what belongs to the rows.

    Attributes
    ----------
    rows : a block without columns: targets (or class codes) and weights of all rows
    row_facts : of the rows and the targets, as a data set of rows has them
    """

    rows: Block | None = None
    row_facts: DataFacts | None = None


def open_columns(
    X: Any,
    y: Any,
    weight: Any = None,
    *,
    spec: Spec,
    log: FitLog,
    class_weights: ClassWeights | None = None,
    edges: RowEdges | None = None,
    start: FloatArray | None = None,
) -> tuple[ColumnDataset, Executor]:
    """As :func:`~daskml_kit.runtime.opening.open_dataset`, by columns.

    Parameters
    ----------
    X : (n, d) lists, NumPy, pandas, scipy.sparse, dask.array, dask.dataframe or xarray
    y, weight : (n,) or (n, n_outputs), brought to the driver
    spec, log, class_weights : as there
    edges : first columns of bundles that the fit asks for
    start : (n_outputs, d) coefficients to keep with their columns, or None

    Raises
    ------
    InvalidDataError
        There are too many rows, their number or that of the columns is unknown, or there are none.
    """
    X = as_table(X, spec.estimator)
    rows, facts = _of_the_rows(X, y, weight, spec, class_weights)
    target: TargetKind = "none" if start is None else "values"
    own = Spec(spec.estimator, target, True, spec.accept_sparse, dtype=spec.dtype)
    source = column_source(X, None if start is None else start.T)
    data, executor = open_parts(source, own, log, edges=edges, kind=ColumnDataset)
    assert isinstance(data, ColumnDataset)
    data.rows = rows
    data.row_facts = DataFacts(
        n_rows=facts.n_rows,
        n_features=data.facts.n_rows,
        nbytes=data.facts.nbytes,
        dtype=data.facts.dtype,
        sparse=data.facts.sparse,
        weight_sum=facts.weight_sum,
        n_outputs=facts.n_outputs,
        classes=facts.classes,
        class_weight_sums=facts.class_weight_sums,
        block_rows=facts.block_rows,
        starts=facts.starts,
        heaviest=facts.heaviest,
        class_rows=facts.class_rows,
    )
    return data, executor


def shape_by_columns(X: Any) -> tuple[int, int] | None:
    """Rows and columns of a lazy array that is cut by columns; None for anything else."""
    X = unwrap(X)
    if not isinstance(X, da.Array) or X.ndim != 2 or any(math.isnan(n) for n in X.shape):
        return None
    return (int(X.shape[0]), int(X.shape[1])) if X.numblocks[1] > 1 else None


def _of_the_rows(
    X: Any, y: Any, weight: Any, spec: Spec, class_weights: ClassWeights | None
) -> tuple[Block, DataFacts]:
    """Targets and weights, checked as those of a data set of rows."""
    n_rows = _height(X)
    here = [a.compute() if is_dask(a) else a for a in (unwrap(y), unwrap(weight))]
    stand_in = np.zeros((n_rows, 1))  # the columns are checked where they live
    loaded = load(0, spec, stand_in, *here)
    facts = merge_facts([loaded.facts], spec)
    block = loaded.block
    assert block is not None
    if facts.classes is not None:
        factors = class_weights(facts) if class_weights is not None else None
        block = Labelling(facts.classes, {0: facts.classes}, factors).apply(block)
    return Block(np.zeros((n_rows, 0)), block.y, block.weight), facts


def as_table(X: Any, estimator: str) -> Any:
    """X unwrapped, an array if it was a list: of two dimensions, and at least one row and one column.

    Raises
    ------
    InvalidDataError
    """
    X = unwrap(X)
    if not hasattr(X, "shape"):
        try:
            X = np.asarray(X)
        except ValueError as error:
            raise InvalidDataError(f"X is no array: {error} Pass rows of equal lengths.") from error
    if len(X.shape) != 2:
        raise InvalidDataError(
            f"Expected 2D array, got {len(X.shape)}D array instead: X has shape {X.shape}. Reshape your data "
            "with X.reshape(-1, 1) for one feature or X.reshape(1, -1) for one sample."
        )
    refuse_text(X)
    if math.isnan(X.shape[1]):
        raise InvalidDataError(UNKNOWN_COLUMNS)
    for axis, what in enumerate(("sample", "feature")):
        if isinstance(X.shape[axis], int) and X.shape[axis] == 0:
            raise InvalidDataError(
                f"Found array with 0 {what}(s) (shape={X.shape}) while a minimum of 1 is required by "
                f"{estimator}."
            )
    return X


def _height(X: Any) -> int:
    rows = X.shape[0]
    if not isinstance(rows, int | np.integer):  # lazy, or nan
        raise InvalidDataError(
            "Fitting by columns needs the number of rows of X, which is unknown. Call "
            "X = X.compute_chunk_sizes() (arrays) or X.to_dask_array(lengths=True) (dataframes) first."
        )
    if rows > MOST_ROWS_BY_COLUMNS:
        raise InvalidDataError(
            f"Fitting by columns keeps a few vectors of X's rows on the driver and sends some each round: "
            f"for at most {MOST_ROWS_BY_COLUMNS:,} rows, got {rows:,}. Fit by rows, with another solver."
        )
    return int(rows)


def column_source(X: Any, start: FloatArray | None = None) -> LocalSource | DaskSource:
    """The transposed data as parts: all rows of some columns each.

    Parameters
    ----------
    X : as :func:`as_table` gives it, of known height
    start : (d, n_outputs) or None
    """
    if isinstance(X, dd.DataFrame):
        raise InvalidDataError(
            "Fitting by columns needs chunks of known sizes. Pass X.to_dask_array(lengths=True)."
        )
    if not isinstance(X, da.Array):
        plain = isinstance(X, np.ndarray)
        return LocalSource(transposed([[X]]) if plain else X.T, start)
    client = active_client()
    workers = [] if client is None else list(workers_of(client).values())
    edges = column_edges(X.chunks[1], X.shape[0] * X.dtype.itemsize, workers)
    return _lazy_source(X, edges, start)


def column_edges(
    widths: Sequence[int], column_bytes: int, workers: Sequence[WorkerInfo]
) -> list[int]:
    """Where the blocks of columns begin, and the number of columns at the end.

    At the edges of the caller's chunks, and between them where a block would exceed what a worker takes for a
    bundle, or where there would be fewer blocks than threads.
    """
    d = sum(widths)
    most = min((w.bundle_bytes for w in workers), default=math.inf)
    threads = sum(w.n_threads for w in workers) or 1
    widest = max(1, int(min(most // max(column_bytes, 1), d))) if math.isfinite(most) else d
    if len(widths) < threads:
        widest = min(widest, -(-d // threads))
    edges = [0]
    for width in widths:
        parts = max(1, -(-width // widest))
        low = edges[-1]
        edges += [low + width * (i + 1) // parts for i in range(parts)]
    return [*dict.fromkeys(edges)] if d else [0, 0]


def _lazy_source(X: da.Array, edges: Sequence[int], start: FloatArray | None) -> DaskSource:
    graph: dict[Any, Any] = {}
    keys = optimised_into(graph, X)
    grid = [keys[i : i + X.numblocks[1]] for i in range(0, len(keys), X.numblocks[1])]
    name = f"columns-{X.name}"
    column_starts = np.concatenate([[0], np.cumsum(X.chunks[1])]).astype(int).tolist()
    free: set[Any] = set()
    parts = []
    for k, (low, high) in enumerate(pairwise(edges)):
        first = bisect_right(column_starts, low) - 1
        last = max(bisect_left(column_starts, high), first + 1)
        rows_of_refs = []
        for i, chunks in enumerate(grid):
            refs = []
            for j in range(first, last):
                a, b = max(low - column_starts[j], 0), min(high, column_starts[j + 1])
                b -= column_starts[j]
                key = chunks[j]
                if (a, b) != (0, X.chunks[1][j]):
                    key = (f"{name}-cut", i, j, k)
                    graph[key] = (_some_columns, chunks[j], a, b)
                    free.add(key)
                refs.append(key)
            rows_of_refs.append(refs)
        key = (name, k)
        graph[key] = (transposed, rows_of_refs)
        parts.append(key)
    begin = None
    if start is not None:
        begin = [(f"{name}-start", k) for k in range(len(parts))]
        for key, (low, high) in zip(begin, pairwise(edges), strict=True):
            graph[key] = start[low:high].copy()
    widths = [float(high - low) for low, high in pairwise(edges)]
    return DaskSource(graph, parts, begin, None, widths, frozenset(free))


def _some_columns(chunk: Any, low: int, high: int) -> Any:
    """A copy in the chunk's own order, so that the rest of the chunk can go."""
    cut = chunk[:, low:high]
    return np.array(cut, order="K") if isinstance(cut, np.ndarray) else cut.copy()


def transposed(grid: Sequence[Sequence[Any]]) -> Any:
    """One block of columns, a row for each, from its chunks: row chunk by row chunk, each cut by columns.

    A chunk that holds its columns one after the other (Fortran order) is that block already: a view.
    """
    if any(sparse.issparse(chunk) for chunks in grid for chunk in chunks):
        return sparse.vstack(
            [
                sparse.hstack([c.T for c in chunks], format="csr")
                for chunks in zip(*grid, strict=True)
            ],
            format="csr",
        )
    dense = [[np.asarray(chunk) for chunk in chunks] for chunks in grid]
    if len(dense) == len(dense[0]) == 1 and dense[0][0].flags.f_contiguous:
        return dense[0][0].T
    width = sum(chunk.shape[1] for chunk in dense[0])
    height = sum(chunks[0].shape[0] for chunks in dense)
    out: Array = np.empty((width, height), np.result_type(*(c.dtype for row in dense for c in row)))
    top = 0
    for chunks in dense:
        left, rows = 0, chunks[0].shape[0]
        for chunk in chunks:
            _turn(chunk, out[left : left + chunk.shape[1], top : top + rows])
            left += chunk.shape[1]
        top += rows
    return out


def _turn(chunk: Array, out: Array) -> None:
    """``out = chunk.T``, square by square: the strided reads of one stay in the cache."""
    rows, width = chunk.shape
    for i in range(0, rows, SQUARE):
        for j in range(0, width, SQUARE):
            out[j : j + SQUARE, i : i + SQUARE] = chunk[i : i + SQUARE, j : j + SQUARE].T


__all__ = [
    "MOST_ROWS_BY_COLUMNS",
    "ColumnDataset",
    "as_table",
    "column_edges",
    "column_source",
    "open_columns",
    "shape_by_columns",
    "transposed",
]
