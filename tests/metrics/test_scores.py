"""Scores against scikit-learn's, on every kind of input."""

from __future__ import annotations

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings, strategies as st
from sklearn import metrics as reference

from daskml_kit.exceptions import InvalidDataError, InvalidParameterError
from daskml_kit.metrics import accuracy_score, log_loss, r2_score

rng = np.random.default_rng(0)
N = 101
LABELS = np.array(["a", "b", "c"])[rng.integers(0, 3, N)]
GUESSES = np.where(rng.random(N) < 0.7, LABELS, "a")
Y = rng.normal(size=N)
PREDICTED = Y + rng.normal(size=N) / 3
WEIGHT = rng.uniform(0, 2, N)
PROBA = rng.dirichlet([1.0, 2.0, 0.5], N)
PROBA[:2] = [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]

KINDS = {
    "numpy": lambda a: a,
    "list": lambda a: a.tolist(),
    "series": lambda a: pd.Series(a),
    "dask": lambda a: da.from_array(a, chunks=17),
    "dask series": lambda a: dd.from_pandas(pd.Series(a), npartitions=4),
    "xarray": lambda a: xr.DataArray(a, dims="sample"),
    "lazy xarray": lambda a: xr.DataArray(da.from_array(a, chunks=29), dims="sample"),
}
PAIRS = [(a, a) for a in KINDS] + [
    ("numpy", "dask"), ("series", "lazy xarray"), ("dask", "numpy"), ("list", "dask"),
    ("lazy xarray", "dask"), ("dask series", "numpy"),
]  # fmt: skip


@pytest.mark.parametrize(("true", "predicted"), PAIRS)
@pytest.mark.parametrize("weighted", [False, True])
def test_scores_are_scikit_learns(true, predicted, weighted):
    weight = WEIGHT if weighted else None
    if weighted and "dask series" in (true, predicted) and true == predicted:
        given_weight = KINDS[true](WEIGHT)  # unknown lengths need a weight of the same partitions
    else:
        given_weight = weight
    for ours, theirs, a, b in [
        (accuracy_score, reference.accuracy_score, LABELS, GUESSES),
        (r2_score, reference.r2_score, Y, PREDICTED),
    ]:
        got = ours(KINDS[true](a), KINDS[predicted](b), sample_weight=given_weight)
        assert isinstance(got, float)
        assert got == pytest.approx(theirs(a, b, sample_weight=weight), rel=1e-12)


@settings(max_examples=8, deadline=None)
@given(a=st.integers(1, N), b=st.integers(1, N))
def test_chunks_change_nothing(a, b):
    Y2, P2 = np.c_[Y, LABELS == "a"], np.c_[PREDICTED, GUESSES == "a"].astype(float)
    true, predicted = da.from_array(Y2, chunks=(a, 1)), da.from_array(P2, chunks=(b, -1))
    for how in (None, "raw_values", "variance_weighted", [0.2, 0.8]):
        both = {"sample_weight": WEIGHT, "multioutput": how}
        expected = reference.r2_score(Y2, P2, **both)
        np.testing.assert_allclose(r2_score(true, predicted, **both), expected, rtol=1e-12)
        np.testing.assert_allclose(r2_score(Y2, P2, **both), expected, rtol=1e-12)


@pytest.mark.parametrize("score", [accuracy_score, r2_score])
def test_lengths_must_agree(score):
    for wrap in (np.asarray, lambda a: da.from_array(a, chunks=10)):
        with pytest.raises(InvalidDataError, match="inconsistent numbers of samples"):
            score(wrap(np.zeros(5)), da.zeros(6, chunks=2))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        score(np.zeros(5), np.zeros(6))


def test_unknown_lengths_cannot_be_matched_with_memory():
    unknown = dd.from_pandas(pd.Series(Y), npartitions=3)
    with pytest.raises(InvalidDataError, match="compute_chunk_sizes"):
        r2_score(Y, unknown)


@pytest.mark.parametrize("predicted", [3.0, 4.0])
def test_a_constant_target(predicted):
    y, p = da.full(6, 3.0, chunks=2), da.full(6, predicted, chunks=3)
    for how in (True, False):
        with np.errstate(all="ignore"):
            theirs = reference.r2_score(y.compute(), p.compute(), force_finite=how)
        np.testing.assert_equal(r2_score(y, p, force_finite=how), theirs)


def test_outputs_are_averaged_in_a_known_way():
    for y in (np.zeros((4, 2)), da.zeros((4, 2), chunks=2)):
        for how in ("mean", [1.0, 2.0, 3.0]):
            with pytest.raises(
                InvalidParameterError, match=r"'raw_values'.*each of 2 outputs, got"
            ):
                r2_score(y, y, multioutput=how)


def test_sums_in_place_of_means():
    for wrap in (np.asarray, lambda a: da.from_array(a, chunks=17)):
        for weight in (None, WEIGHT):
            both = {"normalize": False, "sample_weight": weight}
            hits = reference.accuracy_score(LABELS, GUESSES, **both)
            assert accuracy_score(wrap(LABELS), wrap(GUESSES), **both) == pytest.approx(hits)
            lost = reference.log_loss(LABELS, PROBA, **both)
            assert log_loss(wrap(LABELS), wrap(PROBA), **both) == pytest.approx(lost)


@pytest.mark.parametrize("score", [accuracy_score, r2_score])
@pytest.mark.parametrize("wrap", [np.asarray, lambda a: da.from_array(a, chunks=2)])
def test_weights_that_add_up_to_nothing_are_refused(score, wrap):
    y = np.arange(6.0)
    for weight in (np.zeros(6), np.array([1.0, -1.0] * 3), np.full(6, np.nan)):
        with pytest.raises(InvalidDataError, match=r"sample_weight add up to .*positive"):
            score(wrap(y), wrap(y), sample_weight=wrap(weight))


@pytest.mark.parametrize("proba", [PROBA, PROBA.astype(np.float32)])
@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_log_loss_is_scikit_learns(proba, weight):
    expected = reference.log_loss(LABELS, proba, sample_weight=weight)
    for y, p in [
        (LABELS, proba),
        (LABELS, da.from_array(proba, chunks=(17, 2))),
        (da.from_array(LABELS, chunks=40), da.from_array(proba, chunks=(17, 2))),
        (da.from_array(LABELS, chunks=40), proba),
    ]:
        assert log_loss(y, p, sample_weight=weight) == pytest.approx(expected, rel=1e-6)


def test_log_loss_of_two_labels():
    y, p = da.from_array(LABELS == "a", chunks=9), da.from_array(PROBA[:, 0], chunks=30)
    expected = reference.log_loss(LABELS == "a", PROBA[:, 0])
    assert log_loss(y, p) == pytest.approx(expected, rel=1e-12)
    ones = np.ones(3, dtype=bool)
    expected = reference.log_loss(ones, PROBA[:3, 0], labels=[False, True])
    assert log_loss(ones, PROBA[:3, 0], labels=[False, True]) == pytest.approx(expected)


@pytest.mark.parametrize("wrap", [np.asarray, lambda a: da.from_array(a, chunks=2)])
def test_log_loss_of_what_does_not_fit(wrap):
    with pytest.raises(InvalidDataError, match=r"3 columns, and there are 2 labels: \['a', 'b'\]"):
        log_loss(wrap(np.array(["a", "b"])), wrap(PROBA[:2]))
    with pytest.raises(InvalidDataError, match=r"not among labels=\['a', 'b'\]: \['c'\]"):
        log_loss(wrap(np.array(["a", "c"])), wrap(PROBA[:2, :2]), labels=["a", "b"])
    with pytest.raises(InvalidDataError, match=r"one label \['a'\].*Pass labels="):
        log_loss(wrap(np.array(["a", "a"])), wrap(PROBA[:2]))
