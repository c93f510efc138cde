"""The few things that kernels do with rows, each for dense arrays and for CSR.

A kernel is written once in these words; Numba picks the form when it compiles. ``start`` and
``stop`` bound a tile. Work arrays have the rows of a tile, sums a row or column for the intercept
at index d.

====================  ==========================================================================
``count_rows``        n
``dot_rows``          ``eta = X[start:stop] w + intercept``
``add_rows``          ``gradient += c' X[start:stop]``, the intercept's sum at d
``load_rows``         dense: the tile in float64, in front of a column of ones
``load_row``          the same of one row
``dot_tile``          ``eta = X[start:stop] W`` for several outputs; W's row d is the intercepts
``add_tile``          ``gradient += X[start:stop]' C`` for several outputs
``squared_distance``  ``|X[i] - centers[k]|^2``
``add_weighted``      ``gram += X[start:stop]' diag(c) X[start:stop]``, upper triangle
``add_kept``          the same of rows here and there, which the tile already holds
``add_squares``       ``squares[k] += sum_i c[i, k, k] X[i]^2``, the diagonals of those Gram matrices
====================  ==========================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import types
from numba.extending import overload

from daskml_kit.kernels import dense_rows, sparse_rows
from daskml_kit.kernels.blocks import FASTMATH


def by_form(dense: Callable[..., Any], sparse: Callable[..., Any]) -> Callable[..., Any]:
    """A name for use in compiled code that stands for ``dense`` or ``sparse``."""

    def word(*args: Any) -> Any:
        raise NotImplementedError(f"{dense.__name__} exists in compiled code only")

    # Not strict: the two forms are written out in full, the choice need not repeat their signature.
    @overload(word, strict=False, jit_options={"fastmath": FASTMATH, "error_model": "numpy"})
    def choose(rows: Any, *rest: Any) -> Any:
        return dense if isinstance(rows, types.Array) else sparse

    return word


count_rows = by_form(dense_rows.count_rows, sparse_rows.count_rows)
dot_rows = by_form(dense_rows.dot_rows, sparse_rows.dot_rows)
add_rows = by_form(dense_rows.add_rows, sparse_rows.add_rows)
load_rows = by_form(dense_rows.load_rows, sparse_rows.load_rows)
load_row = by_form(dense_rows.load_row, sparse_rows.load_row)
dot_tile = by_form(dense_rows.dot_tile, sparse_rows.dot_tile)
add_tile = by_form(dense_rows.add_tile, sparse_rows.add_tile)
add_weighted = by_form(dense_rows.add_weighted, sparse_rows.add_weighted)
squared_distance = by_form(dense_rows.squared_distance, sparse_rows.squared_distance)
add_kept = by_form(dense_rows.add_kept, sparse_rows.add_kept)
add_squares = by_form(dense_rows.add_squares, sparse_rows.add_squares)

__all__ = [
    "add_kept",
    "add_rows",
    "add_squares",
    "add_tile",
    "add_weighted",
    "by_form",
    "count_rows",
    "dot_rows",
    "dot_tile",
    "load_row",
    "load_rows",
    "squared_distance",
]
