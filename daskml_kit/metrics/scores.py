"""Accuracy and R2, lazy until the last step: one graph, one number back."""

from __future__ import annotations

import warnings
from typing import Any

import dask.array as da
import dask.dataframe as dd
import numpy as np
import xarray as xr
from dask.base import compute
from sklearn import metrics

from daskml_kit.exceptions import InvalidDataError


def _column(a: Any) -> Any:
    """A dask array where ``a`` is lazy, else a NumPy array."""
    if isinstance(a, xr.DataArray):
        a = a.data
    if isinstance(a, dd.Series | dd.DataFrame):
        with warnings.catch_warnings():  # strings become objects: as wanted
            warnings.filterwarnings("ignore", "Dask currently has limited support", UserWarning)
            a = a.to_dask_array()
    if isinstance(a, da.Array):
        return a[:, 0] if a.ndim == 2 and a.shape[1] == 1 else a
    return np.asarray(a)


def _alike(y_true: Any, y_pred: Any, weight: Any) -> tuple[Any, Any, Any]:
    """All three as dask arrays with the chunks of the prediction."""
    chunks = y_pred.chunks[0]
    known = not any(np.isnan(chunks))
    out = []
    for a in (y_true, weight):
        if isinstance(a, da.Array) and known and not any(np.isnan(a.chunks[0])):
            _same_length(a, y_pred)
            a = a.rechunk({0: chunks})
        elif a is not None and not isinstance(a, da.Array):
            if not known:
                raise InvalidDataError(
                    "y is in memory and the chunk lengths of X are unknown, so rows cannot be matched. "
                    "Call X.compute_chunk_sizes() first, or pass y as a dask collection."
                )
            _same_length(a, y_pred)
            a = da.from_array(a, chunks=(chunks, *a.shape[1:]))
        out.append(a)
    return out[0], y_pred, out[1]


def _same_length(a: Any, b: Any) -> None:
    if a.shape[0] != b.shape[0]:
        raise InvalidDataError(
            "Found input variables with inconsistent numbers of samples: "
            f"{a.shape[0]} true values, {b.shape[0]} predictions."
        )


def accuracy_score(y_true: Any, y_pred: Any, sample_weight: Any = None) -> float:
    """Weighted share of rows whose predicted label is the true one.

    Parameters
    ----------
    y_true, y_pred : (n,) NumPy, pandas, dask or xarray
    sample_weight : (n,) or None

    Returns
    -------
    float

    Examples
    --------
    >>> import dask.array as da
    >>> accuracy_score(da.from_array([0, 1, 1, 0], chunks=2), da.from_array([0, 1, 0, 0], chunks=2))
    0.75
    """
    y_true, y_pred, weight = (
        None if a is None else _column(a) for a in (y_true, y_pred, sample_weight)
    )
    if not isinstance(y_pred, da.Array):
        y_true, weight = compute(y_true, weight)
        return float(metrics.accuracy_score(y_true, y_pred, sample_weight=weight))
    y_true, y_pred, weight = _alike(y_true, y_pred, weight)
    hit = da.map_blocks(_equal, y_true, y_pred, dtype=np.float64)
    total = weight if weight is not None else da.ones_like(hit)
    hits, weights = compute((hit * total).sum(), total.sum())
    return float(hits / weights)


def _equal(a: Any, b: Any) -> Any:
    return (np.asarray(a) == np.asarray(b)).astype(np.float64)


def r2_score(y_true: Any, y_pred: Any, sample_weight: Any = None) -> float:
    """Coefficient of determination, averaged over outputs as scikit-learn does by default.

    Parameters
    ----------
    y_true, y_pred : (n,) or (n, n_outputs) NumPy, pandas, dask or xarray
    sample_weight : (n,) or None

    Returns
    -------
    float
        1.0 is best; a constant target gives 1.0 if predicted exactly, else 0.0.

    Examples
    --------
    >>> import dask.array as da
    >>> r2_score(da.from_array([1.0, 2.0, 3.0], chunks=2), da.from_array([1.0, 2.0, 2.0], chunks=2))
    0.5
    """
    y_true, y_pred, weight = (
        None if a is None else _column(a) for a in (y_true, y_pred, sample_weight)
    )
    if not isinstance(y_pred, da.Array):
        y_true, weight = compute(y_true, weight)
        return float(metrics.r2_score(y_true, y_pred, sample_weight=weight))
    y_true, y_pred, weight = _alike(y_true, y_pred, weight)
    y_true = y_true.astype(np.float64)
    w = 1.0 if weight is None else (weight if y_true.ndim == 1 else weight[:, None])
    mean = (w * y_true).sum(axis=0) / (w * da.ones_like(y_true)).sum(axis=0)
    residual, spread = compute(
        (w * (y_true - y_pred) ** 2).sum(axis=0), (w * (y_true - mean) ** 2).sum(axis=0)
    )
    return float(
        np.mean(
            [_r2(a, b) for a, b in zip(np.atleast_1d(residual), np.atleast_1d(spread), strict=True)]
        )
    )


def _r2(residual: float, spread: float) -> float:
    if spread == 0.0:
        return 1.0 if residual == 0.0 else 0.0
    return float(1.0 - residual / spread)
