"""Facts as data: GPUs and their MIG profiles, machines, prices, platforms, with source and date."""

from __future__ import annotations

from .devices import Devices, choose_devices, devices_price
from .loader import load_catalog
from .machines import INSTANCE_TYPE, Machine
from .models import Catalog, Gpu
from .platforms import Mark, NodeLabel, Platform, Rule, Taint
from .prices import PodPrice, Price, pod_price

__all__ = [
    "INSTANCE_TYPE", "Catalog", "Devices", "Gpu", "Machine", "Mark", "NodeLabel", "Platform",
    "PodPrice", "Price", "Rule", "Taint", "choose_devices", "devices_price", "load_catalog",
    "pod_price",
]  # fmt: skip
