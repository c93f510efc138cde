"""Different models of the same data, and their vote or mean."""

from __future__ import annotations

from functools import partial
from typing import Any, Self

import numpy as np
from sklearn.preprocessing import LabelEncoder
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from daskml_kit.base import ClassifierMixin, RegressorMixin
from daskml_kit.ensemble import fusion as fuse
from daskml_kit.ensemble.members import Form, answers
from daskml_kit.ensemble.named import NamedMembers, numbered
from daskml_kit.exceptions import InvalidParameterError
from daskml_kit.runtime.sources import is_dask, unwrap
from daskml_kit.typing import Array, ArrayLike, FloatArray, Matrix, TargetKind


class _Voting(NamedMembers):
    """Fitting the members, and their weights."""

    weights: Any
    _target: TargetKind

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike = None) -> Self:
        """Fit every member on all rows.

        Parameters
        ----------
        X : (n, n_features) NumPy, pandas, scipy.sparse, dask.array, dask.dataframe or xarray.DataArray
            Where its columns have names, members see dataframes of them; columns of words can't be opened.
        y : (n,) labels of any type, or values
        sample_weight : (n,) or None
            Handed to every member.

        Returns
        -------
        self

        Raises
        ------
        InvalidDataError, InvalidDataTypeError, InvalidParameterError, ClusterError
            Before any member is fitted.
        """
        self._check_parameters(weighted=sample_weight is not None)
        with self._opened(X, y, sample_weight, target=self._target) as (data, executor):
            models = self._fit_named(executor, data, self._recruits())
            self._set_classes(data.facts.classes)
        self._name_members(models)
        self._voices = self._kept_weights()
        return self

    def _set_classes(self, classes: Array | None) -> None:
        """Classifiers keep them."""

    def _check_parameters(self, *, weighted: bool) -> None:
        self._check_named(weighted=weighted)
        if self.weights is not None and len(self.weights) != len(self.estimators):
            raise InvalidParameterError(
                f"Number of `estimators` and weights must be equal; got {len(self.weights)} weights, "
                f"{len(self.estimators)} estimators."
            )
        voices = self._kept_weights()
        if not (np.isfinite(voices).all() and voices.min() >= 0 and voices.sum() > 0):
            raise InvalidParameterError(
                f"weights must be finite, none negative and at least one positive, got {self.weights!r}."
            )

    def _kept_weights(self) -> FloatArray:
        weights = [1.0] * len(self.estimators) if self.weights is None else self.weights
        pairs = zip(self.estimators, weights, strict=True)
        return np.array([w for (_, model), w in pairs if model != "drop"], dtype=np.float64)

    def _names_out(self, width: int) -> Array:
        names = [name for name, model in self.named_estimators_.items() if model != "drop"]
        return numbered(type(self).__name__.lower(), names, [width] * len(names))


class VotingClassifier(ClassifierMixin, _Voting):
    """Different classifiers of the same data, and the majority or the mean of their probabilities.

    ::

        hard   p(c|x) = share of the weights of the members that predict c
        soft   p(c|x) = sum_m w_m p_m(c|x) / sum_m w_m

    and the prediction is the label with the largest ``p(c|x)``, of equals the first in ``classes_``.

    Parameters
    ----------
    estimators : list of (str, estimator)
        Classifiers of scikit-learn, of this package, or others that train on a cluster (``xgboost.dask``,
        ``lightgbm.dask``). Clones are fitted. "drop" in the place of an estimator leaves it out.
    voting : {"hard", "soft"}, default="hard"
    weights : array-like of shape (n_estimators,) or None
    n_jobs : int or None
        Most scikit-learn members fitted at the same time. None: on a cluster one for each of its threads,
        in this process one after the other; -1: one for each thread there too.
    flatten_transform : bool, default=True
        Whether ``transform`` puts the probabilities of all members side by side.
    verbose : int, default=0
        1 shows a progress line.
    balance : {"adaptive", "even", "data"} or None (as configured); see :func:`~daskml_kit.config_context`

    Attributes
    ----------
    estimators_ : list of the fitted members that were not dropped; they know the original labels
    named_estimators_ : :class:`~sklearn.utils.Bunch`
    classes_ : ndarray of shape (n_classes,)
    le_ : :class:`~sklearn.preprocessing.LabelEncoder`
    n_features_in_, feature_names_in_, n_rounds_, n_passes_, history_ : see
        :class:`~daskml_kit.base.BlockEstimator`

    Notes
    -----
    Members of this package are fitted by their own rounds on the resident blocks, one after the other: no
    row moves. A scikit-learn member is fitted on one worker, to which all rows are gathered, and refused
    before it is tried if they don't fit there. The model is the same whatever the chunks.

    Where the columns of X have names, members see them: a pipeline may choose columns by name. All are
    floats, and columns of words are refused. Encode these before the ensemble, not within a member: in a
    pipeline whose last step is the ensemble, with scikit-learn's ``OneHotEncoder`` or, for lazy frames,
    that of ``dask_ml.preprocessing``.

    Differs from scikit-learn's in that members answer with the original labels in the place of codes; those
    of xgboost and ``lightgbm.dask`` learn codes, and are kept with the labels that these stand for.

    Examples
    --------
    >>> import dask.array as da
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> from daskml_kit.linear_model import LogisticRegression
    >>> X, y = load_iris(return_X_y=True)
    >>> members = [("line", LogisticRegression()), ("tree", DecisionTreeClassifier(random_state=0))]
    >>> model = VotingClassifier(members, voting="soft").fit(da.from_array(X, chunks=(50, 4)), y)
    >>> bool(model.score(X, y) > 0.97)
    True
    """

    _kind = "classifier"
    _target: TargetKind = "classes"

    def __init__(
        self,
        estimators: Any,
        *,
        voting: str = "hard",
        weights: Any = None,
        n_jobs: int | None = None,
        flatten_transform: bool = True,
        verbose: int = 0,
        balance: str | None = None,
    ) -> None:
        super().__init__(estimators=estimators)
        self.voting = voting
        self.weights = weights
        self.n_jobs = n_jobs
        self.flatten_transform = flatten_transform
        self.verbose = verbose
        self.balance = balance

    def _check_parameters(self, *, weighted: bool) -> None:
        if self.voting not in ("hard", "soft"):
            raise InvalidParameterError(f"voting must be 'hard' or 'soft', got {self.voting!r}.")
        super()._check_parameters(weighted=weighted)
        mute = [name for name, m in self._kept() if not hasattr(m, "predict_proba")]
        if self.voting == "soft" and mute:
            raise InvalidParameterError(
                f'voting="soft" needs members with predict_proba, and {mute} have none. Use '
                'voting="hard", or wrap them in sklearn.calibration.CalibratedClassifierCV.'
            )

    def _set_classes(self, classes: Array | None) -> None:
        assert classes is not None
        self.classes_ = classes
        self.le_ = LabelEncoder()
        self.le_.classes_ = classes

    def _form(self) -> Form:
        return Form(self.classes_, self.voting == "soft")

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
        votes = partial(fuse.weighted_sum, self._voters(), self._voices, self._form())
        rows = partial(fuse.label_rows, votes, self.classes_)
        return self._map_rows(X, rows, dtype=self.classes_.dtype)

    def _check_soft(self) -> bool:
        if self.voting == "hard":
            raise AttributeError(f"predict_proba is not available when voting={self.voting!r}")
        return True

    @available_if(_check_soft)
    def predict_proba(self, X: ArrayLike) -> Any:
        """The mean probability of each class, in kind; only with ``voting="soft"``.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes

        Returns
        -------
        (n, n_classes), columns in the order of ``classes_``
        """
        check_is_fitted(self)
        rows = partial(_mean_rows, self._voters(), self._voices, self._form())
        return self._map_rows(X, rows, dtype=np.float64, columns=list(self.classes_))

    def transform(self, X: ArrayLike) -> Any:
        """What each member says, in kind.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes

        Returns
        -------
        (n, n_members) codes of labels with ``voting="hard"``; (n, n_members * n_classes) probabilities with
        "soft"; (n_members, n, n_classes) for X in memory where ``flatten_transform`` is False
        """
        check_is_fitted(self)
        rows = partial(_side_by_side, self._voters(), self._form())
        if self.voting == "soft" and not self.flatten_transform:
            return self._unflattened(X, rows)
        dtype = np.float64 if self.voting == "soft" else np.intp
        columns = list(self.get_feature_names_out())
        return self._map_rows(X, rows, dtype=dtype, columns=columns, column_dim="member")

    def _unflattened(self, X: ArrayLike, rows: Any) -> Array:
        if is_dask(X):
            raise InvalidParameterError(
                "flatten_transform=False gives three dimensions, of which rows are the second: there is no "
                "lazy answer of that shape. Use flatten_transform=True, or X in memory."
            )
        flat = self._map_rows(np.asarray(unwrap(X)), rows, dtype=np.float64)
        return np.moveaxis(flat.reshape(len(flat), len(self.estimators_), -1), 1, 0)

    def get_feature_names_out(self, input_features: Any = None) -> Array:
        """Names of the columns of ``transform``.

        Parameters
        ----------
        input_features : ignored

        Returns
        -------
        ndarray of str
        """
        check_is_fitted(self, "n_features_in_")
        if self.voting == "soft" and not self.flatten_transform:
            raise InvalidParameterError(
                "get_feature_names_out is not supported when `voting='soft'` and "
                "`flatten_transform=False`"
            )
        return self._names_out(len(self.classes_) if self.voting == "soft" else 1)


class VotingRegressor(RegressorMixin, _Voting):
    """Different regressors of the same data, and the weighted mean of their predictions.

    ::

        f(x) = sum_m w_m f_m(x) / sum_m w_m

    Parameters
    ----------
    estimators : list of (str, estimator)
        Regressors of scikit-learn, of this package, or others that train on a cluster. Clones are fitted.
        "drop" in the place of an estimator leaves it out.
    weights : array-like of shape (n_estimators,) or None
    n_jobs : int or None
        Most scikit-learn members fitted at the same time, see :class:`VotingClassifier`.
    verbose : int, default=0
        1 shows a progress line.
    balance : {"adaptive", "even", "data"} or None (as configured); see :func:`~daskml_kit.config_context`

    Attributes
    ----------
    estimators_ : list of the fitted members that were not dropped
    named_estimators_ : :class:`~sklearn.utils.Bunch`
    n_features_in_, feature_names_in_, n_rounds_, n_passes_, history_ : see
        :class:`~daskml_kit.base.BlockEstimator`

    Notes
    -----
    How members are fitted is said at :class:`VotingClassifier`.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.tree import DecisionTreeRegressor
    >>> from daskml_kit.linear_model import Ridge
    >>> X, y = load_diabetes(return_X_y=True)
    >>> members = [("line", Ridge(0.1)), ("tree", DecisionTreeRegressor(max_depth=3))]
    >>> round(VotingRegressor(members).fit(X, y).score(X, y), 2)
    0.54
    """

    _kind = "regressor"
    _target: TargetKind = "values"

    def __init__(
        self,
        estimators: Any,
        *,
        weights: Any = None,
        n_jobs: int | None = None,
        verbose: int = 0,
        balance: str | None = None,
    ) -> None:
        super().__init__(estimators=estimators)
        self.weights = weights
        self.n_jobs = n_jobs
        self.verbose = verbose
        self.balance = balance

    def predict(self, X: ArrayLike) -> Any:
        """The weighted mean of the members' predictions, in kind.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes

        Returns
        -------
        (n,), float64, lazy where X is
        """
        check_is_fitted(self)
        return self._map_rows(
            X, partial(_mean_values, self._voters(), self._voices), dtype=np.float64
        )

    def transform(self, X: ArrayLike) -> Any:
        """What each member predicts, in kind.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes

        Returns
        -------
        (n, n_members), float64
        """
        check_is_fitted(self)
        rows = partial(_side_by_side, self._voters(), Form())
        columns = list(self.get_feature_names_out())
        return self._map_rows(X, rows, dtype=np.float64, columns=columns, column_dim="member")

    def get_feature_names_out(self, input_features: Any = None) -> Array:
        """Names of the columns of ``transform``.

        Parameters
        ----------
        input_features : ignored

        Returns
        -------
        ndarray of str
        """
        check_is_fitted(self, "n_features_in_")
        return self._names_out(1)


# ---------------------------------------------------------------- rows


def _mean_rows(models: Any, weights: FloatArray, form: Form, X: Matrix) -> FloatArray:
    out: FloatArray = fuse.weighted_sum(models, weights, form, X) / weights.sum()
    return out


def _mean_values(models: Any, weights: FloatArray, X: Matrix) -> FloatArray:
    return _mean_rows(models, weights, Form(), X)[:, 0]


def _side_by_side(models: Any, form: Form, X: Matrix) -> Array:
    """What each model says: codes of labels, probabilities or values."""
    said = [answers(m, X, form) for m in models]
    if form.classes is not None and not form.soft:
        return np.column_stack([a.argmax(axis=1) for a in said])
    return np.hstack(said)


__all__ = ["VotingClassifier", "VotingRegressor"]
