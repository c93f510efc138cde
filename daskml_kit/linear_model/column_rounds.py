"""One round of a feature-partitioned fit: what is asked of the blocks of columns, and what they answer.

Every block keeps the slices of a few past proposals beside its columns, in its scratch, and is told which
combination of them the fit went on from. A block that was moved, spilled or lost has forgotten them: it
answers so, and is told its slice when the round is repeated, for which the driver keeps the coefficients of
the model. Blocks that had answered answer again from memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from daskml_kit.kernels.column_descent import (
    columns_product,
    descend_columns,
    normal_product,
)
from daskml_kit.kernels.column_pulls import look_at_columns
from daskml_kit.runtime.block import Block
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.typing import Array, FloatArray, IntArray

SCRATCH = "columns"
MEMORY = 6
"""Proposals that a block keeps: what an extrapolation may combine. Five to seven is what Bertrand and Massias
(2021) found; the slices are nothing beside the columns."""

TILE_VALUES = 1 << 18
"""Numbers of a tile of columns in float64 (2 MB), so that no task holds its columns twice."""

FEW, SLICE_BYTES = 6, 1 << 20
"""Vectors that dense columns are multiplied with one by one, a megabyte of columns at a time. Measured on
2,000 columns of 10,000 float32, one core, there and back: three vectors 33 ms, by BLAS on tiles 37 to 71; ten
110 and 60 to 95."""


class Slice(NamedTuple):
    """Some coefficients of consecutive columns."""

    start: int
    size: int
    at: IntArray  # positions in the slice
    values: FloatArray


class Ask(NamedTuple):
    """One round's question.

    Attributes
    ----------
    solve, version : which solve of the fit, and which of its rounds
    combine : the point, as (version, share) of proposals; version -1 stands for the last point
    target : column of the start that a first round begins at
    told : slices of the point for blocks that forgot it
    gradient, curvature, bound : (n,) of the averaged loss at the point, and the largest curvature it can
        have; a number stands for one that is the same for all rows
    strengths, positive, centred : of the problem
    sigma : how far curvature is stretched
    screen : (scale, radius) of the dual ball around the last round's gradient, or None
    max_sweeps, enough : of the local descent; without sweeps there is no proposal
    wanted : how many unused columns to name that the objective would gain most from
    lead : strength of the next problem on a path, whose columns are to be named too; None for none
    oldest : the first solve that has not ended, None for this one
    """

    solve: int
    version: int
    combine: tuple[tuple[int, float], ...]
    target: int
    told: tuple[Slice, ...]
    gradient: FloatArray
    curvature: FloatArray | float
    bound: FloatArray | float
    strengths: tuple[float, float]
    positive: bool
    centred: bool
    sigma: float
    screen: tuple[float, float] | None
    max_sweeps: int
    enough: float
    wanted: int = 0
    lead: float | None = None
    oldest: int | None = None


class Answer(NamedTuple):
    """Of some blocks. Sums are over the blocks, ``largest`` and ``violation`` are largest values."""

    product: FloatArray | float  # (n,) X (proposal - point)
    stretched: float  # sum over blocks of |their own centred product|^2 in the curvature
    decrease: float  # of the local models
    largest: float  # component of X'theta, theta = -gradient
    excess: float  # sum of squares of what components of X'theta exceed l1 by
    violation: float  # largest component of the smallest subgradient
    moved: tuple[Slice, ...]  # the proposal, where it is not the point
    leaders: tuple[
        Slice, ...
    ]  # of unused columns, how far X'theta exceeds l1, in units of the column
    ahead: tuple[Slice, ...]  # the same of the lead
    forgotten: tuple[tuple[int, int], ...]  # first column and number of columns
    kept: int  # columns that were not screened out: what the round has read


def _nothing(forgotten: tuple[tuple[int, int], ...]) -> Answer:
    return Answer(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, (), (), (), forgotten, 0)


class _Memory:
    """What a block remembers of one solve."""

    def __init__(self, n_columns: int) -> None:
        self.lock = Lock()  # the runtime may repeat a round while its first run goes on
        self.version = -1  # of the point
        self.point: FloatArray = np.zeros(n_columns)
        self.proposals: dict[int, FloatArray] = {}
        self.answer: Answer | None = None
        self.pull: FloatArray | None = None  # X'theta of the last round
        self.norms: FloatArray | None = None  # of the centred columns, in the bound
        self.out: Array = np.zeros(n_columns, dtype=bool)  # screened

    def advance(self, ask: Ask, block: Block) -> bool:
        """Go to the point of the question; False where that is not known."""
        if self.version == ask.version:
            return True
        if self.version != ask.version - 1:
            self.pull = None  # the question's ball is around the gradient of the round before
        told = _told(ask.told, block)
        if told is not None:
            self.proposals = {}
            self.point = told
        elif ask.version == 0:
            self.point = _start(block, ask.target)
        elif self.version != ask.version - 1 or not all(
            v == -1 or v in self.proposals for v, _ in ask.combine
        ):
            return False
        else:
            self.point = sum(
                (c * (self.point if v == -1 else self.proposals[v]) for v, c in ask.combine),
                np.zeros(len(self.point)),
            )
        self.version, self.answer = ask.version, None
        return True


def _told(slices: tuple[Slice, ...], block: Block) -> FloatArray | None:
    """The block's coefficients, where the question says all of them."""
    out, known = np.zeros(block.n_rows), 0
    end = block.start + block.n_rows
    for part in slices:
        known += max(min(part.start + part.size, end) - max(part.start, block.start), 0)
        at = part.start + part.at
        own = (at >= block.start) & (at < end)
        out[at[own] - block.start] = part.values[own]
    return out if known == block.n_rows else None


def _start(block: Block, target: int) -> FloatArray:
    """Zeros, or where a warm start begins."""
    if block.y is None:
        return np.zeros(block.n_rows)
    return np.array(np.asarray(block.y).reshape(block.n_rows, -1)[:, target], dtype=np.float64)


def _chunk(block: Block, ask: Ask) -> Answer:
    if not block.n_rows:
        return _nothing(())
    memory = _memory(block, ask)
    with memory.lock:
        if not memory.advance(ask, block):
            return _nothing(((block.start, block.n_rows),))
        if memory.answer is None:
            memory.answer = _answer(block, ask, memory)
        return memory.answer


def _memory(block: Block, ask: Ask) -> _Memory:
    """Of the question's solve; what solves that have ended left is dropped."""
    kept: dict[int, _Memory] = block.scratch.setdefault(SCRATCH, {})
    memory = kept.setdefault(ask.solve, _Memory(block.n_rows))
    oldest = ask.solve if ask.oldest is None else ask.oldest
    for ended in [s for s in list(kept) if s < oldest]:
        kept.pop(ended, None)
    return memory


def _answer(block: Block, ask: Ask, memory: _Memory) -> Answer:
    _screen(ask, memory)
    kept = np.flatnonzero(~memory.out)
    moved = (
        _descended(block, ask, memory, kept)
        if ask.max_sweeps
        else _looked(block, ask, memory, kept)
    )
    l1 = ask.strengths[0]
    assert memory.pull is not None
    pull = memory.pull[kept]
    reach = pull if ask.positive else np.abs(pull)
    return moved._replace(
        largest=float(reach.max(initial=0.0)),
        excess=float(np.sum(np.maximum(reach - l1, 0.0) ** 2)),
        violation=_violation(memory.point[kept], pull, ask),
        leaders=_leaders(block, ask, memory, kept, l1),
        ahead=() if ask.lead is None else _leaders(block, ask, memory, kept, ask.lead),
        kept=len(kept),
    )


def _looked(block: Block, ask: Ask, memory: _Memory, kept: IntArray) -> Answer:
    """The gradient, and at first how large the columns are."""
    bound = np.broadcast_to(ask.bound, block.X.shape[1]) if memory.norms is None else None
    look = look_at_columns(block.X, ask.gradient, kept=kept, curvature=bound, centred=ask.centred)
    if look.squares is not None:
        memory.norms = np.sqrt(look.squares)
    memory.pull = -look.gradient
    return _nothing(())


def _descended(block: Block, ask: Ask, memory: _Memory, kept: IntArray) -> Answer:
    """The same, and the proposal."""
    l1, l2 = ask.strengths
    curvature = np.broadcast_to(
        ask.bound if memory.norms is None else ask.curvature, block.X.shape[1]
    )
    step = descend_columns(
        block.X, memory.point, ask.gradient, curvature, ask.strengths, kept=kept, sigma=ask.sigma,
        centred=ask.centred, positive=ask.positive, max_sweeps=ask.max_sweeps, enough=ask.enough,
    )  # fmt: skip
    if memory.norms is None:
        memory.norms = np.sqrt(step.squares)
    memory.pull = -step.gradient
    memory.proposals[ask.version] = step.coef
    memory.proposals = {v: p for v, p in memory.proposals.items() if v > ask.version - MEMORY}
    at = np.flatnonzero(step.coef != memory.point)
    centred = step.product + step.offset
    stretched = float(curvature @ centred**2)
    model = -float(ask.gradient @ step.product) - 0.5 * ask.sigma * stretched
    before, after = memory.point[at], step.coef[at]
    model += l1 * float(np.abs(before).sum() - np.abs(after).sum())
    model += 0.5 * l2 * float(before @ before - after @ after)
    return _nothing(())._replace(
        product=step.product,
        stretched=stretched,
        decrease=model,
        moved=(Slice(block.start, block.n_rows, at, step.coef[at]),),
    )


def _violation(w: FloatArray, pull: FloatArray, ask: Ask) -> float:
    """Largest component of the smallest subgradient of the objective."""
    l1, l2 = ask.strengths
    rest = pull - l2 * w
    at_zero = np.maximum((rest if ask.positive else np.abs(rest)) - l1, 0.0)
    off = np.abs(rest - l1 * np.sign(w))
    return float(np.where(w == 0, at_zero, off).max(initial=0.0))


def _leaders(
    block: Block, ask: Ask, memory: _Memory, kept: IntArray, l1: float
) -> tuple[Slice, ...]:
    """The unused columns that violate optimality at ``l1`` most, at most so many as are wanted."""
    assert memory.pull is not None
    assert memory.norms is not None
    unused = kept[(memory.point[kept] == 0) & (memory.norms[kept] > 0)]
    if not ask.wanted or not len(unused):
        return ()
    pull = memory.pull[unused]
    over = ((pull if ask.positive else np.abs(pull)) - l1) / memory.norms[unused]
    some = np.flatnonzero(over > 0)
    best = np.sort(some[np.argsort(-over[some], kind="stable")[: ask.wanted]])
    return (Slice(block.start, block.n_rows, unused[best], over[best]),)


def _screen(ask: Ask, memory: _Memory) -> None:
    """Leave out columns whose coefficient is zero at the optimum: they are not read again in this solve.

    Ndiaye, Fercoq, Gramfort, Salmon (2017), "Gap safe screening rules for sparsity enforcing penalties",
    JMLR 18, Theorem 6. A column that some remembered proposal uses waits until it is forgotten.
    """
    if ask.screen is None or memory.pull is None or memory.norms is None:
        return
    scale, radius = ask.screen
    pull = memory.pull if ask.positive else np.abs(memory.pull)
    far = scale * pull + radius * memory.norms < ask.strengths[0] * (1.0 - 1e-12)
    used = memory.point != 0
    for proposal in memory.proposals.values():
        used |= proposal != 0
    memory.out |= far & ~used


def _combine(a: Answer, b: Answer) -> Answer:
    return Answer(
        product=a.product + b.product,
        stretched=a.stretched + b.stretched,
        decrease=a.decrease + b.decrease,
        largest=max(a.largest, b.largest),
        excess=a.excess + b.excess,
        violation=max(a.violation, b.violation),
        moved=a.moved + b.moved,
        leaders=a.leaders + b.leaders,
        ahead=a.ahead + b.ahead,
        forgotten=a.forgotten + b.forgotten,
        kept=a.kept + b.kept,
    )


def column_round(loss: Any) -> Reduction[Ask, Answer, Answer]:
    """The round of a solve: a read of the columns that may matter, and a local descent on each block."""
    return Reduction(f"{type(loss).__name__.lower()}-columns", _chunk, _combine)


def _chunks(block: Block, asks: tuple[Ask, ...]) -> tuple[Answer, ...]:
    return tuple(_chunk(block, ask) for ask in asks)


def _combined(a: tuple[Answer, ...], b: tuple[Answer, ...]) -> tuple[Answer, ...]:
    return tuple(_combine(*pair) for pair in zip(a, b, strict=True))


SEVERAL: Reduction[tuple[Ask, ...], tuple[Answer, ...], tuple[Answer, ...]] = Reduction(
    "folds-columns", _chunks, _combined
)
"""One round of several solves, each of them a read of the columns."""


def _start_chunk(block: Block, target: int) -> FloatArray:
    return columns_product(block.X, _start(block, target))


def _add(a: FloatArray, b: FloatArray) -> FloatArray:
    return a + b


STARTING_PRODUCT: Reduction[int, FloatArray, FloatArray] = Reduction(
    "columns-start", _start_chunk, _add
)
"""``X w`` at the coefficients that a warm start left with the columns."""


class Normal(NamedTuple):
    """``X X'p``, and the largest component of ``X'p``: of one vector, or of each column of p."""

    product: FloatArray  # (n,) or (n, n_outputs)
    largest: Any  # a number, or (n_outputs,)


def _normal_chunk(block: Block, p: FloatArray) -> Normal:
    if p.ndim == 1:
        return Normal(*normal_product(block.X, p))
    if _compiled(block, p):
        product, largest = np.zeros(p.shape[::-1]), np.zeros(p.shape[1])
        vectors = np.ascontiguousarray(p.T)
        for columns in _slices(block):
            for k, own in enumerate(vectors):
                part, most = normal_product(block.X[columns], own)
                product[k] += part
                largest[k] = max(largest[k], most)
        return Normal(product.T, largest)
    inner, product = np.zeros((block.n_rows, p.shape[1])), np.zeros(p.shape[::-1])
    for columns, X in tiles(block):
        inner[columns] = X @ p
        product += np.asarray(X.T @ inner[columns]).T
    return Normal(product.T, np.abs(inner).max(axis=0, initial=0.0))


def pulls(block: Block, gradients: FloatArray) -> FloatArray:
    """``X'G`` of gradients (n, n_outputs), (d, n_outputs): one read of the columns."""
    out = np.zeros((block.n_rows, gradients.shape[1]))
    if _compiled(block, gradients):
        vectors = np.ascontiguousarray(gradients.T)
        for columns in _slices(block):
            for k, own in enumerate(vectors):
                out[columns, k] = look_at_columns(block.X[columns], own).gradient
        return out
    for columns, X in tiles(block):
        out[columns] = X @ gradients
    return out


def _compiled(block: Block, p: FloatArray) -> bool:
    """Whether products of dense columns with p go vector by vector."""
    return not sparse.issparse(block.X) and p.shape[1] <= FEW


def _slices(block: Block) -> Iterator[slice]:
    """Some columns at a time, which stay in the cache for all vectors."""
    step = max(4, SLICE_BYTES // max(block.X.shape[1] * block.X.dtype.itemsize, 1))
    return (slice(start, start + step) for start in range(0, block.n_rows, step))


def tiles(block: Block) -> Iterator[tuple[slice, Any]]:
    """Some columns at a time in float64, (c, n), and which; sparse ones all at once.

    A tile is there until the next one is asked for.
    """
    if sparse.issparse(block.X):
        whole: Any = block.X
        yield slice(0, block.n_rows), whole
        return
    step = max(1, TILE_VALUES // max(block.X.shape[1], 1))
    room = np.empty((min(step, block.n_rows), block.X.shape[1]))
    for start in range(0, block.n_rows, step):
        columns = slice(start, min(start + step, block.n_rows))
        X = room[: columns.stop - start]
        X[...] = block.X[columns]
        yield columns, X


def _normal_combine(a: Normal, b: Normal) -> Normal:
    return Normal(a.product + b.product, np.maximum(a.largest, b.largest))


NORMAL_PRODUCT: Reduction[FloatArray, Normal, Normal] = Reduction(
    "columns-product", _normal_chunk, _normal_combine
)
"""One read of the columns; nothing is kept."""


def _slice_chunk(block: Block, p: FloatArray) -> tuple[Slice, ...]:
    values = np.zeros((block.n_rows, *p.shape[1:]))
    for columns, X in tiles(block):
        values[columns] = X @ p
    return (Slice(block.start, block.n_rows, np.arange(block.n_rows), values),)


def _join(a: tuple[Any, ...], b: tuple[Any, ...]) -> tuple[Any, ...]:
    return a + b


COEFFICIENTS: Reduction[FloatArray, tuple[Slice, ...], tuple[Slice, ...]] = Reduction(
    "columns-coefficients", _slice_chunk, _join
)
"""``X'p``, each slice from where its columns are."""


__all__ = [
    "COEFFICIENTS",
    "MEMORY",
    "NORMAL_PRODUCT",
    "SEVERAL",
    "STARTING_PRODUCT",
    "Answer",
    "Ask",
    "Normal",
    "Slice",
    "column_round",
    "pulls",
    "tiles",
]
