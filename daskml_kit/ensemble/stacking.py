"""A model that learns from what other models say of rows that they were not fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

import numpy as np
from scipy import sparse
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted

from daskml_kit.base import ClassifierMixin, RegressorMixin
from daskml_kit.ensemble.folds import Folds, folds_of
from daskml_kit.ensemble.fusion import in_tiles
from daskml_kit.ensemble.members import Form, answers
from daskml_kit.ensemble.named import NamedMembers, in_words, numbered
from daskml_kit.ensemble.training import Recruit, check_members, train
from daskml_kit.exceptions import InvalidParameterError
from daskml_kit.runtime.block import Block, Bundle
from daskml_kit.runtime.dataset import BlockDataset
from daskml_kit.runtime.executor import Executor
from daskml_kit.typing import Array, ArrayLike, FloatArray, Matrix, TargetKind

METHODS = ("predict_proba", "decision_function", "predict")


# ---------------------------------------------------------------- columns


@dataclass(frozen=True, eq=False)
class Panel:
    """How members' answers become the columns that the final estimator sees.

    Attributes
    ----------
    methods : of each member, by which it answers
    classes : sorted labels, None for regression
    passthrough : whether the features follow the answers
    """

    methods: tuple[str, ...]
    classes: Array | None
    passthrough: bool

    def columns(self, models: Sequence[Any], X: Matrix) -> Any:
        """(n, sum of widths), followed by X where ``passthrough``; sparse where X then is."""
        said: list[Any] = [self.said(m, i, X) for i, m in enumerate(models)]
        return self.joined(said, X)

    def joined(self, said: list[Any], X: Matrix) -> Matrix:
        """Members' answers side by side."""
        if not self.passthrough:
            return np.hstack(said)
        if sparse.issparse(X):
            return sparse.csr_array(sparse.hstack([*map(sparse.csr_array, said), X], format="csr"))
        return np.hstack([*said, X])

    def said(self, model: Any, index: int, X: Matrix) -> FloatArray:
        """The columns of one member, (n, width)."""
        method, classes = self.methods[index], self.classes
        n = int(X.shape[0])
        if not n:
            return np.zeros((0, self.width(index)))
        if method == "predict_proba":
            out = answers(model, X, Form(classes, soft=True))
            return out[:, 1:] if out.shape[1] == 2 else out
        if method == "decision_function":
            return self._decisions(model, X)
        if classes is None:
            return answers(model, X, Form())
        codes: FloatArray = np.searchsorted(classes, model.predict(X)).astype(np.float64)
        return codes.reshape(n, 1)

    def _decisions(self, model: Any, X: Matrix) -> FloatArray:
        """One column for two classes; a class that the model never saw has the lowest decision."""
        raw = np.asarray(model.decision_function(X), dtype=np.float64)
        raw = raw.reshape(int(X.shape[0]), -1)
        if self.classes is None or len(self.classes) == 2 or raw.shape[1] == len(self.classes):
            return raw
        out = np.full((len(raw), len(self.classes)), np.finfo(np.float64).min)
        known = np.searchsorted(self.classes, model.classes_)
        out[:, known] = np.hstack([-raw, raw]) if raw.shape[1] == 1 else raw
        return out

    def width(self, index: int) -> int:
        """Columns of one member."""
        if self.classes is None or len(self.classes) <= 2 or self.methods[index] == "predict":
            return 1
        return len(self.classes)


@dataclass(frozen=True, eq=False)
class _Crossed:
    """Members as they travel to the blocks: one for each fold, or the same for all rows."""

    panel: Panel
    models: tuple[tuple[Any, ...], ...]  # of each member, by fold
    folds: Folds | None


def _meta_bundle(bundle: Bundle, crossed: _Crossed) -> Bundle:
    return bundle.map(partial(_meta_block, crossed))


def _meta_block(crossed: _Crossed, block: Block) -> Block:
    """The block with what members say of its rows, each row by the members that have not seen it."""
    panel, X = crossed.panel, block.X
    if crossed.folds is None:
        said: list[Any] = [panel.said(m[0], i, X) for i, m in enumerate(crossed.models)]
    else:
        fold = crossed.folds.of(block)
        said = [np.zeros((block.n_rows, panel.width(i))) for i in range(len(crossed.models))]
        for k in np.unique(fold):
            own = np.flatnonzero(fold == k)
            for i, models in enumerate(crossed.models):
                said[i][own] = panel.said(models[k], i, X[own])
    return Block(panel.joined(said, X), block.y, block.weight, block.start, block.index)


def _without(folds: Folds, k: int, block: Block) -> Block:
    """The rows that are not in fold ``k``."""
    kept = np.flatnonzero(folds.of(block) != k)
    weight = None if block.weight is None else block.weight[kept]
    return Block(block.X[kept], np.asarray(block.y)[kept], weight, block.start, block.index)


# ---------------------------------------------------------------- the fit


class _Stacking(NamedMembers):
    """Members, their answers out of fold, and the final estimator."""

    final_estimator: Any
    cv: Any
    stack_method: str
    passthrough: bool
    _target: TargetKind

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike = None) -> Self:
        """Fit the members, and the final estimator on their answers out of fold.

        Parameters
        ----------
        X : (n, n_features) NumPy, pandas, scipy.sparse, dask.array, dask.dataframe or xarray.DataArray
            Where its columns have names, members see dataframes of them; columns of words can't be opened.
        y : (n,) labels of any type, or values
        sample_weight : (n,) or None
            Handed to every member and to the final estimator.

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
            data.fixed = True  # folds are found by block
            self._set_classes(data.facts.classes)
            panel = Panel(self._methods(), data.facts.classes, self.passthrough)
            crossed = self._crossed(executor, data, panel)
            self.final_estimator_ = self._fit_final(executor, data, crossed)
        self.stack_method_ = list(panel.methods)
        self._panel = panel
        return self

    def _default_final(self) -> Any:
        raise NotImplementedError

    def _final(self) -> Any:
        return self._default_final() if self.final_estimator is None else self.final_estimator

    def _set_classes(self, classes: Array | None) -> None:
        """Classifiers keep them."""

    def _check_parameters(self, *, weighted: bool) -> None:
        self._check_named(weighted=weighted and self.cv != "prefit")
        final = [("final_estimator", self._final())]
        check_members(final, self._kind, weighted=weighted)
        if self.stack_method not in ("auto", *METHODS):
            raise InvalidParameterError(
                f"stack_method must be one of {['auto', *METHODS]}, got {self.stack_method!r}."
            )
        self._methods()
        if self.cv == "prefit":
            for _, model in self._kept():
                check_is_fitted(model)

    def _methods(self) -> tuple[str, ...]:
        wanted = METHODS if self.stack_method == "auto" else (self.stack_method,)
        out = []
        for name, model in self._kept():
            method = next((m for m in wanted if hasattr(model, m)), None)
            if method is None:
                raise InvalidParameterError(
                    f"Underlying estimator {name} does not implement the method {self.stack_method}."
                )
            out.append(method)
        return tuple(out)

    def _crossed(self, executor: Executor, data: BlockDataset, panel: Panel) -> _Crossed:
        """Fit all members on all rows and on the rows outside each fold, all side by side."""
        if self.cv == "prefit":
            self._name_members([model for _, model in self._kept()], told=False)
            return _Crossed(panel, tuple((m,) for m in self._voters()), None)
        folds = folds_of(self.cv, executor, data)
        k = folds.n_splits
        recruits = self._recruits() + [
            Recruit(
                f"{in_words(name)} outside fold {fold}",
                clone(model),
                partial(_without, folds, fold),
                1 - 1 / k,
            )
            for name, model in self._kept()
            for fold in range(k)
        ]
        models = self._fit_named(executor, data, recruits)
        n = len(models) // (k + 1)
        self._name_members(models[:n])
        rest = [self._voter(i // k, model) for i, model in enumerate(models[n:])]
        return _Crossed(panel, tuple(tuple(rest[i * k : i * k + k]) for i in range(n)), folds)

    def _fit_final(self, executor: Executor, data: BlockDataset, crossed: _Crossed) -> Any:
        facts, panel = data.facts, crossed.panel
        width = sum(panel.width(i) for i in range(len(panel.methods)))
        size = 8 * facts.n_rows * width + (facts.nbytes if panel.passthrough else 0)
        mapped = executor.map(data, _meta_bundle, crossed)
        with BlockDataset(mapped.bundles, replace(facts, nbytes=size), fixed=True) as meta:
            final = Recruit("the final estimator", clone(self._final()))
            return train(executor, meta, [final], classes=facts.classes)[0]

    # ---------------------------------------------------------------- answers

    def _final_rows(self, method: str) -> Any:
        check_is_fitted(self)
        return partial(_final_rows, self._panel, self._voters(), self.final_estimator_, method)

    def transform(self, X: ArrayLike) -> Any:
        """What each member says, in kind: the columns that the final estimator sees.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes

        Returns
        -------
        (n, n_columns), float64; sparse where X in memory is and ``passthrough``
        """
        check_is_fitted(self)
        rows = partial(self._panel.columns, self._voters())
        columns = list(self.get_feature_names_out())
        return self._map_rows(X, rows, dtype=np.float64, columns=columns, column_dim="member")

    def get_feature_names_out(self, input_features: Any = None) -> Array:
        """Names of the columns of ``transform``.

        Parameters
        ----------
        input_features : names of the features, used with ``passthrough`` only

        Returns
        -------
        ndarray of str
        """
        check_is_fitted(self, "n_features_in_")
        given = _check_feature_names_in(self, input_features, generate_names=self.passthrough)
        names = [name for name, model in self.named_estimators_.items() if model != "drop"]
        widths = [self._panel.width(i) for i in range(len(names))]
        own = numbered(type(self).__name__.lower(), names, widths)
        return np.concatenate([own, given]) if self._panel.passthrough else own


def _final_rows(panel: Panel, models: Sequence[Any], final: Any, method: str, X: Matrix) -> Array:
    def tile(rows: Matrix) -> Array:
        out: Array = getattr(final, method)(panel.columns(models, rows))
        return out

    if not X.shape[0]:
        width = 1 if panel.classes is None else len(panel.classes)
        flat = method == "predict" or (method == "decision_function" and width == 2)
        kind = np.float64 if panel.classes is None or method != "predict" else panel.classes.dtype
        return np.empty((0,) if flat else (0, width), dtype=kind)
    return in_tiles(tile, X, len(models) + (X.shape[1] if panel.passthrough else 0))


def _final_has(method: str) -> Any:
    def check(self: _Stacking) -> bool:
        final = getattr(self, "final_estimator_", None)
        getattr(self._final() if final is None else final, method)
        return True

    return check


class StackingClassifier(ClassifierMixin, _Stacking):
    """A classifier that learns from what other classifiers say of rows they were not fitted on.

    ::

        p(.|x) = final(said_1(x), ..., said_M(x))

    The members are fitted on all rows. The final estimator is fitted on their answers *out of fold*: what a
    clone of each member, fitted without the row's fold, says of the row.

    Parameters
    ----------
    estimators : list of (str, estimator)
        Classifiers of scikit-learn, of this package, or others that train on a cluster (``xgboost.dask``,
        ``lightgbm.dask``). Clones are fitted. "drop" in the place of an estimator leaves it out.
    final_estimator : classifier, default=sklearn.linear_model.LogisticRegression()
        One of scikit-learn has all answers gathered to one worker; one of this package leaves them where
        they are.
    cv : int, splitter, "prefit" or None (5 folds)
        Ints make stratified folds, those of scikit-learn. On a cluster: ints, and KFold or StratifiedKFold
        that don't shuffle. "prefit": the estimators are fitted already, and answer for all rows.
    stack_method : {"auto", "predict_proba", "decision_function", "predict"}, default="auto"
        "auto": the first of the three that a member has.
    n_jobs : int or None
        Most scikit-learn members fitted at the same time. None: on a cluster one for each of its threads,
        in this process one after the other; -1: one for each thread there too.
    passthrough : bool, default=False
        Whether the final estimator sees the features too.
    verbose : int, default=0
        1 shows a progress line.
    balance : {"adaptive", "even", "data"} or None (as configured); see :func:`~daskml_kit.config_context`

    Attributes
    ----------
    estimators_ : list of the fitted members that were not dropped; they know the original labels
    named_estimators_ : :class:`~sklearn.utils.Bunch`
    final_estimator_ : fitted model
    stack_method_ : list of str
    classes_ : ndarray of shape (n_classes,)
    n_features_in_, feature_names_in_, n_rounds_, n_passes_, history_ : see
        :class:`~daskml_kit.base.BlockEstimator`

    Notes
    -----
    ``n_members * (n_folds + 1)`` fits, all independent. Members of this package are fitted by their own
    rounds on the resident blocks; a scikit-learn member on one worker, to which its rows are gathered, as
    many side by side as ``n_jobs`` and the workers' memory allow. The answers out of fold are made where the
    rows are, and stay there.

    Differs from scikit-learn's in that members learn the original labels in the place of codes. Columns that
    have names are known to members by them, and columns of words are refused, see :class:`VotingClassifier`.

    References
    ----------
    Wolpert (1992). Stacked generalization. Neural Networks 5.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> from daskml_kit.linear_model import LogisticRegression
    >>> X, y = load_iris(return_X_y=True)
    >>> members = [("line", LogisticRegression()), ("tree", DecisionTreeClassifier(random_state=0))]
    >>> model = StackingClassifier(members, final_estimator=LogisticRegression()).fit(X, y)
    >>> model.stack_method_, bool(model.score(X, y) > 0.95)
    (['predict_proba', 'predict_proba'], True)
    """

    _kind = "classifier"
    _target: TargetKind = "classes"

    def __init__(
        self,
        estimators: Any,
        final_estimator: Any = None,
        *,
        cv: Any = None,
        stack_method: str = "auto",
        n_jobs: int | None = None,
        passthrough: bool = False,
        verbose: int = 0,
        balance: str | None = None,
    ) -> None:
        super().__init__(estimators=estimators)
        self.final_estimator = final_estimator
        self.cv = cv
        self.stack_method = stack_method
        self.n_jobs = n_jobs
        self.passthrough = passthrough
        self.verbose = verbose
        self.balance = balance

    def _default_final(self) -> Any:
        return LogisticRegression()

    def _set_classes(self, classes: Array | None) -> None:
        assert classes is not None
        self.classes_ = classes

    def predict(self, X: ArrayLike) -> Any:
        """The label of each row, in kind.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes

        Returns
        -------
        (n,), lazy where X is
        """
        return self._map_rows(X, self._final_rows("predict"), dtype=self.classes_.dtype)

    @available_if(_final_has("predict_proba"))
    def predict_proba(self, X: ArrayLike) -> Any:
        """The final estimator's probability of each class, in kind.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes

        Returns
        -------
        (n, n_classes), columns in the order of ``classes_``
        """
        rows = self._final_rows("predict_proba")
        return self._map_rows(X, rows, dtype=np.float64, columns=list(self.classes_))

    @available_if(_final_has("decision_function"))
    def decision_function(self, X: ArrayLike) -> Any:
        """The final estimator's decision, in kind.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes

        Returns
        -------
        (n,) for two classes, else (n, n_classes)
        """
        rows = self._final_rows("decision_function")
        columns = None if len(self.classes_) == 2 else list(self.classes_)
        return self._map_rows(X, rows, dtype=np.float64, columns=columns)


class StackingRegressor(RegressorMixin, _Stacking):
    """A regressor that learns from what other regressors say of rows they were not fitted on.

    ::

        f(x) = final(f_1(x), ..., f_M(x))

    Parameters
    ----------
    estimators : list of (str, estimator)
        Regressors of scikit-learn, of this package, or others that train on a cluster. Clones are fitted.
        "drop" in the place of an estimator leaves it out.
    final_estimator : regressor, default=sklearn.linear_model.RidgeCV()
    cv : int, splitter, "prefit" or None (5 folds)
        Ints make folds of neighbouring rows, those of scikit-learn.
    n_jobs, passthrough, verbose : see :class:`StackingClassifier`
    balance : {"adaptive", "even", "data"} or None (as configured); see :func:`~daskml_kit.config_context`

    Attributes
    ----------
    estimators_ : list of the fitted members that were not dropped
    named_estimators_ : :class:`~sklearn.utils.Bunch`
    final_estimator_ : fitted model
    stack_method_ : list of str
    n_features_in_, feature_names_in_, n_rounds_, n_passes_, history_ : see
        :class:`~daskml_kit.base.BlockEstimator`

    Notes
    -----
    How members are fitted is said at :class:`StackingClassifier`.

    References
    ----------
    Breiman (1996). Stacked regressions. Machine Learning 24.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.tree import DecisionTreeRegressor
    >>> from daskml_kit.linear_model import Ridge
    >>> X, y = load_diabetes(return_X_y=True)
    >>> members = [
    ...     ("line", Ridge(0.1)),
    ...     ("tree", DecisionTreeRegressor(max_depth=3, random_state=0)),
    ... ]
    >>> round(StackingRegressor(members).fit(X, y).score(X, y), 1)
    0.5
    """

    _kind = "regressor"
    _target: TargetKind = "values"
    stack_method = "predict"

    def __init__(
        self,
        estimators: Any,
        final_estimator: Any = None,
        *,
        cv: Any = None,
        n_jobs: int | None = None,
        passthrough: bool = False,
        verbose: int = 0,
        balance: str | None = None,
    ) -> None:
        super().__init__(estimators=estimators)
        self.final_estimator = final_estimator
        self.cv = cv
        self.n_jobs = n_jobs
        self.passthrough = passthrough
        self.verbose = verbose
        self.balance = balance

    def _default_final(self) -> Any:
        return RidgeCV()

    def predict(self, X: ArrayLike) -> Any:
        """The final estimator's prediction of each row, in kind.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes

        Returns
        -------
        (n,), float64, lazy where X is
        """
        return self._map_rows(X, self._final_rows("predict"), dtype=np.float64)


__all__ = ["StackingClassifier", "StackingRegressor"]
