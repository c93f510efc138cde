"""Ridge of no more rows than features: all of it follows from the rows' own Gram matrix.

With weights s, ``q = sqrt(s)``, and A the rows less their weighted mean, each times its q::

    K = AA' = U diag(e) U',    t = U' q (y - mean),    w = A'U diag(1 / (e + alpha)) t

K is one pass over data cut by columns, the solutions of one penalty a target are another, and between them
lie all penalties, all folds and leave-one-out, on the driver, which holds n^2 numbers. An intercept makes q
a vector that K does not see: a reflection takes it out, so that nothing is subtracted where it would matter::

    residual without row i  =  sum_k u_ik t_k / (e_k + alpha)  /  sum_k u_ik^2 / (e_k + alpha)

which stays exact down to no penalty at all, where the residual with row i and one less its leverage are both
zero.

References
----------
Rifkin, Lippert (2007). Notes on regularized least squares. MIT-CSAIL-TR-2007-025, sections 3 and 4.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from scipy import linalg, sparse

from daskml_kit.linear_model.folds import RowCells, Split
from daskml_kit.linear_model.normal_equations import Spectrum, rounding_of
from daskml_kit.runtime.block import Block
from daskml_kit.runtime.columns import ColumnDataset
from daskml_kit.runtime.executor import Executor
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.runtime.sources import unwrap
from daskml_kit.typing import ArrayLike, FloatArray, IntArray

MOST_GRAM_ROWS = 5_000
"""Most rows whose Gram matrix (200 MB at this size) is reduced."""

PART_VALUES = 1 << 23
"""Numbers of the Gram matrix that a round asks for (64 MB)."""

TILE_VALUES = 1 << 20
"""Numbers of a tile of centred columns (8 MB)."""


def known_shape(X: ArrayLike) -> tuple[int, int]:
    """Rows and columns of X; 0 for a number that X does not tell, or is refused for where it is read."""
    X = unwrap(X)
    try:
        shape = X.shape if hasattr(X, "shape") else np.asarray(X).shape
    except ValueError:  # rows of different lengths
        return 0, 0
    if len(shape) != 2:
        return 0, 0
    rows, columns = (
        int(n) if isinstance(n, int | np.integer) else 0 for n in shape
    )  # lazy, or nan
    return rows, columns


def has_few_rows(X: ArrayLike) -> bool:
    """Whether X is known to have no more rows than columns, and than ``MOST_GRAM_ROWS``."""
    rows, columns = known_shape(X)
    return 0 < rows <= min(columns, MOST_GRAM_ROWS)


def centred_columns(
    block: Block, share: FloatArray | None
) -> Iterator[tuple[slice, FloatArray, FloatArray]]:
    """Some columns at a time, less their mean: which, (c, n), and the means (c,)."""
    step = max(1, TILE_VALUES // max(block.X.shape[1], 1))
    for start in range(0, block.n_rows, step):
        columns = slice(start, start + step)
        X = np.asarray(block.X[columns], dtype=np.float64)
        mean = np.zeros(len(X)) if share is None else X @ share
        yield columns, X - mean[:, None], mean


class Panel(NamedTuple):
    """Some rows of the Gram matrix, from the diagonal on: what a round asks for."""

    share: FloatArray | None
    first: int
    stop: int


def _gram_chunk(block: Block, panel: Panel) -> FloatArray:
    rows, rest = slice(panel.first, panel.stop), slice(panel.first, None)
    if not sparse.issparse(block.X):
        n = block.X.shape[1]
        out = np.zeros((panel.stop - panel.first, n - panel.first))
        for _, X, _ in centred_columns(block, panel.share):
            out += X[:, rows].T @ X[:, rest]
        return out
    stored = block.X.astype(np.float64)
    mean = np.zeros(block.n_rows) if panel.share is None else stored @ panel.share
    return stored_gram(stored[:, rest], mean, panel.stop - panel.first)


def stored_gram(X: Any, mean: FloatArray, n_rows: int | None = None) -> FloatArray:
    """The first rows, or all, of ``(X - m 1')'(X - m 1')`` for sparse columns (c, n) and their means."""
    across = np.asarray(X.T @ mean)
    first = X if n_rows is None else X[:, :n_rows]
    out = np.asarray((first.T @ X).toarray())
    out += float(mean @ mean) - across[: len(out), None] - across
    return out


def _add(a: FloatArray, b: FloatArray) -> FloatArray:
    return a + b


ROW_GRAM: Reduction[Panel, FloatArray, FloatArray] = Reduction("rows-gram", _gram_chunk, _add)
"""A panel of ``(X - 1m')(X - 1m')'`` with ``m = X'share``, of data by columns: one pass. None: m is zero."""


def row_gram(data: ColumnDataset, executor: Executor, share: FloatArray | None) -> FloatArray:
    """All of it, (n, n), in panels of at most ``PART_VALUES``: a pass each, that computes no product twice.

    A bundle's answer is a panel, so the driver holds, beside the matrix, a few of 64 MB.
    """
    n = data.facts.n_features
    step = max(1, PART_VALUES // n)
    out = np.empty((n, n))
    for first in range(0, n, step):
        stop = min(first + step, n)
        part = executor.reduce(data, ROW_GRAM, Panel(share, first, stop))
        out[first:stop, first:], out[first:, first:stop] = part, part.T
    return out


class Columns(NamedTuple):
    """Coefficients by the first column of their block, and ``w.m`` of each target."""

    coefs: dict[int, FloatArray]
    offset: FloatArray


def _columns_chunk(block: Block, params: tuple[FloatArray, FloatArray | None]) -> Columns:
    dual, share = params
    w, mean = np.zeros((block.n_rows, dual.shape[1])), np.zeros(block.n_rows)
    if sparse.issparse(block.X):
        mean = mean if share is None else np.asarray(block.X @ share)
        w += np.asarray(block.X @ dual) - np.outer(mean, dual.sum(axis=0))
    else:
        for columns, X, own in centred_columns(block, share):
            w[columns], mean[columns] = X @ dual, own
    return Columns({block.start: w}, mean @ w)


def _join(a: Columns, b: Columns) -> Columns:
    return Columns({**a.coefs, **b.coefs}, a.offset + b.offset)


COLUMNS: Reduction[Any, Columns, Columns] = Reduction("rows-solution", _columns_chunk, _join)
"""``(X - 1m')'a`` of dual coefficients a (n, n_targets): one pass."""


@dataclass(frozen=True, eq=False)
class FewRows:
    """One weighted set of rows.

    Attributes
    ----------
    gram : (n, n) products of the rows, less any one row
    y : (n, n_targets)
    weight : (n,)
    fit_intercept : whether rows and targets are seen from their weighted means
    """

    gram: FloatArray
    y: FloatArray
    weight: FloatArray
    fit_intercept: bool

    @cached_property
    def share(self) -> FloatArray:
        """Of the weight, (n,); zeros without an intercept, as if the means were."""
        out: FloatArray = self.weight * (float(self.fit_intercept) / self.weight.sum())
        return out

    @cached_property
    def root(self) -> FloatArray:
        """Roots of the weights, (n,)."""
        return np.asarray(np.sqrt(self.weight))

    @cached_property
    def mean(self) -> FloatArray:
        """Of the targets, (n_targets,)."""
        return np.asarray(self.share @ self.y)

    @cached_property
    def spectrum(self) -> Spectrum:
        """Of K, but for the vector that an intercept takes out."""
        q = self.root
        inner = self.gram @ self.share
        own = self.gram - inner[:, None] - inner + self.share @ inner
        own *= np.outer(q, q)
        if not self.fit_intercept:
            values, vectors = linalg.eigh(own)
            return Spectrum(values, vectors, rounding_of(values))
        v = q / linalg.norm(q)
        v[0] += 1.0
        beta = 2.0 / float(v @ v)
        seen = own @ v
        bent = seen - 0.5 * beta * float(v @ seen) * v
        own -= beta * (np.outer(v, bent) + np.outer(bent, v))
        values, vectors = linalg.eigh(own[1:, 1:])
        back = np.vstack([np.zeros((1, len(values))), vectors]) - np.outer(
            beta * v, v[1:] @ vectors
        )
        return Spectrum(values, back, rounding_of(values) if len(values) else 0.0)

    @cached_property
    def pulls(self) -> FloatArray:
        """``t``, (r, n_targets)."""
        return np.asarray(self.spectrum.vectors.T @ (self.root[:, None] * (self.y - self.mean)))

    def dual(self, strengths: FloatArray) -> FloatArray:
        """``q U diag(1 / (e + alpha)) t``, (n, n_targets), of one penalty a target: ``w = (X - 1m')'`` it."""
        inverse = np.column_stack([self.spectrum.inverse(a) for a in strengths.tolist()])
        return np.asarray(self.root[:, None] * (self.spectrum.vectors @ (inverse * self.pulls)))

    def left_out(self, alpha: float) -> FloatArray:
        """Residual of each row in the fit without it, (n, n_targets), nan for the only one; ``alpha`` > 0."""
        own = self.spectrum
        inverse = 1.0 / (np.where(own.values > own.noise, own.values, 0.0) + alpha)
        share = own.vectors**2 @ inverse
        error = own.vectors @ (inverse[:, None] * self.pulls)
        used = (self.weight > 0)[:, None]
        scale = (share * self.root)[:, None]
        without = self.y - self.guess(self.gram, np.full(self.y.shape[1], alpha))
        without[self.weight == self.weight.sum()] = np.nan  # no other row is left to learn from
        return np.divide(error, scale, out=without, where=used & (scale > 0))

    def guess(self, products: FloatArray, strengths: FloatArray) -> FloatArray:
        """Predictions, (m, n_targets), of rows of whose products with these rows, (m, n), are given."""
        dual = self.dual(strengths)
        rows = products - self.share @ self.gram
        return np.asarray(self.mean + rows @ dual)

    def of(self, rows: IntArray) -> FewRows:
        """Some of these rows."""
        return FewRows(
            self.gram[np.ix_(rows, rows)], self.y[rows], self.weight[rows], self.fit_intercept
        )


def few_rows_of(data: ColumnDataset, executor: Executor, fit_intercept: bool) -> FewRows:
    """The rows of data that were opened by columns. One pass up to 2,896 rows, and three for 5,000."""
    block = data.rows
    assert block is not None
    y = np.asarray(block.y, dtype=np.float64).reshape(block.n_rows, -1)
    weight = np.ones(block.n_rows) if block.weight is None else block.weight
    share = weight / weight.sum() if fit_intercept else None
    return FewRows(row_gram(data, executor, share), y, weight, fit_intercept)


def solution(
    data: ColumnDataset, executor: Executor, rows: FewRows, strengths: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Coefficients (n_targets, d) and intercepts (n_targets,), of one penalty a target. One pass."""
    share = rows.share if rows.fit_intercept else None
    found = executor.reduce(data, COLUMNS, (rows.dual(strengths), share))
    coef = np.concatenate([found.coefs[start] for start in sorted(found.coefs)])
    return coef.T, rows.mean - found.offset


def rows_of(cells: RowCells, split: Split, n_rows: int) -> tuple[IntArray, IntArray]:
    """Training and test rows of a split."""
    code = np.empty(n_rows, dtype=np.int64)
    for cell, rows in cells.of(range(n_rows)):
        code[rows] = cell
    return np.flatnonzero(np.isin(code, split.train)), np.flatnonzero(np.isin(code, split.test))


__all__ = [
    "FewRows",
    "centred_columns",
    "few_rows_of",
    "has_few_rows",
    "known_shape",
    "rows_of",
    "solution",
    "stored_gram",
]
