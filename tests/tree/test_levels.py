"""Level by level over spread rows: the trees that grow whole, bit for bit, a round a level, then one more."""

from __future__ import annotations

import functools
from types import SimpleNamespace

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from sklearn.base import clone

import daskml_kit
from daskml_kit.ensemble import ExtraTreesClassifier, RandomForestClassifier, RandomForestRegressor
from daskml_kit.kernels import tree_growth
from daskml_kit.runtime import executor as protocol, graph
from daskml_kit.runtime.local import LocalExecutor
from daskml_kit.tree import (
    DecisionTreeClassifier,
    DecisionTreeRegressor,
    finishing,
    levels,
    merging,
    standing,
)
from daskml_kit.tree.finishing import Small
from daskml_kit.tree.merging import Part
from tests.integration.clusters import kill, local_cluster, ours, pids, wait_until

rng = np.random.default_rng(0)
N = 500
X = rng.integers(0, 100, (N, 4)).astype(float)
X[rng.random(X.shape) < 0.1] = np.nan
X[:, 3] = X[:, 3] > 90  # constant in most nodes: the search must go on
Y = (np.nan_to_num(X[:, 0] * X[:, 1]) > 2_000).astype(int) + (X[:, 2] > 85)
VALUES = np.nan_to_num(X[:, 0] * X[:, 1]) / 7
MODELS = [
    (RandomForestClassifier(3, random_state=0), Y),
    (RandomForestRegressor(2, random_state=0, min_samples_leaf=2, max_depth=6), VALUES),
    (ExtraTreesClassifier(2, random_state=0, class_weight="balanced"), Y),
    (RandomForestClassifier(2, random_state=0, max_leaf_nodes=9), Y),
    (DecisionTreeClassifier(max_features=1, random_state=1, criterion="entropy"), Y),
    (DecisionTreeRegressor(max_depth=5, monotonic_cst=[1, 0, -1, 0]), VALUES),
]


def bits(model):
    states = [m.tree_.__getstate__() for m in getattr(model, "estimators_", [model])]
    return [(s["nodes"].tobytes(), s["values"].tobytes()) for s in states]


def names(model):
    return [event["name"] for event in model.history_]


@functools.cache
def grown_whole(which):
    model, y = MODELS[which]
    return clone(model).fit(X, y)


@settings(max_examples=18, deadline=None)
@given(
    which=st.sampled_from(range(len(MODELS))),
    cuts=st.lists(st.integers(0, N), max_size=4),
    budget=st.sampled_from([1, 300_000, levels.HISTOGRAM_BYTES]),
    # None is small; those of one row; of 30; all below the root.
    small=st.sampled_from([0, 1e-3, 0.05, finishing.HISTOGRAMS]),
    travelling=st.sampled_from([5_000, finishing.FINISH_BYTES]),
    apart=st.sampled_from([0, 30_000, merging.MERGE_BYTES]),
)
def test_one_forest_whichever_way_it_grows(which, cuts, budget, small, travelling, apart):
    whole, (model, y) = grown_whole(which), MODELS[which]
    bounds = np.array([0, *sorted(cuts), N])
    lazy = da.from_array(X, chunks=(tuple(np.diff(bounds)), 4))
    with pytest.MonkeyPatch.context() as patch, daskml_kit.config_context(trees="reduce"):
        patch.setattr(levels, "HISTOGRAM_BYTES", budget)
        patch.setattr(finishing, "HISTOGRAMS", small)
        patch.setattr(finishing, "FINISH_BYTES", travelling)
        patch.setattr(merging, "MERGE_BYTES", apart)
        patch.setattr(levels._Forest, "_spread", lambda _: True)
        grown = clone(model).fit(lazy, da.from_array(y, chunks=lazy.chunks[0]))
    assert (whole.growth_, grown.growth_) == ("replicate", "reduce")
    assert bits(grown) == bits(whole)


def test_rounds_are_levels_of_large_nodes_and_one_for_all_small_ones(monkeypatch):
    model = RandomForestRegressor(20, max_depth=4, random_state=0)
    monkeypatch.setattr(LocalExecutor, "lanes", lambda _: 2)
    with daskml_kit.config_context(trees="reduce"):
        begun = clone(model).fit(X[:, :3], VALUES)
        monkeypatch.setattr(finishing, "HISTOGRAMS", 0)
        model.fit(X[:, :3], VALUES)
    # Loading, the sample of the bins, five levels: the last counts the rows of leaves.
    assert names(model) == ["load", "tree-survey"] + 5 * ["tree-level"]
    assert names(begun) == ["load", "tree-survey", "tree-level", "finish-nodes"]
    assert begun.n_passes_ == 4


def test_the_heavier_sibling_is_not_looked_at(monkeypatch):
    real, looked = levels.fill_nodes, []

    def fill_nodes(codes, p, runs, nodes, *rest):
        looked.append((len(nodes), np.diff(runs[nodes]).sum()))
        real(codes, p, runs, nodes, *rest)

    monkeypatch.setattr(finishing, "HISTOGRAMS", 0)
    monkeypatch.setattr(levels, "fill_nodes", fill_nodes)
    with daskml_kit.config_context(trees="reduce"):
        DecisionTreeRegressor(max_depth=3).fit(X[:, :3], VALUES)
    assert [n for n, _ in looked] == [1, 1, 2, 8]  # of 1, 2, 4, and 8 leaves to be counted
    assert [rows <= N // 2 for _, rows in looked] == [False, True, True, False]


def test_rows_of_no_weight_are_rows_that_travel(monkeypatch):
    """Weights say that a node is small; below large nodes that is not believed."""
    weight = np.where(X[:, 3] == 0, 1e-9, 1.0)  # nine rows of ten
    monkeypatch.setattr(finishing, "HISTOGRAMS", 0.05)
    sent = []
    real = finishing.finish

    def finish(*given):
        out = real(*given)
        sent.extend(int(nodes.ints[0, tree_growth.ROWS]) for nodes in out)
        return out

    monkeypatch.setattr(levels.finishing, "finish", finish)
    with daskml_kit.config_context(trees="reduce"):
        spread = DecisionTreeClassifier(random_state=0).fit(X, Y, sample_weight=weight)
    assert bits(spread) == bits(DecisionTreeClassifier(random_state=0).fit(X, Y, weight))
    assert 0 < max(sent) < N // 2


def test_small_nodes_are_dealt_out_by_their_rows():
    nodes = [Small(0, i, 0, 1, 0.0, 0.0, 1.0, rows) for i, rows in enumerate([5, 1, 9, 4, 1])]
    assert finishing.dealt(nodes, 2) == [[1, 2], [0, 3, 4]]


def test_trees_take_turns_where_their_rows_outgrow_memory(monkeypatch):
    growth = SimpleNamespace(rules=SimpleNamespace(criterion=0))
    workers = {w: SimpleNamespace(memory_limit=80 * N, n_threads=1) for w in "ab"}
    ground = SimpleNamespace(
        executor=SimpleNamespace(workers=workers),
        data=SimpleNamespace(facts=SimpleNamespace(n_rows=N)),
    )
    # A fifth of 160 bytes a row, 16 bytes a row and tree.
    assert list(levels._groups(ground, growth, [1, 2, 3, 4, 5])) == [[1, 2], [3, 4], [5]]


def test_rows_are_drawn_once_and_let_go(monkeypatch):
    real, drawn = standing.in_bag, []

    def in_bag(columns, times, *rest):
        drawn.append(len(times))
        return real(columns, times, *rest)

    monkeypatch.setattr(standing, "in_bag", in_bag)
    monkeypatch.setattr(finishing, "HISTOGRAMS", 0.05)
    with daskml_kit.config_context(trees="reduce"):
        RandomForestClassifier(5, random_state=0).fit(X, Y)
    assert drawn == [N] * 5


def test_features_are_dealt_out_evenly():
    parts = [Part(0, n, 0, np.arange(7), 0, 0.0, 0.0, None) for n in range(3)]
    for lanes in (1, 2, 4, 50):
        shares = merging.dealt(parts, lanes)
        sizes = [sum(len(part.features) for part in share) for share in shares]
        assert max(sizes) - min(sizes) <= 1
        flat = [(p.node, p.low + i, f) for s in shares for p in s for i, f in enumerate(p.features)]
        assert flat == [(n, i, i) for n in range(3) for i in range(7)]


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("executor", "small", "apart"), [("actor", 0.05, 0), ("graph", 0, 1 << 24)]
)
def test_a_cluster_grows_it_level_by_level(client, executor, small, apart, monkeypatch):
    monkeypatch.setattr(finishing, "HISTOGRAMS", small)
    monkeypatch.setattr(merging, "MERGE_BYTES", apart)
    model, y = MODELS[0]
    lazy = da.from_array(X, chunks=(120, 4))
    with daskml_kit.config_context(trees="reduce", executor=executor):
        spread = clone(model).set_params(max_depth=6).fit(lazy, da.from_array(y, chunks=120))
    assert bits(spread) == bits(clone(model).set_params(max_depth=6).fit(X, y))
    assert names(spread).count("finish-nodes") == (small > 0)
    left = ("finish-nodes", "tree-level")
    wait_until(lambda: not [k for k in ours(client) if any(name in k for name in left)])


@pytest.mark.cluster
@pytest.mark.parametrize("level", [0, 3])
def test_a_worker_may_die_at_any_level(level, lossy, monkeypatch):
    monkeypatch.setattr(finishing, "HISTOGRAMS", 0)
    model = RandomForestClassifier(3, max_depth=5, random_state=0)
    victim, seen = next(iter(pids(lossy).values())), []
    real = protocol.FitLog.emit

    @functools.wraps(real)
    def emit(log, event):
        real(log, event)
        if getattr(event, "name", "") == "tree-level":
            seen.append(event)
            if len(seen) == level + 1:
                kill(victim)

    monkeypatch.setattr(protocol.FitLog, "emit", emit)
    survives(model)


@pytest.mark.cluster
def test_a_worker_may_die_while_small_nodes_are_finished(lossy, monkeypatch):
    victim, real, killed = next(iter(pids(lossy).values())), graph.Plan.submit, []

    def submit(plan, client):
        futures = real(plan, client)
        if any("finish-nodes" in str(key) for key in plan.outputs):
            kill(victim)
            killed.append(victim)
        return futures

    monkeypatch.setattr(graph.Plan, "submit", submit)
    survives(RandomForestClassifier(3, random_state=0))
    assert killed


def survives(model):
    lazy = da.from_array(X, chunks=(120, 4))
    with daskml_kit.config_context(trees="reduce"):
        spread = clone(model).fit(lazy, da.from_array(Y, chunks=120))
    assert bits(spread) == bits(model.fit(X, Y))


@pytest.fixture
def lossy():
    with local_cluster() as client:
        yield client
