"""What a cluster runs on, as data: its words for GPUs and spot capacity, and its rules."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Mark", "NodeLabel", "Platform", "Rule", "Taint"]

Tag = Literal[
    "full", "mig", "shared", "cpu", "multi", "any-gpu", "media-engines", "alternatives", "spot",
    "prefer", "on-demand",
]  # fmt: skip
"""What a rule can ask of a declaration; see :func:`gpukit.placement.rules.tags_of`."""


class _Fact(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class NodeLabel(_Fact):
    """A label of nodes, with the values that are meant."""

    key: str
    value: str


class Taint(_Fact):
    """A taint of nodes; without a value, any value of the key is meant."""

    key: str
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]


class Mark(_Fact):
    """What shows that a node belongs to a platform; all that is given must hold.

    Attributes:
        label: key of a label that the node has.
        value: its value; without it, any.
        provider: how the node's ``spec.providerID`` begins.
        name: how the node's name begins.
    """

    label: str | None = None
    value: str | None = None
    provider: str = ""
    name: str = ""

    def fits(self, name: str, labels: Mapping[str, str], provider: str) -> bool:
        """Tell whether a node has the mark."""
        if self.label is not None:
            if self.label not in labels:
                return False
            if self.value is not None and labels[self.label] != self.value:
                return False
        return provider.startswith(self.provider) and name.startswith(self.name)


class Rule(_Fact):
    """Something that a platform cannot do, or does only under a condition.

    Attributes:
        id: of the error, or of the warning.
        when: it concerns declarations with all of these tags.
        unless_selector: it does not where the user's ``node_selector`` has this key.
        action: whether such a declaration is refused or warned about.
        message: what is wrong; ``{resource}``, ``{gpus}`` and ``{mig}`` are filled in.
        hint: what to do.
        source: where that is written.
    """

    id: str
    when: tuple[Tag, ...] = Field(min_length=1)
    unless_selector: str | None = None
    action: Literal["refuse", "warn"]
    message: str
    hint: str
    source: str

    def concerns(self, tags: Collection[str], selector: Mapping[str, str]) -> bool:
        """Tell whether a declaration with these tags is concerned."""
        return set(self.when) <= set(tags) and self.unless_selector not in selector


class Platform(_Fact):
    """What a cluster runs on, and what that means for a pod.

    Attributes:
        name: the word of the option ``platform``.
        title: what it is, for a person.
        cloud: whose machine types it has; empty for machines of one's own.
        full_resource: resource name of whole GPUs.
        mig_strategy: how MIG devices are asked for. ``mixed``: a resource for each profile.
            ``single``: as whole GPUs, told apart by the product label. ``partition``: as whole
            GPUs, told apart by ``mig_label``.
        mig_resource: prefix of the resource names under ``mixed``; the profile follows, ``+``
            as ``.``.
        mig_label: node label with the profile under ``partition``.
        shared_resource: resource name of time-sliced GPUs.
        shared_label: node label of machines that share their GPUs, where the resource's name does
            not say so.
        shared_values: values of it that mean sharing.
        product_label: node label that GPU Feature Discovery gives the GPU's model in.
        gpu_labels: node labels by which the GPU is chosen, each with the machine type's property
            that it holds: ``name``, or one of the machine type's ``labels``. Empty: the product
            label is used, and a pool at zero nodes has none.
        sharing_label: node label of GPU Feature Discovery that says how GPUs are shared.
        single_mig_label: node label that only nodes have whose ``full_resource`` counts slices.
        whole_absent: labels that a node with whole GPUs has not.
        node_labels: labels that every pod's node must have.
        selectors: conditions of one value are written as nodeSelector, not as affinity.
        gpu_taint: key of the taint that keeps others off GPU nodes.
        taints: more taints of GPU nodes that are usual there.
        grace: seconds between SIGTERM and SIGKILL that can be counted on, on demand.
        spot_grace: the same on spot capacity.
        grace_why: why that much.
        spot_grace_why: why that much on spot.
        spot_notice: seconds that a pod has at most when spot capacity is taken back.
        spot_notice_hint: what could be done for more.
        spot_required: labels that ``spot=True`` requires; empty where none is common.
        spot_labels: labels that mark spot nodes.
        spot_avoided: on demand, nodes with these labels are avoided; false where the taints do it.
        spot_taints: taints of spot nodes.
        pod_annotations: annotations of every pod.
        on_demand_annotations: annotations of pods on demand only.
        from_zero: what the choice of the GPU means for a pool that is at zero nodes.
        rules: what cannot work, or only under a condition.
        marks: what shows that a node belongs to this platform, any of them.
        rank: of the platforms whose marks a node has, the one with the highest rank counts.
        price_cloud: whose list prices stand for this platform.
        price_region: in which region.
        price_regions_else: in which regions where none is known of that one.
        source: where the words of the device plugin were read.
        spot_source: where those of spot capacity were read.
        as_of: when.
    """

    name: str
    title: str
    cloud: str = ""
    full_resource: str
    mig_strategy: Literal["mixed", "single", "partition"] = "mixed"
    mig_resource: str
    mig_label: str = ""
    shared_resource: str
    shared_label: str = ""
    shared_values: tuple[str, ...] = ()
    product_label: str
    gpu_labels: Mapping[str, str] = Field(default_factory=dict)
    sharing_label: str = ""
    single_mig_label: str = ""
    whole_absent: tuple[str, ...] = ()
    node_labels: tuple[NodeLabel, ...] = ()
    selectors: bool = False
    gpu_taint: str
    taints: tuple[Taint, ...] = ()
    grace: int = Field(gt=0)
    spot_grace: int = Field(gt=0)
    grace_why: str
    spot_grace_why: str
    spot_notice: int | None = None
    spot_notice_hint: str = ""
    spot_required: tuple[NodeLabel, ...] = ()
    spot_labels: tuple[NodeLabel, ...] = ()
    spot_avoided: bool = True
    spot_taints: tuple[Taint, ...] = ()
    pod_annotations: Mapping[str, str] = Field(default_factory=dict)
    on_demand_annotations: Mapping[str, str] = Field(default_factory=dict)
    from_zero: str
    rules: tuple[Rule, ...] = ()
    marks: tuple[Mark, ...] = ()
    rank: int = 0
    price_cloud: str
    price_region: str
    price_regions_else: tuple[str, ...] = ()
    source: str
    spot_source: str
    as_of: date
