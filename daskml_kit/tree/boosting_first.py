"""The model that boosting begins with, where it is no constant: what it says of each row.

A row's raw prediction before the first tree is the model's answer through the link of the loss. It is taken
once, while rows become codes, and travels beside the target: columns of ``y`` after the first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import logit

from daskml_kit.exceptions import InvalidDataError
from daskml_kit.losses import Binomial, Gamma, Poisson
from daskml_kit.runtime.block import Block, Bundle
from daskml_kit.runtime.random import uniform
from daskml_kit.tree.binning import Binning
from daskml_kit.typing import Array, FloatArray, Matrix

_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False)
class FirstModel:
    """A fitted estimator as the beginning of a loss.

    Attributes
    ----------
    model : answers ``predict_proba`` for classes, else ``predict``
    loss : named tuple, as the kernels take it
    classes : (n_classes,) labels; None for values
    """

    model: Any
    loss: Any
    classes: Array | None

    def raw(self, X: Matrix) -> FloatArray:
        """Raw predictions (n, K) of float32 rows.

        Raises
        ------
        InvalidDataError
            The model answers with other classes, or with what is no number.
        """
        if not X.shape[0]:
            return np.empty((0, getattr(self.loss, "n_outputs", 1)))
        if self.classes is None:
            out = np.asarray(self.model.predict(X), np.float64).reshape(X.shape[0], -1)
            if isinstance(self.loss, Poisson | Gamma):
                out = np.log(np.maximum(out, _EPS))
        else:
            self._check_classes()
            shares = np.clip(np.asarray(self.model.predict_proba(X), np.float64), _EPS, 1 - _EPS)
            if isinstance(self.loss, Binomial):
                out = logit(shares[:, 1:])
            else:
                logs = np.log(shares)
                out = logs - logs.mean(axis=1, keepdims=True)
        if out.shape[1] != int(getattr(self.loss, "n_outputs", 1)) or not np.isfinite(out).all():
            raise InvalidDataError(
                f"init={self.model!r} predicts what boosting cannot begin with: one finite number a row is "
                f"needed, got {out.shape[1]} columns, {int((~np.isfinite(out)).sum())} values of them not "
                "finite."
            )
        return out

    def _check_classes(self) -> None:
        assert self.classes is not None
        known = np.asarray(self.model.classes_)
        if not np.array_equal(known, self.classes):
            raise InvalidDataError(
                f"init={self.model!r} has learnt the classes {known}, y has {self.classes}: of the others "
                "all rows are held out or have no weight. Drop rows without weight; if early stopping "
                "holds rows out, choose another random_state, or set n_iter_no_change=None."
            )


@dataclass(frozen=True)
class SeenRows:
    """The rows of a block that trees may see."""

    seed: int
    held_out: float

    def __call__(self, block: Block) -> Block:
        kept = np.flatnonzero(~held_out(self.seed, self.held_out, block.rows))
        weight = None if block.weight is None else block.weight[kept]
        y = None if block.y is None else block.y[kept]
        return Block(block.X[kept], y, weight, block.start, block.index)


def held_out(seed: int, share: float, rows: range) -> Array:
    """Which rows no tree sees: each with the same probability."""
    out: Array = uniform(seed, "boosting-held-out", rows) < share
    return out


def begun(bundle: Bundle, asked: tuple[Binning, FirstModel]) -> Bundle:
    """Codes for features, and raw predictions beside the targets."""
    binning, first = asked

    def block(given: Block) -> Block:
        assert given.y is not None
        codes: Any = binning.encode(given.X)
        y = np.column_stack([np.asarray(given.y, np.float64), first.raw(given.X)])
        return Block(codes, y, given.weight, given.start, given.index)

    return bundle.map(block)


def target_of(block: Block) -> Array:
    """The targets (n,) of a block's rows."""
    assert block.y is not None
    y = np.asarray(block.y)
    return y if y.ndim == 1 else y[:, 0]


def raw_of(block: Block, start: FloatArray) -> FloatArray:
    """Raw predictions (K, n) before the first tree: those beside the targets, else ``start`` (K,) for all."""
    y = np.asarray(block.y)
    if y.ndim == 1:
        return np.repeat(start[:, None], block.n_rows, axis=1)
    return np.array(y[:, 1:].T, np.float64, order="C")


__all__ = ["FirstModel", "SeenRows", "begun", "held_out", "raw_of", "target_of"]
