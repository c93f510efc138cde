"""The fit that both blockwise models share: members, then what their fusion needs."""

from __future__ import annotations

from functools import partial
from numbers import Integral
from typing import Any, Self

import numpy as np
from sklearn.base import clone
from sklearn.utils import Tags, get_tags

from daskml_kit.base import BlockEstimator
from daskml_kit.ensemble import fusion as fuse
from daskml_kit.ensemble.members import FIT_MEMBERS, Form, Member, Recipe, fitted
from daskml_kit.ensemble.out_of_block import META_ROWS, SCORE_MEMBERS, Panel
from daskml_kit.ensemble.training import check_members
from daskml_kit.exceptions import InvalidParameterError
from daskml_kit.runtime.block import Bundle
from daskml_kit.runtime.dataset import BlockDataset
from daskml_kit.runtime.executor import Executor
from daskml_kit.runtime.in_kind import RowFunction
from daskml_kit.runtime.ingest import DataFacts
from daskml_kit.runtime.random import seed_from
from daskml_kit.typing import ArrayLike, FloatArray, TargetKind

FUSIONS = ("vote", "average", "weighted", "stack")

STACK_ROWS = 100_000
"""Most rows, in the mean, that the final estimator of a stack is fitted on, on the driver: far more than
the few coefficients a member that it has to find."""

STACK_VALUES = 1 << 24
"""Most values of those rows (128 MB): with many members and classes it allows fewer rows."""


class Blockwise(BlockEstimator):
    """What both models share: fitting members, and weighing or stacking them."""

    estimator: Any
    fusion: str
    n_blocks: Any
    final_estimator: Any
    random_state: Any

    _kind: str  # of the members: "classifier" or "regressor"
    _target: TargetKind
    _multi_output = False

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        member = get_tags(self._member())
        tags.input_tags.sparse = member.input_tags.sparse
        tags.input_tags.allow_nan = member.input_tags.allow_nan
        tags.target_tags.multi_output = self._multi_output and member.target_tags.multi_output
        return tags

    def _member(self) -> Any:
        raise NotImplementedError

    def _final(self) -> Any:
        raise NotImplementedError

    def _soft(self) -> bool:
        """Whether members answer with probabilities rather than votes."""
        return False

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike = None) -> Self:
        """Fit one member for each block, then what the fusion needs.

        Parameters
        ----------
        X : (n, n_features) NumPy, pandas, scipy.sparse, dask.array, dask.dataframe or xarray.DataArray
            Sparse only if the member takes sparse input. Members see plain arrays, without names.
        y : (n,) labels of any type, or values
        sample_weight : (n,) or None
            Handed to the members; a row of weight zero counts as absent.

        Returns
        -------
        self

        Raises
        ------
        InvalidDataError, InvalidDataTypeError, InvalidParameterError, ClusterError
            Before any training round.
        """
        self._check_parameters(weighted=sample_weight is not None)
        seed = self._seed()
        with (
            self._opened(
                X,
                y,
                sample_weight,
                target=self._target,
                multi_output=get_tags(self).target_tags.multi_output,
                min_classes=1,
                edges=self._edges,
            ) as (data, executor),
            _one_block_each(data, executor) as blocks,
        ):
            self._fit_members(blocks, executor, seed)
        return self

    def _edges(self, facts: DataFacts) -> list[int]:
        """Where the members' rows begin: at every block that has rows, or evenly."""
        n = facts.n_rows
        if self.n_blocks is None:
            edges = sorted({*facts.starts, n})
        elif self.n_blocks > n:
            raise InvalidParameterError(
                f"n_blocks={self.n_blocks} asks for more members than there are rows (n_samples={n}). "
                "Pass a smaller n_blocks, or None for one member for each block of X."
            )
        else:
            edges = [i * n // self.n_blocks for i in range(self.n_blocks + 1)]
        self._check_members(len(edges) - 1)
        return edges

    def _check_members(self, count: int) -> None:
        if self.fusion == "stack" and count < 2:
            raise InvalidParameterError(
                'fusion="stack" needs at least 2 members, because the final estimator learns from rows '
                f"that a member has not seen, got {count}. Pass n_blocks=2 or more, data of several "
                'chunks, or fusion="average".'
            )

    def _seed(self) -> int | None:
        """What keys the members' random states; None leaves them alone."""
        try:
            seed = None if self.random_state is None else seed_from(self.random_state)
        except (TypeError, ValueError):
            seed = -1
        if seed is not None and seed < 0:
            raise InvalidParameterError(
                "random_state must be None, an int of at least 0 or a numpy RandomState, got "
                f"{self.random_state!r}."
            )
        return seed

    def _fit_members(self, data: BlockDataset, executor: Executor, seed: int | None) -> None:
        facts = data.facts
        recipe = Recipe(self._member(), facts.classes, self._edges(facts), seed)
        members = executor.reduce(data, FIT_MEMBERS, recipe)
        members = tuple(sorted(members, key=lambda m: m.start))
        self._check_members(len(members))
        self.estimators_ = [m.model for m in members]
        self.member_rows_ = np.array([(m.start, m.stop) for m in members])
        self.member_scores_: FloatArray | None = None
        self.weights_: FloatArray | None = None
        self.final_estimator_: Any = None
        if facts.classes is not None:
            self.classes_ = facts.classes
        self._n_outputs = facts.n_outputs  # 0 for one-dimensional y
        if self.fusion == "weighted":
            self._weigh(data, executor, members)
        elif self.fusion == "stack":
            self._stack(data, executor, members, seed_from(seed))
        self._fused = self._rule()  # as fitted, whatever the parameters are set to later

    def _weigh(self, data: BlockDataset, executor: Executor, members: tuple[Member, ...]) -> None:
        """Weights in proportion to the scores outside the own block."""
        scores: FloatArray = np.full(len(members), np.nan)
        if len(members) > 1:
            panel = Panel(members, self._form())
            scores = executor.reduce(data, SCORE_MEMBERS, panel).scores()
        positive = np.nan_to_num(scores).clip(min=0.0)
        total = positive.sum()
        self.member_scores_ = scores
        self.weights_ = positive / total if total > 0 else _equal(len(members))

    def _stack(
        self, data: BlockDataset, executor: Executor, members: tuple[Member, ...], seed: int
    ) -> None:
        """Fit the final estimator on a sample of rows, each seen by all members but its own."""
        classes, n_rows = data.facts.classes, data.facts.n_rows
        n_columns = fuse.n_meta_columns(len(members), self._form())
        share = min(STACK_ROWS, max(STACK_VALUES // n_columns, 1)) / n_rows
        panel = Panel(members, self._form(), share, seed)
        rows = executor.reduce(data, META_ROWS, panel)
        y = rows.y if classes is None else classes[rows.y]
        final = clone(self._final())
        self.final_estimator_ = fitted(final, rows.X, y, rows.weight, classes is not None)

    def _rule(self) -> RowFunction:
        """The fusion as fitted: checked rows -> (n, n_classes) or (n, 1)."""
        form = self._form()
        if self.final_estimator_ is not None:
            return partial(fuse.stacked, self.estimators_, self.final_estimator_, form)
        weights = _equal(len(self.estimators_)) if self.weights_ is None else self.weights_
        return partial(fuse.weighted_sum, self.estimators_, weights, form)

    def _form(self) -> Form:
        return Form(getattr(self, "classes_", None), self._soft(), max(self._n_outputs, 1))

    def _check_parameters(self, *, weighted: bool) -> None:
        if self.fusion not in FUSIONS:
            raise InvalidParameterError(
                f"fusion must be one of {list(FUSIONS)}, got {self.fusion!r}."
            )
        n = self.n_blocks
        if n is not None and (isinstance(n, bool) or not isinstance(n, Integral) or n < 1):
            raise InvalidParameterError(
                f"n_blocks must be an integer of at least 1, or None for one member for each block of "
                f"X, got {n!r}."
            )
        used = {"estimator": self._member()}
        if self.fusion == "stack":
            used["final_estimator"] = self._final()
        check_members(list(used.items()), self._kind, weighted=weighted)


def _equal(count: int) -> FloatArray:
    return np.full(count, 1.0 / count)


def _join(bundle: Bundle, _: Any) -> Bundle:
    return bundle.joined()


def _one_block_each(data: BlockDataset, executor: Executor) -> BlockDataset:
    """The same bundles, each of one block; what they were cut from is let go."""
    if all(b.n_blocks == 1 for b in data.bundles):
        return data
    joined = executor.map(data, _join, None)
    data.release()
    return joined


__all__ = ["FUSIONS", "Blockwise"]
