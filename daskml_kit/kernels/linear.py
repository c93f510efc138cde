"""Sums of a loss over the rows of a linear model: value, gradient and Hessian in one read.

With ``eta = X w`` and a loss that is a sum over rows,

::

    value    = sum_i s_i loss(y_i, eta_i)
    gradient = X' (s loss'(y, eta))
    Hessian  = X' diag(s loss''(y, eta)) X

where s is the weight. All three are taken from a tile of rows while it is in the cache.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from daskml_kit.exceptions import InvalidDataError
from daskml_kit.kernels import linear_tiles
from daskml_kit.kernels.blocks import Rows, as_column, as_rows, check_block, tile_rows, uncached
from daskml_kit.kernels.compiled_loss import CompiledLoss, n_outputs_of
from daskml_kit.kernels.products import mirrored, padded
from daskml_kit.typing import Array, FloatArray, IntArray, Matrix

SKETCHES = ("", "diagonal", "shared")


class LinearSums(NamedTuple):
    """Sums over the rows of a block. Adding field by field adds blocks.

    ``gradient`` has the shape of ``w``; ``hessian`` is (w.size, w.size) in the order of
    ``w.ravel()``, what a ``sketch`` gives of it, or None. ``sampled`` is the total weight of the rows that
    it is of, where it is of a sample, else 0: what the sample stands for is a matter of weight, not of rows.
    ``weight`` is the same of value and gradient.
    """

    value: float
    gradient: FloatArray
    hessian: FloatArray | None
    sampled: float = 0.0
    weight: float = 0.0


def linear_sums(
    loss: CompiledLoss,
    X: Matrix,
    y: Array,
    weight: Array | None,
    w: Array,
    *,
    fit_intercept: bool,
    order: int,
    every: int = 1,
    start: int = 0,
    sketch: str = "",
) -> LinearSums:
    """Value, gradient and, for ``order=2``, exact Hessian of ``sum_i weight_i loss(y_i, eta_i)``.

    Parameters
    ----------
    loss
        One of :mod:`daskml_kit.losses`, or a named tuple written like them.
    X
        (n, d) array or CSR matrix, float32 or float64. n may be 0.
    y
        (n,) targets; class codes for a loss of several outputs.
    weight
        (n,) weights at least 0, or None for ones.
    w
        (d + fit_intercept,), or (K, d + fit_intercept) for a loss of K outputs. The intercept is
        last.
    fit_intercept
        Whether ``w`` holds an intercept.
    order
        1 for value and gradient, 2 for the Hessian too.
    every
        1 for the exact Hessian; m for that of one of m consecutive rows, whose choice depends on their
        global numbers alone, with their weight beside it.
    start
        Global number of the first row.
    sketch
        For ``order=1``, what of the Hessian comes beside: "diagonal", of the shape of ``w``; or "shared", one
        (width, width) matrix ``X' diag(c) X`` for all outputs, where c is the mean of their curvatures.

    Returns
    -------
    LinearSums
        float64 throughout.

    Raises
    ------
    InvalidDataError, InvalidDataTypeError
        A shape or type does not fit, ``order`` is neither 1 nor 2, or there is no such sketch.

    Notes
    -----
    One pass over X. Memory beside the results: three tiles of 32 KB. Releases the GIL. The Hessian
    costs ``n d^2 / 2 / every`` multiply-adds for each pair of outputs; for CSR, half the sum of squares of
    the rows' stored values.

    Examples
    --------
    >>> import numpy as np
    >>> from daskml_kit.losses import HalfSquared
    >>> X, y = np.array([[1.0], [2.0]]), np.array([1.0, 0.0])
    >>> sums = linear_sums(HalfSquared(), X, y, None, np.zeros(2), fit_intercept=True, order=2)
    >>> sums.value, sums.gradient
    (0.5, array([-1., -1.]))
    >>> sums.hessian
    array([[5., 3.],
           [3., 2.]])
    """
    rows, n_outputs = as_rows(X), n_outputs_of(loss)
    targets, weights = as_column(y, "y", X.shape[0]), as_column(weight, "weight", X.shape[0])
    if order not in (1, 2):
        raise InvalidDataError(
            f"order must be 1 (gradient) or 2 (gradient and Hessian), got {order!r}."
        )
    wanted = "full" if order == 2 else sketch
    if sketch not in SKETCHES or (sketch and order == 2):
        raise InvalidDataError(
            f"sketch must be one of {SKETCHES}, and none beside a Hessian, got {sketch!r} with order={order}."
        )
    check_coefficients(X, w, fit_intercept, n_outputs)
    fit = _single if n_outputs is None else _several
    sums = fit(loss, rows, targets, weights, w, X.shape[1], wanted, (start, int(every)))
    if sums.hessian is not None and every > 1 and sketch != "diagonal":
        kept = drawn_rows(start, X.shape[0], every)
        return sums._replace(sampled=float(weights[kept].sum()) if weights.size else len(kept))
    return sums


def drawn_rows(start: int, n_rows: int, every: int) -> IntArray:
    """Which rows of a block that begins at the global row ``start`` are drawn, one of ``every``.

    The place within a stratum is a multiple of the golden ratio, modulo one: such places fill it evenly
    (Weyl, 1916) and never fall in step with a period of the data.
    """
    strata = np.arange(start // every, (start + n_rows - 1) // every + 1)
    turns = strata * 0.6180339887498949
    rows = strata * every + ((turns - np.floor(turns)) * every).astype(np.int64) - start
    return np.asarray(rows[(rows >= 0) & (rows < n_rows)])


def specialised(kernel: Any, loss: CompiledLoss) -> Any:
    """The kernel as it is kept on disk, or one of this process for a loss from outside of the package.

    Numba keeps the classes of all signatures in one index and imports them to read it: after one
    process had cached a loss of its own, no other could have read the kernel.
    """
    ours = __name__.partition(".")[0] + "."
    return kernel if type(loss).__module__.startswith(ours) else uncached(kernel)


def check_coefficients(X: Matrix, w: Array, fit_intercept: bool, n_outputs: int | None) -> None:
    """Raise InvalidDataError unless ``w`` has the shape that X and the loss ask for."""
    width = X.shape[1] + bool(fit_intercept)
    expected = (width,) if n_outputs is None else (n_outputs, width)
    if w.shape != expected:
        raise InvalidDataError(
            f"w must have shape {expected} for X of {X.shape[1]} columns with "
            f"fit_intercept={fit_intercept}, got {w.shape}. The intercept is the last column."
        )


def _single(
    loss: CompiledLoss,
    rows: Rows,
    y: Array,
    weight: Array,
    w: Array,
    d: int,
    wanted: str,
    sample: tuple[int, int],
) -> LinearSums:
    coef = np.zeros(d + 1)  # without an intercept in w, it is zero here, and cut off below
    coef[: w.size] = w
    gradient = np.zeros(d + 1)
    width = gram_width(rows, d)
    grams = np.zeros((int(wanted in ("full", "shared")), width, width))
    squares = np.zeros((int(wanted == "diagonal"), d + 1))
    gathered = tile_rows(d + 1) if len(grams) else 0
    value = specialised(linear_tiles.single_output, loss)(
        loss, rows, y, weight, coef, gradient, grams, squares, stream_rows(d + 1), gathered, *sample
    )
    return LinearSums(float(value), gradient[: w.size], _asked(wanted, grams, squares, w))


def _several(
    loss: CompiledLoss,
    rows: Rows,
    y: Array,
    weight: Array,
    w: Array,
    d: int,
    wanted: str,
    sample: tuple[int, int],
) -> LinearSums:
    n_outputs, size = w.shape
    width = gram_width(rows, d)
    coef, gradient = np.zeros((2, width, padded(n_outputs)))
    coef[:size, :n_outputs] = w.T
    pairs = {"full": n_outputs * (n_outputs + 1) // 2, "shared": 1}.get(wanted, 0)
    grams = np.zeros((pairs, width, width))
    squares = np.zeros((n_outputs if wanted == "diagonal" else 0, d + 1))
    gathered = tile_rows(width) if pairs else 0
    value = specialised(linear_tiles.several_outputs, loss)(
        loss, rows, y, weight, coef, gradient, grams, squares, n_outputs,
        tile_rows(width), gathered, *sample,
    )  # fmt: skip
    hessian = _asked(wanted, grams, squares, w)
    return LinearSums(float(value), np.ascontiguousarray(gradient[:size, :n_outputs].T), hessian)


def _asked(wanted: str, grams: FloatArray, squares: FloatArray, w: Array) -> FloatArray | None:
    """What was asked of the Hessian, from the kernel's sums."""
    size = w.shape[-1]
    if wanted == "diagonal":
        return squares[:, :size].reshape(w.shape)
    if wanted == "shared" or (wanted and w.ndim == 1):
        return mirrored(grams[0], size)
    return blocks_of_pairs(mirrored(grams, size), len(w)) if wanted else None


def linear_product(
    loss: CompiledLoss,
    X: Matrix,
    y: Array,
    weight: Array | None,
    w: Array,
    vector: Array,
    *,
    fit_intercept: bool,
) -> FloatArray:
    """The Hessian of :func:`linear_sums` at ``w`` times ``vector``, which has the shape of ``w``.

    One pass over X, and no d x d matrix. Arguments and errors as there.

    Examples
    --------
    >>> import numpy as np
    >>> from daskml_kit.losses import HalfSquared
    >>> X, y = np.array([[1.0], [2.0]]), np.array([1.0, 0.0])
    >>> linear_product(
    ...     HalfSquared(), X, y, None, np.zeros(2), np.array([1.0, 0.0]), fit_intercept=True
    ... )
    array([5., 3.])
    """
    rows, n_outputs, d = as_rows(X), n_outputs_of(loss), X.shape[1]
    targets, weights = as_column(y, "y", X.shape[0]), as_column(weight, "weight", X.shape[0])
    for point in (w, vector):
        check_coefficients(X, point, fit_intercept, n_outputs)
    if n_outputs is None:
        coef, along, product = np.zeros((3, d + 1))
        coef[: w.size], along[: w.size] = w, vector
        kernel = specialised(linear_tiles.single_product, loss)
        kernel(loss, rows, targets, weights, coef, along, product, stream_rows(d + 1))
        return np.asarray(product[: w.size])
    width, size = gram_width(rows, d), w.shape[1]
    coef, along, product = np.zeros((3, width, padded(n_outputs)))
    coef[:size, :n_outputs], along[:size, :n_outputs] = w.T, vector.T
    kernel = specialised(linear_tiles.several_product, loss)
    kernel(loss, rows, targets, weights, coef, along, product, n_outputs, tile_rows(width))
    return np.ascontiguousarray(product[:size, :n_outputs].T)


def stream_rows(width: int) -> int:
    """Rows of a tile that is read for the predictions and again for the gradient: 7 KB.

    The second read should find them in the first cache level. Measured on 1,000,000 x 50: 16 rows 23 ms,
    32 rows 28, 80 rows 31, where reading the memory alone took 16.
    """
    return int(np.clip(896 // width, 16, 64)) // 4 * 4


def gram_width(rows: Rows, d: int) -> int:
    """Columns of the Gram matrix: whole blocks for the dense microkernel, d + 1 for CSR."""
    return padded(d + 1) if isinstance(rows, np.ndarray) else d + 1


def blocks_of_pairs(grams: Array, n_outputs: int) -> FloatArray:
    """The (K size, K size) Hessian from its lower blocks, in the order (0,0) (1,0) (1,1) (2,0) ..."""
    size = grams.shape[-1]
    hessian = np.empty((n_outputs, size, n_outputs, size))
    for gram, a, b in zip(grams, *np.tril_indices(n_outputs), strict=True):
        hessian[a, :, b] = hessian[b, :, a] = gram
    return hessian.reshape(n_outputs * size, n_outputs * size)


def predict_linear(X: Matrix, w: Array, fit_intercept: bool) -> FloatArray:
    """Raw predictions ``eta = X w + intercept``, (n,) or (n, K).

    In the result dtype of X and w. One pass over X, by BLAS or scipy.sparse.

    Examples
    --------
    >>> import numpy as np
    >>> predict_linear(np.array([[1.0], [2.0]]), np.array([3.0, 0.5]), fit_intercept=True)
    array([3.5, 6.5])
    """
    check_block(X)
    check_coefficients(X, w, fit_intercept, w.shape[0] if w.ndim == 2 else None)
    coef, intercept = (w[..., :-1], w[..., -1]) if fit_intercept else (w, 0.0)
    return np.asarray(X @ coef.T + intercept)


__all__ = ["LinearSums", "drawn_rows", "linear_product", "linear_sums", "predict_linear"]
