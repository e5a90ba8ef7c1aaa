"""Prices of one's own, in three forms, and the dirt that real price lists have."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from gpukit.catalog import Price, load_catalog, pod_price
from gpukit.catalog.overlay import Overlay, lay_over
from gpukit.catalog.validate import check_together, spot_from_saving
from gpukit.errors import SpecError
from gpukit.placement import resolve
from gpukit.spec import make_spec

DAY = date(2026, 11, 1)
SKY = (
    "InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,GpuInfo,Price,SpotPrice,"
    "Region,AvailabilityZone\n"
)
COST = (
    "EndTimestamp,InstanceID,Region,AssetClass,InstanceIDField,InstanceType,MarketPriceHourly,"
    "Version\n"
)


def sky(*rows: str, name: str = "aws.csv", today: date | None = None) -> Overlay:
    return lay_over(load_catalog(), SKY + "\n".join(rows), name=name, as_of=DAY, today=today)


def own(overlay: Overlay) -> list[Price]:
    return [price for price in overlay.catalog.prices if price.own]


def found(overlay: Overlay) -> list[tuple[str, str]]:
    return [(finding.id, finding.effect) for finding in overlay.findings]


def info(mib: object) -> str:
    return f"\"{{'Gpus': [{{'Name': 'H100', 'MemoryInfo': {{'SizeInMiB': {mib}}}}}]}}\""


# ---- dirt, each kind as it was seen


def test_spot_above_on_demand_is_no_price() -> None:
    overlay = sky(
        "a2-ultragpu-1g,A100-80GB,1,,,,1.8462,2.1604,us-central1,us-central1-a",
        "a3-highgpu-1g,H100,1,,,,4.20,5.34,us-central1,us-central1-b",
    )
    assert found(overlay) == [("spot-above-on-demand", "left out")] * 2
    assert own(overlay) == []


def test_a_spot_price_of_on_demand_says_that_there_is_none() -> None:
    overlay = sky("p5.48xlarge,H100,8,,,,55.04,55.04,us-east-1,us-east-1a")
    assert found(overlay) == [("no-spot-signal", "unknown")]
    [price] = own(overlay)
    assert (price.instance_hour, price.spot_gpu_hour) == (Decimal("55.04"), None)


def test_placeholders_and_other_accelerators_are_left_out() -> None:
    overlay = sky(
        "tpu-v6e-1,tpu-v6e-1,1,,,,700.0,,asia-east1,asia-east1-c",
        "p5.48xlarge,H100,8,,,,5600.0,,us-east-1,us-east-1a",
    )
    assert found(overlay) == [("accelerator-unknown", "left out"), ("price-implausible", "unknown")]
    assert own(overlay) == []


def test_a_wrong_number_of_gpus_is_corrected_where_the_machine_is_known() -> None:
    overlay = sky(
        "Standard_ND96isr_H100_v5,H100,12,,,,98.32,,eastus,",
        "custom-h100,H100,12,,,,98.32,,eastus,",
        name="azure.csv",
    )
    assert found(overlay) == [("gpu-count", "corrected"), ("gpu-count", "left out")]
    [price] = own(overlay)
    assert (price.gpus, price.on_demand_gpu_hour, price.cloud) == (8, Decimal("12.29"), "azure")


def test_an_empty_price_is_unknown_and_never_free() -> None:
    overlay = sky(
        "p5e.48xlarge,H200,8,,,,,14.80,us-east-1,us-east-1a",
        "p5en.48xlarge,H200,8,,,,0,,us-east-1,us-east-1a",
        "g6.xlarge,L4,1,,,,-1,,us-east-1,us-east-1a",
        "g5.xlarge,A10G,1,,,,n/a,,us-east-1,us-east-1a",
    )
    assert found(overlay) == [
        ("price-missing", "unknown"), ("price-not-positive", "unknown"),
        ("price-not-positive", "unknown"), ("price-missing", "unknown"),
    ]  # fmt: skip
    [price] = own(overlay)
    assert price.on_demand_gpu_hour is None
    assert price.spot_gpu_hour == (Decimal("1.8500"), Decimal("1.8500"))


def test_a_negative_saving_is_no_spot_price() -> None:
    assert spot_from_saving(Decimal("10"), Decimal(-62)) is None
    assert spot_from_saving(Decimal("10"), Decimal(100)) is None
    assert spot_from_saving(Decimal("0.8048"), Decimal(49)) == Decimal("0.410448")
    text = '[[price]]\ngpu = "h100"\ninstance_hour = 6.88\nspot_saving = -62\n'
    [price] = own(lay_over(load_catalog(), text, name="own.toml", as_of=DAY))
    assert price.spot_gpu_hour is None


@pytest.mark.parametrize(("mib", "word"), [(0, "SizeInMiB is 0"), (80, "looks like GB")])
def test_memory_in_the_wrong_unit_is_told(mib: int, word: str) -> None:
    overlay = sky(f"x1,H100,1,,,{info(mib)},2.95,1.25,eu-north1,", name="nebius.csv")
    [finding] = overlay.findings
    assert (finding.id, finding.effect) == ("memory-unit", "kept")
    assert word in finding.message
    assert len(own(overlay)) == 1
    assert sky(f"x1,H100,1,,,{info(81920)},2.95,1.25,eu-north1,").findings == ()


def test_the_joint_minimum_is_of_one_zone() -> None:
    """The least GPU and the least host lie in different zones: their sum can be had nowhere."""
    overlay = sky(
        ",A100-80GB,8,,,,30.00,10.00,us-central1,us-central1-a",
        ",A100-80GB,8,,,,32.00,9.00,us-central1,us-central1-b",
        "a2-ultragpu-8g,,,96,1360,,5.50,2.00,us-central1,us-central1-a",
        "a2-ultragpu-8g,,,96,1360,,4.62,2.50,us-central1,us-central1-b",
        name="gcp.csv",
    )
    [price] = own(overlay)
    assert (price.cloud, price.sku, price.gpus) == ("gcp", "a2-ultragpu-8g", 8)
    assert price.instance_hour == Decimal("36.62"), "the dearest of its zones, 35.50 and 36.62"
    assert price.spot_gpu_hour == (Decimal("1.4375"), Decimal("1.5000")), "11.50 and 12.00"
    assert found(overlay) == [("price-differs", "kept")]


def test_gpus_that_are_listed_alone_are_said_to_be() -> None:
    overlay = sky(",L4,1,,,,0.56004,0.29,us-central1,us-central1-a", name="gcp.csv")
    assert found(overlay) == [("host-missing", "kept")]
    assert "comes on top" in overlay.warnings[0]


def prices(*amounts: tuple[str, int, str, str]) -> list[Price]:
    return [
        Price(
            gpu="h100", cloud="aws", sku=sku, gpus=gpus, region=region,
            instance_hour=Decimal(dollars), source="a list of prices", as_of=DAY,
        )
        for sku, gpus, region, dollars in amounts
    ]  # fmt: skip


def test_prices_of_a_family_grow_with_its_gpus() -> None:
    even = prices(("p5.4xlarge", 1, "r", "6.88"), ("p5.48xlarge", 8, "r", "55.04"))
    assert check_together(even) == []
    uneven = prices(("p5.4xlarge", 1, "r", "6.88"), ("p5.48xlarge", 8, "r", "68.80"))
    [finding] = check_together(uneven)
    assert finding.id == "price-not-linear"
    assert "8.6000 per GPU, 6.8800 as p5.4xlarge" in finding.message


@pytest.mark.parametrize(("dollars", "odd"), [("120", False), ("122", True), ("24", True)])
def test_a_region_far_from_the_others_is_told(dollars: str, odd: bool) -> None:
    regions = [("p5.48xlarge", 8, region, "55.04") for region in "abcd"]
    listed = prices(*regions, ("p5.48xlarge", 8, "e", dollars))
    assert [f.id for f in check_together(listed)] == ["region-outlier"] * odd


def test_an_old_list_is_told() -> None:
    row = "p5.48xlarge,H100,8,,,,55.04,17,us-east-1,us-east-1a"
    assert found(sky(row, today=date(2026, 12, 1))) == []
    assert found(sky(row, today=date(2026, 12, 2))) == [("price-old", "kept")]
    assert found(sky(row, today=date(2026, 10, 1))) == [("price-from-future", "kept")]


def test_zones_of_a_region_become_one_price_with_a_range() -> None:
    overlay = sky(
        "p5.48xlarge,H100,8,,,,55.04,9.36,us-west-2,us-west-2a",
        "p5.48xlarge,H100,8,,,,55.04,19.36,us-west-2,us-west-2b",
        "p5.48xlarge,H100,8,,,,55.04,55.04,us-west-2,us-west-2c",
    )
    [price] = own(overlay)
    assert price.spot_gpu_hour == (Decimal("1.1700"), Decimal("2.4200"))


# ---- what an overlay does


def test_own_prices_go_before_list_prices() -> None:
    overlay = sky("p5.48xlarge,H100,8,,,,40,8,us-east-1,us-east-1a")
    spec = make_spec({"profile": "h100:8", "platform": "eks"})
    price = resolve(spec, overlay.catalog).price
    assert (price.on_demand, price.spot) == (Decimal("40.0000"), Decimal("8.0000"))
    assert "your own price of p5.48xlarge" in price.source
    assert resolve(spec, load_catalog()).price.on_demand == Decimal("55.0400")


def test_own_prices_of_other_regions_count_and_the_dearest_of_them() -> None:
    overlay = sky(
        "p5.48xlarge,H100,8,,,,80,,eu-west-1,",
        "p5.48xlarge,H100,8,,,,72,,eu-west-3,",
    )
    price = pod_price(overlay.catalog.prices, gpu="h100", count=8, cloud="aws", region="us-east-1")
    assert price.on_demand == Decimal("80.0000")
    there = pod_price(overlay.catalog.prices, gpu="h100", count=8, cloud="aws", region="eu-west-3")
    assert there.on_demand == Decimal("72.0000")


def test_opencost_prices_nodes_by_machine_and_gpus_by_name() -> None:
    text = COST + (
        "2028-01-06 23:34:45 UTC,,us-east-1,node,metadata.labels,p5.48xlarge,41.5,\n"
        "2028-01-06 23:34:45 UTC,node-7,,node,metadata.name,m5.large,0.096,\n"
        "2028-01-06 23:34:45 UTC,NVIDIA-A100-SXM4-80GB,,gpu,,,1.55,\n"
        "2028-01-06 23:34:45 UTC,Tesla_T4,,gpu,,,0.35,\n"
        "2028-01-06 23:34:45 UTC,pvc-1,,pv,,,0.0001,\n"
    )
    overlay = lay_over(load_catalog(), text, name="prices.csv", as_of=DAY)
    assert found(overlay) == [("machine-unknown", "left out")]
    hour = {price.gpu: price.on_demand_gpu_hour for price in own(overlay)}
    assert hour == {
        "h100": Decimal("5.1875"), "a100-80gb": Decimal("1.55"), "t4": Decimal("0.35"),
    }  # fmt: skip
    placed = resolve(make_spec({"profile": "mig-1g.10gb", "gpu": "a100-80gb"}), overlay.catalog)
    assert placed.price_per_hour == Decimal("0.2214"), "a seventh of 1.55"


def test_toml_adds_prices_gpus_machines_and_platforms() -> None:
    text = """
[[gpu]]
name = "rtx-5090"
title = "GeForce RTX 5090 32 GB"
family = "blackwell"
memory_gb = 32
products = ["NVIDIA-GeForce-RTX-5090"]

[[family]]
cloud = "our"
gpu = "rtx-5090"
product = "NVIDIA-GeForce-RTX-5090"
machines = [["box-2", 2, 32, 128]]

[[platform]]
name = "ours"
base = "generic"
title = "our own cluster"
cloud = "our"
gpu_labels = { "node.kubernetes.io/instance-type" = "name" }
price_cloud = "our"
price_region = "basement"

[[price]]
gpu = "rtx-5090"
cloud = "our"
sku = "box-2"
gpus = 2
region = "basement"
instance_hour = 1.10
spot_gpu_hour = 0.30
"""
    overlay = lay_over(load_catalog(), text, name="own.toml", as_of=DAY)
    assert overlay.findings == ()
    spec = make_spec({"profile": "rtx-5090:2", "platform": "ours", "spot": True})
    placed = resolve(spec, overlay.catalog)
    assert placed.node_terms[0].values == ("box-2",)
    assert placed.price_per_hour == Decimal("0.6000")
    assert placed.price.as_of == DAY
    assert "rtx-5090" not in load_catalog().names, "the catalog itself stays as it was"


@pytest.mark.parametrize(
    ("text", "name", "id", "hint"),
    [
        ("gpu = [", "p.toml", "prices-toml", "correct"),
        ("[[prise]]\n", "p.toml", "prices-table", "'price'"),
        ('[[price]]\ngpu = "h100"\nhourly = 3\n', "p.toml", "prices-key", "instance_hour"),
        ('[[price]]\ngpu = "h100"\n', "p.toml", "prices-incomplete", "gpu_hour"),
        ('[[gpu]]\nname = "x"\n', "p.toml", "prices-fact", "catalog"),
        ('[aliases]\nmine = ["h1000"]\n', "p.toml", "prices-alias", "'h100'"),
        ('[[platform]]\nname = "a"\nbase = "eks"\ncolor = "red"\n', "p.toml", "prices-fact", ""),
        ("a,b\n1,2\n", "p.csv", "prices-columns", "OpenCost"),
        ("", "p.csv", "prices-columns", "SkyPilot"),
    ],
)
def test_what_cannot_be_read_is_refused(text: str, name: str, id: str, hint: str) -> None:
    with pytest.raises(SpecError) as caught:
        lay_over(load_catalog(), text, name=name, as_of=DAY)
    assert caught.value.id == id
    assert hint in caught.value.hint
