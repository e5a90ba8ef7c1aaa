"""The local modules that a Python file imports, found in its source without running it."""

from __future__ import annotations

import ast
import importlib.util
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .errors import JobFileError

__all__ = ["LocalImports", "find_local_imports"]


@dataclass
class LocalImports:
    """What a file imports from its own project.

    Attributes:
        files: the files of all modules that can be reached, with the first one.
        roots: the folders from which they are imported, the first one's first.
        warnings: modules that are local but are not shipped, each with the reason.
    """

    files: set[Path] = field(default_factory=set)
    roots: list[Path] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def find_local_imports(file: Path, module: str, roots: Sequence[Path]) -> LocalImports:
    """Follow the imports of ``file`` through the files below ``roots``.

    Imports inside functions and conditions count, and ``import_module("name")`` with a literal
    name. Of a package come the modules that are reached, and every ``__init__.py`` on the way.

    Args:
        file: the job file.
        module: the dotted name by which it is imported.
        roots: folders that are searched, the one of ``module`` first. The others are searched
            for what is not in the standard library.

    Raises:
        JobFileError: a file cannot be read or is not Python.
    """
    scan = _Scan(roots)
    scan.add_module(module.split("."), roots[0])
    scan.add(file, tuple(module.split(".")), roots[0])
    while scan.waiting:
        scan.read(*scan.waiting.pop())
    return scan.result


@dataclass(frozen=True)
class _Import:
    """One import statement: the dotted name, what is taken from it, and how many dots before."""

    name: str
    names: tuple[str, ...] = ()
    level: int = 0


class _Scan:
    def __init__(self, roots: Sequence[Path]) -> None:
        self._roots = roots
        self.result = LocalImports(roots=[roots[0]])
        self.waiting: list[tuple[Path, tuple[str, ...], Path]] = []
        self._foreign: set[str] = set()
        self._origins: dict[str, Path | None] = {}

    def add(self, file: Path, parts: tuple[str, ...], root: Path) -> None:
        if file in self.result.files:
            return
        self.result.files.add(file)
        if root not in self.result.roots:
            self.result.roots.append(root)
        self.waiting.append((file, parts, root))

    def add_module(self, parts: Sequence[str], root: Path) -> bool:
        """Add a module and the packages above it; tell whether something was found."""
        folder, found = root, False
        for i, part in enumerate(parts):
            package, plain = folder / part / "__init__.py", folder / f"{part}.py"
            if package.is_file():
                self.add(package, tuple(parts[: i + 1]), root)
                found, folder = True, folder / part
            elif plain.is_file():
                self.add(plain, tuple(parts[: i + 1]), root)
                return True
            elif (folder / part).is_dir():
                folder = folder / part
            else:
                self._warn_of_compiled(folder, part)
                return found
        return found

    def read(self, file: Path, parts: tuple[str, ...], root: Path) -> None:
        package = parts if file.name == "__init__.py" else parts[:-1]
        for found in _imports_of(file):
            if found.level:
                base = list(package[: len(package) - found.level + 1])
                wanted = [*base, *found.name.split(".")] if found.name else base
                self._take(wanted, found.names, root)
            else:
                self._absolute(found)

    def _absolute(self, found: _Import) -> None:
        parts = found.name.split(".")
        if parts[0] == "gpukit":  # shipped as a whole, and apart
            return
        for i, root in enumerate(self._roots):
            if i and not self._may_be_in(root, parts[0]):
                continue
            if self._take(parts, found.names, root):
                return
        self._warn_of_foreign(parts[0])

    def _may_be_in(self, root: Path, name: str) -> bool:
        """Tell whether Python would not take the module from elsewhere than this later root."""
        if name in sys.stdlib_module_names:
            return False
        origin = self._origin(name)
        return origin is None or origin.is_relative_to(root)

    def _origin(self, name: str) -> Path | None:
        if name not in self._origins:
            self._origins[name] = _origin_of(name)
        return self._origins[name]

    def _take(self, parts: list[str], names: tuple[str, ...], root: Path) -> bool:
        found = bool(parts) and self.add_module(parts, root)
        folder = root.joinpath(*parts)
        if "*" in names and found and folder.is_dir():
            names = tuple(sorted(p.stem for p in folder.glob("*.py")))
        for name in names:
            if folder.is_dir() and name != "__init__":
                found = self.add_module([*parts, name], root) or found
        return found

    def _warn_of_compiled(self, folder: Path, part: str) -> None:
        compiled = sorted(p.name for p in folder.glob(f"{part}.*") if p.suffix in (".so", ".pyd"))
        if compiled:
            self._foreign.add(part)  # named once
            self.result.warnings.append(
                f"{compiled[0]} is a compiled module and is not shipped; install it in the image"
            )

    def _warn_of_foreign(self, name: str) -> None:
        """Warn of a module that is neither local nor installed: an editable install elsewhere."""
        if name in self._foreign or name in sys.stdlib_module_names:
            return
        self._foreign.add(name)
        origin = self._origin(name)
        if origin is not None and not any(origin.is_relative_to(p) for p in _installed_folders()):
            self.result.warnings.append(
                f"module {name} comes from {origin}, outside of the project, and is not shipped; "
                "install it in the image or with packages=, or ship a folder that has both "
                "(--workdir)"
            )


def _origin_of(name: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return None
    if spec is None or spec.origin is None or not Path(spec.origin).exists():
        return None
    return Path(spec.origin)


def _installed_folders() -> set[Path]:
    paths = {Path(p) for p in sysconfig.get_paths().values()}
    paths |= {Path(p) for p in sys.path if Path(p).name in ("site-packages", "dist-packages")}
    return paths | {p.resolve() for p in paths}


def _imports_of(file: Path) -> Iterator[_Import]:
    try:
        tree = ast.parse(file.read_bytes(), filename=str(file))
    except (SyntaxError, ValueError) as error:
        raise JobFileError(
            "import-syntax", f"{file}:{getattr(error, 'lineno', None) or 1}: {error}",
            "the file is imported by the job; correct it",
        ) from None  # fmt: skip
    except OSError as error:
        raise JobFileError(
            "file-unreadable", f"{file} cannot be read: {error.strerror}",
            "check its permissions, and that nothing removes it meanwhile",
        ) from None  # fmt: skip
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (_Import(alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = tuple(alias.name for alias in node.names)
            yield _Import(node.module or "", names, node.level)
        elif isinstance(node, ast.Call):
            yield from _called_import(node)


def _called_import(node: ast.Call) -> Iterator[_Import]:
    called = node.func.attr if isinstance(node.func, ast.Attribute) else None
    called = node.func.id if isinstance(node.func, ast.Name) else called
    if called not in ("import_module", "__import__") or not node.args:
        return
    first = node.args[0]
    if isinstance(first, ast.Constant) and isinstance(first.value, str):
        name = first.value.lstrip(".")
        yield _Import(name, level=len(first.value) - len(name))
