"""The scans of what most trees ask for find what the scan for everything finds, bit for bit."""

import numpy as np
from hypothesis import given, settings, strategies as st

from daskml_kit.kernels.tree_scans import (
    ANY,
    kind_of_scan,
    scan,
    scan_classes,
    scan_two_classes,
    scan_values,
)
from tests.tree.test_growing import rules_of

BINS = 9


@settings(max_examples=120, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    criterion=st.sampled_from(["gini", "squared_error"]),
    n_channels=st.integers(2, 4),
    least=st.sampled_from([1, 4]),
    missing=st.booleans(),
    categorical=st.booleans(),
    empty=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_the_same_split(seed, criterion, n_channels, least, missing, categorical, empty):
    rng = np.random.default_rng(seed)
    n_channels = 2 if criterion == "squared_error" else n_channels
    stride = n_channels + (least > 1)
    hist = rng.integers(0, 9, (BINS + 1, stride))
    if criterion == "squared_error":
        hist[:, 0] += 1
        hist[:, 1] -= 5
    hist[rng.random(BINS + 1) < empty] = 0
    hist[BINS] *= missing
    bins = np.flatnonzero(rng.random(BINS) < 0.8).astype(np.int32)
    if categorical:
        bins = rng.permutation(np.append(bins, BINS)).astype(np.int32)
    total = hist[bins].sum(axis=0) + (0 if categorical else hist[BINS])
    rules = rules_of(
        criterion, n_channels, min_samples_leaf=least, missing_bin=BINS, unit_weight=0.25,
        unit_value=0.125,
    )  # fmt: skip
    best = rng.choice([-np.inf, 0.5])

    def found(by, *between):
        left = np.zeros(stride, np.int64)
        cells = np.append(np.zeros(stride, np.int64), hist.ravel())
        said = by(cells, stride, bins, len(bins), rules, total, *between, left, categorical)
        return said, left.tolist()

    assert kind_of_scan(rules, 0) != ANY
    room = np.empty((2, stride), np.int64)
    expected = found(scan, 0, -np.inf, np.inf, best, *room)
    if criterion == "squared_error":
        assert found(scan_values, best) == expected
    else:
        assert found(scan_classes, best, room[0]) == expected
        if n_channels == 2:
            assert found(scan_two_classes, best) == expected
