"""Nearest centre: the assignment step of k-means, prediction, and distances.

Scores come fast and a little wrong, ``|c|^2 / 2 - x.c`` by matrix product in float32; decisions are made on
distances that are right. Per row the kernel keeps the best and the second best score: where they
differ by less than the error bound, the candidates are compared by their distance computed directly.
So labels do not depend on tiles or chunks. Of centres whose distances differ by rounding only the one of
lowest index is the nearest: where exact arithmetic finds them equally far, the answer is that of exact
arithmetic, and does not depend on a scale or a shift of the data.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from daskml_kit.kernels import nearest_tiles
from daskml_kit.kernels.aim import Aim, aim_at, as_centers, as_origin, half_squares, tie_width
from daskml_kit.kernels.blocks import CsrRows, as_column, as_rows, frozen
from daskml_kit.kernels.exact_sums import Grid, empty_sums
from daskml_kit.kernels.scores import whole_width
from daskml_kit.typing import Array, FloatArray, IntArray, Matrix


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
        (d,) point near the data, such as their mean; None for that of the centres. The nearer, the fewer
        rows need a second look. Results do not depend on it. Ignored for CSR.
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


def nearest(
    X: Matrix, centers: Array, origin: Array | None = None, aim: Aim | None = None
) -> tuple[IntArray, FloatArray]:
    """Index of the nearest centre (n,) int32, and the squared distance to it (n,) float64.

    Parameters, ties, errors and cost are those of :func:`assign`. ``aim`` is what :func:`whole_aim` made of
    the centres, for many small blocks; ignored for CSR.

    Examples
    --------
    >>> import numpy as np
    >>> nearest(np.array([[0.0], [10.0]]), np.array([[1.0], [8.0]]))
    (array([0, 1], dtype=int32), array([1., 4.]))
    """
    labels, distances = np.empty(X.shape[0], dtype=np.int32), np.empty(X.shape[0])
    no_sums, no_grid = np.empty((0, 0, 0)), Grid(np.empty(0), np.empty(0))
    _run(X, None, centers, origin, no_grid, no_sums, labels, distances, aim)
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
    aim: Aim | None = None,
) -> float:
    rows, points = as_rows(X), as_centers(centers, X.shape[1])
    weights = as_column(weight, "weight", X.shape[0])
    results = *(frozen(part) for part in grid), sums, labels, distances
    if isinstance(rows, CsrRows):
        tables = frozen(points.T), half_squares(points), *score_error(points)
        tie = tie_width(X.shape[1])
        return float(nearest_tiles.sparse(rows, weights, points, *tables, tie, *results))
    aim = whole_aim(points, origin) if aim is None else aim
    room = nearest_tiles.room_for(X.shape[1], aim.constants.shape[1])
    return float(nearest_tiles.dense(rows, weights, aim, room, *results))


def whole_aim(centers: Array, origin: Array | None = None) -> Aim:
    """Centres (k, d) in their order, ready for dense blocks."""
    points = as_centers(centers, centers.shape[1])
    near = points.mean(axis=0) if origin is None else as_origin(origin, centers.shape[1])
    return aim_at(points, in_order(len(points)), near, halves=False)


def in_order(k: int) -> IntArray:
    """Groups (t, width) of k centres in their order, -1 where the last is not full.

    So few a group that a column of it does not push the one before out of the cache.
    """
    width = whole_width(-(-k // -(-k // nearest_tiles.GROUP)))
    places = np.full(-(-k // width) * width, -1, dtype=np.int64)
    places[:k] = np.arange(k)
    return places.reshape(-1, width)


def score_error(centers: Array) -> tuple[float, float]:
    """Two numbers that bound the error of a score of CSR: ``first * (|x - c| + second)``.

    The score is ``|c|^2 / 2 - x.c``. A sum of d products is off by at most d roundings of
    ``|c| (|x| + |c|)``, and ``|x| <= |x - c| + |c|``. The factor 4 covers both scores of a comparison, and
    the rest.
    """
    largest = float(np.sqrt(np.max(np.einsum("kj,kj->k", centers, centers))))
    roundings = 4.0 * (centers.shape[1] + 4) * float(np.finfo(np.float64).eps)
    return roundings * largest, 4.0 * largest


__all__ = ["Assignment", "assign", "nearest", "transform_distances", "whole_aim"]
