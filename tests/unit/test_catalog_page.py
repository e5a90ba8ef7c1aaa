"""The page of the reference is made from the catalog, and every row of it has a source."""

from __future__ import annotations

import re

from docs.gpus_page import PAGE, gpus_page
from gpukit.catalog import load_catalog
from gpukit.catalog.mig import mig_cards

CATALOG = load_catalog()


def tables(text: str) -> list[list[list[str]]]:
    found: list[list[list[str]]] = []
    for block in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        rows = [[c.strip() for c in re.split(r"(?<!\\)\|", r)[1:-1]] for r in block.splitlines()]
        found.append([rows[0], *rows[2:]])
    return found


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == gpus_page(), "make docs"


def test_every_row_has_a_source_and_all_facts_are_there() -> None:
    sourced = [table for table in tables(gpus_page()) if "source" in table[0]]
    assert len(sourced) == 6
    for head, *rows in sourced:
        assert rows
        for row in rows:
            assert len(row) == len(head), row
            assert row[head.index("source")], row
            assert "as of" not in head or re.fullmatch(r"20\d\d-\d\d-\d\d", row[-1]), row
    gpus, slices, platforms, _rules, _machines, prices = (table[1:] for table in sourced)
    assert [row[0].strip("`") for row in gpus] == [gpu.name for gpu in CATALOG.gpus]
    assert {row[0].strip("`") for row in slices} == set(mig_cards())
    assert [row[0].strip("`") for row in platforms] == [p.name for p in CATALOG.platforms]
    assert len(prices) == len(CATALOG.prices)
    text = gpus_page()
    assert all(machine.name in text for machine in CATALOG.machines)


def test_an_unknown_price_is_an_empty_cell() -> None:
    [b300] = [p for p in CATALOG.prices if p.gpu == "b300"]
    assert b300.spot_gpu_hour is None
    line = next(line for line in gpus_page().splitlines() if "p6-b300.48xlarge | 8" in line)
    assert "| 17.8020 |  |" in line
