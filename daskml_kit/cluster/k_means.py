"""K-means over blocks."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any, Literal, Self

import numpy as np

from daskml_kit.base import check_flag
from daskml_kit.cluster.ground import prepared, survey
from daskml_kit.cluster.grouping import ALGORITHMS, groups_for
from daskml_kit.cluster.lloyd import Rule, Run, best, lloyd
from daskml_kit.cluster.started import (
    Init,
    StartedModel,
    check_count,
    check_init,
    check_tol,
    check_verbose,
)
from daskml_kit.cluster.starts import Start
from daskml_kit.exceptions import ConvergenceWarning, InvalidParameterError
from daskml_kit.runtime.dataset import BlockDataset
from daskml_kit.runtime.executor import Executor
from daskml_kit.runtime.random import seed_from
from daskml_kit.runtime.sources import is_dask
from daskml_kit.typing import ArrayLike, IntArray


class KMeans(StartedModel):
    """K-means by Lloyd's algorithm over blocks, started by k-means||.

    Minimises ``sum_i s_i min_k |x_i - c_k|^2``.

    Parameters
    ----------
    n_clusters : int, default=8
    init : {"k-means||", "k-means++", "random"}, array of shape (n_clusters, n_features) or callable
        - "k-means||": five rounds, each drawing ``2 n_clusters`` rows far from those drawn before; the
          candidates are weighed by the rows nearest to them (of 100 rows a candidate, where these are fewer
          than half of all; each stands for as many rows as its chance to be drawn says) and clustered on
          the driver, and the best three clusterings refined there by Lloyd's iterations on a sample of the
          rows, of which the best is taken. The sample has 1,000 rows for each cluster, at most one in 16;
          there is none where these are fewer than 50 a cluster.
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
    copy_x : bool, default=True
        Has no effect: X is never written to.
    algorithm : {"auto", "lloyd", "hamerly", "yinyang", "elkan"}, default="auto"
        How many distances are computed; centres, labels and the number of iterations are the same.

        - "lloyd": all of them, in every iteration. Up to 16 columns and ``512 / (n_features + 3)`` clusters
          sixteen rows at once meet a centre, and only rows that change their cluster are summed up:
          ``4 (n_features + 1)`` bytes a row, and up to 8 MB a bundle. Of up to 4 columns (4 bytes a row
          more) sixteen rows that are near each other are measured only where they lie between centres.
        - "hamerly": a row keeps a bound of the distance to its own centre and one of the distance to all
          others, and is looked at only where they meet: 12 bytes a row.
        - "yinyang": one bound for every 16 centres: ``12 + n_clusters / 4`` bytes a row.
        - "elkan": one for every 8 centres, where scikit-learn's keeps one for each.
        - "auto": "lloyd" where clusters and columns are as few as that; else "hamerly" up to 32 clusters,
          "yinyang" above, as long as the bounds take at most twice the memory of the rows, else "hamerly" or
          "lloyd".

        CSR is always measured in full: bounds would spare about half of the distances of text, and a stored
        value meets all centres in the same few cache lines.
    unroll : int, default=1
        Iterations submitted to the cluster as one graph. More saves messages; up to ``unroll - 1``
        iterations do nothing at the end.
    balance : {"adaptive", "even", "data"} or None (as configured); see :func:`~daskml_kit.config_context`

    Attributes
    ----------
    cluster_centers_ : ndarray of shape (n_clusters, n_features), of the dtype of X
    labels_ : int32 ndarray of shape (n,), for data in memory only
        Lazy data have as many labels as rows, which belong on the workers: use :meth:`fit_predict`.
    inertia_ : float
        The objective at ``cluster_centers_``.
    n_iter_ : int
        Iterations of the best run, over all rows. Those on the sample of "k-means||" do not count.
    n_distances_ : int
        Distances from rows to centres computed in the iterations of all runs and the last pass, not in the
        start; "lloyd" computes ``n n_clusters`` in each, fewer of up to four columns. One that a float32
        score leaves in doubt is measured again, and counted again. More where bounds were lost with a
        worker or spilled; with "hamerly", or up to four columns, a few more or fewer with other chunks.
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
    ``10 n_clusters`` rows and the sample, at most 16 MB of it.

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
    Horvitz, Thompson (1952). A generalization of sampling without replacement from a finite universe. JASA.
    Bradley, Fayyad (1998). Refining initial points for k-means clustering. ICML.

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
        copy_x: bool = True,
        algorithm: str = "auto",
        unroll: int = 1,
        balance: str | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.init = init
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.verbose = verbose
        self.random_state = random_state
        self.copy_x = copy_x
        self.algorithm = algorithm
        self.unroll = unroll
        self.balance = balance

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
            check_count(name, getattr(self, name))
        if self.n_init != "auto":
            check_count("n_init", self.n_init, ' or "auto"')
        check_tol(self.tol)
        check_verbose(self.verbose)
        check_flag("copy_x", self.copy_x)
        check_init(self.init)
        if self.algorithm not in ALGORITHMS:
            raise InvalidParameterError(
                f"algorithm must be one of {list(ALGORITHMS)}, got {self.algorithm!r}. All of them give "
                "the same clusters."
            )

    def _run(
        self, data: BlockDataset, executor: Executor, start: Start, seed: int, *, with_labels: bool
    ) -> Run:
        """The best run, its centres in the caller's coordinates."""
        found = survey(executor, data, seed, start.asked)
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


__all__ = ["KMeans"]
