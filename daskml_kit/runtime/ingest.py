"""From whatever the caller passes to checked blocks: the part that runs where the data are.

``load`` turns one part of the input (a chunk, a partition, a whole array) into a :class:`Block` and its
:class:`BlockFacts`, reading every row once. ``merge_facts`` joins the facts of all parts, refuses what
cannot be used, and says what the driver may know of the data. ``assemble`` cuts and labels the loaded
blocks into one bundle; it reads no row of X.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy import sparse

from daskml_kit.exceptions import InvalidDataError, InvalidDataTypeError
from daskml_kit.runtime.block import Block, Bundle, nbytes
from daskml_kit.runtime.placement import Piece
from daskml_kit.typing import Array, FloatArray, Matrix, TargetKind

JOIN_BYTES = 1 << 20
"""Smaller blocks are joined: a round over 512 chunks of 8 kB took 25 ms instead of 13."""

_FEW_LABELS = 1 << 16  # labels this close together are counted even where rows are fewer
_SAFE = 1 << 53
_WHOLE = 1 << 24  # up to here float32 has all whole numbers


@dataclass(frozen=True)
class Spec:
    """What an estimator asks of its data; sent with every loading task."""

    estimator: str = "estimator"
    target: TargetKind = "none"
    multi_output: bool = False  # y may have several columns
    accept_sparse: bool = True
    min_classes: int = 2
    dtype: str = "float64"  # of X: float32 stays float32, all else becomes float64
    allow_nan: bool = False  # X may have missing values
    told_apart: tuple[int, ...] = ()  # features whose numbers must stay apart as float32
    any_labels: bool = False  # classes may be called by numbers that are not whole, too


@dataclass(frozen=True, eq=False)
class BlockFacts:
    """What the driver learns of one block: O(classes) values, whatever its rows."""

    index: int
    n_rows: int = 0
    n_features: int = 0
    nbytes: int = 0
    sparse: bool = False
    weight_sum: float = 0.0
    heaviest: float = 0.0  # weight of a row
    n_outputs: int = 0  # 0 for one-dimensional y
    classes: Array | None = None  # sorted labels of this block
    class_weight_sums: FloatArray | None = None
    class_rows: FloatArray | None = None  # rows of each class, those without weight too
    started: float = 0.0  # seconds since the epoch, the worker's clock
    seconds: float = 0.0  # spent checking and converting
    problem: str = ""
    problem_is_type: bool = False


@dataclass(frozen=True, eq=False)
class Loaded:
    """A checked block, its labels still in the block's own numbering, and its facts."""

    block: Block | None
    facts: BlockFacts

    def __sizeof__(self) -> int:
        return object.__sizeof__(self) + (self.block.nbytes if self.block is not None else 0)


@dataclass(frozen=True, eq=False)
class DataFacts:
    """What the driver knows of the whole data set."""

    n_rows: int
    n_features: int
    nbytes: int
    dtype: np.dtype[Any]
    sparse: bool
    weight_sum: float  # before class weights
    n_outputs: int
    classes: Array | None
    class_weight_sums: FloatArray | None
    block_rows: tuple[int, ...]
    starts: tuple[int, ...] = field(default=())
    heaviest: float = 1.0  # weight of a row, before class weights
    class_rows: FloatArray | None = None  # rows of each class, those without weight too


def load(index: int, spec: Spec, X: Any, y: Any = None, weight: Any = None) -> Loaded:
    """Check one part and make it a block; a problem is reported in the facts, not raised.

    Raising inside a task would fill the workers' logs and lose which block it was; the driver raises.
    """
    started, begun = time.time(), time.perf_counter()
    try:
        loaded = _load(index, spec, X, y, weight)
        took = time.perf_counter() - begun
        return Loaded(loaded.block, replace(loaded.facts, started=started, seconds=took))
    except (ValueError, TypeError) as error:
        is_type = isinstance(error, TypeError)
        return Loaded(None, BlockFacts(index, problem=str(error), problem_is_type=is_type))


def _load(index: int, spec: Spec, X: Any, y: Any, weight: Any) -> Loaded:
    given, X = X, check_matrix(X, spec)
    for feature in spec.told_apart:
        _refuse_merged(given, X, feature)
    target, classes = _check_target(y, X.shape[0], spec)
    weight = _check_weight(weight, X.shape[0])
    block = Block(X, target, weight, index=index)
    sums: FloatArray | None = None
    rows: FloatArray | None = None
    if classes is not None and target is not None:
        rows = np.bincount(target, minlength=len(classes)).astype(np.float64)
        sums = rows if weight is None else np.bincount(target, weight, len(classes)).astype(float)
    facts = BlockFacts(
        index=index,
        n_rows=block.n_rows,
        n_features=int(X.shape[1]),
        nbytes=block.nbytes,
        sparse=not isinstance(X, np.ndarray),
        weight_sum=block.weight_sum,
        heaviest=block.heaviest,
        n_outputs=target.shape[1] if target is not None and target.ndim == 2 else 0,
        classes=classes,
        class_weight_sums=sums,
        class_rows=rows,
    )
    return Loaded(block, facts)


def check_matrix(X: Any, spec: Spec) -> Matrix:
    """X as a dense C-ordered array or CSR matrix of the wanted dtype, finite; empty is allowed.

    Missing values (NaN) are let through where the spec allows them, infinite ones never.
    """
    if _is_plain(X, 2):
        rows: FloatArray = np.asarray(X, dtype=np.dtype(spec.dtype), order="C")
        if _is_finite(rows):
            return rows
    elif sparse.issparse(X) and spec.accept_sparse:
        csr: Any = X
        if csr.format == "csr" and csr.dtype == np.dtype(spec.dtype) and _is_finite(csr.data):
            stored: Matrix = csr
            return stored
    out: Matrix = _conversion().matrix(X, spec)
    return out


def _conversion() -> Any:
    """Imported where a part needs it: with scikit-learn and pandas, two seconds of processor time."""
    from daskml_kit.runtime import conversion

    return conversion


def _is_plain(a: Any, *ndim: int) -> bool:
    """Whether ``a`` is an array of real numbers, as most parts are."""
    return type(a) is np.ndarray and a.ndim in ndim and a.dtype.kind in "fiub"


def _is_finite(a: Array) -> bool:
    """Whether ``a`` certainly holds finite numbers only; their sum may be too large to tell."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(a.sum()))


def merged(given: Any, rows: Any, feature: int) -> Array:
    """Which rows have a number of a feature that float32 does not tell from its neighbours: above 2^24, where
    not all whole numbers are float32, and one that is not.

    Parameters
    ----------
    given : rows as they came
    rows : the same as float32 or float64
    """
    column = rows[:, feature]
    out: Array = np.abs(column) >= _WHOLE
    if not out.any():
        return out
    wide, narrow = np.asarray(_column(given, feature)[out]), column[out].astype(np.float64)
    if wide.dtype.kind == "f" or (wide.dtype.kind in "iu" and np.abs(narrow).max() < _SAFE):
        out[out] = wide != narrow
    else:  # Python compares integers with floats exactly
        out[out] = [a != b for a, b in zip(wide.tolist(), narrow.tolist(), strict=True)]
    return out


def _column(X: Any, feature: int) -> Any:
    return X.iloc[:, feature] if hasattr(X, "iloc") else np.asarray(X)[:, feature]


def _refuse_merged(given: Any, rows: Any, feature: int) -> None:
    bad = merged(given, rows, feature)
    if bad.any():
        which = repr(given.columns[feature]) if hasattr(given, "columns") else f"at index {feature}"
        first = np.asarray(_column(given, feature)[bad])[0]
        raise ValueError(
            f"Categorical feature {which} has the category {first}, and float32, in which rows are compared, "
            f"does not tell it from {rows[bad.argmax(), feature]:.0f}. Number the categories from 0, for "
            "example with OrdinalEncoder, or pass a dataframe with a column of a categorical dtype."
        )


def _check_target(y: Any, n_rows: int, spec: Spec) -> tuple[Array | None, Array | None]:
    if spec.target == "none":
        return None, None
    if y is None:
        raise ValueError(
            f"This {spec.estimator} estimator requires y to be passed, but the target y is None."
        )
    _check_length("y", y, n_rows)
    if spec.target == "values":
        return _check_values(y, spec), None
    return _check_labels(y, spec)


def _check_values(y: Any, spec: Spec) -> FloatArray:
    if not (spec.multi_output and getattr(y, "ndim", 1) > 1) and not _is_plain(y, 1):
        y = _conversion().one_column(y, "Regressor")
    return _numbers(y, "y")


def _check_labels(y: Any, spec: Spec) -> tuple[Array, Array]:
    y = np.asarray(y)
    if not (_is_plain(y, 1) and y.dtype.kind in "iub"):
        y = _conversion().labels(y, spec)
    classes, codes = _numbered(y)
    return codes.astype(np.intp, copy=False), classes


def _numbered(y: Array) -> tuple[Array, Array]:
    """Sorted distinct labels and the place of each row's among them, as ``np.unique`` gives them.

    Whole numbers that lie close together are counted, not sorted: 4 ms of 1,000,000 labels in place of 29.
    """
    if y.dtype.kind in "iu" and len(y):
        low, high = int(y.min()), int(y.max())
        if high - low <= max(len(y), _FEW_LABELS) and low > -_SAFE and high < _SAFE:
            offsets = y.astype(np.intp, copy=False) - low
            present = np.bincount(offsets) > 0
            places = np.cumsum(present) - 1
            return (np.flatnonzero(present) + low).astype(y.dtype), places[offsets]
    classes, codes = np.unique(y, return_inverse=True)
    return classes, codes


def _check_weight(weight: Any, n_rows: int) -> FloatArray | None:
    if weight is None:
        return None
    weights = _numbers(weight, "sample_weight")
    if weights.ndim != 1:
        raise ValueError(
            f"Sample weights must be 1D array or scalar, got {weights.ndim}D array. Pass one weight a row."
        )
    _check_length("sample_weight", weights, n_rows)
    if len(weights) and weights.min() < 0:
        raise ValueError(
            f"Negative values in data passed to `sample_weight`: the smallest is {weights.min()}."
        )
    return weights


def _numbers(a: Any, name: str) -> FloatArray:
    if _is_plain(a, 1, 2):
        plain: FloatArray = np.asarray(a, dtype=np.float64, order="C")
        if _is_finite(plain):
            return plain
    out: FloatArray = _conversion().numbers(a, name)
    return out


def _check_length(name: str, a: Any, n_rows: int) -> None:
    shape = a.shape if hasattr(a, "shape") else np.asarray(a).shape
    length = shape[0] if shape else 0
    if length != n_rows:
        raise ValueError(
            "Found input variables with inconsistent numbers of samples: "
            f"X has {n_rows} rows, {name} has {length}."
        )


def merge_facts(parts: Sequence[BlockFacts], spec: Spec) -> DataFacts:
    """Join the facts of all blocks, or say why the data cannot be used.

    Raises
    ------
    InvalidDataError, InvalidDataTypeError
        Naming the first block that has a problem and how many do.
    """
    _refuse_problems(parts)
    n_rows = sum(p.n_rows for p in parts)
    n_features = _common_width(parts)
    if n_rows == 0:
        raise InvalidDataError(
            f"Found array with 0 sample(s) (shape=(0, {n_features})) while a minimum of 1 is required "
            f"by {spec.estimator}."
        )
    if n_features == 0:
        raise InvalidDataError(
            f"Found array with 0 feature(s) (shape=({n_rows}, 0)) while a minimum of 1 is required by "
            f"{spec.estimator}."
        )
    weight_sum = sum(p.weight_sum for p in parts)
    if weight_sum <= 0:
        raise InvalidDataError(
            "Sample weights are all zero: at least one row must have a positive sample_weight."
        )
    classes, class_sums, class_rows = _merge_classes(parts, spec)
    rows = tuple(p.n_rows for p in parts)
    return DataFacts(
        n_rows=n_rows,
        n_features=n_features,
        nbytes=sum(p.nbytes for p in parts),
        dtype=np.dtype(spec.dtype),
        sparse=any(p.sparse for p in parts),
        weight_sum=weight_sum,
        n_outputs=_common_outputs(parts),
        classes=classes,
        class_weight_sums=class_sums,
        block_rows=rows,
        starts=tuple(np.concatenate([[0], np.cumsum(rows)[:-1]]).astype(int).tolist()),
        heaviest=max(p.heaviest for p in parts),
        class_rows=class_rows,
    )


def _refuse_problems(parts: Sequence[BlockFacts]) -> None:
    bad = [p for p in parts if p.problem]
    if not bad:
        return
    where = "" if len(parts) == 1 else f" (block {bad[0].index}; {len(bad)} of {len(parts)} blocks)"
    error = InvalidDataTypeError if bad[0].problem_is_type else InvalidDataError
    raise error(bad[0].problem + where)


def _common_width(parts: Sequence[BlockFacts]) -> int:
    widths = sorted({p.n_features for p in parts if p.n_rows} or {parts[0].n_features})
    if len(widths) > 1:
        raise InvalidDataError(
            f"Blocks of X differ in their number of features: {widths}. All must have the same columns."
        )
    return widths[0]


def _common_outputs(parts: Sequence[BlockFacts]) -> int:
    widths = sorted({p.n_outputs for p in parts if p.n_rows})
    if len(widths) > 1:
        raise InvalidDataError(f"Blocks of y differ in their number of columns: {widths}.")
    return widths[0]


def _merge_classes(
    parts: Sequence[BlockFacts], spec: Spec
) -> tuple[Array | None, FloatArray | None, FloatArray | None]:
    """The labels of all parts, and the weight and the number of the rows of each."""
    if spec.target != "classes":
        return None, None, None
    found = [
        (p.classes, p.class_weight_sums, p.class_rows)
        for p in parts
        if p.classes is not None
        and p.class_weight_sums is not None
        and p.class_rows is not None
        and p.n_rows
    ]
    try:
        _refuse_promotion([c for c, _, _ in found])
        classes = np.unique(np.concatenate([c for c, _, _ in found]))
    except TypeError:
        kinds = sorted({type(v).__name__ for c, _, _ in found for v in c})
        raise InvalidDataTypeError(
            f"Labels of mixed types cannot be sorted: {kinds}. Convert y to one type."
        ) from None
    sums, rows = np.zeros((2, len(classes)))
    for own, own_sums, own_rows in found:
        at = np.searchsorted(classes, own)
        sums[at] += own_sums
        rows[at] += own_rows
    if np.count_nonzero(sums) < spec.min_classes:
        raise InvalidDataError(
            f"{spec.estimator} needs samples of at least {spec.min_classes} classes in the data, but the "
            f"data contains only one class: {classes[sums > 0][0]!r}"
        )
    return classes, sums, rows


def _refuse_promotion(labels: Sequence[Array]) -> None:
    """NumPy would turn numbers into text silently."""
    text = {c.dtype.kind in "US" for c in labels if c.dtype.kind != "O"}
    if len(text) > 1:
        raise TypeError


@dataclass(frozen=True, eq=False)
class Labelling:
    """How class codes are numbered globally and weighted, and what each loaded block calls them."""

    classes: Array
    local: dict[int, Array]  # block index -> its own sorted labels
    class_weight: FloatArray | None = None

    def apply(self, block: Block) -> Block:
        """The block with global class codes, and with class weights multiplied in."""
        assert block.y is not None
        lookup = np.searchsorted(self.classes, self.local[block.index]).astype(np.intp)
        codes = lookup[block.y] if len(lookup) else block.y
        weight = block.weight
        if self.class_weight is not None:
            factors = self.class_weight[codes]
            weight = factors if weight is None else weight * factors
        return Block(block.X, codes, weight, block.start, block.index)


def assemble(
    pieces: Sequence[Piece], labelling: Labelling | None, loaded: Sequence[Loaded]
) -> Bundle:
    """Cut loaded blocks into the pieces of one bundle, number their rows and label them: views.

    Parameters
    ----------
    pieces : in the order of the global rows
    labelling : None unless the target is classes
    loaded : the block of each piece
    """
    out = []
    for piece, item in zip(pieces, loaded, strict=True):
        block = item.block
        assert block is not None
        whole = piece.low == 0 and piece.high == block.n_rows
        part = block if whole else block.slice(piece.low, piece.high)
        part = Block(part.X, part.y, part.weight, piece.start, part.index)
        out.append(labelling.apply(part) if labelling is not None else part)
    return Bundle(tuple(out))


__all__ = [
    "BlockFacts",
    "DataFacts",
    "Labelling",
    "Loaded",
    "Spec",
    "assemble",
    "check_matrix",
    "load",
    "merge_facts",
    "merged",
    "nbytes",
]
