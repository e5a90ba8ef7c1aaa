"""Plans for MIG: which slices, on which cards, for which jobs."""

from __future__ import annotations

from .emit import Node, config_map, label_commands, nodes_of, smi_commands
from .geometry import Geometries
from .pack import Packing, pack
from .plan import CardPlan, MigPlan, PlacedSlice, plan_mig
from .workloads import Workload, read_workloads, smallest_slice

__all__ = [
    "CardPlan", "Geometries", "MigPlan", "Node", "Packing", "PlacedSlice", "Workload",
    "config_map", "label_commands", "nodes_of", "pack", "plan_mig", "read_workloads",
    "smallest_slice", "smi_commands",
]  # fmt: skip
