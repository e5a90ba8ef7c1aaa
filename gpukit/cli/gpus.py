"""``gpukit gpus``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gpukit.errors import UsageError, did_you_mean

from . import output
from .amounts import money
from .output import Column

if TYPE_CHECKING:
    from gpukit.catalog import Catalog, Gpu, PodPrice

__all__ = ["gpus"]


@click.command()
@click.argument("search", required=False)
@output.format_option("table", "json", "yaml")
def gpus(search: str | None, output_format: str) -> None:
    """List the GPUs that a profile can name, their MIG profiles, and list prices.

    SEARCH is a part of a GPU's name, or a MIG profile such as mig-1g.10gb.
    """
    from gpukit.catalog import load_catalog

    catalog = load_catalog()
    found = [gpu for gpu in catalog.gpus if search is None or _matches(gpu, search.lower())]
    if not found:
        names = [*catalog.names, *(f"mig-{profile}" for profile in catalog.mig_profiles)]
        raise UsageError(
            "gpu-search", f"no GPU matches {search!r}",
            did_you_mean(str(search), names, otherwise="`gpukit gpus` lists all of them"),
        )  # fmt: skip
    if output_format != "table":
        output.data([_plain(gpu, catalog) for gpu in found], output_format)
        return
    rows = [_row(gpu, _price(gpu, catalog)) for gpu in found]
    output.table(
        [Column("profile"), Column("GPU"), Column("memory", right=True),
         Column("$/h", right=True), Column("spot $/h", right=True),
         Column("MIG slices: mig-… × number on a GPU", wrap=True)],
        rows,
    )  # fmt: skip
    platform = catalog.platform("generic")
    output.talk(
        output.style(
            f"prices: {platform.price_cloud} {platform.price_region}, per GPU; "
            "- is unknown. Sources and dates: -o yaml",
            dim=True,
        )
    )


def _matches(gpu: Gpu, search: str) -> bool:
    if search.removeprefix("mig-") in gpu.mig:
        return True
    return search in gpu.name or search in gpu.title.lower() or search in gpu.family


def _price(gpu: Gpu, catalog: Catalog) -> PodPrice:
    from gpukit.catalog import pod_price

    platform = catalog.platform("generic")
    return pod_price(
        catalog.prices, gpu=gpu.name, count=1,
        cloud=platform.price_cloud, region=platform.price_region,
    )  # fmt: skip


def _row(gpu: Gpu, price: PodPrice) -> list[str]:
    return [
        output.style(gpu.name, bold=True),
        gpu.title,
        f"{gpu.memory_gb} GB",
        "-" if price.on_demand is None else money(price.on_demand)[1:],
        "-" if price.spot is None else money(price.spot)[1:],
        ", ".join(f"{profile} ×{count}" for profile, count in gpu.mig.items()) or "-",
    ]


def _plain(gpu: Gpu, catalog: Catalog) -> dict[str, object]:
    price = _price(gpu, catalog)
    return {
        **gpu.model_dump(mode="json"),
        "price": {
            "on_demand": None if price.on_demand is None else str(price.on_demand),
            "spot": None if price.spot is None else str(price.spot),
            "source": price.source,
            "as_of": None if price.as_of is None else price.as_of.isoformat(),
        },
    }
