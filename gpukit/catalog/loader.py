"""Reading the catalog's TOML files into frozen models."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from functools import lru_cache
from importlib.resources import files
from typing import Any

from .machines import read_families
from .models import Catalog

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover
    import tomli as tomllib

__all__ = ["load_catalog", "read_platforms", "read_price_lists"]

_MEMORY = {"smi": "memory_mib", "cuda": "cuda_mib"}


@lru_cache(maxsize=1)
def load_catalog() -> Catalog:
    """Return the catalog that comes with gpukit, read once per process."""
    gpus, machines, prices = _read("gpus.toml"), _read("instances.toml"), _read("prices.toml")
    families = [
        {**one, "source": machines["sources"][one["source"]], "as_of": machines["as_of"]}
        for one in machines["family"]
    ]
    return Catalog.model_validate(
        {
            "gpus": [_sourced(gpu, gpus["sources"]) for gpu in gpus["gpu"]],
            "aliases": gpus["aliases"],
            "price_names": gpus["price_names"],
            "machines": list(read_families(families)),
            "platforms": list(read_platforms(_read("platforms.toml")["platform"])),
            "prices": [*prices["price"], *read_price_lists(prices["list"])],
        }
    )


def read_platforms(
    tables: Iterable[Mapping[str, Any]], known: Mapping[str, Mapping[str, Any]] | None = None
) -> Iterator[dict[str, Any]]:
    """Fill in what a platform has from its ``base``, an earlier table or one of ``known``."""
    done = dict(known or {})
    for table in tables:
        base = done.get(table.get("base", ""), {})
        own = {key: value for key, value in table.items() if key != "base"}
        done[own["name"]] = {**base, **own}
        yield {**base, **own}


def read_price_lists(lists: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Spread out lists of on-demand prices that share a cloud and a region."""
    for one in lists:
        common = {key: value for key, value in one.items() if key != "machines"}
        for gpu, sku, gpus, price in one["machines"]:
            yield {**common, "gpu": gpu, "sku": sku, "gpus": gpus, "instance_hour": price}


def _sourced(gpu: Mapping[str, Any], sources: Mapping[str, str]) -> dict[str, Any]:
    read = [sources[by] for by, what in _MEMORY.items() if what in gpu]
    memory = {"memory_source": "; ".join(read)} if read else {}
    return {**gpu, **memory, "source": sources[gpu["source"]]}


def _read(name: str) -> dict[str, Any]:
    text = files(__package__).joinpath(name).read_text(encoding="utf-8")
    return tomllib.loads(text, parse_float=Decimal)
