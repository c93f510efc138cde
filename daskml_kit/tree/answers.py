"""What the trees of a forest say of rows, all of them at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from scipy import sparse

from daskml_kit.kernels.tree_predict import Packed, Table, add_values, leaves, packed, paths
from daskml_kit.runtime.threads import over_ranges
from daskml_kit.typing import Array, FloatArray, IntArray, Matrix

SLICE_VALUES = 1 << 22
"""Values of sparse rows that are dense at a time: 16 MB."""

THREAD_STEPS = 1 << 14
"""Walks of a row through a tree, about 70 ns each, that are worth a thread of their own."""


class Packing:
    """The trees of a fitted forest laid out for answers, when they are first asked for.

    It belongs to a fitted estimator, but is no part of its pickle.
    """

    def __init__(self) -> None:
        self._trees: tuple[Any, ...] = ()
        self._packed: Packed | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return (Packing, ())

    def of(self, trees: Sequence[Any]) -> Packed:
        """scikit-learn's trees, packed: again only where they are others than at the last call."""
        same = len(trees) == len(self._trees) and all(
            a is b for a, b in zip(trees, self._trees, strict=True)
        )
        if self._packed is None or not same:
            self._packed, self._trees = packed([table_of(tree) for tree in trees]), tuple(trees)
        return self._packed


def table_of(tree: Any) -> Table:
    """The nodes of one of scikit-learn's trees, or of a tree with categorical splits."""
    nodes = tree.__getstate__()["nodes"]
    return Table(
        nodes["left_child"],
        nodes["right_child"],
        nodes["feature"],
        nodes["threshold"],
        nodes["missing_go_to_left"],
        tree.value[:, 0, :],
        sets=getattr(tree, "sets", None),
        coding=getattr(tree, "coding", None),
    )


def mean_values(trees: Packed, X: Matrix, threads: int = 1) -> FloatArray:
    """The mean of all trees' values, added up in their order: (n, width)."""
    total = np.zeros((X.shape[0], trees.values.shape[1]))
    for start, rows in dense_slices(X):

        def add(low: int, high: int, rows: Array = rows, start: int = start) -> None:
            add_values(trees, rows[low:high], total[start + low : start + high])

        over_ranges(add, len(rows), threads, least=THREAD_STEPS // trees.n_trees + 1)
    total /= trees.n_trees
    return total


def all_leaves(trees: Packed, X: Matrix, threads: int = 1) -> Array:
    """The leaf of each row in each tree: (n, n_trees) int64."""
    out = np.empty((X.shape[0], trees.n_trees), np.int64)
    for start, rows in dense_slices(X):

        def find(low: int, high: int, rows: Array = rows, start: int = start) -> None:
            out[start + low : start + high] = leaves(trees, rows[low:high])

        over_ranges(find, len(rows), threads, least=THREAD_STEPS // trees.n_trees + 1)
    return out


def all_paths(trees: Packed, X: Matrix) -> tuple[Any, IntArray]:
    """The nodes that each row passes as a CSR matrix over those of all trees, and where each tree's begin."""
    parts = [paths(trees, rows) for _, rows in dense_slices(X)]
    found = [
        sparse.csr_matrix(
            (np.ones(len(at), np.int64), at, starts), shape=(len(starts) - 1, trees.roots[-1])
        )
        for starts, at in parts
    ]
    return found[0] if len(found) == 1 else sparse.vstack(found, format="csr"), trees.roots


def dense_slices(X: Matrix) -> Iterator[tuple[int, Array]]:
    """Rows as they are, or slices of sparse ones: the first row's number, and float32 rows."""
    if not sparse.issparse(X):
        yield 0, np.asarray(X)
        return
    rows: Any = sparse.csr_array(X)
    step = max(1, SLICE_VALUES // max(1, rows.shape[1]))
    for low in range(0, max(rows.shape[0], 1), step):
        yield low, rows[low : low + step].toarray()


__all__ = ["Packing", "all_leaves", "all_paths", "dense_slices", "mean_values", "table_of"]
