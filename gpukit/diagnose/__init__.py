"""Diagnosis: what a snapshot of a cluster says. Pure: the objects come in as plain data."""

from __future__ import annotations

from .nodes import NodeFacts, read_node
from .platforms import Recognition, recognise
from .run import state, why
from .snapshot import ClusterSnapshot
from .verdict import Fix, Verdict

__all__ = [
    "ClusterSnapshot", "Fix", "NodeFacts", "Recognition", "Verdict", "read_node", "recognise",
    "state", "why",
]  # fmt: skip
