"""GaussianMixture against scikit-learn, and whatever must not matter."""

from __future__ import annotations

import copy
import functools

import dask.array as da
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.mixture import GaussianMixture as Reference
from sklearn.utils.estimator_checks import parametrize_with_checks

from daskml_kit.cluster import GaussianMixture, KMeans
from daskml_kit.exceptions import ConvergenceWarning, InvalidDataError, InvalidParameterError
from daskml_kit.runtime import executor as protocol
from tests.cluster.data import row_weights
from tests.integration.clusters import kill, local_cluster, lone_workers, pids

KINDS = ["full", "tied", "diag", "spherical"]
X, TRUE = make_blobs(400, 4, centers=3, cluster_std=[0.7, 1.5, 2.5], random_state=3)


AS_CLASSIFIER = "takes whatever has predict_proba for a classifier of the four classes of its y"


@parametrize_with_checks(
    [GaussianMixture()],
    expected_failed_checks=lambda _: {  # scikit-learn's own takes no sparse rows and is not asked
        "check_estimator_sparse_array": AS_CLASSIFIER,
        "check_estimator_sparse_matrix": AS_CLASSIFIER,
    },
)
def test_scikit_learn_conventions(estimator, check):
    check(estimator)


def test_any_sparse_format_is_taken():
    """All that those two checks ask of other clusterings."""
    rows, model = np.where(X > 0, X, 0.0), GaussianMixture(2, tol=10.0, random_state=0)
    right = clone(model).fit(rows)
    for name in ("csr", "csc", "coo", "lil", "dok", "bsr"):
        form = getattr(sparse, f"{name}_matrix" if name == "csr" else f"{name}_array")
        found = clone(model).fit(form(rows))
        np.testing.assert_allclose(found.means_, right.means_, rtol=1e-9)
        np.testing.assert_array_equal(found.predict(form(rows)), right.predict(rows))
        assert found.predict_proba(form(rows)).shape == (len(X), 2)
    wide = sparse.csr_array(rows)
    wide.indices, wide.indptr = wide.indices.astype(np.int64), wide.indptr.astype(np.int64)
    np.testing.assert_allclose(clone(model).fit(wide).means_, right.means_, rtol=1e-9)


def given(kind, centers):
    precisions = {
        "full": np.stack([np.eye(4)] * 3),
        "tied": np.eye(4),
        "diag": np.ones((3, 4)),
        "spherical": np.ones(3),
    }[kind]
    start = {"weights_init": np.full(3, 1 / 3), "means_init": centers}
    return {"n_components": 3, "covariance_type": kind, "precisions_init": precisions, **start}


def assert_parity(ours, theirs, X, tol):
    assert ours.n_iter_ == theirs.n_iter_
    assert ours.converged_ == theirs.converged_
    for name in ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_"):
        a, b = getattr(ours, name), getattr(theirs, name)
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=tol, atol=tol * np.abs(b).max(), err_msg=name)
    np.testing.assert_allclose(ours.lower_bounds_, theirs.lower_bounds_, rtol=tol)
    for method in ("score_samples", "predict_proba", "predict"):
        found, expected = getattr(ours, method)(X), getattr(theirs, method)(X)
        np.testing.assert_allclose(found, expected, rtol=10 * tol, atol=10 * tol)
        assert found.dtype == expected.dtype
    for method in ("score", "bic", "aic"):
        np.testing.assert_allclose(getattr(ours, method)(X), getattr(theirs, method)(X), rtol=tol)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_as_scikit_learn_from_the_same_start(kind, dtype):
    rows = X.astype(dtype)
    how = given(kind, X[:3]) | {"tol": 1e-5, "max_iter": 300}
    ours, theirs = GaussianMixture(**how).fit(rows), Reference(**how).fit(rows)
    if dtype == np.float64:
        assert_parity(ours, theirs, rows, 1e-7)
        assert len(ours.history_) == ours.n_rounds_ == 2 + ours.n_iter_  # load, survey, em
    else:  # theirs rounds to float32 in every step
        np.testing.assert_allclose(ours.means_, theirs.means_, rtol=1e-2, atol=1e-2)
        assert ours.means_.dtype == np.float32


@pytest.mark.parametrize("kind", KINDS)
def test_as_scikit_learn_from_k_means(kind):
    how = {"n_components": 3, "covariance_type": kind, "tol": 1e-8, "max_iter": 500}
    ours = GaussianMixture(**how, random_state=0).fit(X)
    theirs = Reference(**how, n_init=5, random_state=0).fit(
        X
    )  # its k-means alone may end elsewhere
    np.testing.assert_allclose(ours.lower_bound_, theirs.lower_bound_, rtol=1e-6)
    order = [np.argsort(m.means_[:, 0]) for m in (ours, theirs)]
    np.testing.assert_allclose(ours.means_[order[0]], theirs.means_[order[1]], atol=1e-3)


@pytest.mark.parametrize("init", ["kmeans", "k-means++", "random", "random_from_data"])
def test_chunks_and_far_origins_change_nothing(init):
    model = GaussianMixture(3, init_params=init, n_init=2, random_state=1, tol=1e-6, max_iter=300)
    whole = clone(model).fit(X)
    parts = clone(model).fit(da.from_array(X, chunks=((7, 0, 193, 200), 2)))
    far = clone(model).fit(X + 2.0**27)
    order = np.random.default_rng(0).permutation(len(X))
    if init == "kmeans":  # draws are keyed by row, but blobs apart are found from any
        mixed = clone(model).fit(X[order])
        np.testing.assert_allclose(
            np.sort(mixed.means_, axis=0), np.sort(whole.means_, axis=0), atol=1e-2
        )
    assert whole.n_iter_ == parts.n_iter_
    np.testing.assert_allclose(parts.means_, whole.means_, rtol=1e-9)
    np.testing.assert_allclose(parts.covariances_, whole.covariances_, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(far.means_ - 2.0**27, whole.means_, atol=1e-4)
    names = [entry["name"] for entry in whole.history_]
    assert names.count("em") >= whole.n_iter_  # both runs in the same passes
    costs = [entry["objective"] for entry in whole.history_ if entry["name"] == "em"]
    assert costs[-1] < costs[0]


def assert_same(a, b, tol=1e-9):
    assert a.n_iter_ == b.n_iter_
    for name in ("weights_", "means_", "covariances_", "precisions_cholesky_", "lower_bounds_"):
        one, other = np.asarray(getattr(a, name)), np.asarray(getattr(b, name))
        np.testing.assert_allclose(one, other, rtol=tol, atol=tol * np.abs(other).max())


@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_rows_so_often(kind):
    weight, how = row_weights(len(X)), given(kind, X[:3]) | {"tol": 1e-6, "max_iter": 300}
    repeated = np.repeat(X, weight.astype(int), axis=0)
    weighted = GaussianMixture(**how).fit(X, sample_weight=weight)
    theirs = Reference(**how).fit(repeated)
    assert_same(weighted, theirs, 1e-7)
    for method in ("score", "bic", "aic"):
        found = getattr(weighted, method)(X, sample_weight=weight)
        np.testing.assert_allclose(found, getattr(theirs, method)(repeated), rtol=1e-7)
    np.testing.assert_array_equal(
        GaussianMixture(**how).fit_predict(X, sample_weight=weight), theirs.predict(X)
    )


@pytest.mark.parametrize("init", ["kmeans", "k-means++", "random", "random_from_data"])
def test_only_ratios_of_weights_matter_and_no_chunks(init):
    weight = row_weights(len(X)) / 3
    rows = X.copy()
    rows[weight == 0] *= 50  # far away, and not there
    model = GaussianMixture(3, init_params=init, random_state=1, tol=1e-6, max_iter=300)
    whole = clone(model).fit(rows, sample_weight=weight)
    chunks = (7, 0, 193, 200)
    lazy = da.from_array(rows, chunks=(chunks, 4)), da.from_array(weight, chunks=(chunks,))
    assert_same(clone(model).fit(lazy[0], sample_weight=lazy[1]), whole)
    if init != "kmeans":  # that of k-means|| draws by the weights' sum, which is rounded
        assert_same(clone(model).fit(rows, sample_weight=weight * 2.0**-60), whole)
    if init in ("kmeans", "k-means++"):
        lower = clone(model).fit(rows[weight > 0], sample_weight=weight[weight > 0]).lower_bound_
        np.testing.assert_allclose(whole.lower_bound_, lower, rtol=1e-3)
    assert (np.abs(whole.means_) < 20).all()


@pytest.mark.parametrize(
    ("kind", "init"),
    list(zip(KINDS, ["kmeans", "k-means++", "random", "random_from_data"], strict=True)),
)
def test_csr_is_fitted_as_the_same_rows_in_an_array(kind, init):
    rows, weight = np.where(X > -3, X, 0.0), row_weights(len(X))
    csr, chunks = sparse.csr_matrix(rows), (7, 0, 193, 200)
    lazy = da.from_array(rows, chunks=(chunks, 4)).map_blocks(sparse.csr_array)
    how = {"covariance_type": kind, "init_params": init, "n_init": 2, "reg_covar": 1e-2}
    model = GaussianMixture(3, **how, tol=3e-2, random_state=0)
    whole = clone(model).fit(rows, sample_weight=weight)
    parts = clone(model).fit(lazy, sample_weight=weight)
    for found in (parts, clone(model).fit(csr, sample_weight=weight)):
        assert_same(found, whole)
    for method in ("predict", "predict_proba", "score_samples", "transform"):
        right = getattr(whole, method)(rows)
        np.testing.assert_allclose(getattr(whole, method)(csr), right, rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(getattr(whole, method)(lazy).compute(), right, rtol=1e-9)
    for method in ("score", "bic", "aic"):
        right = getattr(whole, method)(rows, sample_weight=weight)
        np.testing.assert_allclose(getattr(whole, method)(csr, sample_weight=weight), right)
    whole.set_params(warm_start=True)
    resumed = [copy.deepcopy(whole).fit(one, sample_weight=weight) for one in (rows, lazy)]
    assert_same(resumed[1], resumed[0])


def test_transform_gives_the_distances_of_mahalanobis():
    model = GaussianMixture(2, random_state=0).fit(pd.DataFrame(X, columns=list("abcd")))
    gaps = X[:, None] - model.means_
    right = np.sqrt(np.einsum("nkd,kde,nke->nk", gaps, model.precisions_, gaps))
    found = model.transform(pd.DataFrame(X, columns=list("abcd")))
    np.testing.assert_allclose(found.to_numpy(), right, rtol=1e-9)
    assert list(found.columns) == ["gaussianmixture0", "gaussianmixture1"]
    centers = KMeans(3, random_state=0).fit(X)
    how = given("spherical", centers.cluster_centers_) | {"max_iter": 0}
    unit = GaussianMixture(**how).fit(X)
    np.testing.assert_allclose(unit.transform(X), centers.transform(X), rtol=1e-12)
    assert unit.fit_transform(X.astype(np.float32)).dtype == np.float32


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.zeros(400), "all zero"),
        (-np.ones(400), "Negative values"),
        (np.ones(399), "399"),
        (np.full(400, np.nan), "NaN"),
    ],
)
def test_impossible_weights(weight, message):
    with pytest.raises(InvalidDataError, match=message):
        GaussianMixture(2).fit(X, sample_weight=weight)


@pytest.mark.cluster
def test_on_a_cluster_in_kind(client):
    frame = da.from_array(X, chunks=(100, 4)).to_dask_dataframe(columns=list("abcd"))
    model = GaussianMixture(3, random_state=0).fit(frame)
    local = GaussianMixture(3, random_state=0).fit(X)
    np.testing.assert_allclose(model.means_, local.means_, rtol=1e-9)
    labels, shares = model.predict(frame), model.predict_proba(frame)
    np.testing.assert_array_equal(labels.compute(), local.predict(X))
    assert isinstance(shares.compute(), pd.DataFrame)
    assert list(model.transform(frame).columns) == list(model.get_feature_names_out())
    weight = row_weights(len(X))
    lazy = da.from_array(weight, chunks=100)
    found = model.bic(frame, lazy), model.fit(frame, sample_weight=lazy).means_
    np.testing.assert_allclose(found[0], local.bic(X, weight), rtol=1e-9)
    np.testing.assert_allclose(found[1], local.fit(X, None, weight).means_, rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_samples_come_from_the_mixture(kind):
    model = GaussianMixture(3, covariance_type=kind, random_state=0).fit(X)
    rows, labels = model.sample(6_000)
    assert rows.shape == (6_000, 4)
    np.testing.assert_allclose(np.bincount(labels) / 6_000, model.weights_, atol=0.03)
    covariance = {"full": model.covariances_, "tied": [model.covariances_] * 3}.get(kind)
    for j in range(3):
        own = rows[labels == j]
        np.testing.assert_allclose(own.mean(axis=0), model.means_[j], atol=0.3)
        if covariance is not None:
            np.testing.assert_allclose(np.cov(own.T), covariance[j], atol=0.6)


def test_warm_start_goes_on():
    model = GaussianMixture(3, random_state=0, warm_start=True, max_iter=1, tol=0.0)
    with pytest.warns(ConvergenceWarning, match="did not converge"):
        model.fit(X)
    first = model.lower_bound_
    with pytest.warns(ConvergenceWarning, match="did not converge"):
        model.fit(X)
    assert model.lower_bound_ > first
    with pytest.warns(ConvergenceWarning, match="did not converge"):
        both = GaussianMixture(3, random_state=0, max_iter=2, tol=0.0).fit(X)
    np.testing.assert_allclose(model.means_, both.means_, rtol=1e-9)
    for rows, kind in ((X[:, :3], "full"), (X, "diag")):
        with pytest.raises(InvalidParameterError, match=r"warm_start=True goes on from means"):
            model.set_params(covariance_type=kind).fit(rows)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_components": 0}, "n_components must be an integer >= 1, got 0"),
        ({"covariance_type": "round"}, r"covariance_type must be one of \['full', .*got 'round'"),
        ({"init_params": "best"}, r"init_params must be one of \['kmeans', .*got 'best'"),
        ({"weights_init": [0.5, 0.1]}, "weights_init must be at least 0 and sum up to 1"),
        ({"means_init": np.ones((3, 4))}, r"means_init must have shape \(2, 4\), got \(3, 4\)"),
        ({"precisions_init": -np.ones((2, 4, 4))}, "precisions_init of 'full' must be positive"),
        ({"means_init": np.full((2, 4), np.nan)}, "means_init contains NaN or infinity"),
        ({"weights_init": [0.5, np.nan]}, "weights_init contains NaN or infinity"),
        ({"n_components": True}, "n_components must be an integer, got True"),
        ({"warm_start": "yes"}, "warm_start must be True or False, got 'yes'"),
        ({"verbose": -1}, "verbose must be an int at least 0, or a bool, got -1"),
        ({"tol": np.inf}, "tol must be a finite number at least 0, got inf"),
        ({"n_components": 500}, "Expected n_samples >= n_components"),
    ],
)
def test_impossible_parameters(params, message):
    with pytest.raises((InvalidParameterError, InvalidDataError), match=message):
        GaussianMixture(**({"n_components": 2} | params)).fit(X)


def test_a_collapsed_component_is_reported():
    with pytest.raises(InvalidDataError, match="ill-defined empirical covariance"):
        GaussianMixture(2, reg_covar=0.0).fit(np.zeros((20, 2)))


@pytest.mark.cluster
def test_a_worker_may_die_in_the_middle():
    model = GaussianMixture(3, random_state=0, tol=1e-6, max_iter=300)
    seen, real = [], protocol.FitLog.emit
    with local_cluster(0) as client, lone_workers(client, 2):  # who dies stays dead
        victims = list(pids(client).values())

        @functools.wraps(real)
        def emit(log, event):
            real(log, event)
            seen.append(getattr(event, "name", ""))
            if seen[-1] == "em" and len(victims) == 2:
                kill(victims.pop())

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(protocol.FitLog, "emit", emit)
            found = clone(model).fit(da.from_array(X, chunks=(50, 4)))
    assert len(victims) == 1
    np.testing.assert_allclose(found.means_, model.fit(X).means_, rtol=1e-9)
