"""Answers in kind: names that clash, targets that have names, data that can't be reached."""

from __future__ import annotations

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from distributed import Client

from daskml_kit.exceptions import ClusterError
from daskml_kit.linear_model import LinearRegression, LogisticRegression
from daskml_kit.metrics import accuracy_score
from daskml_kit.runtime.placement import Piece, cut

rng = np.random.default_rng(0)
X = rng.normal(size=(40, 3))
LABELS = (X[:, 0] > 0).astype(int)


@pytest.mark.parametrize("rows", ["sample", "class"])
def test_a_coordinate_of_that_name_keeps_it(rows):
    model = LogisticRegression().fit(X, LABELS)
    array = xr.DataArray(X, dims=(rows, "feature"), coords={"kept": (rows, np.arange(40))})
    if rows == "sample":
        array = array.assign_coords({"class": ("sample", LABELS)})
    answer = model.predict_proba(array)
    assert answer.dims == (rows, "class_")
    assert answer.coords["class_"].values.tolist() == [0, 1]
    assert set(answer.coords) == {*array.coords, "class_"}
    np.testing.assert_array_equal(answer.values, model.predict_proba(X))


def test_columns_of_the_answer_are_called_as_in_y():
    y = X @ rng.normal(size=(3, 2))
    named = xr.DataArray(y, dims=("sample", "taste"), coords={"taste": ["sweet", "sour"]})
    array = xr.DataArray(X, dims=("sample", "feature"))
    frame = pd.DataFrame(X, columns=list("abc"))

    answer = LinearRegression().fit(array, named).predict(array)
    assert answer.dims == ("sample", "taste")
    assert answer.coords["taste"].values.tolist() == ["sweet", "sour"]

    model = LinearRegression().fit(frame, pd.DataFrame(y, columns=["sweet", "sour"]))
    assert list(model.predict(frame).columns) == ["sweet", "sour"]
    lazy = model.predict(dd.from_pandas(frame, npartitions=2))
    assert list(lazy.columns) == list(lazy.compute().columns) == ["sweet", "sour"]

    assert LinearRegression().fit(array, y).predict(array).dims == ("sample", "target")


def test_equal_edges_leave_a_bundle_without_rows():
    pieces = [Piece(0, 0, 3, 0, 24), Piece(1, 0, 2, 3, 16)]
    bundles = cut(pieces, [0, 0, 2, 2, 5, 5])
    assert [sum(p.n_rows for p in b) for b in bundles] == [0, 2, 0, 3, 0]
    assert all(bundles)


@pytest.mark.cluster
@pytest.mark.parametrize("kind", ["array", "frame"])
def test_data_of_another_or_a_closed_client_are_refused(client, kind):
    model = LogisticRegression().fit(X, LABELS)
    regressor = LinearRegression().fit(X, X[:, 0])
    with Client(client.scheduler.address, set_as_default=False) as other:
        whole = da.from_array(X, chunks=(10, 3))
        data, labels = other.persist([whole, da.from_array(LABELS, chunks=10)])
        if kind == "frame":
            data = other.persist(dd.from_pandas(pd.DataFrame(X), npartitions=4))
            labels = other.persist(dd.from_pandas(pd.Series(LABELS), npartitions=4))
        asked = [
            lambda: model.predict(data),
            lambda: model.predict_proba(data),
            lambda: model.score(data, labels),
            lambda: regressor.score(data, labels),
            lambda: accuracy_score(LABELS, labels),
            lambda: model.score(X, labels),
        ]
        for ask in asked:
            with pytest.raises(ClusterError, match=r"another Dask client .*as_current"):
                ask()
        with other.as_current():
            assert model.score(data, labels) == np.mean(model.predict(X) == LABELS)
    for ask in asked:
        with pytest.raises(ClusterError, match=r"client that was closed.*persist the data with it"):
            ask()
