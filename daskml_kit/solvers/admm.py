"""Consensus ADMM: every piece of the rows fits a model of its own, drawn towards the one they agree on.

::

    minimise  sum_k f_k(x_k) + h(z)   subject to  x_k = z

    x_k  <- argmin f_k(x) + rho/2 |x - z + u_k|^2          every piece, in one round
    x_k' <- alpha x_k + (1 - alpha) z                      over-relaxation
    z    <- prox of h with step 1 / (K rho) at the mean of x_k' + u_k
    u_k  <- u_k + x_k' - z

The round that asks for the pieces' models also evaluates the objective at z, so the solve ends where that of
every other solver ends: at a small (sub)gradient, not at small residuals, whose size depends on units.

================  ======================================================
Boyd et al.       here
================  ======================================================
x_i, u_i, z       ``models``, ``duals`` (scaled), ``w``
rho               ``rho``: at first the curvature along the gradient
r, s              ``primal``, ``dual`` in :func:`_balanced`
================  ======================================================

References
----------
Boyd, Parikh, Chu, Peleato, Eckstein (2011). Distributed optimization and statistical learning via the
alternating direction method of multipliers. Found. Trends Mach. Learn. 3, section 7.1.1 (consensus with
regularisation), 3.4.1 (residual balancing) and 3.4.3 (over-relaxation).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from daskml_kit.solvers.composite import Nothing, Proximal
from daskml_kit.solvers.newton import Newton
from daskml_kit.solvers.newton_cg import NewtonCG
from daskml_kit.solvers.protocol import (
    Apart,
    Evaluation,
    FunctionObjective,
    Piece,
    Product,
    Question,
    Reply,
    asked,
)
from daskml_kit.solvers.vectors import inner, length
from daskml_kit.typing import FloatArray

RELAXATION = 1.6  # alpha; section 3.4.3 reports 1.5 to 1.8
APART, FACTOR = 10.0, 2.0  # mu and tau of section 3.4.1
SETTLE = 200  # iterations after which rho stays: from then on the convergence proof holds
_EXACT = 1e-3  # of the gradient at z that the pieces' own problems may leave together
_LOCAL_STEPS = 30


@dataclass(frozen=True)
class NearModel:
    """A piece's own model: ``argmin f_k(x) + rho/2 |x - (z - u_k)|^2``, by Newton from its last one."""

    rho: float
    models: FloatArray  # (n_pieces, *shape of w)
    duals: FloatArray
    enough: float  # largest gradient that may be left
    evaluates: bool = True
    name: str = "own-models"

    def __call__(self, piece: Piece, w: FloatArray) -> Apart:
        """One evaluation a Newton step, or products with the Hessian where that is large."""
        centre, rho = w - self.duals[piece.index], self.rho

        def near(x: FloatArray, order: int) -> Evaluation:
            value, gradient, hessian = piece.evaluate(x, order)
            away = x - centre
            if hessian is not None:
                hessian = hessian.copy()
                np.einsum("ii->i", hessian)[:] += rho
            return Evaluation(value + 0.5 * rho * inner(away, away), gradient + rho * away, hessian)

        def product(x: FloatArray, vector: FloatArray) -> FloatArray:
            return piece.product(x, vector) + rho * vector

        solver: Any = Newton() if piece.direct else NewtonCG()
        state = solver.init(self.models[piece.index])
        objective = FunctionObjective(near, product)
        while True:
            state = solver.update(state, objective.answer(asked(solver, state), solver.order))
            small = np.max(np.abs(state.gradient)) <= self.enough
            if small or state.trouble or state.n_iter >= _LOCAL_STEPS:
                return Apart({piece.index: state.w})


@dataclass(frozen=True, eq=False)
class ADMMState:
    """State of :class:`ADMM`; ``trial`` is the z whose value is asked next."""

    w: FloatArray
    value: float
    gradient: FloatArray  # the smallest subgradient
    smooth: FloatArray  # the gradient without the penalty's part
    trial: FloatArray
    models: FloatArray
    duals: FloatArray
    slope: FloatArray | None = None  # the smooth gradient at the start, until rho is known
    rho: float = 0.0
    rounds: int = 0
    n_iter: int = 0
    trouble: str = ""


@dataclass(frozen=True)
class ADMM:
    """Consensus ADMM over ``n_pieces`` pieces, with over-relaxation and residual balancing.

    Parameters
    ----------
    n_pieces : int
        Pieces that the rows are in.
    penalty : Proximal
        What the evaluations leave out; nothing by default.

    Notes
    -----
    A round sends all models and duals, ``2 n_pieces`` vectors, and gets one model a piece back. The driver
    holds three vectors a piece.
    """

    n_pieces: int
    penalty: Proximal = field(default=Nothing(), kw_only=True)
    order: int = 1

    def init(self, w: FloatArray) -> ADMMState:
        """Begin at the point of the penalty's domain that is nearest to ``w``."""
        w = self.penalty.prox(w, 0.0)
        models = np.broadcast_to(w, (self.n_pieces, *w.shape)).copy()
        infinite = np.full_like(w, np.inf)
        return ADMMState(w, np.inf, infinite, infinite, w, models, np.zeros_like(models))

    def point(self, state: ADMMState) -> FloatArray:
        """z."""
        return state.trial

    def question(self, state: ADMMState) -> Question:
        """The objective at the start, the curvature there, then the pieces' models."""
        if not np.isfinite(state.value):
            return Question(state.trial)
        if state.slope is not None:
            return Question(state.trial, vector=state.slope)
        enough = _EXACT * float(np.max(np.abs(state.gradient))) / self.n_pieces
        local = NearModel(state.rho, state.models, state.duals, enough)
        return Question(state.trial, local=local)

    def update(self, state: ADMMState, told: Evaluation | Product | Reply) -> ADMMState:
        """Choose rho, or agree on the next z."""
        if isinstance(told, Evaluation):
            at = self._at(state, told)
            return replace(at, slope=told.gradient)
        if isinstance(told, Product):
            return self._scaled(state, told.vector)
        assert told.evaluation is not None
        state = self._at(state, told.evaluation)
        if not np.isfinite(state.value):
            return state
        found = told.result.by_piece
        return self._agreed(state, np.stack([found[k] for k in range(self.n_pieces)]))

    def _at(self, state: ADMMState, evaluation: Evaluation) -> ADMMState:
        """With the objective at z."""
        z = state.trial
        return replace(
            state,
            w=z,
            value=evaluation.value + self.penalty.value(z),
            gradient=self.penalty.stationarity(z, evaluation.gradient),
            smooth=evaluation.gradient,
        )

    def _scaled(self, state: ADMMState, product: FloatArray) -> ADMMState:
        """The first rho: the curvature along the gradient, of one piece."""
        slope = state.slope
        assert slope is not None
        square, bend = inner(slope, slope), inner(slope, product)
        rho = bend / square / self.n_pieces if bend > 0 and np.isfinite(bend) else 1.0
        return replace(state, slope=None, rho=rho)

    def _agreed(self, state: ADMMState, models: FloatArray) -> ADMMState:
        z, rho = state.trial, state.rho
        relaxed = RELAXATION * models + (1.0 - RELAXATION) * z
        following = self.penalty.prox(
            (relaxed + state.duals).mean(axis=0), 1.0 / (self.n_pieces * rho)
        )
        duals = state.duals + relaxed - following
        moved = replace(state, trial=following, models=models, duals=duals, n_iter=state.n_iter + 1)
        return _balanced(moved, following - z) if state.n_iter < SETTLE else moved


def _balanced(state: ADMMState, move: FloatArray) -> ADMMState:
    """Rho larger where the models disagree much more than z moves, smaller the other way round.

    Each relative to the size of what it is a part of (Wohlberg 2017, "ADMM penalty parameter selection by
    residual balancing", section 3): the residuals themselves have units of their own.
    """
    root = float(np.sqrt(len(state.models)))
    size = max(length(state.models), root * length(state.trial))
    primal = length(state.models - state.trial) * length(state.duals)
    dual = root * length(move) * size
    if primal > APART * dual:
        factor = FACTOR
    elif dual > APART * primal:
        factor = 1.0 / FACTOR
    else:
        return state
    return replace(state, rho=state.rho * factor, duals=state.duals / factor)


__all__ = ["ADMM"]
