"""What estimators share: opening data for a fit, answering in kind, and saying what it cost."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin as _ClassifierMixin,
    RegressorMixin as _RegressorMixin,
)
from sklearn.exceptions import DataConversionWarning
from sklearn.utils import Tags
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.validation import check_is_fitted, validate_data

from daskml_kit.exceptions import InvalidParameterError, as_ours
from daskml_kit.metrics import accuracy_score, r2_score
from daskml_kit.runtime.answering import Checked, CheckedColumns, PartChecker
from daskml_kit.runtime.config import fit_context
from daskml_kit.runtime.dataset import BlockDataset
from daskml_kit.runtime.events import FitEvent, FitLog
from daskml_kit.runtime.executor import Executor
from daskml_kit.runtime.in_kind import RowFunction, map_rows, stand_in, target_columns
from daskml_kit.runtime.ingest import DataFacts, Spec
from daskml_kit.runtime.opening import ClassWeights, RowEdges, open_dataset
from daskml_kit.runtime.progress import ProgressLine
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.runtime.sources import (
    constant_column,
    is_column,
    is_dask,
    unwrap,
    wanted_dtype,
    whole_rows,
)
from daskml_kit.typing import ArrayLike, FloatArray, Matrix, TargetKind

_ROW_DTYPES = (np.float64, np.float32)

COLUMN = (
    "A column-vector y was passed when a 1d array was expected. Please change the shape of y to "
    "(n_samples,), for example using y.ravel(), or select the column of the dataframe."
)


class BlockEstimator(BaseEstimator):
    """An estimator that fits over resident blocks.

    Parameters
    ----------
    balance : {"adaptive", "even", "data"} or None (as configured); see :func:`~daskml_kit.config_context`

    Attributes
    ----------
    n_features_in_ : int
    feature_names_in_ : ndarray of str, only if the columns of X have names
    n_rounds_ : int
        Rounds of the fit, the loading round included.
    n_passes_ : int
        Reads of every row, the validating read included.
    history_ : list of dict
        One for each round: ``round name objective seconds bytes imbalance``.
    """

    balance: str | None = None

    def __sklearn_tags__(self) -> Tags:
        tags: Tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    @contextmanager
    def _opened(
        self,
        X: ArrayLike,
        y: ArrayLike = None,
        sample_weight: ArrayLike = None,
        *,
        target: TargetKind = "none",
        multi_output: bool = False,
        min_classes: int = 2,
        class_weights: ClassWeights | None = None,
        edges: RowEdges | None = None,
        told_apart: tuple[int, ...] = (),
        opener: Any = open_dataset,
        **how: Any,
    ) -> Iterator[tuple[Any, Executor]]:
        """Resident, checked data for the length of one fit, and where its rounds run.

        ``opener`` makes them resident: by rows, or with :func:`~daskml_kit.runtime.columns.open_columns`.
        It may be told more than all openers know: ``how``.
        """
        name = type(self).__name__
        spec = self._spec(
            X,
            target=target,
            multi_output=multi_output,
            min_classes=min_classes,
            told_apart=told_apart,
        )
        if target != "none" and not multi_output and is_column(y):
            warnings.warn(COLUMN, DataConversionWarning, stacklevel=users_level())
        log = FitLog(name, max_iter=_bound(self, "max_iter"), tol=_bound(self, "tol"))
        line = ProgressLine(name) if getattr(self, "verbose", 0) else None
        if line is not None:
            log.listeners.append(line)
        try:
            with fit_context(balance=self.balance):
                data, executor = opener(
                    X,
                    y,
                    _weight_column(sample_weight, X),
                    spec=spec,
                    log=log,
                    class_weights=class_weights,
                    edges=edges,
                    **how,
                )
                with _closing(data, executor, log):
                    validate_data(self, stand_in(X), reset=True, skip_check_array=True)
                    self._target_columns = target_columns(y) if multi_output else None
                    yield data, executor
        finally:
            if line is not None:
                line.close()
        self.history_ = log.history()
        self.n_rounds_ = len(log.rounds)
        self.n_passes_ = log.n_passes

    def _spec(self, X: ArrayLike, **target: Any) -> Spec:
        """What this estimator asks of its rows, by its tags."""
        tags = self.__sklearn_tags__().input_tags
        return Spec(
            type(self).__name__,
            accept_sparse=tags.sparse,
            dtype=wanted_dtype(X),
            allow_nan=tags.allow_nan,
            **target,
        )

    def _html_repr(self) -> str:
        """scikit-learn's diagram; of a fitted estimator, what its fit cost below it."""
        diagram: str = super()._html_repr()
        if not hasattr(self, "history_"):
            return diagram
        from daskml_kit.dashboard.summary import fit_html

        return diagram + fit_html(self.history_)

    def _reduced(
        self,
        X: ArrayLike,
        sample_weight: ArrayLike,
        reduction: Reduction[Any, Any, Any],
        params: Any,
        y: ArrayLike = None,
        *,
        target: TargetKind = "none",
        check: Callable[[DataFacts], None] | None = None,
    ) -> Any:
        """One reduction over rows that the estimator was not fitted on, if ``check`` lets them pass."""
        how: Any = {"target": target, "check": check}
        with self._reading(X, sample_weight, reduction.name, y, **how) as (data, executor):
            return executor.reduce(data, reduction, params)

    @contextmanager
    def _reading(
        self,
        X: ArrayLike,
        sample_weight: ArrayLike,
        name: str,
        y: ArrayLike = None,
        *,
        target: TargetKind = "none",
        check: Callable[[DataFacts], None] | None = None,
    ) -> Iterator[tuple[BlockDataset, Executor]]:
        """Resident rows that the estimator was not fitted on, if ``check`` lets them pass; not a fit."""
        self._check_columns(X)
        spec = self._spec(X, target=target)
        log = FitLog(f"{spec.estimator}.{name}")
        with fit_context(balance=self.balance):
            data, executor = open_dataset(
                X, y, _weight_column(sample_weight, X), spec=spec, log=log
            )
        with _closing(data, executor, log):
            if check is not None:
                check(data.facts)
            yield data, executor

    def _map_rows(self, X: ArrayLike, fn: RowFunction, **how: Any) -> Any:
        """``fn`` of checked rows of X, answered in kind."""
        check_is_fitted(self)
        if is_dask(X):
            whole_rows(unwrap(X))
        if _checked_in_parts(X):
            self._check_columns(X)
        checked = CheckedColumns if hasattr(fn, "of_columns") else Checked
        return map_rows(X, checked(self._row_checker(X), fn), **how)

    def _target_names(self, n_outputs: int) -> dict[str, Any]:
        """How :meth:`_map_rows` names the columns of several outputs: as y named them."""
        dim, labels = getattr(self, "_target_columns", None) or ("target", list(range(n_outputs)))
        return {"columns": labels, "column_dim": dim}

    def _row_checker(self, X: ArrayLike) -> Any:
        if _checked_in_parts(X):
            return PartChecker(self._spec(X))
        return self._checked_rows

    def _check_columns(self, X: ArrayLike) -> None:
        """Refuse other features than those of the fit, by names and number."""
        with as_ours():
            validate_data(self, stand_in(X), reset=False, skip_check_array=True)

    def _checked_rows(self, X: Any) -> Matrix:
        tags = self.__sklearn_tags__().input_tags
        with as_ours():
            rows: Matrix = validate_data(
                self,
                X,
                reset=False,
                accept_sparse="csr" if tags.sparse else False,
                ensure_all_finite="allow-nan" if tags.allow_nan else True,
                dtype=_ROW_DTYPES,
                order="C",
            )
        return rows


def _checked_in_parts(X: ArrayLike) -> bool:
    """Whether names of features are checked on X as a whole and its rows, without names, by part."""
    return is_dask(X) or unwrap(X) is not X


@contextmanager
def _closing(data: BlockDataset, executor: Executor, log: FitLog) -> Iterator[None]:
    """Release everything and report the end, whichever way the fit ends."""
    state = "failed"
    try:
        yield
        state = "finished"
    finally:
        data.release()
        log.emit(FitEvent(log.name, state, time.time()))
        executor.close()


def check_number(
    name: str, value: Any, *, least: float, above: bool = False, whole: bool = False
) -> None:
    """Refuse a parameter that is not a number of at least ``least``, or above it, or whole.

    Raises
    ------
    InvalidParameterError
    """
    kind: Any = Integral if whole else Real
    fits = isinstance(value, kind) and (value > least if above else value >= least)
    if not fits:
        words = f"{'an integer' if whole else 'a number'} {'>' if above else '>='} {least}"
        raise InvalidParameterError(f"{name} must be {words}, got {value!r}.")


def check_flag(name: str, value: Any) -> None:
    """Refuse a parameter that is neither True nor False.

    Raises
    ------
    InvalidParameterError
    """
    if not isinstance(value, bool | np.bool_):
        raise InvalidParameterError(f"{name} must be True or False, got {value!r}.")


def users_level() -> int:
    """A warning's ``stacklevel``: how many frames up the first is that is not of this package."""
    frame, level = sys._getframe(1), 1
    own = __name__.partition(".")[0]
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] in (
        own,
        "contextlib",
    ):
        frame, level = frame.f_back, level + 1
    return level


def weights_of_classes(
    given: Any, facts: DataFacts, counts: FloatArray | None
) -> FloatArray | None:
    """The weight of each class, as ``class_weight`` has it.

    Parameters
    ----------
    given : dict, "balanced" or None
    facts : of data with classes
    counts : (n_classes,) what "balanced" counts: rows of each class, or their weights

    Returns
    -------
    (n_classes,), or None where ``given`` is None

    Raises
    ------
    InvalidParameterError
        For weights that are negative or no finite numbers, or that leave no row any weight; and classes of
        which ``given`` says nothing, or that the data have not.
    """
    if given is None:
        return None
    assert facts.classes is not None
    assert facts.class_weight_sums is not None
    if not (isinstance(given, dict) or (isinstance(given, str) and given == "balanced")):
        raise InvalidParameterError(
            f"class_weight must be 'balanced', a dict or None, got {given!r}."
        )
    remedy = "Pass 'balanced', or a dict with a weight of at least 0 for each class."
    try:
        with np.errstate(divide="ignore"):
            weights: FloatArray = compute_class_weight(
                given, classes=facts.classes, y=facts.classes, sample_weight=counts
            )
    except (TypeError, ValueError) as error:
        raise InvalidParameterError(
            f"class_weight={given!r} does not fit the data. {str(error).rstrip('.')}. {remedy}"
        ) from error
    if isinstance(given, str):  # what weighs nothing can't be made to weigh as much as the others
        weights = np.where(np.isfinite(weights), weights, 0.0)
    bad = ~(np.isfinite(weights) & (weights >= 0))
    if bad.any():
        raise InvalidParameterError(
            f"class_weight={given!r} gives the class {facts.classes[bad].tolist()[0]!r} the weight "
            f"{weights[bad][0]}. {remedy}"
        )
    if not weights @ facts.class_weight_sums > 0:
        raise InvalidParameterError(
            f"class_weight={given!r} leaves no row any weight. Pass a weight above 0 for some class."
        )
    return weights


def _bound(estimator: Any, name: str) -> Any:
    """A parameter that says how long a fit may take, for the events; None where it is no number."""
    value = getattr(estimator, name, None)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _weight_column(weight: ArrayLike, X: ArrayLike) -> ArrayLike:
    """A single number stands for one weight a row."""
    return constant_column(X, float(weight)) if isinstance(weight, Real) else weight


class ClassifierMixin(_ClassifierMixin):
    """``score`` by accuracy, on any input that ``predict`` takes."""

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike = None) -> float:
        """Weighted accuracy of ``predict(X)``: one pass.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes
        y : (n,) true labels
        sample_weight : (n,) or None

        Returns
        -------
        float
        """
        return accuracy_score(y, self.predict(X), sample_weight=sample_weight)


class RegressorMixin(_RegressorMixin):
    """``score`` by R2, on any input that ``predict`` takes."""

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike = None) -> float:
        """Coefficient of determination of ``predict(X)``: one pass.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes
        y : (n,) or (n, n_outputs) true values
        sample_weight : (n,) or None

        Returns
        -------
        float
        """
        return float(r2_score(y, self.predict(X), sample_weight=sample_weight))


__all__ = [
    "BlockEstimator",
    "ClassifierMixin",
    "RegressorMixin",
    "check_flag",
    "check_number",
    "users_level",
    "weights_of_classes",
]
