"""The start of k-means alone, for those who iterate by other means."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

from daskml_kit.cluster.ground import prepared, survey
from daskml_kit.cluster.parallel import OVERSAMPLING, ROUNDS, Parallel
from daskml_kit.cluster.started import StartedModel, check_count
from daskml_kit.exceptions import InvalidParameterError
from daskml_kit.runtime.random import seed_from
from daskml_kit.typing import ArrayLike, FloatArray


def k_means_parallel(
    X: ArrayLike,
    n_clusters: int,
    *,
    sample_weight: ArrayLike = None,
    oversampling_factor: float = OVERSAMPLING,
    n_rounds: int = ROUNDS,
    random_state: Any = None,
    balance: str | None = None,
) -> FloatArray:
    """Centres to begin k-means with, by k-means||.

    Each of a few rounds draws rows in proportion to ``w_i d_i^2``, ``d_i`` the distance to the nearest row
    drawn before. All of them, weighed by the rows that are nearest to each, are clustered on the driver.

    Parameters
    ----------
    X : (n, d) NumPy, pandas, scipy.sparse, dask.array, dask.dataframe or xarray.DataArray
    n_clusters : int
    sample_weight : (n,) or None
    oversampling_factor : float, default=2
        Rows that a round draws, in multiples of ``n_clusters``; all of them where there are fewer.
    n_rounds : int, default=5
        Its product with ``oversampling_factor`` is from 1 to 200.
    random_state : int, RandomState or None
        Draws are keyed by seed and row: equal seeds give equal centres, however the data are chunked.
    balance : {"adaptive", "even", "data"} or None (as configured); see :func:`~daskml_kit.config_context`

    Returns
    -------
    centers : ndarray of shape (n_clusters, d), of the dtype of X
        Means of rows drawn. Where there are fewer distinct rows than ``n_clusters`` the first is repeated.

    Raises
    ------
    InvalidDataError, InvalidDataTypeError, InvalidParameterError, ClusterError
        Before any round.

    Notes
    -----
    Passes: one to load, one to survey, ``n_rounds``, and one to weigh the rows drawn; of the last ones few
    rows are measured. The driver holds ``oversampling_factor n_rounds n_clusters`` rows.

    scikit-learn's ``kmeans_plusplus`` returns rows, and where they were; these centres are no rows.
    :class:`KMeans` refines them on a sample before it reads all rows again.

    References
    ----------
    Bahmani, Moseley, Vattani, Kumar, Vassilvitskii (2012). Scalable k-means++. PVLDB 5(7). Algorithm 2.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[1.0, 2.0], [1.0, 4.0], [1.0, 0.0], [10.0, 2.0], [10.0, 4.0], [10.0, 0.0]])
    >>> centers = k_means_parallel(X, 2, random_state=0)
    >>> centers[np.argsort(centers[:, 0])]
    array([[ 1.,  2.],
           [10.,  2.]])
    """
    check_count("n_clusters", n_clusters)
    check_count("n_rounds", n_rounds)
    _check_factor(oversampling_factor, int(n_rounds))
    start = Parallel(
        int(n_clusters), 1, seed_from(random_state), 0, float(oversampling_factor), int(n_rounds)
    )
    return KMeansParallel(start, balance).centers(X, sample_weight)


MOST_EACH = 200
"""Rows drawn for each cluster at most, over all rounds: twenty times the default. The driver holds them."""


def _check_factor(factor: Any, n_rounds: int) -> None:
    if not isinstance(factor, Real) or not 0 < float(factor) < math.inf:
        raise InvalidParameterError(
            f"oversampling_factor must be a finite number above 0, got {factor!r}."
        )
    if float(factor) * n_rounds < 1:
        raise InvalidParameterError(
            f"oversampling_factor={factor} and n_rounds={n_rounds} draw fewer rows than n_clusters. "
            "Their product must be at least 1."
        )
    if float(factor) * n_rounds > MOST_EACH:
        raise InvalidParameterError(
            f"oversampling_factor={factor} and n_rounds={n_rounds} draw more than {MOST_EACH} rows for each "
            "cluster, which the driver would hold and cluster. Their product must be at most "
            f"{MOST_EACH}; the defaults draw {OVERSAMPLING * ROUNDS}."
        )


class KMeansParallel(StartedModel):
    """A model that only starts: it opens data as estimators do, and is in their records by this name."""

    def __init__(self, start: Parallel, balance: str | None) -> None:
        self.start = start
        self.n_clusters = start.k
        self.balance = balance

    def centers(self, X: ArrayLike, sample_weight: ArrayLike) -> FloatArray:
        """(k, d) in the caller's coordinates."""
        with self._opened(X, None, sample_weight) as (data, executor):
            self._check_size(data.facts)
            found = survey(executor, data, self.start.seed, self.start.asked)
            with prepared(executor, data, found) as ground:
                drawn = [one._replace(points=ground.moved(one.points)) for one in found.drawn]
                return ground.moved_back(self.start.centers(ground, drawn)[0])


__all__ = ["k_means_parallel"]
