"""LogisticRegressionCV: all folds in every round, warm starts along the path of penalties."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial
from numbers import Integral
from typing import Any, Literal, NamedTuple, Self, TypeAlias

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from daskml_kit.base import check_flag, check_number
from daskml_kit.exceptions import ConvergenceWarning, InvalidParameterError
from daskml_kit.kernels import LinearSums
from daskml_kit.linear_model.centring import columns_of
from daskml_kit.linear_model.fold_scores import Candidates, fold_scores
from daskml_kit.linear_model.logistic import LogisticRegression
from daskml_kit.linear_model.logistic_by_columns import logistic_goes_by_columns
from daskml_kit.linear_model.logistic_column_cv import search_by_columns
from daskml_kit.linear_model.objective import (
    Finish,
    LinearObjective,
    added,
    sums_asked,
    unpenalised_intercept,
)
from daskml_kit.linear_model.strata import (
    Cellar,
    Counts,
    Strata,
    before,
    counts_of,
    folding,
    joined,
    row_codes,
)
from daskml_kit.losses import Binomial, Multinomial
from daskml_kit.metrics.scorers import Scorer
from daskml_kit.metrics.scoring import score_of, scorer_of
from daskml_kit.penalties import L2
from daskml_kit.runtime.block import Block
from daskml_kit.runtime.dataset import BlockDataset
from daskml_kit.runtime.executor import Executor
from daskml_kit.runtime.ingest import DataFacts
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.solvers import Question, solve, status_of
from daskml_kit.solvers.protocol import asked
from daskml_kit.typing import ArrayLike, FloatArray, IntArray


class _Trial(NamedTuple):
    """What one fold's solver asks of its objective."""

    train: tuple[int, ...]
    question: Question


Sums: TypeAlias = dict[int, LinearSums] | None


def _train_chunk(
    loss: Any,
    fit_intercept: bool,
    order: int,
    centre: FloatArray | None,
    block: Block,
    params: Any,
) -> Sums:
    told, trials = params
    codes = row_codes(told, block)
    if codes is None:
        return None
    y = np.asarray(block.y)
    s = np.ones(block.n_rows) if block.weight is None else block.weight
    return {
        fold: sums_asked(
            loss, fit_intercept, order, trial.question,
            block, y, np.where(np.isin(codes, trial.train), s, 0.0), centre,
        )
        for fold, trial in trials.items()
    }  # fmt: skip


def _train_combine(a: Sums, b: Sums) -> Sums:
    if a is None or b is None:
        return None
    return {fold: added(a[fold], b[fold]) for fold in a}


class _Weighed(NamedTuple):
    weights: FloatArray  # of the rows of each cell
    after: np.random.RandomState | None  # the generator after rows were shuffled by it


def _weight_chunk(n_cells: int, block: Block, told: Any) -> _Weighed | None:
    codes = row_codes(told, block)
    if codes is None:
        return None
    deck = told.cells.deck if isinstance(told.cells, Strata) else None
    weights = np.bincount(codes, block.weight, minlength=n_cells).astype(float)
    return _Weighed(weights, None if deck is None else deck.after)


def _weight_combine(a: _Weighed | None, b: _Weighed | None) -> _Weighed | None:
    return None if a is None or b is None else _Weighed(a.weights + b.weights, a.after or b.after)


class LogisticRegressionCV(LogisticRegression):
    """Logistic regression with its penalty chosen by cross-validation; every round serves all folds.

    Along the increasing values of C each fold starts from its last solution, and all folds take their steps
    in the same rounds. One round at the end scores every fold and penalty.

    Parameters
    ----------
    Cs : int or array of floats, default=10
        That many values from 1e-4 to 1e4, evenly in the logarithm, or the values.
    l1_ratios : array of floats or None, default=(0.0,)
        Shares of L1 in the penalty to try; None is ``(0.0,)``.
    fit_intercept : bool, default=True
    cv : int, splitter, iterable of (train, test) row numbers, or None
        None means 5. An integer means ``StratifiedKFold`` without shuffling, made from class counts, as is
        any ``StratifiedKFold``; shuffled ones take a byte a row on each worker while rows are dealt. Other
        splitters must need neither y nor groups, see :class:`~daskml_kit.linear_model.ElasticNetCV`.
    scoring : str, scorer made by ``make_scorer`` of one of scikit-learn's functions, or None
        What the penalty is chosen by, and what ``score`` gives; None is "accuracy". All of scikit-learn's
        names but those that compare clusterings and "neg_max_error": of labels ("balanced_accuracy",
        "f1_macro", ...), of probabilities ("neg_log_loss", "neg_brier_score", "d2_log_loss_score", ...) and
        of the order of rows ("roc_auc", "roc_auc_ovr", "average_precision", ...), see
        :mod:`daskml_kit.metrics.scorers`. Of two labels the last is the positive one, but for
        "average_precision", and for ``score``, it is 1 where that is a label; so it is in scikit-learn. A
        function of your own needs the rows in one place, and is refused.
    dual, n_jobs, intercept_scaling, random_state
        As in scikit-learn, for their sake only; see :class:`~daskml_kit.linear_model.LogisticRegression`.
    penalty : {"l2", "l1", "elasticnet"}
        Deprecated, as in scikit-learn: "l2" and "l1" stand for ``l1_ratios`` of ``(0,)`` and ``(1,)``.
    solver : {"auto", "newton", "newton-cg", "lbfgs", "gd", "columns"}, default="auto"
        See :class:`~daskml_kit.linear_model.LogisticRegression`.
    tol : float, default=1e-4
    max_iter : int, default=100
    class_weight : dict, "balanced" or None
        Not counted in the scores, as in scikit-learn.
    verbose : int, default=0
    refit : bool, default=True
        Fit all rows with the best penalty; else average the best of each fold.
    use_legacy_attributes : bool, default=False
        Give attributes the shapes of scikit-learn's legacy ones: ``C_`` and ``l1_ratio_`` a number a class,
        ``scores_`` and ``coefs_paths_`` dicts by class, with the penalties before the mixing parameters.
    balance : {"adaptive", "even", "data"} or None (as configured); see :func:`~daskml_kit.config_context`

    Attributes
    ----------
    classes_, coef_, intercept_ : see :class:`~daskml_kit.linear_model.LogisticRegression`
    C_, l1_ratio_ : float
    Cs_ : ndarray of shape (n_cs,)
    l1_ratios_ : ndarray of shape (n_l1_ratios,)
    coefs_paths_ : ndarray of shape (n_folds, n_l1_ratios, n_cs, n_classes or 1, n_features + intercept)
    scores_, n_iter_ : ndarray of shape (n_folds, n_l1_ratios, n_cs)
        As scikit-learn's, but for ``use_legacy_attributes=True``.
    n_rounds_, n_passes_, history_ : see :class:`~daskml_kit.base.BlockEstimator`

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> model = LogisticRegressionCV(Cs=[0.1, 1.0, 10.0]).fit(X, y)
    >>> model.scores_.shape, model.coefs_paths_.shape
    ((5, 1, 3), (5, 1, 3, 3, 5))
    """

    C, l1_ratio, unroll, warm_start = 1.0, 0.0, 1, False
    coef_bounds = intercept_bounds = None

    _local_solvers: tuple[str, ...] = ("columns",)  # folds share their rounds; pieces hold no folds

    def __init__(
        self,
        *,
        Cs: int | Sequence[float] = 10,
        l1_ratios: Sequence[float] | None = (0.0,),
        fit_intercept: bool = True,
        cv: Any = None,
        dual: bool = False,
        penalty: str = "deprecated",
        scoring: str | None = None,
        solver: str = "auto",
        tol: float = 1e-4,
        max_iter: int = 100,
        class_weight: dict[Any, float] | Literal["balanced"] | None = None,
        n_jobs: int | None = None,
        verbose: int = 0,
        refit: bool = True,
        intercept_scaling: float = 1.0,
        random_state: Any = None,
        use_legacy_attributes: bool = False,
        balance: str | None = None,
    ) -> None:
        self.Cs = Cs
        self.l1_ratios = l1_ratios
        self.fit_intercept = fit_intercept
        self.cv = cv
        self.dual = dual
        self.penalty = penalty
        self.scoring = scoring
        self.solver = solver
        self.tol = tol
        self.max_iter = max_iter
        self.class_weight = class_weight
        self.n_jobs = n_jobs
        self.verbose = verbose
        self.refit = refit
        self.intercept_scaling = intercept_scaling
        self.random_state = random_state
        self.use_legacy_attributes = use_legacy_attributes
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
        """
        self._check_parameters()
        self.Cs_, self.l1_ratios_ = self._grid()
        hardest = float(self.Cs_.max()), float(self.l1_ratios_.min())
        if logistic_goes_by_columns(self, X, *hardest):
            search_by_columns(self, X, y, sample_weight)
            if self.use_legacy_attributes:
                self._keep_as_before()
            return self
        with self._opened(
            X, y, sample_weight, target="classes", class_weights=self._class_weights
        ) as (data, executor):
            facts = data.facts
            assert facts.classes is not None
            n_classes = len(facts.classes)
            loss = Multinomial(n_classes) if n_classes > 2 else Binomial()
            scorer = scorer_of(self.scoring)
            scorer.check(facts.classes, sample_weight is not None)
            self._check_scored(facts)
            folds = _Folds(self, data, executor, loss)
            paths, counts = self._paths(folds)
            self._choose(folds.scores(paths, self._class_weights(facts), scorer), paths)
            self.n_iter_: Any = counts
            if self.refit:
                self._fit_all(folds)
            self._keep_best(facts)
        if self.use_legacy_attributes:
            self._keep_as_before()
        return self

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike = None) -> float:
        """What ``scoring`` names, of the predictions for X: one pass, two or three for orders of rows.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes
        y : (n,) true labels
        sample_weight : (n,) or None

        Returns
        -------
        float
            The weighted accuracy, or as ``scoring`` has it; more is better.
        """
        check_is_fitted(self)
        return score_of(scorer_of(self.scoring), self, X, y, sample_weight)

    def _check_scored(self, facts: DataFacts) -> None:
        """Rows are scored by their own weights, which those of classes are divided out of."""
        given = self.class_weight
        if isinstance(given, dict) and not np.all(self._class_weights(facts)):
            raise InvalidParameterError(
                f"class_weight={given!r} leaves rows without weight, so that they can't be scored. Drop "
                "these rows, or give their class a weight above 0."
            )

    def _check_penalty(self) -> None:
        if self.penalty is None:
            raise InvalidParameterError("penalty must be 'l2', 'l1' or 'elasticnet', got None.")
        super()._check_penalty()

    def _grid(self) -> tuple[FloatArray, FloatArray]:
        scorer_of(self.scoring)
        check_flag("refit", self.refit)
        check_flag("use_legacy_attributes", self.use_legacy_attributes)
        named = {"l1": (1.0,), "l2": (0.0,)}.get(str(self.penalty))
        given = (0.0,) if self.l1_ratios is None else self.l1_ratios
        ratios = np.asarray(named or given, dtype=np.float64).ravel()
        if len(ratios) == 0 or not np.all((ratios >= 0) & (ratios <= 1)):
            raise InvalidParameterError(
                f"l1_ratios must be numbers between 0 and 1, got {self.l1_ratios!r}."
            )
        if isinstance(self.Cs, Integral):
            check_number("Cs", self.Cs, least=1, whole=True)
            return np.logspace(-4, 4, int(self.Cs)), ratios
        values = np.asarray(self.Cs, dtype=np.float64).ravel()
        if len(values) == 0 or not np.all(values > 0):
            raise InvalidParameterError(f"Cs must be numbers above 0, got {self.Cs!r}.")
        return values, ratios

    def _paths(self, folds: _Folds) -> tuple[FloatArray, IntArray]:
        """Coefficients (n_folds, n_l1_ratios, n_cs, *shape), and steps."""
        shape = (len(folds.splits), len(self.l1_ratios_), len(self.Cs_))
        paths, counts = np.zeros((*shape, *folds.shape)), np.zeros(shape, dtype=np.int32)
        for r, ratio in enumerate(self.l1_ratios_):
            w = np.zeros((len(folds.splits), *folds.shape))
            for c, C in enumerate(self.Cs_):
                w, counts[:, r, c] = folds.solved(w, float(C), float(ratio))
                paths[:, r, c] = [self._centred(each, float(ratio)) for each in w]
        if folds.stopped:
            warnings.warn(
                f"{folds.stopped} of {counts.size} fits stopped after max_iter={self.max_iter} steps, or "
                "where no step lowers the objective. Increase max_iter, scale the features, or raise tol.",
                ConvergenceWarning,
                stacklevel=3,
            )
        return paths, counts

    def _choose(self, scores: FloatArray, paths: FloatArray) -> None:
        n_folds, n_ratios, n_cs = scores.shape
        self.scores_: Any = scores
        self.coefs_paths_: Any = paths.reshape(n_folds, n_ratios, n_cs, -1, paths.shape[-1])
        if self.refit:
            c, r = np.unravel_index(np.argmax(scores.sum(axis=0).T), (n_cs, n_ratios))
            at: list[tuple[Any, Any]] = [(c, r)] * n_folds
        else:
            flat = scores.transpose(0, 2, 1).reshape(n_folds, -1).argmax(axis=1)
            at = list(zip(*np.unravel_index(flat, (n_cs, n_ratios)), strict=True))
        self.C_: Any = float(np.mean([self.Cs_[c] for c, _ in at]))
        self.l1_ratio_: Any = float(np.mean([self.l1_ratios_[r] for _, r in at]))
        self._best = np.mean([paths[f, r, c] for f, (c, r) in enumerate(at)], axis=0)

    def _keep_as_before(self) -> None:
        """The shapes of scikit-learn's legacy attributes."""
        names = self.classes_[-len(self.coef_) :]
        scores = np.swapaxes(self.scores_, 1, 2)
        paths = np.moveaxis(np.swapaxes(self.coefs_paths_, 1, 2), 3, 0)
        counts = np.swapaxes(self.n_iter_, 1, 2)[None]
        if self.l1_ratios is None:
            scores, paths, counts = scores[..., 0], paths[:, :, :, 0], counts[..., 0]
        self.scores_ = {name: scores.copy() for name in names}
        self.coefs_paths_ = dict(zip(names, paths, strict=True))
        self.n_iter_ = counts
        self.C_ = np.full(len(names), self.C_)
        self.l1_ratio_ = np.full(len(names), self.l1_ratio_)

    def _fit_all(self, folds: _Folds) -> None:
        finish, l1 = folds.finish(folds.weights.sum(), self.C_, self.l1_ratio_)
        data, executor = folds.data, folds.executor
        solver = folds.solver(l1)
        solution = solve(
            LinearObjective(
                data, executor, folds.loss, self.fit_intercept, finish, centre=folds.columns.centre
            ),
            solver,
            folds.columns.inward(self._best),
            max_iter=self.max_iter,
            tol=self.tol,
        )
        self._best = folds.columns.as_they_are(solver, solution).w

    def _keep_best(self, facts: DataFacts) -> None:
        w = np.atleast_2d(self._centred(self._best, self.l1_ratio_)).astype(facts.dtype)
        assert facts.classes is not None
        self.classes_ = facts.classes
        self.coef_ = np.ascontiguousarray(w[:, : facts.n_features])
        self.intercept_ = w[:, -1].copy() if self.fit_intercept else np.zeros(len(w), w.dtype)
        del self._best


class _Folds:
    """The folds of one fit and their rounds."""

    def __init__(
        self, model: LogisticRegressionCV, data: BlockDataset, executor: Executor, loss: Any
    ) -> None:
        self.model, self.data, self.executor, self.loss = model, data, executor, loss
        facts = data.facts
        width = facts.n_features + int(model.fit_intercept)
        self.shape = (width,) if isinstance(loss, Binomial) else (loss.n_classes, width)
        self.stopped = 0
        self.columns = columns_of(data, executor, free_intercept=bool(model.fit_intercept))
        found = folding(model.cv, facts, self._counted)
        self.splits = found.splits
        self.cellar = Cellar(found.cells, lambda: before(self._counted()))
        chunk = partial(_weight_chunk, found.n_cells)
        weigh: Reduction[Any, Any, Any] = Reduction("cell-weights", chunk, _weight_combine)
        weighed = self.cellar.asked(lambda told: executor.reduce(data, weigh, told))
        self.weights = weighed.weights
        if weighed.after is not None:  # as if the rows had been shuffled here
            check_random_state(model.cv.random_state).set_state(weighed.after.get_state())

    def _counted(self) -> Counts:
        n_classes = len(np.asarray(self.data.facts.classes))
        counts: Reduction[Any, Counts, Counts] = Reduction(
            "class-counts", partial(counts_of, n_classes), joined
        )
        return self.executor.reduce(self.data, counts, None)

    def finish(self, weight_sum: float, C: float, ratio: float) -> tuple[Finish, FloatArray]:
        """The smooth objective's last step, and the L1 strengths."""
        strength = np.asarray(
            unpenalised_intercept(
                1.0 / (C * weight_sum), self.shape, self.model.fit_intercept
            ).strength
        )
        return Finish(float(weight_sum), L2((1.0 - ratio) * strength)), ratio * strength

    def solver(self, l1: FloatArray) -> Any:
        """The solver for these L1 strengths, told of centred columns."""
        return self.columns.told(self.model._solver(self.data.facts, self.shape, l1))

    def solved(self, w: FloatArray, C: float, ratio: float) -> tuple[FloatArray, IntArray]:
        """Solutions of all folds from ``w``, and their steps; each round serves those not done."""
        model = self.model
        ends = [self.finish(self.weights[list(s.train)].sum(), C, ratio) for s in self.splits]
        solvers = [self.solver(l1) for _, l1 in ends]
        states = [s.init(self.columns.inward(start)) for s, start in zip(solvers, w, strict=True)]
        order = solvers[0].order
        name = f"folds-{'hessian' if order == 2 else 'gradient'}"
        centre = self.columns.centre
        chunk = partial(_train_chunk, self.loss, model.fit_intercept, order, centre)
        train: Reduction[Any, Any, Any] = Reduction(name, chunk, _train_combine)
        active = list(range(len(states)))
        while active:
            asks = {f: asked(solvers[f], states[f]) for f in active}
            trials = {f: _Trial(self.splits[f].train, ask) for f, ask in asks.items()}
            sums = self._reduced(train, trials)
            for f, ask in asks.items():
                states[f] = solvers[f].update(states[f], ends[f][0].answer(ask, sums[f]))
            found = {f: status_of(states[f], model.max_iter, model.tol) for f in active}
            self.stopped += sum(status in ("max_iter", "stalled") for status in found.values())
            active = [f for f, status in found.items() if status is None]
        ws = [self.columns.reached(*pair) for pair in zip(solvers, states, strict=True)]
        return np.array(ws), np.array([s.n_iter for s in states])

    def _reduced(self, train: Reduction[Any, Any, Any], trials: dict[int, _Trial]) -> Any:
        return self.cellar.asked(
            lambda told: self.executor.reduce(self.data, train, (told, trials))
        )

    def scores(
        self, paths: FloatArray, class_weights: FloatArray | None, scorer: Scorer
    ) -> FloatArray:
        """(n_folds, n_l1_ratios, n_cs)."""
        classes = np.asarray(self.data.facts.classes)
        models = paths.reshape(len(paths), -1, *self.shape)
        free = bool(self.model.fit_intercept)
        candidates = Candidates(models, self.splits, free, class_weights)
        found = fold_scores(scorer, classes, self.cellar, self.data, self.executor, candidates)
        return found.reshape(paths.shape[:3])


__all__ = ["LogisticRegressionCV"]
