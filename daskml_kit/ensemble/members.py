"""Members of an ensemble: each fitted on one block, in the task that holds it, and asked alike.

Whatever a member knows of the classes, its answers have one column for each class of the whole data.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.base import clone
from sklearn.dummy import DummyClassifier

from daskml_kit.base import BlockEstimator
from daskml_kit.runtime.block import Block
from daskml_kit.runtime.random import generator
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.runtime.size import pickled_bytes
from daskml_kit.typing import Array, FloatArray, IntArray, Matrix

_SEED_LIMIT = 2**31 - 1


@dataclass(frozen=True, eq=False)
class Member:
    """A fitted model and the global rows of its block."""

    model: Any
    start: int
    stop: int
    nbytes: int

    def __sizeof__(self) -> int:
        return self.nbytes


@dataclass(frozen=True, eq=False)
class Recipe:
    """How members are made.

    Attributes
    ----------
    estimator : unfitted; each member is a clone
    classes : labels behind the class codes of the blocks, None for regression
    edges : first global row of each block, in order, then the number of rows
    seed : None leaves the ``random_state`` of the estimator as it is
    """

    estimator: Any
    classes: Array | None
    edges: Sequence[int]
    seed: int | None

    def new(self, start: int) -> Any:
        """The unfitted member of the block that begins at row ``start``."""
        return seeded(self.estimator, self.seed, bisect_left(self.edges, start))


def seeded(estimator: Any, seed: int | None, index: int) -> Any:
    """A clone, each ``random_state`` of which, nested ones too, is a number keyed by seed and index."""
    member = clone(estimator)
    if seed is not None:
        draws = generator(seed, f"member-{index}")
        names = sorted(member.get_params(deep=True))
        wanted = [n for n in names if n == "random_state" or n.endswith("__random_state")]
        member.set_params(**{n: int(draws.integers(_SEED_LIMIT)) for n in wanted})
    return member


def fitted(estimator: Any, X: Matrix, y: Array, weight: FloatArray | None, labels: bool) -> Any:
    """The estimator fitted on rows of positive weight; a constant where they have a single label."""
    if labels and (y == y[0]).all():
        return DummyClassifier(strategy="most_frequent").fit(X[:1], y[:1])
    how = {} if weight is None else {"sample_weight": weight}
    if labels and learns_codes(estimator):
        seen, codes = np.unique(y, return_inverse=True)
        return labelled(estimator.fit(X, codes, **how), seen)
    return estimator.fit(X, y, **how)


def weighted_rows(block: Block) -> tuple[Matrix, Array, FloatArray | None]:
    """X, y and weights of the rows whose weight is positive: weight zero means that a row is absent."""
    y = np.asarray(block.y)
    if block.weight is None or block.weight.all():
        return block.X, y, block.weight
    kept = np.flatnonzero(block.weight)
    return block.X[kept], y[kept], block.weight[kept]


def _fit_chunk(block: Block, recipe: Recipe) -> tuple[Member, ...]:
    X, y, weight = weighted_rows(block)
    if not len(y):
        return ()
    if recipe.classes is not None:
        y = recipe.classes[y]
    start, stop = block.start, block.start + block.n_rows
    try:
        model = fitted(recipe.new(start), X, y, weight, recipe.classes is not None)
    except Exception as error:
        error.add_note(f"This happened while fitting the member of rows {start} to {stop - 1}.")
        raise
    return (Member(model, start, stop, pickled_bytes(model)),)


def _chain(a: tuple[Member, ...], b: tuple[Member, ...]) -> tuple[Member, ...]:
    return a + b


FIT_MEMBERS: Reduction[Recipe, tuple[Member, ...], tuple[Member, ...]] = Reduction(
    "fit-members", _fit_chunk, _chain
)
"""One member for each block that has a row of positive weight."""


@dataclass(frozen=True, eq=False)
class Form:
    """What answers look like: the same columns whatever a member knows.

    Attributes
    ----------
    classes : sorted labels of the whole data, None for regression
    soft : members answer with probabilities rather than votes
    n_outputs : columns of a regression
    """

    classes: Array | None = None
    soft: bool = False
    n_outputs: int = 1

    @property
    def width(self) -> int:
        """Columns of an answer."""
        return self.n_outputs if self.classes is None else len(self.classes)


def answers(model: Any, X: Matrix, form: Form) -> FloatArray:
    """What one model says of each row.

    Parameters
    ----------
    model : fitted
    X : (n, n_features)
    form : of the answer

    Returns
    -------
    float64 ndarray of shape (n, form.width)
        A class that the model has never seen has zero in its column.
    """
    n = int(X.shape[0])
    out = np.zeros((n, form.width))
    if not n:
        return out
    if form.classes is None:
        out[:] = np.asarray(model.predict(X)).reshape(n, form.width)
    elif form.soft:
        out[:, np.searchsorted(form.classes, model.classes_)] = model.predict_proba(X)
    else:
        out[np.arange(n), np.searchsorted(form.classes, model.predict(X))] = 1.0
    return out


def learns_codes(estimator: Any) -> bool:
    """Whether a classifier takes no other labels than 0, 1, 2 ...: those of xgboost and ``lightgbm.dask``."""
    ours = isinstance(estimator, BlockEstimator)
    return not ours and (hasattr(estimator, "get_booster") or hasattr(estimator, "client"))


def labelled(model: Any, labels: Array) -> Any:
    """A classifier that has learned the places of labels, as one that answers with labels."""
    plain = np.array_equal(labels, np.arange(len(labels)))
    return model if plain and len(model.classes_) == len(labels) else Labelled(model, labels)


class Labelled:
    """A fitted classifier of codes that answers with labels; everything else is the model's.

    It has probabilities of all labels, even where the model itself knows only those that one worker has seen,
    as that of ``lightgbm.dask``.
    """

    def __init__(self, model: Any, labels: Array) -> None:
        self.model, self.classes_ = model, labels

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in ("model", "classes_"):
            raise AttributeError(name)
        return getattr(self.model, name)

    def __repr__(self) -> str:
        return f"Labelled({self.model!r}, {self.classes_!r})"

    def predict(self, X: Matrix) -> Array:
        """The likeliest label of each row."""
        out: Array = self.classes_[np.asarray(self.model.predict_proba(X)).argmax(axis=1)]
        return out


class Through:
    """A fitted model whose rows are changed on their way to it."""

    def __init__(self, model: Any, change: Callable[[Matrix], Any]) -> None:
        self.model, self.change = model, change
        if hasattr(model, "classes_"):
            self.classes_ = model.classes_

    def __getattr__(self, name: str) -> Any:
        if name not in ("predict", "predict_proba", "decision_function"):
            raise AttributeError(name)
        return partial(_asked, getattr(self.model, name), self.change)


def _asked(method: Callable[[Any], Any], change: Callable[[Matrix], Any], X: Matrix) -> Any:
    return method(change(X))


def on_columns(model: Any, columns: IntArray) -> Through:
    """A model that was fitted on some of the features, as one that takes them all."""
    return Through(model, partial(_columns, columns))


def _columns(columns: IntArray, X: Matrix) -> Matrix:
    return X[:, columns]


def nameless(model: Any, names: Sequence[str] | None = None) -> Any:
    """A model that was fitted on named features, as one that takes plain arrays.

    Parameters
    ----------
    names : of the features; None: those that the model has kept, if any
    """
    if names is None:
        names = getattr(model, "feature_names_in_", None)
    return model if names is None else Through(model, partial(framed, list(names)))


def framed(names: list[str], X: Any) -> pd.DataFrame:
    """Rows as a dataframe; a view of them, unless they are sparse."""
    accessor: Any = pd.DataFrame.sparse
    if sparse.issparse(X):
        frame: pd.DataFrame = accessor.from_spmatrix(X, columns=names)
        return frame
    return pd.DataFrame(X, columns=names)


__all__ = [
    "FIT_MEMBERS",
    "Form",
    "Labelled",
    "Member",
    "Recipe",
    "Through",
    "answers",
    "fitted",
    "framed",
    "labelled",
    "learns_codes",
    "nameless",
    "on_columns",
    "seeded",
    "weighted_rows",
]
