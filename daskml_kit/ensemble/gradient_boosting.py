"""Gradient boosting by histograms: every tree sees every row, wherever the rows live."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from daskml_kit.base import check_number
from daskml_kit.ensemble.training import Recruit, check_members, train
from daskml_kit.exceptions import InvalidDataError, InvalidDataTypeError, InvalidParameterError
from daskml_kit.runtime.ingest import DataFacts
from daskml_kit.runtime.random import seed_from
from daskml_kit.runtime.sources import is_dask
from daskml_kit.tree import DecisionTreeRegressor
from daskml_kit.tree.boosted import BoostedTrees, boosted_tree
from daskml_kit.tree.boosting import Boosted, boost, boosting_ground
from daskml_kit.tree.boosting_first import FirstModel, SeenRows
from daskml_kit.tree.boosting_losses import VALUE_LOSSES, Objective, of_classes, of_values
from daskml_kit.tree.boosting_start import Settings
from daskml_kit.tree.categorical import Features, numbered
from daskml_kit.tree.estimator import (
    NO_LIMIT,
    TreeEstimator,
    check_bins,
    check_features,
    check_rows,
    features_of,
    is_count,
    is_share,
    signs_of,
    tree_leaves,
)
from daskml_kit.typing import Array, ArrayLike, FloatArray, Matrix, TargetKind


class GradientBoosting(TreeEstimator):
    """What both estimators share: the fit, and answers from raw predictions."""

    _target: ClassVar[TargetKind]
    _reference: ClassVar[Any]
    _trees: BoostedTrees
    _grown: Boosted

    loss: str
    learning_rate: float
    n_estimators: int
    subsample: float
    criterion: str
    min_samples_split: Any
    min_samples_leaf: Any
    min_weight_fraction_leaf: float
    max_depth: int | None
    min_impurity_decrease: float
    init: Any
    random_state: Any
    max_features: Any
    max_leaf_nodes: int | None
    warm_start: bool
    validation_fraction: float
    n_iter_no_change: int | None
    tol: float
    ccp_alpha: float
    l2_regularization: float
    monotonic_cst: Any
    max_bins: int
    categorical_features: Any
    _seed: int

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike = None) -> Self:
        """Grow the trees.

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
        self._check_parameters()
        if self._begins_with_a_model:
            kind = "classifier" if self._target == "classes" else "regressor"
            check_members([("init", self.init)], kind, weighted=sample_weight is not None)
        before = self._kept()
        features = self._categorical(X)
        if before is not None and features is not None:
            features = features.continuing(self._levels)
        X = numbered(X, {} if features is None else features.levels)
        seed = self._seed if before is not None else seed_from(self.random_state)
        how: dict[str, Any] = {"target": self._target}
        if features is not None:
            how["told_apart"] = features.numbers
        if self._target == "classes":
            how["class_weights"] = self._class_weights
        with self._opened(X, y, sample_weight, **how) as (data, executor):
            facts = data.facts
            self._refuse_another_kind(before, facts, features)
            weighted = sample_weight is not None or getattr(self, "class_weight", None) is not None
            settings = self._settings(facts, features, seed, weighted)
            binning = None if before is None else before.binning
            first = self._first(executor, data, settings) if before is None else before.first
            with boosting_ground(
                executor, data, settings, int(self.max_bins), features, binning, first
            ) as ground:
                grown = boost(ground, settings, before)
        self._seed = seed
        if facts.classes is not None:
            self.classes_ = facts.classes
            self.n_classes_ = len(facts.classes)
        self._keep_categorical(features)
        self._keep(grown, settings)
        return self

    @property
    def _begins_with_a_model(self) -> bool:
        return not (self.init is None or (isinstance(self.init, str) and self.init == "zero"))

    def _first(self, executor: Any, data: Any, settings: Settings) -> FirstModel | None:
        """``init`` fitted on the rows that trees may see; None where it is a constant."""
        if not self._begins_with_a_model:
            return None
        cut = SeenRows(settings.seed, settings.held_out) if settings.held_out else None
        classes = data.facts.classes
        (model,) = train(executor, data, [Recruit("init", clone(self.init), cut)], classes=classes)
        return FirstModel(model, settings.objective.loss, classes)

    # ---------------------------------------------------------------- parameters

    def _objective(self, facts: DataFacts) -> Objective:
        if facts.classes is not None:
            return of_classes(len(facts.classes))
        return of_values(self.loss, float(getattr(self, "alpha", 0.5)))

    def _check_parameters(self) -> None:
        losses = ("log_loss",) if self._target == "classes" else VALUE_LOSSES
        if self.loss not in losses:
            raise InvalidParameterError(f"loss must be one of {list(losses)}, got {self.loss!r}.")
        answer = "predict_proba" if self._target == "classes" else "predict"
        if self._begins_with_a_model and not hasattr(self.init, answer):
            raise InvalidParameterError(
                "init must be None, which starts at the best constant, 'zero', or an estimator with fit and "
                f"{answer}, got {self.init!r}."
            )
        check_number("learning_rate", self.learning_rate, least=0, above=True)
        check_number("n_estimators", self.n_estimators, least=1, whole=True)
        check_number("l2_regularization", self.l2_regularization, least=0)
        check_number("min_impurity_decrease", self.min_impurity_decrease, least=0)
        check_number("tol", self.tol, least=0)
        check_number("ccp_alpha", self.ccp_alpha, least=0)
        self._check_criterion()
        check_bins(self.max_bins)
        for name, least in (("max_depth", 1), ("max_leaf_nodes", 2), ("n_iter_no_change", 1)):
            if getattr(self, name) is not None:
                check_number(
                    f"{name} (None for no limit)", getattr(self, name), least=least, whole=True
                )
        if self.max_depth is None and self.max_leaf_nodes is None:
            raise InvalidParameterError(
                "max_depth=None needs max_leaf_nodes: a boosted tree without any limit grows a leaf for each "
                "row. Set one of them."
            )
        self._check_shares()

    def _check_criterion(self) -> None:
        """What it names has no effect, in scikit-learn either."""
        names = ("deprecated", "squared_error", "friedman_mse")
        if not (isinstance(self.criterion, str) and self.criterion in names):
            raise InvalidParameterError(
                f"criterion must be one of {list(names)}, got {self.criterion!r}. It has no effect: splits "
                "are those of the largest gain by Newton's method."
            )
        if self.criterion != "deprecated":
            warnings.warn(
                f"criterion={self.criterion!r} has no effect, as in scikit-learn, which deprecates it: leave "
                "it out.",
                FutureWarning,
                stacklevel=4,
            )

    def _check_shares(self) -> None:
        check_number("min_weight_fraction_leaf", self.min_weight_fraction_leaf, least=0)
        if self.min_weight_fraction_leaf > 0.5:
            raise InvalidParameterError(
                f"min_weight_fraction_leaf must be at most 0.5, got {self.min_weight_fraction_leaf!r}."
            )
        check_rows("min_samples_split", self.min_samples_split, 2)
        check_rows("min_samples_leaf", self.min_samples_leaf, 1)
        check_features(self.max_features)
        if not (is_share(self.subsample) or self.subsample == 1):
            raise InvalidParameterError(
                f"subsample must be a number above 0 and at most 1, got {self.subsample!r}."
            )
        inside = {"validation_fraction": self.validation_fraction}
        if getattr(self, "loss", "") == "quantile":
            inside["alpha"] = getattr(self, "alpha", 0.5)
        for name, value in inside.items():
            if not is_share(value) or value >= 1:
                raise InvalidParameterError(
                    f"{name} must be a number above 0 and below 1, got {value!r}."
                )
        weight = getattr(self, "class_weight", None)
        if isinstance(weight, str) and weight != "balanced":
            raise InvalidParameterError(
                f"class_weight must be 'balanced', a dict or None, got {weight!r}."
            )

    def _settings(
        self, facts: DataFacts, features: Features | None, seed: int, weighted: bool
    ) -> Settings:
        objective, n = self._objective(facts), facts.n_rows
        signs = signs_of(self._constraints(facts, features), facts)
        if objective.quantile is not None and signs.any():
            raise InvalidParameterError(
                f"monotonic_cst cannot be kept under loss={self.loss!r}, whose leaves predict quantiles of "
                "their residuals. Leave it out, or use loss='squared_error'."
            )
        split, leaf = (
            int(v) if is_count(v, 1) else max(least, int(np.ceil(v * n)))
            for v, least in ((self.min_samples_split, 2), (self.min_samples_leaf, 1))
        )
        held_out = float(self.validation_fraction) if self.n_iter_no_change else 0.0
        drawn = float(self.subsample) * (1 - held_out) * n
        share = float(self.min_weight_fraction_leaf)
        if weighted and share > 0 and leaf > 1:
            raise InvalidParameterError(
                f"min_weight_fraction_leaf={share} and min_samples_leaf={self.min_samples_leaf} cannot both "
                "hold where rows weigh differently: histograms count rows or weights. Leave one of them out, "
                "or sample_weight and class_weight."
            )
        if not weighted:  # a share of the weight is one of the rows
            leaf, share = max(leaf, int(np.ceil(share * drawn))), 0.0
        return Settings(
            objective, float(self.learning_rate), int(self.n_estimators), float(self.subsample),
            max(split, 2 * leaf), leaf, float(self.min_impurity_decrease),
            NO_LIMIT if self.max_depth is None else int(self.max_depth), self.max_leaf_nodes,
            min(features_of(self.max_features, facts.n_features), facts.n_features),
            float(self.l2_regularization), signs, held_out, self.n_iter_no_change, float(self.tol), seed,
            isinstance(self.init, str), float(self.ccp_alpha), share,
        )  # fmt: skip

    def _constraints(self, facts: DataFacts, features: Features | None) -> Any:
        """``monotonic_cst`` with a number for each feature, also where it names features."""
        given = self.monotonic_cst
        if not isinstance(given, dict):
            return given
        names = getattr(self, "feature_names_in_", None)
        if names is None:
            raise InvalidParameterError(
                "monotonic_cst is a dict of feature names, but X has none. Pass a dataframe, or a number for "
                f"each of the {facts.n_features} features."
            )
        unknown = sorted(set(given) - set(names))
        if unknown:
            raise InvalidParameterError(
                f"monotonic_cst names features that X does not have: {unknown}. X has {list(names)}."
            )
        signs = [given.get(name, 0) for name in names]
        if features is not None and np.any(np.array(signs)[features.categorical > 0]):
            raise InvalidParameterError(
                "Categorical features cannot have monotonic constraints: leave those of "
                f"{list(names[features.categorical > 0])} out of monotonic_cst, got {given!r}."
            )
        return signs

    # ---------------------------------------------------------------- warm start

    def _kept(self) -> Boosted | None:
        """The trees of the last fit, where this one adds to them."""
        if not self.warm_start or not hasattr(self, "_grown"):
            return None
        there = len(self._grown.trees)
        if self.n_estimators < there:
            raise InvalidParameterError(
                f"n_estimators={self.n_estimators} must be larger or equal to estimators_.shape[0]={there} "
                "when warm_start==True"
            )
        return self._grown.copied()

    def _refuse_another_kind(
        self, before: Boosted | None, facts: DataFacts, features: Features | None
    ) -> None:
        """Trees that are added to others must be of the same loss, features and classes."""
        if before is None:
            return
        if before.loss != self.loss:
            raise InvalidParameterError(
                f"loss={self.loss!r}, but the trees that warm_start=True keeps were grown for "
                f"loss={before.loss!r}. Set that one, or fit with warm_start=False."
            )
        if len(before.binning.counts) != facts.n_features:
            raise InvalidDataError(
                f"X has {facts.n_features} features, but the trees that warm_start=True keeps were grown on "
                f"{len(before.binning.counts)}. Pass the same features, or fit with warm_start=False."
            )
        marks = 0 if features is None else features.categorical
        if (before.binning.categorical != marks).any():
            raise InvalidDataError(
                "The trees that warm_start=True keeps were grown with other categorical features: "
                f"{np.flatnonzero(before.binning.categorical).tolist()}. Pass the same columns and "
                "categorical_features, or fit with warm_start=False."
            )
        if facts.classes is not None and not np.array_equal(self.classes_, facts.classes):
            raise InvalidDataError(
                f"y has the classes {facts.classes}, but the trees that warm_start=True keeps were grown on "
                f"{self.classes_}. Pass the same classes, or fit with warm_start=False."
            )

    # ---------------------------------------------------------------- what a fit leaves

    def _keep(self, grown: Boosted, settings: Settings) -> None:
        self._trees = BoostedTrees(
            grown.start, grown.trees, grown.rates, grown.binning.coding, grown.first
        )
        if self.warm_start:
            self._grown = grown
        elif hasattr(self, "_grown"):
            del self._grown
        self.n_estimators_, self.growth_ = len(grown.trees), grown.way
        self.n_trees_per_iteration_ = len(grown.start)
        self.max_features_ = settings.max_features
        members = [[self._member(table) for table in trees] for trees in grown.trees]
        self.estimators_ = np.array(members, dtype=object)
        scores = np.array(grown.scores)
        self.train_score_ = scores[:, 0]
        for name in ("oob_improvement_", "oob_scores_", "oob_score_", "validation_score_"):
            if hasattr(self, name):
                delattr(self, name)
        if settings.subsample < 1.0:
            self.oob_improvement_, self.oob_scores_ = scores[:, 1], scores[:, 2]
            self.oob_score_ = float(self.oob_scores_[-1])
        if settings.patience:
            self.validation_score_ = scores[:, 3]

    def _member(self, table: Any) -> Any:
        member = DecisionTreeRegressor(
            max_depth=self.max_depth, max_leaf_nodes=self.max_leaf_nodes,
            min_samples_split=self.min_samples_split, min_samples_leaf=self.min_samples_leaf,
            min_weight_fraction_leaf=self.min_weight_fraction_leaf, ccp_alpha=self.ccp_alpha,
            max_features=self.max_features, max_bins=self.max_bins,
        )  # fmt: skip
        member.tree_ = boosted_tree(table, self.n_features_in_, self._trees.coding)
        member.is_categorical_, member._levels = self.is_categorical_, self._levels
        member.growth_, member.n_outputs_ = self.growth_, 1
        member.max_features_, member.n_features_in_ = self.max_features_, self.n_features_in_
        if hasattr(self, "feature_names_in_"):
            member.feature_names_in_ = self.feature_names_in_
        return member

    @property
    def feature_importances_(self) -> FloatArray:
        """The share of each feature in the gains of all splits."""
        check_is_fitted(self)
        out = np.zeros(self.n_features_in_)
        for trees in self._trees.tables:
            for table in trees:
                inner = table.left >= 0
                np.add.at(out, table.feature[inner], table.gains[inner])
        total = out.sum()
        return out / total if total > 0 else out

    # ---------------------------------------------------------------- answers

    def _answer(self, X: ArrayLike, finish: Any, **how: Any) -> Any:
        check_is_fitted(self)
        return self._map_rows(X, partial(_finished, self._trees, None, finish), **how)

    def _stages(self, X: ArrayLike, finish: Any, **how: Any) -> Iterator[Any]:
        """After each iteration: lazy where X is, arrays otherwise."""
        check_is_fitted(self)
        if is_dask(X):
            for last in range(1, len(self._trees) + 1):
                yield self._map_rows(X, partial(_finished, self._trees, last, finish), **how)
        else:
            for raw in self._trees.stages(self._checked_rows(self._numbered(X))):
                yield finish(raw.copy())

    def apply(self, X: ArrayLike) -> Any:
        """The leaf of each row in each tree, for rows in memory.

        Parameters
        ----------
        X : (n, n_features)

        Returns
        -------
        (n, n_estimators_) of a regressor, (n, n_estimators_, K) of a classifier
        """
        check_is_fitted(self)
        if is_dask(X):
            raise InvalidDataTypeError(
                "apply answers for rows in memory: pass X.compute(), or one block at a time."
            )
        rows = self._checked_rows(self._numbered(X))
        found = np.stack(
            [[tree_leaves(m.tree_, rows) for m in members] for members in self.estimators_]
        ).transpose(2, 0, 1)
        return found if self._target == "classes" else found[:, :, 0]

    def to_sklearn(self) -> Any:
        """scikit-learn's estimator of the same name with the same trees: equal predictions.

        It takes no missing values and no categories, and knows no Poisson and gamma losses.

        Returns
        -------
        sklearn.ensemble.GradientBoostingClassifier or GradientBoostingRegressor

        Raises
        ------
        InvalidParameterError
            Its losses have no such link, or its trees no such splits.
        """
        check_is_fitted(self)
        self._refuse_sets()
        if self.loss in ("poisson", "gamma"):
            raise InvalidParameterError(
                f"scikit-learn's {self._reference.__name__} has no loss={self.loss!r}, so there is nothing "
                "to convert to. Keep this estimator: it pickles, and predicts without a cluster."
            )
        given = self.get_params(deep=False)
        out = self._reference(**{k: given[k] for k in self._reference().get_params() if k in given})
        out.learning_rate = 1.0
        out.estimators_ = np.empty(self.estimators_.shape, dtype=object)
        for i, trees in enumerate(self._trees.tables):
            for k, table in enumerate(trees):
                scaled = table._replace(values=table.values * self._trees.rates[i])
                member = self._member(scaled).to_sklearn()
                if hasattr(member, "feature_names_in_"):
                    del member.feature_names_in_  # as scikit-learn's boosting has them
                out.estimators_[i, k] = member
        names = ("n_features_in_", "feature_names_in_", "classes_", "n_classes_", "n_estimators_")
        for name in (*names, "train_score_", "max_features_", "n_trees_per_iteration_"):
            if hasattr(self, name):
                setattr(out, name, getattr(self, name))
        out.init_ = self.init_
        out._loss = out._get_loss(sample_weight=None)
        return out

    @property
    def init_(self) -> Any:
        """What the first tree starts from: scikit-learn's dummy of the best constant, "zero", or the fitted
        ``init``.
        """
        check_is_fitted(self)
        if self._trees.first is not None:
            return self._trees.first.model
        return "zero" if self.init == "zero" else self._constant(self._trees.start)

    def _constant(self, start: FloatArray) -> Any:
        """scikit-learn's dummy that predicts a constant, given as a raw prediction."""
        raise NotImplementedError


def _finished(trees: BoostedTrees, last: int | None, finish: Any, X: Matrix) -> Array:
    out: Array = finish(trees.raw(X, last))
    return out


__all__ = ["GradientBoosting"]
