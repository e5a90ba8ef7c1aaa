"""mig-plan against brute force, against first fit decreasing, and against the rules of the card."""

from __future__ import annotations

import functools
import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.mig_plan import case
from gpukit.catalog import load_catalog
from gpukit.catalog.mig import MigCard, MigSlice, mig_card, mig_cards
from gpukit.finops.mig import CardPlan, Geometries, Workload, pack, plan_mig

CATALOG = load_catalog()
SMALL, CHUNKS = 500, 10
GPUS = ("h100", "a100-40gb", "a30", "rtx-pro-6000")


def random_jobs(dice: random.Random, card: MigCard) -> list[Workload]:
    found = []
    for number in range(dice.randint(1, 8)):
        if dice.random() < 0.3:
            names = [one.name for one in card.slices if not one.name.endswith("me.all")]
            found.append(Workload(f"job-{number}", profile=dice.choice(names)))
            continue
        media = dice.random() < 0.15
        memory = int(card.slices[0].usable * dice.choice([0.05, 0.1, 0.2, 0.3, 0.45, 0.6]))
        found.append(Workload(f"job-{number}", memory, dice.choice([1, 1, 2, 3]), media=media))
    return found


def allowed(job: Workload, card: MigCard) -> list[MigSlice]:
    """All profiles that a job can run in, not only the smallest."""
    if job.profile is not None:
        return [card.by_name[job.profile]]
    return [
        one
        for one in card.slices
        if one.usable >= job.memory and one.compute >= job.compute and (one.extra or not job.media)
    ]


def brute_force(jobs: list[Workload], card: MigCard) -> int:
    """The fewest cards, by trying every profile of every job at every start of every card."""
    choices = sorted((allowed(job, card) for job in jobs), key=lambda c: -min(s.size for s in c))
    empty = (0, 0, 0, False)  # slots in use as bits, compute, media, extra engines

    @functools.cache
    def possible(number: int, cards: tuple[tuple[int, int, int, bool], ...]) -> bool:
        if number == len(choices):
            return True
        for at in {card_state: i for i, card_state in enumerate(cards)}.values():
            used, compute, media, extra = cards[at]
            for one in choices[number]:
                if (
                    compute + one.compute > card.compute
                    or (card.media and media + one.media > card.media)
                    or (extra and one.extra)
                ):
                    continue
                for start in one.starts:
                    space = ((1 << one.size) - 1) << start
                    if space & used or space >> card.slots:
                        continue
                    state = (
                        used | space, compute + one.compute, media + one.media, extra or one.extra
                    )  # fmt: skip
                    after = sorted([*cards[:at], state, *cards[at + 1 :]])
                    if possible(number + 1, tuple(after)):
                        return True
        return False

    return next(k for k in range(1, len(jobs) + 1) if possible(0, (empty,) * k))


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_as_few_cards_as_by_brute_force(chunk: int) -> None:
    for seed in range(chunk, SMALL, CHUNKS):
        dice = random.Random(seed)
        card = mig_card(GPUS[seed // CHUNKS % len(GPUS)])
        jobs = random_jobs(dice, card)
        plan = plan_mig(jobs, card.gpu, CATALOG)
        assert len(plan.cards) == brute_force(jobs, card), (seed, card.gpu, jobs)
        assert plan.proven


@pytest.mark.parametrize("chunk", range(4))
def test_sixty_jobs_take_no_more_cards_than_first_fit_decreasing(chunk: int) -> None:
    for seed in range(chunk * 50, chunk * 50 + 50):
        one = case(seed, 60, GPUS[chunk] if seed % 2 else "h100")
        assert one.cards <= min(one.decreasing, one.first_fit, one.staying)
        assert one.cards <= 0.85 * one.jobs
        assert one.plan.proven
        assert one.seconds < 2
        check_cards(one.plan.card, one.plan.cards)


def check_cards(card: MigCard, cards: tuple[CardPlan, ...]) -> None:
    """No overlap, only real starts, no engine twice, and idle and stranded add up."""
    for one in cards:
        slots = [s for p in one.slices for s in range(p.start, p.start + p.slice.size)]
        assert len(set(slots)) == len(slots)
        assert all(s < card.slots for s in slots)
        assert all(p.start in p.slice.starts for p in one.slices)
        assert sum(p.slice.extra for p in one.slices) <= 1
        assert not card.media or sum(p.slice.media for p in one.slices) <= card.media
        compute = sum(p.slice.compute for p in one.slices)
        assert compute + one.idle_compute + one.stranded_compute == card.compute
        assert len(slots) + one.idle_slots + one.stranded_slots == card.slots
        assert min(one.idle_compute, one.stranded_compute, one.idle_slots, one.stranded_slots) >= 0


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(mig_cards())), st.data())
def test_every_job_gets_one_slice_that_holds_it(gpu: str, data: st.DataObject) -> None:
    card = mig_card(gpu)
    job = st.builds(
        Workload,
        name=st.uuids().map(str),
        memory=st.integers(1, card.slices[0].usable),
        compute=st.integers(1, card.compute),
        count=st.integers(1, 40),
        media=st.booleans(),
    )
    jobs = data.draw(st.lists(job, min_size=1, max_size=12, unique_by=lambda w: w.name))
    plan = plan_mig(jobs, gpu, CATALOG)
    check_cards(card, plan.cards)
    placed = [p for one in plan.cards for p in one.slices]
    for work in jobs:
        own = [p.slice for p in placed if p.workload == work.name]
        assert len(own) == work.count
        assert all(one in allowed(work, card) for one in own)
        assert all(one.size == min(s.size for s in allowed(work, card)) for one in own)
    assert len(plan.cards) >= plan.bound
    assert plan == plan_mig(jobs, gpu, CATALOG)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 400), min_size=7, max_size=7))
def test_thousands_of_slices_are_packed_and_proven(demand: list[int]) -> None:
    begun = time.process_time()
    packing = pack(demand, Geometries(mig_card("h100")).maximal)
    assert time.process_time() - begun < 2
    assert packing.proven
    assert [sum(card[i] for card in packing.cards) for i in range(7)] == demand
