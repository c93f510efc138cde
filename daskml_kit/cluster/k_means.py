"""K-means over blocks."""

from __future__ import annotations

import functools
import operator
import warnings
from collections.abc import Callable
from copy import copy
from dataclasses import replace
from functools import partial
from numbers import Integral, Real
from typing import Any, Literal, Self, TypeAlias

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin
from sklearn.utils import Tags, check_array
from sklearn.utils.validation import check_is_fitted, validate_data

from daskml_kit.base import BlockEstimator
from daskml_kit.cluster.ground import prepared, survey
from daskml_kit.cluster.grouping import ALGORITHMS, groups_for
from daskml_kit.cluster.lloyd import Rule, Run, best, lloyd
from daskml_kit.cluster.starts import Given, Parallel, Random, Sampled, Start
from daskml_kit.exceptions import ConvergenceWarning, InvalidDataError, InvalidParameterError
from daskml_kit.kernels import nearest, transform_distances
from daskml_kit.runtime.block import Block
from daskml_kit.runtime.dataset import BlockDataset
from daskml_kit.runtime.executor import Executor
from daskml_kit.runtime.in_kind import map_rows, stand_in
from daskml_kit.runtime.ingest import DataFacts
from daskml_kit.runtime.random import generator, seed_from
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.runtime.sources import is_dask
from daskml_kit.typing import Array, ArrayLike, FloatArray, IntArray, Matrix

Init: TypeAlias = "str | ArrayLike | Callable[..., ArrayLike]"

INITS = ("k-means||", "k-means++", "random")
SEVERAL_RUNS = 10
"""Runs of ``n_init="auto"`` for starts that are often bad, as in scikit-learn."""


def _lazy_stays_lazy(transform: Any) -> Any:
    """scikit-learn's ``set_output`` for data in memory only: it would collect lazy rows on the driver."""
    plain = transform.__wrapped__

    @functools.wraps(plain)
    def in_kind(self: Any, X: ArrayLike, *args: Any, **kwargs: Any) -> Any:
        return (plain if is_dask(X) else transform)(self, X, *args, **kwargs)

    return in_kind


class KMeans(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, BlockEstimator):
    """K-means by Lloyd's algorithm over blocks, started by k-means||.

    Minimises ``sum_i s_i min_k |x_i - c_k|^2``.

    Parameters
    ----------
    n_clusters : int, default=8
    init : {"k-means||", "k-means++", "random"}, array of shape (n_clusters, n_features) or callable
        - "k-means||": five rounds, each drawing ``2 n_clusters`` rows far from those drawn before; the
          candidates are weighed and clustered on the driver.
        - "k-means++": scikit-learn's greedy k-means++, on a sample of the rows drawn in proportion to
          their weights: 10,000 rows (fewer above 209 features) or 20 for each cluster, whichever is
          more. One pass instead of seven; a cluster too small for the sample starts without a centre.
        - "random": rows in proportion to their weights, without replacement.
        - a callable is given ``(X, n_clusters, random_state)`` with X as ``fit`` got it, lazy or not,
          and returns centres.
    n_init : "auto" or int, default="auto"
        Runs from different starts, all of them in the same passes; the one of least inertia is kept.
        "auto" is 10 for "random" and callables, else 1.
    max_iter : int, default=300
        Most iterations of a run.
    tol : float, default=1e-4
        A run has converged when the squared shifts of its centres sum up to at most ``tol`` times the
        mean variance of the columns (unweighted, as in scikit-learn), or when no label changes.
    verbose : int, default=0
        1 shows a progress line.
    random_state : int, RandomState or None
        Draws are keyed by seed and row: equal seeds give equal centres, however the data are chunked
        and wherever they are.
    algorithm : {"auto", "lloyd", "hamerly", "yinyang", "elkan"}, default="auto"
        How many distances are computed; centres, labels and the number of iterations are the same.

        - "lloyd": all of them, in every iteration.
        - "hamerly": a row keeps a bound of the distance to its own centre and one of the distance to all
          others, and is looked at only where they meet: 12 bytes a row.
        - "yinyang": one bound for every 16 centres: ``8 + n_clusters / 4`` bytes a row.
        - "elkan": one for every 8 centres, where scikit-learn's keeps one for each.
        - "auto": "hamerly" up to 64 clusters, "yinyang" above, as long as the bounds take at most twice the
          memory of the rows, else "hamerly" or "lloyd".

        CSR is always measured in full.
    unroll : int, default=1
        Iterations submitted to the cluster as one graph. More saves messages; up to ``unroll - 1``
        iterations do nothing at the end.

    Attributes
    ----------
    cluster_centers_ : ndarray of shape (n_clusters, n_features), of the dtype of X
    labels_ : int32 ndarray of shape (n,), for data in memory only
        Lazy data have as many labels as rows, which belong on the workers: use :meth:`fit_predict`.
    inertia_ : float
        The objective at ``cluster_centers_``.
    n_iter_ : int
        Iterations of the best run.
    n_distances_ : int
        Distances from rows to centres computed in the iterations of all runs and the last pass; "lloyd"
        computes ``n n_clusters`` in each. More where bounds were lost with a worker or spilled.
    n_rounds_, n_passes_, history_ : see :class:`~daskml_kit.base.BlockEstimator`

    Warns
    -----
    ConvergenceWarning
        If fewer clusters than ``n_clusters`` have rows: there are too few distinct rows.

    Notes
    -----
    Passes: one to load, one to survey the columns and draw first rows, with k-means|| five rounds and
    one to weigh the candidates; then one an iteration, one more for each iteration in which a cluster
    lost all its rows (it moves to a row far from its centre), and a last one for inertia and labels. Of
    iterations with bounds only the bounds are read, and the rows that they don't decide. The driver holds
    ``10 n_clusters`` rows, or the sample.

    Dense data whose mean is more than 1,000 standard deviations from the origin are copied on the
    workers, moved there. CSR is not: its centres lose digits when the mean is far.

    Sums over clusters are exact, so neither chunks nor bounds change a bit of the centres. Rows whose
    distances to two centres differ by rounding only belong to the first of the two; scikit-learn decides
    such ties by the rounding of a matrix product, so that data on a grid (pixels) may take another way
    there, and with "elkan" a third.

    References
    ----------
    Lloyd (1982). Least squares quantization in PCM. IEEE Transactions on Information Theory.
    Hamerly (2010). Making k-means even faster. SDM.
    Ding, Zhao, Shen, Musuvathi, Mytkowicz (2015). Yinyang k-means. ICML.
    Bahmani, Moseley, Vattani, Kumar, Vassilvitskii (2012). Scalable k-means++. PVLDB 5(7).

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[1.0, 2.0], [1.0, 4.0], [1.0, 0.0], [10.0, 2.0], [10.0, 4.0], [10.0, 0.0]])
    >>> model = KMeans(n_clusters=2, random_state=0).fit(X)
    >>> model.cluster_centers_[np.argsort(model.cluster_centers_[:, 0])]
    array([[ 1.,  2.],
           [10.,  2.]])
    >>> model.inertia_
    16.0
    """

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        init: Init = "k-means||",
        n_init: int | Literal["auto"] = "auto",
        max_iter: int = 300,
        tol: float = 1e-4,
        verbose: int = 0,
        random_state: Any = None,
        algorithm: str = "auto",
        unroll: int = 1,
    ) -> None:
        self.n_clusters = n_clusters
        self.init = init
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.verbose = verbose
        self.random_state = random_state
        self.algorithm = algorithm
        self.unroll = unroll

    def __sklearn_tags__(self) -> Tags:
        tags: Tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    # ---------------------------------------------------------------- fitting

    def fit(self, X: ArrayLike, y: Any = None, sample_weight: ArrayLike = None) -> Self:
        """Find the centres.

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
        seed = seed_from(self.random_state)
        with self._opened(X, None, sample_weight) as (data, executor):
            self._check_size(data.facts)
            start = self._start(X, data.facts, seed)
            run = self._run(data, executor, start, seed, with_labels=not is_dask(X))
        self._keep(run, with_labels=not is_dask(X))
        return self

    def _check_parameters(self) -> None:
        for name in ("n_clusters", "max_iter", "unroll"):
            _check_count(name, getattr(self, name))
        if self.n_init != "auto":
            _check_count("n_init", self.n_init, ' or "auto"')
        _check_tol(self.tol)
        if isinstance(self.init, str) and self.init not in INITS:
            raise InvalidParameterError(
                f"init must be one of {list(INITS)}, an array of shape (n_clusters, n_features) or a "
                f"callable, got {self.init!r}."
            )
        if self.algorithm not in ALGORITHMS:
            raise InvalidParameterError(
                f"algorithm must be one of {list(ALGORITHMS)}, got {self.algorithm!r}. All of them give "
                "the same clusters."
            )

    def _check_size(self, facts: DataFacts) -> None:
        if facts.n_rows < self.n_clusters:
            raise InvalidDataError(
                f"n_samples={facts.n_rows} should be >= n_clusters={self.n_clusters}. "
                "Lower n_clusters or pass more rows."
            )

    def _n_runs(self) -> int:
        by_name = isinstance(self.init, str)
        if self.n_init == "auto":
            often_bad = self.init == "random" if by_name else callable(self.init)
            return SEVERAL_RUNS if often_bad else 1
        if not by_name and not callable(self.init) and self.n_init != 1:
            warnings.warn(
                "Explicit initial center position passed: performing only one init in KMeans instead of "
                f"n_init={self.n_init}.",
                RuntimeWarning,
                stacklevel=4,
            )
            return 1
        return int(self.n_init)

    def _start(self, X: ArrayLike, facts: DataFacts, seed: int) -> Start:
        k, n_runs = int(self.n_clusters), self._n_runs()
        if callable(self.init):
            states = [
                np.random.RandomState(generator(seed, f"kmeans-callable-{run}").integers(2**31))
                for run in range(n_runs)
            ]
            made = [self.init(X, k, random_state=state) for state in states]
            return Given([_as_start(centers, k, facts) for centers in made])
        if not isinstance(self.init, str):
            return Given([_as_start(self.init, k, facts)])
        if self.init == "random":
            return Random(k, n_runs)
        if self.init == "k-means++":
            return Sampled(k, n_runs, seed, facts.n_features)
        return Parallel(k, n_runs, seed)

    def _run(
        self, data: BlockDataset, executor: Executor, start: Start, seed: int, *, with_labels: bool
    ) -> Run:
        """The best run, its centres in the caller's coordinates."""
        found = survey(executor, data, seed, start.purposes, start.size)
        with prepared(executor, data, found) as ground:
            drawn = [one._replace(points=ground.moved(one.points)) for one in found.drawn]
            starts = start.centers(ground, drawn)
            facts = data.facts
            runs = lloyd(
                ground,
                [
                    Run(
                        centers,
                        groups_for(
                            self.algorithm,
                            centers,
                            n_rows=facts.n_rows,
                            nbytes=facts.nbytes,
                            n_runs=len(starts),
                            sparse=facts.sparse,
                        ),
                    )
                    for centers in starts
                ],
                Rule(
                    self.tol * float(found.columns.variance.mean()),
                    int(self.max_iter),
                    ground.origin,
                    ground.square,
                ),
                unroll=self.unroll,
                with_labels=with_labels,
            )
        chosen, n_distances = best(runs), sum(run.n_distances for run in runs)
        return replace(chosen, centers=ground.moved_back(chosen.centers), n_distances=n_distances)

    def _keep(self, run: Run, *, with_labels: bool) -> None:
        self.cluster_centers_ = run.centers
        self.inertia_ = run.inertia
        self.n_iter_ = run.n_iter
        self.n_distances_ = run.n_distances
        self._labels: IntArray | None = run.labels() if with_labels else None
        assert run.tally is not None
        n_found = int(np.count_nonzero(run.tally.counts))
        if n_found < self.n_clusters:
            warnings.warn(
                f"Number of distinct clusters ({n_found}) found smaller than n_clusters "
                f"({self.n_clusters}). Possibly due to duplicate points in X.",
                ConvergenceWarning,
                stacklevel=3,
            )

    @property
    def labels_(self) -> IntArray:
        """Labels of the rows that were fitted, for data in memory."""
        labels = vars(self).get("_labels")
        if labels is None:
            raise AttributeError(
                "labels_ is kept for data in memory only, after fit. For lazy data use fit_predict(X) or "
                "predict(X): lazy labels, which stay on the workers."
            )
        out: IntArray = labels
        return out

    @property
    def _n_features_out(self) -> int:
        return len(self.cluster_centers_)

    # ---------------------------------------------------------------- answering

    def predict(self, X: ArrayLike) -> Any:
        """Index of the nearest centre, in kind.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes

        Returns
        -------
        (n,) int32, lazy where X is
        """
        check_is_fitted(self)
        return self._map_rows(X, partial(_labels, self.cluster_centers_), dtype=np.int32)

    def transform(self, X: ArrayLike) -> Any:
        """Distance to each centre, in kind.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes

        Returns
        -------
        (n, n_clusters) of the dtype of ``cluster_centers_``, lazy where X is
            Columns are called kmeans0, kmeans1, ... where X has named columns.
        """
        check_is_fitted(self)
        return self._map_rows(
            X,
            partial(_distances, self.cluster_centers_),
            dtype=self.cluster_centers_.dtype,
            columns=[str(name) for name in self.get_feature_names_out()],
            column_dim="cluster",
        )

    def fit_predict(self, X: ArrayLike, y: Any = None, sample_weight: ArrayLike = None) -> Any:
        """Fit, and the label of each row of X in kind.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes
        y : ignored
        sample_weight : (n,) or None

        Returns
        -------
        (n,) int32
            Lazy where X is: ``predict(X)``, read when it is computed. ``labels_`` for data in memory.
        """
        self.fit(X, sample_weight=sample_weight)
        if is_dask(X):
            return self.predict(X)
        return map_rows(X, partial(_kept, self.labels_), dtype=np.int32)

    def fit_transform(self, X: ArrayLike, y: Any = None, sample_weight: ArrayLike = None) -> Any:
        """Fit, and the distance of each row of X to each centre in kind.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes
        y : ignored
        sample_weight : (n,) or None

        Returns
        -------
        (n, n_clusters), lazy where X is
        """
        return self.fit(X, sample_weight=sample_weight).transform(X)

    def score(self, X: ArrayLike, y: Any = None, sample_weight: ArrayLike = None) -> float:
        """The objective on X, negative: larger is better.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes
        y : ignored
        sample_weight : (n,) or None

        Returns
        -------
        float

        Notes
        -----
        Opens X as ``fit`` does, so weights are matched with rows in the same way: one pass to load and
        one over the resident rows. The driver gets one number a part.
        """
        check_is_fitted(self)
        validate_data(self, stand_in(X), reset=False, skip_check_array=True)
        # A copy, for opening data resets what an estimator knows of its features and its cost.
        with copy(self)._opened(X, None, sample_weight) as (data, executor):
            return -executor.reduce(data, INERTIA, self.cluster_centers_.astype(np.float64))


for _name in ("transform", "fit_transform"):
    setattr(KMeans, _name, _lazy_stays_lazy(getattr(KMeans, _name)))


def _check_tol(tol: Any) -> None:
    if not isinstance(tol, Real) or not float(tol) >= 0:
        raise InvalidParameterError(f"tol must be a number at least 0, got {tol!r}.")


def _check_count(name: str, value: Any, also: str = "") -> None:
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < 1:
        raise InvalidParameterError(f"{name} must be an int at least 1{also}, got {value!r}.")


def _as_start(centers: ArrayLike, k: int, facts: DataFacts) -> FloatArray:
    """The caller's centres, checked."""
    out: FloatArray = check_array(centers, dtype=facts.dtype, order="C", input_name="init")
    if out.shape[0] != k:
        raise InvalidDataError(
            f"The shape of the initial centers {out.shape} does not match the number of clusters {k}. "
            "Pass one row for each cluster."
        )
    if out.shape[1] != facts.n_features:
        raise InvalidDataError(
            f"The shape of the initial centers {out.shape} does not match the number of features of the "
            f"data {facts.n_features}. Pass one column for each feature."
        )
    return out


def _labels(centers: FloatArray, X: Matrix) -> IntArray:
    labels, _ = nearest(X, centers, centers.mean(axis=0, dtype=np.float64))
    return labels


def _inertia(block: Block, centers: FloatArray) -> float:
    _, squares = nearest(block.X, centers, centers.mean(axis=0))
    return float(squares.sum() if block.weight is None else squares @ block.weight)


INERTIA: Reduction[FloatArray, float, float] = Reduction("score", _inertia, operator.add)


def _distances(centers: FloatArray, X: Matrix) -> FloatArray:
    out: FloatArray = transform_distances(X, centers).astype(centers.dtype)
    return out


def _kept(labels: IntArray, _: Any) -> Array:
    return labels


__all__ = ["KMeans"]
