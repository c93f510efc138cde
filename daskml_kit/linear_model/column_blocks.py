"""Fitting by columns in general: every block of columns descends for itself, the driver adds what they found.

::

    F(w, b) = f(Xw + b) + l1 |w|_1 + l2/2 |w|^2,    f(v) = 1/W sum_i s_i loss(y_i, v_i)

A round sends f's gradient and curvature in the raw predictions to the blocks, each of which minimises its own
quadratic model over its own coefficients, and adds up what that does to the predictions. The driver then

- takes the step, shortened until it decreases F. Its effect on F costs no round: predictions are linear;
- extrapolates from the last proposals, and takes that point where F is lower still;
- sets the intercept to its optimum;
- bounds the distance from the minimum by the duality gap.

How far the models must be stretched, because all blocks move at once, is 1 where their predictions are
orthogonal and their number at worst (the "safe" value); it is measured in every round.

==================  ====================================================
in the papers       here
==================  ====================================================
alpha, v = A alpha  ``w``, ``v``
sigma'              ``sigma``
gamma               ``share``
Delta alpha_[k]     ``moved``: the blocks' slices
==================  ====================================================

References
----------
Smith, Forte, Ma, Takac, Jordan, Jaggi (2018). CoCoA: a general framework for communication-efficient
distributed optimization. JMLR 18(230), Algorithm 2 (data by columns).
Duenner, Lucchi, Gargiani, Bian, Hofmann, Jaggi (2018). A distributed second-order algorithm you can trust.
ICML, Algorithm 1 (the local curvature in the models, and how far to trust them).
Bertrand, Massias (2021). Anderson acceleration of coordinate descent. AISTATS, Algorithm 2.
Ndiaye, Fercoq, Gramfort, Salmon (2017). Gap safe screening rules for sparsity enforcing penalties. JMLR 18.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from daskml_kit.exceptions import ClusterError
from daskml_kit.linear_model.column_problem import ROUNDING, STILL, ByColumns, Problem
from daskml_kit.linear_model.column_rounds import (
    MEMORY,
    STARTING_PRODUCT,
    Answer,
    Ask,
    Slice,
    column_round,
)
from daskml_kit.runtime.columns import ColumnDataset
from daskml_kit.runtime.executor import Executor
from daskml_kit.typing import FloatArray

MAX_SWEEPS, ENOUGH = 6, 1e-3
"""Of a block's descent in a round."""

_ATTEMPTS = 5  # repeated rounds in a row


@dataclass
class Point:
    """Coefficients, and what the driver knows of the objective there."""

    w: FloatArray
    v: FloatArray  # X w
    b: float
    f: float
    gradient: FloatArray
    value: float  # F


class _Past(NamedTuple):
    """A proposal and how it came about."""

    version: int
    w: FloatArray
    v: FloatArray
    step: FloatArray  # proposal - point
    product: FloatArray  # X step


class Solve:
    """One solve: its point, and what the blocks have been told of it."""

    def __init__(
        self, data: ColumnDataset, executor: Executor, problem: Problem, number: int, target: int
    ) -> None:
        self.data, self.executor, self.problem = data, executor, problem
        self.number, self.target = number, target
        self.blocks = float(sum(b.n_blocks for b in data.bundles))
        self.sigma, self.trust = self.blocks, 1.0
        self.needed: list[float] = []
        self.past: list[_Past] = []
        self.combine: tuple[tuple[int, float], ...] = ()
        self.screen: tuple[float, float] | None = None
        self.told: tuple[Slice, ...] = ()  # of the point, for blocks that have not seen it
        self.version = 0
        self.reached: Point | None = None  # where the last run ended

    def run(
        self,
        point: Point,
        max_iter: int,
        gap_tol: float | None,
        gradient_tol: float,
        max_sweeps: int = MAX_SWEEPS,
    ) -> ByColumns:
        """Rounds of descent from a point on."""
        best_dual, gap, still = -np.inf, np.inf, 0
        while self.version < max_iter:
            version, before = self.version, point
            answer = self.ask(point, max_sweeps=max_sweeps)
            if sum(self.problem.strengths) > 0.0:
                dual, scale = self.problem.dual(point.gradient, answer.largest, answer.excess)
                best_dual = max(best_dual, dual)
                point = self._move(version, point, answer)
                gap = max(point.value - best_dual, 0.0)
                self.look_at(point.value - dual, scale)
            else:
                gap = answer.violation
                point = self._move(version, point, answer)
            enough = gap_tol is not None and gap <= max(gap_tol, ROUNDING * abs(point.value))
            still = still + 1 if gap <= ROUNDING * abs(point.value) else 0
            stuck = still == STILL or (
                point.value >= before.value and not np.any(point.w != before.w)
            )
            if enough or stuck or answer.violation <= gradient_tol:
                return self._found(point, gap, gap_tol if enough else None, True)
        return self._found(point, gap, None, False)

    def _found(self, point: Point, gap: float, gap_tol: float | None, converged: bool) -> ByColumns:
        """The last proposal rather than an extrapolation, where it is as good: its zeros are exact.

        As good: up to rounding, or with a gap that is still within the tolerance.
        """
        if self.past:
            last = self.at(self.past[-1].w, self.past[-1].v, point.b)
            worse = last.value - point.value
            rounding = 10.0 * ROUNDING * abs(point.value)
            if worse <= rounding or (gap_tol is not None and gap + worse <= gap_tol):
                point, gap = last, max(gap + worse, 0.0)
        self.reached = point
        return ByColumns(point.w, point.b, gap, self.version, converged)

    def start(self, warm: FloatArray | None) -> Point:
        """At zero, or at the coefficients that the blocks begin with: one round."""
        n, d = self.data.facts.n_features, self.data.facts.n_rows
        if warm is None:
            return self.at(np.zeros(d), np.zeros(n), 0.0)
        return self.at(
            np.array(warm, dtype=np.float64),
            self.executor.reduce(self.data, STARTING_PRODUCT, self.target),
            0.0,
        )

    def at(self, w: FloatArray, v: FloatArray, b: float) -> Point:
        """The point of some coefficients and their product, with the best intercept."""
        b, f, gradient = self.problem.centred(v, b)
        return Point(w, v, b, f, gradient, f + self.problem.penalty(w))

    def ask(self, point: Point, *, max_sweeps: int, wanted: int = 0) -> Answer:
        """One round; repeated for blocks that forgot their coefficients."""
        ask = self.question(point, max_sweeps=max_sweeps, wanted=wanted)
        reduction = column_round(self.problem.loss)
        value = point.value
        for _ in range(_ATTEMPTS):
            answer = self.executor.reduce(self.data, reduction, ask, objective=lambda _: value)
            if not answer.forgotten:
                return answer
            self.past = []  # what is lost cannot be combined
            told = tuple(slice_of(point.w, start, size) for start, size in answer.forgotten)
            ask = ask._replace(told=told)
        raise ClusterError(
            f"Blocks of columns lost what they knew in each of {_ATTEMPTS} repeated rounds. Look into the "
            "workers' logs (client.get_worker_logs()), and give them more memory if they spill."
        )

    def question(self, point: Point, *, max_sweeps: int, wanted: int = 0) -> Ask:
        """What the next round asks."""
        ask = Ask(
            self.number, self.version, self.combine, self.target, self.told, point.gradient,
            self.problem.curvature(point.v + point.b), self.problem.bound, self.problem.strengths,
            self.problem.positive, self.problem.fit_intercept, self.sigma, self.screen,
            max_sweeps, ENOUGH, wanted,
        )  # fmt: skip
        self.version += 1
        self.told = ()
        return ask

    def _move(self, version: int, point: Point, answer: Answer) -> Point:
        w = point.w.copy()
        for part in answer.moved:
            w[part.start + part.at] = part.values
        step = w - point.w
        product = np.broadcast_to(answer.product, point.v.shape)
        proposal = self.at(w, point.v + product, point.b)
        self.past.append(_Past(version, proposal.w, proposal.v, step, product))
        self.past = self.past[-MEMORY + 1 :]
        self._stretch(point, proposal, answer)
        new, self.combine = self._shortened(version, point, proposal, step, product)
        mixed = self._extrapolated()
        if mixed is not None:
            shares, w, v = mixed
            other = self.at(w, v, new.b)
            if other.value < new.value:
                new, self.combine = other, shares
        return new

    def _shortened(
        self,
        version: int,
        point: Point,
        proposal: Point,
        step: FloatArray,
        product: FloatArray,
    ) -> tuple[Point, tuple[tuple[int, float], ...]]:
        """The longest of 1, 1/2, 1/4, ... of the step that does not increase F."""
        most = point.value + 10.0 * ROUNDING * abs(point.value)
        new, share = proposal, 1.0
        while new.value > most and share > ROUNDING:
            share *= 0.5
            new = self.at(point.w + share * step, point.v + share * product, point.b)
        if new.value > most:
            return point, ((-1, 1.0),)
        return new, ((version, share), (-1, 1.0 - share)) if share < 1.0 else ((version, 1.0),)

    def _stretch(self, point: Point, proposal: Point, answer: Answer) -> None:
        """The next round's sigma, from how much the blocks' products had in common in this one."""
        h = self.problem.curvature(point.v + point.b)
        product = np.asarray(np.broadcast_to(answer.product, point.v.shape))
        full = np.broadcast_to(h, product.shape)
        if self.problem.fit_intercept:
            product = product - float(full @ product) / float(full.sum())
        if answer.stretched > 0.0:
            self.needed.append(float(full @ product**2) / answer.stretched)
            self.needed = self.needed[-3:]
        gain = point.value - proposal.value
        if answer.decrease < 100.0 * ROUNDING * abs(point.value):
            self.trust = 1.0  # only rounding is left to judge by
        elif gain < 0.25 * answer.decrease:
            self.trust *= 2.0
        elif gain > 0.75 * answer.decrease:
            self.trust = max(1.0, 0.5 * self.trust)
        if self.needed:
            self.sigma = self.trust * min(max(1.0, 1.05 * max(self.needed)), self.blocks)

    def _extrapolated(
        self,
    ) -> tuple[tuple[tuple[int, float], ...], FloatArray, FloatArray] | None:
        """The combination of the last proposals whose steps cancel best, in products and coefficients."""
        if len(self.past) < 2:
            return None
        products = np.array([p.product for p in self.past])
        weight = np.sqrt(np.broadcast_to(self.problem.bound, products.shape[1]))
        products = products * weight
        if self.problem.fit_intercept:
            products -= np.outer(products @ weight / (weight @ weight), weight)
        gram = products @ products.T
        l2 = self.problem.strengths[1]
        if l2 > 0.0:
            steps = np.array([p.step for p in self.past])
            gram += l2 * (steps @ steps.T)
        size = float(np.trace(gram))
        if not size > 0.0:
            return None
        gram += 1e-12 * size * np.eye(len(gram))
        shares = np.linalg.solve(gram, np.ones(len(gram)))
        shares /= shares.sum()
        if not np.isfinite(shares).all():
            return None
        w = sum((c * p.w for c, p in zip(shares, self.past, strict=True)), 0.0 * self.past[0].w)
        v = sum((c * p.v for c, p in zip(shares, self.past, strict=True)), 0.0 * self.past[0].v)
        if self.problem.positive and (w < 0).any():
            return None
        named = tuple((p.version, float(c)) for c, p in zip(shares, self.past, strict=True))
        return named, w, v

    def look_at(self, gap: float, scale: float) -> None:
        """Remember where the dual optimum is: around the scaled gradient of this round."""
        self.screen = None
        if self.problem.strengths[0] > 0.0 and np.isfinite(gap):
            self.screen = scale, float(np.sqrt(2.0 * max(gap, 0.0)))


def slice_of(w: FloatArray, start: int, size: int) -> Slice:
    """Coefficients of consecutive columns, those that are not zero."""
    own = w[start : start + size]
    at = np.flatnonzero(own)
    return Slice(start, size, at, own[at])


__all__ = ["Point", "Solve", "slice_of"]
