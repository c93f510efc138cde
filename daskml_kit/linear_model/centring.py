"""Columns far from zero, without a copy of them: the intercept takes up their means.

::

    eta = X coef + b = (X - 1 m') coef + v,    v = b + m'coef

The change of variables is exact for any m, and changes no penalty of the coefficients. A solver that sees
``(coef, v)`` sees centred columns, whose curvature the intercept does not share: with columns 1,000 times as
far from zero as they are spread, methods without a full Hessian need as many rounds as on centred ones. The
data stay as they are, so their sums lose as many digits as the columns are far from zero.

Near the mean is near enough, so m is that of a few rows, and costs a round but no pass. Newton's methods ask
their first Hessian instead, which holds means of the columns, weighted by curvature, and says whether they
are far.

Where a column is more than ``BEYOND_SUMS`` times as far from zero as it is spread, sums have lost too much.
Such columns are centred as they are read, some rows at a time, before anything is summed: one that float64
can tell from a constant is as good as a centred one, for every solver.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from daskml_kit.kernels import drawn_rows
from daskml_kit.runtime.block import Block
from daskml_kit.runtime.dataset import BlockDataset
from daskml_kit.runtime.events import Measured
from daskml_kit.runtime.executor import Executor
from daskml_kit.runtime.ingest import DataFacts
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.solvers import Solution
from daskml_kit.solvers.protocol import Evaluation, Product, Question, asked
from daskml_kit.typing import FloatArray, Matrix

ROWS = 256
"""Rows that means are taken from: off by a sixteenth of a column's spread."""

FAR = 100.0
"""Times its spread that a column is from zero before it makes a difference to Newton's methods: 1,000 times
costs a round or two, and at 100,000 they don't see any more that they have converged."""

BEYOND_SUMS = 1e5
"""Times its spread that a column is from zero from where on it is centred as it is read. Hessians lose two
digits for each ten times: Newton's method, for several classes, takes 8 steps at 1e6 and 83 at 3e6, and none
that it takes at 1e8 is right."""

CENTRED_VALUES = 1 << 18
"""Most values that are centred at a time: 2 MB."""

CONSTANT = 1e-14
"""Share of the mean square that is rounding's: a column with no more spread is left to the factorisation."""


class Moments(NamedTuple):
    """Sums over some rows, squares about each block's own mean."""

    weight: float
    mean: FloatArray
    square: FloatArray


def few_moments(block: Block, every: int) -> Moments:
    """Of one of ``every`` rows, drawn by their global numbers."""
    rows = drawn_rows(block.start, block.n_rows, every)
    X = np.asarray(block.X[rows], dtype=np.float64)
    s = np.ones(len(rows)) if block.weight is None else block.weight[rows]
    total = float(s.sum())
    mean = s @ X / total if total > 0 else np.zeros(X.shape[1])
    with np.errstate(over="ignore"):  # then a spread is infinite, and the solver says what is wrong
        return Moments(total, mean, s @ (X - mean) ** 2)


def joined(a: Moments, b: Moments) -> Moments:
    """Of the rows of both (Chan, Golub and LeVeque 1983)."""
    total = a.weight + b.weight
    share = b.weight / total if total > 0 else 0.0
    gap = b.mean - a.mean
    with np.errstate(over="ignore"):
        square = a.square + b.square + a.weight * share * gap**2
    return Moments(total, a.mean + share * gap, square)


def _no_pass(_: Moments) -> Measured:
    return Measured(float("nan"), None, 0)


@dataclass(frozen=True, eq=False)
class Centred:
    """A solver for dense data that sees centred columns. States, and their points, are the solver's.

    ``mean`` and ``variance`` are of the columns, as :func:`centred` finds them. The last coefficient of each
    output is its intercept, which must be free of penalties and bounds.
    """

    solver: Any
    mean: FloatArray
    variance: FloatArray

    @property
    def order(self) -> int:
        """The solver's."""
        return int(self.solver.order)

    def inward(self, w: FloatArray) -> FloatArray:
        """Coefficients and intercept of the columns as they are, as the solver sees them."""
        return _inward(w, self.mean)

    def outward(self, w: FloatArray) -> FloatArray:
        """Back again."""
        return _inward(w, -self.mean)

    def init(self, w: FloatArray) -> Any:
        """Begin at the coefficients ``w`` of the columns as they are."""
        return self.solver.init(self.inward(w))

    def point(self, state: Any) -> FloatArray:
        """The solver's point, for the columns as they are."""
        return self.outward(self.solver.point(state))

    def question(self, state: Any) -> Question:
        """The solver's question about the columns as they are."""
        ask = asked(self.solver, state)
        vector = None if ask.vector is None else self.outward(ask.vector)
        return ask._replace(w=self.outward(ask.w), vector=vector)

    def update(self, state: Any, told: Evaluation | Product) -> Any:
        """Tell the solver what it would be told of centred columns."""
        if isinstance(told, Product):
            return self.solver.update(state, Product(_slope(told.vector, self.mean)))
        with np.errstate(over="ignore", invalid="ignore"):
            hessian = None if told.hessian is None else self._bend(told.hessian)
        return self.solver.update(
            state, Evaluation(told.value, _slope(told.gradient, self.mean), hessian)
        )

    def _bend(self, sketch: FloatArray) -> FloatArray:
        """Of a Hessian, or of the solver's sketch of one: a diagonal, or a matrix that all outputs share."""
        if getattr(self.solver, "sketch", "") == "diagonal":
            # A column's mean, weighted by curvature, is not known: far from zero, nor is what is left of the
            # squares.
            far = self.mean**2 > self.variance
            last = sketch[..., -1:]
            near = np.maximum(sketch[..., :-1] - last * self.mean**2, 0.0)
            return np.concatenate([np.where(far, last * self.variance, near), last], axis=-1)
        return _bend(sketch, self.mean)


@dataclass(frozen=True, eq=False)
class CentredState:
    """State of :class:`CentredNewton`. ``mean`` is None before the first Hessian."""

    state: Any
    mean: FloatArray | None = None

    @property
    def w(self) -> FloatArray:
        """The solver's, for the columns as they are."""
        w: FloatArray = self.state.w
        return w if self.mean is None else _inward(w, -self.mean)

    @property
    def value(self) -> float:
        """The solver's."""
        return float(self.state.value)

    @property
    def gradient(self) -> FloatArray:
        """The solver's: of centred columns, so that convergence can be seen beside what rounding leaves."""
        gradient: FloatArray = self.state.gradient
        return gradient

    @property
    def left(self) -> float:
        """The solver's."""
        return float(self.state.left)

    @property
    def n_iter(self) -> int:
        """The solver's."""
        return int(self.state.n_iter)

    @property
    def trouble(self) -> str:
        """The solver's."""
        return str(self.state.trouble)


@dataclass(frozen=True, eq=False)
class CentredNewton:
    """(Proximal) Newton's method that sees columns centred where the first Hessian says that they are far.

    Else every step is the solver's own, bit by bit. A Hessian sees how the intercept and the columns are
    correlated, but from some 10,000 times the spread on rounding hides the little that they differ by.

    Parameters
    ----------
    solver : Newton or ProximalNewton
    every : int
        In place of the solver's.
    """

    solver: Any
    every: int
    order: int = 2

    @property
    def _own(self) -> Any:
        return replace(self.solver, every=self.every)

    def init(self, w: FloatArray) -> CentredState:
        """Begin at the coefficients ``w`` of the columns as they are."""
        return CentredState(self._own.init(w))

    def near(self, found: CentredState) -> CentredState:
        """Begin where a problem like this one has been solved, with its Hessian and means."""
        return CentredState(self._own.near(found.state), found.mean)

    def point(self, state: CentredState) -> FloatArray:
        """The solver's point, for the columns as they are."""
        w: FloatArray = self.solver.point(state.state)
        return w if state.mean is None else _inward(w, -state.mean)

    def question(self, state: CentredState) -> Question:
        """The solver's question about the columns as they are."""
        return asked(self.solver, state.state)._replace(w=self.point(state))

    def update(self, state: CentredState, told: Evaluation) -> CentredState:
        """Tell the solver; the first Hessian decides what of."""
        own, mean, hessian = state.state, state.mean, told.hessian
        if mean is None and hessian is not None:
            mean = _far_means(hessian, own.w.shape)
            own = self._own.init(_inward(own.w, mean)) if mean.any() else own
        if mean is not None and mean.any():
            bent = None if hessian is None else _bend(hessian, mean)
            told = Evaluation(told.value, _slope(told.gradient, mean), bent)
        return CentredState(self.solver.update(own, told), mean)


def _inward(w: FloatArray, mean: FloatArray) -> FloatArray:
    """Coefficients as columns less ``mean`` have them."""
    out = w.copy()
    out[..., -1] += w[..., :-1] @ mean
    return out


def _slope(gradient: FloatArray, mean: FloatArray) -> FloatArray:
    """A gradient, of columns less ``mean``."""
    out = gradient.copy()
    out[..., :-1] -= gradient[..., -1:] * mean
    return out


def _bend(hessian: FloatArray, mean: FloatArray) -> FloatArray:
    """A Hessian of one output or of several, one after the other, of columns less ``mean``."""
    half = _slope(hessian.reshape(len(hessian), -1, len(mean) + 1), mean).reshape(hessian.shape)
    return _slope(half.T.reshape(len(half), -1, len(mean) + 1), mean).reshape(hessian.shape).T


def _far_means(hessian: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """Means of the columns, weighted by curvature; zeros where none is far, and for constant columns."""
    width = shape[-1]
    blocks = hessian.reshape(-1, width, len(hessian) // width, width)
    each = np.einsum("kikj->ij", blocks)
    if not (np.isfinite(each).all() and each[-1, -1] > 0):
        return np.zeros(width - 1)
    mean = each[-1, :-1] / each[-1, -1]
    square = mean**2
    spread = np.diag(each)[:-1] / each[-1, -1] - square
    told_apart = spread > CONSTANT * square
    far = np.any(told_apart & (square > FAR**2 * spread))
    return np.where(told_apart & far, mean, 0.0)


@dataclass(frozen=True, eq=False)
class Columns:
    """How far the columns of a fit are from zero, and what solvers are told for it.

    Attributes
    ----------
    few : of a few rows; None where nothing is centred, as for sparse data or without a free intercept
    centre : (n_features,) what is taken off the columns as they are read, None for nothing
    """

    few: Moments | None = None
    centre: FloatArray | None = None

    def told(self, solver: Any) -> Any:
        """The solver, told of centred columns, where that makes a difference to it."""
        if self.few is None or self.centre is not None:
            return solver
        if solver.order == 2:
            return CentredNewton(solver, solver.every)
        return Centred(solver, self.few.mean, self.few.square / (self.few.weight or 1.0))

    def inward(self, w: FloatArray) -> FloatArray:
        """Coefficients and intercept of the columns as they are, as they are read."""
        return w if self.centre is None else _inward(w, self.centre)

    def outward(self, w: FloatArray) -> FloatArray:
        """Back again."""
        return w if self.centre is None else _inward(w, -self.centre)

    def reached(self, solver: Any, state: Any) -> FloatArray:
        """Where a state of such a solver has come to, for the columns as they are."""
        w: FloatArray = state.w
        return self.outward(solver.outward(w) if isinstance(solver, Centred) else w)

    def as_they_are(self, solver: Any, solution: Solution) -> Solution:
        """A solution of such a solver, for the columns as they are."""
        return replace(solution, w=self.reached(solver, solution.state))


def is_centred(facts: DataFacts, *, free_intercept: bool) -> bool:
    """Whether columns may be centred: dense ones beside an intercept free of penalties and bounds."""
    return free_intercept and not facts.sparse


def columns_of(data: BlockDataset, executor: Executor, *, free_intercept: bool) -> Columns:
    """How far the columns are from zero: where they may be centred a round over a few rows, no pass."""
    if not is_centred(data.facts, free_intercept=free_intercept):
        return Columns()
    return columns_from(moments_of_few(data, executor))


def columns_from(few: Moments) -> Columns:
    """The same from moments of a few rows.

    Examples
    --------
    >>> columns_from(Moments(4.0, np.array([1e8, 5.0]), np.array([4.0, 0.0]))).centre
    array([1.e+08, 0.e+00])
    >>> columns_from(Moments(4.0, np.array([10.0]), np.array([4.0]))).centre is None
    True
    """
    return Columns(few, beyond_sums(few))


def moments_of_few(data: BlockDataset, executor: Executor) -> Moments:
    """Of the columns of dense data: a round, but no pass."""
    every = one_of(data.facts.n_rows)
    reduction: Reduction[int, Moments, Moments] = Reduction("means", few_moments, joined)
    return executor.reduce(data, reduction, every, objective=_no_pass)


def one_of(n_rows: int) -> int:
    """Of how many rows one is among the few."""
    return max(1, n_rows // ROWS)


def beyond_sums(few: Moments) -> FloatArray | None:
    """Means of the columns where some are too far from zero for sums, else None; constant ones stay."""
    with np.errstate(over="ignore"):  # no solver can do anything about that
        square, spread = few.mean**2, few.square / (few.weight or 1.0)
        told_apart = spread > CONSTANT**2 * square
        far = told_apart & (square > BEYOND_SUMS**2 * spread)
    if not far.any():
        return None
    return np.where(told_apart, few.mean, 0.0)


def as_read(block: Block, centre: FloatArray) -> Iterator[tuple[slice, Matrix]]:
    """Some rows at a time: which, and their columns less ``centre``, float64."""
    size = max(1, CENTRED_VALUES // max(len(centre), 1))
    for start in range(0, max(block.n_rows, 1), size):
        rows = slice(start, start + size)
        yield rows, block.X[rows] - centre


__all__ = [
    "Centred",
    "CentredNewton",
    "CentredState",
    "Columns",
    "Moments",
    "as_read",
    "beyond_sums",
    "columns_from",
    "columns_of",
    "few_moments",
    "is_centred",
    "joined",
    "moments_of_few",
    "one_of",
]
