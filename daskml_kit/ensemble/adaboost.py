"""Members one after the other, each on rows weighted by what those before it got wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from sklearn.utils import Tags, get_tags
from sklearn.utils.validation import check_is_fitted, has_fit_parameter

from daskml_kit.base import BlockEstimator, ClassifierMixin, RegressorMixin, check_number
from daskml_kit.ensemble.members import Form, answers
from daskml_kit.ensemble.reweighing import Boosted, Plan, Rounds, Verdict, boost, weights_of
from daskml_kit.ensemble.sampling import poisson_counts, shown
from daskml_kit.ensemble.training import check_members
from daskml_kit.exceptions import InvalidDataError, InvalidParameterError
from daskml_kit.metrics import accuracy_score, r2_score
from daskml_kit.runtime.block import Block
from daskml_kit.runtime.ingest import DataFacts
from daskml_kit.runtime.random import seed_from
from daskml_kit.typing import Array, ArrayLike, FloatArray, Matrix, TargetKind

# ---------------------------------------------------------------- rules


@dataclass(frozen=True, eq=False)
class _Classes:
    """SAMME: a miss is a wrong label."""

    classes: Array
    learning_rate: float

    def cut(self, step: int, total: float, block: Block) -> Block:
        """All rows with their weights."""
        return Block(block.X, block.y, weights_of(block, total), block.start, block.index)

    def misses(self, block: Block, model: Any) -> FloatArray:
        """1 where the label is wrong, else 0."""
        said = answers(model, block.X, Form(self.classes))
        return np.asarray(said.argmax(axis=1) != block.y, dtype=np.float64)

    def judge(self, rounds: Rounds) -> Verdict:
        """One round."""
        wrong, total = rounds.sums(_wrong_and_all)
        error, k = float(wrong / total), len(self.classes)
        if error <= 0:
            return Verdict(0.0, 1.0, go_on=False)
        if error >= 1.0 - 1.0 / k:
            if rounds.member.step == 0:
                raise InvalidDataError(
                    f"The first member is worse than random, with a weighted error of {error:.3g} on {k} "
                    "classes: an ensemble can not be fit. Use an estimator that fits these data better."
                )
            return Verdict(error, 0.0, kept=False, go_on=False)
        weight = self.learning_rate * (np.log((1.0 - error) / error) + np.log(k - 1.0))
        return Verdict(error, float(weight))

    def changed(self, weight: FloatArray, misses: FloatArray, verdict: Verdict) -> FloatArray:
        """``w exp(alpha [wrong])``."""
        out = np.zeros_like(weight)
        kept = weight > 0
        out[kept] = np.exp(np.log(weight[kept]) + verdict.weight * misses[kept])
        return out


def _wrong_and_all(weight: FloatArray, misses: FloatArray) -> FloatArray:
    return np.array([(misses * weight).sum(), weight.sum()])


@dataclass(frozen=True, eq=False)
class _Values:
    """AdaBoost.R2: a miss is an absolute error, and its loss a function of its share of the largest."""

    loss: str
    learning_rate: float
    seed: int
    n_rows: int
    as_weights: bool  # members take counts as weights

    def cut(self, step: int, total: float, block: Block) -> Block:
        """As many rows as there are, in the mean, drawn by weight."""
        mean = self.n_rows * weights_of(block, total)
        counts = poisson_counts(self.seed, f"boost-{step}", block.rows, mean)
        if block.n_rows == self.n_rows and not counts.any():
            counts[mean.argmax()] = 1
        return shown(block, counts, None, as_weights=self.as_weights, whole=False)

    def misses(self, block: Block, model: Any) -> FloatArray:
        """The absolute error."""
        return np.asarray(np.abs(answers(model, block.X, Form())[:, 0] - np.asarray(block.y)))

    def losses(self, misses: FloatArray, largest: float) -> FloatArray:
        """In [0, 1]."""
        share = misses / largest if largest > 0 else misses
        if self.loss == "square":
            return share**2
        return share if self.loss == "linear" else 1.0 - np.exp(-share)

    def judge(self, rounds: Rounds) -> Verdict:
        """Two rounds; the second reads no row of X."""
        largest = rounds.largest()
        error = float(rounds.sums(partial(_loss_sum, self, largest))[0])
        if error <= 0:
            return Verdict(0.0, 1.0, go_on=False)
        if error >= 0.5:
            return Verdict(error, 0.0, kept=False, go_on=False)
        weight = self.learning_rate * np.log((1.0 - error) / error)
        return Verdict(error, float(weight), scale=largest)

    def changed(self, weight: FloatArray, misses: FloatArray, verdict: Verdict) -> FloatArray:
        """``w beta^(1 - loss)``, ``beta = error / (1 - error)``."""
        power = (1.0 - self.losses(misses, verdict.scale)) * self.learning_rate
        out: FloatArray = weight * (verdict.error / (1.0 - verdict.error)) ** power
        return out


def _loss_sum(rule: _Values, largest: float, weight: FloatArray, misses: FloatArray) -> FloatArray:
    kept = weight > 0
    return np.array([weight[kept] @ rule.losses(misses[kept], largest)])


# ---------------------------------------------------------------- estimators


class _AdaBoost(BlockEstimator):
    """The fit that both share."""

    estimator: Any
    n_estimators: int
    learning_rate: float
    random_state: Any

    _kind: str
    _target: TargetKind
    _needs_weights: ClassVar[bool]

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = get_tags(self._member()).input_tags.sparse
        return tags

    def _member(self) -> Any:
        raise NotImplementedError

    def _rule(self, facts: DataFacts, seed: int) -> Any:
        raise NotImplementedError

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike = None) -> Self:
        """Fit the members, one after the other.

        Parameters
        ----------
        X : (n, n_features) NumPy, pandas, scipy.sparse, dask.array, dask.dataframe or xarray.DataArray
            Members see plain arrays, without names.
        y : (n,) labels of any type, or values
        sample_weight : (n,) or None
            Where the weights begin.

        Returns
        -------
        self

        Raises
        ------
        InvalidDataError, InvalidDataTypeError, InvalidParameterError, ClusterError
            Before any member is fitted; InvalidDataError also if the first classifier is no better than
            guessing.
        """
        self._check_parameters()
        random, seed = self._random()
        opened = self._opened(X, y, sample_weight, target=self._target, min_classes=1)
        with opened as (data, executor):
            rule, classes = self._rule(data.facts, seed), data.facts.classes
            plan = Plan(self._member(), self.n_estimators, rule, classes, random)
            done = boost(executor, data, plan, None)
        if classes is not None:
            self.classes_, self.n_classes_ = classes, len(classes)
        self._keep(done)
        return self

    def _random(self) -> tuple[np.random.RandomState, int]:
        """scikit-learn's stream of seeds for the members, and the key of what is drawn by row."""
        seed = seed_from(self.random_state)
        return np.random.RandomState(seed % 2**32), seed

    def _check_parameters(self) -> None:
        check_number("n_estimators", self.n_estimators, least=1, whole=True)
        check_number("learning_rate", self.learning_rate, least=0, above=True)
        member = [("estimator", self._member())]
        check_members(member, self._kind)
        if self._needs_weights and not has_fit_parameter(self._member(), "sample_weight"):
            raise InvalidParameterError(
                f"AdaBoost weighs rows, and estimator={self._member()!r} doesn't support sample_weight in "
                "fit. Choose one whose fit has it."
            )

    def _keep(self, done: Boosted) -> None:
        self.estimator_ = self._member()
        self.estimators_ = done.models
        n = len(done.weights)
        self.estimator_weights_ = np.zeros(self.n_estimators)
        self.estimator_errors_ = np.ones(self.n_estimators)
        self.estimator_weights_[:n] = done.weights
        self.estimator_errors_[:n] = done.errors

    @property
    def feature_importances_(self) -> FloatArray:
        """The members' importances, weighted as the members are; (n_features,)."""
        check_is_fitted(self)
        if not all(hasattr(m, "feature_importances_") for m in self.estimators_):
            raise AttributeError(
                "Unable to compute feature importances since estimator does not have a "
                "feature_importances_ attribute."
            )
        pairs = zip(self.estimator_weights_, self.estimators_, strict=False)
        total = sum(weight * m.feature_importances_ for weight, m in pairs)
        out: FloatArray = total / self.estimator_weights_.sum()
        return out

    def _first(self, n: int) -> Any:
        """The function of rows that the first ``n`` members make."""
        raise NotImplementedError

    def staged_predict(self, X: ArrayLike) -> Iterator[Any]:
        """The prediction after each member, in kind.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes

        Yields
        ------
        (n,), lazy where X is: each stage then costs the predictions of its members
        """
        check_is_fitted(self)
        for n in range(1, len(self.estimators_) + 1):
            yield self._map_rows(X, self._first(n), dtype=self._dtype())

    def _dtype(self) -> Any:
        return np.float64

    def predict(self, X: ArrayLike) -> Any:
        """The prediction of each row, in kind.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes

        Returns
        -------
        (n,), lazy where X is
        """
        check_is_fitted(self)
        return self._map_rows(X, self._first(len(self.estimators_)), dtype=self._dtype())

    def staged_score(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike = None
    ) -> Iterator[float]:
        """The score after each member.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes
        y : (n,) true labels or values
        sample_weight : (n,) or None

        Yields
        ------
        float
        """
        score = accuracy_score if self._kind == "classifier" else r2_score
        for said in self.staged_predict(X):
            yield score(y, said, sample_weight=sample_weight)


class AdaBoostClassifier(ClassifierMixin, _AdaBoost):
    """Classifiers one after the other, each on rows weighted by what those before it got wrong.

    With ``w`` the weights, ``e_m`` the weighted share of wrong labels of member ``m``, ``K`` classes::

        alpha_m = learning_rate (log((1 - e_m) / e_m) + log(K - 1))
        w       <- w exp(alpha_m [m is wrong]),   normalised
        C(x)    = argmax_c sum_m alpha_m [m says c]

    Parameters
    ----------
    estimator : classifier, default=DecisionTreeClassifier(max_depth=1)
        Of scikit-learn, of this package, or another one that trains on a cluster; its ``fit`` must take
        ``sample_weight``. Cloned, not fitted itself.
    n_estimators : int, default=50
        Fewer are fitted if one makes no error, or is no better than guessing.
    learning_rate : float, default=1.0
    random_state : int, RandomState instance or None
        Seeds the members, with the numbers that scikit-learn draws.
    verbose : int, default=0
        1 shows a progress line.
    balance : {"adaptive", "even", "data"} or None (as configured); see :func:`~daskml_kit.config_context`

    Attributes
    ----------
    estimator_ : the estimator of which members are clones
    estimators_ : list of the fitted members; they know the original labels
    estimator_weights_ : ndarray of shape (n_estimators,), ``alpha_m``; 0 for those that were not fitted
    estimator_errors_ : ndarray of shape (n_estimators,), ``e_m``; 1 for those that were not fitted
    classes_ : ndarray of shape (n_classes,)
    n_classes_ : int
    feature_importances_ : ndarray of shape (n_features,), where members have them
    n_features_in_, feature_names_in_, n_rounds_, n_passes_, history_ : see
        :class:`~daskml_kit.base.BlockEstimator`

    Notes
    -----
    The weights stay with the rows. A member of this package is fitted where the rows are; a step is then its
    own rounds and three more. Any other member needs all rows on one worker in every step, so they are
    gathered there once, and the whole loop is one job; refused before it is tried if they don't fit.

    References
    ----------
    Freund, Schapire (1997). A decision-theoretic generalization of on-line learning and an application to
    boosting. JCSS 55.
    Zhu, Zou, Rosset, Hastie (2009). Multi-class AdaBoost. Statistics and Its Interface 2, algorithm 2.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> model = AdaBoostClassifier(n_estimators=20, random_state=0).fit(X, y)
    >>> bool(model.score(X, y) > 0.95)
    True
    """

    _kind = "classifier"
    _target: TargetKind = "classes"
    _needs_weights = True

    def __init__(
        self,
        estimator: Any = None,
        *,
        n_estimators: int = 50,
        learning_rate: float = 1.0,
        random_state: Any = None,
        verbose: int = 0,
        balance: str | None = None,
    ) -> None:
        self.estimator = estimator
        self.n_estimators = n_estimators
        self.learning_rate = learning_rate
        self.random_state = random_state
        self.verbose = verbose
        self.balance = balance

    def _member(self) -> Any:
        return DecisionTreeClassifier(max_depth=1) if self.estimator is None else self.estimator

    def _rule(self, facts: DataFacts, seed: int) -> Any:
        assert facts.classes is not None
        return _Classes(facts.classes, self.learning_rate)

    def _dtype(self) -> Any:
        return self.classes_.dtype

    def _decision(self, n: int) -> Any:
        check_is_fitted(self)
        return partial(
            _decision_rows, self.estimators_[:n], self.estimator_weights_[:n], self.classes_
        )

    def _first(self, n: int) -> Any:
        return partial(_labels, self._decision(n), self.classes_)

    def decision_function(self, X: ArrayLike) -> Any:
        """The weighted share of votes for each class less that of the others, in kind.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes

        Returns
        -------
        (n,) for two classes, positive for the second; else (n, n_classes)
        """
        check_is_fitted(self)
        return self._decided(X, len(self.estimators_))

    def staged_decision_function(self, X: ArrayLike) -> Iterator[Any]:
        """``decision_function`` after each member, in kind.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes

        Yields
        ------
        (n,) for two classes, else (n, n_classes)
        """
        check_is_fitted(self)
        for n in range(1, len(self.estimators_) + 1):
            yield self._decided(X, n)

    def _decided(self, X: ArrayLike, n: int) -> Any:
        columns = None if self.n_classes_ == 2 else list(self.classes_)
        return self._map_rows(X, self._decision(n), dtype=np.float64, columns=columns)

    def predict_proba(self, X: ArrayLike) -> Any:
        """The probability of each class, in kind: the softmax of the decisions over ``n_classes - 1``.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes

        Returns
        -------
        (n, n_classes), columns in the order of ``classes_``
        """
        check_is_fitted(self)
        return self._probable(X, len(self.estimators_))

    def staged_predict_proba(self, X: ArrayLike) -> Iterator[Any]:
        """``predict_proba`` after each member, in kind.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes

        Yields
        ------
        (n, n_classes)
        """
        check_is_fitted(self)
        for n in range(1, len(self.estimators_) + 1):
            yield self._probable(X, n)

    def _probable(self, X: ArrayLike, n: int) -> Any:
        rows = partial(_probabilities, self._decision(n))
        return self._map_rows(X, rows, dtype=np.float64, columns=list(self.classes_))

    def predict_log_proba(self, X: ArrayLike) -> Any:
        """The logarithm of ``predict_proba``, in kind.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes

        Returns
        -------
        (n, n_classes), columns in the order of ``classes_``
        """
        check_is_fitted(self)
        rows = partial(_log_probabilities, self._decision(len(self.estimators_)))
        return self._map_rows(X, rows, dtype=np.float64, columns=list(self.classes_))


class AdaBoostRegressor(RegressorMixin, _AdaBoost):
    """Regressors one after the other, each on rows drawn by what those before it got wrong.

    AdaBoost.R2. With ``r`` the absolute errors over the largest, ``l(r)`` their loss, ``e_m`` its weighted
    mean::

        beta_m = e_m / (1 - e_m)
        w      <- w beta_m^((1 - l) learning_rate),   normalised
        f(x)   = weighted median of f_m(x), weights learning_rate log(1 / beta_m)

    Parameters
    ----------
    estimator : regressor, default=DecisionTreeRegressor(max_depth=3)
        Of scikit-learn, of this package, or another one that trains on a cluster. Cloned, not fitted itself.
    n_estimators : int, default=50
        Fewer are fitted if one makes no error, or errs by half or more.
    learning_rate : float, default=1.0
    loss : {"linear", "square", "exponential"}, default="linear"
    random_state : int, RandomState instance or None
    verbose : int, default=0
        1 shows a progress line.
    balance : {"adaptive", "even", "data"} or None (as configured); see :func:`~daskml_kit.config_context`

    Attributes
    ----------
    estimator_, estimators_, estimator_weights_, estimator_errors_, feature_importances_ : see
        :class:`AdaBoostClassifier`
    n_features_in_, feature_names_in_, n_rounds_, n_passes_, history_ : see
        :class:`~daskml_kit.base.BlockEstimator`

    Notes
    -----
    Where members are fitted is said at :class:`AdaBoostClassifier`. A row is drawn for a member a Poisson
    number of times, keyed by the row, whose mean is its weight times the number of rows: the members are the
    same whatever the chunks, other ones than scikit-learn's.

    References
    ----------
    Drucker (1997). Improving regressors using boosting techniques. ICML.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = AdaBoostRegressor(n_estimators=20, random_state=0).fit(X, y)
    >>> bool(model.score(X, y) > 0.5)
    True
    """

    _kind = "regressor"
    _target: TargetKind = "values"
    _needs_weights = False

    def __init__(
        self,
        estimator: Any = None,
        *,
        n_estimators: int = 50,
        learning_rate: float = 1.0,
        loss: str = "linear",
        random_state: Any = None,
        verbose: int = 0,
        balance: str | None = None,
    ) -> None:
        self.estimator = estimator
        self.n_estimators = n_estimators
        self.learning_rate = learning_rate
        self.loss = loss
        self.random_state = random_state
        self.verbose = verbose
        self.balance = balance

    def _member(self) -> Any:
        return DecisionTreeRegressor(max_depth=3) if self.estimator is None else self.estimator

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if self.loss not in ("linear", "square", "exponential"):
            raise InvalidParameterError(
                f"loss must be 'linear', 'square' or 'exponential', got {self.loss!r}."
            )

    def _rule(self, facts: DataFacts, seed: int) -> Any:
        as_weights = has_fit_parameter(self._member(), "sample_weight")
        return _Values(self.loss, self.learning_rate, seed, facts.n_rows, as_weights)

    def _first(self, n: int) -> Any:
        return partial(_median_rows, self.estimators_[:n], self.estimator_weights_[:n])


# ---------------------------------------------------------------- rows


def _decision_rows(
    models: Sequence[Any], weights: FloatArray, classes: Array, X: Matrix
) -> FloatArray:
    """SAMME's decisions: (n, n_classes), or (n,) of two; zero where there is one class."""
    k = len(classes)
    out = np.zeros((int(X.shape[0]), k))
    if k == 1:
        return out
    for model, weight in zip(models, weights, strict=True):
        voted = answers(model, X, Form(classes)) > 0
        out += np.where(voted, weight, -weight / (k - 1))
    out /= weights.sum()
    return out[:, 1] - out[:, 0] if k == 2 else out


def _labels(decide: Any, classes: Array, X: Matrix) -> Array:
    decision = decide(X)
    codes = decision.argmax(axis=1) if decision.ndim == 2 else (decision > 0).astype(np.intp)
    out: Array = classes[codes]
    return out


def _probabilities(decide: Any, X: Matrix) -> FloatArray:
    decision = decide(X)
    if decision.ndim == 1:
        decision = np.column_stack([-decision, decision]) / 2
    else:
        decision = decision / max(decision.shape[1] - 1, 1)
    raised = np.exp(decision - decision.max(axis=1, keepdims=True))
    out: FloatArray = raised / raised.sum(axis=1, keepdims=True)
    return out


def _log_probabilities(decide: Any, X: Matrix) -> FloatArray:
    return np.log(_probabilities(decide, X))


def _median_rows(models: Sequence[Any], weights: FloatArray, X: Matrix) -> FloatArray:
    """The smallest prediction below which half of the members' weights are."""
    said = np.column_stack([answers(m, X, Form()) for m in models])
    order = np.argsort(said, axis=1, kind="stable")
    reached = np.cumsum(weights[order], axis=1)
    middle = (reached >= 0.5 * reached[:, -1:]).argmax(axis=1)
    rows = np.arange(len(said))
    out: FloatArray = said[rows, order[rows, middle]]
    return out


__all__ = ["AdaBoostClassifier", "AdaBoostRegressor"]
