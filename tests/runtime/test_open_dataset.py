"""Any input becomes the same resident rows, and what cannot is refused before any round."""

from __future__ import annotations

import pickle

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from distributed.protocol import deserialize, serialize
from hypothesis import given, settings, strategies as st
from scipy import sparse
from sklearn.exceptions import DataConversionWarning

import daskml_kit
from daskml_kit.exceptions import (
    DaskMLKitError,
    InvalidDataError,
    InvalidDataTypeError,
    InvalidParameterError,
)
from daskml_kit.linear_model import LogisticRegression, PoissonRegressor, Ridge
from daskml_kit.runtime.block import Block, Bundle
from daskml_kit.runtime.events import FitLog
from daskml_kit.runtime.ingest import Spec
from daskml_kit.runtime.local import LocalExecutor
from daskml_kit.runtime.opening import open_dataset
from daskml_kit.runtime.remote import GraphExecutor
from tests.runtime.inputs import ALL, COLUMNS, LABELS, LAZY, WEIGHT, D, N, X, beside, frame, unknown

CLASSES = Spec("Tester", target="classes")


def bundles_of(data):
    out = []
    for bundle in data.bundles:
        handle = bundle.handle
        out.append(handle if isinstance(handle, Bundle) else handle.result())
    return out


def blocks_of(data):
    blocks = [block for bundle in bundles_of(data) for block in bundle]
    return sorted(blocks, key=lambda b: (b.start, b.n_rows))


def check_rows(data, dtype=np.float64):
    """The rows, labels and weights of the caller, each once, in order, where ``start`` says."""
    blocks = blocks_of(data)
    at = 0
    for block in blocks:
        if (
            not block.n_rows and block.start < at
        ):  # its neighbours, on another worker, are one block
            continue
        assert block.start == at
        rows = slice(at, at + block.n_rows)
        dense = block.X if isinstance(block.X, np.ndarray) else block.X.toarray()
        assert dense.dtype == dtype
        np.testing.assert_array_equal(dense, X[rows].astype(dtype))
        np.testing.assert_array_equal(data.facts.classes[block.y], LABELS[rows])
        np.testing.assert_allclose(block.weight, WEIGHT[rows], rtol=1e-15)
        for array in arrays_of(block):
            assert not array.flags.writeable
            assert array.flags.aligned
            assert array.flags.c_contiguous
        at += block.n_rows
    assert at == N == data.facts.n_rows
    assert data.facts.n_features == D
    assert data.facts.weight_sum == pytest.approx(WEIGHT.sum())
    expected = [WEIGHT[c == LABELS].sum() for c in "abc"]
    np.testing.assert_allclose(data.facts.class_weight_sums, expected)
    np.testing.assert_array_equal(data.facts.class_rows, [(c == LABELS).sum() for c in "abc"])
    assert [b.n_rows for b in data.bundles] == [b.n_rows for b in bundles_of(data)]


def arrays_of(block):
    if isinstance(block.X, np.ndarray):
        return block.X, block.y, block.weight
    return block.X.data, block.X.indices, block.X.indptr, block.y, block.weight


def opened(rows, spec=CLASSES, **how):
    return open_dataset(rows, beside(LABELS, rows), beside(WEIGHT, rows), spec=spec, **how)


@pytest.mark.parametrize("kind", ALL)
def test_any_input_in_this_process(kind):
    data, executor = opened(ALL[kind]())
    assert isinstance(executor, LocalExecutor)
    check_rows(data)


@pytest.mark.parametrize("kind", ALL)
def test_any_input_with_a_cluster(client, kind):
    data, executor = opened(ALL[kind]())
    try:
        assert isinstance(executor, GraphExecutor if kind in LAZY else LocalExecutor)
        check_rows(data)
        if kind in LAZY:
            assert len({b.worker for b in data.bundles}) == min(2, len(LAZY[kind]().chunks[0]) if (
                hasattr(LAZY[kind](), "chunks")) and not isinstance(LAZY[kind](), xr.DataArray
            ) else 2)  # fmt: skip
    finally:
        data.release()
        executor.close()


@pytest.mark.parametrize("make", [lambda: X.astype(np.float32), lambda: frame(np.float32),
    lambda: frame().astype("Float32"), lambda: da.from_array(X.astype(np.float32), chunks=20),
    lambda: dd.from_pandas(frame(np.float32), npartitions=2, sort=False),
    lambda: sparse.csr_array(X.astype(np.float32)),
], ids=["numpy", "pandas", "nullable", "dask", "dask dataframe", "csr"])  # fmt: skip
def test_float32_stays(make):
    rows = make()
    with daskml_kit.record():
        est = LogisticRegression().fit(rows, beside(LABELS, rows))
    assert est.coef_.dtype == np.float32


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint64, np.float16, object])
def test_everything_else_becomes_float64(dtype):
    rows = (X > 0).astype(dtype)
    assert Ridge().fit(rows, WEIGHT).coef_.dtype == np.float64
    assert Ridge().fit(da.from_array(rows, chunks=20), WEIGHT).coef_.dtype == np.float64


@settings(max_examples=60, deadline=None)
@given(cuts=st.lists(st.integers(0, N), max_size=8), labels=st.lists(st.integers(0, N), max_size=5))
def test_any_chunks_of_x_and_y(cuts, labels):
    def lazy(a, at):
        edges = [0, *sorted(at), N]
        chunks = (tuple(np.diff(edges).tolist()), *((n,) for n in a.shape[1:]))
        return da.from_array(a, chunks=chunks)

    data, _ = open_dataset(lazy(X, cuts), lazy(LABELS, labels), lazy(WEIGHT, cuts), spec=CLASSES)
    check_rows(data)


def test_the_callers_data_are_not_touched():
    rows, y, weight = X.copy(), LABELS.copy(), WEIGHT.copy()
    data, _ = open_dataset(rows, y, weight, spec=CLASSES)
    assert np.shares_memory(blocks_of(data)[0].X, rows)  # a view, not a copy
    with pytest.raises(ValueError, match="read-only"):
        blocks_of(data)[0].X[0, 0] = 1.0
    rows[0, 0] += 1.0  # and still the caller's to write
    thin = sparse.csr_array(X)
    LogisticRegression().fit(thin, LABELS)
    thin.data[:] *= 2.0


@pytest.mark.parametrize("kind", ["numpy", "csr"])
def test_blocks_survive_the_wire(kind):
    """Out-of-band buffers may come back at any address: blocks align themselves."""
    block = Block(ALL[kind](), np.arange(N), WEIGHT, start=7, index=3)
    buffers = []
    wire = pickle.dumps(Bundle((block,)), protocol=5, buffer_callback=buffers.append)
    odd = []
    for buffer in buffers:
        room = bytearray(buffer.raw().nbytes + 1)
        room[1:] = buffer.raw()
        odd.append(memoryview(room)[1:])  # off by one byte
    for back in (
        pickle.loads(wire, buffers=odd),
        pickle.loads(pickle.dumps(Bundle((block,)))),
        deserialize(*serialize(Bundle((block,)))),
    ):
        (got,) = back.blocks
        assert (got.start, got.index, got.n_rows) == (7, 3, N)
        for a, b in zip(arrays_of(got), arrays_of(block), strict=True):
            np.testing.assert_array_equal(a, b)
            assert a.flags.aligned
            assert not a.flags.writeable
    assert back.n_rows == N
    assert back.nbytes == block.nbytes


def test_small_blocks_are_joined_and_small_bundles_as_a_whole():
    blocks = [Block(np.zeros((10, 1)), start=start) for start in range(0, 200, 10)]  # 80 bytes each
    sizes = [[b.n_rows for b in Bundle(tuple(blocks)).coalesced(least)] for least in (0, 160, 200)]
    assert sizes == [[10] * 20, [20] * 10, [200]]


def test_a_joined_bundle_is_one_block():
    parts = [Block(X[:30], LABELS[:30], WEIGHT[:30]), Block(X[30:], LABELS[30:], WEIGHT[30:], 30)]
    (joined,) = Bundle(tuple(parts)).joined()
    np.testing.assert_array_equal(joined.X, X)
    np.testing.assert_array_equal(joined.y, LABELS)
    assert joined.rows == range(N)


def test_class_weights_are_multiplied_in():
    data, _ = opened(X, class_weights=lambda facts: np.array([1.0, 10.0, 0.5]))
    for block in blocks_of(data):
        factors = np.array([1.0, 10.0, 0.5])[block.y]
        np.testing.assert_allclose(block.weight, WEIGHT[list(block.rows)] * factors)
    data, _ = open_dataset(X, LABELS, spec=CLASSES, class_weights=lambda facts: np.arange(3.0))
    (block,) = blocks_of(data)
    np.testing.assert_array_equal(block.weight, block.y)


@pytest.mark.parametrize("kind", ["numpy", "odd chunks", "unknown chunks", "dataframe"])
@pytest.mark.parametrize("on_cluster", [False, True])
def test_row_edges(request, kind, on_cluster):
    if on_cluster:
        request.getfixturevalue("client")
    edges = [0, 10, 11, 60, N]
    data, executor = opened(ALL[kind](), edges=lambda facts: edges)
    try:
        assert [b.n_rows for b in data.bundles] == np.diff(edges).tolist()
        starts = [bundle.blocks[0].start for bundle in bundles_of(data)]
        assert starts == edges[:-1]
        check_rows(data)
    finally:
        data.release()
        executor.close()


# ------------------------------------------------------------------ what is refused


def lazy(a, chunks=20):
    a = np.asarray(a)
    return da.from_array(a, chunks=(chunks, *((-1,) * (a.ndim - 1))))


def at_row(a, row, value):
    out = np.array(a, dtype=None if np.asarray(a).dtype.kind != "U" else object)
    out[row] = value
    return out


TEXT = frame().assign(c2="text")
ARRAY, FLOAT = X, WEIGHT
BAD = {
    # name: X, y, weight, words; each also as lazy arrays where that makes sense
    "NaN": (at_row(X, (50, 2), np.nan), LABELS, None, "Input X contains NaN"),
    "infinity": (at_row(X, (50, 2), np.inf), LABELS, None, "Input X contains infinity"),
    "missing label": (X, at_row(LABELS, 50, None), None, "Input y contains NaN"),
    "NaN label": (X, at_row(WEIGHT > 1, 50, True) * np.nan, None, "Input y contains NaN"),
    "continuous labels": (X, WEIGHT, None, "Unknown label type"),
    "short y": (X, LABELS[:-1], None, "inconsistent numbers of samples"),
    "short weight": (X, LABELS, WEIGHT[:-1], "inconsistent numbers of samples"),
    "one class": (X, np.full(N, "a"), None, "only one class: .*a"),
    "one class with weight": (X, LABELS, (LABELS == "a") * 1.0, "only one class: .*a"),
    "no rows": (X[:0], LABELS[:0], None, "0 sample"),
    "no columns": (X[:, :0], LABELS, None, "0 feature"),
    "one dimension": (X[:, 0], LABELS, None, "Expected 2D array"),
    "three dimensions": (X[None], LABELS, None, "Expected 2D array|dim 3"),
    "complex": (X + 1j, LABELS, None, "Complex data not supported"),
    "text": (X.astype(str), LABELS, None, "numbers are needed"),
    "dates": (X.astype("datetime64[s]"), LABELS, None, "numbers are needed"),
    "no y": (X, None, None, "requires y to be passed"),
    "2-D y": (
        X,
        np.c_[LABELS, LABELS],
        None,
        r"y should be a 1d array.*\. Fit a model for each.*MultiOutput",
    ),
    "negative weight": (X, LABELS, at_row(WEIGHT, 50, -1.0), "Negative values .* smallest is -1.0"),
    "NaN weight": (X, LABELS, at_row(WEIGHT, 50, np.nan), "sample_weight contains NaN"),
    "zero weights": (X, LABELS, np.zeros(N), "Sample weights are all zero"),
    "2-D weight": (X, LABELS, np.c_[WEIGHT, WEIGHT], "Sample weights must be 1D"),
    "text weight": (X, LABELS, np.full(N, "x"), "could not convert|numeric"),
}


def refuses(X, y, weight, words, estimator=None):
    """Raises one of ours, and no round has run."""
    estimator = LogisticRegression() if estimator is None else estimator
    with daskml_kit.record() as run, pytest.raises(DaskMLKitError, match=words) as raised:
        estimator.fit(X, y, weight)
    assert [r.name for r in run.rounds] in ([], ["load"])
    assert [e.state for e in run.events if hasattr(e, "state")] in ([], ["started", "failed"])
    assert not hasattr(estimator, "coef_")
    return raised.value


@pytest.mark.parametrize("name", BAD)
def test_refused_in_this_process(name):
    refuses(*BAD[name])


@pytest.mark.parametrize("name", BAD)
def test_refused_lazily_without_a_cluster(name):
    X, y, weight, words = BAD[name]
    refuses(lazy(X), None if y is None else lazy(y), weight, words)


@pytest.mark.parametrize("name", BAD)
def test_refused_on_a_cluster(client, name):
    X, y, weight, words = BAD[name]
    weight = None if weight is None else lazy(weight, 33)
    refuses(lazy(X), None if y is None else lazy(y), weight, words)


@pytest.mark.parametrize("on_cluster", [False, True])
def test_the_block_is_named(request, on_cluster):
    if on_cluster:
        request.getfixturevalue("client")
    bad = at_row(at_row(X, (50, 0), np.nan), (70, 0), np.nan)
    refuses(lazy(bad), LABELS, None, r"Input X contains NaN[\s\S]*\(block 2; 2 of 5 blocks\)")


def test_kinds_that_have_no_rows(client):
    ds = xr.Dataset({"a": ("sample", X[:, 0])})
    assert isinstance(
        refuses(ds, LABELS, None, "Dataset has no single array"), InvalidDataTypeError
    )
    refuses(dd.from_pandas(frame(), npartitions=2, sort=False)["c0"], LABELS, None, "got a Series")
    refuses(TEXT, LABELS, None, r"Columns \['c2'\] hold .*could not convert string to float")
    lazy_text = dd.from_pandas(TEXT, npartitions=2, sort=False)
    refuses(lazy_text, beside(LABELS, lazy_text), None, r"Columns \['c2'\]")
    refuses(frame().assign(c1=pd.Timestamp("2020")), LABELS, None, r"Columns \['c1'\]")
    refuses("words", LABELS, None, None)
    refuses(None, LABELS, None, None)
    refuses([[1.0, 2.0], [3.0]], [0, 1], None, None)
    refuses({"a": 1}, LABELS, None, None)


def test_objects_that_are_not_numbers():
    rows = frame().astype(object)
    rows.iloc[3, 1] = "three"
    refuses(rows, LABELS, None, "could not convert string to float")
    refuses(rows.to_numpy(), LABELS, None, r"X must hold numbers: .*'three'\. Encode categories")
    refuses(X, LABELS, np.full(N, "x"), "sample_weight must hold numbers")
    times = frame().assign(c1=pd.Timestamp("2020"))
    refuses(times, LABELS, None, r"\['c1'\] hold \['datetime64.*Turn times into numbers")
    with pytest.raises(InvalidDataError, match=r"y must hold numbers: .*\. Use a classifier"):
        Ridge().fit(X, np.full(N, "p"))


@pytest.mark.parametrize("model", [LogisticRegression(), PoissonRegressor()], ids=str)
def test_a_column_of_targets_is_warned_of_once_and_here(client, model):
    """Not by each block, on the workers."""
    y = da.from_array(np.arange(N) % 2, chunks=20)[:, None]
    with pytest.warns(DataConversionWarning, match="y was passed when a 1d array") as said:
        model.fit(lazy(X), y)
    assert len(said) == 1
    assert said[0].filename == __file__


def test_missing_values_of_nullable_columns():
    rows = frame().astype("Float64")
    rows.iloc[3, 1] = pd.NA
    refuses(rows, LABELS, None, "Input X contains NaN")
    y = pd.Series(LABELS, dtype="string")
    y[5] = pd.NA
    refuses(frame(), y, None, "Input y contains NaN|missing")
    refuses(X, pd.Series(WEIGHT > 1).astype("boolean").where(WEIGHT < 1.0), None, "NaN|missing")


def test_labels_of_mixed_types(client):
    y = np.array([1, "a"] * 41 + [1], dtype=object)
    refuses(X, y, None, "mixed|Unknown label type|unknown")
    y = lazy(np.arange(N) % 2).map_blocks(mixed, dtype=object)
    refuses(lazy(X), y, None, "Labels of mixed types cannot be sorted: .*Convert y to one type")


def mixed(part, block_info=None):
    first = block_info is not None and block_info[0]["chunk-location"] == (0,)
    return part.astype(str) if first else part


def test_blocks_of_other_widths(client):
    """The collection's shape says 5 columns; one chunk has 4 when it is computed."""
    rows = lazy(X).map_blocks(narrower, dtype=float)
    refuses(rows, LABELS, None, r"differ in their number of features: \[4, 5\]")


def narrower(part, block_info=None):
    first = block_info is not None and block_info[0]["chunk-location"][0] == 0
    return part[:, :4] if first else part


def test_a_chunk_longer_than_it_says(client):
    rows = lazy(X).map_blocks(longer, dtype=float)
    refuses(rows, lazy(LABELS), None, r"inconsistent numbers of samples: X has 21 rows, y has 20")


def longer(part, block_info=None):
    return np.vstack([part, part[:1]])


def test_partitions_that_cannot_be_matched(client):
    rows = unknown(X, 25)
    refuses(rows, unknown(LABELS, 40), None, "X has 4 partitions and y has 3")
    refuses(rows, LABELS, None, "y is in memory and the chunk lengths of X are unknown")
    refuses(rows, unknown(LABELS, 25), WEIGHT, "sample_weight is in memory")
    table = dd.from_pandas(frame(), npartitions=3, sort=False)
    refuses(table, LABELS, None, "y is in memory")


def test_sparse_where_none_is_taken():
    spec = Spec("Dense", accept_sparse=False)
    with pytest.raises(InvalidDataTypeError, match="Sparse data was passed"):
        open_dataset(sparse.csr_array(X), spec=spec)


def test_class_weights_of_other_classes(client):
    est = LogisticRegression(class_weight={"a": 1.0, "z": 2.0})
    with pytest.raises(InvalidParameterError, match="class_weight"):
        est.fit(lazy(X), LABELS)


@pytest.mark.parametrize("wrap", [np.asarray, lazy], ids=["numpy", "dask"])
def test_predict_refuses_too(wrap):
    est = LogisticRegression().fit(X, LABELS)
    with pytest.raises(
        InvalidDataError, match=r"X has 4 features, but LogisticRegression is expect.* 5"
    ):
        est.predict(wrap(X[:, :4]))
    with pytest.raises(InvalidDataError, match="Expected 2D array"):
        est.predict(wrap(X[:, 0]))
    with pytest.raises(InvalidDataError, match="contains NaN"):
        np.asarray(est.predict(wrap(at_row(X, (50, 2), np.nan))))
    with pytest.raises(InvalidDataError, match="X has 4 features"):
        est.score(wrap(X[:, :4]), LABELS)
    with pytest.raises(InvalidDataError, match=r"inconsistent numbers of samples: \d+ true values"):
        est.score(wrap(X), LABELS[:-1])


def test_names_of_features():
    est = LogisticRegression().fit(frame(), LABELS)
    assert est.feature_names_in_.tolist() == COLUMNS
    other = frame()[COLUMNS[::-1]]
    for rows in (other, dd.from_pandas(other, npartitions=2, sort=False)):
        with pytest.raises(ValueError, match="Feature names must be in the same order"):
            est.predict(rows)
    for rows in (X, lazy(X)):
        with pytest.warns(UserWarning, match="does not have valid feature names"):
            est.predict(rows)
    labelled = xr.DataArray(X, dims=("s", "f"), coords={"f": COLUMNS})
    assert LogisticRegression().fit(labelled, LABELS).feature_names_in_.tolist() == COLUMNS


def test_the_log_of_a_refused_fit_is_closed():
    log = FitLog("x")
    with pytest.raises(InvalidDataError):
        open_dataset(X[:0], LABELS[:0], spec=CLASSES, log=log)
    assert log.rounds == []
