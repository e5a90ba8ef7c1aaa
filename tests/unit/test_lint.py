"""Every rule finds its mistake in a real file, lets near misses pass, and its fix puts it right."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from gpukit.catalog import load_catalog
from gpukit.cli.main import main
from gpukit.jobfile import load_job
from gpukit.lint import RULES, Edit, Finding, Needs, lint_manifests
from gpukit.lint.rules import JOB_CHECKS, MANIFEST_CHECKS, WORKLOAD_CHECKS
from gpukit.runs.lint import lint_call
from tests.golden.regenerate import FOLDER
from tests.lint import jobs, manifests, objects, page
from tests.lint.base import RIGHT, changed

REPOSITORY = Path(__file__).parents[2]
CHECKS = (JOB_CHECKS, WORKLOAD_CHECKS, MANIFEST_CHECKS)


def pairs(*tables: dict[str, list[str]]) -> list[Any]:
    return [
        pytest.param(id, text, id=f"{id}-{number}")
        for table in tables
        for id, texts in table.items()
        for number, text in enumerate(texts)
    ]


def lint_text(text: str, needs: Needs | None = None) -> list[Finding]:
    return lint_manifests({"a.yaml": text}, load_catalog(), needs)


def ids(found: Sequence[Finding]) -> set[str]:
    return {finding.rule.id for finding in found}


def apply(item: Any, edits: Sequence[Edit]) -> Any:
    """Apply a JSON Patch, as RFC 6902 has it: a parent that is missing is an error."""
    item = copy.deepcopy(item)
    for edit in edits:
        inner = item
        for step in edit.at[:-1]:
            inner = inner[step]
        last = edit.at[-1]
        if isinstance(inner, list) and edit.op == "add":
            inner.insert(len(inner) if last == "-" else int(last), edit.value)
        elif edit.op == "remove":
            del inner[last]
        else:
            assert edit.op == "add" or last in inner or isinstance(last, int)
            inner[last] = edit.value
    return item


def test_the_job_that_is_right_has_no_finding() -> None:
    assert lint_text(changed({})) == []


@pytest.mark.parametrize(("id", "text"), pairs(manifests.BAD, objects.BAD))
def test_mistake_in_a_manifest_is_found_and_its_patch_puts_it_right(id: str, text: str) -> None:
    found = [f for f in lint_text(text) if f.rule.id == id]
    assert found, f"{id} does not see it"
    assert found[0].fix.text
    if found[0].fix.patch:
        patched = apply(yaml.safe_load(text), found[0].fix.patch)
        left = [f for f in lint_text(yaml.safe_dump(patched)) if f.rule.id == id]
        assert len(left) == len(found) - 1


@pytest.mark.parametrize(("id", "text"), pairs(manifests.GOOD, objects.GOOD))
def test_near_miss_in_a_manifest_is_let_pass(id: str, text: str) -> None:
    assert id not in ids(lint_text(text))


def of_job(text: str, folder: Path, name: str, needs: Needs | None = None) -> list[Finding]:
    file = folder / f"{name}.py"
    file.write_text(text, encoding="utf-8")
    return lint_call(load_job(str(file)), needs=needs)


def module_of(request: pytest.FixtureRequest) -> str:
    """A name of its own for each case: Python imports a name once."""
    return "".join(c if c.isalnum() else "_" for c in request.node.name)


@pytest.mark.parametrize(("id", "text"), pairs(jobs.BAD))
def test_mistake_in_a_job_is_found_and_its_options_put_it_right(
    id: str, text: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    name = module_of(request)
    found = [f for f in of_job(text, tmp_path, name) if f.rule.id == id]
    assert len(found) == 1, f"{id} does not see it"
    assert found[0].fix.text
    if found[0].fix.options:
        options: Any = found[0].fix.options
        fixed = load_job(str(tmp_path / f"{name}.py")).with_options(**options)
        assert id not in ids(lint_call(fixed))


@pytest.mark.parametrize(("id", "text"), pairs(jobs.GOOD))
def test_near_miss_in_a_job_is_let_pass(
    id: str, text: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    assert id not in ids(of_job(text, tmp_path, module_of(request)))


def test_every_rule_has_a_check_and_both_kinds_of_cases() -> None:
    known = [rule.id for rule in RULES]
    assert known == [f"GK{number:03}" for number in range(1, len(RULES) + 1)]
    assert {id for checks in CHECKS for id in checks} == set(known)
    measured = {"GK018"}
    for tables in (
        (manifests.BAD, jobs.BAD, objects.BAD),
        (manifests.GOOD, jobs.GOOD, objects.GOOD),
    ):
        assert {id for table in tables for id in table} | measured == set(known)
    assert set(JOB_CHECKS) - set(jobs.BAD) == {"GK016", "GK018"}, "which need a measurement"


@pytest.mark.parametrize(
    ("id", "profile", "needs"),
    [
        ("GK004", "h100", Needs(gpu_memory=7 * 2**30)),
        ("GK018", "mig-1g.10gb", Needs(gpu_memory=10 * 2**30)),
        ("GK016", "l4", Needs(save_seconds=90)),
    ],
)
def test_what_was_measured_is_judged(
    id: str, profile: str, needs: Needs, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    name = module_of(request)
    found = of_job(jobs.job(f'profile="{profile}"'), tmp_path, name, needs)
    assert id in ids(found)
    options: Any = next(f.fix.options for f in found if f.rule.id == id)
    job = load_job(str(tmp_path / f"{name}.py"))
    assert id not in ids(lint_call(job.with_options(**options), needs=needs))
    assert id not in ids(lint_call(job))


@pytest.mark.parametrize(
    ("id", "changes", "needs"),
    [
        ("GK004", {"pod/nodeSelector": manifests.H100}, Needs(gpu_memory=7 * 2**30)),
        ("GK018", manifests.mig("1g.10gb"), Needs(gpu_memory=10 * 2**30)),
        ("GK016", {}, Needs(save_seconds=90)),
    ],
)
def test_what_was_measured_is_judged_in_manifests(
    id: str, changes: dict[str, Any], needs: Needs
) -> None:
    text = changed(changes)
    found = [f for f in lint_text(text, needs) if f.rule.id == id]
    assert len(found) == 1
    patched = apply(yaml.safe_load(text), found[0].fix.patch)
    assert id not in ids(lint_text(yaml.safe_dump(patched), needs))
    assert id not in ids(lint_text(text))


def test_a_job_that_needs_the_whole_gpu_is_left_alone(tmp_path: Path) -> None:
    needs = Needs(gpu_memory=60 * 2**30)
    assert of_job(jobs.job('profile="h100"'), tmp_path, "needs_it_all", needs) == []


def test_goldens_have_no_error() -> None:
    texts = {str(p): p.read_text(encoding="utf-8") for p in FOLDER.rglob("*.yaml")}
    assert len(texts) > 20
    found = lint_manifests(texts, load_catalog())
    assert [f for f in found if f.rule.severity == "error"] == []
    recipes = {str(p): p.read_text(encoding="utf-8") for p in REPOSITORY.glob("recipes/**/*.yaml")}
    assert [f for f in lint_manifests(recipes, load_catalog()) if f.rule.severity == "error"] == []


def test_examples_and_recipes_have_no_error() -> None:
    files = [*REPOSITORY.glob("examples/*.py"), *REPOSITORY.glob("recipes/**/*.py")]
    jobs = [str(f) for f in files if "@gpu_job" in f.read_text(encoding="utf-8")]
    assert len(jobs) >= 3
    program = (
        "import sys\nfrom gpukit.cli.main import main\n"
        "sys.exit(max(main(['lint', file]) for file in sys.argv[1:]))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program, *jobs], capture_output=True, text=True, cwd=REPOSITORY
    )
    assert shown.returncode == 0, shown.stdout + shown.stderr


@pytest.mark.parametrize(
    "comment", ["# gpukit: ignore[GK013]", "#gpukit: ignore[GK001, gk013]", "# gpukit: ignore"]
)
def test_a_line_of_a_job_is_ignored(
    comment: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    text = jobs.job("ttl=None")
    for number, line in enumerate(("    ttl=None,", "@gpu_job("), start=1):
        ignored = text.replace(line, f"{line}  {comment}")
        assert of_job(ignored, tmp_path, f"{module_of(request)}_{number}") == []
    above = text.replace("    ttl=None,", f"    {comment}\n    ttl=None,")
    assert of_job(above, tmp_path, f"{module_of(request)}_3") == []
    other = text.replace("    ttl=None,", "    ttl=None,  # gpukit: ignore[GK012]")
    assert ids(of_job(other, tmp_path, f"{module_of(request)}_4")) == {"GK013"}


def test_a_line_of_a_manifest_is_ignored() -> None:
    text = changed({"limits/memory": "30Gi"})
    line = next(n for n in text.splitlines() if n.endswith("memory: 22Gi"))
    assert ids(lint_text(text)) == {"GK002"}
    assert lint_text(text.replace(line, f"{line}  # gpukit: ignore[GK002]")) == []
    whole = text.replace("kind: Job", "kind: Job  # gpukit: ignore[GK002]")
    assert lint_text(whole) == []
    assert ids(lint_text(whole.replace("GK002", "GK001"))) == {"GK002"}


def test_findings_point_at_their_line() -> None:
    text = changed({"limits/nvidia.com/gpu": "2", "requests/nvidia.com/gpu": "1"})
    found = next(f for f in lint_text("# one\n---\n" + text) if f.rule.id == "GK001")
    assert ("# one\n---\n" + text).splitlines()[found.line - 1].strip() == "nvidia.com/gpu: '2'"


def test_objects_of_a_list_and_of_one_stream_are_all_seen() -> None:
    bad = yaml.safe_load(changed({"job/ttlSecondsAfterFinished": "gone"}))
    del bad["spec"]["ttlSecondsAfterFinished"]
    listed = yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": [RIGHT, bad]})
    assert [f.rule.id for f in lint_text(listed)] == ["GK013"]
    assert len(lint_text(f"{listed}\n---\n{json.dumps(bad)}")) == 2


@pytest.mark.parametrize("kind", ["CronJob", "JobSet", "PyTorchJob", "Pod", "Deployment"])
def test_pods_are_found_in_whatever_makes_them(kind: str) -> None:
    template = yaml.safe_load(changed({"limits/nvidia.com/gpu": "0.5"}))["spec"]["template"]
    made: dict[str, Any] = {
        "CronJob": {"jobTemplate": {"spec": {"template": template}}},
        "JobSet": {"replicatedJobs": [{"template": {"spec": {"template": template}}}]},
        "PyTorchJob": {"pytorchReplicaSpecs": {"Worker": {"template": template}}},
        "Pod": template["spec"],
        "Deployment": {"template": template},
    }
    text = yaml.safe_dump({"kind": kind, "metadata": {"name": "a"}, "spec": made[kind]})
    assert "GK001" in ids(lint_text(text))


@pytest.mark.parametrize("text", ["[]", "1", "", "kind: Job", "{kind: Job, spec: 3}", "a: &x [*x]"])
def test_what_is_no_object_is_let_pass(text: str) -> None:
    assert lint_text(text) == []


@pytest.mark.parametrize("value", [None, [], {}, "text", 3, True, [None], {"a": None}])
def test_no_shape_of_an_object_is_too_odd(value: object) -> None:
    for place in ("pod/containers", "pod/tolerations", "pod/volumes", "pod/affinity", "main/env",
                  "main/resources", "main/command", "job/template", "template/labels",
                  "pod/nodeSelector", "main/lifecycle", "job/podFailurePolicy"):  # fmt: skip
        lint_text(changed({place: value}))
    for kind in ("ConfigMap", "ResourceQuota", "PrometheusRule", "K8sRequiredLabels",
                 "VerticalPodAutoscaler", "ClusterPolicy"):  # fmt: skip
        lint_text(json.dumps({"kind": kind, "spec": value, "data": value, "metadata": value}))


def test_the_page_of_the_rules_is_up_to_date() -> None:
    written = page.FILE.read_text(encoding="utf-8")
    assert written == page.page(), "if this is meant: make docs"
    assert all(f'<a id="{rule.id.lower()}"></a>' in written for rule in RULES)
    assert {rule.doc.partition("#")[0] for rule in RULES} == {
        page.FILE.relative_to(REPOSITORY).as_posix()
    }


def test_render_and_submit_say_that_there_are_findings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "announced.py"
    file.write_text(jobs.job("ttl=None"), encoding="utf-8")
    assert main(["render", str(file)]) == 0
    assert "GK013" in capsys.readouterr().err
    file.write_text(jobs.job('ttl="1d"'), encoding="utf-8")
    assert main(["render", "--ttl", "1d", str(file)]) == 0
    assert "GK013" not in capsys.readouterr().err


def test_a_secret_is_never_shown(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    for text in [*manifests.BAD["GK014"], *objects.BAD["GK014"]]:
        file.write_text(text, encoding="utf-8")
        for form in ("table", "json", "yaml"):
            assert main(["lint", "-o", form, str(file)]) == 3
            shown = capsys.readouterr()
            for secret in ("0f3a9c7b", "hunter2", "aBcD1234", "s3cr3tpass"):
                assert secret not in shown.out + shown.err


def test_exit_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a.yaml"

    def code(changes: dict[str, Any], *flags: str) -> int:
        file.write_text(changed(changes), encoding="utf-8")
        return main(["lint", *flags, str(file)])

    warning, error = {"requests/memory": "9Gi"}, {"limits/nvidia.com/gpu": "0.5"}
    note = manifests.BAD_CHANGES["GK021"][0]
    assert [code(warning), code(warning, "--strict"), code(error), code({}, "--strict")] == [
        0, 3, 3, 0,
    ]  # fmt: skip
    assert code(note, "--strict") == 0
    assert "1 note" in capsys.readouterr().err
    assert main(["lint", str(tmp_path / "b.yaml")]) == 2
    file.write_text("a: {{ .Values.x }}\n  - b", encoding="utf-8")
    assert main(["lint", str(file)]) == 2
    assert "helm template" in capsys.readouterr().err


def test_json_says_all_that_a_program_needs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.yaml").write_text(changed({"limits/memory": "30Gi"}), encoding="utf-8")
    (tmp_path / "b.yml").write_text(objects.BAD["GK033"][0], encoding="utf-8")
    assert main(["lint", "-o", "json", str(tmp_path)]) == 3
    shown = json.loads(capsys.readouterr().out)
    assert shown["counts"] == {"error": 1, "warning": 1}
    first, second = shown["findings"]
    assert first["id"] == "GK033"
    assert first["subject"] == "VerticalPodAutoscaler/train"
    assert first["doc"] == "docs/reference/lint.md#gk033"
    assert second["file"] == str(tmp_path / "a.yaml")
    assert second["fix"]["patch"] == [{
        "op": "replace", "value": "30Gi",
        "path": "/spec/template/spec/containers/0/resources/requests/memory",
    }]  # fmt: skip
