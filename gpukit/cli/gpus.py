"""``gpukit gpus``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gpukit.errors import UsageError, did_you_mean

from . import output
from .amounts import money
from .output import Column

if TYPE_CHECKING:
    from gpukit.catalog import Catalog, Gpu, Platform, PodPrice, Price
    from gpukit.diagnose import NodeFacts, Recognition

__all__ = ["gpus"]

_LABELS = (
    "nvidia.com/gpu.product", "cloud.google.com/gke-accelerator",
    "karpenter.k8s.aws/instance-gpu-name", "eks.amazonaws.com/instance-gpu-name",
)  # fmt: skip


@click.command()
@click.argument("search", required=False)
@click.option("--cluster", is_flag=True, help="What the nodes of the current cluster offer.")
@click.option("--platform", default="generic", show_default=True, metavar="NAME",
              help="Only what it has machines with, at its prices.")  # fmt: skip
@click.option("--prices", type=click.Path(path_type=Path), metavar="FILE",
              help="Your own prices: TOML, or CSV of OpenCost or SkyPilot.")  # fmt: skip
@output.format_option("table", "json", "yaml")
def gpus(
    search: str | None, cluster: bool, platform: str, prices: Path | None, output_format: str
) -> None:
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
    if output_format == "table":
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
    output.talk(
        output.style(
            f"prices: {platform.price_cloud} {platform.price_region}, per GPU; "
            "- is unknown. All prices, sources and dates: -o yaml",
            dim=True,
        )
    )


def _row(gpu: Gpu, price: PodPrice) -> list[str]:
    return [
        output.style(gpu.name, bold=True),
        gpu.title,
        f"{gpu.memory_gb} GB",
        "-" if gpu.memory_mib is None else f"{gpu.memory_mib / 1024:.1f} GiB",
        "-" if price.on_demand is None else money(price.on_demand)[1:],
        "-" if price.spot is None else money(price.spot)[1:],
        ", ".join(f"{profile} ×{count}" for profile, count in gpu.mig.items()) or "-",
    ]


def _plain(gpu: Gpu, catalog: Catalog, platform: Platform) -> dict[str, object]:
    price = _price(gpu, catalog, platform)
    return {
        **gpu.model_dump(mode="json"),
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
        output.data(_plain_cluster(found, groups), output_format)
    elif groups:
        output.table(
            [Column("GPU"), Column("resource"), Column("nodes", right=True),
             Column("on each", right=True), Column("in all", right=True)],
            [[model, name, str(nodes), str(count), str(nodes * count)]
             for (model, name, count), nodes in sorted(groups.items())],
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


def _plain_cluster(found: Recognition, groups: Counter[tuple[str, str, int]]) -> dict[str, object]:
    return {
        "platform": found.platform.name,
        "because": found.why,
        "mig_strategy": found.platform.mig_strategy,
        "offers": dict(found.offers),
        "nodes": [
            {"gpu": model, "resource": name, "nodes": nodes, "each": count}
            for (model, name, count), nodes in sorted(groups.items())
        ],
        "warnings": list(found.warnings),
    }
