"""Members on a cluster: side by side, the same as here, refused where they don't fit, lost with a worker."""

from __future__ import annotations

import os
import time

import dask.array as da
import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import make_classification
from sklearn.tree import DecisionTreeClassifier

from daskml_kit.ensemble import StackingClassifier, VotingClassifier
from daskml_kit.exceptions import ClusterError
from daskml_kit.linear_model import LogisticRegression
from daskml_kit.runtime import jobs
from daskml_kit.runtime.events import RoundEvent, record
from daskml_kit.runtime.placement import WorkerInfo
from tests.integration.clusters import kill, local_cluster, ours, pids, wait_until

CHUNKS = (60, 0, 41, 100, 99)
NAMES = np.array(["ant", "bee", "cat"])
TREES = [(f"t{i}", DecisionTreeClassifier(max_depth=i + 2, random_state=i)) for i in range(5)]


def labelled():
    X, y = make_classification(300, 6, n_informative=4, n_classes=3, random_state=0)
    return X, NAMES[y]


def lazy(X, y):
    return da.from_array(X, chunks=(CHUNKS, X.shape[1])), da.from_array(y, chunks=CHUNKS)


def fit_rounds(run):
    return [e for e in run.events if isinstance(e, RoundEvent) and e.name == "fit-members"]


@pytest.mark.cluster
def test_the_cluster_fits_what_this_process_fits(client):
    X, y = labelled()
    weight = np.random.default_rng(0).integers(0, 3, len(y)).astype(float)
    members = [*TREES, ("own", LogisticRegression())]
    for model in (
        VotingClassifier(members, voting="soft"),
        StackingClassifier(members, final_estimator=LogisticRegression(), cv=3),
        StackingClassifier(TREES, cv=3),
    ):
        here = model.fit(X, y, sample_weight=weight).predict_proba(X)
        data, target = lazy(X, y)
        model.fit(data, target, sample_weight=da.from_array(weight, chunks=CHUNKS))
        np.testing.assert_allclose(model.predict_proba(X), here, rtol=1e-6)
        np.testing.assert_allclose(model.predict_proba(data).compute(), here, rtol=1e-6)
        wait_until(lambda: not ours(client))


@pytest.mark.cluster
@pytest.mark.parametrize("n_jobs", [None, 1])
def test_members_are_fitted_side_by_side_at_most_n_jobs_at_a_time(client, n_jobs):
    with record() as run:
        VotingClassifier([(n, Slow()) for n in "abcd"], n_jobs=n_jobs).fit(*lazy(*labelled()))
    tasks = fit_rounds(run)[0].tasks
    spans = sorted((t.started, t.started + t.compute_seconds) for t in tasks)
    together = max(sum(a <= start < b for a, b in spans) for start, _ in spans)
    assert together == (2 if n_jobs is None else 1)
    assert [t.rows for t in tasks] == [300] * 4
    assert len({t.worker for t in tasks}) == (2 if n_jobs is None else 1)


@pytest.mark.cluster
def test_members_that_do_not_fit_on_a_worker_are_refused_before_any_is_fitted(client, monkeypatch):
    monkeypatch.setattr(jobs, "GATHER_MEMORY_SHARE", 1e-9)
    X, y = labelled()
    with (
        record() as run,
        pytest.raises(
            ClusterError, match=r"the member 't0' needs about .*kiB on one worker.*limit"
        ),
    ):
        VotingClassifier(TREES).fit(*lazy(X, y))
    assert not fit_rounds(run)
    VotingClassifier([("own", LogisticRegression())]).fit(*lazy(X, y))  # nothing is gathered
    wait_until(lambda: not ours(client))


def test_slots_follow_threads_and_memory():
    worker = WorkerInfo("a", n_threads=4, memory_limit=1000)
    assert [jobs.slots(worker, size) for size in (10.0, 200.0, 600.0, 601.0)] == [4, 3, 1, 0]
    assert jobs.slots(WorkerInfo("a", n_threads=4), 1e12) == 4


class Slow(ClassifierMixin, BaseEstimator):
    """Takes its time, and writes down which process it began in."""

    def __init__(self, path=None, seconds=0.3):
        self.path = path
        self.seconds = seconds

    def fit(self, X, y):
        if self.path is not None:
            with open(self.path, "a") as file:
                file.write(f"{os.getpid()}\n")
        time.sleep(self.seconds)
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.repeat(self.classes_[:1], len(X))


@pytest.mark.cluster
def test_a_lost_worker_costs_only_its_members(tmp_path):
    """Of four members on two workers the first two are done when a worker dies."""
    from threading import Thread

    X, y = labelled()
    paths = {name: tmp_path / name for name in "abcd"}
    quick = {"a": 0.1, "b": 0.1, "c": 2.0, "d": 2.0}
    members = [(name, Slow(str(paths[name]), quick[name])) for name in paths]
    with local_cluster() as client:
        began = pids(client)
        data, target = lazy(X, y)
        model = VotingClassifier(members)
        fit = Thread(target=model.fit, args=(data, target))
        fit.start()
        wait_until(lambda: all(paths[n].exists() and paths[n].read_text() for n in "cd"), 60)
        lost = int(paths["c"].read_text())
        assert lost in began.values()
        kill(lost)
        fit.join()
        starts = {name: path.read_text().split() for name, path in paths.items()}
    assert {name: len(s) for name, s in starts.items()} == {"a": 1, "b": 1, "c": 2, "d": 1}
    assert len(model.estimators_) == 4
