"""Pointwise losses: value, gradient and curvature in the raw prediction ``eta``.

All are sums over rows, never means: the division by the total weight happens once, on the driver.
A loss is a named tuple of its parameters. It speaks at two levels:

* NumPy: ``value_gradient``, ``curvature`` and ``inverse_link`` take whole arrays;
* compiled: ``pointwise`` (one prediction a row) or ``rowwise`` (several) handles one row in plain
  arithmetic that Numba can compile. The kernels find it on the class and inline it.

To add a loss, write such a class; no kernel needs to hear of it::

    class Exponential(NamedTuple):
        @staticmethod
        def pointwise(loss, y, eta):
            ratio = math.exp(-y * eta)
            return ratio, -y * ratio, y * y * ratio
"""

from daskml_kit.losses.binomial import Binomial
from daskml_kit.losses.multinomial import Multinomial
from daskml_kit.losses.pinball import Pinball, SmoothedPinball
from daskml_kit.losses.protocol import Loss
from daskml_kit.losses.squared import HalfSquared
from daskml_kit.losses.tweedie import Gamma, Poisson, Tweedie

__all__ = [
    "Binomial",
    "Gamma",
    "HalfSquared",
    "Loss",
    "Multinomial",
    "Pinball",
    "Poisson",
    "SmoothedPinball",
    "Tweedie",
]
