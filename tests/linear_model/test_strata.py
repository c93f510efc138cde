"""Cells of cross-validation, worked out in the blocks, and how little the driver says of them."""

from __future__ import annotations

import pickle
from itertools import pairwise

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.utils import check_random_state

from daskml_kit.exceptions import InvalidParameterError
from daskml_kit.linear_model import LogisticRegressionCV, logistic_cv
from daskml_kit.linear_model.strata import (
    Cellar,
    Counts,
    codes_of,
    counts_of,
    folding,
    joined,
    row_codes,
)
from daskml_kit.runtime.block import Block
from daskml_kit.runtime.local import LocalExecutor
from tests.linear_model.test_logistic_cv import X, codes


def counted(y, edges):
    blocks = [Block(np.zeros((b - a, 1)), y[a:b], start=a) for a, b in pairwise(edges)]
    counts = counts_of(int(y.max()) + 1, blocks[0])
    for block in blocks[1:]:
        counts = joined(counts, counts_of(int(y.max()) + 1, block))
    return blocks, counts


@settings(max_examples=60, deadline=None)
@given(
    y=st.lists(st.integers(0, 3), min_size=12, max_size=60),
    n_folds=st.integers(2, 5),
    cuts=st.lists(st.integers(0, 60), max_size=3),
)
@pytest.mark.filterwarnings("ignore:The least populated class", "ignore:The rarest class")
def test_strata_are_scikit_learns(y, n_folds, cuts):
    _, y = np.unique(y, return_inverse=True)
    blocks, counts = counted(y, sorted({0, len(y), *(c for c in cuts if c < len(y))}))
    for cv in (StratifiedKFold(n_folds), StratifiedKFold(n_folds, shuffle=True, random_state=5)):
        if n_folds > np.bincount(y).max():
            with pytest.raises(
                InvalidParameterError, match="cannot be greater than the number of rows"
            ):
                folding(cv, None, lambda: counts)
            continue
        found = folding(cv, None, lambda: counts)
        cells = pickle.loads(pickle.dumps(found.cells))
        got = np.concatenate([codes_of(cells, block) for block in blocks])
        for fold, (_, test) in enumerate(cv.split(np.zeros(len(y)), y)):
            np.testing.assert_array_equal(np.flatnonzero(got == fold), test)
        nothing = Block(np.zeros((0, 1)), y[:0], start=len(y))
        assert codes_of(cells, nothing).tolist() == []


@pytest.mark.parametrize("seed", [np.random.RandomState(3), None], ids=["own", "global"])
def test_blocks_told_late_are_in_the_same_folds(seed):
    """The fit moves the user's generator on, and then tells blocks that were spilled or moved again."""
    (block,), counts = counted(np.arange(90) % 2, [0, 90])
    cv = StratifiedKFold(3, shuffle=True, random_state=seed)
    cells = folding(cv, None, lambda: counts).cells
    first = codes_of(pickle.loads(pickle.dumps(cells)), block)
    check_random_state(seed).random_sample(10)
    np.testing.assert_array_equal(codes_of(pickle.loads(pickle.dumps(cells)), block), first)


def test_a_shuffled_fit_moves_the_users_generator_as_scikit_learn_does():
    ours, theirs = np.random.RandomState(3), np.random.RandomState(3)
    list(StratifiedKFold(3, shuffle=True, random_state=theirs).split(X, codes))
    cv = StratifiedKFold(3, shuffle=True, random_state=ours)
    LogisticRegressionCV(Cs=[1.0], cv=cv).fit(da.from_array(X, chunks=(60, -1)), codes)
    assert ours.randint(1 << 30) == theirs.randint(1 << 30)


@pytest.mark.parametrize("folds", [StratifiedKFold, KFold])
def test_what_the_driver_says_does_not_grow_with_the_rows(folds, monkeypatch):
    """Shuffled folds of classes: not even once. Those of rows alone: once."""
    said: list[int] = []
    honest = LocalExecutor.reduce

    def weighed(self, data, reduction, params, **how):
        said.append(len(pickle.dumps(params)))
        return honest(self, data, reduction, params, **how)

    monkeypatch.setattr(LocalExecutor, "reduce", weighed)
    longest = []
    for times in (1, 40):
        said.clear()
        cv = folds(3, shuffle=True, random_state=0)
        how = {
            "Cs": [0.1],
            "cv": cv,
            "max_iter": 3,
            "refit": False,
            "tol": 0.1,
            "scoring": "roc_auc_ovr",
        }
        LogisticRegressionCV(**how).fit(np.tile(X, (times, 1)), np.tile(codes, times))
        at = (
            0 if folds is StratifiedKFold else 2
        )  # the first question about cells, after means of columns
        longest.append(max(said[at:]))
    assert longest[1] <= longest[0] + 100


def test_blocks_that_forget_are_told_again():
    """A block keeps its codes; one that lost them has its round asked again, and is told from then on."""
    y = np.arange(40) % 3
    (block,), counts = counted(y, [0, 40])
    cellar = Cellar(folding(4, None, lambda: counts).cells, dict)
    told = []

    def ask(question):
        told.append(question.cells is not None)
        return row_codes(question, block)

    first = cellar.asked(ask)
    np.testing.assert_array_equal(cellar.asked(ask), first)
    assert told == [True, False]
    block.scratch.clear()
    np.testing.assert_array_equal(cellar.asked(ask), first)
    cellar.asked(ask)
    assert told == [True, False, False, True, True]


def test_blocks_cut_during_the_fit_are_counted_again(monkeypatch):
    """Where rows were moved to another worker, the ranks of the first count are of no use."""
    whole = LogisticRegressionCV(Cs=2, cv=3).fit(X, codes)
    done = []
    honest = logistic_cv._Folds._counted

    def first_of_other_blocks(self):
        done.append(1)
        found = honest(self)
        elsewhere = {s + 1: n for s, n in found.before.items()}
        return Counts(elsewhere, found.first) if len(done) == 1 else found

    monkeypatch.setattr(logistic_cv._Folds, "_counted", first_of_other_blocks)
    again = LogisticRegressionCV(Cs=2, cv=3).fit(X, codes)
    assert len(done) == 2
    np.testing.assert_array_equal(again.coef_, whole.coef_)
