"""The same data as every kind of input that ``fit`` takes."""

from __future__ import annotations

import warnings

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import xarray as xr
from scipy import sparse

N, D = 83, 5
rng = np.random.default_rng(11)
X = np.round(rng.normal(size=(N, D)), 3)
X[rng.random((N, D)) < 0.4] = 0.0
LABELS = np.array(["b", "a", "c"])[rng.integers(0, 3, N)]
WEIGHT = rng.uniform(0.1, 2.0, N)
COLUMNS = [f"c{j}" for j in range(D)]


def frame(dtype=np.float64):
    return pd.DataFrame(X.astype(dtype), columns=COLUMNS, index=np.arange(N)[::-1])


def csr_chunks():
    return da.from_array(X, chunks=((20, 0, 40, 23), -1)).map_blocks(
        sparse.csr_array, meta=sparse.csr_array((0, D))
    )


def unknown(a, chunks):
    """A dask array whose chunk lengths Dask does not know."""
    lazy = da.from_array(a, chunks=(chunks, *((-1,) * (a.ndim - 1))))
    return lazy[da.from_array(np.ones(len(a), bool), chunks=lazy.chunks[0])]


LOCAL = {
    "numpy": lambda: X,
    "fortran": lambda: np.asfortranarray(X),
    "strided": lambda: np.repeat(X, 2, axis=0)[::2],
    "list": X.tolist,
    "pandas": frame,
    "pandas nullable": lambda: frame().astype("Float64"),
    "pandas mixed": lambda: frame().assign(c0=frame()["c0"].astype("Float64")),
    "pandas object": lambda: frame().astype(object),
    "csr": lambda: sparse.csr_array(X),
    "csr matrix": lambda: sparse.csr_matrix(X),
    "csc": lambda: sparse.csc_array(X),
    "coo": lambda: sparse.coo_array(X),
    "xarray": lambda: xr.DataArray(X, dims=("sample", "feature")),
}  # fmt: skip

LAZY = {
    "one chunk": lambda: da.from_array(X, chunks=-1),
    "odd chunks": lambda: da.from_array(X, chunks=((1, 30, 2, 50), -1)),
    "column chunks": lambda: da.from_array(X, chunks=(20, 2)),
    "empty chunks": lambda: da.from_array(X, chunks=((0, 40, 0, 43, 0), -1)),
    "unknown chunks": lambda: unknown(X, 25),
    "csr chunks": csr_chunks,
    "dataframe": lambda: dd.from_pandas(frame(), npartitions=3, sort=False),
    "nullable dataframe": lambda: dd.from_pandas(
        frame().astype("Float64"), npartitions=4, sort=False
    ),
    "lazy xarray": lambda: xr.DataArray(da.from_array(X, chunks=(33, -1)), dims=("sample", "feature")),
}  # fmt: skip

ALL = {**LOCAL, **LAZY}


def beside(values, rows):
    """``values`` as a collection with the partitions of ``rows`` where it must be lazy."""
    if isinstance(rows, dd.DataFrame):
        series = pd.Series(values, index=frame().index)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return dd.from_pandas(series, npartitions=rows.npartitions, sort=False)
    if isinstance(rows, da.Array) and np.isnan(rows.chunks[0][0]):
        return unknown(values, 25)
    return values
