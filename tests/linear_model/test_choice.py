"""What ``solver="auto"`` takes is what ``docs/solvers.md`` says that it takes."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from daskml_kit.linear_model import LogisticRegression
from daskml_kit.linear_model.choice import newton_is_cheaper

PAGE = Path(__file__).parents[2] / "docs" / "solvers.md"


def shaped(n_rows: int) -> Any:
    return SimpleNamespace(n_rows=n_rows, sparse=False)


def test_the_rule_is_that_of_the_page():
    lines = re.findall(r"^\| ([\d,]+) x (\d+) \|.*\| (newton|lbfgs) \|$", PAGE.read_text(), re.M)
    assert len(lines) >= 9
    for rows, columns, taken in lines:
        facts = shaped(int(rows.replace(",", "")))
        newton = newton_is_cheaper(facts, 1, int(columns) + 1, sketched=True)
        assert newton == (taken == "newton"), (rows, columns)


def test_kinks_leave_lbfgs_without_its_sketch():
    shape, facts = (51,), shaped(30_000)
    l1 = np.full(shape, 1e-3)
    for model, strengths, name in [
        (LogisticRegression(), 0 * l1, "LBFGS"),
        (LogisticRegression(l1_ratio=1.0), l1, "ProximalNewton"),
        (LogisticRegression(coef_bounds=(0, 1)), 0 * l1, "ProximalNewton"),
    ]:
        assert type(model._solver(facts, shape, strengths)).__name__ == name
