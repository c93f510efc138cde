"""QuantileRegressor: the vertex that scikit-learn's linear program finds, from rounds over blocks."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import sparse
from sklearn import linear_model as reference

from daskml_kit.exceptions import ConvergenceWarning, InvalidParameterError
from daskml_kit.linear_model import QuantileRegressor, quantile

rng = np.random.default_rng(4)
N, D = 901, 4
X = rng.normal(size=(N, D)) + 1.0
Y = X @ np.array([3.0, 0.0, -2.0, 0.5]) + 4.0 + rng.standard_t(2, size=N) * (1.0 + X[:, 0] ** 2)
WEIGHT = rng.uniform(0.1, 2.0, N)
WEIGHT[:20] = 0.0
FORMS = {
    "dense": np.asarray,
    "csr": sparse.csr_array,
    "dask": lambda a: da.from_array(a, chunks=(250, -1)),
}


@pytest.fixture
def few_rows(monkeypatch):
    """The driver takes so few that 901 rows need smoothing and bands."""
    monkeypatch.setattr(quantile, "band_rows", lambda width: 60 + width)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "how",
    [
        {"alpha": 0.0},
        {"alpha": 0.0, "quantile": 0.05},
        {"alpha": 0.1, "quantile": 0.8},
        {"alpha": 0.02, "fit_intercept": False},
    ],
    ids=str,
)
def test_is_scikit_learns(few_rows, form, how):
    for weight in (None, WEIGHT):
        ours = QuantileRegressor(**how).fit(FORMS[form](X), Y, weight)
        theirs = reference.QuantileRegressor(**how).fit(X, Y, weight)
        # Both are a vertex: equal to the rounding of the rows that determine it.
        np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-7)
        np.testing.assert_allclose(ours.intercept_, theirs.intercept_, atol=1e-7)
        names = [r["name"] for r in ours.history_]
        assert names[:2] == ["load", "moments"]
        assert set(names[2:]) - {"smoothedpinball-gradient"} == {"smoothedpinball-hessian", "band"}
        assert len(names) < 60


def test_few_rows_need_no_smoothing():
    ours = QuantileRegressor(alpha=0.0, quantile=0.3).fit(X, Y, WEIGHT)
    theirs = reference.QuantileRegressor(alpha=0.0, quantile=0.3).fit(X, Y, WEIGHT)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-7)
    assert [r["name"] for r in ours.history_] == ["load", "moments", "band", "band"]
    assert ours.n_iter_ == 1


@settings(max_examples=8, deadline=None)
@given(chunk=st.integers(50, N))
def test_chunks_do_not_change_the_answer(chunk):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantile, "band_rows", lambda width: 60 + width)
        whole = QuantileRegressor(alpha=0.01).fit(X, Y, WEIGHT)
        parts = QuantileRegressor(alpha=0.01).fit(da.from_array(X, chunks=(chunk, -1)), Y, WEIGHT)
    np.testing.assert_allclose(parts.coef_, whole.coef_, rtol=1e-9, atol=1e-10)


def test_the_driver_takes_no_more_rows_than_it_says(few_rows):
    block = quantile.Block(X, Y, WEIGHT)
    how = quantile._How(0.5, True)
    wide = quantile._band_chunk(how, block, (np.zeros(D + 1), np.inf))
    narrow = quantile._band_chunk(how, block, (np.zeros(D + 1), 0.1))
    assert wide.n_rows == N - 20
    assert len(wide.A) == 0
    assert 0 < len(narrow.A) == narrow.n_rows <= 65
    both = quantile._band_combine(narrow, wide)
    assert len(both.A) == 0
    assert both.value == pytest.approx(narrow.value + wide.value)


def test_the_model_is_nowhere_above_the_objective(few_rows):
    w = np.r_[3.0, 0.0, -2.0, 0.5, 4.0]
    band = quantile._band_chunk(quantile._How(0.3, True), quantile.Block(X, Y, WEIGHT), (w, 0.1))
    problem = quantile.BandProblem(band, w, 0.3, np.zeros(D + 1))
    assert problem.value(w) == pytest.approx(band.value)
    for step in rng.normal(size=(20, D + 1)):
        r = Y - np.column_stack([X, np.ones(N)]) @ (w + step)
        assert problem.value(w + step) <= WEIGHT @ (r * (0.3 - (r < 0))) * (1 + 1e-12)


def test_targets_of_few_values(few_rows):
    """Hundreds of rows are fitted exactly: the band cannot be made small, and the answer says so."""
    with pytest.warns(ConvergenceWarning, match="not certified"):
        ours = QuantileRegressor(alpha=0.0).fit(X, rng.poisson(1.0, N))
    assert np.isfinite(ours.coef_).all()


def test_float32_is_kept():
    ours = QuantileRegressor(alpha=0.0).fit(X.astype(np.float32), Y)
    assert ours.coef_.dtype == np.float32


def test_on_a_cluster(client):
    rows, y = da.from_array(X, chunks=(200, -1)), da.from_array(Y, chunks=200)
    ours = QuantileRegressor(alpha=0.0).fit(rows, y)
    np.testing.assert_allclose(ours.coef_, QuantileRegressor(alpha=0.0).fit(X, Y).coef_, rtol=1e-9)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"quantile": 1.0}, r"quantile must be below 1, got 1\.0"),
        ({"quantile": 0}, "quantile must be a number > 0, got 0"),
        ({"alpha": -1}, "alpha must be a number >= 0, got -1"),
        ({"alpha": np.inf}, "alpha must be finite, got inf"),
    ],
)
def test_impossible_parameters_are_refused_by_name(parameters, message):
    with pytest.raises(InvalidParameterError, match=message):
        QuantileRegressor(**parameters).fit(X, Y)


def test_many_rows_of_too_many_features_are_refused(few_rows, monkeypatch):
    monkeypatch.setattr(quantile, "MOST_FEATURES", 3)
    with pytest.raises(
        InvalidParameterError, match=r"at most 3 features .* than 65 rows.* got 901 x 4"
    ):
        QuantileRegressor().fit(X, Y)


@pytest.mark.parametrize("kind", ["csr", "dense"])
def test_wide_data_are_one_program_and_stay_sparse(monkeypatch, kind):
    csr = sparse.random_array((60, 1_200), density=0.05, rng=np.random.default_rng(0), format="csr")
    y = csr @ np.r_[np.full(5, 3.0), np.zeros(1_195)] + rng.normal(size=60)
    theirs = reference.QuantileRegressor(alpha=0.005).fit(csr, y)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("densified")

    monkeypatch.setattr(sparse.csr_array, "toarray", refuse) if kind == "csr" else None
    ours = QuantileRegressor(alpha=0.005).fit(csr if kind == "csr" else csr.todense() + 1e7, y)
    if kind == "csr":
        np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-7)
    assert [r["name"] for r in ours.history_][-2:] == ["band", "band"]
    assert "moments" not in [r["name"] for r in ours.history_]
    # Far columns are centred: 1e-8 of their distance is lost with each.
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-5)
