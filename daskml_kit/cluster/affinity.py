"""Affinities of rows with landmarks, by the names that scikit-learn knows them by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import issparse
from sklearn.metrics.pairwise import pairwise_kernels

from daskml_kit.exceptions import InvalidDataError, InvalidDataTypeError, InvalidParameterError
from daskml_kit.kernels.landmarks import rbf_values
from daskml_kit.typing import FloatArray, Matrix

KERNELS = ("rbf", "laplacian", "poly", "polynomial", "sigmoid", "cosine", "linear", "chi2")

GRAPHS = ("nearest_neighbors", "precomputed", "precomputed_nearest_neighbors")
"""Affinities of scikit-learn's that are no function of two rows."""


class Affinity(NamedTuple):
    """A function of two rows that is large where they are alike.

    Examples
    --------
    >>> import numpy as np
    >>> alike = Affinity("poly", {"degree": 2, "gamma": 1.0, "coef0": 1.0})
    >>> alike(np.array([[1.0, 0.0]]), np.array([[2.0, 5.0]]))
    array([[9.]])
    """

    name: str | Callable[..., float]
    """One of :data:`KERNELS`, or a function of two rows."""
    params: Mapping[str, Any]
    """What it may take, and what it does not."""

    def __call__(self, X: Matrix, landmarks: FloatArray) -> FloatArray:
        """Values (n, m) float64. Memory n m."""
        if self.name == "rbf":
            return rbf_values(X, landmarks, float(self.params["gamma"]))
        rows = (
            X if issparse(X) else np.array(X, dtype=np.float64)
        )  # "chi2" wants to be able to write
        values: FloatArray = pairwise_kernels(
            rows,
            np.array(landmarks),
            metric=self.name,
            filter_params=not callable(self.name),
            **self.params,
        )
        return values

    def check_rows(self, lowest: float, *, sparse: bool) -> None:
        """Refuse data that it is not defined for; ``lowest`` is their least value.

        Raises
        ------
        InvalidDataError, InvalidDataTypeError
        """
        if self.name == "chi2" and sparse:
            raise InvalidDataTypeError(
                "affinity='chi2' takes dense rows, got sparse ones. Use affinity='cosine', or pass dense X."
            )
        if self.name == "chi2" and lowest < 0:
            raise InvalidDataError(
                f"affinity='chi2' takes values of at least 0, got {lowest:g}. Use affinity='laplacian', or "
                "shift X."
            )


def check_affinity(name: Any) -> None:
    """Refuse what is no kernel.

    Raises
    ------
    InvalidParameterError
    """
    if callable(name):
        return
    if name in GRAPHS:
        raise InvalidParameterError(
            f"affinity={name!r} is a graph of all rows, not a function of two of them, so landmarks cannot "
            f"stand for the rest. Use one of {list(KERNELS)} or a callable, or scikit-learn's "
            "SpectralClustering on rows that one process holds."
        )
    if name == "additive_chi2":
        raise InvalidParameterError(
            "affinity='additive_chi2' is never above 0, but an affinity must not be negative. Use 'chi2', "
            "which is its exponential."
        )
    if name not in KERNELS:
        raise InvalidParameterError(
            f"affinity must be one of {list(KERNELS)} or a callable, got {name!r}."
        )


__all__ = ["KERNELS", "Affinity", "check_affinity"]
