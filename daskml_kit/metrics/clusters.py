"""How well clusters are apart: scores of labels, on whatever the estimators take.

=================================  ==============================================  =====================
score                              compares                                        passes after loading
=================================  ==============================================  =====================
``calinski_harabasz_score``        variance between centres and around them        1
``davies_bouldin_score``           widths of two clusters with their distance      1
``simplified_silhouette_score``    each row's centre with the nearest other        1
``silhouette_score``               each row with all others: n^2 distances         1, of few rows
=================================  ==============================================  =====================

Where a score needs the centres first, means by label are taken from the rows as they are loaded, by each
worker of its own, and a round of milliseconds brings them together (:class:`Condensed`).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from numbers import Integral
from typing import Any, NamedTuple, TypeVar

import numpy as np
from scipy import sparse
from sklearn import metrics

from daskml_kit.exceptions import InvalidDataError, InvalidParameterError
from daskml_kit.kernels import transform_distances
from daskml_kit.runtime.block import Block, Bundle
from daskml_kit.runtime.dataset import BlockDataset
from daskml_kit.runtime.events import Measured
from daskml_kit.runtime.executor import Executor
from daskml_kit.runtime.in_kind import stand_in
from daskml_kit.runtime.ingest import DataFacts, Spec
from daskml_kit.runtime.opening import open_dataset
from daskml_kit.runtime.random import seed_from, uniform
from daskml_kit.runtime.reduction import Reduction, fold
from daskml_kit.runtime.sources import wanted_dtype
from daskml_kit.typing import Array, ArrayLike, FloatArray, IntArray, Matrix

PAIRWISE_ROWS = 20_000
"""Most rows for the n^2 distances of the exact silhouette, computed on the driver: 10 s, 50 columns."""

_MOVABLE = ("euclidean", "l2", "sqeuclidean", "manhattan", "cityblock", "l1")
"""Distances that do not change when all rows are moved."""

TILE_VALUES = 1 << 20
"""Distances that are held at a time."""

Part = TypeVar("Part")
Total = TypeVar("Total")
Params = TypeVar("Params")


# ---------------------------------------------------------------- clusters of one block


class Groups(NamedTuple):
    """Counts, means and dispersion of each cluster."""

    counts: FloatArray
    """(k,)"""
    means: FloatArray
    """(k, d); zeros for no rows."""
    squares: FloatArray
    """(k,) sum of the squared distances of its rows to its mean."""


def _means(k: int, block: Block) -> Groups:
    """Without the squares."""
    codes, n = _codes(block), block.n_rows
    counts = np.bincount(codes, minlength=k).astype(np.float64)
    member = sparse.csr_array((np.ones(n), codes, np.arange(n + 1)), shape=(n, k)).T
    sums = member @ block.X
    means = (sums.toarray() if sparse.issparse(sums) else sums) / np.maximum(counts, 1.0)[:, None]
    return Groups(counts, means, np.zeros(k))


def _groups(k: int, block: Block, _: None) -> Groups:
    codes, (counts, means, squares) = _codes(block), _means(k, block)
    for start, stop in _tiles(block, 1):
        own = codes[start:stop]
        gaps = _dense(block.X[start:stop]) - means[own]
        squares += np.bincount(own, weights=np.einsum("ij,ij->i", gaps, gaps), minlength=k)
    return Groups(counts, means, squares)


def _joined(a: Groups, b: Groups) -> Groups:
    """Of the rows of both (Chan, Golub, LeVeque 1983)."""
    counts, gaps = a.counts + b.counts, b.means - a.means
    share = b.counts / np.maximum(counts, 1.0)
    squares = a.squares + b.squares + a.counts * share * np.einsum("kj,kj->k", gaps, gaps)
    return Groups(counts, a.means + share[:, None] * gaps, squares)


@dataclass(frozen=True)
class Condensed:
    """The rows of each cluster as one, their mean: a :class:`~daskml_kit.runtime.opening.Draw`.

    Examples
    --------
    >>> block = Block(np.array([[1.0], [2.0], [4.0]]), np.array([0, 1, 1]))
    >>> means = Condensed(2, 0.5)(Bundle((block,))).blocks[0]
    >>> means.X.ravel(), means.weight
    (array([1., 3.]), array([1., 2.]))
    """

    k: int
    share: float

    def __call__(self, bundle: Bundle) -> Bundle:
        """A block of k rows that weigh as many as they stand for."""
        found = fold((_means(self.k, block) for block in bundle), _joined)
        first = bundle.blocks[0]
        return Bundle((Block(found.means, np.arange(self.k), found.counts, first.start),))


def _condensed(block: Block, _: None) -> Groups:
    assert block.weight is not None
    return Groups(block.weight, np.asarray(block.X), np.zeros(block.n_rows))


CONDENSED: Reduction[None, Groups, Groups] = Reduction("centres", _condensed, _joined)


def _no_pass(_: Groups) -> Measured:
    return Measured(float("nan"), passes=0)


def _codes(block: Block) -> IntArray:
    return np.asarray(block.y).astype(np.int64)


def _dense(X: Matrix) -> FloatArray:
    return np.asarray(X.toarray() if sparse.issparse(X) else X, dtype=np.float64)


def _tiles(block: Block, k: int) -> Iterator[tuple[int, int]]:
    size = max(TILE_VALUES // max(k, block.X.shape[1]), 1)
    for start in range(0, block.n_rows, size):
        yield start, min(start + size, block.n_rows)


def _widths(k: int, block: Block, means: FloatArray) -> FloatArray:
    """(2, k) sum of the distances of rows to the mean of their cluster, and their number."""
    codes, total = _codes(block), np.zeros(k)
    for start, stop in _tiles(block, 1):
        own = codes[start:stop]
        gaps = _dense(block.X[start:stop]) - means[own]
        lengths = np.sqrt(np.einsum("ij,ij->i", gaps, gaps))
        total += np.bincount(own, weights=lengths, minlength=k)
    return np.stack([total, np.bincount(codes, minlength=k)])


def _silhouettes(block: Block, means: FloatArray) -> FloatArray:
    """(2, k) sum of the simplified silhouettes of each cluster's rows, and their number."""
    codes, total = _codes(block), np.zeros(len(means))
    for start, stop in _tiles(block, len(means)):
        gaps = transform_distances(block.X[start:stop], means)
        at = np.arange(stop - start), codes[start:stop]
        own = gaps[at]
        gaps[at] = np.inf
        other = gaps.min(axis=1)
        widest = np.maximum(own, other)
        shares = (other - own) / np.where(widest > 0, widest, 1.0)
        total += np.bincount(codes[start:stop], weights=shares, minlength=len(means))
    return np.stack([total, np.bincount(codes, minlength=len(means))])


class Drawn(NamedTuple):
    """Rows with the smallest keys."""

    keys: FloatArray
    numbers: IntArray
    """Global ones of the rows."""
    rows: Matrix
    codes: IntArray

    def at(self, chosen: IntArray) -> Drawn:
        """Some of them."""
        return Drawn(self.keys[chosen], self.numbers[chosen], self.rows[chosen], self.codes[chosen])


def _drawn(size: int, block: Block, seed: int) -> Drawn:
    keys, numbers = uniform(seed, "silhouette", block.rows), np.asarray(block.rows)
    return _smallest(size, Drawn(keys, numbers, block.X, _codes(block)))


def _smallest(size: int, drawn: Drawn) -> Drawn:
    return drawn.at(np.lexsort([drawn.numbers, drawn.keys])[:size])


def _merged(size: int, a: Drawn, b: Drawn) -> Drawn:
    stack: Any = (
        np.concatenate if isinstance(a.rows, np.ndarray) else partial(sparse.vstack, format="csr")
    )
    both = Drawn(
        np.concatenate([a.keys, b.keys]),
        np.concatenate([a.numbers, b.numbers]),
        stack([a.rows, b.rows]),
        np.concatenate([a.codes, b.codes]),
    )
    return _smallest(size, both)


def _plus(a: Any, b: Any) -> Any:
    return a + b


# ---------------------------------------------------------------- opening


class Opened(NamedTuple):
    """Resident rows with the codes of their labels."""

    data: BlockDataset
    executor: Executor

    @property
    def k(self) -> int:
        """Number of labels."""
        classes: Array | None = self.data.facts.classes
        assert classes is not None
        return len(classes)

    def reduced(
        self, name: str, chunk: Callable[[Block, Params], Part], combine: Any, params: Params
    ) -> Part:
        """One pass."""
        reduction: Reduction[Params, Part, Part] = Reduction(name, chunk, combine)
        return self.executor.reduce(self.data, reduction, params)

    def groups(self) -> Groups:
        """One pass."""
        return self.reduced("clusters", partial(_groups, self.k), _joined, None)

    def centers(self, given: ArrayLike) -> FloatArray:
        """(k, d) as given, checked; for None the means of the rows, taken as they were loaded."""
        if given is None:
            assert self.data.drawn is not None
            return self.executor.reduce(self.data.drawn, CONDENSED, None, objective=_no_pass).means
        centers, shape = np.asarray(given, dtype=np.float64), (self.k, self.data.facts.n_features)
        if centers.shape != shape:
            raise InvalidParameterError(
                f"centers must have shape {shape}, one row for each label in labels, got {centers.shape}."
            )
        if not np.isfinite(centers).all():
            raise InvalidParameterError("centers contains NaN or infinity. Pass finite numbers.")
        return centers


@contextmanager
def _opened(
    name: str, X: ArrayLike, labels: ArrayLike, *, with_means: bool = False
) -> Iterator[Opened]:
    spec = Spec(name, "classes", min_classes=1, dtype=wanted_dtype(X), any_labels=True)
    draws = _condensing if with_means else None
    data, executor = open_dataset(X, labels, None, spec=spec, draws=draws)
    try:
        _number_of_labels(data.facts)
        yield Opened(data, executor)
    finally:
        data.release()
        executor.close()


def _number_of_labels(facts: DataFacts) -> int:
    """Refused where clusters cannot be compared: before anything of that number is made."""
    assert facts.classes is not None
    k = len(facts.classes)
    if not 1 < k < facts.n_rows:
        raise InvalidDataError(
            f"Number of labels is {k}. Valid values are 2 to n_samples - 1 (inclusive)."
        )
    return k


def _condensing(facts: DataFacts) -> Condensed:
    k = _number_of_labels(facts)
    return Condensed(k, min(k / facts.n_rows, 1.0))


# ---------------------------------------------------------------- scores


def calinski_harabasz_score(X: ArrayLike, labels: ArrayLike) -> float:
    """Ratio of the variance between clusters to that within: higher is better.

    ``(B / (k - 1)) / (W / (n - k))``; B: squared distances of centres to the mean, weighted by rows; W:
    squared distances of rows to their centre.

    Parameters
    ----------
    X : (n, d) NumPy, pandas, scipy.sparse, dask.array, dask.dataframe or xarray.DataArray
    labels : (n,)

    Returns
    -------
    float
        1.0 where all rows are on their centres.

    Raises
    ------
    InvalidDataError
        If there are fewer than 2 or as many labels as rows.

    Notes
    -----
    One pass after loading; k (d + 2) numbers a part.

    References
    ----------
    Calinski, Harabasz (1974). A dendrite method for cluster analysis. Communications in Statistics.

    Examples
    --------
    >>> calinski_harabasz_score([[0.0], [1.0], [10.0], [11.0]], [0, 0, 1, 1])
    200.0
    """
    with _opened("calinski_harabasz_score", X, labels) as opened:
        found, k, n = opened.groups(), opened.k, opened.data.facts.n_rows
    mean = found.counts @ found.means / n
    gaps = found.means - mean
    between, within = (
        float(found.counts @ np.einsum("kj,kj->k", gaps, gaps)),
        float(found.squares.sum()),
    )
    return 1.0 if within == 0.0 else between * (n - k) / (within * (k - 1.0))


def davies_bouldin_score(X: ArrayLike, labels: ArrayLike, *, centers: ArrayLike = None) -> float:
    """How wide clusters are compared with their distance to the worst neighbour: lower is better.

    ``mean_k max_{l != k} (s_k + s_l) / |c_k - c_l|``, s_k the mean distance of rows to their centre.

    Parameters
    ----------
    X : (n, d), whatever :func:`calinski_harabasz_score` takes
    labels : (n,)
    centers : (k, d) or None
        Centre of each label in sorted order, such as ``cluster_centers_``; None for the means of the rows, as
        in scikit-learn.

    Returns
    -------
    float

    Raises
    ------
    InvalidDataError
        If there are fewer than 2 or as many labels as rows.
    InvalidParameterError
        If ``centers`` has another shape, or is not finite.

    Notes
    -----
    One pass after loading; means are taken as rows are loaded.

    References
    ----------
    Davies, Bouldin (1979). A cluster separation measure. IEEE PAMI.

    Examples
    --------
    >>> davies_bouldin_score([[0.0], [1.0], [10.0], [11.0]], [0, 0, 1, 1])
    0.1
    """
    with _opened("davies_bouldin_score", X, labels, with_means=centers is None) as opened:
        means = opened.centers(centers)
        total, counts = opened.reduced("widths", partial(_widths, opened.k), _plus, means)
    widths, gaps = total / counts, transform_distances(means, means)
    if np.allclose(widths, 0) or np.allclose(gaps, 0):
        return 0.0
    gaps[gaps == 0] = np.inf
    return float(np.mean(np.max((widths[:, None] + widths) / gaps, axis=1)))


def simplified_silhouette_score(
    X: ArrayLike, labels: ArrayLike, *, centers: ArrayLike = None
) -> float:
    """Mean of ``(b - a) / max(a, b)``, a and b a row's distances to its own and the nearest other centre.

    The silhouette with centres in the place of clusters: n k distances instead of n^2. Near the exact one
    where clusters are round and apart, not equal to it. As there, a row alone in its cluster counts 0.

    Parameters
    ----------
    X : (n, d), whatever :func:`calinski_harabasz_score` takes
    labels : (n,)
    centers : (k, d) or None
        Centre of each label in sorted order, such as ``cluster_centers_``; None for the means of the rows.

    Returns
    -------
    float
        From -1 to 1; higher is better.

    Raises
    ------
    InvalidDataError
        If there are fewer than 2 or as many labels as rows.
    InvalidParameterError
        If ``centers`` has another shape, or is not finite.

    Notes
    -----
    One pass after loading; means are taken as rows are loaded.

    References
    ----------
    Hruschka, de Castro, Campello (2004). Evolutionary algorithms for clustering gene-expression data. ICDM.

    Examples
    --------
    >>> round(simplified_silhouette_score([[0.0], [1.0], [10.0], [11.0]], [0, 0, 1, 1]), 4)
    0.9499
    """
    with _opened("simplified_silhouette_score", X, labels, with_means=centers is None) as opened:
        means = opened.centers(centers)
        total, counts = opened.reduced("silhouettes", _silhouettes, _plus, means)
    return float(total[counts > 1].sum() / counts.sum())


def silhouette_score(
    X: ArrayLike,
    labels: ArrayLike,
    *,
    metric: str | Callable[..., float] = "euclidean",
    sample_size: int | None = None,
    random_state: Any = None,
    **kwds: Any,
) -> float:
    """Mean silhouette of rows: scikit-learn's, for few rows or a sample of many.

    Parameters
    ----------
    X : (n, d), whatever :func:`calinski_harabasz_score` takes
    labels : (n,)
    metric : str or callable, default="euclidean"
        Of :func:`sklearn.metrics.silhouette_score`; "precomputed", where ``X`` holds the distances, for all
        rows only.
    sample_size : int or None
        Compare so many rows with each other, drawn evenly by row number; None for all.
    random_state : int, RandomState or None
    **kwds
        Keywords of the metric.

    Returns
    -------
    float
        From -1 to 1; higher is better.

    Raises
    ------
    InvalidDataError
        If there are fewer than 2 or as many labels as rows, or more than 20,000 rows to compare.
    InvalidDataError
        If distances that are given are not square, or rows are away from themselves.
    InvalidParameterError
        If ``sample_size`` is no integer of at least 1, or ``metric`` unknown or not for these keywords.

    Notes
    -----
    One pass after loading. The rows compared come to the driver.

    References
    ----------
    Rousseeuw (1987). Silhouettes. Journal of Computational and Applied Mathematics.

    Examples
    --------
    >>> round(silhouette_score([[0.0], [1.0], [10.0], [11.0]], [0, 0, 1, 1]), 4)
    0.8997
    """
    _check_sample_size(sample_size)
    _check_metric(metric, X, kwds)
    if metric == "precomputed" and sample_size is not None:
        raise InvalidParameterError(
            "sample_size does not go with metric='precomputed': blocks hold rows of the distances, and a "
            "sample needs columns, too. Pass the distances of a sample, or the rows themselves."
        )
    with _opened("silhouette_score", X, labels) as opened:
        facts = opened.data.facts
        if metric == "precomputed" and facts.n_features != facts.n_rows:
            raise InvalidDataError(
                "metric='precomputed' takes the distances of all rows to each other, (n, n), got an X of "
                f"shape ({facts.n_rows}, {facts.n_features}). Pass those, or another metric with the rows."
            )
        size = facts.n_rows if sample_size is None else int(sample_size)
        if min(size, facts.n_rows) > PAIRWISE_ROWS:
            raise InvalidDataError(
                f"silhouette_score compares all rows with each other, {size:,} here, and takes at most "
                f"{PAIRWISE_ROWS:,}. Pass sample_size=10_000, or use simplified_silhouette_score."
            )
        seed = seed_from(random_state)
        drawn = opened.reduced("rows", partial(_drawn, size), partial(_merged, size), seed)
        n_labels = opened.k
    drawn = drawn.at(np.argsort(drawn.numbers))
    rows, found = drawn.rows, len(np.unique(drawn.codes))
    if n_labels > 1 and found == 1:
        raise InvalidDataError(
            f"The sample of {len(drawn.codes)} rows has one label of the {n_labels}. Raise sample_size, got "
            f"{sample_size}."
        )
    if metric == "precomputed" and np.abs(rows.diagonal()).max() > 100 * np.finfo(rows.dtype).eps:
        raise InvalidDataError(
            "metric='precomputed' takes distances, and some rows of X are away from themselves: the diagonal "
            f"has values up to {np.abs(rows.diagonal()).max():.3g}. Set it to 0, with np.fill_diagonal(X, 0)."
        )
    if isinstance(rows, np.ndarray) and metric in _MOVABLE:
        rows = rows - rows.mean(axis=0)  # its distances lose digits far from the origin
    return float(metrics.silhouette_score(rows, drawn.codes, metric=metric, **kwds))


def _check_sample_size(size: Any) -> None:
    if size is not None and not (isinstance(size, Integral) and int(size) >= 1):
        raise InvalidParameterError(
            f"sample_size must be an integer >= 1, or None for all rows, got {size!r}."
        )


def _check_metric(metric: Any, X: ArrayLike, kwds: dict[str, Any]) -> None:
    """Refuse what scikit-learn refuses on a few rows as wide as those of X, before these are read.

    A metric of the caller's own is not tried: who knows which rows it takes.
    """
    if callable(metric):
        return
    if not isinstance(metric, str):
        raise InvalidParameterError(
            "metric must be the name of a metric of sklearn.metrics.pairwise_distances, 'precomputed' or a "
            f"callable, got {metric!r}."
        )
    width = np.shape(stand_in(X))
    if len(width) != 2:
        return  # refused where it is opened
    n = width[1] + 4 if metric == "mahalanobis" else 4  # which inverts the covariance
    rows = np.random.default_rng(0).random((n, width[1]))
    tried: Any = sparse.csr_array(rows) if sparse.issparse(X) else rows
    if metric == "precomputed":
        tried = np.zeros((n, n))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            metrics.silhouette_score(tried, np.arange(n) % 2, metric=metric, **kwds)
    except (TypeError, ValueError) as error:
        given = ", ".join(f"{name}={value!r}" for name, value in {"metric": metric, **kwds}.items())
        raise InvalidParameterError(
            f"silhouette_score cannot measure rows by {given}: {str(error).rstrip('.')}. Pass the name of a "
            "metric of sklearn.metrics.pairwise_distances, with its keywords, or a callable."
        ) from error


__all__ = [
    "calinski_harabasz_score",
    "davies_bouldin_score",
    "silhouette_score",
    "simplified_silhouette_score",
]
