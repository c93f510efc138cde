"""Random forests and extremely randomised trees that predict classes."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import numpy as np
from sklearn import ensemble as reference
from sklearn.utils.validation import check_is_fitted

from daskml_kit.base import ClassifierMixin
from daskml_kit.ensemble.forest import Forest
from daskml_kit.tree import DecisionTreeClassifier
from daskml_kit.tree.estimator import CLASS_CRITERIA, classes_by, log_of
from daskml_kit.tree.out_of_bag import OutOfBag
from daskml_kit.typing import Array, ArrayLike


class _ForestClassifier(ClassifierMixin, Forest):
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
        fn = partial(classes_by, self._means(X), self.classes_)
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
        return self._columns(X, self._means(X))

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
        return self._columns(X, partial(log_of, self._means(X)))

    def _columns(self, X: ArrayLike, fn: Any) -> Any:
        return self._map_rows(X, fn, dtype=np.float64, columns=list(self.classes_))

    def _keep_out_of_bag(self, found: OutOfBag, *, with_rows: bool) -> None:
        self.oob_score_ = found.accuracy
        if with_rows:
            self.oob_decision_function_ = found.values

    def _out_of_bag_pair(self, y: ArrayLike) -> tuple[Array, Array]:
        labels = np.searchsorted(self.classes_, np.asarray(y).ravel())
        return labels, self.oob_decision_function_.argmax(axis=1)


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
    class_weight : dict, "balanced", "balanced_subsample" or None
        "balanced": each class has the same weight, row weights counted; "balanced_subsample": in the
        bootstrap of each tree, for one more pass.
    ccp_alpha : float, default=0.0
    max_samples : int, multiple of the number of rows, or None
        Draws of each tree; None for as many as rows.
    monotonic_cst : array-like of -1, 0, 1 for each feature, or None
    max_bins : int, default=255
        Most bins of a feature, missing values not counted.
    top_k : int or None, default=None
        For hundreds of features searched at a node and rows that must stay spread: pieces of the rows elect
        ``2 * top_k`` of them at each node, and histograms of these alone travel (voting-parallel trees).
        Fewer bytes, slightly other trees. None, or a number that elects all: exact. 20 is usual.
    categorical_features : "from_dtype", None, or a mask, indices or names, default="from_dtype"
        Features whose values are categories, as in :class:`~daskml_kit.tree.DecisionTreeClassifier`.
    balance : {"adaptive", "even", "data"} or None (as configured); see :func:`~daskml_kit.config_context`

    Attributes
    ----------
    estimators_ : list of DecisionTreeClassifier
    classes_ : ndarray of shape (n_classes,)
    feature_importances_ : ndarray of shape (n_features,)
    oob_score_ : float, oob_decision_function_ (n, n_classes) for data in memory only
    growth_ : {"replicate", "reduce", "vote"}
        Which way the forest grew: whole trees on gathered rows, a round a level, or two, the first of votes.
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
        class_weight: dict[Any, float] | Literal["balanced", "balanced_subsample"] | None = None,
        ccp_alpha: float = 0.0,
        max_samples: Any = None,
        monotonic_cst: Any = None,
        max_bins: int = 255,
        top_k: int | None = None,
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
        self.top_k = top_k
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
    class_weight : dict, "balanced", "balanced_subsample" or None
        "balanced": each class has the same weight, row weights counted; "balanced_subsample": in the
        bootstrap of each tree, for one more pass.
    ccp_alpha : float, default=0.0
    max_samples : int, multiple of the number of rows, or None
        Draws of each tree; None for as many as rows.
    monotonic_cst : array-like of -1, 0, 1 for each feature, or None
    max_bins : int, default=255
        Most bins of a feature, missing values not counted.
    top_k : int or None, default=None
        For hundreds of features searched at a node and rows that must stay spread: pieces of the rows elect
        ``2 * top_k`` of them at each node, and histograms of these alone travel (voting-parallel trees).
        Fewer bytes, slightly other trees. None, or a number that elects all: exact. 20 is usual.
    categorical_features : "from_dtype", None, or a mask, indices or names, default="from_dtype"
        Features whose values are categories, as in :class:`~daskml_kit.tree.DecisionTreeClassifier`.
    balance : {"adaptive", "even", "data"} or None (as configured); see :func:`~daskml_kit.config_context`

    Attributes
    ----------
    estimators_ : list of DecisionTreeClassifier
    classes_ : ndarray of shape (n_classes,)
    feature_importances_ : ndarray of shape (n_features,)
    oob_score_ : float, oob_decision_function_ (n, n_classes) for data in memory only
    growth_ : {"replicate", "reduce", "vote"}
        Which way the forest grew: whole trees on gathered rows, a round a level, or two, the first of votes.
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
        class_weight: dict[Any, float] | Literal["balanced", "balanced_subsample"] | None = None,
        ccp_alpha: float = 0.0,
        max_samples: Any = None,
        monotonic_cst: Any = None,
        max_bins: int = 255,
        top_k: int | None = None,
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
        self.top_k = top_k
        self.categorical_features = categorical_features
        self.balance = balance


__all__ = ["ExtraTreesClassifier", "RandomForestClassifier"]
