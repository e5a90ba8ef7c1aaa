"""The small closed vocabulary of Kubernetes objects, and how gpukit's own are built of it."""

from __future__ import annotations

from .base import KubeObject, Metadata
from .objects import Claim, ConfigMap, Job
from .override import apply_override
from .pods import PodSpec, PodTemplate
from .yaml_text import to_yaml

__all__ = [
    "Claim", "ConfigMap", "Job", "KubeObject", "Metadata", "PodSpec", "PodTemplate",
    "apply_override", "to_yaml",
]  # fmt: skip
