"""What ensembles of named, different members share: voting and stacking."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import TransformerMixin, clone
from sklearn.ensemble._base import _BaseHeterogeneousEnsemble
from sklearn.utils import Bunch, Tags

from daskml_kit.base import BlockEstimator
from daskml_kit.ensemble.members import nameless
from daskml_kit.ensemble.training import Recruit, check_members, knows_names, train
from daskml_kit.exceptions import InvalidParameterError
from daskml_kit.runtime.dataset import BlockDataset
from daskml_kit.runtime.executor import Executor
from daskml_kit.typing import Array


class NamedMembers(TransformerMixin, _BaseHeterogeneousEnsemble, BlockEstimator):
    """Members as ``[(name, estimator), ...]``, where "drop" takes the place of one that is left out."""

    estimators: Any
    n_jobs: int | None

    _kind: str  # of the members: "classifier" or "regressor"

    def __sklearn_tags__(self) -> Tags:
        tags: Tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []  # answers are of a type of their own
        return tags

    def _kept(self) -> list[tuple[str, Any]]:
        return [(name, model) for name, model in self.estimators if model != "drop"]

    def _check_named(self, *, weighted: bool) -> None:
        """Refuse names and estimators that can't be members."""
        try:
            self._validate_estimators()
        except (TypeError, ValueError) as error:
            raise InvalidParameterError(str(error)) from None
        members = [(in_words(name), model) for name, model in self._kept()]
        check_members(members, self._kind, weighted=weighted)

    def _recruits(self) -> list[Recruit]:
        return [Recruit(in_words(name), clone(model)) for name, model in self._kept()]

    def _fit_named(
        self, executor: Executor, data: BlockDataset, recruits: Sequence[Recruit]
    ) -> list[Any]:
        return train(
            executor,
            data,
            recruits,
            classes=data.facts.classes,
            names=getattr(self, "feature_names_in_", None),
            n_jobs=self.n_jobs,
        )

    def _name_members(self, models: Sequence[Any], *, told: bool = True) -> None:
        """Set ``estimators_`` and ``named_estimators_``.

        ``told``: they were fitted here, with the names of features.
        """
        self._told = [told and knows_names(model) for _, model in self._kept()]
        self.estimators_ = list(models)
        rest = iter(self.estimators_)
        self.named_estimators_ = Bunch(
            **{name: "drop" if m == "drop" else next(rest) for name, m in self.estimators}
        )

    def _voters(self) -> list[Any]:
        """The members, as they answer rows of plain arrays."""
        return [self._voter(i, model) for i, model in enumerate(self.estimators_)]

    def _voter(self, i: int, model: Any) -> Any:
        """A model that was fitted as member ``i`` was, as it answers rows of plain arrays."""
        return nameless(model, getattr(self, "feature_names_in_", None) if self._told[i] else None)


def in_words(name: str) -> str:
    """A named member, as errors call it."""
    return f"the member {name!r}"


def numbered(prefix: str, names: Sequence[str], widths: Sequence[int]) -> Array:
    """Names of the columns of members' answers: numbered for a member that has several."""
    out: list[str] = []
    for name, width in zip(names, widths, strict=True):
        many = [f"{prefix}_{name}{i}" for i in range(width)]
        out += [f"{prefix}_{name}"] if width == 1 else many
    return np.asarray(out, dtype=object)


__all__ = ["NamedMembers", "in_words", "numbered"]
