"""Forests: every tree sees every row of its bootstrap, wherever the rows live."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from numbers import Integral, Real
from typing import Any, ClassVar, Literal, Self

import numpy as np
from sklearn import ensemble as reference
from sklearn.utils.validation import check_is_fitted

from daskml_kit.base import ClassifierMixin, RegressorMixin, check_number
from daskml_kit.exceptions import InvalidDataError, InvalidDataTypeError, InvalidParameterError
from daskml_kit.kernels.tree_categories import Coding
from daskml_kit.kernels.tree_predict import Packed
from daskml_kit.runtime.ingest import DataFacts
from daskml_kit.runtime.random import generator, seed_from
from daskml_kit.runtime.sources import is_dask
from daskml_kit.tree import DecisionTreeClassifier, DecisionTreeRegressor
from daskml_kit.tree.answers import Packing, all_leaves, all_paths, mean_values
from daskml_kit.tree.categorical import numbered
from daskml_kit.tree.estimator import (
    CLASS_CRITERIA,
    MOST_TIMES,
    VALUE_CRITERIA,
    TreeEstimator,
    TreeParameters,
    classes_by,
    flat,
    log_of,
)
from daskml_kit.tree.forest import grow_forest
from daskml_kit.tree.ground import Ground, prepared
from daskml_kit.tree.growing import Sampling
from daskml_kit.tree.out_of_bag import Asked, OutOfBag, out_of_bag
from daskml_kit.tree.structure import as_tree, pruned
from daskml_kit.typing import Array, ArrayLike, FloatArray, IntArray, TargetKind


class _Forest(TreeEstimator):
    _criteria: ClassVar[dict[str, str]]
    _target: ClassVar[TargetKind]
    _random: ClassVar[bool] = False
    _member: ClassVar[Any]
    _reference: ClassVar[Any]

    n_estimators: int
    bootstrap: bool
    oob_score: Any
    n_jobs: Any
    random_state: Any
    warm_start: bool
    max_samples: Any
    ccp_alpha: float
    _seed: int
    _packing: Packing

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike = None) -> Self:
        """Grow the forest.

        Parameters
        ----------
        X : (n, n_features) NumPy, pandas, scipy.sparse, dask.array, dask.dataframe or xarray.DataArray
            Compared as float32; NaN is a missing value.
        y : (n,)
        sample_weight : (n,) or None

        Returns
        -------
        self

        Raises
        ------
        InvalidDataError, InvalidDataTypeError, InvalidParameterError, ClusterError
            Before any training round.
        """
        asked = TreeParameters.of(self, self._criteria, random=self._random)
        self._check_parameters()
        if callable(self.oob_score) and is_dask(X):
            raise InvalidParameterError(
                "oob_score as a callable needs the predictions of all rows in this process, got lazy rows. "
                "Pass oob_score=True, or data in memory."
            )
        features = self._categorical(X)
        X = numbered(X, {} if features is None else features.levels)
        kept = self._kept_trees()
        seed = self._seed if kept else seed_from(self.random_state)
        how: dict[str, Any] = {"target": self._target, "min_classes": 1}
        if self._target == "classes":
            how["class_weights"] = self._class_weights
        with self._opened(X, y, sample_weight, **how) as (data, executor):
            facts = data.facts
            self._refuse_another_kind(kept, facts)
            sampling = self._sampling(facts.n_rows)
            with prepared(
                executor, data, seed, asked.max_bins, poisson=asked.poisson, features=features
            ) as ground:
                growth = asked.growth(ground, sampling)
                keys = _keys(seed, self.n_estimators)
                grown = grow_forest(ground, growth, keys[len(kept) :])
                coding = growth.binning.coding
                _refuse_other_categories(kept, coding)
                new = [
                    as_tree(nodes, growth.rules, facts.n_features, coding=coding)
                    for nodes in grown.trees
                ]
                trees = kept + [pruned(tree, self.ccp_alpha) for tree in new]
                unseen = None
                if self.oob_score:
                    unseen = self._out_of_bag(ground, trees, keys, sampling, not is_dask(X))
        self._seed, self._packing, self._n_samples = seed, Packing(), sampling.n_rows
        self._keep_categorical(features)
        self.growth_ = grown.way
        self.n_outputs_ = 1
        if facts.classes is not None:
            self.classes_ = facts.classes
            self.n_classes_ = len(facts.classes)
        if sampling.n_draws:
            self._n_samples_bootstrap = sampling.n_draws
        n_searched = asked.features_of(facts.n_features)
        self.estimators_ = [self._as_member(tree, n_searched) for tree in trees]
        for name in ("oob_score_", "oob_decision_function_", "oob_prediction_"):
            if hasattr(self, name):
                delattr(self, name)
        if unseen is not None:
            self._keep_out_of_bag(unseen, with_rows=not is_dask(X))
            if callable(self.oob_score):
                self.oob_score_ = self.oob_score(*self._out_of_bag_pair(y))
        return self

    # ---------------------------------------------------------------- parameters

    def _check_parameters(self) -> None:
        check_number("n_estimators", self.n_estimators, least=1, whole=True)
        if not isinstance(self.oob_score, bool | np.bool_) and not callable(self.oob_score):
            raise InvalidParameterError(
                f"oob_score must be True, False or a callable, got {self.oob_score!r}."
            )
        if self.n_jobs is not None and not isinstance(self.n_jobs, Integral):
            raise InvalidParameterError(f"n_jobs must be an integer or None, got {self.n_jobs!r}.")
        if self.oob_score and not self.bootstrap:
            raise InvalidParameterError(
                "Out of bag estimation only available if bootstrap=True: without it each tree sees all rows."
            )
        if self.max_samples is not None and not self.bootstrap:
            raise InvalidParameterError(
                "`max_sample` cannot be set if `bootstrap=False`. Either switch to `bootstrap=True` or set "
                f"`max_sample=None`, got max_samples={self.max_samples!r}."
            )
        given = getattr(self, "class_weight", None)
        if isinstance(given, str) and given != "balanced":
            reason = ""
            if given == "balanced_subsample":
                reason = (
                    ": weights would differ from tree to tree, and with them what histograms sum up"
                )
            raise InvalidParameterError(
                f"class_weight must be 'balanced', a dict or None, got {given!r}{reason}."
            )

    def _sampling(self, n_rows: int) -> Sampling:
        if not self.bootstrap:
            return Sampling(n_rows)
        value = self.max_samples
        if value is None:
            return Sampling(n_rows, n_rows)
        n_draws = _draws(value, n_rows)
        if not 0 < n_draws <= MOST_TIMES * n_rows:
            raise InvalidParameterError(
                "max_samples must be None, an integer of at least 1, or a positive multiple of the number of "
                f"rows, in all at most {MOST_TIMES} draws a row, got {value!r} for {n_rows} rows."
            )
        return Sampling(n_rows, n_draws)

    def _kept_trees(self) -> list[Any]:
        """The trees of the last fit, where this one adds to them."""
        if not self.warm_start or not hasattr(self, "estimators_"):
            return []
        there = len(self.estimators_)
        if self.n_estimators < there:
            raise InvalidParameterError(
                f"n_estimators={self.n_estimators} must be larger or equal to len(estimators_)={there} when "
                "warm_start==True"
            )
        if self.n_estimators == there:
            warnings.warn(
                "Warm-start fitting without increasing n_estimators does not fit new trees.",
                stacklevel=3,
            )
        return [member.tree_ for member in self.estimators_]

    def _refuse_another_kind(self, kept: list[Any], facts: DataFacts) -> None:
        """Trees that are added to others must be of the same features and classes."""
        if not kept:
            return
        if kept[0].n_features != facts.n_features:
            raise InvalidDataError(
                f"X has {facts.n_features} features, but the {len(kept)} trees that warm_start=True keeps "
                f"were grown on {kept[0].n_features}. Pass the same features, or fit with warm_start=False."
            )
        if facts.classes is not None and not np.array_equal(self.classes_, facts.classes):
            raise InvalidDataError(
                f"y has the classes {facts.classes}, but the {len(kept)} trees that warm_start=True keeps "
                f"were grown on {self.classes_}. Pass the same classes, or fit with warm_start=False."
            )

    # ---------------------------------------------------------------- after growing

    def _as_member(self, tree: Any, n_searched: int) -> Any:
        given = self.get_params(deep=False)
        member = self._member(splitter="random" if self._random else "best")
        shared = member.get_params().keys() & given.keys()
        member.set_params(
            **{k: given[k] for k in shared if k not in ("class_weight", "random_state")}
        )
        member.tree_, member.growth_, member.max_features_ = tree, self.growth_, n_searched
        for name in ("n_features_in_", "feature_names_in_", "n_outputs_", "classes_", "n_classes_"):
            if hasattr(self, name):
                setattr(member, name, getattr(self, name))
        member.is_categorical_, member._levels = self.is_categorical_, self._levels
        return member

    def _out_of_bag(
        self,
        ground: Ground,
        trees: Sequence[Any],
        keys: Sequence[int],
        sampling: Sampling,
        with_rows: bool,
    ) -> OutOfBag:
        classes = self._target == "classes"
        asked = Asked(trees, keys, sampling, ground.binning, classes, with_rows)
        found = out_of_bag(ground, asked)
        if found.unseen:
            warnings.warn(
                "Some inputs do not have OOB scores. This probably means too few trees were used to compute "
                f"any reliable OOB estimates: {found.unseen} of {found.n_rows} rows were seen by all trees.",
                UserWarning,
                stacklevel=4,
            )
        return found

    def _keep_out_of_bag(self, found: OutOfBag, *, with_rows: bool) -> None:
        raise NotImplementedError

    def _out_of_bag_pair(self, y: ArrayLike) -> tuple[Array, Array]:
        """Targets, classes by their numbers, and out-of-bag predictions of rows in this process."""
        raise NotImplementedError

    @property
    def estimator_(self) -> Any:
        """An unfitted member."""
        return self._member(splitter="random" if self._random else "best")

    def __len__(self) -> int:
        """Number of trees."""
        return len(self.estimators_)

    def __getitem__(self, index: int) -> Any:
        """A tree."""
        return self.estimators_[index]

    def __iter__(self) -> Iterator[Any]:
        """The trees."""
        return iter(self.estimators_)

    @property
    def estimators_samples_(self) -> list[IntArray]:
        """The global rows that each tree has drawn, ascending, as often as it has: drawn anew when asked for.

        Memory: eight bytes a draw, all trees together.
        """
        check_is_fitted(self)
        rows = range(self._n_samples)
        every = np.arange(self._n_samples)
        if not self.bootstrap:
            return [every.copy() for _ in self.estimators_]
        sampling = Sampling(self._n_samples, self._n_samples_bootstrap)
        keys = _keys(self._seed, len(self.estimators_))
        return [np.repeat(every, sampling.times(key, rows)) for key in keys]

    @property
    def feature_importances_(self) -> FloatArray:
        """The mean of the trees' importances, of those that have a split; it sums up to one."""
        check_is_fitted(self)
        found = [m.feature_importances_ for m in self.estimators_ if m.tree_.node_count > 1]
        if not found:
            return np.zeros(self.n_features_in_)
        mean = np.mean(found, axis=0)
        out: FloatArray = mean / mean.sum()
        return out

    def apply(self, X: ArrayLike) -> Any:
        """The leaf of each row in each tree, in kind.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes

        Returns
        -------
        (n, n_estimators) int64, lazy where X is
        """
        check_is_fitted(self)
        trees = self._packed()
        return self._map_rows(
            X,
            partial(all_leaves, trees),
            dtype=np.int64,
            columns=list(range(trees.n_trees)),
            column_dim="tree",
        )

    def decision_path(self, X: ArrayLike) -> Any:
        """Which nodes each row passes, for rows in memory.

        Parameters
        ----------
        X : (n, n_features)

        Returns
        -------
        CSR matrix of shape (n, n_nodes) over the nodes of all trees, and where each tree's nodes begin
        """
        check_is_fitted(self)
        if is_dask(X):
            raise InvalidDataTypeError(
                "decision_path makes one sparse matrix of all rows, so X must be in memory: pass "
                "X.compute(), or ask for the leaves of each row with apply(X), which stays lazy."
            )
        return all_paths(self._packed(), self._checked_rows(self._numbered(X)))

    def _packed(self) -> Packed:
        return self._packing.of([member.tree_ for member in self.estimators_])

    def to_sklearn(self) -> Any:
        """scikit-learn's estimator of the same name with the same trees: equal predictions.

        Returns
        -------
        sklearn.ensemble.RandomForestClassifier and so on
        """
        check_is_fitted(self)
        self._refuse_sets()
        given = self.get_params(deep=False)
        out = self._reference(**{k: given[k] for k in self._reference().get_params() if k in given})
        members = [member.to_sklearn() for member in self.estimators_]
        for member in members:
            if hasattr(self, "classes_"):
                member.classes_ = np.arange(len(self.classes_), dtype=np.float64)
            if hasattr(member, "feature_names_in_"):
                del member.feature_names_in_
        out.estimators_ = members
        out.estimator_ = out.estimator
        for name in ("n_features_in_", "feature_names_in_", "n_outputs_", "classes_", "n_classes_"):
            if hasattr(self, name):
                setattr(out, name, getattr(self, name))
        return out


def _draws(max_samples: Any, n_rows: int) -> int:
    """``max_samples`` as a number of draws; 0 where it is none."""
    if isinstance(max_samples, Integral):
        return int(max_samples)
    if isinstance(max_samples, Real) and 0 < float(max_samples) < np.inf:
        return max(int(n_rows * float(max_samples)), 1)
    return 0


def _keys(seed: int, n: int) -> list[int]:
    """The keys of the first trees of a seed."""
    keys: list[int] = generator(seed, "trees").integers(2**64, size=n, dtype=np.uint64).tolist()
    return keys


def _refuse_other_categories(kept: Sequence[Any], coding: Coding | None) -> None:
    """Trees that are added to others must call the same categories by the same codes."""
    before = getattr(kept[0], "coding", None) if kept else coding
    if (before is None) != (coding is None) or (
        before is not None
        and coding is not None
        and not (
            np.array_equal(before.features, coding.features)
            and all(map(np.array_equal, before.values, coding.values))
        )
    ):
        raise InvalidDataError(
            f"The {len(kept)} trees that warm_start=True keeps were grown on other categories than X has: "
            "pass data with the same categories, or fit with warm_start=False."
        )


class _ForestClassifier(ClassifierMixin, _Forest):
    _criteria = CLASS_CRITERIA
    _target = "classes"
    _member = DecisionTreeClassifier

    def predict(self, X: ArrayLike) -> Any:
        """The class of largest mean probability, in kind.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes

        Returns
        -------
        (n,), lazy where X is
        """
        check_is_fitted(self)
        fn = partial(classes_by, partial(mean_values, self._packed()), self.classes_)
        return self._map_rows(X, fn, dtype=self.classes_.dtype)

    def predict_proba(self, X: ArrayLike) -> Any:
        """The mean of the trees' shares of classes, in kind.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes

        Returns
        -------
        (n, n_classes), columns in the order of ``classes_``
        """
        check_is_fitted(self)
        return self._columns(X, partial(mean_values, self._packed()))

    def predict_log_proba(self, X: ArrayLike) -> Any:
        """The logarithm of :meth:`predict_proba`.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes

        Returns
        -------
        (n, n_classes), columns in the order of ``classes_``
        """
        check_is_fitted(self)
        return self._columns(X, partial(log_of, partial(mean_values, self._packed())))

    def _columns(self, X: ArrayLike, fn: Any) -> Any:
        return self._map_rows(X, fn, dtype=np.float64, columns=list(self.classes_))

    def _keep_out_of_bag(self, found: OutOfBag, *, with_rows: bool) -> None:
        self.oob_score_ = found.accuracy
        if with_rows:
            self.oob_decision_function_ = found.values

    def _out_of_bag_pair(self, y: ArrayLike) -> tuple[Array, Array]:
        labels = np.searchsorted(self.classes_, np.asarray(y).ravel())
        return labels, self.oob_decision_function_.argmax(axis=1)


class _ForestRegressor(RegressorMixin, _Forest):
    _criteria = VALUE_CRITERIA
    _target = "values"
    _member = DecisionTreeRegressor

    def predict(self, X: ArrayLike) -> Any:
        """The mean of the trees' predictions, in kind.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes

        Returns
        -------
        (n,) float64, lazy where X is
        """
        check_is_fitted(self)
        fn = partial(flat, partial(mean_values, self._packed()))
        return self._map_rows(X, fn, dtype=np.float64)

    def _keep_out_of_bag(self, found: OutOfBag, *, with_rows: bool) -> None:
        self.oob_score_ = found.r2
        if with_rows:
            self.oob_prediction_ = found.values[:, 0]

    def _out_of_bag_pair(self, y: ArrayLike) -> tuple[Array, Array]:
        return np.asarray(y).ravel(), self.oob_prediction_


class RandomForestClassifier(_ForestClassifier):
    """A random forest that predicts classes.

    Each tree is grown on a bootstrap of all rows and searches a few features at each node.

    Parameters
    ----------
    n_estimators : int, default=100
    criterion : {"gini", "entropy", "log_loss"}, default="gini"
    max_depth : int or None
    min_samples_split, min_samples_leaf : int, or a share of the rows
    min_weight_fraction_leaf : float, default=0.0
    max_features : int, share, "sqrt", "log2" or None, default="sqrt"
        Features searched at a node, drawn anew at each.
    max_leaf_nodes : int or None
    min_impurity_decrease : float, default=0.0
    bootstrap : bool, default=True
        Each tree draws rows with replacement; else it sees all of them.
    oob_score : bool or callable, default=False
        Score each row by the trees that did not see it: one more pass. A callable scores ``(y, predicted)``,
        with classes by their numbers, for data in this process only.
    n_jobs : int or None
        As in scikit-learn, for its sake only: trees grow on all threads of the cluster's workers, or of this
        process, so that it changes nothing.
    random_state : int, RandomState or None
        Draws are keyed by seed, tree, path of the node and global row: equal seeds give equal forests,
        however the data are chunked and wherever they are.
    verbose : int, default=0
        1 shows a progress line.
    warm_start : bool, default=False
        Add trees to those of the last fit.
    class_weight : dict, "balanced" or None
        "balanced" counts the weights of the rows, where scikit-learn's forests count the rows.
    ccp_alpha : float, default=0.0
    max_samples : int, multiple of the number of rows, or None
        Draws of each tree; None for as many as rows.
    monotonic_cst : array-like of -1, 0, 1 for each feature, or None
    max_bins : int, default=255
        Most bins of a feature, missing values not counted.
    categorical_features : "from_dtype", None, or a mask, indices or names, default="from_dtype"
        Features whose values are categories, as in :class:`~daskml_kit.tree.DecisionTreeClassifier`.
    balance : {"adaptive", "even", "data"} or None (as configured); see :func:`~daskml_kit.config_context`

    Attributes
    ----------
    estimators_ : list of DecisionTreeClassifier
    classes_ : ndarray of shape (n_classes,)
    feature_importances_ : ndarray of shape (n_features,)
    oob_score_ : float, oob_decision_function_ (n, n_classes) for data in memory only
    growth_ : {"replicate", "reduce"}
        Which way the forest grew: whole trees on gathered rows, or a round a level.
    n_rounds_, n_passes_, history_ : see :class:`~daskml_kit.base.BlockEstimator`

    Notes
    -----
    With ``sample_weight`` rows are drawn evenly and then weighed; scikit-learn 1.9 draws them in proportion
    to their weights. ``class_weight="balanced_subsample"`` is refused: trees would differ in their weights.

    References
    ----------
    Breiman (2001). Random forests. Machine Learning 45(1).

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> RandomForestClassifier(20, random_state=0).fit(X, y).score(X, y) > 0.95
    True
    """

    _reference = reference.RandomForestClassifier

    def __init__(
        self,
        n_estimators: int = 100,
        *,
        criterion: str = "gini",
        max_depth: int | None = None,
        min_samples_split: float = 2,
        min_samples_leaf: float = 1,
        min_weight_fraction_leaf: float = 0.0,
        max_features: Any = "sqrt",
        max_leaf_nodes: int | None = None,
        min_impurity_decrease: float = 0.0,
        bootstrap: bool = True,
        oob_score: bool = False,
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
        warm_start: bool = False,
        class_weight: dict[Any, float] | Literal["balanced"] | None = None,
        ccp_alpha: float = 0.0,
        max_samples: Any = None,
        monotonic_cst: Any = None,
        max_bins: int = 255,
        categorical_features: Any = "from_dtype",
        balance: str | None = None,
    ) -> None:
        self.n_estimators = n_estimators
        self.criterion = criterion
        self.max_depth = max_depth
        self.min_samples_split = min_samples_split
        self.min_samples_leaf = min_samples_leaf
        self.min_weight_fraction_leaf = min_weight_fraction_leaf
        self.max_features = max_features
        self.max_leaf_nodes = max_leaf_nodes
        self.min_impurity_decrease = min_impurity_decrease
        self.bootstrap = bootstrap
        self.oob_score = oob_score
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose
        self.warm_start = warm_start
        self.class_weight = class_weight
        self.ccp_alpha = ccp_alpha
        self.max_samples = max_samples
        self.monotonic_cst = monotonic_cst
        self.max_bins = max_bins
        self.categorical_features = categorical_features
        self.balance = balance


class RandomForestRegressor(_ForestRegressor):
    """A random forest that predicts means.

    Each tree is grown on a bootstrap of all rows.

    Parameters
    ----------
    n_estimators : int, default=100
    criterion : {"squared_error", "poisson"}, default="squared_error"
    max_depth : int or None
    min_samples_split, min_samples_leaf : int, or a share of the rows
    min_weight_fraction_leaf : float, default=0.0
    max_features : int, share, "sqrt", "log2" or None, default=1.0
        Features searched at a node, drawn anew at each.
    max_leaf_nodes : int or None
    min_impurity_decrease : float, default=0.0
    bootstrap : bool, default=True
        Each tree draws rows with replacement; else it sees all of them.
    oob_score : bool or callable, default=False
        Score each row by the trees that did not see it: one more pass. A callable scores ``(y, predicted)``,
        with classes by their numbers, for data in this process only.
    n_jobs : int or None
        As in scikit-learn, for its sake only: trees grow on all threads of the cluster's workers, or of this
        process, so that it changes nothing.
    random_state : int, RandomState or None
        Draws are keyed by seed, tree, path of the node and global row: equal seeds give equal forests,
        however the data are chunked and wherever they are.
    verbose : int, default=0
        1 shows a progress line.
    warm_start : bool, default=False
        Add trees to those of the last fit.
    ccp_alpha : float, default=0.0
    max_samples : int, multiple of the number of rows, or None
        Draws of each tree; None for as many as rows.
    monotonic_cst : array-like of -1, 0, 1 for each feature, or None
    max_bins : int, default=255
        Most bins of a feature, missing values not counted.
    categorical_features : "from_dtype", None, or a mask, indices or names, default="from_dtype"
        Features whose values are categories, as in :class:`~daskml_kit.tree.DecisionTreeClassifier`.
    balance : {"adaptive", "even", "data"} or None (as configured); see :func:`~daskml_kit.config_context`

    Attributes
    ----------
    estimators_ : list of DecisionTreeRegressor
    feature_importances_ : ndarray of shape (n_features,)
    oob_score_ : float, oob_prediction_ (n,) for data in memory only
    growth_ : {"replicate", "reduce"}
        Which way the forest grew: whole trees on gathered rows, or a round a level.
    n_rounds_, n_passes_, history_ : see :class:`~daskml_kit.base.BlockEstimator`

    Notes
    -----
    With ``sample_weight`` rows are drawn evenly and then weighed; scikit-learn 1.9 draws them in proportion
    to their weights.

    References
    ----------
    Breiman (2001). Random forests. Machine Learning 45(1).

    Examples
    --------
    >>> import numpy as np
    >>> X = np.arange(40.0)[:, None]
    >>> RandomForestRegressor(20, random_state=0).fit(X, X[:, 0] ** 2).score(X, X[:, 0] ** 2) > 0.98
    True
    """

    _reference = reference.RandomForestRegressor

    def __init__(
        self,
        n_estimators: int = 100,
        *,
        criterion: str = "squared_error",
        max_depth: int | None = None,
        min_samples_split: float = 2,
        min_samples_leaf: float = 1,
        min_weight_fraction_leaf: float = 0.0,
        max_features: Any = 1.0,
        max_leaf_nodes: int | None = None,
        min_impurity_decrease: float = 0.0,
        bootstrap: bool = True,
        oob_score: bool = False,
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
        warm_start: bool = False,
        ccp_alpha: float = 0.0,
        max_samples: Any = None,
        monotonic_cst: Any = None,
        max_bins: int = 255,
        categorical_features: Any = "from_dtype",
        balance: str | None = None,
    ) -> None:
        self.n_estimators = n_estimators
        self.criterion = criterion
        self.max_depth = max_depth
        self.min_samples_split = min_samples_split
        self.min_samples_leaf = min_samples_leaf
        self.min_weight_fraction_leaf = min_weight_fraction_leaf
        self.max_features = max_features
        self.max_leaf_nodes = max_leaf_nodes
        self.min_impurity_decrease = min_impurity_decrease
        self.bootstrap = bootstrap
        self.oob_score = oob_score
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose
        self.warm_start = warm_start
        self.ccp_alpha = ccp_alpha
        self.max_samples = max_samples
        self.monotonic_cst = monotonic_cst
        self.max_bins = max_bins
        self.categorical_features = categorical_features
        self.balance = balance


class ExtraTreesClassifier(_ForestClassifier):
    """Extremely randomised trees that predict classes.

    At each node one threshold a feature is drawn, and the best of these splits is taken.

    Parameters
    ----------
    n_estimators : int, default=100
    criterion : {"gini", "entropy", "log_loss"}, default="gini"
    max_depth : int or None
    min_samples_split, min_samples_leaf : int, or a share of the rows
    min_weight_fraction_leaf : float, default=0.0
    max_features : int, share, "sqrt", "log2" or None, default="sqrt"
        Features searched at a node, drawn anew at each.
    max_leaf_nodes : int or None
    min_impurity_decrease : float, default=0.0
    bootstrap : bool, default=False
        Each tree draws rows with replacement; else it sees all of them.
    oob_score : bool or callable, default=False
        Score each row by the trees that did not see it: one more pass. A callable scores ``(y, predicted)``,
        with classes by their numbers, for data in this process only.
    n_jobs : int or None
        As in scikit-learn, for its sake only: trees grow on all threads of the cluster's workers, or of this
        process, so that it changes nothing.
    random_state : int, RandomState or None
        Draws are keyed by seed, tree, path of the node and global row: equal seeds give equal forests,
        however the data are chunked and wherever they are.
    verbose : int, default=0
        1 shows a progress line.
    warm_start : bool, default=False
        Add trees to those of the last fit.
    class_weight : dict, "balanced" or None
        "balanced" counts the weights of the rows, where scikit-learn's forests count the rows.
    ccp_alpha : float, default=0.0
    max_samples : int, multiple of the number of rows, or None
        Draws of each tree; None for as many as rows.
    monotonic_cst : array-like of -1, 0, 1 for each feature, or None
    max_bins : int, default=255
        Most bins of a feature, missing values not counted.
    categorical_features : "from_dtype", None, or a mask, indices or names, default="from_dtype"
        Features whose values are categories, as in :class:`~daskml_kit.tree.DecisionTreeClassifier`.
    balance : {"adaptive", "even", "data"} or None (as configured); see :func:`~daskml_kit.config_context`

    Attributes
    ----------
    estimators_ : list of DecisionTreeClassifier
    classes_ : ndarray of shape (n_classes,)
    feature_importances_ : ndarray of shape (n_features,)
    oob_score_ : float, oob_decision_function_ (n, n_classes) for data in memory only
    growth_ : {"replicate", "reduce"}
        Which way the forest grew: whole trees on gathered rows, or a round a level.
    n_rounds_, n_passes_, history_ : see :class:`~daskml_kit.base.BlockEstimator`

    Notes
    -----
    With ``sample_weight`` rows are drawn evenly and then weighed; scikit-learn 1.9 draws them in proportion
    to their weights. ``class_weight="balanced_subsample"`` is refused: trees would differ in their weights.

    References
    ----------
    Geurts, Ernst, Wehenkel (2006). Extremely randomized trees. Machine Learning 63(1).

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> ExtraTreesClassifier(20, random_state=0).fit(X, y).score(X, y) > 0.95
    True
    """

    _random = True
    _reference = reference.ExtraTreesClassifier

    def __init__(
        self,
        n_estimators: int = 100,
        *,
        criterion: str = "gini",
        max_depth: int | None = None,
        min_samples_split: float = 2,
        min_samples_leaf: float = 1,
        min_weight_fraction_leaf: float = 0.0,
        max_features: Any = "sqrt",
        max_leaf_nodes: int | None = None,
        min_impurity_decrease: float = 0.0,
        bootstrap: bool = False,
        oob_score: bool = False,
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
        warm_start: bool = False,
        class_weight: dict[Any, float] | Literal["balanced"] | None = None,
        ccp_alpha: float = 0.0,
        max_samples: Any = None,
        monotonic_cst: Any = None,
        max_bins: int = 255,
        categorical_features: Any = "from_dtype",
        balance: str | None = None,
    ) -> None:
        self.n_estimators = n_estimators
        self.criterion = criterion
        self.max_depth = max_depth
        self.min_samples_split = min_samples_split
        self.min_samples_leaf = min_samples_leaf
        self.min_weight_fraction_leaf = min_weight_fraction_leaf
        self.max_features = max_features
        self.max_leaf_nodes = max_leaf_nodes
        self.min_impurity_decrease = min_impurity_decrease
        self.bootstrap = bootstrap
        self.oob_score = oob_score
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose
        self.warm_start = warm_start
        self.class_weight = class_weight
        self.ccp_alpha = ccp_alpha
        self.max_samples = max_samples
        self.monotonic_cst = monotonic_cst
        self.max_bins = max_bins
        self.categorical_features = categorical_features
        self.balance = balance


class ExtraTreesRegressor(_ForestRegressor):
    """Extremely randomised trees that predict means.

    At each node one threshold a feature is drawn, and the best of these splits is taken.

    Parameters
    ----------
    n_estimators : int, default=100
    criterion : {"squared_error", "poisson"}, default="squared_error"
    max_depth : int or None
    min_samples_split, min_samples_leaf : int, or a share of the rows
    min_weight_fraction_leaf : float, default=0.0
    max_features : int, share, "sqrt", "log2" or None, default=1.0
        Features searched at a node, drawn anew at each.
    max_leaf_nodes : int or None
    min_impurity_decrease : float, default=0.0
    bootstrap : bool, default=False
        Each tree draws rows with replacement; else it sees all of them.
    oob_score : bool or callable, default=False
        Score each row by the trees that did not see it: one more pass. A callable scores ``(y, predicted)``,
        with classes by their numbers, for data in this process only.
    n_jobs : int or None
        As in scikit-learn, for its sake only: trees grow on all threads of the cluster's workers, or of this
        process, so that it changes nothing.
    random_state : int, RandomState or None
        Draws are keyed by seed, tree, path of the node and global row: equal seeds give equal forests,
        however the data are chunked and wherever they are.
    verbose : int, default=0
        1 shows a progress line.
    warm_start : bool, default=False
        Add trees to those of the last fit.
    ccp_alpha : float, default=0.0
    max_samples : int, multiple of the number of rows, or None
        Draws of each tree; None for as many as rows.
    monotonic_cst : array-like of -1, 0, 1 for each feature, or None
    max_bins : int, default=255
        Most bins of a feature, missing values not counted.
    categorical_features : "from_dtype", None, or a mask, indices or names, default="from_dtype"
        Features whose values are categories, as in :class:`~daskml_kit.tree.DecisionTreeClassifier`.
    balance : {"adaptive", "even", "data"} or None (as configured); see :func:`~daskml_kit.config_context`

    Attributes
    ----------
    estimators_ : list of DecisionTreeRegressor
    feature_importances_ : ndarray of shape (n_features,)
    oob_score_ : float, oob_prediction_ (n,) for data in memory only
    growth_ : {"replicate", "reduce"}
        Which way the forest grew: whole trees on gathered rows, or a round a level.
    n_rounds_, n_passes_, history_ : see :class:`~daskml_kit.base.BlockEstimator`

    Notes
    -----
    With ``sample_weight`` rows are drawn evenly and then weighed; scikit-learn 1.9 draws them in proportion
    to their weights.

    References
    ----------
    Geurts, Ernst, Wehenkel (2006). Extremely randomized trees. Machine Learning 63(1).

    Examples
    --------
    >>> import numpy as np
    >>> X = np.arange(40.0)[:, None]
    >>> ExtraTreesRegressor(20, random_state=0).fit(X, X[:, 0] ** 2).score(X, X[:, 0] ** 2) > 0.98
    True
    """

    _random = True
    _reference = reference.ExtraTreesRegressor

    def __init__(
        self,
        n_estimators: int = 100,
        *,
        criterion: str = "squared_error",
        max_depth: int | None = None,
        min_samples_split: float = 2,
        min_samples_leaf: float = 1,
        min_weight_fraction_leaf: float = 0.0,
        max_features: Any = 1.0,
        max_leaf_nodes: int | None = None,
        min_impurity_decrease: float = 0.0,
        bootstrap: bool = False,
        oob_score: bool = False,
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
        warm_start: bool = False,
        ccp_alpha: float = 0.0,
        max_samples: Any = None,
        monotonic_cst: Any = None,
        max_bins: int = 255,
        categorical_features: Any = "from_dtype",
        balance: str | None = None,
    ) -> None:
        self.n_estimators = n_estimators
        self.criterion = criterion
        self.max_depth = max_depth
        self.min_samples_split = min_samples_split
        self.min_samples_leaf = min_samples_leaf
        self.min_weight_fraction_leaf = min_weight_fraction_leaf
        self.max_features = max_features
        self.max_leaf_nodes = max_leaf_nodes
        self.min_impurity_decrease = min_impurity_decrease
        self.bootstrap = bootstrap
        self.oob_score = oob_score
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose
        self.warm_start = warm_start
        self.ccp_alpha = ccp_alpha
        self.max_samples = max_samples
        self.monotonic_cst = monotonic_cst
        self.max_bins = max_bins
        self.categorical_features = categorical_features
        self.balance = balance


__all__ = [
    "ExtraTreesClassifier",
    "ExtraTreesRegressor",
    "RandomForestClassifier",
    "RandomForestRegressor",
]
