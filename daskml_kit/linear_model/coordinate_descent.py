"""Coordinate descent for the elastic net, from second moments alone.

::

    F(w) = 1/2 w'Gw - q'w + yy/2 + a |w|_1 + b/2 |w|^2,    G = X'SX,  q = X'Sy,  yy = y'Sy

Once G is reduced, a whole path of penalties costs no further read of the data: an update of one
coordinate costs one row of G, and only if the coordinate moves.

=======================  =====================================================
in the papers            here
=======================  =====================================================
lambda_1, lambda_2       ``l1``, ``l2``: strengths of the sums, not of the mean
X'r - lambda_2 beta      ``target - product - l2 w``; ``product`` is G w
theta                    the residual, scaled until it is dual feasible
=======================  =====================================================

References
----------
Friedman, Hastie, Tibshirani (2010). Regularization paths for generalized linear models via coordinate
descent. J. Stat. Softw. 33, section 2.2 ("covariance updates") and 2.5 (warm starts along the path).
Fercoq, Gramfort, Salmon (2015). Mind the duality gap: safer rules for the Lasso. ICML, Algorithm 1
(the gap as stopping rule, and to leave out what is zero at the optimum).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba.extending import register_jitable

from daskml_kit.kernels.blocks import FASTMATH, compiled, frozen
from daskml_kit.typing import Array, FloatArray, IntArray

ROUNDING = 1e-15
"""Relative size of a step, and of a gap, below which only rounding is left."""


class Path(NamedTuple):
    """Solutions for each strength, in the order given."""

    coefs: FloatArray  # (n_strengths, d)
    gaps: FloatArray  # (n_strengths,), of the sums
    counts: IntArray  # sweeps over the coordinates
    converged: Array  # bool


@dataclass(frozen=True)
class Descent:
    """How to descend.

    Attributes
    ----------
    tol : converged when the duality gap is at most ``tol * yy``
    max_iter : most sweeps a strength
    positive : whether coefficients must be at least 0
    seed : None to take the coordinates in turn, else to draw them
    """

    tol: float = 1e-4
    max_iter: int = 1000
    positive: bool = False
    seed: int | None = None

    def path(
        self,
        gram: FloatArray,
        target: FloatArray,
        yy: float,
        l1: FloatArray,
        l2: FloatArray,
        start: FloatArray | None = None,
    ) -> Path:
        """Minimise F for each pair of strengths, each from the solution before. Releases the GIL.

        Parameters
        ----------
        gram : (d, d)
        target : (d,)
        yy : squared norm of y
        l1, l2 : (n_strengths,)
        start : (d,) or None for zeros

        Examples
        --------
        >>> import numpy as np
        >>> Descent().path(np.eye(2), np.array([3.0, 0.5]), 10.0, np.ones(1), np.zeros(1)).coefs
        array([[2., 0.]])
        """
        n, d = len(l1), len(target)
        out = Path(np.zeros((n, d)), np.zeros(n), np.zeros(n, np.int64), np.zeros(n, np.bool_))
        w = np.zeros(d) if start is None else np.array(start, dtype=np.float64)
        seed = 0 if self.seed is None else self.seed % (2**62) + 1
        strengths = frozen(np.asarray(l1), np.float64), frozen(np.asarray(l2), np.float64)
        _path(
            frozen(gram, np.float64), frozen(target, np.float64), float(yy), *strengths, w, *out,
            self.max_iter, float(self.tol), self.positive, np.int64(seed),
        )  # fmt: skip
        return out


@compiled
def _path(
    gram: Array,
    target: Array,
    yy: float,
    l1: Array,
    l2: Array,
    w: Array,
    coefs: Array,
    gaps: Array,
    counts: Array,
    converged: Array,
    max_iter: int,
    tol: float,
    positive: bool,
    seed: int,
) -> None:
    """Fills ``coefs``, ``gaps``, ``counts`` and ``converged``; ``w`` is the start, and is moved."""
    d = target.size
    product, free, kept = np.zeros(d), np.empty(d), np.empty(d, np.int64)
    for j in range(d):
        if w[j] != 0.0:
            _add_row(product, gram[j], w[j])
    for k in range(l1.size):
        gap, dual = _gap(target, yy, l1[k], l2[k], w, product, free, positive)
        n_kept = _screened(gram, gap, dual, l1[k], l2[k], w, product, free, kept, -1, positive)
        enough = max(tol, ROUNDING) * yy
        done, count = 0.0 <= gap <= enough, 0
        while not done and count < max_iter:
            moved, largest, seed = _sweep(
                gram, target, l1[k], l2[k], w, product, kept, n_kept, positive, seed
            )
            count += 1
            # A random sweep may have left out the coordinates that would have moved.
            stuck = seed == 0 and moved <= ROUNDING * largest
            if moved <= tol * largest or stuck or count == max_iter:
                gap, dual = _gap(target, yy, l1[k], l2[k], w, product, free, positive)
                done = gap <= enough or stuck
                if not done:
                    n_kept = _screened(
                        gram, gap, dual, l1[k], l2[k], w, product, free, kept, n_kept, positive
                    )
        gaps[k], counts[k], converged[k] = gap, count, done
        for j in range(d):
            coefs[k, j] = w[j]


@register_jitable(fastmath=FASTMATH, error_model="numpy")
def _add_row(product: Array, row: Array, change: float) -> None:
    for i in range(product.size):
        product[i] += change * row[i]


@register_jitable(fastmath=FASTMATH, error_model="numpy")
def _sweep(
    gram: Array,
    target: Array,
    l1: float,
    l2: float,
    w: Array,
    product: Array,
    kept: Array,
    n_kept: int,
    positive: bool,
    seed: int,
) -> tuple[float, float, int]:
    """One update of each coordinate kept: the largest change, the largest coefficient, the seed."""
    moved, largest = 0.0, 0.0
    for at in range(n_kept):
        if seed:  # Marsaglia's xorshift, in 62 bits
            seed ^= (seed << 13) & 0x3FFFFFFFFFFFFFFF
            seed ^= seed >> 7
            seed ^= (seed << 17) & 0x3FFFFFFFFFFFFFFF
            j = kept[seed % n_kept]
        else:
            j = kept[at]
        before = w[j]
        pull = target[j] - product[j] + gram[j, j] * before
        size = abs(pull) - l1
        after = size / (gram[j, j] + l2) if size > 0.0 and gram[j, j] > 0.0 else 0.0
        if pull < 0.0:
            after = 0.0 if positive else -after
        if after != before:
            w[j] = after
            _add_row(product, gram[j], after - before)
        moved = max(moved, abs(after - before))
        largest = max(largest, abs(after))
    return moved, largest, seed


@register_jitable(fastmath=FASTMATH, error_model="numpy")
def _gap(
    target: Array,
    yy: float,
    l1: float,
    l2: float,
    w: Array,
    product: Array,
    free: Array,
    positive: bool,
) -> tuple[float, float]:
    """Duality gap, and the largest of ``free``, the gradient without its l1 part, which is written.

    Without l1 the dual has no constraint to scale to: the conjugate of the squared norm takes its place;
    without any penalty the squared gradient does.
    """
    tw, ww, wgw, absolute, largest, squares = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for j in range(w.size):
        free[j] = target[j] - product[j] - (l2 * w[j] if l1 > 0.0 else 0.0)
        tw += target[j] * w[j]
        wgw += product[j] * w[j]
        ww += w[j] * w[j]
        absolute += abs(w[j])
        squares += free[j] * free[j]
        largest = max(largest, free[j] if positive else abs(free[j]))
    residual, inner = yy + wgw - 2.0 * tw, yy - tw
    if l1 == 0.0 and l2 == 0.0:
        return squares, largest
    if l1 == 0.0:
        return residual + 0.5 * l2 * ww - inner + squares / (2.0 * l2), largest
    scale = l1 / largest if largest > l1 else 1.0
    primal = 0.5 * (residual + l2 * ww) + l1 * absolute
    return primal + 0.5 * scale * scale * (residual + l2 * ww) - scale * inner, largest


@register_jitable(fastmath=FASTMATH, error_model="numpy")
def _screened(
    gram: Array,
    gap: float,
    dual: float,
    l1: float,
    l2: float,
    w: Array,
    product: Array,
    free: Array,
    kept: Array,
    n_kept: int,
    positive: bool,
) -> int:
    """Leaves out coordinates that are zero at the optimum: how many are kept. -1: choose among all.

    ``ROUNDING`` of room, or a gap of exactly 0 would leave out what touches the constraint.
    """
    n = w.size if n_kept < 0 else n_kept
    radius = np.sqrt(2.0 * abs(gap)) / l1 if l1 > 0.0 else np.inf
    count = 0
    for at in range(n):
        j = at if n_kept < 0 else kept[at]
        touch = free[j] if positive else abs(free[j])
        slack = 1.0 - touch / max(l1, dual)
        near = slack <= radius * np.sqrt(gram[j, j] + l2) + 100.0 * ROUNDING
        if gram[j, j] > 0.0 and (l1 == 0.0 or near):
            kept[count] = j
            count += 1
        elif w[j] != 0.0:
            _add_row(product, gram[j], -w[j])
            w[j] = 0.0
    return count


__all__ = ["Descent", "Path"]
