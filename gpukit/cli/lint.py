"""``gpukit lint``."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gpukit.errors import BudgetError, UsageError, did_you_mean
from gpukit.quantity import parse_bytes, parse_duration

from . import output
from .target import job_of, target_command

if TYPE_CHECKING:
    from gpukit.lint import Finding, Needs
    from gpukit.runs.plan import Plan

__all__ = ["lint", "notice"]

_YAML = (".yaml", ".yml", ".json")
_COLORS = {"error": "red", "warning": "yellow", "note": "cyan"}
_OPTIONS = [
    click.Option(["--strict"], is_flag=True, help="Warnings count as errors: exit code 3."),
    click.Option(["--gpu-memory"], metavar="SIZE",
        help="What the job needs of the GPU's memory, as measured, for example 6Gi."),
    click.Option(["--save-time"], metavar="TIME", help="What a checkpoint takes, as measured."),
    click.Option(["-o", "--output-format"], type=click.Choice(["table", "json", "yaml"]),
        default="table", show_default=True, help="Form of what is printed on stdout."),
]  # fmt: skip


@target_command("lint", params=_OPTIONS)
def lint(
    strict: bool, gpu_memory: str | None, save_time: str | None, output_format: str, **params: Any
) -> int:
    """Find what is known to go wrong, in a job or in Kubernetes manifests.

    \b
    gpukit lint train.py
    gpukit lint --strict deploy.yaml vpa.yaml       any number of files or folders
    helm template chart | gpukit lint -

    Exit code 3 for errors, and with --strict for warnings. A line with the
    comment `# gpukit: ignore[GK005]` is left out.
    """  # noqa: D301 - click's mark of a block
    from gpukit.lint import Needs

    needs = Needs(
        None if gpu_memory is None else parse_bytes(gpu_memory, "--gpu-memory"),
        None if save_time is None else parse_duration(save_time, "--save-time"),
    )
    found = _of_files(params, needs) if _is_manifest(params["target"]) else _of_job(params, needs)
    counts: Counter[str] = Counter(finding.rule.severity for finding in found)
    if output_format == "table":
        _show(found)
        output.talk(_summary(counts))
    else:
        plain = {"findings": [f.to_plain() for f in found], "counts": dict(counts)}
        output.data(plain, output_format)
    failed = counts["error"] or (strict and counts["warning"])
    return BudgetError.exit_code if failed else 0


def notice(plan: Plan) -> None:
    """Say in one line which rules a job is at odds with."""
    from gpukit.runs.lint import lint_plan

    found = [f for f in lint_plan(plan) if f.rule.severity != "note"]
    if found:
        rules = {f.rule.id: f"{f.rule.id} {f.rule.title}" for f in found}
        output.warn(f"{'; '.join(rules.values())}: gpukit lint {plan.located.file.name}")


def _is_manifest(target: str) -> bool:
    return target == "-" or target.endswith(_YAML) or Path(target).is_dir()


def _of_job(params: dict[str, Any], needs: Needs) -> list[Finding]:
    from gpukit.runs.lint import lint_call

    from .options import flags_of

    return lint_call(
        job_of(params), flags=flags_of(params), needs=needs, shown=params["target"],
        workdir=params["workdir"], include=params["include"],
    )  # fmt: skip


def _of_files(params: dict[str, Any], needs: Needs) -> list[Finding]:
    from gpukit.catalog import load_catalog
    from gpukit.lint import lint_manifests

    texts: dict[str, str] = {}
    for name in (params["target"], *params["arguments"]):
        if name == "-":
            texts["-"] = sys.stdin.read()
            continue
        path = Path(name)
        files = [path] if not path.is_dir() else _files_in(path)
        texts.update((str(file), _read(file)) for file in files)
    return lint_manifests(texts, load_catalog(), needs)


def _files_in(folder: Path) -> list[Path]:
    found = sorted(p for p in folder.rglob("*") if p.suffix in _YAML[:2] and p.is_file())
    if not found:
        raise UsageError("lint-empty", f"{folder} has no YAML file", "name a file or a folder")
    return found


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        near = [p.name for p in file.parent.glob("*")] if file.parent.is_dir() else []
        raise UsageError(
            "lint-file", f"there is no file {file}",
            did_you_mean(file.name, near, otherwise="check the path"),
        ) from None  # fmt: skip
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError("lint-file", f"{file} cannot be read: {error}", "check the file") from None


def _show(found: list[Finding]) -> None:
    for finding in found:
        rule = finding.rule
        color = _COLORS[rule.severity]
        where = f"{finding.file}:{finding.line}"
        output.text(f"{where}: {output.style(f'{rule.severity} {rule.id}', fg=color, bold=True)} "
                    f"{rule.title}: {finding.message}")  # fmt: skip
        output.text(f"    {output.style('why', dim=True)} {rule.why}")
        output.text(f"    {output.style('fix', dim=True)} {finding.fix.text}")
        output.text(f"    {output.style('doc', dim=True)} {rule.doc}")


def _summary(counts: Counter[str]) -> str:
    words = [f"{counts[s]} {s}{'s' * (counts[s] != 1)}" for s in _COLORS if counts[s]]
    return ", ".join(words) or "nothing found"
