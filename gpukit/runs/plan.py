"""A plan: everything that is known before a run starts, and the same for render and submit."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpukit import catalog as facts
from gpukit._version import __version__
from gpukit.archive import Archive, build_archive
from gpukit.catalog import Catalog
from gpukit.catalog.overlay import Overlay, lay_over
from gpukit.cluster import read_nodes
from gpukit.diagnose import recognise
from gpukit.jobfile import Located, locate
from gpukit.placement import Placement, resolve
from gpukit.render import Bundle, render
from gpukit.runtime.arguments import encode_arguments
from gpukit.settings import Resolved, find_prices, resolve_spec
from gpukit.spec import AUTO

if TYPE_CHECKING:
    from gpukit.job import GpuJob

__all__ = ["Plan", "own_catalog", "plan_call"]


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
        catalog: the facts, with the user's own prices over them.
        price_warnings: what was wrong with the user's own prices.
    """

    job: GpuJob[..., Any]
    located: Located
    resolved: Resolved
    placement: Placement
    archive: Archive
    arguments: Mapping[str, Any]
    bundle: Bundle
    catalog: Catalog
    price_warnings: tuple[str, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should know before it runs."""
        return (*self.placement.warnings, *self.price_warnings, *self.archive.warnings)


def plan_call(
    job: GpuJob[..., Any],
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    flags: Mapping[str, object] | None = None,
    workdir: Path | None = None,
    include: Sequence[str] = (),
    prices: Path | None = None,
) -> Plan:
    """Plan a call of the job's function.

    Args:
        job: the job.
        args: positional arguments of the function.
        kwargs: keyword arguments of the function.
        flags: options of the command line, over those of the decorator.
        workdir: ship this folder, and not only what the job file imports.
        include: patterns of more files to ship.
        prices: a file with prices of the user's own, over that of the settings.

    Raises:
        GpukitError: the declaration, the arguments or the code cannot be shipped.
    """
    resolved = resolve_spec(job, flags)
    spec = resolved.spec
    arguments = encode_arguments(job.function, tuple(args), dict(kwargs or {}))
    today = datetime.date.today()
    overlay = own_catalog(job, prices)
    found = recognise(read_nodes(), overlay.catalog.platforms) if spec.platform == AUTO else None
    placement = resolve(spec, overlay.catalog, today, found)
    located = locate(job)
    archive = build_archive(
        located, workdir=workdir, include=include, requirements=spec.requirements
    )
    bundle = render(
        spec, placement, archive, job=str(spec.name), module=located.module,
        function=located.function, paths=archive.paths, arguments=arguments, version=__version__,
    )  # fmt: skip
    return Plan(
        job, located, resolved, placement, archive, arguments, bundle, overlay.catalog,
        overlay.warnings,
    )  # fmt: skip


def own_catalog(job: GpuJob[..., Any] | None = None, prices: Path | None = None) -> Overlay:
    """Return the catalog with the user's own prices over it, where the settings name a file.

    Raises:
        SpecError: the file cannot be read.
    """
    file = find_prices(job, prices)
    if file is None:
        return Overlay(facts.load_catalog(), ())
    return lay_over(
        facts.load_catalog(), file.text, name=file.path.name, as_of=file.as_of,
        today=datetime.date.today(),
    )  # fmt: skip
