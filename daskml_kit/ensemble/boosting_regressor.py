"""Boosted means and quantiles."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn import dummy, ensemble as reference

from daskml_kit.base import RegressorMixin
from daskml_kit.ensemble.gradient_boosting import GradientBoosting
from daskml_kit.typing import ArrayLike, FloatArray


class GradientBoostingRegressor(RegressorMixin, GradientBoosting):
    """Boosted trees that predict means or quantiles.

    Each tree is a Newton step down the loss: its splits are searched in histograms of gradients over all
    rows, wherever they live, a round a level.

    Parameters
    ----------
    loss : {"squared_error", "absolute_error", "quantile", "poisson", "gamma"}, default="squared_error"
        Poisson and gamma losses have a log link: they predict means of y >= 0 and y > 0.
    learning_rate : float, default=0.1
        What each tree's values are multiplied by.
    n_estimators : int, default=100
        Iterations: of one tree each, or one a class for more than two classes.
    subsample : float, default=1.0
        The probability with which each tree sees a row; drawn anew for each iteration, keyed by global row.
    criterion : {"deprecated", "squared_error", "friedman_mse"}
        Has no effect, as in scikit-learn, and warns: splits are those of the largest gain by Newton's method.
    min_samples_split, min_samples_leaf : int, or a share of the rows
        More than 1 row in a leaf makes rows count in the histograms, which costs about a third more.
    min_weight_fraction_leaf : float, default=0.0
        The share of the weight of the drawn rows that a leaf needs. Where rows weigh differently, histograms
        count weights, and ``min_samples_leaf`` must be 1.
    max_depth : int or None, default=3
        A level is a round, where trees grow by "reduce".
    min_impurity_decrease : float, default=0.0
    init : estimator, "zero" or None
        None starts at the best constant. A clone of an estimator is fitted on the rows that trees may see,
        one of this package by its own rounds, any other on a worker that has room for them (on arrays, as in
        scikit-learn, without names of columns); each row begins
        with what it predicts.
    random_state : int, RandomState or None
    max_features : int, share, "sqrt", "log2" or None
        Features searched at a node, drawn anew at each.
    alpha : float, default=0.9
        The quantile of ``loss="quantile"``.
    verbose : int, default=0
        1 shows a progress line.
    max_leaf_nodes : int or None
        The splits of largest gain first.
    warm_start : bool, default=False
        Add iterations to those of the last fit, over its bins.
    validation_fraction : float, default=0.1
        With ``n_iter_no_change``: the probability with which a row is held out, keyed by global row.
    n_iter_no_change : int or None
        Stop when the held-out loss has not come below all of its last so many values by ``tol``.
    tol : float, default=1e-4
    ccp_alpha : float, default=0.0
        Minimal cost-complexity pruning of each tree: what a leaf must take off twice the loss's parabola, a
        row. Of squared errors and quantiles these are scikit-learn's impurities.
    l2_regularization : float, default=0.0
        Added to the curvature of each node.
    monotonic_cst : array-like of -1, 0, 1 for each feature, or a dict by feature names, or None
    max_bins : int, default=255
        Most bins of a feature, missing values not counted.
    categorical_features : "from_dtype", None, or a mask, indices or names, default="from_dtype"
        Features whose values are categories, at most ``max_bins``. "from_dtype": the columns of a categorical
        dtype. At a node categories are put in the order of their damped Newton steps and a few of either end
        go left; those of fewer than ten rows go right, as in scikit-learn's HistGradientBoosting. Missing
        values are one more category, unknown values count as missing. Numbers above 2^24 that float32 does
        not have are refused.
    balance : {"adaptive", "even", "data"} or None (as configured); see :func:`~daskml_kit.config_context`

    Attributes
    ----------
    estimators_ : ndarray of DecisionTreeRegressor of shape (n_estimators_, K)
        Their values are without learning rate; K is 1, or the number of classes above two.
    n_estimators_ : int
    n_trees_per_iteration_ : int, K
    train_score_ : ndarray of shape (n_estimators_,)
        Mean loss of the rows that the tree has seen, as scikit-learn defines it for each loss.
    validation_score_ : ndarray of shape (n_estimators_,), of the held-out rows, with ``n_iter_no_change``
    oob_improvement_, oob_scores_ : ndarray of shape (n_estimators_,), and oob_score_
        With ``subsample`` below 1: the loss of the rows that the tree has not seen, and what it took off.
    init_ : the fitted ``init``, scikit-learn's dummy that predicts the best constant, or "zero"
    growth_ : {"replicate", "reduce"}
        How the trees grew; they are the same. "replicate": few rows on a cluster, copied to every lane.
    feature_importances_ : ndarray of shape (n_features,)
    is_categorical_ : ndarray of bool of shape (n_features,), or None where no feature is
    n_rounds_, n_passes_, history_ : see :class:`~daskml_kit.base.BlockEstimator`

    Notes
    -----
    Passes: to load, to sample the bins, to bin, for the best constant, and then one a level of each iteration
    and one for the last loss; one to copy the rows and three or four an iteration, where ``growth_`` is
    "replicate". Leaves of quantiles and of the absolute error predict a quantile of their
    residuals, found in two more rounds a tree to 1.2e-4 of its size, while the splits are those of the
    gradient's signs. Gradients are rounded to 22 bits of the largest that can occur, and summed
    exactly: equal seeds give equal trees, bit for bit, however the data are chunked and wherever they are. A
    leaf needs a curvature of 1e-3, as in scikit-learn's HistGradientBoosting.

    References
    ----------
    Friedman (2001). Greedy function approximation: a gradient boosting machine. Ann. Stat. 29(5).
    Chen, Guestrin (2016). XGBoost: a scalable tree boosting system. KDD.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.arange(200.0)[:, None]
    >>> model = GradientBoostingRegressor(random_state=0).fit(X, np.sin(X[:, 0] / 20))
    >>> model.score(X, np.sin(X[:, 0] / 20)) > 0.99
    True
    """

    _target = "values"
    _reference = reference.GradientBoostingRegressor

    def __init__(
        self,
        *,
        loss: str = "squared_error",
        learning_rate: float = 0.1,
        n_estimators: int = 100,
        subsample: float = 1.0,
        criterion: str = "deprecated",
        min_samples_split: float = 2,
        min_samples_leaf: float = 1,
        min_weight_fraction_leaf: float = 0.0,
        max_depth: int | None = 3,
        min_impurity_decrease: float = 0.0,
        init: Any = None,
        random_state: Any = None,
        max_features: Any = None,
        alpha: float = 0.9,
        verbose: int = 0,
        max_leaf_nodes: int | None = None,
        warm_start: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int | None = None,
        tol: float = 1e-4,
        ccp_alpha: float = 0.0,
        l2_regularization: float = 0.0,
        monotonic_cst: Any = None,
        max_bins: int = 255,
        categorical_features: Any = "from_dtype",
        balance: str | None = None,
    ) -> None:
        self.loss = loss
        self.learning_rate = learning_rate
        self.n_estimators = n_estimators
        self.subsample = subsample
        self.criterion = criterion
        self.min_samples_split = min_samples_split
        self.min_samples_leaf = min_samples_leaf
        self.min_weight_fraction_leaf = min_weight_fraction_leaf
        self.max_depth = max_depth
        self.min_impurity_decrease = min_impurity_decrease
        self.init = init
        self.random_state = random_state
        self.max_features = max_features
        self.alpha = alpha
        self.verbose = verbose
        self.max_leaf_nodes = max_leaf_nodes
        self.warm_start = warm_start
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.ccp_alpha = ccp_alpha
        self.l2_regularization = l2_regularization
        self.monotonic_cst = monotonic_cst
        self.max_bins = max_bins
        self.categorical_features = categorical_features
        self.balance = balance

    @property
    def _finish(self) -> Any:
        return _exponential if self.loss in ("poisson", "gamma") else _single

    def predict(self, X: ArrayLike) -> Any:
        """Predicted means, or quantiles, in kind.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes

        Returns
        -------
        (n,) float64, lazy where X is
        """
        return self._answer(X, self._finish, dtype=np.float64)

    def staged_predict(self, X: ArrayLike) -> Iterator[Any]:
        """:meth:`predict` after each iteration.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes

        Yields
        ------
        (n,) ndarray, or lazy where X is
        """
        yield from self._stages(X, self._finish, dtype=np.float64)

    def _constant(self, start: FloatArray) -> Any:
        value = self._finish(start[None, :])[0]
        found = dummy.DummyRegressor(strategy="constant", constant=value)
        found.constant_, found.n_outputs_ = np.array([[value]]), 1
        return found


def _single(raw: FloatArray) -> FloatArray:
    return raw[:, 0]


def _exponential(raw: FloatArray) -> FloatArray:
    return np.asarray(np.exp(raw[:, 0]))


__all__ = ["GradientBoostingRegressor"]
