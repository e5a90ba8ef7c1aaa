"""Every figure of the FinOps guide, computed anew: the right value, to the last digit printed.

The list (``guide_vectors.json``) says what the guide prints; where that is wrong, the page
``docs/explanation/what-the-finops-guide-gets-wrong.md`` names both.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from gpukit.finops.allocation import Node, PodUse, allocate, mig_fraction, time_slice_fraction
from gpukit.finops.savings import (
    Part,
    cards_needed,
    combined_saving,
    fleet_cost,
    idle_waste,
    marked_up,
    payback_days,
    saved,
    transfer_cost,
    useful_capacity,
    with_lost_time,
)

REPOSITORY = Path(__file__).parents[2]
VECTORS = Path(__file__).parent / "guide_vectors.json"
PAGE = REPOSITORY / "docs" / "explanation" / "what-the-finops-guide-gets-wrong.md"

D = Decimal
Inputs = dict[str, Decimal]


def fleet(gpus: Decimal | int, rate: Decimal, hours: Decimal | int = 1) -> Decimal:
    found = fleet_cost([Part(int(gpus), rate, D(hours))])
    assert found is not None
    return found


def card(monthly: Decimal, share: Fraction | None) -> Decimal:
    """What a share of a card costs a month, by the allocation of nodes."""
    assert share is not None
    total = allocate(Node(monthly, 1), [PodUse("job", gpus=share)]).shares[0].total
    assert total is not None
    return total


def days(once: Decimal, per_day: Decimal) -> Decimal:
    found = payback_days(once, per_day)
    assert found is not None
    return found


REGION_SAVING = fleet(10, D("4.09") - D("2.60"), 24 * 30)
ECOM_AFTER = fleet(8, D("0.80"), 720) + fleet(4, D("2.60"), 720)
SAAS = fleet(50, D("0.66"), 720), fleet(8, D("0.66"), 720)
INVESTMENT, MONTHLY_SAVING = D(47500), D(65000)

SUMS: dict[str, Callable[[Inputs], Decimal | int]] = {
    "waste_13pct": lambda i: idle_waste(i["monthly"], i["util"]),
    "waste_13pct_x10": lambda i: idle_waste(fleet(i["gpus"], i["monthly"]), i["util"]),
    "h100_monthly_at_4.09": lambda i: fleet(1, i["rate"], i["hours"]),
    "cluster_idle_18pct": lambda i: idle_waste(fleet(i["gpus"], i["monthly"]), i["util"]),
    "cluster_monthly": lambda i: fleet(i["gpus"], i["monthly"]),
    "recovered_6_h100": lambda i: fleet(i["gpus"], i["monthly"]),
    "after_7_h100": lambda i: fleet(i["gpus"], i["monthly"]),
    "useful_capacity_before": lambda i: useful_capacity(int(i["gpus"]), i["util"]),
    "useful_capacity_after": lambda i: useful_capacity(int(i["gpus"]), i["util"]),
    "mem_waste_50_pods": lambda i: i["pods"] * (i["req"] - i["use"]),
    "mem_100_pods": lambda i: i["pods"] * i["p99"],
    "mig_cost_per_job": lambda i: card(i["monthly"], mig_fraction(1, 1)),
    "team_a_day": lambda i: fleet(1, i["rate"], 24),
    "team_a_month": lambda i: fleet(i["gpus"], i["rate"], 24 * 30),
    "team_b_day": lambda i: fleet(1, i["rate"], 24),
    "region_saving_month": lambda _: REGION_SAVING,
    "region_saving_pct": lambda _: saved(D("4.09"), D("2.60")),
    "transfer_10tb": lambda i: transfer_cost(i["tb"], i["rate"]),
    "payback_days": lambda i: days(i["transfer"], i["saving"] / 30),
    "spot_overhead_markup": lambda i: marked_up(i["spot"], i["ovh"]),
    "spot_overhead_lost": lambda i: with_lost_time(i["spot"], i["lost"]),
    "spot_saving_pct": lambda _: saved(D("4.00"), D("0.72")),
    "spot_headline_pct": lambda _: saved(D("4.00"), D("0.60")),
    "ecom_training_spot": lambda i: fleet(i["gpus"], i["rate"], i["hours"]),
    "ecom_inference": lambda i: fleet(i["gpus"], i["rate"], i["hours"]),
    "ecom_after": lambda _: ECOM_AFTER,
    "ecom_saving_guide_base": lambda _: D(28800) - ECOM_AFTER,
    "ecom_spot_share": lambda _: D(8) / 12,
    "saas_before": lambda i: fleet(i["gpus"], i["rate"], i["hours"]),
    "saas_before_aws": lambda i: fleet(i["gpus"], i["rate"], i["hours"]),
    "saas_gpus_needed": lambda _: cards_needed(50, 7),
    "saas_saving": lambda _: SAAS[0] - SAAS[1],
    "timeslice_per_dev": lambda i: card(
        i["monthly"], time_slice_fraction(1, int(i["replicas"]))
    ),
    "combined_60pct_spot": lambda _: combined_saving(D("0.75"), D("0.60")),
    "combined_72pct_spot": lambda _: combined_saving(D("0.75"), D("0.72")),
    "distill_after": lambda i: fleet(i["gpus"], i["rate"], i["hours"]),
    "distill_pct": lambda _: saved(fleet(20, D(4), 720), fleet(1, D(4), 720)),
    "distill_ratio": lambda _: D(175) / 6,
    "rightsize_mem": lambda _: marked_up(D("8.2"), D("0.2")),
    "transfer_50tb": lambda i: transfer_cost(i["tb"], i["rate"]),
    "transfer_50tb_months": lambda _: D(10000) / REGION_SAVING,
    "roi_labour": lambda _: D(150000) / 4,
    "roi_investment": lambda _: D(150000) / 4 + D(10000),
    "roi_payback_days": lambda _: days(INVESTMENT, MONTHLY_SAVING / 30),
    "roi_annual": lambda _: fleet(1, MONTHLY_SAVING, 12),
    "ai_spend_yoy": lambda _: -saved(D(62964), D(85521)),
    "mig_2g_count": lambda _: math.floor(Fraction(7, 2)),
}  # fmt: skip


def vectors() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(VECTORS.read_text(encoding="utf-8"))
    return found


def printed(value: Decimal | int, like: str) -> str:
    """Write a value with as many digits, and the sign, of the expected text."""
    number = like.rstrip("%x")
    places = len(number.partition(".")[2])
    scaled = D(value) * (100 if like.endswith("%") else 1)
    text = str(scaled.quantize(D(1).scaleb(-places), rounding="ROUND_HALF_UP"))
    return text + like[len(number) :]


@pytest.mark.parametrize("vector", vectors(), ids=lambda v: v["id"])
def test_vector(vector: dict[str, Any]) -> None:
    inputs = {name: D(str(value)) for name, value in vector["inputs"].items()}
    assert printed(SUMS[vector["id"]](inputs), vector["expected"]) == vector["expected"]


def test_every_vector_has_a_sum() -> None:
    assert {vector["id"] for vector in vectors()} == set(SUMS)
    assert len(SUMS) == 47


@pytest.mark.parametrize(
    "vector", [v for v in vectors() if not v["verdict"].startswith("RIGHT")], ids=lambda v: v["id"]
)
def test_the_page_names_what_is_not_right(vector: dict[str, Any]) -> None:
    """The page has the right value of every figure that is wrong, rough or inconsistent."""
    page = PAGE.read_text(encoding="utf-8").replace(",", "")
    value = vector["expected"]
    if value.endswith("%"):
        value = f"{value[:-1]} %"
    assert value in page, vector


def test_other_figures_of_the_guide() -> None:
    twelve, ten = fleet(12, D(4), 720), fleet(10, D(4), 720)
    assert (twelve, ten) == (D("34560.00"), D("28800.00"))  # the guide takes the second for twelve
    assert f"{twelve - ECOM_AFTER:.2f}" == "22464.00"
    assert f"{100 * saved(twelve, ECOM_AFTER):.2f}" == "65.00"
    assert f"{D(5000) / 730:.4f}" == "6.8493"
    assert f"{fleet(1, D('6.88'), 730):.2f}" == "5022.40"
    assert f"{fleet(1, D('4.09'), 720):.2f}" == "2944.80"
    assert f"{D('4.09') / D('2.60'):.3f}" == "1.573"
    assert f"{D('4.09') / D('2.10'):.3f}" == "1.948"
    assert f"{100 * saved(*SAAS):.2f}" == "84.00"
    assert f"{100 * saved(D(4), with_lost_time(D('0.60'), D('0.20'))):.2f}" == "81.25"
    assert f"{fleet(10, D('2.60'), 720):.2f}" == "18720.00"
    aws_pair = transfer_cost(D(10), D("0.02"))  # the usual price between two regions of AWS
    assert f"{aws_pair:.2f}" == "200.00"
    assert f"{days(aws_pair, REGION_SAVING / 30):.3f}" == "0.559"
    assert payback_days(D(500), D(10), recurring_per_day=D(10)) is None  # never


def test_unknown_rates_make_unknown_fleets() -> None:
    assert fleet_cost([Part(8, D(1)), Part(4, None)]) is None
