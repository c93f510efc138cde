"""Fits by columns against scikit-learn, whatever the chunks, the kind of matrix and the executor."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import sparse
from scipy.special import softmax
from sklearn import linear_model as reference
from sklearn.base import clone

import daskml_kit
from daskml_kit.exceptions import ConvergenceWarning, InvalidDataError, InvalidParameterError
from daskml_kit.linear_model import (
    ElasticNet,
    Lasso,
    LogisticRegression,
    Ridge,
    by_columns,
    column_blocks,
    column_problem,
    column_rounds,
    column_sets,
)
from daskml_kit.losses import Binomial, HalfSquared
from daskml_kit.runtime import columns, ingest, opening
from daskml_kit.runtime.block import Block
from daskml_kit.runtime.events import FitLog, Unheard
from daskml_kit.runtime.local import LocalExecutor

rng = np.random.default_rng(5)
N, D = 60, 150
FACTORS = rng.normal(size=(N, 4))
X = rng.normal(size=(N, D)) + 0.5 * FACTORS @ rng.normal(size=(4, D)) + 1.0
X *= rng.random((N, D)) < 0.7
Y = X[:, :6] @ rng.normal(size=(6, 2)) + 0.3 * rng.normal(size=(N, 2))
LABELS = np.where(Y[:, 0] > np.median(Y[:, 0]), "yes", "no")
THREE = np.array(["never", "no", "yes"])[
    np.digitize(Y[:, 0] + 3.0 * rng.normal(size=N), np.quantile(Y[:, 0], [0.3, 0.7]))
]
WEIGHT = rng.uniform(0.2, 2.0, N)
WEIGHT[:5] = 0.0
TIGHT = {"tol": 1e-13, "solver": "columns"}
EXACT = {"tol": 1e-15, "max_iter": 500_000}

FORMS = {
    "dense": np.asarray,
    "csr": sparse.csr_array,
    "chunks": lambda a: da.from_array(a, chunks=(25, 40)),
    "rows": lambda a: da.from_array(a, chunks=(25, -1)),
    "sparse chunks": lambda a: da.from_array(a, chunks=(25, 40)).map_blocks(sparse.csr_array),
}


def same(ours, theirs, rtol=1e-6):
    """Coefficients to 1e-6 of the largest: a gap of 1e-13 leaves its root, scaled by the curvature."""
    scale = np.abs(theirs.coef_).max()
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=rtol * scale)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, atol=10 * rtol * scale)
    assert np.shape(ours.coef_) == np.shape(theirs.coef_)
    assert np.shape(ours.intercept_) == np.shape(theirs.intercept_)


@pytest.mark.parametrize("form", FORMS)
def test_least_squares_is_scikit_learns(form):
    given = FORMS[form](X)
    for weight, how in [
        (None, {}),
        (WEIGHT, {"fit_intercept": False}),
        (WEIGHT, {"positive": True}),
    ]:
        ours = Lasso(0.05, **how, **TIGHT).fit(given, Y[:, 0], weight)
        same(ours, reference.Lasso(0.05, **how, **EXACT).fit(X, Y[:, 0], weight))
        ours = ElasticNet(0.1, **how, **TIGHT).fit(given, Y[:, 0], weight)
        same(ours, reference.ElasticNet(0.1, **how, **EXACT).fit(X, Y[:, 0], weight))
    ours = Ridge([1.0, 5.0], tol=1e-12, solver="columns").fit(given, Y, WEIGHT)
    same(ours, reference.Ridge([1.0, 5.0]).fit(X, Y, WEIGHT))


@pytest.mark.parametrize("positive", [False, True])
def test_one_large_column_does_not_end_ridge(positive):
    """A gradient measured by its largest component at zero would be small from the first step on."""
    large = X.copy()
    large[:, 12] *= 1e3
    ours = Ridge(1.0, solver="columns", positive=positive).fit(FORMS["chunks"](large), Y[:, 0])
    exact = Ridge(1.0, positive=positive).fit(large, Y[:, 0])
    off = ours.predict(large) - exact.predict(large)
    assert np.sqrt(np.mean(off**2)) <= 1e-4 * Y[:, 0].std()


def test_positive_ridge_by_block_descent():
    ours = Ridge(3.0, tol=1e-10, positive=True, solver="columns").fit(FORMS["chunks"](X), Y[:, 0])
    theirs = reference.Ridge(3.0, tol=1e-14, max_iter=100_000, positive=True).fit(X, Y[:, 0])
    same(ours, theirs, rtol=1e-5)  # as far as scikit-learn's L-BFGS comes


def slope_of(model, X, y, weight):
    """Largest component of the smallest subgradient of scikit-learn's objective over ``C sum(weight)``."""
    scores = X @ model.coef_.T + model.intercept_
    scores = np.column_stack([0 * scores, scores]) if len(model.classes_) == 2 else scores
    off = softmax(scores, axis=1) - (y[:, None] == model.classes_)
    pull = -((weight[:, None] * off).T @ X)[-len(model.coef_) :]
    l1, l2 = model.l1_ratio / model.C, (1.0 - model.l1_ratio) / model.C
    rest = pull - l2 * model.coef_
    kinked = np.where(
        model.coef_ == 0, np.maximum(np.abs(rest) - l1, 0.0), rest - l1 * np.sign(model.coef_)
    )
    free = weight @ off if model.fit_intercept else 0.0
    return max(np.abs(kinked).max(), np.abs(free).max()) / weight.sum()


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("l1_ratio", [0.0, 0.5, 1.0])
def test_logistic_regression_is_the_row_lanes(classes, l1_ratio):
    y = LABELS if classes == 2 else THREE
    shares = dict(zip(np.unique(y), (1.0, 2.0, 1.5), strict=False))
    how = {"C": 0.3, "l1_ratio": l1_ratio, "class_weight": shares, "tol": 1e-11}
    how["fit_intercept"] = l1_ratio != 0.5
    for form in ("dense", "sparse chunks"):
        ours = LogisticRegression(**how, solver="columns").fit(FORMS[form](X), y, WEIGHT)
        assert slope_of(ours, X, y, WEIGHT * [shares[label] for label in y]) < 1e-11
        assert 0 <= ours.dual_gap_ < 1e-10
        assert list(ours.classes_) == sorted(shares)
    if l1_ratio != 0.5:  # by rows that is a matter of seconds
        rows = LogisticRegression(**how, solver="newton", max_iter=500).fit(X, y, WEIGHT)
        same(ours, rows, rtol=1e-8)
        np.testing.assert_array_equal(ours.coef_ == 0, rows.coef_ == 0)


@settings(max_examples=8, deadline=None)
@given(
    rows=st.integers(7, N),
    width=st.integers(11, D),
    model=st.sampled_from(["l1", "l2", "log", "classes"]),
)
def test_chunks_do_not_matter(rows, width, model):
    make = {
        "l1": lambda: Lasso(0.05, **TIGHT),
        "l2": lambda: Ridge(1.0, tol=1e-12, solver="columns"),
        "log": lambda: LogisticRegression(C=1.0, tol=1e-12, solver="columns"),
        "classes": lambda: LogisticRegression(C=1.0, l1_ratio=0.5, tol=1e-12, solver="columns"),
    }[model]
    y = {"log": LABELS, "classes": THREE}.get(model, Y[:, 0])
    cut, whole = make().fit(da.from_array(X, chunks=(rows, width)), y), make().fit(X, y)
    scale = np.abs(whole.coef_).max()
    np.testing.assert_allclose(cut.coef_, whole.coef_, rtol=1e-9, atol=1e-9 * scale)


def test_a_lasso_takes_a_dozen_rounds_and_says_what_they_were():
    ours = Lasso(0.05, **TIGHT).fit(FORMS["chunks"](X), Y[:, 0])
    names = [r["name"] for r in ours.history_]
    assert names[0] == "load"
    assert set(names[1:]) == {"halfsquared-columns", "columns-working-set"}
    assert ours.n_rounds_ == len(names) == ours.n_passes_ <= 16
    assert ours.n_iter_ == names.count("halfsquared-columns")
    assert 0 <= ours.dual_gap_ <= 1e-13 * ((Y[:, 0] - Y[:, 0].mean()) ** 2).mean()


def test_warm_start_begins_with_the_columns():
    model = Lasso(0.05, warm_start=True, **TIGHT).fit(FORMS["chunks"](X), Y[:, 0])
    first, rounds = model.coef_.copy(), model.n_rounds_
    model.fit(FORMS["chunks"](X), Y[:, 0])
    assert model.n_iter_ == 1 < rounds
    np.testing.assert_allclose(model.coef_, first, atol=1e-8)
    with pytest.raises(
        InvalidParameterError, match=r"coefficients \(1, 150\), data ask for \(2, 150\)"
    ):
        model.fit(X, Y)
    model = LogisticRegression(C=1.0, l1_ratio=1.0, tol=1e-9, solver="columns", warm_start=True)
    for labels in (LABELS, THREE):
        assert clone(model).fit(X, labels).fit(FORMS["chunks"](X), labels).n_iter_ == [1]
    with pytest.raises(InvalidParameterError, match="warm_start=True needs data of the last"):
        model.fit(X, LABELS).fit(X[:, 1:], LABELS)
    with pytest.raises(InvalidParameterError, match=r"data ask for \(3, 150\)"):
        model.fit(X, THREE)


def test_several_classes_take_rounds_of_all_classes(monkeypatch):
    """Rounds of one, two classes or twenty are the same: what travels has a column a class."""
    model = LogisticRegression(C=0.3, l1_ratio=1.0, tol=1e-9, solver="columns")
    ours = model.fit(FORMS["chunks"](X), THREE)
    names = [r["name"] for r in ours.history_]
    assert names[0] == "load"
    assert set(names[1:]) == {"classes-columns", "columns-working-set"}
    assert ours.n_iter_ == [names.count("classes-columns")]
    assert ours.n_rounds_ == len(names) == ours.n_passes_ <= 10
    # Sets that no worker should hold: columns take turns.
    monkeypatch.setattr(column_sets, "MOST_BYTES", 30 * 8 * N)
    turns = model.fit(FORMS["chunks"](X), THREE)
    assert turns.n_rounds_ > len(names)
    same(turns, ours, rtol=1e-7)
    ridge = LogisticRegression(C=0.3, tol=1e-4, solver="columns").fit(FORMS["chunks"](X), THREE)
    names = [r["name"] for r in ridge.history_]
    assert set(names) == {"load", "columns-product", "columns-coefficients"}
    assert len(names) < 60


@pytest.mark.parametrize("solver", ["columns", "rows"])
def test_a_warm_start_may_not_break_positive(solver):
    how = {"tol": 1e-10, "solver": solver, "max_iter": 50_000}
    model = Lasso(0.05, warm_start=True, **how).fit(X, Y[:, 0])
    assert model.coef_.min() < 0
    for loose in (0.1, 1.0, 10.0):  # met where the fit begins, or nearly
        loosely = clone(model).set_params(positive=True, tol=loose)
        loosely.coef_ = model.coef_
        assert loosely.fit(X, Y[:, 0]).coef_.min() >= 0
    model.positive = True
    model.fit(X, Y[:, 0])
    same(model, Lasso(0.05, positive=True, **how).fit(X, Y[:, 0]), rtol=1e-4)


@pytest.mark.parametrize("max_iter", [1, 2, 7])
def test_rounds_of_ridge_are_bounded(max_iter):
    model = Ridge(1e-6, tol=1e-14, max_iter=max_iter, solver="columns")
    with pytest.warns(ConvergenceWarning, match=f"max_iter={max_iter}:"):
        model.fit(X, Y[:, 0])
    assert model.n_iter_ == [max_iter]
    assert model.n_rounds_ == max_iter + 2  # and the load, and the coefficients
    residual = Y[:, 0] - model.predict(X)
    assert residual @ residual < ((Y[:, 0] - Y[:, 0].mean()) ** 2).sum()


def test_block_descent_gives_the_best_point_up_to_its_tolerance():
    data = column_sets._alone(Block(X.T))
    problem = column_problem.Problem(HalfSquared(), Y[:, 0], None, float(N), (0.1, 0.0), True)
    solve = column_blocks.Solve(data, LocalExecutor(Unheard("test")), problem, 0, 0)
    best, zero = np.zeros(D), np.zeros(D)
    best[:6] = np.linalg.lstsq(X[:, :6], Y[:, 0])[0]
    point, last = (solve.at(w, X @ w, 0.0) for w in (best, zero))
    worse = last.value - point.value
    assert worse > 0
    solve.past = [column_blocks._Past(0, last.w, last.v, last.w, last.v)]
    found = solve._found(point, 2 * worse, None, False)
    assert (found.gap, found.converged) == (2 * worse, False)
    np.testing.assert_array_equal(found.coef, best)
    np.testing.assert_array_equal(solve._found(point, worse, 1.9 * worse, True).coef, best)
    found = solve._found(point, worse, 2.1 * worse, True)
    assert found.gap == pytest.approx(2 * worse)
    np.testing.assert_array_equal(found.coef, zero)


def test_a_lasso_reads_fewer_columns_from_round_to_round(monkeypatch):
    kept, ask = [], column_blocks.Solve.ask

    def counted(self, point, **how):
        answer = ask(self, point, **how)
        if how.get("wanted"):
            kept.append(answer.kept)
        return answer

    monkeypatch.setattr(column_blocks.Solve, "ask", counted)
    monkeypatch.setattr(column_sets, "FIRST", 10)
    ours = Lasso(0.2, **TIGHT).fit(FORMS["chunks"](X), Y[:, 0])
    same(ours, reference.Lasso(0.2, **EXACT).fit(X, Y[:, 0]))
    assert kept[0] == D
    assert len(kept) > 2
    assert all(a >= b for a, b in pairwise(kept))
    assert np.count_nonzero(ours.coef_) <= kept[-1] < D / 2


def test_a_block_keeps_what_the_present_solve_needs_and_answers_once():
    block = Block(X.T)
    none = column_problem.Problem(HalfSquared(), Y[:, 0], None, float(N), (0.1, 0.0), True)
    _, _, gradient = none.centred(np.zeros(N), 0.0)

    def ask(solve):
        return column_rounds.Ask(
            solve, 0, (), 0, (), gradient, none.bound, none.bound, none.strengths, False, True, 1.0,
            None, 2, 0.0,
        )  # fmt: skip

    for solve in range(3):
        column_rounds._chunk(block, ask(solve))
    assert list(block.scratch[column_rounds.SCRATCH]) == [2]
    with ThreadPoolExecutor(4) as pool:  # a round, and its repeats beside it
        answers = list(pool.map(lambda _: column_rounds._chunk(block, ask(3)), range(8)))
    assert all(answer is answers[0] for answer in answers)


def test_what_runs_inside_of_a_task_is_no_fit():
    with daskml_kit.record() as run:
        ours = Lasso(0.05, **TIGHT).fit(FORMS["chunks"](X), Y[:, 0])
    assert len(run.fits) == 1
    assert len(run.rounds) == ours.n_rounds_


def test_float32_is_kept_and_predictions_are_sums():
    data = da.from_array(X.astype(np.float32), chunks=(25, 40))
    model = Lasso(0.05, tol=1e-10, solver="columns").fit(data, Y[:, 0])
    assert model.coef_.dtype == np.float32
    predicted = model.predict(data)
    shares = [k for k in predicted.__dask_graph__() if isinstance(k, tuple)]
    assert not any("rechunk" in str(k[0]) for k in shares)
    np.testing.assert_allclose(predicted.compute(), model.predict(X.astype(np.float32)), rtol=1e-4)
    labels = LogisticRegression(C=1.0, solver="columns").fit(data, LABELS)
    np.testing.assert_array_equal(labels.predict(data).compute(), labels.predict(X))
    np.testing.assert_allclose(
        labels.predict_proba(data).compute(), labels.predict_proba(X), atol=1e-5
    )
    for lazy in (predicted, labels.decision_function(data), labels.predict_proba(data)):
        assert lazy.compute().dtype == lazy.dtype == np.float32


def test_auto_goes_by_columns_where_data_are_cut_so_and_wide(monkeypatch):
    monkeypatch.setattr(by_columns, "COLUMN_FEATURES", 100)
    wide, tall = FORMS["chunks"](X), FORMS["chunks"](X.T)
    assert by_columns.goes_by_columns("auto", wide)
    assert not by_columns.goes_by_columns("auto", tall)
    assert not by_columns.goes_by_columns("auto", FORMS["rows"](X))
    assert by_columns.goes_by_columns("auto", X)
    assert not by_columns.goes_by_columns("auto", X, in_memory=False)
    assert not by_columns.goes_by_columns("rows", wide)
    names = {r["name"] for r in Lasso(0.1).fit(wide, Y[:, 0]).history_}
    assert "columns-working-set" in names
    several = LogisticRegression(tol=0.1)
    for data, y, how, by_column in [
        (wide, LABELS, {}, True),
        (wide, THREE, {}, True),
        (X, LABELS, {}, False),  # few columns a row, in memory
        (X, THREE, {"l1_ratio": 1.0}, True),
        (X[:12], THREE[:12], {"l1_ratio": 0.0}, True),
        (sparse.csr_array(X[:12]), THREE[:12], {}, False),
        (wide, THREE, {"coef_bounds": (-1, 1)}, False),
    ]:
        several.set_params(**how).fit(data, y)
        assert hasattr(several, "dual_gap_") is by_column


def test_lists_are_data():
    rows = X[:, :3].tolist()
    for model in (Ridge(solver="columns"), Lasso(0.1, warm_start=True, **TIGHT)):
        ours, theirs = clone(model).fit(rows, Y[:, 0].tolist()), model.fit(X[:, :3], Y[:, 0])
        np.testing.assert_array_equal(ours.coef_, theirs.coef_)
        ours.fit(rows, Y[:, 0].tolist())
    binary = LogisticRegression(l1_ratio=1.0, warm_start=True, solver="columns")
    assert binary.fit(rows, LABELS.tolist()).fit(rows, LABELS.tolist()).coef_.shape == (1, 3)


def test_what_cannot_be_meant_is_refused(monkeypatch):
    with pytest.raises(InvalidParameterError, match="needs a penalty"):
        Ridge(0.0, solver="columns").fit(X, Y[:, 0])
    for classes in (2, 3):
        with pytest.raises(InvalidParameterError, match="needs a penalty"):
            LogisticRegression(C=np.inf, solver="columns").fit(X, np.arange(N) % classes)
    with pytest.raises(InvalidParameterError, match="takes no bounds"):
        LogisticRegression(solver="columns", coef_bounds=(0, 1)).fit(X, LABELS)
    with pytest.raises(
        InvalidParameterError, match=r"one of \['auto', 'rows', 'columns'.*, got 'x'"
    ):
        Ridge(solver="x").fit(X, Y)
    with daskml_kit.record() as run, pytest.raises(InvalidParameterError, match="needs a penalty"):
        Ridge([1.0, 0.0], solver="columns").fit(X, Y)
    assert [r.name for r in run.rounds] == ["load"]
    lasso = Lasso(0.1, solver="columns", warm_start=True).fit(X, Y[:, 0])
    narrow = da.from_array(X, chunks=(25, 40))
    narrow = narrow[:, narrow[0] > 0]
    for model in (Ridge(solver="columns"), lasso):
        for bad, message in [
            ([1.0, 2.0], r"Expected 2D array, got 1D array instead: X has shape \(2,\)"),
            ([[1.0, 2.0], [1.0]], "inhomogeneous shape.*rows of equal lengths"),
            ([["a"], ["b"]], "numbers are needed"),
            (narrow, "number of columns of X is unknown"),
            (da.zeros((N, 0)), r"0 feature\(s\) \(shape=\(60, 0\)\) .* required by (Ridge|Lasso)"),
            (X[:0], r"0 sample\(s\) \(shape=\(0, 150\)\)"),
        ]:
            with pytest.raises((InvalidDataError, InvalidParameterError), match=message):
                model.fit(bad, Y[:, 0])
    unknown = da.from_array(X, chunks=(25, 40))
    unknown = unknown[unknown[:, 0] > -10]
    with pytest.raises(InvalidDataError, match="number of rows of X, which is unknown"):
        Lasso(solver="columns").fit(unknown, Y[:, 0])
    with pytest.raises(InvalidDataError, match="contains NaN"):
        Lasso(solver="columns").fit(da.from_array(np.where(X > 2, np.nan, X), chunks=(25, 40)), Y)
    with pytest.raises(InvalidDataError, match="inconsistent numbers of samples"):
        Lasso(solver="columns").fit(X, Y[1:, 0])
    monkeypatch.setattr(columns, "MOST_ROWS_BY_COLUMNS", 50)
    with pytest.raises(InvalidDataError, match="for at most 50 rows, got 60"):
        Lasso(solver="columns").fit(X, Y[:, 0])
    monkeypatch.undo()
    with pytest.warns(ConvergenceWarning, match="max_iter=1"):
        Lasso(0.01, solver="columns", max_iter=1).fit(X, Y[:, 0])


def test_a_working_set_larger_than_a_block_leaves_the_work_to_the_blocks(monkeypatch):
    calm = Lasso(0.05, **TIGHT).fit(X, Y[:, 0])
    monkeypatch.setattr(column_sets, "MOST_BYTES", 20 * 8 * N)
    monkeypatch.setattr(opening, "JOIN_BYTES", 0)  # or such small blocks would become one
    ours = Lasso(0.05, **TIGHT).fit(FORMS["chunks"](X), Y[:, 0])
    assert "columns-working-set" not in {r["name"] for r in ours.history_}
    np.testing.assert_allclose(ours.coef_, calm.coef_, atol=1e-6 * np.abs(calm.coef_).max())
    assert np.count_nonzero(ours.coef_) == np.count_nonzero(calm.coef_)


@pytest.mark.parametrize("forget", ["every round", "once"])
def test_blocks_that_forget_are_told(monkeypatch, forget):
    """As after a move, a spill or a lost worker: the same answer, for one repeated round each."""
    monkeypatch.setattr(opening, "JOIN_BYTES", 0)
    monkeypatch.setattr("daskml_kit.linear_model.few_rows.MOST_GRAM_ROWS", 0)  # all blocks descend
    how = {"tol": 1e-10, "positive": True, "solver": "columns"}
    data = FORMS["chunks"](X)
    calm = Ridge(3.0, **how).fit(data, Y[:, 0])
    chunk, seen = column_rounds._chunk, set()

    def forgetful(block, ask):
        new = ask.version not in seen if forget == "every round" else ask.version == 3 and not seen
        if new and block.start == 40:
            seen.add(ask.version)
            block.scratch.clear()
        return chunk(block, ask)

    monkeypatch.setattr(column_rounds, "_chunk", forgetful)
    ours = Ridge(3.0, **how).fit(data, Y[:, 0])
    np.testing.assert_allclose(ours.coef_, calm.coef_, atol=1e-7 * np.abs(calm.coef_).max())
    if forget == "once":
        assert ours.n_rounds_ - ours.n_iter_ == calm.n_rounds_ - calm.n_iter_ + 1
    monkeypatch.setattr(column_blocks, "_ATTEMPTS", 0)
    with pytest.raises(daskml_kit.exceptions.ClusterError, match="lost what they knew"):
        Ridge(3.0, **how).fit(data, Y[:, 0])


@pytest.mark.parametrize("loss", [HalfSquared(), Binomial()])
@pytest.mark.parametrize("strengths", [(0.1, 0.0), (0.05, 0.2), (0.0, 0.3)])
def test_the_dual_is_a_bound_and_meets_the_optimum(loss, strengths):
    y = (LABELS == "yes") * 1.0 if isinstance(loss, Binomial) else Y[:, 0]
    problem = column_problem.Problem(loss, y, WEIGHT, WEIGHT.sum(), strengths, True)
    model = ElasticNet(1.0)
    model.tol, model.positive = 1e-14, False
    for w in rng.normal(size=(5, D)) * 0.05:
        b, f, gradient = problem.centred(X @ w, 0.0)
        assert abs(gradient.sum()) < 1e-12
        theta = np.abs(X.T @ gradient)
        excess = (np.maximum(theta - strengths[0], 0.0) ** 2).sum()
        dual, _ = problem.dual(gradient, theta.max(), excess)
        assert dual <= f + problem.penalty(w)
        f_nudged, _ = problem.value_gradient(X @ w + b + 1e-3)
        assert f <= f_nudged


def test_columns_in_one_piece_are_not_copied():
    by_column = np.asfortranarray(X)
    assert np.shares_memory(columns.transposed([[by_column]]), by_column)
    cut = columns._some_columns(by_column, 3, 7)
    assert cut.flags.f_contiguous
    assert not np.shares_memory(cut, by_column)
    wide = np.arange(600 * 300.0).reshape(300, 600)
    for chunks in ([[wide]], [[wide[:, :7], wide[:, 7:]]], [[wide[:100]], [wide[100:]]]):
        turned = columns.transposed(chunks)
        np.testing.assert_array_equal(turned, wide.T)
        assert turned.flags.c_contiguous


@pytest.mark.cluster
@pytest.mark.parametrize("executor", ["graph", "actor"])
def test_on_a_cluster(client, executor):
    data = da.from_array(X, chunks=(25, 50)).persist()
    cases = [
        (Lasso(0.05, **TIGHT), Y[:, 0], 1e-9),
        (Ridge(3.0, tol=1e-8, solver="columns"), Y[:, 0], 1e-8),
        (LogisticRegression(tol=1e-2, solver="columns"), LABELS, 1e-8),
        # How blocks descend side by side depends on the blocks: few rounds to a gap of 5e-11.
        (Ridge(30.0, tol=1e-5, positive=True, solver="columns"), Y[:, 0], 1e-3),
    ]
    with daskml_kit.config_context(executor=executor), daskml_kit.record() as run:
        models = [clone(model).fit(data, y, WEIGHT) for model, y, _ in cases]
        spec, log = ingest.Spec("Test", target="values"), FitLog("Test")
        opened, there = columns.open_columns(data, Y[:, 0], spec=spec, log=log)
        with opened:
            assert there._observed is opened  # loading was a round for the balance, too
        there.close()
    for ours, (theirs, y, near) in zip(models, cases, strict=True):
        scale = np.abs(theirs.fit(X, y, WEIGHT).coef_).max()
        np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=near * scale)
    workers = set(client.scheduler_info()["workers"])
    assert {t.worker for r in run.rounds if "columns" in r.name for t in r.tasks} <= workers
    np.testing.assert_allclose(models[0].predict(data).compute(), models[0].predict(X), atol=1e-10)


@pytest.mark.cluster
@pytest.mark.parametrize("executor", ["graph", "actor"])
def test_no_task_holds_more_than_its_own_columns(client, executor):
    homes = sorted(client.scheduler_info()["workers"])
    pieces = [
        client.scatter(X[:, a : a + 75], workers=[home], hash=False)
        for a, home in zip((0, 75), homes, strict=True)
    ]
    data = da.concatenate([da.from_delayed(p, (N, 75), float) for p in pieces], axis=1).persist()
    how = {"executor": executor, "balance": "data"}  # or a slow worker would hand columns on
    with daskml_kit.config_context(**how), daskml_kit.record() as run:
        Lasso(0.05, solver="columns").fit(data, Y[:, 0])
        Ridge(3.0, solver="columns").fit(data, Y[:, 0])
        for l1_ratio in (0.0, 1.0):
            LogisticRegression(l1_ratio=l1_ratio, tol=0.01, solver="columns").fit(data, THREE)
    kept = 16 * 75  # a number a column, in the block's scratch
    assert max(t.nbytes for r in run.rounds for t in r.tasks) <= X.nbytes / 2 + kept
    assert {len(at) for at in client.who_has(data).values()} == {1}  # nobody fetched a chunk
