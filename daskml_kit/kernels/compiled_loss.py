"""How a loss gets into a compiled kernel.

A loss is a named tuple. Numba knows the class of a named tuple as part of its type, so a kernel that
calls ``pointwise(loss, y, eta)`` is compiled once for each class, with that class's own static
method inlined. Named tuple types are pickled by reference: Numba's cache on disk is found again by
the next process, which it would not be for functions handed over as arguments.

Nothing here knows a concrete loss. A class takes part by defining one of

* ``pointwise(loss, y, eta) -> (value, gradient, curvature)``, one prediction a row;
* ``rowwise(loss, y, eta, gradient, curvature) -> value``, ``n_outputs`` predictions a row, with
  ``gradient`` (K,) and, unless its size is 0, ``curvature`` (K, K) to be written.

Numba's cache notices an edit of the kernel's file, not of the loss's: after changing ``pointwise``
of a loss in a module, delete ``kernels/__pycache__/*.nb*``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, TypeAlias

from numba.extending import overload, register_jitable

from daskml_kit.exceptions import InvalidDataTypeError
from daskml_kit.kernels.blocks import FASTMATH
from daskml_kit.typing import Array

CompiledLoss: TypeAlias = Any  # a named tuple; which methods it has is checked by `n_outputs_of`


@cache
def method_of(loss_class: type, name: str) -> Callable[..., Any]:
    """The static method ``name`` of a loss class, ready to be compiled into a kernel."""
    method: Callable[..., Any] = register_jitable(fastmath=FASTMATH, error_model="numpy")(
        getattr(loss_class, name)
    )
    return method


def pointwise(loss: CompiledLoss, y: float, eta: float) -> tuple[float, float, float]:
    """Value, gradient and curvature of one row; stands for ``type(loss).pointwise``."""
    raise NotImplementedError("pointwise exists in compiled code only")


@overload(pointwise)
def _pointwise(loss: Any, y: Any, eta: Any) -> Any:
    method = method_of(loss.instance_class, "pointwise")

    def call(loss: Any, y: Any, eta: Any) -> Any:
        return method(loss, y, eta)

    return call


def rowwise(loss: CompiledLoss, y: float, eta: Array, gradient: Array, curvature: Array) -> float:
    """Value of one row; stands for ``type(loss).rowwise``."""
    raise NotImplementedError("rowwise exists in compiled code only")


@overload(rowwise)
def _rowwise(loss: Any, y: Any, eta: Any, gradient: Any, curvature: Any) -> Any:
    method = method_of(loss.instance_class, "rowwise")

    def call(loss: Any, y: Any, eta: Any, gradient: Any, curvature: Any) -> Any:
        return method(loss, y, eta, gradient, curvature)

    return call


def dual_step(loss: CompiledLoss, y: float, eta: float, alpha: float, bend: float) -> float:
    """A row's best dual variable; stands for ``type(loss).dual_step``."""
    raise NotImplementedError("dual_step exists in compiled code only")


@overload(dual_step)
def _dual_step(loss: Any, y: Any, eta: Any, alpha: Any, bend: Any) -> Any:
    method = method_of(loss.instance_class, "dual_step")

    def call(loss: Any, y: Any, eta: Any, alpha: Any, bend: Any) -> Any:
        return method(loss, y, eta, alpha, bend)

    return call


def n_outputs_of(loss: CompiledLoss) -> int | None:
    """K for a loss with ``rowwise``, None for one with ``pointwise``.

    Raises
    ------
    InvalidDataTypeError
        The loss is no named tuple, or has neither method.
    """
    named = isinstance(loss, tuple)
    if named and hasattr(loss, "pointwise"):
        return None
    if named and hasattr(loss, "rowwise"):
        return int(loss.n_outputs)
    raise InvalidDataTypeError(
        "loss must be a NamedTuple class's instance with a static method pointwise or rowwise, "
        f"got {type(loss).__name__}. See daskml_kit.losses for how to write one."
    )


__all__ = ["CompiledLoss", "dual_step", "n_outputs_of", "pointwise", "rowwise"]
