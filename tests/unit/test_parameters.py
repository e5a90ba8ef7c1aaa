"""Flags of a job's function: typed, documented, and every mistake said clearly."""

from __future__ import annotations

import datetime
import enum
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import click
import pytest

from gpukit import gpu_job
from gpukit.cli.docstrings import parameter_help, summary
from gpukit.cli.parameters import parameters_to_options, parse_parameters
from gpukit.errors import UsageError
from gpukit.runtime.arguments import decode_arguments, encode_arguments


class Color(enum.Enum):
    RED = "#f00"
    DARK_BLUE = "#008"


@dataclass(frozen=True)
class Optimizer:
    """An optimizer.

    Attributes:
        name: which one.
    """

    name: str = "adam"
    betas: tuple[float, float] = (0.9, 0.999)
    nesterov: bool = False


@dataclass
class Config:
    """A configuration.

    Args:
        lr: learning rate,
            per step.
    """

    lr: float = 0.1
    layers: list[int] = field(default_factory=lambda: [1, 2])
    optimizer: Optimizer = field(default_factory=Optimizer)
    hidden: int = field(default=3, init=False)


@dataclass
class Needed:
    width: int
    depth: int = 1


def parse(function: Callable[..., Any], *argv: str) -> dict[str, Any]:
    """Parse as the command line does, and send the result through the pod's way."""
    job = gpu_job(profile="cpu")(function)
    values = parse_parameters(job, argv, target="t.py")
    assert decode_arguments(function, encode_arguments(function, (), values)) == values
    return values


def takes(hint: Any, default: Any = inspect.Parameter.empty) -> Callable[..., Any]:
    def function(**_: Any) -> None: ...

    parameter = inspect.Parameter("x", inspect.Parameter.KEYWORD_ONLY, default=default)
    function.__signature__ = inspect.Signature([parameter])  # type: ignore[attr-defined]
    function.__annotations__ = {} if hint is inspect.Parameter.empty else {"x": hint}
    return function


NOTHING = inspect.Parameter.empty
VALUES: list[tuple[Any, list[str], Any]] = [
    (int, ["3"], 3), (int, ["-1_000"], -1000), (float, ["1e-3"], 0.001), (float, ["2"], 2.0),
    (float, ["-inf"], float("-inf")), (str, ["3"], "3"), (str, [""], ""), (str, ["-x"], "-x"),
    (str, ["$HOME `id` 'a' \"b\""], "$HOME `id` 'a' \"b\""), (Path, ["a/ä b"], Path("a/ä b")),
    (Color, ["RED"], Color.RED), (Color, ["dark_blue"], Color.DARK_BLUE),
    (Color, ["#f00"], Color.RED), (Literal["a", 2], ["2"], 2), (Literal["a", 2], ["a"], "a"),
    (Decimal, ["0.10"], Decimal("0.10")), (int | None, ["none"], None), (int | None, ["4"], 4),
    (str | None, ["none"], "none"), (int | str, ["4"], 4), (int | str, ["four"], "four"),
    (bool | None, [], True), (list[int], ["1,2", "3"], [1, 2, 3]), (list[int], ["[1, 2]"], [1, 2]),
    (list[str], ["a,b", "c"], ["a,b", "c"]), (Sequence[Color], ["RED"], [Color.RED]),
    (tuple[int, ...], ["1", "2"], (1, 2)), (set[str], ["a", "a"], {"a"}),
    (tuple[int, str], ['[1, "a"]'], (1, "a")), (list[list[int]], ["[[1]]"], [[1]]),
    (list[Path] | None, ["a", "b"], [Path("a"), Path("b")]),
    (list[bool], ["yes", "0"], [True, False]),
    (dict[str, int], ['{"a": 1}'], {"a": 1}), (dict[int, Path], ['{"1": "p"}'], {1: Path("p")}),
    (Config, ['{"lr": 1, "optimizer": {"name": "sgd"}}'], Config(1.0, optimizer=Optimizer("sgd"))),
    (datetime.date, ["2026-01-31"], datetime.date(2026, 1, 31)),
    (datetime.timedelta, ["1h30m"], datetime.timedelta(minutes=90)), (bytes, ["é"], "é".encode()),
    (Annotated[int, "steps"], ["3"], 3), (Any, ["3"], 3), (Any, ["[1]"], [1]), (Any, ["a"], "a"),
    (NOTHING, ["true"], True), ("no.such.Type", ["5"], 5), (object, ["x"], "x"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(VALUES)))
def test_words_become_typed_values(number: int) -> None:
    hint, words, value = VALUES[number]
    argv = ["--x"] if not words else [part for word in words for part in ("--x", word)]
    got = parse(takes(hint), *argv)["x"]
    assert got == value
    assert type(got) is type(value)


def test_without_an_annotation_the_default_says_the_type() -> None:
    assert parse(takes(NOTHING, 0.5), "--x", "1") == {"x": 1.0}
    assert parse(takes(NOTHING, "a"), "--x", "1") == {"x": "1"}
    assert parse(takes(NOTHING, [1]), "--x", "1", "--x", "b") == {"x": [1, "b"]}
    assert parse(takes(NOTHING, False), "--x") == {"x": True}
    assert parse(takes(NOTHING, None), "--x", "1") == {"x": 1}


def train(
    data: Path, batch_size: int = 8, *, resume: bool = True, no_cuda: bool = False, n: int = 1
) -> None:  # fmt: skip
    """Train the model on $DATA.

    Longer words about it.

    Args:
        data (Path): where the data is: a folder
            with images.
        batch_size: examples per step.
        no_cuda: stay on the CPU.

    Returns:
        nothing: at all.
    """


def test_only_what_is_given_is_returned() -> None:
    assert parse(train, "--data", "d") == {"data": Path("d")}


def test_switches_and_both_spellings_of_a_name() -> None:
    got = parse(train, "--data=d", "--batch_size", "2", "--no-resume", "--no-cuda", "--n=-3")
    want = {"data": Path("d"), "batch_size": 2, "resume": False, "no_cuda": True, "n": -3}
    assert got == want
    assert parse(train, "--data", "d", "--cuda", "--batch-size", "3")["no_cuda"] is False


def test_a_pair_of_parameters_that_switch_each_other() -> None:
    def both(cuda: bool = True, no_cuda: bool = False) -> None: ...

    assert parse(both, "--no-cuda") == {"no_cuda": True}
    assert parse(both, "--cuda") == {"cuda": True}


def test_the_last_of_two_counts_and_names_need_not_be_ascii() -> None:
    def f(größe: int = 1) -> None: ...

    assert parse(f, "--größe", "1", "--größe", "2") == {"größe": 2}


def test_fields_of_a_dataclass_are_flags() -> None:
    def f(config: Config, more: Config = Config(lr=9, layers=[7])) -> None: ...  # noqa: B008

    got = parse(f, "--config.lr", "0.5", "--config.optimizer.betas", "[0, 1]")
    assert got == {"config": Config(0.5, optimizer=Optimizer(betas=(0.0, 1.0)))}
    got = parse(f, "--config", '{"lr": 2}', "--config.layers", "5", "--config.layers", "6")
    assert got["config"] == Config(2.0, [5, 6])
    got = parse(f, "--config.lr=1", "--more.optimizer.nesterov")
    assert got["more"] == Config(9, [7], Optimizer(nesterov=True))


def test_a_dataclass_without_its_fields_is_an_error() -> None:
    def f(needed: Needed) -> None: ...

    assert parse(f, "--needed.width", "3") == {"needed": Needed(3)}
    with pytest.raises(UsageError, match=r"--needed: Needed cannot be made.*width"):
        parse(f, "--needed.depth", "3")


MISTAKES: list[tuple[Callable[..., Any], list[str], str, str, str]] = [
    (train, [], "argument-missing", "--data is missing", "t.py --help"),
    (train, ["--data", "d", "--bach-size", "1"], "argument-unknown", "--bach", "'--batch-size'"),
    (train, ["--data", "d", "-z"], "argument-unknown", "-z", "before t.py"),
    (train, ["--data"], "flag-value", "requires an argument", "--flag VALUE"),
    (train, ["--data", "d", "7"], "argument-without-flag", "(7)", "--data VALUE"),
    (train, ["--data", "d", "--resume=x"], "flag-value", "does not take a value", "--flag"),
    (takes(int), ["--x", "3.5"], "flag-type", "'3.5' is not a whole number", "3"),
    (takes(float | None), ["--x", "fast"], "flag-type", "'fast' is not a number", "number"),
    (takes(int | float), ["--x", "fast"], "flag-type", "a whole number or a number", "number"),
    (takes(Color), ["--x", "rd"], "flag-choice", "'rd' is not one of RED, DARK_BLUE", "'RED'"),
    (takes(Literal["slow"]), ["--x", "solw"], "flag-choice", "'solw'", "'slow'"),
    (takes(list[int]), ["--x", "1,b"], "flag-type", "--x: 'b' is not a whole number", "3"),
    (takes(list[int]), ["--x", '["b"]'], "argument-type", "--x[0]='b'", "whole number"),
    (takes(list[int]), ["--x", "[1"], "flag-json", "not JSON", "quote it"),
    (takes(dict[str, int]), ["--x", "a=1"], "flag-json", "not JSON", "quote it"),
    (takes(dict[str, int]), ["--x", "[1]"], "argument-type", "--x=[1] is not dict", "give"),
    (takes(dict[str, int]), ["--x", '{"a": "b"}'], "argument-type", "--x['a']='b'", "whole"),
    (takes(Config), ["--x", '{"rate": 1}'], "field-unknown", "no field 'rate'", "has: lr, layers"),
    (takes(Config), ["--x.lr", "fast"], "flag-type", "--x.lr: 'fast'", "number"),
    (takes(Config), ["--x.rate", "1"], "argument-unknown", "--x.rate", "--x"),
    (takes(tuple[int, str]), ["--x", "[1]"], "argument-type", "--x=[1]", "give"),
    (takes(datetime.date), ["--x", "today"], "argument-type", "a date such as", "date"),
    (takes(datetime.timedelta), ["--x", "soon"], "flag-type", "duration", "1h"),
    (takes(list[bool]), ["--x", "maybe"], "flag-choice", "'maybe'", "true"),
    (takes(list[int]), ["--x", '["' + "b" * 999 + '"]'], "argument-type", "b…", "whole number"),
    (lambda: None, ["--x"], "argument-unknown", "--x", "none"),
    (lambda: None, ["x"], "argument-without-flag", "(x)", "no parameters"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(MISTAKES)))
def test_mistakes(number: int) -> None:
    function, argv, id, message, hint = MISTAKES[number]
    with pytest.raises(UsageError) as caught:
        parse(function, *argv)
    assert caught.value.id == id
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_help_shows_types_defaults_and_the_docstring(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(click.exceptions.Exit) as caught:
        parse(train, "--help")
    assert caught.value.exit_code == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "Usage: t.py [OPTIONS] Train the model on $DATA." in shown
    assert "--data PATH where the data is: a folder with images. [required]" in shown
    assert "--batch-size INTEGER examples per step. [default: 8]" in shown
    assert "--resume / --no-resume [default: true]" in shown


def test_help_of_choices_lists_and_fields(capsys: pytest.CaptureFixture[str]) -> None:
    def f(
        color: Color = Color.RED, tags: Sequence[str] = (), config: Config = Config()  # noqa: B008
    ) -> None: ...  # fmt: skip

    with pytest.raises(click.exceptions.Exit):
        parse(f, "--help")
    shown = " ".join(capsys.readouterr().out.split())
    assert "--color [RED|DARK_BLUE] [default: RED]" in shown
    assert "--tags TEXT ... --config JSON" in shown
    assert "--config.lr NUMBER learning rate, per step. [default: 0.1]" in shown
    assert "--config.optimizer.name TEXT which one. [default: adam]" in shown


def test_a_parameter_called_help() -> None:
    def f(help: str = "") -> None: ...

    assert parse(f, "--help", "me") == {"help": "me"}


def test_options_can_be_taken_apart_by_others() -> None:
    options = parameters_to_options(gpu_job(profile="cpu")(train))
    assert [o.opts[0] for o in options][:2] == ["--data", "--batch-size"]


STYLES = [
    """Do it.

    Args:
        a: first
            words.
        *b (int, optional): second: words.

    Raises:
        a: not a parameter.
    """,
    """Do it.

    Parameters
    ----------
    a : int, optional
        first
        words.

    b
        second: words.

    Returns
    -------
    a : int
        not a parameter.
    """,
    """Do it.

    :param int a: first
        words.
    :param b: second: words.
    :returns: not a parameter.
    """,
]


@pytest.mark.parametrize("text", STYLES, ids=["google", "numpy", "rest"])
def test_docstrings(text: str) -> None:
    def f() -> None: ...

    f.__doc__ = text
    assert summary(f) == "Do it."
    assert parameter_help(f) == {"a": "first words.", "b": "second: words."}


def test_no_docstring() -> None:
    assert (summary(parse), parameter_help(lambda: None)) == (summary(parse), {})
    assert summary(lambda: None) == ""
