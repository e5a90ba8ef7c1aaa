"""Choosing the GPU by what a cloud's autoscaler knows before there is a node."""

from __future__ import annotations

from collections.abc import Sequence

from gpukit.catalog import INSTANCE_TYPE, Catalog, Devices, Machine, Platform

from .model import NodeTerm

__all__ = ["by_name", "machine_terms"]


def machine_terms(
    devices: Devices, catalog: Catalog, platform: Platform
) -> tuple[tuple[NodeTerm, ...], tuple[Machine, ...]]:
    """Return the conditions that exactly the right machine types meet, and those machine types.

    The platform's labels are taken one after the other until they admit no machine with another
    GPU: ``a100`` alone is both A100s to Karpenter, the memory beside it tells them apart. Where
    even all of them together admit another (``["a100-40gb", "h100"]``: memory 40960 or 81920, so
    an A100 of 80 GB too), the machine types are named.
    """
    wanted = catalog.machines_with(devices.gpus, platform.cloud)
    others = [m for m in catalog.machines if m.cloud == platform.cloud and m not in wanted]
    fitting = tuple(m for m in wanted if m.gpus >= devices.count)
    terms: list[NodeTerm] = []
    for key, word in platform.gpu_labels.items():
        chosen = fitting if word == "name" else wanted
        values = tuple(dict.fromkeys(v for m in chosen if (v := m.value(word)) is not None))
        terms.append(NodeTerm(key=key, operator="In", values=values))
        others = [m for m in others if m.value(word) in values]
        if values and not others:
            return tuple(terms), fitting
    return (by_name(fitting),), fitting


def by_name(machines: Sequence[Machine]) -> NodeTerm:
    """Return the condition that a node is of one of these machine types."""
    return NodeTerm(key=INSTANCE_TYPE, operator="In", values=tuple(m.name for m in machines))
