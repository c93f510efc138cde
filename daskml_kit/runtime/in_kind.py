"""Answers in kind: dask in, dask out and lazy; DataFrame in, Series out; DataArray in, DataArray out.

``fn`` takes one part of the rows (an array, a CSR matrix or a pandas DataFrame) and returns an array with
as many rows: one-dimensional where ``columns`` is None, else one column for each name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import xarray as xr

from daskml_kit.typing import Array

RowFunction = Callable[[Any], Array]


def stand_in(X: Any) -> Any:
    """Something small with the columns of X, for checks of names and numbers of features."""
    if isinstance(X, dd.DataFrame):
        return X._meta
    if isinstance(X, xr.DataArray):
        return _labelled_columns(X)
    if isinstance(X, da.Array):
        return np.empty((0, X.shape[1])) if X.ndim == 2 else X
    return X


def _labelled_columns(X: xr.DataArray) -> Any:
    if X.ndim != 2:
        return np.empty(X.shape)
    names = X.coords.get(X.dims[1])
    if names is None or names.dtype.kind not in "UO":
        return np.empty((0, X.shape[1]))
    return pd.DataFrame(np.empty((0, X.shape[1])), columns=[str(n) for n in names.values])


def map_rows(
    X: Any,
    fn: RowFunction,
    *,
    dtype: Any,
    columns: Sequence[Any] | None = None,
    column_dim: str = "class",
) -> Any:
    """``fn`` of the rows of X, as the kind of object that X is.

    Parameters
    ----------
    X : NumPy, scipy.sparse, pandas, dask.array, dask.dataframe or xarray.DataArray
    fn : part of X -> array of shape (n_rows,) or (n_rows, len(columns))
    dtype : of the answer
    columns : labels of the answer's columns, None for a one-dimensional answer
    column_dim : name of the answer's second dimension for a DataArray

    Returns
    -------
    ndarray, pandas Series or DataFrame, dask Array, dask Series or DataFrame, or DataArray
        Lazy where X is: one task a chunk, nothing is computed.
    """
    if isinstance(X, xr.DataArray):
        return _data_array(
            X, map_rows(X.data, fn, dtype=dtype, columns=columns), columns, column_dim
        )
    if isinstance(X, dd.DataFrame):
        meta = _frame(X._meta.index, np.empty((0, len(columns or ())), dtype), columns, dtype)
        return X.map_partitions(_frame_of, fn, columns, dtype, meta=meta)
    if isinstance(X, da.Array):
        return _array(X, fn, dtype, columns)
    if isinstance(X, pd.DataFrame):
        return _frame(X.index, fn(X), columns, dtype)
    return fn(X)


def _array(X: da.Array, fn: RowFunction, dtype: Any, columns: Sequence[Any] | None) -> Any:
    if X.numblocks[1] > 1:
        X = X.rechunk({1: -1})
    rows: Any = X
    if columns is None:
        return rows.map_blocks(fn, dtype=dtype, drop_axis=1, meta=np.empty(0, dtype))
    chunks = (X.chunks[0], (len(columns),))
    return rows.map_blocks(fn, dtype=dtype, chunks=chunks, meta=np.empty((0, 0), dtype))


def _frame_of(part: pd.DataFrame, fn: RowFunction, columns: Any, dtype: Any) -> Any:
    return _frame(part.index, fn(part), columns, dtype)


def _frame(index: Any, values: Array, columns: Sequence[Any] | None, dtype: Any) -> Any:
    if columns is None:
        return pd.Series(values.ravel().astype(dtype, copy=False), index=index)
    return pd.DataFrame(values, index=index, columns=list(columns))


def _data_array(
    X: xr.DataArray, values: Any, columns: Sequence[Any] | None, column_dim: str
) -> xr.DataArray:
    rows = X.dims[0]
    coords = {k: v for k, v in X.coords.items() if v.dims == (rows,)}
    if columns is None:
        return xr.DataArray(values, dims=(rows,), coords=coords)
    return xr.DataArray(
        values, dims=(rows, column_dim), coords={**coords, column_dim: list(columns)}
    )
