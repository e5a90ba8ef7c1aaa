"""Cards that mig-plan needs, beside one job a card, first fit and first fit decreasing.

    python -m benchmarks.mig_plan [-n 200] [--jobs 60] [--gpu h100] [--check]

The cases are random and the same in every run. First fit comes in two forms. With moves, a card
takes a job if any layout of its slices and the new one is valid, so what is already there may move;
that is more than a driver does. Without, a slice stays where it was put: at the first free start.
With ``--check`` a miss of a target is an exit code of 1.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from gpukit.catalog import load_catalog
from gpukit.catalog.mig import MigSlice, mig_card
from gpukit.finops.mig import Geometries, MigPlan, Workload, plan_mig

__all__ = ["Case", "case", "first_fit", "main", "random_workloads", "staying_first_fit"]

_SAVING, _SECONDS = 0.15, 2.0
_MEDIA = 4  # of an RTX PRO 6000; the other cards do not count them


@dataclass(frozen=True)
class Case:
    """One case: cards by each way, and CPU seconds of ours."""

    plan: MigPlan
    jobs: int
    staying: int
    first_fit: int
    decreasing: int
    seconds: float

    @property
    def cards(self) -> int:
        return len(self.plan.cards)


def random_workloads(seed: int, jobs: int, gpu: str) -> list[Workload]:
    """Return ``jobs`` single jobs: memory log-uniform, mostly few compute slices, some media."""
    dice, card = random.Random(seed), mig_card(gpu)
    most = card.slices[0].usable
    small = dice.random()  # share of jobs that are small; differs from case to case
    found = []
    for number in range(jobs):
        low, high = (0.02, 0.2) if dice.random() < small else (0.1, 0.98)
        compute = dice.choices(range(1, card.compute + 1), [8, 4, 2, 1, *[0.2] * 3][: card.compute])
        memory = int(most * low * (high / low) ** dice.random())
        found.append(Workload(f"job-{number}", memory, compute[0]))
    return found


def first_fit(slices: Sequence[MigSlice], gpu: str) -> int:
    """Return the cards when each slice goes on the first card that can hold it as well."""
    geometries = Geometries(mig_card(gpu), sorted(set(slices), key=_size, reverse=True))
    cards: list[tuple[int, ...]] = []
    for one in slices:
        unit = tuple(int(other == one) for other in geometries.slices)
        sums = (tuple(map(sum, zip(card, unit, strict=True))) for card in cards)
        at = next((i for i, total in enumerate(sums) if geometries.fits(total)), None)
        if at is None:
            cards.append(unit)
        else:
            cards[at] = tuple(map(sum, zip(cards[at], unit, strict=True)))
    return len(cards)


def staying_first_fit(slices: Sequence[MigSlice]) -> int:
    """Return the cards when a slice goes to the first free start and stays there."""
    cards: list[tuple[int, bool, int]] = []  # slots in use, as bits; extra engines; media engines
    for one in slices:
        spaces = [((1 << one.size) - 1) << start for start in one.starts]
        for i, (used, extra, media) in enumerate([*cards, (0, False, 0)]):
            space = next((space for space in spaces if not space & used), None)
            if space is None or (extra and one.extra) or media + one.media > _MEDIA:
                continue
            cards[i : i + 1] = [(used | space, extra or one.extra, media + one.media)]
            break
    return len(cards)


def case(seed: int, jobs: int, gpu: str) -> Case:
    """Plan one random case in every way."""
    workloads = random_workloads(seed, jobs, gpu)
    begun = time.process_time()
    plan = plan_mig(workloads, gpu, load_catalog())
    seconds = time.process_time() - begun
    slices = [one for _, one in plan.chosen]
    decreasing = sorted(slices, key=_size, reverse=True)
    return Case(
        plan, jobs, staying_first_fit(slices), first_fit(slices, gpu), first_fit(decreasing, gpu),
        seconds,
    )  # fmt: skip


def _size(one: MigSlice) -> tuple[int, int, str]:
    return one.size, one.compute, one.name


def main(argv: Sequence[str] | None = None) -> int:
    """Print the ratios; return 1 if ``--check`` finds a miss."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-n", "--cases", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=60)
    parser.add_argument("--gpu", default="h100,a100-40gb,a30,rtx-pro-6000", help="which GPUs")
    parser.add_argument("--check", action="store_true", help="exit with 1 on a miss")
    options = parser.parse_args(argv)
    load_catalog()
    print(
        f"{options.cases} cases of {options.jobs} jobs each; cards of mig-plan / cards of the peer"
    )
    print(
        f"{'GPU':<16}{'peer':<24}{'median':>8}{'best':>8}{'worst':>8}{'target':>9}{'fewer in':>10}"
    )
    missed = False
    for gpu in options.gpu.split(","):
        cases = [case(seed, options.jobs, gpu) for seed in range(options.cases)]
        missed |= _print(gpu, cases)
    return 1 if options.check and missed else 0


def _print(gpu: str, cases: Sequence[Case]) -> bool:
    missed = False
    for peer, target, counts in (
        ("one job a card", 1 - _SAVING, [one.jobs for one in cases]),
        ("first fit", 1.0, [one.staying for one in cases]),
        ("first fit, with moves", 1.0, [one.first_fit for one in cases]),
        ("decreasing, with moves", 1.0, [one.decreasing for one in cases]),
    ):
        ratios = [one.cards / count for one, count in zip(cases, counts, strict=True)]
        fewer = sum(ratio < 1 for ratio in ratios)
        missed |= max(ratios) > target
        print(
            f"{gpu:<16}{peer:<24}{statistics.median(ratios):>8.3f}{min(ratios):>8.3f}"
            f"{max(ratios):>8.3f}{f'<= {target:g}':>9}{fewer:>10}"
        )
    slowest = max(one.seconds for one in cases)
    proven = sum(one.plan.proven for one in cases)
    missed |= slowest > _SECONDS
    print(
        f"{gpu:<16}{'':<24}proven optimal: {proven} of {len(cases)}; "
        f"slowest {slowest:.2f} of {_SECONDS:g} CPU s (ratio {slowest / _SECONDS:.3f})",
        flush=True,
    )
    return missed


if __name__ == "__main__":
    sys.exit(main())
