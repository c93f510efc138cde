"""How the answers of several models become one. Picklable functions of rows; no cluster.

::

    sum      f(x) = sum_m weight_m f_m(x)             votes, probabilities or predictions
    median   f(x) = median_m f_m(x)                   predictions
    stacked  f(x) = final(f_1(x), ..., f_M(x))        final is a model of its own

References
----------
Wolpert (1992). Stacked generalization. Neural Networks 5.
Breiman (1996). Stacked regressions. Machine Learning 24.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from daskml_kit.ensemble.members import Form, answers
from daskml_kit.typing import Array, FloatArray, Matrix

TILE_VALUES = 1 << 22
"""Answers held at once (32 MB) where all members' answers are needed side by side."""


def weighted_sum(models: Sequence[Any], weights: FloatArray, form: Form, X: Matrix) -> FloatArray:
    """``sum_m weight_m answers_m``, (n, form.width); one member's answers are held at a time."""
    out = np.zeros((int(X.shape[0]), form.width))
    for model, weight in zip(models, weights, strict=True):
        out += weight * answers(model, X, form)
    return out


def median(models: Sequence[Any], form: Form, X: Matrix) -> FloatArray:
    """The median prediction of each row, (n, form.width)."""

    def tile(rows: Matrix) -> FloatArray:
        out: FloatArray = np.median([answers(m, rows, form) for m in models], axis=0)
        return out

    return in_tiles(tile, X, len(models) * form.width)


def stacked(models: Sequence[Any], final: Any, form: Form, X: Matrix) -> FloatArray:
    """The final model's answers to the members' answers, (n, form.width)."""
    said = replace(form, soft=hasattr(final, "predict_proba"))

    def tile(rows: Matrix) -> FloatArray:
        columns = meta_columns([answers(m, rows, form) for m in models], form)
        return answers(final, columns, said)

    return in_tiles(tile, X, n_meta_columns(len(models), form))


def meta_columns(parts: Sequence[FloatArray], form: Form) -> FloatArray:
    """Answers side by side; of two classes the second is enough, as they add up to one."""
    return np.hstack([p[:, 1:] if _is_binary(form) else p for p in parts])


def n_meta_columns(n_members: int, form: Form) -> int:
    """Columns of :func:`meta_columns`."""
    return n_members * (1 if _is_binary(form) else form.width)


def _is_binary(form: Form) -> bool:
    return form.classes is not None and form.width == 2


def in_tiles(fn: Callable[[Matrix], FloatArray], X: Matrix, width: int) -> FloatArray:
    """``fn`` of a few rows at a time, so that ``width`` values a row stay within ``TILE_VALUES``."""
    n, step = int(X.shape[0]), max(1, TILE_VALUES // width)
    if n <= step:
        return fn(X)
    return np.concatenate([fn(X[low : low + step]) for low in range(0, n, step)])


def label_rows(fuse: Callable[[Matrix], FloatArray], classes: Array, X: Matrix) -> Array:
    """The label with the largest fused answer; of equals the first in the order of ``classes``."""
    out: Array = classes[fuse(X).argmax(axis=1)]
    return out


def value_rows(fuse: Callable[[Matrix], FloatArray], columns: bool, X: Matrix) -> FloatArray:
    """The fused prediction of each row: (n,), or (n, n_outputs) where y had columns."""
    values = fuse(X)
    return values if columns else values[:, 0]


__all__ = [
    "in_tiles",
    "label_rows",
    "median",
    "meta_columns",
    "n_meta_columns",
    "stacked",
    "value_rows",
    "weighted_sum",
]
