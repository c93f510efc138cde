"""One model of models that were trained apart: by data block, by site, by date."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

import numpy as np
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.utils import Tags, get_tags
from sklearn.utils.validation import check_is_fitted

from daskml_kit.base import BlockEstimator, ClassifierMixin, RegressorMixin
from daskml_kit.ensemble import fusion
from daskml_kit.ensemble.members import Form, answers, nameless
from daskml_kit.ensemble.out_of_block import Tally, add_tallies, tally
from daskml_kit.ensemble.training import Recruit, check_members, local, train
from daskml_kit.exceptions import InvalidDataError, InvalidParameterError
from daskml_kit.runtime.block import Block, Bundle
from daskml_kit.runtime.dataset import BlockDataset
from daskml_kit.runtime.in_kind import RowFunction
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.typing import Array, ArrayLike, FloatArray, IntArray, TargetKind

HOWS = ("average", "vote", "weighted", "stack", "parameters")


def fuse(
    models: Sequence[Any],
    how: str = "average",
    X: ArrayLike = None,
    y: ArrayLike = None,
    weights: Any = None,
) -> FusedClassifier | FusedRegressor:
    """Make one model of models that were trained apart.

    With ``M`` models and ``w`` the weights, which are made to add up to one::

        average      p(c|x) = sum_m w_m p_m(c|x)           f(x) = sum_m w_m f_m(x)
        vote         p(c|x) = sum_m w_m [m says c]         f(x) = median_m f_m(x)
        weighted     as average, w_m ~ score of m on X, y, at least 0; of votes without probabilities
        stack        p(.|x) = final(p_1(.|x), ..., p_M(.|x)), final fitted on X, y
        parameters   one linear model of coef = sum_m w_m coef_m, intercept = sum_m w_m intercept_m

    A class that a model has never seen has probability zero there.

    Parameters
    ----------
    models : list of fitted classifiers, or of fitted regressors, of the same features
        Of scikit-learn, of this package, ``xgboost.dask``, ``lightgbm.dask``, or anything that answers
        ``predict``. They may be of different kinds, but for "parameters", which takes linear models of one
        name. They are used as they are, or, if they can only predict Dask collections, as their
        single-machine twin.
    how : {"average", "vote", "weighted", "stack", "parameters"}, default="average"
    X : (n, n_features), whatever ``fit`` takes; for "weighted" without weights, and "stack"
        Rows that no model was trained on: the score on others says too much.
    y : (n,) labels or values of X, or (n, n_outputs) values where the models have several targets
    weights : (M,) or None
        None: equal, but for "weighted". For "parameters": the rows that each model was trained on.

    Returns
    -------
    FusedClassifier or FusedRegressor
        It predicts and scores as any other model, in kind.

    Raises
    ------
    InvalidParameterError
        If the models don't fit together: other features, classifiers beside regressors, labels of
        different types, other numbers of targets, coefficients that can't be averaged.
    InvalidDataError, InvalidDataTypeError, ClusterError
        For X and y that can't be used.

    References
    ----------
    McMahan, Moore, Ramage, Hampson, Agüera y Arcas (2017). Communication-efficient learning of deep networks
    from decentralized data. AISTATS. ("parameters" is one round of its FederatedAveraging.)

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> X, y = load_iris(return_X_y=True)
    >>> sites = [LogisticRegression(max_iter=1000).fit(X[i::3], y[i::3]) for i in range(3)]
    >>> whole = fuse(sites, "parameters", weights=[50, 50, 50])
    >>> whole.coef_.shape, bool(whole.score(X, y) > 0.95)
    ((3, 4), True)
    """
    if not isinstance(models, Sequence) or not models:
        raise InvalidParameterError(f"models must be a list of fitted models, got {models!r}.")
    fused = FusedClassifier if _kind_of(models[0]) == "classifier" else FusedRegressor
    return fused(list(models), how=how, weights=weights).fit(X, y)


def _kind_of(model: Any) -> str | None:
    kind: str | None = (
        get_tags(model).estimator_type if hasattr(model, "__sklearn_tags__") else None
    )
    return kind


# ---------------------------------------------------------------- rounds


@dataclass(frozen=True, eq=False)
class _Panel:
    """All models, as they travel to every block; ``codes`` are the form's for the labels of the data."""

    models: tuple[Any, ...]
    form: Form
    codes: IntArray | None

    def target(self, block: Block) -> Array:
        """y of the block, class codes in the numbering of the form."""
        y = np.asarray(block.y)
        return y if self.codes is None else self.codes[y]


def _score_chunk(block: Block, panel: _Panel) -> Tally:
    weight = np.ones(block.n_rows) if block.weight is None else block.weight
    y, labels = panel.target(block), panel.form.classes is not None
    rows = [tally(answers(m, block.X, panel.form), y, weight, labels) for m in panel.models]
    return Tally(*(np.concatenate(column) for column in zip(*rows, strict=True)))


_SCORE: Reduction[_Panel, Tally, Tally] = Reduction("score-models", _score_chunk, add_tallies)


def _meta_bundle(bundle: Bundle, panel: _Panel) -> Bundle:
    return bundle.map(partial(_meta_block, panel))


def _meta_block(panel: _Panel, block: Block) -> Block:
    said = [answers(m, block.X, panel.form) for m in panel.models]
    X = fusion.meta_columns(said, panel.form)
    return Block(X, block.y, block.weight, block.start, block.index)


# ---------------------------------------------------------------- the models


class _Fused(BlockEstimator):
    """Checking that models fit together, and what the fusion needs."""

    models: Any
    how: str
    weights: Any
    final_estimator: Any

    _kind: str
    _target: TargetKind
    _n_outputs = 0  # columns of a regression of several targets

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        inputs = [get_tags(m).input_tags for m in self.models]
        tags.input_tags.sparse = all(i.sparse for i in inputs)
        tags.input_tags.allow_nan = all(i.allow_nan for i in inputs)
        return tags

    def fit(
        self, X: ArrayLike = None, y: ArrayLike = None, sample_weight: ArrayLike = None
    ) -> Self:
        """Put the models together; they are not fitted again.

        Parameters
        ----------
        X, y : rows that no model was trained on, for "weighted" without weights, and "stack"
        sample_weight : (n,) or None

        Returns
        -------
        self

        Raises
        ------
        InvalidParameterError, InvalidDataError, InvalidDataTypeError, ClusterError
        """
        self._check_models()
        self.estimators_ = [local(m) for m in self.models]
        self.n_features_in_ = self._common("n_features_in_", "numbers of features")
        names = self._common("feature_names_in_", "names of features")
        if names is not None:
            self.feature_names_in_ = np.asarray(names, dtype=object)
        self._set_form()
        self._check_how()
        self.weights_: FloatArray | None = self._given_weights()
        self.member_scores_: FloatArray | None = None
        self.final_estimator_: Any = None
        if self.how == "parameters":
            self._merge(self.weights_)
        elif self.how == "stack" or (self.how == "weighted" and self.weights is None):
            self._learn(X, y, sample_weight)
        self._fused = self._rule()
        return self

    def _set_form(self) -> None:
        """Classes, or the number of targets."""
        raise NotImplementedError

    def _form(self) -> Form:
        raise NotImplementedError

    def _final(self) -> Any:
        raise NotImplementedError

    # ---------------------------------------------------------------- checks

    def _check_models(self) -> None:
        if self.how not in HOWS:
            raise InvalidParameterError(f"how must be one of {list(HOWS)}, got {self.how!r}.")
        for i, model in enumerate(self.models):
            if _kind_of(model) != self._kind:
                first = f"model 0 is a {self._kind}, and " if i else ""
                raise InvalidParameterError(
                    f"Models must be all classifiers or all regressors: {first}model {i}, {model!r}, says "
                    f"that it is {_kind_of(model)!r}."
                )
            try:
                check_is_fitted(model)
            except NotFittedError:
                raise InvalidParameterError(
                    f"Models must be fitted, and model {i}, {model!r}, is not. Call its fit first."
                ) from None

    def _common(self, name: str, words: str) -> Any:
        """What all models that have this attribute agree on."""
        found = {i: getattr(m, name) for i, m in enumerate(self.models) if hasattr(m, name)}
        if not found:
            return None
        first = next(iter(found))
        for i, value in found.items():
            if not np.array_equal(value, found[first]):
                raise InvalidParameterError(
                    f"The models were trained on different {words}: {found[first]} (model {first}) and "
                    f"{value} (model {i}). Train them on the same columns in the same order."
                )
        return found[first]

    def _check_how(self) -> None:
        if self.how == "parameters":
            _check_linear(self.estimators_)
            _check_links(self._voters(), self.estimators_)
        given = self.weights is not None
        if given and self.how == "stack":
            raise InvalidParameterError(
                'how="stack" learns how to weigh the models. Leave weights out, or use how="weighted".'
            )

    def _given_weights(self) -> FloatArray:
        n = len(self.models)
        if self.weights is None:
            return np.full(n, 1.0 / n)
        try:
            weights = np.asarray(self.weights, dtype=np.float64)
        except (TypeError, ValueError):
            weights = np.full(n, np.nan)
        fits = weights.shape == (n,) and np.isfinite(weights).all() and weights.min() >= 0
        if not fits or weights.sum() <= 0:
            raise InvalidParameterError(
                f"weights must be one finite number for each of the {n} models, none negative and at least "
                f"one positive, got {self.weights!r}."
            )
        out: FloatArray = weights / weights.sum()
        return out

    # ---------------------------------------------------------------- fusions

    def _merge(self, weights: FloatArray) -> None:
        """One linear model in the place of all."""
        merged = copy.deepcopy(self.estimators_[0])
        for name in ("coef_", "intercept_"):
            values = [np.asarray(getattr(m, name), dtype=np.float64) for m in self.estimators_]
            mean = sum(w * v for w, v in zip(weights, values, strict=True))
            setattr(merged, name, mean if np.ndim(mean) else float(np.asarray(mean)))
        self.estimators_, self.weights_ = [merged], np.ones(1)
        self.coef_, self.intercept_ = merged.coef_, merged.intercept_

    def _learn(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike) -> None:
        """Scores of the models, or a final estimator, from rows that they have not seen."""
        if X is None or y is None:
            raise InvalidParameterError(
                f"how={self.how!r} learns from rows that no model was trained on. Pass X and y"
                + (", or weights." if self.how == "weighted" else ".")
            )
        expected, names = self.n_features_in_, getattr(self, "feature_names_in_", None)
        several = self._n_outputs > 0
        opened = self._opened(
            X, y, sample_weight, target=self._target, multi_output=several, min_classes=1
        )
        with opened as (data, executor):
            if expected is not None and expected != self.n_features_in_:
                raise InvalidDataError(
                    f"X has {self.n_features_in_} features, but the models expect {expected}."
                )
            if data.facts.n_outputs != self._n_outputs:
                raise InvalidDataError(
                    f"y has {max(data.facts.n_outputs, 1)} columns, but the models predict {self._n_outputs}."
                )
            panel = self._panel(data.facts.classes)
            if self.how == "weighted":
                self._weigh(executor.reduce(data, _SCORE, panel).scores())
            else:
                width = fusion.n_meta_columns(len(panel.models), panel.form)
                facts = replace(data.facts, nbytes=8 * width * data.facts.n_rows)
                mapped = executor.map(data, _meta_bundle, panel)
                with BlockDataset(mapped.bundles, facts) as meta:
                    final = Recruit("the final estimator", clone(self._final()))
                    (model,) = train(executor, meta, [final], classes=facts.classes)
                self.final_estimator_, self.weights_ = model, None
        if names is not None:
            self.feature_names_in_ = names

    def _panel(self, classes: Array | None) -> _Panel:
        form = self._form()
        if classes is None or form.classes is None:
            return _Panel(tuple(self._voters()), form, None)
        unknown = np.setdiff1d(classes, form.classes)
        if len(unknown):
            raise InvalidDataError(
                f"y has labels that no model knows: {unknown[:5].tolist()}. The models know "
                f"{form.classes[:10].tolist()}."
            )
        return _Panel(tuple(self._voters()), form, np.searchsorted(form.classes, classes))

    def _weigh(self, scores: FloatArray) -> None:
        positive = np.nan_to_num(scores).clip(min=0.0)
        n = len(positive)
        total = positive.sum()
        self.member_scores_ = scores
        self.weights_ = positive / total if total > 0 else np.full(n, 1.0 / n)

    def _voters(self) -> list[Any]:
        return [nameless(m) for m in self.estimators_]

    def _rule(self) -> RowFunction:
        if self.final_estimator_ is not None:
            final = self.final_estimator_
            return partial(fusion.stacked, self._voters(), final, self._form())
        assert self.weights_ is not None
        return partial(fusion.weighted_sum, self._voters(), self.weights_, self._form())


def _check_linear(models: Sequence[Any]) -> None:
    """Refuse models whose coefficients have no common meaning."""
    for i, model in enumerate(models):
        own = vars(model)
        if "coef_" not in own or "intercept_" not in own:
            raise InvalidParameterError(
                f'how="parameters" averages coef_ and intercept_, and model {i}, {model!r}, has none of its '
                'own. Use how="average".'
            )
        if type(model).__name__ != type(models[0]).__name__:
            raise InvalidParameterError(
                'how="parameters" needs models of one linear family, got '
                f"{type(models[0]).__name__} (model 0) and {type(model).__name__} (model {i}). Use "
                'how="average".'
            )
        if not np.array_equal(getattr(model, "classes_", ()), getattr(models[0], "classes_", ())):
            raise InvalidParameterError(
                f'how="parameters" needs models of the same classes, got {models[0].classes_} (model 0) and '
                f'{model.classes_} (model {i}): their coefficients stand for other things. Use how="average".'
            )
        if np.shape(model.coef_) != np.shape(models[0].coef_):
            raise InvalidParameterError(
                f'how="parameters" needs coefficients of one shape, got {np.shape(models[0].coef_)} '
                f"(model 0) and {np.shape(model.coef_)} (model {i})."
            )


def _check_links(voters: Sequence[Any], models: Sequence[Any]) -> None:
    """Refuse models that make other answers of the same ``X coef + intercept``, as a GLM with a link and one
    without: each is asked for rows where that sum is a few given numbers."""
    method = "predict_proba" if _kind_of(models[0]) == "classifier" else "predict"
    rounding = max(100 * np.finfo(_float_of(m)).eps * np.abs(m.intercept_).max() for m in models)
    said = [_answers_to_sums(v, m, method) for v, m in zip(voters, models, strict=True)]
    for i, own in enumerate(said):
        alike = hasattr(models[i], method) == hasattr(models[0], method)
        if own is not None and said[0] is not None:
            far = 1e-3 + rounding
            alike = own.shape == said[0].shape and np.allclose(own, said[0], rtol=1e-3, atol=far)
        if not alike:
            raise InvalidParameterError(
                'how="parameters" needs models that make the same answer of X @ coef_ + intercept_, got '
                f"{models[0]!r} (model 0) and {models[i]!r} (model {i}), whose links or losses differ: their "
                'coefficients stand for other things. Use how="average".'
            )


def _float_of(model: Any) -> Any:
    return np.float32 if np.asarray(model.coef_).dtype == np.float32 else np.float64


def _answers_to_sums(voter: Any, model: Any, method: str) -> FloatArray | None:
    """What a linear model says where ``X coef + intercept`` is small; None where no row has these sums."""
    coef = np.atleast_2d(np.asarray(model.coef_, dtype=np.float64))
    k = len(coef)
    sums = np.array([[-1.0], [0.5], [2.0]])
    if k > 1:  # coefficients of classes may add up to zero
        sums = np.vstack([np.eye(k), 2 * np.eye(k)]) - np.repeat([1.0, 2.0], k)[:, None] / k
    intercept = np.broadcast_to(np.asarray(model.intercept_, dtype=np.float64), (k,))
    if not np.isfinite(coef).all():
        return None
    X = np.linalg.lstsq(coef, (sums - intercept).T, rcond=None)[0].T
    if not hasattr(model, method) or not np.allclose(X @ coef.T + intercept, sums, atol=1e-6):
        return None
    return np.asarray(getattr(voter, method)(X), dtype=np.float64)


class FusedClassifier(ClassifierMixin, _Fused):
    """Classifiers trained apart, as one; :func:`fuse` makes it and says how.

    Parameters
    ----------
    models : list of fitted classifiers
    how : {"average", "vote", "weighted", "stack", "parameters"}, default="average"
    weights : array-like of shape (n_models,) or None
    final_estimator : classifier, default=sklearn.linear_model.LogisticRegression(max_iter=1000)
        Of "stack" only. Its columns are the models' probabilities, of two classes the second.
    balance : {"adaptive", "even", "data"} or None (as configured); see :func:`~daskml_kit.config_context`

    Attributes
    ----------
    estimators_ : list of the models as they predict; the merged one for "parameters"
    classes_ : ndarray of shape (n_classes,), of all models
    weights_ : ndarray of shape (n_models,), adding up to one, or None ("stack")
    member_scores_ : ndarray of shape (n_models,) or None, accuracy on X, y ("weighted" without weights)
    final_estimator_ : fitted model or None ("stack" only)
    coef_, intercept_ : of the merged model ("parameters" only)
    n_features_in_ : int; feature_names_in_ : ndarray of str, if a model has them

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> sites = [
    ...     DecisionTreeClassifier(random_state=0).fit(X[a:b], y[a:b])
    ...     for a, b in [(0, 99), (50, 150)]
    ... ]
    >>> model = FusedClassifier(sites, how="vote").fit()
    >>> [len(m.classes_) for m in model.estimators_], len(model.classes_)
    ([2, 2], 3)
    """

    _kind = "classifier"
    _target: TargetKind = "classes"

    def __init__(
        self,
        models: Any,
        *,
        how: str = "average",
        weights: Any = None,
        final_estimator: Any = None,
        balance: str | None = None,
    ) -> None:
        self.models = models
        self.how = how
        self.weights = weights
        self.final_estimator = final_estimator
        self.balance = balance

    def _set_form(self) -> None:
        found = [np.asarray(m.classes_) for m in self.estimators_]
        if len({c.dtype.kind in "USO" for c in found}) > 1:
            kinds = sorted({str(c.dtype) for c in found})
            raise InvalidParameterError(
                f"The models' labels are of different types: {kinds}. Train them on labels of one type."
            )
        self.classes_ = np.unique(np.concatenate(found))

    def _soft(self) -> bool:
        return self.how != "vote" and all(hasattr(m, "predict_proba") for m in self.estimators_)

    def _form(self) -> Form:
        return Form(self.classes_, self._soft())

    def _final(self) -> Any:
        final = self.final_estimator
        return LogisticRegression(max_iter=1000) if final is None else final

    def _check_how(self) -> None:
        super()._check_how()
        check_members([("final_estimator", self._final())], self._kind)
        if self.how == "average" and not self._soft():
            mute = [type(m).__name__ for m in self.estimators_ if not hasattr(m, "predict_proba")]
            raise InvalidParameterError(
                f'how="average" needs models with predict_proba, and {mute} have none. Use how="vote".'
            )

    def predict(self, X: ArrayLike) -> Any:
        """The label of each row, in kind.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes

        Returns
        -------
        (n,), lazy where X is
        """
        check_is_fitted(self)
        rows: Any = partial(fusion.label_rows, self._fused, self.classes_)
        if self.how == "parameters":  # the merged model decides, with or without probabilities
            rows = partial(_predicted, self._voters()[0])
        return self._map_rows(X, rows, dtype=self.classes_.dtype)

    def predict_proba(self, X: ArrayLike) -> Any:
        """The probability of each class, in kind; shares of votes where models have none.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes

        Returns
        -------
        (n, n_classes), columns in the order of ``classes_``
        """
        check_is_fitted(self)
        return self._map_rows(X, self._fused, dtype=np.float64, columns=list(self.classes_))


class FusedRegressor(RegressorMixin, _Fused):
    """Regressors trained apart, as one; :func:`fuse` makes it and says how.

    Parameters
    ----------
    models : list of fitted regressors
    how : {"average", "vote", "weighted", "stack", "parameters"}, default="average"
    weights : array-like of shape (n_models,) or None
    final_estimator : regressor, default=sklearn.linear_model.LinearRegression(positive=True)
        Of "stack" only. Its columns are the models' predictions.
    balance : {"adaptive", "even", "data"} or None (as configured); see :func:`~daskml_kit.config_context`

    Attributes
    ----------
    estimators_, weights_, final_estimator_, coef_, intercept_, n_features_in_, feature_names_in_ : see
        :class:`FusedClassifier`
    member_scores_ : ndarray of shape (n_models,) or None, R2 on X, y ("weighted" without weights)

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.linear_model import Ridge
    >>> X, y = load_diabetes(return_X_y=True)
    >>> sites = [Ridge(0.1).fit(X[i::3], y[i::3]) for i in range(3)]
    >>> round(FusedRegressor(sites).fit().score(X, y), 1)
    0.5
    """

    _kind = "regressor"
    _target: TargetKind = "values"

    def __init__(
        self,
        models: Any,
        *,
        how: str = "average",
        weights: Any = None,
        final_estimator: Any = None,
        balance: str | None = None,
    ) -> None:
        self.models = models
        self.how = how
        self.weights = weights
        self.final_estimator = final_estimator
        self.balance = balance

    def _set_form(self) -> None:
        self._n_outputs = 0
        if self.n_features_in_ is None:
            return
        row = np.zeros((1, self.n_features_in_))
        found = [np.shape(np.asarray(v.predict(row)))[1:] for v in self._voters()]
        if len(set(found)) > 1:
            i = next(i for i, shape in enumerate(found) if shape != found[0])
            raise InvalidParameterError(
                f"The models predict different numbers of targets: a row gives shape {found[0]} by "
                f"model 0 and {found[i]} by model {i}. Train them on the same targets."
            )
        self._n_outputs = found[0][0] if found[0] else 0

    def _form(self) -> Form:
        return Form(n_outputs=max(self._n_outputs, 1))

    def _final(self) -> Any:
        final = self.final_estimator
        return LinearRegression(positive=True) if final is None else final

    def _check_how(self) -> None:
        super()._check_how()
        check_members([("final_estimator", self._final())], self._kind)
        if self.how == "vote" and self.weights is not None:
            raise InvalidParameterError(
                'how="vote" of regressors is their median, which takes no weights. Use how="average".'
            )

    def _rule(self) -> RowFunction:
        if self.how == "vote":
            return partial(fusion.median, self._voters(), self._form())
        return super()._rule()

    def predict(self, X: ArrayLike) -> Any:
        """The fused prediction of each row, in kind.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes

        Returns
        -------
        (n,) or (n, n_outputs), float64, lazy where X is
        """
        check_is_fitted(self)
        rows = partial(fusion.value_rows, self._fused, self._n_outputs > 0)
        names = self._target_names(self._n_outputs) if self._n_outputs else {}
        return self._map_rows(X, rows, dtype=np.float64, **names)


def _predicted(model: Any, X: Any) -> Array:
    out: Array = model.predict(X) if X.shape[0] else model.classes_[:0]
    return out


__all__ = ["HOWS", "FusedClassifier", "FusedRegressor", "fuse"]
