"""Recipes: listed, shown, copied, rendered, and valid for Kubernetes."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from click.testing import CliRunner

from gpukit.cli.recipes import recipes
from gpukit.jobfile import load_job
from gpukit.runs.plan import plan_call
from tests.official import VERSIONS, assert_valid, official_round_trip

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "recipes").glob("*.py"))
JOBS = [
    *RECIPES,
    *sorted((ROOT / "examples").glob("0*.py")),
    ROOT / "examples/04_modules/train.py",
]

RESOURCES = {
    "spot-training": "nvidia.com/gpu",
    "hf-trainer": "nvidia.com/mig-2g.20gb",
    "batch-inference": "nvidia.com/mig-1g.10gb",
}


def names(paths: list[Path]) -> list[str]:
    return [path.stem if path.stem != "train" else path.parent.name for path in paths]


def test_every_recipe_is_known_here() -> None:
    assert set(names(RECIPES)) == set(RESOURCES)


@pytest.mark.parametrize("path", JOBS, ids=names(JOBS))
def test_it_renders_and_kubernetes_would_take_it(path: Path) -> None:
    bundle = plan_call(load_job(str(path))).bundle
    for item in bundle.to_dicts():
        assert official_round_trip(item) == item
        for version in VERSIONS:
            assert_valid(item, version)
    job = bundle.to_dicts()[-1]
    container = job["spec"]["template"]["spec"]["containers"][0]
    if path.stem in RESOURCES:
        assert container["resources"]["limits"][RESOURCES[path.stem]] == "1"
        # What an interrupted run goes on from must outlive its pod.
        assert [item["kind"] for item in bundle.to_dicts()] == [
            "ConfigMap", "PersistentVolumeClaim", "Job",
        ]  # fmt: skip


def test_listed_with_a_line_each() -> None:
    shown = CliRunner().invoke(recipes, ["list", "-o", "json"])
    assert shown.exit_code == 0, shown.output
    for path in RECIPES:
        title = (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").splitlines()[0]
        assert title.endswith(".")
        assert len(title) < 80
        assert title in shown.output


@pytest.mark.parametrize("path", RECIPES, ids=names(RECIPES))
def test_shown_and_copied_as_it_is(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = path.read_text(encoding="utf-8")
    assert CliRunner().invoke(recipes, ["show", path.stem]).output == source
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(recipes, ["copy", path.stem]).exit_code == 0
    assert (tmp_path / path.name).read_text(encoding="utf-8") == source
    assert CliRunner().invoke(recipes, ["copy", path.stem]).exit_code != 0  # it is there already
