"""What estimators made of trees share: how rows come in, and parameters as rules."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from numbers import Integral, Real
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data

from daskml_kit.base import BlockEstimator, check_number, weights_of_classes
from daskml_kit.exceptions import InvalidDataError, InvalidDataTypeError, InvalidParameterError
from daskml_kit.kernels.tree_splits import CRITERIA, MOST_TIMES, POISSON, Rules
from daskml_kit.runtime.in_kind import RowFunction
from daskml_kit.runtime.ingest import DataFacts, Spec, merged
from daskml_kit.runtime.opening import RowEdges
from daskml_kit.tree.binning import Survey
from daskml_kit.tree.categorical import Features, categorical_in, no_frame_by_dtype, numbered
from daskml_kit.tree.ground import Ground, Growth
from daskml_kit.tree.growing import Sampling, units_of
from daskml_kit.tree.voting import voting_edges
from daskml_kit.typing import Array, ArrayLike, FloatArray, IntArray, Matrix

EPSILON = float(np.finfo(np.float64).eps)
NO_LIMIT = 2**31 - 1

CLASS_CRITERIA = {"gini": "gini", "entropy": "entropy", "log_loss": "entropy"}
VALUE_CRITERIA = {"squared_error": "squared_error", "poisson": "poisson"}
REFUSED = {
    "absolute_error": "it needs medians, which histograms don't hold",
    "friedman_mse": "scikit-learn has deprecated it; 'squared_error' gives the same trees",
}


class TreeEstimator(BlockEstimator):
    """An estimator whose rows are compared with thresholds: float32, as in scikit-learn's trees, NaN
    allowed.
    """

    def __sklearn_tags__(self) -> Tags:
        tags: Tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def _spec(self, X: ArrayLike, **target: Any) -> Spec:
        tags = self.__sklearn_tags__().input_tags
        return Spec(
            type(self).__name__,
            accept_sparse=tags.sparse,
            dtype="float32",
            allow_nan=tags.allow_nan,
            **target,
        )

    def _numbered(self, X: ArrayLike) -> Any:
        """X as ``fit`` has seen it: columns of a categorical dtype as numbers."""
        return numbered(X, getattr(self, "_levels", {}))

    def _map_rows(self, X: ArrayLike, fn: RowFunction, **how: Any) -> Any:
        check_is_fitted(self)
        return super()._map_rows(self._numbered(X), fn, **how)

    def _categorical(self, X: ArrayLike) -> Features | None:
        """The categorical features of the rows to be fitted."""
        asked = getattr(self, "categorical_features", None)
        if no_frame_by_dtype(X, asked):
            return None
        rows: Any = X if hasattr(X, "shape") else np.asarray(X)
        if rows.ndim != 2:
            return None  # refused later, in the words that all estimators have for it
        n_features = rows.shape[1]
        found = categorical_in(rows, asked, n_features)
        if found is None:
            return None
        if sparse.issparse(X):
            raise InvalidDataTypeError(
                f"categorical_features={asked!r} needs dense rows, got a sparse matrix. "
                "Pass X.toarray(), or categorical_features=None."
            )
        signs = getattr(self, "monotonic_cst", None)
        signs = np.zeros(0) if signs is None else np.asarray(signs)
        if signs.shape == (n_features,) and signs[found.categorical > 0].any():
            raise InvalidParameterError(
                "Categorical features cannot have monotonic constraints: monotonic_cst must be 0 for the "
                f"features {np.flatnonzero(found.categorical).tolist()}, got {signs!r}."
            )
        return found

    def _keep_categorical(self, features: Features | None) -> None:
        self.is_categorical_ = None if features is None else features.categorical.astype(bool)
        self._levels = {} if features is None else features.levels

    def _refuse_sets(self) -> None:
        marks: Array | None = getattr(self, "is_categorical_", None)
        if marks is not None:
            raise InvalidParameterError(
                "scikit-learn's trees have no splits of categories, so to_sklearn() can't give this one. The "
                f"features {np.flatnonzero(marks).tolist()} are categorical: fit with "
                "categorical_features=None on one-hot or ordinal codes to get a tree that it has."
            )

    def _row_checker(self, X: ArrayLike) -> Any:
        check = super()._row_checker(X)
        marks = getattr(self, "is_categorical_", None)
        done = marks is None or check == self._checked_rows
        return check if done else partial(_told_apart, check, marks)

    def _checked_rows(self, X: Any) -> Matrix:
        check = partial(
            validate_data,
            self,
            reset=False,
            accept_sparse="csr",
            ensure_all_finite="allow-nan",
            dtype=np.float32,
            order="C",
        )
        return _told_apart(check, getattr(self, "is_categorical_", None), X)

    def _class_weight(self) -> Any:
        """As it holds for all rows."""
        return getattr(self, "class_weight", None)

    def _class_weights(self, facts: DataFacts) -> FloatArray | None:
        """The weight of each class; "balanced" counts rows, whatever they weigh."""
        return weights_of_classes(self._class_weight(), facts, facts.class_rows)


@dataclass(frozen=True)
class TreeParameters:
    """scikit-learn's parameters of a tree, checked and counted in rows and features."""

    criterion: str
    max_depth: int | None
    min_samples_split: Any
    min_samples_leaf: Any
    min_weight_fraction_leaf: float
    max_features: Any
    max_leaf_nodes: int | None
    min_impurity_decrease: float
    monotonic_cst: Any
    max_bins: int
    top_k: int | None = None
    random: bool = False

    @classmethod
    def of(cls, model: Any, criteria: dict[str, str], *, random: bool = False) -> TreeParameters:
        """Of an estimator that has them as attributes.

        Raises
        ------
        InvalidParameterError
        """
        _check_criterion(model.criterion, criteria)
        _check_counts(model)
        return cls(
            criteria[model.criterion],
            model.max_depth,
            model.min_samples_split,
            model.min_samples_leaf,
            model.min_weight_fraction_leaf,
            model.max_features,
            model.max_leaf_nodes,
            model.min_impurity_decrease,
            model.monotonic_cst,
            int(model.max_bins),
            getattr(model, "top_k", None),
            random,
        )

    @property
    def poisson(self) -> bool:
        """Whether the criterion is the Poisson deviance."""
        return CRITERIA[self.criterion] == POISSON

    @property
    def edges(self) -> RowEdges | None:
        """Where the rows are cut when they are opened; None where it does not matter."""
        return None if self.top_k is None else voting_edges

    def features_of(self, n_features: int) -> int:
        """``max_features`` as a number of features."""
        return features_of(self.max_features, n_features)

    def growth(self, ground: Ground, sampling: Sampling, *, balanced: bool = False) -> Growth:
        """How trees grow on some ground. ``balanced``: their classes will weigh the same.

        Raises
        ------
        InvalidDataError
            The targets don't fit the criterion.
        InvalidParameterError
            The constraints don't fit the features.
        """
        facts, found = ground.data.facts, ground.found
        if self.poisson:
            _check_counts_of_events(found)
        n_channels = 2 if facts.classes is None else len(facts.classes)
        signs = signs_of(self.monotonic_cst, facts)
        n = facts.n_rows
        least = _in_rows(self.min_samples_leaf, n, 1)
        units = units_of(found, n, MOST_TIMES if sampling.n_draws else 1, balanced=balanced)
        rules = Rules(
            criterion=CRITERIA[self.criterion],
            n_channels=n_channels,
            stride=n_channels + int(least > 1),
            missing_bin=ground.binning.missing_bin,
            max_depth=NO_LIMIT if self.max_depth is None else int(self.max_depth),
            max_features=self.features_of(facts.n_features),
            random=int(self.random),
            min_samples_split=max(_in_rows(self.min_samples_split, n, 2), 2 * least),
            min_samples_leaf=least,
            min_weight_leaf=float(self.min_weight_fraction_leaf),
            min_gain=self.min_impurity_decrease - EPSILON
            if self.min_impurity_decrease
            else -np.inf,
            pure=EPSILON if facts.classes is not None else 4 * EPSILON,
            weight=0.0,
            l2=0.0,
            unit_weight=units.weight,
            unit_value=units.value,
            unit_square=units.square,
            constrained=int(signs.any()),
        )
        searched = min(rules.max_features, facts.n_features)
        top_k = self.top_k if self.top_k is not None and 2 * self.top_k < searched else None
        return Growth(ground.binning, rules, signs, sampling, self.max_leaf_nodes, top_k)


def features_of(asked: Any, n_features: int) -> int:
    """scikit-learn's ``max_features`` as a number of features."""
    if asked is None:
        return n_features
    if asked == "sqrt":
        return max(1, int(np.sqrt(n_features)))
    if asked == "log2":
        return max(1, int(np.log2(n_features)))
    return int(asked) if isinstance(asked, Integral) else max(1, int(asked * n_features))


def _check_criterion(criterion: Any, criteria: dict[str, str]) -> None:
    if criterion in criteria:
        return
    reason = f": {REFUSED[criterion]}" if criterion in REFUSED else ""
    raise InvalidParameterError(
        f"criterion must be one of {list(criteria)}, got {criterion!r}{reason}."
    )


def _check_counts(model: Any) -> None:
    if model.max_depth is not None:
        check_number("max_depth (None for no limit)", model.max_depth, least=1, whole=True)
    if model.max_leaf_nodes is not None:
        check_number(
            "max_leaf_nodes (None for no limit)", model.max_leaf_nodes, least=2, whole=True
        )
    check_bins(model.max_bins)
    if getattr(model, "top_k", None) is not None:
        check_number(
            "top_k (None for histograms of all features)", model.top_k, least=1, whole=True
        )
    check_number("min_impurity_decrease", model.min_impurity_decrease, least=0)
    check_number("min_weight_fraction_leaf", model.min_weight_fraction_leaf, least=0)
    if model.min_weight_fraction_leaf > 0.5:
        raise InvalidParameterError(
            f"min_weight_fraction_leaf must be at most 0.5, got {model.min_weight_fraction_leaf!r}."
        )
    check_rows("min_samples_split", model.min_samples_split, 2)
    check_rows("min_samples_leaf", model.min_samples_leaf, 1)
    check_features(model.max_features)
    check_number("ccp_alpha", getattr(model, "ccp_alpha", 0.0), least=0)


def is_count(value: Any, least: int) -> bool:
    """Whether ``value`` is an integer of at least ``least``."""
    return isinstance(value, Integral) and int(value) >= least


def is_share(value: Any, *, of_all: bool = True) -> bool:
    """Whether ``value`` is a number above 0 and at most 1, and no integer. Not ``of_all``: below 1."""
    real = isinstance(value, Real) and not isinstance(value, Integral)
    return real and 0 < float(value) <= 1 and (of_all or float(value) < 1)


def check_bins(max_bins: Any) -> None:
    """Refuse what is no number of bins that a code can tell apart."""
    check_number("max_bins", max_bins, least=2, whole=True)
    if max_bins > 65_535:
        raise InvalidParameterError(f"max_bins must be at most 65535, got {max_bins!r}.")


def check_rows(name: str, value: Any, least: int) -> None:
    """Refuse what is neither a count of rows nor a share of them; a leaf of all rows (``least`` 1), too."""
    of_all = least > 1
    if not is_count(value, least) and not is_share(value, of_all=of_all):
        most = "at most" if of_all else "below"
        raise InvalidParameterError(
            f"{name} must be an integer >= {least} or a share above 0 and {most} 1, got {value!r}."
        )


def check_features(value: Any) -> None:
    """Refuse what is no ``max_features``."""
    named = value is None or (isinstance(value, str) and value in ("sqrt", "log2"))
    if not named and not is_count(value, 1) and not is_share(value):
        raise InvalidParameterError(
            "max_features must be 'sqrt', 'log2', None, an integer >= 1 or a share above 0 and at most 1, "
            f"got {value!r}."
        )


def _in_rows(value: Any, n_rows: int, least: int) -> int:
    return int(value) if isinstance(value, Integral) else max(least, int(np.ceil(value * n_rows)))


def _check_counts_of_events(found: Survey) -> None:
    if found.least_value < 0:
        raise InvalidDataError(
            "Some value(s) of y are negative which is not allowed for Poisson regression: the smallest is "
            f"{found.least_value}. Use criterion='squared_error'."
        )
    if found.most_value <= 0:
        raise InvalidDataError(
            "Sum of y is not strictly positive which is necessary for Poisson regression."
        )


def signs_of(monotonic_cst: Any, facts: DataFacts) -> IntArray:
    """-1, 0 or 1 for each feature.

    Raises
    ------
    InvalidParameterError
    """
    if monotonic_cst is None:
        return np.zeros(facts.n_features, np.int8)
    if facts.classes is not None and len(facts.classes) > 2:
        raise InvalidParameterError(
            "Monotonicity constraints are not supported with multiclass classification: the data have "
            f"{len(facts.classes)} classes. Leave monotonic_cst out."
        )
    signs = np.asarray(monotonic_cst)
    if signs.shape != (facts.n_features,):
        raise InvalidParameterError(
            f"monotonic_cst has shape {signs.shape} but the input data X has {facts.n_features} features."
        )
    if not np.isin(signs, (-1, 0, 1)).all():
        raise InvalidParameterError(
            f"monotonic_cst must be None or an array-like of -1, 0 or 1, got {monotonic_cst!r}."
        )
    return signs.astype(np.int8)


# ---------------------------------------------------------------- rows that come in


def _told_apart(check: Any, categorical: Array | None, X: Any) -> Matrix:
    """Rows as float32. Categories that it would merge with others are missing: ``fit`` has refused such.
    Sparse rows are left as they are.
    """
    rows: Matrix = check(X)
    if categorical is None or sparse.issparse(rows):
        return rows
    for f in np.flatnonzero(categorical).tolist():
        unknown = merged(X, rows, f)
        if unknown.any():
            rows[unknown, f] = np.nan  # a copy: float32 rows are not changed by the check
    return rows


# ---------------------------------------------------------------- answers of one tree


def tree_values(tree: Any, X: Matrix) -> FloatArray:
    """What the leaf of each row holds: shares of classes, or (n, 1)."""
    out: FloatArray = tree.predict(_readable(X))
    return out


def tree_leaves(tree: Any, X: Matrix) -> Array:
    """The leaf of each row."""
    out: Array = tree.apply(_readable(X))
    return out


def _readable(X: Matrix) -> Any:
    """scikit-learn's trees know CSR matrices of 32-bit indices."""
    if not sparse.issparse(X):
        return X
    rows: Any = sparse.csr_matrix(X)
    rows.indices, rows.indptr = rows.indices.astype(np.int32), rows.indptr.astype(np.int32)
    return rows


def classes_by(values: Any, classes: Array, X: Matrix) -> Array:
    """The class of largest value of each row."""
    out: Array = classes[values(X).argmax(axis=1)]
    return out


def flat(values: Any, X: Matrix) -> FloatArray:
    """A single column of values as they come out of :func:`tree_values`."""
    out: FloatArray = values(X)[:, 0]
    return out


def log_of(values: Any, X: Matrix) -> FloatArray:
    """Logarithms of values; minus infinity for zero."""
    with np.errstate(divide="ignore"):
        out: FloatArray = np.log(values(X))
    return out


__all__ = [
    "CLASS_CRITERIA",
    "MOST_TIMES",
    "VALUE_CRITERIA",
    "TreeEstimator",
    "TreeParameters",
    "check_bins",
    "check_features",
    "check_rows",
    "classes_by",
    "features_of",
    "flat",
    "is_count",
    "is_share",
    "log_of",
    "signs_of",
    "tree_leaves",
    "tree_values",
]
