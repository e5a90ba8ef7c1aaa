"""The cluster: a thin client of the API server, and what gpukit does with its objects."""

from __future__ import annotations

from .nodes import read_nodes

__all__ = ["read_nodes"]
