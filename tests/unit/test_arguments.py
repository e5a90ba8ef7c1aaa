"""Arguments of a job: what is accepted, what is refused by name, and that a pod gets the same."""

from __future__ import annotations

import datetime
import enum
import functools
import json
import math
import pathlib
import typing
import uuid
import zoneinfo
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal, NamedTuple

import numpy as np
import pydantic
import pytest

from gpukit import gpu_job
from gpukit.contract import Task
from gpukit.errors import UsageError
from gpukit.runtime.arguments import decode_arguments, encode_arguments

if typing.TYPE_CHECKING:
    from nowhere import Unknown  # type: ignore[import-not-found]


class Color(enum.Enum):
    RED = "r"
    BLUE = object()  # an enum is shipped by name, whatever its value


class Mode(enum.Flag):
    A = 1
    B = 2


class Level(enum.IntEnum):
    LOW = 1


@dataclass(frozen=True)
class Optimizer:
    name: str = "adam"
    betas: tuple[float, float] = (0.9, 0.999)


@dataclass
class Config:
    lr: float
    optimizer: Optimizer = field(default_factory=Optimizer)
    path: pathlib.Path | None = None
    steps: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.steps = round(1 / self.lr)

    class Nested(NamedTuple):
        x: int
        y: str


@dataclass
class Doubling:
    size: int

    def __post_init__(self) -> None:
        self.size *= 2


class Model(pydantic.BaseModel):
    width: int = 8
    when: datetime.date | None = None


def anything(value: Any = None, **more: Any) -> None: ...


def through_json(function: Callable[..., Any], *args: object, **kwargs: object) -> dict[str, Any]:
    """Encode, put into a task, read the task back, decode."""
    encoded = encode_arguments(function, args, kwargs)
    task = Task(run="r", job="j", module="m", function="f", arguments=encoded)
    text = task.to_json().encode()
    return decode_arguments(function, Task.from_json(text.decode()).arguments)


BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
VALUES: list[object] = [
    None, True, False, 0, -1, 2**53 + 1, 10**40, -(3**20_000), 0.1, -0.0, 1e308, 5e-324,
    "", "$HOME `id` $(id) \\ \" ' \n\t\0", "naïve 训练 🚀", "\udc80 lone", b"", b"\x00\xff",
    [], [1, [2, [3]]], {}, {"a": {"b": [None]}}, {"b": 1, "a": 2}, {"$path": "/x"},
    {1: "a", "1": 2}, {(1, 2): "pair"}, {None: 0}, (), (1, "a", (2.5,)), {1, 2}, frozenset({"a"}),
    {(1, 2), (3,)}, pathlib.Path("/data/ä b"), pathlib.PurePosixPath("x/../y"), Decimal("1.10"),
    uuid.UUID(int=7), datetime.date(2026, 1, 31), datetime.datetime(2026, 1, 31, 12, 0, 0, 5),
    datetime.datetime(2026, 1, 31, tzinfo=datetime.timezone.utc),
    datetime.timedelta(days=-1, microseconds=3), Color.RED, Color.BLUE, Mode.A | Mode.B, Level.LOW,
    Optimizer("sgd", (0.5, 0.5)), Config(0.1, path=pathlib.Path("p")), Config.Nested(1, "y"),
    [Config(0.5), {"c": Config(0.25)}], Model(width=3, when=datetime.date(2026, 1, 1)),
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
def test_a_value_arrives_as_it_left(value: object) -> None:
    got = through_json(anything, value)["value"]
    assert got == value
    assert type(got) is type(value)


def test_floats_that_json_lacks_arrive() -> None:
    got = through_json(anything, [math.inf, -math.inf, math.nan])["value"]
    assert got[:2] == [math.inf, -math.inf]
    assert math.isnan(got[2])
    text = json.dumps(encode_arguments(anything, ([math.nan],)), allow_nan=False)
    assert "NaN" not in text


def test_a_dictionary_keeps_its_order_through_sorted_json() -> None:
    layers = {"stem": 1, "head": 2, "body": 3}
    assert list(through_json(anything, layers)["value"]) == ["stem", "head", "body"]


def test_a_time_keeps_its_zone_and_which_of_two_hours_it_is() -> None:
    second = datetime.datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1)
    got = through_json(anything, second)["value"]
    assert (got.tzinfo, got.fold, got.utcoffset()) == (BERLIN, 1, second.utcoffset())


def test_numbers_of_numpy_become_numbers() -> None:
    got = through_json(anything, [np.float32(0.5), np.int64(3), np.bool_(True)])["value"]
    assert got == [0.5, 3, True]
    assert [type(v) for v in got] == [float, int, bool]


def test_equal_sets_have_equal_encodings() -> None:
    one, two = {"a", "b", "c"}, {"c", "b", "a"}
    assert encode_arguments(anything, (one,)) == encode_arguments(anything, (two,))


class Opaque:
    pass


def _local_dataclass() -> object:
    @dataclass
    class Local:
        x: int

    return Local(1)


def _cycle() -> object:
    cycle: list[object] = []
    cycle.append(cycle)
    return cycle


REFUSED: list[tuple[object, str, str]] = [
    ({"layers": [0, 1, 2, Opaque()]}, "argument value['layers'][3]", "Opaque"),
    (Config(0.1, optimizer=Opaque()), "argument value.optimizer", "Opaque"),  # type: ignore[arg-type]
    ((1, len), "argument value[1]", "builtin_function_or_method"),
    (lambda: 0, "argument value", "function"),
    (Opaque, "argument value", "type"),
    ({Opaque(): 1}, "argument value (key ", "Opaque"),
    (np.zeros(3), "argument value", "numpy.ndarray"),
    (_local_dataclass(), "argument value", "Local"),
    (_cycle(), "argument value[0]", "list"),
    (1j, "argument value", "complex"),
    (range(3), "argument value", "range"),
    (OrderedDict(a=1), "argument value", "collections.OrderedDict"),
    (iter([1]), "argument value", "list_iterator"),
    (pathlib.PureWindowsPath("c:/x"), "argument value", "PureWindowsPath"),
    (object(), "argument value", "object"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "where", "kind"), REFUSED, ids=[r[2] for r in REFUSED])
def test_what_cannot_be_shipped_is_refused_by_name(value: object, where: str, kind: str) -> None:
    with pytest.raises(UsageError) as caught:
        encode_arguments(anything, (value,))
    assert caught.value.id == "argument-unshippable"
    assert caught.value.message.startswith(where)
    assert kind in caught.value.message
    assert caught.value.hint


def test_a_model_of_torch_is_refused_with_what_to_do() -> None:
    import torch

    with pytest.raises(UsageError, match=r"argument value\['net'\] of type torch") as caught:
        encode_arguments(anything, ({"net": torch.nn.Linear(1, 1)},))
    assert "inside the function" in caught.value.hint


def test_an_object_that_its_fields_do_not_make_again_is_refused() -> None:
    with pytest.raises(UsageError, match="argument value is not the same") as caught:
        encode_arguments(anything, (Doubling(1),))
    assert caught.value.id == "argument-unstable"


def test_too_large_arguments_are_refused_with_the_largest() -> None:
    with pytest.raises(UsageError, match="of which data is 200 KiB"):
        encode_arguments(anything, (), {"small": 1, "data": "x" * 200 * 1024})


def train(
    epochs: int, config: Config | None = None, *, rates: Sequence[float] = (), **more: int
) -> None: ...  # fmt: skip


BINDING: list[tuple[tuple[object, ...], dict[str, object], str, str]] = [
    ((), {}, "argument-missing", "argument epochs missing"),
    ((1, None, 3), {}, "argument-too-many", "3 positional arguments"),
    ((1,), {"epochs": 2}, "argument-twice", "argument epochs is given twice"),
    ((1,), {"config": {"lrr": 1}}, "field-unknown", "argument config: Config has no field 'lrr'"),
    ((1,), {"config": {}}, "field-missing", "missing 1 required positional argument: 'lr'"),
]  # fmt: skip


@pytest.mark.parametrize(("args", "kwargs", "id", "message"), BINDING, ids=[b[2] for b in BINDING])
def test_a_call_that_does_not_fit(
    args: tuple[object, ...], kwargs: dict[str, object], id: str, message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        encode_arguments(train, args, kwargs)
    assert caught.value.id == id
    assert message in caught.value.message


def test_an_unknown_argument_gets_a_suggestion() -> None:
    def closed(learning_rate: float = 1.0) -> None: ...

    with pytest.raises(UsageError, match="no argument 'learning_rte'") as caught:
        encode_arguments(closed, (), {"learning_rte": 1})
    assert "'learning_rate'" in caught.value.hint


def test_positional_only_and_star_arguments_are_refused_clearly() -> None:
    def slash(a: int, /) -> None: ...
    def star(*files: str) -> None: ...

    with pytest.raises(UsageError, match="parameter a is positional-only"):
        encode_arguments(slash, (1,))
    assert encode_arguments(star) == {}
    with pytest.raises(UsageError, match="1 positional arguments") as caught:
        encode_arguments(star, ("a",))
    assert "list" in caught.value.hint


def test_named_rest_arguments_arrive() -> None:
    assert through_json(train, 1, zeta=2, alpha=3) == {"epochs": 1, "alpha": 3, "zeta": 2}


def test_defaults_are_not_shipped() -> None:
    assert encode_arguments(train, (1,)) == {"epochs": 1}


def test_plain_json_is_read_by_the_annotations() -> None:
    def job(
        config: Config,
        path: "pathlib.Path",  # noqa: UP037 - a text, as many write it
        color: Color,
        shape: tuple[int, ...],
        table: Mapping[int, set[str]],
        mode: Literal["fast", "slow"],
        rate: float,
        nested: list[Config.Nested] | None,
        model: Model,
        unknown: Unknown,
        when: datetime.date | str,
    ) -> None: ...

    plain = {
        "config": {"lr": 1, "optimizer": {"betas": [0.1, 0.2]}, "path": "/x"}, "path": "/y",
        "color": "RED", "shape": [1, 2], "table": {"3": ["a"]}, "mode": "slow", "rate": 2,
        "nested": [[1, "y"]], "model": {"width": 5}, "unknown": {"any": "thing"}, "when": "soon",
    }  # fmt: skip
    got = decode_arguments(job, json.loads(json.dumps(plain)))
    assert got == {
        "config": Config(1.0, Optimizer(betas=(0.1, 0.2)), pathlib.Path("/x")),
        "path": pathlib.Path("/y"), "color": Color.RED, "shape": (1, 2), "table": {3: {"a"}},
        "mode": "slow", "rate": 2.0, "nested": [Config.Nested(1, "y")], "model": Model(width=5),
        "unknown": {"any": "thing"}, "when": "soon",
    }  # fmt: skip
    assert type(got["rate"]) is float


def test_python_code_may_pass_what_python_accepts() -> None:
    def sloppy(n: int = None, name: str = 3) -> None: ...  # type: ignore[assignment]  # noqa: RUF013

    assert through_json(sloppy, "text", 1.5) == {"n": "text", "name": 1.5}


def test_arguments_of_a_decorated_job() -> None:
    def logged(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return wrapper

    @gpu_job(profile="cpu")
    @logged
    def job(größe: pathlib.Path, n: int = 1) -> tuple[pathlib.Path, int]:
        return größe, n

    arguments = json.loads(json.dumps(encode_arguments(job, ("/x",), {"n": 2})))
    assert job(**decode_arguments(job.function, arguments)) == (pathlib.Path("/x"), 2)


def test_arguments_that_do_not_fit_the_code_are_refused_in_the_pod() -> None:
    def job(n: int) -> None: ...

    with pytest.raises(UsageError, match="no argument 'm'"):
        decode_arguments(job, {"n": 1, "m": 2})
    with pytest.raises(UsageError, match="argument n missing"):
        decode_arguments(job, {})


BROKEN: list[tuple[Any, str]] = [
    ({"$soon": 1}, "argument-tag"),
    ({"$enum": [":Gone", "X"]}, "argument-class"),
    ({"$dataclass": ["no.such.module:X", {}]}, "argument-class"),
    ({"$enum": [":Color", "GREEN"]}, "argument-rebuild"),
    ({"$dataclass": [":Config", {"rate": 1}]}, "argument-rebuild"),
    ({"$date": "yesterday"}, "argument-rebuild"),
]


@pytest.mark.parametrize(
    ("value", "id"), BROKEN, ids=[f"{b[1]}-{next(iter(b[0]))}" for b in BROKEN]
)
def test_damaged_arguments_are_an_error_of_gpukit(value: Any, id: str) -> None:
    with pytest.raises(UsageError) as caught:
        decode_arguments(anything, {"value": value})
    assert caught.value.id == id
