"""Nearest centre: the assignment step of k-means, prediction, and distances.

Scores come fast and a little wrong, ``|c|^2 / 2 - x.c`` by matrix product; decisions are made on
distances that are right. Per row the kernel keeps the best and the second best score: where they
differ by less than the error bound, the candidates are compared by their distance computed directly.
So labels do not depend on tiles or chunks. Of centres whose distances differ by rounding only the one of
lowest index is the nearest: where exact arithmetic finds them equally far, the answer is that of exact
arithmetic, and does not depend on a scale or a shift of the data.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from daskml_kit.exceptions import InvalidDataError
from daskml_kit.kernels import nearest_tiles
from daskml_kit.kernels.blocks import CsrRows, as_column, as_rows, frozen
from daskml_kit.kernels.exact_sums import Grid, empty_sums
from daskml_kit.kernels.products import padded
from daskml_kit.typing import Array, FloatArray, IntArray, Matrix

TIE = 1e-12
"""Squared distances that differ by this part of themselves are equal: rounding of ``x - c`` for data whose
distance from the origin is up to 1,000 times their spread."""


class Assignment(NamedTuple):
    """What one pass of k-means learns from a block. All but ``labels`` add up over blocks."""

    sums: FloatArray
    """(k, 2, d + 1): exact weighted sum of each centre's rows, and of their weights."""
    inertia: float
    """Weighted sum of squared distances to the nearest centre."""
    labels: IntArray | None
    """(n,) int32, or None where not asked for."""


def assign(
    X: Matrix,
    weight: Array | None,
    centers: Array,
    grid: Grid,
    *,
    origin: Array | None = None,
    with_labels: bool = False,
) -> Assignment:
    """Gives every row to its nearest centre and sums up by centre.

    Parameters
    ----------
    X
        (n, d) array or CSR matrix, float32 or float64. n may be 0.
    weight
        (n,) weights at least 0, or None for ones.
    centers
        (k, d), k at least 1.
    grid
        Of the exact sums (:mod:`daskml_kit.kernels.exact_sums`), for all blocks the same.
    origin
        (d,) point near the data, such as their mean. The nearer, the fewer rows need a second look.
        Results do not depend on it. Ignored for CSR and for few columns.
    with_labels
        Whether to return labels.

    Raises
    ------
    InvalidDataError, InvalidDataTypeError
        A shape or type does not fit.

    Notes
    -----
    One pass. Memory beside the result: O(k d), never n x k. Releases the GIL.

    References
    ----------
    Lloyd (1982), "Least squares quantization in PCM".

    Examples
    --------
    >>> import numpy as np
    >>> from daskml_kit.kernels.exact_sums import grid_for, resolved
    >>> X = np.array([[0.0], [1.0], [10.0]])
    >>> grid = grid_for(np.array([10.0, 1.0]), n_rows=3)
    >>> total = assign(X, None, np.array([[0.0], [9.0]]), grid)
    >>> sums, counts = resolved(total.sums)
    >>> sums.ravel(), counts, total.inertia
    (array([ 1., 10.]), array([2., 1.]), 2.0)
    """
    labels = np.empty(X.shape[0] if with_labels else 0, dtype=np.int32)
    sums = empty_sums(*centers.shape)
    inertia = _run(X, weight, centers, origin, grid, sums, labels, np.empty(0))
    return Assignment(sums, inertia, labels if with_labels else None)


def nearest(X: Matrix, centers: Array, origin: Array | None = None) -> tuple[IntArray, FloatArray]:
    """Index of the nearest centre (n,) int32, and the squared distance to it (n,) float64.

    Parameters, ties, errors and cost are those of :func:`assign`.

    Examples
    --------
    >>> import numpy as np
    >>> nearest(np.array([[0.0], [10.0]]), np.array([[1.0], [8.0]]))
    (array([0, 1], dtype=int32), array([1., 4.]))
    """
    labels, distances = np.empty(X.shape[0], dtype=np.int32), np.empty(X.shape[0])
    no_sums, no_grid = np.empty((0, 0, 0)), Grid(np.empty(0), np.empty(0))
    _run(X, None, centers, origin, no_grid, no_sums, labels, distances)
    return labels, distances


def transform_distances(X: Matrix, centers: Array) -> FloatArray:
    """Euclidean distance of every row to every centre, (n, k) float64.

    Computed directly, without the expansion of the square: exact for near and for far data.
    One pass; k d multiply-adds a row.

    Examples
    --------
    >>> import numpy as np
    >>> transform_distances(np.array([[0.0, 0.0]]), np.array([[3.0, 4.0], [0.0, 1.0]]))
    array([[5., 1.]])
    """
    rows, points = as_rows(X), as_centers(centers, X.shape[1])
    out = np.empty((X.shape[0], len(points)))
    nearest_tiles.all_distances(rows, points, half_squares(points), out)
    return out


def _run(
    X: Matrix,
    weight: Array | None,
    centers: Array,
    origin: Array | None,
    grid: Grid,
    sums: Array,
    labels: Array,
    distances: Array,
) -> float:
    rows, points = as_rows(X), as_centers(centers, X.shape[1])
    weights, tie = as_column(weight, "weight", X.shape[0]), tie_width(X.shape[1])
    results = tie, *(frozen(part) for part in grid), sums, labels, distances
    if isinstance(rows, CsrRows):
        tables = frozen(points.T), half_squares(points), *score_error(points, points)
        return float(nearest_tiles.sparse(rows, weights, points, *tables, *results))
    if X.shape[1] <= nearest_tiles.FEW_COLUMNS:
        return float(nearest_tiles.few_columns(rows, weights, points, *results))
    shift = as_origin(np.zeros(X.shape[1]) if origin is None else origin, X.shape[1])
    moved = points - shift
    shifted = np.zeros((X.shape[1], padded(len(points))))
    shifted[:, : len(points)] = moved.T
    constants = half_squares(moved) + moved @ shift
    tables = frozen(shifted), frozen(constants), *score_error(moved, points)
    return float(nearest_tiles.dense(rows, weights, points, *tables, *results))


def score_error(moved: Array, centers: Array) -> tuple[float, float]:
    """Two numbers that bound the error of a score: ``first * (|x - c| + second)``.

    With ``c' = c - origin``, the score is ``|c'|^2 / 2 + origin.c' - x.c'``. A sum of d products is
    off by at most d roundings of ``|c'| (|x| + |origin| + |c'|)``, and ``|x| <= |x - c| + |c|``,
    ``|origin| <= |c| + |c'|``. The factor 4 covers both scores of a comparison, and the rest.
    """
    largest_moved = float(np.sqrt(np.max(np.einsum("kj,kj->k", moved, moved))))
    largest = float(np.sqrt(np.max(np.einsum("kj,kj->k", centers, centers))))
    roundings = 4.0 * (centers.shape[1] + 4) * float(np.finfo(np.float64).eps)
    return roundings * largest_moved, 2.0 * (largest + largest_moved)


def tie_width(d: int) -> float:
    """:data:`TIE`, or the rounding of a sum of d squares where that is more."""
    return max(TIE, 8.0 * (d + 4) * float(np.finfo(np.float64).eps))


def half_squares(centers: Array) -> FloatArray:
    """``|c|^2 / 2`` (k,) float64."""
    return frozen(0.5 * np.einsum("kj,kj->k", centers, centers))


def as_centers(centers: Array, d: int) -> FloatArray:
    """Read-only float64 (k, d)."""
    if centers.ndim != 2 or centers.shape[1] != d or len(centers) == 0:
        raise InvalidDataError(
            f"centers must have shape (k, {d}) with k at least 1 for X of {d} columns, "
            f"got {centers.shape}. Pass one row for each centre."
        )
    return frozen(centers, np.float64)


def as_origin(origin: Array, d: int) -> FloatArray:
    """Read-only float64 (d,)."""
    if origin.shape != (d,):
        raise InvalidDataError(
            f"origin must have shape ({d},) for X of {d} columns, got {origin.shape}. "
            "Pass the mean of each column, or None."
        )
    return frozen(origin, np.float64)


__all__ = ["Assignment", "assign", "nearest", "transform_distances"]
