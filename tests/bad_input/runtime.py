"""Mistakes that the runtime meets: stores, tasks, environments, the Checkpointer, its files."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gpukit import Checkpointer, open_run
from gpukit.contract import Task
from gpukit.quantity import parse_bytes
from gpukit.runtime.environment import Environment
from gpukit.runtime.store import open_store

from .case import Case

__all__ = ["RUNTIME"]

_WHERE = Path("checkpoints-here")
_TASK = json.loads(Task(run="r-1", job="r", module="m", function="f").to_json())
_ENVIRON = {"GPUKIT_TASK": "task.json", "GPUKIT_STORE": "store", "GPUKIT_WORK": "work"}


class Counter:
    """Something with a state, as small as it gets."""

    def __init__(self, value: object = 0) -> None:
        self.value = value

    def state_dict(self) -> dict[str, object]:
        return {"value": self.value}

    def load_state_dict(self, state: dict[str, object]) -> None:
        self.value = state["value"]


def _linear(width: int) -> Any:
    import torch

    return torch.nn.Linear(width, 1)


def _saved(model: Any = None, **rest: Any) -> list[Path]:
    """Save one checkpoint and return its files."""
    checkpointer = Checkpointer(directory=_WHERE, model=model or Counter(1), **rest)
    checkpointer.save()
    return sorted(path for path in _WHERE.rglob("*") if path.is_file())


def _damaged(words: str, harm: Callable[[Path], object], pattern: str) -> Case:
    def attempt() -> object:
        hurt = [path for path in _saved(_linear(2)) if path.match(pattern)]
        assert hurt, pattern
        for path in hurt:
            harm(path)
        return Checkpointer(directory=_WHERE, model=_linear(2))

    return Case("no-good-checkpoint", words, attempt)


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _changed(words: str, before: Callable[[], dict[str, Any]],
             after: Callable[[], dict[str, Any]]) -> Case:  # fmt: skip
    def attempt() -> object:
        _saved(**before())
        return Checkpointer(directory=_WHERE, **after())

    return Case("model-changed", words, attempt)


def _saving(id: str, words: str, value: Callable[[], object]) -> Case:
    return Case(id, words, lambda: _saved(Counter(value())))


def _sparse() -> object:
    import torch

    return torch.zeros(2).to_sparse()


def _task(id: str, words: str, text: str) -> Case:
    return Case(id, words, lambda: Task.from_json(text))


def _environ(id: str, words: str, **values: str | None) -> Case:
    environ: Mapping[str, str] = {
        k: v for k, v in {**_ENVIRON, **values}.items() if v is not None
    }  # fmt: skip
    return Case(id, words, lambda: Environment.from_environ(environ).task())


def _sgd(**options: Any) -> Any:
    import torch

    return torch.optim.SGD(torch.nn.Linear(2, 1).parameters(), lr=0.1, **options)


RUNTIME: list[Case] = [
    # arguments of the Checkpointer
    Case("object-without-state", "a model without a state", lambda: Checkpointer(model=object())),
    Case("object-without-state", "a list of models", lambda: Checkpointer(models=[Counter()])),
    Case("object-without-state", "a number to keep", lambda: Checkpointer(step=3)),
    Case("every-range", "every=-1", lambda: Checkpointer(every=-1)),
    Case("every-range", "every=nan", lambda: Checkpointer(every=float("nan"))),
    Case("every-range", "every=[]", lambda: Checkpointer(every=[])),  # type: ignore[arg-type]
    Case("every-steps-range", "every_steps=0", lambda: Checkpointer(every_steps=0)),
    Case("quantity-duration", "every='often'", lambda: Checkpointer(every="often")),
    Case("keep-range", "keep=0", lambda: Checkpointer(keep=0)),
    Case("keep-range", "keep='all'", lambda: Checkpointer(keep="all")),  # type: ignore[arg-type]
    # what a state may hold
    _saving("state-unsupported", "an object in a state", object),
    _saving("state-unsupported", "a function in a state", lambda: print),
    _saving("state-unsupported", "a path in a nested state", lambda: {"a": [Path("x")]}),
    _saving("tensor-unsupported", "a sparse tensor", _sparse),
    # checkpoints that do not fit
    _changed("another width", lambda: {"model": _linear(2)}, lambda: {"model": _linear(3)}),
    _changed("an optimizer more", lambda: {"model": _linear(2)},
             lambda: {"model": _linear(2), "optimizer": _sgd()}),
    _changed("an object less", lambda: {"model": _linear(2), "extra": Counter()},
             lambda: {"model": _linear(2)}),
    _changed("another kind of state", lambda: {"model": _linear(2)},
             lambda: {"model": Counter()}),
    # damaged files
    _damaged("a flipped bit in the tensors", _flip, "*.safetensors"),
    _damaged("a flipped bit in the state", _flip, "rank-0.json"),
    _damaged("a flipped bit in the manifest", _flip, "manifest.json"),
    _damaged("tensors that are cut off", lambda p: p.write_bytes(p.read_bytes()[:-1]),
             "*.safetensors"),
    _damaged("tensors that are missing", Path.unlink, "*.safetensors"),
    _damaged("a manifest that is empty", lambda p: p.write_bytes(b""), "manifest.json"),
    # stores
    Case("store-scheme", "an unknown scheme", lambda: open_store("hdfs2://bucket/path")),
    Case("store-scheme", "a scheme of nothing", lambda: open_store("://bucket")),
    Case("store-package", "gs without its package", lambda: open_store("gs://bucket/path")),
    Case("store-key", "a key that leaves the store", lambda: open_store("s").get("../secret")),
    Case("store-key", "an empty key", lambda: open_store("s").put("", b"")),
    Case("store-key", "a hidden key", lambda: open_store("s").create("a/.b", b"")),
    Case("store-unusable", "a store in a file", lambda: open_store("file").put("a/b", b""),
         files={"file": "text"}),
    Case("store-unusable", "a store where nothing can be written",
         lambda: open_store("/proc/gpukit").create("a/b", b"")),
    # the task and the environment of a pod
    _task("task-form", "a task that is not JSON", "{"),
    _task("task-form", "a task that is a list", "[]"),
    _task("task-form", "an empty task", "{}"),
    _task("task-form", "a task without a function", '{"format": 1, "run": "r"}'),
    _task("task-format", "a task of a newer gpukit", json.dumps({**_TASK, "format": 2})),
    _task("task-format", "a task of no format", json.dumps({**_TASK, "format": None})),
    _environ("environment-incomplete", "no task", GPUKIT_TASK=None),
    _environ("environment-incomplete", "an empty store", GPUKIT_STORE=""),
    _environ("environment-number", "a time that is none", GPUKIT_SUBMITTED_AT="yesterday"),
    _environ("environment-number", "seconds in words", GPUKIT_PROGRESS_SECONDS="five"),
    _environ("task-missing", "a task file that is not there"),
    # handles
    Case("run-unknown", "a run that never was", lambda: open_run("train-12345678")),
    Case("run-unknown", "a run of a misspelled name", lambda: open_run("trian-12345678"),
         files={".gpukit/runs/train-12345678/events.jsonl": ""}),
    Case("quantity-memory", "an amount of None",
         lambda: parse_bytes(None)),  # type: ignore[arg-type]
]  # fmt: skip
