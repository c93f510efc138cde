"""Scores of clusterings against scikit-learn and a naive oracle."""

from __future__ import annotations

import warnings
from unittest import mock

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from scipy import sparse
from sklearn import metrics as reference
from sklearn.datasets import make_blobs
from sklearn.exceptions import DataConversionWarning

import daskml_kit
from daskml_kit import metrics
from daskml_kit.exceptions import InvalidDataError, InvalidParameterError
from tests.integration.clusters import ours, wait_until

X, _ = make_blobs(240, 3, centers=4, cluster_std=2.0, random_state=0)
LABELS = np.random.default_rng(0).permuted(np.arange(240) % 5)
NAMES = ["calinski_harabasz_score", "davies_bouldin_score", "silhouette_score"]


def naive_simplified(X, labels, centers, each=False):
    gaps = np.sqrt(((X[:, None] - centers) ** 2).sum(axis=2))
    own = gaps[np.arange(len(X)), labels]
    gaps[np.arange(len(X)), labels] = np.inf
    other = gaps.min(axis=1)
    shares = (other - own) / np.maximum(own, other)
    return shares if each else np.mean(shares)


@settings(max_examples=15, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 240), max_size=4),
    true=st.booleans(),
    thin=st.booleans(),
    far=st.booleans(),
)
def test_as_scikit_learn_whatever_the_chunks(cuts, true, thin, far):
    labels = make_blobs(240, 3, centers=4, random_state=0)[1] if true else LABELS
    rows = X + 1e6 * far
    chunks = tuple(np.diff([0, *sorted(cuts), 240]))
    lazy = da.from_array(rows, chunks=(chunks, 3))
    lazy = lazy.map_blocks(sparse.csr_matrix) if thin else lazy
    for name in NAMES:
        # far away, theirs loses digits of distances; our silhouette of CSR is theirs
        expected = getattr(reference, name)(X, labels)
        found = getattr(metrics, name)(lazy, da.from_array(labels, chunks=(chunks,)))
        np.testing.assert_allclose(found, expected, rtol=1e-4 if far else 1e-9, err_msg=name)
        np.testing.assert_allclose(
            getattr(metrics, name)(rows, labels), found, rtol=1e-4 if far else 1e-9
        )
    means = np.stack([rows[labels == c].mean(axis=0) for c in np.unique(labels)])
    found = metrics.simplified_silhouette_score(lazy, da.from_array(labels, chunks=(chunks,)))
    np.testing.assert_allclose(found, naive_simplified(rows, labels, means), rtol=1e-6)
    given = metrics.simplified_silhouette_score(rows, labels, centers=means)
    np.testing.assert_allclose(given, found, rtol=1e-4 if far else 1e-9)
    given = metrics.davies_bouldin_score(
        lazy, da.from_array(labels, chunks=(chunks,)), centers=means
    )
    expected = reference.davies_bouldin_score(X, labels)
    np.testing.assert_allclose(given, expected, rtol=1e-4 if far else 1e-9)


@pytest.mark.cluster
def test_one_pass_after_loading(client):
    """With the means, which come from the rows as they are loaded; nothing is left behind."""
    rows = da.from_array(X, chunks=((7, 0, 113, 120), 3))
    labels = da.from_array(LABELS, chunks=((7, 0, 113, 120),))
    for name in ["davies_bouldin_score", "simplified_silhouette_score", "calinski_harabasz_score"]:
        score = getattr(metrics, name)
        with daskml_kit.record() as run:
            found = [
                score(rows, labels),
                score(X, LABELS),
                score(rows.map_blocks(sparse.csr_matrix), labels),
                score(rows.persist(), labels.persist()),
            ]
        assert sum(r.passes for r in run.rounds) == 2 * len(found)
        np.testing.assert_allclose(found, found[0], rtol=1e-9)
    for lazy in (rows, rows.persist()):
        with pytest.raises(InvalidDataError, match="Number of labels is 240"):
            metrics.davies_bouldin_score(lazy, da.arange(240, chunks=labels.chunks))
    del lazy
    wait_until(lambda: not ours(client))


def test_centres_spare_a_round_and_a_row_alone_counts_nothing():
    labels = np.where(np.arange(240) == 7, 9, LABELS)
    means = np.stack([X[labels == c].mean(axis=0) for c in np.unique(labels)])
    codes = np.searchsorted(np.unique(labels), labels)
    rest = codes < 5
    expected = naive_simplified(X, codes, means, each=True)[rest].sum() / 240
    for score, value in [
        (metrics.simplified_silhouette_score, expected),
        (metrics.davies_bouldin_score, reference.davies_bouldin_score(X, labels)),
    ]:
        with daskml_kit.record() as run:
            found = [score(X, labels), score(X, labels, centers=means)]
        np.testing.assert_allclose(found, value, rtol=1e-9)
        assert len(run.rounds) == 3 + 2


@pytest.mark.cluster
def test_on_a_cluster(client):
    frame = dd.from_pandas(pd.DataFrame(X, columns=list("abc")).assign(label=LABELS), npartitions=3)
    for name in NAMES:
        found = getattr(metrics, name)(frame[list("abc")], frame["label"])
        np.testing.assert_allclose(found, getattr(reference, name)(X, LABELS), rtol=1e-9)


def test_labels_of_any_kind():
    names = np.array(["a", "b", "c", "d", "e"])[LABELS]
    for name in NAMES:
        score = getattr(metrics, name)
        assert score(X, names) == score(X, LABELS) == score(X, LABELS / 4 - 0.3)
        with pytest.raises(InvalidDataError, match="Input y contains NaN"):
            score(X, np.where(LABELS == 1, np.nan, LABELS))


def test_a_sample_does_not_depend_on_chunks():
    how = {"sample_size": 100, "random_state": 0}
    whole = metrics.silhouette_score(X, LABELS, **how)
    parts = metrics.silhouette_score(
        da.from_array(X, chunks=(70, 3)), da.from_array(LABELS, chunks=70), **how
    )
    assert whole == parts
    full = reference.silhouette_score(X, LABELS)
    assert whole != full
    assert abs(whole - full) < 0.2


def test_a_silhouette_takes_any_metric_of_scikit_learns():
    for how in ({"metric": "minkowski", "p": 3}, {"metric": lambda a, b: np.abs(a - b).max()}):
        found = metrics.silhouette_score(X[:80], LABELS[:80], **how)
        assert found == pytest.approx(reference.silhouette_score(X[:80], LABELS[:80], **how))
    apart = reference.pairwise_distances(X[:80])
    found = metrics.silhouette_score(apart, LABELS[:80], metric="precomputed")
    assert found == pytest.approx(reference.silhouette_score(X[:80], LABELS[:80]))
    with pytest.raises(InvalidParameterError, match="sample_size does not go with metric='precomp"):
        metrics.silhouette_score(apart, LABELS[:80], metric="precomputed", sample_size=20)


def test_metrics_that_measure_nothing_are_refused_before_any_round():
    apart = reference.pairwise_distances(X)
    for rows, how, error, message in [
        (X, {"metric": "foo"}, InvalidParameterError, r"cannot measure rows by metric='foo': The"),
        (X, {"metric": None}, InvalidParameterError, "metric must be the name of a metric of sk"),
        (X, {"foo": 3}, InvalidParameterError, "metric='euclidean', foo=3: euclidean_distances()"),
        (X, {"metric": "haversine"}, InvalidParameterError, "metric='haversine': Haversine dist"),
        (sparse.csr_array(X), {"metric": "canberra"}, InvalidParameterError, "metric='canberra': "),
    ]:
        with daskml_kit.record() as run, pytest.raises(error, match=message):
            metrics.silhouette_score(rows, LABELS, **how)
        assert not run.rounds
    with pytest.raises(
        InvalidDataError, match=r"to each other, \(n, n\), got an X of shape \(240, 3\)"
    ):
        metrics.silhouette_score(X, LABELS, metric="precomputed")
    with pytest.raises(
        InvalidDataError, match="rows of X are away from themselves: the diagonal ha"
    ):
        metrics.silhouette_score(apart + np.eye(240), LABELS, metric="precomputed")
    for metric in ("mahalanobis", "seuclidean", "jaccard", "cosine"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataConversionWarning)  # to bool, says scikit-learn
            found = metrics.silhouette_score(X, LABELS, metric=metric)
            assert found == pytest.approx(reference.silhouette_score(X, LABELS, metric=metric))


@pytest.mark.cluster
def test_distances_that_are_given_keep_the_order_of_the_rows(client):
    apart, workers = reference.pairwise_distances(X), sorted(client.scheduler_info()["workers"])
    parts = [
        client.scatter(apart[i : i + 40], workers=[workers[i // 40 % 2]]) for i in range(0, 240, 40)
    ]
    rows = da.concatenate([da.from_delayed(one, (40, 240), apart.dtype) for one in parts])
    found = metrics.silhouette_score(
        rows.persist(), da.from_array(LABELS, chunks=40), metric="precomputed"
    )
    assert found == pytest.approx(reference.silhouette_score(X, LABELS))


def test_errors_say_what_to_do(monkeypatch):
    for labels in (np.zeros(12, int), np.arange(12)):
        with pytest.raises(InvalidDataError, match=r"Number of labels is \d+. Valid values are 2"):
            metrics.davies_bouldin_score(X[:12], labels)
    with (
        mock.patch.object(metrics.clusters, "_means", side_effect=AssertionError),
        pytest.raises(InvalidDataError, match="Number of labels is 240"),
    ):
        metrics.simplified_silhouette_score(
            X, X[:, 0]
        )  # refused before there are 240 means a block
    with pytest.raises(InvalidParameterError, match=r"centers must have shape \(5, 3\)"):
        metrics.simplified_silhouette_score(X, LABELS, centers=np.ones((4, 3)))
    for score in (metrics.simplified_silhouette_score, metrics.davies_bouldin_score):
        with pytest.raises(InvalidParameterError, match="centers contains NaN or infinity"):
            score(X, LABELS, centers=np.full((5, 3), np.nan))
    with pytest.raises(InvalidDataError, match=r"sample of 1 rows has one label of the 5"):
        metrics.silhouette_score(X, LABELS, sample_size=1)
    for size in (-5, 0, 2.5):
        with pytest.raises(InvalidParameterError, match="sample_size must be an integer >= 1"):
            metrics.silhouette_score(X, LABELS, sample_size=size)
    monkeypatch.setattr("daskml_kit.metrics.clusters.PAIRWISE_ROWS", 100)
    with pytest.raises(InvalidDataError, match="Pass sample_size=10_000, or use simplified"):
        metrics.silhouette_score(X, LABELS)
