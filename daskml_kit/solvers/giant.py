"""GIANT: the average of the pieces' own Newton directions, each from the gradient of all rows.

::

    g   = gradient of all rows                                       one round (the last trial's)
    p_k = - H_k^-1 g,  H_k the Hessian of piece k alone              every piece, in one round
    p   = mean of p_k by weight, then a line search along p          one round a trial

Two rounds an iteration and vectors of the model's size, where Newton needs one and sends the Hessian. The
harmonic mean of the H_k stands for their mean: with enough rows a piece, drawn alike, they are close. Rows
that lie sorted make pieces that differ, even singular ones. Every p is a direction of descent still, but
steps gain little: after a few such steps the solve goes on by Newton-CG with products of the whole Hessian.

=================  =====================================================
Wang et al.        here
=================  =====================================================
m, s               pieces, rows of a piece
p-tilde_{t,i}      a piece's part of :class:`OwnDirection`
p-tilde_t          ``search.direction``
=================  =====================================================

References
----------
Wang, Roosta, Xu, Mahoney (2018). GIANT: globally improved approximate Newton method for distributed
optimization. NeurIPS 31, Algorithm 1, with a line search that halves; section 3 for local conjugate
gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from daskml_kit.solvers.line_search import LineSearch
from daskml_kit.solvers.newton import POOR, newton_direction
from daskml_kit.solvers.newton_cg import NewtonCG, NewtonCGState
from daskml_kit.solvers.protocol import Evaluation, Piece, Product, Question, Reply, Summed
from daskml_kit.solvers.vectors import inner, length
from daskml_kit.typing import FloatArray

PATIENCE = 2  # poor steps in a row before the whole Hessian is asked for
_TRIALS = 5  # of a line search before the same
_PRODUCTS = 100  # of a piece's conjugate gradients: each reads its rows
_EXACT = 1e-2  # of the gradient that they may leave


@dataclass(frozen=True)
class OwnDirection:
    """A piece's Newton direction for the gradient of all rows, times its share of the weight."""

    gradient: FloatArray
    evaluates: bool = False
    name: str = "own-directions"

    def __call__(self, piece: Piece, w: FloatArray) -> Summed:
        """By a Cholesky factorisation, or conjugate gradients where the Hessian is large."""
        if piece.share == 0:
            return Summed((np.zeros_like(w),))
        if piece.direct:
            own = newton_direction(piece.evaluate(w, 2)._replace(gradient=self.gradient))
        else:
            own = -conjugate_gradients(lambda v: piece.product(w, v), self.gradient)
        # H_k is a sum over the piece: its mean, which resembles that of all rows, is H_k / share.
        return Summed((piece.share**2 * own,))


def conjugate_gradients(
    product: Callable[[FloatArray], FloatArray], right: FloatArray
) -> FloatArray:
    """An approximate ``H^-1 right`` of a positive semidefinite H (Hestenes, Stiefel 1952).

    Every iterate but the zero it starts from has a positive product with ``right``; it ends where H has no
    curvature.
    """
    x, residual, direction = np.zeros_like(right), right, right
    square = inner(right, right)
    enough = _EXACT**2 * square
    for _ in range(_PRODUCTS):
        if square <= enough:
            break
        image = product(direction)
        bend = inner(direction, image)
        if bend <= 1e-14 * length(direction) * length(image) or bend == 0.0:
            return x if np.any(x) else right
        step = square / bend
        x, residual = x + step * direction, residual - step * image
        following = inner(residual, residual)
        direction = residual + (following / square) * direction
        square = following
    return x


@dataclass(frozen=True, eq=False)
class GIANTState:
    """State of :class:`GIANT`. Without a search the pieces' directions are asked."""

    w: FloatArray
    value: float
    gradient: FloatArray
    search: LineSearch | None = None
    poor: int = 0  # steps in a row that gained little
    rest: NewtonCGState | None = None  # the solve by the whole Hessian, once begun
    before: int = 0  # steps when it began
    n_iter: int = 0
    trouble: str = ""


@dataclass(frozen=True)
class GIANT:
    """Averaged local Newton directions, and Newton-CG where the pieces don't resemble each other."""

    order: int = 1

    def init(self, w: FloatArray) -> GIANTState:
        """Begin at ``w``."""
        return GIANTState(w, np.inf, np.full_like(w, np.inf))

    def point(self, state: GIANTState) -> FloatArray:
        """The start, the trial, or the point whose directions are asked."""
        if state.rest is not None:
            return NewtonCG().point(state.rest)
        return state.w if state.search is None else state.search.point

    def question(self, state: GIANTState) -> Question:
        """Directions at a new point, then evaluations along their mean."""
        if state.rest is not None:
            return NewtonCG().question(state.rest)
        if state.search is None and np.isfinite(state.value):
            return Question(state.w, local=OwnDirection(state.gradient))
        return Question(self.point(state))

    def update(self, state: GIANTState, told: Evaluation | Product | Reply) -> GIANTState:
        """Search along the mean direction, accept or shorten the trial, or change to the whole Hessian."""
        if state.rest is not None:
            assert not isinstance(told, Reply)
            return _mirrored(state, NewtonCG().update(state.rest, told))
        if isinstance(told, Reply):
            return _directed(state, told.result.values[0])
        assert isinstance(told, Evaluation)
        search = state.search
        if search is None:
            return replace(state, value=told.value, gradient=told.gradient)
        if search.accepts(told.value, told.gradient):
            poor = search.trials > 0 or length(told.gradient) > POOR * length(state.gradient)
            moved = replace(
                state,
                w=search.point,
                value=told.value,
                gradient=told.gradient,
                search=None,
                poor=state.poor + 1 if poor else 0,
                n_iter=state.n_iter + 1,
            )
            return _whole(moved) if moved.poor >= PATIENCE else moved
        if search.trials + 1 >= _TRIALS:
            return _whole(state)
        return replace(state, search=search.following(told.value, told.gradient))


def _directed(state: GIANTState, direction: FloatArray) -> GIANTState:
    slope = inner(state.gradient, direction)
    if not (slope < 0 and np.isfinite(slope)):
        return _whole(state)
    search = LineSearch(state.w, direction, state.value, slope, curvature=None)
    return replace(state, search=search)


def _whole(state: GIANTState) -> GIANTState:
    """From here on by Newton-CG, which needs no evaluation to begin: the point is known."""
    solver = NewtonCG()
    begun = solver.update(solver.init(state.w), Evaluation(state.value, state.gradient))
    return _mirrored(replace(state, search=None, before=state.n_iter), begun)


def _mirrored(state: GIANTState, rest: NewtonCGState) -> GIANTState:
    return replace(
        state,
        w=rest.w,
        value=rest.value,
        gradient=rest.gradient,
        rest=rest,
        n_iter=state.before + rest.n_iter,
        trouble=rest.trouble,
    )


__all__ = ["GIANT"]
