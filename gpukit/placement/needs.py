"""What the pod needs and costs: CPU, memory, time to stop, a place for checkpoints, money."""

from __future__ import annotations

from datetime import date
from fractions import Fraction

from gpukit.catalog import Catalog, Devices, Machine, Platform, PodPrice, devices_price
from gpukit.catalog.prices import STALE_DAYS
from gpukit.errors import PlacementError
from gpukit.locations import CheckpointLocation
from gpukit.quantity import format_bytes, format_cpu, format_money, parse_bytes
from gpukit.spec import JobSpec

from .model import Notes

__all__ = [
    "choose_checkpoints",
    "choose_cpu",
    "choose_grace",
    "choose_memory",
    "find_price",
    "saves",
]

_GIB = 2**30
_STATE = Fraction(3, 4)
"""Of a GPU's memory, what weights and optimizer are at most: AdamW in fp32 has 12 bytes of them for
each 4 of gradients, which no checkpoint holds."""
_ALLOCATABLE = Fraction(17, 20)
"""Of a machine's memory, what kubelet, system and daemons leave for pods, with some to spare."""
_DEFAULT_CLAIM = parse_bytes("20Gi")


def choose_grace(spec: JobSpec, platform: Platform, notes: Notes) -> int:
    """Return the seconds between SIGTERM and SIGKILL; the pod override has the last word."""
    own = spec.pod.get("terminationGracePeriodSeconds")
    spot = spec.spot is not False
    if isinstance(own, int) and not isinstance(own, bool):
        notes.because("grace", f"{own}s", "the pod override says so", "pod")
        if spot and platform.spot_notice is not None and own > platform.spot_notice:
            hint = f"; {platform.spot_notice_hint}" if platform.spot_notice_hint else ""
            notes.warnings.append(
                f"grace of {own} s: when spot capacity is taken back, a pod on {platform.title} "
                f"has {platform.spot_notice} s at most ({platform.spot_source}){hint}"
            )
        return own
    grace = platform.spot_grace if spot else platform.grace
    why = platform.spot_grace_why if spot else platform.grace_why
    notes.because("grace", f"{grace}s", why, platform.spot_source if spot else "")
    return grace


def choose_cpu(spec: JobSpec, devices: Devices, notes: Notes) -> int:
    """Return the millicores to ask for."""
    chosen = spec.cpu or (3000 * devices.count if devices.kind == "full" else 2000)
    why = "declared" if spec.cpu else _default_size(devices)
    notes.because("cpu", format_cpu(chosen), f"{why}; a request without a limit")
    return chosen


def saves(spec: JobSpec) -> bool:
    """Tell whether checkpoints are kept: a place is named, or needed."""
    wanted = spec.spot is not False or spec.checkpoint_every is not None
    return wanted or spec.checkpoints is not None


def choose_memory(
    spec: JobSpec, devices: Devices, catalog: Catalog, platform: Platform, notes: Notes
) -> tuple[int, int]:
    """Return the bytes of memory to ask for, and those of /dev/shm, which are a part of it.

    Snapshots for checkpoints lie in anonymous shared memory: not below /dev/shm, but counted
    against the limit all the same.

    Args:
        spec: the declaration.
        devices: what it asks for.
        catalog: knows the machines.
        platform: where it runs.
        notes: takes the reasons.
    """
    default = {"full": 12 * devices.count, "mig": 8, "shared": 8, "cpu": 4}[devices.kind] * _GIB
    snapshot = (
        0 if spec.memory or not saves(spec) else _snapshot(devices, default, catalog, platform)
    )
    memory = spec.memory or max(default + snapshot, 2 * (spec.shm or 0))
    why = "declared" if spec.memory else _default_size(devices)
    if not spec.memory and memory > default + snapshot:
        why = "twice the declared shm, which is a part of it"
    if snapshot:
        why += (
            f"; {format_bytes(snapshot)} more for a snapshot of the model and its optimizer, "
            "which can be 3/4 of the GPU's memory: every machine known with it has that much"
        )
    elif saves(spec):
        why += "; a snapshot of the model and its optimizer has to fit into it, or saves are slower"
    shm = spec.shm or (memory - snapshot) // 2
    notes.because("memory", format_bytes(memory), f"{why}; request and limit")
    half = "half of what is for the job itself" if snapshot else "half of memory"
    notes.because(
        "shm", format_bytes(shm), "declared" if spec.shm else f"{half}, of which it is a part"
    )
    return memory, shm


def _snapshot(devices: Devices, beside: int, catalog: Catalog, platform: Platform) -> int:
    """Return the bytes that a snapshot may take, 0 where not every machine has them.

    Args:
        devices: what the pod asks for.
        beside: bytes that the job itself gets.
        catalog: knows the machines.
        platform: where it runs.
    """
    if devices.kind == "full":
        largest = max((gpu.usable[0] for gpu in devices.gpus), default=0) * devices.count
    elif devices.kind == "mig":
        largest = int(str(devices.mig).partition("g.")[2].partition("gb")[0]) * _GIB
    else:
        return 0
    size = -(-int(largest * _STATE) // _GIB) * _GIB
    machines = catalog.machines_with(devices.gpus, platform.cloud)
    rooms = [room for machine in machines if (room := _share(machine, devices))]
    return size if rooms and beside + size <= min(rooms) else 0


def _share(machine: Machine, devices: Devices) -> int:
    """Return the bytes of a machine's memory that are the pod's, by its part of the GPUs."""
    if machine.memory_gib is None or devices.count > machine.gpus * _most(machine, devices):
        return 0
    whole = int(machine.memory_gib * _GIB * _ALLOCATABLE)
    return whole * devices.count // (machine.gpus * _most(machine, devices))


def _most(machine: Machine, devices: Devices) -> int:
    """Return how many such devices a GPU of the machine is."""
    if devices.kind != "mig":
        return 1
    return next(gpu.mig[str(devices.mig)] for gpu in devices.gpus if gpu.name == machine.gpu)


def _default_size(devices: Devices) -> str:
    if devices.kind == "full":
        return "3 CPUs and 12Gi a GPU fit the smallest machines with one GPU (4 vCPU, 16 GiB)"
    if devices.kind == "cpu":
        return "default of profile cpu"
    return "default of a share of a GPU, so that all shares of a machine fit beside each other"


def choose_checkpoints(spec: JobSpec, notes: Notes) -> CheckpointLocation | None:
    """Return where checkpoints live; None where nothing needs to outlive the pod."""
    chosen = spec.checkpoints
    if chosen is None and saves(spec):
        chosen = CheckpointLocation(kind="new", size=_DEFAULT_CLAIM)
        cause = "spot" if spec.spot is not False else "checkpoint_every"
        notes.because("checkpoints", chosen, f"{cause} needs a place that outlives the pod")
    elif chosen is not None:
        notes.because("checkpoints", chosen, "declared")
    else:
        notes.because(
            "checkpoints", "none", "neither spot nor checkpoint_every: an interrupted run starts "
            "from the beginning",
        )  # fmt: skip
    if chosen is not None and chosen.kind == "new" and spec.spot is not False:
        notes.warnings.append(
            "checkpoints on a new block volume: most are zonal, and the next attempt waits until "
            "the volume has left the lost node and there is a node in its zone; an object store "
            '(checkpoints="s3://…") or a shared claim ("pvc:NAME") has no such wait'
        )
    return chosen


def find_price(
    spec: JobSpec, devices: Devices, catalog: Catalog, platform: Platform, today: date | None,
    notes: Notes, *, cpu: int = 0, memory: int = 0,
) -> PodPrice:  # fmt: skip
    """Return what the pod costs per hour.

    Raises:
        PlacementError: there is a budget, and the price is unknown.
    """
    price = devices_price(devices, catalog, platform, cpu=cpu, memory=memory)
    amount = price.spot if spec.spot is True else price.on_demand
    if amount is None and spec.max_cost is not None:
        why = price.source if price.on_demand is None else "its spot price is unknown"
        raise PlacementError(
            "budget-without-price",
            f"max_cost={format_money(spec.max_cost)} cannot be kept: {why}",
            "limit the running time with timeout=, or name a GPU whose price is known "
            "(`gpukit gpus`)",
        )
    source = price.source + (f", as of {price.as_of}" if price.as_of else "")
    text = "unknown" if amount is None else f"{format_money(amount)}/h"
    notes.because("price", text, "highest spot price seen" if spec.spot is True and amount
                  else "list price" if amount else "unknown is not 0", source)  # fmt: skip
    if amount is not None and today and price.as_of and (today - price.as_of).days > STALE_DAYS:
        notes.warnings.append(
            f"the price {text} is {(today - price.as_of).days} days old ({source})"
        )
    return price
