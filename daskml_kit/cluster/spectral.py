"""Spectral clustering over blocks, through Nystroem features."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import partial
from numbers import Integral, Real
from typing import Any, NamedTuple, Self, TypeAlias

import numpy as np
from scipy import linalg
from sklearn.base import ClusterMixin
from sklearn.utils.validation import check_is_fitted

from daskml_kit.base import BlockEstimator, check_number
from daskml_kit.cluster.affinity import Affinity, check_affinity
from daskml_kit.cluster.assignment import Labelled
from daskml_kit.cluster.ground import prepared, survey
from daskml_kit.cluster.grouping import groups_for
from daskml_kit.cluster.lloyd import Rule, Run, best, lloyd
from daskml_kit.cluster.refining import sample_size
from daskml_kit.cluster.started import check_verbose
from daskml_kit.cluster.starts import Parallel, Random
from daskml_kit.cluster.turning import axis_of, discretized, pivoted
from daskml_kit.exceptions import InvalidDataError, InvalidParameterError
from daskml_kit.kernels import nearest
from daskml_kit.runtime.block import Block, Bundle
from daskml_kit.runtime.dataset import BlockDataset
from daskml_kit.runtime.executor import Executor
from daskml_kit.runtime.in_kind import map_rows
from daskml_kit.runtime.random import generator, seed_from
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.runtime.sources import is_dask
from daskml_kit.typing import Array, ArrayLike, FloatArray, IntArray, Matrix

TILE_VALUES = 1 << 20
"""Kernel values that are held at a time (8 MB)."""

MAX_ITER, TOL = 300, 1e-4  # of k-means, as in scikit-learn

EQUAL = 1e-8
"""Eigenvalues, at most 1, that differ by no more are equal: rounding turns the vectors of others by less than
that."""

CHOICES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "eigen_solver": (
        lambda value: value in (None, "arpack", "lobpcg", "amg"),
        "None, 'arpack', 'lobpcg' or 'amg'",
    ),
    "eigen_tol": (
        lambda value: value == "auto" or (isinstance(value, Real) and float(value) >= 0),
        "'auto' or a number >= 0",
    ),
    "assign_labels": (
        lambda value: value in ("kmeans", "discretize", "cluster_qr"),
        "'kmeans', 'discretize' or 'cluster_qr'",
    ),
    "coef0": (lambda value: isinstance(value, Real), "a number"),
    "kernel_params": (lambda value: value is None or isinstance(value, dict), "a dict or None"),
    "n_jobs": (lambda value: value is None or isinstance(value, Integral), "an integer or None"),
}
"""What parameters may be, and how an error says it."""


class Features(NamedTuple):
    """Rows to coordinates: kernel values with landmarks, degree taken out, turned, and scaled or not."""

    landmarks: FloatArray
    """(m, d)"""
    affinity: Affinity
    degrees: FloatArray
    """(m,) a row's degree is its kernel values times these."""
    turn: FloatArray
    """(m, p) whitened eigenvectors."""
    unit: bool = True
    """Whether rows are scaled to length 1."""

    def __call__(self, X: Matrix) -> FloatArray:
        """(n, p) of the rows of X; rows of zeros for those that no landmark is near."""
        out = np.empty((X.shape[0], self.turn.shape[1]))
        size = max(TILE_VALUES // len(self.landmarks), 1)
        for start in range(0, X.shape[0], size):
            out[start : start + size] = self._turned(X[start : start + size])
        return out

    def _turned(self, X: Matrix) -> FloatArray:
        raw = self.scaled(X) @ self.turn
        if not self.unit:
            return raw
        lengths = np.sqrt(np.einsum("ij,ij->i", raw, raw))[:, None]
        return np.asarray(np.divide(raw, lengths, out=np.zeros_like(raw), where=lengths > 0))

    def scaled(self, X: Matrix) -> FloatArray:
        """Kernel values over the root of the degree (n, m); zeros where that is not above 0."""
        return self.over_degrees(self.affinity(X, self.landmarks))[0]

    def over_degrees(self, values: FloatArray) -> tuple[FloatArray, int]:
        """The same of values (n, m), and of how many rows negative values leave no degree above 0."""
        degree = (values @ self.degrees)[:, None]
        lost = (degree[:, 0] <= 0) & (values.min(axis=1) < 0)
        out = np.zeros_like(values)
        out = np.divide(values, np.sqrt(np.maximum(degree, 0.0)), out=out, where=degree > 0)
        return out, int(np.count_nonzero(lost))


class SpectralClustering(ClusterMixin, BlockEstimator):
    """Spectral clustering on Nystroem's approximation of a kernel.

    The affinity of all rows is approximated through its columns at a few landmark rows, so that nothing
    of size n x n is made: two passes give degrees and the eigenvectors of the normalised affinity, a third
    writes each row's coordinates, and k-means clusters those.

    Parameters
    ----------
    n_clusters : int, default=8
    eigen_solver : {None, "arpack", "lobpcg", "amg"}
        Has no effect: the matrix is one of landmarks, and solved directly.
    n_components : int or None, default=None
        Eigenvectors; None is ``n_clusters``.
    random_state : int, RandomState or None
        Draws are keyed by seed and row: chunks don't change them.
    n_init : int, default=10
        Starts of k-means, in the same passes.
    gamma : float, default=1.0
        Of "rbf" (``exp(-gamma |x - z|^2)``), "laplacian", "poly", "sigmoid" and "chi2".
    affinity : str or callable, default="rbf"
        "rbf", "laplacian", "poly" or "polynomial", "sigmoid", "cosine", "linear" or "chi2", as
        :func:`sklearn.metrics.pairwise.pairwise_kernels` defines them, or a function of two rows (called
        from Python for each row and landmark). Values should not be negative; where an affinity is not
        positive semi-definite, as "sigmoid" may be, its negative eigenvalues are left out. Graphs
        ("nearest_neighbors", "precomputed", "precomputed_nearest_neighbors") are refused: they are no
        function of two rows, so landmarks cannot stand for the rest.
    n_neighbors : int, default=10
        Has no effect: it belongs to graphs.
    eigen_tol : float or "auto", default="auto"
        Has no effect, as ``eigen_solver``.
    assign_labels : {"kmeans", "discretize", "cluster_qr"}, default="kmeans"
        - "kmeans": of the coordinates, from ``n_init`` starts.
        - "discretize": the coordinates are turned until rows point along axes, in up to 21 rounds after one
          for each cluster. It begins with a row by chance.
        - "cluster_qr": they are turned once, by rows that a pivoted QR factorisation chooses, in a few
          rounds; nothing is drawn but the landmarks.

        The last two make as many clusters as there are eigenvectors, as in scikit-learn.
    degree : float, default=3
        Of "poly".
    coef0 : float, default=1
        Of "poly" and "sigmoid".
    kernel_params : dict or None
        Keywords of an affinity that is a callable.
    n_jobs : int or None
        Has no effect: blocks run where they are.
    verbose : bool, default=False
        True shows a progress line.
    n_landmarks : int, default=300
        Rows that stand for all; at most as many as there are. With all of them nothing is approximated.
    balance : {"adaptive", "even", "data"} or None (as configured); see :func:`~daskml_kit.config_context`

    Attributes
    ----------
    labels_ : int32 ndarray of shape (n,), for data in memory only
    cluster_centers_ : ndarray of shape (n_clusters, n_components)
        In the coordinates of the eigenvectors. Of "discretize" and "cluster_qr" the axes, of length 1: a row
        belongs to the one that it points along most, with "cluster_qr" either way.
    eigenvalues_ : ndarray of shape (n_components,)
        Of the normalised affinity, largest first.
    n_rounds_, n_passes_, history_ : see :class:`~daskml_kit.base.BlockEstimator`

    Notes
    -----
    Differs from scikit-learn's: the affinity is approximated, and there is no ``affinity_matrix_``;
    coordinates are scaled to length 1 before k-means (Ng, Jordan, Weiss) and by rows alone before
    "discretize" (Yu, Shi), scikit-learn's are not, and its are divided by the root of the degree; a row's
    degree counts its affinity to itself, which scikit-learn leaves out; and, as coordinates are a function of
    the row, there is ``predict``. The driver holds landmarks and matrices of
    their number squared.

    Eigenvectors of equal eigenvalues are no more than a basis, which rounding would choose. Here it is one
    that fixed directions choose (equal means within 1e-8), so coordinates do not depend on chunks.

    References
    ----------
    Ng, Jordan, Weiss (2001). On spectral clustering: analysis and an algorithm. NIPS.
    Fowlkes, Belongie, Chung, Malik (2004). Spectral grouping using the Nystroem method. IEEE PAMI 26(2).
    Yu, Shi (2003). Multiclass spectral clustering. ICCV.
    Damle, Minden, Ying (2019). Simple, direct and efficient multi-way spectral clustering. Information and
    Inference 8(1). Algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[1.0, 1], [2, 1], [1, 0], [4, 7], [3, 5], [3, 6]])
    >>> labels = SpectralClustering(n_clusters=2, random_state=0).fit_predict(X)
    >>> bool((labels[:3] == labels[0]).all() and (labels[3:] == 1 - labels[0]).all())
    True
    """

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        eigen_solver: str | None = None,
        n_components: int | None = None,
        random_state: Any = None,
        n_init: int = 10,
        gamma: float = 1.0,
        affinity: str | Callable[..., float] = "rbf",
        n_neighbors: int = 10,
        eigen_tol: float | str = "auto",
        assign_labels: str = "kmeans",
        degree: float = 3,
        coef0: float = 1,
        kernel_params: dict[str, Any] | None = None,
        n_jobs: int | None = None,
        verbose: bool = False,
        n_landmarks: int = 300,
        balance: str | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.eigen_solver = eigen_solver
        self.n_components = n_components
        self.random_state = random_state
        self.n_init = n_init
        self.gamma = gamma
        self.affinity = affinity
        self.n_neighbors = n_neighbors
        self.eigen_tol = eigen_tol
        self.assign_labels = assign_labels
        self.degree = degree
        self.coef0 = coef0
        self.kernel_params = kernel_params
        self.n_jobs = n_jobs
        self.verbose = verbose
        self.n_landmarks = n_landmarks
        self.balance = balance

    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Find the clusters.

        Parameters
        ----------
        X : (n, n_features) NumPy, pandas, scipy.sparse, dask.array, dask.dataframe or xarray.DataArray
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        InvalidDataError, InvalidDataTypeError, InvalidParameterError, ClusterError
            Before any training round.
        """
        self._check_parameters()
        seed, in_memory = seed_from(self.random_state), not is_dask(X)
        with self._opened(X) as (data, executor):
            facts = data.facts
            if facts.n_rows < self.n_clusters:
                raise InvalidDataError(
                    f"n_samples={facts.n_rows} should be >= n_clusters={self.n_clusters}. "
                    "Lower n_clusters or pass more rows."
                )
            draw = Random(min(int(self.n_landmarks), facts.n_rows), 1)
            found, affinity = survey(executor, data, seed, draw.asked), self._affinity()
            affinity.check_rows(float(found.columns.lowest.min()), sparse=facts.sparse)
            landmarks = found.drawn[0].points
            features, self.eigenvalues_ = self._found(
                executor, data, landmarks.astype(np.float64), affinity
            )
            self._assigned = self.assign_labels
            self._features = features._replace(unit=self._assigned != "cluster_qr")
            with executor.map(data, _mapped, self._features) as rows:
                if self.assign_labels == "kmeans":
                    run = self._clustered(executor, rows, seed, in_memory)
                    self.cluster_centers_ = run.centers
                    self._labels = run.labels() if in_memory else None
                else:
                    self.cluster_centers_ = self._axes(executor, rows, seed)
                    parts = executor.reduce(rows, POINTING, self._labeller()) if in_memory else ()
                    self._labels = Labelled(0.0, parts, 0).all_labels() if in_memory else None
        return self

    def _check_parameters(self) -> None:
        for name in ("n_clusters", "n_init", "n_landmarks", "n_neighbors"):
            check_number(name, getattr(self, name), least=1, whole=True)
        if self.n_components is not None:
            check_number("n_components", self.n_components, least=1, whole=True)
        for name in ("gamma", "degree"):
            check_number(name, getattr(self, name), least=0)
        check_verbose(self.verbose)
        check_affinity(self.affinity)
        for name, (fits, words) in CHOICES.items():
            if not fits(getattr(self, name)):
                raise InvalidParameterError(f"{name} must be {words}, got {getattr(self, name)!r}.")

    def _affinity(self) -> Affinity:
        if callable(self.affinity):
            return Affinity(self.affinity, dict(self.kernel_params or {}))
        own = {"gamma": self.gamma, "degree": self.degree, "coef0": self.coef0}
        return Affinity(self.affinity, own)

    def _found(
        self, executor: Executor, data: BlockDataset, landmarks: FloatArray, affinity: Affinity
    ) -> tuple[Features, FloatArray]:
        """Two passes: the degrees of all rows, then the eigenvectors of the normalised affinity."""
        size = len(landmarks)
        root = _inverse_root(affinity(landmarks, landmarks))
        total = executor.reduce(data, DEGREES, (landmarks, affinity))
        rough = Features(landmarks, affinity, root @ (root.T @ total), np.empty((size, 0)))
        normalized, n_lost = executor.reduce(data, GRAM, rough)
        if n_lost:
            raise InvalidDataError(
                f"affinity={self.affinity!r} is negative between rows, so that {n_lost} of "
                f"{data.facts.n_rows} rows have no positive degree. Use affinity='rbf', or shift X to values "
                "of at least 0."
            )
        gram = root.T @ normalized @ root
        n_vectors = min(int(self.n_components or self.n_clusters), gram.shape[0])
        values, vectors = linalg.eigh(gram)
        turn = _settled(values[::-1], root @ vectors[:, ::-1], n_vectors)
        values = values[::-1][:n_vectors]
        turn = turn / np.sqrt(np.maximum(values, np.finfo(np.float64).tiny))
        return rough._replace(turn=np.ascontiguousarray(turn)), values

    def _clustered(
        self, executor: Executor, rows: BlockDataset, seed: int, with_labels: bool
    ) -> Run:
        """K-means of the coordinates."""
        k, d = int(self.n_clusters), self._features.turn.shape[1]
        start = Parallel(k, int(self.n_init), seed, sample_size(k, rows.facts.n_rows, d))
        found = survey(executor, rows, seed, start.asked)
        with prepared(executor, rows, found) as ground:
            starts = start.centers(ground, found.drawn)
            facts, tol = rows.facts, TOL * float(found.columns.variance.mean())
            how = {"n_rows": facts.n_rows, "nbytes": facts.nbytes, "n_runs": len(starts)}
            runs = [Run(one, groups_for("auto", one, sparse=False, **how)) for one in starts]
            rule = Rule(tol, MAX_ITER, ground.origin, ground.square)
            run = best(lloyd(ground, runs, rule, unroll=1, with_labels=with_labels))
            return _numbered(Run(ground.moved_back(run.centers), final=run.final))

    def _axes(self, executor: Executor, rows: BlockDataset, seed: int) -> FloatArray:
        """Where rows of each cluster point (k, k)."""
        k = self._features.turn.shape[1]
        if self.assign_labels == "cluster_qr":
            return np.ascontiguousarray(pivoted(executor, rows, k).T)
        return np.ascontiguousarray(discretized(executor, rows, k, seed).T)

    def _labeller(self) -> Callable[[FloatArray], IntArray]:
        """What gives coordinates their labels, as they were fitted."""
        if self._assigned == "kmeans":
            return partial(_nearest, self.cluster_centers_)
        either = self._assigned == "cluster_qr"
        return partial(_along, self.cluster_centers_, either)

    @property
    def labels_(self) -> IntArray:
        """Labels of the rows that were fitted, for data in memory."""
        labels: IntArray | None = vars(self).get("_labels")
        if labels is None:
            raise AttributeError(
                "labels_ is kept for data in memory only, after fit. For lazy data use fit_predict(X) or "
                "predict(X): lazy labels, which stay on the workers."
            )
        return labels

    def predict(self, X: ArrayLike) -> Any:
        """The cluster of each row, by its coordinates, in kind.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes

        Returns
        -------
        (n,) int32, lazy where X is
        """
        check_is_fitted(self)
        return self._map_rows(
            X, partial(_predicted, self._features, self._labeller()), dtype=np.int32
        )

    def fit_predict(self, X: ArrayLike, y: Any = None) -> Any:
        """Fit, and the cluster of each row, in kind.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes
        y : ignored

        Returns
        -------
        (n,) int32, lazy where X is
        """
        self.fit(X)
        if is_dask(X):
            return self.predict(X)
        return map_rows(X, partial(_kept, self.labels_), dtype=np.int32)


def _inverse_root(affinity: FloatArray) -> FloatArray:
    """``R`` (m, r) with ``R R'`` the pseudo-inverse of a positive semi-definite matrix."""
    if not (np.isfinite(affinity).all() and affinity.any()):
        raise InvalidDataError(
            "The affinity between rows holds NaN or infinity, or is 0 for all of them. Pass an affinity of "
            "finite numbers, larger for rows that are more alike."
        )
    values, vectors = linalg.eigh(affinity)
    kept = values > len(values) * np.finfo(np.float64).eps * values[-1]
    root: FloatArray = vectors[:, kept] / np.sqrt(values[kept])
    return root


def _settled(values: FloatArray, vectors: FloatArray, size: int) -> FloatArray:
    """The first of some vectors (m, r) of falling eigenvalues (r,), as no rounding chose them: (m, size).

    Vectors of one eigenvalue may be turned in their space, a single one by its sign alone. Of all bases of
    it that one is taken whose products with random directions, once for all, are a triangle: QR makes the
    same of any other, and no symmetry of data puts a vector at right angles to them.
    """
    out, first = vectors.copy(), 0
    aside = generator(0, "spectral-signs").standard_normal(vectors.shape[::-1])
    while first < size:
        last = first + 1
        while last < len(values) and values[last - 1] - values[last] <= EQUAL:
            last += 1
        own = vectors[:, first:last]
        turn, triangle = np.linalg.qr((aside[: last - first] @ own).T)
        out[:, first:last] = own @ np.where(np.diagonal(triangle) < 0, -turn, turn)
        first = last
    return out[:, :size]


def _numbered(run: Run) -> Run:
    """A run whose clusters are numbered by where they lie, along a direction that is always the same.

    Clusters without affinity are all equally far apart, and the start of k-means then finds them in an order
    that rounding chooses.
    """
    assert run.final is not None
    order = np.argsort(
        run.centers @ generator(0, "spectral-order").standard_normal(len(run.centers.T))
    )
    number = np.argsort(order).astype(np.int32)
    labels = tuple((start, number[own]) for start, own in run.final.labels)
    return Run(run.centers[order], final=run.final._replace(labels=labels))


def _degrees(block: Block, at: tuple[FloatArray, Affinity]) -> FloatArray:
    landmarks, affinity = at
    total, size = np.zeros(len(landmarks)), max(TILE_VALUES // len(landmarks), 1)
    for start in range(0, block.n_rows, size):
        total += affinity(block.X[start : start + size], landmarks).sum(axis=0)
    return total


class Gram(NamedTuple):
    """Of kernel values over the root of the degree."""

    products: FloatArray
    """(m, m)"""
    n_lost: int
    """Rows that negative values leave no degree above 0."""


def _gram(block: Block, features: Features) -> Gram:
    m = len(features.landmarks)
    total, n_lost, size = np.zeros((m, m)), 0, max(TILE_VALUES // m, 1)
    for start in range(0, block.n_rows, size):
        values = features.affinity(block.X[start : start + size], features.landmarks)
        scaled, lost = features.over_degrees(values)
        total += scaled.T @ scaled
        n_lost += lost
    return Gram(total, n_lost)


def _gram_combined(a: Gram, b: Gram) -> Gram:
    return Gram(a.products + b.products, a.n_lost + b.n_lost)


DEGREES: Reduction[tuple[FloatArray, Affinity], FloatArray, FloatArray] = Reduction(
    "degrees", _degrees, operator.add
)
GRAM: Reduction[Features, Gram, Gram] = Reduction("affinity", _gram, _gram_combined)


def _mapped(bundle: Bundle, features: Features) -> Bundle:
    return bundle.map(partial(_mapped_block, features))


def _mapped_block(features: Features, block: Block) -> Block:
    return Block(features(block.X), None, block.weight, block.start, block.index)


def _predicted(
    features: Features, labeller: Callable[[FloatArray], IntArray], X: Matrix
) -> IntArray:
    return labeller(features(X))


def _nearest(centers: FloatArray, rows: FloatArray) -> IntArray:
    labels, _ = nearest(rows, centers)
    return labels


def _along(axes: FloatArray, either: bool, rows: FloatArray) -> IntArray:
    return axis_of(rows, axes.T, either=either)


Parts: TypeAlias = "tuple[tuple[int, IntArray], ...]"


def _pointing_chunk(block: Block, labeller: Callable[[FloatArray], IntArray]) -> Parts:
    return ((block.start, labeller(np.asarray(block.X))),)


POINTING: Reduction[Callable[[FloatArray], IntArray], Parts, Parts] = Reduction(
    "label", _pointing_chunk, operator.add
)
"""Labels of rows in this process, by their coordinates."""


def _kept(labels: IntArray, _: Any) -> Array:
    return labels


__all__ = ["SpectralClustering"]
