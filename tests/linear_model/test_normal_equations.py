"""Ridge from Gram matrices: any rank, scale and penalty, beside singular value decompositions of the data."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import linalg
from sklearn.model_selection import KFold

from daskml_kit.linear_model import LinearRegression, Ridge, RidgeCV
from daskml_kit.linear_model.normal_equations import NormalEquations, spectrum

rng = np.random.default_rng(7)
FULL = rng.normal(size=(60, 5)) + 3.0
SHORT = np.c_[FULL, FULL[:, :3], FULL[:, 0] - FULL[:, 4], np.ones(60)]
WIDE = rng.normal(size=(30, 80))
SCALED = FULL * 2.0 ** np.array([0, -12, 14, 3, -9])
DATA = {"full": FULL, "short": SHORT, "wide": WIDE, "scaled": SCALED}
ALPHAS = [1e-15, 1e-12, 1e-10, 1e-8, 1e-6, 1e-3, 1.0, 1e3]


def by_singular_values(X, y, alpha):
    """Directions of rounding get no component: what is meant where columns depend on each other."""
    centred = X - X.mean(axis=0)
    left, sizes, right = linalg.svd(centred, full_matrices=False)
    kept = sizes > 1e-12 * sizes[0]
    inner = sizes[kept] / (sizes[kept] ** 2 + alpha) * (left[:, kept].T @ (y - y.mean()))
    return right[kept].T @ inner


@pytest.mark.parametrize("name", DATA)
def test_ridge_of_any_penalty(name):
    """1e-6 of room for penalties that are told from rounding by six digits only."""
    X = DATA[name]
    y = X @ (1.0 / np.abs(X).max(axis=0)) + rng.normal(size=len(X))
    ours = [Ridge(alpha).fit(X, y).coef_ for alpha in ALPHAS]
    size = np.abs(X).max(axis=0)
    for alpha, coef in zip(ALPHAS, ours, strict=True):
        expected = by_singular_values(X, y, alpha)
        room = 1e-6 if name in ("short", "wide") else 1e-9
        np.testing.assert_allclose(
            coef * size, expected * size, atol=room * np.abs(expected * size).max()
        )
    own = RidgeCV(ALPHAS, cv=2, scoring="neg_mean_squared_error").fit(X, y)
    errors = np.zeros(len(ALPHAS))
    for train, test in KFold(2).split(X):
        for a, alpha in enumerate(ALPHAS):
            coef = by_singular_values(X[train], y[train], alpha)
            guess = y[train].mean() + (X[test] - X[train].mean(axis=0)) @ coef
            errors[a] += np.mean((y[test] - guess) ** 2) / 2
    assert -own.best_score_ == pytest.approx(errors.min(), rel=1e-6)


@pytest.mark.parametrize("alpha", [0.0, 1e-15])
def test_least_norm_of_columns_of_any_scale(alpha):
    """Beside exact duplicates, so that rounding has no say in what the rank is."""
    X = np.c_[SCALED, SCALED[:, :2]]
    y = rng.normal(size=len(X)) + FULL[:, 0]
    coef = Ridge(alpha).fit(X, y).coef_
    alone = LinearRegression().fit(SCALED, y).coef_
    np.testing.assert_allclose(coef[2:5], alone[2:], rtol=1e-7)
    np.testing.assert_allclose(coef[:2], alone[:2] / 2, rtol=1e-7)
    np.testing.assert_allclose(coef[5:], alone[:2] / 2, rtol=1e-7)


def test_a_spectrum_is_exact_to_each_columns_scale():
    """Of uncorrelated columns of scales 2^60 apart the eigenvalues are their squares."""
    q = linalg.qr(rng.normal(size=(40, 4)), mode="economic")[0]
    scale = 2.0 ** np.array([-30, 0, 30, -12])
    own = spectrum((q * scale).T @ (q * scale))
    np.testing.assert_allclose(own.values, np.sort(scale**2), rtol=1e-12)
    assert own.rank == 4


def test_nothing_to_solve():
    solver = NormalEquations(np.zeros((3, 3)), np.array([0.0, 2.0]))
    assert solver.rank == 0
    np.testing.assert_array_equal(solver.solve(np.array([[0.0, 2.0]] * 3)), [[0.0, 1.0]] * 3)
    assert spectrum(np.diag([1e8, 0.0, 1.0])).rank == 2
