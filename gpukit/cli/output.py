"""The one place that writes: data on stdout (table, JSON, YAML), talk on stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import click

__all__ = ["Column", "data", "format_option", "mark", "style", "table", "talk", "text", "warn"]

F = TypeVar("F", bound=Callable[..., Any])

_WIDE = 10_000
_MARKS = {"▸": ">", "✓": "ok", "✗": "x", "·": "-", "→": "->", "…": "...", "±": "+/-", "≥": ">="}


@dataclass(frozen=True)
class Column:
    """A column of a table: its head, and whether it is a number, or may be wrapped."""

    head: str
    right: bool = False
    wrap: bool = False
    dim: bool = False


def format_option(*formats: str) -> Callable[[F], F]:
    """Return the option ``-o``; the first format is the default."""
    return click.option(
        "-o", "--output-format", type=click.Choice(formats), default=formats[0],
        show_default=True, help="Form of what is printed on stdout.",
    )  # fmt: skip


def style(text: str, **how: Any) -> str:
    """Return ``text`` in a style of click; plain where ``NO_COLOR`` is set."""
    return text if os.environ.get("NO_COLOR") else click.style(text, **how)


def mark(text: str) -> str:
    """Return ``text``, in ASCII where the terminal cannot show more."""
    encoding = getattr(sys.stderr, "encoding", None) or "ascii"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        for symbol, plain in _MARKS.items():
            text = text.replace(symbol, plain)
    return text


def talk(message: str = "") -> None:
    """Say something to the person, on stderr."""
    click.echo(mark(message), err=True)


def warn(message: str) -> None:
    """Say what the person should know."""
    talk(style("warning: ", fg="yellow", bold=True) + message)


def text(value: str) -> None:
    """Write text as data."""
    click.echo(value, nl=not value.endswith("\n"))


def data(value: object, form: str) -> None:
    """Write ``value`` as JSON or YAML."""
    if form == "json":
        text(json.dumps(value, indent=2, ensure_ascii=False))
        return
    import yaml

    text(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100))


def table(columns: Sequence[Column], rows: Sequence[Sequence[str]], *, err: bool = False) -> None:
    """Write a table; on a terminal it fits the width, in a pipe a row is a line."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    stream = sys.stderr if err else sys.stdout
    console = Console(file=stream, highlight=False, width=None if stream.isatty() else _WIDE)
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        grid.add_column(
            column.head, justify="right" if column.right else "left",
            no_wrap=not column.wrap, overflow="fold",
            style="dim" if column.dim else None,
        )  # fmt: skip
    for row in rows:
        grid.add_row(*(Text.from_ansi(cell) for cell in row))
    with console.capture() as capture:
        console.print(grid)
    for line in capture.get().splitlines():
        click.echo(line.rstrip(), err=err)
