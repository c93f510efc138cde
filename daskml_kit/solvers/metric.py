"""What stands for the inverse Hessian before a quasi-Newton method has learnt of it.

A sketch of the Hessian comes out of the same pass as the gradient, and is a guide for many rounds:

============  ================================  ==========================================
sketch        what is asked                     for
============  ================================  ==========================================
"diagonal"    its diagonal                      features without end, sparse ones
"shared"      one (width, width) matrix, from   dense features: those of all outputs are
              a sample of the rows              correlated alike, so one block serves all
============  ================================  ==========================================

References
----------
Nocedal, Wright (2006). Numerical Optimization, 2nd ed. Section 7.2 (``H_k^0`` of Algorithm 7.4 may be any
positive definite matrix). Byrd, Chin, Neveitt, Nocedal (2011). On the use of stochastic Hessian information
in optimization methods for machine learning. SIAM J. Optim. 21, section 5 (a sampled Hessian as that matrix).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from daskml_kit.runtime.blas import one_thread
from daskml_kit.solvers.cholesky import Factor, factorised
from daskml_kit.typing import FloatArray

_SHIFT = 1e-6
"""Of a diagonal scaled to one: what a sample may say of a direction that it does not hold."""


class Metric(Protocol):
    """Something like the inverse of the Hessian: symmetric and positive definite."""

    def __call__(self, gradient: FloatArray) -> FloatArray:
        """Its product with ``gradient``, of that shape."""
        ...


@dataclass(frozen=True, eq=False)
class Diagonal:
    """One over the diagonal of the Hessian.

    Of several outputs (rows), a gradient whose outputs sum to zero gives a step whose outputs do: the
    minimiser of ``d.Dd / 2 - g.d`` among those. A softmax has such gradients, and only a weak penalty, if
    any, would bring back a sum that has left zero.
    """

    inverse: FloatArray  # of the shape of the coefficients

    def __call__(self, gradient: FloatArray) -> FloatArray:
        """``gradient`` over the diagonal; what all outputs share, over the stiffest's."""
        step = self.inverse * gradient
        if gradient.ndim == 1:
            return step
        pull = step.sum(axis=0) / self.inverse.sum(axis=0)
        common = gradient.mean(axis=0) * self.inverse.min(axis=0)
        return np.asarray(step - self.inverse * pull + common)


@dataclass(frozen=True, eq=False)
class Shared:
    """The inverse of one matrix for each of the outputs."""

    factor: Factor

    def __call__(self, gradient: FloatArray) -> FloatArray:
        """The solution for each row of ``gradient``."""
        with one_thread():
            return self.factor.solve(np.ascontiguousarray(gradient.T)).T


def metric_from(sketch: str, hessian: FloatArray) -> Metric:
    """From what a question's ``sketch`` was answered with.

    A coefficient that the sketch says nothing of moves no further than the stiffest of the others would.
    """
    diagonal = hessian if sketch == "diagonal" else np.diag(hessian)
    known = np.where(diagonal > 0, diagonal, np.max(diagonal, initial=0.0))
    safe = np.where(known > 0, known, 1.0)
    if sketch == "diagonal":
        return Diagonal(1.0 / safe)
    filled = hessian + np.diag(np.where(diagonal > 0, 0.0, safe - diagonal))
    with one_thread():
        return Shared(factorised(filled, 1.0 / np.sqrt(safe), _SHIFT))


__all__ = ["Diagonal", "Metric", "Shared", "metric_from"]
