"""Diagnosis: what a snapshot of a cluster says. Pure: the objects come in as plain data."""

from __future__ import annotations

from .nodes import NodeFacts, read_node
from .platforms import Recognition, recognise
from .run import is_doubtful, state, why
from .snapshot import ClusterSnapshot
from .verdict import Fix, Verdict

__all__ = [
    "ClusterSnapshot", "Fix", "NodeFacts", "Recognition", "Verdict", "is_doubtful", "read_node",
    "recognise", "state", "why",
]  # fmt: skip
