"""The rounds of least squares: all moments in one, and what corrects a solution in another.

Apart from the models, so that a worker that runs these rounds imports no model.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from daskml_kit.kernels import Moments, combine_moments, moments
from daskml_kit.runtime.block import Block
from daskml_kit.runtime.reduction import Reduction
from daskml_kit.typing import FloatArray


def _moments_chunk(block: Block, _: Any) -> Moments:
    return moments(block.X, block.y, block.weight)


MOMENTS: Reduction[Any, Moments, Moments] = Reduction("moments", _moments_chunk, combine_moments)
"""Weighted means and centred second moments of X and y: one pass, (n_features + n_targets)^2 values."""


def _residual_chunk(block: Block, params: tuple[FloatArray, FloatArray, FloatArray]) -> FloatArray:
    """``(X - mean_x)' s (y - mean_y - (X - mean_x) w)`` of a block."""
    w, mean_x, mean_y = params
    y = np.asarray(block.y).reshape(block.n_rows, -1)
    residual = y - mean_y - (np.asarray(block.X @ w) - mean_x @ w)
    if block.weight is not None:
        residual *= block.weight[:, None]
    return np.asarray(block.X.T @ residual) - np.outer(mean_x, residual.sum(axis=0))


def _add(a: FloatArray, b: FloatArray) -> FloatArray:
    return a + b


RESIDUAL: Reduction[Any, FloatArray, FloatArray] = Reduction("residual", _residual_chunk, _add)
"""What is left of the normal equations at a solution ``(w, mean_x, mean_y)``: one pass."""


__all__ = ["MOMENTS", "RESIDUAL"]
