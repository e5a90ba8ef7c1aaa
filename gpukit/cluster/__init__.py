"""The cluster: the only part of gpukit that imports the Kubernetes client."""

from __future__ import annotations

from .nodes import read_nodes

__all__ = ["read_nodes"]
