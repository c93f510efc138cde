"""KMeans in this process: against scikit-learn, and at the edges."""

from __future__ import annotations

import pickle
from fractions import Fraction

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings, strategies as st
from scipy import sparse
from sklearn.base import clone
from sklearn.cluster import KMeans as Reference
from sklearn.datasets import load_digits, load_sample_images, make_blobs
from sklearn.utils.estimator_checks import parametrize_with_checks

import daskml_kit
from daskml_kit.cluster import KMeans
from daskml_kit.cluster.grouping import groups_for
from daskml_kit.cluster.parallel import ROUNDS
from daskml_kit.exceptions import ConvergenceWarning, InvalidDataError, InvalidParameterError
from tests.cluster.data import grid_blobs, row_weights, same_fit

BLOBS = grid_blobs(300, 4, 5)
NOT_EQUIVALENT = "draws are keyed by row: a row of weight 2 is drawn otherwise than two rows"


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
@parametrize_with_checks(
    [KMeans()],
    expected_failed_checks=lambda _: {  # the two that scikit-learn's KMeans is excused from
        "check_sample_weight_equivalence_on_dense_data": NOT_EQUIVALENT,
        "check_sample_weight_equivalence_on_sparse_data": NOT_EQUIVALENT,
    },
)
def test_scikit_learn_conventions(estimator, check):
    check(estimator)


def names(model: KMeans) -> list[str]:
    return [entry["name"] for entry in model.history_]


# --- against scikit-learn --------------------------------------------------------------------


def assert_parity(X, init, weight=None, **params):
    ours = KMeans(len(init), init=init, **params).fit(X, sample_weight=weight)
    theirs = Reference(len(init), init=init, n_init=1, **params).fit(X, sample_weight=weight)
    np.testing.assert_array_equal(ours.labels_, theirs.labels_)
    scale = np.abs(theirs.cluster_centers_).max()
    tol = 1e-5 if X.dtype == np.float32 else 1e-10  # their sums are float32 for float32
    np.testing.assert_allclose(ours.cluster_centers_, theirs.cluster_centers_, atol=tol * scale)
    assert ours.n_iter_ == theirs.n_iter_
    np.testing.assert_allclose(ours.inertia_, theirs.inertia_, rtol=tol)
    assert ours.cluster_centers_.dtype == theirs.cluster_centers_.dtype
    return ours


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n_features", [2, 20])
def test_blobs_as_scikit_learn(n_features, dtype, weighted):
    X, _ = make_blobs(500, n_features, centers=7, cluster_std=2.5, random_state=1)
    weight = np.random.default_rng(0).uniform(0.1, 3, 500) if weighted else None
    assert_parity(X.astype(dtype), X[:7].astype(dtype), weight)


@pytest.mark.parametrize("params", [{}, {"tol": 0.0}, {"tol": 1e-2}, {"max_iter": 3}])
@pytest.mark.parametrize("weighted", [False, True])
def test_digits_as_scikit_learn(params, weighted):
    X = load_digits().data
    weight = np.random.default_rng(1).uniform(0.1, 3, len(X)) if weighted else None
    ours = assert_parity(X, X[:10], weight, **params)
    np.testing.assert_array_equal(ours.predict(X), ours.labels_)
    assert names(ours) == ["load", "survey"] + ["lloyd"] * ours.n_iter_ + ["label"]
    assert ours.n_passes_ == 3 + ours.n_iter_
    # what rounds report is counted from sums, what inertia_ says from distances
    costs = [entry["objective"] for entry in ours.history_[2:]]
    np.testing.assert_allclose(sorted(costs, reverse=True), costs, rtol=1e-14)
    assert costs[-1] == ours.inertia_
    again = KMeans(10, init=X[:10], algorithm="lloyd", **params).fit(X, sample_weight=weight)
    np.testing.assert_allclose([e["objective"] for e in again.history_[2:]], costs, rtol=1e-12)


def test_sparse_as_dense_and_as_scikit_learn():
    X = np.where(BLOBS > 0, BLOBS, 0.0)
    dense = assert_parity(X, X[:5])
    thin = KMeans(5, init=X[:5]).fit(sparse.csr_array(X))
    same_fit(dense, thin)
    np.testing.assert_array_equal(thin.labels_, dense.labels_)
    np.testing.assert_allclose(thin.transform(sparse.csr_array(X)), dense.transform(X))


def test_an_empty_cluster_is_filled_as_by_scikit_learn():
    init = np.concatenate([BLOBS[:4], np.full((1, 4), 1e3)])
    ours = assert_parity(BLOBS, init)
    assert names(ours).count("farthest") == 1
    assert ours.n_passes_ == len(ours.history_) == ours.n_rounds_


def test_several_empty_clusters_are_filled():
    init = np.concatenate([BLOBS[:2], np.full((3, 4), 1e3)])
    ours = KMeans(5, init=init).fit(BLOBS)
    assert len(set(ours.labels_)) == 5
    assert names(ours).count("farthest") >= 1


def test_rows_without_weight_never_fill_a_cluster():
    X = np.concatenate([BLOBS, [[1e4] * 4]])
    weight = np.r_[np.ones(len(BLOBS)), 0.0]
    init = np.concatenate([BLOBS[:4], np.full((1, 4), 1e6)])
    # to strict convergence: the outlier widens the unweighted variance that tol is relative to
    ours = KMeans(5, init=init, tol=0).fit(X, sample_weight=weight)
    same_fit(ours, KMeans(5, init=init, tol=0).fit(BLOBS))


@pytest.mark.parametrize("init", ["k-means||", "k-means++"])
def test_starts_are_as_good_as_scikit_learns(init):
    X = load_digits().data
    ours = [KMeans(10, init=init, random_state=s).fit(X).inertia_ for s in range(8)]
    theirs = [Reference(10, random_state=s).fit(X).inertia_ for s in range(8)]
    assert np.mean(ours) < 1.01 * np.mean(theirs)


def test_well_separated_blobs_are_all_found():
    centers = np.stack(np.meshgrid([0, 100, 200, 300], [0, 100, 200, 300]), -1).reshape(-1, 2)
    X, _ = make_blobs(800, centers=centers, random_state=0)
    for seed in range(10):
        assert KMeans(16, random_state=seed).fit(X).inertia_ < 2.2 * 800


def test_random_starts_are_rows_of_weight():
    weight = row_weights(len(BLOBS))
    weight[:200] = 0
    model = KMeans(5, init="random", n_init=3, random_state=0, max_iter=1)
    model.fit(BLOBS, sample_weight=weight)
    outlier = np.concatenate([BLOBS, [[1e6] * 4]])
    other = KMeans(5, init="random", n_init=3, random_state=0, max_iter=1)
    other.fit(outlier, sample_weight=np.r_[weight, 0.0])
    np.testing.assert_array_equal(model.cluster_centers_, other.cluster_centers_)


# --- ties ------------------------------------------------------------------------------------


def exact_lloyd(X, centers, tol):
    """Lloyd's algorithm on whole numbers without rounding; equal distances go to the lowest index.

    A centre is a sum S over a count n: ``|x - S/n|^2 = |n x - S|^2 / n^2``.
    """
    sums, counts = [[int(v) for v in c] for c in centers], [1] * len(centers)
    labels, iterations = None, 0
    while True:
        c = np.array(sums, float) / np.array(counts)[:, None]
        gaps = ((X[:, None, :] - c) ** 2).sum(axis=2)
        found = gaps.argmin(axis=1)
        for i in np.flatnonzero((gaps <= gaps.min(axis=1, keepdims=True) * (1 + 1e-9)).sum(1) > 1):
            x = [int(v) for v in X[i]]
            found[i] = min(
                (Fraction(sum((n * a - b) ** 2 for a, b in zip(x, s, strict=True)), n * n), k)
                for k, (s, n) in enumerate(zip(sums, counts, strict=True))
            )[1]
        iterations += 1
        members = [X[found == k] for k in range(len(sums))]
        sums, counts = [[int(v) for v in m.sum(axis=0)] for m in members], [len(m) for m in members]
        moved = ((np.array(sums, float) / np.array(counts)[:, None] - c) ** 2).sum()
        if labels is not None and (found == labels).all():
            return np.array(sums, float) / np.array(counts)[:, None], iterations
        if moved <= tol * X.var(axis=0).mean():
            return np.array(sums, float) / np.array(counts)[:, None], iterations
        labels = found


@pytest.mark.parametrize("seed", range(3))
def test_ties_between_pixels_are_decided_as_by_exact_arithmetic(seed):
    """Pixels lie on a grid: many are equally far from two centres, and each decision leads elsewhere.

    scikit-learn decides by the rounding of a matrix product: its own way depends on the order of rows, on
    their scale, and on lloyd or elkan. Ours is the way of exact arithmetic, whatever the scale.
    """
    image = load_sample_images().images[0].reshape(-1, 3)[::93].astype(float)
    init = image[np.random.default_rng(seed).choice(len(image), 16, replace=False)]
    centers, iterations = exact_lloyd(image, init, 1e-4)
    for scale, offset in ((1.0, 0.0), (1 / 255, 0.0), (1 / 3, -0.1)):
        for algorithm in ("lloyd", "hamerly", "elkan"):
            X, start = image * scale + offset, init * scale + offset
            ours = KMeans(16, init=start, algorithm=algorithm).fit(X)
            assert ours.n_iter_ == iterations
            np.testing.assert_allclose(
                ours.cluster_centers_, centers * scale + offset, rtol=1e-12, atol=1e-12
            )


def test_algorithms_differ_in_distances_only():
    X = np.random.default_rng(0).normal(size=(4_000, 4))
    weight = row_weights(len(X))
    models = {
        algorithm: KMeans(100, init=X[:100], algorithm=algorithm, tol=0).fit(
            X, sample_weight=weight
        )
        for algorithm in ("lloyd", "hamerly", "yinyang", "elkan", "auto")
    }
    full = models["lloyd"]
    assert full.n_distances_ == len(X) * 100 * (full.n_iter_ + 1)
    for model in models.values():
        same_fit(model, full)
        np.testing.assert_array_equal(model.labels_, full.labels_)
    for few in ("yinyang", "elkan", "auto"):
        assert models[few].n_distances_ < 0.2 * full.n_distances_


def test_bounds_survive_a_cluster_that_is_filled_and_several_runs():
    starts = [np.concatenate([BLOBS[i : i + 4], np.full((1, 4), 1e3)]) for i in (0, 40)]
    for algorithm in ("hamerly", "yinyang"):
        one, other = iter(starts), iter(starts)
        bounded, full = (
            KMeans(5, init=lambda *_, s=s, **__: next(s), n_init=2, algorithm=a).fit(BLOBS)
            for s, a in ((one, algorithm), (other, "lloyd"))
        )
        same_fit(bounded, full)


def test_what_is_kept_is_in_proportion_to_the_rows():
    few, wide, many = np.zeros((16, 3)), np.zeros((16, 40)), np.zeros((500, 3))
    how = {"n_rows": 1_000, "nbytes": 24_000, "n_runs": 1, "sparse": False}
    assert groups_for("auto", few, **how) == groups_for("lloyd", few, **how) == "abreast"
    assert groups_for("auto", few, **how | {"n_runs": 10}) is None  # labels would be 40 bytes a row
    assert groups_for("hamerly", few, **how).shape == (1, 16)
    assert groups_for("auto", wide, **how).shape == (1, 16)
    assert groups_for("lloyd", wide, **how) is None
    assert groups_for("auto", many, **how).shape == (1, 504)  # 32 bounds a row would be 136 bytes
    assert groups_for("auto", many, **how | {"nbytes": 80_000}).shape == (32, 16)
    assert groups_for("auto", wide, **how | {"n_runs": 10}) is None
    assert groups_for("hamerly", few, **how | {"sparse": True}) is None
    assert groups_for("lloyd", few, **how | {"sparse": True}) is None
    assert groups_for("auto", wide[:2], **how) is None


# --- what must not matter --------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 300), max_size=6),
    init=st.sampled_from(["k-means||", "k-means++", "random"]),
    weighted=st.booleans(),
    unroll=st.sampled_from([1, 3]),
)
def test_chunks_change_nothing(cuts, init, weighted, unroll):
    bounds = np.array([0, *sorted(cuts), 300])
    lazy = da.from_array(BLOBS, chunks=(tuple(np.diff(bounds)), 4))  # some may be empty
    weight = row_weights(300) if weighted else None
    model = KMeans(5, init=init, n_init=2, random_state=3)
    whole = clone(model).fit(BLOBS, sample_weight=weight)
    parts = clone(model).set_params(unroll=unroll).fit(lazy, sample_weight=weight)
    same_fit(whole, parts)
    np.testing.assert_array_equal(parts.predict(BLOBS), whole.labels_)


def test_threads_change_nothing(monkeypatch):
    X = np.tile(BLOBS, (4, 1))
    model = KMeans(5, random_state=0)
    one = clone(model).fit(X)
    monkeypatch.setattr("daskml_kit.runtime.opening.LOCAL_SPLIT_BYTES", 1 << 10)
    monkeypatch.setattr("daskml_kit.runtime.opening.CPU_COUNT", 4)
    with daskml_kit.record() as run:
        several = clone(model).fit(X)
    assert len(run.rounds[-1].tasks) > 1
    same_fit(one, several)
    np.testing.assert_array_equal(one.labels_, several.labels_)


def test_weight_two_is_the_row_twice():
    weight = np.random.default_rng(0).integers(0, 3, 300)
    X = np.repeat(BLOBS, weight, axis=0)
    init = BLOBS[:5]
    # to strict convergence: the tolerance is unweighted, as scikit-learn's is
    weighted = KMeans(5, init=init, tol=0).fit(BLOBS, sample_weight=weight)
    same_fit(weighted, KMeans(5, init=init, tol=0).fit(X))


@pytest.mark.parametrize("algorithm", ["lloyd", "auto"])
def test_the_order_of_rows_changes_no_bit(algorithm):
    X, weight = np.random.default_rng(4).normal(size=(500, 9)), row_weights(500) / 3
    order = np.random.default_rng(5).permutation(500)
    model = KMeans(12, init=X[:12], algorithm=algorithm, tol=0)
    one = clone(model).fit(X, sample_weight=weight)
    other = clone(model).fit(X[order], sample_weight=weight[order])
    same_fit(one, other)
    np.testing.assert_array_equal(one.labels_[order], other.labels_)


def test_unrolled_iterations():
    model = KMeans(5, init=BLOBS[:5], tol=0).fit(BLOBS)
    unrolled = KMeans(5, init=BLOBS[:5], tol=0, unroll=4).fit(BLOBS)
    same_fit(model, unrolled)
    np.testing.assert_array_equal(model.labels_, unrolled.labels_)
    assert model.n_iter_ + 3 == model.n_rounds_
    assert unrolled.n_rounds_ == 3 + 4 * -(-model.n_iter_ // 4)
    capped = KMeans(5, init=BLOBS[:5], tol=0, unroll=4, max_iter=2).fit(BLOBS)
    assert (capped.n_iter_, names(capped).count("lloyd")) == (2, 2)


def test_unrolled_iterations_stop_where_a_cluster_is_empty():
    init = np.concatenate([BLOBS[:4], np.full((1, 4), 1e3)])
    model = KMeans(5, init=init).fit(BLOBS)
    same_fit(model, KMeans(5, init=init, unroll=5).fit(BLOBS))


def test_runs_side_by_side_are_runs_alone():
    inits = [BLOBS[i : i + 5] for i in (0, 50, 100)]
    rest = iter(inits)
    model = KMeans(5, init=lambda *_, **__: next(rest), n_init=3).fit(BLOBS)
    alone = [KMeans(5, init=init).fit(BLOBS) for init in inits]
    chosen = min(alone, key=lambda m: round(m.inertia_, 6))
    same_fit(model, chosen)
    assert names(model).count("lloyd") == max(m.n_iter_ for m in alone)


# --- edges -----------------------------------------------------------------------------------


def test_one_cluster():
    model = KMeans(1).fit(BLOBS)
    np.testing.assert_array_equal(model.cluster_centers_[0], BLOBS.mean(axis=0))
    np.testing.assert_allclose(model.inertia_, BLOBS.var(axis=0).sum() * 300)


@pytest.mark.parametrize("init", ["k-means||", "k-means++", "random"])
def test_a_cluster_for_each_row(init):
    X = BLOBS[:20]
    model = KMeans(20, init=init, n_init=1, random_state=0).fit(X)
    assert model.inertia_ == 0
    assert sorted(model.labels_) == list(range(20))


@pytest.mark.parametrize("init", ["k-means||", "k-means++", "random"])
@pytest.mark.parametrize("scale", [0.1, 1e9 + 1 / 3])
def test_fewer_distinct_rows_than_clusters(init, scale):
    X = np.repeat([[0.0, 1.0], [1.0, 1.0], [3.0, 7.0]], 7, axis=0) * scale
    with pytest.warns(ConvergenceWarning, match=r"distinct clusters \(3\) found smaller than n_"):
        model = KMeans(6, init=init, n_init=5, random_state=0).fit(X)
    assert len(set(model.labels_)) == 3
    assert model.n_iter_ < 5
    assert model.inertia_ < 1e-20 * scale**2


def test_constant_data():
    X = np.full((50, 3), 0.1)
    with pytest.warns(ConvergenceWarning, match=r"distinct clusters \(1\)"):
        model = KMeans(4).fit(X)
    np.testing.assert_array_equal(model.cluster_centers_, np.full((4, 3), 0.1))
    assert model.inertia_ == 0


@pytest.mark.parametrize("init", ["k-means||", "k-means++", "random"])
def test_far_from_the_origin(init):
    near = KMeans(5, init=init, random_state=0).fit(BLOBS)
    far = KMeans(5, init=init, random_state=0).fit(BLOBS + 1e8)  # exact: a grid of 1/64
    np.testing.assert_array_equal(far.labels_, near.labels_)
    np.testing.assert_array_equal(far.cluster_centers_, near.cluster_centers_ + 1e8)
    np.testing.assert_allclose(far.inertia_, near.inertia_, rtol=1e-12)
    np.testing.assert_array_equal(far.predict(BLOBS + 1e8), near.labels_)
    np.testing.assert_allclose(far.transform(BLOBS + 1e8), near.transform(BLOBS), atol=1e-7)


def test_far_from_the_origin_in_float32():
    near, far = BLOBS.astype(np.float32), (BLOBS + 2.0**15).astype(np.float32)
    one, other = (KMeans(5, random_state=0).fit(X) for X in (near, far))
    np.testing.assert_array_equal(one.labels_, other.labels_)
    np.testing.assert_allclose(other.cluster_centers_ - 2.0**15, one.cluster_centers_, atol=4e-3)


def test_far_from_the_origin_from_an_array_and_in_chunks():
    X = BLOBS + 1e8
    lazy = da.from_array(X, chunks=(70, 2))
    whole = KMeans(5, init=X[:5]).fit(X)
    same_fit(whole, KMeans(5, init=X[:5]).fit(lazy))
    same_fit(whole, KMeans(5, init=da.from_array(X[:5])).fit(X))


def test_float32_stays_float32():
    X = BLOBS.astype(np.float32)
    model = KMeans(5, random_state=0).fit(X)
    assert model.cluster_centers_.dtype == np.float32
    assert model.transform(X).dtype == np.float32
    assert (model.labels_.dtype, model.predict(X).dtype) == (np.int32, np.int32)
    np.testing.assert_array_equal(model.predict(X), model.labels_)
    np.testing.assert_array_equal(
        model.labels_, KMeans(5, random_state=0).fit(X.astype(float)).labels_
    )


def test_sparse_chunks():
    X = np.where(BLOBS > 0, BLOBS, 0.0)
    lazy = da.from_array(X, chunks=(77, 4)).map_blocks(sparse.csr_matrix)
    whole = KMeans(5, random_state=0).fit(sparse.csr_array(X))
    parts = KMeans(5, random_state=0).fit(lazy)
    same_fit(whole, parts)
    np.testing.assert_array_equal(parts.predict(lazy).compute(), whole.labels_)


# --- what a fit costs and says ---------------------------------------------------------------


def test_passes_of_k_means_parallel():
    model = KMeans(20, random_state=0, max_iter=2, tol=0).fit(BLOBS)
    draws = ["kmeans-parallel"] * ROUNDS
    assert names(model) == ["load", "survey", *draws, "weigh", "lloyd", "lloyd", "label"]
    assert model.n_rounds_ == model.n_passes_ == len(model.history_)
    costs = [e["objective"] for e in model.history_]
    # The cost of more candidates than centres would stand below the fit's own: it isn't reported.
    assert costs[:-3] == [None] * (ROUNDS + 3)
    assert costs[-3] > costs[-2] >= costs[-1]


def test_all_runs_share_passes():
    model = KMeans(5, init="random", n_init=4, random_state=0, max_iter=2, tol=0).fit(BLOBS)
    assert names(model) == ["load", "survey", "lloyd", "lloyd", "label"]


def test_score_and_transform():
    weight = row_weights(300)
    model = KMeans(5, random_state=0).fit(BLOBS, sample_weight=weight)
    np.testing.assert_allclose(model.score(BLOBS, sample_weight=weight), -model.inertia_)
    gaps = model.transform(BLOBS)
    np.testing.assert_array_equal(gaps.argmin(axis=1), model.labels_)
    np.testing.assert_allclose((gaps.min(axis=1) ** 2) @ weight, model.inertia_)
    assert model.n_features_in_ == 4
    before = model.history_
    model.score(BLOBS[:50])
    assert model.history_ is before
    again = KMeans(5, random_state=0)
    np.testing.assert_allclose(again.fit_transform(BLOBS, sample_weight=weight), gaps)
    assert model.get_feature_names_out().tolist() == [f"kmeans{i}" for i in range(5)]


def test_a_fitted_model_is_a_plain_object():
    model = KMeans(5, random_state=0).fit(da.from_array(BLOBS, chunks=(100, 4)))
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copy.predict(BLOBS), model.predict(BLOBS))
    assert not hasattr(model, "labels_")
    with pytest.raises(AttributeError, match=r"data in memory only.*use fit_predict"):
        _ = model.labels_
    assert not hasattr(KMeans(), "labels_")


def test_a_callable_gets_the_data_as_passed():
    lazy, seen = da.from_array(BLOBS, chunks=(100, 4)), []

    def first_rows(X, n_clusters, random_state):
        seen.append((X, random_state.randint(1000)))
        return X[:n_clusters]

    model = KMeans(5, init=first_rows, n_init=2, random_state=0).fit(lazy)
    assert [X is lazy for X, _ in seen] == [True, True]
    assert seen[0][1] != seen[1][1]
    same_fit(model, KMeans(5, init=BLOBS[:5]).fit(BLOBS))
    assert KMeans(init=first_rows)._n_runs() == KMeans(init="random")._n_runs() == 10


# --- in kind ---------------------------------------------------------------------------------


def test_frames():
    frame = pd.DataFrame(BLOBS, columns=list("abcd"), index=np.arange(300) * 2)
    model = KMeans(5, random_state=0)
    labels = model.fit_predict(frame)
    pd.testing.assert_series_equal(labels, model.predict(frame))
    assert isinstance(model.labels_, np.ndarray)
    assert model.feature_names_in_.tolist() == list("abcd")
    gaps = model.transform(frame)
    assert gaps.columns.tolist() == [f"kmeans{i}" for i in range(5)]
    assert gaps.index.equals(frame.index)


def test_data_arrays():
    X = xr.DataArray(BLOBS, dims=("site", "band"), coords={"site": np.arange(300) + 5})
    model = KMeans(5, random_state=0)
    labels = model.fit_predict(X)
    assert labels.dims == ("site",)
    np.testing.assert_array_equal(labels["site"], X["site"])
    np.testing.assert_array_equal(labels, model.labels_)
    lazy = model.predict(X.chunk({"site": 100}))
    assert isinstance(lazy.data, da.Array)
    np.testing.assert_array_equal(lazy["site"], X["site"])
    gaps = model.transform(X)
    assert gaps.dims == ("site", "cluster")
    assert gaps["cluster"].values.tolist() == [f"kmeans{i}" for i in range(5)]


# --- refusals --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_clusters": 0}, "n_clusters must be an int at least 1, got 0"),
        ({"n_clusters": 2.0}, "n_clusters must be an int at least 1, got 2.0"),
        ({"n_init": 0}, 'n_init must be an int at least 1 or "auto", got 0'),
        ({"max_iter": 0}, "max_iter must be an int at least 1"),
        ({"unroll": True}, "unroll must be an int at least 1, got True"),
        ({"tol": -1.0}, "tol must be a finite number at least 0, got -1.0"),
        ({"tol": np.nan}, "tol must be a finite number at least 0, got nan"),
        ({"tol": np.inf}, "tol must be a finite number at least 0, got inf"),
        ({"verbose": "x"}, "verbose must be an int at least 0, or a bool, got 'x'"),
        ({"init": None}, "init must be one of .* or a callable, got None"),
        ({"init": 5}, "init must be one of .* or a callable, got 5"),
        ({"init": sparse.csr_array(BLOBS[:8])}, r"init must be .*got csr_array of shape \(8, 4\)"),
        ({"init": BLOBS[:8] * np.nan}, "init contains NaN or infinity"),
        ({"init": "kmeans"}, r"init must be one of \['k-means\|\|', .*got 'kmeans'"),
        ({"algorithm": "full"}, r"algorithm must be one of \['auto', .*got 'full'"),
    ],
)
def test_impossible_parameters(params, message):
    with pytest.raises(InvalidParameterError, match=message):
        KMeans(**params).fit(BLOBS)


@pytest.mark.parametrize(
    ("rows", "init", "message"),
    [
        (5, "k-means||", "n_samples=5 should be >= n_clusters=8. Lower n_clusters"),
        (20, BLOBS[:7], r"initial centers \(7, 4\) does not match the number of clusters 8"),
        (20, BLOBS[:8, :3], r"\(8, 3\) does not match the number of features of the data 4"),
        (20, lambda X, *_, **__: X[:2], r"initial centers \(2, 4\) does not match"),
    ],
)
def test_impossible_data(rows, init, message):
    with pytest.raises(ValueError, match=message):
        KMeans(init=init).fit(BLOBS[:rows])


def test_weights_all_zero():
    with pytest.raises(InvalidDataError, match="Sample weights are all zero"):
        KMeans().fit(BLOBS, sample_weight=np.zeros(300))


def test_several_runs_from_one_array():
    with pytest.warns(RuntimeWarning, match="only one init in KMeans instead of n_init=3"):
        KMeans(5, init=BLOBS[:5], n_init=3).fit(BLOBS)


def test_score_checks_features():
    model = KMeans(5, random_state=0).fit(BLOBS)
    with pytest.raises(ValueError, match="Expected 2D array"):
        KMeans(2).fit(BLOBS).score(BLOBS[0])
    with pytest.raises(ValueError, match="X has 3 features, but KMeans is expecting 4"):
        model.score(BLOBS[:, :3])
