"""``gpukit mig-plan``: the fewest cards for a list of workloads, and how to divide them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gpukit.errors import UsageError
from gpukit.quantity import format_bytes

from . import output
from .output import Column

if TYPE_CHECKING:
    from gpukit.finops.mig import CardPlan, MigPlan, Node

__all__ = ["mig_plan"]

_NODE = 8
_GIB = 2**30


@click.command("mig-plan")
@click.argument("workloads", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@click.option("--gpus", required=True, metavar="GPU[:CARDS]",
              help="The GPU, and how many there are; alone, as many as it takes.")  # fmt: skip
@click.option("--gpus-per-node", type=click.IntRange(1, 16), metavar="N",
              help=f"Cards in a node; all of them in one, up to {_NODE}, by default.")  # fmt: skip
@click.option("--node", "names", multiple=True, metavar="NAME",
              help="Name of a node, once for each, for the labels.")  # fmt: skip
@click.option("--name", default="gpukit-mig-plan", show_default=True, metavar="NAME",
              help="Name of the ConfigMap.")  # fmt: skip
@click.option("--namespace", default="gpu-operator", show_default=True, metavar="NAME",
              help="Namespace of the GPU Operator.")  # fmt: skip
@output.format_option("table", "json", "yaml", "config", "commands")
def mig_plan(
    workloads: Path, gpus: str, gpus_per_node: int | None, names: tuple[str, ...], name: str,
    namespace: str, output_format: str,
) -> None:  # fmt: skip
    """Pack the jobs of WORKLOADS on the fewest cards, as slices.

    \b
    WORKLOADS is YAML or JSON (- is stdin):
      workloads:
      - {name: serve, memory: 8Gi, count: 12}              the peak that each job needs
      - {name: train, memory: 30Gi, compute: 3, count: 2}  and compute slices, of 7 (or 4)
      - {name: video, memory: 4Gi, media: true}            with the engines of a +me profile
      - {name: old, profile: 2g.20gb}                      a profile of one's own choice

    -o config is the ConfigMap for the GPU Operator, -o commands what to run.
    """  # noqa: D301 - click's mark of a block
    from gpukit.catalog import load_catalog
    from gpukit.finops import mig

    gpu, available = _pool(gpus)
    found = mig.read_workloads(_data(workloads))
    plan = mig.plan_mig(found, gpu, load_catalog(), available=available)
    per_node = gpus_per_node or min(_NODE, available or len(plan.cards))
    nodes = mig.nodes_of(plan, per_node=per_node, names=names)
    config = mig.config_map(nodes, name=name, namespace=namespace)
    if output_format == "config":
        output.text(config)
    elif output_format == "commands":
        output.text(_script(nodes, name))
    elif output_format == "table":
        _show(plan, nodes)
    else:
        output.data({**_plain(plan, nodes, name), "config_map": config}, output_format)
    for note in plan.notes:
        output.warn(note)


def _pool(text: str) -> tuple[str, int | None]:
    gpu, colon, number = text.strip().lower().partition(":")
    if not gpu or "," in text or (colon and not (number.isascii() and number.isdigit())):
        raise UsageError(
            "mig-gpus", f"--gpus {text!r} is not a GPU and a number of cards",
            "write --gpus h100:4, or --gpus h100 for as many as it takes; a plan is for one GPU",
        )  # fmt: skip
    if colon and not 1 <= int(number) <= 100_000:
        raise UsageError(
            "mig-gpus", f"--gpus {text!r}: {number} is not a number of cards", "write 1 or more"
        )
    return gpu, int(number) if colon else None


def _data(path: Path) -> object:
    import yaml

    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
        data: object = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            "workloads-read", f"{path} cannot be read: {error}", "name a file of workloads, or -"
        ) from None
    except yaml.YAMLError as error:
        raise UsageError(
            "workloads-yaml", f"{path} is not YAML: {error}", "correct it at that line"
        ) from None
    return data


def _show(plan: MigPlan, nodes: tuple[Node, ...]) -> None:
    output.table(
        [Column("workload"), Column("jobs", right=True), Column("memory", right=True),
         Column("profile"), Column("usable", right=True), Column("resource")],
        [
            [output.style(w.name, bold=True), str(w.count),
             format_bytes(w.memory) if w.memory else "-", one.name, _gib(one.usable), one.resource]
            for w, one in plan.chosen
        ],
    )  # fmt: skip
    output.text("")
    output.table(
        [Column("node"), Column("GPU", right=True), Column("slices", wrap=True),
         Column("jobs", wrap=True), Column("room for", wrap=True), Column("stranded", wrap=True)],
        [
            [node.name, str(index), *_row(card)]
            for node in nodes
            for index, card in enumerate(node.cards)
        ],
    )  # fmt: skip
    output.talk()
    output.talk(output.style(_verdict(plan), bold=True))
    output.talk(_left_over(plan))
    output.talk(
        output.style("the ConfigMap: -o config; labels and nvidia-smi: -o commands", dim=True)
    )


def _row(card: CardPlan | None) -> list[str]:
    if card is None:
        return ["whole", "-", "-", "-"]
    stranded = [f"{card.stranded_compute} compute"] if card.stranded_compute else []
    stranded += [f"{card.stranded_slots} memory"] if card.stranded_slots else []
    return [
        _counted([one.slice.name for one in card.slices]),
        _counted([one.workload for one in card.slices]),
        _counted([one.name for one in card.room]) or "-",
        ", ".join(stranded) or "-",
    ]


def _counted(words: list[str]) -> str:
    counts = {word: words.count(word) for word in dict.fromkeys(words)}
    return ", ".join(word if n == 1 else f"{n} × {word}" for word, n in counts.items())


def _verdict(plan: MigPlan) -> str:
    of = f" of {plan.available}" if plan.available is not None else ""
    proof = (
        "fewer are impossible" if plan.proven else f"at least {plan.bound} are needed: not proven"
    )
    return f"{plan.jobs} jobs on {len(plan.cards)}{of} cards of {plan.card.gpu}; {proof}"


def _left_over(plan: MigPlan) -> str:
    cards, card = plan.cards, plan.card
    compute, slots = len(cards) * card.compute, len(cards) * card.slots
    return (
        f"idle: {_part(sum(c.idle_compute for c in cards), compute)} of compute, "
        f"{_part(sum(c.idle_slots for c in cards), slots)} of memory; stranded, since no profile "
        f"fits: {_part(sum(c.stranded_compute for c in cards), compute)} and "
        f"{_part(sum(c.stranded_slots for c in cards), slots)}; inside the slices "
        f"{_gib(plan.slack)} more than asked for"
    )


def _part(count: int, total: int) -> str:
    return f"{100 * count / total:.0f} %"


def _gib(count: int) -> str:
    return f"{count * 100 // _GIB / 100:g} GiB"


def _script(nodes: tuple[Node, ...], name: str) -> str:
    from gpukit.finops.mig import label_commands, smi_commands

    lines = [
        "# With the GPU Operator, after `kubectl apply -f` of the ConfigMap (-o config), and after",
        "# the pods on these GPUs have gone (kubectl cordon, kubectl drain):",
        *label_commands(nodes, name=name),
        "# progress: kubectl get nodes -L nvidia.com/mig.config,nvidia.com/mig.config.state",
    ]
    lines += ["", "# Without it, on the node itself; gone after a reboot:"]
    for node in nodes:
        lines += [f"# {node.name}", *(f"# {line}" for line in smi_commands(node))]
    return "\n".join(lines) + "\n"


def _plain(plan: MigPlan, nodes: tuple[Node, ...], name: str) -> dict[str, Any]:
    from gpukit.finops.mig import label_commands, smi_commands

    return {
        "gpu": plan.card.gpu,
        "jobs": plan.jobs,
        "cards": len(plan.cards),
        "cards_available": plan.available,
        "cards_free": plan.free,
        "lower_bound": plan.bound,
        "proven_optimal": plan.proven,
        "slack_bytes": plan.slack,
        "workloads": [
            {"name": w.name, "count": w.count, "memory": w.memory, "compute": w.compute,
             "profile": one.name, "usable_bytes": one.usable, "measured": one.measured,
             "resource": one.resource}
            for w, one in plan.chosen
        ],
        "nodes": [
            {"name": node.name, "label": node.label,
             "gpus": [_plain_card(i, card) for i, card in enumerate(node.cards)],
             "nvidia_smi": smi_commands(node)}
            for node in nodes
        ],
        "commands": label_commands(nodes, name=name),
        "notes": list(plan.notes),
        "source": {"placements": plan.card.source, "usable": plan.card.usable_source,
                   "as_of": plan.card.as_of.isoformat()},
    }  # fmt: skip


def _plain_card(index: int, card: CardPlan | None) -> dict[str, Any]:
    if card is None:
        return {"index": index, "mig": False}
    return {
        "index": index,
        "mig": True,
        "slices": [
            {"profile": p.slice.name, "id": p.slice.id, "start": p.start, "size": p.slice.size,
             "workload": p.workload}
            for p in card.slices
        ],
        "room": [one.name for one in card.room],
        "idle": {"compute": card.idle_compute, "memory_slots": card.idle_slots},
        "stranded": {"compute": card.stranded_compute, "memory_slots": card.stranded_slots},
    }  # fmt: skip
