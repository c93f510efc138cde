"""One tree over blocks."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar, Literal, Self

import numpy as np
from sklearn import tree as reference
from sklearn.base import clone
from sklearn.tree._tree import ccp_pruning_path
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted

from daskml_kit.base import ClassifierMixin, RegressorMixin
from daskml_kit.exceptions import InvalidDataTypeError, InvalidParameterError
from daskml_kit.runtime.random import generator, seed_from
from daskml_kit.runtime.sources import is_dask
from daskml_kit.tree.categorical import numbered
from daskml_kit.tree.estimator import (
    CLASS_CRITERIA,
    VALUE_CRITERIA,
    TreeEstimator,
    TreeParameters,
    classes_by,
    flat,
    log_of,
    tree_leaves,
    tree_values,
)
from daskml_kit.tree.forest import grow_forest
from daskml_kit.tree.ground import prepared
from daskml_kit.tree.growing import Sampling
from daskml_kit.tree.structure import as_tree, pruned
from daskml_kit.typing import ArrayLike, FloatArray, TargetKind

SHARED = """
    Parameters
    ----------
    splitter : {{"best", "random"}}, default="best"
    max_depth : int or None
    min_samples_split, min_samples_leaf : int, or a share of the rows
    min_weight_fraction_leaf : float, default=0.0
    max_features : int, share, "sqrt", "log2" or None
        Features searched at a node, drawn anew at each.
    random_state : int, RandomState or None
        Draws are keyed by seed, tree, path of the node and global row.
    max_leaf_nodes : int or None
        The splits of largest gain first.
    min_impurity_decrease : float, default=0.0
    ccp_alpha : float, default=0.0
    monotonic_cst : array-like of -1, 0, 1 for each feature, or None
    max_bins : int, default=255
        Most bins of a feature, missing values not counted. A feature with no more distinct values is split
        exactly as by scikit-learn.
    top_k : int or None, default=None
        For hundreds of features searched at a node and rows that must stay spread: pieces of the rows elect
        ``2 * top_k`` of them at each node, and histograms of these alone travel (voting-parallel trees).
        Fewer bytes, a slightly other tree. None, or a number that elects all: exact. 20 is usual.
    categorical_features : "from_dtype", None, or a mask, indices or names, default="from_dtype"
        Features whose values are categories, at most ``max_bins``: at a node they are put in the order of
        their mean target and split as ordered bins. "from_dtype": the columns of a categorical dtype. Missing
        values are one more category, and unknown values count as missing. A category without rows at a node
        goes where more of its rows go. Numbers above 2^24 that float32 does not have are refused.
    balance : {"adaptive", "even", "data"} or None (as configured); see :func:`~daskml_kit.config_context`
"""


class _DecisionTree(TreeEstimator):
    _criteria: ClassVar[dict[str, str]]
    _target: ClassVar[TargetKind]
    _reference: ClassVar[Any]

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike = None) -> Self:
        """Grow the tree.

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
        model: Any = self
        if model.splitter not in ("best", "random"):
            raise InvalidParameterError(
                f"splitter must be 'best' or 'random', got {model.splitter!r}."
            )
        asked = TreeParameters.of(self, self._criteria, random=model.splitter == "random")
        features = self._categorical(X)
        X = numbered(X, {} if features is None else features.levels)
        seed = seed_from(model.random_state)
        how: dict[str, Any] = {"target": self._target, "min_classes": 1, "edges": asked.edges}
        if features is not None:
            how["told_apart"] = features.numbers
        if self._target == "classes":
            how["class_weights"] = self._class_weights
        with self._opened(X, y, sample_weight, **how) as (data, executor):
            facts = data.facts
            with prepared(
                executor,
                data,
                seed,
                asked.max_bins,
                poisson=asked.poisson,
                features=features,
                pieces=asked.edges is not None,
            ) as ground:
                growth = asked.growth(ground, Sampling(facts.n_rows))
                key = int(generator(seed, "trees").integers(2**64, dtype=np.uint64))
                grown = grow_forest(ground, growth, [key])
        tree = as_tree(
            grown.trees[0], grown.growth.rules, facts.n_features, coding=grown.growth.binning.coding
        )
        self.tree_ = pruned(tree, model.ccp_alpha)
        self._keep_categorical(features)
        self.growth_ = grown.way
        self.max_features_ = asked.features_of(facts.n_features)
        self.n_outputs_ = 1
        if facts.classes is not None:
            self.classes_ = facts.classes
            self.n_classes_ = len(facts.classes)
        return self

    @property
    def feature_importances_(self) -> FloatArray:
        """The share of each feature in the decrease of impurity."""
        check_is_fitted(self)
        out: FloatArray = self.tree_.compute_feature_importances()
        return out

    def get_depth(self) -> int:
        """Edges from the root to the deepest leaf."""
        check_is_fitted(self)
        return int(self.tree_.max_depth)

    def get_n_leaves(self) -> int:
        """Number of leaves."""
        check_is_fitted(self)
        return int(self.tree_.n_leaves)

    def cost_complexity_pruning_path(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike = None
    ) -> Bunch:
        """How minimal cost-complexity pruning would take the whole tree down, leaf by leaf.

        Parameters
        ----------
        X, y, sample_weight : whatever ``fit`` takes; the whole tree is grown on them

        Returns
        -------
        Bunch of ``ccp_alphas``, the strengths at which a subtree goes, and ``impurities``, what is left there
        """
        whole = clone(self).set_params(ccp_alpha=0.0).fit(X, y, sample_weight)
        return Bunch(**ccp_pruning_path(getattr(whole.tree_, "tree", whole.tree_)))

    def apply(self, X: ArrayLike) -> Any:
        """The leaf of each row, in kind.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes

        Returns
        -------
        (n,) int64, lazy where X is
        """
        check_is_fitted(self)
        return self._map_rows(X, partial(tree_leaves, self.tree_), dtype=np.int64)

    def decision_path(self, X: ArrayLike) -> Any:
        """Which nodes each row passes, for rows in memory.

        Parameters
        ----------
        X : (n, n_features)

        Returns
        -------
        CSR matrix of shape (n, n_nodes)
        """
        check_is_fitted(self)
        if is_dask(X):
            raise InvalidDataTypeError(
                "decision_path makes one sparse matrix of all rows, so X must be in memory: pass "
                "X.compute(), or ask for the leaf of each row with apply(X), which stays lazy."
            )
        return self.tree_.decision_path(self._checked_rows(self._numbered(X)))

    def to_sklearn(self) -> Any:
        """scikit-learn's estimator of the same name with the same tree: equal predictions.

        Returns
        -------
        sklearn.tree.DecisionTreeClassifier or DecisionTreeRegressor
        """
        check_is_fitted(self)
        self._refuse_sets()
        given = self.get_params(deep=False)
        out = self._reference(**{k: given[k] for k in self._reference().get_params() if k in given})
        names = (
            "tree_",
            "n_features_in_",
            "max_features_",
            "n_outputs_",
            "classes_",
            "feature_names_in_",
        )
        for name in names:
            if hasattr(self, name):
                setattr(out, name, getattr(self, name))
        if hasattr(self, "n_classes_"):
            out.n_classes_ = np.int64(self.n_classes_)
        return out


class DecisionTreeClassifier(  # noqa: D101
    ClassifierMixin, _DecisionTree
):
    __doc__ = f"""A tree of binary splits that predicts classes.

    Each node is split at the threshold of one feature that lowers the impurity most, summed over all rows,
    wherever they live.
    {SHARED}
    criterion : {{{{"gini", "entropy", "log_loss"}}}}, default="gini"
    class_weight : dict, "balanced" or None
        "balanced" counts the rows, whatever they weigh.

    Attributes
    ----------
    tree_ : sklearn.tree._tree.Tree
        scikit-learn's own structure: its ``export_text`` and ``plot_tree`` of ``to_sklearn()`` read it.
    classes_ : ndarray of shape (n_classes,)
    feature_importances_ : ndarray of shape (n_features,)
    growth_ : {{{{"replicate", "reduce", "vote"}}}}
        Which way the tree grew: on gathered rows, a round a level, or two, the first of votes.
    n_rounds_, n_passes_, history_ : see :class:`~daskml_kit.base.BlockEstimator`

    Notes
    -----
    Passes: one to load, one to sample the bins, one to bin, and then one (replicate) or one a level.
    Among equally good splits the feature of lowest index wins where all are searched; scikit-learn draws one.

    References
    ----------
    Breiman, Friedman, Olshen, Stone (1984). Classification and Regression Trees.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> DecisionTreeClassifier(max_depth=2, random_state=0).fit(X, y).score(X, y)
    0.96
    """.replace("{{", "{").replace("}}", "}")

    _criteria = CLASS_CRITERIA
    _target = "classes"
    _reference = reference.DecisionTreeClassifier

    def __init__(
        self,
        *,
        criterion: str = "gini",
        splitter: str = "best",
        max_depth: int | None = None,
        min_samples_split: float = 2,
        min_samples_leaf: float = 1,
        min_weight_fraction_leaf: float = 0.0,
        max_features: Any = None,
        random_state: Any = None,
        max_leaf_nodes: int | None = None,
        min_impurity_decrease: float = 0.0,
        class_weight: dict[Any, float] | Literal["balanced"] | None = None,
        ccp_alpha: float = 0.0,
        monotonic_cst: Any = None,
        max_bins: int = 255,
        top_k: int | None = None,
        categorical_features: Any = "from_dtype",
        balance: str | None = None,
    ) -> None:
        self.criterion = criterion
        self.splitter = splitter
        self.max_depth = max_depth
        self.min_samples_split = min_samples_split
        self.min_samples_leaf = min_samples_leaf
        self.min_weight_fraction_leaf = min_weight_fraction_leaf
        self.max_features = max_features
        self.random_state = random_state
        self.max_leaf_nodes = max_leaf_nodes
        self.min_impurity_decrease = min_impurity_decrease
        self.class_weight = class_weight
        self.ccp_alpha = ccp_alpha
        self.monotonic_cst = monotonic_cst
        self.max_bins = max_bins
        self.top_k = top_k
        self.categorical_features = categorical_features
        self.balance = balance

    def predict(self, X: ArrayLike) -> Any:
        """The class of largest share in each row's leaf, in kind.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes

        Returns
        -------
        (n,), lazy where X is
        """
        check_is_fitted(self)
        fn = partial(classes_by, partial(tree_values, self.tree_), self.classes_)
        return self._map_rows(X, fn, dtype=self.classes_.dtype)

    def predict_proba(self, X: ArrayLike) -> Any:
        """The share of each class in each row's leaf, in kind.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes

        Returns
        -------
        (n, n_classes), columns in the order of ``classes_``
        """
        return self._columns(X, partial(tree_values, getattr(self, "tree_", None)))

    def predict_log_proba(self, X: ArrayLike) -> Any:
        """The logarithm of :meth:`predict_proba`.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes

        Returns
        -------
        (n, n_classes), columns in the order of ``classes_``
        """
        fn = partial(tree_values, getattr(self, "tree_", None))
        return self._columns(X, partial(log_of, fn))

    def _columns(self, X: ArrayLike, fn: Any) -> Any:
        check_is_fitted(self)
        return self._map_rows(X, fn, dtype=np.float64, columns=list(self.classes_))


class DecisionTreeRegressor(  # noqa: D101
    RegressorMixin, _DecisionTree
):
    __doc__ = f"""A tree of binary splits that predicts means.

    {SHARED}
    criterion : {{{{"squared_error", "poisson"}}}}, default="squared_error"

    Attributes
    ----------
    tree_ : sklearn.tree._tree.Tree
    feature_importances_ : ndarray of shape (n_features,)
    growth_ : {{{{"replicate", "reduce", "vote"}}}}
    n_rounds_, n_passes_, history_ : see :class:`~daskml_kit.base.BlockEstimator`

    Notes
    -----
    Targets are summed as 64-bit integers, in units of at most ``2 n / 2^62`` of the largest: exact in any
    order. Squares share a unit as well, so beside an outlier ``impurity`` is coarse, and with it
    ``feature_importances_`` and pruning; splits are not. A node looks pure where its targets spread by less
    than 3e-5 of their size: subtract a large offset.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.arange(8.0)[:, None]
    >>> DecisionTreeRegressor(max_depth=1).fit(X, (X[:, 0] > 4) * 2.0).predict(X[3:6])
    array([0., 0., 2.])
    """.replace("{{", "{").replace("}}", "}")

    _criteria = VALUE_CRITERIA
    _target = "values"
    _reference = reference.DecisionTreeRegressor

    def __init__(
        self,
        *,
        criterion: str = "squared_error",
        splitter: str = "best",
        max_depth: int | None = None,
        min_samples_split: float = 2,
        min_samples_leaf: float = 1,
        min_weight_fraction_leaf: float = 0.0,
        max_features: Any = None,
        random_state: Any = None,
        max_leaf_nodes: int | None = None,
        min_impurity_decrease: float = 0.0,
        ccp_alpha: float = 0.0,
        monotonic_cst: Any = None,
        max_bins: int = 255,
        top_k: int | None = None,
        categorical_features: Any = "from_dtype",
        balance: str | None = None,
    ) -> None:
        self.criterion = criterion
        self.splitter = splitter
        self.max_depth = max_depth
        self.min_samples_split = min_samples_split
        self.min_samples_leaf = min_samples_leaf
        self.min_weight_fraction_leaf = min_weight_fraction_leaf
        self.max_features = max_features
        self.random_state = random_state
        self.max_leaf_nodes = max_leaf_nodes
        self.min_impurity_decrease = min_impurity_decrease
        self.ccp_alpha = ccp_alpha
        self.monotonic_cst = monotonic_cst
        self.max_bins = max_bins
        self.top_k = top_k
        self.categorical_features = categorical_features
        self.balance = balance

    def predict(self, X: ArrayLike) -> Any:
        """The mean of each row's leaf, in kind.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes

        Returns
        -------
        (n,) float64, lazy where X is
        """
        check_is_fitted(self)
        fn = partial(flat, partial(tree_values, self.tree_))
        return self._map_rows(X, fn, dtype=np.float64)


__all__ = ["DecisionTreeClassifier", "DecisionTreeRegressor"]
