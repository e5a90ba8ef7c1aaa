"""Placement: what a declaration becomes on a platform, and the reason for each part of it.

:func:`resolve` is pure: the same spec, catalog and date give the same placement.
"""

from __future__ import annotations

from datetime import date

from gpukit.catalog import Catalog, choose_devices
from gpukit.contract import CONTAINER
from gpukit.spec import JobSpec

from . import needs, nodes
from .model import NodeTerm, Notes, Placement, Reason

__all__ = ["NodeTerm", "Placement", "Reason", "resolve"]


def resolve(spec: JobSpec, catalog: Catalog, today: date | None = None) -> Placement:
    """Return what a declaration becomes on its platform.

    Args:
        spec: the declaration.
        catalog: the facts.
        today: for a word on the age of the price; without it nothing is said.

    Raises:
        PlacementError: no pod can satisfy it, or a budget cannot be kept.
    """
    notes = Notes()
    platform = catalog.platform(spec.platform)
    devices = choose_devices(spec.profile, spec.gpu, catalog, platform)
    device_terms = nodes.device_terms(devices, platform, notes)
    capacity_terms, preferred_terms = nodes.capacity_terms(spec, platform, notes)
    memory, shm = needs.choose_memory(spec, devices, notes)
    _override_warnings(spec, notes)
    return Placement(
        platform=platform.name,
        resource_name=devices.resource,
        count=devices.count,
        processes=devices.count if devices.kind == "full" else 1,
        node_terms=(*device_terms, *capacity_terms),
        preferred_terms=preferred_terms,
        node_selector=dict(sorted(spec.node_selector.items())),
        tolerations=nodes.tolerated(spec, devices, platform, notes),
        pod_annotations=dict(platform.pod_annotations),
        grace=needs.choose_grace(spec, platform, notes),
        cpu=needs.choose_cpu(spec, devices, notes),
        memory=memory,
        shm=shm,
        checkpoints=needs.choose_checkpoints(spec, notes),
        price=needs.find_price(spec, devices, catalog, platform, today, notes),
        spot=spec.spot,
        warnings=tuple(notes.warnings),
        reasons=tuple(notes.reasons),
    )


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
