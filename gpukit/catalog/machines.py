"""Machine types of the clouds: how many of which GPU, and what their nodes' labels say of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["INSTANCE_TYPE", "Machine", "read_families"]

INSTANCE_TYPE = "node.kubernetes.io/instance-type"
"""The node label with the machine type; autoscalers know it before there is a node."""


_ROW = ("name", "gpus", "vcpus", "memory_gib")


class Machine(BaseModel):
    """One machine type.

    Attributes:
        cloud: whose.
        name: as the node label ``node.kubernetes.io/instance-type`` has it.
        gpu: name of the GPU in the catalog.
        product: value of the node label ``nvidia.com/gpu.product`` on it.
        gpus: how many GPUs.
        vcpus: CPUs as Kubernetes counts them; None where not known.
        memory_gib: memory; None where not known.
        labels: values of the cloud's own node labels, by a short word for each.
        source: where this was read.
        as_of: when.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cloud: str
    name: str
    gpu: str
    product: str
    gpus: int = Field(gt=0, le=16)
    vcpus: int | None = Field(None, gt=0)
    memory_gib: int | None = Field(None, gt=0)
    labels: Mapping[str, str] = Field(default_factory=dict)
    source: str
    as_of: date

    def holds(self, millicores: int, memory: int) -> bool:
        """Tell whether it has more CPU and memory than that; unknown sizes count as enough."""
        enough_cpu = self.vcpus is None or self.vcpus * 1000 > millicores
        return enough_cpu and (self.memory_gib is None or self.memory_gib * 2**30 > memory)

    def value(self, word: str) -> str | None:
        """Return what the node label behind a word of ``Platform.gpu_labels`` holds."""
        return self.name if word == "name" else self.labels.get(word)


def read_families(families: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Spread out families of machines that share a GPU, written as rows of numbers."""
    for family in families:
        common = {key: value for key, value in family.items() if key != "machines"}
        for row in family["machines"]:
            yield {
                **common,
                **dict(zip(("name", "gpus", "vcpus", "memory_gib"), row, strict=False)),
            }
