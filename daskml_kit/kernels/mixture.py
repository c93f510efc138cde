"""Gaussian components on one block: log-densities, and the sums of one EM iteration in one pass.

Tiles of rows go through matrix products; nothing of size n x k is kept. Second moments are taken about
the components' means before the step, which the rows are compared with anyway, so that components far from
the origin lose no digits.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from daskml_kit.kernels import mixture_tiles
from daskml_kit.kernels.blocks import check_block, frozen
from daskml_kit.kernels.products import mirrored
from daskml_kit.typing import Array, FloatArray

CovarianceType: TypeAlias = Literal["full", "tied", "diag", "spherical"]

TILE_VALUES = 1 << 16
"""Values of a tile (512 KB), so that its rows stay in the cache while all components look at them."""


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


def tiles(X: Array, width: int) -> Iterator[tuple[int, FloatArray]]:
    """First row, and rows in float64."""
    size = max(TILE_VALUES // max(width, 1), 64)
    for start in range(0, len(X), size):
        yield start, X[start : start + size].astype(np.float64)


def weighted_log_densities(X: Array, parts: Components) -> FloatArray:
    """``log(weight_k) + log N(x_i; m_k, C_k)`` (n, k) of dense rows. One pass.

    Examples
    --------
    >>> import numpy as np
    >>> standard = Components("spherical", np.ones(1), np.zeros((1, 2)), np.ones(1))
    >>> bool(np.isclose(weighted_log_densities(np.zeros((1, 2)), standard), -np.log(2 * np.pi)))
    True
    """
    out = np.empty((len(X), len(parts.means)))
    for start, rows in tiles(X, X.shape[1]):
        out[start : start + len(rows)] = _densities(rows, parts)
    return out


def _densities(rows: FloatArray, parts: Components) -> FloatArray:
    squares = np.empty((len(rows), len(parts.means)))
    factors = parts.factors
    for j, mean in enumerate(parts.means):
        gaps = rows - mean
        if parts.kind in ("full", "tied"):
            gaps = gaps @ (factors[j] if parts.kind == "full" else factors)
        else:
            gaps *= factors[j]
        squares[:, j] = np.einsum("ij,ij->i", gaps, gaps)
    out: FloatArray = _constants(parts) - 0.5 * squares
    return out


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


def expected(X: Array, parts: Components, weight: Array | None = None) -> MixtureSums:
    """The E-step of one block: sums of the responsibilities that the components have for its rows.

    They and the log-likelihood of a row are multiplied by its ``weight`` (n,) float64, if given; a row of
    weight 0 adds nothing.

    One compiled pass that releases the GIL: 64 rows at a time through microkernels, nothing of size n x k.

    Examples
    --------
    >>> import numpy as np
    >>> parts = Components("diag", np.array([0.5, 0.5]), np.array([[0.0], [8.0]]), np.ones((2, 1)))
    >>> expected(np.array([[0.0], [8.0]]), parts).counts.round(6)
    array([1., 1.])
    """
    check_block(X)
    (k, d), kind, factors = parts.means.shape, parts.kind, parts.factors
    dense = {"full": factors, "tied": factors[None]}.get(kind, np.empty((0, d, d)))
    narrow = factors[:, None] if kind == "spherical" else factors
    roots = np.empty((0, d)) if len(dense) else np.broadcast_to(narrow, (k, d))
    mixed = mixture_tiles.Mixed(
        frozen(parts.means, np.float64),
        frozen(_constants(parts)),
        frozen(mixture_tiles.padded_matrices(dense)),
        frozen(roots, np.float64),
    )
    sums, room = mixture_tiles.empty_sums(k, d, len(dense)), mixture_tiles.room_for(k, d)
    given = frozen(np.empty(0) if weight is None else weight, np.float64)
    total = float(mixture_tiles.expectation(frozen(X), given, mixed, sums, room))
    squares = mirrored(sums.products, d) if len(dense) else sums.squares
    return MixtureSums(
        total,
        len(X),
        float(len(X) if weight is None else weight.sum()),
        sums.counts,
        sums.gaps,
        squares[0] if kind == "tied" else squares,
    )


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
    rows: FloatArray,
    shares: FloatArray,
    kind: CovarianceType,
    means: FloatArray,
    log_likelihood: float = 0.0,
    weight: Array | None = None,
) -> MixtureSums:
    """Sums of rows (n, d) with responsibilities (n, k), times their weights (n,) if given."""
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
    "tiles",
    "weighted_log_densities",
]
