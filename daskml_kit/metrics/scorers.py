"""What ``scoring`` may be: scikit-learn's scorers of classes, by what of the rows they need.

==================  ==========================================================  ===========================
kind                needs                                                       scikit-learn's functions
==================  ==========================================================  ===========================
:class:`ByLabels`   how often each label was predicted for each                 accuracy, balanced accuracy,
                                                                                F, precision, recall,
                                                                                Jaccard, Matthews, kappa, ...
:class:`ByRows`     a sum over rows, and the weight of each class               log loss, Brier, their D2,
                                                                                top-k accuracy
:class:`ByRank`     the order of all rows (:mod:`~daskml_kit.metrics.ranking`)  ROC AUC, average precision
==================  ==========================================================  ===========================

So a score of any of them is that of all rows, though these stay where they are. A function of the user's own
needs the rows themselves, so it is refused.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
from scipy.special import softmax
from sklearn.exceptions import UndefinedMetricWarning

from daskml_kit.exceptions import InvalidParameterError
from daskml_kit.metrics.areas import (
    groups_of,
    one_against_one,
    one_against_rest,
    precision_of,
)
from daskml_kit.metrics.ranking import Column, Ranked, Sum, ranked_here
from daskml_kit.typing import Array, FloatArray, IntArray

Response: TypeAlias = Literal["decision_function", "predict_proba"]


def probabilities(eta: FloatArray) -> FloatArray:
    """Of all classes, (n, n_classes)."""
    both = np.column_stack([np.zeros(len(eta)), eta]) if eta.ndim == 1 else eta
    return np.asarray(softmax(both, axis=1))


def predicted(eta: FloatArray) -> IntArray:
    """The code of the class that each row is said to be."""
    return np.asarray((eta > 0).astype(np.intp) if eta.ndim == 1 else eta.argmax(axis=1))


# ---------------------------------------------------------------- by labels


@dataclass(frozen=True, eq=False)
class ByLabels:
    """A score of predicted labels.

    Attributes
    ----------
    name : as the user knows it
    function : of scikit-learn
    sign : 1, or -1 where less is better
    how : keywords of the function
    """

    name: str
    function: Callable[..., Any]
    sign: int = 1
    how: Mapping[str, Any] = field(default_factory=dict)

    def check(self, classes: Array, weighted: bool) -> None:
        """Scores of the positive label need one, and errors need numbers."""
        known = inspect.signature(self.function).parameters
        average = known["average"].default if "average" in known else None
        if self.how.get("average", average) == "binary" and len(classes) != 2:
            raise InvalidParameterError(
                f"scoring={self.name!r} is of two labels, got {len(classes)}: {classes.tolist()[:10]}. "
                f"Use scoring='{self.name}_macro', '{self.name}_micro' or '{self.name}_weighted'."
            )
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.of_labels(classes, classes, classes, np.ones(len(classes)), labels=classes)
        except (TypeError, ValueError) as error:
            raise InvalidParameterError(
                f"scoring={self.name!r} can't score the labels {classes.tolist()[:10]}. "
                f"{str(error).rstrip('.')}. Use another score, such as 'balanced_accuracy'."
            ) from error

    def of_labels(
        self, classes: Array, true: Array, guessed: Array, weight: Any, **more: Any
    ) -> float:
        """The score of labels; of two the last is the positive one, unless it is named.

        ``more``: keywords that hold where the function has them and ``how`` leaves them out, such as
        ``pos_label``.
        """
        known = inspect.signature(self.function).parameters
        how = {**{key: more[key] for key in more.keys() & known.keys()}, **self.how}
        if "pos_label" in known and len(classes) == 2:
            how.setdefault("pos_label", classes[-1])
        return float(self.sign * self.function(true, guessed, sample_weight=weight, **how))

    def of_cells(self, classes: Array, weights: FloatArray, counts: FloatArray) -> float:
        """The score of rows that are counted by their true (first axis) and predicted label.

        Examples
        --------
        >>> from sklearn.metrics import f1_score
        >>> counts = np.array([[3.0, 1.0], [0.0, 2.0]])
        >>> ByLabels("f1", f1_score).of_cells(np.array([0, 1]), counts, counts)
        0.8
        """
        true, guessed = np.nonzero(counts)
        rows = classes[true], classes[guessed], weights[true, guessed]
        return self.of_labels(classes, *rows, labels=classes)

    def of_rows(
        self, classes: Array, codes: IntArray, eta: FloatArray, weight: FloatArray | None
    ) -> float:
        """The score of rows at hand: ``codes`` of classes, raw predictions (n,) or (n, n_classes)."""
        rows = classes[codes], classes[predicted(eta)], weight
        return self.of_labels(classes, *rows, labels=classes)


# ---------------------------------------------------------------- by rows


@dataclass(frozen=True, eq=False)
class ByRows:
    """A mean over rows of what the raw predictions say of each.

    Attributes
    ----------
    name : as the user knows it
    what : {"hit", "log", "square", "top"}
        Whether the label is right, the log loss, the squared gap of the probabilities, whether the label is
        among the ``k`` most probable.
    sign : 1, or -1 where less is better
    gain : bool
        Whether it is set against what the shares of the classes alone give, as D2 is.
    scale : factor, None for a half of two classes
    mean : bool
        Whether it is divided by the weight of the rows.
    k : int
    """

    name: str
    what: Literal["hit", "log", "square", "top"]
    sign: int = 1
    gain: bool = False
    scale: float | None = 1.0
    mean: bool = True
    k: int = 2

    def check(self, classes: Array, weighted: bool) -> None:
        """Says where all rows are right."""
        if self.what == "top" and self.k >= len(classes):
            warnings.warn(
                f"scoring={self.name!r} with k={self.k} of {len(classes)} classes is perfect for any "
                "model. Use a smaller k.",
                UndefinedMetricWarning,
                stacklevel=2,
            )

    def each(self, codes: IntArray, eta: FloatArray) -> FloatArray:
        """Of each row, (n,)."""
        at = np.arange(len(codes))
        if self.what == "hit":
            return np.asarray(predicted(eta) == codes, dtype=np.float64)
        if self.what == "top":
            return self._among(codes, eta)
        p = probabilities(eta)
        if self.what == "log":
            least = np.finfo(np.float64).eps
            return np.asarray(-np.log(np.clip(p[at, codes], least, 1.0 - least)))
        own = p[at, codes]
        return np.asarray(np.einsum("ij,ij->i", p, p) - own**2 + (1.0 - own) ** 2)

    def _among(self, codes: IntArray, eta: FloatArray) -> FloatArray:
        """Of equal ones those of later classes come first."""
        both = np.column_stack([-eta, eta]) if eta.ndim == 1 else eta
        own = both[np.arange(len(codes)), codes][:, None]
        later = np.arange(both.shape[1]) > codes[:, None]
        return np.asarray(((both > own) | ((both == own) & later)).sum(axis=1) < self.k, np.float64)

    def of_sums(self, total: float, classes: FloatArray) -> float:
        """The score from the weighted sum over rows and the weight of each class's rows, (n_classes,)."""
        weight = float(classes.sum())
        scale = (0.5 if len(classes) < 3 else 1.0) if self.scale is None else self.scale
        if not weight > 0:
            return float("nan")
        if not self.gain:
            return self.sign * scale * total / (weight if self.mean else 1.0)
        shares = classes / weight
        if self.what == "log":
            least = np.finfo(np.float64).eps
            alone = -float(shares @ np.log(np.clip(shares, least, 1.0 - least)))
        else:
            alone = 1.0 - float(shares @ shares)
        return 1.0 - total / weight / alone if alone > 0 else float("nan")

    def of_rows(
        self, classes: Array, codes: IntArray, eta: FloatArray, weight: FloatArray | None
    ) -> float:
        """As :meth:`ByLabels.of_rows`."""
        each = self.each(codes, eta)
        total = float(each.sum() if weight is None else weight @ each)
        return self.of_sums(total, np.bincount(codes, weight, len(classes)).astype(np.float64))


# ---------------------------------------------------------------- by rank


@dataclass(frozen=True, eq=False)
class ByRank:
    """A score of the order of rows.

    Attributes
    ----------
    name : as the user knows it
    kind : {"pairs", "precision"}
        Areas under the ROC curve, or average precision.
    response : {"decision_function", "predict_proba"}
    sign : 1, or -1 where less is better
    several : {"raise", "ovr", "ovo"}
        More than two classes: refused, each against the rest, or each against each other.
    average : {"macro", "weighted"}
    positive : label; None for scikit-learn's default, see :meth:`own`
    """

    name: str
    kind: Sum
    response: Response
    sign: int = 1
    several: Literal["raise", "ovr", "ovo"] = "ovr"
    average: str = "macro"
    positive: Any = None

    def check(self, classes: Array, weighted: bool) -> None:
        """More than two classes need to be told what is set against what."""
        if len(classes) == 2:
            self.own(classes)
        elif self.several == "raise":
            raise InvalidParameterError(
                f"scoring={self.name!r} is of two labels, got {len(classes)}: {classes.tolist()[:10]}. Use "
                "scoring='roc_auc_ovr', 'roc_auc_ovo', 'roc_auc_ovr_weighted' or 'roc_auc_ovo_weighted'."
            )
        elif self.positive not in (None, 1):
            raise InvalidParameterError(
                f"scoring={self.name!r} has pos_label={self.positive!r}, which is for two labels, got "
                f"{len(classes)}. Leave pos_label out."
            )
        elif self.several == "ovo" and weighted:
            raise InvalidParameterError(
                f"scoring={self.name!r} takes no sample_weight for several classes: pairs of classes are "
                "counted, not weighed. Use scoring='roc_auc_ovr' or 'roc_auc_ovr_weighted'."
            )

    def own(self, classes: Array) -> int:
        """Which of two classes is the positive one: the last; for precisions 1, if that is a label."""
        if self.positive is None:
            return 0 if self.kind == "precision" and classes[0] == 1 else 1
        at = np.flatnonzero(classes == self.positive)
        if len(at) == 0:
            raise InvalidParameterError(
                f"scoring={self.name!r} has pos_label={self.positive!r}, which is not a label of y: "
                f"{classes.tolist()}. Pass one of these to make_scorer."
            )
        return int(at[0])

    def n_columns(self, n_classes: int) -> int:
        """Orders of one model's rows."""
        return 1 if n_classes == 2 else n_classes

    def n_groups(self, n_classes: int) -> int:
        """What rows of an order are told apart as."""
        return n_classes if n_classes > 2 and self.several == "ovo" else 2

    def scores(self, classes: Array, eta: FloatArray) -> FloatArray:
        """What orders the rows, from raw predictions: (n, 1) of two classes, else (n, n_classes)."""
        if eta.ndim == 2:
            return eta if self.response == "decision_function" else probabilities(eta)
        own = self.own(classes)
        if self.response == "predict_proba":
            return probabilities(eta)[:, own : own + 1]
        return (eta if own else -eta)[:, None]

    def column(
        self, k: int, classes: Array, codes: IntArray, scores: FloatArray, weight: FloatArray | None
    ) -> Column:
        """Order ``k`` of some rows, from column ``k`` of :meth:`scores`."""
        own = self.own(classes) if len(classes) == 2 else k
        pairwise = self.n_groups(len(classes)) > 2
        return Column(scores, groups_of(codes, own, pairwise=pairwise), weight)

    def of_ranked(self, found: Ranked) -> float:
        """The score from the orders of one model."""
        if self.kind == "precision":
            return self.sign * float(precision_of(found, self.average))
        if len(found.weights) > 1 and self.several == "ovo":
            return self.sign * one_against_one(found, self.average)
        return self.sign * float(one_against_rest(found, self.average))

    def of_rows(
        self, classes: Array, codes: IntArray, eta: FloatArray, weight: FloatArray | None
    ) -> float:
        """As :meth:`ByLabels.of_rows`."""
        scores = self.scores(classes, eta)
        each = [
            self.column(k, classes, codes, scores[:, k], weight) for k in range(scores.shape[1])
        ]
        return self.of_ranked(ranked_here(each, self.n_groups(len(classes)), self.kind))


Scorer: TypeAlias = ByLabels | ByRows | ByRank

__all__ = ["ByLabels", "ByRank", "ByRows", "Scorer", "predicted", "probabilities"]
