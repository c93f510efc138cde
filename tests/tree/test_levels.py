"""Level by level over spread rows: the trees that grow whole, bit for bit, in a round a level."""

from __future__ import annotations

import functools

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from sklearn.base import clone

import daskml_kit
from daskml_kit.ensemble import ExtraTreesClassifier, RandomForestClassifier, RandomForestRegressor
from daskml_kit.runtime import executor as protocol
from daskml_kit.tree import DecisionTreeClassifier, DecisionTreeRegressor, levels
from tests.integration.clusters import kill, local_cluster, pids

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


@settings(max_examples=12, deadline=None)
@given(
    which=st.sampled_from(range(len(MODELS))),
    cuts=st.lists(st.integers(0, N), max_size=4),
    budget=st.sampled_from([1, 300_000, levels.HISTOGRAM_BYTES]),
)
def test_one_forest_whichever_way_it_grows(which, cuts, budget):
    model, y = MODELS[which]
    whole = clone(model).fit(X, y)
    bounds = np.array([0, *sorted(cuts), N])
    lazy = da.from_array(X, chunks=(tuple(np.diff(bounds)), 4))
    with pytest.MonkeyPatch.context() as patch, daskml_kit.config_context(trees="reduce"):
        patch.setattr(levels, "HISTOGRAM_BYTES", budget)
        grown = clone(model).fit(lazy, da.from_array(y, chunks=lazy.chunks[0]))
    assert (whole.growth_, grown.growth_) == ("replicate", "reduce")
    assert bits(grown) == bits(whole)


def test_rounds_are_levels():
    with daskml_kit.config_context(trees="reduce"):
        model = RandomForestRegressor(7, max_depth=4, random_state=0).fit(X[:, :3], VALUES)
    # Loading, the sample of the bins, five levels: the last counts the rows of leaves.
    assert model.n_rounds_ == model.n_passes_ == 2 + 5


@pytest.mark.cluster
@pytest.mark.parametrize("executor", ["actor", "graph"])
def test_a_cluster_grows_it_level_by_level(client, executor):
    model, y = MODELS[0]
    lazy = da.from_array(X, chunks=(120, 4))
    with daskml_kit.config_context(trees="reduce", executor=executor):
        spread = clone(model).set_params(max_depth=6).fit(lazy, da.from_array(y, chunks=120))
    assert bits(spread) == bits(clone(model).set_params(max_depth=6).fit(X, y))


@pytest.mark.cluster
@pytest.mark.parametrize("level", [0, 3])
def test_a_worker_may_die_at_any_level(level, lossy):
    client, model = lossy, RandomForestClassifier(3, max_depth=5, random_state=0)
    lazy = da.from_array(X, chunks=(120, 4))
    victims, seen = pids(client), []
    real = protocol.FitLog.emit

    @functools.wraps(real)
    def emit(log, event):
        real(log, event)
        if getattr(event, "name", "") == "tree-level":
            seen.append(event)
            if len(seen) == level + 1:
                kill(next(iter(victims.values())))

    with pytest.MonkeyPatch.context() as patch, daskml_kit.config_context(trees="reduce"):
        patch.setattr(protocol.FitLog, "emit", emit)
        spread = clone(model).fit(lazy, da.from_array(Y, chunks=120))
    assert bits(spread) == bits(model.fit(X, Y))
    client.wait_for_workers(2)


@pytest.fixture(scope="module")
def lossy():
    with local_cluster() as client:
        yield client
