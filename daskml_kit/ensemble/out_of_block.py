"""What members say of rows that they were not fitted on: one pass, in which all members meet all blocks.

::

    block      0   1   2   3          x: the member's own block, left out
    member 0   x   .   .   .
    member 1   .   x   .   .          scores:   a member's row of dots
    member 2   .   .   x   .          stacking: a block's column of dots, and for the x the mean
    member 3   .   .   .   x                    of that column's dots, row by row

Blocks stand for each other only if they are alike. Where the data are sorted (by label, by time), what a
member does outside its block says little; shuffle first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from daskml_kit.ensemble.fusion import meta_columns
from daskml_kit.ensemble.members import Form, Member, answers, weighted_rows
from daskml_kit.runtime.block import Block
from daskml_kit.runtime.random import uniform
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.typing import Array, FloatArray


@dataclass(frozen=True, eq=False)
class Panel:
    """All members, as they travel to every block.

    Attributes
    ----------
    members : in the order of their blocks
    form : of their answers
    share, seed : the share of the rows that a sample keeps, and the seed that keys it
    """

    members: tuple[Member, ...]
    form: Form
    share: float = 1.0
    seed: int = 0

    def __sizeof__(self) -> int:
        return sum(m.nbytes for m in self.members)


# ---------------------------------------------------------------- scores


class Tally(NamedTuple):
    """Sums over the rows outside each member's block; of shape (n_members, n_outputs) but for the weight.

    The score is ``1 - error / spread``, in the mean of the outputs: accuracy where the error of a row is 0
    or 1 and its spread 1, R2 where they are squared distances, to the prediction and to the mean.
    """

    weight: FloatArray  # (n_members, 1)
    error: FloatArray
    mean: FloatArray  # of y; zero for labels
    spread: FloatArray

    def scores(self) -> FloatArray:
        """Score of each member; nan where there is no row outside its block."""
        exact = np.where(self.error == 0, 1.0, 0.0)
        share = np.divide(self.error, self.spread, out=1.0 - exact, where=self.spread > 0)
        out: FloatArray = np.where(self.weight > 0, 1.0 - share, np.nan).mean(axis=1)
        return out


def _score_chunk(block: Block, panel: Panel) -> Tally:
    X, y, weight = weighted_rows(block)
    w = np.ones(len(y)) if weight is None else weight
    labels = panel.form.classes is not None
    own = _nothing(_unscored(y, w, labels))
    rows = [
        own
        if member.start == block.start
        else tally(answers(member.model, X, panel.form), y, w, labels)
        for member in panel.members
    ]
    return Tally(*(np.concatenate(column) for column in zip(*rows, strict=True)))


def tally(said: FloatArray, y: Array, weight: FloatArray, labels: bool) -> Tally:
    """The tally of one model.

    Parameters
    ----------
    said : (n, n_classes) answers or (n, n_outputs) predictions
    y : (n,) class codes or values, or (n, n_outputs) values
    """
    empty = _unscored(y, weight, labels)
    target = y.reshape(len(y), -1)
    return empty._replace(error=(weight @ _row_errors(said, target, labels))[None])


def _unscored(y: Array, weight: FloatArray, labels: bool) -> Tally:
    target, total = y.reshape(len(y), -1), float(weight.sum())
    mean: FloatArray = np.zeros(target.shape[1])
    spread: FloatArray = np.full(target.shape[1], total)
    if total and not labels:
        mean = weight @ target / total
        spread = weight @ (target - mean) ** 2
    return Tally(np.array([[total]]), np.zeros_like(mean)[None], mean[None], spread[None])


def _nothing(like: Tally) -> Tally:
    return Tally(*(np.zeros_like(a) for a in like))


def _row_errors(said: FloatArray, y: Array, labels: bool) -> FloatArray:
    """0 or 1 for class codes, squared distance for values; (n, n_outputs)."""
    if labels:
        return np.asarray(said.argmax(axis=1)[:, None] != y, dtype=np.float64)
    return np.asarray((said - y) ** 2)


def add_tallies(a: Tally, b: Tally) -> Tally:
    """Weighted means and spreads merge by the update of Chan, Golub and LeVeque (1983)."""
    weight = a.weight + b.weight
    part = np.divide(b.weight, weight, out=np.zeros_like(weight), where=weight > 0)
    apart = b.mean - a.mean
    return Tally(
        weight,
        a.error + b.error,
        a.mean + apart * part,
        a.spread + b.spread + apart**2 * a.weight * part,
    )


SCORE_MEMBERS: Reduction[Panel, Tally, Tally] = Reduction(
    "score-members", _score_chunk, add_tallies
)


# ---------------------------------------------------------------- stacking


class MetaRows(NamedTuple):
    """Rows for the final estimator: members' answers, targets (codes or values) and weights."""

    X: FloatArray
    y: Array
    weight: FloatArray | None


def _meta_chunk(block: Block, panel: Panel) -> tuple[MetaRows, ...]:
    if panel.share < 1.0:
        block = _sampled(block, panel)
    X, y, weight = weighted_rows(block)
    if not len(y):
        return ()
    others = [m for m in panel.members if m.start != block.start]
    said = [answers(m.model, X, panel.form) for m in others]
    own = [i for i, m in enumerate(panel.members) if m.start == block.start]
    for i in own:
        said.insert(i, np.mean(said, axis=0))
    return (MetaRows(meta_columns(said, panel.form), y, weight),)


def _sampled(block: Block, panel: Panel) -> Block:
    """The block without the rows that the sample leaves out; it keeps its place."""
    kept = np.flatnonzero(uniform(panel.seed, "stack", block.rows) < panel.share)
    weight = None if block.weight is None else block.weight[kept]
    return Block(block.X[kept], np.asarray(block.y)[kept], weight, block.start, block.index)


def _chain(a: tuple[MetaRows, ...], b: tuple[MetaRows, ...]) -> tuple[MetaRows, ...]:
    return a + b


def _one_table(parts: tuple[MetaRows, ...]) -> MetaRows:
    weights = [p.weight for p in parts if p.weight is not None]
    return MetaRows(
        np.concatenate([p.X for p in parts]),
        np.concatenate([p.y for p in parts]),
        np.concatenate(weights) if weights else None,
    )


META_ROWS: Reduction[Panel, tuple[MetaRows, ...], Any] = Reduction(
    "stack-members", _meta_chunk, _chain, _one_table
)


__all__ = ["META_ROWS", "SCORE_MEMBERS", "MetaRows", "Panel", "Tally", "add_tallies", "tally"]
