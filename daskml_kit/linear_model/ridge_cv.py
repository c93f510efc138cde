"""RidgeCV: from the Gram matrix of the features, or of the rows where these are fewer; or by iterations."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple, Self

import numpy as np
from sklearn.exceptions import UndefinedMetricWarning

from daskml_kit.base import check_flag, users_level
from daskml_kit.exceptions import InvalidParameterError
from daskml_kit.kernels import Moments
from daskml_kit.linear_model import least_squares
from daskml_kit.linear_model.few_rows import (
    MOST_GRAM_ROWS,
    FewRows,
    few_rows_of,
    rows_of,
    solution,
)
from daskml_kit.linear_model.folds import (
    FOLD_MOMENTS,
    fold_moments,
    pooled,
    refuse_many_moments,
    refuse_weightless,
    row_splits,
    squared_errors,
)
from daskml_kit.linear_model.least_squares import (
    MOMENTS,
    about_origin,
    penalised_solution,
    way_of,
)
from daskml_kit.linear_model.normal_equations import NormalEquations, spectrum
from daskml_kit.linear_model.regressor import LinearRegressor
from daskml_kit.linear_model.unused import check_unused
from daskml_kit.linear_model.wide_ridge_cv import ridge_of_folds
from daskml_kit.runtime.block import Block
from daskml_kit.runtime.columns import ColumnDataset, open_columns
from daskml_kit.runtime.dataset import BlockDataset
from daskml_kit.runtime.executor import Executor
from daskml_kit.runtime.ingest import DataFacts
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.runtime.sources import is_dask, unwrap
from daskml_kit.typing import ArrayLike, FloatArray

TILE_VALUES = 1 << 18
"""Numbers of a tile of rotated rows (2 MB)."""


class LeaveOneOut(NamedTuple):
    """What leave-one-out residuals need of the whole data, in the Gram matrix's eigenvectors.

    With ``G = V diag(e) V'``, ``z = V'(x - mean_x)`` and one strength ``alpha``::

        h_i = s_i (1/W + sum_k z_ik^2 / (e_k + alpha)),    residual without row i = r_i / (1 - h_i)
    """

    vectors: FloatArray  # (d, d)
    centre: FloatArray  # (d,) V' mean_x
    mean_y: FloatArray  # (t,)
    inverse: FloatArray  # (n_alphas, d) 1 / (e + alpha)
    rotated: FloatArray  # (n_alphas, d, t) V' w
    share: float  # 1/W, 0 without intercept


def leave_one_out(total: Moments, alphas: FloatArray, fit_intercept: bool) -> LeaveOneOut:
    """From moments about the means, or about the origin without intercept."""
    own = spectrum(total.xx)
    vectors, inverse = own.vectors, np.array([own.inverse(a) for a in alphas])
    rotated = inverse[:, :, None] * (vectors.T @ total.xy)
    share = 1.0 / total.weight_sum if fit_intercept else 0.0
    return LeaveOneOut(
        vectors, vectors.T @ total.mean_x, total.mean_y, inverse, rotated, share
    )  # fmt: skip


def _residuals(block: Block, params: LeaveOneOut) -> Iterator[tuple[slice, int, FloatArray]]:
    """Leave-one-out residuals (rows, n_targets) of some rows and a penalty at a time."""
    y = np.asarray(block.y).reshape(block.n_rows, -1)
    step = max(1, TILE_VALUES // max(len(params.centre), 1))
    for start in range(0, block.n_rows, step):
        rows = slice(start, start + step)
        weight = None if block.weight is None else block.weight[rows]
        z = np.asarray(block.X[rows] @ params.vectors) - params.centre
        leverage = params.share + (z * z) @ params.inverse.T
        if weight is not None:
            leverage *= weight[:, None]
        for a, coefs in enumerate(params.rotated):
            rest = y[rows] - params.mean_y - z @ coefs
            alone = np.full_like(rest, np.nan)  # no other row is left to learn from
            left = (1.0 - leverage[:, a])[:, None]
            yield rows, a, np.divide(rest, left, out=alone, where=left != 0)


def _left_out_chunk(block: Block, params: LeaveOneOut) -> FloatArray:
    """Weighted sums of squared leave-one-out residuals, (n_alphas, n_targets)."""
    out = np.zeros(params.rotated.shape[::2])
    for rows, a, error in _residuals(block, params):
        out[a] += (error**2).sum(axis=0) if block.weight is None else block.weight[rows] @ error**2
    return out


def _each_left_out_chunk(
    squares: bool, block: Block, params: LeaveOneOut
) -> dict[int, tuple[FloatArray, FloatArray]]:
    """By the first row of each block: those sums, and of each row its weighted squares or its predictions."""
    n_alphas, _, n_targets = params.rotated.shape
    sums, each = np.zeros((n_alphas, n_targets)), np.empty((block.n_rows, n_targets, n_alphas))
    y = np.asarray(block.y).reshape(block.n_rows, -1)
    for rows, a, error in _residuals(block, params):
        weight = 1.0 if block.weight is None else block.weight[rows, None]
        sums[a] += (weight * error**2).sum(axis=0)
        each[rows, :, a] = weight * error**2 if squares else y[rows] - error
    return {block.start: (sums, each)}


def _add(a: FloatArray, b: FloatArray) -> FloatArray:
    return a + b


def _join(a: dict[int, Any], b: dict[int, Any]) -> dict[int, Any]:
    return {**a, **b}


LEFT_OUT: Reduction[Any, FloatArray, FloatArray] = Reduction("leave-one-out", _left_out_chunk, _add)


class Errors(NamedTuple):
    """Squared errors on a validation set, by penalty and target, and what scales them."""

    squares: FloatArray  # (n_alphas, n_targets), sums
    weight_sum: float
    spread: FloatArray  # (n_targets,) of y about its mean, sums


def spread_of(rows: FewRows) -> FloatArray:
    """Squares of y about its mean, sums, (n_targets,)."""
    mean = rows.weight @ rows.y / rows.weight.sum()
    return np.asarray(rows.weight @ (rows.y - mean) ** 2)


def _r2(errors: Errors) -> FloatArray:
    spread = np.broadcast_to(errors.spread, errors.squares.shape)
    constant = np.where(errors.squares == 0, 1.0, 0.0)
    return np.asarray(1.0 - np.divide(errors.squares, spread, out=1.0 - constant, where=spread > 0))


def _mean_square(errors: Errors) -> FloatArray:
    return errors.squares / errors.weight_sum


SCORES: dict[str, Callable[[Errors], FloatArray]] = {
    "r2": _r2,
    "neg_mean_squared_error": lambda errors: -_mean_square(errors),
    "neg_root_mean_squared_error": lambda errors: -np.sqrt(_mean_square(errors)),
}
"""Scores that squared errors give, (n_alphas, n_targets) each; several targets are averaged."""


class RidgeCV(LinearRegressor):
    """Ridge regression with the penalty chosen by cross-validation.

    Parameters
    ----------
    alphas : array of floats, default=(0.1, 1.0, 10.0)
        Above 0 for leave-one-out, at least 0 for folds.
    fit_intercept : bool, default=True
    scoring : {"r2", "neg_mean_squared_error", "neg_root_mean_squared_error"} or None
        None means the negative mean squared error of leave-one-out, R2 of folds.
    cv : None, int, splitter or iterable of (train, test) row numbers
        None means exact leave-one-out. For the others see
        :class:`~daskml_kit.linear_model.ElasticNetCV`.
    gcv_mode : {"auto", "svd", "eigen"} or None
        As in scikit-learn, for its sake only: the shape of X decides, see below.
    store_cv_results : bool, default=False
        Keep ``cv_results_``, for leave-one-out of data in this process.
    alpha_per_target : bool, default=False
        One penalty a target; for leave-one-out.
    verbose : int, default=0
    balance : {"adaptive", "even", "data"} or None (as configured); see :func:`~daskml_kit.config_context`

    Attributes
    ----------
    alpha_ : float, or ndarray of shape (n_targets,) with ``alpha_per_target``
    best_score_ : float, or ndarray of shape (n_targets,)
    cv_results_ : ndarray of shape (n, n_alphas) or (n, n_targets, n_alphas)
        With ``store_cv_results=True`` only: of each row left out, its squared error times its weight, or with
        ``scoring`` its prediction.
    coef_ : ndarray of shape (n_features,) or (n_targets, n_features), of the dtype of X
    intercept_ : float or ndarray of shape (n_targets,)
    n_iter_ : int or None
        Steps of conjugate gradients, None where nothing iterates, as for :class:`Ridge` from moments.
    n_rounds_, n_passes_, history_ : see :class:`~daskml_kit.base.BlockEstimator`

    Notes
    -----
    Beside the pass that loads: folds take one pass, leave-one-out two, because the leverage of a row needs
    the Gram matrix of all. It is exact, with weights and intercept, whatever the number of penalties.
    With no more rows than features, and at most 5,000, the Gram matrix of the rows takes the place of that
    of the features, from data brought together by columns: two passes for either, any number of features
    (above 2,896 rows, where the matrix comes in panels of 64 MB, up to four).
    Other data of more than 5,000 features, dense or sparse, take folds by conjugate gradients: three passes,
    and one a step, with a product for each fold that is not done, whatever the number of penalties. There are
    as many steps as the smallest penalty takes, to predictions within 1e-8 deviations of y, and fewer for
    features of one scale. The driver holds ``2 (n_folds + 1) n_alphas n_targets`` vectors of n_features.
    Leave-one-out is refused there.

    References
    ----------
    Rifkin, Lippert (2007). Notes on regularized least squares. MIT-CSAIL-TR-2007-025, section 4.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = RidgeCV(alphas=[1e-3, 1e-2, 1e-1, 1]).fit(X, y)
    >>> model.alpha_, round(model.score(X, y), 4), model.n_passes_
    (0.01, 0.5166, 3)
    """

    _flat_column = True

    def __init__(
        self,
        alphas: Any = (0.1, 1.0, 10.0),
        *,
        fit_intercept: bool = True,
        scoring: str | None = None,
        cv: Any = None,
        gcv_mode: str | None = None,
        store_cv_results: bool = False,
        alpha_per_target: bool = False,
        verbose: int = 0,
        balance: str | None = None,
    ) -> None:
        self.alphas = alphas
        self.fit_intercept = fit_intercept
        self.scoring = scoring
        self.cv = cv
        self.gcv_mode = gcv_mode
        self.store_cv_results = store_cv_results
        self.alpha_per_target = alpha_per_target
        self.verbose = verbose
        self.balance = balance

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike = None) -> Self:
        """Fit the model.

        Parameters
        ----------
        X : (n, n_features) NumPy, pandas, scipy.sparse, dask.array, dask.dataframe or xarray.DataArray
        y : (n,) or (n, n_targets)
        sample_weight : (n,) or None

        Returns
        -------
        self
        """
        alphas = self._checked()
        self._refuse_rows_elsewhere(X)
        self.__dict__.pop("cv_results_", None)  # of the last fit
        self.n_iter_: int | None = None
        how: dict[str, Any] = {"target": "values", "multi_output": True}
        way = way_of(X, many_fits=True)
        if way == "rows":
            with self._opened(X, y, sample_weight, opener=open_columns, **how) as (data, executor):
                self._fit_few_rows(data, executor, alphas)
        else:
            with self._opened(X, y, sample_weight, **how) as (data, executor):
                fit = self._fit_many_rows if way == "features" else self._fit_wide
                fit(data, executor, alphas)
        return self

    def _fit_few_rows(self, data: ColumnDataset, executor: Executor, alphas: FloatArray) -> None:
        assert data.row_facts is not None
        facts, rows = data.row_facts, few_rows_of(data, executor, self.fit_intercept)
        chosen = self._left_out_few if self.cv is None else self._folds_few
        strengths = self._choose(facts, alphas, chosen(rows, facts, alphas))
        self._keep(facts, *solution(data, executor, rows, strengths))

    def _fit_many_rows(self, data: BlockDataset, executor: Executor, alphas: FloatArray) -> None:
        facts = data.facts
        chosen = self._left_out if self.cv is None else self._folds
        total, scores = chosen(data, executor, alphas)
        strengths = self._choose(facts, alphas, scores)
        w = penalised_solution(data, executor, total, NormalEquations(total.xx, strengths))
        self._keep(facts, w.T, total.mean_y - total.mean_x @ w)

    def _fit_wide(self, data: BlockDataset, executor: Executor, alphas: FloatArray) -> None:
        """Too many features for their Gram matrix: folds and the fit on all rows in shared rounds."""
        facts = data.facts
        if self.cv is None:
            raise InvalidParameterError(
                f"cv=None, exact leave-one-out, needs at most {least_squares.GRAM_FEATURES:,} features or, "
                f"where X tells their number, {MOST_GRAM_ROWS:,} rows and no more than features; got "
                f"{facts.n_rows:,} x {facts.n_features:,}. Pass folds, as cv=5, which iterate."
            )
        found = ridge_of_folds(
            data, executor, row_splits(self.cv, facts), alphas, bool(self.fit_intercept)
        )
        scores = [
            self._scored(self.scoring or "r2", Errors(squares, float(weight), spread))
            for squares, weight, spread in zip(
                found.squares, found.weight, found.spread, strict=True
            )
        ]
        strengths = self._choose(facts, alphas, np.asarray(np.mean(scores, axis=0)))
        best = int(np.flatnonzero(alphas == strengths[0])[0])
        self.n_iter_ = found.n_iter
        self._keep(facts, found.coefs[best], found.intercepts[best])

    def _choose(self, facts: DataFacts, alphas: FloatArray, scores: FloatArray) -> FloatArray:
        """The best penalty, one a target; it is kept, and its score."""
        best = np.argmax(scores, axis=0)
        strengths = np.broadcast_to(alphas[best], (max(facts.n_outputs, 1),)).astype(np.float64)
        several, columns = facts.n_outputs > 1, facts.n_outputs > 0
        self.alpha_: Any = strengths if self.alpha_per_target and several else float(strengths[0])
        found = scores[best, np.arange(scores.shape[1])]
        self.best_score_: Any = found if self.alpha_per_target and columns else float(found[0])
        return strengths

    def _checked(self) -> FloatArray:
        """The penalties; the other parameters are checked too."""
        check_flag("fit_intercept", self.fit_intercept)
        check_flag("alpha_per_target", self.alpha_per_target)
        check_flag("store_cv_results", self.store_cv_results)
        check_unused(self)
        alphas = np.atleast_1d(np.asarray(self.alphas))
        usable = alphas.ndim == 1 and alphas.dtype.kind in "fiu" and len(alphas) > 0
        if not usable or not np.all(alphas >= 0) or (self.cv is None and not np.all(alphas > 0)):
            raise InvalidParameterError(
                f"alphas must be numbers {'> 0 for leave-one-out' if self.cv is None else '>= 0'}, "
                f"got {self.alphas!r}."
            )
        if self.scoring is not None and self.scoring not in SCORES:
            raise InvalidParameterError(
                f"scoring must be None or one of {sorted(SCORES)}, which follow from moments, got "
                f"{self.scoring!r}. Use GridSearchCV with Ridge for another score."
            )
        if self.alpha_per_target and self.cv is not None:
            raise InvalidParameterError(
                "cv!=None and alpha_per_target=True are incompatible: only leave-one-out chooses by target."
            )
        if self.store_cv_results and self.cv is not None:
            raise InvalidParameterError(
                "cv!=None and store_cv_results=True are incompatible: errors of rows are those of "
                "leave-one-out. Set cv=None or store_cv_results=False."
            )
        return alphas.astype(np.float64)

    def _refuse_rows_elsewhere(self, X: ArrayLike) -> None:
        if self.store_cv_results and is_dask(unwrap(X)):
            raise InvalidParameterError(
                "store_cv_results=True keeps numbers of every row in the model, for data in this process "
                f"only, got {type(unwrap(X)).__name__}. Set it to False, or pass X.compute()."
            )

    def _scored(self, name: str, errors: Errors) -> FloatArray:
        """(n_alphas, n_targets), or (n_alphas, 1) where the targets share one penalty."""
        scores = SCORES[name](errors)
        return scores if self.alpha_per_target else scores.mean(axis=1, keepdims=True)

    def _left_out(
        self, data: BlockDataset, executor: Executor, alphas: FloatArray
    ) -> tuple[Moments, FloatArray]:
        total = about = executor.reduce(data, MOMENTS, None)
        if not self.fit_intercept:
            about = about_origin(total)
        params = leave_one_out(about, alphas, self.fit_intercept)
        if self.store_cv_results:
            squares = self._kept_each(data, executor, params)
        else:
            squares = executor.reduce(data, LEFT_OUT, params)
        return about, self._scored_left_out(squares, data.facts, total.weight_sum, total.yy)

    def _left_out_few(self, rows: FewRows, facts: DataFacts, alphas: FloatArray) -> FloatArray:
        errors = np.stack([rows.left_out(a) for a in alphas.tolist()], axis=2)
        squares = rows.weight[:, None, None] * errors**2
        if self.store_cv_results:
            each = squares if self.scoring is None else rows.y[:, :, None] - errors
            self._keep_each(each, facts)
        return self._scored_left_out(
            squares.sum(axis=0).T, facts, rows.weight.sum(), spread_of(rows)
        )

    def _folds_few(self, rows: FewRows, facts: DataFacts, alphas: FloatArray) -> FloatArray:
        splits, scores = row_splits(self.cv, facts), []
        for i, split in enumerate(splits.splits):
            train, test = rows_of(splits.cells, split, facts.n_rows)
            own, rest = rows.of(train), rows.of(test)
            refuse_weightless(i, own.weight.sum(), rest.weight.sum())
            products = rows.gram[np.ix_(test, train)]
            each = [
                rest.weight @ (rest.y - own.guess(products, np.full(rows.y.shape[1], a))) ** 2
                for a in alphas
            ]
            errors = Errors(np.array(each), rest.weight.sum(), spread_of(rest))
            scores.append(self._scored(self.scoring or "r2", errors))
        return np.asarray(np.mean(scores, axis=0))

    def _scored_left_out(
        self, squares: FloatArray, facts: DataFacts, weight_sum: float, spread: FloatArray
    ) -> FloatArray:
        """Without scoring the mean is over rows, whatever they weigh."""
        alone = facts.heaviest >= facts.weight_sum
        if alone and (self.fit_intercept or self.scoring == "r2"):
            warnings.warn(
                "Leave-one-out is not defined for a single row of positive weight: best_score_ is nan, and "
                "the first of alphas is taken. Pass more rows, or use Ridge.",
                UndefinedMetricWarning,
                stacklevel=users_level(),
            )
            n_scores = squares.shape[1] if self.alpha_per_target else 1
            return np.full((len(squares), n_scores), np.nan)
        total = facts.n_rows if self.scoring is None else weight_sum
        errors = Errors(squares, total, spread)
        return self._scored(self.scoring or "neg_mean_squared_error", errors)

    def _keep_each(self, rows: FloatArray, facts: DataFacts) -> None:
        flat = facts.n_outputs == 0
        self.cv_results_ = np.asarray(rows[:, 0] if flat else rows, dtype=facts.dtype)

    def _kept_each(self, data: BlockDataset, executor: Executor, params: LeaveOneOut) -> FloatArray:
        """Sums of squared residuals; the numbers of the rows are kept."""
        chunk = partial(_each_left_out_chunk, self.scoring is None)
        each_left_out: Reduction[Any, Any, Any] = Reduction("leave-one-out-rows", chunk, _join)
        found = executor.reduce(data, each_left_out, params)
        rows = np.concatenate([found[start][1] for start in sorted(found)])
        self._keep_each(rows, data.facts)
        return np.asarray(sum(sums for sums, _ in found.values()))

    def _folds(
        self, data: BlockDataset, executor: Executor, alphas: FloatArray
    ) -> tuple[Moments, FloatArray]:
        splits = row_splits(self.cv, data.facts)
        refuse_many_moments(self.cv, splits, data.facts)
        parts = executor.reduce(data, FOLD_MOMENTS, splits.cells)
        sets = fold_moments(parts, splits.splits)
        scores = []
        for train, test in sets:
            about = train if self.fit_intercept else about_origin(train)
            coefs = _ridge_path(about, alphas)
            intercepts = about.mean_y - np.einsum("adt,d->at", coefs, about.mean_x)
            each = [
                squared_errors(test, coefs[:, :, t], intercepts[:, t], t)
                for t in range(coefs.shape[2])
            ]
            squares = np.column_stack(each) * test.weight_sum
            errors = Errors(squares, test.weight_sum, test.yy)
            scores.append(self._scored(self.scoring or "r2", errors))
        total = pooled(parts, parts)
        return (total if self.fit_intercept else about_origin(total)), np.mean(scores, axis=0)


def _ridge_path(about: Moments, alphas: FloatArray) -> FloatArray:
    """Solutions (n_alphas, n_features, n_targets) from one eigendecomposition."""
    own = spectrum(about.xx)
    pulls = own.vectors.T @ about.xy
    return np.array([own.vectors @ (own.inverse(a)[:, None] * pulls) for a in alphas])


__all__ = ["RidgeCV"]
