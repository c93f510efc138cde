"""Which centres share a bound, and where no bounds pay."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np

from daskml_kit.kernels.abreast import abreast_bytes
from daskml_kit.kernels.bounds import bounds_bytes, whole_width
from daskml_kit.typing import Array, IntArray

Groups: TypeAlias = "IntArray | Literal['abreast'] | None"
"""How distances are kept: (t, width) centres that share a bound, -1 where a group is not full; "abreast": all
are computed, and labels kept (:mod:`daskml_kit.kernels.abreast`); None: all are computed and nothing kept."""

ALGORITHMS = ("auto", "lloyd", "hamerly", "yinyang", "elkan")

FEW_CENTERS = 32
"""Up to so many centres, "auto" keeps one lower bound a row, above it one for each group. Measured on
40,000 x 30 overlapping blobs, 50 iterations: with 32 centres both take 0.24 s and 42 or 33 % of the
distances, with 48 centres 0.36 and 0.29 s, 39 or 26 %."""

GROUP = 16
"""Centres of a group of "yinyang": two vectors of the matrix product."""

MEMORY = 2.0
"""What "auto" keeps may take so many times the memory of the rows."""


ABREAST, NARROW = 512, 16
"""Centres times columns and three, and columns, up to which all distances cost less than bounds. Measured, 20
iterations on blobs that overlap by little or much, bounds over abreast: 2 columns and 8 centres 2.5 to 2.9, 3
and 64 2.6, 8 and 32 1.2 to 1.6, 16 and 16 1.0 to 1.6, 16 and 32 0.95 to 1.3, 32 and 16 0.65 to 1.2."""


def are_few(k: int, d: int) -> bool:
    """Whether all distances of a row to so many centres of so many columns are cheap."""
    return d <= NARROW and k * (d + 3) <= ABREAST


def groups_for(
    algorithm: str, centers: Array, *, n_rows: int, nbytes: int, n_runs: int, sparse: bool
) -> Groups:
    """Groups (t, width) of centres, "abreast" or None."""
    k, d = centers.shape
    if sparse:
        return None
    if (
        algorithm in ("auto", "lloyd")
        and are_few(k, d)
        and abreast_bytes(n_rows, d, n_runs) <= MEMORY * nbytes
    ):
        return "abreast"
    if algorithm == "lloyd" or k < 3:
        return None
    widths = {"hamerly": whole_width(k), "yinyang": GROUP, "elkan": whole_width(1)}
    if algorithm != "auto":
        return grouped(centers, widths[algorithm])
    for name in ("hamerly",) if k <= FEW_CENTERS else ("yinyang", "hamerly"):
        groups = -(-k // widths[name])
        if n_runs * bounds_bytes(n_rows, groups) <= MEMORY * nbytes:
            return grouped(centers, widths[name])
    return None


def grouped(centers: Array, width: int) -> IntArray:
    """Centres near each other together, ``width`` in a group: halves along the widest column, again and
    again.
    """
    leaves = _halved(np.asarray(centers, np.float64), np.arange(len(centers)), width)
    groups = np.full((len(leaves), width), -1, dtype=np.int64)
    for group, leaf in zip(groups, leaves, strict=True):
        group[: len(leaf)] = np.sort(leaf)
    return groups


def _halved(centers: Array, indices: IntArray, width: int) -> list[IntArray]:
    if len(indices) <= width:
        return [indices]
    own = centers[indices]
    order = indices[np.argsort(own[:, np.argmax(own.var(axis=0))], kind="stable")]
    half = (
        -(-len(indices) // (2 * width)) * width
    )  # whole groups, so that only the last is not full
    return _halved(centers, order[:half], width) + _halved(centers, order[half:], width)


__all__ = ["ALGORITHMS", "Groups", "are_few", "grouped", "groups_for"]
