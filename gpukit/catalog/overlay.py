"""The user's own prices, GPUs, machine types and platforms, laid over the catalog."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from gpukit.errors import SpecError, did_you_mean

from .loader import read_platforms, read_price_lists
from .machines import Machine, read_families
from .models import Catalog, Gpu
from .platforms import Platform
from .price_csv import read_csv_prices
from .rows import Finding, Row
from .validate import check_together, prices_of, spot_from_saving

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover
    import tomli as tomllib

__all__ = ["Overlay", "lay_over"]

M = TypeVar("M", bound=BaseModel)

_TABLES = ("price", "list", "gpu", "family", "platform", "aliases", "price_names")
_PRICE_KEYS = {
    "gpu", "cloud", "sku", "gpus", "region", "instance_hour", "gpu_hour", "spot_gpu_hour",
    "spot_saving", "source", "as_of",
}  # fmt: skip


@dataclass(frozen=True)
class Overlay:
    """The catalog with a file of the user's own over it, and what was wrong with the file."""

    catalog: Catalog
    findings: tuple[Finding, ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should know: what did not count as it stands, by kind."""
        kinds: dict[str, list[Finding]] = {}
        for finding in self.findings:
            if finding.effect != "kept" or finding.id in ("price-old", "host-missing"):
                kinds.setdefault(finding.id, []).append(finding)
        return tuple(
            f"prices: {group[0]}" + (f", and {len(group) - 1} more" if len(group) > 1 else "")
            for group in kinds.values()
        )


def lay_over(
    catalog: Catalog, text: str, *, name: str, as_of: date, today: date | None = None
) -> Overlay:
    """Return the catalog with a file of the user's own over it.

    Args:
        catalog: the one that comes with gpukit.
        text: the file: TOML in the form of the catalog's own files, or CSV of OpenCost or SkyPilot.
        name: of the file, with its ending.
        as_of: date of the file; prices without a date of their own have this one.
        today: for a word on old prices.

    Raises:
        SpecError: the file cannot be read as any of these.
    """
    stem, _, ending = name.rpartition(".")
    if ending.lower() == "csv":
        rows, found = read_csv_prices(text, catalog, name=stem, as_of=as_of)
        base = catalog
    else:
        tables = _toml(text, name)
        base, found = _with_tables(catalog, tables, name, as_of), []
        rows = [_row(one, number, name, as_of) for number, one in enumerate(_prices(tables), 1)]
    prices, more = prices_of(rows, base, name)
    together = check_together(prices, today)
    whole = _replaced(base, prices=(*prices, *base.prices))
    return Overlay(whole, (*found, *more, *together))


def _replaced(catalog: Catalog, **values: object) -> Catalog:
    """Return a catalog with other values, and nothing of what this one has worked out."""
    fields = {name: getattr(catalog, name) for name in Catalog.model_fields}
    return Catalog.model_construct(**{**fields, **values})


def _toml(text: str, name: str) -> dict[str, Any]:
    try:
        tables = tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        raise SpecError("prices-toml", f"{name} is not TOML: {error}", "correct the file") from None
    for table in tables:
        if table not in _TABLES:
            raise SpecError(
                "prices-table", f"{name}: there is no table {table!r}",
                did_you_mean(table, _TABLES, otherwise=f"the tables are {', '.join(_TABLES)}"),
            )  # fmt: skip
    return tables


def _prices(tables: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    yield from tables.get("price", ())
    yield from read_price_lists(tables.get("list", ()))


def _row(price: Mapping[str, Any], number: int, name: str, as_of: date) -> Row:
    where = f"price {number}, {price.get('sku') or price.get('gpu')}"
    wrong = next((key for key in price if key not in _PRICE_KEYS), None)
    if wrong is not None:
        raise SpecError(
            "prices-key", f"{name}: {where}: there is no {wrong!r}",
            did_you_mean(
                wrong, _PRICE_KEYS, otherwise=f"known are {', '.join(sorted(_PRICE_KEYS))}"
            ),
        )  # fmt: skip
    if "gpu" not in price or not {"instance_hour", "gpu_hour", "spot_gpu_hour"} & set(price):
        raise SpecError(
            "prices-incomplete", f"{name}: {where} has no GPU or no price",
            'write gpu = "h100" and instance_hour or gpu_hour, US dollars per hour',
        )  # fmt: skip
    gpus = Decimal(price.get("gpus", 1))
    per_gpu = "instance_hour" not in price
    amount = price.get("gpu_hour" if per_gpu else "instance_hour")
    return Row(
        where=where, gpu=str(price["gpu"]), cloud=str(price.get("cloud", "own")),
        sku=str(price.get("sku", price["gpu"])), gpus=gpus, region=str(price.get("region", "any")),
        price=None if amount is None else Decimal(str(amount)),
        spot=_spot(price, gpus, per_gpu=per_gpu), as_of=price.get("as_of", as_of), per_gpu=per_gpu,
    )  # fmt: skip


def _spot(price: Mapping[str, Any], gpus: Decimal, *, per_gpu: bool) -> Decimal | None:
    """Return the highest spot price, in the unit of the on-demand price."""
    given = price.get("spot_gpu_hour")
    if given is None and "spot_saving" in price:
        amount = price.get("gpu_hour" if per_gpu else "instance_hour")
        saving = Decimal(str(price["spot_saving"]))
        return None if amount is None else spot_from_saving(Decimal(str(amount)), saving)
    if given is None:
        return None
    highest = max(Decimal(str(one)) for one in (given if isinstance(given, list) else [given]))
    return highest if per_gpu else highest * gpus


def _with_tables(catalog: Catalog, tables: Mapping[str, Any], name: str, as_of: date) -> Catalog:
    """Add the GPUs, machine types and platforms; what has the name of a known one replaces it."""
    common = {"source": name, "as_of": as_of}
    gpus = _models(Gpu, ({**common, **one} for one in tables.get("gpu", ())), name)
    families = ({**common, **one} for one in tables.get("family", ()))
    machines = _models(Machine, read_families(list(families)), name)
    known = {platform.name: platform.model_dump() for platform in catalog.platforms}
    platforms = _models(Platform, read_platforms(tables.get("platform", ()), known), name)
    found = _replaced(
        catalog,
        gpus=_merged(catalog.gpus, gpus),
        machines=_merged(catalog.machines, machines),
        platforms=_merged(catalog.platforms, platforms),
        aliases={**catalog.aliases, **_tuples(tables.get("aliases", {}))},
        price_names={**catalog.price_names, **tables.get("price_names", {})},
    )
    _check_aliases(found, name)
    return found


def _check_aliases(catalog: Catalog, name: str) -> None:
    names = [gpu.name for gpu in catalog.gpus]
    for alias, members in catalog.aliases.items():
        for member in members:
            if member not in names:
                raise SpecError(
                    "prices-alias", f"{name}: aliases: {alias} means {member!r}, which is no GPU",
                    did_you_mean(member, names, otherwise="`gpukit gpus` lists them"),
                )  # fmt: skip


def _tuples(aliases: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(members) for name, members in aliases.items()}


def _merged(known: tuple[Any, ...], own: list[Any]) -> tuple[Any, ...]:
    names = {one.name for one in own}
    return (*(one for one in known if one.name not in names), *own)


def _models(model: type[M], tables: Iterable[Mapping[str, Any]], name: str) -> list[M]:
    found = []
    for table in tables:
        try:
            found.append(model.model_validate(table))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            field = ".".join(str(part) for part in first["loc"])
            near = did_you_mean(field, model.model_fields) if "extra" in first["type"] else ""
            raise SpecError(
                "prices-fact", f"{name}: {model.__name__.lower()} {table.get('name', '?')!r}: "
                f"{field}: {first['msg'].lower()}",
                near or "the catalog's own files show the form: gpukit/catalog/*.toml",
            ) from None  # fmt: skip
    return found
