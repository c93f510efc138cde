"""Gaussian components on one block: log-densities, and the sums of one EM iteration in one pass.

Tiles of rows go through matrix products; nothing of size n x k is kept. Second moments are taken about
the components' means before the step, which the rows are compared with anyway, so that components far from
the origin lose no digits.

CSR rows stay as they are where components have no covariances (:mod:`daskml_kit.kernels.mixture_stored`). A
matrix of precisions fills a row up as soon as it meets it: for those, CSR is made dense a tile at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from daskml_kit.kernels import mixture_stored, mixture_tiles
from daskml_kit.kernels.blocks import canonical_rows, check_block, frozen
from daskml_kit.kernels.products import mirrored
from daskml_kit.typing import CSR, Array, FloatArray, Matrix

CovarianceType: TypeAlias = Literal["full", "tied", "diag", "spherical"]

TILE_VALUES = 1 << 16
"""Values of a tile (512 KB), so that its rows stay in the cache while all components look at them."""

LEAST_ROWS = mixture_tiles.TILE
"""Rows of a tile at least, and what their number is a multiple of."""

STORED_SHARES = 1 << 20
"""Responsibilities of a tile of CSR (8 MB)."""


class Components(NamedTuple):
    """Weighted Gaussians, by the Cholesky factors of their precisions as scikit-learn keeps them."""

    kind: CovarianceType
    weights: FloatArray
    """(k,)"""
    means: FloatArray
    """(k, d)"""
    factors: FloatArray
    """full (k, d, d), tied (d, d): ``precision = L L'``; diag (k, d), spherical (k,): its square root."""


class MixtureSums(NamedTuple):
    """What one pass tells of the responsibilities ``r``. All add up over blocks."""

    log_likelihood: float
    n_rows: int
    weight: float
    """Sum of the weights of the rows, which their responsibilities contain."""
    counts: FloatArray
    """(k,) ``sum_i r_ik``."""
    gaps: FloatArray
    """(k, d) ``sum_i r_ik (x_i - m_k)``, m_k the means before the step."""
    squares: FloatArray
    """full (k, d, d): ``sum_i r_ik (x_i - m_k)(x_i - m_k)'``; diag and spherical (k, d): its diagonals;
    tied (d, d): ``sum_ik r_ik (x_i - m_k)(x_i - m_k)'``."""

    def __add__(self, other: object) -> MixtureSums:
        """Field by field."""
        if not isinstance(other, MixtureSums):
            return NotImplemented
        pairs: Any = zip(self, other, strict=True)
        return MixtureSums(*(a + b for a, b in pairs))


def tiles(X: Matrix, width: int) -> Iterator[tuple[int, FloatArray]]:
    """First row, and rows in float64, dense."""
    size = max(TILE_VALUES // max(width, 1) // LEAST_ROWS, 1) * LEAST_ROWS
    for start in range(0, X.shape[0], size):
        rows = X[start : start + size]
        dense = rows if isinstance(rows, np.ndarray) else rows.toarray()
        yield start, dense.astype(np.float64)


def are_narrow(kind: CovarianceType) -> bool:
    """Whether components of this kind have no covariances."""
    return kind in ("diag", "spherical")


def some_rows(X: Matrix, kind: CovarianceType, k: int) -> Iterator[tuple[int, Matrix]]:
    """First row, and rows that :func:`shared` takes together: :func:`tiles`, or CSR where it stays CSR."""
    if isinstance(X, np.ndarray) or not are_narrow(kind):
        yield from tiles(X, X.shape[1])
        return
    size = max(STORED_SHARES // k, LEAST_ROWS)
    for start in range(0, X.shape[0], size):
        yield start, X[start : start + size]


def weighted_log_densities(X: Matrix, parts: Components) -> FloatArray:
    """``log(weight_k) + log N(x_i; m_k, C_k)`` (n, k) of rows, dense or CSR. One pass.

    Examples
    --------
    >>> import numpy as np
    >>> standard = Components("spherical", np.ones(1), np.zeros((1, 2)), np.ones(1))
    >>> bool(np.isclose(weighted_log_densities(np.zeros((1, 2)), standard), -np.log(2 * np.pi)))
    True
    """
    out = squared_distances(X, parts)
    out *= -0.5
    out += _constants(parts)
    return out


def squared_distances(X: Matrix, parts: Components) -> FloatArray:
    """``(x_i - m_k)' P_k (x_i - m_k)`` (n, k), P the precisions: squares of Mahalanobis' distances. One pass.

    Examples
    --------
    >>> import numpy as np
    >>> parts = Components("diag", np.ones(1), np.zeros((1, 2)), np.array([[1.0, 0.5]]))
    >>> squared_distances(np.array([[3.0, 8.0]]), parts)
    array([[25.]])
    """
    out = np.empty((X.shape[0], len(parts.means)))
    if not isinstance(X, np.ndarray) and are_narrow(parts.kind):
        room = mixture_stored.room_for(len(parts.means))
        mixture_stored.squares(canonical_rows(X), _narrow(parts), room, out)
        return out
    for start, rows in tiles(X, X.shape[1]):
        _squares(rows, parts, out[start : start + len(rows)])
    return out


def _squares(rows: FloatArray, parts: Components, out: FloatArray) -> None:
    factors = parts.factors
    for j, mean in enumerate(parts.means):
        gaps = rows - mean
        if are_narrow(parts.kind):
            gaps *= factors[j]
        else:
            gaps = gaps @ (factors[j] if parts.kind == "full" else factors)
        out[:, j] = np.einsum("ij,ij->i", gaps, gaps)


def _log_determinants(parts: Components) -> FloatArray:
    """(k,) of the factors."""
    k, d = parts.means.shape
    factors = parts.factors
    if parts.kind == "full":
        return np.asarray(np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(axis=1))
    if parts.kind == "tied":
        return np.full(k, np.log(np.diagonal(factors)).sum())
    if parts.kind == "diag":
        return np.asarray(np.log(factors).sum(axis=1))
    return np.asarray(d * np.log(factors))


def log_sums(values: FloatArray) -> FloatArray:
    """``log sum_k exp(values_ik)`` (n,), without overflow."""
    top = values.max(axis=1, keepdims=True)
    top[~np.isfinite(top)] = 0.0
    with np.errstate(divide="ignore"):
        return np.asarray(top[:, 0] + np.log(np.exp(values - top).sum(axis=1)))


def expected(X: Matrix, parts: Components, weight: Array | None = None) -> MixtureSums:
    """The E-step of one block: sums of the responsibilities that the components have for its rows.

    They and the log-likelihood of a row are multiplied by its ``weight`` (n,) float64, if given; a row of
    weight 0 adds nothing.

    Dense rows: one compiled pass that releases the GIL, 64 rows at a time through microkernels, nothing of
    size n x k. CSR: one for stored values where components have no covariances, else one a dense tile of
    512 KB.

    Examples
    --------
    >>> import numpy as np
    >>> parts = Components("diag", np.array([0.5, 0.5]), np.array([[0.0], [8.0]]), np.ones((2, 1)))
    >>> expected(np.array([[0.0], [8.0]]), parts).counts.round(6)
    array([1., 1.])
    """
    check_block(X)
    (k, d), kind, factors = parts.means.shape, parts.kind, parts.factors
    if not isinstance(X, np.ndarray) and are_narrow(kind):
        return _of_stored(X, _narrow(parts), np.empty((0, k)), weight)
    dense = {"full": factors, "tied": factors[None]}.get(kind, np.empty((0, d, d)))
    mixed = mixture_tiles.Mixed(
        frozen(parts.means, np.float64),
        frozen(_constants(parts)),
        frozen(mixture_tiles.padded_matrices(dense)),
        frozen(np.empty((0, d)) if len(dense) else _roots(parts), np.float64),
    )
    sums, room = mixture_tiles.empty_sums(k, d, len(dense)), mixture_tiles.room_for(k, d)
    total = 0.0
    for start, rows in ((0, X),) if isinstance(X, np.ndarray) else tiles(X, d):
        own = _given(weight, start, len(rows))
        total += float(mixture_tiles.expectation(frozen(rows), own, mixed, sums, room))
    squares = mirrored(sums.products, d) if len(dense) else sums.squares
    return MixtureSums(
        total,
        X.shape[0],
        float(X.shape[0] if weight is None else weight.sum()),
        sums.counts,
        sums.gaps,
        squares[0] if kind == "tied" else squares,
    )


def _given(weight: Array | None, start: int, size: int) -> Array:
    """Weights of some rows for the compiled loops: none where all are 1."""
    return frozen(np.empty(0) if weight is None else weight[start : start + size], np.float64)


def _roots(parts: Components) -> FloatArray:
    """(k, d) roots of the precisions, of components without covariances."""
    factors = parts.factors[:, None] if parts.kind == "spherical" else parts.factors
    return np.broadcast_to(factors, parts.means.shape)


def _narrow(parts: Components) -> mixture_stored.Narrow:
    return mixture_stored.narrow(parts.means, _roots(parts), _constants(parts))


def _of_stored(
    X: CSR, parts: mixture_stored.Narrow, shares: FloatArray, weight: Array | None
) -> MixtureSums:
    """Sums of CSR rows with these responsibilities, or with their own where there are none."""
    (d, k), n = parts.means.shape, X.shape[0]
    sums, room = mixture_stored.empty_sums(k, d), mixture_stored.room_for(k)
    rows, own = canonical_rows(X), _given(weight, 0, n)
    total = mixture_stored.expectation(rows, own, parts, frozen(shares, np.float64), sums, room)
    gaps, squares = mixture_stored.about_means(parts, sums)
    mass = float(n if weight is None else weight.sum())
    return MixtureSums(float(total), n, mass, sums.counts, gaps, squares)


def _constants(parts: Components) -> FloatArray:
    """(k,) the log-density of each mean, of its own component."""
    with np.errstate(divide="ignore"):  # a component that has died out has weight 0
        weights = np.log(parts.weights)
    d = parts.means.shape[1]
    return np.asarray(weights + _log_determinants(parts) - 0.5 * d * np.log(2 * np.pi))


def no_sums(kind: CovarianceType, k: int, d: int) -> MixtureSums:
    """Those of no rows."""
    shape = {"full": (k, d, d), "tied": (d, d)}.get(kind, (k, d))
    return MixtureSums(0.0, 0, 0.0, np.zeros(k), np.zeros((k, d)), np.zeros(shape))


def shared(
    rows: Matrix,
    shares: FloatArray,
    kind: CovarianceType,
    means: FloatArray,
    log_likelihood: float = 0.0,
    weight: Array | None = None,
) -> MixtureSums:
    """Sums of rows (n, d) with responsibilities (n, k), times their weights (n,) if given.

    Rows are dense, in float64, or CSR where components have no covariances.
    """
    if not isinstance(rows, np.ndarray):
        parts = mixture_stored.narrow(means, np.zeros_like(means), np.zeros(len(means)))
        return _of_stored(rows, parts, shares, weight)._replace(log_likelihood=log_likelihood)
    if weight is not None:
        shares = shares * weight[:, None]
    total = no_sums(kind, *means.shape)
    counts, gaps, squares = total.counts, total.gaps, total.squares
    counts += shares.sum(axis=0)
    for j, mean in enumerate(means):
        apart = rows - mean
        scaled = apart * shares[:, j : j + 1]
        gaps[j] = scaled.sum(axis=0)
        if kind == "full":
            squares[j] = scaled.T @ apart
        elif kind == "tied":
            squares += scaled.T @ apart
        else:
            squares[j] = np.einsum("ij,ij->j", scaled, apart)
    mass = float(len(rows) if weight is None else weight.sum())
    return MixtureSums(log_likelihood, len(rows), mass, counts, gaps, squares)


__all__ = [
    "Components",
    "CovarianceType",
    "MixtureSums",
    "expected",
    "log_sums",
    "no_sums",
    "shared",
    "some_rows",
    "squared_distances",
    "weighted_log_densities",
]
