"""Mini-batch k-means over blocks."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

import numpy as np
from sklearn.utils.validation import validate_data

from daskml_kit.base import check_flag, check_number, users_level
from daskml_kit.cluster.assignment import At, Labelled, labelling
from daskml_kit.cluster.batches import (
    ROWS,
    STEP,
    Batch,
    BatchSums,
    Line,
    drawing,
    few_rows,
    line_of,
    no_pass,
)
from daskml_kit.cluster.ground import Ground, grid_of, prepared, survey
from daskml_kit.cluster.selection import Asked
from daskml_kit.cluster.side_by_side import side_by_side
from daskml_kit.cluster.started import (
    Init,
    StartedModel,
    check_count,
    check_init,
    check_tol,
    check_verbose,
)
from daskml_kit.cluster.starts import Sampled, Start
from daskml_kit.kernels.exact_sums import Grid
from daskml_kit.runtime.in_kind import stand_in
from daskml_kit.runtime.random import generator, seed_from
from daskml_kit.runtime.sources import is_dask
from daskml_kit.typing import ArrayLike, FloatArray, IntArray


class MiniBatchKMeans(StartedModel):
    """K-means by steps on small random batches of the resident rows.

    Each step moves a centre to the mean of all rows that it was ever given, and costs one round that reads
    ``batch_size`` rows, drawn with replacement in proportion to their weights.

    Parameters
    ----------
    n_clusters : int, default=8
    init : {"k-means++", "k-means||", "random"}, array of shape (n_clusters, n_features) or callable
        As for :class:`~daskml_kit.cluster.KMeans`; "k-means++" on a sample of ``init_size`` rows.
    max_iter : int, default=100
        Most steps, in multiples of what reads as many rows as there are.
    batch_size : int, default=1024
    verbose : int, default=0
        1 shows a progress line.
    compute_labels : bool, default=True
        Whether a last pass computes ``inertia_`` and, for data in memory, ``labels_``.
    random_state : int, RandomState or None
        Draws are keyed by seed, step and row: equal seeds give equal centres, however the data are chunked.
    tol : float, default=0.0
        End when the squared shifts of the centres in a step sum up to at most ``tol`` times the mean variance
        of the columns. 0 is off.
    max_no_improvement : int or None, default=10
        End after so many steps that did not lower the smoothed inertia of the batches. None is off.
    init_size : int or None, default=None
        Rows of the sample for "k-means++"; None is ``3 batch_size``. Where that is less than ``n_clusters``,
        ``3 n_clusters``.
    n_init : "auto" or int, default="auto"
        Starts, of which the best is taken. "auto" is 3 for "random" and callables, else 1.
    reassignment_ratio : float, default=0.01
        Centres with less than this part of the largest count are moved to random rows of the batch.
    balance : {"adaptive", "even", "data"} or None (as configured); see :func:`~daskml_kit.config_context`

    Attributes
    ----------
    cluster_centers_ : ndarray of shape (n_clusters, n_features), of the dtype of X
    labels_ : int32 ndarray of shape (n,), for data in memory only
    inertia_ : float
        Of all rows; with ``compute_labels=False`` estimated from the batches.
    n_steps_ : int
        Batches.
    n_iter_ : int
        Reads of all rows that the batches amount to, rounded up.
    n_rounds_, n_passes_, history_ : see :class:`~daskml_kit.base.BlockEstimator`
        A step is a round but no pass.

    Notes
    -----
    With weights, one pass over them tells where in the order of weights each block begins. Rows of weight 0
    are in no batch, so no centre is moved to them.

    References
    ----------
    Sculley (2010). Web-scale k-means clustering. WWW. Algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[1.0, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
    >>> model = MiniBatchKMeans(2, batch_size=6, random_state=0).fit(X)
    >>> bool(model.predict([[0.0, 0.0]])[0] == model.predict([[1.0, 3.0]])[0])
    True
    """

    several_runs = 3

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        init: Init = "k-means++",
        max_iter: int = 100,
        batch_size: int = 1024,
        verbose: int = 0,
        compute_labels: bool = True,
        random_state: Any = None,
        tol: float = 0.0,
        max_no_improvement: int | None = 10,
        init_size: int | None = None,
        n_init: int | Literal["auto"] = "auto",
        reassignment_ratio: float = 0.01,
        balance: str | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.init = init
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.verbose = verbose
        self.compute_labels = compute_labels
        self.random_state = random_state
        self.tol = tol
        self.max_no_improvement = max_no_improvement
        self.init_size = init_size
        self.n_init = n_init
        self.reassignment_ratio = reassignment_ratio
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
        seed, in_memory = seed_from(self.random_state), not is_dask(X)
        with self._opened(X, None, sample_weight) as (data, executor):
            self._check_size(data.facts)
            n_rows = data.facts.n_rows
            start = self._sized(self._start(X, data.facts, seed), n_rows)
            found = survey(executor, data, seed, start.asked)
            size = min(int(self.batch_size), n_rows)
            stop = Stop(
                float(self.tol) * float(found.columns.variance.mean()),
                self.max_no_improvement,
                size,
                n_rows,
            )
            with prepared(executor, data, found) as ground:
                drawn = [one._replace(points=ground.moved(one.points)) for one in found.drawn]
                steps = Steps(self._best(ground, start.centers(ground, drawn)), seed)
                batches = Batches(
                    ground,
                    grid_of(found._replace(heaviest=1.0), ground.shift),
                    line_of(executor, ground.data),
                )
                for _ in range(max(int(self.max_iter) * n_rows // size, 1)):
                    before = steps.centers
                    inertia = self._step(batches, steps, size)
                    if stop.now(float(np.sum((steps.centers - before) ** 2)), inertia):
                        break
                final = self._finally(ground, steps, in_memory) if self.compute_labels else None
                centers = ground.moved_back(steps.centers)
        self._keep(centers, steps, final, in_memory)
        self.n_iter_ = int(np.ceil(steps.n_steps * size / n_rows))
        if final is None:
            self.inertia_ = stop.smoothed * found.spread.weight
        return self

    def partial_fit(self, X: ArrayLike, y: Any = None, sample_weight: ArrayLike = None) -> Self:
        """One step, with all rows of X as the batch.

        Parameters
        ----------
        X : (n, n_features), whatever ``fit`` takes
            The first call needs at least ``n_clusters`` rows, to start from.
        y : ignored
        sample_weight : (n,) or None

        Returns
        -------
        self

        Notes
        -----
        A step over rows of float64 makes ``cluster_centers_`` float64 for good: no digit is lost to float32.
        """
        self._check_parameters()
        first, in_memory = not hasattr(self, "cluster_centers_"), not is_dask(X)
        if not first:
            validate_data(self, stand_in(X), reset=False, skip_check_array=True)
        steps: Steps = (
            Steps(np.empty((0, 0)), seed_from(self.random_state)) if first else replace(self._steps)
        )
        with self._opened(X, None, sample_weight) as (data, executor):
            start: Start = Sampled(1, 0, 0, 1)
            if first:
                self._check_size(data.facts)
                start = self._sized(self._start(X, data.facts, steps.seed), data.facts.n_rows)
            found = survey(executor, data, steps.seed, start.asked if first else ())
            with prepared(executor, data, found) as ground:
                if first:
                    drawn = [one._replace(points=ground.moved(one.points)) for one in found.drawn]
                    steps.centers = self._best(ground, start.centers(ground, drawn))
                else:
                    dtype = np.result_type(self.cluster_centers_, data.facts.dtype)
                    steps.centers = (self.cluster_centers_ - ground.shift).astype(dtype)
                self._step_of_all(ground, steps)
                final = self._finally(ground, steps, in_memory) if self.compute_labels else None
                centers = (steps.centers + ground.shift).astype(steps.centers.dtype)
        self._keep(centers, steps, final, in_memory)
        return self

    @property
    def labels_(self) -> IntArray:
        """Labels of the rows that were fitted, for data in memory."""
        if not self.compute_labels and "_labels" in vars(self):
            raise AttributeError(
                "labels_ is not kept with compute_labels=False. Use predict(X), or compute_labels=True."
            )
        return super().labels_

    def _check_parameters(self) -> None:
        for name in ("n_clusters", "max_iter", "batch_size"):
            check_count(name, getattr(self, name))
        for name, least in {"init_size": 1, "max_no_improvement": 0}.items():
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), least=least, whole=True)
        if self.n_init != "auto":
            check_count("n_init", self.n_init, ' or "auto"')
        check_tol(self.tol)
        check_flag("compute_labels", self.compute_labels)
        check_verbose(self.verbose)
        check_number("reassignment_ratio", self.reassignment_ratio, least=0)
        check_init(self.init)

    def _sized(self, start: Start, n_rows: int) -> Start:
        """A sample of ``init_size`` rows."""
        if not isinstance(start, Sampled):
            return start
        k, size = int(self.n_clusters), self.init_size
        if size is not None and size < k:
            warnings.warn(
                f"init_size={size} should be larger than n_clusters={k}. Setting it to "
                "min(3*n_clusters, n_samples)",
                RuntimeWarning,
                stacklevel=users_level(),
            )
        size = 3 * min(int(self.batch_size), n_rows) if size is None else int(size)
        return replace(start, n_rows=size if size >= k else 3 * k)

    def _best(self, ground: Ground, starts: list[FloatArray]) -> FloatArray:
        """The start of least inertia: one pass, if there are several."""
        if len(starts) == 1:
            return starts[0]
        at = tuple(At(one, ground.origin, ground.grid) for one in starts)
        found = ground.executor.reduce(ground.data, side_by_side(labelling(with_labels=False)), at)
        return starts[int(np.argmin([np.inf if one is None else one.inertia for one in found]))]

    def _step(self, batches: Batches, steps: Steps, size: int) -> float:
        """One round, and another where centres are moved to rows of the batch; its inertia."""
        places = batches.line.places(steps.generator("rows").random(size))
        found = batches.sums(places, steps.centers)
        idle = steps.moved(found, size, float(self.reassignment_ratio))
        if len(idle):
            taken = steps.generator("reassign").choice(size, len(idle), replace=False)
            steps.put(idle, batches.rows(np.sort(places[taken])))
        return found.inertia

    def _step_of_all(self, ground: Ground, steps: Steps) -> None:
        """The same with all rows as the batch."""
        executor, data, n_rows = ground.executor, ground.data, ground.data.facts.n_rows
        batch = Batch(None, Line(n_rows), steps.centers, ground.origin, ground.grid)
        found = executor.reduce(data, STEP, batch, objective=_inertia)
        idle = steps.moved(found, n_rows, float(self.reassignment_ratio))
        if len(idle):
            asked = Asked(f"mini-batch-reassign-{steps.n_steps}", len(idle))
            points = executor.reduce(data, drawing(steps.seed, asked), None).points
            steps.put(idle[: len(points)], points)  # rows of weight 0 are never drawn

    def _finally(self, ground: Ground, steps: Steps, with_labels: bool) -> Labelled:
        at = At(steps.centers, ground.origin, ground.grid)
        return ground.executor.reduce(ground.data, labelling(with_labels=with_labels), at)

    def _keep(
        self, centers: FloatArray, steps: Steps, final: Labelled | None, in_memory: bool
    ) -> None:
        self.cluster_centers_, self.n_steps_ = centers, steps.n_steps
        self._steps: Steps = steps
        self._labels = final.all_labels() if final is not None and in_memory else None
        if final is not None:
            self.inertia_ = final.inertia


def _inertia(found: BatchSums) -> float:
    return found.inertia


@dataclass
class Batches:
    """Rows drawn by weight, and rounds over them that count no pass."""

    ground: Ground
    grid: Grid  # of exact sums over rows that count one each
    line: Line

    def sums(self, places: IntArray, centers: FloatArray) -> BatchSums:
        """Of the rows at some places, about some centres."""
        ground = self.ground
        while True:
            batch = Batch(places, self.line, centers, ground.origin, self.grid)
            found = ground.executor.reduce(ground.data, STEP, batch, objective=few_rows)
            if not found.missed:
                return found
            self.line = line_of(ground.executor, ground.data)

    def rows(self, places: IntArray) -> FloatArray:
        """The rows themselves."""
        executor, data = self.ground.executor, self.ground.data
        while True:
            found = executor.reduce(data, ROWS, (self.line, places), objective=no_pass)
            if not found.missed:
                return found.points
            self.line = line_of(executor, data)


@dataclass
class Steps:
    """The centres and all that they have seen."""

    centers: FloatArray
    seed: int
    seen: FloatArray = field(default_factory=lambda: np.zeros(0))  # (k,) weight, ever
    n_steps: int = 0
    since_reassigned: int = 0

    def generator(self, purpose: str) -> np.random.Generator:
        """For the draws of the present step."""
        return generator(self.seed, f"mini-batch-{purpose}-{self.n_steps}")

    def put(self, which: IntArray, points: FloatArray) -> None:
        """Some of the centres elsewhere."""
        self.centers = self.centers.copy()
        self.centers[which] = points

    def moved(self, found: BatchSums, n_rows: int, ratio: float) -> IntArray:
        """Move the centres by a batch; those that are given so few rows that they should move elsewhere.

        The rule of scikit-learn: looked at every ``10 k`` rows, or while a centre has no rows at all.
        """
        self.seen = self.seen if len(self.seen) else np.zeros(len(self.centers))
        self.since_reassigned += n_rows
        look = bool((self.seen == 0).any()) or self.since_reassigned >= 10 * len(self.centers)
        if look:
            self.since_reassigned = 0
        seen = self.seen + found.counts
        means = (self.centers * self.seen[:, None] + found.sums) / np.where(seen > 0, seen, 1.0)[
            :, None
        ]
        means = np.where(found.counts[:, None] > 0, means, self.centers)
        self.centers, self.seen = means.astype(self.centers.dtype), seen
        self.n_steps += 1
        if not look or ratio == 0:
            return np.empty(0, dtype=np.int64)
        idle = np.flatnonzero(seen < ratio * seen.max())
        idle = np.sort(idle[np.argsort(seen[idle], kind="stable")][: n_rows // 2])
        if len(idle):
            rest = np.delete(seen, idle)
            self.seen[idle] = rest.min()  # not too few, or they move again at once
        return idle


@dataclass
class Stop:
    """When steps have had enough, by scikit-learn's rules."""

    tol: float
    patience: int | None
    batch_size: int
    n_rows: int
    smoothed: float = float("nan")  # inertia of a row
    least: float = float("inf")
    in_vain: int = 0
    n_steps: int = 0

    def now(self, shift: float, inertia: float) -> bool:
        """Whether the step with this squared shift and batch inertia was the last."""
        self.n_steps += 1
        mean = inertia / self.batch_size
        if self.n_steps == 1:
            self.smoothed = mean
            return False
        share = min(2.0 * self.batch_size / (self.n_rows + 1), 1.0) if self.n_steps > 2 else 1.0
        self.smoothed = (1 - share) * self.smoothed + share * mean
        if self.tol > 0 and shift <= self.tol:
            return True
        better = self.smoothed < self.least
        self.least, self.in_vain = (self.smoothed, 0) if better else (self.least, self.in_vain + 1)
        return self.patience is not None and self.in_vain >= self.patience


__all__ = ["MiniBatchKMeans"]
