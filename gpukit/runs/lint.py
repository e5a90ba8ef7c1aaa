"""Lint of a job: what has to be read and rendered before the rules can judge."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpukit._version import __version__
from gpukit.archive import Archive, build_archive
from gpukit.catalog import load_catalog
from gpukit.jobfile import Located, locate
from gpukit.lint import Finding, JobFacts, JobSource, Needs, lint_job
from gpukit.placement import resolve
from gpukit.render import render
from gpukit.settings import resolve_spec

if TYPE_CHECKING:
    from gpukit.job import GpuJob

    from .plan import Plan

__all__ = ["lint_call", "lint_plan"]


def lint_call(
    job: GpuJob[..., Any],
    *,
    flags: Mapping[str, object] | None = None,
    needs: Needs | None = None,
    shown: str = "",
    workdir: Path | None = None,
    include: Sequence[str] = (),
) -> list[Finding]:
    """Return the findings in a job, whose arguments need not be known.

    Args:
        job: the job.
        flags: options of the command line, over those of the decorator.
        needs: what was measured of it.
        shown: the file as the person named it; default: its own name.
        workdir: ship this folder, and not only what the job file imports.
        include: patterns of more files to ship.

    Raises:
        GpukitError: the declaration or the code cannot be shipped.
    """
    spec, catalog = resolve_spec(job, flags).spec, load_catalog()
    placement, located = resolve(spec, catalog), locate(job)
    archive = build_archive(
        located, workdir=workdir, include=include, requirements=spec.requirements
    )
    bundle = render(
        spec, placement, archive, job=str(spec.name), module=located.module,
        function=located.function, paths=archive.paths, arguments={}, version=__version__,
    )  # fmt: skip
    source = _source(located, archive, shown.partition("::")[0])
    facts = JobFacts(spec, placement, catalog, source, needs or Needs())
    return lint_job(facts, bundle.to_dicts())


def lint_plan(plan: Plan) -> list[Finding]:
    """Return the findings in what is planned."""
    source = _source(plan.located, plan.archive, "")
    facts = JobFacts(plan.resolved.spec, plan.placement, load_catalog(), source)
    return lint_job(facts, plan.bundle.to_dicts())


def _source(located: Located, archive: Archive, shown: str) -> JobSource:
    text = located.file.read_text(encoding="utf-8", errors="replace")
    others = tuple(_shipped(archive).items())
    return JobSource(shown or located.file.name, text, located.function, others)


def _shipped(archive: Archive) -> dict[str, str]:
    """Return the user's Python files in an archive, the text of the job's own left out."""
    mine = {f.name: f.kind for f in archive.files if f.kind != "gpukit"}
    found: dict[str, str] = {}
    with tarfile.open(fileobj=io.BytesIO(archive.data)) as tar:
        for name in sorted(name for name in mine if name.endswith(".py")):
            data = tar.extractfile(name)
            text = data.read().decode("utf-8", errors="replace") if data else ""
            found[name] = "" if mine[name] == "job" else text
    return found
