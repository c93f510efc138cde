"""Bisecting k-means over blocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Self

import numpy as np

from daskml_kit.base import check_flag
from daskml_kit.cluster.ground import Ground, prepared, survey
from daskml_kit.cluster.splitting import LEAVES, Growth, Strategy, Tree, split
from daskml_kit.cluster.started import (
    StartedModel,
    as_start,
    check_count,
    check_tol,
    check_verbose,
)
from daskml_kit.exceptions import InvalidParameterError
from daskml_kit.kernels.pairs import descend
from daskml_kit.runtime.ingest import DataFacts
from daskml_kit.runtime.random import seed_from
from daskml_kit.runtime.sources import is_dask
from daskml_kit.typing import ArrayLike, FloatArray, IntArray, Matrix

STARTS = ("random", "k-means++")
STRATEGIES = ("biggest_inertia", "largest_cluster")


class BisectingKMeans(StartedModel):
    """K-means that splits one cluster in two until there are enough.

    Clusters that may be split next are split side by side: about ``log2(n_clusters)`` generations of
    2-means, each row compared with two centres a pass.

    Parameters
    ----------
    n_clusters : int, default=8
    init : {"random", "k-means++"} or callable, default="random"
        - By name: two rows of a cluster, in proportion to their weights; the second in proportion to its
          squared distance to the first too, with "k-means++" and where the two drawn are equal. From there a
          split goes as far as a sample of the cluster tells (2,000 rows, of all splits at most one row in 16;
          none below 100), before all rows are read.
        - A callable is given ``(X, 2, random_state)`` with the rows of the cluster to split, in their order,
          as an array or CSR in this process, and returns two centres. Of a cluster of more rows than hold
          2,097,152 values (and more than 1,000) it is given so many of them, drawn without their weights.
          Clusters that may be split next are handed to it, too, whether they come to be split or not. This
          process holds no more rows than that at a time: more take further passes.
    n_init : int, default=1
        Runs for each split, in the same passes; the best is kept.
    random_state : int, RandomState or None
        Draws are keyed by seed and row: chunks don't change them.
    max_iter : int, default=300
        Most iterations of a split, over the sample and then over all rows.
    verbose : int, default=0
        1 shows a progress line.
    tol : float, default=1e-4
        A split has converged when the squared shifts of its centres sum up to at most so much. Not relative
        to a variance, as in scikit-learn.
    copy_x : bool, default=True
        Has no effect: data are never changed.
    algorithm : {"lloyd", "elkan"}, default="lloyd"
        Has no effect: there are two distances to compute.
    bisecting_strategy : {"biggest_inertia", "largest_cluster"}, default="biggest_inertia"
        Which cluster is split next.
    balance : {"adaptive", "even", "data"} or None (as configured); see :func:`~daskml_kit.config_context`

    Attributes
    ----------
    cluster_centers_ : ndarray of shape (n_clusters, n_features), of the dtype of X
    labels_ : int32 ndarray of shape (n,), for data in memory only
    inertia_ : float
    n_rounds_, n_passes_, history_ : see :class:`~daskml_kit.base.BlockEstimator`

    Notes
    -----
    ``predict`` goes down the tree, as in scikit-learn: a row may be nearer to the centre of a cluster in
    another branch.

    References
    ----------
    Steinbach, Karypis, Kumar (2000). A comparison of document clustering techniques. KDD workshop.
    Bradley, Fayyad (1998). Refining initial points for k-means clustering. ICML.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array(
    ...     [[1.0, 1], [10, 1], [3, 1], [10, 0], [2, 1], [10, 2], [10, 8], [10, 9], [10, 10]]
    ... )
    >>> model = BisectingKMeans(n_clusters=3, random_state=0).fit(X)
    >>> sorted(model.cluster_centers_.tolist())
    [[2.0, 1.0], [10.0, 1.0], [10.0, 9.0]]
    """

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        init: str | Callable[..., ArrayLike] = "random",
        n_init: int = 1,
        random_state: Any = None,
        max_iter: int = 300,
        verbose: int = 0,
        tol: float = 1e-4,
        copy_x: bool = True,
        algorithm: str = "lloyd",
        bisecting_strategy: str = "biggest_inertia",
        balance: str | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.init = init
        self.n_init = n_init
        self.random_state = random_state
        self.max_iter = max_iter
        self.verbose = verbose
        self.tol = tol
        self.copy_x = copy_x
        self.algorithm = algorithm
        self.bisecting_strategy = bisecting_strategy
        self.balance = balance

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
        how = Strategy(
            int(self.n_init),
            int(self.max_iter),
            float(self.tol),
            isinstance(self.init, str) and self.init == "k-means++",
            self.bisecting_strategy == "largest_cluster",
            seed_from(self.random_state),
        )
        with self._opened(X, None, sample_weight) as (data, executor):
            self._check_size(data.facts)
            if callable(self.init):
                how = replace(how, given=partial(_asked, self.init, data.facts))
            found = survey(executor, data, how.seed)
            with prepared(executor, data, found) as ground:
                facts = data.facts
                origin = ground.origin.astype(facts.dtype)
                growth = Growth([origin], [ground.square], [0.0], [facts.n_rows])
                wanted, inner = growth.wanted(int(self.n_clusters))
                while wanted:
                    split(ground, growth, wanted, how)
                    wanted, inner = growth.wanted(int(self.n_clusters))
                tree, leaves = growth.pruned(inner)
                self._labels = None if is_dask(X) else _labels(ground, tree, leaves)
                self._tree = Tree(ground.moved_back(tree.centers), tree.child)
        self._leaves = _numbered(tree, leaves)
        self.cluster_centers_ = self._tree.centers[leaves]
        self.inertia_ = float(sum(growth.costs[leaf] for leaf in leaves))
        return self

    def _check_parameters(self) -> None:
        for name in ("n_clusters", "n_init", "max_iter"):
            check_count(name, getattr(self, name))
        check_tol(self.tol)
        check_verbose(self.verbose)
        check_flag("copy_x", self.copy_x)
        if not (callable(self.init) or (isinstance(self.init, str) and self.init in STARTS)):
            raise InvalidParameterError(
                f"init must be one of {list(STARTS)} or a callable, got {self.init!r}. Every split "
                "begins in its own cluster, so no array gives all starts."
            )
        choices = {
            "algorithm": ("lloyd", "elkan"),
            "bisecting_strategy": STRATEGIES,
        }
        for name, known in choices.items():
            value = getattr(self, name)
            if not isinstance(value, str) or value not in known:
                raise InvalidParameterError(f"{name} must be one of {list(known)}, got {value!r}.")

    def _labeller(self) -> Callable[[Matrix], IntArray]:
        return partial(_descended, self._tree, self._leaves)


def _asked(
    init: Callable[..., ArrayLike], facts: DataFacts, rows: Matrix, state: np.random.RandomState
) -> FloatArray:
    """The caller's two centres for the rows of a cluster, checked."""
    return as_start(init(rows, 2, random_state=state), 2, facts)


def _numbered(tree: Tree, leaves: list[int]) -> IntArray:
    """The label of each node (m,) int32."""
    numbers = np.full(len(tree.child), -1, dtype=np.int32)
    numbers[leaves] = np.arange(len(leaves))
    return numbers


def _labels(ground: Ground, tree: Tree, leaves: list[int]) -> IntArray:
    parts = sorted(ground.executor.reduce(ground.data, LEAVES, tree), key=lambda part: part[0])
    return np.asarray(_numbered(tree, leaves)[np.concatenate([at for _, at in parts])])


def _descended(tree: Tree, numbers: IntArray, X: Matrix) -> IntArray:
    at = np.zeros(X.shape[0], dtype=np.int32)
    descend(X, tree.centers, tree.child, at)
    return np.asarray(numbers[at])


__all__ = ["BisectingKMeans"]
