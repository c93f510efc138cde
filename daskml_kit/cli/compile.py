"""``daskml-kit compile``: compile the kernels once, so that no first fit waits for it."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import Any

import numpy as np
from dask.system import CPU_COUNT
from scipy import sparse

from daskml_kit import config_context
from daskml_kit.cluster import BisectingKMeans, GaussianMixture, KMeans
from daskml_kit.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from daskml_kit.exceptions import ConvergenceWarning
from daskml_kit.kernels import linear_product, linear_sums
from daskml_kit.kernels.raw_scores import raw_scores
from daskml_kit.linear_model import (
    HuberRegressor,
    Lasso,
    LinearRegression,
    LogisticRegression,
    Ridge,
    TweedieRegressor,
)
from daskml_kit.losses import HalfSquared, SmoothedPinball

_ROWS = 40
_COLUMNS = 24


def _data() -> Iterator[tuple[str, Any]]:
    """The kinds of X that kernels are compiled for."""
    rng = np.random.default_rng(0)
    for dtype in (np.float64, np.float32):
        X = rng.normal(size=(_ROWS, _COLUMNS)).astype(dtype)
        yield f"dense {np.dtype(dtype).name}", X
        yield f"sparse {np.dtype(dtype).name}", sparse.csr_array(X)


def _fit_linear_models(X: Any) -> None:
    y = np.arange(_ROWS) % 3
    for labels in (y == 0, y):
        for solver in ("newton", "lbfgs", "newton-cg"):
            LogisticRegression(solver=solver, max_iter=1).fit(X, labels)
        for solver in ("newton", "lbfgs"):
            LogisticRegression(l1_ratio=0.5, solver=solver, max_iter=1).fit(X, labels)
    LogisticRegression(solver="cocoa", max_iter=1).fit(X, y == 0)
    Ridge(solver="cocoa", max_iter=1).fit(X, y)
    Ridge().fit(X, y)
    LinearRegression(positive=True).fit(X, y)
    Lasso(max_iter=1).fit(X, y)
    for by_columns in (Lasso(max_iter=1, solver="columns"), Ridge(solver="columns")):
        by_columns.fit(X, y)
    HuberRegressor(max_iter=1).fit(X, y)
    for power in (0, 1, 1.5, 2):
        TweedieRegressor(power=power, max_iter=1).fit(X, y + 1)
    zeros = np.zeros(_COLUMNS)
    pinball = SmoothedPinball(0.5, 1.0)  # few rows need none: the regressor would not compile it
    linear_sums(pinball, X, y, None, zeros, fit_intercept=False, order=2)
    linear_product(HalfSquared(), X, y, None, zeros, zeros, fit_intercept=False)  # of wide ridge
    raw_scores(X, zeros[None], fit_intercept=False)  # of penalties chosen by the order of rows


def _fit_trees(X: Any) -> None:
    y = np.arange(_ROWS) % 3
    for labels in (y == 0, y):
        forest = RandomForestClassifier(30, max_depth=2, random_state=0, oob_score=True)
        forest.fit(X, labels).predict(X)
        forest.fit(X, labels, y + 0.5)  # weights of eight bytes
    for bins in (255, 300):  # codes of one byte and of two
        forest = RandomForestRegressor(1, max_depth=2, max_bins=bins, random_state=0)
        forest.fit(X, y).predict(X)
    if (
        not sparse.issparse(X) and X.dtype == np.float64
    ):  # other ways to grow see bins, whatever X is
        for top_k in (None, 2):
            forest = RandomForestClassifier(
                1, max_depth=2, max_features=None, top_k=top_k, random_state=0
            )
            with config_context(trees="reduce"):
                forest.fit(X, y).fit(X, y, y + 0.5)
    if not sparse.issparse(X):  # trees with sets of categories are walked by code of their own
        forest = RandomForestRegressor(1, max_depth=2, categorical_features=[0], random_state=0)
        forest.fit(X, y).predict(X)


def _fit_boosted_trees(X: Any) -> None:
    y = np.arange(_ROWS) % 3
    for labels in (y == 0, y):
        GradientBoostingClassifier(n_estimators=1, max_depth=2).fit(X, labels).predict(X)
    for loss in ("squared_error", "absolute_error", "poisson"):
        GradientBoostingRegressor(loss=loss, n_estimators=1, max_depth=2).fit(X, y).predict(X)


def _fit_clusters(X: Any) -> None:
    for algorithm in ("lloyd", "hamerly"):
        model = KMeans(3, max_iter=1, random_state=0, algorithm=algorithm)
        model.fit(X).transform(X)
    BisectingKMeans(2, max_iter=1, random_state=0).fit(X).predict(X)
    if not sparse.issparse(X):  # rows of few columns are measured many at once
        BisectingKMeans(2, max_iter=1, random_state=0).fit(X[:, :3])
        KMeans(3, max_iter=1, random_state=0).fit(X[:, :3])
    for kind in ("full", "diag"):
        GaussianMixture(2, max_iter=1, covariance_type=kind, random_state=0).fit(X).transform(X)


_ROOMS: dict[str, Callable[[Any], None]] = {
    "trees": _fit_trees,
    "linear models": _fit_linear_models,
    "clusters": _fit_clusters,
    "boosted trees": _fit_boosted_trees,
}
"""Every estimator that runs kernels, one step each, the longest first."""


def _compile_room(room: str) -> tuple[str, float]:
    """Compile what one room runs, for every kind of X; its name and the seconds that took.

    A room is one process's whole: Numba's index of a function's specialisations is lost where two processes
    write it at once.
    """
    begun = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # one step is enough to compile
        for _, X in _data():
            _ROOMS[room](X)
    return room, time.perf_counter() - begun


def run_compile() -> int:
    """Compile everything that estimators use into Numba's cache on this machine, on all cores."""
    processes = min(CPU_COUNT, len(_ROOMS))
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for done in as_completed([pool.submit(_compile_room, room) for room in _ROOMS]):
            room, seconds = done.result()
            print(f"compiled the kernels of {room:<14} {seconds:6.1f} s", flush=True)
    return 0


__all__ = ["run_compile"]
