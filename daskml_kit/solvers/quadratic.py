"""The minimum of a quadratic with L1 strengths and bounds, in memory: the inner problem of proximal Newton.

::

    q(z) = gradient.(z - w) + 1/2 (z - w)' hessian (z - w) + sum_j l1_j |z_j|,    lower <= z <= upper

Coordinate descent finds which coordinates are zero or at a bound; a Cholesky solve then moves the free
ones, as far as none of them changes its sign or leaves its bounds. The first is slow where columns are
alike and the second needs to know the support: together they end at rounding, whatever the condition.

References
----------
Friedman, Hastie, Tibshirani (2010). Regularization paths for generalized linear models via coordinate
descent. J. Stat. Softw. 33, section 2.2 ("covariance updates"). Bertsekas (1982). Projected Newton methods
for optimization problems with simple constraints. SIAM J. Control Optim. 20, for the free coordinates.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from scipy import linalg

from daskml_kit.typing import Array, FloatArray

_SWEEPS = 8
_TRIES = 50
_WALLS = 30  # coordinates that may meet a wall, one after the other, before the next sweeps
_ROUNDING = 1e-13
_SHARE = 1e-7  # of the first residual: a Newton step gains no more digits than that
_RIDGE = 1e-13  # of a diagonal scaled to one


class Quadratic(NamedTuple):
    """The problem, flat, in units that make the Hessian's diagonal one."""

    hessian: FloatArray  # (size, size)
    gradient: FloatArray
    l1: FloatArray
    lower: FloatArray
    upper: FloatArray

    def residual(self, z: FloatArray, slope: FloatArray) -> float:
        """Largest component of the smallest subgradient, where the smooth part's gradient is ``slope``."""
        at_zero = np.sign(slope) * np.maximum(np.abs(slope) - self.l1, 0.0)
        out = np.where(z == 0, at_zero, slope + self.l1 * np.sign(z))
        out = np.where(z <= self.lower, np.minimum(out, 0.0), out)
        out = np.where(z >= self.upper, np.maximum(out, 0.0), out)
        return float(np.max(np.abs(out), initial=0.0))


def minimise_quadratic(
    hessian: FloatArray,
    gradient: FloatArray,
    w: FloatArray,
    l1: FloatArray,
    lower: FloatArray,
    upper: FloatArray,
) -> FloatArray:
    """The minimiser of q, (size,). All arrays flat; ``w`` within the bounds.

    Memory: two copies of ``hessian``.

    Examples
    --------
    >>> import numpy as np
    >>> free = np.full(2, np.inf)
    >>> minimise_quadratic(np.eye(2), np.array([-3.0, -0.5]), np.zeros(2), np.ones(2), -free, free)
    array([2., 0.])
    """
    diagonal = np.diag(hessian)
    scale = 1.0 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    scaled = np.ascontiguousarray(hessian * np.outer(scale, scale))
    np.einsum("ii->i", scaled)[:] += _RIDGE
    problem = Quadratic(scaled, scale * gradient, scale * l1, lower / scale, upper / scale)
    z, slope = w / scale, problem.gradient.copy()
    rounding = _ROUNDING * float(np.max(np.abs(slope) + problem.l1, initial=0.0))
    enough = max(rounding, _SHARE * problem.residual(z, slope))
    for _ in range(_TRIES):
        sweeps(problem.hessian, z, slope, problem.l1, problem.lower, problem.upper, _SWEEPS)
        if problem.residual(z, slope) <= enough:
            break
        for _ in range(_WALLS):
            if _freed(problem, z, slope) == 1.0:
                break
    out = np.where(z <= problem.lower, lower, z * scale)  # bounds are met exactly
    return np.where(z >= problem.upper, upper, out)


def _freed(problem: Quadratic, z: FloatArray, slope: FloatArray) -> float:
    """Move the free coordinates to their joint minimum, or to the first wall on the way there.

    Mutates ``z`` and ``slope``; returns the share of the way, 1 also where there is none.
    """
    inside = (problem.lower < z) & (z < problem.upper)
    free = np.flatnonzero(inside & ((z != 0) | (problem.l1 == 0)))
    if not len(free):
        return 1.0
    pull = slope[free] + problem.l1[free] * np.sign(z[free])
    try:
        factor = linalg.cho_factor(problem.hessian[np.ix_(free, free)], lower=True)
    except linalg.LinAlgError:  # singular to rounding: leave it to coordinate descent
        return 1.0
    step = -linalg.cho_solve(factor, pull)
    start = z[free]
    shares = np.full(len(free), np.inf)
    walls = np.where(step > 0, problem.upper[free], problem.lower[free])
    crossing = (problem.l1[free] > 0) & (start * step < 0)
    walls = np.where(
        crossing, np.where(step > 0, np.minimum(0.0, walls), np.maximum(0.0, walls)), walls
    )
    moving = step != 0
    shares[moving] = (walls[moving] - start[moving]) / step[moving]
    share = min(1.0, float(np.min(shares, initial=np.inf)))
    moved = start + share * step
    hit = shares <= share
    moved[hit] = walls[hit]
    slope += problem.hessian[:, free] @ (moved - start)
    z[free] = moved
    return share


@njit(cache=True, nogil=True, error_model="numpy")
def sweeps(
    hessian: Array, z: Array, slope: Array, l1: Array, lower: Array, upper: Array, most: int
) -> None:
    """Cyclic coordinate descent, at most ``most`` sweeps; keeps ``slope = gradient + hessian (z - w)``."""
    for _ in range(most):
        moved = False
        for j in range(z.size):
            bend = hessian[j, j]
            v = z[j] - slope[j] / bend
            cut = l1[j] / bend
            to = max(abs(v) - cut, 0.0)
            to = min(max(to if v > 0 else -to, lower[j]), upper[j])
            change = to - z[j]
            if change != 0.0:
                moved = True
                z[j] = to
                for k in range(z.size):
                    slope[k] += change * hessian[j, k]
        if not moved:
            return


__all__ = ["minimise_quadratic"]
