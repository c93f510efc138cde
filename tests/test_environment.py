"""pyproject.toml (pip) and environment.yml (conda) ask for the same, within the same bounds."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]

Bounds = dict[str, SpecifierSet]


def parse(requirements: list[str]) -> Bounds:
    """Name -> bounds. Extras are left out: conda packages have none."""
    parsed = [Requirement(text) for text in requirements]
    return {canonicalize_name(each.name): each.specifier for each in parsed}


def pip_bounds(pyproject: dict[str, Any]) -> Bounds:
    project = pyproject["project"]
    return parse([f"python{project['requires-python']}", *project["dependencies"]])


def conda_bounds(environment: dict[str, Any]) -> Bounds:
    return parse([each for each in environment["dependencies"] if isinstance(each, str)])


def differences(pip: Bounds, conda: Bounds) -> list[str]:
    """One line for each package whose bounds differ or that only one side names."""
    return [
        f"{name}: pyproject.toml has {shown(pip, name)}, environment.yml has {shown(conda, name)}"
        for name in sorted(pip.keys() | conda.keys())
        if pip.get(name) != conda.get(name)
    ]


def shown(bounds: Bounds, name: str) -> str:
    return repr(str(bounds[name])) if name in bounds else "nothing"


def test_both_files_ask_for_the_same():
    pip = pip_bounds(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8")))
    conda = conda_bounds(yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8")))
    found = differences(pip, conda)
    assert not found, "runtime dependencies differ:\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("pip", "conda", "expected"),
    [
        (["dask[array]>=2,<3"], ["dask <3,>=2"], []),
        (["scikit_learn>=1"], ["scikit-learn>=1"], []),
        (
            ["dask>=2"],
            ["dask>=1"],
            ["dask: pyproject.toml has '>=2', environment.yml has '>=1'"],
        ),
        (["dask"], [], ["dask: pyproject.toml has '', environment.yml has nothing"]),
        ([], ["dask>=1"], ["dask: pyproject.toml has nothing, environment.yml has '>=1'"]),
    ],
)
def test_a_difference_is_named(pip, conda, expected):
    assert differences(parse(pip), parse(conda)) == expected
