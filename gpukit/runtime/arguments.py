"""The arguments of a job: bound to its signature and encoded here, rebuilt in the pod.

The pod's call gets the values that a call here would get. Defaults that are not given are not
shipped: the pod has the same code. Standard library only.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gpukit.errors import UsageError, did_you_mean

from .annotations import annotations_of, convert, plain_function
from .encoding import JSON, decode_value, encode_value

__all__ = ["JSON", "decode_arguments", "encode_arguments"]

_LIMIT = 128 * 1024  # bytes; Kubernetes allows 256 KiB for all annotations of an object
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def encode_arguments(
    function: Callable[..., Any] | inspect.Signature,
    args: Sequence[object] = (),
    kwargs: Mapping[str, object] | None = None,
) -> dict[str, JSON]:
    """Bind arguments to a function and return them as JSON, by name.

    Args:
        function: the job, its function, or a signature.
        args: the positional arguments.
        kwargs: the named arguments.

    Raises:
        UsageError: an argument is missing, unknown or given twice, or it cannot be shipped.
    """
    signature, hints, home = _known(function)
    bound = _bind(signature, args, kwargs or {})
    encoded: dict[str, JSON] = {}
    for name, value in bound.items():
        where = f"argument {name}"
        value = convert(value, _hint(name, signature, hints), where, strict=False)
        encoded[name] = encode_value(value, where, home.get("__name__", ""))
        _check_round_trip(encoded[name], where, home)
    _check_size(encoded)
    return encoded


def decode_arguments(function: Callable[..., Any], arguments: Mapping[str, JSON]) -> dict[str, Any]:
    """Return the values of encoded arguments, by name, to call the function with.

    Plain JSON, as another tool may write it, is read by the annotations: a list becomes a tuple,
    text a Path, a dictionary a dataclass, where the signature says so.

    Raises:
        UsageError: the arguments do not fit the function, or cannot be rebuilt.
    """
    signature, hints, home = _known(function)
    values: dict[str, Any] = {}
    for name, value in arguments.items():
        where = f"argument {name}"
        decoded = decode_value(value, where, home)
        values[name] = convert(decoded, _hint(name, signature, hints), where, strict=False)
    _bind(signature, (), values)
    return values


def _known(
    function: Callable[..., Any] | inspect.Signature,
) -> tuple[inspect.Signature, dict[str, Any], dict[str, Any]]:
    if isinstance(function, inspect.Signature):
        hints = {p.name: p.annotation for p in function.parameters.values()}
        return function, hints, {}
    home: dict[str, Any] = getattr(plain_function(function), "__globals__", {})
    return inspect.signature(function), annotations_of(function), home


def _hint(name: str, signature: inspect.Signature, hints: Mapping[str, Any]) -> Any:
    if name in signature.parameters:
        return hints.get(name, inspect.Parameter.empty)
    rest = _kwargs_of(signature)
    return hints.get(rest, inspect.Parameter.empty) if rest else inspect.Parameter.empty


def _kwargs_of(signature: inspect.Signature) -> str | None:
    kinds = {p.kind: p.name for p in signature.parameters.values()}
    return kinds.get(inspect.Parameter.VAR_KEYWORD)


def _bind(
    signature: inspect.Signature, args: Sequence[object], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """Do what a call does, with errors for a person; the result is by name."""
    parameters = signature.parameters.values()
    _check_kinds(signature)
    ordered = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    if len(args) > len(ordered):
        raise UsageError(
            "argument-too-many",
            f"{len(args)} positional arguments, but the function names {len(ordered)}",
            "give a list as one parameter: arguments of a job have names"
            if any(p.kind is p.VAR_POSITIONAL for p in parameters)
            else f"its parameters are: {', '.join(signature.parameters) or 'none'}",
        )
    values = dict(zip(ordered, args, strict=False))
    named = [p.name for p in parameters if p.kind in _NAMED]
    for name, value in kwargs.items():
        if name in values:
            raise UsageError(
                "argument-twice", f"argument {name} is given twice, by position and by name",
                "give it once",
            )  # fmt: skip
        if name not in named and _kwargs_of(signature) is None:
            raise UsageError(
                "argument-unknown", f"the function has no argument {name!r}",
                did_you_mean(
                    name, named, otherwise=f"its arguments are: {', '.join(named) or 'none'}"
                ),
            )  # fmt: skip
        values[name] = value
    missing = [n for n in named if signature.parameters[n].default is inspect.Parameter.empty]
    missing = [n for n in missing if n not in values]
    if missing:
        raise UsageError(
            "argument-missing",
            f"argument{'s' if len(missing) > 1 else ''} {', '.join(missing)} missing",
            "give a value, or give the parameter a default",
        )
    order = [*named, *sorted(set(values) - set(named))]
    return {name: values[name] for name in order if name in values}


def _check_kinds(signature: inspect.Signature) -> None:
    for p in signature.parameters.values():
        if p.kind is p.POSITIONAL_ONLY:
            raise UsageError(
                "parameter-positional", f"parameter {p.name} is positional-only",
                "drop the / from the signature: arguments of a job are given by name",
            )  # fmt: skip


def _check_round_trip(encoded: JSON, where: str, home: dict[str, Any]) -> None:
    """Refuse an object that comes out of its own fields changed."""
    again = encode_value(decode_value(encoded, where, home), where, home.get("__name__", ""))
    if again != encoded:
        raise UsageError(
            "argument-unstable",
            f"{where} is not the same when it is made again from its fields",
            "its __post_init__ or validator changes a field each time; compute it elsewhere",
        )


def _check_size(encoded: Mapping[str, JSON]) -> None:
    sizes = {name: len(json.dumps(v, ensure_ascii=False).encode()) for name, v in encoded.items()}
    if sum(sizes.values()) > _LIMIT:
        largest = max(sizes, key=lambda name: sizes[name])
        raise UsageError(
            "arguments-too-large",
            f"the arguments are {sum(sizes.values()) // 1024} KiB, of which {largest} is "
            f"{sizes[largest] // 1024} KiB; at most {_LIMIT // 1024} KiB are shipped",
            "put the data into a file or a bucket and pass its path",
        )
