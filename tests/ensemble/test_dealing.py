"""Members of other packages get even shares of the rows on each worker, and leave nothing behind."""

from __future__ import annotations

from collections import defaultdict

import dask.array as da
import numpy as np
import pytest
from distributed import default_client, futures_of
from sklearn.datasets import make_classification
from sklearn.naive_bayes import GaussianNB

from daskml_kit.ensemble import StackingClassifier, VotingClassifier, dealing
from daskml_kit.exceptions import ClusterError
from tests.integration.clusters import ours, wait_until

X, CODES = make_classification(401, 6, n_informative=4, n_classes=3, random_state=0)
Y = np.array(["ant", "bee", "cat"])[CODES]
SORTED = np.argsort(Y, kind="stable")
CHUNKS = (100, 100, 0, 120, 81)


class PickyNB(GaussianNB):
    """Wants rows of every class on each worker, as lightgbm.dask does, and fails holding futures."""

    client = None

    def __init__(self, failing=False):
        super().__init__()
        self.failing = failing

    def fit(self, X, y, sample_weight=None):
        client = default_client()
        rows = client.persist(y + 0)
        if self.failing:
            held = client.compute([rows, X])
            raise RuntimeError(f"failed with {len(held)} in hand")
        labels = defaultdict(list)
        for future, at in zip(futures_of(y), client.who_has(futures_of(y)).values(), strict=True):
            labels[at[0]].append(future.result())
        self.labels_ = [np.concatenate(parts) for parts in labels.values()]
        return super().fit(X.compute(), y.compute())

    def to_local(self):
        twin = GaussianNB()
        twin.__dict__.update(self.__dict__)
        return twin


def lazy(rows, y=Y):
    return da.from_array(X[rows], chunks=(CHUNKS, 6)), da.from_array(y[rows], chunks=CHUNKS)


def shares(member):
    return np.array([np.bincount(labels, minlength=3) for labels in member.model.labels_])


@pytest.mark.cluster
@pytest.mark.parametrize("rows", [slice(None), SORTED], ids=["mixed", "sorted"])
def test_every_worker_gets_rows_of_every_class(client, rows):
    stack = StackingClassifier([("a", PickyNB())], cv=2).fit(*lazy(rows))
    expected = StackingClassifier([("a", GaussianNB())], cv=2).fit(X[rows], Y[rows])
    np.testing.assert_allclose(stack.predict_proba(X), expected.predict_proba(X), rtol=1e-6)
    voting = VotingClassifier([("a", PickyNB())], voting="soft").fit(*lazy(rows))
    np.testing.assert_allclose(
        voting.predict_proba(X), GaussianNB().fit(X, Y).predict_proba(X), rtol=1e-6
    )
    found = shares(voting.estimators_[0])
    np.testing.assert_array_equal(found.sum(axis=0), np.bincount(CODES))
    assert found.all()
    if isinstance(rows, np.ndarray):
        assert len(found) == 2
        assert np.ptp(found, axis=0).max() <= 1
        assert np.ptp(found.sum(axis=1)) == 1
    wait_until(lambda: not ours(client))


@pytest.mark.cluster
def test_a_class_of_one_row_is_on_the_one_worker_that_learns(client, monkeypatch):
    y = np.where(np.arange(len(Y)) == 7, "rare", np.where(Y == "cat", "bee", Y))
    model = VotingClassifier([("a", PickyNB())]).fit(*lazy(slice(None), y))
    assert shares(model.estimators_[0])[:, 2].tolist() == [1]
    monkeypatch.setattr(dealing, "slots", lambda worker, nbytes: 0)
    with pytest.raises(
        ClusterError, match=r"member 'a' .*rarest of its classes has 1 rows for 2 w"
    ):
        model.fit(*lazy(slice(None), y))


@pytest.mark.cluster
def test_a_member_that_fails_lets_go_of_what_it_holds(client):
    with pytest.raises(RuntimeError, match="2 in hand") as failed:
        VotingClassifier([("a", PickyNB(failing=True))]).fit(*lazy(SORTED))
    assert failed.value.__notes__ == ["This happened while fitting the member 'a'."]
    wait_until(lambda: not client.run_on_scheduler(_held))


def _held(dask_scheduler):
    return [key for key, task in dask_scheduler.tasks.items() if task.who_wants]
