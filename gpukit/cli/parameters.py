"""The parameters of a job's function as flags: ``gpukit submit train.py --epochs 10 --lr 1e-3``.

``--batch-size`` and ``--batch_size`` are the same flag. A list takes its flag several times, or
JSON; a dataclass takes JSON, and a flag for each field: ``--config.lr 0.1``. ``--help`` behind the
target shows them all.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import click

from gpukit.errors import UsageError, did_you_mean
from gpukit.job import GpuJob
from gpukit.runtime.annotations import annotations_of, convert, fields_of, strip

from .docstrings import parameter_help, summary
from .words import default_words, element_of, metavar, optional_of, read_word

__all__ = ["parameters_to_options", "parse_parameters"]

_NESTING = 4  # levels of dataclasses that get flags of their own; deeper ones take JSON
_FLAGGED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@dataclass(frozen=True)
class _Flag:
    """One flag: the parameter, the fields of dataclasses below it, and what it takes."""

    path: tuple[str, ...]
    hint: Any
    help: str
    default: Any = inspect.Parameter.empty
    required: bool = False

    @property
    def option(self) -> str:
        return "--" + ".".join(self.path).replace("_", "-")

    @property
    def is_switch(self) -> bool:
        return optional_of(self.hint) is bool

    @property
    def is_multiple(self) -> bool:
        return element_of(optional_of(self.hint)) is not None


def parameters_to_options(job: GpuJob[..., Any]) -> list[click.Option]:
    """Return the flags of a job's parameters, with help from its docstring."""
    flags = list(_flags(job))
    taken = {flag.option for flag in flags}
    return [_click_option(flag, f"p{i}", taken) for i, flag in enumerate(flags)]


def parse_parameters(
    job: GpuJob[..., Any], argv: Sequence[str], *, target: str = "job.py"
) -> dict[str, Any]:
    """Return the arguments that ``argv`` gives to the job's function, by name.

    Args:
        job: the job.
        argv: what stands behind the target on the command line.
        target: the target, for the help and for errors.

    Raises:
        UsageError: a flag is unknown, lacks its value, or has one of another type; or a parameter
            without a default is not given.
        click.exceptions.Exit: after ``--help``, which is printed.
    """
    flags = list(_flags(job))
    given = _given(job, flags, argv, target)
    texts = {flag.path: given[f"p{i}"] for i, flag in enumerate(flags) if f"p{i}" in given}
    values: dict[str, Any] = {}
    for flag in flags:
        if len(flag.path) == 1:
            value = _value(flag, flags, texts)
            if value is not inspect.Parameter.empty:
                values[flag.path[0]] = value
            elif flag.required:
                raise UsageError(
                    "argument-missing", f"{flag.option} is missing",
                    f"the function needs it; `gpukit submit {target} --help` lists its flags",
                )  # fmt: skip
    return values


def _flags(job: GpuJob[..., Any]) -> Iterator[_Flag]:
    hints, docs = annotations_of(job.function), parameter_help(job.function)
    for name, parameter in job.signature.parameters.items():
        if parameter.kind not in _FLAGGED:
            continue
        required = parameter.default is parameter.empty
        hint = _hint(hints.get(name, Any), parameter.default)
        flag = _Flag((name,), hint, docs.get(name, ""), parameter.default, required)
        yield flag
        yield from _field_flags(flag)


def _hint(hint: Any, default: Any) -> Any:
    """Return the annotation; without one, the type of the default."""
    if strip(hint) is not Any or default is None or default is inspect.Parameter.empty:
        return hint
    return type(default)


def _field_flags(flag: _Flag) -> Iterator[_Flag]:
    kind = optional_of(flag.hint)
    if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)) or len(flag.path) > _NESTING:
        return
    docs = parameter_help(kind)
    for field in dataclasses.fields(kind):
        if not field.init:
            continue
        default = getattr(flag.default, field.name, _default_of(field))
        hint = fields_of(kind)[field.name]
        inner = _Flag((*flag.path, field.name), hint, docs.get(field.name, ""), default)
        yield inner
        yield from _field_flags(inner)


def _default_of(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return inspect.Parameter.empty


def _click_option(flag: _Flag, dest: str, taken: set[str]) -> click.Option:
    notes = "[required]" if flag.required else default_words(flag.default)
    text = " ".join(part for part in (flag.help, notes) if part)
    if flag.is_switch:
        other = f"--no-{flag.option[2:]}"
        if flag.option.startswith("--no-"):
            other = f"--{flag.option[5:]}"
        names = flag.option if other in taken else f"{flag.option}/{other}"
        return click.Option([names, dest], is_flag=True, default=None, help=text)
    return click.Option(
        [flag.option, dest], metavar=metavar(flag.hint), multiple=flag.is_multiple, help=text
    )


def _given(
    job: GpuJob[..., Any], flags: Sequence[_Flag], argv: Sequence[str], target: str
) -> dict[str, Any]:
    """Return what is given on the command line, by the name of the click option."""
    command = click.Command(
        target,
        params=list[click.Parameter](parameters_to_options(job)),
        help=summary(job.function),
        add_help_option=all(flag.option != "--help" for flag in flags),
        context_settings={"token_normalize_func": lambda text: text.replace("_", "-")},
    )
    try:
        ctx = command.make_context(target, list(argv))
    except click.NoSuchOption as error:
        known = [name for flag in flags for name in [flag.option]]
        raise UsageError(
            "argument-unknown", f"{target} has no parameter for {error.option_name}",
            did_you_mean(error.option_name, known,
                otherwise=f"its flags are: {', '.join(known) or 'none'}; gpukit's own options "
                f"stand before {target}"),
        ) from None  # fmt: skip
    except click.UsageError as error:
        raise _usage_error(error, flags) from None
    source = click.core.ParameterSource.COMMANDLINE
    return {k: v for k, v in ctx.params.items() if ctx.get_parameter_source(k) is source}


def _usage_error(error: click.UsageError, flags: Sequence[_Flag]) -> UsageError:
    message = error.format_message().rstrip(".")
    if "unexpected extra argument" in message:
        first = next((flag for flag in flags if flag.required), flags[0] if flags else None)
        return UsageError(
            "argument-without-flag", message[0].lower() + message[1:],
            f"arguments of a job are flags, for example {first.option} VALUE; a list takes its "
            "flag once for each value" if first else "the function has no parameters",
        )  # fmt: skip
    return UsageError(
        "flag-value", message[0].lower() + message[1:], "write --flag VALUE or --flag=VALUE"
    )


def _value(flag: _Flag, flags: Sequence[_Flag], texts: dict[tuple[str, ...], Any]) -> Any:
    """Return the value of a flag with those of the fields below it; ``empty`` without any."""
    empty = inspect.Parameter.empty
    own = _read(flag, texts[flag.path]) if flag.path in texts else empty
    fields: dict[str, Any] = {}
    for inner in flags:
        if inner.path[:-1] == flag.path:
            value = _value(inner, flags, texts)
            if value is not empty:
                fields[inner.path[-1]] = value
    if not fields:
        return own
    base = flag.default if own is empty else own
    if dataclasses.is_dataclass(base) and not isinstance(base, type):
        return _made(flag, lambda: dataclasses.replace(base, **fields))
    return convert(fields, optional_of(flag.hint), flag.option)


def _made(flag: _Flag, make: Callable[[], Any]) -> Any:
    try:
        return make()
    except (TypeError, ValueError) as error:
        raise UsageError(
            "field-value", f"{flag.option}: {error}", "correct the value of its fields"
        ) from error


def _read(flag: _Flag, given: Any) -> Any:
    if flag.is_switch:
        return given
    if not flag.is_multiple:
        return read_word(given, flag.hint, flag.option)
    hint = optional_of(flag.hint)
    element = element_of(hint)
    items: list[Any] = []
    for text in given:
        if text.lstrip().startswith("["):
            items += read_word(text, list[Any], flag.option)
        elif optional_of(element) in (int, float):
            items += [read_word(t, element, flag.option) for t in text.split(",") if t.strip()]
        else:
            items.append(read_word(text, element, flag.option))
    return convert(items, hint, flag.option)
