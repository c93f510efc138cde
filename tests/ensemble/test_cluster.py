"""Lazy data: on a cluster and without one, answers in kind, and nothing left behind."""

from __future__ import annotations

import time
from itertools import pairwise

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings, strategies as st
from scipy import sparse
from sklearn.datasets import make_classification, make_regression
from sklearn.ensemble import RandomForestClassifier
from sklearn.tree import DecisionTreeClassifier

from daskml_kit.ensemble import BlockwiseClassifier, BlockwiseRegressor
from daskml_kit.exceptions import InvalidParameterError
from daskml_kit.runtime.block import Block, Bundle
from daskml_kit.runtime.events import RoundEvent, record
from daskml_kit.runtime.in_kind import HELD_BYTES
from daskml_kit.runtime.placement import Piece, cut
from daskml_kit.runtime.size import pickled_bytes

CHUNKS = (60, 0, 41, 100, 99)
NAMES = np.array(["ant", "bee", "cat"])
FUSIONS = ["vote", "average", "weighted", "stack"]


def labelled():
    X, y = make_classification(300, 6, n_informative=4, n_classes=3, random_state=0)
    return X, NAMES[y]


def lazy(X, y, chunks=CHUNKS):
    return da.from_array(X, chunks=(chunks, X.shape[1])), da.from_array(y, chunks=chunks)


def held(client):
    """Keys of this package on the scheduler, after the time that releasing takes."""
    deadline = time.monotonic() + 5
    while True:
        keys = client.run_on_scheduler(
            lambda dask_scheduler: [k for k in map(str, dask_scheduler.tasks) if "daskml" in k]
        )
        if not keys or time.monotonic() > deadline:
            return keys
        time.sleep(0.05)


@pytest.mark.cluster
@pytest.mark.parametrize("n_blocks", [None, 3])
@pytest.mark.parametrize("fusion", FUSIONS)
def test_the_cluster_fits_what_this_process_fits(fusion, n_blocks, request):
    X, y = labelled()
    weight = np.random.default_rng(0).integers(0, 3, len(y)).astype(float)
    data, target = lazy(X, y)
    model = BlockwiseClassifier(fusion=fusion, n_blocks=n_blocks, random_state=0)
    here = model.fit(data, target, da.from_array(weight, chunks=CHUNKS)).predict_proba(X)
    rows = model.member_rows_
    client = request.getfixturevalue("client")
    there = model.fit(data, target, da.from_array(weight, chunks=CHUNKS)).predict_proba(X)
    np.testing.assert_array_equal(there, here)
    np.testing.assert_array_equal(model.member_rows_, rows)
    assert len(rows) == (4 if n_blocks is None else 3)  # the empty block has no member
    assert not held(client)


@pytest.mark.cluster
@pytest.mark.parametrize("fusion", FUSIONS)
def test_regression_on_the_cluster_and_here(fusion, request):
    X, y = make_regression(300, 6, noise=20.0, random_state=0)
    model = BlockwiseRegressor(fusion=fusion, random_state=0)
    here = model.fit(*lazy(X, y)).predict(X)
    request.getfixturevalue("client")
    np.testing.assert_array_equal(model.fit(*lazy(X, y)).predict(X), here)


@pytest.mark.cluster
def test_a_member_is_fitted_where_its_block_is(client):
    X, y = labelled()
    data, target = lazy(X, y, (75,) * 4)
    with record() as run:
        BlockwiseClassifier(fusion="weighted").fit(data, target)
    rounds = {e.name: e for e in run.events if isinstance(e, RoundEvent)}
    assert list(rounds) == ["load", "fit-members", "score-members"]
    at = {name: [t.worker for t in rounds[name].tasks] for name in rounds}
    assert at["fit-members"] == at["score-members"]
    assert sorted(at["fit-members"].count(w) for w in set(at["fit-members"])) == [2, 2]
    assert [t.rows for t in rounds["fit-members"].tasks] == [75] * 4


@pytest.mark.cluster
def test_many_blocks_and_large_members(client):
    """More members than the driver takes without a merge tree, and more bytes than a task embeds."""
    X, y = labelled()
    X, y = np.tile(X, (20, 1)), np.tile(y, 20)
    data, target = lazy(X, y, (300,) * 20)
    model = BlockwiseClassifier(RandomForestClassifier(20), fusion="weighted", random_state=0)
    model.fit(data, target)
    assert len(model.estimators_) == 20
    assert pickled_bytes(model.estimators_) > HELD_BYTES
    np.testing.assert_array_equal(model.predict(data[:900]).compute(), model.predict(X[:900]))
    frame = dd.from_pandas(pd.DataFrame(X[:900]), npartitions=3)
    np.testing.assert_array_equal(model.predict(frame).compute(), model.predict(X[:900]))
    assert not held(client)


@pytest.mark.cluster
def test_nothing_is_left_after_a_fit_that_fails(client):
    X, y = labelled()
    with pytest.raises(ValueError, match="max_features"):
        BlockwiseClassifier(DecisionTreeClassifier(max_features=-1)).fit(*lazy(X, y))
    with pytest.raises(InvalidParameterError, match="more members than there are rows"):
        BlockwiseClassifier(n_blocks=301).fit(*lazy(X, y))
    assert not held(client)


@pytest.mark.cluster
def test_answers_in_kind(client):
    X, y = labelled()
    data, target = lazy(X, y)
    model = BlockwiseClassifier(fusion="average", random_state=0).fit(data, target)
    labels, proba = model.predict(X), model.predict_proba(X)

    answer = model.predict(data)
    assert isinstance(answer, da.Array)
    np.testing.assert_array_equal(answer.compute(), labels)
    np.testing.assert_array_equal(model.predict_proba(data).compute(), proba)
    assert model.score(data, target) == pytest.approx(np.mean(labels == y), rel=1e-12)

    array = xr.DataArray(data, dims=("sample", "feature"), coords={"sample": np.arange(300) * 2})
    answer = model.predict_proba(array)
    assert isinstance(answer, xr.DataArray)
    assert isinstance(answer.data, da.Array)
    assert answer.coords["class"].values.tolist() == NAMES.tolist()
    np.testing.assert_array_equal(answer.values, proba)


@pytest.mark.cluster
def test_sparse_chunks(client):
    X, y = labelled()
    X = np.where(np.abs(X) > 1, X, 0.0)
    data, target = lazy(X, y, (150, 150))
    thin = data.map_blocks(sparse.csr_matrix, meta=sparse.csr_matrix((0, 6)))
    model = BlockwiseClassifier(fusion="stack", n_blocks=3, random_state=0).fit(thin, target)
    proba = model.predict_proba(X)
    np.testing.assert_array_equal(model.predict_proba(thin).compute(), proba)
    model.fit(data, target)
    np.testing.assert_allclose(model.predict_proba(X), proba, rtol=1e-9)


@pytest.mark.cluster
def test_frames_by_partition(client):
    X, y = labelled()
    frame = pd.DataFrame(X, columns=[f"f{i}" for i in range(6)])
    both = dd.from_pandas(frame.assign(label=y), npartitions=4)
    features = both[list(frame)]
    model = BlockwiseClassifier(random_state=0).fit(features, both["label"])
    assert len(model.estimators_) == 4
    assert list(model.feature_names_in_) == list(frame)
    assert not hasattr(model.estimators_[0], "feature_names_in_")
    answer = model.predict(features)
    assert isinstance(answer, dd.Series)
    expected = model.predict(frame)
    assert isinstance(expected, pd.Series)
    np.testing.assert_array_equal(answer.compute().to_numpy(), expected.to_numpy())
    assert list(model.predict_proba(features).columns) == NAMES.tolist()


# ---------------------------------------------------------------- rows regrouped by the runtime


@settings(deadline=None)
@given(
    rows=st.lists(st.integers(0, 9), min_size=1, max_size=8).filter(any),
    groups=st.integers(1, 12),
)
def test_cut_bundles_hold_each_row_once_and_in_order(rows, groups):
    n = sum(rows)
    groups = min(groups, n)
    edges = [i * n // groups for i in range(groups + 1)]
    starts = np.concatenate([[0], np.cumsum(rows)]).tolist()
    pieces = [Piece(i, 0, r, s, 8 * r) for i, (r, s) in enumerate(zip(rows, starts, strict=False))]
    bundles = cut(pieces, edges)
    for (low, high), bundle in zip(pairwise(edges), bundles, strict=True):
        inside = [starts[p.block] + row for p in bundle for row in range(p.low, p.high)]
        assert inside == list(range(low, high))
        assert [p.start for p in bundle] == [starts[p.block] + p.low for p in bundle]


def test_joined_blocks_are_the_same_rows():
    whole = Block(np.arange(12.0).reshape(6, 2), np.arange(6.0), np.ones(6), start=4)
    bundle = Bundle((whole.slice(0, 2), whole.slice(2, 6))).joined()
    (block,) = bundle
    for name in ("X", "y", "weight"):
        np.testing.assert_array_equal(getattr(block, name), getattr(whole, name))
    assert block.rows == whole.rows
    assert bundle.joined() is bundle
