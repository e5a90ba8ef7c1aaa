"""The facts are consistent, and names find their GPUs."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest

from gpukit.catalog import PodPrice, Price, load_catalog, pod_price
from gpukit.catalog.models import nearest_mig
from gpukit.errors import PlacementError
from gpukit.profile import parse_profile

CATALOG = load_catalog()
GPUS = {gpu.name: gpu for gpu in CATALOG.gpus}


def test_names_labels_and_prices_refer_to_each_other() -> None:
    assert len(GPUS) == len(CATALOG.gpus)
    for gpu in CATALOG.gpus:
        for variant, products in gpu.variants.items():
            assert set(products) <= set(gpu.products), variant
            assert variant not in GPUS
    labels = [p for gpu in CATALOG.gpus for p in gpu.products if gpu.name != "gb200-189gb"]
    assert GPUS["gb200-189gb"].products == GPUS["gb200"].products, "one board, two MIG tables"
    assert len(set(labels)) == len(labels), "a label means one GPU"
    assert {price.gpu for price in CATALOG.prices} <= set(GPUS)
    for name in CATALOG.names:
        assert parse_profile(name).gpu == name, "every name can be written in a profile"
    for mig in CATALOG.mig_profiles:
        assert parse_profile(f"mig-{mig}").mig == mig


def test_the_same_mig_profile_is_another_share_on_another_gpu() -> None:
    assert GPUS["a100-40gb"].mig["1g.10gb"] == 4
    assert GPUS["h100"].mig["1g.10gb"] == 7
    assert GPUS["h200"].mig["1g.35gb"] == 4
    assert GPUS["gb300"].mig["1g.35gb"] == 7
    assert GPUS["h100-nvl"].mig["1g.12gb"] == 7
    assert GPUS["rtx-pro-5000"].mig["1g.12gb"] == 1


@pytest.mark.parametrize(
    ("gpu", "profile", "share"),
    [
        ("h100", "1g.10gb", Fraction(1, 7)),
        ("h100", "1g.20gb", Fraction(1, 4)),
        ("h100", "2g.20gb", Fraction(2, 7)),
        ("h100", "3g.40gb", Fraction(1, 2)),
        ("h100", "4g.40gb", Fraction(4, 7)),
        ("h100", "7g.80gb", Fraction(1)),
        ("h200", "3g.71gb", Fraction(1, 2)),
        ("a30", "1g.6gb+me", Fraction(1, 4)),
        ("a30", "2g.12gb", Fraction(1, 2)),
        ("rtx-pro-6000", "4g.96gb+gfx", Fraction(1)),
    ],
)
def test_share_of_the_gpu_is_what_it_keeps_from_others(
    gpu: str, profile: str, share: Fraction
) -> None:
    assert GPUS[gpu].mig_fraction(profile) == share


def test_no_mig_profile_fits_more_often_than_its_share_allows() -> None:
    for gpu in CATALOG.gpus:
        for profile, most in gpu.mig.items():
            assert gpu.mig_fraction(profile) * most <= 1, (gpu.name, profile)


def test_prices_are_plausible() -> None:
    for price in CATALOG.prices:
        for amount in (price.on_demand_gpu_hour, *(price.spot_gpu_hour or ())):
            if amount is not None:
                assert Decimal("0.02") <= amount <= 60, price
        assert price.gpus in (1, 2, 4, 8, 16)
        if price.spot_gpu_hour:
            low, high = price.spot_gpu_hour
            assert low <= high, price
            if price.on_demand_gpu_hour is not None:
                assert high < price.on_demand_gpu_hour, (
                    "spot at the price of on demand says nothing"
                )


@pytest.mark.parametrize(
    ("profile", "dollars"),
    [("1g.10gb", "0.9829"), ("1g.20gb", "1.7200"), ("2g.20gb", "1.9657"), ("7g.80gb", "6.8800")],
)
def test_price_of_a_slice(profile: str, dollars: str) -> None:
    share = GPUS["h100"].mig_fraction(profile)
    price = pod_price(
        CATALOG.prices, gpu="h100", count=1, share=share, cloud="aws", region="us-east-1"
    )
    assert price.on_demand == Decimal(dollars)


def test_the_smallest_machine_with_enough_gpus_sets_the_price() -> None:
    one = pod_price(CATALOG.prices, gpu="h100", count=1, cloud="aws", region="us-east-1")
    two = pod_price(CATALOG.prices, gpu="h100", count=2, cloud="aws", region="us-east-1")
    assert (one.spot, two.spot) == (Decimal("5.40"), Decimal("4.68"))
    assert "p5.4xlarge" in one.source
    assert "p5.48xlarge" in two.source


def test_an_absent_price_is_unknown_and_a_price_of_zero_is_refused() -> None:
    nowhere = pod_price(CATALOG.prices, gpu="h100", count=1, cloud="aws", region="mars-1")
    assert nowhere == PodPrice(None, None, "no price of h100 on aws in mars-1 is known")
    b300 = pod_price(CATALOG.prices, gpu="b300", count=8, cloud="aws", region="us-east-1")
    assert (b300.on_demand, b300.spot) == (Decimal("142.4160"), None)
    values = CATALOG.prices[0].model_dump() | {"instance_hour": 0}
    with pytest.raises(ValueError, match="greater than 0"):
        Price.model_validate(values)


@pytest.mark.parametrize(("wrong", "right"), [("h1000", "'h100'"), ("a100-80g", "'a100-80gb'")])
def test_unknown_gpu_gets_a_suggestion(wrong: str, right: str) -> None:
    with pytest.raises(PlacementError) as caught:
        CATALOG.find_gpus(wrong)
    assert caught.value.id == "gpu-unknown"
    assert right in caught.value.hint


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("1g.11gb", "1g.12gb"), ("3g.50gb", "3g.48gb"),
        ("1g10gb", "1g.10gb"), ("1g.10gb+mee", "1g.10gb"),
    ],
)  # fmt: skip
def test_unknown_slices_are_the_nearest_in_size(asked: str, meant: str) -> None:
    with pytest.raises(PlacementError) as caught:
        CATALOG.find_mig(asked)
    assert f"'{meant}" in caught.value.hint


def test_a_slice_of_another_gpu_is_the_nearest_that_this_one_has() -> None:
    (h100,) = CATALOG.find_gpus("h100")
    assert "'2g.20gb'" in nearest_mig("3g.20gb", h100.mig)
    assert "'1g.10gb'" in nearest_mig("1g.5gb", h100.mig)
    with pytest.raises(PlacementError) as caught:
        CATALOG.find_gpus("1g.10gb")
    assert "'mig-1g.10gb'" in caught.value.hint


def test_unknown_platform_and_mig_profile() -> None:
    with pytest.raises(PlacementError, match="no GPU has the MIG profile") as mig:
        CATALOG.find_mig("1g.100gb")
    assert mig.value.id == "mig-unknown"
    with pytest.raises(PlacementError, match="platform='generik'") as platform:
        CATALOG.platform("generik")
    assert "generic" in platform.value.hint
