"""A checkpoint from which the trainer crashed twice is not loaded a third time.

Each restore notes which checkpoint it took, ``record/restore-00003.json``, before it is put to use:
one that kills the process on the way has been counted.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from gpukit.ladder import Cause
from gpukit.runtime.store import Store

from .manifest import CheckpointName

__all__ = ["CRASHES", "Quarantine"]

CRASHES = 2
"""So many crashes from one checkpoint, without a newer one, and an older one is taken."""


class Quarantine:
    """Reads from the run record what became of the attempts that began at a checkpoint.

    Args:
        store: the run's store.
        attempt: the attempt that reads; 0 where there is no record.
    """

    def __init__(self, store: Store, attempt: int) -> None:
        self._store = store
        self._attempt = attempt

    def note(self, name: CheckpointName) -> None:
        """Note that this attempt begins at that checkpoint."""
        if self._attempt:
            data = json.dumps({"checkpoint": str(name)}).encode()
            self._store.put(f"record/restore-{self._attempt:05d}.json", data)

    def reason(self, name: CheckpointName) -> str:
        """Return why the checkpoint is not to be loaded; "" where it may be."""
        crashed = [n for n in range(1, self._attempt) if self._crashed_from(n, name)]
        if len(crashed) < CRASHES:
            return ""
        attempts = " and ".join(str(number) for number in crashed[-CRASHES:])
        return f"quarantined: attempts {attempts} began at it and crashed"

    def _crashed_from(self, attempt: int, name: CheckpointName) -> bool:
        began = self._read(f"record/restore-{attempt:05d}.json").get("checkpoint")
        end = self._read(f"record/attempt-{attempt:05d}.end.json")
        of_itself = "SIGKILL" not in str(end.get("reason"))  # else somebody killed it
        return began == str(name) and end.get("cause") == Cause.CRASH.value and of_itself

    def _read(self, key: str) -> dict[str, Any]:
        with suppress(ValueError):
            found = json.loads(self._store.get(key) or b"{}")
            if isinstance(found, dict):
                return found
        return {}
