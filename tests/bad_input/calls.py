"""Mistakes in the arguments of a job's function: called in Python, and rebuilt in the pod."""

from __future__ import annotations

from gpukit.jobfile import load_job
from gpukit.runtime.arguments import decode_arguments

from .case import Case, job_source

__all__ = ["CALLS"]

_HEAD = """
from __future__ import annotations
import dataclasses, datetime, decimal, enum, itertools, pathlib, random, sys, threading
from typing import Literal

@dataclasses.dataclass
class Config:
    lr: float = 0.1
    layers: tuple[int, ...] = ()
    def __post_init__(self):
        if self.lr < 0:
            raise ValueError("lr is negative")

@dataclasses.dataclass
class Restless:
    seed: float = 0.0
    def __post_init__(self):
        self.seed = self.seed + 1

class Colour(enum.Enum):
    RED = 1

class Model:
    def state_dict(self): ...

class OwnZone(datetime.tzinfo):
    def utcoffset(self, when): return datetime.timedelta(0)

loop = []
loop.append(loop)
"""


def _call(id: str, signature: str, call: str) -> Case:
    source = _HEAD + job_source(tail=f"def train({signature}): ...\n")

    def attempt() -> object:
        job = load_job("job.py")
        names = {**job.function.__globals__, "job": job}
        return eval(f"job.render({call})", names)

    return Case(id, f"def train({signature}): {call}", attempt, files={"job.py": source})


def _decoded(id: str, signature: str, arguments: dict[str, object]) -> Case:
    source = _HEAD + job_source(tail=f"def train({signature}): ...\n")

    def attempt() -> object:
        return decode_arguments(load_job("job.py").function, arguments)  # type: ignore[arg-type]

    return Case(id, f"def train({signature}) in a pod: {arguments}", attempt,
                files={"job.py": source})  # fmt: skip


CALLS: list[Case] = [
    _call("argument-missing", "epochs", ""),
    _call("argument-missing", "epochs, lr", "1"),
    _call("argument-missing", "*, data: str", ""),
    _call("argument-unknown", "epochs=1", "epohcs=2"),
    _call("argument-unknown", "", "epochs=2"),
    _call("argument-twice", "epochs=1", "1, epochs=2"),
    _call("argument-too-many", "epochs=1", "1, 2"),
    _call("argument-too-many", "", "1"),
    _call("argument-too-many", "*files", "'a', 'b'"),
    _call("parameter-positional", "epochs, /", "1"),
    # values that have no form in JSON
    _call("argument-unshippable", "x", "object()"),
    _call("argument-unshippable", "x", "lambda: 1"),
    _call("argument-unshippable", "x", "[1, {'a': Model()}]"),
    _call("argument-unshippable", "x", "sys.stdout"),
    _call("argument-unshippable", "x", "threading.Lock()"),
    _call("argument-unshippable", "x", "(i for i in 'abc')"),
    _call("argument-unshippable", "x", "loop"),
    _call("argument-unshippable", "x", "1j"),
    _call("argument-unshippable", "x", "datetime.datetime(2026, 1, 1, tzinfo=OwnZone())"),
    _call("argument-unshippable", "x", "pathlib.PureWindowsPath('C:/data')"),
    _call("argument-unstable", "x", "Restless()"),
    _call("arguments-too-large", "x", "'a' * 200_000"),
    _call("arguments-too-large", "a, b", "list(range(20_000)), 'b' * 100_000"),
    # values that do not fit what the pod has
    _decoded("argument-missing", "epochs, lr", {"epochs": 1}),
    _decoded("argument-unknown", "epochs=1", {"epoch": 1}),
    _decoded("argument-tag", "x", {"x": {"$pickle": "gASV"}}),
    _decoded("argument-class", "x", {"x": {"$dataclass": [":Confg", {}]}}),
    _decoded("argument-class", "x", {"x": {"$enum": ["no_such_module:Colour", "RED"]}}),
    _decoded("argument-rebuild", "x", {"x": {"$enum": [":Colour", "BLUE"]}}),
    _decoded("argument-rebuild", "x", {"x": {"$dataclass": [":Config", {"lr": -1.0}]}}),
    _decoded("argument-rebuild", "x", {"x": {"$bytes": 3}}),
    _decoded("argument-rebuild", "x", {"x": {"$datetime": ["yesterday", None]}}),
    _decoded("argument-rebuild", "x", {"x": {"$float": "one"}}),
]
