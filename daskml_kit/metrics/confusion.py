"""Scores that follow from how often each label was predicted for each: from sums, however many the rows.

One row stands for all rows of a true and a predicted label, with their weight; scikit-learn's own functions
score these few rows.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import dask.array as da
import numpy as np
from dask.base import compute
from dask.delayed import delayed
from sklearn import metrics

from daskml_kit.metrics.scores import _alike, _columns
from daskml_kit.typing import Array, FloatArray

_AVERAGED = {
    "f1": metrics.f1_score,
    "jaccard": metrics.jaccard_score,
    "precision": metrics.precision_score,
    "recall": metrics.recall_score,
}

CONFUSION_SCORES: dict[str, Callable[..., float]] = {
    "balanced_accuracy": metrics.balanced_accuracy_score,
    "matthews_corrcoef": metrics.matthews_corrcoef,
    **_AVERAGED,
    **{
        f"{name}_{average}": partial(score, average=average)
        for name, score in _AVERAGED.items()
        for average in ("macro", "micro", "weighted")
    },
}
"""By scikit-learn's names of scorers."""

BINARY = tuple(_AVERAGED)
"""Those of two labels, of which one is the positive one."""


def score_of_cells(name: str, labels: Array, weights: FloatArray, counts: FloatArray) -> float:
    """The score of rows that are counted by their labels; of two labels the last is the positive one.

    Parameters
    ----------
    name : of CONFUSION_SCORES
    labels : (n,) sorted
    weights, counts : (n, n) weight and number of the rows of each true (first axis) and predicted label

    Returns
    -------
    float

    Examples
    --------
    >>> counts = np.array([[3.0, 1.0], [0.0, 2.0]])
    >>> score_of_cells("f1", np.array([0, 1]), counts, counts)
    0.8
    """
    true, predicted = np.nonzero(counts)
    how = {"labels": labels} if name.split("_")[0] in _AVERAGED else {}
    rows = (labels[true], labels[predicted], weights[true, predicted])
    return _scored(name, *rows, labels[-1], **how)


def _scored(
    name: str, true: Array, predicted: Array, weight: Any, positive: Any, **how: Any
) -> float:
    if name in BINARY:
        how["pos_label"] = positive
    return float(CONFUSION_SCORES[name](true, predicted, sample_weight=weight, **how))


def confusion_score(
    name: str, y_true: Any, y_pred: Any, sample_weight: Any = None, *, positive: Any = 1
) -> float:
    """The score of that name, from one pass.

    Parameters
    ----------
    name : of CONFUSION_SCORES
    y_true, y_pred : (n,) NumPy, pandas, dask or xarray
    sample_weight : (n,) or None
    positive : label
        The positive one of two, where the score needs one.

    Returns
    -------
    float

    Raises
    ------
    InvalidDataError, ClusterError
        As :func:`accuracy_score`.

    Examples
    --------
    >>> y_true, y_pred = da.from_array([0, 1, 1], chunks=2), da.from_array([0, 1, 0], chunks=2)
    >>> confusion_score("balanced_accuracy", y_true, y_pred)
    0.75
    """
    y_true, y_pred, weight = _columns(y_true, y_pred, sample_weight)
    if not isinstance(y_pred, da.Array):
        y_true, weight = compute(y_true, weight)
        return _scored(name, y_true, y_pred, weight, positive)
    given = [a for a in _alike(y_true, y_pred, weight) if a is not None]
    blocks = zip(*(a.to_delayed(optimize_graph=False) for a in given), strict=True)
    (found,) = compute([delayed(_cells)(*block) for block in blocks])
    true, predicted, weights = map(np.concatenate, zip(*found, strict=True))
    return _scored(name, true, predicted, weights, positive)


def _cells(true: Any, predicted: Any, weight: Any = None) -> tuple[Array, Array, FloatArray]:
    """True label, predicted label and weight of each pair of labels in a block."""
    first, i = np.unique(np.asarray(true), return_inverse=True)
    second, j = np.unique(np.asarray(predicted), return_inverse=True)
    pairs, own = np.unique(i * len(second) + j, return_inverse=True)
    weights = np.bincount(own, weight, minlength=len(pairs)).astype(np.float64)
    at = np.divmod(pairs, max(len(second), 1))
    return first[at[0]], second[at[1]], weights


__all__ = ["BINARY", "CONFUSION_SCORES", "confusion_score", "score_of_cells"]
