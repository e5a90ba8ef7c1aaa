"""Layers of settings: which one wins, what is merged, and which one a mistake comes from."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gpukit import GpuJob, gpu_job
from gpukit.errors import SpecError
from gpukit.jobfile import load_job
from gpukit.settings import Resolved, option_kinds, resolve_spec
from gpukit.spec import JobSpec
from tests.fresh import fresh_imports, write_files


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    with fresh_imports():
        yield


def make_job(folder: Path, options: str = "", project: str = "") -> GpuJob[..., Any]:
    source = f"from gpukit import gpu_job\n@gpu_job({options})\ndef train_model(): ...\n"
    write_files(folder, {"code/set_job.py": source, "pyproject.toml": project})
    return load_job(str(folder / "code/set_job.py"))


def resolve(job: GpuJob[..., Any], user: str = "", **rest: Any) -> Resolved:
    file = job.source_file.parent / "user.toml"
    file.write_text(user)
    return resolve_spec(job, environ=rest.pop("environ", {}), user_file=file, **rest)


def test_each_layer_goes_before_the_one_below(tmp_path: Path) -> None:
    project = '[tool.gpukit]\nteam = "project"\nstage = "dev"\nretries = 2\nimage = "p/i:1"\n'
    job = make_job(tmp_path, 'stage="inference", retries=3, image="d/i:1"', project)
    user = 'team = "user"\nstage = "dev"\nretries = 1\nimage = "u/i:1"\nqueue = "user"\n'
    environ = {"GPUKIT_RETRIES": "4", "GPUKIT_IMAGE": "e/i:1", "PATH": "/bin"}
    found = resolve(job, user, environ=environ, flags={"image": "f/i:1"})
    spec = found.spec
    got = (spec.name, spec.queue, spec.team, spec.stage, spec.retries, spec.image)
    assert got == ("train-model", "user", "project", "inference", 4, "f/i:1")
    layers = {n: (o.layer, o.where) for n, o in found.origins.items()}
    assert layers["name"] == ("default", "the function's name")
    assert layers["queue"] == ("user", str(tmp_path / "code/user.toml"))
    assert layers["team"] == ("project", "pyproject.toml [tool.gpukit]")
    assert layers["stage"] == ("decorator", "@gpu_job")
    assert layers["retries"] == ("environment", "GPUKIT_RETRIES")
    assert layers["image"] == ("flag", "--image")
    assert layers["spot"] == ("default", "gpukit")


def test_every_option_has_an_origin(tmp_path: Path) -> None:
    found = resolve(make_job(tmp_path))
    assert list(found.origins) == list(JobSpec.model_fields)
    assert set(option_kinds()) == set(JobSpec.model_fields)


def test_mappings_are_merged_by_key_and_the_rest_replaces(tmp_path: Path) -> None:
    project = '[tool.gpukit]\npackages = ["a"]\n[tool.gpukit.labels]\nx = "1"\ny = "1"\n'
    job = make_job(tmp_path, 'labels={"y": "2", "z": "2"}, packages=["b", "c"]', project)
    found = resolve(job, environ={"GPUKIT_LABELS": '{"z": "3"}'})
    assert found.spec.labels == {"x": "1", "y": "2", "z": "3"}
    assert found.spec.packages == ("b", "c")
    assert found.origins["labels"].layer == "environment"
    assert (
        found.origins["labels"].where == "pyproject.toml [tool.gpukit] + @gpu_job + GPUKIT_LABELS"
    )


def test_text_of_the_environment_is_read_as_the_option_is(tmp_path: Path) -> None:
    environ = {
        "GPUKIT_PROFILE": "a100-80gb:2, h100:2", "GPUKIT_SPOT": "TRUE", "GPUKIT_MAX_COST": "$40",
        "GPUKIT_PACKAGES": '["einops>=0.8", "x"]', "GPUKIT_MEMORY": "16Gi",
        "GPUKIT_ENV": '{"A": "1"}', "GPUKIT_TOLERATIONS": '[{"key": "k", "operator": "Exists"}]',
        "GPUKIT_MAX_PREEMPTIONS": "7", "GPUKIT_CPU": "0.5", "GPUKIT_TIMEOUT": "1h30m",
    }  # fmt: skip
    spec = resolve(make_job(tmp_path), environ=environ).spec
    assert [str(p) for p in spec.profile] == ["a100-80gb:2", "h100:2"]
    assert (spec.spot, spec.max_cost, spec.timeout) == (True, Decimal(40), 5400)
    assert (spec.memory, spec.cpu, spec.max_preemptions) == (16 * 2**30, 500, 7)
    assert (spec.packages, spec.env) == (("einops>=0.8", "x"), {"A": "1"})
    assert spec.tolerations[0].key == "k"


def test_flags_may_be_values_or_text(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    spec = resolve(job, flags={"labels": {"a": "b"}, "retries": "5", "spot": "prefer"}).spec
    assert (spec.labels, spec.retries, spec.spot) == ({"a": "b"}, 5, "prefer")


def test_the_nearest_project_counts(tmp_path: Path) -> None:
    job = make_job(tmp_path, project='[tool.gpukit]\nteam = "outer"\n')
    assert resolve(job).spec.team == "outer"
    (tmp_path / "code/pyproject.toml").write_text("[project]\nname = 'inner'\n")
    assert resolve(job).spec.team is None


def test_the_user_file_lies_in_the_configuration_folder(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    write_files(tmp_path, {"xdg/gpukit/config.toml": 'team = "xdg"\n'})
    write_files(tmp_path, {"home/.config/gpukit/config.toml": 'cost-center = "home"\n'})
    assert resolve_spec(job, environ={"XDG_CONFIG_HOME": str(tmp_path / "xdg")}).spec.team == "xdg"
    assert resolve_spec(job, environ={"HOME": str(tmp_path / "home")}).spec.cost_center == "home"
    assert resolve_spec(job, environ={}).spec.team is None


def test_a_job_of_a_notebook_takes_the_project_of_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(tmp_path, {"pyproject.toml": '[tool.gpukit]\nteam = "here"\n'})
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"gpu_job": gpu_job}
    exec("@gpu_job(profile='cpu')\ndef cell(): ...", names)
    assert resolve_spec(names["cell"], environ={}).spec.team == "here"


def test_names_come_from_the_function(tmp_path: Path) -> None:
    names: dict[str, Any] = {"gpu_job": gpu_job}
    exec(f"@gpu_job()\ndef Entraîner_Modèle(): ...\n@gpu_job()\ndef {'x' * 80}(): ...", names)
    assert resolve_spec(names["Entraîner_Modèle"], environ={}).spec.name == "entrainer-modele"
    assert resolve_spec(names["x" * 80], environ={}).spec.name == "x" * 41


MISTAKES: list[tuple[dict[str, Any], str, str]] = [
    ({"project": "[tool.gpukit]\nprofil = 'x'"}, "option-unknown", "pyproject.toml [tool.gpukit])"),
    ({"project": "[tool.gpukit]\nmemory = '10GB'"}, "quantity-memory-unit", "(from pyproject.toml"),
    ({"project": "[tool.gpukit]\nretries = '1'"}, "retries-range", "(from pyproject.toml"),
    ({"project": "[tool.gpukit]\nlabels = 'x'"}, "labels-form", "(from pyproject.toml"),
    ({"project": "[tool]\ngpukit = 3"}, "settings-form", "pyproject.toml"),
    ({"project": "[tool.gpukit\n"}, "settings-toml", "pyproject.toml is not TOML"),
    ({"project": "[tool.gpukit]\npackages = ['a']", "flags": {"requirements": "r.txt"}},
     "packages-and-requirements", "(from pyproject.toml [tool.gpukit] and --requirements)"),
    ({"user": "spot = 'maybe'"}, "spot-value", "user.toml)"),
    ({"user": "[gpukit]\nteam = 'x'"}, "option-unknown", "'gpukit'"),
    ({"environ": {"GPUKIT_RETRIES": "many"}}, "option-number", "(from GPUKIT_RETRIES)"),
    ({"environ": {"GPUKIT_LABELS": "a=b"}}, "option-json", "(from GPUKIT_LABELS)"),
    ({"environ": {"GPUKIT_PROFILE": "mig-1g"}}, "profile-mig-form", "(from GPUKIT_PROFILE)"),
    ({"environ": {"GPUKIT_PROFIL": "h100"}}, "environment-unknown", "GPUKIT_PROFIL"),
    ({"flags": {"timeout": "1 hour"}}, "quantity-duration", "(from --timeout)"),
    ({"flags": {"colour": "red"}}, "option-unknown", "'colour' (from --colour)"),
    ({"options": "timeout='1y'"}, "quantity-duration", "timeout='1y'"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(MISTAKES)))
def test_a_mistake_names_its_layer(tmp_path: Path, number: int) -> None:
    given, id, message = MISTAKES[number]
    job = make_job(tmp_path, given.get("options", ""), given.get("project", ""))
    rest = {k: v for k, v in given.items() if k in ("environ", "flags")}
    with pytest.raises(SpecError) as caught:
        resolve(job, given.get("user", ""), **rest)
    assert caught.value.id == id
    assert message in caught.value.message
    assert caught.value.hint


def test_a_mistake_that_a_higher_layer_replaces_is_none(tmp_path: Path) -> None:
    job = make_job(tmp_path, project="[tool.gpukit]\nmemory = '10GB'")
    assert resolve(job, flags={"memory": "1Gi"}).spec.memory == 2**30


def test_what_an_environment_holds_is_not_shown(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        resolve(make_job(tmp_path), environ={"GPUKIT_ENV": '{"TOKEN": "hunter2"'})
    assert "hunter2" not in str(caught.value)


def test_variables_of_the_runtime_are_no_options(tmp_path: Path) -> None:
    environ = {"GPUKIT_TASK": "/x", "GPUKIT_HOME": "/y", "GPUKIT_DEBUG": "1", "GPUKIT_WORK": "/z"}
    assert resolve(make_job(tmp_path), environ=environ).spec.name == "train-model"
