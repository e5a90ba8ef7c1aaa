"""What a declaration became: the placement, and the reason for each part of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from pydantic import BaseModel, ConfigDict

from gpukit.catalog import PodPrice
from gpukit.locations import CheckpointLocation
from gpukit.spec import TolerationSpec

__all__ = ["NodeTerm", "Notes", "Placement", "Reason"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Reason(_Frozen):
    """Why one part of a placement is as it is, and where that is written."""

    field: str
    value: str
    why: str
    source: str = ""


class NodeTerm(_Frozen):
    """One condition on a node's labels; ``weight`` counts where it is a preference (1 to 100)."""

    key: str
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: tuple[str, ...] = ()
    weight: int = 100


class Placement(_Frozen):
    """Where and with what a pod runs.

    Attributes:
        platform: name of the platform.
        resource_name: the device resource that the pod asks for; None for none.
        count: how many of it.
        processes: trainer processes in the pod, one per GPU.
        node_terms: conditions that a node must meet, all of them.
        preferred_terms: conditions that a node should meet, each on its own.
        node_selector: labels that a node must have: the user's, and of platforms that want
            their conditions in this form.
        tolerations: taints that do not keep the pod away.
        pod_annotations: annotations that the platform wants on every pod.
        grace: seconds between SIGTERM and SIGKILL.
        cpu: millicores asked for.
        memory: bytes asked for, and the limit.
        shm: bytes of /dev/shm, a part of ``memory``.
        checkpoints: where checkpoints live; None: in the pod, and gone with it.
        price: what the pod costs per hour.
        spot: whether the pod is to run on spot capacity.
        warnings: what the user should know before it runs.
        reasons: why each part is as it is.
    """

    platform: str
    resource_name: str | None
    count: int
    processes: int
    node_terms: tuple[NodeTerm, ...]
    preferred_terms: tuple[NodeTerm, ...]
    node_selector: dict[str, str]
    tolerations: tuple[TolerationSpec, ...]
    pod_annotations: dict[str, str]
    grace: int
    cpu: int
    memory: int
    shm: int
    checkpoints: CheckpointLocation | None
    price: PodPrice
    spot: bool | Literal["prefer"]
    warnings: tuple[str, ...]
    reasons: tuple[Reason, ...]

    @property
    def price_per_hour(self) -> Decimal | None:
        """US dollars of the pod per hour: the spot price where it must run on spot."""
        return self.price.spot if self.spot is True else self.price.on_demand

    @property
    def durable(self) -> bool:
        """Tell whether the checkpoints outlive the pod."""
        return self.checkpoints is not None


@dataclass
class Notes:
    """Collects reasons and warnings while the placement is being made."""

    reasons: list[Reason] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def because(self, name: str, value: object, why: str, source: str = "") -> None:
        """Note why one part is as it is."""
        self.reasons.append(Reason(field=name, value=str(value), why=why, source=source))
