"""What is no plain array of numbers, checked and converted as scikit-learn does it.

Apart from :mod:`~daskml_kit.runtime.ingest`, which asks it only for what it cannot tell itself: most parts
are plain arrays, and a worker that meets no others imports neither scikit-learn nor pandas.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.utils import check_array
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from daskml_kit.typing import Array, FloatArray, Matrix

if TYPE_CHECKING:
    from daskml_kit.runtime.ingest import Spec

_REMEDIES = {
    "X": "Encode categories, turn times into numbers of a unit of your choice, or drop such columns.",
    "y": "Use a classifier for labels, or encode them.",
    "sample_weight": "Pass one weight of at least 0 a row.",
}


def matrix(X: Any, spec: Spec) -> Matrix:
    """Any X as :func:`~daskml_kit.runtime.ingest.check_matrix` gives it."""
    with _numbers_needed("X"):
        out: Matrix = check_array(
            X,
            accept_sparse="csr" if spec.accept_sparse else False,
            accept_large_sparse=True,
            dtype=np.dtype(spec.dtype),
            order="C",
            ensure_all_finite="allow-nan" if spec.allow_nan else True,
            ensure_min_samples=0,
            ensure_min_features=0,
            input_name="X",
            estimator=spec.estimator,
        )
    return out


def numbers(a: Any, name: str) -> FloatArray:
    """Finite float64 numbers of one or two dimensions."""
    with _numbers_needed(name):
        out: FloatArray = check_array(
            a,
            dtype=np.float64,
            order="C",
            ensure_2d=False,
            allow_nd=False,
            ensure_min_samples=0,
            ensure_min_features=0,
            input_name=name,
        )
    return out


def one_column(y: Any, kind: str) -> Array:
    """y of one target, as one dimension; ``kind`` is "Regressor" or "Classifier"."""
    try:
        column: Array = column_or_1d(y)
    except ValueError as error:
        if getattr(y, "ndim", 0) != 2:
            raise
        raise ValueError(
            f"{str(error).rstrip('.')}. Fit a model for each column, as sklearn.multioutput."
            f"MultiOutput{kind} does with data in memory."
        ) from None
    return column


def labels(y: Array, spec: Spec) -> Array:
    """One column of labels that are classes: none missing, no measured values unless ``spec`` takes any."""
    column = one_column(y, "Classifier")
    if column.dtype.kind == "f":
        check_array(column, ensure_2d=False, ensure_min_samples=0, input_name="y")
    elif column.dtype.kind == "O":
        _refuse_missing_labels(column)
    measured = column.dtype.kind == "f" and spec.any_labels
    if column.dtype.kind not in "iub" and len(column) and not measured:  # whole numbers are classes
        check_classification_targets(column)
    return column


def _refuse_missing_labels(y: Array) -> None:
    missing = pd.isna(y)
    if missing.any():
        raise ValueError(
            f"Input y contains NaN: {int(missing.sum())} labels are missing. Drop those rows first."
        )


@contextmanager
def _numbers_needed(name: str) -> Iterator[None]:
    """Say of what is no number in which argument it is, and what to do."""
    try:
        yield
    except (TypeError, ValueError) as error:
        text = str(error)
        if not text.startswith(("could not convert", "float() argument", "The DType")):
            raise
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{name} must hold numbers: {text}. {_REMEDIES[name]}") from error
