"""docs/reference/gpus.md, made from the catalog by ``make docs``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path

from gpukit.catalog import Catalog, Gpu, Machine, Platform, Price, load_catalog
from gpukit.catalog.mig import mig_cards
from gpukit.catalog.prices import STALE_DAYS
from gpukit.catalog.validate import check_together

__all__ = ["PAGE", "gpus_page"]

PAGE = Path(__file__).parent / "reference" / "gpus.md"

HEAD = f"""# GPUs, platforms and prices

<!-- Written from gpukit/catalog/*.toml; do not edit. -->

What gpukit knows, and where it was read. `gpukit gpus` shows the same for one platform, with prices
of your own; `gpukit gpus --cluster` what the nodes of the current cluster offer. An empty cell is
unknown, which is never taken as 0. A price that is older than {STALE_DAYS} days is said to be old
where it is used.
"""

OWN = """## Prices and facts of your own

A file that `prices = "…"` in `[tool.gpukit]` of pyproject.toml or in the user's config.toml,
`GPUKIT_PRICES` or `--prices FILE` names goes before the catalog. Three forms are read:

- TOML with the tables of the catalog's own files, for example

  ```toml
  [[price]]
  gpu = "h100"
  cloud = "aws"
  sku = "p5.48xlarge"
  gpus = 8
  region = "us-east-1"
  instance_hour = 41.50      # the whole machine; or gpu_hour = 5.19
  spot_gpu_hour = [2.1, 2.4] # of one GPU

  [[platform]]
  name = "ours"
  base = "aks"               # what is left out is as there
  mig_strategy = "single"
  ```

  and `[[gpu]]`, `[[family]]` (machine types), `[aliases]` and `[price_names]`.
- CSV in the form of OpenCost (`EndTimestamp,InstanceID,Region,AssetClass,…`): nodes by machine
  type, GPUs by name.
- CSV in the form of SkyPilot's catalog (`InstanceType,AcceleratorName,…,Price,SpotPrice,Region,…`).
  GPUs that are listed without their machine (GCP) are joined with the machine of the same zone.

Price lists are dirty. A row is left out where spot is above on-demand or the GPU is unknown; a
price becomes unknown where it is empty, not positive, outside of $0.02 to $60 per GPU and hour, or,
on spot, equal to on-demand; the number of GPUs of a known machine is corrected. Old lists, prices
far from those of other regions and prices that do not grow with the GPUs are told.
"""


def gpus_page() -> str:
    """Return the page."""
    catalog = load_catalog()
    parts = [
        HEAD, "## GPUs", *_gpus(catalog.gpus), _memory(catalog.gpus),
        "## MIG slices", *_slices(),
        "## Names that mean several", *_aliases(catalog),
        "## Platforms", *_platforms(catalog.platforms), "### What is refused or warned about",
        *_rules(catalog.platforms), "## Machine types", *_machines(catalog.machines), "## Prices",
        "US dollars per GPU and hour.", *_prices(catalog.prices), "### Odd, but as listed",
        *_odd(catalog), OWN,
    ]  # fmt: skip
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    lines = [head, ["---"] * len(head), *rows]
    yield "\n".join("| " + " | ".join(_cell(c) for c in line) + " |" for line in lines)


def _cell(value: object) -> str:
    return "" if value is None else str(value).replace("|", "\\|")


def _codes(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _gpus(gpus: Sequence[Gpu]) -> Iterator[str]:
    return _table(
        ("name", "GPU", "family", "usable", "`nvidia.com/gpu.product`", "MIG profile × most",
         "source", "as of"),
        (
            (f"`{g.name}`", g.title, g.family,
             f"{'' if g.usable[1] else '~ '}{g.usable[0] / 2**30:.1f} GiB",
             _codes(g.products), ", ".join(f"`{m}` ×{n}" for m, n in g.mig.items()),
             g.source, g.as_of)
            for g in gpus
        ),
    )  # fmt: skip


def _memory(gpus: Sequence[Gpu]) -> str:
    source = max((gpu.memory_source for gpu in gpus), key=len)
    return (
        "Usable is what CUDA offers on the whole GPU: less than nvidia-smi shows, which is less "
        "than the name says, and a process's CUDA context takes some hundred MiB of it. Values "
        f"after ~ are 97 % of what nvidia-smi shows, or of the name. Read from: {source}."
    )


def _slices() -> Iterator[str]:
    cards = mig_cards().values()
    return _table(
        ("GPU", "profile", "id", "compute", "memory", "usable", "starts", "source", "as of"),
        (
            (f"`{card.gpu}`", f"`mig-{one.name}`", one.id, f"{one.compute}/{card.compute}",
             f"{one.size}/{card.slots}",
             f"{'' if one.measured else '~ '}{one.usable / 2**30:.2f} GiB",
             ", ".join(map(str, one.starts)) + ("" if card.placements_seen else " (assumed)"),
             f"{card.source}; {card.usable_source}", card.as_of)
            for card in cards
            for one in card.slices
        ),
    )  # fmt: skip


def _aliases(catalog: Catalog) -> Iterator[str]:
    rows = [(f"`{name}`", _codes(members), "") for name, members in catalog.aliases.items()]
    rows += [
        (f"`{name}`", f"`{gpu.name}`", _codes(products))
        for gpu in catalog.gpus
        for name, products in gpu.variants.items()
    ]
    return _table(("name", "GPUs", "only with the label"), rows)


def _platforms(platforms: Sequence[Platform]) -> Iterator[str]:
    return _table(
        ("`platform=`", "what", "the GPU is chosen by", "a MIG slice is", "a share is",
         "spot label", "spot taint", "grace, on spot", "a pool at zero nodes", "source", "as of"),
        (
            (f"`{p.name}`", p.title, _codes(p.gpu_labels or [p.product_label]), _slice(p),
             f"`{p.shared_resource}`" + (f" by `{p.shared_label}`" if p.shared_label else ""),
             _codes(f"{label.key}={label.value}" for label in p.spot_labels),
             _codes(f"{taint.key}{'=' + taint.value if taint.value else ''}"
                    for taint in p.spot_taints),
             f"{p.grace} s, {p.spot_grace} s: {p.spot_grace_why}", p.from_zero,
             f"{p.source}; {p.spot_source}", p.as_of)
            for p in platforms
        ),
    )  # fmt: skip


def _slice(platform: Platform) -> str:
    if platform.mig_strategy == "mixed":
        return f"`{platform.mig_resource}1g.10gb`"
    label = platform.mig_label or platform.product_label
    return f"`{platform.full_resource}` by `{label}`"


def _rules(platforms: Sequence[Platform]) -> Iterator[str]:
    return _table(
        ("platform", "asked for", "", "because", "do", "source"),
        (
            (f"`{p.name}`", ", ".join(r.when)
             + (f", unless node_selector has `{r.unless_selector}`" if r.unless_selector else ""),
             {"refuse": "refused", "warn": "warned"}[r.action], _generic(r.message),
             _generic(r.hint), r.source)
            for p in platforms
            for r in p.rules
        ),
    )  # fmt: skip


def _generic(text: str) -> str:
    return text.format(resource="nvidia.com/mig-1g.10gb", gpus="several GPUs", mig="1g.10gb+me")


def _machines(machines: Sequence[Machine]) -> Iterator[str]:
    groups: dict[tuple[str, ...], list[Machine]] = {}
    for m in machines:
        key = (m.cloud, m.gpu, m.product, str(m.labels.get("accelerator", "")), m.source)
        groups.setdefault(key, []).append(m)
    return _table(
        ("cloud", "GPU", "product", "machine types × GPUs", "source", "as of"),
        (
            (cloud, f"`{gpu}`", f"`{product}`" + (f", `{accelerator}`" if accelerator else ""),
             ", ".join(f"{m.name} ×{m.gpus}" for m in group), source, group[0].as_of)
            for (cloud, gpu, product, accelerator, source), group in groups.items()
        ),
    )  # fmt: skip


def _prices(prices: Sequence[Price]) -> Iterator[str]:
    ordered = sorted(prices, key=lambda p: (p.gpu, p.cloud, p.region, p.gpus, p.sku))
    return _table(
        ("GPU", "cloud", "region", "machine", "GPUs", "on demand", "spot seen", "source", "as of"),
        (
            (f"`{p.gpu}`", p.cloud, p.region, p.sku, p.gpus, _money(p.on_demand_gpu_hour),
             _range(p.spot_gpu_hour),
             p.source + (f"; spot: {p.spot_source}" if p.spot_source else ""), p.age_from)
            for p in ordered
        ),
    )  # fmt: skip


def _money(amount: Decimal | None) -> str | None:
    return None if amount is None else str(amount.quantize(Decimal("0.0001")))


def _range(spot: tuple[Decimal, Decimal] | None) -> str | None:
    if spot is None:
        return None
    return str(spot[0]) if spot[0] == spot[1] else f"{spot[0]}–{spot[1]}"


def _odd(catalog: Catalog) -> Iterator[str]:
    rows = [(f.where, f.message) for f in check_together(catalog.prices)]
    return _table(("price", "what is odd"), rows)
