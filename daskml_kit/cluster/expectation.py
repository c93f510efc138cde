"""EM for Gaussian mixtures: the M-step on sums, and the loop, several runs side by side.

References
----------
Dempster, Laird, Rubin (1977). Maximum likelihood from incomplete data via the EM algorithm. JRSS B.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from scipy import linalg

from daskml_kit.cluster.ground import Ground
from daskml_kit.cluster.side_by_side import side_by_side
from daskml_kit.exceptions import InvalidDataError
from daskml_kit.kernels import nearest
from daskml_kit.kernels.mixture import (
    Components,
    CovarianceType,
    MixtureSums,
    expected,
    no_sums,
    shared,
    some_rows,
)
from daskml_kit.runtime.block import Block
from daskml_kit.runtime.random import uniform
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.typing import Array, FloatArray


@dataclass(frozen=True, eq=False)
class Mixture:
    """One run and how far it came."""

    parts: Components
    covariances: FloatArray | None = None  # None as long as only precisions are known
    lower_bound: float = -np.inf  # weighted mean log-likelihood where the last pass measured
    lower_bounds: tuple[float, ...] = ()
    n_iter: int = 0
    converged: bool = False


@dataclass(frozen=True)
class Rule:
    """When a run ends, and what is added to variances."""

    tol: float  # of the mean log-likelihood
    max_iter: int
    reg_covar: float


# ---------------------------------------------------------------- one pass


def _expected(block: Block, parts: Components) -> MixtureSums:
    return expected(block.X, parts, block.weight)


EXPECTATION: Reduction[Components, MixtureSums, MixtureSums] = Reduction(
    "em", _expected, operator.add
)


def hard(kind: CovarianceType) -> Reduction[FloatArray, MixtureSums, MixtureSums]:
    """Sums of rows that belong to their nearest centre (k, d) alone: one pass."""
    return Reduction("em-start", partial(_hard_chunk, kind), operator.add)


def _hard_chunk(kind: CovarianceType, block: Block, centers: FloatArray) -> MixtureSums:
    total, k = no_sums(kind, *centers.shape), len(centers)
    for start, rows in some_rows(block.X, kind, k):
        labels, _ = nearest(block.X[start : start + rows.shape[0]], centers, centers.mean(axis=0))
        shares = (labels[:, None] == np.arange(k)).astype(float)
        weight = _weights(block, start, rows.shape[0])
        total += shared(rows, shares, kind, centers, weight=weight)
    return total


def soft(
    kind: CovarianceType, k: int
) -> Reduction[tuple[int, int, FloatArray], MixtureSums, MixtureSums]:
    """Sums of rows that belong to all components by chance, keyed by seed, run and row: one pass."""
    return Reduction("em-start", partial(_soft_chunk, kind, k), operator.add)


def _soft_chunk(
    kind: CovarianceType, k: int, block: Block, asked: tuple[int, int, FloatArray]
) -> MixtureSums:
    seed, run, origin = asked
    means = np.tile(origin, (k, 1))
    total = no_sums(kind, *means.shape)
    drawn = [uniform(seed, f"mixture-{run}-{j}", block.rows) for j in range(k)]
    for start, rows in some_rows(block.X, kind, k):
        shares = np.stack([one[start : start + rows.shape[0]] for one in drawn], axis=1)
        shares /= shares.sum(axis=1, keepdims=True)
        weight = _weights(block, start, rows.shape[0])
        total += shared(rows, shares, kind, means, weight=weight)
    return total


def _weights(block: Block, start: int, size: int) -> Array | None:
    return None if block.weight is None else block.weight[start : start + size]


# ---------------------------------------------------------------- one step


def maximised(
    kind: CovarianceType, means: FloatArray, found: MixtureSums, reg_covar: float
) -> Mixture:
    """The components of greatest likelihood given the responsibilities; ``means`` are those before."""
    least = 10 * np.finfo(np.float64).eps * (found.weight / found.n_rows)
    counts = found.counts + least  # so that a component without rows can be divided by
    shift = found.gaps / counts[:, None]
    covariances = _covariances(kind, found, counts, shift) + _ridge(kind, shift.shape[1], reg_covar)
    if kind == "spherical":
        covariances = covariances.mean(axis=1)
    parts = Components(kind, counts / counts.sum(), means + shift, factors_of(kind, covariances))
    return Mixture(parts, covariances)


def _covariances(
    kind: CovarianceType, found: MixtureSums, counts: FloatArray, shift: FloatArray
) -> FloatArray:
    """About the new means, which lie by ``shift`` from those that the sums are about."""
    if kind == "full":
        outer = shift[:, :, None] * shift[:, None, :]
        return np.asarray(found.squares / counts[:, None, None] - outer)
    if kind == "tied":
        return np.asarray((found.squares - (counts[:, None] * shift).T @ shift) / counts.sum())
    return np.asarray(np.maximum(found.squares / counts[:, None] - shift**2, 0.0))


def _ridge(kind: CovarianceType, d: int, reg_covar: float) -> FloatArray:
    return reg_covar * (np.eye(d) if kind in ("full", "tied") else np.ones(d))


def factors_of(kind: CovarianceType, covariances: FloatArray) -> FloatArray:
    """Cholesky factors of precisions from covariances.

    Raises
    ------
    InvalidDataError
        If a covariance is not positive definite.
    """
    try:
        if kind == "tied":
            return _inverted(covariances)
        if kind == "full":
            return np.stack([_inverted(one) for one in covariances])
    except linalg.LinAlgError:
        raise InvalidDataError(_COLLAPSED) from None
    if not (covariances > 0).all():
        raise InvalidDataError(_COLLAPSED)
    return np.asarray(1.0 / np.sqrt(covariances))


_COLLAPSED = (
    "Fitting the mixture model failed because some components have ill-defined empirical covariance (for "
    "instance caused by singleton or collapsed samples). Try to decrease the number of components, increase "
    "reg_covar, or scale the input data."
)


def _inverted(covariance: FloatArray) -> FloatArray:
    lower = linalg.cholesky(covariance, lower=True)
    return np.asarray(linalg.solve_triangular(lower, np.eye(len(lower)), lower=True).T)


def factors_from_precisions(kind: CovarianceType, precisions: FloatArray) -> FloatArray:
    """Upper triangular ``L`` with ``precision = L L'``, as from covariances."""
    if kind == "full":
        return np.stack([_flipped(one) for one in precisions])
    return _flipped(precisions) if kind == "tied" else np.sqrt(precisions)


def _flipped(precision: FloatArray) -> FloatArray:
    return np.asarray(linalg.cholesky(precision[::-1, ::-1], lower=True)[::-1, ::-1])


def stepped(rule: Rule, run: Mixture, found: MixtureSums) -> Mixture:
    """The run after one EM iteration."""
    bound = found.log_likelihood / found.weight
    after = maximised(run.parts.kind, run.parts.means, found, rule.reg_covar)
    return replace(
        after,
        lower_bound=bound,
        lower_bounds=(*run.lower_bounds, bound),
        n_iter=run.n_iter + 1,
        converged=abs(bound - run.lower_bound) < rule.tol,
    )


# ---------------------------------------------------------------- the loop


def em(ground: Ground, starts: Sequence[Mixture], rule: Rule) -> Mixture:
    """The best of some runs, by the last lower bound: one pass an iteration for all of them."""
    runs = list(starts)
    passes = side_by_side(EXPECTATION)
    while any(_runs(rule, run) for run in runs):
        at = tuple(run.parts if _runs(rule, run) else None for run in runs)
        found = ground.executor.reduce(ground.data, passes, at, objective=_cost)
        runs = [
            run if one is None else stepped(rule, run, one)
            for run, one in zip(runs, found, strict=True)
        ]
    best = runs[0]
    for run in runs[1:]:  # rounding, which depends on the chunks, must not choose
        if run.lower_bound > best.lower_bound + 1e-9 * abs(best.lower_bound):
            best = run
    return best


def _runs(rule: Rule, run: Mixture) -> bool:
    return not run.converged and run.n_iter < rule.max_iter


def _cost(found: tuple[MixtureSums | None, ...]) -> float:
    """Negative mean log-likelihood of the best run."""
    return min(-one.log_likelihood / one.weight for one in found if one is not None)


__all__ = ["Mixture", "Rule", "em", "factors_from_precisions", "hard", "maximised", "soft"]
