"""Proximal Newton with the reduced Hessian: few rounds for L1, elastic net and bounds.

The smooth part is replaced by its second-order model, which is minimised together with the penalty on the
driver; the unit step is tried first and nearly always accepted, so an iteration costs one round.

====================  ==================================================
paper (Algorithm 1)   here
====================  ==================================================
g, h                  the evaluations, ``penalty``
Delta x               ``direction``, from :func:`minimise_quadratic`
lambda                ``LineSearch.slope``: ``g.d + h(w + d) - h(w)``
====================  ==================================================

References
----------
Lee, Sun, Saunders (2014). Proximal Newton-type methods for minimizing composite functions. SIAM J. Optim.
24, Algorithm 1. Yuan, Ho, Lin (2012). An improved GLMNET for L1-regularized logistic regression. JMLR 13.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from daskml_kit.solvers.composite import Kinked, directional
from daskml_kit.solvers.line_search import LineSearch
from daskml_kit.solvers.newton import POOR, asked_order, fewer, finite, share_left
from daskml_kit.solvers.protocol import Evaluation, Question
from daskml_kit.solvers.quadratic import minimise_quadratic
from daskml_kit.solvers.vectors import length
from daskml_kit.typing import FloatArray


@dataclass(frozen=True, eq=False)
class ProximalNewtonState:
    """State of :class:`ProximalNewton`. ``search`` is None before the first evaluation."""

    w: FloatArray
    value: float
    gradient: FloatArray  # the smallest subgradient
    search: LineSearch | None = None
    target: FloatArray | None = None  # the end of the whole step, zeros and bounds exact
    every: int = 1  # rows that one row of the next Hessian stands for
    hessian: FloatArray | None = None  # the last one
    fresh: bool = False  # whether that is of this point
    left: float = 1.0  # share of the gradient that the last step has left
    n_iter: int = 0
    trouble: str = ""

    @property
    def trial(self) -> FloatArray:
        """Where the objective is evaluated next."""
        if self.search is None or self.target is None:
            return self.w
        return self.target if self.search.step == 1.0 else self.search.point


@dataclass(frozen=True)
class ProximalNewton:
    """Newton's method for a convex objective plus L1 strengths and bounds.

    Parameters
    ----------
    penalty : Kinked
        What the evaluations leave out.
    every : int
        Rows that one row of the first Hessians may stand for, as for
        :class:`~daskml_kit.solvers.newton.Newton`.
    """

    penalty: Kinked
    every: int = 1
    order: int = 2

    def init(self, w: FloatArray) -> ProximalNewtonState:
        """Begin at the point within the bounds that is nearest to ``w``."""
        w = self.penalty.prox(w, 0.0)
        return ProximalNewtonState(w, np.inf, np.full_like(w, np.inf), every=self.every)

    def near(self, found: ProximalNewtonState) -> ProximalNewtonState:
        """Begin where a problem like this one has been solved, with its Hessian."""
        w = found.w if found.trouble else found.trial
        return replace(self.init(w), hessian=found.hessian, left=0.0)

    def point(self, state: ProximalNewtonState) -> FloatArray:
        """The start, then the trial of the search."""
        return state.trial

    def question(self, state: ProximalNewtonState) -> Question:
        """The Hessian there, from as many rows as seem to be enough; none while the last one serves."""
        return Question(state.trial, state.every, order=asked_order(state.hessian, state.left))

    def update(self, state: ProximalNewtonState, evaluation: Evaluation) -> ProximalNewtonState:
        """Accept the trial and choose a new direction, or shorten the step."""
        search, trial = state.search, state.trial
        if search is None:
            return self._accept(state, trial, evaluation)
        value = evaluation.value + self.penalty.value(trial)
        slope = evaluation.gradient + directional(self.penalty, trial, search.direction)
        if search.accepts(value, slope):
            after = length(self.penalty.stationarity(trial, evaluation.gradient))
            left = share_left(after, length(state.gradient), search)
            every = fewer(state.every, left > POOR)
            moved = replace(state, n_iter=state.n_iter + 1, every=every, left=left)
            return self._accept(moved, trial, evaluation)
        if search.exhausted and (state.every > 1 or not state.fresh):
            return replace(state, search=None, every=1, hessian=None, left=1.0)
        if search.exhausted:
            return replace(state, trouble="The line search found no lower value.")
        following = search.following(value, slope)
        return replace(state, search=following, every=fewer(state.every, poor=True), left=1.0)

    def _accept(
        self, state: ProximalNewtonState, w: FloatArray, evaluation: Evaluation
    ) -> ProximalNewtonState:
        if not finite(evaluation):  # at the start; the loop says so
            return replace(state, value=evaluation.value if np.isnan(evaluation.value) else np.inf)
        penalty, gradient = self.penalty, evaluation.gradient
        hessian = state.hessian if evaluation.hessian is None else evaluation.hessian
        assert hessian is not None
        parts = (gradient, w, penalty.l1, penalty.lower, penalty.upper)
        to = minimise_quadratic(hessian, *(part.ravel() for part in parts)).reshape(w.shape)
        here = penalty.value(w)
        # Coordinate by coordinate: near the minimum the difference of two penalties is all rounding.
        slope = float(np.sum(gradient * (to - w) + penalty.l1 * (np.abs(to) - np.abs(w))))
        search = LineSearch(w, to - w, evaluation.value + here, slope, curvature=None)
        return replace(
            state,
            w=w,
            value=evaluation.value + here,
            gradient=penalty.stationarity(w, gradient),
            search=search,
            target=to,
            hessian=hessian,
            fresh=evaluation.hessian is not None,
            trouble="" if slope < 0 else "The gradient has vanished to rounding.",
        )


__all__ = ["ProximalNewton"]
