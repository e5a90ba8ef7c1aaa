"""Lint: what is known to go wrong with GPU jobs, found before they run. Pure.

:func:`lint_job` looks at a job, :func:`lint_manifests` at Kubernetes objects of any origin. The
rules are in :mod:`.table`, their checks in :mod:`.rules`.
"""

from __future__ import annotations

from .engine import lint_job, lint_manifests
from .jobs import JobFacts
from .model import Edit, Finding, Fix, Needs, Rule
from .source import JobSource
from .table import RULES

__all__ = [
    "RULES", "Edit", "Finding", "Fix", "JobFacts", "JobSource", "Needs", "Rule", "lint_job",
    "lint_manifests",
]  # fmt: skip
