"""Gaussian mixtures over blocks."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Sequence
from copy import copy
from functools import partial
from typing import Any, NamedTuple, Self, get_args

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, DensityMixin, TransformerMixin
from sklearn.utils import Tags, check_array, check_random_state
from sklearn.utils.validation import check_is_fitted

from daskml_kit.base import BlockEstimator, check_flag, check_number
from daskml_kit.cluster.centroids import lazy_stays_lazy
from daskml_kit.cluster.expectation import (
    Mixture,
    Rule,
    em,
    factors_from_precisions,
    hard,
    maximised,
    soft,
)
from daskml_kit.cluster.ground import Ground, prepared, survey
from daskml_kit.cluster.grouping import groups_for
from daskml_kit.cluster.lloyd import Rule as LloydRule, Run, lloyd
from daskml_kit.cluster.refining import sample_size
from daskml_kit.cluster.side_by_side import side_by_side
from daskml_kit.cluster.started import check_tol, check_verbose
from daskml_kit.cluster.starts import Parallel, Random, Sampled, Start
from daskml_kit.exceptions import ConvergenceWarning, InvalidDataError, InvalidParameterError
from daskml_kit.kernels.mixture import (
    Components,
    CovarianceType,
    MixtureSums,
    log_sums,
    squared_distances,
    weighted_log_densities,
)
from daskml_kit.runtime.block import Block
from daskml_kit.runtime.dataset import BlockDataset
from daskml_kit.runtime.executor import Executor
from daskml_kit.runtime.ingest import DataFacts
from daskml_kit.runtime.random import seed_from
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.typing import Array, ArrayLike, FloatArray, Matrix

COVARIANCES = get_args(CovarianceType)
STARTS = ("kmeans", "k-means++", "random", "random_from_data")
KMEANS_ITERATIONS, KMEANS_TOL = 300, 1e-4


@lazy_stays_lazy
class GaussianMixture(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, DensityMixin, BlockEstimator
):
    """Gaussian mixture by expectation-maximisation over blocks, one pass an iteration.

    Maximises ``sum_i s_i log sum_k w_k N(x_i; m_k, C_k)``, s_i the weights of the rows.

    Parameters
    ----------
    n_components : int, default=1
    covariance_type : {"full", "tied", "diag", "spherical"}, default="full"
    tol : float, default=1e-3
        A run has converged when the mean log-likelihood changes by less.
    reg_covar : float, default=1e-6
        Added to variances.
    max_iter : int, default=100
    n_init : int, default=1
        Runs from different starts, all of them in the same passes; the best is kept.
    init_params : {"kmeans", "k-means++", "random", "random_from_data"}, default="kmeans"
        - "kmeans": the clusters of :class:`~daskml_kit.cluster.KMeans`.
        - "k-means++": k-means++ on a sample of the rows; "random_from_data": rows, both drawn in proportion
          to their weights. As in scikit-learn each component begins with one row, so with variances of
          ``reg_covar``.
        - "random": responsibilities by chance.
    weights_init, means_init, precisions_init : arrays or None
        Take the place of what ``init_params`` finds.
    random_state : int, RandomState or None
        Draws are keyed by seed and row: chunks don't change them.
    warm_start : bool, default=False
        Whether a further ``fit`` goes on from where the last ended.
    verbose : int, default=0
        1 shows a progress line.
    verbose_interval : int, default=10
        Has no effect: the line is always up to date.
    balance : {"adaptive", "even", "data"} or None (as configured); see :func:`~daskml_kit.config_context`

    Attributes
    ----------
    weights_ : ndarray of shape (n_components,)
    means_ : ndarray of shape (n_components, n_features)
    covariances_, precisions_, precisions_cholesky_ : ndarray
        full (n_components, n_features, n_features), tied (n_features, n_features), diag (n_components,
        n_features), spherical (n_components,).
    converged_ : bool
    n_iter_ : int
        Iterations of the best run.
    lower_bound_ : float
        Mean log-likelihood of the rows, by weight, in its last iteration.
    lower_bounds_ : list of float
        And in each.
    n_rounds_, n_passes_, history_ : see :class:`~daskml_kit.base.BlockEstimator`
        The objective is the negative mean log-likelihood.

    Raises
    ------
    InvalidDataError
        If a covariance is no longer positive definite; and as in :meth:`fit`.

    Warns
    -----
    ConvergenceWarning
        If the best run has not converged.

    Notes
    -----
    Computed in float64; attributes have the dtype of X. The driver holds the components and, for "k-means++",
    a sample.

    Beyond scikit-learn's: CSR, ``sample_weight`` and :meth:`transform`. CSR gives the answers of the same
    rows as an array. With "diag" and "spherical" the work goes with the number of stored values and nothing
    is made dense; matrices of precisions meet 512 KB of rows made dense at a time.

    Sample weights multiply responsibilities and log-likelihoods: a row of
    weight 2 counts as two rows, one of weight 0 as none, and only ratios of weights matter to a fit. Draws of
    a start are keyed by row, so that two rows may be drawn otherwise than one of weight 2.

    References
    ----------
    Dempster, Laird, Rubin (1977). Maximum likelihood from incomplete data via the EM algorithm. JRSS B.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[1.0, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
    >>> model = GaussianMixture(n_components=2, random_state=0).fit(X)
    >>> np.round(np.sort(model.means_, axis=0), 6)
    array([[ 1.,  2.],
           [10.,  2.]])
    >>> bool(model.predict([[0.0, 0.0]])[0] == model.predict([[1.0, 3.0]])[0])
    True
    """

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance_type: str = "full",
        tol: float = 1e-3,
        reg_covar: float = 1e-6,
        max_iter: int = 100,
        n_init: int = 1,
        init_params: str = "kmeans",
        weights_init: ArrayLike = None,
        means_init: ArrayLike = None,
        precisions_init: ArrayLike = None,
        random_state: Any = None,
        warm_start: bool = False,
        verbose: int = 0,
        verbose_interval: int = 10,
        balance: str | None = None,
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.weights_init = weights_init
        self.means_init = means_init
        self.precisions_init = precisions_init
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval
        self.balance = balance

    def __sklearn_tags__(self) -> Tags:
        tags: Tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    # ---------------------------------------------------------------- fitting

    def fit(self, X: ArrayLike, y: Any = None, sample_weight: ArrayLike = None) -> Self:
        """Find the components.

        Parameters
        ----------
        X : (n, n_features) NumPy, pandas, scipy.sparse, dask.array, dask.dataframe or xarray.DataArray
        y : ignored
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
        with self._opened(X, None, sample_weight) as (data, executor):
            if data.facts.n_rows < max(self.n_components, 2):
                least = (
                    "a minimum of 2 is required" if data.facts.n_rows < 2 else "lower n_components"
                )
                raise InvalidDataError(
                    f"Expected n_samples >= n_components but got n_components = {self.n_components}, "
                    f"n_samples={data.facts.n_rows}: {least}."
                )
            given = self._given(data.facts.n_features)
            run = self._run(data, executor, given)
        self._keep(run, data.facts.dtype)
        return self

    def _check_parameters(self) -> None:
        for name, least in {
            "n_components": 1,
            "n_init": 1,
            "max_iter": 0,
            "verbose_interval": 1,
        }.items():
            check_number(name, getattr(self, name), least=least, whole=True)
            if isinstance(getattr(self, name), bool):
                raise InvalidParameterError(
                    f"{name} must be an integer, got {getattr(self, name)}."
                )
        check_tol(self.tol)
        check_verbose(self.verbose)
        check_number("reg_covar", self.reg_covar, least=0)
        check_flag("warm_start", self.warm_start)
        for name, known in {"covariance_type": COVARIANCES, "init_params": STARTS}.items():
            if getattr(self, name) not in known:
                raise InvalidParameterError(
                    f"{name} must be one of {list(known)}, got {getattr(self, name)!r}."
                )

    def _given(self, d: int) -> Given:
        """The caller's initial values, checked."""
        k, kind = int(self.n_components), self._kind
        shape = {"full": (k, d, d), "tied": (d, d), "diag": (k, d), "spherical": (k,)}[kind]
        weights = _as_given("weights_init", self.weights_init, (k,))
        means = _as_given("means_init", self.means_init, (k, d))
        precisions = _as_given("precisions_init", self.precisions_init, shape)
        if weights is not None and not (
            (weights >= 0).all() and np.isclose(weights.sum(), 1.0, rtol=0, atol=1e-6)
        ):
            raise InvalidParameterError(
                f"weights_init must be at least 0 and sum up to 1, got {weights}. Divide by the sum."
            )
        factors = None
        if precisions is not None:
            _check_positive(kind, precisions)
            factors = factors_from_precisions(kind, precisions)
        return Given(weights, means, factors)

    @property
    def _kind(self) -> CovarianceType:
        kind: CovarianceType = self.covariance_type  # type: ignore[assignment]
        return kind

    def _run(self, data: BlockDataset, executor: Executor, given: Given) -> Mixture:
        """The best run, its means in the caller's coordinates."""
        warm = self.warm_start and hasattr(self, "converged_")
        if warm:
            self._check_resumable(data.facts.n_features)
        complete = all(one is not None for one in given)
        seed, n_runs = seed_from(self.random_state), 1 if warm or complete else int(self.n_init)
        start = self._start(seed, n_runs, data.facts)
        found = survey(executor, data, seed, start.asked)
        with prepared(executor, data, found) as ground:
            if warm:
                starts = [self._resumed(ground.shift)]
            elif complete:
                starts = [given.instead(None, self._kind, ground.shift)]
            else:
                drawn = [one._replace(points=ground.moved(one.points)) for one in found.drawn]
                means = (
                    [one.astype(np.float64) for one in start.centers(ground, drawn)]
                    if self.init_params != "random"
                    else []
                )
                runs = self._begun(ground, means, seed, n_runs)
                starts = [given.instead(run, self._kind, ground.shift) for run in runs]
            rule = Rule(self.tol, int(self.max_iter), self.reg_covar)
            best = em(ground, starts, rule)
        parts = best.parts._replace(means=best.parts.means + ground.shift)
        return Mixture(parts, best.covariances, *_progress(best))

    def _check_resumable(self, n_features: int) -> None:
        """Refuse to go on with other shapes than those of the last fit."""
        k, d, kind = int(self.n_components), n_features, self._kind
        shapes = {"full": (k, d, d), "tied": (d, d), "diag": (k, d), "spherical": (k,)}
        if self.means_.shape != (k, d) or self.precisions_cholesky_.shape != shapes[kind]:
            raise InvalidParameterError(
                f"warm_start=True goes on from means of shape {self.means_.shape} and precisions of shape "
                f"{self.precisions_cholesky_.shape}, but {k} components of '{kind}' and {d} columns are "
                "asked for. Keep n_components, covariance_type and the columns, or set warm_start=False."
            )

    def _start(self, seed: int, n_runs: int, facts: DataFacts) -> Start:
        k, d = int(self.n_components), facts.n_features
        if self.init_params == "kmeans":
            return Parallel(k, n_runs, seed, sample_size(k, facts.n_rows, d))
        return Sampled(k, n_runs, seed, d) if self.init_params == "k-means++" else Random(k, n_runs)

    def _begun(
        self, ground: Ground, means: Sequence[FloatArray], seed: int, n_runs: int
    ) -> list[Mixture]:
        """Components from the start of each run."""
        kind, k, reduce = self._kind, int(self.n_components), ground.executor.reduce
        if self.init_params == "kmeans":
            means = self._clustered(ground, means)
            found = reduce(ground.data, side_by_side(hard(kind)), tuple(means))
        elif self.init_params == "random":
            means = [np.tile(ground.origin, (k, 1))] * n_runs
            asked = tuple((seed, run, ground.origin) for run in range(n_runs))
            found = reduce(ground.data, side_by_side(soft(kind, k)), asked)
        else:
            found = tuple(_single_rows(kind, one) for one in means)
        return [
            maximised(kind, own, sums, self.reg_covar)
            for own, sums in zip(means, found, strict=True)
            if sums is not None
        ]

    def _clustered(self, ground: Ground, starts: Sequence[FloatArray]) -> list[FloatArray]:
        """Centres of k-means from each start."""
        facts = ground.data.facts
        runs = [
            Run(one, groups_for("auto", one, n_rows=facts.n_rows, nbytes=facts.nbytes,
                                n_runs=len(starts), sparse=facts.sparse))
            for one in starts
        ]  # fmt: skip
        variance = ground.square / (facts.weight_sum * facts.n_features)
        rule = LloydRule(KMEANS_TOL * variance, KMEANS_ITERATIONS, ground.origin, ground.square)
        return [run.centers for run in lloyd(ground, runs, rule, unroll=1, with_labels=False)]

    def _resumed(self, shift: FloatArray) -> Mixture:
        means = np.asarray(self.means_, np.float64) - shift
        weights = np.asarray(self.weights_, np.float64)
        factors = np.asarray(self.precisions_cholesky_, np.float64)
        parts = Components(self._kind, weights, means, factors)
        return Mixture(parts, self.covariances_, self.lower_bound_)

    def _keep(self, run: Mixture, dtype: Any) -> None:
        parts = run.parts
        self.weights_ = parts.weights.astype(dtype)
        self.means_ = parts.means.astype(dtype)
        self.precisions_cholesky_ = parts.factors.astype(dtype)
        full = parts.kind in ("full", "tied")
        squared = parts.factors @ np.swapaxes(parts.factors, -1, -2) if full else parts.factors**2
        self.precisions_ = squared.astype(dtype)
        covariances = run.covariances
        if covariances is None:
            covariances = np.linalg.inv(squared) if full else 1.0 / squared
        self.covariances_ = covariances.astype(dtype)
        self.converged_, self.n_iter_ = run.converged, run.n_iter
        self.lower_bound_, self.lower_bounds_ = run.lower_bound, list(run.lower_bounds)
        if not run.converged and self.max_iter > 0:
            warnings.warn(
                "Best performing initialization did not converge. Try different init parameters, or "
                "increase max_iter, tol, or check for degenerate data.",
                ConvergenceWarning,
                stacklevel=3,
            )

    # ---------------------------------------------------------------- answering

    @property
    def _parts(self) -> Components:
        check_is_fitted(self)
        arrays = (self.weights_, self.means_, self.precisions_cholesky_)
        return Components(self._kind, *(np.asarray(a, np.float64) for a in arrays))

    def fit_predict(self, X: ArrayLike, y: Any = None, sample_weight: ArrayLike = None) -> Any:
        """Fit, and the most probable component of each row, in kind.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes
        y : ignored
        sample_weight : (n,) or None

        Returns
        -------
        (n,) int64, lazy where X is
        """
        return self.fit(X, sample_weight=sample_weight).predict(X)

    def predict(self, X: ArrayLike) -> Any:
        """The most probable component of each row, in kind.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes

        Returns
        -------
        (n,) int64, lazy where X is
        """
        check_is_fitted(self)
        return self._map_rows(X, partial(_most_probable, self._parts), dtype=np.int64)

    def predict_proba(self, X: ArrayLike) -> Any:
        """The probability of each component for each row, in kind.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes

        Returns
        -------
        (n, n_components), lazy where X is
        """
        check_is_fitted(self)
        return self._map_rows(
            X,
            partial(_probabilities, self._parts, self.means_.dtype),
            dtype=self.means_.dtype,
            columns=list(range(len(self.means_))),
            column_dim="component",
        )

    def transform(self, X: ArrayLike) -> Any:
        """Mahalanobis' distance to the mean of each component, in kind.

        ``sqrt((x - m_k)' P_k (x - m_k))``, P_k the precisions: in the place of the distances to the centres
        that :meth:`KMeans.transform` gives, and equal to them where all covariances are the unit matrix.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes

        Returns
        -------
        (n, n_components) of the dtype of ``means_``, lazy where X is
            Columns are called gaussianmixture0, gaussianmixture1, ... where X has named columns.

        References
        ----------
        Mahalanobis (1936). On the generalised distance in statistics. Proc. National Institute of Sciences of
        India 2(1).
        """
        check_is_fitted(self)
        dtype = self.means_.dtype
        return self._map_rows(
            X,
            partial(_distances, self._parts, dtype),
            dtype=dtype,
            columns=[str(name) for name in self.get_feature_names_out()],
            column_dim="component",
        )

    def fit_transform(self, X: ArrayLike, y: Any = None, sample_weight: ArrayLike = None) -> Any:
        """Fit, and the distance of each row of X to each component in kind.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes
        y : ignored
        sample_weight : (n,) or None

        Returns
        -------
        (n, n_components), lazy where X is
        """
        return self.fit(X, sample_weight=sample_weight).transform(X)

    @property
    def _n_features_out(self) -> int:
        return len(self.means_)

    def score_samples(self, X: ArrayLike) -> Any:
        """The log-likelihood of each row, in kind.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes

        Returns
        -------
        (n,), lazy where X is
        """
        check_is_fitted(self)
        dtype = self.means_.dtype
        return self._map_rows(X, partial(_log_likelihoods, self._parts, dtype), dtype=dtype)

    def score(self, X: ArrayLike, y: Any = None, sample_weight: ArrayLike = None) -> float:
        """The mean log-likelihood of the rows, by weight: one pass after loading.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes
        y : ignored
        sample_weight : (n,) or None

        Returns
        -------
        float
        """
        total, weight = self._likelihood(X, sample_weight)
        return total / weight

    def _likelihood(self, X: ArrayLike, sample_weight: ArrayLike) -> _Likelihood:
        total: _Likelihood = copy(self)._reduced(X, sample_weight, LIKELIHOOD, self._parts)
        return total

    def bic(self, X: ArrayLike, sample_weight: ArrayLike = None) -> float:
        """Bayesian information criterion on X; lower is better. One pass after loading.

        The sum of the weights stands for the number of rows.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes
        sample_weight : (n,) or None

        Returns
        -------
        float
        """
        total, weight = self._likelihood(X, sample_weight)
        return -2.0 * total + self._n_parameters() * float(np.log(weight))

    def aic(self, X: ArrayLike, sample_weight: ArrayLike = None) -> float:
        """Akaike information criterion on X, by weight; lower is better. One pass after loading.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes
        sample_weight : (n,) or None

        Returns
        -------
        float
        """
        return -2.0 * self._likelihood(X, sample_weight).value + 2.0 * self._n_parameters()

    def _n_parameters(self) -> int:
        k, d = self.means_.shape
        square = d * (d + 1) // 2
        free = {"full": k * square, "tied": square, "diag": k * d, "spherical": k}[self._kind]
        return int(free + k * d + k - 1)

    def sample(self, n_samples: int = 1) -> tuple[Array, Array]:
        """Random rows of the fitted mixture, and the components that they come from.

        Parameters
        ----------
        n_samples : int, default=1

        Returns
        -------
        X : (n_samples, n_features) float64, component by component
        y : (n_samples,) int64
        """
        check_is_fitted(self)
        check_number("n_samples", n_samples, least=1, whole=True)
        state, (k, d) = check_random_state(self.random_state), self.means_.shape
        weights = self.weights_.astype(np.float64)
        counts = state.multinomial(n_samples, weights / weights.sum())
        y = np.repeat(np.arange(k), counts)
        noise = state.standard_normal((n_samples, d))
        cov = self.covariances_.astype(np.float64)
        if self._kind in ("full", "tied"):
            lower = np.linalg.cholesky(cov)
            lower = lower[y] if self._kind == "full" else lower
            noise = np.matmul(lower, noise[:, :, None])[:, :, 0]
        else:
            noise = noise * np.sqrt(cov[y] if cov.ndim == 2 else cov[y][:, None])
        return self.means_.astype(np.float64)[y] + noise, y


class Given(NamedTuple):
    """Initial values of the caller."""

    weights: FloatArray | None
    means: FloatArray | None
    factors: FloatArray | None

    def instead(self, run: Mixture | None, kind: CovarianceType, shift: FloatArray) -> Mixture:
        """The run with these in the place of its own."""
        means = None if self.means is None else self.means - shift
        if run is None:
            assert self.weights is not None
            assert means is not None
            assert self.factors is not None
            return Mixture(Components(kind, self.weights, means, self.factors))
        parts = run.parts
        parts = Components(
            kind,
            parts.weights if self.weights is None else self.weights,
            parts.means if means is None else means,
            parts.factors if self.factors is None else self.factors,
        )
        return Mixture(parts, run.covariances if self.factors is None else None)


def _progress(run: Mixture) -> tuple[float, tuple[float, ...], int, bool]:
    return run.lower_bound, run.lower_bounds, run.n_iter, run.converged


def _as_given(name: str, value: ArrayLike, shape: tuple[int, ...]) -> FloatArray | None:
    if value is None:
        return None
    out: FloatArray = check_array(
        value,
        dtype=np.float64,
        ensure_2d=False,
        allow_nd=True,
        ensure_all_finite=False,
        input_name=name,
    )
    if not np.isfinite(out).all():
        raise InvalidParameterError(f"{name} contains NaN or infinity. Pass finite numbers.")
    if out.shape != shape:
        raise InvalidParameterError(f"{name} must have shape {shape}, got {out.shape}.")
    return out


def _check_positive(kind: CovarianceType, precisions: FloatArray) -> None:
    if kind in ("full", "tied"):
        symmetric = np.allclose(precisions, np.swapaxes(precisions, -1, -2))
        fine = symmetric and bool((np.linalg.eigvalsh(precisions) > 0).all())
    else:
        fine = bool((precisions > 0).all())
    if not fine:
        raise InvalidParameterError(
            f"precisions_init of '{kind}' must be positive (matrices: symmetric, positive-definite)."
        )


def _single_rows(kind: CovarianceType, means: FloatArray) -> MixtureSums:
    """Each component has one row, at its mean."""
    k, d = means.shape
    shape = {"full": (k, d, d), "tied": (d, d)}.get(kind, (k, d))
    return MixtureSums(0.0, k, float(k), np.ones(k), np.zeros((k, d)), np.zeros(shape))


def _distances(parts: Components, dtype: Any, X: Matrix) -> Array:
    return np.asarray(np.sqrt(squared_distances(X, parts)).astype(dtype))


def _most_probable(parts: Components, X: Matrix) -> Array:
    return np.asarray(weighted_log_densities(X, parts).argmax(axis=1))


def _probabilities(parts: Components, dtype: Any, X: Matrix) -> Array:
    densities = weighted_log_densities(X, parts)
    return np.asarray(np.exp(densities - log_sums(densities)[:, None]).astype(dtype))


def _log_likelihoods(parts: Components, dtype: Any, X: Matrix) -> Array:
    return np.asarray(log_sums(weighted_log_densities(X, parts)).astype(dtype))


class _Likelihood(NamedTuple):
    value: float
    weight: float

    def __add__(self, other: object) -> _Likelihood:
        if not isinstance(other, _Likelihood):
            return NotImplemented
        return _Likelihood(self.value + other.value, self.weight + other.weight)


def _likelihood_chunk(block: Block, parts: Components) -> _Likelihood:
    logs, weight = log_sums(weighted_log_densities(block.X, parts)), block.weight
    if weight is None:
        return _Likelihood(float(logs.sum()), block.weight_sum)
    some = weight > 0  # the others may have no finite likelihood
    return _Likelihood(float(logs[some] @ weight[some]), block.weight_sum)


LIKELIHOOD: Reduction[Components, _Likelihood, _Likelihood] = Reduction(
    "score", _likelihood_chunk, operator.add
)

__all__ = ["GaussianMixture"]
