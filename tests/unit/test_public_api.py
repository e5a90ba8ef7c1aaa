"""What users may rely on: public names, options, and flags. A change here is a change for them."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys

import click
import pytest

import gpukit
from gpukit import GpuJob, GpukitError, JobSpec, errors
from gpukit.job import JobOptions

PUBLIC = [
    "Checkpointer", "GpuJob", "GpukitError", "JobSpec", "Run", "__version__", "gpu_job",
    "open_run", "output_dir", "run_info",
]  # fmt: skip

OPTIONS = [
    "name", "namespace", "profile", "gpu", "spot", "platform", "image", "image_pull_secrets",
    "packages", "requirements", "cpu", "memory", "shm", "env", "secrets", "volumes",
    "checkpoint_every", "checkpoints", "team", "cost_center", "stage", "labels", "annotations",
    "retries", "max_preemptions", "max_cost", "timeout", "deadline", "hang_timeout", "ttl",
    "queue", "priority", "node_selector", "tolerations", "service_account", "pod",
]  # fmt: skip

SHARED_FLAGS = {"--workdir", "--include", "--prices", "-o", "--output-format", "--no-spot"}
FLAGS = {
    "submit": {
        "--local", "--context", "--detach", "--no-follow", "-d", "--dry-run",
        "--fresh", "--force", "--resume-from",
        "--sweep", "--max-parallel",
        "--simulate-preemption", "--simulate-node-loss", "--max-interruptions", "--seed",
        "--hours", "--override-budget",
    },
    "render": {"--output", "-f"},
    "explain": set(),
    "archive": set(),
}  # fmt: skip

EXIT_CODES = {
    "GpukitError": 1, "UsageError": 2, "SpecError": 2, "PlacementError": 2, "JobFileError": 2,
    "BudgetError": 3, "RunFailedError": 4, "WaitTimeoutError": 5, "CheckpointError": 1,
    "ClusterError": 1, "StoreError": 1,
}  # fmt: skip

_LAZILY = """
import sys, gpukit
assert {name!r} not in vars(gpukit), 'it is there before anybody asked for it'
value = getattr(gpukit, {name!r})
assert vars(gpukit)[{name!r}] is value is getattr(gpukit, {name!r})
"""


def test_public_names_are_these() -> None:
    assert gpukit.__all__ == PUBLIC
    assert dir(gpukit) == sorted(PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_public_name_is_documented_where_it_is_defined(name: str) -> None:
    value = getattr(gpukit, name)
    if name != "__version__":
        assert value.__name__ == name
        assert value.__module__.startswith("gpukit.")
        assert inspect.getdoc(value)


@pytest.mark.parametrize("name", ["Checkpointer", "JobSpec", "Run", "gpu_job"])
def test_public_name_is_loaded_when_it_is_used(name: str) -> None:
    subprocess.run([sys.executable, "-c", _LAZILY.format(name=name)], check=True)


def test_there_is_no_other_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'gpu_jop'"):
        gpukit.gpu_jop  # noqa: B018


def test_star_import_gives_the_public_names() -> None:
    names: dict[str, object] = {}
    exec("from gpukit import *", names)
    assert set(PUBLIC) <= set(names)


def test_options_are_these_everywhere() -> None:
    assert list(JobOptions.__annotations__) == OPTIONS
    assert sorted(JobSpec.model_fields) == sorted(OPTIONS)
    undescribed = [name for name, field in JobSpec.model_fields.items() if not field.description]
    assert undescribed == []


def test_a_job_has_these_members() -> None:
    members = {name for name in dir(GpuJob) if not name.startswith("_")}
    assert members == {
        "map",
        "render",
        "signature",
        "source_file",
        "spec",
        "submit",
        "submit_local",
        "with_options",
    }


@pytest.mark.parametrize("command", FLAGS)
def test_flags_are_these(command: str) -> None:
    module = importlib.import_module(f"gpukit.cli.{command}")
    params: list[click.Parameter] = getattr(module, command).params
    options = [param for param in params if isinstance(param, click.Option)]
    found = {name for option in options for name in (*option.opts, *option.secondary_opts)}
    of_options = {"--" + name.replace("_", "-") for name in OPTIONS}
    assert found == FLAGS[command] | SHARED_FLAGS | of_options
    assert [option.name for option in options if not option.help] == []


def test_exit_codes_are_these() -> None:
    kinds = {k: v for k, v in vars(errors).items() if isinstance(v, type)}
    found = {k: v.exit_code for k, v in kinds.items() if issubclass(v, GpukitError)}
    assert found == EXIT_CODES
    assert sorted([*EXIT_CODES, "did_you_mean"]) == sorted(errors.__all__)
