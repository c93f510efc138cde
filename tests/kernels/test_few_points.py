"""Lloyd's iterations of few points, against iterations written out."""

from __future__ import annotations

import numpy as np
import pytest

from daskml_kit.kernels import naive
from daskml_kit.kernels.few_points import lloyd_of_few


def iterated(points, weight, centers, max_iter, tol):
    for _ in range(max_iter):
        labels, _ = naive.nearest(points, centers)
        moved = centers.copy()
        for c in np.unique(labels[weight > 0]):
            own = labels == c
            moved[c] = np.average(points[own], axis=0, weights=weight[own])
        shift, centers = np.sum((moved - centers) ** 2), moved
        if shift <= tol:
            break
    return centers


@pytest.mark.parametrize("d", [1, 3, 20])
@pytest.mark.parametrize("k", [1, 7, 40])
def test_iterations_are_those_written_out(k, d):
    rng = np.random.default_rng(k * d)
    points, weight = rng.normal(size=(90, d)), rng.integers(0, 3, 90).astype(float)
    start = np.concatenate([points[: k - 1], np.full((1, d), 1e3 if k > 1 else 0.0)])
    for max_iter, tol in ((1, 0.0), (4, 0.0), (100, 0.0), (100, 1e-2)):
        found = lloyd_of_few(points, weight, start, max_iter, tol)
        np.testing.assert_allclose(found, iterated(points, weight, start, max_iter, tol), rtol=1e-9)
