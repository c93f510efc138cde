"""Least squares with positive coefficients by columns: semismooth Newton in the space of the rows.

With the rows weighted and seen from their means (A for X, c for y) the problem is

::

    minimise over w >= 0    1/2 |c - A w|^2 + strength/2 |w - z|^2

in as many unknowns as there are columns. Its dual has as many as there are rows, and no bounds::

    minimise over u         1/2 |u|^2 - u'c + strength/2 |w(u)|^2,    w(u) = max(0, z + A'u / strength)
    gradient                u - c + A w(u)
    Hessian                 I + A_+ A_+' / strength                   A_+: columns of positive coefficients

The gradient is that of a smooth function, piecewise linear: Newton's method ends after finitely many steps,
five or so, at the rounding of the solution. A round reads all columns once: w(u), its product, and what the
columns that come in or drop out change in the Hessian. The duality gap is half the square of the gradient.

A ridge penalty is the strength, and z is zero. Without one, or where residuals are so large beside it that
rounding would show in ``A'u / strength``, the solution is sought by proximal steps, each of which is such a
problem about the last one's w.

==========================  =====================================
in Li, Sun, Toh             here
==========================  =====================================
``xi``                      ``u``, with the other sign
``sigma``                   one over the strength
``psi_j``                   the dual objective
==========================  =====================================

References
----------
Li, Sun, Toh (2018). A highly efficient semismooth Newton augmented Lagrangian method for solving Lasso
problems. SIAM J. Optim. 28, Algorithms 1 (Ssnal) and 2 (Ssn).
Rockafellar (1976). Monotone operators and the proximal point algorithm. SIAM J. Control Optim. 14.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from daskml_kit.linear_model.column_problem import STILL, ByColumns, Problem
from daskml_kit.linear_model.column_rounds import Slice
from daskml_kit.linear_model.few_rows import centred_columns, stored_gram
from daskml_kit.runtime.block import Block
from daskml_kit.runtime.columns import ColumnDataset
from daskml_kit.runtime.executor import Executor
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.solvers.cholesky import factorised
from daskml_kit.solvers.line_search import LineSearch
from daskml_kit.typing import Array, FloatArray

FIRST, LEAST = 0.1, 1e-6
"""Strengths of the first proximal step and of the last ones, as shares of the largest column's square. From
step to step a tenth, so that Newton's method has few columns to exchange in each. Weaker ones cost digits."""

DIRECT = 20
"""Rounds after which proximal steps take over. Where columns can follow the target Newton's method needs a
dozen for any penalty; else, with a weak one, it exchanges a few columns a step."""

NEAR = 1e-9
"""Share of c from which on a gradient that ``STILL`` steps have not halved is rounding."""

TRIALS = 8
"""Of a search, after which nothing but rounding is left."""

LOST = 1e-10
"""Share of the largest coefficient that rounding may be where the dual is divided by the penalty."""

EXACT = 1e-13
"""Share of c that a gradient is at the rounding of the solution."""


class Ask(NamedTuple):
    """One round's question.

    Attributes
    ----------
    vector : (n,) u times the roots of the rows' weights
    share : (n,) of the weights, which the means of the columns are taken with; None for no means
    strength : above 0
    about : (d,) z, or None for zeros
    known : bits of the columns that the Hessian at hand holds, the first column first
    weight : (n,) of the rows, where the columns' squares are asked for; else None
    """

    vector: FloatArray
    share: FloatArray | None
    strength: float
    about: FloatArray | None
    known: Array
    weight: FloatArray | None


class Found(NamedTuple):
    """What columns answer, as if all weights were one. Sums, but for the slices.

    Attributes
    ----------
    product : (n,) of the centred columns with w
    offset : of their means with w
    gram : (n, n) products of the columns that have come in, less those that have dropped out; 0 for none
    slices : w
    squares : of the centred columns, where they are asked for
    """

    product: FloatArray
    offset: float
    gram: FloatArray | float
    slices: tuple[Slice, ...]
    squares: tuple[Slice, ...]


class _Tile(NamedTuple):
    """Some columns less their means."""

    columns: slice
    X: Any  # (c, n); sparse ones as they are
    mean: FloatArray  # (c,)

    def pull(self, vector: FloatArray) -> FloatArray:
        """Products with a vector of the rows."""
        out = np.asarray(self.X @ vector)
        return out - self.mean * vector.sum() if sparse.issparse(self.X) else out

    def product(self, w: FloatArray) -> FloatArray:
        """Of the columns with coefficients."""
        out = np.asarray(self.X.T @ w)
        return out - float(self.mean @ w) if sparse.issparse(self.X) else out

    def gram(self, columns: Array) -> FloatArray:
        """Products of the rows, of some of the columns."""
        X = self.X[columns]
        if sparse.issparse(X):
            return stored_gram(X, self.mean[columns])
        return np.asarray(X.T @ X)

    def squares(self, weight: FloatArray) -> FloatArray:
        """Of the columns, for weights of the rows that their means were taken with."""
        if not sparse.issparse(self.X):
            return np.asarray((self.X * self.X) @ weight)
        X: Any = self.X
        raw = np.asarray(X.multiply(X) @ weight)
        return np.asarray(np.maximum(raw - self.mean**2 * weight.sum(), 0.0))


def _tiles(block: Block, share: FloatArray | None) -> Iterator[_Tile]:
    if not sparse.issparse(block.X):
        for tile in centred_columns(block, share):
            yield _Tile(*tile)
    else:
        X = block.X.astype(np.float64)
        mean = np.zeros(block.n_rows) if share is None else np.asarray(X @ share)
        yield _Tile(slice(0, block.n_rows), X, mean)


def _chunk(block: Block, ask: Ask) -> Found:
    width = block.n_rows
    product, w, squares = np.zeros(block.X.shape[1]), np.zeros(width), np.zeros(width)
    known = _bits(ask.known, block.start, width)
    offset = 0.0
    gram: FloatArray | float = 0.0
    for tile in _tiles(block, ask.share):
        at = tile.columns
        own: FloatArray = tile.pull(ask.vector) / ask.strength
        if ask.about is not None:
            own += ask.about[block.start : block.start + width][at]
        own = np.maximum(own, 0.0)
        w[at] = own
        product += tile.product(own)
        offset += float(tile.mean @ own)
        for change, sign in (((own > 0) & ~known[at], 1.0), (known[at] & (own == 0), -1.0)):
            if change.any():
                gram = gram + sign * tile.gram(change)
        if ask.weight is not None:
            squares[at] = tile.squares(ask.weight)
    used = np.flatnonzero(w)
    every = (Slice(block.start, width, np.arange(width), squares),)
    return Found(
        product, offset, gram, (Slice(block.start, width, used, w[used]),),
        every if ask.weight is not None else (),
    )  # fmt: skip


def _bits(packed: Array, start: int, size: int) -> Array:
    """Some of the bits, as booleans."""
    first = start // 8
    bits = np.unpackbits(packed[first : (start + size + 7) // 8])
    return bits[start - 8 * first :][:size].astype(bool)


def _combine(a: Found, b: Found) -> Found:
    return Found(
        a.product + b.product,
        a.offset + b.offset,
        a.gram + b.gram,
        a.slices + b.slices,
        a.squares + b.squares,
    )


POSITIVE: Reduction[Ask, Found, Found] = Reduction("columns-positive", _chunk, _combine)
"""One read of the columns; nothing is kept. A part holds n^2 values where columns have come or gone."""


class _Point(NamedTuple):
    """A dual point, and what the driver knows there."""

    u: FloatArray
    value: float
    gradient: FloatArray
    w: FloatArray
    offset: float
    gram: FloatArray | float  # by which the Hessian at hand changes


class _Stage(NamedTuple):
    """One problem: a strength, and where z is."""

    strength: float
    about: FloatArray | None


@dataclass
class _Rows:
    """The rows of one problem, and the Hessian at hand."""

    data: ColumnDataset
    executor: Executor
    problem: Problem
    max_iter: int
    rounds: int = 0

    def __post_init__(self) -> None:
        y = self.problem.y
        weight = np.ones(len(y)) if self.problem.weight is None else self.problem.weight
        self.weight, self.root = weight, np.sqrt(weight)
        self.mean = self.problem.centred(np.zeros(len(y)), 0.0)[0]
        self.share = weight / weight.sum() if self.problem.fit_intercept else None
        self.target = self.root * (y - self.mean)
        self.size = float(np.linalg.norm(self.target))
        self.known = np.zeros(self.data.facts.n_rows, dtype=bool)
        self.gram: FloatArray = np.zeros((len(y), len(y)))
        self.squares: FloatArray = np.zeros(len(self.known))

    def ask(self, u: FloatArray, stage: _Stage, weight: FloatArray | None = None) -> Found:
        """One round."""
        self.rounds += 1
        ask = Ask(self.root * u, self.share, *stage, np.packbits(self.known), weight)
        return self.executor.reduce(self.data, POSITIVE, ask)

    def point(self, u: FloatArray, stage: _Stage, found: Found, scale: float = 1.0) -> _Point:
        """What was found there, times ``scale``."""
        w = scale * _whole(found.slices, len(self.known))
        gradient = u - self.target + scale * self.root * found.product
        value = 0.5 * float(u @ u) - float(u @ self.target) + 0.5 * stage.strength * float(w @ w)
        return _Point(u, value, gradient, w, scale * found.offset, found.gram)

    def accept(self, point: _Point) -> None:
        """Its columns are those of the Hessian at hand."""
        self.gram += point.gram
        self.known = point.w > 0

    def again(self, u: FloatArray, stage: _Stage) -> _Point:
        """Where a stage begins. One round."""
        point = self.point(u, stage, self.ask(u, stage))
        self.accept(point)
        return point

    def start(self, strength: float) -> tuple[_Stage, _Point]:
        """On the way to the target, where the dual is least. One round.

        Without z all of it is proportional to u, and to one over the strength.
        """
        tried = _Stage(strength or 1.0, None)
        found = self.ask(self.target, tried, self.weight)
        self.squares = _whole(found.squares, len(self.known))
        stage = _Stage(strength or FIRST * self.largest, None)
        share = tried.strength / stage.strength
        whole = self.point(self.target, stage, found, share)
        step = self.size**2 / (self.size**2 + stage.strength * float(whole.w @ whole.w))
        point = self.point(step * self.target, stage, found, step * share)
        self.accept(point)
        return stage, point

    @property
    def largest(self) -> float:
        """Square of the largest column; 1 where all are zero."""
        return float(self.squares.max()) or 1.0

    def lost(self, point: _Point, strength: float) -> float:
        """What rounding of the dual may be in a coefficient, as a share of the largest."""
        size = float(np.linalg.norm(point.u)) * float(np.sqrt(self.largest))
        most = float(point.w.max(initial=0.0))
        unit = float(np.finfo(np.float64).eps)
        return unit * size / (strength * most) if most > 0 else 0.0

    def minimised(
        self, point: _Point, stage: _Stage, stop: float, most: int | None = None
    ) -> _Point:
        """Newton's method, until the gradient is no longer than ``stop``, or only rounding is left.

        Or until there have been ``most`` rounds, of all stages.
        """
        eye = np.arange(len(self.root))
        most = self.max_iter if most is None else min(most, self.max_iter)
        best, still = np.inf, 0
        while (left := float(np.linalg.norm(point.gradient))) > stop and self.rounds < most:
            still = 0 if left < 0.5 * best else still + 1
            best = min(best, left)
            if still == STILL and left <= NEAR * self.size:
                break
            hessian = self.gram * np.outer(self.root, self.root)
            hessian[eye, eye] += stage.strength
            factor = factorised(hessian, 1.0 / np.sqrt(np.diag(hessian)))
            direction = -stage.strength * factor.solve(point.gradient)
            slope = float(direction @ point.gradient)
            search = LineSearch(point.u, direction, point.value, slope, curvature=None)
            new = self._tried(search, stage)
            if new is None:
                break
            point = new
            self.accept(point)
        return point

    def _tried(self, search: LineSearch, stage: _Stage) -> _Point | None:
        """Where the search ends; None where no step gains anything."""
        while search.trials < TRIALS and self.rounds < self.max_iter:
            found = self.ask(search.point, stage)
            new = self.point(search.point, stage, found)
            if search.accepts(new.value, new.gradient):
                return new
            search = search.following(new.value, new.gradient)
        return None


def _whole(slices: tuple[Slice, ...], size: int) -> FloatArray:
    out = np.zeros(size)
    for part in slices:
        out[part.start + part.at] = part.values
    return out


def solve_positive_by_columns(
    data: ColumnDataset,
    executor: Executor,
    problem: Problem,
    *,
    max_iter: int,
    gap_tol: float | None = None,
    gradient_tol: float = 0.0,
) -> ByColumns:
    """Minimise least squares with an L2 penalty, or none, over coefficients of at least 0.

    Parameters
    ----------
    data, executor : opened by columns
    problem : of the squared loss, without l1
    max_iter : most rounds
    gap_tol : converged when the duality gap is at most this; without a penalty, or nearly, when no component
        of the violation exceeds the root of twice this, each in units of its column's deviation
    gradient_tol : or when no such component exceeds this

    Returns
    -------
    ByColumns
        Of several minima without a penalty, one.

    Notes
    -----
    The driver holds a few n x n matrices, and so does each worker.
    """
    rows = _Rows(data, executor, problem, max_iter)
    total = problem.weight_sum
    if rows.size == 0.0:
        return ByColumns(np.zeros(len(rows.known)), rows.mean, 0.0, 0, True)
    strength = problem.strengths[1] * total
    stage, point = rows.start(strength)
    near = max(gradient_tol, np.sqrt(2.0 * total * (gap_tol or 0.0)), EXACT * rows.size)
    if strength > 0.0:
        point = rows.minimised(point, stage, near, DIRECT)
    left = float(np.linalg.norm(point.gradient))
    if strength == 0.0 or left > near or rows.lost(point, strength) > LOST:
        point, left = _by_proximal_steps(rows, point, strength, near)
    gap = left**2 / (2.0 * total)
    converged = left <= near or rows.rounds < max_iter
    return ByColumns(point.w, rows.mean - point.offset, gap, rows.rounds, converged)


def _by_proximal_steps(
    rows: _Rows, point: _Point, strength: float, near: float
) -> tuple[_Point, float]:
    """The same where columns can't follow the target; also the largest component of the violation.

    A step adds ``more/2 |w - last|^2``, which together with the penalty is about ``more / (strength + more)``
    of the last w. Its solution violates optimality by ``more (w - last)``. Steps end where the penalty alone
    does as well.
    """
    more, least = FIRST * rows.largest, LEAST * rows.largest
    deviation, stop = np.sqrt(rows.squares), max(0.1 * near, EXACT * rows.size)
    last, before = np.zeros_like(point.w), np.inf
    while True:
        stage = _Stage(strength + more, more / (strength + more) * last)
        point = rows.minimised(rows.again(point.u, stage), stage, stop)
        off = more * np.abs(point.w - last)
        left = float(np.divide(off, deviation, out=np.zeros_like(off), where=deviation > 0).max())
        enough = more <= max(0.1 * strength, least)
        if strength > 0.0 and enough and rows.lost(point, strength) <= LOST:
            stage = _Stage(strength, None)
            point = rows.minimised(rows.again(point.u, stage), stage, near)
            return point, float(np.linalg.norm(point.gradient))
        still = more == least and left > 0.5 * before  # what rounding leaves
        if left <= near or still or rows.rounds >= rows.max_iter:
            return point, left
        last, more, before = point.w, max(0.1 * more, least), left


__all__ = ["solve_positive_by_columns"]
