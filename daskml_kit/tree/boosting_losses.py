"""What boosting asks of a loss: where it starts, and how large gradients can become.

Gradients become integers before they are summed, so the driver must know beforehand how large they can be.
It does: it knows how large they were before the last trees, and how far these have moved a prediction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from daskml_kit.exceptions import InvalidDataError, InvalidParameterError
from daskml_kit.kernels.boosting import MOST_CURVATURE, MOST_GRADIENT, MOST_RAW, MOST_VALUE
from daskml_kit.losses import Binomial, Gamma, HalfSquared, Multinomial, Pinball, Poisson
from daskml_kit.typing import Array, FloatArray


class Targets(NamedTuple):
    """What one pass says of the targets of the rows that trees may see, and of the codes of all. Sums are
    exact.
    """

    weight: float
    all_weight: float  # of held-out rows too
    mean: float
    shares: FloatArray  # of the classes
    least: float
    most: float  # in absolute value
    missing: Array  # (d,) bool: the features of which some row has no value


@dataclass(frozen=True)
class Objective:
    """A loss as boosting needs it.

    Attributes
    ----------
    name : scikit-learn's
    loss : named tuple, as the kernels take it
    factor : of the loss's mean in ``train_score_``
    quantile : whose leaves predict a quantile of the residuals; None: Newton steps
    """

    name: str
    loss: Any
    factor: float = 1.0
    quantile: float | None = None

    @property
    def width(self) -> int:
        """Predictions a row."""
        return int(getattr(self.loss, "n_outputs", 1))

    @property
    def flat(self) -> bool:
        """Whether the curvature is the weight of a row."""
        return isinstance(self.loss, HalfSquared | Pinball)

    def check(self, targets: Targets) -> None:
        """Refuse targets that are outside of the loss's domain.

        Raises
        ------
        InvalidDataError
        """
        if isinstance(self.loss, Poisson) and (targets.least < 0 or targets.mean <= 0):
            raise InvalidDataError(
                f"loss='poisson' needs y >= 0 with a positive sum: the smallest is {targets.least}, the mean "
                f"{targets.mean}. Use loss='squared_error'."
            )
        if isinstance(self.loss, Gamma) and targets.least <= 0:
            raise InvalidDataError(
                f"loss='gamma' needs y > 0, the smallest is {targets.least}. Use loss='squared_error' or "
                "'poisson'."
            )

    def start(self, targets: Targets) -> FloatArray:
        """The best constant raw prediction (K,), but for quantiles."""
        if isinstance(self.loss, Binomial | Multinomial):
            tiny = np.finfo(np.float64).eps
            shares = np.clip(targets.shares, tiny, 1.0 - tiny)
            logs = np.log(shares)
            if isinstance(self.loss, Multinomial):
                out: FloatArray = logs - logs.mean()
                return out
            return np.array([logs[1] - np.log1p(-shares[1])])
        if isinstance(self.loss, Poisson | Gamma):
            return np.array([np.log(targets.mean)])
        return np.array([targets.mean])

    def first(self, targets: Targets, start: FloatArray) -> FloatArray:
        """The largest absolute gradient, curvature, value and raw prediction before the first tree."""
        raw, y = float(np.abs(start).max()), targets.most
        far = y + raw
        most = np.array([far, 1.0, far, raw])
        if isinstance(self.loss, Poisson | Gamma):
            poisson, at = isinstance(self.loss, Poisson), float(start[0])
            most[MOST_CURVATURE] = np.exp(at) if poisson else y * np.exp(-at)
        return self.after(most, 0.0, targets)

    def after(self, most: FloatArray, step: float, targets: Targets) -> FloatArray:
        """The same after predictions have moved by at most ``step``.

        Raises
        ------
        InvalidParameterError
            Predictions are so large that their loss overflows.
        """
        raw, loss, y = most[MOST_RAW] + step, self.loss, targets.most
        if isinstance(loss, HalfSquared):
            gradient = most[MOST_GRADIENT] + step
            found = (gradient, 1.0, gradient * gradient / 2)
        elif isinstance(loss, Pinball):
            found = (1.0, 1.0, most[MOST_VALUE] + step)
        elif isinstance(loss, Binomial):
            found = (1.0, 0.25, raw + 1.0)
        elif isinstance(loss, Multinomial):
            found = (1.0, 0.25, 2 * raw + np.log(loss.n_classes))
        else:
            bend = float(most[MOST_CURVATURE] * np.exp(min(step, 700.0)))
            slope = y if isinstance(loss, Poisson) else 1.0
            found = (bend + slope, bend, bend + slope * raw)
        out = np.array([*found, raw])
        if not out.max() < 1e290:
            raise InvalidParameterError(
                f"Boosting diverged: raw predictions reach {raw:.3g} under loss={self.name!r}, where "
                "the loss overflows. Lower learning_rate, or set l2_regularization or min_samples_leaf."
            )
        return out


def of_classes(n_classes: int) -> Objective:
    """The logistic loss, or the cross entropy for more than two classes."""
    if n_classes <= 2:
        return Objective("log_loss", Binomial(), 2.0)
    return Objective("log_loss", Multinomial(n_classes))


def of_values(name: str, quantile: float) -> Objective:
    """A loss of values by its name."""
    return {
        "squared_error": Objective(name, HalfSquared(), 2.0),
        "absolute_error": Objective(name, Pinball(0.5), 2.0, 0.5),
        "quantile": Objective(name, Pinball(quantile), 1.0, quantile),
        "poisson": Objective(name, Poisson()),
        "gamma": Objective(name, Gamma()),
    }[name]


VALUE_LOSSES = ("squared_error", "absolute_error", "quantile", "poisson", "gamma")

__all__ = ["VALUE_LOSSES", "Objective", "Targets", "of_classes", "of_values"]
