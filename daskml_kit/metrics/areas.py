"""Areas under curves of rows in blocks: ROC AUC and average precision, exactly, in two or three rounds."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import partial
from itertools import combinations
from typing import Any

import dask.array as da
import numpy as np
from sklearn.exceptions import UndefinedMetricWarning

from daskml_kit.exceptions import InvalidDataError, InvalidParameterError
from daskml_kit.metrics.ranking import Column, Order, Ranked, ranked
from daskml_kit.metrics.scores import _columns, _refuse_single_weight
from daskml_kit.runtime.block import Block
from daskml_kit.runtime.ingest import Spec
from daskml_kit.runtime.opening import open_dataset
from daskml_kit.runtime.sources import wanted_dtype
from daskml_kit.typing import Array, ArrayLike, FloatArray, IntArray

AVERAGES = ("macro", "weighted")
"""How areas of several classes become one, by scikit-learn's names."""

ONE_CLASS = "Only one class is present in y_true. ROC AUC score is not defined in that case: NaN."


def groups_of(codes: IntArray, k: int, *, pairwise: bool) -> IntArray:
    """0 for the rows of class ``k``, 1 for the others, or ``pairwise`` a number a class.

    Examples
    --------
    >>> (
    ...     groups_of(np.array([0, 1, 2]), 1, pairwise=False),
    ...     groups_of(np.array([0, 1, 2]), 1, pairwise=True),
    ... )
    (array([1, 0, 1]), array([1, 0, 2]))
    """
    if not pairwise:
        return np.asarray(codes != k, dtype=np.int64)
    return np.asarray(np.where(codes == k, 0, codes + (codes < k)))


def one_against_rest(found: Ranked, average: str | None) -> Any:
    """The area of each class's column against all others, and their average.

    Parameters
    ----------
    found : of one column a class; of two classes one column
    average : {"macro", "weighted"} or None for all of them

    Warns
    -----
    UndefinedMetricWarning
        Where a class has all the rows, or none.
    """
    areas = found.areas[:, 0]
    if np.isnan(areas).any():
        warnings.warn(ONE_CLASS, UndefinedMetricWarning, stacklevel=2)
    return _averaged(areas, found.weights[:, 0], average)


def one_against_one(found: Ranked, average: str | None) -> float:
    """The mean over the pairs of classes that are there (Hand and Till 2001); "weighted" by their rows."""
    areas, rows = found.areas, found.weights[:, 0]
    pairs = list(combinations(np.flatnonzero(rows > 0).tolist(), 2))
    if not pairs:
        warnings.warn(ONE_CLASS, UndefinedMetricWarning, stacklevel=2)
        return float("nan")
    each = np.array([(areas[a, b - 1] + areas[b, a]) / 2.0 for a, b in pairs])
    return float(_averaged(each, np.array([rows[a] + rows[b] for a, b in pairs]), average))


def precision_of(found: Ranked, average: str | None) -> Any:
    """The average precision of each class's column, and their average.

    Warns
    -----
    UserWarning
        Where a class has no rows; its score is 0.
    """
    rows = found.weights[:, 0]
    if not np.all(rows > 0):
        warnings.warn(
            "No positive class found in y_true: the average precision of a class without rows is 0.",
            UserWarning,
            stacklevel=2,
        )
    return _averaged(found.precisions, rows, average)


def _averaged(each: FloatArray, rows: FloatArray, average: str | None) -> Any:
    if average is None and len(each) > 1:
        return each
    weights = rows if average == "weighted" and len(each) > 1 else None
    if weights is not None and not weights.sum() > 0:
        return 0.0
    return float(np.average(each, weights=weights))


def roc_auc_score(
    y_true: Any,
    y_score: Any,
    *,
    average: str | None = "macro",
    sample_weight: Any = None,
    multi_class: str = "raise",
    labels: ArrayLike = None,
) -> Any:
    """Area under the ROC curve: how often a row of a class is above one of another, ties halved.

    Parameters
    ----------
    y_true : (n,) NumPy, pandas, dask or xarray
    y_score : (n,) of the greater of two labels, or (n, n_classes)
    average : {"macro", "weighted"} or None, default="macro"
        Of several classes; None gives an area a class, "ovr" only.
    sample_weight : (n,) or None
    multi_class : {"raise", "ovr", "ovo"}, default="raise"
        Several classes each against the rest, or each against each other (which takes no weights).
    labels : (n_classes,) or None
        The label of each column, sorted. None means those in y_true.

    Returns
    -------
    float, or ndarray of shape (n_classes,)
        NaN, with a warning, where a class has no rows.

    Raises
    ------
    InvalidDataError, InvalidParameterError, ClusterError

    Notes
    -----
    After loading two rounds, one of a few rows and one in which each score moves to the worker that sorts its
    range. The driver holds sums.

    Examples
    --------
    >>> y = da.from_array([0, 0, 1, 1], chunks=2)
    >>> roc_auc_score(y, da.from_array([0.1, 0.4, 0.35, 0.8], chunks=2))
    0.75
    """
    _check_average(average)
    if multi_class not in ("raise", "ovr", "ovo"):
        raise InvalidParameterError(
            f"multi_class must be 'raise', 'ovr' or 'ovo', got {multi_class!r}."
        )
    pairwise = multi_class == "ovo" and _width(y_score) > 1
    found = ordered(
        "roc_auc_score", y_true, y_score, sample_weight, labels, pairwise=pairwise, kind="pairs"
    )
    if len(found.weights) > 1 and multi_class == "raise":
        raise InvalidParameterError(
            f"y_true has {len(found.weights)} labels: multi_class must be 'ovr' or 'ovo', got 'raise'."
        )
    if not pairwise:
        return one_against_rest(found, average)
    if sample_weight is not None or average is None:
        raise InvalidParameterError(
            "multi_class='ovo' takes no sample_weight, and an average: leave the weights out, or pass "
            "multi_class='ovr'."
        )
    return one_against_one(found, average)


def average_precision_score(
    y_true: Any,
    y_score: Any,
    *,
    average: str | None = "macro",
    pos_label: Any = 1,
    sample_weight: Any = None,
) -> Any:
    """Average precision, ``sum_n (R_n - R_(n-1)) P_n`` over all thresholds of the score.

    Parameters
    ----------
    y_true : (n,) NumPy, pandas, dask or xarray
    y_score : (n,), higher for ``pos_label``, or (n, n_classes)
    average : {"macro", "weighted"} or None, default="macro"
        Of several classes; None gives one a class.
    pos_label : label, default=1
        Of two.
    sample_weight : (n,) or None

    Returns
    -------
    float, or ndarray of shape (n_classes,)

    Raises
    ------
    InvalidDataError, InvalidParameterError, ClusterError

    Notes
    -----
    After loading three rounds: one of a few rows, one that weighs ranges of scores, and one in which each
    score moves to the worker that sorts its range. The driver holds sums.

    Examples
    --------
    >>> y = da.from_array([0, 0, 1, 1], chunks=2)
    >>> round(average_precision_score(y, da.from_array([0.1, 0.4, 0.35, 0.8], chunks=2)), 4)
    0.8333
    """
    _check_average(average)
    found = ordered(
        "average_precision_score",
        y_true,
        y_score,
        sample_weight,
        None,
        positive=pos_label,
        kind="precision",
    )
    return precision_of(found, average)


def _check_average(average: str | None) -> None:
    if average is not None and average not in AVERAGES:
        raise InvalidParameterError(
            f"average must be one of {list(AVERAGES)} or None, got {average!r}."
        )


def _width(y_score: Any) -> int:
    shape = np.shape(y_score)
    return 1 if len(shape) < 2 else int(shape[1])


def ordered(
    name: str,
    y_true: Any,
    y_score: Any,
    weight: Any,
    labels: Any,
    *,
    kind: Any,
    pairwise: bool = False,
    positive: Any = None,
) -> Ranked:
    """One column of two labels, or one a class, in order.

    Parameters
    ----------
    name : of the score, for messages and rounds
    y_true, y_score, weight, labels : as for :func:`roc_auc_score`
    kind : as of :class:`~daskml_kit.metrics.ranking.Order`
    pairwise : whether other classes are told apart
    positive : the label of two whose rows should be above, None for the last
    """
    y_true, y_score, weight = _columns(y_true, y_score, weight)
    _refuse_single_weight(weight)
    if y_score.ndim == 1:
        y_score = y_score[:, None]
    width = y_score.shape[1]
    if isinstance(y_score, da.Array):
        y_score = y_score.rechunk({1: -1})
    spec = Spec(name, "classes", min_classes=1, dtype=wanted_dtype(y_score))
    data, executor = open_dataset(y_score, y_true, weight, spec=spec)
    try:
        found = np.asarray(data.facts.classes)
        names = found if labels is None else np.unique(np.asarray(labels))
        strange = np.setdiff1d(found, names)
        if len(strange):
            raise InvalidDataError(
                f"y_true has labels that are not among labels={names.tolist()}: {strange.tolist()[:5]}."
            )
        if width != (1 if len(names) <= 2 else len(names)):
            raise InvalidDataError(
                f"y_score has {width} columns, and there are {len(names)} labels: {names.tolist()[:10]}. "
                "Pass one column for two labels, one a label for more, and labels= where y_true lacks some."
            )
        codes = np.searchsorted(names, found)
        own = len(names) - 1 if positive is None else _place(names, positive)
        columns = partial(_given, codes, own if width == 1 else None, pairwise)
        order = Order(columns, width, width if pairwise else 2, kind)
        out = ranked(data, executor, order, None)
        assert out is not None  # every block can tell its columns
        return out
    finally:
        data.release()
        executor.close()


def _place(names: Array, positive: Any) -> int:
    """Which label is the positive one; none is where all rows have the other."""
    at = np.flatnonzero(names == positive)
    if len(names) > 2:
        return -1
    if len(at) == 0 and len(names) == 2:
        raise InvalidParameterError(
            f"pos_label={positive!r} is not a valid label. It should be one of {names.tolist()}."
        )
    return int(at[0]) if len(at) else -1


def _given(
    codes: IntArray,
    own: int | None,
    pairwise: bool,
    block: Block,
    _: Any,
    wanted: range,
    every: int,
) -> Iterator[Column]:
    """The columns of X as they are."""
    rows = slice(-block.start % every, None, every)
    y = codes[np.asarray(block.y)[rows]]
    weight = None if block.weight is None else np.asarray(block.weight)[rows]
    X: Any = block.X
    for k in wanted:
        scores = np.ascontiguousarray(X[rows, k], dtype=np.float64)
        yield Column(scores, groups_of(y, k if own is None else own, pairwise=pairwise), weight)


__all__ = [
    "AVERAGES",
    "average_precision_score",
    "groups_of",
    "one_against_one",
    "one_against_rest",
    "ordered",
    "precision_of",
    "roc_auc_score",
]
