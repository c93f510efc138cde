"""What models that start from many rows share: the choice of the start and the checks of it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, TypeAlias

import numpy as np
from scipy import sparse
from sklearn.utils import check_array

from daskml_kit.cluster.centroids import CentroidModel
from daskml_kit.cluster.refining import sample_size
from daskml_kit.cluster.starts import Given, Parallel, Random, Sampled, Start
from daskml_kit.exceptions import InvalidDataError, InvalidParameterError, as_ours
from daskml_kit.runtime.ingest import DataFacts
from daskml_kit.runtime.random import generator
from daskml_kit.typing import ArrayLike, FloatArray

Init: TypeAlias = "str | ArrayLike | Callable[..., ArrayLike]"

INITS = ("k-means||", "k-means++", "random")
SEVERAL_RUNS = 10
"""Runs of ``n_init="auto"`` for starts that are often bad, as in scikit-learn."""


class StartedModel(CentroidModel):
    """A clustering with ``n_clusters``, ``init`` and ``n_init``."""

    n_clusters: int
    init: Init
    n_init: Any

    several_runs = SEVERAL_RUNS
    """Runs of ``n_init="auto"`` for starts that are often bad."""

    def _check_size(self, facts: DataFacts) -> None:
        if facts.n_rows < self.n_clusters:
            raise InvalidDataError(
                f"n_samples={facts.n_rows} should be >= n_clusters={self.n_clusters}. "
                "Lower n_clusters or pass more rows."
            )

    def _n_runs(self) -> int:
        by_name = isinstance(self.init, str)
        if self.n_init == "auto":
            often_bad = self.init == "random" if by_name else callable(self.init)
            return self.several_runs if often_bad else 1
        if not by_name and not callable(self.init) and self.n_init != 1:
            warnings.warn(
                "Explicit initial center position passed: performing only one init in "
                f"{type(self).__name__} instead of "
                f"n_init={self.n_init}.",
                RuntimeWarning,
                stacklevel=4,
            )
            return 1
        return int(self.n_init)

    def _start(self, X: ArrayLike, facts: DataFacts, seed: int) -> Start:
        k, n_runs = int(self.n_clusters), self._n_runs()
        if callable(self.init):
            states = [
                np.random.RandomState(generator(seed, f"kmeans-callable-{run}").integers(2**31))
                for run in range(n_runs)
            ]
            made = [self.init(X, k, random_state=state) for state in states]
            return Given([as_start(centers, k, facts) for centers in made])
        if not isinstance(self.init, str):
            return Given([as_start(self.init, k, facts)])
        if self.init == "random":
            return Random(k, n_runs)
        if self.init == "k-means++":
            return Sampled(k, n_runs, seed, facts.n_features)
        return Parallel(k, n_runs, seed, sample_size(k, facts.n_rows, facts.n_features))


def check_init(init: Init) -> None:
    """Refuse what is none of :data:`INITS`, no callable and no finite array of two dimensions."""
    if callable(init) or (isinstance(init, str) and init in INITS):
        return
    centers = None if init is None or isinstance(init, str) or sparse.issparse(init) else init
    try:
        values = np.asarray(centers, dtype=np.float64)
    except (TypeError, ValueError):
        values = np.empty(())
    if values.ndim != 2:
        got = repr(init) if init is None or isinstance(init, str | Real) else _described(init)
        raise InvalidParameterError(
            f"init must be one of {list(INITS)}, an array of shape (n_clusters, n_features) or a "
            f"callable, got {got}."
        )
    if not np.isfinite(values).all():
        raise InvalidParameterError("init contains NaN or infinity. Pass finite numbers.")


def _described(init: Any) -> str:
    shape = getattr(init, "shape", None)
    return type(init).__name__ if shape is None else f"{type(init).__name__} of shape {shape}"


def check_tol(tol: Any) -> None:
    """Refuse what is no finite number at least 0."""
    if not isinstance(tol, Real) or not 0 <= float(tol) < np.inf:
        raise InvalidParameterError(f"tol must be a finite number at least 0, got {tol!r}.")


def check_verbose(verbose: Any) -> None:
    """Refuse what is no int at least 0, and no bool."""
    if not isinstance(verbose, Integral | np.bool_) or int(verbose) < 0:
        raise InvalidParameterError(
            f"verbose must be an int at least 0, or a bool, got {verbose!r}."
        )


def check_count(name: str, value: Any, also: str = "") -> None:
    """Refuse what is no int at least 1."""
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < 1:
        raise InvalidParameterError(f"{name} must be an int at least 1{also}, got {value!r}.")


def as_start(centers: ArrayLike, k: int, facts: DataFacts) -> FloatArray:
    """The caller's centres, checked."""
    with as_ours(f"init must be, or return, finite centers of shape ({k}, {facts.n_features})."):
        out: FloatArray = check_array(centers, dtype=facts.dtype, order="C", input_name="init")
    if out.shape[0] != k:
        raise InvalidDataError(
            f"The shape of the initial centers {out.shape} does not match the number of clusters {k}. "
            "Pass one row for each cluster."
        )
    if out.shape[1] != facts.n_features:
        raise InvalidDataError(
            f"The shape of the initial centers {out.shape} does not match the number of features of the "
            f"data {facts.n_features}. Pass one column for each feature."
        )
    return out


__all__ = [
    "Init",
    "StartedModel",
    "as_start",
    "check_count",
    "check_init",
    "check_tol",
    "check_verbose",
]
