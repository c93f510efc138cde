"""What the kernels are compiled for: as little as possible, once, and found again on disk."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import daskml_kit
from daskml_kit.kernels import assign, linear_sums, moments, moments_tiles, nearest_tiles
from daskml_kit.kernels.exact_sums import grid_for
from daskml_kit.kernels.linear_tiles import single_output
from daskml_kit.losses import HalfSquared
from tests.kernels.cases import make

ROOT = Path(daskml_kit.__file__).parent
ROOMS = ["losses", "penalties", "kernels"]


def readonly(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def unaligned(array):
    raw = np.empty(array.nbytes + 1, dtype=np.uint8)[1:].view(array.dtype).reshape(array.shape)
    raw[...] = array
    assert not raw.flags.aligned
    return raw


GRID = grid_for(np.full(13, 8.0), 100)
LAYOUTS = [np.copy, readonly, unaligned, np.asfortranarray, lambda a: np.repeat(a, 2, axis=0)[::2]]


@pytest.mark.parametrize(
    ("kernel", "call"),
    [
        (
            single_output,
            lambda X, y, w: linear_sums(HalfSquared(), X, y, y, w, fit_intercept=False, order=2),
        ),
        (moments_tiles.dense, lambda X, y, _: moments(X, y, y)),
        (nearest_tiles.dense, lambda X, y, w: assign(X, y, w[None], GRID, origin=w)),
    ],
)
def test_every_memory_layout_runs_the_same_compiled_code(kernel, call):
    X, y, w = make(70, 12).X, np.ones(70), np.ones(12)
    first = call(X, y, w)
    compiled = len(kernel.signatures)
    for layout in LAYOUTS:
        again = call(*(layout(a) for a in (X, y, w)))
        for a, b in zip(first, again, strict=True):
            np.testing.assert_array_equal(a, b)
    assert len(kernel.signatures) == compiled


SCRIPT = """
import json
import os
import numpy as np
from daskml_kit.kernels import assign, linear_sums, linear_tiles, moments, moments_tiles
from daskml_kit.kernels import bounds_tiles, nearest_tiles
from daskml_kit.kernels.aim import aim_at
from daskml_kit.kernels.bounds import course_from, move_bounds, no_bounds
from daskml_kit.kernels.exact_sums import grid_for
from daskml_kit.losses import Binomial, Multinomial
X, y = np.ones((5, 12)), np.ones(5)
options = {"fit_intercept": True, "order": 2}
linear_sums(Binomial(), X, y, None, np.ones(13), **options)
linear_sums(Multinomial(3), X, y, None, np.ones((3, 13)), **options)
moments(X, y, None)
grid = grid_for(np.ones(13), 5)
assign(X, None, X, grid)
groups = np.r_[:5, -1, -1, -1][None]
move_bounds(X, None, aim_at(X, groups), no_bounds(5, course_from(X, groups, grid)))
kernels = (
    linear_tiles.single_output, linear_tiles.several_outputs, moments_tiles.dense,
    nearest_tiles.dense, bounds_tiles.bounded,
)
print(json.dumps([sum(k.stats.cache_misses.values()) for k in kernels]))
"""


def test_the_next_process_compiles_nothing():
    for _ in range(2):
        run = subprocess.run(
            [sys.executable, "-c", SCRIPT],
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT.parent,
        )
    assert json.loads(run.stdout) == [0, 0, 0, 0, 0]


OWN_LOSS = """
from typing import NamedTuple
class Own(NamedTuple):
    @staticmethod
    def pointwise(loss, y, eta):
        return 0.5 * (y - eta) ** 2, eta - y, 1.0
"""
WITH_OWN_LOSS = """
import numpy as np
from own_loss import Own
from daskml_kit.kernels import linear_sums
print(linear_sums(Own(), np.ones((5, 3)), np.ones(5), None, np.zeros(3), fit_intercept=False, order=1).value)
"""


def test_a_loss_of_ones_own_leaves_the_cache_to_the_others(tmp_path):
    (tmp_path / "own_loss.py").write_text(OWN_LOSS)
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    own = subprocess.run(
        [sys.executable, "-c", WITH_OWN_LOSS],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={**env, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT.parent}"},
    )
    assert float(own.stdout) == 2.5
    index = b"".join(p.read_bytes() for p in (tmp_path / "cache").rglob("*.nbi"))
    assert b"own_loss" not in index


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_neither_dask_nor_sklearn_nor_each_other(room):
    others = [f"daskml_kit.{r}" for r in ROOMS if r != room]
    allowed = ("daskml_kit.typing", "daskml_kit.exceptions", f"daskml_kit.{room}")
    for path in (ROOT / room).glob("*.py"):
        for name in imported(path):
            assert not name.startswith(("dask.", "distributed", "sklearn", *others)), path
            assert name != "dask"
            assert not name.startswith("daskml_kit") or name.startswith(allowed), path


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
