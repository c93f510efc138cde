"""Data whose sums are exact: multiples of 1/64, so that no order of adding them shows."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import make_blobs


def grid_blobs(n_rows: int, n_features: int, n_centers: int, seed: int = 0) -> np.ndarray:
    X, _ = make_blobs(n_rows, n_features, centers=n_centers, cluster_std=1.5, random_state=seed)
    return np.round(X * 64) / 64


def row_weights(n_rows: int, seed: int = 0) -> np.ndarray:
    """0, 1, 2 or 3 for each row."""
    return np.random.default_rng(seed).integers(0, 4, n_rows).astype(float)


def same_fit(a, b) -> None:
    """Bit by bit what does not depend on the order of sums; inertia to rounding."""
    np.testing.assert_array_equal(a.cluster_centers_, b.cluster_centers_)
    assert a.n_iter_ == b.n_iter_
    np.testing.assert_allclose(a.inertia_, b.inertia_, rtol=1e-12)
