"""Blocks for the tests of this room."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st
from scipy import sparse


class Case(NamedTuple):
    X: object
    weight: np.ndarray | None
    rng: np.random.Generator

    @property
    def n(self):
        return self.X.shape[0]

    @property
    def d(self):
        return self.X.shape[1]

    def rows(self, index):
        weight = None if self.weight is None else self.weight[index]
        return self._replace(X=self.X[index], weight=weight)


def make(n, d, form="dense", dtype=np.float64, weighted=False, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)).astype(dtype)
    if form == "csr":
        X = sparse.csr_array(X * (rng.random((n, d)) < 0.4))
    return Case(X, rng.uniform(0.5, 2.0, n) if weighted else None, rng)


cases = st.builds(
    make,
    n=st.integers(0, 150),  # across tiles
    d=st.integers(1, 20),  # across blocks of the microkernel
    form=st.sampled_from(["dense", "csr"]),
    dtype=st.sampled_from([np.float32, np.float64]),
    weighted=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)

FORMS = [(form, dtype) for form in ("dense", "csr") for dtype in (np.float32, np.float64)]


def close(got, expected, scale=1.0):
    """Equal to rounding: 1e-11 of the largest number that went into the sums."""
    expected = np.asarray(expected, dtype=float)
    largest = max(scale, np.abs(expected).max(initial=0.0))
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-11 * largest)
