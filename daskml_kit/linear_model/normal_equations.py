"""Ridge solutions from a Gram matrix: any rank, any scale of the columns, any penalty.

::

    (G + alpha I) w = b,    b in the range of G

Rounding must mean the same for columns of any unit, so they are scaled to one size before eigenvectors are
taken. But the penalty knows units, and where the columns depend on each other it decides alone which of many
solutions is meant: the one without a component that G does not see. Scaled columns do not show that one. So
what can be said of G itself is found first (:func:`spectrum`), and where the penalty can hardly be told from
rounding, the directions in which G is nothing but rounding get no component.

References
----------
Demmel, Veselic (1992). Jacobi's method is more accurate than QR. SIAM J. Matrix Anal. Appl. 13.
Drmac, Veselic (2008). New fast and accurate Jacobi SVD algorithm. SIAM J. Matrix Anal. Appl. 29.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import linalg

from daskml_kit.typing import FloatArray

TOLD_APART = 1e6
"""Times what rounding may be that a penalty must be, for directions of rounding to be left to it. On 30 rows
of 80 columns coefficients were off by 2e-7 where it was 20 times, and by 4e-12 here."""

ONE_SCALE = 1e3
"""Largest ratio of the columns' norms for which eigenvectors are taken as they are. They lose the square of
it in digits for the smallest column."""


FULL_GRADED = 2
"""dgejsv's JOBA='F': rows and columns may be scaled at will, and the rank is full."""


class NormalEquations:
    """``(G + alpha_t I) w_t = b_t`` for each target.

    Parameters
    ----------
    gram : (d, d)
    strengths : (n_targets,) alpha, at least 0; where it is 0 the solution of least norm

    Examples
    --------
    >>> import numpy as np
    >>> twice = NormalEquations(np.array([[1.0, 1.0], [1.0, 1.0]]), np.array([0.0]))
    >>> twice.solve(np.array([[2.0], [2.0]])).ravel(), twice.rank
    (array([1., 1.]), 1)
    """

    def __init__(self, gram: FloatArray, strengths: FloatArray) -> None:
        self.strengths = strengths
        self.parts = {a: _Regularised(gram, a) for a in strengths.tolist()}
        self.condition = max(part.condition for part in self.parts.values())
        self.rank = min(part.rank for part in self.parts.values())

    def solve(self, b: FloatArray) -> FloatArray:
        """Solutions, (n_features, n_targets)."""
        pairs = zip(self.strengths.tolist(), b.T, strict=True)
        return np.column_stack([self.parts[a].solve(column) for a, column in pairs])


class _Regularised:
    """``(G + alpha I)^-1``, scaled to a unit diagonal where that can be done."""

    scale: FloatArray
    vectors: FloatArray

    def __init__(self, gram: FloatArray, strength: float) -> None:
        self.scale = _unit_scale(np.diag(gram) + strength)
        shift = strength * self.scale**2
        values, self.vectors = linalg.eigh(_scaled(gram, self.scale) + np.diag(shift))
        noise, least = rounding_of(values), float(shift.min())
        self.rank = int(np.count_nonzero(values > noise))  # of features of one size
        if values[0] <= noise + float(shift.max()) and least <= TOLD_APART * noise:
            own = spectrum(gram)
            if own.rank < len(gram):
                self.scale, self.vectors = np.ones(len(gram)), own.vectors
                self._keep(own.inverse(strength))
                return
        exact = np.maximum(values, least)  # the penalty's own share is
        self._keep(np.divide(1.0, exact, out=np.zeros_like(values), where=exact > noise))

    def _keep(self, inverse: FloatArray) -> None:
        used = inverse[inverse > 0]
        self.inverse = inverse
        self.condition = float(used.max() / used.min()) if len(used) else 1.0

    def solve(self, b: FloatArray) -> FloatArray:
        """The solution for one right side."""
        inner = self.inverse * (self.vectors.T @ (self.scale * b))
        out: FloatArray = self.scale * (self.vectors @ inner)
        return out


class Spectrum(NamedTuple):
    """Of a Gram matrix: eigenvalues (r,), ascending, with their vectors (d, r), and what is rounding."""

    values: FloatArray
    vectors: FloatArray
    noise: float

    @property
    def rank(self) -> int:
        """How many eigenvalues are more than rounding."""
        return int(np.count_nonzero(self.values > self.noise))

    def inverse(self, strength: float) -> FloatArray:
        """``1 / (e + alpha)``, (r,); 0 where only rounding is left of both."""
        values = np.maximum(self.values, 0.0) + strength
        kept = (self.values > self.noise) | (strength > TOLD_APART * self.noise)
        return np.divide(1.0, values, out=np.zeros_like(values), where=kept & (values > 0))


def spectrum(gram: FloatArray) -> Spectrum:
    """Eigenvectors of G whatever the scales of its columns.

    Where these differ much, eigenvectors of G would drown the small ones. Those of the correlations say what
    is rounding, and give ``B`` with ``G = B B'``; singular vectors of B by Jacobi's method are exact to each
    column's own scale.
    """
    scale = _unit_scale(np.diag(gram))
    if scale.max() <= ONE_SCALE * scale.min():
        values, vectors = linalg.eigh(gram)
        return Spectrum(values, vectors, rounding_of(values))
    values, vectors = linalg.eigh(_scaled(gram, scale))
    kept = values > rounding_of(values)
    root = vectors[:, kept] * np.sqrt(values[kept]) / scale[:, None]
    sizes, left, _, work, _, info = linalg.lapack.dgejsv(root, joba=FULL_GRADED, jobu=0, jobv=3)
    if info:
        raise linalg.LinAlgError(
            f"The Jacobi decomposition did not converge (dgejsv, info={info})."
        )
    squares = (sizes * work[1] / work[0]) ** 2
    return Spectrum(squares[::-1], left[:, : len(squares)][:, ::-1], 0.0)


def _unit_scale(diagonal: FloatArray) -> FloatArray:
    scale: FloatArray = 1.0 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    return scale


def _scaled(gram: FloatArray, scale: FloatArray) -> FloatArray:
    return gram * np.outer(scale, scale)


def rounding_of(values: FloatArray) -> float:
    """The size of rounding in ascending eigenvalues; LAPACK's of 4 x 4 matrices are off by up to 9 eps."""
    return max(float(values[-1]), 0.0) * (16 + len(values)) * float(np.finfo(np.float64).eps)


__all__ = ["NormalEquations", "Spectrum", "rounding_of", "spectrum"]
