"""Which cell of a cross-validation each row is in, worked out where the row is.

Folds that share out each class (:class:`~sklearn.model_selection.StratifiedKFold`) follow from the number of
rows of each class in each block, one small round: a block then knows which of a class's rows its own are.
Shuffled ones are dealt in the order that scikit-learn's generator gives, which has to run over all rows: it
runs where a question is answered, from its state of 2.5 kB, so the driver's work does not grow with the rows.
A block keeps its codes in its scratch, and is not told again.
"""

from __future__ import annotations

import copy
import threading
import uuid
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
from sklearn.model_selection import StratifiedKFold
from sklearn.utils import check_random_state

from daskml_kit.base import check_number, users_level
from daskml_kit.exceptions import InvalidParameterError
from daskml_kit.linear_model.folds import RowCells, Split, row_splits
from daskml_kit.runtime.block import Block
from daskml_kit.runtime.ingest import DataFacts
from daskml_kit.typing import IntArray

Total = TypeVar("Total")


class Deck:
    """The folds of each class's rows, shuffled as scikit-learn does. Made where they are first asked for.

    Parameters
    ----------
    edges : (n_classes, n_folds) as :class:`Strata` has them
    order : (n_classes,) classes in the order of their first rows
    state : numpy.random.RandomState before the shuffle
        A copy is kept: the user's own moves on, and whoever is told of the deck later must deal the same.

    Notes
    -----
    A byte and 21 ns a row for each copy that a question brings along, where that is answered: in the first
    round of a fit, and again wherever a bundle was spilled and has to be told its cells anew.
    """

    def __init__(self, edges: IntArray, order: IntArray, state: np.random.RandomState) -> None:
        self.edges, self.order, self.state = edges, order, copy.deepcopy(state)
        self._turn = threading.Lock()
        self._made: tuple[list[IntArray], np.random.RandomState] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return (Deck, (self.edges, self.order, self.state))

    @property
    def folds(self) -> list[IntArray]:
        """Of each class, the fold of each of its rows."""
        return self._shuffled()[0]

    @property
    def after(self) -> np.random.RandomState:
        """The generator after the shuffle."""
        return self._shuffled()[1]

    def _shuffled(self) -> tuple[list[IntArray], np.random.RandomState]:
        with self._turn:
            if self._made is None:
                self._made = self._shuffle()
            return self._made

    def _shuffle(self) -> tuple[list[IntArray], np.random.RandomState]:
        rng, n_folds = copy.deepcopy(self.state), self.edges.shape[1]
        out: list[IntArray] = [np.zeros(0, dtype=np.int64)] * len(self.edges)
        for k in self.order:
            folds = np.arange(n_folds, dtype=np.min_scalar_type(n_folds))
            out[k] = folds.repeat(np.diff(self.edges[k], prepend=0))
            rng.shuffle(out[k])
        return out, rng


@dataclass(frozen=True, eq=False)
class Strata:
    """Folds that share out each class, as scikit-learn's ``StratifiedKFold``, in order or shuffled.

    Attributes
    ----------
    before : dict of (n_classes,)
        First row of each block -> how many rows of each class come before it.
    edges : (n_classes, n_folds)
        Of the rows of a class, the number that is in this fold or an earlier one.
    deck : where rows are shuffled
    """

    before: dict[int, IntArray]
    edges: IntArray
    deck: Deck | None = None

    def codes(self, block: Block) -> IntArray | None:
        """The fold of each row; None for a block that was cut after the rows were counted."""
        if not block.n_rows:  # counts know nothing of it, and need not
            return np.zeros(0, dtype=np.int64)
        if block.start not in self.before:
            return None
        y, out = np.asarray(block.y), np.zeros(block.n_rows, dtype=np.int64)
        for k, edges in enumerate(self.edges):
            own = np.flatnonzero(y == k)
            rank = self.before[block.start][k] + np.arange(len(own))
            out[own] = (
                np.searchsorted(edges, rank, side="right")
                if self.deck is None
                else self.deck.folds[k][rank]
            )
        return out


Cells: TypeAlias = Strata | RowCells


def codes_of(cells: Cells, block: Block) -> IntArray | None:
    """The cell of each row of a block; None where only a new count could tell."""
    if isinstance(cells, Strata):
        return cells.codes(block)
    out = np.zeros(block.n_rows, dtype=np.int64)
    for cell, rows in cells.of(block.rows):
        out[rows] = cell
    return out


# ---------------------------------------------------------------- asked and told


@dataclass(frozen=True, eq=False)
class Told:
    """What a question says of the cells: all of it once, then only which ones are meant."""

    token: str
    cells: Cells | None


def row_codes(told: Told, block: Block) -> IntArray | None:
    """The cell of each row of a block, as told now or before; None where it has to be told again."""
    kept = block.scratch.get("cells")
    if kept is not None and kept[0] == told.token:
        return np.asarray(kept[1])
    codes = None if told.cells is None else codes_of(told.cells, block)
    if codes is not None:
        codes = codes.astype(np.min_scalar_type(int(codes.max(initial=0))))
        block.scratch["cells"] = (told.token, codes)
    return codes


class Cellar:
    """The cells of one fit: what its questions say of them.

    Blocks that have been told the cells keep them. Where one has lost them, as when it was spilled, its round
    is asked again with all of it, and so are those that follow: what was spilled once will be again.
    """

    def __init__(self, cells: Cells, recount: Callable[[], dict[int, IntArray]]) -> None:
        self.cells, self.recount = cells, recount
        self._token = uuid.uuid4().hex
        self._known = self._forgotten = False

    def asked(self, ask: Callable[[Told], Total | None]) -> Total:
        """A round's total.

        ``ask(told)`` does the round, and gives None where a block could not tell its cells.
        """
        while True:
            tell = self._forgotten or not self._known
            total = ask(Told(self._token, self.cells if tell else None))
            if total is not None:
                self._known = True
                return total
            if tell and isinstance(
                self.cells, Strata
            ):  # blocks were cut since their rows were counted
                self.cells = replace(self.cells, before=self.recount())
            self._forgotten = self._known


# ---------------------------------------------------------------- counts


class Counts(NamedTuple):
    """Rows of each class."""

    before: dict[int, IntArray]
    """Of each block, by its first row."""
    first: IntArray
    """First global row of each class."""


def counts_of(n_classes: int, block: Block, _: Any = None) -> Counts:
    """The counts of one block."""
    y = np.asarray(block.y)
    first = np.full(n_classes, np.iinfo(np.int64).max)
    labels, at = np.unique(y, return_index=True)
    first[labels] = at + block.start
    return Counts({block.start: np.bincount(y, minlength=n_classes)} if len(y) else {}, first)


def joined(a: Counts, b: Counts) -> Counts:
    """Of the blocks of both."""
    return Counts({**a.before, **b.before}, np.minimum(a.first, b.first))


def before(counts: Counts) -> dict[int, IntArray]:
    """Of each class, the rows before each block."""
    starts = sorted(counts.before)
    each = np.array([counts.before[s] for s in starts])
    return dict(zip(starts, np.cumsum(each, axis=0) - each, strict=True))


# ---------------------------------------------------------------- folds


class Folding(NamedTuple):
    """The cells of a cross-validation, and its splits."""

    cells: Cells
    splits: tuple[Split, ...]
    n_cells: int


def folding(cv: Any, facts: DataFacts, counted: Callable[[], Counts]) -> Folding:
    """The folds that scikit-learn's cross-validation of a classifier makes.

    Parameters
    ----------
    cv : None (5 folds), int, splitter or iterable
        Numbers, and any ``StratifiedKFold``, share out each class; others are asked for row numbers.
    facts : of the data
    counted : counts the rows of each class, where they are asked for

    Raises
    ------
    InvalidParameterError
        If no class has a row for each fold, and as
        :func:`~daskml_kit.linear_model.folds.row_splits`.
    """
    cv = 5 if cv is None else cv
    if isinstance(cv, Integral):
        check_number("cv", cv, least=2, whole=True)
        cv = StratifiedKFold(int(cv))
    if type(cv) is not StratifiedKFold:
        found = row_splits(cv, facts)
        return Folding(found.cells, found.splits, found.n_cells)
    every = range(int(cv.n_splits))
    counts = counted()
    strata = stratified(counts, len(every))
    if cv.shuffle:
        deck = Deck(strata.edges, np.argsort(counts.first), check_random_state(cv.random_state))
        strata = replace(strata, deck=deck)
    splits = tuple(Split(tuple(c for c in every if c != f), (f,)) for f in every)
    return Folding(strata, splits, len(every))


def stratified(counts: Counts, n_folds: int) -> Strata:
    """The folds from the class counts of all blocks.

    Raises
    ------
    InvalidParameterError
        If no class has a row for each fold.

    Warns
    -----
    UserWarning
        If some class has fewer rows than there are folds.
    """
    total = np.sum(list(counts.before.values()), axis=0)
    if n_folds > total.max():
        raise InvalidParameterError(
            f"cv={n_folds} cannot be greater than the number of rows in each class, at most "
            f"{total.max()} (n_samples={total.sum()}). Use fewer folds."
        )
    if n_folds > total.min():
        warnings.warn(
            f"The rarest class of y has {total.min()} rows, fewer than the {n_folds} folds: some folds have "
            "none of it. Use fewer folds, or drop the class.",
            UserWarning,
            stacklevel=users_level(),
        )
    order = np.argsort(counts.first)  # classes in the order of their first rows
    ends = np.cumsum(total[order])
    alike = np.arange(n_folds)
    edges = np.zeros((len(total), n_folds), dtype=np.int64)
    for k, low, high in zip(order, ends - total[order], ends, strict=True):
        # Rows sorted by class are dealt out in turn: fold i gets numbers i, i + n_folds, ...
        edges[k] = np.cumsum(
            (high - alike + n_folds - 1) // n_folds - (low - alike + n_folds - 1) // n_folds
        )
    return Strata(before(counts), edges)


__all__ = [
    "Cellar",
    "Cells",
    "Counts",
    "Deck",
    "Folding",
    "Strata",
    "Told",
    "before",
    "codes_of",
    "counts_of",
    "folding",
    "joined",
    "row_codes",
    "stratified",
]
