"""Block numerics, compiled. The only room that knows dense from sparse.

Every function takes one block: ``X`` of shape (n, d), a float32 or float64 array or a scipy CSR
matrix, read once, in tiles that fit the cache. Sums are kept in float64 whatever ``X`` holds.
A plain NumPy reference for each stands in :mod:`daskml_kit.kernels.naive`.
"""

from daskml_kit.kernels.linear import (
    LinearSums,
    drawn_rows,
    linear_product,
    linear_sums,
    predict_linear,
)
from daskml_kit.kernels.moments import Moments, combine_moments, moments
from daskml_kit.kernels.nearest import Assignment, assign, nearest, transform_distances

__all__ = [
    "Assignment",
    "LinearSums",
    "Moments",
    "assign",
    "combine_moments",
    "drawn_rows",
    "linear_product",
    "linear_sums",
    "moments",
    "nearest",
    "predict_linear",
    "transform_distances",
]
