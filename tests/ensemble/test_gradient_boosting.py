"""Boosting: scikit-learn's trees where both are defined, and the same ones from any chunks."""

from __future__ import annotations

import functools
import pickle

import dask
import dask.array as da
import dask.dataframe
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from scipy import sparse
from sklearn import ensemble as reference, linear_model
from sklearn.base import clone
from sklearn.dummy import DummyRegressor
from sklearn.metrics import log_loss
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsRegressor
from sklearn.utils.estimator_checks import parametrize_with_checks
from threadpoolctl import threadpool_limits

import daskml_kit
from daskml_kit.ensemble import GradientBoostingClassifier, GradientBoostingRegressor
from daskml_kit.exceptions import InvalidDataError, InvalidParameterError
from daskml_kit.linear_model import LogisticRegression
from daskml_kit.runtime import executor as protocol
from daskml_kit.tree import (
    boosting_first,
    boosting_limbs,
    boosting_rows,
    boosting_steps,
    boosting_trees,
)
from daskml_kit.tree.export import export_text
from tests.integration.clusters import kill, local_cluster, lone_workers, pids

rng = np.random.default_rng(0)
N = 600
X = rng.integers(0, 30, (N, 5)).astype(float)
SCORE = X[:, 0] * X[:, 1] / 60 - X[:, 2] / 5 + rng.normal(size=N)
CLASSES = np.digitize(SCORE, np.quantile(SCORE, [0.4, 0.8]))
LABELS = np.array(["no", "yes"])[(SCORE > 0).astype(int)]
COUNTS = rng.poisson(np.exp(SCORE / 4))
POSITIVE = rng.gamma(2.0, np.exp(SCORE / 6))
HOLED = np.where(rng.random(X.shape) < 0.1, np.nan, X)
WEIGHT = rng.uniform(0.5, 2.0, N)
SHUFFLED = np.sin(7 * np.nan_to_num(HOLED[:, 1])) + np.sin(3 * X[:, 2]) + X[:, 0] / 20

C, R = GradientBoostingClassifier, GradientBoostingRegressor
PARITY = [
    (C, {}, LABELS, X, None),
    (C, {"min_samples_leaf": 9, "class_weight": "balanced"}, CLASSES, X, WEIGHT),
    (C, {"min_samples_leaf": 7}, LABELS, X, WEIGHT),
    (R, {"max_leaf_nodes": 11, "max_depth": None, "l2_regularization": 3.0}, SCORE, HOLED, None),
    (R, {"loss": "poisson", "min_samples_leaf": 5}, COUNTS, X, WEIGHT),
    (R, {"loss": "gamma", "max_leaf_nodes": 5}, POSITIVE, X, None),
    (R, {"min_samples_leaf": 0.01}, SCORE, HOLED, WEIGHT),
    (C, {"categorical_features": [0, 2]}, LABELS, HOLED, WEIGHT),
    (R, {"categorical_features": [1, 2], "min_samples_leaf": 5}, SHUFFLED, HOLED, None),
]


@pytest.fixture(autouse=True)
def one_thread():
    """scikit-learn's threads wait for each other in a loop: on few rows that is most of their time."""
    with threadpool_limits(1, user_api="openmp"):
        yield


def histogram_based(model):
    """scikit-learn's histogram-based boosting with the same parameters."""
    kind = "Classifier" if isinstance(model, C) else "Regressor"
    given = model.get_params()
    names = ["loss", "learning_rate", "l2_regularization", "max_depth", "max_leaf_nodes"]
    names += ["min_samples_leaf", "monotonic_cst", "categorical_features"]
    names += ["class_weight"] if kind == "Classifier" else []
    return getattr(reference, f"HistGradientBoosting{kind}")(
        max_iter=given["n_estimators"], early_stopping=False, **{n: given[n] for n in names}
    ).set_params(**({"min_samples_leaf": 6} if given["min_samples_leaf"] == 0.01 else {}))


def meant(nodes, order, i=0):
    """The nodes of their tree, without splits that gain nothing but the rounding of float32."""
    node = nodes[i]
    if node["is_leaf"] or node["gain"] < 1e-6:
        return [(-1, -2.0, node["count"])]
    threshold = np.inf if node["is_categorical"] else node["num_threshold"]
    split = (order[node["feature_idx"]], threshold, node["count"])
    return [split, *meant(nodes, order, node["left"]), *meant(nodes, order, node["right"])]


def bits(model):
    trees = [t for members in model._trees.tables for t in members]
    return pickle.dumps((model._trees.start, [[np.asarray(a).tobytes() for a in t] for t in trees]))


@pytest.mark.parametrize("case", PARITY, ids=lambda case: f"{case[0].__name__}-{case[1]}")
def test_the_trees_of_scikit_learn(case):
    kind, given, y, rows, weight = case
    model = kind(n_estimators=12, **{"max_depth": 4, **given}).fit(rows, y, weight)
    theirs = histogram_based(model).fit(rows, y, weight)
    marks = np.zeros(5, bool) if model.is_categorical_ is None else model.is_categorical_
    order = [*np.flatnonzero(marks), *np.flatnonzero(~marks)]  # theirs puts categories first
    for trees, predictors in zip(model._trees.tables, theirs._predictors, strict=True):
        for table, predictor in zip(trees, predictors, strict=True):
            threshold = np.nan_to_num(table.threshold, nan=np.inf, posinf=np.inf)
            ours = sorted(zip(table.feature, threshold, table.rows, strict=True))
            np.testing.assert_allclose(ours, sorted(meant(predictor.nodes, order)))
    # Their gradients are float32.
    answer = "decision_function" if kind is C else "predict"
    np.testing.assert_allclose(
        getattr(model, answer)(rows), getattr(theirs, answer)(rows), rtol=2e-5, atol=2e-5
    )


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["alike", "weighted"])
@pytest.mark.parametrize("given", [{"ccp_alpha": 0.05}, {"min_weight_fraction_leaf": 0.06}])
def test_pruned_and_light_leaves_are_scikit_learns(given, weight):
    """Squared errors, where both search the same splits for the same gain."""
    model = R(n_estimators=8, max_depth=5, **given).fit(X, SCORE, weight)
    theirs = reference.GradientBoostingRegressor(**given, n_estimators=8, max_depth=5, tol=0)
    np.testing.assert_allclose(model.predict(X), theirs.fit(X, SCORE, weight).predict(X), rtol=1e-5)
    sizes = [m.tree_.n_leaves for (m,) in model.estimators_]
    assert sizes == [m.tree_.n_leaves for (m,) in theirs.estimators_]
    assert len(set(sizes)) > 1
    with daskml_kit.config_context(trees="replicate"):
        spread = clone(model).fit(da.from_array(X, chunks=(250, 5)), SCORE, weight)
    assert bits(spread) == bits(model)
    if weight is not None:
        return
    for kind, y in ((C, CLASSES), (R, SCORE)):
        loss = {"loss": "quantile"} if kind is R else {}
        pruned = kind(n_estimators=3, max_depth=5, **given, **loss).fit(X, y)
        least = min(t.rows[t.left < 0].min() for trees in pruned._trees.tables for t in trees)
        whole = kind(n_estimators=3, max_depth=5, **loss).fit(X, y)
        assert least >= N * given.get("min_weight_fraction_leaf", 0)
        assert bits(pruned) != bits(whole)


def test_trees_begin_with_a_model_as_scikit_learns_do():
    given = {"n_estimators": 6, "init": linear_model.LinearRegression()}
    model = R(**given, warm_start=True).fit(X, SCORE, WEIGHT)
    assert not hasattr(model.init, "coef_")  # theirs is fitted in place
    theirs = reference.GradientBoostingRegressor(**given).fit(X, SCORE, WEIGHT)
    np.testing.assert_allclose(model.predict(X), theirs.predict(X), rtol=1e-5)
    np.testing.assert_allclose(model.init_.coef_, theirs.init_.coef_, rtol=1e-4)
    np.testing.assert_allclose(model.to_sklearn().predict(X), model.predict(X), rtol=1e-12)
    *_, last = model.staged_predict(X)
    np.testing.assert_array_equal(last, model.predict(X))
    model.set_params(n_estimators=9).fit(X, SCORE, WEIGHT)
    whole = R(**given | {"n_estimators": 9}).fit(X, SCORE, WEIGHT)
    np.testing.assert_allclose(model.predict(X), whole.predict(X), rtol=1e-6)
    # What is held out, no model sees.
    held = boosting_first.held_out(3, 0.4, range(N))
    stopped = R(
        init=linear_model.Ridge(), n_iter_no_change=5, validation_fraction=0.4, random_state=3
    )
    stopped.set_params(loss="quantile", alpha=0.5, n_estimators=5).fit(X, SCORE)
    np.testing.assert_allclose(
        stopped.init_.coef_, linear_model.Ridge().fit(X[~held], SCORE[~held]).coef_, rtol=1e-4
    )
    counts = R(loss="poisson", init=DummyRegressor(), n_estimators=3).fit(X, COUNTS)
    np.testing.assert_allclose(
        counts.predict(X), R(loss="poisson", n_estimators=3).fit(X, COUNTS).predict(X), rtol=1e-6
    )
    with pytest.raises(InvalidParameterError, match="does not support sample weights"):
        R(init=KNeighborsRegressor()).fit(X, SCORE, WEIGHT)


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("trees", "y", "init"),
    [
        ("reduce", CLASSES, LogisticRegression(max_iter=500)),
        ("replicate", LABELS, GaussianNB()),
    ],
    ids=["reduce", "replicate"],
)
def test_a_first_model_trains_where_the_rows_are(client, trees, y, init):
    rows = X.astype(np.float32)
    model = C(init=init, n_estimators=3, subsample=0.8, random_state=0).fit(rows, y)
    plain = clone(init).fit(rows, y).predict_proba(rows)
    assert model.train_score_[-1] < log_loss(y, plain) * (2 if y is LABELS else 1)
    theirs = model.to_sklearn()
    np.testing.assert_allclose(theirs.predict_proba(rows), model.predict_proba(rows), rtol=1e-9)
    with daskml_kit.config_context(trees=trees):
        lazy = da.from_array(rows, chunks=(250, 5))
        spread = clone(model).fit(lazy, da.from_array(y, chunks=250))
    found = pickle.loads(pickle.dumps(spread)).predict_proba(lazy).compute()
    np.testing.assert_allclose(found, model.predict_proba(rows), rtol=1e-5)


@pytest.mark.parametrize("kind", [C, R])
def test_constraints_hold_and_cost_little(kind):
    y = LABELS if kind is C else SCORE
    model = kind(n_estimators=30, monotonic_cst=[1, 1, -1, 0, 0]).fit(X, y, WEIGHT)
    theirs = histogram_based(model).fit(X, y, WEIGHT)
    answer = "decision_function" if kind is C else "predict"
    for feature, sign in ((0, 1), (1, 1), (2, -1)):
        rows = np.repeat(X[:50], 30, axis=0)
        rows[:, feature] = np.tile(np.arange(30.0), 50)
        steps = np.diff(getattr(model, answer)(rows).reshape(50, 30), axis=1)
        assert (steps * sign >= -1e-12).all()
    if kind is C:
        losses = [
            log_loss(LABELS, m.predict_proba(X), sample_weight=WEIGHT) for m in (model, theirs)
        ]
    else:
        losses = [np.average((m.predict(X) - y) ** 2, weights=WEIGHT) for m in (model, theirs)]
    # A split whose children are moved into their bounds is worth more here.
    assert losses[0] <= 1.05 * losses[1]


@pytest.mark.parametrize(
    ("loss", "alpha"), [("quantile", 0.8), ("absolute_error", 0.5), ("quantile", 0.1)]
)
def test_quantiles_are_as_good_as_scikit_learns(loss, alpha):
    model = R(loss=loss, alpha=alpha, n_estimators=30, min_samples_leaf=20).fit(X, SCORE)
    quantile = {"quantile": alpha} if loss == "quantile" else {}
    theirs = reference.HistGradientBoostingRegressor(
        loss=loss, max_iter=30, max_depth=3, max_leaf_nodes=None, min_samples_leaf=20, **quantile
    ).fit(X, SCORE)

    def pinball(prediction):
        r = SCORE - prediction
        return np.mean(r * (alpha - (r < 0)))

    ours = pinball(model.predict(X))
    # Among the quantiles of an interval they take another point, so later trees part.
    assert ours == pytest.approx(pinball(theirs.predict(X)), rel=0.03)
    assert model.train_score_[-1] == pytest.approx(ours * (2 if loss == "absolute_error" else 1))
    assert np.mean(model.predict(X) >= SCORE) == pytest.approx(alpha, abs=0.05)
    assert model.n_rounds_ == 3 + 3 + 30 * (3 + 2) + 1


def test_categories_by_name_known_and_unknown():
    names = np.array(["ant", "bee", "cat", "dog", "elk"])
    frame = pd.DataFrame({"kind": pd.Categorical(names[X[:, 1].astype(int) % 5]), "x": X[:, 0]})
    frame.loc[::17, "kind"] = np.nan
    y = SHUFFLED + 2.0 * (frame["kind"] == "bee")
    model = R(n_estimators=8, max_depth=3, warm_start=True).fit(frame, y)
    theirs = histogram_based(model).fit(frame, y)
    assert model.is_categorical_.tolist() == [True, False]
    asked = frame.assign(kind=pd.Categorical(np.roll(frame["kind"].astype(object), 1)))
    asked["kind"] = asked["kind"].cat.add_categories("fox").fillna("fox")
    np.testing.assert_allclose(model.predict(asked), theirs.predict(asked), rtol=1e-5)
    lazy = dask.dataframe.from_pandas(asked, npartitions=3)
    np.testing.assert_array_equal(model.predict(lazy).compute(), model.predict(asked))
    *_, last = model.staged_predict(asked)
    np.testing.assert_array_equal(last, model.predict(asked))
    leaves, member = model.apply(asked), model.estimators_[3, 0]
    np.testing.assert_array_equal(leaves[:, 3], member.apply(asked))
    assert "kind in {" in export_text(member, feature_names=["kind", "x"])
    values = [m.tree_.value[leaves[:, i], 0, 0] for i, (m,) in enumerate(model.estimators_)]
    np.testing.assert_allclose(
        model._trees.start[0] + 0.1 * np.sum(values, axis=0), model.predict(asked)
    )
    with pytest.raises(InvalidParameterError, match="no splits of categories"):
        model.to_sklearn()
    with pytest.raises(InvalidParameterError, match=r"leave those of \['kind'\] out"):
        R(monotonic_cst={"kind": 1}).fit(frame, y)
    more = clone(model).set_params(categorical_features=["kind"]).fit(frame, y)
    with pytest.raises(InvalidDataError, match=r"other categorical features: \[0\]"):
        more.set_params(n_estimators=9, categorical_features=None).fit(X[:, :2], SCORE)
    more = R(categorical_features=[1], warm_start=True, n_estimators=1).fit(X, SCORE)
    with pytest.raises(InvalidDataError, match=r"at index 1 has categories.*: \[77.0\]"):
        more.set_params(n_estimators=2).fit(np.where(X == 3, 77, X), SCORE)
    with pytest.raises(InvalidDataError, match="cardinality <= 20 but actually"):
        R(categorical_features=[1], max_bins=20).fit(X, SCORE)


def test_categories_in_another_order_are_the_same_categories():
    frame = pd.DataFrame({"kind": pd.Categorical(X[:, 1].astype(int)), "x": X[:, 0]})
    turned = frame.assign(kind=frame["kind"].cat.set_categories([77, *range(29, -1, -1)]))
    model = R(n_estimators=4, warm_start=True).fit(frame, SHUFFLED)
    again = clone(model).fit(frame, SHUFFLED).set_params(n_estimators=6).fit(frame, SHUFFLED)
    model.set_params(n_estimators=6).fit(turned, SHUFFLED)
    np.testing.assert_array_equal(model.predict(turned), again.predict(frame))
    model.set_params(n_estimators=7)
    turned.loc[5, "kind"] = 77
    with pytest.raises(InvalidDataError, match=r"'kind' has categories.* not seen: \[77\]"):
        model.fit(turned, SHUFFLED)
    numbers = frame.astype({"kind": float})
    with pytest.raises(InvalidDataError, match=r"with \['kind'\] as the columns.* got \[\]"):
        model.set_params(categorical_features=["kind"]).fit(numbers, SHUFFLED)


@pytest.mark.parametrize(
    "case",
    [
        (C(n_estimators=9, categorical_features=[1]), LABELS),
        (C(n_estimators=3, categorical_features=[2], max_leaf_nodes=5), CLASSES),
        (R(n_estimators=9, categorical_features=[1, 2], loss="gamma"), POSITIVE),
    ],
    ids=lambda case: str(case[0]),
)
def test_what_fit_has_not_seen_goes_where_more_rows_went(case):
    model, y = clone(case[0]), case[1]
    model.fit(X, y, WEIGHT)
    theirs = histogram_based(model).fit(X, y, WEIGHT)
    answer = "decision_function" if isinstance(model, C) else "predict"
    for f, value in ((0, np.nan), (1, 999.0), (2, 999.0)):
        asked = np.where(np.arange(5) == f, value, X)
        found, expected = (getattr(m, answer)(asked) for m in (model, theirs))
        np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5)
    # Whichever rows a tree draws, and whatever is found beside the rows.
    model.set_params(subsample=0.6, random_state=0, warm_start=True).fit(X, y)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boosting_rows, "_rows_at", _forgetting(3))
        assert bits(clone(model).fit(X, y)) == bits(model)
    for trees, members in zip(model._trees.tables, model.estimators_, strict=True):
        for table, member in zip(trees, members, strict=True):
            i = np.flatnonzero(table.left >= 0)
            to_left = table.rows[table.left[i]] > table.rows[table.right[i]]
            np.testing.assert_array_equal(table.missing_left[i], to_left)
            for node, left in zip(i, to_left, strict=True):
                if np.isnan(table.threshold[node]):
                    assert np.isnan(member.tree_.categories_left(node)).any() == left
    # Trees that are added begin where the trees before them send missing values.
    more = model.n_estimators + 1
    model.set_params(n_estimators=more, subsample=1.0).fit(HOLED, y)
    if isinstance(model, C):
        loss = log_loss(y, model.predict_proba(HOLED))
        assert model.train_score_[-1] == pytest.approx(loss * (2 if y is LABELS else 1), rel=1e-6)


CASES = [
    (C(n_estimators=4, subsample=0.7, max_features=2, random_state=3), LABELS),
    (
        C(n_estimators=3, n_iter_no_change=2, random_state=1, class_weight={0: 1, 1: 3, 2: 0.5}),
        CLASSES,
    ),
    (R(n_estimators=4, max_leaf_nodes=6, max_depth=None, min_samples_leaf=4), SCORE),
    (R(n_estimators=3, loss="poisson", max_depth=4, subsample=0.5, random_state=0), COUNTS),
    (
        R(n_estimators=3, categorical_features=[1, 2], min_samples_leaf=2, max_depth=4),
        SHUFFLED,
    ),
    (R(n_estimators=3, loss="quantile", alpha=0.3, n_iter_no_change=9, random_state=2), SCORE),
]


@settings(max_examples=12, deadline=None)
@given(
    which=st.sampled_from(range(len(CASES))),
    cuts=st.lists(st.integers(0, N), max_size=4),
    weighted=st.booleans(),
    forgetful=st.integers(0, 5),
    kept=st.sampled_from([0, boosting_trees.KEPT_BYTES]),
    few=st.sampled_from([0, boosting_steps.FEW_ROWS]),
    spare=st.sampled_from([None, 0, 3000, boosting_limbs.SPARE_VALUES]),
)
def test_one_model_from_any_chunks_and_any_scratch(
    which, cuts, weighted, forgetful, kept, few, spare
):
    model, y = CASES[which]
    weight = WEIGHT if weighted else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boosting_steps, "FEW_ROWS", few)
        whole = clone(model).fit(HOLED, y, weight)
    bounds = np.array([0, *sorted(cuts), N])
    lazy = da.from_array(HOLED, chunks=(tuple(np.diff(bounds)), 5))
    parts = [None if a is None else da.from_array(a, chunks=lazy.chunks[0]) for a in (y, weight)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boosting_trees, "KEPT_BYTES", kept)
        patch.setattr(boosting_steps, "FEW_ROWS", few)
        if forgetful:
            patch.setattr(boosting_rows, "_rows_at", _forgetting(forgetful))
        if spare is not None:  # of limbs: from even ones alone to whole trees
            patch.setattr(boosting_limbs, "SPARE_VALUES", spare)
        with daskml_kit.config_context(trees="reduce" if spare is None else "replicate"):
            spread = clone(model).fit(lazy, *parts)
    assert bits(spread) == bits(whole)
    np.testing.assert_array_equal(spread.train_score_, whole.train_score_)
    assert spread.growth_ == ("reduce" if spare is None else "replicate")
    # Rows that have forgotten their trees are asked again, and told all of them before long.
    again = spread.n_rounds_ - whole.n_rounds_
    assert spare is not None or 0 <= again <= (boosting_steps.MOST_FORGOTTEN if forgetful else 0)


def _forgetting(every, real=boosting_rows._rows_at):
    """Scratch that is empty at every so-many-th look, as after a move or a spill."""
    looks = []

    def rows_at(plan, block, ask):
        looks.append(block)
        if len(looks) % every == 0:
            block.scratch.clear()
        return real(plan, block, ask)

    return rows_at


@pytest.mark.parametrize("n", [N, 5_000])
def test_an_outlier_silences_no_other_row(n):
    rows = np.random.default_rng(1).integers(0, 30, (n, 3)).astype(float)
    plain = rows[:, 0] / 10 - rows[:, 1] * rows[:, 2] / 300
    y = plain + np.random.default_rng(2).normal(0, 0.1, n)
    y[7] = 1e8
    given = {"max_depth": 6, "learning_rate": 0.3}
    model = R(n_estimators=60, **given).fit(rows, y)
    theirs = reference.HistGradientBoostingRegressor(
        max_iter=60, max_leaf_nodes=None, min_samples_leaf=1, early_stopping=False, **given
    ).fit(rows, y)
    lost, theirs_lost = (np.median(np.abs(m.predict(rows) - plain)) for m in (model, theirs))
    assert lost < 1.1 * theirs_lost < 0.1


@pytest.mark.parametrize("rest", [0.0, 0.1])
def test_a_heavy_row_silences_no_other_row(rest):
    weight = 1.0 + rest * WEIGHT
    weight[7] = 1e8
    model = R(n_estimators=40).fit(X, SCORE, weight)
    theirs = histogram_based(model).fit(X, SCORE, weight)
    np.testing.assert_allclose(model.predict(X), theirs.predict(X), atol=1e-4)
    others = np.arange(N) != 7
    assert np.var((SCORE - model.predict(X))[others]) < 0.5 * np.var(SCORE)


def test_a_row_of_weight_three_is_three_rows():
    times = np.random.default_rng(3).integers(0, 4, N)
    weighted = R(n_estimators=9, max_depth=5).fit(X, SCORE, times)
    repeated = R(n_estimators=9, max_depth=5).fit(
        np.repeat(X, times, axis=0), np.repeat(SCORE, times)
    )
    np.testing.assert_allclose(weighted.predict(X), repeated.predict(X), rtol=1e-12)


@pytest.mark.parametrize(("share", "words"), [(1e-9, "holds out no row"), (0.999, "every row")])
@pytest.mark.parametrize("model", [C(n_iter_no_change=3), R(n_iter_no_change=3, loss="poisson")])
def test_early_stopping_needs_rows_on_both_sides(model, share, words):
    model = clone(model).set_params(validation_fraction=share, random_state=0)
    with pytest.raises(InvalidDataError, match=f"{words}.*of these 40.*n_iter_no_change=None"):
        model.fit(X[:40], COUNTS[:40] > 1)


@pytest.mark.parametrize("loss", ["poisson", "gamma"])
def test_targets_of_held_out_rows_are_checked_too(loss):
    model = R(loss=loss, n_iter_no_change=2, validation_fraction=0.5, n_estimators=2)
    for bad in range(6):  # one of them is held out, but for one seed in 64
        y = POSITIVE.copy()
        y[bad] = -1.0
        with pytest.raises(InvalidDataError, match="needs y"):
            model.fit(X, y)
    weight = np.ones(N)
    weight[bad] = 0.0
    assert model.fit(X, y, weight).n_estimators_ == 2


def test_histograms_are_kept_for_open_children_only():
    trees, real = [], boosting_trees.BoostingTree.decide

    def decide(tree, asked, hist, rows):
        real(tree, asked, hist, rows)
        kept = tree._hist
        assert len(kept) * tree.cell_bytes <= boosting_trees.KEPT_BYTES // 3
        for i, own in kept.items():
            left = tree.nodes[i].left
            assert own.base is None
            assert not (tree.nodes[left].decided and tree.nodes[left + 1].decided)
        trees.append(len(kept))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boosting_trees.BoostingTree, "decide", decide)
        C(n_estimators=2, max_depth=3).fit(X, CLASSES)
    assert max(trees) == 2  # the parents of the last level but one
    assert trees[-1] == 0


def test_threads_may_answer_for_different_stages():
    model = C(n_estimators=8, max_depth=2).fit(X, LABELS)
    lazy = da.from_array(X, chunks=(60, 5))
    for _ in range(5):
        stages = dask.compute(*model.staged_predict_proba(lazy), scheduler="threads", num_workers=8)
        np.testing.assert_array_equal(stages[-1], model.predict_proba(X))


def test_rounds_are_levels():
    model = C(n_estimators=5, max_depth=4).fit(X, LABELS)
    # Loading, the sample of the bins, the best constant, levels, and the last loss.
    assert model.n_rounds_ == model.n_passes_ == 3 + 5 * 4 + 1
    stopped = C(n_estimators=200, max_depth=2, n_iter_no_change=3, tol=0.01, random_state=0)
    stopped.fit(X, LABELS)
    assert 3 < stopped.n_estimators_ < 100
    # The score comes with the first round of a tree that is not grown.
    assert stopped.n_rounds_ == 3 + 2 * stopped.n_estimators_ + 1
    losses = stopped.validation_score_
    assert len(losses) == len(stopped.train_score_) == stopped.n_estimators_
    assert (losses[-1] + 0.01 >= losses[-4:-1]).all()


def test_few_rows_grow_whole_trees_on_their_lanes():
    """A round a tree where lanes may be uneven; as few as two where the root is even."""
    model = C(n_estimators=5, max_depth=4)
    with daskml_kit.config_context(trees="replicate"):
        model.fit(X, LABELS)
    assert model.n_rounds_ == 4 + 5 + 1
    many = C(n_estimators=2, max_depth=6, random_state=0)
    rows, y = np.tile(X, (100, 1)), np.tile(CLASSES, 100)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boosting_limbs, "SPARE_VALUES", 400_000)
        with daskml_kit.config_context(trees="replicate"):
            many.fit(rows, y)
    assert 4 + 2 * 2 + 1 <= many.n_rounds_ <= 4 + 2 * 4 + 1
    assert bits(many) == bits(clone(many).fit(rows, y))


@pytest.mark.parametrize(("lanes", "spare"), [(2, 0), (3, 5), (8, 100)])
def test_open_nodes_are_dealt_evenly_or_not_at_all(lanes, spare):
    for sizes in ([8, 8, 8], [5, 4, 3, 3, 3], [100], [0, 0], list(rng.integers(0, 50, 40))):
        found = boosting_limbs.dealt(sizes, lanes, spare)
        if found is None:
            continue
        loads = np.bincount(found, weights=sizes, minlength=lanes)
        assert len(found) == len(sizes)
        assert loads.max() <= sum(sizes) / lanes + spare
    assert boosting_limbs.dealt([100], lanes, spare) is None or spare >= 100 * (1 - 1 / lanes)


def test_subsampling_scores_what_was_not_seen():
    model = R(n_estimators=40, subsample=0.5, random_state=0).fit(X, SCORE)
    theirs = reference.GradientBoostingRegressor(n_estimators=40, subsample=0.5, random_state=0)
    theirs.fit(X, SCORE)
    assert model.oob_improvement_.shape == (40,)
    assert model.oob_score_ == pytest.approx(theirs.oob_score_, rel=0.15)
    assert model.train_score_[-1] == pytest.approx(theirs.train_score_[-1], rel=0.15)
    assert model.oob_improvement_.sum() == pytest.approx(theirs.oob_improvement_.sum(), rel=0.15)
    assert not hasattr(model.set_params(subsample=1.0).fit(X, SCORE), "oob_score_")


@pytest.mark.parametrize(
    ("model", "y"),
    [
        (C(n_estimators=9), LABELS),
        (C(n_estimators=5, init="zero"), CLASSES),
        (R(n_estimators=9, max_leaf_nodes=5), SCORE),
        (R(n_estimators=5, loss="absolute_error"), SCORE),
    ],
    ids=str,
)
def test_scikit_learns_estimator_of_the_same_trees(model, y):
    model = clone(model).fit(X, y)
    theirs = model.to_sklearn()
    answer = "predict_proba" if isinstance(model, C) else "predict"
    np.testing.assert_allclose(
        getattr(theirs, answer)(X), getattr(model, answer)(X), rtol=1e-12, atol=1e-15
    )
    np.testing.assert_allclose(theirs.feature_importances_, model.feature_importances_, rtol=1e-9)
    for ours, other in zip(model.staged_predict(X), theirs.staged_predict(X), strict=True):
        if isinstance(model, C):
            np.testing.assert_array_equal(ours, other)
        else:
            np.testing.assert_allclose(ours, other, rtol=1e-12)
    assert (model.apply(X) == theirs.apply(X)).all()
    assert model.estimators_.shape == theirs.estimators_.shape


def test_answers_in_stages_and_in_kind():
    model = C(n_estimators=6, max_depth=2).fit(pd.DataFrame(X, columns=list("abcde")), LABELS)
    frame = pd.DataFrame(X, columns=list("abcde"), index=np.arange(N) + 5)
    lazy = da.from_array(X, chunks=(250, 5))
    whole = model.predict_proba(frame)
    assert list(whole.columns) == ["no", "yes"]
    assert list(whole.index[:2]) == [5, 6]
    named = clone(model).set_params(monotonic_cst={"b": 1, "d": -1})
    numbered = clone(model).set_params(monotonic_cst=[0, 1, 0, -1, 0])
    assert bits(named.fit(frame, LABELS)) == bits(numbered.fit(X, LABELS)) != bits(model)
    with pytest.raises(InvalidParameterError, match=r"that X does not have: \['z'\]"):
        named.set_params(monotonic_cst={"z": 1}).fit(frame, LABELS)
    plain = clone(model).fit(X, LABELS)
    stages = list(plain.staged_predict_proba(X))
    np.testing.assert_array_equal(stages[-1], whole)
    for stage, later in zip(stages, plain.staged_predict_proba(lazy), strict=True):
        np.testing.assert_array_equal(stage, later.compute())
    np.testing.assert_array_equal(plain.predict(sparse.csr_array(X)), plain.predict(X))
    decision = plain.decision_function(lazy)
    assert decision.shape == (N,)
    last = list(plain.staged_decision_function(X))[-1]
    np.testing.assert_array_equal(last, decision.compute())
    loss = log_loss(LABELS, plain.predict_proba(X))
    assert plain.train_score_[-1] == pytest.approx(2 * loss, rel=1e-9)
    again = pickle.loads(pickle.dumps(plain))
    np.testing.assert_array_equal(again.predict_log_proba(X), plain.predict_log_proba(X))


def test_more_iterations_are_added():
    whole = C(n_estimators=9, subsample=0.6, random_state=0).fit(HOLED, CLASSES)
    grown = C(n_estimators=4, subsample=0.6, random_state=0, warm_start=True).fit(HOLED, CLASSES)
    grown.set_params(n_estimators=9).fit(HOLED, CLASSES)
    np.testing.assert_allclose(
        grown.decision_function(HOLED), whole.decision_function(HOLED), rtol=1e-6, atol=1e-6
    )
    np.testing.assert_allclose(grown.train_score_, whole.train_score_, rtol=1e-6)
    with pytest.raises(InvalidParameterError, match="larger or equal to estimators_"):
        grown.set_params(n_estimators=3).fit(HOLED, CLASSES)
    with pytest.raises(InvalidDataError, match="were grown on 5"):
        grown.set_params(n_estimators=12).fit(HOLED[:, :3], CLASSES)
    counts = R(loss="poisson", n_estimators=2, warm_start=True).fit(X, COUNTS)
    with pytest.raises(InvalidParameterError, match="grown for loss='poisson'"):
        counts.set_params(loss="squared_error", n_estimators=4).fit(X, COUNTS)


@pytest.mark.parametrize(
    ("model", "y", "words"),
    [
        (R(loss="huber"), SCORE, "loss must be one of"),
        (R(loss="quantile", alpha=1.0), SCORE, "alpha must be"),
        (R(loss="poisson"), SCORE, "needs y >= 0"),
        (R(loss="gamma"), COUNTS, "needs y > 0"),
        (R(loss="absolute_error", monotonic_cst=[1, 0, 0, 0, 0]), SCORE, "cannot be kept"),
        (R(max_depth=None), SCORE, "needs max_leaf_nodes"),
        (R(init=3), SCORE, "init must be None"),
        (C(init=R()), LABELS, "init must be None.*predict_proba"),
        (R(init=linear_model.LinearRegression), SCORE, "got the class LinearRegression"),
        (C(subsample=0.0), LABELS, "subsample must be"),
        (C(learning_rate=0), LABELS, "learning_rate must be"),
        (C(monotonic_cst=[1, 0]), LABELS, "monotonic_cst has shape"),
        (C(monotonic_cst={"a": 1}), LABELS, "a dict of feature names, but X has none"),
        (C(class_weight="even"), LABELS, "class_weight must be"),
        (C(criterion="gini"), LABELS, "criterion must be one of"),
        (C(ccp_alpha=-1.0), LABELS, "ccp_alpha must be"),
        (R(min_weight_fraction_leaf=0.6), SCORE, "at most 0.5"),
        (
            C(min_weight_fraction_leaf=0.1, min_samples_leaf=3, class_weight="balanced"),
            LABELS,
            "cannot both hold",
        ),
    ],
)
def test_impossible_parameters_are_named(model, y, words):
    with pytest.raises((InvalidParameterError, InvalidDataError), match=words):
        model.fit(X, y)


def test_a_criterion_has_no_effect_and_warns():
    with pytest.warns(FutureWarning, match="criterion='friedman_mse' has no effect"):
        model = R(n_estimators=2, criterion="friedman_mse").fit(X, SCORE)
    assert bits(model) == bits(R(n_estimators=2).fit(X, SCORE))


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("executor", "trees"), [("actor", "auto"), ("graph", "auto"), ("actor", "reduce")]
)
def test_a_cluster_grows_the_same_model(client, executor, trees):
    model, y = CASES[1]
    lazy = da.from_array(HOLED, chunks=(130, 5))
    with daskml_kit.config_context(executor=executor, trees=trees):
        spread = clone(model).fit(lazy, da.from_array(y, chunks=130))
    whole = clone(model).fit(HOLED, y)
    assert bits(spread) == bits(whole)
    np.testing.assert_array_equal(spread.predict(lazy).compute(), whole.predict(HOLED))
    assert spread.growth_ == ("reduce" if trees == "reduce" else "replicate")


@pytest.mark.cluster
def test_a_worker_may_die_in_the_middle():
    model = C(n_estimators=4, max_depth=4, subsample=0.8, random_state=0)
    lazy, seen = da.from_array(HOLED, chunks=(100, 5)), [[]]
    real = protocol.FitLog.emit

    with local_cluster(0) as client, lone_workers(client, 3):  # who dies stays dead
        victims = list(pids(client).values())

        @functools.wraps(real)
        def emit(log, event):
            real(log, event)
            name = getattr(event, "name", "")
            seen[-1].append(name)
            first, spread = name == "replicate" and len(victims) == 3, len(seen) == 2
            if first or (spread and seen[-1].count("boost-level") == 10 and len(victims) == 2):
                kill(victims.pop())

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(protocol.FitLog, "emit", emit)
            labels = da.from_array(LABELS, chunks=100)
            copied = clone(model).fit(lazy, labels)
            seen.append([])
            with daskml_kit.config_context(trees="reduce"):
                spread = clone(model).fit(lazy, labels)
    assert len(victims) == 1
    assert seen[1].count("boost-level") >= 17
    assert bits(copied) == bits(spread) == bits(model.fit(HOLED, LABELS))


@parametrize_with_checks([C(n_estimators=5), R(n_estimators=5)])
def test_is_a_scikit_learn_estimator(estimator, check):
    check(estimator)
