"""Boosted classes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, Literal

import numpy as np
from sklearn import dummy, ensemble as reference
from sklearn.utils.validation import check_is_fitted

from daskml_kit.base import ClassifierMixin
from daskml_kit.ensemble.gradient_boosting import GradientBoosting
from daskml_kit.tree.boosted import codes, decisions, probabilities
from daskml_kit.typing import Array, ArrayLike, FloatArray


class GradientBoostingClassifier(ClassifierMixin, GradientBoosting):
    """Boosted trees that predict classes.

    Each tree is a Newton step down the log loss: its splits are searched in histograms of gradients over all
    rows, wherever they live, a round a level.

    Parameters
    ----------
    loss : {"log_loss"}, default="log_loss"
        Of a coin for two classes; cross entropy, with one tree a class, for more.
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
        with what it says the probabilities are.
    random_state : int, RandomState or None
    max_features : int, share, "sqrt", "log2" or None
        Features searched at a node, drawn anew at each.
    class_weight : dict, "balanced" or None
        "balanced" counts the rows, whatever they weigh.
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
        row. Of two classes that is at least four times as much as of scikit-learn's squared gradients.
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
    classes_ : ndarray of shape (n_classes,)
    n_rounds_, n_passes_, history_ : see :class:`~daskml_kit.base.BlockEstimator`

    Notes
    -----
    Passes: to load, to sample the bins, to bin, for the best constant, and then one a level of each iteration
    and one for the last loss; one to copy the rows and three or four an iteration, where ``growth_`` is
    "replicate". Gradients are rounded to 22 bits of the largest that can occur, and summed
    exactly: equal seeds give equal trees, bit for bit, however the data are chunked and wherever they are. A
    leaf needs a curvature of 1e-3, as in scikit-learn's HistGradientBoosting.

    References
    ----------
    Friedman (2001). Greedy function approximation: a gradient boosting machine. Ann. Stat. 29(5).
    Chen, Guestrin (2016). XGBoost: a scalable tree boosting system. KDD.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> GradientBoostingClassifier(n_estimators=20, random_state=0).fit(X, y).score(X, y) > 0.98
    True
    """

    _target = "classes"
    _reference = reference.GradientBoostingClassifier

    def __init__(
        self,
        *,
        loss: str = "log_loss",
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
        class_weight: dict[Any, float] | Literal["balanced"] | None = None,
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
        self.class_weight = class_weight
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

    def decision_function(self, X: ArrayLike) -> Any:
        """Raw predictions, in kind.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes

        Returns
        -------
        (n,) log odds of the second of two classes, or (n, n_classes)
        """
        return self._answer(X, decisions, **self._raw_columns())

    def predict(self, X: ArrayLike) -> Any:
        """The likeliest class, in kind.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes

        Returns
        -------
        (n,), lazy where X is
        """
        check_is_fitted(self)
        return self._answer(X, partial(_labels, self.classes_), dtype=self.classes_.dtype)

    def predict_proba(self, X: ArrayLike) -> Any:
        """Probabilities of the classes, in kind.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes

        Returns
        -------
        (n, n_classes), columns in the order of ``classes_``
        """
        return self._answer(X, probabilities, **self._columns())

    def predict_log_proba(self, X: ArrayLike) -> Any:
        """The logarithm of :meth:`predict_proba`.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes

        Returns
        -------
        (n, n_classes), columns in the order of ``classes_``
        """
        return self._answer(X, _logs, **self._columns())

    def staged_decision_function(self, X: ArrayLike) -> Iterator[Any]:
        """:meth:`decision_function` after each iteration.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes

        Yields
        ------
        ndarray, or lazy where X is
        """
        yield from self._stages(X, decisions, **self._raw_columns())

    def staged_predict(self, X: ArrayLike) -> Iterator[Any]:
        """:meth:`predict` after each iteration.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes

        Yields
        ------
        (n,) ndarray, or lazy where X is
        """
        check_is_fitted(self)
        fn = partial(_labels, self.classes_)
        yield from self._stages(X, fn, dtype=self.classes_.dtype)

    def staged_predict_proba(self, X: ArrayLike) -> Iterator[Any]:
        """:meth:`predict_proba` after each iteration.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes

        Yields
        ------
        (n, n_classes) ndarray, or lazy where X is
        """
        yield from self._stages(X, probabilities, **self._columns())

    def _columns(self) -> dict[str, Any]:
        check_is_fitted(self)
        return {"dtype": np.float64, "columns": list(self.classes_)}

    def _raw_columns(self) -> dict[str, Any]:
        how = self._columns()
        return how if self.n_trees_per_iteration_ > 1 else {"dtype": np.float64}

    def _constant(self, start: FloatArray) -> Any:
        found = dummy.DummyClassifier(strategy="prior")
        found.class_prior_ = probabilities(start[None, :])[0]
        found.classes_, found.n_classes_ = self.classes_, self.n_classes_
        found.n_outputs_, found._strategy = 1, "prior"
        return found


def _labels(classes: Array, raw: FloatArray) -> Array:
    return np.asarray(classes[codes(raw)])


def _logs(raw: FloatArray) -> FloatArray:
    with np.errstate(divide="ignore"):
        out: FloatArray = np.log(probabilities(raw))
    return out


__all__ = ["GradientBoostingClassifier"]
