"""Histograms of the rows of a node: one cell a bin, one run of cells a feature."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, register_jitable

from daskml_kit.kernels.tree_rows import Payload, label_bits
from daskml_kit.kernels.tree_splits import SQUARED, Rules, exactly
from daskml_kit.typing import Array


@register_jitable
def cell(start: np.uint64, code: int, stride: np.uint64) -> np.uint64:
    """Where the cell of a bin begins. Unsigned, or each index would be checked for counting from the end."""
    return start + np.uint64(code) * stride


@exactly
def fill_classes(
    codes: Array,
    p: Payload,
    low: int,
    high: int,
    features: Array,
    rules: Rules,
    width: int,
    hist: Array,
) -> None:
    """Adds positions ``low`` to ``high - 1`` to the histograms of ``features``: classes."""
    stride, counter = np.uint64(rules.stride), np.uint64(rules.n_channels)
    bits = np.int64(label_bits(rules))
    mask = (np.int64(1) << bits) - np.int64(1)
    counted = rules.stride > rules.n_channels
    n, j = len(features), 0
    while j < n:
        o0, c0 = np.uint64(j * width), codes[features[j]]
        if j + 4 <= n:
            c1, c2, c3 = codes[features[j + 1]], codes[features[j + 2]], codes[features[j + 3]]
            step = np.uint64(width)
            o1, o2, o3 = o0 + step, o0 + step + step, o0 + step + step + step
            for i in range(np.uint64(low), np.uint64(high)):
                r, w = np.uint64(p.idx[i]), np.int64(p.weight[i])
                k = np.uint64(w & mask)
                w >>= bits
                a0, a1 = cell(o0, c0[r], stride), cell(o1, c1[r], stride)
                a2, a3 = cell(o2, c2[r], stride), cell(o3, c3[r], stride)
                hist[a0 + k] += w
                hist[a1 + k] += w
                hist[a2 + k] += w
                hist[a3 + k] += w
                if counted:
                    hist[a0 + counter] += 1
                    hist[a1 + counter] += 1
                    hist[a2 + counter] += 1
                    hist[a3 + counter] += 1
            j += 4
        else:
            for i in range(np.uint64(low), np.uint64(high)):
                at = cell(o0, c0[np.uint64(p.idx[i])], stride)
                w = np.int64(p.weight[i])
                hist[at + np.uint64(w & mask)] += w >> bits
                if counted:
                    hist[at + counter] += 1
            j += 1


@exactly
def fill_values(
    codes: Array,
    p: Payload,
    low: int,
    high: int,
    features: Array,
    rules: Rules,
    width: int,
    hist: Array,
) -> None:
    """Adds positions ``low`` to ``high - 1`` to the histograms of ``features``: values."""
    stride, one, two = np.uint64(rules.stride), np.uint64(1), np.uint64(2)
    counted = rules.stride > 2
    n, j = len(features), 0
    while j < n:
        o0, c0 = np.uint64(j * width), codes[features[j]]
        if j + 2 <= n:
            o1, c1 = o0 + np.uint64(width), codes[features[j + 1]]
            for i in range(np.uint64(low), np.uint64(high)):
                r, w, v = np.uint64(p.idx[i]), np.int64(p.weight[i]), p.value[i]
                a, b = cell(o0, c0[r], stride), cell(o1, c1[r], stride)
                hist[a] += w
                hist[a + one] += v
                hist[b] += w
                hist[b + one] += v
                if counted:
                    hist[a + two] += 1
                    hist[b + two] += 1
            j += 2
        else:
            for i in range(np.uint64(low), np.uint64(high)):
                a = cell(o0, c0[np.uint64(p.idx[i])], stride)
                hist[a] += p.weight[i]
                hist[a + one] += p.value[i]
                if counted:
                    hist[a + two] += 1
            j += 1


@register_jitable
def fill(
    codes: Array,
    p: Payload,
    low: int,
    high: int,
    features: Array,
    rules: Rules,
    width: int,
    hist: Array,
) -> None:
    """Adds some positions to the histograms of some features, ``width`` cells each."""
    if rules.criterion >= SQUARED:
        fill_values(codes, p, low, high, features, rules, width, hist)
    else:
        fill_classes(codes, p, low, high, features, rules, width, hist)


def _trailing_zeros(typing_context: Any, x: Any) -> Any:
    """Zeros below the lowest one of 64 bits, of which one is set."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), code


trailing_zeros: Any = intrinsic(_trailing_zeros)


@exactly
def touch(
    codes: Array,
    p: Payload,
    low: int,
    high: int,
    feature: int,
    n_bins: int,
    words: Array,
    touched: Array,
) -> int:
    """The bins, ascending, that some positions fall into; returns how many. Missing values are left out."""
    one, n_words = np.uint64(1), (n_bins + 63) // 64
    for j in range(n_words):
        words[j] = np.uint64(0)
    for i in range(low, high):
        c = int(codes[feature, p.idx[i]])
        if c < n_bins:
            words[c >> 6] |= one << np.uint64(c & 63)
    n = 0
    for j in range(n_words):
        word = words[j]
        while word != np.uint64(0):
            touched[n] = 64 * j + trailing_zeros(word)
            word &= word - one
            n += 1
    return n


__all__ = ["fill", "fill_classes", "fill_values", "touch"]
