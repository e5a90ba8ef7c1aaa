"""Smaller, faster models that are still good: quantization under an accuracy budget.

``quantize`` searches and writes a folder; ``benchmark`` times models side by side. Names are
loaded when they are used, so that importing this costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .api import quantize
    from .compare import BenchmarkReport, benchmark
    from .lab import Progress
    from .money import Money
    from .results import Report

__all__ = ["BenchmarkReport", "Money", "Progress", "Report", "benchmark", "quantize"]

_HOME = {
    "BenchmarkReport": "compare",
    "Money": "money",
    "Progress": "lab",
    "Report": "results",
    "benchmark": "compare",
    "quantize": "api",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value
