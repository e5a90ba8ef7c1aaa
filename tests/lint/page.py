"""docs/reference/lint.md, made from the table of rules and their cases by ``make docs``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from gpukit.catalog import load_catalog
from gpukit.lint import RULES, Finding, Rule, lint_manifests
from tests.lint import jobs, manifests, objects
from tests.lint.base import GONE

__all__ = ["FILE", "page"]

FILE = Path(__file__).parents[2] / "docs" / "reference" / "lint.md"

_HEAD = """# Rules of `gpukit lint`

<!-- Written by `make docs` from the rules and their tests; do not edit. -->

```
gpukit lint train.py                      a job
gpukit lint deploy.yaml vpa.yaml          Kubernetes manifests, whoever wrote them; folders too
helm template chart | gpukit lint -       from a pipe
gpukit lint --strict -o json train.py     for programs
```

An **error** cannot work, or does harm: exit code 3. A **warning** is a mistake on most clusters:
exit code 3 with `--strict`. A **note** is worth a thought and never fails a check. With
`--gpu-memory 6Gi` and `--save-time 40s` the rules know what was measured of the job.

A finding that is meant is ignored by a comment on its line, or alone on the line above; in a job on
the line of `@gpu_job` as well, in a manifest on the line of `kind:` for the whole object:

```
memory="64Gi",  # gpukit: ignore[GK003]
```

With `-o json` a fix has `options`, to be given to `@gpu_job`, or `patch`, a JSON Patch for
`kubectl patch --type json`, where it can be applied as it stands.

| rule | | |
|---|---|---|
"""


def page() -> str:
    """Return the page."""
    rows = [f"| [{r.id}](#{r.id.lower()}) | {r.severity} | {r.title} |" for r in RULES]
    parts = ["\n".join(_section(rule)) for rule in RULES]
    return _HEAD + "\n".join(rows) + "\n\n" + "\n\n".join(parts) + "\n"


def _section(rule: Rule) -> Iterator[str]:
    yield f'<a id="{rule.id.lower()}"></a>'
    yield f"## {rule.id} {rule.title}"
    yield ""
    yield f"`{rule.name}`, {rule.severity}. {rule.why}"
    yield ""
    yield f"**Reported when**: {rule.when}"
    yield from _example(rule.id)
    yield ""
    yield f"Source: {rule.source}."


def _example(id: str) -> Iterator[str]:
    if id in jobs.BAD:
        start = jobs.BAD[id][0].index("@gpu_job(\n    ") + len("@gpu_job(\n    ")
        options = jobs.BAD[id][0][start:].partition("\n")[0].rstrip(",")
        body = jobs.BAD[id][0].partition("-> dict:\n")[2].rstrip("\n")
        yield from ("", "```python", f"@gpu_job({options})", "def train(epochs: int = 3) -> dict:")
        yield from (*body.splitlines(), "```")
    if id in manifests.BAD:
        yield from ("", "In a manifest:", "", "```yaml")
        yield from (*_changes(manifests.BAD_CHANGES[id][0]), "```")
        yield from ("", *_fix(id, manifests.BAD[id][0]))
    elif id in objects.BAD:
        yield from ("", "In a manifest:", "", "```yaml")
        yield from (*objects.BAD[id][0].strip().splitlines(), "```")
        yield from ("", *_fix(id, objects.BAD[id][0]))


def _changes(changes: dict[str, Any]) -> Iterator[str]:
    for where, value in changes.items():
        place, _, key = where.partition("/")
        name = {"job": "spec", "template": "pod template", "pod": "pod spec", "main": "container",
                "metadata": "metadata"}.get(place, f"resources.{place}")  # fmt: skip
        if value is GONE:
            yield f"# {name}: no {key}"
        else:
            yield f"# {name}:"
            yield from yaml.safe_dump({key: value}, sort_keys=False).splitlines()


def _fix(id: str, text: str) -> Iterator[str]:
    found: list[Finding] = lint_manifests({"a.yaml": text}, load_catalog())
    finding = next(f for f in found if f.rule.id == id)
    yield f"It says: {finding.message}. **Fix**: `{finding.fix.text}`"
