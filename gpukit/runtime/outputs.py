"""What the function left in ``gpukit.output_dir()``: kept with the run, wherever that lives."""

from __future__ import annotations

import os
from pathlib import Path

from . import log
from .environment import Environment
from .store import DirectoryStore, Store

__all__ = ["upload"]

_FOLDER = "outputs"


def upload(store: Store, environment: Environment) -> None:
    """Copy the outputs to an object store; in a directory they are there already.

    Raises:
        StoreError: the store cannot be used.
    """
    if isinstance(store, DirectoryStore):
        return
    root = environment.work / _FOLDER
    for base, folders, files in os.walk(root):
        folders.sort()
        for name in sorted(files):
            path = Path(base) / name
            parts = path.relative_to(root).parts
            if any(part.startswith(".") for part in parts):
                log.say(f"the hidden output {path.relative_to(root)} is not kept")
            else:
                store.put_file("/".join((_FOLDER, *parts)), path)
