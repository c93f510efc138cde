"""Answers of packed trees against scikit-learn's own, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

from daskml_kit.kernels import tree_predict
from daskml_kit.kernels.tree_predict import Table, add_values, packed
from daskml_kit.tree import answers
from daskml_kit.tree.answers import Packing, all_leaves, all_paths, mean_values

rng = np.random.default_rng(0)
# One value a feature in ten is a threshold's own, between float32 neighbours in the last column.
X = rng.integers(0, 20, (303, 5)).astype(np.float32)
X[:, 4] = np.nextafter(np.float32(1), np.float32(2)) * (1 + rng.integers(0, 2, 303) * 1.2e-7)
X[rng.random(X.shape) < 0.1] = np.nan
Y = rng.integers(0, 3, 303)


@pytest.mark.parametrize("given", [{}, {"ccp_alpha": 0.01}, {"max_leaf_nodes": 7}])
@pytest.mark.parametrize("kind", [RandomForestClassifier, RandomForestRegressor])
def test_says_what_scikit_learn_says(kind, given, monkeypatch):
    theirs = kind(6, random_state=0, n_jobs=None, **given).fit(X, Y)
    packing, trees = Packing(), [member.tree_ for member in theirs.estimators_]
    ours = packing.of(trees)
    assert packing.of(list(trees)) is ours
    expected = (
        theirs.predict_proba(X) if hasattr(theirs, "classes_") else theirs.predict(X)[:, None]
    )
    dense = np.nan_to_num(X)
    for tile in (1, tree_predict.TILE_BYTES):  # 64 rows and a rest, or all at once
        monkeypatch.setattr(tree_predict, "TILE_BYTES", tile)
        np.testing.assert_array_equal(mean_values(ours, X), expected)
        np.testing.assert_array_equal(all_leaves(ours, X), theirs.apply(X))
    found, starts = all_paths(ours, X)
    paths, begins = theirs.decision_path(X)
    np.testing.assert_array_equal(starts, begins)
    assert (found != paths).nnz == 0
    monkeypatch.setattr(answers, "SLICE_VALUES", 500)
    rows = sparse.csr_array(dense)
    np.testing.assert_array_equal(all_leaves(ours, rows), all_leaves(ours, dense))
    np.testing.assert_array_equal(mean_values(ours, rows), mean_values(ours, dense))
    assert (all_paths(ours, rows)[0] != all_paths(ours, dense)[0]).nnz == 0


def test_each_tree_adds_to_its_own_column():
    stump = Table(
        np.array([1, -1, -1]), np.array([2, -1, -1]), np.array([0, -2, -2]), np.array([0.5, -2, -2]),
        np.zeros(3, bool), np.array([[0.0], [1.0], [2.0]]),
    )  # fmt: skip
    out = np.full((3, 2), 10.0)
    rows = np.array([[0.0], [np.inf], [np.nan]], np.float32)
    add_values(packed([stump, stump._replace(column=1), stump]), rows, out)
    np.testing.assert_array_equal(out, [[12, 11], [14, 12], [14, 12]])
    add_values(packed([stump]), rows[:0], out[:0])
