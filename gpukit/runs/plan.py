"""A plan: everything that is known before a run starts, and the same for render and submit."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpukit._version import __version__
from gpukit.archive import Archive, build_archive
from gpukit.catalog import load_catalog
from gpukit.jobfile import Located, locate
from gpukit.placement import Placement, resolve
from gpukit.render import Bundle, render
from gpukit.runtime.arguments import encode_arguments
from gpukit.settings import Resolved, resolve_spec

if TYPE_CHECKING:
    from gpukit.job import GpuJob

__all__ = ["Plan", "plan_call"]


@dataclass(frozen=True)
class Plan:
    """What would run, where, with what, and why.

    Attributes:
        job: the job.
        located: the file and name that the pod imports it by.
        resolved: the spec, and where each of its values comes from.
        placement: what the spec becomes on its platform.
        archive: the code that is shipped.
        arguments: the function's arguments, encoded.
        bundle: the manifests.
    """

    job: GpuJob[..., Any]
    located: Located
    resolved: Resolved
    placement: Placement
    archive: Archive
    arguments: Mapping[str, Any]
    bundle: Bundle

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should know before it runs."""
        return (*self.placement.warnings, *self.archive.warnings)


def plan_call(
    job: GpuJob[..., Any],
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    flags: Mapping[str, object] | None = None,
    workdir: Path | None = None,
    include: Sequence[str] = (),
) -> Plan:
    """Plan a call of the job's function.

    Args:
        job: the job.
        args: positional arguments of the function.
        kwargs: keyword arguments of the function.
        flags: options of the command line, over those of the decorator.
        workdir: ship this folder, and not only what the job file imports.
        include: patterns of more files to ship.

    Raises:
        GpukitError: the declaration, the arguments or the code cannot be shipped.
    """
    resolved = resolve_spec(job, flags)
    spec = resolved.spec
    arguments = encode_arguments(job.function, tuple(args), dict(kwargs or {}))
    placement = resolve(spec, load_catalog(), datetime.date.today())
    located = locate(job)
    archive = build_archive(
        located, workdir=workdir, include=include, requirements=spec.requirements
    )
    bundle = render(
        spec, placement, archive, job=str(spec.name), module=located.module,
        function=located.function, paths=archive.paths, arguments=arguments, version=__version__,
    )  # fmt: skip
    return Plan(job, located, resolved, placement, archive, arguments, bundle)
