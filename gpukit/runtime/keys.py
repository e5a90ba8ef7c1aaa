"""Keys of a store: ``a/b/c``, no part of them hidden."""

from __future__ import annotations

from gpukit.errors import StoreError

__all__ = ["check_key"]


def check_key(key: str) -> str:
    """Return the key, or refuse one that would leave the store.

    Raises:
        StoreError: the key is empty, absolute, or has a part that is hidden or ``..``.
    """
    if not key or any(not part or part.startswith(".") for part in key.split("/")):
        raise StoreError("store-key", f"{key!r} is not a key", "keys are a/b/c, no part hidden")
    return key
