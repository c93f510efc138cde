"""Accuracy, log loss and R2, lazy until the last step: one graph, one number back."""

from __future__ import annotations

import math
from typing import Any

import dask.array as da
import dask.dataframe as dd
import numpy as np
import xarray as xr
from dask.base import compute
from dask.delayed import delayed
from sklearn import metrics

from daskml_kit.exceptions import InvalidDataError, InvalidParameterError, as_ours
from daskml_kit.runtime.sources import refuse_foreign_collections
from daskml_kit.typing import ArrayLike

AVERAGES = ("uniform_average", "variance_weighted", "raw_values")
"""How scores of several outputs become one, by scikit-learn's names."""


def _columns(*collections: Any) -> list[Any]:
    """Each as a dask or NumPy array; None stays None."""
    refuse_foreign_collections(*collections)
    return [None if a is None else _column(a) for a in collections]


def _column(a: Any) -> Any:
    """A dask array where ``a`` is lazy, else a NumPy array."""
    if isinstance(a, xr.DataArray):
        a = a.data
    if isinstance(a, dd.Series | dd.DataFrame):
        return _frame_column(a)
    if isinstance(a, da.Array):
        return a[:, 0] if a.ndim == 2 and a.shape[1] == 1 else a
    return np.asarray(a)


def _frame_column(a: Any) -> Any:
    """A dask array with the partitions of a frame; optimised alone, a frame may get fewer."""
    width = (math.nan,) if a.ndim == 1 else (math.nan, len(a.columns))
    dtype = np.asarray(a._meta).dtype
    parts = [delayed(np.asarray)(part) for part in a.to_delayed(optimize_graph=False)]
    column = da.concatenate([da.from_delayed(p, width, dtype=dtype) for p in parts])
    return column[:, 0] if a.ndim == 2 and len(a.columns) == 1 else column


def _alike(y_true: Any, y_pred: da.Array, weight: Any) -> tuple[Any, Any, Any]:
    """All three as dask arrays with the chunks of the prediction; lengths are checked block by block."""
    y_true = _like("y", y_true, y_pred)
    return y_true, y_pred, None if weight is None else _like("sample_weight", weight, y_pred)


def _like(name: str, a: Any, y_pred: Any) -> Any:
    chunks = y_pred.chunks[0]
    known = not any(np.isnan(chunks))
    if not isinstance(a, da.Array):
        if not known:
            raise InvalidDataError(
                f"{name} is in memory and the chunk lengths of X are unknown, so rows cannot be matched. "
                f"Call X.compute_chunk_sizes() first, or pass {name} as a dask collection."
            )
        _same_length(a, y_pred)
        return da.from_array(a, chunks=(chunks, *a.shape[1:]))
    if known and not any(np.isnan(a.chunks[0])):
        _same_length(a, y_pred)
        return a.rechunk({0: chunks})
    if a.numblocks[0] != y_pred.numblocks[0]:
        raise InvalidDataError(
            f"X has {y_pred.numblocks[0]} partitions and {name} has {a.numblocks[0]}, and their lengths are "
            "unknown, so rows cannot be matched. Persist the data and select their columns after that, or "
            "call compute_chunk_sizes() first."
        )
    if a.ndim != y_pred.ndim:
        return a
    return da.map_blocks(_checked, a, y_pred, dtype=a.dtype, chunks=y_pred.chunks)


def _checked(a: Any, like: Any) -> Any:
    """``a``, if it has the length of ``like``."""
    _same_length(a, like)
    return np.asarray(a)


def _same_length(a: Any, b: Any) -> None:
    if a.shape[0] != b.shape[0]:
        raise InvalidDataError(
            "Found input variables with inconsistent numbers of samples: "
            f"{a.shape[0]} true values or weights, {b.shape[0]} predictions. Pass one for each row of X."
        )


def accuracy_score(
    y_true: Any, y_pred: Any, *, normalize: bool = True, sample_weight: Any = None
) -> float:
    """Weighted share of rows whose predicted label is the true one.

    Parameters
    ----------
    y_true, y_pred : (n,) NumPy, pandas, dask or xarray
    normalize : bool, default=True
        False gives the weight of those rows, or their number, in place of the share.
    sample_weight : (n,) or None

    Returns
    -------
    float

    Raises
    ------
    InvalidDataError
        For other lengths, and for weights that add up to nothing.
    ClusterError
        For data of a closed client, or of another one than the active client.

    Examples
    --------
    >>> import dask.array as da
    >>> accuracy_score(da.from_array([0, 1, 1, 0], chunks=2), da.from_array([0, 1, 0, 0], chunks=2))
    0.75
    """
    y_true, y_pred, weight = _columns(y_true, y_pred, sample_weight)
    _refuse_single_weight(weight)
    if not isinstance(y_pred, da.Array):
        y_true, weight = compute(y_true, weight)
        if weight is not None:
            _check_weight_sum(float(np.sum(weight)))
        _refuse_other_lengths(y_true, y_pred, weight)
        with as_ours():
            return float(
                metrics.accuracy_score(y_true, y_pred, normalize=normalize, sample_weight=weight)
            )
    y_true, y_pred, weight = _alike(y_true, y_pred, weight)
    hit = da.map_blocks(_equal, y_true, y_pred, dtype=np.float64)
    total = weight if weight is not None else da.ones_like(hit)
    hits, weights = compute((hit * total).sum(), total.sum())
    if weight is not None:
        _check_weight_sum(float(weights))
    return float(hits / weights if normalize else hits)


def _refuse_other_lengths(y_true: Any, y_pred: Any, weight: Any) -> None:
    for given in (y_true, weight):
        if given is not None and given.ndim:
            _same_length(given, y_pred)


def _refuse_single_weight(weight: Any) -> None:
    if weight is not None and weight.ndim == 0:
        raise InvalidDataError(
            f"sample_weight must have one weight a row, got the single number {weight}. Leave it out: "
            "the same weight for every row changes no mean."
        )


def _check_weight_sum(total: float) -> None:
    """Refuse weights of which no share can be made."""
    if not total > 0 or math.isinf(total):
        raise InvalidDataError(
            f"The weights in sample_weight add up to {total}, so there is no weighted mean of the rows. They "
            "must be finite and at least one of them positive."
        )


def _equal(a: Any, b: Any) -> Any:
    return (np.asarray(a) == np.asarray(b)).astype(np.float64)


def log_loss(
    y_true: Any,
    y_proba: Any,
    *,
    normalize: bool = True,
    sample_weight: Any = None,
    labels: ArrayLike = None,
) -> float:
    """Mean negative logarithm of the probability that was given to the true label: one pass.

    Parameters
    ----------
    y_true : (n,) NumPy, pandas, dask or xarray
    y_proba : (n, n_classes), or (n,) probabilities of the second of two labels
        Kept away from 0 and 1 by the rounding of its dtype.
    normalize : bool, default=True
        False gives the sum over rows in place of the mean.
    sample_weight : (n,) or None
    labels : (n_classes,) or None
        The label of each column, sorted. None means those in y_true, which takes a pass over y_true first.

    Returns
    -------
    float

    Raises
    ------
    InvalidDataError
        Also for labels that are not among ``labels``, and for another number of columns.
    ClusterError
        As :func:`accuracy_score`.

    Examples
    --------
    >>> import dask.array as da
    >>> round(
    ...     log_loss(da.from_array([0, 1, 1], chunks=2), da.from_array([0.2, 0.5, 0.8], chunks=2)),
    ...     6,
    ... )
    0.379811
    """
    y_true, y_proba, weight = _columns(y_true, y_proba, sample_weight)
    _refuse_single_weight(weight)
    names = np.unique(compute(y_true)[0] if not isinstance(y_true, da.Array) else _distinct(y_true))
    if labels is not None:
        names = _sorted(np.asarray(labels), names)
    if len(names) < 2:
        raise InvalidDataError(
            f"y_true has the one label {names.tolist()}, so columns of y_proba have no names. Pass labels=."
        )
    n_columns = y_proba.shape[1] if y_proba.ndim == 2 else 2
    if n_columns != len(names):
        raise InvalidDataError(
            f"y_proba has {n_columns} columns, and there are {len(names)} labels: {names.tolist()}. Pass "
            "labels= with the label of each column, or predict with predict_proba."
        )
    if not isinstance(y_proba, da.Array):
        y_true, weight = compute(y_true, weight)
        if weight is not None:
            _check_weight_sum(float(np.sum(weight)))
        return float(
            metrics.log_loss(
                y_true, y_proba, normalize=normalize, sample_weight=weight, labels=names
            )
        )
    y_true, y_proba, weight = _alike(y_true, y_proba, weight)
    axes = "ik"[: y_proba.ndim]
    losses = da.blockwise(
        _log_losses, "i", y_true, "i", y_proba, axes, names=names, concatenate=True,
        align_arrays=False, dtype=np.float64,
    )  # fmt: skip
    total = weight if weight is not None else da.ones_like(losses)
    lost, weights = compute((losses * total).sum(), total.sum())
    if weight is not None:
        _check_weight_sum(float(weights))
    return float(lost / weights if normalize else lost)


def _distinct(y: da.Array) -> Any:
    (found,) = compute([delayed(np.unique)(block) for block in y.to_delayed(optimize_graph=False)])
    return np.concatenate(found)


def _sorted(labels: Any, found: Any) -> Any:
    """The labels as columns are ordered; refuses what the data have beside them."""
    strange = np.setdiff1d(found, labels)
    if len(strange):
        raise InvalidDataError(
            f"y_true has labels that are not among labels={labels.tolist()}: {strange.tolist()[:5]}."
        )
    return np.unique(labels)


def _log_losses(y: Any, p: Any, names: Any) -> Any:
    """Of each row."""
    y, p = np.asarray(y), np.asarray(p)
    _same_length(y, p)
    if p.ndim == 1:
        p = np.column_stack((1.0 - p, p))
    least = np.finfo(p.dtype).eps
    own = p[np.arange(len(p)), np.searchsorted(names, y)]
    return -np.log(np.clip(own, least, 1.0 - least).astype(np.float64))


def r2_score(
    y_true: Any,
    y_pred: Any,
    *,
    sample_weight: Any = None,
    multioutput: Any = "uniform_average",
    force_finite: bool = True,
) -> Any:
    """Coefficient of determination, ``1 - residual / spread`` in squares about the mean: one pass.

    Parameters
    ----------
    y_true, y_pred : (n,) or (n, n_outputs) NumPy, pandas, dask or xarray
    sample_weight : (n,) or None
    multioutput : {"uniform_average", "variance_weighted", "raw_values"}, (n_outputs,) weights or None
        How outputs are averaged: alike (also None), by their spread, by the weights, or not at all.
    force_finite : bool, default=True
        Whether a constant target gives 1.0 if predicted exactly, else 0.0; not a number and minus infinity
        if False.

    Returns
    -------
    float, or ndarray of shape (n_outputs,) for "raw_values"
        1.0 is best.

    Raises
    ------
    InvalidParameterError
        For another ``multioutput``.
    InvalidDataError, ClusterError
        As :func:`accuracy_score`.

    Examples
    --------
    >>> import dask.array as da
    >>> r2_score(da.from_array([1.0, 2.0, 3.0], chunks=2), da.from_array([1.0, 2.0, 2.0], chunks=2))
    0.5
    """
    y_true, y_pred, weight = _columns(y_true, y_pred, sample_weight)
    _refuse_single_weight(weight)
    _check_average(multioutput, y_pred.shape[1] if y_pred.ndim == 2 else 1)
    if not isinstance(y_pred, da.Array):
        y_true, weight = compute(y_true, weight)
        if weight is not None:
            _check_weight_sum(float(np.sum(weight)))
        _refuse_other_lengths(y_true, y_pred, weight)
        with as_ours():
            return _number(
                metrics.r2_score(
                    y_true, y_pred, sample_weight=weight, multioutput=multioutput,
                    force_finite=force_finite,
                )
            )  # fmt: skip
    y_true, y_pred, weight = _alike(y_true, y_pred, weight)
    y_true = y_true.astype(np.float64)
    w = 1.0 if weight is None else (weight if y_true.ndim == 1 else weight[:, None])
    weights = (w * da.ones_like(y_true)).sum(axis=0)
    mean = (w * y_true).sum(axis=0) / da.where(weights > 0, weights, 1.0)
    residual, spread, total = compute(
        (w * (y_true - y_pred) ** 2).sum(axis=0),
        (w * (y_true - mean) ** 2).sum(axis=0),
        1.0 if weight is None else weight.sum(),
    )
    _check_weight_sum(float(total))
    return _averaged(np.atleast_1d(residual), np.atleast_1d(spread), multioutput, force_finite)


def _check_average(multioutput: Any, n_outputs: int) -> None:
    named = multioutput is None or (isinstance(multioutput, str) and multioutput in AVERAGES)
    if named or (not isinstance(multioutput, str) and np.shape(multioutput) == (n_outputs,)):
        return
    raise InvalidParameterError(
        f"multioutput must be one of {list(AVERAGES)}, None, or a weight for each of {n_outputs} outputs, "
        f"got {multioutput!r}."
    )


def _averaged(residual: Any, spread: Any, multioutput: Any, force_finite: bool) -> Any:
    """R2 from the squares of each output."""
    with np.errstate(divide="ignore", invalid="ignore"):
        each = 1.0 - residual / spread
    if force_finite:
        each = np.where(spread == 0.0, np.where(residual == 0.0, 1.0, 0.0), each)
    if isinstance(multioutput, str) and multioutput == "raw_values":
        return each
    weights = None
    if isinstance(multioutput, str) and multioutput == "variance_weighted":
        weights = spread if np.any(spread) else None
    elif not isinstance(multioutput, str) and multioutput is not None:
        weights = np.asarray(multioutput, dtype=np.float64)
    return float(np.average(each, weights=weights))


def _number(score: Any) -> Any:
    return float(score) if np.ndim(score) == 0 else score
