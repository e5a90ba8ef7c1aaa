"""Price lists in the CSV forms of other tools: OpenCost's, and that of SkyPilot's catalog."""

from __future__ import annotations

import ast
import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal

from gpukit.errors import SpecError

from .models import Catalog
from .rows import Finding, Row, read_amount

__all__ = ["read_csv_prices"]

_OPENCOST = {"InstanceID", "AssetClass", "MarketPriceHourly"}
_SKYPILOT = {"InstanceType", "AcceleratorName", "AcceleratorCount", "Price", "Region"}


def read_csv_prices(
    text: str, catalog: Catalog, *, name: str, as_of: date
) -> tuple[list[Row], list[Finding]]:
    """Return the rows of a CSV price list, told apart by its head.

    Args:
        text: the file.
        catalog: says which machine has which GPU.
        name: of the file without its ending; the cloud of machines that the catalog lacks.
        as_of: date of the file, since the rows have none.

    Raises:
        SpecError: neither of the two forms.
    """
    lines = csv.DictReader(io.StringIO(text))
    head = {column.strip() for column in lines.fieldnames or ()}
    numbered = [(lines.line_num, _stripped(line)) for line in lines]
    if head >= _OPENCOST:
        return _opencost(numbered, catalog, as_of)
    if head >= _SKYPILOT:
        return _skypilot(numbered, catalog, name, as_of)
    raise SpecError(
        "prices-columns", f"{name}: not a price list that is known, by its columns",
        f"OpenCost's has {', '.join(sorted(_OPENCOST))}; SkyPilot's has "
        f"{', '.join(sorted(_SKYPILOT))}; or write TOML with [[price]] tables",
    )  # fmt: skip


def _stripped(line: Mapping[str, str | None]) -> dict[str, str]:
    return {str(k).strip(): (v or "").strip() for k, v in line.items() if isinstance(v, str | None)}


Numbered = Sequence[tuple[int, Mapping[str, str]]]


def _opencost(lines: Numbered, catalog: Catalog, as_of: date) -> tuple[list[Row], list[Finding]]:
    """Nodes by machine type, GPUs by name; other classes (disks) have nothing to do with us."""
    machines = {machine.name: machine for machine in catalog.machines}
    rows, findings = [], []
    for number, line in lines:
        kind, region = line["AssetClass"].lower(), line.get("Region") or "any"
        price = read_amount(line["MarketPriceHourly"])
        where = f"line {number}"
        machine = machines.get(line.get("InstanceType", "")) or machines.get(line["InstanceID"])
        if kind == "node" and machine is not None:
            rows.append(
                Row(f"{where}, {machine.name}", machine.gpu, machine.cloud, machine.name,
                    Decimal(machine.gpus), region, price, None, as_of)
            )  # fmt: skip
        elif kind == "node":
            what = line.get("InstanceType") or line["InstanceID"]
            message = f"{what} is no machine type with a GPU that the catalog knows"
            findings.append(Finding("machine-unknown", where, message, "left out"))
        elif kind == "gpu":
            gpu = line["InstanceID"].replace("_", "-")
            rows.append(
                Row(f"{where}, {gpu}", gpu, "own", gpu, Decimal(1), region, price, None, as_of,
                    per_gpu=True)
            )  # fmt: skip
    return rows, findings


def _skypilot(
    lines: Numbered, catalog: Catalog, name: str, as_of: date
) -> tuple[list[Row], list[Finding]]:
    clouds = {machine.name: machine.cloud for machine in catalog.machines}
    alone: list[tuple[str, Row]] = []
    hosts: list[tuple[str, Row]] = []
    rows: list[Row] = []
    for number, line in lines:
        sku, gpu = line["InstanceType"], line["AcceleratorName"]
        count = read_amount(line["AcceleratorCount"]) or Decimal(0)
        cloud = clouds.get(sku, "gcp" if not sku else name)
        row = Row(
            f"line {number}, {sku or gpu}", gpu, cloud, sku or f"{gpu} accel only", count,
            line["Region"], read_amount(line["Price"]), read_amount(line.get("SpotPrice")), as_of,
            memory_mib=_memory(line.get("GpuInfo", "")),
        )  # fmt: skip
        zone = line.get("AvailabilityZone", "")
        if not sku:
            alone.append((zone, row))
        elif gpu:
            rows.append(row)
        elif sku in clouds:
            hosts.append((zone, row))
    joined, findings = _joined(alone, hosts, catalog)
    return [*rows, *joined], findings


def _joined(
    alone: Iterable[tuple[str, Row]], hosts: Sequence[tuple[str, Row]], catalog: Catalog
) -> tuple[list[Row], list[Finding]]:
    """Add to GPUs that are listed alone (GCP) the machine around them, of the same zone.

    Both have to be there in the same zone: the least of each over all zones would be a price that
    can be had nowhere.
    """
    rows, findings = [], []
    for zone, row in alone:
        matches = list(_hosts_of(row, zone, hosts, catalog))
        rows += [
            replace(
                row, where=f"{row.where} with {host.sku}", sku=host.sku,
                price=_sum(row.price, host.price), spot=_sum(row.spot, host.spot),
            )
            for host in matches
        ]  # fmt: skip
        if not matches:
            rows.append(row)
            if catalog.gpu_of(row.gpu) is not None:
                message = "the GPUs alone: the machine around them comes on top"
                findings.append(Finding("host-missing", row.where, message, "kept"))
    return rows, findings


def _hosts_of(
    row: Row, zone: str, hosts: Sequence[tuple[str, Row]], catalog: Catalog
) -> Iterator[Row]:
    gpu = catalog.gpu_of(row.gpu)
    fitting = {m.name for m in catalog.machines if gpu and m.gpu == gpu.name and m.gpus == row.gpus}
    for host_zone, host in hosts:
        if (host.region, host_zone) == (row.region, zone) and host.sku in fitting:
            yield host


def _sum(first: Decimal | None, second: Decimal | None) -> Decimal | None:
    return None if first is None or second is None else first + second


def _memory(info: str) -> Decimal | None:
    """Read MemoryInfo.SizeInMiB out of GpuInfo, which is a dictionary as Python writes it."""
    try:
        parsed: object = ast.literal_eval(info)
    except (ValueError, SyntaxError):
        return None
    gpus = parsed.get("Gpus") if isinstance(parsed, dict) else None
    first = gpus[0] if isinstance(gpus, list) and gpus else None
    memory = first.get("MemoryInfo") if isinstance(first, dict) else None
    size = memory.get("SizeInMiB") if isinstance(memory, dict) else None
    return None if size is None else read_amount(str(size))
