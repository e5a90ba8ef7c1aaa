"""Reading the catalog's TOML files into frozen models."""

from __future__ import annotations

import sys
from decimal import Decimal
from functools import lru_cache
from importlib.resources import files
from typing import Any

from .models import Catalog

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover
    import tomli as tomllib

__all__ = ["load_catalog"]


@lru_cache(maxsize=1)
def load_catalog() -> Catalog:
    """Return the catalog that comes with gpukit, read once per process."""
    gpus = _read("gpus.toml")
    sources: dict[str, str] = gpus["sources"]
    return Catalog.model_validate(
        {
            "gpus": [{**gpu, "source": sources[gpu["source"]]} for gpu in gpus["gpu"]],
            "aliases": gpus["aliases"],
            "platforms": _read("platforms.toml")["platform"],
            "prices": _read("prices.toml")["price"],
        }
    )


def _read(name: str) -> dict[str, Any]:
    text = files(__package__).joinpath(name).read_text(encoding="utf-8")
    return tomllib.loads(text, parse_float=Decimal)
