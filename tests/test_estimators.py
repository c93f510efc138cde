"""What holds for every public estimator, those included that are still to be written."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone

import daskml_kit
from daskml_kit.base import BlockEstimator
from daskml_kit.exceptions import InvalidParameterError
from daskml_kit.linear_model import LogisticRegression, Ridge
from daskml_kit.runtime.config import config_context, fit_context, setting

BALANCE = """
    balance : {"adaptive", "even", "data"} or None (as configured); see :func:`~daskml_kit.config_context`
"""

X = np.arange(24.0).reshape(12, 2)
y = np.arange(12) % 2


def _public() -> list[type]:
    """The estimators that a room exports."""
    found: dict[type, None] = {}
    for room in pkgutil.iter_modules(daskml_kit.__path__, "daskml_kit."):
        if not room.ispkg:
            continue
        module = importlib.import_module(room.name)
        for name in getattr(module, "__all__", ()):
            kind = getattr(module, name)
            if inspect.isclass(kind) and issubclass(kind, BlockEstimator):
                found[kind] = None
    return list(found)


def _made(kind: type, **parameters: Any) -> Any:
    """One of them; those made of others get a few."""
    wanted = inspect.signature(kind).parameters
    member = LogisticRegression() if "Classifier" in kind.__name__ else Ridge()
    if "estimators" in wanted:
        parameters["estimators"] = [("a", clone(member)), ("b", clone(member))]
    if "models" in wanted:
        parameters |= {"models": [clone(member).fit(X, y) for _ in range(2)], "how": "stack"}
    return kind(**parameters)


def test_there_are_estimators() -> None:
    assert len(_public()) > 30


@pytest.mark.parametrize("kind", _public(), ids=lambda kind: kind.__name__)
def test_every_estimator_takes_balance(kind: type) -> None:
    parameter = inspect.signature(kind).parameters["balance"]
    assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
    assert parameter.default is None
    assert BALANCE in (kind.__doc__ or "")

    even = clone(_made(kind, balance="even"))
    assert even.get_params()["balance"] == "even"
    with pytest.raises(InvalidParameterError, match=r"balance must be one of .* got 'odd'"):
        _made(kind, balance="odd").fit(X, y)


def test_a_fits_own_settings_go_before_the_configuration_and_end_with_it() -> None:
    assert setting("balance") == "adaptive"
    with config_context(balance="even"):
        with fit_context(balance="data"), fit_context(balance=None):
            assert setting("balance") == "data"
            with ThreadPoolExecutor(1) as beside:
                assert beside.submit(setting, "balance").result() == "even"  # another fit's thread
        assert setting("balance") == "even"
