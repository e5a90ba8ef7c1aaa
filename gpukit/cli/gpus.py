"""``gpukit gpus``."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gpukit.errors import UsageError, did_you_mean

from . import output
from .amounts import memory, money
from .output import Column

if TYPE_CHECKING:
    from gpukit.catalog import Catalog, Gpu, Platform, PodPrice, Price
    from gpukit.diagnose import NodeFacts, Recognition

__all__ = ["gpus", "how_to_ask"]

_LABELS = (
    "nvidia.com/gpu.product", "cloud.google.com/gke-accelerator",
    "karpenter.k8s.aws/instance-gpu-name", "eks.amazonaws.com/instance-gpu-name",
)  # fmt: skip


@click.command()
@click.argument("search", required=False)
@click.option("--cluster", is_flag=True, help="What the nodes of the current cluster offer.")
@click.option("--slices", is_flag=True, help="MIG slices, one a line: ids, sizes, places, prices.")
@click.option("--platform", default="generic", show_default=True, metavar="NAME",
              help="Only what it has machines with, at its prices.")  # fmt: skip
@click.option("--prices", type=click.Path(path_type=Path), metavar="FILE",
              help="Your own prices: TOML, or CSV of OpenCost or SkyPilot.")  # fmt: skip
@output.format_option("table", "json", "yaml")
def gpus(
    search: str | None, cluster: bool, slices: bool, platform: str, prices: Path | None,
    output_format: str,
) -> None:  # fmt: skip
    """List the GPUs that a profile can name, their MIG profiles, and list prices.

    SEARCH is a part of a GPU's name, or a MIG profile such as mig-1g.10gb.
    """
    from gpukit.runs.plan import own_catalog

    overlay = own_catalog(prices=prices)
    catalog = overlay.catalog
    if cluster:
        _show_cluster(catalog, output_format)
        return
    where = catalog.platform(platform)
    found = [gpu for gpu in _offered(catalog, where) if not search or _matches(gpu, search.lower())]
    if not found:
        names = [*catalog.names, *(f"mig-{profile}" for profile in catalog.mig_profiles)]
        raise UsageError(
            "gpu-search", f"no GPU matches {search!r}" + (f" on {platform}" if where.cloud else ""),
            did_you_mean(str(search), names, otherwise="`gpukit gpus` lists all of them"),
        )  # fmt: skip
    if output_format == "table" and slices:
        _show_slices(found, catalog, where)
    elif output_format == "table":
        _show_table(found, catalog, where)
    else:
        output.data([_plain(gpu, catalog, where) for gpu in found], output_format)
    for warning in overlay.warnings:
        output.warn(warning)


def _offered(catalog: Catalog, platform: Platform) -> list[Gpu]:
    there = {m.gpu for m in catalog.machines if m.cloud == platform.cloud}
    return [gpu for gpu in catalog.gpus if not platform.cloud or gpu.name in there]


def _matches(gpu: Gpu, search: str) -> bool:
    if search.removeprefix("mig-") in gpu.mig:
        return True
    names = (gpu.name, *gpu.variants, gpu.title.lower(), gpu.family)
    return any(search in name for name in names)


def _price(gpu: Gpu, catalog: Catalog, platform: Platform) -> PodPrice:
    from gpukit.catalog import pod_price

    return pod_price(
        catalog.prices, gpu=gpu.name, count=1, cloud=platform.price_cloud,
        region=platform.price_region, regions_else=platform.price_regions_else,
    )  # fmt: skip


def _show_table(found: list[Gpu], catalog: Catalog, platform: Platform) -> None:
    rows = [_row(gpu, _price(gpu, catalog, platform)) for gpu in found]
    output.table(
        [Column("profile"), Column("GPU"),
         Column("memory", right=True), Column("usable", right=True),
         Column("$/h", right=True), Column("spot $/h", right=True),
         Column("MIG slices: mig-… × number on a GPU", wrap=True)],
        rows,
    )  # fmt: skip
    _say_prices(platform)


def _say_prices(platform: Platform) -> None:
    output.talk(
        output.style(
            f"prices: {platform.price_cloud} {platform.price_region}, per GPU; "
            "- is unknown, ~ assumed. All prices, sources and dates: -o yaml",
            dim=True,
        )
    )


def _row(gpu: Gpu, price: PodPrice) -> list[str]:
    return [
        output.style(gpu.name, bold=True),
        gpu.title,
        f"{gpu.memory_gb} GB",
        memory(gpu.usable[0], seen=gpu.usable[1]),
        "-" if price.on_demand is None else money(price.on_demand)[1:],
        "-" if price.spot is None else money(price.spot)[1:],
        ", ".join(f"{profile} ×{count}" for profile, count in gpu.mig.items()) or "-",
    ]


def _show_slices(found: list[Gpu], catalog: Catalog, platform: Platform) -> None:
    from gpukit.catalog.mig import mig_cards

    rows = []
    for gpu in found:
        price, card = _price(gpu, catalog, platform).on_demand, mig_cards().get(gpu.name)
        for one in card.slices if card else ():
            if one.name not in gpu.mig:
                continue
            part = gpu.mig_fraction(one.name)
            rows.append([
                output.style(f"mig-{one.name}", bold=True), gpu.name, str(one.id),
                f"{one.compute}/{card.compute}" if card else "",
                f"{one.size}/{card.slots}" if card else "",
                memory(one.usable, seen=one.measured), str(gpu.mig[one.name]),
                ", ".join(map(str, one.starts)), str(part),
                "-" if price is None
                else money(price * part.numerator / part.denominator)[1:],
            ])  # fmt: skip
    if not rows:
        raise UsageError(
            "gpu-no-slices", "MIG divides none of these GPUs, or how is not known",
            "`gpukit gpus` shows which it divides",
        )  # fmt: skip
    output.table(
        [Column("profile"), Column("GPU"), Column("id", right=True),
         Column("compute", right=True), Column("memory", right=True), Column("usable", right=True),
         Column("most", right=True), Column("starts"), Column("part", right=True),
         Column("$/h", right=True)],
        rows,
    )  # fmt: skip
    _say_prices(platform)


def _plain_slices(gpu: Gpu) -> list[dict[str, object]]:
    from gpukit.catalog.mig import mig_cards

    card = mig_cards().get(gpu.name)
    if card is None:
        return []
    return [
        {
            "profile": f"mig-{one.name}", "id": one.id, "compute_slices": one.compute,
            "memory_slices": one.size, "most": gpu.mig[one.name], "starts": list(one.starts),
            "starts_seen": card.placements_seen, "usable_memory_bytes": one.usable,
            "usable_memory_seen": one.measured, "part": str(gpu.mig_fraction(one.name)),
            "source": f"{card.source}; {card.usable_source}", "as_of": card.as_of.isoformat(),
        }
        for one in card.slices
        if one.name in gpu.mig
    ]  # fmt: skip


def _plain(gpu: Gpu, catalog: Catalog, platform: Platform) -> dict[str, object]:
    price = _price(gpu, catalog, platform)
    return {
        **gpu.model_dump(mode="json"),
        "usable_memory_bytes": gpu.usable[0],
        "usable_memory_seen": gpu.usable[1],
        "slices": _plain_slices(gpu),
        "price": {
            "on_demand": None if price.on_demand is None else str(price.on_demand),
            "spot": None if price.spot is None else str(price.spot),
            "source": price.source,
            "as_of": None if price.as_of is None else price.as_of.isoformat(),
        },
        "prices": [_price_row(one) for one in catalog.prices if one.gpu == gpu.name],
        "machines": [
            {"cloud": m.cloud, "name": m.name, "gpus": m.gpus}
            for m in catalog.machines
            if m.gpu == gpu.name
        ],
    }


def _price_row(price: Price) -> dict[str, object]:
    amount, spot = price.on_demand_gpu_hour, price.spot_gpu_hour
    return {
        **price.model_dump(mode="json", include={"cloud", "region", "sku", "gpus", "own"}),
        "on_demand_gpu_hour": None if amount is None else str(amount),
        "spot_gpu_hour": None if spot is None else [str(one) for one in spot],
        "source": price.source,
        "as_of": price.age_from.isoformat(),
    }


def _show_cluster(catalog: Catalog, output_format: str) -> None:
    from gpukit.cluster import read_nodes
    from gpukit.diagnose import recognise

    found = recognise(read_nodes(), catalog.platforms)
    groups = Counter((_model(node), name, count) for node, name, count in _devices(found))
    if output_format != "table":
        output.data(_plain_cluster(found, groups, catalog), output_format)
    elif groups:
        rows = []
        for (model, name, count), nodes in sorted(groups.items()):
            profile, price = how_to_ask(model, name, catalog, found.platform)
            rows.append([
                model, name, str(nodes), str(count), str(nodes * count), profile or "-",
                "-" if price is None else money(price)[1:],
            ])  # fmt: skip
        output.table(
            [Column("GPU"), Column("resource"), Column("nodes", right=True),
             Column("on each", right=True), Column("in all", right=True), Column("profile"),
             Column("$/h", right=True)],
            rows,
        )  # fmt: skip
    else:
        output.talk("no node offers a GPU now")
    output.talk(output.style(f"platform {found.platform.name}: {found.why}", dim=True))
    for warning in found.warnings:
        output.warn(warning)


def _devices(found: Recognition) -> list[tuple[NodeFacts, str, int]]:
    return [(node, name, count) for node in found.nodes for name, count in node.devices.items()]


def _model(node: NodeFacts) -> str:
    return next((node.labels[label] for label in _LABELS if label in node.labels), "-")


def how_to_ask(
    model: str, resource: str, catalog: Catalog, platform: Platform
) -> tuple[str | None, Decimal | None]:
    """Return the profile that asks for a device, and its price; None where nobody knows."""
    product, _, slice_ = model.removesuffix("-SHARED").partition("-MIG-")
    slice_ = slice_ or resource.partition("/mig-")[2].removesuffix(".shared")
    if resource.endswith(".shared") or model.endswith("-SHARED"):
        return "shared", None
    gpu = catalog.gpu_of(product) or next(
        (g for m in catalog.machines if product in m.labels.values()
         for g in catalog.gpus if g.name == m.gpu), None,
    )  # fmt: skip
    if gpu is None:
        return None, None
    names = {name.replace("+", "."): name for name in gpu.mig}
    if slice_ and slice_ not in names:
        return None, None
    part = gpu.mig_fraction(names[slice_]) if slice_ else Fraction(1)
    price = _price(gpu, catalog, platform).on_demand
    cost = None if price is None else price * part.numerator / part.denominator
    return f"mig-{names[slice_]}" if slice_ else gpu.name, cost


def _plain_cluster(
    found: Recognition, groups: Counter[tuple[str, str, int]], catalog: Catalog
) -> dict[str, object]:
    rows = []
    for (model, name, count), nodes in sorted(groups.items()):
        profile, price = how_to_ask(model, name, catalog, found.platform)
        rows.append({
            "gpu": model, "resource": name, "nodes": nodes, "each": count, "profile": profile,
            "on_demand_hour": None if price is None else f"{price:.4f}",
        })  # fmt: skip
    return {
        "platform": found.platform.name,
        "because": found.why,
        "mig_strategy": found.platform.mig_strategy,
        "offers": dict(found.offers),
        "nodes": rows,
        "warnings": list(found.warnings),
    }
