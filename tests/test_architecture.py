"""Imports point one way.

Reads every module of the package with `ast`, running none of it, and fails on an arrow that
points the wrong way::

    typing, exceptions <- losses | penalties | kernels <- runtime* <- solvers <- base
        <- linear_model | svm | cluster | ... <- ensemble | model_selection <- cli

    * runtime imports none of losses, penalties, kernels: a reduction is handed to it.

A room is what stands directly under the package, a module or a folder. `ROOMS` says for each
room which rooms and which libraries it may import. Imports inside functions, under
`TYPE_CHECKING` and by `import_module("a literal")` count as well; `EXCEPTIONS` lists the few
that are let through, each with its reason.
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import resolve_name
from pathlib import Path

import pytest

PACKAGE = "daskml_kit"
SOURCE = Path(__file__).parents[1] / PACKAGE
TOP = "__init__"  # the package's own __init__.py, as a room

# --- the rules -------------------------------------------------------------------------------

BASICS = frozenset({"typing", "exceptions", "on_demand"})
POINTWISE = frozenset({"losses", "penalties", "kernels"})
SIDE = frozenset({"io", "preprocessing", "metrics"})
ESTIMATORS = frozenset(
    {"linear_model", "svm", "cluster", "tree", "neural_network", "decomposition"}
)
META = frozenset({"ensemble", "model_selection"})

UNDER_BASE = BASICS | POINTWISE | {"runtime", "solvers", "preprocessing", "metrics"}
UNDER_META = UNDER_BASE | ESTIMATORS | {"base"}
EVERYTHING = UNDER_META | META | SIDE

DASK = frozenset({"dask", "distributed", "dask_ml", "dask_glm"})
# llvmlite is numba's code generator: its intrinsics are written with it.
NUMERIC = frozenset({"numpy", "scipy", "numba", "llvmlite", "typing_extensions"})


@dataclass(frozen=True)
class Room:
    """What one room may import, and the layer rule in words for the failure message."""

    imports: frozenset[str]
    rule: str
    only: frozenset[str] | None = None  # the only libraries beside the standard one; None is any
    never: frozenset[str] = DASK


def _pointwise(name: str) -> Room:
    return Room(
        BASICS,
        f"{name} imports typing and exceptions, numpy, scipy and numba: losses, penalties and "
        "kernels know neither each other nor dask nor scikit-learn",
        only=NUMERIC,
    )


def _side(name: str) -> Room:
    return Room(
        BASICS | {"runtime", "kernels"},
        f"{name} imports typing, exceptions, runtime and kernels",
        never=frozenset(),
    )


def _estimator(name: str) -> Room:
    return Room(
        UNDER_BASE | {"base"},
        f"{name} is an estimator room: it imports base and what lies under it, no other "
        "estimator room, and reaches dask only through runtime",
    )


ROOMS: dict[str, Room] = {
    "typing": Room(frozenset(), "typing is at the bottom: it imports no room and no dask"),
    "on_demand": Room(frozenset(), "on_demand imports nothing of ours and no dask"),
    "exceptions": Room(
        frozenset({"typing", "on_demand"}), "exceptions imports typing, on_demand, and no dask"
    ),
    **{name: _pointwise(name) for name in POINTWISE},
    "runtime": Room(
        BASICS,
        "runtime imports typing and exceptions: losses, penalties and kernels are handed to it",
        never=frozenset(),
    ),
    "solvers": Room(
        BASICS | {"runtime"},
        "solvers import typing, exceptions and runtime: they know no concrete loss, penalty, "
        "kernel or estimator, no dask and no scikit-learn",
        never=DASK | {"sklearn"},
    ),
    **{name: _side(name) for name in SIDE},
    "base": Room(
        UNDER_BASE,
        "base holds what estimators share: it imports what lies under the estimator rooms",
        never=frozenset(),
    ),
    **{name: _estimator(name) for name in ESTIMATORS},
    "ensemble": Room(
        UNDER_META,
        "ensemble imports the estimator rooms and what lies under them, and reaches dask only "
        "through runtime",
    ),
    "model_selection": Room(
        UNDER_META,
        "model_selection imports the estimator rooms and what lies under them",
        never=frozenset(),
    ),
    "dashboard": Room(
        BASICS | {"runtime"},
        "dashboard reads runtime's events: it imports typing, exceptions and runtime",
        never=frozenset(),
    ),
    "cli": Room(EVERYTHING | {TOP, "dashboard"}, "cli is at the top", never=frozenset()),
    "__main__": Room(frozenset({"cli"}), "__main__ only calls cli"),
    TOP: Room(EVERYTHING, "the package's __init__ gathers the public names, and no dask itself"),
}

# Private parts of dask: each is touched in one or two files, so that a new release breaks only these.
GRAPH_FILES = ("runtime/graph.py", "runtime/loading.py")
GRAPH_PRIVATE = ("dask._task_spec", "dask.highlevelgraph")
DASHBOARD_PRIVATE = "distributed.dashboard"


@dataclass(frozen=True)
class Exemption:
    """An arrow that is let through: `where` is a file, or a folder that ends in a slash."""

    where: str
    target: str
    scope: str  # "types": under TYPE_CHECKING; "lazy": in any function; "lazy:f": in f
    reason: str


EXCEPTIONS = [
    Exemption("kernels/", "losses", "types", "kernels name the loss protocol in signatures"),
    Exemption("__init__.py", "dashboard", "lazy", "bokeh is loaded when a report is asked for"),
    *(
        Exemption("runtime/events.py", "dashboard", f"lazy:{name}", f"Run.{name}() is a shortcut")
        for name in ("report", "to_dataframe", "compare", "_repr_html_")
    ),
    Exemption("base.py", "dashboard", "lazy:_html_repr", "what a fit cost, below its diagram"),
]

# --- reading the imports ---------------------------------------------------------------------


@dataclass(frozen=True)
class Import:
    """One imported name. `scope` is "module", "types" or "lazy:<innermost function>"."""

    file: str
    line: int
    name: str
    scope: str


class _Reader(ast.NodeVisitor):
    def __init__(self, file: str) -> None:
        self.file = file
        self.scope = "module"
        self.found: list[Import] = []
        parts = [PACKAGE, *Path(file).with_suffix("").parts]
        self.package = ".".join(parts[:-1])

    def note(self, node: ast.stmt | ast.expr, name: str) -> None:
        self.found.append(Import(self.file, node.lineno, name, self.scope))

    def within(self, scope: str, nodes: list[ast.stmt]) -> None:
        outer, self.scope = self.scope, "types" if self.scope == "types" else scope
        for node in nodes:
            self.visit(node)
        self.scope = outer

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self.within(f"lazy:{node.name}", node.body)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self.within(f"lazy:{node.name}", node.body)

    def visit_If(self, node: ast.If) -> None:
        if ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
            self.within("types", node.body)
            self.within(self.scope, node.orelse)
        else:
            self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.note(node, alias.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        source = resolve_name("." * node.level + (node.module or ""), self.package)
        for alias in node.names:
            self.note(node, f"{source}.{alias.name}")

    def visit_Call(self, node: ast.Call) -> None:
        called = ast.unparse(node.func).rpartition(".")[2]
        if called in {"import_module", "__import__"} and node.args:
            match node.args[0]:
                case ast.Constant(value=str(name)):
                    self.note(node, resolve_name(name, self.package))
        self.generic_visit(node)


def read(source: Path) -> list[Import]:
    """Every import of every module under `source`, the package's folder."""
    return [found for path in sorted(source.rglob("*.py")) for found in read_file(source, path)]


def read_file(source: Path, path: Path) -> list[Import]:
    reader = _Reader(path.relative_to(source).as_posix())
    reader.visit(ast.parse(path.read_text(encoding="utf-8"), filename=str(path)))
    return reader.found


def room_of(file: str) -> str:
    return file.split("/")[0].removesuffix(".py")


def rooms_in(source: Path) -> set[str]:
    return {room_of(path.relative_to(source).as_posix()) for path in source.rglob("*.py")}


# --- judging them ----------------------------------------------------------------------------


def violations(source: Path) -> list[str]:
    """One line for each import that breaks a rule: file, line, arrow, rule."""
    rooms = rooms_in(source)
    unplaced = sorted(rooms - ROOMS.keys())
    imports = [each for each in read(source) if room_of(each.file) in ROOMS]
    return [
        *(f"{room}: no layer is given for this room; add it to ROOMS" for room in unplaced),
        *(line for each in imports for line in judge(each, rooms | ROOMS.keys())),
        *judge_dashboard_private(imports, "dashboard" in rooms),
    ]


def judge(found: Import, rooms: set[str]) -> Iterator[str]:
    importer = room_of(found.file)
    root, _, rest = found.name.partition(".")
    if root == PACKAGE:
        target = rest.split(".")[0] if rest.split(".")[0] in rooms else TOP
        if not arrow_allowed(found, importer, target):
            yield broken(found, importer, target)
    elif not library_allowed(ROOMS[importer], root):
        yield broken(found, importer, root)
    if belongs_to(found.name, *GRAPH_PRIVATE) and found.file not in GRAPH_FILES:
        files = " and ".join(GRAPH_FILES)
        yield f"{at(found)}: {importer} -> {found.name}: only {files} build raw task graphs"


def arrow_allowed(found: Import, importer: str, target: str) -> bool:
    return (
        target == importer
        or target in ROOMS[importer].imports
        or any(exempts(each, found, target) for each in EXCEPTIONS)
    )


def exempts(exemption: Exemption, found: Import, target: str) -> bool:
    where, scope = exemption.where, exemption.scope
    return (
        target == exemption.target
        and (found.file.startswith(where) if where.endswith("/") else found.file == where)
        and (found.scope == scope or (scope == "lazy" and found.scope.startswith("lazy:")))
    )


def library_allowed(room: Room, library: str) -> bool:
    if library in sys.stdlib_module_names:
        return True
    return library not in room.never and (room.only is None or library in room.only)


def judge_dashboard_private(imports: list[Import], has_dashboard: bool) -> Iterator[str]:
    users = [each for each in imports if belongs_to(each.name, DASHBOARD_PRIVATE)]
    for each in users:
        if room_of(each.file) != "dashboard":
            yield (
                f"{at(each)}: {room_of(each.file)} -> {each.name}: "
                f"{DASHBOARD_PRIVATE} is private to distributed; only dashboard touches it"
            )
    files = sorted({each.file for each in users if room_of(each.file) == "dashboard"})
    if has_dashboard and len(files) != 1:
        yield (
            f"dashboard: {DASHBOARD_PRIVATE} is private to distributed and belongs in exactly "
            f"one file; imported in {', '.join(files) or 'none'}"
        )


def belongs_to(name: str, *modules: str) -> bool:
    return any(f"{name}.".startswith(f"{module}.") for module in modules)


def at(found: Import) -> str:
    return f"{PACKAGE}/{found.file}:{found.line}"


def broken(found: Import, importer: str, target: str) -> str:
    where = "" if found.scope == "module" else f" ({found.scope})"
    return f"{at(found)}: {importer} -> {target}{where}: {ROOMS[importer].rule}"


# --- the package -----------------------------------------------------------------------------


def test_imports_point_one_way():
    assert rooms_in(SOURCE), f"no module under {PACKAGE}/"
    found = violations(SOURCE)
    assert not found, "imports that point the wrong way:\n" + "\n".join(found)


# --- the checker -----------------------------------------------------------------------------


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / PACKAGE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root / PACKAGE


ALLOWED = {
    "losses/logistic.py": "import math\nimport numpy as np\nfrom numba import njit\n"
    "from scipy.special import expit\nfrom ..typing import Array\nfrom . import _shared",
    "kernels/dense.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n"
    "    from daskml_kit.losses import Loss",
    "runtime/graph.py": "from dask._task_spec import Task\n"
    "from dask.highlevelgraph import HighLevelGraph",
    "runtime/executor.py": "import distributed\nfrom daskml_kit.runtime.graph import build\n"
    "from daskml_kit import exceptions",
    "runtime/events.py": "def report():\n    from ..dashboard import render",
    "solvers/newton.py": "from daskml_kit.runtime import executor",
    "base.py": "import sklearn.base\nfrom . import solvers, losses",
    "linear_model/__init__.py": "from .logistic import LogisticRegression",
    "linear_model/logistic.py": "from sklearn.base import ClassifierMixin\nfrom ..base import Base",
    "ensemble/voting.py": "from ..linear_model import LogisticRegression",
    "io/libsvm.py": "import dask.array as da\nfrom ..kernels import sparse",
    "dashboard/page.py": "from distributed.dashboard.components import shared\n"
    "from ..runtime.events import RoundEvent",
    "cli.py": "from daskml_kit import LogisticRegression\ndef main():\n    from . import dashboard",
    "__init__.py": "from .linear_model import LogisticRegression",
    "__main__.py": "from daskml_kit.cli import main",
}


def test_checker_allows_what_the_rules_allow(tmp_path):
    assert violations(tree(tmp_path, ALLOWED)) == []


@pytest.mark.parametrize("missing", ["dashboard/page.py", "runtime/graph.py", "base.py"])
def test_checker_allows_a_room_that_is_not_there_yet(tmp_path, missing):
    files = {name: text for name, text in ALLOWED.items() if name != missing}
    assert violations(tree(tmp_path, files)) == []


@pytest.mark.parametrize(
    ("file", "text", "arrow"),
    [
        ("typing.py", "from . import exceptions", "typing.py:1: typing -> exceptions"),
        ("exceptions.py", "import dask", "exceptions.py:1: exceptions -> dask"),
        ("losses/a.py", "from ..penalties import L2", "losses -> penalties"),
        ("losses/a.py", "import sklearn.base", "losses -> sklearn"),
        ("losses/a.py", "\n\nimport dask.array as da", "losses/a.py:3: losses -> dask"),
        ("penalties/a.py", "import pandas", "penalties -> pandas"),
        ("kernels/a.py", "from ..losses import Loss", "kernels -> losses"),
        (
            "kernels/a.py",
            "def f():\n    import daskml_kit.losses.logistic",
            "kernels/a.py:2: kernels -> losses (lazy:f)",
        ),
        (
            "kernels/a.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    pass\n"
            "else:\n    from ..losses import Loss",
            "kernels/a.py:5: kernels -> losses",
        ),
        ("runtime/a.py", "from .. import kernels", "runtime -> kernels"),
        ("runtime/a.py", "from ..losses.logistic import Logistic", "runtime -> losses"),
        ("runtime/a.py", "from dask import _task_spec", "only runtime/graph.py"),
        ("io/a.py", "import dask.highlevelgraph", "only runtime/graph.py"),
        ("runtime/a.py", "def report():\n    from .. import dashboard", "(lazy:report)"),
        ("runtime/events.py", "from ..dashboard import render", "runtime -> dashboard"),
        ("runtime/events.py", "def f():\n    import daskml_kit.dashboard", "(lazy:f)"),
        ("solvers/a.py", "from ..losses import Logistic", "solvers -> losses"),
        ("solvers/a.py", "from sklearn.utils import check_array", "solvers -> sklearn"),
        ("solvers/a.py", "import distributed", "solvers -> distributed"),
        ("solvers/a.py", "from ..linear_model import Ridge", "solvers -> linear_model"),
        ("metrics/a.py", "from ..linear_model import Ridge", "metrics -> linear_model"),
        ("base.py", "from .linear_model import Ridge", "base.py:1: base -> linear_model"),
        ("svm/a.py", "from ..linear_model import Ridge", "svm -> linear_model"),
        ("svm/a.py", "import dask.array", "svm -> dask"),
        ("svm/a.py", "from ..ensemble import Bagging", "svm -> ensemble"),
        ("svm/a.py", "from daskml_kit import Ridge", "svm -> __init__"),
        ("svm/a.py", "def f():\n    import daskml_kit.cli", "svm -> cli"),
        ("svm/a.py", "from importlib import import_module\nimport_module('dask')", "svm -> dask"),
        ("svm/a/b.py", "from ...tree import Tree", "svm -> tree"),
        ("svm/__init__.py", "from ..tree import Tree", "svm -> tree"),
        ("ensemble/a.py", "from ..dashboard import render", "ensemble -> dashboard"),
        ("__init__.py", "from . import dashboard", "__init__ -> dashboard"),
        ("io/a.py", "from distributed.dashboard import core", "only dashboard touches it"),
        ("dashboard/a.py", "from ..solvers import solve", "dashboard -> solvers"),
        ("dashboard/a.py", "import distributed.dashboard.core", "exactly one file"),
        ("utils.py", "", "utils: no layer is given"),
    ],
)
def test_checker_fails_on_a_wrong_arrow(tmp_path, file, text, arrow):
    found = violations(tree(tmp_path, {**ALLOWED, file: text}))
    assert len(found) == 1, found
    assert arrow in found[0]


def test_checker_names_the_rule(tmp_path):
    source = tree(tmp_path, {"solvers/a.py": "import sklearn"})
    assert violations(source) == [
        f"{PACKAGE}/solvers/a.py:1: solvers -> sklearn: {ROOMS['solvers'].rule}"
    ]
