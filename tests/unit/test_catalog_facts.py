"""The facts beside one another, and beside the price list that they were read from."""

from __future__ import annotations

import csv
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from gpukit.catalog import INSTANCE_TYPE, load_catalog, pod_price
from gpukit.catalog.mig import mig_cards
from gpukit.catalog.prices import STALE_DAYS
from gpukit.catalog.rows import COUNTS, PLAUSIBLE
from gpukit.catalog.validate import check_together
from gpukit.naming import validate_label_key, validate_label_value
from gpukit.placement import resolve
from gpukit.spec import make_spec

CATALOG = load_catalog()
OBSERVED = Path(__file__).parents[3] / "shared" / "facts" / "observed_prices.csv"
NEWEST = max(price.as_of for price in CATALOG.prices)

_OTHER_NAMES = {
    ("H100-80", "NC40ads_H100_v5"): "h100-nvl",  # the list is wrong: Azure has 94 GB cards there
}


def test_every_fact_has_a_source_and_a_date() -> None:
    facts = [
        *((fact.source, fact.as_of) for fact in CATALOG.gpus),
        *((fact.source, fact.as_of) for fact in CATALOG.machines),
        *((fact.source, fact.as_of) for fact in CATALOG.platforms),
        *((fact.source, fact.as_of) for fact in CATALOG.prices),
    ]
    for source, as_of in facts:
        assert len(source) > 10
        assert date(2025, 1, 1) < as_of < date(2027, 1, 1)
    for platform in CATALOG.platforms:
        assert len(platform.spot_source) > 10
        assert all(len(rule.source) > 10 for rule in platform.rules), platform.name


def test_usable_memory_is_below_the_name_and_has_a_source() -> None:
    for gpu in CATALOG.gpus:
        assert (gpu.memory_mib is None) is not bool(gpu.memory_source)
        if gpu.memory_mib is not None:
            assert 0.9 * gpu.memory_gb * 1024 < gpu.memory_mib <= gpu.memory_gb * 1024
            assert 0.969 < gpu.usable[0] / 2**20 / gpu.memory_mib < 1, "the driver keeps some"
        if card := mig_cards().get(gpu.name):
            for one in card.slices:
                whole = one.size == card.slots
                assert whole or one.usable <= gpu.usable[0], (gpu.name, one.name)


def test_machines_have_gpus_of_the_catalog_and_their_labels() -> None:
    products = {gpu.name: gpu.products for gpu in CATALOG.gpus}
    for machine in CATALOG.machines:
        assert machine.product in products[machine.gpu], machine
        assert machine.gpus in COUNTS
        for value in machine.labels.values():
            validate_label_value(value, machine.name)
    names = [(machine.cloud, machine.name) for machine in CATALOG.machines]
    assert len(set(names)) == len(names)
    for platform in CATALOG.platforms:
        if INSTANCE_TYPE in platform.gpu_labels or platform.cloud == "aws":
            for machine in CATALOG.machines:
                if machine.cloud == platform.cloud:
                    validate_label_value(machine.name, "instance type")


def test_platforms_speak_in_valid_labels_and_offer_machines() -> None:
    clouds = {machine.cloud for machine in CATALOG.machines}
    for platform in CATALOG.platforms:
        assert platform.cloud in {"", *clouds}
        assert platform.spot_grace <= (platform.spot_notice or platform.spot_grace)
        keys = (
            *platform.gpu_labels, *platform.whole_absent, platform.product_label,
            *(label.key for label in (*platform.spot_labels, *platform.node_labels)),
            *(taint.key for taint in (*platform.taints, *platform.spot_taints)),
            *(mark.label for mark in platform.marks if mark.label),
        )  # fmt: skip
        for key in keys:
            validate_label_key(key)


def test_machines_and_prices_agree_on_the_number_of_gpus() -> None:
    known = {(m.cloud, m.name): m for m in CATALOG.machines}
    for price in CATALOG.prices:
        machine = known.get((price.cloud, price.sku))
        if machine is not None:
            assert (price.gpu, price.gpus) == (machine.gpu, machine.gpus), price


def test_no_price_is_newer_than_the_release_or_than_its_source() -> None:
    for price in CATALOG.prices:
        assert price.age_from <= price.as_of <= NEWEST
        for amount in (price.on_demand_gpu_hour, *(price.spot_gpu_hour or ())):
            assert amount is None or PLAUSIBLE[0] <= amount <= PLAUSIBLE[1]


def test_old_prices_are_flagged_when_they_are_used() -> None:
    for gpu in ("h100", "l4"):
        spec = make_spec({"profile": gpu})
        price = resolve(spec, CATALOG).price
        assert price.as_of is not None
        for days, old in ((STALE_DAYS, False), (STALE_DAYS + 1, True)):
            today = date.fromordinal(price.as_of.toordinal() + days)
            warnings = resolve(spec, CATALOG, today).warnings
            assert any(f"{days} days old" in warning for warning in warnings) is old
    ids = [finding.id for finding in check_together(CATALOG.prices, date(2026, 8, 1))]
    aged = [price for price in CATALOG.prices if (date(2026, 8, 1) - price.age_from).days > 30]
    assert ids.count("price-old") == len(aged) > 0
    assert "price-from-future" not in ids


def test_what_is_odd_in_our_own_prices_is_known() -> None:
    odd = {str(f) for f in check_together(CATALOG.prices) if f.id == "region-outlier"}
    assert odd == set()


@pytest.mark.skipif(not OBSERVED.is_file(), reason="the list of observed prices is not here")
def test_every_observed_price_is_in_the_catalog() -> None:
    with OBSERVED.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 30
    for row in rows:
        name = _OTHER_NAMES.get((row["gpu"], row["sku"]))
        gpu = CATALOG.gpu_of(name or row["gpu"].replace("-80", "-80gb").replace("-40", "-40gb"))
        found = [
            price for price in CATALOG.prices
            if gpu is not None and price.gpu == gpu.name and price.region == row["region"]
            and price.sku.removeprefix("Standard_") == row["sku"]
        ]  # fmt: skip
        assert len(found) == 1, row
        assert found[0].gpus == int(row["gpus"])
        written = Decimal(row["od_instance_h"]) if row["od_instance_h"] else None
        assert found[0].instance_hour == written
        high = Decimal(row["spot_gpu_high"]) if row["spot_gpu_high"] else None
        no_signal = high is not None and written is not None and high >= written / int(row["gpus"])
        if high is None or (row["spot_gpu_low"] == row["spot_gpu_high"] and no_signal):
            assert found[0].spot_gpu_hour is None, "spot at the price of on demand is no price"
        else:
            assert found[0].spot_gpu_hour is not None
            assert found[0].spot_gpu_hour[0] == Decimal(row["spot_gpu_low"])


@pytest.mark.parametrize(
    ("region", "dollars"),
    [
        ("us-east-1", "6.88"), ("us-east-2", "6.88"), ("us-west-2", "6.88"),
        ("eu-north-1", "7.36"), ("ca-central-1", "7.91"), ("ap-south-1", "8.26"),
        ("ap-northeast-1", "8.60"), ("us-west-1", "8.60"), ("eu-west-2", "8.94"),
        ("ap-southeast-2", "8.94"), ("ap-southeast-3", "9.49"), ("ap-northeast-2", "9.49"),
    ],
)  # fmt: skip
def test_h100_by_region(region: str, dollars: str) -> None:
    price = pod_price(CATALOG.prices, gpu="h100", count=8, cloud="aws", region=region)
    assert price.on_demand is not None
    assert (price.on_demand / 8).quantize(Decimal("0.01")) == Decimal(dollars)


def test_a_pod_that_needs_a_larger_machine_is_priced_by_one() -> None:
    def hour(**options: object) -> Decimal | None:
        spec = make_spec({"profile": "l4", "platform": "eks", **options})
        return resolve(spec, CATALOG).price_per_hour

    assert hour() == Decimal("0.8048"), "g6.xlarge"
    assert hour(cpu=12) == Decimal("1.3232"), "g6.4xlarge"
    assert hour(memory="100Gi") == Decimal("1.5392"), "gr6.4xlarge"
    assert hour(cpu=500) == Decimal("0.8048"), "no machine holds it; the smallest is a lower bound"


def test_gke_prices_come_from_another_region_where_one_has_none() -> None:
    price = resolve(make_spec({"profile": "h100", "platform": "gke"}), CATALOG).price
    assert price.on_demand == Decimal("10.9791")
    assert "us-east4 for want of one in us-central1" in price.source
    unknown = resolve(make_spec({"profile": "h100", "platform": "oke"}), CATALOG).price
    assert unknown.on_demand is None
