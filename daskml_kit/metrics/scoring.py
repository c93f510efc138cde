"""From what the user gives as ``scoring`` to a scorer, and a model's score of data in blocks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import dask.array as da
import numpy as np
from dask.base import compute
from dask.delayed import delayed
from sklearn import metrics
from sklearn.metrics import get_scorer, get_scorer_names

from daskml_kit.exceptions import InvalidDataError, InvalidParameterError
from daskml_kit.metrics.areas import AVERAGES, ordered
from daskml_kit.metrics.confusion import label_cells
from daskml_kit.metrics.ranking import Sum
from daskml_kit.metrics.scorers import ByLabels, ByRank, ByRows, Scorer
from daskml_kit.metrics.scores import _alike, _columns
from daskml_kit.typing import Array, IntArray

OF_LABELS: tuple[Callable[..., Any], ...] = (
    metrics.accuracy_score,
    metrics.balanced_accuracy_score,
    metrics.cohen_kappa_score,
    metrics.d2_absolute_error_score,
    metrics.explained_variance_score,
    metrics.f1_score,
    metrics.fbeta_score,
    metrics.hamming_loss,
    metrics.jaccard_score,
    metrics.matthews_corrcoef,
    metrics.mean_absolute_error,
    metrics.mean_absolute_percentage_error,
    metrics.mean_gamma_deviance,
    metrics.mean_poisson_deviance,
    metrics.mean_squared_error,
    metrics.mean_squared_log_error,
    metrics.median_absolute_error,
    metrics.precision_score,
    metrics.r2_score,
    metrics.recall_score,
    metrics.root_mean_squared_error,
    metrics.root_mean_squared_log_error,
    metrics.zero_one_loss,
)
"""Functions that give pairs of labels with weights what they give the rows that these stand for. Errors and
deviances are of labels that are numbers."""


def scorer_of(scoring: Any) -> Scorer:
    """The scorer that ``scoring`` stands for.

    Parameters
    ----------
    scoring : str, what ``sklearn.metrics.make_scorer`` makes of one of scikit-learn's functions, or None
        None is "accuracy".

    Raises
    ------
    InvalidParameterError
        For an unknown name, another callable, and scores that need rows in one place.

    Examples
    --------
    >>> scorer_of("roc_auc").kind, scorer_of("neg_brier_score").what
    ('pairs', 'square')
    >>> scorer_of(metrics.make_scorer(metrics.fbeta_score, beta=2)).how
    {'beta': 2}
    """
    if scoring is None:
        scoring = "accuracy"
    if isinstance(scoring, str):
        if scoring not in get_scorer_names():
            raise InvalidParameterError(
                f"scoring must be None, one of {list(names())}, or what make_scorer makes of one of "
                f"scikit-learn's functions, got {scoring!r}."
            )
        return _made(scoring, get_scorer(scoring))
    if hasattr(scoring, "_score_func") and hasattr(scoring, "_response_method"):
        return _made(repr(scoring), scoring)
    raise InvalidParameterError(
        f"scoring must be None, one of {list(names())}, or what make_scorer makes of one of scikit-learn's "
        f"functions, got {scoring!r}, which needs the rows themselves in one place. Use GridSearchCV with "
        "LogisticRegression for a score of your own."
    )


def names() -> tuple[str, ...]:
    """All names that ``scoring`` may be."""
    return tuple(name for name in get_scorer_names() if _kind(get_scorer(name)) is not None)


def _kind(made: Any) -> Callable[[str, Any], Scorer] | None:
    function = made._score_func
    if function in _BUILD:
        return _BUILD[function]
    if function in OF_LABELS and made._response_method == "predict":
        return None if made._kwargs.get("average") == "samples" else _by_labels
    return None


def _made(name: str, made: Any) -> Scorer:
    build = _kind(made)
    if build is None:
        raise InvalidParameterError(
            f"scoring={name!r} is not among the scores that are known of data in blocks. Use one of "
            f"{list(names())}, or GridSearchCV with LogisticRegression."
        )
    return build(name, made)


def _told(name: str, made: Any, **known: Any) -> dict[str, Any]:
    """Keywords of the function with defaults for those left out; refuses others."""
    strange = sorted(set(made._kwargs) - set(known))
    if strange:
        raise InvalidParameterError(
            f"scoring={name!r} has the keywords {strange}, which blocks don't know; known are "
            f"{sorted(known)}. Leave them out, or use GridSearchCV with LogisticRegression."
        )
    return {**known, **made._kwargs}


def _by_labels(name: str, made: Any) -> Scorer:
    return ByLabels(name, made._score_func, made._sign, dict(made._kwargs))


def _accuracy(name: str, made: Any) -> Scorer:
    how = _told(name, made, normalize=True)
    return ByRows(name, "hit", made._sign, mean=bool(how["normalize"]))


def _log(name: str, made: Any) -> Scorer:
    how = _told(name, made, normalize=True)
    return ByRows(name, "log", made._sign, mean=bool(how["normalize"]))


def _square(name: str, made: Any) -> Scorer:
    half = _told(name, made, scale_by_half="auto")["scale_by_half"]
    scale = None if half == "auto" else 0.5 if half else 1.0
    return ByRows(name, "square", made._sign, scale=scale)


def _log_gain(name: str, made: Any) -> Scorer:
    _told(name, made)
    return ByRows(name, "log", made._sign, gain=True)


def _square_gain(name: str, made: Any) -> Scorer:
    _told(name, made)
    return ByRows(name, "square", made._sign, gain=True)


def _top(name: str, made: Any) -> Scorer:
    how = _told(name, made, k=2, normalize=True)
    return ByRows(name, "top", made._sign, mean=bool(how["normalize"]), k=int(how["k"]))


def _ratio(place: int, name: str, made: Any) -> Scorer:
    _told(name, made)
    return ByLabels(name, partial(_likelihood_ratio, place), made._sign)


def _likelihood_ratio(
    place: int, y_true: Array, y_pred: Array, *, labels: Any = None, sample_weight: Any = None
) -> float:
    """The positive one (0) or the negative one (1); scikit-learn's scorers of them take no weights."""
    found = metrics.class_likelihood_ratios(
        y_true, y_pred, labels=labels, sample_weight=sample_weight, replace_undefined_by=1.0
    )
    return float(found[place])


def _area(name: str, made: Any) -> Scorer:
    how = _told(name, made, multi_class="raise", average="macro")
    return _ranking(name, made, "pairs", how["average"], several=how["multi_class"])


def _precision(name: str, made: Any) -> Scorer:
    how = _told(name, made, average="macro", pos_label=None)
    return _ranking(name, made, "precision", how["average"], positive=how["pos_label"])


def _ranking(name: str, made: Any, kind: Sum, average: Any, **how: Any) -> Scorer:
    if average not in AVERAGES:
        raise InvalidParameterError(
            f"scoring={name!r} must have an average of {list(AVERAGES)}, got {average!r}."
        )
    given = made._response_method
    first: Any = given if isinstance(given, str) else given[0]
    if first not in ("decision_function", "predict_proba"):
        raise InvalidParameterError(
            f"scoring={name!r} orders rows by response_method={given!r}: pass 'decision_function' or "
            "'predict_proba' to make_scorer."
        )
    return ByRank(name, kind, first, made._sign, average=average, **how)


_BUILD: dict[Any, Callable[[str, Any], Scorer]] = {
    metrics.accuracy_score: _accuracy,
    metrics.average_precision_score: _precision,
    metrics.brier_score_loss: _square,
    metrics.d2_brier_score: _square_gain,
    metrics.d2_log_loss_score: _log_gain,
    metrics.log_loss: _log,
    metrics.roc_auc_score: _area,
    metrics.top_k_accuracy_score: _top,
    get_scorer("positive_likelihood_ratio")._score_func: partial(_ratio, 0),
    get_scorer("neg_negative_likelihood_ratio")._score_func: partial(_ratio, 1),
}


# ---------------------------------------------------------------- a model's score


def score_of(scorer: Scorer, model: Any, X: Any, y: Any, sample_weight: Any = None) -> float:
    """The score of a classifier on data wherever they are.

    Parameters
    ----------
    scorer : of :func:`scorer_of`
    model : fitted, with ``classes_``, ``predict`` and ``decision_function``
    X, y, sample_weight : (n, n_features), (n,) and (n,) or None, whatever the model takes

    Returns
    -------
    float
        More is better.

    Raises
    ------
    InvalidDataError
        For labels that the model does not know, where probabilities or orders are scored, and as
        :func:`~daskml_kit.metrics.accuracy_score`.
    """
    classes = np.asarray(model.classes_)
    if isinstance(scorer, ByLabels):
        cells = label_cells(y, model.predict(X), sample_weight)
        # The functions' own default, as scikit-learn's ``score`` has it; its folds name the last label.
        positive: dict[str, Any] = {"pos_label": 1} if 1 in classes.tolist() else {}
        return scorer.of_labels(classes, *cells, **positive)
    y, eta, weight = _columns(y, model.decision_function(X), sample_weight)
    if not isinstance(eta, da.Array):
        y, weight = compute(y, weight)
        return scorer.of_rows(classes, _codes(classes, y), np.asarray(eta, np.float64), weight)
    if isinstance(scorer, ByRank):
        width = scorer.n_columns(len(classes))
        chunks = (eta.chunks[0], (width,))
        scores = eta.rechunk({-1: -1}) if eta.ndim == 2 else eta
        scores = da.map_blocks(
            partial(_scores, scorer, classes), scores, dtype=np.float64, chunks=chunks,
            new_axis=[1] if eta.ndim == 1 else None,
        )  # fmt: skip
        own = classes[scorer.own(classes)] if width == 1 else None
        pairwise = scorer.n_groups(len(classes)) > 2
        found = ordered(
            scorer.name,
            y,
            scores,
            weight,
            classes,
            pairwise=pairwise,
            kind=scorer.kind,
            positive=own,
        )
        return scorer.of_ranked(found)
    given = [a for a in _alike(y, eta, weight) if a is not None]
    blocks = zip(*(a.to_delayed(optimize_graph=False).ravel() for a in given), strict=True)
    parts = compute([delayed(partial(_sums, scorer, classes))(*block) for block in blocks])[0]
    lost, weights = (np.sum(each, axis=0) for each in zip(*parts, strict=True))
    return scorer.of_sums(float(lost), weights)


def _scores(scorer: ByRank, classes: Array, eta: Any) -> Any:
    return scorer.scores(classes, np.asarray(eta, dtype=np.float64))


def _sums(scorer: ByRows, classes: Array, y: Any, eta: Any, weight: Any = None) -> tuple[Any, Any]:
    codes = _codes(classes, np.asarray(y))
    each = scorer.each(codes, np.asarray(eta, dtype=np.float64))
    total = each.sum() if weight is None else np.asarray(weight) @ each
    return total, np.bincount(codes, weight, len(classes)).astype(np.float64)


def _codes(classes: Array, y: Array) -> IntArray:
    strange = np.setdiff1d(y, classes)
    if len(strange):
        raise InvalidDataError(
            f"y has labels that the model was not fitted to: {strange.tolist()[:5]}. It knows "
            f"{classes.tolist()[:10]}. Drop these rows, or fit again."
        )
    return np.searchsorted(classes, y)


__all__ = ["names", "score_of", "scorer_of"]
