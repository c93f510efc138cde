"""Least squares without the intercept: it is at its best for whatever coefficients a solver tries.

::

    min over w, b of  1/(2W) sum_i s_i (y_i - x_i.w - b)^2 + h(w)
      =  min over w  of the same at  b(w) = mean(y) - mean(x).w

The rows are read as they are; at ``b(w)`` value and gradient are those of centred columns, so what a solver
sees is conditioned like these: columns far from zero would else all be nearly the intercept's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from daskml_kit.solvers import Evaluation, Question
from daskml_kit.solvers.protocol import asked
from daskml_kit.solvers.vectors import inner
from daskml_kit.typing import FloatArray

_ROUNDING = 1e-12  # of a column's mean square: a smaller variance is that of a constant


@dataclass(frozen=True, eq=False)
class Profiled:
    """A solver of the coefficients, told what it asks at the best intercept for them.

    Parameters
    ----------
    solver : of first order, for the coefficients alone; its sketch of the Hessian is the diagonal, or none
    mean_x : (n_features,)
    mean_y : float
        Means of the rows of the objective, weighted like them. Its weights add up to one.
    """

    solver: Any
    mean_x: FloatArray
    mean_y: float
    order: int = 1

    def intercept(self, w: FloatArray) -> float:
        """The best for these coefficients."""
        return self.mean_y - inner(self.mean_x, w)

    def init(self, w: FloatArray) -> Any:
        """Begin at the coefficients ``w``. The states are the solver's."""
        return self.solver.init(w)

    def point(self, state: Any) -> FloatArray:
        """The solver's point, and the intercept."""
        return self._whole(self.solver.point(state))

    def question(self, state: Any) -> Question:
        """The solver's question."""
        ask = asked(self.solver, state)
        return ask._replace(w=self._whole(ask.w))

    def update(self, state: Any, evaluation: Evaluation) -> Any:
        """Tell the solver what concerns it."""
        return self.solver.update(state, profiled(evaluation, self.mean_x))

    def _whole(self, w: FloatArray) -> FloatArray:
        return np.append(w, self.intercept(w))


def profiled(at: Evaluation, mean_x: FloatArray) -> Evaluation:
    """The objective at the best intercept, from an evaluation at any: it is a parabola of the intercept.

    Examples
    --------
    >>> import numpy as np
    >>> profiled(Evaluation(2.0, np.array([3.0, -1.0])), np.array([2.0]))
    Evaluation(value=1.5, gradient=array([5.]), hessian=None)
    """
    off = float(at.gradient[-1])  # by so much is the intercept too large
    hessian = None
    if at.hessian is not None:
        squares = at.hessian[:-1]
        with np.errstate(over="ignore", invalid="ignore"):  # solvers look whether it is finite
            hessian = squares - mean_x**2
        hessian = np.where(hessian <= _ROUNDING * squares, 0.0, hessian)
    return Evaluation(at.value - 0.5 * off**2, at.gradient[:-1] - off * mean_x, hessian)


__all__ = ["Profiled", "profiled"]
