"""Copies of one estimator, each fitted on rows and features drawn at random."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from numbers import Integral, Real
from typing import Any, NamedTuple, Self

import numpy as np
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from sklearn.utils import Tags, get_tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, has_fit_parameter

from daskml_kit.base import BlockEstimator, ClassifierMixin, RegressorMixin, check_number
from daskml_kit.ensemble import fusion as fuse
from daskml_kit.ensemble.members import Form, answers, on_columns, seeded
from daskml_kit.ensemble.out_of_block import Tally, add_tallies, tally
from daskml_kit.ensemble.sampling import Draw, poisson_counts, shown
from daskml_kit.ensemble.training import Recruit, check_members, spreads, train
from daskml_kit.exceptions import InvalidParameterError
from daskml_kit.runtime.block import Block
from daskml_kit.runtime.dataset import BlockDataset
from daskml_kit.runtime.executor import Executor
from daskml_kit.runtime.ingest import DataFacts
from daskml_kit.runtime.local import LocalExecutor
from daskml_kit.runtime.random import generator, seed_from
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.typing import Array, ArrayLike, FloatArray, IntArray, Matrix, TargetKind

WHOLE_SHARE = 0.5
"""From this share of drawn rows on, a member of this package gets all rows with weights; none is copied."""


# ---------------------------------------------------------------- bags


@dataclass(frozen=True, eq=False)
class Bag:
    """The rows and features of one member.

    Attributes
    ----------
    draw : of the rows
    rate : draws for each unit of weight, None where the rows have no weights
    columns : the features
    all_columns : whether these are all, in their order
    """

    draw: Draw
    rate: float | None
    columns: IntArray
    all_columns: bool

    def counts(self, block: Block) -> IntArray:
        """How often each row of the block is in the bag."""
        if self.rate is None:
            return self.draw.counts(block.rows)
        weight = np.ones(block.n_rows) if block.weight is None else block.weight
        return poisson_counts(self.draw.seed, self.draw.purpose, block.rows, self.rate * weight)

    @property
    def share(self) -> float:
        """Different rows in the bag as a share of all, about."""
        part = self.draw.n_draws / self.draw.n_rows
        return float(1 - np.exp(-part)) if self.draw.replace else part

    def shown(self, as_weights: bool, whole: bool, block: Block) -> Block:
        """The block as the member sees it."""
        columns = None if self.all_columns else self.columns
        return shown(block, self.counts(block), columns, as_weights=as_weights, whole=whole)


# ---------------------------------------------------------------- out of bag


@dataclass(frozen=True, eq=False)
class _Bags:
    """All members and their bags, as they travel to every block."""

    models: tuple[Any, ...]
    bags: tuple[Bag, ...]
    form: Form
    keep: bool  # the answers themselves come back too


class _Unseen(NamedTuple):
    """What members say of rows that are not in their bags."""

    tally: Tally
    missing: int  # rows that are in every bag
    said: tuple[tuple[int, FloatArray], ...]  # first row of a block and the mean answers, if kept


def _unseen_chunk(block: Block, params: _Bags) -> _Unseen:
    form = params.form
    total, votes = np.zeros((block.n_rows, form.width)), np.zeros((block.n_rows, 1))
    for model, bag in zip(params.models, params.bags, strict=True):
        out = np.flatnonzero(bag.counts(block) == 0)
        total[out] += answers(model, block.X[out], form)
        votes[out] += 1
    y = np.asarray(block.y)
    if form.classes is None:
        total = np.divide(total, votes, out=np.zeros_like(total), where=votes > 0)
        mean = total
    else:
        sums = total.sum(axis=1, keepdims=True)
        mean = np.divide(total, sums, out=np.full_like(total, np.nan), where=sums > 0)
    score = tally(total, y, np.ones(len(y)), form.classes is not None)
    said = ((block.start, mean),) if params.keep else ()
    return _Unseen(score, int((votes == 0).sum()), said)


def _add_unseen(a: _Unseen, b: _Unseen) -> _Unseen:
    return _Unseen(add_tallies(a.tally, b.tally), a.missing + b.missing, a.said + b.said)


_UNSEEN: Reduction[_Bags, _Unseen, _Unseen] = Reduction("out-of-bag", _unseen_chunk, _add_unseen)


# ---------------------------------------------------------------- the fit


class _Bagging(BlockEstimator):
    """Drawing bags, fitting members, and the score outside the bags."""

    estimator: Any
    n_estimators: int
    max_samples: Any
    max_features: Any
    bootstrap: bool
    bootstrap_features: bool
    oob_score: bool
    warm_start: bool
    n_jobs: int | None
    random_state: Any
    estimators_: list[Any]

    _kind: str
    _target: TargetKind

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        member = get_tags(self._member())
        tags.input_tags.sparse = member.input_tags.sparse
        tags.input_tags.allow_nan = member.input_tags.allow_nan
        several = self._kind == "regressor" and member.target_tags.multi_output
        tags.target_tags.multi_output = several
        return tags

    def _member(self) -> Any:
        raise NotImplementedError

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike = None) -> Self:
        """Draw the members' rows and features, and fit them.

        Parameters
        ----------
        X : (n, n_features) NumPy, pandas, scipy.sparse, dask.array, dask.dataframe or xarray.DataArray
            Members see plain arrays, without names.
        y : (n,) labels of any type, or (n,) or (n, n_outputs) values
        sample_weight : (n,) or None
            A row is drawn in proportion to it; members don't see it.

        Returns
        -------
        self

        Raises
        ------
        InvalidDataError, InvalidDataTypeError, InvalidParameterError, ClusterError
            Before any member is fitted.
        """
        self._check_parameters(weighted=sample_weight is not None)
        kept = len(self.estimators_) if self.warm_start and hasattr(self, "estimators_") else 0
        if kept and not self._grows(kept):
            return self
        seed = self._seed if kept else seed_from(self.random_state)
        multi = get_tags(self).target_tags.multi_output
        with self._opened(
            X, y, sample_weight, target=self._target, multi_output=multi, min_classes=1
        ) as (data, executor):
            weighted = sample_weight is not None
            bags = [self._bag(seed, i, data.facts, weighted) for i in range(self.n_estimators)]
            models = self._fit_members(executor, data, seed, bags[kept:], kept)
            self._keep(models, bags, kept, data.facts, seed)
            if self.oob_score:
                self._score_unseen(executor, data, bags)
        return self

    def _grows(self, kept: int) -> bool:
        if self.n_estimators < kept:
            raise InvalidParameterError(
                f"n_estimators={self.n_estimators} must be larger or equal to len(estimators_)={kept} "
                "when warm_start==True"
            )
        if self.n_estimators == kept:
            warnings.warn(
                "Warm-start fitting without increasing n_estimators does not fit new members.",
                UserWarning,
                stacklevel=3,
            )
        return self.n_estimators > kept

    def _check_parameters(self, *, weighted: bool) -> None:
        check_number("n_estimators", self.n_estimators, least=1, whole=True)
        for name in ("max_samples", "max_features"):
            value = getattr(self, name)
            if not (value is None and name == "max_samples"):
                _check_share(name, value)
        check_members([("estimator", self._member())], self._kind)
        if self.oob_score and not self.bootstrap:
            raise InvalidParameterError(
                "Out of bag estimation only available if bootstrap=True, got oob_score=True and "
                "bootstrap=False."
            )
        if self.oob_score and self.warm_start:
            raise InvalidParameterError(
                "Out of bag estimate only available if warm_start=False, got oob_score=True and "
                "warm_start=True."
            )
        if weighted and not self.bootstrap:
            raise InvalidParameterError(
                "sample_weight says how often a row is drawn, which needs drawing with replacement, got "
                "bootstrap=False. Use bootstrap=True, or leave sample_weight out."
            )

    def _bag(self, seed: int, index: int, facts: DataFacts, weighted: bool) -> Bag:
        draws = self._n_draws(facts, weighted)
        draw = Draw(seed, f"bag-{index}", facts.n_rows, draws, self.bootstrap)
        n, k = facts.n_features, self._n_columns(facts.n_features)
        every = k == n and not self.bootstrap_features
        random = generator(seed, f"features-{index}")
        columns = np.arange(n)
        if self.bootstrap_features:
            columns = random.integers(0, n, k)
        elif not every:
            columns = random.permutation(n)[:k]
        return Bag(draw, draws / facts.weight_sum if weighted else None, columns, every)

    def _n_draws(self, facts: DataFacts, weighted: bool) -> int:
        asked = self.max_samples
        if asked is None:
            draws = facts.n_rows
        elif isinstance(asked, Integral):
            draws = int(asked)
        else:
            draws = max(1, int(asked * (facts.weight_sum if weighted else facts.n_rows)))
        if not self.bootstrap and draws > facts.n_rows:
            raise InvalidParameterError(
                f"Effective max_samples={draws} must be <= n_samples={facts.n_rows} to be able to sample "
                "without replacement."
            )
        return draws

    def _n_columns(self, n_features: int) -> int:
        asked = self.max_features
        if not isinstance(asked, Integral):
            return max(1, int(asked * n_features))
        if int(asked) > n_features:
            raise InvalidParameterError(
                f"max_features must be <= n_features, got {asked} and {n_features}."
            )
        return int(asked)

    def _fit_members(
        self, executor: Executor, data: BlockDataset, seed: int, bags: Sequence[Bag], first: int
    ) -> list[Any]:
        member = self._member()
        as_weights = has_fit_parameter(member, "sample_weight")
        recruits = []
        for i, bag in enumerate(bags, first):
            whole = as_weights and spreads(member) and bag.share >= WHOLE_SHARE
            cut = partial(bag.shown, whole or (as_weights and self.bootstrap), whole)
            columns = len(bag.columns) / data.facts.n_features
            rows = bag.share if as_weights else bag.draw.n_draws / bag.draw.n_rows
            model = seeded(member, seed, i)
            recruits.append(Recruit(f"member {i}", model, cut, rows * columns))
        classes = data.facts.classes
        return train(executor, data, recruits, classes=classes, n_jobs=self.n_jobs)

    def _keep(
        self, models: list[Any], bags: list[Bag], kept: int, facts: DataFacts, seed: int
    ) -> None:
        """Set the attributes of the fit."""
        self.estimator_ = self._member()
        self.estimators_ = [*self.estimators_[:kept], *models] if kept else models
        self.estimators_features_ = [bag.columns for bag in bags]
        self._seed, self._n_outputs = seed, facts.n_outputs
        self._draws = [bag.draw if bag.rate is None else None for bag in bags]
        self._voters = [
            model if bag.all_columns else on_columns(model, bag.columns)
            for model, bag in zip(self.estimators_, bags, strict=True)
        ]
        if facts.classes is not None:
            self.classes_, self.n_classes_ = facts.classes, len(facts.classes)

    @property
    def estimators_samples_(self) -> list[IntArray]:
        """The rows in the bag of each member, a row as often as it was drawn; drawn anew when asked for."""
        check_is_fitted(self)
        if any(draw is None for draw in self._draws):
            raise AttributeError(
                "estimators_samples_ follows from sample_weight, which stayed with the data."
            )
        draws = [draw for draw in self._draws if draw is not None]
        return [np.repeat(np.arange(d.n_rows), d.counts(range(d.n_rows))) for d in draws]

    def _form(self) -> Form:
        classes = getattr(self, "classes_", None)
        soft = all(hasattr(m, "predict_proba") for m in self.estimators_)
        return Form(classes, soft, max(self._n_outputs, 1))

    def _score_unseen(self, executor: Executor, data: BlockDataset, bags: Sequence[Bag]) -> None:
        keep = isinstance(executor, LocalExecutor)
        params = _Bags(tuple(self._voters), tuple(bags), self._form(), keep)
        unseen = executor.reduce(data, _UNSEEN, params)
        if unseen.missing:
            warnings.warn(
                f"{unseen.missing} rows are in the bags of all members, so they do not have out-of-bag "
                "answers. This probably means too few estimators were used to compute any reliable oob "
                "estimates.",
                UserWarning,
                stacklevel=3,
            )
        self.oob_score_ = float(unseen.tally.scores()[0])
        if keep:
            parts = sorted(unseen.said, key=lambda part: (part[0], len(part[1])))
            said = np.concatenate([rows for _, rows in parts])
            self._set_unseen(said)

    def _set_unseen(self, said: FloatArray) -> None:
        raise NotImplementedError

    def _mean(self) -> Any:
        check_is_fitted(self)
        weights = np.full(len(self._voters), 1.0 / len(self._voters))
        return partial(fuse.weighted_sum, self._voters, weights, self._form())


def _check_share(name: str, value: Any) -> None:
    fits = False
    if isinstance(value, Integral):
        fits = value is not True and int(value) >= 1
    elif isinstance(value, Real):
        fits = 0 < float(value) <= 1
    if not fits:
        raise InvalidParameterError(
            f"{name} must be an integer >= 1 or a float above 0 and up to 1, got {value!r}."
        )


def _member_has(method: str) -> Any:
    def check(self: _Bagging) -> bool:
        getattr(self._member(), method)
        return True

    return check


class BaggingClassifier(ClassifierMixin, _Bagging):
    """Copies of one classifier, each fitted on rows and features drawn at random; their mean decides.

    ::

        p(c|x) = 1/M sum_m p_m(c|x)        votes, for members without probabilities

    Parameters
    ----------
    estimator : classifier, default=DecisionTreeClassifier()
        Of scikit-learn, of this package, or another one that trains on a cluster. Cloned, not fitted itself.
    n_estimators : int, default=10
    max_samples : int, float or None
        Rows drawn for each member: a number, a share (of the sum of ``sample_weight``, if given), or as many
        as there are.
    max_features : int or float, default=1.0
        Features drawn for each member: a number or a share.
    bootstrap : bool, default=True
        Whether rows are drawn with replacement.
    bootstrap_features : bool, default=False
        Whether features are.
    oob_score : bool, default=False
        Whether to score the members outside of their bags: one pass more.
    warm_start : bool, default=False
        Whether another ``fit`` keeps the members and adds to them.
    n_jobs : int or None
        Most scikit-learn members fitted at the same time. None: on a cluster one for each of its threads,
        in this process one after the other; -1: one for each thread there too.
    random_state : int, RandomState instance or None
    verbose : int, default=0
        1 shows a progress line.
    balance : {"adaptive", "even", "data"} or None (as configured); see :func:`~daskml_kit.config_context`

    Attributes
    ----------
    estimator_ : the estimator of which members are clones
    estimators_ : list of the fitted members; they know the original labels
    estimators_features_ : list of ndarray, the features of each member
    estimators_samples_ : list of ndarray, the rows of each member, drawn anew when asked for
    classes_ : ndarray of shape (n_classes,)
    n_classes_ : int
    oob_score_ : float, accuracy outside the bags; only with ``oob_score``
    oob_decision_function_ : ndarray of shape (n, n_classes), for data in this process only
    n_features_in_, feature_names_in_, n_rounds_, n_passes_, history_ : see
        :class:`~daskml_kit.base.BlockEstimator`

    Notes
    -----
    How often a row is in a bag follows from ``random_state``, the member and the row's global number, so the
    members are the same whatever the chunks and workers. Exactly ``max_samples`` rows are drawn; with
    ``sample_weight`` that many in the mean.

    A scikit-learn member is fitted on one worker, to which the rows of its bag are gathered, several side by
    side, and refused before it is tried if they don't fit there. A member of this package is fitted where the
    rows are, with the counts as weights.

    References
    ----------
    Breiman (1996). Bagging predictors. Machine Learning 24.
    Ho (1998). The random subspace method for constructing decision forests. IEEE TPAMI 20.

    Examples
    --------
    >>> import dask.array as da
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> model = BaggingClassifier(n_estimators=25, oob_score=True, random_state=0).fit(X, y)
    >>> again = BaggingClassifier(n_estimators=25, oob_score=True, random_state=0)
    >>> again = again.fit(da.from_array(X, chunks=(40, 4)), y)
    >>> model.oob_score_ == again.oob_score_, model.oob_score_ > 0.9
    (True, True)
    """

    _kind = "classifier"
    _target: TargetKind = "classes"

    def __init__(
        self,
        estimator: Any = None,
        n_estimators: int = 10,
        *,
        max_samples: Any = None,
        max_features: Any = 1.0,
        bootstrap: bool = True,
        bootstrap_features: bool = False,
        oob_score: bool = False,
        warm_start: bool = False,
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
        balance: str | None = None,
    ) -> None:
        self.estimator = estimator
        self.n_estimators = n_estimators
        self.max_samples = max_samples
        self.max_features = max_features
        self.bootstrap = bootstrap
        self.bootstrap_features = bootstrap_features
        self.oob_score = oob_score
        self.warm_start = warm_start
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose
        self.balance = balance

    def _member(self) -> Any:
        return DecisionTreeClassifier() if self.estimator is None else self.estimator

    def _set_unseen(self, said: FloatArray) -> None:
        self.oob_decision_function_ = said

    def predict(self, X: ArrayLike) -> Any:
        """The label of each row, in kind.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes

        Returns
        -------
        (n,), lazy where X is
        """
        rows = partial(fuse.label_rows, self._mean(), self.classes_)
        return self._map_rows(X, rows, dtype=self.classes_.dtype)

    def predict_proba(self, X: ArrayLike) -> Any:
        """The mean probability of each class, in kind; shares of votes for members without probabilities.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes

        Returns
        -------
        (n, n_classes), columns in the order of ``classes_``
        """
        rows = self._mean()
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
        rows = partial(_log_rows, self._mean())
        return self._map_rows(X, rows, dtype=np.float64, columns=list(self.classes_))

    @available_if(_member_has("decision_function"))
    def decision_function(self, X: ArrayLike) -> Any:
        """The mean of the members' decisions, in kind.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes

        Returns
        -------
        (n,) for two classes, else (n, n_classes)
        """
        check_is_fitted(self)
        if any(len(m.classes_) != self.n_classes_ for m in self.estimators_):
            raise InvalidParameterError(
                "Some members have never seen a row of some class, so their decisions have no mean. Use "
                "predict_proba, or a larger max_samples."
            )
        rows = partial(_mean_decision, self._voters)
        columns = None if self.n_classes_ == 2 else list(self.classes_)
        return self._map_rows(X, rows, dtype=np.float64, columns=columns)


class BaggingRegressor(RegressorMixin, _Bagging):
    """Copies of one regressor, each fitted on rows and features drawn at random, and their mean.

    ::

        f(x) = 1/M sum_m f_m(x)

    Parameters
    ----------
    estimator : regressor, default=DecisionTreeRegressor()
        Of scikit-learn, of this package, or another one that trains on a cluster. Cloned, not fitted itself.
    n_estimators, max_samples, max_features, bootstrap, bootstrap_features, oob_score, warm_start, n_jobs,
    random_state, verbose : see :class:`BaggingClassifier`
    balance : {"adaptive", "even", "data"} or None (as configured); see :func:`~daskml_kit.config_context`

    Attributes
    ----------
    estimator_, estimators_, estimators_features_, estimators_samples_ : see :class:`BaggingClassifier`
    oob_score_ : float, R2 outside the bags; only with ``oob_score``
    oob_prediction_ : ndarray of shape (n,) or (n, n_outputs), for data in this process only
    n_features_in_, feature_names_in_, n_rounds_, n_passes_, history_ : see
        :class:`~daskml_kit.base.BlockEstimator`

    Notes
    -----
    How rows are drawn and members fitted is said at :class:`BaggingClassifier`.

    References
    ----------
    Breiman (1996). Bagging predictors. Machine Learning 24.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from daskml_kit.linear_model import Ridge
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = BaggingRegressor(Ridge(0.1), n_estimators=4, random_state=0).fit(X, y)
    >>> round(model.score(X, y), 1)
    0.5
    """

    _kind = "regressor"
    _target: TargetKind = "values"

    def __init__(
        self,
        estimator: Any = None,
        n_estimators: int = 10,
        *,
        max_samples: Any = None,
        max_features: Any = 1.0,
        bootstrap: bool = True,
        bootstrap_features: bool = False,
        oob_score: bool = False,
        warm_start: bool = False,
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
        balance: str | None = None,
    ) -> None:
        self.estimator = estimator
        self.n_estimators = n_estimators
        self.max_samples = max_samples
        self.max_features = max_features
        self.bootstrap = bootstrap
        self.bootstrap_features = bootstrap_features
        self.oob_score = oob_score
        self.warm_start = warm_start
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose
        self.balance = balance

    def _member(self) -> Any:
        return DecisionTreeRegressor() if self.estimator is None else self.estimator

    def _set_unseen(self, said: FloatArray) -> None:
        self.oob_prediction_ = said if self._n_outputs else said[:, 0]

    def predict(self, X: ArrayLike) -> Any:
        """The mean of the members' predictions, in kind.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes

        Returns
        -------
        (n,) or (n, n_outputs), float64, lazy where X is
        """
        rows = partial(fuse.value_rows, self._mean(), bool(self._n_outputs))
        names = self._target_names(self._n_outputs) if self._n_outputs else {}
        return self._map_rows(X, rows, dtype=np.float64, **names)


# ---------------------------------------------------------------- rows


def _log_rows(fused: Any, X: Matrix) -> FloatArray:
    with np.errstate(divide="ignore"):
        out: FloatArray = np.log(fused(X))
    return out


def _mean_decision(models: Sequence[Any], X: Matrix) -> Array:
    if not X.shape[0]:
        n = len(models[0].classes_)
        return np.empty(0 if n == 2 else (0, n))
    out: Array = sum(m.decision_function(X) for m in models) / len(models)
    return out


__all__ = ["BaggingClassifier", "BaggingRegressor"]
