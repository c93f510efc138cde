"""What the caller passed, as aligned parts: chunk i of X with chunk i of y and of the weights.

Knows every kind of input (NumPy, pandas, scipy.sparse, dask.array, dask.dataframe, xarray) and reads none
of the data: all that can be refused from shapes and dtypes alone is refused here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dask.array as da
import dask.dataframe as dd
import distributed
import numpy as np
import pandas as pd
import xarray as xr
from dask.base import optimize
from dask.blockwise import Blockwise
from dask.core import flatten

from daskml_kit.exceptions import ClusterError, InvalidDataError, InvalidDataTypeError

UNKNOWN_COLUMNS = (
    "The number of columns of X is unknown, so it has no features to speak of. Select columns by position "
    "instead of by a mask, or call X = X.compute_chunk_sizes() first."
)


def is_dask(a: Any) -> bool:
    """Whether ``a`` is a lazy collection, or a DataArray around one."""
    if isinstance(a, xr.DataArray):
        return isinstance(a.data, da.Array)
    return isinstance(a, da.Array | dd.DataFrame | dd.Series)


def unwrap(a: Any) -> Any:
    """The array inside a DataArray; anything else as it is."""
    if isinstance(a, xr.Dataset):
        raise InvalidDataTypeError(
            "An xarray Dataset has no single array of features. Pass "
            "ds.to_dataarray('feature').transpose('sample', 'feature')."
        )
    return a.data if isinstance(a, xr.DataArray) else a


def is_column(a: Any) -> bool:
    """Whether ``a`` has two dimensions and one column."""
    rows = unwrap(a)
    rows = rows if hasattr(rows, "ndim") or rows is None else np.asarray(rows)
    return getattr(rows, "ndim", 0) == 2 and bool(rows.shape[1] == 1)


def constant_column(X: Any, value: float) -> Any:
    """``value`` once for each row of X, lazy where X is, with its chunks."""
    rows: Any = unwrap(X)
    if isinstance(rows, dd.DataFrame):
        return rows.map_partitions(_constant_series, value, meta=("weight", np.float64))
    if isinstance(rows, da.Array):
        first = rows[:, :1] if rows.ndim == 2 else rows
        axis = list(range(1, rows.ndim))
        fill: Any = _constant
        return first.map_blocks(fill, value, dtype=np.float64, drop_axis=axis, meta=np.empty(0))
    return np.full(rows.shape[0] if hasattr(rows, "shape") else len(rows), value)


def _constant(rows: Any, value: float) -> Any:
    return np.full(rows.shape[0], value)


def _constant_series(rows: pd.DataFrame, value: float) -> pd.Series[float]:
    return pd.Series(value, index=rows.index, name="weight")


@dataclass(frozen=True, eq=False)
class LocalSource:
    """Data in this process: one part."""

    X: Any
    y: Any = None
    weight: Any = None


@dataclass(frozen=True, eq=False)
class DaskSource:
    """Lazy data: the keys of aligned parts in one graph.

    Attributes
    ----------
    graph : dict
        Optimised tasks of all three collections.
    X, y, weight : list of keys, one for each part; y and weight may be None
    rows : list of float
        Rows of each part, nan where unknown.
    free : set of keys
        Tasks that run where their inputs are, rather than where the part will be.
    """

    graph: dict[Any, Any]
    X: list[Any]
    y: list[Any] | None
    weight: list[Any] | None
    rows: list[float]
    free: frozenset[Any] = frozenset()

    @property
    def sizes(self) -> list[float]:
        """Relative sizes for placement: rows where all are known, else one for each part."""
        known = not any(math.isnan(r) for r in self.rows)
        return self.rows if known else [1.0] * len(self.rows)

    def part_keys(self, i: int) -> list[Any]:
        """The keys of part ``i``."""
        lists = (self.X, self.y, self.weight)
        return [keys[i] for keys in lists if keys is not None]


def wanted_dtype(X: Any) -> str:
    """``float32`` where all of X is float32, else ``float64``."""
    if isinstance(X, dd.DataFrame):
        X = X._meta
    if isinstance(X, pd.DataFrame):
        dtypes = {str(d).lower() for d in X.dtypes}
        return "float32" if dtypes == {"float32"} else "float64"
    return "float32" if getattr(X, "dtype", None) == np.float32 else "float64"


def open_source(X: Any, y: Any, weight: Any) -> LocalSource | DaskSource:
    """Align X, y and weights, whatever they are.

    Raises
    ------
    InvalidDataError
        For shapes, lengths, chunks or dtypes that cannot be used.
    """
    X, y, weight = unwrap(X), unwrap(y), unwrap(weight)
    if not is_dask(X):
        refuse_text(X)
        return LocalSource(X, *(a.compute() if is_dask(a) else a for a in (y, weight)))
    X = whole_rows(X)
    y = _aligned("y", y, X)
    weight = _aligned("sample_weight", weight, X)
    return _keyed(X, y, weight)


def _keyed(X: Any, y: Any, weight: Any) -> DaskSource:
    graph: dict[Any, Any] = {}
    keys = [None if a is None else optimised_into(graph, a) for a in (X, y, weight)]
    assert keys[0] is not None
    return DaskSource(graph, keys[0], keys[1], keys[2], _part_rows(X))


def optimised_into(graph: dict[Any, Any], a: Any) -> list[Any]:
    """Add the optimised tasks of a collection to ``graph``; the keys of its parts.

    One collection at a time: optimising two columns of one dataframe together was seen to give both
    the whole dataframe (dask 2026.8).
    """
    is_frame = isinstance(a, dd.DataFrame | dd.Series)
    best: Any = a.optimize() if is_frame else optimize(a)[0]
    if is_frame and best.npartitions != a.npartitions:
        # Parquet files are read several at once where few columns are asked for, so that X and y would
        # no longer have the same partitions. Lowered alone, both share one read of every partition.
        best = a.expr.lower_completely()
    graph.update(_futures_of(a))  # optimising drops what is already computed
    graph.update(best.__dask_graph__())
    return list(flatten(best.__dask_keys__()))


def _futures_of(a: Any) -> dict[Any, Any]:
    """The tasks of a collection that a cluster has computed already."""
    tasks = a.__dask_graph__().items()
    return {k: v for k, v in tasks if isinstance(v, distributed.Future)}


def _part_rows(X: Any) -> list[float]:
    if isinstance(X, da.Array):
        return [float(n) for n in X.chunks[0]]
    return [math.nan] * int(X.npartitions)


def whole_rows(X: Any) -> Any:
    """Lazy X with all columns of a row in one part.

    Raises
    ------
    InvalidDataError
        If X is not two-dimensional, or holds no numbers.
    """
    if isinstance(X, dd.Series):
        raise InvalidDataError(
            "Expected 2D data for X, got a Series. Pass a DataFrame: df[['column']]."
        )
    if isinstance(X, dd.DataFrame):
        refuse_text(X._meta)
        return X
    if X.ndim == 2 and math.isnan(X.shape[1]):
        raise InvalidDataError(UNKNOWN_COLUMNS)
    if X.ndim != 2:
        raise InvalidDataError(
            f"Expected 2D array for X, got {X.ndim}D array of shape {X.shape}. Reshape your data with "
            "X.reshape(-1, 1) for one feature or X.reshape(1, -1) for one sample."
        )
    refuse_text(X)
    return X if X.numblocks[1] == 1 else X.rechunk({1: -1})


def refuse_text(frame: Any) -> None:
    """Refuse columns that hold no numbers.

    Raises
    ------
    InvalidDataError
        Naming them.
    """
    if isinstance(frame, np.ndarray | da.Array) and frame.dtype.kind in "USMm":
        raise InvalidDataError(
            f"X has dtype {frame.dtype}, numbers are needed. "
            + (
                "Turn times into numbers of a unit of your choice first: (X - X.min()) / "
                "np.timedelta64(1, 's')."
                if frame.dtype.kind in "mM"
                else "Encode it first, for example with dask_ml.preprocessing.OrdinalEncoder."
            )
        )
    if not isinstance(frame, pd.DataFrame):
        return
    usable = {c: _is_numeric(frame[c]) for c in frame.columns if not _is_duplicated(frame, c)}
    bad = [str(c) for c, ok in usable.items() if not ok]
    if bad:
        kinds = {frame[c].dtype for c in frame.columns if not usable.get(c, True)}
        names = sorted(map(str, kinds))
        if all(kind.kind in "mM" for kind in kinds):
            raise InvalidDataError(
                f"Columns {bad} hold {names}, numbers are needed. Turn times into numbers of a unit of your "
                "choice first, for example (times - times.min()).dt.total_seconds(), or drop them."
            )
        raise InvalidDataError(
            f"Columns {bad} hold {names}: could not convert string to float. Encode them first, "
            "for example with dask_ml.preprocessing.OneHotEncoder, or drop them."
        )


def _is_duplicated(frame: pd.DataFrame, column: Any) -> bool:
    return isinstance(frame[column], pd.DataFrame)


def _is_numeric(column: pd.Series[Any]) -> bool:
    dtype = column.dtype
    undecided = dtype == np.dtype(object)  # may hold numbers: checked value by value when read
    return undecided or pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_bool_dtype(dtype)


def _aligned(name: str, a: Any, X: Any) -> Any:
    """``a`` as a collection whose part i belongs to part i of X."""
    if a is None:
        return None
    if not is_dask(a):
        a = _chunk_like(name, a, X)
    if isinstance(a, da.Array) and a.ndim == 2 and a.numblocks[1] > 1:
        a = a.rechunk({1: -1})
    if isinstance(X, da.Array) and isinstance(a, da.Array) and _known(X) and _known(a):
        return _rechunked(name, a, X)
    parts = X.numblocks[0] if isinstance(X, da.Array) else X.npartitions
    own = a.numblocks[0] if isinstance(a, da.Array) else a.npartitions
    if own != parts:
        raise InvalidDataError(
            f"X has {parts} partitions and {name} has {own}, and their lengths are unknown, so rows cannot "
            "be matched. Repartition them alike, or call compute_chunk_sizes() first."
        )
    return a


def _known(a: da.Array) -> bool:
    return not any(math.isnan(n) for n in a.chunks[0])


def _rechunked(name: str, a: da.Array, X: da.Array) -> da.Array:
    if a.shape[0] != X.shape[0]:
        raise InvalidDataError(
            "Found input variables with inconsistent numbers of samples: "
            f"X has {X.shape[0]} rows, {name} has {a.shape[0]}."
        )
    return a if a.chunks[0] == X.chunks[0] else a.rechunk({0: X.chunks[0]})


def _chunk_like(name: str, a: Any, X: Any) -> da.Array:
    """An in-memory y or weight cut at X's chunk edges."""
    values = np.asarray(a)
    if name == "sample_weight" and values.ndim == 0:
        raise InvalidDataError("sample_weight must have one weight a row, got a single number.")
    if not isinstance(X, da.Array) or not _known(X):
        raise InvalidDataError(
            f"{name} is in memory and the chunk lengths of X are unknown, so rows cannot be matched. "
            "Call X = X.compute_chunk_sizes() (arrays) or X.to_dask_array(lengths=True) (dataframes) "
            f"first, or pass {name} as a dask collection with the same partitions."
        )
    if values.shape[0] != X.shape[0]:
        raise InvalidDataError(
            "Found input variables with inconsistent numbers of samples: "
            f"X has {X.shape[0]} rows, {name} has {values.shape[0]}."
        )
    chunks = (X.chunks[0], *((n,) for n in values.shape[1:]))
    out: da.Array = da.from_array(values, chunks=chunks)
    return out


def refuse_foreign_futures(source: DaskSource, client: distributed.Client | None) -> None:
    """Refuse parts that live on a cluster which this fit cannot reach.

    Raises
    ------
    ClusterError
        If the data are held by a closed client, or by another one than the active client.
    """
    _refuse_foreign([v for v in source.graph.values() if isinstance(v, distributed.Future)], client)


def refuse_foreign_collections(*collections: Any) -> None:
    """:func:`refuse_foreign_futures` for answers and scores: lazy collections, before they are used.

    Raises
    ------
    ClusterError
        If any is held by a closed client, or by another one than the active client.
    """
    lazy = [unwrap(a) for a in collections if is_dask(a)]
    futures = [f for a in lazy for f in _held_futures(a)]
    if futures:
        _refuse_foreign(futures, _default_client())


def _held_futures(a: Any) -> list[distributed.Future[Any]]:
    """Futures in the graph of a collection; block-wise layers, which have a task a chunk, hold none."""
    tasks = a.__dask_graph__()
    layers = tasks.layers.values() if hasattr(tasks, "layers") else [tasks]
    written = [layer for layer in layers if not isinstance(layer, Blockwise)]
    return [v for layer in written for v in layer.values() if isinstance(v, distributed.Future)]


def _default_client() -> distributed.Client | None:
    try:
        client: distributed.Client = distributed.default_client()
    except ValueError:
        return None
    return client


def _refuse_foreign(
    futures: Sequence[distributed.Future[Any]], client: distributed.Client | None
) -> None:
    if not futures:
        return
    if any(_client_of(f) is None for f in futures):
        raise ClusterError(
            "The data are held by a Dask client that was closed, so they cannot be reached any more. "
            "Create a Client(...) and build or persist the data with it again."
        )
    if client is None or any(_client_of(f) is not client for f in futures):
        raise ClusterError(
            "The data are held by another Dask client than the active one. Make the client that "
            "persisted them active: with client.as_current(): ..."
        )


def _client_of(future: distributed.Future[Any]) -> distributed.Client | None:
    client = future.client
    return client if client is not None and client.status == "running" else None


__all__ = [
    "DaskSource",
    "LocalSource",
    "constant_column",
    "is_dask",
    "open_source",
    "optimised_into",
    "refuse_foreign_collections",
    "refuse_foreign_futures",
    "refuse_text",
    "unwrap",
    "wanted_dtype",
    "whole_rows",
]
