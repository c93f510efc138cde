"""What forests share: every tree sees every row of its bootstrap, wherever the rows live."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from copy import copy
from functools import partial
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from daskml_kit.base import check_number
from daskml_kit.exceptions import InvalidDataError, InvalidDataTypeError, InvalidParameterError
from daskml_kit.kernels.tree_categories import Coding
from daskml_kit.kernels.tree_predict import Packed
from daskml_kit.runtime.ingest import DataFacts
from daskml_kit.runtime.random import generator, seed_from
from daskml_kit.runtime.sources import is_dask
from daskml_kit.runtime.threads import threads_for
from daskml_kit.tree.answers import Packing, all_leaves, all_paths, mean_values
from daskml_kit.tree.categorical import numbered
from daskml_kit.tree.class_weights import balanced
from daskml_kit.tree.estimator import (
    MOST_TIMES,
    TreeEstimator,
    TreeParameters,
)
from daskml_kit.tree.forest import grow_forest
from daskml_kit.tree.ground import Ground, Growth, prepared
from daskml_kit.tree.growing import Sampling
from daskml_kit.tree.out_of_bag import Asked, OutOfBag, out_of_bag
from daskml_kit.tree.structure import as_tree, pruned
from daskml_kit.typing import Array, ArrayLike, FloatArray, IntArray, TargetKind


class Forest(TreeEstimator):
    """Parameters, growing and answers of every forest; a subclass says what it predicts."""

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
    verbose: int
    warm_start: bool
    max_samples: Any
    ccp_alpha: float
    _seed: int
    _sampled: Sampling
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
        kept = self._kept_trees()
        features = self._categorical(X)
        if kept and features is not None:
            features = features.continuing(self._levels)
        X = numbered(X, {} if features is None else features.levels)
        seed = self._seed if kept else seed_from(self.random_state)
        how: dict[str, Any] = {"target": self._target, "min_classes": 1, "edges": asked.edges}
        if features is not None:
            how["told_apart"] = features.numbers
        if self._target == "classes":
            how["class_weights"] = None if self._balances(sample_weight) else self._class_weights
        with self._opened(X, y, sample_weight, **how) as (data, executor):
            self._refuse_another_kind(kept, data.facts)
            sampling = self._sampling(data.facts.n_rows)
            with prepared(
                executor,
                data,
                seed,
                asked.max_bins,
                poisson=asked.poisson,
                features=features,
                pieces=asked.edges is not None,
            ) as ground:
                self._packing, facts = Packing(), ground.data.facts
                balances = self._balances(sample_weight)
                growth = asked.growth(ground, sampling, balanced=balances)
                keys = _keys(seed, self.n_estimators)
                if balances:
                    growth = balanced(ground, growth, keys, in_bootstrap=self._balances_bootstraps)
                trees = kept + self._grown(ground, growth, keys, kept)
                unseen = None
                if self.oob_score:
                    unseen = self._out_of_bag(ground, trees, keys, sampling, not is_dask(X))
        self._seed, self._sampled = seed, sampling
        self._keep_categorical(features)
        self._keep_shape(facts)
        self.estimators_ = self._as_members(trees, asked.features_of(facts.n_features))
        for name in ("oob_score_", "oob_decision_function_", "oob_prediction_"):
            if hasattr(self, name):
                delattr(self, name)
        if unseen is not None:
            self._keep_out_of_bag(unseen, with_rows=not is_dask(X))
            if callable(self.oob_score):
                self.oob_score_ = self.oob_score(*self._out_of_bag_pair(y))
        return self

    def _grown(
        self, ground: Ground, growth: Growth, keys: Sequence[int], kept: Sequence[Any]
    ) -> list[Any]:
        """The trees beside those that are kept, pruned."""
        coding = growth.binning.coding
        _refuse_other_categories(kept, coding)
        grown = grow_forest(ground, growth, keys[len(kept) :])
        self.growth_ = grown.way
        d = ground.data.facts.n_features
        return [
            pruned(as_tree(nodes, growth.rules, d, coding=coding), self.ccp_alpha)
            for nodes in grown.trees
        ]

    # ---------------------------------------------------------------- parameters

    def _check_parameters(self) -> None:
        check_number("n_estimators", self.n_estimators, least=1, whole=True)
        check_number("verbose", self.verbose, least=0, whole=True)
        for name in ("bootstrap", "warm_start"):
            if not isinstance(getattr(self, name), bool | np.bool_):
                raise InvalidParameterError(
                    f"{name} must be True or False, got {getattr(self, name)!r}."
                )
        if not isinstance(self.oob_score, bool | np.bool_) and not callable(self.oob_score):
            raise InvalidParameterError(
                f"oob_score must be True, False or a callable, got {self.oob_score!r}."
            )
        if self.n_jobs is not None and not (isinstance(self.n_jobs, Integral) and self.n_jobs):
            raise InvalidParameterError(
                f"n_jobs must be an integer other than 0, or None, got {self.n_jobs!r}."
            )
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
        if isinstance(given, str) and given not in ("balanced", "balanced_subsample"):
            raise InvalidParameterError(
                "class_weight must be 'balanced', 'balanced_subsample', a dict or None, "
                f"got {given!r}."
            )
        if isinstance(given, str) and self.warm_start:
            warnings.warn(
                f"class_weight={given!r} is not recommended with warm_start=True if the fitted data differ "
                "from the full data set: trees of different fits then weigh classes differently. Pass a dict "
                "of weights, from sklearn.utils.class_weight.compute_class_weight of a large sample.",
                stacklevel=3,
            )

    @property
    def _balances_bootstraps(self) -> bool:
        given = getattr(self, "class_weight", None)
        return isinstance(given, str) and given == "balanced_subsample" and self.bootstrap

    def _balances(self, sample_weight: ArrayLike) -> bool:
        """Whether classes are balanced on the ground: where rows have weights, whose sums must not round."""
        weighted = sample_weight is not None and self._class_weight() == "balanced"
        return weighted or self._balances_bootstraps

    def _class_weight(self) -> Any:
        """Without bootstraps their classes are those of all rows."""
        given = super()._class_weight()
        return "balanced" if isinstance(given, str) and given == "balanced_subsample" else given

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

    def _keep_shape(self, facts: DataFacts) -> None:
        self.n_outputs_ = 1
        if facts.classes is not None:
            self.classes_ = facts.classes
            self.n_classes_ = len(facts.classes)

    def _as_members(self, trees: Sequence[Any], n_searched: int) -> list[Any]:
        """An estimator for each tree. They share what is not a tree."""
        member, given = self.estimator_, self.get_params(deep=False)
        shared = member.get_params().keys() & given.keys() - {"class_weight", "random_state"}
        member.set_params(**{k: given[k] for k in shared})
        member.growth_, member.max_features_ = self.growth_, n_searched
        for name in ("n_features_in_", "feature_names_in_", "n_outputs_", "classes_", "n_classes_"):
            if hasattr(self, name):
                setattr(member, name, getattr(self, name))
        member.is_categorical_, member._levels = self.is_categorical_, self._levels
        members = [copy(member) for _ in trees]
        for own, tree in zip(members, trees, strict=True):
            own.tree_ = tree
        return members

    def _out_of_bag(
        self,
        ground: Ground,
        trees: Sequence[Any],
        keys: Sequence[int],
        sampling: Sampling,
        with_rows: bool,
    ) -> OutOfBag:
        asked = Asked(
            self._packing.of(trees),
            keys,
            sampling,
            ground.binning,
            self._target == "classes",
            with_rows,
        )
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
        n_rows, n_trees = self._sampled.n_rows, len(self.estimators_)
        every = np.arange(n_rows)
        if not self._sampled.n_draws:
            return [every.copy() for _ in range(n_trees)]
        keys = _keys(self._seed, n_trees)
        return [np.repeat(every, self._sampled.times(key, range(n_rows))) for key in keys]

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
            partial(all_leaves, trees, threads=threads_for(X)),
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

    def _means(self, X: ArrayLike) -> Any:
        """What answers rows of X with the mean of all trees' values."""
        return partial(mean_values, self._packed(), threads=threads_for(X))

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


__all__ = ["Forest"]
