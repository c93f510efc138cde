"""How often each label was predicted for each: a few rows that stand for all, whatever their number.

One row stands for all rows of a true and a predicted label, with their weight: scores of labels give it what
they would give all of them.
"""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
from dask.base import compute
from dask.delayed import delayed

from daskml_kit.metrics.scores import _alike, _columns
from daskml_kit.typing import Array, FloatArray


def label_cells(y_true: Any, y_pred: Any, sample_weight: Any = None) -> tuple[Any, Any, Any]:
    """True label, predicted label and weight of each pair of labels, from one pass.

    Parameters
    ----------
    y_true, y_pred : (n,) NumPy, pandas, dask or xarray
    sample_weight : (n,) or None

    Returns
    -------
    Three arrays of one length: pairs of a block are apart from those of another.

    Raises
    ------
    InvalidDataError, ClusterError
        As :func:`~daskml_kit.metrics.accuracy_score`.

    Examples
    --------
    >>> y_true, y_pred = (
    ...     da.from_array([0, 1, 1, 1], chunks=4),
    ...     da.from_array([0, 1, 0, 1], chunks=4),
    ... )
    >>> label_cells(y_true, y_pred)
    (array([0, 1, 1]), array([0, 0, 1]), array([1., 1., 2.]))
    """
    y_true, y_pred, weight = _columns(y_true, y_pred, sample_weight)
    if not isinstance(y_pred, da.Array):
        y_true, weight = compute(y_true, weight)
        return _cells(y_true, y_pred, weight)
    given = [a for a in _alike(y_true, y_pred, weight) if a is not None]
    blocks = zip(*(a.to_delayed(optimize_graph=False) for a in given), strict=True)
    (found,) = compute([delayed(_cells)(*block) for block in blocks])
    true, predicted, weights = map(np.concatenate, zip(*found, strict=True))
    return true, predicted, weights


def _cells(true: Any, predicted: Any, weight: Any = None) -> tuple[Array, Array, FloatArray]:
    """True label, predicted label and weight of each pair of labels in a block."""
    first, i = np.unique(np.asarray(true), return_inverse=True)
    second, j = np.unique(np.asarray(predicted), return_inverse=True)
    pairs, own = np.unique(i * len(second) + j, return_inverse=True)
    weights = np.bincount(own, weight, minlength=len(pairs)).astype(np.float64)
    at = np.divmod(pairs, max(len(second), 1))
    return first[at[0]], second[at[1]], weights


__all__ = ["label_cells"]
