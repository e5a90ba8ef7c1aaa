"""Diagnosis: what a snapshot of a cluster says. Pure: the objects come in as plain data."""

from __future__ import annotations

from .nodes import NodeFacts, read_node
from .platforms import Recognition, recognise

__all__ = ["NodeFacts", "Recognition", "read_node", "recognise"]
