"""Slices, geometries, the choice of a profile, and what is emitted."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
import yaml

from gpukit.catalog import load_catalog
from gpukit.catalog.mig import MigCard, mig_card, mig_cards
from gpukit.errors import GpukitError
from gpukit.finops.mig import (
    Geometries,
    MigPlan,
    Packing,
    Workload,
    config_map,
    label_commands,
    nodes_of,
    pack,
    plan_mig,
    read_workloads,
    smi_commands,
)

CATALOG = load_catalog()
GIB = 2**30
SEVEN = ["7g", "4g", "3g", "2g", "1g"]


def sets_of(gpu: str, kinds: list[str]) -> set[str]:
    geometries = Geometries(mig_card(gpu), [s for s in mig_card(gpu).slices if s.kind in kinds])
    return {
        "+".join(
            s.kind if n == 1 else f"{n}x{s.kind}"
            for s, n in zip(geometries.slices, counts, strict=True)
            if n
        )
        for counts in geometries.maximal
    }


def test_geometries_of_seven_slices() -> None:
    assert sets_of("h100", SEVEN) == {
        "7g", "4g+3g", "4g+2g+1g", "4g+3x1g", "2x3g", "3g+2x2g", "3g+2g+2x1g", "3g+4x1g",
        "3x2g+1g", "2x2g+3x1g", "2g+5x1g", "7x1g",
    }  # fmt: skip


def test_geometries_with_the_double_memory_slice() -> None:
    card = mig_card("h100")
    geometries = Geometries(card, [s for s in card.slices if s.kind != "1g+me"])
    assert len(geometries.maximal) == 28
    assert len(geometries.placements) == 77


@pytest.mark.parametrize("gpu", ["a30", "rtx-pro-6000"])
def test_geometries_of_four_slices(gpu: str) -> None:
    assert sets_of(gpu, ["4g", "2g", "1g"]) == {"4g", "2x2g", "2g+2x1g", "4x1g"}


@pytest.mark.parametrize(
    ("gpu", "wanted", "fits"),
    [
        ("h100", {"3g": 2, "1g": 1}, False),
        ("h100", {"1g": 6, "1g+me": 1}, True),
        ("h100", {"1g+me": 2}, False),
        ("h100", {"1g.double": 4}, True),
        ("h100", {"2g": 3, "1g.double": 1}, True),
        ("h100", {"2g": 4}, False),
        ("h100", {"4g": 2}, False),
        ("a30", {"2g+me": 1, "1g+me": 1}, False),
        ("a30", {"2g+me": 1, "1g": 2}, True),
        ("rtx-pro-6000", {"1g+me.all": 1, "1g": 1}, False),
        ("rtx-pro-6000", {"1g+me.all": 1, "1g-me": 3}, True),
        ("rtx-pro-6000", {"1g+me": 1, "1g+gfx": 1, "2g": 1}, True),
    ],
)
def test_sets_that_a_card_can_hold(gpu: str, wanted: dict[str, int], fits: bool) -> None:
    geometries = Geometries(mig_card(gpu))
    assert geometries.fits(tuple(wanted.get(s.kind, 0) for s in geometries.slices)) is fits


@pytest.mark.parametrize("card", mig_cards().values(), ids=lambda card: card.gpu)
def test_placements_agree_with_the_profiles_of_the_catalog(card: MigCard) -> None:
    """The number of a profile that fits alone follows from its placements."""
    (gpu,) = CATALOG.find_gpus(card.gpu)
    alone = {s.name: max(n for (n,) in Geometries(card, [s]).placements) for s in card.slices}
    assert alone == dict(gpu.mig)
    assert card.source
    assert card.usable_source
    for one in card.slices:
        label = int(one.name.partition("g.")[2].partition("gb")[0])
        assert 0.84 * label <= one.usable / GIB < label, "less than the label says, and not by half"


@pytest.mark.parametrize(
    ("gpu", "job", "profile"),
    [
        ("h100", Workload("a", 9 * GIB), "1g.10gb"),
        ("h100", Workload("a", 10 * GIB), "1g.20gb"),  # the label says 10 GB: 9.6 GiB are there
        ("h100", Workload("a", 10 * GIB, compute=2), "2g.20gb"),
        ("h100", Workload("a", 1 * GIB, compute=4), "4g.40gb"),
        ("h100", Workload("a", 20 * GIB), "3g.40gb"),
        ("h100", Workload("a", 4 * GIB, media=True), "1g.10gb+me"),
        ("h100", Workload("a", 12 * GIB, media=True), "7g.80gb"),
        ("a100-40gb", Workload("a", 9 * GIB), "1g.10gb"),  # another slice than the H100's
        ("rtx-pro-6000", Workload("a", 20 * GIB), "1g.24gb"),
        ("rtx-pro-6000", Workload("a", 20 * GIB, media=True), "1g.24gb+me"),
        ("h100", Workload("a", profile="2g.20gb"), "2g.20gb"),
    ],
)
def test_a_job_gets_the_smallest_slice_that_holds_it(gpu: str, job: Workload, profile: str) -> None:
    (chosen,) = plan_mig([job], gpu, CATALOG).chosen
    assert chosen[1].name == profile


def test_slices_without_media_engines_are_taken_where_that_saves_a_card() -> None:
    plain = plan_mig([Workload("a", GIB, count=2)], "rtx-pro-6000", CATALOG)
    assert plain.chosen[0][1].name == "1g.24gb"
    video = Workload("video", 30 * GIB, media=True)  # 2g.48gb+me.all takes all media engines
    both = plan_mig([Workload("a", GIB, count=2), video], "rtx-pro-6000", CATALOG)
    assert [one.name for _, one in both.chosen] == ["1g.24gb-me", "2g.48gb+me.all"]
    assert len(both.cards) == 1


@pytest.mark.parametrize(
    ("gpu", "job", "id", "says"),
    [
        ("h100", Workload("a", 80 * GIB), "mig-too-large", "79.2 GiB"),
        ("a30", Workload("a", GIB, compute=5), "mig-too-large", "4 compute slices"),
        ("h100", Workload("a", profile="1g.5gb"), "mig-not-on-gpu", "did you mean '1g.10gb'"),
        ("a100-40gb", Workload("a", profile="1g.20gb"), "mig-not-on-gpu", "did you mean '1g.10gb'"),
        ("h100", Workload("a", profile="1g.10g"), "mig-unknown", "did you mean '1g.10gb'"),
        ("h100", Workload("a", 10 * GIB, profile="1g.10gb"), "mig-profile-small", "9.6 GiB"),
        ("a100", Workload("a", GIB), "mig-gpu-ambiguous", "a100-40gb, a100-80gb"),
        ("l4", Workload("a", GIB), "mig-placements-unknown", "h100"),
        ("rtx-pro-5000", Workload("a", GIB), "mig-placements-unknown", "rtx-pro-6000"),
        ("h10", Workload("a", GIB), "gpu-unknown", "h100"),
    ],
)
def test_what_cannot_be_is_said_with_a_way_out(gpu: str, job: Workload, id: str, says: str) -> None:
    with pytest.raises(GpukitError) as caught:
        plan_mig([job], gpu, CATALOG)
    assert caught.value.id == id
    assert says in caught.value.hint


def test_too_few_cards_is_a_finding() -> None:
    with pytest.raises(GpukitError) as caught:
        plan_mig([Workload("a", 30 * GIB, count=5)], "h100", CATALOG, available=2)
    assert (caught.value.id, caught.value.exit_code) == ("mig-cards", 3)
    assert "3 cards" in caught.value.message
    assert "--gpus h100:3" in caught.value.hint


@pytest.mark.parametrize(
    ("data", "id"),
    [
        (None, "workloads-form"),
        ([], "workloads-form"),
        ("text", "workloads-form"),
        ({"workload": []}, "workloads-key"),
        (["a"], "workloads-form"),
        ([{"memory": "1Gi"}], "workloads-name"),
        ([{"name": "a"}], "workloads-memory"),
        ([{"name": "a", "memory": 8}], "workloads-memory"),
        ([{"name": "a", "memory": "8GB"}], "quantity-memory-unit"),
        ([{"name": "a", "memory": "8Gi", "cout": 2}], "workloads-key"),
        ([{"name": "a", "memory": "8Gi", "count": 0}], "workloads-count"),
        ([{"name": "a", "memory": "8Gi", "count": True}], "workloads-count"),
        ([{"name": "a", "memory": "8Gi", "compute": 8}], "workloads-compute"),
        ([{"name": "a", "memory": "8Gi", "media": "maybe"}], "workloads-media"),
        ([{"name": "a", "profile": 3}], "workloads-profile"),
        ([{"name": "a", "memory": "8Gi"}] * 2, "workloads-name"),
    ],
)
def test_a_file_of_workloads_is_checked(data: object, id: str) -> None:
    with pytest.raises(GpukitError) as caught:
        read_workloads(data)
    assert caught.value.id == id
    assert caught.value.hint


def test_what_is_idle_and_what_is_stranded() -> None:
    """2 × 3g leave a compute slice that nothing can use: their memory is all of the card's."""
    (full,) = plan_mig([Workload("a", 30 * GIB, count=2)], "h100", CATALOG).cards
    assert (full.stranded_compute, full.stranded_slots, full.room) == (1, 0, ())
    (half,) = plan_mig([Workload("a", 30 * GIB)], "h100", CATALOG).cards
    assert [one.name for one in half.room] == ["4g.40gb"]
    assert (half.idle_compute, half.idle_slots, half.stranded_compute) == (4, 4, 0)
    (ones,) = plan_mig([Workload("a", GIB, count=7)], "h100", CATALOG).cards
    assert (ones.stranded_compute, ones.stranded_slots) == (0, 1)


def test_a_gap_between_bound_and_optimum_is_closed_by_search() -> None:
    """Three kinds of which a card holds any two, one of each: the relaxation says 1.5 cards."""
    patterns = [(1, 1, 0), (1, 0, 1), (0, 1, 1)]
    assert pack((1, 1, 1), patterns).bound == 2
    odd = [(2, 0, 0), (0, 3, 0), (0, 0, 5)]  # 1/2 + 2/3 + 4/5 are 1.97 cards, and 3 are needed
    packing = pack((1, 2, 4), odd)
    assert (len(packing.cards), packing.proven) == (3, True)
    assert not pack((1, 2, 4), odd, nodes=1).proven


def test_nothing_and_what_no_card_holds() -> None:
    assert pack((0, 0), [(1, 0)]) == Packing((), 0)
    with pytest.raises(ValueError, match="slice 1"):
        pack((1, 1), [(1, 0)])


@pytest.fixture
def plan() -> MigPlan:
    jobs = [
        Workload("small", 8 * GIB, count=10),
        Workload("wide", 15 * GIB, count=3),
        Workload("large", 30 * GIB, compute=3, count=3),
        Workload("video", GIB, media=True, count=2),
        Workload("whole", 70 * GIB),
    ]
    return plan_mig(jobs, "h100", CATALOG, available=8)


def test_nvidia_smi_makes_the_largest_first_where_they_fit(plan: MigPlan) -> None:
    (node,) = nodes_of(plan, per_node=8)
    lines = smi_commands(node)
    assert len(lines) == 2 * len(plan.cards)
    ids = {one.id: one for one in plan.card.slices}
    for index, line in enumerate(lines[1::2]):
        match = re.match(rf"sudo nvidia-smi mig -i {index} -cgi ([\d:,]+) -C(  #|$)", line)
        assert match, line
        made = [tuple(map(int, pair.split(":"))) for pair in match[1].split(",")]
        sizes = [(ids[id].size, ids[id].compute) for id, _ in made]
        assert all(a >= b for a, b in pairwise(sizes))
        slots = [s for id, start in made for s in range(start, start + ids[id].size)]
        assert len(set(slots)) == len(slots)
        assert all(start in ids[id].starts for id, start in made)
        assert lines[2 * index] == f"sudo nvidia-smi -i {index} -mig 1"


def test_config_map_holds_every_slice_of_every_node(plan: MigPlan) -> None:
    nodes = nodes_of(plan, per_node=2, names=["gpu-a", "gpu-b"])
    assert [node.name for node in nodes][:3] == ["gpu-a", "gpu-b", "NODE-3"]
    found = yaml.safe_load(config_map(nodes, name="plan", namespace="gpu-operator"))
    assert found["kind"] == "ConfigMap"
    assert found["metadata"] == {"name": "plan", "namespace": "gpu-operator"}
    configs = yaml.safe_load(found["data"]["config.yaml"])
    assert configs["version"] == "v1"
    named = configs["mig-configs"]
    assert named["all-disabled"] == [{"devices": "all", "mig-enabled": False}]
    total: dict[str, int] = {}
    for node in nodes:
        entries = named[node.config]
        assert sorted(i for e in entries for i in e["devices"]) == list(range(len(node.cards)))
        for entry in entries:
            for profile, count in entry.get("mig-devices", {}).items():
                total[profile] = total.get(profile, 0) + count * len(entry["devices"])
    assert total == {"1g.10gb": 10, "1g.20gb": 3, "3g.40gb": 3, "1g.10gb+me": 2, "7g.80gb": 1}
    lines = label_commands(nodes, name="plan")
    assert '"strategy": "mixed"' in lines[0]
    assert f"kubectl label node gpu-b nvidia.com/mig.config={nodes[1].config} --overwrite" in lines


def test_nodes_that_are_divided_alike_share_a_configuration() -> None:
    plan = plan_mig([Workload("a", GIB, count=28)], "h100", CATALOG, available=6)
    nodes = nodes_of(plan, per_node=2)
    assert [node.config for node in nodes] == ["gpukit-h100-1"] * 2, "the third node stays whole"
    assert plan.free == 2


def test_assumptions_are_said() -> None:
    assert plan_mig([Workload("a", GIB)], "h100", CATALOG).notes == ()
    notes = plan_mig([Workload("a", GIB)], "b200", CATALOG).notes
    assert any("lgipp" in note for note in notes)
    assert any("85 %" in note for note in notes)
