"""Random forests and extremely randomised trees that predict means."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from sklearn import ensemble as reference
from sklearn.utils.validation import check_is_fitted

from daskml_kit.base import RegressorMixin
from daskml_kit.ensemble.forest import Forest
from daskml_kit.tree import DecisionTreeRegressor
from daskml_kit.tree.estimator import VALUE_CRITERIA, flat
from daskml_kit.tree.out_of_bag import OutOfBag
from daskml_kit.typing import Array, ArrayLike


class _ForestRegressor(RegressorMixin, Forest):
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
        fn = partial(flat, self._means(X))
        return self._map_rows(X, fn, dtype=np.float64)

    def _keep_out_of_bag(self, found: OutOfBag, *, with_rows: bool) -> None:
        self.oob_score_ = found.r2
        if with_rows:
            self.oob_prediction_ = found.values[:, 0]

    def _out_of_bag_pair(self, y: ArrayLike) -> tuple[Array, Array]:
        return np.asarray(y).ravel(), self.oob_prediction_


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
    top_k : int or None, default=None
        For hundreds of features searched at a node and rows that must stay spread: pieces of the rows elect
        ``2 * top_k`` of them at each node, and histograms of these alone travel (voting-parallel trees).
        Fewer bytes, slightly other trees. None, or a number that elects all: exact. 20 is usual.
    categorical_features : "from_dtype", None, or a mask, indices or names, default="from_dtype"
        Features whose values are categories, as in :class:`~daskml_kit.tree.DecisionTreeClassifier`.
    balance : {"adaptive", "even", "data"} or None (as configured); see :func:`~daskml_kit.config_context`

    Attributes
    ----------
    estimators_ : list of DecisionTreeRegressor
    feature_importances_ : ndarray of shape (n_features,)
    oob_score_ : float, oob_prediction_ (n,) for data in memory only
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
        self.ccp_alpha = ccp_alpha
        self.max_samples = max_samples
        self.monotonic_cst = monotonic_cst
        self.max_bins = max_bins
        self.top_k = top_k
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
    top_k : int or None, default=None
        For hundreds of features searched at a node and rows that must stay spread: pieces of the rows elect
        ``2 * top_k`` of them at each node, and histograms of these alone travel (voting-parallel trees).
        Fewer bytes, slightly other trees. None, or a number that elects all: exact. 20 is usual.
    categorical_features : "from_dtype", None, or a mask, indices or names, default="from_dtype"
        Features whose values are categories, as in :class:`~daskml_kit.tree.DecisionTreeClassifier`.
    balance : {"adaptive", "even", "data"} or None (as configured); see :func:`~daskml_kit.config_context`

    Attributes
    ----------
    estimators_ : list of DecisionTreeRegressor
    feature_importances_ : ndarray of shape (n_features,)
    oob_score_ : float, oob_prediction_ (n,) for data in memory only
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
        self.ccp_alpha = ccp_alpha
        self.max_samples = max_samples
        self.monotonic_cst = monotonic_cst
        self.max_bins = max_bins
        self.top_k = top_k
        self.categorical_features = categorical_features
        self.balance = balance


__all__ = ["ExtraTreesRegressor", "RandomForestRegressor"]
