"""The shape of the package: who imports whom, what is pure, and how long things are.

Every rule is a function over parsed files, and is tried on a planted violation as well.
"""

from __future__ import annotations

import ast
import functools
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PACKAGE = REPOSITORY / "gpukit"


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


LAYERS: tuple[frozenset[str], ...] = tuple(
    words(names)
    for names in (
        "errors _version quantity naming contract ladder leaks",
        "job profile locations checks spec catalog runtime integrations",
        "placement lint manifests finops diagnose",
        "render archive ignore imports jobfile settings",
        "cluster local fit",
        "runs",
        "quantize",
        "cli",
    )
)
"""A module imports from its own layer and from those before it."""

PURE = words(
    "errors quantity naming contract ladder profile locations checks spec catalog placement lint "
    "manifests finops diagnose render"
)
"""No clock, environment, network or randomness: these come in as arguments."""

EFFECTS = words(
    "os time random secrets socket ssl select selectors subprocess signal threading asyncio "
    "tempfile shutil glob urllib http uuid platform getpass requests kubernetes"
)
"""What a pure module does not import."""

LAZY = frozenset({"job", ""})
"""Modules that reach up, inside functions: the GpuJob's methods, and the package itself."""

IN_PODS = frozenset({"", "_version", "errors", "contract", "ladder", "job", "runtime"})
"""What is loaded in the pod: there, only Python and gpukit are sure to be."""

POD_MAY_USE = frozenset({"", "_version", "errors", "contract", "ladder", "runtime"})
POD_MAY_USE_LAZILY = frozenset({"torch", "numpy", "fsspec"})

FILE_LINES, FUNCTION_LINES = 400, 60

KEBAB = r"[a-z0-9]+(-[a-z0-9]+)*"
GPUKIT_ERRORS = words(
    "GpukitError UsageError SpecError PlacementError JobFileError BudgetError RunFailedError "
    "WaitTimeoutError CheckpointError StoreError ModelChangedError DamagedFileError FencedError"
)


@dataclass(frozen=True)
class Import:
    """One imported module: its dotted name, its line, and whether it is loaded with the file."""

    name: str
    line: int
    eager: bool

    @property
    def top(self) -> str:
        return self.name.partition(".")[0]

    @property
    def part(self) -> str:
        """The part of gpukit that is imported; "" for the package itself."""
        return [*self.name.split("."), ""][1]


@dataclass(frozen=True)
class File:
    """A parsed file of the package, by its dotted name."""

    name: str
    text: str
    is_package: bool = False

    @property
    def part(self) -> str:
        return [*self.name.split("."), ""][1]

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @cached_property
    def imports(self) -> list[Import]:
        return list(self._imports(self.tree, eager=True))

    def _imports(self, node: ast.AST, *, eager: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            if isinstance(child, ast.Import):
                yield from (Import(alias.name, child.lineno, eager) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                base = self._absolute(child)
                for alias in child.names:
                    inner = f"{base}.{alias.name}"
                    name = inner if inner in known_modules() else base
                    yield Import(name, child.lineno, eager)
            else:
                lazy = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
                yield from self._imports(child, eager=eager and not lazy)

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        up = node.level - 1 if self.is_package else node.level
        parts = self.name.split(".")[: len(self.name.split(".")) - up]
        return ".".join([*parts, *([node.module] if node.module else [])])


@functools.cache
def files() -> list[File]:
    return [
        File(module_name(path), path.read_text(encoding="utf-8"), path.name == "__init__.py")
        for path in sorted(PACKAGE.rglob("*.py"))
        if "_recipes" not in path.parts
    ]


def module_name(path: Path) -> str:
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@functools.cache
def known_modules() -> frozenset[str]:
    return frozenset(module_name(path) for path in PACKAGE.rglob("*.py"))


def layer_of(part: str) -> int | None:
    return next((i for i, layer in enumerate(LAYERS) if part in layer), None)


def wrong_direction(file: File) -> list[str]:
    """Imports of a later layer; of the command line from anywhere else; files without a layer."""
    if file.part in LAZY:
        return []
    own = layer_of(file.part)
    if own is None:
        return [f"{file.name} has no layer: say in LAYERS where it belongs"]
    found = []
    for module in file.imports:
        other = layer_of(module.part)
        if module.top == "gpukit" and module.part and (other is None or other > own):
            found.append(f"{file.name}:{module.line} imports {module.name}")
    return found


def effects(file: File) -> list[str]:
    """Clock, environment, network and randomness in a pure module."""
    if file.part not in PURE:
        return []
    found = [f"{file.name}:{m.line} imports {m.name}" for m in file.imports if m.top in EFFECTS]
    for node in ast.walk(file.tree):
        called = node.func if isinstance(node, ast.Call) else None
        if isinstance(called, ast.Attribute) and called.attr in ("now", "utcnow", "today"):
            found.append(f"{file.name}:{called.lineno} reads the clock: {ast.unparse(called)}")
        if isinstance(called, ast.Name) and called.id in ("open", "input", "print"):
            found.append(f"{file.name}:{called.lineno} calls {called.id}")
    return found


def not_for_pods(file: File) -> list[str]:
    """What a pod may not have: third-party modules on import, other parts of gpukit."""
    if file.part not in IN_PODS:
        return []
    found = []
    for module in file.imports:
        if module.top == "gpukit":
            fine = module.part in POD_MAY_USE or not module.eager
        elif module.eager:
            fine = module.top in sys.stdlib_module_names
        else:
            fine = module.top in sys.stdlib_module_names | POD_MAY_USE_LAZILY
        if not fine:
            found.append(f"{file.name}:{module.line} imports {module.name}")
    return found


def cluster_clients(file: File) -> list[str]:
    """The Kubernetes client anywhere but in the one part that talks to clusters."""
    return [
        f"{file.name}:{m.line} imports {m.name}"
        for m in file.imports
        if m.top in ("kubernetes", "lightkube") and file.part != "cluster"
    ]


def too_long(file: File) -> list[str]:
    """Files of more than 400 lines; functions of more than 60, without their docstring."""
    lines = len(file.text.splitlines())
    found = [f"{file.name} has {lines} lines"] if lines > FILE_LINES else []
    for node in ast.walk(file.tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0]
            doc = ast.get_docstring(node, clean=False) is not None
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            length -= (first.end_lineno or 0) - first.lineno + 1 if doc else 0
            if length > FUNCTION_LINES:
                found.append(f"{file.name}:{node.lineno} {node.name} has {length} lines")
    return found


def exports(file: File) -> list[str]:
    """Modules with public names but without ``__all__``, and names in it that nothing binds."""
    bound: set[str] = set()
    exported: list[str] | None = None
    for node in file.tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            bound.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            bound |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            bound |= {target.id for target in targets if isinstance(target, ast.Name)}
            if ast.unparse(targets[0]) == "__all__" and node.value is not None:
                exported = ast.literal_eval(node.value)
    if exported is None:
        is_script = file.name.endswith(("__main__", "bootstrap", "_version"))
        public = [name for name in bound if not name.startswith("_") and name != "annotations"]
        return [f"{file.name} has no __all__"] if public and not is_script else []
    lazy = "__getattr__" in bound  # its names are found when they are asked for
    return [f"{file.name} has no {name}" for name in exported if name not in bound and not lazy]


def errors_for_people(file: File) -> list[str]:
    """Bare exceptions, assertions, and errors without an id of their own or without a hint."""
    found = []
    for node in ast.walk(file.tree):
        if isinstance(node, ast.Assert):
            found.append(f"{file.name}:{node.lineno} asserts")
        name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
        if name in ("Exception", "BaseException", "RuntimeError"):
            found.append(f"{file.name}:{node.lineno} makes a bare {name}")  # type: ignore[attr-defined]
        if isinstance(node, ast.Call) and name in GPUKIT_ERRORS and len(node.args) == 3:
            id, _, hint = node.args
            kebab = isinstance(id, ast.Constant) and re.fullmatch(KEBAB, str(id.value))
            if not (kebab or isinstance(id, (ast.JoinedStr, ast.Attribute, ast.Name, ast.IfExp))):
                found.append(f"{file.name}:{node.lineno} has the id {ast.unparse(id)}")
            if isinstance(hint, ast.Constant) and not hint.value:
                found.append(f"{file.name}:{node.lineno} has no hint")
    return found


def cycles(of: list[File]) -> list[str]:
    """Modules that lead back to themselves, imports inside functions included."""
    graph = {
        file.name: sorted({m.name for m in file.imports if m.name != file.name})
        for file in of
        if file.part not in LAZY
    }
    found: list[str] = []
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> None:
        if name in path:
            found.append(" -> ".join([*path[path.index(name) :], name]))
        elif name not in done:
            for other in graph.get(name, ()):
                visit(other, [*path, name])
            done.add(name)

    for name in graph:
        visit(name, [])
    return found


RULES: tuple[Callable[[File], list[str]], ...] = (
    wrong_direction, effects, not_for_pods, cluster_clients, too_long, exports, errors_for_people,
)  # fmt: skip


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_package_keeps(rule: Callable[[File], list[str]]) -> None:
    assert [problem for file in files() for problem in rule(file)] == []


def test_there_is_no_import_cycle() -> None:
    assert cycles(files()) == []


def test_tests_and_benchmarks_are_short_files_too() -> None:
    folders = ("tests", "benchmarks", "examples", "recipes")
    paths = [path for folder in folders for path in (REPOSITORY / folder).rglob("*.py")]
    long = [p for p in paths if len(p.read_text(encoding="utf-8").splitlines()) > FILE_LINES]
    assert long == []


@pytest.mark.parametrize(
    ("rule", "name", "text"),
    [
        (wrong_direction, "gpukit.spec", "from .render import render"),
        (wrong_direction, "gpukit.render", "def f():\n    from gpukit.local import backend"),
        (wrong_direction, "gpukit.runs.plan", "from gpukit.cli import output"),
        (wrong_direction, "gpukit.catalog.loader", "from gpukit.placement import resolve"),
        (wrong_direction, "gpukit.novelty", "import json"),
        (effects, "gpukit.placement.needs", "import os"),
        (effects, "gpukit.render", "def f():\n    import random"),
        (effects, "gpukit.catalog.prices", "import datetime\nnow = datetime.date.today()"),
        (effects, "gpukit.manifests.pods", "text = open('/etc/hosts').read()"),
        (not_for_pods, "gpukit.runtime.store", "import numpy"),
        (not_for_pods, "gpukit.runtime.store", "def f():\n    import requests"),
        (not_for_pods, "gpukit.runtime.store", "from gpukit.quantity import parse_bytes"),
        (not_for_pods, "gpukit.job", "import pydantic"),
        (not_for_pods, "gpukit.contract", "if True:\n    from .naming import slug"),
        (cluster_clients, "gpukit.runs.plan", "def f():\n    import kubernetes.client"),
        (too_long, "gpukit.render", "\n" * 401),
        (too_long, "gpukit.render", "def f():\n" + "    x = 1\n" * 60),
        (exports, "gpukit.render", "def f(): ..."),
        (errors_for_people, "gpukit.render", "def f(x):\n    assert x, 'x is missing'"),
        (errors_for_people, "gpukit.render", "raise RuntimeError('no')"),
        (errors_for_people, "gpukit.render", "raise SpecError('spec-wrong', 'it is wrong', '')"),
        (errors_for_people, "gpukit.render", "raise SpecError('Wrong!', 'it is wrong', 'do so')"),
        (exports, "gpukit.render", "__all__ = ['f', 'g']\ndef f(): ..."),
    ],
)
def test_rules_find_a_violation(rule: Callable[[File], list[str]], name: str, text: str) -> None:
    assert len(rule(File(name, text))) == 1


@pytest.mark.parametrize(
    ("rule", "name", "text"),
    [
        (wrong_direction, "gpukit.job", "def f():\n    from .render import render"),
        (wrong_direction, "gpukit.render", "if TYPE_CHECKING:\n    from gpukit.runs import plan"),
        (effects, "gpukit.settings", "import os"),
        (not_for_pods, "gpukit.runtime.checkpoint.rng", "def f():\n    import torch"),
        (too_long, "gpukit.render", 'def f():\n    """' + "text\n" * 80 + '"""\n    return 1'),
    ],
)
def test_rules_let_pass_what_is_allowed(
    rule: Callable[[File], list[str]], name: str, text: str
) -> None:
    assert rule(File(name, text)) == []


def test_cycles_are_found_through_functions() -> None:
    first = File("gpukit.archive", "from gpukit import ignore")
    second = File("gpukit.ignore", "def f():\n    from .leaks import secret_in")
    third = File("gpukit.leaks", "import gpukit.archive")
    assert cycles([first, second, third]) == [
        "gpukit.archive -> gpukit.ignore -> gpukit.leaks -> gpukit.archive"
    ]
    assert cycles([first, second]) == []
