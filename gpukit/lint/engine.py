"""Runs the checks over a job, or over manifests, and leaves out what is ignored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from gpukit.catalog import Catalog

from .documents import Manifest, read_manifests
from .ignore import ignored_lines, is_ignored
from .jobs import JobFacts
from .model import Finding, Fix, Hit, Needs
from .rules import JOB_CHECKS, MANIFEST_CHECKS, WORKLOAD_CHECKS
from .table import rule
from .workloads import Context, workloads_of

__all__ = ["lint_job", "lint_manifests"]

_ORDER = {"error": 0, "warning": 1, "note": 2}


def lint_job(job: JobFacts, objects: Sequence[Mapping[str, Any]] = ()) -> list[Finding]:
    """Return the findings in a job, the worst first.

    Args:
        job: the job.
        objects: the rendered objects: what ``pod=`` and ``node_selector=`` put into them is judged
            by the rules for manifests, where a rule has no check of its own for jobs.
    """
    source = job.source
    ignored = ignored_lines(source.text)
    hits = [(id, hit) for id, check in JOB_CHECKS.items() for hit in check(job)]
    option = "pod" if job.spec.pod else "node_selector" if job.spec.node_selector else "profile"
    manifests = tuple(Manifest(item) for item in objects)
    for id, hit in _over_manifests(manifests, Context(job.catalog, manifests, job.needs)):
        if id not in JOB_CHECKS:
            fix = Fix(f"{hit.fix.text} (in the rendered Job; from {option}=)")
            hits.append((id, replace(hit, option=option, fix=fix)))
    found = []
    for id, hit in hits:
        line = hit.line or source.line_of(hit.option)
        lines = {line, source.line_of(hit.option), source.first_line}
        if not is_ignored(id, lines, ignored):
            found.append(
                Finding(rule(id), hit.message, hit.fix, source.file, line, source.function)
            )
    return _sorted(found)


def lint_manifests(
    texts: Mapping[str, str], catalog: Catalog, needs: Needs | None = None
) -> list[Finding]:
    """Return the findings in manifests, the worst first.

    Args:
        texts: name of a file to what is in it: YAML or JSON, one object or many.
        catalog: the facts.
        needs: what was measured of the pods in them.

    Raises:
        UsageError: a file is not YAML.
    """
    found: list[Finding] = []
    parsed = {file: read_manifests(text, file) for file, text in texts.items()}
    everything = tuple(item for items in parsed.values() for item in items)
    context = Context(catalog, everything, needs or Needs())
    for file, items in parsed.items():
        ignored = ignored_lines(texts[file])
        for item in items:
            for id, hit in _over_manifests((item,), context):
                line = item.line(hit.at)
                if not is_ignored(id, {line, item.line(("kind",))}, ignored):
                    subject = item.subject
                    found.append(Finding(rule(id), hit.message, hit.fix, file, line, subject))
    return _sorted(found)


def _over_manifests(items: Iterable[Manifest], context: Context) -> Iterable[tuple[str, Hit]]:
    for item in items:
        for id, of_item in MANIFEST_CHECKS.items():
            yield from ((id, hit) for hit in of_item(item, context))
        for load in workloads_of(item):
            for id, of_load in WORKLOAD_CHECKS.items():
                yield from ((id, hit) for hit in of_load(load, context))


def _sorted(found: Iterable[Finding]) -> list[Finding]:
    once = {(f.rule.id, f.file, f.line, f.message): f for f in found}
    return sorted(once.values(), key=lambda f: (_ORDER[f.rule.severity], f.file, f.line, f.rule.id))
