"""What makes a plan real: the operator's configuration, labels of nodes, nvidia-smi."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .plan import CardPlan, MigPlan

__all__ = ["Node", "config_map", "label_commands", "nodes_of", "smi_commands"]

_LABEL = "nvidia.com/mig.config"


@dataclass(frozen=True)
class Node:
    """A node and the cards in it.

    Attributes:
        name: its name, or a place for it.
        config: the entry of the configuration that it gets.
        cards: its cards, in the order of their numbers there; None is left whole.
    """

    name: str
    config: str
    cards: tuple[CardPlan | None, ...]

    @property
    def label(self) -> str:
        """The label that tells the MIG manager what to do."""
        return f"{_LABEL}={self.config}"


def nodes_of(plan: MigPlan, *, per_node: int, names: Sequence[str] = ()) -> tuple[Node, ...]:
    """Return the cards by node; nodes that are divided alike share one configuration.

    Args:
        plan: the plan.
        per_node: cards in a node.
        names: of the nodes; those that are missing are called NODE-1, NODE-2 and so on.
    """
    total = len(plan.cards) if plan.available is None else plan.available
    cards: list[CardPlan | None] = [*plan.cards, *[None] * (total - len(plan.cards))]
    if plan.available is None:  # nodes are bought whole
        cards += [None] * (-len(cards) % per_node)
    configs: dict[tuple[object, ...], str] = {}
    nodes = []
    for number, first in enumerate(range(0, len(cards), per_node)):
        chunk = tuple(cards[first : first + per_node])
        if not any(chunk):
            continue
        key = tuple(card and card.geometry for card in chunk)
        config = configs.setdefault(key, f"gpukit-{plan.card.gpu}-{len(configs) + 1}")
        name = names[number] if number < len(names) else f"NODE-{number + 1}"
        nodes.append(Node(name, config, chunk))
    return tuple(nodes)


def config_map(nodes: Sequence[Node], *, name: str, namespace: str) -> str:
    """Return the ConfigMap of the GPU Operator's MIG manager, as YAML.

    It holds ``all-disabled`` as well: the manager's default, which a custom ConfigMap must have
    (gpu-operator values.yaml, migManager.config.default), and ``all-enabled``.
    """
    lines = [
        "apiVersion: v1",
        "kind: ConfigMap",
        "metadata:",
        f"  name: {name}",
        f"  namespace: {namespace}",
        "data:",
        "  config.yaml: |",
    ]
    return "\n".join([*lines, *(f"    {line}" for line in _mig_parted(nodes))]) + "\n"


def label_commands(nodes: Sequence[Node], *, name: str) -> list[str]:
    """Return what makes the GPU Operator divide the cards; pods on them must have left."""
    policy = '{"spec": {"mig": {"strategy": "mixed"}, "migManager": {"config": {"name": "%s"}}}}'
    patch = "kubectl patch clusterpolicies.nvidia.com/cluster-policy --type merge -p"
    return [
        f"{patch} '{policy % name}'",
        *(f"kubectl label node {node.name} {node.label} --overwrite" for node in nodes),
    ]


def smi_commands(node: Node) -> list[str]:
    """Return the commands that divide the cards of a node without the GPU Operator.

    Largest first, since the driver refuses other orders; each with its start, so that it does not
    choose one that a later slice needs; ``-C`` since CUDA runs in compute instances only. The
    slices are gone after a reboot or a reset of the GPU.
    """
    found = []
    for index, card in enumerate(node.cards):
        if card is None:
            continue
        slices = ",".join(f"{one.slice.id}:{one.start}" for one in card.slices)
        names = ", ".join(_times(name, count) for name, count in card.geometry)
        found += [
            f"sudo nvidia-smi -i {index} -mig 1",
            f"sudo nvidia-smi mig -i {index} -cgi {slices} -C  # {names}",
        ]
    return found


def _times(name: str, count: int) -> str:
    return name if count == 1 else f"{count} x {name}"


def _mig_parted(nodes: Sequence[Node]) -> list[str]:
    lines = ["version: v1", "mig-configs:"]
    for word, enabled in (("all-disabled", "false"), ("all-enabled", "true")):
        lines += [f"  {word}:", "    - devices: all", f"      mig-enabled: {enabled}"]
        lines += ["      mig-devices: {}"] if enabled == "true" else []
    for config, cards in {node.config: node.cards for node in nodes}.items():
        lines.append(f"  {config}:")
        for geometry, indexes in _alike(cards).items():
            lines.append(f"    - devices: [{', '.join(map(str, indexes))}]")
            lines.append(f"      mig-enabled: {'true' if geometry else 'false'}")
            if geometry:
                lines.append("      mig-devices:")
                lines += [f'        "{profile}": {count}' for profile, count in geometry]
    return lines


def _alike(cards: Sequence[CardPlan | None]) -> dict[tuple[tuple[str, int], ...], list[int]]:
    found: dict[tuple[tuple[str, int], ...], list[int]] = {}
    for index, card in enumerate(cards):
        found.setdefault(card.geometry if card else (), []).append(index)
    return found
