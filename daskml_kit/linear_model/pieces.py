"""The rows in pieces, for solvers whose rounds hold local computations (ADMM, GIANT, CoCoA+).

Which rows a piece has follows from the number of rows, of coefficients and of bytes alone
(:mod:`~daskml_kit.runtime.pieces`), so an answer is the same to rounding even where a solve ends early.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from daskml_kit.exceptions import InvalidParameterError
from daskml_kit.kernels import LinearSums, linear_product, linear_sums
from daskml_kit.kernels.dual import dual_ascent
from daskml_kit.linear_model.objective import Finish, LinearObjective
from daskml_kit.penalties import L2, BoundedL1
from daskml_kit.runtime.block import Block
from daskml_kit.runtime.events import Measured
from daskml_kit.runtime.ingest import DataFacts
from daskml_kit.runtime.pieces import even_edges, join
from daskml_kit.runtime.random import generator
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.solvers import ADMM, GIANT, CoCoA, Evaluation, Question, Solver
from daskml_kit.solvers.cocoa import EPOCHS, Ascent
from daskml_kit.solvers.protocol import Reply, State, asked
from daskml_kit.typing import Array, FloatArray

PIECE_ROWS, PIECE_ROWS_A_COEFFICIENT = 1_000, 10
"""Fewest rows of a piece. A Hessian of m rows for each of its columns is off by ``2 / sqrt(m)``."""

DIRECT = 1_000
"""Most coefficients for which a piece forms its Hessian: 8 MB and a third of a Gflop for its factors."""

_SCRATCH = "dual-variables"


def edges_of(facts: DataFacts, size: int) -> list[int]:
    """First rows of the pieces, then the number of rows. ``size``: coefficients in all."""
    return even_edges(facts, max(PIECE_ROWS, PIECE_ROWS_A_COEFFICIENT * size))


def edges_of_model(fit_intercept: bool, facts: DataFacts) -> list[int]:
    """:func:`edges_of` one coefficient a feature, and the intercept."""
    return edges_of(facts, facts.n_features + int(fit_intercept))


class PieceSums(NamedTuple):
    """The part of a round with a local computation."""

    sums: LinearSums | None  # at the question's point, where it was wanted
    reads: int  # most that a piece made of its rows
    result: Any  # Summed or Apart


@dataclass(eq=False)
class LinearPiece:
    """A piece of a linear model's rows: see :class:`~daskml_kit.solvers.protocol.Piece` and ``DualPiece``."""

    block: Block
    y: Array
    loss: Any
    fit_intercept: bool
    whole: Finish
    index: int
    reads: int = 0
    share: float = field(init=False)
    own: Finish = field(init=False)

    def __post_init__(self) -> None:
        self.share = self.block.weight_sum / self.whole.weight_sum
        self.own = Finish(self.whole.weight_sum, L2(self.share * self.whole.penalty.strength))

    @property
    def direct(self) -> bool:
        """Dense, and of few coefficients."""
        size = np.size(self.whole.penalty.strength)
        return isinstance(self.block.X, np.ndarray) and size <= DIRECT

    def sums(self, w: FloatArray, order: int) -> LinearSums:
        """Sums over the rows at ``w``."""
        self.reads += 1
        return linear_sums(
            self.loss, self.block.X, self.y, self.block.weight, w,
            fit_intercept=self.fit_intercept, order=order,
        )  # fmt: skip

    def evaluate(self, w: FloatArray, order: int) -> Evaluation:
        """The piece's share of the objective."""
        return self.own(w, self.sums(w, order))

    def product(self, w: FloatArray, vector: FloatArray) -> FloatArray:
        """Its Hessian times a vector."""
        self.reads += 1
        product = linear_product(
            self.loss, self.block.X, self.y, self.block.weight, w, vector,
            fit_intercept=self.fit_intercept,
        )  # fmt: skip
        return product / self.own.weight_sum + self.own.penalty.gradient(vector)

    # ---------------------------------------------------------------- dual variables

    def _duals(self) -> dict[str, FloatArray]:
        found: dict[str, FloatArray] = self.block.scratch.get(_SCRATCH, {})
        return found

    def knows(self, key: str) -> bool:
        """Whether the dual variables of that state are in the scratch."""
        return key in self._duals()

    def begin(self, key: str, how: Ascent) -> None:
        """Zeros, or minus the loss's slope at the origin."""
        alpha = np.zeros(self.block.n_rows)
        if how.origin is not None:
            self.reads += 1
            coef, intercept = how.origin, 0.0
            if self.fit_intercept:
                coef, intercept = coef[:-1], coef[-1]
            eta = np.asarray(self.block.X @ coef, dtype=np.float64) + intercept
            alpha = -self.loss.value_gradient(self.y, eta, None)[1]
        self.block.scratch[_SCRATCH] = {key: alpha}

    def ascend(
        self, key: str, following: str, number: int, w: FloatArray, how: Ascent
    ) -> FloatArray:
        """Visits of all rows, in an order drawn for this piece and round; the change of v."""
        self.reads += EPOCHS
        begun = self._duals()[key]
        draw, factor = generator(self.index, f"dual-ascent-{number}"), float(how.n_pieces)
        order = np.concatenate([draw.permutation(self.block.n_rows) for _ in range(EPOCHS)])
        alpha, u = dual_ascent(
            self.loss, self.block.X, self.y, self.block.weight, begun, w,
            inverse=1.0 / how.strengths, scale=factor / self.whole.weight_sum,
            order=order, fit_intercept=self.fit_intercept,
        )  # fmt: skip
        # The state before stays too: a round may be repeated.
        self.block.scratch[_SCRATCH] = {key: begun, following: alpha}
        return (u - w) * how.strengths / factor

    def conjugate(self, key: str) -> float:
        """Of minus the dual variables, over the total weight of all rows."""
        alpha, weight = self._duals()[key], self.block.weight
        return float(self.loss.conjugate(self.y, alpha, weight)) / self.whole.weight_sum


def _chunk(
    loss: Any,
    fit_intercept: bool,
    target: int | None,
    finish: Finish,
    edges: Sequence[int],
    block: Block,
    question: Question,
) -> PieceSums:
    y = np.asarray(block.y)
    if target is not None:
        y = np.ascontiguousarray(y[:, target])
    local = question.local
    assert local is not None
    piece = LinearPiece(block, y, loss, fit_intercept, finish, bisect_right(edges, block.start) - 1)
    sums = piece.sums(question.w, 1) if local.evaluates else None
    result = local(piece, question.w)
    return PieceSums(sums, piece.reads, result)


def _combine(a: PieceSums, b: PieceSums) -> PieceSums:
    sums = None
    if a.sums is not None and b.sums is not None:
        sums = LinearSums(a.sums.value + b.sums.value, a.sums.gradient + b.sums.gradient, None)
    return PieceSums(sums, max(a.reads, b.reads), a.result.merge(b.result))


def piece_solver(
    name: str, loss: Any, n_pieces: int, ridge: FloatArray, kinks: BoundedL1 | None
) -> Any:
    """The solver of that name for a loss, L2 strengths, and L1 strengths and bounds unless None.

    ``ridge`` has the shape of the coefficients.

    Raises
    ------
    InvalidParameterError
        The solver cannot minimise that loss with that penalty.
    """
    if name == "admm":
        return ADMM(n_pieces) if kinks is None else ADMM(n_pieces, penalty=kinks)
    if name == "giant":
        if kinks is not None:
            raise InvalidParameterError(
                "solver='giant' needs an objective with a gradient everywhere, got an L1 penalty or bounds. "
                "Use solver='admm', or no L1 penalty and no bounds."
            )
        return GIANT()
    free = np.full(ridge.shape, np.inf)
    kinks = BoundedL1(np.zeros(ridge.shape), -free, free) if kinks is None else kinks
    _refuse_cocoa(loss, ridge, kinks)
    return CoCoA(n_pieces, ridge, kinks)


def _refuse_cocoa(loss: Any, ridge: FloatArray, kinks: BoundedL1) -> None:
    """Its dual problem needs a conjugate of the loss and a strongly convex penalty."""
    problem = ""
    if not hasattr(loss, "dual_step"):
        problem = f"the {type(loss).__name__} loss, whose dual it does not know"
    elif np.isfinite(kinks.lower).any() or np.isfinite(kinks.upper).any():
        problem = "bounds on coefficients"
    elif np.any(ridge[:-1] <= 0) or (len(ridge) == 1 and ridge[0] == 0):
        problem = "a penalty without L2"
    if problem:
        raise InvalidParameterError(
            f"solver='cocoa' can't minimise an objective with {problem}. Use it for squared or logistic loss "
            "of one output, with an L2 penalty or an elastic net; solver='admm' takes any."
        )


@dataclass(frozen=True, eq=False)
class PieceObjective(LinearObjective):
    """A penalised linear model's objective over data of one block a piece, for local computations too.

    ``edges`` are the first rows of the pieces, then the number of rows. A round whose pieces read their rows
    several times says so. Rounds are not unrolled: a graph of several could not.
    """

    edges: Sequence[int] = ()

    def advance(self, solver: Solver[State], state: State, n_rounds: int) -> list[State]:
        """Ask, evaluate and tell ``n_rounds`` times."""
        states: list[State] = []
        for _ in range(n_rounds):
            question = asked(solver, state)
            if question.local is None:
                state = super().advance(solver, state, 1)[0]
            else:
                state = self._local(solver, state, question)
            states.append(state)
        return states

    def _local(self, solver: Solver[State], state: State, question: Question) -> State:
        assert question.local is not None
        chunk = partial(
            _chunk, self.loss, self.fit_intercept, self.target, self.finish, tuple(self.edges)
        )
        name = f"{type(self.loss).__name__.lower()}-{question.local.name}"
        reduction: Reduction[Question, PieceSums, PieceSums] = Reduction(name, chunk, _combine)
        told: list[State] = []

        def objective(total: PieceSums) -> Measured:
            at = None if total.sums is None else self.finish(question.w, total.sums)
            told.append(solver.update(state, Reply(at, total.result)))
            norm = float(np.max(np.abs(told[0].gradient), initial=0.0))
            return Measured(told[0].value, norm, total.reads)

        self.executor.reduce(self.data, reduction, question, objective=objective)
        return told[0]


def in_pieces(
    name: str, objective: LinearObjective, edges: Sequence[int], kinks: BoundedL1 | None
) -> tuple[PieceObjective, Any]:
    """The same objective over data cut at ``edges``, and the solver of that name for it.

    Raises
    ------
    InvalidParameterError
        As :func:`piece_solver`; before any rows are joined.
    """
    ridge = np.asarray(objective.finish.penalty.strength, dtype=np.float64)
    solver = piece_solver(name, objective.loss, len(edges) - 1, ridge, kinks)
    join(objective.data, objective.executor)
    return PieceObjective(
        objective.data,
        objective.executor,
        objective.loss,
        objective.fit_intercept,
        objective.finish,
        objective.target,
        edges,
    ), solver


__all__ = ["LinearPiece", "PieceObjective", "edges_of", "edges_of_model", "in_pieces"]
