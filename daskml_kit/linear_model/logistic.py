"""Logistic regression, binary and multinomial."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any, Literal, Self

import numpy as np
from scipy import sparse
from scipy.special import log_softmax, softmax
from sklearn.utils.validation import check_is_fitted

from daskml_kit.base import (
    BlockEstimator,
    ClassifierMixin,
    check_flag,
    check_number,
    weights_of_classes,
)
from daskml_kit.exceptions import InvalidDataError, InvalidParameterError
from daskml_kit.linear_model.centring import columns_of
from daskml_kit.linear_model.choice import (
    FAMILIAR,
    LOCAL,
    check_solver,
    newton_is_cheaper,
    rows_a_sample,
    sketch_for,
    solver_named,
)
from daskml_kit.linear_model.logistic_by_columns import (
    Fitted,
    fit_by_columns,
    logistic_goes_by_columns,
)
from daskml_kit.linear_model.objective import (
    Finish,
    LinearObjective,
    guessed,
    unpenalised_intercept,
)
from daskml_kit.linear_model.paths import check_ratio
from daskml_kit.linear_model.pieces import edges_of, in_pieces
from daskml_kit.linear_model.prediction import LinearRows, dense
from daskml_kit.linear_model.regressor import check_warm_start
from daskml_kit.linear_model.sample import Sample, sample_for
from daskml_kit.linear_model.summary import Summarised
from daskml_kit.linear_model.unused import check_unused
from daskml_kit.losses import Binomial, Multinomial
from daskml_kit.penalties import L2, BoundedL1
from daskml_kit.runtime.ingest import DataFacts
from daskml_kit.solvers import Solution, solve
from daskml_kit.typing import Array, ArrayLike, FloatArray

Bounds = tuple[Any, Any] | None


class LogisticRegression(Summarised, ClassifierMixin, BlockEstimator):
    """Logistic regression by Newton, L-BFGS or accelerated gradient descent over blocks.

    Minimises ``C * sum_i s_i logloss(y_i, x_i.w + b) + r |w|_1 + (1 - r) / 2 |w|^2`` with ``r = l1_ratio``,
    scikit-learn's objective: the intercept is not penalised and nothing is standardised. More than two
    classes are fitted as one symmetric multinomial model.

    Parameters
    ----------
    penalty : {"l2", "l1", "elasticnet"} or None
        Deprecated, as in scikit-learn: say it by ``C`` and ``l1_ratio``. None is ``C=np.inf``; "l2" and "l1"
        are ``l1_ratio`` of 0 and 1, whatever that says.
    C : float, default=1.0
        Inverse of the penalty's strength; ``np.inf`` for no penalty.
    l1_ratio : float, default=0.0
        Share of L1 in the penalty: 0 is ridge, 1 lasso, between them the elastic net.
    tol : float, default=1e-4
        Converged when no component of the gradient of the averaged objective (divided by
        ``C * sum_i s_i``) exceeds it, as for scikit-learn's lbfgs. With L1 or bounds: of its smallest
        subgradient. With an intercept, dense columns count as centred, for solvers without Hessians.
    fit_intercept : bool, default=True
    class_weight : dict, "balanced" or None
        Multiplied into the row weights.
    solver : str, default="auto"
        One of "auto", "newton", "newton-cg", "lbfgs", "gd", "admm", "giant", "cocoa", "columns".
        "auto" takes "newton" for dense data of few coefficients, where its few dear rounds cost less than
        the many cheap ones of the others. With L1 or bounds "newton", "lbfgs" and "gd" are proximal (and
        "gd" is FISTA), and the others are refused. "newton-cg" takes several rounds an iteration, each with
        one product of the Hessian and a vector. "admm", "giant" and "cocoa" compute on pieces of the rows by
        themselves, for fewer messages: "admm" takes every penalty, "giant" none with L1 or bounds, "cocoa"
        two classes and a penalty with L2 (it also ends where its duality gap is at most ``tol**2``). Pieces
        are ranges of global rows that follow from the shape of the data, so chunks and workers change no
        answer.
        "columns" lets workers hold all rows of some columns: working sets with L1, Newton in the space of the
        rows without. "auto" takes it where X has more columns than rows and more than 5,000, and is a dask
        array of several chunks of columns, or is in memory and the penalty has L1 or columns are eight or
        more to a row (dense data). It takes no bounds, and needs a penalty.
        Of scikit-learn's names "newton-cholesky" stands for "newton", "sag" and "saga" for "auto": the
        minimum is the same. "liblinear" is refused: it penalises the intercept.
    max_iter : int, default=100
        Most accepted steps.
    verbose : int, default=0
        1 shows a progress line.
    warm_start : bool, default=False
        Start from the coefficients of the last fit.
    unroll : int, default=1
        Rounds submitted to the cluster as one graph. Up to ``unroll - 1`` rounds run for nothing at the end.
    coef_bounds : (lower, upper) or None
        Least and greatest coefficients: numbers, or arrays that broadcast against ``coef_``; -inf and inf
        for a side without a bound.
    intercept_bounds : (lower, upper) or None
        The same for ``intercept_``.
    dual, intercept_scaling, random_state, n_jobs
        As in scikit-learn, for their sake only. ``dual`` must be False, a formulation of liblinear's; nothing
        is drawn; rounds use all threads of the cluster's workers, or of this process.
    balance : {"adaptive", "even", "data"} or None (as configured); see :func:`~daskml_kit.config_context`

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    coef_ : ndarray of shape (1, n_features) or (n_classes, n_features), of the dtype of X
    intercept_ : ndarray of shape (1,) or (n_classes,)
    n_iter_ : ndarray of shape (1,)
    dual_gap_ : float
        How far the averaged objective is from its minimum, at most. Of fits by columns only.
    n_rounds_, n_passes_, history_ : see :class:`~daskml_kit.base.BlockEstimator`

    Notes
    -----
    One pass over the data an iteration, plus one to load them. Columns far from zero cost no iterations:
    solvers without Hessians see dense columns less their means, those of 256 rows (a round, no pass). Where
    rows are many to a coefficient, "newton" takes its first Hessians from a sample of them and begins at the
    sample's minimum. Those rounds count as no pass and no iteration; the sample, at most a quarter of the
    rows, is copied as rows are loaded, and kept till the fit ends.
    The driver holds O(n_features * n_classes) values, its square with "newton".

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> LogisticRegression().fit(X, y).score(X, y)
    0.9733333333333334
    """

    _local_solvers: tuple[str, ...] = (*LOCAL, "columns")

    def __init__(
        self,
        penalty: str | None = "deprecated",
        *,
        C: float = 1.0,
        l1_ratio: float | None = 0.0,
        dual: bool = False,
        tol: float = 1e-4,
        fit_intercept: bool = True,
        intercept_scaling: float = 1,
        class_weight: dict[Any, float] | Literal["balanced"] | None = None,
        random_state: Any = None,
        solver: str = "auto",
        max_iter: int = 100,
        verbose: int = 0,
        warm_start: bool = False,
        n_jobs: int | None = None,
        unroll: int = 1,
        coef_bounds: Bounds = None,
        intercept_bounds: Bounds = None,
        balance: str | None = None,
    ) -> None:
        self.penalty = penalty
        self.C = C
        self.l1_ratio = l1_ratio
        self.dual = dual
        self.tol = tol
        self.fit_intercept = fit_intercept
        self.intercept_scaling = intercept_scaling
        self.class_weight = class_weight
        self.random_state = random_state
        self.solver = solver
        self.max_iter = max_iter
        self.verbose = verbose
        self.warm_start = warm_start
        self.n_jobs = n_jobs
        self.unroll = unroll
        self.coef_bounds = coef_bounds
        self.intercept_bounds = intercept_bounds
        self.balance = balance

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike = None) -> Self:
        """Fit the model.

        Parameters
        ----------
        X : (n, n_features) NumPy, pandas, scipy.sparse, dask.array, dask.dataframe or xarray.DataArray
        y : (n,) labels of any type
        sample_weight : (n,) or None

        Returns
        -------
        self

        Raises
        ------
        InvalidDataError, InvalidDataTypeError, InvalidParameterError, ClusterError
            Before any training round.
        """
        self._check_parameters()
        self.__dict__.pop("dual_gap_", None)  # of an earlier fit by columns
        if logistic_goes_by_columns(self, X, *self._strength):
            facts, found = fit_by_columns(self, X, y, sample_weight)
            self._keep(facts, found)
            self.dual_gap_ = found.gap
            return self
        with self._opened(
            X,
            y,
            sample_weight,
            target="classes",
            class_weights=self._class_weights,
            edges=self._edges if self.solver in LOCAL else None,
            draws=self._draw,
        ) as (data, executor):
            facts = data.facts
            assert facts.classes is not None
            w0 = self._start(facts)
            several = len(facts.classes) > 2
            weight_sum = self._weight_sum(facts)
            C, ratio = self._strength
            strength = np.asarray(
                unpenalised_intercept(1.0 / (C * weight_sum), w0.shape, self.fit_intercept).strength
            )
            finish = Finish(weight_sum, L2((1.0 - ratio) * strength))
            loss = Multinomial(len(facts.classes)) if several else Binomial()
            free = self.fit_intercept and self.intercept_bounds is None and self.solver not in LOCAL
            columns = columns_of(data, executor, free_intercept=bool(free))
            w0 = columns.inward(w0)
            objective = LinearObjective(
                data, executor, loss, self.fit_intercept, finish, centre=columns.centre
            )
            l1 = ratio * strength
            if self.solver in LOCAL:
                kinks = self._kinks(w0.shape, l1)
                objective, solver = in_pieces(self.solver, objective, self._edges(facts), kinks)
            else:
                solver = columns.told(self._solver(facts, w0.shape, l1))
            solution = solve(
                objective,
                solver,
                w0,
                max_iter=self.max_iter,
                tol=self.tol,
                unroll=self.unroll,
                near=guessed(objective, solver, w0, self.max_iter),
            )
            self._keep(facts, columns.as_they_are(solver, solution))
        return self

    def _check_parameters(self) -> None:
        check_number("C (np.inf for no penalty)", self.C, least=0, above=True)
        check_number("tol", self.tol, least=0)
        check_number("max_iter", self.max_iter, least=0, whole=True)
        check_number("unroll", self.unroll, least=1, whole=True)
        check_flag("fit_intercept", self.fit_intercept)
        check_flag("dual", self.dual)
        check_unused(self)
        if self.dual:
            raise InvalidParameterError(
                "dual=True is a formulation of liblinear's, got solver="
                f"{self.solver!r}. Leave dual out: the coefficients are the same."
            )
        self._check_penalty()
        if self.intercept_bounds is not None and not self.fit_intercept:
            raise InvalidParameterError(
                f"intercept_bounds={self.intercept_bounds!r} needs an intercept: set fit_intercept=True."
            )
        check_solver(self.solver, self._local_solvers)

    def _check_penalty(self) -> None:
        if self.l1_ratio is not None:
            check_ratio(self.l1_ratio)
        if self.penalty == "deprecated":
            return
        if self.penalty not in (None, "l1", "l2", "elasticnet"):
            raise InvalidParameterError(
                f"penalty must be 'l2', 'l1', 'elasticnet' or None, got {self.penalty!r}. Leave it out, and "
                "use C and l1_ratio."
            )
        if self.penalty == "elasticnet" and self.l1_ratio is None:
            raise InvalidParameterError(
                "penalty='elasticnet' needs an l1_ratio between 0 and 1, got None."
            )
        warnings.warn(
            f"penalty={self.penalty!r} is deprecated, as in scikit-learn. Use l1_ratio=0 in place of 'l2', "
            "l1_ratio=1 in place of 'l1', l1_ratio alone for 'elasticnet', C=np.inf in place of None.",
            FutureWarning,
            stacklevel=4,
        )

    @property
    def _strength(self) -> tuple[float, float]:
        """C and l1_ratio, as ``penalty`` has them where it is given."""
        if self.penalty is None:
            return np.inf, 0.0
        named = {"l1": 1.0, "l2": 0.0}
        return self.C, named.get(self.penalty, self.l1_ratio or 0.0)

    @property
    def _solver_name(self) -> str:
        return FAMILIAR.get(self.solver, self.solver)

    def _unpenalised(self) -> tuple[Any, str]:
        problem = "" if np.isinf(self._strength[0]) else f"C={self.C!r}"
        return Binomial(), problem or ("bounds" if self._bounded else "")

    _summary_target = "classes"

    def _check_summary(self, facts: DataFacts) -> None:
        """Codes of other labels would be other numbers."""
        if not np.array_equal(np.asarray(facts.classes), self.classes_):
            raise InvalidDataError(
                "A summary is of the data that the model was fitted to: the model knows the labels "
                f"{self.classes_.tolist()}, y has {np.asarray(facts.classes).tolist()}. Pass the y of fit."
            )

    def _class_weights(self, facts: DataFacts) -> FloatArray | None:
        """The weight of each class; "balanced" sums the weights of rows."""
        return weights_of_classes(self.class_weight, facts, facts.class_weight_sums)

    def _weight_sum(self, facts: DataFacts) -> float:
        weights = self._class_weights(facts)
        if weights is None or facts.class_weight_sums is None:
            return facts.weight_sum
        return float(weights @ facts.class_weight_sums)

    def _shape(self, facts: DataFacts) -> tuple[int, ...]:
        """Of the coefficients, the intercept's column included."""
        assert facts.classes is not None
        width = facts.n_features + int(self.fit_intercept)
        n_classes = len(facts.classes)
        return (width,) if n_classes == 2 else (n_classes, width)

    def _start(self, facts: DataFacts) -> FloatArray:
        """Zeros, or the last fit's coefficients."""
        shape = self._shape(facts)
        if not self.warm_start or not hasattr(self, "coef_"):
            return np.zeros(shape)
        w = np.asarray(self._w(), dtype=np.float64)
        check_warm_start(w.shape, shape)
        return self._centred(w, self._strength[1])

    def _draw(self, facts: DataFacts) -> Sample | None:
        """The rows to begin with."""
        if self.solver in LOCAL or np.any(self._start(facts)):
            return None
        shape = self._shape(facts)
        return sample_for(self._solver(facts, shape, np.zeros(shape)), self.max_iter)

    @property
    def _bounded(self) -> bool:
        return self.coef_bounds is not None or self.intercept_bounds is not None

    def _edges(self, facts: DataFacts) -> list[int]:
        """Where the rows are cut for solvers that compute on pieces."""
        return edges_of(facts, int(np.prod(self._shape(facts))))

    def _kinks(self, shape: tuple[int, ...], l1: FloatArray) -> BoundedL1 | None:
        """What of the penalty has no gradient."""
        if self._bounded or np.any(l1 > 0):
            return BoundedL1(l1, *self._bounds(shape))
        return None

    def _solver(self, facts: DataFacts, shape: tuple[int, ...], l1: FloatArray) -> Any:
        """The solver, with what it has to know of the penalty."""
        kinks = self._kinks(shape, l1)
        name = self._solver_name
        if name == "auto":
            outputs = 1 if len(shape) == 1 else shape[0]
            small = newton_is_cheaper(facts, outputs, shape[-1], sketched=kinks is None)
            name = "newton" if small else "lbfgs"
        every = rows_a_sample(facts, int(np.prod(shape)))
        return solver_named(name, kinks, every, sketch_for(facts, shape[-1]))

    def _bounds(self, shape: tuple[int, ...]) -> tuple[FloatArray, FloatArray]:
        """Lower and upper bounds of all coefficients, the intercept's last."""
        rows = np.full((1, *shape)[-2:], -np.inf), np.full((1, *shape)[-2:], np.inf)
        width = shape[-1] - int(self.fit_intercept)
        for side, all_rows in enumerate(rows):
            for name, given, part in (
                ("coef_bounds", self.coef_bounds, all_rows[:, :width]),
                ("intercept_bounds", self.intercept_bounds, all_rows[:, -1]),
            ):
                if given is not None:
                    _fill(part, given, side, name)
        return rows[0].reshape(shape), rows[1].reshape(shape)

    def _keep(self, facts: DataFacts, solution: Solution | Fitted) -> None:
        w = np.atleast_2d(self._centred(solution.w, self._strength[1])).astype(facts.dtype)
        width = facts.n_features
        assert facts.classes is not None
        self.classes_ = facts.classes
        self.coef_: Any = np.ascontiguousarray(w[:, :width])
        self.intercept_ = w[:, width].copy() if self.fit_intercept else np.zeros(len(w), w.dtype)
        self.n_iter_ = np.array([solution.n_iter], dtype=np.int32)

    def _centred(self, w: FloatArray, l1_ratio: float) -> FloatArray:
        """Several outputs: fix what the likelihood leaves free, so that every solver answers the same.

        A constant added to all classes' intercepts, or to all their coefficients of a feature, changes no
        probability; and an L2 penalty is least where these sum to zero.
        """
        smooth = l1_ratio == 0 or bool(np.isinf(self._strength[0]))
        free = np.full(w.shape[-1], smooth and not self._bounded)
        if self.fit_intercept:
            free[-1] = self.intercept_bounds is None
        return w if w.ndim == 1 else w - np.where(free, w.mean(axis=0), 0.0)

    def _w(self) -> FloatArray:
        """Coefficients with the intercept as last column; one row for two classes is flat."""
        coef = dense(self.coef_)
        w = np.column_stack([coef, self.intercept_]) if self.fit_intercept else coef
        return w[0] if len(w) == 1 else w

    def decision_function(self, X: ArrayLike) -> Any:
        """Signed distance to the hyperplane (two classes) or scores of each class, in kind.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes

        Returns
        -------
        (n,) or (n, n_classes), lazy where X is
        """
        check_is_fitted(self)
        columns = None if len(self.classes_) == 2 else list(self.classes_)
        return self._map_rows(X, self._model(None), dtype=self.coef_.dtype, columns=columns)

    def predict(self, X: ArrayLike) -> Any:
        """The most probable label of each row, in kind.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes

        Returns
        -------
        (n,), lazy where X is
        """
        check_is_fitted(self)
        fn = self._model(partial(_labels, self.classes_))
        return self._map_rows(X, fn, dtype=self.classes_.dtype)

    def predict_proba(self, X: ArrayLike) -> Any:
        """The probability of each class, in kind.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes

        Returns
        -------
        (n, n_classes), columns in the order of ``classes_``
        """
        return self._columns(X, _probabilities)

    def predict_log_proba(self, X: ArrayLike) -> Any:
        """The logarithm of :meth:`predict_proba`, exact where probabilities underflow.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes

        Returns
        -------
        (n, n_classes), columns in the order of ``classes_``
        """
        return self._columns(X, _log_probabilities)

    def _columns(self, X: ArrayLike, fn: Any) -> Any:
        check_is_fitted(self)
        columns = list(self.classes_)
        return self._map_rows(X, self._model(fn), dtype=self.coef_.dtype, columns=columns)

    def _model(self, finish: Any) -> LinearRows:
        """``finish`` of the raw predictions at the fitted coefficients, picklable without the estimator."""
        coef = dense(self.coef_)
        if len(coef) == 1:
            return LinearRows(coef[0], self.intercept_[0], finish)
        return LinearRows(coef, self.intercept_, finish)

    def sparsify(self) -> Self:
        """Keep ``coef_`` as CSR, which is smaller where an L1 penalty has set most of it to zero.

        Predictions make it dense again where they are computed.

        Returns
        -------
        self
        """
        check_is_fitted(self)
        self.coef_ = sparse.csr_array(self.coef_)
        return self

    def densify(self) -> Self:
        """Keep ``coef_`` as a NumPy array, as after ``fit``.

        Returns
        -------
        self
        """
        check_is_fitted(self)
        self.coef_ = dense(self.coef_)
        return self


def _fill(part: FloatArray, bounds: Any, side: int, name: str) -> None:
    """Write one side of a pair of bounds into ``part``."""
    try:
        pair = [np.asarray(bound, dtype=np.float64) for bound in bounds]
        fits = (
            len(pair) == 2
            and not any(np.isnan(b).any() for b in pair)
            and bool(np.all(pair[0] <= pair[1]))
        )
        part[...] = pair[side]
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise InvalidParameterError(
            f"{name} must be None or a pair (lower, upper) of numbers or arrays that broadcast to "
            f"{part.shape}, with lower <= upper, got {bounds!r}."
        )


def _labels(classes: Array, scores: FloatArray) -> Array:
    codes = (scores > 0).astype(np.intp) if scores.ndim == 1 else scores.argmax(axis=1)
    out: Array = classes[codes]
    return out


def _two_columns(scores: FloatArray) -> FloatArray:
    return np.column_stack([np.zeros_like(scores), scores]) if scores.ndim == 1 else scores


def _probabilities(scores: FloatArray) -> FloatArray:
    out: FloatArray = softmax(_two_columns(scores), axis=1)
    return out


def _log_probabilities(scores: FloatArray) -> FloatArray:
    out: FloatArray = log_softmax(_two_columns(scores), axis=1)
    return out


__all__ = ["LogisticRegression"]
