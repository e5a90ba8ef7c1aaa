"""Names of images, and the Python environment that stands for each."""

from __future__ import annotations

import sys
from pathlib import Path

__all__ = ["Images"]


class Images:
    """Which images can be pulled. By default those of PyTorch and Python, in any version.

    All of them are the environment that the tests run in; :meth:`add` names others, and another
    environment for them. An image that nobody has named cannot be pulled.
    """

    def __init__(self) -> None:
        self._known: dict[str, Path] = {}
        self.reset()

    def reset(self) -> None:
        """Have the images of the beginning again."""
        self._known = {name: Path(sys.prefix) for name in ("pytorch/pytorch", "python")}

    def add(self, name: str, environment: Path | None = None) -> None:
        """Have an image, in any version; ``environment`` has ``bin/python3``."""
        self._known[name] = environment or Path(sys.prefix)

    def remove(self, name: str) -> None:
        """Have it no longer."""
        self._known.pop(name, None)

    def find(self, image: str) -> Path | None:
        """Return the environment of an image; None where it cannot be pulled."""
        name = image.partition("@")[0]
        head, _, tail = name.rpartition("/")
        return self._known.get(f"{head}/{tail.partition(':')[0]}".lstrip("/"))
