"""Facts as data: GPUs and their MIG profiles, prices, platforms, each with source and date."""

from __future__ import annotations

from .devices import Devices, choose_devices, devices_price
from .loader import load_catalog
from .models import Catalog, Gpu, NodeLabel, Platform, Taint
from .prices import PodPrice, Price, pod_price

__all__ = [
    "Catalog", "Devices", "Gpu", "NodeLabel", "Platform", "PodPrice", "Price", "Taint",
    "choose_devices", "devices_price", "load_catalog", "pod_price",
]  # fmt: skip
