"""Small pods for tests of the cluster itself."""

from __future__ import annotations

import textwrap
from typing import Any

from tests.cluster.api import Json

__all__ = ["python_pod"]


def python_pod(name: str, code: str, *, container: Json | None = None, **spec: Any) -> Json:
    """Return a pod that runs Python code; ``container`` and ``spec`` add fields."""
    main: Json = {
        "name": "main",
        "image": "python:3.12",
        "command": ["python3", "-u", "-c", textwrap.dedent(code)],
        **(container or {}),
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"restartPolicy": "Never", "containers": [main], **spec},
    }
