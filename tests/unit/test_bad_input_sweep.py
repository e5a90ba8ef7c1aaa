"""Every option with every kind of nonsense: a spec that renders, or an error for a person."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pytest

from gpukit import gpu_job
from gpukit.catalog import load_catalog
from gpukit.errors import GpukitError
from gpukit.job import GpuJob, JobOptions
from gpukit.placement import resolve
from gpukit.render import Bundle, render
from gpukit.settings import resolve_spec
from tests.official import VERSIONS, assert_valid
from tests.samples import TINY_ARCHIVE

SCALARS: list[object] = [
    None, True, False, 0, -1, 10**30, 1.5, float("nan"), float("inf"), "", " ", "\0", "x" * 5000,
    "ü", "\ud800", "a\nb", "٣h", "²", b"x", object(), object, len, Decimal("NaN"), Decimal("1e400"),
    datetime.timedelta(1), Path("x"), range(3), "1e5", "1_000", "0x10", "+5", "$", "h100:²", "mig-",
    "s3://", "pvc:", "pvc:a/../b", "new:", "new:0", ":2",
]  # fmt: skip
CONTAINERS: list[object] = [
    [], [None], [[]], ["x", 1], (), ("x",), set(), {1, 2}, {}, {"a": None}, {"a": 1}, {1: "a"},
    {None: None}, {"a": {"b": 1}}, {"": ""}, {"A": "\0"}, {"A": "x" * 200_000}, {"x" * 300: "a"},
    {"/data": None}, {"/data": "pvc:x:rw"}, {"/a\0": "empty:"}, {"a": float("nan")},
    {"a": object()}, [{"key": "a"}], [{"kee": "a"}], [{"key": "a", "effect": "x"}],
    {"containers": None}, {"volumes": None}, {"restartPolicy": None},
    {"containers": "x"}, {"containers": [{}]}, {"nodeSelector": {"a": 1}},
    {"volumes": [{"name": "x", "emptyDir": {}}]}, {"terminationGracePeriodSeconds": -1},
    {"containers": [{"name": "main", "env": [{"name": "X"}]}]}, {"hostNetwork": "yes"},
]  # fmt: skip


def function() -> None: ...


def outcome(option: str, value: object) -> GpukitError | Bundle:
    """Return the error, or what is rendered, of a job with this one option."""
    try:
        options = cast(JobOptions, {option: value})
        job: GpuJob[[], None] = gpu_job(**options)(function)
        spec = resolve_spec(job, environ={}, user_file=Path("/nonexistent")).spec
        return render(
            spec, resolve(spec, load_catalog()), TINY_ARCHIVE, job=str(spec.name), module="m",
            function="function", paths=(".",), arguments={}, version="0",
        )  # fmt: skip
    except GpukitError as error:
        return error


def values() -> Iterator[Any]:
    yield from SCALARS
    yield from CONTAINERS


@pytest.mark.parametrize("option", JobOptions.__annotations__)
def test_option_takes_or_refuses_anything(option: str) -> None:
    refused = 0
    for value in values():
        found = outcome(option, value)
        if isinstance(found, GpukitError):
            refused += 1
            assert found.hint.strip(), (value, found)
            assert found.message.strip()
            assert len(found.message) <= 2100
            assert "value error" not in found.message
        else:
            assert found.to_yaml().startswith("apiVersion: ")
            for item in found.to_dicts():
                assert_valid(item, VERSIONS[-1])
    assert refused > len(SCALARS) / 3, "an option that takes nearly everything checks nothing"
