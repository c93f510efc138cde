"""One model a block, fitted where the block is, and the models fused into one."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from sklearn.utils.validation import check_is_fitted

from daskml_kit.base import ClassifierMixin, RegressorMixin
from daskml_kit.ensemble import fusion as fuse
from daskml_kit.ensemble.fitting import Blockwise
from daskml_kit.exceptions import InvalidParameterError
from daskml_kit.runtime.in_kind import RowFunction
from daskml_kit.typing import ArrayLike, TargetKind


class BlockwiseClassifier(ClassifierMixin, Blockwise):
    """One classifier a block of the data, fused into one.

    A clone of ``estimator`` is fitted on each block, where the block is and all at the same time; only the
    fitted models come back. With ``M`` members, ``p_m(c|x)`` their probabilities::

        vote       p(c|x) = number of members that predict c / M
        average    p(c|x) = 1/M sum_m p_m(c|x)
        weighted   p(c|x) = sum_m w_m p_m(c|x),   w_m ~ accuracy of m on the blocks it was not fitted on
        stack      p(.|x) = final(p_1(.|x), ..., p_M(.|x))

    and the prediction is the label with the largest ``p(c|x)``, of equals the first in ``classes_``.

    The members *are* the blocks: cut the data otherwise and it is another ensemble. This is the one kind of
    model here whose answer depends on how the data are chunked. Blocks should be alike: shuffle data that
    are sorted by label or by time, above all for "weighted" and "stack".

    Parameters
    ----------
    estimator : scikit-learn classifier, default=DecisionTreeClassifier()
        Cloned, never fitted itself.
    fusion : {"vote", "average", "weighted", "stack"}, default="vote"
        "average" needs members with ``predict_proba``; "weighted" and "stack" take votes where they have
        none. "stack" needs two members.
    final_estimator : scikit-learn classifier, default=LogisticRegression(max_iter=1000)
        Of "stack" only. Its columns are the members' probabilities, of two classes the second.
    n_blocks : int or None
        None: one member for each chunk or partition that has rows, so one for NumPy and pandas input.
        An int: one for each of so many neighbouring, even groups of rows.
    random_state : int, RandomState instance or None
        An int gives every ``random_state`` of member ``m`` a number keyed by it and ``m``: the same blocks
        give the same model. None leaves the random states of ``estimator`` as they are.
    verbose : int, default=0
        1 shows a progress line.
    balance : {"adaptive", "even", "data"} or None (as configured); see :func:`~daskml_kit.config_context`

    Attributes
    ----------
    estimators_ : list of the fitted members, in the order of the rows
        They know the original labels. The member of a block with a single label is a
        :class:`~sklearn.dummy.DummyClassifier` that answers it, whatever ``estimator`` is.
    member_rows_ : ndarray of shape (n_members, 2), first global row of each member and the one after its last
    classes_ : ndarray of shape (n_classes,)
    member_scores_ : ndarray of shape (n_members,) or None
        Accuracy outside the own block ("weighted" only); nan for a single member.
    weights_ : ndarray of shape (n_members,) or None
        ``w_m``, which add up to one ("weighted" only); equal where all scores are zero or there is one.
    final_estimator_ : fitted model or None ("stack" only)
    n_rounds_, n_passes_, history_ : see :class:`~daskml_kit.base.BlockEstimator`

    Notes
    -----
    One pass to load and one to fit; "weighted" and "stack" take one more, in which every member meets every
    block but its own, at the cost of ``M - 1`` predictions a row.

    "stack": a row's own member has seen it, so the mean of the other members stands in its columns; when the
    model predicts, every member speaks for itself. The final estimator is fitted on the driver, on all rows
    or, where that is less, on a sample of about 100,000 rows or 16.8 million values, keyed by global row.

    A row of weight zero counts as absent. A block without rows, or with weights of zero only, has no member.
    The driver holds the fitted members. Members that keep their training rows (nearest neighbours) bring them
    along.

    References
    ----------
    Wolpert (1992). Stacked generalization. Neural Networks 5.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.utils import shuffle
    >>> X, y = shuffle(*load_iris(return_X_y=True), random_state=0)
    >>> model = BlockwiseClassifier(n_blocks=3, fusion="average", random_state=0).fit(X, y)
    >>> len(model.estimators_), bool(model.score(X, y) > 0.95)
    (3, True)
    """

    _kind = "classifier"
    _target: TargetKind = "classes"

    def __init__(
        self,
        estimator: Any = None,
        *,
        fusion: str = "vote",
        final_estimator: Any = None,
        n_blocks: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
        balance: str | None = None,
    ) -> None:
        self.estimator = estimator
        self.fusion = fusion
        self.final_estimator = final_estimator
        self.n_blocks = n_blocks
        self.random_state = random_state
        self.verbose = verbose
        self.balance = balance

    def _member(self) -> Any:
        return DecisionTreeClassifier() if self.estimator is None else self.estimator

    def _final(self) -> Any:
        if self.final_estimator is None:
            return LogisticRegression(max_iter=1000)
        return self.final_estimator

    def _soft(self) -> bool:
        return self.fusion != "vote" and hasattr(self._member(), "predict_proba")

    def _check_parameters(self, *, weighted: bool) -> None:
        super()._check_parameters(weighted=weighted)
        if self.fusion == "average" and not self._soft():
            raise InvalidParameterError(
                f'fusion="average" needs members with predict_proba, and {self._member()!r} has none. '
                'Use fusion="vote", or wrap it in sklearn.calibration.CalibratedClassifierCV.'
            )

    def predict(self, X: ArrayLike) -> Any:
        """The label of each row, in kind.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes

        Returns
        -------
        (n,), lazy where X is
        """
        check_is_fitted(self)
        rows = partial(fuse.label_rows, self._fused, self.classes_)
        return self._map_rows(X, rows, dtype=self.classes_.dtype)

    def predict_proba(self, X: ArrayLike) -> Any:
        """The probability of each class, in kind; shares of the votes with ``fusion="vote"``.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes

        Returns
        -------
        (n, n_classes), columns in the order of ``classes_``
        """
        check_is_fitted(self)
        return self._map_rows(X, self._fused, dtype=np.float64, columns=list(self.classes_))


class BlockwiseRegressor(RegressorMixin, Blockwise):
    """One regressor a block of the data, fused into one.

    A clone of ``estimator`` is fitted on each block, where the block is and all at the same time; only the
    fitted models come back. With ``M`` members, ``f_m(x)`` their predictions::

        vote       f(x) = median_m f_m(x)
        average    f(x) = 1/M sum_m f_m(x)
        weighted   f(x) = sum_m w_m f_m(x),   w_m ~ R2 of m on the blocks it was not fitted on, at least 0
        stack      f(x) = final(f_1(x), ..., f_M(x))

    The median is to absolute errors what the majority is to errors of the label: the answer with which
    fewest members disagree. One member that went astray does not move it.

    The members *are* the blocks: cut the data otherwise and it is another ensemble. This is the one kind of
    model here whose answer depends on how the data are chunked. Blocks should be alike: shuffle data that
    are sorted by target or by time, above all for "weighted" and "stack".

    Parameters
    ----------
    estimator : scikit-learn regressor, default=DecisionTreeRegressor()
        Cloned, never fitted itself.
    fusion : {"vote", "average", "weighted", "stack"}, default="vote"
        "stack" needs two members.
    final_estimator : scikit-learn regressor, default=LinearRegression(positive=True)
        Of "stack" only. Its columns are the members' predictions. The default is Breiman's: members are
        nearly collinear, and weights that cannot be negative stay tame whatever the scale of y, for which
        a ridge would need its strength set.
    n_blocks : int or None
        None: one member for each chunk or partition that has rows, so one for NumPy and pandas input.
        An int: one for each of so many neighbouring, even groups of rows.
    random_state : int, RandomState instance or None
        An int gives every ``random_state`` of member ``m`` a number keyed by it and ``m``: the same blocks
        give the same model. None leaves the random states of ``estimator`` as they are.
    verbose : int, default=0
        1 shows a progress line.
    balance : {"adaptive", "even", "data"} or None (as configured); see :func:`~daskml_kit.config_context`

    Attributes
    ----------
    estimators_ : list of the fitted members, in the order of the rows
    member_rows_ : ndarray of shape (n_members, 2), first global row of each member and the one after its last
    member_scores_ : ndarray of shape (n_members,) or None
        R2 outside the own block ("weighted" only); nan for a single member.
    weights_ : ndarray of shape (n_members,) or None
        ``w_m``, which add up to one ("weighted" only); equal where no score is positive or there is one.
    final_estimator_ : fitted model or None ("stack" only)
    n_rounds_, n_passes_, history_ : see :class:`~daskml_kit.base.BlockEstimator`

    Notes
    -----
    Passes, memory, weights of zero and the sample behind "stack" are those of :class:`BlockwiseClassifier`.

    References
    ----------
    Breiman (1996). Stacked regressions. Machine Learning 24.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.linear_model import Ridge
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = BlockwiseRegressor(Ridge(alpha=0.1), n_blocks=4, fusion="average").fit(X, y)
    >>> round(model.score(X, y), 2)
    0.49
    """

    _kind = "regressor"
    _target: TargetKind = "values"
    _multi_output = True

    def __init__(
        self,
        estimator: Any = None,
        *,
        fusion: str = "vote",
        final_estimator: Any = None,
        n_blocks: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
        balance: str | None = None,
    ) -> None:
        self.estimator = estimator
        self.fusion = fusion
        self.final_estimator = final_estimator
        self.n_blocks = n_blocks
        self.random_state = random_state
        self.verbose = verbose
        self.balance = balance

    def _member(self) -> Any:
        return DecisionTreeRegressor() if self.estimator is None else self.estimator

    def _final(self) -> Any:
        if self.final_estimator is None:
            return LinearRegression(positive=True)
        return self.final_estimator

    def _rule(self) -> RowFunction:
        if self.fusion != "vote":
            return super()._rule()
        return partial(fuse.median, self.estimators_, self._form())

    def predict(self, X: ArrayLike) -> Any:
        """The fused prediction of each row, in kind.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes

        Returns
        -------
        (n,) or (n, n_outputs), float64, lazy where X is
        """
        check_is_fitted(self)
        names = self._target_names(self._n_outputs) if self._n_outputs else {}
        rows = partial(fuse.value_rows, self._fused, bool(self._n_outputs))
        return self._map_rows(X, rows, dtype=np.float64, **names)


__all__ = ["BlockwiseClassifier", "BlockwiseRegressor"]
