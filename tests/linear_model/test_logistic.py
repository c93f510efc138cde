"""LogisticRegression against scikit-learn at a converged tolerance."""

from __future__ import annotations

from itertools import pairwise

import dask.array as da
import numpy as np
import pytest
from scipy import sparse
from sklearn import linear_model as reference
from sklearn.datasets import make_classification

from daskml_kit.exceptions import ConvergenceWarning, InvalidParameterError
from daskml_kit.kernels import drawn_rows
from daskml_kit.linear_model import LogisticRegression

SOLVERS = ["newton", "newton-cg", "lbfgs", "gd"]
CONVERGED = {"tol": 1e-10, "max_iter": 20_000}

X, codes = make_classification(
    400, 6, n_informative=5, n_redundant=0, n_classes=3, flip_y=0.2, random_state=3
)
BINARY = np.where(codes == 1, "yes", "no")
LABELS = np.array(["wolf", "ape", "hen"])[codes]
WEIGHT = np.random.default_rng(0).uniform(0.0, 2.0, len(X))
TARGETS = {"binary": BINARY, "multinomial": LABELS}


def theirs(y, weight=None, **how):
    # newton-cholesky reaches the minimum to rounding.
    return reference.LogisticRegression(
        solver="newton-cholesky", tol=1e-12, max_iter=1_000, **how
    ).fit(X, y, weight)


def same(ours, expected, rtol=1e-6):
    """Relative to the largest coefficient: at a gradient of 1e-10 each has about 8 digits."""
    scale = np.abs(expected.coef_).max()
    np.testing.assert_array_equal(ours.classes_, expected.classes_)
    np.testing.assert_allclose(ours.coef_, expected.coef_, rtol=rtol, atol=rtol * scale)
    shift = np.mean(expected.intercept_) if len(expected.intercept_) > 1 else 0.0
    np.testing.assert_allclose(
        ours.intercept_, expected.intercept_ - shift, rtol=rtol, atol=rtol * scale
    )
    np.testing.assert_allclose(
        ours.predict_proba(X), expected.predict_proba(X), rtol=1e-5, atol=1e-7
    )
    np.testing.assert_array_equal(ours.predict(X), expected.predict(X))


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("C", [0.01, 1.0, 100.0])
def test_is_scikit_learns(solver, kind, fit_intercept, C):
    how = {"C": C, "fit_intercept": fit_intercept}
    ours = LogisticRegression(solver=solver, **how, **CONVERGED).fit(X, TARGETS[kind])
    same(ours, theirs(TARGETS[kind], **how))


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["", "weighted"])
@pytest.mark.parametrize("class_weight", [None, "balanced", "dict"])
def test_weights_of_rows_and_classes(kind, weight, class_weight):
    y = TARGETS[kind]
    if class_weight == "dict":
        class_weight = dict(zip(np.unique(y), [0.5, 3.0, 1.5], strict=False))
    how = {"class_weight": class_weight}
    expected = theirs(y, weight, **how)
    for rows in (X, sparse.csr_array(X), da.from_array(X, chunks=(90, -1))):
        same(LogisticRegression(**how, **CONVERGED).fit(rows, y, weight), expected)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("kind", TARGETS)
def test_no_penalty(solver, kind):
    ours = LogisticRegression(C=np.inf, solver=solver, **CONVERGED).fit(X, TARGETS[kind])
    expected = reference.LogisticRegression(
        C=np.inf, solver="newton-cg", tol=1e-12, max_iter=1_000
    ).fit(X, TARGETS[kind])
    # Theirs leaves a constant of each feature free; ours centres it.
    several = kind == "multinomial"
    expected.coef_ = expected.coef_ - several * expected.coef_.mean(axis=0)
    same(ours, expected)


@pytest.mark.parametrize("kind", TARGETS)
def test_sparse_and_dense_agree(kind):
    thin = np.where(np.abs(X) > 1.0, X, 0.0)
    dense, sparse_, auto = (
        LogisticRegression(solver=solver, **CONVERGED).fit(rows, TARGETS[kind])
        for solver, rows in [
            ("newton", thin), ("newton", sparse.csr_array(thin)), ("auto", sparse.csc_array(thin))
        ]
    )  # fmt: skip
    np.testing.assert_allclose(sparse_.coef_, dense.coef_, rtol=1e-9)
    np.testing.assert_allclose(auto.coef_, dense.coef_, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(
        sparse_.decision_function(sparse.csr_array(thin)), dense.decision_function(thin)
    )


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("kind", TARGETS)
def test_float32_is_kept(solver, kind):
    small = X.astype(np.float32)
    how = {"solver": solver, "tol": 1e-7, "max_iter": 20_000}
    ours = LogisticRegression(**how).fit(small, TARGETS[kind])
    exact = LogisticRegression(**how).fit(small.astype(np.float64), TARGETS[kind])
    assert {ours.coef_.dtype, ours.intercept_.dtype, ours.predict_proba(small).dtype} == {
        np.dtype(np.float32)
    }
    np.testing.assert_allclose(ours.coef_, exact.coef_, rtol=1e-4, atol=1e-5)


def test_label_types_come_back():
    for y in (codes, codes - 5, codes.astype(float), codes == 1, LABELS, LABELS.astype(object)):
        ours = LogisticRegression().fit(X, y)
        assert ours.classes_.dtype == ours.predict(X).dtype == np.unique(y).dtype
        np.testing.assert_array_equal(ours.classes_, np.unique(y))


def test_log_probabilities_do_not_underflow():
    ours = LogisticRegression(C=1e6).fit([[-1.0], [1.0]], [0, 1])
    log = ours.predict_log_proba([[1e6]])
    assert np.isfinite(log).all()
    np.testing.assert_array_equal(ours.predict_proba([[1e6]]), [[0.0, 1.0]])


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("kind", TARGETS)
def test_warm_start_takes_fewer_rounds(solver, kind):
    ours = LogisticRegression(solver=solver, warm_start=True, **CONVERGED).fit(X, TARGETS[kind])
    cold, coef = ours.n_rounds_, ours.coef_
    ours.fit(X, TARGETS[kind])
    names = [r["name"] for r in ours.history_ if r["name"] != "means"]
    assert len(names) == 2 < cold  # load, and one look
    assert ours.n_iter_[0] == 0
    np.testing.assert_allclose(ours.coef_, coef, rtol=1e-12)


def test_warm_start_needs_the_same_shape():
    ours = LogisticRegression(warm_start=True).fit(X, BINARY)
    with pytest.raises(InvalidParameterError, match="warm_start=True needs data of the last fit"):
        ours.fit(X[:, :3], BINARY)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"C": 0.0}, "C .* must be a number > 0"),
        ({"C": -1.0}, "C .* must be a number > 0"),
        ({"C": np.nan}, "C .* must be a number > 0"),
        ({"solver": "svd"}, "solver must be one of .* got 'svd'"),
        ({"max_iter": -1}, "max_iter must be an integer >= 0"),
        ({"unroll": 0}, "unroll must be an integer >= 1"),
        ({"class_weight": "even"}, "class_weight"),
        ({"class_weight": {"no": 1.0, "perhaps": 2.0}}, "class_weight.*yes"),
    ],
)
def test_impossible_parameters(how, words):
    with pytest.raises(InvalidParameterError, match=words):
        LogisticRegression(**how).fit(X, BINARY)


def test_one_round_an_evaluation():
    ours = LogisticRegression(solver="newton").fit(X, BINARY)
    names = [r["name"] for r in ours.history_ if r["name"] != "means"]  # of a few rows, no pass
    assert len(names) == ours.n_passes_ == 2 + ours.n_iter_[0]  # load, start, one a step
    assert names[:3] == ["load", "binomial-hessian", "binomial-hessian"]
    assert set(names[3:]) == {"binomial-hessian", "binomial-gradient"}  # once steps gain much
    values = [r["objective"] for r in ours.history_ if r["objective"] is not None]
    assert values == sorted(values, reverse=True)
    assert values[0] == pytest.approx(np.log(2))


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("l1_ratio", [0.0, 0.5])
def test_sampled_hessians_end_where_exact_ones_do(kind, l1_ratio, monkeypatch):
    """However the rows are chunked, also with a feature that one row has and with rows sorted by label."""
    rare = X.copy()
    rare[:, 5] = 0.0
    rare[7, 5] = 1.0
    order = np.argsort(TARGETS[kind], kind="stable")
    for rows, y in ((X, TARGETS[kind]), (rare, TARGETS[kind]), (X[order], TARGETS[kind][order])):
        how = {"solver": "newton", "l1_ratio": l1_ratio, "tol": 1e-9}
        exact = LogisticRegression(**how).fit(rows, y)
        monkeypatch.setattr("daskml_kit.linear_model.choice.SAMPLE", 2)
        fits = [
            LogisticRegression(**how).fit(part, y)
            for part in (rows, da.from_array(rows, chunks=(37, -1)))
        ]
        monkeypatch.undo()
        for one in fits:
            np.testing.assert_allclose(one.coef_, exact.coef_, rtol=1e-6, atol=1e-7)
            assert one.n_rounds_ <= 40
            names = [r["name"] for r in one.history_]
            asked = sum(name.endswith("sample") for name in names)  # before all others, and no pass
            assert names[1] == "means"  # of a few rows, no pass either
            assert all(name.endswith("sample") for name in names[2 : 2 + asked])
            assert 2 <= asked <= 11
            assert one.n_passes_ == one.n_rounds_ - asked - 1
        np.testing.assert_allclose(fits[0].coef_, fits[1].coef_, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
@pytest.mark.parametrize("kind", TARGETS)
def test_a_sample_stands_for_its_weight(kind, solver, monkeypatch):
    """One row outweighs all others and is in no sample: by rows, there would be hardly any curvature."""
    weight = np.ones(len(X))
    weight[7] = 1e9
    how = {"solver": solver, "tol": 1e-8, "C": 10.0}
    exact = LogisticRegression(**how).fit(X, TARGETS[kind], weight)
    monkeypatch.setattr("daskml_kit.linear_model.choice.SAMPLE", 2)
    monkeypatch.setattr("daskml_kit.linear_model.choice.SKETCH_SAMPLE", 2)
    assert 7 not in drawn_rows(0, len(X), len(X) // (2 * exact.coef_.shape[1]))
    fits = [
        LogisticRegression(**how).fit(part, TARGETS[kind], weight)
        for part in (X, da.from_array(X, chunks=(37, -1)))
    ]
    size = np.abs(exact.coef_).max()
    np.testing.assert_allclose(fits[0].coef_, exact.coef_, atol=0.2 * size)  # not 10,000 times it
    assert fits[0].n_iter_[0] <= 2 * exact.n_iter_[0]
    np.testing.assert_allclose(fits[1].coef_, fits[0].coef_, rtol=1e-9, atol=1e-9 * size)


@pytest.mark.parametrize("every", [2, 7, 100])
def test_a_sample_has_one_row_of_each_stratum_however_the_rows_are_cut(every):
    whole = drawn_rows(0, 1_000, every)
    assert np.array_equal(whole // every, np.unique(whole // every))
    assert len(whole) in (1_000 // every, -(-1_000 // every))
    for edges in ([0, 333, 334, 1_000], [0, 5, 5, 1_000]):
        parts = [a + drawn_rows(a, b - a, every) for a, b in pairwise(edges)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_memory_does_not_show_in_an_answer(client, monkeypatch):
    """The sample is drawn as rows are loaded, in no read of its own: where they don't stay in memory, too."""
    monkeypatch.setattr("daskml_kit.linear_model.choice.SAMPLE", 2)
    rows, y = da.from_array(X, chunks=(100, -1)), da.from_array(BINARY, chunks=100)
    model = LogisticRegression(solver="newton", tol=1e-9)
    coef, names = model.fit(rows, y).coef_, [r["name"] for r in model.history_]
    assert "binomial-sample" in names
    monkeypatch.setattr("daskml_kit.runtime.remote.RESIDENT_MEMORY_SHARE", 0.0)
    assert [r["name"] for r in model.fit(rows, y).history_] == names
    np.testing.assert_allclose(model.coef_, coef, rtol=1e-12)
    model.fit(X, BINARY)
    assert [r["name"] for r in model.history_] == names
    np.testing.assert_allclose(model.coef_, coef, rtol=1e-9)


def test_too_few_steps_are_reported():
    with pytest.warns(ConvergenceWarning, match=r"max_iter=2 steps .* Increase max_iter"):
        LogisticRegression(solver="lbfgs", max_iter=2).fit(X, BINARY)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("unroll", [2, 5, 1000])
def test_unrolling_changes_nothing(solver, unroll):
    how = {"solver": solver, "max_iter": 1_000}
    step, unrolled = (
        LogisticRegression(unroll=u, **how).fit(X, LABELS) for u in (1, min(unroll, 40))
    )
    np.testing.assert_array_equal(step.coef_, unrolled.coef_)
    assert step.n_iter_ == unrolled.n_iter_
    assert 0 <= unrolled.n_rounds_ - step.n_rounds_ < min(unroll, 40)


def test_badly_scaled_features():
    """Newton does not care about units: 12 orders of magnitude between columns."""
    units = np.logspace(-6, 6, X.shape[1])
    plain = LogisticRegression(C=np.inf, solver="newton", **CONVERGED).fit(X, BINARY)
    odd = LogisticRegression(C=np.inf, solver="newton", tol=1e-6).fit(X * units, BINARY)
    np.testing.assert_allclose(odd.predict_proba(X * units), plain.predict_proba(X), atol=1e-3)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("solver", SOLVERS)
def test_separable_data_without_penalty_end(solver):
    """No minimum exists: the fit must still end, with finite coefficients that separate."""
    x = np.r_[np.linspace(-2, -1, 20), np.linspace(1, 2, 20)][:, None]
    y = (x[:, 0] > 0).astype(int)
    ours = LogisticRegression(C=np.inf, solver=solver, tol=1e-9, max_iter=200).fit(x, y)
    assert np.isfinite(ours.coef_).all()
    assert ours.score(x, y) == 1.0


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"C": "a"}, r"C .* must be a number > 0, got 'a'"),
        ({"C": None}, r"C .* must be a number > 0, got None"),
        ({"tol": "a"}, "tol must be a number >= 0, got 'a'"),
        ({"tol": -1}, "tol must be a number >= 0, got -1"),
        ({"max_iter": 1.5}, r"max_iter must be an integer >= 0, got 1\.5"),
        ({"unroll": "2"}, "unroll must be an integer >= 1, got '2'"),
        ({"fit_intercept": "no"}, "fit_intercept must be True or False, got 'no'"),
    ],
)
def test_impossible_parameters_are_refused_by_name(parameters, message):
    with pytest.raises(InvalidParameterError, match=message):
        LogisticRegression(**parameters).fit(np.eye(3), [0, 1, 1])
