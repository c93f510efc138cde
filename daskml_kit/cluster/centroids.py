"""What models of centres answer: labels, distances, scores."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from copy import copy
from functools import partial
from typing import Any

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data

from daskml_kit.base import BlockEstimator
from daskml_kit.kernels import nearest, transform_distances
from daskml_kit.runtime.block import Block
from daskml_kit.runtime.in_kind import map_rows, stand_in
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.runtime.sources import is_dask
from daskml_kit.typing import Array, ArrayLike, FloatArray, IntArray, Matrix


def lazy_stays_lazy(transformer: type[Any]) -> type[Any]:
    """scikit-learn's ``set_output`` for data in memory only: it would collect lazy rows on the driver."""
    for name in ("transform", "fit_transform"):
        setattr(transformer, name, _in_kind(getattr(transformer, name)))
    return transformer


def _in_kind(transform: Any) -> Any:
    plain = transform.__wrapped__

    @functools.wraps(plain)
    def in_kind(self: Any, X: ArrayLike, *args: Any, **kwargs: Any) -> Any:
        return (plain if is_dask(X) else transform)(self, X, *args, **kwargs)

    return in_kind


@lazy_stays_lazy
class CentroidModel(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, BlockEstimator
):
    """A clustering by centres, ``cluster_centers_`` of shape (n_clusters, n_features).

    ``_labels`` are those of rows in memory that were fitted, else None.
    """

    cluster_centers_: FloatArray
    _labels: IntArray | None

    def __sklearn_tags__(self) -> Tags:
        tags: Tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    @property
    def labels_(self) -> IntArray:
        """Labels of the rows that were fitted, for data in memory."""
        labels = vars(self).get("_labels")
        if labels is None:
            raise AttributeError(
                "labels_ is kept for data in memory only, after fit. For lazy data use fit_predict(X) or "
                "predict(X): lazy labels, which stay on the workers."
            )
        out: IntArray = labels
        return out

    @property
    def _n_features_out(self) -> int:
        return len(self.cluster_centers_)

    # ---------------------------------------------------------------- answering

    def predict(self, X: ArrayLike) -> Any:
        """Index of the nearest centre, in kind.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes

        Returns
        -------
        (n,) int32, lazy where X is
        """
        check_is_fitted(self)
        return self._map_rows(X, self._labeller(), dtype=np.int32)

    def _labeller(self) -> Callable[[Matrix], IntArray]:
        """What gives rows their labels."""
        return partial(_labels, self.cluster_centers_)

    def transform(self, X: ArrayLike) -> Any:
        """Distance to each centre, in kind.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes

        Returns
        -------
        (n, n_clusters) of the dtype of ``cluster_centers_``, lazy where X is
            Columns are called kmeans0, kmeans1, ... where X has named columns.
        """
        check_is_fitted(self)
        return self._map_rows(
            X,
            partial(_distances, self.cluster_centers_),
            dtype=self.cluster_centers_.dtype,
            columns=[str(name) for name in self.get_feature_names_out()],
            column_dim="cluster",
        )

    def fit_predict(self, X: ArrayLike, y: Any = None, sample_weight: ArrayLike = None) -> Any:
        """Fit, and the label of each row of X in kind.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes
        y : ignored
        sample_weight : (n,) or None

        Returns
        -------
        (n,) int32
            Lazy where X is: ``predict(X)``, read when it is computed. ``labels_`` for data in memory.
        """
        self.fit(X, sample_weight=sample_weight)
        if is_dask(X):
            return self.predict(X)
        return map_rows(X, partial(_kept, self.labels_), dtype=np.int32)

    def fit_transform(self, X: ArrayLike, y: Any = None, sample_weight: ArrayLike = None) -> Any:
        """Fit, and the distance of each row of X to each centre in kind.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes
        y : ignored
        sample_weight : (n,) or None

        Returns
        -------
        (n, n_clusters), lazy where X is
        """
        return self.fit(X, sample_weight=sample_weight).transform(X)

    def score(self, X: ArrayLike, y: Any = None, sample_weight: ArrayLike = None) -> float:
        """The objective on X, negative: larger is better.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes
        y : ignored
        sample_weight : (n,) or None

        Returns
        -------
        float

        Notes
        -----
        Opens X as ``fit`` does, so weights are matched with rows in the same way: one pass to load and
        one over the resident rows. The driver gets one number a part.
        """
        check_is_fitted(self)
        if np.ndim(X) == 2:  # the others are refused where they are opened
            validate_data(self, stand_in(X), reset=False, skip_check_array=True)
        # A copy, for opening data resets what an estimator knows of its features and its cost.
        with copy(self)._opened(X, None, sample_weight) as (data, executor):
            return -executor.reduce(data, INERTIA, self.cluster_centers_.astype(np.float64))


def _labels(centers: FloatArray, X: Matrix) -> IntArray:
    labels, _ = nearest(X, centers, centers.mean(axis=0, dtype=np.float64))
    return labels


def _inertia(block: Block, centers: FloatArray) -> float:
    _, squares = nearest(block.X, centers, centers.mean(axis=0))
    return float(squares.sum() if block.weight is None else squares @ block.weight)


INERTIA: Reduction[FloatArray, float, float] = Reduction("score", _inertia, operator.add)


def _distances(centers: FloatArray, X: Matrix) -> FloatArray:
    out: FloatArray = transform_distances(X, centers).astype(centers.dtype)
    return out


def _kept(labels: IntArray, _: Any) -> Array:
    return labels


__all__ = ["CentroidModel", "lazy_stays_lazy"]
