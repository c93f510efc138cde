"""Raw predictions of many linear models at once, where equal rows must get equal numbers.

BLAS adds the products of a row in an order that depends on where the row stands in its block, so that two
equal rows may differ in their last bit. For sums that is nothing; for the order of rows it decides which of
them are tied. Here each row is one loop of its own, the same wherever it stands.
"""

from __future__ import annotations

import numpy as np

from daskml_kit.kernels.blocks import Rows, as_rows, compiled, frozen, tile_rows
from daskml_kit.kernels.rows import count_rows, dot_rows
from daskml_kit.typing import Array, FloatArray, Matrix


@compiled
def _raw_scores(rows: Rows, coefs: Array, intercepts: Array, size: int, out: Array) -> None:
    n = count_rows(rows)
    for start in range(np.int64(0), n, size):
        stop = min(start + size, n)
        for m in range(coefs.shape[0]):
            dot_rows(rows, start, stop, coefs[m], intercepts[m], out[m, start:stop])


def raw_scores(X: Matrix, w: FloatArray, fit_intercept: bool) -> FloatArray:
    """``eta = X w + intercept`` of several models, the same bits for equal rows.

    Parameters
    ----------
    X
        (n, d) array or CSR matrix, float32 or float64. n may be 0.
    w
        (m, d + fit_intercept) coefficients of m models. The intercept is last.
    fit_intercept
        Whether ``w`` holds intercepts.

    Returns
    -------
    (m, n) float64

    Raises
    ------
    InvalidDataError, InvalidDataTypeError
        X is no block.

    Notes
    -----
    One pass over X, a tile of rows through all models. Memory beside the result: none. Releases the GIL.

    Examples
    --------
    >>> import numpy as np
    >>> raw_scores(np.array([[1.0], [2.0]]), np.array([[3.0, 0.5], [1.0, 0.0]]), fit_intercept=True)
    array([[3.5, 6.5],
           [1. , 2. ]])
    """
    rows = as_rows(X)
    coefs = frozen(w[:, :-1] if fit_intercept else w, np.float64)
    intercepts = frozen(w[:, -1] if fit_intercept else np.zeros(len(w)), np.float64)
    out = np.empty((len(w), X.shape[0]))
    _raw_scores(rows, coefs, intercepts, tile_rows(coefs.shape[1]), out)
    return out


__all__ = ["raw_scores"]
