"""Fitting members that are independent of each other, each in the way that suits it.

An estimator of this package, or another one that trains on a cluster, is fitted by its own rounds on the
resident blocks, one such member after the other, since each keeps all workers busy. One of another package
has its rows dealt out evenly first where they are not, see :mod:`~daskml_kit.ensemble.dealing`. Any other
estimator is fitted whole, as a job on one worker to which its rows are gathered, several side by side.
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
from sklearn.utils import get_tags
from sklearn.utils.validation import has_fit_parameter

from daskml_kit.base import BlockEstimator
from daskml_kit.ensemble.dealing import census, dealt, is_even
from daskml_kit.ensemble.members import fitted, framed, labelled, learns_codes, weighted_rows
from daskml_kit.exceptions import InvalidParameterError
from daskml_kit.runtime.block import Block, Bundle
from daskml_kit.runtime.dataset import BlockDataset
from daskml_kit.runtime.executor import Executor
from daskml_kit.runtime.jobs import Job, RowCut, run_jobs
from daskml_kit.runtime.remote import GraphExecutor
from daskml_kit.runtime.views import as_collections
from daskml_kit.typing import Array


@dataclass(frozen=True, eq=False)
class Recruit:
    """A member to be: an unfitted estimator, and the rows that it is shown.

    Attributes
    ----------
    name : in words, for errors: "the member 'trees'"
    estimator : fitted in place, so a clone
    cut : the rows, columns and weights of a block that it is shown; None: all as they are
    share : of the bytes of the data that it is shown, at most about
    """

    name: str
    estimator: Any
    cut: RowCut | None = None
    share: float = 1.0


def train(
    executor: Executor,
    data: BlockDataset,
    recruits: Sequence[Recruit],
    *,
    classes: Array | None = None,
    names: Sequence[str] | None = None,
    n_jobs: int | None = None,
) -> list[Any]:
    """The fitted members, in the order of the recruits. They answer with the original labels, those that
    learn codes only (xgboost, ``lightgbm.dask``) too.

    Parameters
    ----------
    executor, data : of the running fit
    recruits : independent of each other
    classes : labels behind the class codes of the blocks, None for regression
    names : of the features, for members that are to know them, see :func:`knows_names`
    n_jobs : most members that are gathered at the same time, see :func:`~daskml_kit.runtime.jobs.run_jobs`

    Raises
    ------
    ClusterError
        Before any member was fitted, if the rows of one don't fit on a worker.
    """
    here = [i for i, r in enumerate(recruits) if not spreads(r.estimator)]
    jobs = [
        Job(r.name, partial(_fit_rows, r.estimator, classes, names), r.cut, r.share)
        for r in (recruits[i] for i in here)
    ]
    gathered = run_jobs(executor, data, jobs, purpose="fit-members", at_most=n_jobs)
    models = dict(zip(here, gathered, strict=True))
    for i, recruit in enumerate(recruits):
        if i not in models:
            models[i] = _fit_spread(executor, data, recruit, classes)
            if names is not None and knows_names(recruit.estimator):
                models[i].feature_names_in_ = np.asarray(names, dtype=object)
    return [models[i] for i in range(len(recruits))]


def spreads(estimator: Any) -> bool:
    """Whether an estimator trains on a cluster by itself.

    Those of this package do; of others, the ones that ask for a Dask client, as ``xgboost.dask`` and
    ``lightgbm.dask`` do.
    """
    return isinstance(estimator, BlockEstimator) or hasattr(estimator, "client")


def knows_names(estimator: Any) -> bool:
    """Whether a member learns the names of features.

    Those that are gathered see dataframes, and those of this package are told. Others that train on the
    cluster see its blocks as they are.
    """
    return isinstance(estimator, BlockEstimator) or not spreads(estimator)


def _fit_rows(
    estimator: Any, classes: Array | None, names: Sequence[str] | None, block: Block
) -> Any:
    rows, y, weight = weighted_rows(block)
    X: Any = rows if names is None else framed(list(names), rows)
    if classes is not None:
        y = classes[y]
    return fitted(estimator, X, y, weight, classes is not None)


def _fit_spread(
    executor: Executor, data: BlockDataset, recruit: Recruit, classes: Array | None
) -> Any:
    held = [data]
    ours = isinstance(recruit.estimator, BlockEstimator)
    try:
        if recruit.cut is not None:
            held.append(executor.map(data, _cut_bundle, recruit.cut))
        told = classes
        seen = classes
        if not ours:
            found = census(executor, held[-1])
            if classes is not None:
                seen = classes[found.present]
                told = found.codes if learns_codes(recruit.estimator) else classes
            if isinstance(executor, GraphExecutor) and not is_even(found, data):
                held.append(dealt(executor, held[-1], found, recruit.name, recruit.share))
        with as_collections(executor, held[-1], told) as rows:
            how = {} if rows.weight is None else {"sample_weight": rows.weight}
            model = local(recruit.estimator.fit(rows.X, rows.y, **how))
        return model if told is classes or seen is None else labelled(model, seen)
    except Exception as error:
        error.add_note(f"This happened while fitting {recruit.name}.")
        if not ours:  # the frames of its fit hold futures for as long as the error lives
            traceback.clear_frames(error.__traceback__)
        raise
    finally:
        for made in held[1:]:
            made.release()


def _cut_bundle(bundle: Bundle, cut: RowCut) -> Bundle:
    return bundle.map(cut)


def local(model: Any) -> Any:
    """The model as one that predicts rows in memory, without a cluster and picklable.

    ``lightgbm.dask`` makes it itself; that of ``xgboost.dask`` is its booster in the estimator of the same
    name without "Dask".
    """
    if hasattr(model, "to_local"):
        return model.to_local()
    if not hasattr(model, "get_booster") or not hasattr(model, "client"):
        return model
    package = import_module(type(model).__module__.partition(".")[0])
    twin = getattr(package, type(model).__name__.removeprefix("Dask"))()
    twin.load_model(model.get_booster().save_raw("ubj"))
    return twin


def check_members(members: Sequence[tuple[str, Any]], kind: str, *, weighted: bool = False) -> None:
    """Refuse what cannot be a member.

    Parameters
    ----------
    members : their names in words and the estimators
    kind : "classifier" or "regressor"
    weighted : whether they will be given weights

    Raises
    ------
    InvalidParameterError
    """
    for name, model in members:
        _check_member(name, model, kind)
        if weighted and not has_fit_parameter(model, "sample_weight"):
            raise InvalidParameterError(
                f"sample_weight was given, but {name}={model!r} takes none in fit: the underlying estimator "
                "does not support sample weights. Leave sample_weight out, or choose an estimator whose "
                "fit has it."
            )


def _check_member(name: str, model: Any, kind: str) -> None:
    wanted = f"{name} must be an unfitted scikit-learn {kind}"
    if isinstance(model, type):
        raise InvalidParameterError(
            f"{wanted}, got the class {model.__name__}. Pass an instance: {model.__name__}()."
        )
    if not all(hasattr(model, a) for a in ("fit", "predict", "get_params")):
        raise InvalidParameterError(
            f"{wanted}, got {model!r}, which lacks fit, predict or get_params."
        )
    says = get_tags(model).estimator_type if hasattr(model, "__sklearn_tags__") else None
    if says != kind:
        raise InvalidParameterError(
            f"{wanted}, got {model!r}, which says that it is {says and f'a {says}'}. One of your own "
            f"says so by sklearn.base.{kind.capitalize()}Mixin and BaseEstimator."
        )


__all__ = ["Recruit", "check_members", "knows_names", "local", "spreads", "train"]
