"""Cross-validated ridge of more features than a Gram matrix takes: every fold and penalty in the same rounds.

From zero conjugate gradients look for ``(X'SX + alpha I) w = X'Sy`` in a space that no alpha changes. So the
products of the smallest one serve all others, whose steps follow from its own by three numbers, and the fit
on all rows is one more training set beside those of the folds. A round is one product for each set and target
that is not done; there are as many as the slowest takes at the smallest penalty, whatever the number of
penalties. Rows and targets are seen from their set's means, dense columns less the means of all rows before
anything is multiplied.

A set is done where the root of twice the duality gap of its smallest penalty is at most 1e-8 deviations of y,
or the residual is rounding beside what it was at zero. Larger penalties are ahead of the smallest.

References
----------
Jegerlehner (1996). Krylov space solvers for shifted linear systems. arXiv:hep-lat/9612014, section 2.3
(CG-M).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from daskml_kit.exceptions import ConvergenceWarning, InvalidDataError
from daskml_kit.linear_model.folds import RowCells, Splits, refuse_weightless
from daskml_kit.runtime.block import Block
from daskml_kit.runtime.dataset import BlockDataset
from daskml_kit.runtime.executor import Executor
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.solvers.vectors import inner
from daskml_kit.typing import FloatArray, IntArray

TOLERANCE = 1e-8
"""Root of twice the duality gap over the deviation of y, where a set is done."""

ROUNDING = 1e-13
"""Residual beside the one at zero that no smaller one is asked for."""

MOST_STEPS = 1000
"""As many as :class:`~daskml_kit.linear_model.Ridge` takes by default."""

TILE_VALUES = 1 << 18
"""Numbers of a tile of centred rows (2 MB)."""

TILE_ROWS = 4_096
"""Most rows of a tile."""


class Sets(NamedTuple):
    """Of several sets of rows: weight, means, and squares of y about its mean."""

    weight: FloatArray  # (n_sets,)
    mean_y: FloatArray  # (n_sets, n_targets)
    squares: FloatArray  # (n_sets, n_targets)
    mean_x: FloatArray  # (n_sets, d)


class RidgeFolds(NamedTuple):
    """Errors of the folds' models, and the models of all rows, by penalty."""

    squares: FloatArray  # (n_splits, n_alphas, n_targets) on the test sets, weighted sums
    weight: FloatArray  # (n_splits,) of the test sets
    spread: FloatArray  # (n_splits, n_targets) of y about its mean there, sums
    coefs: FloatArray  # (n_alphas, n_targets, d)
    intercepts: FloatArray  # (n_alphas, n_targets)
    n_iter: int  # steps, a product for each fold that is not done


def _weights(block: Block, cells: RowCells, members: Any) -> FloatArray:
    """Of each row in each set, (rows, n_sets), from whether a set has a cell, (n_sets, n_cells)."""
    code = np.zeros(block.n_rows, dtype=np.int64)
    for cell, rows in cells.of(block.rows):
        code[rows] = cell
    weight = np.ones(block.n_rows) if block.weight is None else block.weight
    return np.asarray(members.T[code] * weight[:, None])


def _tiles(block: Block, centre: FloatArray | None) -> Iterator[tuple[slice, Any]]:
    """Some rows at a time: which, and dense ones less ``centre``."""
    step = min(TILE_ROWS, max(1, TILE_VALUES // max(block.X.shape[1], 1)))
    if sparse.issparse(block.X):
        step = TILE_ROWS
    for start in range(0, block.n_rows, step):
        rows = slice(start, start + step)
        X = block.X[rows]
        yield (
            rows,
            X
            if sparse.issparse(X)
            else np.asarray(X, np.float64) - (0.0 if centre is None else centre),
        )


def _targets(block: Block) -> FloatArray:
    return np.asarray(block.y, dtype=np.float64).reshape(block.n_rows, -1)


def _sets_chunk(block: Block, params: tuple[RowCells, Any]) -> Sets:
    own, y = _weights(block, *params), _targets(block)
    weight = own.sum(axis=0)
    share = np.divide(own, weight, out=np.zeros_like(own), where=weight > 0)
    mean_y, mean_x = share.T @ y, np.zeros((len(weight), block.X.shape[1]))
    squares = [(own * (y[:, [t]] - mean_y[:, t]) ** 2).sum(axis=0) for t in range(y.shape[1])]
    for rows, X in _tiles(block, None):
        mean_x += np.asarray(X.T @ share[rows]).T
    return Sets(weight, mean_y, np.column_stack(squares), mean_x)


def _sets_combine(a: Sets, b: Sets) -> Sets:
    weight = a.weight + b.weight
    share = np.divide(b.weight, weight, out=np.zeros_like(weight), where=weight > 0)[:, None]
    gap = b.mean_y - a.mean_y
    return Sets(
        weight,
        a.mean_y + share * gap,
        a.squares + b.squares + a.weight[:, None] * share * gap**2,
        a.mean_x + share * (b.mean_x - a.mean_x),
    )


def _pull_chunk(block: Block, params: Any) -> FloatArray:
    """``(X - c)'S (y - mean)`` and ``sum S (y - mean)`` of some sets and targets, (n_systems, d + 1)."""
    cells, members, centre, targets, means = params
    rest = _weights(block, cells, members) * (_targets(block)[:, targets] - means)
    out = np.zeros((len(targets), block.X.shape[1] + 1))
    out[:, -1] = rest.sum(axis=0)
    for rows, X in _tiles(block, centre):
        out[:, :-1] += np.asarray(X.T @ rest[rows]).T
    return out


def _product_chunk(block: Block, params: Any) -> FloatArray:
    """``(X - c)'S u`` and ``sum S u`` for ``u = (X - c) v - o``, of some vectors v, (n_systems, d + 1)."""
    cells, members, centre, vectors, offsets = params
    own = _weights(block, cells, members)
    out = np.zeros((len(vectors), block.X.shape[1] + 1))
    for rows, X in _tiles(block, centre):
        rest = own[rows] * (np.asarray(X @ vectors.T) - offsets)
        out[:, :-1] += np.asarray(X.T @ rest).T
        out[:, -1] += rest.sum(axis=0)
    return out


def _error_chunk(block: Block, params: Any) -> FloatArray:
    """Weighted squares of the residuals of every split's test rows, (n_splits, n_alphas, n_targets)."""
    cells, members, centre, coefs, intercepts = params
    own, y = _weights(block, cells, members), _targets(block)
    out = np.zeros(intercepts.shape)
    for rows, X in _tiles(block, centre):
        for i, free in enumerate(intercepts):
            used = np.flatnonzero(own[rows, i])
            guess = np.asarray(X[used] @ coefs[i]).reshape(len(used), *free.shape) + free
            rest = y[rows][used, None] - guess
            out[i] += np.einsum("r,rat->at", own[rows, i][used], rest**2)
    return out


def _add(a: FloatArray, b: FloatArray) -> FloatArray:
    return a + b


SETS: Reduction[Any, Sets, Sets] = Reduction("folds-means", _sets_chunk, _sets_combine)
PULL: Reduction[Any, FloatArray, FloatArray] = Reduction("folds-pull", _pull_chunk, _add)
PRODUCT: Reduction[Any, FloatArray, FloatArray] = Reduction("folds-product", _product_chunk, _add)
ERRORS: Reduction[Any, FloatArray, FloatArray] = Reduction("score", _error_chunk, _add)


class ShiftedGradients:
    """Conjugate gradients for ``(A + alpha I) w = pull`` with several alphas, one product with A a step.

    Parameters
    ----------
    pull : (d,)
    alphas : (n_alphas,) at least 0
    small : norm of the smallest alpha's residual where it is done

    Attributes
    ----------
    w : (n_alphas, d)

    Examples
    --------
    >>> A = np.diag([1.0, 3.0])
    >>> system = ShiftedGradients(np.array([2.0, 6.0]), np.array([1.0, 3.0]), 1e-12)
    >>> while not system.done:
    ...     system.step(A @ system.vector)
    >>> system.w.round(9)
    array([[1. , 1.5],
           [0.5, 1. ]])
    """

    def __init__(self, pull: FloatArray, alphas: FloatArray, small: float) -> None:
        self.least = int(np.argmin(alphas))
        self.base, self.shifts = float(alphas[self.least]), alphas - alphas[self.least]
        self.small = small
        self.w = np.zeros((len(alphas), len(pull)))
        self._directions = np.tile(pull, (len(alphas), 1))
        self._residual, self._square = pull.copy(), inner(pull, pull)
        # An alpha's residual is the smallest one's times ``_shares``, which ``_ratios`` changed last.
        self._shares, self._ratios = np.ones(len(alphas)), np.ones(len(alphas))
        self._length, self._turn = 1.0, 0.0
        self._stuck = False

    @property
    def done(self) -> bool:
        """Whether no product is wanted."""
        return self.reached or self._stuck

    @property
    def reached(self) -> bool:
        """Whether the residual is small."""
        return bool(self._square <= self.small**2)

    @property
    def vector(self) -> FloatArray:
        """What A is to be multiplied with, (d,)."""
        return np.asarray(self._directions[self.least])

    def step(self, product: FloatArray) -> None:
        """Go on, told ``A vector``."""
        product = product + self.base * self.vector
        bend = inner(self.vector, product)
        if bend <= 0.0:  # rounding
            self._stuck = True
            return
        length = self._square / bend
        held = length * self._turn / self._length * (1.0 - self._ratios)
        self._ratios = 1.0 / (1.0 + length * self.shifts + held)
        self.w += (length * self._ratios)[:, None] * self._directions
        self._residual -= length * product
        square = inner(self._residual, self._residual)
        self._length, self._turn, self._square = length, square / self._square, square
        self._shares *= self._ratios
        self._directions *= (self._turn * self._ratios**2)[:, None]
        self._directions += self._shares[:, None] * self._residual


def ridge_of_folds(
    data: BlockDataset,
    executor: Executor,
    splits: Splits,
    alphas: FloatArray,
    fit_intercept: bool,
) -> RidgeFolds:
    """Models of all training sets, and of all rows, with every penalty; the errors of the former.

    Parameters
    ----------
    splits : of the rows
    alphas : (n_alphas,) of the sum of squares, at least 0

    Notes
    -----
    Three passes and one a step. The driver holds ``2 (n_splits + 1) n_alphas n_targets`` vectors of
    n_features.

    Raises
    ------
    InvalidDataError
        Where a set has no weight, or squares of the data are no numbers.
    """
    n = len(splits.splits)
    trains = np.ones((n + 1, splits.n_cells), dtype=bool)  # the last are all rows
    tests = np.zeros((n, splits.n_cells), dtype=bool)
    for i, split in enumerate(splits.splits):
        trains[i] = np.isin(np.arange(splits.n_cells), split.train)
        tests[i, list(split.test)] = True
    sets = executor.reduce(data, SETS, (splits.cells, np.vstack([trains, tests])))
    for i in range(n):
        refuse_weightless(i, float(sets.weight[i]), float(sets.weight[n + 1 + i]))
    mean_y, mean_x = sets.mean_y[: n + 1], sets.mean_x[: n + 1]
    squares = sets.squares[: n + 1]
    if not fit_intercept:
        squares = squares + sets.weight[: n + 1, None] * mean_y**2
        mean_y, mean_x = np.zeros_like(mean_y), np.zeros_like(mean_x)
    centre = mean_x[n] if fit_intercept and not data.facts.sparse else None
    off = mean_x if centre is None else mean_x - centre
    n_targets = mean_y.shape[1]
    of_set, target = (index.ravel() for index in np.indices((n + 1, n_targets)))

    def about_means(total: FloatArray, of: IntArray) -> FloatArray:
        return np.asarray(total[:, :-1] - total[:, -1:] * off[of])

    params = (splits.cells, trains[of_set], centre, target, mean_y[of_set, target])
    pulls = about_means(executor.reduce(data, PULL, params), of_set)
    norms = np.sqrt([inner(pull, pull) for pull in pulls])
    if not np.isfinite(norms).all():
        raise InvalidDataError(
            "Products of features and targets are no finite numbers: X or y are too large. Scale them."
        )
    small = TOLERANCE * np.sqrt(float(alphas.min()) * squares[of_set, target])
    systems = [
        ShiftedGradients(pull, alphas, max(float(own), ROUNDING * float(norm)))
        for pull, own, norm in zip(pulls, small, norms, strict=True)
    ]
    n_iter = 0
    while n_iter < MOST_STEPS:
        active = np.array([i for i, system in enumerate(systems) if not system.done], dtype=int)
        if not len(active):
            break
        vectors, of = np.array([systems[i].vector for i in active]), of_set[active]
        offsets = np.einsum("ij,ij->i", vectors, off[of])
        asked = (splits.cells, trains[of], centre, vectors, offsets)
        products = about_means(executor.reduce(data, PRODUCT, asked), of)
        for i, product in zip(active, products, strict=True):
            systems[i].step(product)
        n_iter += 1
    _warn([system.reached for system in systems], alphas)

    coefs = np.array([s.w for s in systems]).reshape(n + 1, n_targets, len(alphas), -1)
    coefs = coefs.transpose(0, 2, 1, 3)
    intercepts = mean_y[:, None] - np.einsum("iatd,id->iat", coefs, off)
    flat = coefs[:n].reshape(n, len(alphas) * n_targets, -1).transpose(0, 2, 1)
    errors = executor.reduce(data, ERRORS, (splits.cells, tests, centre, flat, intercepts[:n]))
    free = mean_y[n] - coefs[n] @ mean_x[n]
    return RidgeFolds(errors, sets.weight[n + 1 :], sets.squares[n + 1 :], coefs[n], free, n_iter)


def _warn(reached: list[bool], alphas: FloatArray) -> None:
    if not all(reached):
        warnings.warn(
            f"{reached.count(False)} of {len(reached)} fits of training sets stopped short of their optimum "
            f"for the smallest of alphas, {alphas.min():g}, after at most {MOST_STEPS:,} steps. Scale the "
            "features, or use larger alphas.",
            ConvergenceWarning,
            stacklevel=5,
        )


__all__ = ["RidgeFolds", "ShiftedGradients", "ridge_of_folds"]
