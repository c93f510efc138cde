"""The compiled loop of :mod:`daskml_kit.kernels.mixture`: the E-step of EM, and its sums, in one read.

A tile of rows goes through four steps, in the room of :class:`Work`::

    rows --weigh--> log-densities (tile, k) --share--> responsibilities (tile, k) --add--> sums
          (x - m_k)' L_k for each component                     r (x - m_k)(x - m_k)' about the same means

Weights of rows multiply their responsibilities where these are found, so nothing after it knows of them.
Factors are matrices, (t, d, q) with t = k or 1, or diagonals, (k, d) and an empty matrix.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from daskml_kit.kernels.blocks import UNCOUNTED, bare
from daskml_kit.kernels.products import add_gram, add_row_products, padded
from daskml_kit.typing import Array, FloatArray

TILE = 64  # rows; a multiple of the microkernel's 4


class Mixed(NamedTuple):
    """Components as the loop wants them."""

    means: Array
    """(k, d)"""
    constants: Array
    """(k,) what the log-density is where the row is the mean."""
    matrices: Array
    """(t, d, q) Cholesky factors of the precisions, q padded; t is 1 for one that all share, 0 for none."""
    diagonals: Array
    """(k, d) roots of the precisions where there are no matrices."""


class Work(NamedTuple):
    """Room for a tile."""

    gaps: Array
    """(TILE, q) rows less a mean, padded with zeros."""
    scaled: Array
    """(TILE, q) the same times responsibilities, or times a factor."""
    shares: Array
    """(TILE, k) log-densities, then responsibilities."""


class Sums(NamedTuple):
    """Added up over tiles; zeros at first."""

    counts: Array
    """(k,)"""
    gaps: Array
    """(k, d)"""
    products: Array
    """(t, q, q) upper triangles, for matrices."""
    squares: Array
    """(k, d), for diagonals."""


def room_for(k: int, d: int) -> Work:
    """For k components of d columns."""
    q = padded(d)
    return Work(np.zeros((TILE, q)), np.zeros((TILE, q)), np.empty((TILE, k)))


def empty_sums(k: int, d: int, n_matrices: int) -> Sums:
    """Zeros."""
    q = padded(d)
    return Sums(np.zeros(k), np.zeros((k, d)), np.zeros((n_matrices, q, q)), np.zeros((k, d)))


def padded_matrices(factors: FloatArray) -> FloatArray:
    """(t, d, d) as (t, d, q)."""
    t, d, _ = factors.shape
    out = np.zeros((t, d, padded(d)))
    out[:, :, :d] = factors
    return out


@njit(cache=True, nogil=True, **UNCOUNTED)
def expectation(X: Array, weight: Array, parts: Mixed, sums: Sums, work: Work) -> float:
    """The log-likelihood; adds to ``sums``. ``weight`` (n,), or empty where all are 1."""
    total = 0.0
    for start in range(0, len(X), TILE):
        size = min(TILE, len(X) - start)
        for k in range(len(parts.means)):
            load(X, start, size, parts.means, k, work.gaps)
            weigh(parts, size, k, work)
        if len(weight):
            total += share_by_weight(size, work.shares, weight[start:])
        else:
            total += share(size, work.shares)
        for k in range(len(parts.means)):
            load(X, start, size, parts.means, k, work.gaps)
            add(size, k, work, sums)
    return total


@bare
def load(X: Array, start: int, size: int, means: Array, k: int, gaps: Array) -> None:
    """Rows less a mean; what is left of the tile is zero."""
    for r in range(size):
        for j in range(means.shape[1]):
            gaps[r, j] = X[start + r, j] - means[k, j]
    for r in range(size, TILE):
        for j in range(means.shape[1]):
            gaps[r, j] = 0.0


@bare
def weigh(parts: Mixed, size: int, k: int, work: Work) -> None:
    """Log-densities of a component."""
    gaps, d = work.gaps, parts.means.shape[1]
    if len(parts.matrices):
        matrix, turned = parts.matrices[k if len(parts.matrices) > 1 else 0], work.scaled
        for r in range(TILE):
            for j in range(turned.shape[1]):
                turned[r, j] = 0.0
        add_row_products(gaps.ctypes.data, gaps.shape[1], matrix, turned)
        for r in range(size):
            square = 0.0
            for j in range(d):
                square += turned[r, j] * turned[r, j]
            work.shares[r, k] = parts.constants[k] - 0.5 * square
    else:
        for r in range(size):
            square = 0.0
            for j in range(d):
                gap = gaps[r, j] * parts.diagonals[k, j]
                square += gap * gap
            work.shares[r, k] = parts.constants[k] - 0.5 * square


@bare
def share(size: int, shares: Array) -> float:
    """Log-densities to responsibilities, without overflow; the log-likelihood."""
    total = 0.0
    for r in range(size):
        top = -np.inf
        for k in range(shares.shape[1]):
            top = max(top, shares[r, k])
        top = top if np.isfinite(top) else 0.0
        mass = 0.0
        for k in range(shares.shape[1]):
            shares[r, k] = np.exp(shares[r, k] - top)
            mass += shares[r, k]
        for k in range(shares.shape[1]):
            shares[r, k] /= mass
        total += top + np.log(mass)
    return total


@bare
def share_by_weight(size: int, shares: Array, weight: Array) -> float:
    """The same, each row's by its weight: zeros at 0, whatever the row is."""
    total = 0.0
    for r in range(size):
        log = share(1, shares[r : r + 1])
        for k in range(shares.shape[1]):
            shares[r, k] = weight[r] * shares[r, k] if weight[r] > 0.0 else 0.0
        if weight[r] > 0.0:
            total += weight[r] * log
    return total


@bare
def add(size: int, k: int, work: Work, sums: Sums) -> None:
    """What a component's responsibilities add; nothing where all are zero."""
    gaps, scaled, d, count = work.gaps, work.scaled, sums.gaps.shape[1], 0.0
    for r in range(size):
        count += work.shares[r, k]
    if count == 0.0:
        return
    sums.counts[k] += count
    for r in range(size):
        part = work.shares[r, k]
        for j in range(d):
            scaled[r, j] = part * gaps[r, j]
            sums.gaps[k, j] += part * gaps[r, j]
    if len(sums.products):
        for r in range(size):
            for j in range(d, scaled.shape[1]):
                scaled[r, j] = 0.0
        add_gram(scaled, gaps, size, sums.products[k if len(sums.products) > 1 else 0])
    else:
        for r in range(size):
            for j in range(d):
                sums.squares[k, j] += scaled[r, j] * gaps[r, j]


__all__ = ["Mixed", "Sums", "Work", "empty_sums", "expectation", "padded_matrices", "room_for"]
