"""Solvers that compute on pieces of the rows: ADMM, GIANT and CoCoA+, against Newton and each other."""

from __future__ import annotations

import pickle

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import make_classification

from daskml_kit import config_context
from daskml_kit.exceptions import ConvergenceWarning, InvalidParameterError
from daskml_kit.linear_model import (
    ElasticNet,
    GammaRegressor,
    Lasso,
    LogisticRegression,
    LogisticRegressionCV,
    PoissonRegressor,
    Ridge,
    TweedieRegressor,
    pieces,
)
from daskml_kit.linear_model.objective import Finish, LinearObjective
from daskml_kit.losses import Binomial
from daskml_kit.penalties import L2, BoundedL1
from daskml_kit.runtime.block import Block
from daskml_kit.solvers import GIANT, CoCoA
from daskml_kit.solvers.cocoa import Ascent, DualRound, first_key, next_key

X, CODES = make_classification(
    600, 5, n_informative=4, n_redundant=0, n_classes=3, flip_y=0.3, random_state=3
)
Y = (CODES == 1).astype(int)
WEIGHT = np.random.default_rng(0).uniform(0.0, 2.0, len(X))
SORTED = np.argsort(CODES, kind="stable")


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch):
    monkeypatch.setattr(pieces, "PIECE_ROWS", 120)  # five


def best(rows=X, y=Y, weight=None, **how):
    return LogisticRegression(solver="newton", tol=1e-9, **how).fit(rows, y, weight)


def least(model):
    return min(r["objective"] for r in model.history_ if r["objective"] is not None)


def converged(solver, rows=X, y=Y, weight=None, tol=1e-6, **how):
    return LogisticRegression(solver=solver, tol=tol, max_iter=3_000, **how).fit(rows, y, weight)


PAIRS = [
    ("admm", {}),
    ("admm", {"l1_ratio": 1.0, "C": 0.1}),
    ("admm", {"l1_ratio": 0.5, "C": 0.1, "coef_bounds": (-0.1, 0.3), "intercept_bounds": (0, 1)}),
    ("admm", {"C": np.inf, "fit_intercept": False}),
    ("giant", {}),
    ("giant", {"C": np.inf}),
    ("cocoa", {"C": 0.01}),
    ("cocoa", {"C": 0.02, "l1_ratio": 0.5, "fit_intercept": False}),
]


@pytest.mark.parametrize("order", ["shuffled", "sorted"])
@pytest.mark.parametrize(("solver", "how"), PAIRS, ids=str)
def test_every_pair_ends_where_newton_does(solver, how, order):
    """Also where the rows of a piece are all of one class; the objective to 1e-8, and mostly to 1e-12."""
    at = SORTED if order == "sorted" else slice(None)
    found = converged(solver, X[at], Y[at], WEIGHT[at], **how)
    expected = best(X[at], Y[at], WEIGHT[at], **how)
    assert least(found) == pytest.approx(least(expected), rel=1e-8)
    np.testing.assert_allclose(found.coef_, expected.coef_, atol=2e-4)
    np.testing.assert_allclose(found.intercept_, expected.intercept_, atol=2e-4)
    if how.get("l1_ratio") == 1.0:
        np.testing.assert_array_equal(found.coef_ == 0, expected.coef_ == 0)
    assert found.n_passes_ >= found.n_rounds_


def test_several_classes_sparse_rows_and_conjugate_gradients():
    """Sparse pieces form no Hessian: their own problems are solved by products with it."""
    thin = np.where(np.abs(X) > 0.7, X, 0.0)
    expected = best(thin, CODES)
    for solver in ("admm", "giant"):
        for rows in (thin, sparse.csr_array(thin)):
            found = converged(solver, rows, CODES)
            np.testing.assert_allclose(found.coef_, expected.coef_, atol=3e-4)
    two, strong = best(thin, C=0.01), converged("cocoa", sparse.csr_array(thin), C=0.01)
    np.testing.assert_allclose(strong.coef_, two.coef_, atol=1e-5)


@settings(max_examples=2, deadline=None)
@given(chunk=st.integers(40, 600))
@pytest.mark.parametrize(
    ("solver", "C"), [("admm", 1.0), ("giant", 1.0), ("cocoa", 0.01)], ids=lambda x: str(x)
)
def test_chunks_change_nothing_however_early_it_ends(solver, C, chunk):
    how = {"solver": solver, "C": C, "tol": 2e-3}
    whole = LogisticRegression(**how).fit(X, Y, WEIGHT)
    lazy = [da.from_array(a, chunks=(chunk, *a.shape[1:])) for a in (X, Y, WEIGHT)]
    found = LogisticRegression(**how).fit(*lazy)
    np.testing.assert_allclose(found.coef_, whole.coef_, rtol=1e-9)
    np.testing.assert_array_equal(found.n_iter_, whole.n_iter_)
    assert (found.n_rounds_, found.n_passes_) == (whole.n_rounds_, whole.n_passes_)


@pytest.mark.parametrize(
    ("solver", "C", "kernels"),
    [
        ("admm", 1.0, ["binomial-gradient"] * 2 + ["binomial-own-models"]),
        ("giant", 1.0, ["binomial-gradient", "binomial-own-directions", "binomial-gradient"]),
        ("cocoa", 0.01, ["binomial-dual-ascent"]),
    ],
)
def test_rounds_and_passes_are_counted(solver, C, kernels):
    found = converged(solver, C=C)
    assert [r["name"] for r in found.history_[1:]][: len(kernels)] == kernels
    assert found.n_rounds_ == len(found.history_)
    if solver == "giant":  # alike pieces: two rounds an iteration, no trial refused, then a start
        assert found.n_rounds_ == 2 + 2 * found.n_iter_[0]
        assert found.n_passes_ == found.n_rounds_ <= 20  # a piece's Hessian is one read
    if solver == "cocoa":  # a value and two visits of each row
        assert found.n_passes_ == 1 + 3 * (found.n_rounds_ - 1)


def test_pieces_that_share_no_feature_fall_back_to_the_whole_hessian():
    """Rows sorted by a category: in each piece only one of its columns is not zero."""
    kind = np.sort(np.arange(600) % 8)
    rows = np.c_[np.eye(8)[kind], X[:, :2]]
    for how in ({"C": 10.0}, {"C": np.inf, "fit_intercept": False}):
        found = converged("giant", rows, **how)
        assert least(found) == pytest.approx(least(best(rows, **how)), rel=1e-8)
        assert "binomial-own-directions" in {r["name"] for r in found.history_}


def test_the_gap_bounds_the_distance_from_the_minimum():
    """At every round, with and without an intercept, and weighted."""
    for fit_intercept in (False, True):
        how = {"C": 0.01, "fit_intercept": fit_intercept}
        optimum = least(best(X, Y, WEIGHT, **how))
        states = rounds_of_cocoa(fit_intercept, 60)
        for state in states:
            assert state.value - optimum <= state.gap + 1e-12
        assert states[-1].gap < 1e-3 * states[0].gap
        assert [s.gradient.shape for s in states[:1]] == [(5 + fit_intercept,)]


def rounds_of_cocoa(fit_intercept, n, spoil=None):
    """States after each round, in this process; ``spoil(i, data)`` may take scratch away before round i."""
    from daskml_kit.base import BlockEstimator

    model, out = BlockEstimator(), []
    with model._opened(
        X, Y, WEIGHT, target="classes", edges=lambda facts: pieces.edges_of(facts, 6)
    ) as (data, executor):
        width = 5 + fit_intercept
        ridge = np.full(width, 1.0 / (0.01 * WEIGHT.sum()))
        ridge[5:] = 0.0
        objective = LinearObjective(
            data, executor, Binomial(), fit_intercept, Finish(WEIGHT.sum(), L2(ridge))
        )
        objective, solver = pieces.in_pieces(
            "cocoa", objective, pieces.edges_of(data.facts, 6), None
        )
        state = solver.init(np.zeros(width))
        while len(out) < n:
            if spoil is not None:
                spoil(len(out), data)
            state = objective.advance(solver, state, 1)[0]
            if not state.replay:
                out.append(state)
    return out


def test_dual_variables_that_are_lost_are_found_again():
    """However many pieces lose theirs: one more round, and the same numbers bit by bit."""
    asked = []

    def spoil(i, data):
        asked.append(i)
        if i in (3, 7) and asked.count(i) == 1:
            for bundle in data.bundles[: 1 if i == 3 else None]:
                for block in bundle.handle:
                    block.scratch.clear()

    kept, lost = rounds_of_cocoa(True, 10), rounds_of_cocoa(True, 10, spoil)
    assert len(asked) == 12  # ten rounds, two of them asked twice
    for one, other in zip(kept, lost, strict=True):
        np.testing.assert_array_equal(one.trial, other.trial)
        assert one.gap == other.gap


def test_a_repeated_round_gives_the_same_part():
    block = Block(X, Y, WEIGHT)
    finish = Finish(WEIGHT.sum(), L2(np.full(5, 0.1)))
    how, w = Ascent(np.full(5, 0.1), 1, None), np.zeros(5)
    piece = pieces.LinearPiece(block, Y, Binomial(), False, finish, 0)
    ask = DualRound(first_key(how), 0, how)
    first, again = ask(piece, w), ask(piece, w)
    np.testing.assert_array_equal(first.values[2], again.values[2])
    later = DualRound(next_key(first_key(how), w), 1, how)
    assert later(piece, w + 1).values[0] == 0
    stranger = DualRound("of another fit", 0, how)
    assert stranger(piece, w).values[0] == 1


def test_warm_starts():
    for solver, C in (("admm", 1.0), ("giant", 1.0), ("cocoa", 0.01)):
        model = LogisticRegression(
            solver=solver, C=C, tol=1e-6, max_iter=3_000, warm_start=True
        ).fit(X, Y)
        cold = model.n_rounds_
        model.coef_ *= 1.001
        model.fit(X, Y)
        assert model.n_rounds_ < cold
        np.testing.assert_allclose(model.coef_, best(C=C).coef_, atol=1e-4)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"solver": "giant", "l1_ratio": 0.5}, "solver='giant' needs .* gradient everywhere"),
        ({"solver": "cocoa", "l1_ratio": 1.0}, "solver='cocoa' can't .* a penalty without L2"),
        ({"solver": "cocoa", "C": np.inf}, "solver='cocoa' can't .* a penalty without L2"),
        ({"solver": "cocoa", "coef_bounds": (0, 1)}, "solver='cocoa' can't .* bounds"),
        ({"solver": "cocoa", "several": True}, "solver='cocoa' can't .* Multinomial loss"),
    ],
)
def test_impossible_pairs_are_refused_by_name(how, words):
    several = how.pop("several", False)
    with pytest.raises(InvalidParameterError, match=words):
        LogisticRegression(**how).fit(X, CODES if several else Y)
    for solver in ("giant", "admm"):
        with pytest.raises(
            InvalidParameterError, match=r"cross-validation by folds .*'columns'\]\."
        ):
            LogisticRegressionCV(solver=solver).fit(X, Y)
    with pytest.raises(InvalidParameterError, match=r"one of \['auto', .*'columns'\], got 'lbgfs'"):
        LogisticRegressionCV(solver="lbgfs").fit(X, Y)


AMOUNTS = np.exp(0.3 * X[:, 0] + 0.1 * X[:, 1]) * np.random.default_rng(1).gamma(2.0, 0.5, 600)
REGRESSORS = [
    (Ridge(alpha=300.0, tol=1e-6, max_iter=2_000), ("admm", "giant", "cocoa")),
    (Ridge(alpha=5.0, tol=1e-7, positive=True, max_iter=2_000), ("admm",)),
    (Lasso(alpha=0.05, tol=1e-7, max_iter=2_000), ("admm",)),
    (ElasticNet(alpha=0.5, tol=1e-8, max_iter=2_000), ("admm", "cocoa")),
    (PoissonRegressor(alpha=0.1, tol=1e-8, max_iter=2_000), ("admm", "giant")),
    (GammaRegressor(alpha=0.1, tol=1e-8, max_iter=2_000), ("giant",)),
    (TweedieRegressor(alpha=0.5, tol=1e-6, max_iter=2_000), ("cocoa",)),
]


@pytest.mark.parametrize(("model", "solvers"), REGRESSORS, ids=lambda x: str(x)[:40])
def test_regressors(model, solvers):
    """The same minimum as by moments or Newton; rows sorted by target."""
    at = np.argsort(AMOUNTS)
    auto = clone(model).fit(X[at], AMOUNTS[at], WEIGHT[at])
    for solver in solvers:
        found = clone(model).set_params(solver=solver).fit(X[at], AMOUNTS[at], WEIGHT[at])
        np.testing.assert_allclose(found.coef_, auto.coef_, atol=2e-5)
        assert found.intercept_ == pytest.approx(auto.intercept_, abs=2e-5)
        np.testing.assert_array_equal(found.coef_ == 0, auto.coef_ == 0)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (PoissonRegressor(solver="cocoa"), "solver='cocoa' can't .* Poisson loss"),
        (Lasso(solver="cocoa"), "solver='cocoa' can't .* a penalty without L2"),
        (Lasso(solver="giant"), "solver='giant' needs .* gradient everywhere"),
        (Ridge(solver="giant", positive=True), "solver='giant' needs .* gradient everywhere"),
        (Ridge(solver="sgd"), r"solver must be one of \['auto', .*'cocoa'.*\], got 'sgd'"),
    ],
    ids=str,
)
def test_regressors_refuse_by_name_too(model, words):
    with pytest.raises(InvalidParameterError, match=words):
        model.fit(X, AMOUNTS)


def test_pieces_follow_from_the_shape_alone(monkeypatch):
    from daskml_kit.runtime.ingest import DataFacts

    def facts(n_rows, nbytes):
        return DataFacts(n_rows, 5, nbytes, np.dtype(float), False, 1.0, 0, None, None, ())

    monkeypatch.setattr(pieces, "PIECE_ROWS", 1_000)
    assert pieces.edges_of(facts(10, 400), 5) == [0, 10]
    assert pieces.edges_of(facts(200_000, 1 << 20), 50) == list(range(0, 200_001, 12_500))
    assert len(pieces.edges_of(facts(200_000, 1 << 20), 5_000)) == 5  # 50,000 rows a piece
    assert len(pieces.edges_of(facts(200_000, 1 << 33), 50)) == 33  # 256 MB a piece


def test_too_few_steps_warn_and_questions_travel():
    with pytest.warns(ConvergenceWarning, match="max_iter=2 steps"):
        LogisticRegression(solver="admm", max_iter=2, tol=1e-9).fit(X, Y)
    penalty = BoundedL1(np.zeros(6), np.full(6, -np.inf), np.full(6, np.inf))
    for solver in (GIANT(), CoCoA(4, np.full(6, 0.1), penalty)):
        state = pickle.loads(pickle.dumps(solver.init(np.zeros(6))))
        assert pickle.loads(pickle.dumps(solver.question(state))).w.shape == (6,)


def test_on_a_cluster(client):
    """One vector a piece a round, on both executors, and nothing is left behind."""
    lazy = [da.from_array(a, chunks=(70, *a.shape[1:])) for a in (X, Y)]
    for lane, solver, C in (
        ("actor", "admm", 1.0), ("graph", "giant", 1.0), ("actor", "cocoa", 0.01)
    ):  # fmt: skip
        model = LogisticRegression(solver=solver, C=C, tol=2e-3)
        here = clone(model).fit(X, Y)
        with config_context(executor=lane):
            there = clone(model).fit(*lazy)
        np.testing.assert_allclose(there.coef_, here.coef_, rtol=1e-9)
        assert there.n_passes_ == here.n_passes_
    assert not client.futures
