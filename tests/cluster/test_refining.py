"""Starts that are refined on a sample before all rows are read."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest

from daskml_kit.cluster import KMeans, ground, refining, started
from daskml_kit.cluster.refining import LEAST_ROWS_EACH, SHARE, Points, sample_size
from daskml_kit.cluster.selection import winners
from tests.cluster.data import grid_blobs, row_weights, same_fit

K = 5
N = SHARE * LEAST_ROWS_EACH * K  # the fewest rows whose sample is worth something
X = grid_blobs(N, 4, 12)


def rounds(model: KMeans) -> list[str]:
    return [entry["name"] for entry in model.history_ if entry["name"] != "lloyd"]


@pytest.mark.parametrize("weighted", [False, True])
def test_a_sample_costs_no_round_and_spares_iterations(weighted, monkeypatch):
    rng = np.random.default_rng(1)
    corners = rng.integers(0, 2, (16_000, 3)) + 0.4 * rng.normal(size=(16_000, 3))
    weight = row_weights(len(corners)) if weighted else None
    seeds = range(4)
    refined = [KMeans(8, random_state=s).fit(corners, sample_weight=weight) for s in seeds]
    monkeypatch.setattr(started, "sample_size", lambda *_: 0)
    plain = [KMeans(8, random_state=s).fit(corners, sample_weight=weight) for s in seeds]
    assert rounds(refined[0]) == rounds(plain[0])
    assert sum(m.n_iter_ for m in refined) < sum(m.n_iter_ for m in plain)
    assert np.median([m.inertia_ for m in refined]) <= 1.01 * np.median([m.inertia_ for m in plain])


def test_several_runs_send_one_sample(monkeypatch):
    limits = []

    def drawn(block, seed, asked, limit):
        limits.append(limit)
        return winners(block, seed, asked, limit)

    monkeypatch.setattr(ground, "winners", drawn)
    KMeans(K, random_state=0, n_init=3, max_iter=1).fit(X, sample_weight=row_weights(N))
    assert len(limits) % 4 == 0  # for each block: a row for each run, and the sample
    assert np.isfinite(limits).all()


@pytest.mark.parametrize("weighted", [False, True])
def test_chunks_change_nothing_of_it(weighted):
    weight = row_weights(N) if weighted else None
    whole = KMeans(K, random_state=0, n_init=2).fit(X, sample_weight=weight)
    chunks = (7, N // 2, 0, N // 2 - 7)
    lazy = da.from_array(X, chunks=((*chunks,), (4,)))
    parts = None if weight is None else da.from_array(weight, chunks=((*chunks,),))
    same_fit(whole, KMeans(K, random_state=0, n_init=2).fit(lazy, sample_weight=parts))


def test_the_work_of_all_starts_is_bounded(monkeypatch):
    most, converged = [], Points.lloyd

    def counted(self, start, max_iter, tol):
        if tol > 0.0:  # on the sample
            most.append(max_iter)
        return converged(self, start, max_iter, tol)

    monkeypatch.setattr(Points, "lloyd", counted)
    monkeypatch.setattr(refining, "WORK", 6 * 20 * (N // SHARE) * K * 4)
    KMeans(K, random_state=0, n_init=2, max_iter=1).fit(X)
    assert most == [20] * 6  # three starts of each run


def test_far_from_the_origin_it_is_the_same_start():
    near, far = (KMeans(K, random_state=0).fit(X + shift) for shift in (0.0, 2.0**27))
    moved_back = far.cluster_centers_ - 2.0**27  # what is left of 2^27 are steps of 2^-26
    np.testing.assert_allclose(moved_back, near.cluster_centers_, rtol=0, atol=2.0**-26)
    assert far.n_iter_ == near.n_iter_


def test_a_centre_without_points_stays_where_it_is():
    points = Points.of(np.array([[0.0], [1.0], [9.0]]), np.array([1.0, 3.0, 1.0]))
    found = points.lloyd(np.array([[2.0], [8.0], [1e3]]), 10, 0.0)
    np.testing.assert_allclose(found.ravel(), [0.75, 9.0, 1e3])


def test_a_small_cluster_is_not_lost_in_the_sample():
    rows = np.concatenate([X, np.full((3, 4), 500.0)])
    model = KMeans(K, random_state=0).fit(rows)
    assert (model.labels_[-3:] == model.labels_[-1]).all()
    assert np.sum(model.labels_ == model.labels_[-1]) == 3


def test_the_best_on_a_part_of_the_sample_goes_on_on_all_of_it(monkeypatch):
    rows, converged = [], Points.converged

    def counted(self, start, n_starts, tol=refining.TOL):
        rows.append((self.block.n_rows, n_starts))
        return converged(self, start, n_starts, tol)

    monkeypatch.setattr(Points, "converged", counted)
    more = np.concatenate([X] * 4)
    KMeans(K, random_state=0, n_init=2, max_iter=1).fit(more)
    whole = len(more) // SHARE
    assert rows == [(whole // 4, 6)] * 6 + [(whole, 2)] * 2


def test_few_rows_or_wide_ones_are_not_sampled():
    assert sample_size(K, N, 4) == LEAST_ROWS_EACH * K
    assert sample_size(K, N - 1, 4) == sample_size(K, N, 10**5) == 0


def test_few_points_take_the_iterations_that_many_take(monkeypatch):
    rng = np.random.default_rng(0)
    points = Points.of(rng.normal(size=(400, 5)), rng.uniform(0.5, 2.0, 400))
    start = rng.normal(size=(6, 5))
    few = points.lloyd(start, 50, 0.0)
    monkeypatch.setattr(refining, "FEW_TERMS", 0)
    np.testing.assert_allclose(points.lloyd(start, 50, 0.0), few, rtol=1e-9)
