"""Whose is a node's price: every figure of the published examples, to its last digit."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest

from gpukit.catalog import load_catalog
from gpukit.errors import UsageError
from gpukit.finops.allocation import (
    Mode,
    Node,
    PodUse,
    allocate,
    device_fraction,
    mig_fraction,
    split_cents,
    time_slice_fraction,
    unit_rates,
)

D = Decimal
P3 = Node(D("10.00"), 8, 64, 488)
PODS = (
    PodUse("ns1/pod1", 1, 16, 100, used=(1, 4, 60)),
    PodUse("ns1/pod2", 2, 8, 80, used=(2, 12, 90)),
    PodUse("ns2/pod3", 3, 16, 120, used=(3, 8, 64)),
    PodUse("ns2/pod4", 0, 4, 20, used=(0, 4, 32)),
)


def digits(amount: D | None, places: int = 6) -> str:
    assert amount is not None
    return str(amount.quantize(D(1).scaleb(-places), rounding="ROUND_HALF_UP"))


def test_aws_split_of_the_documented_instance() -> None:
    rates = unit_rates(P3, "aws_split")
    assert digits(rates.gpu, 8) == "0.50448430"
    assert digits(rates.vcpu, 8) == "0.05044843"
    assert digits(rates.memory, 8) == "0.00560538"  # the page prints 0.00506


@pytest.mark.parametrize(
    ("pod", "split", "unused", "total"),
    [
        ("ns1/pod1", "1.872197", "0.676514", "2.548711"),
        ("ns1/pod2", "2.118834", "0.753481", "2.872315"),
        ("ns2/pod3", "2.993274", "1.060695", "4.053969"),
        ("ns2/pod4", "0.381166", "0.143839", "0.525005"),
    ],
)
def test_aws_vector_a(pod: str, split: str, unused: str, total: str) -> None:
    found = allocate(P3, PODS, mode="aws_split", sharing="redistributed")
    share = next(s for s in found.shares if s.pod == pod)
    assert (digits(share.split), digits(share.unused), digits(share.total)) == (
        split, unused, total,
    )  # fmt: skip


def test_aws_vector_a_adds_up_to_the_instance() -> None:
    found = allocate(P3, PODS, mode="aws_split", sharing="redistributed")
    assert digits(sum((s.total or D(0) for s in found.shares), D(0))) == "10.000000"
    assert digits(found.idle) == "0.000000"
    direct = allocate(P3, PODS, mode="aws_split")
    assert digits(direct.idle) == digits(
        sum((s.unused or D(0) for s in found.shares), D(0))
    )  # what is idle in one is what is redistributed in the other


NODES = {
    "g4dn.xlarge": Node(D("0.526"), 1, 4, 16),
    "g6.xlarge": Node(D("0.8048"), 1, 4, 16),
    "p4d.24xlarge": Node(D("21.957642"), 8, 96, 1152),
    "p5.48xlarge": Node(D("55.04"), 8, 192, 2048),
}


@pytest.mark.parametrize(
    ("instance", "full", "opencost", "aws"),
    [
        ("g4dn.xlarge", "0.5260", "0.436711 / 0.014531 / 0.001948",
         "0.333380 / 0.033338 / 0.003704"),
        ("g6.xlarge", "0.8048", "0.668184 / 0.022234 / 0.002980",
         "0.510085 / 0.051008 / 0.005668"),
        ("p4d.24xlarge", "2.7447", "1.344431 / 0.044736 / 0.005996",
         "0.722291 / 0.072229 / 0.008025"),
        ("p5.48xlarge", "6.8800", "2.339855 / 0.077858 / 0.010436",
         "1.101779 / 0.110178 / 0.012242"),
    ],
)  # fmt: skip
def test_vector_b(instance: str, full: str, opencost: str, aws: str) -> None:
    node = NODES[instance]
    assert digits(unit_rates(node, "gpu_full").gpu, 4) == full
    modes: tuple[tuple[Mode, str], ...] = (("opencost", opencost), ("aws_split", aws))
    for mode, expected in modes:
        rates = unit_rates(node, mode)
        shown = [digits(rate) for rate in (rates.gpu, rates.vcpu, rates.memory)]
        assert " / ".join(shown) == expected


def test_share_of_the_price_that_the_gpus_are() -> None:
    node, shown = NODES["p5.48xlarge"], []
    modes: tuple[Mode, ...] = ("gpu_full", "opencost", "aws_split")
    for mode in modes:
        rate = unit_rates(node, mode).gpu
        assert rate is not None
        assert node.price is not None
        shown.append(f"{100 * 8 * rate / node.price:.1f} %")
    assert shown == ["100.0 %", "34.0 %", "16.0 %"]


@pytest.mark.parametrize(
    ("profile", "slices", "rate"),
    [
        ("1g.10gb", (1, 1), "0.9829"), ("1g.20gb", (1, 2), "1.7200"),
        ("2g.20gb", (2, 2), "1.9657"), ("3g.40gb", (3, 4), "3.4400"),
        ("4g.40gb", (4, 4), "3.9314"), ("7g.80gb", (7, 8), "6.8800"),
    ],
)  # fmt: skip
def test_mig_fractions_of_an_h100(profile: str, slices: tuple[int, int], rate: str) -> None:
    fraction = mig_fraction(*slices)
    (h100,) = load_catalog().find_gpus("h100")
    assert fraction == h100.mig_fraction(profile)
    found = allocate(Node(D("6.88"), 1), [PodUse("job", gpus=fraction)])
    assert digits(found.shares[0].total, 4) == rate


@pytest.mark.parametrize(
    ("fractions", "used", "idle"),
    [
        ([mig_fraction(1, 1)] * 7, "6.8800", "0.0000"),
        ([mig_fraction(2, 2)] * 3, "5.8971", "0.9829"),  # a slice is stranded
        ([mig_fraction(3, 4)] * 2, "6.8800", "0.0000"),
    ],
)
def test_cards_of_slices(fractions: list[Fraction], used: str, idle: str) -> None:
    pods = [PodUse(str(i), gpus=f) for i, f in enumerate(fractions)]
    direct = allocate(Node(D("6.88"), 1), pods)
    assert digits(sum((s.total or D(0) for s in direct.shares), D(0)), 4) == used
    assert digits(direct.idle, 4) == idle
    shared = allocate(Node(D("6.88"), 1), pods, sharing="redistributed")
    assert digits(shared.idle, 4) == "0.0000"


def test_slices_of_a_legal_set_never_cost_more_than_the_card() -> None:
    pods = [PodUse("4g", gpus=mig_fraction(4, 4)), PodUse("3g", gpus=mig_fraction(3, 4))]
    found = allocate(Node(D("6.88"), 1), pods)
    assert mig_fraction(4, 4) + mig_fraction(3, 4) > 1
    assert digits(sum((s.total or D(0) for s in found.shares), D(0))) == "6.880000"
    assert digits(found.idle) == "0.000000"


def test_time_slices_of_a_card() -> None:
    share = time_slice_fraction(1, 4)
    assert share is not None
    pods = [PodUse(str(i), gpus=share) for i in range(3)]
    direct = allocate(Node(D(5000), 1), pods)
    assert [digits(s.total, 2) for s in direct.shares] == ["1250.00"] * 3
    assert digits(direct.idle, 2) == "1250.00"
    shared = allocate(Node(D(5000), 1), pods, sharing="redistributed")
    assert [digits(s.total, 2) for s in shared.shares] == ["1666.67"] * 3
    assert time_slice_fraction(1, None) is None


def test_what_a_request_keeps_from_others() -> None:
    (h100,) = load_catalog().find_gpus("h100")
    slices = {name: h100.mig_fraction(name) for name in h100.mig}

    def of(resource: str, count: int = 1, replicas: int | None = None, product: str = "") -> object:
        return device_fraction(resource, count, slices=slices, replicas=replicas, product=product)

    assert of("nvidia.com/gpu", 2) == 2
    assert of("nvidia.com/gpu", 1, replicas=4) == Fraction(1, 4)
    assert of("nvidia.com/gpu.shared", 1, replicas=4) == Fraction(1, 4)
    assert of("nvidia.com/mig-1g.20gb") == Fraction(1, 4)
    assert of("nvidia.com/mig-1g.10gb.me") == Fraction(1, 7)
    single = "NVIDIA-H100-80GB-HBM3-MIG-1g.10gb"
    assert of("nvidia.com/gpu", 2, product=single) == Fraction(2, 7)
    for unknown in ("nvidia.com/mig-1g.99gb", "nvidia.com/gpu.shared", "amd.com/gpu"):
        assert of(unknown) is None  # and not 0


def test_an_unknown_price_stays_unknown() -> None:
    found = allocate(Node(None, 8, 64, 488), PODS, mode="aws_split")
    assert (found.idle, found.total) == (None, None)
    assert {s.total for s in found.shares} == {None}
    assert unit_rates(Node(None, 8), "gpu_full").gpu is None


def test_a_node_without_gpus() -> None:
    with pytest.raises(UsageError, match="nothing to split"):
        unit_rates(Node(D(1), 0, 4, 16), "gpu_full")
    rates = unit_rates(Node(D(1), 0, 4, 16), "aws_split")  # CPU to memory 9:1
    assert rates.vcpu is not None
    assert rates.memory is not None
    assert digits(rates.vcpu / rates.memory, 4) == "9.0000"


def test_a_pod_without_a_gpu_pays_for_no_idle_gpu() -> None:
    node = Node(D("55.04"), 8, 192, 2048)
    found = allocate(node, [PodUse("web", 0, 192, 2048)], mode="aws_split", sharing="redistributed")
    gpus = 8 * (unit_rates(node, "aws_split").gpu or D(0))
    assert digits(found.idle, 4) == digits(gpus, 4)


def test_cents_add_up() -> None:
    third = D(10) / 3
    assert split_cents([third] * 3, D(10)) == (D("3.34"), D("3.33"), D("3.33"))
