"""Models trained apart, made one: what each way means, and what doesn't fit together."""

from __future__ import annotations

import pickle

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import sklearn.linear_model
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.datasets import make_classification, make_regression
from sklearn.linear_model import (
    Lasso,
    LinearRegression,
    LogisticRegression,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
    TweedieRegressor,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

import daskml_kit.linear_model as own
from daskml_kit.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    BlockwiseClassifier,
    FusedClassifier,
    StackingClassifier,
    VotingClassifier,
    fuse,
)
from daskml_kit.ensemble.training import local, spreads
from daskml_kit.exceptions import InvalidDataError, InvalidParameterError
from tests.integration.clusters import ours, wait_until

NAMES = np.array(["ant", "bee", "cat"])
X, CODES = make_classification(400, 6, n_informative=4, n_classes=3, random_state=0)
Y = NAMES[CODES]
_, VALUES = make_regression(400, 6, noise=20.0, random_state=0)
VALUES = X @ np.arange(6.0) + VALUES / 50
TARGETS = np.column_stack([VALUES, -VALUES])
SITES = [slice(0, 100), slice(100, 250), slice(250, 300)]
HELD = slice(300, 400)
CHUNKS = (60, 0, 40)


def sites(*kinds, y=Y):
    return [kind.fit(X[s], y[s]) for kind, s in zip(kinds, SITES, strict=True)]


def mixed():
    return sites(GaussianNB(), DecisionTreeClassifier(random_state=0), own.LogisticRegression())


def regressors():
    return sites(Ridge(), own.Ridge(), DecisionTreeRegressor(random_state=0), y=VALUES)


def probabilities(models):
    return np.array([m.predict_proba(X) for m in models])


def test_average_vote_and_weights():
    models = mixed()
    p = probabilities(models)
    w = np.array([100, 150, 50]) / 300
    votes = np.array([m.predict(X)[:, None] == NAMES for m in models])
    for how, weights, expected in [
        ("average", None, p.mean(axis=0)),
        ("average", [100, 150, 50], np.tensordot(w, p, 1)),
        ("weighted", [100, 150, 50], np.tensordot(w, p, 1)),
        ("vote", None, votes.mean(axis=0)),
        ("vote", [100, 150, 50], np.tensordot(w, votes, 1)),
    ]:
        model = fuse(models, how, weights=weights)
        np.testing.assert_allclose(model.predict_proba(X), expected, rtol=1e-9)
        np.testing.assert_array_equal(model.predict(X), NAMES[model.predict_proba(X).argmax(1)])

    f = np.array([m.predict(X) for m in regressors()])
    np.testing.assert_allclose(fuse(regressors()).predict(X), f.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(fuse(regressors(), "vote").predict(X), np.median(f, axis=0))


def test_weights_by_score_on_other_rows():
    model = fuse(mixed(), "weighted", X[HELD], Y[HELD])
    scores = [m.score(X[HELD], Y[HELD]) for m in mixed()]
    np.testing.assert_allclose(model.member_scores_, scores, rtol=1e-12)
    np.testing.assert_allclose(model.weights_, np.array(scores) / sum(scores), rtol=1e-12)
    model = fuse(regressors(), "weighted", X[HELD], VALUES[HELD])
    scores = [m.score(X[HELD], VALUES[HELD]) for m in regressors()]
    np.testing.assert_allclose(model.member_scores_, scores, rtol=1e-9)


def test_stacking_is_that_of_fitted_members():
    final = LogisticRegression(max_iter=1000)
    model = fuse(mixed(), "stack", X[HELD], Y[HELD])
    named = [(str(i), m) for i, m in enumerate(mixed())]
    reference = StackingClassifier(named, final, cv="prefit").fit(X[HELD], Y[HELD])
    np.testing.assert_allclose(model.predict_proba(X), reference.predict_proba(X), rtol=1e-9)
    line = fuse(regressors(), "stack", X[HELD], VALUES[HELD])
    assert isinstance(line.final_estimator_, LinearRegression)
    assert line.score(X, VALUES) > 0.8


@pytest.mark.parametrize("module", ["scikit-learn", "own"])
def test_parameters_of_one_linear_family(module):
    kind = LogisticRegression if module == "scikit-learn" else own.LogisticRegression
    models = sites(kind(), kind(), kind())
    w = np.array([100, 150, 50]) / 300
    model = fuse(models, "parameters", weights=[100, 150, 50])
    coef = sum(a * m.coef_ for a, m in zip(w, models, strict=True))
    np.testing.assert_allclose(model.coef_, coef, rtol=1e-12)
    assert type(model.estimators_[0]) is kind
    assert len(model.estimators_) == 1
    raw = X @ coef.T + sum(a * m.intercept_ for a, m in zip(w, models, strict=True))
    np.testing.assert_array_equal(model.predict(X), NAMES[raw.argmax(axis=1)])

    lines = sites(Ridge(), own.Ridge(), Ridge(), y=VALUES)  # of one name: a mean of predictions
    merged = fuse(lines, "parameters")
    assert isinstance(merged.intercept_, float)
    np.testing.assert_allclose(merged.predict(X), fuse(lines).predict(X), rtol=1e-9)
    margins = sites(RidgeClassifier(), RidgeClassifier(), RidgeClassifier())
    assert fuse(margins, "parameters").score(X, Y) > 0.5  # no probabilities needed


def test_links_are_compared_by_what_models_answer():
    for module in (own, sklearn.linear_model):
        kinds = [module.TweedieRegressor(power=p, alpha=0.1) for p in (1.2, 1.5, 1.8)]
        models = sites(*kinds, y=VALUES - VALUES.min() + 1)
        coef = np.mean([m.coef_ for m in models], axis=0)
        merged = fuse(models, "parameters")
        expected = np.exp(X @ coef + np.mean([m.intercept_ for m in models]))
        np.testing.assert_allclose(merged.predict(X), expected, rtol=1e-9)
    flat = sites(*(Lasso(1e6) for _ in SITES), y=VALUES)  # no sum but the intercept's
    assert fuse(flat, "parameters").predict(X[:1]) == np.mean([VALUES[s].mean() for s in SITES])


def test_several_targets():
    models = sites(Ridge(), DecisionTreeRegressor(random_state=0), Ridge(), y=TARGETS)
    said = np.array([m.predict(X) for m in models])
    np.testing.assert_allclose(fuse(models).predict(X), said.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(fuse(models, "vote").predict(X), np.median(said, axis=0))
    assert fuse(models).predict(da.from_array(X, chunks=(90, 6))).compute().shape == (400, 2)
    for how in ("weighted", "stack"):
        model = fuse(models, how, X[HELD], TARGETS[HELD])
        assert model.score(X, TARGETS) > 0.8
        with pytest.raises(InvalidDataError, match="y has 1 columns, but the models predict 2"):
            fuse(models, how, X[HELD], VALUES[HELD])
    lines = sites(Ridge(), Ridge(), Ridge(), y=TARGETS)
    np.testing.assert_allclose(fuse(lines, "parameters").predict(X), fuse(lines).predict(X))


def test_classes_that_differ_are_aligned():
    kept = [np.flatnonzero(c != CODES) for c in range(3)]
    few = [GaussianNB().fit(X[rows], Y[rows]) for rows in kept]
    model = fuse(few)
    assert model.classes_.tolist() == NAMES.tolist()
    expected = np.zeros((400, 3))
    for m in few:
        expected[:, np.searchsorted(NAMES, m.classes_)] += m.predict_proba(X) / 3
    np.testing.assert_allclose(model.predict_proba(X), expected, rtol=1e-12)
    assert fuse(few[1:], "weighted", X[:50], Y[:50]).weights_.sum() == pytest.approx(1)
    with pytest.raises(InvalidDataError, match=r"labels that no model knows: \['ant'\]"):
        fuse(few[:1], "weighted", X, Y)


def test_it_answers_in_kind_and_is_a_model_like_others():
    frame = pd.DataFrame(X, columns=list("abcdef"))
    models = [GaussianNB().fit(frame[s], Y[s]) for s in SITES]
    model = fuse(models)
    assert isinstance(model.predict(frame), pd.Series)
    assert list(model.predict_proba(frame).columns) == NAMES.tolist()
    lazy = model.predict(dd.from_pandas(frame, npartitions=3))
    assert isinstance(lazy, dd.Series)
    np.testing.assert_array_equal(lazy.compute(), model.predict(frame))
    assert model.score(frame, Y) == np.mean(model.predict(frame) == Y)
    twin = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(twin.predict(frame), model.predict(frame))
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[list("bacdef")])
    with pytest.raises(ValueError, match="has 5 features"):
        fuse(mixed()).predict(X[:, :5])


def refused():
    tree = DecisionTreeClassifier()
    narrow = GaussianNB().fit(X[:, :5], Y)
    coded = GaussianNB().fit(X, CODES)
    line, margin = LogisticRegression().fit(X, Y), RidgeClassifier().fit(X, Y)
    two = LogisticRegression().fit(X[Y != "cat"], Y[Y != "cat"])
    named = [GaussianNB().fit(pd.DataFrame(X, columns=list(c)), Y) for c in ("abcdef", "bacdef")]
    kernel = SVC(kernel="linear").fit(X, Y)
    glms = sites(*(TweedieRegressor(power=p) for p in (0, 1.5, 1.5)), y=VALUES - VALUES.min() + 1)
    losses = sites(*(SGDClassifier(loss=loss) for loss in ("log_loss", "hinge", "log_loss")))
    return [
        (([],), {}, "models must be a list of fitted models"),
        (([KMeans(2).fit(X)],), {}, "all regressors: model 0, KMeans.*is 'clusterer'"),
        (([line], "mean"), {}, "how must be one of .*got 'mean'"),
        (([line, tree],), {}, "model 1, DecisionTreeClassifier.*is not. Call its fit"),
        (
            ([line, Ridge().fit(X, VALUES)],),
            {},
            "model 0 is a classifier, and model 1.*'regressor'",
        ),
        (([line, narrow],), {}, "different numbers of features: 6 .*5"),
        ((named,), {}, "different names of features"),
        (([line, coded],), {}, "labels are of different types"),
        (([line, margin],), {}, r"needs models with predict_proba, and \['RidgeClassifier'\]"),
        (([line, line], "average"), {"weights": [1, -1]}, "weights must be one finite number for"),
        (([line, line], "stack", X, Y), {"weights": [1, 1]}, "learns how to weigh"),
        (([line], "stack"), {}, "learns from rows that no model was trained on. Pass X and y"),
        (([line, margin], "parameters"), {}, "one linear family, got LogisticRegression"),
        (([line, two], "parameters"), {}, "models of the same classes"),
        ((glms, "parameters"), {}, r"power=0\) \(model 0\).*whose links or losses differ"),
        ((losses, "parameters"), {}, "whose links or losses differ"),
        (([line, line],), {"weights": ["a", "b"]}, "weights must be one finite number for"),
        (([Ridge().fit(X, VALUES), Ridge().fit(X, TARGETS)],), {}, "different numbers of targets"),
        (([narrow], "parameters"), {}, "has none of its own"),
        (([kernel], "parameters"), {}, "has none of its own"),
        ((regressors(), "vote"), {"weights": [1, 1, 1]}, "median, which takes no weights"),
    ]


def test_models_that_do_not_fit_together_are_refused_in_words():
    for given, how, message in refused():
        with pytest.raises(InvalidParameterError, match=message):
            fuse(*given, **how)


# ---------------------------------------------------------------- models of other Dask packages


class ClusterNB(GaussianNB):
    """Trains on Dask collections only, and has a twin for rows in memory, as lightgbm.dask does."""

    client = None

    def fit(self, X, y, sample_weight=None):
        assert isinstance(X, da.Array)
        assert isinstance(y, da.Array)
        return super().fit(X.compute(), y.compute(), sample_weight)

    def predict_proba(self, X):
        assert isinstance(X, da.Array)
        raise NotImplementedError

    def to_local(self):
        twin = GaussianNB()
        twin.__dict__.update(self.__dict__)
        return twin


class CodeNB(GaussianNB):
    """Takes no other labels than 0, 1, 2 ..., as xgboost does."""

    get_booster = None

    def fit(self, X, y, sample_weight=None):
        np.testing.assert_array_equal(np.unique(y), np.arange(len(np.unique(y))))
        return super().fit(X, y, sample_weight)


@pytest.mark.parametrize(
    "ensemble",
    [
        VotingClassifier([("a", CodeNB()), ("b", LogisticRegression())], voting="soft"),
        VotingClassifier([("a", CodeNB())]),
        StackingClassifier([("a", CodeNB())], cv=2, final_estimator=CodeNB()),
        BaggingClassifier(CodeNB(), 3, random_state=0),
        AdaBoostClassifier(CodeNB(), n_estimators=2),
        BlockwiseClassifier(CodeNB(), n_blocks=3),
    ],
    ids=lambda e: type(e).__name__,
)
def test_members_that_learn_codes_answer_with_labels(ensemble):
    def plain(value):
        if isinstance(value, list):
            return [(name, plain(member)) for name, member in value]
        return GaussianNB() if isinstance(value, CodeNB) else value

    params = {k: plain(v) for k, v in ensemble.get_params(deep=False).items()}
    expected = type(ensemble)(**params).fit(X, Y)
    found = pickle.loads(pickle.dumps(clone(ensemble).fit(X, Y)))
    np.testing.assert_array_equal(found.predict(X), expected.predict(X))
    member = found.estimators_[0]
    np.testing.assert_array_equal(member.classes_, NAMES)
    assert member.var_smoothing == 1e-9


@pytest.mark.cluster
def test_models_that_train_on_a_cluster_themselves(client):
    data, labels = da.from_array(X[HELD], chunks=(CHUNKS, 6)), da.from_array(Y[HELD], chunks=CHUNKS)
    assert spreads(ClusterNB())
    assert not spreads(GaussianNB())
    site = ClusterNB().fit(data, labels)
    assert type(local(site)) is GaussianNB
    alone = GaussianNB().fit(X[HELD], Y[HELD])
    both = fuse([site, *mixed()])
    expected = fuse([alone, *mixed()])
    np.testing.assert_allclose(both.predict_proba(X), expected.predict_proba(X))
    voting = StackingClassifier([("a", ClusterNB()), ("b", GaussianNB())], cv=2).fit(data, labels)
    again = StackingClassifier([("a", GaussianNB()), ("b", GaussianNB())], cv=2)
    again.fit(X[HELD], Y[HELD])
    np.testing.assert_allclose(voting.predict_proba(X), again.predict_proba(X), rtol=1e-6)
    assert list(voting.estimators_[0].model.classes_) == [0, 1, 2]
    stack = fuse(mixed(), "stack", data, labels)
    here = fuse(mixed(), "stack", X[HELD], Y[HELD])
    np.testing.assert_allclose(stack.predict_proba(data).compute(), here.predict_proba(X[HELD]))
    weighted = FusedClassifier(mixed(), how="weighted").fit(data, labels)
    scores = fuse(mixed(), "weighted", X[HELD], Y[HELD]).member_scores_
    np.testing.assert_allclose(weighted.member_scores_, scores, rtol=1e-12)
    failing = VotingClassifier([("bad", DecisionTreeClassifier(max_features=-1))])
    with pytest.raises(ValueError, match="max_features"):
        failing.fit(data, labels)
    wait_until(lambda: not ours(client))
