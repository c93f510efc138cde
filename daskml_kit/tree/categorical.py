"""Categorical features: which they are, what their values are called, and trees that split them.

Inside of a tree a category is a number: the place of its value among those that ``fit`` has seen. Columns of
a categorical dtype become numbers before anything else looks at them; every other column holds them already.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from daskml_kit.exceptions import InvalidDataError, InvalidDataTypeError, InvalidParameterError
from daskml_kit.runtime.sources import is_dask
from daskml_kit.typing import Array, FloatArray, IntArray

Levels = dict[Any, "pd.Index[Any]"]
"""The categories of each column of a categorical dtype."""

_UNKNOWN = "__UNKNOWN_CATEGORIES__"


@dataclass(frozen=True, eq=False)
class Features:
    """Which features are categorical.

    Attributes
    ----------
    categorical : int8 (d,)
    levels : categories of the columns that had a categorical dtype
    names : of all features, or None
    """

    categorical: IntArray
    levels: Levels
    names: list[Any] | None

    @property
    def numbers(self) -> tuple[int, ...]:
        """The features whose categories are numbers in the data."""
        found = np.flatnonzero(self.categorical).tolist()
        return tuple(f for f in found if self.names is None or self.names[f] not in self.levels)

    def label(self, feature: int) -> str:
        """A feature in the words of an error."""
        return f"at index {feature}" if self.names is None else repr(self.names[feature])

    def check(self, categories: Sequence[FloatArray], max_bins: int) -> None:
        """Refuse a feature with more categories than bins.

        Raises
        ------
        InvalidDataError
        """
        for f, values in zip(np.flatnonzero(self.categorical), categories, strict=True):
            if len(values) > max_bins:
                raise InvalidDataError(
                    f"Categorical feature {self.label(int(f))} is expected to have a cardinality <= "
                    f"{max_bins} but actually has a cardinality of {len(values)}. Raise max_bins, or join "
                    "rare ones."
                )

    def continuing(self, levels: Levels) -> Features:
        """The same for trees that are added to others: what these call their categories stays, others follow.

        Parameters
        ----------
        levels : of the fit that grew the others

        Raises
        ------
        InvalidDataError
            Other columns had a categorical dtype then.
        """
        if self.levels.keys() != levels.keys():
            raise InvalidDataError(
                f"The trees that warm_start=True keeps were grown with {list(levels)} as the columns of a "
                f"categorical dtype, got {list(self.levels)}. Pass the same dtypes, or fit with "
                "warm_start=False."
            )
        joined = {
            name: old.append(self.levels[name].difference(old, sort=False))
            for name, old in levels.items()
        }
        return replace(self, levels=joined)

    def named(self, feature: int, values: FloatArray) -> list[Any]:
        """Some values of a feature as the data has them."""
        levels = None if self.names is None else self.levels.get(self.names[feature])
        named: list[Any] = (values if levels is None else levels[values.astype(np.intp)]).tolist()
        return named


def no_frame_by_dtype(X: Any, asked: Any) -> bool:
    """Whether no feature can be categorical, whatever X holds."""
    return asked is None or (_by_dtype(asked) and not isinstance(_template(X), pd.DataFrame))


def _template(X: Any) -> Any:
    """An empty frame like a lazy one; anything else as it is."""
    return X._meta if is_dask(X) and hasattr(X, "map_partitions") else X


def _by_dtype(asked: Any) -> bool:
    return isinstance(asked, str) and asked == "from_dtype"


def categorical_in(X: Any, asked: Any, n_features: int) -> Features | None:
    """The categorical features of X; None where there are none.

    Parameters
    ----------
    asked : "from_dtype", or a mask, indices or names of features

    Raises
    ------
    InvalidParameterError
    InvalidDataError
        The categories of a lazy column are not known.
    """
    frame = _template(X)
    names = list(frame.columns) if isinstance(frame, pd.DataFrame) else None
    dtypes = [] if names is None else [_is_category(dtype) for dtype in frame.dtypes]
    mask = np.array(dtypes, bool) if _by_dtype(asked) else _mask_of(asked, names, n_features)
    if not mask.any():
        return None
    levels: Levels = {
        name: _known(name, frame.iloc[:, i])
        for i, name in enumerate(names or ())
        if mask[i] and dtypes[i]
    }
    return Features(mask.astype(np.int8), levels, names)


def _is_category(dtype: Any) -> bool:
    return isinstance(dtype, pd.CategoricalDtype)


def _known(name: Any, column: Any) -> Any:
    categories = column.cat.categories
    if _UNKNOWN in categories:
        raise InvalidDataError(
            f"The categories of column {name!r} are not known before it is computed. Call X = X.categorize() "
            "first, which reads the column once."
        )
    return categories


def _mask_of(asked: Any, names: list[Any] | None, n_features: int) -> Array:
    given = np.asarray(asked)
    if given.size == 0:
        return np.zeros(n_features, bool)
    kind = given.dtype.kind
    if kind == "O" and all(isinstance(g, str) for g in given.ravel()):
        kind = "U"
    if given.ndim != 1 or kind not in "iubU":
        raise InvalidParameterError(
            "categorical_features must be None, 'from_dtype', or an array-like of bool, int or str, got: "
            f"{asked!r}."
        )
    mask = np.zeros(n_features, bool)
    if kind == "U":
        if names is None:
            raise InvalidParameterError(
                "categorical_features should be passed as an array of integers or as a boolean mask when the "
                "model is fitted on data without feature names."
            )
        for name in given:
            if name not in names:
                raise InvalidParameterError(
                    f"categorical_features has an item value '{name}' which is not a valid feature name of "
                    f"the training data. Observed feature names: {names}"
                )
            mask[names.index(name)] = True
    elif kind == "b":
        if given.shape != (n_features,):
            raise InvalidParameterError(
                "categorical_features set as a boolean mask must have shape (n_features,), got: "
                f"{given.shape} for {n_features} features."
            )
        mask = given
    else:
        if given.min() < 0 or given.max() >= n_features:
            raise InvalidParameterError(
                "categorical_features set as integer indices must be in [0, n_features - 1], got "
                f"{asked!r} for {n_features} features."
            )
        mask[given] = True
    return mask


def numbered(X: Any, levels: Levels) -> Any:
    """X with columns of a categorical dtype as the places of their values among ``levels``, NaN for others.

    Raises
    ------
    InvalidDataTypeError
        X is no dataframe, so it can't hold the categories that ``fit`` has seen.
    """
    if not levels:
        return X
    frame = _template(X)
    if isinstance(X, pd.DataFrame):
        return _numbered(X, levels)
    if isinstance(frame, pd.DataFrame):
        return X.map_partitions(_numbered, levels, meta=_numbered(frame, levels))
    raise InvalidDataTypeError(
        f"The columns {list(levels)} were fitted as categories of a dataframe, got {type(X).__name__}. Pass "
        "a pandas or dask DataFrame with these columns."
    )


def _numbered(frame: Any, levels: Levels) -> Any:
    out = frame.copy(deep=False)
    for column, categories in levels.items():
        if column in out:
            out[column] = _places(frame[column], categories)
    return out


def _places(column: Any, levels: Any) -> Any:
    if _is_category(column.dtype):
        place = np.append(levels.get_indexer(column.cat.categories), -1)
        at = place[column.cat.codes.to_numpy()]
    else:
        at = levels.get_indexer(column)
    return pd.Series(np.where(at < 0, np.nan, at.astype(np.float64)), index=column.index)


__all__ = ["Features", "Levels", "categorical_in", "no_frame_by_dtype", "numbered"]
