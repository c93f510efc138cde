"""Areas under curves against scikit-learn's: ties, weights, and any ranges and chunks."""

from __future__ import annotations

import warnings

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from sklearn import metrics as reference
from sklearn.exceptions import UndefinedMetricWarning

from daskml_kit.exceptions import InvalidDataError, InvalidParameterError
from daskml_kit.metrics import average_precision_score, ranking, roc_auc_score
from daskml_kit.metrics.ranking import Column, ranked_here

N = 211
rng = np.random.default_rng(0)
LABELS = np.array(["a", "b", "c"])[rng.integers(0, 3, N)]
SHARES = rng.multinomial(16, [0.2, 0.3, 0.5], N) / 16  # exact, and full of ties
WEIGHT = np.where(np.arange(N) < 20, 0.0, rng.uniform(0, 2, N))
Y = rng.integers(0, 2, N)
SCORE = np.round(Y + rng.normal(size=N), 1)


@pytest.fixture(params=[1, 20], ids=["one range", "ranges"])
def ranges(request, monkeypatch):
    monkeypatch.setattr(ranking, "LEAST", N // request.param)
    monkeypatch.setattr(ranking, "MOST", 1 << 23 if request.param == 1 else N // 5)


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["alike", "weighted"])
@pytest.mark.usefixtures("ranges")
def test_areas_are_scikit_learns(weight):
    for wrap in (np.asarray, lambda a: da.from_array(a, chunks=(60, *a.shape[1:]))):
        own = {"sample_weight": None if weight is None else wrap(weight)}
        theirs = {"sample_weight": weight}
        for ours, of, y, s, how in [
            (roc_auc_score, reference.roc_auc_score, Y, SCORE, {}),
            (average_precision_score, reference.average_precision_score, Y, SCORE, {}),
            (average_precision_score, reference.average_precision_score, Y, -SCORE, {"pos_label": 0}),
            (roc_auc_score, reference.roc_auc_score, LABELS, SHARES, {"multi_class": "ovr"}),
            *(
                (each, getattr(reference, each.__name__), LABELS, SHARES, {"average": average, **how})
                for average in ("weighted", None)
                for each, how in [(roc_auc_score, {"multi_class": "ovr"}), (average_precision_score, {})]
            ),
        ]:  # fmt: skip
            expected = of(y, s, **how, **theirs)
            np.testing.assert_allclose(ours(wrap(y), wrap(s), **how, **own), expected, rtol=1e-12)
        if weight is None:
            for average in ("macro", "weighted"):
                how = {"multi_class": "ovo", "average": average}
                expected = reference.roc_auc_score(LABELS, SHARES, **how)
                np.testing.assert_allclose(
                    roc_auc_score(wrap(LABELS), wrap(SHARES), **how), expected, rtol=1e-12
                )


@settings(max_examples=15, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 1), st.integers(-3, 3), st.integers(0, 3)), min_size=4, max_size=40
    ),
    chunk=st.integers(1, 40),
    least=st.integers(1, 20),
)
def test_chunks_and_ranges_change_nothing(rows, chunk, least):
    y, score, weight = np.array(rows, dtype=float).T
    if not all(weight[y == k].sum() > 0 for k in (0, 1)):
        return
    given_rows = [da.from_array(a, chunks=chunk) for a in (y, score, weight)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "LEAST", least)
        for ours in (roc_auc_score, average_precision_score):
            got = ours(*given_rows[:2], sample_weight=given_rows[2])
            expected = getattr(reference, ours.__name__)(y, score, sample_weight=weight)
            assert got == pytest.approx(expected, rel=1e-12)


def test_pairs_are_counted_one_by_one():
    column = Column(SCORE, 1 - Y, WEIGHT)
    a, b = Y == 1, Y == 0
    gaps = SCORE[a][:, None] - SCORE[b]
    pairs = ((gaps > 0) + (gaps == 0) / 2) * WEIGHT[a][:, None] * WEIGHT[b]
    assert ranked_here([column], 2, "pairs").sums == pytest.approx(pairs.sum())


def test_no_task_sorts_more_than_its_range(monkeypatch):
    """And each score moves once: one round of few rows, one that moves them."""
    monkeypatch.setattr(ranking, "LEAST", 100)
    seen = []
    honest = ranking._rank

    def watched(order, pieces, above):
        seen.append(sum(piece.n_rows for piece in pieces))
        return honest(order, pieces, above)

    monkeypatch.setattr(ranking, "_rank", watched)
    monkeypatch.setattr(ranking, "MOST", 1_000)
    score = np.random.default_rng(1).normal(size=5_000)
    roc_auc_score(score > 0, da.from_array(score**3, chunks=700))
    assert sum(seen) == 5_000
    assert len(seen) == 5
    assert max(seen) < 1_300


def test_on_a_cluster(client, monkeypatch):
    monkeypatch.setattr(ranking, "LEAST", 50)
    y, score = da.from_array(Y, chunks=50), da.from_array(SCORE, chunks=50)
    for ours in (roc_auc_score, average_precision_score):
        expected = getattr(reference, ours.__name__)(Y, SCORE)
        assert ours(y, score) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("wrap", [np.asarray, lambda a: da.from_array(a, chunks=2)])
def test_classes_without_rows(wrap):
    ones, score = wrap(np.ones(4)), wrap(np.arange(4.0))
    with pytest.warns(UndefinedMetricWarning, match="Only one class is present"):
        assert np.isnan(roc_auc_score(ones, score))
    with pytest.warns(UserWarning, match="No positive class found"):
        assert average_precision_score(wrap(np.zeros(4)), score) == 0.0
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        theirs = reference.roc_auc_score(
            LABELS[:4], SHARES[:4], labels=["a", "b", "c"], multi_class="ovr", average=None
        )
    if np.isnan(theirs).any():
        with pytest.warns(UndefinedMetricWarning, match="Only one class"):
            ours = roc_auc_score(
                wrap(LABELS[:4]), wrap(SHARES[:4]), labels=["a", "b", "c"], multi_class="ovr", average=None
            )  # fmt: skip
        np.testing.assert_allclose(ours, theirs)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: roc_auc_score(LABELS, SHARES), InvalidParameterError, "3 labels: multi_class must be"),
        (lambda: roc_auc_score(LABELS, SCORE), InvalidDataError, "1 columns, and there are 3 labels"),
        (lambda: roc_auc_score(Y, SCORE, multi_class="all"), InvalidParameterError, "got 'all'"),
        (lambda: roc_auc_score(Y, SCORE, average="micro"), InvalidParameterError, "average must be one of"),
        (lambda: roc_auc_score(Y, SCORE, labels=[1, 2]), InvalidDataError, r"not among .*: \[0\]"),
        (
            lambda: roc_auc_score(LABELS, SHARES, multi_class="ovo", sample_weight=WEIGHT),
            InvalidParameterError,
            "'ovo' takes no sample_weight",
        ),
        (
            lambda: average_precision_score(LABELS[LABELS != "c"], SCORE[LABELS != "c"]),
            InvalidParameterError,
            "pos_label=1 is not a valid label",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
