"""Placement: what a declaration becomes on a platform, and the reason for each part of it.

:func:`resolve` is pure: the same spec, catalog, cluster and date give the same placement.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from gpukit.catalog import Catalog, Devices, Platform, choose_devices
from gpukit.contract import CONTAINER
from gpukit.diagnose import Recognition
from gpukit.errors import PlacementError
from gpukit.spec import AUTO, JobSpec

from . import cluster, needs, nodes, rules
from .devices import device_terms
from .model import NodeTerm, Notes, Placement, Reason
from .order import cheapest_first

__all__ = ["NodeTerm", "Placement", "Reason", "resolve"]


def resolve(
    spec: JobSpec,
    catalog: Catalog,
    today: date | None = None,
    found: Recognition | None = None,
) -> Placement:
    """Return what a declaration becomes on its platform.

    Args:
        spec: the declaration.
        catalog: the facts.
        today: for a word on the age of the price; without it nothing is said.
        found: what the cluster's nodes show; ``platform="auto"`` needs it.

    Raises:
        PlacementError: no pod can satisfy it, or a budget cannot be kept.
    """
    notes = Notes()
    platform = _platform(spec, catalog, found, notes)
    devices = choose_devices(spec.profile, spec.gpu, catalog, platform)
    rules.check_override(spec, devices)
    rules.check_platform(spec, devices, platform, notes)
    terms, preferred = _node_terms(spec, devices, catalog, platform, notes)
    rules.check_selector(spec, devices, terms, catalog, platform, notes)
    if found is not None:
        cluster.check_offers(devices, platform, found, notes)
    terms, selector = _as_selectors(terms, platform)
    cpu = needs.choose_cpu(spec, devices, notes)
    memory, shm = needs.choose_memory(spec, devices, catalog, platform, notes)
    _override_warnings(spec, notes)
    return Placement(
        platform=platform.name,
        resource_name=devices.resource,
        count=devices.count,
        processes=devices.count if devices.kind == "full" else 1,
        node_terms=terms,
        preferred_terms=preferred,
        node_selector=dict(sorted({**selector, **spec.node_selector}.items())),
        tolerations=nodes.tolerated(spec, devices, platform, notes),
        pod_annotations=_annotations(spec, platform),
        grace=needs.choose_grace(spec, platform, notes),
        cpu=cpu,
        memory=memory,
        shm=shm,
        checkpoints=needs.choose_checkpoints(spec, notes),
        price=needs.find_price(
            spec, devices, catalog, platform, today, notes, cpu=cpu, memory=memory
        ),
        spot=spec.spot,
        warnings=tuple(notes.warnings),
        reasons=tuple(notes.reasons),
    )


def _platform(spec: JobSpec, catalog: Catalog, found: Recognition | None, notes: Notes) -> Platform:
    if spec.platform != AUTO:
        platform = catalog.platform(spec.platform)
        notes.because("platform", platform.name, platform.title, platform.source)
        return platform
    if found is None:
        raise PlacementError(
            "platform-auto", 'platform="auto" needs the nodes of a cluster, and none were read',
            f"name the platform: {', '.join(p.name for p in catalog.platforms)}",
        )  # fmt: skip
    notes.because("platform", found.platform.name, found.why, "nodes of the cluster")
    notes.warnings += found.warnings
    return found.platform


def _node_terms(
    spec: JobSpec, devices: Devices, catalog: Catalog, platform: Platform, notes: Notes
) -> tuple[tuple[NodeTerm, ...], tuple[NodeTerm, ...]]:
    """Return the conditions that a node must meet, and those that it should."""
    always = tuple(
        NodeTerm(key=label.key, operator="In", values=(label.value,))
        for label in platform.node_labels
    )
    of_devices = device_terms(devices, catalog, platform, notes)
    capacity, preferred = nodes.capacity_terms(spec, platform, notes)
    cheapest = cheapest_first(spec, devices, catalog, platform, notes)
    return (*always, *of_devices, *capacity), (*preferred, *cheapest)


def _as_selectors(
    terms: Sequence[NodeTerm], platform: Platform
) -> tuple[tuple[NodeTerm, ...], dict[str, str]]:
    """Split off the conditions of one value, for a platform that wants them as nodeSelector."""
    exact = [t for t in terms if platform.selectors and t.operator == "In" and len(t.values) == 1]
    rest = tuple(term for term in terms if term not in exact)
    return rest, {term.key: term.values[0] for term in exact}


def _annotations(spec: JobSpec, platform: Platform) -> dict[str, str]:
    on_demand = platform.on_demand_annotations if spec.spot is False else {}
    return {**platform.pod_annotations, **on_demand}


def _override_warnings(spec: JobSpec, notes: Notes) -> None:
    if "tolerations" in spec.pod:
        notes.warnings.append(
            "pod.tolerations replaces every toleration, as Kubernetes merges them; the option "
            "tolerations= adds to them"
        )
    containers = spec.pod.get("containers")
    for container in containers if isinstance(containers, list) else ():
        name = container.get("name") if isinstance(container, dict) else None
        if name is not None and name != CONTAINER:
            notes.warnings.append(
                f"pod.containers: the Job waits for {name!r} too, which must end by itself; a "
                'sidecar belongs in initContainers with restartPolicy: "Always"'
            )
