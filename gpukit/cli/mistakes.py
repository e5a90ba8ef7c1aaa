"""What click refuses, as gpukit's own errors: with an id, and a hint that says what to do."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import click

from gpukit.errors import GpukitError, UsageError, did_you_mean

__all__ = ["refused_by_system", "translated"]


def translated(error: click.ClickException) -> GpukitError:
    """Return the error of gpukit that says what an error of click says."""
    message = _sentence(error.format_message())
    if isinstance(error, click.NoSuchOption):
        hint = did_you_mean(error.option_name, _options(error.ctx), otherwise=_help(error.ctx))
        return UsageError("flag-unknown", f"there is no option {error.option_name}", hint)
    if isinstance(error, click.MissingParameter):
        return _missing(error)
    if isinstance(error, click.BadParameter):
        return _bad_value(error, message)
    if isinstance(error, click.UsageError):
        return _usage(error, message)
    return UsageError("command-line", message, _help(None))


def refused_by_system(error: OSError) -> GpukitError:
    """Return the error that says what the operating system did not let us do."""
    why = error.strerror or str(error)
    try:
        Path.cwd()
    except FileNotFoundError:
        return UsageError("folder-gone", "the current folder is not there any more",
                          "go to another one: cd")  # fmt: skip
    if error.filename is None and error.errno in (errno.ENOSPC, errno.EIO, errno.EBADF):
        return GpukitError("output-refused", f"the output cannot be written: {why}",
                           "look at where it goes, and at the space there")  # fmt: skip
    return GpukitError(
        "system", f"{error.filename or 'the system'}: {why}",
        "look at its permissions, and at the space there; GPUKIT_DEBUG=1 shows where it happened",
    )  # fmt: skip


def _missing(error: click.MissingParameter) -> UsageError:
    param = error.param
    if isinstance(param, click.Argument):
        if param.name == "target":
            return UsageError(
                "target-missing", "no job file is named",
                f"write {_path(error.ctx)} job.py, or job.py::function where it has several",
            )  # fmt: skip
        name = param.make_metavar(error.ctx) if error.ctx else str(param.name).upper()
        return UsageError("word-missing", f"{name} is missing", _help(error.ctx))
    return UsageError("flag-missing", _sentence(error.format_message()), _help(error.ctx))


def _bad_value(error: click.BadParameter, message: str) -> UsageError:
    kind = error.param.type if error.param is not None else None
    if isinstance(kind, click.Choice):
        words = [str(choice) for choice in kind.choices]
        given = message.partition(": ")[2].strip("'").partition("'")[0]
        otherwise = f"choose from {', '.join(words)}"
        return UsageError("flag-choice", message, did_you_mean(given, words, otherwise=otherwise))
    if isinstance(kind, click.Path):
        return UsageError("flag-path", message, "check the path")
    return UsageError("flag-value", message, _help(error.ctx))


def _usage(error: click.UsageError, message: str) -> UsageError:
    if message.startswith("no such command"):
        word = message.partition("'")[2].rstrip("'").partition("'")[0]
        group = error.ctx.command if error.ctx is not None else None
        known = list(group.commands) if isinstance(group, click.Group) else []
        return UsageError(
            "command-unknown", f"{_path(error.ctx)} has no command {word!r}",
            did_you_mean(word, known, otherwise=_help(error.ctx)),
        )  # fmt: skip
    if "unexpected extra argument" in message:
        return UsageError("word-extra", message, _help(error.ctx))
    if "requires an argument" in message:
        option = getattr(error, "option_name", "--flag")
        return UsageError("flag-without-value", message, f"write {option} VALUE or {option}=VALUE")
    return UsageError("command-line", message, _help(error.ctx))


def _options(ctx: click.Context | None) -> list[str]:
    params: list[Any] = list(ctx.command.get_params(ctx)) if ctx is not None else []
    return [name for param in params for name in param.opts if name.startswith("--")]


def _path(ctx: click.Context | None) -> str:
    return ctx.command_path if ctx is not None else "gpukit"


def _help(ctx: click.Context | None) -> str:
    return f"`{_path(ctx)} --help` shows how to write it"


def _sentence(text: str) -> str:
    text = text.rstrip(".")
    return text[:1].lower() + text[1:] if text[1:2].islower() else text
