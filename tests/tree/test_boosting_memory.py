"""How many histograms boosting holds where every lane has all rows, and where such lanes pay."""

from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.base import clone

import daskml_kit
from daskml_kit.ensemble import GradientBoostingRegressor
from daskml_kit.runtime.placement import WorkerInfo
from daskml_kit.tree import boosting, boosting_limbs, boosting_trees
from daskml_kit.tree.boosting import way_to_boost

X = np.random.default_rng(0).normal(size=(400, 6))
Y = X[:, 0] * X[:, 1] + np.sin(3 * X[:, 2])


def way(n_rows, n_features, *limits, threads=1):
    workers = {str(i): WorkerInfo(str(i), threads, limit) for i, limit in enumerate(limits)}
    return way_to_boost(
        SimpleNamespace(workers=workers),
        SimpleNamespace(n_rows=n_rows, n_features=n_features),
        SimpleNamespace(missing_bin=255),
        SimpleNamespace(objective=SimpleNamespace(width=1), max_leaf_nodes=None),
    )


def test_lanes_hold_all_rows_where_they_and_histograms_fit():
    big = 2 << 30
    assert way(500_000, 20, big, big) == "replicate"
    assert way(500_000, 20, big, big // 20) == "reduce"  # the smallest worker decides
    assert way(6_000, 1_000, big, threads=4) == "replicate"
    assert way(6_000, 5_000, big, threads=4) == "reduce"  # rows fit, histograms do not
    # Without a limit rows are bounded too: 2,000,000 of them pass by their number alone.
    for none in (None, 0):
        assert way(2_000_000, 20, none, big) == "replicate"
        assert way(2_000_000, 1_000, none, None) == "reduce"
        assert way(200_000, 500, none, threads=16) == "reduce"


@pytest.mark.parametrize("cells", [0.0, 8.0])
def test_lanes_keep_to_their_bytes_and_grow_the_same_trees(cells, monkeypatch):
    model = GradientBoostingRegressor(n_estimators=2, max_depth=7)
    monkeypatch.setattr(boosting_limbs, "SPARE_VALUES", 10**9)
    with daskml_kit.config_context(trees="replicate"):
        free = clone(model).fit(X, Y)
    held, real = [], boosting_trees.BoostingTree.decide

    def decide(tree, asked, hist, rows):
        real(tree, asked, hist, rows)
        followed = sum(wanted.sibling >= 0 for wanted in asked)
        held.append((len(asked), followed, len(tree._hist)))

    monkeypatch.setattr(boosting_trees.BoostingTree, "decide", decide)
    cell = 6 * (255 + 1 + 8) * 2 * 8
    monkeypatch.setattr(boosting, "lane_bytes", lambda workers: cells * cell)
    with daskml_kit.config_context(trees="replicate"):
        tight = clone(model).fit(X, Y)
    asked, followed, kept = np.max(held, axis=0)
    assert asked == max(1, cells // 4)
    assert followed <= asked
    assert kept <= cells / 2
    assert (kept > 0) == (followed > 0) == (cells > 0)
    for (ours,), (theirs,) in zip(tight._trees.tables, free._trees.tables, strict=True):
        for name in ("left", "feature", "threshold", "values", "rows"):
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
