"""``gpukit recipes``: ready-made jobs that come with gpukit."""

from __future__ import annotations

import ast
from pathlib import Path

import click

import gpukit
from gpukit.errors import GpukitError, UsageError, did_you_mean

from . import output
from .output import Column

__all__ = ["recipes"]

_SUFFIXES = (".py", ".yaml", ".yml", ".toml")


@click.group()
def recipes() -> None:
    """List, show and copy ready-made jobs."""


@recipes.command("list")
@output.format_option("table", "json", "yaml")
def list_(output_format: str) -> None:
    """List the recipes."""
    found = [(path.name, _about(path)) for path in _all()]
    if output_format == "table":
        rows = [[output.style(name, bold=True), about] for name, about in found]
        output.table([Column("recipe"), Column("what it is", wrap=True)], rows)
        output.talk(output.style("gpukit recipes copy NAME puts one here", dim=True))
    else:
        output.data([{"name": name, "about": about} for name, about in found], output_format)


@recipes.command()
@click.argument("name")
def show(name: str) -> None:
    """Print a recipe."""
    output.text(_find(name).read_text(encoding="utf-8"))


@recipes.command()
@click.argument("name")
@click.argument("to", type=click.Path(path_type=Path), required=False)
@click.option("--overwrite", is_flag=True, help="Replace the file if it is there.")
def copy(name: str, to: Path | None, overwrite: bool) -> None:
    """Copy a recipe into this folder, or to TO."""
    source = _find(name)
    goal = to or Path(source.name)
    if goal.is_dir():
        goal /= source.name
    if goal.exists() and not overwrite:
        raise UsageError(
            "recipe-exists", f"{goal} exists already", "name another file, or add --overwrite"
        )
    goal.write_bytes(source.read_bytes())
    output.talk(f"wrote {goal}")


def _folder() -> Path:
    """Return the recipes of the installed package, or of the checkout."""
    package = Path(gpukit.__file__).parent
    for folder in (package / "_recipes", package.parent / "recipes"):
        if folder.is_dir():
            return folder
    raise GpukitError(
        "recipes-missing", "this gpukit came without its recipes", "install it again from a wheel"
    )


def _all() -> list[Path]:
    return sorted(p for p in _folder().iterdir() if p.suffix in _SUFFIXES)


def _find(name: str) -> Path:
    known = {path.name: path for path in _all()}
    known |= {path.stem: path for path in reversed(_all())}
    if name not in known:
        raise UsageError(
            "recipe-unknown", f"there is no recipe {name!r}",
            did_you_mean(name, known, otherwise="`gpukit recipes list` lists them"),
        )  # fmt: skip
    return known[name]


def _about(path: Path) -> str:
    """Return the first sentence: of the docstring, or of the comment at the top."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        text = ast.get_docstring(ast.parse(text)) or ""
    return next((line.lstrip("# ").strip() for line in text.splitlines() if line.strip("# ")), "")
